//! futex(2) as far as it reaches the kernel, and what a thread leaves behind when it ends.
//!
//! Waiting and waking are the stub's, as host futexes on the very memory. Here are the calls that it refuses, its waits
//! that were interrupted, robust lists, and the last words of a dying thread.

use crate::task::run::{perform, perform_interruptible};
use crate::task::{Cx, Deadline, Pid, RestartBlock, cap};
use crate::user::{UserAddr, UserRef};
use arch::abi::{
    FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT, RobustListHead, Timespec,
};
use arch::{Errno, Result};
use std::sync::atomic::Ordering;
use systrap::Event;
use systrap::layout::TASK_SIZE;

const CLOCK_REALTIME: u32 = libc::FUTEX_CLOCK_REALTIME as u32;
const PRIVATE: u32 = libc::FUTEX_PRIVATE_FLAG as u32;

/// FUTEX_WAKE_OP's operations and comparisons end here.
const LAST_OP: u32 = 4;
const LAST_COMPARISON: u32 = 5;

/// A futex word's address as the kernel checks it: EINVAL if it isn't aligned, EFAULT if it is outside.
fn check_word(addr: u64) -> Result<()> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if addr >= TASK_SIZE {
        Err(Errno::EFAULT)
    } else {
        Ok(())
    }
}

/// futex(2), for what the stub hands on: commands that it doesn't know, and addresses outside of the application's.
pub fn futex(
    cx: &Cx,
    addr: u64,
    op: u32,
    val: u32,
    timeout: u64,
    addr2: u64,
    val3: u32,
) -> Result<u64> {
    let cmd = (op & !(PRIVATE | CLOCK_REALTIME)).cast_signed();
    let waits = matches!(cmd, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET);
    if waits && timeout != 0 {
        let time: Timespec = cx.read_obj(UserRef::new(UserAddr(timeout)))?;
        if time.sec < 0 || !(0..1_000_000_000).contains(&time.nsec) {
            return Err(Errno::EINVAL);
        }
    }
    if op & CLOCK_REALTIME != 0 && cmd != libc::FUTEX_WAIT_BITSET {
        return Err(Errno::ENOSYS);
    }
    match cmd {
        libc::FUTEX_WAIT | libc::FUTEX_WAKE => {}
        libc::FUTEX_WAIT_BITSET | libc::FUTEX_WAKE_BITSET if val3 == 0 => {
            return Err(Errno::EINVAL);
        }
        libc::FUTEX_WAIT_BITSET | libc::FUTEX_WAKE_BITSET => {}
        libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE => {
            // The time-out's place holds the number to move.
            if (val | timeout as u32) >> 31 != 0 {
                return Err(Errno::EINVAL);
            }
            check_word(addr)?;
            check_word(addr2)?;
        }
        libc::FUTEX_WAKE_OP => {
            check_word(addr)?;
            check_word(addr2)?;
            let (operation, comparison) = (val3 >> 28 & 7, val3 >> 24 & 15);
            if operation > LAST_OP || comparison > LAST_COMPARISON {
                return Err(Errno::ENOSYS);
            }
        }
        // FUTEX_FD is gone from Linux; the PI commands are as on a kernel without them.
        _ => return Err(Errno::ENOSYS),
    }
    check_word(addr)?;
    // The stub does these itself; it handed one on that is in order, so its own memory has been tampered with.
    Err(Errno::EFAULT)
}

/// A wait in the stub was interrupted after `elapsed` nanoseconds: what becomes of it if a signal's handler runs, and if
/// none does.
pub fn interrupted(cx: &Cx, nr: u64, args: [u64; 6], elapsed: u64) -> Result<u64> {
    if nr == arch::nr::RESTART_SYSCALL {
        // A wait of `wait_until`, which has kept its restart block.
        return Err(Errno::ERESTART_RESTARTBLOCK);
    }
    let [addr, op, val, timeout, _, val3] = args;
    if timeout == 0 {
        return Err(Errno::ERESTARTSYS);
    }
    let Ok(time) = cx.read_obj::<Timespec>(UserRef::new(UserAddr(timeout))) else {
        return Err(Errno::ERESTARTSYS);
    };
    let op = op as u32;
    let given = u64::try_from(time.sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.nsec).unwrap_or(0));
    let relative = (op & !(PRIVATE | CLOCK_REALTIME)).cast_signed() == libc::FUTEX_WAIT;
    let (deadline, bitset) = if relative {
        (Deadline::after(given.saturating_sub(elapsed)).0, u32::MAX)
    } else {
        (given, val3 as u32)
    };
    cx.restart.set(RestartBlock::Futex {
        addr,
        val: val as u32,
        deadline,
        op,
        bitset,
    });
    Err(Errno::ERESTART_RESTARTBLOCK)
}

