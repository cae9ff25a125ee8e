//! Memory shared with stubs.
//!
//! # Safety
//! The other side writes whenever it likes, so nothing here makes a reference
//! to the memory but to single atomics: words are read and written as atomics
//! or through volatile pointers, bytes are copied through raw pointers. Every
//! access is bounds-checked against the mapping's own length, which the other
//! side cannot change (the memfd is sealed against shrinking).
#![expect(
    unsafe_code,
    reason = "raw access to memory that a hostile process writes"
)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;

/// A shared mapping; unmapped when dropped.
pub struct Shared {
    base: *mut u8,
    len: usize,
}

// SAFETY: the memory is only touched by atomic, volatile or raw copies.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps `len` bytes of `fd` read-write. At `at` if given, and then only
    /// if that range is free.
    pub fn map(fd: &OwnedFd, len: u64, at: Option<u64>) -> io::Result<Shared> {
        Self::map_prot(fd, len, at, libc::PROT_READ | libc::PROT_WRITE)
    }

    pub fn map_prot(fd: &OwnedFd, len: u64, at: Option<u64>, prot: i32) -> io::Result<Shared> {
        let mut flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        if at.is_some() {
            flags |= libc::MAP_FIXED_NOREPLACE;
        }
        let hint = ptr::without_provenance_mut(at.unwrap_or(0) as usize);
        // SAFETY: a new mapping, which replaces nothing.
        let base = unsafe { libc::mmap(hint, len as usize, prot, flags, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = Shared {
            base: base.cast(),
            len: len as usize,
        };
        if at.is_some_and(|a| a != map.base as u64) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(map)
    }

    /// No memory: every access is out of bounds.
    pub fn none() -> Shared {
        Shared {
            base: ptr::null_mut(),
            len: 0,
        }
    }

    pub fn addr(&self) -> u64 {
        self.base as u64
    }

    fn at(&self, off: u64, len: usize) -> *mut u8 {
        let off = off as usize;
        assert!(
            len <= self.len && off <= self.len - len,
            "offset in mapping"
        );
        // SAFETY: inside the mapping.
        unsafe { self.base.add(off) }
    }

    pub fn a32(&self, off: u64) -> &AtomicU32 {
        let p = self.at(off, 4);
        assert!(off.is_multiple_of(4));
        // SAFETY: inside the mapping, aligned, and lives as long as it.
        unsafe { AtomicU32::from_ptr(p.cast()) }
    }

    pub fn a64(&self, off: u64) -> &AtomicU64 {
        let p = self.at(off, 8);
        assert!(off.is_multiple_of(8));
        // SAFETY: as a32.
        unsafe { AtomicU64::from_ptr(p.cast()) }
    }

    pub fn ld16(&self, off: u64) -> u16 {
        // SAFETY: inside the mapping.
        unsafe { self.at(off, 2).cast::<u16>().read_volatile() }
    }

    pub fn ld32(&self, off: u64) -> u32 {
        // SAFETY: inside the mapping; offsets are multiples of 4 by contract
        // of the callers, and x86 would not care.
        unsafe { self.at(off, 4).cast::<u32>().read_volatile() }
    }

    pub fn ld64(&self, off: u64) -> u64 {
        // SAFETY: as ld32.
        unsafe { self.at(off, 8).cast::<u64>().read_volatile() }
    }

    pub fn st16(&self, off: u64, v: u16) {
        // SAFETY: as ld32.
        unsafe { self.at(off, 2).cast::<u16>().write_volatile(v) }
    }

    pub fn st32(&self, off: u64, v: u32) {
        // SAFETY: as ld32.
        unsafe { self.at(off, 4).cast::<u32>().write_volatile(v) }
    }

    pub fn st64(&self, off: u64, v: u64) {
        // SAFETY: as ld32.
        unsafe { self.at(off, 8).cast::<u64>().write_volatile(v) }
    }

    /// Copies out of the shared memory.
    pub fn copy_from(&self, off: u64, buf: &mut [u8]) {
        // SAFETY: inside the mapping; `buf` is private memory.
        unsafe { ptr::copy_nonoverlapping(self.at(off, buf.len()), buf.as_mut_ptr(), buf.len()) }
    }

    /// Copies into the shared memory.
    pub fn copy_to(&self, off: u64, buf: &[u8]) {
        // SAFETY: as copy_from.
        unsafe { ptr::copy_nonoverlapping(buf.as_ptr(), self.at(off, buf.len()), buf.len()) }
    }

    /// Copies from another mapping, or from elsewhere in this one (the ranges
    /// may then not overlap).
    pub fn copy_between(&self, off: u64, from: &Shared, from_off: u64, len: usize) {
        // SAFETY: both inside their mappings.
        unsafe { ptr::copy(from.at(from_off, len), self.at(off, len), len) }
    }

    /// Pointer to `len` bytes at `off` for a host call to fill.
    pub fn ptr(&self, off: u64, len: usize) -> *mut u8 {
        self.at(off, len)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: our mapping; borrows of it have ended.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}
