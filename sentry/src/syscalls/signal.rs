//! Signals: sending, masks, actions, waiting.

use crate::signal::{self, frame, send};
use crate::task::{Cx, Deadline, Pid, ThreadGroup};
use crate::user::{UserAddr, UserRef};
use arch::abi::{
    SA_SUPPORTED, SI_TKILL, SI_USER, SIGSET_SIZE, SigAction, SigInfo, SigSet, StackT, Timespec,
};
use arch::signal::Signal;
use arch::{Errno, Result};
use std::sync::Arc;

/// `None` for 0, which only asks whether the target is there.
fn decode(signo: i32) -> Result<Option<Signal>> {
    if signo == 0 {
        Ok(None)
    } else {
        Signal::from_raw(signo).map(Some).ok_or(Errno::EINVAL)
    }
}

fn from_me(cx: &Cx, signal: Signal, code: i32) -> SigInfo {
    SigInfo::kill(signal, code, cx.task.group.pid, cx.task.creds().uid)
}

fn signal_group(
    cx: &Cx,
    group: &Arc<ThreadGroup>,
    signo: i32,
    info: Option<SigInfo>,
) -> Result<()> {
    send::may_signal(&cx.task, group, signo)?;
    match info {
        Some(info) => send::send_to_group(group, info),
        None => Ok(()),
    }
}

/// kill(2).
pub fn kill(cx: &Cx, pid: i32, signo: i32) -> Result<()> {
    let info = decode(signo)?.map(|s| from_me(cx, s, SI_USER));
    match pid {
        i32::MIN => Err(Errno::ESRCH),
        p if p > 0 => {
            let group = {
                let tree = cx.kernel().tasks.lock();
                tree.group(p)
                    .or_else(|| tree.task(p).map(|t| Arc::clone(&t.group)))
            };
            signal_group(cx, &group.ok_or(Errno::ESRCH)?, signo, info)
        }
        -1 => {
            let all = cx.kernel().tasks.lock().all_groups();
            let mut result = Err(Errno::ESRCH);
            for group in all
                .iter()
                .filter(|g| g.pid != 1 && g.pid != cx.task.group.pid)
            {
                // That it may not signal anybody is no error.
                result = match signal_group(cx, group, signo, info) {
                    Err(Errno::EPERM) => result.or(Ok(())),
                    other => other,
                };
            }
            result
        }
        p => {
            let id = if p == 0 { cx.task.group.pgrp().id } else { -p };
            let members = cx.kernel().tasks.lock().pgrp_members(id);
            let mut result = Err(Errno::ESRCH);
            let mut sent = false;
            for group in members {
                match signal_group(cx, &group, signo, info) {
                    Ok(()) => sent = true,
                    Err(e) => result = Err(e),
                }
            }
            if sent { Ok(()) } else { result }
        }
    }
}

fn thread_kill(
    cx: &Cx,
    tgid: Option<Pid>,
    tid: Pid,
    signo: i32,
    info: Option<SigInfo>,
) -> Result<()> {
    let task = cx.kernel().tasks.lock().task(tid).ok_or(Errno::ESRCH)?;
    if tgid.is_some_and(|pid| task.group.pid != pid) {
        return Err(Errno::ESRCH);
    }
    send::may_signal(&cx.task, &task.group, signo)?;
    match info {
        Some(info) => send::send_to_task(&task, info),
        None => Ok(()),
    }
}

/// tgkill(2).
pub fn tgkill(cx: &Cx, tgid: Pid, tid: Pid, signo: i32) -> Result<()> {
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = decode(signo)?.map(|s| from_me(cx, s, SI_TKILL));
    thread_kill(cx, Some(tgid), tid, signo, info)
}

/// tkill(2).
pub fn tkill(cx: &Cx, tid: Pid, signo: i32) -> Result<()> {
    if tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = decode(signo)?.map(|s| from_me(cx, s, SI_TKILL));
    thread_kill(cx, None, tid, signo, info)
}

/// The information of rt_sigqueueinfo(2): a sender may not pretend to be the kernel or kill(2), but to itself.
fn queued_info(
    cx: &Cx,
    signo: i32,
    from: UserRef<SigInfo>,
    to_self: bool,
) -> Result<Option<SigInfo>> {
    let mut info: SigInfo = cx.read_obj(from)?;
    info.signo = signo;
    if (info.code >= 0 || info.code == SI_TKILL) && !to_self {
        return Err(Errno::EPERM);
    }
    Ok(decode(signo)?.map(|_| info))
}

/// rt_sigqueueinfo(2).
pub fn rt_sigqueueinfo(cx: &Cx, pid: Pid, signo: i32, info: UserRef<SigInfo>) -> Result<()> {
    let info = queued_info(cx, signo, info, pid == cx.task.group.pid)?;
    let group = cx.kernel().tasks.lock().group(pid).ok_or(Errno::ESRCH)?;
    signal_group(cx, &group, signo, info)
}

/// rt_tgsigqueueinfo(2).
pub fn rt_tgsigqueueinfo(
    cx: &Cx,
    tgid: Pid,
    tid: Pid,
    signo: i32,
    info: UserRef<SigInfo>,
) -> Result<()> {
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = queued_info(cx, signo, info, tid == cx.task.tid())?;
    thread_kill(cx, Some(tgid), tid, signo, info)
}

