//! getxattr(2), setxattr(2), listxattr(2), removexattr(2), each by path, by path without following a link, and by descriptor.

use super::{Fd, path};
use crate::task::Cx;
use crate::user::{UserAddr, UserStr};
use crate::vfs::{Path, WalkFlags, XattrFlags, xattr};
use arch::abi::{XATTR_LIST_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX};
use arch::{Errno, Result};

/// An attribute's name: ERANGE if it is empty or too long, EOPNOTSUPP outside the known name spaces.
fn name(cx: &Cx, at: UserStr) -> Result<Vec<u8>> {
    let name = match cx.read_cstr(at, XATTR_NAME_MAX + 1) {
        Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        other => other,
    }?;
    if name.is_empty() || name.len() > XATTR_NAME_MAX {
        return Err(Errno::ERANGE);
    }
    Ok(name)
}

/// The name must be in a name space, and be more than its prefix.
fn known(name: &[u8]) -> Result<()> {
    let spaces: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    match spaces.iter().find(|s| name.starts_with(s)) {
        None => Err(Errno::EOPNOTSUPP),
        Some(space) if space.len() == name.len() => Err(Errno::EINVAL),
        Some(_) => Ok(()),
    }
}

fn by_path(cx: &Cx, file: UserStr) -> Result<Path> {
    path::place(cx, Fd::CWD, file, WalkFlags::FOLLOW)
}

fn by_link(cx: &Cx, file: UserStr) -> Result<Path> {
    path::place(cx, Fd::CWD, file, WalkFlags::empty())
}

fn by_fd(cx: &Cx, fd: Fd) -> Result<Path> {
    Ok(cx.task.files().get(fd)?.to_path())
}

/// Hands out a value or a list: with size 0 only its length. ERANGE if it doesn't fit.
fn answer(cx: &Cx, value: &[u8], to: UserAddr, size: usize) -> Result<usize> {
    if size > 0 {
        if value.len() > size {
            return Err(Errno::ERANGE);
        }
        cx.write_bytes(to, value)?;
    }
    Ok(value.len())
}

fn get(cx: &Cx, place: &Path, at: UserStr, to: UserAddr, size: usize) -> Result<usize> {
    let name = name(cx, at)?;
    known(&name)?;
    let value = xattr::get(&cx.env(), place, &name)?;
    answer(cx, &value, to, size.min(XATTR_SIZE_MAX))
}

fn set(cx: &Cx, place: &Path, at: UserStr, from: UserAddr, size: usize, flags: u32) -> Result<()> {
    let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let name = name(cx, at)?;
    if size > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let mut value = vec![0; size];
    cx.read_bytes(from, &mut value)?;
    known(&name)?;
    xattr::set(&cx.env(), place, &name, &value, flags)
}

fn list(cx: &Cx, place: &Path, to: UserAddr, size: usize) -> Result<usize> {
    let names = xattr::list(&cx.env(), place)?;
    answer(cx, &names, to, size.min(XATTR_LIST_MAX))
}

fn remove(cx: &Cx, place: &Path, at: UserStr) -> Result<()> {
    let name = name(cx, at)?;
    known(&name)?;
    xattr::remove(&cx.env(), place, &name)
}

/// getxattr(2).
pub fn getxattr(cx: &Cx, file: UserStr, at: UserStr, to: UserAddr, size: usize) -> Result<usize> {
    get(cx, &by_path(cx, file)?, at, to, size)
}

/// lgetxattr(2).
pub fn lgetxattr(cx: &Cx, file: UserStr, at: UserStr, to: UserAddr, size: usize) -> Result<usize> {
    get(cx, &by_link(cx, file)?, at, to, size)
}

/// fgetxattr(2).
pub fn fgetxattr(cx: &Cx, fd: Fd, at: UserStr, to: UserAddr, size: usize) -> Result<usize> {
    get(cx, &by_fd(cx, fd)?, at, to, size)
}

/// setxattr(2).
pub fn setxattr(
    cx: &Cx,
    file: UserStr,
    at: UserStr,
    from: UserAddr,
    size: usize,
    flags: u32,
) -> Result<()> {
    set(cx, &by_path(cx, file)?, at, from, size, flags)
}

/// lsetxattr(2).
pub fn lsetxattr(
    cx: &Cx,
    file: UserStr,
    at: UserStr,
    from: UserAddr,
    size: usize,
    flags: u32,
) -> Result<()> {
    set(cx, &by_link(cx, file)?, at, from, size, flags)
}

/// fsetxattr(2).
pub fn fsetxattr(
    cx: &Cx,
    fd: Fd,
    at: UserStr,
    from: UserAddr,
    size: usize,
    flags: u32,
) -> Result<()> {
    set(cx, &by_fd(cx, fd)?, at, from, size, flags)
}

/// listxattr(2).
pub fn listxattr(cx: &Cx, file: UserStr, to: UserAddr, size: usize) -> Result<usize> {
    list(cx, &by_path(cx, file)?, to, size)
}

/// llistxattr(2).
pub fn llistxattr(cx: &Cx, file: UserStr, to: UserAddr, size: usize) -> Result<usize> {
    list(cx, &by_link(cx, file)?, to, size)
}

/// flistxattr(2).
pub fn flistxattr(cx: &Cx, fd: Fd, to: UserAddr, size: usize) -> Result<usize> {
    list(cx, &by_fd(cx, fd)?, to, size)
}

/// removexattr(2).
pub fn removexattr(cx: &Cx, file: UserStr, at: UserStr) -> Result<()> {
    remove(cx, &by_path(cx, file)?, at)
}

/// lremovexattr(2).
pub fn lremovexattr(cx: &Cx, file: UserStr, at: UserStr) -> Result<()> {
    remove(cx, &by_link(cx, file)?, at)
}

/// fremovexattr(2).
pub fn fremovexattr(cx: &Cx, fd: Fd, at: UserStr) -> Result<()> {
    remove(cx, &by_fd(cx, fd)?, at)
}
