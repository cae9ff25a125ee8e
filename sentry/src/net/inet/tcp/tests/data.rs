//! What goes through a connection.

use super::*;

#[test]
fn bytes_go_both_ways() {
    let st = stack();
    let (c, s, l) = pair(&st);
    assert_eq!(s.peer_name().unwrap(), c.local_name().unwrap());
    assert_eq!(c.peer_name().unwrap(), l.local_name().unwrap());
    assert_eq!(s.local_name().unwrap(), l.local_name().unwrap());
    assert_eq!(recv(&s, 10), Err(Errno::EAGAIN));
    assert_eq!(s.readiness(), OUT);
    assert_eq!(send(&c, b"hello"), Ok(5));
    assert_eq!(send(&c, b" world"), Ok(6));
    assert_eq!(s.readiness(), IN | OUT);
    assert_eq!(s.count(libc::FIONREAD as u32), Ok(11));
    assert_eq!(recv_flags(&s, 4, MsgFlags::PEEK).unwrap().0, b"hell");
    assert_eq!(recv(&s, 7).unwrap(), b"hello w");
    assert_eq!(recv(&s, 100).unwrap(), b"orld");
    assert_eq!(send(&s, b"back"), Ok(4));
    assert_eq!(recv(&c, 2).unwrap(), b"ba");
    assert_eq!(recv_flags(&c, 100, MsgFlags::TRUNC).unwrap().1.len, 2);
    assert_eq!(recv(&c, 1), Err(Errno::EAGAIN));
    assert_eq!(st.queued(), 0);
}

#[test]
fn buffers_are_bounded_and_room_is_told() {
    let st = stack();
    let (c, s, _l) = pair(&st);
    assert_eq!(c.base().sndbuf(), SNDBUF_CONNECTED as usize);
    let block = vec![7u8; 100_000];
    let mut sent = 0;
    loop {
        match send(&c, &block) {
            Ok(n) => sent += n,
            Err(e) => {
                assert_eq!(e, Errno::EAGAIN);
                break;
            }
        }
    }
    assert_eq!(sent, (SNDBUF_CONNECTED + RCVBUF_DEFAULT / 2) as usize);
    assert_eq!(st.queued(), sent);
    assert_eq!(c.readiness(), PollEvents::empty());
    assert_eq!(c.count(libc::TIOCOUTQ as u32), Ok(SNDBUF_CONNECTED as i32));
    assert_eq!(send(&c, b"x"), Err(Errno::EAGAIN));
    // A FIN behind it isn't seen before the data.
    c.shut(Shutdown::Write).unwrap();
    assert_eq!(s.readiness(), IN | OUT);
    let mut got = 0;
    while got < sent {
        let n = recv(&s, 300_000).unwrap().len();
        assert!(n > 0);
        got += n;
    }
    assert_eq!(recv(&s, 1).unwrap(), b"");
    assert_eq!(st.queued(), 0);
}

#[test]
fn writability_comes_back_with_a_third_of_the_buffer() {
    let (c, s, _l) = pair(&stack());
    while send(&c, &[1; 65536]).is_ok() {}
    let heard = Arc::new(Heard::default());
    let id = c.base().queue.add(PollEvents::OUT, false, heard.clone());
    assert_eq!(recv(&s, 500_000).unwrap().len(), 500_000);
    assert_eq!(c.readiness(), PollEvents::empty());
    assert!(!heard.0.load(Ordering::SeqCst));
    assert_eq!(recv(&s, 500_000).unwrap().len(), 500_000);
    assert!(heard.0.load(Ordering::SeqCst));
    assert_eq!(c.readiness(), OUT);
    c.base().queue.remove(id);
}

#[derive(Default)]
struct Heard(std::sync::atomic::AtomicBool);

impl crate::executor::Listener for Heard {
    fn notify(&self, events: PollEvents) -> bool {
        self.0
            .fetch_or(events.intersects(PollEvents::OUT), Ordering::SeqCst);
        true
    }
}

#[test]
fn a_source_that_faults_sends_what_it_gave() {
    struct Bad(usize);
    impl Source for Bad {
        fn remaining(&self) -> usize {
            10_000
        }
        fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
            let n = self.0.min(buf.len());
            self.0 -= n;
            if n == 0 { Err(Errno::EFAULT) } else { Ok(n) }
        }
        fn peek(&mut self, _: &mut [u8]) -> Result<usize> {
            Err(Errno::EFAULT)
        }
        fn advance(&mut self, _: usize) {}
    }
    let st = stack();
    let (c, s, _l) = pair(&st);
    assert_eq!(
        c.send(&mut Bad(0), None, MsgFlags::empty()),
        Err(Errno::EFAULT)
    );
    assert_eq!(c.send(&mut Bad(5000), None, MsgFlags::empty()), Ok(5000));
    assert_eq!(recv(&s, 10_000).unwrap().len(), 5000);
    // The room that was set aside came back.
    c.shut(Shutdown::Write).unwrap();
    assert_eq!(recv(&s, 1).unwrap(), b"");
}

