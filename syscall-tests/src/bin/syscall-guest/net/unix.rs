//! Unix domain sockets, unix(7): addresses, streams, datagrams, seqpackets.

use syscall_tests::cases;
use syscall_tests::prelude::*;

/// A sockaddr_un and its length; an abstract name starts with NUL.
#[derive(Clone, Copy)]
struct Addr([u8; 110], usize);

fn addr(name: &[u8]) -> Addr {
    let mut raw = [0u8; 110];
    raw[..2].copy_from_slice(&(AF_UNIX as u16).to_ne_bytes());
    raw[2..2 + name.len()].copy_from_slice(name);
    // A path name is followed by its NUL.
    let nul = usize::from(name.first().is_some_and(|b| *b != 0));
    Addr(raw, 2 + name.len() + nul)
}
fn abstract_name(tag: &str) -> Addr {
    addr(format!("\0syscall-guest-{}-{tag}", getpid()).as_bytes())
}
fn bind(fd: i32, a: &Addr) -> Sys {
    sys!(SYS_bind, fd, &a.0, a.1)
}
fn connect(fd: i32, a: &Addr) -> Sys {
    sys!(SYS_connect, fd, &a.0, a.1)
}
fn sendto(fd: i32, data: &[u8], a: &Addr) -> Sys<usize> {
    sys!(SYS_sendto, fd, data, data.len(), 0, &a.0, a.1).map(|n| n as usize)
}
fn name_of(fd: i32, nr: i64) -> Sys<Vec<u8>> {
    let mut raw = [0u8; 128];
    let mut len = 128u32;
    raw_name(fd, nr, &mut raw, &mut len)?;
    Ok(raw[..len as usize].to_vec())
}
fn raw_name(fd: i32, nr: i64, raw: &mut [u8; 128], len: &mut u32) -> Sys {
    sys!(nr, fd, raw, len)
}
fn stream() -> i32 {
    must!(socket(AF_UNIX, SOCK_STREAM, 0))
}
fn dgram() -> i32 {
    must!(socket(AF_UNIX, SOCK_DGRAM, 0))
}
fn listener(a: &Addr) -> i32 {
    let fd = stream();
    must!(bind(fd, a));
    must!(listen(fd, 8));
    fd
}

