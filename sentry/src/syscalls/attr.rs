//! Attributes: the stat family, access, modes, owners, times, sizes, statfs.

use super::Fd;
use super::path::place;
use crate::task::{Creds, Cx};
use crate::user::{UserRef, UserStr};
use crate::vfs::change::{self, SetTime};
use crate::vfs::perm::Access;
use crate::vfs::walk::Env;
use crate::vfs::{Attr, File, FileType, MountFlags, Path, Timestamp};
use arch::abi::{ST_VALID, Stat, Statfs, Statx, StatxTimestamp, Timespec, Timeval, Utimbuf};
use arch::{Errno, Result};
use std::sync::Arc;

const AT_STATX_SYNC_TYPE: i32 = 0x6000;

/// The attributes of what an *at call names; an empty path with AT_EMPTY_PATH means the descriptor itself.
fn named(cx: &Cx, dir: Fd, path: &[u8], flags: i32) -> Result<(Attr, Option<Path>)> {
    if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 && dir != Fd::CWD {
        let file = cx.task.files().get_raw(dir)?;
        return Ok((file.attr()?, file.path().cloned()));
    }
    let found = place(cx, dir, path, flags & libc::AT_SYMLINK_NOFOLLOW == 0, flags)?;
    Ok((found.inode().attr()?, Some(found)))
}

/// stat(2).
pub fn stat(cx: &Cx, path: UserStr, out: UserRef<Stat>) -> Result<()> {
    newfstatat(cx, Fd::CWD, path, out, 0)
}

/// lstat(2).
pub fn lstat(cx: &Cx, path: UserStr, out: UserRef<Stat>) -> Result<()> {
    newfstatat(cx, Fd::CWD, path, out, libc::AT_SYMLINK_NOFOLLOW)
}

/// fstat(2).
pub fn fstat(cx: &Cx, fd: Fd, out: UserRef<Stat>) -> Result<()> {
    let file = cx.task.files().get_raw(fd)?;
    cx.write_obj(out, &file.attr()?.to_stat())
}

/// fstatat(2).
pub fn newfstatat(cx: &Cx, dir: Fd, path: UserStr, out: UserRef<Stat>, flags: i32) -> Result<()> {
    let known = libc::AT_SYMLINK_NOFOLLOW
        | libc::AT_NO_AUTOMOUNT
        | libc::AT_EMPTY_PATH
        | AT_STATX_SYNC_TYPE;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let path = cx.read_path(path)?;
    let (attr, _) = named(cx, dir, &path, flags)?;
    cx.write_obj(out, &attr.to_stat())
}

fn statx_time(t: Timestamp) -> StatxTimestamp {
    StatxTimestamp {
        sec: t.sec,
        nsec: t.nsec,
        pad: 0,
    }
}

/// statx(2).
pub fn statx(
    cx: &Cx,
    dir: Fd,
    path: UserStr,
    flags: i32,
    mask: u32,
    out: UserRef<Statx>,
) -> Result<()> {
    const ATTR_MOUNT_ROOT: u64 = 0x2000;
    let known = libc::AT_SYMLINK_NOFOLLOW
        | libc::AT_NO_AUTOMOUNT
        | libc::AT_EMPTY_PATH
        | AT_STATX_SYNC_TYPE;
    if mask & libc::STATX__RESERVED as u32 != 0
        || flags & !known != 0
        || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE
    {
        return Err(Errno::EINVAL);
    }
    let path = cx.read_path(path)?;
    let (attr, found) = named(cx, dir, &path, flags)?;
    let mut filled = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    if attr.btime.is_some() {
        filled |= libc::STATX_BTIME;
    }
    let root = found.as_ref().is_some_and(Path::is_mount_root);
    let value = Statx {
        mask: filled,
        blksize: attr.blksize,
        attributes: if root { ATTR_MOUNT_ROOT } else { 0 },
        attributes_mask: ATTR_MOUNT_ROOT,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        mode: attr.mode as u16,
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: statx_time(attr.atime),
        btime: attr.btime.map(statx_time).unwrap_or_default(),
        ctime: statx_time(attr.ctime),
        mtime: statx_time(attr.mtime),
        rdev_major: attr.rdev.major,
        rdev_minor: attr.rdev.minor,
        dev_major: attr.dev.major,
        dev_minor: attr.dev.minor,
        mnt_id: found.map_or(0, |p| p.mount.id),
        ..Statx::default()
    };
    cx.write_obj(out, &value)
}

