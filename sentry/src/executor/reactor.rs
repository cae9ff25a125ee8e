//! The reactor: one thread in `epoll_wait` for host descriptors, timers and dead stubs.

use super::wait::{Listener, PollEvents};
use crate::host::event::Epoll;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Host descriptors that somebody waits for. The lock is a leaf.
pub struct Reactor {
    epoll: Epoll,
    watches: Mutex<Watches>,
}

/// The next key, and the listeners by key.
type Watches = (u64, HashMap<u64, Arc<dyn Listener>>);

/// A host descriptor's stay in the reactor; dropping it ends it.
pub struct HostWatch {
    reactor: Arc<Reactor>,
    fd: Arc<OwnedFd>,
    key: u64,
}

impl Reactor {
    /// A reactor that watches nothing.
    pub fn new() -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            epoll: Epoll::new()?,
            watches: Mutex::new((1, HashMap::new())),
        }))
    }

    /// Has `listener` called, from the reactor's thread, at every change of readiness of `fd` (edge triggered).
    /// Fails with EPERM for descriptors that poll doesn't apply to, such as regular files.
    pub fn watch(
        self: &Arc<Self>,
        fd: Arc<OwnedFd>,
        listener: Arc<dyn Listener>,
    ) -> std::io::Result<HostWatch> {
        let key = {
            let mut watches = self.watches.lock();
            let key = watches.0;
            watches.0 += 1;
            watches.1.insert(key, listener);
            key
        };
        if let Err(e) = self.epoll.add(fd.as_fd(), key) {
            self.watches.lock().1.remove(&key);
            return Err(e);
        }
        Ok(HostWatch {
            reactor: Arc::clone(self),
            fd,
            key,
        })
    }

    /// Waits for events and calls the listeners. One round; returns early on a host signal.
    pub fn turn(&self, run: impl Fn(&mut dyn FnMut())) {
        let events = self.epoll.wait();
        run(&mut || {
            for &(key, bits) in &events {
                let listener = self.watches.lock().1.get(&key).cloned();
                if let Some(listener) = listener {
                    listener.notify(PollEvents::from_bits_truncate(bits));
                }
            }
        });
    }
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        self.reactor.epoll.remove(self.fd.as_fd());
        self.reactor.watches.lock().1.remove(&self.key);
    }
}
