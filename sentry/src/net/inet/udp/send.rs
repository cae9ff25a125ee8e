//! Sending a datagram: to whom, from where, and to which sockets that comes.

use super::multicast::Membership;
use super::recv::{Core, Datagram};
use super::socket::{State, UdpSocket};
use crate::net::inet::addr::Family;
use crate::net::inet::ip::IpFlags;
use crate::net::inet::route::Route;
use crate::net::inet::sk::SEND_SHUTDOWN;
use crate::net::options::Flags;
use crate::net::{Control, MsgFlags, SockAddr};
use crate::user::Source;
use arch::{Errno, Result};
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Longest datagram over IPv4 (65535 less two headers).
const MAX_V4: usize = 65507;
/// Longest datagram over IPv6.
const MAX_V6: usize = 65527;
const UDP_SEGMENT: i32 = 103;

/// What a datagram is sent with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    from: SocketAddr,
    to: SocketAddr,
    route: Route,
    ttl: u8,
    tos: u8,
    /// The socket is connected to `to`.
    connected: bool,
    /// Cut into datagrams of this size (UDP_SEGMENT); 0: not at all.
    segment: usize,
}

/// A datagram that grows (UDP_CORK, MSG_MORE).
pub(super) struct Corked {
    header: Header,
    data: Vec<u8>,
}

/// What ancillary data say of one datagram.
#[derive(Default)]
struct Wishes {
    source: Option<IpAddr>,
    interface: u32,
    ttl: Option<i32>,
    tos: Option<i32>,
    segment: Option<u16>,
}

fn number(data: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(data.get(..4)?.try_into().ok()?))
}

