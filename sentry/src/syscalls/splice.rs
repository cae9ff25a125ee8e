//! splice(2), tee(2), vmsplice(2), sendfile(2).

use super::{Fd, pipe as common, rw};
use crate::event::pipe::buffer::{self, Slot, Slots};
use crate::event::pipe::{Pipe, PipeEnd};
use crate::executor::PollEvents;
use crate::net::SocketFile;
use crate::task::Cx;
use crate::user::memory::MAX_RW_COUNT;
use crate::user::{SliceSource, Source, UserRef, VecSink};
use crate::vfs::{File, FileType};
use arch::abi::Iovec;
use arch::{Errno, Result};
use std::sync::Arc;

const SPLICE_F_NONBLOCK: u32 = 2;
/// MOVE, NONBLOCK, MORE, GIFT.
const SPLICE_F_ALL: u32 = 15;
/// Bytes moved in one step between two files.
const STEP: usize = 256 << 10;

fn pipe(file: &File) -> Option<&Arc<Pipe>> {
    file.downcast::<PipeEnd>().map(PipeEnd::pipe)
}

/// Slots taken out of a pipe; what isn't used goes back.
struct Held<'a> {
    pipe: &'a Pipe,
    slots: Slots,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.pipe.restore(std::mem::take(&mut self.slots));
    }
}

/// Raises SIGPIPE for a pipe without readers, as the write that it stands for would have.
fn with_sigpipe<T>(cx: &Cx, result: Result<T>) -> Result<T> {
    if matches!(result, Err(Errno::EPIPE)) {
        common::sigpipe(cx);
    }
    result
}

/// From pipe to pipe, or with `copy` leaving the first as it is (tee(2)).
async fn between(
    cx: &Cx,
    from: &Pipe,
    to: &Pipe,
    len: usize,
    nonblock: bool,
    copy: bool,
) -> Result<usize> {
    let op = || {
        let free = to.free_slots()?;
        let slots = if copy {
            from.share(len, free)?
        } else {
            from.take(len, free)?
        };
        let total: usize = slots.iter().map(Slot::len).sum();
        if total == 0 {
            return Ok(0);
        }
        let (rest, result) = match to.push(slots) {
            Ok(rest) => (rest, Ok(())),
            Err((e, rest)) => (rest, Err(e)),
        };
        let left: usize = rest.iter().map(Slot::len).sum();
        if !copy {
            from.restore(rest);
        }
        result.map(|()| total - left)
    };
    let result = if nonblock {
        op()
    } else {
        let queues = [
            (&from.queue, PollEvents::READABLE),
            (&to.queue, PollEvents::WRITABLE),
        ];
        cx.wait_many(&queues, None, op).await
    };
    with_sigpipe(cx, result)
}

