//! Descriptors that are more than files: pipes, events, readiness.

use syscall_tests::harness::Family;

mod dup;
mod epoll;
mod eventfd;
mod fcntl;
mod fifo;
mod locks;
mod pidfd;
mod pipe;
mod poll;
mod signalfd;
mod timerfd;

/// All families of this folder.
pub const FAMILIES: &[Family] = &[
    ("dup", dup::CASES),
    ("epoll", epoll::CASES),
    ("eventfd", eventfd::CASES),
    ("fcntl", fcntl::CASES),
    ("fifo", fifo::CASES),
    ("locks", locks::CASES),
    ("pidfd", pidfd::CASES),
    ("pipe", pipe::CASES),
    ("poll", poll::CASES),
    ("signalfd", signalfd::CASES),
    ("timerfd", timerfd::CASES),
];
