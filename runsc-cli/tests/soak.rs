//! Many processes, threads, forks and descriptors: all orderly, and nothing of them left on the host, looked at from
//! outside while the sandbox still runs.
//!
//! `RUNSC_SOAK=10000 cargo test -p runsc-cli --test soak` makes the long runs that long (2,000 if nothing is said). Needs python3;
//! the fork bomb needs root, the CPU quota root and a CPU controller (either version of cgroups) that lets it make a group.

mod common;

use common::{Bounded, RUNSC, Running, descendants, eventually};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One sandbox at a time: the machine is small.
static TURN: Mutex<()> = Mutex::new(());

/// Descriptors that the Sentry may have more of than before: regions made ahead for the next forks.
const FD_SLACK: usize = 24;
/// KiB by which its own memory may grow from one round to the next.
const RSS_SLACK: u64 = 3 << 10;

/// How long the long runs are.
fn long_run() -> u32 {
    let given = std::env::var("RUNSC_SOAK").ok();
    given.map_or(2000, |n| n.parse().expect("RUNSC_SOAK must be a number"))
}

/// A sandbox with `guests/soak.py` in it.
struct Soak {
    child: Running,
    sentry: u32,
    before: Numbers,
}

/// What a sandbox has of the host's.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    processes: usize,
    fds: usize,
    /// Anonymous memory of the Sentry, KiB.
    memory: u64,
}

impl Soak {
    /// `prefix` is a command that starts what follows, such as taskset(1).
    fn start(prefix: &[&str]) -> Self {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/soak.py");
        let mut words = prefix.to_vec();
        words.extend([RUNSC, "do", "--", "python3"]);
        let child = Command::new(words[0])
            .args(&words[1..])
            .arg(guest)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .run();
        let before = Numbers {
            processes: 0,
            fds: 0,
            memory: 0,
        };
        let mut soak = Self {
            child,
            sentry: 0,
            before,
        };
        soak.ask("forks", 1);
        soak.hear("done");
        soak.sentry = descendants(soak.child.id())[0];
        soak.settle(3);
        // From the first program on that is started by vfork(2) or posix_spawn(3), a process is kept ready for the next one.
        soak.ask("spawns", 1);
        soak.hear("done");
        soak.settle(4);
        soak.before = soak.numbers();
        soak
    }

    fn ask(&mut self, what: &str, count: u32) {
        self.write(&format!("{what} {count}"));
    }

    fn write(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&mut self, word: &str) {
        assert_eq!(self.child.line().trim_end(), word);
    }

    /// Has the guest do it, and looks meanwhile that `more` host processes are there.
    fn round(&mut self, what: &str, count: u32, more: usize) -> Numbers {
        self.ask(what, count);
        self.hear("all");
        self.settle(self.before.processes + more);
        self.write("");
        self.hear("done");
        self.over()
    }

    /// Has the guest do it.
    fn run(&mut self, what: &str, count: u32) -> Numbers {
        self.ask(what, count);
        self.hear("done");
        self.over()
    }

    /// Everything that was there is gone again.
    fn over(&mut self) -> Numbers {
        self.settle(self.before.processes);
        let (before, sentry) = (self.before, self.sentry);
        eventually("the Sentry closes its descriptors", || {
            fds(sentry) <= before.fds + FD_SLACK
        });
        self.numbers()
    }

    /// Waits until the sandbox has so many processes on the host: the dead are reaped after the guest has heard of them.
    fn settle(&self, processes: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let there = descendants(self.child.id()).len();
            if there == processes {
                return;
            }
            let late = Instant::now() >= end;
            assert!(!late, "{there} host processes instead of {processes}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            processes: descendants(self.child.id()).len(),
            fds: fds(self.sentry),
            memory: memory(self.sentry),
        }
    }

    /// The end, after which nothing is left.
    fn end(mut self) {
        let all = descendants(self.child.id());
        drop(self.child.stdin.take());
        assert!(self.child.wait().success());
        eventually("the end of all host processes", || {
            !all.iter()
                .any(|p| Path::new(&format!("/proc/{p}")).exists())
        });
    }
}

fn fds(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(usize::MAX, Iterator::count)
}

fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    number.expect("RssAnon in /proc/PID/status")
}

