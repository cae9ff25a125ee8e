//! A place in the mount tree.

use super::dentry::Dentry;
use super::inode::InodeRef;
use super::mount::Mount;
use std::sync::Arc;

/// A dentry as seen through a mount.
#[derive(Clone)]
pub struct Path {
    pub mount: Arc<Mount>,
    pub dentry: Arc<Dentry>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Eq for Path {}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{}",
            self.mount.id,
            String::from_utf8_lossy(&self.dentry.name())
        )
    }
}

impl Path {
    /// A place.
    pub fn new(mount: Arc<Mount>, dentry: Arc<Dentry>) -> Self {
        Self { mount, dentry }
    }

    /// The inode there.
    pub fn inode(&self) -> &InodeRef {
        self.dentry.inode()
    }

    /// Another dentry of the same mount.
    #[must_use]
    pub fn with(&self, dentry: Arc<Dentry>) -> Self {
        Self {
            mount: Arc::clone(&self.mount),
            dentry,
        }
    }

    /// It is the root of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }

    /// The place that this mount's root covers, if `self` is a mount's root.
    pub fn covered(&self) -> Option<Self> {
        if self.is_mount_root() {
            self.mount.mountpoint()
        } else {
            None
        }
    }

    /// The topmost mount on this place, or the place itself.
    #[must_use]
    pub fn follow_mounts(mut self) -> Self {
        while self
            .dentry
            .mounts
            .load(std::sync::atomic::Ordering::Acquire)
            > 0
        {
            let Some(mount) = self.mount.mounted_on(&self.dentry) else {
                break;
            };
            mount.crossed();
            let dentry = Arc::clone(&mount.root);
            self = Self { mount, dentry };
        }
        self
    }

    /// One step up, mounts crossed; `None` at `root` and at the end of the tree.
    pub fn up(&self, root: &Self) -> Option<Self> {
        let mut at = self.clone();
        loop {
            if at == *root {
                return None;
            }
            match at.covered() {
                Some(below) => at = below,
                None => break,
            }
        }
        let parent = at.dentry.parent()?;
        if at.is_mount_root() {
            return None;
        }
        Some(Self {
            mount: at.mount,
            dentry: parent,
        })
    }

    /// The path as text, seen from `root`, and whether it can be reached from there: if not, the text is what
    /// there is up to the end of the tree.
    pub fn reach(&self, root: &Self) -> (Vec<u8>, bool) {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.clone();
        let reachable = loop {
            if at == *root {
                break true;
            }
            if let Some(below) = at.covered() {
                at = below;
                continue;
            }
            if at.is_mount_root() {
                break false;
            }
            let (parent, name) = at.dentry.parent_and_name();
            if parent.is_none() && names.is_empty() {
                // Nowhere in the tree: `pipe:[7]`, `/memfd:x`.
                return (name.to_vec(), true);
            }
            names.push(name);
            match parent {
                Some(parent) => at.dentry = parent,
                None => break false,
            }
        };
        let mut out = Vec::new();
        for name in names.iter().rev() {
            if !name.starts_with(b"/") {
                out.push(b'/');
            }
            out.extend_from_slice(name);
        }
        if out.is_empty() {
            out.push(b'/');
        }
        (out, reachable)
    }

    /// d_path: for links in /proc; ` (deleted)` is appended where that holds.
    pub fn display(&self, root: &Self) -> Vec<u8> {
        let (mut out, _) = self.reach(root);
        if self.dentry.is_deleted() && out.starts_with(b"/") {
            out.extend_from_slice(b" (deleted)");
        }
        out
    }

    /// For getcwd(2): ENOENT's `None` for a deleted directory; with `(unreachable)` before a path outside `root`.
    pub fn cwd_text(&self, root: &Self) -> Option<Vec<u8>> {
        if self.dentry.is_deleted() {
            return None;
        }
        let (text, reachable) = self.reach(root);
        Some(if reachable {
            text
        } else {
            [b"(unreachable)", &text[..]].concat()
        })
    }

    /// The path within its mount's file system, for the fourth field of mountinfo.
    pub fn within_fs(dentry: &Arc<Dentry>) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = Arc::clone(dentry);
        loop {
            let (parent, name) = at.parent_and_name();
            let Some(parent) = parent else { break };
            names.push(name);
            at = parent;
        }
        let mut out = Vec::new();
        for name in names.iter().rev() {
            out.push(b'/');
            out.extend_from_slice(name);
        }
        if out.is_empty() {
            out.push(b'/');
        }
        out
    }
}
