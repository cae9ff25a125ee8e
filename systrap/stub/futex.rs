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
/// FUTEX2_SIZE_U32
const SIZE_U32: u64 = 2;

/// Whether the call is futex(2) or one of its offspring.
#[inline(always)]
pub fn is_one(nr: u64) -> bool {
    nr == NR_FUTEX
        || nr == NR_FUTEX_WAITV
        || nr.wrapping_sub(NR_FUTEX_WAKE) <= NR_FUTEX_REQUEUE - NR_FUTEX_WAKE
}

/// Such a call of the application's. Addresses outside of its memory are not
/// looked at here, what they would name is the stub's.
pub fn trapped(slot: u64, frame: u64, nr: u64) -> Futex {
    let args = [F_RDI, F_RSI, F_RDX, F_R10, F_R8, F_R9].map(|r| ld64(frame + r));
    if args[0] >= TASK_SIZE {
        return Futex::NotHere;
    }
    if nr != NR_FUTEX {
        return newer(slot, frame, nr, args);
    }
    let [uaddr, op, val, timeout, uaddr2, val3] = args;
    let op = op & 0xffff_ffff;
    let second = match op & !FLAGS {
        WAIT | WAIT_BITSET => {
            if timeout >= TASK_SIZE {
                return Futex::NotHere;
            }
            return sleep(slot, frame, nr, [uaddr, op, val, timeout, 0, val3]);
        }
        WAKE | WAKE_BITSET => 0,
        WAKE_OP | REQUEUE | CMP_REQUEUE => uaddr2,
        _ => return Futex::NotHere,
    };
    if second >= TASK_SIZE {
        return Futex::NotHere;
    }
    done(frame, call(nr, uaddr, op, val, timeout, second, val3))
}

fn done(frame: u64, r: i64) -> Futex {
    st64(frame + F_RAX, r as u64);
    Futex::Done
}

/// futex_waitv(2), futex_wake(2), futex_wait(2), futex_requeue(2).
#[inline(never)]
fn newer(slot: u64, frame: u64, nr: u64, args: [u64; 6]) -> Futex {
    let [a, b, c, d, e, _] = args;
    match nr {
        NR_FUTEX_WAITV if d < TASK_SIZE => sleep(slot, frame, nr, [a, b, c, d, e, 0]),
        NR_FUTEX_WAIT if e < TASK_SIZE => sleep(slot, frame, nr, args),
        NR_FUTEX_WAKE => done(frame, call(nr, a, b, c, d, 0, 0)),
        NR_FUTEX_REQUEUE if b & 0xffff_ffff == 0 && a != 0 => requeue(frame, a, c, d),
        _ => Futex::NotHere,
    }
}

/// futex_requeue(2) with both words of one kind, as CMP_REQUEUE: the filter
/// can't look at addresses that are in memory.
fn requeue(frame: u64, list: u64, wake: u64, move_: u64) -> Futex {
    // struct futex_waitv: value and address (u64 each), flags, reserved
    let mut words = core::mem::MaybeUninit::<[u64; 12]>::uninit();
    let at = words.as_mut_ptr() as u64;
    let mut i = 0;
    while i < 12 {
        let word = load32(list + i * 4);
        if word & FAULTED != 0 {
            return done(frame, -(EFAULT as i64));
        }
        st64(at + i * 8, word);
        i += 1;
    }
    let word = |i: u64| ld64(at + i * 8);
    let uaddr = word(2) | word(3) << 32;
    let uaddr2 = word(8) | word(9) << 32;
    let flags = word(4);
    if word(5) | word(11) | word(1) | word(7) != 0
        || flags != word(10)
        || flags & !PRIVATE != SIZE_U32
        || uaddr >= TASK_SIZE
        || uaddr2 >= TASK_SIZE
    {
        return Futex::NotHere;
    }
    let op = CMP_REQUEUE | flags & PRIVATE;
    done(frame, call(NR_FUTEX, uaddr, op, wake, move_, uaddr2, word(0)))
}

/// A call that waits; its result goes to the frame's rax.
pub fn sleep(slot: u64, frame: u64, nr: u64, args: [u64; 6]) -> Futex {
    let [uaddr, op, val, timeout, _, val3] = args;
    // The common race with a waker, without the price of the signal mask. Only
    // where no earlier check of the kernel's could find another error.
    if nr == NR_FUTEX
        && uaddr & 3 == 0
        && timeout == 0
        && op & 256 == 0
        && (op & 127 == WAIT || val3 as u32 != 0)
    {
        // The kernel reports a fault below.
        let seen = load32(uaddr);
        if seen & FAULTED == 0 && (seen as u32 != val as u32 || changes(slot, uaddr, val as u32)) {
            return done(frame, -(EAGAIN as i64));
        }
    }
    st32(slot + S_FUTEX_WAIT, 1);
    add32(REGION + P_WAITERS, 1);
    let start = rdtsc();
    let r = futex_sleep(nr, args);
    let cycles = rdtsc() - start;
    add32(REGION + P_WAITERS, u32::MAX);
    st32(slot + S_FUTEX_WAIT, 0);
    match r {
        None => {
            st64(slot + S_ARG0, cycles);
            Futex::Interrupted
        }
        Some(r) => done(frame, r),
    }
}

/// At most 2^this waits go by without a spin after one that didn't pay.
const LEVEL_MAX: u32 = 8;

/// Looks at the word for a while: true if it is not `val` any more.
///
/// It pays where another CPU changes the word soon: a host wait and its end
/// cost some microseconds, and tens of them if an idle CPU has to be woken.
/// Where the other thread needs this CPU it only delays it. So each thread
/// learns: after every spin in vain twice as many waits go by without one. A
/// program that wakes without a change of the word sees a thread that came to
/// sleep a little later.
#[inline(never)]
fn changes(slot: u64, uaddr: u64, val: u32) -> bool {
    // How many waits go by without a spin, and the logarithm of the next such
    // number.
    let state = ld32(slot + S_SPIN);
    let (skip, level) = (state >> 8, state & 0xff);
    if skip != 0 {
        st32(slot + S_SPIN, state - 0x100);
        return false;
    }
    let budget = ld32(DOORBELL + D_FUTEX_SPIN) as u64;
    if budget == 0 {
        return false;
    }
    let start = rdtsc();
    while rdtsc() - start < budget {
        let mut i = 0;
        while i < 8 {
            pause();
            // A fault is the kernel's to report.
            if load32(uaddr) != val as u64 {
                st32(slot + S_SPIN, level / 2);
                return true;
            }
            i += 1;
        }
    }
    let level = if level < LEVEL_MAX { level + 1 } else { LEVEL_MAX };
    st32(slot + S_SPIN, 1 << (8 + level) | level);
    false
}
