//! File locks: flock(2), and the record locks of fcntl(2), owned by a process (POSIX) or by an open file description.
//!
//! Nothing here waits: a lock that somebody else's keeps away is EAGAIN, and [`InodeLocks::changed`] tells when it may be worth another
//! try. `WAITING` holds who waits for whom, so that a circle of POSIX locks is seen (EDEADLK).
//!
//! Locks: `InodeLocks::state`, then `WAITING`; both leaves to everything else.

use super::File;
use crate::executor::{PollEvents, WaitQueue};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Locks of one inode at most: what one process could otherwise make without end.
const MAX_LOCKS: usize = 1 << 16;
/// The end of a range that goes to the end of the file.
pub const TO_END: u64 = i64::MAX as u64;

/// Whose a record lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process, by its descriptor table.
    Posix(u64),
    /// An open file description, by its address.
    Ofd(usize),
}

/// A record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub owner: Owner,
    /// The process, as F_GETLK reports it; −1 for a description's.
    pub pid: i32,
    /// Exclusive rather than shared.
    pub write: bool,
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}

impl Range {
    fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner && (self.write || other.write) && self.overlaps(other)
    }
}

/// The locks of one inode.
#[derive(Default)]
pub struct InodeLocks {
    state: Mutex<State>,
    /// Notified when a lock goes or becomes shared.
    pub changed: WaitQueue,
}

#[derive(Default)]
struct State {
    /// flock(2): the description's address, exclusive.
    flocks: Vec<(usize, bool)>,
    /// Record locks, by owner and start.
    ranges: Vec<Range>,
}

/// A POSIX lock that is waited for.
struct Waiting {
    id: u64,
    inode: usize,
    waiter: u64,
    holder: u64,
}

static WAITING: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());

/// The address that stands for a description.
fn address(file: &File) -> usize {
    std::ptr::from_ref(file) as usize
}

/// The owner of OFD locks of `file`.
pub fn ofd_owner(file: &File) -> Owner {
    Owner::Ofd(address(file))
}

impl InodeLocks {
    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// flock(2): `None` unlocks. EAGAIN if another description's lock is in the way; a lock that was to be converted is
    /// gone then, as on Linux.
    pub fn flock(&self, file: &File, exclusive: Option<bool>) -> Result<()> {
        let me = address(file);
        let mut state = self.state.lock();
        let mut freed = false;
        if let Some(at) = state.flocks.iter().position(|l| l.0 == me) {
            if exclusive == Some(state.flocks[at].1) {
                return Ok(());
            }
            state.flocks.swap_remove(at);
            freed = true;
        }
        let result = match exclusive {
            None => Ok(()),
            Some(exclusive) if state.flocks.iter().any(|l| l.1 || exclusive) => Err(Errno::EAGAIN),
            Some(_) if state.flocks.len() >= MAX_LOCKS => Err(Errno::ENOLCK),
            Some(exclusive) => {
                state.flocks.push((me, exclusive));
                file.locked.store(true, Ordering::Release);
                Ok(())
            }
        };
        drop(state);
        if freed {
            self.changed.notify(PollEvents::all());
        }
        result
    }

    /// The lock that keeps `wanted` away, if any (F_GETLK).
    pub fn conflict(&self, wanted: &Range) -> Option<Range> {
        self.state
            .lock()
            .ranges
            .iter()
            .find(|r| r.conflicts(wanted))
            .copied()
    }

