//! Signals.

use syscall_tests::harness::Family;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[];
