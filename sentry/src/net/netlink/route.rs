//! rtnetlink(7): links, addresses and routes of the sandbox.

use super::message::{Builder, DUMP, MULTI, Request, attribute, attribute_kinds, done, u32_at};
use crate::net::inet::Stack;
use crate::net::inet::route::{Interface, InterfaceAddr, Route};
use arch::{Errno, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;

const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const RTMSG: usize = 12;

const IFLA_ADDRESS: u16 = 1;
const IFLA_BROADCAST: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_QDISC: u16 = 6;
const IFLA_STATS: u16 = 7;
const IFLA_TXQLEN: u16 = 13;
const IFLA_MAP: u16 = 14;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKMODE: u16 = 17;
const IFLA_STATS64: u16 = 23;
const IFLA_GROUP: u16 = 27;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_CARRIER: u16 = 33;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// IFA_F_PERMANENT.
const PERMANENT: u32 = 0x80;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_PREF: u16 = 20;
/// RTM_F_CLONED: the route cache is asked for.
const CLONED: u32 = 0x200;

const SCOPE_HOST: u8 = 254;
const SCOPE_LINK: u8 = 253;
const TYPE_LOCAL: u8 = 2;
const TYPE_BROADCAST: u8 = 3;
const TABLE_LOCAL: u8 = 255;
const TABLE_MAIN: u8 = 254;
const PROTO_KERNEL: u8 = 2;

/// What a handler gives: datagrams for the sender.
pub type Answer = Vec<Vec<u8>>;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The port id that answers go to.
    pub pid: u32,
    /// CAP_NET_ADMIN.
    pub admin: bool,
}

/// Answers one request (rtnetlink_rcv_msg). An error, or an acknowledgement, is the caller's to send.
pub fn answer(stack: &Stack, asker: Asker, r: &Request<'_>) -> Result<Answer> {
    if r.body.is_empty() {
        return Ok(Vec::new());
    }
    // Messages come in fours: new, delete, get, set. Only "get" is for everyone.
    if r.kind & 3 != 2 && !asker.admin {
        return Err(Errno::EPERM);
    }
    let dump = r.flags & DUMP == DUMP;
    let mut b = Builder::default();
    match r.kind {
        RTM_GETLINK if dump => {
            stack
                .interfaces
                .all()
                .iter()
                .for_each(|i| link(&mut b, stack, i, r.seq, asker.pid, MULTI));
        }
        RTM_GETLINK => {
            let found = named_link(stack, r.body)?;
            link(&mut b, stack, found, r.seq, asker.pid, 0);
            return Ok(vec![b.finish()]);
        }
        RTM_GETADDR if dump => {
            let family = i32::from(r.body[0]);
            for i in stack.interfaces.all() {
                for a in i
                    .addrs
                    .iter()
                    .filter(|a| family == libc::AF_UNSPEC || family == family_of(a.ip))
                {
                    address(&mut b, i, a, r.seq, asker.pid);
                }
            }
        }
        RTM_GETROUTE if dump => routes(&mut b, stack, r, asker.pid),
        RTM_GETROUTE => {
            one_route(&mut b, stack, r, asker.pid)?;
            return Ok(vec![b.finish()]);
        }
        RTM_GETNEIGH if dump => {}
        RTM_NEWLINK | RTM_SETLINK => {
            set_link(stack, r.body)?;
            return Ok(Vec::new());
        }
        _ => return Err(Errno::EOPNOTSUPP),
    }
    let body = b.finish();
    let end = done(r.seq, asker.pid);
    Ok(if body.is_empty() {
        vec![end]
    } else {
        vec![body, end]
    })
}

fn family_of(ip: IpAddr) -> i32 {
    if ip.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The link that a request names by index or name: ENODEV; EINVAL when by neither.
fn named_link<'a>(stack: &'a Stack, body: &[u8]) -> Result<&'a Interface> {
    if body.len() < IFINFOMSG {
        return Err(Errno::EINVAL);
    }
    let name = attribute(body, IFINFOMSG, IFLA_IFNAME)
        .map(|n| n.split(|&b| b == 0).next().unwrap_or_default());
    match (u32_at(body, 4).unwrap_or(0), name) {
        (0, None) => Err(Errno::EINVAL),
        (0, Some(name)) => stack.interfaces.by_name(name).ok_or(Errno::ENODEV),
        (index, _) => stack.interfaces.by_index(index).ok_or(Errno::ENODEV),
    }
}

