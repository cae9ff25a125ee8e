//! Datagrams between sockets.

use super::UdpSocket;
use crate::executor::PollEvents;
use crate::net::inet::Stack;
use crate::net::inet::addr::{Family, decode_v4, decode_v6, encode};
use crate::net::inet::ip::{IpFlags, Rights};
use crate::net::options::Flags;
use crate::net::socket::{Shutdown, Socket};
use crate::net::{Control, MsgFlags, Received, SockAddr, SocketBase};
use crate::user::{SliceSource, VecSink};
use arch::{Errno, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const OUT: PollEvents = PollEvents::WRITABLE.union(PollEvents::WRBAND);
const IN: PollEvents = PollEvents::READABLE;

fn stack() -> Arc<Stack> {
    Arc::default()
}

fn socket_of(stack: &Arc<Stack>, family: Family) -> Arc<UdpSocket> {
    let base = SocketBase::new(family.number(), libc::SOCK_DGRAM, libc::IPPROTO_UDP, 0, 0);
    UdpSocket::new(stack, family, base)
}

fn name(addr: &str) -> SockAddr {
    let addr: SocketAddr = addr.parse().unwrap();
    encode(
        if addr.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        },
        addr,
    )
}

fn bound(stack: &Arc<Stack>, addr: &str) -> Arc<UdpSocket> {
    let name = name(addr);
    let family = if i32::from(name.family().unwrap()) == libc::AF_INET {
        Family::V4
    } else {
        Family::V6
    };
    let s = socket_of(stack, family);
    s.bind_as(Rights::default(), &name).unwrap();
    s
}

fn send(s: &UdpSocket, data: &[u8], to: Option<&str>) -> Result<usize> {
    send_flags(s, data, to, MsgFlags::empty())
}

fn send_flags(s: &UdpSocket, data: &[u8], to: Option<&str>, flags: MsgFlags) -> Result<usize> {
    s.send(&mut SliceSource(data), to.map(name).as_ref(), &[], flags)
}

fn recv_flags(s: &UdpSocket, n: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received)> {
    let mut sink = VecSink::new(n);
    let received = s.recvmsg(&mut sink, flags)?;
    Ok((sink.data, received))
}

fn recv(s: &UdpSocket, n: usize) -> Result<Vec<u8>> {
    recv_flags(s, n, MsgFlags::empty()).map(|r| r.0)
}

