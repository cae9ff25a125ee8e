//! The cache of names.
//!
//! A dentry is one name in one directory. It holds its parent; the parent finds it by a weak reference, so that a name goes when
//! nobody uses it. A ring per file system keeps recently found ones (and absent ones) alive, up to a limit.
//!
//! # Locks, outermost first
//! ```text
//! Superblock::rename   a directory moves to another directory
//!   Dentry::dir        changes to one directory; two: the ancestor first, else by address
//!     Dentry::children, Dentry::place, Ring: leaves
//! ```
//! `Dentry::dir` is held over the file system's own operation, which may be a host call: as in Linux, two changes to one directory
//! don't run at the same time. Lookups don't take it: they notice by `Children::version` that a change has come between.

use super::inode::InodeRef;
use super::superblock::Superblock;
use arch::{Errno, Result};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Longest name.
pub const NAME_MAX: usize = 255;

/// Not in the ring.
const NO_SLOT: usize = usize::MAX;

/// A name in a directory.
pub struct Dentry {
    /// The file system.
    pub sb: Arc<Superblock>,
    /// What has the name; `None`: nothing has (a negative entry, only seen within the cache).
    inode: Option<InodeRef>,
    place: Mutex<Place>,
    children: Mutex<Children>,
    /// Serializes changes to this directory.
    dir: Mutex<()>,
    /// For [`super::Inode::revalidate`]: when it was found, in milliseconds of [`crate::host::fs::coarse_ms`].
    pub(super) checked: AtomicU64,
    /// How many mounts stand on it, in whatever namespace. Written under the namespace's lock; a walk that reads 0 needn't look.
    pub(super) mounts: AtomicU32,
    /// The name is gone, or another file has it.
    deleted: AtomicBool,
    /// Where it is in the ring. Written under the ring's lock; read without it as a hint.
    slot: AtomicUsize,
    /// Used since the ring's hand was last here.
    used: AtomicBool,
}

struct Place {
    /// `None` for the root of a file system.
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

#[derive(Default)]
struct Children {
    map: HashMap<Arc<[u8]>, Weak<Dentry>>,
    /// Counts changes to the directory.
    version: u64,
}

/// What a lookup in the cache found.
pub(super) enum Cached {
    Hit(Arc<Dentry>),
    /// Nothing; the number goes to [`Dentry::learn`].
    Miss(u64),
}

impl Dentry {
    fn make(
        sb: Arc<Superblock>,
        inode: Option<InodeRef>,
        parent: Option<Arc<Self>>,
        name: Arc<[u8]>,
    ) -> Arc<Self> {
        let sb_times = sb.revalidates;
        Arc::new(Self {
            sb,
            inode,
            place: Mutex::new(Place { parent, name }),
            children: Mutex::default(),
            dir: Mutex::new(()),
            checked: AtomicU64::new(if sb_times {
                crate::host::fs::coarse_ms().max(1)
            } else {
                0
            }),
            mounts: AtomicU32::new(0),
            deleted: AtomicBool::new(false),
            slot: AtomicUsize::new(NO_SLOT),
            used: AtomicBool::new(false),
        })
    }

    pub(super) fn root(sb: Arc<Superblock>, inode: InodeRef) -> Arc<Self> {
        Self::make(sb, Some(inode), None, Arc::from(&b"/"[..]))
    }

    /// A dentry that is in no directory: an O_TMPFILE, a memfd, a pipe. `name` is what d_path shows.
    pub fn detached(sb: Arc<Superblock>, inode: InodeRef, name: &[u8]) -> Arc<Self> {
        let dentry = Self::make(sb, Some(inode), None, name.into());
        dentry.deleted.store(true, Ordering::Relaxed);
        dentry
    }

    /// The inode.
    ///
    /// # Panics
    /// For a negative entry, which never leaves the cache.
    pub fn inode(&self) -> &InodeRef {
        self.inode
            .as_ref()
            .expect("negative dentries stay inside the cache")
    }

    pub(super) fn maybe_inode(&self) -> Option<&InodeRef> {
        self.inode.as_ref()
    }

    pub(super) fn is_negative(&self) -> bool {
        self.inode.is_none()
    }

    /// The directory it is in; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.place.lock().parent.clone()
    }

    /// Its name.
    pub fn name(&self) -> Arc<[u8]> {
        Arc::clone(&self.place.lock().name)
    }

    pub(super) fn parent_and_name(&self) -> (Option<Arc<Self>>, Arc<[u8]>) {
        let place = self.place.lock();
        (place.parent.clone(), Arc::clone(&place.name))
    }

    /// The name is gone (unlinked, replaced), or never was (O_TMPFILE).
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Whether `self` is `other` or above it.
    pub fn is_ancestor_of(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Arc::clone(other);
        loop {
            if Arc::ptr_eq(self, &at) {
                return true;
            }
            match at.parent() {
                Some(up) => at = up,
                None => return false,
            }
        }
    }

