//! madvise(2), msync(2).

use super::plan::{Act, Done, Outcome, Step, Steps, Stop};
use super::span::{Span, TASK_SIZE, page_aligned, page_up};
use super::state::{Caller, State};
use super::vma::{Backing, Vma, VmaFlags};
use arch::Errno;

/// Runs of mappings without a hole between them that one call may have.
const MAX_RUNS: usize = 64;

/// How an advice changes the flags of a mapping: bits to set and to clear, or why it is refused.
type Change = arch::Result<(VmaFlags, VmaFlags)>;

fn flag_change(advice: i32, vma: &Vma) -> Option<Change> {
    use VmaFlags as F;
    let none = F::empty();
    let private_anon = matches!(vma.backing, Backing::Anon);
    Some(match advice {
        libc::MADV_NORMAL => Ok((none, F::SEQUENTIAL | F::RANDOM)),
        libc::MADV_SEQUENTIAL => Ok((F::SEQUENTIAL, F::RANDOM)),
        libc::MADV_RANDOM => Ok((F::RANDOM, F::SEQUENTIAL)),
        libc::MADV_DONTFORK => Ok((F::DONT_FORK, none)),
        libc::MADV_DOFORK => Ok((none, F::DONT_FORK)),
        libc::MADV_WIPEONFORK if !private_anon => Err(Errno::EINVAL),
        libc::MADV_WIPEONFORK => Ok((F::WIPE_ON_FORK, none)),
        libc::MADV_KEEPONFORK => Ok((none, F::WIPE_ON_FORK)),
        libc::MADV_DONTDUMP => Ok((F::DONT_DUMP, none)),
        libc::MADV_DODUMP => Ok((none, F::DONT_DUMP)),
        libc::MADV_HUGEPAGE => Ok((F::HUGE_PAGE, F::NO_HUGE_PAGE)),
        libc::MADV_NOHUGEPAGE => Ok((F::NO_HUGE_PAGE, F::HUGE_PAGE)),
        _ => return None,
    })
}

/// Advices that act on the pages; the host judges them, but for locked memory, which the host doesn't know of.
fn acts_on_pages(advice: i32) -> bool {
    matches!(
        advice,
        libc::MADV_WILLNEED
            | libc::MADV_DONTNEED
            | libc::MADV_DONTNEED_LOCKED
            | libc::MADV_FREE
            | libc::MADV_COLD
            | libc::MADV_PAGEOUT
            | libc::MADV_POPULATE_READ
            | libc::MADV_POPULATE_WRITE
            | libc::MADV_COLLAPSE
    )
}

fn needs_unlocked(advice: i32) -> bool {
    matches!(
        advice,
        libc::MADV_DONTNEED | libc::MADV_FREE | libc::MADV_COLD | libc::MADV_PAGEOUT
    )
}

/// A part of the object behind a mapping that is to go.
pub struct Hole {
    backing: Backing,
    offset: u64,
    len: u64,
}

impl Hole {
    /// fallocate(2) FALLOC_FL_PUNCH_HOLE.
    pub fn punch(&self) -> arch::Result<()> {
        match &self.backing {
            Backing::Anon => Err(Errno::EINVAL),
            Backing::SharedAnon { object, .. } => {
                crate::host::mm::punch(&object.fd, self.offset, self.len)
            }
            Backing::Shm { attach, .. } => attach.segment.punch(self.offset, self.len),
            Backing::File { file, .. } => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                file.ops.fallocate(file, mode, self.offset, self.len)
            }
        }
    }
}

impl State {
    /// madvise(2). Mappings on both sides of a hole are advised; the hole makes it ENOMEM.
    pub fn madvise(
        &mut self,
        who: &Caller,
        addr: u64,
        len: u64,
        advice: i32,
        admin: bool,
    ) -> Outcome {
        let einval = Err(Stop::Errno(Errno::EINVAL));
        let known = acts_on_pages(advice)
            || flag_change(advice, &Vma::anon(Span::new(0, 1), Default::default())).is_some();
        if matches!(advice, libc::MADV_HWPOISON | libc::MADV_SOFT_OFFLINE) {
            // No memory of the host's is poisoned from in here: as a kernel without CONFIG_MEMORY_FAILURE.
            return if admin {
                einval
            } else {
                Err(Stop::Errno(Errno::EPERM))
            };
        }
        // MADV_MERGEABLE too: as a kernel without CONFIG_KSM, since merged pages tell one sandbox about another.
        if !known || !page_aligned(addr) {
            return einval;
        }
        let len_up = page_up(len);
        if len != 0 && len_up == 0 {
            return einval;
        }
        let end = addr.wrapping_add(len_up);
        if end < addr {
            return einval;
        }
        if end == addr {
            return Ok(Done::just(0));
        }
        let span = Span::new(addr, end);
        if self
            .map
            .in_span(span)
            .any(|vma| flag_change(advice, vma).is_some())
        {
            self.advise_flags(who, span, advice)
        } else {
            self.advise_pages(span, advice)
        }
    }

    /// The runs of `span` between holes; true if there is a hole.
    fn runs(&self, span: Span) -> (Vec<Span>, bool) {
        let mut runs: Vec<Span> = Vec::new();
        for vma in self.map.in_span(span) {
            let part = vma.span.intersect(span);
            match runs.last_mut() {
                Some(last) if last.end == part.start => last.end = part.end,
                _ => runs.push(part),
            }
        }
        let hole = runs.as_slice() != [span];
        if runs.len() > MAX_RUNS {
            // Rare enough to leave the holes to the host, which steps over them and says ENOMEM as well.
            runs = vec![span.intersect(Span::new(0, TASK_SIZE))];
        }
        (runs, hole)
    }

