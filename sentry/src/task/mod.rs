//! Tasks, thread groups, process groups and sessions.
//!
//! # Locks, outermost first
//! ```text
//! Kernel::tasks (the process tree: pids, parents, children, groups, sessions)
//!   ThreadGroup::signals (actions, shared queue, stop and exit state)
//!     Task::signals (mask, private queue, alternate stack)
//!       Task::{creds, fs, files, mm, …} (each a leaf: held to clone or replace an Arc)
//! ```
//! Two of a class are never held at once. No lock is held across an await, host I/O, or a copy to or from the application.

pub mod clone;
pub mod creds;
pub mod current;
pub mod cx;
pub(crate) mod doom;
pub mod exec;
pub mod exit;
pub mod futex;
pub mod group;
mod rare;
pub mod run;
pub mod tree;
pub mod usage;
pub mod wait;

pub use creds::{CapSet, Creds, cap};
pub use current::current;
pub use cx::{Cx, Deadline};
pub use group::ThreadGroup;
pub use tree::{Pid, ProcessGroup, Session, Tasks};

use crate::executor::Cell;
use crate::kernel::Kernel;
use crate::mm::Mm;
use crate::signal::TaskSignals;
use crate::vfs::{FdTable, FsContext};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use systrap::Kicker;

/// What ERESTART_RESTARTBLOCK goes on with (restart_syscall(2)).
#[derive(Clone, Debug)]
pub enum RestartBlock {
    /// nanosleep(2) and clock_nanosleep(2): sleep until the deadline; remaining time goes to `rem`.
    Nanosleep {
        clock: i32,
        deadline: u64,
        rem: crate::user::UserAddr,
    },
    /// poll(2) until the deadline.
    Poll {
        fds: crate::user::UserAddr,
        nfds: u64,
        deadline: Option<u64>,
    },
    /// futex(2) FUTEX_WAIT with a relative time-out, as FUTEX_WAIT_BITSET until the deadline.
    Futex {
        addr: u64,
        val: u32,
        deadline: u64,
        op: u32,
        bitset: u32,
    },
}

/// One application thread.
pub struct Task {
    /// Thread id, in the sandbox's one pid space. Changes once, when a thread other than the leader calls execve(2).
    tid: AtomicI32,
    /// The process it belongs to.
    pub group: Arc<ThreadGroup>,
    /// The kernel.
    pub kernel: Arc<Kernel>,
    pub(crate) cell: OnceLock<Arc<Cell>>,
    /// Gone once the task has exited.
    pub(crate) mm: Mutex<Option<Arc<Mm>>>,
    pub(crate) fs: Mutex<Arc<FsContext>>,
    pub(crate) files: Mutex<Arc<FdTable>>,
    pub(crate) creds: Mutex<Arc<Creds>>,
    /// Mask, private queue, alternate stack.
    pub signals: Mutex<TaskSignals>,
    /// comm: at most 15 bytes.
    pub(crate) name: Mutex<Vec<u8>>,
    pub(crate) kicker: Mutex<Option<Kicker>>,
    /// The thread runs application code (or a futex wait in the stub). Written by the task, read by who signals
    /// it; with `attention` a Dekker pair: each writes its own word before it reads the other's (SeqCst).
    pub(crate) in_user: AtomicBool,
    /// Something is to be done before the application goes on: a signal, a stop, an exit.
    pub(crate) attention: AtomicBool,
    /// What the stub answers getpid(2) and its like with is not what holds now. Set by the task itself.
    pub(crate) identity_stale: AtomicBool,
    /// The mask is a temporary one (`TaskSignals::saved_mask` may be there). Only the task itself reads and sets it.
    pub(crate) temporary_mask: AtomicBool,
    /// trapno, error code and address of the last fault, for the handler's frame.
    pub(crate) last_fault: Mutex<Option<(u64, u64, u64)>>,
    /// PR_SET_PDEATHSIG; 0 for none.
    pub(crate) pdeath_signal: AtomicI32,
    /// CPUs it may run on, one bit each.
    affinity: Mutex<Vec<u8>>,
    /// Scheduling policy and priority.
    sched: Mutex<(i32, i32)>,
    /// Asleep in a wait (state S).
    asleep: AtomicBool,
    /// set_tid_address(2), CLONE_CHILD_CLEARTID.
    pub(crate) clear_child_tid: AtomicU64,
    /// set_robust_list(2).
    pub(crate) robust_list: AtomicU64,
    /// It ends, or its program does: locks with priority inheritance that it holds go to others.
    pub(crate) futexes_gone: AtomicBool,
    /// PR_SET_NO_NEW_PRIVS.
    pub(crate) no_new_privs: AtomicBool,
    /// prctl(PR_SET_KEEPCAPS).
    pub(crate) keep_caps: AtomicBool,
    /// Timer slack, nanoseconds (PR_SET_TIMERSLACK).
    pub(crate) timer_slack: AtomicU64,
    /// seccomp(2).
    pub(crate) seccomp: crate::seccomp::State,
    /// Adjustments of semaphores at its end.
    pub(crate) sem_undo: Mutex<crate::ipc::sem::SharedUndo>,
    /// set_mempolicy(2).
    pub(crate) numa_policy: Mutex<crate::mm::NumaPolicy>,
}

