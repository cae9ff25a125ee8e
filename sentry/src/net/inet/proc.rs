//! The files of /proc/net (proc(5)) that show this network.

use super::addr::{Family, octets16};
use super::sk::Sk;
use super::stack::{Stack, now};
use super::tcp::TcpState;
use super::tcp::table::Entry;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Makes the text of a file.
type Make = fn(&Stack) -> String;

/// Every file by name.
pub const FILES: &[(&str, Make)] = &[
    ("arp", |_| {
        "IP address       HW type     Flags       HW address            Mask     Device\n".into()
    }),
    ("dev", dev),
    ("dev_mcast", |_| String::new()),
    ("icmp", |_| DATAGRAM_HEADER.into()),
    ("icmp6", |_| DATAGRAM6_HEADER.into()),
    ("if_inet6", if_inet6),
    ("igmp", igmp),
    ("ipv6_route", ipv6_route),
    ("netlink", |_| {
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
            .into()
    }),
    ("packet", |_| {
        "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n".into()
    }),
    ("raw", |_| DATAGRAM_HEADER.into()),
    ("raw6", |_| DATAGRAM6_HEADER.into()),
    ("route", |_| format!("{ROUTE_HEADER:<127}\n")),
    ("snmp", snmp),
    ("sockstat", sockstat),
    ("sockstat6", sockstat6),
    ("tcp", |stack| tcp(stack, Family::V4)),
    ("tcp6", |stack| tcp(stack, Family::V6)),
    ("udp", |stack| udp(stack, Family::V4)),
    ("udp6", |stack| udp(stack, Family::V6)),
    ("udplite", |_| {
        format!("{:<127}\n", DATAGRAM_HEADER.trim_end())
    }),
    ("udplite6", |_| DATAGRAM6_HEADER.into()),
];

const DATAGRAM_HEADER: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
const DATAGRAM6_HEADER: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
const TCP_HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const TCP6_HEADER: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
/// The main table is empty: all routes are in the local one, which this file doesn't show.
const ROUTE_HEADER: &str =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";

/// An address as these files write it: words in the machine's order, in hexadecimal.
fn hex(family: Family, addr: SocketAddr) -> String {
    let mut out = String::new();
    match (family, addr.ip()) {
        (Family::V4, IpAddr::V4(ip)) => {
            let _ = write!(out, "{:08X}", u32::from_ne_bytes(ip.octets()));
        }
        (_, ip) => {
            // The unbound address of either family is all zeros.
            let octets = if ip.is_unspecified() {
                [0; 16]
            } else {
                octets16(ip)
            };
            for word in octets.chunks_exact(4) {
                let _ = write!(
                    out,
                    "{:08X}",
                    u32::from_ne_bytes([word[0], word[1], word[2], word[3]])
                );
            }
        }
    }
    let _ = write!(out, ":{:04X}", addr.port());
    out
}

/// What a line shows of a socket.
struct Line<'a> {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    tx: usize,
    rx: usize,
    sk: &'a Sk,
}

impl Line<'_> {
    /// From the addresses to the reference count, behind the line's number.
    fn text(&self, family: Family, refs: u32) -> String {
        format!(
            "{} {} {:02X} {:08X}:{:08X} 00:00000000 00000000 {:>5}        0 {} {refs} 0000000000000000",
            hex(family, self.local),
            hex(family, self.remote),
            self.state,
            self.tx,
            self.rx,
            self.sk.base.uid,
            self.sk.base.ino,
        )
    }
}

fn tcp(stack: &Stack, family: Family) -> String {
    // IPv4 lines are padded to a fixed width.
    let width = if family == Family::V4 { 149 } else { 0 };
    let header = if family == Family::V4 {
        TCP_HEADER
    } else {
        TCP6_HEADER
    };
    let mut out = format!("{header:<width$}\n");
    let mut n = 0;
    let mut add = |text: String| {
        let line = format!("{n:4}: {text}");
        let _ = writeln!(out, "{line:<width$}");
        n += 1;
    };
    let nobody = |addr: SocketAddr| {
        SocketAddr::new(
            if addr.is_ipv4() {
                Family::V4.any()
            } else {
                Family::V6.any()
            },
            0,
        )
    };
    for l in stack
        .listeners
        .all()
        .iter()
        .filter(|l| l.sk.family == family)
    {
        let line = Line {
            local: l.local,
            remote: nobody(l.local),
            state: TcpState::Listen as u8,
            tx: 0,
            rx: l.lengths().0,
            sk: &l.sk,
        };
        add(format!("{} 100 0 0 10 0", line.text(family, 1)));
    }
    for (tuple, entry) in stack.conns.all(now()) {
        match entry {
            Entry::Opening(h) => {
                let Some(h) = h.upgrade().filter(|h| h.sk.family == family) else {
                    continue;
                };
                let state = TcpState::SynSent as u8;
                let line = Line {
                    local: tuple.local,
                    remote: tuple.remote,
                    state,
                    tx: 1,
                    rx: 0,
                    sk: &h.sk,
                };
                add(format!("{} 100 0 0 10 -1", line.text(family, 2)));
            }
            Entry::Open(conn, side, _) => {
                let Some(conn) = conn.upgrade() else { continue };
                let sk = &conn.ends[side];
                if sk.family != family {
                    continue;
                }
                let line = Line {
                    local: tuple.local,
                    remote: tuple.remote,
                    state: conn.state(side) as u8,
                    tx: conn.unsent(side),
                    rx: conn.unread(side),
                    sk,
                };
                add(format!("{} 20 4 30 10 -1", line.text(family, 1)));
            }
            Entry::TimeWait(until, of) => {
                if of != family {
                    continue;
                }
                // In hundredths of a second.
                let left = until.saturating_sub(now()) / 10_000_000;
                add(format!(
                    "{} {} 06 00000000:00000000 03:{left:08X} 00000000     0        0 0 3 0000000000000000",
                    hex(family, tuple.local),
                    hex(family, tuple.remote),
                ));
            }
        }
    }
    out
}

