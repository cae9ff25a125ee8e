//! Clocks, sleeping, interval and POSIX timers.

use crate::task::{Cx, Deadline, RestartBlock};
use crate::time::cpu::CpuClock;
use crate::time::{self, clock};
use crate::user::{UserAddr, UserRef};
use arch::abi::{Itimerspec, Itimerval, SigEvent, Timespec, Timeval, Timex, Timezone, Tms};
use arch::{Errno, Result};
use std::sync::Arc;

fn nanos(t: Timespec) -> Result<u64> {
    if t.is_valid() {
        Ok(u64::try_from(t.to_nanos()).unwrap_or(u64::MAX))
    } else {
        Err(Errno::EINVAL)
    }
}

/// clock_gettime(2).
pub fn clock_gettime(cx: &Cx, clock: i32, out: UserRef<Timespec>) -> Result<()> {
    let now = clock::read(cx, clock)?;
    cx.write_obj(out, &Timespec::from_nanos(now))
}

/// clock_getres(2).
pub fn clock_getres(cx: &Cx, clock: i32, out: UserRef<Timespec>) -> Result<()> {
    clock::read(cx, clock)?;
    let coarse = matches!(
        clock,
        libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE
    );
    cx.write_opt(
        out,
        &Timespec {
            sec: 0,
            nsec: if coarse { 4_000_000 } else { 1 },
        },
    )
}

/// clock_settime(2): the sandbox can't set the host's clocks.
pub fn clock_settime(cx: &Cx, clock: i32, value: UserRef<Timespec>) -> Result<()> {
    let t = cx.read_obj(value)?;
    if clock != libc::CLOCK_REALTIME || !t.is_valid() {
        return Err(Errno::EINVAL);
    }
    Err(Errno::EPERM)
}

/// gettimeofday(2).
pub fn gettimeofday(cx: &Cx, tv: UserRef<Timeval>, tz: UserRef<Timezone>) -> Result<()> {
    let now = clock::read(cx, libc::CLOCK_REALTIME)?;
    cx.write_opt(
        tv,
        &Timeval {
            sec: now / 1_000_000_000,
            usec: now % 1_000_000_000 / 1000,
        },
    )?;
    cx.write_opt(tz, &Timezone::default())
}

/// settimeofday(2): checked, but the host's clock is not the sandbox's to set.
pub fn settimeofday(cx: &Cx, tv: UserRef<Timeval>, tz: UserRef<Timezone>) -> Result<()> {
    let time = tv.non_null().map(|p| cx.read_obj(p)).transpose()?;
    if time.is_some_and(|t| !(0..=1_000_000).contains(&t.usec)) {
        return Err(Errno::EINVAL);
    }
    let zone = tz.non_null().map(|p| cx.read_obj(p)).transpose()?;
    if time.is_some_and(|t| !t.is_valid() || t.sec < 0) {
        return Err(Errno::EINVAL);
    }
    let privileged = cx.task.creds().has_cap(crate::task::cap::SYS_TIME);
    if privileged && time.is_none() && zone.is_none() {
        return Ok(());
    }
    Err(Errno::EPERM)
}

/// time(2).
pub fn time(cx: &Cx, out: UserRef<i64>) -> Result<u64> {
    let seconds = clock::read(cx, libc::CLOCK_REALTIME)? / 1_000_000_000;
    cx.write_opt(out, &seconds)?;
    Ok(seconds.cast_unsigned())
}

/// times(2).
pub fn times(cx: &Cx, out: UserRef<Tms>) -> Result<u64> {
    let (own, children) = cx.task.group.cpu_usage();
    let ticks = |t: Timeval| t.sec * 100 + t.usec / 10_000;
    let tms = Tms {
        utime: ticks(own.utime),
        stime: ticks(own.stime),
        cutime: ticks(children.utime),
        cstime: ticks(children.stime),
    };
    cx.write_opt(out, &tms)?;
    Ok(clock::read(cx, libc::CLOCK_BOOTTIME)?.cast_unsigned() / 10_000_000)
}

/// adjtimex(2): reading only.
pub fn adjtimex(cx: &Cx, buf: UserRef<Timex>) -> Result<i32> {
    clock_adjtime(cx, libc::CLOCK_REALTIME, buf)
}

