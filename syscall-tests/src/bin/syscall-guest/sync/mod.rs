//! Futexes and System V and POSIX IPC.

use syscall_tests::harness::Family;

mod futex;
mod futex2;
mod mq;
mod msg;
mod pi;
mod sem;
mod shm;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("futex", futex::CASES),
    ("mq", mq::CASES),
    ("msg", msg::CASES),
    ("sem", sem::CASES),
    ("futex2", futex2::CASES),
    ("pi", pi::CASES),
    ("shm", shm::CASES),
];
