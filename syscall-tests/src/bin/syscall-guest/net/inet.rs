//! TCP and UDP over the loopback interface, IPv4 and IPv6.

use syscall_tests::cases;
use syscall_tests::prelude::*;

/// A socket address as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Addr {
    raw: [u8; 28],
    len: u32,
}

fn v4(ip: [u8; 4], port: u16) -> Addr {
    let mut raw = [0; 28];
    raw[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    raw[2..4].copy_from_slice(&port.to_be_bytes());
    raw[4..8].copy_from_slice(&ip);
    Addr { raw, len: 16 }
}
fn v6(port: u16) -> Addr {
    let mut raw = [0; 28];
    raw[..2].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
    raw[2..4].copy_from_slice(&port.to_be_bytes());
    raw[23] = 1;
    Addr { raw, len: 28 }
}
const LO: [u8; 4] = [127, 0, 0, 1];
fn port_of(a: &Addr) -> u16 {
    u16::from_be_bytes([a.raw[2], a.raw[3]])
}
fn bind(fd: i32, a: &Addr) -> Sys {
    sys!(SYS_bind, fd, &a.raw, a.len)
}
fn connect(fd: i32, a: &Addr) -> Sys {
    sys!(SYS_connect, fd, &a.raw, a.len)
}
fn name(fd: i32, nr: i64) -> Sys<Addr> {
    let mut a = Addr {
        raw: [0; 28],
        len: 28,
    };
    sys!(nr, fd, &mut a.raw, &mut a.len)?;
    Ok(a)
}
fn sendto(fd: i32, data: &[u8], a: &Addr) -> Sys<usize> {
    sys!(SYS_sendto, fd, data, data.len(), 0, &a.raw, a.len).map(|n| n as usize)
}
fn recvfrom(fd: i32) -> Sys<(Vec<u8>, Addr)> {
    let mut buf = [0u8; 2048];
    let mut a = Addr {
        raw: [0; 28],
        len: 28,
    };
    let n = sys!(SYS_recvfrom, fd, &mut buf, 2048, 0, &mut a.raw, &mut a.len)? as usize;
    Ok((buf[..n].to_vec(), a))
}
fn tcp() -> i32 {
    must!(socket(AF_INET, SOCK_STREAM, 0))
}
fn udp() -> i32 {
    must!(socket(AF_INET, SOCK_DGRAM, 0))
}
/// A listening socket on a free loopback port, and its address.
fn listener() -> (i32, Addr) {
    let fd = tcp();
    must!(bind(fd, &v4(LO, 0)));
    must!(listen(fd, 16));
    (fd, must!(name(fd, SYS_getsockname)))
}
/// A connected pair `(client, server)`.
fn pair() -> (i32, i32) {
    let (l, a) = listener();
    let c = tcp();
    must!(connect(c, &a));
    let s = must!(accept(l));
    must!(close(l));
    (c, s)
}
fn bound_udp() -> (i32, Addr) {
    let fd = udp();
    must!(bind(fd, &v4(LO, 0)));
    (fd, must!(name(fd, SYS_getsockname)))
}

fn tcp_connect_accept_transfer() {
    let (c, s) = pair();
    must!(write(c, b"hello"));
    check_eq!(read_vec(s, 100), Ok(b"hello".to_vec()));
    must!(write(s, b"back"));
    check_eq!(read_vec(c, 100), Ok(b"back".to_vec()));
}

fn tcp_names_match() {
    let (c, s) = pair();
    check_eq!(name(c, SYS_getpeername), name(s, SYS_getsockname));
    check_eq!(name(c, SYS_getsockname), name(s, SYS_getpeername));
    check!(port_of(&must!(name(c, SYS_getsockname))) != 0);
}

fn tcp_accept_gives_peer_address() {
    let (l, a) = listener();
    let c = tcp();
    must!(connect(c, &a));
    let mut got = Addr {
        raw: [0; 28],
        len: 28,
    };
    must!(sys!(SYS_accept4, l, &mut got.raw, &mut got.len, 0));
    check_eq!(Ok(got), name(c, SYS_getsockname));
}

fn tcp_refused_is_econnrefused() {
    let (l, a) = listener();
    must!(close(l));
    expect_errno!(connect(tcp(), &a), ECONNREFUSED);
}

fn tcp_refused_nonblocking_reports_in_so_error() {
    let (l, a) = listener();
    must!(close(l));
    let c = must!(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    match connect(c, &a) {
        Err(EINPROGRESS) => {
            check!(poll1(c, POLLOUT, 5000) & (POLLERR | POLLHUP) != 0);
            check_eq!(getsockopt(c, SOL_SOCKET, SO_ERROR), Ok(ECONNREFUSED));
            check_eq!(getsockopt(c, SOL_SOCKET, SO_ERROR), Ok(0));
        }
        other => expect_errno!(other, ECONNREFUSED),
    }
}

fn tcp_nonblocking_connect_completes() {
    let (l, a) = listener();
    let c = must!(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    let first = connect(c, &a);
    check!(matches!(first, Ok(0) | Err(EINPROGRESS)), "{first:?}");
    check_eq!(poll1(c, POLLOUT, 5000), POLLOUT);
    check_eq!(getsockopt(c, SOL_SOCKET, SO_ERROR), Ok(0));
    let again = connect(c, &a);
    check!(matches!(again, Ok(0) | Err(EISCONN)), "{again:?}");
    expect_errno!(connect(c, &a), EISCONN);
    must!(accept(l));
}

fn tcp_connect_twice_is_eisconn() {
    let (_l, a) = listener();
    let c = tcp();
    must!(connect(c, &a));
    expect_errno!(connect(c, &a), EISCONN);
}

fn tcp_orderly_close_is_end_of_file() {
    let (c, s) = pair();
    must!(write(c, b"last"));
    must!(close(c));
    check_eq!(read_vec(s, 100), Ok(b"last".to_vec()));
    check_eq!(read_vec(s, 100), Ok(vec![]));
}

fn tcp_write_after_peer_closed_is_reset_then_epipe() {
    let (c, s) = pair();
    must!(close(s));
    disposition(SIGPIPE, SIG_IGN);
    check_eq!(read_vec(c, 1), Ok(vec![]));
    must!(write(c, b"into the void"));
    wait_until("reset", || {
        ready(c, POLLOUT) & POLLERR != 0 || ready(c, 0) & POLLHUP != 0
    });
    let result = write(c, b"x");
    check!(matches!(result, Err(EPIPE | ECONNRESET)), "{result:?}");
    expect_errno!(write(c, b"x"), EPIPE);
}

fn tcp_close_with_unread_data_resets() {
    let (c, s) = pair();
    must!(write(c, b"unread"));
    check_eq!(poll1(s, POLLIN, 5000), POLLIN);
    must!(close(s));
    check!(poll1(c, POLLIN, 5000) != 0);
    expect_errno!(read_vec(c, 1), ECONNRESET);
    check_eq!(read_vec(c, 1), Ok(vec![]));
}

fn tcp_linger_zero_resets() {
    let (c, s) = pair();
    must!(setsockopt(s, SOL_SOCKET, SO_LINGER, &[1i32, 0]));
    must!(close(s));
    check!(poll1(c, POLLIN, 5000) != 0);
    expect_errno!(read_vec(c, 1), ECONNRESET);
}

fn tcp_shutdown_write_half_closes() {
    let (c, s) = pair();
    disposition(SIGPIPE, SIG_IGN);
    must!(shutdown(c, SHUT_WR));
    check_eq!(read_vec(s, 1), Ok(vec![]));
    expect_errno!(write(c, b"x"), EPIPE);
    must!(write(s, b"still"));
    check_eq!(read_vec(c, 10), Ok(b"still".to_vec()));
    check_eq!(ready(s, POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
}

fn tcp_shutdown_read_is_end_of_file() {
    let (c, _s) = pair();
    must!(shutdown(c, SHUT_RD));
    check_eq!(read_vec(c, 1), Ok(vec![]));
    expect_errno!(shutdown(tcp(), SHUT_RD), ENOTCONN);
    expect_errno!(shutdown(c, 5), EINVAL);
}

fn tcp_shutdown_wakes_blocked_reader() {
    let (c, s) = pair();
    let pid = child(|| {
        check_eq!(read_vec(c, 1), Ok(vec![]));
        0
    });
    wait_asleep(pid);
    must!(shutdown(s, SHUT_RDWR));
    wait_ok(pid);
}

fn tcp_not_connected_errors() {
    let fd = tcp();
    disposition(SIGPIPE, SIG_IGN);
    expect_errno!(recv(fd, 1, 0), ENOTCONN);
    expect_errno!(send(fd, b"x", 0), EPIPE);
    expect_errno!(name(fd, SYS_getpeername), ENOTCONN);
    expect_errno!(accept(fd), EINVAL);
}

fn tcp_peek_and_waitall() {
    let (c, s) = pair();
    must!(write(c, b"abcd"));
    check_eq!(recv(s, 2, MSG_PEEK), Ok(b"ab".to_vec()));
    let pid = child(|| {
        sleep_ms(20);
        must!(write(c, b"efgh"));
        0
    });
    check_eq!(recv(s, 8, MSG_WAITALL), Ok(b"abcdefgh".to_vec()));
    wait_ok(pid);
    expect_errno!(recv(s, 1, MSG_DONTWAIT), EAGAIN);
}

fn tcp_out_of_band_byte() {
    let (c, s) = pair();
    must!(send(c, b"abX", MSG_OOB));
    check_eq!(poll1(s, POLLPRI, 5000), POLLPRI);
    check_eq!(recv(s, 10, 0), Ok(b"ab".to_vec()));
    check_eq!(recv(s, 1, MSG_OOB), Ok(b"X".to_vec()));
}

fn tcp_large_transfer() {
    let (c, s) = pair();
    let pid = child(|| {
        let _ = close(s);
        let data: Vec<u8> = (0..4_000_000u32).map(|i| (i % 253) as u8).collect();
        let mut rest = &data[..];
        while !rest.is_empty() {
            rest = &rest[must!(write(c, rest))..];
        }
        0
    });
    must!(close(c));
    let all = must!(read_all(s));
    check_eq!(all.len(), 4_000_000);
    check!(all.iter().enumerate().all(|(i, v)| *v == (i % 253) as u8));
    wait_ok(pid);
}

fn tcp_fills_up_nonblocking() {
    let (c, s) = pair();
    must!(set_nonblock(c));
    let mut total = 0;
    while let Ok(n) = write(c, &[1; 65536]) {
        total += n;
        check!(total < 1 << 30);
    }
    expect_errno!(write(c, b"x"), EAGAIN);
    must!(set_nonblock(s));
    let mut back = 0;
    while back < total {
        if poll1(s, POLLIN, 5000) != POLLIN {
            break;
        }
        back += must!(read_vec(s, 1 << 20)).len();
    }
    check_eq!(back, total);
    check_eq!(poll1(c, POLLOUT, 5000), POLLOUT);
}

fn tcp_bind_errors() {
    let (l, a) = listener();
    expect_errno!(bind(tcp(), &a), EADDRINUSE);
    expect_errno!(bind(l, &v4(LO, 0)), EINVAL);
    expect_errno!(bind(tcp(), &v4([192, 0, 2, 1], 0)), EADDRNOTAVAIL);
    expect_errno!(sys!(SYS_bind, tcp(), &a.raw, 3), EINVAL);
    expect_errno!(sys!(SYS_bind, tcp(), bad::<u8>(), 16), EFAULT);
    let mut unix = a;
    unix.raw[0] = AF_UNIX as u8;
    expect_errno!(bind(tcp(), &unix), EAFNOSUPPORT);
}

fn tcp_low_port_unprivileged_is_eacces() {
    need_root();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        let start = read_file(c"/proc/sys/net/ipv4/ip_unprivileged_port_start");
        let start: u32 = start
            .ok()
            .and_then(|s| String::from_utf8_lossy(&s).trim().parse().ok())
            .unwrap_or(1024);
        if start > 79 {
            expect_errno!(bind(tcp(), &v4(LO, 79)), EACCES);
        }
    });
}

fn tcp_listen_without_bind_picks_port() {
    let fd = tcp();
    must!(listen(fd, 1));
    let a = must!(name(fd, SYS_getsockname));
    check!(port_of(&a) != 0);
    must!(connect(tcp(), &v4(LO, port_of(&a))));
    must!(accept(fd));
}

fn tcp_reuseaddr_allows_rebinding_after_close() {
    let l = tcp();
    must!(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &1i32));
    must!(bind(l, &v4(LO, 0)));
    must!(listen(l, 16));
    let a = must!(name(l, SYS_getsockname));
    let c = tcp();
    must!(connect(c, &a));
    let s = must!(accept(l));
    must!(close(s));
    must!(close(l));
    let again = tcp();
    must!(setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &1i32));
    must!(bind(again, &a));
    must!(listen(again, 1));
}

fn tcp_reuseport_shares_a_port() {
    let open = || {
        let fd = tcp();
        must!(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &1i32));
        fd
    };
    let first = open();
    must!(bind(first, &v4(LO, 0)));
    let a = must!(name(first, SYS_getsockname));
    must!(listen(first, 4));
    let second = open();
    must!(bind(second, &a));
    must!(listen(second, 4));
    expect_errno!(bind(tcp(), &a), EADDRINUSE);
}

