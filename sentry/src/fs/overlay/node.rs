//! Inodes, and copying one up.

use super::Shared;
use super::dir::{Names, OpenMerged};
use crate::fs::tmp::TmpNode;
use crate::fs::tmp::file::TmpFile;
use crate::user::{SliceSource, VecSink};
use crate::vfs::inode::{Inode, InodeExt, InodeRef, NewNode, RenameFlags, Target, XattrFlags};
use crate::vfs::walk::Env;
use crate::vfs::{Attr, File, FileOps, FileType, Path, SetAttr};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Bytes copied up at a time.
const CHUNK: usize = 1 << 20;

/// An inode of an overlay.
pub(super) struct OverlayNode {
    pub(super) shared: Arc<Shared>,
    me: Weak<OverlayNode>,
    kind: FileType,
    ino: u64,
    pub(super) lower: Option<InodeRef>,
    upper: Mutex<Option<Arc<TmpNode>>>,
    /// Of a directory: where its names differ from the lower one's.
    pub(super) names: Mutex<Names>,
    /// Keeps the way up alive.
    parent: Mutex<Option<Arc<OverlayNode>>>,
    /// A lower file whose name is gone: shown without links to those who have it open.
    gone: AtomicBool,
    ext: InodeExt,
}

/// Set in the numbers of inodes that the lower layer doesn't have.
const UPPER_INO: u64 = 1 << 60;

impl OverlayNode {
    /// A node that shows a lower one.
    pub(super) fn mirror(
        shared: &Arc<Shared>,
        lower: &InodeRef,
        parent: Option<Arc<Self>>,
    ) -> Result<Arc<Self>> {
        let attr = lower.attr()?;
        let other = attr.dev.encode() ^ shared.lower_dev.encode();
        let ino = attr.ino ^ (other << 44 & (UPPER_INO - 1));
        Ok(Self::make(
            shared,
            lower.file_type(),
            ino,
            Some(Arc::clone(lower)),
            None,
            parent,
        ))
    }

    /// A node that the lower layer doesn't have.
    fn fresh(
        shared: &Arc<Shared>,
        upper: Arc<TmpNode>,
        parent: Option<Arc<Self>>,
    ) -> Result<Arc<Self>> {
        let ino = upper.attr()?.ino | UPPER_INO;
        Ok(Self::make(
            shared,
            upper.file_type(),
            ino,
            None,
            Some(upper),
            parent,
        ))
    }

    fn make(
        shared: &Arc<Shared>,
        kind: FileType,
        ino: u64,
        lower: Option<InodeRef>,
        upper: Option<Arc<TmpNode>>,
        parent: Option<Arc<Self>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            shared: Arc::clone(shared),
            me: me.clone(),
            kind,
            ino,
            lower,
            upper: Mutex::new(upper),
            names: Mutex::default(),
            parent: Mutex::new(parent),
            gone: AtomicBool::new(false),
            ext: InodeExt::new(),
        })
    }

    /// The node behind an inode of this file system.
    pub(super) fn of(inode: &InodeRef) -> Result<Arc<Self>> {
        let node: &Self = inode.as_any().downcast_ref().ok_or(Errno::EXDEV)?;
        node.arc()
    }

    pub(super) fn arc(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    pub(super) fn ino(&self) -> u64 {
        self.ino
    }

    pub(super) fn set_parent(&self, parent: &Arc<Self>) {
        let old = self.parent.lock().replace(Arc::clone(parent));
        drop(old);
    }

    /// What stands for the node now.
    fn active(&self) -> Result<InodeRef> {
        if let Some(upper) = &*self.upper.lock() {
            return Ok(Arc::clone(upper) as InodeRef);
        }
        self.lower.clone().ok_or(Errno::ESTALE)
    }

    pub(super) fn upper(&self) -> Option<Arc<TmpNode>> {
        self.upper.lock().clone()
    }

    /// Gives the node an upper of its own with the lower one's contents, up to `limit` bytes.
    pub(super) fn copy_up(&self, limit: u64) -> Result<Arc<TmpNode>> {
        let mut slot = self.upper.lock();
        if let Some(upper) = &*slot {
            return Ok(Arc::clone(upper));
        }
        let lower = self.lower.as_ref().ok_or(Errno::ESTALE)?;
        let attr = lower.attr()?;
        let node = NewNode {
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
        };
        let upper = if self.kind == FileType::Symlink {
            TmpNode::new_symlink(&self.shared.upper, &lower.readlink(&kernel_env())?, &node)?
        } else {
            TmpNode::new(&self.shared.upper, &node)?
        };
        if self.kind == FileType::Regular {
            copy_data(lower, &upper, limit.min(attr.size))?;
        }
        upper.add_links(1);
        for name in lower.list_xattr().unwrap_or_default() {
            if let Ok(value) = lower.get_xattr(&name) {
                let _ = upper.set_xattr(&name, &value, XattrFlags::empty());
            }
        }
        upper.copy_attr(&attr);
        *slot = Some(Arc::clone(&upper));
        drop(slot);
        self.shared.pin(&self.arc()?);
        Ok(upper)
    }

    /// A name of it has gone.
    pub(super) fn unlinked(&self) {
        if let Some(upper) = self.upper() {
            upper.add_links(-1);
            if upper.nlink() > 0 && self.kind != FileType::Directory {
                return;
            }
        } else {
            self.gone.store(true, Ordering::Relaxed);
        }
        self.shared.unpin(self);
    }

    /// Whether it has lost its last name.
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || self.upper().is_some_and(|u| u.nlink() == 0)
    }

    pub(super) fn enter_new(&self, name: &[u8], upper: Arc<TmpNode>) -> Result<InodeRef> {
        let here = self.arc()?;
        let node = Self::fresh(&self.shared, upper, Some(Arc::clone(&here)))?;
        self.names.lock().enter(name, Arc::clone(&node))?;
        if let Some(upper) = node.upper() {
            upper.add_links(1);
        }
        self.shared.pin(&here);
        self.touch_modified()?;
        Ok(node)
    }

    /// Its entries have changed: so do its times.
    pub(super) fn touch_modified(&self) -> Result<()> {
        self.copy_up(0)?.touch_modified();
        Ok(())
    }
}

