//! Data through sockets: send(2), recv(2) and their relatives, and read(2) and write(2) of sockets.

use super::Fd;
use super::control;
use super::socket::{open, read_address, wait, write_address};
use crate::executor::PollEvents;
use crate::net::{Control, MsgFlags, Received, SockAddr, Socket, SocketFile};
use crate::task::{Cx, Deadline};
use crate::user::{Sink, Source, UserAddr, UserBytes, UserIov, UserRef};
use crate::vfs::File;
use arch::abi::{Iovec, MmsgHdr, MsgHdr, Timespec, UIO_MAXIOV};
use arch::{Errno, Result};
use std::sync::Arc;

/// MSG_CMSG_COMPAT: the kernel's own; never an application's.
const CMSG_COMPAT: u32 = 0x8000_0000;

/// Sends all of `src`, waiting for room unless told not to. What was sent before an error or a signal counts.
async fn send(
    cx: &Cx,
    socket: &dyn Socket,
    src: &mut (dyn Source + Send),
    to: Option<&SockAddr>,
    mut control: &[Control],
    flags: MsgFlags,
) -> Result<usize> {
    let stream = socket.base().kind == libc::SOCK_STREAM;
    let deadline = socket.base().send_timeout().map(Deadline::after);
    let mut sent = 0;
    let result = loop {
        let mut op = || socket.sendmsg(cx, src, to, control, flags);
        let result = if flags.contains(MsgFlags::DONTWAIT) {
            op()
        } else {
            wait(
                cx,
                socket,
                PollEvents::WRITABLE | PollEvents::HUP,
                deadline,
                op,
            )
            .await
        };
        match result {
            Ok(n) => {
                sent += n;
                control = &[];
                if !stream || src.remaining() == 0 || n == 0 {
                    return Ok(sent);
                }
            }
            Err(e) => break e,
        }
    };
    if sent > 0 {
        return Ok(sent);
    }
    if result == Errno::EPIPE && stream && !flags.contains(MsgFlags::NOSIGNAL) {
        super::pipe::sigpipe(cx);
    }
    Err(result)
}

/// Receives into `dst`, waiting for data unless told not to.
async fn receive(
    cx: &Cx,
    socket: &dyn Socket,
    dst: &mut (dyn Sink + Send),
    flags: MsgFlags,
) -> Result<Received> {
    let base = socket.base();
    let deadline = base.recv_timeout().map(Deadline::after);
    let waits = !flags.intersects(MsgFlags::DONTWAIT | MsgFlags::ERRQUEUE);
    let asked = dst.remaining();
    let target = if flags.contains(MsgFlags::WAITALL) {
        asked
    } else {
        asked.min(
            usize::try_from(base.rcvlowat.load(std::sync::atomic::Ordering::Relaxed)).unwrap_or(1),
        )
    };
    let mut whole: Option<Received> = None;
    loop {
        let mut op = || socket.recvmsg(dst, flags);
        let result = if waits {
            let interest = PollEvents::READABLE | PollEvents::RDHUP | PollEvents::PRI;
            wait(cx, socket, interest, deadline, op).await
        } else {
            op()
        };
        let piece = match (result, whole.take()) {
            (Ok(piece), None) => piece,
            (Ok(piece), Some(mut before)) => {
                before.len += piece.len;
                before.flags |= piece.flags;
                before.control.extend(piece.control);
                before.boundary = piece.boundary || piece.len == 0;
                before
            }
            // What came before an error or a signal counts.
            (Err(_), Some(before)) => return Ok(before),
            (Err(e), None) => return Err(e),
        };
        let more = base.kind == libc::SOCK_STREAM
            && !flags.contains(MsgFlags::PEEK)
            && !piece.boundary
            && piece.len > 0
            && piece.len < target
            && dst.remaining() > 0;
        if !more {
            return Ok(piece);
        }
        whole = Some(piece);
    }
}

/// The flags of a call, with MSG_DONTWAIT where the description says so.
fn with_nonblock(file: &File, flags: u32) -> MsgFlags {
    let mut flags = MsgFlags::from_bits_retain(flags & !CMSG_COMPAT);
    if file.nonblocking() {
        flags |= MsgFlags::DONTWAIT;
    }
    flags
}

