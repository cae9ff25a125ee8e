//! An overlay: changes in memory over a lower file system that is never written.
//!
//! Unlike Linux's, the upper layer is no tree of its own. Each inode ([`node`]) may have an *upper* of its own, a tmpfs inode
//! that takes its place once it is changed, and each directory ([`dir`]) keeps a table of the names that differ from the
//! lower one's: nodes made or moved here, and whiteouts. So a copy-up concerns one inode alone, and a directory of the lower
//! layer can be renamed without being copied.
//!
//! # Lifetimes
//! A node holds its parent. A directory holds weakly what merely mirrors the lower layer; a node with a state of its own is
//! *pinned* in the file system until it is unlinked.
//!
//! # Locks
//! ```text
//! OverlayNode::upper (held over a copy-up, which reads the lower file)
//! OverlayNode::names (a directory's table; two never at once)
//! Shared::pins, OverlayNode::parent (leaves)
//! ```

mod dir;
mod node;

use crate::fs::tmp;
use crate::vfs::Dentry;
use crate::vfs::attr::Dev;
use crate::vfs::inode::InodeRef;
use crate::vfs::superblock::{FileSystem, StatFs, Superblock, anon_dev};
use arch::Result;
use node::OverlayNode;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

/// OVERLAYFS_SUPER_MAGIC.
const MAGIC: i64 = 0x794c_7630;

/// What the nodes of one overlay share.
pub(super) struct Shared {
    dev: Dev,
    /// st_dev of the lower root: inodes of other lower devices get other numbers.
    lower_dev: Dev,
    /// The tmpfs that uppers are accounted to.
    upper: Arc<tmp::Shared>,
    /// Nodes that differ from the lower layer, by address.
    pins: Mutex<HashMap<usize, Arc<OverlayNode>>>,
}

struct OverlayFs {
    shared: Arc<Shared>,
    lower: Arc<Dentry>,
}

impl FileSystem for OverlayFs {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        "overlay"
    }

    fn statfs(&self) -> Result<StatFs> {
        let lower = self.lower.sb.fs.statfs()?;
        Ok(StatFs {
            magic: MAGIC,
            ..lower
        })
    }

    fn options(&self) -> Vec<u8> {
        b",lowerdir=/,upperdir=memory".to_vec()
    }

    fn caches_negative(&self) -> bool {
        true
    }
}

impl Drop for OverlayFs {
    /// Pinned nodes hold what they share, and that holds them.
    fn drop(&mut self) {
        let pins = std::mem::take(&mut *self.shared.pins.lock());
        drop(pins);
    }
}

/// A memory layer over the directory `lower`; its root dentry, to be mounted.
pub fn new(lower: Arc<Dentry>) -> Result<Arc<Dentry>> {
    let dev = anon_dev();
    let root: &InodeRef = lower.inode();
    let shared = Arc::new(Shared {
        dev,
        lower_dev: root.attr()?.dev,
        upper: tmp::Shared::new(dev),
        pins: Mutex::default(),
    });
    let node = OverlayNode::mirror(&shared, root, None)?;
    shared.pin(&node);
    Ok(Superblock::new(
        Box::new(OverlayFs { shared, lower }),
        dev,
        node,
        false,
    ))
}

impl Shared {
    /// Keeps a node that differs from the lower layer.
    fn pin(&self, node: &Arc<OverlayNode>) {
        self.pins
            .lock()
            .insert(Arc::as_ptr(node).addr(), Arc::clone(node));
    }

    /// Its last name is gone.
    fn unpin(&self, node: &OverlayNode) {
        let pinned = self.pins.lock().remove(&std::ptr::from_ref(node).addr());
        drop(pinned);
    }
}
