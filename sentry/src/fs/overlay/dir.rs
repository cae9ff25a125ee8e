//! Directories: the table of names, merging, renaming.

use super::node::{OverlayNode, open_lower};
use crate::fs::pseudo::seek_simple;
use crate::user::Sink;
use crate::vfs::inode::{Inode, RenameFlags, Target};
use crate::vfs::walk::Env;
use crate::vfs::{DirSink, File, FileOps, FileType, SeekFrom};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Mirrors are looked through for dead ones when a table has grown by this factor.
const SWEEP_FACTOR: usize = 2;
/// Smallest table that is looked through.
const SWEEP_MIN: usize = 64;

enum Name {
    /// Made or moved here.
    Own(Arc<OverlayNode>),
    /// Shows the lower one; kept so that all who look it up get the same node.
    Mirror(Weak<OverlayNode>),
    /// The lower layer's name doesn't count.
    Whiteout,
}

/// Where a directory differs from the lower one.
#[derive(Default)]
pub(super) struct Names {
    table: HashMap<Box<[u8]>, Name>,
    swept_at: usize,
    dead: bool,
}

impl Names {
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Removed: nothing can be made in it any more.
    pub(super) fn die(&mut self) {
        self.dead = true;
    }

    /// A new name. EEXIST if there is one; the caller has looked in the lower layer.
    pub(super) fn enter(&mut self, name: &[u8], node: Arc<OverlayNode>) -> Result<()> {
        if self.dead {
            return Err(Errno::ENOENT);
        }
        match self.table.get(name) {
            Some(Name::Own(_)) => return Err(Errno::EEXIST),
            Some(Name::Mirror(weak)) if weak.strong_count() > 0 => return Err(Errno::EEXIST),
            _ => {}
        }
        self.table.insert(name.into(), Name::Own(node));
        Ok(())
    }

    fn sweep(&mut self) {
        if self.table.len() < SWEEP_MIN.max(self.swept_at * SWEEP_FACTOR) {
            return;
        }
        self.table
            .retain(|_, n| !matches!(n, Name::Mirror(w) if w.strong_count() == 0));
        self.swept_at = self.table.len();
    }
}

impl OverlayNode {
    /// The node under a name: ENOENT if there is none.
    pub(super) fn find(&self, env: &Env<'_>, name: &[u8]) -> Result<Arc<OverlayNode>> {
        match self.names.lock().table.get(name) {
            Some(Name::Own(node)) => return Ok(Arc::clone(node)),
            Some(Name::Whiteout) => return Err(Errno::ENOENT),
            Some(Name::Mirror(weak)) => {
                if let Some(node) = weak.upgrade() {
                    return Ok(node);
                }
            }
            None => {}
        }
        let lower = self
            .lower
            .as_ref()
            .ok_or(Errno::ENOENT)?
            .lookup(env, name)?;
        let node = OverlayNode::mirror(&self.shared, &lower, Some(self.arc()?))?;
        let mut names = self.names.lock();
        // Somebody else may have been faster.
        match names.table.get(name) {
            Some(Name::Own(other)) => return Ok(Arc::clone(other)),
            Some(Name::Whiteout) => return Err(Errno::ENOENT),
            Some(Name::Mirror(weak)) => {
                if let Some(other) = weak.upgrade() {
                    return Ok(other);
                }
            }
            None => {}
        }
        names
            .table
            .insert(name.into(), Name::Mirror(Arc::downgrade(&node)));
        names.sweep();
        Ok(node)
    }

    fn lower_has(&self, name: &[u8]) -> bool {
        let root = crate::vfs::anon::mount().root_path();
        let env = Env {
            creds: Arc::new(crate::task::Creds::root()),
            root: root.clone(),
            cwd: root,
            umask: 0,
            cx: None,
        };
        self.lower
            .as_ref()
            .is_some_and(|l| l.lookup(&env, name).is_ok())
    }

    /// Takes a name out, by a whiteout where the lower layer has it.
    pub(super) fn take_out(&self, name: &[u8]) -> Result<()> {
        let white = self.lower_has(name);
        let mut names = self.names.lock();
        let old = if white {
            names.table.insert(name.into(), Name::Whiteout)
        } else {
            names.table.remove(name)
        };
        drop(names);
        drop(old);
        self.shared.pin(&self.arc()?);
        Ok(())
    }

