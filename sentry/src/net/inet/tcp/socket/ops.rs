//! What the socket layer calls.

use super::{Link, Phase, TcpSocket};
use crate::executor::PollEvents;
use crate::net::inet::addr::encode;
use crate::net::inet::ip::Rights;
use crate::net::inet::tcp::state::TcpState;
use crate::net::options::OptionValue;
use crate::net::socket::{Shutdown, Socket};
use crate::net::{Control, MsgFlags, Received, SockAddr, SocketBase};
use crate::task::Cx;
use crate::user::{Sink, Source, UserAddr, UserRef};
use arch::{Errno, Result};
use std::any::Any;
use std::sync::Arc;

impl Socket for TcpSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn base(&self) -> &SocketBase {
        &self.sk.base
    }

    fn poll(&self) -> PollEvents {
        self.readiness()
    }

    fn bind(&self, cx: &Cx, addr: &SockAddr) -> Result<()> {
        self.bind_as(Rights::of(cx), addr)
    }

    fn listen(&self, _cx: &Cx, backlog: u32) -> Result<()> {
        self.listen_with(backlog)
    }

    fn accept(&self) -> Result<Arc<dyn Socket>> {
        Ok(self.accept_one()?)
    }

    fn connect(&self, _cx: &Cx, addr: &SockAddr) -> Result<()> {
        self.connect_to(addr)
    }

    fn connect_status(&self) -> Result<()> {
        let mut st = self.locked();
        match st.link {
            Link::Connecting => self.outcome(&mut st),
            Link::Connected => Ok(()),
            // Another thread has had the answer.
            Link::Unconnected => Err(Errno::ECONNABORTED),
        }
    }

    fn sendmsg(
        &self,
        _cx: &Cx,
        src: &mut dyn Source,
        to: Option<&SockAddr>,
        _control: &[Control],
        flags: MsgFlags,
    ) -> Result<usize> {
        self.send(src, to, flags)
    }

    fn recvmsg(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        self.recv(dst, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.shut(how)
    }

    fn local_name(&self) -> Result<SockAddr> {
        Ok(encode(self.sk.family, self.locked().local))
    }

    fn peer_name(&self) -> Result<SockAddr> {
        let st = self.locked();
        match &st.phase {
            Phase::Open(conn, side) if conn.state(*side) != TcpState::Close => {
                Ok(encode(self.sk.family, conn.tuple(*side).remote))
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn accepted_name(&self) -> Result<SockAddr> {
        match &self.locked().phase {
            Phase::Open(conn, side) => Ok(encode(self.sk.family, conn.tuple(*side).remote)),
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn set_option(&self, cx: &Cx, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level == libc::SOL_SOCKET {
            self.sk.base.set_option(cx, name, value)?;
            if matches!(name, libc::SO_REUSEADDR | libc::SO_REUSEPORT) {
                self.sk.refresh_claim();
            }
            return Ok(());
        }
        self.set(Rights::of(cx), level, name, value)
    }

    fn get_option(&self, _cx: &Cx, level: i32, name: i32, room: usize) -> Result<OptionValue> {
        match level {
            libc::SOL_SOCKET => self.sk.socket_option(name, room),
            _ => self.get(level, name),
        }
    }

    fn ioctl(&self, cx: &Cx, cmd: u32, arg: u64) -> Result<u64> {
        let value = self.count(cmd)?;
        cx.write_obj(UserRef::new(UserAddr(arg)), &value)?;
        Ok(0)
    }

    fn close(&self) {
        self.release();
    }
}
