//! The frame on an application's stack while a signal handler runs, `arch/x86/kernel/signal_64.c`.
//!
//! From high to low addresses: the red zone of the interrupted function (128 bytes), the
//! floating-point state (aligned to 64, see [`xsave`](crate::xsave)), then [`RtSigFrame`], placed so
//! that the handler finds its stack as after a call.

use super::regs::{Regs, USER_CS, USER_DS, eflags};
use crate::abi::{SigInfo, SigSet, StackT, abi_struct};

abi_struct! {
    /// `struct sigcontext`: the interrupted registers (glibc's `mcontext_t`).
    pub struct SigContext: 256 {
        pub r8: u64,
        pub r9: u64,
        pub r10: u64,
        pub r11: u64,
        pub r12: u64,
        pub r13: u64,
        pub r14: u64,
        pub r15: u64,
        pub rdi: u64,
        pub rsi: u64,
        pub rbp: u64,
        pub rbx: u64,
        pub rdx: u64,
        pub rax: u64,
        pub rcx: u64,
        pub rsp: u64,
        pub rip: u64,
        pub eflags: u64,
        pub cs: u16,
        pub gs: u16,
        pub fs: u16,
        pub ss: u16,
        /// The processor's error code of the last fault.
        pub err: u64,
        /// The processor's vector of the last fault.
        pub trapno: u64,
        /// The low word of the blocked set; `uc_sigmask` is what counts.
        pub oldmask: u64,
        /// The address of the last page fault.
        pub cr2: u64,
        /// Address of the floating-point state, zero for none.
        pub fpstate: u64,
        pub reserved: [u64; 8],
    }

    /// The kernel's `struct ucontext` (glibc's is longer, with the same beginning).
    pub struct UContext: 304 {
        pub flags: u64,
        pub link: u64,
        pub stack: StackT,
        pub mcontext: SigContext,
        pub sigmask: SigSet,
    }

    /// `struct rt_sigframe`.
    pub struct RtSigFrame: 440 {
        /// Return address of the handler: the action's restorer.
        pub pretcode: u64,
        pub uc: UContext,
        pub info: SigInfo,
    }
}

/// `uc_flags`: the floating-point state is an xsave area with a software header.
pub const UC_FP_XSTATE: u64 = 1;
/// `uc_flags`: the frame has a stack segment.
pub const UC_SIGCONTEXT_SS: u64 = 2;
/// `uc_flags`: restore that segment as it stands.
pub const UC_STRICT_RESTORE_SS: u64 = 4;

/// Bytes below the stack pointer that a function may use without moving it.
pub const REDZONE: u64 = 128;

/// What the processor said of a fault, for the frame's last words; zero where there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultInfo {
    pub err: u64,
    pub trapno: u64,
    pub cr2: u64,
}

/// Where the parts of a frame go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    /// Address of the [`RtSigFrame`]; the handler's stack pointer.
    pub frame: u64,
    /// Address of the floating-point state.
    pub fpstate: u64,
}

impl FramePlace {
    /// Places a frame below `top`: the end of the alternate stack, or the interrupted stack
    /// pointer less [`REDZONE`]. `fpstate_len` is
    /// [`frame_len`](crate::xsave::Layout::frame_len), in bytes. None when the stack would wrap
    /// below address zero.
    pub const fn below(top: u64, fpstate_len: u64) -> Option<FramePlace> {
        let Some(end) = top.checked_sub(fpstate_len) else {
            return None;
        };
        let fpstate = end & !63;
        let Some(low) = fpstate.checked_sub(size_of::<RtSigFrame>() as u64) else {
            return None;
        };
        let Some(frame) = (low & !15).checked_sub(8) else {
            return None;
        };
        Some(FramePlace { frame, fpstate })
    }

    /// Bytes from the frame to the end of the floating-point state.
    pub const fn len(&self, fpstate_len: u64) -> u64 {
        self.fpstate + fpstate_len - self.frame
    }
}

/// The least stack that a handler needs, AT_MINSIGSTKSZ: the frame with `fpstate_len` bytes of
/// floating-point state and all alignment.
pub const fn min_sigstack(fpstate_len: u64) -> u64 {
    (size_of::<RtSigFrame>() as u64 + fpstate_len + 63 + 15 + 8).next_multiple_of(16)
}

/// Address of the `info` member of a frame at `frame`, the handler's second argument.
pub const fn info_addr(frame: u64) -> u64 {
    frame + memoffset::offset_of!(RtSigFrame, info) as u64
}

/// Address of the `uc` member of a frame at `frame`, the handler's third argument.
pub const fn uc_addr(frame: u64) -> u64 {
    frame + memoffset::offset_of!(RtSigFrame, uc) as u64
}

