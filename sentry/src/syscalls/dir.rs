//! Directory listings: getdents64(2).

use super::Fd;
use crate::task::Cx;
use crate::user::UserAddr;
use crate::vfs::{DirSink, File, FileType, change, notify};
use arch::abi::{push_dirent, push_dirent64};
use arch::{Errno, Result};

/// Bytes of one call at most; a larger buffer is filled by several.
const MAX_BUFFER: usize = 1 << 18;

type Push = fn(&mut Vec<u8>, usize, u64, i64, u8, &[u8]) -> bool;

struct Buffer {
    bytes: Vec<u8>,
    limit: usize,
    push: Push,
    /// An entry did not fit.
    full: bool,
}

impl DirSink for Buffer {
    fn entry(&mut self, ino: u64, next: u64, dtype: u8, name: &[u8]) -> bool {
        let taken = (self.push)(
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

fn list(cx: &Cx, fd: Fd, buf: UserAddr, len: u32, push: Push) -> Result<usize> {
    let file = cx.task.files().get(fd)?;
    if file
        .path()
        .is_some_and(|p| p.inode().file_type() != FileType::Directory)
    {
        return Err(Errno::ENOTDIR);
    }
    let limit = (len as usize).min(MAX_BUFFER);
    let mut out = Buffer {
        bytes: Vec::new(),
        limit,
        push,
        full: false,
    };
    {
        let mut pos = file.pos.lock();
        file.ops.readdir(&file, &mut pos, &mut out)?;
    }
    finish(&file);
    if out.bytes.is_empty() && out.full {
        return Err(Errno::EINVAL);
    }
    cx.write_bytes(buf, &out.bytes)?;
    Ok(out.bytes.len())
}

fn finish(file: &File) {
    if let Some(path) = file.path() {
        change::touch_atime(path, file.flags());
        notify::path(path, libc::IN_ACCESS);
    }
}

/// getdents64(2).
pub fn getdents64(cx: &Cx, fd: Fd, buf: UserAddr, len: u32) -> Result<usize> {
    list(cx, fd, buf, len, push_dirent64)
}

/// getdents(2).
pub fn getdents(cx: &Cx, fd: Fd, buf: UserAddr, len: u32) -> Result<usize> {
    list(cx, fd, buf, len, push_dirent)
}