    /// Sets a record lock. EAGAIN if another's is in the way; with `wait_id`, it is then known who waits for whom, until
    /// [`stop_waiting`], and a circle is EDEADLK.
    pub fn set(&self, file: &File, wanted: &Range, wait_id: Option<u64>) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(holder) = state.ranges.iter().find(|r| r.conflicts(wanted)) {
            if let (Some(id), Owner::Posix(waiter), Owner::Posix(holder)) =
                (wait_id, wanted.owner, holder.owner)
            {
                self.wait_for(id, waiter, holder)?;
            }
            return Err(Errno::EAGAIN);
        }
        if state.ranges.len() >= MAX_LOCKS {
            return Err(Errno::ENOLCK);
        }
        let weaker = replace(&mut state.ranges, wanted, true);
        file.locked.store(true, Ordering::Release);
        self.freed(wanted.owner, weaker);
        drop(state);
        if weaker {
            self.changed.notify(PollEvents::all());
        }
        Ok(())
    }

    /// Unlocks `start` to `end`.
    pub fn unset(&self, owner: Owner, start: u64, end: u64) -> Result<()> {
        let mut state = self.state.lock();
        // A hole in the middle of a lock makes two of one.
        if state.ranges.len() >= MAX_LOCKS && (start, end) != (0, TO_END) {
            return Err(Errno::ENOLCK);
        }
        let range = Range {
            owner,
            pid: 0,
            write: false,
            start,
            end,
        };
        let freed = replace(&mut state.ranges, &range, false);
        self.freed(owner, freed);
        drop(state);
        if freed {
            self.changed.notify(PollEvents::all());
        }
        Ok(())
    }

    /// Those who waited here for `owner` don't any more: what they wait for is seen at their next try.
    fn freed(&self, owner: Owner, any: bool) {
        if let (true, Owner::Posix(owner)) = (any, owner) {
            let here = self.address();
            WAITING
                .lock()
                .retain(|w| w.inode != here || w.holder != owner);
        }
    }

    /// Notes that `waiter` waits for `holder`: EDEADLK if that closes a circle.
    fn wait_for(&self, id: u64, waiter: u64, holder: u64) -> Result<()> {
        let mut waiting = WAITING.lock();
        waiting.retain(|w| w.id != id);
        let mut seen = vec![holder];
        let mut next = 0;
        while let Some(&at) = seen.get(next) {
            if at == waiter {
                return Err(Errno::EDEADLK);
            }
            for w in waiting.iter().filter(|w| w.waiter == at) {
                if !seen.contains(&w.holder) {
                    seen.push(w.holder);
                }
            }
            next += 1;
        }
        waiting.push(Waiting {
            id,
            inode: self.address(),
            waiter,
            holder,
        });
        Ok(())
    }

    /// All locks, for /proc/locks: flocks as (exclusive), record locks.
    pub fn list(&self) -> (Vec<bool>, Vec<Range>) {
        let state = self.state.lock();
        (
            state.flocks.iter().map(|l| l.1).collect(),
            state.ranges.clone(),
        )
    }
}

/// The wait that was known as `id` is over.
pub fn stop_waiting(id: u64) {
    WAITING.lock().retain(|w| w.id != id);
}

/// Takes what `new.owner` has in `new`'s range out, and puts `new` there if `insert`. Neighbours of one kind become one. Returns whether
/// something was freed or weakened.
fn replace(ranges: &mut Vec<Range>, new: &Range, insert: bool) -> bool {
    let mut freed = false;
    let mut new = *new;
    let mut kept = Vec::with_capacity(ranges.len() + 2);
    for old in ranges.drain(..) {
        if old.owner != new.owner {
            kept.push(old);
            continue;
        }
        let touches =
            old.start <= new.end.saturating_add(1) && new.start <= old.end.saturating_add(1);
        if insert && old.write == new.write && touches {
            new.start = new.start.min(old.start);
            new.end = new.end.max(old.end);
            continue;
        }
        if !old.overlaps(&new) {
            kept.push(old);
            continue;
        }
        freed |= !insert || (old.write && !new.write);
        if old.start < new.start {
            kept.push(Range {
                end: new.start - 1,
                ..old
            });
        }
        if old.end > new.end {
            kept.push(Range {
                start: new.end + 1,
                ..old
            });
        }
    }
    if insert {
        let at = kept.partition_point(|r| r.start <= new.start);
        kept.insert(at, new);
    }
    *ranges = kept;
    freed
}

