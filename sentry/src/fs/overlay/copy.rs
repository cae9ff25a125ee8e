//! Copy-up: from the lower layer to memory.

use super::inode::OverlayInode;
use crate::fs::tmp::TmpNode;
use crate::host::io;
use crate::vfs::{FileType, Inode, NewNode, XattrFlags};
use arch::{Errno, Result};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

impl OverlayInode {
    /// The upper node, with the attributes of the lower file if it has to be made.
    pub(super) fn attr_up(&self) -> Result<Arc<TmpNode>> {
        if let Some(upper) = self.upper.get() {
            return Ok(Arc::clone(upper));
        }
        let _copying = self.copying.lock();
        if let Some(upper) = self.upper.get() {
            return Ok(Arc::clone(upper));
        }
        let lower = self.lower.as_ref().ok_or(Errno::ESTALE)?;
        let attr = lower.attr()?;
        let node = NewNode {
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
        };
        let upper = match self.file_type() {
            // The text stays below; what counts is the attributes.
            FileType::Symlink => TmpNode::new_symlink(&self.state.upper, b"", &node)?,
            _ => TmpNode::new(&self.state.upper, &node)?,
        };
        for name in lower.list_xattr().unwrap_or_default() {
            if let Ok(value) = lower.get_xattr(&name) {
                let _ = upper.set_xattr(&name, &value, XattrFlags::empty());
            }
        }
        upper.copy_attr(&attr);
        let _ = self.upper.set(Arc::clone(&upper));
        self.state.keep(&self.arc()?);
        Ok(upper)
    }

    /// The upper node with the file's contents.
    pub(super) fn data_up(&self) -> Result<Arc<TmpNode>> {
        self.data_up_to(u64::MAX)
    }

    /// The upper node with the first `len` bytes of the file's contents, if they aren't there yet: the caller cuts it to that.
    pub(super) fn data_up_to(&self, len: u64) -> Result<Arc<TmpNode>> {
        let upper = self.attr_up()?;
        if self.has_data() || self.file_type() != FileType::Regular {
            return Ok(upper);
        }
        let _copying = self.copying.lock();
        if self.has_data() {
            return Ok(upper);
        }
        let lower = self.lower.as_ref().ok_or(Errno::ESTALE)?;
        let data = upper.data()?;
        // A copy that failed half-way is begun again.
        data.truncate(&self.state.upper, 0)?;
        if len > 0 {
            let fd = lower.read_fd()?;
            let mut buf = vec![0; CHUNK];
            let mut done = 0;
            while done < len {
                let want = usize::try_from(len - done).unwrap_or(CHUNK).min(CHUNK);
                let n = io::read(fd.as_fd(), Some(done), &mut buf[..want])?;
                if n == 0 {
                    break;
                }
                data.append_bytes(&self.state.upper, &buf[..n])?;
                done += n as u64;
            }
        }
        self.data_up.store(true, Ordering::Release);
        Ok(upper)
    }
}
