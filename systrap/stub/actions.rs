//! Action lists: host calls that the Sentry wants done in place.

use crate::asm::*;
use crate::futex::{self, Futex};
use crate::layout::*;
use crate::proto::*;
use crate::sys::*;
use core::arch::asm;

/// struct msghdr, struct iovec, a byte, the control message, and the
/// descriptors from it: as words, so that all stores are plain.
const MSG_WORDS: usize = 32;

/// Sleeps a millisecond, or until the word is woken.
fn sleep_ms(word: u64, value: u32) {
    let mut ts = [0u64; 2];
    let t = &raw mut ts as u64;
    st64(t, 0);
    st64(t + 8, 1_000_000);
    call(NR_FUTEX, word, 0, value as u64, t, 0, 0);
}

/// Takes this list's descriptors from the control socket, in turn with the
/// other threads. Where they are, as an address of i32s; 0 on failure.
fn receive(slot: u64, buf: u64, n: u64) -> bool {
    let ticket = ld32(slot + S_FD_TICKET);
    let mut tries = 0;
    loop {
        let turn = ld32(REGION + P_TURN);
        if turn == ticket {
            break;
        }
        tries += 1;
        if tries < 32 {
            call(NR_SCHED_YIELD, 0, 0, 0, 0, 0, 0);
        } else {
            sleep_ms(REGION + P_TURN, turn);
        }
    }
    // msghdr: name, namelen, iov, iovlen, control, controllen, flags
    let (iov, control) = (buf + 56, buf + 80);
    st64(buf, 0);
    st64(buf + 8, 0);
    st64(buf + 16, iov);
    st64(buf + 24, 1);
    st64(buf + 32, control);
    st64(buf + 40, 16 + 4 * FDS_MAX);
    st64(buf + 48, 0);
    st64(iov, buf + 72);
    st64(iov + 8, 1);
    let mut r;
    loop {
        r = call(NR_RECVMSG, CTL_FD, buf, 0, 0, 0, 0);
        // A kick can come here if the stub was entered from a patched site.
        if r != -(EINTR as i64) {
            break;
        }
    }
    add32(REGION + P_TURN, 1);
    // cmsg_len covers the header and all descriptors, or they did not all fit.
    r == 1 && ld64(buf + 40) >= 16 && ld64(control) == 16 + 4 * n
}

/// Closes all descriptors but the control socket's. Other threads may hold
/// some of their own, so each by itself.
fn close_all(fds: u64, n: u64) {
    let mut i = 0;
    while i < n {
        call(NR_CLOSE, ld32(fds + i * 4) as u64, 0, 0, 0, 0, 0);
        i += 1;
    }
}

/// Performs the list. 0, or the event to publish (ARG0 and ARG1 are set).
#[inline(never)]
pub fn run(slot: u64, frame: u64) -> u32 {
    let n = ld32(slot + S_ACTIONS) as u64;
    let list = slot + ld32(slot + S_ACTIONS_OFF) as u64;
    let n_fds = ld32(slot + S_FDS) as u64;
    let mut msg = core::mem::MaybeUninit::<[u64; MSG_WORDS]>::uninit();
    let buf = msg.as_mut_ptr() as u64;
    let fds = buf + 80 + 16;
    if n_fds != 0 && !receive(slot, buf, n_fds) {
        st64(slot + S_ARG0, 0);
        st64(slot + S_ARG1, EMFILE as u64);
        return EV_ACTION_FAILED;
    }
    let mut i = 0;
    let mut failed = 0;
    let mut interrupted = false;
    while i < n {
        let a = list + i * ACTION;
        let r = one(slot, frame, a, fds, n_fds);
        interrupted |= r == INTERRUPTED;
        if (-4095..0).contains(&r) && ld32(a + 4) & AF_IGNORE == 0 {
            failed = -r;
            break;
        }
        i += 1;
    }
    close_all(fds, n_fds);
    if failed != 0 {
        st64(slot + S_ARG0, i);
        st64(slot + S_ARG1, failed as u64);
        return EV_ACTION_FAILED;
    }
    if interrupted { EV_FUTEX_INT } else { 0 }
}

/// What `one` returns for an interrupted wait: no errno, no length.
const INTERRUPTED: i64 = i64::MIN;

#[inline(always)]
fn fd_at(fds: u64, index: u64) -> u64 {
    ld32(fds + (index & (FDS_MAX - 1)) * 4) as u64
}

const FAULT: i64 = -(EFAULT as i64);

