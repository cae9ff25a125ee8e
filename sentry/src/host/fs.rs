//! Files and directories: openat(2) and its kin, always relative to a descriptor, never following a symbolic link.

use arch::{Errno, Result};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

fn last<T>() -> Result<T> {
    Err(Errno::from(std::io::Error::last_os_error()))
}

fn check(rc: libc::c_int) -> Result<()> {
    if rc < 0 { last() } else { Ok(()) }
}

fn owned(fd: libc::c_long) -> Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: the call just made this descriptor, nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => last(),
    }
}

/// A name for the host: EINVAL for one with a NUL inside, which none of ours has.
fn cname(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| Errno::EINVAL)
}

fn off(n: u64) -> Result<i64> {
    i64::try_from(n).map_err(|_| Errno::EINVAL)
}

/// /proc/self/fd of this process, opened before the jail: through it an O_PATH descriptor is opened with other rights.
static PROC_FD: OnceLock<OwnedFd> = OnceLock::new();

/// Opens /proc/self/fd for [`reopen`]. To be called once, in the process that is going to be the Sentry, while /proc is there.
pub fn keep_proc_fd() -> Result<()> {
    if PROC_FD.get().is_none() {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the path is a constant.
        let fd = owned(libc::c_long::from(unsafe {
            libc::open(c"/proc/self/fd".as_ptr(), flags)
        }))?;
        let _ = PROC_FD.set(fd);
    }
    Ok(())
}

/// A directory and the name in it that leads to what `fd` is, which may be O_PATH. ENXIO without [`keep_proc_fd`].
fn through_proc(fd: BorrowedFd<'_>) -> Result<(&'static OwnedFd, CString)> {
    #[cfg(test)]
    keep_proc_fd()?;
    let dir = PROC_FD.get().ok_or(Errno::ENXIO)?;
    Ok((dir, cname(fd.as_raw_fd().to_string().as_bytes())?))
}

/// Another open of the file behind `fd`, with `flags`. ENXIO without [`keep_proc_fd`].
pub fn reopen(fd: BorrowedFd<'_>, flags: i32) -> Result<OwnedFd> {
    let (dir, name) = through_proc(fd)?;
    let flags = (flags | libc::O_CLOEXEC) & !libc::O_NOFOLLOW;
    // SAFETY: `name` lives over the call.
    owned(libc::c_long::from(unsafe {
        libc::openat(dir.as_raw_fd(), name.as_ptr(), flags)
    }))
}

/// Opens /proc/`pid`/`name` of the Sentry's own pid namespace; ENXIO if what [`keep_proc_fd`] has kept is another's.
pub fn open_proc(pid: i32, name: &str) -> Result<OwnedFd> {
    #[cfg(test)]
    keep_proc_fd()?;
    let dir = PROC_FD.get().ok_or(Errno::ENXIO)?;
    // /proc/self is our pid as that proc's namespace counts.
    let own = readlinkat(std::os::fd::AsFd::as_fd(dir), b"../../self")?;
    if own != std::process::id().to_string().as_bytes() {
        return Err(Errno::ENXIO);
    }
    let path = cname(format!("../../{pid}/{name}").as_bytes())?;
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: `path` lives over the call.
    owned(libc::c_long::from(unsafe {
        libc::openat(dir.as_raw_fd(), path.as_ptr(), flags)
    }))
}

/// Opens one component of a path. O_NOFOLLOW and O_CLOEXEC are added, and O_NONBLOCK, so that nothing sleeps.
pub fn openat(dir: BorrowedFd<'_>, name: &[u8], flags: i32, mode: u32) -> Result<OwnedFd> {
    let name = cname(name)?;
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    // SAFETY: `name` lives over the call.
    owned(libc::c_long::from(unsafe {
        libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode)
    }))
}

