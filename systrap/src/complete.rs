//! Frames of patched call sites: general registers only, until more is asked
//! for.

use crate::layout::{REGION, SLOT_STRIDE};
use crate::proto::*;
use crate::thread::Full;
use crate::{Regs, Thread};

/// Selectors of 64-bit user code.
const USER_CS: u16 = 0x33;
const USER_SS: u16 = 0x2b;
const FLAG_TF: u64 = 1 << 8;
/// UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
const UC_FLAGS: u64 = 7;

impl Thread {
    /// Whether the FPU state is still in the stub's registers:
    /// [`Thread::fetch`] and `perform` bring it.
    pub fn needs_fetch(&self) -> bool {
        self.fast && self.full != Full::Given
    }

    /// Lets the next `perform` (or `resume`) save the FPU state.
    pub fn fetch(&mut self) {
        if self.needs_fetch() {
            self.complete(Full::Live);
        }
    }

    /// The registers of a frame that a patched call site made: as the
    /// `syscall` instruction would have left them.
    pub(crate) fn fast_regs(&self) -> Regs {
        let greg = |off| self.ld64(self.frame + off);
        let rip = self.shown(greg(F_RIP));
        let rflags = greg(F_RFLAGS);
        let (fs_base, gs_base) = self.bases();
        Regs {
            r15: greg(F_R15),
            r14: greg(F_R14),
            r13: greg(F_R13),
            r12: greg(F_R12),
            rbp: greg(F_RBP),
            rbx: greg(F_RBX),
            r11: rflags,
            r10: greg(F_R10),
            r9: greg(F_R9),
            r8: greg(F_R8),
            rax: self.ret.unwrap_or_else(|| greg(F_RAX)),
            rcx: rip,
            rdx: greg(F_RDX),
            rsi: greg(F_RSI),
            rdi: greg(F_RDI),
            rip,
            rflags,
            rsp: greg(F_RSP),
            cs: USER_CS,
            ss: USER_SS,
            fs_base,
            gs_base,
        }
    }

    /// Registers are about to be set: whether the jump back can load them.
    pub(crate) fn complete_for(&mut self, r: &Regs) {
        let as_of_syscall = r.rcx == r.rip
            && r.r11 == r.rflags
            && r.rflags & FLAG_TF == 0
            && r.cs == USER_CS
            && r.ss == USER_SS;
        if self.fast && !as_of_syscall && self.full == Full::No {
            self.complete(Full::Live);
        }
    }

    /// Fills in what a frame of the kernel's has besides the registers. With
    /// `Full::Live` the stub adds the FPU state.
    pub(crate) fn complete(&mut self, how: Full) {
        let core = self.space.core.clone();
        let Some(shape) = core.patching() else { return };
        if !self.fast {
            return;
        }
        if self.full == Full::No {
            let r = self.fast_regs();
            let frame = self.frame;
            self.ret = None;
            self.st64(frame + F_RAX, r.rax);
            let slot = REGION + self.base;
            // sa_restorer's place is not used: the stub returns by hand.
            self.st64(frame + F_UC, UC_FLAGS);
            self.st64(frame + F_UC + 8, 0);
            self.st64(frame + F_SS_SP, slot + S_STACK);
            self.st64(frame + F_SS_FLAGS, 0);
            self.st64(frame + F_SS_SIZE, SLOT_STRIDE - S_STACK);
            self.st64(frame + F_RIP, r.rip);
            self.st64(frame + F_RCX, r.rcx);
            self.st64(frame + F_R11, r.r11);
            self.st64(frame + F_CS, 0);
            let segments = self.base + frame;
            self.space.region.st16(segments + F_CS, USER_CS);
            self.space.region.st16(segments + F_SS, USER_SS);
            self.st64(frame + F_SIGMASK, 0);
            self.slot_copy_to(shape.fp.into(), &shape.initial);
            self.st64(frame + F_FPSTATE, slot + u64::from(shape.fp));
            self.rip_set = true;
        }
        if self.full != Full::Given {
            self.full = how;
        }
    }
}
