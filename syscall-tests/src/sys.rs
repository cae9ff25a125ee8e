//! System calls without libc's opinion: every wrapper returns the errno as
//! the kernel gave it, and passes pointers, lengths and flags through.
//!
//! # Safety
//!
//! These functions are not `unsafe fn`, although a wrong argument can corrupt
//! the process: a case is a throw-away process whose whole point is to pass
//! arguments that a safe program would not.

#![expect(
    unsafe_code,
    clippy::not_unsafe_ptr_arg_deref,
    clippy::undocumented_unsafe_blocks,
    reason = "raw system calls in throw-away processes, see the module doc"
)]

use libc::*;
use std::ffi::CStr;
use std::mem::{MaybeUninit, size_of};

/// Result of a call: its value, or the errno.
pub type Sys<T = i64> = Result<T, i32>;

/// Something that fits a system call argument register.
pub trait Arg {
    /// The register's value.
    fn arg(self) -> usize;
}

macro_rules! int_args {
    ($($t:ty)*) => { $(impl Arg for $t { fn arg(self) -> usize { self as usize } })* };
}
int_args!(i8 u8 i16 u16 i32 u32 i64 u64 isize usize);

impl<T> Arg for *const T {
    fn arg(self) -> usize {
        self as usize
    }
}
impl<T> Arg for *mut T {
    fn arg(self) -> usize {
        self as usize
    }
}
impl<T: Copy> Arg for &T {
    fn arg(self) -> usize {
        std::ptr::from_ref(self) as usize
    }
}
impl<T: Copy> Arg for &mut T {
    fn arg(self) -> usize {
        std::ptr::from_mut(self) as usize
    }
}
impl<T: Copy> Arg for &[T] {
    fn arg(self) -> usize {
        self.as_ptr() as usize
    }
}
impl<T: Copy> Arg for &mut [T] {
    fn arg(self) -> usize {
        self.as_mut_ptr() as usize
    }
}
impl Arg for &CStr {
    fn arg(self) -> usize {
        self.as_ptr() as usize
    }
}

/// Makes a system call by number. Use [`sys!`](crate::sys!) in cases.
pub fn raw(nr: c_long, a: [usize; 6]) -> Sys {
    let value = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if value == -1 { Err(errno()) } else { Ok(value) }
}

/// `sys!(SYS_read, fd, ptr, len)`: a system call with any argument that
/// implements [`Arg`](crate::sys::Arg).
#[macro_export]
macro_rules! sys {
    ($nr:expr) => { $crate::sys::raw($nr, [0; 6]) };
    // One expression, so that temporaries live until the call is over.
    ($nr:expr, $($arg:expr),+ $(,)?) => {
        $crate::sys::raw($nr, $crate::sys::pad([$($crate::sys::Arg::arg($arg)),+]))
    };
}

/// Fills the argument list up with zeros.
pub fn pad<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut args = [0; 6];
    args[..N].copy_from_slice(&given);
    args
}

/// The calling thread's errno.
pub fn errno() -> i32 {
    unsafe { *__errno_location() }
}

/// Turns a libc return value into a result.
pub fn cvt(value: i32) -> Sys<i32> {
    if value == -1 { Err(errno()) } else { Ok(value) }
}

/// A value of all-zero bytes, for the C structs that calls fill in.
pub fn zeroed<T: Copy>() -> T {
    unsafe { MaybeUninit::<T>::zeroed().assume_init() }
}

/// An address that is never mapped: the last page below the null page's end.
pub const BAD: usize = 8;
/// A pointer to [`BAD`].
pub const fn bad<T>() -> *mut T {
    BAD as *mut T
}

/// Page size in bytes.
pub const PAGE: usize = 4096;

