//! Files and directories: openat2(2), getdents64(2), fcntl(2), inotify(7), name_to_handle_at(2),
//! mount_setattr(2), ioctls of files.

abi_struct! {
    /// `struct open_how` of openat2(2).
    pub struct OpenHow: 24 {
        pub flags: u64,
        pub mode: u64,
        /// `RESOLVE_*`.
        pub resolve: u64,
    }

    /// `struct flock`, fcntl(2) locks.
    pub struct Flock: 32 {
        /// F_RDLCK, F_WRLCK, F_UNLCK.
        pub kind: i16,
        pub whence: i16,
        pub pad0: u32,
        pub start: i64,
        /// In bytes, zero for "to the end", negative for "before start".
        pub len: i64,
        pub pid: i32,
        pub pad1: u32,
    }

    /// `struct f_owner_ex`, F_SETOWN_EX.
    pub struct FOwnerEx: 8 {
        pub kind: i32,
        pub pid: i32,
    }

    /// Head of a `struct inotify_event`; `len` bytes of name follow, padded with NULs.
    pub struct InotifyEvent: 16 {
        pub wd: i32,
        pub mask: u32,
        pub cookie: u32,
        pub len: u32,
    }

    /// Head of a `struct file_handle`; `bytes` bytes of handle follow.
    pub struct FileHandle: 8 {
        pub bytes: u32,
        pub kind: i32,
    }

    /// `struct mount_attr` of mount_setattr(2).
    pub struct MountAttr: 32 {
        pub attr_set: u64,
        pub attr_clr: u64,
        pub propagation: u64,
        pub userns_fd: u64,
    }

    /// `struct fsxattr`, FS_IOC_FSGETXATTR.
    pub struct Fsxattr: 28 {
        pub xflags: u32,
        pub extsize: u32,
        pub nextents: u32,
        pub projid: u32,
        pub cowextsize: u32,
        pub pad: [u8; 8],
    }

    /// `struct file_clone_range`, FICLONERANGE.
    pub struct FileCloneRange: 32 {
        pub src_fd: i64,
        pub src_offset: u64,
        pub src_length: u64,
        pub dest_offset: u64,
    }

    /// `struct xattr_args` of setxattrat(2) and getxattrat(2).
    pub struct XattrArgs: 16 {
        pub value: u64,
        pub size: u32,
        pub flags: u32,
    }
}

pub const RESOLVE_NO_XDEV: u64 = 0x01;
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub const RESOLVE_BENEATH: u64 = 0x08;
pub const RESOLVE_IN_ROOT: u64 = 0x10;
pub const RESOLVE_CACHED: u64 = 0x20;
/// All of them; others are EINVAL.
pub const RESOLVE_VALID: u64 = 0x3f;

/// The kernel's O_LARGEFILE (64-bit C libraries define it as zero); F_GETFL shows it.
pub const O_LARGEFILE: i32 = 0o100000;
/// O_TMPFILE without its O_DIRECTORY.
pub const O_TMPFILE_BIT: i32 = 0o20000000;

/// Longest path with its NUL.
pub const PATH_MAX: usize = 4096;
/// Longest name of one component.
pub const NAME_MAX: usize = 255;
/// Most symbolic links that one lookup follows (`MAXSYMLINKS`).
pub const MAXSYMLINKS: u32 = 40;
/// Longest name, value, list of extended attributes, xattr(7).
pub const XATTR_NAME_MAX: usize = 255;
pub const XATTR_SIZE_MAX: usize = 65536;
pub const XATTR_LIST_MAX: usize = 65536;

/// statfs(2) magic numbers that libc lacks.
pub const ANON_INODE_FS_MAGIC: i64 = 0x0904_1934;
pub const PIPEFS_MAGIC: i64 = 0x5049_5045;
pub const SOCKFS_MAGIC: i64 = 0x534f_434b;
pub const MQUEUE_MAGIC: i64 = 0x1980_0202;
pub const PID_FS_MAGIC: i64 = 0x5049_4446;
pub const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// fcntl(2) commands that libc lacks.
pub const F_DUPFD_QUERY: i32 = 1024 + 3;
pub const F_CREATED_QUERY: i32 = 1024 + 4;
pub const F_GET_RW_HINT: i32 = 1024 + 11;
pub const F_SET_RW_HINT: i32 = 1024 + 12;
pub const F_GET_FILE_RW_HINT: i32 = 1024 + 13;
pub const F_SET_FILE_RW_HINT: i32 = 1024 + 14;

/// ioctls that libc lacks.
pub const FIBMAP: u32 = 1;
pub const FIGETBSZ: u32 = 2;
pub const FIFREEZE: u32 = 0xc004_5877;
pub const FITHAW: u32 = 0xc004_5878;
pub const FITRIM: u32 = 0xc018_5879;
pub const FIDEDUPERANGE: u32 = 0xc018_9436;
pub const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
pub const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
pub const FS_IOC_FIEMAP: u32 = 0xc020_660b;
pub const FS_IOC_GETFSLABEL: u32 = 0x8100_9431;
pub const BLKGETSIZE64: u32 = 0x8008_1272;