/// Memory after some rounds against that after the first ones: what is kept for the next time was there then already.
fn assert_bounded(what: &str, warm: Numbers, after: Numbers) {
    assert!(
        after.memory <= warm.memory + RSS_SLACK,
        "{what}: the Sentry's memory grows: {warm:?}, then {after:?}"
    );
}

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn two_hundred_processes_at_once() {
    let _turn = turn();
    let mut soak = Soak::start(&[]);
    let warm = soak.round("processes", 200, 200);
    soak.round("processes", 200, 200);
    let after = soak.round("processes", 200, 200);
    assert_bounded("processes", warm, after);
    soak.end();
}

#[test]
fn a_thousand_threads_in_one_process() {
    let _turn = turn();
    let mut soak = Soak::start(&[]);
    let warm = soak.round("threads", 1000, 0);
    soak.round("threads", 1000, 0);
    let after = soak.round("threads", 1000, 0);
    assert_bounded("threads", warm, after);
    soak.end();
}

#[test]
fn forks_and_execs_in_a_row() {
    let _turn = turn();
    let mut soak = Soak::start(&[]);
    let count = long_run();
    for (what, count) in [
        ("forks", count),
        ("spawns", count / 8),
        ("killed", count / 20),
        ("objects", count / 4),
    ] {
        let warm = soak.run(what, count / 4);
        let after = soak.run(what, count);
        assert_bounded(what, warm, after);
    }
    soak.end();
}

#[test]
fn a_fork_bomb_is_bounded_by_its_limit() {
    let _turn = turn();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: the fork bomb changes its user id, which needs root");
        return;
    }
    let mut soak = Soak::start(&[]);
    // The guest itself is root's, and not counted.
    let warm = soak.round("bomb", 150, 150);
    soak.round("bomb", 150, 150);
    let after = soak.round("bomb", 150, 150);
    assert_bounded("bomb", warm, after);
    soak.end();
}

/// All of it, smaller.
fn everything(mut soak: Soak) {
    soak.round("processes", 100, 100);
    soak.round("threads", 300, 0);
    soak.run("forks", 150);
    soak.run("spawns", 20);
    soak.run("killed", 5);
    soak.run("objects", 20);
    if nix::unistd::geteuid().is_root() {
        soak.round("bomb", 50, 50);
    }
    soak.end();
}

#[test]
fn all_of_it_on_one_cpu() {
    let _turn = turn();
    everything(Soak::start(&["taskset", "-c", "0"]));
}

#[test]
fn all_of_it_under_a_cpu_quota() {
    let _turn = turn();
    match Quota::new(40) {
        Ok(quota) => {
            let procs = quota.dir.join("cgroup.procs");
            let enter = format!("echo $$ > {}; exec \"$@\"", procs.display());
            everything(Soak::start(&["sh", "-c", &enter, "sh"]));
            drop(quota);
        }
        Err(why) => eprintln!("skipped: needs root and a CPU controller of cgroups: {why}"),
    }
}

/// A control group of our own that may use a part of one CPU.
struct Quota {
    dir: PathBuf,
}

impl Quota {
    fn new(percent: u32) -> Result<Self, String> {
        let name = format!("runsc-soak-{}", std::process::id());
        let period = 100_000;
        let quota = period / 100 * percent;
        let v2 = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        for top in v2 {
            let controllers = std::fs::read_to_string(top.join("cgroup.subtree_control"));
            if controllers.is_ok_and(|text| text.split_whitespace().any(|c| c == "cpu")) {
                let values = [("cpu.max", format!("{quota} {period}"))];
                return Self::make(top.join(name), &values);
            }
        }
        let v1 = Path::new("/sys/fs/cgroup/cpu");
        if v1.join("cpu.cfs_quota_us").exists() || v1.join("cpu.shares").exists() {
            let values = [
                ("cpu.cfs_period_us", period.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ];
            return Self::make(v1.join(name), &values);
        }
        Err("none is mounted below /sys/fs/cgroup".into())
    }

    fn make(dir: PathBuf, values: &[(&str, String)]) -> Result<Self, String> {
        let say = |e: std::io::Error| format!("{}: {e}", dir.display());
        std::fs::create_dir(&dir).map_err(say)?;
        let group = Self { dir };
        for (file, value) in values {
            let path = group.dir.join(file);
            std::fs::write(&path, value).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(group)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}
