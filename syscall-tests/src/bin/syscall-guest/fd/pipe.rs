//! pipe(2), pipe(7).

use std::sync::atomic::Ordering::SeqCst;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn nonblocking() -> (i32, i32) {
    must!(pipe2(O_NONBLOCK))
}
/// Fills a pipe whose write end does not block; the number of bytes.
fn fill(w: i32) -> usize {
    let mut total = 0;
    loop {
        match write(w, &[b'f'; 4096]) {
            Ok(n) => total += n,
            Err(EAGAIN) => return total,
            Err(e) => fail!("fill: {}", errno_name(e)),
        }
    }
}

fn bytes_arrive_in_order() {
    let (r, w) = must!(pipe());
    must!(write(w, b"abc"));
    must!(write(w, b"def"));
    check_eq!(read_vec(r, 4), Ok(b"abcd".to_vec()));
    check_eq!(read_vec(r, 100), Ok(b"ef".to_vec()));
}

fn flags() {
    let (r, w) = must!(pipe2(O_CLOEXEC | O_NONBLOCK));
    for fd in [r, w] {
        check_eq!(fcntl(fd, F_GETFD, 0), Ok(1));
        check_eq!(must!(fcntl(fd, F_GETFL, 0)) as i32 & O_NONBLOCK, O_NONBLOCK);
    }
    check_eq!(must!(fcntl(r, F_GETFL, 0)) as i32 & O_ACCMODE, O_RDONLY);
    check_eq!(must!(fcntl(w, F_GETFL, 0)) as i32 & O_ACCMODE, O_WRONLY);
    expect_errno!(pipe2(O_APPEND), EINVAL);
}

fn bad_pointer_is_efault_and_leaks_nothing() {
    let before = must!(open(c"/dev/null", O_RDONLY, 0));
    expect_errno!(sys!(SYS_pipe, bad::<u8>()), EFAULT);
    expect_errno!(sys!(SYS_pipe2, bad::<u8>(), 0), EFAULT);
    check_eq!(dup(before), Ok(before + 1));
}

fn empty_nonblocking_is_eagain() {
    let (r, _w) = nonblocking();
    expect_errno!(read_vec(r, 1), EAGAIN);
    check_eq!(read_vec(r, 0), Ok(vec![]));
}

fn no_writer_is_end_of_file() {
    let (r, w) = must!(pipe());
    must!(write(w, b"x"));
    must!(close(w));
    check_eq!(read_vec(r, 10), Ok(b"x".to_vec()));
    check_eq!(read_vec(r, 10), Ok(vec![]));
}

fn no_reader_is_epipe_and_sigpipe() {
    let (r, w) = must!(pipe());
    must!(close(r));
    record_on(SIGPIPE);
    expect_errno!(write(w, b"x"), EPIPE);
    check_eq!((seen(), LAST_SIGNAL.load(SeqCst)), (1, SIGPIPE));
    check_eq!(write(w, b""), Ok(0));
    check_eq!(seen(), 1);
}

fn sigpipe_kills_by_default() {
    let (r, w) = must!(pipe());
    must!(close(r));
    expect_killed(SIGPIPE, || {
        let _ = write(w, b"x");
    });
}

fn sigpipe_ignored_is_just_epipe() {
    let (r, w) = must!(pipe());
    must!(close(r));
    disposition(SIGPIPE, SIG_IGN);
    expect_errno!(write(w, b"x"), EPIPE);
}

fn wrong_end_is_ebadf() {
    let (r, w) = must!(pipe());
    expect_errno!(read_vec(w, 1), EBADF);
    expect_errno!(write(r, b"x"), EBADF);
}

fn capacity_is_64_kib() {
    let (_r, w) = nonblocking();
    check_eq!(fill(w), 65536);
    expect_errno!(write(w, b"x"), EAGAIN);
}

fn small_write_is_all_or_nothing() {
    let (r, w) = nonblocking();
    check_eq!(fill(w), 65536);
    // Free one page; a write of up to PIPE_BUF fits or waits as a whole.
    check_eq!(read_vec(r, 4096).map(|v| v.len()), Ok(4096));
    must!(write(w, &[0; 4000]));
    expect_errno!(write(w, &[0; 4096]), EAGAIN);
}

fn large_nonblocking_write_is_partial() {
    let (_r, w) = nonblocking();
    check_eq!(write(w, &vec![0; 100_000]), Ok(65536));
}

fn blocking_write_completes_as_reader_drains() {
    let (r, w) = must!(pipe());
    let pid = child(|| {
        let _ = close(r);
        check_eq!(write(w, &vec![7; 300_000]), Ok(300_000));
        0
    });
    must!(close(w));
    let all = must!(read_all(r));
    check_eq!(all.len(), 300_000);
    wait_ok(pid);
}

fn blocked_write_interrupted_gives_partial() {
    let (r, w) = must!(pipe());
    let pid = child(|| {
        record_on(SIGUSR1);
        check_eq!(write(w, &vec![0; 100_000]), Ok(65536));
        0
    });
    wait_until("pipe full", || {
        let mut n = 0i32;
        ioctl(r, FIONREAD, &mut n).is_ok() && n == 65536
    });
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    wait_ok(pid);
}