fn socket_errors() {
    expect_errno!(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    expect_errno!(socket(AF_UNIX, SOCK_STREAM, 99), EPROTONOSUPPORT);
    expect_errno!(socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
    expect_errno!(socket(AF_UNIX, SOCK_STREAM | 0x100, 0), EINVAL);
    expect_errno!(
        sys!(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, bad::<u8>()),
        EFAULT
    );
}

fn socket_flags() {
    let fd = must!(socket(
        AF_UNIX,
        SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
        0
    ));
    check_eq!(fcntl(fd, F_GETFD, 0), Ok(1));
    check_eq!(must!(fcntl(fd, F_GETFL, 0)) as i32, O_RDWR | O_NONBLOCK);
}

fn not_a_socket_is_enotsock() {
    let (r, _w) = must!(pipe());
    expect_errno!(bind(r, &abstract_name("x")), ENOTSOCK);
    expect_errno!(listen(r, 1), ENOTSOCK);
    expect_errno!(send(r, b"x", 0), ENOTSOCK);
    expect_errno!(recv(r, 1, 0), ENOTSOCK);
    expect_errno!(shutdown(r, SHUT_RD), ENOTSOCK);
    expect_errno!(getsockopt(r, SOL_SOCKET, SO_TYPE), ENOTSOCK);
    expect_errno!(bind(-1, &abstract_name("x")), EBADF);
}

fn stream_connect_accept_transfer() {
    tmp();
    let a = addr(b"sock");
    let l = listener(&a);
    let c = stream();
    must!(connect(c, &a));
    let s = must!(accept(l));
    must!(write(c, b"hello"));
    check_eq!(read_vec(s, 100), Ok(b"hello".to_vec()));
    must!(write(s, b"world"));
    check_eq!(read_vec(c, 3), Ok(b"wor".to_vec()));
    check_eq!(read_vec(c, 100), Ok(b"ld".to_vec()));
    must!(close(s));
    check_eq!(read_vec(c, 1), Ok(vec![]));
}

fn bind_makes_socket_file_with_umask() {
    tmp();
    umask(0o027);
    must!(bind(stream(), &addr(b"sock")));
    let st = must!(stat(c"sock"));
    check_eq!(st.st_mode, S_IFSOCK | 0o750);
}

fn bind_errors() {
    tmp();
    must!(write_file(c"file", b""));
    let fd = stream();
    expect_errno!(bind(fd, &addr(b"file")), EADDRINUSE);
    expect_errno!(bind(fd, &addr(b"missing/sock")), ENOENT);
    expect_errno!(bind(fd, &addr(b"file/sock")), ENOTDIR);
    expect_errno!(sys!(SYS_bind, fd, bad::<u8>(), 10), EFAULT);
    expect_errno!(sys!(SYS_bind, fd, &addr(b"x").0, 1), EINVAL);
    expect_errno!(sys!(SYS_bind, fd, &addr(b"x").0, 111), EINVAL);
    let mut wrong = addr(b"x");
    wrong.0[0] = AF_INET as u8;
    expect_errno!(bind(fd, &wrong), EINVAL);
    must!(bind(fd, &addr(b"one")));
    expect_errno!(bind(fd, &addr(b"two")), EINVAL);
}

fn connect_errors() {
    tmp();
    must!(write_file(c"file", b""));
    let fd = stream();
    expect_errno!(connect(fd, &addr(b"missing")), ENOENT);
    expect_errno!(connect(fd, &addr(b"file")), ECONNREFUSED);
    let bound = stream();
    must!(bind(bound, &addr(b"bound")));
    expect_errno!(connect(fd, &addr(b"bound")), ECONNREFUSED);
    must!(close(bound));
    expect_errno!(connect(fd, &addr(b"bound")), ECONNREFUSED);
    expect_errno!(connect(fd, &abstract_name("nobody")), ECONNREFUSED);
    let d = dgram();
    must!(bind(d, &addr(b"dgram")));
    expect_errno!(connect(fd, &addr(b"dgram")), EPROTOTYPE);
    expect_errno!(sys!(SYS_connect, fd, bad::<u8>(), 10), EFAULT);
}

fn connect_twice_is_eisconn() {
    let a = abstract_name("twice");
    let _l = listener(&a);
    let c = stream();
    must!(connect(c, &a));
    expect_errno!(connect(c, &a), EISCONN);
}

fn connect_needs_write_permission_on_file() {
    need_root();
    tmp();
    let a = addr(b"sock");
    let _l = listener(&a);
    must!(chmod(c"sock", 0o755));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(connect(stream(), &a), EACCES);
    });
}

fn abstract_name_lives_with_the_socket() {
    let a = abstract_name("life");
    let fd = stream();
    must!(bind(fd, &a));
    expect_errno!(bind(stream(), &a), EADDRINUSE);
    check_eq!(name_of(fd, SYS_getsockname), Ok(a.0[..a.1].to_vec()));
    must!(close(fd));
    must!(bind(stream(), &a));
}

fn autobind_gives_five_hex_digits() {
    let fd = stream();
    must!(sys!(SYS_bind, fd, &addr(b"").0, 2));
    let name = must!(name_of(fd, SYS_getsockname));
    check_eq!((name.len(), name[2]), (8, 0));
    check!(name[3..].iter().all(u8::is_ascii_hexdigit), "{name:?}");
}

