//! A schedulable future and its run state.

use super::wait::{Listener, PollEvents};
use super::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Not queued, not polled.
const IDLE: u8 = 0;
/// In the run queue.
const QUEUED: u8 = 1;
/// Being polled.
const RUNNING: u8 = 2;
/// Being polled, and woken meanwhile: to be queued again.
const RERUN: u8 = 3;
/// The future is finished.
const DONE: u8 = 4;

/// One future of the executor's: a task of the kernel.
pub struct Cell {
    /// Moves by compare-and-swap between the states above; whoever moves it to RUNNING polls.
    state: AtomicU8,
    /// The future, and the waker that every poll of it gets; both go when it is finished (the waker refers back here).
    future: Mutex<Option<(BoxFuture, Waker)>>,
    /// Set by a worker when the platform reports the task's thread; taken by the task.
    trapped: AtomicBool,
    shared: Arc<Shared>,
    /// Index in the executor's table, which is the platform's token.
    pub(super) token: u64,
}

impl Cell {
    pub(super) fn new(shared: Arc<Shared>, token: u64) -> Self {
        Self {
            state: AtomicU8::new(IDLE),
            future: Mutex::new(None),
            trapped: AtomicBool::new(false),
            shared,
            token,
        }
    }

    /// What the platform calls it by.
    pub fn token(&self) -> systrap::Token {
        systrap::Token(self.token)
    }

    pub(super) fn set_future(self: &Arc<Self>, future: BoxFuture) {
        *self.future.lock() = Some((future, Waker::from(Arc::clone(self))));
    }

    /// Has the future polled soon. Any thread, any time; several wakes may become one poll.
    pub fn wake(self: &Arc<Self>) {
        let mut state = self.state.load(Ordering::SeqCst);
        loop {
            let (next, queue) = match state {
                IDLE => (QUEUED, true),
                RUNNING => (RERUN, false),
                _ => return,
            };
            match self
                .state
                .compare_exchange_weak(state, next, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => {
                    if queue {
                        self.shared.push(Arc::clone(self));
                    }
                    return;
                }
                Err(now) => state = now,
            }
        }
    }

    /// The platform has an event for this task: polls it here and now if nobody else does.
    pub(super) fn run_trapped(self: &Arc<Self>) {
        // Released by the exchange of the state, here or in `wake`.
        self.trapped.store(true, Ordering::Release);
        if self
            .state
            .compare_exchange(IDLE, RUNNING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
        {
            self.poll();
        } else {
            self.wake();
        }
    }

    /// Whether the platform has reported the thread since the last call.
    pub fn take_trapped(&self) -> bool {
        let trapped = self.trapped.load(Ordering::Acquire);
        if trapped {
            // No second report comes before the thread has gone on, which is the task's doing.
            self.trapped.store(false, Ordering::Release);
        }
        trapped
    }

    /// Polls what the run queue held.
    pub(super) fn run_queued(self: &Arc<Self>) {
        if self
            .state
            .compare_exchange(QUEUED, RUNNING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
        {
            self.poll();
        }
    }

    fn poll(self: &Arc<Self>) {
        let mut slot = self.future.lock();
        let finished = match slot.as_mut() {
            Some((future, waker)) => {
                let mut context = Context::from_waker(waker);
                matches!(future.as_mut().poll(&mut context), Poll::Ready(()))
            }
            None => true,
        };
        if finished {
            let future = slot.take();
            drop(slot);
            self.state.store(DONE, Ordering::SeqCst);
            self.shared.remove(self.token);
            drop(future);
            return;
        }
        drop(slot);
        if self
            .state
            .compare_exchange(RUNNING, IDLE, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            self.state.store(QUEUED, Ordering::SeqCst);
            self.shared.push(Arc::clone(self));
        }
    }
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        Cell::wake(&self);
    }
    fn wake_by_ref(self: &Arc<Self>) {
        Cell::wake(self);
    }
}

/// A cell as the listener of a wait queue. (`Listener::notify` has no `Arc` of itself.)
pub struct CellListener(pub Arc<Cell>);

impl Listener for CellListener {
    fn notify(&self, _: PollEvents) -> bool {
        Cell::wake(&self.0);
        true
    }
}
