//! UDP over the loopback interface, IPv4.

use super::addr::{LO, bind, bound_udp, connect, name, port_of, recvfrom, sendto, udp, v4};
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn sendto_recvfrom() {
    let (a, na) = bound_udp();
    let (b, nb) = bound_udp();
    check_eq!(sendto(a, b"hello", &nb), Ok(5));
    check_eq!(recvfrom(b), Ok((b"hello".to_vec(), na)));
    must!(sendto(b, b"", &na));
    check_eq!(recvfrom(a), Ok((vec![], nb)));
}

fn keeps_boundaries_and_truncates() {
    let (a, na) = bound_udp();
    let b = udp();
    must!(sendto(b, b"12345", &na));
    must!(sendto(b, b"678", &na));
    check_eq!(recv(a, 2, 0), Ok(b"12".to_vec()));
    check_eq!(recv(a, 10, MSG_PEEK), Ok(b"678".to_vec()));
    let mut buf = [0u8; 1];
    check_eq!(sys!(SYS_recvfrom, a, &mut buf, 1, MSG_TRUNC, 0, 0), Ok(3));
}

fn recvmsg_sets_trunc() {
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

fn connected_filters_and_disconnects() {
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

fn disconnect_keeps_explicit_port() {
    let (a, na) = bound_udp();
    must!(close(a));
    let a = udp();
    must!(bind(a, &na));
    must!(connect(a, &v4(LO, 9)));
    must!(sys!(SYS_connect, a, &[0u16; 8], 16));
    must!(sendto(udp(), b"stranger", &na));
    check_eq!(recv(a, 100, 0), Ok(b"stranger".to_vec()));
}

fn refused_is_reported_on_connected_socket() {
    let (a, na) = bound_udp();
    must!(close(a));
    let b = udp();
    must!(connect(b, &na));
    must!(send(b, b"x", 0));
    check!(poll1(b, POLLIN, 5000) & POLLERR != 0);
    expect_errno!(recv(b, 1, 0), ECONNREFUSED);
    expect_errno!(recv(b, 1, MSG_DONTWAIT), EAGAIN);
}

fn errors() {
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

fn large_datagram() {
    let (a, na) = bound_udp();
    let data = vec![7u8; 60_000];
    check_eq!(sendto(udp(), &data, &na), Ok(60_000));
    check_eq!(recv(a, 70_000, 0), Ok(data));
}

fn poll_and_fionread() {
    let (a, na) = bound_udp();
    check_eq!(ready(a, POLLIN | POLLOUT), POLLOUT);
    must!(sendto(udp(), b"abc", &na));
    check_eq!(poll1(a, POLLIN, 5000), POLLIN);
    let mut n = 0i32;
    must!(ioctl(a, FIONREAD, &mut n));
    check_eq!(n, 3);
}

cases![
    sendto_recvfrom,
    keeps_boundaries_and_truncates,
    recvmsg_sets_trunc,
    connected_filters_and_disconnects,
    disconnect_keeps_explicit_port,
    refused_is_reported_on_connected_socket,
    errors,
    large_datagram,
    poll_and_fionread,
];
