//! What a sandbox is to run: plain data, made by the command line from an OCI bundle or from `runsc do`.
//!
//! Everything that comes from the host is a descriptor here, opened before the Sentry was jailed: after that there are no
//! host paths any more. Strings are bytes, as the kernel takes them.

use arch::Errno;
use std::os::fd::OwnedFd;

/// A sandbox and its first container.
#[derive(Debug)]
pub struct SandboxConfig {
    /// The container.
    pub container: ContainerConfig,
    /// The outside world.
    pub network: Network,
    /// Pieces of the host that the kernel needs.
    pub host: HostHandles,
    /// One end of a `SOCK_SEQPACKET` pair; the other is held by the process that started the sandbox. See [`crate::control`].
    pub control: Option<OwnedFd>,
    /// Where to write a line for every system call.
    pub strace: Option<OwnedFd>,
}

/// What network the sandbox sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Network {
    /// A loopback interface and nothing else.
    #[default]
    None,
}

/// Pieces of the host that the kernel needs and can't open itself once it is jailed. An absent one was not to be had;
/// what depends on it does without.
#[derive(Debug, Default)]
pub struct HostHandles {
    /// /proc/cpuinfo, for reading.
    pub cpuinfo: Option<OwnedFd>,
    /// /proc/meminfo, for reading.
    pub meminfo: Option<OwnedFd>,
    /// /proc/stat, for reading.
    pub stat: Option<OwnedFd>,
    /// /proc/loadavg, for reading.
    pub loadavg: Option<OwnedFd>,
    /// /sys/kernel/mm/transparent_hugepage/enabled, for reading.
    pub thp: Option<OwnedFd>,
}

/// A container: its first process and what that sees.
#[derive(Debug)]
pub struct ContainerConfig {
    /// Its name.
    pub id: String,
    /// `argv` of the first process; never empty. `args[0]` without a slash is looked for in `PATH` of `env`.
    pub args: Vec<Vec<u8>>,
    /// `NAME=value` each.
    pub env: Vec<Vec<u8>>,
    /// Working directory: absolute. Made if it is missing.
    pub cwd: Vec<u8>,
    /// Who the first process is.
    pub user: User,
    /// Its capabilities.
    pub caps: Capabilities,
    /// Its resource limits, indexed by `RLIMIT_*`: (soft, hard); `u64::MAX` is unlimited.
    pub rlimits: [(u64, u64); 16],
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// /proc/PID/oom_score_adj.
    pub oom_score_adj: Option<i32>,
    /// `nodename` of uname(2).
    pub hostname: Vec<u8>,
    /// `domainname` of uname(2).
    pub domainname: Vec<u8>,
    /// The root file system.
    pub root: Root,
    /// What is mounted on it, in this order. Missing mount points are made.
    pub mounts: Vec<Mount>,
    /// Device nodes beyond the usual ones of /dev.
    pub devices: Vec<Device>,
    /// Paths that are to look empty (`linux.maskedPaths`); missing ones are skipped.
    pub masked_paths: Vec<Vec<u8>>,
    /// Paths that are to be read-only (`linux.readonlyPaths`); missing ones are skipped.
    pub readonly_paths: Vec<Vec<u8>>,
    /// Names with dots as sysctl(8) has them, and values.
    pub sysctl: Vec<(String, String)>,
    /// Most tasks that there may be (`linux.resources.pids.limit`).
    pub pids_limit: Option<u64>,
    /// Descriptors 0, 1 and 2 of the first process.
    pub stdio: [Stdio; 3],
    /// The terminal, if [`Stdio::Terminal`] occurs or the container is to have one.
    pub terminal: Option<Terminal>,
    /// Host descriptors that the first process has from number 3 on.
    pub preserved: Vec<OwnedFd>,
    /// The first process ignores signals that it has no handler for, as the first one of a pid namespace does
    /// (pid_namespaces(7)). Containers want that; `runsc do` wants its program to end at `kill` as it does outside.
    pub protect_init: bool,
}

/// Limits that are in force for the sandbox as a whole, for its cgroup files to show (`linux.resources`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// memory.max, bytes.
    pub memory: Option<u64>,
    /// memory.low, bytes.
    pub memory_low: Option<u64>,
    /// memory.swap.max, bytes.
    pub swap: Option<u64>,
    /// cpu.max: quota and period, microseconds.
    pub cpu: Option<(u64, u64)>,
    /// cpu.weight.
    pub cpu_weight: Option<u64>,
    /// pids.max.
    pub pids: Option<u64>,
}

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Real, effective, saved user id.
    pub uid: u32,
    /// Real, effective, saved group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask; 022 if nothing is said.
    pub umask: Option<u32>,
}

/// Capability sets (capabilities(7)): bit `n` is capability number `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// The root file system.
#[derive(Debug)]
pub struct Root {
    /// A directory: O_PATH, with what is mounted below it on the host. If `overlay` is [`Overlay::Memory`] or `readonly`
    /// is set the host refuses writes through it, too.
    pub dir: OwnedFd,
    /// Mounted read-only.
    pub readonly: bool,
    /// Where changes go.
    pub overlay: Overlay,
}

/// Where changes to the root go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Through to the host's directory.
    None,
    /// Into an upper layer in memory, which ends with the sandbox.
    Memory,
}

/// Something to mount.
#[derive(Debug)]
pub struct Mount {
    /// Where: absolute, in the container.
    pub target: Vec<u8>,
    /// What.
    pub kind: MountKind,
    /// The first column of /proc/mounts.
    pub source: Vec<u8>,
    /// MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_RELATIME, … of mount(2).
    pub flags: u64,
}