fn tcp_close_of_listener_resets_waiting_clients() {
    let (l, a) = listener();
    let c = tcp();
    must!(connect(c, &a));
    must!(close(l));
    check!(poll1(c, POLLIN, 5000) != 0);
    let result = read_vec(c, 1);
    check!(matches!(result, Err(ECONNRESET) | Ok(_)), "{result:?}");
    expect_errno!(connect(tcp(), &a), ECONNREFUSED);
}

fn tcp_blocked_accept_wakes() {
    let (l, a) = listener();
    let pid = child(|| {
        must!(accept(l));
        0
    });
    wait_asleep(pid);
    must!(connect(tcp(), &a));
    wait_ok(pid);
}

fn tcp_poll_states() {
    let (l, a) = listener();
    check_eq!(ready(l, POLLIN | POLLOUT), 0);
    let c = tcp();
    check_eq!(ready(c, POLLIN | POLLOUT), POLLOUT | POLLHUP);
    must!(connect(c, &a));
    check_eq!(poll1(l, POLLIN, 5000), POLLIN);
    check_eq!(ready(c, POLLIN | POLLOUT), POLLOUT);
}

fn tcp_fionread_and_siocoutq() {
    let (c, s) = pair();
    must!(write(c, b"12345"));
    check_eq!(poll1(s, POLLIN, 5000), POLLIN);
    let mut n = 0i32;
    must!(ioctl(s, FIONREAD, &mut n));
    check_eq!(n, 5);
}

