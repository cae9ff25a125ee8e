//! Clocks, timers and intervals: clock_gettime(2), setitimer(2), timer_settime(2), adjtimex(2).

abi_struct! {
    /// `struct timespec` (`__kernel_timespec`).
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Timespec: 16 {
        pub sec: i64,
        pub nsec: i64,
    }

    /// `struct timeval`.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Timeval: 16 {
        pub sec: i64,
        pub usec: i64,
    }

    /// `struct itimerval` of setitimer(2).
    pub struct Itimerval: 32 {
        pub interval: Timeval,
        pub value: Timeval,
    }

    /// `struct itimerspec` of timer_settime(2) and timerfd_settime(2).
    pub struct Itimerspec: 32 {
        pub interval: Timespec,
        pub value: Timespec,
    }

    /// `struct timezone` of gettimeofday(2).
    pub struct Timezone: 8 {
        pub minuteswest: i32,
        pub dsttime: i32,
    }

    /// `struct tms` of times(2), in ticks of 1/[`CLK_TCK`] s.
    pub struct Tms: 32 {
        pub utime: i64,
        pub stime: i64,
        pub cutime: i64,
        pub cstime: i64,
    }

    /// `struct timex` of adjtimex(2).
    pub struct Timex: 208 {
        pub modes: u32,
        pub pad0: u32,
        pub offset: i64,
        pub freq: i64,
        pub maxerror: i64,
        pub esterror: i64,
        pub status: i32,
        pub pad1: u32,
        pub constant: i64,
        pub precision: i64,
        pub tolerance: i64,
        pub time: Timeval,
        pub tick: i64,
        pub ppsfreq: i64,
        pub jitter: i64,
        pub shift: i32,
        pub pad2: u32,
        pub stabil: i64,
        pub jitcnt: i64,
        pub calcnt: i64,
        pub errcnt: i64,
        pub stbcnt: i64,
        pub tai: i32,
        pub pad3: [u32; 11],
    }

    /// `struct utimbuf` of utime(2), in seconds.
    pub struct Utimbuf: 16 {
        pub actime: i64,
        pub modtime: i64,
    }
}

/// `USER_HZ`: ticks of a second that times(2) and /proc count in, AT_CLKTCK.
pub const CLK_TCK: u64 = 100;

pub const NSEC_PER_SEC: i64 = 1_000_000_000;
pub const USEC_PER_SEC: i64 = 1_000_000;

impl Timespec {
    pub const ZERO: Timespec = Timespec { sec: 0, nsec: 0 };

    /// `timespec64_valid`: not before 1970, nanoseconds within a second. Callers answer EINVAL.
    pub const fn is_valid(&self) -> bool {
        self.sec >= 0 && self.nsec >= 0 && self.nsec < NSEC_PER_SEC
    }

    pub const fn is_zero(&self) -> bool {
        self.sec == 0 && self.nsec == 0
    }

    /// Nanoseconds, held at the bounds of i64 (292 years) as Linux's `timespec64_to_ktime`.
    pub const fn to_nanos(self) -> i64 {
        self.sec
            .saturating_mul(NSEC_PER_SEC)
            .saturating_add(self.nsec)
    }

    /// From nanoseconds; negative ones keep `nsec` within 0..1e9.
    pub const fn from_nanos(nanos: i64) -> Timespec {
        Timespec {
            sec: nanos.div_euclid(NSEC_PER_SEC),
            nsec: nanos.rem_euclid(NSEC_PER_SEC),
        }
    }

    /// The span as a [`Duration`](core::time::Duration), None when not [valid](Self::is_valid).
    pub const fn to_duration(self) -> Option<core::time::Duration> {
        if !self.is_valid() {
            return None;
        }
        Some(core::time::Duration::new(self.sec as u64, self.nsec as u32))
    }

    /// From a span, seconds held at i64's bound.
    pub const fn from_duration(span: core::time::Duration) -> Timespec {
        let sec = span.as_secs();
        Timespec {
            sec: if sec > i64::MAX as u64 {
                i64::MAX
            } else {
                sec as i64
            },
            nsec: span.subsec_nanos() as i64,
        }
    }
}

impl Timeval {
    pub const ZERO: Timeval = Timeval { sec: 0, usec: 0 };

    /// Not before 1970, microseconds within a second. Callers answer EINVAL.
    pub const fn is_valid(&self) -> bool {
        self.sec >= 0 && self.usec >= 0 && self.usec < USEC_PER_SEC
    }

    pub const fn is_zero(&self) -> bool {
        self.sec == 0 && self.usec == 0
    }

    /// Nanoseconds, held at the bounds of i64.
    pub const fn to_nanos(self) -> i64 {
        self.sec
            .saturating_mul(NSEC_PER_SEC)
            .saturating_add(self.usec.saturating_mul(1000))
    }

    /// From nanoseconds, rounded down to a microsecond.
    pub const fn from_nanos(nanos: i64) -> Timeval {
        let time = Timespec::from_nanos(nanos);
        Timeval {
            sec: time.sec,
            usec: time.nsec / 1000,
        }
    }
}

impl From<Timespec> for Timeval {
    fn from(time: Timespec) -> Timeval {
        Timeval {
            sec: time.sec,
            usec: time.nsec / 1000,
        }
    }
}

impl From<Timeval> for Timespec {
    fn from(time: Timeval) -> Timespec {
        Timespec {
            sec: time.sec,
            nsec: time.usec.saturating_mul(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_hosts() {
        assert_eq!(size_of::<Timex>(), size_of::<libc::timex>());
        assert_eq!(
            memoffset::offset_of!(Timex, tai),
            memoffset::offset_of!(libc::timex, tai)
        );
        assert_eq!(size_of::<Itimerspec>(), size_of::<libc::itimerspec>());
        assert_eq!(size_of::<Tms>(), size_of::<libc::tms>());
    }

    #[test]
    fn nanos_go_there_and_back() {
        for nanos in [0, 1, -1, 999_999_999, -1_000_000_001, i64::MAX] {
            assert_eq!(Timespec::from_nanos(nanos).to_nanos(), nanos);
        }
        assert_eq!(
            Timespec::from_nanos(-1),
            Timespec {
                sec: -1,
                nsec: 999_999_999
            }
        );
        let far = Timespec {
            sec: i64::MAX,
            nsec: 0,
        };
        assert_eq!(far.to_nanos(), i64::MAX);
    }

    #[test]
    fn validity_is_linuxs() {
        let valid = |sec, nsec| Timespec { sec, nsec }.is_valid();
        assert!(valid(0, 0) && valid(i64::MAX, 999_999_999));
        assert!(!valid(-1, 0) && !valid(0, -1) && !valid(0, NSEC_PER_SEC));
        assert_eq!(Timespec { sec: -1, nsec: 0 }.to_duration(), None);
    }
}
