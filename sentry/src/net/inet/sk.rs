//! What TCP and UDP sockets have in common: `struct sock` of the kernel.

use super::addr::{Family, Named, decode_v4, decode_v6};
use super::ip::{IpFlags, IpOptions, Rights};
use super::ports::{Claim, Lease};
use super::stack::{Stack, now};
use crate::net::options::{Flags, OptionValue};
use crate::net::{SockAddr, SocketBase};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The receiving half is shut down (RCV_SHUTDOWN).
pub const RCV_SHUTDOWN: u32 = 1;
/// The sending half is shut down (SEND_SHUTDOWN).
pub const SEND_SHUTDOWN: u32 = 2;
/// Both.
pub const SHUTDOWN_MASK: u32 = 3;

/// The part of a socket that others reach: its peer, its listener, the tables.
pub struct Sk {
    /// Identity, wait queue, SOL_SOCKET options, pending error.
    pub base: SocketBase,
    /// The network it is on.
    pub stack: Arc<Stack>,
    /// AF_INET or AF_INET6.
    pub family: Family,
    /// IPPROTO_IP and IPPROTO_IPV6 options.
    pub ip: IpOptions,
    /// RCV_SHUTDOWN, SEND_SHUTDOWN. Written by the socket and its peer under their connection's lock, read anywhere.
    shutdown: AtomicU32,
    /// A FIN has come (SOCK_DONE): end of file without looking at the pending error. As `shutdown`.
    pub done: AtomicBool,
    /// Somebody found no room to write (SOCK_NOSPACE): the peer's reader tells when there is. Under the connection's lock.
    pub nospace: AtomicBool,
    /// The port. A leaf lock (but for the port table's, when a lease drops).
    pub lease: Mutex<Option<Lease>>,
    /// bind(2) named the port (SOCK_BINDPORT_LOCK): it is kept until close(2).
    pub port_locked: AtomicBool,
    /// bind(2) named the address (SOCK_BINDADDR_LOCK).
    pub addr_locked: AtomicBool,
}

impl Sk {
    /// A new socket's.
    pub fn new(stack: &Arc<Stack>, family: Family, base: SocketBase) -> Self {
        let v6only = family == Family::V6 && stack.config.bindv6only.get() != 0;
        Self::with(stack, family, base, IpOptions::new(v6only))
    }

    /// One for a connection that the listener `self` accepts.
    pub fn child(&self) -> Self {
        let child = Self::with(
            &self.stack,
            self.family,
            self.base.accepted(),
            self.ip.inherit(),
        );
        child.port_locked.store(true, Ordering::Relaxed);
        child.addr_locked.store(true, Ordering::Relaxed);
        child
    }

    fn with(stack: &Arc<Stack>, family: Family, base: SocketBase, ip: IpOptions) -> Self {
        Self {
            base,
            stack: Arc::clone(stack),
            family,
            ip,
            shutdown: AtomicU32::new(0),
            done: AtomicBool::new(false),
            nospace: AtomicBool::new(false),
            lease: Mutex::new(None),
            port_locked: AtomicBool::new(false),
            addr_locked: AtomicBool::new(false),
        }
    }

    /// RCV_SHUTDOWN and SEND_SHUTDOWN.
    pub fn shutdown(&self) -> u32 {
        self.shutdown.load(Ordering::SeqCst)
    }

    /// Shuts halves down.
    pub fn add_shutdown(&self, how: u32) {
        self.shutdown.fetch_or(how, Ordering::SeqCst);
    }

    /// A new life (tcp_disconnect).
    pub fn reset_shutdown(&self) {
        self.shutdown.store(0, Ordering::SeqCst);
        self.done.store(false, Ordering::SeqCst);
    }

    /// The claim for a local address, with the options as they are.
    pub fn claim(&self, addr: IpAddr) -> Claim {
        let device = self.base.device.lock();
        Claim {
            addr,
            v6only: self.ip.has(IpFlags::V6ONLY),
            reuse: self.base.has(Flags::REUSEADDR),
            reuseport: self.base.has(Flags::REUSEPORT),
            listening: false,
            uid: self.base.uid,
            device: self
                .stack
                .interfaces
                .by_name(&device)
                .map_or(0, |i| i.index),
            auto: false,
            expires: None,
        }
    }

    /// SO_REUSEADDR or SO_REUSEPORT has changed.
    pub fn refresh_claim(&self) {
        let (reuse, reuseport) = (
            self.base.has(Flags::REUSEADDR),
            self.base.has(Flags::REUSEPORT),
        );
        if let Some(lease) = &*self.lease.lock() {
            let _ = lease.change(false, |c| (c.reuse, c.reuseport) = (reuse, reuseport));
        }
    }

