//! The vDSO: the small library in every address space that answers clock_gettime(2) and its kin
//! without a system call, vdso(7).
//!
//! An application is shown the host's own image. It consists of adjacent mappings (data pages
//! first: `[vvar]`, on newer kernels `[vvar_vclock]`; code last: `[vdso]`), is found in every host
//! process, and keeps working when all of them are moved together with mremap(2). [`HostVdso`] says
//! what there is to be moved, and what the image exports; the address is the kernel's choice and
//! becomes AT_SYSINFO_EHDR by way of [`HostVdso::sysinfo_ehdr`].
//!
//! Where the image can't answer (a clock that it doesn't know, an unstable TSC) it makes the system
//! call itself, with a `syscall` instruction that traps as any other.
//!
//! # When the host's image doesn't serve
//!
//! It tells the host's clocks. An application whose CLOCK_MONOTONIC or CLOCK_BOOTTIME differ from
//! the host's (restored from a checkpoint, or in a time namespace with offsets), or on a host that
//! seals its system mappings ([`HostVdso::sealed`]), gets no AT_SYSINFO_EHDR: C libraries then make
//! system calls, which are slower, and right. An image of our own, with a data page that the Sentry
//! writes, belongs in a module `image` beside [`host`] and behind the same three questions: how
//! long, where does it go, what does it export.

#![deny(unsafe_code)]

mod elf;
pub mod host;

pub use host::{Error, HostVdso, Mapping, Support, Symbol};
