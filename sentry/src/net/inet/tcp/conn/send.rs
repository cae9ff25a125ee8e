//! What an end writes.

use super::{After, Conn, Inner, Urgent};
use crate::executor::PollEvents;
use crate::net::MsgFlags;
use crate::net::inet::sk::{RCV_SHUTDOWN, SEND_SHUTDOWN};
use crate::net::inet::tcp::buf::{Piece, fetch};
use crate::net::options::Flags;
use crate::user::Source;
use arch::{Errno, Result};
use std::sync::atomic::Ordering;

/// Sends up to this size go through a buffer on the stack and join what is queued.
const SMALL: usize = 2048;

impl Conn {
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
    pub(super) fn writeable(&self, inner: &Inner, s: usize) -> bool {
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

    /// SIOCOUTQ.
    pub fn unsent(&self, s: usize) -> usize {
        let inner = self.inner.lock();
        inner.dirs[s]
            .queue
            .len()
            .saturating_sub(self.window(self.peer(s)))
    }
}