/// read(2) and readv(2) of a socket. `nowait` is RWF_NOWAIT.
pub(crate) async fn read_file(
    cx: &Cx,
    file: &File,
    dst: &mut (dyn Sink + Send),
    nowait: bool,
) -> Result<usize> {
    let flags = with_nonblock(file, if nowait { MsgFlags::DONTWAIT.bits() } else { 0 });
    // Files that nobody takes are closed.
    Ok(receive(cx, &**SocketFile::of(file)?, dst, flags).await?.len)
}

/// write(2) and writev(2) of a socket.
pub(crate) async fn write_file(
    cx: &Cx,
    file: &File,
    src: &mut (dyn Source + Send),
    nowait: bool,
) -> Result<usize> {
    let flags = with_nonblock(file, if nowait { MsgFlags::DONTWAIT.bits() } else { 0 });
    send(cx, &**SocketFile::of(file)?, src, None, &[], flags).await
}

/// sendto(2).
pub async fn sendto(
    cx: &Cx,
    fd: Fd,
    buf: UserAddr,
    len: usize,
    flags: u32,
    to: UserAddr,
    to_len: i32,
) -> Result<usize> {
    let mut src = cx.source(UserBytes { addr: buf, len })?;
    let open = open(cx, fd)?;
    let to = if to.is_null() {
        None
    } else {
        Some(read_address(cx, to, to_len)?)
    };
    let flags = with_nonblock(&open.file, flags);
    send(cx, &*open.socket, &mut src, to.as_ref(), &[], flags).await
}

/// recvfrom(2).
pub async fn recvfrom(
    cx: &Cx,
    fd: Fd,
    buf: UserAddr,
    len: usize,
    flags: u32,
    from: UserAddr,
    from_len: UserRef<i32>,
) -> Result<usize> {
    let mut dst = cx.sink(UserBytes { addr: buf, len })?;
    let open = open(cx, fd)?;
    let flags = with_nonblock(&open.file, flags);
    let received = receive(cx, &*open.socket, &mut dst, flags).await?;
    if !from.is_null() {
        write_address(cx, &received.from, from, from_len)?;
    }
    Ok(received.len)
}

/// The buffers of a message: EMSGSIZE for more than UIO_MAXIOV of them.
fn read_iov(cx: &Cx, hdr: &MsgHdr) -> Result<UserIov> {
    let count = usize::try_from(hdr.iovlen)
        .ok()
        .filter(|n| *n <= UIO_MAXIOV)
        .ok_or(Errno::EMSGSIZE)?;
    cx.read_iovec(UserRef::<Iovec>::new(UserAddr(hdr.iov)), count)
}

async fn send_one(
    cx: &Cx,
    socket: &Arc<dyn Socket>,
    hdr: &MsgHdr,
    flags: MsgFlags,
) -> Result<usize> {
    let to = if hdr.name == 0 || hdr.namelen == 0 {
        None
    } else if hdr.namelen < 0 {
        return Err(Errno::EINVAL);
    } else {
        Some(read_address(
            cx,
            UserAddr(hdr.name),
            hdr.namelen.min(SockAddr::MAX as i32),
        )?)
    };
    let mut src = cx.source_iov(read_iov(cx, hdr)?);
    let control = control::read(cx, socket, hdr)?;
    send(cx, &**socket, &mut src, to.as_ref(), &control, flags).await
}

/// sendmsg(2).
pub async fn sendmsg(cx: &Cx, fd: Fd, msg: UserRef<MsgHdr>, flags: u32) -> Result<usize> {
    let open = open(cx, fd)?;
    let hdr = cx.read_obj(msg)?;
    send_one(cx, &open.socket, &hdr, with_nonblock(&open.file, flags)).await
}

/// Offsets of what the kernel writes in a `struct msghdr`.
mod at {
    pub const NAMELEN: u64 = std::mem::offset_of!(arch::abi::MsgHdr, namelen) as u64;
    pub const CONTROLLEN: u64 = std::mem::offset_of!(arch::abi::MsgHdr, controllen) as u64;
    pub const FLAGS: u64 = std::mem::offset_of!(arch::abi::MsgHdr, flags) as u64;
}

