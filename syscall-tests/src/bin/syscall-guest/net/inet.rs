//! Internet sockets of both kinds: IPv6, options, local addresses, errors of socket(2).

use super::addr::{
    LO, bind, connect, listener, name, pair, port_of, recvfrom, sendto, tcp, udp, v4, v6,
};
use syscall_tests::cases;
use syscall_tests::prelude::*;

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
    option_errors,
    receive_timeout_is_eagain,
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
