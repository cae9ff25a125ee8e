//! SOCK_STREAM: sending and receiving.

use super::queue::{Charge, Message, Taken, dispose};
use super::{Phase, SHUT_RECV, SHUT_SEND, Sender, UnixSocket};
use crate::executor::PollEvents;
use crate::net::message::{Control, MsgFlags, Received};
use crate::user::{Sink, Source};
use arch::{Errno, Result};
use std::sync::atomic::Ordering;

/// The most that one message of a stream holds (SKB_MAX_ALLOC and 32 KiB of pages).
const MESSAGE_MAX: usize = 16_064 + 32_768;

impl UnixSocket {
    /// Sends what there is room for: EPIPE, ENOTCONN, EAGAIN; EFAULT if nothing could be fetched.
    pub(super) fn send_stream(
        &self,
        src: &mut dyn Source,
        control: &[Control],
        sender: Sender,
    ) -> Result<usize> {
        let peer = {
            let state = self.state.lock();
            if state.phase != Phase::Established {
                return Err(Errno::ENOTCONN);
            }
            state.peer.clone()
        };
        let mut sent = 0;
        let mut control = control;
        while src.remaining() > 0 {
            let mut part = || {
                if self.shut() & SHUT_SEND != 0 {
                    return Err(Errno::EPIPE);
                }
                self.base.take_error()?;
                let peer = peer
                    .as_ref()
                    .and_then(std::sync::Weak::upgrade)
                    .ok_or(Errno::EPIPE)?;
                self.send_piece(&peer, src, control, sender)
            };
            match part() {
                Ok(n) => sent += n,
                Err(_) if sent > 0 => return Ok(sent),
                Err(e) => return Err(e),
            }
            control = &[];
        }
        Ok(sent)
    }

    fn send_piece(
        &self,
        peer: &Self,
        src: &mut dyn Source,
        control: &[Control],
        sender: Sender,
    ) -> Result<usize> {
        if !self.has_room() {
            return Err(Errno::EAGAIN);
        }
        let max = (self.base.sndbuf() / 2)
            .saturating_sub(64)
            .clamp(1, MESSAGE_MAX);
        let mut data = vec![0; src.remaining().min(max)];
        if src.peek(&mut data)? < data.len() {
            return Err(Errno::EFAULT);
        }
        let n = data.len();
        let pass = self.passes_creds() || peer.passes_creds();
        let (rights, cred) = sender.ancillary(control, pass)?;
        let me = self.me.upgrade().ok_or(Errno::EPIPE)?;
        let mut message = Message::new(data, self.name(), Charge::new(&me, n));
        (message.rights, message.cred) = (rights, cred);
        let refused = {
            let mut rx = peer.rx.lock();
            if rx.closed || peer.shut() & SHUT_RECV != 0 {
                Some(message)
            } else {
                rx.push(message);
                None
            }
        };
        if let Some(message) = refused {
            message.refuse();
            return Err(Errno::EPIPE);
        }
        src.advance(n);
        peer.base.queue.notify(PollEvents::READABLE);
        Ok(n)
    }

    /// Receives what is there: EINVAL without a peer, EAGAIN while nothing is there, `len` 0 at the end of the stream.
    pub(super) fn recv_stream(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        if self.state.lock().phase != Phase::Established {
            return Err(Errno::EINVAL);
        }
        let max = dst.remaining();
        let creds = self.passes_creds();
        let peek = flags.contains(MsgFlags::PEEK);
        let offset = self.base.peek_off.load(Ordering::Relaxed);
        let skip = if peek {
            usize::try_from(offset).unwrap_or(0)
        } else {
            0
        };
        let (taken, rights) = {
            let mut rx = self.rx.lock();
            let (taken, rights) = if peek {
                let (seen, rights) = rx.peek(skip, max, creds);
                (seen, rights.map(|r| r.files().to_vec()))
            } else {
                (rx.take(max, creds), None)
            };
            if taken.is_empty() {
                if max == 0 {
                    return Ok(Received::default());
                }
                self.base.take_error()?;
                let ended = self.shut() & SHUT_RECV != 0;
                return if ended {
                    Ok(Received {
                        boundary: true,
                        ..Received::default()
                    })
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            (taken, rights)
        };
        self.deliver(dst, taken, rights, peek)
    }

    fn deliver(
        &self,
        dst: &mut dyn Sink,
        mut taken: Taken,
        mut rights: Option<Vec<std::sync::Arc<crate::vfs::File>>>,
        peek: bool,
    ) -> Result<Received> {
        let total: usize = taken.iter().map(Message::len).sum();
        let result = match taken.as_slice() {
            [only] => dst.write(only.bytes()),
            many => {
                let mut all = Vec::with_capacity(total);
                many.iter().for_each(|m| all.extend_from_slice(m.bytes()));
                dst.write(&all)
            }
        };
        let done = *result.as_ref().unwrap_or(&0);
        if done < total && !peek {
            self.put_back(&mut taken, done);
        }
        let first = taken.first();
        let cred = first.and_then(|m| m.cred);
        let from = first.map(|m| m.from.sender_address()).unwrap_or_default();
        if !peek {
            rights = taken
                .last_mut()
                .and_then(|m| m.rights.take())
                .map(super::rights::InFlight::take);
        }
        dispose(taken);
        let len = result?;
        self.move_peek_offset(len, peek);
        let boundary = rights.is_some();
        Ok(Received {
            len,
            from,
            control: self.received_control(cred, rights),
            boundary,
            ..Received::default()
        })
    }

    /// The application's memory took only `done` bytes: the rest is for the next receive.
    fn put_back(&self, taken: &mut Taken, mut done: usize) {
        let mut back = Taken::new();
        let mut kept = Taken::new();
        for mut message in taken.drain(..) {
            if done >= message.len() {
                done -= message.len();
                kept.push(message);
            } else if done > 0 {
                kept.push(message.split(done));
                done = 0;
                back.push(message);
            } else {
                back.push(message);
            }
        }
        self.rx.lock().restore(back);
        *taken = kept;
    }

    /// SO_PEEK_OFF: a peek moves it on, a receive back.
    pub(super) fn move_peek_offset(&self, len: usize, peek: bool) {
        let len = i32::try_from(len).unwrap_or(i32::MAX);
        let _ = self
            .base
            .peek_off
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| {
                (at >= 0).then(|| {
                    if peek {
                        at.saturating_add(len)
                    } else {
                        (at - len).max(0)
                    }
                })
            });
    }
}
