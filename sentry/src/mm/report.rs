//! What /proc tells about an address space: proc_pid_maps(5), proc_pid_smaps(5), proc_pid_statm(5), the Vm lines of
//! proc_pid_status(5). The map is ours; how much of it is resident, the host says.

use super::Mm;
use super::exec::{ImageInfo, Vdso};
use super::span::{PAGE, Span};
use super::state::{Heap, State, Usage};
use super::vma::{Backing, Prot, Vma, VmaFlags};
use crate::host::mm::proc_file;
use crate::vfs::{Dev, File, Path};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// The device of shared memory without a file system that anyone sees.
const SHMEM: Dev = Dev::new(0, 1);
/// Column at which names start.
const NAME_COLUMN: usize = 73;

/// Resident memory as the host counts it, in kB. It includes a few pages of the stub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    pub peak: u64,
    pub total: u64,
    pub anon: u64,
    pub file: u64,
    pub shmem: u64,
    pub page_tables: u64,
    pub swap: u64,
}

/// `Name: 12 kB` lines of a text of the host's.
fn fields(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let number = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some((name, number))
    })
}

/// How an address space uses memory, as [`Usage`] and [`Resident`] say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    pub usage: Usage,
    pub resident: Resident,
    /// Bytes of the program's code.
    pub code: u64,
}

fn kb(pages: u64) -> u64 {
    pages * (PAGE / 1024)
}

/// A copy of the map: what files are called and where they are may take host calls, so not with the lock held.
struct Snapshot {
    vmas: Vec<Vma>,
    heap: Heap,
    info: Arc<ImageInfo>,
    vdso: Option<Vdso>,
}

impl Snapshot {
    fn of(state: &State) -> Self {
        let vmas = state.map.iter().cloned().collect();
        Self {
            vmas,
            heap: state.heap,
            info: Arc::clone(&state.info),
            vdso: state.vdso,
        }
    }
}

/// Whether `span` holds a part of the heap.
fn is_heap(state: &Snapshot, span: Span) -> bool {
    let heap = state.heap;
    heap.brk > heap.start && span.start < heap.brk && span.end > heap.start
}

fn escape(out: &mut Vec<u8>, name: &[u8]) {
    for &byte in name {
        if byte == b'\n' {
            out.extend_from_slice(b"\\012");
        } else {
            out.push(byte);
        }
    }
}

/// Device, inode and name of what a mapping shows.
fn identity(state: &Snapshot, vma: &Vma, root: &Path) -> (Dev, u64, Vec<u8>) {
    match &vma.backing {
        Backing::File { file, .. } => {
            let attr = file.attr().ok();
            let (dev, ino) = attr.map_or((Dev::default(), 0), |a| (a.dev, a.ino));
            (dev, ino, name_of(file, root))
        }
        Backing::SharedAnon { object, .. } => (SHMEM, object.ino, b"/dev/zero (deleted)".to_vec()),
        Backing::Shm { attach, .. } => {
            let name = format!("{} (deleted)", attach.segment.name());
            (SHMEM, attach.segment.ino(), name.into_bytes())
        }
        Backing::Anon => {
            let stack = state.info.start_stack;
            let name = match &vma.name {
                Some(name) => [b"[anon:", &name[..], b"]"].concat(),
                None if is_heap(state, vma.span) => b"[heap]".to_vec(),
                None if vma.span.start <= stack && stack < vma.span.end => b"[stack]".to_vec(),
                None => Vec::new(),
            };
            (Dev::default(), 0, name)
        }
    }
}

fn name_of(file: &File, root: &Path) -> Vec<u8> {
    match file.path() {
        Some(path) => path.display(root),
        None => file.ops.link_text(file).unwrap_or_default(),
    }
}

/// A line of maps, without its end.
fn line(span: Span, mode: &str, offset: u64, dev: Dev, ino: u64, name: &[u8]) -> Vec<u8> {
    let Dev { major, minor } = dev;
    let text = format!(
        "{:08x}-{:08x} {mode} {offset:08x} {major:02x}:{minor:02x} {ino} ",
        span.start, span.end
    );
    let mut out = text.into_bytes();
    if !name.is_empty() {
        out.resize(out.len().max(NAME_COLUMN), b' ');
        escape(&mut out, name);
    }
    out
}

fn mode(vma: &Vma) -> String {
    let flag = |bit, letter| if vma.prot.contains(bit) { letter } else { '-' };
    let last = if vma.is_shared() { 's' } else { 'p' };
    [
        flag(Prot::READ, 'r'),
        flag(Prot::WRITE, 'w'),
        flag(Prot::EXEC, 'x'),
        last,
    ]
    .iter()
    .collect()
}

fn maps_line(state: &Snapshot, vma: &Vma, root: &Path) -> Vec<u8> {
    let (dev, ino, name) = identity(state, vma, root);
    line(vma.span, &mode(vma), vma.backing.offset(), dev, ino, &name)
}

