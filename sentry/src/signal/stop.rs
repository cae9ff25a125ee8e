//! Job control: group stop and continuation.

use super::GroupSignals;
use crate::executor::PollEvents;
use crate::task::{Cx, ThreadGroup};
use arch::abi::{CLD_CONTINUED, CLD_STOPPED, SA_NOCLDSTOP, SigInfo};
use arch::signal::Signal;
use std::sync::Arc;

/// Starts a group stop: every thread parks at its next look. Called with the group's signal lock held.
pub fn begin(group: &Arc<ThreadGroup>, signals: &mut GroupSignals, signal: Signal) {
    if signals.stop.signal.is_none() {
        signals.stop = super::StopState {
            signal: Some(signal),
            ..Default::default()
        };
    }
    for task in group.threads() {
        task.poke();
    }
}

/// SIGCONT: ends a stop, complete or not.
pub fn resume(group: &Arc<ThreadGroup>, signals: &mut GroupSignals) {
    if signals.stop.signal.take().is_none() {
        return;
    }
    let was_complete = std::mem::take(&mut signals.stop.complete);
    signals.stop.report_stopped = false;
    if was_complete {
        signals.stop.report_continued = true;
        group.notify_parent_later(CLD_CONTINUED, Signal::SIGCONT.raw());
    }
    group.stop_events.notify_all();
}

/// Parks the calling thread while its group is stopped. Returns at once if it isn't.
pub async fn park(cx: &Cx) {
    let group = &cx.task.group;
    {
        let mut signals = group.signals.lock();
        if signals.stop.signal.is_none() || signals.exiting.is_some() {
            return;
        }
        signals.parked += 1;
        complete_if_all_parked(group, &mut signals);
    }
    group.flush_notifications();
    let _ = cx
        .wait_uninterrupted(&group.stop_events, PollEvents::all(), || {
            let signals = group.signals.lock();
            if signals.stop.signal.is_some()
                && signals.exiting.is_none()
                && !cx.task.signals.lock().must_exit
            {
                Err(arch::Errno::EAGAIN)
            } else {
                Ok(())
            }
        })
        .await;
    group.signals.lock().parked -= 1;
    group.flush_notifications();
}

/// Tells the parent once the last thread has parked; also called when a thread exits.
pub fn complete_if_all_parked(group: &Arc<ThreadGroup>, signals: &mut GroupSignals) {
    let Some(signal) = signals.stop.signal else {
        return;
    };
    if !signals.stop.complete && signals.parked >= group.threads().len() {
        signals.stop.complete = true;
        signals.stop.report_stopped = true;
        group.notify_parent_later(CLD_STOPPED, signal.raw());
    }
}

/// The SIGCHLD for a stop or continuation, unless the parent asked for none (SA_NOCLDSTOP), and the wake of its wait4(2).
pub fn notify_parent(group: &Arc<ThreadGroup>, code: i32, status: i32) {
    let Some(parent) = group.parent() else { return };
    let action = parent.sighand().get(Signal::SIGCHLD);
    if !action.is_ignore() && !action.has(SA_NOCLDSTOP) {
        let uid = group.leader().map_or(0, |l| l.creds().uid);
        let _ = super::send_to_group(
            &parent,
            SigInfo::chld(Signal::SIGCHLD, code, group.pid, uid, status, 0, 0),
        );
    }
    parent.child_events.notify_all();
}
