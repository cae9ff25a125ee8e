//! What is to be run, in terms of host paths: checked, but nothing opened yet.
//!
//! `runsc do` and OCI bundles both end here; the sandbox's process turns it into a [`sentry::config::ContainerConfig`].

use sentry::config::{Capabilities, Device, MountKind, Overlay, User, WindowSize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A container to be.
#[derive(Debug)]
pub struct Plan {
    /// Its name.
    pub id: String,
    /// Its first process.
    pub process: Process,
    pub hostname: Vec<u8>,
    pub domainname: Vec<u8>,
    pub root: Root,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    pub masked_paths: Vec<Vec<u8>>,
    pub readonly_paths: Vec<Vec<u8>>,
    pub sysctl: Vec<(String, String)>,
    /// Where it lives on the host, and what it may use there; `None` leaves it where its caller is.
    pub cgroup: Option<Cgroup>,
    pub hooks: Hooks,
    /// For the hooks: where its configuration came from, and the notes in it.
    pub bundle: PathBuf,
    pub annotations: BTreeMap<String, String>,
    /// What container ids are on the host; `None` lets the caller's rights decide.
    pub id_maps: Option<IdMaps>,
    /// See [`sentry::config::ContainerConfig::protect_init`].
    pub protect_init: bool,
}

/// The first process.
#[derive(Debug)]
pub struct Process {
    pub args: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
    pub cwd: Vec<u8>,
    pub user: User,
    pub caps: Capabilities,
    pub rlimits: [(u64, u64); 16],
    pub no_new_privs: bool,
    pub oom_score_adj: Option<i32>,
    pub terminal: TerminalWish,
}

/// Whether there is to be a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalWish {
    /// If stdin is one.
    LikeStdin,
    /// No; descriptors are passed on as they are.
    No,
    /// Yes, of this size if none can be found out.
    Yes(WindowSize),
}

/// A control group of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Below each hierarchy; a relative one below the caller's own group.
    pub path: PathBuf,
    pub resources: Resources,
}

/// Limits of a control group, as `linux.resources` has them; a negative number is "unlimited".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes.
    pub memory: Option<i64>,
    pub memory_low: Option<i64>,
    pub memory_and_swap: Option<i64>,
    pub cpu_shares: Option<u64>,
    /// Microseconds in each period.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    pub cpus: Option<String>,
    pub mems: Option<String>,
    /// Tasks of the container's programs.
    pub pids: Option<u64>,
    /// Files of cgroup v2 and what goes into them.
    pub unified: Vec<(String, String)>,
}

/// Programs of the host's that are told of the container's life (config.md, POSIX-platform Hooks).
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Hook {
    pub path: PathBuf,
    /// With the name it is called by; may be empty.
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub timeout: Option<Duration>,
}

/// The root directory.
#[derive(Debug)]
pub struct Root {
    pub path: PathBuf,
    pub readonly: bool,
    pub overlay: Overlay,
}

/// Something to mount.
#[derive(Debug)]
pub struct Mount {
    pub target: Vec<u8>,
    pub source: Vec<u8>,
    /// MS_* of mount(2).
    pub flags: u64,
    pub kind: Kind,
}

/// What to mount.
#[derive(Debug)]
pub enum Kind {
    /// A file system of the Sentry's.
    Internal(MountKind),
    /// A host directory or file.
    Bind {
        from: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
    },
}

/// Ranges of user and group ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMaps {
    pub uid: Vec<IdRange>,
    pub gid: Vec<IdRange>,
}

/// A line of /proc/PID/uid_map (user_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id in the container.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    pub count: u32,
}

/// The caller's own resource limits: what the first process has where nothing else is said.
pub fn inherited_rlimits() -> [(u64, u64); 16] {
    std::array::from_fn(|resource| {
        crate::sys::rlimit(resource as u32).unwrap_or((u64::MAX, u64::MAX))
    })
}
