//! A writable file system in memory over a read-only tree of the host: what `runsc do` runs on.
//!
//! - [`inode`]: inodes, attributes. [`dir`]: directories and their changes. [`copy`]: copy-up. [`file`]: open files and directories.
//!
//! The upper layer has no tree of its own. A directory remembers which of its names differ from the lower one: a name with an inode
//! (made here, or moved here), or a name without one (a whiteout). An inode that comes from the lower layer remembers what of it has
//! changed: attributes, or attributes and contents, in a node of tmpfs. So nothing above a changed file needs to be copied, a lower
//! directory is renamed like any other, and hard links of the lower layer stay links of one file when that is written to.
//!
//! Contents are copied when a file is opened for writing (or truncated), attributes when they are changed. Inode numbers stay.
//!
//! # Locks, outermost first
//! ```text
//! OverlayInode::copying   one copy-up of an inode at a time; held over the host's reads
//!   OverlayInode::dir, State::{inodes, kept}: leaves
//! ```

pub mod copy;
pub mod dir;
pub mod file;
pub mod inode;

pub use inode::OverlayInode;

use super::host::{HostFs, HostInode, Sharing};
use super::tmp;
use crate::vfs::{Dentry, Dev, FileSystem, Inode, Mount, MountFlags, StatFs, Superblock, anon_dev};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

/// OVERLAYFS_SUPER_MAGIC.
const MAGIC: i64 = 0x794c_7630;
/// Inode numbers of files made here start above those of any lower layer.
const FIRST_INO: u64 = 1 << 40;
/// Largest file, bytes: what a disk's file system of 4 KiB blocks takes.
const MAX_SIZE: u64 = (1 << 44) - 4096;

/// A lower file's identity: device, inode number.
type Key = (u64, u64);

/// What the inodes of one overlay share.
pub struct State {
    dev: Dev,
    /// The lower root's device: files of others get numbers that can't be mistaken.
    lower_dev: u64,
    /// Where the nodes of the upper layer are counted.
    upper: Arc<tmp::Shared>,
    /// Inodes that come from the lower layer and are in use.
    inodes: Mutex<HashMap<Key, Weak<OverlayInode>>>,
    /// Those that have changed, which must not be forgotten.
    kept: Mutex<HashMap<Key, Arc<OverlayInode>>>,
}

impl State {
    /// The inode number to show for a lower file.
    fn ino(&self, key: Key) -> u64 {
        if key.0 == self.lower_dev {
            key.1
        } else {
            key.1 ^ (key.0.wrapping_mul(0x9e37) << 48)
        }
    }

    /// The inode for a lower one.
    fn inode(self: &Arc<Self>, lower: Arc<HostInode>) -> Result<Arc<OverlayInode>> {
        let key = lower.key();
        let known = self.inodes.lock().get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|k| k.file_type() == lower.file_type()) {
            return Ok(known);
        }
        let fresh = OverlayInode::from_lower(self, lower);
        let other = {
            let mut inodes = self.inodes.lock();
            let other = inodes.get(&key).and_then(Weak::upgrade);
            let other = other.filter(|k| k.file_type() == fresh.file_type());
            if other.is_none() {
                inodes.insert(key, Arc::downgrade(&fresh));
            }
            other
        };
        Ok(other.unwrap_or(fresh))
    }

    /// Keeps a changed inode.
    fn keep(&self, inode: &Arc<OverlayInode>) {
        if let Some(key) = inode.key() {
            let old = self.kept.lock().insert(key, Arc::clone(inode));
            drop(old);
        }
    }

    /// Lets an inode go that has no name any more.
    fn let_go(&self, inode: &OverlayInode) {
        if let Some(key) = inode.key() {
            let old = self.kept.lock().remove(&key);
            drop(old);
        }
    }
}

/// An overlay.
pub struct OverlayFs {
    state: Arc<State>,
    lower: Arc<HostInode>,
}

impl OverlayFs {
    /// The root dentry of an overlay over the host directory `dir`, to be mounted.
    pub fn create(dir: OwnedFd) -> Result<Arc<Dentry>> {
        Self::over(HostFs::root(dir, Sharing::Exclusive, false)?)
    }

    /// The root dentry of an overlay over `lower`, a directory of a host tree.
    fn over(lower: Arc<HostInode>) -> Result<Arc<Dentry>> {
        let dev = anon_dev();
        let state = Arc::new(State {
            dev,
            lower_dev: lower.key().0,
            upper: tmp::Shared::with_limits(dev, FIRST_INO, MAX_SIZE),
            inodes: Mutex::default(),
            kept: Mutex::default(),
        });
        let root = state.inode(Arc::clone(&lower))?;
        state.keep(&root);
        let fs = Box::new(Self { state, lower });
        Ok(Superblock::new(fs, dev, root, false))
    }

    /// A mount of an overlay over the host directory `dir`, nowhere yet.
    pub fn mount(dir: OwnedFd, source: &[u8], flags: MountFlags) -> Result<Arc<Mount>> {
        Ok(Mount::new(Self::create(dir)?, source, flags))
    }
}

/// A memory layer over the directory `lower` of a host tree; its root dentry, to be mounted. EINVAL for other file systems.
pub fn new(lower: Arc<Dentry>) -> Result<Arc<Dentry>> {
    let root = lower.inode().as_any().downcast_ref::<HostInode>();
    OverlayFs::over(root.ok_or(Errno::EINVAL)?.arc()?)
}

impl Drop for OverlayFs {
    fn drop(&mut self) {
        // They hold the state that holds them.
        let kept = std::mem::take(&mut *self.state.kept.lock());
        drop(kept);
    }
}

impl FileSystem for OverlayFs {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        "overlay"
    }

    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            magic: MAGIC,
            ..self.lower.statfs()?
        })
    }

    fn revalidates(&self) -> bool {
        true
    }

    fn caches_negative(&self) -> bool {
        true
    }

    fn cache_limit(&self) -> usize {
        16384
    }
}
