//! The TCP socket: `inet_stream_ops` and `tcp_prot` of the kernel.

mod connect;
mod ops;
mod options;

use crate::executor::PollEvents;
use crate::net::inet::addr::Family;
use crate::net::inet::ip::{IpFlags, Rights};
use crate::net::inet::sk::{RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK, Sk};
use crate::net::inet::stack::Stack;
use crate::net::inet::tcp::conn::{CHANGE, Conn};
use crate::net::inet::tcp::handshake::{Handshake, Progress};
use crate::net::inet::tcp::listen::{Child, Listener};
use crate::net::inet::tcp::options::TcpOptions;
use crate::net::inet::tcp::state::TcpState;
use crate::net::socket::Shutdown;
use crate::net::{Control, MsgFlags, Received, SockAddr, SocketBase};
use crate::user::{Sink, Source};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

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
        base.set_buffers(
            crate::net::inet::tcp::SNDBUF_DEFAULT,
            crate::net::inet::tcp::RCVBUF_DEFAULT,
        );
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
}
