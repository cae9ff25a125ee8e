//! Terminals.

use syscall_tests::harness::Family;

mod jobs;
mod pty;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[("jobs", jobs::CASES), ("pty", pty::CASES)];
