//! Clocks. The sandbox sees the host's.

use super::cpu::CpuClock;
use crate::host::event::clock_ns;
use crate::task::Cx;
use arch::{Errno, Result};

/// A clock's value in nanoseconds; EINVAL for one that isn't there (clock_gettime(2)).
pub fn read(cx: &Cx, clock: i32) -> Result<i64> {
    let value = match clock {
        libc::CLOCK_REALTIME..=libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW..=libc::CLOCK_BOOTTIME
        | libc::CLOCK_TAI => clock_ns(clock),
        libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM => {
            clock_ns(if clock == libc::CLOCK_REALTIME_ALARM {
                libc::CLOCK_REALTIME
            } else {
                libc::CLOCK_BOOTTIME
            })
        }
        _ => CpuClock::of(cx, clock)?
            .and_then(|c| c.now())
            .map(i128::from),
    };
    let value = value.ok_or(Errno::EINVAL)?;
    i64::try_from(value).map_err(|_| Errno::EINVAL)
}

/// An absolute time of `clock` as one of CLOCK_MONOTONIC, by the difference between the two now.
pub fn to_monotonic(clock: i32, at: u64) -> u64 {
    let (Some(mono), Some(now)) = (clock_ns(libc::CLOCK_MONOTONIC), clock_ns(clock)) else {
        return at;
    };
    let target = i128::from(at) - now + mono;
    u64::try_from(target.max(0)).unwrap_or(u64::MAX)
}
