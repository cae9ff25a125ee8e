//! Host calls that the stub performs in place before it resumes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::layout::{PAGE, TASK_SIZE};
use crate::proto::*;
use crate::site::Plan;
use crate::thread::Thread;

/// One entry as the stub reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Action {
    pub op: u32,
    pub flags: u32,
    pub args: [u64; 6],
}

impl Action {
    pub fn to_bytes(self) -> [u8; ACTION as usize] {
        let mut b = [0; ACTION as usize];
        b[..4].copy_from_slice(&self.op.to_ne_bytes());
        b[4..8].copy_from_slice(&self.flags.to_ne_bytes());
        for (to, arg) in b[8..].chunks_exact_mut(8).zip(self.args) {
            to.copy_from_slice(&arg.to_ne_bytes());
        }
        b
    }
}

/// What a thread does at its next resume.
#[derive(Default)]
pub(crate) struct Pending {
    pub list: Vec<Action>,
    pub fds: Vec<Arc<OwnedFd>>,
    /// The list ends the thread or the process.
    pub ends: Option<Ends>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Thread,
    Process,
}

/// The list for a thread's next resume, performed in order; the first that
/// fails stops it and is reported as `ActionFailed { index, .. }`, where
/// `index` counts what was pushed, from 0 (each method pushes one entry,
/// `unmap_all` and `move_vdso` some more). After a failure the list is empty.
///
/// The list holds some hundreds of entries and some descriptors. A method
/// returns false, and pushes nothing, when it is full: `perform()` what there
/// is, then go on.
pub struct Actions<'a> {
    pub(crate) thread: &'a mut Thread,
}

