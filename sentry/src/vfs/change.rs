//! Changing attributes: chmod(2), chown(2), utimensat(2), truncate(2), and asking for rights: access(2).

use super::attr::{Attr, FileType, SetAttr, Timestamp};
use super::inode::InodeRef;
use super::mount::MountFlags;
use super::perm::{self, Access};
use super::walk::Env;
use super::{File, Path, notify};
use crate::task::{Creds, cap};
use arch::{Errno, Result};
use std::sync::Arc;
use std::time::Duration;

/// A time for utimensat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// UTIME_NOW.
    Now,
    /// UTIME_OMIT.
    Omit,
    /// This one.
    At(Timestamp),
}

/// chmod(2).
pub fn chmod(env: &Env<'_>, place: &Path, perm: u32) -> Result<()> {
    place.mount.want_write()?;
    let inode = place.inode();
    if inode.file_type() == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    let attr = inode.perm_attr()?;
    if !perm::owner_or_capable(&attr, &env.creds) {
        return Err(Errno::EPERM);
    }
    let mut perm = perm & 0o7777;
    if !env.creds.in_group(attr.gid) && !env.creds.has_cap(cap::FSETID) {
        perm &= !libc::S_ISGID;
    }
    inode.set_attr(&SetAttr {
        perm: Some(perm),
        ..SetAttr::default()
    })?;
    if perm & (libc::S_ISUID | libc::S_ISGID) != 0 {
        inode.ext().set_privileged();
    }
    notify::path(place, libc::IN_ATTRIB);
    Ok(())
}

/// chown(2); `None` leaves an id as it is.
pub fn chown(env: &Env<'_>, place: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    place.mount.want_write()?;
    let inode = place.inode();
    let attr = inode.perm_attr()?;
    let creds = &env.creds;
    let owner = creds.fsuid == attr.uid;
    let uid_allowed = uid.is_none_or(|new| owner && new == attr.uid);
    let gid_allowed = gid.is_none_or(|new| owner && (new == attr.gid || creds.in_group(new)));
    let allowed = uid_allowed && gid_allowed;
    if !allowed && !creds.has_cap(cap::CHOWN) {
        return Err(Errno::EPERM);
    }
    let mut change = SetAttr {
        uid,
        gid,
        ..SetAttr::default()
    };
    if attr.file_type() != FileType::Directory {
        change.perm = dropped_bits(&attr, creds, true);
        if !inode.chown_strips() {
            let _ = inode.remove_xattr(b"security.capability");
        }
    }
    inode.set_attr(&change)?;
    notify::path(place, libc::IN_ATTRIB);
    Ok(())
}

/// The permission bits without setuid and setgid, if a write or a chown takes them away. `always`: the capability doesn't keep them
/// (chown), but for a setgid bit without group execution in a group of the caller's.
fn dropped_bits(attr: &Attr, creds: &Creds, always: bool) -> Option<u32> {
    if !always && creds.has_cap(cap::FSETID) {
        return None;
    }
    let mut perm = attr.perm() & !libc::S_ISUID;
    let keeps_gid = creds.in_group(attr.gid) || creds.has_cap(cap::FSETID);
    if perm & libc::S_IXGRP != 0 || !keeps_gid {
        perm &= !libc::S_ISGID;
    }
    (perm != attr.perm()).then_some(perm)
}

/// file_remove_privs: a write takes setuid, setgid and file capabilities away.
pub fn strip_privileges(creds: &Creds, file: &File) -> Result<()> {
    let Some(place) = file.path() else {
        return Ok(());
    };
    let inode = place.inode();
    if !inode.ext().privileged() {
        return Ok(());
    }
    if let Some(perm) = dropped_bits(&inode.attr()?, creds, false) {
        inode.set_attr(&SetAttr {
            perm: Some(perm),
            ..SetAttr::default()
        })?;
    }
    match inode.remove_xattr(b"security.capability") {
        Ok(()) | Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::EPERM) => Ok(()),
        Err(e) => Err(e),
    }
}

