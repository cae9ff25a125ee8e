//! What all handles of one platform share.
//!
//! Locks, outermost first; none is held across another but as drawn:
//!
//! ```text
//! reaping
//!   all of the below
//! zygote                       (held while a process is spawned)
//!   AddressSpace::tickets      (held across one non-blocking sendmsg)
//!   AddressSpace::slots_free
//!   active
//!   placement::moved
//!   pids
//!   unresolved, injected       (innermost, nothing is called under them)
//! ```

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::counters::Counts;
use crate::fpstate::FrameShape;
use crate::mem::Shared;
use crate::placement::Placement;
use crate::policy::Policy;
use crate::pool::Pool;
use crate::proto::*;
use crate::space::{AddressSpace, FinalUsage};
use crate::sys;
use crate::{Options, Token};

/// A host process whose pid the host has told.
pub(crate) struct Known {
    pub space: Weak<AddressSpace>,
    /// It leads a process group of its own, with all that it forked without
    /// us.
    pub grouped: bool,
    /// For its final account, which may come after the address space has gone.
    pub usage: Arc<FinalUsage>,
}

/// So many address spaces without a running thread may stay on the list.
const QUIET_MAX: usize = 64;

pub(crate) struct Core {
    /// The doorbell pages: written by us, read-only in stubs. Never read
    /// back for a decision that matters.
    pub doorbell: Shared,
    pub doorbell_fd: OwnedFd,
    /// Address spaces whose rings are scanned.
    pub active: RwLock<Vec<Arc<AddressSpace>>>,
    /// Tokens of threads that have an event without their stub's doing.
    injected: Mutex<Vec<Token>>,
    /// Whether `injected` has something. Set under its lock, read without.
    injected_some: AtomicBool,
    /// Only one at a time reaps.
    reaping: Mutex<()>,
    /// Host pid → address space, once the host has told the pid.
    pub pids: Mutex<HashMap<i32, Known>>,
    /// Address spaces whose pid is not known yet.
    pub unresolved: Mutex<Vec<Weak<AddressSpace>>>,
    /// Fork children that may exist and whose address space was dropped
    /// before they said hello.
    pub orphans: AtomicU32,
    pub counts: Counts,
    pub policy: Policy,
    pub pool: Pool,
    pub placement: Placement,
    /// Learnt from the zygote's first frame.
    pub frame: OnceLock<FrameShape>,
    pub fsgsbase: bool,
    /// `Options::patch_after`.
    pub patch_after: Option<u32>,
    /// Lengths of the host's vDSO mappings, in order.
    pub vdso_parts: Vec<u64>,
}

