//! Connections: how they begin, and with whom.

use super::*;

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
