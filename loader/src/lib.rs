//! Program files: what execve(2) makes of their first bytes, as a plan.
//!
//! Nothing here maps memory or opens a file. [`identify`] reads a file through [`Source`] and says
//! whether it is a script or an ELF image; [`plan()`] turns an image, with its interpreter, into the
//! list of mappings that Linux would make; [`stack::build`] lays out the first stack. The kernel
//! carries them out.
//!
//! *Invariants:* no input makes this crate panic, loop, or allocate more than a small multiple of
//! what it read. Every range of a plan is page aligned, not empty, and below the limit given.
//!
//! Errors of [`identify`], [`ElfImage::read`] and [`ElfImage::read_interpreter`] are execve(2)'s;
//! those of [`plan()`] arise where Linux has already given up the old program, so that there is
//! nobody to return them to: the process dies of SIGSEGV.

#![deny(unsafe_code)]

pub mod elf;
pub mod layout;
pub mod plan;
pub mod script;
pub mod source;
pub mod stack;

pub use elf::{ElfImage, ElfKind, ProgramHeader};
pub use plan::{File, LoadPlan, PlaceRequest, Placement, Prot, Step, plan};
pub use script::Script;
pub use source::Source;
pub use stack::{AuxParams, StackImage, StackParams};

use arch::{Errno, Result};

/// What a program file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    Elf(ElfImage),
    Script(Script),
}

/// Bytes of a file that decide what it is, `BINPRM_BUF_SIZE`.
pub const HEAD_LEN: usize = 256;

/// Most interpreters in a chain of scripts; one more is ELOOP.
pub const MAX_SCRIPT_DEPTH: u32 = 5;

/// Finds out what `source` is.
///
/// # Errors
/// ENOEXEC for anything that Linux can't run; what reading the file answers.
pub fn identify(source: &(impl Source + ?Sized)) -> Result<Format> {
    let mut head = [0; HEAD_LEN];
    source::read_up_to(source, 0, &mut head)?;
    if head.starts_with(b"#!") {
        return script::parse(&head).map(Format::Script);
    }
    if head.starts_with(elf::MAGIC) {
        return ElfImage::read(source).map(Format::Elf);
    }
    Err(Errno::ENOEXEC)
}

#[cfg(test)]
mod tests;
