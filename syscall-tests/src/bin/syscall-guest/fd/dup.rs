//! dup(2), dup2(2), dup3(2), close(2), close_range(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn null() -> i32 {
    must!(open(c"/dev/null", O_RDWR, 0))
}
fn is_open(fd: i32) -> bool {
    fcntl(fd, F_GETFD, 0).is_ok()
}
fn dup3(fd: i32, to: i32, flags: i32) -> Sys {
    sys!(SYS_dup3, fd, to, flags)
}
fn close_range(first: u32, last: u32, flags: u32) -> Sys {
    sys!(SYS_close_range, first, last, flags)
}

fn dup_gives_lowest_without_cloexec() {
    let fd = must!(open(c"/dev/null", O_RDWR | O_CLOEXEC, 0));
    let copy = must!(dup(fd));
    check_eq!(copy, fd + 1);
    check_eq!(fcntl(copy, F_GETFD, 0), Ok(0));
    expect_errno!(dup(99), EBADF);
    expect_errno!(dup(-1), EBADF);
}

fn dup2_replaces_target() {
    tmp();
    must!(write_file(c"a", b"A"));
    must!(write_file(c"b", b"B"));
    let a = must!(open(c"a", O_RDONLY, 0));
    let b = must!(open(c"b", O_RDONLY | O_CLOEXEC, 0));
    check_eq!(dup2(a, b), Ok(b));
    check_eq!(fcntl(b, F_GETFD, 0), Ok(0));
    check_eq!(read_vec(b, 1), Ok(b"A".to_vec()));
}

fn dup2_same_descriptor_is_noop() {
    let fd = must!(open(c"/dev/null", O_RDWR | O_CLOEXEC, 0));
    check_eq!(dup2(fd, fd), Ok(fd));
    check_eq!(fcntl(fd, F_GETFD, 0), Ok(1));
    expect_errno!(dup2(99, 99), EBADF);
}

fn dup2_bad_source_keeps_target() {
    let fd = null();
    expect_errno!(dup2(99, fd), EBADF);
    check!(is_open(fd));
}

fn dup2_out_of_range_target_is_ebadf() {
    let fd = null();
    expect_errno!(dup2(fd, -1), EBADF);
    expect_errno!(dup2(fd, i32::MAX), EBADF);
    must!(setrlimit(
        RLIMIT_NOFILE,
        64,
        must!(getrlimit(RLIMIT_NOFILE)).rlim_max
    ));
    expect_errno!(dup2(fd, 64), EBADF);
    check_eq!(dup2(fd, 63), Ok(63));
}

fn dup3_same_is_einval() {
    let fd = null();
    expect_errno!(dup3(fd, fd, 0), EINVAL);
    expect_errno!(dup3(99, 99, 0), EINVAL);
}

fn dup3_flags() {
    let fd = null();
    must!(dup3(fd, 50, O_CLOEXEC));
    check_eq!(fcntl(50, F_GETFD, 0), Ok(1));
    expect_errno!(dup3(fd, 51, O_NONBLOCK), EINVAL);
    expect_errno!(dup3(99, 51, O_APPEND), EINVAL);
}

fn close_twice_is_ebadf() {
    let fd = null();
    must!(close(fd));
    expect_errno!(close(fd), EBADF);
    expect_errno!(close(-1), EBADF);
}

fn close_range_closes_inclusive_range() {
    let fd = null();
    for to in [40, 41, 42, 43] {
        must!(dup2(fd, to));
    }
    must!(close_range(41, 42, 0));
    check_eq!([40, 41, 42, 43].map(is_open), [true, false, false, true]);
}

fn close_range_of_nothing_succeeds() {
    must!(close_range(90, 95, 0));
    must!(close_range(5000, u32::MAX, 0));
}

