//! mqueue: where POSIX message queues have their names (mq_overview(7)). One for all mounts of it.
//!
//! # Locks
//! `Instance::names`, then a node's `meta`; both are leaves to everything else.

use crate::executor::{PollEvents, WaitQueue};
use crate::ipc::mq::{Maker, Queue};
use crate::task::current;
use crate::user::Sink;
use crate::vfs::walk::Env;
use crate::vfs::{
    Attr, Dentry, Dev, DirSink, File, FileOps, FileSystem, FileType, Inode, InodeExt, InodeRef,
    Meta, Mount, MountFlags, NewNode, Path, SeekFrom, SetAttr, StatFs, Superblock, anon_dev,
};
use arch::abi::MqAttr;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// MQUEUE_MAGIC.
const MAGIC: i64 = 0x1980_0202;
/// st_size of every queue's file (FILENT_SIZE).
const FILE_SIZE: i64 = 80;
const ROOT_INO: u64 = 1;

/// The queues by name.
pub struct Instance {
    dev: Dev,
    names: Mutex<BTreeMap<Vec<u8>, Arc<Node>>>,
    next_ino: AtomicU64,
    maker: Maker,
}

/// The file system, with a mount of its own for those who open queues by mq_open(2).
pub struct MqueueFs {
    instance: Arc<Instance>,
    root: Arc<Dentry>,
    mount: Arc<Mount>,
}

impl Default for MqueueFs {
    fn default() -> Self {
        let dev = anon_dev();
        let instance = Arc::new(Instance {
            dev,
            names: Mutex::default(),
            next_ino: AtomicU64::new(ROOT_INO + 1),
            maker: Maker::default(),
        });
        let root = Root {
            instance: Arc::clone(&instance),
            meta: Mutex::new(Meta::new(0o1777, 0, 0)),
            ext: InodeExt::new(),
        };
        let root = Superblock::new(Box::new(Fs), dev, Arc::new(root), false);
        let mount = Mount::new(Arc::clone(&root), b"mqueue", MountFlags::empty());
        Self {
            instance,
            root,
            mount,
        }
    }
}

impl MqueueFs {
    /// Its root, to be mounted.
    pub fn root(&self) -> Arc<Dentry> {
        Arc::clone(&self.root)
    }

    /// Its root as mq_open(2) sees it.
    pub fn place(&self) -> Path {
        self.mount.root_path()
    }

    /// Whether there is a queue of this name.
    pub fn exists(&self, name: &[u8]) -> bool {
        self.instance.names.lock().contains_key(name)
    }

    /// Makes a queue: EEXIST if the name is taken, and what [`Maker::make`] says.
    pub fn create(&self, name: &[u8], node: &NewNode, attr: Option<&MqAttr>) -> Result<()> {
        self.instance.create(name, node, attr).map(drop)
    }
}

impl Instance {
    fn create(&self, name: &[u8], new: &NewNode, attr: Option<&MqAttr>) -> Result<Arc<Node>> {
        let task = current().ok_or(Errno::EPERM)?;
        let mut names = self.names.lock();
        if names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let queue = self.maker.make(&task, new.uid, attr)?;
        let node = Arc::new(Node {
            dev: self.dev,
            ino: self.next_ino.fetch_add(1, Ordering::Relaxed),
            links: AtomicU32::new(1),
            queue,
            meta: Mutex::new(Meta::new(new.mode & 0o7777, new.uid, new.gid)),
            ext: InodeExt::new(),
        });
        names.insert(name.to_vec(), Arc::clone(&node));
        Ok(node)
    }
}

struct Fs;

impl FileSystem for Fs {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        "mqueue"
    }

    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs::plain(MAGIC))
    }

    /// Names come and go by mq_open(2).
    fn revalidates(&self) -> bool {
        true
    }

    fn cache_limit(&self) -> usize {
        64
    }
}

/// A queue's inode.
pub struct Node {
    dev: Dev,
    ino: u64,
    links: AtomicU32,
    queue: Arc<Queue>,
    meta: Mutex<Meta>,
    ext: InodeExt,
}

impl Inode for Node {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn file_type(&self) -> FileType {
        FileType::Regular
    }