/// A change to a link: only one that changes nothing, such as bringing lo up again.
fn set_link(stack: &Stack, body: &[u8]) -> Result<()> {
    let found = named_link(stack, body)?;
    let (flags, change) = (u32_at(body, 8).unwrap_or(0), u32_at(body, 12).unwrap_or(0));
    let harmless = |kind: &u16| matches!(*kind, IFLA_IFNAME | IFLA_EXT_MASK);
    if (flags ^ found.flags) & change == 0 && attribute_kinds(body, IFINFOMSG).iter().all(harmless)
    {
        return Ok(());
    }
    Err(Errno::EOPNOTSUPP)
}

fn link(b: &mut Builder, stack: &Stack, i: &Interface, seq: u32, pid: u32, flags: u16) {
    let (packets, bytes) = (stack.stats.lo_packets.get(), stack.stats.lo_bytes.get());
    // Received packets and bytes are the sent ones: rx_packets, tx_packets, rx_bytes, tx_bytes, then errors and the like.
    let mut stats = [0u64; 25];
    stats[..4].copy_from_slice(&[packets, packets, bytes, bytes]);
    // The old form has one counter less (not rx_otherhost_dropped), of 32 bits each.
    let short: Vec<u8> = stats[..24]
        .iter()
        .flat_map(|&v| (v as u32).to_ne_bytes())
        .collect();
    let mut head = [0; IFINFOMSG];
    head[2..4].copy_from_slice(&i.hardware.to_ne_bytes());
    head[4..8].copy_from_slice(&i.index.to_ne_bytes());
    // IFF_LOWER_UP doesn't fit into the ioctl's flags.
    head[8..12].copy_from_slice(&(i.flags | 0x1_0000).to_ne_bytes());
    b.message(RTM_NEWLINK, flags, seq, pid)
        .fixed(&head)
        .attr(IFLA_IFNAME, &[i.name.as_bytes(), &[0]].concat())
        .attr32(IFLA_TXQLEN, 1000)
        .attr(IFLA_OPERSTATE, &[0])
        .attr(IFLA_LINKMODE, &[0])
        .attr32(IFLA_MTU, i.mtu)
        .attr32(IFLA_GROUP, 0)
        .attr32(IFLA_PROMISCUITY, 0)
        .attr32(IFLA_NUM_TX_QUEUES, 1)
        .attr32(IFLA_NUM_RX_QUEUES, 1)
        .attr(IFLA_CARRIER, &[1])
        .attr(IFLA_QDISC, b"noqueue\0")
        .attr(IFLA_MAP, &[0; 32])
        .attr(IFLA_ADDRESS, &[0; 6])
        .attr(IFLA_BROADCAST, &[0; 6])
        .attr(IFLA_STATS64, bytemuck::cast_slice(&stats))
        .attr(IFLA_STATS, &short);
}

fn address(b: &mut Builder, i: &Interface, a: &InterfaceAddr, seq: u32, pid: u32) {
    let mut head = [
        family_of(a.ip) as u8,
        a.prefix,
        PERMANENT as u8,
        SCOPE_HOST,
        0,
        0,
        0,
        0,
    ];
    head[4..].copy_from_slice(&i.index.to_ne_bytes());
    debug_assert_eq!(head.len(), IFADDRMSG);
    // struct ifa_cacheinfo: preferred and valid for ever, made when the machine started.
    let mut cache = [0xff; 16];
    cache[8..].fill(0);
    b.message(RTM_NEWADDR, MULTI, seq, pid)
        .fixed(&head)
        .attr(IFA_ADDRESS, &octets(a.ip));
    if a.ip.is_ipv4() {
        b.attr(IFA_LOCAL, &octets(a.ip))
            .attr(IFA_LABEL, &[i.name.as_bytes(), &[0]].concat());
    }
    b.attr32(IFA_FLAGS, PERMANENT).attr(IFA_CACHEINFO, &cache);
}

/// A line of the local table.
struct Line {
    dst: IpAddr,
    prefix: u8,
    scope: u8,
    kind: u8,
}

fn lines(i: &Interface) -> Vec<Line> {
    let mut out = Vec::new();
    for a in &i.addrs {
        match a.ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(a.prefix)).unwrap_or(0);
                let net = Ipv4Addr::from(u32::from(ip) & mask);
                let last = Ipv4Addr::from(u32::from(ip) | !mask);
                let local = |dst: Ipv4Addr, prefix| Line {
                    dst: dst.into(),
                    prefix,
                    scope: SCOPE_HOST,
                    kind: TYPE_LOCAL,
                };
                out.push(local(net, a.prefix));
                out.push(local(ip, 32));
                out.push(Line {
                    dst: last.into(),
                    prefix: 32,
                    scope: SCOPE_LINK,
                    kind: TYPE_BROADCAST,
                });
            }
            IpAddr::V6(_) => out.push(Line {
                dst: a.ip,
                prefix: 128,
                scope: 0,
                kind: TYPE_LOCAL,
            }),
        }
    }
    out
}