/// pidfd_send_signal(2).
pub fn pidfd_send_signal(
    cx: &Cx,
    fd: super::Fd,
    signo: i32,
    info: UserRef<SigInfo>,
    flags: u32,
) -> Result<()> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (group, _) = super::event::pidfd_group(cx, fd)?;
    let sent = if info.is_null() {
        decode(signo)?.map(|s| from_me(cx, s, SI_USER))
    } else {
        let given: SigInfo = cx.read_obj(info)?;
        if given.signo != signo {
            return Err(Errno::EINVAL);
        }
        queued_info(cx, signo, info, group.pid == cx.task.group.pid)?
    };
    if group.is_zombie() && cx.kernel().tasks.lock().group(group.pid).is_none() {
        return Err(Errno::ESRCH);
    }
    signal_group(cx, &group, signo, sent)
}

/// rt_sigaction(2).
pub fn rt_sigaction(
    cx: &Cx,
    signo: i32,
    new: UserRef<SigAction>,
    old: UserRef<SigAction>,
    size: u64,
) -> Result<()> {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let new = new.non_null().map(|p| cx.read_obj(p)).transpose()?;
    let signal = Signal::from_raw(signo).ok_or(Errno::EINVAL)?;
    if new.is_some() && signal.is_unstoppable() {
        return Err(Errno::EINVAL);
    }
    let group = &cx.task.group;
    let sighand = group.sighand();
    let previous = sighand.get(signal);
    if let Some(mut action) = new {
        action.flags &= SA_SUPPORTED;
        action.mask = action.mask.blockable();
        sighand.set(signal, action);
        if send::ignored(group, signal) {
            // POSIX 3.3.1.3: setting SIG_IGN discards what is pending.
            let set = SigSet::of(signal);
            group.signals.lock().pending.flush(set);
            for task in group.threads() {
                task.signals.lock().pending.flush(set);
            }
        }
    }
    cx.write_opt(old, &previous)
}

/// rt_sigprocmask(2).
pub fn rt_sigprocmask(
    cx: &Cx,
    how: i32,
    new: UserRef<SigSet>,
    old: UserRef<SigSet>,
    size: u64,
) -> Result<()> {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let mask = cx.task.signals.lock().mask;
    if let Some(new) = new.non_null() {
        let set = cx.read_obj(new)?.blockable();
        let next = match how {
            libc::SIG_BLOCK => mask | set,
            libc::SIG_UNBLOCK => mask.without(set),
            libc::SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        cx.task.set_mask(next);
    }
    cx.write_opt(old, &mask)
}

/// rt_sigpending(2).
pub fn rt_sigpending(cx: &Cx, set: UserAddr, size: u64) -> Result<()> {
    if size > SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let group = cx.task.group.signals.lock().pending.set();
    let pending = {
        let own = cx.task.signals.lock();
        (group | own.pending.set()) & own.mask
    };
    cx.write_bytes(set, &pending.0.to_le_bytes()[..size as usize])
}

/// rt_sigsuspend(2).
pub async fn rt_sigsuspend(cx: &Cx, set: UserRef<SigSet>, size: u64) -> Result<()> {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let mask = cx.read_obj(set)?.blockable();
    cx.task.set_temporary_mask(mask);
    cx.sleep(None).await.map_err(|_| Errno::ERESTARTNOHAND)
}

/// pause(2).
pub async fn pause(cx: &Cx) -> Result<()> {
    cx.sleep(None).await.map_err(|_| Errno::ERESTARTNOHAND)
}

/// rt_sigtimedwait(2).
pub async fn rt_sigtimedwait(
    cx: &Cx,
    set: UserRef<SigSet>,
    info: UserRef<SigInfo>,
    timeout: UserRef<Timespec>,
    size: u64,
) -> Result<i32> {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let wanted = cx.read_obj(set)?.blockable();
    let deadline = match timeout.non_null() {
        Some(timeout) => {
            let t = cx.read_obj(timeout)?;
            if !t.is_valid() {
                return Err(Errno::EINVAL);
            }
            Some(Deadline::after(u64::try_from(t.to_nanos()).unwrap_or(0)))
        }
        None => None,
    };
    let task = &cx.task;
    // While it waits, the wanted signals count as not blocked for senders.
    task.signals.lock().waiting_for = wanted;
    let take = || task.dequeue(!wanted).ok_or(Errno::EAGAIN);
    let result = match take() {
        Err(Errno::EAGAIN) if deadline.is_some_and(Deadline::passed) => Err(Errno::EAGAIN),
        Err(Errno::EAGAIN) => match cx.wait_many(&[], deadline, take).await {
            Err(Errno::ETIMEDOUT) => Err(Errno::EAGAIN),
            Err(Errno::ERESTARTSYS) => Err(Errno::EINTR),
            other => other,
        },
        other => other,
    };
    task.signals.lock().waiting_for = SigSet::EMPTY;
    let taken = result?;
    crate::time::rearm_after_delivery(cx, &taken);
    cx.write_opt(info, &taken)?;
    Ok(taken.signo)
}

/// rt_sigreturn(2).
pub fn rt_sigreturn(cx: &Cx) -> Result<()> {
    if frame::sigreturn(cx).is_err() {
        cx.registers_set();
        signal::send::force(&cx.task, SigInfo::kernel(Signal::SIGSEGV));
    }
    Ok(())
}

/// sigaltstack(2).
pub fn sigaltstack(cx: &Cx, new: UserRef<StackT>, old: UserRef<StackT>) -> Result<()> {
    let sp = cx.thread.lock().regs().rsp;
    let new = new.non_null().map(|p| cx.read_obj(p)).transpose()?;
    let previous = {
        let stack = cx.task.signals.lock().altstack;
        let flags = frame::altstack_flags(&stack, sp) | (stack.flags & arch::abi::SS_AUTODISARM);
        StackT {
            sp: stack.sp,
            flags,
            size: stack.size,
            ..StackT::default()
        }
    };
    if let Some(new) = new {
        frame::set_altstack(cx, &new, sp)?;
    }
    cx.write_opt(old, &previous)
}
