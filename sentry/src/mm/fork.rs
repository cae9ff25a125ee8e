//! fork(2): the copy of the map.

use super::state::{State, Usage};
use super::vma::{Backing, VmaFlags};
use super::{Mm, Stop};
use crate::task::Cx;
use arch::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use systrap::AddressSpace;

impl Mm {
    /// To be awaited before the host's fork is put on the calling thread's list: other threads' steps must have been
    /// performed, and none may come in between, or the host's copy would differ from the map's.
    pub async fn prepare_fork(&self, cx: &Cx) -> Result<()> {
        if self.users() == 1 {
            return Ok(());
        }
        loop {
            let others = {
                let mut state = self.state.write();
                let others = state.claim_all(cx.task.tid());
                self.pending.store(state.pending.len(), Ordering::Release);
                others
            };
            let result = match others {
                Ok(others) if others.is_empty() => return Ok(()),
                Ok(others) => self.wait_for(cx, &others).await,
                Err(Stop::Busy(other)) => self.wait_for(cx, &[other]).await,
                Err(Stop::Errno(e)) => Err(e),
            };
            if result.is_err() {
                self.actions_performed(cx.task.tid());
                return result;
            }
        }
    }

    /// The copy for a child in `space`, after [`Mm::prepare_fork`]. What is marked MADV_DONTFORK is not in it; the
    /// host's fork has left it out as well, and has wiped what is marked MADV_WIPEONFORK.
    pub fn fork(&self, space: Arc<AddressSpace>) -> Self {
        let child = self.with(State::fork);
        Self::with_state(space, child)
    }
}

impl State {
    fn fork(&self) -> Self {
        let mut child = Self {
            layout: self.layout,
            heap: self.heap,
            info: Arc::clone(&self.info),
            vdso: self.vdso,
            texts: self.texts.clone(),
            ..Self::default()
        };
        for vma in self
            .map
            .iter()
            .filter(|v| !v.flags.contains(VmaFlags::DONT_FORK))
        {
            let mut vma = vma.clone();
            // Locks are not inherited.
            vma.flags -= VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT;
            if let Backing::Shm { attach, .. } = &mut vma.backing {
                *attach = attach.fork();
            }
            child.insert(vma);
        }
        child.usage = Usage {
            peak: child.usage.total,
            ..child.usage
        };
        child
    }
}