fn tcp_options() {
    let fd = tcp();
    check_eq!(getsockopt(fd, SOL_SOCKET, SO_TYPE), Ok(SOCK_STREAM));
    check_eq!(getsockopt(fd, SOL_SOCKET, SO_DOMAIN), Ok(AF_INET));
    check_eq!(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL), Ok(IPPROTO_TCP));
    check_eq!(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN), Ok(0));
    must!(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &1i32));
    check_eq!(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY), Ok(1));
    must!(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &7i32));
    check_eq!(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE), Ok(1));
    must!(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &10_000i32));
    check_eq!(getsockopt(fd, SOL_SOCKET, SO_RCVBUF), Ok(20_000));
    let (l, _) = listener();
    check_eq!(getsockopt(l, SOL_SOCKET, SO_ACCEPTCONN), Ok(1));
}

fn option_errors() {
    let fd = tcp();
    expect_errno!(getsockopt(fd, SOL_SOCKET, 9999), ENOPROTOOPT);
    expect_errno!(setsockopt(fd, SOL_SOCKET, 9999, &0i32), ENOPROTOOPT);
    expect_errno!(getsockopt(fd, IPPROTO_TCP, 9999), ENOPROTOOPT);
    expect_errno!(
        sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &1i32, 2),
        EINVAL
    );
    expect_errno!(
        sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, bad::<u8>(), 4),
        EFAULT
    );
    expect_errno!(
        sys!(
            SYS_getsockopt,
            fd,
            SOL_SOCKET,
            SO_TYPE,
            bad::<u8>(),
            &mut 4u32
        ),
        EFAULT
    );
    expect_errno!(
        sys!(
            SYS_getsockopt,
            fd,
            SOL_SOCKET,
            SO_TYPE,
            &mut 0i32,
            bad::<u8>()
        ),
        EFAULT
    );
    expect_errno!(getsockopt(-1, SOL_SOCKET, SO_TYPE), EBADF);
    let (mut value, mut len) = (0x7777_7777u32, 2u32);
    must!(sys!(
        SYS_getsockopt,
        fd,
        SOL_SOCKET,
        SO_TYPE,
        &mut value,
        &mut len
    ));
    check_eq!((value, len), (0x7777_0001, 2));
}

