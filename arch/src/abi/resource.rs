//! Limits, usage, system data: getrlimit(2), getrusage(2), sysinfo(2), uname(2), capget(2).

use super::Timeval;

abi_struct! {
    /// `struct rlimit` and `struct rlimit64`, alike on 64 bits.
    pub struct Rlimit: 16 {
        pub cur: u64,
        pub max: u64,
    }

    /// `struct rusage`.
    pub struct Rusage: 144 {
        pub utime: Timeval,
        pub stime: Timeval,
        /// In KiB.
        pub maxrss: i64,
        pub ixrss: i64,
        pub idrss: i64,
        pub isrss: i64,
        pub minflt: i64,
        pub majflt: i64,
        pub nswap: i64,
        pub inblock: i64,
        pub oublock: i64,
        pub msgsnd: i64,
        pub msgrcv: i64,
        pub nsignals: i64,
        pub nvcsw: i64,
        pub nivcsw: i64,
    }

    /// `struct sysinfo`.
    pub struct Sysinfo: 112 {
        /// In seconds.
        pub uptime: i64,
        /// Load averages over 1, 5, 15 minutes, scaled by 2^16.
        pub loads: [u64; 3],
        /// Memory, in units of `mem_unit`, to `freehigh`.
        pub totalram: u64,
        pub freeram: u64,
        pub sharedram: u64,
        pub bufferram: u64,
        pub totalswap: u64,
        pub freeswap: u64,
        pub procs: u16,
        pub pad0: u16,
        pub pad1: u32,
        pub totalhigh: u64,
        pub freehigh: u64,
        /// In bytes.
        pub mem_unit: u32,
        pub pad2: u32,
    }

    /// `struct new_utsname` of uname(2); NUL-terminated fields.
    pub struct Utsname: 390 {
        pub sysname: [u8; 65],
        pub nodename: [u8; 65],
        pub release: [u8; 65],
        pub version: [u8; 65],
        pub machine: [u8; 65],
        pub domainname: [u8; 65],
    }

    /// `struct __user_cap_header_struct` of capget(2).
    pub struct CapUserHeader: 8 {
        pub version: u32,
        pub pid: i32,
    }

    /// `struct __user_cap_data_struct`: 32 capabilities; versions 2 and 3 pass two of these.
    pub struct CapUserData: 12 {
        pub effective: u32,
        pub permitted: u32,
        pub inheritable: u32,
    }
}

/// The same layout under its other name.
pub type Rlimit64 = Rlimit;

/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;
/// Number of resources, `RLIM_NLIMITS`.
pub const RLIM_NLIMITS: usize = 16;

impl Rlimit {
    pub const INFINITY: Rlimit = Rlimit {
        cur: RLIM_INFINITY,
        max: RLIM_INFINITY,
    };

    pub const fn new(cur: u64, max: u64) -> Rlimit {
        Rlimit { cur, max }
    }
}

/// `__NEW_UTS_LEN`: longest host or domain name.
pub const UTS_LEN: usize = 64;

impl Utsname {
    /// A field with `text` in it, cut to [`UTS_LEN`] bytes.
    pub const fn field(text: &[u8]) -> [u8; 65] {
        let mut out = [0; 65];
        let mut at = 0;
        while at < text.len() && at < UTS_LEN {
            out[at] = text[at];
            at += 1;
        }
        out
    }
}

pub const LINUX_CAPABILITY_VERSION_1: u32 = 0x1998_0330;
pub const LINUX_CAPABILITY_VERSION_2: u32 = 0x2007_1026;
pub const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

macro_rules! capabilities {
    ($($number:literal $name:ident;)*) => {
        $(
            #[doc = concat!("capabilities(7), number ", stringify!($number), ".")]
            pub const $name: u32 = $number;
        )*

        /// Names by number, as capabilities(7) and the OCI configuration write them.
        pub const CAPABILITY_NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

capabilities! {
    0 CAP_CHOWN;
    1 CAP_DAC_OVERRIDE;
    2 CAP_DAC_READ_SEARCH;
    3 CAP_FOWNER;
    4 CAP_FSETID;
    5 CAP_KILL;
    6 CAP_SETGID;
    7 CAP_SETUID;
    8 CAP_SETPCAP;
    9 CAP_LINUX_IMMUTABLE;
    10 CAP_NET_BIND_SERVICE;
    11 CAP_NET_BROADCAST;
    12 CAP_NET_ADMIN;
    13 CAP_NET_RAW;
    14 CAP_IPC_LOCK;
    15 CAP_IPC_OWNER;
    16 CAP_SYS_MODULE;
    17 CAP_SYS_RAWIO;
    18 CAP_SYS_CHROOT;
    19 CAP_SYS_PTRACE;
    20 CAP_SYS_PACCT;
    21 CAP_SYS_ADMIN;
    22 CAP_SYS_BOOT;
    23 CAP_SYS_NICE;
    24 CAP_SYS_RESOURCE;
    25 CAP_SYS_TIME;
    26 CAP_SYS_TTY_CONFIG;
    27 CAP_MKNOD;
    28 CAP_LEASE;
    29 CAP_AUDIT_WRITE;
    30 CAP_AUDIT_CONTROL;
    31 CAP_SETFCAP;
    32 CAP_MAC_OVERRIDE;
    33 CAP_MAC_ADMIN;
    34 CAP_SYSLOG;
    35 CAP_WAKE_ALARM;
    36 CAP_BLOCK_SUSPEND;
    37 CAP_AUDIT_READ;
    38 CAP_PERFMON;
    39 CAP_BPF;
    40 CAP_CHECKPOINT_RESTORE;
}

/// The greatest capability.
pub const CAP_LAST_CAP: u32 = CAP_CHECKPOINT_RESTORE;
/// All capabilities as a set.
pub const CAP_FULL_SET: u64 = (1 << (CAP_LAST_CAP + 1)) - 1;

/// Revision of a `security.capability` attribute without a root id, and its length in bytes.
pub const VFS_CAP_REVISION_2: u32 = 0x0200_0000;
pub const XATTR_CAPS_SZ_2: usize = 20;
/// With the user namespace's root id.
pub const VFS_CAP_REVISION_3: u32 = 0x0300_0000;
pub const XATTR_CAPS_SZ_3: usize = 24;
pub const VFS_CAP_REVISION_MASK: u32 = 0xff00_0000;
pub const VFS_CAP_FLAGS_EFFECTIVE: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<Rusage>(), size_of::<libc::rusage>());
        assert_eq!(size_of::<Sysinfo>(), size_of::<libc::sysinfo>());
        assert_eq!(
            memoffset::offset_of!(Sysinfo, mem_unit),
            memoffset::offset_of!(libc::sysinfo, mem_unit)
        );
        assert_eq!(size_of::<Utsname>(), size_of::<libc::utsname>());
        assert_eq!(size_of::<Rlimit>(), size_of::<libc::rlimit64>());
    }

    #[test]
    fn names_are_cut() {
        let field = Utsname::field(&[b'x'; 100]);
        assert_eq!((field[63], field[64]), (b'x', 0));
        assert_eq!(CAPABILITY_NAMES[CAP_SYSLOG as usize], "CAP_SYSLOG");
        assert_eq!(CAPABILITY_NAMES.len() as u32, CAP_LAST_CAP + 1);
    }
}