/// statx(2) of a name in a directory, or of the descriptor itself for an empty name. No symbolic link is followed.
pub fn statx(dir: BorrowedFd<'_>, name: &[u8]) -> Result<libc::statx> {
    let name = cname(name)?;
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    let mut out = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: `name` lives over the call, `out` is a statx.
    check(unsafe {
        libc::statx(
            dir.as_raw_fd(),
            name.as_ptr(),
            flags,
            mask,
            out.as_mut_ptr(),
        )
    })?;
    // SAFETY: all bit patterns are valid, and it was zeroed.
    Ok(unsafe { out.assume_init() })
}

/// Size of a regular file in bytes, and its blocks of 512 bytes.
pub fn size(fd: BorrowedFd<'_>) -> Result<(u64, u64)> {
    let mut out = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `out` is a stat.
    check(unsafe { libc::fstat(fd.as_raw_fd(), out.as_mut_ptr()) })?;
    // SAFETY: all bit patterns are valid, and it was zeroed.
    let st = unsafe { out.assume_init() };
    Ok((st.st_size.cast_unsigned(), st.st_blocks.cast_unsigned()))
}

/// mkdirat(2).
pub fn mkdirat(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    let name = cname(name)?;
    // SAFETY: `name` lives over the call.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) })
}

/// mknodat(2) of a FIFO, a socket or a device node.
pub fn mknodat(dir: BorrowedFd<'_>, name: &[u8], mode: u32, dev: u64) -> Result<()> {
    let name = cname(name)?;
    // SAFETY: `name` lives over the call.
    check(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, dev) })
}

/// symlinkat(2).
pub fn symlinkat(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let (target, name) = (cname(target)?, cname(name)?);
    // SAFETY: both strings live over the call.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) })
}

/// linkat(2) from a name in one directory to a name in another.
pub fn linkat(from: BorrowedFd<'_>, old: &[u8], to: BorrowedFd<'_>, new: &[u8]) -> Result<()> {
    let (old, new) = (cname(old)?, cname(new)?);
    // SAFETY: both strings live over the call.
    check(unsafe {
        libc::linkat(
            from.as_raw_fd(),
            old.as_ptr(),
            to.as_raw_fd(),
            new.as_ptr(),
            0,
        )
    })
}

/// linkat(2) of the file behind a descriptor, named through /proc/self/fd.
pub fn link_fd(fd: BorrowedFd<'_>, to: BorrowedFd<'_>, new: &[u8]) -> Result<()> {
    #[cfg(test)]
    keep_proc_fd()?;
    let from = PROC_FD.get().ok_or(Errno::ENOENT)?;
    let (old, new) = (cname(fd.as_raw_fd().to_string().as_bytes())?, cname(new)?);
    let flags = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: both strings live over the call.
    check(unsafe {
        libc::linkat(
            from.as_raw_fd(),
            old.as_ptr(),
            to.as_raw_fd(),
            new.as_ptr(),
            flags,
        )
    })
}

/// unlinkat(2); `dir_itself` is AT_REMOVEDIR.
pub fn unlinkat(dir: BorrowedFd<'_>, name: &[u8], dir_itself: bool) -> Result<()> {
    let name = cname(name)?;
    let flags = if dir_itself { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: `name` lives over the call.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) })
}

/// renameat2(2), as such: the C library makes it a renameat(2) where there are no flags.
pub fn renameat2(
    from: BorrowedFd<'_>,
    old: &[u8],
    to: BorrowedFd<'_>,
    new: &[u8],
    flags: u32,
) -> Result<()> {
    let (old, new) = (cname(old)?, cname(new)?);
    // SAFETY: both strings live over the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            from.as_raw_fd(),
            old.as_ptr(),
            to.as_raw_fd(),
            new.as_ptr(),
            flags,
        )
    };
    if rc < 0 { last() } else { Ok(()) }
}

/// readlinkat(2) of a name, or of an O_PATH descriptor of a symbolic link for an empty name.
pub fn readlinkat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let name = cname(name)?;
    let mut buf = vec![0u8; 4096];
    // SAFETY: `name` and `buf` live over the call.
    let n = unsafe {
        libc::readlinkat(
            dir.as_raw_fd(),
            name.as_ptr(),
            buf.as_mut_ptr().cast(),
            buf.len(),
        )
    };
    match usize::try_from(n) {
        Ok(n) => {
            buf.truncate(n);
            Ok(buf)
        }
        Err(_) => last(),
    }
}

