//! Connecting: from connect(2) to a connection, at once or when a listener's queue has room.

use super::conn::{CHANGE, Conn};
use super::table::Tuple;
use crate::executor::{TimerId, TimerTarget};
use crate::net::inet::sk::{SHUTDOWN_MASK, Sk};
use crate::net::inet::stack::Stack;
use arch::Errno;
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// A connect(2) under way.
pub struct Handshake {
    /// Who connects.
    pub sk: Arc<Sk>,
    /// From where to where.
    pub tuple: Tuple,
    /// When to give up, nanoseconds of CLOCK_MONOTONIC.
    pub deadline: u64,
    /// Lock order: a listener's queue, this, the tables.
    progress: Mutex<Progress>,
    timer: Mutex<Option<TimerId>>,
}

/// How far it has come.
#[derive(Clone)]
pub enum Progress {
    /// SYN_SENT.
    Waiting,
    /// Connected, as this end of it.
    Done(Arc<Conn>, usize),
    /// Over: the error is the socket's.
    Failed,
}

impl Handshake {
    /// A handshake that waits.
    pub fn new(sk: Arc<Sk>, tuple: Tuple, deadline: u64) -> Arc<Self> {
        Arc::new(Self {
            sk,
            tuple,
            deadline,
            progress: Mutex::new(Progress::Waiting),
            timer: Mutex::new(None),
        })
    }

    /// How it stands. Gives up when its time is over.
    pub fn progress(&self) -> Progress {
        let progress = self.progress.lock().clone();
        if matches!(progress, Progress::Waiting) && super::super::stack::now() >= self.deadline {
            self.fail(Errno::ETIMEDOUT);
            return self.progress.lock().clone();
        }
        progress
    }

    /// Whether it still waits.
    pub fn is_waiting(&self) -> bool {
        matches!(*self.progress.lock(), Progress::Waiting)
    }

    /// Has it end by itself at its deadline.
    pub fn arm(self: &Arc<Self>) {
        let target = Arc::new(Expiry(Arc::downgrade(self)));
        *self.timer.lock() = self.sk.stack.alarm(self.deadline, target);
    }

    /// Makes the connection, if it is still wanted. `open` runs at most once; the caller wakes the socket with [`Self::wake`].
    pub fn complete(&self, open: impl FnOnce() -> (Arc<Conn>, usize)) -> Option<Arc<Conn>> {
        let mut progress = self.progress.lock();
        if !matches!(*progress, Progress::Waiting) {
            return None;
        }
        let (conn, side) = open();
        *progress = Progress::Done(Arc::clone(&conn), side);
        Some(conn)
    }

    /// Tells the socket's waiters.
    pub fn wake(&self) {
        self.disarm();
        self.sk.base.queue.notify(CHANGE);
    }

    fn disarm(&self) {
        if let Some(id) = self.timer.lock().take() {
            self.sk.stack.cancel_alarm(id);
        }
    }

    /// Ends it without a connection, and without an error.
    fn end(&self) -> bool {
        let mut progress = self.progress.lock();
        if !matches!(*progress, Progress::Waiting) {
            return false;
        }
        *progress = Progress::Failed;
        self.sk.stack.conns.given_up(self);
        true
    }

    /// Ends it with an error for its socket (tcp_reset in SYN_SENT).
    pub fn fail(&self, error: Errno) {
        if !self.end() {
            return;
        }
        self.sk.stack.stats.tcp_attempt_fails.inc();
        self.sk.base.set_error(error);
        self.sk.add_shutdown(SHUTDOWN_MASK);
        if !self.sk.port_locked.load(Ordering::Relaxed) {
            *self.sk.lease.lock() = None;
        }
        self.wake();
    }

    /// The socket doesn't want it any more. The caller takes it out of a listener's queue.
    pub fn cancel(self: &Arc<Self>) {
        if self.end() {
            self.disarm();
            self.sk.stack.listeners.forget(self);
        }
    }
}

struct Expiry(Weak<Handshake>);

impl TimerTarget for Expiry {
    fn expired(&self, _: TimerId) {
        if let Some(handshake) = self.0.upgrade() {
            handshake.timer.lock().take();
            handshake.fail(Errno::ETIMEDOUT);
            handshake.sk.stack.listeners.forget(&handshake);
        }
    }
}

/// Sends the SYN: finds who answers it.
pub fn dispatch(stack: &Arc<Stack>, handshake: &Arc<Handshake>) {
    // Connected to itself, or to one that connects to us at the same time.
    if let Some(other) = stack.conns.opening(handshake.tuple.reverse()) {
        if Arc::ptr_eq(&other, handshake) {
            let (sk, at) = (&handshake.sk, handshake.tuple.local);
            let open = || (Conn::open([Arc::clone(sk), Arc::clone(sk)], [at, at]), 0);
            if handshake.complete(open).is_some() {
                handshake.wake();
            }
            return;
        }
        let mine = handshake.tuple.local;
        let ends = [Arc::clone(&other.sk), Arc::clone(&handshake.sk)];
        let open = || (Conn::open(ends, [other.tuple.local, mine]), 0);
        if let Some(conn) = other.complete(open) {
            if handshake.complete(|| (Arc::clone(&conn), 1)).is_none() {
                conn.abort(1, true);
            }
            other.wake();
            handshake.wake();
            return;
        }
    }
    // A listener that closes meanwhile is no longer found at the next turn.
    while let Some(listener) = stack.listeners.find(handshake.tuple) {
        if listener.syn(handshake) {
            return;
        }
    }
    handshake.fail(Errno::ECONNREFUSED);
}
