//! seccomp(2) inside the sandbox: filters that an application puts on itself. They are run by us before a call is looked at;
//! the host's own filter, which keeps the application in its stub, is another matter (systrap).
//!
//! A thread under a filter is asked about all its calls, those included that its stub answers by itself.

pub mod bpf;

use crate::task::{Cx, Pid, Task, cap};
use arch::abi::{SeccompData, SigInfo};
use arch::{Errno, Result};
use bpf::Insn;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use systrap::Arch;

/// No seccomp.
pub const DISABLED: u8 = 0;
/// read, write, exit, rt_sigreturn and nothing else.
pub const STRICT: u8 = 1;
/// Filters.
pub const FILTER: u8 = 2;

/// Actions, the high half of what a filter returns.
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
const ACTION: u32 = 0xffff_0000;
const DATA: u32 = 0x0000_ffff;

/// Instructions of all filters of a thread at most, each filter counting four more (MAX_INSNS_PER_PATH).
const MAX_TOTAL: usize = 32768;
const PENALTY: usize = 4;

/// Flags of SECCOMP_SET_MODE_FILTER. (Without SECCOMP_FILTER_FLAG_NEW_LISTENER: nobody can be notified.)
const TSYNC: u32 = 1;
const FLAG_LOG: u32 = 2;
const SPEC_ALLOW: u32 = 4;
const TSYNC_ESRCH: u32 = 16;

/// What a filter decides about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It isn't, and returns this.
    Return(u64),
    /// It isn't; SIGSYS has been sent.
    Trapped,
    /// The thread ends with this wait status.
    Exit(i32),
}

type Filters = Vec<Arc<[Insn]>>;

/// A thread's seccomp state.
#[derive(Default)]
pub struct State {
    /// DISABLED, STRICT or FILTER; never goes back. Written with `filters` locked.
    mode: AtomicU8,
    /// The oldest first.
    filters: Mutex<Arc<Filters>>,
}

impl State {
    /// DISABLED, STRICT or FILTER.
    pub fn mode(&self) -> u8 {
        self.mode.load(Ordering::Relaxed)
    }

    /// Whether calls have to be looked at.
    pub fn is_on(&self) -> bool {
        self.mode() != DISABLED
    }

    /// How many filters there are.
    pub fn count(&self) -> usize {
        self.filters.lock().len()
    }

    /// A new thread has what its maker has.
    pub fn inherit(&self, parent: &Self) {
        let filters = parent.filters.lock();
        *self.filters.lock() = Arc::clone(&filters);
        self.mode.store(parent.mode(), Ordering::Relaxed);
    }

    fn set(&self, mode: u8, filters: Arc<Filters>) {
        let mut place = self.filters.lock();
        *place = filters;
        self.mode.store(mode, Ordering::Relaxed);
    }
}

/// What the filters, or strict mode, say to a call.
pub fn check(cx: &Cx, nr: u64, args: &[u64; 6], arch: Arch) -> Verdict {
    let state = &cx.task.seccomp;
    if state.mode() == STRICT {
        const ALLOWED: [u64; 4] = [
            arch::nr::READ,
            arch::nr::WRITE,
            arch::nr::EXIT,
            arch::nr::RT_SIGRETURN,
        ];
        return if arch == Arch::X86_64 && ALLOWED.contains(&nr) {
            Verdict::Allow
        } else {
            kill_thread(&cx.task, libc::SIGKILL)
        };
    }
    let ip = cx.thread.lock().regs().rip;
    let audit_arch = match arch {
        Arch::X86_64 | Arch::X32 => arch::AUDIT_ARCH,
        Arch::I386 => 0x4000_0003,
    };
    let data = SeccompData {
        nr: nr as i32,
        arch: audit_arch,
        instruction_pointer: ip,
        args: *args,
    };
    let filters = Arc::clone(&state.filters.lock());
    let verdict = decide(&filters, bytemuck::bytes_of(&data));
    let (action, value) = (verdict & ACTION, verdict & DATA);
    match action {
        ALLOW | LOG => Verdict::Allow,
        ERRNO => Verdict::Return(u64::from(value.min(4095)).wrapping_neg()),
        TRAP => {
            let info = SigInfo::sys(ip, nr as i32, audit_arch, value as i32);
            crate::signal::send::force(&cx.task, info);
            Verdict::Trapped
        }
        // Nobody traces, nobody is notified.
        TRACE | USER_NOTIF => {
            Verdict::Return(u64::from(Errno::ENOSYS.raw().unsigned_abs()).wrapping_neg())
        }
        KILL_THREAD => kill_thread(&cx.task, libc::SIGSYS),
        _ => kill_process(&cx.task, libc::SIGSYS),
    }
}

/// All filters run, the newest first; the gravest action wins, of equals the one said first.
fn decide(filters: &Filters, data: &[u8]) -> u32 {
    let Ok(data) = <&[u8; bpf::DATA_LEN]>::try_from(data) else {
        return KILL_PROCESS;
    };
    let rank = |verdict: u32| (verdict & ACTION).cast_signed();
    let mut verdict = ALLOW;
    for filter in filters.iter().rev() {
        let now = bpf::run(filter, data);
        if rank(now) < rank(verdict) {
            verdict = now;
        }
    }
    verdict
}

