//! Where things are inside of a container.

use anyhow::Result;
use std::ffi::CString;

/// An empty directory of the root file system, in which every program starts.
pub const SCRATCH: &str = "/bench/scratch";

/// A bind mount of a directory of the host.
pub const BIND: &str = "/bench/bind";

/// A name in [`SCRATCH`], for calls of our own.
pub fn scratch(name: &str) -> Result<CString> {
    Ok(CString::new(format!("{SCRATCH}/{name}"))?)
}
