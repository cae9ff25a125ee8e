//! Inodes: how they are reached, and what is remembered of them.

use super::dir::HostDirFile;
use super::file::HostFile;
use super::{FRESH_MS, Key, Shared, Sharing};
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

/// A file or directory of the host.
pub struct HostInode {
    shared: Arc<Shared>,
    me: Weak<HostInode>,
    key: Key,
    kind: FileType,
    ext: InodeExt,
    place: Mutex<Place>,
    handles: Mutex<Handles>,
    /// It is in `Shared::holders`; and it was used since the last look.
    holds: AtomicBool,
    used: AtomicBool,
    cached: Mutex<Cached>,
    /// The text of a symbolic link.
    link: Mutex<Option<Arc<[u8]>>>,
    /// Held over a write at the end of the file.
    pub(super) append: Mutex<()>,
}

/// Where an inode was last seen.
enum Place {
    /// It is the tree's root.
    Root,
    At(Arc<HostInode>, Arc<[u8]>),
    /// Its name is gone.
    Gone,
}

/// Descriptors that are kept, and those that open files have.
#[derive(Default)]
struct Handles {
    /// O_PATH.
    path: Option<Arc<OwnedFd>>,
    read: Option<Arc<OwnedFd>>,
    /// For writing and reading, of a file that was just made or has no name.
    write: Option<Arc<OwnedFd>>,
    open_read: Weak<OwnedFd>,
    open_write: Weak<OwnedFd>,
    /// The host has refused to open it for reading too.
    write_only: bool,
}

struct Cached {
    attr: Attr,
    /// When it was true, on the coarse clock; 0: it isn't.
    at: u64,
    /// The same of mode, owner and group, which outlast changes of contents.
    perm_at: u64,
    /// It was fetched for the present use of a shared tree, and counts once.
    once: bool,
}

/// Attributes from what the host says.
fn to_attr(st: &libc::statx) -> Attr {
    let time = |t: &libc::statx_timestamp| Timestamp {
        sec: t.tv_sec,
        nsec: t.tv_nsec,
    };
    Attr {
        dev: super::dev(st.stx_dev_major, st.stx_dev_minor),
        ino: st.stx_ino,
        mode: u32::from(st.stx_mode),
        nlink: st.stx_nlink,
        uid: st.stx_uid,
        gid: st.stx_gid,
        rdev: Dev::new(st.stx_rdev_major, st.stx_rdev_minor),
        size: st.stx_size,
        blksize: st.stx_blksize,
        blocks: st.stx_blocks,
        atime: time(&st.stx_atime),
        mtime: time(&st.stx_mtime),
        ctime: time(&st.stx_ctime),
        btime: (st.stx_mask & libc::STATX_BTIME != 0).then(|| time(&st.stx_btime)),
    }
}

fn key_of(st: &libc::statx) -> Key {
    (
        libc::makedev(st.stx_dev_major, st.stx_dev_minor),
        st.stx_ino,
    )
}