/// VmFlags of smaps.
fn vm_flags(vma: &Vma) -> String {
    let mut out = String::new();
    let mut add = |yes: bool, name: &str| {
        if yes {
            out.push_str(name);
            out.push(' ');
        }
    };
    let has = |flag| vma.flags.contains(flag);
    add(vma.prot.contains(Prot::READ), "rd");
    add(vma.prot.contains(Prot::WRITE), "wr");
    add(vma.prot.contains(Prot::EXEC), "ex");
    add(vma.is_shared(), "sh");
    add(has(VmaFlags::MAY_READ), "mr");
    add(has(VmaFlags::MAY_WRITE), "mw");
    add(has(VmaFlags::MAY_EXEC), "me");
    add(vma.is_shared(), "ms");
    add(has(VmaFlags::GROWS_DOWN), "gd");
    add(has(VmaFlags::LOCKED), "lo");
    add(has(VmaFlags::SEQUENTIAL), "sr");
    add(has(VmaFlags::RANDOM), "rr");
    add(has(VmaFlags::DONT_FORK), "dc");
    add(vma.is_data() && !has(VmaFlags::NO_RESERVE), "ac");
    add(has(VmaFlags::NO_RESERVE), "nr");
    add(has(VmaFlags::WIPE_ON_FORK), "wf");
    add(has(VmaFlags::DONT_DUMP), "dd");
    add(has(VmaFlags::HUGE_PAGE), "hg");
    add(has(VmaFlags::NO_HUGE_PAGE), "nh");
    out
}

/// The parts of the host's smaps below TASK_SIZE: where each starts, and its `kB` lines.
fn host_smaps(text: &str) -> BTreeMap<u64, Vec<(&str, u64)>> {
    let mut out = BTreeMap::new();
    let mut at = None;
    for line in text.lines() {
        let start = line
            .split_once('-')
            .and_then(|(start, _)| u64::from_str_radix(start, 16).ok());
        if let Some(start) = start {
            at = Some(start);
        } else if let (Some(start), Some(field)) = (at, fields(line).next()) {
            out.entry(start).or_insert_with(Vec::new).push(field);
        }
    }
    out
}

impl Mm {
    fn host_text(&self, name: &str) -> String {
        self.space
            .host_pid()
            .and_then(|pid| proc_file(pid, name))
            .unwrap_or_default()
    }

    /// Resident memory, as the host counts it.
    pub fn resident(&self) -> Resident {
        let text = self.host_text("status");
        let mut out = Resident::default();
        for (name, value) in fields(&text) {
            match name {
                "VmHWM" => out.peak = value,
                "VmRSS" => out.total = value,
                "RssAnon" => out.anon = value,
                "RssFile" => out.file = value,
                "RssShmem" => out.shmem = value,
                "VmPTE" => out.page_tables = value,
                "VmSwap" => out.swap = value,
                _ => {}
            }
        }
        out
    }

    /// Sizes of all kinds.
    pub fn sizes(&self) -> Sizes {
        let resident = self.resident();
        self.with(|state| Sizes {
            usage: state.usage,
            resident,
            code: state.info.end_code.saturating_sub(state.info.start_code),
        })
    }

    /// /proc/PID/maps, with paths as seen from `root`.
    pub fn maps_text(&self, root: &Path) -> Vec<u8> {
        let state = self.with(Snapshot::of);
        let mut out = Vec::new();
        for vma in &state.vmas {
            out.extend_from_slice(&maps_line(&state, vma, root));
            out.push(b'\n');
        }
        for (span, mode, name) in state.vdso.iter().flat_map(Vdso::parts) {
            out.extend_from_slice(&line(span, mode, 0, Dev::default(), 0, name));
            out.push(b'\n');
        }
        out
    }

    /// /proc/PID/smaps.
    pub fn smaps_text(&self, root: &Path) -> Vec<u8> {
        let text = self.host_text("smaps");
        let host = host_smaps(&text);
        let state = self.with(Snapshot::of);
        let mut out = Vec::new();
        for vma in &state.vmas {
            out.extend_from_slice(&maps_line(&state, vma, root));
            let size = vma.bytes() / 1024;
            let _ = write!(Text(&mut out), "\n{:<16}{size:>8} kB\n", "Size:");
            let mut sums: Vec<(&str, u64)> = Vec::new();
            for (name, value) in host
                .range(vma.span.start..vma.span.end)
                .flat_map(|(_, f)| f)
            {
                match sums.iter_mut().find(|(n, _)| n == name) {
                    // These two are sizes of a page, not amounts.
                    Some((n, _)) if n.ends_with("PageSize") => {}
                    Some((_, sum)) => *sum += value,
                    None => sums.push((name, *value)),
                }
            }
            for (name, value) in sums.iter().filter(|(n, _)| *n != "Size") {
                let _ = writeln!(Text(&mut out), "{:<16}{value:>8} kB", format!("{name}:"));
            }
            let _ = writeln!(Text(&mut out), "VmFlags: {}", vm_flags(vma));
        }
        out
    }

