//! O_ASYNC: a signal to the owner of a description when it becomes ready (fcntl(2), F_SETOWN, F_SETSIG). SIGURG: one
//! to the owner of a socket when urgent data come, which needs no O_ASYNC.
//!
//! A wait queue notifies under locks; the signal is sent by the reactor, under none.

use crate::executor::wait::WaitId;
use crate::executor::{Listener, PollEvents, TimerId, TimerTarget};
use crate::kernel::Kernel;
use crate::task::{Creds, Cx, Task, ThreadGroup, cap};
use crate::vfs::file::{FileOwner, FileWatcher};
use crate::vfs::{File, FileOps};
use arch::abi::SigInfo;
use arch::signal::Signal;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// The one watcher of this kind that a file has. Others count up from 1.
const KEY: u64 = u64::MAX;
/// The one for SIGURG.
const URGENT_KEY: u64 = u64::MAX - 1;
/// F_OWNER_TID, F_OWNER_PID; the third is a process group.
const OWNER_TID: i32 = 0;
const OWNER_PID: i32 = 1;

/// A description with O_ASYNC, or a socket with an owner.
struct SigIo {
    me: Weak<SigIo>,
    kernel: Weak<Kernel>,
    file: Weak<File>,
    /// What F_SETFL was called on; goes into `si_fd`.
    fd: i32,
    /// Whose right to signal the owner counts.
    creds: Arc<Creds>,
    /// SIGURG for urgent data, rather than SIGIO for readiness.
    urgent: bool,
    /// What has happened since the last signal.
    happened: AtomicU32,
    wait: Mutex<Option<WaitId>>,
}

/// O_ASYNC has been turned on or off. Without effect on files that don't support it, as on Linux.
pub fn update(cx: &Cx, file: &Arc<File>, fd: i32, on: bool) {
    if let Some(old) = file.take_watcher(KEY) {
        old.file_gone(&*file.ops);
    }
    if !on || !supported(file) {
        return;
    }
    let mut interest = PollEvents::empty();
    interest.set(PollEvents::READABLE, file.readable());
    interest.set(PollEvents::WRITABLE, file.writable());
    watch(cx, file, fd, interest, false);
}

/// A socket has got another owner: it hears of urgent data.
pub fn watch_urgent(cx: &Cx, file: &Arc<File>) {
    if let Some(old) = file.take_watcher(URGENT_KEY) {
        old.file_gone(&*file.ops);
    }
    if crate::net::SocketFile::of(file).is_ok() && file.owner.lock().id != 0 {
        watch(cx, file, -1, PollEvents::PRI, true);
    }
}

fn watch(cx: &Cx, file: &Arc<File>, fd: i32, interest: PollEvents, urgent: bool) {
    let Some(queue) = file.ops.wait_queue() else {
        return;
    };

    let sigio = Arc::new_cyclic(|me| SigIo {
        me: me.clone(),
        kernel: Arc::downgrade(cx.kernel()),
        file: Arc::downgrade(file),
        fd,
        creds: cx.task.creds(),
        urgent,
        happened: AtomicU32::new(0),
        wait: Mutex::new(None),
    });
    let id = queue.add(interest, false, sigio.clone());
    *sigio.wait.lock() = Some(id);
    file.add_watcher(if urgent { URGENT_KEY } else { KEY }, sigio);
}

/// Pipes, sockets and terminals; of the event descriptors only inotify.
fn supported(file: &File) -> bool {
    file.ops
        .link_text(file)
        .is_none_or(|text| !text.starts_with(b"anon_inode:["))
}

impl FileWatcher for SigIo {
    fn file_gone(&self, ops: &dyn FileOps) {
        if let (Some(queue), Some(id)) = (ops.wait_queue(), self.wait.lock().take()) {
            queue.remove(id);
        }
    }
}

impl Listener for SigIo {
    fn notify(&self, events: PollEvents) -> bool {
        if self.urgent && !events.contains(PollEvents::PRI) {
            return false;
        }
        if self.happened.fetch_or(events.bits(), Ordering::SeqCst) == 0
            && let (Some(kernel), Some(me)) = (self.kernel.upgrade(), self.me.upgrade())
        {
            kernel.timers.add(crate::host::event::monotonic_ns(), me);
        }
        true
    }
}

impl TimerTarget for SigIo {
    fn expired(&self, _: TimerId) {
        let happened = PollEvents::from_bits_truncate(self.happened.swap(0, Ordering::SeqCst));
        let (Some(kernel), Some(file)) = (self.kernel.upgrade(), self.file.upgrade()) else {
            return;
        };
        let owner = *file.owner.lock();
        if owner.id == 0 {
            return;
        }
        if self.urgent {
            return self.send(&kernel, owner, SigInfo::kernel(Signal::SIGURG));
        }
        let (code, band) = band(happened);
        let info = match Signal::from_raw(owner.signal) {
            Some(signal) => SigInfo::poll(signal, code, band, self.fd),
            None => SigInfo::kernel(Signal::SIGIO),
        };
        self.send(&kernel, owner, info);
    }
}

/// `si_code` and `si_band`: POLL_IN, POLL_OUT, POLL_PRI, POLL_HUP.
fn band(events: PollEvents) -> (i32, i64) {
    let bits = |e: PollEvents| i64::from(e.bits());
    if events.contains(PollEvents::IN) {
        (1, bits(PollEvents::READABLE))
    } else if events.contains(PollEvents::HUP) {
        (6, bits(PollEvents::HUP | PollEvents::ERR))
    } else if events.contains(PollEvents::PRI) {
        (5, bits(PollEvents::PRI | PollEvents::RDBAND))
    } else {
        (2, bits(PollEvents::WRITABLE | PollEvents::WRBAND))
    }
}

impl SigIo {
    /// sigio_perm of the kernel.
    fn may_signal(&self, task: &Task) -> bool {
        let theirs = task.creds();
        self.creds.has_cap(cap::KILL)
            || [self.creds.euid, self.creds.uid]
                .iter()
                .any(|id| *id == theirs.suid || *id == theirs.uid)
    }

    fn send(&self, kernel: &Kernel, owner: FileOwner, info: SigInfo) {
        let to_group = |group: &Arc<ThreadGroup>| {
            if group
                .leader()
                .is_some_and(|leader| self.may_signal(&leader))
            {
                // A full queue loses it, as Linux's falls back to what is pending already.
                let _ = crate::signal::send_to_group(group, info);
            }
        };
        match owner.kind {
            OWNER_TID => {
                let task = kernel.tasks.lock().task(owner.id);
                if let Some(task) = task.filter(|t| self.may_signal(t)) {
                    let _ = crate::signal::send_to_task(&task, info);
                }
            }
            OWNER_PID => {
                let group = kernel.tasks.lock().group(owner.id);
                group.iter().for_each(to_group);
            }
            _ => {
                let members = kernel.tasks.lock().pgrp_members(owner.id);
                members.iter().for_each(to_group);
            }
        }
    }
}
