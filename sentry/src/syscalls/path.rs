//! Names: mkdir(2), mknod(2), unlink(2), rename(2), link(2), symlink(2), readlink(2); chdir(2), chroot(2), getcwd(2).

use super::Fd;
use crate::task::{Cx, cap};
use crate::user::{UserAddr, UserStr};
use crate::vfs::perm::{self, Access};
use crate::vfs::{At, Dev, FileType, Path, RenameFlags, WalkFlags, names};
use arch::{Errno, Result};

/// Where a path relative to `dirfd` starts. An absolute path makes `dirfd` meaningless; else EBADF.
pub(crate) fn start(cx: &Cx, dirfd: Fd, path: &[u8]) -> Result<At> {
    if path.first() == Some(&b'/') {
        Ok(At::Cwd)
    } else {
        start_at(cx, dirfd)
    }
}

/// Where `dirfd` is.
pub(crate) fn start_at(cx: &Cx, dirfd: Fd) -> Result<At> {
    if dirfd == Fd::CWD {
        return Ok(At::Cwd);
    }
    Ok(At::Dir(cx.task.files().get_raw(dirfd)?.to_path()))
}

/// The place of a path that exists.
pub(crate) fn place(cx: &Cx, dirfd: Fd, path: UserStr, flags: WalkFlags) -> Result<Path> {
    let path = cx.read_path(path)?;
    if path.is_empty() && !flags.contains(WalkFlags::EMPTY) {
        return Err(Errno::ENOENT);
    }
    let at = start(cx, dirfd, &path)?;
    cx.env().resolve(&at, &path, flags)
}

/// The path of something to be made or removed, and where it starts.
fn target(cx: &Cx, dirfd: Fd, path: UserStr) -> Result<(At, Vec<u8>)> {
    let path = cx.read_path(path)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    Ok((start(cx, dirfd, &path)?, path))
}

/// mkdir(2).
pub fn mkdir(cx: &Cx, path: UserStr, mode: u32) -> Result<()> {
    mkdirat(cx, Fd::CWD, path, mode)
}

/// mkdirat(2).
pub fn mkdirat(cx: &Cx, dirfd: Fd, path: UserStr, mode: u32) -> Result<()> {
    let (at, path) = target(cx, dirfd, path)?;
    names::mkdir(&cx.env(), &at, &path, mode).map(drop)
}

/// mknod(2).
pub fn mknod(cx: &Cx, path: UserStr, mode: u32, dev: u32) -> Result<()> {
    mknodat(cx, Fd::CWD, path, mode, dev)
}

/// mknodat(2).
pub fn mknodat(cx: &Cx, dirfd: Fd, path: UserStr, mode: u32, dev: u32) -> Result<()> {
    let (at, path) = target(cx, dirfd, path)?;
    names::mknod(
        &cx.env(),
        &at,
        &path,
        mode & 0xffff,
        Dev::decode(u64::from(dev)),
    )
    .map(drop)
}

/// symlink(2).
pub fn symlink(cx: &Cx, text: UserStr, path: UserStr) -> Result<()> {
    symlinkat(cx, text, Fd::CWD, path)
}

/// symlinkat(2).
pub fn symlinkat(cx: &Cx, text: UserStr, dirfd: Fd, path: UserStr) -> Result<()> {
    let text = cx.read_path(text)?;
    if text.is_empty() {
        return Err(Errno::ENOENT);
    }
    let (at, path) = target(cx, dirfd, path)?;
    names::symlink(&cx.env(), &text, &at, &path)
}

/// link(2).
pub fn link(cx: &Cx, old: UserStr, new: UserStr) -> Result<()> {
    linkat(cx, Fd::CWD, old, Fd::CWD, new, 0)
}

/// linkat(2). AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH (ENOENT).
pub fn linkat(
    cx: &Cx,
    old_dir: Fd,
    old: UserStr,
    new_dir: Fd,
    new: UserStr,
    flags: i32,
) -> Result<()> {
    if flags & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & libc::AT_SYMLINK_FOLLOW != 0);
    if flags & libc::AT_EMPTY_PATH != 0 {
        if !cx.task.creds().has_cap(cap::DAC_READ_SEARCH) {
            return Err(Errno::ENOENT);
        }
        walk |= WalkFlags::EMPTY;
    }
    let old = place(cx, old_dir, old, walk)?;
    let (at, path) = target(cx, new_dir, new)?;
    names::link(&cx.env(), &old, &at, &path)
}

/// unlink(2).
pub fn unlink(cx: &Cx, path: UserStr) -> Result<()> {
    unlinkat(cx, Fd::CWD, path, 0)
}