/// A dump of the routes. All are in the local table: the main one is empty.
fn routes(b: &mut Builder, stack: &Stack, r: &Request<'_>, pid: u32) {
    let family = i32::from(r.body[0]);
    let table = attribute(r.body, RTMSG, RTA_TABLE)
        .and_then(|t| u32_at(t, 0))
        .unwrap_or_else(|| u32::from(r.body.get(4).copied().unwrap_or(0)));
    let flags = u32_at(r.body, 8).unwrap_or(0);
    if flags & CLONED != 0 || (table != 0 && table != u32::from(TABLE_LOCAL)) {
        return;
    }
    for i in stack.interfaces.all() {
        let source = i.addrs.iter().map(|a| a.ip).find(IpAddr::is_ipv4);
        for line in lines(i) {
            if family != libc::AF_UNSPEC && family != family_of(line.dst) {
                continue;
            }
            let head = [
                family_of(line.dst) as u8,
                line.prefix,
                0,
                0,
                TABLE_LOCAL,
                PROTO_KERNEL,
                line.scope,
                line.kind,
                0,
                0,
                0,
                0,
            ];
            b.message(RTM_NEWROUTE, MULTI, r.seq, pid)
                .fixed(&head)
                .attr32(RTA_TABLE, u32::from(TABLE_LOCAL))
                .attr(RTA_DST, &octets(line.dst));
            match (line.dst, source) {
                (IpAddr::V4(_), Some(source)) => {
                    b.attr(RTA_PREFSRC, &octets(source))
                        .attr32(RTA_OIF, i.index);
                }
                _ => {
                    b.attr32(RTA_PRIORITY, 0)
                        .attr32(RTA_OIF, i.index)
                        .attr(RTA_CACHEINFO, &[0; 32])
                        .attr(RTA_PREF, &[0]);
                }
            }
        }
    }
}

