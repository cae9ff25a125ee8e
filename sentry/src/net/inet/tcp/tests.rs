//! Two sockets against each other, as two programs would use them.

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
fn bytes_go_both_ways() {
    let st = stack();
    let (c, s, l) = pair(&st);
    assert_eq!(s.peer_name().unwrap(), c.local_name().unwrap());
    assert_eq!(c.peer_name().unwrap(), l.local_name().unwrap());
    assert_eq!(s.local_name().unwrap(), l.local_name().unwrap());
    assert_eq!(recv(&s, 10), Err(Errno::EAGAIN));
    assert_eq!(s.readiness(), OUT);
    assert_eq!(send(&c, b"hello"), Ok(5));
    assert_eq!(send(&c, b" world"), Ok(6));
    assert_eq!(s.readiness(), IN | OUT);
    assert_eq!(s.count(libc::FIONREAD as u32), Ok(11));
    assert_eq!(recv_flags(&s, 4, MsgFlags::PEEK).unwrap().0, b"hell");
    assert_eq!(recv(&s, 7).unwrap(), b"hello w");
    assert_eq!(recv(&s, 100).unwrap(), b"orld");
    assert_eq!(send(&s, b"back"), Ok(4));
    assert_eq!(recv(&c, 2).unwrap(), b"ba");
    assert_eq!(recv_flags(&c, 100, MsgFlags::TRUNC).unwrap().1.len, 2);
    assert_eq!(recv(&c, 1), Err(Errno::EAGAIN));
    assert_eq!(st.queued(), 0);
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
fn nobody_listens() {
    let st = stack();
    let s = socket(&st);
    let to = name("127.0.0.1:9");
    assert_eq!(s.connect_to(&to), Err(Errno::EINPROGRESS));
    assert_eq!(s.readiness(), IN | OUT | HUP | ERR | RDHUP);
    assert_eq!(error(&s), 111);
    assert_eq!(s.readiness(), IN | OUT | HUP | RDHUP);
    // The error was taken: the next call says so, the one after tries again.
    assert_eq!(s.connect_to(&to), Err(Errno::ECONNABORTED));
    assert_eq!(connect(&s, &to), Err(Errno::ECONNREFUSED));
    assert_eq!(s.readiness(), OUT | HUP);
    assert_eq!(connect(&s, &name("10.0.0.1:9")), Err(Errno::ENETUNREACH));
    assert_eq!(connect(&s, &name("224.0.0.1:9")), Err(Errno::ENETUNREACH));
    assert_eq!(
        connect(&s, &name("127.255.255.255:9")),
        Err(Errno::ENETUNREACH)
    );
    assert_eq!(connect(&s, &name6("[::1]:9")), Err(Errno::EAFNOSUPPORT));
    assert_eq!(st.tcp_ports.lock().in_use(), 0);
}

#[test]
fn a_nonblocking_connect_is_in_progress_once() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:0", 8);
    let to = l.local_name().unwrap();
    let c = socket(&st);
    assert_eq!(c.connect_to(&to), Err(Errno::EINPROGRESS));
    assert_eq!(c.readiness(), OUT);
    assert_eq!(error(&c), 0);
    assert_eq!(c.connect_to(&to), Ok(()));
    assert_eq!(c.connect_to(&to), Err(Errno::EISCONN));
}

#[test]
fn a_full_backlog_makes_connect_wait() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:0", 1);
    let to = l.local_name().unwrap();
    let all: Vec<_> = (0..4).map(|_| socket(&st)).collect();
    for c in &all {
        assert_eq!(c.connect_to(&to), Err(Errno::EINPROGRESS));
    }
    let status: Vec<_> = all.iter().map(|c| c.connect_status()).collect();
    assert_eq!(
        status,
        [Ok(()), Ok(()), Err(Errno::EAGAIN), Err(Errno::EAGAIN)]
    );
    assert_eq!(all[2].readiness(), PollEvents::empty());
    assert_eq!(all[2].connect_to(&to), Err(Errno::EALREADY));
    assert_eq!(send(&all[2], b"x"), Err(Errno::EAGAIN));
    assert_eq!(all[2].peer_name(), Err(Errno::ENOTCONN));
    let first = l.accept_one().unwrap();
    assert_eq!(first.peer_name().unwrap(), all[0].local_name().unwrap());
    assert_eq!(all[2].connect_status(), Ok(()));
    assert_eq!(all[3].connect_status(), Err(Errno::EAGAIN));
    // Given up: its place goes to nobody.
    all[3].release();
    for c in &all[1..3] {
        assert_eq!(
            l.accept_one().unwrap().peer_name().unwrap(),
            c.local_name().unwrap()
        );
    }
    assert_eq!(l.accept_one().err(), Some(Errno::EAGAIN));
}