impl HostInode {
    fn new(shared: &Arc<Shared>, st: &libc::statx, place: Place) -> Arc<Self> {
        let attr = to_attr(st);
        let now = host::coarse_ms();
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
            cached: Mutex::new(Cached {
                attr,
                at: now,
                perm_at: now,
                once: true,
            }),
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
            known.learn(st, true);
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
    fn seen_at(&self, dir: Arc<Self>, name: &[u8]) {
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
    fn is_lost(&self) -> bool {
        matches!(*self.place.lock(), Place::Gone)
    }

    fn is_above(&self, other: &Arc<Self>) -> bool {
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

    fn set_place(&self, new: Place) {
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

    // ---- descriptors ----

    pub(super) fn used_lately(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Gives up the descriptors that are only kept. A nameless file's is the only way to it.
    pub(super) fn release_handles(&self) {
        self.holds.store(false, Ordering::Release);
        if !matches!(*self.place.lock(), Place::At(..)) {
            return;
        }
        let mut handles = self.handles.lock();
        let gone = (
            handles.path.take(),
            handles.read.take(),
            handles.write.take(),
        );
        drop(handles);
        drop(gone);
    }

    /// Any descriptor that there is already.
    fn some_fd(&self) -> Option<Arc<OwnedFd>> {
        self.used.store(true, Ordering::Relaxed);
        let handles = self.handles.lock();
        let kept = handles.path.clone().or_else(|| handles.read.clone());
        kept.or_else(|| handles.write.clone())
            .or_else(|| handles.open_read.upgrade())
            .or_else(|| handles.open_write.upgrade())
    }

    /// Some descriptor, O_PATH if none other is there: for calls that only need a place.
    pub(super) fn fd(&self) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = self.some_fd() {
            return Ok(fd);
        }
        // Up to the first directory that has a descriptor, and down again: without recursion, for trees may be deep.
        let mut chain = vec![self.arc()?];
        let mut dir = loop {
            let Some(last) = chain.last() else {
                return Err(Errno::ESTALE);
            };
            // What was removed through us is gone; ESTALE is for what others have moved.
            let (parent, _) = last.at().ok_or(Errno::ENOENT)?;
            if let Some(fd) = parent.some_fd() {
                break fd;
            }
            chain.push(parent);
        };
        while let Some(inode) = chain.pop() {
            let (_, name) = inode.at().ok_or(Errno::ESTALE)?;
            dir = inode.keep_path(self.shared.openat(&dir, &name, libc::O_PATH)?)?;
        }
        Ok(dir)
    }

    /// Keeps an O_PATH descriptor, if it is of this very file.
    fn keep_path(&self, fd: OwnedFd) -> Result<Arc<OwnedFd>> {
        self.verify(&fd)?;
        let fd = Arc::new(fd);
        if self.shared.sharing == Sharing::Exclusive || self.kind == FileType::Directory {
            self.handles.lock().path = Some(Arc::clone(&fd));
            self.shared.hold(self, &self.holds);
        }
        Ok(fd)
    }

    /// ESTALE unless `fd` is of this file.
    fn verify(&self, fd: &OwnedFd) -> Result<()> {
        let st = host::statx(fd.as_fd(), b"")?;
        if key_of(&st) != self.key || FileType::from_mode(u32::from(st.stx_mode)) != self.kind {
            return Err(Errno::ESTALE);
        }
        self.learn(&st, false);
        Ok(())
    }

    /// A fresh open with `flags` of a regular file or directory.
    pub(super) fn open_fresh(&self, flags: i32) -> Result<OwnedFd> {
        if !matches!(self.kind, FileType::Regular | FileType::Directory) {
            return Err(Errno::ENXIO);
        }
        if self.kind == FileType::Directory {
            // Nothing that the host does to names leads elsewhere. It takes the right to search, though.
            let own = self.fd()?;
            match self.shared.openat(&own, b".", flags) {
                Err(Errno::EACCES) => return host::reopen(own.as_fd(), flags),
                other => return other,
            }
        }
        if self.shared.sharing == Sharing::Exclusive
            && let Some((dir, name)) = self.at()
        {
            // Beside an open descriptor of the file itself, one call instead of two.
            if let Some(own) = self.some_fd()
                && let Ok(fd) = host::reopen(own.as_fd(), flags)
            {
                return Ok(fd);
            }
            match self.shared.openat(&*dir.fd()?, &name, flags) {
                Ok(fd) => match self.verify(&fd) {
                    Ok(()) => return Ok(fd),
                    Err(Errno::ESTALE) => {}
                    Err(e) => return Err(e),
                },
                Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => {}
                Err(e) => return Err(e),
            }
        }
        // By a descriptor of the very file: nobody can have put a device in its place.
        let path = self.fd()?;
        match host::reopen(path.as_fd(), flags) {
            Err(Errno::ENXIO) => {}
            other => return other,
        }
        let Some((dir, name)) = self.at() else {
            // A mounted file has no directory here.
            let root = matches!(*self.place.lock(), Place::Root);
            return Err(if root { Errno::ENXIO } else { Errno::ESTALE });
        };
        let fd = self.shared.openat(&*dir.fd()?, &name, flags)?;
        self.verify(&fd)?;
        Ok(fd)
    }

    /// A descriptor to read from.
    pub(crate) fn read_fd(&self) -> Result<Arc<OwnedFd>> {
        self.used.store(true, Ordering::Relaxed);
        {
            let mut handles = self.handles.lock();
            if let Some(fd) = handles.read.clone().or_else(|| handles.open_read.upgrade()) {
                if self.shared.sharing == Sharing::Exclusive {
                    handles.read.get_or_insert_with(|| Arc::clone(&fd));
                }
                return Ok(fd);
            }
        }
        let fd = Arc::new(self.open_fresh(libc::O_RDONLY)?);
        let mut handles = self.handles.lock();
        handles.open_read = Arc::downgrade(&fd);
        // Where others come and go, what they remove shall not be held.
        if self.shared.sharing == Sharing::Shared {
            return Ok(fd);
        }
        handles.read = Some(Arc::clone(&fd));
        drop(handles);
        self.shared.hold(self, &self.holds);
        Ok(fd)
    }

    /// A descriptor to write to; with `read`, also to read from. Not kept beyond those who use it: a host program that is open for
    /// writing can't be executed there.
    pub(super) fn write_fd(&self, read: bool) -> Result<Arc<OwnedFd>> {
        self.may_write()?;
        self.used.store(true, Ordering::Relaxed);
        let nameless = matches!(*self.place.lock(), Place::Gone);
        {
            let mut handles = self.handles.lock();
            let kept = if nameless {
                handles.write.clone()
            } else {
                handles.write.take()
            };
            let fd = kept.or_else(|| handles.open_write.upgrade());
            if let Some(fd) = fd.filter(|_| !(read && handles.write_only)) {
                return Ok(fd);
            }
        }
        let (fd, write_only) = match self.open_fresh(libc::O_RDWR) {
            Err(Errno::EACCES) if !read => (self.open_fresh(libc::O_WRONLY)?, true),
            other => (other?, false),
        };
        let fd = Arc::new(fd);
        let mut handles = self.handles.lock();
        handles.open_write = Arc::downgrade(&fd);
        handles.write_only = write_only;
        drop(handles);
        Ok(fd)
    }

    /// A descriptor to change extended attributes by: any that is open.
    fn xattr_fd(&self) -> Result<Arc<OwnedFd>> {
        match self.read_fd() {
            Err(Errno::EACCES) => self.write_fd(false),
            other => other.map_err(no_xattr),
        }
    }

    /// Keeps the descriptor by which the file was made for the one who is about to open it.
    pub(super) fn keep_write(&self, fd: OwnedFd) {
        let fd = Arc::new(fd);
        let mut handles = self.handles.lock();
        handles.open_write = Arc::downgrade(&fd);
        handles.write_only = false;
        handles.write = Some(fd);
        drop(handles);
        self.shared.hold(self, &self.holds);
    }

    /// EROFS in a tree that is not to be written to.
    pub(super) fn may_write(&self) -> Result<()> {
        if self.shared.writable {
            Ok(())
        } else {
            Err(Errno::EROFS)
        }
    }

    // ---- attributes ----

    /// What is known is no longer so: contents or entries have changed.
    pub(super) fn stale(&self) {
        self.cached.lock().at = 0;
    }

    /// Nothing that is known is so any longer.
    fn all_stale(&self) {
        let mut cached = self.cached.lock();
        (cached.at, cached.perm_at) = (0, 0);
    }

    /// What the host says now. `once`: for the use of a shared tree that is under way.
    fn learn(&self, st: &libc::statx, once: bool) {
        let attr = to_attr(st);
        let mut cached = self.cached.lock();
        let changed = cached.attr.ctime != attr.ctime;
        let now = host::coarse_ms();
        *cached = Cached {
            attr,
            at: now,
            perm_at: now,
            once,
        };
        drop(cached);
        if changed {
            if self.kind == FileType::Symlink {
                *self.link.lock() = None;
            }
            self.note_privileges(&attr);
        }
    }

    fn note_privileges(&self, attr: &Attr) {
        // File capabilities can't be seen here: files that may be executed are looked at before they are written to.
        if self.kind == FileType::Regular && attr.mode & 0o6111 != 0 {
            self.ext.set_privileged();
        }
    }

    /// What is remembered, if it still counts.
    fn remembered(&self) -> Option<Attr> {
        let mut cached = self.cached.lock();
        if cached.at == 0 {
            return None;
        }
        let age = host::coarse_ms().saturating_sub(cached.at);
        let counts = match self.shared.sharing {
            Sharing::Exclusive => age < FRESH_MS,
            Sharing::Shared => std::mem::take(&mut cached.once) && age < 10,
        };
        counts.then_some(cached.attr)
    }

    fn fetch(&self) -> Result<Attr> {
        let st = match self.some_fd() {
            Some(fd) => host::statx(fd.as_fd(), b"")?,
            None => {
                let Some((dir, name)) = self.at() else {
                    // Gone, and nobody has it open: what it was when it was last seen.
                    return Ok(self.cached.lock().attr);
                };
                let st = host::statx(dir.fd()?.as_fd(), &name)?;
                if key_of(&st) != self.key {
                    return Ok(self.cached.lock().attr);
                }
                st
            }
        };
        self.learn(&st, false);
        Ok(to_attr(&st))
    }

    /// Owner, mode and times.
    fn change_host(&self, change: &SetAttr) -> Result<()> {
        let fd = self.fd()?;
        if change.uid.is_some() || change.gid.is_some() {
            let id = |n: Option<u32>| n.unwrap_or(u32::MAX);
            host::chown(fd.as_fd(), id(change.uid), id(change.gid))?;
        }
        if let Some(perm) = change.perm {
            host::chmod(fd.as_fd(), perm)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let time = |t: Option<Timestamp>, now| match t {
                Some(_) if now => host::SetTime::Now,
                Some(t) => host::SetTime::At(t.sec, t.nsec),
                None => host::SetTime::Omit,
            };
            let atime = time(change.atime, change.atime_now);
            let mtime = time(change.mtime, change.mtime_now);
            host::utimes(fd.as_fd(), atime, mtime)?;
        }
        Ok(())
    }

    /// Whether what was found at `checked` (on the coarse clock) need not be looked up again.
    pub(crate) fn entry_holds(&self, checked: &AtomicU64) -> bool {
        let at = checked.load(Ordering::Relaxed);
        self.shared.sharing == Sharing::Exclusive
            && at != 0
            && host::coarse_ms().saturating_sub(at) < FRESH_MS
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
        // A part may have been done.
        self.all_stale();
        done
    }

    fn touch_atime(&self, relatime: bool) {
        // The host has moved it, if it was due.
        let mut cached = self.cached.lock();
        if cached.at != 0 && atime_due(&cached.attr, cached.attr.atime, relatime) {
            cached.at = 0;
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
                    child.learn(&st, true);
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

/// What can't be opened, on a host that has no other way to them, has no attributes here.
fn no_xattr(e: Errno) -> Errno {
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
