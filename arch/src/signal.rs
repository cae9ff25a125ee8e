//! Signals: numbers, names, what happens to a process that handles none of it, signal(7).

use core::fmt;

/// A signal number, 1 to 64.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// What a signal does by default, signal(7), *Standard signals*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Ends the thread group.
    Terminate,
    /// Ends the thread group and leaves a core dump.
    Core,
    Ignore,
    /// Stops the thread group.
    Stop,
    /// Continues the thread group if it is stopped.
    Continue,
}

/// The greatest signal number, `_NSIG`.
pub const NSIG: u32 = 64;

macro_rules! signals {
    ($($number:literal $name:ident $action:ident;)*) => {
        impl Signal {
            $(
                #[doc = concat!(stringify!($name), ", number ", stringify!($number), ".")]
                pub const $name: Signal = Signal($number);
            )*

            /// The name as in signal(7); None for a real-time signal.
            pub const fn standard_name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// What the signal does to a process that left its action at SIG_DFL.
            pub const fn default_action(self) -> DefaultAction {
                match self.0 {
                    $($number => DefaultAction::$action,)*
                    _ => DefaultAction::Terminate,
                }
            }
        }
    };
}

signals! {
    1 SIGHUP Terminate;
    2 SIGINT Terminate;
    3 SIGQUIT Core;
    4 SIGILL Core;
    5 SIGTRAP Core;
    6 SIGABRT Core;
    7 SIGBUS Core;
    8 SIGFPE Core;
    9 SIGKILL Terminate;
    10 SIGUSR1 Terminate;
    11 SIGSEGV Core;
    12 SIGUSR2 Terminate;
    13 SIGPIPE Terminate;
    14 SIGALRM Terminate;
    15 SIGTERM Terminate;
    16 SIGSTKFLT Terminate;
    17 SIGCHLD Ignore;
    18 SIGCONT Continue;
    19 SIGSTOP Stop;
    20 SIGTSTP Stop;
    21 SIGTTIN Stop;
    22 SIGTTOU Stop;
    23 SIGURG Ignore;
    24 SIGXCPU Core;
    25 SIGXFSZ Core;
    26 SIGVTALRM Terminate;
    27 SIGPROF Terminate;
    28 SIGWINCH Ignore;
    29 SIGIO Terminate;
    30 SIGPWR Terminate;
    31 SIGSYS Core;
}

impl Signal {
    /// The kernel's first real-time signal, `SIGRTMIN` (glibc hands out 34 and up).
    pub const SIGRTMIN: Signal = Signal(32);
    /// The last real-time signal.
    pub const SIGRTMAX: Signal = Signal(64);
    /// Another name of SIGIO.
    pub const SIGPOLL: Signal = Signal::SIGIO;

    /// From a number; None outside 1..=64. Zero, which kill(2) takes for "only ask", is None too.
    pub const fn from_raw(raw: i32) -> Option<Signal> {
        if raw >= 1 && raw <= NSIG as i32 {
            Some(Signal(raw as u8))
        } else {
            None
        }
    }

    /// The number.
    pub const fn raw(self) -> i32 {
        self.0 as i32
    }

    /// `number - 1`, for tables of 64.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// The signal's bit in a [`SigSet`](crate::abi::SigSet).
    pub const fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// Queued one by one, rather than held pending once.
    pub const fn is_realtime(self) -> bool {
        self.0 >= Self::SIGRTMIN.0
    }

    /// SIGKILL or SIGSTOP: neither caught, blocked nor ignored.
    pub const fn is_unstoppable(self) -> bool {
        self.0 == Self::SIGKILL.0 || self.0 == Self::SIGSTOP.0
    }

    /// Raised by an instruction of the thread itself (`SYNCHRONOUS_MASK`); delivered before others.
    pub const fn is_synchronous(self) -> bool {
        matches!(
            self,
            Self::SIGSEGV
                | Self::SIGBUS
                | Self::SIGILL
                | Self::SIGTRAP
                | Self::SIGFPE
                | Self::SIGSYS
        )
    }

    /// Every signal, ascending.
    pub fn all() -> impl DoubleEndedIterator<Item = Signal> {
        (1..=NSIG as u8).map(Signal)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.standard_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "SIGRT_{}", self.0 - Self::SIGRTMIN.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_libcs() {
        assert_eq!(Signal::SIGSYS.raw(), libc::SIGSYS);
        assert_eq!(Signal::SIGCHLD.raw(), libc::SIGCHLD);
        assert_eq!(Signal::SIGIO.raw(), libc::SIGIO);
        assert_eq!(Signal::SIGSTOP.raw(), libc::SIGSTOP);
    }

    #[test]
    fn range_is_one_to_64() {
        assert_eq!(Signal::from_raw(0), None);
        assert_eq!(Signal::from_raw(65), None);
        assert_eq!(Signal::from_raw(-1), None);
        assert_eq!(Signal::all().count(), 64);
        assert_eq!(Signal::from_raw(64), Some(Signal::SIGRTMAX));
        assert_eq!(Signal::SIGRTMAX.bit(), 1 << 63);
    }

    #[test]
    fn real_time_signals_terminate() {
        for signal in Signal::all().filter(|signal| signal.is_realtime()) {
            assert_eq!(signal.default_action(), DefaultAction::Terminate);
            assert_eq!(signal.standard_name(), None);
        }
        assert_eq!(format!("{:?}", Signal::SIGRTMIN), "SIGRT_0");
    }
}
