//! Copies between the kernel and an application's memory.
//!
//! Input comes from the copy window where the stub has prefetched it, else by `process_vm_readv`. Output is queued in the
//! window for the stub to write back before it resumes, if the VMA map says that it will succeed; else it goes by
//! `process_vm_writev`, which says at once where it faults.

use super::{Sink, Source, UserAddr, UserBytes, UserRef, UserStr};
use crate::host::map::Mapping;
use crate::task::Cx;
use arch::abi::Iovec;
use arch::{Errno, Result};
use bytemuck::{AnyBitPattern, NoUninit};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use systrap::Reserved;

/// The buffers of a vectored call; one is the common case.
pub type UserIov = SmallVec<[UserBytes; 4]>;

/// Longest transfer of one call: MAX_RW_COUNT of the kernel.
pub const MAX_RW_COUNT: usize = 0x7fff_f000;
/// Longest path including its NUL.
pub const PATH_MAX: usize = 4096;

/// Bytes of one step of a transfer that goes by way of a buffer: few enough to stay in the CPU's cache.
pub const STEP: usize = 128 << 10;

/// Buffers of a vectored call that one host call reads into.
const MAX_PIECES: usize = 16;

thread_local! {
    /// That buffer. Only used between two statements, never across an await.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` bytes (at most [`STEP`]) that hold nothing in particular.
fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    BUFFER.with_borrow_mut(|buffer| {
        let len = len.min(STEP);
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        f(&mut buffer[..len])
    })
}

impl Cx {
    /// Room in the copy window for the stub to store at `to`. `None` where that can't be: the range is not plainly
    /// writable, or too long.
    fn reserve(&self, to: UserBytes) -> Option<Reserved> {
        if !self.task.mm().writable(to.addr.0, to.len) {
            return None;
        }
        self.thread.lock().window().reserve(to.addr.0, to.len)
    }

    /// Has the host read into the copy window, for the stub to store. `None` where that can't be.
    fn read_by_window(
        &self,
        fd: BorrowedFd<'_>,
        offset: Option<u64>,
        to: &[UserBytes],
    ) -> Option<Result<usize>> {
        let rooms: SmallVec<[Reserved; 4]> = to
            .iter()
            .map(|to| self.reserve(*to))
            .collect::<Option<_>>()?;
        let result = crate::host::io::read_into_window(fd, offset, &rooms);
        let mut left = *result.as_ref().unwrap_or(&0);
        let mut thread = self.thread.lock();
        for room in rooms {
            let n = room.len().min(left);
            left -= n;
            thread.window().commit(room, n);
        }
        Some(result)
    }

    /// Copies from a mapped file into the copy window, for the stub to store. `None` where that can't be.
    fn map_by_window(&self, map: &Mapping, offset: u64, to: UserBytes) -> Option<usize> {
        let room = self.reserve(to)?;
        let n = map.copy_to_window(offset, &room);
        self.thread.lock().window().commit(room, n);
        Some(n)
    }

    /// Fills `buf` from `addr`; returns how many bytes came before the first fault.
    pub fn read_partial(&self, addr: UserAddr, buf: &mut [u8]) -> usize {
        if buf.is_empty() {
            return 0;
        }
        let mut thread = self.thread.lock();
        if thread.window().pending_overlaps(addr.0, buf.len()) {
            thread.window().flush();
        } else if thread.window().prefetched(addr.0, buf) {
            return buf.len();
        }
        let space = std::sync::Arc::clone(thread.address_space());
        drop(thread);
        space.read(addr.0, buf)
    }