fn unbound_name_is_family_only() {
    let (a, _b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    check_eq!(name_of(a, SYS_getsockname), Ok(vec![1, 0]));
    check_eq!(name_of(a, SYS_getpeername), Ok(vec![1, 0]));
}

fn peer_name_and_truncation() {
    tmp();
    let a = addr(b"sock");
    let l = listener(&a);
    let c = stream();
    expect_errno!(name_of(c, SYS_getpeername), ENOTCONN);
    must!(connect(c, &a));
    let peer = must!(name_of(c, SYS_getpeername));
    check_eq!(peer, b"\x01\0sock\0".to_vec());
    let (mut raw, mut len) = ([9u8; 128], 4u32);
    must!(raw_name(l, SYS_getsockname, &mut raw, &mut len));
    check_eq!((len, &raw[..5]), (7, b"\x01\0so\x09".as_slice()));
    let mut negative = -1i32 as u32;
    expect_errno!(
        raw_name(l, SYS_getsockname, &mut raw, &mut negative),
        EINVAL
    );
    expect_errno!(sys!(SYS_getsockname, l, bad::<u8>(), &mut len), EFAULT);
    expect_errno!(sys!(SYS_getsockname, l, &mut raw, bad::<u8>()), EFAULT);
}

fn accept_errors() {
    let fd = stream();
    expect_errno!(accept(fd), EINVAL);
    expect_errno!(accept(dgram()), EOPNOTSUPP);
    let l = listener(&abstract_name("accept"));
    must!(set_nonblock(l));
    expect_errno!(accept(l), EAGAIN);
    expect_errno!(sys!(SYS_accept4, l, 0, 0, 0x100), EINVAL);
    expect_errno!(listen(dgram(), 1), EOPNOTSUPP);
    expect_errno!(listen(stream(), 1), EINVAL);
}

fn accept4_flags_and_peer_address() {
    let a = abstract_name("accept4");
    let l = listener(&a);
    let c = stream();
    must!(bind(c, &abstract_name("client")));
    must!(connect(c, &a));
    let mut raw = [0u8; 110];
    let mut len = 110u32;
    let flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    let s = must!(sys!(SYS_accept4, l, &mut raw, &mut len, flags)) as i32;
    let want = abstract_name("client");
    check_eq!(&raw[..len as usize], &want.0[..want.1]);
    check_eq!(fcntl(s, F_GETFD, 0), Ok(1));
    check_eq!(must!(fcntl(s, F_GETFL, 0)) as i32 & O_NONBLOCK, O_NONBLOCK);
}

fn backlog_full_is_eagain() {
    let a = abstract_name("backlog");
    let l = stream();
    must!(bind(l, &a));
    must!(listen(l, 1));
    let mut results = Vec::new();
    for _ in 0..5 {
        let c = must!(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
        results.push(connect(c, &a));
    }
    check_eq!(results[..2], [Ok(0), Ok(0)]);
    check_eq!(results[4], Err(EAGAIN));
    must!(accept(l));
    must!(connect(
        must!(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)),
        &a
    ));
}

fn blocked_connect_completes_after_accept() {
    let a = abstract_name("slow");
    let l = stream();
    must!(bind(l, &a));
    must!(listen(l, 0));
    must!(connect(stream(), &a));
    let pid = child(|| {
        must!(connect(stream(), &a));
        0
    });
    wait_asleep(pid);
    must!(accept(l));
    wait_ok(pid);
}

fn closing_listener_refuses_and_resets_pending() {
    let a = abstract_name("closing");
    let l = listener(&a);
    let c = stream();
    must!(connect(c, &a));
    must!(close(l));
    expect_errno!(connect(stream(), &a), ECONNREFUSED);
    disposition(SIGPIPE, SIG_IGN);
    expect_errno!(read_vec(c, 1), ECONNRESET);
    expect_errno!(write(c, b"x"), EPIPE);
}

fn stream_send_without_peer() {
    let fd = stream();
    disposition(SIGPIPE, SIG_IGN);
    expect_errno!(send(fd, b"x", 0), ENOTCONN);
    expect_errno!(recv(fd, 1, 0), EINVAL);
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    must!(close(b));
    expect_errno!(send(a, b"x", 0), EPIPE);
}

fn sigpipe_unless_nosignal() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    must!(close(b));
    record_on(SIGPIPE);
    expect_errno!(send(a, b"x", MSG_NOSIGNAL), EPIPE);
    check_eq!(seen(), 0);
    expect_errno!(send(a, b"x", 0), EPIPE);
    check_eq!(seen(), 1);
}

