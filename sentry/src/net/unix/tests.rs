use super::*;
use crate::net::socket::SocketFile;
use crate::user::{SliceSource, VecSink};
use crate::vfs::File;
use bounded::{PATIENCE, reached};

const ME: Sender = Sender {
    cred: Ucred {
        pid: 7,
        uid: 1000,
        gid: 100,
    },
    rights_limit: 1024,
};

fn cred() -> PeerCred {
    PeerCred {
        cred: ME.cred,
        groups: [1, 2].into(),
    }
}

fn socket(names: &Arc<Namespace>, kind: i32) -> (Arc<UnixSocket>, Arc<File>) {
    let socket = UnixSocket::new(Arc::clone(names), kind, 0, 0);
    let file = SocketFile::open(socket.clone(), 0);
    (socket, file)
}

/// Two connected sockets with their files.
fn pair(kind: i32) -> [(Arc<UnixSocket>, Arc<File>); 2] {
    let names = Arc::default();
    let (a, b) = (socket(&names, kind), socket(&names, kind));
    a.0.make_pair(&b.0, &cred());
    [a, b]
}

fn send(s: &UnixSocket, data: &[u8]) -> Result<usize> {
    s.send_stream(&mut SliceSource(data), &[], ME)
}

fn send_with(s: &UnixSocket, data: &[u8], files: &[&Arc<File>]) -> Result<usize> {
    let control = [Control::Rights(
        files.iter().map(|f| Arc::clone(f)).collect(),
    )];
    s.send_stream(&mut SliceSource(data), &control, ME)
}

fn sendto(s: &UnixSocket, to: Option<&Arc<UnixSocket>>, data: &[u8]) -> Result<usize> {
    s.send_dgram(&mut SliceSource(data), to.cloned(), &[], ME)
}

fn recv_flags(s: &UnixSocket, n: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received)> {
    let mut sink = VecSink::new(n);
    let received = s.recvmsg(&mut sink, flags)?;
    Ok((sink.data, received))
}

fn recv(s: &UnixSocket, n: usize) -> Result<Vec<u8>> {
    recv_flags(s, n, MsgFlags::empty()).map(|r| r.0)
}

fn rights(received: &Received) -> usize {
    received
        .control
        .iter()
        .map(|c| {
            if let Control::Rights(f) = c {
                f.len()
            } else {
                0
            }
        })
        .sum()
}

#[test]
fn a_stream_has_no_message_boundaries() {
    let [(a, _fa), (b, _fb)] = pair(libc::SOCK_STREAM);
    assert_eq!(recv(&b, 10), Err(Errno::EAGAIN));
    send(&a, b"hello ").unwrap();
    send(&a, b"world").unwrap();
    assert_eq!(recv(&b, 8).unwrap(), b"hello wo");
    assert_eq!(recv_flags(&b, 8, MsgFlags::PEEK).unwrap().0, b"rld");
    assert_eq!(recv(&b, 8).unwrap(), b"rld");
}

#[test]
fn buffers_are_bounded_and_the_sender_hears_of_room() {
    let [(a, _fa), (b, _fb)] = pair(libc::SOCK_STREAM);
    let big = vec![1; 1 << 20];
    let sent = send(&a, &big).unwrap();
    assert!(sent > 150_000 && sent < 300_000, "{sent}");
    assert_eq!(send(&a, b"x"), Err(Errno::EAGAIN));
    assert!(!a.poll().contains(PollEvents::OUT));
    assert_eq!(recv(&b, 1 << 20).unwrap().len(), sent);
    assert_eq!(a.wmem.load(Ordering::SeqCst), 0);
    assert!(a.poll().contains(PollEvents::OUT));
}

#[test]
fn the_end_of_a_stream() {
    let [(a, fa), (b, _fb)] = pair(libc::SOCK_STREAM);
    send(&a, b"last").unwrap();
    drop(fa);
    assert_eq!(
        b.poll(),
        PollEvents::READABLE
            | PollEvents::RDHUP
            | PollEvents::HUP
            | PollEvents::WRITABLE
            | PollEvents::WRBAND
    );
    assert_eq!(send(&b, b"x"), Err(Errno::EPIPE));
    assert_eq!(recv(&b, 10).unwrap(), b"last");
    assert_eq!(recv(&b, 10).unwrap(), b"");
}

#[test]
fn unread_data_of_a_closed_socket_reset_its_peer() {
    let [(a, _fa), (b, fb)] = pair(libc::SOCK_STREAM);
    send(&a, b"unread").unwrap();
    drop(fb);
    assert_eq!(a.wmem.load(Ordering::SeqCst), 0);
    assert_eq!(recv(&a, 10), Err(Errno::ECONNRESET));
    assert_eq!(recv(&a, 10).unwrap(), b"");
    drop(b);
}