/// clock_adjtime(2): reading only.
pub fn clock_adjtime(cx: &Cx, clock: i32, buf: UserRef<Timex>) -> Result<i32> {
    let mut t: Timex = cx.read_obj(buf)?;
    if clock != libc::CLOCK_REALTIME {
        return Err(Errno::EOPNOTSUPP);
    }
    if t.modes != 0 {
        return Err(Errno::EPERM);
    }
    let now = clock::read(cx, libc::CLOCK_REALTIME)?;
    t.time = Timeval {
        sec: now / 1_000_000_000,
        usec: now % 1_000_000_000 / 1000,
    };
    t.tick = 10_000;
    // TIME_ERROR: the clock is not synchronised by us, STA_UNSYNC.
    t.status = 0x40;
    cx.write_obj(buf, &t)?;
    Ok(5)
}

/// nanosleep(2).
pub async fn nanosleep(
    cx: &Cx,
    request: UserRef<Timespec>,
    remaining: UserRef<Timespec>,
) -> Result<()> {
    let span = nanos(cx.read_obj(request)?)?;
    sleep_until(
        cx,
        libc::CLOCK_MONOTONIC,
        Deadline::after(span).0,
        remaining.addr(),
    )
    .await
}

/// clock_nanosleep(2).
pub async fn clock_nanosleep(
    cx: &Cx,
    clock: i32,
    flags: i32,
    request: UserRef<Timespec>,
    remaining: UserRef<Timespec>,
) -> Result<()> {
    let cpu = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME | libc::CLOCK_TAI => {
            None
        }
        // Coarse and raw clocks have no timers, alarms need a clock that wakes a sleeping machine; a thread's own time stands
        // still while it sleeps.
        0.. if clock != libc::CLOCK_PROCESS_CPUTIME_ID => {
            return Err(match clock {
                libc::CLOCK_THREAD_CPUTIME_ID
                | libc::CLOCK_MONOTONIC_RAW
                | libc::CLOCK_REALTIME_COARSE
                | libc::CLOCK_MONOTONIC_COARSE
                | libc::CLOCK_REALTIME_ALARM
                | libc::CLOCK_BOOTTIME_ALARM => Errno::EOPNOTSUPP,
                _ => Errno::EINVAL,
            });
        }
        _ => Some(clock),
    };
    let when = nanos(cx.read_obj(request)?)?;
    let absolute = flags & libc::TIMER_ABSTIME != 0;
    if let Some(clock) = cpu {
        let cpu = CpuClock::of(cx, clock)?.ok_or(Errno::EINVAL)?;
        if matches!(&cpu, CpuClock::Thread(t) if t.as_ptr() == Arc::as_ptr(&cx.task)) {
            return Err(Errno::EINVAL);
        }
        let now = cpu.now().ok_or(Errno::EINVAL)?;
        let until = if absolute {
            when
        } else {
            now.saturating_add(when)
        };
        let rem = (!absolute).then(|| remaining.addr());
        return sleep_cpu(cx, clock, &cpu, until, rem).await;
    }
    if absolute {
        let deadline = clock::to_monotonic(clock, when);
        return match cx.sleep(Some(Deadline(deadline))).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Errno::ERESTARTNOHAND),
        };
    }
    sleep_until(cx, clock, Deadline::after(when).0, remaining.addr()).await
}

/// Sleeps until a clock of CPU time shows `until`. What is left goes to `rem`; `None` for an absolute time: the call begins
/// anew.
async fn sleep_cpu(
    cx: &Cx,
    clock: i32,
    cpu: &CpuClock,
    until: u64,
    rem: Option<UserAddr>,
) -> Result<()> {
    loop {
        let left = match cpu.now() {
            Some(now) => until.saturating_sub(now),
            None => return Ok(()),
        };
        if left == 0 {
            return Ok(());
        }
        if cx
            .sleep(Some(Deadline::after(cpu.wall(left))))
            .await
            .is_ok()
        {
            continue;
        }
        let Some(rem) = rem else {
            return Err(Errno::ERESTARTNOHAND);
        };
        cx.write_opt(UserRef::new(rem), &Timespec::from_nanos(left.cast_signed()))?;
        cx.restart.set(RestartBlock::Nanosleep {
            clock,
            deadline: until,
            rem,
        });
        return Err(Errno::ERESTART_RESTARTBLOCK);
    }
}

/// Goes on with a sleep that was interrupted.
pub async fn restart_sleep(cx: &Cx, clock: i32, deadline: u64, rem: UserAddr) -> Result<()> {
    match CpuClock::of(cx, clock) {
        Ok(Some(cpu)) => sleep_cpu(cx, clock, &cpu, deadline, Some(rem)).await,
        _ => sleep_until(cx, clock, deadline, rem).await,
    }
}

