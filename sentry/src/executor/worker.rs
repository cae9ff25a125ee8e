//! Worker threads: they take traps from the platform and poll the tasks that trapped.

use super::{DRAINS, Executor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

impl Executor {
    /// The loop of worker `index`; returns once `stop` is set and the platform woken.
    pub fn work(&self, platform: &Arc<systrap::Platform>, index: usize, stop: &AtomicBool) {
        DRAINS.set(true);
        let mut tokens = Vec::with_capacity(64);
        let mut more = false;
        while !stop.load(Ordering::Acquire) {
            tokens.clear();
            // A task that wakes itself over and over must not keep this CPU's traps waiting.
            if more {
                platform.poll(index, &mut tokens);
            } else {
                platform.wait(index, &mut tokens);
            }
            for token in tokens.drain(..) {
                if let Some(cell) = self.shared.cell(token) {
                    cell.run_trapped();
                }
            }
            more = self.shared.drain();
        }
    }

    /// For a thread that wakes tasks in batches (the reactor): runs `f`, then polls what it woke, here.
    pub fn run_and_drain<R>(&self, f: impl FnOnce() -> R) -> R {
        DRAINS.set(true);
        let result = f();
        let more = self.shared.drain();
        DRAINS.set(false);
        if more {
            self.shared.wake_worker();
        }
        result
    }

    /// Hands over the platform's reports (used by the reaper for dead stubs).
    pub fn report(&self, tokens: &[systrap::Token]) {
        for &token in tokens {
            if let Some(cell) = self.shared.cell(token) {
                cell.run_trapped();
            }
        }
    }
}
