//! What a system call handler works with: its task, its registers, its memory, and the one door to sleep.

use super::Task;
use super::rare::Rare;
use crate::executor::{CellListener, PollEvents, TimerId, TimerTarget, WaitQueue};
use crate::kernel::Kernel;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use systrap::{Thread, TrapSite};

/// The context of one application thread in the kernel. Owned by the task's future; handlers borrow it.
pub struct Cx {
    /// The task.
    pub task: Arc<Task>,
    /// The host thread and its slot. Locked only for the moment of a register or window access, never across
    /// an await.
    pub(crate) thread: Mutex<Thread>,
    /// What a restarted system call goes on with (`ERESTART_RESTARTBLOCK`).
    pub(crate) restart: Rare<super::RestartBlock>,
    /// A restart code and the call's number, until signals have been looked at.
    pub(crate) pending_restart: Rare<(Errno, u64)>,
    /// A child whose host clone has not been performed yet.
    pub(crate) pending_child: Rare<Arc<Task>>,
    /// The frame of a signal whose FPU state the stub has yet to store.
    pub(crate) pushed: Rare<crate::signal::frame::Pushed>,
    /// The call whose output is on its way.
    pub(crate) answered: Answered,
    /// The call has set all registers itself: its result goes nowhere.
    registers_set: AtomicBool,
    /// What the call returns, until the thread goes on.
    result: Pending,
    /// Of a call that came by a signal: its site if it should be rewritten, and whether it is one that the stub only shows.
    pub(crate) trap: Rare<(Option<TrapSite>, bool)>,
}

/// A word that may be there. Only the task itself uses it; atomics because a future may move between threads.
#[derive(Default)]
struct Pending {
    some: AtomicBool,
    word: AtomicU64,
}

/// Number and first two arguments of the call that the stub is writing the output of. Only the task itself uses it; atomics
/// because a future may move between threads.
pub(crate) struct Answered([AtomicU64; 3]);

/// In the place of a number: the output is not a call's.
const NO_CALL: u64 = u64::MAX;

impl Default for Answered {
    fn default() -> Self {
        Self([NO_CALL, 0, 0].map(AtomicU64::new))
    }
}

impl Answered {
    /// A call has been handled.
    pub fn set(&self, nr: u64, args: &[u64; 6]) {
        for (to, word) in self.0.iter().zip([nr, args[0], args[1]]) {
            to.store(word, Ordering::Relaxed);
        }
    }

    /// Number and first two arguments, once.
    pub fn take(&self) -> Option<(u64, [u64; 2])> {
        let [nr, args @ ..] = &self.0;
        let nr = nr.swap(NO_CALL, Ordering::Relaxed);
        (nr != NO_CALL).then(|| (nr, args.each_ref().map(|a| a.load(Ordering::Relaxed))))
    }
}

/// A point in time for a wait: nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub u64);

impl Deadline {
    /// `ns` nanoseconds from now.
    pub fn after(ns: u64) -> Self {
        Self(crate::host::event::monotonic_ns().saturating_add(ns))
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        crate::host::event::monotonic_ns() >= self.0
    }

    /// What is left, in nanoseconds; 0 once it has passed.
    pub fn remaining(self) -> u64 {
        self.0.saturating_sub(crate::host::event::monotonic_ns())
    }
}

/// Wakes a task when its wait's deadline passes.
struct WaitTimeout {
    listener: Arc<crate::executor::Cell>,
    fired: AtomicBool,
}

impl TimerTarget for WaitTimeout {
    fn expired(&self, _: TimerId) {
        self.fired.store(true, Ordering::SeqCst);
        self.listener.wake();
    }
}

/// Takes the timer out again, whichever way the wait ends.
struct TimerGuard<'a>(&'a Kernel, TimerId);

impl Drop for TimerGuard<'_> {
    fn drop(&mut self) {
        self.0.timers.cancel(self.1);
    }
}

impl Cx {
    pub(crate) fn new(task: Arc<Task>, thread: Thread) -> Self {
        Self {
            task,
            thread: Mutex::new(thread),
            restart: Rare::new(),
            pending_restart: Rare::new(),
            pending_child: Rare::new(),
            pushed: Rare::new(),
            answered: Answered::default(),
            registers_set: AtomicBool::new(false),
            result: Pending::default(),
            trap: Rare::new(),
        }
    }

    /// What the call returns. It reaches the registers with [`Cx::store_result`].
    pub(crate) fn set_result(&self, rax: u64) {
        self.result.word.store(rax, Ordering::Relaxed);
        self.result.some.store(true, Ordering::Relaxed);
    }

