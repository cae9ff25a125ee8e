//! futex_waitv(2), futex_wake(2), futex_wait(2), futex_requeue(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

const WAKE: i64 = 454;
const WAIT: i64 = 455;
const REQUEUE: i64 = 456;
const U32: u32 = 2;
const PRIVATE: u32 = 128;
const ANY: u32 = u32::MAX;

#[repr(C)]
#[derive(Clone, Copy)]
struct Waitv {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}
fn at(word: *mut u32, value: u64, flags: u32) -> Waitv {
    Waitv {
        value,
        address: word as u64,
        flags,
        reserved: 0,
    }
}
fn word() -> *mut u32 {
    shared(1).cast()
}
fn need(nr: i64) {
    if sys!(nr, 0, 0, 0, 0, 0) == Err(ENOSYS) {
        skip!("Linux before 6.7");
    }
}
/// A child that sleeps in futex_wait(2).
fn waiter(w: *mut u32, mask: u32) -> i32 {
    let pid = child(move || {
        check_eq!(sys!(WAIT, w, 0, mask, U32, 0, 0), Ok(0));
        0
    });
    wait_asleep(pid);
    pid
}

fn wait_and_wake() {
    need(WAIT);
    let w = word();
    let (a, b) = (waiter(w, 1), waiter(w, 6));
    check_eq!(sys!(WAKE, w, 8, 10, U32), Ok(0));
    check_eq!(sys!(WAKE, w, 2, 10, U32), Ok(1));
    wait_ok(b);
    check_eq!(futex_wake(w, 10), Ok(1));
    wait_ok(a);
    expect_errno!(sys!(WAIT, w, 1, ANY, U32, 0, 0), EAGAIN);
    let end = timespec_ms(now_ms() + 30);
    expect_errno!(sys!(WAIT, w, 0, ANY, U32, &end, CLOCK_MONOTONIC), ETIMEDOUT);
}

fn wait_and_wake_errors() {
    need(WAIT);
    let w = word();
    expect_errno!(sys!(WAIT, w, 0, 0, U32, 0, 0), EINVAL);
    expect_errno!(sys!(WAIT, w, 0, ANY, 1, 0, 0), EINVAL);
    expect_errno!(sys!(WAIT, w, 1u64 << 32, ANY, U32, 0, 0), EINVAL);
    expect_errno!(sys!(WAIT, BAD, 0, ANY, U32, 0, 0), EFAULT);
    expect_errno!(sys!(WAIT, w, 0, ANY, U32, BAD, CLOCK_MONOTONIC), EFAULT);
    expect_errno!(sys!(WAKE, w, ANY, 1, 0), EINVAL);
    expect_errno!(sys!(WAKE, w as usize + 1, ANY, 1, U32), EINVAL);
    expect_errno!(sys!(WAKE, w, ANY, 1, U32 | 1 << 30), EINVAL);
}

fn a_signal_restarts_the_wait() {
    need(WAIT);
    let w = word();
    let pid = child(|| {
        handle(SIGUSR1, record, SA_RESTART);
        handle(SIGUSR2, record, 0);
        check_eq!(sys!(WAIT, w, 0, ANY, U32, 0, 0), Ok(0));
        check_eq!(seen(), 1);
        let list = [at(w, 1, U32)];
        expect_errno!(sys!(SYS_futex_waitv, &list[..], 1, 0, 0, 0), EINTR);
        check_eq!(seen(), 2);
        0
    });
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    sleep_ms(20);
    wait_asleep(pid);
    poke(w, 1);
    check_eq!(futex_wake(w, 1), Ok(1));
    sleep_ms(20);
    wait_asleep(pid);
    must!(kill(pid, SIGUSR2));
    wait_ok(pid);
}

fn requeue_moves() {
    need(REQUEUE);
    for flags in [U32, U32 | PRIVATE] {
        let (a, b) = (word(), word());
        let pids: Vec<i32> = if flags == U32 {
            (0..3).map(|_| waiter(a, ANY)).collect()
        } else {
            Vec::new()
        };
        let expected = pids.len() as i64;
        let list = [at(a, 0, flags), at(b, 0, flags)];
        check_eq!(sys!(REQUEUE, &list[..], 0, 1, 1), Ok(expected.min(2)));
        check_eq!(sys!(WAKE, b, ANY, 10, flags), Ok(expected.min(1)));
        check_eq!(sys!(WAKE, a, ANY, 10, flags), Ok(expected.min(1)));
        pids.into_iter().for_each(wait_ok);
        let list = [at(a, 1, flags), at(b, 0, flags)];
        expect_errno!(sys!(REQUEUE, &list[..], 0, 1, 1), EAGAIN);
    }
}

fn requeue_errors() {
    need(REQUEUE);
    let (a, b) = (word(), word());
    let list = [at(a, 0, U32), at(b, 0, U32)];
    expect_errno!(sys!(REQUEUE, &list[..], 1, 1, 1), EINVAL);
    expect_errno!(sys!(REQUEUE, 0, 0, 1, 1), EINVAL);
    expect_errno!(sys!(REQUEUE, BAD, 0, 1, 1), EFAULT);
    expect_errno!(sys!(REQUEUE, &list[..], 0, -1, 1), EINVAL);
    let odd = [at(a, 0, 0), at(b, 0, U32)];
    expect_errno!(sys!(REQUEUE, &odd[..], 0, 1, 1), EINVAL);
    let odd = [
        at(a, 0, U32),
        Waitv {
            reserved: 1,
            ..list[1]
        },
    ];
    expect_errno!(sys!(REQUEUE, &odd[..], 0, 1, 1), EINVAL);
    let big = [at(a, 1 << 32, U32), list[1]];
    expect_errno!(sys!(REQUEUE, &big[..], 0, 1, 1), EINVAL);
}

fn waitv_checks_all_values() {
    let (a, b) = (word(), word());
    poke(b, 3);
    let list = [at(a, 0, U32), at(b, 0, U32)];
    let result = sys!(SYS_futex_waitv, &list[..], 2, 0, 0, 0);
    if result == Err(ENOSYS) {
        skip!("no futex_waitv");
    }
    check_eq!(result, Err(EAGAIN));
    let list = [at(a, 0, U32), at(b, 3, U32)];
    let end = timespec_ms(now_ms() + 30);
    expect_errno!(
        sys!(SYS_futex_waitv, &list[..], 2, 0, &end, CLOCK_MONOTONIC),
        ETIMEDOUT
    );
    expect_errno!(sys!(SYS_futex_waitv, &list[..], 2, 1, 0, 0), EINVAL);
    expect_errno!(sys!(SYS_futex_waitv, &list[..], 0, 0, 0, 0), EINVAL);
    expect_errno!(sys!(SYS_futex_waitv, &list[..], 129, 0, 0, 0), EINVAL);
    expect_errno!(sys!(SYS_futex_waitv, BAD, 2, 0, 0, 0), EFAULT);
}

cases![
    wait_and_wake,
    wait_and_wake_errors,
    a_signal_restarts_the_wait,
    requeue_moves,
    requeue_errors,
    waitv_checks_all_values,
];
