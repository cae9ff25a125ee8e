//! Descriptors that were handed in: pipes, sockets, terminals and files that other processes have open too.

use arch::{Errno, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

fn cvt(n: libc::ssize_t) -> Result<usize> {
    usize::try_from(n).map_err(|_| Errno::from(std::io::Error::last_os_error()))
}

/// read(2) that doesn't wait (RWF_NOWAIT), at the description's own position. EOPNOTSUPP where the host can't promise that.
pub fn read_nowait(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    let iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: `iov` names `buf`, which is ours to fill.
    cvt(unsafe { libc::preadv2(fd.as_raw_fd(), &raw const iov, 1, -1, libc::RWF_NOWAIT) })
}

/// write(2) with `flags` (RWF_NOWAIT, RWF_APPEND), at the description's own position.
pub fn write_flags(fd: BorrowedFd<'_>, buf: &[u8], flags: i32) -> Result<usize> {
    let iov = libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: `iov` names `buf`, which the host only reads.
    cvt(unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const iov, 1, -1, flags) })
}

/// recv(2) that doesn't wait.
pub fn recv_nowait(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: `buf` is ours to fill.
    cvt(unsafe {
        libc::recv(
            fd.as_raw_fd(),
            buf.as_mut_ptr().cast(),
            buf.len(),
            libc::MSG_DONTWAIT,
        )
    })
}

/// send(2) that neither waits nor raises SIGPIPE.
pub fn send_nowait(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `buf` is only read.
    cvt(unsafe { libc::send(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), flags) })
}

/// poll(2) without waiting: the readiness bits among `events`.
pub fn poll_now(fd: BorrowedFd<'_>, events: u32) -> u32 {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: events as i16,
        revents: 0,
    };
    // SAFETY: one entry, which lives over the call.
    unsafe { libc::poll(&raw mut entry, 1, 0) };
    u32::from(entry.revents.cast_unsigned())
}

/// open(2) flags of the description (F_GETFL).
pub fn flags(fd: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: no memory involved.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    u32::try_from(flags).map_err(|_| Errno::from(std::io::Error::last_os_error()))
}

/// fstat(2).
pub fn stat(fd: BorrowedFd<'_>) -> Result<arch::abi::Stat> {
    let mut out = arch::abi::Stat::default();
    // SAFETY: `Stat` is the host's `struct stat` (asserted in `arch`), and plain data.
    let rc = unsafe { libc::fstat(fd.as_raw_fd(), (&raw mut out).cast()) };
    if rc < 0 {
        Err(Errno::from(std::io::Error::last_os_error()))
    } else {
        Ok(out)
    }
}

/// lseek(2) of the shared description.
pub fn seek(fd: BorrowedFd<'_>, offset: i64, whence: i32) -> Result<u64> {
    // SAFETY: no memory involved.
    let at = unsafe { libc::lseek(fd.as_raw_fd(), offset, whence) };
    u64::try_from(at).map_err(|_| Errno::from(std::io::Error::last_os_error()))
}

/// An ioctl(2) that stores up to `N` bytes: FIONREAD, TCGETS, TIOCGWINSZ.
pub fn query<const N: usize>(fd: BorrowedFd<'_>, cmd: u64) -> Result<[u8; N]> {
    // The host writes no more than the structure of `cmd`; the room is generous.
    let mut out = [[0u8; N], [0; N]];
    // SAFETY: `out` is larger than the structures of the commands that callers pass.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), cmd, out.as_mut_ptr()) };
    if rc < 0 {
        Err(Errno::from(std::io::Error::last_os_error()))
    } else {
        Ok(out[0])
    }
}
