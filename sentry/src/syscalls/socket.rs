//! Sockets: making, naming, connecting, options. Data go by [`super::message`].

use super::Fd;
use super::pipe::install;
use crate::executor::PollEvents;
use crate::net::{Shutdown, SockAddr, Socket, SocketFile, family};
use crate::task::{Cx, Deadline};
use crate::user::{UserAddr, UserRef};
use crate::vfs::File;
use arch::abi::SO_PEERGROUPS;
use arch::{Errno, Result};
use std::sync::Arc;

/// SOCK_TYPE_MASK.
const TYPE_MASK: i32 = 0xf;
const FLAGS: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// The longest option value that is looked at.
const OPTION_MAX: usize = 4096;

/// An open socket: its file (for O_NONBLOCK) and what it does. EBADF, ENOTSOCK.
pub(super) struct Open {
    pub file: Arc<File>,
    pub socket: Arc<dyn Socket>,
}

pub(super) fn open(cx: &Cx, fd: Fd) -> Result<Open> {
    let file = cx.task.files().get(fd)?;
    let socket = Arc::clone(SocketFile::of(&file)?);
    Ok(Open { file, socket })
}

/// Tries `op` until it is done, within a time-out in nanoseconds (SO_RCVTIMEO, SO_SNDTIMEO).
///
/// A signal ends it with ERESTARTSYS, or with EINTR where there is a time-out; the time-out's end is EAGAIN.
pub(super) async fn wait<T>(
    cx: &Cx,
    socket: &dyn Socket,
    interest: PollEvents,
    deadline: Option<Deadline>,
    mut op: impl FnMut() -> Result<T>,
) -> Result<T> {
    // A connection's own ETIMEDOUT is not the wait's.
    let mut own = false;
    let mut noted = || {
        let result = op();
        own = matches!(result, Err(Errno::ETIMEDOUT));
        result
    };
    let result = cx
        .wait(&socket.base().queue, interest, deadline, &mut noted)
        .await;
    match result {
        Err(Errno::ETIMEDOUT) if !own => Err(Errno::EAGAIN),
        Err(Errno::ERESTARTSYS) if deadline.is_some() => Err(Errno::EINTR),
        other => other,
    }
}

/// Copies an address in: EINVAL for a length that none has.
pub(super) fn read_address(cx: &Cx, addr: UserAddr, len: i32) -> Result<SockAddr> {
    let len = usize::try_from(len)
        .ok()
        .filter(|l| *l <= SockAddr::MAX)
        .ok_or(Errno::EINVAL)?;
    let mut bytes = [0; SockAddr::MAX];
    cx.read_bytes(addr, &mut bytes[..len])?;
    SockAddr::new(&bytes[..len])
}

/// Copies an address out, cut to the room that `len` points to, which gets its whole length.
pub(super) fn write_address(
    cx: &Cx,
    from: &SockAddr,
    addr: UserAddr,
    len: UserRef<i32>,
) -> Result<()> {
    let room = usize::try_from(cx.read_obj(len)?).map_err(|_| Errno::EINVAL)?;
    cx.write_bytes(addr, &from.bytes()[..room.min(from.len())])?;
    cx.write_obj(len, &(from.len() as i32))
}

fn file_flags(flags: i32) -> u32 {
    if flags & libc::SOCK_NONBLOCK != 0 {
        libc::O_NONBLOCK as u32
    } else {
        0
    }
}

/// socket(2).
pub fn socket(cx: &Cx, family: i32, kind: i32, protocol: i32) -> Result<Fd> {
    let flags = kind & !TYPE_MASK;
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let socket = family::create(cx, family, kind & TYPE_MASK, protocol)?;
    install(
        cx,
        SocketFile::open(socket, file_flags(flags)),
        flags & libc::SOCK_CLOEXEC != 0,
    )
}

/// socketpair(2).
pub fn socketpair(
    cx: &Cx,
    family: i32,
    kind: i32,
    protocol: i32,
    fds: UserRef<[i32; 2]>,
) -> Result<()> {
    let flags = kind & !TYPE_MASK;
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let files = cx.task.files();
    let limit = cx.task.group.rlimit(libc::RLIMIT_NOFILE);
    let (one_fd, two_fd) = (files.reserve(limit)?, files.reserve(limit)?);
    let make = || {
        let socket = family::create(cx, family, kind & TYPE_MASK, protocol)?;
        let file = SocketFile::open(Arc::clone(&socket), file_flags(flags));
        Ok::<_, Errno>((socket, file))
    };
    let ((one, one_file), (two, two_file)) = (make()?, make()?);
    one.pair(cx, &two)?;
    cx.write_obj(fds, &[one_fd.fd().0, two_fd.fd().0])?;
    let cloexec = flags & libc::SOCK_CLOEXEC != 0;
    one_fd.fill(one_file, cloexec);
    two_fd.fill(two_file, cloexec);
    Ok(())
}

/// bind(2).
pub fn bind(cx: &Cx, fd: Fd, addr: UserAddr, len: i32) -> Result<()> {
    let open = open(cx, fd)?;
    let addr = read_address(cx, addr, len)?;
    open.socket.bind(cx, &addr)
}

