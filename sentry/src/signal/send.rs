//! From a sender to a queue, and who is woken.

use super::GroupSignals;
use crate::kernel::Kernel;
use crate::task::{Pid, Task, ThreadGroup};
use arch::abi::{SI_TIMER, SI_USER, SIG_DFL, SigInfo, SigSet};
use arch::signal::{DefaultAction, Signal};
use arch::{Errno, Result};
use std::sync::Arc;

/// Whether the process would throw the signal away if it weren't blocked (sig_handler_ignored).
pub fn ignored(group: &ThreadGroup, signal: Signal) -> bool {
    let action = group.sighand().get(signal);
    action.is_ignore()
        || (action.is_default()
            && (signal.default_action() == DefaultAction::Ignore || group.unkillable()))
}

/// What happens at once, whether or not the signal is blocked (prepare_signal): continuing, dropping opposites.
/// False if the signal is to be thrown away.
fn prepare(
    group: &Arc<ThreadGroup>,
    signals: &mut GroupSignals,
    signal: Signal,
    target: Option<&Task>,
) -> bool {
    if signals.exiting.is_some() {
        // A dying process takes no more, but a SIGKILL can't hurt.
        return signal == Signal::SIGKILL;
    }
    if SigSet::STOP.contains(signal) {
        flush_everywhere(group, signals, SigSet::of(Signal::SIGCONT));
    } else if signal == Signal::SIGCONT {
        flush_everywhere(group, signals, SigSet::STOP);
        super::stop::resume(group, signals);
    } else if signal == Signal::SIGKILL && signals.stop.signal.is_some() {
        signals.stop.signal = None;
        group.stop_events.notify_all();
    }
    if !ignored(group, signal) {
        return true;
    }
    // Ignored, but a blocked signal stays pending (its action may change), and sigwait may want it.
    let blocks = |task: &Task| {
        let s = task.signals.lock();
        s.mask.contains(signal) || s.saved_mask.is_some_and(|m| m.contains(signal))
    };
    match target {
        Some(task) => blocks(task),
        None => group.threads().iter().any(|t| blocks(t)),
    }
}

fn flush_everywhere(group: &ThreadGroup, signals: &mut GroupSignals, set: SigSet) {
    signals.pending.flush(set);
    for task in group.threads() {
        task.signals.lock().pending.flush(set);
    }
}

/// Entries that the queue may have. A timer brings its own place in the queue along (timer_create(2) has reserved it).
fn limit_for(group: &ThreadGroup, info: &SigInfo) -> usize {
    if info.code == SI_TIMER {
        usize::MAX
    } else {
        group.sigpending_limit()
    }
}

/// Sends to one thread (tgkill(2), faults, timers with SIGEV_THREAD_ID).
pub fn send_to_task(task: &Arc<Task>, info: SigInfo) -> Result<()> {
    let group = &task.group;
    let Some(signal) = info.signal() else {
        return Err(Errno::EINVAL);
    };
    let mut signals = group.signals.lock();
    if !prepare(group, &mut signals, signal, Some(task)) {
        return Ok(());
    }
    let queued = task
        .signals
        .lock()
        .pending
        .push(info, limit_for(group, &info));
    wake_for(group, &mut signals, signal, Some(task));
    drop(signals);
    group.signal_events.notify_all();
    group.flush_notifications();
    if !queued && info.code != SI_USER {
        Err(Errno::EAGAIN)
    } else {
        Ok(())
    }
}

/// Sends to a process (kill(2)).
pub fn send_to_group(group: &Arc<ThreadGroup>, info: SigInfo) -> Result<()> {
    let Some(signal) = info.signal() else {
        return Err(Errno::EINVAL);
    };
    let mut signals = group.signals.lock();
    if !prepare(group, &mut signals, signal, None) {
        return Ok(());
    }
    let queued = signals.pending.push(info, limit_for(group, &info));
    wake_for(group, &mut signals, signal, None);
    drop(signals);
    group.signal_events.notify_all();
    group.flush_notifications();
    if !queued && info.code != SI_USER {
        Err(Errno::EAGAIN)
    } else {
        Ok(())
    }
}