#[test]
fn datagrams_keep_their_bounds() {
    let st = stack();
    let a = bound(&st, "127.0.0.1:5000");
    let b = socket_of(&st, Family::V4);
    assert_eq!(send(&b, b"one", Some("127.0.0.1:5000")), Ok(3));
    assert_eq!(send(&b, b"", Some("127.0.0.1:5000")), Ok(0));
    assert_eq!(send(&b, b"three", Some("0.0.0.0:5000")), Ok(5));
    assert_eq!(a.core().poll(), IN | OUT);
    let (data, r) = recv_flags(&a, 10, MsgFlags::PEEK).unwrap();
    assert_eq!((data.as_slice(), r.len), (&b"one"[..], 3));
    let from = decode_v4(&r.from).unwrap().addr;
    assert_eq!(from.ip(), "127.0.0.1".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(from.port(), b.local_addr().port());
    assert!((32768..=60999).contains(&from.port()));
    let (data, r) = recv_flags(&a, 2, MsgFlags::empty()).unwrap();
    assert_eq!(
        (data.as_slice(), r.len, r.flags),
        (&b"on"[..], 2, MsgFlags::TRUNC)
    );
    assert_eq!(recv(&a, 10).unwrap(), b"");
    let (data, r) = recv_flags(&a, 2, MsgFlags::TRUNC).unwrap();
    assert_eq!((data.as_slice(), r.len), (&b"th"[..], 5));
    assert_eq!(recv(&a, 10), Err(Errno::EAGAIN));
    assert_eq!(a.core().poll(), OUT);
}

#[test]
fn what_cannot_be_sent() {
    let st = stack();
    let s = socket_of(&st, Family::V4);
    assert_eq!(send(&s, b"x", None), Err(Errno::EDESTADDRREQ));
    assert_eq!(send(&s, b"x", Some("127.0.0.1:0")), Err(Errno::EINVAL));
    assert_eq!(send(&s, b"x", Some("10.0.0.1:1")), Err(Errno::ENETUNREACH));
    assert_eq!(send(&s, b"x", Some("224.0.0.1:1")), Err(Errno::ENETUNREACH));
    assert_eq!(
        send(&s, b"x", Some("127.255.255.255:1")),
        Err(Errno::EACCES)
    );
    assert_eq!(send(&s, b"x", Some("[::1]:1")), Err(Errno::EAFNOSUPPORT));
    assert_eq!(
        send(&s, &[0; 65508], Some("127.0.0.1:1")),
        Err(Errno::EMSGSIZE)
    );
    assert_eq!(send(&s, &[0; 65507], Some("127.0.0.1:1")), Ok(65507));
    assert_eq!(
        send_flags(&s, b"x", Some("127.0.0.1:1"), MsgFlags::OOB),
        Err(Errno::EOPNOTSUPP)
    );
}

#[test]
fn a_closed_port_refuses_the_connected() {
    let st = stack();
    let s = socket_of(&st, Family::V4);
    // Not connected: nobody is told.
    assert_eq!(send(&s, b"x", Some("127.0.0.1:9")), Ok(1));
    assert_eq!(recv(&s, 1), Err(Errno::EAGAIN));
    s.connect_to(&name("127.0.0.1:9")).unwrap();
    assert_eq!(send(&s, b"x", None), Ok(1));
    assert_eq!(s.core().poll(), OUT | PollEvents::ERR);
    assert_eq!(recv(&s, 1), Err(Errno::ECONNREFUSED));
    assert_eq!(recv(&s, 1), Err(Errno::EAGAIN));
    assert_eq!(send(&s, b"x", None), Ok(1));
    assert_eq!(send(&s, b"x", None), Err(Errno::ECONNREFUSED));
}

#[test]
fn errors_can_be_queued() {
    let st = stack();
    let s = socket_of(&st, Family::V4);
    s.core().sk.ip.put(IpFlags::RECVERR, true);
    assert_eq!(send(&s, b"lost", Some("127.0.0.1:9")), Ok(4));
    assert_eq!(s.core().poll(), OUT | PollEvents::ERR);
    let (data, r) = recv_flags(&s, 10, MsgFlags::ERRQUEUE).unwrap();
    assert_eq!(
        (data.as_slice(), r.flags),
        (&b"lost"[..], MsgFlags::ERRQUEUE)
    );
    assert_eq!(r.from, name("127.0.0.1:9"));
    let Control::Raw { level, kind, data } = &r.control[0] else {
        panic!()
    };
    assert_eq!(
        (*level, *kind, data.len()),
        (libc::IPPROTO_IP, libc::IP_RECVERR, 32)
    );
    assert_eq!(data[..8], [111, 0, 0, 0, 2, 3, 3, 0]);
    assert_eq!(
        recv_flags(&s, 10, MsgFlags::ERRQUEUE).err(),
        Some(Errno::EAGAIN)
    );
    assert_eq!(s.core().poll(), OUT);
}

#[test]
fn connected_sockets_hear_their_peer_only() {
    let st = stack();
    let (a, b, c) = (
        bound(&st, "127.0.0.1:5000"),
        bound(&st, "127.0.0.1:5001"),
        bound(&st, "127.0.0.1:5002"),
    );
    a.connect_to(&b.local_name().unwrap()).unwrap();
    assert_eq!(a.peer_name(), b.local_name());
    send(&b, b"yes", Some("127.0.0.1:5000")).unwrap();
    send(&c, b"no", Some("127.0.0.1:5000")).unwrap();
    assert_eq!(recv(&a, 10).unwrap(), b"yes");
    assert_eq!(recv(&a, 10), Err(Errno::EAGAIN));
    // To another all the same.
    assert_eq!(send(&a, b"hi", Some("127.0.0.1:5002")), Ok(2));
    assert_eq!(recv(&c, 10).unwrap(), b"hi");
    a.connect_to(&SockAddr::new(&[0; 16]).unwrap()).unwrap();
    assert_eq!(a.peer_name(), Err(Errno::ENOTCONN));
    send(&c, b"now", Some("127.0.0.1:5000")).unwrap();
    assert_eq!(recv(&a, 10).unwrap(), b"now");
}

#[test]
fn a_full_buffer_loses_datagrams() {
    let st = stack();
    let a = bound(&st, "127.0.0.1:5000");
    a.core().sk.base.set_buffers(212_992, 4608);
    let b = socket_of(&st, Family::V4);
    for _ in 0..10 {
        assert_eq!(send(&b, &[1; 1000], Some("127.0.0.1:5000")), Ok(1000));
    }
    let got = std::iter::from_fn(|| recv(&a, 2000).ok()).count();
    assert_eq!(got, 2);
    assert_eq!(a.core().usage(), (0, 8));
    // One that is too long alone still comes.
    send(&b, &[1; 60_000], Some("127.0.0.1:5000")).unwrap();
    assert_eq!(recv(&a, 70_000).unwrap().len(), 60_000);
}

#[test]
fn families_meet_over_mapped_addresses() {
    let st = stack();
    let six = bound(&st, "[::]:5000");
    let four = bound(&st, "127.0.0.1:5001");
    send(&four, b"4to6", Some("127.0.0.1:5000")).unwrap();
    let (data, r) = recv_flags(&six, 10, MsgFlags::empty()).unwrap();
    assert_eq!(data, b"4to6");
    let from = decode_v6(&r.from).unwrap();
    assert!(from.mapped && from.addr == four.local_addr());
    six.send(
        &mut SliceSource(b"back"),
        Some(&r.from),
        &[],
        MsgFlags::empty(),
    )
    .unwrap();
    let (data, r) = recv_flags(&four, 10, MsgFlags::empty()).unwrap();
    assert_eq!(
        (data.as_slice(), r.from),
        (&b"back"[..], name("127.0.0.1:5000"))
    );
    // An IPv4 name is taken too.
    assert_eq!(send(&six, b"x", Some("127.0.0.1:5001")), Ok(1));
    let only = socket_of(&st, Family::V6);
    only.core().sk.ip.put(IpFlags::V6ONLY, true);
    assert_eq!(
        send(&only, b"x", Some("127.0.0.1:5001")),
        Err(Errno::ENETUNREACH)
    );
}

#[test]
fn binding() {
    let st = stack();
    let a = bound(&st, "0.0.0.0:5000");
    let b = socket_of(&st, Family::V4);
    let bind = |s: &UdpSocket, at: &str| s.bind_as(Rights::default(), &name(at));
    assert_eq!(bind(&b, "127.0.0.1:5000"), Err(Errno::EADDRINUSE));
    for s in [&a, &b] {
        s.core().sk.base.set(Flags::REUSEADDR, true);
        s.core().sk.refresh_claim();
    }
    assert_eq!(bind(&b, "127.0.0.1:5000"), Ok(()));
    assert_eq!(bind(&b, "127.0.0.1:5001"), Err(Errno::EINVAL));
    // The more exact one gets it.
    let c = socket_of(&st, Family::V4);
    send(&c, b"x", Some("127.0.0.1:5000")).unwrap();
    assert_eq!(recv(&a, 1), Err(Errno::EAGAIN));
    assert_eq!(recv(&b, 1).unwrap(), b"x");
    send(&c, b"y", Some("127.0.0.9:5000")).unwrap();
    assert_eq!(recv(&a, 1).unwrap(), b"y");
    a.release();
    b.release();
    c.release();
    assert_eq!(st.udp_ports.lock().in_use(), 0);
}

#[test]
fn a_reuseport_group_shares_the_load() {
    let st = stack();
    let group: Vec<_> = (0..3)
        .map(|_| {
            let s = socket_of(&st, Family::V4);
            s.core().sk.base.set(Flags::REUSEPORT, true);
            s.bind_as(Rights::default(), &name("127.0.0.1:5000"))
                .unwrap();
            s
        })
        .collect();
    let senders: Vec<_> = (0..100).map(|_| socket_of(&st, Family::V4)).collect();
    for s in &senders {
        send(s, b"x", Some("127.0.0.1:5000")).unwrap();
    }
    let counts: Vec<usize> = group
        .iter()
        .map(|s| std::iter::from_fn(|| recv(s, 1).ok()).count())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 100);
    assert!(counts.iter().all(|&n| n > 5), "{counts:?}");
}

