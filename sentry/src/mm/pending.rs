//! Actions that a thread's stub has yet to perform, and what happens when the host refuses one.
//!
//! The map changes when a call is handled, the host's memory when the calling thread resumes. In between another thread
//! must not be given, or change, the same range: its own action could come first, and the late one destroy what it
//! made. So ranges stay noted until the thread's next event, which shows that its actions are done. The choice of an
//! address avoids them; a call that names one of them waits.

use super::plan::{Act, OnFail, Step, Steps, Stop};
use super::span::Span;
use super::state::State;
use crate::task::Pid;
use arch::{Errno, Result};

/// What one call left to its thread's stub.
#[derive(Clone)]
pub struct Pending {
    /// The thread.
    pub tid: Pid,
    /// The place of the first step in the thread's action list.
    pub base: usize,
    /// The host calls, in order, with how to take them back.
    pub steps: Steps,
    /// A range that nobody else may touch besides those of the steps (fork(2): everything).
    pub claim: Option<Span>,
    /// Tells it from earlier and later ones.
    pub serial: u64,
}

impl Pending {
    /// The steps of a call.
    pub fn new(tid: Pid, base: usize, steps: Steps) -> Self {
        Self {
            tid,
            base,
            steps,
            claim: None,
            serial: 0,
        }
    }

    /// Keeps a range for `tid` until its next event.
    pub fn claim(tid: Pid, span: Span) -> Self {
        Self {
            tid,
            base: 0,
            steps: Steps::new(),
            claim: Some(span),
            serial: 0,
        }
    }

    /// The first of its ranges that shares an address with `span`.
    pub fn overlap(&self, span: Span) -> Option<Span> {
        let changed = self.steps.iter().flat_map(|s| s.undo.spans.iter());
        changed
            .chain(self.claim.iter())
            .copied()
            .find(|s| s.overlaps(span))
    }

    /// Whether a range of it shares an address with `span`.
    pub fn touches(&self, span: Span) -> bool {
        self.overlap(span).is_some()
    }
}

/// What a refused action comes to.
pub struct Failure {
    /// What the application gets; `None`: what the call has returned already.
    pub answer: Option<Result<u64>>,
    /// What the host must do now: what was left, or what makes its memory agree with the map again.
    pub steps: Steps,
    /// The map can't be made to agree: the process has to go.
    pub fatal: bool,
}

/// Names a pending entry: its thread and its serial number.
pub type PendingId = (Pid, u64);

impl State {
    /// Keeps an entry until its thread's next event.
    pub fn note(&mut self, mut pending: Pending) {
        self.serial += 1;
        pending.serial = self.serial;
        self.pending.push(pending);
    }

    /// Keeps everybody but `tid` away from everything, from now on until `tid`'s next event. Returns what others have
    /// yet to perform, which doesn't grow any more; `Busy` if somebody else has such a claim.
    pub fn claim_all(&mut self, tid: Pid) -> std::result::Result<Vec<PendingId>, Stop> {
        let others = || self.pending.iter().filter(|p| p.tid != tid);
        if let Some(other) = others().find(|p| p.claim == Some(Span::ALL)) {
            return Err(Stop::Busy((other.tid, other.serial)));
        }
        let wait_for = others().map(|p| (p.tid, p.serial)).collect();
        if !self
            .pending
            .iter()
            .any(|p| p.tid == tid && p.claim == Some(Span::ALL))
        {
            self.note(Pending::claim(tid, Span::ALL));
        }
        Ok(wait_for)
    }

    /// Takes out what thread `tid` has performed by now. To be dropped without the lock.
    pub fn performed(&mut self, tid: Pid) -> Vec<Pending> {
        self.pending.extract_if(.., |p| p.tid == tid).collect()
    }

    /// What the actions of thread `tid`'s last list from `index` on were to replace.
    pub fn unperformed(&self, tid: Pid, index: usize) -> Vec<Span> {
        let own = self.pending.iter().filter(|p| p.tid == tid);
        let left = own.flat_map(|p| p.steps.iter().skip(index.saturating_sub(p.base)));
        left.flat_map(|step| step.act.replaces()).collect()
    }

    /// Action `index` of thread `tid`'s last list failed: those before it are done, those after it are not.
    /// `None` if the action was not one of the map's.
    pub fn failed(&mut self, tid: Pid, index: usize, errno: Errno) -> Option<Failure> {
        let own = self.performed(tid).into_iter();
        let numbered = own.flat_map(|p| {
            p.steps
                .into_iter()
                .enumerate()
                .map(move |(i, step)| (p.base + i, step))
        });
        // What came before is done.
        let (before, rest): (Vec<_>, Vec<_>) = numbered.partition(|(at, _)| *at < index);
        self.gone
            .extend(before.into_iter().flat_map(|(_, step)| step.undo.vmas));
        let mut rest = rest.into_iter().peekable();
        let failed = rest.next_if(|(at, _)| *at == index);
        let rest: Steps = rest.map(|(_, step)| step).collect();
        let Some((_, failed)) = failed else {
            // Somebody else's action: what the map has asked for after it isn't done either.
            for step in rest.into_iter().rev() {
                self.undo(step.undo);
            }
            return None;
        };
        match failed.on_fail {
            OnFail::Ignore => Some(Failure {
                answer: None,
                steps: rest,
                fatal: false,
            }),
            OnFail::Keep(e) => Some(Failure {
                answer: Some(Err(e)),
                steps: rest,
                fatal: false,
            }),
            OnFail::Fatal => Some(Failure {
                answer: None,
                steps: Steps::new(),
                fatal: true,
            }),
            OnFail::Errno => Some(self.roll_back(failed, rest, Err(errno))),
            OnFail::Value(value) => Some(self.roll_back(failed, rest, Ok(value))),
        }
    }

    fn roll_back(&mut self, failed: Step, rest: Steps, answer: Result<u64>) -> Failure {
        for step in rest.into_iter().rev() {
            self.undo(step.undo);
        }
        let act = failed.act;
        self.undo(failed.undo);
        let mut steps = Steps::new();
        // The call may have done a part of its work.
        let lost = match act {
            Act::MapAnon { span, .. }
            | Act::MapFd { span, .. }
            | Act::MapText { span, .. }
            | Act::MapCode { span, .. } => Some(span),
            Act::Remap {
                new_len, flags, to, ..
            } if flags & libc::MREMAP_FIXED != 0 => Some(Span::at(to, new_len)),
            Act::Protect { span, .. } => {
                let old = self
                    .map
                    .in_span(span)
                    .map(|vma| (vma.span.intersect(span), vma.prot));
                steps.extend(old.map(|(span, prot)| Step::fatal(Act::Protect { span, prot })));
                None
            }
            _ => None,
        };
        if let Some(span) = lost {
            // What was mapped there before is gone, as it can be on Linux.
            let gone = self.take(span);
            self.gone.extend(gone);
            steps.push(Step::fatal(Act::Unmap { span }));
        }
        Failure {
            answer: Some(answer),
            steps,
            fatal: false,
        }
    }
}
