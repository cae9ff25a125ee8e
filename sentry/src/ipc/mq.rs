//! POSIX message queues (mq_overview(7)): the queues themselves. Their names are in [`crate::fs::mqueue`].
//!
//! # Locks
//! `Queue::state` is a leaf but for the signals that a notification sends, which are sent without it.

use crate::executor::{PollEvents, WaitQueue};
use crate::task::{Pid, Task, ThreadGroup, cap};
use arch::abi::{MqAttr, SI_MESGQ, SigInfo};
use arch::signal::Signal;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Priorities are below this (MQ_PRIO_MAX).
pub const PRIO_MAX: u32 = 32768;
/// Queues at most, without CAP_SYS_RESOURCE (fs.mqueue.queues_max).
const QUEUES_MAX: usize = 256;
/// And with it.
const QUEUES_HARD: usize = 65536;
/// Messages of a queue, and bytes of a message: of one made without attributes, and at most without and with
/// CAP_SYS_RESOURCE (fs.mqueue.msg_max and its kin; HARD_MSGMAX, HARD_MSGSIZEMAX).
const MESSAGES: i64 = 10;
const MESSAGES_HARD: i64 = 65536;
const SIZE: i64 = 8192;
const SIZE_HARD: i64 = 16 << 20;
/// What the kernel counts for a message, and for a priority in use, besides the text (RLIMIT_MSGQUEUE).
const COST: u64 = 48;
/// Memory of all messages of a sandbox at most.
const MEMORY: usize = 256 << 20;

/// Whom the first message of an empty queue tells.
struct Notify {
    owner: Weak<ThreadGroup>,
    pid: Pid,
    /// `None`: nobody, but the place is taken (SIGEV_NONE).
    signal: Option<Signal>,
    value: u64,
}

#[derive(Default)]
struct State {
    /// By priority, each in the order sent.
    messages: BTreeMap<u32, VecDeque<Arc<[u8]>>>,
    count: usize,
    bytes: u64,
    notify: Option<Notify>,
    /// Threads in mq_timedreceive(2).
    receivers: usize,
}

/// A queue.
pub struct Queue {
    /// Messages, and bytes of one, at most.
    pub max_messages: usize,
    pub max_size: usize,
    state: Mutex<State>,
    /// Notified when there is a message, or room.
    pub events: WaitQueue,
    /// Whom it counts for, and how much.
    uid: u32,
    cost: u64,
    shared: Arc<Shared>,
}

/// What all queues have together.
#[derive(Default)]
struct Shared {
    queues: AtomicUsize,
    memory: AtomicUsize,
    /// Bytes that each user's queues may come to hold.
    users: Mutex<HashMap<u32, u64>>,
}

/// What makes queues.
#[derive(Default)]
pub struct Maker(Arc<Shared>);

impl Maker {
    /// A queue of `uid`'s, made by `task`. EINVAL for attributes beyond the limits, ENOSPC, EMFILE (RLIMIT_MSGQUEUE).
    pub fn make(&self, task: &Task, uid: u32, attr: Option<&MqAttr>) -> Result<Arc<Queue>> {
        let shared = &self.0;
        let privileged = task.creds().has_cap(cap::SYS_RESOURCE);
        let (messages, size) = attr.map_or((MESSAGES, SIZE), |a| (a.maxmsg, a.msgsize));
        let (most, largest) = if privileged {
            (MESSAGES_HARD, SIZE_HARD)
        } else {
            (MESSAGES, SIZE)
        };
        if !(1..=most).contains(&messages) || !(1..=largest).contains(&size) {
            return Err(Errno::EINVAL);
        }
        let (messages, size) = (messages.unsigned_abs(), size.unsigned_abs());
        let cost = messages * (size + COST) + messages.min(u64::from(PRIO_MAX)) * COST;
        let queues = if privileged { QUEUES_HARD } else { QUEUES_MAX };
        if shared.queues.load(Ordering::Relaxed) >= queues {
            return Err(Errno::ENOSPC);
        }
        {
            let mut users = shared.users.lock();
            let used = users.entry(uid).or_default();
            if used.saturating_add(cost) > task.group.rlimit(libc::RLIMIT_MSGQUEUE) {
                return Err(Errno::EMFILE);
            }
            *used += cost;
        }
        shared.queues.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Queue {
            max_messages: usize::try_from(messages).unwrap_or(usize::MAX),
            max_size: usize::try_from(size).unwrap_or(usize::MAX),
            state: Mutex::default(),
            events: WaitQueue::new(),
            uid,
            cost,
            shared: Arc::clone(shared),
        }))
    }
}

