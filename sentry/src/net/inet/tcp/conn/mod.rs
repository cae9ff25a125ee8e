//! A connection: two ends that share two byte queues. No packet is made.
//!
//! A queue holds what in a network would be in the sender's send queue and in the receiver's receive queue. The first
//! [`Conn::window`] bytes of it count as received, what is beyond counts as not yet sent: SIOCOUTQ, FIONREAD, what a
//! reset destroys, and when a FIN arrives follow from that.
//!
//! Ends are numbered 0 (who connected) and 1 (who accepted). A socket connected to itself has end 0 only, and reads what it
//! writes.

mod end;
mod recv;
mod send;

use crate::executor::PollEvents;
use crate::net::inet::ports::TIME_WAIT_NS;
use crate::net::inet::sk::{RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK, Sk};
use crate::net::inet::stack::now;
use crate::net::inet::tcp::buf::ByteQueue;
use crate::net::inet::tcp::listen::Listener;
use crate::net::inet::tcp::state::TcpState;
use crate::net::options::Flags;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// What a change of state may mean to those who wait. Not PRI: that is urgent data, for which SIGURG goes out.
pub(in crate::net::inet::tcp) const CHANGE: PollEvents =
    PollEvents::all().difference(PollEvents::PRI);

/// A connection.
pub struct Conn {
    /// The sockets.
    pub ends: [Arc<Sk>; 2],
    /// Their addresses.
    pub addrs: [SocketAddr; 2],
    looped: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Written by end 0, by end 1.
    dirs: [Dir; 2],
    sides: [Side; 2],
}

/// One direction.
#[derive(Default)]
struct Dir {
    queue: ByteQueue,
    /// Bytes that a sender is copying in at the moment.
    reserved: usize,
    /// Bytes ever written.
    tail: u64,
    /// Segments, about.
    segments: u32,
    urgent: Option<Urgent>,
}

/// Urgent data (tcp(7)): the last byte of a MSG_OOB send.
#[derive(Clone, Copy)]
struct Urgent {
    /// Where in the stream.
    seq: u64,
    byte: u8,
    /// recv(MSG_OOB) has taken it.
    read: bool,
}

#[derive(Default)]
struct Side {
    /// The FIN is queued: shutdown(SHUT_WR) or close(2).
    fin_sent: bool,
    /// The peer's FIN has come.
    fin_rcvd: bool,
    /// It sent its FIN after it had got the peer's.
    passive: bool,
    /// close(2): nobody reads or looks any more.
    released: bool,
    /// In state CLOSE, or TIME_WAIT, which its socket sees as CLOSE.
    dead: bool,
    /// The listener that wants it once it has data (TCP_DEFER_ACCEPT).
    deferred: Option<Weak<Listener>>,
}

/// What is to be done once the lock is released.
#[derive(Default)]
struct After {
    wake: [PollEvents; 2],
    died: [Option<Death>; 2],
    promote: Option<Weak<Listener>>,
}

/// An end has reached CLOSE.
#[derive(Clone, Copy)]
struct Death {
    /// TIME_WAIT follows.
    time_wait: bool,
    /// The socket was closed before.
    released: bool,
}

impl Dir {
    /// Where in the stream the reader is.
    fn head(&self) -> u64 {
        self.tail - self.queue.len() as u64
    }

    /// The reader is at the urgent mark.
    fn at_mark(&self) -> bool {
        self.urgent.is_some_and(|u| u.seq == self.head())
    }

    /// Forgets urgent data that the reader has passed.
    fn pass_mark(&mut self) {
        if self.urgent.is_some_and(|u| u.seq < self.head()) {
            self.urgent = None;
        }
    }
}

impl Inner {
    fn state(&self, s: usize, peer: usize) -> TcpState {
        let (me, acked) = (&self.sides[s], self.sides[peer].fin_rcvd);
        if me.dead {
            return TcpState::Close;
        }
        match (me.fin_sent, me.fin_rcvd) {
            (false, false) => TcpState::Established,
            (false, true) => TcpState::CloseWait,
            (true, false) if acked => TcpState::FinWait2,
            (true, false) => TcpState::FinWait1,
            (true, true) if me.passive => TcpState::LastAck,
            (true, true) => TcpState::Closing,
        }
    }
}

impl Conn {
    /// A connection of two sockets with their addresses. Both ends are in the table from now on.
    pub fn open(ends: [Arc<Sk>; 2], addrs: [SocketAddr; 2]) -> Arc<Self> {
        let looped = Arc::ptr_eq(&ends[0], &ends[1]);
        let conn = Arc::new(Self {
            ends,
            addrs,
            looped,
            inner: Mutex::default(),
        });
        let stack = &conn.ends[0].stack;
        for s in conn.sides() {
            stack.conns.opened(conn.tuple(s), &conn, s);
            stack.stats.tcp_curr_estab.inc();
            conn.auto_buffers(s);
        }
        conn
    }

    fn sides(&self) -> std::ops::Range<usize> {
        0..if self.looped { 1 } else { 2 }
    }

