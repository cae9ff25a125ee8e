//! clone(2), clone3(2), fork(2), vfork(2).

use super::Tasks;
use super::group::NewGroup;
use super::{Cx, Pid, Task, ThreadGroup};
use crate::kernel::Kernel;
use crate::mm::Mm;
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use systrap::{Event, Thread};

/// Decoded arguments of clone3(2); the older calls make one too.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneRequest {
    /// CLONE_*, without the exit signal.
    pub flags: u64,
    /// Where to store a pidfd (CLONE_PIDFD).
    pub pidfd: u64,
    /// CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID.
    pub child_tid: u64,
    /// CLONE_PARENT_SETTID.
    pub parent_tid: u64,
    /// Signal for the parent at exit.
    pub exit_signal: i32,
    /// The child's stack pointer; 0: the parent's.
    pub stack: u64,
    /// CLONE_SETTLS.
    pub tls: u64,
    /// Pid asked for (clone3's set_tid, first level); 0: any.
    pub set_tid: Pid,
}

const fn has(flags: u64, flag: i32) -> bool {
    flags & (flag as u32 as u64) != 0
}

/// CLONE_CLEAR_SIGHAND of clone3(2).
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
/// CLONE_INTO_CGROUP of clone3(2).
const CLONE_INTO_CGROUP: u64 = 1 << 33;
/// Namespaces of its own (but for mounts): refused with EPERM without the capability, else EINVAL until they exist here.
const NAMESPACES: u64 = (libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u32 as u64;
/// Tasks of one sandbox at most.
const MAX_TASKS: usize = 32_000;

/// The checks of copy_process and kernel_clone, in their order.
fn check(cx: &Cx, req: &CloneRequest) -> Result<()> {
    let f = req.flags;
    if has(f, libc::CLONE_THREAD) && !has(f, libc::CLONE_SIGHAND)
        || has(f, libc::CLONE_SIGHAND) && !has(f, libc::CLONE_VM)
        || f & CLONE_CLEAR_SIGHAND != 0 && has(f, libc::CLONE_SIGHAND)
        || has(f, libc::CLONE_NEWNS) && has(f, libc::CLONE_FS)
        || has(f, libc::CLONE_PARENT) && cx.task.group.pid == 1
        || has(f, libc::CLONE_PIDFD) && has(f, libc::CLONE_DETACHED)
        || f & CLONE_INTO_CGROUP != 0
    {
        return Err(Errno::EINVAL);
    }
    let new_mounts = has(f, libc::CLONE_NEWNS);
    if new_mounts && !cx.task.creds().has_cap(super::cap::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    if f & NAMESPACES != 0 {
        let user_only = f & NAMESPACES == libc::CLONE_NEWUSER as u64;
        let allowed = user_only || cx.task.creds().has_cap(super::cap::SYS_ADMIN);
        // No namespaces inside yet: as on a kernel built without them.
        return Err(if allowed { Errno::EINVAL } else { Errno::EPERM });
    }
    Ok(())
}

/// A new task's id, and its place under RLIMIT_NPROC from the check to its entry in the tree.
struct Place {
    kernel: Arc<Kernel>,
    pid: Pid,
    uid: Option<u32>,
}

impl Place {
    fn give_up(mut self, tree: &mut Tasks) {
        if let Some(uid) = self.uid.take() {
            take_out(tree, uid);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(uid) = self.uid.take() {
            take_out(&mut self.kernel.tasks.lock(), uid);
        }
    }
}

fn take_out(tree: &mut Tasks, uid: u32) {
    if let Some(n) = tree.being_made.iter().position(|u| *u == uid) {
        tree.being_made.swap_remove(n);
    }
}

/// Makes the child and starts it. For CLONE_VFORK returns once the child has executed a program or ended.
pub async fn clone(cx: &Cx, req: CloneRequest) -> Result<Pid> {
    check(cx, &req)?;
    let kernel = Arc::clone(cx.kernel());
    let creds = cx.task.creds();
    let place = {
        let mut tree = kernel.tasks.lock();
        let limit = cx.task.group.rlimit(libc::RLIMIT_NPROC);
        let privileged = creds.uid == 0
            || creds.has_cap(super::cap::SYS_RESOURCE)
            || creds.has_cap(super::cap::SYS_ADMIN);
        let most = tree.most.map_or(MAX_TASKS, |n| MAX_TASKS.min(n as usize));
        let all = tree.tasks.len() + tree.being_made.len();
        if !privileged && tree.count_of(creds.uid) >= limit || all >= most {
            return Err(Errno::EAGAIN);
        }
        let pid = if req.set_tid == 0 {
            tree.alloc_pid()?
        } else {
            tree.claim_pid(req.set_tid)?
        };
        tree.being_made.push(creds.uid);
        Place {
            kernel: Arc::clone(&kernel),
            pid,
            uid: Some(creds.uid),
        }
    };

    if !has(req.flags, libc::CLONE_VM) {
        cx.task.mm().prepare_fork(cx).await?;
    }
    let before = cx.thread.lock().actions().len();
    let (mut thread, mm) = host_side(cx, &req, place.pid)?;
    let kicker = thread.kicker();
    let (group, child) = match kernel_side(cx, &req, place, &mut thread, Arc::clone(&mm)) {
        Ok(made) => made,
        Err(e) => {
            cx.thread.lock().actions().truncate(before);
            if has(req.flags, libc::CLONE_VM) {
                mm.leave();
                kicker.never_born();
            }
            return Err(e);
        }
    };
    cx.pending_child.set(Arc::clone(&child));
    if has(req.flags, libc::CLONE_VFORK) {
        group.vfork_done.store(false, Ordering::SeqCst);
    }
    super::run::start(&kernel.executor, &child, thread);
    if !has(req.flags, libc::CLONE_THREAD) {
        crate::time::cpu::watch_limit(&group);
    }

    if has(req.flags, libc::CLONE_VFORK) {
        // The host clone has to happen before this thread goes to sleep.
        match super::run::perform_and_wait(cx).await {
            Event::Parked | Event::WriteBackFault { .. } => {}
            Event::ActionFailed { errno, .. } => {
                undo(cx, &child);
                return Err(Errno::from_raw(errno).unwrap_or(Errno::EAGAIN));
            }
            _ => return Err(Errno::EAGAIN),
        }
        let _ = cx
            .wait_killable(&group.vfork_events, || {
                if group.vfork_done.load(Ordering::SeqCst) {
                    Ok(())
                } else {
                    Err(Errno::EAGAIN)
                }
            })
            .await;
    }
    Ok(child.tid())
}

/// What is known of the child here: its registers, its task, its place in the tree.
fn kernel_side(
    cx: &Cx,
    req: &CloneRequest,
    place: Place,
    thread: &mut Thread,
    mm: Arc<Mm>,
) -> Result<(Arc<ThreadGroup>, Arc<Task>)> {
    let pid = place.pid;
    let mut regs = thread.regs();
    regs.rax = 0;
    if req.stack != 0 {
        regs.rsp = req.stack;
    }
    if has(req.flags, libc::CLONE_SETTLS) {
        if req.tls >= systrap::layout::TASK_SIZE {
            return Err(Errno::EPERM);
        }
        regs.fs_base = req.tls;
    }
    thread.set_regs(&regs);
    if has(req.flags, libc::CLONE_CHILD_SETTID) {
        thread
            .actions()
            .store_u32(req.child_tid, pid.cast_unsigned(), true);
    }

    let is_thread = has(req.flags, libc::CLONE_THREAD);
    let group = if is_thread {
        cx.task.group.threaded.store(true, Ordering::Relaxed);
        Arc::clone(&cx.task.group)
    } else {
        new_group(cx, req, pid)
    };
    let child = Task::child_of(cx, req, pid, Arc::clone(&group), mm);
    let pidfd = if has(req.flags, libc::CLONE_PIDFD) {
        let fd = crate::event::pidfd::install(cx, &group)?;
        let to = crate::user::UserRef::new(crate::user::UserAddr(req.pidfd));
        if let Err(e) = cx.write_obj(to, &fd) {
            let _ = cx.task.files().close(crate::syscalls::Fd(fd));
            return Err(e);
        }
        Some(fd)
    } else {
        None
    };
    if has(req.flags, libc::CLONE_PARENT_SETTID) && !has(req.flags, libc::CLONE_VM) {
        // Linux ignores a fault here.
        let _ = cx.write_obj(
            crate::user::UserRef::new(crate::user::UserAddr(req.parent_tid)),
            &pid,
        );
    }
    let executor = &cx.kernel().executor;
    let _ = child.cell.set(executor.reserve());
    if let Err(e) = link(cx, req, &group, &child, place) {
        executor.discard(child.cell());
        if let Some(fd) = pidfd {
            let _ = cx.task.files().close(crate::syscalls::Fd(fd));
        }
        return Err(e);
    }
    Ok((group, child))
}

/// The host's part: a forked address space, or one more thread in this one.
fn host_side(cx: &Cx, req: &CloneRequest, pid: Pid) -> Result<(Thread, Arc<Mm>)> {
    let mut parent = cx.thread.lock();
    if has(req.flags, libc::CLONE_VM) {
        if has(req.flags, libc::CLONE_PARENT_SETTID) {
            // Before the thread is made: it may end, and clear the very word, before this one goes on.
            parent
                .actions()
                .store_u32(req.parent_tid, pid.cast_unsigned(), true);
        }
        let thread = parent.spawn_thread().map_err(|_| Errno::EAGAIN)?;
        let mm = cx.task.mm();
        mm.enter();
        Ok((thread, mm))
    } else {
        let (space, thread) = parent.fork().map_err(|_| Errno::EAGAIN)?;
        drop(parent);
        let mm = Arc::new(cx.task.mm().fork(space));
        Ok((thread, mm))
    }
}

fn new_group(cx: &Cx, req: &CloneRequest, pid: Pid) -> Arc<ThreadGroup> {
    let own = &cx.task.group;
    let sighand = if has(req.flags, libc::CLONE_SIGHAND) {
        own.sighand()
    } else {
        let copy = own.sighand().fork();
        if req.flags & CLONE_CLEAR_SIGHAND != 0 {
            copy.clear_handlers();
        }
        Arc::new(copy)
    };
    let sibling = has(req.flags, libc::CLONE_PARENT);
    let parent = if sibling {
        own.parent()
    } else {
        Some(Arc::clone(own))
    };
    let exit_signal = if sibling {
        own.exit_signal.load(Ordering::Relaxed)
    } else {
        req.exit_signal
    };
    let parent_thread = if sibling {
        own.links.lock().parent_thread.clone()
    } else {
        Arc::downgrade(&cx.task)
    };
    let group = ThreadGroup::new(NewGroup {
        pid,
        parent_thread,
        kernel: Arc::downgrade(cx.kernel()),
        parent: parent
            .as_ref()
            .map_or_else(Default::default, Arc::downgrade),
        pgrp: own.pgrp(),
        sighand,
        rlimits: *own.rlimits.lock(),
        exit_signal,
    });
    group
        .oom_score_adj
        .store(own.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
    group
        .personality
        .store(own.personality.load(Ordering::Relaxed), Ordering::Relaxed);
    group
        .nice
        .store(own.nice.load(Ordering::Relaxed), Ordering::Relaxed);
    group
        .dumpable
        .store(own.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
    group
        .borrows_space
        .store(has(req.flags, libc::CLONE_VM), Ordering::Relaxed);
    group
}

/// Puts the child into the tree; ERESTARTNOINTR if a signal came first (fork is atomic towards signals to the group).
fn link(
    cx: &Cx,
    req: &CloneRequest,
    group: &Arc<ThreadGroup>,
    child: &Arc<Task>,
    place: Place,
) -> Result<()> {
    let mut tree = cx.kernel().tasks.lock();
    place.give_up(&mut tree);
    if cx.task.group.signals.lock().exiting.is_some() {
        return Err(Errno::ERESTARTNOINTR);
    }
    child.seccomp.inherit(&cx.task.seccomp);
    tree.tasks.insert(child.tid(), Arc::clone(child));
    let mut links = group.links.lock();
    links.threads.push(Arc::clone(child));
    if !has(req.flags, libc::CLONE_THREAD) {
        links.leader = Some(Arc::clone(child));
        let parent = links.parent.upgrade();
        drop(links);
        tree.groups.insert(group.pid, Arc::clone(group));
        tree.live_processes += 1;
        if let Some(parent) = parent {
            parent.links.lock().children.push(Arc::clone(group));
        }
    }
    Ok(())
}

/// The host could not make the child after all (EAGAIN, ENOMEM): it goes without a trace. Its task never ran user code.
pub(crate) fn undo(cx: &Cx, child: &Arc<Task>) {
    let group = &child.group;
    if !Arc::ptr_eq(group, &cx.task.group) {
        group.exit_signal.store(0, Ordering::Relaxed);
        super::exit::reap(cx.kernel(), group);
    }
    if let Some(mm) = child.try_mm() {
        if Arc::ptr_eq(&mm, &cx.task.mm()) {
            // The memory is ours too.
            let kicker = child.kicker.lock().clone();
            if let Some(kicker) = kicker {
                kicker.never_born();
            }
        } else {
            mm.space.kill();
        }
    }
    child.signals.lock().must_exit = true;
    child.poke();
}

impl Task {
    /// A task that takes from `cx`'s what `req` doesn't say otherwise.
    fn child_of(
        cx: &Cx,
        req: &CloneRequest,
        tid: Pid,
        group: Arc<ThreadGroup>,
        mm: Arc<Mm>,
    ) -> Arc<Self> {
        let parent = &cx.task;
        let fs = if has(req.flags, libc::CLONE_FS) {
            parent.fs()
        } else if has(req.flags, libc::CLONE_NEWNS) {
            parent.fs().fork_namespace()
        } else {
            parent.fs().fork()
        };
        let files = if has(req.flags, libc::CLONE_FILES) {
            parent.files()
        } else {
            parent.files().fork()
        };
        let task = Self::new(super::NewTask {
            tid,
            group,
            kernel: Arc::clone(&parent.kernel),
            mm,
            fs,
            files,
            creds: parent.creds(),
            name: parent.name(),
        });
        {
            let theirs = parent.signals.lock();
            let mut signals = task.signals.lock();
            signals.mask = theirs.mask;
            // A new stack means that the alternate one isn't the child's (vfork keeps it).
            if !has(req.flags, libc::CLONE_VM) || has(req.flags, libc::CLONE_VFORK) {
                signals.altstack = theirs.altstack;
            }
        }
        if has(req.flags, libc::CLONE_CHILD_CLEARTID) {
            task.clear_child_tid.store(req.child_tid, Ordering::SeqCst);
        }
        *task.numa_policy.lock() = *parent.numa_policy.lock();
        if has(req.flags, libc::CLONE_SYSVSEM) {
            let list = Arc::clone(&parent.sem_undo.lock());
            *task.sem_undo.lock() = list;
        }
        task.inherit_affinity(parent);
        let (policy, priority) = parent.sched();
        task.set_sched(policy, priority);
        task.no_new_privs.store(
            parent.no_new_privs.load(Ordering::Relaxed),
            Ordering::Relaxed,
        );
        task.timer_slack.store(
            parent.timer_slack.load(Ordering::Relaxed),
            Ordering::Relaxed,
        );
        task
    }
}
