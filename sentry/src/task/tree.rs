//! The process tree: pids, process groups, sessions.

use super::{Task, ThreadGroup};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;

/// A process or thread id. Positive.
pub type Pid = i32;

/// Resource limits, indexed by RLIMIT_*: (soft, hard); `u64::MAX` is unlimited.
pub type Rlimits = [(u64, u64); 16];

/// Pids wrap here (/proc/sys/kernel/pid_max).
pub const PID_MAX: Pid = 4_194_304;
/// Where a wrap starts again (RESERVED_PIDS).
const PID_RESTART: Pid = 300;

/// The limits a first process has, as a usual Linux gives them.
pub fn default_rlimits() -> Rlimits {
    const INF: u64 = u64::MAX;
    let mut limits = [(INF, INF); 16];
    let mut set = |which: u32, soft, hard| limits[which as usize] = (soft, hard);
    set(libc::RLIMIT_STACK, 8 << 20, INF);
    set(libc::RLIMIT_CORE, 0, INF);
    set(libc::RLIMIT_NPROC, 65536, 65536);
    set(libc::RLIMIT_NOFILE, 1024, 1 << 20);
    set(libc::RLIMIT_MEMLOCK, 8 << 20, 8 << 20);
    set(libc::RLIMIT_SIGPENDING, 65536, 65536);
    set(libc::RLIMIT_MSGQUEUE, 819_200, 819_200);
    set(libc::RLIMIT_NICE, 0, 0);
    set(libc::RLIMIT_RTPRIO, 0, 0);
    limits
}

/// A process group.
pub struct ProcessGroup {
    /// Its id.
    pub id: Pid,
    /// The session it is part of.
    pub session: Arc<Session>,
}

/// A session.
pub struct Session {
    /// Its id: the pid of the leader that made it.
    pub id: Pid,
    /// The controlling terminal.
    pub tty: Mutex<Option<Arc<crate::tty::Tty>>>,
    /// The foreground process group at the time when the terminal was hung up; 0: none.
    pub(crate) lost_foreground: AtomicI32,
}

impl Session {
    /// A session without a terminal.
    pub fn new(id: Pid) -> Arc<Self> {
        Arc::new(Self {
            id,
            tty: Mutex::new(None),
            lost_foreground: AtomicI32::new(0),
        })
    }
}

/// All tasks of the sandbox.
#[derive(Default)]
pub struct Tasks {
    pub(crate) tasks: BTreeMap<Pid, Arc<Task>>,
    pub(crate) groups: BTreeMap<Pid, Arc<ThreadGroup>>,
    last_pid: Pid,
    /// Processes that have not ended.
    pub(crate) live_processes: usize,
    /// Most tasks that there may be, if fewer than usual (pids.max of cgroups).
    pub(crate) most: Option<u64>,
    /// Real users of tasks that are being made: no more of them than fit may begin, however many begin at once.
    pub(crate) being_made: Vec<u32>,
}

impl Tasks {
    /// A free id: not a thread's, not a process's, not a process group's or session's that still has members.
    pub(crate) fn alloc_pid(&mut self) -> Result<Pid> {
        for _ in 0..PID_MAX {
            self.last_pid = if self.last_pid + 1 >= PID_MAX {
                PID_RESTART
            } else {
                self.last_pid + 1
            };
            let pid = self.last_pid;
            if !self.tasks.contains_key(&pid)
                && !self.groups.contains_key(&pid)
                && !self.id_in_use(pid)
            {
                return Ok(pid);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// The id given last.
    pub fn last_pid(&self) -> Pid {
        self.last_pid
    }

    /// A number of the caller's choice (clone3(2) set_tid).
    pub(crate) fn claim_pid(&mut self, pid: Pid) -> Result<Pid> {
        if !(1..PID_MAX).contains(&pid) {
            return Err(Errno::EINVAL);
        }
        if self.tasks.contains_key(&pid) || self.groups.contains_key(&pid) || self.id_in_use(pid) {
            return Err(Errno::EEXIST);
        }
        Ok(pid)
    }

    /// Threads whose real user is `uid` (RLIMIT_NPROC), those that are being made included.
    pub(crate) fn count_of(&self, uid: u32) -> u64 {
        let there = self.tasks.values().filter(|t| t.creds().uid == uid);
        let coming = self.being_made.iter().filter(|u| **u == uid);
        (there.count() + coming.count()) as u64
    }

    /// Only after the first wrap can a fresh number be a group's or session's id.
    fn id_in_use(&self, id: Pid) -> bool {
        self.groups.range(id + 1..).next().is_some()
            && self.groups.values().any(|g| {
                let pgrp = g.pgrp();
                pgrp.id == id || pgrp.session.id == id
            })
    }

    /// The thread with this id.
    pub fn task(&self, tid: Pid) -> Option<Arc<Task>> {
        self.tasks.get(&tid).cloned()
    }

    /// The process with this id, zombies included.
    pub fn group(&self, pid: Pid) -> Option<Arc<ThreadGroup>> {
        self.groups.get(&pid).cloned()
    }

    /// All processes, by pid.
    pub fn all_groups(&self) -> Vec<Arc<ThreadGroup>> {
        self.groups.values().cloned().collect()
    }

    /// The processes of a process group.
    pub fn pgrp_members(&self, id: Pid) -> Vec<Arc<ThreadGroup>> {
        self.groups
            .values()
            .filter(|g| g.pgrp().id == id)
            .cloned()
            .collect()
    }

    /// A process group by id, if it has members.
    pub fn pgrp(&self, id: Pid) -> Option<Arc<ProcessGroup>> {
        self.groups.values().map(|g| g.pgrp()).find(|p| p.id == id)
    }

    /// Whether a process group is orphaned: no member has a parent in another group of the same session.
    /// `without` is left out of account (it is exiting).
    pub fn pgrp_is_orphaned(&self, id: Pid, without: Option<Pid>) -> bool {
        !self.groups.values().any(|g| {
            if Some(g.pid) == without || g.is_zombie() {
                return false;
            }
            let pgrp = g.pgrp();
            pgrp.id == id
                && g.parent().is_some_and(|parent| {
                    let theirs = parent.pgrp();
                    theirs.id != id && theirs.session.id == pgrp.session.id
                })
        })
    }

    /// Whether a member of the process group is stopped.
    pub fn pgrp_has_stopped(&self, id: Pid) -> bool {
        self.groups
            .values()
            .any(|g| g.pgrp().id == id && g.signals.lock().stop.complete)
    }
}
