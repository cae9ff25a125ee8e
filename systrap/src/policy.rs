//! Who spins, who sleeps, and where.
//!
//! The figures behind it (VMs without KVM, two to a few CPUs): a spinning
//! peer on another core answers in 0.35 µs, a futex hand-over on the same CPU
//! takes 7 µs a round trip, and waking an idle *other* CPU 35 to 75 µs. Hence:
//!
//! - One worker per CPU, pinned. A stub that rings wakes the worker of the CPU
//!   it is on: never a cross-CPU wake on the trap path.
//! - At most one worker spins ("hot"): all stubs then hand over to it without
//!   any host call. It spins only while events come fast (about twice the
//!   usual gap between events, if that is below `GAP_MAX`), while fewer
//!   threads run than there are CPUs, never when nothing runs, and never where
//!   a CPU quota would make the application pay for it.
//! - A worker can't help a stub that wants its own CPU. If the fast events
//!   come from the worker's own CPU, it passes the spinning on to another
//!   CPU's worker (one dear wake, then a thousand cheap calls), and stubs never
//!   spin for a worker of their own CPU.
//! - A stub spins before a futex wait of the application's while that pays,
//!   which shows only where the waker runs on another CPU (stub/futex.rs).
//! - A spin that finds itself preempted means that the CPU has other work: no
//!   spinning for a while.
//!
//! The doorbell words follow one rule, which makes sleeping safe: a worker
//! sets SLEEPING, then looks at all rings once more, then sleeps; a stub makes
//! its event visible, then reads the word (or HOT), then rings. With a full
//! barrier between the two steps on each side, one of them sees the other.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crate::Token;
use crate::core::Core;
use crate::mem::Shared;
use crate::placement::QUIET;
use crate::proto::*;
use crate::sys;
use crate::watch::{self, Seen};

/// Gaps between events longer than this are not worth a spin.
const GAP_MAX_NS: u64 = 75_000;
/// No gap counts for more: one long pause must not outweigh many short gaps.
const GAP_CAP_NS: u64 = 1_000_000;
/// A gap that is smaller than a hand-over on the same CPU.
const GAP_DOMINATED_NS: u64 = 5_000;
/// A spin lasts at most this long: a fork or an exec between many short calls.
const SPIN_MAX_NS: u64 = 300_000;
/// How soon a thread that ends has others go on that waited for it.
const LEAVING_NS: u64 = 50_000;
/// How long a stub spins for its answer while a worker is hot.
const STUB_SPIN_NS: u64 = 100_000;
/// How long a stub looks at a futex word before it sleeps (stub/futex.rs):
/// somewhat less than what sleeping costs where another CPU has to wake it.
const FUTEX_SPIN_NS: u64 = 10_000;
/// Fast events from its own CPU after which a worker passes the spinning on.
const PASS_AFTER: u32 = 12;
/// Looks at watched slots before all others are looked at.
const GLANCES: u32 = 32;
/// About the time of one.
const GLANCE_NS: u64 = 20;
/// Time that a spin loop's turn cannot take unless the CPU was taken away.
const PREEMPTED_NS: u64 = 200_000;
/// No spinning for so long after that.
const PENALTY_NS: u64 = 5_000_000;

struct Worker {
    cpu: u32,
    /// Another worker passed the spinning on to this one.
    passed: AtomicBool,
    /// Glances that showed something.
    glances: AtomicU32,
}

pub(crate) struct Policy {
    workers: Vec<Worker>,
    /// Worker index by CPU; none: the fallback.
    by_cpu: Vec<Option<usize>>,
    may_spin: bool,
    /// 1 + CPU of the hot worker, 0 if none. Ours; the doorbell has a copy.
    hot: AtomicU32,
    /// The hot worker is in its spin loop just now.
    spinning: AtomicBool,
    /// `wake` was called and no worker has returned for it yet.
    wake: AtomicBool,
    /// Moving average of the gap between events, cycles: from when all were
    /// handled, or the last came, to the next.
    gap: AtomicU64,
    /// When the last event was found, cycles.
    last: AtomicU64,
    /// Until when a thread that ends may wake others by itself, cycles.
    leaving: AtomicU64,
    /// No spinning before this time, cycles.
    not_before: AtomicU64,
    /// Recent fast events that came from the worker's own CPU.
    own_cpu: AtomicU32,
    clock: Clock,
    /// Masks of all CPUs, and of all but that of each worker.
    all: Vec<u8>,
    without: Vec<Vec<u8>>,
}

