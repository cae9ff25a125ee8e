//! mremap(2), in the order of checks of Linux 6.17 and later.

use super::layout::{MMAP_MIN_ADDR, Wish};
use super::plan::{Act, Done, Outcome, Step, Steps, Stop};
use super::span::{PAGE, Span, TASK_SIZE, page_aligned, page_up};
use super::state::{Caller, MAX_MAP_COUNT, State};
use super::vma::{Backing, Vma, VmaFlags};
use arch::Errno;

/// Mappings that one call moves at most; Linux has no such bound.
const MAX_MOVES: usize = 256;

/// A call of mremap(2) with its lengths rounded up to pages.
#[derive(Clone, Copy)]
struct Call {
    old: u64,
    old_len: u64,
    new_len: u64,
    fixed: bool,
    dont_unmap: bool,
    may_move: bool,
}

fn fail<T>(e: Errno) -> Result<T, Stop> {
    Err(Stop::Errno(e))
}

impl State {
    /// mremap(2). `new_addr` matters with MREMAP_FIXED and MREMAP_DONTUNMAP only.
    pub fn mremap(
        &mut self,
        who: &Caller,
        old: u64,
        old_len: u64,
        new_len: u64,
        flags: u64,
        new_addr: u64,
    ) -> Outcome {
        let known = (libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP) as u64;
        let has = |flag: i32| flags & flag as u64 != 0;
        let call = Call {
            old,
            old_len: page_up(old_len),
            new_len: page_up(new_len),
            fixed: has(libc::MREMAP_FIXED),
            dont_unmap: has(libc::MREMAP_DONTUNMAP),
            may_move: has(libc::MREMAP_MAYMOVE),
        };
        if flags & !known != 0
            || !page_aligned(old)
            || call.new_len == 0
            || call.new_len > TASK_SIZE
        {
            return fail(Errno::EINVAL);
        }
        if call.fixed || call.dont_unmap {
            self.check_target(&call, new_addr)?;
        }
        if call.fixed && call.old_len == call.new_len {
            return self.move_all(who, call, new_addr);
        }
        let vma = self.resizable(who, &call)?;
        if call.fixed || call.dont_unmap {
            return self.remap_to(who, call, &vma, new_addr);
        }
        if call.old_len == call.new_len {
            return Ok(Done::just(old));
        }
        if call.old_len > call.new_len {
            let done = self.munmap(who, old + call.new_len, call.old_len - call.new_len)?;
            return Ok(Done {
                answer: Ok(old),
                ..done
            });
        }
        self.grow(who, call, &vma)
    }

    /// What is wrong with a call that names its target, whatever is mapped.
    fn check_target(&self, call: &Call, new_addr: u64) -> Result<(), Stop> {
        let overlaps = || {
            let old_end = call.old.saturating_add(call.old_len);
            old_end > new_addr && new_addr + call.new_len > call.old
        };
        if !page_aligned(new_addr)
            || new_addr > TASK_SIZE - call.new_len
            || call.dont_unmap && call.old_len != call.new_len
            || !call.may_move
            || overlaps()
        {
            return fail(Errno::EINVAL);
        }
        if self.map.len() + 2 >= MAX_MAP_COUNT - 3 {
            return fail(Errno::ENOMEM);
        }
        if call.fixed && new_addr < MMAP_MIN_ADDR {
            return fail(Errno::EPERM);
        }
        Ok(())
    }

    /// The mapping, if it may be resized or moved so, and what that costs is allowed (check_prep_vma).
    fn resizable(&self, who: &Caller, call: &Call) -> Result<Vma, Stop> {
        let Some(vma) = self.map.at(call.old) else {
            return fail(Errno::EFAULT);
        };
        let maps_new = call.fixed || call.dont_unmap || call.new_len > call.old_len;
        if !maps_new {
            return Ok(vma.clone());
        }
        if call.old_len == 0 && !vma.is_shared() {
            return fail(Errno::EINVAL);
        }
        // What a shrink unmaps may lie beyond the mapping.
        if call.old_len.min(call.new_len) > vma.span.end - call.old {
            return fail(Errno::EFAULT);
        }
        if call.new_len > call.old_len {
            let more = call.new_len - call.old_len;
            if !matches!(vma.backing, Backing::Anon) {
                let at = vma.backing.offset() + (call.old - vma.span.start);
                if at.checked_add(call.new_len).is_none() {
                    return fail(Errno::EINVAL);
                }
            }
            if vma.flags.contains(VmaFlags::LOCKED) && !self.may_lock(&who.limits, more) {
                return fail(Errno::EAGAIN);
            }
            if !self.may_expand(&who.limits, vma, more / PAGE) {
                return fail(Errno::ENOMEM);
            }
        }
        Ok(vma.clone())
    }

    /// In place if there is room behind it, else by moving.
    fn grow(&mut self, who: &Caller, call: Call, vma: &Vma) -> Outcome {
        let from = Span::at(call.old, call.old_len);
        let end = call
            .old
            .checked_add(call.new_len)
            .filter(|end| *end <= TASK_SIZE);
        if let Some(end) = end.filter(|_| from.end == vma.span.end && !from.is_empty()) {
            let more = Span::new(from.end, end);
            if self.map.floor_above(more.start) >= more.end {
                self.check_pending(who.tid, Span::new(from.start, more.end))?;
                let mut steps = self.restore_text(who.tid, from)?;
                let vma = self.map.at(call.old).unwrap_or(vma).clone();
                self.insert(extend(&vma, more));
                let act = Act::Remap {
                    from,
                    new_len: call.new_len,
                    flags: 0,
                    to: 0,
                };
                steps.push(Step::with_undo(act, &[more], Vec::new()));
                if vma.flags.contains(VmaFlags::LOCKED) {
                    steps.push(Step::hint(populate(more)));
                }
                return Ok(Done {
                    answer: Ok(call.old),
                    steps,
                });
            }
        }
        if !call.may_move {
            return fail(Errno::ENOMEM);
        }
        self.check_count(3)?;
        self.check_pending(who.tid, from)?;
        let anon = !matches!(vma.backing, Backing::File { .. });
        let to = self.choose(
            who.tid,
            &Wish {
                len: call.new_len,
                anon,
                ..Wish::default()
            },
        )?;
        let mut steps = self.restore_text(who.tid, from)?;
        self.move_to(call, to, &mut steps);
        Ok(Done {
            answer: Ok(to),
            steps,
        })
    }

