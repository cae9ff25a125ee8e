//! POSIX record locks, open file description locks, flock(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn file() -> i32 {
    tmp();
    must!(write_file(c"f", b"0123456789"));
    must!(open(c"f", O_RDWR, 0))
}
fn again() -> i32 {
    must!(open(c"f", O_RDWR, 0))
}
fn range(kind: i32, start: i64, len: i64) -> flock {
    let mut l: flock = zeroed();
    l.l_type = kind as i16;
    l.l_whence = SEEK_SET as i16;
    l.l_start = start;
    l.l_len = len;
    l
}
fn lock(fd: i32, kind: i32, start: i64, len: i64) -> Sys {
    fcntl(fd, F_SETLK, &range(kind, start, len))
}
fn ofd_lock(fd: i32, kind: i32, start: i64, len: i64) -> Sys {
    fcntl(fd, F_OFD_SETLK, &range(kind, start, len))
}
/// The lock in the way, as `(type, start, len, pid)`.
fn query(fd: i32, kind: i32, start: i64, len: i64) -> (i32, i64, i64, i32) {
    let mut l = range(kind, start, len);
    must!(fcntl(fd, F_GETLK, &mut l));
    (i32::from(l.l_type), l.l_start, l.l_len, l.l_pid)
}
/// Whether another process could take the lock.
fn other_can(kind: i32, start: i64, len: i64) -> bool {
    let pid = child(|| match lock(again(), kind, start, len) {
        Ok(_) => 0,
        Err(EAGAIN) => 1,
        Err(_) => 2,
    });
    match wait_exit(pid) {
        0 => true,
        1 => false,
        other => fail!("lock attempt ended with {other}"),
    }
}

fn own_locks_never_conflict() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 0, 5));
    must!(lock(fd, F_RDLCK, 0, 5));
    must!(lock(again(), F_WRLCK, 2, 5));
    check_eq!(query(fd, F_WRLCK, 0, 0).0, F_UNLCK);
}

fn conflict_with_other_process_is_eagain() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 2, 3));
    check!(!other_can(F_WRLCK, 0, 0));
    check!(!other_can(F_RDLCK, 4, 1));
    check!(other_can(F_WRLCK, 5, 10));
    check!(other_can(F_WRLCK, 0, 2));
}

fn read_locks_share() {
    let fd = file();
    must!(lock(fd, F_RDLCK, 0, 0));
    check!(other_can(F_RDLCK, 0, 0));
    check!(!other_can(F_WRLCK, 0, 0));
}

fn getlk_describes_the_conflict() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 2, 3));
    let me = getpid();
    in_child(|| {
        check_eq!(query(again(), F_RDLCK, 0, 0), (F_WRLCK, 2, 3, me));
        check_eq!(query(again(), F_RDLCK, 5, 0).0, F_UNLCK);
    });
}

fn unlock_middle_splits() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 0, 10));
    must!(lock(fd, F_UNLCK, 3, 4));
    check!(!other_can(F_WRLCK, 0, 3));
    check!(other_can(F_WRLCK, 3, 4));
    check!(!other_can(F_WRLCK, 7, 1));
}

fn upgrade_middle_splits() {
    let fd = file();
    must!(lock(fd, F_RDLCK, 0, 10));
    must!(lock(fd, F_WRLCK, 3, 4));
    check!(other_can(F_RDLCK, 0, 3));
    check!(!other_can(F_RDLCK, 3, 1));
    check!(other_can(F_RDLCK, 7, 3));
}

fn adjacent_locks_merge() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 0, 3));
    must!(lock(fd, F_WRLCK, 3, 3));
    in_child(|| {
        let got = query(again(), F_WRLCK, 0, 0);
        check_eq!((got.1, got.2), (0, 6));
    });
}

fn zero_length_means_to_infinity() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 5, 0));
    check!(!other_can(F_WRLCK, 1 << 50, 1));
    check!(other_can(F_WRLCK, 0, 5));
}

fn negative_length_reaches_back() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 5, -2));
    in_child(|| {
        let got = query(again(), F_WRLCK, 0, 0);
        check_eq!((got.1, got.2), (3, 2));
    });
    expect_errno!(lock(fd, F_WRLCK, 1, -2), EINVAL);
}

fn whence_current_and_end() {
    let fd = file();
    must!(lseek(fd, 4, SEEK_SET));
    let mut l = range(F_WRLCK, -1, 2);
    l.l_whence = SEEK_CUR as i16;
    must!(fcntl(fd, F_SETLK, &l));
    in_child(|| {
        let got = query(again(), F_WRLCK, 0, 0);
        check_eq!((got.1, got.2), (3, 2));
    });
    must!(lock(fd, F_UNLCK, 0, 0));
    l.l_whence = SEEK_END as i16;
    must!(fcntl(fd, F_SETLK, &l));
    in_child(|| check_eq!(query(again(), F_WRLCK, 0, 0).1, 9));
    l.l_whence = 9;
    expect_errno!(fcntl(fd, F_SETLK, &l), EINVAL);
}

