//! Reading and writing host descriptors.

use arch::{Errno, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

fn cvt(n: libc::ssize_t) -> Result<usize> {
    usize::try_from(n).map_err(|_| Errno::from(std::io::Error::last_os_error()))
}

fn off(offset: u64) -> Result<i64> {
    i64::try_from(offset).map_err(|_| Errno::EINVAL)
}

/// read(2), or pread(2) where an offset is given.
pub fn read(fd: BorrowedFd<'_>, offset: Option<u64>, buf: &mut [u8]) -> Result<usize> {
    let (ptr, len) = (buf.as_mut_ptr().cast(), buf.len());
    match offset {
        // SAFETY: `buf` is ours for `len` bytes.
        Some(o) => cvt(unsafe { libc::pread(fd.as_raw_fd(), ptr, len, off(o)?) }),
        // SAFETY: as above.
        None => cvt(unsafe { libc::read(fd.as_raw_fd(), ptr, len) }),
    }
}

/// [`read`] into room in a copy window.
pub fn read_into_window(
    fd: BorrowedFd<'_>,
    offset: Option<u64>,
    room: &systrap::Reserved,
) -> Result<usize> {
    let (ptr, len) = (room.as_mut_ptr().cast(), room.len());
    match offset {
        // SAFETY: room in shared memory that stays mapped until the thread goes on; no reference to it exists.
        Some(o) => cvt(unsafe { libc::pread(fd.as_raw_fd(), ptr, len, off(o)?) }),
        // SAFETY: as above.
        None => cvt(unsafe { libc::read(fd.as_raw_fd(), ptr, len) }),
    }
}

/// [`write`] of what lies in a copy window.
pub fn write_from_window(
    fd: BorrowedFd<'_>,
    offset: Option<u64>,
    data: &systrap::Prefetched,
) -> Result<usize> {
    let (ptr, len) = (data.as_ptr().cast(), data.len());
    match offset {
        // SAFETY: shared memory that stays mapped until the thread goes on; only the host reads it.
        Some(o) => cvt(unsafe { libc::pwrite(fd.as_raw_fd(), ptr, len, off(o)?) }),
        // SAFETY: as above.
        None => cvt(unsafe { libc::write(fd.as_raw_fd(), ptr, len) }),
    }
}

/// write(2), or pwrite(2) where an offset is given.
pub fn write(fd: BorrowedFd<'_>, offset: Option<u64>, buf: &[u8]) -> Result<usize> {
    let (ptr, len) = (buf.as_ptr().cast(), buf.len());
    match offset {
        // SAFETY: `buf` is ours for `len` bytes.
        Some(o) => cvt(unsafe { libc::pwrite(fd.as_raw_fd(), ptr, len, off(o)?) }),
        // SAFETY: as above.
        None => cvt(unsafe { libc::write(fd.as_raw_fd(), ptr, len) }),
    }
}