/// Sends to every process of a group; ESRCH if there is none.
pub fn send_to_pgrp(kernel: &Kernel, pgrp: Pid, info: SigInfo) -> Result<()> {
    let members = kernel.tasks.lock().pgrp_members(pgrp);
    if members.is_empty() {
        return Err(Errno::ESRCH);
    }
    for group in members {
        send_to_group(&group, info)?;
    }
    Ok(())
}

/// A fault of the thread's own (force_sig_info): if blocked or ignored, the action becomes the default, so that it kills.
pub fn force(task: &Arc<Task>, info: SigInfo) {
    let Some(signal) = info.signal() else { return };
    let sighand = task.group.sighand();
    let mut action = sighand.get(signal);
    let blocked = task.signals.lock().mask.contains(signal);
    if blocked || action.is_ignore() {
        action.handler = SIG_DFL;
        sighand.set(signal, action);
        task.signals.lock().mask.remove(signal);
    }
    if action.is_default() {
        task.group
            .forced
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }
    let mut signals = task.group.signals.lock();
    if signals.exiting.is_none() {
        task.signals.lock().pending.push(info, usize::MAX);
        wake_for(&task.group, &mut signals, signal, Some(task));
    }
}

/// Picks the thread that is to take the signal and pokes it (complete_signal); one that kills the process ends it now.
fn wake_for(
    group: &Arc<ThreadGroup>,
    signals: &mut GroupSignals,
    signal: Signal,
    target: Option<&Arc<Task>>,
) {
    let wants = |task: &Task| {
        let s = task.signals.lock();
        signal == Signal::SIGKILL || !s.mask.contains(signal) || s.waiting_for.contains(signal)
    };
    let chosen = match target {
        Some(task) => wants(task).then(|| Arc::clone(task)),
        None => {
            let threads = group.threads();
            // Prefer the leader, then one that sleeps (the wake costs nothing that runs).
            threads
                .iter()
                .find(|t| t.tid() == group.pid && wants(t))
                .or_else(|| threads.iter().find(|t| t.is_asleep() && wants(t)))
                .or_else(|| threads.iter().find(|t| wants(t)))
                .cloned()
        }
    };
    let Some(task) = chosen else { return };
    if signal == Signal::SIGKILL || ends_at_once(group, signals, signal, &task) {
        signals.exiting.get_or_insert(signal.raw());
        crate::task::doom::watch(group);
        for thread in group.threads() {
            thread.poke();
        }
        group.stop_events.notify_all();
        return;
    }
    task.poke();
}

/// Signals of the process that a thread was woken for which doesn't take them any more, because it ends or has blocked them,
/// become another's (retarget_shared_pending).
pub fn retarget(group: &Arc<ThreadGroup>, which: SigSet) {
    let mut signals = group.signals.lock();
    let left = signals.pending.set() & which;
    for signal in left.iter() {
        wake_for(group, &mut signals, signal, None);
    }
}

/// Whether the signal ends the process whatever its threads are doing: one of them may be in a wait that only death ends
/// (vfork(2)). A stopped process takes its signals when it goes on.
fn ends_at_once(group: &ThreadGroup, signals: &GroupSignals, signal: Signal, task: &Task) -> bool {
    signals.stop.signal.is_none()
        && group.sighand().get(signal).is_default()
        && signal.default_action() == DefaultAction::Terminate
        && !task.signals.lock().mask.contains(signal)
        && !group.unkillable()
}

/// Whether `sender` may signal `target` (kill(2)): EPERM otherwise.
pub fn may_signal(sender: &Task, target: &ThreadGroup, signo: i32) -> Result<()> {
    if target.pid == sender.group.pid {
        return Ok(());
    }
    let mine = sender.creds();
    let Some(leader) = target
        .threads()
        .first()
        .cloned()
        .or_else(|| target.leader())
    else {
        return Ok(());
    };
    let theirs = leader.creds();
    let same = [mine.euid, mine.uid]
        .iter()
        .any(|id| *id == theirs.suid || *id == theirs.uid);
    let session =
        signo == libc::SIGCONT && sender.group.pgrp().session.id == target.pgrp().session.id;
    if same || session || mine.has_cap(crate::task::cap::KILL) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}
