//! Directory operations.

use super::inode::HostInode;
use crate::host::fs as host;
use crate::vfs::{FileType, Inode, InodeRef, NewNode, RenameFlags, Target};
use arch::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

impl HostInode {
    /// Gives a file that was just made its owner, as far as the Sentry may; and then its mode, which a change of owner cuts.
    fn settle(&self, dir: BorrowedFd<'_>, name: &[u8], node: &NewNode) -> Result<()> {
        if (node.uid, node.gid) == self.shared().creator {
            return Ok(());
        }
        match host::chownat(dir, name, node.uid, node.gid) {
            Ok(()) => {}
            // Not ours to give away: it belongs to the Sentry's user.
            Err(Errno::EPERM | Errno::EINVAL) => return Ok(()),
            Err(e) => return Err(e),
        }
        if node.mode & 0o6000 != 0 && FileType::from_mode(node.mode) != FileType::Symlink {
            host::chmodat(dir, name, node.mode & 0o7777)?;
        }
        Ok(())
    }

    pub(super) fn make(&self, name: &[u8], node: &NewNode) -> Result<InodeRef> {
        self.may_write()?;
        let dir = self.fd()?;
        let dir = dir.as_fd();
        let perm = node.mode & 0o7777;
        let mut opened = None;
        match FileType::from_mode(node.mode) {
            FileType::Regular => {
                let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
                opened = Some(host::openat(dir, name, flags, perm)?);
            }
            FileType::Directory => host::mkdirat(dir, name, perm)?,
            // A node that other programs of the host could use.
            FileType::CharDevice | FileType::BlockDevice => return Err(Errno::EPERM),
            _ => host::mknodat(dir, name, node.mode, node.rdev.encode())?,
        }
        self.settle(dir, name, node)?;
        self.stale();
        let inode = match opened {
            Some(fd) => {
                let inode = self.child(name, &host::statx(fd.as_fd(), b"")?)?;
                inode.keep_write(fd);
                inode
            }
            None => self.child(name, &host::statx(dir, name)?)?,
        };
        Ok(inode)
    }

    pub(super) fn make_symlink(
        &self,
        name: &[u8],
        target: &[u8],
        node: &NewNode,
    ) -> Result<InodeRef> {
        self.may_write()?;
        let dir = self.fd()?;
        host::symlinkat(target, dir.as_fd(), name)?;
        self.settle(dir.as_fd(), name, node)?;
        self.stale();
        Ok(self.child(name, &host::statx(dir.as_fd(), name)?)?)
    }

    pub(super) fn make_nameless(&self, node: &NewNode, linkable: bool) -> Result<InodeRef> {
        self.may_write()?;
        let exclusive = if linkable { 0 } else { libc::O_EXCL };
        let flags = libc::O_TMPFILE | libc::O_RDWR | exclusive;
        let fd = host::openat(self.fd()?.as_fd(), b".", flags, node.mode & 0o7777)?;
        if (node.uid, node.gid) != self.shared().creator {
            match host::chown(fd.as_fd(), node.uid, node.gid) {
                Ok(()) | Err(Errno::EPERM | Errno::EINVAL) => {}
                Err(e) => return Err(e),
            }
        }
        let st = host::statx(fd.as_fd(), b"")?;
        Ok(self.nameless(&st, fd))
    }

    pub(super) fn make_link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        self.may_write()?;
        let inode = Self::of(target)?;
        let to = self.fd()?;
        match inode.at() {
            Some((dir, old)) => host::linkat(dir.fd()?.as_fd(), &old, to.as_fd(), name)?,
            None => {
                host::link_fd(inode.fd()?.as_fd(), to.as_fd(), name)?;
                inode.moved_to(self, name)?;
            }
        }
        inode.stale();
        self.stale();
        Ok(())
    }

    pub(super) fn remove(&self, name: &[u8], victim: &InodeRef, as_dir: bool) -> Result<()> {
        self.may_write()?;
        host::unlinkat(self.fd()?.as_fd(), name, as_dir)?;
        Self::of(victim)?.lost_name(self, name);
        self.stale();
        Ok(())
    }

    pub(super) fn rename_to(
        &self,
        name: &[u8],
        moved: &InodeRef,
        to: &Target<'_>,
        flags: RenameFlags,
    ) -> Result<()> {
        self.may_write()?;
        let there = Self::of(to.dir)?;
        let (from_fd, to_fd) = (self.fd()?, there.fd()?);
        host::renameat2(from_fd.as_fd(), name, to_fd.as_fd(), to.name, flags.bits())?;
        let moved = Self::of(moved)?;
        if let Some(replaced) = to.replaced {
            let replaced = Self::of(replaced)?;
            if flags.contains(RenameFlags::EXCHANGE) {
                replaced.moved_to(self, name)?;
            } else {
                replaced.lost_name(there, to.name);
            }
        }
        moved.moved_to(there, to.name)?;
        self.stale();
        there.stale();
        Ok(())
    }

    /// All names in the directory but `.` and `..`: for an overlay that merges them with others.
    pub fn names(&self) -> Result<Vec<host::DirEntry>> {
        let fd = self.open_fresh(libc::O_RDONLY | libc::O_DIRECTORY)?;
        let mut out = Vec::new();
        loop {
            let batch = host::getdents(fd.as_fd())?;
            if batch.is_empty() {
                return Ok(out);
            }
            out.extend(
                batch
                    .into_iter()
                    .filter(|e| e.name != b"." && e.name != b".."),
            );
        }
    }

    /// The file behind `name`: for an overlay, which has checked everything.
    pub fn find(&self, name: &[u8]) -> Result<Arc<Self>> {
        if self.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let st = host::statx(self.fd()?.as_fd(), name)?;
        self.child(name, &st)
    }
}
