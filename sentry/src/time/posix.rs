//! POSIX timers (timer_create(2)).

use crate::executor::{TimerId, TimerTarget};
use crate::host::event::monotonic_ns;
use crate::kernel::Kernel;
use crate::signal::{send_to_group, send_to_task};
use crate::task::{Cx, Task, ThreadGroup};
use arch::abi::{SI_TIMER, SigEvent, SigInfo};
use arch::signal::Signal;
use arch::{Errno, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Timers of one process at most (RLIMIT_SIGPENDING bounds them on Linux).
const MAX_TIMERS: usize = 8192;

/// Whom an expiry tells.
#[derive(Clone)]
enum Notify {
    None,
    Process(Signal),
    Thread(Signal, Weak<Task>),
}

struct PosixTimer {
    clock: i32,
    notify: Notify,
    value: u64,
    armed: Option<TimerId>,
    /// Next expiry on CLOCK_MONOTONIC (or of CPU time, for CPU clocks).
    deadline: u64,
    interval: u64,
    /// Expiries since the signal was queued.
    overrun: u64,
    /// Overruns of the last delivered signal.
    last_overrun: i32,
    /// The signal is in a queue.
    queued: bool,
}

/// A process's POSIX timers.
#[derive(Default)]
pub struct PosixTimers {
    next: i32,
    timers: BTreeMap<i32, PosixTimer>,
}

impl PosixTimers {
    pub(super) fn clear(&mut self, kernel: &Kernel) {
        for timer in self.timers.values_mut() {
            if let Some(id) = timer.armed.take() {
                kernel.timers.cancel(id);
            }
        }
        self.timers.clear();
    }
}

struct Target {
    group: Weak<ThreadGroup>,
    id: i32,
}

fn is_cpu(clock: i32) -> bool {
    clock < 0
        || matches!(
            clock,
            libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID
        )
}

impl TimerTarget for Target {
    fn expired(&self, fired: TimerId) {
        let Some(group) = self.group.upgrade() else {
            return;
        };
        let Some(kernel) = group.kernel.upgrade() else {
            return;
        };
        let (notify, value) = {
            let mut timers = group.timers.posix.lock();
            let Some(timer) = timers
                .timers
                .get_mut(&self.id)
                .filter(|t| t.armed == Some(fired))
            else {
                return;
            };
            timer.armed = None;
            let now = if is_cpu(timer.clock) {
                group.cpu_ns()
            } else {
                monotonic_ns()
            };
            if is_cpu(timer.clock) && now < timer.deadline {
                let wait = (timer.deadline - now).max(4_000_000);
                timer.armed = Some(kernel.timers.add(monotonic_ns() + wait, self.again()));
                return;
            }
            let mut expiries = 1;
            let behind = now.saturating_sub(timer.deadline);
            if let Some(missed) = behind.checked_div(timer.interval) {
                expiries += missed;
                timer.deadline = timer
                    .deadline
                    .saturating_add(timer.interval.saturating_mul(expiries));
                let at = if is_cpu(timer.clock) {
                    monotonic_ns() + timer.interval.max(4_000_000)
                } else {
                    timer.deadline
                };
                timer.armed = Some(kernel.timers.add(at, self.again()));
            }
            if timer.queued {
                timer.overrun += expiries;
                return;
            }
            timer.overrun = expiries - 1;
            timer.queued = !matches!(timer.notify, Notify::None);
            (timer.notify.clone(), timer.value)
        };
        let info = |signal| SigInfo::timer(signal, self.id, 0, value);
        let _ = match notify {
            Notify::None => Ok(()),
            Notify::Process(signal) => send_to_group(&group, info(signal)),
            Notify::Thread(signal, task) => match task.upgrade() {
                Some(task) => send_to_task(&task, info(signal)),
                None => Ok(()),
            },
        };
    }
}

impl Target {
    fn again(&self) -> Arc<Self> {
        Arc::new(Self {
            group: self.group.clone(),
            id: self.id,
        })
    }
}

/// timer_create(2). `None`: SIGALRM with the timer's id.
pub fn create(cx: &Cx, clock: i32, event: Option<SigEvent>) -> Result<i32> {
    let known = matches!(
        clock,
        libc::CLOCK_REALTIME
            | libc::CLOCK_MONOTONIC
            | libc::CLOCK_BOOTTIME
            | libc::CLOCK_TAI
            | libc::CLOCK_PROCESS_CPUTIME_ID
            | libc::CLOCK_THREAD_CPUTIME_ID
    );
    if clock < 0 {
        super::clock::read(cx, clock)?;
    } else if !known {
        let exists = super::clock::read(cx, clock).is_ok();
        return Err(if exists {
            Errno::EOPNOTSUPP
        } else {
            Errno::EINVAL
        });
    }
    let group = &cx.task.group;
    let (notify, value) = match &event {
        None => (Notify::Process(Signal::SIGALRM), None),
        Some(e) => {
            let signal = || Signal::from_raw(e.signo).ok_or(Errno::EINVAL);
            let notify = match e.notify {
                libc::SIGEV_NONE => Notify::None,
                libc::SIGEV_SIGNAL | libc::SIGEV_THREAD => Notify::Process(signal()?),
                libc::SIGEV_THREAD_ID => {
                    let task = cx.kernel().tasks.lock().task(e.tid).ok_or(Errno::EINVAL)?;
                    if task.group.pid != group.pid {
                        return Err(Errno::EINVAL);
                    }
                    Notify::Thread(signal()?, Arc::downgrade(&task))
                }
                _ => return Err(Errno::EINVAL),
            };
            (notify, Some(e.value))
        }
    };
    let mut timers = group.timers.posix.lock();
    if timers.timers.len() >= MAX_TIMERS {
        return Err(Errno::EAGAIN);
    }
    let id = timers.next;
    timers.next = timers.next.checked_add(1).unwrap_or(0);
    let timer = PosixTimer {
        clock,
        notify,
        value: value.unwrap_or(u64::from(id.cast_unsigned())),
        armed: None,
        deadline: 0,
        interval: 0,
        overrun: 0,
        last_overrun: 0,
        queued: false,
    };
    timers.timers.insert(id, timer);
    Ok(id)
}

fn now_of(group: &ThreadGroup, timer: &PosixTimer) -> u64 {
    if is_cpu(timer.clock) {
        group.cpu_ns()
    } else {
        monotonic_ns()
    }
}

fn left(group: &ThreadGroup, timer: &PosixTimer) -> (u64, u64) {
    let left =
        if timer.armed.is_some() || (matches!(timer.notify, Notify::None) && timer.deadline > 0) {
            timer
                .deadline
                .saturating_sub(now_of(group, timer))
                .max(u64::from(timer.armed.is_some()))
        } else {
            0
        };
    (left, timer.interval)
}

/// timer_settime(2); returns what was left and the interval.
pub fn settime(cx: &Cx, id: i32, absolute: bool, value: u64, interval: u64) -> Result<(u64, u64)> {
    let group = &cx.task.group;
    let mut timers = group.timers.posix.lock();
    let timer = timers.timers.get_mut(&id).ok_or(Errno::EINVAL)?;
    let old = left(group, timer);
    if let Some(armed) = timer.armed.take() {
        cx.kernel().timers.cancel(armed);
    }
    timer.interval = interval;
    timer.overrun = 0;
    timer.deadline = 0;
    if value > 0 {
        let now = now_of(group, timer);
        timer.deadline = match (absolute, is_cpu(timer.clock)) {
            (false, _) => now.saturating_add(value),
            (true, true) => value,
            (true, false) => super::clock::to_monotonic(timer.clock, value),
        };
        let at = if is_cpu(timer.clock) {
            monotonic_ns() + timer.deadline.saturating_sub(now).max(4_000_000)
        } else {
            timer.deadline
        };
        let target = Arc::new(Target {
            group: Arc::downgrade(group),
            id,
        });
        timer.armed = Some(cx.kernel().timers.add(at, target));
    }
    Ok(old)
}

/// timer_gettime(2): (left, interval).
pub fn gettime(cx: &Cx, id: i32) -> Result<(u64, u64)> {
    let group = &cx.task.group;
    let timers = group.timers.posix.lock();
    timers
        .timers
        .get(&id)
        .map(|t| left(group, t))
        .ok_or(Errno::EINVAL)
}

/// timer_getoverrun(2).
pub fn overrun(cx: &Cx, id: i32) -> Result<i32> {
    let timers = cx.task.group.timers.posix.lock();
    timers
        .timers
        .get(&id)
        .map(|t| t.last_overrun)
        .ok_or(Errno::EINVAL)
}

/// timer_delete(2). Its queued signal goes too.
pub fn delete(cx: &Cx, id: i32) -> Result<()> {
    let group = &cx.task.group;
    let timer = group
        .timers
        .posix
        .lock()
        .timers
        .remove(&id)
        .ok_or(Errno::EINVAL)?;
    if let Some(armed) = timer.armed {
        cx.kernel().timers.cancel(armed);
    }
    let keep = |info: &SigInfo| info.code != SI_TIMER || info.timer_id() != id;
    if timer.queued {
        group.signals.lock().pending.retain(keep);
        for task in group.threads() {
            task.signals.lock().pending.retain(keep);
        }
    }
    Ok(())
}

/// Its signal has been taken.
pub(super) fn delivered(cx: &Cx, info: &SigInfo) {
    let mut timers = cx.task.group.timers.posix.lock();
    if let Some(timer) = timers.timers.get_mut(&info.timer_id()) {
        timer.last_overrun = i32::try_from(timer.overrun).unwrap_or(i32::MAX);
        timer.overrun = 0;
        timer.queued = false;
    }
}
