//! What a process sees of the file system: root, working directory, umask, mount namespace.

use super::mount::MountNamespace;
use super::path::Path;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Root, working directory, umask (CLONE_FS shares it), and the mount namespace (which CLONE_NEWNS changes, excluding CLONE_FS).
pub struct FsContext {
    places: RwLock<Places>,
    umask: AtomicU32,
}

#[derive(Clone)]
struct Places {
    ns: Arc<MountNamespace>,
    root: Path,
    cwd: Path,
}

impl FsContext {
    /// At the root of a namespace, with umask 022.
    pub fn new(ns: Arc<MountNamespace>) -> Arc<Self> {
        let root = ns.root_path();
        let places = Places {
            ns,
            cwd: root.clone(),
            root,
        };
        Arc::new(Self {
            places: RwLock::new(places),
            umask: AtomicU32::new(0o022),
        })
    }

    /// A copy of its own (fork without CLONE_FS).
    pub fn fork(&self) -> Arc<Self> {
        let places = self.places.read().clone();
        Arc::new(Self {
            places: RwLock::new(places),
            umask: AtomicU32::new(self.umask()),
        })
    }

    /// A copy in a copied mount namespace (CLONE_NEWNS).
    pub fn fork_namespace(&self) -> Arc<Self> {
        let copy = self.fork();
        copy.unshare_namespace();
        copy
    }

    /// Goes to a copy of the mount namespace (unshare(2) with CLONE_NEWNS).
    pub fn unshare_namespace(&self) {
        let mut places = self.places.write();
        let (ns, map) = places.ns.copy();
        let moved = |p: &Path| match map.get(&p.mount.id) {
            Some(mount) => Path {
                mount: Arc::clone(mount),
                dentry: Arc::clone(&p.dentry),
            },
            None => p.clone(),
        };
        *places = Places {
            root: moved(&places.root),
            cwd: moved(&places.cwd),
            ns,
        };
    }

    /// The mount namespace.
    pub fn namespace(&self) -> Arc<MountNamespace> {
        Arc::clone(&self.places.read().ns)
    }

    /// The root directory.
    pub fn root(&self) -> Path {
        self.places.read().root.clone()
    }

    /// The working directory.
    pub fn cwd(&self) -> Path {
        self.places.read().cwd.clone()
    }

    /// Both, as one snapshot.
    pub fn root_and_cwd(&self) -> (Path, Path) {
        let places = self.places.read();
        (places.root.clone(), places.cwd.clone())
    }

    /// chroot(2).
    pub fn set_root(&self, root: Path) {
        let old = std::mem::replace(&mut self.places.write().root, root);
        drop(old);
    }

    /// chdir(2).
    pub fn set_cwd(&self, cwd: Path) {
        let old = std::mem::replace(&mut self.places.write().cwd, cwd);
        drop(old);
    }

    /// pivot_root(2) moves those who stood at the old root.
    pub fn replace_root(&self, old: &Path, new: &Path) {
        let mut places = self.places.write();
        if places.root == *old {
            places.root = new.clone();
        }
        if places.cwd == *old {
            places.cwd = new.clone();
        }
    }

    /// The umask.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// umask(2): returns the old one.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }
}
