//! Many things at once: races that single calls never meet.

use syscall_tests::harness::Family;

mod race;
mod storm;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[("race", race::CASES), ("storm", storm::CASES)];
