//! Objects that a descriptor makes of an event: pipes, event counters, timers, epoll instances.

pub mod epoll;
pub mod eventfd;
pub mod hostfd;
pub mod inotify;
pub mod pidfd;
pub mod pipe;
pub mod sigio;
pub mod signalfd;
pub mod timerfd;

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

/// fstat(2) of what stands on the one anonymous inode: eventfd, epoll, timerfd, signalfd. No file type, mode 0600.
pub fn anon_inode_stat() -> Stat {
    static INO: std::sync::LazyLock<u64> = std::sync::LazyLock::new(crate::vfs::next_ino);
    anon_stat(ANON_DEV, *INO, 0o600, 0, 0)
}