fn blocked_read_interrupted_is_eintr() {
    let (r, _w) = must!(pipe());
    let gate = Gate::new();
    let pid = child(|| {
        record_on(SIGUSR1);
        gate.open();
        expect_errno!(read_vec(r, 1), EINTR);
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    wait_ok(pid);
}

fn blocked_read_restarts_with_sa_restart() {
    let (r, w) = must!(pipe());
    let gate = Gate::new();
    let pid = child(|| {
        handle(SIGUSR1, record, SA_RESTART);
        gate.open();
        check_eq!(read_vec(r, 1), Ok(b"x".to_vec()));
        check_eq!(seen(), 1);
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    sleep_ms(20);
    must!(write(w, b"x"));
    wait_ok(pid);
}

fn blocked_reader_wakes_at_close_of_last_writer() {
    let (r, w) = must!(pipe());
    let pid = child(|| {
        let _ = close(w);
        check_eq!(read_vec(r, 1), Ok(vec![]));
        0
    });
    wait_asleep(pid);
    must!(close(w));
    wait_ok(pid);
}

fn blocked_writer_gets_sigpipe_when_reader_goes() {
    let (r, w) = must!(pipe());
    let pid = child(|| {
        let _ = close(r);
        let _ = write(w, &vec![0; 100_000]);
        let _ = write(w, &vec![0; 100_000]);
        0
    });
    must!(close(w));
    wait_asleep(pid);
    must!(close(r));
    wait_killed(pid, SIGPIPE);
}

fn atomic_writes_do_not_interleave() {
    let (r, w) = must!(pipe());
    let pids: Vec<i32> = (0..3u8)
        .map(|i| {
            child(move || {
                let _ = close(r);
                for _ in 0..100 {
                    check_eq!(write(w, &[i; 3000]), Ok(3000));
                }
                0
            })
        })
        .collect();
    must!(close(w));
    let all = must!(read_all(r));
    check_eq!(all.len(), 900_000);
    for record in all.chunks(3000) {
        check!(record.iter().all(|b| *b == record[0]));
    }
    pids.into_iter().for_each(wait_ok);
}

fn fionread_counts_bytes() {
    let (r, w) = must!(pipe());
    let mut n = -1i32;
    must!(ioctl(r, FIONREAD, &mut n));
    check_eq!(n, 0);
    must!(write(w, b"abcde"));
    must!(ioctl(w, FIONREAD, &mut n));
    check_eq!(n, 5);
}

fn packet_mode_keeps_boundaries() {
    let (r, w) = must!(pipe2(O_DIRECT));
    must!(write(w, b"abc"));
    must!(write(w, b"defgh"));
    check_eq!(read_vec(r, 100), Ok(b"abc".to_vec()));
    check_eq!(read_vec(r, 2), Ok(b"de".to_vec()));
    must!(write(w, b"X"));
    check_eq!(read_vec(r, 10), Ok(b"X".to_vec()));
}

fn write_from_bad_address_is_efault() {
    let (r, w) = nonblocking();
    expect_errno!(sys!(SYS_write, w, bad::<u8>(), 5), EFAULT);
    expect_errno!(read_vec(r, 5), EAGAIN);
}

fn read_into_bad_address_keeps_data() {
    let (r, w) = must!(pipe());
    must!(write(w, b"abc"));
    expect_errno!(sys!(SYS_read, r, bad::<u8>(), 3), EFAULT);
    check_eq!(read_vec(r, 10), Ok(b"abc".to_vec()));
}

fn proc_fd_name_and_reopen() {
    let (r, w) = must!(pipe());
    let name = String::from_utf8_lossy(&must!(readlink(&cpath(&format!("/proc/self/fd/{r}")))))
        .into_owned();
    check_eq!(name, format!("pipe:[{}]", must!(fstat(w)).st_ino));
    let again = must!(open(&cpath(&format!("/proc/self/fd/{w}")), O_WRONLY, 0));
    must!(write(again, b"via proc"));
    check_eq!(read_vec(r, 100), Ok(b"via proc".to_vec()));
}

fn poll_states() {
    let (r, w) = nonblocking();
    check_eq!(ready(r, POLLIN), 0);
    check_eq!(ready(w, POLLOUT), POLLOUT);
    must!(write(w, b"x"));
    check_eq!(ready(r, POLLIN | POLLOUT), POLLIN);
    fill(w);
    check_eq!(ready(w, POLLOUT), 0);
    must!(close(w));
    check_eq!(ready(r, POLLIN), POLLIN | POLLHUP);
    must!(read_all(r));
    check_eq!(ready(r, POLLIN), POLLHUP);
    let (r, w) = nonblocking();
    must!(close(r));
    check_eq!(ready(w, POLLOUT), POLLOUT | POLLERR);
}

cases![
    bytes_arrive_in_order,
    flags,
    bad_pointer_is_efault_and_leaks_nothing,
    empty_nonblocking_is_eagain,
    no_writer_is_end_of_file,
    no_reader_is_epipe_and_sigpipe,
    sigpipe_kills_by_default,
    sigpipe_ignored_is_just_epipe,
    wrong_end_is_ebadf,
    capacity_is_64_kib,
    small_write_is_all_or_nothing,
    large_nonblocking_write_is_partial,
    blocking_write_completes_as_reader_drains,
    blocked_write_interrupted_gives_partial,
    blocked_read_interrupted_is_eintr,
    blocked_read_restarts_with_sa_restart,
    blocked_reader_wakes_at_close_of_last_writer,
    blocked_writer_gets_sigpipe_when_reader_goes,
    atomic_writes_do_not_interleave,
    fionread_counts_bytes,
    packet_mode_keeps_boundaries,
    write_from_bad_address_is_efault,
    read_into_bad_address_keeps_data,
    proc_fd_name_and_reopen,
    poll_states,
];