#[test]
fn closing_a_listener_resets_what_nobody_accepted() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:0", 0);
    let to = l.local_name().unwrap();
    let (a, b) = (socket(&st), socket(&st));
    connect(&a, &to).unwrap();
    assert_eq!(b.connect_to(&to), Err(Errno::EINPROGRESS));
    l.release();
    assert_eq!(recv(&a, 1), Err(Errno::ECONNRESET));
    assert_eq!(b.connect_status(), Err(Errno::ECONNREFUSED));
    drop(l);
    a.release();
    b.release();
    assert_eq!(st.tcp_ports.lock().in_use(), 0);
}

#[test]
fn shutdown_write_is_an_end_of_file() {
    let (c, s, _l) = pair(&stack());
    send(&c, b"last").unwrap();
    c.shut(Shutdown::Write).unwrap();
    assert_eq!(c.readiness(), OUT);
    assert_eq!(send(&c, b"x"), Err(Errno::EPIPE));
    assert_eq!(s.readiness(), IN | OUT | RDHUP);
    assert_eq!(recv(&s, 10).unwrap(), b"last");
    assert_eq!(recv(&s, 10).unwrap(), b"");
    assert_eq!(s.readiness(), IN | OUT | RDHUP);
    // The other way still works.
    assert_eq!(send(&s, b"more"), Ok(4));
    assert_eq!(recv(&c, 10).unwrap(), b"more");
    s.shut(Shutdown::Write).unwrap();
    assert_eq!(s.readiness(), IN | OUT | RDHUP | HUP);
    assert_eq!(c.readiness(), IN | OUT | RDHUP | HUP);
    assert_eq!(recv(&c, 10).unwrap(), b"");
    assert_eq!(c.peer_name(), Err(Errno::ENOTCONN));
    assert_eq!(c.shut(Shutdown::Write), Err(Errno::ENOTCONN));
}

#[test]
fn close_sends_a_fin_and_later_data_meet_a_reset() {
    let (c, s, _l) = pair(&stack());
    send(&c, b"bye").unwrap();
    c.release();
    assert_eq!(recv(&s, 10).unwrap(), b"bye");
    assert_eq!(recv(&s, 10).unwrap(), b"");
    // The first write finds out, the second is told.
    assert_eq!(send(&s, b"x"), Ok(1));
    assert_eq!(s.readiness(), IN | OUT | RDHUP | HUP | ERR);
    assert_eq!(recv(&s, 10).unwrap(), b"");
    assert_eq!(send(&s, b"x"), Err(Errno::EPIPE));
    assert_eq!(error(&s), 0);
}

#[test]
fn close_with_unread_data_is_a_reset() {
    let st = stack();
    let (c, s, _l) = pair(&st);
    send(&c, b"never read").unwrap();
    send(&s, b"in flight").unwrap();
    s.release();
    assert_eq!(c.readiness(), IN | OUT | RDHUP | HUP | ERR);
    // What had come before the reset is still there.
    assert_eq!(recv(&c, 100).unwrap(), b"in flight");
    assert_eq!(recv(&c, 100), Err(Errno::ECONNRESET));
    assert_eq!(recv(&c, 100).unwrap(), b"");
    assert_eq!(send(&c, b"x"), Err(Errno::EPIPE));
    assert_eq!(st.queued(), 0);
}

#[test]
fn linger_zero_is_a_reset() {
    let (c, s, _l) = pair(&stack());
    c.base().linger.store(0, Ordering::Relaxed);
    c.release();
    assert_eq!(send(&s, b"x"), Err(Errno::ECONNRESET));
    assert_eq!(send(&s, b"x"), Err(Errno::EPIPE));
}

