//! mremap(2).

use super::layout::Wish;
use super::plan::{Act, Done, Outcome, Step, Steps, Stop};
use super::span::{PAGE, Span, TASK_SIZE, page_aligned, page_up};
use super::state::{Caller, MAX_MAP_COUNT, State};
use super::vma::{Backing, Vma, VmaFlags};
use arch::Errno;
use smallvec::smallvec;

/// A call of mremap(2) with its lengths rounded up to pages.
#[derive(Clone, Copy)]
struct Call {
    old: u64,
    old_len: u64,
    new_len: u64,
    flags: i32,
}

fn fail<T>(e: Errno) -> Result<T, Stop> {
    Err(Stop::Errno(e))
}

impl State {
    /// mremap(2). `new_addr` matters with MREMAP_FIXED only (and is a hint with MREMAP_DONTUNMAP).
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
        let (fixed, dont_unmap) = (has(libc::MREMAP_FIXED), has(libc::MREMAP_DONTUNMAP));
        if flags & !known != 0
            || fixed && !has(libc::MREMAP_MAYMOVE)
            || dont_unmap && (!has(libc::MREMAP_MAYMOVE) || page_up(old_len) != page_up(new_len))
            || !page_aligned(old)
            || page_up(new_len) == 0
        {
            return fail(Errno::EINVAL);
        }
        let flags = i32::try_from(flags).unwrap_or(0);
        let call = Call {
            old,
            old_len: page_up(old_len),
            new_len: page_up(new_len),
            flags,
        };
        if self.map.at(old).is_none() {
            return fail(Errno::EFAULT);
        }
        if fixed || dont_unmap {
            return self.remap_to(who, call, new_addr);
        }
        if call.old_len == call.new_len {
            return Ok(Done::just(old));
        }
        if call.old_len > call.new_len {
            let done = self.munmap(
                who,
                old.wrapping_add(call.new_len),
                call.old_len - call.new_len,
            )?;
            return Ok(Done {
                answer: Ok(old),
                ..done
            });
        }
        self.grow(who, call)
    }

    /// The checks of vma_to_resize: what may be resized, and what that may cost.
    fn resizable(&self, who: &Caller, call: &Call) -> Result<Vma, Stop> {
        let Some(vma) = self.map.at(call.old) else {
            return fail(Errno::EFAULT);
        };
        if call.old_len == 0 && !vma.is_shared() {
            return fail(Errno::EINVAL);
        }
        if call.old_len > vma.span.end - call.old {
            return fail(Errno::EFAULT);
        }
        if call.new_len != call.old_len {
            let more = call.new_len.saturating_sub(call.old_len);
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
    fn grow(&mut self, who: &Caller, call: Call) -> Outcome {
        let vma = self.resizable(who, &call)?;
        let from = Span::at(call.old, call.old_len);
        if call
            .old
            .checked_add(call.new_len)
            .is_some_and(|end| end <= TASK_SIZE)
            && from.end == vma.span.end
        {
            let more = Span::new(from.end, call.old + call.new_len);
            if self.map.is_free(more)
                && self.map.floor_above(more.start) >= more.end
                && !from.is_empty()
            {
                self.check_pending(who.tid, Span::new(from.start, more.end))?;
                let mut added = vma.clone();
                if !matches!(vma.backing, Backing::Anon) {
                    added = extend(&vma, more);
                }
                added.span = more;
                self.insert(added);
                let act = Act::Remap {
                    from,
                    new_len: call.new_len,
                    flags: 0,
                    to: 0,
                };
                let mut steps: Steps = smallvec![Step::with_undo(act, &[more], Vec::new())];
                if vma.flags.contains(VmaFlags::LOCKED) {
                    steps.push(Step::hint(populate(more)));
                }
                return Ok(Done {
                    answer: Ok(call.old),
                    steps,
                });
            }
        }
        if call.flags & libc::MREMAP_MAYMOVE == 0 {
            return fail(Errno::ENOMEM);
        }
        let anon = !matches!(vma.backing, Backing::File { .. });
        let to = self.choose(
            who.tid,
            &Wish {
                len: call.new_len,
                anon,
                ..Wish::default()
            },
        )?;
        self.check_count(3)?;
        self.move_to(who, call, to, Steps::new())
    }

    /// MREMAP_FIXED, MREMAP_DONTUNMAP (mremap_to).
    fn remap_to(&mut self, who: &Caller, mut call: Call, new_addr: u64) -> Outcome {
        let fixed = call.flags & libc::MREMAP_FIXED != 0;
        if !page_aligned(new_addr)
            || call.new_len > TASK_SIZE
            || new_addr > TASK_SIZE - call.new_len
        {
            return fail(Errno::EINVAL);
        }
        let to = Span::at(new_addr, call.new_len);
        let from_end = call.old.saturating_add(call.old_len);
        if from_end > to.start && to.end > call.old {
            return fail(Errno::EINVAL);
        }
        if self.map.len() + 2 >= MAX_MAP_COUNT - 3 {
            return fail(Errno::ENOMEM);
        }
        self.check_pending(who.tid, Span::new(call.old, from_end))?;
        let mut steps = Steps::new();
        if fixed {
            if new_addr < super::layout::MMAP_MIN_ADDR {
                return fail(Errno::EPERM);
            }
            self.check_pending(who.tid, to)?;
            // Linux unmaps the target, and the end of a mapping that shrinks, before it looks at the rest: the target
            // is lost even if the call fails.
            steps.extend(self.unmap_step(to));
        }
        if call.old_len > call.new_len {
            steps.extend(self.unmap_step(Span::new(call.old + call.new_len, from_end)));
            call.old_len = call.new_len;
        }
        let vma = match self.resizable(who, &call) {
            Ok(vma) => vma,
            Err(Stop::Errno(e)) => {
                return Ok(Done {
                    answer: Err(e),
                    steps,
                });
            }
            Err(busy) => return Err(busy),
        };
        let dont_unmap = call.flags & libc::MREMAP_DONTUNMAP != 0;
        if dont_unmap && !self.may_expand(&who.limits, &vma, call.old_len / PAGE) {
            return Ok(Done {
                answer: Err(Errno::ENOMEM),
                steps,
            });
        }
        let at = if fixed {
            new_addr
        } else {
            let anon = !matches!(vma.backing, Backing::File { .. });
            self.choose(
                who.tid,
                &Wish {
                    addr: new_addr,
                    len: call.new_len,
                    anon,
                    ..Wish::default()
                },
            )?
        };
        self.move_to(who, call, at, steps)
    }

    /// Moves `[old, old + old_len)` to `to`, where nothing is mapped, and gives it its new length.
    fn move_to(&mut self, who: &Caller, call: Call, to: u64, mut steps: Steps) -> Outcome {
        let from = Span::at(call.old, call.old_len);
        let target = Span::at(to, call.new_len);
        self.check_pending(who.tid, from)?;
        let Some(mut moved) = self.map.at(call.old).cloned() else {
            return fail(Errno::EFAULT);
        };
        if moved.span.start < call.old {
            moved = moved.split_off(call.old);
        }
        moved.span = target;
        let old = self.copy(from);
        let dont_unmap = call.flags & libc::MREMAP_DONTUNMAP != 0;
        if dont_unmap {
            self.update(from, |vma| {
                vma.flags.remove(VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT)
            });
        } else if !from.is_empty() {
            drop(self.take(from));
        }
        let locked = moved.flags.contains(VmaFlags::LOCKED) && call.new_len > call.old_len;
        self.insert(moved);
        let keep = call.flags & libc::MREMAP_DONTUNMAP;
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
        Ok(Done {
            answer: Ok(to),
            steps,
        })
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
