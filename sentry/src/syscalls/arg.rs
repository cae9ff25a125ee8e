//! Decoding of arguments and encoding of results.

use crate::user::{UserAddr, UserRef, UserStr};
use arch::{Errno, Result};

/// A raw argument register.
#[derive(Clone, Copy, Debug)]
pub struct Arg(pub u64);

/// A descriptor number as it was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fd(pub i32);

impl Fd {
    /// AT_FDCWD.
    pub const CWD: Self = Self(libc::AT_FDCWD);
}

impl From<Arg> for Fd {
    fn from(a: Arg) -> Self {
        Self(a.0 as i32)
    }
}
impl From<Arg> for i32 {
    fn from(a: Arg) -> Self {
        a.0 as Self
    }
}
impl From<Arg> for u32 {
    fn from(a: Arg) -> Self {
        a.0 as Self
    }
}
impl From<Arg> for i64 {
    fn from(a: Arg) -> Self {
        a.0.cast_signed()
    }
}
impl From<Arg> for u64 {
    fn from(a: Arg) -> Self {
        a.0
    }
}
impl From<Arg> for usize {
    fn from(a: Arg) -> Self {
        a.0 as Self
    }
}
impl From<Arg> for UserAddr {
    fn from(a: Arg) -> Self {
        Self(a.0)
    }
}
impl From<Arg> for UserStr {
    fn from(a: Arg) -> Self {
        Self(UserAddr(a.0))
    }
}
impl<T> From<Arg> for UserRef<T> {
    fn from(a: Arg) -> Self {
        Self::new(UserAddr(a.0))
    }
}

/// What a handler may return.
pub trait IntoRet {
    /// The value of the return register.
    fn into_ret(self) -> u64;
}
impl IntoRet for () {
    fn into_ret(self) -> u64 {
        0
    }
}
impl IntoRet for u64 {
    fn into_ret(self) -> u64 {
        self
    }
}
impl IntoRet for usize {
    fn into_ret(self) -> u64 {
        self as u64
    }
}
impl IntoRet for i32 {
    fn into_ret(self) -> u64 {
        i64::from(self).cast_unsigned()
    }
}
impl IntoRet for u32 {
    fn into_ret(self) -> u64 {
        u64::from(self)
    }
}
impl IntoRet for Fd {
    fn into_ret(self) -> u64 {
        self.0.into_ret()
    }
}
impl IntoRet for UserAddr {
    fn into_ret(self) -> u64 {
        self.0
    }
}

/// The return register for a result: −errno for an error.
pub fn encode(result: Result<u64>) -> u64 {
    match result {
        Ok(value) => value,
        Err(e) => errno(e),
    }
}

fn errno(e: Errno) -> u64 {
    i64::from(-e.raw()).cast_unsigned()
}
