//! fcntl(2) other than locks; ioctl(2) that every descriptor knows.

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn flags(fd: i32) -> i32 {
    must!(fcntl(fd, F_GETFL, 0)) as i32
}

fn bad_descriptor_precedes_command() {
    expect_errno!(fcntl(-1, F_GETFD, 0), EBADF);
    expect_errno!(fcntl(-1, 9999, 0), EBADF);
}

fn unknown_command_is_einval() {
    expect_errno!(fcntl(0, 9999, 0), EINVAL);
    expect_errno!(fcntl(0, -1, 0), EINVAL);
}

fn setfd_keeps_only_cloexec() {
    let fd = must!(open(c"/dev/null", O_RDONLY, 0));
    must!(fcntl(fd, F_SETFD, 0xff));
    check_eq!(fcntl(fd, F_GETFD, 0), Ok(1));
    must!(fcntl(fd, F_SETFD, 0xfe));
    check_eq!(fcntl(fd, F_GETFD, 0), Ok(0));
}

fn cloexec_is_per_descriptor_and_status_is_shared() {
    let fd = must!(open(c"/dev/null", O_RDWR, 0));
    let copy = must!(dup(fd));
    must!(fcntl(fd, F_SETFD, FD_CLOEXEC));
    check_eq!(fcntl(copy, F_GETFD, 0), Ok(0));
    must!(fcntl(fd, F_SETFL, O_NONBLOCK));
    check_eq!(flags(copy) & O_NONBLOCK, O_NONBLOCK);
}

fn setfl_ignores_access_mode_and_creation_flags() {
    tmp();
    let fd = must!(open(c"f", O_CREAT | O_RDONLY, 0o644));
    must!(fcntl(
        fd,
        F_SETFL,
        O_RDWR | O_CREAT | O_EXCL | O_TRUNC | O_APPEND
    ));
    check_eq!(
        flags(fd) & (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC),
        O_RDONLY
    );
    check_eq!(flags(fd) & O_APPEND, O_APPEND);
    must!(fcntl(fd, F_SETFL, 0));
    check_eq!(flags(fd) & O_APPEND, 0);
}

fn setfl_append_takes_effect() {
    tmp();
    must!(write_file(c"f", b"abc"));
    let fd = must!(open(c"f", O_RDWR, 0));
    must!(fcntl(fd, F_SETFL, O_APPEND));
    must!(write(fd, b"d"));
    check_eq!(read_file(c"f"), Ok(b"abcd".to_vec()));
}

fn o_path_allows_only_descriptor_commands() {
    let fd = must!(open(c"/", O_PATH, 0));
    must!(fcntl(fd, F_GETFD, 0));
    must!(fcntl(fd, F_GETFL, 0));
    must!(fcntl(fd, F_DUPFD, 0));
    expect_errno!(fcntl(fd, F_SETFL, 0), EBADF);
    expect_errno!(fcntl(fd, F_GETOWN, 0), EBADF);
    expect_errno!(fcntl(fd, F_GETPIPE_SZ, 0), EBADF);
}

fn fionbio_sets_nonblock() {
    let (r, _w) = must!(pipe());
    must!(ioctl(r, FIONBIO, &1i32));
    check_eq!(flags(r) & O_NONBLOCK, O_NONBLOCK);
    must!(ioctl(r, FIONBIO, &0i32));
    check_eq!(flags(r) & O_NONBLOCK, 0);
    expect_errno!(ioctl(r, FIONBIO, bad::<u8>()), EFAULT);
}

fn fioclex_sets_cloexec() {
    let (r, _w) = must!(pipe());
    must!(ioctl(r, FIOCLEX, 0));
    check_eq!(fcntl(r, F_GETFD, 0), Ok(1));
    must!(ioctl(r, FIONCLEX, 0));
    check_eq!(fcntl(r, F_GETFD, 0), Ok(0));
}

