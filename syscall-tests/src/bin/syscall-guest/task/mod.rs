//! Processes, threads, credentials, limits.

use syscall_tests::harness::Family;

mod creds;
mod exec;
mod fork;
mod limits;
mod prctl;
mod sched;
mod seccomp;
mod session;
mod wait;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("creds", creds::CASES),
    ("exec", exec::CASES),
    ("fork", fork::CASES),
    ("limits", limits::CASES),
    ("prctl", prctl::CASES),
    ("sched", sched::CASES),
    ("seccomp", seccomp::CASES),
    ("session", session::CASES),
    ("wait", wait::CASES),
];
