//! inotify(7).

use crate::executor::{PollEvents, WaitQueue};
use crate::task::Cx;
use crate::user::{Sink, UserAddr, UserRef};
use crate::vfs::notify::Watcher;
use crate::vfs::{File, FileOps, Inode, Path};
use arch::abi::{InotifyEvent, Stat};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// fs.inotify.max_queued_events.
const MAX_EVENTS: usize = 16_384;
/// fs.inotify.max_user_instances, for the sandbox.
const MAX_INSTANCES: usize = 128;
/// fs.inotify.max_user_watches, for the sandbox.
const MAX_WATCHES: usize = 1 << 20;
static INSTANCES: AtomicUsize = AtomicUsize::new(0);
static WATCHES: AtomicUsize = AtomicUsize::new(0);

const HEADER: usize = size_of::<InotifyEvent>();

#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl Event {
    /// Length of the name as it is read: with at least one NUL, in units of the header.
    fn name_len(&self) -> usize {
        if self.name.is_empty() {
            0
        } else {
            (self.name.len() + 1).next_multiple_of(HEADER)
        }
    }

    fn len(&self) -> usize {
        HEADER + self.name_len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let header = InotifyEvent {
            wd: self.wd,
            mask: self.mask,
            cookie: self.cookie,
            len: self.name_len() as u32,
        };
        let end = out.len() + self.len();
        out.extend_from_slice(bytemuck::bytes_of(&header));
        out.extend_from_slice(&self.name);
        out.resize(end, 0);
    }

    /// A repetition of `last` tells nothing new. The end of a watch is never one.
    fn repeats(&self, last: &Self) -> bool {
        self.mask & libc::IN_IGNORED == 0
            && (self.wd, self.mask, &self.name) == (last.wd, last.mask, &last.name)
    }
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    bytes: usize,
    last_wd: i32,
    /// What is watched: its place is kept, so that it stays the same inode.
    watches: BTreeMap<i32, Path>,
    /// Places of watches that have ended, to be dropped where no file system lock can be held.
    ended: Vec<Path>,
}

/// What an instance's watches report to. The lock is a leaf.
struct Shared {
    id: u64,
    state: Mutex<State>,
    queue: WaitQueue,
}

/// An inotify instance.
pub struct Inotify {
    shared: Arc<Shared>,
    /// `shared` in the form that inodes know.
    watcher: Arc<dyn Watcher>,
    /// Over adding and removing: one at a time.
    changing: Mutex<()>,
}

impl Shared {
    fn push(&self, event: Event) {
        {
            let mut state = self.state.lock();
            if state.events.back().is_some_and(|last| event.repeats(last)) {
                return;
            }
            let event = match state.events.len() {
                n if n < MAX_EVENTS => event,
                MAX_EVENTS => Event {
                    wd: -1,
                    mask: libc::IN_Q_OVERFLOW,
                    cookie: 0,
                    name: Vec::new(),
                },
                _ => return,
            };
            state.bytes += event.len();
            state.events.push_back(event);
        }
        self.queue.notify(PollEvents::READABLE);
    }

    /// Takes the places of ended watches, to be dropped by the caller.
    fn take_ended(&self) -> Vec<Path> {
        std::mem::take(&mut self.state.lock().ended)
    }
}

impl Watcher for Shared {
    fn event(&self, wd: i32, mask: u32, cookie: u32, name: Option<&[u8]>) {
        if mask & libc::IN_IGNORED != 0 {
            let mut state = self.state.lock();
            if let Some(place) = state.watches.remove(&wd) {
                WATCHES.fetch_sub(1, Ordering::Relaxed);
                state.ended.push(place);
            }
        }
        self.push(Event {
            wd,
            mask,
            cookie,
            name: name.unwrap_or_default().to_vec(),
        });
    }

    fn id(&self) -> u64 {
        self.id
    }
}

