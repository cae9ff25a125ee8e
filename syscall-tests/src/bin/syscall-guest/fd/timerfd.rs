//! timerfd_create(2), timerfd_settime(2), timerfd_gettime(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn create(clock: i32, flags: i32) -> Sys<i32> {
    sys!(SYS_timerfd_create, clock, flags).map(|fd| fd as i32)
}
fn spec(value_ms: i64, interval_ms: i64) -> itimerspec {
    itimerspec {
        it_interval: timespec_ms(interval_ms),
        it_value: timespec_ms(value_ms),
    }
}
fn set(fd: i32, value_ms: i64, interval_ms: i64) -> Sys {
    sys!(SYS_timerfd_settime, fd, 0, &spec(value_ms, interval_ms), 0)
}
fn get(fd: i32) -> itimerspec {
    let mut now: itimerspec = zeroed();
    must!(sys!(SYS_timerfd_gettime, fd, &mut now));
    now
}
fn expirations(fd: i32) -> Sys<u64> {
    let mut buf = [0u8; 8];
    check_eq!(read(fd, &mut buf)?, 8);
    Ok(u64::from_ne_bytes(buf))
}

fn fires_once() {
    let fd = must!(create(CLOCK_MONOTONIC, 0));
    let start = now_ms();
    must!(set(fd, 30, 0));
    check_eq!(expirations(fd), Ok(1));
    check!(now_ms() - start >= 29);
    must!(set_nonblock(fd));
    expect_errno!(expirations(fd), EAGAIN);
    let rest = get(fd);
    check_eq!((rest.it_value.tv_sec, rest.it_value.tv_nsec), (0, 0));
}

fn interval_accumulates() {
    let fd = must!(create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    must!(set(fd, 5, 5));
    sleep_ms(40);
    check!(must!(expirations(fd)) >= 7);
    check_eq!(get(fd).it_interval.tv_nsec, 5_000_000);
}

fn disarmed_never_fires() {
    let fd = must!(create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    expect_errno!(expirations(fd), EAGAIN);
    must!(set(fd, 5, 0));
    must!(set(fd, 0, 0));
    sleep_ms(15);
    expect_errno!(expirations(fd), EAGAIN);
    check_eq!(ready(fd, POLLIN), 0);
}

fn rearming_clears_expirations() {
    let fd = must!(create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    must!(set(fd, 1, 0));
    sleep_ms(10);
    must!(set(fd, 100_000, 0));
    expect_errno!(expirations(fd), EAGAIN);
}

fn absolute_time_in_the_past_fires_at_once() {
    let fd = must!(create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    must!(sys!(
        SYS_timerfd_settime,
        fd,
        TFD_TIMER_ABSTIME,
        &spec(1, 0),
        0
    ));
    wait_until("expiry", || ready(fd, POLLIN) == POLLIN);
    check_eq!(expirations(fd), Ok(1));
}

fn absolute_future_time() {
    let fd = must!(create(CLOCK_REALTIME, 0));
    let at = clock(CLOCK_REALTIME) / 1_000_000 + 30;
    must!(sys!(
        SYS_timerfd_settime,
        fd,
        TFD_TIMER_ABSTIME,
        &spec(at, 0),
        0
    ));
    check_eq!(expirations(fd), Ok(1));
    check!(clock(CLOCK_REALTIME) / 1_000_000 >= at - 1);
}

fn settime_returns_old_value() {
    let fd = must!(create(CLOCK_MONOTONIC, 0));
    must!(set(fd, 100_000, 7_000));
    let mut old: itimerspec = zeroed();
    must!(sys!(SYS_timerfd_settime, fd, 0, &spec(0, 0), &mut old));
    check!(old.it_value.tv_sec <= 100 && old.it_value.tv_sec > 90);
    check_eq!(old.it_interval.tv_sec, 7);
}

fn gettime_counts_down() {
    let fd = must!(create(CLOCK_MONOTONIC, 0));
    must!(set(fd, 100_000, 0));
    let first = get(fd).it_value;
    sleep_ms(5);
    let second = get(fd).it_value;
    check!((second.tv_sec, second.tv_nsec) < (first.tv_sec, first.tv_nsec));
}

fn errors() {
    expect_errno!(create(99, 0), EINVAL);
    expect_errno!(create(CLOCK_PROCESS_CPUTIME_ID, 0), EINVAL);
    expect_errno!(create(CLOCK_MONOTONIC, 1), EINVAL);
    let fd = must!(create(CLOCK_BOOTTIME, TFD_CLOEXEC));
    check_eq!(fcntl(fd, F_GETFD, 0), Ok(1));
    expect_errno!(sys!(SYS_timerfd_settime, fd, 0x80, &spec(1, 0), 0), EINVAL);
    expect_errno!(sys!(SYS_timerfd_settime, fd, 0, bad::<u8>(), 0), EFAULT);
    expect_errno!(sys!(SYS_timerfd_gettime, fd, bad::<u8>()), EFAULT);
    expect_errno!(sys!(SYS_timerfd_settime, -1, 0, &spec(1, 0), 0), EBADF);
    expect_errno!(sys!(SYS_timerfd_settime, 0, 0, &spec(1, 0), 0), EINVAL);
    let mut invalid = spec(1, 0);
    invalid.it_value.tv_nsec = 1_000_000_000;
    expect_errno!(sys!(SYS_timerfd_settime, fd, 0, &invalid, 0), EINVAL);
    invalid.it_value.tv_nsec = 0;
    invalid.it_value.tv_sec = -1;
    expect_errno!(sys!(SYS_timerfd_settime, fd, 0, &invalid, 0), EINVAL);
}

fn short_read_is_einval() {
    let fd = must!(create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    expect_errno!(read_vec(fd, 7), EINVAL);
    expect_errno!(write(fd, &[0; 8]), EINVAL);
}

fn poll_waits_for_expiry() {
    let fd = must!(create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    must!(set(fd, 20, 0));
    check_eq!(poll1(fd, POLLIN, 5000), POLLIN);
}

fn shared_with_child_over_fork() {
    let fd = must!(create(CLOCK_MONOTONIC, 0));
    must!(set(fd, 20, 0));
    in_child(|| check_eq!(expirations(fd), Ok(1)));
    must!(set_nonblock(fd));
    expect_errno!(expirations(fd), EAGAIN);
}

cases![
    fires_once,
    interval_accumulates,
    disarmed_never_fires,
    rearming_clears_expirations,
    absolute_time_in_the_past_fires_at_once,
    absolute_future_time,
    settime_returns_old_value,
    gettime_counts_down,
    errors,
    short_read_is_einval,
    poll_waits_for_expiry,
    shared_with_child_over_fork,
];