/// Reads memory that something else may change or unmap.
pub fn peek<T: Copy>(p: *const T) -> T {
    unsafe { p.read_volatile() }
}
/// Writes memory that something else may watch or that may fault.
pub fn poke<T: Copy>(p: *mut T, value: T) {
    unsafe { p.write_volatile(value) }
}
/// The bytes at an address, copied.
pub fn bytes_at(p: *const u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| peek(p.wrapping_add(i))).collect()
}
/// Copies bytes to an address.
pub fn put_bytes(p: *mut u8, bytes: &[u8]) {
    for (i, b) in bytes.iter().enumerate() {
        poke(p.wrapping_add(i), *b);
    }
}

// Files and descriptors.

pub fn open(path: &CStr, flags: i32, mode: u32) -> Sys<i32> {
    openat(AT_FDCWD, path, flags, mode)
}
pub fn openat(dir: i32, path: &CStr, flags: i32, mode: u32) -> Sys<i32> {
    sys!(SYS_openat, dir, path, flags, mode).map(|fd| fd as i32)
}
pub fn close(fd: i32) -> Sys {
    sys!(SYS_close, fd)
}
pub fn read(fd: i32, buf: &mut [u8]) -> Sys<usize> {
    let len = buf.len();
    sys!(SYS_read, fd, buf, len).map(|n| n as usize)
}
pub fn write(fd: i32, buf: &[u8]) -> Sys<usize> {
    sys!(SYS_write, fd, buf, buf.len()).map(|n| n as usize)
}
pub fn pread(fd: i32, buf: &mut [u8], offset: i64) -> Sys<usize> {
    let len = buf.len();
    sys!(SYS_pread64, fd, buf, len, offset).map(|n| n as usize)
}
pub fn pwrite(fd: i32, buf: &[u8], offset: i64) -> Sys<usize> {
    sys!(SYS_pwrite64, fd, buf, buf.len(), offset).map(|n| n as usize)
}
/// One read of at most `max` bytes.
pub fn read_vec(fd: i32, max: usize) -> Sys<Vec<u8>> {
    let mut buf = vec![0; max];
    let n = read(fd, &mut buf)?;
    buf.truncate(n);
    Ok(buf)
}
/// Everything up to the end of the file.
pub fn read_all(fd: i32) -> Sys<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let part = read_vec(fd, 1 << 16)?;
        if part.is_empty() {
            return Ok(all);
        }
        all.extend(part);
    }
}
/// The contents of a file, with its own open and close.
pub fn read_file(path: &CStr) -> Sys<Vec<u8>> {
    let fd = open(path, O_RDONLY | O_CLOEXEC, 0)?;
    let all = read_all(fd);
    close(fd)?;
    all
}
/// Creates or replaces a file of mode 0644.
pub fn write_file(path: &CStr, data: &[u8]) -> Sys<()> {
    let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)?;
    let mut rest = data;
    while !rest.is_empty() {
        let n = write(fd, rest)?;
        rest = &rest[n..];
    }
    close(fd)?;
    Ok(())
}
pub fn lseek(fd: i32, offset: i64, whence: i32) -> Sys {
    sys!(SYS_lseek, fd, offset, whence)
}
/// The file offset.
pub fn tell(fd: i32) -> Sys {
    lseek(fd, 0, SEEK_CUR)
}
pub fn stat(path: &CStr) -> Sys<libc::stat> {
    fstatat(AT_FDCWD, path, 0)
}
pub fn lstat(path: &CStr) -> Sys<libc::stat> {
    fstatat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)
}
pub fn fstatat(dir: i32, path: &CStr, flags: i32) -> Sys<libc::stat> {
    let mut st: libc::stat = zeroed();
    sys!(SYS_newfstatat, dir, path, &mut st, flags)?;
    Ok(st)
}
pub fn fstat(fd: i32) -> Sys<libc::stat> {
    let mut st: libc::stat = zeroed();
    sys!(SYS_fstat, fd, &mut st)?;
    Ok(st)
}
pub fn size_of_file(fd: i32) -> i64 {
    fstat(fd).map_or(-1, |st| st.st_size)
}
pub fn exists(path: &CStr) -> bool {
    lstat(path).is_ok()
}
pub fn unlink(path: &CStr) -> Sys {
    sys!(SYS_unlinkat, AT_FDCWD, path, 0)
}
pub fn rmdir(path: &CStr) -> Sys {
    sys!(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)
}
pub fn mkdir(path: &CStr, mode: u32) -> Sys {
    sys!(SYS_mkdirat, AT_FDCWD, path, mode)
}
pub fn mknod(path: &CStr, mode: u32, dev: u64) -> Sys {
    sys!(SYS_mknodat, AT_FDCWD, path, mode, dev)
}
pub fn mkfifo(path: &CStr, mode: u32) -> Sys {
    mknod(path, S_IFIFO | mode, 0)
}
pub fn symlink(target: &CStr, path: &CStr) -> Sys {
    sys!(SYS_symlinkat, target, AT_FDCWD, path)
}
pub fn link(old: &CStr, new: &CStr) -> Sys {
    sys!(SYS_linkat, AT_FDCWD, old, AT_FDCWD, new, 0)
}
pub fn rename(old: &CStr, new: &CStr) -> Sys {
    rename2(old, new, 0)
}
pub fn rename2(old: &CStr, new: &CStr, flags: u32) -> Sys {
    sys!(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, flags)
}
pub fn readlink(path: &CStr) -> Sys<Vec<u8>> {
    let mut buf = vec![0u8; 4096];
    let n = sys!(SYS_readlinkat, AT_FDCWD, path, &mut buf[..], 4096usize)?;
    buf.truncate(n as usize);
    Ok(buf)
}
pub fn chmod(path: &CStr, mode: u32) -> Sys {
    sys!(SYS_fchmodat, AT_FDCWD, path, mode)
}
pub fn chown(path: &CStr, uid: u32, gid: u32) -> Sys {
    sys!(SYS_fchownat, AT_FDCWD, path, uid, gid, 0)
}
pub fn chdir(path: &CStr) -> Sys {
    sys!(SYS_chdir, path)
}
pub fn ftruncate(fd: i32, len: i64) -> Sys {
    sys!(SYS_ftruncate, fd, len)
}
pub fn fcntl(fd: i32, cmd: i32, arg: impl Arg) -> Sys {
    sys!(SYS_fcntl, fd, cmd, arg)
}
pub fn dup(fd: i32) -> Sys<i32> {
    sys!(SYS_dup, fd).map(|fd| fd as i32)
}
pub fn dup2(fd: i32, to: i32) -> Sys<i32> {
    sys!(SYS_dup2, fd, to).map(|fd| fd as i32)
}
pub fn ioctl(fd: i32, request: u64, arg: impl Arg) -> Sys {
    sys!(SYS_ioctl, fd, request, arg)
}
/// `(read end, write end)` of a new pipe.
pub fn pipe2(flags: i32) -> Sys<(i32, i32)> {
    let mut fds = [-1i32; 2];
    sys!(SYS_pipe2, &mut fds, flags)?;
    Ok((fds[0], fds[1]))
}
pub fn pipe() -> Sys<(i32, i32)> {
    pipe2(0)
}
pub fn set_nonblock(fd: i32) -> Sys {
    let flags = fcntl(fd, F_GETFL, 0)?;
    fcntl(fd, F_SETFL, flags | i64::from(O_NONBLOCK))
}
pub fn umask(mask: u32) -> u32 {
    sys!(SYS_umask, mask).unwrap_or(0) as u32
}

