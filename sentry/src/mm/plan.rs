//! What a call on the map asks of the host: the calls that the stub performs in place before it resumes, and how
//! the map goes back should the host refuse one.

use super::span::Span;
use super::text::TextCopy;
use super::vma::{Prot, Vma};
use arch::Errno;
use smallvec::SmallVec;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// PROT_READ, PROT_EXEC.
const TEXT_PROT: u32 = (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned();

/// One host call. Addresses are page aligned and inside the application's part of the address space.
#[derive(Clone, Debug)]
pub enum Act {
    /// mmap(2), private anonymous; `flags`: MAP_NORESERVE, MAP_POPULATE.
    MapAnon { span: Span, prot: Prot, flags: i32 },
    /// mmap(2) of a descriptor; `flags`: MAP_SHARED or MAP_PRIVATE and the above.
    MapFd {
        fd: Arc<OwnedFd>,
        offset: u64,
        span: Span,
        prot: Prot,
        flags: i32,
    },
    /// mmap(2) of a text that processes share: all of it.
    MapText { copy: Arc<TextCopy>, span: Span },
    /// mmap(2) of its trampolines.
    MapCode { copy: Arc<TextCopy>, span: Span },
    /// munmap(2).
    Unmap { span: Span },
    /// mprotect(2).
    Protect { span: Span, prot: Prot },
    /// mremap(2). With MREMAP_FIXED in `flags` to `to`.
    Remap {
        from: Span,
        new_len: u64,
        flags: i32,
        to: u64,
    },
    /// madvise(2).
    Advise { span: Span, advice: i32 },
    /// msync(2).
    Sync { span: Span, flags: i32 },
    /// Zeroes, at any address; EFAULT where it faults.
    Zero { addr: u64, len: u64 },
}

impl Act {
    /// Adds the call to the thread's list; false if that is full.
    pub fn push(&self, list: &mut systrap::Actions<'_>) -> bool {
        let bits = |prot: &Prot| u32::from(prot.bits());
        match self {
            Self::MapAnon { span, prot, flags } => {
                list.mmap_anon(span.start, span.len(), bits(prot), flags.cast_unsigned())
            }
            Self::MapFd {
                fd,
                offset,
                span,
                prot,
                flags,
            } => list.mmap_fd(
                fd,
                *offset,
                span.start,
                span.len(),
                bits(prot),
                flags.cast_unsigned(),
            ),
            Self::MapText { copy, span } => list.mmap_fd(
                copy.shared.fd(),
                0,
                span.start,
                span.len(),
                TEXT_PROT,
                libc::MAP_PRIVATE.cast_unsigned(),
            ),
            Self::MapCode { copy, span } => list.mmap_fd(
                copy.shared.fd(),
                copy.shared.len(),
                span.start,
                span.len(),
                TEXT_PROT,
                libc::MAP_PRIVATE.cast_unsigned(),
            ),
            Self::Unmap { span } => list.munmap(span.start, span.len()),
            Self::Protect { span, prot } => list.mprotect(span.start, span.len(), bits(prot)),
            Self::Remap {
                from,
                new_len,
                flags,
                to,
            } => list.mremap(from.start, from.len(), *new_len, flags.cast_unsigned(), *to),
            Self::Advise { span, advice } => list.madvise(span.start, span.len(), *advice),
            Self::Sync { span, flags } => list.msync(span.start, span.len(), *flags),
            Self::Zero { addr, len } => list.zero(*addr, *len),
        }
    }
}

impl Act {
    /// Adds the call to the thread's list, and what rewritten call sites there will be in `space` to its record; false if
    /// the list is full.
    pub fn give(&self, space: &systrap::AddressSpace, list: &mut systrap::Actions<'_>) -> bool {
        for span in self.replaces() {
            space.forget_code(span.start, span.end);
        }
        if let Self::MapText { copy, span } = self {
            space.attach_text(span.start, &copy.shared);
        }
        self.push(list)
    }

    /// The ranges whose pages it takes away.
    pub fn replaces(&self) -> impl Iterator<Item = Span> {
        let (one, other) = match self {
            Self::MapAnon { span, .. }
            | Self::MapFd { span, .. }
            | Self::MapText { span, .. }
            | Self::MapCode { span, .. }
            | Self::Unmap { span } => (Some(*span), None),
            Self::Remap {
                from,
                new_len,
                flags,
                to,
            } => {
                let fixed = flags & libc::MREMAP_FIXED != 0;
                (Some(*from), fixed.then(|| Span::at(*to, *new_len)))
            }
            _ => (None, None),
        };
        one.into_iter().chain(other)
    }
}

/// How the map becomes again what it was.
#[derive(Clone, Default)]
pub struct Undo {
    /// What the step changed: cleared first.
    pub spans: SmallVec<[Span; 2]>,
    /// What was there before.
    pub vmas: Vec<Vma>,
    /// The program break before.
    pub brk: Option<u64>,
}

/// What the application sees when the host refuses a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    /// The host's errno; the map goes back.
    Errno,
    /// This value (brk(2) returns the old break); the map goes back.
    Value(u64),
    /// What the call returned anyway; nothing goes back (MAP_POPULATE, prefault of mlockall(2)).
    Ignore,
    /// This errno; nothing goes back (mlock(2) whose pages can't be made resident).
    Keep(Errno),
    /// The process is killed: the call was to make the host's memory agree with the map again.
    Fatal,
}

/// A host call with what undoes its part of the map.
#[derive(Clone)]
pub struct Step {
    /// The call.
    pub act: Act,
    /// Its part of the map as it was. Empty for calls that leave the map alone.
    pub undo: Undo,
    /// Who hears of a failure.
    pub on_fail: OnFail,
}

impl Step {
    /// A call that leaves the map alone, whose errno the application gets.
    pub fn plain(act: Act) -> Self {
        Self {
            act,
            undo: Undo::default(),
            on_fail: OnFail::Errno,
        }
    }

    /// A call that leaves the map alone and may fail.
    pub fn hint(act: Act) -> Self {
        Self {
            act,
            undo: Undo::default(),
            on_fail: OnFail::Ignore,
        }
    }

    /// A call without which the map is wrong.
    pub fn fatal(act: Act) -> Self {
        Self {
            act,
            undo: Undo::default(),
            on_fail: OnFail::Fatal,
        }
    }

    /// A call with its part of the map.
    pub fn with_undo(act: Act, spans: &[Span], vmas: Vec<Vma>) -> Self {
        Self {
            act,
            undo: Undo {
                spans: spans.into(),
                vmas,
                brk: None,
            },
            on_fail: OnFail::Errno,
        }
    }
}

/// The steps of one call.
pub type Steps = SmallVec<[Step; 2]>;

/// Why a call on the map did not go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The application's error.
    Errno(Errno),
    /// A thread has yet to perform actions on the same range.
    Busy(super::pending::PendingId),
}

impl From<Errno> for Stop {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

/// A call's answer and what it asks of the host. The steps are performed whether the answer is an error or not
/// (mprotect(2) changes what comes before a hole, then fails).
pub struct Done {
    /// What the application gets if no step fails.
    pub answer: arch::Result<u64>,
    /// For the host, in order.
    pub steps: Steps,
}

impl Done {
    /// An answer that needs nothing of the host.
    pub fn just(value: u64) -> Self {
        Self {
            answer: Ok(value),
            steps: Steps::new(),
        }
    }

    /// An answer and one step.
    pub fn one(value: u64, step: Step) -> Self {
        Self {
            answer: Ok(value),
            steps: smallvec::smallvec![step],
        }
    }
}

/// What operations on the map return.
pub type Outcome = Result<Done, Stop>;
