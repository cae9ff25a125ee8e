//! Inodes: their identity, where they are, and what the rest of the kernel asks of them.

use super::attrs::{Cached, key_of, to_attr};
use super::dir::HostDirFile;
use super::file::HostFile;
use super::handles::Handles;
use super::{Atime, FRESH_MS, Key, Shared, Sharing};
use crate::host::fs as host;
use crate::vfs::change::atime_due;
use crate::vfs::{
    Attr, Dev, Env, FileOps, FileType, Inode, InodeExt, InodeRef, NewNode, Path, RenameFlags,
    SetAttr, Target, Timestamp, XattrFlags,
};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A file or directory of the host.
pub struct HostInode {
    pub(super) shared: Arc<Shared>,
    pub(super) me: Weak<HostInode>,
    pub(super) key: Key,
    pub(super) kind: FileType,
    pub(super) ext: InodeExt,
    pub(super) place: Mutex<Place>,
    pub(super) handles: Mutex<Handles>,
    /// It is in `Shared::holders`; and it was used since the last look.
    pub(super) holds: AtomicBool,
    pub(super) used: AtomicBool,
    pub(super) cached: Mutex<Cached>,
    /// See [`HostInode::changed`].
    pub(super) generation: AtomicU64,
    /// The text of a symbolic link.
    pub(super) link: Mutex<Option<Arc<[u8]>>>,
    /// Held over a write at the end of the file.
    pub(super) append: Mutex<()>,
}

/// Where an inode was last seen.
pub(super) enum Place {
    /// It is the tree's root.
    Root,
    At(Arc<HostInode>, Arc<[u8]>),
    /// Its name is gone.
    Gone,
}

impl HostInode {
    pub(super) fn new(shared: &Arc<Shared>, st: &libc::statx, place: Place) -> Arc<Self> {
        let attr = to_attr(st);
        let inode = Arc::new_cyclic(|me| Self {
            shared: Arc::clone(shared),
            me: me.clone(),
            key: key_of(st),
            kind: attr.file_type(),
            ext: InodeExt::new(),
            place: Mutex::new(place),
            handles: Mutex::default(),
            holds: AtomicBool::new(false),
            used: AtomicBool::new(false),
            cached: Mutex::new(Cached::new(attr)),
            generation: AtomicU64::new(0),
            link: Mutex::new(None),
            append: Mutex::new(()),
        });
        inode.note_privileges(&attr);
        inode
    }

    pub(super) fn root(shared: &Arc<Shared>, st: &libc::statx) -> Result<Arc<Self>> {
        let root = Self::new(shared, st, Place::Root);
        root.handles.lock().path = Some(Arc::clone(&shared.root));
        shared.inodes.lock().insert(root.key, Arc::downgrade(&root));
        Ok(root)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }

    pub(crate) fn arc(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    /// Its identity on the host: device, inode number.
    pub(crate) fn key(&self) -> (u64, u64) {
        self.key
    }

    /// statfs(2) of the host file system that the tree's root is on.
    pub(crate) fn statfs(&self) -> Result<crate::vfs::StatFs> {
        super::statfs(&self.shared.root)
    }

    /// The host's device number of the file.
    pub(super) fn host_dev(&self) -> Dev {
        self.cached.lock().attr.dev
    }

    /// The inode behind a trait object of this file system.
    pub(super) fn of(inode: &InodeRef) -> Result<&Self> {
        inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
    }

    /// The inode of what `st` describes, seen as `name` in this directory: the one that there is, or a new one.
    pub(super) fn child(&self, name: &[u8], st: &libc::statx) -> Result<Arc<Self>> {
        let here = self.arc()?;
        let key = key_of(st);
        let kind = FileType::from_mode(u32::from(st.stx_mode));
        let known = self.shared.known(&key);
        if let Some(known) = known.filter(|k| k.kind == kind) {
            known.seen_at(here, name);
            known.learn(st);
            return Ok(known);
        }
        let fresh = Self::new(&self.shared, st, Place::At(here, name.into()));
        let other = {
            let mut inodes = self.shared.inodes.lock();
            let other = inodes
                .get(&key)
                .and_then(Weak::upgrade)
                .filter(|o| o.kind == kind);
            if other.is_none() {
                inodes.insert(key, Arc::downgrade(&fresh));
            }
            other
        };
        Ok(other.unwrap_or(fresh))
    }

    /// It has been found as `name` in `dir`, perhaps where it was.
    pub(super) fn seen_at(&self, dir: Arc<Self>, name: &[u8]) {
        let same = match &*self.place.lock() {
            Place::Root => true,
            Place::At(at, as_name) => Arc::ptr_eq(at, &dir) && **as_name == *name,
            Place::Gone => false,
        };
        // Somebody on the host may have turned the tree around below our feet: no circles.
        let circle = || self.kind == FileType::Directory && self.is_above(&dir);
        if !same && !circle() {
            self.set_place(Place::At(dir, name.into()));
        }
    }

    /// No name of it is known.
    pub(super) fn is_lost(&self) -> bool {
        matches!(*self.place.lock(), Place::Gone)
    }

    pub(super) fn is_above(&self, other: &Arc<Self>) -> bool {
        let mut at = Some(Arc::clone(other));
        while let Some(inode) = at {
            if std::ptr::eq(Arc::as_ptr(&inode), self) {
                return true;
            }
            at = inode.at().map(|(dir, _)| dir);
        }
        false
    }

    /// A file without a name (O_TMPFILE), open as `fd`.
    pub(super) fn nameless(&self, st: &libc::statx, fd: OwnedFd) -> Arc<Self> {
        let fresh = Self::new(&self.shared, st, Place::Gone);
        self.shared
            .inodes
            .lock()
            .insert(fresh.key, Arc::downgrade(&fresh));
        // It can't be opened again: the descriptor stays with the inode.
        let fd = Arc::new(fd);
        let mut handles = fresh.handles.lock();
        handles.open_write = Arc::downgrade(&fd);
        handles.write = Some(fd);
        drop(handles);
        fresh
    }

    pub(super) fn set_place(&self, new: Place) {
        let old = std::mem::replace(&mut *self.place.lock(), new);
        drop(old);
    }

    /// It has been moved, or linked, to `name` in `dir`.
    pub(super) fn moved_to(&self, dir: &HostInode, name: &[u8]) -> Result<()> {
        self.set_place(Place::At(dir.arc()?, name.into()));
        self.stale();
        Ok(())
    }

    /// Its name `name` in `dir` is gone.
    pub(super) fn lost_name(&self, dir: &HostInode, name: &[u8]) {
        let mut place = self.place.lock();
        let old = match &*place {
            Place::At(at, as_name) if at.key == dir.key && **as_name == *name => {
                Some(std::mem::replace(&mut *place, Place::Gone))
            }
            _ => None,
        };
        drop(place);
        drop(old);
        let mut cached = self.cached.lock();
        let gone = if self.kind == FileType::Directory {
            2
        } else {
            1
        };
        cached.attr.nlink = cached.attr.nlink.saturating_sub(gone);
        cached.at = 0;
    }

    /// Directory and name by which it can be reached.
    pub(super) fn at(&self) -> Option<(Arc<Self>, Arc<[u8]>)> {
        match &*self.place.lock() {
            Place::At(dir, name) => Some((Arc::clone(dir), Arc::clone(name))),
            _ => None,
        }
    }
}

impl Inode for HostInode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn file_type(&self) -> FileType {
        self.kind
    }

    fn attr(&self) -> Result<Attr> {
        match self.remembered() {
            Some(attr) => Ok(attr),
            None => self.fetch(),
        }
    }

    fn perm_attr(&self) -> Result<Attr> {
        if self.shared.sharing == Sharing::Exclusive {
            let cached = self.cached.lock();
            if cached.perm_at != 0 && host::coarse_ms().saturating_sub(cached.perm_at) < FRESH_MS {
                return Ok(cached.attr);
            }
        }
        self.attr()
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.may_write()?;
        if let Some(size) = change.size {
            host::truncate(self.write_fd(false)?.as_fd(), size)?;
            self.stale();
        }
        if *change
            == (SetAttr {
                size: change.size,
                ..SetAttr::default()
            })
        {
            return Ok(());
        }
        let done = self.change_host(change);
        match done {
            Ok(()) => self.has_changed(change),
            // A part may have been done.
            Err(_) => self.all_stale(),
        }
        done
    }

    fn chown_strips(&self) -> bool {
        true
    }