/// File system types that can be mounted at the start.
#[derive(Debug)]
pub enum MountKind {
    /// proc(5).
    Proc,
    /// sysfs(5).
    Sysfs,
    /// tmpfs(5).
    Tmpfs(TmpfsOptions),
    /// A tmpfs with the usual device nodes and links, those of [`ContainerConfig::devices`] included.
    Dev(TmpfsOptions),
    /// Pseudo-terminals (pts(4)).
    Devpts {
        /// Mode of new terminals.
        mode: u32,
        /// Mode of `ptmx` in it.
        ptmxmode: u32,
        /// Group of new terminals; the opener's if nothing is said.
        gid: Option<u32>,
    },
    /// POSIX message queues (mq_overview(7)).
    Mqueue,
    /// Control groups (cgroups(7)).
    Cgroup {
        /// The unified hierarchy.
        v2: bool,
        /// What it shows.
        limits: CgroupLimits,
    },
    /// A directory or file of the host: O_PATH.
    Bind {
        /// The root of the mount, with what is mounted below it if `recursive` was asked for.
        from: OwnedFd,
        /// It is a directory.
        is_dir: bool,
    },
}

/// Options of a tmpfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// Bytes that it may hold; half of the memory if nothing is said.
    pub size: Option<u64>,
    /// Inodes that it may hold.
    pub nr_inodes: Option<u64>,
    /// Mode of its root; 01777 if nothing is said.
    pub mode: Option<u32>,
    /// Owner of its root.
    pub uid: u32,
    /// Group of its root.
    pub gid: u32,
    /// It starts out with a copy of the directory that it covers.
    pub copy_up: bool,
}

/// A device node to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Absolute path.
    pub path: Vec<u8>,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a standard descriptor of the first process is.
#[derive(Debug)]
pub enum Stdio {
    /// It is closed.
    Closed,
    /// A host descriptor. Its open file description may be shared with processes outside: its flags (O_NONBLOCK) are not
    /// to be changed.
    Host(OwnedFd),
    /// The container's terminal ([`ContainerConfig::terminal`]).
    Terminal,
}

/// The container's terminal, the controlling one of its first process: a terminal of the Sentry's own, with its own line
/// discipline. What a user would type on its master side arrives as bytes on `channel`, and its output goes there.
#[derive(Debug)]
pub struct Terminal {
    /// A non-blocking stream in both directions. End of file: the user has hung up.
    pub channel: OwnedFd,
    /// Size at the start; changes come as [`crate::control::Request::Resize`].
    pub size: WindowSize,
}

/// Size of a terminal (ioctl_tty(2) TIOCGWINSZ).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    pub rows: u16,
    pub cols: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

/// How the container's first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// exit_group(2) with this status.
    Exited(u8),
    /// Killed by this signal.
    Signaled(u8),
}

impl ExitStatus {
    /// The status that a shell would show: 128 + n for signal n.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => signal.saturating_add(128),
        }
    }
}

/// Why a container did not start. The texts contain what container engines look for (`executable file not found in`,
/// `no such file or directory`, `permission denied`).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// There is no such program.
    #[error("{}", not_found(program, tried))]
    NotFound {
        /// `args[0]`.
        program: String,
        /// Paths in the container that were looked at, in that order.
        tried: Vec<String>,
    },
    /// There is one, but it can't be run.
    #[error("exec: \"{program}\": {}{}", lower(.errno.message()), hint(*.errno))]
    NotExecutable {
        /// The path in the container.
        program: String,
        /// What execve(2) says: EACCES, ENOEXEC, EISDIR, ELIBBAD, …
        errno: Errno,
    },
    /// Anything else: a mount that failed, a host resource that ran out.
    #[error("{0}")]
    Setup(String),
}

fn not_found(program: &str, tried: &[String]) -> String {
    if program.contains('/') {
        format!("exec: \"{program}\": stat {program}: no such file or directory")
    } else if tried.is_empty() {
        format!("exec: \"{program}\": executable file not found in $PATH, which is empty")
    } else {
        format!(
            "exec: \"{program}\": executable file not found in $PATH; tried {}",
            tried.join(", ")
        )
    }
}

/// What execve(2) means by an errno that seems to speak of the program itself.
fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT => " (its interpreter, named in its first line or its ELF header)",
        Errno::ENOEXEC => " (neither an ELF program for this machine nor a script with #!)",
        _ => "",
    }
}

fn lower(message: &str) -> String {
    let mut chars = message.chars();
    chars
        .next()
        .map(|c| c.to_ascii_lowercase())
        .into_iter()
        .chain(chars)
        .collect()
}

impl StartError {
    /// The status that `runsc` exits with: 127 not found, 126 not executable, 125 for the rest.
    pub fn code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Setup(_) => 125,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_errors_say_what_engines_look_for() {
        let missing = StartError::NotFound {
            program: "/nope".into(),
            tried: vec!["/nope".into()],
        };
        assert_eq!(
            missing.to_string(),
            "exec: \"/nope\": stat /nope: no such file or directory"
        );
        assert_eq!(missing.code(), 127);
        let missing = StartError::NotFound {
            program: "nope".into(),
            tried: vec!["/bin/nope".into(), "/sbin/nope".into()],
        };
        assert_eq!(
            missing.to_string(),
            "exec: \"nope\": executable file not found in $PATH; tried /bin/nope, /sbin/nope"
        );
        let denied = StartError::NotExecutable {
            program: "/etc/passwd".into(),
            errno: Errno::EACCES,
        };
        assert_eq!(
            denied.to_string(),
            "exec: \"/etc/passwd\": permission denied"
        );
        assert_eq!(denied.code(), 126);
        let incomplete = StartError::NotExecutable {
            program: "/x".into(),
            errno: Errno::ENOENT,
        };
        assert!(incomplete.to_string().contains("interpreter"));
    }
}