    /// Puts the result where the application finds it: before it goes on, or its registers are looked at. With a lock that
    /// is held anyway, since that of every call would otherwise be one more.
    pub(crate) fn store_result(&self, thread: &mut Thread) {
        if self.result.some.load(Ordering::Relaxed) {
            self.result.some.store(false, Ordering::Relaxed);
            thread.set_return(self.result.word.load(Ordering::Relaxed));
        }
    }

    /// Says that the call has set all registers itself (rt_sigreturn(2), execve(2)).
    pub(crate) fn registers_set(&self) {
        self.registers_set.store(true, Ordering::Relaxed);
    }

    pub(crate) fn take_registers_set(&self) -> bool {
        self.registers_set.load(Ordering::Relaxed)
            && self.registers_set.swap(false, Ordering::Relaxed)
    }

    /// The kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.task.kernel
    }

    /// Tries `op` until it returns something other than EAGAIN, sleeping on `queue` between tries.
    ///
    /// Ends with ETIMEDOUT once `deadline` has passed, and with ERESTARTSYS when a signal wants the task (`op`
    /// has one try before either). The caller turns ERESTARTSYS into the restart class of its call where that differs.
    pub async fn wait<T>(
        &self,
        queue: &WaitQueue,
        interest: PollEvents,
        deadline: Option<Deadline>,
        op: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        self.wait_many(&[(queue, interest)], deadline, op).await
    }

    /// [`Cx::wait`] on several queues at once.
    pub async fn wait_many<T>(
        &self,
        queues: &[(&WaitQueue, PollEvents)],
        deadline: Option<Deadline>,
        mut op: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        match op() {
            // The stub should not spin for an answer that takes long.
            Err(Errno::EAGAIN) => self.thread.lock().will_block(),
            done => return done,
        }
        let cell = self.task.cell();
        let listener = Arc::new(CellListener(Arc::clone(cell)));
        let _registrations: Vec<_> = queues
            .iter()
            .map(|(queue, interest)| queue.register(*interest, listener.clone()))
            .collect();
        let timeout = Arc::new(WaitTimeout {
            listener: Arc::clone(cell),
            fired: AtomicBool::new(false),
        });
        let _timer = deadline.map(|d| {
            TimerGuard(
                self.kernel(),
                self.kernel().timers.add(d.0, timeout.clone()),
            )
        });
        self.task.asleep(true);
        let result = poll_fn(|_| match op() {
            Err(Errno::EAGAIN) if timeout.fired.load(Ordering::SeqCst) => {
                Poll::Ready(Err(Errno::ETIMEDOUT))
            }
            Err(Errno::EAGAIN) if self.task.interrupted() => Poll::Ready(Err(Errno::ERESTARTSYS)),
            Err(Errno::EAGAIN) => Poll::Pending,
            done => Poll::Ready(done),
        })
        .await;
        self.task.asleep(false);
        result
    }

    /// Sleeps until the deadline: `Ok` when it has passed, ERESTARTSYS when a signal came first.
    pub async fn sleep(&self, deadline: Option<Deadline>) -> Result<()> {
        match self
            .wait_many(&[], deadline, || Err::<(), _>(Errno::EAGAIN))
            .await
        {
            Err(Errno::ETIMEDOUT) => Ok(()),
            other => other,
        }
    }

    /// Sleeps until the deadline, whatever signals come.
    pub(crate) async fn pause(&self, until: Deadline) {
        let timeout = Arc::new(WaitTimeout {
            listener: Arc::clone(self.task.cell()),
            fired: AtomicBool::new(false),
        });
        let timers = &self.kernel().timers;
        let _timer = TimerGuard(self.kernel(), timers.add(until.0, timeout.clone()));
        poll_fn(|_| {
            if timeout.fired.load(Ordering::SeqCst) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Tries `op` until it returns something other than EAGAIN; signals don't end it.
    pub(crate) async fn wait_uninterrupted<T>(
        &self,
        queue: &WaitQueue,
        interest: PollEvents,
        mut op: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        match op() {
            Err(Errno::EAGAIN) => self.thread.lock().will_block(),
            done => return done,
        }
        let listener = Arc::new(CellListener(Arc::clone(self.task.cell())));
        let _registration = queue.register(interest, listener);
        poll_fn(|_| match op() {
            Err(Errno::EAGAIN) => Poll::Pending,
            done => Poll::Ready(done),
        })
        .await
    }

    /// As [`Cx::wait_uninterrupted`], but the death of the process ends it, with EINTR.
    pub(crate) async fn wait_killable<T>(
        &self,
        queue: &WaitQueue,
        mut op: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let task = Arc::clone(&self.task);
        self.wait_uninterrupted(queue, PollEvents::all(), || match op() {
            Err(Errno::EAGAIN) if task.exit_request().is_some() => Err(Errno::EINTR),
            other => other,
        })
        .await
    }
}