fn closing_any_descriptor_drops_all() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 0, 0));
    let other = again();
    must!(close(other));
    check!(other_can(F_WRLCK, 0, 0));
}

fn not_inherited_by_fork() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 0, 0));
    in_child(|| expect_errno!(lock(fd, F_WRLCK, 0, 0), EAGAIN));
}

fn kept_over_exec() {
    let fd = file();
    let gate = Gate::new();
    let pid = child(|| {
        must!(lock(fd, F_WRLCK, 0, 0));
        gate.open();
        must!(exec_helper(c"sleep", &[]));
        1
    });
    gate.wait();
    wait_asleep(pid);
    expect_errno!(lock(fd, F_WRLCK, 0, 0), EAGAIN);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    must!(lock(fd, F_WRLCK, 0, 0));
}

fn mode_must_match() {
    file();
    let ro = must!(open(c"f", O_RDONLY, 0));
    let wo = must!(open(c"f", O_WRONLY, 0));
    expect_errno!(lock(ro, F_WRLCK, 0, 0), EBADF);
    expect_errno!(lock(wo, F_RDLCK, 0, 0), EBADF);
    must!(lock(ro, F_UNLCK, 0, 0));
}

fn errors() {
    let fd = file();
    expect_errno!(lock(fd, 77, 0, 0), EINVAL);
    expect_errno!(lock(-1, F_RDLCK, 0, 0), EBADF);
    expect_errno!(fcntl(fd, F_SETLK, bad::<u8>()), EFAULT);
    expect_errno!(fcntl(fd, F_GETLK, bad::<u8>()), EFAULT);
    let mut l = range(F_UNLCK, 0, 0);
    expect_errno!(fcntl(fd, F_GETLK, &mut l), EINVAL);
    expect_errno!(lock(fd, F_RDLCK, -1, 5), EINVAL);
}

fn blocking_lock_waits() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 0, 0));
    let gate = Gate::new();
    let pid = child(|| {
        let fd = again();
        gate.open();
        must!(fcntl(fd, F_SETLKW, &range(F_WRLCK, 0, 0)));
        0
    });
    gate.wait();
    wait_asleep(pid);
    check_eq!(wait4(pid, WNOHANG), Ok((0, 0)));
    must!(lock(fd, F_UNLCK, 0, 0));
    wait_ok(pid);
}

