//! How connections end: FIN, reset, close.

use super::{After, CHANGE, Conn, Death, Inner};
use crate::net::inet::ports::TIME_WAIT_NS;
use crate::net::inet::sk::{RCV_SHUTDOWN, SHUTDOWN_MASK};
use crate::net::inet::stack::now;
use crate::net::inet::tcp::state::TcpState;
use arch::Errno;
use std::sync::atomic::Ordering;

impl Conn {
    /// Lets FINs arrive that have nothing before them, and ends what both have ended.
    pub(super) fn progress(&self, inner: &mut Inner, after: &mut After) {
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
    pub(super) fn reset(&self, inner: &mut Inner, after: &mut After, s: usize) {
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
}
