//! What an end reads.

use super::{After, Conn, Inner, Side};
use crate::executor::PollEvents;
use crate::net::inet::sk::RCV_SHUTDOWN;
use crate::net::inet::tcp::buf::{Piece, Pieces};
use crate::net::options::Flags;
use crate::net::{MsgFlags, Received};
use crate::user::Sink;
use arch::{Errno, Result};
use std::sync::atomic::Ordering;

impl Conn {
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
    pub(super) fn take(
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
    pub(super) fn drained(&self, inner: &mut Inner, after: &mut After, s: usize) {
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

    /// SIOCATMARK.
    pub fn at_mark(&self, s: usize) -> bool {
        self.inner.lock().dirs[self.peer(s)].at_mark()
    }
}