/// Flags of FS_IOC_GETFLAGS, ioctl_iflags(2).
pub const FS_SYNC_FL: u32 = 0x0000_0008;
pub const FS_IMMUTABLE_FL: u32 = 0x0000_0010;
pub const FS_APPEND_FL: u32 = 0x0000_0020;
pub const FS_NODUMP_FL: u32 = 0x0000_0040;
pub const FS_NOATIME_FL: u32 = 0x0000_0080;

/// mount_setattr(2), fsmount(2).
pub const MOUNT_ATTR_RDONLY: u64 = 0x0000_0001;
pub const MOUNT_ATTR_NOSUID: u64 = 0x0000_0002;
pub const MOUNT_ATTR_NODEV: u64 = 0x0000_0004;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x0000_0008;
pub const MOUNT_ATTR_ATIME: u64 = 0x0000_0070;
pub const MOUNT_ATTR_NOATIME: u64 = 0x0000_0010;
pub const MOUNT_ATTR_STRICTATIME: u64 = 0x0000_0020;
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x0000_0080;
pub const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
pub const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

/// Bytes before the name of a `struct linux_dirent64`.
const DIRENT64_HEAD: usize = 19;
/// Bytes before the name of a `struct linux_dirent`.
const DIRENT_HEAD: usize = 18;

/// Appends one `struct linux_dirent64` of getdents64(2) to `out`, unless that would make it longer
/// than `limit` bytes: then nothing is written and the answer is false.
///
/// `next` is the position (`d_off`) from which reading would go on after this entry; `kind` is
/// `DT_*`.
pub fn push_dirent64(
    out: &mut Vec<u8>,
    limit: usize,
    ino: u64,
    next: i64,
    kind: u8,
    name: &[u8],
) -> bool {
    let len = (DIRENT64_HEAD + name.len() + 1).next_multiple_of(8);
    let Ok(reclen) = u16::try_from(len) else {
        return false;
    };
    let end = out.len() + len;
    if end > limit {
        return false;
    }
    out.extend_from_slice(&ino.to_ne_bytes());
    out.extend_from_slice(&next.to_ne_bytes());
    out.extend_from_slice(&reclen.to_ne_bytes());
    out.push(kind);
    out.extend_from_slice(name);
    out.resize(end, 0);
    true
}

/// As [`push_dirent64`] for the older getdents(2): the kind is the record's last byte.
pub fn push_dirent(
    out: &mut Vec<u8>,
    limit: usize,
    ino: u64,
    next: i64,
    kind: u8,
    name: &[u8],
) -> bool {
    let len = (DIRENT_HEAD + name.len() + 2).next_multiple_of(8);
    let Ok(reclen) = u16::try_from(len) else {
        return false;
    };
    let end = out.len() + len;
    if end > limit {
        return false;
    }
    out.extend_from_slice(&ino.to_ne_bytes());
    out.extend_from_slice(&next.to_ne_bytes());
    out.extend_from_slice(&reclen.to_ne_bytes());
    out.extend_from_slice(name);
    out.resize(end - 1, 0);
    out.push(kind);
    true
}

/// `DT_*` of a file whose mode is `mode` (`S_DT`).
pub const fn mode_to_dt(mode: u32) -> u8 {
    ((mode >> 12) & 15) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<OpenHow>(), size_of::<libc::open_how>());
        assert_eq!(size_of::<Flock>(), size_of::<libc::flock>());
        assert_eq!(size_of::<InotifyEvent>(), size_of::<libc::inotify_event>());
        assert_eq!(
            memoffset::offset_of!(Flock, pid),
            memoffset::offset_of!(libc::flock, l_pid)
        );
    }

    #[test]
    fn directory_records_are_padded_and_bounded() {
        let mut out = Vec::new();
        assert!(push_dirent64(&mut out, 64, 7, 9, libc::DT_REG, b"abc"));
        assert_eq!(out.len(), 24);
        assert_eq!(&out[16..18], &24u16.to_ne_bytes());
        assert_eq!((out[18], &out[19..24]), (libc::DT_REG, &b"abc\0\0"[..]));
        assert!(push_dirent64(&mut out, 64, 8, 10, libc::DT_DIR, b"12345"));
        assert_eq!(out.len(), 56);
        assert!(!push_dirent64(&mut out, 64, 8, 10, libc::DT_DIR, b"x"));
        assert_eq!(out.len(), 56);
    }

    #[test]
    fn old_directory_records_end_with_the_kind() {
        let mut out = Vec::new();
        assert!(push_dirent(&mut out, 24, 7, 9, libc::DT_LNK, b"abcd"));
        assert_eq!((out.len(), out[23]), (24, libc::DT_LNK));
        assert_eq!(&out[18..23], b"abcd\0");
    }

    #[test]
    fn kinds_come_from_the_mode() {
        assert_eq!(mode_to_dt(libc::S_IFDIR | 0o755), libc::DT_DIR);
        assert_eq!(mode_to_dt(libc::S_IFSOCK), libc::DT_SOCK);
    }
}
