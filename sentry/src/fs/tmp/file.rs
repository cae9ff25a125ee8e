//! Open files and directories.

use super::data::seal;
use super::node::{Body, TmpNode};
use crate::user::{Sink, Source};
use crate::vfs::{
    APPEND, DirSink, File, FileOps, FileType, Inode, MapRequest, MapSource, SeekFrom,
};
use arch::{Errno, Result};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An open regular file.
pub struct TmpFile {
    node: Arc<TmpNode>,
    /// Where the last O_APPEND write ended. Written and read under the description's position lock.
    appended: AtomicU64,
}

impl TmpFile {
    /// An open of `node`, a regular file.
    pub fn new(node: Arc<TmpNode>) -> Self {
        Self {
            node,
            appended: AtomicU64::new(0),
        }
    }

    /// The inode.
    pub fn node(&self) -> &Arc<TmpNode> {
        &self.node
    }
}

/// lseek(2) of a file of `size` bytes, where `sparse` finds data and holes. EINVAL for what would be negative.
pub(crate) fn seek_in(
    pos: u64,
    to: SeekFrom,
    size: u64,
    sparse: impl FnOnce(u64, bool) -> Result<u64>,
) -> Result<u64> {
    let from = |base: u64, by: i64| {
        let sum = base
            .checked_add_signed(by)
            .filter(|&n| i64::try_from(n).is_ok());
        sum.ok_or(if by > 0 {
            Errno::EOVERFLOW
        } else {
            Errno::EINVAL
        })
    };
    match to {
        SeekFrom::Start(n) => u64::try_from(n).map_err(|_| Errno::EINVAL),
        SeekFrom::Current(by) => from(pos, by),
        SeekFrom::End(by) => from(size, by),
        SeekFrom::Data(n) => sparse(u64::try_from(n).map_err(|_| Errno::ENXIO)?, false),
        SeekFrom::Hole(n) => sparse(u64::try_from(n).map_err(|_| Errno::ENXIO)?, true),
    }
}

/// Where lseek(2) in a directory leads: positions are opaque, and there is no end.
pub(crate) fn seek_dir(pos: u64, to: SeekFrom) -> Result<u64> {
    match to {
        SeekFrom::Start(_) | SeekFrom::Current(_) => seek_in(pos, to, 0, |_, _| Err(Errno::EINVAL)),
        _ => Err(Errno::EINVAL),
    }
}

impl FileOps for TmpFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        self.node.data()?.read(offset, dst)
    }

    fn write(&self, _file: &File, offset: u64, src: &mut dyn Source) -> Result<usize> {
        let at = (offset != APPEND).then_some(offset);
        let (n, end) = self.node.data()?.write(&self.node.shared, at, src)?;
        self.appended.store(end, Ordering::Relaxed);
        if n > 0 {
            self.node.touch_modified();
        }
        Ok(n)
    }

    fn append_position(&self) -> Option<u64> {
        Some(self.appended.load(Ordering::Relaxed))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        let data = self.node.data()?;
        seek_in(pos, to, data.size(), |at, hole| data.seek(at, hole))
    }

    fn map(&self, _file: &File, req: &MapRequest) -> Result<MapSource> {
        let write = req.shared && req.prot & libc::PROT_WRITE != 0;
        let fd = self.node.data()?.map(write)?;
        Ok(MapSource::Host {
            fd,
            offset: req.offset,
        })
    }

    fn truncate(&self, _file: &File, len: u64) -> Result<()> {
        self.node.data()?.truncate(&self.node.shared, len)?;
        self.node.touch_modified();
        Ok(())
    }

    fn fallocate(&self, _file: &File, mode: i32, offset: u64, len: u64) -> Result<()> {
        self.node
            .data()?
            .fallocate(&self.node.shared, mode, offset, len)?;
        self.node.touch_modified();
        Ok(())
    }

    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn fcntl(&self, file: &File, cmd: i32, arg: u64) -> Result<u64> {
        let data = self.node.data()?;
        match cmd {
            libc::F_GET_SEALS => Ok(u64::from(data.seals())),
            libc::F_ADD_SEALS => {
                if !file.writable() {
                    return Err(Errno::EPERM);
                }
                let seals = u32::try_from(arg).map_err(|_| Errno::EINVAL)?;
                // An executable memfd that is sealed against changes of that is sealed against writing too.
                let exec = seals & seal::EXEC != 0 && self.node.meta.lock().perm & 0o111 != 0;
                let extra = if exec {
                    seal::SHRINK | seal::GROW | seal::WRITE | seal::FUTURE_WRITE
                } else {
                    0
                };
                data.add_seals(seals | extra).map(|()| 0)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

/// An open directory.
pub struct TmpDirFile {
    node: Arc<TmpNode>,
}

impl TmpDirFile {
    /// An open of `node`, a directory.
    pub fn new(node: Arc<TmpNode>) -> Self {
        Self { node }
    }
}

/// Entries taken out of a directory at once, so that its lock is not held while they are stored.
const BATCH: usize = 128;

impl FileOps for TmpDirFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read(&self, _file: &File, _offset: u64, _dst: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        seek_dir(pos, to)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let Body::Dir(dir) = &self.node.body else {
            return Err(Errno::ENOTDIR);
        };
        if *pos == 0 {
            if !sink.entry(self.node.ino, 1, FileType::Directory.dtype(), b".") {
                return Ok(());
            }
            *pos = 1;
        }
        if *pos == 1 {
            // Of the tree as mounted, not of this file system: `..` of a root is what is above.
            let parent = file.path().and_then(|p| p.dentry.parent());
            let ino = match parent {
                Some(parent) => parent.inode().attr()?.ino,
                None => self.node.ino,
            };
            if !sink.entry(ino, 2, FileType::Directory.dtype(), b"..") {
                return Ok(());
            }
            *pos = 2;
        }
        loop {
            let batch = dir.lock().batch(*pos, BATCH);
            let last = batch.len() < BATCH;
            for (at, name, node) in batch {
                if !sink.entry(node.ino, at + 1, node.file_type().dtype(), &name) {
                    return Ok(());
                }
                *pos = at + 1;
            }
            if last {
                return Ok(());
            }
        }
    }

    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }
}
