//! Attributes: the stat(2) family, chmod(2), chown(2), utimensat(2), access(2), truncate(2), fallocate(2), statfs(2).

use super::{Fd, path, rw};
use crate::task::{Creds, Cx};
use crate::user::{UserRef, UserStr};
use crate::vfs::change::{self, SetTime};
use crate::vfs::perm::Access;
use crate::vfs::{Attr, File, FileType, MountFlags, Path, StatFs, Timestamp, WalkFlags};
use arch::abi::{self, Stat, Statfs, Statx, StatxTimestamp, Timespec, Timeval, Utimbuf};
use arch::{Errno, Result};
use std::sync::Arc;

/// Walk flags from AT_* flags: EINVAL for others than `allowed`, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
fn at_flags(flags: i32, allowed: i32) -> Result<WalkFlags> {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH | allowed) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & libc::AT_SYMLINK_NOFOLLOW == 0);
    walk.set(WalkFlags::EMPTY, flags & libc::AT_EMPTY_PATH != 0);
    Ok(walk)
}

/// A null path means an empty one where AT_EMPTY_PATH allows that.
fn place_or_fd(cx: &Cx, dirfd: Fd, name: UserStr, walk: WalkFlags) -> Result<Path> {
    if name.is_null() && walk.contains(WalkFlags::EMPTY) {
        let at = path::start_at(cx, dirfd)?;
        return cx.env().resolve(&at, b"", walk);
    }
    path::place(cx, dirfd, name, walk)
}

/// stat(2).
pub fn stat(cx: &Cx, name: UserStr, out: UserRef<Stat>) -> Result<()> {
    newfstatat(cx, Fd::CWD, name, out, 0)
}

/// lstat(2).
pub fn lstat(cx: &Cx, name: UserStr, out: UserRef<Stat>) -> Result<()> {
    newfstatat(cx, Fd::CWD, name, out, libc::AT_SYMLINK_NOFOLLOW)
}

/// fstat(2).
pub fn fstat(cx: &Cx, fd: Fd, out: UserRef<Stat>) -> Result<()> {
    let attr = cx.task.files().get_raw(fd)?.attr()?;
    cx.write_obj(out, &attr.to_stat())
}

/// fstatat(2).
pub fn newfstatat(cx: &Cx, dirfd: Fd, name: UserStr, out: UserRef<Stat>, flags: i32) -> Result<()> {
    let walk = at_flags(flags, libc::AT_NO_AUTOMOUNT)?;
    let attr = place_or_fd(cx, dirfd, name, walk)?.inode().attr()?;
    cx.write_obj(out, &attr.to_stat())
}

fn statx_time(t: Timestamp) -> StatxTimestamp {
    StatxTimestamp {
        sec: t.sec,
        nsec: t.nsec,
        pad: 0,
    }
}

fn to_statx(attr: &Attr, place: &Path) -> Statx {
    let mut mask = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    if attr.btime.is_some() {
        mask |= libc::STATX_BTIME;
    }
    let mount_root = libc::STATX_ATTR_MOUNT_ROOT as u64;
    Statx {
        mask,
        blksize: attr.blksize,
        attributes: if place.is_mount_root() { mount_root } else { 0 },
        attributes_mask: mount_root,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        mode: attr.mode as u16,
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: statx_time(attr.atime),
        btime: statx_time(attr.btime.unwrap_or_default()),
        ctime: statx_time(attr.ctime),
        mtime: statx_time(attr.mtime),
        rdev_major: attr.rdev.major,
        rdev_minor: attr.rdev.minor,
        dev_major: attr.dev.major,
        dev_minor: attr.dev.minor,
        mnt_id: place.mount.id,
        ..Statx::default()
    }
}

/// statx(2). More fields than asked for are filled, as the call allows.
pub fn statx(
    cx: &Cx,
    dirfd: Fd,
    name: UserStr,
    flags: i32,
    mask: u32,
    out: UserRef<Statx>,
) -> Result<()> {
    const RESERVED: u32 = 0x8000_0000;
    let sync = libc::AT_STATX_FORCE_SYNC | libc::AT_STATX_DONT_SYNC;
    if mask & RESERVED != 0 || flags & sync == sync {
        return Err(Errno::EINVAL);
    }
    let walk = at_flags(flags, libc::AT_NO_AUTOMOUNT | sync)?;
    let place = place_or_fd(cx, dirfd, name, walk)?;
    let attr = place.inode().attr()?;
    cx.write_obj(out, &to_statx(&attr, &place))
}

