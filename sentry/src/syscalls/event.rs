//! eventfd(2), timerfd_create(2), signalfd(2), pidfd_open(2), inotify(7).

use super::Fd;
use super::pipe::{file, install};
use crate::event::eventfd::EventFd;
use crate::event::inotify::Inotify;
use crate::event::pidfd::PidFd;
use crate::event::signalfd::SignalFd;
use crate::event::timerfd::{HasTimers, TimerFd};
use crate::task::{Cx, ThreadGroup, cap};
use crate::user::{UserRef, UserStr};
use crate::vfs::walk::{At, WalkFlags};
use crate::vfs::{Access, perm};
use arch::abi::{Itimerspec, SIGSET_SIZE, SigSet};
use arch::{Errno, Result};
use std::sync::{Arc, Weak};

/// CAP_WAKE_ALARM.
const WAKE_ALARM: u32 = 35;

/// eventfd2(2).
pub fn eventfd2(cx: &Cx, initial: u32, flags: i32) -> Result<Fd> {
    if flags & !(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE) != 0 {
        return Err(Errno::EINVAL);
    }
    let semaphore = flags & libc::EFD_SEMAPHORE != 0;
    let event = EventFd::open(initial, semaphore, (flags & libc::EFD_NONBLOCK) as u32);
    install(cx, event, flags & libc::EFD_CLOEXEC != 0)
}

/// eventfd(2) of old: no flags.
pub fn eventfd(cx: &Cx, initial: u32) -> Result<Fd> {
    eventfd2(cx, initial, 0)
}

/// timerfd_create(2). The alarm clocks take CAP_WAKE_ALARM, and wake nothing that the others don't.
pub fn timerfd_create(cx: &Cx, clock: i32, flags: i32) -> Result<Fd> {
    if flags & !(libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let kernel: Weak<dyn HasTimers> = Arc::downgrade(cx.kernel()) as Weak<dyn HasTimers>;
    let timer = TimerFd::open(clock, (flags & libc::TFD_NONBLOCK) as u32, kernel)?;
    let alarm = matches!(
        clock,
        libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM
    );
    if alarm && !cx.task.creds().has_cap(WAKE_ALARM) {
        return Err(Errno::EPERM);
    }
    install(cx, timer, flags & libc::TFD_CLOEXEC != 0)
}

/// timerfd_settime(2).
pub fn timerfd_settime(
    cx: &Cx,
    fd: Fd,
    flags: i32,
    new: UserRef<Itimerspec>,
    old: UserRef<Itimerspec>,
) -> Result<()> {
    let new = cx.read_obj(new)?;
    TimerFd::check(flags, &new)?;
    let file = file(cx, fd)?;
    let timer = file.downcast::<TimerFd>().ok_or(Errno::EINVAL)?;
    let before = timer.set(flags, &new)?;
    cx.write_opt(old, &before)
}

/// timerfd_gettime(2).
pub fn timerfd_gettime(cx: &Cx, fd: Fd, out: UserRef<Itimerspec>) -> Result<()> {
    let file = file(cx, fd)?;
    let timer = file.downcast::<TimerFd>().ok_or(Errno::EINVAL)?;
    cx.write_obj(out, &timer.get())
}

/// signalfd4(2).
pub fn signalfd4(cx: &Cx, fd: Fd, mask: UserRef<SigSet>, size: u64, flags: i32) -> Result<Fd> {
    if flags & !(libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) != 0 || size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let mask = cx.read_obj(mask)?;
    if fd.0 == -1 {
        let file = SignalFd::open(mask, (flags & libc::SFD_NONBLOCK) as u32);
        return install(cx, file, flags & libc::SFD_CLOEXEC != 0);
    }
    let file = file(cx, fd)?;
    file.downcast::<SignalFd>()
        .ok_or(Errno::EINVAL)?
        .set_mask(mask);
    Ok(fd)
}

/// signalfd(2) of old: no flags.
pub fn signalfd(cx: &Cx, fd: Fd, mask: UserRef<SigSet>, size: u64) -> Result<Fd> {
    signalfd4(cx, fd, mask, size, 0)
}

/// pidfd_open(2).
pub fn pidfd_open(cx: &Cx, pid: i32, flags: u32) -> Result<Fd> {
    const NONBLOCK: u32 = libc::O_NONBLOCK as u32;
    if flags & !NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL);
    }
    let group = {
        let tree = cx.kernel().tasks.lock();
        match tree.group(pid) {
            Some(group) => group,
            // A thread that leads no process.
            None if tree.task(pid).is_some() => return Err(Errno::ENOENT),
            None => return Err(Errno::ESRCH),
        }
    };
    install(cx, PidFd::open(group, flags), true)
}

