//! The texts about one task.

use super::memory;
use super::task::read_memory;
use crate::task::{Task, ThreadGroup};
use crate::vfs::walk::Env;
use arch::Result;
use arch::abi::SigSet;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// The state letter of ps(1).
fn state(task: &Task) -> (char, &'static str) {
    let group = &task.group;
    if group.is_zombie() {
        return ('Z', "Z (zombie)");
    }
    if group.signals.lock().stop.complete {
        return ('T', "T (stopped)");
    }
    if task.is_asleep() {
        ('S', "S (sleeping)")
    } else {
        ('R', "R (running)")
    }
}

fn tty_of(group: &ThreadGroup) -> (u64, i32) {
    crate::fs::controlling_terminal(group).unwrap_or((0, -1))
}

/// Signals pending for the process, for the thread; blocked, ignored, caught.
fn signal_sets(task: &Task) -> (SigSet, SigSet, SigSet, SigSet, SigSet) {
    let group = &task.group;
    let shared = group.signals.lock().pending.set();
    let (own, mask) = {
        let s = task.signals.lock();
        (s.pending.set(), s.mask)
    };
    let sighand = group.sighand();
    let mut ignored = SigSet::EMPTY;
    let mut caught = SigSet::EMPTY;
    for signal in SigSet::FULL.iter() {
        let action = sighand.get(signal);
        if action.is_ignore() {
            ignored.add(signal);
        } else if action.is_caught() {
            caught.add(signal);
        }
    }
    (shared, own, mask, ignored, caught)
}

/// /proc/PID/status.
pub(super) fn status(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    let group = &task.group;
    let creds = task.creds();
    let (shared, own, blocked, ignored, caught) = signal_sets(task);
    let mut out = b"Name:\t".to_vec();
    out.extend_from_slice(&task.name());
    let mut text = String::new();
    let umask = task.fs().umask();
    let _ = write!(
        text,
        "\nUmask:\t{umask:04o}\nState:\t{}\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0\n",
        state(task).1,
        group.pid,
        task.tid(),
        group.ppid()
    );
    let _ = writeln!(
        text,
        "Uid:\t{}\t{}\t{}\t{}",
        creds.uid, creds.euid, creds.suid, creds.fsuid
    );
    let _ = writeln!(
        text,
        "Gid:\t{}\t{}\t{}\t{}",
        creds.gid, creds.egid, creds.sgid, creds.fsgid
    );
    let groups: Vec<String> = creds.groups.iter().map(u32::to_string).collect();
    let pgrp = group.pgrp();
    let _ = writeln!(
        text,
        "FDSize:\t{}\nGroups:\t{} ",
        task.files().capacity(),
        groups.join(" ")
    );
    let _ = writeln!(
        text,
        "NStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}",
        group.pid,
        task.tid(),
        pgrp.id,
        pgrp.session.id
    );
    text.push_str(&memory::status_lines(task));
    let threads = group.threads().len().max(1);
    let queued = group.signals.lock().pending.len() + task.signals.lock().pending.len();
    let _ = write!(
        text,
        "Threads:\t{threads}\nSigQ:\t{queued}/{}\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
        group.rlimit(libc::RLIMIT_SIGPENDING),
        own.0,
        shared.0,
        blocked.0,
        ignored.0,
        caught.0
    );
    let _ = write!(
        text,
        "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\n",
        creds.inheritable, creds.permitted, creds.effective, creds.bounding, creds.ambient
    );
    let _ = write!(
        text,
        "NoNewPrivs:\t{}\nSeccomp:\t{}\nSeccomp_filters:\t{}\n",
        u8::from(task.no_new_privs.load(Ordering::Relaxed)),
        task.seccomp.mode(),
        task.seccomp.count()
    );
    let mask = task.affinity();
    let hex: String = mask
        .rchunks(4)
        .rev()
        .rev()
        .map(|c| {
            c.iter()
                .rev()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        })
        .collect::<Vec<_>>()
        .join(",");
    let _ = write!(
        text,
        "Cpus_allowed:\t{hex}\nCpus_allowed_list:\t{}\n",
        list_of(&mask)
    );
    text.push_str("Mems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n");
    out.extend_from_slice(text.as_bytes());
    Ok(out)
}

