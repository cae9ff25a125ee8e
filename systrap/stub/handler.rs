//! Signals: what they mean, handing over, and going on.

use crate::actions;
use crate::asm::*;
use crate::fast;
use crate::futex::{self, Futex};
use crate::layout::*;
use crate::prefetch;
use crate::proto::*;
use crate::sys::*;
use core::arch::asm;

const SIGBUS: u64 = 7;
const SIGKILL: u64 = 9;
const SIGSEGV: u64 = 11;
pub const SIGSYS: u64 = 31;
const EINTR: u64 = -4i64 as u64;

/// Every signal comes here. Returns the frame to return through.
#[unsafe(no_mangle)]
extern "C" fn stub_handler(signo: u64, frame: u64) -> u64 {
    let slot = frame & !(SLOT_STRIDE - 1);
    let rip = ld64(frame + F_RIP);
    if rip.wrapping_sub(TEXT) < TEXT_MAX && !fast::at_edge(signo, frame, slot, rip) {
        return in_stub(signo, frame, slot, rip);
    }
    st32(slot + S_MODE, MODE_SIGNAL);
    let mut kind = EV_SIGNAL;
    if signo == SIGSYS {
        kind = trapped_call(slot, frame);
        if kind == 0 {
            if !kicked(slot) {
                return frame;
            }
            kind = EV_KICK;
        }
    }
    publish(slot, kind, signo as u32, frame);
    wait_go(slot);
    answered(slot, frame)
}

/// A fork child or new thread: its slot looks as if it had published.
#[unsafe(no_mangle)]
extern "C" fn stub_start(slot: u64, frame: u64) -> u64 {
    st32(slot + S_CPU, cpu(ld32(DOORBELL + D_FLAGS)));
    wait_unasked(slot);
    answered(slot, frame)
}

/// A signal that came while stub text ran.
fn in_stub(signo: u64, frame: u64, slot: u64, rip: u64) -> u64 {
    if (signo == SIGSEGV || signo == SIGBUS)
        && rip >= fix_begin()
        && rip < fix_end()
    {
        st64(frame + F_RIP, fix_out());
        return frame;
    }
    if signo == SIG_KICK as u64
        && rip >= futex_begin()
        && rip <= futex_end()
    {
        let begun = rip >= futex_after();
        if !begun || (rip == futex_after() && ld64(frame + F_RAX) == EINTR) {
            st64(frame + F_RIP, futex_interrupted());
        } else {
            st32(slot + S_KICK_SEEN, 1);
        }
        if ld32(slot + S_MODE) != MODE_FAST {
            st64(frame + F_SIGMASK, ld64(frame + F_SIGMASK) | KICK_MASK);
        }
        return frame;
    }
    if signo == SIG_KICK as u64 && ld32(slot + S_MODE) == MODE_FAST {
        st32(slot + S_KICK_SEEN, 1);
        return frame;
    }
    if (signo == SIGSEGV || signo == SIGBUS) && fast::not_ours(frame, rip) {
        return frame;
    }
    die(signo)
}

/// A system call: 0 if it was answered here, else the event to publish, with
/// its input prefetched.
#[inline(always)]
pub fn trapped_call(slot: u64, frame: u64) -> u32 {
    st32(slot + S_PF_COUNT, 0);
    if ld32(frame + F_SI_ARCH) != AUDIT_ARCH_X86_64 {
        return EV_SIGNAL;
    }
    let nr = ld32(frame + F_SI_SYSCALL) as u64;
    if ld32(slot + S_ASK_ALL) != 0 {
        prefetch::run(slot, frame, nr);
        return EV_SIGNAL;
    }
    if nr == NR_SCHED_YIELD || futex::is_one(nr) {
        if shows(slot) {
            return EV_SHOWN;
        }
        return own_call(slot, frame);
    }
    let id = identity(nr);
    if id < 8 && ld32(slot + S_ID_VALID) != 0 {
        if shows(slot) {
            return EV_SHOWN;
        }
        st64(frame + F_RAX, ld32(slot + S_ID + id * 4) as u64);
        return 0;
    }
    prefetch::run(slot, frame, nr);
    EV_SIGNAL
}

