//! The system call table and its dispatcher.
//!
//! A handler's arguments are decoded by conversions that can't fail ([`arg`]); the handler validates them in Linux's
//! order. [`table`] is the compatibility document: a call that is in it only as `No` answers ENOSYS.

pub mod arg;
pub mod attr;
pub mod bulk;
pub mod control;
pub mod copy;
pub mod cred;
pub mod dir;
pub mod epoll;
pub mod event;
pub mod fd;
pub mod futex;
pub mod ipc;
pub mod limits;
pub mod lock;
pub mod memfd;
pub mod message;
pub mod mm;
pub mod mount;
pub mod mq;
pub mod numa;
pub mod open;
pub mod path;
pub mod pipe;
pub mod poll;
pub mod prctl;
pub mod process;
pub mod rw;
pub mod sched;
pub mod seccomp;
pub mod shm;
pub mod signal;
pub mod socket;
pub mod splice;
pub mod system;
pub mod table;
pub mod time;
pub mod vm;
pub mod xattr;

pub use arg::{Arg, Fd, IntoRet};

/// How far a call is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux has it.
    Full,
    /// As Linux has it but for what the note says.
    Partial(&'static str),
    /// ENOSYS.
    No,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The number.
    pub nr: u64,
    /// How far it is supported.
    pub support: Support,
}
