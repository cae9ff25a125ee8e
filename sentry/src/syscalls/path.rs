//! Names: open, mkdir, unlink, rename, links, working directory.

use super::Fd;
use crate::executor::PollEvents;
use crate::task::{Cx, cap};
use crate::user::{UserAddr, UserStr};
use crate::vfs::inode::RenameFlags;
use crate::vfs::open::{OpenHow, VALID_FLAGS, will_create};
use crate::vfs::perm::{self, Access};
use crate::vfs::walk::{At, WalkFlags};
use crate::vfs::{Dev, File, FileType, Path, names, open as vfs_open};
use arch::abi::OpenHow as RawOpenHow;
use arch::{Errno, Result};
use std::sync::Arc;

/// Where a path of an *at call starts. The descriptor of an absolute path is not looked at.
pub(super) fn start(cx: &Cx, dir: Fd, path: &[u8]) -> Result<At> {
    if dir == Fd::CWD || path.first() == Some(&b'/') {
        return Ok(At::Cwd);
    }
    let file = cx.task.files().get_raw(dir)?;
    Ok(At::Dir(file.to_path()))
}

/// The place of a path that exists, with AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW and AT_EMPTY_PATH in `flags`.
pub(super) fn place(cx: &Cx, dir: Fd, path: &[u8], follow: bool, flags: i32) -> Result<Path> {
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, follow);
    walk.set(WalkFlags::EMPTY, flags & libc::AT_EMPTY_PATH != 0);
    let at = start(cx, dir, path)?;
    cx.env().resolve(&at, path, walk)
}

async fn open_file(cx: &Cx, dir: Fd, path: UserStr, how: OpenHow) -> Result<Fd> {
    let path = cx.read_path(path)?;
    let at = start(cx, dir, &path)?;
    let files = cx.task.files();
    let reserved = files.reserve(cx.task.group.rlimit(libc::RLIMIT_NOFILE))?;
    let file = {
        let env = cx.env();
        vfs_open::open(&env, &at, &path, how)?
    };
    wait_open(cx, &file).await?;
    Ok(reserved.fill(file, how.flags & libc::O_CLOEXEC as u32 != 0))
}

/// A FIFO's open waits for its peer.
async fn wait_open(cx: &Cx, file: &Arc<File>) -> Result<()> {
    match file.ops.open_wait(file) {
        Err(Errno::EAGAIN) => match file.ops.wait_queue() {
            Some(queue) => {
                cx.wait(queue, PollEvents::all(), None, || file.ops.open_wait(file))
                    .await
            }
            None => Err(Errno::EAGAIN),
        },
        other => other,
    }
}

/// open(2).
pub async fn open(cx: &Cx, path: UserStr, flags: u32, mode: u32) -> Result<Fd> {
    open_file(cx, Fd::CWD, path, OpenHow::new(flags, mode)).await
}

/// openat(2).
pub async fn openat(cx: &Cx, dir: Fd, path: UserStr, flags: u32, mode: u32) -> Result<Fd> {
    open_file(cx, dir, path, OpenHow::new(flags, mode)).await
}

/// creat(2).
pub async fn creat(cx: &Cx, path: UserStr, mode: u32) -> Result<Fd> {
    let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u32;
    open_file(cx, Fd::CWD, path, OpenHow::new(flags, mode)).await
}

