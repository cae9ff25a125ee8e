//! The executor: tasks are futures, the trap rings are its I/O driver.
//!
//! - [`wait`]: wait queues and listeners, the one way to sleep for an event of the kernel's own.
//! - [`cell`]: a schedulable future and its run state.
//! - [`worker`]: the threads that poll tasks: one pinned per CPU on the trap rings.
//! - [`reactor`]: one thread in `epoll_wait` for host descriptors, timers and dead stubs.
//! - [`timer`] has the deadlines.
//! - [`blocking`]: a few threads for host calls that can sleep.
//!
//! # Invariants
//! A worker never sleeps in a host call with a task in its hands. Waking is allowed from anywhere and takes
//! no lock other than the run queue's; wait-queue locks are leaves (nothing is called with one held but `notify` of a
//! listener, which must not touch the queue that notifies it).

pub mod blocking;
pub mod cell;
pub mod reactor;
pub mod timer;
pub mod wait;
pub mod worker;

pub use cell::{Cell, CellListener};
pub use reactor::{HostWatch, Reactor};
pub use timer::{TimerId, TimerTarget, Timers};
pub use wait::{Listener, PollEvents, Registration, WaitQueue};

use parking_lot::{Mutex, RwLock};
use std::cell::Cell as StdCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// A task's future.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    /// This thread drains the run queue before it sleeps: what it pushes needs no wake.
    static DRAINS: StdCell<bool> = const { StdCell::new(false) };
}

/// What the threads of the executor share.
pub struct Shared {
    queue: Mutex<VecDeque<Arc<Cell>>>,
    /// Length of `queue`: written under its lock, read without. Who pushes from outside wakes a worker afterwards.
    queued: AtomicUsize,
    cells: RwLock<HashMap<u64, Arc<Cell>>>,
    next: AtomicU64,
    platform: Mutex<Weak<systrap::Platform>>,
}

impl Shared {
    fn push(&self, cell: Arc<Cell>) {
        let mut queue = self.queue.lock();
        queue.push_back(cell);
        self.queued.store(queue.len(), Ordering::Release);
        drop(queue);
        if !DRAINS.get() {
            self.wake_worker();
        }
    }

    fn remove(&self, token: u64) {
        let cell = self.cells.write().remove(&token);
        drop(cell);
    }

    /// Polls as many tasks as are queued now. Returns whether more have been queued meanwhile.
    fn drain(&self) -> bool {
        let mut left = self.queued.load(Ordering::Acquire);
        while left > 0 {
            let Some(cell) = self.pop() else { return false };
            cell.run_queued();
            left -= 1;
        }
        self.queued.load(Ordering::Acquire) != 0
    }

    fn pop(&self) -> Option<Arc<Cell>> {
        let mut queue = self.queue.lock();
        let cell = queue.pop_front();
        self.queued.store(queue.len(), Ordering::Release);
        cell
    }

    fn wake_worker(&self) {
        let platform = self.platform.lock().upgrade();
        if let Some(platform) = platform {
            platform.wake();
        }
    }

    fn cell(&self, token: systrap::Token) -> Option<Arc<Cell>> {
        self.cells.read().get(&token.0).cloned()
    }
}

/// The executor of a sandbox.
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

impl Executor {
    /// An executor that gets its traps from `platform`.
    pub fn new(platform: &Arc<systrap::Platform>) -> Self {
        Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(VecDeque::new()),
                queued: AtomicUsize::new(0),
                cells: RwLock::new(HashMap::new()),
                next: AtomicU64::new(1),
                platform: Mutex::new(Arc::downgrade(platform)),
            }),
        }
    }

    /// A cell whose future comes later, with [`Executor::start`]: the future wants to know its own cell.
    pub fn reserve(&self) -> Arc<Cell> {
        let token = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let cell = Arc::new(Cell::new(Arc::clone(&self.shared), token));
        self.shared.cells.write().insert(token, Arc::clone(&cell));
        cell
    }

    /// Gives a reserved cell its future and has it polled.
    pub fn start(&self, cell: &Arc<Cell>, future: BoxFuture) {
        cell.set_future(future);
        cell.wake();
    }

    /// Gives up a reserved cell that is not going to be started.
    pub fn discard(&self, cell: &Arc<Cell>) {
        self.shared.remove(cell.token);
    }
}
