//! Directories.

use super::node::{Body, TmpNode};
use crate::vfs::{RenameFlags, Target};
use arch::{Errno, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// A directory's size as shown for each entry (BOGO_DIRENT_SIZE).
const ENTRY_SIZE: u64 = 20;
/// Positions 0 and 1 are `.` and `..`.
const FIRST: u64 = 2;

/// The entries of a directory.
#[derive(Default)]
pub struct Dir {
    names: HashMap<Arc<[u8]>, Entry>,
    /// The entries in the order of their making: a position of getdents64(2) stays valid whatever comes and goes.
    order: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
    pub(super) parent: Weak<TmpNode>,
    /// Removed: nothing can be made in it.
    dead: bool,
}

struct Entry {
    node: Arc<TmpNode>,
    cookie: u64,
}

impl Dir {
    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<TmpNode>> {
        self.names.get(name).map(|e| &e.node)
    }

    pub(super) fn shown_size(&self) -> u64 {
        (self.names.len() as u64 + 2) * ENTRY_SIZE
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn take_all(&mut self) -> Vec<Arc<TmpNode>> {
        self.order.clear();
        self.names.drain().map(|(_, e)| e.node).collect()
    }

    fn insert(&mut self, name: &[u8], node: Arc<TmpNode>) {
        let name: Arc<[u8]> = name.into();
        let cookie = self.next.max(FIRST);
        self.next = cookie + 1;
        self.order.insert(cookie, Arc::clone(&name));
        if let Some(old) = self.names.insert(name, Entry { node, cookie }) {
            self.order.remove(&old.cookie);
        }
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<TmpNode>> {
        let entry = self.names.remove(name)?;
        self.order.remove(&entry.cookie);
        Some(entry.node)
    }

    /// Up to `max` entries whose position is `from` or later: position, name, node.
    pub(super) fn batch(&self, from: u64, max: usize) -> Vec<(u64, Arc<[u8]>, Arc<TmpNode>)> {
        let range = self.order.range(from..).take(max);
        range
            .filter_map(|(&at, name)| {
                let node = Arc::clone(&self.names.get(name)?.node);
                Some((at, Arc::clone(name), node))
            })
            .collect()
    }
}

impl TmpNode {
    fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir(_))
    }

    /// Enters a new node under `name`.
    pub(super) fn enter(&self, name: &[u8], new: &Arc<Self>) -> Result<()> {
        {
            let mut dir = self.dir()?.lock();
            if dir.dead {
                return Err(Errno::ENOENT);
            }
            if dir.get(name).is_some() {
                return Err(Errno::EEXIST);
            }
            if let Body::Dir(body) = &new.body {
                body.lock().parent = Arc::downgrade(&self.arc()?);
            }
            dir.insert(name, Arc::clone(new));
        }
        new.add_links(1);
        if new.is_dir() {
            self.add_links(1);
        }
        self.touch_modified();
        Ok(())
    }

    /// Enters another link of a node: ENOENT for one whose links are all gone, unless it was made without any (O_TMPFILE).
    pub(super) fn enter_link(&self, name: &[u8], node: &Arc<Self>) -> Result<()> {
        {
            let meta = node.meta.lock();
            if meta.nlink == 0 && !meta.linkable {
                return Err(Errno::ENOENT);
            }
        }
        self.enter(name, node)
    }

    /// Takes out `name`, which is `victim`; ENOTEMPTY for a directory with entries.
    pub(super) fn leave(&self, name: &[u8], victim: &Arc<Self>) -> Result<()> {
        let mut dir = self.dir()?.lock();
        if !dir.get(name).is_some_and(|n| Arc::ptr_eq(n, victim)) {
            return Err(Errno::ENOENT);
        }
        if let Body::Dir(body) = &victim.body {
            let mut body = body.lock();
            if !body.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            body.dead = true;
        }
        let gone = dir.remove(name);
        drop(dir);
        self.unlinked(victim);
        self.touch_modified();
        drop(gone);
        Ok(())
    }

    /// Counts down what a name that went had counted up.
    fn unlinked(&self, victim: &Self) {
        if victim.is_dir() {
            victim.add_links(-2);
            self.add_links(-1);
        } else {
            victim.add_links(-1);
        }
    }

    pub(super) fn rename_to(
        &self,
        name: &[u8],
        moved: &Arc<Self>,
        to: &Target<'_>,
        flags: RenameFlags,
    ) -> Result<()> {
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        let _renames = self.shared.rename.lock();
        let here = self.arc()?;
        let there = Self::of(to.dir)?;
        let same_dir = Arc::ptr_eq(&here, &there);
        if !self
            .dir()?
            .lock()
            .get(name)
            .is_some_and(|n| Arc::ptr_eq(n, moved))
        {
            return Err(Errno::ENOENT);
        }
        let (dead, target) = {
            let dir = there.dir()?.lock();
            (dir.dead, dir.get(to.name).cloned())
        };
        if dead {
            return Err(Errno::ENOENT);
        }
        if flags.contains(RenameFlags::NOREPLACE) && target.is_some() {
            return Err(Errno::EEXIST);
        }
        if !same_dir && moved.is_dir() && moved.is_above(&there) {
            return Err(Errno::EINVAL);
        }
        if flags.contains(RenameFlags::EXCHANGE) {
            let other = target.ok_or(Errno::ENOENT)?;
            return self.exchange(name, moved, &there, to.name, &other);
        }
        if let Some(old) = &target {
            match (moved.is_dir(), old.is_dir()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => {}
            }
            if let Body::Dir(body) = &old.body {
                let mut body = body.lock();
                if !body.is_empty() {
                    return Err(Errno::ENOTEMPTY);
                }
                body.dead = true;
            }
        }
        self.dir()?.lock().remove(name);
        there.dir()?.lock().insert(to.name, Arc::clone(moved));
        if let Some(old) = &target {
            there.unlinked(old);
        }
        if moved.is_dir() && !same_dir {
            self.add_links(-1);
            there.add_links(1);
            moved.set_parent(&there);
        }
        self.touch_modified();
        there.touch_modified();
        moved.add_links(0);
        Ok(())
    }

    fn exchange(
        &self,
        name: &[u8],
        moved: &Arc<Self>,
        there: &Arc<Self>,
        other_name: &[u8],
        other: &Arc<Self>,
    ) -> Result<()> {
        let here = self.arc()?;
        let same_dir = Arc::ptr_eq(&here, there);
        if !same_dir && other.is_dir() && other.is_above(&here) {
            return Err(Errno::EINVAL);
        }
        self.dir()?.lock().insert(name, Arc::clone(other));
        there.dir()?.lock().insert(other_name, Arc::clone(moved));
        if !same_dir {
            let dirs = |n: &Arc<Self>| i32::from(n.is_dir());
            self.add_links(dirs(other) - dirs(moved));
            there.add_links(dirs(moved) - dirs(other));
            moved.set_parent(there);
            other.set_parent(&here);
        }
        self.touch_modified();
        there.touch_modified();
        moved.add_links(0);
        other.add_links(0);
        Ok(())
    }

    fn set_parent(&self, parent: &Arc<Self>) {
        if let Body::Dir(body) = &self.body {
            body.lock().parent = Arc::downgrade(parent);
        }
    }

    /// Whether `other` is this directory or below it. Only under the rename lock does the answer hold.
    fn is_above(&self, other: &Arc<Self>) -> bool {
        let mut at = Some(Arc::clone(other));
        while let Some(node) = at {
            if std::ptr::eq(Arc::as_ptr(&node), self) {
                return true;
            }
            at = match &node.body {
                Body::Dir(dir) => dir.lock().parent.upgrade(),
                _ => None,
            };
        }
        false
    }
}
