//! Clocks and timers.

use syscall_tests::harness::Family;

mod clocks;
mod posix_timer;
mod sleep;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("clocks", clocks::CASES),
    ("posix_timer", posix_timer::CASES),
    ("sleep", sleep::CASES),
];