fn unknown_ioctl_is_enotty() {
    tmp();
    let fd = must!(open(c"f", O_CREAT | O_RDWR, 0o644));
    expect_errno!(ioctl(fd, 0x1234_5678, 0), ENOTTY);
    expect_errno!(ioctl(fd, TCGETS, anon(1)), ENOTTY);
    expect_errno!(ioctl(-1, TCGETS, anon(1)), EBADF);
    let (r, _w) = must!(pipe());
    expect_errno!(ioctl(r, TCGETS, anon(1)), ENOTTY);
}

fn fionread_of_file_is_rest() {
    tmp();
    must!(write_file(c"f", b"0123456789"));
    let fd = must!(open(c"f", O_RDONLY, 0));
    must!(lseek(fd, 4, SEEK_SET));
    let mut n = 0i32;
    must!(ioctl(fd, FIONREAD, &mut n));
    check_eq!(n, 6);
}

fn pipe_size_get_and_set() {
    let (r, w) = must!(pipe());
    check_eq!(fcntl(r, F_GETPIPE_SZ, 0), Ok(65536));
    check_eq!(fcntl(w, F_SETPIPE_SZ, 5000), Ok(8192));
    check_eq!(fcntl(r, F_GETPIPE_SZ, 0), Ok(8192));
    check_eq!(fcntl(r, F_SETPIPE_SZ, 1), Ok(4096));
    let fd = must!(open(c"/dev/null", O_RDWR, 0));
    expect_errno!(fcntl(fd, F_GETPIPE_SZ, 0), EBADF);
}

fn pipe_size_below_contents_is_ebusy() {
    let (r, w) = must!(pipe());
    must!(write(w, &[0; 20000]));
    expect_errno!(fcntl(w, F_SETPIPE_SZ, 4096), EBUSY);
    check_eq!(read_vec(r, 100_000).map(|v| v.len()), Ok(20000));
}