async fn receive_one(
    cx: &Cx,
    socket: &dyn Socket,
    msg: UserRef<MsgHdr>,
    flags: MsgFlags,
) -> Result<usize> {
    let hdr = cx.read_obj(msg)?;
    if hdr.name != 0 && hdr.namelen < 0 {
        return Err(Errno::EINVAL);
    }
    let mut dst = cx.sink_iov(read_iov(cx, &hdr)?);
    let mut received = receive(cx, socket, &mut dst, flags).await?;
    if hdr.name != 0 {
        let len = UserRef::new(msg.addr().add(at::NAMELEN));
        write_address(cx, &received.from, UserAddr(hdr.name), len)?;
    }
    let cloexec = flags & MsgFlags::CMSG_CLOEXEC;
    let (written, cut) = control::write(
        cx,
        &hdr,
        std::mem::take(&mut received.control),
        !cloexec.is_empty(),
    );
    let mut out = received.flags | cloexec;
    out.set(MsgFlags::CTRUNC, cut);
    cx.write_obj(UserRef::new(msg.addr().add(at::FLAGS)), &out.bits())?;
    cx.write_obj(
        UserRef::new(msg.addr().add(at::CONTROLLEN)),
        &(written as u64),
    )?;
    Ok(received.len)
}

/// recvmsg(2).
pub async fn recvmsg(cx: &Cx, fd: Fd, msg: UserRef<MsgHdr>, flags: u32) -> Result<usize> {
    let open = open(cx, fd)?;
    receive_one(cx, &*open.socket, msg, with_nonblock(&open.file, flags)).await
}

/// Offset of `msg_len` in a `struct mmsghdr`.
const MMSG_LEN: u64 = std::mem::offset_of!(MmsgHdr, len) as u64;

/// sendmmsg(2): as many as go; an error is told only if none did.
pub async fn sendmmsg(
    cx: &Cx,
    fd: Fd,
    msgs: UserRef<MmsgHdr>,
    count: u32,
    flags: u32,
) -> Result<usize> {
    let open = open(cx, fd)?;
    let flags = with_nonblock(&open.file, flags);
    let count = (count as usize).min(UIO_MAXIOV);
    for n in 0..count {
        let at = msgs.index(n as u64);
        let one = async {
            let hdr = cx.read_obj(at.cast::<MsgHdr>())?;
            let len = send_one(cx, &open.socket, &hdr, flags).await?;
            cx.write_obj(UserRef::new(at.addr().add(MMSG_LEN)), &(len as u32))
        };
        match one.await {
            Ok(()) => {}
            Err(_) if n > 0 => return Ok(n),
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}

/// recvmmsg(2). The time-out is looked at after each message, as on Linux, and what is left of it is written back.
pub async fn recvmmsg(
    cx: &Cx,
    fd: Fd,
    msgs: UserRef<MmsgHdr>,
    count: u32,
    flags: u32,
    timeout: UserRef<Timespec>,
) -> Result<usize> {
    let deadline = match super::poll::timeout_spec(cx, timeout)? {
        (None, false) => None,
        (None, true) => Some(Deadline(0)),
        (deadline, _) => deadline,
    };
    let open = open(cx, fd)?;
    open.socket.base().take_error()?;
    let mut flags = with_nonblock(&open.file, flags);
    let for_one = flags.contains(MsgFlags::WAITFORONE);
    flags.remove(MsgFlags::WAITFORONE);
    let count = (count as usize).min(UIO_MAXIOV);
    let mut done = 0;
    while done < count {
        let at = msgs.index(done as u64);
        let one = async {
            let len = receive_one(cx, &*open.socket, at.cast(), flags).await?;
            cx.write_obj(UserRef::new(at.addr().add(MMSG_LEN)), &(len as u32))
        };
        match one.await {
            Ok(()) => done += 1,
            Err(e) if done == 0 => return Err(e),
            Err(e) => {
                // The next call shall have it.
                if e != Errno::EAGAIN && !e.is_restart() && e != Errno::EINTR {
                    open.socket.base().set_error(e);
                }
                break;
            }
        }
        if for_one {
            flags |= MsgFlags::DONTWAIT;
        }
        if deadline.is_some_and(Deadline::passed) {
            break;
        }
    }
    if let Some(deadline) = deadline {
        let left = Timespec::from_nanos(i64::try_from(deadline.remaining()).unwrap_or(i64::MAX));
        cx.write_obj(timeout, &left)?;
    }
    Ok(done)
}