impl Wishes {
    /// EINVAL for what a kernel wouldn't take either (ip_cmsg_send, ip6_datagram_send_ctl).
    fn parse(family: Family, v4: bool, control: &[Control]) -> Result<Self> {
        let mut out = Self::default();
        for c in control {
            let Control::Raw { level, kind, data } = c else {
                continue;
            };
            match (*level, *kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if v4 => {
                    let data: &[u8; 12] = data.as_slice().try_into().map_err(|_| Errno::EINVAL)?;
                    out.interface = u32::from_ne_bytes([data[0], data[1], data[2], data[3]]);
                    let ip = Ipv4Addr::new(data[4], data[5], data[6], data[7]);
                    out.source = (!ip.is_unspecified()).then_some(ip.into());
                }
                (libc::IPPROTO_IP, libc::IP_TTL) if v4 => {
                    let v = number(data)
                        .filter(|v| (1..=255).contains(v))
                        .ok_or(Errno::EINVAL)?;
                    out.ttl = Some(v);
                }
                (libc::IPPROTO_IP, libc::IP_TOS) if v4 => {
                    let v = match data.as_slice() {
                        [one] => i32::from(*one),
                        more => number(more).ok_or(Errno::EINVAL)?,
                    };
                    out.tos = Some(if (0..=255).contains(&v) {
                        v
                    } else {
                        return Err(Errno::EINVAL);
                    });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if family == Family::V6 => {
                    let data: &[u8; 20] = data.as_slice().try_into().map_err(|_| Errno::EINVAL)?;
                    let mut octets = [0; 16];
                    octets.copy_from_slice(&data[..16]);
                    out.interface = u32::from_ne_bytes([data[16], data[17], data[18], data[19]]);
                    let ip = crate::net::inet::addr::canonical(Ipv6Addr::from(octets).into());
                    out.source = (!ip.is_unspecified() && ip.is_ipv4() == v4).then_some(ip);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) if !v4 => {
                    out.ttl = Some(
                        number(data)
                            .filter(|v| (-1..=255).contains(v))
                            .ok_or(Errno::EINVAL)?,
                    );
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) if !v4 => {
                    out.tos = Some(
                        number(data)
                            .filter(|v| (-1..=255).contains(v))
                            .ok_or(Errno::EINVAL)?,
                    );
                }
                (libc::IPPROTO_UDP, UDP_SEGMENT) => {
                    let two: [u8; 2] = data.as_slice().try_into().map_err(|_| Errno::EINVAL)?;
                    out.segment = Some(u16::from_ne_bytes(two));
                }
                (libc::SOL_SOCKET, libc::SO_PRIORITY | libc::SO_MARK) => {}
                (libc::SOL_SOCKET, _) => return Err(Errno::EINVAL),
                (libc::IPPROTO_IP, _) if v4 => return Err(Errno::EINVAL),
                (libc::IPPROTO_IPV6, _) if family == Family::V6 => return Err(Errno::EINVAL),
                (libc::IPPROTO_UDP, _) => return Err(Errno::EINVAL),
                _ => {}
            }
        }
        Ok(out)
    }
}

impl UdpSocket {
    /// sendmsg(2).
    pub fn send(
        &self,
        src: &mut dyn Source,
        to: Option<&SockAddr>,
        control: &[Control],
        flags: MsgFlags,
    ) -> Result<usize> {
        let len = src.remaining();
        let sk = self.sk();
        let mut header = None;
        {
            let mut st = self.state.lock();
            self.autobind(&mut st)?;
            if len > 0xffff {
                return Err(Errno::EMSGSIZE);
            }
            if flags.contains(MsgFlags::OOB) {
                return Err(Errno::EOPNOTSUPP);
            }
            if st.corked.is_none() {
                header = Some(self.header(&st, to, control)?);
            }
        }
        sk.base.take_error()?;
        if sk.shutdown() & SEND_SHUTDOWN != 0 {
            return Err(Errno::EPIPE);
        }
        let data = if len == 0 {
            Vec::new()
        } else {
            src.read_all()?
        };
        let more = flags.contains(MsgFlags::MORE) || self.cork.load(Ordering::Relaxed);
        let whole = {
            let mut st = self.state.lock();
            match st.corked.take() {
                Some(mut corked) => {
                    corked.data.extend_from_slice(&data);
                    Some(corked)
                }
                None => header.map(|header| Corked { header, data }),
            }
        };
        // Corked data that another thread has sent meanwhile: this belongs to none.
        let Some(whole) = whole else {
            return Err(Errno::EINVAL);
        };
        let limit = if whole.header.to.is_ipv4() {
            MAX_V4
        } else {
            MAX_V6
        };
        if whole.data.len() > limit {
            return Err(Errno::EMSGSIZE);
        }
        if more {
            self.state.lock().corked = Some(whole);
            return Ok(len);
        }
        self.transmit(whole);
        Ok(len)
    }

    /// UDP_CORK is off: what was held goes.
    pub(super) fn uncork(&self) {
        let corked = self.state.lock().corked.take();
        if let Some(corked) = corked {
            self.transmit(corked);
        }
    }