impl SigContext {
    /// The context of `regs`.
    pub fn new(regs: &Regs, mask: SigSet, fault: FaultInfo, fpstate: u64) -> SigContext {
        SigContext {
            r8: regs.r8,
            r9: regs.r9,
            r10: regs.r10,
            r11: regs.r11,
            r12: regs.r12,
            r13: regs.r13,
            r14: regs.r14,
            r15: regs.r15,
            rdi: regs.rdi,
            rsi: regs.rsi,
            rbp: regs.rbp,
            rbx: regs.rbx,
            rdx: regs.rdx,
            rax: regs.rax,
            rcx: regs.rcx,
            rsp: regs.rsp,
            rip: regs.rip,
            eflags: regs.eflags,
            cs: USER_CS as u16,
            gs: 0,
            fs: 0,
            ss: USER_DS as u16,
            err: fault.err,
            trapno: fault.trapno,
            oldmask: mask.0,
            cr2: fault.cr2,
            fpstate,
            reserved: [0; 8],
        }
    }

    /// The registers that rt_sigreturn(2) restores, made safe against `current` (segments and
    /// privileged flags stay). A context may name any address: an instruction pointer outside user
    /// memory faults when it is used.
    pub fn to_regs(&self, current: &Regs) -> Regs {
        let mut regs = Regs {
            r15: self.r15,
            r14: self.r14,
            r13: self.r13,
            r12: self.r12,
            rbp: self.rbp,
            rbx: self.rbx,
            r11: self.r11,
            r10: self.r10,
            r9: self.r9,
            r8: self.r8,
            rax: self.rax,
            rcx: self.rcx,
            rdx: self.rdx,
            rsi: self.rsi,
            rdi: self.rdi,
            orig_rax: u64::MAX,
            rip: self.rip,
            eflags: self.eflags,
            rsp: self.rsp,
            ..*current
        };
        regs.sanitize(current, eflags::SIGRETURN_MASK);
        regs
    }
}

impl RtSigFrame {
    /// The frame of a handler for `info`: `mask` is the blocked set to come back to, `stack` the
    /// alternate stack as it stood, `fpstate` the address from [`FramePlace`].
    pub fn new(
        regs: &Regs,
        info: SigInfo,
        mask: SigSet,
        stack: StackT,
        fault: FaultInfo,
        fpstate: u64,
        restorer: u64,
    ) -> RtSigFrame {
        RtSigFrame {
            pretcode: restorer,
            uc: UContext {
                flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
                link: 0,
                stack,
                mcontext: SigContext::new(regs, mask, fault, fpstate),
                sigmask: mask,
            },
            info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signal;
    use memoffset::offset_of;

    #[test]
    fn layout_begins_as_the_c_librarys() {
        assert_eq!(
            offset_of!(UContext, mcontext),
            offset_of!(libc::ucontext_t, uc_mcontext)
        );
        assert_eq!(
            offset_of!(UContext, sigmask),
            offset_of!(libc::ucontext_t, uc_sigmask)
        );
        assert_eq!(offset_of!(SigContext, rip), libc::REG_RIP as usize * 8);
        assert_eq!(offset_of!(SigContext, rsp), libc::REG_RSP as usize * 8);
        assert_eq!(offset_of!(SigContext, cs), libc::REG_CSGSFS as usize * 8);
        assert_eq!(offset_of!(SigContext, cr2), libc::REG_CR2 as usize * 8);
        assert_eq!(offset_of!(SigContext, fpstate), 184);
    }

    #[test]
    fn frames_are_aligned_as_after_a_call() {
        for top in 0x7fff_0000..0x7fff_0080_u64 {
            let place = FramePlace::below(top, 836).unwrap();
            assert_eq!(place.frame % 16, 8);
            assert_eq!(place.fpstate % 64, 0);
            assert!(place.fpstate + 836 <= top);
            assert!(place.frame + 440 <= place.fpstate);
            assert!(top - place.frame <= min_sigstack(836));
        }
        assert_eq!(FramePlace::below(1000, 836), None);
        assert_eq!(FramePlace::below(100, 836), None);
    }

    #[test]
    fn registers_go_there_and_back() {
        let mut regs = Regs::start(0x1000, 0x2000);
        regs.rdi = 5;
        regs.r15 = 6;
        regs.fs_base = 0x7000;
        let frame = RtSigFrame::new(
            &regs,
            SigInfo::kernel(Signal::SIGSEGV),
            SigSet::EMPTY,
            StackT::DISABLED,
            FaultInfo::default(),
            0,
            0,
        );
        assert_eq!(frame.uc.mcontext.to_regs(&regs), regs);
        assert_eq!((uc_addr(0), info_addr(0)), (8, 312));
    }
}
