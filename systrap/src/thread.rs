//! Threads: one host thread and one slot each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::actions::{Action, Ends, Pending};
use crate::layout::*;
use crate::pool::Prepared;
use crate::proto::*;
use crate::slot::owner;
use crate::sys;
use crate::window::{MINCORE_OFF, Piece, Pieces};
use crate::{Actions, AddressSpace, Arch, Event, Regs, Token, Window};

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
    space: Arc<AddressSpace>,
    index: u32,
    /// Offset of the slot in the region.
    base: u64,
    /// Offset in the slot of the frame; checked to have a whole frame and FPU
    /// state behind it.
    frame: u64,
    pub(crate) pending: Pending,
    pub(crate) pieces: Pieces,
    flags: u32,
    fs_base: u64,
    gs_base: u64,
    /// An event that the stub has no part in.
    instead: Option<Event>,
}

impl Thread {
    /// A handle for a slot that the Sentry has prepared.
    pub(crate) fn new(space: Arc<AddressSpace>, index: u32, frame: u64) -> Thread {
        space.handles.fetch_add(1, Ordering::SeqCst);
        let slot = space.slots.get_or_make(index);
        slot.owner.store(owner::SENTRY, Ordering::Release);
        Thread {
            space,
            index,
            base: u64::from(index) * SLOT_STRIDE,
            frame,
            pending: Pending::default(),
            pieces: Pieces::default(),
            flags: 0,
            fs_base: 0,
            gs_base: 0,
            instead: None,
        }
    }

    pub(crate) fn space(&self) -> &AddressSpace {
        &self.space
    }

    fn state(&self) -> &crate::slot::SlotState {
        self.space.slots.get_or_make(self.index)
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.space.leader.load(Ordering::Relaxed) == self.index
    }

    fn ld32(&self, off: u64) -> u32 {
        self.space.region.ld32(self.base + off)
    }

    fn ld64(&self, off: u64) -> u64 {
        self.space.region.ld64(self.base + off)
    }

    fn st32(&self, off: u64, v: u32) {
        self.space.region.st32(self.base + off, v);
    }

