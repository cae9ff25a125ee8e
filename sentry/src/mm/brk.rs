//! brk(2).

use super::layout::MMAP_MIN_ADDR;
use super::plan::{Act, Done, OnFail, Outcome, Step};
use super::span::{PAGE, Span, TASK_SIZE, page_up};
use super::state::{Caller, State};
use super::vma::{Prot, Vma, VmaFlags};

impl State {
    /// brk(2) as the kernel has it: the new break, or the old one if it can't be moved.
    pub fn brk(&mut self, who: &Caller, wanted: u64) -> Outcome {
        let heap = self.heap;
        let refused = Ok(Done::just(heap.brk));
        if wanted < heap.start || !(MMAP_MIN_ADDR..=TASK_SIZE).contains(&wanted) {
            return refused;
        }
        if (wanted - heap.start).saturating_add(heap.data) > who.limits.data {
            return refused;
        }
        let (old, new) = (page_up(heap.brk), page_up(wanted));
        if old == new {
            self.heap.brk = wanted;
            return Ok(Done::just(wanted));
        }
        let mut step = if new < old {
            self.shrink_heap(who, new, old)?
        } else {
            self.grow_heap(who, old, new)?
        };
        let Some(step) = &mut step else {
            return refused;
        };
        step.undo.brk = Some(heap.brk);
        step.on_fail = OnFail::Value(heap.brk);
        self.heap.brk = wanted;
        Ok(Done::one(wanted, step.clone()))
    }

    fn shrink_heap(
        &mut self,
        who: &Caller,
        new: u64,
        old: u64,
    ) -> Result<Option<Step>, super::plan::Stop> {
        let span = Span::new(new, old);
        self.check_pending(who.tid, span)?;
        // The application may have unmapped it itself.
        Ok(self.unmap_step(span).or_else(|| {
            let nothing = Act::Unmap { span };
            Some(Step::plain(nothing))
        }))
    }

    fn grow_heap(
        &mut self,
        who: &Caller,
        old: u64,
        new: u64,
    ) -> Result<Option<Step>, super::plan::Stop> {
        let span = Span::new(old, new);
        let mut vma = Vma::anon(span, Prot::READ | Prot::WRITE);
        vma.flags |= self.lock_future;
        let locked = vma.flags.contains(VmaFlags::LOCKED);
        // A page stays free above the heap.
        if self.map.floor_above(old) < new + PAGE
            || !self.may_expand(&who.limits, &vma, span.len() / PAGE)
            || locked && !self.may_lock(&who.limits, span.len())
            || self.check_count(1).is_err()
        {
            return Ok(None);
        }
        self.check_pending(who.tid, span)?;
        let populate = locked && !vma.flags.contains(VmaFlags::LOCK_ON_FAULT);
        let flags = if populate { libc::MAP_POPULATE } else { 0 };
        let act = Act::MapAnon {
            span,
            prot: vma.prot,
            flags,
        };
        self.insert(vma);
        Ok(Some(Step::with_undo(act, &[span], Vec::new())))
    }
}