/// A bit mask as ranges: `0-1,4`.
pub fn list_of(mask: &[u8]) -> String {
    let bits: Vec<usize> = (0..mask.len() * 8)
        .filter(|n| mask[n / 8] & (1 << (n % 8)) != 0)
        .collect();
    let mut parts: Vec<String> = Vec::new();
    let mut at = 0;
    while at < bits.len() {
        let start = bits[at];
        while at + 1 < bits.len() && bits[at + 1] == bits[at] + 1 {
            at += 1;
        }
        parts.push(if bits[at] == start {
            start.to_string()
        } else {
            format!("{start}-{}", bits[at])
        });
        at += 1;
    }
    parts.join(",")
}

/// /proc/PID/stat.
pub(super) fn stat(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    let group = &task.group;
    let pgrp = group.pgrp();
    let (tty, foreground) = tty_of(group);
    let (own, children) = group.cpu_usage();
    let ticks = |t: arch::abi::Timeval| t.sec * 100 + t.usec / 10_000;
    let (shared, mine, blocked, ignored, caught) = signal_sets(task);
    let _ = shared;
    let facts = memory::facts(task);
    let exit_signal = group.exit_signal.load(Ordering::Relaxed);
    let mut out = format!("{} (", task.tid()).into_bytes();
    out.extend_from_slice(&task.name());
    let nice = group.nice();
    let text = format!(
        ") {} {} {} {} {tty} {foreground} 4194304 {} 0 {} 0 {} {} {} {} {} {nice} {} 0 {} {} {} 18446744073709551615 {} {} {} 0 0 {} {} {} {} 0 0 0 {exit_signal} {} 0 0 0 0 0 {} {} {} {} {} {} {} {}\n",
        state(task).0,
        group.ppid(),
        pgrp.id,
        pgrp.session.id,
        own.minflt,
        own.majflt,
        ticks(own.utime),
        ticks(own.stime),
        ticks(children.utime),
        ticks(children.stime),
        20 + nice,
        group.threads().len().max(1),
        group.start_time / 10_000_000,
        facts.vsize,
        facts.rss_pages,
        facts.start_code,
        facts.end_code,
        facts.start_stack,
        mine.0 & 0x7fff_ffff,
        blocked.0 & 0x7fff_ffff,
        ignored.0 & 0x7fff_ffff,
        caught.0 & 0x7fff_ffff,
        0,
        facts.start_data,
        facts.end_data,
        facts.start_brk,
        facts.arg_start,
        facts.arg_end,
        facts.env_start,
        facts.env_end,
        (*group.zombie.lock()).unwrap_or(0),
    );
    out.extend_from_slice(text.as_bytes());
    Ok(out)
}

/// /proc/PID/cmdline.
pub(super) fn cmdline(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    let facts = memory::facts(task);
    let text = read_memory(task, facts.arg_start, facts.arg_end);
    if text.last().is_none_or(|&b| b == 0) {
        return Ok(text);
    }
    // setproctitle(3) wrote over the arguments and may have gone on into the environment: one string.
    let mut text = read_memory(task, facts.arg_start, facts.env_end);
    if let Some(end) = text.iter().position(|&b| b == 0) {
        text.truncate(end + 1);
    }
    Ok(text)
}

/// /proc/PID/environ.
pub(super) fn environ(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    let facts = memory::facts(task);
    Ok(read_memory(task, facts.env_start, facts.env_end))
}

/// /proc/PID/auxv.
pub(super) fn auxv(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    Ok(memory::auxv(task))
}

/// /proc/PID/maps.
pub(super) fn maps(env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    Ok(memory::maps(task, &env.root))
}

/// /proc/PID/smaps.
pub(super) fn smaps(env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    Ok(memory::smaps(task, &env.root))
}

