//! Address spaces: one host process each.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::Token;
use crate::core::{Core, Known};
use crate::layout::*;
use crate::mem::Shared;
use crate::patch::Patches;
use crate::proto::*;
use crate::slot::{SlotTable, owner};
use crate::sys::{self, Hello};

/// Why a kick or copy has no pid to use.
const UNKNOWN: i32 = 0;
/// A process that can't have a pid: it ended before it told us.
const NEVER: i32 = -1;

/// Free slots of a region.
#[derive(Default)]
struct Slots {
    /// Never used from here on.
    next: u32,
    /// Used before; free once the host thread is dead.
    used: Vec<u32>,
}

/// What a process has used (getrusage(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Nanoseconds in the application and the stub.
    pub user_ns: u64,
    /// Nanoseconds in the host's kernel: faults, signals, the stub's calls.
    pub system_ns: u64,
    /// Largest resident set, KiB.
    pub max_rss_kib: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    /// Context switches.
    pub voluntary: u64,
    pub involuntary: u64,
}

/// The host's account of a process, once it has been reaped.
#[derive(Debug, Default)]
pub struct FinalUsage(OnceLock<Usage>);

impl FinalUsage {
    pub(crate) fn set(&self, usage: Usage) {
        let _ = self.0.set(usage);
    }

    /// `None` while the process lives.
    pub fn get(&self) -> Option<Usage> {
        self.0.get().copied()
    }
}

/// One stub process and its region. Send + Sync. When its last thread's
/// handle is dropped, a process that still lives is killed.
pub struct AddressSpace {
    pub(crate) core: Arc<Core>,
    /// The region, hostile.
    pub(crate) region: Shared,
    /// Our end of its control socket.
    ctl: OwnedFd,
    /// Host pid; UNKNOWN until the host has told; NEVER.
    pid: AtomicI32,
    dead: AtomicBool,
    status: AtomicI32,
    usage: Arc<FinalUsage>,
    /// kill() came before the pid.
    kill_wanted: AtomicBool,
    /// The Sentry has asked the process to end.
    pub(crate) leaving: AtomicBool,
    pub(crate) slots: SlotTable,
    slots_free: Mutex<Slots>,
    /// The slot of the process's first thread.
    pub(crate) leader: AtomicU32,
    /// `Thread` handles.
    pub(crate) handles: AtomicU32,
    /// Threads that the stub has.
    pub(crate) running: AtomicU32,
    in_active: AtomicBool,
    /// The next turn on the control socket.
    tickets: Mutex<u32>,
    /// Where the vDSO was moved to; 0 while it is in its place.
    vdso_at: AtomicU64,
    /// Rewritten call sites.
    pub(crate) patches: Patches,
    /// The zygote: workers don't look at its ring.
    hidden: AtomicBool,
    this: Weak<AddressSpace>,
    /// Whose fork it is.
    parent: Weak<AddressSpace>,
}

impl AddressSpace {
    /// For a process that will be made with this region and control socket;
    /// its one thread is in `slot`.
    pub(crate) fn new(
        core: &Arc<Core>,
        region: Shared,
        ctl: OwnedFd,
        slot: u32,
        parent: Weak<AddressSpace>,
    ) -> Arc<Self> {
        let space = Arc::new_cyclic(|this| AddressSpace {
            core: core.clone(),
            region,
            ctl,
            pid: AtomicI32::new(UNKNOWN),
            dead: AtomicBool::new(false),
            status: AtomicI32::new(0),
            usage: Arc::default(),
            kill_wanted: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            slots: SlotTable::new(),
            slots_free: Mutex::new(Slots {
                next: slot + 1,
                used: (0..slot).collect(),
            }),
            leader: AtomicU32::new(slot),
            handles: AtomicU32::new(0),
            running: AtomicU32::new(0),
            in_active: AtomicBool::new(false),
            tickets: Mutex::new(0),
            vdso_at: AtomicU64::new(0),
            patches: Patches::default(),
            hidden: AtomicBool::new(false),
            this: this.clone(),
            parent,
        });
        core.unresolved.lock().push(space.this.clone());
        space
    }

    // ---- the application's memory -------------------------------------------

