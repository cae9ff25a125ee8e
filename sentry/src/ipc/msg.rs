//! Message queues (msgget(2), msgop(2), msgctl(2)).

use super::ids::Ids;
use super::perm::{Caller, Perm, READ, WRITE, find};
use crate::executor::{PollEvents, WaitQueue};
use crate::task::{Pid, cap};
use arch::abi::{Msginfo, MsqidDs};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a message at most (MSGMAX).
pub const MSGMAX: usize = 8192;
/// Bytes of a new queue at most (MSGMNB).
const MSGMNB: u64 = 16384;
/// Queues at most (MSGMNI).
const MSGMNI: usize = 32000;
/// Memory of all messages of a sandbox at most, with what each costs besides its text. Linux charges it to the control group.
const MEMORY: usize = 256 << 20;
const MESSAGE_COST: usize = size_of::<Message>() + 32;

/// A message.
#[derive(Clone)]
pub struct Message {
    /// Positive.
    pub kind: i64,
    pub text: Arc<[u8]>,
}

/// Which message msgrcv(2) wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The first.
    Any,
    /// The first of this type.
    Is(i64),
    /// The first of any other type.
    IsNot(i64),
    /// The first of the lowest type up to this.
    UpTo(i64),
    /// A copy of the one at this place (MSG_COPY).
    Copy(i64),
}

impl Pick {
    /// As msgrcv(2) decodes its type and flags.
    pub fn new(kind: i64, flags: i32) -> Self {
        match kind {
            n if flags & libc::MSG_COPY != 0 => Self::Copy(n),
            0 => Self::Any,
            n if n < 0 => Self::UpTo(n.checked_neg().unwrap_or(i64::MAX)),
            n if flags & libc::MSG_EXCEPT != 0 => Self::IsNot(n),
            n => Self::Is(n),
        }
    }

    fn find(self, messages: &VecDeque<Message>) -> Option<usize> {
        match self {
            Self::Any => (!messages.is_empty()).then_some(0),
            Self::Is(kind) => messages.iter().position(|m| m.kind == kind),
            Self::IsNot(kind) => messages.iter().position(|m| m.kind != kind),
            Self::UpTo(limit) => {
                let fit = messages.iter().enumerate().filter(|(_, m)| m.kind <= limit);
                fit.min_by_key(|(at, m)| (m.kind, *at)).map(|(at, _)| at)
            }
            Self::Copy(at) => usize::try_from(at).ok().filter(|at| *at < messages.len()),
        }
    }
}

struct State {
    perm: Perm,
    messages: VecDeque<Message>,
    /// Bytes of text in `messages`.
    bytes: u64,
    /// Bytes at most.
    limit: u64,
    stime: i64,
    rtime: i64,
    ctime: i64,
    last_sender: Pid,
    last_receiver: Pid,
    removed: bool,
}

/// A queue.
pub struct MsgQueue {
    id: i32,
    state: Mutex<State>,
    /// Notified when there is room.
    pub room: WaitQueue,
    /// Notified when there is a message.
    pub arrivals: WaitQueue,
    memory: Arc<AtomicUsize>,
}

impl MsgQueue {
    /// One try of msgsnd(2): EAGAIN if the queue is full, EIDRM once it is removed. The message is taken when it succeeds.
    pub fn send(&self, who: &Caller, message: &Message) -> Result<()> {
        let mut state = self.state.lock();
        if state.removed {
            return Err(Errno::EIDRM);
        }
        state.perm.check(who, WRITE)?;
        let len = message.text.len() as u64;
        let full = state.bytes + len > state.limit || state.messages.len() as u64 >= state.limit;
        if full {
            return Err(Errno::EAGAIN);
        }
        let cost = MESSAGE_COST + message.text.len();
        if self.memory.fetch_add(cost, Ordering::Relaxed) + cost > MEMORY {
            self.memory.fetch_sub(cost, Ordering::Relaxed);
            return Err(Errno::ENOMEM);
        }
        state.messages.push_back(message.clone());
        state.bytes += len;
        state.stime = super::now();
        state.last_sender = who.pid;
        drop(state);
        self.arrivals.notify(PollEvents::IN);
        Ok(())
    }