    /// MREMAP_FIXED with another length, MREMAP_DONTUNMAP (mremap_to).
    fn remap_to(&mut self, who: &Caller, mut call: Call, vma: &Vma, new_addr: u64) -> Outcome {
        if call.dont_unmap && !self.may_expand(&who.limits, vma, call.old_len / PAGE) {
            return fail(Errno::ENOMEM);
        }
        let from_end = call.old.saturating_add(call.old_len);
        self.check_pending(who.tid, Span::new(call.old, from_end))?;
        // A text's jumps lead to where they are right only in its place.
        let mut steps = self.restore_text(who.tid, Span::at(call.old, call.old_len))?;
        let to = if call.fixed {
            let target = Span::at(new_addr, call.new_len);
            self.check_pending(who.tid, target)?;
            steps.extend(self.unmap_step(target));
            new_addr
        } else {
            let anon = !matches!(vma.backing, Backing::File { .. });
            let wish = Wish {
                addr: new_addr,
                len: call.new_len,
                anon,
                ..Wish::default()
            };
            self.choose(who.tid, &wish)?
        };
        if call.old_len > call.new_len {
            steps.extend(self.unmap_step(Span::new(call.old + call.new_len, from_end)));
            call.old_len = call.new_len;
        }
        self.move_to(call, to, &mut steps);
        Ok(Done {
            answer: Ok(to),
            steps,
        })
    }

    /// MREMAP_FIXED without another length: every mapping of the range, with the gaps between them (remap_move).
    fn move_all(&mut self, who: &Caller, call: Call, new_addr: u64) -> Outcome {
        let from = Span::new(call.old, call.old.saturating_add(call.old_len));
        let to = Span::at(new_addr, call.new_len);
        self.check_pending(who.tid, from)?;
        self.check_pending(who.tid, to)?;
        if self.map.at(call.old).is_none() {
            return fail(Errno::EFAULT);
        }
        let parts: Vec<Span> = self
            .map
            .in_span(from)
            .map(|v| v.span.intersect(from))
            .collect();
        if parts.len() > MAX_MOVES {
            return fail(Errno::ENOMEM);
        }
        let mut steps = self.restore_text(who.tid, from)?;
        for part in parts {
            let target = new_addr + (part.start - from.start);
            let one = Call {
                old: part.start,
                old_len: part.len(),
                new_len: part.len(),
                ..call
            };
            let vma = match self.resizable(who, &one) {
                Ok(vma) => vma,
                Err(Stop::Errno(e)) => {
                    return Ok(Done {
                        answer: Err(e),
                        steps,
                    });
                }
                Err(busy) => return Err(busy),
            };
            if call.dont_unmap && !self.may_expand(&who.limits, &vma, one.old_len / PAGE) {
                return Ok(Done {
                    answer: Err(Errno::ENOMEM),
                    steps,
                });
            }
            steps.extend(self.unmap_step(Span::at(target, part.len())));
            self.move_to(one, target, &mut steps);
        }
        Ok(Done {
            answer: Ok(new_addr),
            steps,
        })
    }

    /// Moves `[old, old + old_len)` to `to`, where nothing is mapped, and gives it its new length.
    fn move_to(&mut self, call: Call, to: u64, steps: &mut Steps) {
        let from = Span::at(call.old, call.old_len);
        let target = Span::at(to, call.new_len);
        let Some(mut moved) = self.map.at(call.old).cloned() else {
            return;
        };
        if moved.span.start < call.old {
            moved = moved.split_off(call.old);
        }
        moved.span = target;
        moved.text = None;
        let old = self.copy(from);
        if call.dont_unmap {
            self.update(from, |vma| {
                vma.flags.remove(VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT)
            });
        } else if !from.is_empty() {
            drop(self.take(from));
        }
        let locked = moved.flags.contains(VmaFlags::LOCKED) && call.new_len > call.old_len;
        self.insert(moved);
        let keep = if call.dont_unmap {
            libc::MREMAP_DONTUNMAP
        } else {
            0
        };
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | keep;
        let act = Act::Remap {
            from,
            new_len: call.new_len,
            flags,
            to,
        };
        let spans: &[Span] = if from.is_empty() {
            &[target]
        } else {
            &[from, target]
        };
        steps.push(Step::with_undo(act, spans, old));
        if locked {
            let more = Span::new(to + call.old_len, target.end);
            steps.push(Step::hint(populate(more)));
        }
    }
}

/// Makes pages resident.
fn populate(span: Span) -> Act {
    Act::Advise {
        span,
        advice: libc::MADV_POPULATE_READ,
    }
}

/// A mapping of what follows the end of `vma`.
fn extend(vma: &Vma, more: Span) -> Vma {
    let mut longer = vma.clone();
    longer.span.end = more.end;
    longer.split_off(more.start)
}
