//! Resource limits and accounting.

use crate::task::usage::settled;
use crate::task::{Cx, Pid, ThreadGroup, cap};
use crate::time::cpu::watch_limit;
use crate::user::UserRef;
use arch::abi::{Rlimit64, Rusage};
use arch::{Errno, Result};
use std::sync::Arc;

/// Resources that exist (RLIM_NLIMITS).
const NLIMITS: u32 = 16;
/// Descriptors of one process at most (fs.nr_open).
const NR_OPEN: u64 = 1 << 20;

fn limit_target(cx: &Cx, pid: Pid) -> Result<Arc<ThreadGroup>> {
    if pid == 0 || pid == cx.task.group.pid {
        return Ok(Arc::clone(&cx.task.group));
    }
    let task = cx.kernel().tasks.lock().task(pid).ok_or(Errno::ESRCH)?;
    let (mine, theirs) = (cx.task.creds(), task.creds());
    let same = [theirs.uid, theirs.euid, theirs.suid]
        .iter()
        .all(|id| *id == mine.uid)
        && [theirs.gid, theirs.egid, theirs.sgid]
            .iter()
            .all(|id| *id == mine.gid);
    if same || mine.has_cap(cap::SYS_RESOURCE) {
        Ok(Arc::clone(&task.group))
    } else {
        Err(Errno::EPERM)
    }
}

fn limit(
    cx: &Cx,
    group: &Arc<ThreadGroup>,
    resource: u32,
    new: Option<Rlimit64>,
) -> Result<Rlimit64> {
    if resource >= NLIMITS {
        return Err(Errno::EINVAL);
    }
    if let Some(new) = new {
        if new.cur > new.max {
            return Err(Errno::EINVAL);
        }
        if resource == libc::RLIMIT_NOFILE && new.max > NR_OPEN {
            return Err(Errno::EPERM);
        }
    }
    let mut limits = group.rlimits.lock();
    let slot = &mut limits[resource as usize];
    let old = Rlimit64 {
        cur: slot.0,
        max: slot.1,
    };
    if let Some(new) = new {
        if new.max > slot.1 && !cx.task.creds().has_cap(cap::SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        *slot = (new.cur, new.max);
        drop(limits);
        if resource == libc::RLIMIT_CPU {
            watch_limit(group);
        }
    }
    Ok(old)
}

/// getrlimit(2).
pub fn getrlimit(cx: &Cx, resource: u32, out: UserRef<Rlimit64>) -> Result<()> {
    let old = limit(cx, &cx.task.group, resource, None)?;
    cx.write_obj(out, &old)
}

/// setrlimit(2).
pub fn setrlimit(cx: &Cx, resource: u32, new: UserRef<Rlimit64>) -> Result<()> {
    let new = cx.read_obj(new)?;
    limit(cx, &cx.task.group, resource, Some(new)).map(drop)
}

/// prlimit(2).
pub fn prlimit64(
    cx: &Cx,
    pid: Pid,
    resource: u32,
    new: UserRef<Rlimit64>,
    old: UserRef<Rlimit64>,
) -> Result<()> {
    let new = new.non_null().map(|p| cx.read_obj(p)).transpose()?;
    let group = limit_target(cx, pid)?;
    let previous = limit(cx, &group, resource, new)?;
    cx.write_opt(old, &previous)
}

/// getrusage(2).
pub async fn getrusage(cx: &Cx, who: i32, out: UserRef<Rusage>) -> Result<()> {
    let group = &cx.task.group;
    let usage = match who {
        libc::RUSAGE_SELF => group.own_usage(),
        libc::RUSAGE_CHILDREN => {
            settled(cx, || {
                let mut usage = group.usage.lock();
                // Numbers that have come in stay.
                let _ = usage.children.total();
                usage.children.clone()
            })
            .await
        }
        libc::RUSAGE_THREAD => cx.task.usage(),
        _ => return Err(Errno::EINVAL),
    };
    cx.write_obj(out, &usage)
}

fn prio_targets(cx: &Cx, which: u32, who: i32) -> Result<Vec<Arc<ThreadGroup>>> {
    let own = &cx.task.group;
    let tree = cx.kernel().tasks.lock();
    let found = match which {
        libc::PRIO_PROCESS if who == 0 => vec![Arc::clone(own)],
        libc::PRIO_PROCESS => tree
            .task(who)
            .map(|t| Arc::clone(&t.group))
            .into_iter()
            .collect(),
        libc::PRIO_PGRP => tree.pgrp_members(if who == 0 { own.pgrp().id } else { who }),
        libc::PRIO_USER => {
            let uid = if who == 0 {
                cx.task.creds().uid
            } else {
                who.cast_unsigned()
            };
            let mut all = tree.all_groups();
            all.retain(|g| g.leader().is_some_and(|l| l.creds().uid == uid));
            all
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() {
        Err(Errno::ESRCH)
    } else {
        Ok(found)
    }
}

/// getpriority(2): 20 − nice, so that it is never negative.
pub fn getpriority(cx: &Cx, which: u32, who: i32) -> Result<i32> {
    let nice = prio_targets(cx, which, who)?
        .iter()
        .map(|g| g.nice())
        .min()
        .unwrap_or(0);
    Ok(20 - nice)
}

/// setpriority(2). The value is kept; the host's scheduler doesn't hear of it.
pub fn setpriority(cx: &Cx, which: u32, who: i32, nice: i32) -> Result<()> {
    let nice = nice.clamp(-20, 19);
    let mine = cx.task.creds();
    let mut result = Ok(());
    for group in prio_targets(cx, which, who)? {
        let theirs = group.leader().map(|l| l.creds());
        let owner = theirs.is_none_or(|c| c.uid == mine.euid || c.euid == mine.euid);
        if !owner && !mine.has_cap(cap::SYS_NICE) {
            result = Err(Errno::EPERM);
        } else if nice < group.nice() && !mine.has_cap(cap::SYS_NICE) && !nice_allowed(&group, nice)
        {
            result = Err(Errno::EACCES);
        } else {
            group.set_nice(nice);
        }
    }
    result
}

fn nice_allowed(group: &ThreadGroup, nice: i32) -> bool {
    u64::try_from(20 - nice).is_ok_and(|n| n <= group.rlimit(libc::RLIMIT_NICE))
}