/// A descriptor of `file` in table `table` is closed: all POSIX locks of the table on the inode go.
pub(super) fn release_posix(file: &Arc<File>, table: u64) {
    let Some(path) = file.path() else { return };
    if let Some(locks) = path.inode().ext().locks_if_any() {
        // Freeing everything never splits, so it never fails.
        let _ = locks.unset(Owner::Posix(table), 0, TO_END);
    }
}

/// The last descriptor of a description is gone: its flock(2) and OFD locks go.
pub(super) fn release_file(file: &File) {
    let Some(path) = file.path() else { return };
    if let Some(locks) = path.inode().ext().locks_if_any() {
        let _ = locks.flock(file, None);
        let _ = locks.unset(ofd_owner(file), 0, TO_END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(owner: u64, write: bool, start: u64, end: u64) -> Range {
        Range {
            owner: Owner::Posix(owner),
            pid: owner as i32,
            write,
            start,
            end,
        }
    }

    fn show(ranges: &[Range]) -> Vec<(u64, u64, bool)> {
        ranges.iter().map(|r| (r.start, r.end, r.write)).collect()
    }

    #[test]
    fn a_range_splits_and_merges() {
        let mut list = Vec::new();
        replace(&mut list, &range(1, true, 0, 99), true);
        replace(&mut list, &range(1, false, 10, 19), true);
        assert_eq!(show(&list), [(0, 9, true), (10, 19, false), (20, 99, true)]);
        replace(&mut list, &range(1, true, 10, 19), true);
        assert_eq!(show(&list), [(0, 99, true)]);
        assert!(replace(&mut list, &range(1, false, 50, TO_END), false));
        assert_eq!(show(&list), [(0, 49, true)]);
        assert!(!replace(&mut list, &range(1, false, 50, TO_END), false));
        replace(&mut list, &range(1, true, 50, 60), true);
        assert_eq!(show(&list), [(0, 60, true)]);
    }

    #[test]
    fn ranges_agree_with_a_bytewise_model() {
        // Owners 1 and 2 on 24 bytes; what replace() keeps is what a table of bytes says.
        let mut list = Vec::new();
        let mut model = [[None::<bool>; 24]; 2];
        let mut seed = 7u64;
        let mut next = |n: u64| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..4000 {
            let owner = next(2);
            let (a, b) = (next(24), next(24));
            let (start, end) = (a.min(b), a.max(b));
            let kind = next(3);
            replace(&mut list, &range(owner, kind == 1, start, end), kind < 2);
            for byte in start..=end {
                model[owner as usize][byte as usize] = (kind < 2).then_some(kind == 1);
            }
            for owner in 0..2u64 {
                for byte in 0..24 {
                    let at: Vec<_> = list
                        .iter()
                        .filter(|r: &&Range| r.owner == Owner::Posix(owner))
                        .filter(|r| r.start <= byte && byte <= r.end)
                        .collect();
                    assert!(at.len() <= 1);
                    assert_eq!(
                        at.first().map(|r| r.write),
                        model[owner as usize][byte as usize]
                    );
                }
            }
        }
    }

    #[test]
    fn conflicts_are_between_owners() {
        assert!(range(1, true, 0, 5).conflicts(&range(2, false, 5, 9)));
        assert!(!range(1, false, 0, 5).conflicts(&range(2, false, 5, 9)));
        assert!(!range(1, true, 0, 5).conflicts(&range(1, true, 5, 9)));
        assert!(!range(1, true, 0, 4).conflicts(&range(2, true, 5, 9)));
    }

    #[test]
    fn a_circle_of_waiters_is_a_deadlock() {
        let (a, b) = (InodeLocks::default(), InodeLocks::default());
        assert_eq!(a.wait_for(1001, 501, 502), Ok(()));
        assert_eq!(b.wait_for(1002, 502, 503), Ok(()));
        assert_eq!(b.wait_for(1003, 503, 501), Err(Errno::EDEADLK));
        // 502 gives up its lock on a: 501 doesn't wait for it any more.
        a.freed(Owner::Posix(502), true);
        assert_eq!(b.wait_for(1003, 503, 501), Ok(()));
        for id in 1001..=1003 {
            stop_waiting(id);
        }
    }
}