/// Changes permission bits of what is behind any descriptor, O_PATH ones included: fchmodat2(2), else by /proc/self/fd.
pub fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: the path is a constant.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_fchmodat2,
            fd.as_raw_fd(),
            c"".as_ptr(),
            mode,
            libc::AT_EMPTY_PATH,
        )
    };
    match if rc < 0 { last() } else { Ok(()) } {
        Err(Errno::ENOSYS | Errno::EPERM) => {}
        other => return other,
    }
    let Some(dir) = PROC_FD.get() else {
        // SAFETY: no memory involved.
        return check(unsafe { libc::fchmod(fd.as_raw_fd(), mode) });
    };
    let name = cname(fd.as_raw_fd().to_string().as_bytes())?;
    // SAFETY: `name` lives over the call.
    check(unsafe { libc::fchmodat(dir.as_raw_fd(), name.as_ptr(), mode, 0) })
}

/// fchownat(2) of what is behind a descriptor; `u32::MAX` leaves an id.
pub fn chown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path is a constant.
    check(unsafe { libc::fchownat(fd.as_raw_fd(), c"".as_ptr(), uid, gid, flags) })
}

/// A time for [`utimes`].
#[derive(Clone, Copy, Debug)]
pub enum SetTime {
    /// The host's present, by its own clock.
    Now,
    Omit,
    /// Seconds and nanoseconds.
    At(i64, u32),
}

/// utimensat(2) of what is behind a descriptor.
pub fn utimes(fd: BorrowedFd<'_>, atime: SetTime, mtime: SetTime) -> Result<()> {
    let spec = |t| {
        let (tv_sec, tv_nsec) = match t {
            SetTime::Now => (0, libc::UTIME_NOW),
            SetTime::Omit => (0, libc::UTIME_OMIT),
            SetTime::At(sec, nsec) => (sec, i64::from(nsec)),
        };
        libc::timespec { tv_sec, tv_nsec }
    };
    let times = [spec(atime), spec(mtime)];
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: the path is a constant, `times` has the two that are read.
    check(unsafe { libc::utimensat(fd.as_raw_fd(), c"".as_ptr(), times.as_ptr(), flags) })
}

/// fstatfs(2).
pub fn statfs(fd: BorrowedFd<'_>) -> Result<libc::statfs> {
    let mut out = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `out` is a statfs.
    check(unsafe { libc::fstatfs(fd.as_raw_fd(), out.as_mut_ptr()) })?;
    // SAFETY: all bit patterns are valid, and it was zeroed.
    Ok(unsafe { out.assume_init() })
}

/// The mount that a descriptor is on: ST_* (statfs(2)).
pub fn mount_flags(fd: BorrowedFd<'_>) -> Result<u64> {
    let mut out = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `out` is a statvfs.
    check(unsafe { libc::fstatvfs(fd.as_raw_fd(), out.as_mut_ptr()) })?;
    // SAFETY: all bit patterns are valid, and it was zeroed.
    Ok(unsafe { out.assume_init() }.f_flag)
}

/// ftruncate(2).
pub fn truncate(fd: BorrowedFd<'_>, len: u64) -> Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), off(len)?) })
}

/// fallocate(2).
pub fn fallocate(fd: BorrowedFd<'_>, mode: i32, offset: u64, len: u64) -> Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { libc::fallocate(fd.as_raw_fd(), mode, off(offset)?, off(len)?) })
}

/// lseek(2): where the next data (SEEK_DATA) or hole (SEEK_HOLE) is.
pub fn seek(fd: BorrowedFd<'_>, offset: u64, whence: i32) -> Result<u64> {
    // SAFETY: no memory involved.
    let n = unsafe { libc::lseek(fd.as_raw_fd(), off(offset)?, whence) };
    u64::try_from(n).or_else(|_| last())
}