/// openat2(2).
pub async fn openat2(cx: &Cx, dir: Fd, path: UserStr, how: UserAddr, size: usize) -> Result<Fd> {
    const LEN: usize = size_of::<RawOpenHow>();
    if size < LEN {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0; size];
    cx.read_bytes(how, &mut bytes)?;
    if bytes[LEN..].iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG);
    }
    let raw: RawOpenHow = bytemuck::pod_read_unaligned(&bytes[..LEN]);
    let flags = u32::try_from(raw.flags).map_err(|_| Errno::EINVAL)?;
    let known = arch::abi::RESOLVE_NO_XDEV
        | arch::abi::RESOLVE_NO_MAGICLINKS
        | arch::abi::RESOLVE_NO_SYMLINKS
        | arch::abi::RESOLVE_BENEATH
        | arch::abi::RESOLVE_IN_ROOT
        | arch::abi::RESOLVE_CACHED;
    let scoped = arch::abi::RESOLVE_BENEATH | arch::abi::RESOLVE_IN_ROOT;
    let path_flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC) as u32;
    if flags & !VALID_FLAGS != 0
        || raw.resolve & !known != 0
        || raw.resolve & scoped == scoped
        || raw.mode & !0o7777 != 0
        || (raw.mode != 0 && !will_create(flags))
        || (flags & libc::O_PATH as u32 != 0 && flags & !path_flags != 0)
    {
        return Err(Errno::EINVAL);
    }
    let mut resolve = WalkFlags::empty();
    resolve.set(
        WalkFlags::NO_XDEV,
        raw.resolve & arch::abi::RESOLVE_NO_XDEV != 0,
    );
    resolve.set(
        WalkFlags::NO_MAGICLINKS,
        raw.resolve & arch::abi::RESOLVE_NO_MAGICLINKS != 0,
    );
    resolve.set(
        WalkFlags::NO_SYMLINKS,
        raw.resolve & arch::abi::RESOLVE_NO_SYMLINKS != 0,
    );
    resolve.set(
        WalkFlags::BENEATH,
        raw.resolve & arch::abi::RESOLVE_BENEATH != 0,
    );
    resolve.set(
        WalkFlags::IN_ROOT,
        raw.resolve & arch::abi::RESOLVE_IN_ROOT != 0,
    );
    if raw.resolve & arch::abi::RESOLVE_CACHED != 0 {
        if flags & (libc::O_TRUNC | libc::O_CREAT | libc::O_TMPFILE) as u32 != 0 {
            return Err(Errno::EAGAIN);
        }
        resolve |= WalkFlags::CACHED;
    }
    let mode = u32::try_from(raw.mode).map_err(|_| Errno::EINVAL)?;
    open_file(
        cx,
        dir,
        path,
        OpenHow {
            flags,
            mode,
            resolve,
        },
    )
    .await
}

/// mkdir(2).
pub fn mkdir(cx: &Cx, path: UserStr, mode: u32) -> Result<()> {
    mkdirat(cx, Fd::CWD, path, mode)
}

/// mkdirat(2).
pub fn mkdirat(cx: &Cx, dir: Fd, path: UserStr, mode: u32) -> Result<()> {
    let path = cx.read_path(path)?;
    names::mkdir(&cx.env(), &start(cx, dir, &path)?, &path, mode).map(drop)
}

/// mknod(2).
pub fn mknod(cx: &Cx, path: UserStr, mode: u32, dev: u32) -> Result<()> {
    mknodat(cx, Fd::CWD, path, mode, dev)
}

/// mknodat(2).
pub fn mknodat(cx: &Cx, dir: Fd, path: UserStr, mode: u32, dev: u32) -> Result<()> {
    let path = cx.read_path(path)?;
    names::mknod(
        &cx.env(),
        &start(cx, dir, &path)?,
        &path,
        mode,
        Dev::decode(u64::from(dev)),
    )
    .map(drop)
}

/// rmdir(2).
pub fn rmdir(cx: &Cx, path: UserStr) -> Result<()> {
    unlinkat(cx, Fd::CWD, path, libc::AT_REMOVEDIR)
}

/// unlink(2).
pub fn unlink(cx: &Cx, path: UserStr) -> Result<()> {
    unlinkat(cx, Fd::CWD, path, 0)
}

/// unlinkat(2).
pub fn unlinkat(cx: &Cx, dir: Fd, path: UserStr, flags: i32) -> Result<()> {
    if flags & !libc::AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = cx.read_path(path)?;
    let at = start(cx, dir, &path)?;
    if flags & libc::AT_REMOVEDIR != 0 {
        names::rmdir(&cx.env(), &at, &path)
    } else {
        names::unlink(&cx.env(), &at, &path)
    }
}

/// symlink(2).
pub fn symlink(cx: &Cx, target: UserStr, path: UserStr) -> Result<()> {
    symlinkat(cx, target, Fd::CWD, path)
}

