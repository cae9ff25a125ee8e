//! CPU time. The host's clocks count what the stub processes use.

use super::{Task, ThreadGroup};
use arch::abi::{Rusage, Timeval};
use std::sync::atomic::Ordering;

/// A usage that consists of CPU time only, all of it user time: the host doesn't tell apart what the Sentry did.
pub fn usage_of(ns: u64) -> Rusage {
    let us = ns / 1000;
    let time = Timeval {
        sec: (us / 1_000_000).cast_signed(),
        usec: (us % 1_000_000).cast_signed(),
    };
    Rusage {
        utime: time,
        ..Rusage::default()
    }
}

fn nanos(t: Timeval) -> u64 {
    t.sec.cast_unsigned() * 1_000_000_000 + t.usec.cast_unsigned() * 1000
}

impl ThreadGroup {
    /// CPU time of all threads, gone ones included, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        nanos(self.usage.lock().own.utime) + self.running_ns()
    }

    /// What the present host process has used. A vfork(2) child's belongs to its parent.
    fn running_ns(&self) -> u64 {
        if self.borrows_space.load(Ordering::Relaxed) {
            return 0;
        }
        let space = self
            .threads()
            .first()
            .and_then(|t| t.try_mm())
            .map(|mm| mm.space.clone());
        let pid = space.filter(|s| !s.is_dead()).and_then(|s| s.host_pid());
        pid.map_or(0, |pid| crate::host::sys::cpu_time(pid, false))
    }

    /// Its own usage, and that of the children it has waited for.
    pub fn cpu_usage(&self) -> (Rusage, Rusage) {
        let usage = *self.usage.lock();
        let mut own = usage.own;
        super::exit::add_usage(&mut own, &usage_of(self.running_ns()));
        (own, usage.children)
    }

    /// The host process is about to go: its time is kept.
    pub(crate) fn keep_usage(&self) {
        let now = usage_of(self.running_ns());
        super::exit::add_usage(&mut self.usage.lock().own, &now);
    }

    /// getpriority(2)'s value, −20 to 19.
    pub fn nice(&self) -> i32 {
        self.nice.load(Ordering::Relaxed)
    }

    pub(crate) fn set_nice(&self, nice: i32) {
        self.nice.store(nice, Ordering::Relaxed);
    }

    /// PR_SET_THP_DISABLE.
    pub fn thp_disabled(&self) -> bool {
        self.thp_disabled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_thp_disabled(&self, yes: bool) {
        self.thp_disabled.store(yes, Ordering::Relaxed);
    }
}

impl Task {
    /// CPU time of the thread, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        match self.host_tid.load(Ordering::Relaxed) {
            0 => self.group.running_ns(),
            tid => crate::host::sys::cpu_time(tid, true),
        }
    }
}
