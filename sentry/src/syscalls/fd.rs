//! Descriptors: close, dup, ioctl's generic part.

use super::Fd;
use crate::task::Cx;
use crate::user::{UserAddr, UserRef};
use arch::{Errno, Result};

/// CLOSE_RANGE_UNSHARE.
const CLOSE_RANGE_UNSHARE: u32 = 2;
/// CLOSE_RANGE_CLOEXEC.
const CLOSE_RANGE_CLOEXEC: u32 = 4;

fn limit(cx: &Cx) -> u64 {
    cx.task.group.rlimit(libc::RLIMIT_NOFILE)
}

/// close(2).
pub fn close(cx: &Cx, fd: Fd) -> Result<()> {
    cx.task.files().close(fd)
}

/// close_range(2).
pub fn close_range(cx: &Cx, first: u32, last: u32, flags: u32) -> Result<()> {
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        let own = cx.task.files().fork();
        *cx.task.files.lock() = own;
    }
    cx.task
        .files()
        .close_range(first, last, flags & CLOSE_RANGE_CLOEXEC != 0);
    Ok(())
}

/// dup(2).
pub fn dup(cx: &Cx, fd: Fd) -> Result<Fd> {
    let files = cx.task.files();
    let file = files.get_raw(fd)?;
    files.install(file, false, limit(cx))
}

/// dup2(2).
pub fn dup2(cx: &Cx, old: Fd, new: Fd) -> Result<Fd> {
    if old == new {
        cx.task.files().get_raw(old)?;
        return Ok(new);
    }
    duplicate(cx, old, new, false)
}

/// dup3(2).
pub fn dup3(cx: &Cx, old: Fd, new: Fd, flags: i32) -> Result<Fd> {
    if flags & !libc::O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    duplicate(cx, old, new, flags & libc::O_CLOEXEC != 0)
}

fn duplicate(cx: &Cx, old: Fd, new: Fd, cloexec: bool) -> Result<Fd> {
    let limit = limit(cx);
    if u64::try_from(new.0).map_or(true, |n| n >= limit) {
        return Err(Errno::EBADF);
    }
    let files = cx.task.files();
    let file = files.get_raw(old)?;
    files.replace(new, file, cloexec, limit)?;
    Ok(new)
}

/// ioctl(2).
pub fn ioctl(cx: &Cx, fd: Fd, cmd: u32, arg: u64) -> Result<u64> {
    const FIOCLEX: u32 = 0x5451;
    const FIONCLEX: u32 = 0x5450;
    const FIONBIO: u32 = 0x5421;
    const FIOASYNC: u32 = 0x5452;
    let files = cx.task.files();
    let file = files.get(fd)?;
    match cmd {
        FIOCLEX => files.set_cloexec(fd, true).map(|()| 0),
        FIONCLEX => files.set_cloexec(fd, false).map(|()| 0),
        FIONBIO | FIOASYNC => {
            let on = cx.read_obj(UserRef::<i32>::new(UserAddr(arg)))? != 0;
            let bit = if cmd == FIONBIO {
                libc::O_NONBLOCK
            } else {
                libc::O_ASYNC
            } as u32;
            let flags = if on {
                file.flags() | bit
            } else {
                file.flags() & !bit
            };
            file.ops.set_flags(&file, flags)?;
            file.store_flags(flags);
            Ok(0)
        }
        _ => file.ops.ioctl(cx, &file, cmd, arg),
    }
}
