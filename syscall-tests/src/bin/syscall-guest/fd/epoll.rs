//! epoll(7).

use syscall_tests::cases;
use syscall_tests::prelude::*;

const IN: u32 = EPOLLIN as u32;
const OUT: u32 = EPOLLOUT as u32;
const ET: u32 = EPOLLET as u32;
const HUP: u32 = EPOLLHUP as u32;
const RDHUP: u32 = EPOLLRDHUP as u32;
const ERR: u32 = EPOLLERR as u32;
const ONESHOT: u32 = EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = EPOLLEXCLUSIVE as u32;

fn create() -> i32 {
    must!(sys!(SYS_epoll_create1, EPOLL_CLOEXEC)) as i32
}
fn ctl(ep: i32, op: i32, fd: i32, events: u32, data: u64) -> Sys {
    let ev = epoll_event { events, u64: data };
    sys!(SYS_epoll_ctl, ep, op, fd, &ev)
}
fn add(ep: i32, fd: i32, events: u32) -> Sys {
    ctl(ep, EPOLL_CTL_ADD, fd, events, fd as u64)
}
fn modify(ep: i32, fd: i32, events: u32) -> Sys {
    ctl(ep, EPOLL_CTL_MOD, fd, events, fd as u64)
}
/// Ready events as `(data, events)`, sorted by data.
fn wait(ep: i32, timeout: i32) -> Sys<Vec<(u64, u32)>> {
    let mut evs: [epoll_event; 16] = zeroed();
    let n = sys!(SYS_epoll_wait, ep, &mut evs, 16, timeout)?;
    let mut got: Vec<(u64, u32)> = evs[..n as usize]
        .iter()
        .map(|e| (e.u64, e.events))
        .collect();
    got.sort_unstable();
    Ok(got)
}
fn only(fd: i32, events: u32) -> Sys<Vec<(u64, u32)>> {
    Ok(vec![(fd as u64, events)])
}

fn level_triggered_repeats() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, IN));
    check_eq!(wait(ep, 0), Ok(vec![]));
    must!(write(w, b"xy"));
    check_eq!(wait(ep, 0), only(r, IN));
    must!(read_vec(r, 1));
    check_eq!(wait(ep, 0), only(r, IN));
    must!(read_vec(r, 1));
    check_eq!(wait(ep, 0), Ok(vec![]));
}

fn edge_triggered_reports_once_per_event() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, IN | ET));
    must!(write(w, b"x"));
    check_eq!(wait(ep, 0), only(r, IN));
    check_eq!(wait(ep, 0), Ok(vec![]));
    must!(write(w, b"y"));
    check_eq!(wait(ep, 0), only(r, IN));
    must!(read_vec(r, 1));
    check_eq!(wait(ep, 0), Ok(vec![]));
}

fn edge_triggered_reports_state_at_add() {
    let (r, w) = must!(pipe());
    must!(write(w, b"x"));
    let ep = create();
    must!(add(ep, r, IN | ET));
    check_eq!(wait(ep, 0), only(r, IN));
    check_eq!(wait(ep, 0), Ok(vec![]));
    must!(modify(ep, r, IN | ET));
    check_eq!(wait(ep, 0), only(r, IN));
}

fn oneshot_needs_rearming() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, IN | ONESHOT));
    must!(write(w, b"x"));
    check_eq!(wait(ep, 0), only(r, IN));
    must!(write(w, b"y"));
    check_eq!(wait(ep, 0), Ok(vec![]));
    must!(modify(ep, r, IN | ONESHOT));
    check_eq!(wait(ep, 0), only(r, IN));
}

fn hup_and_err_need_no_asking() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, 0));
    must!(close(w));
    check_eq!(wait(ep, 0), only(r, HUP));
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, w, 0));
    must!(close(r));
    check_eq!(wait(ep, 0), only(w, ERR));
}

