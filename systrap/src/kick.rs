//! Kicks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::AddressSpace;
use crate::layout::SLOT_STRIDE;
use crate::proto::*;
use crate::slot::owner;
use crate::sys;

/// Stops a thread's user code from anywhere. Clone + Send + Sync.
#[derive(Clone)]
pub struct Kicker {
    pub(crate) space: Arc<AddressSpace>,
    pub(crate) index: u32,
}

impl Kicker {
    /// If the thread runs user code or waits in a futex of its own, it
    /// reports `Kick`, `FutexInterrupted` or another event soon; otherwise
    /// harmless: it does nothing, or leads to a spurious `Kick` after its next
    /// resume. A kick after `resume` is never lost; one just before it is, so
    /// who kicks on a condition sets it before, and who resumes looks at it
    /// again after.
    pub fn kick(&self) {
        let space = &self.space;
        let running = space.slots.get(self.index);
        if running.is_none_or(|s| !owner::is_stub(s.owner.load(Ordering::SeqCst))) {
            return;
        }
        space.core.counts.kicks();
        if self.send() {
            return;
        }
        // The host thread has not said who it is. It looks at this word after
        // it has, and before the application runs.
        let base = u64::from(self.index) * SLOT_STRIDE;
        space
            .region
            .a32(base + S_KICK_WANTED)
            .store(1, Ordering::SeqCst);
        self.send();
    }

    /// Says that the host thread doesn't exist: the clone(2) that was to make
    /// it failed (`ActionFailed` of its parent). A thread that was resumed
    /// reports `Dead`; its slot can be used again once its handle is dropped.
    /// Only for threads from [`crate::Thread::spawn_thread`].
    pub fn never_born(&self) {
        if let Some(slot) = self.space.slots.get(self.index) {
            slot.unborn.store(true, Ordering::SeqCst);
            self.space.report_gone(self.index);
        }
    }

    /// Whether the thread sleeps in a futex wait of its own (for /proc state;
    /// a hint from the stub).
    pub fn in_futex_wait(&self) -> bool {
        let word = u64::from(self.index) * SLOT_STRIDE + S_FUTEX_WAIT;
        self.space.region.ld32(word) != 0
    }

    fn send(&self) -> bool {
        self.with_host(|pid, tid| sys::tgkill(pid, tid, SIG_KICK.cast_signed()))
    }

    /// As [`crate::Thread::ask_all`], for a thread that may be running; it holds from the next call that it makes.
    pub fn ask_all(&self, yes: bool) {
        let base = u64::from(self.index) * SLOT_STRIDE;
        self.space
            .region
            .a32(base + S_ASK_ALL)
            .store(u32::from(yes), Ordering::SeqCst);
    }

    /// The host thread's id, if it is known and lives. It may be another thread of the same process: only the host's word for
    /// its process is worth something.
    pub fn host_tid(&self) -> Option<i32> {
        let mut found = None;
        self.with_host(|pid, tid| {
            if sys::tgkill(pid, tid, 0) {
                found = Some(tid);
            }
            true
        });
        found
    }

    /// Calls `f` with the host process and the thread in it, while the process can't be reaped. False if there is none, or `f`
    /// says so.
    fn with_host(&self, f: impl FnOnce(i32, i32) -> bool) -> bool {
        let pid = self.space.live_pid();
        pid.is_some_and(|pid| self.space.with_thread(pid, self.index, f))
    }
}
