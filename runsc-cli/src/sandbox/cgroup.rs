//! The control group of a sandbox: the Sentry is put into it before it makes its first stub, so that all of them are in it.
//!
//! Version 2 where /sys/fs/cgroup is the unified hierarchy, else the hierarchies of version 1 that are mounted below it.

use super::failed;
use crate::failure::{Failure, Result};
use crate::plan::{Cgroup, Resources};
use std::fs;
use std::path::{Path, PathBuf};

const TOP: &str = "/sys/fs/cgroup";
/// Hierarchies of version 1.
const V1: &[&str] = &[
    "cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "freezer", "devices", "systemd",
];
/// What the sandbox needs besides the tasks of its programs: its own threads, the zygote, helpers.
const OWN_TASKS: u64 = 64;

/// A sandbox's group. What was made for it goes when it is dropped.
#[derive(Default)]
pub struct Group {
    /// Directories that were made, outermost first.
    made: Vec<PathBuf>,
    /// The group in each hierarchy.
    dirs: Vec<PathBuf>,
}

impl Group {
    /// Makes what is missing and sets the limits. Without privileges, and without limits asked for, a group that can't be
    /// made is done without.
    pub fn create(wish: &Cgroup) -> Result<Self> {
        let mut group = Self::default();
        match group.fill(wish) {
            Ok(()) => Ok(group),
            Err(e)
                if wish.resources == Resources::default() && !nix::unistd::geteuid().is_root() =>
            {
                tracing::debug!("no control group of its own: {e}");
                Ok(Self::default())
            }
            Err(e) => Err(e),
        }
    }

    fn fill(&mut self, wish: &Cgroup) -> Result<()> {
        if Path::new(TOP).join("cgroup.controllers").exists() {
            let dir = self.make(Path::new(TOP), None, &wish.path)?;
            return write_all(&dir, &v2(&wish.resources));
        }
        let mut limits = v1(&wish.resources);
        for &controller in V1 {
            let top = Path::new(TOP).join(controller);
            if !top.join("cgroup.procs").exists() {
                continue;
            }
            let dir = self.make(&top, Some(controller), &wish.path)?;
            let prefix = format!("{controller}.");
            let (here, rest) = limits
                .into_iter()
                .partition(|(f, _)| f.starts_with(&prefix));
            limits = rest;
            write_all(&dir, &here)?;
        }
        match limits.first() {
            Some((file, value)) => Err(Failure::new(format!(
                "linux.resources: this host has no cgroup controller for {file} = {value}"
            ))),
            None => Ok(()),
        }
    }

    /// The group in the hierarchy mounted at `top`.
    fn make(&mut self, top: &Path, controller: Option<&str>, path: &Path) -> Result<PathBuf> {
        let mut dir = top.to_owned();
        let own = if path.is_absolute() {
            PathBuf::new()
        } else {
            own_group(controller)
        };
        for part in own.components().chain(path.components()) {
            let std::path::Component::Normal(name) = part else {
                continue;
            };
            if controller.is_none() {
                delegate(&dir);
            }
            let parent = dir.clone();
            dir.push(name);
            match fs::create_dir(&dir) {
                Ok(()) => self.made.push(dir.clone()),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(e) => {
                    let what = format!("make the cgroup {}", dir.display());
                    return Err(failed(&what, crate::oci::errno_text(&e)));
                }
            }
            if controller == Some("cpuset") {
                // A new group has none, and takes no process then.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let text = fs::read_to_string(parent.join(file)).unwrap_or_default();
                    let _ = fs::write(dir.join(file), text.trim());
                }
            }
        }
        self.dirs.push(dir.clone());
        Ok(dir)
    }

    /// Moves a process into it.
    pub fn enter(&self, pid: i32) -> Result<()> {
        self.dirs.iter().try_for_each(|dir| {
            let path = dir.join("cgroup.procs");
            fs::write(&path, pid.to_string()).map_err(|e| {
                let what = format!("put the sandbox into the cgroup {}", dir.display());
                failed(&what, crate::oci::errno_text(&e))
            })
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for dir in self.made.iter().rev() {
            // Somebody else may have made a group of his own in it, or come in.
            if let Err(e) = fs::remove_dir(dir) {
                tracing::debug!("cgroup {}: {e}", dir.display());
            }
        }
    }
}

/// Where this process is (cgroups(7), /proc/PID/cgroup).
fn own_group(controller: Option<&str>) -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let here = match controller {
            None => controllers.is_empty(),
            Some(name) => controllers
                .split(',')
                .any(|c| c.strip_prefix("name=").unwrap_or(c) == name),
        };
        here.then_some(path)
    });
    PathBuf::from(path.unwrap_or("/"))
}

