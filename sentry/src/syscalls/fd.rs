//! Descriptors: dup(2), close_range(2), fcntl(2), ioctl(2).

use super::Fd;
use super::lock::{self, OfdKind};
use crate::event::pipe::PipeEnd;
use crate::net::SocketFile;
use crate::task::Cx;
use crate::user::{UserAddr, UserRef};
use crate::vfs::file::FileOwner;
use crate::vfs::{File, FileType};
use arch::{Errno, Result};
use std::sync::Arc;

fn limit(cx: &Cx) -> u64 {
    cx.task.group.rlimit(libc::RLIMIT_NOFILE)
}

/// dup(2).
pub fn dup(cx: &Cx, fd: Fd) -> Result<Fd> {
    let files = cx.task.files();
    files.install(files.get_raw(fd)?, false, limit(cx))
}

/// dup2(2): the same number twice is only checked.
pub fn dup2(cx: &Cx, old: Fd, new: Fd) -> Result<Fd> {
    let files = cx.task.files();
    let file = files.get_raw(old)?;
    if old != new {
        files.replace(new, file, false, limit(cx))?;
    }
    Ok(new)
}

/// dup3(2): the same number twice is EINVAL.
pub fn dup3(cx: &Cx, old: Fd, new: Fd, flags: i32) -> Result<Fd> {
    if flags & !libc::O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    if new.0 < 0 || new.0 as u64 >= limit(cx) {
        return Err(Errno::EBADF);
    }
    let files = cx.task.files();
    let file = files.get_raw(old)?;
    files.replace(new, file, flags != 0, limit(cx))?;
    Ok(new)
}

/// close_range(2).
pub fn close_range(cx: &Cx, first: u32, last: u32, flags: u32) -> Result<()> {
    const UNSHARE: u32 = libc::CLOSE_RANGE_UNSHARE;
    const CLOEXEC: u32 = libc::CLOSE_RANGE_CLOEXEC;
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    if flags & UNSHARE != 0 {
        let own = cx.task.files().fork();
        *cx.task.files.lock() = own;
    }
    cx.task
        .files()
        .close_range(first, last, flags & CLOEXEC != 0);
    Ok(())
}

/// Flags that F_SETFL changes.
const SETTABLE: u32 =
    (libc::O_APPEND | libc::O_NONBLOCK | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME) as u32;

/// F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW.
const F_OFD_GETLK: i32 = 36;
const F_OFD_SETLK: i32 = 37;
const F_OFD_SETLKW: i32 = 38;
const F_SETLEASE: i32 = 1024;
const F_GETLEASE: i32 = 1025;
const F_NOTIFY: i32 = 1026;
const F_DUPFD_QUERY: i32 = 1027;