/// Whether the Sentry, which rewrites call sites that trap often, is to see
/// this one. Only now and then, and less often where it seems not to help;
/// the periods are primes, since loops make the same calls in turn.
#[inline(always)]
fn shows(slot: u64) -> bool {
    if ld32(slot + S_MODE) != MODE_SIGNAL || ld32(DOORBELL + D_FLAGS) & DF_SHOW == 0 {
        return false;
    }
    let n = ld32(slot + S_OWN).wrapping_add(1);
    st32(slot + S_OWN, n);
    n % (if n < 2000 { 7 } else { 251 }) == 0
}

/// A call that the stub makes itself: 0 if it is answered, else the event to publish.
fn own_call(slot: u64, frame: u64) -> u32 {
    let nr = ld32(frame + F_SI_SYSCALL) as u64;
    if nr == NR_SCHED_YIELD {
        call(NR_SCHED_YIELD, 0, 0, 0, 0, 0, 0);
        st64(frame + F_RAX, 0);
        return 0;
    }
    if !futex::is_one(nr) {
        return EV_SIGNAL;
    }
    match futex::trapped(slot, frame, nr) {
        Futex::Done => 0,
        Futex::NotHere => EV_SIGNAL,
        Futex::Interrupted => EV_FUTEX_INT,
    }
}

/// Index in the identity cache of what call `nr` asks for.
#[inline(always)]
fn identity(nr: u64) -> u64 {
    match nr {
        39 => 0,  // getpid
        186 => 1, // gettid
        102 => 2, // getuid
        107 => 3, // geteuid
        104 => 4, // getgid
        108 => 5, // getegid
        _ => 99,
    }
}

/// Publishes an event, but doesn't wait.
pub fn publish(slot: u64, kind: u32, signo: u32, frame: u64) {
    let mode = ld32(slot + S_MODE);
    let pieces = ld32(slot + S_PF_COUNT);
    st32(slot + S_WHAT, kind | mode << 8 | pieces << 16);
    let cpu_flags = ld32(DOORBELL + D_FLAGS);
    st32(slot + S_CPU, cpu(cpu_flags));
    st32(slot + S_SIGNO, signo);
    st32(slot + S_FRAME, (frame - slot) as u32);
    if mode == MODE_FAST {
        st32(slot + S_NR, ld32(frame + F_SI_SYSCALL));
        let args = slot + S_ARGS;
        st64(args, ld64(frame + F_RDI));
        st64(args + 8, ld64(frame + F_RSI));
        st64(args + 16, ld64(frame + F_RDX));
        st64(args + 24, ld64(frame + F_R10));
        st64(args + 32, ld64(frame + F_R8));
        st64(args + 40, ld64(frame + F_R9));
    }
    if cpu_flags & DF_FSGSBASE != 0 {
        let (fs, gs): (u64, u64);
        // SAFETY: FSGSBASE is there.
        unsafe {
            asm!("rdfsbase {}", "rdgsbase {}", out(reg) fs, out(reg) gs,
                options(nomem, nostack));
        }
        st64(slot + S_FS, fs);
        st64(slot + S_GS, gs);
    }
    // x86 keeps stores in order: what is above is seen before the number.
    st32(slot + S_SEQ, ld32(slot + S_SEQ).wrapping_add(1));
    // Who stops watching looks at the number once more.
    barrier();
    if ld32(slot + S_LOOK) != LOOK_WATCHED {
        pend(slot);
    }
    if ld32(slot + S_FLAGS) & RF_WAKE_STATE != 0 {
        call(NR_FUTEX, slot + S_SEQ, 1, 1, 0, 0, 0);
    }
}

