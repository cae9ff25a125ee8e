//! Signals (signal(7)).
//!
//! - [`queue`]: pending signals.
//! - [`send`]: from a sender to a queue, and who is woken.
//! - [`deliver`]: what a task does with its pending signals before it goes on with the application.
//! - [`frame`]: the frame a handler runs on, and the way back.
//! - [`stop`]: job control.
//!
//! A task with something to do has `Task::attention` set by the sender; the task clears it before it looks, so that
//! nothing sent meanwhile is missed.

pub mod deliver;
pub mod frame;
pub mod queue;
pub mod send;
pub mod stop;

pub use queue::Queue;
pub use send::{send_to_group, send_to_pgrp, send_to_task};

use arch::abi::{SIG_DFL, SIG_IGN, SigAction, SigSet, StackT};
use arch::signal::Signal;
use parking_lot::Mutex;

/// Number of signals.
const NSIG: usize = arch::signal::NSIG as usize;

/// A thread's own signal state.
pub struct TaskSignals {
    /// Blocked signals.
    pub mask: SigSet,
    /// The mask to go back to once a temporary one (sigsuspend(2), ppoll(2), …) has served.
    pub saved_mask: Option<SigSet>,
    /// Sent to this thread alone.
    pub pending: Queue,
    /// sigaltstack(2).
    pub altstack: StackT,
    /// Signals that rt_sigtimedwait(2) is waiting for, which are not blocked for who wakes this thread.
    pub waiting_for: SigSet,
    /// The thread has to end: its group executes another program.
    pub must_exit: bool,
    /// _exit(2) was called with this wait status.
    pub exiting: Option<i32>,
}

impl Default for TaskSignals {
    fn default() -> Self {
        Self {
            mask: SigSet(0),
            saved_mask: None,
            pending: Queue::default(),
            altstack: StackT::DISABLED,
            waiting_for: SigSet(0),
            must_exit: false,
            exiting: None,
        }
    }
}

/// Signal actions (sigaction(2)); CLONE_SIGHAND shares them.
pub struct SigHand {
    actions: Mutex<[SigAction; NSIG]>,
}

impl Default for SigHand {
    fn default() -> Self {
        Self {
            actions: Mutex::new([SigAction::default(); NSIG]),
        }
    }
}

impl SigHand {
    /// The action for `signal`.
    pub fn get(&self, signal: Signal) -> SigAction {
        self.actions.lock()[signal.index()]
    }

    /// Sets the action for `signal`.
    pub fn set(&self, signal: Signal, action: SigAction) {
        self.actions.lock()[signal.index()] = action;
    }

    /// A copy for a process of its own.
    pub fn fork(&self) -> Self {
        Self {
            actions: Mutex::new(*self.actions.lock()),
        }
    }

    /// What execve(2) leaves: handlers become the default, ignored signals stay ignored, flags and masks go.
    pub fn reset_for_exec(&self) {
        for action in self.actions.lock().iter_mut() {
            let handler = if action.is_ignore() { SIG_IGN } else { SIG_DFL };
            *action = SigAction {
                handler,
                ..SigAction::DEFAULT
            };
        }
    }

    /// CLONE_CLEAR_SIGHAND: handlers become the default, ignored signals stay so.
    pub fn clear_handlers(&self) {
        self.reset_for_exec();
    }
}

/// Group stop (job control).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopState {
    /// The stop signal while the group stops or is stopped.
    pub signal: Option<Signal>,
    /// All threads are parked, and the parent was told.
    pub complete: bool,
    /// wait4(2) has not reported the stop yet.
    pub report_stopped: bool,
    /// wait4(2) has not reported the continuation yet.
    pub report_continued: bool,
}

/// A process's signal state.
#[derive(Default)]
pub struct GroupSignals {
    /// Sent to the process.
    pub pending: Queue,
    /// The process is exiting with this wait status.
    pub exiting: Option<i32>,
    /// Group stop.
    pub stop: StopState,
    /// Threads parked in the stop.
    pub parked: usize,
}
