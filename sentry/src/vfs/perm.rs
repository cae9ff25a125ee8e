//! Who may do what (path_resolution(7), capabilities(7)).

use super::attr::{Attr, FileType};
use super::inode::InodeRef;
use super::path::Path;
use super::walk::Env;
use crate::task::{Creds, cap};
use arch::{Errno, Result};

bitflags::bitflags! {
    /// What is wanted of a file, in the bits of access(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Access: u32 {
        const READ = 4;
        const WRITE = 2;
        /// Execution of a file, search of a directory.
        const EXEC = 1;
    }
}

/// The permission bits of `attr` that apply to `creds`, as the lowest three.
fn class_bits(attr: &Attr, creds: &Creds) -> u32 {
    let shift = if creds.fsuid == attr.uid {
        6
    } else if creds.in_group(attr.gid) {
        3
    } else {
        0
    };
    (attr.mode >> shift) & 7
}

/// generic_permission: by mode bits, else by capability. EACCES.
pub fn check(attr: &Attr, creds: &Creds, access: Access) -> Result<()> {
    if class_bits(attr, creds) & access.bits() == access.bits() {
        return Ok(());
    }
    let allowed = if attr.file_type() == FileType::Directory {
        (!access.contains(Access::WRITE) && creds.has_cap(cap::DAC_READ_SEARCH))
            || creds.has_cap(cap::DAC_OVERRIDE)
    } else {
        (access == Access::READ && creds.has_cap(cap::DAC_READ_SEARCH))
            || ((!access.contains(Access::EXEC) || attr.mode & 0o111 != 0)
                && creds.has_cap(cap::DAC_OVERRIDE))
    };
    if allowed { Ok(()) } else { Err(Errno::EACCES) }
}

/// inode_permission: the file system's own rules, or the common ones.
pub fn inode(env: &Env<'_>, inode: &InodeRef, access: Access) -> Result<()> {
    match inode.permission(env, access) {
        Some(answer) => answer,
        None => check(&inode.perm_attr()?, &env.creds, access),
    }
}

/// [`inode`] with the read-only rule of the file system: writing to a file, directory or link there is EROFS.
pub fn path(env: &Env<'_>, path: &Path, access: Access) -> Result<()> {
    if access.contains(Access::WRITE) && path.mount.sb().read_only() {
        let kind = path.inode().file_type();
        if matches!(
            kind,
            FileType::Regular | FileType::Directory | FileType::Symlink
        ) {
            return Err(Errno::EROFS);
        }
    }
    inode(env, path.inode(), access)
}

/// Whether `creds` is the owner or may act as such (inode_owner_or_capable).
pub fn owner_or_capable(attr: &Attr, creds: &Creds) -> bool {
    creds.fsuid == attr.uid || creds.has_cap(cap::FOWNER)
}

/// Whether the sticky bit of `dir` keeps `creds` from removing a file with attributes `victim` (check_sticky).
pub fn sticky_forbids(dir: &Attr, victim: &Attr, creds: &Creds) -> bool {
    dir.mode & libc::S_ISVTX != 0
        && creds.fsuid != victim.uid
        && creds.fsuid != dir.uid
        && !creds.has_cap(cap::FOWNER)
}

/// may_create: a name may be added to `dir`.
pub fn may_create(env: &Env<'_>, dir: &Path) -> Result<()> {
    if dir.dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    path(env, dir, Access::WRITE | Access::EXEC)
}

/// may_delete: `victim` may be taken out of `dir`; `as_dir` says whether rmdir(2) rules hold.
pub fn may_delete(env: &Env<'_>, dir: &Path, victim: &InodeRef, as_dir: bool) -> Result<()> {
    path(env, dir, Access::WRITE | Access::EXEC)?;
    let dir_attr = dir.inode().perm_attr()?;
    if dir_attr.mode & libc::S_ISVTX != 0
        && sticky_forbids(&dir_attr, &victim.perm_attr()?, &env.creds)
    {
        return Err(Errno::EPERM);
    }
    match (as_dir, victim.file_type() == FileType::Directory) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        _ if dir.dentry.is_deleted() => Err(Errno::ENOENT),
        _ => Ok(()),
    }
}
