//! The virtual file system.
//!
//! - [`file`]: open file descriptions and what an implementation of one provides.
//! - [`inode`], [`superblock`]: what a file system provides. [`attr`]: attributes.
//! - [`dentry`]: the cache of names. [`mount`], [`propagate`], [`mountinfo`]: mounts, namespaces. [`path`]: a dentry seen through a mount.
//! - [`walk`]: from a text to a path; [`Env`] is on whose behalf. [`perm`]: who may do what.
//! - [`open`]: open(2) without its descriptor. [`names`]: mkdir, unlink, rename and kin. [`change`]: chmod, chown, utimes, truncate.
//! - [`fdtable`], [`context`]: what a process has of all this.
//! - [`lock`], [`notify`], [`devices`]: file locks; hooks for inotify; who opens device nodes.
//!
//! # Locks
//! `Dentry::dir` (see [`dentry`]) is the only one held over a file system's operation. All others are leaves.

pub mod anon;
pub mod attr;
pub mod change;
pub mod context;
pub mod dentry;
pub mod devices;
pub mod fdtable;
pub mod file;
pub mod inode;
pub mod lock;
pub mod mount;
pub mod mountinfo;
pub mod names;
pub mod notify;
pub mod open;
pub mod path;
pub mod perm;
pub mod propagate;
pub mod superblock;
pub mod walk;
pub mod xattr;

#[cfg(test)]
mod tests;

pub use attr::{Attr, Dev, FileType, Meta, SetAttr, Timestamp};
pub use context::FsContext;
pub use dentry::Dentry;
pub use devices::{DeviceRegistry, Driver};
pub use fdtable::FdTable;
pub use file::{
    APPEND, DirSink, File, FileOps, FileWatcher, HERE, MapRequest, MapSource, SeekFrom,
};
pub use inode::{
    FileInode, Inode, InodeExt, InodeRef, Link, NewNode, RenameFlags, Target, XattrFlags,
};
pub use mount::{Mount, MountFlags, MountNamespace};
pub use path::Path;
pub use perm::Access;
pub use superblock::{FileSystem, StatFs, Superblock, anon_dev};
pub use walk::{At, Env, Last, WalkFlags};

use crate::task::Cx;
use arch::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT_INO: AtomicU64 = AtomicU64::new(1);

/// An inode number for an anonymous object (a pipe, a socket, a namespace): unique in the sandbox.
pub fn next_ino() -> u64 {
    NEXT_INO.fetch_add(1, Ordering::Relaxed)
}

/// Opens `path` for execve(2) on behalf of the calling thread ([`open::open_exec`]).
pub fn open_exec(cx: &Cx, path: &[u8]) -> Result<Arc<File>> {
    open::open_exec(&cx.env(), &At::Cwd, path, WalkFlags::FOLLOW)
}
