//! What processes use (getrusage(2)), by the host's own account of the stubs: nothing here is counted or estimated by us.
//!
//! A process that lives is asked after in the host's /proc. What ended processes have used is known once the host process has
//! been reaped, a moment after the application's parent hears of the end: until then an [`Account`] holds a claim on it.

use super::{Cx, Deadline, Task, ThreadGroup};
use crate::host::mm::proc_file;
use crate::host::sys::cpu_time;
use arch::abi::{Rusage, Timeval};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use systrap::{AddressSpace, FinalUsage};

/// How long a caller of wait4(2) or getrusage(2) waits for the host's last word on a dead process, and between looks.
const PATIENCE: u64 = 100_000_000;
const LOOK: u64 = 200_000;

fn time(ns: u64) -> Timeval {
    let us = ns / 1000;
    Timeval {
        sec: (us / 1_000_000).cast_signed(),
        usec: (us % 1_000_000).cast_signed(),
    }
}

fn nanos(t: Timeval) -> u64 {
    t.sec.cast_unsigned() * 1_000_000_000 + t.usec.cast_unsigned() * 1000
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Adds `b` to `a`; of resident sets the larger stays.
pub fn add_usage(a: &mut Rusage, b: &Rusage) {
    let sum = |x: Timeval, y: Timeval| time(nanos(x).saturating_add(nanos(y)));
    a.utime = sum(a.utime, b.utime);
    a.stime = sum(a.stime, b.stime);
    a.maxrss = a.maxrss.max(b.maxrss);
    for (x, y) in [
        (&mut a.minflt, b.minflt),
        (&mut a.majflt, b.majflt),
        (&mut a.inblock, b.inblock),
        (&mut a.oublock, b.oublock),
        (&mut a.nvcsw, b.nvcsw),
        (&mut a.nivcsw, b.nivcsw),
    ] {
        *x = x.saturating_add(y);
    }
}

fn of_dead(usage: &systrap::Usage) -> Rusage {
    Rusage {
        utime: time(usage.user_ns),
        stime: time(usage.system_ns),
        maxrss: signed(usage.max_rss_kib),
        minflt: signed(usage.minor_faults),
        majflt: signed(usage.major_faults),
        nvcsw: signed(usage.voluntary),
        nivcsw: signed(usage.involuntary),
        ..Rusage::default()
    }
}

/// A host process that has been told to end.
#[derive(Clone)]
struct Claim {
    end: Arc<FinalUsage>,
    /// CPU time when it was told so.
    cpu_ns: u64,
}

/// What ended host processes have used.
#[derive(Clone, Default)]
pub struct Account {
    settled: Rusage,
    claims: Vec<Claim>,
}

impl Account {
    /// An account of something that is known already.
    pub fn of(usage: Rusage) -> Self {
        Self {
            settled: usage,
            claims: Vec::new(),
        }
    }

    /// Turns the claims that the host has answered into numbers. Whether none is left.
    fn settle(&mut self) -> bool {
        let settled = &mut self.settled;
        self.claims.retain(|claim| match claim.end.get() {
            Some(usage) => {
                add_usage(settled, &of_dead(&usage));
                false
            }
            None => true,
        });
        self.claims.is_empty()
    }

    fn claim(&mut self, end: Arc<FinalUsage>, cpu_ns: u64) {
        self.settle();
        self.claims.push(Claim { end, cpu_ns });
    }

    fn has(&self, end: &Arc<FinalUsage>) -> bool {
        self.claims.iter().any(|c| Arc::ptr_eq(&c.end, end))
    }

    /// Takes over what `other` holds.
    pub fn add(&mut self, other: Self) {
        add_usage(&mut self.settled, &other.settled);
        self.claims.extend(other.claims);
        self.settle();
    }

    /// All of it as far as it is known; of a process whose end the host has not reported, the CPU time.
    pub fn total(&mut self) -> Rusage {
        self.settle();
        let mut total = self.settled;
        for claim in &self.claims {
            let known = Rusage {
                utime: time(claim.cpu_ns),
                ..Rusage::default()
            };
            add_usage(&mut total, &known);
        }
        total
    }
}

/// Of a process: its own ended host processes, and the children that it has waited for.
#[derive(Clone, Default)]
pub struct Usage {
    pub(crate) own: Account,
    pub(crate) children: Account,
}

/// Waits, but not for long, until everything in the account is known.
pub async fn settled(cx: &Cx, mut look: impl FnMut() -> Account) -> Rusage {
    let give_up = Deadline::after(PATIENCE);
    loop {
        let mut account = look();
        if account.settle() || give_up.passed() {
            return account.total();
        }
        cx.pause(Deadline::after(LOOK)).await;
    }
}

/// utime and stime of a host process or thread in clock ticks, and its faults, from /proc/PID/stat.
fn stat_of(pid: i32, name: &str) -> Option<[u64; 4]> {
    let text = proc_file(pid, name)?;
    // Behind the name, which may hold anything, the state is field 3.
    let (_, rest) = text.rsplit_once(')')?;
    let field = |n: usize| rest.split_ascii_whitespace().nth(n - 3)?.parse().ok();
    Some([field(14)?, field(15)?, field(10)?, field(12)?])
}

/// CPU time of a host thread in nanoseconds, from /proc/PID/task/TID.
fn thread_time(pid: i32, tid: i32) -> u64 {
    const TICK: u64 = 10_000_000;
    let exact = proc_file(pid, &format!("task/{tid}/schedstat"))
        .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    // A host without scheduler statistics counts in ticks.
    exact.unwrap_or_else(|| {
        stat_of(pid, &format!("task/{tid}/stat")).map_or(0, |s| (s[0] + s[1]) * TICK)
    })
}

/// Largest resident set in KiB, and context switches of a thread, from /proc/PID/status.
fn status_of(pid: i32, name: &str) -> (u64, u64, u64) {
    let text = proc_file(pid, name).unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    (
        value("VmHWM:").unwrap_or(0),
        value("voluntary_ctxt_switches:").unwrap_or(0),
        value("nonvoluntary_ctxt_switches:").unwrap_or(0),
    )
}

/// What a live host process or thread has used, but for context switches and memory. `cpu_ns` is divided as the ticks are.
fn live(pid: i32, stat: &str, cpu_ns: u64) -> Rusage {
    let [user, system, minor, major] = stat_of(pid, stat).unwrap_or_default();
    let share = u128::from(cpu_ns) * u128::from(system) / u128::from((user + system).max(1));
    let system_ns = u64::try_from(share).unwrap_or(0).min(cpu_ns);
    Rusage {
        utime: time(cpu_ns - system_ns),
        stime: time(system_ns),
        minflt: signed(minor),
        majflt: signed(major),
        ..Rusage::default()
    }
}

impl ThreadGroup {
    /// CPU time of all threads, gone ones included, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        let kept = self.usage.lock().own.total();
        nanos(kept.utime) + nanos(kept.stime) + self.running_ns()
    }

    /// The present host process. None of a vfork(2) child, whose process is its parent's, and of one
    /// that has been told to end.
    fn running(&self) -> Option<i32> {
        let space = self.space()?;
        if self.usage.lock().own.has(&space.final_usage()) {
            return None;
        }
        space.host_pid()
    }

    /// The host process, unless it is its parent's.
    fn space(&self) -> Option<Arc<AddressSpace>> {
        if self.borrows_space.load(Ordering::Relaxed) {
            return None;
        }
        let mm = self.threads().first().and_then(|t| t.try_mm())?;
        Some(Arc::clone(&mm.space))
    }

    fn running_ns(&self) -> u64 {
        self.running().map_or(0, cpu_time)
    }

    /// Its own CPU time and faults up to now.
    fn own_times(&self) -> Rusage {
        let mut own = self.usage.lock().own.total();
        if let Some(pid) = self.running() {
            add_usage(&mut own, &live(pid, "stat", cpu_time(pid)));
        }
        own
    }

    /// Its own usage up to now. Context switches of threads that have ended are missing as long as the process lives.
    pub fn own_usage(&self) -> Rusage {
        let mut own = self.own_times();
        if let Some(pid) = self.running() {
            let mut now = Rusage::default();
            for task in self.threads() {
                let Some(tid) = task.host_tid() else { continue };
                let (rss, voluntary, involuntary) = status_of(pid, &format!("task/{tid}/status"));
                now.maxrss = now.maxrss.max(signed(rss));
                now.nvcsw = now.nvcsw.saturating_add(signed(voluntary));
                now.nivcsw = now.nivcsw.saturating_add(signed(involuntary));
            }
            add_usage(&mut own, &now);
        }
        own
    }

    /// CPU time and faults: its own, and those of the children it has waited for.
    pub fn cpu_usage(&self) -> (Rusage, Rusage) {
        let children = self.usage.lock().children.total();
        (self.own_times(), children)
    }

    /// The host process is about to go: its account is kept.
    pub(crate) fn keep_usage(&self) {
        let Some(space) = self.space() else { return };
        let end = space.final_usage();
        let cpu_ns = match space.host_pid() {
            Some(pid) => cpu_time(pid),
            None if end.get().is_some() => 0,
            // The host has not told its pid, and may never do: there would be no account.
            None => return,
        };
        let mut usage = self.usage.lock();
        if !usage.own.has(&end) {
            usage.own.claim(end, cpu_ns);
        }
    }

    /// getpriority(2)'s value, −20 to 19.
    pub fn nice(&self) -> i32 {
        self.nice.load(Ordering::Relaxed)
    }

    pub(crate) fn set_nice(&self, nice: i32) {
        self.nice.store(nice, Ordering::Relaxed);
    }

    /// PR_SET_THP_DISABLE.
    pub fn thp_disabled(&self) -> bool {
        self.thp_disabled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_thp_disabled(&self, yes: bool) {
        self.thp_disabled.store(yes, Ordering::Relaxed);
    }
}

impl Task {
    /// Its host thread, while it lives.
    pub(crate) fn host_tid(&self) -> Option<i32> {
        let kicker = self.kicker.lock().clone();
        kicker.and_then(|k| k.host_tid())
    }

    /// CPU time of the thread, in nanoseconds. The host gives a thread's clock to its own process alone: that of one that has
    /// company is read from /proc.
    pub fn cpu_ns(&self) -> u64 {
        let Some(pid) = self.try_mm().and_then(|mm| mm.space.host_pid()) else {
            return 0;
        };
        let alone = !self.group.threaded.load(Ordering::Relaxed)
            && !self.group.borrows_space.load(Ordering::Relaxed);
        if alone {
            return cpu_time(pid);
        }
        self.host_tid().map_or(0, |tid| thread_time(pid, tid))
    }

    /// What the thread has used.
    pub fn usage(&self) -> Rusage {
        let pid = self.try_mm().and_then(|mm| mm.space.host_pid());
        let (Some(pid), Some(tid)) = (pid, self.host_tid()) else {
            return Rusage::default();
        };
        let mut usage = live(pid, &format!("task/{tid}/stat"), thread_time(pid, tid));
        let (rss, voluntary, involuntary) = status_of(pid, &format!("task/{tid}/status"));
        usage.maxrss = signed(rss);
        usage.nvcsw = signed(voluntary);
        usage.nivcsw = signed(involuntary);
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_carry_microseconds_and_keep_the_larger_set() {
        let half = Rusage {
            utime: Timeval {
                sec: 1,
                usec: 600_000,
            },
            maxrss: 7,
            minflt: 2,
            ..Rusage::default()
        };
        let mut sum = half;
        add_usage(&mut sum, &half);
        assert_eq!((sum.utime.sec, sum.utime.usec), (3, 200_000));
        assert_eq!((sum.maxrss, sum.minflt), (7, 4));
    }

    #[test]
    fn own_process_has_faults() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let now = live(pid, "stat", 1_000_000);
        assert!(now.minflt > 0);
        // Both are rounded down.
        let both = nanos(now.utime) / 1000 + nanos(now.stime) / 1000;
        assert!((999..=1000).contains(&both), "{both} µs");
        assert!(status_of(pid, "status").0 > 0);
    }
}