fn unread_data_at_close_is_econnreset() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    must!(write(a, b"unread"));
    must!(close(b));
    expect_errno!(read_vec(a, 1), ECONNRESET);
    check_eq!(read_vec(a, 1), Ok(vec![]));
}

fn shutdown_directions() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    disposition(SIGPIPE, SIG_IGN);
    must!(write(a, b"last"));
    must!(shutdown(a, SHUT_WR));
    expect_errno!(write(a, b"x"), EPIPE);
    check_eq!(read_vec(b, 10), Ok(b"last".to_vec()));
    check_eq!(read_vec(b, 10), Ok(vec![]));
    must!(write(b, b"back"));
    check_eq!(read_vec(a, 10), Ok(b"back".to_vec()));
    must!(shutdown(a, SHUT_RD));
    expect_errno!(write(b, b"x"), EPIPE);
    check_eq!(read_vec(a, 1), Ok(vec![]));
    expect_errno!(shutdown(a, 3), EINVAL);
}

fn datagrams_keep_boundaries() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_DGRAM));
    must!(send(a, b"one", 0));
    must!(send(a, b"", 0));
    must!(send(a, b"three", 0));
    check_eq!(recv(b, 100, 0), Ok(b"one".to_vec()));
    check_eq!(recv(b, 100, 0), Ok(vec![]));
    check_eq!(recv(b, 2, 0), Ok(b"th".to_vec()));
    expect_errno!(recv(b, 100, MSG_DONTWAIT), EAGAIN);
}

fn datagram_truncation_flag() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_DGRAM));
    must!(send(a, b"12345", 0));
    let mut buf = [0u8; 2];
    check_eq!(sys!(SYS_recvfrom, b, &mut buf, 2, MSG_TRUNC, 0, 0), Ok(5));
    must!(send(a, b"12345", 0));
    let mut iov = [iov_mut(&mut buf)];
    let mut msg: msghdr = zeroed();
    msg.msg_iov = iov.as_mut_ptr();
    msg.msg_iovlen = 1;
    check_eq!(sys!(SYS_recvmsg, b, &mut msg, 0), Ok(2));
    check_eq!(msg.msg_flags, MSG_TRUNC);
}

fn datagram_sendto_and_sender_address() {
    let (a, b) = (dgram(), dgram());
    let (na, nb) = (abstract_name("da"), abstract_name("db"));
    must!(bind(a, &na));
    must!(bind(b, &nb));
    check_eq!(sendto(a, b"hi", &nb), Ok(2));
    let (mut buf, mut raw, mut len) = ([0u8; 8], [0u8; 110], 110u32);
    check_eq!(
        sys!(SYS_recvfrom, b, &mut buf, 8, 0, &mut raw, &mut len),
        Ok(2)
    );
    check_eq!(&raw[..len as usize], &na.0[..na.1]);
}

fn datagram_unbound_sender_has_no_address() {
    let b = dgram();
    let nb = abstract_name("anon");
    must!(bind(b, &nb));
    must!(sendto(dgram(), b"hi", &nb));
    let (mut buf, mut raw, mut len) = ([0u8; 8], [9u8; 110], 110u32);
    check_eq!(
        sys!(SYS_recvfrom, b, &mut buf, 8, 0, &mut raw, &mut len),
        Ok(2)
    );
    check_eq!(len, 0);
}

fn datagram_errors() {
    let fd = dgram();
    expect_errno!(send(fd, b"x", 0), ENOTCONN);
    expect_errno!(sendto(fd, b"x", &abstract_name("nobody")), ECONNREFUSED);
    // Abstract names are looked up by type too; path names are not.
    let _l = listener(&abstract_name("strm"));
    expect_errno!(sendto(fd, b"x", &abstract_name("strm")), ECONNREFUSED);
    tmp();
    let _l = listener(&addr(b"strm"));
    expect_errno!(sendto(fd, b"x", &addr(b"strm")), EPROTOTYPE);
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_DGRAM));
    must!(close(b));
    expect_errno!(send(a, b"x", 0), ECONNREFUSED);
    let (a, _b) = must!(socketpair(AF_UNIX, SOCK_DGRAM));
    expect_errno!(send(a, &vec![0; 1 << 20], 0), EMSGSIZE);
}

