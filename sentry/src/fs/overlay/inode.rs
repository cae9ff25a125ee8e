//! Inodes.

use super::dir::Dir;
use super::file::{OverlayDirFile, OverlayFile};
use super::{Key, State};
use crate::fs::host::HostInode;
use crate::fs::tmp::TmpNode;
use crate::vfs::{
    Attr, Env, FileOps, FileType, Inode, InodeExt, InodeRef, NewNode, Path, RenameFlags, SetAttr,
    Target, XattrFlags,
};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// A file of the overlay.
pub struct OverlayInode {
    pub(super) state: Arc<State>,
    me: Weak<OverlayInode>,
    ino: u64,
    kind: FileType,
    ext: InodeExt,
    pub(super) lower: Option<Arc<HostInode>>,
    /// Attributes, once they have changed (always, for a file made here); contents too once `data_up` says so.
    pub(super) upper: OnceLock<Arc<TmpNode>>,
    /// Contents are the upper node's. Written under `copying`, once; Release/Acquire with what it publishes.
    pub(super) data_up: AtomicBool,
    pub(super) copying: Mutex<()>,
    /// Links added, less those removed, to what the lower file has (or, made here, to none).
    pub(super) links: AtomicI64,
    /// Without a link, it may still get one (O_TMPFILE).
    linkable: AtomicBool,
    /// What differs from the lower directory.
    pub(super) dir: Mutex<Dir>,
}

impl OverlayInode {
    fn make(
        state: &Arc<State>,
        ino: u64,
        kind: FileType,
        lower: Option<Arc<HostInode>>,
        upper: Option<Arc<TmpNode>>,
    ) -> Arc<Self> {
        let data_up = upper.is_some();
        let slot = OnceLock::new();
        if let Some(upper) = upper {
            let _ = slot.set(upper);
        }
        Arc::new_cyclic(|me| Self {
            state: Arc::clone(state),
            me: me.clone(),
            ino,
            kind,
            ext: InodeExt::new(),
            lower,
            upper: slot,
            data_up: AtomicBool::new(data_up),
            copying: Mutex::new(()),
            links: AtomicI64::new(0),
            linkable: AtomicBool::new(false),
            dir: Mutex::default(),
        })
    }

    /// For a file of the lower layer.
    pub(super) fn from_lower(state: &Arc<State>, lower: Arc<HostInode>) -> Arc<Self> {
        let inode = Self::make(
            state,
            state.ino(lower.key()),
            lower.file_type(),
            Some(lower),
            None,
        );
        if inode.lower.as_ref().is_some_and(|l| l.ext().privileged()) {
            inode.ext.set_privileged();
        }
        inode
    }

    /// For a file that was made here.
    pub(super) fn from_upper(state: &Arc<State>, upper: Arc<TmpNode>) -> Arc<Self> {
        Self::make(state, upper.number(), upper.file_type(), None, Some(upper))
    }

