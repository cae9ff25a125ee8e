//! Thread groups: what the application calls processes.

use super::tree::{ProcessGroup, Rlimits};
use super::{Pid, Task};
use crate::executor::{TimerId, WaitQueue};
use crate::kernel::Kernel;
use crate::signal::{GroupSignals, SigHand};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A process.
pub struct ThreadGroup {
    /// Process id: the leader's thread id.
    pub pid: Pid,
    /// The kernel.
    pub kernel: Weak<Kernel>,
    /// Its relations. Written only with the lock of [`super::Tasks`] held as well.
    pub(crate) links: Mutex<Links>,
    /// Signal actions. CLONE_SIGHAND without CLONE_THREAD shares them between processes.
    pub(crate) sighand: Mutex<Arc<SigHand>>,
    /// The shared queue, group stop and exit state.
    pub signals: Mutex<GroupSignals>,
    /// Notified when a child changes state (wait4(2)).
    pub child_events: WaitQueue,
    /// Notified when this process exits (pidfd), and when its last other thread does (execve(2)).
    pub exit_events: WaitQueue,
    /// Notified when a stop ends, by SIGCONT or death.
    pub stop_events: WaitQueue,
    /// Notified when a signal is queued (signalfd(2)).
    pub signal_events: WaitQueue,
    /// getrlimit(2).
    pub rlimits: Mutex<Rlimits>,
    /// Wait status once it is a zombie.
    pub(crate) zombie: Mutex<Option<i32>>,
    /// Signal for the parent at exit; 0 for none.
    pub(crate) exit_signal: AtomicI32,
    /// execve(2) has been called (setpgid(2) by the parent is refused from then on).
    pub(crate) has_execed: AtomicBool,
    /// No vfork(2) parent waits any longer: the process has executed a program or ended.
    pub(crate) vfork_done: AtomicBool,
    /// For the parent that waits for it.
    pub(crate) vfork_events: WaitQueue,
    /// What ended host processes of its own, and waited-for children, have used.
    pub(crate) usage: Mutex<super::usage::Usage>,
    /// When it started, nanoseconds of CLOCK_BOOTTIME.
    pub start_time: u64,
    /// PR_SET_DUMPABLE.
    pub(crate) dumpable: AtomicI32,
    /// /proc/PID/oom_score_adj.
    pub oom_score_adj: AtomicI32,
    /// personality(2).
    pub(crate) personality: AtomicU64,
    /// getpriority(2).
    pub(crate) nice: AtomicI32,
    /// A fault of its own, or somebody outside, ends even the first process.
    pub(crate) forced: AtomicBool,
    /// PR_SET_THP_DISABLE.
    pub(crate) thp_disabled: AtomicBool,
    /// A vfork(2) child that still runs in its parent's memory.
    pub(crate) borrows_space: AtomicBool,
    /// setitimer(2), timer_create(2).
    pub(crate) timers: crate::time::GroupTimers,
    /// /proc/PID/io: bytes read, bytes written, reading calls, writing calls.
    pub io: [AtomicU64; 4],
    /// It has given up its session's terminal for itself (TIOCNOTTY).
    pub(crate) no_terminal: AtomicBool,
    /// It has had more than one thread.
    pub(crate) threaded: AtomicBool,
    notifications: Mutex<SmallVec<[(i32, i32); 2]>>,
    /// When the host is to end what doesn't end by itself. Under it only the timers' lock.
    pub(super) doom: Mutex<Option<TimerId>>,
}

/// Relations of a process to others.
pub(crate) struct Links {
    pub parent: Weak<ThreadGroup>,
    /// The parent's thread that made it, or took it over (__WNOTHREAD, PR_SET_PDEATHSIG).
    pub parent_thread: Weak<Task>,
    pub children: Vec<Arc<ThreadGroup>>,
    pub threads: SmallVec<[Arc<Task>; 2]>,
    /// The first thread; stays after it has exited, until the process is reaped.
    pub leader: Option<Arc<Task>>,
    pub pgrp: Arc<ProcessGroup>,
    /// PR_SET_CHILD_SUBREAPER.
    pub subreaper: bool,
}

/// What a new process takes over.
pub(crate) struct NewGroup {
    pub pid: Pid,
    pub kernel: Weak<Kernel>,
    pub parent: Weak<ThreadGroup>,
    pub parent_thread: Weak<Task>,
    pub pgrp: Arc<ProcessGroup>,
    pub sighand: Arc<SigHand>,
    pub rlimits: Rlimits,
    pub exit_signal: i32,
}