/// /proc/PID/smaps_rollup.
pub(super) fn smaps_rollup(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    Ok(memory::smaps_rollup(task))
}

/// /proc/PID/statm.
pub(super) fn statm(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    Ok(memory::statm(task))
}

/// /proc/PID/mounts.
pub(super) fn mounts(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    let fs = task.fs();
    let mut out = Vec::new();
    for info in fs.namespace().list(&fs.root()) {
        info.mounts_line(&mut out);
    }
    Ok(out)
}

/// /proc/PID/mountinfo.
pub(super) fn mountinfo(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    let fs = task.fs();
    let mut out = Vec::new();
    for info in fs.namespace().list(&fs.root()) {
        info.mountinfo_line(&mut out);
    }
    Ok(out)
}

/// /proc/PID/limits.
pub(super) fn limits(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    const ROWS: [(&str, &str, u32); 16] = [
        ("Max cpu time", "seconds", libc::RLIMIT_CPU),
        ("Max file size", "bytes", libc::RLIMIT_FSIZE),
        ("Max data size", "bytes", libc::RLIMIT_DATA),
        ("Max stack size", "bytes", libc::RLIMIT_STACK),
        ("Max core file size", "bytes", libc::RLIMIT_CORE),
        ("Max resident set", "bytes", libc::RLIMIT_RSS),
        ("Max processes", "processes", libc::RLIMIT_NPROC),
        ("Max open files", "files", libc::RLIMIT_NOFILE),
        ("Max locked memory", "bytes", libc::RLIMIT_MEMLOCK),
        ("Max address space", "bytes", libc::RLIMIT_AS),
        ("Max file locks", "locks", libc::RLIMIT_LOCKS),
        ("Max pending signals", "signals", libc::RLIMIT_SIGPENDING),
        ("Max msgqueue size", "bytes", libc::RLIMIT_MSGQUEUE),
        ("Max nice priority", "", libc::RLIMIT_NICE),
        ("Max realtime priority", "", libc::RLIMIT_RTPRIO),
        ("Max realtime timeout", "us", libc::RLIMIT_RTTIME),
    ];
    let limits = *task.group.rlimits.lock();
    let show = |v: u64| {
        if v == u64::MAX {
            "unlimited".to_owned()
        } else {
            v.to_string()
        }
    };
    let mut out = format!(
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit", "Soft Limit", "Hard Limit", "Units"
    );
    for (name, unit, which) in ROWS {
        let (soft, hard) = limits[which as usize];
        let _ = writeln!(
            out,
            "{name:<25} {:<20} {:<20} {unit:<10}",
            show(soft),
            show(hard)
        );
    }
    Ok(out.into_bytes())
}

/// /proc/PID/uid_map, gid_map, projid_map: there is one user namespace (user_namespaces(7)).
pub(super) fn id_map(_env: &Env<'_>, _task: &Task) -> Result<Vec<u8>> {
    Ok(format!("{:>10} {:>10} {:>10}\n", 0, 0, u32::MAX).into_bytes())
}

/// /proc/PID/io.
pub(super) fn io(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    let io = &task.group.io;
    let get = |n: usize| io[n].load(Ordering::Relaxed);
    Ok(format!(
        "rchar: {}\nwchar: {}\nsyscr: {}\nsyscw: {}\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n",
        get(0),
        get(1),
        get(2),
        get(3)
    )
    .into_bytes())
}

/// /proc/PID/personality.
pub(super) fn personality(_env: &Env<'_>, task: &Task) -> Result<Vec<u8>> {
    Ok(format!("{:08x}\n", task.group.personality.load(Ordering::Relaxed)).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::list_of;

    #[test]
    fn masks_read_as_ranges() {
        assert_eq!(list_of(&[0b0000_0011]), "0-1");
        assert_eq!(list_of(&[0b1001_0011, 1]), "0-1,4,7-8");
        assert_eq!(list_of(&[0]), "");
    }
}
