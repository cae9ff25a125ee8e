//! read(2), write(2) and their positioned and vectored forms; lseek(2); fsync(2).

use super::{Fd, bulk};
use crate::executor::PollEvents;
use crate::net::SocketFile;
use crate::task::Cx;
use crate::tty::SlaveFile;
use crate::user::{Sink, Source, UserAddr, UserBytes, UserRef};
use crate::vfs::{APPEND, File, FileType, HERE, SeekFrom, change, notify};
use arch::abi::{Iovec, SI_KERNEL, SigInfo};
use arch::signal::Signal;
use arch::{Errno, Result};
use std::sync::Arc;

/// Where a transfer goes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// At the description's position, which moves.
    Position,
    /// At an offset of the call's.
    At(u64),
}

/// What one call asks for beyond the description's flags.
#[derive(Clone, Copy, Debug)]
struct How {
    place: Where,
    nowait: bool,
    append: bool,
    no_append: bool,
    sync: Option<bool>,
}

impl How {
    const PLAIN: Self = Self {
        place: Where::Position,
        nowait: false,
        append: false,
        no_append: false,
        sync: None,
    };

    const fn at(offset: u64) -> Self {
        Self {
            place: Where::At(offset),
            ..Self::PLAIN
        }
    }
}

fn readable(cx: &Cx, fd: Fd) -> Result<Arc<File>> {
    let file = cx.task.files().get(fd)?;
    if file.readable() {
        Ok(file)
    } else {
        Err(Errno::EBADF)
    }
}

fn writable(cx: &Cx, fd: Fd) -> Result<Arc<File>> {
    let file = cx.task.files().get(fd)?;
    if file.writable() {
        Ok(file)
    } else {
        Err(Errno::EBADF)
    }
}

/// A file offset as a pread(2) passes it: EINVAL if negative.
fn offset(raw: i64) -> Result<u64> {
    u64::try_from(raw).map_err(|_| Errno::EINVAL)
}

/// ESPIPE unless the file has positions.
fn positioned(file: &File) -> Result<()> {
    if file.ops.seekable() {
        Ok(())
    } else {
        Err(Errno::ESPIPE)
    }
}

/// rw_verify_area: EINVAL if the transfer would end past the largest offset.
fn verify(file: &File, how: How, len: usize) -> Result<()> {
    let at = match how.place {
        Where::At(at) => at,
        Where::Position if file.ops.seekable() => *file.pos.lock(),
        Where::Position => return Ok(()),
    };
    match at.checked_add(len as u64) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// Reads into `sink`, waiting for data unless told not to.
async fn read_into(file: &File, cx: &Cx, sink: &mut (dyn Sink + Send), how: How) -> Result<usize> {
    let result = do_read(file, cx, sink, how).await;
    cx.task.group.count_io(false, &result);
    result
}

async fn do_read(file: &File, cx: &Cx, sink: &mut (dyn Sink + Send), how: How) -> Result<usize> {
    if file.downcast::<SocketFile>().is_some() {
        return super::message::read_file(cx, file, sink, how.nowait).await;
    }
    if let Some(terminal) = file.downcast::<SlaveFile>() {
        let n = terminal.read(cx, file, sink, how.nowait).await?;
        accessed(file);
        return Ok(n);
    }
    verify(file, how, sink.remaining())?;
    if sink.remaining() > bulk::LONG
        && let Some(n) = read_bulk(file, cx, sink, how).await?
    {
        return Ok(n);
    }
    let mut op = || match how.place {
        Where::At(at) => file.ops.read(file, at, sink),
        Where::Position if !file.ops.seekable() || file.ops.keeps_position() => {
            file.ops.read(file, HERE, sink)
        }
        Where::Position => {
            let mut pos = file.pos.lock();
            let n = file.ops.read(file, *pos, sink)?;
            *pos += n as u64;
            Ok(n)
        }
    };
    let n = match file.ops.wait_queue() {
        Some(queue) if !file.nonblocking() && !how.nowait => {
            cx.wait(queue, PollEvents::READABLE, None, op).await?
        }
        _ => op()?,
    };
    if n > 0 {
        accessed(file);
    }
    Ok(n)
}

/// A long read of a regular file, piece by piece. `None`: it isn't one.
async fn read_bulk(
    file: &File,
    cx: &Cx,
    sink: &mut (dyn Sink + Send),
    how: How,
) -> Result<Option<usize>> {
    let (at, len) = match how.place {
        Where::At(at) => match bulk::length(file, at, sink.remaining()) {
            Some(len) => (at, len),
            None => return Ok(None),
        },
        Where::Position if !file.ops.seekable() || file.ops.keeps_position() => return Ok(None),
        Where::Position => {
            // Others who share the description read what comes behind.
            let mut pos = file.pos.lock();
            let Some(len) = bulk::length(file, *pos, sink.remaining()) else {
                return Ok(None);
            };
            let at = *pos;
            *pos += len as u64;
            (at, len)
        }
    };
    let result = bulk::read(cx, file, at, len, sink).await;
    let n = result.unwrap_or(0);
    if n < len && how.place == Where::Position {
        let mut pos = file.pos.lock();
        if *pos == at + len as u64 {
            *pos = at + n as u64;
        }
    }
    if n > 0 {
        accessed(file);
    }
    result.map(Some)
}

/// Something has been read: access time, IN_ACCESS.
pub(crate) fn accessed(file: &File) {
    if let Some(path) = file.path() {
        if matches!(
            path.inode().file_type(),
            FileType::Regular | FileType::Directory
        ) {
            change::touch_atime(path, file.flags());
        }
        notify::path(path, libc::IN_ACCESS);
    }
}

/// A source that ends early: at the limit of a file's size.
struct Limited<'a> {
    inner: &'a mut (dyn Source + Send),
    left: usize,
}