/// symlinkat(2).
pub fn symlinkat(cx: &Cx, target: UserStr, dir: Fd, path: UserStr) -> Result<()> {
    let target = cx.read_path(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path = cx.read_path(path)?;
    names::symlink(&cx.env(), &target, &start(cx, dir, &path)?, &path)
}

/// link(2).
pub fn link(cx: &Cx, old: UserStr, new: UserStr) -> Result<()> {
    linkat(cx, Fd::CWD, old, Fd::CWD, new, 0)
}

/// linkat(2).
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
    if flags & libc::AT_EMPTY_PATH != 0 && !cx.task.creds().has_cap(cap::DAC_READ_SEARCH) {
        return Err(Errno::ENOENT);
    }
    let old = cx.read_path(old)?;
    let new = cx.read_path(new)?;
    let from = place(
        cx,
        old_dir,
        &old,
        flags & libc::AT_SYMLINK_FOLLOW != 0,
        flags,
    )?;
    names::link(&cx.env(), &from, &start(cx, new_dir, &new)?, &new)
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
    let old = cx.read_path(old)?;
    let new = cx.read_path(new)?;
    let (from, to) = (start(cx, old_dir, &old)?, start(cx, new_dir, &new)?);
    names::rename(&cx.env(), &from, &old, &to, &new, flags)
}

/// readlink(2).
pub fn readlink(cx: &Cx, path: UserStr, buf: UserAddr, len: i32) -> Result<usize> {
    readlinkat(cx, Fd::CWD, path, buf, len)
}

/// readlinkat(2). An empty path means the descriptor, which must be of a symbolic link then.
pub fn readlinkat(cx: &Cx, dir: Fd, path: UserStr, buf: UserAddr, len: i32) -> Result<usize> {
    let len = usize::try_from(len)
        .ok()
        .filter(|n| *n > 0)
        .ok_or(Errno::EINVAL)?;
    let path = cx.read_path(path)?;
    let found = place(cx, dir, &path, false, libc::AT_EMPTY_PATH)?;
    let text = names::readlink(&cx.env(), &found).map_err(|e| {
        // Linux: ENOENT for an empty path that is not a link's.
        if path.is_empty() && e == Errno::EINVAL {
            Errno::ENOENT
        } else {
            e
        }
    })?;
    let n = text.len().min(len);
    cx.write_bytes(buf, &text[..n])?;
    Ok(n)
}

fn enter(cx: &Cx, place: &Path) -> Result<()> {
    if place.inode().file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    perm::path(&cx.env(), place, Access::EXEC)
}

/// chdir(2).
pub fn chdir(cx: &Cx, path: UserStr) -> Result<()> {
    let path = cx.read_path(path)?;
    let to = place(cx, Fd::CWD, &path, true, 0)?;
    enter(cx, &to)?;
    cx.task.fs().set_cwd(to);
    Ok(())
}

/// fchdir(2).
pub fn fchdir(cx: &Cx, fd: Fd) -> Result<()> {
    let file = cx.task.files().get_raw(fd)?;
    let to = file.path().cloned().ok_or(Errno::ENOTDIR)?;
    enter(cx, &to)?;
    cx.task.fs().set_cwd(to);
    Ok(())
}

/// chroot(2).
pub fn chroot(cx: &Cx, path: UserStr) -> Result<()> {
    let path = cx.read_path(path)?;
    let to = place(cx, Fd::CWD, &path, true, 0)?;
    enter(cx, &to)?;
    if !cx.task.creds().has_cap(cap::SYS_CHROOT) {
        return Err(Errno::EPERM);
    }
    cx.task.fs().set_root(to);
    Ok(())
}

/// getcwd(2): the length with its NUL.
pub fn getcwd(cx: &Cx, buf: UserAddr, size: usize) -> Result<usize> {
    let (root, cwd) = cx.task.fs().root_and_cwd();
    let mut text = cwd.cwd_text(&root).ok_or(Errno::ENOENT)?;
    text.push(0);
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
