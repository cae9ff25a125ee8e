//! eventfd(2), timerfd_create(2) and kin.

use super::Fd;
use super::pipe::{file, install};
use crate::event::eventfd::EventFd;
use crate::event::timerfd::{HasTimers, TimerFd};
use crate::task::Cx;
use crate::user::UserRef;
use arch::abi::Itimerspec;
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
