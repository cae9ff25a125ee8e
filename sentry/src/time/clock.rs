//! Clocks. The sandbox sees the host's.

use crate::host::event::clock_ns;
use crate::task::{Cx, Pid};
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
        libc::CLOCK_PROCESS_CPUTIME_ID => Some(i128::from(cx.task.group.cpu_ns())),
        libc::CLOCK_THREAD_CPUTIME_ID => Some(i128::from(cx.task.cpu_ns())),
        c if c < 0 => Some(i128::from(cpu_clock(cx, c)?)),
        _ => None,
    };
    let value = value.ok_or(Errno::EINVAL)?;
    i64::try_from(value).map_err(|_| Errno::EINVAL)
}

/// The clocks of clock_getcpuclockid(3): `(~pid << 3) | flags`, 4 for a thread's, 2 for the scheduler's time.
fn cpu_clock(cx: &Cx, clock: i32) -> Result<u64> {
    if clock & 3 == 3 {
        return Err(Errno::EINVAL);
    }
    let pid: Pid = !(clock >> 3);
    let tree = cx.kernel().tasks.lock();
    if clock & 4 != 0 {
        let task = if pid == 0 {
            Some(cx.task.clone())
        } else {
            tree.task(pid)
        };
        drop(tree);
        let task = task
            .filter(|t| t.group.pid == cx.task.group.pid)
            .ok_or(Errno::EINVAL)?;
        Ok(task.cpu_ns())
    } else {
        let group = if pid == 0 {
            Some(cx.task.group.clone())
        } else {
            tree.group(pid)
        };
        drop(tree);
        Ok(group.ok_or(Errno::EINVAL)?.cpu_ns())
    }
}

/// An absolute time of `clock` as one of CLOCK_MONOTONIC, by the difference between the two now.
pub fn to_monotonic(clock: i32, at: u64) -> u64 {
    let (Some(mono), Some(now)) = (clock_ns(libc::CLOCK_MONOTONIC), clock_ns(clock)) else {
        return at;
    };
    let target = i128::from(at) - now + mono;
    u64::try_from(target.max(0)).unwrap_or(u64::MAX)
}