#[test]
fn data_after_shutdown_of_both_halves_reset_both() {
    let (c, s, _l) = pair(&stack());
    s.shut(Shutdown::Both).unwrap();
    assert_eq!(recv(&c, 1).unwrap(), b"");
    assert_eq!(send(&c, b"x"), Ok(1));
    assert_eq!(send(&c, b"x"), Err(Errno::EPIPE));
    assert_eq!(error(&s), 104);
}

#[test]
fn shutdown_read_lets_queued_data_through() {
    let (c, s, _l) = pair(&stack());
    send(&c, b"abc").unwrap();
    s.shut(Shutdown::Read).unwrap();
    assert_eq!(s.readiness(), IN | OUT | RDHUP);
    assert_eq!(recv(&s, 10).unwrap(), b"abc");
    assert_eq!(recv(&s, 10).unwrap(), b"");
    send(&c, b"def").unwrap();
    assert_eq!(recv(&s, 10).unwrap(), b"def");
}

#[test]
fn buffers_are_bounded_and_room_is_told() {
    let st = stack();
    let (c, s, _l) = pair(&st);
    assert_eq!(c.base().sndbuf(), SNDBUF_CONNECTED as usize);
    let block = vec![7u8; 100_000];
    let mut sent = 0;
    loop {
        match send(&c, &block) {
            Ok(n) => sent += n,
            Err(e) => {
                assert_eq!(e, Errno::EAGAIN);
                break;
            }
        }
    }
    assert_eq!(sent, (SNDBUF_CONNECTED + RCVBUF_DEFAULT / 2) as usize);
    assert_eq!(st.queued(), sent);
    assert_eq!(c.readiness(), PollEvents::empty());
    assert_eq!(c.count(libc::TIOCOUTQ as u32), Ok(SNDBUF_CONNECTED as i32));
    assert_eq!(send(&c, b"x"), Err(Errno::EAGAIN));
    // A FIN behind it isn't seen before the data.
    c.shut(Shutdown::Write).unwrap();
    assert_eq!(s.readiness(), IN | OUT);
    let mut got = 0;
    while got < sent {
        let n = recv(&s, 300_000).unwrap().len();
        assert!(n > 0);
        got += n;
    }
    assert_eq!(recv(&s, 1).unwrap(), b"");
    assert_eq!(st.queued(), 0);
}

#[test]
fn writability_comes_back_with_a_third_of_the_buffer() {
    let (c, s, _l) = pair(&stack());
    while send(&c, &[1; 65536]).is_ok() {}
    let heard = Arc::new(Heard::default());
    let id = c.base().queue.add(PollEvents::OUT, false, heard.clone());
    assert_eq!(recv(&s, 500_000).unwrap().len(), 500_000);
    assert_eq!(c.readiness(), PollEvents::empty());
    assert!(!heard.0.load(Ordering::SeqCst));
    assert_eq!(recv(&s, 500_000).unwrap().len(), 500_000);
    assert!(heard.0.load(Ordering::SeqCst));
    assert_eq!(c.readiness(), OUT);
    c.base().queue.remove(id);
}

#[derive(Default)]
struct Heard(std::sync::atomic::AtomicBool);

impl crate::executor::Listener for Heard {
    fn notify(&self, events: PollEvents) -> bool {
        self.0
            .fetch_or(events.intersects(PollEvents::OUT), Ordering::SeqCst);
        true
    }
}

#[test]
fn a_source_that_faults_sends_what_it_gave() {
    struct Bad(usize);
    impl Source for Bad {
        fn remaining(&self) -> usize {
            10_000
        }
        fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
            let n = self.0.min(buf.len());
            self.0 -= n;
            if n == 0 { Err(Errno::EFAULT) } else { Ok(n) }
        }
        fn peek(&mut self, _: &mut [u8]) -> Result<usize> {
            Err(Errno::EFAULT)
        }
        fn advance(&mut self, _: usize) {}
    }
    let st = stack();
    let (c, s, _l) = pair(&st);
    assert_eq!(
        c.send(&mut Bad(0), None, MsgFlags::empty()),
        Err(Errno::EFAULT)
    );
    assert_eq!(c.send(&mut Bad(5000), None, MsgFlags::empty()), Ok(5000));
    assert_eq!(recv(&s, 10_000).unwrap().len(), 5000);
    // The room that was set aside came back.
    c.shut(Shutdown::Write).unwrap();
    assert_eq!(recv(&s, 1).unwrap(), b"");
}