fn blocking_lock_interrupted_is_eintr() {
    let fd = file();
    must!(lock(fd, F_WRLCK, 0, 0));
    let gate = Gate::new();
    let pid = child(|| {
        record_on(SIGUSR1);
        let fd = again();
        gate.open();
        expect_errno!(fcntl(fd, F_SETLKW, &range(F_WRLCK, 0, 0)), EINTR);
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    wait_ok(pid);
}

fn deadlock_is_edeadlk() {
    let fd = file();
    let (a, b) = (Gate::new(), Gate::new());
    must!(lock(fd, F_WRLCK, 0, 1));
    let pid = child(|| {
        let fd = again();
        must!(lock(fd, F_WRLCK, 1, 1));
        a.open();
        // Waits for our byte 0, which we hold until the end.
        must!(fcntl(fd, F_SETLKW, &range(F_WRLCK, 0, 1)));
        b.open();
        0
    });
    a.wait();
    wait_asleep(pid);
    expect_errno!(fcntl(fd, F_SETLKW, &range(F_WRLCK, 1, 1)), EDEADLK);
    must!(lock(fd, F_UNLCK, 0, 1));
    b.wait();
    wait_ok(pid);
}

fn ofd_locks_conflict_between_descriptions() {
    let a = file();
    let b = again();
    must!(ofd_lock(a, F_WRLCK, 0, 5));
    expect_errno!(ofd_lock(b, F_WRLCK, 0, 5), EAGAIN);
    must!(ofd_lock(b, F_WRLCK, 5, 5));
    let copy = must!(dup(a));
    must!(ofd_lock(copy, F_RDLCK, 0, 5));
    must!(ofd_lock(b, F_RDLCK, 0, 1));
}

fn ofd_locks_conflict_with_posix_locks() {
    let a = file();
    must!(ofd_lock(a, F_WRLCK, 0, 5));
    expect_errno!(lock(again(), F_WRLCK, 0, 5), EAGAIN);
    let (kind, start, len, pid) = query(again(), F_WRLCK, 0, 0);
    check_eq!((kind, start, len, pid), (F_WRLCK, 0, 5, -1));
}

fn ofd_locks_last_until_last_close() {
    let a = file();
    let b = again();
    must!(ofd_lock(a, F_WRLCK, 0, 0));
    let copy = must!(dup(a));
    must!(close(a));
    expect_errno!(ofd_lock(b, F_WRLCK, 0, 0), EAGAIN);
    must!(close(again()));
    expect_errno!(ofd_lock(b, F_WRLCK, 0, 0), EAGAIN);
    must!(close(copy));
    must!(ofd_lock(b, F_WRLCK, 0, 0));
}

fn ofd_locks_are_inherited_by_fork() {
    let a = file();
    must!(ofd_lock(a, F_WRLCK, 0, 0));
    in_child(|| {
        must!(ofd_lock(a, F_RDLCK, 0, 0));
    });
}

fn ofd_pid_must_be_zero() {
    let a = file();
    let mut l = range(F_WRLCK, 0, 0);
    l.l_pid = 1;
    expect_errno!(fcntl(a, F_OFD_SETLK, &l), EINVAL);
}

fn flock_of(fd: i32, op: i32) -> Sys {
    sys!(SYS_flock, fd, op)
}

fn flock_conflicts_between_descriptions() {
    let a = file();
    let b = again();
    must!(flock_of(a, LOCK_EX));
    expect_errno!(flock_of(b, LOCK_EX | LOCK_NB), EAGAIN);
    expect_errno!(flock_of(b, LOCK_SH | LOCK_NB), EAGAIN);
    must!(flock_of(a, LOCK_SH));
    must!(flock_of(b, LOCK_SH | LOCK_NB));
    expect_errno!(flock_of(a, LOCK_EX | LOCK_NB), EAGAIN);
}

fn flock_failed_upgrade_loses_the_lock() {
    let a = file();
    let b = again();
    must!(flock_of(a, LOCK_SH));
    must!(flock_of(b, LOCK_SH));
    expect_errno!(flock_of(a, LOCK_EX | LOCK_NB), EAGAIN);
    must!(flock_of(b, LOCK_EX | LOCK_NB));
}

fn flock_belongs_to_the_description() {
    let a = file();
    let copy = must!(dup(a));
    must!(flock_of(a, LOCK_EX));
    must!(flock_of(copy, LOCK_EX | LOCK_NB));
    in_child(|| {
        must!(flock_of(copy, LOCK_UN));
    });
    must!(flock_of(again(), LOCK_EX | LOCK_NB));
}

fn flock_independent_of_posix_locks() {
    let a = file();
    must!(flock_of(a, LOCK_EX));
    check!(other_can(F_WRLCK, 0, 0));
}

fn flock_errors() {
    let a = file();
    expect_errno!(flock_of(-1, LOCK_SH), EBADF);
    expect_errno!(flock_of(a, 0), EINVAL);
    expect_errno!(flock_of(a, LOCK_SH | LOCK_EX), EINVAL);
    expect_errno!(flock_of(a, 0x1000), EINVAL);
    must!(flock_of(a, LOCK_UN));
    let p = must!(open(c"f", O_PATH, 0));
    expect_errno!(flock_of(p, LOCK_SH), EBADF);
}

fn flock_on_read_only_descriptor_may_be_exclusive() {
    file();
    let ro = must!(open(c"f", O_RDONLY, 0));
    must!(flock_of(ro, LOCK_EX));
}

fn flock_blocking_waits_and_close_releases() {
    let a = file();
    must!(flock_of(a, LOCK_EX));
    let gate = Gate::new();
    let pid = child(|| {
        must!(close(a));
        let b = again();
        gate.open();
        must!(flock_of(b, LOCK_EX));
        0
    });
    gate.wait();
    wait_asleep(pid);
    check_eq!(wait4(pid, WNOHANG), Ok((0, 0)));
    must!(close(a));
    wait_ok(pid);
}

cases![
    own_locks_never_conflict,
    conflict_with_other_process_is_eagain,
    read_locks_share,
    getlk_describes_the_conflict,
    unlock_middle_splits,
    upgrade_middle_splits,
    adjacent_locks_merge,
    zero_length_means_to_infinity,
    negative_length_reaches_back,
    whence_current_and_end,
    closing_any_descriptor_drops_all,
    not_inherited_by_fork,
    kept_over_exec,
    mode_must_match,
    errors,
    blocking_lock_waits,
    blocking_lock_interrupted_is_eintr,
    deadlock_is_edeadlk,
    ofd_locks_conflict_between_descriptions,
    ofd_locks_conflict_with_posix_locks,
    ofd_locks_last_until_last_close,
    ofd_locks_are_inherited_by_fork,
    ofd_pid_must_be_zero,
    flock_conflicts_between_descriptions,
    flock_failed_upgrade_loses_the_lock,
    flock_belongs_to_the_description,
    flock_independent_of_posix_locks,
    flock_errors,
    flock_on_read_only_descriptor_may_be_exclusive,
    flock_blocking_waits_and_close_releases,
];
