//! The copy window of a slot.
//!
//! From its start lie what the stub prefetched, behind that what the Sentry
//! adds for the next resume: the action list and queued output.

use std::sync::atomic::{AtomicPtr, Ordering};

use crate::proto::*;
use crate::thread::Thread;

/// Where mincore results go: the window's middle (nothing else is there when
/// the Sentry asks for them by `perform`).
pub(crate) const MINCORE_OFF: u64 = S_WINDOW + 0x8000;
/// Pages of one mincore.
pub(crate) const MINCORE_MAX: u64 = 0x4000;

/// What [`Window::reserve_half`] gives at most.
pub const HALF: usize = 32 << 10;
const _: () = assert!((2 * HALF as u64) < WINDOW_LEN);

/// A prefetched or queued piece: `[addr, addr + len)` is at `off` in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub addr: u64,
    pub len: u32,
    pub off: u32,
}

/// Private state of the window; nothing of it is read back from the slot.
#[derive(Default)]
pub(crate) struct Pieces {
    /// Copied from the slot once per event, checked to be inside the window.
    pub prefetched: Vec<Piece>,
    /// Output for the next resume.
    pub queued: Vec<Piece>,
    /// Window offset behind everything used.
    pub used: u64,
}

impl Pieces {
    pub fn clear(&mut self) {
        self.prefetched.clear();
        self.queued.clear();
        self.used = 0;
    }

    /// Takes the stub's list; false if it is nonsense.
    pub fn take(&mut self, pieces: impl Iterator<Item = Piece>) -> bool {
        self.clear();
        for p in pieces {
            let end = u64::from(p.off) + u64::from(p.len);
            let inside = u64::from(p.off) >= S_WINDOW && end <= S_WINDOW + WINDOW_LEN;
            if !inside || p.addr.checked_add(p.len.into()).is_none() {
                return false;
            }
            self.used = self.used.max(end - S_WINDOW);
            self.prefetched.push(p);
        }
        true
    }

    /// Room of `len` bytes, 8-byte aligned; its offset in the slot.
    pub fn allocate(&mut self, len: u64) -> Option<u64> {
        let at = self.used.next_multiple_of(8);
        if len > WINDOW_LEN || at > WINDOW_LEN - len {
            return None;
        }
        self.used = at + len;
        Some(S_WINDOW + at)
    }

    fn find(&self, addr: u64) -> Option<(u64, u64)> {
        self.prefetched.iter().find_map(|p| {
            let skip = addr.checked_sub(p.addr)?;
            let left = u64::from(p.len).checked_sub(skip)?;
            (left > 0).then_some((u64::from(p.off) + skip, left))
        })
    }
}

/// View of a trapped thread's copy window.
pub struct Window<'a> {
    pub(crate) thread: &'a mut Thread,
}

/// Room for output that a host call will produce; see [`Window::reserve`].
#[derive(Debug)]
pub struct Reserved {
    addr: u64,
    off: u64,
    len: usize,
    /// Atomic only to be Send.
    ptr: AtomicPtr<u8>,
}

impl Reserved {
    /// Where to let the host call write (at most the reserved length), valid
    /// until the thread is resumed or dropped. The memory is shared with the
    /// stub: raw pointer only, never a reference.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.ptr.load(Ordering::Relaxed)
    }

    /// Bytes that may be written.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is left behind the first `skip` bytes.
    pub fn behind(&self, skip: usize) -> Self {
        let skip = skip.min(self.len);
        Self {
            addr: self.addr + skip as u64,
            off: self.off + skip as u64,
            len: self.len - skip,
            ptr: AtomicPtr::new(self.as_mut_ptr().wrapping_add(skip)),
        }
    }
}

/// Input that the stub has prefetched, for a host call to read; see [`Window::prefetched_for_host`].
#[derive(Debug)]
pub struct Prefetched {
    len: usize,
    /// Atomic only to be Send.
    ptr: AtomicPtr<u8>,
}

impl Prefetched {
    /// Where a host call may read (`len` bytes), valid until the thread is
    /// resumed or dropped. Shared with the stub, which may change it at any
    /// time: raw pointer only, never a reference.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr.load(Ordering::Relaxed)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Window<'_> {
    /// The stub's prefetched copy of `[addr, addr + len)` for a host call to
    /// take as it is. For bytes that the Sentry does not look at.
    pub fn prefetched_for_host(&self, addr: u64, len: usize) -> Option<Prefetched> {
        let (off, left) = self.thread.pieces.find(addr)?;
        let ptr = (left >= len as u64).then(|| self.thread.slot_ptr(off, len))?;
        Some(Prefetched {
            len,
            ptr: AtomicPtr::new(ptr),
        })
    }

    /// Fills `buf` from the stub's prefetched copy of `[addr, addr + len)`;
    /// false if it isn't there in whole. Each call copies anew: copy once,
    /// then use the copy.
    pub fn prefetched(&self, addr: u64, buf: &mut [u8]) -> bool {
        match self.thread.pieces.find(addr) {
            Some((off, left)) if left >= buf.len() as u64 => {
                self.thread.slot_copy_from(off, buf);
                true
            }
            _ => false,
        }
    }

    /// A prefetched NUL-terminated string at `addr` of at most `max` bytes
    /// without its NUL; None if it isn't there in whole.
    pub fn prefetched_cstr(&self, addr: u64, max: usize) -> Option<Vec<u8>> {
        let (off, left) = self.thread.pieces.find(addr)?;
        let len = usize::try_from(left).ok()?.min(max.saturating_add(1));
        let mut bytes = vec![0; len];
        self.thread.slot_copy_from(off, &mut bytes);
        let nul = bytes.iter().position(|b| *b == 0)?;
        bytes.truncate(nul);
        Some(bytes)
    }