impl Source for Limited<'_> {
    fn remaining(&self) -> usize {
        self.inner.remaining().min(self.left)
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let max = buf.len().min(self.left);
        let n = self.inner.read(&mut buf[..max])?;
        self.left -= n;
        Ok(n)
    }

    fn peek(&mut self, buf: &mut [u8]) -> Result<usize> {
        let max = buf.len().min(self.left);
        self.inner.peek(&mut buf[..max])
    }

    fn advance(&mut self, n: usize) {
        self.left -= n.min(self.left);
        self.inner.advance(n);
    }
}

/// SIGXFSZ: a file would have grown past RLIMIT_FSIZE.
pub(crate) fn sigxfsz(cx: &Cx) {
    // The caller is alive, and its queue takes standard signals always.
    let _ = crate::signal::send_to_task(&cx.task, SigInfo::kill(Signal::SIGXFSZ, SI_KERNEL, 0, 0));
}

/// How many bytes from `at` on a regular file may still grow: EFBIG and SIGXFSZ if none (RLIMIT_FSIZE).
pub(crate) fn size_room(cx: &Cx, file: &File, at: u64) -> Result<usize> {
    let limit = cx.task.group.rlimit(libc::RLIMIT_FSIZE);
    if limit == u64::MAX || !is_regular(file) {
        return Ok(usize::MAX);
    }
    let at = if at == APPEND { file.attr()?.size } else { at };
    if at >= limit {
        sigxfsz(cx);
        return Err(Errno::EFBIG);
    }
    Ok(usize::try_from(limit - at).unwrap_or(usize::MAX))
}

pub(crate) fn is_regular(file: &File) -> bool {
    file.path()
        .is_some_and(|p| p.inode().file_type() == FileType::Regular)
}

/// One attempt of a write.
fn write_once(cx: &Cx, file: &File, src: &mut (dyn Source + Send), how: How) -> Result<usize> {
    if !file.ops.seekable() || (file.ops.keeps_position() && how.place == Where::Position) {
        return file.ops.write(file, HERE, src);
    }
    let append = (file.has(libc::O_APPEND) || how.append) && !how.no_append;
    match how.place {
        Where::At(at) => {
            let at = if append { APPEND } else { at };
            let left = size_room(cx, file, at)?;
            file.ops.write(file, at, &mut Limited { inner: src, left })
        }
        Where::Position => {
            let mut pos = file.pos.lock();
            let at = if append { APPEND } else { *pos };
            let left = size_room(cx, file, at)?;
            let n = file
                .ops
                .write(file, at, &mut Limited { inner: src, left })?;
            *pos = match file.ops.append_position() {
                Some(end) if append && n > 0 => end,
                _ => *pos + n as u64,
            };
            Ok(n)
        }
    }
}

/// Writes all of `src`, waiting for room unless told not to. What was written before an error or a signal counts.
async fn write_from(
    file: &File,
    cx: &Cx,
    src: &mut (dyn Source + Send),
    how: How,
) -> Result<usize> {
    let result = do_write(file, cx, src, how).await;
    cx.task.group.count_io(true, &result);
    result
}