    /// What Linux makes of the sizes of a loopback connection's buffers where SO_SNDBUF hasn't been set.
    fn auto_buffers(&self, s: usize) {
        let base = &self.ends[s].base;
        if !base.has(Flags::SNDBUF_SET) {
            base.set_buffers(
                crate::net::inet::tcp::SNDBUF_CONNECTED,
                u32::try_from(base.rcvbuf()).unwrap_or(u32::MAX),
            );
        }
    }

    /// The other end.
    pub fn peer(&self, s: usize) -> usize {
        if self.looped { s } else { 1 - s }
    }

    /// Own address and the peer's.
    pub fn tuple(&self, s: usize) -> crate::net::inet::tcp::table::Tuple {
        crate::net::inet::tcp::table::Tuple {
            local: self.addrs[s],
            remote: self.addrs[self.peer(s)],
        }
    }

    /// Bytes that the end `s` takes in before it reads any.
    fn window(&self, s: usize) -> usize {
        (self.ends[s].base.rcvbuf() / 2).max(1)
    }

    /// Runs `f` under the lock and what it asks for after it.
    fn with<R>(&self, f: impl FnOnce(&mut Inner, &mut After) -> R) -> R {
        let mut after = After::default();
        let result = f(&mut self.inner.lock(), &mut after);
        self.settle(after);
        result
    }

    fn settle(&self, after: After) {
        for s in self.sides() {
            if let Some(death) = after.died[s] {
                self.bury(s, death);
            }
        }
        if let Some(listener) = after.promote.and_then(|l| l.upgrade()) {
            listener.promote(self);
        }
        for s in self.sides() {
            if !after.wake[s].is_empty() {
                self.ends[s].base.queue.notify(after.wake[s]);
            }
        }
    }

    /// The end has reached CLOSE: it leaves the tables, for TIME_WAIT with an entry of the kernel's own.
    fn bury(&self, s: usize, death: Death) {
        let sk = &self.ends[s];
        sk.stack.stats.tcp_curr_estab.dec();
        let until = now() + TIME_WAIT_NS;
        let mut lease = sk.lease.lock();
        if death.time_wait
            && sk
                .stack
                .conns
                .time_wait(self.tuple(s), self, sk.family, until)
        {
            if let Some(lease) = &*lease {
                lease.linger(until);
            }
        } else {
            sk.stack.conns.closed(self.tuple(s), self);
        }
        if death.released || !sk.port_locked.load(Ordering::Relaxed) {
            *lease = None;
        }
    }

    /// The end's state.
    pub fn state(&self, s: usize) -> TcpState {
        self.inner.lock().state(s, self.peer(s))
    }

    /// poll(2) (tcp_poll).
    pub fn poll(&self, s: usize) -> PollEvents {
        let sk = &self.ends[s];
        let inner = self.inner.lock();
        let shutdown = sk.shutdown();
        let mut mask = PollEvents::empty();
        if shutdown == SHUTDOWN_MASK || inner.sides[s].dead {
            mask |= PollEvents::HUP;
        }
        if shutdown & RCV_SHUTDOWN != 0 {
            mask |= PollEvents::READABLE | PollEvents::RDHUP;
        }
        let dir = &inner.dirs[self.peer(s)];
        let mut target = usize::try_from(sk.base.rcvlowat.load(Ordering::Relaxed))
            .unwrap_or(1)
            .max(1);
        // More than both buffers hold can't be waited for.
        target = target.min(self.window(s));
        if dir.at_mark() && !sk.base.has(Flags::OOBINLINE) {
            target += 1;
        }
        if dir.queue.len() >= target {
            mask |= PollEvents::READABLE;
        }
        if shutdown & SEND_SHUTDOWN != 0 || self.writeable(&inner, s) {
            mask |= PollEvents::WRITABLE;
        } else {
            sk.nospace.store(true, Ordering::SeqCst);
        }
        if dir.urgent.is_some_and(|u| !u.read) {
            mask |= PollEvents::PRI;
        }
        if sk.base.has_error() {
            mask |= PollEvents::ERR;
        }
        mask
    }

    /// What end `s` has written and read so far: bytes out, bytes in, segments out, segments in.
    pub fn traffic(&self, s: usize) -> (u64, u64, u32, u32) {
        let inner = self.inner.lock();
        let (out, back) = (&inner.dirs[s], &inner.dirs[self.peer(s)]);
        (out.tail, back.tail, out.segments, back.segments)
    }

    /// The accepting end is to be handed to `listener` once it has data. False when it has some already.
    pub fn defer(&self, listener: &Arc<Listener>) -> bool {
        let mut inner = self.inner.lock();
        if !inner.dirs[0].queue.is_empty() || inner.sides[1].fin_rcvd || inner.sides[1].dead {
            return false;
        }
        inner.sides[1].deferred = Some(Arc::downgrade(listener));
        true
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let left: usize = self
            .inner
            .get_mut()
            .dirs
            .iter()
            .map(|d| d.queue.len())
            .sum();
        self.ends[0].stack.uncharge(left);
    }
}