/// Lets groups below have the controllers that we use.
fn delegate(dir: &Path) {
    let there = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in ["cpu", "cpuset", "memory", "pids"] {
        if there.split_whitespace().any(|c| c == controller) {
            // What is not to be had is missed where a limit is written.
            let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

fn write_all(dir: &Path, values: &[(String, String)]) -> Result<()> {
    values.iter().try_for_each(|(file, value)| {
        let path = dir.join(file);
        fs::write(&path, value).map_err(|e| {
            failed(
                &format!("linux.resources: write {value} to {}", path.display()),
                crate::oci::errno_text(&e),
            )
        })
    })
}

type Values = Vec<(String, String)>;

fn put(values: &mut Values, file: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        values.push((file.into(), value.to_string()));
    }
}

/// A negative number is no limit.
fn or_max(n: i64) -> String {
    if n < 0 { "max".into() } else { n.to_string() }
}

/// Files of version 2 and what goes into them.
fn v2(r: &Resources) -> Values {
    let mut v = Values::new();
    put(&mut v, "memory.max", r.memory.map(or_max));
    put(&mut v, "memory.low", r.memory_low.map(or_max));
    // Version 1 counted both together.
    let swap = r.memory_and_swap.map(|both| match (both, r.memory) {
        (0.., Some(memory @ 0..)) => (both - memory).max(0).to_string(),
        _ => or_max(both),
    });
    put(&mut v, "memory.swap.max", swap);
    // 2 to 262144 becomes 1 to 10000.
    let weight = r
        .cpu_shares
        .map(|s| 1 + (s.clamp(2, 262_144) - 2) * 9999 / 262_142);
    put(&mut v, "cpu.weight", weight);
    if r.cpu_quota.is_some() || r.cpu_period.is_some() {
        let quota = or_max(r.cpu_quota.unwrap_or(-1));
        let period = r.cpu_period.unwrap_or(100_000);
        put(&mut v, "cpu.max", Some(format!("{quota} {period}")));
    }
    put(&mut v, "cpuset.cpus", r.cpus.as_ref());
    put(&mut v, "cpuset.mems", r.mems.as_ref());
    put(
        &mut v,
        "pids.max",
        r.pids.map(|n| n.saturating_add(OWN_TASKS)),
    );
    v.extend(r.unified.iter().cloned());
    v
}

/// The same for version 1.
fn v1(r: &Resources) -> Values {
    let mut v = Values::new();
    put(&mut v, "memory.limit_in_bytes", r.memory);
    put(&mut v, "memory.soft_limit_in_bytes", r.memory_low);
    put(&mut v, "memory.memsw.limit_in_bytes", r.memory_and_swap);
    put(&mut v, "cpu.shares", r.cpu_shares);
    put(&mut v, "cpu.cfs_period_us", r.cpu_period);
    put(&mut v, "cpu.cfs_quota_us", r.cpu_quota);
    put(&mut v, "cpuset.cpus", r.cpus.as_ref());
    put(&mut v, "cpuset.mems", r.mems.as_ref());
    put(
        &mut v,
        "pids.max",
        r.pids.map(|n| n.saturating_add(OWN_TASKS)),
    );
    v.extend(r.unified.iter().cloned());
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_both_versions() {
        let r = Resources {
            memory: Some(1000),
            memory_and_swap: Some(1500),
            cpu_shares: Some(1024),
            cpu_quota: Some(-1),
            pids: Some(10),
            ..Resources::default()
        };
        let text = |values: Values| {
            let lines = values.iter().map(|(f, v)| format!("{f}={v}"));
            lines.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            text(v2(&r)),
            "memory.max=1000 memory.swap.max=500 cpu.weight=39 cpu.max=max 100000 pids.max=74"
        );
        assert_eq!(
            text(v1(&r)),
            "memory.limit_in_bytes=1000 memory.memsw.limit_in_bytes=1500 cpu.shares=1024 cpu.cfs_quota_us=-1 pids.max=74"
        );
        assert!(v2(&Resources::default()).is_empty());
    }
}
