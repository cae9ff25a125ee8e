//! The frame a signal handler runs on, and the way back (sigreturn(2)); layout of x86-64's setup_rt_frame.

use crate::task::{Cx, run};
use crate::user::{UserAddr, UserRef};
use arch::abi::{
    RtSigFrame, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, SigAction, SigContext, SigInfo, SigSet,
    StackT, UContext,
};
use arch::signal::Signal;
use arch::{Errno, Result};
use systrap::Regs;

/// Below the stack pointer, leaf functions keep data here.
const RED_ZONE: u64 = 128;
/// UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS.
const UC_FLAGS: u64 = 7;
const FLAG_TF: u64 = 1 << 8;
const FLAG_DF: u64 = 1 << 10;
const FLAG_RF: u64 = 1 << 16;
/// The flags that sigreturn(2) takes from the frame (FIX_EFLAGS).
const FIX_EFLAGS: u64 = arch::regs::eflags::SIGRETURN_MASK;

/// Whether `sp` is on the alternate stack (and that is not in use by SS_AUTODISARM's rules).
pub fn on_altstack(stack: &StackT, sp: u64) -> bool {
    stack.flags & SS_AUTODISARM == 0 && stack.contains(sp)
}

/// The state that sigaltstack(2) reports for a stack pointer.
pub fn altstack_flags(stack: &StackT, sp: u64) -> i32 {
    if stack.size == 0 {
        SS_DISABLE
    } else if on_altstack(stack, sp) {
        SS_ONSTACK
    } else {
        0
    }
}

/// What was before a frame that its stub may find it can't write.
pub(crate) struct Pushed {
    pub signal: Signal,
    regs: Regs,
    mask: SigSet,
    saved_mask: Option<SigSet>,
    altstack: StackT,
}

impl Pushed {
    /// As if there had been no handler.
    pub fn undo(self, cx: &Cx) {
        cx.thread.lock().set_regs(&self.regs);
        {
            let mut signals = cx.task.signals.lock();
            signals.saved_mask = self.saved_mask;
            signals.altstack = self.altstack;
        }
        cx.task.set_mask(self.mask);
    }
}

/// Has the stub store the FPU state at `addr`. False if it can't.
async fn move_fpstate(cx: &Cx, addr: u64, len: usize) -> bool {
    if cx.task.mm().writable(addr, len) && cx.thread.lock().move_fpstate(addr) {
        return true;
    }
    if cx.thread.lock().needs_fetch() {
        run::fetch_state(cx).await;
    }
    false
}

/// Makes the frame, and has the task go on in the handler. EFAULT if the stack has no room.
pub async fn push(cx: &Cx, info: &SigInfo, action: &SigAction) -> Result<()> {
    let task = &cx.task;
    let (regs, fp_len) = {
        let thread = cx.thread.lock();
        (thread.regs(), thread.fpstate_len())
    };
    let (own_mask, saved_mask, altstack) = {
        let signals = task.signals.lock();
        (signals.mask, signals.saved_mask, signals.altstack)
    };
    let mask = saved_mask.unwrap_or(own_mask);

    let mut sp = regs.rsp.wrapping_sub(RED_ZONE);
    let nested = on_altstack(&altstack, regs.rsp);
    let entering =
        action.flags & arch::abi::SA_ONSTACK != 0 && altstack_flags(&altstack, regs.rsp) == 0;
    if entering {
        sp = altstack.sp.wrapping_add(altstack.size);
    }
    let fp_addr = sp.wrapping_sub(fp_len as u64) & !63;
    let frame_addr = (fp_addr.wrapping_sub(size_of::<RtSigFrame>() as u64) & !15).wrapping_sub(8);
    // Rather a clean SIGSEGV than a frame beside the alternate stack.
    if (nested || entering) && !altstack.contains(frame_addr) {
        return Err(Errno::EFAULT);
    }
    if action.flags & arch::abi::SA_RESTORER == 0 {
        return Err(Errno::EFAULT);
    }

    let (trapno, err, cr2) = task.last_fault.lock().take().unwrap_or((0, 0, 0));
    let frame = RtSigFrame {
        pretcode: action.restorer,
        uc: UContext {
            flags: UC_FLAGS,
            link: 0,
            stack: StackT {
                sp: altstack.sp,
                flags: stack_flags_saved(&altstack, regs.rsp),
                size: altstack.size,
                ..StackT::default()
            },
            mcontext: SigContext {
                oldmask: mask.0,
                trapno,
                err,
                cr2,
                fpstate: fp_addr,
                ..context_of(&regs)
            },
            sigmask: mask,
        },
        info: *info,
    };
    let live = cx.thread.lock().needs_fetch();
    let moved = move_fpstate(cx, fp_addr, fp_len).await;
    if !moved {
        let fpstate = cx.thread.lock().fpstate();
        cx.write_bytes(UserAddr(fp_addr), &fpstate)?;
    }
    cx.write_obj(UserRef::new(UserAddr(frame_addr)), &frame)?;

    let handler = Regs {
        rdi: u64::from(info.signo.cast_unsigned()),
        rsi: frame_addr + std::mem::offset_of!(RtSigFrame, info) as u64,
        rdx: frame_addr + std::mem::offset_of!(RtSigFrame, uc) as u64,
        rax: 0,
        rip: action.handler,
        rsp: frame_addr,
        rflags: regs.rflags & !(FLAG_DF | FLAG_RF | FLAG_TF),
        ..regs
    };
    {
        // A handler starts with the FPU's initial state (fpu__clear_user_states).
        let mut thread = cx.thread.lock();
        if !moved {
            thread.set_fpstate(&[]).map_err(|_| Errno::EFAULT)?;
        }
        thread.set_handler_regs(&handler);
    }
    cx.answered.take();
    if live && moved {
        cx.pushed.set(Pushed {
            signal: info.signal().unwrap_or(Signal::SIGSEGV),
            regs,
            mask: own_mask,
            saved_mask,
            altstack,
        });
    }

    {
        let mut signals = task.signals.lock();
        signals.saved_mask = None;
        if altstack.flags & SS_AUTODISARM != 0 {
            signals.altstack = StackT::DISABLED;
        }
    }
    let mut blocked = task.signals.lock().mask | action.mask;
    if action.flags & arch::abi::SA_NODEFER == 0
        && let Some(signal) = info.signal()
    {
        blocked.add(signal);
    }
    task.set_mask(blocked);
    Ok(())
}