impl Queue {
    /// One try of mq_send(3): EAGAIN if it is full. `len` bytes at most [`Queue::max_size`]; the caller has checked.
    pub fn send(&self, sender: &Task, prio: u32, text: &Arc<[u8]>) -> Result<()> {
        let told = {
            let mut state = self.state.lock();
            if state.count >= self.max_messages {
                return Err(Errno::EAGAIN);
            }
            let memory = &self.shared.memory;
            let cost = text.len() + COST as usize;
            if memory.fetch_add(cost, Ordering::Relaxed) + cost > MEMORY {
                memory.fetch_sub(cost, Ordering::Relaxed);
                return Err(Errno::ENOMEM);
            }
            let queue = state.messages.entry(prio).or_default();
            queue.push_back(Arc::clone(text));
            state.count += 1;
            state.bytes += text.len() as u64;
            // Only the first of an empty queue tells, and only if nobody waits for it; once.
            if state.count == 1 && state.receivers == 0 {
                state.notify.take()
            } else {
                None
            }
        };
        self.events.notify(PollEvents::READABLE);
        if let Some(notify) = told
            && let (Some(signal), Some(owner)) = (notify.signal, notify.owner.upgrade())
        {
            let (pid, uid) = (sender.group.pid, sender.creds().uid);
            let info = SigInfo::rt(signal, SI_MESGQ, pid, uid, notify.value);
            let _ = crate::signal::send_to_group(&owner, info);
        }
        Ok(())
    }

    /// One try of mq_receive(3): the oldest message of the highest priority, and that. EAGAIN if there is none.
    pub fn receive(&self) -> Result<(u32, Arc<[u8]>)> {
        let (prio, text) = {
            let mut state = self.state.lock();
            let mut entry = state.messages.last_entry().ok_or(Errno::EAGAIN)?;
            let prio = *entry.key();
            let text = entry.get_mut().pop_front().ok_or(Errno::EAGAIN)?;
            if entry.get().is_empty() {
                entry.remove();
            }
            state.count -= 1;
            state.bytes -= text.len() as u64;
            (prio, text)
        };
        self.forget(&text);
        self.events.notify(PollEvents::WRITABLE);
        Ok((prio, text))
    }

    fn forget(&self, text: &[u8]) {
        let cost = text.len() + COST as usize;
        self.shared.memory.fetch_sub(cost, Ordering::Relaxed);
    }

    /// A thread waits for a message, until the guard drops: nobody is notified meanwhile.
    pub fn receiver(&self) -> Receiver<'_> {
        self.state.lock().receivers += 1;
        Receiver(self)
    }

    /// mq_notify(3) with an event: EBUSY if somebody has asked before.
    pub fn set_notify(
        &self,
        owner: &Arc<ThreadGroup>,
        signal: Option<Signal>,
        value: u64,
    ) -> Result<()> {
        let mut state = self.state.lock();
        if state
            .notify
            .as_ref()
            .is_some_and(|n| n.owner.strong_count() > 0)
        {
            return Err(Errno::EBUSY);
        }
        state.notify = Some(Notify {
            owner: Arc::downgrade(owner),
            pid: owner.pid,
            signal,
            value,
        });
        Ok(())
    }

    /// Takes the process's request back, if it is its.
    pub fn clear_notify(&self, owner: &ThreadGroup) {
        let mut state = self.state.lock();
        if state
            .notify
            .as_ref()
            .is_some_and(|n| std::ptr::eq(n.owner.as_ptr(), owner))
        {
            state.notify = None;
        }
    }

    /// What is ready.
    pub fn poll(&self) -> PollEvents {
        let count = self.state.lock().count;
        let mut ready = PollEvents::empty();
        ready.set(PollEvents::READABLE, count > 0);
        ready.set(PollEvents::WRITABLE, count < self.max_messages);
        ready
    }

    /// mq_getattr(3), but for the descriptor's flags.
    pub fn attr(&self) -> MqAttr {
        let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        MqAttr {
            maxmsg: signed(self.max_messages),
            msgsize: signed(self.max_size),
            curmsgs: signed(self.state.lock().count),
            ..Default::default()
        }
    }

    /// What reading its file gives (mq_overview(7)).
    pub fn text(&self) -> String {
        let state = self.state.lock();
        let (signo, pid) = state
            .notify
            .as_ref()
            .map_or((0, 0), |n| (n.signal.map_or(0, Signal::raw), n.pid));
        // SIGEV_SIGNAL is 0, SIGEV_NONE 1.
        let how = i32::from(state.notify.as_ref().is_some_and(|n| n.signal.is_none()));
        format!(
            "QSIZE:{:<10} NOTIFY:{how:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n",
            state.bytes
        )
    }
}

/// See [`Queue::receiver`].
pub struct Receiver<'a>(&'a Queue);

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        self.0.state.lock().receivers -= 1;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let messages = std::mem::take(&mut self.state.get_mut().messages);
        for text in messages.into_values().flatten() {
            self.forget(&text);
        }
        self.shared.queues.fetch_sub(1, Ordering::Relaxed);
        let mut users = self.shared.users.lock();
        if let Some(used) = users.get_mut(&self.uid) {
            *used = used.saturating_sub(self.cost);
            if *used == 0 {
                users.remove(&self.uid);
            }
        }
    }
}
