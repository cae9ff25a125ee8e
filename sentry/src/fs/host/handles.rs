//! The host descriptors of an inode: which are kept, and how the others are opened.

use super::Sharing;
use super::attrs::key_of;
use super::inode::{HostInode, Place, no_xattr};
use crate::host::fs as host;
use crate::vfs::FileType;
use arch::{Errno, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Descriptors that are kept, and those that open files have.
#[derive(Default)]
pub(super) struct Handles {
    /// O_PATH.
    pub(super) path: Option<Arc<OwnedFd>>,
    pub(super) read: Option<Arc<OwnedFd>>,
    /// For writing and reading, of a file that was just made or has no name.
    pub(super) write: Option<Arc<OwnedFd>>,
    pub(super) open_read: Weak<OwnedFd>,
    pub(super) open_write: Weak<OwnedFd>,
    /// The host has refused to open it for reading too.
    pub(super) write_only: bool,
}

impl HostInode {
    pub(super) fn used_lately(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Gives up the descriptors that are only kept. A nameless file's is the only way to it.
    pub(super) fn release_handles(&self) {
        self.holds.store(false, Ordering::Release);
        if !matches!(*self.place.lock(), Place::At(..)) {
            return;
        }
        let mut handles = self.handles.lock();
        let gone = (
            handles.path.take(),
            handles.read.take(),
            handles.write.take(),
        );
        drop(handles);
        drop(gone);
    }

    /// Any descriptor that there is already.
    pub(super) fn some_fd(&self) -> Option<Arc<OwnedFd>> {
        self.used.store(true, Ordering::Relaxed);
        let handles = self.handles.lock();
        let kept = handles.path.clone().or_else(|| handles.read.clone());
        kept.or_else(|| handles.write.clone())
            .or_else(|| handles.open_read.upgrade())
            .or_else(|| handles.open_write.upgrade())
    }

    /// Some descriptor, O_PATH if none other is there: for calls that only need a place.
    pub(super) fn fd(&self) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = self.some_fd() {
            return Ok(fd);
        }
        // Up to the first directory that has a descriptor, and down again: without recursion, for trees may be deep.
        let mut chain = vec![self.arc()?];
        let mut dir = loop {
            let Some(last) = chain.last() else {
                return Err(Errno::ESTALE);
            };
            // What was removed through us is gone; ESTALE is for what others have moved.
            let (parent, _) = last.at().ok_or(Errno::ENOENT)?;
            if let Some(fd) = parent.some_fd() {
                break fd;
            }
            chain.push(parent);
        };
        while let Some(inode) = chain.pop() {
            let (_, name) = inode.at().ok_or(Errno::ESTALE)?;
            dir = inode.keep_path(self.shared.openat(&dir, &name, libc::O_PATH)?)?;
        }
        Ok(dir)
    }

    /// Keeps a descriptor as a place, if it is of this very file.
    pub(super) fn keep_path(&self, fd: OwnedFd) -> Result<Arc<OwnedFd>> {
        self.verify(&fd)?;
        let fd = Arc::new(fd);
        if self.shared.sharing == Sharing::Exclusive || self.kind == FileType::Directory {
            self.handles.lock().path = Some(Arc::clone(&fd));
            self.shared.hold(self, &self.holds);
        }
        Ok(fd)
    }

    /// ESTALE unless `fd` is of this file.
    pub(super) fn verify(&self, fd: &OwnedFd) -> Result<()> {
        let st = host::statx(fd.as_fd(), b"")?;
        if key_of(&st) != self.key || FileType::from_mode(u32::from(st.stx_mode)) != self.kind {
            return Err(Errno::ESTALE);
        }
        self.learn(&st);
        Ok(())
    }

    /// A directory open for reading, at its start. The first time the descriptor serves as a place too.
    pub(super) fn open_listing(&self) -> Result<Arc<OwnedFd>> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        if self.some_fd().is_none()
            && let Some((dir, name)) = self.at()
            && let Ok(fd) = self.shared.openat(&*dir.fd()?, &name, flags)
            && let Ok(fd) = self.keep_path(fd)
        {
            return Ok(fd);
        }
        self.open_fresh(flags).map(Arc::new)
    }

    /// A fresh open with `flags` of a regular file or directory.
    pub(super) fn open_fresh(&self, flags: i32) -> Result<OwnedFd> {
        if !matches!(self.kind, FileType::Regular | FileType::Directory) {
            return Err(Errno::ENXIO);
        }
        if self.kind == FileType::Directory {
            // Nothing that the host does to names leads elsewhere. It takes the right to search, though.
            let own = self.fd()?;
            match self.shared.openat(&own, b".", flags) {
                Err(Errno::EACCES) => return host::reopen(own.as_fd(), flags),
                other => return other,
            }
        }
        // By its name: less than half of what it takes through /proc by a descriptor that there is.
        if (self.shared.sharing == Sharing::Exclusive || self.shared.no_devices)
            && let Some((dir, name)) = self.at()
        {
            match self.shared.openat(&*dir.fd()?, &name, flags) {
                Ok(fd) => match self.verify(&fd) {
                    Ok(()) => return Ok(fd),
                    Err(Errno::ESTALE) => {}
                    Err(e) => return Err(e),
                },
                Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => {}
                Err(e) => return Err(e),
            }
        }
        // By a descriptor of the very file: nobody can have put a device in its place.
        let path = self.fd()?;
        match host::reopen(path.as_fd(), flags) {
            Err(Errno::ENXIO) => {}
            other => return other,
        }
        let Some((dir, name)) = self.at() else {
            // A mounted file has no directory here.
            let root = matches!(*self.place.lock(), Place::Root);
            return Err(if root { Errno::ENXIO } else { Errno::ESTALE });
        };
        let fd = self.shared.openat(&*dir.fd()?, &name, flags)?;
        self.verify(&fd)?;
        Ok(fd)
    }

    /// A descriptor to read from.
    pub(crate) fn read_fd(&self) -> Result<Arc<OwnedFd>> {
        self.used.store(true, Ordering::Relaxed);
        {
            let mut handles = self.handles.lock();
            if let Some(fd) = handles.read.clone().or_else(|| handles.open_read.upgrade()) {
                if self.shared.sharing == Sharing::Exclusive {
                    handles.read.get_or_insert_with(|| Arc::clone(&fd));
                }
                return Ok(fd);
            }
        }
        let fd = Arc::new(self.open_fresh(libc::O_RDONLY)?);
        let mut handles = self.handles.lock();
        handles.open_read = Arc::downgrade(&fd);
        // Where others come and go, what they remove shall not be held.
        if self.shared.sharing == Sharing::Shared {
            return Ok(fd);
        }
        handles.read = Some(Arc::clone(&fd));
        drop(handles);
        self.shared.hold(self, &self.holds);
        Ok(fd)
    }

    /// A descriptor to write to; with `read`, also to read from. Not kept beyond those who use it: a host program that is open for
    /// writing can't be executed there.
    pub(super) fn write_fd(&self, read: bool) -> Result<Arc<OwnedFd>> {
        self.may_write()?;
        self.used.store(true, Ordering::Relaxed);
        let nameless = matches!(*self.place.lock(), Place::Gone);
        {
            let mut handles = self.handles.lock();
            let kept = if nameless {
                handles.write.clone()
            } else {
                handles.write.take()
            };
            let fd = kept.or_else(|| handles.open_write.upgrade());
            if let Some(fd) = fd.filter(|_| !(read && handles.write_only)) {
                return Ok(fd);
            }
        }
        let (fd, write_only) = match self.open_fresh(libc::O_RDWR) {
            Err(Errno::EACCES) if !read => (self.open_fresh(libc::O_WRONLY)?, true),
            other => (other?, false),
        };
        // In an overlay of the host's it may be another file by now.
        self.changed();
        let fd = Arc::new(fd);
        let mut handles = self.handles.lock();
        handles.open_write = Arc::downgrade(&fd);
        handles.write_only = write_only;
        drop(handles);
        Ok(fd)
    }

    /// A descriptor to change extended attributes by: any that is open.
    pub(super) fn xattr_fd(&self) -> Result<Arc<OwnedFd>> {
        match self.read_fd() {
            Err(Errno::EACCES) => self.write_fd(false),
            other => other.map_err(no_xattr),
        }
    }

    /// Keeps the descriptor by which the file was made for the one who is about to open it.
    pub(super) fn keep_write(&self, fd: OwnedFd) {
        let fd = Arc::new(fd);
        let mut handles = self.handles.lock();
        handles.open_write = Arc::downgrade(&fd);
        handles.write_only = false;
        handles.write = Some(fd);
        drop(handles);
        self.shared.hold(self, &self.holds);
    }

    /// EROFS in a tree that is not to be written to.
    pub(super) fn may_write(&self) -> Result<()> {
        if self.shared.writable {
            Ok(())
        } else {
            Err(Errno::EROFS)
        }
    }
}