fn receive_timeout_is_eagain() {
    let (c, _s) = pair();
    must!(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &[0i64, 20_000]));
    let start = now_ms();
    expect_errno!(recv(c, 1, 0), EAGAIN);
    check!(now_ms() - start >= 18);
    let (mut time, mut len) = ([0i64; 2], 16u32);
    must!(sys!(
        SYS_getsockopt,
        c,
        SOL_SOCKET,
        SO_RCVTIMEO,
        &mut time,
        &mut len
    ));
    check_eq!(time[0], 0);
    check!(time[1] >= 20_000);
}

fn udp_sendto_recvfrom() {
    let (a, na) = bound_udp();
    let (b, nb) = bound_udp();
    check_eq!(sendto(a, b"hello", &nb), Ok(5));
    check_eq!(recvfrom(b), Ok((b"hello".to_vec(), na)));
    must!(sendto(b, b"", &na));
    check_eq!(recvfrom(a), Ok((vec![], nb)));
}

fn udp_keeps_boundaries_and_truncates() {
    let (a, na) = bound_udp();
    let b = udp();
    must!(sendto(b, b"12345", &na));
    must!(sendto(b, b"678", &na));
    check_eq!(recv(a, 2, 0), Ok(b"12".to_vec()));
    check_eq!(recv(a, 10, MSG_PEEK), Ok(b"678".to_vec()));
    let mut buf = [0u8; 1];
    check_eq!(sys!(SYS_recvfrom, a, &mut buf, 1, MSG_TRUNC, 0, 0), Ok(3));
}