/// fsync(2), fdatasync(2). Sleeps.
pub fn sync(fd: BorrowedFd<'_>, data_only: bool) -> Result<()> {
    // SAFETY: no memory involved.
    check(unsafe {
        if data_only {
            libc::fdatasync(fd.as_raw_fd())
        } else {
            libc::fsync(fd.as_raw_fd())
        }
    })
}

/// syncfs(2). Sleeps.
pub fn syncfs(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { libc::syncfs(fd.as_raw_fd()) })
}

/// A write at the end of the file, wherever that is: pwritev2(2) with RWF_APPEND.
pub fn append(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<usize> {
    let iov = libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: the vector points to `buf`, which is only read.
    let n = unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const iov, 1, 0, libc::RWF_APPEND) };
    usize::try_from(n).or_else(|_| last())
}

/// memfd_create(2). The name is for the host's /proc only.
pub fn memfd(name: &CStr, sealing: bool) -> Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | if sealing { libc::MFD_ALLOW_SEALING } else { 0 };
    // SAFETY: `name` lives over the call.
    owned(libc::c_long::from(unsafe {
        libc::memfd_create(name.as_ptr(), flags)
    }))
}

/// fcntl(2) F_ADD_SEALS: EBUSY for F_SEAL_WRITE while somebody maps it shared and writable.
pub fn add_seals(fd: BorrowedFd<'_>, seals: i32) -> Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) })
}

/// An entry of a host directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub ino: u64,
    /// The position after it.
    pub next: u64,
    /// DT_*.
    pub dtype: u8,
    pub name: Vec<u8>,
}

/// getdents64(2) from the descriptor's own position: a batch, empty at the end.
pub fn getdents(dir: BorrowedFd<'_>) -> Result<Vec<DirEntry>> {
    let mut buf = vec![0u8; 32 << 10];
    // SAFETY: `buf` is ours for its length.
    let n = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            dir.as_raw_fd(),
            buf.as_mut_ptr(),
            buf.len(),
        )
    };
    let n = usize::try_from(n).or_else(|_| last())?;
    let mut rest = &buf[..n.min(buf.len())];
    let mut out = Vec::new();
    while rest.len() > 19 {
        let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| rest[at + i]));
        let reclen = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
        if reclen < 20 || reclen > rest.len() {
            return Err(Errno::EIO);
        }
        let name = &rest[19..reclen];
        let name = &name[..name.iter().position(|&b| b == 0).unwrap_or(name.len())];
        out.push(DirEntry {
            ino: word(0),
            next: word(8),
            dtype: rest[18],
            name: name.to_vec(),
        });
        rest = &rest[reclen..];
    }
    Ok(out)
}

/// fgetxattr(2).
pub fn get_xattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let name = cname(name)?;
    let mut buf = vec![0u8; 64 << 10];
    // SAFETY: `name` and `buf` live over the call.
    let n = unsafe {
        libc::fgetxattr(
            fd.as_raw_fd(),
            name.as_ptr(),
            buf.as_mut_ptr().cast(),
            buf.len(),
        )
    };
    buf.truncate(usize::try_from(n).or_else(|_| last())?);
    Ok(buf)
}

/// getxattrat(2), of Linux 6.13.
pub const SYS_GETXATTRAT: libc::c_long = 464;
/// listxattrat(2), of Linux 6.13.
pub const SYS_LISTXATTRAT: libc::c_long = 465;

