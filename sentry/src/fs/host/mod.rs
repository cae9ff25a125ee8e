//! Directories of the host.
//!
//! A tree is built on one descriptor, opened before the jail: of a directory, or of the one file that is bind-mounted. Everything in it is reached by one component at a time, relative
//! to the descriptor of its directory, and never through a symbolic link: those are read and walked by the Sentry's own path walk.
//!
//! - [`inode`]: inodes. `handles`: their descriptors. `attrs`: what is remembered of them. [`names`]: directory operations.
//! - [`file`]: open files. `mapped`: those that are read over and over, from the page cache. [`dir`]: open directories.
//!
//! What is remembered holds for a second where the sandbox has the tree for itself ([`Sharing::Exclusive`]); where others write too
//! ([`Sharing::Shared`]) it is asked for in every system call. Descriptors are kept per inode, a limited number of them, and shared by all who
//! have the file open: the Sentry only ever uses pread and pwrite.
//!
//! Device nodes, FIFOs and sockets are never opened on the host: the sandbox's own drivers, pipes and sockets stand behind them.
//!
//! A new file gets the uid and gid of who made it, where the Sentry may give files away; where it may not (an unprivileged user without
//! a mapping for that id), it belongs to the Sentry's user.
//!
//! # Locks, outermost first
//! ```text
//! HostInode::append    over the host's write: two writes at the end don't mix
//!   HostInode::{place, handles, cached, link}, Shared::{inodes, holders}: leaves, never held over a host call
//! ```

mod attrs;
pub mod dir;
pub mod file;
mod handles;
pub mod inode;
mod mapped;
pub mod names;

pub use attrs::begin_call;
pub use inode::HostInode;

use crate::host::fs as host;
use crate::vfs::{Dentry, Dev, FileSystem, FileType, Mount, MountFlags, StatFs, Superblock};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Who writes to the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// This sandbox, and seldom somebody else: changes from outside are seen within [`FRESH_MS`].
    Exclusive,
    /// Others too: changes from outside are seen at once.
    Shared,
}

/// What the host does to the time of last access of a file that is read (mount(8): noatime, relatime, strictatime).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Atime {
    Never,
    Relative,
    Strict,
}

impl Atime {
    /// From statfs(2)'s flags.
    fn of(flags: u64) -> Self {
        let has = |flag: libc::c_ulong| flags & flag != 0;
        if has(libc::ST_NOATIME) || has(libc::ST_RDONLY) {
            Self::Never
        } else if has(libc::ST_RELATIME) {
            Self::Relative
        } else {
            Self::Strict
        }
    }
}

/// How long what is known of an exclusive tree holds, in milliseconds.
const FRESH_MS: u64 = 1000;

/// Host device and inode number: a file's identity.
type Key = (u64, u64);

/// What the inodes of one tree share.
pub struct Shared {
    sharing: Sharing,
    writable: bool,
    atime: Atime,
    /// The host opens no device in the tree, whoever made it: a name can be opened before it is known what it is.
    no_devices: bool,
    /// Whom files belong to that this process makes.
    creator: (u32, u32),
    /// Every inode that is in use, so that two names of one file find one inode.
    inodes: Mutex<HashMap<Key, Weak<HostInode>>>,
    /// Inodes that keep descriptors, oldest first.
    holders: Mutex<VecDeque<Weak<HostInode>>>,
    max_holders: usize,
    root: Arc<OwnedFd>,
}

impl Shared {
    /// The inode of a file, if it is in use.
    fn known(&self, key: &Key) -> Option<Arc<HostInode>> {
        self.inodes.lock().get(key).and_then(Weak::upgrade)
    }

    /// Opens a name; where descriptors have run out, after those that are only kept have been given up.
    fn openat(&self, dir: &OwnedFd, name: &[u8], flags: i32) -> Result<OwnedFd> {
        match host::openat(dir.as_fd(), name, flags, 0) {
            Err(Errno::EMFILE | Errno::ENFILE) => {}
            other => return other,
        }
        let holders = std::mem::take(&mut *self.holders.lock());
        for holder in holders.iter().filter_map(Weak::upgrade) {
            holder.release_handles();
        }
        host::openat(dir.as_fd(), name, flags, 0).map_err(|e| {
            // The Sentry's table is full, not the caller's.
            if e == Errno::EMFILE { Errno::ENFILE } else { e }
        })
    }

