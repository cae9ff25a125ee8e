//! Open file descriptions, and the operations behind them.

use super::Path;
use super::attr::Attr;
use super::dentry::Dentry;
use super::inode::FileInode;
use crate::executor::{PollEvents, WaitQueue};
use crate::task::Cx;
use crate::user::{Sink, Source};
use arch::abi::Stat;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A position for lseek(2), decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekFrom {
    /// SEEK_SET.
    Start(i64),
    /// SEEK_CUR.
    Current(i64),
    /// SEEK_END.
    End(i64),
    /// SEEK_DATA.
    Data(i64),
    /// SEEK_HOLE.
    Hole(i64),
}

/// As the offset of a write: at the end of the file, wherever that is.
pub const APPEND: u64 = u64::MAX;
/// The offset of a read or write at the position that the file itself keeps ([`FileOps::keeps_position`]).
pub const HERE: u64 = u64::MAX - 1;

/// What a mapping wants of a file.
#[derive(Clone, Copy, Debug)]
pub struct MapRequest {
    /// First byte of the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// MAP_SHARED rather than MAP_PRIVATE.
    pub shared: bool,
    /// PROT_READ, PROT_WRITE, PROT_EXEC.
    pub prot: i32,
}

/// What the stub maps.
#[derive(Clone, Debug)]
pub enum MapSource {
    /// A host descriptor, from `offset` on.
    Host { fd: Arc<OwnedFd>, offset: u64 },
    /// Anonymous memory (private mappings of /dev/zero).
    Anonymous,
}

/// Takes directory entries of getdents64(2).
pub trait DirSink {
    /// Adds an entry; `next` is the position after it. False when there is no room: the entry was not taken.
    fn entry(&mut self, ino: u64, next: u64, dtype: u8, name: &[u8]) -> bool;
}

/// What stands behind an open file description: a regular file, a pipe's end, a socket, an epoll instance, …
///
/// No operation blocks: one that can't go on returns EAGAIN, changes nothing, and notifies [`FileOps::wait_queue`]
/// when it may be worth another try. The syscall layer waits (unless O_NONBLOCK).
pub trait FileOps: Send + Sync + Any {
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;

    /// Attributes for fstat(2), for files without a path; those with one are asked for their inode's.
    fn stat(&self, file: &File) -> Result<Stat> {
        file.attr().map(|a| a.to_stat())
    }

    /// Whether open(2) may return: EAGAIN makes it wait on [`FileOps::wait_queue`] (a FIFO without a peer).
    fn open_wait(&self, _file: &File) -> Result<()> {
        Ok(())
    }

    /// Another description of the same object, for open(2) of a /proc/PID/fd link to something without a path.
    fn reopen(&self, _file: &File, _flags: u32) -> Result<Box<dyn FileOps>> {
        Err(Errno::ENXIO)
    }

