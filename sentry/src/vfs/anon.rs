//! The place of what has no place: pipes, sockets, anonymous inodes, memfds.

use super::attr::{Attr, Dev, FileType};
use super::inode::{Inode, InodeExt};
use super::mount::{Mount, MountFlags};
use super::superblock::{FileSystem, StatFs, Superblock, anon_dev};
use arch::Result;
use std::any::Any;
use std::sync::{Arc, LazyLock};

/// ANON_INODE_FS_MAGIC.
const MAGIC: i64 = 0x0904_1934;

struct AnonFs;

impl FileSystem for AnonFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "anon_inodefs"
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs::plain(MAGIC))
    }
    fn cache_limit(&self) -> usize {
        0
    }
}

struct AnonRoot {
    ext: InodeExt,
    dev: Dev,
}

impl Inode for AnonRoot {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn ext(&self) -> &InodeExt {
        &self.ext
    }
    fn file_type(&self) -> FileType {
        FileType::Directory
    }
    fn attr(&self) -> Result<Attr> {
        Ok(Attr::new(self.dev, 1, libc::S_IFDIR | 0o500))
    }
}

static MOUNT: LazyLock<Arc<Mount>> = LazyLock::new(|| {
    let dev = anon_dev();
    let root = Superblock::new(
        Box::new(AnonFs),
        dev,
        Arc::new(AnonRoot {
            ext: InodeExt::new(),
            dev,
        }),
        false,
    );
    Mount::new(root, b"none", MountFlags::empty())
});

/// A mount that is in no tree.
pub fn mount() -> Arc<Mount> {
    Arc::clone(&MOUNT)
}

/// st_dev of anonymous objects (pipes, sockets, anonymous inodes).
pub fn dev() -> Dev {
    MOUNT.sb().dev
}
