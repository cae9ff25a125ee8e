//! Time: clocks, interval timers (setitimer(2)), POSIX timers (timer_create(2)).

pub mod clock;
pub mod cpu;
pub mod itimer;
pub mod posix;

pub use itimer::{get_itimer, set_itimer};

use crate::kernel::Kernel;
use crate::task::Cx;
use arch::abi::{SI_TIMER, SigInfo};
use parking_lot::Mutex;

/// A process's timers.
#[derive(Default)]
pub struct GroupTimers {
    pub(crate) real: itimer::RealTimer,
    pub(crate) cpu: Mutex<[itimer::CpuTimer; 2]>,
    pub(crate) limit: cpu::CpuLimit,
    pub(crate) posix: Mutex<posix::PosixTimers>,
}

impl GroupTimers {
    /// The process ends: nothing fires any more.
    pub fn clear(&self, kernel: &Kernel) {
        self.real.disarm(kernel);
        self.cpu.lock().iter_mut().for_each(|t| t.cancel(kernel));
        self.limit.clear(kernel);
        self.clear_posix(kernel);
    }

    /// execve(2) deletes POSIX timers.
    pub fn clear_posix(&self, kernel: &Kernel) {
        self.posix.lock().clear(kernel);
    }
}

/// A timer's signal has been taken from the queue: the timer counts its overruns anew and goes on.
pub fn rearm_after_delivery(cx: &Cx, info: &SigInfo) {
    if info.code == SI_TIMER {
        posix::delivered(cx, info);
    }
}