/// chmod(2).
pub fn chmod(cx: &Cx, name: UserStr, mode: u32) -> Result<()> {
    fchmodat2(cx, Fd::CWD, name, mode, 0)
}

/// fchmod(2).
pub fn fchmod(cx: &Cx, fd: Fd, mode: u32) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    change::chmod(&cx.env(), &file.to_path(), mode)
}

/// fchmodat(2) of the kernel: without flags.
pub fn fchmodat(cx: &Cx, dirfd: Fd, name: UserStr, mode: u32) -> Result<()> {
    fchmodat2(cx, dirfd, name, mode, 0)
}

/// fchmodat2(2).
pub fn fchmodat2(cx: &Cx, dirfd: Fd, name: UserStr, mode: u32, flags: i32) -> Result<()> {
    let walk = at_flags(flags, 0)?;
    let place = place_or_fd(cx, dirfd, name, walk)?;
    change::chmod(&cx.env(), &place, mode)
}

/// An id as chown(2) passes it: −1 leaves it.
fn id(raw: u32) -> Option<u32> {
    (raw != u32::MAX).then_some(raw)
}

/// chown(2).
pub fn chown(cx: &Cx, name: UserStr, uid: u32, gid: u32) -> Result<()> {
    fchownat(cx, Fd::CWD, name, uid, gid, 0)
}

/// lchown(2).
pub fn lchown(cx: &Cx, name: UserStr, uid: u32, gid: u32) -> Result<()> {
    fchownat(cx, Fd::CWD, name, uid, gid, libc::AT_SYMLINK_NOFOLLOW)
}

/// fchown(2).
pub fn fchown(cx: &Cx, fd: Fd, uid: u32, gid: u32) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    change::chown(&cx.env(), &file.to_path(), id(uid), id(gid))
}

/// fchownat(2).
pub fn fchownat(cx: &Cx, dirfd: Fd, name: UserStr, uid: u32, gid: u32, flags: i32) -> Result<()> {
    let walk = at_flags(flags, 0)?;
    let place = place_or_fd(cx, dirfd, name, walk)?;
    change::chown(&cx.env(), &place, id(uid), id(gid))
}

fn set_time(t: Timespec) -> Result<SetTime> {
    match t.nsec {
        libc::UTIME_NOW => Ok(SetTime::Now),
        libc::UTIME_OMIT => Ok(SetTime::Omit),
        0..1_000_000_000 => Ok(SetTime::At(t.into())),
        _ => Err(Errno::EINVAL),
    }
}

/// utimensat(2). A null path means `dirfd` itself.
pub fn utimensat(
    cx: &Cx,
    dirfd: Fd,
    name: UserStr,
    times: UserRef<[Timespec; 2]>,
    flags: i32,
) -> Result<()> {
    let (atime, mtime) = match times.non_null() {
        None => (SetTime::Now, SetTime::Now),
        Some(times) => {
            let [atime, mtime] = read_pair(cx, times)?;
            (set_time(atime)?, set_time(mtime)?)
        }
    };
    if (atime, mtime) == (SetTime::Omit, SetTime::Omit) {
        return Ok(());
    }
    if name.is_null() && dirfd != Fd::CWD {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let file = cx.task.files().get(dirfd)?;
        return change::utimes(&cx.env(), &file.to_path(), atime, mtime);
    }
    let walk = at_flags(flags, 0)?;
    let place = path::place(cx, dirfd, name, walk)?;
    change::utimes(&cx.env(), &place, atime, mtime)
}

fn read_pair<T: bytemuck::AnyBitPattern>(cx: &Cx, from: UserRef<[T; 2]>) -> Result<[T; 2]> {
    let first = from.cast::<T>();
    Ok([cx.read_obj(first)?, cx.read_obj(first.index(1))?])
}

/// futimesat(2).
pub fn futimesat(cx: &Cx, dirfd: Fd, name: UserStr, times: UserRef<[Timeval; 2]>) -> Result<()> {
    let (atime, mtime) = match times.non_null() {
        None => (SetTime::Now, SetTime::Now),
        Some(times) => {
            let micro = |t: Timeval| {
                if !(0..1_000_000).contains(&t.usec) {
                    return Err(Errno::EINVAL);
                }
                Ok(SetTime::At(Timestamp {
                    sec: t.sec,
                    nsec: t.usec as u32 * 1000,
                }))
            };
            let [atime, mtime] = read_pair(cx, times)?;
            (micro(atime)?, micro(mtime)?)
        }
    };
    let place = if name.is_null() {
        cx.task.files().get(dirfd)?.to_path()
    } else {
        path::place(cx, dirfd, name, WalkFlags::FOLLOW)?
    };
    change::utimes(&cx.env(), &place, atime, mtime)
}

