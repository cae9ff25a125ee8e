//! Inodes.

use super::data::Data;
use super::dir::Dir;
use super::file::{TmpDirFile, TmpFile};
use super::{PAGE, Shared};
use crate::vfs::change::atime_due;
use crate::vfs::{
    Attr, Dev, Env, FileOps, FileType, Inode, InodeExt, InodeRef, NewNode, Path, RenameFlags,
    SetAttr, Target, Timestamp, XattrFlags,
};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Bytes of names and values of one inode's extended attributes, in all.
const XATTR_SPACE: usize = 128 << 10;

/// An inode in memory.
pub struct TmpNode {
    pub(crate) shared: Arc<Shared>,
    pub(super) ino: u64,
    kind: FileType,
    rdev: Dev,
    me: Weak<TmpNode>,
    ext: InodeExt,
    pub(super) meta: Mutex<Meta>,
    pub(super) body: Body,
}

/// What changes of an inode.
pub(super) struct Meta {
    pub perm: u32,
    pub nlink: u32,
    /// Without a link, it may still get one (O_TMPFILE).
    pub linkable: bool,
    pub uid: u32,
    pub gid: u32,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub(super) enum Body {
    File(Data),
    Dir(Mutex<Dir>),
    Symlink(Box<[u8]>),
    Special,
}

impl TmpNode {
    /// A node that is in no directory: no link yet, two for a directory.
    pub fn new(shared: &Arc<Shared>, node: &NewNode) -> Result<Arc<Self>> {
        let kind = FileType::from_mode(node.mode);
        let body = match kind {
            FileType::Regular => Body::File(Data::default()),
            FileType::Directory => Body::Dir(Mutex::default()),
            FileType::Symlink | FileType::Anonymous => return Err(Errno::EINVAL),
            _ => Body::Special,
        };
        Self::with_body(shared, node, body)
    }

    /// A symbolic link.
    pub fn new_symlink(shared: &Arc<Shared>, target: &[u8], node: &NewNode) -> Result<Arc<Self>> {
        Self::with_body(shared, node, Body::Symlink(target.into()))
    }

    /// A node with this body, whose type `node.mode` says.
    pub(super) fn with_body(shared: &Arc<Shared>, node: &NewNode, body: Body) -> Result<Arc<Self>> {
        let ino = shared.charge_inode()?;
        let now = Timestamp::now();
        let meta = Meta {
            perm: node.mode & 0o7777,
            nlink: u32::from(matches!(body, Body::Dir(_))),
            linkable: false,
            uid: node.uid,
            gid: node.gid,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattrs: BTreeMap::new(),
        };
        Ok(Arc::new_cyclic(|me| Self {
            shared: Arc::clone(shared),
            ino,
            kind: FileType::from_mode(node.mode),
            rdev: node.rdev,
            me: me.clone(),
            ext: InodeExt::new(),
            meta: Mutex::new(meta),
            body,
        }))
    }

    /// The root directory is its own parent: two links.
    pub(super) fn become_root(&self) {
        self.meta.lock().nlink = 2;
    }

