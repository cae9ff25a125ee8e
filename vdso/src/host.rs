//! The vDSO that the host's kernel maps into every process.

use crate::elf;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

/// One mapping of the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// As in proc_pid_maps(5): `[vvar]`, `[vvar_vclock]`, `[vdso]`.
    pub name: String,
    /// From the start of the block, in bytes.
    pub offset: u64,
    /// In bytes.
    pub len: u64,
}

/// Whether an application can use an exported function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It answers as the host's system call would, and our clocks are the host's.
    Clock,
    /// `__vdso_getcpu`: the host's CPU number.
    Cpu,
    /// `__vdso_getrandom`: only where a MAP_DROPPABLE mapping of the application is one on the
    /// host too. The kernel wipes such memory on fork(2); in any other memory parent and child would
    /// draw the same numbers. The caller gets its state by mmap(2) with that flag, so refusing the
    /// flag keeps it out of use.
    Droppable,
    /// What this crate doesn't know, or what needs a device that the sandbox hasn't got.
    Unknown,
}

/// A function that the image exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub name: String,
    /// From the start of the image (the `[vdso]` mapping), in bytes.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
    pub support: Support,
}

/// What the host maps: a block of adjacent mappings that is to be moved as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostVdso {
    /// Where the block is in the process that asked.
    pub start: u64,
    /// Lowest first; the image (`[vdso]`) last.
    pub mappings: Vec<Mapping>,
    /// Length of the data pages, all mappings but the last, in bytes.
    pub vvar_len: u64,
    /// Length of the image in bytes.
    pub vdso_len: u64,
    /// Length of the block in bytes.
    pub total_len: u64,
    /// mseal(2) forbids to move it.
    pub sealed: bool,
    /// In the order of the image's symbol table.
    pub symbols: Vec<Symbol>,
}

/// Why the host's vDSO can't be used.
#[derive(Debug)]
pub enum Error {
    /// /proc/self couldn't be read.
    Proc(io::Error),
    /// There is none (`vdso=0` on the host's command line).
    Absent,
    /// The image isn't one that this crate can follow.
    Malformed,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Proc(error) => write!(f, "reading /proc/self: {error}"),
            Error::Absent => f.write_str("this host maps no vDSO"),
            Error::Malformed => f.write_str("the host's vDSO is not an ELF64 image with symbols"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Proc(error) => Some(error),
            _ => None,
        }
    }
}

impl HostVdso {
    /// Looks at the calling process. Needs /proc, so it is for the time before the jail closes.
    ///
    /// # Errors
    /// See [`Error`]; the application then runs without AT_SYSINFO_EHDR.
    pub fn detect() -> Result<HostVdso, Error> {
        // smaps tells of seals; a kernel built without it has maps.
        let maps = fs::read("/proc/self/smaps")
            .or_else(|_| fs::read("/proc/self/maps"))
            .map_err(Error::Proc)?;
        let block = Block::find(&String::from_utf8_lossy(&maps)).ok_or(Error::Absent)?;
        let (image_at, len) = block.image().ok_or(Error::Absent)?;
        let mut image = vec![0; usize::try_from(len).map_err(|_| Error::Malformed)?];
        fs::File::open("/proc/self/mem")
            .and_then(|memory| memory.read_exact_at(&mut image, image_at))
            .map_err(Error::Proc)?;
        HostVdso::new(&block, &image).ok_or(Error::Malformed)
    }

    fn new(block: &Block, image: &[u8]) -> Option<HostVdso> {
        let (image_at, vdso_len) = block.image()?;
        let start = block.mappings.first()?.start;
        let symbols = elf::functions(image)?
            .into_iter()
            .map(|function| Symbol {
                support: support(&function.name),
                name: function.name,
                offset: function.offset,
                size: function.size,
            })
            .collect();
        Some(HostVdso {
            start,
            mappings: block
                .mappings
                .iter()
                .map(|mapping| Mapping {
                    name: mapping.name.clone(),
                    offset: mapping.start - start,
                    len: mapping.end - mapping.start,
                })
                .collect(),
            vvar_len: image_at - start,
            vdso_len,
            total_len: image_at + vdso_len - start,
            sealed: block.sealed,
            symbols,
        })
    }

    /// The function called `name`.
    pub fn symbol(&self, name: &str) -> Option<&Symbol> {
        self.symbols.iter().find(|symbol| symbol.name == name)
    }

    /// AT_SYSINFO_EHDR of an address space that has the block at `base`.
    pub const fn sysinfo_ehdr(&self, base: u64) -> u64 {
        base + self.vvar_len
    }

    /// Address of the function called `name` where the block is at `base`.
    pub fn address(&self, base: u64, name: &str) -> Option<u64> {
        Some(self.sysinfo_ehdr(base) + self.symbol(name)?.offset)
    }
}

/// What an exported function is good for. Weak aliases without `__vdso_` are exported too.
fn support(name: &str) -> Support {
    match name.strip_prefix("__vdso_").unwrap_or(name) {
        "clock_gettime" | "clock_getres" | "gettimeofday" | "time" => Support::Clock,
        "getcpu" => Support::Cpu,
        "getrandom" => Support::Droppable,
        _ => Support::Unknown,
    }
}

/// The mappings as /proc shows them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    mappings: Vec<Found>,
    sealed: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    start: u64,
    end: u64,
}

impl Block {
    /// Finds `[vdso]` and the `[vvar…]` mappings that adjoin it from below, in the text of maps or
    /// smaps.
    fn find(text: &str) -> Option<Block> {
        let mut block = Block::default();
        let mut inside = false;
        for line in text.lines() {
            if let Some(found) = Found::parse(line) {
                let image_seen = block.image().is_some();
                let adjoins = block
                    .mappings
                    .last()
                    .is_none_or(|last| last.end == found.start);
                let ours = found.name == "[vdso]" || found.name.starts_with("[vvar");
                inside = ours && !image_seen;
                if inside {
                    if !adjoins {
                        block = Block::default();
                    }
                    block.mappings.push(found);
                }
            } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                block.sealed |= flags.split_ascii_whitespace().any(|flag| flag == "sl");
            }
        }
        block.image()?;
        Some(block)
    }

    /// Address and length of the image, which is last.
    fn image(&self) -> Option<(u64, u64)> {
        let last = self.mappings.last()?;
        (last.name == "[vdso]").then_some((last.start, last.end - last.start))
    }
}

impl Found {
    /// Parses a line of proc_pid_maps(5) that names a mapping.
    fn parse(line: &str) -> Option<Found> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        let name = rest.split_ascii_whitespace().nth(4).unwrap_or_default();
        (start < end).then(|| Found {
            name: name.to_owned(),
            start,
            end,
        })
    }
}

#[cfg(test)]
mod tests;
