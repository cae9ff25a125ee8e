//! TCP over the loopback interface, IPv4.

use super::addr::{Addr, LO, bind, connect, listener, name, pair, port_of, tcp, v4};
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn connect_accept_transfer() {
    let (c, s) = pair();
    must!(write(c, b"hello"));
    check_eq!(read_vec(s, 100), Ok(b"hello".to_vec()));
    must!(write(s, b"back"));
    check_eq!(read_vec(c, 100), Ok(b"back".to_vec()));
}

fn names_match() {
    let (c, s) = pair();
    check_eq!(name(c, SYS_getpeername), name(s, SYS_getsockname));
    check_eq!(name(c, SYS_getsockname), name(s, SYS_getpeername));
    check!(port_of(&must!(name(c, SYS_getsockname))) != 0);
}

fn accept_gives_peer_address() {
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

fn refused_is_econnrefused() {
    let (l, a) = listener();
    must!(close(l));
    expect_errno!(connect(tcp(), &a), ECONNREFUSED);
}

fn refused_nonblocking_reports_in_so_error() {
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

fn nonblocking_connect_completes() {
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

fn connect_twice_is_eisconn() {
    let (_l, a) = listener();
    let c = tcp();
    must!(connect(c, &a));
    expect_errno!(connect(c, &a), EISCONN);
}

fn orderly_close_is_end_of_file() {
    let (c, s) = pair();
    must!(write(c, b"last"));
    must!(close(c));
    check_eq!(read_vec(s, 100), Ok(b"last".to_vec()));
    check_eq!(read_vec(s, 100), Ok(vec![]));
}

fn write_after_peer_closed_is_reset_then_epipe() {
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

fn close_with_unread_data_resets() {
    let (c, s) = pair();
    must!(write(c, b"unread"));
    check_eq!(poll1(s, POLLIN, 5000), POLLIN);
    must!(close(s));
    check!(poll1(c, POLLIN, 5000) != 0);
    expect_errno!(read_vec(c, 1), ECONNRESET);
    check_eq!(read_vec(c, 1), Ok(vec![]));
}

fn linger_zero_resets() {
    let (c, s) = pair();
    must!(setsockopt(s, SOL_SOCKET, SO_LINGER, &[1i32, 0]));
    must!(close(s));
    check!(poll1(c, POLLIN, 5000) != 0);
    expect_errno!(read_vec(c, 1), ECONNRESET);
}

fn shutdown_write_half_closes() {
    let (c, s) = pair();
    disposition(SIGPIPE, SIG_IGN);
    must!(shutdown(c, SHUT_WR));
    check_eq!(read_vec(s, 1), Ok(vec![]));
    expect_errno!(write(c, b"x"), EPIPE);
    must!(write(s, b"still"));
    check_eq!(read_vec(c, 10), Ok(b"still".to_vec()));
    check_eq!(ready(s, POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
}

fn shutdown_read_is_end_of_file() {
    let (c, _s) = pair();
    must!(shutdown(c, SHUT_RD));
    check_eq!(read_vec(c, 1), Ok(vec![]));
    expect_errno!(shutdown(tcp(), SHUT_RD), ENOTCONN);
    expect_errno!(shutdown(c, 5), EINVAL);
}

fn shutdown_wakes_blocked_reader() {
    let (c, s) = pair();
    let pid = child(|| {
        check_eq!(read_vec(c, 1), Ok(vec![]));
        0
    });
    wait_asleep(pid);
    must!(shutdown(s, SHUT_RDWR));
    wait_ok(pid);
}

fn not_connected_errors() {
    let fd = tcp();
    disposition(SIGPIPE, SIG_IGN);
    expect_errno!(recv(fd, 1, 0), ENOTCONN);
    expect_errno!(send(fd, b"x", 0), EPIPE);
    expect_errno!(name(fd, SYS_getpeername), ENOTCONN);
    expect_errno!(accept(fd), EINVAL);
}

fn peek_and_waitall() {
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

fn out_of_band_byte() {
    let (c, s) = pair();
    must!(send(c, b"abX", MSG_OOB));
    check_eq!(poll1(s, POLLPRI, 5000), POLLPRI);
    check_eq!(recv(s, 10, 0), Ok(b"ab".to_vec()));
    check_eq!(recv(s, 1, MSG_OOB), Ok(b"X".to_vec()));
}

fn large_transfer() {
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

fn fills_up_nonblocking() {
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

fn bind_errors() {
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

fn low_port_unprivileged_is_eacces() {
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

fn listen_without_bind_picks_port() {
    let fd = tcp();
    must!(listen(fd, 1));
    let a = must!(name(fd, SYS_getsockname));
    check!(port_of(&a) != 0);
    must!(connect(tcp(), &v4(LO, port_of(&a))));
    must!(accept(fd));
}

fn reuseaddr_allows_rebinding_after_close() {
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

fn reuseport_shares_a_port() {
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

fn close_of_listener_resets_waiting_clients() {
    let (l, a) = listener();
    let c = tcp();
    must!(connect(c, &a));
    must!(close(l));
    check!(poll1(c, POLLIN, 5000) != 0);
    let result = read_vec(c, 1);
    check!(matches!(result, Err(ECONNRESET) | Ok(_)), "{result:?}");
    expect_errno!(connect(tcp(), &a), ECONNREFUSED);
}

fn blocked_accept_wakes() {
    let (l, a) = listener();
    let pid = child(|| {
        must!(accept(l));
        0
    });
    wait_asleep(pid);
    must!(connect(tcp(), &a));
    wait_ok(pid);
}

fn poll_states() {
    let (l, a) = listener();
    check_eq!(ready(l, POLLIN | POLLOUT), 0);
    let c = tcp();
    check_eq!(ready(c, POLLIN | POLLOUT), POLLOUT | POLLHUP);
    must!(connect(c, &a));
    check_eq!(poll1(l, POLLIN, 5000), POLLIN);
    check_eq!(ready(c, POLLIN | POLLOUT), POLLOUT);
}

fn fionread_and_siocoutq() {
    let (c, s) = pair();
    must!(write(c, b"12345"));
    check_eq!(poll1(s, POLLIN, 5000), POLLIN);
    let mut n = 0i32;
    must!(ioctl(s, FIONREAD, &mut n));
    check_eq!(n, 5);
}

fn options() {
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

cases![
    connect_accept_transfer,
    names_match,
    accept_gives_peer_address,
    refused_is_econnrefused,
    refused_nonblocking_reports_in_so_error,
    nonblocking_connect_completes,
    connect_twice_is_eisconn,
    orderly_close_is_end_of_file,
    write_after_peer_closed_is_reset_then_epipe,
    close_with_unread_data_resets,
    linger_zero_resets,
    shutdown_write_half_closes,
    shutdown_read_is_end_of_file,
    shutdown_wakes_blocked_reader,
    not_connected_errors,
    peek_and_waitall,
    out_of_band_byte,
    large_transfer,
    fills_up_nonblocking,
    bind_errors,
    low_port_unprivileged_is_eacces,
    listen_without_bind_picks_port,
    reuseaddr_allows_rebinding_after_close,
    reuseport_shares_a_port,
    close_of_listener_resets_waiting_clients,
    blocked_accept_wakes,
    poll_states,
    fionread_and_siocoutq,
    options,
];
