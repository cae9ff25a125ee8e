//! timerfd_create(2).
//!
//! A periodic timer is not armed again before somebody looks at it (read, timerfd_gettime): a short period costs nothing while nobody does.

use crate::executor::{PollEvents, TimerId, TimerTarget, Timers, WaitQueue};
use crate::host::event::clock_ns;
use crate::kernel::Kernel;
use crate::user::Sink;
use crate::vfs::{File, FileOps};
use arch::abi::{Itimerspec, Stat, Timespec};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::{Arc, Weak};

/// Who holds the sandbox's timers: the kernel, or a test.
pub trait HasTimers: Send + Sync {
    /// The timers.
    fn timers(&self) -> &Timers;
}

impl HasTimers for Kernel {
    fn timers(&self) -> &Timers {
        &self.timers
    }
}

impl HasTimers for Timers {
    fn timers(&self) -> &Timers {
        self
    }
}

#[derive(Default)]
struct State {
    /// When it expires next, on its own clock, in nanoseconds. `None`: disarmed, or a one-shot timer that has expired.
    deadline: Option<i128>,
    /// Nanoseconds; 0: one-shot.
    interval: i128,
    /// Expirations since the last read.
    ticks: u64,
    /// A periodic timer has expired and not been armed again.
    resting: bool,
    armed: Option<TimerId>,
    settime_flags: i32,
}

impl State {
    /// Counts the expirations up to `now`.
    fn catch_up(&mut self, now: i128) {
        let Some(deadline) = self.deadline else {
            return;
        };
        if now < deadline {
            return;
        }
        if self.interval > 0 {
            let periods = (now - deadline) / self.interval + 1;
            self.ticks = self
                .ticks
                .saturating_add(u64::try_from(periods).unwrap_or(u64::MAX));
            self.deadline = Some(deadline + periods * self.interval);
        } else {
            self.ticks += 1;
            self.deadline = None;
        }
    }
}

/// The part that the timers call back.
struct Timer {
    me: Weak<Timer>,
    clock: libc::clockid_t,
    owner: Weak<dyn HasTimers>,
    /// The lock is above that of the timers.
    state: Mutex<State>,
    queue: WaitQueue,
}

/// A timer behind a descriptor.
pub struct TimerFd(Arc<Timer>);

/// The host clock that serves an application's clock; `None`: timerfd_create(2) doesn't know it.
fn host_clock(clock: i32) -> Option<libc::clockid_t> {
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME => Some(clock),
        libc::CLOCK_REALTIME_ALARM => Some(libc::CLOCK_REALTIME),
        libc::CLOCK_BOOTTIME_ALARM => Some(libc::CLOCK_BOOTTIME),
        _ => None,
    }
}

impl Timer {
    fn now(&self) -> i128 {
        host_clock(self.clock).and_then(clock_ns).unwrap_or(0)
    }

    /// Arms the timer for its deadline, if it has one, in place of what was armed before.
    fn arm(self: &Arc<Self>, state: &mut State) {
        let Some(owner) = self.owner.upgrade() else {
            return;
        };
        if let Some(id) = state.armed.take() {
            owner.timers().cancel(id);
        }
        state.resting = false;
        if let Some(deadline) = state.deadline {
            let wait = (deadline - self.now()).max(0);
            let monotonic = i128::from(crate::host::event::monotonic_ns()) + wait;
            let at = u64::try_from(monotonic)
                .unwrap_or(u64::MAX - 1)
                .min(i64::MAX as u64);
            state.armed = Some(
                owner
                    .timers()
                    .add(at, Arc::clone(self) as Arc<dyn TimerTarget>),
            );
        }
    }

    /// Brings the count up to date; a periodic timer that rested goes on.
    fn refresh(self: &Arc<Self>, state: &mut State) {
        let before = state.ticks;
        state.catch_up(self.now());
        if state.resting || state.ticks != before {
            self.arm(state);
        }
    }
}

