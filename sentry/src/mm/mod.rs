//! Address spaces: the map of what is where; the host does the paging.
//!
//! Application memory is the stub process's own. Here is the map of it, as Linux would have it: [`map`] (mappings by
//! address), [`layout`] (the choice of addresses), one file for each call that changes it, and the accounting. A call
//! changes the map and leaves *steps* ([`plan`]), host calls that the calling thread's stub performs before it resumes.
//! [`pending`] keeps what has not been performed yet out of other threads' way, and takes it back if the host refuses.
//!
//! # Invariants
//! - Everything below `TASK_SIZE` that the host has mapped is in the map, with the same rights, once no steps are pending.
//! - The Sentry maps no application memory and no application file itself.
//! - A range with pending steps of one thread is neither chosen for another nor changed by it.
//!
//! # Locks
//! ```text
//! Mm::state
//!   (leaves) WaitQueue, Timers
//! ```
//! Steps, and with them files and segments, are dropped without the lock.

mod brk;
mod code;
mod exec;
mod fault;
mod fork;
mod layout;
mod madvise;
mod map;
mod mlock;
mod mmap;
mod mprotect;
mod mremap;
mod name;
mod pending;
mod plan;
mod report;
pub mod shm;
pub mod span;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod vma;

pub use exec::{ExecImage, ExecParams, Executable, ImageInfo, Start};
pub use layout::{Layout, MMAP_MIN_ADDR, Wish, check_wish};
pub use mmap::{MapCall, Source};
pub use name::{NAME_MAX, check_name};
pub use plan::{Done, Outcome, Step, Steps, Stop};
pub use report::{Resident, Sizes};
pub use span::{PAGE, Span, TASK_SIZE, page_aligned, page_down, page_up};
pub use state::{Caller, Limits, MAX_MAP_COUNT, State, Usage};
pub use text::{TextCopy, TextPart, Texts};
pub use vma::{Backing, Prot, SharedAnon, Vma, VmaFlags};

use crate::executor::{PollEvents, WaitQueue};
use crate::task::{Cx, Deadline, Pid, Task};
use arch::{Errno, Result};
use parking_lot::RwLock;
use pending::{Pending, PendingId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use systrap::AddressSpace;

/// A thread's NUMA policy as it was set (set_mempolicy(2)): the mode with its flags, and whether node 0, the only one, is
/// in its set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NumaPolicy {
    pub mode: i32,
    pub node: bool,
}

/// How long a call that meets another thread's pending steps waits before it looks again, in nanoseconds.
const BUSY_RETRY: u64 = 1_000_000;

/// READ_IMPLIES_EXEC of personality(2).
const READ_IMPLIES_EXEC: u64 = 0x040_0000;

/// An address space.
pub struct Mm {
    /// The host process that holds it.
    pub space: Arc<AddressSpace>,
    state: RwLock<State>,
    /// Length of `State::pending`: written with the lock held, read without it to save the lock where it is 0.
    pending: AtomicUsize,
    /// Notified when steps have been performed.
    performed: WaitQueue,
    /// Tasks that run in it.
    users: AtomicUsize,
}

impl Mm {
    /// An address space with nothing in it, and one task.
    pub fn new(space: Arc<AddressSpace>) -> Self {
        Self::with_state(space, State::default())
    }

    fn with_state(space: Arc<AddressSpace>, state: State) -> Self {
        Self {
            space,
            state: RwLock::new(state),
            pending: AtomicUsize::new(0),
            performed: WaitQueue::new(),
            users: AtomicUsize::new(1),
        }
    }

    /// An empty one for a program that takes the place of another in execve(2).
    pub fn new_for_exec(space: Arc<AddressSpace>) -> Self {
        Self::new(space)
    }

    /// The program that runs in it.
    pub fn info(&self) -> Arc<ImageInfo> {
        self.with(|s| Arc::clone(&s.info))
    }

    /// One more task runs in it (CLONE_VM).
    pub fn enter(&self) {
        self.users.fetch_add(1, Ordering::SeqCst);
    }