/// Goes on with an interrupted wait until its absolute deadline (restart_syscall(2)).
pub async fn wait_until(
    cx: &Cx,
    addr: u64,
    val: u32,
    deadline: u64,
    op: u32,
    bitset: u32,
) -> Result<u64> {
    let realtime = op & CLOCK_REALTIME != 0;
    let private = op & PRIVATE != 0;
    let before = cx.thread.lock().actions().len();
    if !cx.thread.lock().actions().futex_wait(
        addr,
        val,
        bitset,
        private,
        Some((deadline, realtime)),
    ) {
        return Err(Errno::EINTR);
    }
    match perform_interruptible(cx).await {
        Some(Event::Parked) => {
            let rax = cx.thread.lock().regs().rax;
            Errno::check(rax.cast_signed())
        }
        Some(Event::ActionFailed { errno, .. }) => {
            Err(Errno::from_raw(errno).unwrap_or(Errno::EFAULT))
        }
        Some(Event::Dead { .. } | Event::Violation(_)) => {
            cx.task.request_exit(libc::SIGKILL);
            Err(Errno::EINTR)
        }
        event => {
            if event.is_none() {
                // It would wait before the signal's handler runs.
                cx.thread.lock().actions().truncate(before);
            }
            cx.restart.set(RestartBlock::Futex {
                addr,
                val,
                deadline,
                op,
                bitset,
            });
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
    }
}

/// set_robust_list(2). EINVAL for any other size than the structure's.
pub fn set_robust_list(cx: &Cx, head: u64, len: usize) -> Result<()> {
    if len != size_of::<RobustListHead>() {
        return Err(Errno::EINVAL);
    }
    cx.task.robust_list.store(head, Ordering::Relaxed);
    Ok(())
}

/// get_robust_list(2): of the caller (`tid` 0) or of a thread that it may look into.
pub fn get_robust_list(cx: &Cx, tid: Pid, head: UserRef<u64>, len: UserRef<u64>) -> Result<()> {
    let list = if tid == 0 {
        cx.task.robust_list.load(Ordering::Relaxed)
    } else {
        let task = cx.kernel().tasks.lock().task(tid).ok_or(Errno::ESRCH)?;
        let (own, theirs) = (cx.task.creds(), task.creds());
        let same = own.uid == theirs.uid && own.uid == theirs.euid && own.uid == theirs.suid;
        if !same && !own.has_cap(cap::SYS_PTRACE) {
            return Err(Errno::EPERM);
        }
        task.robust_list.load(Ordering::Relaxed)
    };
    cx.write_obj(len, &(size_of::<RobustListHead>() as u64))?;
    cx.write_obj(head, &list)
}

/// What a dying thread does to the futexes that it holds: marks them and wakes a waiter (exit_robust_list of the kernel).
/// Done when this returns, so before anybody hears of the end. Errors of the list's memory end the walk.
pub async fn exit_robust_list(cx: &Cx) {
    let before = cx.thread.lock().actions().len();
    walk_robust_list(cx).await;
    let pushed = cx.thread.lock().actions().len();
    if pushed > before {
        crate::task::doom::watch(&cx.task.group);
        perform(cx).await;
    }
}

async fn walk_robust_list(cx: &Cx) {
    let head_addr = cx.task.robust_list.swap(0, Ordering::Relaxed);
    if head_addr == 0 {
        return;
    }
    let Ok(head) = cx.read_obj::<RobustListHead>(UserRef::new(UserAddr(head_addr))) else {
        return;
    };
    let word_of = |entry: u64| (entry & !1).wrapping_add_signed(head.futex_offset);
    let (pending, pending_pi) = (head.list_op_pending & !1, head.list_op_pending & 1 != 0);
    let (mut entry, mut pi) = (head.list & !1, head.list & 1 != 0);
    let mut limit = ROBUST_LIST_LIMIT;
    while entry != head_addr {
        // Read before the entry is given up: its new owner may free it.
        let next = cx.read_obj::<u64>(UserRef::new(UserAddr(entry)));
        if entry != pending && !release(cx, word_of(entry), pi, false).await {
            return;
        }
        let Ok(next) = next else { return };
        (entry, pi) = (next & !1, next & 1 != 0);
        limit -= 1;
        if limit == 0 {
            break;
        }
    }
    if pending != 0 {
        release(cx, word_of(pending), pending_pi, true).await;
    }
}

/// One futex word (handle_futex_death). False if the walk has to end.
async fn release(cx: &Cx, word: u64, pi: bool, pending: bool) -> bool {
    if !word.is_multiple_of(4) || word >= TASK_SIZE {
        return false;
    }
    let Ok(value) = cx.read_obj::<u32>(UserRef::new(UserAddr(word))) else {
        return false;
    };
    let tid = cx.task.tid().cast_unsigned();
    let owner = value & FUTEX_TID_MASK;
    if pending && !pi && owner == 0 {
        // It was given up but nobody woken yet.
        return push(cx, |list| list.futex_wake(word, 1, false)).await;
    }
    if owner != tid {
        return true;
    }
    // Only FUTEX_WAITERS can change under us, and only be set: one of the two succeeds.
    for old in [
        tid,
        tid | FUTEX_WAITERS,
        tid | FUTEX_OWNER_DIED,
        tid | FUTEX_WAITERS | FUTEX_OWNER_DIED,
    ] {
        let known = old & FUTEX_OWNER_DIED == value & FUTEX_OWNER_DIED;
        let new = old & FUTEX_WAITERS | FUTEX_OWNER_DIED;
        if known && !push(cx, |list| list.cas_u32(word, old, new, true)).await {
            return false;
        }
    }
    // A waiter that came late is woken too; a wake that finds nobody is harmless.
    pi || push(cx, |list| list.futex_wake(word, 1, false)).await
}

/// Adds an action; performs what there is if the list is full.
async fn push(cx: &Cx, action: impl Fn(&mut systrap::Actions<'_>) -> bool) -> bool {
    if action(&mut cx.thread.lock().actions()) {
        return true;
    }
    matches!(perform(cx).await, Event::Parked) && action(&mut cx.thread.lock().actions())
}
