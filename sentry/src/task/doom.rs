//! The last resort against threads that don't end.
//!
//! A thread of a dying process ends by itself: it is kicked out of the application, comes to the kernel, and leaves with what
//! it owes its memory (robust futexes, clear_child_tid). What its stub says and does on the way is the application's to forge.
//! So once a process has been told to end, a timer runs, and what is left of the process when it fires is ended by the host.

use super::ThreadGroup;
use crate::executor::{TimerId, TimerTarget};
use crate::host::event::monotonic_ns;
use crate::kernel::Kernel;
use std::sync::{Arc, Weak};

/// A dying process has so long before the host is asked, nanoseconds.
const PATIENCE: u64 = 1_000_000_000;
/// Looks at one that shares its memory with other processes before these go down with it. Such a one is slow (a vfork(2)
/// child on a busy machine) or hostile.
const ROUNDS_SHARED: u32 = 5;
/// No more looks after so many: the host itself can't end it (it is in a host call that never returns).
const ROUNDS: u32 = 10;

struct Doom {
    group: Weak<ThreadGroup>,
    round: u32,
}

/// Has the host end what is left of the process in a while. Leaf locks only: the caller may hold the group's.
pub(crate) fn watch(group: &Arc<ThreadGroup>) {
    let mut doom = group.doom.lock();
    if doom.is_none() {
        *doom = arm(group, 0);
    }
}

/// The process has ended.
pub(super) fn cancel(kernel: &Kernel, group: &ThreadGroup) {
    if let Some(id) = group.doom.lock().take() {
        kernel.timers.cancel(id);
    }
}

fn arm(group: &Arc<ThreadGroup>, round: u32) -> Option<TimerId> {
    let kernel = group.kernel.upgrade()?;
    let doom = Arc::new(Doom {
        group: Arc::downgrade(group),
        round,
    });
    let deadline = monotonic_ns().saturating_add(PATIENCE);
    Some(kernel.timers.add(deadline, doom))
}

impl TimerTarget for Doom {
    fn expired(&self, _: TimerId) {
        let Some(group) = self.group.upgrade() else {
            return;
        };
        let threads = group.threads();
        if threads.is_empty() {
            return;
        }
        for task in &threads {
            // One without memory has just left.
            let Some(mm) = task.try_mm() else { continue };
            if mm.users() > threads.len() && self.round + 1 < ROUNDS_SHARED {
                task.poke();
            } else {
                tracing::debug!(tid = task.tid(), "ended by the host");
                mm.space.kill();
                if self.round > 0 {
                    mm.space.abandon();
                }
            }
        }
        if self.round + 1 < ROUNDS {
            let next = arm(&group, self.round + 1);
            *group.doom.lock() = next;
        }
    }
}
