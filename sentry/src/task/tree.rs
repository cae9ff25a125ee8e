//! The process tree: pids, process groups, sessions.

use super::{Task, ThreadGroup};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// A process or thread id. Positive.
pub type Pid = i32;

/// Resource limits, indexed by RLIMIT_*: (soft, hard); `u64::MAX` is unlimited.
pub type Rlimits = [(u64, u64); 16];

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
    pub tty: Mutex<Option<Weak<dyn std::any::Any + Send + Sync>>>,
}

/// All tasks of the sandbox.
#[derive(Default)]
pub struct Tasks {
    pub(crate) tasks: BTreeMap<Pid, Arc<Task>>,
    pub(crate) groups: BTreeMap<Pid, Arc<ThreadGroup>>,
}