    fn attr(&self) -> Result<Attr> {
        let meta = *self.meta.lock();
        Ok(Attr {
            nlink: self.links.load(Ordering::Relaxed),
            size: FILE_SIZE.unsigned_abs(),
            ..meta.attr(self.dev, self.ino, FileType::Regular)
        })
    }

    /// O_TRUNC does nothing.
    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.meta.lock().change(change);
        Ok(())
    }

    fn open(&self, _: &Env<'_>, _: &Path, _: u32) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(OpenQueue(Arc::clone(&self.queue))))
    }
}

/// A queue, open.
pub struct OpenQueue(Arc<Queue>);

impl OpenQueue {
    /// The queue.
    pub const fn queue(&self) -> &Arc<Queue> {
        &self.0
    }
}

impl FileOps for OpenQueue {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        let text = self.0.text();
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(text.len());
        dst.write(&text.as_bytes()[from..])
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        crate::fs::pseudo::seek_simple(pos, to)
    }

    fn poll(&self, _: &File) -> PollEvents {
        self.0.poll()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.events)
    }

    /// A process that closes any descriptor of the queue wants no notification any more.
    fn flush(&self, _: &File) -> Result<()> {
        if let Some(task) = current() {
            self.0.clear_notify(&task.group);
        }
        Ok(())
    }
}

/// The root directory.
struct Root {
    instance: Arc<Instance>,
    meta: Mutex<Meta>,
    ext: InodeExt,
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
        let meta = *self.meta.lock();
        Ok(Attr {
            nlink: 2,
            ..meta.attr(self.instance.dev, ROOT_INO, FileType::Directory)
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.meta.lock().change(change);
        Ok(())
    }

    fn lookup(&self, _: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        let node = self.instance.names.lock().get(name).cloned();
        node.map(|n| n as InodeRef).ok_or(Errno::ENOENT)
    }

    fn revalidate(
        &self,
        _: &Env<'_>,
        name: &[u8],
        child: Option<&InodeRef>,
        _: &AtomicU64,
    ) -> bool {
        let node = self.instance.names.lock().get(name).cloned();
        match (node, child) {
            (Some(node), Some(child)) => child
                .as_any()
                .downcast_ref::<Node>()
                .is_some_and(|c| std::ptr::eq(c, &*node)),
            (None, None) => true,
            _ => false,
        }
    }

    /// As open(2) with O_CREAT makes one: with the usual limits.
    fn create(&self, name: &[u8], node: &NewNode) -> Result<InodeRef> {
        if node.mode & libc::S_IFMT != libc::S_IFREG {
            return Err(Errno::EPERM);
        }
        self.instance
            .create(name, node, None)
            .map(|n| n as InodeRef)
    }

    fn unlink(&self, name: &[u8], _victim: &InodeRef) -> Result<()> {
        let node = self.instance.names.lock().remove(name);
        node.ok_or(Errno::ENOENT)?.links.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn open(&self, _: &Env<'_>, _: &Path, _: u32) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(OpenRoot(Arc::clone(&self.instance))))
    }
}

/// The root directory, open. Positions from 2 on are places in the order of names.
struct OpenRoot(Arc<Instance>);

impl FileOps for OpenRoot {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, _: u64, _: &mut dyn Sink) -> Result<usize> {
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
        let parent = file.path().and_then(|p| p.dentry.parent());
        let up = parent.and_then(|p| p.inode().attr().ok());
        let dots: [(u64, &[u8]); 2] = [(ROOT_INO, b"."), (up.map_or(ROOT_INO, |a| a.ino), b"..")];
        for (at, (ino, name)) in (0u64..).zip(dots) {
            if *pos == at {
                if !sink.entry(ino, at + 1, dir, name) {
                    return Ok(());
                }
                *pos = at + 1;
            }
        }
        let from = usize::try_from(*pos - 2).unwrap_or(usize::MAX);
        let all: Vec<_> = {
            let names = self.0.names.lock();
            let rest = names.iter().skip(from);
            rest.map(|(name, node)| (name.clone(), node.ino)).collect()
        };
        for (name, ino) in all {
            let next = *pos + 1;
            if !sink.entry(ino, next, FileType::Regular.dtype(), &name) {
                return Ok(());
            }
            *pos = next;
        }
        Ok(())
    }
}
