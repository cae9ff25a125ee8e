//! Worker threads: they take traps from the platform and poll the tasks that trapped.

use super::{DRAINS, Executor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

impl Executor {
    /// The loop of worker `index`; returns once `stop` is set and the platform woken.
    pub fn work(&self, platform: &Arc<systrap::Platform>, index: usize, stop: &AtomicBool) {
        DRAINS.set(true);
        let mut tokens = Vec::with_capacity(64);
        while !stop.load(Ordering::Acquire) {
            tokens.clear();
            platform.wait(index, &mut tokens);
            for token in tokens.drain(..) {
                if let Some(cell) = self.shared.cell(token) {
                    cell.run_trapped();
                }
            }
            self.shared.drain();
        }
    }

    /// For a thread that wakes tasks in batches (the reactor): runs `f`, then polls what it woke, here.
    pub fn run_and_drain<R>(&self, f: impl FnOnce() -> R) -> R {
        DRAINS.set(true);
        let result = f();
        self.shared.drain();
        DRAINS.set(false);
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