#[test]
fn a_sink_that_faults_loses_nothing() {
    struct Bad(usize);
    impl crate::user::Sink for Bad {
        fn remaining(&self) -> usize {
            100_000
        }
        fn write(&mut self, data: &[u8]) -> Result<usize> {
            let n = self.0.min(data.len());
            self.0 -= n;
            if n == 0 { Err(Errno::EFAULT) } else { Ok(n) }
        }
    }
    let st = stack();
    let (c, s, _l) = pair(&st);
    let data: Vec<u8> = (0..90_000).map(|i| (i % 251) as u8).collect();
    assert_eq!(send(&c, &data), Ok(90_000));
    assert_eq!(
        s.recv(&mut Bad(0), MsgFlags::empty()).err(),
        Some(Errno::EFAULT)
    );
    assert_eq!(
        s.recv(&mut Bad(70_000), MsgFlags::empty()).unwrap().len,
        70_000
    );
    assert_eq!(recv(&s, 90_000).unwrap(), data[70_000..]);
    assert_eq!(st.queued(), 0);
}

#[test]
fn urgent_data() {
    let (c, s, _l) = pair(&stack());
    let oob = |data: &[u8]| c.send(&mut SliceSource(data), None, MsgFlags::OOB).unwrap();
    assert_eq!(recv_flags(&s, 1, MsgFlags::OOB).err(), Some(Errno::EINVAL));
    send(&c, b"ab").unwrap();
    oob(b"c!");
    send(&c, b"de").unwrap();
    assert_eq!(s.readiness(), IN | OUT | PollEvents::PRI);
    assert_eq!(s.count(libc::FIONREAD as u32), Ok(3));
    // The mark splits reads, and its byte isn't in the stream.
    assert_eq!(recv(&s, 10).unwrap(), b"abc");
    assert_eq!(s.count(0x8905), Ok(1));
    let (byte, received) = recv_flags(&s, 1, MsgFlags::OOB).unwrap();
    assert_eq!(
        (byte.as_slice(), received.flags),
        (&b"!"[..], MsgFlags::OOB)
    );
    assert_eq!(s.readiness(), IN | OUT);
    assert_eq!(recv_flags(&s, 1, MsgFlags::OOB).err(), Some(Errno::EINVAL));
    assert_eq!(recv(&s, 10).unwrap(), b"de");
    assert_eq!(s.count(0x8905), Ok(0));
    // Inline it is data like others.
    s.base().set(Flags::OOBINLINE, true);
    oob(b"xyz");
    assert_eq!(recv(&s, 10).unwrap(), b"xy");
    assert_eq!(recv(&s, 10).unwrap(), b"z");
}

#[test]
fn a_lone_urgent_byte_is_not_readable_as_data() {
    let (c, s, _l) = pair(&stack());
    let urgent = || c.send(&mut SliceSource(b"!"), None, MsgFlags::OOB).unwrap();
    urgent();
    assert_eq!(s.readiness(), OUT | PollEvents::PRI);
    send(&c, b"x").unwrap();
    assert_eq!(s.readiness(), IN | OUT | PollEvents::PRI);
    assert_eq!(recv_flags(&s, 9, MsgFlags::PEEK).unwrap().0, b"x");
    assert_eq!(recv(&s, 9).unwrap(), b"x");
    // A reader passes the mark even where nothing follows it, and the byte is gone.
    urgent();
    assert_eq!(recv(&s, 1), Err(Errno::EAGAIN));
    assert_eq!(s.readiness(), OUT);
    send(&c, b"y").unwrap();
    assert_eq!(recv(&s, 9).unwrap(), b"y");
    assert_eq!(recv_flags(&s, 1, MsgFlags::OOB).err(), Some(Errno::EINVAL));
}

