//! From headers to mappings: what `load_elf_binary` and `load_elf_interp` do, as a list.

use crate::elf::{ElfImage, ElfKind, PHDR_LEN, ProgramHeader};
use crate::layout::ET_DYN_BASE;
use arch::{Errno, PAGE_SIZE, Result};

/// Which of the two files is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The program.
    Main,
    /// Its PT_INTERP.
    Interp,
}

/// Protection of a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prot {
    pub read: bool,
    pub write: bool,
    pub exec: bool,
}

impl Prot {
    fn of(header: &ProgramHeader) -> Prot {
        Prot {
            read: header.flags & libc::PF_R != 0,
            write: header.flags & libc::PF_W != 0,
            exec: header.flags & libc::PF_X != 0,
        }
    }

    /// As `PROT_*` of mmap(2).
    pub const fn bits(self) -> i32 {
        let mut bits = libc::PROT_NONE;
        if self.read {
            bits |= libc::PROT_READ;
        }
        if self.write {
            bits |= libc::PROT_WRITE;
        }
        if self.exec {
            bits |= libc::PROT_EXEC;
        }
        bits
    }
}

/// One thing to do. Steps are done in order: a later mapping replaces what it overlaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Map `len` bytes of a file from `offset`, privately. All three are page aligned; the range
    /// may reach beyond the file's end, where access raises SIGBUS.
    MapFile {
        file: File,
        addr: u64,
        len: u64,
        offset: u64,
        prot: Prot,
    },
    /// Map zeroes, privately.
    MapAnon { addr: u64, len: u64, prot: Prot },
    /// Write zeroes over what a file left in the rest of a writable page. Less than a page long.
    /// If it can't be written, exec fails.
    Zero { addr: u64, len: u64 },
}

/// Where an image may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Exactly here (ET_EXEC). Answer `addr`, or an error if the range is taken.
    Fixed { addr: u64 },
    /// Around [`pie_base`](crate::layout::pie_base): a movable program that has an interpreter.
    Pie,
    /// Where mmap(2) would put it: an interpreter, or a movable program without one.
    Mmap,
}

/// A question to the owner of the address space: where does this image go?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceRequest {
    pub file: File,
    pub placement: Placement,
    /// Bytes from the first page to the end of the last; a multiple of the page size.
    pub len: u64,
    /// Wanted alignment in bytes, a power of two, at least a page. It comes from the file: refuse
    /// what is absurd.
    pub align: u64,
}

/// Everything that execve(2) has to set up for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadPlan {
    pub steps: Vec<Step>,
    /// Where the first thread starts.
    pub entry: u64,
    /// AT_ENTRY: where the program itself starts.
    pub main_entry: u64,
    /// AT_PHDR.
    pub phdr: u64,
    /// AT_PHNUM.
    pub phnum: u64,
    /// AT_PHENT.
    pub phent: u64,
    /// AT_BASE: what was added to the interpreter's addresses, zero without one.
    pub interp_base: u64,
    /// What was added to the program's addresses.
    pub main_bias: u64,
    /// Page-aligned end of the program's data, before the heap's randomisation
    /// ([`brk_start`](crate::layout::brk_start)).
    pub brk: u64,
    /// The heap doesn't follow the data: a movable program without interpreter lives among the
    /// mappings, and its heap where programs usually are.
    pub brk_moved: bool,
    pub executable_stack: bool,
    /// Bounds of code and data, proc_pid_stat(5).
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
}

const fn page_start(addr: u64) -> u64 {
    addr & !(PAGE_SIZE - 1)
}

const fn page_offset(addr: u64) -> u64 {
    addr & (PAGE_SIZE - 1)
}

/// Rounds up; addresses of checked segments are far from wrapping.
const fn page_align(addr: u64) -> u64 {
    page_start(addr.saturating_add(PAGE_SIZE - 1))
}

/// Plans the loading of `main`, with `interp` if it has one. `place` decides where images go;
/// `task_size` is the end of the address space that the application may use, page aligned.
///
/// # Errors
/// EINVAL, ENOMEM, EPERM, EOVERFLOW as Linux finds them; what `place` answers. All are fatal to
/// the process (see the crate's documentation).
pub fn plan(
    main: &ElfImage,
    interp: Option<&ElfImage>,
    task_size: u64,
    mut place: impl FnMut(PlaceRequest) -> Result<u64>,
) -> Result<LoadPlan> {
    let mut steps = Vec::new();
    let placement = match interp {
        Some(_) => Placement::Pie,
        None => Placement::Mmap,
    };
    let main_bias = load(
        main,
        File::Main,
        placement,
        task_size,
        Errno::EINVAL,
        &mut place,
        &mut steps,
    )?;
    let main_entry = main.entry.wrapping_add(main_bias);

    let (entry, interp_base) = match interp {
        None => (main_entry, 0),
        Some(interp) => {
            // Without a segment `total_mapping_size` is zero.
            if interp.loads().next().is_none() {
                return Err(Errno::EINVAL);
            }
            let bias = load(
                interp,
                File::Interp,
                Placement::Mmap,
                task_size,
                Errno::ENOMEM,
                &mut place,
                &mut steps,
            )?;
            (interp.entry.wrapping_add(bias), bias)
        }
    };
    if entry >= task_size {
        return Err(Errno::EINVAL);
    }

    let bounds = Bounds::of(main);
    let brk_moved = interp.is_none() && main.kind == Some(ElfKind::Movable);
    Ok(LoadPlan {
        steps,
        entry,
        main_entry,
        phdr: bounds.phdr.wrapping_add(main_bias),
        phnum: main.headers.len() as u64,
        phent: PHDR_LEN as u64,
        interp_base,
        main_bias,
        brk: page_align(if brk_moved {
            ET_DYN_BASE
        } else {
            bounds.brk.wrapping_add(main_bias)
        }),
        brk_moved,
        executable_stack: main.executable_stack(),
        start_code: bounds.start_code.wrapping_add(main_bias),
        end_code: bounds.end_code.wrapping_add(main_bias),
        start_data: bounds.start_data.wrapping_add(main_bias),
        end_data: bounds.end_data.wrapping_add(main_bias),
    })
}

