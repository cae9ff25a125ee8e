//! Contents of regular files.

use super::{PAGE, Shared};
use crate::host;
use crate::user::{Sink, Source};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Files up to this size live in a vector.
const SMALL_MAX: u64 = 256 << 10;
/// How much is copied at once between a vector and the application.
const CHUNK: usize = 64 << 10;
/// Largest file (s_maxbytes).
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// File seals (fcntl(2)).
pub mod seal {
    pub const SEAL: u32 = 1;
    pub const SHRINK: u32 = 2;
    pub const GROW: u32 = 4;
    pub const WRITE: u32 = 8;
    pub const FUTURE_WRITE: u32 = 16;
    pub const EXEC: u32 = 32;
    /// All that there are.
    pub const ALL: u32 = SEAL | SHRINK | GROW | WRITE | FUTURE_WRITE | EXEC;
}

/// A regular file's bytes.
pub struct Data {
    inner: Mutex<Inner>,
}

struct Inner {
    store: Store,
    size: u64,
    /// Pages charged to the file system.
    pages: u64,
    seals: u32,
}

enum Store {
    /// Exactly `size` bytes.
    Small(Vec<u8>),
    Mem(Mem),
}

struct Mem {
    fd: Arc<OwnedFd>,
    /// The same file, opened read-only: for who may not write.
    read_only: Option<Arc<OwnedFd>>,
}

impl Default for Data {
    /// An empty file that can't be sealed.
    fn default() -> Self {
        Self::with_seals(seal::SEAL)
    }
}