impl Inotify {
    /// inotify_init1(2). EMFILE for too many instances. `flags`: O_NONBLOCK or none.
    pub fn open(flags: u32) -> Result<Arc<File>> {
        if INSTANCES.fetch_add(1, Ordering::Relaxed) >= MAX_INSTANCES {
            INSTANCES.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::EMFILE);
        }
        let shared = Arc::new(Shared {
            id: crate::vfs::next_ino(),
            state: Mutex::new(State {
                last_wd: 0,
                ..State::default()
            }),
            queue: WaitQueue::new(),
        });
        let watcher: Arc<dyn Watcher> = shared.clone();
        let ops = Self {
            shared,
            watcher,
            changing: Mutex::new(()),
        };
        Ok(File::new(Box::new(ops), flags | libc::O_RDONLY as u32))
    }

    /// inotify_add_watch(2) of a place that the caller may read. EEXIST (IN_MASK_CREATE), ENOSPC.
    pub fn watch(&self, place: Path, mask: u32) -> Result<i32> {
        let _changing = self.changing.lock();
        drop(self.shared.take_ended());
        let watches = place.inode().ext().watches();
        let kept = mask & (libc::IN_ALL_EVENTS | libc::IN_ONESHOT | libc::IN_EXCL_UNLINK)
            | libc::IN_UNMOUNT
            | libc::IN_IGNORED;
        if let Some((wd, old)) = watches.find(self.shared.id) {
            if mask & libc::IN_MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            let new = if mask & libc::IN_MASK_ADD != 0 {
                old | kept
            } else {
                kept
            };
            watches.add(&self.watcher, wd, new);
            return Ok(wd);
        }
        if WATCHES.fetch_add(1, Ordering::Relaxed) >= MAX_WATCHES {
            WATCHES.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        let wd = {
            let mut state = self.shared.state.lock();
            // Numbers go round: the next that no live watch has.
            let mut wd = state.last_wd;
            loop {
                wd = if wd == i32::MAX { 1 } else { wd + 1 };
                if !state.watches.contains_key(&wd) {
                    break;
                }
            }
            state.last_wd = wd;
            state.watches.insert(wd, place.clone());
            wd
        };
        place.inode().ext().watches().add(&self.watcher, wd, kept);
        Ok(wd)
    }

    /// inotify_rm_watch(2): EINVAL for a descriptor that is none. The watch's last event says so.
    pub fn unwatch(&self, wd: i32) -> Result<()> {
        let _changing = self.changing.lock();
        drop(self.shared.take_ended());
        let place = self
            .shared
            .state
            .lock()
            .watches
            .remove(&wd)
            .ok_or(Errno::EINVAL)?;
        WATCHES.fetch_sub(1, Ordering::Relaxed);
        remove_from(place.inode().as_ref(), self.shared.id);
        self.shared.push(Event {
            wd,
            mask: libc::IN_IGNORED,
            cookie: 0,
            name: Vec::new(),
        });
        Ok(())
    }
}

fn remove_from(inode: &dyn Inode, id: u64) {
    if let Some(watches) = inode.ext().watches_if_any() {
        watches.remove(id);
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        INSTANCES.fetch_sub(1, Ordering::Relaxed);
        let watches = std::mem::take(&mut self.shared.state.lock().watches);
        WATCHES.fetch_sub(watches.len(), Ordering::Relaxed);
        for place in watches.values() {
            remove_from(place.inode().as_ref(), self.shared.id);
        }
        drop(self.shared.take_ended());
    }
}

