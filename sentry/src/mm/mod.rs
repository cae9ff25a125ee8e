//! Address spaces: the map of what is where; the host does the paging.

use crate::task::Cx;
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use systrap::{AddressSpace, Thread};

/// An address space.
pub struct Mm {
    /// The host process that holds it.
    pub space: Arc<AddressSpace>,
    /// Threads in it.
    users: AtomicUsize,
}

impl Mm {
    /// Whether the map says that all of the range can be written.
    pub fn writable(&self, _addr: u64, _len: usize) -> bool {
        false
    }

    /// One more thread (clone with CLONE_VM).
    pub fn enter(&self) {
        self.users.fetch_add(1, Ordering::SeqCst);
    }

    /// One thread fewer, by exit or execve; true for the last.
    pub fn leave(&self) -> bool {
        self.users.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Threads in it, of whatever process.
    pub fn users(&self) -> usize {
        self.users.load(Ordering::SeqCst)
    }

    /// The copy for fork(2), in `space`; what the child has to do first goes on `thread`'s list.
    pub fn fork(&self, space: Arc<AddressSpace>, thread: &mut Thread) -> Result<Arc<Self>> {
        let _ = thread;
        Ok(Arc::new(Self {
            space,
            users: AtomicUsize::new(1),
        }))
    }

    /// Action `index` of the last resume failed on the host: undoes its part of the map. The errno for the application.
    pub fn action_failed(&self, _cx: &Cx, _index: usize, errno: Errno) -> Errno {
        errno
    }
}