    /// /proc/PID/smaps_rollup.
    pub fn smaps_rollup_text(&self) -> Vec<u8> {
        let text = self.host_text("smaps_rollup");
        let (first, last) = self.with(|state| {
            let first = state.map.iter().next().map_or(0, |v| v.span.start);
            (first, state.map.iter().last().map_or(0, |v| v.span.end))
        });
        let mut out = line(
            Span::new(first, last),
            "---p",
            0,
            Dev::default(),
            0,
            b"[rollup]",
        );
        out.push(b'\n');
        for (name, value) in fields(&text) {
            let _ = writeln!(Text(&mut out), "{:<16}{value:>8} kB", format!("{name}:"));
        }
        out
    }

    /// /proc/PID/numa_maps of a machine with one node.
    pub fn numa_maps_text(&self, root: &Path) -> Vec<u8> {
        let state = self.with(Snapshot::of);
        let mut out = Vec::new();
        for vma in &state.vmas {
            let (_, _, name) = identity(&state, vma, root);
            let _ = write!(Text(&mut out), "{:08x} default", vma.span.start);
            match (&vma.backing, &name[..]) {
                (Backing::Anon, b"[heap]") => out.extend_from_slice(b" heap"),
                (Backing::Anon, b"[stack]") => out.extend_from_slice(b" stack"),
                (Backing::Anon, _) => {}
                _ => {
                    out.extend_from_slice(b" file=");
                    escape(&mut out, &name);
                }
            }
            out.push(b'\n');
        }
        out
    }

    /// /proc/PID/statm.
    pub fn statm_text(&self) -> String {
        let sizes = self.sizes();
        let pages = |kb: u64| kb / (PAGE / 1024);
        let shared = sizes.resident.file + sizes.resident.shmem;
        let data = sizes.usage.data + sizes.usage.stack;
        let code = sizes.code.div_ceil(PAGE);
        let (total, resident) = (sizes.usage.total, pages(sizes.resident.total));
        format!("{total} {resident} {} {code} 0 {data} 0\n", pages(shared))
    }

    /// The Vm and Rss lines of /proc/PID/status.
    pub fn status_text(&self) -> String {
        let Sizes {
            usage,
            resident,
            code,
            ..
        } = self.sizes();
        let code = (code / 1024).min(kb(usage.exec));
        let lines = [
            ("VmPeak", kb(usage.peak)),
            ("VmSize", kb(usage.total)),
            ("VmLck", kb(usage.locked)),
            ("VmPin", 0),
            ("VmHWM", resident.peak),
            ("VmRSS", resident.total),
            ("RssAnon", resident.anon),
            ("RssFile", resident.file),
            ("RssShmem", resident.shmem),
            ("VmData", kb(usage.data)),
            ("VmStk", kb(usage.stack)),
            ("VmExe", code),
            ("VmLib", kb(usage.exec) - code),
            ("VmPTE", resident.page_tables),
            ("VmSwap", resident.swap),
        ];
        lines.iter().fold(String::new(), |mut out, (name, value)| {
            let _ = writeln!(out, "{name}:\t{value:8} kB");
            out
        })
    }
}

/// Formats into bytes.
struct Text<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_the_kernels() {
        let text = line(
            Span::new(0x55e6_7131_c000, 0x55e6_7132_0000),
            "r--p",
            0,
            Dev::new(0xfe, 0),
            247_534,
            b"/usr/bin/mawk",
        );
        let expected = b"55e67131c000-55e671320000 r--p 00000000 fe:00 247534                     /usr/bin/mawk";
        assert_eq!(
            String::from_utf8_lossy(&text),
            String::from_utf8_lossy(expected)
        );
        let text = line(Span::new(0x7000, 0x8000), "rw-p", 0, Dev::default(), 0, b"");
        assert_eq!(text, b"00007000-00008000 rw-p 00000000 00:00 0 ");
        let text = line(
            Span::new(0x7000, 0x8000),
            "rw-p",
            0,
            Dev::default(),
            0,
            b"/a\nb",
        );
        assert!(text.ends_with(b" /a\\012b"));
    }

    #[test]
    fn the_hosts_numbers_are_found() {
        let text = "7f00-7f80 rw-p 0 00:00 0 \nSize: 4 kB\nRss:   8 kB\nVmFlags: rd\n8000-9000 r--p 0 00:00 0\nRss: 1 kB\n";
        let host = host_smaps(text);
        assert_eq!(host[&0x7f00], [("Size", 4), ("Rss", 8)]);
        assert_eq!(host[&0x8000], [("Rss", 1)]);
        assert_eq!(
            fields("VmRSS:\t    12 kB\nThreads:\t1\n").collect::<Vec<_>>(),
            [("VmRSS", 12)]
        );
    }
}
