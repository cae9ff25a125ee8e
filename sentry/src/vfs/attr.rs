//! File attributes as the kernel keeps them, apart from any ABI structure.

use arch::abi::{Stat, Timespec};
use std::time::Duration;

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Dev {
    /// Major number, 12 bits.
    pub major: u32,
    /// Minor number, 20 bits.
    pub minor: u32,
}

impl Dev {
    /// A device number from its two parts.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// As it stands in st_dev and st_rdev, and as mknod(2) takes it (new_encode_dev of the kernel).
    pub const fn encode(self) -> u64 {
        ((self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)) as u64
    }

    /// The inverse of [`Dev::encode`].
    pub const fn decode(raw: u64) -> Self {
        let raw = raw as u32;
        Self {
            major: (raw & 0x000f_ff00) >> 8,
            minor: (raw & 0xff) | ((raw >> 12) & 0x000f_ff00),
        }
    }
}

/// What kind of file an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
    /// Without a type (anonymous inodes: their mode has no type bits).
    Anonymous,
}

impl FileType {
    /// From the type bits of a mode.
    pub const fn from_mode(mode: u32) -> Self {
        match mode & libc::S_IFMT {
            libc::S_IFREG => Self::Regular,
            libc::S_IFDIR => Self::Directory,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFCHR => Self::CharDevice,
            libc::S_IFBLK => Self::BlockDevice,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::Socket,
            _ => Self::Anonymous,
        }
    }

    /// The type bits of a mode.
    pub const fn mode(self) -> u32 {
        match self {
            Self::Regular => libc::S_IFREG,
            Self::Directory => libc::S_IFDIR,
            Self::Symlink => libc::S_IFLNK,
            Self::CharDevice => libc::S_IFCHR,
            Self::BlockDevice => libc::S_IFBLK,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
            Self::Anonymous => 0,
        }
    }

    /// d_type of getdents64(2).
    pub const fn dtype(self) -> u8 {
        (self.mode() >> 12) as u8
    }
}

/// A point in time of CLOCK_REALTIME.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Seconds since the epoch; negative before it.
    pub sec: i64,
    /// Nanoseconds, below 10⁹.
    pub nsec: u32,
}

impl Timestamp {
    /// Now, with the granularity that file timestamps have (the kernel's coarse clock).
    pub fn now() -> Self {
        crate::host::event::clock_ns(libc::CLOCK_REALTIME_COARSE)
            .map_or(Self::default(), Self::from_ns)
    }

    /// From nanoseconds since the epoch.
    pub fn from_ns(ns: i128) -> Self {
        Self {
            sec: ns.div_euclid(1_000_000_000) as i64,
            nsec: ns.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// How much later this is than `other`; zero if it is not.
    pub fn since(self, other: Self) -> Duration {
        let ns = (i128::from(self.sec) - i128::from(other.sec)) * 1_000_000_000
            + i128::from(self.nsec)
            - i128::from(other.nsec);
        Duration::from_nanos(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

/// What stat(2) and statx(2) tell of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    pub dev: Dev,
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// For device nodes.
    pub rdev: Dev,
    /// Bytes.
    pub size: u64,
    /// Preferred size of I/O, bytes.
    pub blksize: u32,
    /// Units of 512 bytes.
    pub blocks: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// Birth, where the file system knows it.
    pub btime: Option<Timestamp>,
}

impl Attr {
    /// Attributes of something without contents: all times `now`, one link, owned by root.
    pub fn new(dev: Dev, ino: u64, mode: u32) -> Self {
        let now = Timestamp::now();
        Self {
            dev,
            ino,
            mode,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: Dev::default(),
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: None,
        }
    }

    /// What kind of file it is.
    pub const fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode)
    }

    /// Permission bits with setuid, setgid and sticky.
    pub const fn perm(&self) -> u32 {
        self.mode & 0o7777
    }

    /// As `struct stat`.
    pub fn to_stat(&self) -> Stat {
        Stat {
            dev: self.dev.encode(),
            ino: self.ino,
            nlink: u64::from(self.nlink),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev.encode(),
            size: self.size.cast_signed(),
            blksize: i64::from(self.blksize),
            blocks: self.blocks.cast_signed(),
            atime: self.atime.into(),
            mtime: self.mtime.into(),
            ctime: self.ctime.into(),
            ..Stat::default()
        }
    }

    /// From `struct stat`, for files that know no more than that.
    pub fn from_stat(stat: &Stat) -> Self {
        Self {
            dev: Dev::decode(stat.dev),
            ino: stat.ino,
            mode: stat.mode,
            nlink: stat.nlink as u32,
            uid: stat.uid,
            gid: stat.gid,
            rdev: Dev::decode(stat.rdev),
            size: stat.size.cast_unsigned(),
            blksize: stat.blksize as u32,
            blocks: stat.blocks.cast_unsigned(),
            atime: stat.atime.into(),
            mtime: stat.mtime.into(),
            ctime: stat.ctime.into(),
            btime: None,
        }
    }
}

impl From<Timestamp> for Timespec {
    fn from(t: Timestamp) -> Self {
        Self {
            sec: t.sec,
            nsec: i64::from(t.nsec),
        }
    }
}

impl From<Timespec> for Timestamp {
    fn from(t: Timespec) -> Self {
        Self {
            sec: t.sec,
            nsec: t.nsec as u32,
        }
    }
}

/// Attributes to change. What is `None` stays. The change of ctime that goes with any of them is implied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits with setuid, setgid and sticky; no type.
    pub perm: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// truncate(2).
    pub size: Option<u64>,
    pub atime: Option<Timestamp>,
    pub mtime: Option<Timestamp>,
    /// The time given is the present: a host takes its own.
    pub atime_now: bool,
    pub mtime_now: bool,
}

/// What chmod(2), chown(2) and utimensat(2) change, for inodes that keep it in memory and nothing beside it.
#[derive(Clone, Copy)]
pub struct Meta {
    perm: u32,
    uid: u32,
    gid: u32,
    atime: Timestamp,
    mtime: Timestamp,
    ctime: Timestamp,
}

impl Meta {
    /// All times now.
    pub fn new(perm: u32, uid: u32, gid: u32) -> Self {
        let now = Timestamp::now();
        Self {
            perm,
            uid,
            gid,
            atime: now,
            mtime: now,
            ctime: now,
        }
    }

    /// The attributes with the rest as [`Attr::new`] has it.
    pub fn attr(&self, dev: Dev, ino: u64, kind: FileType) -> Attr {
        Attr {
            uid: self.uid,
            gid: self.gid,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            ..Attr::new(dev, ino, kind.mode() | self.perm)
        }
    }

    /// Other permissions, without a change of the times.
    pub fn set_perm(&mut self, perm: u32) {
        self.perm = perm;
    }

    /// [`Inode::set_attr`](super::Inode::set_attr).
    pub fn change(&mut self, change: &SetAttr) {
        self.perm = change.perm.map_or(self.perm, |p| p & 0o7777);
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.atime = change.atime.unwrap_or(self.atime);
        self.mtime = change.mtime.unwrap_or(self.mtime);
        self.ctime = Timestamp::now();
    }
}
