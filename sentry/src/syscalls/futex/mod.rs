//! futex(2) as far as it reaches the kernel, and what a thread leaves behind when it ends.
//!
//! Waiting and waking are the stub's, as host futexes on the very memory. Here are the calls that it refuses, its waits
//! that were interrupted, locks with priority inheritance ([`pi`]), and robust lists.

mod newer;
mod pi;
mod robust;

pub use newer::{futex_requeue, futex_wait, futex_waitv, futex_wake};
pub use robust::{exit_robust_list, get_robust_list, set_robust_list};

use crate::task::run::perform_interruptible;
use crate::task::{Cx, Deadline, RestartBlock};
use crate::user::{UserAddr, UserRef};
use arch::abi::Timespec;
use arch::{Errno, Result};
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

/// A time-out as the kernel checks it.
fn nanoseconds(time: &Timespec) -> Result<u64> {
    if time.sec < 0 || !(0..1_000_000_000).contains(&time.nsec) {
        return Err(Errno::EINVAL);
    }
    Ok(time.sec.cast_unsigned().saturating_mul(1_000_000_000) + time.nsec.cast_unsigned())
}

/// When an absolute time comes.
fn deadline(ns: u64, realtime: bool) -> Result<Deadline> {
    if !realtime {
        return Ok(Deadline(ns));
    }
    let now = crate::host::event::clock_ns(libc::CLOCK_REALTIME).ok_or(Errno::EINVAL)?;
    let now = u64::try_from(now).unwrap_or(0);
    Ok(Deadline::after(ns.saturating_sub(now)))
}

/// futex(2), for what the stub hands on: commands that it doesn't know, and addresses outside of the application's.
pub async fn futex(
    cx: &Cx,
    addr: u64,
    op: u32,
    val: u32,
    timeout: u64,
    addr2: u64,
    val3: u32,
) -> Result<u64> {
    let cmd = (op & !(PRIVATE | CLOCK_REALTIME)).cast_signed();
    let waits = matches!(
        cmd,
        libc::FUTEX_WAIT
            | libc::FUTEX_WAIT_BITSET
            | libc::FUTEX_LOCK_PI
            | libc::FUTEX_LOCK_PI2
            | libc::FUTEX_WAIT_REQUEUE_PI
    );
    let end = if waits && timeout != 0 {
        let time: Timespec = cx.read_obj(UserRef::new(UserAddr(timeout)))?;
        Some(nanoseconds(&time)?)
    } else {
        None
    };
    let realtime = op & CLOCK_REALTIME != 0;
    if realtime
        && !matches!(
            cmd,
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_WAIT_REQUEUE_PI | libc::FUTEX_LOCK_PI2
        )
    {
        return Err(Errno::ENOSYS);
    }
    let private = op & PRIVATE != 0;
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
        libc::FUTEX_LOCK_PI | libc::FUTEX_LOCK_PI2 => {
            check_word(addr)?;
            // The older command has always had the real time.
            let realtime = realtime || cmd == libc::FUTEX_LOCK_PI;
            let end = end.map(|ns| deadline(ns, realtime)).transpose()?;
            return pi::lock(cx, pi::Word { addr, private }, end, false).await;
        }
        libc::FUTEX_TRYLOCK_PI => {
            check_word(addr)?;
            return pi::lock(cx, pi::Word { addr, private }, None, true).await;
        }
        libc::FUTEX_UNLOCK_PI => {
            check_word(addr)?;
            return pi::unlock(cx, pi::Word { addr, private }).await;
        }
        libc::FUTEX_WAIT_REQUEUE_PI | libc::FUTEX_CMP_REQUEUE_PI => {
            if addr == addr2 {
                return Err(Errno::EINVAL);
            }
            let (from, to) = (
                pi::Word { addr, private },
                pi::Word {
                    addr: addr2,
                    private,
                },
            );
            if cmd == libc::FUTEX_WAIT_REQUEUE_PI {
                check_word(addr2)?;
                check_word(addr)?;
                let end = end.map(|ns| deadline(ns, realtime)).transpose()?;
                return pi::wait_requeue(cx, from, val, end, to).await;
            }
            if (val | timeout as u32) >> 31 != 0 || val != 1 {
                return Err(Errno::EINVAL);
            }
            check_word(addr)?;
            check_word(addr2)?;
            return pi::cmp_requeue(cx, from, timeout as u32, to, val3).await;
        }
        // FUTEX_FD is gone from Linux.
        _ => return Err(Errno::ENOSYS),
    }
    check_word(addr)?;
    // The stub does these itself; it handed one on that is in order, so its own memory has been tampered with.
    Err(Errno::EFAULT)
}

/// A wait in the stub was interrupted after `elapsed` nanoseconds: what becomes of it if a signal's handler runs, and if
/// none does.
pub fn interrupted(cx: &Cx, nr: u64, args: [u64; 6], elapsed: u64) -> Result<u64> {
    match nr {
        // A wait of `wait_until`, which has kept its restart block.
        arch::nr::RESTART_SYSCALL => return Err(Errno::ERESTART_RESTARTBLOCK),
        // Their time-outs are absolute.
        arch::nr::FUTEX_WAITV | arch::nr::FUTEX_WAIT => return Err(Errno::ERESTARTSYS),
        _ => {}
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
