//! General registers of an x86_64 thread.

use bytemuck::{Pod, Zeroable};
use memoffset::offset_of;
use static_assertions::const_assert_eq;

/// `user_regs_struct`, the order of ptrace(2)'s PTRACE_GETREGS and of core files.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
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
    /// The syscall's number on entry, `u64::MAX` outside a syscall.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

const_assert_eq!(size_of::<Regs>(), 27 * 8);
const_assert_eq!(offset_of!(Regs, orig_rax), 120);
const_assert_eq!(offset_of!(Regs, gs), 208);

/// `__USER_CS`, the code segment of 64-bit user mode.
pub const USER_CS: u64 = 0x33;
/// `__USER_DS`, the stack segment of 64-bit user mode.
pub const USER_DS: u64 = 0x2b;

/// Bits of `eflags`.
pub mod eflags {
    pub const CF: u64 = 1 << 0;
    /// Reads as one always.
    pub const FIXED: u64 = 1 << 1;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    /// Single step.
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    /// String direction; clear on entry to any C function.
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume.
    pub const RF: u64 = 1 << 16;
    /// Alignment check.
    pub const AC: u64 = 1 << 18;
    pub const ID: u64 = 1 << 21;

    /// What a signal frame may change (`FIX_EFLAGS` of arch/x86/kernel/signal_64.c).
    pub const SIGRETURN_MASK: u64 = AC | OF | DF | TF | SF | ZF | AF | PF | CF | RF;
    /// What ptrace(2) may change (`FLAG_MASK` of arch/x86/kernel/ptrace.c).
    pub const PTRACE_MASK: u64 = CF | PF | AF | ZF | SF | TF | DF | OF | NT | RF | AC;
}

/// The greatest user address plus one with four-level page tables (`TASK_SIZE_MAX`).
pub const TASK_SIZE: u64 = (1 << 47) - 4096;

/// Length of the `syscall` instruction, what a restart steps back by.
pub const SYSCALL_INSN_LEN: u64 = 2;

/// Whether `addr` may be loaded into a segment base or the instruction pointer of user mode: below
/// [`TASK_SIZE`] (which also makes it canonical).
pub const fn is_user_address(addr: u64) -> bool {
    addr < TASK_SIZE
}

impl Regs {
    /// Registers of a thread that starts at `ip` with stack `sp`: all else zero, flags and segments
    /// as execve(2) leaves them.
    pub fn start(ip: u64, sp: u64) -> Regs {
        Regs {
            rip: ip,
            rsp: sp,
            eflags: eflags::IF | eflags::FIXED,
            cs: USER_CS,
            ss: USER_DS,
            orig_rax: u64::MAX,
            ..Regs::zeroed()
        }
    }

    /// The number of the syscall under way.
    pub fn syscall_nr(&self) -> u64 {
        self.orig_rax
    }

    /// The six arguments of the syscall convention: rdi, rsi, rdx, r10, r8, r9.
    pub fn syscall_args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// Puts `value` into the return register.
    pub fn set_return(&mut self, value: u64) {
        self.rax = value;
    }

    /// The return register.
    pub fn return_value(&self) -> u64 {
        self.rax
    }

    /// Sets up a restart of the interrupted syscall: back onto the instruction, number `nr` (the old
    /// one, or `restart_syscall`).
    pub fn restart_syscall(&mut self, nr: u64) {
        self.rax = nr;
        self.rip = self.rip.wrapping_sub(SYSCALL_INSN_LEN);
    }

    /// The instruction pointer.
    pub fn ip(&self) -> u64 {
        self.rip
    }

    pub fn set_ip(&mut self, ip: u64) {
        self.rip = ip;
    }

    /// The stack pointer.
    pub fn sp(&self) -> u64 {
        self.rsp
    }

    pub fn set_sp(&mut self, sp: u64) {
        self.rsp = sp;
    }

    /// The thread pointer, what CLONE_SETTLS and arch_prctl(ARCH_SET_FS) set.
    pub fn tls(&self) -> u64 {
        self.fs_base
    }

    pub fn set_tls(&mut self, base: u64) {
        self.fs_base = base;
    }

    /// Sets the three arguments of a signal handler and its entry point.
    pub fn enter_handler(&mut self, handler: u64, sp: u64, signo: u64, info: u64, ucontext: u64) {
        self.rip = handler;
        self.rsp = sp;
        self.rdi = signo;
        self.rsi = info;
        self.rdx = ucontext;
        self.rax = 0;
        self.cs = USER_CS;
        self.ss = USER_DS;
        self.eflags &= !(eflags::DF | eflags::RF | eflags::TF);
    }

    /// Makes registers that an application chose fit to run with: user segments, only those flags
    /// that `mask` lets through (`eflags::SIGRETURN_MASK` or `eflags::PTRACE_MASK`), the rest from
    /// `old`. The instruction pointer is left alone: check it with [`is_user_address`] where a jump
    /// to it is made, since one that isn't canonical faults at the jump.
    pub fn sanitize(&mut self, old: &Regs, mask: u64) {
        self.cs = USER_CS;
        self.ss = USER_DS;
        (self.ds, self.es) = (old.ds, old.es);
        (self.fs, self.gs) = (old.fs, old.gs);
        self.eflags = (old.eflags & !mask) | (self.eflags & mask) | eflags::IF | eflags::FIXED;
        if !is_user_address(self.fs_base) {
            self.fs_base = old.fs_base;
        }
        if !is_user_address(self.gs_base) {
            self.gs_base = old.gs_base;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<Regs>(), size_of::<libc::user_regs_struct>());
        assert_eq!(
            offset_of!(Regs, rip),
            offset_of!(libc::user_regs_struct, rip)
        );
        assert_eq!(
            offset_of!(Regs, fs_base),
            offset_of!(libc::user_regs_struct, fs_base)
        );
    }

    #[test]
    fn arguments_come_in_convention_order() {
        let regs = Regs {
            rdi: 1,
            rsi: 2,
            rdx: 3,
            r10: 4,
            r8: 5,
            r9: 6,
            ..Regs::default()
        };
        assert_eq!(regs.syscall_args(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn sanitize_keeps_privileged_flags_and_segments() {
        let old = Regs::start(0x1000, 0x2000);
        let mut new = old;
        new.eflags = u64::MAX;
        new.cs = 0x10;
        new.ss = 0;
        new.fs_base = u64::MAX;
        new.gs = 0x63;
        new.sanitize(&old, eflags::SIGRETURN_MASK);
        assert_eq!((new.cs, new.ss, new.fs_base), (USER_CS, USER_DS, 0));
        assert_eq!(new.gs, 0);
        assert_eq!(
            new.eflags,
            eflags::SIGRETURN_MASK | eflags::IF | eflags::FIXED
        );
    }

    #[test]
    fn restart_goes_back_onto_the_instruction() {
        let mut regs = Regs::start(0x1002, 0);
        regs.restart_syscall(7);
        assert_eq!((regs.ip(), regs.rax), (0x1000, 7));
    }
}