/// utimensat(2). Both `Omit` has been answered without looking at the path.
pub fn utimes(env: &Env<'_>, place: &Path, atime: SetTime, mtime: SetTime) -> Result<()> {
    place.mount.want_write()?;
    let inode = place.inode();
    let attr = inode.perm_attr()?;
    if !perm::owner_or_capable(&attr, &env.creds) {
        if (atime, mtime) != (SetTime::Now, SetTime::Now) {
            return Err(Errno::EPERM);
        }
        perm::inode(env, inode, Access::WRITE)?;
    }
    let now = Timestamp::now();
    let pick = |t| match t {
        SetTime::Now => Some(now),
        SetTime::Omit => None,
        SetTime::At(t) => Some(t),
    };
    inode.set_attr(&SetAttr {
        atime: pick(atime),
        mtime: pick(mtime),
        atime_now: atime == SetTime::Now,
        mtime_now: mtime == SetTime::Now,
        ..SetAttr::default()
    })?;
    notify::path(place, libc::IN_ATTRIB);
    Ok(())
}

/// truncate(2). `limit` is RLIMIT_FSIZE: growing past it is EFBIG (and the caller's SIGXFSZ).
pub fn truncate(env: &Env<'_>, place: &Path, len: u64, limit: u64) -> Result<()> {
    let inode = place.inode();
    match inode.file_type() {
        FileType::Regular => {}
        FileType::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    place.mount.want_write()?;
    perm::path(env, place, Access::WRITE)?;
    inode.ext().get_write()?;
    let result = resize(env, inode, len, limit);
    inode.ext().put_write();
    if result.is_ok() {
        notify::path(place, libc::IN_MODIFY);
    }
    result
}

fn resize(env: &Env<'_>, inode: &InodeRef, len: u64, limit: u64) -> Result<()> {
    if len > limit && len > inode.attr()?.size {
        return Err(Errno::EFBIG);
    }
    let perm = dropped_bits(&inode.perm_attr()?, &env.creds, false);
    inode.set_attr(&SetAttr {
        size: Some(len),
        perm,
        ..SetAttr::default()
    })
}

/// O_TRUNC of a file that is open for writing.
pub(super) fn truncate_open(env: &Env<'_>, file: &Arc<File>, len: u64) -> Result<()> {
    let Some(place) = file.path() else {
        return Ok(());
    };
    resize(env, place.inode(), len, u64::MAX)?;
    notify::path(place, libc::IN_MODIFY);
    Ok(())
}

/// faccessat2(2): `env` has the credentials to ask about.
pub fn access(env: &Env<'_>, place: &Path, access: Access) -> Result<()> {
    let kind = place.inode().file_type();
    let no_exec = place.mount.flags().contains(MountFlags::NOEXEC);
    if access.contains(Access::EXEC) && kind == FileType::Regular && no_exec {
        return Err(Errno::EACCES);
    }
    perm::path(env, place, access)?;
    let special = matches!(
        kind,
        FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket
    );
    if access.contains(Access::WRITE) && !special && place.mount.want_write().is_err() {
        return Err(Errno::EROFS);
    }
    Ok(())
}

/// touch_atime: a read through `place` by a description with open(2) flags `flags`.
pub fn touch_atime(place: &Path, flags: u32) {
    if flags & libc::O_NOATIME as u32 != 0 {
        return;
    }
    let mount = place.mount.flags();
    let dir = place.inode().file_type() == FileType::Directory;
    if mount.contains(MountFlags::NOATIME)
        || (dir && mount.contains(MountFlags::NODIRATIME))
        || place.mount.want_write().is_err()
    {
        return;
    }
    place
        .inode()
        .touch_atime(!mount.contains(MountFlags::STRICTATIME));
}

/// relatime: whether a read at `now` moves the time of last access.
pub fn atime_due(attr: &Attr, now: Timestamp, relatime: bool) -> bool {
    if !relatime {
        return now != attr.atime;
    }
    attr.atime <= attr.mtime
        || attr.atime <= attr.ctime
        || now.since(attr.atime) >= Duration::from_secs(24 * 60 * 60)
}