fn close_range_errors() {
    expect_errno!(close_range(5, 4, 0), EINVAL);
    expect_errno!(close_range(50, 60, 1), EINVAL);
    expect_errno!(close_range(50, 60, 0x8000_0000), EINVAL);
}

fn close_range_cloexec_only_marks() {
    let fd = null();
    must!(dup2(fd, 40));
    must!(dup2(fd, 41));
    must!(close_range(40, 40, CLOSE_RANGE_CLOEXEC));
    check_eq!(fcntl(40, F_GETFD, 0), Ok(1));
    check_eq!(fcntl(41, F_GETFD, 0), Ok(0));
}

fn close_range_unshare_leaves_sharers_alone() {
    let fd = null();
    must!(dup2(fd, 40));
    let gate = Gate::new();
    let thread = std::thread::spawn(move || {
        must!(close_range(40, 40, CLOSE_RANGE_UNSHARE));
        check!(!is_open(40));
        gate.open();
    });
    gate.wait();
    check!(is_open(40));
    let _ = thread.join();
}

fn rlimit_nofile_limits_new_descriptors() {
    let fd = null();
    let max = must!(getrlimit(RLIMIT_NOFILE)).rlim_max;
    must!(setrlimit(RLIMIT_NOFILE, fd as u64 + 1, max));
    expect_errno!(dup(fd), EMFILE);
    expect_errno!(open(c"/dev/null", O_RDONLY, 0), EMFILE);
    expect_errno!(pipe(), EMFILE);
    expect_errno!(socket(AF_UNIX, SOCK_STREAM, 0), EMFILE);
    expect_errno!(fcntl(fd, F_DUPFD, fd), EMFILE);
    expect_errno!(fcntl(fd, F_DUPFD, fd + 1), EINVAL);
    check!(is_open(report_fd()));
}

fn pipe_failing_for_descriptors_leaks_none() {
    let fd = null();
    let max = must!(getrlimit(RLIMIT_NOFILE)).rlim_max;
    must!(setrlimit(RLIMIT_NOFILE, fd as u64 + 2, max));
    expect_errno!(pipe(), EMFILE);
    check_eq!(dup(fd), Ok(fd + 1));
}

fn report_fd() -> i32 {
    syscall_tests::report::report_fd()
}

fn descriptor_table_is_copied_by_fork() {
    let fd = null();
    in_child(|| {
        must!(close(fd));
    });
    check!(is_open(fd));
}

fn fcntl_dupfd_takes_minimum() {
    let fd = null();
    check_eq!(fcntl(fd, F_DUPFD, 70), Ok(70));
    check_eq!(fcntl(fd, F_DUPFD, 70), Ok(71));
    check_eq!(fcntl(fd, F_DUPFD_CLOEXEC, 70), Ok(72));
    check_eq!(fcntl(72, F_GETFD, 0), Ok(1));
    expect_errno!(fcntl(fd, F_DUPFD, -1), EINVAL);
}

fn close_releases_pipe_end() {
    let (r, w) = must!(pipe());
    let copy = must!(dup(w));
    must!(close(w));
    check_eq!(ready(r, POLLIN), 0);
    must!(close(copy));
    check_eq!(read_vec(r, 1), Ok(vec![]));
}

cases![
    dup_gives_lowest_without_cloexec,
    dup2_replaces_target,
    dup2_same_descriptor_is_noop,
    dup2_bad_source_keeps_target,
    dup2_out_of_range_target_is_ebadf,
    dup3_same_is_einval,
    dup3_flags,
    close_twice_is_ebadf,
    close_range_closes_inclusive_range,
    close_range_of_nothing_succeeds,
    close_range_errors,
    close_range_cloexec_only_marks,
    close_range_unshare_leaves_sharers_alone,
    rlimit_nofile_limits_new_descriptors,
    pipe_failing_for_descriptors_leaks_none,
    descriptor_table_is_copied_by_fork,
    fcntl_dupfd_takes_minimum,
    close_releases_pipe_end,
];
