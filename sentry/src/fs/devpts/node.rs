//! Inodes of devpts: the root, `ptmx`, the slaves.

use super::Instance;
use crate::tty::{PTS_MAJOR, TTYAUX_MAJOR, Tty};
use crate::vfs::walk::Env;
use crate::vfs::{
    Attr, Dev, DirSink, File, FileOps, FileType, Inode, InodeExt, InodeRef, Meta, Path, SeekFrom,
    SetAttr,
};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
/// Inode number of slave 0.
const FIRST_INO: u64 = 3;

/// What the kernel has as block size for them.
const BLKSIZE: u32 = 1024;

/// `ptmx`.
pub struct Ptmx {
    dev: Dev,
    meta: Mutex<Meta>,
    ext: InodeExt,
}

impl Ptmx {
    pub(super) fn new(dev: Dev, perm: u32) -> Self {
        Self {
            dev,
            meta: Mutex::new(Meta::new(perm, 0, 0)),
            ext: InodeExt::new(),
        }
    }

    pub(super) fn set_perm(&self, perm: u32) {
        self.meta.lock().set_perm(perm);
    }
}

impl Inode for Ptmx {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn file_type(&self) -> FileType {
        FileType::CharDevice
    }

    fn attr(&self) -> Result<Attr> {
        let meta = self.meta.lock();
        Ok(Attr {
            rdev: Dev::new(TTYAUX_MAJOR, 2),
            blksize: BLKSIZE,
            ..meta.attr(self.dev, PTMX_INO, FileType::CharDevice)
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.meta.lock().change(change);
        Ok(())
    }
}

/// `N`: a slave.
pub struct PtsNode {
    dev: Dev,
    index: u32,
    tty: Weak<Tty>,
    meta: Mutex<Meta>,
    /// The name is gone.
    unlinked: AtomicBool,
    ext: InodeExt,
}

impl PtsNode {
    pub(super) fn new(dev: Dev, tty: &Arc<Tty>, meta: Meta) -> Self {
        Self {
            dev,
            index: tty.index,
            tty: Arc::downgrade(tty),
            meta: Mutex::new(meta),
            unlinked: AtomicBool::new(false),
            ext: InodeExt::new(),
        }
    }

    /// The pair, while there is one.
    pub fn tty(&self) -> Option<Arc<Tty>> {
        self.tty.upgrade()
    }

    pub(super) fn unlinked(&self) {
        self.unlinked.store(true, Ordering::Relaxed);
    }

    fn ino(&self) -> u64 {
        FIRST_INO + u64::from(self.index)
    }
}

impl Inode for PtsNode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn file_type(&self) -> FileType {
        FileType::CharDevice
    }

    fn attr(&self) -> Result<Attr> {
        let meta = self.meta.lock();
        Ok(Attr {
            rdev: Dev::new(PTS_MAJOR, self.index),
            nlink: u32::from(!self.unlinked.load(Ordering::Relaxed)),
            blksize: BLKSIZE,
            ..meta.attr(self.dev, self.ino(), FileType::CharDevice)
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.meta.lock().change(change);
        Ok(())
    }
}

/// The root directory.
pub struct Root {
    instance: Arc<Instance>,
    meta: Mutex<Meta>,
    ext: InodeExt,
}

impl Root {
    pub(super) fn new(instance: Arc<Instance>) -> Self {
        Self {
            instance,
            meta: Mutex::new(Meta::new(0o755, 0, 0)),
            ext: InodeExt::new(),
        }
    }
}

impl Inode for Root {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn file_type(&self) -> FileType {
        FileType::Directory
    }

    fn attr(&self) -> Result<Attr> {
        let meta = self.meta.lock();
        Ok(Attr {
            nlink: 2,
            blksize: BLKSIZE,
            ..meta.attr(self.instance.dev, ROOT_INO, FileType::Directory)
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.meta.lock().change(change);
        Ok(())
    }

    fn lookup(&self, _: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        if name == b"ptmx" {
            return Ok(Arc::clone(&self.instance.ptmx) as InodeRef);
        }
        let node = self.instance.node(name).ok_or(Errno::ENOENT)?;
        Ok(node)
    }

    fn revalidate(
        &self,
        _: &Env<'_>,
        name: &[u8],
        child: Option<&InodeRef>,
        _: &AtomicU64,
    ) -> bool {
        if name == b"ptmx" {
            return child.is_some();
        }
        let node = self.instance.node(name);
        match (node, child) {
            (Some(node), Some(child)) => child
                .as_any()
                .downcast_ref::<PtsNode>()
                .is_some_and(|c| std::ptr::eq(c, &*node)),
            (None, None) => true,
            _ => false,
        }
    }

    fn open(&self, _: &Env<'_>, _: &Path, _: u32) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(OpenRoot(Arc::clone(&self.instance))))
    }
}

/// The root directory, open. Position 2 is `ptmx`, 3 + N is slave N.
struct OpenRoot(Arc<Instance>);

impl FileOps for OpenRoot {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, _: u64, _: &mut dyn crate::user::Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        crate::fs::pseudo::seek_simple(pos, to)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let dir = FileType::Directory.dtype();
        let device = FileType::CharDevice.dtype();
        let parent = file.path().and_then(|p| p.dentry.parent());
        let up = parent.and_then(|p| p.inode().attr().ok());
        let fixed: [(u64, u8, &[u8]); 3] = [
            (ROOT_INO, dir, b"."),
            (up.map_or(ROOT_INO, |a| a.ino), dir, b".."),
            (PTMX_INO, device, b"ptmx"),
        ];
        for (at, (ino, dtype, name)) in (0u64..).zip(fixed) {
            if *pos == at {
                if !sink.entry(ino, at + 1, dtype, name) {
                    return Ok(());
                }
                *pos = at + 1;
            }
        }
        let from = u32::try_from(*pos - 3).unwrap_or(u32::MAX);
        let nodes: Vec<_> = {
            let nodes = self.0.nodes.lock();
            nodes.range(from..).map(|(i, n)| (*i, n.ino())).collect()
        };
        for (index, ino) in nodes {
            let next = u64::from(index) + 4;
            if !sink.entry(ino, next, device, index.to_string().as_bytes()) {
                return Ok(());
            }
            *pos = next;
        }
        Ok(())
    }
}
