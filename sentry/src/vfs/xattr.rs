//! Extended attributes (xattr(7)): who may do what to which name space.

use super::attr::FileType;
use super::inode::XattrFlags;
use super::perm::{self, Access};
use super::walk::Env;
use super::{Path, notify};
use crate::task::cap;
use arch::{Errno, Result};

/// xattr_permission: whether `name` may be read (or written) of the file at `place`.
fn check(env: &Env<'_>, place: &Path, name: &[u8], write: bool) -> Result<()> {
    if write {
        place.mount.want_write()?;
    }
    if name.starts_with(b"security.") || name.starts_with(b"system.") {
        return Ok(());
    }
    if name.starts_with(b"trusted.") {
        let may = env.creds.has_cap(cap::SYS_ADMIN);
        return match (may, write) {
            (true, _) => Ok(()),
            (false, true) => Err(Errno::EPERM),
            (false, false) => Err(Errno::ENODATA),
        };
    }
    if name.starts_with(b"user.") {
        let inode = place.inode();
        let kind = inode.file_type();
        if !matches!(kind, FileType::Regular | FileType::Directory) {
            return Err(if write { Errno::EPERM } else { Errno::ENODATA });
        }
        if kind == FileType::Directory && write {
            let attr = inode.attr()?;
            if attr.mode & libc::S_ISVTX != 0 && !perm::owner_or_capable(&attr, &env.creds) {
                return Err(Errno::EPERM);
            }
        }
    }
    perm::path(env, place, if write { Access::WRITE } else { Access::READ })
}

/// getxattr(2).
pub fn get(env: &Env<'_>, place: &Path, name: &[u8]) -> Result<Vec<u8>> {
    check(env, place, name, false)?;
    place.inode().get_xattr(name)
}

/// setxattr(2).
pub fn set(
    env: &Env<'_>,
    place: &Path,
    name: &[u8],
    value: &[u8],
    flags: XattrFlags,
) -> Result<()> {
    check(env, place, name, true)?;
    let capability = name == b"security.capability";
    if name.starts_with(b"security.") {
        let wanted = if capability {
            cap::SETFCAP
        } else {
            cap::SYS_ADMIN
        };
        if !env.creds.has_cap(wanted) {
            return Err(Errno::EPERM);
        }
    }
    place.inode().set_xattr(name, value, flags)?;
    if capability {
        place.inode().ext().set_privileged();
    }
    notify::path(place, libc::IN_ATTRIB);
    Ok(())
}

/// removexattr(2).
pub fn remove(env: &Env<'_>, place: &Path, name: &[u8]) -> Result<()> {
    check(env, place, name, true)?;
    if name.starts_with(b"security.") {
        let wanted = if name == b"security.capability" {
            cap::SETFCAP
        } else {
            cap::SYS_ADMIN
        };
        if !env.creds.has_cap(wanted) {
            return Err(Errno::EPERM);
        }
    }
    place.inode().remove_xattr(name)?;
    notify::path(place, libc::IN_ATTRIB);
    Ok(())
}

/// listxattr(2): the names, each with its NUL. Names in `trusted` are shown to those who may read them.
pub fn list(env: &Env<'_>, place: &Path) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let names = match place.inode().list_xattr() {
        Err(Errno::EOPNOTSUPP) => Vec::new(),
        other => other?,
    };
    for name in names {
        if name.starts_with(b"trusted.") && !env.creds.has_cap(cap::SYS_ADMIN) {
            continue;
        }
        out.extend_from_slice(&name);
        out.push(0);
    }
    Ok(out)
}
