//! What is particular to x86_64.

pub mod abi;
pub mod nr;
pub mod regs;
pub mod sigframe;
pub mod xsave;

/// `AUDIT_ARCH_X86_64`, what seccomp(2) filters compare with.
pub const AUDIT_ARCH: u32 = 0xc000_003e;

/// uname(2)'s machine and AT_PLATFORM.
pub const MACHINE: &str = "x86_64";
