//! Files about the whole system.

use super::Proc;
use crate::fs::pseudo::Node;
use crate::host::sys::HostInfo;
use crate::kernel::Kernel;
use crate::syscalls::system::{RELEASE, VERSION};
use crate::vfs::inode::InodeRef;
use crate::vfs::walk::Env;
use arch::Result;
use std::fmt::Write;
use std::os::fd::AsFd;

type Make = fn(&Kernel) -> String;

const FILES: &[(&str, u32, Make)] = &[
    ("cgroups", 0o444, |_| {
        // All of the unified hierarchy, which the JVM makes sure of.
        ["cpuset", "cpu", "cpuacct", "memory", "pids"].iter().fold(
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\n".to_owned(),
            |out, name| out + name + "\t0\t1\t1\n",
        )
    }),
    ("cmdline", 0o444, |_| "runsc\n".into()),
    ("consoles", 0o444, |_| String::new()),
    ("cpuinfo", 0o444, cpuinfo),
    ("crypto", 0o444, |_| String::new()),
    ("devices", 0o444, |_| {
        "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n".into()
    }),
    ("filesystems", 0o444, filesystems),
    ("loadavg", 0o444, loadavg),
    ("locks", 0o444, |_| String::new()),
    ("meminfo", 0o444, meminfo),
    ("modules", 0o444, |_| String::new()),
    ("partitions", 0o444, |_| {
        "major minor  #blocks  name\n\n".into()
    }),
    ("stat", 0o444, stat),
    ("swaps", 0o444, |_| {
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".into()
    }),
    ("uptime", 0o444, uptime),
    ("version", 0o444, |_| {
        format!("Linux version {RELEASE} (runsc) {VERSION}\n")
    }),
    ("vmstat", 0o444, |_| {
        "nr_free_pages 0\npgfault 0\npgmajfault 0\n".into()
    }),
];

/// The names, for a listing.
pub(super) const NAMES: &[&str] = &[
    "cgroups",
    "cmdline",
    "consoles",
    "cpuinfo",
    "crypto",
    "devices",
    "filesystems",
    "loadavg",
    "locks",
    "meminfo",
    "modules",
    "partitions",
    "stat",
    "swaps",
    "uptime",
    "version",
    "vmstat",
];

/// The file of this name.
pub(super) fn file(proc: &Proc, _env: &Env<'_>, name: &[u8], ino: u64) -> Option<InodeRef> {
    let (_, mode, make) = FILES.iter().find(|(n, ..)| n.as_bytes() == name)?;
    let (proc_, make) = (proc.clone(), *make);
    let text = move |_: &Env<'_>| -> Result<Vec<u8>> { Ok(make(&*proc_.kernel()?).into_bytes()) };
    Some(Node::text(proc.dev, ino, *mode, text))
}

