//! The end of threads and processes (_exit(2), exit_group(2)).

use super::{Cx, Task, ThreadGroup};
use crate::kernel::Kernel;
use crate::vfs::FdTable;
use arch::abi::{
    CLD_DUMPED, CLD_EXITED, CLD_KILLED, SA_NOCLDWAIT, SI_USER, SigInfo, SigSet, Timeval,
};
use arch::signal::Signal;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Has every thread of the process exit; the first call decides the wait status.
pub fn begin_group_exit(group: &Arc<ThreadGroup>, status: i32) {
    {
        let mut signals = group.signals.lock();
        signals.exiting.get_or_insert(status);
    }
    let threads = group.threads();
    if threads.len() > 1 || threads.iter().any(|t| t.in_user.load(Ordering::SeqCst)) {
        super::doom::watch(group);
    }
    for task in threads {
        task.poke();
    }
    group.stop_events.notify_all();
}

/// Ends the calling thread; with the last one, its process. The future of the task returns after this.
pub(crate) async fn exit_thread(cx: &Cx, status: i32) {
    let task = &cx.task;
    let group = Arc::clone(&task.group);
    let kernel = Arc::clone(&task.kernel);
    // What the dying thread does to its own memory: robust futexes, clear_child_tid. It is skipped if the host process is
    // gone already.
    let mm = task.mm();
    let dead = mm.space.is_dead();
    if !dead {
        crate::syscalls::futex::exit_robust_list(cx).await;
    }
    kernel.futexes.thread_exits(task);
    // Not before: the last to leave ends the host process, and with it what others are still doing to their memory.
    let last_in_space = mm.leave();
    if last_in_space || group.threads().len() == 1 {
        group.keep_usage();
    }
    {
        let mut thread = cx.thread.lock();
        if !dead {
            let clear = task.clear_child_tid.swap(0, Ordering::SeqCst);
            if clear != 0 && !last_in_space {
                thread.actions().store_u32(clear, 0, true);
                thread.actions().futex_wake(clear, 1, false);
            }
            if last_in_space {
                thread.actions().exit_process();
            } else {
                thread.actions().exit_thread();
            }
            thread.resume();
        }
    }
    drop(mm);
    task.release_resources();

    let last = {
        let _tree = kernel.tasks.lock();
        let mut links = group.links.lock();
        links.threads.retain(|t| !Arc::ptr_eq(t, task));
        links.threads.is_empty()
    };
    if last {
        super::doom::cancel(&kernel, &group);
        let status = group.signals.lock().exiting.unwrap_or(status);
        exit_process(&kernel, &group, status);
    } else {
        hand_over_children(&kernel, task);
        let mut signals = group.signals.lock();
        crate::signal::stop::complete_if_all_parked(&group, &mut signals);
        drop(signals);
        crate::signal::send::retarget(&group, SigSet(u64::MAX));
        group.flush_notifications();
    }
    {
        let mut tree = kernel.tasks.lock();
        // A leader's id goes with its process.
        if task.tid() != group.pid {
            tree.tasks.remove(&task.tid());
        }
    }
    group.exit_events.notify_all();
}

/// The last thread has gone: children to a reaper, the news to the parent.
fn exit_process(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, status: i32) {
    group.timers.clear(kernel);
    group.finish_vfork();
    crate::tty::session_exit(kernel, group);
    let orphans = reparent_children(kernel, group);
    let hangups = {
        let mut tree = kernel.tasks.lock();
        let mut hangups = Vec::new();
        // exit_notify: process groups that this exit orphans, and that have stopped members, get SIGHUP and SIGCONT.
        let mut consider = |tree: &super::Tasks, pgrp: super::Pid, without| {
            if tree.pgrp_is_orphaned(pgrp, without) && tree.pgrp_has_stopped(pgrp) {
                hangups.push(pgrp);
            }
        };
        let own = group.pgrp().id;
        if let Some(parent) = group.parent() {
            let theirs = parent.pgrp();
            if theirs.id != own && theirs.session.id == group.pgrp().session.id {
                consider(&tree, own, Some(group.pid));
            }
        }
        for child in &orphans {
            if child.pgrp().id != own {
                consider(&tree, child.pgrp().id, Some(group.pid));
            }
        }
        *group.zombie.lock() = Some(status);
        tree.live_processes -= 1;
        hangups
    };
    for pgrp in hangups {
        for signal in [Signal::SIGHUP, Signal::SIGCONT] {
            let _ = crate::signal::send_to_pgrp(kernel, pgrp, SigInfo::kernel(signal));
        }
    }
    orphans.iter().for_each(|child| parent_died(child, group));
    for child in orphans.iter().filter(|c| c.is_zombie()) {
        notify_parent_of_exit(kernel, child);
    }
    group.exit_events.notify_all();
    notify_parent_of_exit(kernel, group);
    if group.pid == 1 {
        kernel.init_exited(status);
    }
}

