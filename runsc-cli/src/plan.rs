//! What is to be run, in terms of host paths: checked, but nothing opened yet.
//!
//! `runsc do` and OCI bundles both end here; the sandbox's process turns it into a [`sentry::config::ContainerConfig`].

use sentry::config::{Capabilities, Device, MountKind, Overlay, User, WindowSize};
use std::path::PathBuf;

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