#[test]
fn halves_shut_down_one_by_one() {
    let [(a, _fa), (b, _fb)] = pair(libc::SOCK_STREAM);
    a.shutdown(Shutdown::Write).unwrap();
    assert_eq!(send(&a, b"x"), Err(Errno::EPIPE));
    assert_eq!(recv(&b, 1).unwrap(), b"");
    assert!(b.poll().contains(PollEvents::RDHUP | PollEvents::IN));
    assert!(!b.poll().contains(PollEvents::HUP));
    send(&b, b"back").unwrap();
    assert_eq!(recv(&a, 10).unwrap(), b"back");
}

#[test]
fn connections_wait_for_accept() {
    let names: Arc<Namespace> = Arc::default();
    let (l, _fl) = socket(&names, libc::SOCK_STREAM);
    let (c, _fc) = socket(&names, libc::SOCK_STREAM);
    assert_eq!(c.connect_stream(&l, cred()), Err(Errno::ECONNREFUSED));
    assert_eq!(l.start_listening(1, cred()), Err(Errno::EINVAL));
    l.bind_abstract(b"x"[..].into()).unwrap();
    l.start_listening(1, cred()).unwrap();
    assert_eq!(l.next_connection().err(), Some(Errno::EAGAIN));
    assert!(c.poll().contains(PollEvents::HUP | PollEvents::OUT));
    c.connect_stream(&l, cred()).unwrap();
    assert_eq!(c.connect_stream(&l, cred()), Err(Errno::EISCONN));
    assert_eq!(l.poll(), PollEvents::READABLE);
    // What is sent before accept(2) is there after it.
    send(&c, b"early").unwrap();
    let s = l.next_connection().unwrap();
    assert_eq!(recv(&s, 10).unwrap(), b"early");
    assert_eq!(s.name(), l.name());
    assert_eq!(c.peer_name().unwrap(), l.name().address());
    assert_eq!(s.peer_name().unwrap().len(), 2);
}

#[test]
fn a_full_backlog_is_eagain_and_tells_the_connector() {
    let names: Arc<Namespace> = Arc::default();
    let (l, fl) = socket(&names, libc::SOCK_STREAM);
    l.autobind().unwrap();
    l.start_listening(0, cred()).unwrap();
    let clients: Vec<_> = (0..2).map(|_| socket(&names, libc::SOCK_STREAM)).collect();
    clients[0].0.connect_stream(&l, cred()).unwrap();
    assert_eq!(clients[1].0.connect_stream(&l, cred()), Err(Errno::EAGAIN));
    assert_eq!(l.waiters.lock().len(), 1);
    l.next_connection().unwrap();
    assert!(l.waiters.lock().is_empty());
    clients[1].0.connect_stream(&l, cred()).unwrap();
    // The listener's end resets those it never accepted.
    drop(fl);
    assert_eq!(recv(&clients[1].0, 1), Err(Errno::ECONNRESET));
    let again = socket(&names, libc::SOCK_STREAM);
    assert_eq!(again.0.connect_stream(&l, cred()), Err(Errno::ECONNREFUSED));
}

#[test]
fn abstract_names_are_free_again_after_the_last_close() {
    let names: Arc<Namespace> = Arc::default();
    let (a, fa) = socket(&names, libc::SOCK_STREAM);
    let (b, _fb) = socket(&names, libc::SOCK_STREAM);
    let (d, _fd) = socket(&names, libc::SOCK_DGRAM);
    a.bind_abstract(b"n"[..].into()).unwrap();
    assert_eq!(b.bind_abstract(b"n"[..].into()), Err(Errno::EADDRINUSE));
    d.bind_abstract(b"n"[..].into()).unwrap();
    assert_eq!(a.bind_abstract(b"m"[..].into()), Err(Errno::EINVAL));
    drop(fa);
    b.bind_abstract(b"n"[..].into()).unwrap();
}

#[test]
fn datagrams_keep_their_bounds_and_their_sender() {
    let names: Arc<Namespace> = Arc::default();
    let (a, _fa) = socket(&names, libc::SOCK_DGRAM);
    let (b, _fb) = socket(&names, libc::SOCK_DGRAM);
    a.autobind().unwrap();
    assert_eq!(sendto(&a, None, b"x"), Err(Errno::ENOTCONN));
    sendto(&a, Some(&b), b"first").unwrap();
    sendto(&a, Some(&b), b"").unwrap();
    sendto(&a, Some(&b), b"third").unwrap();
    let (data, received) = recv_flags(&b, 3, MsgFlags::empty()).unwrap();
    assert_eq!(
        (data.as_slice(), received.flags, received.len),
        (&b"fir"[..], MsgFlags::TRUNC, 3)
    );
    assert_eq!(received.from, a.name().address());
    assert_eq!(recv(&b, 3).unwrap(), b"");
    let (_, received) = recv_flags(&b, 3, MsgFlags::TRUNC).unwrap();
    assert_eq!(received.len, 5);
}