    fn touch_atime(&self, relatime: bool) {
        if self.shared.atime == Atime::Never {
            return;
        }
        // The host has moved it, if it was due.
        let mut cached = self.cached.lock();
        let due = cached.at != 0
            && !cached.atime_stays
            && atime_due(&cached.attr, cached.attr.atime, relatime);
        if due {
            cached.at = 0;
            // Times of one tick of the clock are equal, whatever the host does.
            let old = cached.attr.atime;
            cached.atime_due = (Timestamp::now().since(old) >= TICKS).then_some(old);
        }
    }

    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        let st = host::statx(self.fd()?.as_fd(), name)?;
        Ok(self.child(name, &st)?)
    }

    fn revalidate(
        &self,
        _env: &Env<'_>,
        name: &[u8],
        child: Option<&InodeRef>,
        checked: &AtomicU64,
    ) -> bool {
        let child = child.map(Self::of);
        // One of several names of a file may have been removed: it is to be found by this one.
        if let Some(Ok(child)) = &child
            && child.is_lost()
            && let Ok(here) = self.arc()
        {
            child.seen_at(here, name);
        }
        if self.entry_holds(checked) {
            return true;
        }
        let Ok(dir) = self.fd() else { return false };
        let holds = match (host::statx(dir.as_fd(), name), child) {
            (Err(Errno::ENOENT), None) => true,
            (Ok(st), Some(Ok(child))) => {
                let same = key_of(&st) == child.key;
                if same {
                    child.learn(&st);
                }
                same
            }
            _ => false,
        };
        checked.store(host::coarse_ms().max(1), Ordering::Relaxed);
        holds
    }

    fn create(&self, name: &[u8], node: &NewNode) -> Result<InodeRef> {
        self.make(name, node)
    }

    fn made_only(&self) {
        let gone = self.handles.lock().write.take();
        drop(gone);
    }

    fn symlink(&self, name: &[u8], target: &[u8], node: &NewNode) -> Result<InodeRef> {
        self.make_symlink(name, target, node)
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        self.make_link(name, target)
    }

    fn unlink(&self, name: &[u8], victim: &InodeRef) -> Result<()> {
        self.remove(name, victim, false)
    }

    fn rmdir(&self, name: &[u8], victim: &InodeRef) -> Result<()> {
        self.remove(name, victim, true)
    }

    fn rename(
        &self,
        name: &[u8],
        moved: &InodeRef,
        to: &Target<'_>,
        flags: RenameFlags,
    ) -> Result<()> {
        self.rename_to(name, moved, to, flags)
    }

    fn tmpfile(&self, node: &NewNode, linkable: bool) -> Result<InodeRef> {
        self.make_nameless(node, linkable)
    }

    fn readlink(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        if let Some(text) = &*self.link.lock() {
            return Ok(text.to_vec());
        }
        let text = match self.at() {
            Some((dir, name)) => host::readlinkat(dir.fd()?.as_fd(), &name)?,
            None => host::readlinkat(self.fd()?.as_fd(), b"")?,
        };
        *self.link.lock() = Some(text[..].into());
        Ok(text)
    }

    fn open(&self, _env: &Env<'_>, _path: &Path, flags: u32) -> Result<Box<dyn FileOps>> {
        match self.kind {
            FileType::Directory => Ok(Box::new(HostDirFile::new(self.arc()?)?)),
            FileType::Regular => Ok(Box::new(HostFile::open(self.arc()?, flags)?)),
            _ => Err(Errno::ENXIO),
        }
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        // Lists for access control are not taken account of, so they aren't shown either.
        if name.starts_with(b"system.") || self.kind == FileType::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        match self.read_fd() {
            Ok(fd) => host::get_xattr(fd.as_fd(), name),
            Err(Errno::EACCES) => {
                host::get_xattr_of_place(self.fd()?.as_fd(), name).map_err(no_xattr)
            }
            Err(e) => Err(no_xattr(e)),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        self.may_write()?;
        settable(name)?;
        host::set_xattr(self.xattr_fd()?.as_fd(), name, value, flags.bits() as i32)?;
        self.stale();
        Ok(())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        self.may_write()?;
        settable(name)?;
        host::remove_xattr(self.xattr_fd()?.as_fd(), name)?;
        self.stale();
        Ok(())
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = match self.read_fd() {
            Ok(fd) => host::list_xattr(fd.as_fd())?,
            Err(Errno::EACCES) => {
                host::list_xattr_of_place(self.fd()?.as_fd()).map_err(no_xattr)?
            }
            Err(e) => return Err(no_xattr(e)),
        };
        names.retain(|n| !n.starts_with(b"system."));
        Ok(names)
    }
}

/// Longer than a tick of any host's clock for file times.
const TICKS: Duration = Duration::from_millis(50);

/// What can't be opened, on a host that has no other way to them, has no attributes here.
pub(super) fn no_xattr(e: Errno) -> Errno {
    match e {
        Errno::ENXIO | Errno::ENOSYS | Errno::EACCES => Errno::EOPNOTSUPP,
        e => e,
    }
}

/// Name spaces that may be written to on the host: the user's own, and file capabilities.
fn settable(name: &[u8]) -> Result<()> {
    if name.starts_with(b"user.") || name == b"security.capability" {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

impl Drop for HostInode {
    fn drop(&mut self) {
        self.forget();
        // Up the tree in a loop: a chain of directories may be longer than the stack is deep.
        let mut next = std::mem::replace(self.place.get_mut(), Place::Gone);
        while let Place::At(dir, _) = next {
            let Some(mut dir) = Arc::into_inner(dir) else {
                return;
            };
            next = std::mem::replace(dir.place.get_mut(), Place::Gone);
        }
    }
}

impl HostInode {
    /// Takes itself out of the table, unless another has the same key by now.
    fn forget(&self) {
        let mut inodes = self.shared.inodes.lock();
        if inodes.get(&self.key).is_some_and(|w| w.strong_count() == 0) {
            inodes.remove(&self.key);
        }
    }
}