/// Addresses of a program that Linux gathers while it maps, not yet moved.
#[derive(Default)]
struct Bounds {
    phdr: u64,
    brk: u64,
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
}

impl Bounds {
    /// Of an image whose segments are checked.
    fn of(image: &ElfImage) -> Bounds {
        let mut bounds = Bounds::default();
        let mut start_code = None;
        for header in image.loads() {
            let file_end = header.vaddr + header.filesz;
            if header.offset <= image.phoff
                && image.phoff < header.offset.saturating_add(header.filesz)
            {
                bounds.phdr = (image.phoff - header.offset).wrapping_add(header.vaddr);
            }
            if header.flags & libc::PF_X != 0 {
                let lowest = start_code.unwrap_or(header.vaddr).min(header.vaddr);
                start_code = Some(lowest);
                bounds.end_code = bounds.end_code.max(file_end);
            }
            bounds.start_data = bounds.start_data.max(header.vaddr);
            bounds.end_data = bounds.end_data.max(file_end);
            bounds.brk = bounds.brk.max(header.vaddr + header.memsz);
        }
        bounds.start_code = start_code.unwrap_or(0);
        bounds
    }
}

/// Adds the steps for one image; answers what is to be added to its addresses.
fn load(
    image: &ElfImage,
    file: File,
    movable: Placement,
    task_size: u64,
    too_big: Errno,
    place: &mut impl FnMut(PlaceRequest) -> Result<u64>,
    steps: &mut Vec<Step>,
) -> Result<u64> {
    // Linux leaves its error variable at -1 for an interpreter of another type.
    let kind = image.kind.ok_or(Errno::EPERM)?;
    let mut low = u64::MAX;
    let mut high = 0;
    for header in image.loads() {
        check_segment(header, task_size, too_big)?;
        low = low.min(page_start(header.vaddr));
        high = high.max(page_align(header.vaddr + header.memsz));
    }
    if low >= high {
        // Nothing to map. A program so made faults at its entry point.
        return match image.loads().next() {
            Some(_) if kind == ElfKind::Movable => Err(Errno::EINVAL),
            _ => Ok(0),
        };
    }
    let len = high - low;
    let base = place(PlaceRequest {
        file,
        placement: match kind {
            ElfKind::Fixed => Placement::Fixed { addr: low },
            ElfKind::Movable => movable,
        },
        len,
        align: image.alignment(),
    })?;
    let fits = page_offset(base) == 0 && base.checked_add(len).is_some_and(|end| end <= task_size);
    if !fits || (kind == ElfKind::Fixed && base != low) {
        return Err(Errno::ENOMEM);
    }
    let bias = base.wrapping_sub(low);
    for header in image.loads() {
        map_segment(header, file, bias, steps)?;
    }
    Ok(bias)
}

fn check_segment(header: &ProgramHeader, task_size: u64, too_big: Errno) -> Result<()> {
    if header.vaddr >= task_size
        || header.filesz > header.memsz
        || header.memsz > task_size
        || task_size - header.memsz < header.vaddr
    {
        return Err(too_big);
    }
    Ok(())
}

/// `elf_load`: the file's part, zeroes to the end of its last page, zeroed pages for the rest.
fn map_segment(header: &ProgramHeader, file: File, bias: u64, steps: &mut Vec<Step>) -> Result<()> {
    let prot = Prot::of(header);
    let start = header.vaddr.wrapping_add(bias);
    let file_end = start + header.filesz;
    let end = start + header.memsz;
    let mut anon_start = page_start(start);
    if header.filesz != 0 {
        let (addr, len) = (page_start(start), page_align(file_end) - page_start(start));
        if page_offset(header.offset) != page_offset(header.vaddr) {
            return Err(Errno::EINVAL);
        }
        let offset = page_start(header.offset);
        match offset.checked_add(len) {
            None => return Err(Errno::EINVAL),
            Some(end) if i64::try_from(end).is_err() => return Err(Errno::EOVERFLOW),
            Some(_) => {}
        }
        steps.push(Step::MapFile {
            file,
            addr,
            len,
            offset,
            prot,
        });
        anon_start = page_align(file_end);
        // Linux tries in read-only segments too, fails, and goes on.
        if header.memsz > header.filesz && prot.write && page_offset(file_end) != 0 {
            steps.push(Step::Zero {
                addr: file_end,
                len: anon_start - file_end,
            });
        }
    }
    let anon_end = page_align(end);
    if header.memsz > header.filesz && anon_end > anon_start {
        steps.push(Step::MapAnon {
            addr: anon_start,
            len: anon_end - anon_start,
            // `vm_brk_flags`: always writable, whatever the segment says.
            prot: Prot {
                read: true,
                write: true,
                exec: prot.exec,
            },
        });
    }
    Ok(())
}