/// access(2).
pub fn access(cx: &Cx, path: UserStr, mode: i32) -> Result<()> {
    faccessat2(cx, Fd::CWD, path, mode, 0)
}

/// faccessat(2), the system call, which has no flags.
pub fn faccessat(cx: &Cx, dir: Fd, path: UserStr, mode: i32) -> Result<()> {
    faccessat2(cx, dir, path, mode, 0)
}

/// The credentials that access(2) asks with: the real ids, and root's capabilities only if root is real.
fn real_creds(creds: &Creds) -> Creds {
    let mut real = creds.clone();
    real.fsuid = real.uid;
    real.fsgid = real.gid;
    real.effective = if real.uid == 0 { real.permitted } else { 0 };
    real
}

/// faccessat2(2).
pub fn faccessat2(cx: &Cx, dir: Fd, path: UserStr, mode: i32, flags: i32) -> Result<()> {
    if mode & !7 != 0
        || flags & !(libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0
    {
        return Err(Errno::EINVAL);
    }
    let path = cx.read_path(path)?;
    let mut env: Env<'_> = cx.env();
    if flags & libc::AT_EACCESS == 0 {
        env.creds = Arc::new(real_creds(&env.creds));
    }
    let mut walk = crate::vfs::WalkFlags::empty();
    walk.set(
        crate::vfs::WalkFlags::FOLLOW,
        flags & libc::AT_SYMLINK_NOFOLLOW == 0,
    );
    walk.set(
        crate::vfs::WalkFlags::EMPTY,
        flags & libc::AT_EMPTY_PATH != 0,
    );
    let found = env.resolve(&super::path::start(cx, dir, &path)?, &path, walk)?;
    if mode == libc::F_OK {
        return Ok(());
    }
    change::access(
        &env,
        &found,
        Access::from_bits_truncate(mode.cast_unsigned()),
    )
}

/// The place that an open descriptor stands for, for fchmod(2) and its kin.
fn of_file(file: &Arc<File>) -> Path {
    file.to_path()
}

/// chmod(2).
pub fn chmod(cx: &Cx, path: UserStr, mode: u32) -> Result<()> {
    fchmodat(cx, Fd::CWD, path, mode)
}

/// fchmod(2).
pub fn fchmod(cx: &Cx, fd: Fd, mode: u32) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    change::chmod(&cx.env(), &of_file(&file), mode)
}

/// fchmodat(2), the system call, which has no flags.
pub fn fchmodat(cx: &Cx, dir: Fd, path: UserStr, mode: u32) -> Result<()> {
    let path = cx.read_path(path)?;
    let found = place(cx, dir, &path, true, 0)?;
    change::chmod(&cx.env(), &found, mode)
}

/// fchmodat2(2).
pub fn fchmodat2(cx: &Cx, dir: Fd, path: UserStr, mode: u32, flags: i32) -> Result<()> {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = cx.read_path(path)?;
    let found = place(
        cx,
        dir,
        &path,
        flags & libc::AT_SYMLINK_NOFOLLOW == 0,
        flags,
    )?;
    change::chmod(&cx.env(), &found, mode)
}

fn id(raw: u32) -> Option<u32> {
    (raw != u32::MAX).then_some(raw)
}

/// chown(2).
pub fn chown(cx: &Cx, path: UserStr, uid: u32, gid: u32) -> Result<()> {
    fchownat(cx, Fd::CWD, path, uid, gid, 0)
}

/// lchown(2).
pub fn lchown(cx: &Cx, path: UserStr, uid: u32, gid: u32) -> Result<()> {
    fchownat(cx, Fd::CWD, path, uid, gid, libc::AT_SYMLINK_NOFOLLOW)
}

/// fchown(2).
pub fn fchown(cx: &Cx, fd: Fd, uid: u32, gid: u32) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    change::chown(&cx.env(), &of_file(&file), id(uid), id(gid))
}

