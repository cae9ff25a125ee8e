//! Futexes and System V memory.

use syscall_tests::harness::Family;

mod futex;
mod shm;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[("futex", futex::CASES), ("shm", shm::CASES)];
