//! connect(2).

use super::{Link, Phase, State, TcpSocket};
use crate::net::SockAddr;
use crate::net::inet::addr::{Family, Named, decode_v4, decode_v6};
use crate::net::inet::ip::IpFlags;
use crate::net::inet::ports::Lease;
use crate::net::inet::route::Route;
use crate::net::inet::stack::now;
use crate::net::inet::tcp::conn::CHANGE;
use crate::net::inet::tcp::handshake::{Handshake, Progress, dispatch};
use crate::net::inet::tcp::state::TcpState;
use crate::net::inet::tcp::table::Tuple;
use crate::net::socket::Socket as _;
use arch::{Errno, Result};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often a port is chosen again that somebody took at the same time.
const PORT_TRIES: usize = 8;

impl TcpSocket {
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
    pub(super) fn outcome(&self, st: &mut State) -> Result<()> {
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
    pub(super) fn disconnect(&self) {
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

    /// MSG_FASTOPEN: connects on the way (tcp_sendmsg_fastopen).
    pub(super) fn fast_open(&self, to: Option<&SockAddr>) -> Result<()> {
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
}
