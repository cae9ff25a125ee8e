//! SCM_RIGHTS and SCM_CREDENTIALS, cmsg(3).

use syscall_tests::cases;
use syscall_tests::prelude::*;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 256]);

/// Builds one control message of type `kind`.
fn control(kind: i32, data: &[u8]) -> (Control, usize) {
    let mut c = Control([0; 256]);
    c.0[..8].copy_from_slice(&(16 + data.len()).to_ne_bytes());
    c.0[8..12].copy_from_slice(&SOL_SOCKET.to_ne_bytes());
    c.0[12..16].copy_from_slice(&kind.to_ne_bytes());
    c.0[16..16 + data.len()].copy_from_slice(data);
    (c, (16 + data.len()).next_multiple_of(8))
}
fn fd_bytes(fds: &[i32]) -> Vec<u8> {
    fds.iter().flat_map(|fd| fd.to_ne_bytes()).collect()
}
fn sendmsg(fd: i32, data: &[u8], control: &mut Control, len: usize) -> Sys {
    let mut v = [iov(data)];
    let mut msg: msghdr = zeroed();
    msg.msg_iov = v.as_mut_ptr();
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast();
    msg.msg_controllen = len;
    sys!(SYS_sendmsg, fd, &msg, 0)
}
fn send_fds(fd: i32, data: &[u8], fds: &[i32]) -> Sys {
    let (mut c, len) = control(SCM_RIGHTS, &fd_bytes(fds));
    sendmsg(fd, data, &mut c, len)
}
struct Got {
    data: Vec<u8>,
    kind: i32,
    payload: Vec<u8>,
    flags: i32,
}
fn recvmsg(fd: i32, room: usize, flags: i32) -> Sys<Got> {
    let mut buf = [0u8; 64];
    let mut v = [iov_mut(&mut buf)];
    let mut c = Control([0; 256]);
    let mut msg: msghdr = zeroed();
    msg.msg_iov = v.as_mut_ptr();
    msg.msg_iovlen = 1;
    msg.msg_control = c.0.as_mut_ptr().cast();
    msg.msg_controllen = room;
    let n = sys!(SYS_recvmsg, fd, &mut msg, flags)? as usize;
    let word = |at: usize| i32::from_ne_bytes(c.0[at..at + 4].try_into().unwrap_or_default());
    let len = if msg.msg_controllen >= 16 {
        word(0) as usize
    } else {
        16
    };
    Ok(Got {
        data: buf[..n].to_vec(),
        kind: if len > 16 { word(12) } else { 0 },
        payload: c.0[16..len].to_vec(),
        flags: msg.msg_flags,
    })
}
fn fds_of(got: &Got) -> Vec<i32> {
    let ints = got.payload.chunks(4);
    ints.map(|c| i32::from_ne_bytes(c.try_into().unwrap_or_default()))
        .collect()
}
fn pair() -> (i32, i32) {
    must!(socketpair(AF_UNIX, SOCK_STREAM))
}

fn descriptor_arrives_and_works() {
    let (a, b) = pair();
    let (r, w) = must!(pipe());
    must!(send_fds(a, b"x", &[w]));
    must!(close(w));
    let got = must!(recvmsg(b, 256, 0));
    check_eq!(
        (got.data.as_slice(), got.kind),
        (b"x".as_slice(), SCM_RIGHTS)
    );
    let fds = fds_of(&got);
    check_eq!(fds.len(), 1);
    must!(write(fds[0], b"through"));
    check_eq!(read_vec(r, 100), Ok(b"through".to_vec()));
    check_eq!(fcntl(fds[0], F_GETFD, 0), Ok(0));
}

fn cloexec_flag_on_receipt() {
    let (a, b) = pair();
    must!(send_fds(a, b"x", &[0]));
    let got = must!(recvmsg(b, 256, MSG_CMSG_CLOEXEC));
    check_eq!(fcntl(fds_of(&got)[0], F_GETFD, 0), Ok(1));
    check_eq!(got.flags & MSG_CMSG_CLOEXEC, MSG_CMSG_CLOEXEC);
}

fn between_processes() {
    let (a, b) = pair();
    tmp();
    let pid = child(|| {
        must!(write_file(c"f", b"from child"));
        let fd = must!(open(c"f", O_RDONLY, 0));
        must!(send_fds(a, b"x", &[fd]));
        0
    });
    let got = must!(recvmsg(b, 256, 0));
    check_eq!(read_all(fds_of(&got)[0]), Ok(b"from child".to_vec()));
    wait_ok(pid);
}

