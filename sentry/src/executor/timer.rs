//! Deadlines on the host's CLOCK_MONOTONIC.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Someone who waits for a point in time. Called from the reactor with no lock held; must not block.
pub trait TimerTarget: Send + Sync {
    /// The deadline of timer `id` has passed.
    fn expired(&self, id: TimerId);
}

/// Names a timer: its deadline in nanoseconds of CLOCK_MONOTONIC, and a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(u64, u64);

#[derive(Default)]
struct State {
    serial: u64,
    timers: BTreeMap<TimerId, Arc<dyn TimerTarget>>,
    /// What the timerfd is set to; `None`: it isn't armed.
    armed: Option<u64>,
}

/// All timers of a sandbox. The lock is a leaf.
pub struct Timers {
    state: Mutex<State>,
    fd: Arc<OwnedFd>,
}

impl Timers {
    /// No timers yet.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            fd: Arc::new(crate::host::event::timerfd()?),
        })
    }

    /// Readable when a deadline has passed.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The same, shared.
    pub fn fd_shared(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// Calls `target` once `deadline` (nanoseconds of CLOCK_MONOTONIC) has passed.
    pub fn add(&self, deadline: u64, target: Arc<dyn TimerTarget>) -> TimerId {
        // 0 would disarm the descriptor, and nothing would ever expire again.
        let deadline = deadline.max(1);
        let mut state = self.state.lock();
        state.serial += 1;
        let id = TimerId(deadline, state.serial);
        state.timers.insert(id, target);
        if state.armed.is_none_or(|at| deadline < at) {
            state.armed = Some(deadline);
            crate::host::event::timerfd_arm(self.fd(), deadline);
        }
        id
    }

    /// Forgets a timer; false if it had expired already or never was.
    pub fn cancel(&self, id: TimerId) -> bool {
        self.state.lock().timers.remove(&id).is_some()
    }

    /// Calls the targets of all deadlines up to `now`, and arms the descriptor for the next.
    pub fn expire(&self, now: u64) {
        let due = {
            let mut state = self.state.lock();
            let later = state.timers.split_off(&TimerId(now + 1, 0));
            let due = std::mem::replace(&mut state.timers, later);
            state.armed = state.timers.first_key_value().map(|(id, _)| id.0);
            crate::host::event::timerfd_arm(self.fd(), state.armed.unwrap_or(0));
            due
        };
        for (id, target) in due {
            target.expired(id);
        }
    }
}