impl TimerTarget for Timer {
    fn expired(&self, id: TimerId) {
        {
            let mut state = self.state.lock();
            if state.armed != Some(id) {
                return;
            }
            state.armed = None;
            let before = state.ticks;
            state.catch_up(self.now());
            if state.ticks == before {
                // The clock was set back meanwhile.
                if let Some(me) = self.me.upgrade() {
                    me.arm(&mut state);
                }
                return;
            }
            // Whoever looks next arms a periodic timer again.
            state.resting = state.deadline.is_some();
        }
        self.queue.notify(PollEvents::READABLE);
    }
}

impl TimerFd {
    /// A disarmed timer. EINVAL for a clock that it can't be on; the caller has checked CAP_WAKE_ALARM for the alarm clocks.
    pub fn open(clock: i32, flags: u32, owner: Weak<dyn HasTimers>) -> Result<Arc<File>> {
        host_clock(clock).ok_or(Errno::EINVAL)?;
        let timer = Arc::new_cyclic(|me| Timer {
            me: me.clone(),
            clock,
            owner,
            state: Mutex::default(),
            queue: WaitQueue::new(),
        });
        Ok(File::new(
            Box::new(Self(timer)),
            flags | libc::O_RDWR as u32,
        ))
    }

    /// EINVAL for unknown flags and times that are none.
    pub fn check(flags: i32, new: &Itimerspec) -> Result<()> {
        let known = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        if flags & !known == 0 && new.value.is_valid() && new.interval.is_valid() {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// timerfd_settime(2): errors as [`TimerFd::check`]. Returns the old setting.
    pub fn set(&self, flags: i32, new: &Itimerspec) -> Result<Itimerspec> {
        Self::check(flags, new)?;
        let timer = &self.0;
        let mut state = timer.state.lock();
        let now = timer.now();
        state.catch_up(now);
        let old = setting(&state, now);
        state.ticks = 0;
        state.settime_flags = flags;
        state.interval = i128::from(new.interval.to_nanos());
        let value = i128::from(new.value.to_nanos());
        state.deadline = match (new.value.is_zero(), flags & libc::TFD_TIMER_ABSTIME != 0) {
            (true, _) => None,
            (false, true) => Some(value),
            (false, false) => Some(now + value),
        };
        state.catch_up(now);
        let ready = state.ticks > 0;
        timer.arm(&mut state);
        drop(state);
        if ready {
            timer.queue.notify(PollEvents::READABLE);
        }
        Ok(old)
    }

    /// timerfd_gettime(2).
    pub fn get(&self) -> Itimerspec {
        let mut state = self.0.state.lock();
        self.0.refresh(&mut state);
        setting(&state, self.0.now())
    }
}

/// What is left, and the period. An armed timer never shows 0 left.
fn setting(state: &State, now: i128) -> Itimerspec {
    let left = state.deadline.map_or(0, |d| (d - now).max(1));
    let span = |ns: i128| Timespec::from_nanos(i64::try_from(ns).unwrap_or(i64::MAX));
    Itimerspec {
        interval: span(state.interval),
        value: span(left),
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.deadline = None;
        self.0.arm(&mut state);
    }
}

impl FileOps for TimerFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self, _: &File) -> Result<Stat> {
        Ok(super::anon_inode_stat())
    }