/// utimes(2).
pub fn utimes(cx: &Cx, name: UserStr, times: UserRef<[Timeval; 2]>) -> Result<()> {
    if name.is_null() {
        return Err(Errno::EFAULT);
    }
    futimesat(cx, Fd::CWD, name, times)
}

/// utime(2).
pub fn utime(cx: &Cx, name: UserStr, times: UserRef<Utimbuf>) -> Result<()> {
    let (atime, mtime) = match times.non_null() {
        None => (SetTime::Now, SetTime::Now),
        Some(times) => {
            let times = cx.read_obj(times)?;
            let at = |sec| SetTime::At(Timestamp { sec, nsec: 0 });
            (at(times.actime), at(times.modtime))
        }
    };
    let place = path::place(cx, Fd::CWD, name, WalkFlags::FOLLOW)?;
    change::utimes(&cx.env(), &place, atime, mtime)
}

/// access(2).
pub fn access(cx: &Cx, name: UserStr, mode: u32) -> Result<()> {
    faccessat2(cx, Fd::CWD, name, mode, 0)
}

/// faccessat(2) of the kernel: without flags.
pub fn faccessat(cx: &Cx, dirfd: Fd, name: UserStr, mode: u32) -> Result<()> {
    faccessat2(cx, dirfd, name, mode, 0)
}

/// faccessat2(2).
pub fn faccessat2(cx: &Cx, dirfd: Fd, name: UserStr, mode: u32, flags: i32) -> Result<()> {
    let wanted = Access::from_bits(mode).ok_or(Errno::EINVAL)?;
    let walk = at_flags(flags, libc::AT_EACCESS)?;
    let mut env = cx.env();
    if flags & libc::AT_EACCESS == 0 {
        env.creds = Arc::new(real_ids(&env.creds));
    }
    let name = cx.read_path(name)?;
    if name.is_empty() && !walk.contains(WalkFlags::EMPTY) {
        return Err(Errno::ENOENT);
    }
    let at = path::start(cx, dirfd, &name)?;
    let place = env.resolve(&at, &name, walk)?;
    if wanted.is_empty() {
        Ok(())
    } else {
        change::access(&env, &place, wanted)
    }
}

/// What access(2) asks about: the real ids, and root's capabilities only for a real root.
fn real_ids(creds: &Creds) -> Creds {
    /// SECBIT_NO_SETUID_FIXUP.
    const NO_FIXUP: u32 = 1 << 2;
    let mut real = creds.clone();
    real.fsuid = real.uid;
    real.fsgid = real.gid;
    if real.securebits & NO_FIXUP == 0 {
        real.effective = if real.uid == 0 { real.permitted } else { 0 };
    }
    real
}

/// A length: EINVAL if negative.
fn length(raw: i64) -> Result<u64> {
    u64::try_from(raw).map_err(|_| Errno::EINVAL)
}

/// truncate(2).
pub fn truncate(cx: &Cx, name: UserStr, len: i64) -> Result<()> {
    let len = length(len)?;
    let place = path::place(cx, Fd::CWD, name, WalkFlags::FOLLOW)?;
    let limit = cx.task.group.rlimit(libc::RLIMIT_FSIZE);
    let result = change::truncate(&cx.env(), &place, len, limit);
    if result == Err(Errno::EFBIG) && len > limit {
        rw::sigxfsz(cx);
    }
    result
}

/// ftruncate(2).
pub fn ftruncate(cx: &Cx, fd: Fd, len: i64) -> Result<()> {
    let len = length(len)?;
    let file = cx.task.files().get(fd)?;
    if !file.writable() || !rw::is_regular(&file) {
        return Err(Errno::EINVAL);
    }
    let limit = cx.task.group.rlimit(libc::RLIMIT_FSIZE);
    if len > limit && len > file.attr()?.size {
        rw::sigxfsz(cx);
        return Err(Errno::EFBIG);
    }
    change::strip_privileges(&cx.task.creds(), &file)?;
    file.ops.truncate(&file, len)?;
    if let Some(path) = file.path() {
        crate::vfs::notify::path(path, libc::IN_MODIFY);
    }
    Ok(())
}

