//! epoll(7).
//!
//! Each watched description notifies its [`item::Item`], which puts itself on its instance's ready list: a wait costs as much as there is to
//! report, however much is watched. What the list says is a hint; the wait polls each item on it again.
//!
//! # Locks, outermost first
//! ```text
//! NESTING (epoll_ctl of an epoll descriptor: who watches whom)
//!   Set::delivery of an instance, then of the instances that it watches
//!     Set::items
//!     the locks of watched files (poll)
//!       a file's wait queue, then the ready list, then the wait queue of the instance (which another instance may watch)
//! ```
//! A description can go at any time but under `Set::items`: its end takes that lock.

mod item;
mod nest;

use crate::executor::{PollEvents, WaitQueue};
use crate::vfs::{File, FileOps};
use arch::abi::{EpollEvent, Stat};
use arch::{Errno, Result};
use item::{Item, Key};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// EPOLLEXCLUSIVE.
pub const EXCLUSIVE: u32 = 1 << 28;
/// EPOLLWAKEUP: accepted and without effect, as without CAP_BLOCK_SUSPEND.
pub const WAKEUP: u32 = 1 << 29;
/// EPOLLONESHOT.
pub const ONESHOT: u32 = 1 << 30;
/// EPOLLET.
pub const EDGE: u32 = 1 << 31;
/// What is not readiness.
const PRIVATE: u32 = EXCLUSIVE | WAKEUP | ONESHOT | EDGE;
/// What may go with EPOLLEXCLUSIVE.
const EXCLUSIVE_OK: u32 = PollEvents::IN
    .union(PollEvents::OUT)
    .union(PollEvents::ALWAYS)
    .bits()
    | EXCLUSIVE
    | WAKEUP
    | EDGE;

/// fs.epoll.max_user_watches, for the whole sandbox.
const MAX_WATCHES: usize = 1 << 20;
static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// Items that may have something to report, and who waits for one.
#[derive(Default)]
struct Ready {
    list: Mutex<VecDeque<Arc<Item>>>,
    queue: WaitQueue,
}

/// What an instance watches.
struct Set {
    me: Weak<Set>,
    ready: Arc<Ready>,
    items: Mutex<HashMap<Key, Arc<Item>>>,
    /// Held over a round of polling, and by epoll_ctl(2): an item that has been deleted is reported no more.
    delivery: Mutex<()>,
    /// Instances that watch this one. Written under [`nest::NESTING`].
    parents: Mutex<Vec<Weak<Set>>>,
}

/// An epoll instance.
pub struct Epoll {
    set: Arc<Set>,
}

/// Reported events, and the items they came from, in case they can't be delivered.
#[derive(Default)]
pub struct Batch {
    /// What goes to the application.
    pub events: Vec<EpollEvent>,
    items: Vec<Arc<Item>>,
}

impl Epoll {
    /// epoll_create1(2).
    pub fn open() -> Arc<File> {
        let set = Arc::new_cyclic(|me| Set {
            me: me.clone(),
            ready: Arc::default(),
            items: Mutex::default(),
            delivery: Mutex::default(),
            parents: Mutex::default(),
        });
        File::new(Box::new(Self { set }), libc::O_RDWR as u32)
    }

    /// Where to wait for [`Epoll::collect`] to find something.
    pub fn queue(&self) -> &WaitQueue {
        &self.set.ready.queue
    }

    /// EPOLL_CTL_ADD. EEXIST, EPERM for what can't be waited for, EINVAL for flags, ELOOP for cycles and depth, ENOSPC for too many.
    pub fn add(&self, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        self.check_target(file)?;
        let events = event.events;
        let inner = file.downcast::<Self>().map(|epoll| &epoll.set);
        if events & EXCLUSIVE != 0 && (inner.is_some() || events & !EXCLUSIVE_OK != 0) {
            return Err(Errno::EINVAL);
        }
        let _nesting = match inner {
            Some(inner) => Some(nest::link(&self.set, inner)?),
            None => {
                nest::check_paths(&self.set)?;
                None
            }
        };
        let result = self.insert(fd, file, event);
        if let (Err(_), Some(inner)) = (&result, inner) {
            nest::unlink(&self.set, inner);
        }
        result
    }

    fn insert(&self, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        let _delivery = self.set.delivery.lock();
        let key = Key::new(fd, file);
        let item = {
            let mut items = self.set.items.lock();
            if items.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            if WATCHES.fetch_add(1, Ordering::Relaxed) >= MAX_WATCHES {
                WATCHES.fetch_sub(1, Ordering::Relaxed);
                return Err(Errno::ENOSPC);
            }
            let item = Item::new(key, file, &self.set, event);
            items.insert(key, Arc::clone(&item));
            item
        };
        item.attach(file);
        item.look(file);
        Ok(())
    }

    /// EPOLL_CTL_MOD. ENOENT; EINVAL for EPOLLEXCLUSIVE, before or now.
    pub fn modify(&self, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        self.check_target(file)?;
        if event.events & EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        let _delivery = self.set.delivery.lock();
        let item = self.find(fd, file)?;
        if item.interest() & EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        item.detach(&*file.ops);
        item.set_event(event);
        item.attach(file);
        item.look(file);
        Ok(())
    }

