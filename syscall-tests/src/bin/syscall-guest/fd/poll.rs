//! poll(2), ppoll(2), select(2), pselect6(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn poll(fds: &mut [pollfd], timeout: i32) -> Sys {
    let n = fds.len();
    sys!(SYS_poll, fds, n, timeout)
}
fn pfd(fd: i32, events: i16) -> pollfd {
    pollfd {
        fd,
        events,
        revents: 0x7fff,
    }
}
fn select(n: i32, r: impl Arg, w: impl Arg, e: impl Arg, timeout: impl Arg) -> Sys {
    sys!(SYS_select, n, r, w, e, timeout)
}
type Set = [u64; 16];
fn set(fds: &[i32]) -> Set {
    let mut s = [0; 16];
    for fd in fds {
        s[*fd as usize / 64] |= 1 << (fd % 64);
    }
    s
}

fn counts_ready_descriptors() {
    let (r, w) = must!(pipe());
    let mut fds = [pfd(r, POLLIN), pfd(w, POLLOUT), pfd(-1, POLLIN)];
    check_eq!(poll(&mut fds, 0), Ok(1));
    check_eq!(fds.map(|f| f.revents), [0, POLLOUT, 0]);
    must!(write(w, b"x"));
    check_eq!(poll(&mut fds, -1), Ok(2));
    check_eq!(fds[0].revents, POLLIN);
}

fn closed_descriptor_is_pollnval() {
    let mut fds = [pfd(150, POLLIN)];
    check_eq!(poll(&mut fds, 1000), Ok(1));
    check_eq!(fds[0].revents, POLLNVAL);
}

fn negative_descriptor_is_ignored() {
    let mut fds = [pfd(-5, POLLIN)];
    check_eq!(poll(&mut fds, 0), Ok(0));
    check_eq!(fds[0].revents, 0);
}

fn regular_file_is_always_ready() {
    tmp();
    let fd = must!(open(c"f", O_CREAT | O_RDWR, 0o644));
    let mut fds = [pfd(fd, POLLIN | POLLOUT | POLLPRI)];
    check_eq!(poll(&mut fds, 0), Ok(1));
    check_eq!(fds[0].revents, POLLIN | POLLOUT);
}

fn timeout_expires() {
    let (r, _w) = must!(pipe());
    let start = now_ms();
    let mut fds = [pfd(r, POLLIN)];
    check_eq!(poll(&mut fds, 30), Ok(0));
    check!(now_ms() - start >= 29);
}

fn no_descriptors_just_sleeps() {
    let start = now_ms();
    check_eq!(sys!(SYS_poll, 0, 0, 20), Ok(0));
    check!(now_ms() - start >= 19);
}

fn bad_pointer_is_efault() {
    expect_errno!(sys!(SYS_poll, bad::<u8>(), 1, 0), EFAULT);
}

fn results_that_stay_the_same_are_told_again() {
    let (r, w) = must!(pipe());
    let mut fds = [pfd(r, POLLIN), pfd(w, POLLOUT), pfd(r, POLLIN)];
    for turn in 0..20 {
        let full = turn % 4 < 2;
        if turn % 4 == 0 {
            must!(write(w, b"x"));
        } else if turn % 4 == 2 {
            must!(read(r, &mut [0]));
        }
        check_eq!(poll(&mut fds, 0), Ok(if full { 3 } else { 1 }));
        let own = if full { POLLIN } else { 0 };
        check_eq!(fds.map(|f| f.revents), [own, POLLOUT, own]);
    }
}

fn array_that_cannot_be_written_is_efault() {
    let p = anon(1).cast::<pollfd>();
    let (_r, w) = must!(pipe());
    unsafe { p.write(pfd(w, POLLOUT)) };
    check_eq!(sys!(SYS_poll, p, 1, 0), Ok(1));
    must!(sys!(SYS_mprotect, p, PAGE, PROT_READ));
    // Whether the result is another or not.
    expect_errno!(sys!(SYS_poll, p, 1, 0), EFAULT);
    must!(close(w));
    expect_errno!(sys!(SYS_poll, p, 1, 0), EFAULT);
}

