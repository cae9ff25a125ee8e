//! Instances that watch instances: no cycles (ELOOP), no more than five deep, and a bounded number of ways that a notification can take
//! (Linux's `reverse_path_check`: EINVAL).

use super::{Epoll, Set};
use arch::{Errno, Result};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// EP_MAX_NESTS: an instance watches instances that watch instances, four times over.
const MAX_DEPTH: usize = 4;
/// Ways from a file up through 2, 3, 4 and 5 instances.
const PATH_LIMITS: [usize; 4] = [500, 100, 50, 10];

/// Guards `Set::parents` of all instances, and so who watches whom.
static NESTING: Mutex<()> = Mutex::new(());

/// Takes the lock.
pub(super) fn lock() -> MutexGuard<'static, ()> {
    NESTING.lock()
}

/// Instances that `set` watches.
fn children(set: &Set) -> Vec<Arc<Set>> {
    let files: Vec<_> = set
        .items
        .lock()
        .values()
        .filter_map(|item| item.file())
        .collect();
    files
        .iter()
        .filter_map(|file| file.downcast::<Epoll>().map(|epoll| Arc::clone(&epoll.set)))
        .collect()
}

fn parents(set: &Set) -> Vec<Arc<Set>> {
    set.parents
        .lock()
        .iter()
        .filter_map(std::sync::Weak::upgrade)
        .collect()
}

/// How many instances the longest chain downwards from `set` has below it; ELOOP when `target` is among them or it is too long.
fn depth_below(set: &Arc<Set>, target: &Arc<Set>, level: usize) -> Result<usize> {
    if Arc::ptr_eq(set, target) || level > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let mut depth = 0;
    for child in children(set) {
        depth = depth.max(1 + depth_below(&child, target, level + 1)?);
    }
    Ok(depth)
}

fn depth_above(set: &Arc<Set>, level: usize) -> Result<usize> {
    if level > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let mut depth = 0;
    for parent in parents(set) {
        depth = depth.max(1 + depth_above(&parent, level + 1)?);
    }
    Ok(depth)
}

/// Counts the ways up from `set`, which is `level` instances above a file.
fn count_paths(set: &Arc<Set>, level: usize, counts: &mut [usize; 4]) -> Result<()> {
    for parent in parents(set) {
        let count = counts.get_mut(level).ok_or(Errno::EINVAL)?;
        *count += 1;
        if *count > PATH_LIMITS[level] {
            return Err(Errno::EINVAL);
        }
        count_paths(&parent, level + 1, counts)?;
    }
    Ok(())
}

/// EINVAL when a file that `set` is about to watch could be reported in too many ways.
pub(super) fn check_paths(set: &Arc<Set>) -> Result<()> {
    if set.parents.lock().is_empty() {
        return Ok(());
    }
    let _nesting = lock();
    count_paths(set, 0, &mut [0; 4])
}

fn check_subtree(set: &Arc<Set>) -> Result<()> {
    count_paths(set, 0, &mut [0; 4])?;
    children(set).iter().try_for_each(check_subtree)
}

/// Records that `outer` is about to watch `inner`. Returns the lock, to be held until it does.
pub(super) fn link(outer: &Arc<Set>, inner: &Arc<Set>) -> Result<MutexGuard<'static, ()>> {
    let nesting = lock();
    let below = depth_below(inner, outer, 1)?;
    let above = depth_above(outer, 1)?;
    if below + above + 1 > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    inner.parents.lock().push(outer.me.clone());
    if let Err(e) = check_subtree(inner) {
        unlink(outer, inner);
        return Err(e);
    }
    Ok(nesting)
}

/// Takes one record of `link` back, and those of instances that are gone. With the lock held.
pub(super) fn unlink(outer: &Arc<Set>, inner: &Arc<Set>) {
    let mut parents = inner.parents.lock();
    if let Some(at) = parents.iter().position(|p| p.ptr_eq(&outer.me)) {
        parents.swap_remove(at);
    }
    parents.retain(|p| p.strong_count() > 0);
}
