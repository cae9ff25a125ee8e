//! The reading end of a program's output: taken in by a thread, waited for with a limit.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Heard {
    /// What nobody has taken yet.
    bytes: Vec<u8>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a program writes.
pub struct Pipe(Arc<Shared>);

impl Pipe {
    pub fn new(mut from: impl Read + Send + 'static) -> Self {
        let shared = Arc::<Shared>::default();
        let to = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut buf = [0; 16 << 10];
            while let Ok(n @ 1..) = from.read(&mut buf) {
                to.lock().bytes.extend_from_slice(&buf[..n]);
                to.changed.notify_all();
            }
            to.lock().closed = true;
            to.changed.notify_all();
        });
        Self(shared)
    }

    /// Takes its next line with the newline; at the end of the file what is left. `None`: neither came within `limit`.
    pub fn line(&self, limit: Duration) -> Option<Vec<u8>> {
        self.take(limit, |heard| {
            let newline = heard.bytes.iter().position(|b| *b == b'\n');
            let all = heard.closed.then_some(heard.bytes.len());
            newline.map(|at| at + 1).or(all)
        })
    }

    /// Takes all until the end of the file. `None`: that didn't come within `limit`.
    pub fn rest(&self, limit: Duration) -> Option<Vec<u8>> {
        self.take(limit, |heard| heard.closed.then_some(heard.bytes.len()))
    }

    /// Takes what has come so far.
    pub fn so_far(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().bytes)
    }

    /// Takes as many bytes as `how_many` says, once it says so.
    fn take(&self, limit: Duration, how_many: impl Fn(&Heard) -> Option<usize>) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        let mut heard = self.0.lock();
        loop {
            if let Some(n) = how_many(&heard) {
                return Some(heard.bytes.drain(..n).collect());
            }
            let left = end.checked_duration_since(Instant::now())?;
            let woken = self.0.changed.wait_timeout(heard, left);
            heard = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
