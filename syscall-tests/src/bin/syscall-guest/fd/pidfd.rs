//! pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), waitid(P_PIDFD).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn pidfd_open(pid: i32, flags: u32) -> Sys<i32> {
    sys!(SYS_pidfd_open, pid, flags).map(|fd| fd as i32)
}
fn send(fd: i32, signal: i32) -> Sys {
    sys!(SYS_pidfd_send_signal, fd, signal, 0, 0)
}
fn sleeper() -> i32 {
    child(|| {
        loop {
            sleep_ms(1000);
        }
    })
}

fn polls_when_process_ends() {
    let gate = Gate::new();
    let pid = child(|| {
        gate.wait();
        3
    });
    let fd = must!(pidfd_open(pid, 0));
    check_eq!(ready(fd, POLLIN), 0);
    gate.open();
    check_eq!(poll1(fd, POLLIN, 5000) & POLLIN, POLLIN);
    check_eq!(wait_exit(pid), 3);
    check_eq!(ready(fd, POLLIN) & POLLIN, POLLIN);
}

fn is_close_on_exec() {
    let fd = must!(pidfd_open(getpid(), 0));
    check_eq!(fcntl(fd, F_GETFD, 0), Ok(1));
}

fn sends_signal() {
    let pid = sleeper();
    let fd = must!(pidfd_open(pid, 0));
    must!(send(fd, 0));
    must!(send(fd, SIGKILL));
    wait_killed(pid, SIGKILL);
    expect_errno!(send(fd, 0), ESRCH);
}

fn send_signal_errors() {
    let fd = must!(pidfd_open(getpid(), 0));
    expect_errno!(send(fd, 65), EINVAL);
    expect_errno!(send(-1, 0), EBADF);
    expect_errno!(send(0, 0), EBADF);
    expect_errno!(sys!(SYS_pidfd_send_signal, fd, 0, 0, 0x100), EINVAL);
    expect_errno!(
        sys!(SYS_pidfd_send_signal, fd, SIGUSR1, bad::<u8>(), 0),
        EFAULT
    );
}

fn open_errors() {
    expect_errno!(pidfd_open(0, 0), EINVAL);
    expect_errno!(pidfd_open(-1, 0), EINVAL);
    expect_errno!(pidfd_open(0x3fff_fff0, 0), ESRCH);
    expect_errno!(pidfd_open(getpid(), 0x4000_0000), EINVAL);
}

fn waitid_by_pidfd() {
    let pid = child(|| 9);
    let fd = must!(pidfd_open(pid, 0));
    let mut info: siginfo_t = zeroed();
    must!(sys!(SYS_waitid, P_PIDFD, fd, &mut info, WEXITED, 0));
    check_eq!(info_child(&info).2, 9);
    check_eq!(info_child(&info).0, pid);
    expect_errno!(sys!(SYS_waitid, P_PIDFD, fd, &mut info, WEXITED, 0), ECHILD);
    expect_errno!(sys!(SYS_waitid, P_PIDFD, 0, &mut info, WEXITED, 0), EBADF);
}

fn waitid_nonblocking_pidfd_is_eagain() {
    let pid = sleeper();
    let fd = must!(pidfd_open(pid, O_NONBLOCK as u32));
    let mut info: siginfo_t = zeroed();
    expect_errno!(sys!(SYS_waitid, P_PIDFD, fd, &mut info, WEXITED, 0), EAGAIN);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn getfd_copies_descriptor() {
    let (r, w) = must!(pipe());
    let gate = Gate::new();
    let pid = child(|| {
        let _ = close(r);
        gate.wait();
        0
    });
    let fd = must!(pidfd_open(pid, 0));
    must!(close(w));
    let copy = must!(sys!(SYS_pidfd_getfd, fd, w, 0)) as i32;
    must!(write(copy, b"x"));
    check_eq!(read_vec(r, 1), Ok(b"x".to_vec()));
    check_eq!(fcntl(copy, F_GETFD, 0), Ok(1));
    expect_errno!(sys!(SYS_pidfd_getfd, fd, 150, 0), EBADF);
    expect_errno!(sys!(SYS_pidfd_getfd, fd, w, 1), EINVAL);
    expect_errno!(sys!(SYS_pidfd_getfd, 0, w, 0), EBADF);
    gate.open();
    wait_ok(pid);
}

fn clone_pidfd_flag() {
    let mut fd = -1i32;
    let flags = CLONE_PIDFD | SIGCHLD;
    let pid = must!(sys!(SYS_clone, flags, 0, &mut fd, 0, 0)) as i32;
    if pid == 0 {
        unsafe { _exit(5) };
    }
    check!(fd >= 0);
    check_eq!(poll1(fd, POLLIN, 5000) & POLLIN, POLLIN);
    check_eq!(wait_exit(pid), 5);
}

fn read_and_write_are_einval() {
    let fd = must!(pidfd_open(getpid(), 0));
    expect_errno!(read_vec(fd, 8), EINVAL);
    expect_errno!(write(fd, b"x"), EINVAL);
}

fn of_zombie_and_reaped() {
    let pid = child(|| 0);
    wait_until("zombie", || task_state(pid) == 'Z');
    let fd = must!(pidfd_open(pid, 0));
    check_eq!(ready(fd, POLLIN) & POLLIN, POLLIN);
    wait_ok(pid);
    expect_errno!(pidfd_open(pid, 0), ESRCH);
}

fn fdinfo_names_the_pid() {
    let fd = must!(pidfd_open(getpid(), 0));
    let text = must!(read_file(&cpath(&format!("/proc/self/fdinfo/{fd}"))));
    let text = String::from_utf8_lossy(&text).into_owned();
    check!(text.contains(&format!("Pid:\t{}\n", getpid())), "{text}");
}

cases![
    polls_when_process_ends,
    is_close_on_exec,
    sends_signal,
    send_signal_errors,
    open_errors,
    waitid_by_pidfd,
    waitid_nonblocking_pidfd_is_eagain,
    getfd_copies_descriptor,
    clone_pidfd_flag,
    read_and_write_are_einval,
    of_zombie_and_reaped,
    fdinfo_names_the_pid,
];