/// An iovec over a slice that the kernel reads.
pub fn iov(buf: &[u8]) -> iovec {
    iovec {
        iov_base: buf.as_ptr() as *mut c_void,
        iov_len: buf.len(),
    }
}
/// An iovec over a slice that the kernel writes.
pub fn iov_mut(buf: &mut [u8]) -> iovec {
    iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    }
}
/// An iovec at any address.
pub fn iov_at(base: usize, len: usize) -> iovec {
    iovec {
        iov_base: base as *mut c_void,
        iov_len: len,
    }
}

/// Readiness now: the `revents` of one descriptor, 0 when nothing is ready.
pub fn ready(fd: i32, events: i16) -> i16 {
    poll1(fd, events, 0)
}
/// `revents` of one descriptor after at most `timeout` milliseconds.
pub fn poll1(fd: i32, events: i16, timeout: i32) -> i16 {
    let mut p = pollfd {
        fd,
        events,
        revents: 0,
    };
    match unsafe { libc::poll(&mut p, 1, timeout) } {
        1 => p.revents,
        _ => 0,
    }
}

// Memory.

pub fn mmap(addr: usize, len: usize, prot: i32, flags: i32, fd: i32, off: i64) -> Sys<*mut u8> {
    sys!(SYS_mmap, addr, len, prot, flags, fd, off).map(|p| p as usize as *mut u8)
}
/// New private anonymous read-write memory of `pages` pages.
pub fn anon(pages: usize) -> *mut u8 {
    match mmap(
        0,
        pages * PAGE,
        PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS,
        -1,
        0,
    ) {
        Ok(p) => p,
        Err(e) => crate::fail!("anonymous mmap: {}", crate::report::errno_name(e)),
    }
}
/// New shared anonymous read-write memory of `pages` pages.
pub fn shared(pages: usize) -> *mut u8 {
    match mmap(
        0,
        pages * PAGE,
        PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS,
        -1,
        0,
    ) {
        Ok(p) => p,
        Err(e) => crate::fail!("shared anonymous mmap: {}", crate::report::errno_name(e)),
    }
}
pub fn munmap<T>(p: *mut T, len: usize) -> Sys {
    sys!(SYS_munmap, p, len)
}
pub fn mprotect<T>(p: *mut T, len: usize, prot: i32) -> Sys {
    sys!(SYS_mprotect, p, len, prot)
}
/// A writable page followed by an inaccessible one: the address of the
/// boundary.
pub fn page_edge() -> *mut u8 {
    let p = anon(2);
    let _ = mprotect(p.wrapping_add(PAGE), PAGE, PROT_NONE);
    p.wrapping_add(PAGE)
}