/// listen(2). The backlog is cut to net.core.somaxconn, a negative one too.
pub fn listen(cx: &Cx, fd: Fd, backlog: i32) -> Result<()> {
    let open = open(cx, fd)?;
    open.socket.listen(
        cx,
        backlog
            .cast_unsigned()
            .min(cx.kernel().net.config.somaxconn.get()),
    )
}

/// accept4(2).
pub async fn accept4(cx: &Cx, fd: Fd, addr: UserAddr, len: UserRef<i32>, flags: i32) -> Result<Fd> {
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let open = open(cx, fd)?;
    let files = cx.task.files();
    let number = files.reserve(cx.task.group.rlimit(libc::RLIMIT_NOFILE))?;
    let socket = &*open.socket;
    let accepted = if open.file.nonblocking() {
        socket.accept()?
    } else {
        let deadline = socket.base().recv_timeout().map(Deadline::after);
        wait(cx, socket, PollEvents::READABLE, deadline, || {
            socket.accept()
        })
        .await?
    };
    let file = SocketFile::open(Arc::clone(&accepted), file_flags(flags));
    if !addr.is_null() {
        let name = accepted.accepted_name().map_err(|_| Errno::ECONNABORTED)?;
        write_address(cx, &name, addr, len)?;
    }
    Ok(number.fill(file, flags & libc::SOCK_CLOEXEC != 0))
}

/// accept(2).
pub async fn accept(cx: &Cx, fd: Fd, addr: UserAddr, len: UserRef<i32>) -> Result<Fd> {
    accept4(cx, fd, addr, len, 0).await
}

/// connect(2). A signal interrupts the wait, not the connection: a restarted or second call waits on.
pub async fn connect(cx: &Cx, fd: Fd, addr: UserAddr, len: i32) -> Result<()> {
    let open = open(cx, fd)?;
    let addr = read_address(cx, addr, len)?;
    let socket = &*open.socket;
    if open.file.nonblocking() {
        return socket.connect(cx, &addr);
    }
    let deadline = socket.base().send_timeout().map(Deadline::after);
    match wait(cx, socket, PollEvents::all(), deadline, || {
        socket.connect(cx, &addr)
    })
    .await
    {
        Err(Errno::EINPROGRESS | Errno::EALREADY) => {}
        done => return done,
    }
    match wait(cx, socket, PollEvents::all(), deadline, || {
        socket.connect_status()
    })
    .await
    {
        Err(Errno::EAGAIN) => Err(Errno::EINPROGRESS),
        done => done,
    }
}

/// getsockname(2).
pub fn getsockname(cx: &Cx, fd: Fd, addr: UserAddr, len: UserRef<i32>) -> Result<()> {
    let name = open(cx, fd)?.socket.local_name()?;
    write_address(cx, &name, addr, len)
}

/// getpeername(2).
pub fn getpeername(cx: &Cx, fd: Fd, addr: UserAddr, len: UserRef<i32>) -> Result<()> {
    let name = open(cx, fd)?.socket.peer_name()?;
    write_address(cx, &name, addr, len)
}

/// shutdown(2).
pub fn shutdown(cx: &Cx, fd: Fd, how: i32) -> Result<()> {
    let open = open(cx, fd)?;
    let how = match how {
        libc::SHUT_RD => Shutdown::Read,
        libc::SHUT_WR => Shutdown::Write,
        libc::SHUT_RDWR => Shutdown::Both,
        _ => return Err(Errno::EINVAL),
    };
    open.socket.shutdown(how)
}

/// setsockopt(2). No more of a value is looked at than its first page.
pub fn setsockopt(cx: &Cx, fd: Fd, level: i32, name: i32, value: UserAddr, len: i32) -> Result<()> {
    let open = open(cx, fd)?;
    let len = usize::try_from(len)
        .map_err(|_| Errno::EINVAL)?
        .min(OPTION_MAX);
    let mut bytes = vec![0; len];
    let got = cx.read_partial(value, &mut bytes);
    if got == 0 && len > 0 {
        return Err(Errno::EFAULT);
    }
    open.socket.set_option(cx, level, name, &bytes[..got])
}

/// getsockopt(2).
pub fn getsockopt(
    cx: &Cx,
    fd: Fd,
    level: i32,
    name: i32,
    value: UserAddr,
    len: UserRef<i32>,
) -> Result<()> {
    let open = open(cx, fd)?;
    let room = usize::try_from(cx.read_obj(len)?).map_err(|_| Errno::EINVAL)?;
    let result = open.socket.get_option(cx, level, name, room)?;
    if (level, name) == (libc::SOL_SOCKET, SO_PEERGROUPS) && result.len() > room {
        cx.write_obj(len, &(result.len() as i32))?;
        return Err(Errno::ERANGE);
    }
    let fits = room.min(result.len());
    cx.write_bytes(value, &result[..fits])?;
    cx.write_obj(len, &(fits as i32))
}