    /// Itself, counted.
    pub(crate) fn arc(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    /// A node of this file system (or of another tmpfs: the caller has compared superblocks).
    pub(super) fn of(inode: &InodeRef) -> Result<Arc<Self>> {
        Self::cast(inode).ok_or(Errno::EXDEV)?.arc()
    }

    /// The node behind an inode, if it is one.
    pub fn cast(inode: &InodeRef) -> Option<&Self> {
        inode.as_any().downcast_ref()
    }

    /// A regular file's contents.
    pub(crate) fn data(&self) -> Result<&Data> {
        match &self.body {
            Body::File(data) => Ok(data),
            Body::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn dir(&self) -> Result<&Mutex<Dir>> {
        match &self.body {
            Body::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Contents or entries have changed.
    pub(crate) fn touch_modified(&self) {
        let now = Timestamp::now();
        let mut meta = self.meta.lock();
        meta.mtime = now;
        meta.ctime = now;
    }

    /// Changes the count of links.
    pub(super) fn add_links(&self, by: i32) {
        let mut meta = self.meta.lock();
        meta.nlink = meta.nlink.saturating_add_signed(by);
        meta.ctime = Timestamp::now();
    }

    /// The inode number.
    pub(crate) fn number(&self) -> u64 {
        self.ino
    }

    /// The inode itself has changed: its links.
    pub(crate) fn touch_changed(&self) {
        self.meta.lock().ctime = Timestamp::now();
    }

    /// Sets attributes as they are, times included: copy-up of an overlay.
    pub(crate) fn copy_attr(&self, attr: &Attr) {
        let mut meta = self.meta.lock();
        meta.perm = attr.perm();
        meta.uid = attr.uid;
        meta.gid = attr.gid;
        meta.atime = attr.atime;
        meta.mtime = attr.mtime;
        meta.ctime = attr.ctime;
    }
}

impl Inode for TmpNode {
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
        let (size, pages) = match &self.body {
            Body::File(data) => data.size_and_pages(),
            Body::Dir(dir) => (dir.lock().shown_size(), 0),
            Body::Symlink(text) => (text.len() as u64, 0),
            Body::Special => (0, 0),
        };
        let meta = self.meta.lock();
        Ok(Attr {
            dev: self.shared.dev,
            ino: self.ino,
            mode: self.kind.mode() | meta.perm,
            nlink: meta.nlink,
            uid: meta.uid,
            gid: meta.gid,
            rdev: self.rdev,
            size,
            blksize: PAGE as u32,
            blocks: pages * (PAGE / 512),
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: Some(meta.btime),
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        if let Some(size) = change.size {
            self.data()?.truncate(&self.shared, size)?;
        }
        let now = Timestamp::now();
        let mut meta = self.meta.lock();
        meta.ctime = now;
        if change.size.is_some() {
            meta.mtime = now;
        }
        if let Some(perm) = change.perm {
            meta.perm = perm & 0o7777;
        }
        meta.uid = change.uid.unwrap_or(meta.uid);
        meta.gid = change.gid.unwrap_or(meta.gid);
        meta.atime = change.atime.unwrap_or(meta.atime);
        meta.mtime = change.mtime.unwrap_or(meta.mtime);
        Ok(())
    }

    fn touch_atime(&self, relatime: bool) {
        let now = Timestamp::now();
        let Ok(attr) = self.attr() else { return };
        if atime_due(&attr, now, relatime) {
            self.meta.lock().atime = now;
        }
    }

    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        let found = self.dir()?.lock().get(name).cloned();
        found.map(|n| n as InodeRef).ok_or(Errno::ENOENT)
    }

    fn create(&self, name: &[u8], node: &NewNode) -> Result<InodeRef> {
        let new = Self::new(&self.shared, node)?;
        self.enter(name, &new)?;
        Ok(new)
    }

    fn symlink(&self, name: &[u8], target: &[u8], node: &NewNode) -> Result<InodeRef> {
        let new = Self::new_symlink(&self.shared, target, node)?;
        self.enter(name, &new)?;
        Ok(new)
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        self.enter_link(name, &Self::of(target)?)
    }

    fn unlink(&self, name: &[u8], victim: &InodeRef) -> Result<()> {
        self.leave(name, &Self::of(victim)?)
    }

    fn rmdir(&self, name: &[u8], victim: &InodeRef) -> Result<()> {
        self.leave(name, &Self::of(victim)?)
    }

    fn rename(
        &self,
        name: &[u8],
        moved: &InodeRef,
        to: &Target<'_>,
        flags: RenameFlags,
    ) -> Result<()> {
        self.rename_to(name, &Self::of(moved)?, to, flags)
    }

    fn tmpfile(&self, node: &NewNode, linkable: bool) -> Result<InodeRef> {
        let new = Self::new(&self.shared, node)?;
        new.meta.lock().linkable = linkable;
        Ok(new)
    }

    fn readlink(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        match &self.body {
            Body::Symlink(text) => Ok(text.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(&self, _env: &Env<'_>, _path: &Path, _flags: u32) -> Result<Box<dyn FileOps>> {
        Ok(match &self.body {
            Body::File(_) => Box::new(TmpFile::new(self.arc()?)),
            Body::Dir(_) => Box::new(TmpDirFile::new(self.arc()?)),
            _ => return Err(Errno::ENXIO),
        })
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        supported(name)?;
        self.meta
            .lock()
            .xattrs
            .get(name)
            .cloned()
            .ok_or(Errno::ENODATA)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        supported(name)?;
        let mut meta = self.meta.lock();
        let there = meta.xattrs.contains_key(name);
        if flags.contains(XattrFlags::CREATE) && there {
            return Err(Errno::EEXIST);
        }
        if flags.contains(XattrFlags::REPLACE) && !there {
            return Err(Errno::ENODATA);
        }
        let others = meta.xattrs.iter().filter(|(k, _)| &k[..] != name);
        let used: usize = others.map(|(k, v)| k.len() + v.len()).sum();
        if used + name.len() + value.len() > XATTR_SPACE {
            return Err(Errno::ENOSPC);
        }
        meta.xattrs.insert(name.to_vec(), value.to_vec());
        meta.ctime = Timestamp::now();
        Ok(())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        supported(name)?;
        let mut meta = self.meta.lock();
        meta.xattrs.remove(name).ok_or(Errno::ENODATA)?;
        meta.ctime = Timestamp::now();
        Ok(())
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.meta.lock().xattrs.keys().cloned().collect())
    }
}

/// The name spaces that tmpfs keeps; system.posix_acl_* are not among them.
fn supported(name: &[u8]) -> Result<()> {
    let kept: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    if kept.iter().any(|p| name.starts_with(p)) {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

impl Drop for TmpNode {
    fn drop(&mut self) {
        if let Body::File(data) = &mut self.body {
            data.release(&self.shared);
        }
        self.shared.uncharge_inode();
        // Down the tree in a loop: it may be deeper than the stack.
        let Body::Dir(dir) = &mut self.body else {
            return;
        };
        let mut doomed = dir.get_mut().take_all();
        while let Some(node) = doomed.pop() {
            if let Some(mut node) = Arc::into_inner(node)
                && let Body::Dir(dir) = &mut node.body
            {
                doomed.extend(dir.get_mut().take_all());
            }
        }
    }
}
