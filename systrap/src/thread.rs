//! Threads: one host thread and one slot each.

use std::io;
use std::sync::Arc;

use crate::{Actions, AddressSpace, Event, Regs, Token, Window};

/// Values that the stub answers identity calls with (getpid and kin), so
/// that they need no hand-over. The Sentry keeps them current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
}

/// The Sentry's handle of one thread; owned by exactly one task. Send.
///
/// Between an event and the next `resume` the slot belongs to the owner of
/// this handle; after `resume` it belongs to the stub until the next event,
/// and only `kicker()`, `address_space()` and `set_identity()` are useful.
pub struct Thread {}

impl Thread {
    /// Must be set before the first resume.
    pub fn set_token(&self, _t: Token) {
        panic!("not there yet")
    }

    pub fn address_space(&self) -> &Arc<AddressSpace> {
        panic!("not there yet")
    }

    /// Copies the event out of the slot; once per report.
    pub fn event(&mut self) -> Event {
        panic!("not there yet")
    }

    /// Registers of the trapped frame.
    pub fn regs(&self) -> Regs {
        panic!("not there yet")
    }

    /// Takes effect at the next resume.
    pub fn set_regs(&mut self, _regs: &Regs) {
        panic!("not there yet")
    }

    /// Sets `rax`.
    pub fn set_return(&mut self, _rax: u64) {
        panic!("not there yet")
    }

    /// The FPU state of the trapped frame in the layout of a signal frame's
    /// `fpstate` (xsave area with `sw_reserved`, final magic included).
    pub fn fpstate(&self) -> Vec<u8> {
        panic!("not there yet")
    }

    /// Replaces the FPU state; validated. An empty slice gives the initial
    /// state (execve).
    pub fn set_fpstate(&mut self, _fp: &[u8]) -> io::Result<()> {
        panic!("not there yet")
    }

    /// The copy window: prefetched input and queued output.
    pub fn window(&mut self) -> Window<'_> {
        panic!("not there yet")
    }

    /// Host calls for the stub to perform at the next resume.
    pub fn actions(&mut self) -> Actions<'_> {
        panic!("not there yet")
    }

    /// Publishes registers, actions and write-backs; the stub performs them
    /// and goes on with the application.
    pub fn resume(&mut self) {
        panic!("not there yet")
    }

    /// As `resume`, but the stub performs actions and write-backs only, does
    /// not enter the application, and reports `Parked` when done.
    pub fn perform(&mut self) {
        panic!("not there yet")
    }

    pub fn kicker(&self) -> Kicker {
        panic!("not there yet")
    }

    /// Whether the thread sleeps in a futex wait of its own (for /proc
    /// state; a hint from the stub).
    pub fn in_futex_wait(&self) -> bool {
        panic!("not there yet")
    }

    /// None: identity calls are handed to the Sentry.
    pub fn set_identity(&self, _id: Option<&Identity>) {
        panic!("not there yet")
    }

    /// A child address space forked from this thread's at this thread's next
    /// resume (pushes the action; fails with `ActionFailed` there). The
    /// child's registers are a copy of this frame: edit them, then resume the
    /// child whenever wanted, before or after this thread.
    pub fn fork(&mut self) -> io::Result<(Arc<AddressSpace>, Thread)> {
        panic!("not there yet")
    }

    /// A new thread in the same address space; same rules.
    pub fn spawn_thread(&mut self) -> io::Result<Thread> {
        panic!("not there yet")
    }
}

/// Stops a thread's user code from anywhere. Clone + Send + Sync.
#[derive(Clone)]
pub struct Kicker {}

impl Kicker {
    /// If the thread runs user code or waits in a futex of its own, it
    /// reports `Kick`, `FutexInterrupted` or another event soon; otherwise
    /// harmless (at most a spurious `Kick` after its next resume). A kick
    /// after `resume` is never lost.
    pub fn kick(&self) {
        panic!("not there yet")
    }
}
