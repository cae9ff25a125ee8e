//! The guest's main function: lists cases, runs each in a forked child.

#![expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "fork, wait and signals of a single-threaded process"
)]

use crate::proc::{child, describe_status, wait4};
use crate::report::{EXIT_FAILED, EXIT_PASSED, EXIT_SKIPPED, errno_name, fail, set_report_fd};
use crate::sys;
use crate::sys::{close, now_ms, pipe2, read_all, set_nonblock, sleep_ms};
use crate::tmp::set_scratch;
use libc::*;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

/// A case: its name within the family, and the function.
pub type Case = (&'static str, fn());
/// A family of cases: the module's name, and its table.
pub type Family = (&'static str, &'static [Case]);

/// Declares the table of a module: `cases![a, b]` makes `pub const CASES`. A
/// case that is missing here is dead code, which the compiler reports.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// The cases of this family.
        pub const CASES: &[$crate::harness::Case] = &[$((stringify!($name), $name as fn())),*];
    };
}

/// Default time limit of a case.
const DEFAULT_TIMEOUT_MS: i64 = 20_000;

struct Selected {
    name: String,
    run: fn(),
}

/// Runs the program: `--list`, `[--timeout SECONDS] [--all | CASE…]`.
/// A CASE may end in `*`. The exit status is 0 when no case failed.
pub fn main(families: &[Family], args: &[String]) -> i32 {
    let mut timeout_ms = DEFAULT_TIMEOUT_MS;
    let mut wanted: Vec<&str> = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => {
                for (family, cases) in families {
                    for (case, _) in *cases {
                        println!("{family}::{case}");
                    }
                }
                return 0;
            }
            "--all" => wanted.push("*"),
            "--timeout" => match args.next().and_then(|s| s.parse::<i64>().ok()) {
                Some(seconds) => timeout_ms = seconds * 1000,
                None => return usage("--timeout needs a number of seconds"),
            },
            flag if flag.starts_with('-') => return usage(&format!("unknown option {flag}")),
            name => wanted.push(name),
        }
    }
    if wanted.is_empty() {
        return usage("no case named");
    }
    let mut selected = Vec::new();
    for want in wanted {
        let before = selected.len();
        for (family, cases) in families {
            for (case, run) in *cases {
                let name = format!("{family}::{case}");
                let hit = match want.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix),
                    None => name == want,
                };
                if hit {
                    selected.push(Selected { name, run: *run });
                }
            }
        }
        if selected.len() == before {
            return usage(&format!("no case is called {want}"));
        }
    }
    run_all(&selected, timeout_ms)
}

fn usage(problem: &str) -> i32 {
    eprintln!("syscall-guest: {problem}");
    eprintln!("usage: syscall-guest --list | [--timeout SECONDS] --all | CASE… | FAMILY::PREFIX*");
    2
}

fn run_all(selected: &[Selected], timeout_ms: i64) -> i32 {
    let base = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let _ = sys::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    let mut status = 0;
    for (index, case) in selected.iter().enumerate() {
        let scratch = base.join(format!("syscall-guest-{}-{index}", std::process::id()));
        println!("run {}", case.name);
        let _ = std::io::stdout().flush();
        let verdict = run_one(case, scratch.clone(), timeout_ms);
        if verdict.starts_with("FAILED") {
            status = 1;
        }
        println!("{verdict}");
        let _ = std::io::stdout().flush();
        remove_scratch(&scratch);
    }
    status
}

/// Removes a scratch directory whose parts the case may have made
/// inaccessible.
fn remove_scratch(scratch: &std::path::Path) {
    if !scratch.exists() || std::fs::remove_dir_all(scratch).is_ok() {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mut stack = vec![scratch.to_path_buf()];
    while let Some(dir) = stack.pop() {
        let _ = std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700));
        if let Ok(entries) = std::fs::read_dir(&dir) {
            let dirs = entries
                .flatten()
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            stack.extend(dirs.map(|e| e.path()));
        }
    }
    let _ = std::fs::remove_dir_all(scratch);
}