#[test]
fn addresses_in_use() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:5000", 8);
    let again = socket(&st);
    assert_eq!(bind(&again, "127.0.0.1:5000"), Err(Errno::EADDRINUSE));
    assert_eq!(bind(&again, "0.0.0.0:5000"), Err(Errno::EADDRINUSE));
    assert_eq!(bind(&again, "127.0.0.2:5000"), Ok(()));
    assert_eq!(bind(&again, "127.0.0.2:5001"), Err(Errno::EINVAL));
    let six = socket_of(&st, Family::V6);
    assert_eq!(
        six.bind_as(Rights::default(), &name6("[::]:5000")),
        Err(Errno::EADDRINUSE)
    );
    six.sk().ip.put(IpFlags::V6ONLY, true);
    assert_eq!(six.bind_as(Rights::default(), &name6("[::]:5000")), Ok(()));
    let priv_ = socket(&st);
    assert_eq!(bind(&priv_, "127.0.0.1:80"), Err(Errno::EACCES));
    assert_eq!(bind(&priv_, "10.0.0.1:80"), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(
        priv_.bind_as(
            Rights {
                bind: true,
                ..Rights::default()
            },
            &name("127.0.0.1:80")
        ),
        Ok(())
    );
    l.release();
    let next = socket(&st);
    assert_eq!(bind(&next, "127.0.0.1:5000"), Ok(()));
}

#[test]
fn time_wait_keeps_the_port_unless_reused() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:5000", 8);
    let c = socket(&st);
    connect(&c, &l.local_name().unwrap()).unwrap();
    let s = l.accept_one().unwrap();
    // The server closes first and is left in TIME_WAIT.
    s.release();
    c.release();
    l.release();
    let plain = socket(&st);
    assert_eq!(bind(&plain, "127.0.0.1:5000"), Err(Errno::EADDRINUSE));
    plain.base().set(Flags::REUSEADDR, true);
    // Both must have said so.
    assert_eq!(bind(&plain, "127.0.0.1:5000"), Err(Errno::EADDRINUSE));

    let reuse = |addr: &str| {
        let s = socket(&st);
        s.base().set(Flags::REUSEADDR, true);
        bind(&s, addr).map(|()| s)
    };
    let l = reuse("127.0.0.1:5001").unwrap();
    l.listen_with(1).unwrap();
    let c = socket(&st);
    connect(&c, &l.local_name().unwrap()).unwrap();
    let s = l.accept_one().unwrap();
    s.release();
    c.release();
    l.release();
    let l = reuse("127.0.0.1:5001").unwrap();
    l.listen_with(1).unwrap();
}

#[test]
fn who_closes_last_leaves_nothing() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:5000", 8);
    let c = socket(&st);
    connect(&c, &l.local_name().unwrap()).unwrap();
    let s = l.accept_one().unwrap();
    c.release();
    s.release();
    l.release();
    assert_eq!(bind(&socket(&st), "127.0.0.1:5000"), Ok(()));
}

#[test]
fn an_established_connection_keeps_its_listeners_port() {
    let st = stack();
    let (_c, s, l) = pair(&st);
    let at = l.local_name().unwrap();
    l.release();
    let next = socket(&st);
    assert_eq!(next.bind_as(Rights::default(), &at), Err(Errno::EADDRINUSE));
    s.base().linger.store(0, Ordering::Relaxed);
    s.release();
    assert_eq!(next.bind_as(Rights::default(), &at), Ok(()));
}

#[test]
fn dual_stack_listeners_see_mapped_addresses() {
    let st = stack();
    let l = socket_of(&st, Family::V6);
    l.bind_as(Rights::default(), &name6("[::]:5000")).unwrap();
    l.listen_with(8).unwrap();
    let c4 = socket(&st);
    connect(&c4, &name("127.0.0.1:5000")).unwrap();
    let s = l.accept_one().unwrap();
    assert_eq!(
        s.peer_name().unwrap().bytes()[18..24],
        [0xff, 0xff, 127, 0, 0, 1]
    );
    let c6 = socket_of(&st, Family::V6);
    connect(&c6, &name6("[::1]:5000")).unwrap();
    assert_eq!(
        local(&l.accept_one().unwrap()),
        "[::1]:5000".parse().unwrap()
    );
    // From an IPv6 socket to a mapped address, and to wildcards.
    let c = socket_of(&st, Family::V6);
    connect(&c, &name6("[::ffff:127.0.0.1]:5000")).unwrap();
    assert!(local(&c).is_ipv4());
    connect(&socket(&st), &name("0.0.0.0:5000")).unwrap();
    connect(&socket_of(&st, Family::V6), &name6("[::]:5000")).unwrap();
    let only = socket_of(&st, Family::V6);
    only.sk().ip.put(IpFlags::V6ONLY, true);
    assert_eq!(
        connect(&only, &name6("[::ffff:127.0.0.1]:5000")),
        Err(Errno::ENETUNREACH)
    );
}