/// Sets the slot's pending bit.
fn pend(slot: u64) {
    let index = (slot - REGION) / SLOT_STRIDE;
    let bit = 1u64 << (index & 63);
    if index < 64 {
        or64(REGION + P_PENDING0, bit);
    } else {
        let word = index >> 6;
        or64(REGION + P_PENDING + word * 8, bit);
        or64(REGION + P_SUMMARY + (word >> 6) * 8, 1 << (word & 63));
    }
}

/// The Sentry has answered: does what it says; the frame to go on with.
pub fn answered(slot: u64, frame: u64) -> u64 {
    loop {
        if ld32(REGION + P_KILL) != 0 {
            die(SIGKILL);
        }
        let flags = ld32(slot + S_FLAGS);
        if flags & RF_RET != 0 {
            st64(frame + F_RAX, ld64(slot + S_RET));
        }
        // Whatever else happens: what is published next has them.
        if flags & (RF_SET_FS | RF_SET_GS) != 0 {
            set_bases(slot, flags);
        }
        let mut kind = 0;
        if ld32(slot + S_ACTIONS) != 0 {
            kind = actions::run(slot, frame);
        }
        if kind == 0 && ld32(slot + S_WB_COUNT) != 0 && !write_back(slot) {
            kind = EV_WB_FAULT;
        }
        if kind == 0 && flags & RF_FULL != 0 {
            fast::complete(slot, frame, flags);
        }
        if kind == 0 && flags & RF_REPARK != 0 {
            kind = EV_PARKED;
        }
        if kind == 0 {
            if flags & RF_OWN_CALL != 0 {
                st32(slot + S_PF_COUNT, 0);
                kind = own_call(slot, frame);
                if kind == EV_SIGNAL {
                    kind = EV_HANDED_BACK;
                }
            }
            if kind == 0 {
                if !kicked(slot) {
                    return frame;
                }
                kind = EV_KICK;
            }
        }
        publish(slot, kind, 0, frame);
        if flags & RF_WAKE_STATE != 0 {
            wait_unasked(slot);
        } else if flags & RF_LONG != 0 && kind == EV_PARKED {
            wait_long(slot);
        } else {
            wait_go(slot);
        }
    }
}

/// The last look before the application: kicks that could not come as a
/// signal.
#[inline(always)]
fn kicked(slot: u64) -> bool {
    if ld32(slot + S_KICK_WANTED) | ld32(slot + S_KICK_SEEN) == 0 {
        return false;
    }
    st32(slot + S_KICK_WANTED, 0);
    st32(slot + S_KICK_SEEN, 0);
    true
}

fn set_bases(slot: u64, flags: u32) {
    let (fs, gs) = (ld64(slot + S_NEW_FS), ld64(slot + S_NEW_GS));
    let fast = ld32(DOORBELL + D_FLAGS) & DF_FSGSBASE != 0;
    // SAFETY: FSGSBASE is there; this code uses neither base.
    unsafe {
        if flags & RF_SET_FS != 0 {
            if fast {
                asm!("wrfsbase {}", in(reg) fs, options(nomem, nostack));
            } else {
                call(NR_ARCH_PRCTL, 0x1002, fs, 0, 0, 0, 0);
            }
        }
        if flags & RF_SET_GS != 0 {
            if fast {
                asm!("wrgsbase {}", in(reg) gs, options(nomem, nostack));
            } else {
                call(NR_ARCH_PRCTL, 0x1001, gs, 0, 0, 0, 0);
            }
        }
    }
}

/// Copies queued output to the application.
fn write_back(slot: u64) -> bool {
    let n = ld32(slot + S_WB_COUNT) as u64;
    let mut i = 0;
    while i < n && i < WB_MAX {
        let e = slot + S_WB + i * ENTRY;
        let (to, len, off) = (ld64(e), ld32(e + 8) as u64, ld32(e + 12) as u64);
        let left = copy(to, slot + off, len);
        if left != 0 {
            st64(slot + S_ARG0, to + (len - left));
            return false;
        }
        i += 1;
    }
    true
}