    /// Locks the directory for a change.
    pub(super) fn lock_dir(&self) -> MutexGuard<'_, ()> {
        self.dir.lock()
    }

    /// Locks two directories for a change of both.
    pub(super) fn lock_dirs<'a>(
        a: &'a Arc<Self>,
        b: &'a Arc<Self>,
    ) -> (MutexGuard<'a, ()>, Option<MutexGuard<'a, ()>>) {
        if Arc::ptr_eq(a, b) {
            (a.dir.lock(), None)
        } else {
            let (first, second) = if Arc::as_ptr(a) < Arc::as_ptr(b) {
                (a, b)
            } else {
                (b, a)
            };
            let one = first.dir.lock();
            (one, Some(second.dir.lock()))
        }
    }

    /// Looks for a cached child.
    pub(super) fn cached(&self, name: &[u8]) -> Cached {
        let children = self.children.lock();
        match children.map.get(name).and_then(Weak::upgrade) {
            Some(child) => {
                drop(children);
                child.used.store(true, Ordering::Relaxed);
                if child.slot.load(Ordering::Relaxed) == NO_SLOT {
                    self.sb.ring.keep(&child);
                }
                Cached::Hit(child)
            }
            None => Cached::Miss(children.version),
        }
    }

    /// Enters what a lookup that began at `version` has found. If the directory has changed since, the result is right
    /// for the caller but not remembered. If another thread was first, its entry is returned.
    pub(super) fn learn(
        self: &Arc<Self>,
        name: &[u8],
        inode: Option<InodeRef>,
        version: u64,
    ) -> Arc<Self> {
        let name: Arc<[u8]> = name.into();
        let child = Self::make(
            Arc::clone(&self.sb),
            inode,
            Some(Arc::clone(self)),
            Arc::clone(&name),
        );
        let mut children = self.children.lock();
        if children.version != version {
            drop(children);
            return child;
        }
        if let Some(other) = children.map.get(&name).and_then(Weak::upgrade) {
            drop(children);
            return other;
        }
        children.map.insert(name, Arc::downgrade(&child));
        drop(children);
        self.sb.ring.keep(&child);
        child
    }

    /// Enters a name that was just made, under the directory's lock.
    pub(super) fn created(self: &Arc<Self>, name: &[u8], inode: InodeRef) -> Arc<Self> {
        self.enter(name, Some(inode))
    }

    fn enter(self: &Arc<Self>, name: &[u8], inode: Option<InodeRef>) -> Arc<Self> {
        let name: Arc<[u8]> = name.into();
        let child = Self::make(
            Arc::clone(&self.sb),
            inode,
            Some(Arc::clone(self)),
            Arc::clone(&name),
        );
        let old = {
            let mut children = self.children.lock();
            children.version += 1;
            children.map.insert(name, Arc::downgrade(&child))
        };
        self.let_go(old);
        self.sb.ring.keep(&child);
        child
    }

    /// Forgets what the cache knows of a name: the next walk asks the file system.
    pub(super) fn forget(&self, name: &[u8]) {
        let mut children = self.children.lock();
        children.version += 1;
        let old = children.map.remove(name);
        drop(children);
        self.let_go(old);
    }

    /// What the cache kept under a name is not to be kept any longer.
    fn let_go(&self, old: Option<Weak<Self>>) {
        if let Some(old) = old.and_then(|w| w.upgrade()) {
            self.sb.ring.forget(&old);
        }
    }

    /// Forgets a stale entry, unless the name has another one by now.
    pub(super) fn forget_entry(&self, child: &Arc<Self>) {
        let name = child.name();
        let mut children = self.children.lock();
        let same = children
            .map
            .get(&name)
            .is_some_and(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(child)));
        let old = if same {
            children.map.remove(&name)
        } else {
            None
        };
        drop(children);
        self.let_go(old);
    }

    /// The name is gone, under the directory's lock.
    pub(super) fn removed(self: &Arc<Self>, child: &Self) {
        child.deleted.store(true, Ordering::Release);
        self.vacated(&child.name());
    }

    /// Nothing has the name any more: so the cache remembers, if it remembers such things.
    fn vacated(self: &Arc<Self>, name: &[u8]) {
        if self.sb.caches_negative {
            self.enter(name, None);
        } else {
            self.forget(name);
        }
    }

    /// `child` has moved to `new_name` in `to`, under both directories' locks; what had that name is `replaced`.
    pub(super) fn moved(
        self: &Arc<Self>,
        child: &Arc<Self>,
        to: &Arc<Self>,
        new_name: &[u8],
        replaced: Option<&Self>,
    ) {
        self.vacated(&child.name());
        if let Some(replaced) = replaced {
            replaced.deleted.store(true, Ordering::Release);
        }
        child.place_at(to, new_name);
    }

    /// Two names have been exchanged, under both directories' locks.
    pub(super) fn exchanged(a: &Arc<Self>, b: &Arc<Self>) {
        let ((a_dir, a_name), (b_dir, b_name)) = (a.parent_and_name(), b.parent_and_name());
        let (Some(a_dir), Some(b_dir)) = (a_dir, b_dir) else {
            return;
        };
        a.place_at(&b_dir, &b_name);
        b.place_at(&a_dir, &a_name);
    }

    fn place_at(self: &Arc<Self>, dir: &Arc<Self>, name: &[u8]) {
        let name: Arc<[u8]> = name.into();
        let place = Place {
            parent: Some(Arc::clone(dir)),
            name: Arc::clone(&name),
        };
        let old_place = std::mem::replace(&mut *self.place.lock(), place);
        let mut children = dir.children.lock();
        children.version += 1;
        let old = children.map.insert(name, Arc::downgrade(self));
        drop(children);
        drop(old_place);
        dir.let_go(old);
        self.sb.ring.keep(self);
    }

    /// ENAMETOOLONG for a name that no file system takes.
    pub fn check_name(name: &[u8]) -> Result<()> {
        if name.len() > NAME_MAX {
            Err(Errno::ENAMETOOLONG)
        } else {
            Ok(())
        }
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // Up the tree in a loop: a chain of directories may be longer than the stack is deep.
        let place = self.place.get_mut();
        let mut next = place.parent.take().inspect(|p| p.child_gone(&place.name));
        while let Some(mut up) = next.and_then(Arc::into_inner) {
            let place = up.place.get_mut();
            next = place.parent.take().inspect(|p| p.child_gone(&place.name));
        }
    }
}

