//! /proc/sys: what programs read there, and the little that can be set.

use super::Proc;
use crate::fs::pseudo::{Directory, Entry, Node, Text, name_ino};
use crate::kernel::Kernel;
use crate::net::inet::config::{SYSCTLS, Sysctl};
use crate::syscalls::system::RELEASE;
use crate::task::cap;
use crate::vfs::FileType;
use crate::vfs::inode::InodeRef;
use crate::vfs::walk::Env;
use arch::{Errno, Result};
use std::collections::BTreeSet;

type Make = fn(&Kernel) -> String;

/// Fixed answers, by path below /proc/sys.
const VALUES: &[(&str, Make)] = &[
    ("fs/aio-max-nr", |_| "65536".into()),
    ("fs/file-max", |_| "9223372036854775807".into()),
    ("fs/file-nr", |_| "1024\t0\t9223372036854775807".into()),
    ("fs/inotify/max_queued_events", |_| "16384".into()),
    ("fs/inotify/max_user_instances", |_| "128".into()),
    ("fs/inotify/max_user_watches", |_| "65536".into()),
    ("fs/mqueue/msg_default", |_| "10".into()),
    ("fs/mqueue/msg_max", |_| "10".into()),
    ("fs/mqueue/msgsize_default", |_| "8192".into()),
    ("fs/mqueue/msgsize_max", |_| "8192".into()),
    ("fs/mqueue/queues_max", |_| "256".into()),
    ("fs/nr_open", |_| "1048576".into()),
    ("fs/overflowgid", |_| "65534".into()),
    ("fs/overflowuid", |_| "65534".into()),
    ("fs/pipe-max-size", |_| "1048576".into()),
    ("fs/pipe-user-pages-soft", |_| "16384".into()),
    ("fs/protected_hardlinks", |_| "0".into()),
    ("fs/protected_symlinks", |_| "0".into()),
    ("fs/suid_dumpable", |_| "0".into()),
    ("kernel/cap_last_cap", |_| cap::LAST.to_string()),
    ("kernel/core_pattern", |_| "core".into()),
    ("kernel/core_uses_pid", |_| "0".into()),
    ("kernel/msgmax", |_| "8192".into()),
    ("kernel/msgmnb", |_| "16384".into()),
    ("kernel/msgmni", |_| "32000".into()),
    ("kernel/ngroups_max", |_| "65536".into()),
    ("kernel/osrelease", |_| RELEASE.into()),
    ("kernel/ostype", |_| "Linux".into()),
    ("kernel/overflowgid", |_| "65534".into()),
    ("kernel/overflowuid", |_| "65534".into()),
    ("kernel/perf_event_paranoid", |_| "3".into()),
    ("kernel/pid_max", |_| crate::task::tree::PID_MAX.to_string()),
    ("kernel/random/boot_id", |k| uuid(k.boot_id)),
    ("kernel/random/entropy_avail", |_| "256".into()),
    ("kernel/random/poolsize", |_| "256".into()),
    ("kernel/random/uuid", |_| {
        let mut bytes = [0; 16];
        let _ = crate::host::sys::random(&mut bytes);
        uuid(bytes)
    }),
    ("kernel/randomize_va_space", |_| "2".into()),
    ("kernel/sched_child_runs_first", |_| "0".into()),
    ("kernel/seccomp/actions_avail", |_| {
        crate::seccomp::ACTIONS.into()
    }),
    ("kernel/sem", |_| "32000\t1024000\t500\t32000".into()),
    ("kernel/shmall", |_| "18446744073692774399".into()),
    ("kernel/shmmax", |_| "18446744073692774399".into()),
    ("kernel/shmmni", |_| "4096".into()),
    ("kernel/threads-max", |_| "32000".into()),
    ("kernel/version", |_| {
        crate::syscalls::system::VERSION.into()
    }),
    ("kernel/yama/ptrace_scope", |_| "0".into()),
    ("net/core/rmem_default", |_| "212992".into()),
    ("net/core/rmem_max", |_| "212992".into()),
    ("net/core/wmem_default", |_| "212992".into()),
    ("net/core/wmem_max", |_| "212992".into()),
    ("net/ipv4/ip_forward", |_| "0".into()),
    ("net/ipv4/tcp_available_congestion_control", |_| {
        "reno cubic".into()
    }),
    ("net/ipv4/tcp_congestion_control", |_| "cubic".into()),
    ("net/ipv4/tcp_rmem", |_| "4096\t131072\t6291456".into()),
    ("net/ipv4/tcp_tw_reuse", |_| "2".into()),
    ("net/ipv4/tcp_wmem", |_| "4096\t16384\t4194304".into()),
    ("net/ipv6/conf/all/disable_ipv6", |_| "0".into()),
    ("net/ipv6/conf/default/disable_ipv6", |_| "0".into()),
    ("vm/max_map_count", |_| "65530".into()),
    ("vm/mmap_min_addr", |_| "65536".into()),
    ("vm/overcommit_memory", |_| "0".into()),
    ("vm/overcommit_ratio", |_| "50".into()),
    ("vm/swappiness", |_| "60".into()),
];