fn socket_half_close_is_rdhup() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    let ep = create();
    must!(add(ep, a, IN | RDHUP));
    must!(shutdown(b, SHUT_WR));
    check_eq!(wait(ep, 0), only(a, IN | RDHUP));
    must!(close(b));
    check_eq!(wait(ep, 0), only(a, IN | RDHUP | HUP));
}

fn modify_changes_interest() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    let ep = create();
    must!(add(ep, a, IN));
    must!(write(b, b"x"));
    must!(modify(ep, a, OUT));
    check_eq!(wait(ep, 0), only(a, OUT));
    must!(modify(ep, a, IN | OUT));
    check_eq!(wait(ep, 0), only(a, IN | OUT));
    must!(ctl(ep, EPOLL_CTL_DEL, a, 0, 0));
    check_eq!(wait(ep, 0), Ok(vec![]));
}

fn ctl_errors() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, IN));
    expect_errno!(add(ep, r, IN), EEXIST);
    expect_errno!(modify(ep, w, IN), ENOENT);
    expect_errno!(ctl(ep, EPOLL_CTL_DEL, w, 0, 0), ENOENT);
    expect_errno!(add(ep, 150, IN), EBADF);
    expect_errno!(add(-1, r, IN), EBADF);
    expect_errno!(add(ep, ep, IN), EINVAL);
    expect_errno!(add(r, ep, IN), EINVAL);
    expect_errno!(ctl(ep, 99, r, IN, 0), EINVAL);
    expect_errno!(
        sys!(SYS_epoll_ctl, ep, EPOLL_CTL_MOD, r, bad::<u8>()),
        EFAULT
    );
    check_eq!(
        sys!(SYS_epoll_ctl, ep, EPOLL_CTL_DEL, r, bad::<u8>()),
        Ok(0)
    );
}

fn regular_file_and_directory_are_eperm() {
    tmp();
    let ep = create();
    let f = must!(open(c"f", O_CREAT | O_RDWR, 0o644));
    expect_errno!(add(ep, f, IN), EPERM);
    let d = must!(open(c".", O_RDONLY, 0));
    expect_errno!(add(ep, d, IN), EPERM);
}

fn create_errors() {
    expect_errno!(sys!(SYS_epoll_create1, 1), EINVAL);
    expect_errno!(sys!(SYS_epoll_create, 0), EINVAL);
    expect_errno!(sys!(SYS_epoll_create, -1), EINVAL);
    must!(sys!(SYS_epoll_create, 1));
    check_eq!(fcntl(create(), F_GETFD, 0), Ok(1));
}

fn wait_errors() {
    let ep = create();
    let mut evs: [epoll_event; 2] = zeroed();
    expect_errno!(sys!(SYS_epoll_wait, ep, &mut evs, 0, 0), EINVAL);
    expect_errno!(sys!(SYS_epoll_wait, ep, &mut evs, -1, 0), EINVAL);
    expect_errno!(sys!(SYS_epoll_wait, 0, &mut evs, 1, 0), EINVAL);
    expect_errno!(sys!(SYS_epoll_wait, -1, &mut evs, 1, 0), EBADF);
    let (r, w) = must!(pipe());
    must!(write(w, b"x"));
    must!(add(ep, r, IN));
    expect_errno!(sys!(SYS_epoll_wait, ep, bad::<u8>(), 1, 0), EFAULT);
}

fn closing_the_descriptor_removes_it() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, IN));
    must!(write(w, b"x"));
    must!(close(r));
    check_eq!(wait(ep, 0), Ok(vec![]));
}

fn duplicate_keeps_registration_alive() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, IN));
    let copy = must!(dup(r));
    must!(close(r));
    must!(write(w, b"x"));
    check_eq!(wait(ep, 0), only(r, IN));
    must!(close(copy));
    check_eq!(wait(ep, 0), Ok(vec![]));
}

fn duplicate_is_a_registration_of_its_own() {
    let (r, w) = must!(pipe());
    let ep = create();
    let copy = must!(dup(r));
    must!(add(ep, r, IN));
    must!(add(ep, copy, IN));
    must!(write(w, b"x"));
    check_eq!(wait(ep, 0).map(|v| v.len()), Ok(2));
}

