//! Open files.

use super::inode::HostInode;
use super::mapped::Mapped;
use crate::fs::tmp::file::seek_in;
use crate::host::{fs as host, io};
use crate::user::{Sink, Source};
use crate::vfs::{APPEND, File, FileOps, Inode, MapRequest, MapSource, SeekFrom};
use arch::{Errno, Result};
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes copied at once where the host can't read or write in place.
const CHUNK: usize = 256 << 10;

/// An open regular file.
pub struct HostFile {
    inode: Arc<HostInode>,
    read: Option<Arc<OwnedFd>>,
    write: Option<Arc<OwnedFd>>,
    /// Where the last write at the end ended. Written and read under the description's position lock.
    appended: AtomicU64,
    mapped: Mapped,
}

impl HostFile {
    /// An open with open(2) flags `flags`.
    pub fn open(inode: Arc<HostInode>, flags: u32) -> Result<Self> {
        let mode = flags as i32 & libc::O_ACCMODE;
        let write = if mode == libc::O_RDONLY {
            None
        } else {
            Some(inode.write_fd(mode == libc::O_RDWR)?)
        };
        let read = match (&write, mode) {
            (_, libc::O_WRONLY) => None,
            (Some(both), _) => Some(Arc::clone(both)),
            (None, _) => Some(inode.read_fd()?),
        };
        Ok(Self {
            inode,
            read,
            write,
            appended: AtomicU64::new(0),
            mapped: Mapped::default(),
        })
    }

    fn any(&self) -> Result<&Arc<OwnedFd>> {
        self.write
            .as_ref()
            .or(self.read.as_ref())
            .ok_or(Errno::EBADF)
    }

    fn append(&self, fd: &OwnedFd, src: &mut dyn Source) -> Result<usize> {
        let mut done = 0;
        let mut buf = vec![0; src.remaining().min(CHUNK)];
        while src.remaining() > 0 {
            let result = src.peek(&mut buf).and_then(|n| {
                let _end = self.inode.append.lock();
                let n = host::append(fd.as_fd(), &buf[..n])?;
                self.appended
                    .store(host::size(fd.as_fd())?.0, Ordering::Relaxed);
                Ok(n)
            });
            match result {
                Ok(0) => break,
                Ok(n) => {
                    src.advance(n);
                    done += n;
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

impl FileOps for HostFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        let fd = self.read.as_ref().ok_or(Errno::EBADF)?;
        let mut done = 0;
        if let Some((map, size)) = self.mapped.get(&self.inode, offset, dst.remaining()) {
            let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
            let want = dst.remaining().min(left);
            if want == 0 {
                return Ok(0);
            }
            done = dst.write_from_map(&map, offset, want)?;
            if done == want {
                return Ok(done);
            }
            // A page of it is not there: the host says what that means.
        }
        while dst.remaining() > 0 {
            let want = dst.remaining();
            match dst.write_from_host(fd.as_fd(), Some(offset + done as u64), want) {
                Ok(0) => break,
                // The end of the file.
                Ok(n) if n < want.min(crate::user::STEP) => return Ok(done + n),
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write(&self, _file: &File, offset: u64, src: &mut dyn Source) -> Result<usize> {
        let fd = self.write.as_ref().ok_or(Errno::EBADF)?;
        let result = if offset == APPEND {
            self.append(fd, src)
        } else {
            write_at(fd, offset, src)
        };
        self.inode.stale();
        result
    }

    fn append_position(&self) -> Option<u64> {
        Some(self.appended.load(Ordering::Relaxed))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        let size = match to {
            SeekFrom::End(_) => self.inode.attr()?.size,
            _ => 0,
        };
        seek_in(pos, to, size, |at, hole| {
            let whence = if hole {
                libc::SEEK_HOLE
            } else {
                libc::SEEK_DATA
            };
            host::seek(self.any()?.as_fd(), at, whence)
        })
    }

    fn map(&self, _file: &File, req: &MapRequest) -> Result<MapSource> {
        let fd = if req.shared && req.prot & libc::PROT_WRITE != 0 {
            Arc::clone(self.write.as_ref().ok_or(Errno::EACCES)?)
        } else {
            // Never one for writing: the stub could map it so.
            match self.inode.read_fd() {
                Ok(fd) => fd,
                Err(Errno::ESTALE) => {
                    let own = self.any()?;
                    Arc::new(host::reopen(own.as_fd(), libc::O_RDONLY)?)
                }
                Err(e) => return Err(e),
            }
        };
        // What is written through the mapping changes the file behind our back.
        self.inode.stale();
        Ok(MapSource::Host {
            fd,
            offset: req.offset,
        })
    }

    fn is_host_file(&self) -> bool {
        true
    }

    fn truncate(&self, _file: &File, len: u64) -> Result<()> {
        let fd = self.write.as_ref().ok_or(Errno::EINVAL)?;
        host::truncate(fd.as_fd(), len)?;
        self.inode.stale();
        Ok(())
    }

    fn fallocate(&self, _file: &File, mode: i32, offset: u64, len: u64) -> Result<()> {
        let fd = self.write.as_ref().ok_or(Errno::EBADF)?;
        host::fallocate(fd.as_fd(), mode, offset, len)?;
        self.inode.stale();
        Ok(())
    }

    fn sync(&self, _file: &File, data_only: bool) -> Result<()> {
        host::sync(self.any()?.as_fd(), data_only)
    }

    fn sleeps(&self) -> bool {
        true
    }
}

/// Writes all of `src` from `offset` on.
fn write_at(fd: &OwnedFd, offset: u64, src: &mut dyn Source) -> Result<usize> {
    let mut done = 0;
    if src.remaining() == 0 {
        return io::write(fd.as_fd(), Some(offset), &[]);
    }
    while src.remaining() > 0 {
        let want = src.remaining();
        match src.read_to_host(fd.as_fd(), Some(offset + done as u64), want) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