    /// read(2) at `offset` (ignored by files without a position).
    fn read(&self, _file: &File, _offset: u64, _dst: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// write(2) at `offset`, or at the end if that is [`APPEND`] (O_APPEND, RWF_APPEND); then [`FileOps::append_position`]
    /// tells where it ended. Ignored by files without a position.
    fn write(&self, _file: &File, _offset: u64, _src: &mut dyn Source) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// After a write at [`APPEND`]: where it ended. `None`: no append semantics.
    fn append_position(&self) -> Option<u64> {
        None
    }

    /// Whether there is a position: pread(2) and lseek(2) give ESPIPE otherwise.
    fn seekable(&self) -> bool {
        false
    }

    /// Whether the position is kept by the implementation (shared with others on the host), which then gets [`HERE`] as offset.
    fn keeps_position(&self) -> bool {
        false
    }

    /// lseek(2); `pos` is the present position. Returns the new one, which the caller stores.
    fn seek(&self, _file: &File, _pos: u64, _to: SeekFrom) -> Result<u64> {
        Err(Errno::ESPIPE)
    }

    /// What is ready now.
    fn poll(&self, _file: &File) -> PollEvents {
        PollEvents::READABLE | PollEvents::WRITABLE
    }

    /// Where to hear of changes of readiness; `None` for what is always ready.
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// Whether epoll_ctl(2) takes it (EPERM otherwise): what can become ready.
    fn epollable(&self) -> bool {
        self.wait_queue().is_some()
    }

    /// ioctl(2) beyond the generic ones (FIONBIO, FIOCLEX, …). May read and write application memory through `cx`.
    fn ioctl(&self, _cx: &Cx, _file: &File, _cmd: u32, _arg: u64) -> Result<u64> {
        Err(Errno::ENOTTY)
    }

    /// getdents64(2): entries from the position on; stores the position after the last entry taken.
    fn readdir(&self, _file: &File, _pos: &mut u64, _sink: &mut dyn DirSink) -> Result<()> {
        Err(Errno::ENOTDIR)
    }

    /// mmap(2). Access rights have been checked against the open mode.
    fn map(&self, _file: &File, _req: &MapRequest) -> Result<MapSource> {
        Err(Errno::ENODEV)
    }

    /// Whether what [`FileOps::map`] gives is a file of the host's, whose times tell when it is changed.
    fn is_host_file(&self) -> bool {
        false
    }

    /// ftruncate(2).
    fn truncate(&self, _file: &File, _len: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// fallocate(2).
    fn fallocate(&self, _file: &File, _mode: i32, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::ENODEV)
    }

    /// fsync(2), fdatasync(2).
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// fcntl(2) commands that only some files have: F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS.
    fn fcntl(&self, _file: &File, _cmd: i32, _arg: u64) -> Result<u64> {
        Err(Errno::EINVAL)
    }

    /// Whether [`FileOps::sync`] and [`FileOps::fallocate`] may sleep: they are then called on the blocking pool.
    fn sleeps(&self) -> bool {
        false
    }

    /// F_SETFL is about to change O_APPEND, O_NONBLOCK, O_ASYNC, O_DIRECT or O_NOATIME.
    fn set_flags(&self, _file: &File, _new: u32) -> Result<()> {
        Ok(())
    }

    /// A descriptor of this description is being closed by close(2) or its kin (not by the last drop).
    fn flush(&self, _file: &File) -> Result<()> {
        Ok(())
    }

    /// Lines of /proc/PID/fdinfo/N beyond pos, flags and mnt_id.
    fn fdinfo(&self, _file: &File, _out: &mut Vec<u8>) {}

    /// The text of /proc/PID/fd/N where there is no path: `pipe:[12]`, `anon_inode:[eventpoll]`.
    fn link_text(&self, _file: &File) -> Option<Vec<u8>> {
        None
    }
}

/// Someone who wants to hear of the end of an open file description: an epoll instance, an O_ASYNC owner.
pub trait FileWatcher: Send + Sync {
    /// The last reference to the description is gone; its operations still work. To take oneself out of its wait queue here.
    fn file_gone(&self, ops: &dyn FileOps);
}

/// Who is told of readiness by a signal (F_SETOWN, F_SETSIG).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileOwner {
    /// F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP.
    pub kind: i32,
    /// The id; 0: nobody.
    pub id: i32,
    /// F_SETSIG; 0: SIGIO.
    pub signal: i32,
}

/// An open file description (open(2)): shared by dup(2) and fork(2).
pub struct File {
    /// O_ACCMODE, O_APPEND, O_NONBLOCK, O_DIRECT, O_NOATIME, O_PATH, …; written by F_SETFL, read everywhere.
    flags: AtomicU32,
    /// The position. The lock is held over a whole read or write that moves it (POSIX: atomic offsets).
    pub pos: Mutex<u64>,
    /// What was opened; `None` for what has no place in the tree (a pipe, a socket).
    path: Option<Path>,
    /// Those to tell of its end. The lock is a leaf.
    watchers: Mutex<Vec<(u64, Arc<dyn FileWatcher>)>>,
    /// What it does.
    pub ops: Box<dyn FileOps>,
    /// F_SETOWN.
    pub owner: Mutex<FileOwner>,
    /// It counts as a writer of its inode. Set before the description is shared.
    writer: AtomicBool,
    /// An advisory lock has been taken through it: closing has something to release.
    pub(super) locked: AtomicBool,
}

impl File {
    /// A description of something without a path, with open(2) flags `flags`.
    pub fn new(ops: Box<dyn FileOps>, flags: u32) -> Arc<Self> {
        Self::make(ops, flags, None)
    }

