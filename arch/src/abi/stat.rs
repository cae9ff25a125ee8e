//! What is known of a file or a file system: statx(2), statfs(2). [`Stat`](super::Stat) differs
//! between architectures and lives there.

abi_struct! {
    /// `struct statx_timestamp`.
    pub struct StatxTimestamp: 16 {
        pub sec: i64,
        pub nsec: u32,
        pub pad: i32,
    }

    /// `struct statx`.
    pub struct Statx: 256 {
        /// Which fields are filled, `STATX_*`.
        pub mask: u32,
        pub blksize: u32,
        /// `STATX_ATTR_*`.
        pub attributes: u64,
        pub nlink: u32,
        pub uid: u32,
        pub gid: u32,
        pub mode: u16,
        pub pad0: u16,
        pub ino: u64,
        /// In bytes.
        pub size: u64,
        /// In units of 512 bytes.
        pub blocks: u64,
        /// Which bits of `attributes` mean something here.
        pub attributes_mask: u64,
        pub atime: StatxTimestamp,
        pub btime: StatxTimestamp,
        pub ctime: StatxTimestamp,
        pub mtime: StatxTimestamp,
        pub rdev_major: u32,
        pub rdev_minor: u32,
        pub dev_major: u32,
        pub dev_minor: u32,
        pub mnt_id: u64,
        pub dio_mem_align: u32,
        pub dio_offset_align: u32,
        pub subvol: u64,
        pub atomic_write_unit_min: u32,
        pub atomic_write_unit_max: u32,
        pub atomic_write_segments_max: u32,
        pub dio_read_offset_align: u32,
        pub atomic_write_unit_max_opt: u32,
        pub pad1: u32,
        pub spare: [u64; 8],
    }

    /// `struct statfs`.
    pub struct Statfs: 120 {
        /// Magic number, `*_MAGIC`.
        pub kind: i64,
        pub bsize: i64,
        /// In units of `bsize`, as the next two.
        pub blocks: u64,
        pub bfree: u64,
        pub bavail: u64,
        pub files: u64,
        pub ffree: u64,
        pub fsid: [i32; 2],
        pub namelen: i64,
        pub frsize: i64,
        /// `ST_*`, with [`ST_VALID`] set.
        pub flags: i64,
        pub spare: [i64; 4],
    }
}

/// Set in [`Statfs::flags`] by kernels that fill it.
pub const ST_VALID: i64 = 0x0020;

/// A device number as stat(2) carries it (`new_encode_dev`, which is what user space calls
/// makedev(3) for numbers below 4096 and 2^20).
pub const fn makedev(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// The major half of a device number.
pub const fn dev_major(dev: u64) -> u32 {
    libc::major(dev)
}

/// The minor half of a device number.
pub const fn dev_minor(dev: u64) -> u32 {
    libc::minor(dev)
}

#[cfg(test)]
mod tests {
    use super::*;
    use memoffset::offset_of;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<Statx>(), size_of::<libc::statx>());
        assert_eq!(
            offset_of!(Statx, mnt_id),
            offset_of!(libc::statx, stx_mnt_id)
        );
        assert_eq!(offset_of!(Statx, mtime), offset_of!(libc::statx, stx_mtime));
        assert_eq!(offset_of!(Statx, subvol), 0xa0);
        assert_eq!(size_of::<Statfs>(), size_of::<libc::statfs>());
        assert_eq!(
            offset_of!(Statfs, namelen),
            offset_of!(libc::statfs, f_namelen)
        );
    }

    #[test]
    fn device_numbers_split() {
        let dev = makedev(136, 70000);
        assert_eq!((dev_major(dev), dev_minor(dev)), (136, 70000));
        assert_eq!(makedev(1, 3), 0x103);
    }
}