    /// The number of expirations since the last read; EAGAIN while there was none.
    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let ticks = {
            let mut state = self.0.state.lock();
            self.0.refresh(&mut state);
            std::mem::take(&mut state.ticks)
        };
        if ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        match dst.write(&ticks.to_ne_bytes())? {
            8 => Ok(8),
            _ => Err(Errno::EFAULT),
        }
    }

    fn poll(&self, _: &File) -> PollEvents {
        let state = self.0.state.lock();
        let due = state.deadline.is_some_and(|d| d <= self.0.now());
        if state.ticks > 0 || due {
            PollEvents::IN
        } else {
            PollEvents::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }

    fn fdinfo(&self, _: &File, out: &mut Vec<u8>) {
        let (left, ticks, flags) = {
            let state = self.0.state.lock();
            (
                setting(&state, self.0.now()),
                state.ticks,
                state.settime_flags,
            )
        };
        let text = format!(
            "clockid: {}\nticks: {ticks}\nsettime flags: 0{flags:o}\nit_value: ({}, {})\nit_interval: ({}, {})\n",
            self.0.clock, left.value.sec, left.value.nsec, left.interval.sec, left.interval.nsec
        );
        out.extend_from_slice(text.as_bytes());
    }

    fn link_text(&self, _: &File) -> Option<Vec<u8>> {
        Some(b"anon_inode:[timerfd]".to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::VecSink;

    const MS: i64 = 1_000_000;

    fn timer() -> (Arc<Timers>, Arc<File>) {
        let timers = Arc::new(Timers::new().unwrap());
        let owner: Arc<dyn HasTimers> = timers.clone();
        let file = TimerFd::open(libc::CLOCK_MONOTONIC, 0, Arc::downgrade(&owner)).unwrap();
        (timers, file)
    }

    fn spec(value: i64, interval: i64) -> Itimerspec {
        Itimerspec {
            interval: Timespec::from_nanos(interval),
            value: Timespec::from_nanos(value),
        }
    }

    fn read(file: &File) -> Result<u64> {
        let mut sink = VecSink::new(8);
        file.ops.read(file, 0, &mut sink)?;
        Ok(u64::from_ne_bytes(sink.data.try_into().unwrap()))
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let (_timers, file) = timer();
        let fd = file.downcast::<TimerFd>().unwrap();
        assert_eq!(read(&file), Err(Errno::EAGAIN));
        assert_eq!(fd.set(libc::TFD_TIMER_ABSTIME, &spec(1, 0)), Ok(spec(0, 0)));
        assert_eq!(file.ops.poll(&file), PollEvents::IN);
        assert_eq!(read(&file), Ok(1));
        assert_eq!(read(&file), Err(Errno::EAGAIN));
        assert_eq!(fd.get(), spec(0, 0));
    }

    #[test]
    fn expiry_notifies_and_periods_are_counted() {
        let (timers, file) = timer();
        let fd = file.downcast::<TimerFd>().unwrap();
        let now = crate::host::event::monotonic_ns();
        // Due an hour ago and every second since.
        let first = now as i64 - 3600 * 1000 * MS;
        fd.set(libc::TFD_TIMER_ABSTIME, &spec(first, 1000 * MS))
            .unwrap();
        assert!(read(&file).unwrap() >= 3600);
        let left = fd.get();
        assert_eq!(left.interval.to_nanos(), 1000 * MS);
        assert!(left.value.to_nanos() > 0 && left.value.to_nanos() <= 1000 * MS);
        timers.expire(now + 10_000_000_000);
        drop(file);
        timers.expire(u64::MAX - 2);
    }

    #[test]
    fn a_timer_that_is_disarmed_is_not_due() {
        let (timers, file) = timer();
        let fd = file.downcast::<TimerFd>().unwrap();
        fd.set(0, &spec(1, 0)).unwrap();
        fd.set(0, &spec(0, 0)).unwrap();
        timers.expire(u64::MAX - 2);
        assert_eq!(read(&file), Err(Errno::EAGAIN));
    }

    #[test]
    fn invalid_settings_are_refused() {
        let (timers, file) = timer();
        let fd = file.downcast::<TimerFd>().unwrap();
        assert_eq!(fd.set(8, &spec(1, 0)), Err(Errno::EINVAL));
        let mut bad = spec(1, 0);
        bad.value.nsec = 1_000_000_000;
        assert_eq!(fd.set(0, &bad), Err(Errno::EINVAL));
        let owner: Arc<dyn HasTimers> = timers;
        assert!(TimerFd::open(libc::CLOCK_PROCESS_CPUTIME_ID, 0, Arc::downgrade(&owner)).is_err());
    }
}