fn run_one(case: &Selected, scratch: PathBuf, timeout_ms: i64) -> String {
    let name = &case.name;
    let (report, report_w) = match pipe2(O_CLOEXEC) {
        Ok(ends) => ends,
        Err(e) => return format!("FAILED {name}: harness: pipe2: {}", errno_name(e)),
    };
    let pid = child(|| {
        prepare(report_w, scratch);
        (case.run)();
        EXIT_PASSED
    });
    let _ = sys::setpgid(pid, pid);
    let _ = close(report_w);
    let status = wait_limited(pid, timeout_ms);
    let _ = sys!(SYS_kill, -pid, SIGKILL);
    let _ = set_nonblock(report);
    let message = read_report(report);
    let _ = close(report);
    while matches!(wait4(-1, WNOHANG), Ok((stray, _)) if stray > 0) {}
    match status {
        Err(places) => {
            format!("FAILED {name}: still running after {timeout_ms} ms {message}{places}")
        }
        Ok(s) if WIFEXITED(s) && WEXITSTATUS(s) == EXIT_PASSED && message.is_empty() => {
            format!("ok {name}")
        }
        Ok(s) if WIFEXITED(s) && WEXITSTATUS(s) == EXIT_SKIPPED => {
            format!("skip {name}: {message}")
        }
        Ok(s) if WIFEXITED(s) && matches!(WEXITSTATUS(s), EXIT_FAILED | EXIT_PASSED) => {
            format!("FAILED {name}: {message}")
        }
        Ok(s) => format!("FAILED {name}: ended by {} {message}", describe_status(s)),
    }
}

fn read_report(fd: i32) -> String {
    match sys::read_vec(fd, 2000) {
        Ok(mut text) => {
            // More than one process may have failed; drain, keep the first.
            let _ = read_all(fd);
            text.truncate(2000);
            String::from_utf8_lossy(&text)
                .trim_end()
                .replace('\n', " / ")
        }
        Err(_) => String::new(),
    }
}

/// What the threads of the case's process group are doing: `pid (name) state call`, the call by its number.
fn whereabouts(group: i32) -> String {
    let mut out = String::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let threads = processes
        .filter_map(|p| std::fs::read_dir(p.path().join("task")).ok())
        .flat_map(|tasks| tasks.flatten());
    for thread in threads {
        let read = |name| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        let Some((who, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let fields: Vec<&str> = rest.split(' ').collect();
        if fields.get(2).and_then(|g| g.parse().ok()) == Some(group) {
            let call = read("syscall");
            let call = call.split(' ').next().unwrap_or_default().trim();
            let _ = write!(out, "; {who}) {} {call}", fields[0]);
        }
    }
    out
}

/// Waits for the case's process, kills it when its time is over: its status, or what it was doing.
fn wait_limited(pid: i32, timeout_ms: i64) -> Result<i32, String> {
    let deadline = now_ms() + timeout_ms;
    let mut pause = 1;
    loop {
        match wait4(pid, WNOHANG) {
            Ok((0, _)) => {}
            Ok((_, status)) => return Ok(status),
            Err(EINTR) => continue,
            Err(e) => return Err(errno_name(e).to_string()),
        }
        if now_ms() > deadline {
            let places = whereabouts(pid);
            let _ = sys!(SYS_kill, -pid, SIGKILL);
            let _ = sys!(SYS_kill, pid, SIGKILL);
            for _ in 0..100 {
                if !matches!(wait4(pid, WNOHANG), Ok((0, _))) {
                    break;
                }
                sleep_ms(10);
            }
            return Err(places);
        }
        sleep_ms(pause);
        pause = (pause + 1).min(10);
    }
}

/// Makes a clean process for the case: default signals, no alternate stack,
/// a process group of its own, the report pipe out of the way.
fn prepare(report: i32, scratch: PathBuf) {
    let _ = sys::setpgid(0, 0);
    let high = sys!(SYS_fcntl, report, F_DUPFD_CLOEXEC, 200).unwrap_or(i64::from(report)) as i32;
    for fd in 3..100 {
        if fd != high {
            let _ = close(fd);
        }
    }
    set_report_fd(high);
    set_scratch(scratch);
    unsafe {
        for s in 1..=64 {
            if s != SIGKILL && s != SIGSTOP {
                libc::signal(s, SIG_DFL);
            }
        }
        let off = stack_t {
            ss_sp: std::ptr::null_mut(),
            ss_flags: SS_DISABLE,
            ss_size: 0,
        };
        libc::sigaltstack(&off, std::ptr::null_mut());
    }
    crate::signal::sigmask(SIG_SETMASK, 0);
    std::panic::set_hook(Box::new(|info| fail(info)));
}