/// fchownat(2).
pub fn fchownat(cx: &Cx, dir: Fd, path: UserStr, uid: u32, gid: u32, flags: i32) -> Result<()> {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = cx.read_path(path)?;
    let found = place(
        cx,
        dir,
        &path,
        flags & libc::AT_SYMLINK_NOFOLLOW == 0,
        flags,
    )?;
    change::chown(&cx.env(), &found, id(uid), id(gid))
}

fn set_time(t: Timespec) -> Result<SetTime> {
    match t.nsec {
        libc::UTIME_NOW => Ok(SetTime::Now),
        libc::UTIME_OMIT => Ok(SetTime::Omit),
        0..1_000_000_000 => Ok(SetTime::At(t.into())),
        _ => Err(Errno::EINVAL),
    }
}

/// utimensat(2). A null path means the descriptor (futimens(3)).
pub fn utimensat(
    cx: &Cx,
    dir: Fd,
    path: UserStr,
    times: UserRef<Timespec>,
    flags: i32,
) -> Result<()> {
    let (atime, mtime) = match times.non_null() {
        None => (SetTime::Now, SetTime::Now),
        Some(times) => {
            let (a, m) = (cx.read_obj(times)?, cx.read_obj(times.index(1))?);
            let pair = (set_time(a)?, set_time(m)?);
            if pair == (SetTime::Omit, SetTime::Omit) {
                return Ok(());
            }
            pair
        }
    };
    set_times(cx, dir, path, atime, mtime, flags)
}

fn set_times(
    cx: &Cx,
    dir: Fd,
    path: UserStr,
    atime: SetTime,
    mtime: SetTime,
    flags: i32,
) -> Result<()> {
    if path.is_null() && dir != Fd::CWD {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let file = cx.task.files().get(dir)?;
        return change::utimes(&cx.env(), &of_file(&file), atime, mtime);
    }
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = cx.read_path(path)?;
    let found = place(
        cx,
        dir,
        &path,
        flags & libc::AT_SYMLINK_NOFOLLOW == 0,
        flags,
    )?;
    change::utimes(&cx.env(), &found, atime, mtime)
}

fn from_timeval(t: Timeval) -> Result<SetTime> {
    if !(0..1_000_000).contains(&t.usec) {
        return Err(Errno::EINVAL);
    }
    Ok(SetTime::At(
        Timespec {
            sec: t.sec,
            nsec: t.usec * 1000,
        }
        .into(),
    ))
}

/// futimesat(2).
pub fn futimesat(cx: &Cx, dir: Fd, path: UserStr, times: UserRef<Timeval>) -> Result<()> {
    let (atime, mtime) = match times.non_null() {
        None => (SetTime::Now, SetTime::Now),
        Some(times) => (
            from_timeval(cx.read_obj(times)?)?,
            from_timeval(cx.read_obj(times.index(1))?)?,
        ),
    };
    set_times(cx, dir, path, atime, mtime, 0)
}

/// utimes(2).
pub fn utimes(cx: &Cx, path: UserStr, times: UserRef<Timeval>) -> Result<()> {
    futimesat(cx, Fd::CWD, path, times)
}

/// utime(2).
pub fn utime(cx: &Cx, path: UserStr, times: UserRef<Utimbuf>) -> Result<()> {
    let at = |sec| SetTime::At(Timespec { sec, nsec: 0 }.into());
    let (atime, mtime) = match times.non_null() {
        None => (SetTime::Now, SetTime::Now),
        Some(times) => {
            let t = cx.read_obj(times)?;
            (at(t.actime), at(t.modtime))
        }
    };
    set_times(cx, Fd::CWD, path, atime, mtime, 0)
}

fn size_limit(cx: &Cx) -> u64 {
    cx.task.group.rlimit(libc::RLIMIT_FSIZE)
}

fn too_big(cx: &Cx, result: Result<()>) -> Result<()> {
    if result == Err(Errno::EFBIG) {
        let info = arch::abi::SigInfo::kernel(arch::signal::Signal::SIGXFSZ);
        let _ = crate::signal::send_to_task(&cx.task, info);
    }
    result
}

/// truncate(2).
pub fn truncate(cx: &Cx, path: UserStr, len: i64) -> Result<()> {
    let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let path = cx.read_path(path)?;
    let found = place(cx, Fd::CWD, &path, true, 0)?;
    too_big(cx, change::truncate(&cx.env(), &found, len, size_limit(cx)))
}

