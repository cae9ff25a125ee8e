//! Hooks for inotify(7): who watches an inode, and what the file system tells them.

use super::inode::Inode;
use super::path::Path;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Someone who watches inodes.
pub trait Watcher: Send + Sync {
    /// `mask` (IN_*, with IN_ISDIR) happened to the watched inode `wd`, or to `name` in it. Called without any lock of the file
    /// system but the directory's; must not call back.
    fn event(&self, wd: i32, mask: u32, cookie: u32, name: Option<&[u8]>);

    /// Identity, to find the watch of an inotify instance.
    fn id(&self) -> u64;
}

#[derive(Clone)]
struct Watch {
    watcher: Arc<dyn Watcher>,
    wd: i32,
    mask: u32,
}

/// The watches of one inode.
#[derive(Default)]
pub struct Watches {
    list: Mutex<Vec<Watch>>,
    /// The union of the masks. Written under the lock; read without it to see that nobody cares.
    mask: AtomicU32,
}

/// Watches in the whole sandbox: while there are none, every hook is one load.
static WATCHES: AtomicUsize = AtomicUsize::new(0);
static COOKIE: AtomicU32 = AtomicU32::new(1);

impl Watches {
    /// Adds a watch, or changes the mask of the same instance's. Returns its descriptor: `wd` for a new one.
    pub fn add(&self, watcher: &Arc<dyn Watcher>, wd: i32, mask: u32) -> i32 {
        let mut list = self.list.lock();
        let wd = if let Some(old) = list.iter_mut().find(|w| w.watcher.id() == watcher.id()) {
            old.mask = mask;
            old.wd
        } else {
            list.push(Watch {
                watcher: Arc::clone(watcher),
                wd,
                mask,
            });
            WATCHES.fetch_add(1, Ordering::SeqCst);
            wd
        };
        self.mask
            .store(list.iter().fold(0, |m, w| m | w.mask), Ordering::SeqCst);
        wd
    }

    /// The watch of an instance: descriptor and mask.
    pub fn find(&self, id: u64) -> Option<(i32, u32)> {
        self.list
            .lock()
            .iter()
            .find(|w| w.watcher.id() == id)
            .map(|w| (w.wd, w.mask))
    }

    /// Takes the watch of an instance out.
    pub fn remove(&self, id: u64) {
        let mut list = self.list.lock();
        let before = list.len();
        list.retain(|w| w.watcher.id() != id);
        WATCHES.fetch_sub(before - list.len(), Ordering::SeqCst);
        self.mask
            .store(list.iter().fold(0, |m, w| m | w.mask), Ordering::SeqCst);
    }

    fn tell(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let wanted = mask & !(libc::IN_ISDIR);
        if self.mask.load(Ordering::SeqCst) & wanted == 0
            && wanted & (libc::IN_IGNORED | libc::IN_UNMOUNT) == 0
        {
            return;
        }
        let list = self.list.lock().clone();
        for watch in list {
            if watch.mask & wanted != 0 || wanted & (libc::IN_IGNORED | libc::IN_UNMOUNT) != 0 {
                watch.watcher.event(watch.wd, mask, cookie, name);
                if watch.mask & libc::IN_ONESHOT != 0 {
                    self.remove(watch.watcher.id());
                    watch.watcher.event(watch.wd, libc::IN_IGNORED, 0, None);
                }
            }
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        WATCHES.fetch_sub(self.list.get_mut().len(), Ordering::SeqCst);
    }
}

/// Whether anybody watches anything.
pub fn active() -> bool {
    WATCHES.load(Ordering::SeqCst) > 0
}

/// A number that ties IN_MOVED_FROM to IN_MOVED_TO.
pub fn cookie() -> u32 {
    COOKIE.fetch_add(1, Ordering::Relaxed)
}

/// Something happened to `name` in the directory `dir`.
pub fn child(dir: &dyn Inode, name: &[u8], is_dir: bool, mask: u32, cookie: u32) {
    if !active() {
        return;
    }
    if let Some(watches) = dir.ext().watches_if_any() {
        watches.tell(
            mask | if is_dir { libc::IN_ISDIR } else { 0 },
            cookie,
            Some(name),
        );
    }
}

/// Something happened to an inode itself.
pub fn inode(inode: &dyn Inode, mask: u32) {
    if !active() {
        return;
    }
    if let Some(watches) = inode.ext().watches_if_any() {
        watches.tell(mask, 0, None);
    }
}

/// Something happened to a file that was reached by `path`: its own watchers hear of it, and those of its directory.
pub fn path(path: &Path, mask: u32) {
    if !active() {
        return;
    }
    let is_dir = path.inode().file_type() == super::FileType::Directory;
    let bits = mask | if is_dir { libc::IN_ISDIR } else { 0 };
    if let (Some(parent), name) = path.dentry.parent_and_name()
        && !path.dentry.is_deleted()
        && let Some(watches) = parent.inode().ext().watches_if_any()
    {
        watches.tell(bits, 0, Some(&name));
    }
    if let Some(watches) = path.inode().ext().watches_if_any() {
        watches.tell(bits, 0, None);
    }
}

/// The last link of an inode is gone, and nobody has it open: IN_DELETE_SELF, and the end of the watches.
pub fn deleted(target: &dyn Inode) {
    if !active() {
        return;
    }
    if let Some(watches) = target.ext().watches_if_any() {
        watches.tell(libc::IN_DELETE_SELF, 0, None);
        watches.tell(libc::IN_IGNORED, 0, None);
        let gone = std::mem::take(&mut *watches.list.lock());
        WATCHES.fetch_sub(gone.len(), Ordering::SeqCst);
        watches.mask.store(0, Ordering::SeqCst);
    }
}
