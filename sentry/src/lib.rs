//! The Sentry: a Linux kernel in user space.
//!
//! Layers, each of which uses only what stands below it:
//!
//! ```text
//! syscalls   one file an area: decode, one call into the area, map the result; the only layer that awaits
//! task       tasks, thread groups, credentials, clone/exec/exit/wait        signal
//! fs         host, tmp, overlay, proc, sys, dev, devpts                      net, event
//! vfs        mounts, dentries, path walk, open file descriptions             mm
//! executor   futures, wait queues, timers, the reactor                       user (application memory)
//! host       every host system call that the Sentry makes
//! ```
#![deny(unsafe_code)]

pub mod boot;
pub mod config;
pub mod control;
pub mod event;
pub mod executor;
pub mod fs;
#[doc(hidden)]
pub mod fuzz;
pub mod host;
pub mod ipc;
pub mod kernel;
pub mod mm;
pub mod net;
pub mod seccomp;
pub mod signal;
pub mod strace;
pub mod syscalls;
pub mod task;
pub mod time;
pub mod tty;
pub mod user;
pub mod vfs;

pub use arch::{Errno, Result};