fn udp_recvmsg_sets_trunc() {
    let (a, na) = bound_udp();
    must!(sendto(udp(), b"12345", &na));
    let mut buf = [0u8; 3];
    let mut v = [iov_mut(&mut buf)];
    let mut msg: msghdr = zeroed();
    msg.msg_iov = v.as_mut_ptr();
    msg.msg_iovlen = 1;
    check_eq!(sys!(SYS_recvmsg, a, &mut msg, 0), Ok(3));
    check_eq!(msg.msg_flags, MSG_TRUNC);
}

fn udp_connected_filters_and_disconnects() {
    let (a, na) = bound_udp();
    let (b, nb) = bound_udp();
    let (c, _) = bound_udp();
    must!(connect(a, &nb));
    check_eq!(name(a, SYS_getpeername), Ok(nb));
    must!(sendto(c, b"stranger", &na));
    must!(sendto(b, b"friend", &na));
    check_eq!(recv(a, 100, 0), Ok(b"friend".to_vec()));
    expect_errno!(recv(a, 100, MSG_DONTWAIT), EAGAIN);
    must!(sys!(SYS_connect, a, &[0u16; 8], 16));
    expect_errno!(name(a, SYS_getpeername), ENOTCONN);
    // The port was chosen automatically, so it is forgotten too; sending
    // chooses the next one.
    check_eq!(port_of(&must!(name(a, SYS_getsockname))), 0);
    expect_errno!(send(a, b"x", 0), EDESTADDRREQ);
    check!(port_of(&must!(name(a, SYS_getsockname))) != 0);
}

fn udp_disconnect_keeps_explicit_port() {
    let (a, na) = bound_udp();
    must!(close(a));
    let a = udp();
    must!(bind(a, &na));
    must!(connect(a, &v4(LO, 9)));
    must!(sys!(SYS_connect, a, &[0u16; 8], 16));
    must!(sendto(udp(), b"stranger", &na));
    check_eq!(recv(a, 100, 0), Ok(b"stranger".to_vec()));
}

