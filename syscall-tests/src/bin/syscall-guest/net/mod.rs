//! Sockets.

use syscall_tests::harness::Family;

mod addr;
mod inet;
mod passing;
mod tcp;
mod udp;
mod unix;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("inet", inet::CASES),
    ("passing", passing::CASES),
    ("tcp", tcp::CASES),
    ("udp", udp::CASES),
    ("unix", unix::CASES),
];
