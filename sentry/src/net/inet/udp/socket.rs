//! The UDP socket: `inet_dgram_ops` and `udp_prot` of the kernel.

use super::multicast;
use super::recv::Core;
use super::send::Corked;
use super::table::Receiver;
use crate::executor::PollEvents;
use crate::net::inet::addr::{Family, Named, decode_v4, decode_v6, encode};
use crate::net::inet::ip::{IpFlags, Rights, Subject};
use crate::net::inet::route::Route;
use crate::net::inet::sk::{RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK, Sk};
use crate::net::inet::stack::Stack;
use crate::net::options::{Flags, OptionValue, int};
use crate::net::socket::{Shutdown, Socket};
use crate::net::{Control, MsgFlags, Received, SockAddr, SocketBase};
use crate::task::Cx;
use crate::user::{Sink, Source, UserAddr, UserRef};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

const UDP_CORK: i32 = 1;
const UDP_ENCAP: i32 = 100;
const UDP_NO_CHECK6_TX: i32 = 101;
const UDP_NO_CHECK6_RX: i32 = 102;
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;

/// A UDP socket.
pub struct UdpSocket {
    pub(super) core: Arc<Core>,
    pub(super) state: Mutex<State>,
    /// UDP_CORK.
    pub(super) cork: AtomicBool,
    /// UDP_SEGMENT.
    pub(super) segment: AtomicU16,
    no_check_tx: AtomicBool,
    no_check_rx: AtomicBool,
    gro: AtomicBool,
}

pub(super) struct State {
    /// What it is bound to; port 0: nothing yet.
    pub local: SocketAddr,
    /// What it is connected to.
    pub remote: Option<SocketAddr>,
    /// A datagram that grows (UDP_CORK, MSG_MORE).
    pub corked: Option<Corked>,
    closed: bool,
}

impl UdpSocket {
    /// A new socket.
    pub fn new(stack: &Arc<Stack>, family: Family, base: SocketBase) -> Arc<Self> {
        let core = Arc::new(Core::new(Sk::new(stack, family, base)));
        let state = State {
            local: family.unbound(),
            remote: None,
            corked: None,
            closed: false,
        };
        Arc::new(Self {
            core,
            state: Mutex::new(state),
            cork: AtomicBool::new(false),
            segment: AtomicU16::new(0),
            no_check_tx: AtomicBool::new(false),
            no_check_rx: AtomicBool::new(false),
            gro: AtomicBool::new(false),
        })
    }