/// A relative sleep, first or restarted: what is left goes to `rem` when a signal ends it.
pub async fn sleep_until(cx: &Cx, clock: i32, deadline: u64, rem: UserAddr) -> Result<()> {
    match cx.sleep(Some(Deadline(deadline))).await {
        Ok(()) => Ok(()),
        Err(_) => {
            let left = Deadline(deadline).remaining();
            if left == 0 {
                return Ok(());
            }
            if !rem.is_null() {
                cx.write_obj(UserRef::new(rem), &Timespec::from_nanos(left.cast_signed()))?;
            }
            cx.restart.set(RestartBlock::Nanosleep {
                clock,
                deadline,
                rem,
            });
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
    }
}

/// alarm(2).
pub fn alarm(cx: &Cx, seconds: u32) -> Result<u32> {
    let old = time::set_itimer(cx, libc::ITIMER_REAL, u64::from(seconds) * 1_000_000_000, 0)?;
    // Rounded to the nearest second, but never to 0 while it runs.
    let (value, _) = old;
    let rounded = (value + 500_000_000) / 1_000_000_000;
    Ok(u32::try_from(if value > 0 && rounded == 0 {
        1
    } else {
        rounded
    })
    .unwrap_or(u32::MAX))
}

fn timeval(ns: u64) -> Timeval {
    // Rounded up: a running timer never shows 0.
    let us = ns.div_ceil(1000);
    Timeval {
        sec: (us / 1_000_000).cast_signed(),
        usec: (us % 1_000_000).cast_signed(),
    }
}

fn timeval_ns(t: Timeval) -> Result<u64> {
    if t.is_valid() && t.sec >= 0 {
        Ok(t.sec
            .cast_unsigned()
            .saturating_mul(1_000_000_000)
            .saturating_add(t.usec.cast_unsigned() * 1000))
    } else {
        Err(Errno::EINVAL)
    }
}

/// getitimer(2).
pub fn getitimer(cx: &Cx, which: i32, out: UserRef<Itimerval>) -> Result<()> {
    let (value, interval) = time::get_itimer(cx, which)?;
    cx.write_obj(
        out,
        &Itimerval {
            interval: timeval(interval),
            value: timeval(value),
        },
    )
}

/// setitimer(2).
pub fn setitimer(
    cx: &Cx,
    which: i32,
    new: UserRef<Itimerval>,
    old: UserRef<Itimerval>,
) -> Result<()> {
    // A null pointer disarms, as Linux has it.
    let new = match new.non_null() {
        Some(p) => cx.read_obj(p)?,
        None => Itimerval::default(),
    };
    let (value, interval) = (timeval_ns(new.value)?, timeval_ns(new.interval)?);
    let previous = time::set_itimer(cx, which, value, interval)?;
    cx.write_opt(
        old,
        &Itimerval {
            interval: timeval(previous.1),
            value: timeval(previous.0),
        },
    )
}

/// timer_create(2).
pub fn timer_create(cx: &Cx, clock: i32, event: UserRef<SigEvent>, id: UserRef<i32>) -> Result<()> {
    let event = event.non_null().map(|p| cx.read_obj(p)).transpose()?;
    let new = time::posix::create(cx, clock, event)?;
    if let Err(e) = cx.write_obj(id, &new) {
        let _ = time::posix::delete(cx, new);
        return Err(e);
    }
    Ok(())
}

/// timer_settime(2).
pub fn timer_settime(
    cx: &Cx,
    id: i32,
    flags: i32,
    new: UserRef<Itimerspec>,
    old: UserRef<Itimerspec>,
) -> Result<()> {
    if new.is_null() {
        return Err(Errno::EINVAL);
    }
    let new = cx.read_obj(new)?;
    let (value, interval) = (nanos(new.value)?, nanos(new.interval)?);
    let previous = time::posix::settime(cx, id, flags & libc::TIMER_ABSTIME != 0, value, interval)?;
    cx.write_opt(old, &itimerspec(previous))
}

fn itimerspec((value, interval): (u64, u64)) -> Itimerspec {
    Itimerspec {
        interval: Timespec::from_nanos(interval.cast_signed()),
        value: Timespec::from_nanos(value.cast_signed()),
    }
}

/// timer_gettime(2).
pub fn timer_gettime(cx: &Cx, id: i32, out: UserRef<Itimerspec>) -> Result<()> {
    let now = time::posix::gettime(cx, id)?;
    cx.write_obj(out, &itimerspec(now))
}

/// timer_getoverrun(2).
pub fn timer_getoverrun(cx: &Cx, id: i32) -> Result<i32> {
    time::posix::overrun(cx, id)
}

/// timer_delete(2).
pub fn timer_delete(cx: &Cx, id: i32) -> Result<()> {
    time::posix::delete(cx, id)
}