fn owner_pid_and_group() {
    let (a, _b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    check_eq!(fcntl(a, F_GETOWN, 0), Ok(0));
    must!(fcntl(a, F_SETOWN, getpid()));
    check_eq!(fcntl(a, F_GETOWN, 0), Ok(i64::from(getpid())));
    expect_errno!(fcntl(a, F_SETOWN, i32::MIN), EINVAL);
    must!(fcntl(a, F_SETOWN, 0));
    check_eq!(fcntl(a, F_GETOWN, 0), Ok(0));
}

fn owner_ex() {
    let (a, _b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    // F_SETOWN_EX, F_GETOWN_EX; F_OWNER_TID 0, PID 1, PGRP 2.
    must!(fcntl(a, 15, &[0, gettid()]));
    let mut owner = [9i32; 2];
    must!(fcntl(a, 16, &mut owner));
    check_eq!(owner, [0, gettid()]);
    expect_errno!(fcntl(a, 15, &[3, gettid()]), EINVAL);
    expect_errno!(fcntl(a, 15, &[1, 0x3fff_fff0]), ESRCH);
    expect_errno!(fcntl(a, 15, bad::<u8>()), EFAULT);
}

fn signal_number_of_async_io() {
    let (a, _b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    check_eq!(fcntl(a, 11, 0), Ok(0));
    must!(fcntl(a, 10, SIGUSR1));
    check_eq!(fcntl(a, 11, 0), Ok(i64::from(SIGUSR1)));
    expect_errno!(fcntl(a, 10, 65), EINVAL);
    expect_errno!(fcntl(a, 10, -1), EINVAL);
}

fn async_pipe_signals_owner() {
    let (r, w) = must!(pipe());
    record_on(SIGIO);
    must!(fcntl(r, F_SETOWN, getpid()));
    must!(fcntl(r, F_SETFL, O_ASYNC | O_NONBLOCK));
    must!(write(w, b"x"));
    wait_until("SIGIO", || seen() == 1);
    check_eq!(LAST_SIGNAL.load(std::sync::atomic::Ordering::SeqCst), SIGIO);
}

fn memfd_seals() {
    let fd = must!(sys!(SYS_memfd_create, c"m", MFD_ALLOW_SEALING)) as i32;
    must!(ftruncate(fd, 4096));
    check_eq!(fcntl(fd, F_GET_SEALS, 0), Ok(0));
    must!(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    expect_errno!(ftruncate(fd, 0), EPERM);
    must!(ftruncate(fd, 8192));
    must!(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    expect_errno!(ftruncate(fd, 10000), EPERM);
    expect_errno!(pwrite(fd, b"x", 8192), EPERM);
    must!(pwrite(fd, b"x", 8191));
    must!(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    expect_errno!(pwrite(fd, b"x", 0), EPERM);
    check_eq!(
        fcntl(fd, F_GET_SEALS, 0),
        Ok(i64::from(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
    );
    must!(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    expect_errno!(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), EPERM);
}

fn memfd_without_sealing_is_sealed() {
    let fd = must!(sys!(SYS_memfd_create, c"m", 0)) as i32;
    check_eq!(fcntl(fd, F_GET_SEALS, 0), Ok(i64::from(F_SEAL_SEAL)));
    expect_errno!(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
}

fn seals_on_other_files_are_einval() {
    let (r, w) = must!(pipe());
    expect_errno!(fcntl(r, F_GET_SEALS, 0), EINVAL);
    expect_errno!(fcntl(r, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    expect_errno!(fcntl(w, F_ADD_SEALS, F_SEAL_WRITE), EINVAL);
}

fn write_seal_with_writable_mapping_is_ebusy() {
    let fd = must!(sys!(SYS_memfd_create, c"m", MFD_ALLOW_SEALING)) as i32;
    must!(ftruncate(fd, 4096));
    let p = must!(mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    expect_errno!(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    must!(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    poke(p, 7u8);
    expect_errno!(pwrite(fd, b"x", 0), EPERM);
    expect_errno!(
        mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
        EPERM
    );
    must!(munmap(p, PAGE));
    must!(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    must!(mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    must!(mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
}

fn memfd_create_errors() {
    expect_errno!(sys!(SYS_memfd_create, c"m", 0x4000_0000), EINVAL);
    expect_errno!(sys!(SYS_memfd_create, bad::<u8>(), 0), EFAULT);
    expect_errno!(
        sys!(SYS_memfd_create, cpath(&"n".repeat(250)).as_c_str(), 0),
        EINVAL
    );
    let fd = must!(sys!(
        SYS_memfd_create,
        cpath(&"n".repeat(249)).as_c_str(),
        MFD_CLOEXEC
    ));
    check_eq!(fcntl(fd as i32, F_GETFD, 0), Ok(1));
}

fn memfd_name_in_proc() {
    let fd = must!(sys!(SYS_memfd_create, c"some name", 0)) as i32;
    let target = must!(readlink(&cpath(&format!("/proc/self/fd/{fd}"))));
    check_eq!(
        String::from_utf8_lossy(&target),
        "/memfd:some name (deleted)"
    );
}

fn leases_follow_the_rules() {
    tmp();
    must!(write_file(c"f", b""));
    let fd = must!(open(c"f", O_RDONLY, 0));
    check_eq!(fcntl(fd, F_GETLEASE, 0), Ok(i64::from(F_UNLCK)));
    expect_errno!(fcntl(fd, F_SETLEASE, 77), EINVAL);
}

cases![
    bad_descriptor_precedes_command,
    unknown_command_is_einval,
    setfd_keeps_only_cloexec,
    cloexec_is_per_descriptor_and_status_is_shared,
    setfl_ignores_access_mode_and_creation_flags,
    setfl_append_takes_effect,
    o_path_allows_only_descriptor_commands,
    fionbio_sets_nonblock,
    fioclex_sets_cloexec,
    unknown_ioctl_is_enotty,
    fionread_of_file_is_rest,
    pipe_size_get_and_set,
    pipe_size_below_contents_is_ebusy,
    owner_pid_and_group,
    owner_ex,
    signal_number_of_async_io,
    async_pipe_signals_owner,
    memfd_seals,
    memfd_without_sealing_is_sealed,
    seals_on_other_files_are_einval,
    write_seal_with_writable_mapping_is_ebusy,
    memfd_create_errors,
    memfd_name_in_proc,
    leases_follow_the_rules,
];