fn one(slot: u64, frame: u64, a: u64, fds: u64, n_fds: u64) -> i64 {
    let arg = |i: u64| ld64(a + 8 + i * 8);
    let pass = |nr: u64| call(nr, arg(0), arg(1), arg(2), arg(3), arg(4), 0);
    match ld32(a) {
        A_MMAP => {
            let fd = if arg(4) == NO_FD {
                NO_FD
            } else {
                fd_at(fds, arg(4))
            };
            call(NR_MMAP, arg(0), arg(1), arg(2), arg(3), fd, arg(5))
        }
        A_MUNMAP => pass(NR_MUNMAP),
        A_MPROTECT => pass(NR_MPROTECT),
        A_MREMAP => pass(NR_MREMAP),
        A_MADVISE => pass(NR_MADVISE),
        A_MSYNC => pass(NR_MSYNC),
        A_MINCORE => call(NR_MINCORE, arg(0), arg(1), slot + arg(2), 0, 0, 0),
        A_ZERO => match zero(arg(0), arg(1)) {
            0 => 0,
            _ => FAULT,
        },
        A_STORE32 => match store32(arg(0), arg(1) as u32) {
            0 => 0,
            _ => FAULT,
        },
        A_CAS32 => {
            let seen = app_cas32(arg(0), arg(1) as u32, arg(2) as u32);
            if seen & FAULTED != 0 {
                FAULT
            } else if seen != arg(1) & 0xffff_ffff {
                -(EAGAIN as i64)
            } else {
                0
            }
        }
        A_PATCH => {
            patch(a, &arg);
            0
        }
        A_CODE => 0,
        A_SAVE_FPU => save_fpu(arg(0), arg(1)),
        A_FUTEX_WAKE => call(NR_FUTEX, arg(0), arg(2), arg(1), 0, 0, 0),
        A_FUTEX_WAIT => {
            let ns = arg(4);
            let mut ts = [0u64; 2];
            let t = &raw mut ts as u64;
            st64(t, ns / 1_000_000_000);
            st64(t + 8, ns % 1_000_000_000);
            let timeout = if arg(3) != 0 { t } else { 0 };
            let args = [arg(0), arg(1), arg(2), timeout, 0, arg(5)];
            match futex::sleep(slot, frame, NR_FUTEX, args) {
                Futex::Interrupted => INTERRUPTED,
                Futex::Done | Futex::NotHere => 0,
            }
        }
        A_EXIT_THREAD => {
            close_all(fds, n_fds);
            loop {
                call(NR_EXIT, 0, 0, 0, 0, 0, 0);
            }
        }
        A_EXIT_PROCESS => die(0),
        A_PARK_FOREVER => {
            close_all(fds, n_fds);
            st32(slot + S_STATE, ST_PARKED_FOREVER);
            loop {
                call(
                    NR_FUTEX,
                    slot + S_STATE,
                    0,
                    ST_PARKED_FOREVER as u64,
                    0,
                    0,
                    0,
                );
            }
        }
        A_FORK => fork(fd_at(fds, arg(0)), fd_at(fds, arg(1))),
        A_THREAD => {
            let child = REGION + arg(0) * SLOT_STRIDE;
            let stack = child + ld32(child + S_START_FRAME) as u64;
            thread(stack, child + S_TID)
        }
        _ => -(EPERM as i64),
    }
}

/// A_PATCH: the code of the trampoline, then the jump to it. Whatever fails,
/// the call site is as good as before.
fn patch(a: u64, arg: &impl Fn(u64) -> u64) {
    const RX: u64 = 5;
    const RWX: u64 = 7;
    let (area, at) = (arg(0), arg(2));
    let code = a + ACTION + 8;
    let page = at & !(PAGE - 1);
    // Executable all the time: other threads may be in there.
    if call(NR_MPROTECT, area, CODE_AREA, RWX, 0, 0, 0) != 0 {
        return;
    }
    let left = copy(area + arg(1), code, CODE);
    call(NR_MPROTECT, area, CODE_AREA, RX, 0, 0, 0);
    if left == 0 && call(NR_MPROTECT, page, PAGE, RWX, 0, 0, 0) == 0 {
        app_cas64(at, arg(3), arg(4));
        call(NR_MPROTECT, page, PAGE, RX, 0, 0, 0);
    }
}

/// What xrstor makes the initial FPU state of: no component, and MXCSR, which
/// is loaded even so.
#[repr(C, align(64))]
struct Initial([u64; 72]);
static INITIAL: Initial = {
    let mut words = [0; 72];
    words[3] = 0x1f80;
    Initial(words)
};

/// Memory protection keys stay: there are none here but the first.
const PKRU: u64 = 1 << 9;

/// A_SAVE_FPU.
fn save_fpu(addr: u64, features: u64) -> i64 {
    // xsave leaves most of the header as it is.
    if zero(addr + 512, 64) != 0 || xsave(addr, features) != 0 {
        return FAULT;
    }
    let from = &raw const INITIAL as u64;
    let which = features & !PKRU;
    // SAFETY: a valid area; nothing here uses the FPU.
    unsafe {
        asm!("xrstor64 [{}]", in(reg) from, in("eax") which as u32,
            in("edx") (which >> 32) as u32, options(nostack));
    }
    0
}
