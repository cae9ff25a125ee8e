//! Files of the host that are read from the page cache, through a mapping of the Sentry's own.
//!
//! Others may cut such a file at any time. Then a page of the mapping is gone, and who reads it gets SIGBUS: so nobody
//! reads it but [`Mapping::copy`], whose one instruction the handler of that signal knows how to end early.

use arch::{Errno, Result};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Bytes of files that are mapped, in the whole sandbox.
static MAPPED: AtomicUsize = AtomicUsize::new(0);
/// How many at most: what is looked at counts as memory of the Sentry.
const MAX_MAPPED: usize = 8 << 20;

std::arch::global_asm!(
    // (rdi: to, rsi: from, rdx: bytes) -> rax: bytes that are left
    ".pushsection .text.sentry_map_copy,\"ax\",@progbits",
    ".hidden sentry_map_copy",
    ".global sentry_map_copy",
    ".hidden sentry_map_copy_at",
    ".global sentry_map_copy_at",
    ".hidden sentry_map_copy_end",
    ".global sentry_map_copy_end",
    "sentry_map_copy:",
    "mov rcx, rdx",
    "sentry_map_copy_at:",
    "rep movsb",
    "sentry_map_copy_end:",
    "mov rax, rcx",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn sentry_map_copy(to: *mut u8, from: *const u8, len: usize) -> usize;
    static sentry_map_copy_at: u8;
    static sentry_map_copy_end: u8;
}

/// A page that was to be copied is gone: the copy ends. Anywhere else SIGBUS is what it always is.
extern "C" fn on_sigbus(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let at = (&raw const sentry_map_copy_at).addr() as i64;
    // SAFETY: SA_SIGINFO has the kernel pass the context of the thread, which is ours to change until we return.
    let rip = unsafe {
        let context = context.cast::<libc::ucontext_t>();
        &mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize]
    };
    if *rip == at {
        *rip = (&raw const sentry_map_copy_end).addr() as i64;
        return;
    }
    let action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zero bytes are a valid sigaction: SIG_DFL. The instruction is run again, and the process dies of it.
    unsafe { libc::sigaction(libc::SIGBUS, action.as_ptr(), std::ptr::null_mut()) };
}

/// Once, before the first copy.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: zero bytes are a valid sigaction; the handler has the signature that SA_SIGINFO asks for, and touches
        // nothing but its own context.
        unsafe {
            let action = action.assume_init_mut();
            action.sa_sigaction = on_sigbus as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, action, std::ptr::null_mut());
        }
    });
}

/// The first bytes of a file, readable.
pub struct Mapping {
    start: AtomicPtr<u8>,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes from the start of the file. ENOMEM where that would be too much for the sandbox as a whole.
    pub fn new(fd: BorrowedFd<'_>, len: usize) -> Result<Self> {
        install();
        let before = MAPPED.fetch_add(len, Ordering::Relaxed);
        if len == 0 || before.saturating_add(len) > MAX_MAPPED {
            MAPPED.fetch_sub(len, Ordering::Relaxed);
            return Err(Errno::ENOMEM);
        }
        // SAFETY: a mapping at an address of the kernel's choice touches nothing that is there.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            MAPPED.fetch_sub(len, Ordering::Relaxed);
            return Err(Errno::from(std::io::Error::last_os_error()));
        }
        Ok(Self {
            start: AtomicPtr::new(start.cast()),
            len,
        })
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies from `offset` on to `to`. Returns how many bytes came before the end of the mapping, or before a page that
    /// is not there any more.
    fn copy_raw(&self, offset: u64, to: *mut u8, len: usize) -> usize {
        let Some(offset) = usize::try_from(offset).ok().filter(|o| *o < self.len) else {
            return 0;
        };
        let len = len.min(self.len - offset);
        // SAFETY: the source is inside the mapping, which lives as long as `self`; a fault there is dealt with. The callers
        // own `len` bytes at `to`.
        let left = unsafe {
            sentry_map_copy(
                to,
                self.start.load(Ordering::Relaxed).add(offset).cast_const(),
                len,
            )
        };
        len - left.min(len)
    }

    /// Copies from `offset` on. Returns how many bytes came before the end of the mapping, or before a page that is not
    /// there any more.
    pub fn copy(&self, offset: u64, buf: &mut [u8]) -> usize {
        self.copy_raw(offset, buf.as_mut_ptr(), buf.len())
    }

    /// [`Mapping::copy`] to room in a copy window.
    pub fn copy_to_window(&self, offset: u64, room: &systrap::Reserved) -> usize {
        self.copy_raw(offset, room.as_mut_ptr(), room.len())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody copies from it any more.
        unsafe { libc::munmap((*self.start.get_mut()).cast(), self.len) };
        MAPPED.fetch_sub(self.len, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn copies_end_where_a_file_was_cut() {
        let fd = super::super::mm::memfd("test", 3 * 4096).unwrap();
        super::super::io::write(fd.as_fd(), Some(0), &[7; 3 * 4096]).unwrap();
        let map = Mapping::new(fd.as_fd(), 3 * 4096).unwrap();
        let mut buf = vec![0; 4 * 4096];
        assert_eq!(map.copy(0, &mut buf), 3 * 4096);
        assert!(buf[..3 * 4096].iter().all(|b| *b == 7));
        assert_eq!(map.copy(3 * 4096 - 1, &mut buf), 1);
        assert_eq!(map.copy(3 * 4096, &mut buf), 0);
        assert_eq!(map.copy(u64::MAX, &mut buf), 0);
        super::super::fs::truncate(fd.as_fd(), 4096 + 1).unwrap();
        for _ in 0..3 {
            assert_eq!(map.copy(4000, &mut buf), 2 * 4096 - 4000);
            assert_eq!(map.copy(2 * 4096, &mut buf), 0);
        }
        // And grows again.
        super::super::fs::truncate(fd.as_fd(), 3 * 4096).unwrap();
        assert_eq!(map.copy(0, &mut buf), 3 * 4096);
        assert_eq!(buf[2 * 4096], 0);
    }

    #[test]
    fn there_is_a_limit() {
        let fd = super::super::mm::memfd("test", 2 * MAX_MAPPED as u64).unwrap();
        assert!(Mapping::new(fd.as_fd(), MAX_MAPPED + 1).is_err());
        assert!(Mapping::new(fd.as_fd(), 0).is_err());
        assert!(Mapping::new(fd.as_fd(), 4096).is_ok());
    }
}