    /// Fills `buf` from `addr`, or EFAULT.
    pub fn read_bytes(&self, addr: UserAddr, buf: &mut [u8]) -> Result<()> {
        if self.read_partial(addr, buf) == buf.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Stores `data` at `addr`; returns how many bytes went before the first fault.
    pub fn write_partial(&self, addr: UserAddr, data: &[u8]) -> usize {
        if data.is_empty() {
            return 0;
        }
        let writable = self.task.mm().writable(addr.0, data.len());
        let mut thread = self.thread.lock();
        if writable && thread.window().queue_write(addr.0, data) {
            return data.len();
        }
        if thread.window().pending_overlaps(addr.0, data.len()) {
            thread.window().flush();
        }
        let space = std::sync::Arc::clone(thread.address_space());
        drop(thread);
        space.write(addr.0, data)
    }

    /// Stores `data` at `addr`, or EFAULT.
    pub fn write_bytes(&self, addr: UserAddr, data: &[u8]) -> Result<()> {
        if self.write_partial(addr, data) == data.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Copies a `T` in.
    pub fn read_obj<T: AnyBitPattern>(&self, from: UserRef<T>) -> Result<T> {
        let mut bytes = SmallVec::<[u8; 256]>::from_elem(0, size_of::<T>());
        self.read_bytes(from.addr(), &mut bytes)?;
        Ok(bytemuck::pod_read_unaligned(&bytes))
    }

    /// Copies a `T` out.
    pub fn write_obj<T: NoUninit>(&self, to: UserRef<T>, value: &T) -> Result<()> {
        self.write_bytes(to.addr(), bytemuck::bytes_of(value))
    }

    /// Copies a `T` out unless the pointer is null.
    pub fn write_opt<T: NoUninit>(&self, to: UserRef<T>, value: &T) -> Result<()> {
        if to.is_null() {
            Ok(())
        } else {
            self.write_obj(to, value)
        }
    }

    /// Copies an array of `n` in. The caller has bounded `n`.
    pub fn read_array<T: AnyBitPattern>(&self, from: UserRef<T>, n: usize) -> Result<Vec<T>> {
        let len = n.checked_mul(size_of::<T>()).ok_or(Errno::EFAULT)?;
        let mut bytes = vec![0u8; len];
        self.read_bytes(from.addr(), &mut bytes)?;
        Ok(bytes
            .chunks_exact(size_of::<T>().max(1))
            .map(bytemuck::pod_read_unaligned)
            .collect())
    }

    /// Copies a NUL-terminated string in, without its NUL. `max` counts the NUL; a longer one is ENAMETOOLONG.
    pub fn read_cstr(&self, from: UserStr, max: usize) -> Result<Vec<u8>> {
        {
            let mut thread = self.thread.lock();
            if let Some(found) = thread.window().prefetched_cstr(from.0.0, max) {
                return Ok(found);
            }
        }
        let mut out = Vec::new();
        let mut addr = from.0;
        let mut chunk = [0u8; 256];
        while out.len() < max {
            // Up to the end of the page: the next one may not be mapped.
            let page_left = 4096 - (addr.0 & 4095) as usize;
            let want = page_left.min(chunk.len()).min(max - out.len());
            let got = self.read_partial(addr, &mut chunk[..want]);
            if let Some(end) = chunk[..got].iter().position(|&b| b == 0) {
                out.extend_from_slice(&chunk[..end]);
                return Ok(out);
            }
            if got < want {
                return Err(Errno::EFAULT);
            }
            out.extend_from_slice(&chunk[..got]);
            addr = addr.add(got as u64);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Copies a path name in: at most PATH_MAX bytes with its NUL. Empty is allowed; the walk decides.
    pub fn read_path(&self, from: UserStr) -> Result<Vec<u8>> {
        self.read_cstr(from, PATH_MAX)
    }

    /// Copies an iovec array in (readv(2)): EINVAL for more than IOV_MAX (1024) or a negative length; the sum is cut
    /// to MAX_RW_COUNT; EFAULT for addresses beyond the address space.
    pub fn read_iovec(&self, iov: UserRef<Iovec>, count: usize) -> Result<UserIov> {
        if count > 1024 {
            return Err(Errno::EINVAL);
        }
        let mut left = MAX_RW_COUNT;
        let mut out = UserIov::new();
        for raw in self.read_array(iov, count)? {
            if raw.len > i64::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            let addr = UserAddr(raw.base);
            check_range(addr, raw.len)?;
            let len = usize::try_from(raw.len).unwrap_or(usize::MAX).min(left);
            left -= len;
            out.push(UserBytes { addr, len });
        }
        Ok(out)
    }

    /// The destination of a read into one buffer; EFAULT for a range beyond the address space.
    pub fn sink(&self, buf: UserBytes) -> Result<UserSink<'_>> {
        check_range(buf.addr, buf.len as u64)?;
        let len = buf.len.min(MAX_RW_COUNT);
        Ok(self.sink_iov(smallvec::smallvec![UserBytes {
            addr: buf.addr,
            len
        }]))
    }

    /// The destination of a vectored read.
    pub fn sink_iov(&self, iov: UserIov) -> UserSink<'_> {
        UserSink {
            cx: self,
            cursor: Cursor::new(iov),
        }
    }

    /// The origin of a write from one buffer; EFAULT for a range beyond the address space.
    pub fn source(&self, buf: UserBytes) -> Result<UserSource<'_>> {
        check_range(buf.addr, buf.len as u64)?;
        let len = buf.len.min(MAX_RW_COUNT);
        Ok(self.source_iov(smallvec::smallvec![UserBytes {
            addr: buf.addr,
            len
        }]))
    }

    /// The origin of a vectored write.
    pub fn source_iov(&self, iov: UserIov) -> UserSource<'_> {
        UserSource {
            cx: self,
            cursor: Cursor::new(iov),
        }
    }
}