fn too_many_descriptors_is_einval() {
    let limit = must!(getrlimit(RLIMIT_NOFILE)).rlim_cur;
    expect_errno!(sys!(SYS_poll, anon(1), limit + 1, 0), EINVAL);
}

fn wakes_when_written() {
    let (r, w) = must!(pipe());
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(write(w, b"x"));
        0
    });
    let mut fds = [pfd(r, POLLIN)];
    check_eq!(poll(&mut fds, -1), Ok(1));
    wait_ok(pid);
}

fn same_descriptor_twice() {
    let (r, w) = must!(pipe());
    must!(write(w, b"x"));
    let mut fds = [pfd(r, POLLIN), pfd(r, POLLIN), pfd(r, 0)];
    check_eq!(poll(&mut fds, 0), Ok(2));
}

fn interrupted_is_eintr_even_with_sa_restart() {
    let (r, _w) = must!(pipe());
    handle(SIGUSR1, record, SA_RESTART);
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(kill(me, SIGUSR1));
        0
    });
    let mut fds = [pfd(r, POLLIN)];
    expect_errno!(poll(&mut fds, -1), EINTR);
    wait_ok(pid);
}

fn stop_and_continue_does_not_interrupt() {
    let (r, w) = must!(pipe());
    let gate = Gate::new();
    let pid = child(|| {
        gate.open();
        let mut fds = [pfd(r, POLLIN)];
        check_eq!(poll(&mut fds, 20_000), Ok(1));
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGSTOP));
    let (_, status) = must!(wait4(pid, WUNTRACED));
    check!(WIFSTOPPED(status));
    must!(kill(pid, SIGCONT));
    wait_asleep(pid);
    must!(write(w, b"x"));
    wait_ok(pid);
}

fn ppoll_mask_is_atomic() {
    block(&[SIGUSR1]);
    record_on(SIGUSR1);
    must!(kill(getpid(), SIGUSR1));
    check_eq!(seen(), 0);
    let (r, _w) = must!(pipe());
    let mut fds = [pfd(r, POLLIN)];
    let empty: Mask = 0;
    expect_errno!(sys!(SYS_ppoll, &mut fds, 1, 0, &empty, 8), EINTR);
    check_eq!(seen(), 1);
    check_eq!(current_mask(), mask_of(&[SIGUSR1]));
}

fn ppoll_updates_timeout() {
    let (r, _w) = must!(pipe());
    let mut fds = [pfd(r, POLLIN)];
    let mut timeout = timespec_ms(10);
    check_eq!(sys!(SYS_ppoll, &mut fds, 1, &mut timeout, 0, 8), Ok(0));
    check_eq!((timeout.tv_sec, timeout.tv_nsec), (0, 0));
}

fn ppoll_errors() {
    let mut fds = [pfd(0, POLLIN)];
    let bad_time = timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000_000,
    };
    expect_errno!(sys!(SYS_ppoll, &mut fds, 1, &bad_time, 0, 8), EINVAL);
    let mask: Mask = 0;
    expect_errno!(sys!(SYS_ppoll, &mut fds, 1, 0, &mask, 4), EINVAL);
    expect_errno!(sys!(SYS_ppoll, &mut fds, 1, bad::<u8>(), 0, 8), EFAULT);
    expect_errno!(sys!(SYS_ppoll, &mut fds, 1, 0, bad::<u8>(), 8), EFAULT);
}

fn select_reports_sets() {
    let (r, w) = must!(pipe());
    let (mut rs, mut ws) = (set(&[r]), set(&[w]));
    check_eq!(select(w + 1, &mut rs, &mut ws, 0, 0), Ok(1));
    check_eq!((rs, ws), (set(&[]), set(&[w])));
    must!(write(w, b"x"));
    let (mut rs, mut ws) = (set(&[r]), set(&[w]));
    check_eq!(select(w + 1, &mut rs, &mut ws, 0, 0), Ok(2));
    check_eq!((rs, ws), (set(&[r]), set(&[w])));
}