#[test]
fn the_closest_listener_is_chosen() {
    let st = stack();
    let any6 = socket_of(&st, Family::V6);
    any6.base().set(Flags::REUSEPORT, true);
    any6.bind_as(Rights::default(), &name6("[::]:5000"))
        .unwrap();
    any6.listen_with(8).unwrap();
    let own = socket(&st);
    own.base().set(Flags::REUSEPORT, true);
    bind(&own, "127.0.0.1:5000").unwrap();
    own.listen_with(8).unwrap();
    connect(&socket(&st), &name("127.0.0.1:5000")).unwrap();
    assert!(own.accept_one().is_ok());
    connect(&socket(&st), &name("127.0.0.2:5000")).unwrap();
    assert!(any6.accept_one().is_ok());
}

#[test]
fn a_reuseport_group_shares_the_load() {
    let st = stack();
    let group: Vec<_> = (0..3)
        .map(|_| {
            let s = socket(&st);
            s.base().set(Flags::REUSEPORT, true);
            bind(&s, "127.0.0.1:5000").unwrap();
            s.listen_with(200).unwrap();
            s
        })
        .collect();
    let clients: Vec<_> = (0..120)
        .map(|_| {
            let c = socket(&st);
            connect(&c, &name("127.0.0.1:5000")).unwrap();
            c
        })
        .collect();
    let counts: Vec<usize> = group
        .iter()
        .map(|l| std::iter::from_fn(|| l.accept_one().ok()).count())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), clients.len());
    assert!(counts.iter().all(|&n| n > 10), "{counts:?}");
}

#[test]
fn a_socket_can_connect_to_itself() {
    let st = stack();
    let s = socket(&st);
    bind(&s, "127.0.0.1:5000").unwrap();
    connect(&s, &name("127.0.0.1:5000")).unwrap();
    assert_eq!(send(&s, b"echo"), Ok(4));
    assert_eq!(s.readiness(), IN | OUT);
    assert_eq!(recv(&s, 10).unwrap(), b"echo");
    s.shut(Shutdown::Write).unwrap();
    assert_eq!(recv(&s, 10).unwrap(), b"");
    s.release();
}

#[test]
fn two_sockets_connect_to_each_other() {
    let st = stack();
    // A listener that is full keeps the first in SYN_SENT; then its port changes hands.
    let l = listener(&st, "127.0.0.1:5000", 0);
    connect(&socket(&st), &name("127.0.0.1:5000")).unwrap();
    let a = socket(&st);
    bind(&a, "127.0.0.1:5001").unwrap();
    assert_eq!(
        a.connect_to(&name("127.0.0.1:5000")),
        Err(Errno::EINPROGRESS)
    );
    assert_eq!(a.connect_status(), Err(Errno::EAGAIN));
    let b = socket(&st);
    b.sk().port_locked.store(true, Ordering::Relaxed);
    let st_ports = crate::net::inet::ports::Lease::shared(
        &st.tcp_ports,
        5000,
        b.sk().claim("127.0.0.1".parse().unwrap()),
    );
    *b.sk().lease.lock() = Some(st_ports);
    assert_eq!(connect(&b, &name("127.0.0.1:5001")), Ok(()));
    assert_eq!(a.connect_status(), Ok(()));
    send(&a, b"hi").unwrap();
    assert_eq!(recv(&b, 2).unwrap(), b"hi");
    drop(l);
}

#[test]
fn connect_to_nowhere_dissolves() {
    let st = stack();
    let (c, s, _l) = pair(&st);
    let unspec = SockAddr::new(&[0; 16]).unwrap();
    c.connect_to(&unspec).unwrap();
    assert_eq!(recv(&s, 1), Err(Errno::ECONNRESET));
    assert_eq!(error(&c), 104);
    assert_eq!(c.readiness(), OUT | HUP);
    // And it can be used again, even to listen.
    c.listen_with(1).unwrap();
    connect(&socket(&st), &c.local_name().unwrap().clone()).unwrap();
    assert!(c.accept_one().is_ok());
    c.connect_to(&unspec).unwrap();
    assert_eq!(c.accept_one().err(), Some(Errno::EINVAL));
}

