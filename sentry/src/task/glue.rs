//! Seams to areas that are still being joined.

pub use crate::strace::{enter as strace_enter, exit as strace_exit, signal as strace_signal};
pub(crate) use crate::syscalls::event::{pidfd_group as pidfd_lookup, pidfd_of as pidfd_install};
