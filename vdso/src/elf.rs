//! The dynamic symbols of an image in memory, elf(5).
//!
//! Every read is bounds checked: the host's image is trusted to be well meant, not to be of the
//! shape that this file knows.

const EHDR_LEN: usize = 64;
const PHDR_LEN: usize = 56;
const DYN_LEN: usize = 16;
const SYM_LEN: usize = 24;

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

const STT_FUNC: u8 = 2;
const STT_NOTYPE: u8 = 0;

/// A function of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub name: String,
    /// From the start of the image, in bytes.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
}

fn bytes<const N: usize>(image: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    image.get(at..)?.first_chunk().copied()
}

fn u16_at(image: &[u8], at: u64) -> Option<u16> {
    bytes(image, at).map(u16::from_le_bytes)
}

fn u32_at(image: &[u8], at: u64) -> Option<u32> {
    bytes(image, at).map(u32::from_le_bytes)
}

fn u64_at(image: &[u8], at: u64) -> Option<u64> {
    bytes(image, at).map(u64::from_le_bytes)
}

/// Where the dynamic section says that things are, as offsets into the image.
#[derive(Default)]
struct Dynamic {
    /// What to subtract from an address of the image for its offset: the first PT_LOAD's.
    base: u64,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
    symtab: Option<u64>,
    strtab: Option<u64>,
    strsz: Option<u64>,
}

impl Dynamic {
    fn read(image: &[u8]) -> Option<Dynamic> {
        let phoff = u64_at(image, 32)?;
        let phnum = u64::from(u16_at(image, 56)?);
        let mut base = None;
        let mut section = None;
        for index in 0..phnum {
            let header = phoff.checked_add(index * PHDR_LEN as u64)?;
            let vaddr = u64_at(image, header.checked_add(16)?)?;
            let filesz = u64_at(image, header.checked_add(32)?)?;
            match u32_at(image, header)? {
                libc::PT_LOAD if base.is_none() => {
                    base = Some(vaddr.wrapping_sub(u64_at(image, header.checked_add(8)?)?));
                }
                libc::PT_DYNAMIC => section = Some((vaddr, filesz)),
                _ => {}
            }
        }
        let (base, (vaddr, len)) = (base?, section?);
        let start = vaddr.wrapping_sub(base);
        let mut dynamic = Dynamic {
            base,
            ..Dynamic::default()
        };
        for index in 0..len / DYN_LEN as u64 {
            let entry = start.checked_add(index * DYN_LEN as u64)?;
            let value = u64_at(image, entry.checked_add(8)?)?;
            let offset = Some(value.wrapping_sub(base));
            match u64_at(image, entry)? {
                0 => break,
                DT_HASH => dynamic.hash = offset,
                DT_GNU_HASH => dynamic.gnu_hash = offset,
                DT_SYMTAB => dynamic.symtab = offset,
                DT_STRTAB => dynamic.strtab = offset,
                DT_STRSZ => dynamic.strsz = Some(value),
                _ => {}
            }
        }
        Some(dynamic)
    }

    /// How many symbols there are: the hash tables know.
    fn symbol_count(&self, image: &[u8]) -> Option<u64> {
        if let Some(hash) = self.hash {
            return Some(u64::from(u32_at(image, hash.checked_add(4)?)?));
        }
        gnu_symbol_count(image, self.gnu_hash?)
    }
}

/// One past the last symbol of a GNU hash table: the end of the chain that starts last.
fn gnu_symbol_count(image: &[u8], table: u64) -> Option<u64> {
    let word = |index: u64| u32_at(image, table.checked_add(index.checked_mul(4)?)?);
    let buckets = u64::from(word(0)?);
    let first = u64::from(word(1)?);
    let filter_words = u64::from(word(2)?);
    let bucket_at = 4 + filter_words * 2;
    let chain_at = bucket_at + buckets;
    let mut last = 0;
    for index in 0..buckets {
        last = last.max(u64::from(word(bucket_at + index)?));
    }
    if last < first {
        return Some(first);
    }
    // The end mark is in the image or the walk ends with the image.
    while word(chain_at + (last - first))? & 1 == 0 {
        last += 1;
    }
    Some(last + 1)
}

/// The functions that `image` defines, in the order of its symbol table; None if it is no ELF64
/// image that can be followed.
pub(crate) fn functions(image: &[u8]) -> Option<Vec<Function>> {
    if image.len() < EHDR_LEN || !image.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let dynamic = Dynamic::read(image)?;
    let (symtab, strtab) = (dynamic.symtab?, dynamic.strtab?);
    let strings = {
        let start = usize::try_from(strtab).ok()?;
        let len = usize::try_from(dynamic.strsz?).ok()?;
        image.get(start..start.checked_add(len)?)?
    };
    let mut functions = Vec::new();
    for index in 0..dynamic.symbol_count(image)? {
        let symbol = symtab.checked_add(index.checked_mul(SYM_LEN as u64)?)?;
        let [info, _, section @ ..]: [u8; 4] = bytes(image, symbol.checked_add(4)?)?;
        let offset = u64_at(image, symbol.checked_add(8)?)?.wrapping_sub(dynamic.base);
        let defined = u16::from_le_bytes(section) != 0;
        if !defined || !matches!(info & 15, STT_FUNC | STT_NOTYPE) || offset >= image.len() as u64 {
            continue;
        }
        let name = strings.get(u32_at(image, symbol)? as usize..)?;
        let name = name.split(|byte| *byte == 0).next()?;
        functions.push(Function {
            name: String::from_utf8_lossy(name).into_owned(),
            offset,
            size: u64_at(image, symbol.checked_add(16)?)?,
        });
    }
    Some(functions)
}
