//! POSIX message queues.

use syscall_tests::cases;
use syscall_tests::prelude::*;

/// A queue with a name of this process's own, that goes when it is dropped.
struct Queue {
    fd: i32,
    name: std::ffi::CString,
}

/// flags, maxmsg, msgsize, curmsgs, reserved.
fn attr(max: i64, size: i64) -> [i64; 8] {
    [0, max, size, 0, 0, 0, 0, 0]
}

fn own_name(tag: &str) -> std::ffi::CString {
    cpath(&format!("syscall-guest-{tag}-{}", getpid()))
}

fn open_queue(name: &std::ffi::CStr, flags: i32, attr: &[i64; 8]) -> Sys<i32> {
    sys!(SYS_mq_open, name, flags, 0o600, attr).map(|fd| fd as i32)
}

impl Queue {
    fn new(max: i64, size: i64) -> Self {
        let name = own_name("q");
        let made = open_queue(&name, O_CREAT | O_EXCL | O_RDWR, &attr(max, size));
        if made == Err(ENOSYS) {
            skip!("no POSIX message queues");
        }
        Self {
            fd: must!(made),
            name,
        }
    }
    fn send(&self, text: &[u8], prio: u32) -> Sys {
        sys!(
            SYS_mq_timedsend,
            self.fd,
            text.as_ptr(),
            text.len(),
            prio,
            0
        )
    }
    fn receive(&self) -> Sys<(Vec<u8>, u32)> {
        let mut buf = vec![0u8; 64];
        let mut prio = 99u32;
        let n = sys!(
            SYS_mq_timedreceive,
            self.fd,
            buf.as_mut_ptr(),
            64,
            &mut prio,
            0
        )?;
        buf.truncate(n as usize);
        Ok((buf, prio))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = sys!(SYS_mq_unlink, &*self.name);
    }
}

fn highest_priority_then_oldest() {
    let q = Queue::new(8, 64);
    for (text, prio) in [("a", 1), ("b", 5), ("c", 1), ("d", 5), ("", 0)] {
        must!(q.send(text.as_bytes(), prio));
    }
    let got: Vec<_> = (0..5).map(|_| must!(q.receive())).collect();
    let want = [("b", 5), ("d", 5), ("a", 1), ("c", 1), ("", 0)];
    for ((text, prio), (t, p)) in got.iter().zip(want) {
        check_eq!((&text[..], *prio), (t.as_bytes(), p));
    }
}

fn errors() {
    let q = Queue::new(2, 64);
    expect_errno!(q.send(&[0; 65], 0), EMSGSIZE);
    expect_errno!(q.send(b"x", 32768), EINVAL);
    let mut small = [0u8; 8];
    expect_errno!(
        sys!(SYS_mq_timedreceive, q.fd, &mut small, 8, 0, 0),
        EMSGSIZE
    );
    let (r, _) = must!(pipe());
    expect_errno!(sys!(SYS_mq_timedsend, r, &small, 1, 0, 0), EBADF);
    expect_errno!(sys!(SYS_mq_timedsend, -1, &small, 1, 0, 0), EBADF);
    expect_errno!(
        open_queue(&q.name, O_CREAT | O_EXCL | O_RDWR, &attr(1, 1)),
        EEXIST
    );
    expect_errno!(open_queue(c"no-such-queue", O_RDWR, &attr(1, 1)), ENOENT);
    expect_errno!(open_queue(c"a/b", O_RDWR | O_CREAT, &attr(1, 1)), EACCES);
    expect_errno!(open_queue(c"", O_RDWR | O_CREAT, &attr(1, 1)), ENOENT);
    expect_errno!(
        open_queue(&own_name("bad"), O_RDWR | O_CREAT, &attr(0, 1)),
        EINVAL
    );
    expect_errno!(
        open_queue(&own_name("bad"), O_RDWR | O_CREAT, &attr(1, -1)),
        EINVAL
    );
    let read_only = must!(open_queue(&q.name, O_RDONLY, &attr(1, 1)));
    expect_errno!(sys!(SYS_mq_timedsend, read_only, &small, 1, 0, 0), EBADF);
    let write_only = must!(open_queue(&q.name, O_WRONLY, &attr(1, 1)));
    let mut buf = [0u8; 64];
    expect_errno!(
        sys!(SYS_mq_timedreceive, write_only, &mut buf, 64, 0, 0),
        EBADF
    );
    check_eq!(must!(fcntl(q.fd, F_GETFD, 0)), i64::from(FD_CLOEXEC));
}