// Identity, time and the rest.

pub fn getpid() -> i32 {
    sys!(SYS_getpid).unwrap_or(-1) as i32
}
pub fn getppid() -> i32 {
    sys!(SYS_getppid).unwrap_or(-1) as i32
}
pub fn gettid() -> i32 {
    sys!(SYS_gettid).unwrap_or(-1) as i32
}
pub fn geteuid() -> u32 {
    sys!(SYS_geteuid).unwrap_or(0) as u32
}
pub fn getuid() -> u32 {
    sys!(SYS_getuid).unwrap_or(0) as u32
}
pub fn getpgid(pid: i32) -> Sys<i32> {
    sys!(SYS_getpgid, pid).map(|v| v as i32)
}
pub fn setpgid(pid: i32, pgid: i32) -> Sys {
    sys!(SYS_setpgid, pid, pgid)
}
pub fn getsid(pid: i32) -> Sys<i32> {
    sys!(SYS_getsid, pid).map(|v| v as i32)
}
pub fn setsid() -> Sys<i32> {
    sys!(SYS_setsid).map(|v| v as i32)
}
pub fn prctl(op: i32, a: impl Arg, b: impl Arg, c: impl Arg, d: impl Arg) -> Sys {
    sys!(SYS_prctl, op, a, b, c, d)
}
/// A clock in nanoseconds, by system call (not the vDSO).
pub fn clock(id: i32) -> i64 {
    let mut ts: timespec = zeroed();
    match sys!(SYS_clock_gettime, id, &mut ts) {
        Ok(_) => ts.tv_sec * 1_000_000_000 + ts.tv_nsec,
        Err(_) => -1,
    }
}
/// CLOCK_MONOTONIC in milliseconds.
pub fn now_ms() -> i64 {
    clock(CLOCK_MONOTONIC) / 1_000_000
}
pub fn timespec_ms(ms: i64) -> timespec {
    timespec {
        tv_sec: ms / 1000,
        tv_nsec: ms % 1000 * 1_000_000,
    }
}
/// Sleeps; interrupted sleeps are not continued.
pub fn sleep_ms(ms: i64) {
    let _ = sys!(SYS_nanosleep, &timespec_ms(ms), 0);
}
pub fn getrlimit(resource: u32) -> Sys<rlimit> {
    let mut lim: rlimit = zeroed();
    sys!(SYS_prlimit64, 0, resource, 0, &mut lim)?;
    Ok(lim)
}
pub fn setrlimit(resource: u32, cur: u64, max: u64) -> Sys {
    let lim = rlimit {
        rlim_cur: cur,
        rlim_max: max,
    };
    sys!(SYS_prlimit64, 0, resource, &lim, 0)
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CapHeader {
    pub version: u32,
    pub pid: i32,
}
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct CapData {
    pub effective: u32,
    pub permitted: u32,
    pub inheritable: u32,
}
/// `_LINUX_CAPABILITY_VERSION_3`.
pub const CAP_VERSION_3: u32 = 0x2008_0522;

/// `(effective, permitted, inheritable)` of the calling thread.
pub fn capabilities() -> (u64, u64, u64) {
    let header = CapHeader {
        version: CAP_VERSION_3,
        pid: 0,
    };
    let mut d = [CapData::default(); 2];
    if sys!(SYS_capget, &header, &mut d).is_err() {
        return (0, 0, 0);
    }
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    (
        join(d[0].effective, d[1].effective),
        join(d[0].permitted, d[1].permitted),
        join(d[0].inheritable, d[1].inheritable),
    )
}
/// Sets `(effective, permitted, inheritable)` of the calling thread.
pub fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> Sys {
    let header = CapHeader {
        version: CAP_VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| CapData {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    sys!(SYS_capset, &header, &[half(0), half(32)])
}

// Futexes.

pub fn futex_wait(word: *const u32, value: u32, timeout_ms: Option<i64>) -> Sys {
    match timeout_ms {
        Some(ms) => sys!(SYS_futex, word, FUTEX_WAIT, value, &timespec_ms(ms)),
        None => sys!(SYS_futex, word, FUTEX_WAIT, value, 0),
    }
}
pub fn futex_wake(word: *const u32, count: i32) -> Sys {
    sys!(SYS_futex, word, FUTEX_WAKE, count)
}

// Sockets.

pub fn socket(domain: i32, kind: i32, protocol: i32) -> Sys<i32> {
    sys!(SYS_socket, domain, kind, protocol).map(|fd| fd as i32)
}
pub fn socketpair(domain: i32, kind: i32) -> Sys<(i32, i32)> {
    let mut fds = [-1i32; 2];
    sys!(SYS_socketpair, domain, kind, 0, &mut fds)?;
    Ok((fds[0], fds[1]))
}
pub fn listen(fd: i32, backlog: i32) -> Sys {
    sys!(SYS_listen, fd, backlog)
}
pub fn accept(fd: i32) -> Sys<i32> {
    sys!(SYS_accept, fd, 0, 0).map(|fd| fd as i32)
}
pub fn shutdown(fd: i32, how: i32) -> Sys {
    sys!(SYS_shutdown, fd, how)
}
pub fn send(fd: i32, data: &[u8], flags: i32) -> Sys<usize> {
    sys!(SYS_sendto, fd, data, data.len(), flags, 0, 0).map(|n| n as usize)
}
pub fn recv(fd: i32, max: usize, flags: i32) -> Sys<Vec<u8>> {
    let mut buf = vec![0u8; max];
    let n = sys!(SYS_recvfrom, fd, &mut buf[..], max, flags, 0, 0)?;
    buf.truncate((n as usize).min(max));
    Ok(buf)
}
pub fn setsockopt<T: Copy>(fd: i32, level: i32, option: i32, value: &T) -> Sys {
    sys!(SYS_setsockopt, fd, level, option, value, size_of::<T>())
}
/// An option of type `int`.
pub fn getsockopt(fd: i32, level: i32, option: i32) -> Sys<i32> {
    let (mut value, mut len) = (0i32, 4u32);
    sys!(SYS_getsockopt, fd, level, option, &mut value, &mut len)?;
    Ok(value)
}