fn kill_thread(task: &Arc<Task>, signo: i32) -> Verdict {
    if task.group.threads().len() > 1 {
        Verdict::Exit(signo)
    } else {
        kill_process(task, signo)
    }
}

fn kill_process(task: &Arc<Task>, signo: i32) -> Verdict {
    crate::task::exit::begin_group_exit(&task.group, signo);
    Verdict::Exit(signo)
}

/// SECCOMP_SET_MODE_STRICT. EINVAL under filters.
pub fn set_strict(cx: &Cx) -> Result<()> {
    let state = &cx.task.seccomp;
    if state.mode() == FILTER {
        return Err(Errno::EINVAL);
    }
    state.set(STRICT, Arc::default());
    cx.thread.lock().ask_all(true);
    Ok(())
}

/// SECCOMP_SET_MODE_FILTER's flags; EINVAL for unknown ones.
pub fn check_flags(flags: u32) -> Result<()> {
    if flags & !(TSYNC | FLAG_LOG | SPEC_ALLOW | TSYNC_ESRCH) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// EACCES unless the caller may put a filter on itself: a program that gains rights must not run under one.
pub fn may_install(cx: &Cx) -> Result<()> {
    let bound = cx.task.no_new_privs.load(Ordering::Relaxed);
    if bound || cx.task.creds().has_cap(cap::SYS_ADMIN) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// SECCOMP_SET_MODE_FILTER. With TSYNC all threads get the filter, or none: then the id of one that has other filters.
pub fn install(cx: &Cx, program: Vec<Insn>, flags: u32) -> Result<Pid> {
    bpf::check(&program)?;
    let own = &cx.task.seccomp;
    if own.mode() == STRICT {
        return Err(Errno::EINVAL);
    }
    // New threads take over what their maker has under this lock.
    let _tree = cx.kernel().tasks.lock();
    let old = Arc::clone(&own.filters.lock());
    let total: usize = old.iter().map(|f| f.len() + PENALTY).sum();
    if total + program.len() > MAX_TOTAL {
        return Err(Errno::ENOMEM);
    }
    let others: Vec<_> = if flags & TSYNC != 0 {
        let threads = cx.task.group.threads();
        let others = threads.into_iter().filter(|t| !Arc::ptr_eq(t, &cx.task));
        others.collect()
    } else {
        Vec::new()
    };
    if let Some(odd) = others.iter().find(|t| !follows(&t.seccomp, &old)) {
        return if flags & TSYNC_ESRCH != 0 {
            Err(Errno::ESRCH)
        } else {
            Ok(odd.tid())
        };
    }
    let mut new = (*old).clone();
    new.push(program.into());
    let new = Arc::new(new);
    own.set(FILTER, Arc::clone(&new));
    cx.thread.lock().ask_all(true);
    let bound = cx.task.no_new_privs.load(Ordering::Relaxed);
    for task in others {
        task.seccomp.set(FILTER, Arc::clone(&new));
        if bound {
            task.no_new_privs.store(true, Ordering::Relaxed);
        }
        let kicker = task.kicker.lock().clone();
        if let Some(kicker) = kicker {
            kicker.ask_all(true);
        }
    }
    Ok(0)
}

/// Whether a thread's filters are the first of `filters`, so that it can take over all.
fn follows(state: &State, filters: &Filters) -> bool {
    match state.mode() {
        DISABLED => true,
        FILTER => {
            let theirs = state.filters.lock();
            theirs.len() <= filters.len()
                && theirs.iter().zip(filters).all(|(a, b)| Arc::ptr_eq(a, b))
        }
        _ => false,
    }
}

/// SECCOMP_GET_ACTION_AVAIL.
pub fn action_is_available(action: u32) -> bool {
    matches!(
        action,
        KILL_PROCESS | KILL_THREAD | TRAP | ERRNO | TRACE | LOG | ALLOW
    )
}

/// /proc/sys/kernel/seccomp/actions_avail.
pub const ACTIONS: &str = "kill_process kill_thread trap errno trace log allow";

#[cfg(test)]
mod tests {
    use super::*;

    fn always(k: u32) -> Arc<[Insn]> {
        Arc::from([Insn {
            code: 6,
            jt: 0,
            jf: 0,
            k,
        }])
    }

    #[test]
    fn gravest_action_wins_then_the_newest() {
        let data = [0; bpf::DATA_LEN];
        let run = |all: &[u32]| decide(&all.iter().map(|k| always(*k)).collect(), &data);
        assert_eq!(run(&[]), ALLOW);
        assert_eq!(run(&[ERRNO | 1, ALLOW]), ERRNO | 1);
        assert_eq!(run(&[ERRNO | 1, ERRNO | 2]), ERRNO | 2);
        assert_eq!(run(&[TRAP, KILL_THREAD, ERRNO]), KILL_THREAD);
        assert_eq!(run(&[KILL_THREAD, KILL_PROCESS]), KILL_PROCESS);
        assert_eq!(run(&[LOG, TRACE | 3]), TRACE | 3);
    }
}
