//! Wait queues: where something that may become ready keeps those who wait for it.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

bitflags::bitflags! {
    /// Readiness, in the bits of poll(2) and epoll(7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct PollEvents: u32 {
        /// Data to read.
        const IN = 0x001;
        /// Exceptional condition.
        const PRI = 0x002;
        /// Room to write.
        const OUT = 0x004;
        /// Error; reported whether asked for or not.
        const ERR = 0x008;
        /// Hang up; reported whether asked for or not.
        const HUP = 0x010;
        /// The descriptor is not open.
        const NVAL = 0x020;
        /// Normal data to read.
        const RDNORM = 0x040;
        /// Priority band data.
        const RDBAND = 0x080;
        /// Room to write normal data.
        const WRNORM = 0x100;
        /// Room to write priority data.
        const WRBAND = 0x200;
        /// The peer shut down its writing half.
        const RDHUP = 0x2000;
    }
}

impl PollEvents {
    /// What poll(2) and epoll report without being asked.
    pub const ALWAYS: Self = Self::ERR.union(Self::HUP);
    /// Readable, in the form that files report it.
    pub const READABLE: Self = Self::IN.union(Self::RDNORM);
    /// Writable, in the form that files report it.
    pub const WRITABLE: Self = Self::OUT.union(Self::WRNORM);
}

/// Someone who wants to hear of an event. Called with the queue's lock held: it must not block, and must not
/// touch the queue that calls it.
pub trait Listener: Send + Sync {
    /// Something in `events` may have happened. Spurious calls are allowed. Returns whether the listener took
    /// it up, which is what an exclusive wait counts.
    fn notify(&self, events: PollEvents) -> bool;
}

/// Names one entry of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitId(u64);

struct Entry {
    id: u64,
    interest: PollEvents,
    exclusive: bool,
    listener: Arc<dyn Listener>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    list: Vec<Entry>,
}

/// Those who wait for one object. Cheap when empty: a notification of nobody is one atomic load.
#[derive(Default)]
pub struct WaitQueue {
    /// Length of the list. Written under the lock, read by `notify` without it: the waiter registers before it
    /// looks at the condition, the notifier changes the condition before it looks here (both SeqCst).
    len: AtomicUsize,
    entries: Mutex<Entries>,
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            len: AtomicUsize::new(0),
            entries: Mutex::new(Entries {
                next: 0,
                list: Vec::new(),
            }),
        }
    }

    /// Adds a listener for `interest`. With `exclusive`, a notification stops at the first exclusive listener that takes it up.
    pub fn add(
        &self,
        interest: PollEvents,
        exclusive: bool,
        listener: Arc<dyn Listener>,
    ) -> WaitId {
        let mut entries = self.entries.lock();
        let id = entries.next;
        entries.next += 1;
        entries.list.push(Entry {
            id,
            interest,
            exclusive,
            listener,
        });
        self.len.store(entries.list.len(), Ordering::SeqCst);
        WaitId(id)
    }

    /// Removes an entry; an unknown one is ignored.
    pub fn remove(&self, id: WaitId) {
        let mut entries = self.entries.lock();
        entries.list.retain(|e| e.id != id.0);
        self.len.store(entries.list.len(), Ordering::SeqCst);
    }

    /// Tells the listeners that `events` may have happened.
    pub fn notify(&self, events: PollEvents) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.len.load(Ordering::SeqCst) == 0 {
            return;
        }
        let entries = self.entries.lock();
        let mut exclusive_done = false;
        for entry in &entries.list {
            if !events.intersects(entry.interest | PollEvents::ALWAYS)
                || (entry.exclusive && exclusive_done)
            {
                continue;
            }
            if entry.listener.notify(events) && entry.exclusive {
                exclusive_done = true;
            }
        }
    }

    /// Tells every listener, whatever it waits for.
    pub fn notify_all(&self) {
        self.notify(PollEvents::all());
    }

    /// Adds a listener and takes it out again when the guard drops.
    pub fn register(&self, interest: PollEvents, listener: Arc<dyn Listener>) -> Registration<'_> {
        Registration {
            queue: self,
            id: self.add(interest, false, listener),
        }
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::SeqCst) == 0
    }
}

/// A listener's stay in a queue.
pub struct Registration<'a> {
    queue: &'a WaitQueue,
    id: WaitId,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.queue.remove(self.id);
    }
}