/// What a new task is made of.
pub(crate) struct NewTask {
    pub tid: Pid,
    pub group: Arc<ThreadGroup>,
    pub kernel: Arc<Kernel>,
    pub mm: Arc<Mm>,
    pub fs: Arc<FsContext>,
    pub files: Arc<FdTable>,
    pub creds: Arc<Creds>,
    pub name: Vec<u8>,
}

impl Task {
    pub(crate) fn new(new: NewTask) -> Arc<Self> {
        let affinity = new.kernel.cpus.mask();
        Arc::new(Self {
            tid: AtomicI32::new(new.tid),
            group: new.group,
            kernel: new.kernel,
            cell: OnceLock::new(),
            mm: Mutex::new(Some(new.mm)),
            fs: Mutex::new(new.fs),
            files: Mutex::new(new.files),
            creds: Mutex::new(new.creds),
            signals: Mutex::default(),
            name: Mutex::new(new.name),
            kicker: Mutex::new(None),
            in_user: AtomicBool::new(false),
            attention: AtomicBool::new(false),
            identity_stale: AtomicBool::new(true),
            temporary_mask: AtomicBool::new(false),
            last_fault: Mutex::new(None),
            pdeath_signal: AtomicI32::new(0),
            affinity: Mutex::new(affinity),
            sched: Mutex::new((libc::SCHED_OTHER, 0)),
            asleep: AtomicBool::new(false),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            futexes_gone: AtomicBool::new(false),
            no_new_privs: AtomicBool::new(false),
            keep_caps: AtomicBool::new(false),
            timer_slack: AtomicU64::new(50_000),
            seccomp: crate::seccomp::State::default(),
            sem_undo: Mutex::default(),
            numa_policy: Mutex::default(),
        })
    }

    /// Its thread id.
    pub fn tid(&self) -> Pid {
        self.tid.load(Ordering::Relaxed)
    }

    /// The cell that polls the task.
    ///
    /// # Panics
    /// Before the task is started, which no handler can see.
    pub fn cell(&self) -> &Arc<Cell> {
        self.cell.get().expect("a task has its cell before it runs")
    }

    /// Its address space. For the task itself, which has one until it exits.
    ///
    /// # Panics
    /// On a task that has exited: others use [`Task::try_mm`].
    pub fn mm(&self) -> Arc<Mm> {
        self.try_mm().expect("a running task has an address space")
    }

    /// Its address space, unless it has exited.
    pub fn try_mm(&self) -> Option<Arc<Mm>> {
        self.mm.lock().clone()
    }

    /// Root, working directory, umask.
    pub fn fs(&self) -> Arc<FsContext> {
        Arc::clone(&self.fs.lock())
    }

    /// Its descriptor table.
    pub fn files(&self) -> Arc<FdTable> {
        Arc::clone(&self.files.lock())
    }

    /// Its credentials now.
    pub fn creds(&self) -> Arc<Creds> {
        Arc::clone(&self.creds.lock())
    }

    /// comm (prctl(PR_GET_NAME)).
    pub fn name(&self) -> Vec<u8> {
        self.name.lock().clone()
    }