#[test]
fn a_datagram_queue_is_bounded_for_strangers() {
    let names: Arc<Namespace> = Arc::default();
    let (a, _fa) = socket(&names, libc::SOCK_DGRAM);
    let (b, fb) = socket(&names, libc::SOCK_DGRAM);
    for _ in 0..=MAX_DGRAM_QLEN {
        sendto(&a, Some(&b), b"x").unwrap();
    }
    assert_eq!(sendto(&a, Some(&b), b"x"), Err(Errno::EAGAIN));
    a.connect_dgram(Some(b.clone())).unwrap();
    assert!(!a.poll().contains(PollEvents::OUT));
    recv(&b, 1).unwrap();
    assert!(a.poll().contains(PollEvents::OUT));
    // A socket with another peer takes nothing.
    let (c, _fc) = socket(&names, libc::SOCK_DGRAM);
    b.connect_dgram(Some(a.clone())).unwrap();
    assert_eq!(sendto(&c, Some(&b), b"x"), Err(Errno::EPERM));
    drop(fb);
    assert_eq!(sendto(&a, None, b"x"), Err(Errno::ECONNREFUSED));
    assert_eq!(sendto(&a, None, b"x"), Err(Errno::ENOTCONN));
}

#[test]
fn a_pair_of_datagram_sockets_is_bounded_by_bytes_alone() {
    let [(a, _fa), (b, _fb)] = pair(libc::SOCK_DGRAM);
    let mut n = 0;
    while sendto(&a, None, b"x").is_ok() {
        n += 1;
    }
    assert_eq!(n, 278);
    assert_eq!(sendto(&a, None, &vec![0; 300_000]), Err(Errno::EMSGSIZE));
    drop(b);
}

#[test]
fn seqpackets_end() {
    let [(a, fa), (b, _fb)] = pair(libc::SOCK_SEQPACKET);
    sendto(&a, None, b"one").unwrap();
    sendto(&a, None, b"two").unwrap();
    assert_eq!(recv(&b, 100).unwrap(), b"one");
    drop(fa);
    assert_eq!(recv(&b, 100).unwrap(), b"two");
    assert_eq!(recv(&b, 100).unwrap(), b"");
    assert_eq!(sendto(&b, None, b"x"), Err(Errno::EPIPE));
}

#[test]
fn files_come_with_the_bytes_they_were_sent_with() {
    let [(a, _fa), (b, _fb)] = pair(libc::SOCK_STREAM);
    let (r, w) = crate::event::pipe::Pipe::pair(0, 0, 0);
    send(&a, b"before").unwrap();
    send_with(&a, b"with", &[&r, &w]).unwrap();
    send(&a, b"after").unwrap();
    let (data, received) = recv_flags(&b, 100, MsgFlags::PEEK).unwrap();
    assert_eq!(
        (data.as_slice(), rights(&received)),
        (&b"beforewith"[..], 2)
    );
    drop(received);
    let (data, received) = recv_flags(&b, 100, MsgFlags::empty()).unwrap();
    assert_eq!(
        (data.as_slice(), rights(&received), received.boundary),
        (&b"beforewith"[..], 2, true)
    );
    assert_eq!(recv(&b, 100).unwrap(), b"after");
}

#[test]
fn what_a_receive_does_not_take_is_closed() {
    let [(a, _fa), (b, fb)] = pair(libc::SOCK_STREAM);
    let (r, w) = crate::event::pipe::Pipe::pair(0, 0, 0);
    send_with(&a, b"x", &[&w]).unwrap();
    drop(w);
    assert_eq!(r.ops.poll(&r), PollEvents::empty());
    drop(fb);
    drop(b);
    assert_eq!(r.ops.poll(&r), PollEvents::HUP);
}

#[test]
fn a_user_has_a_bounded_number_of_files_in_flight() {
    let [(a, _fa), (_b, _fb)] = pair(libc::SOCK_STREAM);
    let (r, _w) = crate::event::pipe::Pipe::pair(0, 0, 0);
    let poor = Sender {
        cred: Ucred {
            pid: 1,
            uid: 4242,
            gid: 0,
        },
        rights_limit: 3,
    };
    let control = [Control::Rights(vec![r; 4])];
    assert_eq!(a.send_stream(&mut SliceSource(b"x"), &control, poor), Ok(1));
    assert_eq!(
        a.send_stream(&mut SliceSource(b"x"), &control, poor),
        Err(Errno::ETOOMANYREFS)
    );
}