impl FileOps for Inotify {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self, _: &File) -> Result<Stat> {
        Ok(super::anon_inode_stat())
    }

    /// As many whole events as fit; EAGAIN while there is none, EINVAL for a buffer too small for the first.
    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        drop(self.shared.take_ended());
        let mut bytes = Vec::new();
        {
            let mut state = self.shared.state.lock();
            let room = dst.remaining();
            match state.events.front() {
                None => return Err(Errno::EAGAIN),
                Some(first) if first.len() > room => return Err(Errno::EINVAL),
                Some(_) => {}
            }
            while state
                .events
                .front()
                .is_some_and(|e| bytes.len() + e.len() <= room)
            {
                if let Some(event) = state.events.pop_front() {
                    state.bytes -= event.len();
                    event.encode(&mut bytes);
                }
            }
        }
        let n = dst.write(&bytes)?;
        if n == bytes.len() {
            Ok(n)
        } else {
            Err(Errno::EFAULT)
        }
    }

    fn poll(&self, _: &File) -> PollEvents {
        if self.shared.state.lock().events.is_empty() {
            PollEvents::empty()
        } else {
            PollEvents::READABLE
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.queue)
    }

    fn ioctl(&self, cx: &Cx, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        if u64::from(cmd) != libc::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = self.shared.state.lock().bytes;
        cx.write_obj(
            UserRef::new(UserAddr(arg)),
            &i32::try_from(bytes).unwrap_or(i32::MAX),
        )?;
        Ok(0)
    }

    fn fdinfo(&self, _: &File, out: &mut Vec<u8>) {
        let watches: Vec<_> = self
            .shared
            .state
            .lock()
            .watches
            .iter()
            .map(|(w, p)| (*w, p.clone()))
            .collect();
        for (wd, place) in watches {
            let Ok(attr) = place.inode().attr() else {
                continue;
            };
            let stat = attr.to_stat();
            let mask = place
                .inode()
                .ext()
                .watches()
                .find(self.shared.id)
                .map_or(0, |w| w.1)
                & libc::IN_ALL_EVENTS;
            let text = format!(
                "inotify wd:{wd:x} ino:{:x} sdev:{:x} mask:{mask:x} ignored_mask:0 \n",
                stat.ino, stat.dev
            );
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn link_text(&self, _: &File) -> Option<Vec<u8>> {
        Some(b"anon_inode:inotify".to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::VecSink;

    fn read(file: &File, n: usize) -> Result<Vec<u8>> {
        let mut sink = VecSink::new(n);
        file.ops.read(file, 0, &mut sink)?;
        Ok(sink.data)
    }

    fn parts(mut bytes: &[u8]) -> Vec<(i32, u32, Vec<u8>)> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let header: InotifyEvent = bytemuck::pod_read_unaligned(&bytes[..HEADER]);
            let end = HEADER + header.len as usize;
            let name = bytes[HEADER..end]
                .split(|b| *b == 0)
                .next()
                .unwrap_or_default();
            out.push((header.wd, header.mask, name.to_vec()));
            bytes = &bytes[end..];
        }
        out
    }

    #[test]
    fn events_are_read_whole_and_repetitions_once() {
        let file = Inotify::open(0).unwrap();
        let shared = &file.downcast::<Inotify>().unwrap().shared;
        assert_eq!(read(&file, 100), Err(Errno::EAGAIN));
        shared.event(1, libc::IN_CREATE, 0, Some(b"name"));
        shared.event(1, libc::IN_MODIFY, 0, Some(b"name"));
        shared.event(1, libc::IN_MODIFY, 0, Some(b"name"));
        shared.event(1, libc::IN_MODIFY, 0, None);
        assert_eq!(read(&file, 31), Err(Errno::EINVAL));
        let first = read(&file, 50).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(parts(&first), [(1, libc::IN_CREATE, b"name".to_vec())]);
        let rest = parts(&read(&file, 1000).unwrap());
        assert_eq!(
            rest,
            [
                (1, libc::IN_MODIFY, b"name".to_vec()),
                (1, libc::IN_MODIFY, Vec::new())
            ]
        );
    }

    #[test]
    fn a_full_queue_says_so_once() {
        let file = Inotify::open(0).unwrap();
        let shared = &file.downcast::<Inotify>().unwrap().shared;
        for n in 0..MAX_EVENTS as u32 + 10 {
            shared.event(1, libc::IN_OPEN, n, Some(n.to_string().as_bytes()));
        }
        let all = parts(&read(&file, 10 << 20).unwrap());
        assert_eq!(all.len(), MAX_EVENTS + 1);
        assert_eq!(all.last().unwrap(), &(-1, libc::IN_Q_OVERFLOW, Vec::new()));
    }
}