/// An environment for what the overlay itself asks of the lower layer.
fn kernel_env() -> Env<'static> {
    let root = crate::vfs::anon::mount().root_path();
    Env {
        creds: Arc::new(crate::task::Creds::root()),
        root: root.clone(),
        cwd: root,
        umask: 0,
        cx: None,
    }
}

/// Opens a lower inode for reading. The place is not the lower one's, which has none here.
pub(super) fn open_lower(lower: &InodeRef) -> Result<Arc<File>> {
    let env = kernel_env();
    let flags = if lower.file_type() == FileType::Directory {
        libc::O_DIRECTORY
    } else {
        0
    };
    let path = env.root.clone();
    let ops = lower.open(&env, &path, flags.cast_unsigned())?;
    Ok(File::new(ops, flags.cast_unsigned()))
}

fn copy_data(lower: &InodeRef, upper: &Arc<TmpNode>, len: u64) -> Result<()> {
    let from = open_lower(lower)?;
    let to = File::new(
        Box::new(TmpFile::new(Arc::clone(upper))),
        libc::O_WRONLY as u32,
    );
    let mut at = 0;
    while at < len {
        let want = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
        let mut sink = VecSink::new(want);
        if from.ops.read(&from, at, &mut sink)? == 0 {
            break;
        }
        let mut source = SliceSource(&sink.data);
        while !source.0.is_empty() {
            let n = to.ops.write(&to, at, &mut source)?;
            at += n as u64;
        }
    }
    Ok(())
}

impl Inode for OverlayNode {
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
        let mut attr = self.active()?.attr()?;
        attr.dev = self.shared.dev;
        attr.ino = self.ino;
        if self.kind == FileType::Directory {
            // As merged directories of Linux's overlay: no count of subdirectories.
            attr.nlink = u32::from(!self.names.lock().is_dead());
        } else if self.gone.load(Ordering::Relaxed) {
            attr.nlink = 0;
        }
        Ok(attr)
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        let upper = self.copy_up(change.size.unwrap_or(u64::MAX))?;
        upper.set_attr(change)
    }

    fn touch_atime(&self, relatime: bool) {
        // A read of the lower layer doesn't copy up.
        if let Some(upper) = self.upper() {
            upper.touch_atime(relatime);
        }
    }

    fn lookup(&self, env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        self.find(env, name).map(|n| n as InodeRef)
    }

    fn create(&self, name: &[u8], node: &NewNode) -> Result<InodeRef> {
        self.enter_new(name, TmpNode::new(&self.shared.upper, node)?)
    }

    fn symlink(&self, name: &[u8], target: &[u8], node: &NewNode) -> Result<InodeRef> {
        self.enter_new(
            name,
            TmpNode::new_symlink(&self.shared.upper, target, node)?,
        )
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        let node = Self::of(target)?;
        if node.is_gone() && !node.upper().is_some_and(|u| u.is_linkable()) {
            return Err(Errno::ENOENT);
        }
        let upper = node.copy_up(u64::MAX)?;
        self.names.lock().enter(name, node)?;
        upper.add_links(1);
        self.shared.pin(&self.arc()?);
        self.touch_modified()
    }

    fn unlink(&self, name: &[u8], victim: &InodeRef) -> Result<()> {
        let node = Self::of(victim)?;
        self.take_out(name)?;
        node.unlinked();
        self.touch_modified()
    }

    fn rmdir(&self, name: &[u8], victim: &InodeRef) -> Result<()> {
        let node = Self::of(victim)?;
        if !node.is_empty()? {
            return Err(Errno::ENOTEMPTY);
        }
        node.names.lock().die();
        self.take_out(name)?;
        node.unlinked();
        self.touch_modified()
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
        let upper = TmpNode::new(&self.shared.upper, node)?;
        upper.set_linkable(linkable);
        Ok(Self::fresh(&self.shared, upper, None)?)
    }

    fn readlink(&self, env: &Env<'_>) -> Result<Vec<u8>> {
        self.active()?.readlink(env)
    }

    fn open(&self, env: &Env<'_>, path: &Path, flags: u32) -> Result<Box<dyn FileOps>> {
        if self.kind == FileType::Directory {
            return Ok(Box::new(OpenMerged::new(self.arc()?)));
        }
        let access = flags & libc::O_ACCMODE as u32;
        if access != libc::O_RDONLY as u32 || flags & libc::O_TRUNC as u32 != 0 {
            let limit = if flags & libc::O_TRUNC as u32 != 0 {
                0
            } else {
                u64::MAX
            };
            return self.copy_up(limit)?.open(env, path, flags);
        }
        self.active()?.open(env, path, flags)
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.active()?.get_xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        self.copy_up(u64::MAX)?.set_xattr(name, value, flags)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        self.active()?.get_xattr(name)?;
        self.copy_up(u64::MAX)?.remove_xattr(name)
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        self.active()?.list_xattr()
    }
}
