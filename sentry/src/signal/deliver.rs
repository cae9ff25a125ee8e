//! What a task does with its pending signals before it goes on with the application.

use super::frame;
use crate::task::{Cx, Task, run};
use arch::abi::{SA_RESETHAND, SIG_DFL, SigAction, SigInfo, SigSet};
use arch::signal::{DefaultAction, Signal};
use std::sync::atomic::Ordering;

/// What the task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Goes on.
    Resume,
    /// Ends with this wait status.
    Exit(i32),
}

impl Task {
    /// Whether the thread has to end, and with which status.
    pub fn exit_request(&self) -> Option<i32> {
        if let Some(status) = self.group.signals.lock().exiting {
            return Some(status);
        }
        let own = self.signals.lock();
        own.exiting.or(own.must_exit.then_some(0))
    }

    /// Takes the next signal that is not blocked: the thread's own first.
    pub fn dequeue(&self, blocked: SigSet) -> Option<SigInfo> {
        let mut group = self.group.signals.lock();
        let own = self.signals.lock().pending.pop(blocked);
        own.or_else(|| group.pending.pop(blocked))
    }

    /// Whether a signal that is not in `blocked` is pending for this thread.
    pub fn has_pending(&self, blocked: SigSet) -> bool {
        let group = self.group.signals.lock();
        let own = self.signals.lock();
        !((group.pending.set() | own.pending.set()) & !blocked).is_empty()
    }

    /// Sets the mask; signals that this unblocks are looked at before the application goes on.
    pub fn set_mask(&self, mask: SigSet) {
        let newly = {
            let mut signals = self.signals.lock();
            let old = std::mem::replace(&mut signals.mask, mask.blockable());
            mask.without(old)
        };
        if !newly.is_empty() && self.group.threaded.load(Ordering::Relaxed) {
            super::send::retarget(&self.group, newly);
        }
        if self.has_pending(mask) {
            self.attention.store(true, Ordering::SeqCst);
        }
    }

    /// A temporary mask for the call being made (ppoll(2), sigsuspend(2)). It is undone once signals have been
    /// looked at, and a handler's frame holds the old one.
    pub fn set_temporary_mask(&self, mask: SigSet) {
        {
            let mut signals = self.signals.lock();
            let old = signals.mask;
            signals.saved_mask.get_or_insert(old);
        }
        self.temporary_mask.store(true, Ordering::Relaxed);
        self.set_mask(mask);
    }

    /// Undoes a temporary mask now, when the call has ended without a signal.
    pub fn restore_mask(&self) {
        if !self.temporary_mask.load(Ordering::Relaxed) {
            return;
        }
        self.temporary_mask.store(false, Ordering::Relaxed);
        let saved = self.signals.lock().saved_mask.take();
        if let Some(mask) = saved {
            self.set_mask(mask);
        }
    }
}

/// Stops, ends or calls handlers until nothing is left to do; then the application may go on.
pub async fn before_user(cx: &Cx) -> Next {
    let task = &cx.task;
    cx.pending_child.take();
    if !task.attention.load(Ordering::SeqCst) {
        if cx.pending_restart.is_some() {
            run::resolve_restart(cx, None);
        }
        if !task.temporary_mask.load(Ordering::Relaxed) {
            return Next::Resume;
        }
        task.restore_mask();
    }
    cx.store_result(&mut cx.thread.lock());
    loop {
        task.attention.store(false, Ordering::SeqCst);
        if let Some(status) = task.exit_request() {
            return Next::Exit(status);
        }
        if task.group.signals.lock().stop.signal.is_some() {
            super::stop::park(cx).await;
            continue;
        }
        let blocked = task.signals.lock().mask;
        if !cx.thread.lock().can_move_fpstate() && task.has_pending(blocked) {
            match run::fetch_state(cx).await {
                Next::Resume => continue,
                exit @ Next::Exit(_) => return exit,
            }
        }
        match task.dequeue(blocked) {
            Some(info) => {
                if let Some(status) = act(cx, &info).await {
                    crate::task::exit::begin_group_exit(&task.group, status);
                }
            }
            None => {
                run::resolve_restart(cx, None);
                task.restore_mask();
                if !task.attention.load(Ordering::SeqCst) {
                    return Next::Resume;
                }
            }
        }
    }
}

/// No room for the frame: SIGSEGV, and if that is what can't be delivered, the end (signal_setup_done).
fn no_frame(cx: &Cx, signal: Signal) {
    if signal == Signal::SIGSEGV {
        let sighand = cx.task.group.sighand();
        sighand.set(signal, SigAction::DEFAULT);
    }
    super::send::force(&cx.task, SigInfo::kernel(Signal::SIGSEGV));
}

/// The stub could not write the frame of the last signal after all. False if there was none.
pub(crate) fn frame_failed(cx: &Cx) -> bool {
    let Some(pushed) = cx.pushed.take() else {
        return false;
    };
    let signal = pushed.signal;
    pushed.undo(cx);
    no_frame(cx, signal);
    true
}

/// Carries out a signal's action. A wait status if it ends the process.
async fn act(cx: &Cx, info: &SigInfo) -> Option<i32> {
    let task = &cx.task;
    let group = &task.group;
    let signal = info.signal()?;
    crate::time::rearm_after_delivery(cx, info);
    if signal == Signal::SIGKILL {
        return Some(libc::SIGKILL);
    }
    let sighand = group.sighand();
    let action = sighand.get(signal);
    crate::strace::signal(cx, info);
    if action.is_ignore() {
        return None;
    }
    if action.is_caught() {
        if action.has(SA_RESETHAND) {
            sighand.set(
                signal,
                SigAction {
                    handler: SIG_DFL,
                    ..action
                },
            );
        }
        run::resolve_restart(cx, Some(action.flags));
        if frame::push(cx, info, &action).await.is_err() {
            no_frame(cx, signal);
        }
        return None;
    }
    if group.unkillable() {
        return None;
    }
    match signal.default_action() {
        DefaultAction::Ignore | DefaultAction::Continue => None,
        DefaultAction::Stop => {
            if signal != Signal::SIGSTOP {
                let pgrp = group.pgrp();
                if cx.kernel().tasks.lock().pgrp_is_orphaned(pgrp.id, None) {
                    return None;
                }
            }
            let mut signals = group.signals.lock();
            super::stop::begin(group, &mut signals, signal);
            None
        }
        // No core file is written, so WCOREDUMP is never set.
        DefaultAction::Core | DefaultAction::Terminate => Some(signal.raw()),
    }
}