/// The process behind a pidfd, and whether the descriptor is non-blocking. EBADF.
pub(crate) fn pidfd_group(cx: &Cx, fd: Fd) -> Result<(Arc<ThreadGroup>, bool)> {
    let file = file(cx, fd)?;
    let pidfd = file.downcast::<PidFd>().ok_or(Errno::EBADF)?;
    Ok((Arc::clone(pidfd.group()), file.nonblocking()))
}

/// pidfd_getfd(2). EPERM unless the caller may trace the process, ESRCH when it has ended.
pub fn pidfd_getfd(cx: &Cx, pidfd: Fd, target: Fd, flags: u32) -> Result<Fd> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (group, _) = pidfd_group(cx, pidfd)?;
    let task = group.threads().first().cloned().ok_or(Errno::ESRCH)?;
    let (mine, theirs) = (cx.task.creds(), task.creds());
    let same = [theirs.uid, theirs.euid, theirs.suid]
        .iter()
        .all(|id| *id == mine.uid)
        && [theirs.gid, theirs.egid, theirs.sgid]
            .iter()
            .all(|id| *id == mine.gid)
        && group.dumpable.load(std::sync::atomic::Ordering::Relaxed) == 1;
    let own = Arc::ptr_eq(&group, &cx.task.group);
    if !own && !same && !mine.has_cap(cap::SYS_PTRACE) {
        return Err(Errno::EPERM);
    }
    let file = task.files().get_raw(target)?;
    install(cx, file, true)
}

/// inotify_init1(2).
pub fn inotify_init1(cx: &Cx, flags: i32) -> Result<Fd> {
    if flags & !(libc::IN_CLOEXEC | libc::IN_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    install(
        cx,
        Inotify::open((flags & libc::IN_NONBLOCK) as u32)?,
        flags & libc::IN_CLOEXEC != 0,
    )
}

/// inotify_init(2).
pub fn inotify_init(cx: &Cx) -> Result<Fd> {
    inotify_init1(cx, 0)
}

/// inotify_add_watch(2).
pub fn inotify_add_watch(cx: &Cx, fd: Fd, path: UserStr, mask: u32) -> Result<i32> {
    const BITS: u32 = libc::IN_ALL_EVENTS
        | libc::IN_UNMOUNT
        | libc::IN_Q_OVERFLOW
        | libc::IN_IGNORED
        | libc::IN_ONLYDIR
        | libc::IN_DONT_FOLLOW
        | libc::IN_EXCL_UNLINK
        | libc::IN_MASK_ADD
        | libc::IN_MASK_CREATE
        | libc::IN_ISDIR
        | libc::IN_ONESHOT;
    if mask & BITS == 0 {
        return Err(Errno::EINVAL);
    }
    let file = file(cx, fd)?;
    let both = libc::IN_MASK_ADD | libc::IN_MASK_CREATE;
    if mask & both == both {
        return Err(Errno::EINVAL);
    }
    let inotify = file.downcast::<Inotify>().ok_or(Errno::EINVAL)?;
    let mut flags = WalkFlags::empty();
    flags.set(WalkFlags::FOLLOW, mask & libc::IN_DONT_FOLLOW == 0);
    flags.set(WalkFlags::DIRECTORY, mask & libc::IN_ONLYDIR != 0);
    let env = cx.env();
    let place = env.resolve(&At::Cwd, &cx.read_path(path)?, flags)?;
    perm::path(&env, &place, Access::READ)?;
    inotify.watch(place, mask)
}

/// inotify_rm_watch(2).
pub fn inotify_rm_watch(cx: &Cx, fd: Fd, wd: i32) -> Result<()> {
    let file = file(cx, fd)?;
    file.downcast::<Inotify>().ok_or(Errno::EINVAL)?.unwatch(wd)
}