fn udp_refused_is_reported_on_connected_socket() {
    let (a, na) = bound_udp();
    must!(close(a));
    let b = udp();
    must!(connect(b, &na));
    must!(send(b, b"x", 0));
    check!(poll1(b, POLLIN, 5000) & POLLERR != 0);
    expect_errno!(recv(b, 1, 0), ECONNREFUSED);
    expect_errno!(recv(b, 1, MSG_DONTWAIT), EAGAIN);
}

fn udp_errors() {
    let fd = udp();
    expect_errno!(send(fd, b"x", 0), EDESTADDRREQ);
    expect_errno!(sendto(fd, &vec![0; 70_000], &v4(LO, 9)), EMSGSIZE);
    expect_errno!(listen(fd, 1), EOPNOTSUPP);
    expect_errno!(accept(fd), EOPNOTSUPP);
    expect_errno!(
        sys!(SYS_sendto, fd, b"x".as_slice(), 1, 0, &v4(LO, 9).raw, 4),
        EINVAL
    );
    let (_b, nb) = bound_udp();
    expect_errno!(bind(udp(), &nb), EADDRINUSE);
}

fn udp_large_datagram() {
    let (a, na) = bound_udp();
    let data = vec![7u8; 60_000];
    check_eq!(sendto(udp(), &data, &na), Ok(60_000));
    check_eq!(recv(a, 70_000, 0), Ok(data));
}

fn udp_poll_and_fionread() {
    let (a, na) = bound_udp();
    check_eq!(ready(a, POLLIN | POLLOUT), POLLOUT);
    must!(sendto(udp(), b"abc", &na));
    check_eq!(poll1(a, POLLIN, 5000), POLLIN);
    let mut n = 0i32;
    must!(ioctl(a, FIONREAD, &mut n));
    check_eq!(n, 3);
}

fn v6_tcp_loopback() {
    let l = match socket(AF_INET6, SOCK_STREAM, 0) {
        Err(EAFNOSUPPORT) => skip!("no IPv6"),
        other => must!(other),
    };
    match bind(l, &v6(0)) {
        Err(EADDRNOTAVAIL) => skip!("no IPv6 loopback"),
        other => must!(other),
    };
    must!(listen(l, 1));
    let a = must!(name(l, SYS_getsockname));
    check_eq!(a.len, 28);
    let c = must!(socket(AF_INET6, SOCK_STREAM, 0));
    must!(connect(c, &a));
    let s = must!(accept(l));
    must!(write(c, b"six"));
    check_eq!(read_vec(s, 10), Ok(b"six".to_vec()));
    check_eq!(name(s, SYS_getpeername), name(c, SYS_getsockname));
}

fn v6_any_accepts_v4() {
    let l = match socket(AF_INET6, SOCK_STREAM, 0) {
        Err(EAFNOSUPPORT) => skip!("no IPv6"),
        other => must!(other),
    };
    must!(setsockopt(l, IPPROTO_IPV6, IPV6_V6ONLY, &0i32));
    let mut any = v6(0);
    any.raw[23] = 0;
    must!(bind(l, &any));
    must!(listen(l, 1));
    let port = port_of(&must!(name(l, SYS_getsockname)));
    let c = tcp();
    must!(connect(c, &v4(LO, port)));
    let s = must!(accept(l));
    let peer = must!(name(s, SYS_getpeername));
    check_eq!(
        &peer.raw[8..24],
        b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01".as_slice()
    );
}

fn v6_udp_loopback() {
    let fd = match socket(AF_INET6, SOCK_DGRAM, 0) {
        Err(EAFNOSUPPORT) => skip!("no IPv6"),
        other => must!(other),
    };
    match bind(fd, &v6(0)) {
        Err(EADDRNOTAVAIL) => skip!("no IPv6 loopback"),
        other => must!(other),
    };
    let a = must!(name(fd, SYS_getsockname));
    must!(sendto(fd, b"self", &a));
    check_eq!(recvfrom(fd), Ok((b"self".to_vec(), a)));
}