/// PR_SET_PDEATHSIG of a child whose parent, or the thread of it that made the child, has ended.
fn parent_died(child: &Arc<ThreadGroup>, parent: &ThreadGroup) {
    for task in child.threads() {
        if let Some(signal) = Signal::from_raw(task.pdeath_signal.load(Ordering::Relaxed)) {
            let info = SigInfo::kill(signal, SI_USER, parent.pid, 0);
            let _ = crate::signal::send_to_group(child, info);
        }
    }
}

/// A thread ends before its process: another takes the children that it has made.
fn hand_over_children(kernel: &Kernel, task: &Arc<Task>) {
    let group = &task.group;
    let theirs: Vec<_> = {
        let _tree = kernel.tasks.lock();
        let (heir, children) = {
            let links = group.links.lock();
            (links.threads.first().cloned(), links.children.clone())
        };
        let Some(heir) = heir else { return };
        children
            .into_iter()
            .filter(|child| {
                let mut links = child.links.lock();
                let made = links.parent_thread.as_ptr() == Arc::as_ptr(task);
                if made {
                    links.parent_thread = Arc::downgrade(&heir);
                }
                made
            })
            .collect()
    };
    theirs.iter().for_each(|child| parent_died(child, group));
}

/// Gives the children to the nearest subreaper, else to the first process.
fn reparent_children(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>) -> Vec<Arc<ThreadGroup>> {
    let tree = kernel.tasks.lock();
    let children = std::mem::take(&mut group.links.lock().children);
    if children.is_empty() {
        return children;
    }
    let mut reaper = group.parent();
    while let Some(candidate) = &reaper {
        let links = candidate.links.lock();
        let fits = links.subreaper && !links.threads.is_empty();
        let up = links.parent.upgrade();
        drop(links);
        if fits {
            break;
        }
        reaper = up;
    }
    let reaper = reaper
        .or_else(|| tree.group(1))
        .filter(|r| r.pid != group.pid);
    let heir = reaper.as_ref().and_then(|r| r.threads().first().cloned());
    for child in &children {
        {
            let mut links = child.links.lock();
            links.parent = reaper
                .as_ref()
                .map_or_else(Default::default, Arc::downgrade);
            links.parent_thread = heir.as_ref().map_or_else(Default::default, Arc::downgrade);
        }
        child.exit_signal.store(libc::SIGCHLD, Ordering::Relaxed);
        if let Some(reaper) = &reaper {
            reaper.links.lock().children.push(Arc::clone(child));
        }
    }
    children
}

/// The exit signal and the wake of wait4(2); a parent that ignores SIGCHLD never sees a zombie.
fn notify_parent_of_exit(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>) {
    let Some(status) = *group.zombie.lock() else {
        return;
    };
    let Some(parent) = group.parent() else {
        reap(kernel, group);
        return;
    };
    let signal = Signal::from_raw(group.exit_signal.load(Ordering::Relaxed));
    let action = parent.sighand().get(Signal::SIGCHLD);
    let unwanted =
        signal == Some(Signal::SIGCHLD) && (action.is_ignore() || action.has(SA_NOCLDWAIT));
    if unwanted {
        reap(kernel, group);
    }
    if let Some(signal) = signal.filter(|s| *s != Signal::SIGCHLD || !action.is_ignore()) {
        let (code, value) = child_code(status);
        let uid = group.leader().map_or(0, |l| l.creds().uid);
        let usage = group.usage.lock().own.total();
        let ticks = |t: Timeval| t.sec * 100 + t.usec / 10_000;
        let info = SigInfo::chld(
            signal,
            code,
            group.pid,
            uid,
            value,
            ticks(usage.utime),
            ticks(usage.stime),
        );
        let _ = crate::signal::send_to_group(&parent, info);
    }
    parent.child_events.notify_all();
}

/// si_code and si_status of a wait status.
pub fn child_code(status: i32) -> (i32, i32) {
    if libc::WIFEXITED(status) {
        (CLD_EXITED, libc::WEXITSTATUS(status))
    } else if libc::WCOREDUMP(status) {
        (CLD_DUMPED, libc::WTERMSIG(status))
    } else {
        (CLD_KILLED, libc::WTERMSIG(status))
    }
}

/// Takes a zombie out of the tree. False if somebody else did.
pub(crate) fn reap(kernel: &Kernel, group: &Arc<ThreadGroup>) -> bool {
    let mut tree = kernel.tasks.lock();
    if tree.groups.remove(&group.pid).is_none() {
        return false;
    }
    tree.tasks.remove(&group.pid);
    let parent = group.parent();
    group.links.lock().leader = None;
    if let Some(parent) = parent {
        parent
            .links
            .lock()
            .children
            .retain(|c| !Arc::ptr_eq(c, group));
    }
    true
}

impl Task {
    /// What the task held that others may wait for: descriptors, its place in the address space.
    fn release_resources(&self) {
        *self.kicker.lock() = None;
        // The last to let go of the list carries it out, with no lock of ours held.
        let undo = std::mem::take(&mut *self.sem_undo.lock());
        drop(undo);
        let files = std::mem::replace(&mut *self.files.lock(), FdTable::new());
        // The last user of the table closes what is in it; that may take locks, so none is held.
        drop(files);
        let mm = self.mm.lock().take();
        drop(mm);
    }
}