#[test]
fn unreachable_sockets_are_collected() {
    let (r, w) = crate::event::pipe::Pipe::pair(0, 0, 0);
    {
        let [(a, fa), (b, fb)] = pair(libc::SOCK_STREAM);
        send_with(&a, b"x", &[&fa, &w]).unwrap();
        send_with(&b, b"x", &[&fb]).unwrap();
    }
    drop(w);
    let [(c, _fc), (_d, fd)] = pair(libc::SOCK_STREAM);
    // Not these: one is open, the other is on its way to it.
    send_with(&c, b"x", &[&fd]).unwrap();
    assert_eq!(r.ops.poll(&r), PollEvents::empty());
    let collected = || rights::collect() != 0 || !r.ops.poll(&r).is_empty();
    assert!(reached(PATIENCE, collected), "it stays");
    assert_eq!(r.ops.poll(&r), PollEvents::HUP);
    assert_eq!(_d.rx.lock().len(), 1);
}

#[test]
fn a_long_chain_of_sockets_in_sockets_falls_without_recursion() {
    let [(mut a, _fa), (_, mut fb)] = pair(libc::SOCK_STREAM);
    let cred = Ucred {
        uid: 4243,
        ..ME.cred
    };
    let sender = Sender {
        cred,
        rights_limit: u64::MAX,
    };
    for _ in 0..20_000 {
        let [(c, _fc), (_, fd)] = pair(libc::SOCK_STREAM);
        let control = [Control::Rights(vec![std::mem::replace(&mut fb, fd)])];
        c.send_stream(&mut SliceSource(b"x"), &control, sender)
            .unwrap();
        a = c;
    }
    drop(fb);
    drop(a);
}

#[test]
fn credentials_come_where_they_are_wanted() {
    let [(a, _fa), (b, _fb)] = pair(libc::SOCK_STREAM);
    send(&a, b"x").unwrap();
    b.base.set(Flags::PASSCRED, true);
    send(&a, b"y").unwrap();
    // What was sent before anybody asked has no known sender, and isn't glued to what has.
    let (data, received) = recv_flags(&b, 10, MsgFlags::empty()).unwrap();
    assert_eq!(data, b"x");
    assert!(
        matches!(received.control.as_slice(), [Control::Credentials(c)] if *c == super::super::message::NOBODY)
    );
    let (_, received) = recv_flags(&b, 10, MsgFlags::empty()).unwrap();
    assert!(matches!(received.control.as_slice(), [Control::Credentials(c)] if *c == ME.cred));
}

#[test]
fn a_fault_on_the_way_out_loses_nothing_of_a_stream() {
    struct Faulty(usize);
    impl Sink for Faulty {
        fn remaining(&self) -> usize {
            100
        }
        fn write(&mut self, data: &[u8]) -> Result<usize> {
            if self.0 == 0 {
                Err(Errno::EFAULT)
            } else {
                Ok(self.0.min(data.len()))
            }
        }
    }
    let [(a, _fa), (b, _fb)] = pair(libc::SOCK_STREAM);
    send(&a, b"abc").unwrap();
    send(&a, b"def").unwrap();
    assert_eq!(
        b.recvmsg(&mut Faulty(0), MsgFlags::empty()).err(),
        Some(Errno::EFAULT)
    );
    assert_eq!(b.recvmsg(&mut Faulty(4), MsgFlags::empty()).unwrap().len, 4);
    assert_eq!(recv(&b, 10).unwrap(), b"ef");
}

#[test]
fn a_refused_datagram_does_not_wake_its_own_sender() {
    struct Count(AtomicUsize);
    impl crate::executor::Listener for Count {
        fn notify(&self, _: PollEvents) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst);
            true
        }
    }
    let names: Arc<Namespace> = Arc::default();
    let (a, _fa) = socket(&names, libc::SOCK_DGRAM);
    let (b, _fb) = socket(&names, libc::SOCK_DGRAM);
    while sendto(&a, Some(&b), b"x").is_ok() {}
    let count = Arc::new(Count(AtomicUsize::new(0)));
    a.base.queue.add(PollEvents::WRITABLE, false, count.clone());
    let charged = a.wmem.load(Ordering::SeqCst);
    assert_eq!(sendto(&a, Some(&b), b"x"), Err(Errno::EAGAIN));
    assert_eq!(
        (
            count.0.load(Ordering::SeqCst),
            a.wmem.load(Ordering::SeqCst)
        ),
        (0, charged)
    );
    recv(&b, 1).unwrap();
    assert!(count.0.load(Ordering::SeqCst) > 0);
}