fn select_bad_descriptor_is_ebadf() {
    let mut rs = set(&[150]);
    expect_errno!(select(151, &mut rs, 0, 0, 0), EBADF);
    check_eq!(rs, set(&[150]));
    expect_errno!(select(-1, 0, 0, 0, 0), EINVAL);
}

fn select_ignores_bits_beyond_n() {
    let (r, _w) = must!(pipe());
    let mut rs = set(&[150]);
    let zero = [0i64; 2];
    check_eq!(select(r, &mut rs, 0, 0, &zero), Ok(0));
}

fn select_updates_timeout() {
    let (r, w) = must!(pipe());
    must!(write(w, b"x"));
    let mut rs = set(&[r]);
    let mut time = [100i64, 0];
    check_eq!(select(r + 1, &mut rs, 0, 0, &mut time), Ok(1));
    check!(time[0] >= 90);
    let mut rs = set(&[w]);
    let mut time = [0i64, 10_000];
    check_eq!(select(w + 1, &mut rs, 0, 0, &mut time), Ok(0));
    check_eq!(time, [0, 0]);
}

fn select_errors() {
    let negative = [-1i64, 0];
    expect_errno!(select(0, 0, 0, 0, &negative), EINVAL);
    expect_errno!(select(1, bad::<u8>(), 0, 0, 0), EFAULT);
    expect_errno!(select(0, 0, 0, 0, bad::<u8>()), EFAULT);
}

fn select_hup_counts_as_readable() {
    let (r, w) = must!(pipe());
    must!(close(w));
    let mut rs = set(&[r]);
    check_eq!(select(r + 1, &mut rs, 0, 0, 0), Ok(1));
}

fn select_closed_reader_counts_as_writable() {
    let (r, w) = must!(pipe());
    must!(close(r));
    let (mut ws, mut es) = (set(&[w]), set(&[w]));
    check_eq!(select(w + 1, 0, &mut ws, &mut es, 0), Ok(1));
    check_eq!((ws, es), (set(&[w]), set(&[])));
}

fn pselect_mask_and_timeout() {
    block(&[SIGUSR1]);
    record_on(SIGUSR1);
    must!(kill(getpid(), SIGUSR1));
    let empty: Mask = 0;
    let arg = [&raw const empty as usize, 8];
    expect_errno!(sys!(SYS_pselect6, 0, 0, 0, 0, 0, &arg), EINTR);
    check_eq!(seen(), 1);
    check_eq!(
        sys!(SYS_pselect6, 0, 0, 0, 0, &timespec_ms(5), &[0usize, 0]),
        Ok(0)
    );
    let wrong = [&raw const empty as usize, 3];
    expect_errno!(sys!(SYS_pselect6, 0, 0, 0, 0, 0, &wrong), EINVAL);
}

cases![
    counts_ready_descriptors,
    closed_descriptor_is_pollnval,
    negative_descriptor_is_ignored,
    regular_file_is_always_ready,
    timeout_expires,
    no_descriptors_just_sleeps,
    bad_pointer_is_efault,
    results_that_stay_the_same_are_told_again,
    array_that_cannot_be_written_is_efault,
    too_many_descriptors_is_einval,
    wakes_when_written,
    same_descriptor_twice,
    interrupted_is_eintr_even_with_sa_restart,
    stop_and_continue_does_not_interrupt,
    ppoll_mask_is_atomic,
    ppoll_updates_timeout,
    ppoll_errors,
    select_reports_sets,
    select_bad_descriptor_is_ebadf,
    select_ignores_bits_beyond_n,
    select_updates_timeout,
    select_errors,
    select_hup_counts_as_readable,
    select_closed_reader_counts_as_writable,
    pselect_mask_and_timeout,
];
