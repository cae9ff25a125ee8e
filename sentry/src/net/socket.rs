//! What a socket family implements, and the open file over it.

use super::message::{Control, MsgFlags, Received, SockAddr};
use super::options::{OptionValue, SocketBase};
use crate::executor::{PollEvents, WaitQueue};
use crate::task::Cx;
use crate::user::{Sink, Source};
use crate::vfs::{File, FileOps};
use arch::abi::Stat;
use arch::{Errno, Result};
use std::any::Any;
use std::sync::Arc;

/// Which halves shutdown(2) ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}

impl Shutdown {
    /// Receiving ends.
    pub fn read(self) -> bool {
        self != Self::Write
    }

    /// Sending ends.
    pub fn write(self) -> bool {
        self != Self::Read
    }
}

/// A socket of any family.
///
/// No operation blocks. One that can't go on returns EAGAIN, has changed nothing, and `base().queue` is notified when
/// another try may do better; the syscall layer (`syscalls::socket`) waits there, unless O_NONBLOCK or MSG_DONTWAIT,
/// within SO_RCVTIMEO or SO_SNDTIMEO. The layer has copied addresses and control data in, loops over partial sends and
/// MSG_WAITALL, raises SIGPIPE for EPIPE, and turns descriptors into files and back.
pub trait Socket: Send + Sync + Any {
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;

    /// What all sockets have. Families make it in their constructor with [`SocketBase::for_caller`].
    fn base(&self) -> &SocketBase;

    /// What is ready now. Calls with `HUP`, `RDHUP`, `ERR` as Linux reports them for the family.
    fn poll(&self) -> PollEvents;

    /// bind(2).
    fn bind(&self, _cx: &Cx, _addr: &SockAddr) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// listen(2). `backlog` is what the caller said, cut to net.core.somaxconn (4096) as an unsigned number.
    fn listen(&self, _cx: &Cx, _backlog: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// accept(2): the next connection; EAGAIN while there is none. Its address is asked for with
    /// [`Socket::accepted_name`].
    fn accept(&self) -> Result<Arc<dyn Socket>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// connect(2). `Ok`: connected. EINPROGRESS: begun just now; EALREADY: begun earlier: a blocking caller goes on with
    /// [`Socket::connect_status`]. EAGAIN (AF_UNIX): the listener's backlog is full: a blocking caller tries again.
    fn connect(&self, _cx: &Cx, _addr: &SockAddr) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// How a connect that answered EINPROGRESS or EALREADY stands: EAGAIN while it goes on, then its outcome.
    fn connect_status(&self) -> Result<()> {
        Ok(())
    }

    /// sendmsg(2), without waiting. Streams may take a part (the sink is advanced by what was taken), datagrams all or nothing.
    /// `to` is the caller's address, if it gave one. EPIPE: the layer raises SIGPIPE. `control` stays the layer's: after a part was
    /// taken it calls again without it.
    fn sendmsg(
        &self,
        cx: &Cx,
        src: &mut dyn Source,
        to: Option<&SockAddr>,
        control: &[Control],
        flags: MsgFlags,
    ) -> Result<usize>;

    /// recvmsg(2), without waiting: PEEK, TRUNC, OOB, ERRQUEUE and DONTROUTE matter here; WAITALL and DONTWAIT are the layer's.
    /// End of stream is `len == 0`.
    fn recvmsg(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received>;

    /// shutdown(2).
    fn shutdown(&self, _how: Shutdown) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// getsockname(2).
    fn local_name(&self) -> Result<SockAddr>;

    /// getpeername(2); ENOTCONN.
    fn peer_name(&self) -> Result<SockAddr> {
        Err(Errno::ENOTCONN)
    }

    /// The peer's name as accept(2) gives it: also of a connection that has ended meanwhile.
    fn accepted_name(&self) -> Result<SockAddr> {
        self.peer_name()
    }

    /// setsockopt(2). A family looks at its own levels (and at SOL_SOCKET options that it wants to know of or refuse) and
    /// hands SOL_SOCKET to `base()`.
    fn set_option(&self, cx: &Cx, level: i32, name: i32, value: &[u8]) -> Result<()> {
        match level {
            libc::SOL_SOCKET => self.base().set_option(cx, name, value),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// getsockopt(2). The layer cuts the value to the caller's `room` and reports the length so cut. ERANGE is SO_PEERGROUPS' with too little
    /// room.
    fn get_option(&self, _cx: &Cx, level: i32, name: i32, room: usize) -> Result<OptionValue> {
        match level {
            libc::SOL_SOCKET => self.base().get_option(name, room),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// socketpair(2): makes this new socket and another of the same kind each other's peers.
    fn pair(&self, _cx: &Cx, _other: &Arc<dyn Socket>) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The family's ioctls (FIONREAD, SIOCOUTQ, SIOCATMARK). ENOTTY hands on to the interface ioctls, which all sockets answer.
    fn ioctl(&self, _cx: &Cx, _cmd: u32, _arg: u64) -> Result<u64> {
        Err(Errno::ENOTTY)
    }

    /// A descriptor of this socket is being closed, not necessarily the last.
    fn flush(&self) {}

    /// The last description of this socket is gone. A stream may go on by itself to send what it has.
    fn close(&self);
}

/// The open file of a socket.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
}

impl SocketFile {
    /// A description of `socket` with `flags` (O_NONBLOCK or none; O_RDWR is added).
    pub fn open(socket: Arc<dyn Socket>, flags: u32) -> Arc<File> {
        File::new(Box::new(Self { socket }), flags | libc::O_RDWR as u32)
    }

    /// The socket behind it.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// The socket behind an open file; ENOTSOCK.
    pub fn of(file: &File) -> Result<&Arc<dyn Socket>> {
        file.downcast::<Self>()
            .map(Self::socket)
            .ok_or(Errno::ENOTSOCK)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.socket.close();
    }
}

/// sockfs' mode bits: every socket is `srwxrwxrwx`.
const SOCKET_MODE: u32 = libc::S_IFSOCK | 0o777;

impl FileOps for SocketFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self, _: &File) -> Result<Stat> {
        let base = self.socket.base();
        Ok(crate::event::anon_stat(
            crate::event::SOCKFS_DEV,
            base.ino,
            SOCKET_MODE,
            base.uid,
            base.gid,
        ))
    }

    /// Without a caller's context: the read(2) handler goes by `syscalls::socket` instead.
    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        let received = self.socket.recvmsg(dst, MsgFlags::empty())?;
        Ok(received.len)
    }

    fn poll(&self, _: &File) -> PollEvents {
        self.socket.poll()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.socket.base().queue)
    }

    fn flush(&self, _: &File) -> Result<()> {
        self.socket.flush();
        Ok(())
    }

    fn ioctl(&self, cx: &Cx, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        match self.socket.ioctl(cx, cmd, arg) {
            Err(Errno::ENOTTY) => super::family::interface_ioctl(cx, &self.socket, cmd, arg),
            done => done,
        }
    }

    fn link_text(&self, _: &File) -> Option<Vec<u8>> {
        Some(format!("socket:[{}]", self.socket.base().ino).into_bytes())
    }
}
