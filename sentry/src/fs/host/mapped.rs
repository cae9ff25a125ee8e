//! Reading a file that is read over and over: from a mapping of its pages in the host's cache, without a host call.
//!
//! Only in trees that the sandbox has for itself, where its size is known without asking ([`Sharing::Exclusive`]). The host's
//! own read does things that this one doesn't, so it is left to the host where it matters:
//! - time of last access: as long as it is due to be moved;
//! - holes: a read through a mapping may have the host fill them;
//! - an overlay of the host's goes on showing the lower file in a mapping when the file gets an upper one: all mappings are
//!   given up when the file is opened for writing, and when it changes without us.

use super::Sharing;
use super::inode::HostInode;
use crate::host::map::Mapping;
use crate::vfs::Inode;
use parking_lot::Mutex;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The largest file that is mapped.
const MAX_SIZE: u64 = 2 << 20;
/// How many times its size has to be read first: mapping a page costs as much as two or three reads of it.
const TIMES: u64 = 4;

/// The mapping of an open file.
#[derive(Default)]
pub struct Mapped {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// That of the inode to which the rest belongs.
    generation: u64,
    map: Option<Arc<Mapping>>,
    /// Bytes read by host calls.
    read: u64,
}

impl Mapped {
    /// The mapping to read from, and the size of the file, for a read of `want` bytes at `offset`. `None`: the host is to
    /// read.
    pub fn get(&self, inode: &HostInode, offset: u64, want: usize) -> Option<(Arc<Mapping>, u64)> {
        if inode.shared().sharing != Sharing::Exclusive {
            return None;
        }
        let generation = inode.generation();
        let mut state = self.state.lock();
        if state.generation != generation {
            let old = std::mem::take(&mut *state);
            state.generation = generation;
            drop(state);
            drop(old);
            return None;
        }
        let map = match &state.map {
            Some(map) => {
                let map = Arc::clone(map);
                drop(state);
                map
            }
            None => {
                // What a reader has room for, and its look behind the end, are no reads of anything.
                let size = inode.last_size();
                let brings = size.saturating_sub(offset).min(want as u64);
                state.read = state.read.saturating_add(brings);
                if size == 0 || size > MAX_SIZE || state.read / TIMES < size {
                    return None;
                }
                state.read = 0;
                drop(state);
                self.make(inode, generation)?
            }
        };
        let attr = inode.attr().ok()?;
        // Asking may have shown a change.
        let good = inode.generation() == generation
            && attr.size <= map.len() as u64
            && !inode.moves_atime(&attr);
        good.then_some((map, attr.size))
    }

    fn make(&self, inode: &HostInode, generation: u64) -> Option<Arc<Mapping>> {
        let attr = inode.attr().ok()?;
        let whole = attr.blocks.saturating_mul(512) >= attr.size;
        if !whole || attr.size == 0 || attr.size > MAX_SIZE {
            return None;
        }
        // A fresh open: an older one may be of the lower file of a host's overlay.
        let fd = inode.open_fresh(libc::O_RDONLY).ok()?;
        let map = Arc::new(Mapping::new(fd.as_fd(), usize::try_from(attr.size).ok()?).ok()?);
        let mut state = self.state.lock();
        if state.generation != generation || inode.generation() != generation {
            return None;
        }
        let old = state.map.replace(Arc::clone(&map));
        drop(state);
        drop(old);
        Some(map)
    }
}