fn datagram_connected_filters_senders() {
    let (a, b, c) = (dgram(), dgram(), dgram());
    let (na, nb) = (abstract_name("fa"), abstract_name("fb"));
    must!(bind(a, &na));
    must!(bind(b, &nb));
    must!(connect(a, &nb));
    expect_errno!(sendto(c, b"x", &na), EPERM);
    must!(sendto(b, b"ok", &na));
    check_eq!(recv(a, 10, 0), Ok(b"ok".to_vec()));
    // Connecting to AF_UNSPEC dissolves the association.
    must!(sys!(SYS_connect, a, &[0u16; 8], 2));
    must!(sendto(c, b"x", &na));
}

fn datagram_queue_full_is_eagain() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_DGRAM));
    must!(set_nonblock(a));
    let mut sent = 0;
    while send(a, b"x", 0).is_ok() {
        sent += 1;
        check!(sent < 100_000);
    }
    expect_errno!(send(a, b"x", 0), EAGAIN);
    check_eq!(ready(a, POLLOUT), 0);
    must!(recv(b, 1, 0));
    wait_until("room", || {
        send(a, b"x", MSG_DONTWAIT).is_ok() || recv(b, 1, MSG_DONTWAIT).is_err()
    });
}

fn seqpacket_is_connected_with_boundaries() {
    let a = abstract_name("seq");
    let l = must!(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    must!(bind(l, &a));
    must!(listen(l, 1));
    let c = must!(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    must!(connect(c, &a));
    let s = must!(accept(l));
    must!(send(c, b"first", 0));
    must!(send(c, b"second", 0));
    check_eq!(recv(s, 3, 0), Ok(b"fir".to_vec()));
    check_eq!(recv(s, 100, 0), Ok(b"second".to_vec()));
    must!(close(c));
    check_eq!(recv(s, 100, 0), Ok(vec![]));
}

fn peek_leaves_data() {
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let (a, b) = must!(socketpair(AF_UNIX, kind));
        must!(send(a, b"data", 0));
        check_eq!(recv(b, 2, MSG_PEEK), Ok(b"da".to_vec()));
        check_eq!(recv(b, 10, 0), Ok(b"data".to_vec()));
    }
}

fn waitall_collects_stream() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    must!(write(a, b"ab"));
    let pid = child(|| {
        sleep_ms(20);
        must!(write(a, b"cd"));
        0
    });
    check_eq!(recv(b, 4, MSG_WAITALL), Ok(b"abcd".to_vec()));
    wait_ok(pid);
}

fn dontwait_is_eagain() {
    let (a, _b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    expect_errno!(recv(a, 1, MSG_DONTWAIT), EAGAIN);
}

fn stream_fills_up_nonblocking() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    must!(set_nonblock(a));
    let mut total = 0;
    while let Ok(n) = write(a, &[1; 8192]) {
        total += n;
        check!(total < 100 << 20);
    }
    expect_errno!(write(a, b"x"), EAGAIN);
    check_eq!(ready(a, POLLOUT), 0);
    must!(set_nonblock(b));
    let mut back = 0;
    while let Ok(v) = read_vec(b, 65536) {
        back += v.len();
    }
    check_eq!(back, total);
    check_eq!(ready(a, POLLOUT), POLLOUT);
}

fn large_transfer_between_processes() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    let pid = child(|| {
        let _ = close(b);
        let data: Vec<u8> = (0..2_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut rest = &data[..];
        while !rest.is_empty() {
            rest = &rest[must!(write(a, rest))..];
        }
        0
    });
    must!(close(a));
    let all = must!(read_all(b));
    check_eq!(all.len(), 2_000_000);
    check!(all.iter().enumerate().all(|(i, v)| *v == (i % 251) as u8));
    wait_ok(pid);
}