/// fallocate(2).
pub async fn fallocate(cx: &Cx, fd: Fd, mode: i32, offset: i64, len: i64) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    let (offset, len) = check_fallocate(cx, &file, mode, offset, len)?;
    change::strip_privileges(&cx.task.creds(), &file)?;
    if !file.ops.sleeps() {
        file.ops.fallocate(&file, mode, offset, len)?;
    } else {
        let theirs = Arc::clone(&file);
        let cell = Arc::clone(cx.task.cell());
        let job = move || theirs.ops.fallocate(&theirs, mode, offset, len);
        cx.kernel().executor.blocking(cell, job).await?;
    }
    if let Some(path) = file.path() {
        crate::vfs::notify::path(path, libc::IN_MODIFY);
    }
    Ok(())
}

/// vfs_fallocate: what is wrong with the arguments, in Linux's order.
fn check_fallocate(cx: &Cx, file: &File, mode: i32, offset: i64, len: i64) -> Result<(u64, u64)> {
    const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL);
    }
    let alone = match mode & !(KEEP | libc::FALLOC_FL_UNSHARE_RANGE) {
        0 | libc::FALLOC_FL_ZERO_RANGE => true,
        libc::FALLOC_FL_PUNCH_HOLE if mode & KEEP == 0 => return Err(Errno::EOPNOTSUPP),
        libc::FALLOC_FL_PUNCH_HOLE => mode & libc::FALLOC_FL_UNSHARE_RANGE == 0,
        libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE => {
            if mode & (KEEP | libc::FALLOC_FL_UNSHARE_RANGE) != 0 {
                return Err(Errno::EINVAL);
            }
            true
        }
        _ => return Err(Errno::EOPNOTSUPP),
    };
    if !alone {
        return Err(Errno::EOPNOTSUPP);
    }
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    match file.attr()?.file_type() {
        FileType::Fifo => return Err(Errno::ESPIPE),
        FileType::Directory => return Err(Errno::EISDIR),
        FileType::Regular => {}
        _ => return Err(Errno::ENODEV),
    }
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    let limit = cx.task.group.rlimit(libc::RLIMIT_FSIZE);
    let grows = mode & (KEEP | libc::FALLOC_FL_COLLAPSE_RANGE) == 0;
    if grows && end as u64 > limit && end as u64 > file.attr()?.size {
        rw::sigxfsz(cx);
        return Err(Errno::EFBIG);
    }
    Ok((offset as u64, len as u64))
}

fn to_statfs(info: &StatFs, place: &Path) -> Statfs {
    let mount = place.mount.flags();
    let mut flags = abi::ST_VALID;
    for (flag, bit) in [
        (MountFlags::NOSUID, libc::ST_NOSUID),
        (MountFlags::NODEV, libc::ST_NODEV),
        (MountFlags::NOEXEC, libc::ST_NOEXEC),
        (MountFlags::NOATIME, libc::ST_NOATIME),
        (MountFlags::NODIRATIME, libc::ST_NODIRATIME),
        (MountFlags::RELATIME, libc::ST_RELATIME),
    ] {
        if mount.contains(flag) {
            flags |= bit as i64;
        }
    }
    if place.mount.want_write().is_err() {
        flags |= libc::ST_RDONLY as i64;
    }
    let dev = place.mount.sb().dev.encode();
    Statfs {
        kind: info.magic,
        bsize: info.bsize as i64,
        blocks: info.blocks,
        bfree: info.bfree,
        bavail: info.bavail,
        files: info.files,
        ffree: info.ffree,
        fsid: [dev as i32, (dev >> 32) as i32],
        namelen: info.namelen as i64,
        frsize: info.bsize as i64,
        flags,
        ..Statfs::default()
    }
}

/// statfs(2).
pub fn statfs(cx: &Cx, name: UserStr, out: UserRef<Statfs>) -> Result<()> {
    let place = path::place(cx, Fd::CWD, name, WalkFlags::FOLLOW)?;
    let info = place.mount.sb().fs.statfs()?;
    cx.write_obj(out, &to_statfs(&info, &place))
}

/// fstatfs(2).
pub fn fstatfs(cx: &Cx, fd: Fd, out: UserRef<Statfs>) -> Result<()> {
    let file = cx.task.files().get_raw(fd)?;
    let place = file.to_path();
    let mut info = place.mount.sb().fs.statfs()?;
    if file.path().is_none() {
        match place.inode().file_type() {
            FileType::Fifo => info.magic = abi::PIPEFS_MAGIC,
            FileType::Socket => info.magic = abi::SOCKFS_MAGIC,
            _ => {}
        }
    }
    cx.write_obj(out, &to_statfs(&info, &place))
}