    /// getsockopt(2) at SOL_SOCKET.
    pub fn socket_option(&self, name: i32, room: usize) -> Result<OptionValue> {
        if name == libc::SO_PEERCRED {
            // Known of Unix sockets only: no process, and no user.
            let nobody = [0, u32::MAX, u32::MAX];
            return Ok(OptionValue::from_slice(bytemuck::cast_slice(&nobody)));
        }
        self.base.get_option(name, room)
    }

    /// Whether it has a port.
    pub fn has_port(&self) -> bool {
        self.lease.lock().is_some()
    }

    /// The part of bind(2) that looks at the address and at who asks: `inet_bind_sk`, `inet6_bind_sk`. The check that the
    /// socket isn't bound yet comes after it.
    pub fn check_bind(&self, who: Rights, name: &SockAddr) -> Result<Named> {
        let named = match self.family {
            Family::V4 => {
                let named = decode_v4(name)?;
                match name.family().map(i32::from) {
                    Some(libc::AF_INET) => {}
                    // Old programs leave the family out of a wildcard.
                    Some(libc::AF_UNSPEC) if named.addr.ip().is_unspecified() => {}
                    _ => return Err(Errno::EAFNOSUPPORT),
                }
                self.check_local(named.addr.ip())?;
                named
            }
            Family::V6 => {
                let named = decode_v6(name)?;
                if name.family() != Some(self.family.number()) {
                    return Err(Errno::EAFNOSUPPORT);
                }
                if matches!(named.addr.ip(), IpAddr::V6(ip) if ip.is_multicast())
                    && self.is_stream()
                {
                    return Err(Errno::EINVAL);
                }
                named
            }
        };
        let port = named.addr.port();
        if port != 0
            && u32::from(port) < self.stack.config.unprivileged_port_start.get()
            && !who.bind
        {
            return Err(Errno::EACCES);
        }
        Ok(named)
    }

    /// The part of an IPv6 bind(2) that comes after the check that the socket isn't bound yet.
    pub fn check_bind6(&self, named: &Named) -> Result<()> {
        if self.family == Family::V4 {
            return Ok(());
        }
        if named.mapped && self.ip.has(IpFlags::V6ONLY) {
            return Err(Errno::EINVAL);
        }
        if let IpAddr::V6(ip) = named.addr.ip()
            && (ip.segments()[0] & 0xffc0 == 0xfe80 || ip.segments()[0] & 0xff0f == 0xff02)
        {
            // A link-local address means nothing without its link.
            match named.scope {
                0 if self.base.device.lock().is_empty() => return Err(Errno::EINVAL),
                0 => {}
                n if self.stack.interfaces.by_index(n).is_none() => return Err(Errno::ENODEV),
                _ => {}
            }
        }
        self.check_local(named.addr.ip())
    }

    fn check_local(&self, ip: IpAddr) -> Result<()> {
        let ok = ip.is_unspecified()
            || ip.is_multicast()
            || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets() == [127, 255, 255, 255])
            || self.ip.has(IpFlags::FREEBIND | IpFlags::TRANSPARENT)
            || self.stack.interfaces.is_local(ip);
        if ok {
            Ok(())
        } else {
            Err(Errno::EADDRNOTAVAIL)
        }
    }

    fn is_stream(&self) -> bool {
        self.base.kind == libc::SOCK_STREAM
    }

    /// Takes a port of the table for `ip`: `port`, or any for 0. EADDRINUSE.
    pub fn take_port(&self, ip: IpAddr, port: u16) -> Result<u16> {
        let table = if self.is_stream() {
            &self.stack.tcp_ports
        } else {
            &self.stack.udp_ports
        };
        let claim = self.claim(ip);
        let lease = match port {
            0 => Lease::ephemeral(
                table,
                self.ip.port_range(&self.stack),
                self.stack.random(),
                claim,
                now(),
            )?,
            port => Lease::certain(table, port, claim, now())?,
        };
        let port = lease.port;
        *self.lease.lock() = Some(lease);
        Ok(port)
    }

    /// A wildcard destination means this host; one's own address where it is bound to one.
    pub fn concrete(&self, dst: SocketAddr, local: IpAddr) -> SocketAddr {
        if !dst.ip().is_unspecified() {
            return dst;
        }
        let v4 = dst.is_ipv4() || local.is_ipv4();
        let ip = match (v4, local) {
            (true, IpAddr::V4(own)) if !own.is_unspecified() => local,
            (true, _) => std::net::Ipv4Addr::LOCALHOST.into(),
            (false, _) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        SocketAddr::new(ip, dst.port())
    }
}
