//! open(2), openat2(2), close(2).

use super::{Fd, path};
use crate::executor::PollEvents;
use crate::task::Cx;
use crate::user::{UserRef, UserStr};
use crate::vfs::open::{OpenHow, VALID_FLAGS, open as open_file, will_create};
use crate::vfs::{At, File, WalkFlags};
use arch::{Errno, Result, abi};
use bytemuck::AnyBitPattern;
use std::sync::Arc;

/// Waits for what an open waits for: a FIFO's other end.
pub(crate) async fn wait_open(cx: &Cx, file: &Arc<File>) -> Result<()> {
    match file.ops.wait_queue() {
        Some(queue) => {
            cx.wait(queue, PollEvents::all(), None, || file.ops.open_wait(file))
                .await
        }
        None => Ok(()),
    }
}

async fn open_fd(cx: &Cx, dirfd: Fd, path: UserStr, mut how: OpenHow) -> Result<Fd> {
    how.check()?;
    let path = cx.read_path(path)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let files = cx.task.files();
    let slot = files.reserve(cx.task.group.rlimit(libc::RLIMIT_NOFILE))?;
    let scoped = how
        .resolve
        .intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
    let at = if scoped {
        path::start_at(cx, dirfd)?
    } else {
        path::start(cx, dirfd, &path)?
    };
    let file = open_at(cx, &at, &path, how)?;
    wait_open(cx, &file).await?;
    Ok(slot.fill(file, how.flags & libc::O_CLOEXEC as u32 != 0))
}

fn open_at(cx: &Cx, at: &At, path: &[u8], how: OpenHow) -> Result<Arc<File>> {
    open_file(&cx.env(), at, path, how)
}

/// open(2).
pub async fn open(cx: &Cx, path: UserStr, flags: u32, mode: u32) -> Result<Fd> {
    open_fd(cx, Fd::CWD, path, OpenHow::new(flags, mode)).await
}

/// openat(2).
pub async fn openat(cx: &Cx, dirfd: Fd, path: UserStr, flags: u32, mode: u32) -> Result<Fd> {
    open_fd(cx, dirfd, path, OpenHow::new(flags, mode)).await
}

/// creat(2).
pub async fn creat(cx: &Cx, path: UserStr, mode: u32) -> Result<Fd> {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    open_fd(cx, Fd::CWD, path, OpenHow::new(flags as u32, mode)).await
}

/// Reads a structure that may grow: of `size` bytes, at least those of `T`, and what is past them must be zero. EINVAL, E2BIG.
fn extensible<T: AnyBitPattern>(cx: &Cx, from: UserRef<T>, size: usize) -> Result<T> {
    if size < size_of::<T>() {
        return Err(Errno::EINVAL);
    }
    if size > arch::PAGE_SIZE as usize {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0u8; size];
    cx.read_bytes(from.addr(), &mut bytes)?;
    let (head, tail) = bytes.split_at(size_of::<T>());
    if tail.iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG);
    }
    Ok(bytemuck::pod_read_unaligned(head))
}

/// openat2(2).
pub async fn openat2(
    cx: &Cx,
    dirfd: Fd,
    path: UserStr,
    how: UserRef<abi::OpenHow>,
    size: usize,
) -> Result<Fd> {
    let raw: abi::OpenHow = extensible(cx, how, size)?;
    let how = decode_how(raw.flags, raw.mode, raw.resolve)?;
    open_fd(cx, dirfd, path, how).await
}

/// build_open_how: what open(2) ignores is EINVAL here.
fn decode_how(flags: u64, mode: u64, resolve: u64) -> Result<OpenHow> {
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    if flags & !VALID_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let mut walk = WalkFlags::empty();
    for (bit, flag) in [
        (libc::RESOLVE_NO_XDEV, WalkFlags::NO_XDEV),
        (libc::RESOLVE_NO_MAGICLINKS, WalkFlags::NO_MAGICLINKS),
        (libc::RESOLVE_NO_SYMLINKS, WalkFlags::NO_SYMLINKS),
        (libc::RESOLVE_BENEATH, WalkFlags::BENEATH),
        (libc::RESOLVE_IN_ROOT, WalkFlags::IN_ROOT),
        (libc::RESOLVE_CACHED, WalkFlags::CACHED),
    ] {
        walk.set(flag, resolve & bit != 0);
    }
    let known = libc::RESOLVE_NO_XDEV
        | libc::RESOLVE_NO_MAGICLINKS
        | libc::RESOLVE_NO_SYMLINKS
        | libc::RESOLVE_BENEATH
        | libc::RESOLVE_IN_ROOT
        | libc::RESOLVE_CACHED;
    if resolve & !known != 0 || walk.contains(WalkFlags::BENEATH | WalkFlags::IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    let creates = will_create(flags);
    if (creates && mode & !0o7777 != 0) || (!creates && mode != 0) {
        return Err(Errno::EINVAL);
    }
    let path_flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    if flags & libc::O_PATH as u32 != 0 && flags & !(path_flags as u32) != 0 {
        return Err(Errno::EINVAL);
    }
    if walk.contains(WalkFlags::CACHED) && (creates || flags & libc::O_TRUNC as u32 != 0) {
        return Err(Errno::EAGAIN);
    }
    Ok(OpenHow {
        flags,
        mode: mode as u32,
        resolve: walk,
    })
}

/// close(2).
pub fn close(cx: &Cx, fd: Fd) -> Result<()> {
    cx.task.files().close(fd)
}
