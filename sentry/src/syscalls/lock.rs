//! flock(2), and the record locks of fcntl(2).

use super::Fd;
use crate::executor::PollEvents;
use crate::task::Cx;
use crate::user::UserRef;
use crate::vfs::File;
use crate::vfs::lock::{InodeLocks, Owner, Range, TO_END, ofd_owner, stop_waiting};
use arch::abi::Flock;
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whose locks a command deals with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfdKind {
    /// The process's.
    Posix,
    /// The open file description's.
    Ofd,
}

/// The locks of a file's inode. ENOLCK for what has no inode of its own.
fn locks(file: &File) -> Result<&InodeLocks> {
    file.path()
        .map(|p| p.inode().ext().locks())
        .ok_or(Errno::ENOLCK)
}

/// flock(2).
pub async fn flock(cx: &Cx, fd: Fd, op: i32) -> Result<()> {
    let wanted = match op & !libc::LOCK_NB {
        libc::LOCK_SH => Some(false),
        libc::LOCK_EX => Some(true),
        libc::LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    let file = cx.task.files().get(fd)?;
    let locks = locks(&file)?;
    if op & libc::LOCK_NB != 0 {
        return locks.flock(&file, wanted);
    }
    cx.wait(&locks.changed, PollEvents::all(), None, || {
        locks.flock(&file, wanted)
    })
    .await
}

/// First and last byte that a `struct flock` means. EINVAL before the start of the file, EOVERFLOW past its end.
fn range(file: &File, lock: &Flock) -> Result<(u64, u64)> {
    let base = match i32::from(lock.whence) {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => super::rw::position(file)?,
        libc::SEEK_END => file.attr()?.size,
        _ => return Err(Errno::EINVAL),
    };
    let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
    let start = base.checked_add(lock.start).ok_or(Errno::EOVERFLOW)?;
    let (first, last) = match lock.len {
        0 => (start, i64::MAX),
        len if len > 0 => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        len => (start.checked_add(len).ok_or(Errno::EINVAL)?, start - 1),
    };
    let first = u64::try_from(first).map_err(|_| Errno::EINVAL)?;
    let last = u64::try_from(last).map_err(|_| Errno::EINVAL)?;
    Ok((first, last))
}

fn owner(cx: &Cx, file: &File, kind: OfdKind) -> (Owner, i32) {
    match kind {
        OfdKind::Posix => (Owner::Posix(cx.task.files().id), cx.task.group.pid),
        OfdKind::Ofd => (ofd_owner(file), -1),
    }
}

/// F_GETLK, F_OFD_GETLK.
pub(crate) fn getlk(cx: &Cx, file: &File, at: UserRef<Flock>, kind: OfdKind) -> Result<u64> {
    let mut lock = cx.read_obj(at)?;
    if kind == OfdKind::Ofd && lock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let write = match i32::from(lock.kind) {
        libc::F_RDLCK => false,
        libc::F_WRLCK => true,
        _ => return Err(Errno::EINVAL),
    };
    let (start, end) = range(file, &lock)?;
    let (owner, pid) = owner(cx, file, kind);
    let wanted = Range {
        owner,
        pid,
        write,
        start,
        end,
    };
    match locks(file)?.conflict(&wanted) {
        None => lock.kind = libc::F_UNLCK as i16,
        Some(held) => {
            lock.kind = if held.write {
                libc::F_WRLCK
            } else {
                libc::F_RDLCK
            } as i16;
            lock.whence = libc::SEEK_SET as i16;
            lock.start = held.start.cast_signed();
            lock.len = if held.end == TO_END {
                0
            } else {
                (held.end - held.start + 1).cast_signed()
            };
            lock.pid = held.pid;
        }
    }
    cx.write_obj(at, &lock)?;
    Ok(0)
}

/// Ends what [`InodeLocks::set`] began to know of a wait.
struct WaitGuard(u64);

impl Drop for WaitGuard {
    fn drop(&mut self) {
        stop_waiting(self.0);
    }
}

static NEXT_WAIT: AtomicU64 = AtomicU64::new(1);

/// F_SETLK, F_SETLKW and their OFD forms.
pub(crate) async fn setlk(
    cx: &Cx,
    fd: Fd,
    file: &Arc<File>,
    at: UserRef<Flock>,
    kind: OfdKind,
    wait: bool,
) -> Result<u64> {
    let lock = cx.read_obj(at)?;
    if kind == OfdKind::Ofd && lock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, end) = range(file, &lock)?;
    let (owner, pid) = owner(cx, file, kind);
    let write = match i32::from(lock.kind) {
        libc::F_UNLCK => {
            locks(file)?.unset(owner, start, end)?;
            return Ok(0);
        }
        libc::F_RDLCK if file.readable() => false,
        libc::F_WRLCK if file.writable() => true,
        libc::F_RDLCK | libc::F_WRLCK => return Err(Errno::EBADF),
        _ => return Err(Errno::EINVAL),
    };
    let locks = locks(file)?;
    let wanted = Range {
        owner,
        pid,
        write,
        start,
        end,
    };
    if wait {
        let guard = WaitGuard(NEXT_WAIT.fetch_add(1, Ordering::Relaxed));
        let op = || locks.set(file, &wanted, Some(guard.0));
        cx.wait(&locks.changed, PollEvents::all(), None, op).await?;
    } else {
        locks.set(file, &wanted, None)?;
    }
    // Another thread may have closed the descriptor meanwhile, and with it the locks that were there: this one came too late.
    if let Owner::Posix(_) = owner
        && !cx
            .task
            .files()
            .get_raw(fd)
            .is_ok_and(|now| Arc::ptr_eq(&now, file))
    {
        let _ = locks.unset(owner, start, end);
        return Err(Errno::EBADF);
    }
    Ok(0)
}
