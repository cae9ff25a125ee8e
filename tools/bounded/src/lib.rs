//! Waits of tests: they end with what was waited for, or with a failure that names it.
//!
//! A test that hangs costs the results of all that would have come after it. So nothing in a test waits for a program, a thread
//! or a pipe without a limit: programs are started by [`Bounded`], whatever else may hang runs [`within`] a limit.
//!
//! *Invariant:* a program that was waited for in vain is killed, with all its descendants, before the failure is reported.

#![deny(unsafe_code)]

mod pipe;
mod running;

pub use running::{Bounded, Running};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a test waits for one thing where it doesn't say otherwise. Long enough for a busy machine: it is not measured by.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often conditions are looked at that nothing notifies of.
const PAUSE: Duration = Duration::from_millis(5);

/// The result of `f`, which runs in a thread of its own.
///
/// # Panics
/// As `f` does; and where it isn't over after `limit`. Its thread is left behind then.
pub fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> T {
    let result = try_within(limit, f);
    result.unwrap_or_else(|| panic!("{what}: not over after {limit:?}"))
}

/// The same for those who have something to clear up: `None` where it isn't over after `limit`.
///
/// # Panics
/// As `f` does.
pub fn try_within<T: Send + 'static>(
    limit: Duration,
    f: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (to, result) = channel();
    let thread = std::thread::spawn(move || {
        let _ = to.send(f());
    });
    match result.recv_timeout(limit) {
        Ok(value) => Some(value),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it sends before it ends"),
        },
    }
}

/// Whether `done` held before `limit` was over.
pub fn reached(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

/// The processes that a process has started by any of its threads, and those that these have.
pub fn descendants(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let lists = tasks.into_iter().flatten().flatten().filter_map(|task| {
        // The task may have ended meanwhile.
        std::fs::read_to_string(task.path().join("children")).ok()
    });
    let children: Vec<u32> = lists
        .flat_map(|list| {
            let pids = list.split_whitespace().filter_map(|p| p.parse().ok());
            pids.collect::<Vec<u32>>()
        })
        .collect();
    let below = |p: &u32| std::iter::once(*p).chain(descendants(*p));
    children.iter().flat_map(below).collect()
}

/// Kills processes.
pub fn kill_all(pids: &[u32]) {
    for pid in pids.iter().filter_map(|p| i32::try_from(*p).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests;