fn max_events_rotates() {
    let ep = create();
    let mut fds = Vec::new();
    for _ in 0..3 {
        let fd = must!(sys!(SYS_eventfd2, 1, 0)) as i32;
        must!(add(ep, fd, IN));
        fds.push(fd as u64);
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut evs: [epoll_event; 1] = zeroed();
        check_eq!(sys!(SYS_epoll_wait, ep, &mut evs, 1, 0), Ok(1));
        seen.push(evs[0].u64);
    }
    seen.sort_unstable();
    check_eq!(seen, fds);
}

fn nested_epoll_is_readable() {
    let (r, w) = must!(pipe());
    let (inner, outer) = (create(), create());
    must!(add(inner, r, IN));
    must!(add(outer, inner, IN));
    check_eq!(wait(outer, 0), Ok(vec![]));
    must!(write(w, b"x"));
    check_eq!(wait(outer, 0), only(inner, IN));
    check_eq!(ready(inner, POLLIN), POLLIN);
    must!(read_vec(r, 1));
    check_eq!(wait(outer, 0), Ok(vec![]));
}

fn nesting_loop_is_eloop() {
    let (a, b) = (create(), create());
    must!(add(a, b, IN));
    expect_errno!(add(b, a, IN), ELOOP);
}

fn nesting_too_deep_is_einval_or_eloop() {
    let eps: Vec<i32> = (0..7).map(|_| create()).collect();
    let mut results = Vec::new();
    for pair in eps.windows(2) {
        results.push(add(pair[1], pair[0], IN));
    }
    check!(results.iter().take(4).all(Result::is_ok), "{results:?}");
    check!(
        results.iter().any(|r| matches!(r, Err(ELOOP | EINVAL))),
        "{results:?}"
    );
}

fn blocked_wait_wakes_on_write() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, IN));
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(write(w, b"x"));
        0
    });
    check_eq!(wait(ep, 10_000), only(r, IN));
    wait_ok(pid);
}

fn adding_while_waiting_wakes() {
    let (r, w) = must!(pipe());
    must!(write(w, b"x"));
    let ep = create();
    let waiter = std::thread::spawn(move || wait(ep, 10_000));
    sleep_ms(20);
    must!(add(ep, r, IN));
    check_eq!(waiter.join().ok(), Some(only(r, IN)));
}

fn timeout_expires() {
    let ep = create();
    let start = now_ms();
    check_eq!(wait(ep, 25), Ok(vec![]));
    check!(now_ms() - start >= 24);
}

fn interrupted_is_eintr() {
    let ep = create();
    handle(SIGUSR1, record, SA_RESTART);
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(kill(me, SIGUSR1));
        0
    });
    expect_errno!(wait(ep, -1), EINTR);
    wait_ok(pid);
}

fn pwait_mask() {
    let ep = create();
    block(&[SIGUSR1]);
    record_on(SIGUSR1);
    must!(kill(getpid(), SIGUSR1));
    let mut evs: [epoll_event; 1] = zeroed();
    let empty: Mask = 0;
    expect_errno!(sys!(SYS_epoll_pwait, ep, &mut evs, 1, -1, &empty, 8), EINTR);
    check_eq!(seen(), 1);
    check_eq!(current_mask(), mask_of(&[SIGUSR1]));
    expect_errno!(sys!(SYS_epoll_pwait, ep, &mut evs, 1, 0, &empty, 3), EINVAL);
}

fn pwait2_nanosecond_timeout() {
    let ep = create();
    let mut evs: [epoll_event; 1] = zeroed();
    check_eq!(
        sys!(SYS_epoll_pwait2, ep, &mut evs, 1, &timespec_ms(5), 0, 8),
        Ok(0)
    );
    let wrong = timespec {
        tv_sec: -1,
        tv_nsec: 0,
    };
    expect_errno!(
        sys!(SYS_epoll_pwait2, ep, &mut evs, 1, &wrong, 0, 8),
        EINVAL
    );
}

