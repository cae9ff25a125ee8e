//! The TCP socket: `inet_stream_ops` and `tcp_prot` of the kernel.

use super::conn::{CHANGE, Conn};
use super::handshake::{Handshake, Progress, dispatch};
use super::listen::{Child, Listener};
use super::options::{TcpInfo, TcpOptions};
use super::state::TcpState;
use super::table::Tuple;
use crate::executor::PollEvents;
use crate::net::inet::addr::{Family, Named, decode_v4, decode_v6, encode};
use crate::net::inet::ip::{IpFlags, Rights, Subject};
use crate::net::inet::ports::Lease;
use crate::net::inet::route::Route;
use crate::net::inet::sk::{RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK, Sk};
use crate::net::inet::stack::{Stack, now};
use crate::net::options::OptionValue;
use crate::net::socket::{Shutdown, Socket};
use crate::net::{Control, MsgFlags, Received, SockAddr, SocketBase};
use crate::task::Cx;
use crate::user::{Sink, Source, UserAddr, UserRef};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const SIOCOUTQNSD: u32 = 0x894b;
const SIOCATMARK: u32 = 0x8905;
/// How often a port is chosen again that somebody took at the same time.
const PORT_TRIES: usize = 8;

/// A TCP socket.
pub struct TcpSocket {
    sk: Arc<Sk>,
    options: Arc<TcpOptions>,
    /// Lock order: this, a listener's queue, a handshake's, the tables; this, a connection's.
    state: Mutex<State>,
}

/// SS_*: what connect(2) goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Unconnected,
    Connecting,
    Connected,
}

enum Phase {
    /// TCP_CLOSE.
    Closed,
    Listening(Arc<Listener>),
    SynSent(Arc<Handshake>),
    /// An end of a connection, in any of its states.
    Open(Arc<Conn>, usize),
}

struct State {
    phase: Phase,
    link: Link,
    local: SocketAddr,
}

impl TcpSocket {
    /// A new socket.
    pub fn new(stack: &Arc<Stack>, family: Family, base: SocketBase) -> Arc<Self> {
        base.set_buffers(super::SNDBUF_DEFAULT, super::RCVBUF_DEFAULT);
        let sk = Arc::new(Sk::new(stack, family, base));
        let state = State {
            phase: Phase::Closed,
            link: Link::Unconnected,
            local: family.unbound(),
        };
        Arc::new(Self {
            sk,
            options: Arc::default(),
            state: Mutex::new(state),
        })
    }

    fn accepted(child: Child) -> Arc<Self> {
        let sk = Arc::clone(&child.conn.ends[1]);
        let local = child.conn.addrs[1];
        let state = State {
            phase: Phase::Open(child.conn, 1),
            link: Link::Connected,
            local,
        };
        Arc::new(Self {
            sk,
            options: child.options,
            state: Mutex::new(state),
        })
    }

    /// The part that the tables know.
    pub fn sk(&self) -> &Arc<Sk> {
        &self.sk
    }

    /// Takes note of how a handshake has ended.
    fn settle(&self, st: &mut State) {
        if let Phase::SynSent(handshake) = &st.phase {
            match handshake.progress() {
                Progress::Waiting => {}
                Progress::Done(conn, side) => st.phase = Phase::Open(conn, side),
                Progress::Failed => st.phase = Phase::Closed,
            }
        }
    }

