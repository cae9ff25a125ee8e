//! sysfs(5), as far as programs read it to learn about the machine: how many CPUs there are and how they lie, what
//! the network interfaces are, how memory is managed. It tells of the sandbox: its CPUs, its interfaces, one memory node;
//! no devices, no modules.
//!
//! [`cpu`]: CPUs, their topology and caches, and the memory node. [`net`]: interfaces. [`memory`]: huge pages.

mod cpu;
mod memory;
mod net;

use super::fixed::Tree;
use crate::kernel::Kernel;
use crate::vfs::Dentry;
use crate::vfs::superblock::{FileSystem, StatFs, Superblock, anon_dev};
use arch::Result;
use std::any::Any;
use std::sync::Arc;

/// SYSFS_MAGIC.
const MAGIC: i64 = 0x6265_6572;

struct SysFs;

impl FileSystem for SysFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "sysfs"
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs::plain(MAGIC))
    }
    fn cache_limit(&self) -> usize {
        256
    }
}

/// A new sysfs; its root dentry, to be mounted.
pub fn new(kernel: &Arc<Kernel>) -> Arc<Dentry> {
    let dev = anon_dev();
    let mut tree = Tree::new(4096);
    for dir in [
        "block",
        "bus",
        "class/block",
        "class/net",
        "dev/block",
        "dev/char",
        "devices/system",
        "devices/virtual",
        "firmware",
        // Where it is mounted on.
        "fs/cgroup",
        "kernel/debug",
        "kernel/security",
        "kernel/tracing",
        "module",
        "power",
    ] {
        tree.dir(dir);
    }
    cpu::fill(&mut tree, kernel);
    memory::fill(&mut tree, kernel);
    net::fill(&mut tree, kernel);
    Superblock::new(Box::new(SysFs), dev, tree.plant(dev, kernel), false)
}