fn udp(stack: &Stack, family: Family) -> String {
    let width = if family == Family::V4 { 127 } else { 0 };
    let header = if family == Family::V4 {
        DATAGRAM_HEADER
    } else {
        DATAGRAM6_HEADER
    };
    let mut out = format!("{:<width$}\n", header.trim_end());
    let all = stack.receivers.all();
    for r in all.iter().filter(|r| r.core.sk.family == family) {
        let (rx, drops) = r.core.usage();
        let any = if r.local.is_ipv4() {
            Family::V4.any()
        } else {
            Family::V6.any()
        };
        let line = Line {
            local: r.local,
            remote: r.remote.unwrap_or(SocketAddr::new(any, 0)),
            state: if r.remote.is_some() {
                TcpState::Established
            } else {
                TcpState::Close
            } as u8,
            tx: 0,
            rx,
            sk: &r.core.sk,
        };
        let text = format!("{:5}: {} {drops}", r.local.port(), line.text(family, 2));
        let _ = writeln!(out, "{text:<width$}");
    }
    out
}

fn dev(stack: &Stack) -> String {
    let mut out = String::from(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
    );
    for i in stack.interfaces.all() {
        let (bytes, packets) = (stack.stats.lo_bytes.get(), stack.stats.lo_packets.get());
        let _ = writeln!(
            out,
            "{:>6}: {bytes:7} {packets:7}    0    0    0     0          0         0 {bytes:8} {packets:7}    0    0    0     0       0          0",
            i.name,
        );
    }
    out
}

fn if_inet6(stack: &Stack) -> String {
    let mut out = String::new();
    for i in stack.interfaces.all() {
        for a in i.addrs.iter().filter(|a| a.ip.is_ipv6()) {
            for b in octets16(a.ip) {
                let _ = write!(out, "{b:02x}");
            }
            // Scope of the host itself, permanent.
            let _ = writeln!(out, " {:02x} {:02x} 10 80 {:>8}", i.index, a.prefix, i.name);
        }
    }
    out
}

fn ipv6_route(stack: &Stack) -> String {
    let zero = "00000000000000000000000000000000";
    let unreachable =
        format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
    let mut out = unreachable.clone();
    for i in stack.interfaces.all() {
        for a in i.addrs.iter().filter(|a| a.ip.is_ipv6()) {
            for b in octets16(a.ip) {
                let _ = write!(out, "{b:02x}");
            }
            let _ = writeln!(
                out,
                " 80 {zero} 00 {zero} 00000000 00000002 00000000 80200001 {:>8}",
                i.name
            );
        }
    }
    out + &unreachable
}

