//! mlock(2), mlock2(2), munlock(2), mlockall(2), munlockall(2).
//!
//! Locked pages are made resident and counted against RLIMIT_MEMLOCK. The host isn't asked to lock them, so it may still
//! swap them out: its own limit is for the whole sandbox.

use super::plan::{Act, Done, OnFail, Outcome, Step, Steps, Stop};
use super::span::{PAGE, Span, page_down, page_up};
use super::state::{Caller, State};
use super::vma::{Prot, Vma, VmaFlags};
use arch::Errno;

/// Both flags of locked memory.
const LOCK: VmaFlags = VmaFlags::LOCKED.union(VmaFlags::LOCK_ON_FAULT);
/// Steps of one call at most; what lies beyond stays to be faulted in.
const MAX_STEPS: usize = 128;

fn fail(e: Errno) -> Outcome {
    Err(Stop::Errno(e))
}

/// How a mapping's pages become resident: written where that breaks copy-on-write, else read.
fn populate(vma: &Vma, span: Span) -> Act {
    let write = vma.prot.contains(Prot::WRITE) && !vma.is_shared();
    let advice = if write {
        libc::MADV_POPULATE_WRITE
    } else {
        libc::MADV_POPULATE_READ
    };
    Act::Advise {
        span: vma.span.intersect(span),
        advice,
    }
}

impl State {
    fn populate_locked(&self, span: Span, on_fail: OnFail) -> Steps {
        let resident = |v: &&Vma| v.flags & LOCK == VmaFlags::LOCKED && !v.prot.is_empty();
        let parts = self.map.in_span(span).filter(resident).take(MAX_STEPS);
        parts
            .map(|vma| Step {
                on_fail,
                ..Step::hint(populate(vma, span))
            })
            .collect()
    }

    /// mlock(2) and, with `on_fault`, mlock2(2) MLOCK_ONFAULT.
    pub fn mlock(&mut self, who: &Caller, addr: u64, len: u64, on_fault: bool) -> Outcome {
        if !who.limits.ipc_lock && who.limits.memlock == 0 {
            return fail(Errno::EPERM);
        }
        let start = page_down(addr);
        let len = page_up(len.wrapping_add(addr - start));
        let end = start.wrapping_add(len);
        if end < start {
            return fail(Errno::EINVAL);
        }
        let span = Span::new(start, end);
        let locked_there = |v: &&Vma| v.flags.contains(VmaFlags::LOCKED);
        let there: u64 = self
            .map
            .in_span(span)
            .filter(locked_there)
            .map(|v| v.span.intersect(span).len())
            .sum();
        if !self.may_lock(&who.limits, len.saturating_sub(there)) {
            return fail(Errno::ENOMEM);
        }
        if span.is_empty() {
            return Ok(Done::just(0));
        }
        let flags = if on_fault { LOCK } else { VmaFlags::LOCKED };
        let answer = self.set_lock(who, span, flags)?;
        let mut steps = Steps::new();
        if answer.is_ok() {
            // Memory without any access can't be made resident: EFAULT of the fault, ENOMEM to the application.
            if !on_fault && self.map.in_span(span).any(|v| v.prot.is_empty()) {
                return Ok(Done {
                    answer: Err(Errno::ENOMEM),
                    steps,
                });
            }
            steps = self.populate_locked(span, OnFail::Keep(Errno::EAGAIN));
        }
        Ok(Done {
            answer: answer.map(|()| 0),
            steps,
        })
    }

    /// munlock(2).
    pub fn munlock(&mut self, who: &Caller, addr: u64, len: u64) -> Outcome {
        let start = page_down(addr);
        let end = start.wrapping_add(page_up(len.wrapping_add(addr - start)));
        if end < start {
            return fail(Errno::EINVAL);
        }
        let span = Span::new(start, end);
        if span.is_empty() {
            return Ok(Done::just(0));
        }
        let answer = self.set_lock(who, span, VmaFlags::empty())?;
        Ok(Done {
            answer: answer.map(|()| 0),
            steps: Steps::new(),
        })
    }

    /// Up to the first hole, which is ENOMEM.
    fn set_lock(
        &mut self,
        who: &Caller,
        span: Span,
        flags: VmaFlags,
    ) -> Result<arch::Result<()>, Stop> {
        self.check_pending(who.tid, span)?;
        let covered = Span::new(span.start, self.map.covered_until(span));
        self.check_count(self.cuts(covered))?;
        self.update(covered, |vma| vma.flags = (vma.flags - LOCK) | flags);
        Ok(if covered == span {
            Ok(())
        } else {
            Err(Errno::ENOMEM)
        })
    }

    /// mlockall(2).
    pub fn mlockall(&mut self, who: &Caller, flags: i32) -> Outcome {
        let known = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
        if flags == 0 || flags & !known != 0 || flags == libc::MCL_ONFAULT {
            return fail(Errno::EINVAL);
        }
        if !who.limits.ipc_lock && who.limits.memlock == 0 {
            return fail(Errno::EPERM);
        }
        let current = flags & libc::MCL_CURRENT != 0;
        if current && !who.limits.ipc_lock && self.usage.total > who.limits.memlock / PAGE {
            return fail(Errno::ENOMEM);
        }
        self.check_pending(who.tid, Span::ALL)?;
        let lock = if flags & libc::MCL_ONFAULT != 0 {
            LOCK
        } else {
            VmaFlags::LOCKED
        };
        self.lock_future = if flags & libc::MCL_FUTURE != 0 {
            lock
        } else {
            VmaFlags::empty()
        };
        if !current {
            return Ok(Done::just(0));
        }
        self.update(Span::ALL, |vma| vma.flags = (vma.flags - LOCK) | lock);
        Ok(Done {
            answer: Ok(0),
            steps: self.populate_locked(Span::ALL, OnFail::Ignore),
        })
    }

    /// munlockall(2).
    pub fn munlockall(&mut self, who: &Caller) -> Outcome {
        self.check_pending(who.tid, Span::ALL)?;
        self.lock_future = VmaFlags::empty();
        self.update(Span::ALL, |vma| vma.flags -= LOCK);
        Ok(Done::just(0))
    }
}