fn v6only_does_not_clash_with_v4() {
    let (_l, a) = listener();
    let fd = match socket(AF_INET6, SOCK_STREAM, 0) {
        Err(EAFNOSUPPORT) => skip!("no IPv6"),
        other => must!(other),
    };
    must!(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &1i32));
    match bind(fd, &v6(port_of(&a))) {
        Err(EADDRNOTAVAIL) => skip!("no IPv6 loopback"),
        other => must!(other),
    };
}

fn whole_loopback_net_is_local() {
    let (a, _) = {
        let fd = udp();
        must!(bind(fd, &v4([127, 7, 7, 7], 0)));
        (fd, ())
    };
    let na = must!(name(a, SYS_getsockname));
    must!(sendto(udp(), b"x", &na));
    check_eq!(poll1(a, POLLIN, 5000), POLLIN);
}

fn wildcard_binding_receives_loopback() {
    let fd = udp();
    must!(bind(fd, &v4([0; 4], 0)));
    let port = port_of(&must!(name(fd, SYS_getsockname)));
    must!(sendto(udp(), b"x", &v4(LO, port)));
    check_eq!(recv(fd, 10, 0), Ok(b"x".to_vec()));
}

fn raw_sockets_need_capability() {
    need_root();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), EPERM);
    });
}

fn socket_type_errors() {
    expect_errno!(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    expect_errno!(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
    expect_errno!(socket(AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
    expect_errno!(socket(AF_INET, SOCK_STREAM, -1), EINVAL);
    expect_errno!(
        sys!(SYS_socketpair, AF_INET, SOCK_STREAM, 0, &mut [0i32; 2]),
        EOPNOTSUPP
    );
}

fn interface_list_has_loopback() {
    // struct ifconf: length, buffer; struct ifreq is 40 bytes.
    let buf = anon(1);
    let conf = [4000u64, buf as u64];
    let fd = udp();
    must!(ioctl(fd, 0x8912, &conf));
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    must!(ioctl(fd, 0x8913, &mut request));
    let flags = u16::from_ne_bytes([request[16], request[17]]);
    check_eq!(flags & 9, 9);
}

cases![
    tcp_connect_accept_transfer,
    tcp_names_match,
    tcp_accept_gives_peer_address,
    tcp_refused_is_econnrefused,
    tcp_refused_nonblocking_reports_in_so_error,
    tcp_nonblocking_connect_completes,
    tcp_connect_twice_is_eisconn,
    tcp_orderly_close_is_end_of_file,
    tcp_write_after_peer_closed_is_reset_then_epipe,
    tcp_close_with_unread_data_resets,
    tcp_linger_zero_resets,
    tcp_shutdown_write_half_closes,
    tcp_shutdown_read_is_end_of_file,
    tcp_shutdown_wakes_blocked_reader,
    tcp_not_connected_errors,
    tcp_peek_and_waitall,
    tcp_out_of_band_byte,
    tcp_large_transfer,
    tcp_fills_up_nonblocking,
    tcp_bind_errors,
    tcp_low_port_unprivileged_is_eacces,
    tcp_listen_without_bind_picks_port,
    tcp_reuseaddr_allows_rebinding_after_close,
    tcp_reuseport_shares_a_port,
    tcp_close_of_listener_resets_waiting_clients,
    tcp_blocked_accept_wakes,
    tcp_poll_states,
    tcp_fionread_and_siocoutq,
    tcp_options,
    option_errors,
    receive_timeout_is_eagain,
    udp_sendto_recvfrom,
    udp_keeps_boundaries_and_truncates,
    udp_recvmsg_sets_trunc,
    udp_connected_filters_and_disconnects,
    udp_disconnect_keeps_explicit_port,
    udp_refused_is_reported_on_connected_socket,
    udp_errors,
    udp_large_datagram,
    udp_poll_and_fionread,
    v6_tcp_loopback,
    v6_any_accepts_v4,
    v6_udp_loopback,
    v6only_does_not_clash_with_v4,
    whole_loopback_net_is_local,
    wildcard_binding_receives_loopback,
    raw_sockets_need_capability,
    socket_type_errors,
    interface_list_has_loopback,
];
