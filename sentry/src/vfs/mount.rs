//! Mounts and mount namespaces (mount_namespaces(7)).
//!
//! A mount holds its children, a child points back weakly; a namespace holds the root. The tree changes under the
//! global lock of [`super::propagate`]; a walk reads one mount's children under that mount's own lock, a leaf.

use super::dentry::Dentry;
pub use super::mountinfo::MountInfo;
use super::path::Path;
use super::propagate::{self, CHANGE, CopyAs};
pub use super::propagate::{Kind, Propagation};
use super::superblock::Superblock;
use crate::executor::{PollEvents, WaitQueue};
use arch::{Errno, Result};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

bitflags::bitflags! {
    /// Flags of one mount, in the bits of mount(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        const RDONLY = 1;
        const NOSUID = 2;
        const NODEV = 4;
        const NOEXEC = 8;
        const NOSYMFOLLOW = 256;
        const NOATIME = 1024;
        const NODIRATIME = 2048;
        const RELATIME = 1 << 21;
        const STRICTATIME = 1 << 24;
    }
}

/// Mounts of one namespace at most (fs.mount-max).
const MAX_MOUNTS: usize = 10_000;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
/// Counts changes to any mount tree: scoped walks notice them at `..`.
pub(super) static MOUNT_SEQ: AtomicU64 = AtomicU64::new(0);
/// Counts renames of directories, for the same use.
pub(super) static RENAME_SEQ: AtomicU64 = AtomicU64::new(0);

/// One mount.
pub struct Mount {
    /// Unique; the first field of mountinfo.
    pub id: u64,
    /// The dentry that it shows at its mountpoint: the file system's root, or another one for a bind mount.
    pub root: Arc<Dentry>,
    /// The device or whatever was given as such to mount(2).
    pub source: Vec<u8>,
    flags: AtomicU32,
    /// Open files that may be written to. Counted up before the flags are looked at, looked at after they are set.
    writers: AtomicUsize,
    /// MNT_EXPIRE: 2 when marked, less by one for every walk that came across since.
    expiring: AtomicU32,
    place: RwLock<MountPlace>,
    /// Mounts on dentries of this one, by the dentry's address (which a mount holds).
    children: RwLock<HashMap<usize, Arc<Mount>>>,
    /// Propagation, for mountinfo and mount(2).
    pub(super) propagation: Mutex<Propagation>,
}

#[derive(Default)]
struct MountPlace {
    parent: Weak<Mount>,
    /// Where it stands in the parent. Kept alive here.
    on: Option<Arc<Dentry>>,
}

