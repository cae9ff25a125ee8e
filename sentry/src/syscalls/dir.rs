//! getdents64(2), getdents(2).

use super::Fd;
use crate::task::Cx;
use crate::user::UserAddr;
use crate::vfs::{DirSink, FileType};
use arch::abi::{push_dirent, push_dirent64};
use arch::{Errno, Result};

/// Entries encoded for the application, and how many bytes it has room for.
struct Entries {
    bytes: Vec<u8>,
    limit: usize,
    old_format: bool,
    /// An entry was refused.
    full: bool,
}

impl DirSink for Entries {
    fn entry(&mut self, ino: u64, next: u64, dtype: u8, name: &[u8]) -> bool {
        let push = if self.old_format {
            push_dirent
        } else {
            push_dirent64
        };
        let taken = push(
            &mut self.bytes,
            self.limit,
            ino,
            next.cast_signed(),
            dtype,
            name,
        );
        self.full |= !taken;
        taken
    }
}

/// Bytes encoded by one call at most.
const MAX: usize = 1 << 20;

fn entries(cx: &Cx, fd: Fd, buf: UserAddr, size: u32, old_format: bool) -> Result<usize> {
    let file = cx.task.files().get(fd)?;
    let Some(path) = file.path() else {
        return Err(Errno::ENOTDIR);
    };
    if path.inode().file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    // A directory that was opened and then removed has nothing more to tell.
    if path.dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    let limit = (size as usize).min(MAX);
    let mut out = Entries {
        bytes: Vec::new(),
        limit,
        old_format,
        full: false,
    };
    let mut pos = file.pos.lock();
    let mut new = *pos;
    file.ops.readdir(&file, &mut new, &mut out)?;
    if out.bytes.is_empty() && out.full {
        return Err(Errno::EINVAL);
    }
    cx.write_bytes(buf, &out.bytes)?;
    *pos = new;
    drop(pos);
    super::rw::accessed(&file);
    Ok(out.bytes.len())
}

/// getdents64(2). EINVAL if not even one entry fits.
pub fn getdents64(cx: &Cx, fd: Fd, buf: UserAddr, size: u32) -> Result<usize> {
    entries(cx, fd, buf, size, false)
}

/// getdents(2).
pub fn getdents(cx: &Cx, fd: Fd, buf: UserAddr, size: u32) -> Result<usize> {
    entries(cx, fd, buf, size, true)
}