/// The way to one destination (`ip route get`).
fn one_route(b: &mut Builder, stack: &Stack, r: &Request<'_>, pid: u32) -> Result<()> {
    if r.body.len() < RTMSG {
        return Err(Errno::EINVAL);
    }
    let dst = attribute(r.body, RTMSG, RTA_DST).unwrap_or_default();
    let ip: IpAddr = match i32::from(r.body[0]) {
        libc::AF_INET => <[u8; 4]>::try_from(dst)
            .map(Ipv4Addr::from)
            .map_err(|_| Errno::EINVAL)?
            .into(),
        libc::AF_INET6 => <[u8; 16]>::try_from(dst)
            .map(Ipv6Addr::from)
            .map_err(|_| Errno::EINVAL)?
            .into(),
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let oif = attribute(r.body, RTMSG, RTA_OIF)
        .and_then(|v| u32_at(v, 0))
        .unwrap_or(0);
    let (kind, source) = match stack.interfaces.route(ip, oif)? {
        Route::Local { source } => (TYPE_LOCAL, source),
        Route::Broadcast { source } => (TYPE_BROADCAST, source),
        // RTN_MULTICAST.
        Route::Multicast { source, .. } => (5, source),
    };
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let mut head = [
        family_of(ip) as u8,
        bits,
        0,
        0,
        TABLE_MAIN,
        0,
        0,
        kind,
        0,
        0,
        0,
        0,
    ];
    head[8..].copy_from_slice(&CLONED.to_ne_bytes());
    b.message(RTM_NEWROUTE, 0, r.seq, pid)
        .fixed(&head)
        .attr32(RTA_TABLE, u32::from(TABLE_MAIN))
        .attr(RTA_DST, &octets(ip))
        .attr32(RTA_OIF, crate::net::inet::route::LO_INDEX)
        .attr(RTA_PREFSRC, &octets(source))
        .attr(RTA_CACHEINFO, &[0; 32]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::message::{DONE, REQUEST, requests};
    use super::*;

    const ASKER: Asker = Asker {
        pid: 42,
        admin: false,
    };

    fn ask(kind: u16, flags: u16, body: &[u8], attrs: &[(u16, &[u8])]) -> Result<Answer> {
        let mut b = Builder::default();
        b.message(kind, REQUEST | flags, 7, 0).fixed(body);
        for (kind, value) in attrs {
            b.attr(*kind, value);
        }
        let bytes = b.finish();
        answer(&Stack::default(), ASKER, &requests(&bytes).next().unwrap())
    }

    fn kinds(answer: &Answer) -> Vec<u16> {
        answer
            .iter()
            .flat_map(|d| requests(d).map(|r| r.kind).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn dumps_show_lo() {
        let links = ask(RTM_GETLINK, DUMP, &[0; 16], &[]).unwrap();
        assert_eq!(kinds(&links), [RTM_NEWLINK, DONE]);
        let link = requests(&links[0]).next().unwrap();
        assert_eq!((link.seq, u32_at(link.whole, 12)), (7, Some(42)));
        assert_eq!(
            attribute(link.body, IFINFOMSG, IFLA_IFNAME),
            Some(&b"lo\0"[..])
        );
        assert_eq!(u32_at(link.body, 8), Some(0x10049));
        let addrs = ask(RTM_GETADDR, DUMP, &[0; 8], &[]).unwrap();
        assert_eq!(kinds(&addrs), [RTM_NEWADDR, RTM_NEWADDR, DONE]);
        let v4 = requests(&addrs[0]).next().unwrap();
        assert_eq!(v4.body[..8], [2, 8, 0x80, 254, 1, 0, 0, 0]);
        assert_eq!(
            attribute(v4.body, IFADDRMSG, IFA_LOCAL),
            Some(&[127, 0, 0, 1][..])
        );
        let only = ask(RTM_GETADDR, DUMP, &[10, 0, 0, 0, 0, 0, 0, 0], &[]).unwrap();
        assert_eq!(kinds(&only), [RTM_NEWADDR, DONE]);
        let routes = ask(RTM_GETROUTE, DUMP, &[0; 12], &[]).unwrap();
        assert_eq!(
            kinds(&routes),
            [RTM_NEWROUTE, RTM_NEWROUTE, RTM_NEWROUTE, RTM_NEWROUTE, DONE]
        );
        let line = requests(&routes[0]).next().unwrap();
        assert_eq!(line.body[..8], [2, 8, 0, 0, 255, 2, 254, 2]);
        assert_eq!(
            kinds(&ask(RTM_GETNEIGH, DUMP, &[0; 12], &[]).unwrap()),
            [DONE]
        );
        // rtgenmsg alone is enough, as getifaddrs(3) sends it.
        assert_eq!(kinds(&ask(RTM_GETROUTE, DUMP, &[0], &[]).unwrap()).len(), 5);
    }

    #[test]
    fn single_requests() {
        let by_name = ask(RTM_GETLINK, 0, &[0; 16], &[(IFLA_IFNAME, b"lo\0")]).unwrap();
        assert_eq!(kinds(&by_name), [RTM_NEWLINK]);
        assert_eq!(
            ask(RTM_GETLINK, 0, &[0; 16], &[(IFLA_IFNAME, b"eth0\0")]).err(),
            Some(Errno::ENODEV)
        );
        assert_eq!(
            ask(RTM_GETLINK, 0, &[0; 16], &[]).err(),
            Some(Errno::EINVAL)
        );
        let mut to = [0; 12];
        (to[0], to[1]) = (2, 32);
        assert_eq!(
            kinds(&ask(RTM_GETROUTE, 0, &to, &[(RTA_DST, &[127, 0, 0, 5])]).unwrap()),
            [RTM_NEWROUTE]
        );
        assert_eq!(
            ask(RTM_GETROUTE, 0, &to, &[(RTA_DST, &[8, 8, 8, 8])]).err(),
            Some(Errno::ENETUNREACH)
        );
    }

    #[test]
    fn changes_are_refused() {
        assert_eq!(ask(RTM_NEWADDR, 0, &[0; 8], &[]).err(), Some(Errno::EPERM));
        assert_eq!(ask(98, DUMP, &[0; 16], &[]).err(), Some(Errno::EOPNOTSUPP));
        let stack = Stack::default();
        let root = Asker {
            admin: true,
            ..ASKER
        };
        let set = |flags: u32| {
            let mut head = [0; 16];
            head[4] = 1;
            head[8..12].copy_from_slice(&flags.to_ne_bytes());
            head[12] = 1;
            let bytes = Builder::default()
                .message(RTM_NEWLINK, REQUEST, 7, 0)
                .fixed(&head)
                .finish();
            answer(&stack, root, &requests(&bytes).next().unwrap())
        };
        assert_eq!(set(1), Ok(Vec::new()));
        assert_eq!(set(0), Err(Errno::EOPNOTSUPP));
    }
}
