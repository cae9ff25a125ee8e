//! What a socket has received and not read.

use super::UnixSocket;
use super::name::Name;
use super::rights::InFlight;
use crate::net::Ucred;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// A piece of a stream, or a datagram.
///
/// Never dropped with a lock held: it may hold the last reference to a file, and it tells its sender that there is room.
pub struct Message {
    data: Arc<Vec<u8>>,
    start: usize,
    end: usize,
    /// Who sent it, where either side wanted to know.
    pub cred: Option<Ucred>,
    /// SCM_RIGHTS.
    pub rights: Option<InFlight>,
    /// The sender's name.
    pub from: Name,
    charge: Option<Charge>,
}

/// A message's share of its sender's buffer (SO_SNDBUF); given back when the message has been read whole.
pub struct Charge {
    sender: Weak<UnixSocket>,
    size: usize,
}

/// What Linux charges for a message of `len` bytes: the buffer's size class and the bookkeeping beside it.
pub fn truesize(len: usize) -> usize {
    const SKB: usize = 256;
    const SHARED_INFO: usize = 320;
    let linear = len.min(4096 - SHARED_INFO);
    let head = (linear.next_multiple_of(64) + SHARED_INFO)
        .next_power_of_two()
        .max(512);
    head + (len - linear).next_multiple_of(4096) + SKB
}

impl Charge {
    /// Charges `sender` for a message of `len` bytes.
    pub fn new(sender: &Arc<UnixSocket>, len: usize) -> Self {
        let size = truesize(len);
        sender.wmem.fetch_add(size, Ordering::SeqCst);
        Self {
            sender: Arc::downgrade(sender),
            size,
        }
    }
}

impl Charge {
    /// Gives it back for a message that was not sent: the sender, who may be about to wait for room, hears nothing of it.
    fn refund(&mut self) {
        let size = std::mem::take(&mut self.size);
        if let Some(sender) = self.sender.upgrade() {
            sender.wmem.fetch_sub(size, Ordering::SeqCst);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.size > 0
            && let Some(sender) = self.sender.upgrade()
        {
            sender.wmem.fetch_sub(self.size, Ordering::SeqCst);
            sender.room_made();
        }
    }
}

impl Message {
    /// A message of `data`, charged to its sender.
    pub fn new(data: Vec<u8>, from: Name, charge: Charge) -> Self {
        Self {
            start: 0,
            end: data.len(),
            data: Arc::new(data),
            cred: None,
            rights: None,
            from,
            charge: Some(charge),
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// No bytes: an empty datagram.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Ends a message that was not sent.
    pub fn refuse(mut self) {
        if let Some(charge) = &mut self.charge {
            charge.refund();
        }
        dispose([self]);
    }

    /// A copy of `n` bytes from `skip` on, without files or charge (MSG_PEEK).
    pub fn peek(&self, skip: usize, n: usize) -> Self {
        let start = (self.start + skip).min(self.end);
        Self {
            data: Arc::clone(&self.data),
            start,
            end: (start + n).min(self.end),
            cred: self.cred,
            rights: None,
            from: self.from.clone(),
            charge: None,
        }
    }

    /// Takes the first `n` bytes off, with the files.
    pub fn split(&mut self, n: usize) -> Self {
        let mut front = self.peek(0, n);
        front.rights = self.rights.take();
        self.start = front.end;
        front
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }
}

/// Messages taken out of a queue for one receive.
pub type Taken = SmallVec<[Message; 2]>;

/// Received and not read; for a listening socket, the connections that wait for accept(2).
#[derive(Default)]
pub struct Rx {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Connected sockets that wait for accept(2).
    pub pending: VecDeque<Arc<UnixSocket>>,
    /// The socket is gone: nothing is taken in any more.
    pub closed: bool,
}

impl Rx {
    /// Nothing to read.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages to read.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Bytes to read.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Length of the first message.
    pub fn first_len(&self) -> usize {
        self.messages.front().map_or(0, Message::len)
    }

    /// Adds a message at the end.
    pub fn push(&mut self, message: Message) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// Takes the first message.
    pub fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }

    /// The first message, left in place.
    pub fn first(&self) -> Option<&Message> {
        self.messages.front()
    }

    /// Takes up to `max` bytes of the stream. Stops behind a message that carried files, and (`creds`) before one from another sender.
    pub fn take(&mut self, max: usize, creds: bool) -> Taken {
        let mut taken = Taken::new();
        let mut left = max;
        while left > 0 {
            let Some(front) = self.messages.front_mut() else {
                break;
            };
            if creds
                && taken
                    .first()
                    .is_some_and(|first: &Message| first.cred != front.cred)
            {
                break;
            }
            let part = if front.len() <= left {
                self.messages.pop_front()
            } else {
                Some(front.split(left))
            };
            let Some(part) = part else { break };
            left -= part.len();
            let last = part.rights.is_some();
            taken.push(part);
            if last {
                break;
            }
        }
        self.bytes -= max - left;
        taken
    }

    /// Like `take`, from `skip` bytes on and without taking: copies, and the message whose files were seen.
    pub fn peek(&self, mut skip: usize, max: usize, creds: bool) -> (Taken, Option<&InFlight>) {
        let mut seen = Taken::new();
        let mut left = max;
        for message in &self.messages {
            if skip >= message.len() && !message.is_empty() {
                skip -= message.len();
                continue;
            }
            if left == 0
                || (creds
                    && seen
                        .first()
                        .is_some_and(|first: &Message| first.cred != message.cred))
            {
                break;
            }
            let part = message.peek(skip, left);
            skip = 0;
            left -= part.len();
            seen.push(part);
            if message.rights.is_some() {
                return (seen, message.rights.as_ref());
            }
        }
        (seen, None)
    }

    /// Puts back at the front what was taken and could not be delivered.
    pub fn restore(&mut self, taken: Taken) {
        for message in taken.into_iter().rev() {
            self.bytes += message.len();
            self.messages.push_front(message);
        }
    }

    /// Takes everything.
    pub fn clear(&mut self) -> VecDeque<Message> {
        self.bytes = 0;
        std::mem::take(&mut self.messages)
    }

    /// All messages, for the search of unreachable files.
    pub fn messages(&mut self) -> impl Iterator<Item = &mut Message> {
        self.messages.iter_mut()
    }
}

thread_local! {
    /// Messages whose drop is under way further up on this stack.
    static DYING: RefCell<Option<Vec<Message>>> = const { RefCell::new(None) };
}

/// Drops messages one after the other: a socket in a message whose queue holds a message with a socket, and so on, would
/// recurse as deep as an application likes.
pub fn dispose(messages: impl IntoIterator<Item = Message>) {
    let outermost = DYING.with_borrow_mut(|dying| match dying {
        Some(list) => {
            list.extend(messages);
            false
        }
        None => {
            *dying = Some(messages.into_iter().collect());
            true
        }
    });
    if !outermost {
        return;
    }
    loop {
        let next = DYING.with_borrow_mut(|dying| match dying {
            Some(list) if !list.is_empty() => list.pop(),
            _ => {
                *dying = None;
                None
            }
        });
        match next {
            Some(message) => drop(message),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_message_costs_what_linuxcharges() {
        assert_eq!(truesize(0), 768);
        assert_eq!(truesize(1), 768);
        assert_eq!(212_992usize.div_ceil(truesize(1)), 278);
    }
}
