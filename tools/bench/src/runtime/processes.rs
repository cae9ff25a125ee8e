//! The processes of a runtime: all our descendants, since this tool is the reaper of whatever they leave behind.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Orphans among our descendants become our children.
pub fn become_reaper() -> anyhow::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// What follows the parenthesised name in /proc/PID/stat, from the state on.
fn stat_fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default()
}

/// All processes that descend from this one, zombies left out.
pub fn descendants() -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let mut zombies = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let fields = stat_fields(&stat);
        if let (Some(state), Some(Ok(parent))) = (fields.first(), fields.get(1).map(|p| p.parse()))
        {
            children.entry(parent).or_default().push(pid);
            if *state == "Z" {
                zombies.push(pid);
            }
        }
    }
    let mut found = Vec::new();
    let mut todo = vec![std::process::id().cast_signed()];
    while let Some(pid) = todo.pop() {
        let below = children.get(&pid).cloned().unwrap_or_default();
        found.extend(&below);
        todo.extend(below);
    }
    found.retain(|p| !zombies.contains(p));
    found
}

/// Memory and CPU time of a process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Usage {
    /// Its pid.
    pub pid: i32,
    /// Its command line, or its name.
    pub command: String,
    /// Resident set size in bytes.
    pub rss: u64,
    /// The same with shared pages divided by the number of those that share them.
    pub pss: u64,
    /// CPU time of all its threads in nanoseconds.
    pub cpu: u64,
}

/// Looks at a process; none if it has gone.
pub fn usage(pid: i32) -> Option<Usage> {
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let memory = file("smaps_rollup")?;
    let command = file("cmdline")?.replace('\0', " ");
    let command = if command.trim().is_empty() {
        file("comm")?
    } else {
        command
    };
    Some(Usage {
        pid,
        command: command.trim().chars().take(100).collect(),
        rss: kilobytes(&memory, "Rss:") * 1024,
        pss: kilobytes(&memory, "Pss:") * 1024,
        cpu: cpu_time(pid),
    })
}

/// `Rss:   123 kB` of smaps_rollup.
fn kilobytes(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|l| l.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The first field of each thread's schedstat: nanoseconds on a CPU.
fn cpu_time(pid: i32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok())
        .filter_map(|s| s.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// Reaps what has ended.
fn reap() {
    while matches!(
        waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)),
        Ok(status) if status.pid().is_some()
    ) {}
}

/// Waits up to `patience` for all descendants to end, then kills those that are left, and says what they were. To be called only when
/// nobody waits for a child.
pub fn clear(patience: Duration) -> Vec<String> {
    let end = Instant::now() + patience;
    loop {
        reap();
        let left = descendants();
        if left.is_empty() {
            return Vec::new();
        }
        if Instant::now() >= end {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = descendants();
    let names = killed
        .iter()
        .map(|p| usage(*p).map_or_else(|| p.to_string(), |u| u.command))
        .collect();
    // A killed parent's children become ours: look again until there are none.
    for _ in 0..200 {
        let left = descendants();
        if left.is_empty() {
            break;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
        reap();
    }
    reap();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        assert_eq!(stat_fields("12 (a) b) (c) S 1 12"), ["S", "1", "12"]);
        assert!(stat_fields("").is_empty());
    }

    #[test]
    fn rollups_are_read() {
        let text =
            "5a-7f ---p 00:00 0 [rollup]\nRss:     804 kB\nPss:     201 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(
            (kilobytes(text, "Rss:"), kilobytes(text, "Pss:")),
            (804, 201)
        );
        assert_eq!(kilobytes("", "Rss:"), 0);
    }

    #[test]
    fn own_usage() {
        let me = usage(std::process::id().cast_signed()).unwrap();
        assert!(me.rss >= me.pss && me.pss > 0);
        assert_eq!(usage(i32::MAX), None);
    }
}