impl Dentry {
    /// Takes a dead child's entry out (unless the name has another one by now).
    fn child_gone(&self, name: &[u8]) {
        let mut children = self.children.lock();
        let dead = children
            .map
            .get(name)
            .is_some_and(|w| w.strong_count() == 0);
        let old = if dead {
            children.map.remove(name)
        } else {
            None
        };
        drop(children);
        drop(old);
    }
}

/// Entries kept alive for the next walk: a clock with a second chance for those used since the hand came by.
pub(super) struct Ring {
    limit: usize,
    state: Mutex<RingState>,
}

#[derive(Default)]
struct RingState {
    slots: Vec<Option<Arc<Dentry>>>,
    free: Vec<usize>,
    hand: usize,
}

impl RingState {
    /// A slot for a new entry, and who had to leave it.
    fn slot(&mut self, limit: usize) -> (usize, Option<Arc<Dentry>>) {
        if let Some(slot) = self.free.pop() {
            return (slot, None);
        }
        if self.slots.len() < limit {
            self.slots.push(None);
            return (self.slots.len() - 1, None);
        }
        let mut chances = 16;
        loop {
            self.hand = (self.hand + 1) % self.slots.len();
            let used = self.slots[self.hand].as_ref();
            if chances > 0 && used.is_some_and(|d| d.used.swap(false, Ordering::Relaxed)) {
                chances -= 1;
                continue;
            }
            let old = self.slots[self.hand].take();
            if let Some(old) = &old {
                old.slot.store(NO_SLOT, Ordering::Relaxed);
            }
            return (self.hand, old);
        }
    }
}

impl Ring {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    /// Keeps an entry; another may go for it.
    pub(super) fn keep(&self, dentry: &Arc<Dentry>) {
        if self.limit == 0 || !dentry.sb.is_mounted() {
            return;
        }
        let mut state = self.state.lock();
        // Under the lock: who deletes says so before it comes here to forget.
        if dentry.is_deleted() || dentry.slot.load(Ordering::Relaxed) != NO_SLOT {
            return;
        }
        let (slot, old) = state.slot(self.limit);
        state.slots[slot] = Some(Arc::clone(dentry));
        dentry.slot.store(slot, Ordering::Relaxed);
        drop(state);
        drop(old);
    }

    /// Lets an entry go that stands for nothing any more: what it holds may be large.
    pub(super) fn forget(&self, dentry: &Dentry) {
        let mut state = self.state.lock();
        let slot = dentry.slot.swap(NO_SLOT, Ordering::Relaxed);
        if slot == NO_SLOT {
            return;
        }
        let old = state.slots[slot].take();
        state.free.push(slot);
        drop(state);
        drop(old);
    }

    /// Lets everything go.
    pub(super) fn clear(&self) {
        let state = std::mem::take(&mut *self.state.lock());
        for entry in state.slots.iter().flatten() {
            entry.slot.store(NO_SLOT, Ordering::Relaxed);
        }
        drop(state);
    }
}