fn exclusive_rules() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, IN | EXCLUSIVE));
    must!(write(w, b"x"));
    check_eq!(wait(ep, 0), only(r, IN));
    expect_errno!(modify(ep, r, IN), EINVAL);
    expect_errno!(add(ep, w, OUT | EXCLUSIVE | ONESHOT), EINVAL);
    let inner = create();
    expect_errno!(add(ep, inner, IN | EXCLUSIVE), EINVAL);
    expect_errno!(modify(ep, w, OUT | EXCLUSIVE), EINVAL);
}

fn exclusive_wakes_at_least_one_of_two() {
    let (r, w) = must!(pipe());
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let ep = create();
            must!(add(ep, r, IN | EXCLUSIVE | ET));
            let count = count.clone();
            std::thread::spawn(move || {
                if wait(ep, 300) == only(r, IN) {
                    count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            })
        })
        .collect();
    sleep_ms(30);
    must!(write(w, b"x"));
    for t in threads {
        let _ = t.join();
    }
    check!(count.load(std::sync::atomic::Ordering::SeqCst) >= 1);
}

fn shared_over_fork() {
    let (r, w) = must!(pipe());
    let ep = create();
    must!(add(ep, r, IN));
    must!(write(w, b"x"));
    in_child(|| check_eq!(wait(ep, 0), only(r, IN)));
}

fn eventfd_edge_reports_each_write() {
    let fd = must!(sys!(SYS_eventfd2, 0, EFD_NONBLOCK)) as i32;
    let ep = create();
    must!(add(ep, fd, IN | ET));
    for _ in 0..3 {
        must!(write(fd, &1u64.to_ne_bytes()));
        check_eq!(wait(ep, 0), only(fd, IN));
        check_eq!(wait(ep, 0), Ok(vec![]));
    }
}

fn pipe_becoming_writable_is_an_edge() {
    let (r, w) = must!(pipe2(O_NONBLOCK));
    let ep = create();
    must!(add(ep, w, OUT | ET));
    check_eq!(wait(ep, 0), only(w, OUT));
    while write(w, &[0; 4096]).is_ok() {}
    check_eq!(wait(ep, 0), Ok(vec![]));
    while read_vec(r, 65536).is_ok() {}
    check_eq!(wait(ep, 0), only(w, OUT));
}

fn data_is_returned_unchanged() {
    let fd = must!(sys!(SYS_eventfd2, 1, 0)) as i32;
    let ep = create();
    must!(ctl(ep, EPOLL_CTL_ADD, fd, IN, u64::MAX - 7));
    check_eq!(wait(ep, 0), Ok(vec![(u64::MAX - 7, IN)]));
}

fn epoll_descriptor_refuses_io() {
    let ep = create();
    expect_errno!(read_vec(ep, 1), EINVAL);
    expect_errno!(write(ep, b"x"), EINVAL);
}

cases![
    level_triggered_repeats,
    edge_triggered_reports_once_per_event,
    edge_triggered_reports_state_at_add,
    oneshot_needs_rearming,
    hup_and_err_need_no_asking,
    socket_half_close_is_rdhup,
    modify_changes_interest,
    ctl_errors,
    regular_file_and_directory_are_eperm,
    create_errors,
    wait_errors,
    closing_the_descriptor_removes_it,
    duplicate_keeps_registration_alive,
    duplicate_is_a_registration_of_its_own,
    max_events_rotates,
    nested_epoll_is_readable,
    nesting_loop_is_eloop,
    nesting_too_deep_is_einval_or_eloop,
    blocked_wait_wakes_on_write,
    adding_while_waiting_wakes,
    timeout_expires,
    interrupted_is_eintr,
    pwait_mask,
    pwait2_nanosecond_timeout,
    exclusive_rules,
    exclusive_wakes_at_least_one_of_two,
    shared_over_fork,
    eventfd_edge_reports_each_write,
    pipe_becoming_writable_is_an_edge,
    data_is_returned_unchanged,
    epoll_descriptor_refuses_io,
];