    /// Notes that `inode` keeps a descriptor; others may have to give theirs up.
    fn hold(&self, inode: &HostInode, marked: &AtomicBool) {
        if marked.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut losers = Vec::new();
        let mut holders = self.holders.lock();
        holders.push_back(inode.weak());
        let mut chances = 16;
        while holders.len() > self.max_holders {
            let Some(oldest) = holders.pop_front() else {
                break;
            };
            let Some(oldest) = oldest.upgrade() else {
                continue;
            };
            if oldest.used_lately() && chances > 0 {
                chances -= 1;
                holders.push_back(oldest.weak());
                continue;
            }
            losers.push(oldest);
            break;
        }
        drop(holders);
        for loser in losers {
            loser.release_handles();
        }
    }
}

/// A directory tree of the host.
pub struct HostFs {
    shared: Arc<Shared>,
}

impl HostFs {
    /// The root dentry of the tree below `dir`, to be mounted. Without `writable` nothing in it is ever opened for writing.
    /// `dir` may also be a place (O_PATH) of something else than a directory, to be mounted on a file.
    pub fn create(dir: OwnedFd, sharing: Sharing, writable: bool) -> Result<Arc<Dentry>> {
        let root = Self::root(dir, sharing, writable)?;
        let dev = root.host_dev();
        let fs = Self {
            shared: Arc::clone(root.shared()),
        };
        Ok(Superblock::new(Box::new(fs), dev, root, !writable))
    }

    /// The root inode alone: the lower layer of an overlay.
    pub fn root(dir: OwnedFd, sharing: Sharing, writable: bool) -> Result<Arc<HostInode>> {
        let stat = host::statx(dir.as_fd(), b"")?;
        if FileType::from_mode(u32::from(stat.stx_mode)) == FileType::Symlink {
            return Err(Errno::ELOOP);
        }
        let mount = host::mount_flags(dir.as_fd())?;
        let limit = usize::try_from(host::descriptor_limit()).unwrap_or(usize::MAX);
        let shared = Arc::new(Shared {
            sharing,
            writable,
            atime: Atime::of(mount),
            no_devices: mount & libc::ST_NODEV != 0,
            creator: host::creator(),
            inodes: Mutex::default(),
            holders: Mutex::default(),
            max_holders: (limit / 4).clamp(64, 4096),
            root: Arc::new(dir),
        });
        HostInode::root(&shared, &stat)
    }

    /// A mount of the tree below `dir`, nowhere yet. `source` is what /proc/mounts shows.
    pub fn mount(
        dir: OwnedFd,
        sharing: Sharing,
        source: &[u8],
        flags: MountFlags,
    ) -> Result<Arc<Mount>> {
        let writable = !flags.contains(MountFlags::RDONLY);
        Ok(Mount::new(
            Self::create(dir, sharing, writable)?,
            source,
            flags,
        ))
    }
}

/// statfs(2) of the host file system behind a descriptor.
fn statfs(fd: &OwnedFd) -> Result<StatFs> {
    let st = host::statfs(fd.as_fd())?;
    Ok(StatFs {
        magic: st.f_type,
        bsize: st.f_bsize.cast_unsigned(),
        blocks: st.f_blocks,
        bfree: st.f_bfree,
        bavail: st.f_bavail,
        files: st.f_files,
        ffree: st.f_ffree,
        namelen: st.f_namelen.cast_unsigned(),
    })
}

impl FileSystem for HostFs {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        "9p"
    }

    fn statfs(&self) -> Result<StatFs> {
        statfs(&self.shared.root)
    }

    fn sync(&self) -> Result<()> {
        if !self.shared.writable {
            return Ok(());
        }
        // syncfs wants a descriptor that is more than a place; a device or a socket is not opened for that.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK;
        let stat = host::statx(self.shared.root.as_fd(), b"")?;
        let fd = match FileType::from_mode(u32::from(stat.stx_mode)) {
            FileType::Directory => host::openat(self.shared.root.as_fd(), b".", flags, 0)?,
            FileType::Regular => host::reopen(self.shared.root.as_fd(), flags)?,
            _ => return Ok(()),
        };
        host::syncfs(fd.as_fd())
    }

    fn revalidates(&self) -> bool {
        true
    }

    fn caches_negative(&self) -> bool {
        true
    }

    fn makes_unseen(&self) -> bool {
        true
    }
}

/// A host device number.
fn dev(major: u32, minor: u32) -> Dev {
    Dev::new(major, minor)
}