/// rmdir(2).
pub fn rmdir(cx: &Cx, path: UserStr) -> Result<()> {
    unlinkat(cx, Fd::CWD, path, libc::AT_REMOVEDIR)
}

/// unlinkat(2).
pub fn unlinkat(cx: &Cx, dirfd: Fd, path: UserStr, flags: i32) -> Result<()> {
    if flags & !libc::AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let (at, path) = target(cx, dirfd, path)?;
    if flags & libc::AT_REMOVEDIR != 0 {
        names::rmdir(&cx.env(), &at, &path)
    } else {
        names::unlink(&cx.env(), &at, &path)
    }
}

/// rename(2).
pub fn rename(cx: &Cx, old: UserStr, new: UserStr) -> Result<()> {
    renameat2(cx, Fd::CWD, old, Fd::CWD, new, 0)
}

/// renameat(2).
pub fn renameat(cx: &Cx, old_dir: Fd, old: UserStr, new_dir: Fd, new: UserStr) -> Result<()> {
    renameat2(cx, old_dir, old, new_dir, new, 0)
}

/// renameat2(2).
pub fn renameat2(
    cx: &Cx,
    old_dir: Fd,
    old: UserStr,
    new_dir: Fd,
    new: UserStr,
    flags: u32,
) -> Result<()> {
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if flags.contains(RenameFlags::EXCHANGE)
        && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT)
    {
        return Err(Errno::EINVAL);
    }
    let (old_at, old) = target(cx, old_dir, old)?;
    let (new_at, new) = target(cx, new_dir, new)?;
    names::rename(&cx.env(), &old_at, &old, &new_at, &new, flags)
}

/// readlink(2).
pub fn readlink(cx: &Cx, path: UserStr, buf: UserAddr, size: i32) -> Result<usize> {
    readlinkat(cx, Fd::CWD, path, buf, size)
}

/// readlinkat(2). An empty path reads the link that `dirfd` is (O_PATH); then what is no link is ENOENT.
pub fn readlinkat(cx: &Cx, dirfd: Fd, path: UserStr, buf: UserAddr, size: i32) -> Result<usize> {
    let size = usize::try_from(size)
        .ok()
        .filter(|&n| n > 0)
        .ok_or(Errno::EINVAL)?;
    let path = cx.read_path(path)?;
    let at = start(cx, dirfd, &path)?;
    let env = cx.env();
    let place = env.resolve(&at, &path, WalkFlags::EMPTY)?;
    let text = match names::readlink(&env, &place) {
        Err(Errno::EINVAL) if path.is_empty() => Err(Errno::ENOENT),
        other => other,
    }?;
    let n = text.len().min(size);
    cx.write_bytes(buf, &text[..n])?;
    Ok(n)
}

/// A directory that may be gone to.
fn directory(cx: &Cx, path: UserStr) -> Result<Path> {
    let dir = place(cx, Fd::CWD, path, WalkFlags::FOLLOW | WalkFlags::DIRECTORY)?;
    perm::path(&cx.env(), &dir, Access::EXEC)?;
    Ok(dir)
}

/// chdir(2).
pub fn chdir(cx: &Cx, path: UserStr) -> Result<()> {
    let dir = directory(cx, path)?;
    cx.task.fs().set_cwd(dir);
    Ok(())
}

/// fchdir(2).
pub fn fchdir(cx: &Cx, fd: Fd) -> Result<()> {
    let dir = cx.task.files().get_raw(fd)?.to_path();
    if dir.inode().file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    perm::path(&cx.env(), &dir, Access::EXEC)?;
    cx.task.fs().set_cwd(dir);
    Ok(())
}

/// chroot(2). EPERM without CAP_SYS_CHROOT.
pub fn chroot(cx: &Cx, path: UserStr) -> Result<()> {
    let dir = directory(cx, path)?;
    if !cx.task.creds().has_cap(cap::SYS_CHROOT) {
        return Err(Errno::EPERM);
    }
    cx.task.fs().set_root(dir);
    Ok(())
}

/// getcwd(2): the length with its NUL. ENOENT in a directory that is gone, ERANGE if it doesn't fit.
pub fn getcwd(cx: &Cx, buf: UserAddr, size: usize) -> Result<usize> {
    let (root, cwd) = cx.task.fs().root_and_cwd();
    let mut text = cwd.cwd_text(&root).ok_or(Errno::ENOENT)?;
    text.push(0);
    if text.len() > crate::user::memory::PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if text.len() > size {
        return Err(Errno::ERANGE);
    }
    cx.write_bytes(buf, &text)?;
    Ok(text.len())
}

/// umask(2).
pub fn umask(cx: &Cx, mask: u32) -> Result<u32> {
    Ok(cx.task.fs().set_umask(mask))
}
