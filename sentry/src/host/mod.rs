//! Every host system call that the Sentry makes, in one room.
#![expect(unsafe_code, reason = "host system calls")]
//!
//! # Safety
//! Each function wraps one call and passes it only memory that Rust owns. The jail's allow list is made from
//! what stands here.

pub mod event;
pub mod fs;
pub mod io;
pub mod map;
pub mod mm;
pub mod stdio;
pub mod sys;
