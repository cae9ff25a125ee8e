//! The commands.

pub mod do_;
pub mod run;
pub mod spec;
pub mod syscalls;

use crate::failure::Failure;
use std::os::fd::OwnedFd;

/// What all commands that run something share.
#[derive(Default)]
pub struct Common {
    /// `--debug`.
    pub debug: bool,
    /// `--syscall-patching`.
    pub patching: bool,
    /// Where strace lines go.
    pub strace: Option<OwnedFd>,
}

/// A command's answer: the status to exit with.
pub type Outcome = Result<u8, Failure>;