fn several_descriptors_in_order() {
    let (a, b) = pair();
    let pipes: Vec<(i32, i32)> = (0..4).map(|_| must!(pipe())).collect();
    let writers: Vec<i32> = pipes.iter().map(|p| p.1).collect();
    must!(send_fds(a, b"x", &writers));
    let fds = fds_of(&must!(recvmsg(b, 256, 0)));
    for (i, fd) in fds.iter().enumerate() {
        must!(write(*fd, &[i as u8]));
    }
    for (i, p) in pipes.iter().enumerate() {
        check_eq!(read_vec(p.0, 10), Ok(vec![i as u8]));
    }
}

fn small_control_buffer_truncates_and_closes() {
    let (a, b) = pair();
    let (r, w) = must!(pipe());
    must!(send_fds(a, b"x", &[0, w]));
    must!(close(w));
    let got = must!(recvmsg(b, 20, 0));
    check_eq!(fds_of(&got).len(), 1);
    check_eq!(got.flags & MSG_CTRUNC, MSG_CTRUNC);
    // The descriptor that did not fit is gone, so the pipe has no writer.
    check_eq!(read_vec(r, 1), Ok(vec![]));
}

fn no_control_buffer_drops_descriptors() {
    let (a, b) = pair();
    let (r, w) = must!(pipe());
    must!(send_fds(a, b"x", &[w]));
    must!(close(w));
    check_eq!(read_vec(b, 10), Ok(b"x".to_vec()));
    check_eq!(read_vec(r, 1), Ok(vec![]));
}

fn unread_message_keeps_file_open_until_socket_closes() {
    let (a, b) = pair();
    let (r, w) = must!(pipe());
    must!(send_fds(a, b"x", &[w]));
    must!(close(w));
    check_eq!(ready(r, POLLIN), 0);
    must!(close(a));
    must!(close(b));
    check_eq!(poll1(r, POLLIN, 5000), POLLHUP);
}

fn socket_sent_to_itself_is_collected() {
    let (a, b) = pair();
    let (r, w) = must!(pipe());
    must!(send_fds(a, b"x", &[b, w]));
    for fd in [a, b, w] {
        must!(close(fd));
    }
    // Only a garbage collector can find this cycle.
    check_eq!(poll1(r, POLLIN, 10_000), POLLHUP);
}

fn peek_duplicates_descriptors() {
    let (a, b) = pair();
    must!(send_fds(a, b"x", &[0]));
    let first = fds_of(&must!(recvmsg(b, 256, MSG_PEEK)));
    let second = fds_of(&must!(recvmsg(b, 256, 0)));
    check!(first.len() == 1 && second.len() == 1 && first != second);
}

fn stream_read_stops_at_descriptors() {
    let (a, b) = pair();
    must!(write(a, b"aaa"));
    must!(send_fds(a, b"bbb", &[0]));
    must!(write(a, b"ccc"));
    let first = must!(recvmsg(b, 256, 0));
    check_eq!(first.data, b"aaabbb".to_vec());
    check_eq!(fds_of(&first).len(), 1);
    check_eq!(read_vec(b, 10), Ok(b"ccc".to_vec()));
}

fn errors() {
    let (a, _b) = pair();
    expect_errno!(send_fds(a, b"x", &[150]), EBADF);
    let many: Vec<i32> = vec![0; 50];
    must!(send_fds(a, b"x", &many));
    let (mut c, _) = control(SCM_RIGHTS, &[0; 4]);
    expect_errno!(sendmsg(a, b"x", &mut c, 1 << 30), ENOBUFS);
    let (mut c, len) = control(99, &[0; 4]);
    expect_errno!(sendmsg(a, b"x", &mut c, len), EINVAL);
    let (mut c, len) = control(SCM_RIGHTS, &[0; 4]);
    c.0[..8].copy_from_slice(&200usize.to_ne_bytes());
    expect_errno!(sendmsg(a, b"x", &mut c, len), EINVAL);
}

fn too_many_descriptors_is_einval() {
    let (a, _b) = pair();
    let fds: Vec<u8> = fd_bytes(&vec![0; 254]);
    let mut raw = vec![0u8; 16 + fds.len() + 8];
    raw[..8].copy_from_slice(&(16 + fds.len()).to_ne_bytes());
    raw[8..12].copy_from_slice(&SOL_SOCKET.to_ne_bytes());
    raw[12..16].copy_from_slice(&SCM_RIGHTS.to_ne_bytes());
    raw[16..16 + fds.len()].copy_from_slice(&fds);
    let mut v = [iov(b"x")];
    let mut msg: msghdr = zeroed();
    msg.msg_iov = v.as_mut_ptr();
    msg.msg_iovlen = 1;
    msg.msg_control = raw.as_mut_ptr().cast();
    msg.msg_controllen = 16 + fds.len();
    expect_errno!(sys!(SYS_sendmsg, a, &msg, 0), EINVAL);
}

