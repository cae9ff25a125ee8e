//! Files by name and by descriptor.

use syscall_tests::harness::Family;

mod access;
mod chmod;
mod copy;
mod dir;
mod inotify;
mod link;
mod lseek;
mod mount;
mod open;
mod openat2;
mod propagation;
mod rename;
mod root;
mod rw;
mod stat;
mod statfs;
mod truncate;
mod utimens;
mod vectored;
mod xattr;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("access", access::CASES),
    ("chmod", chmod::CASES),
    ("copy", copy::CASES),
    ("dir", dir::CASES),
    ("inotify", inotify::CASES),
    ("link", link::CASES),
    ("lseek", lseek::CASES),
    ("mount", mount::CASES),
    ("open", open::CASES),
    ("openat2", openat2::CASES),
    ("propagation", propagation::CASES),
    ("rename", rename::CASES),
    ("root", root::CASES),
    ("rw", rw::CASES),
    ("stat", stat::CASES),
    ("statfs", statfs::CASES),
    ("truncate", truncate::CASES),
    ("utimens", utimens::CASES),
    ("vectored", vectored::CASES),
    ("xattr", xattr::CASES),
];
