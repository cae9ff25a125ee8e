//! Registers of a trapped thread.

/// Foreign system call conventions are told apart, so that the Sentry can
/// refuse them as Linux without that personality would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// `syscall` from 64-bit code.
    X86_64,
    /// `int 0x80`, or `syscall`/`sysenter` from 32-bit code.
    I386,
    /// `syscall` with bit 30 set in the number (the bit is still there in
    /// `nr`).
    X32,
}

/// General registers, in the order of `struct user_regs_struct`'s names.
///
/// After a system call trap `rax` holds the system call number, `rip` the
/// address after the instruction, `rcx` and `r11` what the instruction left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Regs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rip: u64,
    pub rflags: u64,
    pub rsp: u64,
    /// Segment selectors; `ds` and `es` are not kept (64-bit code has none).
    pub cs: u16,
    pub ss: u16,
    pub fs_base: u64,
    pub gs_base: u64,
}