    /// Queues output that the stub copies to `addr` before it resumes; false
    /// if it doesn't fit.
    pub fn queue_write(&mut self, addr: u64, data: &[u8]) -> bool {
        let Some(off) = self.room(data.len()) else {
            return false;
        };
        self.thread.slot_copy_to(off, data);
        self.queue(addr, off, data.len());
        true
    }

    /// Room of `len` bytes for output to `addr` that a host call will write.
    /// `commit` queues what it wrote.
    pub fn reserve(&mut self, addr: u64, len: usize) -> Option<Reserved> {
        let off = self.room(len)?;
        let ptr = AtomicPtr::new(self.thread.slot_ptr(off, len));
        Some(Reserved {
            addr,
            off,
            len,
            ptr,
        })
    }

    /// Queues the first `len` bytes of a reservation.
    pub fn commit(&mut self, r: Reserved, len: usize) {
        self.queue(r.addr, r.off, len.min(r.len));
    }

    /// Room of `len` bytes (at most [`HALF`]) in the first or `second` half of the window, whatever input lies there:
    /// for output that goes piece by piece, one half being stored while the other is filled. Valid over a
    /// [`Thread::perform`] that stores the other half.
    pub fn reserve_half(&mut self, addr: u64, len: usize, second: bool) -> Option<Reserved> {
        let off = S_WINDOW + if second { HALF as u64 } else { 0 };
        let taken = |p: &Piece| {
            let at = u64::from(p.off);
            at < off + HALF as u64 && at + u64::from(p.len) > off
        };
        if len > HALF || self.thread.pieces.queued.iter().any(taken) {
            return None;
        }
        self.thread.pieces.prefetched.clear();
        Some(Reserved {
            addr,
            off,
            len,
            ptr: AtomicPtr::new(self.thread.slot_ptr(off, len)),
        })
    }

    /// Queues the first `len` bytes of such a half.
    pub fn commit_half(&mut self, r: Reserved, len: usize) {
        // What comes beside it must touch neither.
        self.thread.pieces.used = 2 * HALF as u64;
        self.commit(r, len);
    }

    fn room(&mut self, len: usize) -> Option<u64> {
        if self.thread.pieces.queued.len() as u64 >= WB_MAX {
            return None;
        }
        // The actions that are there already go into the window too.
        let actions = self.thread.pending.list.len() as u64 * ACTION;
        let pieces = &mut self.thread.pieces;
        let used = pieces.used;
        let at = pieces.allocate(len as u64)?;
        if pieces.used.next_multiple_of(8) + actions > WINDOW_LEN {
            pieces.used = used;
            return None;
        }
        Some(at)
    }

    fn queue(&mut self, addr: u64, off: u64, len: usize) {
        if len != 0 {
            let piece = Piece {
                addr,
                len: len as u32,
                off: off as u32,
            };
            self.thread.pieces.queued.push(piece);
        }
    }

    /// Whether queued output overlaps the range (a read of it must flush
    /// first).
    pub fn pending_overlaps(&self, addr: u64, len: usize) -> bool {
        let end = addr.saturating_add(len as u64);
        let hit = |p: &Piece| p.addr < end && addr < p.addr.saturating_add(p.len.into());
        self.thread.pieces.queued.iter().any(hit)
    }

    /// Writes queued output now, by `process_vm_writev`. False if some of it
    /// faulted.
    pub fn flush(&mut self) -> bool {
        let queued = std::mem::take(&mut self.thread.pieces.queued);
        let mut ok = true;
        for p in queued {
            let len = p.len as usize;
            ok &= self.thread.write_from_slot(p.addr, p.off.into(), len);
        }
        ok
    }

    /// Forgets queued output (a call that was undone).
    pub fn discard(&mut self) {
        self.thread.pieces.queued.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(addr: u64, off: u32, len: u32) -> Piece {
        Piece { addr, len, off }
    }

    #[test]
    fn nonsense_from_the_stub_is_refused() {
        let w = S_WINDOW as u32;
        let take = |p: Piece| Pieces::default().take([p].into_iter());
        assert!(take(piece(1, w, 16)));
        assert!(take(piece(1, w, WINDOW_LEN as u32)));
        assert!(!take(piece(1, w - 1, 16)));
        assert!(!take(piece(1, w, WINDOW_LEN as u32 + 1)));
        assert!(!take(piece(1, u32::MAX, u32::MAX)));
        assert!(!take(piece(u64::MAX - 3, w, 16)));
    }

    #[test]
    fn finds_ranges_inside_one_piece() {
        let mut p = Pieces::default();
        assert!(p.take([piece(0x1000, S_WINDOW as u32, 8)].into_iter()));
        assert_eq!(p.find(0x1000), Some((S_WINDOW, 8)));
        assert_eq!(p.find(0x1007), Some((S_WINDOW + 7, 1)));
        assert_eq!(p.find(0x1008), None);
        assert_eq!(p.find(0xfff), None);
    }

    #[test]
    fn allocates_behind_the_prefetched() {
        let mut p = Pieces::default();
        assert!(p.take([piece(0x1000, S_WINDOW as u32, 9)].into_iter()));
        assert_eq!(p.allocate(8), Some(S_WINDOW + 16));
        assert_eq!(p.allocate(WINDOW_LEN), None);
        assert_eq!(p.allocate(WINDOW_LEN - 24), Some(S_WINDOW + 24));
        assert_eq!(p.allocate(1), None);
        assert_eq!(p.allocate(u64::MAX), None);
    }
}
