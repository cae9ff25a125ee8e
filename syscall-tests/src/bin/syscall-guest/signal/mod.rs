//! Signals.

use syscall_tests::harness::Family;

mod fault;
mod frame;
mod mask;
mod queue;
mod restart;
mod stop;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("fault", fault::CASES),
    ("frame", frame::CASES),
    ("mask", mask::CASES),
    ("queue", queue::CASES),
    ("restart", restart::CASES),
    ("stop", stop::CASES),
];
