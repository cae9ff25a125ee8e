//! Directories: what differs from the lower one.

use super::inode::OverlayInode;
use crate::fs::tmp::TmpNode;
use crate::vfs::{Inode, InodeRef, RenameFlags, Target};
use arch::{Errno, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The changes to one directory.
#[derive(Default)]
pub(super) struct Dir {
    /// Names with an inode of their own, and whiteouts.
    changed: HashMap<Arc<[u8]>, Option<Arc<OverlayInode>>>,
    /// Removed: nothing can be made in it.
    dead: bool,
}

/// A name in the merged directory.
pub(super) struct Listed {
    pub name: Arc<[u8]>,
    pub ino: u64,
    pub kind: u8,
}

impl Dir {
    /// Whether the lower directory has no say on `name`.
    pub(super) fn knows(&self, name: &[u8]) -> bool {
        self.changed.contains_key(name)
    }

    pub(super) fn take_all(&mut self) -> Vec<Arc<OverlayInode>> {
        self.changed
            .drain()
            .filter_map(|(_, inode)| inode)
            .collect()
    }
}

impl OverlayInode {
    /// The file behind a name: ENOENT if there is none.
    pub(super) fn find(&self, name: &[u8]) -> Result<Arc<Self>> {
        if let Some(entry) = self.dir.lock().changed.get(name) {
            return entry.clone().ok_or(Errno::ENOENT);
        }
        match &self.lower {
            Some(lower) => self.state.inode(lower.find(name)?),
            None => Err(Errno::ENOENT),
        }
    }

    fn has(&self, name: &[u8]) -> Result<bool> {
        match self.find(name) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The lower directory has the name, whatever stands here.
    fn lower_has(&self, name: &[u8]) -> Result<bool> {
        match self.lower.as_ref().map(|l| l.find(name)) {
            None | Some(Err(Errno::ENOENT)) => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(e)) => Err(e),
        }
    }

    /// Gives a name to an inode.
    fn put(&self, name: &[u8], inode: &Arc<Self>) -> Result<()> {
        let old = self
            .dir
            .lock()
            .changed
            .insert(name.into(), Some(Arc::clone(inode)));
        drop(old);
        self.changed()
    }

    /// Takes a name away: nothing has it any more.
    fn take(&self, name: &[u8]) -> Result<()> {
        let whiteout = self.lower_has(name)?;
        let mut dir = self.dir.lock();
        let old = if whiteout {
            dir.changed.insert(name.into(), None)
        } else {
            dir.changed.remove(name)
        };
        drop(dir);
        drop(old);
        self.changed()
    }

    fn changed(&self) -> Result<()> {
        self.touch_modified()?;
        if self.lower.is_some() {
            self.state.keep(&self.arc()?);
        }
        Ok(())
    }

    fn alive(&self) -> Result<()> {
        if self.dir.lock().dead {
            Err(Errno::ENOENT)
        } else {
            Ok(())
        }
    }

    /// Enters a file that was just made.
    pub(super) fn enter_new(&self, name: &[u8], upper: Arc<TmpNode>) -> Result<InodeRef> {
        self.alive()?;
        if self.has(name)? {
            return Err(Errno::EEXIST);
        }
        let inode = Self::from_upper(&self.state, upper);
        self.put(name, &inode)?;
        if inode.is_dir() {
            self.add_links(1)?;
        } else {
            inode.add_links(1)?;
        }
        Ok(inode)
    }

    pub(super) fn make_link(&self, name: &[u8], inode: &Arc<Self>) -> Result<()> {
        self.alive()?;
        inode.may_link()?;
        if self.has(name)? {
            return Err(Errno::EEXIST);
        }
        self.put(name, inode)?;
        inode.add_links(1)?;
        inode.attr_up()?.touch_changed();
        Ok(())
    }

    /// ENOTEMPTY for a directory that shows a name; else nothing can be made in it any more.
    fn close_down(&self) -> Result<()> {
        let below = match &self.lower {
            Some(lower) => lower.names()?,
            None => Vec::new(),
        };
        let mut dir = self.dir.lock();
        let shown = dir.changed.values().any(Option::is_some)
            || below.iter().any(|e| !dir.changed.contains_key(&e.name[..]));
        if shown {
            return Err(Errno::ENOTEMPTY);
        }
        dir.dead = true;
        Ok(())
    }

    /// A name of `victim` in this directory has gone.
    fn unlinked(&self, victim: &Arc<Self>) -> Result<()> {
        if victim.is_dir() {
            self.add_links(-1)?;
            // Whatever the lower directory has: it is gone.
            victim
                .links
                .store(i64::MIN / 2, std::sync::atomic::Ordering::Relaxed);
            self.state.let_go(victim);
            return Ok(());
        }
        victim.add_links(-1)?;
        victim.attr_up()?.touch_changed();
        if victim.attr()?.nlink == 0 {
            self.state.let_go(victim);
        }
        Ok(())
    }

    pub(super) fn leave(&self, name: &[u8], victim: &Arc<Self>) -> Result<()> {
        if !Arc::ptr_eq(&self.find(name)?, victim) {
            return Err(Errno::ENOENT);
        }
        if victim.is_dir() {
            victim.close_down()?;
        }
        self.take(name)?;
        self.unlinked(victim)
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
        let there = Self::of(to.dir)?;
        there.alive()?;
        if !Arc::ptr_eq(&self.find(name)?, moved) {
            return Err(Errno::ENOENT);
        }
        let target = match there.find(to.name) {
            Ok(target) => Some(target),
            Err(Errno::ENOENT) => None,
            Err(e) => return Err(e),
        };
        if flags.contains(RenameFlags::NOREPLACE) && target.is_some() {
            return Err(Errno::EEXIST);
        }
        let same_dir = std::ptr::eq(self, there);
        if flags.contains(RenameFlags::EXCHANGE) {
            let other = target.ok_or(Errno::ENOENT)?;
            there.put(to.name, moved)?;
            self.put(name, &other)?;
            if !same_dir {
                let dirs = i64::from(moved.is_dir()) - i64::from(other.is_dir());
                there.add_links(dirs)?;
                self.add_links(-dirs)?;
            }
            return Ok(());
        }
        if let Some(old) = &target {
            match (moved.is_dir(), old.is_dir()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) => old.close_down()?,
                (false, false) => {}
            }
        }
        // The new name first: who looks meanwhile finds one of the two.
        there.put(to.name, moved)?;
        self.take(name)?;
        if let Some(old) = &target {
            there.unlinked(old)?;
        }
        if moved.is_dir() && !same_dir {
            self.add_links(-1)?;
            there.add_links(1)?;
        }
        moved.attr_up()?.touch_changed();
        Ok(())
    }

    /// All names but `.` and `..`: those of the lower directory that have not been changed, and our own.
    pub(super) fn list(&self) -> Result<Vec<Listed>> {
        let below = match &self.lower {
            Some(lower) => lower.names()?,
            None => Vec::new(),
        };
        let mut out = Vec::with_capacity(below.len());
        let dev = self.key().map_or(0, |k| k.0);
        let dir = self.dir.lock();
        let mut seen = HashSet::new();
        for entry in below {
            let name: Arc<[u8]> = entry.name.into();
            // A name may come twice while somebody changes the lower directory.
            if !dir.changed.contains_key(&name) && seen.insert(Arc::clone(&name)) {
                out.push(Listed {
                    name,
                    ino: self.state.ino((dev, entry.ino)),
                    kind: entry.dtype,
                });
            }
        }
        for (name, inode) in &dir.changed {
            if let Some(inode) = inode {
                let kind = inode.file_type().dtype();
                out.push(Listed {
                    name: Arc::clone(name),
                    ino: inode.number(),
                    kind,
                });
            }
        }
        Ok(out)
    }
}