/// Cycles and nanoseconds.
struct Clock {
    start: Instant,
    start_tsc: u64,
    /// Cycles per 2^20 ns, refined with time.
    rate: AtomicU64,
}

impl Clock {
    fn new() -> Clock {
        let mut clock = Clock {
            start: Instant::now(),
            start_tsc: sys::tsc(),
            rate: AtomicU64::new(2 << 20),
        };
        // Both at one time, not with a preemption between them.
        for _ in 0..100 {
            let before = sys::tsc();
            clock.start = Instant::now();
            clock.start_tsc = sys::tsc();
            if clock.start_tsc.wrapping_sub(before) < 10_000 {
                break;
            }
        }
        while clock.start.elapsed() < Duration::from_micros(300) {}
        clock.refine();
        clock
    }

    /// The longer it runs the better it knows.
    fn refine(&self) {
        let before = sys::tsc();
        let ns = self.start.elapsed().as_nanos();
        let apart = sys::tsc().wrapping_sub(before);
        let cycles = before.wrapping_sub(self.start_tsc);
        // Not with a preemption between the two clocks.
        if ns == 0 || apart > 10_000 + (cycles >> 14) {
            return;
        }
        let rate = (u128::from(cycles) << 20) / ns;
        let rate = u64::try_from(rate).unwrap_or(2 << 20);
        self.rate
            .store(rate.clamp(1 << 16, 16 << 20), Ordering::Relaxed);
    }

    fn cycles(&self, ns: u64) -> u64 {
        let cycles = (u128::from(ns) * u128::from(self.rate.load(Ordering::Relaxed))) >> 20;
        u64::try_from(cycles).unwrap_or(u64::MAX)
    }

