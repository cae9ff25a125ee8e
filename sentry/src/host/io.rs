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

/// [`read`] into room in a copy window, in several places.
pub fn read_into_window(
    fd: BorrowedFd<'_>,
    offset: Option<u64>,
    rooms: &[systrap::Reserved],
) -> Result<usize> {
    let [room] = rooms else {
        let list: smallvec::SmallVec<[libc::iovec; 16]> = rooms
            .iter()
            .map(|room| libc::iovec {
                iov_base: room.as_mut_ptr().cast(),
                iov_len: room.len(),
            })
            .collect();
        let (list, n) = (list.as_ptr(), list.len() as libc::c_int);
        return match offset {
            // SAFETY: rooms in shared memory that stay mapped until the thread goes on; no reference to them exists.
            Some(o) => cvt(unsafe { libc::preadv(fd.as_raw_fd(), list, n, off(o)?) }),
            // SAFETY: as above.
            None => cvt(unsafe { libc::readv(fd.as_raw_fd(), list, n) }),
        };
    };
    let (ptr, len) = (room.as_mut_ptr().cast(), room.len());
    match offset {
        // SAFETY: room in shared memory that stays mapped until the thread goes on; no reference to it exists.
        Some(o) => cvt(unsafe { libc::pread(fd.as_raw_fd(), ptr, len, off(o)?) }),
        // SAFETY: as above.
        None => cvt(unsafe { libc::read(fd.as_raw_fd(), ptr, len) }),
    }
}

/// Stores bytes in a copy window: as many as there is room for.
pub fn copy_into_window(data: &[u8], room: &systrap::Reserved) -> usize {
    let n = data.len().min(room.len());
    // SAFETY: room in shared memory that stays mapped until the thread goes on; no reference to it exists, and it doesn't
    // overlap memory of ours.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), room.as_mut_ptr(), n) };
    n
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