    /// Sets comm, cut to 15 bytes.
    pub(crate) fn set_name(&self, name: &[u8]) {
        *self.name.lock() = name[..name.len().min(15)].to_vec();
    }

    /// Replaces the credentials (commit_creds). Who becomes another, or may do more, can't be looked into any longer, and has
    /// no parent death signal.
    pub(crate) fn set_creds(&self, new: Creds) {
        self.identity_stale.store(true, Ordering::Relaxed);
        let old = self.creds();
        let ids = |c: &Creds| (c.euid, c.egid, c.fsuid, c.fsgid);
        if ids(&old) != ids(&new) || new.permitted & !old.permitted != 0 {
            // fs.suid_dumpable is 0.
            self.group.dumpable.store(0, Ordering::Relaxed);
            self.pdeath_signal.store(0, Ordering::Relaxed);
        }
        *self.creds.lock() = Arc::new(new);
    }

    /// What the stub may answer identity calls with; nothing while each call is to be seen.
    pub(crate) fn identity(&self) -> Option<systrap::Identity> {
        let creds = self.creds();
        (!crate::strace::on()).then(|| systrap::Identity {
            pid: self.group.pid.cast_unsigned(),
            tid: self.tid().cast_unsigned(),
            uid: creds.uid,
            euid: creds.euid,
            gid: creds.gid,
            egid: creds.egid,
        })
    }

    /// CPUs that it may run on, one bit each.
    pub fn affinity(&self) -> Vec<u8> {
        self.affinity.lock().clone()
    }

    /// The host's scheduler is told too. Where it refuses (a cpuset that has shrunk), the mask is kept all the same.
    pub(crate) fn set_affinity(&self, mask: Vec<u8>) {
        *self.affinity.lock() = mask;
        self.apply_affinity();
    }

    /// What the parent's host thread hands down to a new one by itself.
    pub(crate) fn inherit_affinity(&self, parent: &Self) {
        let mask = parent.affinity();
        *self.affinity.lock() = mask;
    }

    /// Tells the host's scheduler on which CPUs the thread may run.
    pub(crate) fn apply_affinity(&self) {
        let kicker = self.kicker.lock().clone();
        let mask = self.affinity();
        if kicker.is_some_and(|k| !k.set_cpus(&mask)) {
            tracing::debug!(tid = self.tid(), "the host refuses an affinity");
        }
    }

    /// Scheduling policy and priority.
    pub fn sched(&self) -> (i32, i32) {
        *self.sched.lock()
    }

    pub(crate) fn set_sched(&self, policy: i32, priority: i32) {
        *self.sched.lock() = (policy, priority);
    }

    /// _exit(2) of this thread alone; the task ends before it goes back to the application.
    pub(crate) fn request_exit(&self, status: i32) {
        self.signals.lock().exiting = Some(status);
        self.attention.store(true, Ordering::SeqCst);
    }

    /// Something wants the task out of an interruptible wait.
    pub fn interrupted(&self) -> bool {
        self.attention.load(Ordering::SeqCst)
    }

    pub(crate) fn asleep(&self, yes: bool) {
        self.asleep.store(yes, Ordering::Relaxed);
    }

    /// Whether it waits in a system call. (The stub's word for a futex wait of its own is taken: nobody else is fooled by it.)
    pub fn is_asleep(&self) -> bool {
        if !self.in_user.load(Ordering::Relaxed) {
            return self.asleep.load(Ordering::Relaxed);
        }
        let kicker = self.kicker.lock();
        kicker.as_ref().is_some_and(Kicker::in_futex_wait)
    }

    /// Gets it out of application code.
    pub(crate) fn kick(&self) {
        let kicker = self.kicker.lock().clone();
        if let Some(kicker) = kicker {
            kicker.kick();
        }
    }

    /// Has the task look at its signals, stop or exit state: out of a wait or out of user code.
    pub fn poke(&self) {
        self.attention.store(true, Ordering::SeqCst);
        if self.in_user.load(Ordering::SeqCst) {
            self.kick();
        } else if let Some(cell) = self.cell.get() {
            cell.wake();
        }
    }
}
