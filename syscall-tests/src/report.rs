//! How a case ends: by returning, by failing, or by skipping itself.
//!
//! The process of a case, and any process it forks, reports through one pipe
//! that the harness reads; the first report counts.

#![expect(unsafe_code, reason = "async-signal-safe writes and _exit")]

use std::fmt::Display;
use std::sync::atomic::{AtomicI32, Ordering};

/// Exit status of a case that returned. Not 0, so that a stray `exit(0)` in
/// the middle of a case does not look like success.
pub const EXIT_PASSED: i32 = 42;
/// Exit status of a case that failed.
pub const EXIT_FAILED: i32 = 43;
/// Exit status of a case that skipped itself.
pub const EXIT_SKIPPED: i32 = 44;

/// Write end of the report pipe. Written once, before the case starts.
static REPORT_FD: AtomicI32 = AtomicI32::new(-1);

/// Directs reports of this process and its later children to `fd`.
pub fn set_report_fd(fd: i32) {
    REPORT_FD.store(fd, Ordering::Relaxed);
}

/// The descriptor of the report pipe, for cases that close all others.
pub fn report_fd() -> i32 {
    REPORT_FD.load(Ordering::Relaxed)
}

fn end(message: &str, status: i32) -> ! {
    let line = message.trim_end().replace('\n', " / ") + "\n";
    let fd = REPORT_FD.load(Ordering::Relaxed);
    // SAFETY: the buffer is valid for its length; _exit does not return.
    unsafe {
        libc::write(fd, line.as_ptr().cast(), line.len());
        libc::_exit(status)
    }
}

/// Ends the whole case as failed. Use [`fail!`](crate::fail!) in cases.
pub fn fail(message: impl Display) -> ! {
    end(&message.to_string(), EXIT_FAILED)
}

/// Ends the whole case as skipped. Only in the case's first process.
pub fn skip(message: impl Display) -> ! {
    end(&message.to_string(), EXIT_SKIPPED)
}

/// Skips the case unless the effective user is 0.
pub fn need_root() {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        skip("needs root");
    }
}

/// Skips the case unless capability number `cap` (capabilities(7)) is
/// effective.
pub fn need_cap(cap: u32) {
    if crate::sys::capabilities().0 & (1 << cap) == 0 {
        skip(format_args!("needs capability {cap}"));
    }
}

/// The symbolic name of an errno value.
pub fn errno_name(errno: i32) -> String {
    if errno == 0 {
        return "success".into();
    }
    match nix::errno::Errno::from_raw(errno) {
        nix::errno::Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

/// Shows the outcome of a call with its errno by name.
pub fn outcome<T: std::fmt::Debug>(result: &Result<T, i32>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(errno) => errno_name(*errno),
    }
}

/// Fails the case with a formatted reason.
#[macro_export]
macro_rules! fail {
    ($($arg:tt)+) => {
        $crate::report::fail(format_args!("{} ({}:{})", format_args!($($arg)+), file!(), line!()))
    };
}

/// Skips the case with a formatted reason.
#[macro_export]
macro_rules! skip {
    ($($arg:tt)+) => { $crate::report::skip(format_args!($($arg)+)) };
}

/// Fails the case unless the condition holds.
#[macro_export]
macro_rules! check {
    ($cond:expr $(,)?) => {
        if !$cond { $crate::fail!("expected: {}", stringify!($cond)) }
    };
    ($cond:expr, $($arg:tt)+) => {
        if !$cond { $crate::fail!("expected: {}; {}", stringify!($cond), format_args!($($arg)+)) }
    };
}

/// Fails the case unless both sides are equal; shows both.
#[macro_export]
macro_rules! check_eq {
    ($left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => if *left != *right {
                $crate::fail!("{}: got {:?}, want {:?}", stringify!($left), left, right)
            }
        }
    };
    ($left:expr, $right:expr, $($arg:tt)+) => {
        match (&$left, &$right) {
            (left, right) => if *left != *right {
                $crate::fail!("{}: got {:?}, want {:?}; {}", stringify!($left), left, right, format_args!($($arg)+))
            }
        }
    };
}

/// Fails the case unless the call returned exactly this errno.
#[macro_export]
macro_rules! expect_errno {
    ($call:expr, $errno:expr $(,)?) => {
        match &$call {
            Err(errno) if *errno == $errno => {}
            other => $crate::fail!(
                "{}: got {}, want {}",
                stringify!($call),
                $crate::report::outcome(other),
                $crate::report::errno_name($errno)
            ),
        }
    };
}

/// The value of a call that has to succeed.
#[macro_export]
macro_rules! must {
    ($call:expr $(,)?) => {
        match $call {
            Ok(value) => value,
            Err(errno) => $crate::fail!(
                "{}: got {}",
                stringify!($call),
                $crate::report::errno_name(errno)
            ),
        }
    };
}
