//! How mounts spread (mount_namespaces(7), "Shared subtrees").
//!
//! Mounts of a peer group see each other's mounts and unmounts; slaves of a group see the group's. A group is a number; who
//! belongs to it is known here.
//!
//! # Locks
//! [`CHANGE`] is held over every change to any tree of mounts, for a change may reach other namespaces. `GROUPS` and `POINTS`
//! are leaves; mounts that are taken out of them are dropped after.

use super::dentry::Dentry;
use super::mount::Mount;
use super::path::Path;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Weak};

/// Held over changes to trees of mounts.
pub(super) static CHANGE: Mutex<()> = Mutex::new(());

/// Mounts that one change may add by spreading.
const MAX_SPREAD: usize = 10_000;

/// How a mount spreads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Propagation {
    /// Its peer group.
    pub shared: Option<u64>,
    /// The group whose slave it is.
    pub master: Option<u64>,
    /// It can't be bound.
    pub unbindable: bool,
}

/// What mount(2) can make of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// What a copy of a mount is to the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyAs {
    /// Of the same group, slave of the same master.
    Peer,
    /// A slave of the mount's group, with or without a group of its own.
    Slave { shared: bool },
}

#[derive(Default)]
struct Group {
    peers: Vec<Weak<Mount>>,
    slaves: Vec<Weak<Mount>>,
}

#[derive(Default)]
struct Groups {
    last: u64,
    map: HashMap<u64, Group>,
}

static GROUPS: LazyLock<Mutex<Groups>> = LazyLock::new(Mutex::default);
/// Mounts by the address of the dentry that they stand on.
static POINTS: LazyLock<Mutex<HashMap<usize, Vec<Weak<Mount>>>>> = LazyLock::new(Mutex::default);

fn without(list: &mut Vec<Weak<Mount>>, mount: *const Mount) {
    list.retain(|m| !std::ptr::eq(m.as_ptr(), mount) && m.strong_count() > 0);
}

impl Groups {
    /// Enters `mount` as its propagation says.
    fn enter(&mut self, mount: &Arc<Mount>, p: Propagation) {
        if let Some(id) = p.shared {
            let group = self.map.entry(id).or_default();
            group.peers.push(Arc::downgrade(mount));
        }
        if let Some(id) = p.master {
            let group = self.map.entry(id).or_default();
            group.slaves.push(Arc::downgrade(mount));
        }
    }

    /// Takes a mount out. Slaves of a group that has no peer any more; they go to the mount's own master.
    fn leave(&mut self, mount: *const Mount, p: Propagation) -> Vec<Weak<Mount>> {
        if let Some(group) = p.master.and_then(|id| self.map.get_mut(&id)) {
            without(&mut group.slaves, mount);
        }
        let mut orphans = Vec::new();
        if let Some(id) = p.shared
            && let Some(group) = self.map.get_mut(&id)
        {
            without(&mut group.peers, mount);
            if group.peers.is_empty() {
                orphans = std::mem::take(&mut group.slaves);
                self.map.remove(&id);
                if let Some(master) = p.master.and_then(|id| self.map.get_mut(&id)) {
                    master.slaves.extend(orphans.iter().cloned());
                }
            }
        }
        orphans
    }
}

/// Sets what `mount` is. `CHANGE` is held.
fn set(mount: &Arc<Mount>, new: Propagation) {
    let old = std::mem::replace(&mut *mount.propagation.lock(), new);
    let mut groups = GROUPS.lock();
    let orphans = groups.leave(Arc::as_ptr(mount), old);
    groups.enter(mount, new);
    drop(groups);
    adopt(&orphans, old.master);
}

fn adopt(orphans: &[Weak<Mount>], master: Option<u64>) {
    for orphan in orphans.iter().filter_map(Weak::upgrade) {
        orphan.propagation.lock().master = master;
    }
}

/// A mount goes for good.
pub(super) fn forget(mount: *const Mount, p: Propagation) {
    if p.shared.is_some() || p.master.is_some() {
        let orphans = GROUPS.lock().leave(mount, p);
        adopt(&orphans, p.master);
    }
}

fn new_group() -> u64 {
    let mut groups = GROUPS.lock();
    groups.last += 1;
    groups.last
}

/// MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE. `CHANGE` is held.
pub(super) fn change(mount: &Arc<Mount>, kind: Kind) {
    let old = *mount.propagation.lock();
    let new = match kind {
        Kind::Shared => Propagation {
            shared: Some(old.shared.unwrap_or_else(new_group)),
            unbindable: false,
            ..old
        },
        Kind::Slave => Propagation {
            shared: None,
            // Of the peers that stay behind, if there are any.
            master: old.shared.filter(|id| peers(*id).len() > 1).or(old.master),
            ..old
        },
        Kind::Private => Propagation::default(),
        Kind::Unbindable => Propagation {
            unbindable: true,
            ..Propagation::default()
        },
    };
    if new != old {
        set(mount, new);
    }
}

/// Gives a fresh copy of `old` its place among the groups. `CHANGE` is held, or nobody knows the copy's tree.
pub(super) fn inherit(copy: &Arc<Mount>, old: &Arc<Mount>, kind: CopyAs) {
    let from = *old.propagation.lock();
    let new = match kind {
        CopyAs::Peer => from,
        CopyAs::Slave { shared } => Propagation {
            shared: shared.then(new_group),
            master: from.shared.or(from.master),
            unbindable: from.unbindable,
        },
    };
    if new != Propagation::default() {
        set(copy, new);
    }
}

