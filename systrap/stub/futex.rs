//! Futexes: host futexes on the application's own memory.

use crate::asm::*;
use crate::layout::*;
use crate::proto::*;
use crate::sys::*;

pub enum Futex {
    /// Answered; the result is in the frame.
    Done,
    /// The Sentry's.
    NotHere,
    /// A kick ended the wait; ARG0 is how many cycles it had lasted.
    Interrupted,
}

const WAIT: u64 = 0;
const WAKE: u64 = 1;
const REQUEUE: u64 = 3;
const CMP_REQUEUE: u64 = 4;
const WAKE_OP: u64 = 5;
const WAIT_BITSET: u64 = 9;
const WAKE_BITSET: u64 = 10;
const PRIVATE: u64 = 128;
/// FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME
const FLAGS: u64 = PRIVATE | 256;

/// A futex(2) call of the application's.
pub fn trapped(slot: u64, frame: u64) -> Futex {
    let uaddr = ld64(frame + F_RDI);
    let op = ld64(frame + F_RSI) & 0xffff_ffff;
    let (val, timeout) = (ld64(frame + F_RDX), ld64(frame + F_R10));
    let (uaddr2, val3) = (ld64(frame + F_R8), ld64(frame + F_R9));
    if uaddr >= TASK_SIZE {
        return Futex::NotHere;
    }
    let r = match op & !FLAGS {
        WAIT | WAIT_BITSET => {
            if timeout >= TASK_SIZE {
                return Futex::NotHere;
            }
            return sleep(slot, frame, uaddr, op, val, timeout, val3);
        }
        WAKE | WAKE_BITSET => call(NR_FUTEX, uaddr, op, val, 0, 0, val3),
        WAKE_OP if uaddr2 < TASK_SIZE => call(NR_FUTEX, uaddr, op, val, timeout, uaddr2, val3),
        REQUEUE | CMP_REQUEUE if uaddr2 < TASK_SIZE && op & FLAGS == PRIVATE => {
            call(NR_FUTEX, uaddr, op, val, timeout, uaddr2, val3)
        }
        REQUEUE | CMP_REQUEUE if uaddr2 < TASK_SIZE && op & FLAGS == 0 => {
            shared_requeue(uaddr, op, val as u32, timeout as u32, uaddr2, val3 as u32)
        }
        _ => return Futex::NotHere,
    };
    st64(frame + F_RAX, r as u64);
    Futex::Done
}

/// Requeue of a process-shared futex: the filter has none (see filter.rs), so
/// those that would be moved are woken, which futex(2) lets happen at any
/// time.
fn shared_requeue(uaddr: u64, op: u64, wake: u32, requeue: u32, uaddr2: u64, val3: u32) -> i64 {
    if (wake | requeue) >> 31 != 0 || (uaddr | uaddr2) & 3 != 0 {
        return -(EINVAL as i64);
    }
    let (seen, second) = (load32(uaddr), load32(uaddr2));
    if (seen | second) & FAULTED != 0 {
        return -(EFAULT as i64);
    }
    if op == CMP_REQUEUE && seen as u32 != val3 {
        return -(EAGAIN as i64);
    }
    let sum = wake as u64 + requeue as u64;
    let all = if sum > 0x7fff_ffff { 0x7fff_ffff } else { sum };
    if all == 0 {
        return 0;
    }
    call(NR_FUTEX, uaddr, WAKE, all, 0, 0, 0)
}

/// A wait; the result goes to the frame's rax.
pub fn sleep(
    slot: u64,
    frame: u64,
    uaddr: u64,
    op: u64,
    val: u64,
    timeout: u64,
    val3: u64,
) -> Futex {
    // The common race with a waker, without the price of the signal mask. Only
    // where no earlier check of the kernel's could find another error.
    if uaddr & 3 == 0 && timeout == 0 && op & 256 == 0 && (op & 127 == WAIT || val3 as u32 != 0) {
        // The kernel reports a fault below.
        let seen = load32(uaddr);
        if seen & FAULTED == 0 && seen as u32 != val as u32 {
            st64(frame + F_RAX, -(EAGAIN as i64) as u64);
            return Futex::Done;
        }
    }
    st32(slot + S_FUTEX_WAIT, 1);
    add32(REGION + P_WAITERS, 1);
    let start = rdtsc();
    let r = futex_sleep(uaddr, op, val, timeout, val3);
    let cycles = rdtsc() - start;
    add32(REGION + P_WAITERS, u32::MAX);
    st32(slot + S_FUTEX_WAIT, 0);
    match r {
        None => {
            st64(slot + S_ARG0, cycles);
            Futex::Interrupted
        }
        Some(r) => {
            st64(frame + F_RAX, r as u64);
            Futex::Done
        }
    }
}