/// What can be read and, by an administrator, written.
const NAMES: &[&str] = &["kernel/domainname", "kernel/hostname"];

fn uuid(bytes: [u8; 16]) -> String {
    let mut b = bytes;
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex = |part: &[u8]| part.iter().map(|x| format!("{x:02x}")).collect::<String>();
    format!(
        "{}-{}-{}-{}-{}",
        hex(&b[..4]),
        hex(&b[4..6]),
        hex(&b[6..8]),
        hex(&b[8..10]),
        hex(&b[10..])
    )
}

struct SysDir {
    proc: Proc,
    /// With a trailing slash, empty for the top.
    prefix: String,
    ino: u64,
}

/// /proc/sys itself.
pub(super) fn inode(proc: &Proc, ino: u64) -> InodeRef {
    Node::dir(
        proc.dev,
        ino,
        0o555,
        SysDir {
            proc: proc.clone(),
            prefix: String::new(),
            ino,
        },
    )
}

struct UtsName {
    proc: Proc,
    domain: bool,
}

impl Text for UtsName {
    fn read(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        let kernel = self.proc.kernel()?;
        let names = kernel.uts.lock();
        let mut out = if self.domain {
            &names.domainname
        } else {
            &names.hostname
        }
        .clone();
        if out.is_empty() {
            out = b"(none)".to_vec();
        }
        out.push(b'\n');
        Ok(out)
    }

    fn write(&self, env: &Env<'_>, data: &[u8]) -> Result<()> {
        if !env.creds.has_cap(cap::SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        let name = data.split(|b| *b == b'\n').next().unwrap_or_default();
        let name = name[..name.len().min(64)].to_vec();
        let kernel = self.proc.kernel()?;
        let mut names = kernel.uts.lock();
        if self.domain {
            names.domainname = name;
        } else {
            names.hostname = name;
        }
        Ok(())
    }
}

/// A value of the network stack's.
struct NetValue {
    proc: Proc,
    sysctl: &'static Sysctl,
}

impl Text for NetValue {
    fn read(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        let kernel = self.proc.kernel()?;
        Ok((self.sysctl.read(&kernel.net.config) + "\n").into_bytes())
    }

    fn write(&self, env: &Env<'_>, data: &[u8]) -> Result<()> {
        if !env.creds.has_cap(cap::NET_ADMIN) {
            return Err(Errno::EPERM);
        }
        self.sysctl.write(&self.proc.kernel()?.net.config, data)
    }
}

impl Directory for SysDir {
    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let path = format!("{}{name}", self.prefix);
        let (dev, ino) = (self.proc.dev, name_ino(self.ino, name.as_bytes()));
        if let Some((_, make)) = VALUES.iter().find(|(n, _)| *n == path) {
            let (proc, make) = (self.proc.clone(), *make);
            let text = move |_: &Env<'_>| -> Result<Vec<u8>> {
                Ok((make(&*proc.kernel()?) + "\n").into_bytes())
            };
            return Ok(Node::text(dev, ino, 0o444, text));
        }
        if NAMES.contains(&path.as_str()) {
            let text = UtsName {
                proc: self.proc.clone(),
                domain: path.ends_with("domainname"),
            };
            return Ok(Node::text(dev, ino, 0o644, text));
        }
        if let Some(sysctl) = Sysctl::find(&path) {
            let proc = self.proc.clone();
            return Ok(Node::text(dev, ino, 0o644, NetValue { proc, sysctl }));
        }
        let prefix = path + "/";
        if all().any(|n| n.starts_with(&prefix)) {
            return Ok(Node::dir(
                dev,
                ino,
                0o555,
                SysDir {
                    proc: self.proc.clone(),
                    prefix,
                    ino,
                },
            ));
        }
        Err(Errno::ENOENT)
    }

    fn list(&self, _env: &Env<'_>) -> Result<Vec<Entry>> {
        let below = all().filter_map(|n| n.strip_prefix(&self.prefix));
        let entries: BTreeSet<(&str, bool)> = below
            .map(|rest| match rest.split_once('/') {
                Some((dir, _)) => (dir, true),
                None => (rest, false),
            })
            .collect();
        let kind = |dir| {
            if dir {
                FileType::Directory
            } else {
                FileType::Regular
            }
        };
        Ok(entries
            .into_iter()
            .map(|(name, dir)| Entry::new(name, kind(dir)))
            .collect())
    }
}

fn all() -> impl Iterator<Item = &'static str> {
    let net = SYSCTLS.iter().map(|s| s.name);
    VALUES
        .iter()
        .map(|v| v.0)
        .chain(NAMES.iter().copied())
        .chain(net)
}
