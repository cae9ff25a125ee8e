//! What a thread reports to the Sentry.

use crate::Arch;

/// The Sentry's name for a thread, given with [`crate::Thread::set_token`]
/// before the first resume, handed back whenever the thread has an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Why a thread stopped running user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing has happened yet: a thread that was just made and waits for
    /// its first resume, or whose event was already taken.
    Parked,
    /// A system call instruction. Answer with `set_return`.
    Syscall {
        /// Number as the kernel saw it (32 bits, sign-extended).
        nr: u64,
        /// The six arguments in the order of the convention in `arch`.
        args: [u64; 6],
        arch: Arch,
    },
    /// A CPU exception, with the fields of the host's `siginfo_t` and
    /// `struct sigcontext`.
    Fault {
        signo: i32,
        code: i32,
        /// `si_addr`.
        addr: u64,
        trapno: u64,
        err: u64,
    },
    /// The thread was stopped by [`crate::Kicker::kick`] between two
    /// instructions of user code.
    Kick,
    /// Action `index` of the list given with the last resume failed with
    /// this positive errno; the actions before it are done, those after it
    /// are not, nor are the write-backs.
    ActionFailed { index: usize, errno: i32 },
    /// A queued write-back faulted at this application address. Write-backs
    /// before it are done, and all actions.
    WriteBackFault { addr: u64 },
    /// A futex wait that the stub performed by itself was interrupted by a
    /// kick. `rax` is still the call's number; the Sentry either sets a
    /// return (EINTR), or restarts (rip − 2, or `Actions::futex_wait`).
    FutexInterrupted {
        nr: u64,
        args: [u64; 6],
        /// Nanoseconds that the wait had lasted.
        elapsed_ns: u64,
    },
    /// The host process is gone. `status` as in wait(2).
    Dead { status: i32 },
    /// The stub published something impossible. Its address space has been
    /// killed; `Dead` does not follow for this thread.
    Violation(&'static str),
}
