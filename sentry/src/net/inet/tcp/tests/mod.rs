//! Two sockets against each other, as two programs would use them.

mod close;
mod connect;
mod data;
mod ports;
mod random;

use super::{RCVBUF_DEFAULT, SNDBUF_CONNECTED, TcpSocket, TcpState};
use crate::executor::PollEvents;
use crate::net::inet::Stack;
use crate::net::inet::addr::{Family, encode};
use crate::net::inet::ip::{IpFlags, Rights};
use crate::net::options::Flags;
use crate::net::socket::{Shutdown, Socket};
use crate::net::{MsgFlags, Received, SockAddr, SocketBase};
use crate::user::{SliceSource, Source, VecSink};
use arch::{Errno, Result};
use bounded::{PATIENCE, within};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const IN: PollEvents = PollEvents::READABLE;
const OUT: PollEvents = PollEvents::WRITABLE;
const HUP: PollEvents = PollEvents::HUP;
const ERR: PollEvents = PollEvents::ERR;
const RDHUP: PollEvents = PollEvents::RDHUP;

fn stack() -> Arc<Stack> {
    Arc::default()
}

fn socket_of(stack: &Arc<Stack>, family: Family) -> Arc<TcpSocket> {
    let base = SocketBase::new(family.number(), libc::SOCK_STREAM, libc::IPPROTO_TCP, 0, 0);
    TcpSocket::new(stack, family, base)
}

fn socket(stack: &Arc<Stack>) -> Arc<TcpSocket> {
    socket_of(stack, Family::V4)
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

/// A name as an IPv6 socket is given it.
fn name6(addr: &str) -> SockAddr {
    encode(Family::V6, addr.parse().unwrap())
}

fn bind(s: &TcpSocket, addr: &str) -> Result<()> {
    s.bind_as(Rights::default(), &name(addr))
}

fn local(s: &TcpSocket) -> SocketAddr {
    let name = s.local_name().unwrap();
    match i32::from(name.family().unwrap()) {
        libc::AF_INET => crate::net::inet::addr::decode_v4(&name).unwrap().addr,
        _ => crate::net::inet::addr::decode_v6(&name).unwrap().addr,
    }
}

/// A blocking connect(2) that doesn't have to wait.
fn connect(s: &TcpSocket, to: &SockAddr) -> Result<()> {
    match s.connect_to(to) {
        Err(Errno::EINPROGRESS) => s.connect_status(),
        other => other,
    }
}

fn listener(stack: &Arc<Stack>, addr: &str, backlog: u32) -> Arc<TcpSocket> {
    let s = socket(stack);
    bind(&s, addr).unwrap();
    s.listen_with(backlog).unwrap();
    s
}

/// Client and server ends of a connection, and the listener.
fn pair(stack: &Arc<Stack>) -> (Arc<TcpSocket>, Arc<TcpSocket>, Arc<TcpSocket>) {
    let l = listener(stack, "127.0.0.1:0", 8);
    let c = socket(stack);
    connect(&c, &l.local_name().unwrap()).unwrap();
    let s = l.accept_one().unwrap();
    (c, s, l)
}

fn send(s: &TcpSocket, data: &[u8]) -> Result<usize> {
    s.send(&mut SliceSource(data), None, MsgFlags::empty())
}

fn recv_flags(s: &TcpSocket, n: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received)> {
    let mut sink = VecSink::new(n);
    let received = s.recv(&mut sink, flags)?;
    Ok((sink.data, received))
}

fn recv(s: &TcpSocket, n: usize) -> Result<Vec<u8>> {
    recv_flags(s, n, MsgFlags::empty()).map(|r| r.0)
}

fn error(s: &TcpSocket) -> i32 {
    s.base().take_error().err().map_or(0, arch::Errno::raw)
}

#[test]
fn a_fresh_socket_hangs_up_and_writes_to_nobody() {
    let s = socket(&stack());
    assert_eq!(s.readiness(), OUT | HUP);
    assert_eq!(send(&s, b"x"), Err(Errno::EPIPE));
    assert_eq!(recv(&s, 1), Err(Errno::ENOTCONN));
    assert_eq!(s.peer_name(), Err(Errno::ENOTCONN));
    assert_eq!(s.shut(Shutdown::Both), Err(Errno::ENOTCONN));
    assert_eq!(s.accept_one().err(), Some(Errno::EINVAL));
}

#[test]
fn tcp_info_has_the_state() {
    let (c, s, l) = pair(&stack());
    let state = |s: &TcpSocket| s.get(libc::IPPROTO_TCP, libc::TCP_INFO).unwrap()[0];
    assert_eq!(
        (state(&c), state(&l)),
        (TcpState::Established as u8, TcpState::Listen as u8)
    );
    c.shut(Shutdown::Write).unwrap();
    assert_eq!(
        (state(&c), state(&s)),
        (TcpState::FinWait2 as u8, TcpState::CloseWait as u8)
    );
    s.shut(Shutdown::Write).unwrap();
    assert_eq!(
        (state(&c), state(&s)),
        (TcpState::Close as u8, TcpState::Close as u8)
    );
}
