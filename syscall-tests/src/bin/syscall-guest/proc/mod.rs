//! What /proc and /dev show.

use syscall_tests::harness::Family;

mod pid;
mod sysfs;
mod system;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("pid", pid::CASES),
    ("sysfs", sysfs::CASES),
    ("system", system::CASES),
];