impl ThreadGroup {
    /// Counts a read or write for /proc/PID/io.
    pub(crate) fn count_io(&self, write: bool, result: &arch::Result<usize>) {
        let at = usize::from(write);
        if let Ok(n) = result {
            self.io[at].fetch_add(*n as u64, Ordering::Relaxed);
        }
        self.io[2 + at].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn new(new: NewGroup) -> Arc<Self> {
        let start = crate::host::event::clock_ns(libc::CLOCK_BOOTTIME).unwrap_or(0);
        let no_terminal = new
            .parent
            .upgrade()
            .is_some_and(|p| p.no_terminal.load(Ordering::Relaxed));
        Arc::new(Self {
            pid: new.pid,
            kernel: new.kernel,
            links: Mutex::new(Links {
                parent: new.parent,
                parent_thread: new.parent_thread,
                children: Vec::new(),
                threads: SmallVec::new(),
                leader: None,
                pgrp: new.pgrp,
                subreaper: false,
            }),
            sighand: Mutex::new(new.sighand),
            signals: Mutex::default(),
            child_events: WaitQueue::new(),
            exit_events: WaitQueue::new(),
            stop_events: WaitQueue::new(),
            signal_events: WaitQueue::new(),
            rlimits: Mutex::new(new.rlimits),
            zombie: Mutex::new(None),
            exit_signal: AtomicI32::new(new.exit_signal),
            has_execed: AtomicBool::new(false),
            vfork_done: AtomicBool::new(true),
            vfork_events: WaitQueue::new(),
            usage: Mutex::default(),
            start_time: u64::try_from(start).unwrap_or(0),
            dumpable: AtomicI32::new(1),
            oom_score_adj: AtomicI32::new(0),
            personality: AtomicU64::new(0),
            nice: AtomicI32::new(0),
            forced: AtomicBool::new(false),
            thp_disabled: AtomicBool::new(false),
            borrows_space: AtomicBool::new(false),
            timers: crate::time::GroupTimers::default(),
            io: Default::default(),
            no_terminal: AtomicBool::new(no_terminal),
            threaded: AtomicBool::new(false),
            notifications: Mutex::default(),
            doom: Mutex::default(),
        })
    }

    /// Its live threads.
    pub fn threads(&self) -> SmallVec<[Arc<Task>; 2]> {
        self.links.lock().threads.clone()
    }

    /// Its first thread, even when that has exited.
    pub fn leader(&self) -> Option<Arc<Task>> {
        self.links.lock().leader.clone()
    }

    /// Its parent.
    pub fn parent(&self) -> Option<Arc<ThreadGroup>> {
        self.links.lock().parent.upgrade()
    }

    /// Parent's pid, 0 for the first process.
    pub fn ppid(&self) -> Pid {
        self.parent().map_or(0, |p| p.pid)
    }

    /// Its process group.
    pub fn pgrp(&self) -> Arc<ProcessGroup> {
        Arc::clone(&self.links.lock().pgrp)
    }

    /// Its signal actions.
    pub fn sighand(&self) -> Arc<SigHand> {
        Arc::clone(&self.sighand.lock())
    }

    /// Soft limit of a resource.
    pub fn rlimit(&self, resource: u32) -> u64 {
        self.rlimits
            .lock()
            .get(resource as usize)
            .map_or(u64::MAX, |l| l.0)
    }

    /// Queued signals at most.
    pub fn sigpending_limit(&self) -> usize {
        usize::try_from(self.rlimit(libc::RLIMIT_SIGPENDING)).unwrap_or(usize::MAX)
    }

    /// The first process of a container takes no signal from inside that it has no handler for, SIGKILL and SIGSTOP included
    /// (pid_namespaces(7)). Faults of its own and its end from outside don't ask.
    pub fn unkillable(&self) -> bool {
        self.pid == 1
            && !self.forced.load(Ordering::Relaxed)
            && self.kernel.upgrade().is_some_and(|k| k.protect_init)
    }

    /// It has ended and waits to be reaped.
    pub fn is_zombie(&self) -> bool {
        self.zombie.lock().is_some()
    }

    /// Remembers that the parent is to hear of a stop or continuation: its locks can't be taken here.
    pub(crate) fn notify_parent_later(&self, code: i32, status: i32) {
        self.notifications.lock().push((code, status));
    }

    /// Tells the parent what was remembered. Called without locks.
    pub(crate) fn flush_notifications(self: &Arc<Self>) {
        let pending = std::mem::take(&mut *self.notifications.lock());
        for (code, status) in pending {
            crate::signal::stop::notify_parent(self, code, status);
        }
    }

    /// Ends a vfork(2) parent's wait.
    pub(crate) fn finish_vfork(&self) {
        if !self.vfork_done.swap(true, Ordering::SeqCst) {
            self.vfork_events.notify_all();
        }
    }
}