/// The last argument of getxattrat(2).
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// An attribute of what is behind any descriptor, O_PATH ones included. ENOSYS before Linux 6.13.
pub fn get_xattr_of_place(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let (dir, place) = through_proc(fd)?;
    let name = cname(name)?;
    let mut buf = vec![0u8; 64 << 10];
    let args = XattrArgs {
        value: buf.as_mut_ptr() as u64,
        size: 64 << 10,
        flags: 0,
    };
    // SAFETY: the strings live over the call, `args` names all of `buf`, which is ours.
    let n = unsafe {
        libc::syscall(
            SYS_GETXATTRAT,
            dir.as_raw_fd(),
            place.as_ptr(),
            0,
            name.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    };
    buf.truncate(usize::try_from(n).or_else(|_| last())?);
    Ok(buf)
}

/// The names of attributes of what is behind any descriptor, O_PATH ones included. ENOSYS before Linux 6.13.
pub fn list_xattr_of_place(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let (dir, place) = through_proc(fd)?;
    let mut buf = vec![0u8; 64 << 10];
    // SAFETY: `place` lives over the call, `buf` is ours for its length.
    let n = unsafe {
        libc::syscall(
            SYS_LISTXATTRAT,
            dir.as_raw_fd(),
            place.as_ptr(),
            0,
            buf.as_mut_ptr(),
            buf.len(),
        )
    };
    buf.truncate(usize::try_from(n).or_else(|_| last())?);
    Ok(names_of(&buf))
}

/// Names that end in NUL each.
fn names_of(buf: &[u8]) -> Vec<Vec<u8>> {
    buf.split(|&b| b == 0)
        .filter(|n| !n.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// fsetxattr(2).
pub fn set_xattr(fd: BorrowedFd<'_>, name: &[u8], value: &[u8], flags: i32) -> Result<()> {
    let name = cname(name)?;
    // SAFETY: `name` and `value` live over the call.
    check(unsafe {
        libc::fsetxattr(
            fd.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            flags,
        )
    })
}

/// fremovexattr(2).
pub fn remove_xattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let name = cname(name)?;
    // SAFETY: `name` lives over the call.
    check(unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) })
}

/// flistxattr(2): the names.
pub fn list_xattr(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut buf = vec![0u8; 64 << 10];
    // SAFETY: `buf` is ours for its length.
    let n = unsafe { libc::flistxattr(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
    buf.truncate(usize::try_from(n).or_else(|_| last())?);
    Ok(names_of(&buf))
}

/// An open of a directory by its path on the host: for tests and set-up, before the jail.
pub fn open_dir(path: &std::path::Path) -> Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let path = cname(path.as_os_str().as_bytes())?;
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: `path` lives over the call.
    owned(libc::c_long::from(unsafe {
        libc::open(path.as_ptr(), flags)
    }))
}

/// A place on the host, whatever it is: for tests and set-up, before the jail.
pub fn open_place(path: &std::path::Path) -> Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let path = cname(path.as_os_str().as_bytes())?;
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: `path` lives over the call.
    owned(libc::c_long::from(unsafe {
        libc::open(path.as_ptr(), flags)
    }))
}

/// fchownat(2) of a name; `u32::MAX` leaves an id.
pub fn chownat(dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> Result<()> {
    let name = cname(name)?;
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: `name` lives over the call.
    check(unsafe { libc::fchownat(dir.as_raw_fd(), name.as_ptr(), uid, gid, flags) })
}

/// fchmodat(2) of a name that was just made and is no symbolic link.
pub fn chmodat(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    let name = cname(name)?;
    // SAFETY: `name` lives over the call.
    check(unsafe { libc::fchmodat(dir.as_raw_fd(), name.as_ptr(), mode, 0) })
}

/// Has the host apply the modes that it is given, and tells which user and group own what this process makes.
pub fn creator() -> (u32, u32) {
    // SAFETY: no memory involved.
    unsafe {
        libc::umask(0);
        (libc::geteuid(), libc::getegid())
    }
}

/// Descriptors that this process may have open (RLIMIT_NOFILE).
pub fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives over the call.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if rc == 0 { limit.rlim_cur } else { 1024 }
}

/// A clock in milliseconds that is cheap to read; only differences mean something.
pub fn coarse_ms() -> u64 {
    super::event::clock_ns(libc::CLOCK_MONOTONIC_COARSE)
        .and_then(|ns| u64::try_from(ns / 1_000_000).ok())
        .unwrap_or(0)
}