    /// Where a datagram goes and with what: EDESTADDRREQ, EINVAL, ENETUNREACH, EACCES.
    fn header(&self, st: &State, to: Option<&SockAddr>, control: &[Control]) -> Result<Header> {
        let sk = self.sk();
        // A group or a broadcast address can be bound to, but nothing comes from one.
        let own = match st.local.ip() {
            ip if ip.is_multicast() => sk.family.any(),
            IpAddr::V4(v4) if v4.is_broadcast() || v4.octets() == [127, 255, 255, 255] => {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            }
            ip => ip,
        };
        let named = match to {
            Some(name) => self.destination(name, own, true)?,
            None => None,
        };
        let to = match named {
            Some(to) if to.port() == 0 => return Err(Errno::EINVAL),
            Some(to) => to,
            None => st.remote.ok_or(Errno::EDESTADDRREQ)?,
        };
        let wishes = Wishes::parse(sk.family, to.is_ipv4(), control)?;
        let interface = match wishes.interface {
            0 => self.multicast_interface(to.ip()),
            n if sk.stack.interfaces.by_index(n).is_none() => return Err(Errno::ENODEV),
            n => n,
        };
        if let Some(ip) = wishes.source
            && !sk.stack.interfaces.is_local(ip)
        {
            return Err(if ip.is_ipv4() {
                Errno::ENETUNREACH
            } else {
                Errno::EINVAL
            });
        }
        let route = sk.stack.interfaces.route(to.ip(), interface)?;
        let (Route::Local { source }
        | Route::Broadcast { source }
        | Route::Multicast { source, .. }) = route;
        if matches!(route, Route::Broadcast { .. }) && !sk.base.has(Flags::BROADCAST) {
            return Err(Errno::EACCES);
        }
        let source = wishes
            .source
            .unwrap_or(if own.is_unspecified() { source } else { own });
        let load = |a: &std::sync::atomic::AtomicI32| a.load(Ordering::Relaxed);
        let default_ttl = sk.stack.config.default_ttl.get().cast_signed();
        let group = matches!(route, Route::Multicast { .. });
        let (ttl, tos) = match to {
            SocketAddr::V4(_) => (
                if group {
                    load(&sk.ip.mc_ttl)
                } else {
                    load(&sk.ip.ttl)
                },
                load(&sk.ip.tos),
            ),
            SocketAddr::V6(_) => (
                if group {
                    load(&sk.ip.mc_hops)
                } else {
                    load(&sk.ip.hops)
                },
                load(&sk.ip.tclass),
            ),
        };
        let pick = |wish: Option<i32>, own: i32, default: i32| {
            let v = wish.filter(|&w| w >= 0).unwrap_or(own);
            u8::try_from(if v < 0 { default } else { v }).unwrap_or(u8::MAX)
        };
        Ok(Header {
            from: SocketAddr::new(source, st.local.port()),
            to,
            route,
            ttl: pick(wishes.ttl, ttl, default_ttl),
            tos: pick(wishes.tos, tos, 0),
            connected: st.remote == Some(to),
            segment: usize::from(
                wishes
                    .segment
                    .unwrap_or_else(|| self.segment.load(Ordering::Relaxed)),
            ),
        })
    }

    fn transmit(&self, Corked { header, data }: Corked) {
        if header.segment > 0 && data.len() > header.segment {
            data.chunks(header.segment)
                .for_each(|part| self.transmit_one(&header, part.to_vec()));
        } else {
            self.transmit_one(&header, data);
        }
    }

    fn transmit_one(&self, header: &Header, data: Vec<u8>) {
        let stack = &self.sk().stack;
        stack.stats.udp_out.inc();
        stack.stats.lo_packets.inc();
        stack.stats.lo_bytes.add(data.len() as u64 + 28);
        let datagram = Datagram {
            data: Arc::new(data),
            from: header.from,
            to: header.to,
            ttl: header.ttl,
            tos: header.tos,
            time: realtime(),
            drops: 0,
        };
        let receivers: SmallVec<[Arc<Core>; 1]> = match header.route {
            Route::Local { .. } => {
                let Some(core) = stack.receivers.find(stack, header.from, header.to) else {
                    stack.stats.udp_no_ports.inc();
                    self.core
                        .refused(&datagram.data, header.to, header.connected);
                    return;
                };
                smallvec::smallvec![core]
            }
            Route::Broadcast { .. } => stack.receivers.find_all(header.from, header.to).into(),
            Route::Multicast { index, .. } => {
                let m = Membership {
                    group: header.to.ip(),
                    index,
                };
                let looped = if header.to.is_ipv4() {
                    IpFlags::MC_LOOP
                } else {
                    IpFlags::MC_LOOP6
                };
                if !self.sk().ip.has(looped) || !stack.groups.has(m) {
                    return;
                }
                let mut all = stack.receivers.find_all(header.from, header.to);
                all.retain(|core| core.wants(m));
                all.into()
            }
        };
        for core in receivers {
            let taken = core.deliver(datagram.clone());
            if taken {
                &stack.stats.udp_in
            } else {
                &stack.stats.udp_rcvbuf_errors
            }
            .inc();
        }
    }
}

fn realtime() -> u64 {
    let ns = crate::host::event::clock_ns(libc::CLOCK_REALTIME).unwrap_or(0);
    u64::try_from(ns).unwrap_or(0)
}