/// From a pipe to something else: waits for the first bytes, not for more.
async fn from_pipe(
    cx: &Cx,
    from: &Pipe,
    to: &File,
    at: Option<u64>,
    len: usize,
    nonblock: bool,
) -> Result<usize> {
    let mut done = 0;
    while done < len {
        let take = || from.take((len - done).min(STEP), usize::MAX);
        let taken = if nonblock || done > 0 {
            take()
        } else {
            cx.wait(&from.queue, PollEvents::READABLE, None, take).await
        };
        let slots = match taken {
            Ok(slots) if slots.is_empty() => break,
            Ok(slots) => slots,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        let mut held = Held { pipe: from, slots };
        let bytes = buffer::with_bytes(&held.slots, <[u8]>::to_vec);
        let at = at.map(|at| at + done as u64);
        let written = rw::write_bytes(cx, to, &mut SliceSource(&bytes), at).await;
        match written {
            Ok(n) => {
                buffer::consume(&mut held.slots, n);
                done += n;
                if n < bytes.len() {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// From something else to a pipe: waits for room, then (unless told not to) for data.
async fn to_pipe(
    cx: &Cx,
    from: &File,
    at: Option<u64>,
    to: &Pipe,
    len: usize,
    nonblock: bool,
) -> Result<usize> {
    let room = || to.free_slots();
    let free = if nonblock {
        room()
    } else {
        cx.wait(&to.queue, PollEvents::WRITABLE, None, room).await
    };
    let free = with_sigpipe(cx, free)?;
    let mut sink = VecSink::new(len.min(free.saturating_mul(buffer::PAGE)).min(STEP));
    let n = rw::read_bytes(cx, from, &mut sink, at).await?;
    sink.data.truncate(n);
    with_sigpipe(cx, to.push_all(buffer::cut(sink.data, false, false)))?;
    Ok(n)
}

/// What splice_read of the kernel takes: files and devices, sockets, terminals; no event descriptors, no directories.
fn readable_source(file: &File) -> Result<()> {
    let anonymous = file
        .ops
        .link_text(file)
        .is_some_and(|t| t.starts_with(b"anon_inode:"));
    let directory = file
        .path()
        .is_some_and(|p| p.inode().file_type() == FileType::Directory);
    if anonymous || directory {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// An offset that the caller keeps: EFAULT, EINVAL if negative.
fn offset(cx: &Cx, at: UserRef<i64>) -> Result<Option<u64>> {
    match at.non_null() {
        None => Ok(None),
        Some(at) => u64::try_from(cx.read_obj(at)?)
            .map(Some)
            .map_err(|_| Errno::EINVAL),
    }
}

fn store_offset(cx: &Cx, to: UserRef<i64>, at: Option<u64>, moved: usize) -> Result<()> {
    match at {
        Some(at) => cx.write_obj(to, &(at + moved as u64).cast_signed()),
        None => Ok(()),
    }
}

/// splice(2).
pub async fn splice(
    cx: &Cx,
    from: Fd,
    from_at: UserRef<i64>,
    to: Fd,
    to_at: UserRef<i64>,
    len: usize,
    flags: u32,
) -> Result<usize> {
    if len == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let (src, dst) = (common::file(cx, from)?, common::file(cx, to)?);
    let (src_pipe, dst_pipe) = (pipe(&src), pipe(&dst));
    if (src_pipe.is_some() && !from_at.is_null()) || (dst_pipe.is_some() && !to_at.is_null()) {
        return Err(Errno::ESPIPE);
    }
    let (src_at, dst_at) = (offset(cx, from_at)?, offset(cx, to_at)?);
    if !src.readable() || !dst.writable() {
        return Err(Errno::EBADF);
    }
    let len = len.min(MAX_RW_COUNT);
    let nonblock = flags & SPLICE_F_NONBLOCK != 0;
    match (src_pipe, dst_pipe) {
        (Some(a), Some(b)) if Arc::ptr_eq(a, b) => Err(Errno::EINVAL),
        (Some(a), Some(b)) => {
            let nonblock = nonblock || src.nonblocking() || dst.nonblocking();
            between(cx, a, b, len, nonblock, false).await
        }
        (Some(a), None) => {
            if (dst_at.is_some() && !dst.ops.seekable()) || dst.has(libc::O_APPEND) {
                return Err(Errno::EINVAL);
            }
            let n = from_pipe(cx, a, &dst, dst_at, len, nonblock || src.nonblocking()).await?;
            store_offset(cx, to_at, dst_at, n)?;
            Ok(n)
        }
        (None, Some(b)) => {
            if src_at.is_some() && !src.ops.seekable() {
                return Err(Errno::EINVAL);
            }
            readable_source(&src)?;
            let n = to_pipe(cx, &src, src_at, b, len, nonblock || dst.nonblocking()).await?;
            store_offset(cx, from_at, src_at, n)?;
            Ok(n)
        }
        (None, None) => Err(Errno::EINVAL),
    }
}

/// tee(2).
pub async fn tee(cx: &Cx, from: Fd, to: Fd, len: usize, flags: u32) -> Result<usize> {
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let (src, dst) = (common::file(cx, from)?, common::file(cx, to)?);
    if !src.readable() || !dst.writable() {
        return Err(Errno::EBADF);
    }
    match (pipe(&src), pipe(&dst)) {
        (Some(a), Some(b)) if !Arc::ptr_eq(a, b) => {
            let nonblock = flags & SPLICE_F_NONBLOCK != 0 || src.nonblocking() || dst.nonblocking();
            between(cx, a, b, len, nonblock, true).await
        }
        _ => Err(Errno::EINVAL),
    }
}

/// vmsplice(2). Pages are copied, given as a gift or not.
pub async fn vmsplice(
    cx: &Cx,
    fd: Fd,
    iov: UserRef<Iovec>,
    count: usize,
    flags: u32,
) -> Result<usize> {
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let file = common::file(cx, fd)?;
    let pipe = pipe(&file).ok_or(Errno::EBADF)?;
    let iov = cx.read_iovec(iov, count)?;
    if iov.iter().all(|b| b.len == 0) {
        return Ok(0);
    }
    let nonblock = flags & SPLICE_F_NONBLOCK != 0;
    if file.writable() {
        let mut src = cx.source_iov(iov);
        let mut op = || pipe.write(&mut src, false);
        let result = if nonblock {
            op()
        } else {
            cx.wait(&pipe.queue, PollEvents::WRITABLE, None, op).await
        };
        return with_sigpipe(cx, result);
    }
    let mut dst = cx.sink_iov(iov);
    let mut op = || pipe.read(&mut dst);
    if nonblock {
        op()
    } else {
        cx.wait(&pipe.queue, PollEvents::READABLE, None, op).await
    }
}

/// sendfile(2).
pub async fn sendfile(cx: &Cx, to: Fd, from: Fd, at: UserRef<i64>, count: usize) -> Result<usize> {
    let start = match at.non_null() {
        None => None,
        Some(at) => Some(cx.read_obj(at)?),
    };
    let src = common::file(cx, from)?;
    if !src.readable() {
        return Err(Errno::EBADF);
    }
    if start.is_some() && !src.ops.seekable() {
        return Err(Errno::ESPIPE);
    }
    let start = start
        .map(|s| u64::try_from(s).map_err(|_| Errno::EINVAL))
        .transpose()?;
    let dst = common::file(cx, to)?;
    if !dst.writable() {
        return Err(Errno::EBADF);
    }
    // A position, so that nothing is lost that the other side doesn't take; and no directory.
    let sequential = !src.ops.seekable() || SocketFile::of(&src).is_ok();
    if (sequential && pipe(&dst).is_none()) || dst.has(libc::O_APPEND) {
        return Err(Errno::EINVAL);
    }
    readable_source(&src)?;
    let count = count.min(MAX_RW_COUNT);
    let mut pos = match start {
        Some(at) => at,
        None => rw::position(&src)?,
    };
    let mut done = 0;
    let result = loop {
        if done == count {
            break Ok(());
        }
        let mut sink = VecSink::new((count - done).min(STEP));
        match rw::read_bytes(cx, &src, &mut sink, Some(pos)).await {
            Ok(0) => break Ok(()),
            Ok(n) => sink.data.truncate(n),
            Err(e) => break Err(e),
        }
        let mut rest = SliceSource(&sink.data);
        match rw::write_bytes(cx, &dst, &mut rest, None).await {
            Ok(n) => {
                done += n;
                pos += n as u64;
                if rest.remaining() > 0 {
                    break Ok(());
                }
            }
            Err(e) => break Err(e),
        }
    };
    if done == 0 {
        result?;
    }
    match start {
        Some(_) => cx.write_obj(at, &pos.cast_signed())?,
        None => rw::set_position(&src, pos)?,
    }
    Ok(done)
}
