//! Children of a case: fork, wait, and the usual expectations on how they end.

#![expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "fork and _exit in single-threaded throw-away processes"
)]

use crate::report::{errno_name, fail};
use crate::sys;
use crate::sys::{Sys, getpid, now_ms, prctl, raw, read_file, sleep_ms};
use libc::*;
use std::ffi::{CStr, CString};

/// Forks; the child runs `f` and exits with its value. The child is killed
/// when the thread that forked it ends.
pub fn child(f: impl FnOnce() -> i32) -> i32 {
    let parent = getpid();
    orphan(move || {
        let _ = prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if sys::getppid() != parent && sys::getppid() != 0 {
            return 0;
        }
        f()
    })
}

/// Forks a child that may outlive its parent.
pub fn orphan(f: impl FnOnce() -> i32) -> i32 {
    match unsafe { libc::fork() } {
        -1 => fail(format_args!("fork: {}", errno_name(sys::errno()))),
        0 => {
            let status = f();
            unsafe { libc::_exit(status) }
        }
        pid => pid,
    }
}

/// Forks with a raw `clone(flags)`, flags without CLONE_VM.
pub fn clone_child(flags: i32, f: impl FnOnce() -> i32) -> Sys<i32> {
    match raw(SYS_clone, [flags as usize, 0, 0, 0, 0, 0])? {
        0 => {
            let status = f();
            unsafe { libc::_exit(status) }
        }
        pid => Ok(pid as i32),
    }
}

/// `wait4(pid, options)`: the pid and status it gave.
pub fn wait4(pid: i32, options: i32) -> Sys<(i32, i32)> {
    let mut status = 0i32;
    let got = sys!(SYS_wait4, pid, &mut status, options, 0)?;
    Ok((got as i32, status))
}

/// Waits for the end of a child: its raw wait status.
pub fn wait_status(pid: i32) -> i32 {
    loop {
        match wait4(pid, __WALL) {
            Ok((got, status)) if got == pid => return status,
            Ok((got, _)) => fail(format_args!("wait4({pid}) returned {got}")),
            Err(EINTR) => {}
            Err(e) => fail(format_args!("wait4({pid}): {}", errno_name(e))),
        }
    }
}

/// A wait status in words.
pub fn describe_status(status: i32) -> String {
    if WIFEXITED(status) {
        format!("exit {}", WEXITSTATUS(status))
    } else if WIFSIGNALED(status) {
        format!("signal {}", WTERMSIG(status))
    } else if WIFSTOPPED(status) {
        format!("stopped by {:#x}", status >> 8)
    } else {
        format!("status {status:#x}")
    }
}

/// Waits for a child that has to exit by itself: its exit status.
#[track_caller]
pub fn wait_exit(pid: i32) -> i32 {
    let status = wait_status(pid);
    if !WIFEXITED(status) {
        let at = std::panic::Location::caller();
        fail(format_args!(
            "child ended by {}, expected an exit ({at})",
            describe_status(status)
        ));
    }
    WEXITSTATUS(status)
}

/// Waits for a child that has to exit with status 0.
#[track_caller]
pub fn wait_ok(pid: i32) {
    let code = wait_exit(pid);
    if code != 0 {
        let at = std::panic::Location::caller();
        fail(format_args!("child exited with {code}, expected 0 ({at})"));
    }
}

/// Waits for a child that has to be killed by `signal`.
#[track_caller]
pub fn wait_killed(pid: i32, signal: i32) {
    let status = wait_status(pid);
    if !WIFSIGNALED(status) || WTERMSIG(status) != signal {
        let at = std::panic::Location::caller();
        fail(format_args!(
            "child ended by {}, expected signal {signal} ({at})",
            describe_status(status)
        ));
    }
}

/// Runs `f` in a child that has to exit with 0.
#[track_caller]
pub fn in_child(f: impl FnOnce()) {
    wait_ok(child(|| {
        f();
        0
    }));
}

/// Runs `f` in a child that has to be killed by `signal`.
#[track_caller]
pub fn expect_killed(signal: i32, f: impl FnOnce()) {
    wait_killed(
        child(|| {
            f();
            0
        }),
        signal,
    );
}

/// The state letter of a task in /proc/PID/stat, `?` when unknown.
pub fn task_state(pid: i32) -> char {
    let Ok(path) = CString::new(format!("/proc/{pid}/stat")) else {
        return '?';
    };
    let Ok(stat) = read_file(&path) else {
        return '?';
    };
    let text = String::from_utf8_lossy(&stat).into_owned();
    text.rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next())
        .unwrap_or('?')
}

/// Waits until a task sleeps in a blocking call; fails the case when it doesn't. Falls back on a short sleep where /proc does not
/// tell.
#[track_caller]
pub fn wait_asleep(pid: i32) {
    let end = now_ms() + ASLEEP_MS;
    loop {
        match task_state(pid) {
            'S' | 'D' => {
                // Asleep, but perhaps in something short before the call.
                sleep_ms(2);
                if matches!(task_state(pid), 'S' | 'D') {
                    return;
                }
            }
            '?' => {
                sleep_ms(50);
                return;
            }
            state if now_ms() > end => {
                let at = std::panic::Location::caller();
                fail(format_args!(
                    "it does not fall asleep: state {state} ({at})"
                ));
            }
            _ => sleep_ms(1),
        }
    }
}

/// How long a task may take to fall asleep: on a busy machine it may not even run for a second.
const ASLEEP_MS: i64 = 10_000;

/// Polls until the condition holds; fails the case after five seconds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2500 {
        if condition() {
            return;
        }
        sleep_ms(2);
    }
    let at = std::panic::Location::caller();
    fail(format_args!("never happened: {what} ({at})"));
}

pub fn kill(pid: i32, signal: i32) -> Sys {
    sys!(SYS_kill, pid, signal)
}
pub fn tgkill(tgid: i32, tid: i32, signal: i32) -> Sys {
    sys!(SYS_tgkill, tgid, tid, signal)
}

/// execve with arguments and environment as C strings. Returns only an errno.
pub fn execve(path: &CStr, argv: &[&CStr], envp: &[&CStr]) -> Sys {
    let list = |items: &[&CStr]| -> Vec<*const c_char> {
        items
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, envp) = (list(argv), list(envp));
    sys!(SYS_execve, path, &argv[..], &envp[..])
}

/// The guest program itself, for cases that execute it again as a helper.
pub fn self_exe() -> CString {
    let path = sys::readlink(c"/proc/self/exe").unwrap_or_else(|_| {
        let name = std::env::args_os().next().unwrap_or_default();
        std::os::unix::ffi::OsStringExt::into_vec(name)
    });
    CString::new(path).unwrap_or_default()
}

/// Executes this program again as helper `name`: see the guest's `helpers`.
pub fn exec_helper(name: &CStr, args: &[&CStr]) -> Sys {
    let exe = self_exe();
    let mut argv = vec![exe.as_c_str(), c"--helper", name];
    argv.extend(args);
    execve(&exe, &argv, &[])
}

/// Forks and executes a helper: its exit status.
#[track_caller]
pub fn run_helper(name: &CStr, args: &[&CStr]) -> i32 {
    wait_exit(child(|| {
        let _ = exec_helper(name, args);
        250
    }))
}