/// access_ok() of the kernel: EFAULT for a range that leaves the address space.
pub fn check_range(addr: UserAddr, len: u64) -> Result<()> {
    match addr.0.checked_add(len) {
        Some(end) if end <= systrap::layout::TASK_SIZE => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// A position in a list of buffers.
struct Cursor {
    iov: UserIov,
    index: usize,
    offset: usize,
    left: usize,
}

impl Cursor {
    fn new(iov: UserIov) -> Self {
        let left = iov.iter().map(|b| b.len).sum();
        Self {
            iov,
            index: 0,
            offset: 0,
            left,
        }
    }

    /// The contiguous piece at the position, at most `max` bytes.
    fn piece(&mut self, max: usize) -> Option<UserBytes> {
        while let Some(buf) = self.iov.get(self.index) {
            if self.offset < buf.len {
                let len = (buf.len - self.offset).min(max);
                return Some(UserBytes {
                    addr: buf.addr.add(self.offset as u64),
                    len,
                });
            }
            self.index += 1;
            self.offset = 0;
        }
        None
    }

    /// The pieces from the position on, of `max` bytes together.
    fn pieces(&self, mut max: usize) -> UserIov {
        let mut pieces = UserIov::new();
        let mut skip = self.offset;
        for buf in self.iov.iter().skip(self.index) {
            let len = (buf.len - skip).min(max);
            if len > 0 {
                pieces.push(UserBytes {
                    addr: buf.addr.add(skip as u64),
                    len,
                });
            }
            max -= len;
            skip = 0;
            if max == 0 {
                break;
            }
        }
        pieces
    }

    fn advance(&mut self, mut n: usize) {
        n = n.min(self.left);
        self.left -= n;
        while n > 0 {
            let Some(buf) = self.iov.get(self.index) else {
                return;
            };
            let step = n.min(buf.len - self.offset);
            self.offset += step;
            n -= step;
            if self.offset == buf.len {
                self.index += 1;
                self.offset = 0;
            }
        }
    }
}

/// Application memory as the destination of a read.
pub struct UserSink<'a> {
    cx: &'a Cx,
    cursor: Cursor,
}

impl Sink for UserSink<'_> {
    fn remaining(&self) -> usize {
        self.cursor.left
    }

    fn place(&mut self, len: usize) -> Option<UserAddr> {
        let piece = self.cursor.piece(len)?;
        (piece.len == len && self.cx.task.mm().writable(piece.addr.0, len)).then_some(piece.addr)
    }

    fn advance(&mut self, n: usize) {
        self.cursor.advance(n);
    }

    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let mut done = 0;
        while done < data.len() {
            let Some(piece) = self.cursor.piece(data.len() - done) else {
                break;
            };
            let n = self
                .cx
                .write_partial(piece.addr, &data[done..done + piece.len]);
            self.cursor.advance(n);
            done += n;
            if n < piece.len {
                return if done == 0 {
                    Err(Errno::EFAULT)
                } else {
                    Ok(done)
                };
            }
        }
        Ok(done)
    }

    fn write_from_host(
        &mut self,
        fd: BorrowedFd<'_>,
        offset: Option<u64>,
        max: usize,
    ) -> Result<usize> {
        let max = max.min(self.remaining());
        // No window is longer than a step.
        if max <= STEP {
            let pieces = self.cursor.pieces(max);
            if pieces.is_empty() {
                return Ok(0);
            }
            if pieces.len() <= MAX_PIECES
                && let Some(result) = self.cx.read_by_window(fd, offset, &pieces)
            {
                self.cursor.advance(*result.as_ref().unwrap_or(&0));
                return result;
            }
        }
        with_buffer(max.min(self.remaining()), |buffer| {
            let n = crate::host::io::read(fd, offset, buffer)?;
            self.write(&buffer[..n])
        })
    }

    fn write_from_map(&mut self, map: &Mapping, offset: u64, max: usize) -> Result<usize> {
        let mut done = 0;
        while done < max {
            let Some(piece) = self.cursor.piece(max - done) else {
                break;
            };
            let at = offset + done as u64;
            let n = match self.cx.map_by_window(map, at, piece) {
                Some(n) => n,
                None => with_buffer(piece.len, |buffer| {
                    let len = map.copy(at, buffer);
                    let n = self.cx.write_partial(piece.addr, &buffer[..len]);
                    if n == 0 && len > 0 && done == 0 {
                        return Err(Errno::EFAULT);
                    }
                    Ok(n)
                })?,
            };
            self.cursor.advance(n);
            done += n;
            if n < piece.len.min(STEP) {
                break;
            }
        }
        Ok(done)
    }
}

