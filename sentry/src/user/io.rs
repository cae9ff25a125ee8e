//! Where the bytes of a read go and those of a write come from.

use super::UserAddr;
use crate::host::map::Mapping;
use arch::{Errno, Result};
use std::os::fd::BorrowedFd;

/// The destination of a read: application memory or a buffer of the kernel's.
pub trait Sink {
    /// Room left, in bytes.
    fn remaining(&self) -> usize;

    /// Where the next bytes go, if that is application memory in one piece of at least `len` bytes.
    fn place(&mut self, _len: usize) -> Option<UserAddr> {
        None
    }

    /// `n` bytes have been stored at [`Sink::place`].
    fn advance(&mut self, _n: usize) {}

    /// Appends from `data` as much as fits. EFAULT only if not a single byte could be stored.
    fn write(&mut self, data: &[u8]) -> Result<usize>;

    /// Appends up to `max` bytes read from a host descriptor, at `offset` or at its own position. One host
    /// call where it can be. Returns 0 at the end of the file, and fewer than `max` and [`super::STEP`] only there or
    /// where application memory ends.
    fn write_from_host(
        &mut self,
        fd: BorrowedFd<'_>,
        offset: Option<u64>,
        max: usize,
    ) -> Result<usize> {
        let mut buf = vec![0; max.min(self.remaining()).min(1 << 20)];
        let n = crate::host::io::read(fd, offset, &mut buf)?;
        self.write(&buf[..n])
    }

    /// Appends up to `max` bytes of a mapped file, from `offset` on. Stops early where a page of the file is gone.
    fn write_from_map(&mut self, map: &Mapping, offset: u64, max: usize) -> Result<usize> {
        let mut buf = vec![0; max.min(self.remaining()).min(1 << 20)];
        let n = map.copy(offset, &mut buf);
        self.write(&buf[..n])
    }

    /// Appends `len` zero bytes, or as many as fit.
    fn write_zeros(&mut self, len: usize) -> Result<usize> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut done = 0;
        while done < len && self.remaining() > 0 {
            match self.write(&ZEROS[..(len - done).min(ZEROS.len())]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

/// The origin of a write: application memory or a buffer of the kernel's.
pub trait Source {
    /// Bytes left.
    fn remaining(&self) -> usize;

    /// Takes up to `buf.len()` bytes. EFAULT only if not a single byte could be fetched.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize>;

    /// Like `read` without consuming. For writers that must know that data exist before they commit.
    fn peek(&mut self, buf: &mut [u8]) -> Result<usize>;

    /// Consumes `n` bytes that `peek` has shown.
    fn advance(&mut self, n: usize);

    /// Writes up to `max` bytes to a host descriptor, at `offset` or at its own position. A short host write
    /// consumes only what was written.
    fn read_to_host(
        &mut self,
        fd: BorrowedFd<'_>,
        offset: Option<u64>,
        max: usize,
    ) -> Result<usize> {
        let mut buf = vec![0; max.min(self.remaining()).min(1 << 20)];
        let n = self.peek(&mut buf)?;
        let n = crate::host::io::write(fd, offset, &buf[..n])?;
        self.advance(n);
        Ok(n)
    }

    /// Takes everything that is left. EFAULT if a part can't be fetched.
    fn read_all(&mut self) -> Result<Vec<u8>> {
        let mut buf = vec![0; self.remaining()];
        let mut done = 0;
        while done < buf.len() {
            match self.read(&mut buf[done..])? {
                0 => return Err(Errno::EFAULT),
                n => done += n,
            }
        }
        Ok(buf)
    }
}

/// A kernel buffer that takes up to a limit.
pub struct VecSink {
    /// What was stored.
    pub data: Vec<u8>,
    limit: usize,
}

impl VecSink {
    /// A buffer for `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            data: Vec::new(),
            limit,
        }
    }
}

impl Sink for VecSink {
    fn remaining(&self) -> usize {
        self.limit - self.data.len()
    }

    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let n = data.len().min(self.remaining());
        self.data.extend_from_slice(&data[..n]);
        Ok(n)
    }
}

/// A kernel buffer to write from.
pub struct SliceSource<'a>(pub &'a [u8]);

impl Source for SliceSource<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = self.peek(buf)?;
        self.advance(n);
        Ok(n)
    }

    fn peek(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.0.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        Ok(n)
    }

    fn advance(&mut self, n: usize) {
        self.0 = &self.0[n.min(self.0.len())..];
    }
}
