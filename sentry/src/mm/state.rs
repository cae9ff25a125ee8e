//! The state of an address space that one lock guards, and its accounting.

use super::exec::{ImageInfo, Vdso};
use super::layout::Layout;
use super::map::VmaMap;
use super::pending::Pending;
use super::plan::{Act, Step, Stop, Undo};
use super::span::{PAGE, Span, page_up};
use super::text::TextPlace;
use super::vma::{Prot, Vma, VmaFlags};
use crate::task::{Pid, cap};
use arch::{Errno, Result};
use std::sync::Arc;

/// Mappings of an address space at most (/proc/sys/vm/max_map_count).
pub const MAX_MAP_COUNT: usize = 65530;

/// Sizes in pages, as /proc/PID/status has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Everything (VmSize).
    pub total: u64,
    /// The most there ever was (VmPeak).
    pub peak: u64,
    /// Private writable (VmData).
    pub data: u64,
    /// Stacks (VmStk).
    pub stack: u64,
    /// Executable file mappings that can't be written (VmExe and VmLib).
    pub exec: u64,
    /// mlock(2) (VmLck).
    pub locked: u64,
}

impl Usage {
    fn each(&mut self, vma: &Vma, pages: u64, apply: impl Fn(&mut u64, u64)) {
        apply(&mut self.total, pages);
        if vma.is_data() {
            apply(&mut self.data, pages);
        }
        if vma.flags.contains(VmaFlags::GROWS_DOWN) {
            apply(&mut self.stack, pages);
        }
        if vma.prot.contains(Prot::EXEC) && !vma.prot.contains(Prot::WRITE) {
            apply(&mut self.exec, pages);
        }
        if vma.flags.contains(VmaFlags::LOCKED) {
            apply(&mut self.locked, pages);
        }
    }

    fn add(&mut self, vma: &Vma) {
        self.each(vma, vma.pages(), |sum, n| *sum += n);
        self.peak = self.peak.max(self.total);
    }

    fn sub(&mut self, vma: &Vma) {
        self.each(vma, vma.pages(), |sum, n| *sum -= n);
    }
}

/// Resource limits of the caller, in bytes; `u64::MAX` is unlimited (getrlimit(2)).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// RLIMIT_AS.
    pub address_space: u64,
    /// RLIMIT_DATA.
    pub data: u64,
    /// RLIMIT_MEMLOCK.
    pub memlock: u64,
    /// RLIMIT_STACK.
    pub stack: u64,
    /// CAP_IPC_LOCK: RLIMIT_MEMLOCK doesn't matter.
    pub ipc_lock: bool,
}

impl Limits {
    /// No limits: what the kernel itself does (execve(2)), and tests.
    pub const NONE: Self = Self {
        address_space: u64::MAX,
        data: u64::MAX,
        memlock: u64::MAX,
        stack: u64::MAX,
        ipc_lock: true,
    };

    /// Those of a task.
    pub fn of(task: &crate::task::Task) -> Self {
        let limits = *task.group.rlimits.lock();
        let soft = |which: u32| limits.get(which as usize).map_or(u64::MAX, |l| l.0);
        Self {
            address_space: soft(libc::RLIMIT_AS),
            data: soft(libc::RLIMIT_DATA),
            memlock: soft(libc::RLIMIT_MEMLOCK),
            stack: soft(libc::RLIMIT_STACK),
            ipc_lock: task.creds().has_cap(cap::IPC_LOCK),
        }
    }
}

/// Who changes the map.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The thread whose stub performs the actions.
    pub tid: Pid,
    /// Its limits.
    pub limits: Limits,
    /// READ_IMPLIES_EXEC of personality(2).
    pub read_implies_exec: bool,
}

/// The heap (brk(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Where it starts; page aligned.
    pub start: u64,
    /// The program break.
    pub brk: u64,
    /// Bytes of initialised data and bss of the program, which RLIMIT_DATA counts too.
    pub data: u64,
}

/// What one lock guards.
#[derive(Default)]
pub struct State {
    /// The mappings.
    pub map: VmaMap,
    /// Where things go.
    pub layout: Layout,
    /// The heap.
    pub heap: Heap,
    /// Sizes.
    pub usage: Usage,
    /// LOCKED and LOCK_ON_FAULT if mlockall(2) MCL_FUTURE is in force.
    pub lock_future: VmaFlags,
    /// The program.
    pub info: Arc<ImageInfo>,
    /// Where the vDSO is.
    pub vdso: Option<Vdso>,
    /// Where texts are mapped that processes share.
    pub texts: Vec<TextPlace>,
    /// The last mappings that may be of whole images ([`State::note_placed`]), and which is overwritten next.
    pub placed: [Span; 4],
    pub placed_next: usize,
    /// Actions that a thread may not have performed yet.
    pub pending: Vec<Pending>,
    /// Counts them.
    pub serial: u64,
    /// Mappings that failures have taken out, to be dropped without the lock.
    pub gone: Vec<Vma>,
}

