//! A connection: two ends that share two byte queues. No packet is made.
//!
//! A queue holds what in a network would be in the sender's send queue and in the receiver's receive queue. The first
//! [`Conn::window`] bytes of it count as received, what is beyond counts as not yet sent: SIOCOUTQ, FIONREAD, what a
//! reset destroys, and when a FIN arrives follow from that.
//!
//! Ends are numbered 0 (who connected) and 1 (who accepted). A socket connected to itself has end 0 only, and reads what it
//! writes.

use super::buf::{ByteQueue, Piece, Pieces, fetch};
use super::listen::Listener;
use super::state::TcpState;
use crate::executor::PollEvents;
use crate::net::inet::ports::TIME_WAIT_NS;
use crate::net::inet::sk::{RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK, Sk};
use crate::net::inet::stack::now;
use crate::net::options::Flags;
use crate::net::{MsgFlags, Received};
use crate::user::{Sink, Source};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// What a change of state may mean to those who wait. Not PRI: that is urgent data, for which SIGURG goes out.
pub(super) const CHANGE: PollEvents = PollEvents::all().difference(PollEvents::PRI);

/// Sends up to this size go through a buffer on the stack and join what is queued.
const SMALL: usize = 2048;

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
                super::SNDBUF_CONNECTED,
                u32::try_from(base.rcvbuf()).unwrap_or(u32::MAX),
            );
        }
    }

    /// The other end.
    pub fn peer(&self, s: usize) -> usize {
        if self.looped { s } else { 1 - s }
    }

    /// Own address and the peer's.
    pub fn tuple(&self, s: usize) -> super::table::Tuple {
        super::table::Tuple {
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

    // ---- transitions, under the lock ----

    /// Lets FINs arrive that have nothing before them, and ends what both have ended.
    fn progress(&self, inner: &mut Inner, after: &mut After) {
        for s in self.sides() {
            let p = self.peer(s);
            if inner.sides[p].fin_sent
                && !inner.sides[s].fin_rcvd
                && !inner.sides[s].dead
                && inner.dirs[p].queue.len() + inner.dirs[p].reserved <= self.window(s)
            {
                inner.sides[s].fin_rcvd = true;
                after.promote = after.promote.take().or(inner.sides[s].deferred.take());
                self.ends[s].done.store(true, Ordering::SeqCst);
                self.ends[s].add_shutdown(RCV_SHUTDOWN);
                after.wake[s] |= CHANGE;
            }
        }
        for s in self.sides() {
            let acked = inner.sides[self.peer(s)].fin_rcvd;
            let side = &mut inner.sides[s];
            if side.fin_sent && side.fin_rcvd && acked && !side.dead {
                side.dead = true;
                after.died[s] = Some(Death {
                    time_wait: !side.passive,
                    released: side.released,
                });
                self.ends[s].add_shutdown(SHUTDOWN_MASK);
                after.wake[s] |= CHANGE;
            }
        }
    }

    /// The end `s` sends a RST: it is gone, and its peer has an error (tcp_reset).
    fn reset(&self, inner: &mut Inner, after: &mut After, s: usize) {
        let p = self.peer(s);
        let stats = &self.ends[s].stack.stats;
        stats.tcp_out_rsts.inc();
        stats.tcp_estab_resets.inc();
        if !inner.sides[p].dead && p != s {
            let error = match inner.state(p, s) {
                TcpState::CloseWait => Errno::EPIPE,
                _ => Errno::ECONNRESET,
            };
            if !inner.sides[p].released {
                self.ends[p].base.set_error(error);
            }
            self.kill(inner, after, p);
        }
        if !inner.sides[s].dead {
            self.kill(inner, after, s);
        }
        // What had reached the peer stays readable; the rest is lost.
        let window = self.window(p);
        self.shorten(inner, s, window);
        self.shorten(inner, p, 0);
    }

    /// Straight to CLOSE (tcp_done).
    fn kill(&self, inner: &mut Inner, after: &mut After, s: usize) {
        inner.sides[s].dead = true;
        after.died[s] = Some(Death {
            time_wait: false,
            released: inner.sides[s].released,
        });
        self.ends[s].add_shutdown(SHUTDOWN_MASK);
        after.wake[s] |= CHANGE;
    }

    /// Cuts what end `s` has written down to `keep` bytes.
    fn shorten(&self, inner: &mut Inner, s: usize, keep: usize) {
        let dir = &mut inner.dirs[s];
        let lost = dir.queue.len().saturating_sub(keep);
        dir.queue.truncate(keep);
        dir.tail -= lost as u64;
        self.ends[s].stack.uncharge(lost);
    }

    // ---- sending ----

    /// Why the end can't send (tcp_sendmsg_locked's do_error).
    fn sendable(&self, s: usize) -> Result<()> {
        let sk = &self.ends[s];
        if sk.base.has_error() || sk.shutdown() & SEND_SHUTDOWN != 0 {
            sk.base.take_error()?;
            return Err(Errno::EPIPE);
        }
        Ok(())
    }

    /// Bytes that count as not yet sent, and room for such.
    fn send_queue(&self, inner: &Inner, s: usize) -> (usize, usize) {
        let sk = &self.ends[s];
        let dir = &inner.dirs[s];
        let unsent = (dir.queue.len() + dir.reserved).saturating_sub(self.window(self.peer(s)));
        (unsent, sk.stack.allowance(sk.base.sndbuf()))
    }

    /// How much may be written now.
    fn room(&self, inner: &Inner, s: usize) -> usize {
        let (unsent, limit) = self.send_queue(inner, s);
        if unsent >= limit {
            return 0;
        }
        let dir = &inner.dirs[s];
        (limit + self.window(self.peer(s))).saturating_sub(dir.queue.len() + dir.reserved)
    }

    /// Whether poll(2) reports room: a third of the buffer (sk_stream_is_writeable).
    fn writeable(&self, inner: &Inner, s: usize) -> bool {
        let (unsent, limit) = self.send_queue(inner, s);
        limit.saturating_sub(unsent) >= unsent / 2 && unsent < limit
    }

    /// send(2). Takes what there is room for; EAGAIN when there is none.
    pub fn send(&self, s: usize, src: &mut dyn Source, flags: MsgFlags) -> Result<usize> {
        let len = src.remaining();
        if len <= SMALL {
            let mut buf = [0; SMALL];
            let fetched = src.peek(&mut buf[..len]);
            let n = self.with(|inner, after| {
                self.sendable(s)?;
                let got = fetched?;
                let n = got.min(self.room(inner, s));
                if n == 0 && len > 0 {
                    self.ends[s].nospace.store(true, Ordering::SeqCst);
                    return Err(Errno::EAGAIN);
                }
                inner.dirs[s].queue.append(&buf[..n]);
                self.written(
                    inner,
                    after,
                    s,
                    n,
                    flags.contains(MsgFlags::OOB) && n == len,
                );
                Ok(n)
            })?;
            src.advance(n);
            return Ok(n);
        }
        let reserved = self.with(|inner, _| {
            self.sendable(s)?;
            let n = len.min(self.room(inner, s));
            if n == 0 {
                self.ends[s].nospace.store(true, Ordering::SeqCst);
                return Err(Errno::EAGAIN);
            }
            inner.dirs[s].reserved += n;
            Ok(n)
        })?;
        let fetched = fetch(src, reserved);
        self.with(|inner, after| {
            inner.dirs[s].reserved -= reserved;
            let pieces = match fetched.and_then(|p| self.sendable(s).map(|()| p)) {
                Ok(pieces) => pieces,
                Err(e) => {
                    self.progress(inner, after);
                    return Err(e);
                }
            };
            let n = pieces.iter().map(Piece::len).sum();
            pieces.into_iter().for_each(|p| inner.dirs[s].queue.push(p));
            self.written(
                inner,
                after,
                s,
                n,
                flags.contains(MsgFlags::OOB) && n == len,
            );
            Ok(n)
        })
    }

    /// `n` bytes have been queued.
    fn written(&self, inner: &mut Inner, after: &mut After, s: usize, n: usize, urgent: bool) {
        if n == 0 {
            return;
        }
        let p = self.peer(s);
        let stack = &self.ends[s].stack;
        stack.charge(n);
        stack.stats.tcp_segs.inc();
        stack.stats.lo_packets.inc();
        stack.stats.lo_bytes.add(n as u64);
        let dir = &mut inner.dirs[s];
        dir.tail += n as u64;
        dir.segments = dir.segments.wrapping_add(1);
        let peer_deaf = {
            let fin_wait = inner.sides[p].fin_sent;
            inner.sides[p].released || (fin_wait && self.ends[p].shutdown() & RCV_SHUTDOWN != 0)
        };
        if peer_deaf && p != s && !inner.sides[p].fin_rcvd {
            // Data for a receiver that has closed: it answers with a RST.
            if !inner.sides[p].released && !inner.sides[p].dead {
                self.ends[p].base.set_error(Errno::ECONNRESET);
            }
            self.reset(inner, after, p);
            return;
        }
        let mut events = PollEvents::READABLE;
        if urgent {
            self.mark_urgent(inner, s);
            events |= PollEvents::PRI;
        }
        after.wake[p] |= events;
        after.promote = inner.sides[p].deferred.take();
    }

    /// The last byte written is urgent (tcp_check_urg).
    fn mark_urgent(&self, inner: &mut Inner, s: usize) {
        let inline = self.ends[self.peer(s)].base.has(Flags::OOBINLINE);
        let dir = &mut inner.dirs[s];
        let Some(byte) = dir.queue.last() else { return };
        if dir.at_mark() && !inline && dir.queue.len() > 1 {
            // A reader that stands at an older mark loses that byte.
            dir.queue.discard(1);
            self.ends[s].stack.uncharge(1);
        }
        dir.urgent = Some(Urgent {
            seq: dir.tail - 1,
            byte,
            read: false,
        });
    }

    // ---- receiving ----

    /// recv(2).
    pub fn recv(&self, s: usize, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return self.recv_urgent(s, dst, flags);
        }
        let peek = flags.contains(MsgFlags::PEEK);
        let want = dst.remaining();
        let (mut pieces, boundary) =
            self.with(|inner, after| self.take(inner, after, s, want, peek))?;
        let mut received = Received {
            boundary: boundary || flags.contains(MsgFlags::TRUNC),
            ..Received::default()
        };
        if flags.contains(MsgFlags::TRUNC) {
            // Thrown away without a copy.
            received.len = pieces.iter().map(Piece::len).sum();
            return Ok(received);
        }
        let mut fault = None;
        let mut done = 0;
        for piece in &mut pieces {
            let n = match dst.write(piece.bytes()) {
                Ok(n) => n,
                Err(e) => {
                    fault = Some(e);
                    0
                }
            };
            received.len += n;
            piece.skip(n);
            if !piece.is_empty() {
                break;
            }
            done += 1;
        }
        if done < pieces.len() {
            if !peek {
                self.put_back(s, pieces);
            }
            if received.len == 0 {
                return Err(fault.unwrap_or(Errno::EFAULT));
            }
            received.boundary = true;
        } else {
            pieces.into_iter().for_each(Piece::recycle);
        }
        Ok(received)
    }

    /// Takes (or with `peek` shows) up to `want` bytes, and says whether a MSG_WAITALL ends here.
    fn take(
        &self,
        inner: &mut Inner,
        after: &mut After,
        s: usize,
        want: usize,
        peek: bool,
    ) -> Result<(Pieces, bool)> {
        let sk = &self.ends[s];
        let p = self.peer(s);
        let Inner { dirs, sides } = inner;
        let dir = &mut dirs[p];
        let mut skip = 0;
        let mut max = want;
        if let Some(u) = dir.urgent {
            match usize::try_from(u.seq.saturating_sub(dir.head())).unwrap_or(usize::MAX) {
                0 if !sk.base.has(Flags::OOBINLINE) => skip = 1,
                0 => {}
                // The mark splits reads.
                before => max = max.min(before),
            }
        }
        if dir.queue.len() <= skip {
            if skip > 0 && !peek && !dir.queue.is_empty() {
                // A reader at the mark passes it, even with nothing behind it.
                dir.queue.discard(1);
                dir.pass_mark();
                sk.stack.uncharge(1);
            }
            return match self.nothing(&sides[s], s) {
                None => Ok((Pieces::new(), true)),
                Some(e) => Err(e),
            };
        }
        if peek {
            let mut pieces = dir.queue.peek(max.saturating_add(skip));
            if let Some(first) = pieces.first_mut() {
                first.skip(skip);
            }
            return Ok((pieces, true));
        }
        dir.queue.discard(skip);
        let pieces = dir.queue.take(max);
        let taken: usize = pieces.iter().map(Piece::len).sum();
        sk.stack.uncharge(taken + skip);
        dir.pass_mark();
        let boundary = dir.at_mark()
            || (dir.queue.is_empty()
                && (sk.done.load(Ordering::SeqCst)
                    || sk.base.has_error()
                    || sk.shutdown() & RCV_SHUTDOWN != 0
                    || sides[s].dead));
        self.drained(inner, after, p);
        Ok((pieces, boundary))
    }

    /// Why there is nothing to read: `None` for the end of the stream.
    fn nothing(&self, side: &Side, s: usize) -> Option<Errno> {
        let sk = &self.ends[s];
        if sk.done.load(Ordering::SeqCst) {
            return None;
        }
        if let Err(e) = sk.base.take_error() {
            return Some(e);
        }
        if sk.shutdown() & RCV_SHUTDOWN != 0 {
            return None;
        }
        Some(if side.dead {
            Errno::ENOTCONN
        } else {
            Errno::EAGAIN
        })
    }

    /// The reader of what end `s` writes has taken some: its FIN may arrive now, it may have room.
    fn drained(&self, inner: &mut Inner, after: &mut After, s: usize) {
        if inner.sides[s].fin_sent {
            self.progress(inner, after);
        }
        if self.ends[s].nospace.load(Ordering::SeqCst) && self.writeable(inner, s) {
            self.ends[s].nospace.store(false, Ordering::SeqCst);
            after.wake[s] |= PollEvents::WRITABLE;
        }
    }

    /// A copy to the application failed: what it didn't get goes back.
    fn put_back(&self, s: usize, pieces: Pieces) {
        self.with(|inner, after| {
            if inner.sides[s].released {
                return;
            }
            let n: usize = pieces.iter().map(Piece::len).sum();
            self.ends[s].stack.charge(n);
            inner.dirs[self.peer(s)].queue.untake(pieces.into_iter());
            after.wake[s] |= PollEvents::READABLE;
        });
    }

    /// recv(2) with MSG_OOB (tcp_recv_urg).
    fn recv_urgent(&self, s: usize, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        let sk = &self.ends[s];
        let byte = self.with(|inner, _| {
            let dead = inner.sides[s].dead;
            let dir = &mut inner.dirs[self.peer(s)];
            match &mut dir.urgent {
                Some(u) if !u.read && !sk.base.has(Flags::OOBINLINE) => {
                    if dead && !sk.done.load(Ordering::SeqCst) {
                        return Err(Errno::ENOTCONN);
                    }
                    u.read = !flags.contains(MsgFlags::PEEK);
                    Ok(u.byte)
                }
                _ => Err(Errno::EINVAL),
            }
        })?;
        let mut received = Received {
            flags: MsgFlags::OOB,
            boundary: true,
            ..Received::default()
        };
        if dst.remaining() == 0 {
            received.flags |= MsgFlags::TRUNC;
        } else if flags.contains(MsgFlags::TRUNC) {
            received.len = 1;
        } else {
            received.len = dst.write(&[byte])?;
        }
        Ok(received)
    }

    // ---- readiness ----

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

    /// FIONREAD.
    pub fn unread(&self, s: usize) -> usize {
        let inner = self.inner.lock();
        let dir = &inner.dirs[self.peer(s)];
        let arrived = dir.queue.len().min(self.window(s));
        match dir.urgent {
            Some(u) if !self.ends[s].base.has(Flags::OOBINLINE) => {
                usize::try_from(u.seq.saturating_sub(dir.head()))
                    .unwrap_or(arrived)
                    .min(arrived)
            }
            _ => arrived,
        }
    }

    /// SIOCOUTQ.
    pub fn unsent(&self, s: usize) -> usize {
        let inner = self.inner.lock();
        inner.dirs[s]
            .queue
            .len()
            .saturating_sub(self.window(self.peer(s)))
    }

    /// SIOCATMARK.
    pub fn at_mark(&self, s: usize) -> bool {
        self.inner.lock().dirs[self.peer(s)].at_mark()
    }

    /// What end `s` has written and read so far: bytes out, bytes in, segments out, segments in.
    pub fn traffic(&self, s: usize) -> (u64, u64, u32, u32) {
        let inner = self.inner.lock();
        let (out, back) = (&inner.dirs[s], &inner.dirs[self.peer(s)]);
        (out.tail, back.tail, out.segments, back.segments)
    }

    // ---- the end ----

    /// shutdown(2); the flags of the socket itself are set by the caller afterwards.
    pub fn shutdown_write(&self, s: usize) {
        self.with(|inner, after| {
            let side = &mut inner.sides[s];
            if !side.dead && !side.fin_sent {
                side.fin_sent = true;
                side.passive = side.fin_rcvd;
                self.progress(inner, after);
            }
        });
    }

    /// close(2) of the last description (tcp_close): a FIN, or a RST when data were left unread or SO_LINGER says 0.
    pub fn close(&self, s: usize) {
        let sk = &self.ends[s];
        let abort = sk.base.linger.load(Ordering::Relaxed) == 0;
        self.with(|inner, after| {
            let p = self.peer(s);
            sk.add_shutdown(SHUTDOWN_MASK);
            let unread = !inner.dirs[p].queue.is_empty();
            inner.sides[s].released = true;
            inner.sides[s].deferred = None;
            if !inner.sides[s].dead {
                if unread || abort {
                    self.reset(inner, after, s);
                } else {
                    let side = &mut inner.sides[s];
                    if !side.fin_sent {
                        side.fin_sent = true;
                        side.passive = side.fin_rcvd;
                    }
                    self.progress(inner, after);
                }
            }
            self.shorten(inner, p, 0);
            self.drained(inner, after, p);
        });
        let (dead, passive) = {
            let side = &self.inner.lock().sides[s];
            (side.dead, side.passive)
        };
        if dead {
            *sk.lease.lock() = None;
        } else if !passive {
            // An orphan in FIN_WAIT lasts a minute.
            let until = now() + TIME_WAIT_NS;
            if let Some(lease) = sk.lease.lock().take() {
                lease.linger(until);
            }
            sk.stack.conns.expire(self.tuple(s), self, until);
        }
    }

    /// A RST from end `s` (tcp_disconnect, a listener's end). The end's own error is the caller's.
    pub fn abort(&self, s: usize, release: bool) {
        self.with(|inner, after| {
            inner.sides[s].released |= release;
            inner.sides[s].deferred = None;
            if !inner.sides[s].dead {
                self.reset(inner, after, s);
            }
            let p = self.peer(s);
            self.shorten(inner, p, 0);
        });
        if release {
            *self.ends[s].lease.lock() = None;
        }
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