async fn do_write(file: &File, cx: &Cx, src: &mut (dyn Source + Send), how: How) -> Result<usize> {
    if file.downcast::<SocketFile>().is_some() {
        return super::message::write_file(cx, file, src, how.nowait).await;
    }
    if let Some(terminal) = file.downcast::<SlaveFile>() {
        terminal.before_write(cx)?;
    }
    verify(file, how, src.remaining())?;
    change::strip_privileges(&cx.task.creds(), file)?;
    let waits = !file.nonblocking() && !how.nowait;
    let mut done = 0;
    let result = loop {
        let result = match file.ops.wait_queue() {
            Some(queue) if waits => {
                cx.wait(queue, PollEvents::WRITABLE, None, || {
                    write_once(cx, file, src, how)
                })
                .await
            }
            _ => write_once(cx, file, src, how),
        };
        match result {
            Ok(n) => done += n,
            Err(e) => break Err(e),
        }
        // A regular file stops short only for a reason that the next try would show, and which the next call shall have.
        if src.remaining() == 0 || !waits || file.ops.wait_queue().is_none() {
            break Ok(());
        }
    };
    if done > 0 {
        if let Some(path) = file.path() {
            notify::path(path, libc::IN_MODIFY);
        }
        return Ok(done);
    }
    match result {
        Ok(()) => Ok(0),
        Err(e) => {
            if e == Errno::EPIPE {
                super::pipe::sigpipe(cx);
            }
            Err(e)
        }
    }
}

/// O_SYNC, O_DSYNC, RWF_SYNC, RWF_DSYNC: what was written is on the disk before the call returns.
async fn sync_after(cx: &Cx, file: &Arc<File>, how: How) -> Result<()> {
    let full = file.flags() as i32 & libc::O_SYNC == libc::O_SYNC;
    let data = full || file.has(libc::O_DSYNC);
    let data_only = match how.sync {
        Some(data_only) => data_only && !full,
        None if data => !full,
        None => return Ok(()),
    };
    if is_regular(file) {
        sync_file(cx, file, data_only).await
    } else {
        Ok(())
    }
}

async fn sync_file(cx: &Cx, file: &Arc<File>, data_only: bool) -> Result<()> {
    if !file.ops.sleeps() {
        return file.ops.sync(file, data_only);
    }
    let file = Arc::clone(file);
    let cell = Arc::clone(cx.task.cell());
    cx.kernel()
        .executor
        .blocking(cell, move || file.ops.sync(&file, data_only))
        .await
}

/// Reads for splice(2) and sendfile(2): at `at`, or at the file's position.
pub(crate) async fn read_bytes(
    cx: &Cx,
    file: &File,
    sink: &mut (dyn Sink + Send),
    at: Option<u64>,
) -> Result<usize> {
    let place = at.map_or(Where::Position, Where::At);
    read_into(
        file,
        cx,
        sink,
        How {
            place,
            ..How::PLAIN
        },
    )
    .await
}

/// Writes for splice(2) and sendfile(2): at `at`, or at the file's position.
pub(crate) async fn write_bytes(
    cx: &Cx,
    file: &File,
    src: &mut (dyn Source + Send),
    at: Option<u64>,
) -> Result<usize> {
    let place = at.map_or(Where::Position, Where::At);
    write_from(
        file,
        cx,
        src,
        How {
            place,
            ..How::PLAIN
        },
    )
    .await
}

/// Where the next read(2) would start.
pub(crate) fn position(file: &File) -> Result<u64> {
    let pos = *file.pos.lock();
    if file.ops.keeps_position() {
        file.ops.seek(file, pos, SeekFrom::Current(0))
    } else {
        Ok(pos)
    }
}

/// Moves it.
pub(crate) fn set_position(file: &File, to: u64) -> Result<()> {
    let mut pos = file.pos.lock();
    if file.ops.keeps_position() {
        file.ops
            .seek(file, *pos, SeekFrom::Start(to.cast_signed()))?;
    }
    *pos = to;
    Ok(())
}

/// read(2).
pub async fn read(cx: &Cx, fd: Fd, addr: UserAddr, len: usize) -> Result<usize> {
    let file = readable(cx, fd)?;
    let mut sink = cx.sink(UserBytes { addr, len })?;
    read_into(&file, cx, &mut sink, How::PLAIN).await
}

