//! Worker threads: they take traps from the platform and poll the tasks that trapped.

use super::{Cell, DRAINS, Executor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The cells that trapped on this worker last, by token, so that a hot one is found without the table's lock. Tokens are
/// never used twice, and polling a finished cell does nothing: an entry can't be wrong, only useless.
#[derive(Default)]
struct Recent {
    cells: [Option<Arc<Cell>>; 8],
}

impl Recent {
    fn get(&mut self, token: systrap::Token, executor: &Executor) -> Option<&Arc<Cell>> {
        let place = &mut self.cells[token.0 as usize % 8];
        if place.as_ref().is_none_or(|c| c.token() != token) {
            *place = executor.shared.cell(token);
        }
        place.as_ref()
    }
}

impl Executor {
    /// The loop of worker `index`; returns once `stop` is set and the platform woken.
    pub fn work(&self, platform: &Arc<systrap::Platform>, index: usize, stop: &AtomicBool) {
        DRAINS.set(true);
        let mut tokens = Vec::with_capacity(64);
        let mut recent = Recent::default();
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
                if let Some(cell) = recent.get(token, self) {
                    cell.run_trapped();
                }
            }
            more = self.shared.drain();
        }
        platform.leave_worker(index);
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
