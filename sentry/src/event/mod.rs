//! Objects that a descriptor makes of an event: pipes, event counters, timers, epoll instances.

pub mod pipe;

use arch::abi::Stat;

/// Device number of sockets (sockfs has one of the kernel's anonymous devices).
pub const SOCKFS_DEV: u64 = 8;
/// Device number of pipes.
pub const PIPEFS_DEV: u64 = 13;
/// Device number of anon_inodefs.
pub const ANON_DEV: u64 = 14;

/// fstat(2) of an object without a file system: one link, no size, blocks of a page.
pub fn anon_stat(dev: u64, ino: u64, mode: u32, uid: u32, gid: u32) -> Stat {
    Stat {
        dev,
        ino,
        nlink: 1,
        mode,
        uid,
        gid,
        blksize: 4096,
        ..Stat::default()
    }
}
