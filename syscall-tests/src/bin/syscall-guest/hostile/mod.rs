//! Arguments that no sane program passes.

use syscall_tests::harness::Family;

mod pointers;
mod programs;
mod sandbox;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("pointers", pointers::CASES),
    ("programs", programs::CASES),
    ("sandbox", sandbox::CASES),
];
