//! Sockets.

use syscall_tests::harness::Family;

mod inet;
mod passing;
mod unix;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("inet", inet::CASES),
    ("passing", passing::CASES),
    ("unix", unix::CASES),
];