#[test]
fn ancillary_data_tell_of_the_header() {
    let st = stack();
    let a = bound(&st, "127.0.0.1:5000");
    for flag in [
        IpFlags::PKTINFO,
        IpFlags::RECVTTL,
        IpFlags::RECVTOS,
        IpFlags::ORIGDSTADDR,
    ] {
        a.core().sk.ip.put(flag, true);
    }
    let b = socket_of(&st, Family::V4);
    let ttl = Control::Raw {
        level: libc::IPPROTO_IP,
        kind: libc::IP_TTL,
        data: smallvec::SmallVec::from_slice(&9i32.to_ne_bytes()),
    };
    b.send(
        &mut SliceSource(b"x"),
        Some(&name("127.0.0.1:5000")),
        &[ttl],
        MsgFlags::empty(),
    )
    .unwrap();
    let (_, r) = recv_flags(&a, 1, MsgFlags::empty()).unwrap();
    let found: Vec<(i32, Vec<u8>)> = r
        .control
        .iter()
        .filter_map(|c| {
            if let Control::Raw { kind, data, .. } = c {
                Some((*kind, data.to_vec()))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        found[0],
        (
            libc::IP_PKTINFO,
            vec![1, 0, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]
        )
    );
    assert_eq!(found[1], (libc::IP_TTL, vec![9, 0, 0, 0]));
    assert_eq!(found[2], (libc::IP_TOS, vec![0]));
    assert_eq!(
        found[3],
        (
            libc::IP_ORIGDSTADDR,
            name("127.0.0.1:5000").bytes().to_vec()
        )
    );
    let bad = Control::Raw {
        level: libc::IPPROTO_IP,
        kind: libc::IP_TTL,
        data: smallvec::smallvec![0, 0, 0, 0],
    };
    let sent = b.send(
        &mut SliceSource(b"x"),
        Some(&name("127.0.0.1:5000")),
        &[bad],
        MsgFlags::empty(),
    );
    assert_eq!(sent, Err(Errno::EINVAL));
}

#[test]
fn corked_data_go_as_one() {
    let st = stack();
    let a = bound(&st, "127.0.0.1:5000");
    let b = socket_of(&st, Family::V4);
    assert_eq!(
        send_flags(&b, b"one ", Some("127.0.0.1:5000"), MsgFlags::MORE),
        Ok(4)
    );
    assert_eq!(recv(&a, 20), Err(Errno::EAGAIN));
    assert_eq!(send(&b, b"two", None), Ok(3));
    assert_eq!(recv(&a, 20).unwrap(), b"one two");
    let cork = |on: i32| {
        b.set(Rights::default(), libc::IPPROTO_UDP, 1, &on.to_ne_bytes())
            .unwrap()
    };
    cork(1);
    send(&b, b"three ", Some("127.0.0.1:5000")).unwrap();
    send(&b, b"four", None).unwrap();
    cork(0);
    assert_eq!(recv(&a, 20).unwrap(), b"three four");
    b.set(
        Rights::default(),
        libc::IPPROTO_UDP,
        103,
        &3i32.to_ne_bytes(),
    )
    .unwrap();
    send(&b, b"segment", Some("127.0.0.1:5000")).unwrap();
    let parts: Vec<_> = std::iter::from_fn(|| recv(&a, 20).ok()).collect();
    assert_eq!(parts, [b"seg".to_vec(), b"men".to_vec(), b"t".to_vec()]);
}

#[test]
fn multicast_needs_the_interface_named() {
    let st = stack();
    let a = bound(&st, "0.0.0.0:5000");
    let group = [239, 1, 2, 3];
    let mreq = |index: u32| [&group[..], &[0; 4], &index.to_ne_bytes()].concat();
    let join = |index| {
        a.set(
            Rights::default(),
            libc::IPPROTO_IP,
            libc::IP_ADD_MEMBERSHIP,
            &mreq(index),
        )
    };
    let leave = |index| {
        a.set(
            Rights::default(),
            libc::IPPROTO_IP,
            libc::IP_DROP_MEMBERSHIP,
            &mreq(index),
        )
    };
    assert_eq!(join(0), Err(Errno::ENODEV));
    assert_eq!(join(7), Err(Errno::ENODEV));
    assert_eq!(join(1), Ok(()));
    assert_eq!(join(1), Err(Errno::EADDRINUSE));
    let b = socket_of(&st, Family::V4);
    assert_eq!(
        send(&b, b"x", Some("239.1.2.3:5000")),
        Err(Errno::ENETUNREACH)
    );
    b.set(
        Rights::default(),
        libc::IPPROTO_IP,
        libc::IP_MULTICAST_IF,
        &[127, 0, 0, 1],
    )
    .unwrap();
    assert_eq!(
        b.get(libc::IPPROTO_IP, libc::IP_MULTICAST_IF)
            .unwrap()
            .as_slice(),
        [127, 0, 0, 1]
    );
    assert_eq!(send(&b, b"all", Some("239.1.2.3:5000")), Ok(3));
    assert_eq!(recv(&a, 10).unwrap(), b"all");
    assert_eq!(leave(1), Ok(()));
    assert_eq!(leave(1), Err(Errno::EADDRNOTAVAIL));
    send(&b, b"none", Some("239.1.2.3:5000")).unwrap();
    assert_eq!(recv(&a, 10), Err(Errno::EAGAIN));
}

#[test]
fn broadcasts_reach_all() {
    let st = stack();
    let (a, b) = (socket_of(&st, Family::V4), socket_of(&st, Family::V4));
    for s in [&a, &b] {
        s.core().sk.base.set(Flags::REUSEADDR, true);
        s.bind_as(Rights::default(), &name("0.0.0.0:5000")).unwrap();
    }
    let c = socket_of(&st, Family::V4);
    c.core().sk.base.set(Flags::BROADCAST, true);
    assert_eq!(send(&c, b"all", Some("127.255.255.255:5000")), Ok(3));
    assert_eq!(
        (recv(&a, 9).unwrap(), recv(&b, 9).unwrap()),
        (b"all".to_vec(), b"all".to_vec())
    );
}

#[test]
fn shutdown() {
    let st = stack();
    let s = socket_of(&st, Family::V4);
    assert_eq!(s.shut(Shutdown::Both), Err(Errno::ENOTCONN));
    assert_eq!(
        s.core().poll(),
        IN | OUT | PollEvents::RDHUP | PollEvents::HUP
    );
    let s = socket_of(&st, Family::V4);
    s.connect_to(&name("127.0.0.1:9")).unwrap();
    s.shut(Shutdown::Write).unwrap();
    assert_eq!(send(&s, b"x", None), Err(Errno::EPIPE));
    s.shut(Shutdown::Read).unwrap();
    assert_eq!(recv(&s, 1).unwrap(), b"");
    assert_eq!(
        recv_flags(&s, 1, MsgFlags::DONTWAIT).err(),
        Some(Errno::EAGAIN)
    );
    assert_eq!(s.core().sk.base.rcvlowat.load(Ordering::Relaxed), 1);
}