#[test]
fn a_sink_that_faults_loses_nothing() {
    struct Bad(usize);
    impl crate::user::Sink for Bad {
        fn remaining(&self) -> usize {
            100_000
        }
        fn write(&mut self, data: &[u8]) -> Result<usize> {
            let n = self.0.min(data.len());
            self.0 -= n;
            if n == 0 { Err(Errno::EFAULT) } else { Ok(n) }
        }
    }
    let st = stack();
    let (c, s, _l) = pair(&st);
    let data: Vec<u8> = (0..90_000).map(|i| (i % 251) as u8).collect();
    assert_eq!(send(&c, &data), Ok(90_000));
    assert_eq!(
        s.recv(&mut Bad(0), MsgFlags::empty()).err(),
        Some(Errno::EFAULT)
    );
    assert_eq!(
        s.recv(&mut Bad(70_000), MsgFlags::empty()).unwrap().len,
        70_000
    );
    assert_eq!(recv(&s, 90_000).unwrap(), data[70_000..]);
    assert_eq!(st.queued(), 0);
}

#[test]
fn urgent_data() {
    let (c, s, _l) = pair(&stack());
    let oob = |data: &[u8]| c.send(&mut SliceSource(data), None, MsgFlags::OOB).unwrap();
    assert_eq!(recv_flags(&s, 1, MsgFlags::OOB).err(), Some(Errno::EINVAL));
    send(&c, b"ab").unwrap();
    oob(b"c!");
    send(&c, b"de").unwrap();
    assert_eq!(s.readiness(), IN | OUT | PollEvents::PRI);
    assert_eq!(s.count(libc::FIONREAD as u32), Ok(3));
    // The mark splits reads, and its byte isn't in the stream.
    assert_eq!(recv(&s, 10).unwrap(), b"abc");
    assert_eq!(s.count(0x8905), Ok(1));
    let (byte, received) = recv_flags(&s, 1, MsgFlags::OOB).unwrap();
    assert_eq!(
        (byte.as_slice(), received.flags),
        (&b"!"[..], MsgFlags::OOB)
    );
    assert_eq!(s.readiness(), IN | OUT);
    assert_eq!(recv_flags(&s, 1, MsgFlags::OOB).err(), Some(Errno::EINVAL));
    assert_eq!(recv(&s, 10).unwrap(), b"de");
    assert_eq!(s.count(0x8905), Ok(0));
    // Inline it is data like others.
    s.base().set(Flags::OOBINLINE, true);
    oob(b"xyz");
    assert_eq!(recv(&s, 10).unwrap(), b"xy");
    assert_eq!(recv(&s, 10).unwrap(), b"z");
}

#[test]
fn a_lone_urgent_byte_is_not_readable_as_data() {
    let (c, s, _l) = pair(&stack());
    let urgent = || c.send(&mut SliceSource(b"!"), None, MsgFlags::OOB).unwrap();
    urgent();
    assert_eq!(s.readiness(), OUT | PollEvents::PRI);
    send(&c, b"x").unwrap();
    assert_eq!(s.readiness(), IN | OUT | PollEvents::PRI);
    assert_eq!(recv_flags(&s, 9, MsgFlags::PEEK).unwrap().0, b"x");
    assert_eq!(recv(&s, 9).unwrap(), b"x");
    // A reader passes the mark even where nothing follows it, and the byte is gone.
    urgent();
    assert_eq!(recv(&s, 1), Err(Errno::EAGAIN));
    assert_eq!(s.readiness(), OUT);
    send(&c, b"y").unwrap();
    assert_eq!(recv(&s, 9).unwrap(), b"y");
    assert_eq!(recv_flags(&s, 1, MsgFlags::OOB).err(), Some(Errno::EINVAL));
}

#[test]
fn threads_stream_through_a_connection() {
    within(PATIENCE, "a stream of 20 MiB", stream_by_threads);
}

fn stream_by_threads() {
    let (c, s, _l) = pair(&stack());
    let total = 20 << 20;
    let writer = std::thread::spawn(move || {
        let block: Vec<u8> = (0..60_000u32).map(|i| (i % 253) as u8).collect();
        let mut sent = 0;
        while sent < total {
            let at = sent % block.len();
            let want = (block.len() - at).min(1 + sent % 50_000).min(total - sent);
            match send(&c, &block[at..at + want]) {
                Ok(n) => sent += n,
                Err(Errno::EAGAIN) => std::thread::yield_now(),
                Err(e) => panic!("{e:?}"),
            }
        }
        c.release();
    });
    let mut got = 0usize;
    loop {
        match recv(&s, 1 + got % 90_000) {
            Ok(data) if data.is_empty() => break,
            Ok(data) => {
                assert!(
                    data.iter()
                        .enumerate()
                        .all(|(i, &b)| b == ((got + i) % 60_000 % 253) as u8)
                );
                got += data.len();
            }
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            Err(e) => panic!("{e:?}"),
        }
    }
    writer.join().unwrap();
    assert_eq!(got, total);
}
