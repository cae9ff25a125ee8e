//! Structures whose layout is x86_64's own.

use crate::abi::{Timespec, abi_struct};
use bytemuck::{Pod, Zeroable};
use static_assertions::const_assert_eq;

abi_struct! {
    /// `struct stat` of stat(2).
    pub struct Stat: 144 {
        pub dev: u64,
        pub ino: u64,
        pub nlink: u64,
        pub mode: u32,
        pub uid: u32,
        pub gid: u32,
        pub pad0: u32,
        pub rdev: u64,
        /// In bytes.
        pub size: i64,
        pub blksize: i64,
        /// In units of 512 bytes.
        pub blocks: i64,
        pub atime: Timespec,
        pub mtime: Timespec,
        pub ctime: Timespec,
        pub unused: [i64; 3],
    }
}

/// `struct epoll_event` of epoll_ctl(2), packed on x86_64.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct EpollEvent {
    pub events: u32,
    pub data: u64,
}

const_assert_eq!(size_of::<EpollEvent>(), 12);

pub use super::sigframe::{RtSigFrame, SigContext, UContext};

#[cfg(test)]
mod tests {
    use super::*;
    use memoffset::offset_of;

    #[test]
    fn stat_is_the_hosts() {
        assert_eq!(size_of::<Stat>(), size_of::<libc::stat>());
        assert_eq!(offset_of!(Stat, rdev), offset_of!(libc::stat, st_rdev));
        assert_eq!(offset_of!(Stat, size), offset_of!(libc::stat, st_size));
        assert_eq!(offset_of!(Stat, atime), offset_of!(libc::stat, st_atime));
    }
}