#[test]
fn deferred_connections_are_accepted_with_data() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:0", 8);
    l.set(
        Rights::default(),
        libc::IPPROTO_TCP,
        libc::TCP_DEFER_ACCEPT,
        &5i32.to_ne_bytes(),
    )
    .unwrap();
    let c = socket(&st);
    connect(&c, &l.local_name().unwrap()).unwrap();
    assert_eq!(l.accept_one().err(), Some(Errno::EAGAIN));
    assert_eq!(l.readiness(), PollEvents::empty());
    send(&c, b"x").unwrap();
    assert_eq!(l.readiness(), IN);
    assert_eq!(recv(&l.accept_one().unwrap(), 1).unwrap(), b"x");
}

#[test]
fn fast_open_connects_on_the_way() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:0", 8);
    let c = socket(&st);
    let to = l.local_name().unwrap();
    assert_eq!(
        c.send(&mut SliceSource(b"early"), Some(&to), MsgFlags::FASTOPEN),
        Ok(5)
    );
    assert_eq!(recv(&l.accept_one().unwrap(), 10).unwrap(), b"early");
    let refused = c.send(&mut SliceSource(b"x"), Some(&to), MsgFlags::FASTOPEN);
    assert_eq!(refused, Err(Errno::EISCONN));
}

#[test]
fn listening_states() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:0", 8);
    assert_eq!(l.connect_to(&l.local_name().unwrap()), Err(Errno::EISCONN));
    assert_eq!(recv(&l, 1), Err(Errno::ENOTCONN));
    assert_eq!(send(&l, b"x"), Err(Errno::EPIPE));
    assert_eq!(l.shut(Shutdown::Write), Ok(()));
    assert_eq!(l.accept_one().err(), Some(Errno::EAGAIN));
    assert_eq!(l.shut(Shutdown::Read), Ok(()));
    assert_eq!(l.accept_one().err(), Some(Errno::EINVAL));
    assert_eq!(l.readiness(), OUT | HUP);
    let (c, _s, _l) = pair(&st);
    assert_eq!(c.listen_with(1), Err(Errno::EINVAL));
}

#[test]
fn accepted_sockets_inherit() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:0", 8);
    l.set(
        Rights::default(),
        libc::IPPROTO_TCP,
        libc::TCP_NODELAY,
        &1i32.to_ne_bytes(),
    )
    .unwrap();
    l.base().set(Flags::KEEPALIVE, true);
    connect(&socket(&st), &l.local_name().unwrap()).unwrap();
    let s = l.accept_one().unwrap();
    assert_eq!(s.get(libc::IPPROTO_TCP, libc::TCP_NODELAY).unwrap()[0], 1);
    assert!(s.base().has(Flags::KEEPALIVE));
    assert!(!s.base().listening.load(Ordering::Relaxed));
    assert_ne!(s.base().ino, l.base().ino);
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

#[test]
fn a_listener_queue_full_of_dead_connections_is_still_accepted() {
    let st = stack();
    let l = listener(&st, "127.0.0.1:0", 8);
    let c = socket(&st);
    connect(&c, &l.local_name().unwrap()).unwrap();
    c.base().linger.store(0, Ordering::Relaxed);
    c.release();
    let s = l.accept_one().unwrap();
    assert_eq!(recv(&s, 1), Err(Errno::ECONNRESET));
}

#[test]
fn threads_stream_through_a_connection() {
    let (c, s, _l) = pair(&stack());
    let total = 20 << 20;
    let writer = std::thread::spawn(move || {
        let block: Vec<u8> = (0..60_000u32).map(|i| (i % 253) as u8).collect();
        let mut sent = 0;
        while sent < total {
            let at = sent % block.len();
            let want = (block.len() - at).min(1 + sent % 50_000).min(total - sent);
            match send(&c, &block[at..at + want]) {
                Ok(n) => sent += n,
                Err(Errno::EAGAIN) => std::thread::yield_now(),
                Err(e) => panic!("{e:?}"),
            }
        }
        c.release();
    });
    let mut got = 0usize;
    loop {
        match recv(&s, 1 + got % 90_000) {
            Ok(data) if data.is_empty() => break,
            Ok(data) => {
                assert!(
                    data.iter()
                        .enumerate()
                        .all(|(i, &b)| b == ((got + i) % 60_000 % 253) as u8)
                );
                got += data.len();
            }
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            Err(e) => panic!("{e:?}"),
        }
    }
    writer.join().unwrap();
    assert_eq!(got, total);
}

