//! fork(2): the copy of the map.

use super::pending::Pending;
use super::plan::Done;
use super::span::Span;
use super::state::{State, Usage};
use super::vma::{Backing, VmaFlags};
use super::{Mm, Stop};
use crate::task::Cx;
use arch::Result;
use std::sync::Arc;
use systrap::AddressSpace;

impl Mm {
    /// To be awaited before the host's fork is put on the calling thread's list: other threads' steps must have been
    /// performed, and none may come in between, or the host's copy would differ from the map's.
    pub async fn prepare_fork(&self, cx: &Cx) -> Result<()> {
        if self.users() == 1 {
            return Ok(());
        }
        let claim = |state: &mut State, who: &super::Caller| {
            state.check_pending(who.tid, Span::ALL)?;
            state.pending.push(Pending::claim(who.tid, Span::ALL));
            Ok::<_, Stop>(Done::just(0))
        };
        self.change(cx, claim).await.map(drop)
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
