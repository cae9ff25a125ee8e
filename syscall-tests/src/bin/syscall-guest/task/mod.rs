//! Processes, threads, credentials, limits.

use syscall_tests::harness::Family;

mod exec;
mod fork;
mod session;
mod wait;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("exec", exec::CASES),
    ("fork", fork::CASES),
    ("session", session::CASES),
    ("wait", wait::CASES),
];
