//! copy_file_range(2).

use super::{Fd, rw};
use crate::task::Cx;
use crate::user::{SliceSource, UserRef, VecSink};
use crate::vfs::{File, FileType};
use arch::{Errno, Result};
use std::sync::Arc;

/// Bytes copied in one step.
const STEP: usize = 256 << 10;
/// Bytes copied in one call at most: short enough for a worker.
const MOST: usize = 16 << 20;

fn regular(file: &File) -> Result<()> {
    match file.attr()?.file_type() {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(Errno::EISDIR),
        _ => Err(Errno::EINVAL),
    }
}

/// Where one side of the copy starts: at the offset that `at` points to, or at the description's position.
fn offset(cx: &Cx, file: &File, at: UserRef<i64>) -> Result<u64> {
    match at.non_null() {
        None => rw::position(file),
        Some(at) => u64::try_from(cx.read_obj(at)?).map_err(|_| Errno::EINVAL),
    }
}

fn store(cx: &Cx, file: &File, at: UserRef<i64>, pos: u64) -> Result<()> {
    match at.non_null() {
        None => rw::set_position(file, pos)?,
        Some(at) => cx.write_obj(at, &pos.cast_signed())?,
    }
    Ok(())
}

/// copy_file_range(2).
pub fn copy_file_range(
    cx: &Cx,
    from: Fd,
    from_at: UserRef<i64>,
    to: Fd,
    to_at: UserRef<i64>,
    len: usize,
    flags: u32,
) -> Result<usize> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let files = cx.task.files();
    let (src, dst) = (files.get(from)?, files.get(to)?);
    let (src_pos, dst_pos) = (offset(cx, &src, from_at)?, offset(cx, &dst, to_at)?);
    regular(&src)?;
    regular(&dst)?;
    if !src.readable() || !dst.writable() || dst.has(libc::O_APPEND) {
        return Err(Errno::EBADF);
    }
    let most = i64::MAX as u64;
    if src_pos.saturating_add(len as u64) > most || dst_pos.saturating_add(len as u64) > most {
        return Err(Errno::EOVERFLOW);
    }
    let left = src.attr()?.size.saturating_sub(src_pos);
    let len = len
        .min(usize::try_from(left).unwrap_or(usize::MAX))
        .min(MOST);
    let same = src
        .path()
        .zip(dst.path())
        .is_some_and(|(a, b)| Arc::ptr_eq(a.inode(), b.inode()));
    if same && src_pos < dst_pos + len as u64 && dst_pos < src_pos + len as u64 && len > 0 {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let len = len.min(rw::size_room(cx, &dst, dst_pos)?);
    crate::vfs::change::strip_privileges(&cx.task.creds(), &dst)?;
    let mut done = 0;
    while done < len {
        match step(
            &src,
            src_pos + done as u64,
            &dst,
            dst_pos + done as u64,
            len - done,
        ) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    store(cx, &src, from_at, src_pos + done as u64)?;
    store(cx, &dst, to_at, dst_pos + done as u64)?;
    if done > 0 {
        rw::accessed(&src);
        if let Some(path) = dst.path() {
            crate::vfs::notify::path(path, libc::IN_MODIFY);
        }
    }
    Ok(done)
}

fn step(src: &File, from: u64, dst: &File, to: u64, max: usize) -> Result<usize> {
    let mut sink = VecSink::new(max.min(STEP));
    src.ops.read(src, from, &mut sink)?;
    if sink.data.is_empty() {
        return Ok(0);
    }
    dst.ops.write(dst, to, &mut SliceSource(&sink.data))
}
