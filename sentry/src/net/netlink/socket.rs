//! The netlink socket: the kernel is its only peer.

use super::message::{ACK, REQUEST, error, requests};
use super::route::{self, Asker};
use crate::executor::PollEvents;
use crate::net::inet::Stack;
use crate::net::options::{OptionValue, int};
use crate::net::{Control, MsgFlags, Received, SockAddr, Socket, SocketBase};
use crate::task::{Cx, cap};
use crate::user::{Sink, Source};
use arch::{Errno, Result};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const SOCKADDR_NL: usize = 12;
const SOL_NETLINK: i32 = 270;
const NETLINK_PKTINFO: i32 = 3;
/// RTNLGRP_MAX, rounded up to what the kernel makes of it.
const GROUPS: i32 = 64;
/// What an answer counts against SO_RCVBUF beyond its length.
const OVERHEAD: usize = 512;

/// Port ids in use. The lock is a leaf.
#[derive(Default)]
pub struct PortIds(Mutex<BTreeSet<u32>>);

impl PortIds {
    /// The process id as a port id, or another number when that is taken (netlink_autobind).
    fn take_auto(&self, pid: u32, random: impl Fn() -> u64) -> u32 {
        let mut used = self.0.lock();
        let mut id = pid;
        while id == 0 || !used.insert(id) {
            // From the upper half, where no process id is.
            id = 0x8000_0000 | random() as u32;
        }
        id
    }

    fn take(&self, id: u32) -> Result<()> {
        if self.0.lock().insert(id) {
            Ok(())
        } else {
            Err(Errno::EADDRINUSE)
        }
    }

    fn release(&self, id: u32) {
        self.0.lock().remove(&id);
    }
}

#[derive(Default)]
struct State {
    /// The port id; 0: none yet.
    pid: u32,
    groups: u64,
    queue: VecDeque<Vec<u8>>,
    /// What the queue holds, with overhead.
    used: usize,
    /// Options at SOL_NETLINK, one bit each.
    options: u32,
}

/// A NETLINK_ROUTE socket.
pub struct NetlinkSocket {
    base: SocketBase,
    stack: Arc<Stack>,
    state: Mutex<State>,
}

/// A `struct sockaddr_nl`: port id and groups.
fn decode(name: &SockAddr) -> Result<(u32, u32)> {
    let b = name.bytes();
    if b.len() < SOCKADDR_NL || name.family().map(i32::from) != Some(libc::AF_NETLINK) {
        return Err(Errno::EINVAL);
    }
    let word = |at: usize| u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    Ok((word(4), word(8)))
}

fn encode(pid: u32, groups: u32) -> SockAddr {
    let mut out = SmallVec::<[u8; SOCKADDR_NL]>::new();
    out.extend_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&pid.to_ne_bytes());
    out.extend_from_slice(&groups.to_ne_bytes());
    SockAddr::new(&out).unwrap_or_default()
}

impl NetlinkSocket {
    /// A new socket.
    pub fn new(stack: &Arc<Stack>, base: SocketBase) -> Arc<Self> {
        Arc::new(Self {
            base,
            stack: Arc::clone(stack),
            state: Mutex::default(),
        })
    }

    /// bind(2) by a process.
    pub fn bind_as(&self, process: u32, name: &SockAddr) -> Result<()> {
        let (pid, groups) = decode(name)?;
        let mut st = self.state.lock();
        if st.pid != 0 && pid != st.pid {
            return Err(Errno::EINVAL);
        }
        if st.pid == 0 {
            st.pid = match pid {
                0 => self
                    .stack
                    .netlink
                    .take_auto(process, || self.stack.random()),
                id => {
                    self.stack.netlink.take(id)?;
                    id
                }
            };
        }
        st.groups = st.groups & !u64::from(u32::MAX) | u64::from(groups);
        Ok(())
    }

