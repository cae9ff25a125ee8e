//! Threads: one host thread and one slot each.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::actions::{Action, Ends, Pending};
use crate::fpstate::FrameShape;
use crate::layout::*;
use crate::proto::*;
use crate::slot::owner;
use crate::window::{MINCORE_OFF, Piece, Pieces};
use crate::{Actions, AddressSpace, Arch, Event, Kicker, Token, Window};
use crate::{sys, watch};

/// Values that the stub answers identity calls with (getpid and kin), so
/// that they need no hand-over. The Sentry keeps them current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
}

/// The Sentry's handle of one thread; owned by exactly one task. Send.
///
/// Between an event and the next `resume` the slot belongs to the owner of
/// this handle; after `resume` it belongs to the stub until the next event,
/// and only `kicker()`, `address_space()`, `in_futex_wait()` and
/// `set_identity()` are useful.
///
/// Dropping the handle ends the host thread, and with the last handle of an
/// address space its process.
pub struct Thread {
    pub(crate) space: Arc<AddressSpace>,
    pub(crate) index: u32,
    /// Offset of the slot in the region.
    pub(crate) base: u64,
    /// Offset in the slot of the frame; checked to have a whole frame and FPU
    /// state behind it.
    pub(crate) frame: u64,
    pub(crate) pending: Pending,
    pub(crate) pieces: Pieces,
    pub(crate) flags: u32,
    /// Number of the event in our hands.
    pub(crate) seq: u32,
    /// Bases of %fs and %gs, once they were looked at.
    pub(crate) bases: Cell<Option<(u64, u64)>>,
    /// The frame has no FPU state: it is from a patched call site.
    pub(crate) fast: bool,
    /// What the call returns, of a frame that is `fast`.
    pub(crate) ret: Option<u64>,
    /// What makes it a whole one at the next resume.
    pub(crate) full: Full,
    /// The frame's `rip` was set by us.
    pub(crate) rip_set: bool,
    /// A rewriting on the list makes this address one to go around.
    pub(crate) unsure: Option<u64>,
    /// There is a rewriting on the list.
    pub(crate) rewrites: bool,
    /// What was prefetched, and the end of it, for after a rewriting.
    pub(crate) kept: Option<(Vec<Piece>, u64)>,
    /// An event that the stub has no part in.
    instead: Option<Event>,
    handed_back: bool,
    /// The stub could have answered the call itself.
    shown: bool,
}

/// An action list as it is in the window.
#[derive(Default)]
struct List {
    len: u32,
    off: u32,
    fds: u32,
    ticket: u32,
}

/// How a frame from a patched call site becomes one as of a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Full {
    /// It needn't.
    #[default]
    No,
    /// With the FPU state as it is; the stub adds it.
    Live,
    /// With the FPU state that is in the frame.
    Given,
}

impl Thread {
    /// A handle for a slot that the Sentry has prepared.
    pub(crate) fn new(space: Arc<AddressSpace>, index: u32, frame: u64) -> Thread {
        space.handles.fetch_add(1, Ordering::SeqCst);
        let slot = space.slots.get_or_make(index);
        slot.owner.store(owner::SENTRY, Ordering::Release);
        let base = u64::from(index) * SLOT_STRIDE;
        if let Some(shape) = space.core.patching() {
            let at = REGION + base + u64::from(shape.frame);
            space.region.st64(base + S_FAST_FRAME, at);
            space.region.st32(base + S_MAGIC, MAGIC);
        }
        Thread {
            space,
            index,
            base,
            frame,
            pending: Pending::default(),
            pieces: Pieces::default(),
            flags: 0,
            seq: 0,
            bases: Cell::new(None),
            fast: false,
            ret: None,
            full: Full::No,
            rip_set: false,
            unsure: None,
            rewrites: false,
            kept: None,
            instead: None,
            handed_back: false,
            shown: false,
        }
    }

    pub(crate) fn space(&self) -> &AddressSpace {
        &self.space
    }

    fn state(&self) -> &crate::slot::SlotState {
        self.space.slots.get_or_make(self.index)
    }

    /// Whether there is a host thread that could do something: the process
    /// lives, and the thread's clone(2) did not fail.
    fn has_host(&self) -> bool {
        !self.space.is_dead() && !self.state().unborn.load(Ordering::SeqCst)
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.space.leader.load(Ordering::Relaxed) == self.index
    }

    pub(crate) fn ld32(&self, off: u64) -> u32 {
        self.space.region.ld32(self.base + off)
    }

