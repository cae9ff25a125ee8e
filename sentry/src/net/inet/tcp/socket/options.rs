//! Options, and the ioctl(2) commands that count.

use super::{Phase, TcpSocket};
use crate::net::inet::ip::{Rights, Subject};
use crate::net::inet::tcp::options::{add_connection, info};
use crate::net::options::OptionValue;
use arch::{Errno, Result};

const SIOCOUTQNSD: u32 = 0x894b;
const SIOCATMARK: u32 = 0x8905;

impl TcpSocket {
    fn subject(&self) -> Subject {
        let connected = matches!(self.locked().phase, Phase::Open(..));
        Subject {
            stream: true,
            bound: self.sk.has_port(),
            connected,
        }
    }

    /// setsockopt(2) but at SOL_SOCKET.
    pub fn set(&self, who: Rights, level: i32, name: i32, value: &[u8]) -> Result<()> {
        match level {
            libc::IPPROTO_TCP => {
                let state = Self::tcp_state(&self.locked());
                self.options.set(who, state, name, value)
            }
            _ if crate::net::inet::udp::multicast::is_membership(level, name) => Err(Errno::EPROTO),
            _ => self.sk.ip.set(
                &self.sk.stack,
                self.sk.family,
                who,
                self.subject(),
                (level, name),
                value,
            ),
        }
    }

    /// getsockopt(2) but at SOL_SOCKET.
    pub fn get(&self, level: i32, name: i32) -> Result<OptionValue> {
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_INFO) => Ok(self.info()),
            (libc::IPPROTO_TCP, _) => {
                let state = Self::tcp_state(&self.locked());
                self.options.get(&self.sk.stack, state, name)
            }
            _ => self.sk.ip.get(
                &self.sk.stack,
                self.sk.family,
                self.subject(),
                (level, name),
            ),
        }
    }

    fn info(&self) -> OptionValue {
        let st = self.locked();
        let mut info = info(Self::tcp_state(&st));
        match &st.phase {
            Phase::Listening(listener) => {
                let (ready, backlog) = listener.lengths();
                info.unacked = u32::try_from(ready).unwrap_or(u32::MAX);
                info.sacked = u32::try_from(backlog).unwrap_or(u32::MAX);
            }
            Phase::Open(conn, side) => {
                let window = u32::try_from(self.sk.base.rcvbuf() / 2).unwrap_or(u32::MAX);
                add_connection(&mut info, conn.traffic(*side), window);
                info.notsent_bytes = u32::try_from(conn.unsent(*side)).unwrap_or(u32::MAX);
            }
            _ => {}
        }
        OptionValue::from_slice(bytemuck::bytes_of(&info))
    }

    /// FIONREAD, SIOCOUTQ, SIOCATMARK: the number to store; ENOTTY for another command.
    pub fn count(&self, cmd: u32) -> Result<i32> {
        let st = self.locked();
        if !matches!(cmd, SIOCATMARK | SIOCOUTQNSD)
            && u64::from(cmd) != libc::FIONREAD
            && u64::from(cmd) != libc::TIOCOUTQ
        {
            return Err(Errno::ENOTTY);
        }
        if matches!(st.phase, Phase::Listening(_)) && cmd != SIOCATMARK {
            return Err(Errno::EINVAL);
        }
        let Some((conn, side)) = Self::conn(&st) else {
            return Ok(0);
        };
        drop(st);
        let n = match cmd {
            SIOCATMARK => usize::from(conn.at_mark(side)),
            cmd if u64::from(cmd) == libc::FIONREAD => conn.unread(side),
            _ => conn.unsent(side),
        };
        Ok(i32::try_from(n).unwrap_or(i32::MAX))
    }
}
