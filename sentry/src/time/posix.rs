//! POSIX timers (timer_create(2)).

use super::cpu::CpuClock;
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
    /// For a clock of CPU time.
    cpu: Option<CpuClock>,
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

impl PosixTimer {
    /// Now, on the clock that `deadline` is on.
    fn now(&self) -> u64 {
        match &self.cpu {
            // Of what is gone nothing is used any more.
            Some(clock) => clock.now().unwrap_or(0),
            None => monotonic_ns(),
        }
    }

    /// When to look whether `deadline` has come, on CLOCK_MONOTONIC.
    fn look_at(&self, now: u64) -> u64 {
        match &self.cpu {
            Some(clock) => {
                let left = self.deadline.saturating_sub(now);
                monotonic_ns().saturating_add(clock.wall(left))
            }
            None => self.deadline,
        }
    }

    /// (left, interval), as timer_gettime(2) has them.
    fn left(&self) -> (u64, u64) {
        let running = self.armed.is_some();
        let left = if running || matches!(self.notify, Notify::None) && self.deadline > 0 {
            let left = self.deadline.saturating_sub(self.now());
            left.max(u64::from(running))
        } else {
            0
        };
        (left, self.interval)
    }
}

/// Whether the signal of timer `id` is in a queue still.
fn is_queued(group: &ThreadGroup, id: i32) -> bool {
    let ours = |info: &SigInfo| info.code == SI_TIMER && info.timer_id() == id;
    group.signals.lock().pending.any(ours)
        || group
            .threads()
            .iter()
            .any(|t| t.signals.lock().pending.any(ours))
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
            let now = timer.now();
            if now < timer.deadline {
                // CPU time that has not been used.
                timer.armed = Some(kernel.timers.add(timer.look_at(now), self.again()));
                return;
            }
            let mut expiries = 1;
            let behind = now - timer.deadline;
            if let Some(missed) = behind.checked_div(timer.interval) {
                expiries += missed;
                timer.deadline = timer
                    .deadline
                    .saturating_add(timer.interval.saturating_mul(expiries));
                timer.armed = Some(kernel.timers.add(timer.look_at(now), self.again()));
            }
            if is_queued(&group, self.id) {
                timer.overrun = timer.overrun.saturating_add(expiries);
                return;
            }
            timer.overrun = expiries - 1;
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
    let cpu = CpuClock::of(cx, clock)?;
    if cpu.is_none() && !known {
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
        cpu,
        notify,
        value: value.unwrap_or(u64::from(id.cast_unsigned())),
        armed: None,
        deadline: 0,
        interval: 0,
        overrun: 0,
        last_overrun: 0,
    };
    timers.timers.insert(id, timer);
    Ok(id)
}

/// timer_settime(2); returns what was left and the interval.
pub fn settime(cx: &Cx, id: i32, absolute: bool, value: u64, interval: u64) -> Result<(u64, u64)> {
    let group = &cx.task.group;
    let mut timers = group.timers.posix.lock();
    let timer = timers.timers.get_mut(&id).ok_or(Errno::EINVAL)?;
    let old = timer.left();
    if let Some(armed) = timer.armed.take() {
        cx.kernel().timers.cancel(armed);
    }
    timer.interval = interval;
    timer.overrun = 0;
    timer.deadline = 0;
    if value > 0 {
        let now = timer.now();
        timer.deadline = match (absolute, &timer.cpu) {
            (false, _) => now.saturating_add(value),
            (true, Some(_)) => value,
            (true, None) => super::clock::to_monotonic(timer.clock, value),
        };
        let at = timer.look_at(now);
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
        .map(PosixTimer::left)
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
    group.signals.lock().pending.retain(keep);
    for task in group.threads() {
        task.signals.lock().pending.retain(keep);
    }
    Ok(())
}

/// Its signal has been taken.
pub(super) fn delivered(cx: &Cx, info: &SigInfo) {
    let mut timers = cx.task.group.timers.posix.lock();
    if let Some(timer) = timers.timers.get_mut(&info.timer_id()) {
        timer.last_overrun = i32::try_from(timer.overrun).unwrap_or(i32::MAX);
        timer.overrun = 0;
    }
}