    pub(crate) fn ld64(&self, off: u64) -> u64 {
        self.space.region.ld64(self.base + off)
    }

    pub(crate) fn st32(&self, off: u64, v: u32) {
        self.space.region.st32(self.base + off, v);
    }

    pub(crate) fn st64(&self, off: u64, v: u64) {
        self.space.region.st64(self.base + off, v);
    }

    pub(crate) fn slot_copy_from(&self, off: u64, buf: &mut [u8]) {
        self.space.region.copy_from(self.base + off, buf);
    }

    pub(crate) fn slot_copy_to(&self, off: u64, buf: &[u8]) {
        self.space.region.copy_to(self.base + off, buf);
    }

    pub(crate) fn slot_ptr(&self, off: u64, len: usize) -> *mut u8 {
        self.space.region.ptr(self.base + off, len)
    }

    /// Copies from the slot to the application by `process_vm_writev`.
    pub(crate) fn write_from_slot(&self, addr: u64, off: u64, len: usize) -> bool {
        self.space.write_own(addr, self.base + off, len) == len
    }

    /// Must be set before the first resume.
    pub fn set_token(&self, t: Token) {
        self.state().token.store(t.0, Ordering::Relaxed);
    }

    pub fn address_space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    // ---- events

    /// Copies the event out of the slot; once per report.
    pub fn event(&mut self) -> Event {
        let state = self.state();
        let reported = state.owner.compare_exchange(
            owner::REPORTED,
            owner::SENTRY,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if reported.is_err() {
            return Event::Parked;
        }
        if let Some(event) = self.instead.take() {
            self.patch_is_done(false);
            return event;
        }
        if !self.has_host() {
            return Event::Dead {
                status: self.space.status(),
            };
        }
        match self.decode() {
            Ok(event) => event,
            Err(what) => {
                self.space.core.counts.violations();
                self.space.kill();
                Event::Violation(what)
            }
        }
    }

    fn decode(&mut self) -> Result<Event, &'static str> {
        let seq = self.space.region.a32(self.base + S_SEQ);
        let seq = seq.load(Ordering::Acquire);
        if seq == self.seq {
            return Err("an event without publication");
        }
        self.seq = seq;
        let what = self.ld32(S_WHAT);
        let fast = |shape: &&FrameShape| (what >> 8 & 0xff == MODE_FAST).then_some(shape.frame);
        let frame = match self.space.core.patching().as_ref().and_then(fast) {
            Some(frame) => {
                self.fast = true;
                u64::from(frame)
            }
            None => {
                self.fast = false;
                u64::from(self.ld32(S_FRAME))
            }
        };
        let room = self
            .space
            .core
            .frame
            .get()
            .map_or(FRAME_LEN, |f| FRAME_LEN.max(f.room()));
        if frame < S_STACK || frame > SLOT_STRIDE - room || !frame.is_multiple_of(8) {
            return Err("a signal frame outside the stack");
        }
        self.frame = frame;
        if self.space.core.fsgsbase {
            self.bases.set(None);
        }
        self.full = Full::No;
        self.rip_set = false;
        self.handed_back = false;
        self.ret = None;
        let mut kind = what & 0xff;
        self.shown = kind == EV_SHOWN;
        if self.shown {
            kind = EV_SIGNAL;
        }
        let signo = if self.fast {
            libc::SIGSYS.cast_unsigned()
        } else {
            self.ld32(S_SIGNO)
        };
        let count = if kind == EV_SIGNAL {
            u64::from(what >> 16)
        } else {
            0
        };
        if count > PF_MAX {
            return Err("too many prefetched pieces");
        }
        let region = &self.space.region;
        let at = self.base + S_PF;
        let pieces = (0..count).map(|i| Piece {
            addr: region.ld64(at + i * ENTRY),
            len: region.ld32(at + i * ENTRY + 8),
            off: region.ld32(at + i * ENTRY + 12),
        });
        if !self.pieces.take(pieces) {
            return Err("a prefetched piece outside the window");
        }
        if let Some((pieces, used)) = self.kept.take()
            && kind == EV_PARKED
        {
            (self.pieces.prefetched, self.pieces.used) = (pieces, used);
        }
        self.patch_is_done(kind != EV_ACTION_FAILED);
        if kind == EV_SIGNAL && !self.fast && self.settle(signo) {
            return Ok(Event::Kick);
        }
        match kind {
            EV_SIGNAL => match signo.cast_signed() {
                libc::SIGSYS => {
                    let (nr, arch, args) = self.call()?;
                    let counts = &self.space.core.counts;
                    if self.fast {
                        counts.fast_calls();
                    } else {
                        counts.sigsys();
                    }
                    Ok(Event::Syscall { nr, args, arch })
                }
                signo if signo == SIG_KICK.cast_signed() => Ok(Event::Kick),
                signo @ (libc::SIGSEGV
                | libc::SIGBUS
                | libc::SIGFPE
                | libc::SIGILL
                | libc::SIGTRAP) => Ok(Event::Fault {
                    signo,
                    code: self.ld32(frame + F_SI_CODE).cast_signed(),
                    addr: self.ld64(frame + F_SI_ADDR),
                    trapno: self.ld64(frame + F_TRAPNO),
                    err: self.ld64(frame + F_ERR),
                }),
                _ => Err("a signal that stubs don't get"),
            },
            EV_HANDED_BACK => {
                self.handed_back = true;
                let (nr, arch, args) = self.call()?;
                Ok(Event::Syscall { nr, args, arch })
            }
            EV_KICK => Ok(Event::Kick),
            EV_PARKED => Ok(Event::Parked),
            EV_ACTION_FAILED => Ok(Event::ActionFailed {
                index: usize::try_from(self.ld64(S_ARG0)).unwrap_or(usize::MAX),
                errno: (self.ld64(S_ARG1) & 0xfff) as i32,
            }),
            EV_WB_FAULT => Ok(Event::WriteBackFault {
                addr: self.ld64(S_ARG0),
            }),
            EV_FUTEX_INT => {
                let cycles = self.ld64(S_ARG0);
                let (nr, _, args) = self.call()?;
                let elapsed_ns = self.space.core.policy.ns(cycles);
                Ok(Event::FutexInterrupted {
                    nr,
                    args,
                    elapsed_ns,
                })
            }
            _ => Err("an event of an unknown kind"),
        }
    }