    fn st64(&self, off: u64, v: u64) {
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

    // ---- events ----------------------------------------------------------------

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
            return event;
        }
        if self.space.is_dead() {
            return Event::Dead {
                status: self.space.status(),
            };
        }
        match self.decode() {
            Ok(event) => event,
            Err(what) => {
                crate::counters::count(&self.space.core.counts.violations);
                self.space.kill();
                Event::Violation(what)
            }
        }
    }

    fn decode(&mut self) -> Result<Event, &'static str> {
        let state = self
            .space
            .region
            .a32(self.base + S_STATE)
            .load(Ordering::Acquire);
        if !matches!(state, ST_PUBLISHED | ST_SLEEPING) {
            return Err("an event without publication");
        }
        let frame = u64::from(self.ld32(S_FRAME));
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
            self.fs_base = self.ld64(S_FS);
            self.gs_base = self.ld64(S_GS);
        }
        let kind = self.ld32(S_KIND);
        let signo = self.ld32(S_SIGNO);
        let count = if kind == EV_SIGNAL {
            u64::from(self.ld32(S_PF_COUNT))
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
        match kind {
            EV_SIGNAL => match signo.cast_signed() {
                libc::SIGSYS => {
                    let (nr, arch, args) = self.call()?;
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

    /// Number, architecture and arguments of a trapped call.
    fn call(&self) -> Result<(u64, Arch, [u64; 6]), &'static str> {
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

    // ---- registers ----------------------------------------------------------------

    /// Registers of the trapped frame.
    pub fn regs(&self) -> Regs {
        let greg = |off| self.ld64(self.frame + off);
        let seg = |off| self.space.region.ld16(self.base + self.frame + off);
        Regs {
            r15: greg(F_R15),
            r14: greg(F_R14),
            r13: greg(F_R13),
            r12: greg(F_R12),
            rbp: greg(F_RBP),
            rbx: greg(F_RBX),
            r11: greg(F_R11),
            r10: greg(F_R10),
            r9: greg(F_R9),
            r8: greg(F_R8),
            rax: greg(F_RAX),
            rcx: greg(F_RCX),
            rdx: greg(F_RDX),
            rsi: greg(F_RSI),
            rdi: greg(F_RDI),
            rip: greg(F_RIP),
            rflags: greg(F_RFLAGS),
            rsp: greg(F_RSP),
            cs: seg(F_CS),
            ss: seg(F_SS),
            fs_base: self.fs_base,
            gs_base: self.gs_base,
        }
    }

    /// Takes effect at the next resume. A non-canonical base is ignored.
    pub fn set_regs(&mut self, r: &Regs) {
        let frame = self.frame;
        for (off, v) in [
            (F_R15, r.r15),
            (F_R14, r.r14),
            (F_R13, r.r13),
            (F_R12, r.r12),
            (F_RBP, r.rbp),
            (F_RBX, r.rbx),
            (F_R11, r.r11),
            (F_R10, r.r10),
            (F_R9, r.r9),
            (F_R8, r.r8),
            (F_RAX, r.rax),
            (F_RCX, r.rcx),
            (F_RDX, r.rdx),
            (F_RSI, r.rsi),
            (F_RDI, r.rdi),
            (F_RIP, r.rip),
            (F_RFLAGS, r.rflags),
            (F_RSP, r.rsp),
        ] {
            self.st64(frame + off, v);
        }
        self.space.region.st16(self.base + frame + F_CS, r.cs);
        self.space.region.st16(self.base + frame + F_SS, r.ss);
        if r.fs_base != self.fs_base && r.fs_base < 1 << 47 {
            self.fs_base = r.fs_base;
            self.flags |= RF_SET_FS;
        }
        if r.gs_base != self.gs_base && r.gs_base < 1 << 47 {
            self.gs_base = r.gs_base;
            self.flags |= RF_SET_GS;
        }
    }

    /// Sets `rax`.
    pub fn set_return(&mut self, rax: u64) {
        self.st64(self.frame + F_RAX, rax);
    }

    /// The FPU state of the trapped frame in the layout of a signal frame's
    /// `fpstate` (xsave area with `sw_reserved`, final magic included). Empty
    /// if the application's frame has none that makes sense.
    pub fn fpstate(&self) -> Vec<u8> {
        let Some(shape) = self.space.core.frame.get() else {
            return Vec::new();
        };
        let at = self.ld64(self.frame + F_FPSTATE);
        let slot = REGION + self.base;
        let len = shape.initial.len();
        let Some(off) = at
            .checked_sub(slot)
            .filter(|o| *o <= SLOT_STRIDE - len as u64)
        else {
            return Vec::new();
        };
        let mut bytes = vec![0; len];
        self.slot_copy_from(off, &mut bytes);
        bytes
    }

    /// Replaces the FPU state; validated. An empty slice gives the initial
    /// state (execve).
    pub fn set_fpstate(&mut self, fp: &[u8]) -> io::Result<()> {
        let core = self.space.core.clone();
        let Some(shape) = core.frame.get() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let fp = if fp.is_empty() {
            &shape.initial[..]
        } else {
            fp
        };
        shape.check(fp)?;
        // Behind this frame as the kernel would lay it out.
        let off = u64::from(shape.fp) - u64::from(shape.frame) + self.frame;
        if off + fp.len() as u64 > SLOT_STRIDE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.slot_copy_to(off, fp);
        self.st64(self.frame + F_FPSTATE, REGION + self.base + off);
        Ok(())
    }

    // ---- window and actions ----------------------------------------------------------

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

    // ---- going on -----------------------------------------------------------------------

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

    pub(crate) fn answer(&mut self, flags: u32) {
        let ends = self.pending.ends.take();
        if self.space.is_dead() {
            self.answer_dead(ends);
            return;
        }
        self.st32(S_FLAGS, flags | self.flags);
        if self.flags & RF_SET_FS != 0 {
            self.st64(S_NEW_FS, self.fs_base);
        }
        if self.flags & RF_SET_GS != 0 {
            self.st64(S_NEW_GS, self.gs_base);
        }
        self.flags = 0;
        let queued = self.pieces.queued.len();
        self.st32(S_WB_COUNT, queued as u32);
        for i in 0..queued {
            let p = self.pieces.queued[i];
            let at = S_WB + i as u64 * ENTRY;
            self.st64(at, p.addr);
            self.st32(at + 8, p.len);
            self.st32(at + 12, p.off);
        }
        let sent = self.publish_actions();
        self.pieces.clear();
        if let Err(errno) = sent {
            self.fail(Event::ActionFailed { index: 0, errno });
            return;
        }
        match ends {
            None => {
                self.state().owner.store(owner::STUB, Ordering::SeqCst);
                self.space.started();
            }
            Some(end) => {
                if end == Ends::Process {
                    self.space.leaving.store(true, Ordering::SeqCst);
                }
                self.state().owner.store(owner::LEAVING, Ordering::SeqCst);
            }
        }
        let word = self.space.region.a32(self.base + S_STATE);
        if word.swap(ST_GO, Ordering::SeqCst) == ST_SLEEPING {
            crate::counters::count(&self.space.core.counts.wakes);
            sys::futex_wake(word, 1);
        }
        // It may have died before its owner was set.
        if self.space.is_dead() {
            self.space.report_dead(self.index);
        }
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
    fn publish_actions(&mut self) -> Result<(), i32> {
        let list: Vec<Action> = std::mem::take(&mut self.pending.list);
        let fds = std::mem::take(&mut self.pending.fds);
        self.st32(S_ACTIONS, list.len() as u32);
        self.st32(S_FDS, fds.len() as u32);
        if list.is_empty() {
            self.pending.list = list; // keeps its memory
            return Ok(());
        }
        let len = list.len() as u64 * ACTION;
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
        for (i, a) in list.iter().enumerate() {
            self.slot_copy_to(off + i as u64 * ACTION, &a.to_bytes());
        }
        self.st32(S_ACTIONS_OFF, off as u32);
        if !fds.is_empty() {
            let ticket = self.space.send_fds(&fds);
            let ticket = ticket.map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))?;
            self.st32(S_FD_TICKET, ticket);
        }
        self.pending.list = list;
        self.pending.list.clear();
        Ok(())
    }

    /// The call will take long: the stub should sleep, not spin for the
    /// answer. Costs the stub's futex wake later, so only when the task is
    /// about to wait.
    pub fn will_block(&self) {
        let word = self.space.region.a32(self.base + S_STATE);
        let _ = word.compare_exchange(
            ST_PUBLISHED,
            ST_BLOCKED,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
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

    // ---- new threads and address spaces ------------------------------------------------

    /// A child address space forked from this thread's at this thread's next
    /// resume (pushes the action; fails with `ActionFailed` there). The
    /// child's registers are a copy of this frame: edit them, then resume the
    /// child whenever wanted, before or after this thread.
    pub fn fork(&mut self) -> io::Result<(Arc<AddressSpace>, Thread)> {
        let core = self.space.core.clone();
        let Prepared {
            region,
            region_fd,
            ours,
            theirs,
        } = core.pool.take()?;
        // The child's frame lies where this one does.
        let len = (SLOT_STRIDE - self.frame) as usize;
        let at = self.base + self.frame;
        region.copy_between(at, &self.space.region, at, len);
        region.st32(self.base + S_STATE, ST_PUBLISHED);
        region.st32(self.base + S_START_FRAME, self.frame as u32);
        if !self.actions().fork(&region_fd, &theirs) {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        crate::counters::count(&core.counts.forks);
        let space = AddressSpace::new(&core, region, ours, self.index);
        space.set_vdso_moved(self.space.vdso_moved());
        let mut thread = Thread::new(space.clone(), self.index, self.frame);
        self.inherit(&mut thread);
        Ok((space, thread))
    }

    /// A new thread in the same address space; same rules.
    pub fn spawn_thread(&mut self) -> io::Result<Thread> {
        let index = self.space.allocate_slot()?;
        let base = u64::from(index) * SLOT_STRIDE;
        let space = self.space.clone();
        let region = &space.region;
        let len = (SLOT_STRIDE - self.frame) as usize;
        region.copy_between(base + self.frame, region, self.base + self.frame, len);
        // What points into the slot moves with it. sigreturn sets the new
        // thread's alternate stack.
        let old = REGION + self.base;
        let new = REGION + base;
        let fp = region.ld64(base + self.frame + F_FPSTATE);
        region.st64(
            base + self.frame + F_FPSTATE,
            fp.wrapping_sub(old).wrapping_add(new),
        );
        region.st64(base + self.frame + F_SS_SP, new + S_STACK);
        region.st64(base + self.frame + F_SS_SIZE, SLOT_STRIDE - S_STACK);
        region.st64(base + self.frame + F_SS_FLAGS, 0);
        for off in [S_ID_VALID, S_KICK_WANTED, S_KICK_SEEN, S_FUTEX_WAIT] {
            region.st32(base + off, 0);
        }
        region.st32(base + S_START_FRAME, self.frame as u32);
        region.a32(base + S_TID).store(TID_UNBORN, Ordering::SeqCst);
        region
            .a32(base + S_STATE)
            .store(ST_PUBLISHED, Ordering::SeqCst);
        if !self.actions().thread(index) {
            region.a32(base + S_TID).store(0, Ordering::SeqCst);
            self.space.free_slot(index);
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let mut thread = Thread::new(self.space.clone(), index, self.frame);
        self.inherit(&mut thread);
        Ok(thread)
    }

    /// Segment bases: the host thread has its parent's as they will be when
    /// it is made; set them explicitly.
    fn inherit(&self, child: &mut Thread) {
        child.fs_base = self.fs_base;
        child.gs_base = self.gs_base;
        child.flags = RF_SET_FS | RF_SET_GS;
    }
}

/// In a slot's tid word: the host thread doesn't exist yet.
const TID_UNBORN: u32 = u32::MAX;

impl Drop for Thread {
    fn drop(&mut self) {
        let last = self.space.handles.fetch_sub(1, Ordering::SeqCst) == 1;
        let owner = self.state().owner.load(Ordering::SeqCst);
        if last {
            // Whatever it does: nobody will ever answer it.
            if !self.space.leaving.swap(true, Ordering::SeqCst) || owner != owner::LEAVING {
                self.space.kill();
            }
            self.space.drop_from_active();
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

/// Stops a thread's user code from anywhere. Clone + Send + Sync.
#[derive(Clone)]
pub struct Kicker {
    space: Arc<AddressSpace>,
    index: u32,
}

impl Kicker {
    /// If the thread runs user code or waits in a futex of its own, it
    /// reports `Kick`, `FutexInterrupted` or another event soon; otherwise
    /// harmless (at most a spurious `Kick` after its next resume). A kick
    /// after `resume` is never lost.
    pub fn kick(&self) {
        let space = &self.space;
        let running = space.slots.get(self.index);
        if running.is_none_or(|s| s.owner.load(Ordering::SeqCst) != owner::STUB) {
            return;
        }
        crate::counters::count(&space.core.counts.kicks);
        if self.send() {
            return;
        }
        // The host thread has not said who it is. It looks at this word after
        // it has, and before the application runs.
        let base = u64::from(self.index) * SLOT_STRIDE;
        space
            .region
            .a32(base + S_KICK_WANTED)
            .store(1, Ordering::SeqCst);
        self.send();
    }

    fn send(&self) -> bool {
        let space = &self.space;
        let Some(pid) = space.live_pid() else {
            return false;
        };
        let tid = if space.leader.load(Ordering::Relaxed) == self.index {
            pid
        } else {
            let base = u64::from(self.index) * SLOT_STRIDE;
            // Hostile, but the host checks that it is a thread of `pid`.
            space
                .region
                .a32(base + S_TID)
                .load(Ordering::SeqCst)
                .cast_signed()
        };
        tid > 0 && space.signal(pid, |pid| sys::tgkill(pid, tid, SIG_KICK.cast_signed()))
    }
}
