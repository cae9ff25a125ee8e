//! Futexes and System V memory.

use syscall_tests::harness::Family;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[];