impl Data {
    /// An empty file with these seals.
    pub fn with_seals(seals: u32) -> Self {
        let inner = Inner {
            store: Store::Small(Vec::new()),
            size: 0,
            pages: 0,
            seals,
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// Size in bytes; pages in use.
    pub fn size_and_pages(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.size, inner.pages)
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.inner.lock().size
    }

    /// Gives up the memory.
    pub(super) fn release(&mut self, shared: &Shared) {
        shared.uncharge(std::mem::take(&mut self.inner.get_mut().pages));
    }

    /// Reads from `offset`.
    pub fn read(&self, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        let mut done = 0;
        let mut buf = Vec::new();
        while dst.remaining() > 0 {
            let at = offset + done as u64;
            let inner = self.inner.lock();
            if at >= inner.size {
                break;
            }
            let want = usize::try_from(inner.size - at)
                .unwrap_or(usize::MAX)
                .min(dst.remaining());
            let result = match &inner.store {
                Store::Small(bytes) => {
                    let want = want.min(CHUNK);
                    buf.clear();
                    buf.extend_from_slice(&bytes[at as usize..at as usize + want]);
                    drop(inner);
                    dst.write(&buf)
                }
                Store::Mem(mem) => {
                    let fd = Arc::clone(&mem.fd);
                    drop(inner);
                    dst.write_from_host(fd.as_fd(), Some(at), want)
                }
            };
            match result {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Writes at `offset`, or at the end for `None`. Returns how much, and where the write ended.
    pub fn write(
        &self,
        shared: &Shared,
        offset: Option<u64>,
        src: &mut dyn Source,
    ) -> Result<(usize, u64)> {
        let mut done = 0;
        let mut end = offset.unwrap_or(0);
        while src.remaining() > 0 {
            let at = offset.map(|o| o + done as u64);
            match self.write_piece(shared, at, src) {
                Ok((0, _)) => break,
                Ok((n, new_end)) => {
                    done += n;
                    end = new_end;
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok((done, end))
    }

    fn write_piece(
        &self,
        shared: &Shared,
        offset: Option<u64>,
        src: &mut dyn Source,
    ) -> Result<(usize, u64)> {
        let fd = self.inner.lock().mem_fd();
        if let (Some(fd), Some(at)) = (fd, offset) {
            // The application's memory is read without a lock.
            let len = self
                .inner
                .lock()
                .allow(shared, at, src.remaining() as u64)?;
            let n = src.read_to_host(fd.as_fd(), Some(at), len as usize)?;
            self.inner.lock().written(shared, at, n as u64)?;
            return Ok((n, at + n as u64));
        }
        let mut buf = vec![0; src.remaining().min(CHUNK)];
        let n = src.peek(&mut buf)?;
        let mut inner = self.inner.lock();
        let at = offset.unwrap_or(inner.size);
        let len = inner.allow(shared, at, n as u64)? as usize;
        if at + len as u64 > SMALL_MAX {
            inner.move_to_mem()?;
        }
        let n = match &mut inner.store {
            Store::Small(bytes) => {
                let (start, stop) = (at as usize, at as usize + len);
                if bytes.len() < stop {
                    bytes.resize(stop, 0);
                }
                bytes[start..stop].copy_from_slice(&buf[..len]);
                len
            }
            Store::Mem(mem) => host::io::write(mem.fd.as_fd(), Some(at), &buf[..len])?,
        };
        inner.written(shared, at, n as u64)?;
        drop(inner);
        src.advance(n);
        Ok((n, at + n as u64))
    }

    /// Sets the size.
    pub fn truncate(&self, shared: &Shared, size: u64) -> Result<()> {
        let mut inner = self.inner.lock();
        if size > shared.max_size {
            return Err(Errno::EFBIG);
        }
        let sealed = (size < inner.size && inner.seals & seal::SHRINK != 0)
            || (size > inner.size && inner.seals & seal::GROW != 0);
        if sealed {
            return Err(Errno::EPERM);
        }
        if size > SMALL_MAX {
            inner.move_to_mem()?;
        }
        match &mut inner.store {
            Store::Small(bytes) => {
                bytes.resize(size as usize, 0);
                if bytes.capacity() > 2 * bytes.len() + CHUNK {
                    bytes.shrink_to_fit();
                }
            }
            Store::Mem(mem) => host::fs::truncate(mem.fd.as_fd(), size)?,
        }
        inner.account(shared)
    }

    /// fallocate(2): allocation, with or without FALLOC_FL_KEEP_SIZE, and holes.
    pub fn fallocate(&self, shared: &Shared, mode: i32, offset: u64, len: u64) -> Result<()> {
        const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE;
        if mode & !(KEEP | PUNCH) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset
            .checked_add(len)
            .filter(|&e| e <= shared.max_size)
            .ok_or(Errno::EFBIG)?;
        let mut inner = self.inner.lock();
        if mode & PUNCH != 0 {
            if inner.seals & (seal::WRITE | seal::FUTURE_WRITE) != 0 {
                return Err(Errno::EPERM);
            }
        } else if end > inner.size && mode & KEEP == 0 && inner.seals & seal::GROW != 0 {
            return Err(Errno::EPERM);
        }
        if mode & PUNCH == 0 {
            let pages = len.div_ceil(PAGE);
            if pages > super::total_memory() / PAGE {
                return Err(Errno::ENOSPC);
            }
            shared.check(pages.saturating_sub(inner.pages))?;
        }
        if let Store::Small(bytes) = &mut inner.store {
            if mode & PUNCH != 0 {
                let stop = bytes.len().min(usize::try_from(end).unwrap_or(usize::MAX));
                if let Some(hole) = bytes.get_mut(offset.min(stop as u64) as usize..stop) {
                    hole.fill(0);
                }
                return Ok(());
            }
            if end <= SMALL_MAX {
                if mode & KEEP == 0 && bytes.len() < end as usize {
                    bytes.resize(end as usize, 0);
                }
                return inner.account(shared);
            }
            inner.move_to_mem()?;
        }
        if let Some(fd) = inner.mem_fd() {
            host::fs::fallocate(fd.as_fd(), mode, offset, len)?;
        }
        inner.account(shared)
    }

    /// SEEK_DATA, SEEK_HOLE: ENXIO at or past the end.
    pub fn seek(&self, offset: u64, hole: bool) -> Result<u64> {
        let inner = self.inner.lock();
        if offset >= inner.size {
            return Err(Errno::ENXIO);
        }
        match &inner.store {
            Store::Small(_) => Ok(if hole { inner.size } else { offset }),
            Store::Mem(mem) => {
                let whence = if hole {
                    libc::SEEK_HOLE
                } else {
                    libc::SEEK_DATA
                };
                host::fs::seek(mem.fd.as_fd(), offset, whence)
            }
        }
    }

    /// A host descriptor to map. `write`: shared and writable; EPERM if a seal forbids that. Else a read-only one.
    pub fn map(&self, write: bool) -> Result<Arc<OwnedFd>> {
        let mut inner = self.inner.lock();
        if write && inner.seals & (seal::WRITE | seal::FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        inner.move_to_mem()?;
        let Store::Mem(mem) = &mut inner.store else {
            return Err(Errno::ENODEV);
        };
        if write {
            return Ok(Arc::clone(&mem.fd));
        }
        if mem.read_only.is_none() {
            mem.read_only = Some(Arc::new(host::fs::reopen(mem.fd.as_fd(), libc::O_RDONLY)?));
        }
        mem.read_only.clone().ok_or(Errno::ENODEV)
    }

    /// F_GET_SEALS.
    pub fn seals(&self) -> u32 {
        self.inner.lock().seals
    }

    /// F_ADD_SEALS: EPERM once sealed against it, EBUSY for F_SEAL_WRITE while there are writable shared mappings.
    pub fn add_seals(&self, seals: u32) -> Result<()> {
        if seals & !seal::ALL != 0 {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        if inner.seals & seal::SEAL != 0 {
            return Err(Errno::EPERM);
        }
        // The host's memfd knows of mappings; it bears the seal that depends on them.
        if seals & seal::WRITE != 0
            && inner.seals & seal::WRITE == 0
            && let Some(fd) = inner.mem_fd()
        {
            host::fs::add_seals(fd.as_fd(), libc::F_SEAL_WRITE)?;
        }
        inner.seals |= seals;
        Ok(())
    }

    /// Adds bytes at the end: copy-up of an overlay.
    pub fn append_bytes(&self, shared: &Shared, bytes: &[u8]) -> Result<()> {
        let mut src = crate::user::SliceSource(bytes);
        let (n, _) = self.write(shared, None, &mut src)?;
        if n == bytes.len() {
            Ok(())
        } else {
            Err(Errno::ENOSPC)
        }
    }
}

impl Inner {
    fn mem_fd(&self) -> Option<Arc<OwnedFd>> {
        match &self.store {
            Store::Small(_) => None,
            Store::Mem(mem) => Some(Arc::clone(&mem.fd)),
        }
    }

    /// How much of a write of `len` bytes at `at` may go ahead: EPERM by seals, EFBIG, ENOSPC if nothing.
    fn allow(&self, shared: &Shared, at: u64, len: u64) -> Result<u64> {
        if self.seals & (seal::WRITE | seal::FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        if at >= shared.max_size {
            return Err(Errno::EFBIG);
        }
        let mut len = len.min(shared.max_size - at);
        if at + len > self.size && self.seals & seal::GROW != 0 {
            len = self.size.saturating_sub(at);
            if len == 0 {
                return Err(Errno::EPERM);
            }
        }
        // Without holes, only what is past the end takes pages; else anything may.
        let dense = self.pages >= self.size.div_ceil(PAGE);
        let first = if dense { at.max(self.pages * PAGE) } else { at } / PAGE;
        let need = (at + len).div_ceil(PAGE).saturating_sub(first);
        let room = shared.room();
        if need > room {
            if room == 0 {
                return Err(Errno::ENOSPC);
            }
            let stop = (first + room) * PAGE;
            len = len.min(stop.saturating_sub(at));
            if len == 0 {
                return Err(Errno::ENOSPC);
            }
        }
        Ok(len)
    }

    /// `n` bytes have been written at `at`.
    fn written(&mut self, shared: &Shared, at: u64, n: u64) -> Result<()> {
        let dense = self.pages >= self.size.div_ceil(PAGE);
        if dense && at + n <= self.size {
            Ok(())
        } else {
            self.account(shared)
        }
    }

    /// Takes size and pages from the store.
    fn account(&mut self, shared: &Shared) -> Result<()> {
        let (size, pages) = match &self.store {
            Store::Small(bytes) => (bytes.len() as u64, (bytes.len() as u64).div_ceil(PAGE)),
            Store::Mem(mem) => {
                let (size, blocks) = host::fs::size(mem.fd.as_fd())?;
                (size, (blocks * 512).div_ceil(PAGE))
            }
        };
        shared.recharge(self.pages, pages);
        self.size = size;
        self.pages = pages;
        Ok(())
    }

    /// Moves the bytes to a memfd.
    fn move_to_mem(&mut self) -> Result<()> {
        let Store::Small(bytes) = &self.store else {
            return Ok(());
        };
        let fd = host::fs::memfd(c"tmpfs", true)?;
        let mut done = 0;
        while done < bytes.len() {
            done += host::io::write(fd.as_fd(), Some(done as u64), &bytes[done..])?;
        }
        if self.seals & seal::WRITE != 0 {
            host::fs::add_seals(fd.as_fd(), libc::F_SEAL_WRITE)?;
        }
        self.store = Store::Mem(Mem {
            fd: Arc::new(fd),
            read_only: None,
        });
        Ok(())
    }
}