    /// Everything in the directory, as it is now: name, inode number, d_type.
    fn merged(&self) -> Result<Vec<(Vec<u8>, u64, u8)>> {
        let mut out = Vec::new();
        if let Some(lower) = &self.lower {
            let file = open_lower(lower)?;
            let mut all = Collect::default();
            let mut pos = 0;
            loop {
                let before = all.0.len();
                file.ops.readdir(&file, &mut pos, &mut all)?;
                if all.0.len() == before {
                    break;
                }
            }
            out = all.0;
        }
        let names = self.names.lock();
        out.retain(|(name, ..)| {
            !matches!(
                names.table.get(&name[..]),
                Some(Name::Own(_) | Name::Whiteout)
            )
        });
        for (name, entry) in &names.table {
            if let Name::Own(node) = entry {
                out.push((name.to_vec(), node.ino(), node.file_type().dtype()));
            }
        }
        Ok(out)
    }

    pub(super) fn is_empty(&self) -> Result<bool> {
        Ok(self.merged()?.is_empty())
    }

    /// rename(2). Types and names have been checked; both directories are locked against other changes.
    pub(super) fn rename_to(
        &self,
        name: &[u8],
        moved: &Arc<OverlayNode>,
        to: &Target<'_>,
        flags: RenameFlags,
    ) -> Result<()> {
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        let there = OverlayNode::of(to.dir)?;
        if there.names.lock().is_dead() {
            return Err(Errno::ENOENT);
        }
        let replaced = to.replaced.map(OverlayNode::of).transpose()?;
        if flags.contains(RenameFlags::EXCHANGE) {
            let other = replaced.ok_or(Errno::ENOENT)?;
            there.put(to.name, moved)?;
            self.arc()?.put(name, &other)?;
        } else {
            if let Some(old) = &replaced {
                if flags.contains(RenameFlags::NOREPLACE) {
                    return Err(Errno::EEXIST);
                }
                if old.file_type() == FileType::Directory {
                    if !old.is_empty()? {
                        return Err(Errno::ENOTEMPTY);
                    }
                    old.names.lock().die();
                }
            }
            self.take_out(name)?;
            there.put(to.name, moved)?;
            if let Some(old) = replaced {
                old.unlinked();
            }
        }
        self.touch_modified()?;
        there.touch_modified()
    }

    /// Enters a node under a name, over whatever was there.
    fn put(self: &Arc<Self>, name: &[u8], node: &Arc<OverlayNode>) -> Result<()> {
        let old = self
            .names
            .lock()
            .table
            .insert(name.into(), Name::Own(Arc::clone(node)));
        drop(old);
        node.set_parent(self);
        self.shared.pin(self);
        Ok(())
    }
}

#[derive(Default)]
struct Collect(Vec<(Vec<u8>, u64, u8)>);

impl DirSink for Collect {
    fn entry(&mut self, ino: u64, _next: u64, dtype: u8, name: &[u8]) -> bool {
        if name != b"." && name != b".." {
            self.0.push((name.to_vec(), ino, dtype));
        }
        true
    }
}

/// An open merged directory. Lists what was there when the listing began (rewinding begins anew).
pub(super) struct OpenMerged {
    node: Arc<OverlayNode>,
    listing: Mutex<Option<Vec<(Vec<u8>, u64, u8)>>>,
}

impl OpenMerged {
    pub(super) fn new(node: Arc<OverlayNode>) -> Self {
        Self {
            node,
            listing: Mutex::new(None),
        }
    }
}

impl FileOps for OpenMerged {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        seek_simple(pos, to)
    }

    fn read(&self, _file: &File, _offset: u64, _dst: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn readdir(&self, _file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let mut listing = self.listing.lock();
        if *pos == 0 || listing.is_none() {
            if self.node.names.lock().is_dead() {
                return Err(Errno::ENOENT);
            }
            *listing = Some(self.node.merged()?);
        }
        let list = listing.as_deref().unwrap_or_default();
        let dir = FileType::Directory.dtype();
        loop {
            let taken = match *pos {
                0 => sink.entry(self.node.ino(), 1, dir, b"."),
                1 => sink.entry(self.node.ino(), 2, dir, b".."),
                at => {
                    let index = usize::try_from(at - 2).unwrap_or(usize::MAX);
                    let Some((name, ino, dtype)) = list.get(index) else {
                        return Ok(());
                    };
                    sink.entry(*ino, at + 1, *dtype, name)
                }
            };
            if !taken {
                return Ok(());
            }
            *pos += 1;
        }
    }
}
