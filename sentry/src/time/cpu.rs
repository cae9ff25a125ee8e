//! Clocks of CPU time, and RLIMIT_CPU.
//!
//! The host's scheduler counts, and nobody tells us when a count is reached: what waits for CPU time looks again whenever so
//! much wall time has passed that it could have been.

use crate::executor::{TimerId, TimerTarget};
use crate::host::event::monotonic_ns;
use crate::kernel::Kernel;
use crate::signal::send_to_group;
use crate::task::{Cx, Pid, Task, ThreadGroup};
use arch::abi::SigInfo;
use arch::signal::Signal;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// CPU time is looked at no more often than this, nanoseconds (a tick of the kernel's).
pub const TICK: u64 = 4_000_000;
/// A process that does not use its time is looked at no less often than this when its limit is near.
const IDLE: u64 = 64_000_000;
const SECOND: u64 = 1_000_000_000;

/// Whose CPU time a clock shows.
#[derive(Clone)]
pub enum CpuClock {
    Process(Weak<ThreadGroup>),
    Thread(Weak<Task>),
}

impl CpuClock {
    /// The CPU time that clock `id` shows; `None` for a clock of another kind. The clocks of clock_getcpuclockid(3) are
    /// `(~pid << 3) | flags`, 4 for a thread's, 2 for the scheduler's time. EINVAL for one that isn't there.
    pub fn of(cx: &Cx, id: i32) -> Result<Option<Self>> {
        let own = &cx.task;
        match id {
            libc::CLOCK_PROCESS_CPUTIME_ID => {
                return Ok(Some(Self::Process(Arc::downgrade(&own.group))));
            }
            libc::CLOCK_THREAD_CPUTIME_ID => return Ok(Some(Self::Thread(Arc::downgrade(own)))),
            0.. => return Ok(None),
            _ if id & 3 == 3 => return Err(Errno::EINVAL),
            _ => {}
        }
        let pid: Pid = !(id >> 3);
        let tree = cx.kernel().tasks.lock();
        if id & 4 != 0 {
            let task = if pid == 0 {
                Some(Arc::clone(own))
            } else {
                tree.task(pid)
            };
            let task = task.filter(|t| t.group.pid == own.group.pid);
            Ok(Some(Self::Thread(Arc::downgrade(
                &task.ok_or(Errno::EINVAL)?,
            ))))
        } else {
            let group = if pid == 0 {
                Some(Arc::clone(&own.group))
            } else {
                tree.group(pid)
            };
            Ok(Some(Self::Process(Arc::downgrade(
                &group.ok_or(Errno::EINVAL)?,
            ))))
        }
    }

    /// Nanoseconds; `None` once its process or thread is gone.
    pub fn now(&self) -> Option<u64> {
        match self {
            Self::Process(group) => group.upgrade().map(|g| g.cpu_ns()),
            Self::Thread(task) => task.upgrade().map(|t| t.cpu_ns()),
        }
    }

    /// Wall time in which `left` nanoseconds of CPU time can't be used up, but at least a tick.
    pub fn wall(&self, left: u64) -> u64 {
        match self {
            Self::Process(group) => group.upgrade().map_or(left, |g| wall(&g, left)),
            Self::Thread(_) => left,
        }
        .max(TICK)
    }
}

/// Wall time in which the process can't use up `left` nanoseconds of CPU time, but at least a tick.
pub fn wall(group: &ThreadGroup, left: u64) -> u64 {
    let cpus = group.kernel.upgrade().map_or(1, |k| k.cpus.usable());
    let parallel = group.threads().len().clamp(1, cpus.max(1));
    (left / parallel as u64).max(TICK)
}

/// The watch over RLIMIT_CPU.
#[derive(Default)]
pub struct CpuLimit(Mutex<Watch>);

#[derive(Default)]
struct Watch {
    armed: Option<TimerId>,
    /// CPU time at the last look.
    seen: u64,
    /// How long that was to hold.
    waited: u64,
}

struct Target(Weak<ThreadGroup>);

impl TimerTarget for Target {
    fn expired(&self, id: TimerId) {
        if let Some(group) = self.0.upgrade() {
            let ours = group.timers.limit.0.lock().armed == Some(id);
            if ours {
                watch_limit(&group);
            }
        }
    }
}

impl CpuLimit {
    pub(super) fn clear(&self, kernel: &Kernel) {
        if let Some(id) = self.0.lock().armed.take() {
            kernel.timers.cancel(id);
        }
    }
}

/// Looks whether the process has reached its RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the
/// hard one. To be called when the limit has changed and for a new process that has one.
pub fn watch_limit(group: &Arc<ThreadGroup>) {
    let Some(kernel) = group.kernel.upgrade() else {
        return;
    };
    group.timers.limit.clear(&kernel);
    let Some(limit) = soft_limit(group) else {
        return;
    };
    if group.is_zombie() {
        return;
    }
    let used = group.cpu_ns();
    let next = match reached(group, used, limit) {
        Some(Signal::SIGKILL) => {
            // It ends the first process of a container too.
            group.forced.store(true, Ordering::Relaxed);
            let _ = send_to_group(group, SigInfo::kernel(Signal::SIGKILL));
            return;
        }
        Some(signal) => {
            let _ = send_to_group(group, SigInfo::kernel(signal));
            soft_limit(group).unwrap_or(u64::MAX)
        }
        None => limit,
    };
    let mut watch = group.timers.limit.0.lock();
    let idle = if used.saturating_sub(watch.seen) < TICK / 4 {
        (watch.waited * 2).min(IDLE)
    } else {
        TICK
    };
    let wait = wall(group, next.saturating_sub(used)).max(idle);
    *watch = Watch {
        armed: Some(kernel.timers.add(
            monotonic_ns().saturating_add(wait),
            Arc::new(Target(Arc::downgrade(group))),
        )),
        seen: used,
        waited: wait.min(IDLE),
    };
}

/// The soft limit in nanoseconds, if there is one.
fn soft_limit(group: &ThreadGroup) -> Option<u64> {
    match group.rlimit(libc::RLIMIT_CPU) {
        u64::MAX => None,
        seconds => Some(seconds.saturating_mul(SECOND)),
    }
}

/// The signal that is due; with SIGXCPU the soft limit grows by a second (check_process_timers).
fn reached(group: &ThreadGroup, used: u64, soft: u64) -> Option<Signal> {
    let mut limits = group.rlimits.lock();
    let slot = &mut limits[libc::RLIMIT_CPU as usize];
    if slot.1 != u64::MAX && used >= slot.1.saturating_mul(SECOND) {
        return Some(Signal::SIGKILL);
    }
    if used < soft {
        return None;
    }
    slot.0 = slot.0.saturating_add(1);
    Some(Signal::SIGXCPU)
}