fn members(list: impl Fn(&Group) -> &Vec<Weak<Mount>>, id: u64) -> Vec<Arc<Mount>> {
    let groups = GROUPS.lock();
    let list = groups.map.get(&id).map(list);
    let found: Vec<_> = list
        .into_iter()
        .flatten()
        .filter_map(Weak::upgrade)
        .collect();
    drop(groups);
    found
}

fn peers(id: u64) -> Vec<Arc<Mount>> {
    members(|g| &g.peers, id)
}

fn slaves(id: u64) -> Vec<Arc<Mount>> {
    members(|g| &g.slaves, id)
}

/// Mounts that see what happens on `mount`, itself excepted.
pub(super) fn watchers(mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let mut out: Vec<Arc<Mount>> = Vec::new();
    let mut seen = HashSet::new();
    let mut todo: Vec<u64> = mount.propagation.lock().shared.into_iter().collect();
    while let Some(group) = todo.pop() {
        if !seen.insert(group) {
            continue;
        }
        out.extend(peers(group));
        for slave in slaves(group) {
            match slave.propagation.lock().shared {
                Some(own) => todo.push(own),
                None => out.push(Arc::clone(&slave)),
            }
        }
    }
    let mut known = HashSet::from([Arc::as_ptr(mount) as usize]);
    out.retain(|m| known.insert(Arc::as_ptr(m) as usize));
    out
}

/// The copies of `source`, which is about to be mounted on `at`, for those that see what happens there; and their places.
/// `source` and what is on it become shared. ENOSPC where they would be too many. `CHANGE` is held.
pub(super) fn spread(source: &Arc<Mount>, at: &Path) -> Result<Vec<(Path, Arc<Mount>)>> {
    let Some(group) = at.mount.propagation.lock().shared else {
        return Ok(Vec::new());
    };
    let tree = source.tree();
    for mount in &tree {
        if mount.propagation.lock().shared.is_none() {
            change(mount, Kind::Shared);
        }
    }
    if watchers(&at.mount).len().saturating_mul(tree.len()) > MAX_SPREAD {
        return Err(Errno::ENOSPC);
    }
    let inside: HashSet<usize> = tree.iter().map(|m| Arc::as_ptr(m) as usize).collect();
    let takes = |m: &Arc<Mount>| {
        !Arc::ptr_eq(m, &at.mount)
            && !inside.contains(&(Arc::as_ptr(m) as usize))
            && m.root.is_ancestor_of(&at.dentry)
    };
    let place = |m: Arc<Mount>| Path {
        mount: m,
        dentry: Arc::clone(&at.dentry),
    };
    let mut out = Vec::new();
    let mut seen = HashSet::from([group]);
    let mut todo = vec![(group, Arc::clone(source), true)];
    while let Some((group, mut model, mut is_peer)) = todo.pop() {
        for peer in peers(group).into_iter().filter(&takes) {
            let kind = if is_peer {
                CopyAs::Peer
            } else {
                CopyAs::Slave { shared: true }
            };
            let copy = super::mount::copy_of(&model, kind);
            if !is_peer {
                // The others of this group are its peers.
                (model, is_peer) = (Arc::clone(&copy), true);
            }
            out.push((place(peer), copy));
        }
        for slave in slaves(group) {
            let own = slave.propagation.lock().shared;
            match own {
                Some(own) if seen.insert(own) => todo.push((own, Arc::clone(&model), false)),
                Some(_) => {}
                None if takes(&slave) => {
                    let copy = super::mount::copy_of(&model, CopyAs::Slave { shared: false });
                    out.push((place(slave), copy));
                }
                None => {}
            }
        }
    }
    Ok(out)
}

/// `mount` stands on `dentry` now.
pub(super) fn note_point(dentry: &Arc<Dentry>, mount: &Arc<Mount>) {
    dentry.mounts.fetch_add(1, Ordering::AcqRel);
    let mut points = POINTS.lock();
    let list = points.entry(Arc::as_ptr(dentry) as usize).or_default();
    list.push(Arc::downgrade(mount));
}

/// `mount` doesn't stand on `dentry` any more.
pub(super) fn forget_point(dentry: &Arc<Dentry>, mount: *const Mount) {
    dentry.mounts.fetch_sub(1, Ordering::AcqRel);
    let mut points = POINTS.lock();
    let key = Arc::as_ptr(dentry) as usize;
    if let Some(list) = points.get_mut(&key) {
        without(list, mount);
        if list.is_empty() {
            points.remove(&key);
        }
    }
}

/// The mounts that stand on `dentry`, in whatever namespace.
pub(super) fn mounts_on(dentry: &Arc<Dentry>) -> Vec<Arc<Mount>> {
    if dentry.mounts.load(Ordering::Acquire) == 0 {
        return Vec::new();
    }
    let points = POINTS.lock();
    let list = points.get(&(Arc::as_ptr(dentry) as usize));
    let found: Vec<_> = list
        .into_iter()
        .flatten()
        .filter_map(Weak::upgrade)
        .collect();
    drop(points);
    found
}
