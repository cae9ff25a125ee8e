//! signalfd(2).
//!
//! Who reads or polls it asks for its own signals, whoever made it: a descriptor inherited over fork(2) reports the child's.

use crate::executor::wait::WaitId;
use crate::executor::{Listener, PollEvents, WaitQueue};
use crate::task::{Task, ThreadGroup, current};
use crate::user::Sink;
use crate::vfs::{File, FileOps};
use arch::abi::{SigSet, SignalfdSiginfo, Stat};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Passes the news of a process on.
struct Hub(WaitQueue);

impl Listener for Hub {
    fn notify(&self, _: PollEvents) -> bool {
        self.0.notify(PollEvents::READABLE);
        true
    }
}

/// A set of signals to be read.
pub struct SignalFd {
    /// The set; signalfd(2) changes it.
    mask: AtomicU64,
    hub: Arc<Hub>,
    /// Processes whose signals are listened for: all that have used the descriptor.
    groups: Mutex<Vec<(Weak<ThreadGroup>, WaitId)>>,
}

const RECORD: usize = size_of::<SignalfdSiginfo>();

impl SignalFd {
    /// An open set. `flags`: O_NONBLOCK or none.
    pub fn open(mask: SigSet, flags: u32) -> Arc<File> {
        let mask = AtomicU64::new(mask.blockable().0);
        let hub = Arc::new(Hub(WaitQueue::new()));
        File::new(
            Box::new(Self {
                mask,
                hub,
                groups: Mutex::default(),
            }),
            flags | libc::O_RDWR as u32,
        )
    }

    /// Changes the set.
    pub fn set_mask(&self, mask: SigSet) {
        self.mask.store(mask.blockable().0, Ordering::SeqCst);
        self.hub.0.notify(PollEvents::READABLE);
    }

    /// All signals but those of the set, as a mask.
    fn others(&self) -> SigSet {
        !SigSet(self.mask.load(Ordering::SeqCst))
    }

    fn listen(&self, task: &Task) {
        let mut groups = self.groups.lock();
        if groups
            .iter()
            .any(|(group, _)| std::ptr::eq(group.as_ptr(), &raw const *task.group))
        {
            return;
        }
        groups.retain(|(group, _)| group.strong_count() > 0);
        let id = task
            .group
            .signal_events
            .add(PollEvents::all(), false, self.hub.clone());
        groups.push((Arc::downgrade(&task.group), id));
    }
}

impl Drop for SignalFd {
    fn drop(&mut self) {
        for (group, id) in self.groups.get_mut().drain(..) {
            if let Some(group) = group.upgrade() {
                group.signal_events.remove(id);
            }
        }
    }
}

impl FileOps for SignalFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self, _: &File) -> Result<Stat> {
        Ok(super::anon_inode_stat())
    }

    /// As many signals as fit; EAGAIN while none of the set is pending, EINVAL for a buffer too small for one.
    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        let room = dst.remaining() / RECORD;
        if room == 0 {
            return Err(Errno::EINVAL);
        }
        let task = current().ok_or(Errno::EAGAIN)?;
        let mut done = 0;
        for _ in 0..room {
            let Some(info) = task.dequeue(self.others()) else {
                break;
            };
            match dst.write(bytemuck::bytes_of(&info.to_signalfd())) {
                Ok(RECORD) => done += RECORD,
                _ if done > 0 => break,
                _ => return Err(Errno::EFAULT),
            }
        }
        if done == 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(done)
        }
    }

    fn poll(&self, _: &File) -> PollEvents {
        match current() {
            Some(task) if task.has_pending(self.others()) => PollEvents::IN,
            _ => PollEvents::empty(),
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        if let Some(task) = current() {
            self.listen(&task);
        }
        Some(&self.hub.0)
    }

    fn fdinfo(&self, _: &File, out: &mut Vec<u8>) {
        let mask = self.mask.load(Ordering::SeqCst);
        out.extend_from_slice(format!("sigmask:\t{mask:016x}\n").as_bytes());
    }

    fn link_text(&self, _: &File) -> Option<Vec<u8>> {
        Some(b"anon_inode:[signalfd]".to_vec())
    }
}