    /// One try of msgrcv(2): EAGAIN if there is no such message, E2BIG if it is longer than `max`, which `cut` allows.
    pub fn receive(&self, who: &Caller, pick: Pick, max: usize, cut: bool) -> Result<Message> {
        let mut state = self.state.lock();
        if state.removed {
            return Err(Errno::EIDRM);
        }
        state.perm.check(who, READ)?;
        let at = pick.find(&state.messages).ok_or(Errno::EAGAIN)?;
        let found = &state.messages[at];
        if found.text.len() > max && !cut {
            return Err(Errno::E2BIG);
        }
        if matches!(pick, Pick::Copy(_)) {
            return Ok(found.clone());
        }
        let message = state.messages.remove(at).ok_or(Errno::EAGAIN)?;
        state.bytes -= message.text.len() as u64;
        state.rtime = super::now();
        state.last_receiver = who.pid;
        drop(state);
        self.forget(&message);
        self.room.notify(PollEvents::OUT);
        Ok(message)
    }

    fn forget(&self, message: &Message) {
        let cost = MESSAGE_COST + message.text.len();
        self.memory.fetch_sub(cost, Ordering::Relaxed);
    }

    fn stat(&self) -> MsqidDs {
        let state = self.state.lock();
        MsqidDs {
            perm: state.perm.stat(self.id),
            stime: state.stime,
            rtime: state.rtime,
            ctime: state.ctime,
            cbytes: state.bytes,
            qnum: state.messages.len() as u64,
            qbytes: state.limit,
            lspid: state.last_sender,
            lrpid: state.last_receiver,
            ..Default::default()
        }
    }

    fn wake_all(&self) {
        self.room.notify_all();
        self.arrivals.notify_all();
    }
}

impl Drop for MsgQueue {
    fn drop(&mut self) {
        for message in std::mem::take(&mut self.state.get_mut().messages) {
            self.forget(&message);
        }
    }
}

/// All message queues of an IPC namespace.
pub struct Table {
    ids: Mutex<Ids<MsgQueue>>,
    /// Bytes that all messages cost.
    memory: Arc<AtomicUsize>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            ids: Mutex::new(Ids::new(MSGMNI)),
            memory: Arc::default(),
        }
    }
}

impl Table {
    /// The queue with this id; EINVAL.
    pub fn get(&self, id: i32) -> Result<Arc<MsgQueue>> {
        self.ids.lock().get(id).ok_or(Errno::EINVAL)
    }

    /// msgget(2).
    pub fn msgget(&self, who: &Caller, key: i32, flags: i32) -> Result<i32> {
        let mut ids = self.ids.lock();
        let perm = |q: &MsgQueue| q.state.lock().perm;
        if let Some(id) = find(who, key, flags, ids.iter(), perm, |_| Ok(()))? {
            return Ok(id);
        }
        let id = ids.next_id().ok_or(Errno::ENOSPC)?;
        let queue = MsgQueue {
            id,
            state: Mutex::new(State {
                perm: Perm::new(who, key, flags),
                messages: VecDeque::new(),
                bytes: 0,
                limit: MSGMNB,
                stime: 0,
                rtime: 0,
                ctime: super::now(),
                last_sender: 0,
                last_receiver: 0,
                removed: false,
            }),
            room: WaitQueue::new(),
            arrivals: WaitQueue::new(),
            memory: Arc::clone(&self.memory),
        };
        ids.insert(id, Arc::new(queue));
        Ok(id)
    }

    /// IPC_STAT.
    pub fn stat(&self, who: &Caller, id: i32) -> Result<MsqidDs> {
        let queue = self.get(id)?;
        queue.state.lock().perm.check(who, READ)?;
        Ok(queue.stat())
    }