    /// The part that senders reach.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(super) fn sk(&self) -> &Sk {
        &self.core.sk
    }

    /// Tells the table what the socket is bound and connected to.
    fn publish(&self, st: &State) {
        if st.local.port() != 0 {
            let receiver = Receiver {
                core: Arc::clone(&self.core),
                local: st.local,
                remote: st.remote,
            };
            self.sk().stack.receivers.set(receiver);
        }
    }

    fn take_port(&self, st: &mut State, ip: IpAddr, port: u16) -> Result<()> {
        if st.closed {
            return Err(Errno::EAGAIN);
        }
        let port = self.sk().take_port(ip, port)?;
        st.local = SocketAddr::new(ip, port);
        self.publish(st);
        Ok(())
    }

    /// Gives the socket a port if it has none (inet_autobind): EAGAIN when all are taken.
    pub(super) fn autobind(&self, st: &mut State) -> Result<()> {
        if st.local.port() != 0 {
            return Ok(());
        }
        self.take_port(st, st.local.ip(), 0)
            .map_err(|_| Errno::EAGAIN)
    }

    /// bind(2).
    pub fn bind_as(&self, who: Rights, name: &SockAddr) -> Result<()> {
        let sk = self.sk();
        let named = sk.check_bind(who, name)?;
        let mut st = self.state.lock();
        if st.remote.is_some() || st.local.port() != 0 {
            return Err(Errno::EINVAL);
        }
        sk.check_bind6(&named)?;
        let (ip, port) = (named.addr.ip(), named.addr.port());
        let old_v6only = sk.ip.has(IpFlags::V6ONLY);
        if matches!(ip, IpAddr::V6(v6) if !v6.is_unspecified()) {
            sk.ip.put(IpFlags::V6ONLY, true);
        }
        if port == 0 && sk.ip.has(IpFlags::BIND_NO_PORT) {
            st.local.set_ip(ip);
        } else {
            self.take_port(&mut st, ip, port)
                .inspect_err(|_| sk.ip.put(IpFlags::V6ONLY, old_v6only))?;
        }
        sk.addr_locked
            .store(!ip.is_unspecified(), Ordering::Relaxed);
        sk.port_locked.store(port != 0, Ordering::Relaxed);
        Ok(())
    }

    /// The destination that a name stands for. `None`: AF_UNSPEC.
    pub(super) fn destination(
        &self,
        name: &SockAddr,
        local: IpAddr,
        sending: bool,
    ) -> Result<Option<SocketAddr>> {
        let sk = self.sk();
        let Some(family) = name.family().map(i32::from) else {
            return Err(Errno::EINVAL);
        };
        let v6only = sk.ip.has(IpFlags::V6ONLY);
        let named: Named = match (sk.family, family) {
            (Family::V4, libc::AF_INET) => decode_v4(name)?,
            // An old habit: a sendto(2) without a family.
            (Family::V4, libc::AF_UNSPEC) if sending => decode_v4(name)?,
            (Family::V4, _) => {
                decode_v4(name)?;
                return Err(Errno::EAFNOSUPPORT);
            }
            (Family::V6, libc::AF_INET) if v6only => {
                return Err(if sending {
                    Errno::ENETUNREACH
                } else {
                    Errno::EAFNOSUPPORT
                });
            }
            (Family::V6, libc::AF_INET) => decode_v4(name)?,
            (Family::V6, libc::AF_UNSPEC) => return Ok(None),
            (Family::V6, libc::AF_INET6) => decode_v6(name)?,
            (Family::V6, _) => return Err(Errno::EAFNOSUPPORT),
        };
        let dst = sk.concrete(named.addr, local);
        if dst.is_ipv4() && v6only {
            return Err(Errno::ENETUNREACH);
        }
        if !local.is_unspecified() && local.is_ipv4() != dst.is_ipv4() {
            return Err(if dst.is_ipv4() {
                Errno::ENETUNREACH
            } else {
                Errno::EAFNOSUPPORT
            });
        }
        Ok(Some(dst))
    }

    /// The interface that multicast to `dst` goes out by.
    pub(super) fn multicast_interface(&self, dst: IpAddr) -> u32 {
        let ip = &self.sk().ip;
        if dst.is_ipv4() {
            ip.mc_if.load(Ordering::Relaxed)
        } else {
            ip.mc_if6.load(Ordering::Relaxed)
        }
    }

    /// connect(2).
    pub fn connect_to(&self, name: &SockAddr) -> Result<()> {
        let Some(family) = name.family() else {
            return Err(Errno::EINVAL);
        };
        let mut st = self.state.lock();
        if i32::from(family) == libc::AF_UNSPEC {
            self.disconnect(&mut st);
            return Ok(());
        }
        let sk = self.sk();
        self.autobind(&mut st)?;
        let Some(dst) = self.destination(name, st.local.ip(), false)? else {
            return Err(Errno::EAFNOSUPPORT);
        };
        let source = match sk
            .stack
            .interfaces
            .route(dst.ip(), self.multicast_interface(dst.ip()))?
        {
            Route::Broadcast { .. } if !sk.base.has(Flags::BROADCAST) => return Err(Errno::EACCES),
            Route::Local { source }
            | Route::Broadcast { source }
            | Route::Multicast { source, .. } => source,
        };
        if st.local.ip().is_unspecified() {
            st.local.set_ip(source);
            if let Some(lease) = &*sk.lease.lock() {
                let _ = lease.change(false, |c| c.addr = source);
            }
        }
        st.remote = Some(dst);
        self.publish(&st);
        Ok(())
    }

    /// connect(2) to AF_UNSPEC (udp_disconnect): what bind(2) named stays.
    fn disconnect(&self, st: &mut State) {
        let sk = self.sk();
        st.remote = None;
        if !sk.addr_locked.load(Ordering::Relaxed) {
            st.local.set_ip(sk.family.any());
        }
        if st.local.port() == 0 {
            return;
        }
        if sk.port_locked.load(Ordering::Relaxed) {
            let ip = st.local.ip();
            if let Some(lease) = &*sk.lease.lock() {
                let _ = lease.change(false, |c| c.addr = ip);
            }
            self.publish(st);
        } else {
            sk.stack.receivers.remove(st.local.port(), &self.core);
            *sk.lease.lock() = None;
            st.local.set_port(0);
        }
    }

    /// getsockname(2).
    pub fn local_addr(&self) -> SocketAddr {
        self.state.lock().local
    }

    /// shutdown(2).
    pub fn shut(&self, how: Shutdown) -> Result<()> {
        let bits =
            if how.read() { RCV_SHUTDOWN } else { 0 } | if how.write() { SEND_SHUTDOWN } else { 0 };
        self.sk().add_shutdown(bits);
        let connected = self.state.lock().remote.is_some();
        self.sk().base.queue.notify_all();
        if connected {
            Ok(())
        } else {
            Err(Errno::ENOTCONN)
        }
    }

    /// close(2) of the last description.
    pub fn release(&self) {
        let port = {
            let mut st = self.state.lock();
            st.closed = true;
            st.corked = None;
            st.local.port()
        };
        let sk = self.sk();
        sk.add_shutdown(SHUTDOWN_MASK);
        sk.stack.receivers.remove(port, &self.core);
        *sk.lease.lock() = None;
        for m in std::mem::take(&mut *self.core.memberships.lock()) {
            sk.stack.groups.leave(m);
        }
        self.core.clear();
    }

    fn subject(&self) -> Subject {
        let st = self.state.lock();
        Subject {
            stream: false,
            bound: st.local.port() != 0,
            connected: st.remote.is_some(),
        }
    }

    /// setsockopt(2) but at SOL_SOCKET.
    pub fn set(&self, who: Rights, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if multicast::is_membership(level, name)
            && (level == libc::IPPROTO_IP || self.sk().family == Family::V6)
        {
            return multicast::change(&self.core, level, name, value);
        }
        if level != libc::IPPROTO_UDP {
            return self.sk().ip.set(
                &self.sk().stack,
                self.sk().family,
                who,
                self.subject(),
                (level, name),
                value,
            );
        }
        let v = int(value)?;
        match name {
            UDP_CORK => {
                self.cork.store(v != 0, Ordering::Relaxed);
                if v == 0 {
                    self.uncork();
                }
            }
            UDP_SEGMENT => self.segment.store(
                u16::try_from(v).map_err(|_| Errno::EINVAL)?,
                Ordering::Relaxed,
            ),
            // Datagrams come one by one; joining them is an offer that a stack need not take up.
            UDP_GRO => self.gro.store(v != 0, Ordering::Relaxed),
            UDP_NO_CHECK6_TX => self.no_check_tx.store(v != 0, Ordering::Relaxed),
            UDP_NO_CHECK6_RX => self.no_check_rx.store(v != 0, Ordering::Relaxed),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// getsockopt(2) but at SOL_SOCKET.
    pub fn get(&self, level: i32, name: i32) -> Result<OptionValue> {
        if level != libc::IPPROTO_UDP {
            return self.sk().ip.get(
                &self.sk().stack,
                self.sk().family,
                self.subject(),
                (level, name),
            );
        }
        let v = match name {
            UDP_CORK => i32::from(self.cork.load(Ordering::Relaxed)),
            UDP_SEGMENT => i32::from(self.segment.load(Ordering::Relaxed)),
            UDP_GRO => i32::from(self.gro.load(Ordering::Relaxed)),
            UDP_NO_CHECK6_TX => i32::from(self.no_check_tx.load(Ordering::Relaxed)),
            UDP_NO_CHECK6_RX => i32::from(self.no_check_rx.load(Ordering::Relaxed)),
            UDP_ENCAP => 0,
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(OptionValue::from_slice(&v.to_ne_bytes()))
    }
}

impl Socket for UdpSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn base(&self) -> &SocketBase {
        &self.core.sk.base
    }

    fn poll(&self) -> PollEvents {
        self.core.poll()
    }

    fn bind(&self, cx: &Cx, addr: &SockAddr) -> Result<()> {
        self.bind_as(Rights::of(cx), addr)
    }

    fn connect(&self, _cx: &Cx, addr: &SockAddr) -> Result<()> {
        self.connect_to(addr)
    }

    fn sendmsg(
        &self,
        _cx: &Cx,
        src: &mut dyn Source,
        to: Option<&SockAddr>,
        control: &[Control],
        flags: MsgFlags,
    ) -> Result<usize> {
        self.send(src, to, control, flags)
    }

    fn recvmsg(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        self.core.recv(dst, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.shut(how)
    }

    fn local_name(&self) -> Result<SockAddr> {
        Ok(encode(self.sk().family, self.local_addr()))
    }

    fn peer_name(&self) -> Result<SockAddr> {
        match self.state.lock().remote {
            Some(remote) if remote.port() != 0 => Ok(encode(self.sk().family, remote)),
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn set_option(&self, cx: &Cx, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level == libc::SOL_SOCKET {
            self.sk().base.set_option(cx, name, value)?;
            if matches!(name, libc::SO_REUSEADDR | libc::SO_REUSEPORT) {
                self.sk().refresh_claim();
            }
            return Ok(());
        }
        self.set(Rights::of(cx), level, name, value)
    }

    fn get_option(&self, _cx: &Cx, level: i32, name: i32, room: usize) -> Result<OptionValue> {
        match level {
            libc::SOL_SOCKET => self.sk().socket_option(name, room),
            _ => self.get(level, name),
        }
    }

    fn ioctl(&self, cx: &Cx, cmd: u32, arg: u64) -> Result<u64> {
        let value = match u64::from(cmd) {
            libc::FIONREAD => i32::try_from(self.core.next_len()).unwrap_or(i32::MAX),
            // What is sent has arrived.
            libc::TIOCOUTQ => 0,
            _ => return Err(Errno::ENOTTY),
        };
        cx.write_obj(UserRef::new(UserAddr(arg)), &value)?;
        Ok(0)
    }

    fn close(&self) {
        self.release();
    }
}