/// fcntl(2).
pub async fn fcntl(cx: &Cx, fd: Fd, cmd: i32, arg: u64) -> Result<u64> {
    let files = cx.task.files();
    let file = files.get_raw(fd)?;
    if file.is_path_only() {
        let allowed = matches!(
            cmd,
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC | libc::F_GETFD | libc::F_SETFD | libc::F_GETFL
        );
        if !allowed && cmd != F_DUPFD_QUERY {
            return Err(Errno::EBADF);
        }
    }
    match cmd {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let cloexec = cmd == libc::F_DUPFD_CLOEXEC;
            // The number comes as an unsigned long and is compared as such.
            files
                .install_from(arg, file, cloexec, limit(cx))
                .map(|fd| fd.0 as u64)
        }
        F_DUPFD_QUERY => {
            let other = files.get_raw(Fd(arg as i32))?;
            Ok(u64::from(Arc::ptr_eq(&file, &other)))
        }
        libc::F_GETFD => Ok(u64::from(files.cloexec(fd)?)),
        libc::F_SETFD => {
            files.set_cloexec(fd, arg & libc::FD_CLOEXEC as u64 != 0)?;
            Ok(0)
        }
        libc::F_GETFL => Ok(u64::from(file.flags())),
        libc::F_SETFL => set_flags(cx, fd, &file, arg as u32).map(|()| 0),
        // Without a right to write, nothing else is looked at.
        libc::F_ADD_SEALS if !file.writable() => Err(Errno::EPERM),
        libc::F_GETLK => lock::getlk(cx, &file, UserRef::new(UserAddr(arg)), OfdKind::Posix),
        F_OFD_GETLK => lock::getlk(cx, &file, UserRef::new(UserAddr(arg)), OfdKind::Ofd),
        libc::F_SETLK | libc::F_SETLKW => {
            let wait = cmd == libc::F_SETLKW;
            lock::setlk(
                cx,
                fd,
                &file,
                UserRef::new(UserAddr(arg)),
                OfdKind::Posix,
                wait,
            )
            .await
        }
        F_OFD_SETLK | F_OFD_SETLKW => {
            let wait = cmd == F_OFD_SETLKW;
            lock::setlk(
                cx,
                fd,
                &file,
                UserRef::new(UserAddr(arg)),
                OfdKind::Ofd,
                wait,
            )
            .await
        }
        libc::F_GETOWN => Ok(owner_number(&file)),
        libc::F_SETOWN => {
            set_owner(cx, &file, arg as i32)?;
            crate::event::sigio::watch_urgent(cx, &file);
            Ok(0)
        }
        F_GETOWN_EX => {
            let owner = *file.owner.lock();
            cx.write_obj(UserRef::new(UserAddr(arg)), &[owner.kind, owner.id])?;
            Ok(0)
        }
        F_SETOWN_EX => {
            let [kind, id]: [i32; 2] = cx.read_obj(UserRef::new(UserAddr(arg)))?;
            if !(0..=2).contains(&kind) {
                return Err(Errno::EINVAL);
            }
            owner_exists(cx, kind, id)?;
            {
                let mut owner = file.owner.lock();
                (owner.kind, owner.id) = (kind, id);
            }
            crate::event::sigio::watch_urgent(cx, &file);
            Ok(0)
        }
        F_GETSIG => Ok(file.owner.lock().signal as u64),
        F_SETSIG => {
            let signal = i32::try_from(arg).ok().filter(|s| (0..=64).contains(s));
            file.owner.lock().signal = signal.ok_or(Errno::EINVAL)?;
            Ok(0)
        }
        // No leases: nobody could break one that a host process ignores.
        F_GETLEASE => Ok(libc::F_UNLCK as u64),
        F_SETLEASE | F_NOTIFY => Err(Errno::EINVAL),
        libc::F_GETPIPE_SZ | libc::F_SETPIPE_SZ if file.downcast::<PipeEnd>().is_none() => {
            Err(Errno::EBADF)
        }
        libc::F_ADD_SEALS if !file.writable() => Err(Errno::EPERM),
        _ => file.ops.fcntl(&file, cmd, arg),
    }
}

const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;
const FIOGETOWN: u64 = 0x8903;
const SIOCGPGRP: u64 = 0x8904;
const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;
const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;
const F_OWNER_PID: i32 = 1;
const F_OWNER_PGRP: i32 = 2;

/// F_GETOWN: a process, or a process group as a negative number.
fn owner_number(file: &File) -> u64 {
    let owner = *file.owner.lock();
    let id = if owner.kind == F_OWNER_PGRP {
        -owner.id
    } else {
        owner.id
    };
    i64::from(id).cast_unsigned()
}

/// ESRCH for an owner that isn't there; 0 is nobody.
fn owner_exists(cx: &Cx, kind: i32, id: i32) -> Result<()> {
    let tree = cx.kernel().tasks.lock();
    let there = match kind {
        _ if id == 0 => true,
        F_OWNER_PID => tree.group(id).is_some(),
        F_OWNER_PGRP => !tree.pgrp_members(id).is_empty(),
        _ => tree.task(id).is_some(),
    };
    if there { Ok(()) } else { Err(Errno::ESRCH) }
}

