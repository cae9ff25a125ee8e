//! Files on their way through sockets (SCM_RIGHTS): how many a user may have there, and those that nobody can ever receive.
//!
//! A socket sent into a queue that only that very socket leads to is unreachable, and keeps itself alive. [`collect`] finds such: sockets
//! whose every reference is a message in a queue, and whose queue's owner is one of them, all the way round.
//!
//! # Locks
//! `TABLE`, then a socket's queue.

use super::UnixSocket;
use super::queue::Message;
use crate::event::timerfd::HasTimers;
use crate::executor::{TimerId, TimerTarget};
use crate::net::socket::SocketFile;
use crate::vfs::File;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

/// A Unix socket's file that is in at least one message.
struct Entry {
    file: Weak<File>,
    /// How many references messages hold.
    count: usize,
}

#[derive(Default)]
struct Table {
    /// Files in flight by the user who sent them.
    users: HashMap<u32, usize>,
    /// Unix sockets in flight, by the address of their description.
    sockets: HashMap<usize, Entry>,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
/// Length of `Table::sockets`, to see without the lock that there are none.
static SOCKETS: AtomicUsize = AtomicUsize::new(0);

fn key(file: &Arc<File>) -> usize {
    Arc::as_ptr(file).addr()
}

fn unix(file: &File) -> Option<&UnixSocket> {
    SocketFile::of(file).ok()?.as_any().downcast_ref()
}

/// The files of one message. Counted while it lives.
pub struct InFlight {
    files: Vec<Arc<File>>,
    uid: u32,
}

impl InFlight {
    /// Sends `files`. ETOOMANYREFS when the user has more than `limit` (RLIMIT_NOFILE) in flight.
    pub fn new(files: Vec<Arc<File>>, uid: u32, limit: u64) -> Result<Self> {
        let mut table = TABLE.lock();
        let mine = table.users.entry(uid).or_default();
        if *mine as u64 > limit {
            return Err(Errno::ETOOMANYREFS);
        }
        *mine += files.len();
        for file in files.iter().filter(|f| unix(f).is_some()) {
            let entry = table.sockets.entry(key(file)).or_insert_with(|| Entry {
                file: Arc::downgrade(file),
                count: 0,
            });
            entry.count += 1;
        }
        SOCKETS.store(table.sockets.len(), Ordering::SeqCst);
        Ok(Self { files, uid })
    }

    /// The files, left in flight (MSG_PEEK).
    pub fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    /// The files, received.
    pub fn take(mut self) -> Vec<Arc<File>> {
        self.land()
    }

    fn land(&mut self) -> Vec<Arc<File>> {
        let files = std::mem::take(&mut self.files);
        if files.is_empty() {
            return files;
        }
        let mut table = TABLE.lock();
        if let Some(mine) = table.users.get_mut(&self.uid) {
            *mine -= files.len();
            if *mine == 0 {
                table.users.remove(&self.uid);
            }
        }
        for file in &files {
            let key = key(file);
            if let Some(entry) = table.sockets.get_mut(&key) {
                entry.count -= 1;
                if entry.count == 0 {
                    table.sockets.remove(&key);
                }
            }
        }
        SOCKETS.store(table.sockets.len(), Ordering::SeqCst);
        files
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // The files go after the lock.
        let files = self.land();
        drop(files);
    }
}

/// Calls `f` for the Unix sockets whose descriptions the queue of `socket` holds.
fn for_each_held(socket: &UnixSocket, f: &mut dyn FnMut(usize)) {
    let mut rx = socket.rx.lock();
    for message in rx.messages() {
        for file in message.rights.iter().flat_map(|r| r.files()) {
            f(key(file));
        }
    }
    let pending: Vec<_> = rx.pending.iter().cloned().collect();
    drop(rx);
    for connection in pending {
        for_each_held(&connection, f);
    }
}

fn take_messages(socket: &UnixSocket, out: &mut Vec<Message>) {
    let mut rx = socket.rx.lock();
    out.extend(rx.clear());
    let pending: Vec<_> = rx.pending.iter().cloned().collect();
    drop(rx);
    for connection in pending {
        take_messages(&connection, out);
    }
}

/// Finds the sockets that nobody can reach any more, and empties their queues. Returns how many there were.
pub fn collect() -> usize {
    let mut garbage = Vec::new();
    let mut found = 0;
    // Not to be dropped before the lock is gone.
    let mut held_files = Vec::new();
    {
        let table = TABLE.lock();
        // All references are messages' (this takes none of its own yet).
        let candidates: HashSet<usize> = table
            .sockets
            .iter()
            .filter(|(_, e)| e.file.strong_count() == e.count)
            .map(|(k, _)| *k)
            .collect();
        let mut files: HashMap<usize, Arc<File>> = HashMap::new();
        for key in &candidates {
            if let Some(file) = table.sockets.get(key).and_then(|e| e.file.upgrade()) {
                files.insert(*key, file);
            }
        }
        // References from one candidate's queue to another.
        let mut inner: HashMap<usize, usize> = HashMap::new();
        let mut edges: HashMap<usize, Vec<usize>> = HashMap::new();
        for (key, file) in &files {
            let Some(socket) = unix(file) else { continue };
            for_each_held(socket, &mut |held| {
                if candidates.contains(&held) {
                    *inner.entry(held).or_default() += 1;
                    edges.entry(*key).or_default().push(held);
                }
            });
        }
        // Those that a reachable queue holds too, and what their queues lead to, stay.
        let mut live: HashSet<usize> = HashSet::new();
        let mut todo: Vec<usize> = candidates
            .iter()
            .filter(|k| {
                inner.get(k).copied().unwrap_or(0) < table.sockets.get(k).map_or(0, |e| e.count)
            })
            .copied()
            .collect();
        while let Some(key) = todo.pop() {
            if live.insert(key) {
                todo.extend(edges.get(&key).into_iter().flatten());
            }
        }
        for (key, file) in &files {
            if !live.contains(key)
                && let Some(socket) = unix(file)
            {
                take_messages(socket, &mut garbage);
                found += 1;
            }
        }
        held_files.extend(files.into_values());
    }
    super::queue::dispose(garbage);
    drop(held_files);
    found
}

/// Nanoseconds between the close that may have made sockets unreachable and the search for them.
const DELAY: u64 = 10_000_000;

struct Collector;

static SCHEDULED: AtomicBool = AtomicBool::new(false);

impl TimerTarget for Collector {
    fn expired(&self, _: TimerId) {
        SCHEDULED.store(false, Ordering::SeqCst);
        collect();
    }
}

/// Has [`collect`] called soon if any socket is in flight.
pub fn collect_soon(owner: Option<&Weak<dyn HasTimers>>) {
    if SOCKETS.load(Ordering::SeqCst) == 0 || SCHEDULED.swap(true, Ordering::SeqCst) {
        return;
    }
    match owner.and_then(Weak::upgrade) {
        Some(owner) => {
            let at = crate::host::event::monotonic_ns().saturating_add(DELAY);
            owner.timers().add(at, Arc::new(Collector));
        }
        None => SCHEDULED.store(false, Ordering::SeqCst),
    }
}
