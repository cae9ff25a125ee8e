//! Regions made ahead of time, and those that wait to be unmapped.
//!
//! A fork needs a fresh region and control socket (20 µs) and the end of a
//! process leaves one to unmap (another 20 µs). Workers do both when they have
//! nothing else to do. A region is never used twice: a hostile process may
//! have left a child of its own behind that still maps it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::layout::{PAGE, REGION_LEN, SLOT_STRIDE};
use crate::mem::Shared;
use crate::sys;

/// So many regions are kept ready at most.
const READY_MAX: usize = 4;
/// So many wait to be unmapped at most.
const GARBAGE_MAX: usize = 16;

/// What a new process needs.
pub(crate) struct Prepared {
    pub region: Shared,
    pub region_fd: Arc<OwnedFd>,
    pub ours: OwnedFd,
    pub theirs: Arc<OwnedFd>,
}

impl Prepared {
    fn new() -> io::Result<Prepared> {
        let fd = crate::zygote::region_memfd()?;
        let region = Shared::map(&fd, REGION_LEN, None)?;
        let (ours, theirs) = sys::control_pair()?;
        Ok(Prepared {
            region,
            region_fd: Arc::new(fd),
            ours,
            theirs: Arc::new(theirs),
        })
    }

    /// Touches the pages that a process with its thread in slot 0 uses.
    fn touch(&self) {
        for off in [0, SLOT_STRIDE - PAGE, SLOT_STRIDE - 2 * PAGE] {
            self.region.st32(off, 0);
        }
    }
}

#[derive(Default)]
pub(crate) struct Pool {
    ready: Mutex<Vec<Prepared>>,
    garbage: Mutex<Vec<Shared>>,
    /// How many should be ready: grows with use.
    target: AtomicUsize,
    /// Whether there is something to do, so that a spinning worker needn't
    /// lock to see.
    chores: AtomicUsize,
}

impl Pool {
    /// A region that nobody has ever seen.
    pub fn take(&self) -> io::Result<Prepared> {
        let taken = self.ready.lock().pop();
        if taken.is_none() {
            let more = |t: usize| (t < READY_MAX).then_some(t + 1);
            let _ = self
                .target
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
        self.chores.store(1, Ordering::Relaxed);
        taken.map_or_else(Prepared::new, Ok)
    }

    /// Unmaps a region some time.
    pub fn discard(&self, region: Shared) {
        let mut list = self.garbage.lock();
        if list.len() < GARBAGE_MAX {
            list.push(region);
            self.chores.store(1, Ordering::Relaxed);
        } else {
            drop(list);
            drop(region);
        }
    }

    /// Does one thing that is to be done; false if there was none. For idle
    /// workers.
    pub fn chore(&self) -> bool {
        if self.chores.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let lacking = || self.ready.lock().len() < self.target.load(Ordering::Relaxed);
        if lacking()
            && let Ok(p) = Prepared::new()
        {
            p.touch();
            self.ready.lock().push(p);
            return true;
        }
        let old = self.garbage.lock().pop();
        if old.is_none() {
            self.chores.store(0, Ordering::Relaxed);
            // Someone may have added one just before.
            if lacking() || !self.garbage.lock().is_empty() {
                self.chores.store(1, Ordering::Relaxed);
                return true;
            }
        }
        old.is_some()
    }
}