    fn ns(&self, cycles: u64) -> u64 {
        let ns = (u128::from(cycles) << 20) / u128::from(self.rate.load(Ordering::Relaxed));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

impl Policy {
    pub fn new(doorbell: &Shared, no_spin: bool) -> Policy {
        let mut cpus = sys::affinity();
        cpus.retain(|c| u64::from(*c) < D_CPUS);
        if cpus.is_empty() {
            cpus.push(0);
        }
        let mut by_cpu = vec![None; cpus.iter().max().map_or(0, |m| *m as usize + 1)];
        for (i, cpu) in cpus.iter().enumerate() {
            by_cpu[*cpu as usize] = Some(i);
        }
        let clock = Clock::new();
        let stub_spin = u32::try_from(clock.cycles(STUB_SPIN_NS)).unwrap_or(u32::MAX);
        doorbell.st32(D_SPIN, stub_spin);
        let may_spin = !no_spin && cpus.len() > 1 && !quota_is_tight(cpus.len());
        if may_spin {
            let spin = u32::try_from(clock.cycles(FUTEX_SPIN_NS)).unwrap_or(0);
            doorbell.st32(D_FUTEX_SPIN, spin);
        }
        let worker = |cpu| Worker {
            cpu,
            passed: AtomicBool::new(false),
            glances: AtomicU32::new(0),
        };
        let all = sys::cpu_mask(cpus.iter().copied());
        let without = |cpu: &u32| sys::cpu_mask(cpus.iter().copied().filter(|c| c != cpu));
        let without = cpus.iter().map(without).collect();
        Policy {
            all,
            without,
            workers: cpus.into_iter().map(worker).collect(),
            by_cpu,
            may_spin,
            hot: AtomicU32::new(0),
            spinning: AtomicBool::new(false),
            wake: AtomicBool::new(false),
            gap: AtomicU64::new(clock.cycles(GAP_CAP_NS)),
            last: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            not_before: AtomicU64::new(0),
            own_cpu: AtomicU32::new(0),
            clock,
        }
    }

    pub fn cycles(&self, ns: u64) -> u64 {
        self.clock.cycles(ns)
    }

    /// Whether calls come so fast that a CPU is better spent on answering them than on the application: below this gap
    /// a hand-over on the same CPU costs more than the work between two calls.
    pub fn calls_dominate(&self) -> bool {
        self.gap.load(Ordering::Relaxed) < self.clock.cycles(GAP_DOMINATED_NS)
    }

    /// The CPU of the hot worker.
    pub fn hot_cpu(&self) -> Option<u32> {
        self.hot.load(Ordering::Relaxed).checked_sub(1)
    }

    /// All CPUs, as an affinity mask.
    pub fn cpus(&self) -> &[u8] {
        &self.all
    }

    /// All CPUs but one.
    pub fn cpus_without(&self, cpu: u32) -> &[u8] {
        match self.by_cpu.get(cpu as usize) {
            Some(Some(worker)) => &self.without[*worker],
            _ => &self.all,
        }
    }

    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    pub fn cpu_of(&self, worker: usize) -> u32 {
        self.workers[worker].cpu
    }

    /// Nanoseconds of a cycle count (of a stub's; any value is fine).
    pub fn ns(&self, cycles: u64) -> u64 {
        self.clock.refine();
        self.clock.ns(cycles)
    }
}

fn line(cpu: u32) -> u64 {
    D_CPU + u64::from(cpu) * D_CPU_STRIDE
}

/// Whether the cgroup's CPU quota leaves less than all of our CPUs.
fn quota_is_tight(cpus: usize) -> bool {
    let Ok(own) = std::fs::read_to_string("/proc/self/cgroup") else {
        return false;
    };
    let allowed = |quota: &str, period: &str| {
        let (quota, period) = (
            quota.trim().parse::<u64>().ok()?,
            period.trim().parse::<u64>().ok()?,
        );
        Some(quota / period.max(1) < cpus as u64)
    };
    own.lines().any(|l| {
        let mut parts = l.splitn(3, ':');
        let (_, kind, path) = (
            parts.next(),
            parts.next().unwrap_or(""),
            parts.next().unwrap_or("/"),
        );
        let mut dir = std::path::Path::new(path.trim_start_matches('/'));
        loop {
            let tight = if kind.is_empty() {
                std::fs::read_to_string(
                    std::path::Path::new("/sys/fs/cgroup")
                        .join(dir)
                        .join("cpu.max"),
                )
                .ok()
                .and_then(|s| {
                    let (quota, period) = s.split_once(' ')?;
                    allowed(quota, period)
                })
            } else if kind.split(',').any(|k| k == "cpu") {
                let dir = std::path::Path::new("/sys/fs/cgroup/cpu").join(dir);
                let read = |f: &str| std::fs::read_to_string(dir.join(f)).ok();
                read("cpu.cfs_quota_us")
                    .zip(read("cpu.cfs_period_us"))
                    .and_then(|(quota, period)| allowed(&quota, &period))
            } else {
                None
            };
            if tight == Some(true) {
                return true;
            }
            match dir.parent() {
                Some(parent) => dir = parent,
                None => return false,
            }
        }
    })
}

impl Core {
    /// See `Platform::enter_worker`.
    pub fn enter_worker(&self, worker: usize) {
        let cpu = self.policy.cpu_of(worker);
        sys::pin(cpu);
        self.doorbell.a32(D_FALLBACK).store(cpu, Ordering::SeqCst);
        self.doorbell
            .a32(line(cpu))
            .store(DS_RUNNING, Ordering::SeqCst);
    }

    /// See `Platform::leave_worker`. A wake that this worker has taken, or that
    /// counted on it, is another's now.
    pub fn leave_worker(&self, worker: usize) {
        self.cool(&self.policy.workers[worker]);
        let cpu = self.policy.cpu_of(worker);
        self.doorbell
            .a32(line(cpu))
            .store(DS_NONE, Ordering::SeqCst);
        self.wake();
    }

    /// Whether someone called `wake`; only one worker gets it.
    fn take_wake(&self) -> bool {
        self.policy.wake.load(Ordering::Relaxed) && self.policy.wake.swap(false, Ordering::SeqCst)
    }

    /// See `Platform::wait_timeout`.
    pub fn wait(&self, worker: usize, out: &mut Vec<Token>, max: Option<Duration>) {
        let p = &self.policy;
        let me = &p.workers[worker];
        if self.glance(me, out) {
            return;
        }
        let start = sys::tsc();
        let deadline = max.map(|m| Instant::now() + m);
        loop {
            if self.look(me, start, out) {
                return;
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|l| l.is_zero()) {
                self.cool(me);
                return;
            }
            if self.pool.chore() {
                continue;
            }
            if let Some(cycles) = self.spin_budget(me)
                && self.spin(me, start, cycles, deadline, out)
            {
                return;
            }
            self.cool(me);
            // See the module's text for why this order is safe.
            let word = self.doorbell.a32(line(me.cpu));
            word.store(DS_SLEEPING, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let found = self.look(me, start, out);
            if !found && !me.passed.load(Ordering::SeqCst) {
                self.counts.sleeps();
                self.sleep(word, left);
            }
            word.store(DS_RUNNING, Ordering::SeqCst);
            if found {
                return;
            }
        }
    }

    /// Sleeps until rung, or `left` is over. Threads don't stay away from a CPU while nothing happens.
    fn sleep(&self, word: &AtomicU32, left: Option<Duration>) {
        if !self.placement.has_moved() {
            sys::futex_wait(word, DS_SLEEPING, left);
            return;
        }
        let short = left.unwrap_or(QUIET).min(QUIET);
        sys::futex_wait(word, DS_SLEEPING, Some(short));
        if word.load(Ordering::SeqCst) == DS_SLEEPING {
            self.release_moved();
        }
    }

    /// Looks for a short time at what this worker watches only: most events of a thread that makes one call after the
    /// other come here. All others get their turn at every eighth.
    fn glance(&self, me: &Worker, out: &mut Vec<Token>) -> bool {
        for i in 0..GLANCES {
            match watch::poll(out) {
                Seen::Nothing => return false,
                Seen::NoEvent => {}
                Seen::Event(mut cpu) => {
                    let turn = me.glances.load(Ordering::Relaxed).wrapping_add(1);
                    me.glances.store(turn, Ordering::Relaxed);
                    if turn.is_multiple_of(8) {
                        cpu = self.poll(out).or(cpu);
                        self.policy.last.store(sys::tsc(), Ordering::Relaxed);
                    }
                    // Reading the clock takes longer than most of these.
                    let gap = self.policy.clock.cycles(u64::from(i) * GLANCE_NS);
                    self.note(me, gap, cpu);
                    return true;
                }
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Looks for events and wake-ups; keeps the average gap.
    fn look(&self, me: &Worker, start: u64, out: &mut Vec<Token>) -> bool {
        let mut cpu = None;
        if let Seen::Event(on) = watch::poll(out) {
            cpu = on;
        }
        cpu = self.poll(out).or(cpu);
        if out.is_empty() {
            return self.take_wake();
        }
        // This worker may have slept while another one handled events.
        let p = &self.policy;
        let now = sys::tsc();
        let since = start.max(p.last.load(Ordering::Relaxed));
        p.last.store(now, Ordering::Relaxed);
        self.note(me, now.saturating_sub(since), cpu);
        true
    }

    /// Events have come after a gap of so many cycles, the last from this CPU.
    fn note(&self, me: &Worker, gap: u64, cpu: Option<u32>) {
        let p = &self.policy;
        let gap = gap.min(p.clock.cycles(GAP_CAP_NS));
        let old = p.gap.load(Ordering::Relaxed);
        p.gap.store(old - old / 8 + gap / 8, Ordering::Relaxed);
        if cpu == Some(me.cpu) {
            p.own_cpu.fetch_add(1, Ordering::Relaxed);
        } else if cpu.is_some() && p.own_cpu.load(Ordering::Relaxed) != 0 {
            p.own_cpu.store(0, Ordering::Relaxed);
        }
    }

    /// Cycles that this worker should spin for; None: not at all.
    fn spin_budget(&self, me: &Worker) -> Option<u64> {
        let p = &self.policy;
        if !p.may_spin {
            return None;
        }
        let gap = p.gap.load(Ordering::Relaxed);
        let passed = me.passed.swap(false, Ordering::SeqCst);
        if gap > p.clock.cycles(GAP_MAX_NS) || sys::tsc() < p.not_before.load(Ordering::Relaxed) {
            return None;
        }
        let busy = self.busy();
        if busy == 0 && sys::tsc() >= p.leaving.load(Ordering::Relaxed) || self.crowded(busy) {
            return None;
        }
        let own = p.own_cpu.load(Ordering::Relaxed);
        if own > 0 && !passed {
            if own >= PASS_AFTER {
                p.own_cpu.store(0, Ordering::Relaxed);
                self.pass(me);
            }
            return None;
        }
        Some(p.clock.cycles(SPIN_MAX_NS))
    }

    /// A thread ends. It publishes nothing any more, but may be what others wait for in futexes.
    pub(crate) fn leaves(&self) {
        let p = &self.policy;
        let until = sys::tsc() + p.clock.cycles(LEAVING_NS);
        p.leaving.store(until, Ordering::Relaxed);
    }

    /// Threads that use a CPU.
    fn busy(&self) -> u32 {
        self.active.read().iter().map(|s| s.busy()).sum()
    }

    /// Wakes another CPU's worker to spin in this one's place.
    fn pass(&self, me: &Worker) {
        let p = &self.policy;
        if p.hot.load(Ordering::Relaxed) != 0 {
            self.cool(me);
        }
        for other in p.workers.iter().filter(|w| w.cpu != me.cpu) {
            if self.doorbell.ld32(line(other.cpu)) == DS_SLEEPING {
                self.counts.passes();
                // Until it runs, stubs ring for their own CPU's worker. That one is not to get hot in its place.
                let next = other.cpu + 1;
                let free = p
                    .hot
                    .compare_exchange(0, next, Ordering::SeqCst, Ordering::SeqCst);
                if free.is_ok() {
                    other.passed.store(true, Ordering::SeqCst);
                    self.wake_worker(other.cpu);
                }
                return;
            }
        }
    }

    /// Gets a sleeping worker up. Changing the word first closes the window
    /// between its last look and its sleep.
    fn wake_worker(&self, cpu: u32) -> bool {
        let word = self.doorbell.a32(line(cpu));
        let was =
            word.compare_exchange(DS_SLEEPING, DS_RUNNING, Ordering::SeqCst, Ordering::SeqCst);
        if was.is_ok() {
            sys::futex_wake(word, i32::MAX);
        }
        was.is_ok()
    }

    /// Spins until there is something or the time is over.
    fn spin(
        &self,
        me: &Worker,
        start: u64,
        cycles: u64,
        deadline: Option<Instant>,
        out: &mut Vec<Token>,
    ) -> bool {
        let p = &self.policy;
        let own = me.cpu + 1;
        let was = p
            .hot
            .compare_exchange(0, own, Ordering::SeqCst, Ordering::SeqCst);
        if was.is_err_and(|other| other != own) {
            return false; // another one is hot
        }
        if self.doorbell.ld32(D_HOT) != own {
            self.doorbell.a32(D_HOT).store(own, Ordering::SeqCst);
        }
        watch::start(self);
        let from = sys::tsc();
        let preempted = p.clock.cycles(PREEMPTED_NS);
        let mut last = from;
        p.spinning.store(true, Ordering::SeqCst);
        let mut found = false;
        let mut turn = 0u32;
        loop {
            if self.look(me, start, out) {
                found = true;
                break;
            }
            std::hint::spin_loop();
            let now = sys::tsc();
            if now.wrapping_sub(last) > preempted {
                let until = now + p.clock.cycles(PENALTY_NS);
                p.not_before.store(until, Ordering::Relaxed);
                break;
            }
            last = now;
            turn = turn.wrapping_add(1);
            if now.wrapping_sub(from) > cycles
                || (turn.is_multiple_of(64) && deadline.is_some_and(|d| Instant::now() >= d))
            {
                break;
            }
        }
        p.spinning.store(false, Ordering::SeqCst);
        if found {
            self.counts.spin_hits();
        } else {
            self.counts.spin_misses();
        }
        found
    }

    /// Not hot any more. A stub that saw HOT is found by the look that
    /// follows.
    fn cool(&self, me: &Worker) {
        let p = &self.policy;
        let own = me.cpu + 1;
        if p.hot.load(Ordering::Relaxed) == own {
            self.doorbell.a32(D_HOT).store(0, Ordering::SeqCst);
            p.hot.store(0, Ordering::SeqCst);
            watch::stop();
        }
    }

    /// See `Platform::wake`.
    pub fn wake(&self) {
        let p = &self.policy;
        p.wake.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if p.spinning.load(Ordering::SeqCst) {
            return;
        }
        let here = p.by_cpu.get(sys::current_cpu() as usize).copied().flatten();
        if let Some(w) = here {
            // This CPU's worker sleeps (it gets up), or runs and will look
            // before it sleeps.
            let cpu = p.workers[w].cpu;
            if self.wake_worker(cpu) || self.doorbell.ld32(line(cpu)) == DS_RUNNING {
                return;
            }
        }
        for w in &p.workers {
            if self.wake_worker(w.cpu) {
                return;
            }
        }
    }
}
