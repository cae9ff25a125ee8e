//! Who may have which port, and which listener is meant.

use super::*;

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