fn o_path_descriptor_can_be_sent() {
    let (a, b) = pair();
    let fd = must!(open(c"/", O_PATH, 0));
    must!(send_fds(a, b"x", &[fd]));
    let got = fds_of(&must!(recvmsg(b, 256, 0)))[0];
    must!(openat(got, c"proc", O_RDONLY, 0));
}

fn shares_the_file_offset() {
    tmp();
    must!(write_file(c"f", b"abcdef"));
    let fd = must!(open(c"f", O_RDONLY, 0));
    let (a, b) = pair();
    must!(send_fds(a, b"x", &[fd]));
    let other = fds_of(&must!(recvmsg(b, 256, 0)))[0];
    must!(read_vec(other, 2));
    check_eq!(read_vec(fd, 2), Ok(b"cd".to_vec()));
}

fn credentials_with_passcred() {
    let (a, b) = pair();
    must!(setsockopt(b, SOL_SOCKET, SO_PASSCRED, &1i32));
    must!(write(a, b"x"));
    let got = must!(recvmsg(b, 256, 0));
    check_eq!(got.kind, SCM_CREDENTIALS);
    let ids = fds_of(&got);
    check_eq!(
        ids,
        vec![getpid(), getuid() as i32, must!(sys!(SYS_getgid)) as i32]
    );
}

fn credentials_of_sending_process() {
    let (a, b) = pair();
    must!(setsockopt(b, SOL_SOCKET, SO_PASSCRED, &1i32));
    let pid = child(|| {
        must!(write(a, b"x"));
        0
    });
    wait_ok(pid);
    check_eq!(fds_of(&must!(recvmsg(b, 256, 0)))[0], pid);
}

fn forged_credentials_are_eperm() {
    need_root();
    let (a, _b) = pair();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        let creds = |pid: i32, uid: i32| {
            let (mut c, len) = control(SCM_CREDENTIALS, &fd_bytes(&[pid, uid, 0]));
            sendmsg(a, b"x", &mut c, len)
        };
        expect_errno!(creds(getpid(), 0), EPERM);
        expect_errno!(creds(1, 1000), EPERM);
        check_eq!(creds(getpid(), 1000), Ok(1));
    });
}

fn peercred_option() {
    let (a, _b) = pair();
    let (mut cred, mut len) = ([0u32; 3], 12u32);
    must!(sys!(
        SYS_getsockopt,
        a,
        SOL_SOCKET,
        SO_PEERCRED,
        &mut cred,
        &mut len
    ));
    check_eq!((cred[0] as i32, cred[1]), (getpid(), geteuid()));
}

fn peercred_of_connecting_process() {
    let name = format!("\0syscall-guest-{}-cred", getpid());
    let mut raw = [0u8; 110];
    raw[0] = AF_UNIX as u8;
    raw[2..2 + name.len()].copy_from_slice(name.as_bytes());
    let l = must!(socket(AF_UNIX, SOCK_STREAM, 0));
    must!(sys!(SYS_bind, l, &raw, 2 + name.len()));
    must!(listen(l, 1));
    let gate = Gate::new();
    let pid = child(|| {
        let c = must!(socket(AF_UNIX, SOCK_STREAM, 0));
        must!(sys!(SYS_connect, c, &raw, 2 + name.len()));
        gate.wait();
        0
    });
    let s = must!(accept(l));
    let (mut cred, mut len) = ([0u32; 3], 12u32);
    must!(sys!(
        SYS_getsockopt,
        s,
        SOL_SOCKET,
        SO_PEERCRED,
        &mut cred,
        &mut len
    ));
    check_eq!(cred[0] as i32, pid);
    gate.open();
    wait_ok(pid);
}

cases![
    descriptor_arrives_and_works,
    cloexec_flag_on_receipt,
    between_processes,
    several_descriptors_in_order,
    small_control_buffer_truncates_and_closes,
    no_control_buffer_drops_descriptors,
    unread_message_keeps_file_open_until_socket_closes,
    socket_sent_to_itself_is_collected,
    peek_duplicates_descriptors,
    stream_read_stops_at_descriptors,
    errors,
    too_many_descriptors_is_einval,
    o_path_descriptor_can_be_sent,
    shares_the_file_offset,
    credentials_with_passcred,
    credentials_of_sending_process,
    forged_credentials_are_eperm,
    peercred_option,
    peercred_of_connecting_process,
];