fn full_and_empty_block_or_are_eagain() {
    let q = Queue::new(1, 64);
    let nonblock = must!(open_queue(&q.name, O_RDWR | O_NONBLOCK, &attr(1, 1)));
    let mut buf = [0u8; 64];
    expect_errno!(
        sys!(SYS_mq_timedreceive, nonblock, &mut buf, 64, 0, 0),
        EAGAIN
    );
    check_eq!(ready(q.fd, POLLIN | POLLOUT), POLLOUT);
    let pid = child(|| {
        check_eq!(q.receive(), Ok((b"one".to_vec(), 3)));
        0
    });
    wait_asleep(pid);
    must!(q.send(b"one", 3));
    wait_ok(pid);
    must!(q.send(b"two", 0));
    check_eq!(ready(q.fd, POLLIN | POLLOUT), POLLIN);
    expect_errno!(sys!(SYS_mq_timedsend, nonblock, &buf, 1, 0, 0), EAGAIN);
    let pid = child(|| {
        must!(q.send(b"three", 0));
        0
    });
    wait_asleep(pid);
    check_eq!(q.receive(), Ok((b"two".to_vec(), 0)));
    wait_ok(pid);
    check_eq!(q.receive(), Ok((b"three".to_vec(), 0)));
}

fn time_out_is_absolute() {
    let q = Queue::new(1, 64);
    let mut buf = [0u8; 64];
    let past = timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    expect_errno!(
        sys!(SYS_mq_timedreceive, q.fd, &mut buf, 64, 0, &past),
        ETIMEDOUT
    );
    let bad_time = timespec {
        tv_sec: 1,
        tv_nsec: 1_000_000_000,
    };
    expect_errno!(
        sys!(SYS_mq_timedreceive, q.fd, &mut buf, 64, 0, &bad_time),
        EINVAL
    );
    let now = clock(CLOCK_REALTIME) + 10_000_000;
    let soon = timespec {
        tv_sec: now / 1_000_000_000,
        tv_nsec: now % 1_000_000_000,
    };
    expect_errno!(
        sys!(SYS_mq_timedreceive, q.fd, &mut buf, 64, 0, &soon),
        ETIMEDOUT
    );
}

fn attributes() {
    let q = Queue::new(3, 64);
    must!(q.send(b"x", 0));
    let mut now = [0i64; 8];
    must!(sys!(SYS_mq_getsetattr, q.fd, 0, &mut now));
    check_eq!(&now[..4], [0, 3, 64, 1]);
    let nonblock = [i64::from(O_NONBLOCK), 9, 9, 9, 0, 0, 0, 0];
    must!(sys!(SYS_mq_getsetattr, q.fd, &nonblock, 0));
    must!(sys!(SYS_mq_getsetattr, q.fd, 0, &mut now));
    check_eq!(&now[..4], [i64::from(O_NONBLOCK), 3, 64, 1]);
    expect_errno!(
        sys!(SYS_mq_getsetattr, q.fd, &attr(1, 1).map(|_| 1), 0),
        EINVAL
    );
}

fn notification_comes_once_for_an_empty_queue() {
    let q = Queue::new(4, 64);
    record_on(SIGUSR1);
    // struct sigevent: value, signo, notify.
    let event = |signo: i32, notify: i32| {
        let mut words = [0u64; 8];
        words[0] = 77;
        words[1] = u64::from(signo.cast_unsigned()) | u64::from(notify.cast_unsigned()) << 32;
        words
    };
    must!(sys!(SYS_mq_notify, q.fd, &event(SIGUSR1, SIGEV_SIGNAL)));
    expect_errno!(
        sys!(SYS_mq_notify, q.fd, &event(SIGUSR1, SIGEV_SIGNAL)),
        EBUSY
    );
    in_child(|| {
        expect_errno!(
            sys!(SYS_mq_notify, q.fd, &event(SIGUSR1, SIGEV_SIGNAL)),
            EBUSY
        )
    });
    must!(q.send(b"1", 0));
    wait_until("signal", || seen() == 1);
    check_eq!(
        LAST_CODE.load(std::sync::atomic::Ordering::SeqCst),
        SI_MESGQ
    );
    must!(q.send(b"2", 0));
    must!(q.receive());
    must!(q.receive());
    must!(q.send(b"3", 0));
    sleep_ms(5);
    check_eq!(seen(), 1);
    must!(q.receive());
    // Taken back.
    must!(sys!(SYS_mq_notify, q.fd, &event(SIGUSR1, SIGEV_SIGNAL)));
    must!(sys!(SYS_mq_notify, q.fd, 0));
    must!(q.send(b"4", 0));
    sleep_ms(5);
    check_eq!(seen(), 1);
    expect_errno!(sys!(SYS_mq_notify, q.fd, &event(99, SIGEV_SIGNAL)), EINVAL);
    expect_errno!(sys!(SYS_mq_notify, q.fd, &event(SIGUSR1, 55)), EINVAL);
    expect_errno!(
        sys!(SYS_mq_notify, 99, &event(SIGUSR1, SIGEV_SIGNAL)),
        EBADF
    );
}

