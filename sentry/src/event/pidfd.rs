//! Process descriptors (pidfd_open(2)).

use crate::executor::{PollEvents, WaitQueue};
use crate::task::{Cx, ThreadGroup};
use crate::vfs::{File, FileOps};
use arch::Result;
use arch::abi::Stat;
use std::any::Any;
use std::sync::Arc;

/// A process, however long it lives.
pub struct PidFd {
    group: Arc<ThreadGroup>,
    ino: u64,
}

impl PidFd {
    /// An open descriptor of `group`. `flags`: O_NONBLOCK or none.
    pub fn open(group: Arc<ThreadGroup>, flags: u32) -> Arc<File> {
        let ino = crate::vfs::next_ino();
        File::new(Box::new(Self { group, ino }), flags | libc::O_RDWR as u32)
    }

    /// The process.
    pub fn group(&self) -> &Arc<ThreadGroup> {
        &self.group
    }

    fn reaped(&self) -> bool {
        self.group.is_zombie() && self.group.leader().is_none()
    }
}

/// A pidfd of a new child (CLONE_PIDFD), close-on-exec.
pub(crate) fn install(cx: &Cx, group: &Arc<ThreadGroup>) -> Result<i32> {
    let limit = cx.task.group.rlimit(libc::RLIMIT_NOFILE);
    let file = PidFd::open(Arc::clone(group), 0);
    cx.task.files().install(file, true, limit).map(|fd| fd.0)
}

impl FileOps for PidFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self, _: &File) -> Result<Stat> {
        Ok(super::anon_stat(super::ANON_DEV, self.ino, 0o700, 0, 0))
    }

    /// Readable once the process has ended; hung up once its parent has waited for it.
    fn poll(&self, _: &File) -> PollEvents {
        if self.reaped() {
            PollEvents::READABLE | PollEvents::HUP
        } else if self.group.is_zombie() {
            PollEvents::READABLE
        } else {
            PollEvents::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.group.exit_events)
    }

    fn fdinfo(&self, _: &File, out: &mut Vec<u8>) {
        let pid = if self.reaped() { -1 } else { self.group.pid };
        out.extend_from_slice(format!("Pid:\t{pid}\nNSpid:\t{pid}\n").as_bytes());
    }

    fn link_text(&self, _: &File) -> Option<Vec<u8>> {
        Some(b"anon_inode:[pidfd]".to_vec())
    }
}