    /// sendmsg(2): requests, which are answered at once.
    pub fn send(
        &self,
        process: u32,
        admin: bool,
        src: &mut dyn Source,
        to: Option<&SockAddr>,
        flags: MsgFlags,
    ) -> Result<usize> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (to, groups) = to.map_or(Ok((0, 0)), decode)?;
        if (to != 0 || groups != 0) && !admin {
            return Err(Errno::EPERM);
        }
        let pid = {
            let mut st = self.state.lock();
            if st.pid == 0 {
                st.pid = self
                    .stack
                    .netlink
                    .take_auto(process, || self.stack.random());
            }
            st.pid
        };
        let len = src.remaining();
        if len > self.base.sndbuf().saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        let data = src.read_all()?;
        if to != 0 {
            // Other sockets don't take messages from applications.
            return Err(Errno::ECONNREFUSED);
        }
        let capped = self.has(libc::NETLINK_CAP_ACK);
        for r in requests(&data) {
            let mut outcome = Ok(());
            // Control messages and answers are nothing to answer.
            if r.flags & REQUEST != 0 && r.kind >= 16 {
                match route::answer(&self.stack, Asker { pid, admin }, &r) {
                    Ok(answers) => answers.into_iter().for_each(|a| self.deliver(a)),
                    Err(e) => outcome = Err(e),
                }
            }
            if r.flags & ACK != 0 || outcome.is_err() {
                self.deliver(error(&r, outcome, pid, capped));
            }
        }
        Ok(len)
    }

    fn deliver(&self, message: Vec<u8>) {
        let charge = message.len() + OVERHEAD;
        let mut st = self.state.lock();
        if st.used > 0 && st.used + charge > self.base.rcvbuf() {
            drop(st);
            if !self.has(libc::NETLINK_NO_ENOBUFS) {
                self.base.set_error(Errno::ENOBUFS);
                self.base.queue.notify(PollEvents::ERR);
            }
            return;
        }
        st.used += charge;
        st.queue.push_back(message);
        drop(st);
        self.base.queue.notify(PollEvents::READABLE);
    }

    fn has(&self, option: i32) -> bool {
        self.state.lock().options & (1 << option) != 0
    }

    /// recvmsg(2).
    pub fn recv(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.base.take_error()?;
        let (message, pktinfo) = {
            let mut st = self.state.lock();
            let pktinfo = st.options & (1 << NETLINK_PKTINFO) != 0;
            let front = if flags.contains(MsgFlags::PEEK) {
                st.queue.front().cloned()
            } else {
                st.queue.pop_front()
            };
            let message = front.ok_or(Errno::EAGAIN)?;
            if !flags.contains(MsgFlags::PEEK) {
                st.used -= message.len() + OVERHEAD;
            }
            (message, pktinfo)
        };
        let room = dst.remaining();
        let part = &message[..message.len().min(room)];
        let mut done = 0;
        while done < part.len() {
            match dst.write(&part[done..])? {
                0 => return Err(Errno::EFAULT),
                n => done += n,
            }
        }
        let mut received = Received {
            len: done,
            from: encode(0, 0),
            boundary: true,
            ..Received::default()
        };
        if message.len() > room {
            received.flags |= MsgFlags::TRUNC;
            if flags.contains(MsgFlags::TRUNC) {
                received.len = message.len();
            }
        }
        if pktinfo {
            let data = SmallVec::from_slice(&[0; 4]);
            received.control.push(Control::Raw {
                level: SOL_NETLINK,
                kind: NETLINK_PKTINFO,
                data,
            });
        }
        Ok(received)
    }

    fn set(&self, name: i32, value: &[u8]) -> Result<()> {
        let v = int(value)?;
        let mut st = self.state.lock();
        match name {
            libc::NETLINK_ADD_MEMBERSHIP | libc::NETLINK_DROP_MEMBERSHIP => {
                if !(1..=GROUPS).contains(&v) {
                    return Err(Errno::EINVAL);
                }
                let bit = 1u64 << (v - 1);
                if name == libc::NETLINK_ADD_MEMBERSHIP {
                    st.groups |= bit
                } else {
                    st.groups &= !bit
                }
            }
            NETLINK_PKTINFO
            | libc::NETLINK_BROADCAST_ERROR
            | libc::NETLINK_NO_ENOBUFS
            | libc::NETLINK_CAP_ACK
            | libc::NETLINK_EXT_ACK
            | libc::NETLINK_GET_STRICT_CHK => {
                let bit = 1 << name;
                if v != 0 {
                    st.options |= bit
                } else {
                    st.options &= !bit
                }
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn get(&self, name: i32) -> Result<OptionValue> {
        let st = self.state.lock();
        match name {
            libc::NETLINK_LIST_MEMBERSHIPS => Ok(OptionValue::from_slice(&st.groups.to_ne_bytes())),
            NETLINK_PKTINFO
            | libc::NETLINK_BROADCAST_ERROR
            | libc::NETLINK_NO_ENOBUFS
            | libc::NETLINK_CAP_ACK
            | libc::NETLINK_EXT_ACK
            | libc::NETLINK_GET_STRICT_CHK => {
                let v = i32::from(st.options & (1 << name) != 0);
                Ok(OptionValue::from_slice(&v.to_ne_bytes()))
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
}

fn process_of(cx: &Cx) -> u32 {
    cx.task.group.pid.cast_unsigned()
}

impl Socket for NetlinkSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn base(&self) -> &SocketBase {
        &self.base
    }

    fn poll(&self) -> PollEvents {
        let mut mask = PollEvents::WRITABLE | PollEvents::WRBAND;
        if !self.state.lock().queue.is_empty() {
            mask |= PollEvents::READABLE;
        }
        if self.base.has_error() {
            mask |= PollEvents::ERR;
        }
        mask
    }

    fn bind(&self, cx: &Cx, addr: &SockAddr) -> Result<()> {
        self.bind_as(process_of(cx), addr)
    }

    fn connect(&self, cx: &Cx, addr: &SockAddr) -> Result<()> {
        match addr.family().map(i32::from) {
            None => Err(Errno::EINVAL),
            Some(libc::AF_UNSPEC) => Ok(()),
            Some(_) => match decode(addr)? {
                (0, 0) => {
                    let own = encode(self.state.lock().pid, 0);
                    self.bind_as(process_of(cx), &own)
                }
                _ if !cx.task.creds().has_cap(cap::NET_ADMIN) => Err(Errno::EPERM),
                _ => Err(Errno::ECONNREFUSED),
            },
        }
    }

    fn sendmsg(
        &self,
        cx: &Cx,
        src: &mut dyn Source,
        to: Option<&SockAddr>,
        _control: &[Control],
        flags: MsgFlags,
    ) -> Result<usize> {
        let admin = cx.task.creds().has_cap(cap::NET_ADMIN);
        self.send(process_of(cx), admin, src, to, flags)
    }

    fn recvmsg(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        self.recv(dst, flags)
    }

    fn local_name(&self) -> Result<SockAddr> {
        let st = self.state.lock();
        Ok(encode(st.pid, st.groups as u32))
    }

    fn peer_name(&self) -> Result<SockAddr> {
        Ok(encode(0, 0))
    }

    fn set_option(&self, cx: &Cx, level: i32, name: i32, value: &[u8]) -> Result<()> {
        match level {
            libc::SOL_SOCKET => self.base.set_option(cx, name, value),
            SOL_NETLINK => self.set(name, value),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn get_option(&self, _cx: &Cx, level: i32, name: i32, room: usize) -> Result<OptionValue> {
        match level {
            libc::SOL_SOCKET => self.base.get_option(name, room),
            SOL_NETLINK => self.get(name),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn close(&self) {
        let mut st = self.state.lock();
        if st.pid != 0 {
            self.stack.netlink.release(st.pid);
        }
        *st = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::{SliceSource, VecSink};

    fn socket(stack: &Arc<Stack>) -> Arc<NetlinkSocket> {
        let base = SocketBase::new(libc::AF_NETLINK as u16, libc::SOCK_RAW, 0, 0, 0);
        NetlinkSocket::new(stack, base)
    }

    #[test]
    fn a_dump_comes_in_two_datagrams() {
        let stack: Arc<Stack> = Arc::default();
        let s = socket(&stack);
        s.bind_as(7, &encode(0, 0)).unwrap();
        assert_eq!(s.local_name().unwrap(), encode(7, 0));
        let mut request = super::super::message::Builder::default();
        let request = request.message(18, 0x301, 1, 0).fixed(&[0; 16]).finish();
        assert_eq!(
            s.send(
                7,
                false,
                &mut SliceSource(&request),
                None,
                MsgFlags::empty()
            ),
            Ok(32)
        );
        let whole = s
            .recv(&mut VecSink::new(0), MsgFlags::PEEK | MsgFlags::TRUNC)
            .unwrap();
        assert!(whole.flags.contains(MsgFlags::TRUNC));
        let mut sink = VecSink::new(65536);
        let got = s.recv(&mut sink, MsgFlags::empty()).unwrap();
        assert_eq!((got.len, got.from), (whole.len, encode(0, 0)));
        assert_eq!(
            s.recv(&mut VecSink::new(100), MsgFlags::empty())
                .unwrap()
                .len,
            20
        );
        assert_eq!(
            s.recv(&mut VecSink::new(100), MsgFlags::empty()).err(),
            Some(Errno::EAGAIN)
        );
    }

    #[test]
    fn port_ids_are_unique() {
        let stack: Arc<Stack> = Arc::default();
        let (a, b) = (socket(&stack), socket(&stack));
        a.bind_as(7, &encode(0, 0)).unwrap();
        assert_eq!(b.bind_as(7, &encode(7, 0)), Err(Errno::EADDRINUSE));
        b.bind_as(7, &encode(0, 1)).unwrap();
        let name = b.local_name().unwrap();
        assert!(decode(&name).unwrap().0 >= 0x8000_0000);
        a.close();
        let c = socket(&stack);
        assert_eq!(c.bind_as(7, &encode(7, 0)), Ok(()));
        assert_eq!(c.bind_as(7, &encode(8, 0)), Err(Errno::EINVAL));
    }

    #[test]
    fn unread_answers_are_bounded() {
        let stack: Arc<Stack> = Arc::default();
        let s = socket(&stack);
        s.base.set_buffers(212_992, 4096);
        let request = super::super::message::Builder::default()
            .message(18, 0x301, 1, 0)
            .fixed(&[0; 16])
            .finish();
        for _ in 0..100 {
            s.send(
                7,
                false,
                &mut SliceSource(&request),
                None,
                MsgFlags::empty(),
            )
            .unwrap();
        }
        assert!(s.state.lock().used <= 4096);
        assert_eq!(
            s.recv(&mut VecSink::new(9), MsgFlags::empty()).err(),
            Some(Errno::ENOBUFS)
        );
        assert!(s.recv(&mut VecSink::new(9), MsgFlags::empty()).is_ok());
    }
}
