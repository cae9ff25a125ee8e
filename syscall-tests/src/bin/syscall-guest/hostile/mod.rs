//! Arguments that no sane program passes.

use syscall_tests::harness::Family;

mod pointers;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[("pointers", pointers::CASES)];
