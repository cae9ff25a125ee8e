//! Open directories.

use super::inode::HostInode;
use crate::fs::tmp::file::seek_dir;
use crate::host::fs as host;
use crate::user::Sink;
use crate::vfs::{DirSink, File, FileOps, Inode, SeekFrom};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// An open directory, with a host descriptor of its own: that has a position.
pub struct HostDirFile {
    inode: Arc<HostInode>,
    state: Mutex<State>,
}

/// Held over the host's getdents64: one description is read by one thread at a time anyhow (its position is locked).
struct State {
    /// Opened by the first read.
    fd: Option<Arc<OwnedFd>>,
    /// Entries that the host has given and nobody has taken.
    batch: std::vec::IntoIter<host::DirEntry>,
    /// The position that the next entry of `batch` stands at.
    at: u64,
}

impl HostDirFile {
    /// An open of a directory.
    pub fn new(inode: Arc<HostInode>) -> Result<Self> {
        let state = State {
            fd: None,
            batch: Vec::new().into_iter(),
            at: 0,
        };
        Ok(Self {
            inode,
            state: Mutex::new(state),
        })
    }
}

impl FileOps for HostDirFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, _offset: u64, _dst: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        seek_dir(pos, to)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let state = &mut *self.state.lock();
        let fresh = state.fd.is_none();
        let fd = match &state.fd {
            Some(fd) => fd,
            None => state.fd.insert(self.inode.open_listing()?),
        };
        // A fresh descriptor is at the start.
        let rewinds = *pos == 0 && !fresh;
        if state.at != *pos || rewinds {
            host::seek(fd.as_fd(), *pos, libc::SEEK_SET)?;
            state.batch = Vec::new().into_iter();
            state.at = *pos;
        }
        let mut fetched = false;
        loop {
            let Some(entry) = state.batch.as_slice().first() else {
                // The host has given all that it gives at once: the next call asks whether there is more.
                if fetched {
                    return Ok(());
                }
                fetched = true;
                state.batch = host::getdents(fd.as_fd())?.into_iter();
                if state.batch.as_slice().is_empty() {
                    return Ok(());
                }
                continue;
            };
            // What is above the root of a mount is no business of the host's.
            let ino = match (&entry.name[..], file.path()) {
                (b"..", Some(path)) if path.is_mount_root() => self.inode.attr()?.ino,
                _ => entry.ino,
            };
            if !sink.entry(ino, entry.next, entry.dtype, &entry.name) {
                return Ok(());
            }
            *pos = entry.next;
            state.at = entry.next;
            state.batch.next();
        }
    }

    fn sync(&self, _file: &File, data_only: bool) -> Result<()> {
        let fd = self.inode.open_fresh(libc::O_RDONLY | libc::O_DIRECTORY)?;
        host::sync(fd.as_fd(), data_only)
    }

    fn sleeps(&self) -> bool {
        true
    }
}
