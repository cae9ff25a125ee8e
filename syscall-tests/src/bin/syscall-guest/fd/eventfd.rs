//! eventfd(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn eventfd(initial: u32, flags: i32) -> Sys<i32> {
    sys!(SYS_eventfd2, initial, flags).map(|fd| fd as i32)
}
fn get(fd: i32) -> Sys<u64> {
    let mut buf = [0u8; 8];
    check_eq!(read(fd, &mut buf)?, 8);
    Ok(u64::from_ne_bytes(buf))
}
fn add(fd: i32, value: u64) -> Sys<usize> {
    write(fd, &value.to_ne_bytes())
}

fn counts_and_resets() {
    let fd = must!(eventfd(3, EFD_NONBLOCK));
    must!(add(fd, 4));
    check_eq!(get(fd), Ok(7));
    expect_errno!(get(fd), EAGAIN);
}

fn semaphore_mode_takes_one() {
    let fd = must!(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
    check_eq!(get(fd), Ok(1));
    check_eq!(get(fd), Ok(1));
    expect_errno!(get(fd), EAGAIN);
}

fn short_buffers_are_einval() {
    let fd = must!(eventfd(1, EFD_NONBLOCK));
    expect_errno!(read_vec(fd, 7), EINVAL);
    expect_errno!(write(fd, &[0; 7]), EINVAL);
    check_eq!(read_vec(fd, 20).map(|v| v.len()), Ok(8));
}

fn maximum_is_einval_and_overflow_waits() {
    let fd = must!(eventfd(0, EFD_NONBLOCK));
    expect_errno!(add(fd, u64::MAX), EINVAL);
    must!(add(fd, u64::MAX - 1));
    expect_errno!(add(fd, 1), EAGAIN);
    check_eq!(add(fd, 0), Ok(8));
    check_eq!(ready(fd, POLLIN | POLLOUT), POLLIN);
    check_eq!(get(fd), Ok(u64::MAX - 1));
}

fn poll_states() {
    let fd = must!(eventfd(0, 0));
    check_eq!(ready(fd, POLLIN | POLLOUT), POLLOUT);
    must!(add(fd, 1));
    check_eq!(ready(fd, POLLIN | POLLOUT), POLLIN | POLLOUT);
}

fn flags() {
    let fd = must!(eventfd(0, EFD_CLOEXEC));
    check_eq!(fcntl(fd, F_GETFD, 0), Ok(1));
    expect_errno!(eventfd(0, 0x100), EINVAL);
    let old = must!(sys!(SYS_eventfd, 5)) as i32;
    check_eq!(get(old), Ok(5));
}

fn bad_pointers_are_efault() {
    let fd = must!(eventfd(1, EFD_NONBLOCK));
    expect_errno!(sys!(SYS_write, fd, bad::<u8>(), 8), EFAULT);
    expect_errno!(sys!(SYS_read, fd, bad::<u8>(), 8), EFAULT);
}

fn blocking_read_waits_for_write() {
    let fd = must!(eventfd(0, 0));
    let pid = child(|| {
        check_eq!(get(fd), Ok(9));
        0
    });
    wait_asleep(pid);
    must!(add(fd, 9));
    wait_ok(pid);
}

fn blocking_write_waits_for_room() {
    let fd = must!(eventfd(0, 0));
    must!(add(fd, u64::MAX - 1));
    let pid = child(|| {
        must!(add(fd, 5));
        0
    });
    wait_asleep(pid);
    check_eq!(wait4(pid, WNOHANG), Ok((0, 0)));
    check_eq!(get(fd), Ok(u64::MAX - 1));
    wait_ok(pid);
    check_eq!(get(fd), Ok(5));
}

fn adding_zero_does_not_wake() {
    let fd = must!(eventfd(0, EFD_NONBLOCK));
    must!(add(fd, 0));
    check_eq!(ready(fd, POLLIN), 0);
    expect_errno!(get(fd), EAGAIN);
}

fn pread_is_espipe_or_like_read() {
    let fd = must!(eventfd(1, EFD_NONBLOCK));
    let mut buf = [0u8; 8];
    let result = pread(fd, &mut buf, 0);
    check!(matches!(result, Err(ESPIPE) | Ok(8)), "{result:?}");
}

cases![
    counts_and_resets,
    semaphore_mode_takes_one,
    short_buffers_are_einval,
    maximum_is_einval_and_overflow_waits,
    poll_states,
    flags,
    bad_pointers_are_efault,
    blocking_read_waits_for_write,
    blocking_write_waits_for_room,
    adding_zero_does_not_wake,
    pread_is_espipe_or_like_read,
];