    pub(super) fn arc(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    /// The inode behind a trait object of this file system.
    pub(super) fn of(inode: &InodeRef) -> Result<&Self> {
        inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
    }

    pub(super) fn key(&self) -> Option<Key> {
        self.lower.as_ref().map(|l| l.key())
    }

    /// The inode number.
    pub(super) fn number(&self) -> u64 {
        self.ino
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Number of links.
    fn nlink(&self, lower: Option<&Attr>) -> u32 {
        let base = match (lower, self.is_dir()) {
            // Where directories don't count, neither do we.
            (Some(lower), true) if lower.nlink < 2 => return 1,
            (Some(lower), _) => i64::from(lower.nlink),
            (None, true) => 2,
            (None, false) => 0,
        };
        u32::try_from(base + self.links.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// A name has come (`by` 1) or gone (−1), or, for a directory, a directory in it.
    pub(super) fn add_links(&self, by: i64) -> Result<()> {
        self.links.fetch_add(by, Ordering::Relaxed);
        if by != 0 && self.lower.is_some() {
            self.state.keep(&self.arc()?);
        }
        Ok(())
    }

    pub(super) fn may_link(&self) -> Result<()> {
        let attr = self.attr()?;
        if attr.nlink == 0 && !self.linkable.load(Ordering::Relaxed) {
            return Err(Errno::ENOENT);
        }
        Ok(())
    }

    /// Contents or entries have changed.
    pub(super) fn touch_modified(&self) -> Result<()> {
        self.attr_up()?.touch_modified();
        Ok(())
    }

    /// Contents are here.
    pub(super) fn has_data(&self) -> bool {
        self.data_up.load(Ordering::Acquire)
    }
}

impl Inode for OverlayInode {
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
        let lower = match &self.lower {
            Some(lower) => Some(lower.attr()?),
            None => None,
        };
        let mut attr = match (self.upper.get(), &lower) {
            (Some(upper), lower) => {
                let mut attr = upper.attr()?;
                if let Some(lower) = lower.as_ref().filter(|_| !self.has_data()) {
                    (attr.size, attr.blocks) = (lower.size, lower.blocks);
                }
                if let Some(lower) = lower {
                    attr.rdev = lower.rdev;
                    attr.btime = lower.btime;
                }
                attr
            }
            (None, Some(lower)) => *lower,
            (None, None) => return Err(Errno::ESTALE),
        };
        attr.dev = self.state.dev;
        attr.ino = self.ino;
        attr.nlink = self.nlink(lower.as_ref());
        Ok(attr)
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        let upper = match change.size {
            Some(size) => self.data_up_to(size)?,
            None => self.attr_up()?,
        };
        upper.set_attr(change)
    }

    fn touch_atime(&self, relatime: bool) {
        // Reading the lower layer changes nothing here.
        if let Some(upper) = self.upper.get() {
            upper.touch_atime(relatime);
        }
    }

    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        Ok(self.find(name)?)
    }

    fn revalidate(
        &self,
        env: &Env<'_>,
        name: &[u8],
        child: Option<&InodeRef>,
        checked: &AtomicU64,
    ) -> bool {
        let Some(lower) = &self.lower else {
            return true;
        };
        if lower.entry_holds(checked) || self.dir.lock().knows(name) {
            return true;
        }
        match child.map(Self::of) {
            None => lower.revalidate(env, name, None, checked),
            Some(Ok(child)) => match &child.lower {
                Some(below) => {
                    let below: InodeRef = Arc::clone(below) as InodeRef;
                    lower.revalidate(env, name, Some(&below), checked)
                }
                None => false,
            },
            Some(Err(_)) => false,
        }
    }

    fn create(&self, name: &[u8], node: &NewNode) -> Result<InodeRef> {
        let upper = TmpNode::new(&self.state.upper, node)?;
        self.enter_new(name, upper)
    }

    fn symlink(&self, name: &[u8], target: &[u8], node: &NewNode) -> Result<InodeRef> {
        let upper = TmpNode::new_symlink(&self.state.upper, target, node)?;
        self.enter_new(name, upper)
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        self.make_link(name, &Self::of(target)?.arc()?)
    }

    fn unlink(&self, name: &[u8], victim: &InodeRef) -> Result<()> {
        self.leave(name, &Self::of(victim)?.arc()?)
    }

    fn rmdir(&self, name: &[u8], victim: &InodeRef) -> Result<()> {
        self.leave(name, &Self::of(victim)?.arc()?)
    }

    fn rename(
        &self,
        name: &[u8],
        moved: &InodeRef,
        to: &Target<'_>,
        flags: RenameFlags,
    ) -> Result<()> {
        self.rename_to(name, &Self::of(moved)?.arc()?, to, flags)
    }

    fn tmpfile(&self, node: &NewNode, linkable: bool) -> Result<InodeRef> {
        let upper = TmpNode::new(&self.state.upper, node)?;
        let inode = Self::from_upper(&self.state, upper);
        inode.linkable.store(linkable, Ordering::Relaxed);
        Ok(inode)
    }

    fn readlink(&self, env: &Env<'_>) -> Result<Vec<u8>> {
        match (&self.lower, self.upper.get()) {
            (Some(lower), _) => lower.readlink(env),
            (None, Some(upper)) => upper.readlink(env),
            (None, None) => Err(Errno::EINVAL),
        }
    }

    fn open(&self, _env: &Env<'_>, _path: &Path, flags: u32) -> Result<Box<dyn FileOps>> {
        match self.kind {
            FileType::Regular => Ok(Box::new(OverlayFile::open(self.arc()?, flags)?)),
            FileType::Directory => Ok(Box::new(OverlayDirFile::new(self.arc()?))),
            _ => Err(Errno::ENXIO),
        }
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        match (self.upper.get(), &self.lower) {
            (Some(upper), _) => upper.get_xattr(name),
            (None, Some(lower)) => lower.get_xattr(name),
            (None, None) => Err(Errno::EOPNOTSUPP),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        self.attr_up()?.set_xattr(name, value, flags)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        if self.upper.get().is_none() {
            // Don't copy a file up to learn that there is nothing to remove.
            self.get_xattr(name)?;
        }
        self.attr_up()?.remove_xattr(name)
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        match (self.upper.get(), &self.lower) {
            (Some(upper), _) => upper.list_xattr(),
            (None, Some(lower)) => lower.list_xattr(),
            (None, None) => Err(Errno::EOPNOTSUPP),
        }
    }
}

impl Drop for OverlayInode {
    fn drop(&mut self) {
        if let Some(key) = self.key() {
            let mut inodes = self.state.inodes.lock();
            if inodes.get(&key).is_some_and(|w| w.strong_count() == 0) {
                inodes.remove(&key);
            }
        }
        // Down the tree in a loop: it may be deeper than the stack.
        let mut doomed = self.dir.get_mut().take_all();
        while let Some(inode) = doomed.pop() {
            if let Some(mut inode) = Arc::into_inner(inode) {
                doomed.extend(inode.dir.get_mut().take_all());
            }
        }
    }
}
