//! Descriptors that are more than files: pipes, events, readiness.

use syscall_tests::harness::Family;

mod dup;
mod fcntl;
mod locks;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("dup", dup::CASES),
    ("fcntl", fcntl::CASES),
    ("locks", locks::CASES),
];