fn poll_states() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    let all = POLLIN | POLLOUT | POLLRDHUP;
    check_eq!(ready(a, all), POLLOUT);
    must!(write(b, b"x"));
    check_eq!(ready(a, all), POLLIN | POLLOUT);
    must!(shutdown(b, SHUT_WR));
    check_eq!(ready(a, all), POLLIN | POLLOUT | POLLRDHUP);
    must!(close(b));
    check_eq!(ready(a, all), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    let l = listener(&abstract_name("poll"));
    check_eq!(ready(l, all), 0);
    must!(connect(stream(), &abstract_name("poll")));
    check_eq!(ready(l, all), POLLIN);
}

fn zero_length_stream_write_is_nothing() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    check_eq!(write(a, b""), Ok(0));
    expect_errno!(recv(b, 1, MSG_DONTWAIT), EAGAIN);
}

fn bad_buffers_are_efault() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    expect_errno!(sys!(SYS_sendto, a, bad::<u8>(), 5, 0, 0, 0), EFAULT);
    must!(write(a, b"x"));
    expect_errno!(sys!(SYS_recvfrom, b, bad::<u8>(), 5, 0, 0, 0), EFAULT);
    expect_errno!(sys!(SYS_sendmsg, a, bad::<u8>(), 0), EFAULT);
    expect_errno!(sys!(SYS_recvmsg, a, bad::<u8>(), 0), EFAULT);
}

fn sendmmsg_and_recvmmsg() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_DGRAM));
    let mut out = [iov(b"one"), iov(b"second")];
    let mut msgs: [mmsghdr; 2] = zeroed();
    for (m, v) in msgs.iter_mut().zip(&mut out) {
        m.msg_hdr.msg_iov = v;
        m.msg_hdr.msg_iovlen = 1;
    }
    check_eq!(sys!(SYS_sendmmsg, a, &mut msgs, 2, 0), Ok(2));
    check_eq!(msgs.map(|m| m.msg_len), [3, 6]);
    let (mut x, mut y) = ([0u8; 8], [0u8; 8]);
    let mut into = [iov_mut(&mut x), iov_mut(&mut y)];
    for (m, v) in msgs.iter_mut().zip(&mut into) {
        m.msg_hdr.msg_iov = v;
    }
    check_eq!(sys!(SYS_recvmmsg, b, &mut msgs, 2, 0, 0), Ok(2));
    check_eq!(msgs.map(|m| m.msg_len), [3, 6]);
    check_eq!(
        (&x[..3], &y[..6]),
        (b"one".as_slice(), b"second".as_slice())
    );
    expect_errno!(sys!(SYS_recvmmsg, b, &mut msgs, 2, MSG_DONTWAIT, 0), EAGAIN);
}

cases![
    socket_errors,
    socket_flags,
    not_a_socket_is_enotsock,
    stream_connect_accept_transfer,
    bind_makes_socket_file_with_umask,
    bind_errors,
    connect_errors,
    connect_twice_is_eisconn,
    connect_needs_write_permission_on_file,
    abstract_name_lives_with_the_socket,
    autobind_gives_five_hex_digits,
    unbound_name_is_family_only,
    peer_name_and_truncation,
    accept_errors,
    accept4_flags_and_peer_address,
    backlog_full_is_eagain,
    blocked_connect_completes_after_accept,
    closing_listener_refuses_and_resets_pending,
    stream_send_without_peer,
    sigpipe_unless_nosignal,
    unread_data_at_close_is_econnreset,
    shutdown_directions,
    datagrams_keep_boundaries,
    datagram_truncation_flag,
    datagram_sendto_and_sender_address,
    datagram_unbound_sender_has_no_address,
    datagram_errors,
    datagram_connected_filters_senders,
    datagram_queue_full_is_eagain,
    seqpacket_is_connected_with_boundaries,
    peek_leaves_data,
    waitall_collects_stream,
    dontwait_is_eagain,
    stream_fills_up_nonblocking,
    large_transfer_between_processes,
    poll_states,
    zero_length_stream_write_is_nothing,
    bad_buffers_are_efault,
    sendmmsg_and_recvmmsg,
];
