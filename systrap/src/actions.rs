//! Host calls that the stub performs in place before it resumes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The list for a thread's next resume, performed in order; the first that
/// fails stops it and is reported as `ActionFailed { index, .. }`, where
/// `index` counts the calls of the methods below from 0. (Each method pushes
/// exactly one, `unmap_all` too.)
///
/// The list holds some hundreds of entries. A method returns false, and
/// pushes nothing, when it is full: `perform()` what there is, then go on.
pub struct Actions<'a> {
    _t: std::marker::PhantomData<&'a mut ()>,
}

impl Actions<'_> {
    /// mmap(2) of anonymous private memory. `flags`: the MAP_* bits besides
    /// MAP_ANONYMOUS|MAP_PRIVATE|MAP_FIXED, which are implied.
    pub fn mmap_anon(&mut self, _addr: u64, _len: u64, _prot: u32, _flags: u32) -> bool {
        panic!("not there yet")
    }

    /// mmap(2) of a descriptor at a fixed address. `flags` says MAP_SHARED or
    /// MAP_PRIVATE; MAP_FIXED is implied.
    pub fn mmap_fd(
        &mut self,
        _fd: &Arc<OwnedFd>,
        _offset: u64,
        _addr: u64,
        _len: u64,
        _prot: u32,
        _flags: u32,
    ) -> bool {
        panic!("not there yet")
    }

    pub fn munmap(&mut self, _addr: u64, _len: u64) -> bool {
        panic!("not there yet")
    }

    pub fn mprotect(&mut self, _addr: u64, _len: u64, _prot: u32) -> bool {
        panic!("not there yet")
    }

    /// mremap(2); with MREMAP_FIXED in `flags`, to `new_addr`.
    pub fn mremap(
        &mut self,
        _old: u64,
        _old_len: u64,
        _new_len: u64,
        _flags: u32,
        _new_addr: u64,
    ) -> bool {
        panic!("not there yet")
    }

    pub fn madvise(&mut self, _addr: u64, _len: u64, _advice: i32) -> bool {
        panic!("not there yet")
    }

    pub fn msync(&mut self, _addr: u64, _len: u64, _flags: i32) -> bool {
        panic!("not there yet")
    }

    /// Moves the host's vDSO (with its data pages) to `to`, in the order
    /// vvar, vvar_vclock, vdso.
    pub fn move_vdso(&mut self, _to: u64) -> bool {
        panic!("not there yet")
    }

    /// memset to zero, EFAULT if it faults.
    pub fn zero(&mut self, _addr: u64, _len: u64) -> bool {
        panic!("not there yet")
    }

    /// Aligned 32-bit store, EFAULT if it faults.
    pub fn store_u32(&mut self, _addr: u64, _value: u32) -> bool {
        panic!("not there yet")
    }

    /// Atomic compare-and-swap; EAGAIN if the old value was another, EFAULT
    /// if it faults. With `ignore` neither stops the list.
    pub fn cas_u32(&mut self, _addr: u64, _old: u32, _new: u32, _ignore: bool) -> bool {
        panic!("not there yet")
    }

    /// FUTEX_WAKE; errors are ignored.
    pub fn futex_wake(&mut self, _addr: u64, _count: u32, _private: bool) -> bool {
        panic!("not there yet")
    }

    /// FUTEX_WAIT_BITSET with an absolute CLOCK_MONOTONIC (or, with
    /// `realtime`, CLOCK_REALTIME) deadline in nanoseconds; the result is
    /// left in `rax` of the frame. Must be last. Interruptible by kick
    /// (`FutexInterrupted`): the way to restart a timed wait.
    pub fn futex_wait(
        &mut self,
        _addr: u64,
        _value: u32,
        _bitset: u32,
        _private: bool,
        _deadline: Option<(u64, bool)>,
    ) -> bool {
        panic!("not there yet")
    }

    /// Ends this host thread (the host process goes on). Must be last; no
    /// event follows.
    pub fn exit_thread(&mut self) -> bool {
        panic!("not there yet")
    }

    /// Ends the host process. Must be last; no event follows, for none of
    /// its threads.
    pub fn exit_process(&mut self) -> bool {
        panic!("not there yet")
    }

    /// Unmaps everything below `TASK_SIZE` (a moved vDSO goes back to its
    /// place first). For execve in the same process.
    pub fn unmap_all(&mut self) -> bool {
        panic!("not there yet")
    }
}