/// A file of the host's, whole; empty if it is not there.
fn host_file(fd: Option<&std::os::fd::OwnedFd>) -> String {
    let Some(fd) = fd else { return String::new() };
    let mut out = Vec::new();
    let mut buf = vec![0; 1 << 16];
    while let Ok(n) = crate::host::io::read(fd.as_fd(), Some(out.len() as u64), &mut buf) {
        if n == 0 || out.len() > 1 << 22 {
            break;
        }
        out.extend_from_slice(&buf[..n]);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The host's /proc/cpuinfo; empty if it is not to be had.
pub fn host_cpuinfo(kernel: &Kernel) -> String {
    host_file(kernel.host.cpuinfo.as_ref())
}

/// The host's, of the CPUs that the sandbox may use, numbered as there.
fn cpuinfo(kernel: &Kernel) -> String {
    let mask = kernel.cpus.mask();
    let usable = |n: usize| mask.get(n / 8).is_some_and(|b| b & (1 << (n % 8)) != 0);
    let all = host_cpuinfo(kernel);
    let mut out = String::new();
    for block in all.split("\n\n").filter(|b| !b.trim().is_empty()) {
        let first = block.lines().next().and_then(|l| l.split(':').nth(1));
        if first.and_then(|n| n.trim().parse().ok()).is_none_or(usable) {
            let _ = write!(out, "{block}\n\n");
        }
    }
    out
}

fn filesystems(_: &Kernel) -> String {
    [
        "sysfs", "tmpfs", "proc", "cgroup2", "devtmpfs", "devpts", "mqueue", "overlay",
    ]
    .iter()
    .fold(String::new(), |mut out, name| {
        let _ = writeln!(out, "nodev\t{name}");
        out
    })
}

fn loadavg(kernel: &Kernel) -> String {
    let fixed = |n: u64| format!("{}.{:02}", n >> 16, ((n & 0xffff) * 100) >> 16);
    let [a, b, c] = kernel.loads();
    let tree = kernel.tasks.lock();
    let all = tree.tasks.len();
    let running = tree.tasks.values().filter(|t| !t.is_asleep()).count();
    let last = tree.last_pid();
    format!(
        "{} {} {} {running}/{all} {last}\n",
        fixed(a),
        fixed(b),
        fixed(c)
    )
}

fn kib(host: &HostInfo, units: u64) -> u64 {
    units * u64::from(host.mem_unit) / 1024
}

fn meminfo(kernel: &Kernel) -> String {
    let host = crate::host::sys::sysinfo();
    let text = host_file(kernel.host.meminfo.as_ref());
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|l| {
            l.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(':'))
        })?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let total = kib(&host, host.totalram);
    let free = kib(&host, host.freeram);
    let available = field("MemAvailable").unwrap_or(free);
    let mut out = String::new();
    let rows = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", available),
        ("Buffers", kib(&host, host.bufferram)),
        ("Cached", field("Cached").unwrap_or(0)),
        ("SwapCached", 0),
        ("Active", field("Active").unwrap_or(0)),
        ("Inactive", field("Inactive").unwrap_or(0)),
        ("Active(anon)", field("Active(anon)").unwrap_or(0)),
        ("Inactive(anon)", field("Inactive(anon)").unwrap_or(0)),
        ("Active(file)", field("Active(file)").unwrap_or(0)),
        ("Inactive(file)", field("Inactive(file)").unwrap_or(0)),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", field("Dirty").unwrap_or(0)),
        ("Writeback", 0),
        ("AnonPages", field("AnonPages").unwrap_or(0)),
        ("Mapped", field("Mapped").unwrap_or(0)),
        ("Shmem", kib(&host, host.sharedram)),
        ("Slab", field("Slab").unwrap_or(0)),
        ("CommitLimit", field("CommitLimit").unwrap_or(total / 2)),
        ("Committed_AS", field("Committed_AS").unwrap_or(0)),
        ("VmallocTotal", 34_359_738_367),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
    ];
    for (name, value) in rows {
        let _ = writeln!(out, "{:<15} {value:>8} kB", format!("{name}:"));
    }
    out.push_str("HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       2048 kB\n");
    out
}

/// The host's CPU lines, of the CPUs that the sandbox may use, and the sandbox's own counts.
fn stat(kernel: &Kernel) -> String {
    let mask = kernel.cpus.mask();
    let text = host_file(kernel.host.stat.as_ref());
    let mut total = [0u64; 10];
    let mut lines = String::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            continue;
        };
        let mut words = rest.split_whitespace();
        let Some(index) = words.next().and_then(|w| {
            if rest.starts_with(' ') {
                None
            } else {
                w.parse::<usize>().ok()
            }
        }) else {
            continue;
        };
        if mask
            .get(index / 8)
            .is_some_and(|b| b & (1 << (index % 8)) != 0)
        {
            for (sum, word) in total.iter_mut().zip(words) {
                *sum += word.parse::<u64>().unwrap_or(0);
            }
            let _ = writeln!(lines, "{line}");
        }
    }
    let sums = total.map(|n| n.to_string()).join(" ");
    let now = crate::host::event::clock_ns(libc::CLOCK_REALTIME).unwrap_or(0);
    let up = crate::host::event::clock_ns(libc::CLOCK_BOOTTIME).unwrap_or(0);
    let tree = kernel.tasks.lock();
    let running = tree.tasks.values().filter(|t| !t.is_asleep()).count();
    format!(
        "cpu  {sums}\n{lines}intr 0\nctxt 0\nbtime {}\nprocesses {}\nprocs_running {running}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        (now - up) / 1_000_000_000,
        tree.last_pid(),
    )
}

fn uptime(kernel: &Kernel) -> String {
    let now = crate::host::event::clock_ns(libc::CLOCK_BOOTTIME).unwrap_or(0);
    let hundredths = now / 10_000_000;
    let idle = hundredths * kernel.cpus.usable() as i128;
    format!(
        "{}.{:02} {}.{:02}\n",
        hundredths / 100,
        hundredths % 100,
        idle / 100,
        idle % 100
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_files() {
        let names: Vec<&str> = FILES.iter().map(|f| f.0).collect();
        assert_eq!(names, NAMES);
    }
}
