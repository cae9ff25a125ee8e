//! Names the call that the filter has trapped.
#![expect(unsafe_code, reason = "a signal handler")]
//!
//! # Safety
//! The handler reads the siginfo_t that the kernel made. It is not async-signal-safe, since it formats a message: a trap from
//! within the allocator would hang it. It exists for debugging only.

use sentry::control::Report;

/// From now on a trapped call is reported, and ends the process.
pub fn report_them() {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zero bytes are a valid sigaction; the handler has the signature that SA_SIGINFO asks for.
    unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSYS, action, std::ptr::null_mut());
    }
}

/// `si_syscall` of siginfo_t: behind signo, errno, code, padding and the address of the call.
const SI_SYSCALL: usize = 24;

extern "C" fn handler(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo_t, 128 bytes long, whose fields for SIGSYS end well before that.
    let nr = unsafe { info.cast::<u8>().add(SI_SYSCALL).cast::<i32>().read() };
    let name = u64::try_from(nr)
        .ok()
        .and_then(arch::nr::name)
        .unwrap_or("unknown");
    // The process ends here in any case, and only with --debug does it get here: the allocations behind this are worth
    // the message.
    let text = format!(
        "the sandbox's kernel made the host system call {name} ({nr}), which its own filter forbids"
    );
    let code = 128 + libc::SIGSYS as u8;
    crate::sandbox::last_word(&Report::Failed(code, text));
    crate::sys::exit_now(code);
}