/// ftruncate(2).
pub fn ftruncate(cx: &Cx, fd: Fd, len: i64) -> Result<()> {
    let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let file = cx.task.files().get(fd)?;
    if !file.writable() {
        return Err(Errno::EINVAL);
    }
    if file
        .path()
        .is_some_and(|p| p.inode().file_type() != FileType::Regular)
    {
        return Err(Errno::EINVAL);
    }
    if len > size_limit(cx) {
        return too_big(cx, Err(Errno::EFBIG));
    }
    file.ops.truncate(&file, len)?;
    if let Some(path) = file.path() {
        crate::vfs::notify::path(path, libc::IN_MODIFY);
    }
    Ok(())
}

/// fallocate(2).
pub fn fallocate(cx: &Cx, fd: Fd, mode: i32, offset: i64, len: i64) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    let (Ok(offset), Ok(len)) = (u64::try_from(offset), u64::try_from(len)) else {
        return Err(Errno::EINVAL);
    };
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let known = libc::FALLOC_FL_KEEP_SIZE
        | libc::FALLOC_FL_PUNCH_HOLE
        | libc::FALLOC_FL_COLLAPSE_RANGE
        | libc::FALLOC_FL_ZERO_RANGE
        | libc::FALLOC_FL_INSERT_RANGE
        | libc::FALLOC_FL_UNSHARE_RANGE;
    let hole = libc::FALLOC_FL_PUNCH_HOLE;
    if mode & !known != 0 || (mode & hole != 0 && mode & libc::FALLOC_FL_KEEP_SIZE == 0) {
        return Err(Errno::EOPNOTSUPP);
    }
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    match file.attr()?.file_type() {
        FileType::Regular => {}
        FileType::Fifo => return Err(Errno::ESPIPE),
        FileType::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    let end = offset
        .checked_add(len)
        .filter(|e| *e <= i64::MAX as u64)
        .ok_or(Errno::EFBIG)?;
    if mode & hole == 0 && end > size_limit(cx) {
        return too_big(cx, Err(Errno::EFBIG));
    }
    file.ops.fallocate(&file, mode, offset, len)?;
    if let Some(path) = file.path() {
        crate::vfs::notify::path(path, libc::IN_MODIFY);
    }
    Ok(())
}

/// ST_* of a mount (calculate_f_flags).
fn statfs_flags(path: &Path) -> i64 {
    let flags = path.mount.flags();
    let table = [
        (MountFlags::RDONLY, 1),
        (MountFlags::NOSUID, 2),
        (MountFlags::NODEV, 4),
        (MountFlags::NOEXEC, 8),
        (MountFlags::NOATIME, 0x400),
        (MountFlags::NODIRATIME, 0x800),
        (MountFlags::RELATIME, 0x1000),
        (MountFlags::NOSYMFOLLOW, 0x2000),
    ];
    let mount: i64 = table
        .iter()
        .filter(|(f, _)| flags.contains(*f))
        .map(|(_, bit)| bit)
        .sum();
    mount | i64::from(path.mount.sb().read_only())
}

fn fill_statfs(path: &Path) -> Result<Statfs> {
    let sb = path.mount.sb();
    let s = sb.fs.statfs()?;
    let dev = sb.dev.encode();
    Ok(Statfs {
        kind: s.magic,
        bsize: s.bsize.cast_signed(),
        blocks: s.blocks,
        bfree: s.bfree,
        bavail: s.bavail,
        files: s.files,
        ffree: s.ffree,
        fsid: [dev as i32, (dev >> 32) as i32],
        namelen: s.namelen.cast_signed(),
        frsize: s.bsize.cast_signed(),
        flags: ST_VALID | statfs_flags(path),
        ..Statfs::default()
    })
}

/// statfs(2).
pub fn statfs(cx: &Cx, path: UserStr, out: UserRef<Statfs>) -> Result<()> {
    let path = cx.read_path(path)?;
    let found = place(cx, Fd::CWD, &path, true, 0)?;
    cx.write_obj(out, &fill_statfs(&found)?)
}

/// fstatfs(2).
pub fn fstatfs(cx: &Cx, fd: Fd, out: UserRef<Statfs>) -> Result<()> {
    let file = cx.task.files().get_raw(fd)?;
    cx.write_obj(out, &fill_statfs(&file.to_path())?)
}
