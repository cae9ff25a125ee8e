//! cgroup2 (cgroups(7)): the one group that everything in the sandbox is in, as if it were the root of a cgroup namespace.
//! Groups can't be made in it, and its limits are what the sandbox was given.

use super::fixed::{Tree, cpu_list};
use crate::config::CgroupLimits;
use crate::kernel::Kernel;
use crate::vfs::Dentry;
use crate::vfs::superblock::{FileSystem, StatFs, Superblock, anon_dev};
use arch::{Errno, Result};
use std::any::Any;
use std::sync::Arc;

/// CGROUP2_SUPER_MAGIC.
const MAGIC: i64 = 0x6367_7270;
/// Period of cpu.max where none was given, microseconds.
const PERIOD: u64 = 100_000;

struct CgroupFs;

impl FileSystem for CgroupFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "cgroup2"
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs::plain(MAGIC))
    }
    fn cache_limit(&self) -> usize {
        64
    }
}

fn max(limit: Option<u64>) -> String {
    limit.map_or_else(|| "max".into(), |n| n.to_string())
}

/// Anonymous and shared memory of all processes, bytes.
fn memory(kernel: &Kernel) -> (u64, u64) {
    let groups = kernel.tasks.lock().all_groups();
    let mut seen = std::collections::HashSet::new();
    let mut sum = (0, 0);
    for group in groups {
        let Some(mm) = group.leader().and_then(|task| task.try_mm()) else {
            continue;
        };
        // vfork(2) children run in their parents' memory.
        if seen.insert(Arc::as_ptr(&mm) as usize) {
            let resident = mm.resident();
            sum.0 += resident.anon * 1024;
            sum.1 += resident.shmem * 1024;
        }
    }
    sum
}

fn current(kernel: &Kernel) -> u64 {
    let (anon, shmem) = memory(kernel);
    anon + shmem
}

/// CPU time of the living and of those they have waited for, in microseconds: user, system.
fn cpu_time(kernel: &Kernel) -> (i64, i64) {
    let groups = kernel.tasks.lock().all_groups();
    let micros = |t: arch::abi::Timeval| t.sec * 1_000_000 + t.usec;
    let mut sum = (0, 0);
    for group in groups {
        let (own, children) = group.cpu_usage();
        sum.0 += micros(own.utime) + micros(children.utime);
        sum.1 += micros(own.stime) + micros(children.stime);
    }
    sum
}

/// cgroup.procs and cgroup.threads: who is in the group already may be put there.
fn enter(kernel: &Kernel, data: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    let pid: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    if pid == 0 || kernel.tasks.lock().task(pid).is_some() {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

/// A new cgroup2 file system; its root dentry, to be mounted.
pub fn new(kernel: &Arc<Kernel>, limits: CgroupLimits) -> Arc<Dentry> {
    let dev = anon_dev();
    let mut tree = Tree::new(0);
    core_files(&mut tree);
    cpu_files(&mut tree, kernel, limits);
    memory_files(&mut tree, limits);
    pids_files(&mut tree, limits);
    Superblock::new(Box::new(CgroupFs), dev, tree.plant(dev, kernel), false)
}

fn core_files(tree: &mut Tree) {
    tree.text("cgroup.controllers", "cpuset cpu memory pids");
    tree.text("cgroup.events", "populated 1\nfrozen 0");
    tree.text("cgroup.freeze", "0");
    tree.text("cgroup.max.depth", "max");
    tree.text("cgroup.max.descendants", "max");
    tree.text("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0");
    tree.made("cgroup.subtree_control", |_| String::new());
    tree.text("cgroup.type", "domain");
    tree.stored(
        "cgroup.procs",
        |kernel| {
            let groups = kernel.tasks.lock().all_groups();
            groups
                .iter()
                .fold(String::new(), |out, g| out + &format!("{}\n", g.pid))
        },
        enter,
    );
    tree.stored(
        "cgroup.threads",
        |kernel| {
            let mut tids: Vec<_> = kernel
                .tasks
                .lock()
                .tasks
                .values()
                .map(|t| t.tid())
                .collect();
            tids.sort_unstable();
            tids.iter()
                .fold(String::new(), |out, tid| out + &format!("{tid}\n"))
        },
        enter,
    );
}

fn cpu_files(tree: &mut Tree, kernel: &Arc<Kernel>, limits: CgroupLimits) {
    let (quota, period) = limits.cpu.map_or((None, PERIOD), |(q, p)| (Some(q), p));
    tree.text("cpu.max", format!("{} {period}", max(quota)));
    tree.text("cpu.max.burst", "0");
    tree.text("cpu.weight", limits.cpu_weight.unwrap_or(100).to_string());
    tree.text("cpu.weight.nice", "0");
    tree.text("cpu.idle", "0");
    tree.made("cpu.stat", |kernel| {
        let (user, system) = cpu_time(kernel);
        format!(
            "usage_usec {}\nuser_usec {user}\nsystem_usec {system}\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
            user + system
        )
    });
    let mask = kernel.cpus.mask();
    let cpus: Vec<usize> = (0..mask.len() * 8)
        .filter(|n| mask[n / 8] & (1 << (n % 8)) != 0)
        .collect();
    tree.text("cpuset.cpus", "");
    tree.text("cpuset.cpus.effective", cpu_list(&cpus));
    tree.text("cpuset.mems", "");
    tree.text("cpuset.mems.effective", "0");
}

fn memory_files(tree: &mut Tree, limits: CgroupLimits) {
    tree.made("memory.current", |kernel| format!("{}\n", current(kernel)));
    tree.text("memory.max", max(limits.memory));
    tree.text("memory.high", "max");
    tree.text("memory.low", limits.memory_low.unwrap_or(0).to_string());
    tree.text("memory.min", "0");
    tree.text("memory.oom.group", "0");
    tree.text(
        "memory.events",
        "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0",
    );
    tree.text("memory.swap.current", "0");
    tree.text("memory.swap.max", max(limits.swap));
    tree.made("memory.stat", |kernel| {
        let (anon, shmem) = memory(kernel);
        format!("anon {anon}\nfile {shmem}\nkernel 0\nshmem {shmem}\ninactive_anon 0\nactive_anon {anon}\ninactive_file 0\nactive_file 0\n")
    });
}

fn pids_files(tree: &mut Tree, limits: CgroupLimits) {
    tree.made("pids.current", |kernel| {
        format!("{}\n", kernel.tasks.lock().tasks.len())
    });
    tree.text("pids.max", max(limits.pids));
    tree.text("pids.events", "max 0");
}