impl State {
    /// Adds a mapping where nothing is.
    pub fn insert(&mut self, vma: Vma) {
        self.usage.add(&vma);
        self.map.insert(vma);
    }

    /// Takes out what is in `span`.
    pub fn take(&mut self, span: Span) -> Vec<Vma> {
        let gone = self.map.remove(span);
        for vma in &gone {
            self.usage.sub(vma);
        }
        gone
    }

    /// Changes every mapping in `span`.
    pub fn update(&mut self, span: Span, mut change: impl FnMut(&mut Vma)) {
        let Self { map, usage, .. } = self;
        map.update(span, |vma| {
            usage.sub(vma);
            change(vma);
            usage.add(vma);
        });
    }

    /// Moves the start of the mapping that starts at `start` down to `to`, which is free.
    pub fn grow_down(&mut self, start: u64, to: u64) {
        if let Some(vma) = self.map.at(start).cloned() {
            self.usage.sub(&vma);
            self.usage.add(&Vma {
                span: Span::new(to, vma.span.end),
                ..vma
            });
            self.map.grow_down(start, to);
        }
    }

    /// Copies of what is in `span`, cut to it.
    pub fn copy(&self, span: Span) -> Vec<Vma> {
        let cut = |vma: &Vma| {
            let mut vma = vma.clone();
            if vma.span.start < span.start {
                vma = vma.split_off(span.start);
            }
            if vma.span.end > span.end {
                drop(vma.split_off(span.end));
            }
            vma
        };
        self.map.in_span(span).map(cut).collect()
    }

    /// Whether `pages` more of a mapping like `vma` are allowed (may_expand_vm).
    pub fn may_expand(&self, limits: &Limits, vma: &Vma, pages: u64) -> bool {
        self.usage.total.saturating_add(pages) <= limits.address_space / PAGE
            && (!vma.is_data() || self.may_expand_data(limits, pages))
    }

    /// Whether `pages` more of private writable memory are allowed (RLIMIT_DATA).
    pub fn may_expand_data(&self, limits: &Limits, pages: u64) -> bool {
        self.usage.data.saturating_add(pages) <= limits.data / PAGE
    }

    /// Whether `bytes` more may be locked (mlock_future_ok).
    pub fn may_lock(&self, limits: &Limits, bytes: u64) -> bool {
        let pages = page_up(bytes) / PAGE;
        limits.ipc_lock || self.usage.locked.saturating_add(pages) <= limits.memlock / PAGE
    }

    /// ENOMEM if `more` mappings would be too many.
    pub fn check_count(&self, more: usize) -> Result<()> {
        if self.map.len() + more > MAX_MAP_COUNT {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }

    /// How many more mappings there are once `span` has been cut out: 0 to 2, for mappings cut by its ends.
    pub fn cuts(&self, span: Span) -> usize {
        let cut = |at: u64| usize::from(self.map.at(at).is_some_and(|v| v.span.start < at));
        cut(span.start) + cut(span.end)
    }

    /// Stops with `Busy` if another thread has an action on `span` before it.
    pub fn check_pending(&self, tid: Pid, span: Span) -> std::result::Result<(), Stop> {
        for pending in &self.pending {
            if pending.tid != tid && pending.touches(span) {
                return Err(Stop::Busy((pending.tid, pending.serial)));
            }
        }
        Ok(())
    }

    /// Puts back what `undo` says.
    pub fn undo(&mut self, undo: Undo) {
        for span in undo.spans {
            let gone = self.take(span);
            self.gone.extend(gone);
        }
        for vma in undo.vmas {
            self.insert(vma);
        }
        if let Some(brk) = undo.brk {
            self.heap.brk = brk;
        }
    }

    /// A step that removes what is in `span`, cut to what there is; `None` if that is nothing.
    pub fn unmap_step(&mut self, span: Span) -> Option<Step> {
        let gone = self.take(span);
        let (first, last) = (gone.first()?, gone.last()?);
        let real = Span::new(first.span.start, last.span.end);
        Some(Step::with_undo(Act::Unmap { span: real }, &[real], gone))
    }
}