    fn locked(&self) -> parking_lot::MutexGuard<'_, State> {
        let mut st = self.state.lock();
        self.settle(&mut st);
        st
    }

    fn tcp_state(st: &State) -> TcpState {
        match &st.phase {
            Phase::Closed => TcpState::Close,
            Phase::Listening(_) => TcpState::Listen,
            Phase::SynSent(_) => TcpState::SynSent,
            Phase::Open(conn, side) => conn.state(*side),
        }
    }

    /// The connection and which end of it this is.
    fn conn(st: &State) -> Option<(Arc<Conn>, usize)> {
        match &st.phase {
            Phase::Open(conn, side) => Some((Arc::clone(conn), *side)),
            _ => None,
        }
    }

    // ---- addresses ----

    /// bind(2).
    pub fn bind_as(&self, who: Rights, name: &SockAddr) -> Result<()> {
        let named = self.sk.check_bind(who, name)?;
        let mut st = self.locked();
        if Self::tcp_state(&st) != TcpState::Close || self.sk.has_port() || st.local.port() != 0 {
            return Err(Errno::EINVAL);
        }
        self.sk.check_bind6(&named)?;
        let (ip, port) = (named.addr.ip(), named.addr.port());
        let later = port == 0 && self.sk.ip.has(IpFlags::BIND_NO_PORT);
        let old_v6only = self.sk.ip.has(IpFlags::V6ONLY);
        if matches!(ip, IpAddr::V6(v6) if !v6.is_unspecified()) {
            // An IPv6 address of its own leaves nothing for IPv4.
            self.sk.ip.put(IpFlags::V6ONLY, true);
        }
        let port = match later {
            true => 0,
            false => self
                .sk
                .take_port(ip, port)
                .inspect_err(|_| self.sk.ip.put(IpFlags::V6ONLY, old_v6only))?,
        };
        st.local = SocketAddr::new(ip, port);
        self.sk
            .addr_locked
            .store(!ip.is_unspecified(), Ordering::Relaxed);
        self.sk
            .port_locked
            .store(named.addr.port() != 0, Ordering::Relaxed);
        Ok(())
    }

    fn destination(&self, name: &SockAddr, local: IpAddr) -> Result<SocketAddr> {
        let named: Named = match self.sk.family {
            Family::V4 => decode_v4(name)?,
            Family::V6 => decode_v6(name)?,
        };
        if name.family() != Some(self.sk.family.number()) {
            return Err(Errno::EAFNOSUPPORT);
        }
        if let IpAddr::V6(ip) = named.addr.ip()
            && ip.segments()[0] & 0xffc0 == 0xfe80
            && named.scope == 0
        {
            return Err(Errno::EINVAL);
        }
        let dst = self.sk.concrete(named.addr, local);
        if dst.is_ipv4() && self.sk.family == Family::V6 && self.sk.ip.has(IpFlags::V6ONLY) {
            return Err(Errno::ENETUNREACH);
        }
        if !local.is_unspecified() && local.is_ipv4() != dst.is_ipv4() {
            return Err(if dst.is_ipv4() {
                Errno::ENETUNREACH
            } else {
                Errno::EAFNOSUPPORT
            });
        }
        Ok(dst)
    }

    // ---- connecting ----

    /// connect(2): EINPROGRESS once it has begun.
    pub fn connect_to(&self, name: &SockAddr) -> Result<()> {
        let Some(family) = name.family() else {
            return Err(Errno::EINVAL);
        };
        if i32::from(family) == libc::AF_UNSPEC {
            self.disconnect();
            return Ok(());
        }
        let mut st = self.locked();
        match st.link {
            Link::Connected => return Err(Errno::EISCONN),
            Link::Connecting if matches!(st.phase, Phase::SynSent(_)) => {
                return Err(Errno::EALREADY);
            }
            Link::Connecting => return self.outcome(&mut st),
            Link::Unconnected if !matches!(st.phase, Phase::Closed) => return Err(Errno::EISCONN),
            Link::Unconnected => {}
        }
        let stack = &self.sk.stack;
        let dst = self.destination(name, st.local.ip())?;
        let Route::Local { source } = stack.interfaces.route(dst.ip(), 0)? else {
            return Err(Errno::ENETUNREACH);
        };
        let source = if st.local.ip().is_unspecified() {
            source
        } else {
            st.local.ip()
        };
        let handshake = self.reserve(source, dst)?;
        let _ = self.sk.base.take_error();
        self.sk.done.store(false, Ordering::SeqCst);
        stack.stats.tcp_active_opens.inc();
        st.local = handshake.tuple.local;
        st.link = Link::Connecting;
        st.phase = Phase::SynSent(Arc::clone(&handshake));
        drop(st);
        dispatch(stack, &handshake);
        if handshake.is_waiting() {
            handshake.arm();
        }
        Err(Errno::EINPROGRESS)
    }

    /// A pair of addresses that is nobody's, and a port for it if there is none yet: EADDRNOTAVAIL.
    fn reserve(&self, source: IpAddr, dst: SocketAddr) -> Result<Arc<Handshake>> {
        let (sk, stack) = (&self.sk, &self.sk.stack);
        let deadline = now().saturating_add(self.options.connect_patience(stack));
        let tuple = |port| Tuple {
            local: SocketAddr::new(source, port),
            remote: dst,
        };
        if let Some(lease) = &*sk.lease.lock() {
            let handshake = Handshake::new(Arc::clone(sk), tuple(lease.port), deadline);
            if !stack.conns.reserve(&handshake, true, now()) {
                return Err(Errno::EADDRNOTAVAIL);
            }
            let _ = lease.change(false, |c| c.addr = source);
            return Ok(handshake);
        }
        for _ in 0..PORT_TRIES {
            let range = sk.ip.port_range(stack);
            let free = |port| stack.conns.is_free(tuple(port), false, now());
            let lease = Lease::connecting(
                &stack.tcp_ports,
                range,
                stack.random(),
                sk.claim(source),
                now(),
                free,
            )?;
            let handshake = Handshake::new(Arc::clone(sk), tuple(lease.port), deadline);
            if stack.conns.reserve(&handshake, false, now()) {
                sk.port_locked.store(false, Ordering::Relaxed);
                *sk.lease.lock() = Some(lease);
                return Ok(handshake);
            }
        }
        Err(Errno::EADDRNOTAVAIL)
    }

    /// How a connect(2) that has begun came out; EAGAIN while it goes on.
    fn outcome(&self, st: &mut State) -> Result<()> {
        match Self::tcp_state(st) {
            TcpState::SynSent => Err(Errno::EAGAIN),
            TcpState::Close => {
                st.link = Link::Unconnected;
                let error = self
                    .sk
                    .base
                    .take_error()
                    .err()
                    .unwrap_or(Errno::ECONNABORTED);
                self.forget_peer(st);
                Err(error)
            }
            _ => {
                st.link = Link::Connected;
                Ok(())
            }
        }
    }

    /// The socket is as it was before connect(2) (tcp_disconnect); what bind(2) named stays.
    fn forget_peer(&self, st: &mut State) {
        if let Phase::Open(conn, side) = &st.phase {
            let kept = self
                .sk
                .lease
                .lock()
                .take()
                .filter(|_| self.sk.port_locked.load(Ordering::Relaxed));
            conn.abort(*side, true);
            *self.sk.lease.lock() = kept;
        }
        st.phase = Phase::Closed;
        st.link = Link::Unconnected;
        self.sk.reset_shutdown();
        if !self.sk.addr_locked.load(Ordering::Relaxed) {
            st.local.set_ip(self.sk.family.any());
            if let Some(lease) = &*self.sk.lease.lock() {
                let _ = lease.change(false, |c| c.addr = self.sk.family.any());
            }
        }
        if !self.sk.has_port() {
            st.local.set_port(0);
        }
    }

    /// connect(2) to AF_UNSPEC (tcp_disconnect).
    fn disconnect(&self) {
        let mut st = self.locked();
        let state = Self::tcp_state(&st);
        let mut listener = None;
        match &st.phase {
            Phase::Closed => {}
            Phase::Listening(l) => listener = Some(Arc::clone(l)),
            Phase::SynSent(handshake) => {
                handshake.cancel();
                // It may have come through just now.
                if let Progress::Done(conn, side) = handshake.progress() {
                    conn.abort(side, true);
                }
                self.sk.base.set_error(Errno::ECONNRESET);
                if !self.sk.port_locked.load(Ordering::Relaxed) {
                    *self.sk.lease.lock() = None;
                }
            }
            Phase::Open(..) => {
                use TcpState::{CloseWait, Established, FinWait1, FinWait2};
                if matches!(state, Established | CloseWait | FinWait1 | FinWait2) {
                    self.sk.base.set_error(Errno::ECONNRESET);
                }
            }
        }
        self.forget_peer(&mut st);
        if let Some(listener) = listener {
            self.unlisten(&mut st, &listener);
        }
        drop(st);
        self.sk.base.queue.notify(CHANGE);
    }

    fn unlisten(&self, st: &mut State, listener: &Arc<Listener>) {
        self.sk.base.listening.store(false, Ordering::Relaxed);
        listener.close();
        let mut lease = self.sk.lease.lock();
        if self.sk.port_locked.load(Ordering::Relaxed) {
            if let Some(lease) = &*lease {
                let _ = lease.change(false, |c| c.listening = false);
            }
        } else {
            *lease = None;
            st.local.set_port(0);
        }
    }

    // ---- listening ----

    /// listen(2).
    pub fn listen_with(&self, backlog: u32) -> Result<()> {
        let mut st = self.locked();
        if st.link != Link::Unconnected {
            return Err(Errno::EINVAL);
        }
        match &st.phase {
            Phase::Listening(listener) => {
                listener.set_backlog(backlog);
                return Ok(());
            }
            Phase::Closed => {}
            _ => return Err(Errno::EINVAL),
        }
        if !self.sk.has_port() {
            let port = self.sk.take_port(st.local.ip(), 0)?;
            st.local.set_port(port);
        }
        if let Some(lease) = &*self.sk.lease.lock() {
            lease.change(true, |c| c.listening = true)?;
        }
        let listener = Listener::new(
            Arc::clone(&self.sk),
            Arc::clone(&self.options),
            st.local,
            backlog,
        );
        self.sk.stack.listeners.add(Arc::clone(&listener));
        self.sk.base.listening.store(true, Ordering::Relaxed);
        st.phase = Phase::Listening(listener);
        Ok(())
    }

    /// accept(2).
    pub fn accept_one(&self) -> Result<Arc<Self>> {
        let listener = match &self.locked().phase {
            Phase::Listening(listener) => Arc::clone(listener),
            _ => return Err(Errno::EINVAL),
        };
        listener.accept().map(Self::accepted)
    }

    // ---- data ----

    /// send(2).
    pub fn send(
        &self,
        src: &mut dyn Source,
        to: Option<&SockAddr>,
        flags: MsgFlags,
    ) -> Result<usize> {
        if flags.contains(MsgFlags::FASTOPEN) {
            self.fast_open(to)?;
        }
        let (conn, side) = {
            let st = self.locked();
            match &st.phase {
                Phase::Open(conn, side) => (Arc::clone(conn), *side),
                Phase::SynSent(_) => {
                    self.sk.base.take_error()?;
                    return Err(Errno::EAGAIN);
                }
                _ => {
                    self.sk.base.take_error()?;
                    return Err(Errno::EPIPE);
                }
            }
        };
        conn.send(side, src, flags)
    }

    /// MSG_FASTOPEN: connects on the way (tcp_sendmsg_fastopen).
    fn fast_open(&self, to: Option<&SockAddr>) -> Result<()> {
        let unspecified = to.is_some_and(|a| a.family().map(i32::from) == Some(libc::AF_UNSPEC));
        if self.sk.stack.config.fastopen.get() & 1 == 0 || unspecified {
            return Err(Errno::EOPNOTSUPP);
        }
        let Some(to) = to else {
            // Nothing to connect to: what a plain send says.
            return Ok(());
        };
        match self.connect_to(to) {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EALREADY) => {}
            Err(e) => return Err(e),
        }
        match self.connect_status() {
            Err(Errno::EAGAIN) | Ok(()) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// recv(2).
    pub fn recv(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        let (conn, side) = {
            let st = self.locked();
            match &st.phase {
                Phase::Open(conn, side) => (Arc::clone(conn), *side),
                Phase::Listening(_) => return Err(Errno::ENOTCONN),
                _ if flags.contains(MsgFlags::OOB) => return Err(Errno::EINVAL),
                phase => {
                    self.sk.base.take_error()?;
                    if self.sk.shutdown() & RCV_SHUTDOWN != 0 {
                        return Ok(Received::default());
                    }
                    let waiting = matches!(phase, Phase::SynSent(_));
                    return Err(if waiting {
                        Errno::EAGAIN
                    } else {
                        Errno::ENOTCONN
                    });
                }
            }
        };
        let mut received = conn.recv(side, dst, flags)?;
        if self.options.wants_inq() {
            let left = i32::try_from(conn.unread(side)).unwrap_or(i32::MAX);
            received.control.push(Control::Raw {
                level: libc::IPPROTO_TCP,
                kind: 36,
                data: smallvec::SmallVec::from_slice(&left.to_ne_bytes()),
            });
        }
        Ok(received)
    }

    /// poll(2).
    pub fn readiness(&self) -> PollEvents {
        let st = self.locked();
        let conn = match &st.phase {
            Phase::Listening(listener) => return listener.poll(),
            Phase::Open(conn, side) => Some((Arc::clone(conn), *side)),
            _ => None,
        };
        let waiting = matches!(st.phase, Phase::SynSent(_));
        drop(st);
        if let Some((conn, side)) = conn {
            return conn.poll(side);
        }
        let mut mask = PollEvents::empty();
        if !waiting {
            mask |= PollEvents::HUP | PollEvents::WRITABLE;
        }
        if self.sk.shutdown() & RCV_SHUTDOWN != 0 {
            mask |= PollEvents::READABLE | PollEvents::RDHUP;
        }
        if self.sk.base.has_error() {
            mask |= PollEvents::ERR;
        }
        mask
    }

    // ---- the end ----

    /// shutdown(2) (inet_shutdown).
    pub fn shut(&self, how: Shutdown) -> Result<()> {
        let mut st = self.locked();
        let bits =
            if how.read() { RCV_SHUTDOWN } else { 0 } | if how.write() { SEND_SHUTDOWN } else { 0 };
        let result = match &st.phase {
            Phase::Listening(_) if !how.read() => {
                self.sk.add_shutdown(bits);
                Ok(())
            }
            Phase::Listening(_) | Phase::SynSent(_) => {
                drop(st);
                self.disconnect();
                return Ok(());
            }
            Phase::Closed => {
                self.sk.add_shutdown(bits);
                Err(Errno::ENOTCONN)
            }
            Phase::Open(conn, side) => {
                let closed = conn.state(*side) == TcpState::Close;
                if st.link == Link::Connecting && !closed {
                    let (conn, side) = (Arc::clone(conn), *side);
                    st.link = Link::Connected;
                    self.shut_conn(&conn, side, bits)
                } else if closed {
                    self.sk.add_shutdown(bits);
                    Err(Errno::ENOTCONN)
                } else {
                    self.shut_conn(conn, *side, bits)
                }
            }
        };
        drop(st);
        self.sk.base.queue.notify(CHANGE);
        result
    }

    fn shut_conn(&self, conn: &Conn, side: usize, bits: u32) -> Result<()> {
        self.sk.add_shutdown(bits);
        if bits & SEND_SHUTDOWN != 0 {
            conn.shutdown_write(side);
        }
        Ok(())
    }

    /// close(2) of the last description.
    pub fn release(&self) {
        let mut st = self.locked();
        let phase = std::mem::replace(&mut st.phase, Phase::Closed);
        drop(st);
        self.sk.add_shutdown(SHUTDOWN_MASK);
        match phase {
            Phase::Closed => {}
            Phase::Listening(listener) => {
                self.sk.base.listening.store(false, Ordering::Relaxed);
                listener.close();
            }
            Phase::SynSent(handshake) => {
                handshake.cancel();
                // It may have come through just now.
                if let Progress::Done(conn, side) = handshake.progress() {
                    return conn.close(side);
                }
            }
            Phase::Open(conn, side) => return conn.close(side),
        }
        *self.sk.lease.lock() = None;
    }

    // ---- options ----

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
            _ if super::super::udp::multicast::is_membership(level, name) => Err(Errno::EPROTO),
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
        let mut info = TcpInfo::new(Self::tcp_state(&st));
        match &st.phase {
            Phase::Listening(listener) => {
                let (ready, backlog) = listener.lengths();
                info.unacked = u32::try_from(ready).unwrap_or(u32::MAX);
                info.sacked = u32::try_from(backlog).unwrap_or(u32::MAX);
            }
            Phase::Open(conn, side) => {
                let window = u32::try_from(self.sk.base.rcvbuf() / 2).unwrap_or(u32::MAX);
                info.connected(conn.traffic(*side), window);
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
