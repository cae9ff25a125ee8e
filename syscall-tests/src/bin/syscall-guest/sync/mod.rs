//! Futexes and System V IPC.

use syscall_tests::harness::Family;

mod futex;
mod msg;
mod sem;
mod futex2;
mod pi;
mod shm;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("futex", futex::CASES),
    ("msg", msg::CASES),
    ("sem", sem::CASES),
    ("futex2", futex2::CASES),
    ("pi", pi::CASES),
    ("shm", shm::CASES),
];
