//! Credentials (credentials(7), capabilities(7)). Immutable once made: a change makes a new set.

use std::sync::Arc;

/// A set of capabilities, one bit each.
pub type CapSet = u64;

/// Capability numbers (linux/capability.h).
pub mod cap {
    pub const CHOWN: u32 = 0;
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const FSETID: u32 = 4;
    pub const KILL: u32 = 5;
    pub const SETGID: u32 = 6;
    pub const SETUID: u32 = 7;
    pub const SETPCAP: u32 = 8;
    pub const LINUX_IMMUTABLE: u32 = 9;
    pub const NET_BIND_SERVICE: u32 = 10;
    pub const NET_ADMIN: u32 = 12;
    pub const NET_RAW: u32 = 13;
    pub const IPC_LOCK: u32 = 14;
    pub const IPC_OWNER: u32 = 15;
    pub const SYS_CHROOT: u32 = 18;
    pub const SYS_PTRACE: u32 = 19;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_BOOT: u32 = 22;
    pub const SYS_NICE: u32 = 23;
    pub const SYS_RESOURCE: u32 = 24;
    pub const SYS_TIME: u32 = 25;
    pub const SYS_TTY_CONFIG: u32 = 26;
    pub const MKNOD: u32 = 27;
    pub const LEASE: u32 = 28;
    pub const SETFCAP: u32 = 31;
    /// The highest that exists.
    pub const LAST: u32 = 40;
    /// Every capability.
    pub const ALL: super::CapSet = (1 << (LAST + 1)) - 1;
}

/// What a task may do, and as whom.
#[derive(Clone, Debug)]
pub struct Creds {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    /// Supplementary groups, sorted.
    pub groups: Arc<[u32]>,
    pub inheritable: CapSet,
    pub permitted: CapSet,
    pub effective: CapSet,
    pub bounding: CapSet,
    pub ambient: CapSet,
    /// prctl(PR_SET_SECUREBITS).
    pub securebits: u32,
}

impl Creds {
    /// Root with every capability.
    pub fn root() -> Self {
        Self::with(0, 0, &[], cap::ALL)
    }

    /// Real, effective, saved and file-system ids all the same.
    pub fn with(uid: u32, gid: u32, groups: &[u32], caps: CapSet) -> Self {
        let mut groups = groups.to_vec();
        groups.sort_unstable();
        Self {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: groups.into(),
            inheritable: 0,
            permitted: caps,
            effective: caps,
            bounding: cap::ALL,
            ambient: 0,
            securebits: 0,
        }
    }

    /// Has the capability in its effective set.
    pub fn has_cap(&self, cap: u32) -> bool {
        self.effective & (1 << cap) != 0
    }

    /// Whether `gid` is the file-system group or a supplementary one (in_group_p).
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// Like `in_group` with the effective group (in_egroup_p).
    pub fn in_egroup(&self, gid: u32) -> bool {
        self.egid == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// What execve(2) makes of capabilities (capabilities(7), "Transformation of capabilities during execve()").
    /// `file_caps`: permitted, inheritable, effective flag of the file.
    pub fn apply_exec(
        &mut self,
        setuid: bool,
        setgid: bool,
        file_caps: Option<(CapSet, CapSet, bool)>,
    ) {
        const NOROOT: u32 = 1;
        let (mut permitted, mut inheritable, mut effective) = file_caps.unwrap_or((0, 0, false));
        let privileged_file = file_caps.is_some();
        if self.securebits & NOROOT == 0 && (self.euid == 0 || self.uid == 0) {
            // A file with capabilities is not treated as root's when only the effective id is root.
            if !(privileged_file && self.uid != 0 && self.euid == 0) {
                permitted = self.bounding;
                inheritable = cap::ALL;
                effective = effective || self.euid == 0;
            }
        }
        if setuid || setgid || privileged_file {
            self.ambient = 0;
        }
        self.permitted =
            (self.inheritable & inheritable) | (permitted & self.bounding) | self.ambient;
        self.effective = if effective {
            self.permitted
        } else {
            self.ambient
        };
        self.suid = self.euid;
        self.fsuid = self.euid;
        self.sgid = self.egid;
        self.fsgid = self.egid;
        // SECBIT_KEEP_CAPS is cleared.
        self.securebits &= !(1 << 4);
    }
}