impl Core {
    pub fn new(opts: &Options, vdso_parts: Vec<u64>) -> io::Result<Core> {
        let fd = sys::memfd(c"runsc-doorbell", DOORBELL_LEN)?;
        let doorbell = Shared::map(&fd, DOORBELL_LEN, None)?;
        // From here on nobody can map it writable; ours stays.
        sys::seal(
            &fd,
            libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL,
        )?;
        const HWCAP2_FSGSBASE: u64 = 2;
        let fsgsbase = sys::auxv(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 && !opts.no_fsgsbase;
        let show = opts.show_own_calls && opts.patch_after.is_some() && fsgsbase;
        let flags = [
            (fsgsbase, DF_FSGSBASE),
            (show, DF_SHOW),
            (sys::has_rdpid(), DF_RDPID),
        ];
        let flags = flags.iter().filter(|f| f.0).fold(0, |all, f| all | f.1);
        doorbell.st32(D_FLAGS, flags);
        let policy = Policy::new(&doorbell, opts.no_spin);
        Ok(Core {
            doorbell,
            doorbell_fd: fd,
            active: RwLock::default(),
            injected: Mutex::default(),
            injected_some: AtomicBool::new(false),
            reaping: Mutex::default(),
            pids: Mutex::default(),
            unresolved: Mutex::default(),
            orphans: AtomicU32::new(0),
            counts: Counts::default(),
            policy,
            pool: Pool::default(),
            placement: Placement::default(),
            frame: OnceLock::new(),
            fsgsbase,
            // Segment bases must be cheap to set, and to read.
            patch_after: opts.patch_after.filter(|_| fsgsbase),
            vdso_parts,
        })
    }

    /// The shape of frames, if call sites are patched.
    pub fn patching(&self) -> Option<&FrameShape> {
        self.patch_after.and(self.frame.get())
    }

    /// Hands out a token without an event of the stub's.
    pub fn inject(&self, token: Token) {
        let mut list = self.injected.lock();
        list.push(token);
        self.injected_some.store(true, Ordering::SeqCst);
        drop(list);
        self.wake();
    }

    /// Whether `poll` would find something without looking at rings.
    pub fn has_injected(&self) -> bool {
        self.injected_some.load(Ordering::SeqCst)
    }

    /// Appends the tokens of threads that have an event now; the CPU where
    /// the last of them had been running.
    pub fn poll(&self, out: &mut Vec<Token>) -> Option<u32> {
        if self.has_injected() {
            let mut list = self.injected.lock();
            out.append(&mut list);
            self.injected_some.store(false, Ordering::SeqCst);
        }
        let mut cpu = None;
        let mut idle = 0;
        for space in self.active.read().iter() {
            if let Some(c) = space.scan(out) {
                cpu = Some(c);
            }
            idle += usize::from(space.is_quiet());
        }
        if idle > QUIET_MAX {
            self.drop_quiet();
        }
        cpu
    }

    /// Stops scanning address spaces that have no running thread.
    fn drop_quiet(&self) {
        let mut quiet = Vec::new();
        let mut list = self.active.write();
        let mut i = 0;
        while i < list.len() {
            if list[i].is_quiet() {
                list[i].leave_active();
            }
            if list[i].in_active() {
                i += 1;
            } else {
                quiet.push(list.swap_remove(i));
            }
        }
        // What goes with the last reference goes without the lock.
        drop(list);
    }

    /// Asks for the pids of fork children that have said hello.
    pub fn resolve_all(&self) {
        let list: Vec<_> = self
            .unresolved
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for space in list {
            space.resolve();
        }
    }

    fn take_orphan(&self) -> bool {
        let less = |n: u32| n.checked_sub(1);
        self.orphans
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    /// Reaps what is dead. True if a child may have ended before it said
    /// hello: its parent's stub still has its end of the control socket, so
    /// that only a later look shows it.
    pub fn reap(&self, out: &mut Vec<Token>) -> bool {
        let one = self.reaping.lock();
        let mut strangers = false;
        self.resolve_all();
        while let Some(pid) = sys::peek_dead_child() {
            if !self.pids.lock().contains_key(&pid) {
                // Its hello may have come since.
                self.resolve_all();
            }
            let known = self.pids.lock().remove(&pid);
            if let Some(known) = &known
                && known.grouped
            {
                self.end_group(pid, &known.space);
            }
            // The pid was ours up to here.
            let Some((status, usage)) = sys::reap(pid) else {
                break;
            };
            match known {
                Some(known) => {
                    self.counts.deaths();
                    known.usage.set(usage);
                    if let Some(space) = known.space.upgrade() {
                        space.died(status, out);
                    }
                }
                None if self.take_orphan() => self.counts.deaths(),
                None => {
                    strangers = true;
                    self.counts.violations();
                }
            }
        }
        self.resolve_all();
        drop(one);
        strangers && !self.unresolved.lock().is_empty()
    }

    /// Ends what a hostile process forked behind our back: it is in the dead
    /// one's process group, since the filter lets nobody leave it. Children
    /// that we asked for are in that group too until their hello is read,
    /// which comes at once after the fork.
    fn end_group(&self, pid: i32, space: &Weak<AddressSpace>) {
        let list = self.unresolved.lock().clone();
        for child in list.iter().filter_map(Weak::upgrade) {
            if child.is_child_of(space) {
                child.wait_resolved(Duration::from_millis(20));
            }
        }
        sys::kill_group(pid);
    }
}