    fn advise_flags(&mut self, who: &Caller, span: Span, advice: i32) -> Outcome {
        self.check_pending(who.tid, span)?;
        self.check_count(self.cuts(span))?;
        // Everything before the first mapping that refuses is changed.
        let mut good = span;
        let mut refused = None;
        for vma in self.map.in_span(span) {
            if let Some(Err(e)) = flag_change(advice, vma) {
                good.end = vma.span.start.max(span.start);
                refused = Some(e);
                break;
            }
        }
        let (runs, hole) = self.runs(good);
        let mut steps = Steps::new();
        for run in runs {
            let changed = |v: &Vma| {
                matches!(flag_change(advice, v), Some(Ok((set, clear)))
                if (v.flags - clear) | set != v.flags)
            };
            if !self.map.in_span(run).any(changed) {
                continue;
            }
            let old = self.copy(run);
            self.update(run, |vma| {
                if let Some(Ok((set, clear))) = flag_change(advice, vma) {
                    vma.flags = (vma.flags - clear) | set;
                }
            });
            if matches!(advice, libc::MADV_DONTDUMP | libc::MADV_DODUMP) {
                // Nothing of the host's dumps a stub.
                continue;
            }
            steps.push(Step::with_undo(
                Act::Advise { span: run, advice },
                &[run],
                old,
            ));
        }
        let answer = match refused {
            Some(e) => Err(e),
            None if hole => Err(Errno::ENOMEM),
            None => Ok(0),
        };
        Ok(Done { answer, steps })
    }

    fn advise_pages(&mut self, span: Span, advice: i32) -> Outcome {
        if needs_unlocked(advice)
            && self
                .map
                .in_span(span)
                .any(|v| v.flags.contains(VmaFlags::LOCKED))
        {
            return Err(Stop::Errno(Errno::EINVAL));
        }
        // To the host nothing is locked.
        let advice = if advice == libc::MADV_DONTNEED_LOCKED {
            libc::MADV_DONTNEED
        } else {
            advice
        };
        let (runs, hole) = self.runs(span);
        let steps = runs
            .into_iter()
            .map(|span| Step::plain(Act::Advise { span, advice }))
            .collect();
        Ok(Done {
            answer: if hole { Err(Errno::ENOMEM) } else { Ok(0) },
            steps,
        })
    }

    /// The holes that MADV_REMOVE makes in `span`, and what it answers once they are made.
    pub fn removable(&self, span: Span) -> (Vec<Hole>, Option<Errno>) {
        let mut holes = Vec::new();
        let mut at = span.start;
        let mut unmapped = false;
        for vma in self.map.in_span(span) {
            unmapped |= vma.span.start > at;
            at = vma.span.end;
            if vma.flags.contains(VmaFlags::LOCKED) || matches!(vma.backing, Backing::Anon) {
                return (holes, Some(Errno::EINVAL));
            }
            if !vma.is_shared() || !vma.flags.contains(VmaFlags::MAY_WRITE) {
                return (holes, Some(Errno::EACCES));
            }
            let part = vma.span.intersect(span);
            let offset = vma.backing.offset() + (part.start - vma.span.start);
            holes.push(Hole {
                backing: vma.backing.clone(),
                offset,
                len: part.len(),
            });
        }
        unmapped |= at < span.end;
        (holes, unmapped.then_some(Errno::ENOMEM))
    }

    /// msync(2). Pages of a shared file mapping are the file's own: MS_ASYNC has nothing to do, MS_SYNC is the host's.
    pub fn msync(&mut self, addr: u64, len: u64, flags: i32) -> Outcome {
        let einval = Err(Stop::Errno(Errno::EINVAL));
        let known = libc::MS_ASYNC | libc::MS_INVALIDATE | libc::MS_SYNC;
        if flags & !known != 0
            || !page_aligned(addr)
            || flags & libc::MS_ASYNC != 0 && flags & libc::MS_SYNC != 0
        {
            return einval;
        }
        let end = addr.wrapping_add(page_up(len));
        if end < addr {
            return Err(Stop::Errno(Errno::ENOMEM));
        }
        if end == addr {
            return Ok(Done::just(0));
        }
        let span = Span::new(addr, end);
        let mut steps = Steps::new();
        let (runs, hole) = self.runs(span);
        for run in runs {
            if flags & libc::MS_INVALIDATE != 0
                && self
                    .map
                    .in_span(run)
                    .any(|v| v.flags.contains(VmaFlags::LOCKED))
            {
                return Ok(Done {
                    answer: Err(Errno::EBUSY),
                    steps,
                });
            }
            let of_file = |v: &Vma| v.is_shared() && matches!(v.backing, Backing::File { .. });
            if flags & libc::MS_SYNC != 0 && self.map.in_span(run).any(of_file) {
                steps.push(Step::plain(Act::Sync {
                    span: run,
                    flags: libc::MS_SYNC,
                }));
            }
        }
        Ok(Done {
            answer: if hole { Err(Errno::ENOMEM) } else { Ok(0) },
            steps,
        })
    }
}
