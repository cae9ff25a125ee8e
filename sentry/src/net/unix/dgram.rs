//! SOCK_DGRAM and SOCK_SEQPACKET: sending and receiving.

use super::queue::{Charge, Message, dispose};
use super::{Phase, SHUT_RECV, SHUT_SEND, Sender, UnixSocket};
use crate::executor::PollEvents;
use crate::net::message::{Control, MsgFlags, Received};
use crate::user::{Sink, Source};
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl UnixSocket {
    /// Sends one datagram to `to`, or to the peer: ENOTCONN, EMSGSIZE, EPIPE, ECONNREFUSED, EPERM, EAGAIN.
    pub(super) fn send_dgram(
        &self,
        src: &mut dyn Source,
        to: Option<Arc<Self>>,
        control: &[Control],
        sender: Sender,
    ) -> Result<usize> {
        let to_peer = to.is_none();
        let known = self.state.lock().peer.clone();
        if to_peer && known.is_none() {
            return Err(Errno::ENOTCONN);
        }
        let len = src.remaining();
        if len > self.base.sndbuf().saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        self.base.take_error()?;
        if self.shut() & SHUT_SEND != 0 {
            return Err(Errno::EPIPE);
        }
        if !self.has_room() {
            return Err(Errno::EAGAIN);
        }
        let mut data = vec![0; len];
        if src.peek(&mut data)? < len {
            return Err(Errno::EFAULT);
        }
        let other = to
            .or_else(|| known.and_then(|p| p.upgrade()))
            .filter(|o| !o.rx.lock().closed);
        let Some(other) = other else {
            if to_peer && !self.connection_based() {
                self.peer_is_gone();
            }
            return Err(Errno::ECONNREFUSED);
        };
        if !self.may_send(&other) {
            return Err(Errno::EPERM);
        }
        if other.shut() & SHUT_RECV != 0 {
            return Err(Errno::EPIPE);
        }
        let pass = self.passes_creds() || other.passes_creds();
        let (rights, cred) = sender.ancillary(control, pass)?;
        let me = self.me.upgrade().ok_or(Errno::EPIPE)?;
        let mut message = Message::new(data, self.name(), Charge::new(&me, len));
        (message.rights, message.cred) = (rights, cred);
        match self.offer(&other, message) {
            Ok(()) => {}
            Err((Errno::EAGAIN, message)) => {
                // It may have been read meanwhile: ask again once it knows who waits.
                other.wait_here(&self.me);
                if let Err((e, message)) = self.offer(&other, message) {
                    message.refuse();
                    return Err(e);
                }
            }
            Err((e, message)) => {
                message.refuse();
                return Err(e);
            }
        }
        src.advance(len);
        other.base.queue.notify(PollEvents::READABLE);
        Ok(len)
    }

    /// Puts a datagram into `other`'s queue, unless that is full; a peer's own queue never is.
    fn offer(
        &self,
        other: &Arc<Self>,
        message: Message,
    ) -> std::result::Result<(), (Errno, Message)> {
        let limited = !std::ptr::eq(self, &raw const **other) && !other.is_peer(self);
        let backlog = other.state.lock().backlog as usize;
        let mut rx = other.rx.lock();
        if rx.closed {
            return Err((Errno::ECONNREFUSED, message));
        }
        if limited && rx.len() > backlog {
            return Err((Errno::EAGAIN, message));
        }
        rx.push(message);
        Ok(())
    }

    /// The peer has been closed: the next send without an address is ENOTCONN.
    fn peer_is_gone(&self) {
        let mut state = self.state.lock();
        if state
            .peer
            .as_ref()
            .is_some_and(|p| p.upgrade().is_none_or(|p| p.rx.lock().closed))
        {
            state.peer = None;
            state.phase = Phase::Closed;
        }
    }

    /// Receives one datagram: EAGAIN while there is none; at the end of a seqpacket connection, and of a waiting receive after shutdown(2), `len`
    /// 0.
    pub(super) fn recv_dgram(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        let seqpacket = self.kind() == libc::SOCK_SEQPACKET;
        if seqpacket && self.state.lock().phase != Phase::Established {
            return Err(Errno::ENOTCONN);
        }
        let peek = flags.contains(MsgFlags::PEEK);
        let offset = self.base.peek_off.load(Ordering::Relaxed);
        let skip = if peek {
            usize::try_from(offset).unwrap_or(0)
        } else {
            0
        };
        let found = {
            let mut rx = self.rx.lock();
            if peek {
                rx.first().map(|m| {
                    (
                        m.peek(skip, usize::MAX),
                        m.rights.as_ref().map(|r| r.files().to_vec()),
                    )
                })
            } else {
                rx.pop().map(|m| (m, None))
            }
        };
        let Some((mut message, mut rights)) = found else {
            self.base.take_error()?;
            let ended =
                self.shut() & SHUT_RECV != 0 && (seqpacket || !flags.contains(MsgFlags::DONTWAIT));
            return if ended {
                Ok(Received::default())
            } else {
                Err(Errno::EAGAIN)
            };
        };
        if !peek {
            self.tell_waiters();
            rights = message.rights.take().map(super::rights::InFlight::take);
        }
        let whole = message.len();
        let fits = whole.min(dst.remaining());
        let result = dst.write(&message.bytes()[..fits]);
        let cred = message.cred;
        let from = message.from.sender_address();
        dispose([message]);
        // A datagram that the application's memory doesn't take is lost.
        if result? < fits {
            return Err(Errno::EFAULT);
        }
        self.move_peek_offset(fits, peek);
        let mut out = MsgFlags::empty();
        out.set(MsgFlags::TRUNC, fits < whole);
        Ok(Received {
            len: if flags.contains(MsgFlags::TRUNC) {
                whole
            } else {
                fits
            },
            flags: out,
            from,
            control: self.received_control(cred, rights),
            boundary: true,
        })
    }
}
