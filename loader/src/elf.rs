//! ELF headers, elf(5), checked in the order of `fs/binfmt_elf.c`.

use crate::source::{Source, read_exact, read_up_to};
use arch::{Errno, Result};
use bytemuck::{Pod, Zeroable};

/// First bytes of any ELF file.
pub const MAGIC: &[u8; 4] = b"\x7fELF";

/// Length of an ELF64 file header.
pub const EHDR_LEN: usize = size_of::<FileHeader>();
/// Length of an ELF64 program header, AT_PHENT.
pub const PHDR_LEN: usize = size_of::<ProgramHeader>();

/// Most bytes of program headers that are read (`load_elf_phdrs`).
const PHDRS_MAX: usize = 65536;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = libc::EM_X86_64;

#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct FileHeader {
    ident: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    phoff: u64,
    shoff: u64,
    flags: u32,
    ehsize: u16,
    phentsize: u16,
    phnum: u16,
    shentsize: u16,
    shnum: u16,
    shstrndx: u16,
}

/// `Elf64_Phdr`, elf(5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ProgramHeader {
    /// `PT_*`.
    pub kind: u32,
    /// `PF_*`.
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub paddr: u64,
    /// In bytes, as the next.
    pub filesz: u64,
    pub memsz: u64,
    pub align: u64,
}

/// What `e_type` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfKind {
    /// ET_EXEC: its addresses are final.
    Fixed,
    /// ET_DYN: it goes anywhere.
    Movable,
}

/// The headers of an ELF image that may be executed, or be an interpreter.
///
/// The program headers are as they stand in the file; [`plan`](crate::plan()) checks the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfImage {
    /// None for an interpreter that is neither, which only [`plan`](crate::plan()) refuses.
    pub kind: Option<ElfKind>,
    /// `e_entry`, not yet moved.
    pub entry: u64,
    /// Offset of the program headers in the file.
    pub phoff: u64,
    /// At least one.
    pub headers: Vec<ProgramHeader>,
    /// Path of the interpreter (the first PT_INTERP), without its NUL. Always None for an
    /// interpreter.
    pub interp: Option<Vec<u8>>,
}

impl ElfImage {
    /// Reads the headers of a program.
    ///
    /// # Errors
    /// ENOEXEC: no ELF file, neither ET_EXEC nor ET_DYN, another machine, no or unreadable program
    /// headers, a bad interpreter path. EIO where the interpreter's path ends beyond the file.
    pub fn read(source: &(impl Source + ?Sized)) -> Result<ElfImage> {
        let mut bytes = [0; EHDR_LEN];
        read_up_to(source, 0, &mut bytes)?;
        let header: FileHeader = bytemuck::pod_read_unaligned(&bytes);
        if !header.ident.starts_with(MAGIC) {
            return Err(Errno::ENOEXEC);
        }
        let Some(kind) = header.elf_kind() else {
            return Err(Errno::ENOEXEC);
        };
        // As in Linux, class and byte order are not looked at: the machine and the size of a
        // program header stand for both.
        if header.machine != MACHINE {
            return Err(Errno::ENOEXEC);
        }
        let headers = read_headers(source, &header).map_err(|_| Errno::ENOEXEC)?;
        let interp = headers
            .iter()
            .find(|header| header.kind == libc::PT_INTERP)
            .map(|header| read_interp(source, header))
            .transpose()?;
        Ok(ElfImage {
            kind: Some(kind),
            entry: header.entry,
            phoff: header.phoff,
            headers,
            interp,
        })
    }

    /// Reads the headers of the file that a program named as its interpreter.
    ///
    /// # Errors
    /// EIO for a file shorter than a header, ELIBBAD for what isn't an image of this machine.
    pub fn read_interpreter(source: &(impl Source + ?Sized)) -> Result<ElfImage> {
        let mut bytes = [0; EHDR_LEN];
        read_exact(source, 0, &mut bytes)?;
        let header: FileHeader = bytemuck::pod_read_unaligned(&bytes);
        if !header.ident.starts_with(MAGIC) || header.machine != MACHINE {
            return Err(Errno::ELIBBAD);
        }
        let headers = read_headers(source, &header).map_err(|_| Errno::ELIBBAD)?;
        Ok(ElfImage {
            kind: header.elf_kind(),
            entry: header.entry,
            phoff: header.phoff,
            headers,
            interp: None,
        })
    }

    /// The PT_LOAD headers in file order.
    pub fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.headers
            .iter()
            .filter(|header| header.kind == libc::PT_LOAD)
    }

    /// Whether the stack is to be executable: the last PT_GNU_STACK says so. Without one it isn't,
    /// on x86_64.
    pub fn executable_stack(&self) -> bool {
        self.headers
            .iter()
            .rfind(|header| header.kind == libc::PT_GNU_STACK)
            .is_some_and(|header| header.flags & libc::PF_X != 0)
    }

    /// The greatest alignment that a segment asks for, in bytes, at least a page; alignments that
    /// are no power of two count for nothing (`maximum_alignment`).
    pub fn alignment(&self) -> u64 {
        self.loads()
            .map(|header| header.align)
            .filter(|align| align.is_power_of_two())
            .fold(arch::PAGE_SIZE, u64::max)
    }
}

impl FileHeader {
    fn elf_kind(&self) -> Option<ElfKind> {
        match self.kind {
            libc::ET_EXEC => Some(ElfKind::Fixed),
            libc::ET_DYN => Some(ElfKind::Movable),
            _ => None,
        }
    }
}

fn read_headers(
    source: &(impl Source + ?Sized),
    header: &FileHeader,
) -> Result<Vec<ProgramHeader>> {
    let len = PHDR_LEN * usize::from(header.phnum);
    if usize::from(header.phentsize) != PHDR_LEN || len == 0 || len > PHDRS_MAX {
        return Err(Errno::ENOEXEC);
    }
    let mut headers = vec![ProgramHeader::zeroed(); usize::from(header.phnum)];
    read_exact(
        source,
        header.phoff,
        bytemuck::cast_slice_mut(headers.as_mut_slice()),
    )?;
    Ok(headers)
}

fn read_interp(source: &(impl Source + ?Sized), header: &ProgramHeader) -> Result<Vec<u8>> {
    if header.filesz < 2 || header.filesz > arch::abi::PATH_MAX as u64 {
        return Err(Errno::ENOEXEC);
    }
    let mut path = vec![0; header.filesz as usize];
    read_exact(source, header.offset, &mut path)?;
    if path.pop() != Some(0) {
        return Err(Errno::ENOEXEC);
    }
    // What is opened is a C string: it ends at its first NUL.
    if let Some(nul) = path.iter().position(|byte| *byte == 0) {
        path.truncate(nul);
    }
    Ok(path)
}