    /// A task leaves; true if it was the last.
    pub fn leave(&self) -> bool {
        self.users.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// How many tasks run in it.
    pub fn users(&self) -> usize {
        self.users.load(Ordering::SeqCst)
    }

    /// Looks at the map. `f` must be short: calls of other threads wait.
    pub fn with<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.state.read())
    }

    /// Whether the map says that all of the range can be written.
    pub fn writable(&self, addr: u64, len: usize) -> bool {
        self.allows(addr, len, Prot::WRITE)
    }

    /// Whether the map says that all of the range can be read.
    pub fn readable(&self, addr: u64, len: usize) -> bool {
        self.allows(addr, len, Prot::READ)
    }

    fn allows(&self, addr: u64, len: usize, prot: Prot) -> bool {
        let Some(end) = addr.checked_add(len as u64) else {
            return false;
        };
        // On x86-64 what can be written or executed can be read.
        let enough = |have: Prot| have.contains(prot) || prot == Prot::READ && !have.is_empty();
        let state = self.state.read();
        let mut at = addr;
        for vma in state.map.iter_from(addr) {
            if at >= end {
                break;
            }
            if vma.span.start > at || !enough(vma.prot) {
                return false;
            }
            at = vma.span.end;
        }
        at >= end
    }

    /// Applies `op` to the map and gives its steps to the calling thread's stub. Stops with `Busy` where another
    /// thread's pending steps are in the way.
    fn try_change(
        &self,
        cx: &Cx,
        op: impl FnOnce(&mut State, &Caller) -> Outcome,
    ) -> std::result::Result<Result<u64>, Stop> {
        let who = Caller::of(&cx.task);
        let mut state = self.state.write();
        // This thread has had an event since its last call: what that left is performed.
        let old = state.performed(who.tid);
        let outcome = op(&mut state, &who);
        let done = match outcome {
            Ok(done) => done,
            Err(stop) => {
                self.pending.store(state.pending.len(), Ordering::Release);
                drop(state);
                self.forget(old);
                return match stop {
                    Stop::Errno(e) => Ok(Err(e)),
                    busy => Err(busy),
                };
            }
        };
        let acts: smallvec::SmallVec<[_; 2]> = done.steps.iter().map(|s| s.act.clone()).collect();
        if !done.steps.is_empty() {
            let base = cx.thread.lock().actions().len();
            state.note(Pending::new(who.tid, base, done.steps));
        }
        self.pending.store(state.pending.len(), Ordering::Release);
        drop(state);
        self.forget(old);
        let mut thread = cx.thread.lock();
        for act in acts {
            if !act.give(&self.space, &mut thread.actions()) {
                // Calls have few steps; a full list means that somebody forgot to perform one.
                tracing::error!(tid = who.tid, "the action list is full");
                self.space.kill();
                break;
            }
        }
        Ok(done.answer)
    }

    fn forget(&self, old: Vec<Pending>) {
        if !old.is_empty() {
            drop(old);
            self.performed.notify_all();
        }
    }

    /// Applies `op` to the map and gives its steps to the calling thread's stub; where another thread has yet to
    /// perform steps on the same range, waits until it has.
    ///
    /// # Errors
    /// Those of `op`; ERESTARTNOINTR when a signal came while waiting.
    pub async fn change(
        &self,
        cx: &Cx,
        mut op: impl FnMut(&mut State, &Caller) -> Outcome,
    ) -> Result<u64> {
        loop {
            let busy = match self.try_change(cx, &mut op) {
                Ok(answer) => return answer,
                Err(Stop::Errno(e)) => return Err(e),
                Err(Stop::Busy(id)) => id,
            };
            self.wait_for(cx, &[busy]).await?;
        }
    }

    /// Waits, not for long, until the entries are gone. Their threads are kicked into an event.
    async fn wait_for(&self, cx: &Cx, busy: &[PendingId]) -> Result<()> {
        for (tid, _) in busy {
            let task = cx.kernel().tasks.lock().task(*tid);
            match task {
                Some(task) => {
                    let kicker = task.kicker.lock().clone();
                    if let Some(kicker) = kicker {
                        kicker.kick();
                    }
                }
                // Gone without another event: its last list was performed before it ended, or went with it.
                None => self.actions_performed(*tid),
            }
        }
        let is_done = || {
            let state = self.state.read();
            let there = |id| state.pending.iter().any(|p| (p.tid, p.serial) == id);
            if busy.iter().any(|id| there(*id)) {
                Err(Errno::EAGAIN)
            } else {
                Ok(())
            }
        };
        let deadline = Some(Deadline::after(BUSY_RETRY));
        match cx
            .wait(&self.performed, PollEvents::all(), deadline, is_done)
            .await
        {
            Ok(()) | Err(Errno::ETIMEDOUT) => Ok(()),
            Err(Errno::ERESTARTSYS) => Err(Errno::ERESTARTNOINTR),
            Err(e) => Err(e),
        }
    }

    fn performed(&self, tid: Pid) -> Vec<Pending> {
        let mut state = self.state.write();
        let old = state.performed(tid);
        self.pending.store(state.pending.len(), Ordering::Release);
        old
    }

    /// To be called at every event of thread `tid` but ActionFailed: its actions have been performed. One atomic load
    /// where nothing is pending.
    pub fn actions_performed(&self, tid: Pid) {
        if self.pending.load(Ordering::Acquire) != 0 {
            let old = self.performed(tid);
            self.forget(old);
        }
    }

    /// Action `index` of the calling thread's last list failed with `errno`. Puts the map back and gives the thread
    /// what makes the host's memory agree with it.
    ///
    /// Returns what the application gets in the place of what the call had returned; `None`: that stays. If the memory
    /// can't be made to agree, the address space is killed.
    pub fn action_failed(&self, cx: &Cx, index: usize, errno: Errno) -> Option<Result<u64>> {
        let tid = cx.task.tid();
        let mut state = self.state.write();
        for span in state.unperformed(tid, index) {
            self.space.forget_code(span.start, span.end);
        }
        let failure = state.failed(tid, index, errno);
        let gone = std::mem::take(&mut state.gone);
        let Some(failure) = failure else {
            self.pending.store(state.pending.len(), Ordering::Release);
            drop(state);
            drop(gone);
            self.performed.notify_all();
            return Some(Err(errno));
        };
        let acts: Vec<_> = failure.steps.iter().map(|s| s.act.clone()).collect();
        if !failure.steps.is_empty() {
            let base = cx.thread.lock().actions().len();
            state.note(Pending::new(tid, base, failure.steps));
        }
        self.pending.store(state.pending.len(), Ordering::Release);
        drop(state);
        drop(gone);
        self.performed.notify_all();
        let mut fatal = failure.fatal;
        let mut thread = cx.thread.lock();
        for act in acts {
            fatal |= !act.give(&self.space, &mut thread.actions());
        }
        if fatal {
            tracing::warn!(
                tid,
                ?errno,
                "the host's memory can't be made to agree with the map"
            );
            self.space.kill();
        }
        failure.answer
    }
}

impl Caller {
    /// A task that changes its map.
    pub fn of(task: &Task) -> Self {
        let persona = task.group.personality.load(Ordering::Relaxed);
        Self {
            tid: task.tid(),
            limits: Limits::of(task),
            read_implies_exec: persona & READ_IMPLIES_EXEC != 0,
        }
    }
}