/// write(2).
pub async fn write(cx: &Cx, fd: Fd, addr: UserAddr, len: usize) -> Result<usize> {
    let file = writable(cx, fd)?;
    let mut src = cx.source(UserBytes { addr, len })?;
    let n = write_from(&file, cx, &mut src, How::PLAIN).await?;
    sync_after(cx, &file, How::PLAIN).await?;
    Ok(n)
}

/// pread64(2). A negative offset is EINVAL before the descriptor is looked at.
pub async fn pread64(cx: &Cx, fd: Fd, addr: UserAddr, len: usize, pos: i64) -> Result<usize> {
    let at = offset(pos)?;
    let file = cx.task.files().get(fd)?;
    positioned(&file)?;
    let file = readable(cx, fd)?;
    let mut sink = cx.sink(UserBytes { addr, len })?;
    read_into(&file, cx, &mut sink, How::at(at)).await
}

/// pwrite64(2). With O_APPEND the data go to the end, as on Linux.
pub async fn pwrite64(cx: &Cx, fd: Fd, addr: UserAddr, len: usize, pos: i64) -> Result<usize> {
    let at = offset(pos)?;
    let file = cx.task.files().get(fd)?;
    positioned(&file)?;
    let file = writable(cx, fd)?;
    let mut src = cx.source(UserBytes { addr, len })?;
    let n = write_from(&file, cx, &mut src, How::at(at)).await?;
    sync_after(cx, &file, How::at(at)).await?;
    Ok(n)
}

async fn readv_how(cx: &Cx, fd: Fd, iov: UserRef<Iovec>, n: usize, how: How) -> Result<usize> {
    let file = cx.task.files().get(fd)?;
    if matches!(how.place, Where::At(_)) {
        positioned(&file)?;
    }
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    let mut sink = cx.sink_iov(cx.read_iovec(iov, n)?);
    if sink.remaining() == 0 {
        return Ok(0);
    }
    read_into(&file, cx, &mut sink, how).await
}

async fn writev_how(cx: &Cx, fd: Fd, iov: UserRef<Iovec>, n: usize, how: How) -> Result<usize> {
    let file = cx.task.files().get(fd)?;
    if matches!(how.place, Where::At(_)) {
        positioned(&file)?;
    }
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    let mut src = cx.source_iov(cx.read_iovec(iov, n)?);
    if src.remaining() == 0 {
        return Ok(0);
    }
    let n = write_from(&file, cx, &mut src, how).await?;
    sync_after(cx, &file, how).await?;
    Ok(n)
}

/// readv(2).
pub async fn readv(cx: &Cx, fd: Fd, iov: UserRef<Iovec>, n: usize) -> Result<usize> {
    readv_how(cx, fd, iov, n, How::PLAIN).await
}

/// writev(2).
pub async fn writev(cx: &Cx, fd: Fd, iov: UserRef<Iovec>, n: usize) -> Result<usize> {
    writev_how(cx, fd, iov, n, How::PLAIN).await
}

/// preadv(2).
pub async fn preadv(cx: &Cx, fd: Fd, iov: UserRef<Iovec>, n: usize, pos: i64) -> Result<usize> {
    readv_how(cx, fd, iov, n, How::at(offset(pos)?)).await
}

/// pwritev(2).
pub async fn pwritev(cx: &Cx, fd: Fd, iov: UserRef<Iovec>, n: usize, pos: i64) -> Result<usize> {
    writev_how(cx, fd, iov, n, How::at(offset(pos)?)).await
}

/// RWF_NOAPPEND; the C library doesn't have it yet.
const RWF_NOAPPEND: i32 = 0x20;

/// Decodes preadv2(2)'s offset and flags: EOPNOTSUPP for flags that are unknown or mean nothing here.
fn rwf(pos: i64, flags: i32, write: bool) -> Result<How> {
    let mut how = if pos == -1 {
        How::PLAIN
    } else {
        How::at(offset(pos)?)
    };
    let mut known = libc::RWF_HIPRI | libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_NOWAIT;
    if write {
        known |= libc::RWF_APPEND | RWF_NOAPPEND;
    }
    if flags & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags & libc::RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 {
        return Err(Errno::EINVAL);
    }
    how.nowait = flags & libc::RWF_NOWAIT != 0;
    how.append = flags & libc::RWF_APPEND != 0;
    how.no_append = flags & RWF_NOAPPEND != 0;
    if flags & (libc::RWF_SYNC | libc::RWF_DSYNC) != 0 {
        how.sync = Some(flags & libc::RWF_SYNC == 0);
    }
    Ok(how)
}

