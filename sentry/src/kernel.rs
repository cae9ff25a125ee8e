//! The kernel of one sandbox: what all its tasks share.

use crate::executor::{Executor, Reactor, Timers};
use crate::task::Tasks;
use parking_lot::Mutex;
use std::sync::Arc;
use systrap::Platform;

/// A sandbox's kernel.
pub struct Kernel {
    /// Stubs and traps.
    pub platform: Arc<Platform>,
    /// Runs the tasks.
    pub executor: Executor,
    /// Host descriptors.
    pub reactor: Arc<Reactor>,
    /// Deadlines.
    pub timers: Timers,
    /// Who opens device nodes and FIFOs.
    pub devices: crate::vfs::DeviceRegistry,
    /// The process tree.
    pub tasks: Mutex<Tasks>,
}
