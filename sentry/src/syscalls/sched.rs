//! Scheduling. Threads are the host's to schedule: it is told of affinities; policies are kept and answered.

use crate::task::{Cx, Pid, Task, cap};
use crate::user::{UserAddr, UserRef};
use arch::abi::{SchedAttr, SchedParam, Timespec};
use arch::{Errno, Result};
use std::sync::Arc;

fn target(cx: &Cx, pid: Pid) -> Result<Arc<Task>> {
    match pid {
        p if p < 0 => Err(Errno::EINVAL),
        0 => Ok(Arc::clone(&cx.task)),
        p => cx.kernel().tasks.lock().task(p).ok_or(Errno::ESRCH),
    }
}

/// As sched_setaffinity(2) and its other half look a thread up: a negative id is just one that isn't there.
fn affinity_target(cx: &Cx, pid: Pid) -> Result<Arc<Task>> {
    if pid < 0 {
        Err(Errno::ESRCH)
    } else {
        target(cx, pid)
    }
}

/// sched_yield(2).
pub async fn sched_yield(_cx: &Cx) -> Result<()> {
    Ok(())
}

/// sched_getaffinity(2): returns the bytes that were stored.
pub fn sched_getaffinity(cx: &Cx, pid: Pid, len: u32, mask: UserAddr) -> Result<usize> {
    if (len as usize) * 8 < cx.kernel().cpus.count() || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let task = affinity_target(cx, pid)?;
    let have = task.affinity();
    let need = have.len();
    let n = need.min(len as usize);
    cx.write_bytes(mask, &have[..n])?;
    Ok(n)
}

/// sched_setaffinity(2).
pub fn sched_setaffinity(cx: &Cx, pid: Pid, len: u32, mask: UserAddr) -> Result<()> {
    let mut bytes = vec![0; (len as usize).min(1024)];
    cx.read_bytes(mask, &mut bytes)?;
    let task = affinity_target(cx, pid)?;
    let (mine, theirs) = (cx.task.creds(), task.creds());
    if mine.euid != theirs.uid && mine.euid != theirs.euid && !mine.has_cap(cap::SYS_NICE) {
        return Err(Errno::EPERM);
    }
    let mut wanted = cx.kernel().cpus.mask();
    for (at, byte) in wanted.iter_mut().enumerate() {
        *byte &= bytes.get(at).copied().unwrap_or(0);
    }
    if wanted.iter().all(|b| *b == 0) {
        return Err(Errno::EINVAL);
    }
    task.set_affinity(wanted);
    Ok(())
}

fn priority_range(policy: i32) -> Result<(i32, i32)> {
    match policy {
        libc::SCHED_FIFO | libc::SCHED_RR => Ok((1, 99)),
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE | libc::SCHED_DEADLINE => {
            Ok((0, 0))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// sched_get_priority_max(2).
pub fn sched_get_priority_max(_cx: &Cx, policy: i32) -> Result<i32> {
    priority_range(policy).map(|r| r.1)
}

/// sched_get_priority_min(2).
pub fn sched_get_priority_min(_cx: &Cx, policy: i32) -> Result<i32> {
    priority_range(policy).map(|r| r.0)
}

/// sched_getscheduler(2).
pub fn sched_getscheduler(cx: &Cx, pid: Pid) -> Result<i32> {
    Ok(target(cx, pid)?.sched().0)
}

/// sched_getparam(2).
pub fn sched_getparam(cx: &Cx, pid: Pid, param: UserRef<SchedParam>) -> Result<()> {
    if param.is_null() {
        return Err(Errno::EINVAL);
    }
    let priority = target(cx, pid)?.sched().1;
    cx.write_obj(param, &SchedParam { priority })
}

fn set(cx: &Cx, pid: Pid, policy: Option<i32>, priority: i32) -> Result<()> {
    let task = target(cx, pid)?;
    let policy = policy.unwrap_or_else(|| task.sched().0);
    let policy = policy & !libc::SCHED_RESET_ON_FORK;
    let (low, high) = priority_range(policy)?;
    if policy == libc::SCHED_DEADLINE || !(low..=high).contains(&priority) {
        return Err(Errno::EINVAL);
    }
    // Real-time classes would be the host's to give: nobody in the sandbox has them.
    if high > 0 {
        return Err(Errno::EPERM);
    }
    let (mine, theirs) = (cx.task.creds(), task.creds());
    if mine.euid != theirs.uid && mine.euid != theirs.euid && !mine.has_cap(cap::SYS_NICE) {
        return Err(Errno::EPERM);
    }
    task.set_sched(policy, priority);
    Ok(())
}

/// sched_setscheduler(2).
pub fn sched_setscheduler(
    cx: &Cx,
    pid: Pid,
    policy: i32,
    param: UserRef<SchedParam>,
) -> Result<()> {
    if policy < 0 || param.is_null() || pid < 0 {
        return Err(Errno::EINVAL);
    }
    let param = cx.read_obj(param)?;
    set(cx, pid, Some(policy), param.priority)
}

/// sched_setparam(2).
pub fn sched_setparam(cx: &Cx, pid: Pid, param: UserRef<SchedParam>) -> Result<()> {
    if param.is_null() || pid < 0 {
        return Err(Errno::EINVAL);
    }
    let param = cx.read_obj(param)?;
    set(cx, pid, None, param.priority)
}

/// sched_getattr(2).
pub fn sched_getattr(cx: &Cx, pid: Pid, attr: UserAddr, size: u32, flags: u32) -> Result<()> {
    const VER0: u32 = 48;
    if attr.is_null() || pid < 0 || !(VER0..=4096).contains(&size) || flags != 0 {
        return Err(Errno::EINVAL);
    }
    let task = target(cx, pid)?;
    let (policy, priority) = task.sched();
    let full = SchedAttr {
        size: (size_of::<SchedAttr>() as u32).min(size),
        policy: policy.cast_unsigned(),
        nice: task.group.nice(),
        priority: priority.cast_unsigned(),
        ..SchedAttr::default()
    };
    cx.write_bytes(
        attr,
        &bytemuck::bytes_of(&full)[..(size as usize).min(size_of::<SchedAttr>())],
    )
}

/// sched_setattr(2).
pub fn sched_setattr(cx: &Cx, pid: Pid, attr: UserAddr, flags: u32) -> Result<()> {
    if attr.is_null() || pid < 0 || flags != 0 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = [0u8; size_of::<SchedAttr>()];
    cx.read_bytes(attr, &mut bytes[..48])?;
    let given: SchedAttr = bytemuck::pod_read_unaligned(&bytes);
    if given.size != 0 && given.size < 48 {
        return Err(Errno::E2BIG);
    }
    set(
        cx,
        pid,
        Some(given.policy.cast_signed()),
        given.priority.cast_signed(),
    )
}

/// sched_rr_get_interval(2).
pub fn sched_rr_get_interval(cx: &Cx, pid: Pid, out: UserRef<Timespec>) -> Result<()> {
    target(cx, pid)?;
    cx.write_obj(
        out,
        &Timespec {
            sec: 0,
            nsec: 4_000_000,
        },
    )
}

/// getcpu(2): the CPU that the caller's thread ran on when it made the call.
pub fn getcpu(cx: &Cx, cpu: UserRef<u32>, node: UserRef<u32>) -> Result<()> {
    let claimed = cx.thread.lock().cpu();
    let known = usize::try_from(claimed).is_ok_and(|n| n < cx.kernel().cpus.count());
    let now = if known {
        claimed
    } else {
        crate::host::sys::current_cpu()
    };
    cx.write_opt(cpu, &now)?;
    cx.write_opt(node, &0)
}