    /// MSG_STAT, MSG_STAT_ANY: the queue at an index of the table, with its id.
    pub fn stat_index(&self, who: &Caller, index: i32, any: bool) -> Result<(i32, MsqidDs)> {
        let (id, queue) = self.ids.lock().at(index).ok_or(Errno::EINVAL)?;
        if !any {
            queue.state.lock().perm.check(who, READ)?;
        }
        Ok((id, queue.stat()))
    }

    /// IPC_SET: owner, mode, and size, which only CAP_SYS_RESOURCE can make larger than a new queue's.
    pub fn set(&self, who: &Caller, id: i32, new: &MsqidDs) -> Result<()> {
        let queue = self.get(id)?;
        let mut state = queue.state.lock();
        state.perm.check_owner(who)?;
        if new.qbytes > MSGMNB && !who.creds.has_cap(cap::SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        state.perm.set(&new.perm)?;
        state.limit = new.qbytes;
        state.ctime = super::now();
        drop(state);
        // Who waits may have lost the right, or there may be room now.
        queue.wake_all();
        Ok(())
    }

    /// IPC_RMID: all who wait get EIDRM.
    pub fn remove(&self, who: &Caller, id: i32) -> Result<()> {
        let mut ids = self.ids.lock();
        let queue = ids.get(id).ok_or(Errno::EINVAL)?;
        {
            let mut state = queue.state.lock();
            state.perm.check_owner(who)?;
            state.removed = true;
        }
        ids.remove(id);
        drop(ids);
        queue.wake_all();
        Ok(())
    }

    /// IPC_INFO, or with `usage` MSG_INFO; and the highest index in use.
    pub fn info(&self, usage: bool) -> (i32, Msginfo) {
        let small = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
        let ids = self.ids.lock();
        let mut info = Msginfo {
            msgpool: small(MSGMNI as u64 * MSGMNB / 1024),
            msgmap: small(MSGMNB),
            msgmax: small(MSGMAX as u64),
            msgmnb: small(MSGMNB),
            msgmni: small(MSGMNI as u64),
            msgssz: 16,
            msgtql: small(MSGMNB),
            msgseg: u16::MAX,
            pad0: 0,
        };
        if usage {
            let (mut messages, mut bytes) = (0, 0);
            for (_, queue) in ids.iter() {
                let state = queue.state.lock();
                messages += state.messages.len() as u64;
                bytes += state.bytes;
            }
            info.msgpool = small(ids.len() as u64);
            info.msgmap = small(messages);
            info.msgtql = small(bytes);
        }
        (ids.highest_index(), info)
    }

    /// /proc/sysvipc/msg.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::from(
            "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
        );
        let all: Vec<_> = self.ids.lock().iter().map(|(_, q)| Arc::clone(q)).collect();
        for queue in all {
            let s = queue.stat();
            let _ = writeln!(
                out,
                "{:10} {:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}",
                s.perm.key,
                queue.id,
                s.perm.mode,
                s.cbytes,
                s.qnum,
                s.lspid,
                s.lrpid,
                s.perm.uid,
                s.perm.gid,
                s.perm.cuid,
                s.perm.cgid,
                s.stime,
                s.rtime,
                s.ctime
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(kinds: &[i64]) -> VecDeque<Message> {
        let text: Arc<[u8]> = Arc::from(&b"x"[..]);
        let make = |kind: &i64| Message {
            kind: *kind,
            text: Arc::clone(&text),
        };
        kinds.iter().map(make).collect()
    }

    #[test]
    fn types_pick_messages() {
        let q = queue(&[3, 1, 2, 1]);
        assert_eq!(Pick::new(0, 0).find(&q), Some(0));
        assert_eq!(Pick::new(1, 0).find(&q), Some(1));
        assert_eq!(Pick::new(9, 0).find(&q), None);
        assert_eq!(Pick::new(3, libc::MSG_EXCEPT).find(&q), Some(1));
        assert_eq!(Pick::new(-2, 0).find(&q), Some(1));
        assert_eq!(Pick::new(i64::MIN, 0).find(&q), Some(1));
        assert_eq!(Pick::new(2, libc::MSG_COPY).find(&q), Some(2));
        assert_eq!(Pick::new(4, libc::MSG_COPY).find(&q), None);
    }
}