fn unlinked_queue_lives_while_it_is_open() {
    let q = Queue::new(1, 64);
    must!(sys!(SYS_mq_unlink, &*q.name));
    expect_errno!(open_queue(&q.name, O_RDWR, &attr(1, 1)), ENOENT);
    expect_errno!(sys!(SYS_mq_unlink, &*q.name), ENOENT);
    must!(q.send(b"x", 0));
    check_eq!(q.receive(), Ok((b"x".to_vec(), 0)));
}

fn names_are_files() {
    need_root();
    let q = Queue::new(2, 64);
    tmp();
    must!(mkdir(c"m", 0o755));
    in_child(|| {
        if sys!(SYS_unshare, CLONE_NEWNS).is_err() {
            return;
        }
        must!(sys!(SYS_mount, c"none", c"/", 0, MS_REC | MS_PRIVATE, 0));
        must!(sys!(SYS_mount, c"none", c"m", c"mqueue", 0, 0));
        let path = cpath(&format!("m/{}", q.name.to_string_lossy()));
        must!(q.send(b"12345", 0));
        let st = must!(stat(&path));
        check_eq!((st.st_mode, st.st_size), (S_IFREG | 0o600, 80));
        let text = must!(read_file(&path));
        check!(String::from_utf8_lossy(&text).starts_with("QSIZE:5 "));
        expect_errno!(mkdir(c"m/d", 0o755), EPERM);
        let made = must!(open(&cpath("m/made-here"), O_CREAT | O_RDWR, 0o600));
        check_eq!(sys!(SYS_mq_timedsend, made, b"x".as_ptr(), 1, 0, 0), Ok(0));
        must!(unlink(c"m/made-here"));
        must!(unlink(&path));
        expect_errno!(open_queue(&q.name, O_RDWR, &attr(1, 1)), ENOENT);
    });
}

fn modes_are_checked() {
    need_root();
    let q = Queue::new(2, 64);
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(open_queue(&q.name, O_RDONLY, &attr(1, 1)), EACCES);
        expect_errno!(sys!(SYS_mq_unlink, &*q.name), EPERM);
        // More than the usual limits need a capability.
        expect_errno!(
            open_queue(&own_name("big"), O_RDWR | O_CREAT, &attr(11, 64)),
            EINVAL
        );
        expect_errno!(
            open_queue(&own_name("big"), O_RDWR | O_CREAT, &attr(1, 8193)),
            EINVAL
        );
    });
}

fn receive_restarts() {
    let q = Queue::new(1, 64);
    for (flags, want) in [(SA_RESTART, 0), (0, EINTR)] {
        handle(SIGALRM, record, flags);
        let pid = child(|| q.receive().map_or_else(|e| e, |_| 0));
        wait_asleep(pid);
        must!(kill(pid, SIGALRM));
        if want == 0 {
            sleep_ms(10);
            wait_asleep(pid);
            must!(q.send(b"x", 0));
        }
        check_eq!(wait_exit(pid), want);
    }
}

cases![
    highest_priority_then_oldest,
    errors,
    full_and_empty_block_or_are_eagain,
    time_out_is_absolute,
    attributes,
    receive_restarts,
    notification_comes_once_for_an_empty_queue,
    unlinked_queue_lives_while_it_is_open,
    names_are_files,
    modes_are_checked,
];
