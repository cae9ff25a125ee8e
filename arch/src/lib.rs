//! The Linux ABI: numbers, structures, registers and frames as an application sees them.
//!
//! Nothing in here does anything; it says what bytes mean. What differs between architectures
//! lives in one module each (`x86_64`, later `aarch64`) that exports the same names, and is
//! re-exported here, so that users never name an architecture.
//!
//! *Invariant:* every structure is plain old data without hidden padding (bytemuck proves it), and
//! its size is asserted against the kernel's.

#![deny(unsafe_code)]

pub mod abi;
pub mod errno;
pub mod signal;

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::{AUDIT_ARCH, MACHINE, nr, regs, sigframe, xsave};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("only x86_64 is described so far: add a module beside arch/src/x86_64");

pub use errno::{Errno, Result};
pub use regs::Regs;
pub use signal::Signal;

/// Bytes of a page of memory.
pub const PAGE_SIZE: u64 = 4096;
