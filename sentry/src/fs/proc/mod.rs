//! proc(5).
//!
//! - [`root`]: the top directory: processes, and files about the whole system.
//! - [`task`]: /proc/PID and /proc/PID/task/TID.
//! - [`fd`]: /proc/PID/fd and fdinfo.
//! - [`status`]: the texts about one process. [`mem`]: its memory.
//! - [`system`]: the texts about the system.
//! - [`sys`] is /proc/sys.

pub mod fd;
mod mem;
mod memory;
pub mod net;
pub mod root;
pub mod status;
pub mod sys;
pub mod system;
mod sysvipc;
pub mod task;

use crate::kernel::Kernel;
use crate::vfs::Dentry;
use crate::vfs::attr::Dev;
use crate::vfs::superblock::{FileSystem, StatFs, Superblock, anon_dev};
use arch::Result;
use std::any::Any;
use std::sync::{Arc, Weak};

/// PROC_SUPER_MAGIC.
const MAGIC: i64 = 0x9fa0;

struct ProcFs;

impl FileSystem for ProcFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "proc"
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs::plain(MAGIC))
    }
    fn revalidates(&self) -> bool {
        true
    }
    fn fixed_names(&self) -> bool {
        true
    }
    fn cache_limit(&self) -> usize {
        64
    }
}

/// What every directory of proc knows.
#[derive(Clone)]
pub struct Proc {
    kernel: Weak<Kernel>,
    dev: Dev,
}

impl Proc {
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.upgrade().ok_or(arch::Errno::ENOENT)
    }
}

/// A new proc file system; its root dentry, to be mounted.
pub fn new(kernel: &Arc<Kernel>) -> Arc<Dentry> {
    let dev = anon_dev();
    let proc = Proc {
        kernel: Arc::downgrade(kernel),
        dev,
    };
    Superblock::new(Box::new(ProcFs), dev, root::inode(&proc), false)
}