    /// Bases of %fs and %gs. Where they can be set without a call, the
    /// stub's word counts, which is looked at once an event.
    pub(crate) fn bases(&self) -> (u64, u64) {
        if let Some(bases) = self.bases.get() {
            return bases;
        }
        let mut bases = (0, 0);
        if self.space.core.fsgsbase {
            bases = (self.ld64(S_FS), self.ld64(S_GS));
            // The slot's own address stands for an unused base.
            if self.space.core.patching().is_some() && bases.1 == REGION + self.base {
                bases.1 = 0;
            }
        }
        self.bases.set(Some(bases));
        bases
    }

    /// Number, architecture and arguments of a trapped call.
    fn call(&self) -> Result<(u64, Arch, [u64; 6]), &'static str> {
        if self.fast {
            let nr = i64::from(self.ld32(S_NR).cast_signed()).cast_unsigned();
            let x32 = nr & X32_BIT != 0 && nr >> 31 == 0;
            let arch = if x32 { Arch::X32 } else { Arch::X86_64 };
            let args = [0, 8, 16, 24, 32, 40].map(|off| self.ld64(S_ARGS + off));
            return Ok((nr, arch, args));
        }
        let greg = |off| self.ld64(self.frame + off);
        let low = |off| greg(off) & 0xffff_ffff;
        let nr = i64::from(self.ld32(self.frame + F_SI_SYSCALL).cast_signed()).cast_unsigned();
        match self.ld32(self.frame + F_SI_ARCH) {
            AUDIT_ARCH_X86_64 => {
                let x32 = nr & X32_BIT != 0 && nr >> 31 == 0;
                let arch = if x32 { Arch::X32 } else { Arch::X86_64 };
                Ok((nr, arch, [F_RDI, F_RSI, F_RDX, F_R10, F_R8, F_R9].map(greg)))
            }
            AUDIT_ARCH_I386 => {
                let args = [F_RBX, F_RCX, F_RDX, F_RSI, F_RDI, F_RBP].map(low);
                Ok((nr, Arch::I386, args))
            }
            _ => Err("a call of an unknown architecture"),
        }
    }

    // ---- window and actions

    /// The copy window: prefetched input and queued output.
    pub fn window(&mut self) -> Window<'_> {
        Window { thread: self }
    }

    /// Host calls for the stub to perform at the next resume.
    pub fn actions(&mut self) -> Actions<'_> {
        Actions { thread: self }
    }

    /// The result of an [`Actions::mincore`] of this many pages.
    pub fn mincore_result(&self, pages: usize) -> Vec<u8> {
        let mut bytes = vec![0; pages.min(crate::window::MINCORE_MAX as usize)];
        self.slot_copy_from(MINCORE_OFF, &mut bytes);
        bytes
    }

    // ---- going on

    /// Publishes registers, actions and write-backs; the stub performs them
    /// and goes on with the application.
    pub fn resume(&mut self) {
        self.answer(0);
    }

    /// As `resume`, but the stub performs actions and write-backs only, does
    /// not enter the application, and reports `Parked` when done.
    pub fn perform(&mut self) {
        self.answer(RF_REPARK);
    }

    /// As `perform`, for a task that is going to wait: the stub sleeps rather than spin for what comes after.
    pub fn perform_and_wait(&mut self) {
        self.answer(RF_REPARK | RF_LONG);
    }

    /// As `resume`, but the stub first answers the trapped call itself, where it is one that it can (futex(2),
    /// sched_yield(2)); one that it can't is reported as before. For threads that ask about all calls.
    pub fn resume_own_call(&mut self) {
        self.answer(RF_OWN_CALL);
    }

    pub(crate) fn answer(&mut self, flags: u32) {
        let ends = self.pending.ends.take();
        if !self.has_host() {
            self.answer_dead(ends);
            return;
        }
        if !self.fast || self.rip_set {
            self.lead_around();
        }
        let queued = self.pieces.queued.len();
        for i in 0..queued {
            let p = self.pieces.queued[i];
            let at = S_WB + i as u64 * ENTRY;
            self.st64(at, p.addr);
            self.st32(at + 8, p.len);
            self.st32(at + 12, p.off);
        }
        let list = match self.publish_actions() {
            Ok(list) => list,
            Err(errno) => {
                self.pieces.clear();
                self.fail(Event::ActionFailed { index: 0, errno });
                return;
            }
        };
        self.pieces.clear();
        match ends {
            None => {
                let to = owner::stub(self.seq);
                // The barrier is that of the answer.
                self.state().owner.store(to, Ordering::Release);
                self.space.started();
            }
            Some(end) => {
                match end {
                    Ends::Process => self.space.leaving.store(true, Ordering::SeqCst),
                    Ends::Thread => self.space.core.leaves(),
                }
                self.state().owner.store(owner::LEAVING, Ordering::SeqCst);
            }
        }
        let look = watch::arm(&self.space, self.index, self.seq);
        self.write_answer(flags, queued as u32, &list, look);
        let word = self.space.region.a32(self.base + S_STATE);
        if word.load(Ordering::SeqCst) == ST_SLEEPING {
            word.store(ST_AWAKE, Ordering::SeqCst);
            self.space.core.counts.wakes();
            sys::futex_wake(word, 1);
        }
        // It may have died before its owner was set.
        if self.space.is_dead() {
            self.space.report_dead(self.index);
        } else if !self.has_host() {
            self.space.report_gone(self.index);
        }
    }

    /// The answer's line, in one go: the stub looks at it all the time, and a
    /// barrier between two of its words would have it travel twice.
    fn write_answer(&mut self, flags: u32, queued: u32, list: &List, look: u32) {
        let full = match self.full {
            Full::No => 0,
            Full::Live => RF_FULL | RF_XSAVE,
            Full::Given => RF_FULL,
        };
        let ret = match self.ret.take() {
            Some(rax) => {
                self.st64(S_RET, rax);
                RF_RET
            }
            None => 0,
        };
        if self.flags & (RF_SET_FS | RF_SET_GS) != 0 {
            let (fs, mut gs) = self.bases();
            if gs == 0 && self.space.core.patching().is_some() {
                gs = REGION + self.base;
            }
            self.st64(S_NEW_FS, fs);
            self.st64(S_NEW_GS, gs);
        }
        self.st32(S_FLAGS, flags | self.flags | full | ret);
        self.flags = 0;
        self.st32(S_WB_COUNT, queued);
        self.st32(S_ACTIONS, list.len);
        self.st32(S_ACTIONS_OFF, list.off);
        self.st32(S_FDS, list.fds);
        self.st32(S_FD_TICKET, list.ticket);
        self.st32(S_LOOK, look);
        let ack = self.space.region.a32(self.base + S_ACK);
        ack.store(self.seq, Ordering::SeqCst);
    }

    fn answer_dead(&mut self, ends: Option<Ends>) {
        self.pending = Pending::default();
        self.pieces.clear();
        if ends.is_none() {
            self.fail(Event::Dead {
                status: self.space.status(),
            });
        }
    }

    /// Reports an event without the stub.
    fn fail(&mut self, event: Event) {
        self.instead = Some(event);
        let state = self.state();
        state.owner.store(owner::REPORTED, Ordering::Release);
        let token = Token(state.token.load(Ordering::Relaxed));
        self.space.core.inject(token);
    }

    /// Writes the action list to the window and sends its descriptors.
    fn publish_actions(&mut self) -> Result<List, i32> {
        if self.pending.list.is_empty() {
            self.pending.fds.clear();
            return Ok(List::default());
        }
        let actions: Vec<Action> = std::mem::take(&mut self.pending.list);
        let fds = std::mem::take(&mut self.pending.fds);
        let len = actions.len() as u64 * ACTION;
        let off = self.pieces.allocate(len).or_else(|| {
            // The prefetched input is not needed any more.
            let clobbers = self
                .pieces
                .queued
                .iter()
                .any(|p| u64::from(p.off) < S_WINDOW + len);
            (!clobbers).then_some(S_WINDOW)
        });
        let Some(off) = off else {
            return Err(libc::ENOMEM);
        };
        for (i, a) in actions.iter().enumerate() {
            self.slot_copy_to(off + i as u64 * ACTION, &a.to_bytes());
        }
        let mut list = List {
            len: actions.len() as u32,
            off: off as u32,
            fds: fds.len() as u32,
            ticket: 0,
        };
        if !fds.is_empty() {
            let ticket = self.space.send_fds(&fds);
            list.ticket = ticket.map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))?;
        }
        // Keeps its memory.
        self.pending.list = actions;
        self.pending.list.clear();
        Ok(list)
    }

    /// The call will take long: the stub should sleep, not spin for the
    /// answer. Costs the stub's futex wake later, so only when the task is
    /// about to wait.
    pub fn will_block(&self) {
        self.st32(S_LOOK, LOOK_BLOCKED);
    }

    pub fn kicker(&self) -> Kicker {
        Kicker {
            space: self.space.clone(),
            index: self.index,
        }
    }

    /// Whether the thread sleeps in a futex wait of its own (for /proc
    /// state; a hint from the stub).
    pub fn in_futex_wait(&self) -> bool {
        self.ld32(S_FUTEX_WAIT) != 0
    }

    /// The CPU that the thread said it ran on when it published its event (a claim of the stub's).
    pub fn cpu(&self) -> u32 {
        self.ld32(S_CPU)
    }

    /// Whether the call of the last event was given back by the stub after `resume_own_call`.
    pub fn handed_back(&self) -> bool {
        self.handed_back
    }

    /// Whether the event came from a rewritten call site.
    pub fn is_fast(&self) -> bool {
        self.fast
    }

    /// Whether the stub could have answered the call of the last event itself, and only shows where it traps: for
    /// `resume_own_call`, once `trap_site` has been looked at.
    pub fn is_shown(&self) -> bool {
        self.shown
    }

    /// Has the stub hand over every call, those that it could answer itself included (see `resume_own_call`).
    pub fn ask_all(&self, yes: bool) {
        self.st32(S_ASK_ALL, u32::from(yes));
    }

    /// The address of a struct robust_list_head, to be prefetched at the
    /// thread's end and at execve(2); 0: there is none.
    pub fn set_robust_list(&self, head: u64) {
        self.st64(S_AT_EXIT, head);
    }

    /// None: identity calls are handed to the Sentry.
    pub fn set_identity(&self, id: Option<&Identity>) {
        self.st32(S_ID_VALID, 0);
        if let Some(id) = id {
            let words = [id.pid, id.tid, id.uid, id.euid, id.gid, id.egid];
            for (i, w) in (0u64..).zip(words) {
                self.st32(S_ID + i * 4, w);
            }
            self.st32(S_ID_VALID, 1);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let last = self.space.handles.fetch_sub(1, Ordering::SeqCst) == 1;
        let state = self.state();
        let owner = state.owner.load(Ordering::SeqCst);
        if last {
            // Whatever it does: nobody will ever answer it.
            if !self.space.leaving.swap(true, Ordering::SeqCst) || owner != owner::LEAVING {
                self.space.kill();
            }
            self.space.drop_from_active();
            watch::forget(&self.space);
            return;
        }
        if state.unborn.load(Ordering::SeqCst) {
            self.space.free_unborn_slot(self.index);
            return;
        }
        if owner == owner::SENTRY || owner == owner::REPORTED {
            self.pending = Pending::default();
            self.pieces.clear();
            if self.actions().exit_thread() {
                self.answer(0);
            }
        }
        if !self.is_leader() && self.state().owner.load(Ordering::SeqCst) == owner::LEAVING {
            self.space.free_slot(self.index);
        }
    }
}
