//! process_vm_readv(2), process_vm_writev(2).

use crate::mm::Mm;
use crate::task::{Cx, Pid, cap};
use crate::user::memory::check_range;
use crate::user::{Sink, Source, UserAddr, UserRef};
use arch::abi::{Iovec, UIO_MAXIOV};
use arch::{Errno, Result};
use std::sync::Arc;

/// Bytes on the way at a time.
const CHUNK: usize = 64 << 10;

/// The memory of another process, which the caller may look into (ptrace(2), PTRACE_MODE_ATTACH_REALCREDS).
fn target(cx: &Cx, pid: Pid) -> Result<Arc<Mm>> {
    let task = cx.kernel().tasks.lock().task(pid).ok_or(Errno::ESRCH)?;
    if !Arc::ptr_eq(&task.group, &cx.task.group) {
        let (own, theirs) = (cx.task.creds(), task.creds());
        let same = [theirs.euid, theirs.suid, theirs.uid]
            .iter()
            .all(|u| *u == own.uid)
            && [theirs.egid, theirs.sgid, theirs.gid]
                .iter()
                .all(|g| *g == own.gid)
            && theirs.permitted & !own.permitted == 0
            && task
                .group
                .dumpable
                .load(std::sync::atomic::Ordering::Relaxed)
                == 1;
        if !same && !own.has_cap(cap::SYS_PTRACE) {
            return Err(Errno::EPERM);
        }
    }
    task.try_mm().ok_or(Errno::ESRCH)
}

fn remote_iovec(cx: &Cx, iov: UserRef<Iovec>, count: usize) -> Result<Vec<Iovec>> {
    if count > UIO_MAXIOV {
        return Err(Errno::EINVAL);
    }
    let iov: Vec<Iovec> = cx.read_array(iov, count)?;
    for piece in &iov {
        if i64::try_from(piece.len).is_err() {
            return Err(Errno::EINVAL);
        }
        check_range(UserAddr(piece.base), piece.len)?;
    }
    Ok(iov)
}

/// Moves bytes piece by piece, as long as it goes. `step` is given an address and a number of bytes, and says how many it wanted to
/// move (none: the caller's side is full) and how many it has moved. Bytes moved; EFAULT if none could be.
fn each_chunk(
    remote: &[Iovec],
    mut step: impl FnMut(u64, usize) -> (usize, usize),
) -> Result<usize> {
    let mut done = 0;
    for piece in remote {
        let mut at = 0;
        while at < piece.len {
            let len = usize::try_from(piece.len - at).unwrap_or(CHUNK);
            let (wanted, moved) = step(piece.base + at, len);
            if wanted == 0 {
                return Ok(done);
            }
            done += moved;
            at += moved as u64;
            if moved < wanted {
                return if done == 0 {
                    Err(Errno::EFAULT)
                } else {
                    Ok(done)
                };
            }
        }
    }
    Ok(done)
}

/// process_vm_readv(2). Bytes moved, which may be fewer than asked for; EFAULT if none could be.
pub fn process_vm_readv(
    cx: &Cx,
    pid: Pid,
    local: UserRef<Iovec>,
    local_count: usize,
    remote: UserRef<Iovec>,
    remote_count: usize,
    flags: u64,
) -> Result<usize> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let iov = cx.read_iovec(local, local_count)?;
    let mut sink = cx.sink_iov(iov);
    if sink.remaining() == 0 {
        return Ok(0);
    }
    let remote = remote_iovec(cx, remote, remote_count)?;
    let mm = target(cx, pid)?;
    let mut buf = vec![0; CHUNK.min(sink.remaining())];
    each_chunk(&remote, |at, len| {
        let want = len.min(buf.len()).min(sink.remaining());
        let moved = match mm.read_as_loaded(at, &mut buf[..want]) {
            0 => 0,
            got => sink.write(&buf[..got]).unwrap_or(0),
        };
        (want, moved)
    })
}

/// process_vm_writev(2). Bytes moved, which may be fewer than asked for; EFAULT if none could be.
pub fn process_vm_writev(
    cx: &Cx,
    pid: Pid,
    local: UserRef<Iovec>,
    local_count: usize,
    remote: UserRef<Iovec>,
    remote_count: usize,
    flags: u64,
) -> Result<usize> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let iov = cx.read_iovec(local, local_count)?;
    let mut source = cx.source_iov(iov);
    if source.remaining() == 0 {
        return Ok(0);
    }
    let remote = remote_iovec(cx, remote, remote_count)?;
    let mm = target(cx, pid)?;
    let mut buf = vec![0; CHUNK.min(source.remaining())];
    each_chunk(&remote, |at, len| {
        let want = len.min(buf.len()).min(source.remaining());
        let moved = match source.peek(&mut buf[..want]).unwrap_or(0) {
            0 => 0,
            got => mm.space.write(at, &buf[..got]),
        };
        source.advance(moved);
        (want, moved)
    })
}
