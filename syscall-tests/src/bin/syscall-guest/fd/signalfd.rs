//! signalfd(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn signalfd(fd: i32, signals: &[i32], flags: i32) -> Sys<i32> {
    let mask = mask_of(signals);
    sys!(SYS_signalfd4, fd, &mask, 8, flags).map(|fd| fd as i32)
}
/// One record: `(signo, code, pid, int)`.
fn next(fd: i32) -> Sys<(i32, i32, i32, i32)> {
    let mut buf = [0u8; 128];
    check_eq!(read(fd, &mut buf)?, 128);
    let word = |at: usize| i32::from_ne_bytes(buf[at..at + 4].try_into().unwrap_or_default());
    Ok((word(0), word(8), word(12), word(44)))
}

fn reads_blocked_signal() {
    block(&[SIGUSR1]);
    let fd = must!(signalfd(-1, &[SIGUSR1], SFD_NONBLOCK));
    expect_errno!(next(fd), EAGAIN);
    must!(kill(getpid(), SIGUSR1));
    let (signo, code, pid, _) = must!(next(fd));
    check_eq!((signo, code, pid), (SIGUSR1, SI_USER, getpid()));
    check!(!is_pending(SIGUSR1));
}

fn queued_values_in_order() {
    let rt = SIGRTMIN() + 1;
    block(&[rt]);
    let fd = must!(signalfd(-1, &[rt], SFD_NONBLOCK));
    for value in [11, 22, 33] {
        must!(sigqueue(getpid(), rt, value));
    }
    let got: Vec<i32> = (0..3).map(|_| must!(next(fd)).3).collect();
    check_eq!(got, vec![11, 22, 33]);
    expect_errno!(next(fd), EAGAIN);
}

fn one_read_returns_several() {
    let rt = SIGRTMIN() + 1;
    block(&[rt]);
    let fd = must!(signalfd(-1, &[rt], SFD_NONBLOCK));
    for value in 0..3 {
        must!(sigqueue(getpid(), rt, value));
    }
    let mut buf = [0u8; 128 * 5];
    check_eq!(read(fd, &mut buf), Ok(128 * 3));
}

fn short_buffer_is_einval() {
    block(&[SIGUSR1]);
    let fd = must!(signalfd(-1, &[SIGUSR1], SFD_NONBLOCK));
    expect_errno!(read_vec(fd, 127), EINVAL);
}

fn mask_can_be_changed() {
    block(&[SIGUSR1, SIGUSR2]);
    let fd = must!(signalfd(-1, &[SIGUSR1], SFD_NONBLOCK));
    must!(kill(getpid(), SIGUSR2));
    expect_errno!(next(fd), EAGAIN);
    check_eq!(signalfd(fd, &[SIGUSR2], 0), Ok(fd));
    check_eq!(must!(next(fd)).0, SIGUSR2);
}

fn poll_readiness() {
    block(&[SIGUSR1]);
    let fd = must!(signalfd(-1, &[SIGUSR1], 0));
    check_eq!(ready(fd, POLLIN), 0);
    must!(kill(getpid(), SIGUSR1));
    check_eq!(ready(fd, POLLIN), POLLIN);
}

fn blocking_read_wakes() {
    block(&[SIGUSR1]);
    let fd = must!(signalfd(-1, &[SIGUSR1], 0));
    let parent = getpid();
    let pid = child(|| {
        wait_asleep(parent);
        must!(kill(parent, SIGUSR1));
        0
    });
    check_eq!(must!(next(fd)).2, pid);
    wait_ok(pid);
}

fn child_exit_information() {
    block(&[SIGCHLD]);
    let fd = must!(signalfd(-1, &[SIGCHLD], 0));
    let pid = child(|| 7);
    let mut buf = [0u8; 128];
    check_eq!(read(fd, &mut buf), Ok(128));
    let word = |at: usize| i32::from_ne_bytes(buf[at..at + 4].try_into().unwrap_or_default());
    // ssi_signo, ssi_code, ssi_pid, ssi_status.
    check_eq!(
        (word(0), word(8), word(12), word(40)),
        (SIGCHLD, CLD_EXITED, pid, 7)
    );
    wait_status(pid);
}

fn kill_and_stop_are_ignored_in_mask() {
    must!(signalfd(-1, &[SIGKILL, SIGSTOP, SIGUSR1], 0));
}

fn errors() {
    expect_errno!(signalfd(-1, &[SIGUSR1], 0x100), EINVAL);
    expect_errno!(signalfd(0, &[SIGUSR1], 0), EINVAL);
    expect_errno!(signalfd(99, &[SIGUSR1], 0), EBADF);
    let mask: u64 = 0;
    expect_errno!(sys!(SYS_signalfd4, -1, &mask, 7, 0), EINVAL);
    expect_errno!(sys!(SYS_signalfd4, -1, bad::<u8>(), 8, 0), EFAULT);
}

fn child_reads_its_own_signals() {
    block(&[SIGUSR1]);
    let fd = must!(signalfd(-1, &[SIGUSR1], SFD_NONBLOCK));
    must!(kill(getpid(), SIGUSR1));
    in_child(|| expect_errno!(next(fd), EAGAIN));
    check_eq!(must!(next(fd)).0, SIGUSR1);
}

cases![
    reads_blocked_signal,
    queued_values_in_order,
    one_read_returns_several,
    short_buffer_is_einval,
    mask_can_be_changed,
    poll_readiness,
    blocking_read_wakes,
    child_exit_information,
    kill_and_stop_are_ignored_in_mask,
    errors,
    child_reads_its_own_signals,
];
