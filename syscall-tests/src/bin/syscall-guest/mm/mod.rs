//! Memory.

use syscall_tests::harness::Family;

mod advice;
mod mmap;
mod mremap;
mod protect;
mod text;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("advice", advice::CASES),
    ("mmap", mmap::CASES),
    ("mremap", mremap::CASES),
    ("protect", protect::CASES),
    ("text", text::CASES),
];
