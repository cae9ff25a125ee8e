//! pipe(2), pipe2(2).

use super::Fd;
use crate::event::pipe::Pipe;
use crate::task::Cx;
use crate::user::UserRef;
use crate::vfs::File;
use arch::abi::{SI_USER, SigInfo};
use arch::signal::Signal;
use arch::{Errno, Result};
use std::sync::Arc;

/// Gives `file` the lowest free descriptor. EMFILE.
pub(crate) fn install(cx: &Cx, file: Arc<File>, cloexec: bool) -> Result<Fd> {
    let limit = cx.task.group.rlimit(libc::RLIMIT_NOFILE);
    cx.task.files().install(file, cloexec, limit)
}

/// The open file behind a descriptor. EBADF.
pub(crate) fn file(cx: &Cx, fd: Fd) -> Result<Arc<File>> {
    cx.task.files().get(fd)
}

/// Raises SIGPIPE in the caller, as a write without readers does.
pub(crate) fn sigpipe(cx: &Cx) {
    let info = SigInfo::kill(
        Signal::SIGPIPE,
        SI_USER,
        cx.task.group.pid,
        cx.task.creds().uid,
    );
    // The caller is alive and its queue takes standard signals always.
    let _ = crate::signal::send_to_task(&cx.task, info);
}

/// pipe2(2).
pub fn pipe2(cx: &Cx, fds: UserRef<[i32; 2]>, flags: i32) -> Result<()> {
    if flags & !(libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    let creds = cx.task.creds();
    let kept = flags & (libc::O_NONBLOCK | libc::O_DIRECT);
    let (reader, writer) = Pipe::pair(creds.fsuid, creds.fsgid, kept as u32);
    let limit = cx.task.group.rlimit(libc::RLIMIT_NOFILE);
    let files = cx.task.files();
    let read_fd = files.reserve(limit)?;
    let write_fd = files.reserve(limit)?;
    cx.write_obj(fds, &[read_fd.fd().0, write_fd.fd().0])?;
    let cloexec = flags & libc::O_CLOEXEC != 0;
    read_fd.fill(reader, cloexec);
    write_fd.fill(writer, cloexec);
    Ok(())
}

/// pipe(2).
pub fn pipe(cx: &Cx, fds: UserRef<[i32; 2]>) -> Result<()> {
    pipe2(cx, fds, 0)
}
