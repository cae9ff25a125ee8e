//! Reads that are longer than the copy window.
//!
//! They go through the window piece by piece: the host reads into it, the stub stores it, at memory speed. The other way,
//! `process_vm_writev`, looks up every page of the destination on its own and takes twice as long.

use crate::task::{Cx, run};
use crate::user::Sink;
use crate::vfs::File;
use arch::{Errno, Result};
use systrap::Event;

/// What one piece holds: the window, but for a page.
pub const PIECE: usize = 60 << 10;

/// A sink that is full early.
struct Part<'a> {
    inner: &'a mut (dyn Sink + Send),
    left: usize,
}

impl Sink for Part<'_> {
    fn remaining(&self) -> usize {
        self.inner.remaining().min(self.left)
    }

    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let n = self.inner.write(&data[..data.len().min(self.left)])?;
        self.left -= n;
        Ok(n)
    }

    fn write_from_host(
        &mut self,
        fd: std::os::fd::BorrowedFd<'_>,
        offset: Option<u64>,
        max: usize,
    ) -> Result<usize> {
        let n = self.inner.write_from_host(fd, offset, max.min(self.left))?;
        self.left -= n;
        Ok(n)
    }
}

/// How much a read of `len` bytes at `at` can bring, if that is worth going piece by piece: only of a regular file, whose
/// size says so.
pub fn length(file: &File, at: u64, len: usize) -> Option<usize> {
    if len <= PIECE || !super::rw::is_regular(file) {
        return None;
    }
    let left = file.attr().ok()?.size.checked_sub(at)?;
    let len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
    (len > PIECE).then_some(len)
}

/// Reads up to `len` bytes at `at`. Not interrupted by signals, as a read of a file isn't.
pub async fn read(
    cx: &Cx,
    file: &File,
    at: u64,
    len: usize,
    sink: &mut (dyn Sink + Send),
) -> Result<usize> {
    let mut done = 0;
    while done < len {
        let left = PIECE.min(len - done);
        let mut part = Part {
            inner: &mut *sink,
            left,
        };
        let n = match file.ops.read(file, at + done as u64, &mut part) {
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        if n < left || done + n >= len {
            // The last piece is stored when the thread goes on.
            return Ok(done + n);
        }
        match run::perform(cx).await {
            Event::Parked => done += n,
            _ if done > 0 => break,
            Event::WriteBackFault { .. } => return Err(Errno::EFAULT),
            // The stub is gone, which the task hears when it goes on.
            _ => return Err(Errno::EIO),
        }
    }
    Ok(done)
}