fn set_owner(cx: &Cx, file: &File, who: i32) -> Result<()> {
    if who == i32::MIN {
        return Err(Errno::EINVAL);
    }
    let kind = if who < 0 { F_OWNER_PGRP } else { F_OWNER_PID };
    owner_exists(cx, kind, who.abs())?;
    let mut owner = file.owner.lock();
    *owner = FileOwner {
        kind,
        id: who.abs(),
        signal: owner.signal,
    };
    Ok(())
}

/// F_SETFL: O_NOATIME needs the owner (EPERM).
fn set_flags(cx: &Cx, fd: Fd, file: &Arc<File>, new: u32) -> Result<()> {
    let old = file.flags();
    let noatime = libc::O_NOATIME as u32;
    if new & noatime != 0
        && old & noatime == 0
        && !crate::vfs::perm::owner_or_capable(&file.attr()?, &cx.task.creds())
    {
        return Err(Errno::EPERM);
    }
    let flags = (old & !SETTABLE) | (new & SETTABLE);
    file.ops.set_flags(file, flags)?;
    file.store_flags(flags);
    async_changed(cx, fd, file, old);
    Ok(())
}

fn async_changed(cx: &Cx, fd: Fd, file: &Arc<File>, old: u32) {
    let on = file.has(libc::O_ASYNC);
    if on != (old & libc::O_ASYNC as u32 != 0) {
        crate::event::sigio::update(cx, file, fd.0, on);
    }
}

/// ioctl(2): the commands that every file knows, else the file's own.
pub fn ioctl(cx: &Cx, fd: Fd, cmd: u32, arg: u64) -> Result<u64> {
    let files = cx.task.files();
    let file = files.get(fd)?;
    match u64::from(cmd) {
        libc::FIOCLEX => files.set_cloexec(fd, true).map(|()| 0),
        libc::FIONCLEX => files.set_cloexec(fd, false).map(|()| 0),
        libc::FIONBIO => {
            let on: i32 = cx.read_obj(UserRef::new(UserAddr(arg)))?;
            set_flag(&file, libc::O_NONBLOCK, on != 0)
        }
        FIOSETOWN | SIOCSPGRP if SocketFile::of(&file).is_ok() => {
            let who: i32 = cx.read_obj(UserRef::new(UserAddr(arg)))?;
            set_owner(cx, &file, who)?;
            crate::event::sigio::watch_urgent(cx, &file);
            Ok(0)
        }
        FIOGETOWN | SIOCGPGRP if SocketFile::of(&file).is_ok() => {
            let owner = owner_number(&file) as i32;
            cx.write_obj(UserRef::new(UserAddr(arg)), &owner)?;
            Ok(0)
        }
        libc::FIOASYNC => {
            let on: i32 = cx.read_obj(UserRef::new(UserAddr(arg)))?;
            let old = file.flags();
            set_flag(&file, libc::O_ASYNC, on != 0)?;
            async_changed(cx, fd, &file, old);
            Ok(0)
        }
        libc::FIONREAD if super::rw::is_regular(&file) => {
            let size = file.attr()?.size;
            let left = size.saturating_sub(super::rw::position(&file)?);
            let left = i32::try_from(left).unwrap_or(i32::MAX);
            cx.write_obj(UserRef::new(UserAddr(arg)), &left)?;
            Ok(0)
        }
        FIOQSIZE => {
            let attr = file.attr()?;
            if !matches!(
                attr.file_type(),
                FileType::Regular | FileType::Directory | FileType::Symlink
            ) {
                return Err(Errno::ENOTTY);
            }
            cx.write_obj(UserRef::new(UserAddr(arg)), &attr.size)?;
            Ok(0)
        }
        _ => file.ops.ioctl(cx, &file, cmd, arg),
    }
}

const FIOQSIZE: u64 = 0x5460;

fn set_flag(file: &File, flag: i32, on: bool) -> Result<u64> {
    let old = file.flags();
    let new = if on {
        old | flag as u32
    } else {
        old & !(flag as u32)
    };
    if new != old {
        file.ops.set_flags(file, new)?;
        file.store_flags(new);
    }
    Ok(0)
}