/// RWF_NOWAIT needs a file that can say whether it would wait.
fn nowait_possible(cx: &Cx, fd: Fd, how: How) -> Result<()> {
    if how.nowait && cx.task.files().get(fd)?.ops.wait_queue().is_none() {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

/// preadv2(2). The high half of the offset comes in a register of its own and is nothing on 64 bits.
pub async fn preadv2(
    cx: &Cx,
    fd: Fd,
    iov: UserRef<Iovec>,
    n: usize,
    pos: i64,
    flags: i32,
) -> Result<usize> {
    let how = rwf(pos, flags, false)?;
    nowait_possible(cx, fd, how)?;
    readv_how(cx, fd, iov, n, how).await
}

/// pwritev2(2).
pub async fn pwritev2(
    cx: &Cx,
    fd: Fd,
    iov: UserRef<Iovec>,
    n: usize,
    pos: i64,
    flags: i32,
) -> Result<usize> {
    let how = rwf(pos, flags, true)?;
    nowait_possible(cx, fd, how)?;
    writev_how(cx, fd, iov, n, how).await
}

/// lseek(2).
pub fn lseek(cx: &Cx, fd: Fd, by: i64, whence: u32) -> Result<u64> {
    let file = cx.task.files().get(fd)?;
    let to = match whence as i32 {
        libc::SEEK_SET => SeekFrom::Start(by),
        libc::SEEK_CUR => SeekFrom::Current(by),
        libc::SEEK_END => SeekFrom::End(by),
        libc::SEEK_DATA => SeekFrom::Data(by),
        libc::SEEK_HOLE => SeekFrom::Hole(by),
        _ => return Err(Errno::EINVAL),
    };
    positioned(&file)?;
    let mut pos = file.pos.lock();
    let new = file.ops.seek(&file, *pos, to)?;
    *pos = new;
    Ok(new)
}

/// fsync(2).
pub async fn fsync(cx: &Cx, fd: Fd) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    sync_file(cx, &file, false).await
}

/// fdatasync(2).
pub async fn fdatasync(cx: &Cx, fd: Fd) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    sync_file(cx, &file, true).await
}

/// sync_file_range(2): does as much as fdatasync(2), which is more than was asked for.
pub async fn sync_file_range(cx: &Cx, fd: Fd, from: i64, len: i64, flags: u32) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    let known = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    if flags & !known != 0 || from < 0 || len < 0 || from.checked_add(len).is_none() {
        return Err(Errno::EINVAL);
    }
    positioned(&file)?;
    sync_file(cx, &file, true).await
}

/// syncfs(2).
pub async fn syncfs(cx: &Cx, fd: Fd) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    let Some(path) = file.path() else {
        return Ok(());
    };
    let sb = Arc::clone(path.mount.sb());
    let cell = Arc::clone(cx.task.cell());
    cx.kernel()
        .executor
        .blocking(cell, move || sb.fs.sync())
        .await
}

/// sync(2).
pub async fn sync(cx: &Cx) -> Result<()> {
    let fs = cx.task.fs();
    let ns = fs.namespace();
    let mounts = ns.list(&ns.root().root_path());
    for info in mounts {
        let sb = Arc::clone(info.mount.sb());
        let cell = Arc::clone(cx.task.cell());
        // sync(2) reports no error.
        let _ = cx
            .kernel()
            .executor
            .blocking(cell, move || sb.fs.sync())
            .await;
    }
    Ok(())
}

/// readahead(2): EBADF unless open for reading, EINVAL unless a regular file. The host reads ahead as it sees fit.
pub fn readahead(cx: &Cx, fd: Fd) -> Result<()> {
    let file = readable(cx, fd)?;
    if is_regular(&file) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// posix_fadvise(2): advice is checked and left to the host's own judgement.
pub fn fadvise64(cx: &Cx, fd: Fd, _from: i64, len: i64, advice: i32) -> Result<()> {
    let file = cx.task.files().get(fd)?;
    if !file.ops.seekable() {
        return Err(Errno::ESPIPE);
    }
    if len < 0 || !(0..=5).contains(&advice) {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}
