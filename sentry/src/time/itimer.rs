//! setitimer(2): the real-time timer, and those on CPU time.

use super::cpu::wall;
use crate::executor::{TimerId, TimerTarget};
use crate::host::event::monotonic_ns;
use crate::kernel::Kernel;
use crate::signal::send_to_group;
use crate::task::{Cx, ThreadGroup};
use arch::abi::SigInfo;
use arch::signal::Signal;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

#[derive(Default)]
struct RealState {
    armed: Option<TimerId>,
    deadline: u64,
    interval: u64,
}

/// ITIMER_REAL.
#[derive(Default)]
pub struct RealTimer(Mutex<RealState>);

struct RealTarget(Weak<ThreadGroup>);

impl TimerTarget for RealTarget {
    fn expired(&self, id: TimerId) {
        let Some(group) = self.0.upgrade() else {
            return;
        };
        let Some(kernel) = group.kernel.upgrade() else {
            return;
        };
        {
            let mut state = group.timers.real.0.lock();
            if state.armed != Some(id) {
                return;
            }
            state.armed = None;
            // Skips periods that were missed, keeps the phase.
            let behind = monotonic_ns().saturating_sub(state.deadline);
            if let Some(late) = behind.checked_div(state.interval) {
                state.deadline += state.interval * (late + 1);
                state.armed = Some(
                    kernel
                        .timers
                        .add(state.deadline, Arc::new(Self(self.0.clone()))),
                );
            }
        }
        let _ = send_to_group(&group, SigInfo::kernel(Signal::SIGALRM));
    }
}

impl RealTimer {
    pub(super) fn disarm(&self, kernel: &Kernel) {
        let mut state = self.0.lock();
        if let Some(id) = state.armed.take() {
            kernel.timers.cancel(id);
        }
        state.interval = 0;
    }
}

/// ITIMER_VIRTUAL or ITIMER_PROF: looked at whenever enough wall time has passed for the CPU time to be reached.
#[derive(Default)]
pub struct CpuTimer {
    armed: Option<TimerId>,
    /// CPU time at which it fires, nanoseconds.
    at: u64,
    interval: u64,
}

impl CpuTimer {
    pub(super) fn cancel(&mut self, kernel: &Kernel) {
        if let Some(id) = self.armed.take() {
            kernel.timers.cancel(id);
        }
    }
}

struct CpuTarget(Weak<ThreadGroup>, usize);

impl TimerTarget for CpuTarget {
    fn expired(&self, id: TimerId) {
        let Some(group) = self.0.upgrade() else {
            return;
        };
        let Some(kernel) = group.kernel.upgrade() else {
            return;
        };
        let now = group.cpu_ns();
        let fired = {
            let mut timers = group.timers.cpu.lock();
            let timer = &mut timers[self.1];
            if timer.armed != Some(id) {
                return;
            }
            let fired = now >= timer.at;
            if fired {
                timer.at = if timer.interval > 0 {
                    now.saturating_add(timer.interval)
                } else {
                    0
                };
            }
            timer.armed = (timer.at > 0).then(|| {
                let wait = wall(&group, timer.at.saturating_sub(now));
                kernel.timers.add(
                    monotonic_ns().saturating_add(wait),
                    Arc::new(Self(self.0.clone(), self.1)),
                )
            });
            fired
        };
        if fired {
            let signal = if self.1 == 0 {
                Signal::SIGVTALRM
            } else {
                Signal::SIGPROF
            };
            let _ = send_to_group(&group, SigInfo::kernel(signal));
        }
    }
}

/// (time left, interval), nanoseconds; 0 left: not running.
pub fn get_itimer(cx: &Cx, which: i32) -> Result<(u64, u64)> {
    let group = &cx.task.group;
    match which {
        libc::ITIMER_REAL => {
            let state = group.timers.real.0.lock();
            let left = if state.armed.is_some() {
                state.deadline.saturating_sub(monotonic_ns()).max(1)
            } else {
                0
            };
            Ok((left, state.interval))
        }
        libc::ITIMER_VIRTUAL | libc::ITIMER_PROF => {
            let now = group.cpu_ns();
            let timers = group.timers.cpu.lock();
            let timer = &timers[index(which)];
            let left = if timer.armed.is_some() {
                timer.at.saturating_sub(now).max(1)
            } else {
                0
            };
            Ok((left, timer.interval))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn index(which: i32) -> usize {
    usize::from(which == libc::ITIMER_PROF)
}

/// Sets a timer; returns what it was.
pub fn set_itimer(cx: &Cx, which: i32, value: u64, interval: u64) -> Result<(u64, u64)> {
    let old = get_itimer(cx, which)?;
    let group = &cx.task.group;
    let kernel = cx.kernel();
    if which == libc::ITIMER_REAL {
        let mut state = group.timers.real.0.lock();
        if let Some(id) = state.armed.take() {
            kernel.timers.cancel(id);
        }
        state.interval = interval;
        if value > 0 {
            state.deadline = monotonic_ns().saturating_add(value);
            state.armed = Some(
                kernel
                    .timers
                    .add(state.deadline, Arc::new(RealTarget(Arc::downgrade(group)))),
            );
        }
    } else {
        let now = group.cpu_ns();
        let mut timers = group.timers.cpu.lock();
        let timer = &mut timers[index(which)];
        timer.cancel(kernel);
        timer.interval = interval;
        timer.at = if value > 0 {
            now.saturating_add(value)
        } else {
            0
        };
        if value > 0 {
            let target = Arc::new(CpuTarget(Arc::downgrade(group), index(which)));
            timer.armed = Some(
                kernel
                    .timers
                    .add(monotonic_ns().saturating_add(wall(group, value)), target),
            );
        }
    }
    Ok(old)
}
