//! Page faults that the host could not resolve: a stack that grows, or an error.

use super::layout::MMAP_MIN_ADDR;
use super::map::GUARD_GAP;
use super::plan::{Act, Done, Outcome, Step, Stop};
use super::span::{PAGE, Span, page_down};
use super::state::{Caller, State};
use super::vma::VmaFlags;
use super::{Mm, Prot};
use crate::task::Cx;
use arch::Errno;

/// How far a stack grows beyond the page touched, where it may.
const AHEAD: u64 = 128 << 10;
/// Bits of the page fault error code: a write; an instruction fetch.
const FAULT_WRITE: u64 = 2;
const FAULT_FETCH: u64 = 16;

impl Mm {
    /// An access to `addr` found nothing mapped there; `code` is the CPU's error code. True if a stack has grown over it:
    /// the access is to be tried again, once the steps that this gave the calling thread are performed.
    pub fn grow_stack(&self, cx: &Cx, addr: u64, code: u64) -> bool {
        // The usual wild pointer costs a look at the map.
        let may = self.with(|s| {
            s.map
                .find(addr)
                .is_some_and(|v| v.flags.contains(VmaFlags::GROWS_DOWN))
        });
        if !may {
            return false;
        }
        match self.try_change(cx, |state, who| state.grow_stack(who, addr, code)) {
            Ok(answer) => answer.is_ok(),
            // Tried again, it meets the other thread's mapping, or no obstacle any more.
            Err(Stop::Busy(_)) => true,
            Err(Stop::Errno(_)) => false,
        }
    }
}

impl State {
    /// Grows the stack above `addr` over it (expand_stack). EFAULT where there is none, or its rights don't do.
    fn grow_stack(&mut self, who: &Caller, addr: u64, code: u64) -> Outcome {
        let fail = |e| Err(Stop::Errno(e));
        let Some(stack) = self
            .map
            .find(addr)
            .filter(|v| v.flags.contains(VmaFlags::GROWS_DOWN))
        else {
            return fail(Errno::EFAULT);
        };
        if stack.span.contains(addr) {
            // Another thread was faster.
            return Ok(Done::just(0));
        }
        let enough = match code {
            c if c & FAULT_WRITE != 0 => stack.prot.contains(Prot::WRITE),
            c if c & FAULT_FETCH != 0 => stack.prot.contains(Prot::EXEC),
            _ => !stack.prot.is_empty(),
        };
        let (top, bottom, prot, flags) =
            (stack.span.end, stack.span.start, stack.prot, stack.flags);
        let below = self.map.below(bottom).map_or(0, |v| {
            let gap = if v.flags.contains(VmaFlags::GROWS_DOWN) || v.prot.is_empty() {
                0
            } else {
                GUARD_GAP
            };
            v.span.end + gap
        });
        let lowest = below
            .max(MMAP_MIN_ADDR)
            .max(top.saturating_sub(page_down(who.limits.stack)));
        let wanted = page_down(addr);
        if !enough || wanted < lowest {
            return fail(Errno::EFAULT);
        }
        let span = Span::new(wanted.saturating_sub(AHEAD).max(lowest), bottom);
        let pages = span.len() / PAGE;
        let fits = self.usage.total.saturating_add(pages) <= who.limits.address_space / PAGE;
        let locked = flags.contains(VmaFlags::LOCKED) && !self.may_lock(&who.limits, span.len());
        if !fits || locked {
            return fail(Errno::ENOMEM);
        }
        self.check_pending(who.tid, span)?;
        self.grow_down(bottom, span.start);
        let act = Act::MapAnon {
            span,
            prot,
            flags: libc::MAP_STACK | libc::MAP_NORESERVE,
        };
        Ok(Done::one(0, Step::with_undo(act, &[span], Vec::new())))
    }
}