/// Does at random what programs do to each other's sockets, on sockets that other threads may use too.
fn live(st: &Arc<Stack>, all: &Mutex<Vec<Arc<TcpSocket>>>, seed: u64, steps: usize) {
    let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut random = move |n: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let addrs = ["127.0.0.1:5000", "127.0.0.1:5001", "127.0.0.2:5000"];
    for _ in 0..steps {
        let pick = {
            let all = all.lock();
            all.get(random(1000) % all.len().max(1)).map(Arc::clone)
        };
        let Some(s) = pick.filter(|_| random(12) > 0) else {
            if all.lock().len() < 40 {
                let s = socket(st);
                s.base().set(Flags::REUSEADDR, random(2) == 0);
                s.base().set(Flags::OOBINLINE, random(4) == 0);
                all.lock().push(s);
            }
            continue;
        };
        let size = [0, 1, 100, 3000, 70_000, 400_000][random(6)];
        let flags = [0, 0, 0, 1, 2, 0x20][random(6)];
        match random(16) {
            0 => _ = bind(&s, addrs[random(3)]),
            1 => _ = s.listen_with(random(4) as u32),
            2 | 3 => _ = s.connect_to(&name(addrs[random(3)])),
            4 => _ = s.connect_status(),
            5 | 6 => {
                if let Ok(new) = s.accept_one() {
                    all.lock().push(new);
                }
            }
            7 | 8 => {
                let flags = MsgFlags::from_bits_retain(flags & 1);
                _ = s.send(&mut SliceSource(&vec![7; size]), None, flags);
            }
            9..12 => _ = recv_flags(&s, size, MsgFlags::from_bits_retain(flags)),
            12 => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both][random(3)];
                _ = s.shut(how);
            }
            13 if random(4) == 0 => _ = s.connect_to(&SockAddr::new(&[0; 16]).unwrap()),
            14 => {
                let linger = if random(2) == 0 { 0 } else { -1 };
                s.base().linger.store(linger, Ordering::Relaxed);
            }
            15 if random(3) == 0 => {
                // As with descriptors: only one gives a socket up, and only when nobody else uses it.
                let mut all = all.lock();
                if let Some(at) = all.iter().position(|o| Arc::ptr_eq(o, &s))
                    && Arc::strong_count(&s) == 2
                {
                    all.swap_remove(at);
                    drop(all);
                    s.release();
                }
            }
            _ => _ = s.readiness(),
        }
        assert!(st.queued() < 1 << 30);
    }
}

/// Closes the sockets, and looks for what they have left.
fn bury(st: &Arc<Stack>, all: &Mutex<Vec<Arc<TcpSocket>>>) {
    for s in std::mem::take(&mut *all.lock()) {
        s.release();
    }
    assert_eq!(st.queued(), 0);
    assert_eq!(st.stats.tcp_curr_estab.get(), 0);
    assert!(st.listeners.all().is_empty());
    let later = crate::net::inet::stack::now() + 2 * crate::net::inet::ports::TIME_WAIT_NS;
    assert!(st.conns.all(later).is_empty());
    st.tcp_ports.lock().purge(later);
    assert_eq!(st.tcp_ports.lock().in_use(), 0);
}

#[test]
fn random_lives_leave_nothing() {
    let (mut connections, mut bytes) = (0, 0);
    for round in 0..60 {
        let (st, all) = (stack(), Mutex::default());
        live(&st, &all, round, 3000);
        bury(&st, &all);
        connections += st.stats.tcp_passive_opens.get();
        bytes += st.stats.lo_bytes.get();
    }
    // The lives were not empty ones.
    assert!(
        connections > 300 && bytes > 1 << 20,
        "{connections} {bytes}"
    );
}

#[test]
fn random_lives_in_threads_leave_nothing() {
    for round in 0..10 {
        let (st, all) = (stack(), Mutex::default());
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (st, all) = (&st, &all);
                scope.spawn(move || live(st, all, round * 10 + thread, 3000));
            }
        });
        bury(&st, &all);
    }
}