    /// EPOLL_CTL_DEL. ENOENT.
    pub fn delete(&self, fd: i32, file: &Arc<File>) -> Result<()> {
        self.check_target(file)?;
        let inner = file.downcast::<Self>().map(|epoll| &epoll.set);
        let _nesting = inner.map(|_| nest::lock());
        let _delivery = self.set.delivery.lock();
        let item = self.find(fd, file)?;
        self.set.items.lock().remove(&item.key);
        item.kill();
        item.detach(&*file.ops);
        file.remove_watcher(item.id);
        if let Some(inner) = inner {
            nest::unlink(&self.set, inner);
        }
        Ok(())
    }

    /// What epoll_ctl(2) checks of its target whatever the operation.
    fn check_target(&self, file: &Arc<File>) -> Result<()> {
        if !file.ops.epollable() {
            return Err(Errno::EPERM);
        }
        match file.downcast::<Self>() {
            Some(other) if Arc::ptr_eq(&other.set, &self.set) => Err(Errno::EINVAL),
            _ => Ok(()),
        }
    }

    fn find(&self, fd: i32, file: &Arc<File>) -> Result<Arc<Item>> {
        self.set
            .items
            .lock()
            .get(&Key::new(fd, file))
            .cloned()
            .ok_or(Errno::ENOENT)
    }

    /// Up to `max` events of what is ready; EAGAIN when nothing is.
    pub fn collect(&self, max: usize) -> Result<Batch> {
        let ready = &self.set.ready;
        let mut batch = Batch::default();
        let delivery = self.set.delivery.lock();
        let mut pending = std::mem::take(&mut *ready.list.lock());
        // Level-triggered items go round: behind everything else for the next wait.
        let mut again = Vec::new();
        while batch.events.len() < max {
            let Some(item) = pending.pop_front() else {
                break;
            };
            item.unqueue();
            let Some((events, data)) = item.poll() else {
                continue;
            };
            batch.events.push(EpollEvent { events, data });
            let interest = item.interest();
            if interest & ONESHOT != 0 {
                item.disable();
            } else if interest & EDGE == 0 {
                again.push(Arc::clone(&item));
            }
            batch.items.push(item);
        }
        let left = {
            let mut list = ready.list.lock();
            while let Some(item) = pending.pop_back() {
                if !item.is_dead() {
                    list.push_front(item);
                }
            }
            for item in again {
                item.queue_on(&mut list);
            }
            !list.is_empty()
        };
        drop(delivery);
        if left {
            // Others may be waiting for what this round left.
            ready.queue.notify(PollEvents::READABLE);
        }
        if batch.events.is_empty() {
            Err(Errno::EAGAIN)
        } else {
            Ok(batch)
        }
    }

    /// Takes back the events from the `delivered`th on: the application's memory would not take them.
    pub fn take_back(&self, batch: &Batch, delivered: usize) {
        let _delivery = self.set.delivery.lock();
        let mut list = self.set.ready.list.lock();
        for item in batch.items.iter().skip(delivered).rev() {
            item.enable();
            if !item.is_dead() && item.mark_queued() {
                list.push_front(Arc::clone(item));
            }
        }
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        for (_, item) in self.items.get_mut().drain() {
            item.kill();
            // Where the description is going too, its end detaches the item.
            if let Some(file) = item.file() {
                item.detach(&*file.ops);
                file.remove_watcher(item.id);
            }
        }
        self.ready.list.lock().clear();
    }
}

impl FileOps for Epoll {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self, _: &File) -> Result<Stat> {
        Ok(super::anon_inode_stat())
    }

    /// Readable while a wait would report something.
    fn poll(&self, _: &File) -> PollEvents {
        let ready = &self.set.ready;
        let _delivery = self.set.delivery.lock();
        loop {
            let Some(item) = ready.list.lock().pop_front() else {
                return PollEvents::empty();
            };
            item.unqueue();
            if item.poll().is_some() {
                if item.mark_queued() {
                    ready.list.lock().push_front(item);
                }
                return PollEvents::READABLE;
            }
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.queue())
    }

    fn fdinfo(&self, _: &File, out: &mut Vec<u8>) {
        let items: Vec<_> = self.set.items.lock().values().cloned().collect();
        for item in items {
            let stat = item
                .file()
                .and_then(|f| f.ops.stat(&f).ok())
                .unwrap_or_default();
            let text = format!(
                "tfd: {:8} events: {:8x} data: {:16x}  pos:0 ino:{:x} sdev:{:x}\n",
                item.key.fd,
                item.interest(),
                item.data(),
                stat.ino,
                stat.dev
            );
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn link_text(&self, _: &File) -> Option<Vec<u8>> {
        Some(b"anon_inode:[eventpoll]".to_vec())
    }
}

#[cfg(test)]
mod tests;
