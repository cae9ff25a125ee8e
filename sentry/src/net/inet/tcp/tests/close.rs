//! How connections end: FIN, reset, shutdown.

use super::*;

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
