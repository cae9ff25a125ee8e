//! New threads and address spaces.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::layout::*;
use crate::pool::Prepared;
use crate::proto::*;
use crate::thread::Full;
use crate::{AddressSpace, Thread};

/// In a slot's tid word: the host thread doesn't exist yet.
const TID_UNBORN: u32 = u32::MAX;

impl Thread {
    /// A child address space forked from this thread's at this thread's next
    /// resume (pushes the action; fails with `ActionFailed` there). The
    /// child's registers are a copy of this frame: edit them, then resume the
    /// child whenever wanted, before or after this thread.
    pub fn fork(&mut self) -> io::Result<(Arc<AddressSpace>, Thread)> {
        let core = self.space.core.clone();
        let Prepared {
            region,
            region_fd,
            ours,
            theirs,
        } = core.pool.take()?;
        // The child's frame lies where this one does.
        let len = (SLOT_STRIDE - self.frame) as usize;
        let at = self.base + self.frame;
        region.copy_between(at, &self.space.region, at, len);
        region.st32(self.base + S_SEQ, FIRST_SEQ);
        region.st32(self.base + S_START_FRAME, self.frame as u32);
        if !self.actions().fork(&region_fd, &theirs) {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        core.before_fork(&self.space, self.index);
        core.counts.forks();
        let space = AddressSpace::new(&core, region, ours, self.index, Arc::downgrade(&self.space));
        space.set_vdso_moved(self.space.vdso_moved());
        space.patches.copy_from(&self.space.patches);
        let mut thread = Thread::new(space.clone(), self.index, self.frame);
        core.inherit_place((&self.space, self.index), (&space, self.index));
        self.inherit(&mut thread);
        Ok((space, thread))
    }

    /// A new thread in the same address space; same rules.
    pub fn spawn_thread(&mut self) -> io::Result<Thread> {
        let index = self.space.allocate_slot()?;
        let base = u64::from(index) * SLOT_STRIDE;
        let space = self.space.clone();
        let region = &space.region;
        let len = (SLOT_STRIDE - self.frame) as usize;
        region.copy_between(base + self.frame, region, self.base + self.frame, len);
        // What points into the slot moves with it. sigreturn sets the new
        // thread's alternate stack.
        let old = REGION + self.base;
        let new = REGION + base;
        let fp = region.ld64(base + self.frame + F_FPSTATE);
        if fp != 0 {
            region.st64(
                base + self.frame + F_FPSTATE,
                fp.wrapping_sub(old).wrapping_add(new),
            );
        }
        region.st64(base + self.frame + F_SS_SP, new + S_STACK);
        region.st64(base + self.frame + F_SS_SIZE, SLOT_STRIDE - S_STACK);
        region.st64(base + self.frame + F_SS_FLAGS, 0);
        for off in [
            S_ID_VALID,
            S_KICK_WANTED,
            S_KICK_SEEN,
            S_FUTEX_WAIT,
            S_ASK_ALL,
            S_SPIN,
            S_OWN,
            S_ACK,
            S_LOOK,
            S_STATE,
        ] {
            region.st32(base + off, 0);
        }
        region.st64(base + S_AT_EXIT, 0);
        region.st32(base + S_START_FRAME, self.frame as u32);
        region.a32(base + S_TID).store(TID_UNBORN, Ordering::SeqCst);
        region.a32(base + S_SEQ).store(FIRST_SEQ, Ordering::SeqCst);
        if !self.actions().thread(index) {
            region.a32(base + S_TID).store(0, Ordering::SeqCst);
            self.space.free_slot(index);
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let mut thread = Thread::new(self.space.clone(), index, self.frame);
        let core = &self.space.core;
        core.before_fork(&self.space, self.index);
        core.inherit_place((&self.space, self.index), (&self.space, index));
        self.inherit(&mut thread);
        // A new host thread has no alternate stack until sigreturn sets it.
        thread.complete(Full::Live);
        Ok(thread)
    }

    /// Segment bases: the host thread has its parent's as they will be when
    /// it is made; set them explicitly.
    fn inherit(&self, child: &mut Thread) {
        child.space.region.st32(
            child.base + S_MODE,
            if self.fast { MODE_FAST } else { MODE_SIGNAL },
        );
        child.fast = self.fast;
        child.full = self.full;
        child.rip_set = true;
        child.seq = FIRST_SEQ;
        child.bases.set(Some(self.bases()));
        child.flags = RF_SET_FS | RF_SET_GS;
    }
}