/// Application memory as the origin of a write.
pub struct UserSource<'a> {
    cx: &'a Cx,
    cursor: Cursor,
}

impl Source for UserSource<'_> {
    fn remaining(&self) -> usize {
        self.cursor.left
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = self.peek(buf)?;
        self.cursor.advance(n);
        Ok(n)
    }

    fn peek(&mut self, buf: &mut [u8]) -> Result<usize> {
        let (index, offset, left) = (self.cursor.index, self.cursor.offset, self.cursor.left);
        let mut done = 0;
        let mut fault = false;
        while done < buf.len() {
            let Some(piece) = self.cursor.piece(buf.len() - done) else {
                break;
            };
            let n = self
                .cx
                .read_partial(piece.addr, &mut buf[done..done + piece.len]);
            self.cursor.advance(n);
            done += n;
            if n < piece.len {
                fault = true;
                break;
            }
        }
        (self.cursor.index, self.cursor.offset, self.cursor.left) = (index, offset, left);
        if fault && done == 0 {
            Err(Errno::EFAULT)
        } else {
            Ok(done)
        }
    }

    fn advance(&mut self, n: usize) {
        self.cursor.advance(n);
    }

    fn read_to_host(
        &mut self,
        fd: BorrowedFd<'_>,
        offset: Option<u64>,
        max: usize,
    ) -> Result<usize> {
        let Some(piece) = self.cursor.piece(max) else {
            return Ok(0);
        };
        let mut thread = self.cx.thread.lock();
        let here = thread.window().prefetched_for_host(piece.addr.0, piece.len);
        drop(thread);
        let n = match here {
            Some(data) => crate::host::io::write_from_window(fd, offset, &data)?,
            None => with_buffer(max.min(self.remaining()), |buffer| {
                let n = self.peek(buffer)?;
                crate::host::io::write(fd, offset, &buffer[..n])
            })?,
        };
        self.cursor.advance(n);
        Ok(n)
    }
}