impl Mount {
    /// A mount that is nowhere yet, of `root` and what is below it.
    pub fn new(root: Arc<Dentry>, source: &[u8], flags: MountFlags) -> Arc<Self> {
        root.sb.mounted();
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            root,
            source: source.to_vec(),
            flags: AtomicU32::new(flags.bits()),
            writers: AtomicUsize::new(0),
            expiring: AtomicU32::new(0),
            place: RwLock::default(),
            children: RwLock::default(),
            propagation: Mutex::default(),
        })
    }

    /// How it spreads.
    pub fn propagation(&self) -> Propagation {
        *self.propagation.lock()
    }

    /// This mount and all that are mounted below it, each after the one it stands on.
    pub(super) fn tree(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut out = vec![Arc::clone(self)];
        let mut at = 0;
        while at < out.len() {
            let children = out[at].children();
            out.extend(children);
            at += 1;
        }
        out
    }

    /// The file system.
    pub fn sb(&self) -> &Arc<Superblock> {
        &self.root.sb
    }

    /// Its flags.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Sets the flags, whoever writes.
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::SeqCst);
    }

    /// MS_REMOUNT | MS_BIND. EBUSY to become read-only while files are open for writing.
    pub fn change_flags(&self, flags: MountFlags) -> Result<()> {
        let old = self.flags.swap(flags.bits(), Ordering::SeqCst);
        let tightens = flags.bits() & !old & MountFlags::RDONLY.bits() != 0;
        if tightens && self.writers.load(Ordering::SeqCst) > 0 {
            self.flags.store(old, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// A file is opened for writing through this mount. EROFS if that has become impossible.
    pub(super) fn add_writer(&self) -> Result<()> {
        self.writers.fetch_add(1, Ordering::SeqCst);
        self.sb().writers.fetch_add(1, Ordering::SeqCst);
        self.want_write().inspect_err(|_| self.drop_writer())
    }

    pub(super) fn drop_writer(&self) {
        self.sb().writers.fetch_sub(1, Ordering::SeqCst);
        self.writers.fetch_sub(1, Ordering::SeqCst);
    }

    /// A walk goes across onto it: it is in use.
    pub(super) fn crossed(&self) {
        let marks = self.expiring.load(Ordering::Relaxed);
        if marks > 0 {
            self.expiring.store(marks - 1, Ordering::Relaxed);
        }
    }

    /// umount2(2) MNT_EXPIRE: whether it was marked, and nobody but the caller has come across since; else it is now.
    pub fn expires(&self) -> bool {
        let marked = self.expiring.swap(2, Ordering::Relaxed) > 0;
        if marked {
            self.expiring.store(0, Ordering::Relaxed);
        }
        marked
    }

    /// EROFS if nothing may be written through this mount (mnt_want_write).
    pub fn want_write(&self) -> Result<()> {
        if self.flags().contains(MountFlags::RDONLY) || self.sb().read_only() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// The root as a path.
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path {
            mount: Arc::clone(self),
            dentry: Arc::clone(&self.root),
        }
    }

    /// Where it is mounted; `None` for a namespace's root and for a detached mount.
    pub fn mountpoint(&self) -> Option<Path> {
        let place = self.place.read();
        Some(Path {
            mount: place.parent.upgrade()?,
            dentry: place.on.clone()?,
        })
    }

    /// The mount on one of this mount's dentries.
    pub fn mounted_on(&self, dentry: &Arc<Dentry>) -> Option<Arc<Self>> {
        self.children
            .read()
            .get(&(Arc::as_ptr(dentry) as usize))
            .cloned()
    }

    /// Mounts directly on this one.
    pub fn children(&self) -> Vec<Arc<Self>> {
        let mut list: Vec<_> = self.children.read().values().cloned().collect();
        list.sort_by_key(|m| m.id);
        list
    }

    /// Puts this mount on `at`; what stands there already comes on top of it. `CHANGE` is held.
    fn attach(self: &Arc<Self>, at: &Path) {
        let covered = at.mount.mounted_on(&at.dentry);
        if let Some(covered) = covered {
            covered.detach();
            self.put(at);
            covered.put(&self.root_path());
        } else {
            self.put(at);
        }
    }

    fn put(self: &Arc<Self>, at: &Path) {
        *self.place.write() = MountPlace {
            parent: Arc::downgrade(&at.mount),
            on: Some(Arc::clone(&at.dentry)),
        };
        at.mount
            .children
            .write()
            .insert(Arc::as_ptr(&at.dentry) as usize, Arc::clone(self));
        propagate::note_point(&at.dentry, self);
    }

    /// Takes this mount from its place. `CHANGE` is held.
    fn detach(self: &Arc<Self>) {
        let place = std::mem::take(&mut *self.place.write());
        let Some(on) = place.on else { return };
        propagate::forget_point(&on, Arc::as_ptr(self));
        if let Some(parent) = place.parent.upgrade() {
            parent.children.write().remove(&(Arc::as_ptr(&on) as usize));
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(on) = self.place.get_mut().on.take() {
            propagate::forget_point(&on, self);
        }
        propagate::forget(self, *self.propagation.get_mut());
        self.root.sb.unmounted();
        // Down the tree in a loop: mounts may stand on each other higher than the stack is deep.
        let mut doomed: Vec<_> = self.children.get_mut().drain().map(|(_, m)| m).collect();
        while let Some(mount) = doomed.pop() {
            if let Some(mut mount) = Arc::into_inner(mount) {
                doomed.extend(mount.children.get_mut().drain().map(|(_, m)| m));
            }
        }
    }
}

/// A mount tree that a set of processes sees.
pub struct MountNamespace {
    /// Inode number of /proc/PID/ns/mnt.
    pub ino: u64,
    root: RwLock<Arc<Mount>>,
    /// Notified at every change (poll of /proc/mounts).
    pub changed: WaitQueue,
    /// Counts changes.
    pub version: AtomicU64,
}

impl MountNamespace {
    /// A namespace whose tree is `root` and what is mounted on it.
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        Arc::new(Self {
            ino: super::next_ino(),
            root: RwLock::new(root),
            changed: WaitQueue::new(),
            version: AtomicU64::new(0),
        })
    }

    /// The root mount.
    pub fn root(&self) -> Arc<Mount> {
        Arc::clone(&self.root.read())
    }

    /// The root directory, with what may be mounted on top of it.
    pub fn root_path(&self) -> Path {
        self.root().root_path().follow_mounts()
    }

    /// Mounts `mount` on `at`, on top of what may be mounted there already. A directory goes on a directory, anything else on
    /// something that isn't one: ENOTDIR. ENOENT if the place is deleted.
    pub fn mount(&self, mount: &Arc<Mount>, at: &Path) -> Result<()> {
        let _change = CHANGE.lock();
        let at = at.clone().follow_mounts();
        self.check_mine(&at.mount)?;
        let dir = |d: &Arc<Dentry>| d.inode().file_type() == super::FileType::Directory;
        if dir(&mount.root) != dir(&at.dentry) {
            return Err(Errno::ENOTDIR);
        }
        if at.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        if self.holds(MAX_MOUNTS) {
            return Err(Errno::ENOSPC);
        }
        self.attach(mount, &at)
    }

    /// Puts `mount` on `at`, and copies of it where that is seen.
    fn attach(&self, mount: &Arc<Mount>, at: &Path) -> Result<()> {
        let copies = propagate::spread(mount, at)?;
        mount.attach(at);
        for (place, copy) in copies {
            copy.attach(&place);
        }
        self.notify();
        Ok(())
    }

    /// Whether there are at least `n` mounts.
    fn holds(&self, n: usize) -> bool {
        let mut todo = vec![self.root()];
        let mut count = 0;
        while let Some(mount) = todo.pop() {
            count += 1;
            if count >= n {
                return true;
            }
            todo.extend(mount.children.read().values().cloned());
        }
        false
    }

    /// umount2(2) of a mount of this namespace: EBUSY if others are mounted on it or (without `detach`) it is used;
    /// EINVAL for the root. With `detach` (MNT_DETACH) everything on it goes too.
    pub fn umount(&self, mount: &Arc<Mount>, detach: bool) -> Result<()> {
        let _change = CHANGE.lock();
        if mount.mountpoint().is_none() {
            return Err(Errno::EINVAL);
        }
        self.check_mine(mount)?;
        if !detach {
            self.is_unused(mount)?;
            for copy in seen_as(mount) {
                // Ours here is one more.
                if copy.children.read().is_empty() && Arc::strong_count(&copy) > 2 {
                    return Err(Errno::EBUSY);
                }
            }
        }
        take_down(mount);
        self.notify();
        Ok(())
    }

    /// Whether a mount of this namespace stands on `dentry` (is_local_mountpoint).
    pub(super) fn mounts_on(&self, dentry: &Arc<Dentry>) -> bool {
        let all = propagate::mounts_on(dentry);
        all.iter().any(|m| self.check_mine(m).is_ok())
    }

    /// EINVAL for a mount that is in another namespace's tree, or in none (check_mnt).
    pub fn check_mine(&self, mount: &Arc<Mount>) -> Result<()> {
        let mut at = Arc::clone(mount);
        while let Some(above) = at.mountpoint() {
            at = above.mount;
        }
        if Arc::ptr_eq(&at, &self.root()) {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// EBUSY if something is mounted on `mount`, or anybody but its parent and the caller has hold of it.
    pub fn is_unused(&self, mount: &Arc<Mount>) -> Result<()> {
        if mount.children.read().is_empty() && Arc::strong_count(mount) <= 2 {
            Ok(())
        } else {
            Err(Errno::EBUSY)
        }
    }

    /// MS_MOVE: `mount` goes to `to`. EINVAL for the root, ELOOP if `to` is within it.
    pub fn relocate(&self, mount: &Arc<Mount>, to: &Path) -> Result<()> {
        let _change = CHANGE.lock();
        if mount.mountpoint().is_none() {
            return Err(Errno::EINVAL);
        }
        let to = to.clone().follow_mounts();
        self.check_mine(mount)?;
        self.check_mine(&to.mount)?;
        let mut at = Some(Arc::clone(&to.mount));
        while let Some(m) = at {
            if Arc::ptr_eq(&m, mount) {
                return Err(Errno::ELOOP);
            }
            at = m.mountpoint().map(|p| p.mount);
        }
        let shared = |m: &Arc<Mount>| m.propagation().shared.is_some();
        if mount.mountpoint().is_some_and(|p| shared(&p.mount))
            || shared(&to.mount) && mount.tree().iter().any(|m| m.propagation().unbindable)
        {
            return Err(Errno::EINVAL);
        }
        let from = mount.mountpoint();
        mount.detach();
        self.attach(mount, &to).inspect_err(|_| {
            if let Some(from) = from {
                mount.attach(&from);
            }
        })
    }

    /// MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE of `mount`, with MS_REC of what is mounted below it too.
    pub fn change_propagation(&self, mount: &Arc<Mount>, kind: Kind, recursive: bool) {
        let _change = CHANGE.lock();
        let list = if recursive {
            mount.tree()
        } else {
            vec![Arc::clone(mount)]
        };
        for mount in &list {
            propagate::change(mount, kind);
        }
        self.notify();
    }

    /// pivot_root(2), after its checks: `new` comes to where `old` is, the caller's root, and `old` goes to `put_old`.
    pub fn pivot(&self, old: &Path, new: &Path, put_old: &Path) -> Result<()> {
        let _change = CHANGE.lock();
        if new.mount.mountpoint().is_none() {
            return Err(Errno::EINVAL);
        }
        self.check_mine(&new.mount)?;
        let spreads = |m: &Arc<Mount>| m.propagation().shared.is_some();
        let above = |m: &Arc<Mount>| m.mountpoint().is_some_and(|p| spreads(&p.mount));
        if spreads(&put_old.mount) || above(&new.mount) || above(&old.mount) {
            return Err(Errno::EINVAL);
        }
        let above = old.mount.mountpoint();
        new.mount.detach();
        match above {
            Some(above) => {
                old.mount.detach();
                new.mount.attach(&above);
            }
            None => *self.root.write() = Arc::clone(&new.mount),
        }
        old.mount.attach(&put_old.clone().follow_mounts());
        self.notify();
        Ok(())
    }

    /// A copy of the tree (CLONE_NEWNS), and how old mounts map to new ones.
    pub fn copy(&self) -> (Arc<Self>, HashMap<u64, Arc<Mount>>) {
        let _change = CHANGE.lock();
        let mut map = HashMap::new();
        let old = self.root();
        let root = copy_tree(&old, &old.root, false, CopyAs::Peer, &mut map);
        (Self::new(root), map)
    }

    /// Every mount that can be seen from `root`, parents first.
    pub fn list(&self, root: &Path) -> Vec<MountInfo> {
        let mut out = Vec::new();
        let mut todo = vec![Arc::clone(&root.mount)];
        while let Some(mount) = todo.pop() {
            let mut children = mount.children();
            children.reverse();
            todo.extend(children);
            let at = mount.root_path();
            let (point, reachable) = at.reach(root);
            if reachable {
                let parent_id = mount.mountpoint().map_or(mount.id, |p| p.mount.id);
                out.push(MountInfo {
                    mount,
                    parent_id,
                    point,
                });
            }
        }
        out
    }

    fn notify(&self) {
        MOUNT_SEQ.fetch_add(1, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
        self.changed.notify(PollEvents::PRI | PollEvents::ERR);
    }
}

/// What other mounts show of `mount` because they see what happens to its parent.
fn seen_as(mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let Some(at) = mount.mountpoint() else {
        return Vec::new();
    };
    let watchers = propagate::watchers(&at.mount);
    watchers
        .iter()
        .filter_map(|m| m.mounted_on(&at.dentry))
        .filter(|m| !Arc::ptr_eq(m, mount))
        .collect()
}

/// Takes `mount` and everything on it down, and what others show of it unless something else stands on that.
fn take_down(mount: &Arc<Mount>) {
    let tree = mount.tree();
    for mount in tree.iter().rev() {
        for copy in seen_as(mount) {
            // What was mounted over the copy there moves down to its place.
            let on_top = copy.mounted_on(&copy.root);
            let others = copy.children.read().len() - usize::from(on_top.is_some());
            let Some(at) = copy.mountpoint().filter(|_| others == 0) else {
                continue;
            };
            copy.detach();
            propagate::change(&copy, Kind::Private);
            if let Some(top) = on_top {
                top.detach();
                top.put(&at);
            }
        }
        mount.detach();
        propagate::change(mount, Kind::Private);
    }
}

/// The place is gone: what other namespaces have mounted on it goes too (detach_mounts).
pub(super) fn detach_mounts(dentry: &Arc<Dentry>) {
    if dentry.mounts.load(Ordering::Acquire) == 0 {
        return;
    }
    let _change = CHANGE.lock();
    let mounts = propagate::mounts_on(dentry);
    for mount in &mounts {
        take_down(mount);
    }
    MOUNT_SEQ.fetch_add(1, Ordering::SeqCst);
}

/// A copy of what is at `from`, nowhere yet (MS_BIND); with `recursive` (MS_REC) also of all that is mounted below it but what is
/// unbindable.
pub fn bind_of(from: &Path, recursive: bool) -> Arc<Mount> {
    let _change = CHANGE.lock();
    if recursive {
        copy_tree(
            &from.mount,
            &from.dentry,
            true,
            CopyAs::Peer,
            &mut HashMap::new(),
        )
    } else {
        copy_one(&from.mount, &from.dentry, CopyAs::Peer)
    }
}

/// A copy of a tree that is to spread. `CHANGE` is held.
pub(super) fn copy_of(mount: &Arc<Mount>, kind: CopyAs) -> Arc<Mount> {
    copy_tree(mount, &mount.root, true, kind, &mut HashMap::new())
}

fn copy_one(mount: &Arc<Mount>, root: &Arc<Dentry>, kind: CopyAs) -> Arc<Mount> {
    let new = Mount::new(Arc::clone(root), &mount.source, mount.flags());
    propagate::inherit(&new, mount, kind);
    new
}

/// A copy of `mount` with `root` as its root, and of what is mounted below that; nowhere yet. `map` gets new mounts by old ids.
fn copy_tree(
    mount: &Arc<Mount>,
    root: &Arc<Dentry>,
    bind: bool,
    kind: CopyAs,
    map: &mut HashMap<u64, Arc<Mount>>,
) -> Arc<Mount> {
    let top = copy_one(mount, root, kind);
    map.insert(mount.id, Arc::clone(&top));
    let mut todo = vec![(Arc::clone(mount), Arc::clone(&top))];
    while let Some((old, new)) = todo.pop() {
        for child in old.children() {
            let Some(at) = child.mountpoint() else {
                continue;
            };
            let outside = Arc::ptr_eq(&old, mount) && !root.is_ancestor_of(&at.dentry);
            if bind && (outside || child.propagation().unbindable) {
                continue;
            }
            let fresh = copy_one(&child, &child.root, kind);
            fresh.put(&Path {
                mount: Arc::clone(&new),
                dentry: at.dentry,
            });
            map.insert(child.id, Arc::clone(&fresh));
            todo.push((child, fresh));
        }
    }
    top
}
