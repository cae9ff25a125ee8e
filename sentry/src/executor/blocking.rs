//! A few threads for host calls that can sleep (fsync, a slow disk).

use super::{Cell, Executor};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, LazyLock};
use std::task::Poll;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Pool {
    state: Mutex<PoolState>,
    ready: Condvar,
}

#[derive(Default)]
struct PoolState {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

/// Threads at most; further jobs queue.
const MAX_THREADS: usize = 8;

static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);

fn submit(job: Job) {
    let mut state = POOL.state.lock();
    state.jobs.push_back(job);
    if state.idle == 0 && state.threads < MAX_THREADS {
        let spawned = std::thread::Builder::new()
            .name("blocking".into())
            .stack_size(256 << 10)
            .spawn(pool_thread);
        if spawned.is_ok() {
            state.threads += 1;
        }
    }
    POOL.ready.notify_one();
}

/// Runs `f` on a thread that may sleep, some time.
pub fn background(f: impl FnOnce() + Send + 'static) {
    submit(Box::new(f));
}

fn pool_thread() {
    let mut state = POOL.state.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            parking_lot::MutexGuard::unlocked(&mut state, job);
        } else {
            state.idle += 1;
            POOL.ready.wait(&mut state);
            state.idle -= 1;
        }
    }
}

impl Executor {
    /// Runs `f` on a thread that may sleep, and waits for its result. Not interruptible, as disk sleep isn't.
    pub async fn blocking<T: Send + 'static>(
        &self,
        cell: Arc<Cell>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let result = Arc::new(Mutex::new(None));
        let theirs = Arc::clone(&result);
        submit(Box::new(move || {
            let value = f();
            *theirs.lock() = Some(value);
            cell.wake();
        }));
        poll_fn(move |_| result.lock().take().map_or(Poll::Pending, Poll::Ready)).await
    }
}
