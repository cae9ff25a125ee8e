//! A watched description.

use super::{EXCLUSIVE, PRIVATE, Ready, Set, WATCHES};
use crate::executor::wait::WaitId;
use crate::executor::{Listener, PollEvents};
use crate::vfs::file::FileWatcher;
use crate::vfs::{File, FileOps};
use arch::abi::EpollEvent;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// What an item is found by: the descriptor number it was added with, and the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub fd: i32,
    file: usize,
}

impl Key {
    pub fn new(fd: i32, file: &Arc<File>) -> Self {
        Self {
            fd,
            file: Arc::as_ptr(file).addr(),
        }
    }
}

/// A watched description.
///
/// Alive, it is held by its set, by the file's wait queue and watcher list, and while `queued` by the ready list.
pub(super) struct Item {
    pub key: Key,
    /// Names it among the file's watchers.
    pub id: u64,
    me: Weak<Item>,
    file: Weak<File>,
    set: Weak<Set>,
    ready: Arc<Ready>,
    /// EPOLL* bits asked for; 0 but for the private ones once a one-shot item has fired. Written under the delivery lock, read by notifications.
    interest: AtomicU32,
    /// What `interest` was before it fired (ONESHOT), to undo a delivery.
    armed: AtomicU32,
    data: AtomicU64,
    /// Its place in the file's wait queue.
    wait: Mutex<Option<WaitId>>,
    /// On the ready list, or just taken from it. Whoever turns it on puts the item on the list.
    queued: AtomicBool,
    /// Set under the ready list's lock; nothing is queued after.
    dead: AtomicBool,
}

impl Item {
    pub fn new(key: Key, file: &Arc<File>, set: &Arc<Set>, event: EpollEvent) -> Arc<Self> {
        let item = Arc::new_cyclic(|me| Self {
            key,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            me: me.clone(),
            file: Arc::downgrade(file),
            set: Arc::downgrade(set),
            ready: Arc::clone(&set.ready),
            interest: AtomicU32::new(0),
            armed: AtomicU32::new(0),
            data: AtomicU64::new(0),
            wait: Mutex::new(None),
            queued: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        });
        item.set_event(event);
        file.add_watcher(item.id, item.clone());
        item
    }

    pub fn set_event(&self, event: EpollEvent) {
        let interest = event.events | PollEvents::ALWAYS.bits();
        self.data.store(event.data, Ordering::SeqCst);
        self.armed.store(interest, Ordering::SeqCst);
        self.interest.store(interest, Ordering::SeqCst);
    }

    pub fn interest(&self) -> u32 {
        self.interest.load(Ordering::SeqCst)
    }

    pub fn data(&self) -> u64 {
        self.data.load(Ordering::SeqCst)
    }

    pub fn file(&self) -> Option<Arc<File>> {
        self.file.upgrade()
    }

    /// A one-shot item has fired: nothing until EPOLL_CTL_MOD.
    pub fn disable(&self) {
        self.interest.fetch_and(PRIVATE, Ordering::SeqCst);
    }

    /// Undoes `disable`.
    pub fn enable(&self) {
        self.interest
            .store(self.armed.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Enters the file's wait queue.
    pub fn attach(&self, file: &Arc<File>) {
        let (Some(queue), Some(me)) = (file.ops.wait_queue(), self.me.upgrade()) else {
            return;
        };
        let interest = self.interest();
        let events = PollEvents::from_bits_truncate(interest & !PRIVATE);
        let id = queue.add(events, interest & EXCLUSIVE != 0, me);
        *self.wait.lock() = Some(id);
    }

    /// Leaves the file's wait queue: no notification comes, or is on its way, after this.
    pub fn detach(&self, ops: &dyn FileOps) {
        let id = self.wait.lock().take();
        if let (Some(queue), Some(id)) = (ops.wait_queue(), id) {
            queue.remove(id);
        }
    }

    /// Queues the item if there is something to report now.
    pub fn look(&self, file: &Arc<File>) {
        let interest = self.interest();
        if file.ops.poll(file).bits() & interest & !PRIVATE != 0 {
            self.enqueue();
        }
    }

    /// What there is to report, with the application's data.
    pub fn poll(&self) -> Option<(u32, u64)> {
        if self.is_dead() {
            return None;
        }
        let interest = self.interest() & !PRIVATE;
        if interest == 0 {
            return None;
        }
        let file = self.file()?;
        let events = file.ops.poll(&file).bits() & interest;
        (events != 0).then(|| (events, self.data()))
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Taken off the ready list: the next notification queues it again. To be called before it is polled.
    pub fn unqueue(&self) {
        self.queued.store(false, Ordering::SeqCst);
    }

    /// Claims the place on the ready list; false if it is there already.
    pub fn mark_queued(&self) -> bool {
        !self.queued.swap(true, Ordering::SeqCst)
    }

    /// Puts the item at the end of the list unless it is on it.
    pub fn queue_on(&self, list: &mut VecDeque<Arc<Item>>) {
        if !self.is_dead()
            && let Some(me) = self.me.upgrade()
            && self.mark_queued()
        {
            list.push_back(me);
        }
    }

    fn enqueue(&self) {
        self.queue_on(&mut self.ready.list.lock());
        self.ready.queue.notify(PollEvents::READABLE);
    }

    /// Ends its life: it is reported no more.
    pub fn kill(&self) {
        let mut list = self.ready.list.lock();
        if !self.dead.swap(true, Ordering::SeqCst) {
            WATCHES.fetch_sub(1, Ordering::Relaxed);
        }
        if self.queued.load(Ordering::SeqCst) {
            list.retain(|item| !std::ptr::eq(&raw const **item, self));
        }
    }
}

impl Listener for Item {
    fn notify(&self, events: PollEvents) -> bool {
        let interest = self.interest();
        if events.bits() & interest & !PRIVATE == 0 {
            return false;
        }
        let waited_for = !self.ready.queue.is_empty();
        self.enqueue();
        if interest & EXCLUSIVE == 0 {
            return true;
        }
        // An exclusive wake counts when somebody was there to take it.
        let both = PollEvents::IN | PollEvents::OUT;
        let matters = events & both;
        waited_for && (matters.is_empty() || matters == both || matters.bits() & interest != 0)
    }
}

impl FileWatcher for Item {
    fn file_gone(&self, ops: &dyn FileOps) {
        self.detach(ops);
        if let Some(set) = self.set.upgrade() {
            let removed = set.items.lock().remove(&self.key);
            drop(removed);
        }
        self.kill();
    }
}
