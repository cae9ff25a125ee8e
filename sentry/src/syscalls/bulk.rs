//! Long reads of files.
//!
//! They go through the copy window: the host reads into it, the stub stores it, at memory speed. The other way,
//! `process_vm_writev`, looks up every page of the destination on its own and takes twice as long. While the stub stores
//! one half of the window, the other is filled.

use crate::host::{io, map::Mapping};
use crate::task::{Cx, run};
use crate::user::{Sink, UserAddr};
use crate::vfs::File;
use arch::{Errno, Result};
use std::os::fd::BorrowedFd;
use systrap::{Event, HALF, Reserved};

/// From where on it is worth going by halves: a hand-over costs as much as storing some 16 KiB.
pub const LONG: usize = 48 << 10;
/// What one piece holds where it isn't done by halves: the window, but for what else must be in it.
const PIECE: usize = 64 << 10;

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
        fd: BorrowedFd<'_>,
        offset: Option<u64>,
        max: usize,
    ) -> Result<usize> {
        let n = self.inner.write_from_host(fd, offset, max.min(self.left))?;
        self.left -= n;
        Ok(n)
    }

    fn write_from_map(&mut self, map: &Mapping, offset: u64, max: usize) -> Result<usize> {
        let n = self.inner.write_from_map(map, offset, max.min(self.left))?;
        self.left -= n;
        Ok(n)
    }
}

/// A half of the window.
struct Half {
    room: Reserved,
    filled: usize,
}

impl Half {
    fn new(cx: &Cx, addr: UserAddr, len: usize, second: bool) -> Option<Self> {
        let room = cx
            .thread
            .lock()
            .window()
            .reserve_half(addr.0, len, second)?;
        Some(Self { room, filled: 0 })
    }

    /// Fills it from the file. Fewer bytes than there is room only at the end.
    fn fill(&mut self, file: &File, at: u64) -> Result<usize> {
        file.ops.read(file, at, self)
    }
}

impl Sink for Half {
    fn remaining(&self) -> usize {
        self.room.len() - self.filled
    }

    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let n = io::copy_into_window(data, &self.room.behind(self.filled));
        self.filled += n;
        Ok(n)
    }

    fn write_from_host(
        &mut self,
        fd: BorrowedFd<'_>,
        offset: Option<u64>,
        max: usize,
    ) -> Result<usize> {
        if max < self.remaining() {
            let mut buf = vec![0; max];
            let n = io::read(fd, offset, &mut buf)?;
            return self.write(&buf[..n]);
        }
        let n = io::read_into_window(fd, offset, &[self.room.behind(self.filled)])?;
        self.filled += n;
        Ok(n)
    }

    fn write_from_map(&mut self, map: &Mapping, offset: u64, max: usize) -> Result<usize> {
        if max < self.remaining() {
            let mut buf = vec![0; max];
            let n = map.copy(offset, &mut buf);
            return self.write(&buf[..n]);
        }
        let n = map.copy_to_window(offset, &self.room.behind(self.filled));
        self.filled += n;
        Ok(n)
    }
}

/// How much a read of `len` bytes at `at` can bring, if that is worth going piece by piece: only of a regular file, whose
/// size says so.
pub fn length(file: &File, at: u64, len: usize) -> Option<usize> {
    if len <= LONG || !super::rw::is_regular(file) {
        return None;
    }
    let left = file.attr().ok()?.size.checked_sub(at)?;
    let len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
    (len > LONG).then_some(len)
}

/// Reads up to `len` bytes at `at`. Not interrupted by signals, as a read of a file isn't.
pub async fn read(
    cx: &Cx,
    file: &File,
    at: u64,
    len: usize,
    sink: &mut (dyn Sink + Send),
) -> Result<usize> {
    if let Some(addr) = sink.place(len)
        && let Some(first) = Half::new(cx, addr, HALF.min(len), false)
    {
        let n = by_halves(cx, file, at, len, addr, first).await?;
        sink.advance(n);
        return Ok(n);
    }
    by_pieces(cx, file, at, len, sink).await
}

/// Into memory in one piece, of which the first has room in `half`.
async fn by_halves(
    cx: &Cx,
    file: &File,
    at: u64,
    len: usize,
    addr: UserAddr,
    mut half: Half,
) -> Result<usize> {
    let mut done = 0;
    let mut second = true;
    let mut filled = half.fill(file, at);
    loop {
        let n = match filled {
            Ok(n) => n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
        };
        let short = n < half.room.len();
        cx.thread.lock().window().commit_half(half.room, n);
        let so_far = done + n;
        if short || so_far >= len {
            // The last piece is stored when the thread goes on.
            return Ok(so_far);
        }
        let want = HALF.min(len - so_far);
        let next = Half::new(cx, addr.add(so_far as u64), want, second);
        let Some(mut next) = next else {
            return Ok(so_far);
        };
        let mut result = Ok(0);
        let event = run::perform_meanwhile(cx, || {
            result = next.fill(file, at + so_far as u64);
        })
        .await;
        match stored(&event) {
            Ok(()) => done = so_far,
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
        }
        (half, filled, second) = (next, result, !second);
    }
}

/// What the event after a piece says of it.
fn stored(event: &Event) -> Result<()> {
    match event {
        Event::Parked => Ok(()),
        Event::WriteBackFault { .. } => Err(Errno::EFAULT),
        // The stub is gone, which the task hears when it goes on.
        _ => Err(Errno::EIO),
    }
}

/// Into several pieces of memory.
async fn by_pieces(
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
        match stored(&run::perform(cx).await) {
            Ok(()) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
