//! System V IPC (sysvipc(7)): what its three kinds of object share, semaphores, message queues. Shared memory is
//! [`crate::mm::shm`]. And POSIX message queues (mq_overview(7)).
//!
//! # Locks
//! A table's, then one object's. An object that is removed says so under its own lock, and wakes all who wait for it.

pub mod ids;
pub mod mq;
pub mod msg;
pub mod perm;
pub mod sem;

pub use perm::{Caller, Perm};

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    let ns = crate::host::event::clock_ns(libc::CLOCK_REALTIME).unwrap_or(0);
    i64::try_from(ns / 1_000_000_000).unwrap_or(0)
}