impl Actions<'_> {
    fn push(&mut self, op: u32, flags: u32, args: [u64; 6]) -> bool {
        let pending = &mut self.thread.pending;
        if pending.list.len() as u64 >= ACTIONS_MAX || pending.ends.is_some() {
            return false;
        }
        pending.list.push(Action { op, flags, args });
        true
    }

    /// Index of a descriptor in the list's, added if it isn't there.
    fn descriptor(&mut self, fd: &Arc<OwnedFd>) -> Option<u64> {
        let fds = &mut self.thread.pending.fds;
        if let Some(at) = fds.iter().position(|f| Arc::ptr_eq(f, fd)) {
            return Some(at as u64);
        }
        if fds.len() as u64 >= FDS_MAX {
            return None;
        }
        fds.push(fd.clone());
        Some(fds.len() as u64 - 1)
    }

    /// How many entries are on the list.
    pub fn len(&self) -> usize {
        self.thread.pending.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes back what was pushed last: `len` entries stay.
    pub fn truncate(&mut self, len: usize) {
        let pending = &mut self.thread.pending;
        if len < pending.list.len() {
            pending.list.truncate(len);
            pending.ends = None;
        }
    }

    /// mmap(2) of anonymous memory. `flags`: the MAP_* bits besides
    /// MAP_ANONYMOUS|MAP_PRIVATE|MAP_FIXED, which are implied.
    pub fn mmap_anon(&mut self, addr: u64, len: u64, prot: u32, flags: u32) -> bool {
        const IMPLIED: i32 = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_FIXED;
        let flags = u64::from(flags | IMPLIED.cast_unsigned());
        self.push(A_MMAP, 0, [addr, len, prot.into(), flags, NO_FD, 0])
    }

    /// mmap(2) of a descriptor at a fixed address. `flags` says MAP_SHARED or
    /// MAP_PRIVATE; MAP_FIXED is implied.
    pub fn mmap_fd(
        &mut self,
        fd: &Arc<OwnedFd>,
        offset: u64,
        addr: u64,
        len: u64,
        prot: u32,
        flags: u32,
    ) -> bool {
        let flags = u64::from(flags | libc::MAP_FIXED.cast_unsigned());
        let Some(fd) = self.descriptor(fd) else {
            return false;
        };
        self.push(A_MMAP, 0, [addr, len, prot.into(), flags, fd, offset])
    }

    pub fn munmap(&mut self, addr: u64, len: u64) -> bool {
        self.push(A_MUNMAP, 0, [addr, len, 0, 0, 0, 0])
    }

    pub fn mprotect(&mut self, addr: u64, len: u64, prot: u32) -> bool {
        self.push(A_MPROTECT, 0, [addr, len, prot.into(), 0, 0, 0])
    }

    /// mremap(2); with MREMAP_FIXED in `flags`, to `new_addr`.
    pub fn mremap(&mut self, old: u64, old_len: u64, new_len: u64, flags: u32, new: u64) -> bool {
        self.push(A_MREMAP, 0, [old, old_len, new_len, flags.into(), new, 0])
    }

    /// madvise(2) with one of the advices that [`crate::advice_is_allowed`]
    /// knows.
    pub fn madvise(&mut self, addr: u64, len: u64, advice: i32) -> bool {
        let advice = advice.cast_unsigned().into();
        self.push(A_MADVISE, 0, [addr, len, advice, 0, 0, 0])
    }

    pub fn msync(&mut self, addr: u64, len: u64, flags: i32) -> bool {
        let flags = flags.cast_unsigned().into();
        self.push(A_MSYNC, 0, [addr, len, flags, 0, 0, 0])
    }

    /// Moves the host's vDSO from its place in the stub area (with its data
    /// pages: vvar, vvar_vclock, vdso, in this order) to `to`. It can be done
    /// once in an address space; `unmap_all` makes it possible again by
    /// putting it back. An application that unmaps a moved vDSO loses it.
    pub fn move_vdso(&mut self, to: u64) -> bool {
        self.move_parts(to, true)
    }

    fn move_parts(&mut self, to: u64, out: bool) -> bool {
        let parts = self.thread.space().core.vdso_parts.clone();
        if self.thread.pending.list.len() + parts.len() > ACTIONS_MAX as usize {
            return false;
        }
        let mut off = 0;
        for len in parts {
            let here = crate::layout::VDSO + off;
            let (from, to) = if out {
                (here, to + off)
            } else {
                (to + off, here)
            };
            let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED)
                .cast_unsigned()
                .into();
            // Putting it back may fail: the application may have unmapped it.
            let ignore = if out { 0 } else { AF_IGNORE };
            self.push(A_MREMAP, ignore, [from, len, len, flags, to, 0]);
            off += len;
        }
        if out {
            self.thread.space().set_vdso_moved(Some(to));
        }
        true
    }

    /// memset to zero; EFAULT if it faults.
    pub fn zero(&mut self, addr: u64, len: u64) -> bool {
        self.push(A_ZERO, 0, [addr, len, 0, 0, 0, 0])
    }

    /// 32-bit store, EFAULT if it faults; with `ignore` that doesn't stop the
    /// list.
    pub fn store_u32(&mut self, addr: u64, value: u32, ignore: bool) -> bool {
        self.push(A_STORE32, flag(ignore), [addr, value.into(), 0, 0, 0, 0])
    }

    /// Atomic compare-and-swap; EAGAIN if the old value was another, EFAULT
    /// if it faults. With `ignore` neither stops the list.
    pub fn cas_u32(&mut self, addr: u64, old: u32, new: u32, ignore: bool) -> bool {
        self.push(
            A_CAS32,
            flag(ignore),
            [addr, old.into(), new.into(), 0, 0, 0],
        )
    }

    /// FUTEX_WAKE; errors are ignored.
    pub fn futex_wake(&mut self, addr: u64, count: u32, private: bool) -> bool {
        let op = if private { 1 | 128 } else { 1 };
        self.push(A_FUTEX_WAKE, AF_IGNORE, [addr, count.into(), op, 0, 0, 0])
    }

    /// FUTEX_WAIT_BITSET with an absolute CLOCK_MONOTONIC (or, with
    /// `realtime`, CLOCK_REALTIME) deadline in nanoseconds; the result is
    /// left in `rax` of the frame. Must be last. Interruptible by kick
    /// (`FutexInterrupted`): the way to restart a timed wait.
    pub fn futex_wait(
        &mut self,
        addr: u64,
        value: u32,
        bitset: u32,
        private: bool,
        deadline: Option<(u64, bool)>,
    ) -> bool {
        let realtime = matches!(deadline, Some((_, true)));
        let op = 9 | if private { 128 } else { 0 } | if realtime { 256 } else { 0 };
        let (has, ns) = deadline.map_or((0, 0), |(ns, _)| (1, ns));
        self.push(
            A_FUTEX_WAIT,
            0,
            [addr, op, value.into(), has, ns, bitset.into()],
        )
    }

    /// mincore(2): page residency of the range, a byte a page, to be read
    /// with [`Thread::mincore_result`] after `perform` has reported `Parked`.
    /// At most 16,384 pages.
    pub fn mincore(&mut self, addr: u64, len: u64) -> bool {
        let pages = len.div_ceil(PAGE);
        if pages > crate::window::MINCORE_MAX {
            return false;
        }
        self.push(
            A_MINCORE,
            0,
            [addr, len, crate::window::MINCORE_OFF, 0, 0, 0],
        )
    }

    /// Ends this host thread (the host process goes on). Must be last; no
    /// event follows.
    pub fn exit_thread(&mut self) -> bool {
        // The first thread of a process must not end before the others: it is
        // by its pid that the host lets us reach the memory.
        let op = if self.thread.is_leader() {
            A_PARK_FOREVER
        } else {
            A_EXIT_THREAD
        };
        let ok = self.push(op, 0, [0; 6]);
        if ok {
            self.thread.pending.ends = Some(Ends::Thread);
        }
        ok
    }

    /// Ends the host process. Must be last; no event follows, for none of
    /// its threads.
    pub fn exit_process(&mut self) -> bool {
        let ok = self.push(A_EXIT_PROCESS, 0, [0; 6]);
        if ok {
            self.thread.pending.ends = Some(Ends::Process);
        }
        ok
    }

    /// Unmaps everything below `TASK_SIZE` (a moved vDSO goes back to its
    /// place first). For execve in the same process.
    pub fn unmap_all(&mut self) -> bool {
        if let Some(at) = self.thread.space().vdso_moved() {
            if !self.move_parts(at, false) {
                return false;
            }
            self.thread.space().set_vdso_moved(None);
        }
        self.thread.space().patches.clear();
        self.munmap(0, TASK_SIZE)
    }

    pub(crate) fn fork(&mut self, region: &Arc<OwnedFd>, ctl: &Arc<OwnedFd>) -> bool {
        let (Some(region), Some(ctl)) = (self.descriptor(region), self.descriptor(ctl)) else {
            return false;
        };
        self.push(A_FORK, 0, [region, ctl, 0, 0, 0, 0])
    }

    /// Rewrites a call site: two entries.
    pub(crate) fn patch(&mut self, area: u64, off: u64, plan: &Plan) -> bool {
        if self.len() as u64 + 2 > ACTIONS_MAX {
            return false;
        }
        let mut code = [0; 6];
        for (word, bytes) in code.iter_mut().zip(plan.code.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        self.push(A_PATCH, 0, [area, off, plan.at, plan.old, plan.new, 0])
            && self.push(A_CODE, 0, code)
    }

    /// Saves the FPU state in the application's memory and goes on with the
    /// initial one. EFAULT if that faults.
    pub(crate) fn save_fpu(&mut self, addr: u64, features: u64) -> bool {
        self.push(A_SAVE_FPU, 0, [addr, features, 0, 0, 0, 0])
    }

    pub(crate) fn thread(&mut self, slot: u32) -> bool {
        self.push(A_THREAD, 0, [slot.into(), 0, 0, 0, 0, 0])
    }
}

fn flag(ignore: bool) -> u32 {
    if ignore { AF_IGNORE } else { 0 }
}
