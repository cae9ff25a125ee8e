//! Futexes and System V IPC.

use syscall_tests::harness::Family;

mod futex;
mod msg;
mod sem;
mod shm;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("futex", futex::CASES),
    ("msg", msg::CASES),
    ("sem", sem::CASES),
    ("shm", shm::CASES),
];