fn stack_flags_saved(stack: &StackT, sp: u64) -> i32 {
    altstack_flags(stack, sp) | (stack.flags & SS_AUTODISARM)
}

fn context_of(regs: &Regs) -> SigContext {
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
        eflags: regs.rflags,
        cs: regs.cs,
        ss: regs.ss,
        ..SigContext::default()
    }
}

/// rt_sigreturn(2): takes registers, mask and alternate stack from the frame that the stack pointer stands on. A bad frame
/// is a SIGSEGV.
pub fn sigreturn(cx: &Cx) -> Result<()> {
    let regs = cx.thread.lock().regs();
    let frame_addr = regs.rsp.wrapping_sub(8);
    let uc_addr = frame_addr.wrapping_add(std::mem::offset_of!(RtSigFrame, uc) as u64);
    let uc: UContext = cx.read_obj(UserRef::new(UserAddr(uc_addr)))?;
    let m = &uc.mcontext;
    let fpstate = if m.fpstate == 0 {
        Vec::new()
    } else {
        read_fpstate(cx, UserAddr(m.fpstate))?
    };
    let restored = Regs {
        r8: m.r8,
        r9: m.r9,
        r10: m.r10,
        r11: m.r11,
        r12: m.r12,
        r13: m.r13,
        r14: m.r14,
        r15: m.r15,
        rdi: m.rdi,
        rsi: m.rsi,
        rbp: m.rbp,
        rbx: m.rbx,
        rdx: m.rdx,
        rax: m.rax,
        rcx: m.rcx,
        rsp: m.rsp,
        rip: m.rip,
        rflags: (regs.rflags & !FIX_EFLAGS) | (m.eflags & FIX_EFLAGS),
        ..regs
    };
    // The vDSO lies in the stub's area, so code there may have been interrupted. (A jump to the stub's text is no more than the
    // application can do without us.)
    if restored.rip >= systrap::layout::STUB_END {
        return Err(Errno::EFAULT);
    }
    {
        let mut thread = cx.thread.lock();
        thread.set_fpstate(&fpstate).map_err(|_| Errno::EFAULT)?;
        thread.set_regs(&restored);
    }
    cx.registers_set();
    cx.task.signals.lock().saved_mask = None;
    cx.task.set_mask(SigSet(uc.sigmask.0));
    // restore_altstack ignores errors.
    let _ = set_altstack(cx, &uc.stack, restored.rsp);
    Ok(())
}

/// Copies an fpstate from the application: its length stands in it.
fn read_fpstate(cx: &Cx, addr: UserAddr) -> Result<Vec<u8>> {
    let mut head = [0; arch::xsave::FXSAVE_LEN];
    cx.read_bytes(addr, &mut head)?;
    let len = arch::xsave::claimed_len(&head, arch::xsave::Layout::host());
    let mut bytes = vec![0; len];
    cx.read_bytes(addr, &mut bytes)?;
    Ok(bytes)
}

/// sigaltstack(2)'s setting half; `sp` is where the thread's stack pointer is.
pub fn set_altstack(cx: &Cx, new: &StackT, sp: u64) -> Result<()> {
    let mut signals = cx.task.signals.lock();
    if on_altstack(&signals.altstack, sp) {
        return Err(Errno::EPERM);
    }
    let mode = new.flags & !SS_AUTODISARM;
    if mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0 {
        return Err(Errno::EINVAL);
    }
    if mode == SS_DISABLE {
        signals.altstack = StackT {
            flags: new.flags,
            ..StackT::DISABLED
        };
        return Ok(());
    }
    if new.size < arch::abi::MINSIGSTKSZ {
        return Err(Errno::ENOMEM);
    }
    signals.altstack = StackT {
        sp: new.sp,
        flags: new.flags & SS_AUTODISARM,
        size: new.size,
        ..StackT::default()
    };
    Ok(())
}
