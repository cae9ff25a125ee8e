//! Thread groups: what the application calls processes.

use super::{Pid, ProcessGroup, Task};
use crate::executor::WaitQueue;
use crate::kernel::Kernel;
use crate::signal::GroupSignals;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// A process.
pub struct ThreadGroup {
    /// Process id: the leader's thread id.
    pub pid: Pid,
    /// The kernel.
    pub kernel: Weak<Kernel>,
    /// Its place in the tree. Guarded by [`super::Tasks`]' lock in addition: only written with that held.
    pub(crate) links: Mutex<Links>,
    /// Signal actions, the shared queue, group stop and exit state.
    pub signals: Mutex<GroupSignals>,
    /// Notified when a child changes state (wait4(2)).
    pub child_events: WaitQueue,
    /// Notified when this process exits (pidfd).
    pub exit_events: WaitQueue,
    /// getrlimit(2).
    pub rlimits: Mutex<super::tree::Rlimits>,
}

/// Relations of a process to others.
pub(crate) struct Links {
    pub parent: Weak<ThreadGroup>,
    pub children: Vec<Arc<ThreadGroup>>,
    pub threads: Vec<Arc<Task>>,
    pub pgrp: Arc<ProcessGroup>,
    /// PR_SET_CHILD_SUBREAPER.
    pub subreaper: bool,
}
