//! Signals as cases use them: raw kernel masks, and a handler that records.

#![expect(
    unsafe_code,
    clippy::not_unsafe_ptr_arg_deref,
    clippy::undocumented_unsafe_blocks,
    reason = "signal handlers: the kernel passes valid pointers"
)]

use crate::report::{errno_name, fail};
use crate::sys;
use crate::sys::{Sys, zeroed};
use libc::*;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};

/// A kernel signal set: bit `n - 1` is signal `n`.
pub type Mask = u64;

/// The mask with just these signals.
pub fn mask_of(signals: &[i32]) -> Mask {
    signals.iter().fold(0, |m, s| m | 1 << (s - 1))
}

/// rt_sigprocmask(2): the previous mask.
pub fn sigmask(how: i32, set: Mask) -> Mask {
    let mut old: Mask = 0;
    match sys!(SYS_rt_sigprocmask, how, &set, &mut old, 8) {
        Ok(_) => old,
        Err(e) => fail(format_args!("rt_sigprocmask: {}", errno_name(e))),
    }
}
pub fn block(signals: &[i32]) -> Mask {
    sigmask(SIG_BLOCK, mask_of(signals))
}
pub fn unblock(signals: &[i32]) -> Mask {
    sigmask(SIG_UNBLOCK, mask_of(signals))
}
/// The current mask.
pub fn current_mask() -> Mask {
    sigmask(SIG_BLOCK, 0)
}
/// rt_sigpending(2).
pub fn pending() -> Mask {
    let mut set: Mask = 0;
    let _ = sys!(SYS_rt_sigpending, &mut set, 8);
    set
}
pub fn is_pending(signal: i32) -> bool {
    pending() & mask_of(&[signal]) != 0
}

/// Number of times that [`record`] ran.
pub static SEEN: AtomicU32 = AtomicU32::new(0);
/// Its last signal number.
pub static LAST_SIGNAL: AtomicI32 = AtomicI32::new(0);
/// `si_code` of the last signal.
pub static LAST_CODE: AtomicI32 = AtomicI32::new(0);
/// `si_pid` of the last signal (a fault has the low half of `si_addr` there).
pub static LAST_PID: AtomicI32 = AtomicI32::new(0);
/// `si_uid` of the last signal.
pub static LAST_UID: AtomicU32 = AtomicU32::new(0);
/// `si_value` of the last signal (for SIGCHLD see `siginfo_t`).
pub static LAST_VALUE: AtomicUsize = AtomicUsize::new(0);
/// `si_addr` of the last signal.
pub static LAST_ADDR: AtomicUsize = AtomicUsize::new(0);
/// The signals in the order of their handlers, 8 bits each, newest lowest.
pub static ORDER: AtomicUsize = AtomicUsize::new(0);

/// A handler (SA_SIGINFO) that stores what it was given in the statics above.
pub extern "C" fn record(signal: i32, info: *mut siginfo_t, _context: *mut c_void) {
    SEEN.fetch_add(1, SeqCst);
    LAST_SIGNAL.store(signal, SeqCst);
    ORDER.store(ORDER.load(SeqCst) << 8 | signal as usize, SeqCst);
    unsafe {
        LAST_CODE.store((*info).si_code, SeqCst);
        LAST_PID.store((*info).si_pid(), SeqCst);
        LAST_UID.store((*info).si_uid(), SeqCst);
        LAST_VALUE.store((*info).si_value().sival_ptr as usize, SeqCst);
        LAST_ADDR.store((*info).si_addr() as usize, SeqCst);
    }
}
pub fn seen() -> u32 {
    SEEN.load(SeqCst)
}

/// Type of a SA_SIGINFO handler.
pub type Handler = extern "C" fn(i32, *mut siginfo_t, *mut c_void);

/// Installs a SA_SIGINFO handler with further flags.
pub fn handle(signal: i32, handler: Handler, flags: i32) {
    handle_masked(signal, handler, flags, &[]);
}
/// Installs a handler that also blocks `masked` while it runs.
pub fn handle_masked(signal: i32, handler: Handler, flags: i32, masked: &[i32]) {
    let mut act: sigaction = zeroed();
    act.sa_sigaction = handler as usize;
    act.sa_flags = flags | SA_SIGINFO;
    unsafe {
        sigemptyset(&mut act.sa_mask);
        for s in masked {
            sigaddset(&mut act.sa_mask, *s);
        }
        if libc::sigaction(signal, &act, std::ptr::null_mut()) != 0 {
            fail(format_args!(
                "sigaction({signal}): {}",
                errno_name(sys::errno())
            ));
        }
    }
}
/// Installs [`record`] without SA_RESTART.
pub fn record_on(signal: i32) {
    handle(signal, record, 0);
}
/// Sets SIG_DFL or SIG_IGN.
pub fn disposition(signal: i32, what: sighandler_t) {
    unsafe {
        libc::signal(signal, what);
    }
}

/// The kernel's `struct kernel_sigaction`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct KernelSigaction {
    pub handler: usize,
    pub flags: u64,
    pub restorer: usize,
    pub mask: Mask,
}
/// rt_sigaction(2), read only.
pub fn get_action(signal: i32) -> Sys<KernelSigaction> {
    let mut old = KernelSigaction::default();
    sys!(SYS_rt_sigaction, signal, 0, &mut old, 8)?;
    Ok(old)
}

/// Sends a signal to the calling thread.
pub fn raise(signal: i32) {
    let _ = sys!(SYS_tgkill, sys::getpid(), sys::gettid(), signal);
}

/// rt_sigtimedwait(2): the signal's siginfo. `None` waits without limit.
pub fn sigtimedwait(set: Mask, timeout_ms: Option<i64>) -> Sys<siginfo_t> {
    let mut info: siginfo_t = zeroed();
    match timeout_ms {
        Some(ms) => sys!(
            SYS_rt_sigtimedwait,
            &set,
            &mut info,
            &sys::timespec_ms(ms),
            8
        )?,
        None => sys!(SYS_rt_sigtimedwait, &set, &mut info, 0, 8)?,
    };
    Ok(info)
}

/// The fields of a siginfo that a union hides: `(si_pid, si_uid, si_status)`.
pub fn info_child(info: &siginfo_t) -> (i32, u32, i32) {
    unsafe { (info.si_pid(), info.si_uid(), info.si_status()) }
}
/// `si_value` as a pointer-sized number.
pub fn info_value(info: &siginfo_t) -> usize {
    unsafe { info.si_value().sival_ptr as usize }
}

/// rt_sigqueueinfo(2) with SI_QUEUE and this value.
pub fn sigqueue(pid: i32, signal: i32, value: usize) -> Sys {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Info {
        signo: i32,
        errno: i32,
        code: i32,
        pad: i32,
        pid: i32,
        uid: u32,
        value: usize,
        rest: [u64; 12],
    }
    let info = Info {
        signo: signal,
        errno: 0,
        code: SI_QUEUE,
        pad: 0,
        pid: sys::getpid(),
        uid: sys::getuid(),
        value,
        rest: [0; 12],
    };
    sys!(SYS_rt_sigqueueinfo, pid, signal, &info)
}