fn igmp(stack: &Stack) -> String {
    let mut groups: Vec<(u32, usize)> = vec![(0xe000_0001, 1)];
    for (m, n) in stack.groups.all() {
        if let IpAddr::V4(ip) = m.group {
            groups.push((ip.into(), n));
        }
    }
    let mut out = String::from("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    let _ = writeln!(out, "1\tlo        : {:5}      V3", groups.len());
    for (group, users) in groups {
        let _ = writeln!(
            out,
            "\t\t\t\t{:08X} {users:5} 0:00000000\t\t0",
            group.swap_bytes()
        );
    }
    out
}

fn snmp(stack: &Stack) -> String {
    let s = &stack.stats;
    let packets = s.lo_packets.get();
    format!(
        "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits\n\
         Ip: 2 {ttl} {packets} 0 0 0 0 0 {packets} {packets} 0 0 0 0 0 0 0 0 0 {packets}\n\
         Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps\n\
         Icmp: {un} 0 0 {un} 0 0 0 0 0 0 0 0 0 0 {un} 0 0 0 {un} 0 0 0 0 0 0 0 0 0 0\n\
         Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n\
         Tcp: 1 200 120000 -1 {} {} {} {} {} {segs} {segs} 0 0 {} 0\n\
         Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n\
         Udp: {} {un} {lost} {} {lost} 0 0 0 0\n\
         UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n\
         UdpLite: 0 0 0 0 0 0 0 0 0\n",
        s.tcp_active_opens.get(),
        s.tcp_passive_opens.get(),
        s.tcp_attempt_fails.get(),
        s.tcp_estab_resets.get(),
        s.tcp_curr_estab.get(),
        s.tcp_out_rsts.get(),
        s.udp_in.get(),
        s.udp_out.get(),
        ttl = stack.config.default_ttl.get(),
        un = s.udp_no_ports.get(),
        segs = s.tcp_segs.get(),
        lost = s.udp_rcvbuf_errors.get(),
    )
}

/// TCP sockets in use and in TIME_WAIT, UDP sockets, of a family.
fn count(stack: &Stack, family: Family) -> (usize, usize, usize) {
    let mut open = stack
        .listeners
        .all()
        .iter()
        .filter(|l| l.sk.family == family)
        .count();
    let mut waiting = 0;
    for (_, entry) in stack.conns.all(now()) {
        match entry {
            Entry::Open(conn, side, _) => {
                open += usize::from(
                    conn.upgrade()
                        .is_some_and(|c| c.ends[side].family == family),
                );
            }
            Entry::Opening(h) => {
                open += usize::from(h.upgrade().is_some_and(|h| h.sk.family == family))
            }
            Entry::TimeWait(_, of) => waiting += usize::from(of == family),
        }
    }
    let udp = stack
        .receivers
        .all()
        .iter()
        .filter(|r| r.core.sk.family == family)
        .count();
    (open, waiting, udp)
}

fn sockstat(stack: &Stack) -> String {
    let ((tcp, tw, udp), (tcp6, tw6, udp6)) = (count(stack, Family::V4), count(stack, Family::V6));
    // As Linux: what is common to both families counts both.
    format!(
        "sockets: used {}\nTCP: inuse {tcp} orphan 0 tw {} alloc {} mem {}\nUDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
        tcp + tcp6 + udp + udp6,
        tw + tw6,
        tcp + tcp6,
        stack.queued().div_ceil(4096),
    )
}

fn sockstat6(stack: &Stack) -> String {
    let (tcp, _, udp) = count(stack, Family::V6);
    format!(
        "TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SocketBase;
    use crate::net::inet::addr::encode;
    use crate::net::inet::ip::Rights;
    use crate::net::inet::tcp::TcpSocket;
    use crate::net::inet::udp::UdpSocket;
    use std::sync::Arc;

    #[test]
    fn an_idle_network_has_headers_of_linux_width() {
        let stack = Stack::default();
        let text = |name| (FILES.iter().find(|f| f.0 == name).unwrap().1)(&stack);
        assert_eq!(text("tcp").len(), 150);
        assert_eq!(text("udp").len(), 128);
        assert_eq!(text("route").len(), 128);
        assert_eq!(
            text("if_inet6"),
            "00000000000000000000000000000001 01 80 10 80       lo\n"
        );
        assert_eq!(
            text("dev").lines().nth(2).unwrap(),
            "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0"
        );
        assert!(FILES.is_sorted_by_key(|f| f.0));
    }

    #[test]
    fn sockets_have_lines() {
        let stack: Arc<Stack> = Arc::default();
        let base = |family: Family, kind| SocketBase::new(family.number(), kind, 0, 1000, 0);
        let l = TcpSocket::new(&stack, Family::V4, base(Family::V4, libc::SOCK_STREAM));
        let at = encode(Family::V4, "127.0.0.1:8080".parse().unwrap());
        l.bind_as(Rights::default(), &at).unwrap();
        l.listen_with(5).unwrap();
        let c = TcpSocket::new(&stack, Family::V4, base(Family::V4, libc::SOCK_STREAM));
        let _ = c.connect_to(&at);
        let text = tcp(&stack, Family::V4);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].starts_with("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000001 00:00000000 00000000  1000        0 "));
        assert!(
            lines[2..]
                .iter()
                .all(|l| l.contains(" 01 00000000:00000000 "))
        );
        let u = UdpSocket::new(&stack, Family::V6, base(Family::V6, libc::SOCK_DGRAM));
        u.bind_as(
            Rights::default(),
            &encode(Family::V6, "[::1]:53000".parse().unwrap()),
        )
        .unwrap();
        let text = udp(&stack, Family::V6);
        assert!(text.lines().nth(1).unwrap().starts_with(
            "53000: 00000000000000000000000001000000:CF08 00000000000000000000000000000000:0000 07 "
        ));
        assert!(sockstat(&stack).contains("TCP: inuse 3 orphan 0 tw 0 alloc 3 mem 0"));
    }
}
