//! The virtual file system.
//!
//! - [`file`]: open file descriptions and what an implementation of one provides.

pub mod file;

pub use file::{DirSink, File, FileOps, MapRequest, MapSource, SeekFrom};

/// The next inode number of anonymous objects: pipes, sockets, anon_inodes. Never 0, never twice.
pub fn next_ino() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Root, working directory, umask (CLONE_FS shares it).
pub struct FsContext {}
/// Open descriptors (CLONE_FILES shares it).
pub struct FdTable {}