/// Waits until the Sentry has answered. See policy.rs for who spins and who
/// sleeps.
pub fn wait_go(slot: u64) {
    let seq = ld32(slot + S_SEQ);
    let hot = ld32(DOORBELL + D_HOT);
    if hot != 0 && hot != ld32(slot + S_CPU) + 1 {
        let budget = ld32(DOORBELL + D_SPIN) as u64;
        let mut start = 0;
        loop {
            let mut i = 0;
            while i < 16 {
                if ld32(slot + S_ACK) == seq {
                    return;
                }
                pause();
                i += 1;
            }
            // Dear, and most answers have come by now.
            let now = rdtsc();
            if start == 0 {
                start = now;
            }
            if ld32(slot + S_LOOK) == LOOK_BLOCKED || now - start > budget {
                break;
            }
        }
    }
    sleep(slot, seq, false);
}

/// The same where the answer takes long. A worker that is hot looks at all
/// slots before it sleeps.
fn wait_long(slot: u64) {
    let heard = ld32(DOORBELL + D_HOT) != 0;
    sleep(slot, ld32(slot + S_SEQ), heard);
}

/// The same where the Sentry has no event to look for, but answers by itself.
/// Without a spin: it may need this CPU for something else before it does.
fn wait_unasked(slot: u64) {
    let seq = ld32(slot + S_SEQ);
    while ld32(slot + S_ACK) != seq {
        doze(slot, seq, 0);
    }
    st32(slot + S_STATE, ST_AWAKE);
}

/// Sleeps until there is an answer; `heard`: the event is seen without a ring.
#[inline(never)]
fn sleep(slot: u64, seq: u32, mut heard: bool) {
    while ld32(slot + S_ACK) != seq {
        let look = ld32(slot + S_LOOK);
        if look == LOOK_WATCHED && !heard {
            // By a worker that has other things to do, it seems.
            pend(slot);
        }
        let sure = look == LOOK_BLOCKED || (!heard && ring());
        heard = false;
        let mut short = [0u64; 2];
        let ts = &raw mut short as u64;
        st64(ts, 0);
        st64(ts + 8, 1_000_000);
        doze(slot, seq, if sure { 0 } else { ts });
    }
    st32(slot + S_STATE, ST_AWAKE);
}

/// Sleeps until woken, or the time is over.
fn doze(slot: u64, seq: u32, timeout: u64) {
    // A barrier: the Sentry answers, then looks at the state.
    cas32(slot + S_STATE, ST_AWAKE, ST_SLEEPING);
    if ld32(slot + S_ACK) != seq {
        let state = slot + S_STATE;
        call(NR_FUTEX, state, 0, ST_SLEEPING as u64, timeout, 0, 0);
    }
}

/// Wakes the worker of this CPU if it sleeps. False if it may not have heard.
fn ring() -> bool {
    let mut word = line(cpu(ld32(DOORBELL + D_FLAGS)));
    if ld32(word) == DS_NONE {
        word = line(ld32(DOORBELL + D_FALLBACK));
    }
    if ld32(word) != DS_SLEEPING {
        return true;
    }
    // All waiters: a hostile process may wait here too, and must not be the one
    // that is woken in the worker's place.
    if call(NR_FUTEX, word, 1, 0x7fff_ffff, 0, 0, 0) > 0 {
        return true;
    }
    // It may be between its last look and its sleep.
    ld32(word) != DS_SLEEPING
}

#[inline(always)]
fn line(cpu: u32) -> u64 {
    let cpu = if (cpu as u64) < D_CPUS { cpu as u64 } else { 0 };
    DOORBELL + D_CPU + cpu * D_CPU_STRIDE
}