    /// A description of what is at `path`.
    pub fn with_path(ops: Box<dyn FileOps>, flags: u32, path: Path) -> Arc<Self> {
        Self::make(ops, flags, Some(path))
    }

    fn make(ops: Box<dyn FileOps>, flags: u32, path: Option<Path>) -> Arc<Self> {
        Arc::new(Self {
            flags: AtomicU32::new(flags),
            pos: Mutex::new(0),
            path,
            watchers: Mutex::default(),
            ops,
            owner: Mutex::default(),
            writer: AtomicBool::new(false),
            locked: AtomicBool::new(false),
        })
    }

    /// What was opened; `None` for a pipe, a socket and the like.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref()
    }

    /// A path that leads to this very object: where it was opened, or a place of its own. For magic links and AT_EMPTY_PATH.
    pub fn to_path(self: &Arc<Self>) -> Path {
        if let Some(path) = &self.path {
            return path.clone();
        }
        let text = self
            .ops
            .link_text(self)
            .unwrap_or_else(|| b"anon_inode:[unknown]".to_vec());
        let mount = super::anon::mount();
        let inode = Arc::new(FileInode::new(Arc::clone(self)));
        Path {
            dentry: Dentry::detached(Arc::clone(mount.sb()), inode, &text),
            mount,
        }
    }

    /// Attributes for fstat(2).
    pub fn attr(&self) -> Result<Attr> {
        match &self.path {
            Some(path) => path.inode().attr(),
            None => self.ops.stat(self).map(|s| Attr::from_stat(&s)),
        }
    }

    /// Counts this description as a writer of its inode and its mount, until it goes. EROFS if that has become read-only,
    /// ETXTBSY while the file is being executed.
    pub(crate) fn count_writer(&self) -> Result<()> {
        if let Some(path) = &self.path {
            path.mount.add_writer()?;
            if let Err(e) = path.inode().ext().get_write() {
                path.mount.drop_writer();
                return Err(e);
            }
            self.writer.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The open(2) flags now.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Stores the flags (F_SETFL).
    pub fn store_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// Whether an open(2) flag is set.
    pub fn has(&self, flag: i32) -> bool {
        self.flags() & flag as u32 != 0
    }

    /// O_NONBLOCK is set.
    pub fn nonblocking(&self) -> bool {
        self.has(libc::O_NONBLOCK)
    }

    /// O_PATH: a place, not an open file.
    pub fn is_path_only(&self) -> bool {
        self.has(libc::O_PATH)
    }

    /// Open for reading.
    pub fn readable(&self) -> bool {
        matches!(
            self.flags() as i32 & (libc::O_ACCMODE | libc::O_PATH),
            libc::O_RDONLY | libc::O_RDWR
        )
    }

    /// Open for writing.
    pub fn writable(&self) -> bool {
        matches!(
            self.flags() as i32 & (libc::O_ACCMODE | libc::O_PATH),
            libc::O_WRONLY | libc::O_RDWR
        )
    }

    /// Has `watcher` told of the description's end, under a key that is unique among all watchers.
    pub fn add_watcher(&self, key: u64, watcher: Arc<dyn FileWatcher>) {
        self.watchers.lock().push((key, watcher));
    }

    /// Forgets the watcher added under `key`, and returns it.
    pub fn take_watcher(&self, key: u64) -> Option<Arc<dyn FileWatcher>> {
        let mut watchers = self.watchers.lock();
        let at = watchers.iter().position(|w| w.0 == key)?;
        Some(watchers.swap_remove(at).1)
    }

    /// Forgets the watcher added under `key`.
    pub fn remove_watcher(&self, key: u64) {
        self.watchers.lock().retain(|w| w.0 != key);
    }

    /// The implementation as a `T`.
    pub fn downcast<T: FileOps>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for (_, watcher) in std::mem::take(self.watchers.get_mut()) {
            watcher.file_gone(&*self.ops);
        }
        if *self.locked.get_mut() {
            super::lock::release_file(self);
        }
        if let Some(path) = &self.path {
            if *self.writer.get_mut() {
                path.inode().ext().put_write();
                path.mount.drop_writer();
            }
            if !self.is_path_only() {
                let mask = if self.writable() {
                    libc::IN_CLOSE_WRITE
                } else {
                    libc::IN_CLOSE_NOWRITE
                };
                super::notify::path(path, mask);
            }
        }
    }
}