    /// Copies from the application's memory; the number of bytes copied
    /// before the first fault. `process_vm_readv(2)`.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let len = below_task_size(addr, buf.len());
        match self.pid_for_copy() {
            Some(pid) => sys::vm_read(pid, addr, &mut buf[..len]),
            None => 0,
        }
    }

    /// Copies to the application's memory; the number of bytes copied before
    /// the first fault. Respects page protections. `process_vm_writev(2)`.
    pub fn write(&self, addr: u64, buf: &[u8]) -> usize {
        let len = below_task_size(addr, buf.len());
        match self.pid_for_copy() {
            Some(pid) => sys::vm_write(pid, addr, &buf[..len]),
            None => 0,
        }
    }

    /// The same from a range of the region.
    pub(crate) fn write_own(&self, addr: u64, off: u64, len: usize) -> usize {
        let len = below_task_size(addr, len);
        match self.pid_for_copy() {
            Some(pid) => sys::vm_write_raw(pid, addr, self.region.ptr(off, len), len),
            None => 0,
        }
    }

    /// A child says hello before anything else, so that it comes soon once
    /// the parent's fork was performed.
    fn pid_for_copy(&self) -> Option<i32> {
        for _ in 0..20 {
            if let Some(pid) = self.live_pid() {
                return Some(pid);
            }
            if self.is_dead() || self.pid.load(Ordering::Acquire) == NEVER {
                return None;
            }
            sys::wait_readable(&self.ctl, Duration::from_millis(50));
        }
        None
    }

    // ---- the host process -----------------------------------------------------

    /// SIGKILL for the host process. `Dead` events follow from
    /// [`crate::Platform::reap`] for threads that are running.
    pub fn kill(&self) {
        self.kill_wanted.store(true, Ordering::SeqCst);
        match self.live_pid() {
            Some(pid) => {
                self.signal(pid, |pid| {
                    sys::kill(pid);
                    true
                });
            }
            None => self.ask_to_die(),
        }
    }

    /// Gives up on a process that was killed and has not even said hello: as
    /// if it had ended. (Its parent holds its control socket and doesn't fork,
    /// or it was stopped before it could. If it comes after all, nobody answers
    /// it, and it goes with its parent, whose process group it is in.)
    pub fn abandon(&self) {
        if self.kill_wanted.load(Ordering::SeqCst) && self.live_pid().is_none() {
            let pids = self.core.pids.lock();
            let never =
                self.pid
                    .compare_exchange(UNKNOWN, NEVER, Ordering::SeqCst, Ordering::SeqCst);
            drop(pids);
            if never.is_ok() {
                self.core.counts.violations();
                self.core
                    .unresolved
                    .lock()
                    .retain(|s| !s.ptr_eq(&self.this));
                self.never_lived();
            }
        }
    }

    /// A fork child that has not said hello ends by itself: it looks at this
    /// word after its hello, whenever it is let go.
    fn ask_to_die(&self) {
        self.region.a32(P_KILL).store(1, Ordering::SeqCst);
        if self.pid.load(Ordering::SeqCst) == UNKNOWN {
            let leader = u64::from(self.leader.load(Ordering::Relaxed));
            let slot = leader * SLOT_STRIDE;
            let answer = self.region.a32(slot + S_ACK);
            answer.store(FIRST_SEQ, Ordering::SeqCst);
            let word = self.region.a32(slot + S_STATE);
            word.store(ST_AWAKE, Ordering::SeqCst);
            sys::futex_wake(word, 1);
        }
    }

    /// Whether the host process has ended and been reaped.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// The host process, as the host itself told us.
    pub fn host_pid(&self) -> Option<i32> {
        self.live_pid()
    }

    /// What the process will have used. Outlives the address space.
    pub fn final_usage(&self) -> Arc<FinalUsage> {
        Arc::clone(&self.usage)
    }

    pub(crate) fn status(&self) -> i32 {
        self.status.load(Ordering::Relaxed)
    }

    /// The pid of a process that isn't reaped yet, asked for if need be.
    pub(crate) fn live_pid(&self) -> Option<i32> {
        if self.is_dead() {
            return None;
        }
        match self.pid.load(Ordering::Acquire) {
            UNKNOWN => self.resolve(),
            pid if pid > 0 => Some(pid),
            _ => None,
        }
    }

    /// The pid, if the host has told it.
    pub(crate) fn known_pid(&self) -> Option<i32> {
        Some(self.pid.load(Ordering::Acquire)).filter(|pid| *pid > 0)
    }

    /// Does something to a pid while it can't be reaped (and reused).
    pub(crate) fn signal(&self, pid: i32, f: impl FnOnce(i32) -> bool) -> bool {
        let pids = self.core.pids.lock();
        let ours = pids.get(&pid).is_some_and(|k| k.space.ptr_eq(&self.this));
        ours && f(pid)
    }

    /// Calls `f` with `pid`, which is this process's, and the thread of a slot, while the process can't be reaped. The thread is
    /// what the process claims: only the host's word that it is one of `pid` (tgkill(2)) is worth something. False if the
    /// process is gone or the thread has not said who it is, or `f` says so.
    pub(crate) fn with_thread(
        &self,
        pid: i32,
        index: u32,
        f: impl FnOnce(i32, i32) -> bool,
    ) -> bool {
        let tid = if self.leader.load(Ordering::Relaxed) == index {
            pid
        } else {
            let word = u64::from(index) * SLOT_STRIDE + S_TID;
            self.region.a32(word).load(Ordering::SeqCst).cast_signed()
        };
        tid > 0 && self.signal(pid, |pid| f(pid, tid))
    }

    /// The pid, known from fork(2) itself.
    pub(crate) fn set_pid(&self, pid: i32) {
        self.core.pids.lock().insert(pid, self.known(pid));
        self.pid.store(pid, Ordering::Release);
        self.core
            .unresolved
            .lock()
            .retain(|s| !s.ptr_eq(&self.this));
    }

    /// What is to be known of a pid that the host has just told.
    fn known(&self, pid: i32) -> Known {
        Known {
            space: self.this.clone(),
            grouped: sys::make_group(pid),
            usage: Arc::clone(&self.usage),
        }
    }

    pub(crate) fn weak(&self) -> Weak<AddressSpace> {
        self.this.clone()
    }

    pub(crate) fn is_child_of(&self, parent: &Weak<AddressSpace>) -> bool {
        self.parent.ptr_eq(parent)
    }

    /// Waits for the hello of a child that was just forked.
    pub(crate) fn wait_resolved(&self, max: Duration) {
        if self.resolve().is_none() && self.pid.load(Ordering::Acquire) == UNKNOWN {
            sys::wait_readable(&self.ctl, max);
            self.resolve();
        }
    }

    /// Reads the child's hello if it is there.
    pub(crate) fn resolve(&self) -> Option<i32> {
        let mut pids = self.core.pids.lock();
        match self.pid.load(Ordering::Acquire) {
            UNKNOWN => {}
            pid => return (pid > 0).then_some(pid),
        }
        let pid = match sys::receive_hello(&self.ctl) {
            Hello::NotYet => return None,
            // A pid that is taken: someone said hello in the child's place.
            Hello::From(pid) if !pids.contains_key(&pid) => {
                pids.insert(pid, self.known(pid));
                pid
            }
            Hello::From(_) => {
                self.core.counts.violations();
                NEVER
            }
            Hello::Closed => NEVER,
        };
        self.pid.store(pid, Ordering::Release);
        if pid > 0 && self.kill_wanted.load(Ordering::SeqCst) {
            sys::kill(pid);
        }
        drop(pids);
        self.core
            .unresolved
            .lock()
            .retain(|s| !s.ptr_eq(&self.this));
        if pid == NEVER {
            self.never_lived();
            return None;
        }
        Some(pid)
    }

    /// Reports the end of a process that there has never been.
    fn never_lived(&self) {
        let mut tokens = Vec::new();
        self.usage.set(Usage::default());
        self.died(libc::SIGKILL, &mut tokens);
        for t in tokens {
            self.core.inject(t);
        }
    }

    /// The host process is gone: its running threads have an event.
    pub(crate) fn died(&self, status: i32, out: &mut Vec<Token>) {
        let asked = status == libc::SIGKILL << 8 && self.kill_wanted.load(Ordering::Relaxed);
        let status = if asked { libc::SIGKILL } else { status };
        self.status.store(status, Ordering::Relaxed);
        self.dead.store(true, Ordering::SeqCst);
        let leaving = self.leaving.load(Ordering::SeqCst);
        for slot in self.slots.iter() {
            // In a process that was asked to end, nobody waits for a report.
            if let Some(token) = self.take_report(slot)
                && !leaving
            {
                out.push(token);
            }
        }
        self.drop_from_active();
    }

    pub(crate) fn drop_from_active(&self) {
        let mut list = self.core.active.write();
        let at = list.iter().position(|s| s.this.ptr_eq(&self.this));
        let this = at.map(|at| list.swap_remove(at));
        self.in_active.store(false, Ordering::SeqCst);
        drop(list);
        drop(this);
    }

    // ---- scanning ---------------------------------------------------------------

    /// From the stub to REPORTED, once; its token.
    fn take_report(&self, slot: &crate::slot::SlotState) -> Option<Token> {
        let was = slot.owner.load(Ordering::Acquire);
        self.take_report_of(slot, was)
    }

    /// The same, if nothing has happened since its owner was `was`.
    fn take_report_of(&self, slot: &crate::slot::SlotState, was: u32) -> Option<Token> {
        if !owner::is_stub(was) {
            return None;
        }
        slot.owner
            .compare_exchange(was, owner::REPORTED, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        self.running.fetch_sub(1, Ordering::Relaxed);
        Some(Token(slot.token.load(Ordering::Relaxed)))
    }

    /// A thread of a dead process reports so.
    pub(crate) fn report_dead(&self, index: u32) {
        self.drop_from_active();
        self.report_gone(index);
    }

    /// A thread that runs reports without its stub's doing.
    pub(crate) fn report_gone(&self, index: u32) {
        if let Some(token) = self.slots.get(index).and_then(|s| self.take_report(s)) {
            self.core.inject(token);
        }
    }

    /// The token of a thread that has published an event which nobody has
    /// reported yet, and the CPU where it runs, if it stays there.
    pub(crate) fn report_published(&self, index: u32) -> Option<(Token, Option<u32>)> {
        let slot = self.slots.get(index)?;
        let base = u64::from(index) * SLOT_STRIDE;
        let was = slot.owner.load(Ordering::Acquire);
        let seq = self.region.a32(base + S_SEQ).load(Ordering::Acquire);
        if was == owner::stub(seq) {
            return None;
        }
        let token = self.take_report_of(slot, was)?;
        let on = self.region.ld32(base + S_CPU);
        let moved = self.core.policy.hot_cpu() == Some(on) && self.core.keep_off(self, index, on);
        self.core.counts.traps();
        Some((token, (!moved).then_some(on)))
    }

    /// Appends the tokens of threads that have published an event; the CPU
    /// of the last.
    pub(crate) fn scan(&self, out: &mut Vec<Token>) -> Option<u32> {
        let mut cpu = None;
        if self.region.ld64(P_PENDING0) != 0 {
            let bits = self.region.a64(P_PENDING0).swap(0, Ordering::AcqRel);
            cpu = self.scan_word(0, bits, out);
        }
        for half in 0..2 {
            let at = P_SUMMARY + half * 8;
            if self.region.ld64(at) == 0 {
                continue;
            }
            let mut words = self.region.a64(at).swap(0, Ordering::AcqRel);
            while words != 0 {
                let word = half * 64 + u64::from(words.trailing_zeros());
                words &= words - 1;
                let bits = self
                    .region
                    .a64(P_PENDING + word * 8)
                    .swap(0, Ordering::AcqRel);
                cpu = self.scan_word(word, bits, out).or(cpu);
            }
        }
        cpu
    }

    fn scan_word(&self, word: u64, mut bits: u64, out: &mut Vec<Token>) -> Option<u32> {
        let mut cpu = None;
        while bits != 0 {
            let index = (word * 64) as u32 + bits.trailing_zeros();
            bits &= bits - 1;
            // A bit without an event: set twice for one, see watch.rs.
            if let Some((token, on)) = self.report_published(index) {
                cpu = on.or(cpu);
                out.push(token);
            }
        }
        cpu
    }

    /// Threads that run, without those that wait in futexes (a hint).
    pub(crate) fn busy(&self) -> u32 {
        let running = self.running.load(Ordering::Relaxed);
        running.saturating_sub(self.region.ld32(P_WAITERS))
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn in_active(&self) -> bool {
        self.in_active.load(Ordering::SeqCst)
    }

    /// To be called with the list's lock held.
    pub(crate) fn leave_active(&self) {
        self.in_active.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !self.is_quiet() {
            self.in_active.store(true, Ordering::SeqCst);
        }
    }

    /// A thread is about to run.
    pub(crate) fn started(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
        if !self.in_active.load(Ordering::SeqCst)
            && !self.hidden.load(Ordering::Relaxed)
            && let Some(this) = self.this.upgrade()
        {
            let mut list = self.core.active.write();
            if !self.in_active.swap(true, Ordering::SeqCst) {
                list.push(this);
            }
        }
    }

    /// Keeps it from the workers.
    pub(crate) fn hide(&self) {
        self.hidden.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.hidden.load(Ordering::Relaxed)
    }

    pub(crate) fn vdso_moved(&self) -> Option<u64> {
        Some(self.vdso_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    pub(crate) fn set_vdso_moved(&self, at: Option<u64>) {
        self.vdso_at.store(at.unwrap_or(0), Ordering::Relaxed);
    }

    // ---- slots and descriptors -----------------------------------------------------

    /// A slot whose host thread, if it had one, is dead.
    pub(crate) fn allocate_slot(&self) -> io::Result<u32> {
        let mut free = self.slots_free.lock();
        let dead = |i: &u32| {
            let tid = self.region.ld32(u64::from(*i) * SLOT_STRIDE + S_TID);
            let owner = self
                .slots
                .get(*i)
                .map_or(owner::FREE, |s| s.owner.load(Ordering::Relaxed));
            tid == 0 && matches!(owner, owner::FREE | owner::LEAVING)
        };
        if let Some(at) = free.used.iter().position(dead) {
            return Ok(free.used.swap_remove(at));
        }
        if u64::from(free.next) >= SLOTS {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        free.next += 1;
        Ok(free.next - 1)
    }

    /// Gives a slot back; it is used again once its host thread is dead.
    pub(crate) fn free_slot(&self, index: u32) {
        self.slots_free.lock().used.push(index);
    }

    /// The same for a slot whose host thread was never made.
    pub(crate) fn free_unborn_slot(&self, index: u32) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let tid = u64::from(index) * SLOT_STRIDE + S_TID;
        self.region.a32(tid).store(0, Ordering::SeqCst);
        if owner::is_stub(slot.owner.swap(owner::FREE, Ordering::SeqCst)) {
            self.running.fetch_sub(1, Ordering::Relaxed);
        }
        slot.unborn.store(false, Ordering::SeqCst);
        self.free_slot(index);
    }

    /// Sends descriptors for one thread's action list; its turn.
    pub(crate) fn send_fds(&self, fds: &[Arc<OwnedFd>]) -> io::Result<u32> {
        let borrowed: Vec<_> = fds.iter().map(|f| f.as_fd()).collect();
        let mut ticket = self.tickets.lock();
        sys::send_fds(&self.ctl, &borrowed)?;
        let mine = *ticket;
        *ticket = mine.wrapping_add(1);
        Ok(mine)
    }
}

/// The part of a range of `len` bytes that the application may have.
fn below_task_size(addr: u64, len: usize) -> usize {
    let room = TASK_SIZE.saturating_sub(addr);
    usize::try_from(room).unwrap_or(usize::MAX).min(len)
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        if !*self.dead.get_mut() {
            self.end();
        }
        let region = std::mem::replace(&mut self.region, Shared::none());
        self.core.pool.discard(region);
    }
}

impl AddressSpace {
    /// Ends a process that nobody will ever answer again.
    fn end(&mut self) {
        if *self.pid.get_mut() == UNKNOWN {
            self.resolve();
        }
        match *self.pid.get_mut() {
            // It may exist, or come to exist when its parent gets on.
            UNKNOWN => {
                self.core.orphans.fetch_add(1, Ordering::Relaxed);
                self.ask_to_die();
            }
            NEVER => {}
            pid => {
                // Not reaped if `pids` still has our entry; else another
                // thread is just reaping it.
                let pids = self.core.pids.lock();
                if pids.contains_key(&pid) {
                    sys::kill(pid);
                }
            }
        }
    }
}
