//! Every call with every kind of bad pointer: an errno and no harm. The cases
//! assert only what holds for any implementation: the process lives, the
//! kernel lives, and a pointer that the call has to read or write is EFAULT.

use syscall_tests::cases;
use syscall_tests::prelude::*;

/// Addresses that are bad in different ways.
fn bad_addresses() -> [usize; 8] {
    let read_only = anon(1);
    let _ = mprotect(read_only, PAGE, PROT_NONE);
    [
        1,
        BAD,
        PAGE - 1,
        page_edge() as usize,
        read_only as usize,
        1 << 47,
        0xffff_8000_0000_0000,
        usize::MAX - 7,
    ]
}

/// Which argument positions of a call are pointers that it always follows
/// when the other arguments are as given.
struct Row {
    nr: i64,
    name: &'static str,
    args: [usize; 6],
    pointers: &'static [usize],
}
macro_rules! row {
    ($nr:ident, [$($arg:expr),*], [$($p:expr),*]) => {
        Row { nr: $nr, name: stringify!($nr), args: pad([$(Arg::arg($arg)),*]), pointers: &[$($p),*] }
    };
}

fn check_rows(rows: &[Row]) {
    let bad = bad_addresses();
    for row in rows {
        for position in row.pointers {
            for address in bad {
                let mut args = row.args;
                args[*position] = address;
                let result = raw(row.nr, args);
                check!(
                    result == Err(EFAULT),
                    "{} with argument {position} = {address:#x}: {}",
                    row.name,
                    syscall_tests::report::outcome(&result)
                );
            }
        }
    }
}
/// A good buffer that calls may write to.
fn buf() -> usize {
    anon(2) as usize
}
const CWD: i32 = AT_FDCWD;

fn paths() {
    tmp();
    let b = buf();
    check_rows(&[
        row!(SYS_open, [0, O_RDONLY, 0], [0]),
        row!(SYS_openat, [CWD, 0, O_RDONLY, 0], [1]),
        row!(SYS_creat, [0, 0o600], [0]),
        row!(SYS_stat, [0, b], [0]),
        row!(SYS_lstat, [0, b], [0]),
        row!(SYS_newfstatat, [CWD, 0, b, 0], [1]),
        row!(SYS_statx, [CWD, 0, 0, 0x7ff, b], [1]),
        row!(SYS_access, [0, 0], [0]),
        row!(SYS_faccessat, [CWD, 0, 0], [1]),
        row!(SYS_faccessat2, [CWD, 0, 0, 0], [1]),
        row!(SYS_chmod, [0, 0o600], [0]),
        row!(SYS_fchmodat, [CWD, 0, 0o600], [1]),
        row!(SYS_chown, [0, -1, -1], [0]),
        row!(SYS_lchown, [0, -1, -1], [0]),
        row!(SYS_fchownat, [CWD, 0, -1, -1, 0], [1]),
        row!(SYS_mkdir, [0, 0o700], [0]),
        row!(SYS_mkdirat, [CWD, 0, 0o700], [1]),
        row!(SYS_rmdir, [0], [0]),
        row!(SYS_unlink, [0], [0]),
        row!(SYS_unlinkat, [CWD, 0, 0], [1]),
        row!(SYS_mknod, [0, S_IFREG | 0o600, 0], [0]),
        row!(SYS_mknodat, [CWD, 0, S_IFREG | 0o600, 0], [1]),
        row!(SYS_truncate, [0, 0], [0]),
        row!(SYS_chdir, [0], [0]),
        row!(SYS_chroot, [0], [0]),
        row!(SYS_statfs, [0, b], [0]),
        row!(SYS_readlink, [0, b, 100], [0]),
        row!(SYS_readlinkat, [CWD, 0, b, 100], [1]),
        row!(SYS_execve, [0, 0, 0], [0]),
        row!(SYS_execveat, [CWD, 0, 0, 0, 0], [1]),
        row!(SYS_utimensat, [CWD, 0, 0, 0], []),
        row!(SYS_utimes, [0, 0], []),
        row!(
            SYS_inotify_add_watch,
            [must!(sys!(SYS_inotify_init1, 0)), 0, IN_OPEN],
            [1]
        ),
        row!(SYS_memfd_create, [0, 0], [0]),
    ]);
}

fn two_paths() {
    tmp();
    must!(write_file(c"f", b""));
    let good = c"f";
    check_rows(&[
        row!(SYS_rename, [0, good], [0]),
        row!(SYS_rename, [good, 0], [1]),
        row!(SYS_renameat, [CWD, 0, CWD, good], [1]),
        row!(SYS_renameat2, [CWD, good, CWD, 0, 0], [3]),
        row!(SYS_link, [0, good], [0]),
        row!(SYS_link, [good, 0], [1]),
        row!(SYS_linkat, [CWD, 0, CWD, good, 0], [1]),
        row!(SYS_linkat, [CWD, good, CWD, 0, 0], [3]),
        row!(SYS_symlink, [0, good], [0]),
        row!(SYS_symlink, [good, 0], [1]),
        row!(SYS_symlinkat, [0, CWD, good], [0]),
        row!(SYS_symlinkat, [good, CWD, 0], [2]),
        row!(SYS_setxattr, [0, c"user.x", buf(), 1, 0], [0]),
        row!(SYS_getxattr, [0, c"user.x", 0, 0], [0]),
        row!(SYS_listxattr, [0, 0, 0], [0]),
        row!(SYS_removexattr, [0, c"user.x"], [0]),
        row!(SYS_removexattr, [good, 0], [1]),
    ]);
    check!(exists(good));
}

fn file_results() {
    tmp();
    must!(write_file(c"f", &[b'x'; 5000]));
    let fd = must!(open(c"f", O_RDWR, 0));
    must!(symlink(c"target", c"l"));
    check_rows(&[
        row!(SYS_read, [fd, 0, 10], [1]),
        row!(SYS_pread64, [fd, 0, 10, 0], [1]),
        row!(SYS_pwrite64, [fd, 0, 10, 0], [1]),
        row!(SYS_readv, [fd, 0, 2], [1]),
        row!(SYS_writev, [fd, 0, 2], [1]),
        row!(SYS_preadv, [fd, 0, 2, 0, 0], [1]),
        row!(SYS_pwritev, [fd, 0, 2, 0, 0], [1]),
        row!(SYS_preadv2, [fd, 0, 2, 0, 0, 0], [1]),
        row!(SYS_pwritev2, [fd, 0, 2, 0, 0, 0], [1]),
        row!(SYS_fstat, [fd, 0], [1]),
        row!(SYS_stat, [c"f", 0], [1]),
        row!(SYS_lstat, [c"f", 0], [1]),
        row!(SYS_newfstatat, [CWD, c"f", 0, 0], [2]),
        row!(SYS_statx, [CWD, c"f", 0, 0x7ff, 0], [4]),
        row!(SYS_statfs, [c"f", 0], [1]),
        row!(SYS_fstatfs, [fd, 0], [1]),
        row!(SYS_readlink, [c"l", 0, 100], [1]),
        row!(SYS_getcwd, [0, 4096], [0]),
        row!(SYS_fcntl, [fd, F_GETLK, 0], [2]),
        row!(SYS_fcntl, [fd, F_SETLK, 0], [2]),
        row!(SYS_ioctl, [fd, FIONREAD, 0], [2]),
        row!(SYS_openat2, [CWD, c"f", 0, 24], [2]),
        row!(
            SYS_getdents64,
            [must!(open(c".", O_RDONLY, 0)), 0, 500],
            [1]
        ),
        row!(SYS_pipe, [0], [0]),
        row!(SYS_pipe2, [0, 0], [0]),
        row!(SYS_sendfile, [must!(pipe()).1, fd, 0, 10], []),
        row!(SYS_fsetxattr, [fd, c"user.x", 0, 10, 0], [2]),
    ]);
    check_eq!(must!(read_file(c"f")), vec![b'x'; 5000]);
}

fn vectors_with_bad_bases() {
    tmp();
    must!(write_file(c"f", &[b'x'; 100]));
    let fd = must!(open(c"f", O_RDWR, 0));
    let (r, w) = must!(pipe());
    must!(write(w, b"data"));
    for address in bad_addresses() {
        let iov = [iov_at(address, 10), iov_at(address, 10)];
        for (nr, fd) in [
            (SYS_readv, fd),
            (SYS_writev, fd),
            (SYS_readv, r),
            (SYS_writev, w),
        ] {
            must!(lseek(fd, 0, SEEK_SET).or_else(|e| if e == ESPIPE { Ok(0) } else { Err(e) }));
            let result = sys!(nr, fd, &iov, 2);
            check!(result == Err(EFAULT), "{nr} {address:#x}: {result:?}");
        }
    }
    check_eq!(read_vec(r, 10), Ok(b"data".to_vec()));
    check_eq!(must!(read_file(c"f")), vec![b'x'; 100]);
}

fn descriptors() {
    let ep = must!(sys!(SYS_epoll_create1, 0));
    let (r, w) = must!(pipe());
    must!(write(w, b"x"));
    let event = epoll_event {
        events: EPOLLIN as u32,
        u64: 0,
    };
    must!(sys!(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, r, &event));
    let timer = must!(sys!(SYS_timerfd_create, CLOCK_MONOTONIC, 0));
    check_rows(&[
        row!(SYS_poll, [0, 1, 0], [0]),
        row!(SYS_ppoll, [0, 1, 0, 0, 8], [0]),
        row!(SYS_select, [10, 0, 0, 0, 0], []),
        row!(SYS_select, [1, 0, buf(), 0, 0], [1]),
        row!(SYS_epoll_ctl, [ep, EPOLL_CTL_ADD, w, 0], [3]),
        row!(SYS_epoll_wait, [ep, 0, 1, 0], [1]),
        row!(SYS_epoll_pwait, [ep, 0, 1, 0, 0, 8], [1]),
        row!(SYS_timerfd_settime, [timer, 0, 0, 0], [2]),
        row!(SYS_timerfd_gettime, [timer, 0], [1]),
        row!(SYS_signalfd4, [-1, 0, 8, 0], [1]),
    ]);
}

fn process() {
    let b = buf();
    check_rows(&[
        row!(SYS_getresuid, [0, b, b], [0]),
        row!(SYS_getresgid, [b, b, 0], [2]),
        row!(SYS_uname, [0], [0]),
        row!(SYS_sysinfo, [0], [0]),
        row!(SYS_times, [0], [0]),
        row!(SYS_getrusage, [0, 0], [1]),
        row!(SYS_getrlimit, [RLIMIT_NOFILE, 0], [1]),
        row!(SYS_setrlimit, [RLIMIT_NOFILE, 0], [1]),
        row!(SYS_prlimit64, [0, RLIMIT_NOFILE, 0, 0], [2, 3]),
        row!(SYS_clone3, [0, 88], [0]),
        row!(SYS_sched_getaffinity, [0, 128, 0], [2]),
        row!(SYS_sched_setaffinity, [0, 128, 0], [2]),
        row!(SYS_sched_setparam, [0, 0], [1]),
        row!(SYS_sched_getparam, [0, 0], [1]),
        row!(SYS_sched_rr_get_interval, [0, 0], [1]),
        row!(SYS_capget, [0, 0], [0]),
        row!(SYS_prctl, [PR_SET_NAME, 0], [1]),
        row!(SYS_prctl, [PR_GET_NAME, 0], [1]),
        row!(SYS_getrandom, [0, 16, 0], [0]),
        row!(SYS_getcpu, [0, 0, 0], [0, 1]),
        row!(SYS_get_robust_list, [0, 0, b], [1]),
    ]);
}

fn signals() {
    let b = buf();
    block(&[SIGUSR1]);
    raise(SIGUSR1);
    check_rows(&[
        row!(SYS_rt_sigaction, [SIGUSR2, 0, 0, 8], [1, 2]),
        row!(SYS_rt_sigprocmask, [SIG_BLOCK, 0, 0, 8], [1, 2]),
        row!(SYS_rt_sigpending, [0, 8], [0]),
        row!(SYS_rt_sigsuspend, [0, 8], [0]),
        row!(SYS_rt_sigtimedwait, [0, 0, 0, 8], [0, 2]),
        row!(SYS_rt_sigqueueinfo, [getpid(), SIGUSR1, 0], [2]),
        row!(SYS_sigaltstack, [0, 0], [0, 1]),
        row!(SYS_setitimer, [0, 0, 0], [1]),
        row!(SYS_getitimer, [0, 0], [1]),
        row!(SYS_timer_create, [CLOCK_MONOTONIC, 0, b], [1]),
        row!(SYS_timer_create, [CLOCK_MONOTONIC, 0, 0], [2]),
        row!(SYS_nanosleep, [0, 0], [0]),
        row!(SYS_clock_nanosleep, [CLOCK_MONOTONIC, 0, 0, 0], [2]),
        row!(SYS_clock_gettime, [CLOCK_MONOTONIC, 0], [1]),
        row!(SYS_clock_getres, [CLOCK_MONOTONIC, 0], [1]),
        row!(SYS_gettimeofday, [0, 0], [0]),
        row!(SYS_time, [0], [0]),
    ]);
}

fn sockets() {
    let fd = must!(socket(AF_UNIX, SOCK_STREAM, 0));
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_DGRAM));
    must!(send(b, b"x", 0));
    let good = buf();
    check_rows(&[
        row!(SYS_socketpair, [AF_UNIX, SOCK_STREAM, 0, 0], [3]),
        row!(SYS_bind, [fd, 0, 10], [1]),
        row!(SYS_connect, [fd, 0, 10], [1]),
        row!(SYS_getsockname, [fd, good, 0], [2]),
        row!(SYS_setsockopt, [fd, SOL_SOCKET, SO_REUSEADDR, 0, 4], [3]),
        row!(SYS_getsockopt, [fd, SOL_SOCKET, SO_TYPE, good, 0], [4]),
        row!(SYS_sendto, [a, 0, 10, 0, 0, 0], [1]),
        row!(SYS_sendto, [a, good, 10, 0, 0, 10], [4]),
        row!(SYS_sendmsg, [a, 0, 0], [1]),
        row!(SYS_recvmsg, [a, 0, 0], [1]),
        row!(SYS_sendmmsg, [a, 0, 1, 0], [1]),
        row!(SYS_recvmmsg, [a, 0, 1, 0, 0], [1]),
    ]);
}

fn message_headers_with_bad_parts() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_DGRAM));
    for address in bad_addresses() {
        let mut good = [iov(b"abc")];
        let mut msg: msghdr = zeroed();
        msg.msg_iov = address as *mut iovec;
        msg.msg_iovlen = 2;
        expect_errno!(sys!(SYS_sendmsg, a, &msg, 0), EFAULT);
        expect_errno!(sys!(SYS_recvmsg, b, &mut msg, MSG_DONTWAIT), EFAULT);
        msg.msg_iov = good.as_mut_ptr();
        msg.msg_iovlen = 1;
        msg.msg_control = address as *mut c_void;
        msg.msg_controllen = 24;
        expect_errno!(sys!(SYS_sendmsg, a, &msg, 0), EFAULT);
        msg.msg_control = std::ptr::null_mut();
        msg.msg_controllen = 0;
        msg.msg_name = address as *mut c_void;
        msg.msg_namelen = 10;
        expect_errno!(sys!(SYS_sendmsg, a, &msg, 0), EFAULT);
        let mut into = [iov_at(address, 10)];
        let mut msg: msghdr = zeroed();
        msg.msg_iov = into.as_mut_ptr();
        msg.msg_iovlen = 1;
        must!(send(a, b"abc", 0));
        expect_errno!(sys!(SYS_recvmsg, b, &mut msg, MSG_DONTWAIT), EFAULT);
    }
}

fn exec_vectors() {
    let exe = self_exe();
    for address in bad_addresses() {
        let list = [address, 0];
        expect_errno!(sys!(SYS_execve, exe.as_c_str(), address, 0), EFAULT);
        expect_errno!(sys!(SYS_execve, exe.as_c_str(), &list, 0), EFAULT);
        expect_errno!(sys!(SYS_execve, exe.as_c_str(), 0, address), EFAULT);
        expect_errno!(sys!(SYS_execve, exe.as_c_str(), 0, &list), EFAULT);
    }
}

/// Calls that the sweeps below leave out: they would end, stop or block the
/// case for good, or change the machine.
fn excluded(nr: i64) -> bool {
    // uretprobe and uprobe raise SIGILL by design.
    if matches!(nr, 335 | 336) {
        return true;
    }
    [
        SYS_exit,
        SYS_exit_group,
        SYS_pause,
        SYS_rt_sigreturn,
        SYS_fork,
        SYS_vfork,
        SYS_clone,
        SYS_clone3,
        SYS_kill,
        SYS_tkill,
        SYS_tgkill,
        SYS_reboot,
        SYS_kexec_load,
        SYS_kexec_file_load,
        SYS_munmap,
        SYS_mmap,
        SYS_brk,
        SYS_mprotect,
        SYS_mremap,
        SYS_madvise,
        SYS_arch_prctl,
        SYS_vhangup,
        SYS_swapon,
        SYS_swapoff,
        SYS_settimeofday,
        SYS_clock_settime,
        SYS_clock_adjtime,
        SYS_adjtimex,
        SYS_sethostname,
        SYS_setdomainname,
        SYS_init_module,
        SYS_finit_module,
        SYS_delete_module,
        SYS_syslog,
        SYS_acct,
        SYS_quotactl,
        SYS_umount2,
        SYS_mount,
        SYS_pivot_root,
        SYS_unshare,
        SYS_setns,
        SYS_ptrace,
        SYS_iopl,
        SYS_ioperm,
        SYS_seccomp,
        SYS_prctl,
        SYS_close,
        SYS_close_range,
        SYS_alarm,
        SYS_setpgid,
        SYS_setsid,
        SYS_userfaultfd,
        SYS_sync,
        SYS_vmsplice,
        SYS_bpf,
        SYS_perf_event_open,
        SYS_modify_ldt,
        SYS_shmat,
        SYS_shmdt,
        SYS_remap_file_pages,
        SYS_process_madvise,
        SYS_pkey_mprotect,
        SYS_rseq,
        SYS_setrlimit,
        SYS_prlimit64,
        SYS_set_robust_list,
        SYS_set_tid_address,
        SYS_rt_sigtimedwait,
        SYS_rt_sigsuspend,
        SYS_wait4,
        SYS_waitid,
        SYS_mlockall,
        SYS_move_mount,
        SYS_mount_setattr,
        SYS_add_key,
        SYS_request_key,
        SYS_keyctl,
        SYS_lookup_dcookie,
        SYS_msgget,
        SYS_semget,
        SYS_shmget,
        SYS_msgrcv,
        SYS_semop,
        SYS_semtimedop,
        SYS_setuid,
        SYS_setgid,
        SYS_setreuid,
        SYS_setregid,
        SYS_setresuid,
        SYS_setresgid,
        SYS_setfsuid,
        SYS_setfsgid,
        SYS_chroot,
        SYS_migrate_pages,
        SYS_move_pages,
        SYS_mbind,
        SYS_set_mempolicy,
    ]
    .contains(&nr)
}
/// Makes every remaining call in a child of its own with these arguments: it
/// has to return within the time limit, and the child must survive it.
fn sweep(args: impl Fn(usize) -> [usize; 6]) {
    for nr in 0..=450i64 {
        if excluded(nr) {
            continue;
        }
        let given = args(nr as usize);
        let pid = child(|| {
            // fchmod(0, 0) and kin must not reach a file of the machine.
            let own = must!(sys!(SYS_memfd_create, c"sweep", 0)) as i32;
            for fd in 0..3 {
                must!(dup2(own, fd));
            }
            disposition(SIGPIPE, SIG_IGN);
            disposition(SIGXFSZ, SIG_IGN);
            record_on(SIGALRM);
            must!(sys!(
                SYS_setitimer,
                ITIMER_REAL,
                &[0i64, 50_000, 0, 50_000],
                0
            ));
            let _ = raw(nr, given);
            0
        });
        let status = wait_status(pid);
        check!(
            WIFEXITED(status) && WEXITSTATUS(status) == 0,
            "call {nr}: {}",
            describe_status(status)
        );
    }
}

fn sweep_all_low_addresses() {
    sweep(|_| [BAD; 6]);
}

fn sweep_all_kernel_addresses() {
    sweep(|_| [0xffff_8000_0000_0000; 6]);
}

fn sweep_all_ones() {
    sweep(|_| [usize::MAX; 6]);
}

fn sweep_page_edges() {
    let edge = page_edge() as usize;
    sweep(|_| [edge - 1; 6]);
}

fn sweep_descriptor_and_edges() {
    tmp();
    must!(write_file(c"f", b"contents"));
    let fd = must!(open(c"f", O_RDWR, 0)) as usize;
    let edge = page_edge() as usize;
    sweep(|_| [fd, edge, 16, edge, 16, edge]);
}

fn sweep_small_integers() {
    sweep(|nr| [0, 1, 2, 3, 4, 5].map(|i| (nr + i) % 17 + 200));
}

fn sweep_beyond_the_table() {
    for nr in (451..1200).chain([0x4000_0000, 0x4000_0001, 0x7fff_ffff]) {
        let pid = child(|| {
            let _ = raw(nr, [BAD; 6]);
            0
        });
        let status = wait_status(pid);
        check!(
            (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS),
            "call {nr:#x}: {}",
            describe_status(status)
        );
    }
}

cases![
    paths,
    two_paths,
    file_results,
    vectors_with_bad_bases,
    descriptors,
    process,
    signals,
    sockets,
    message_headers_with_bad_parts,
    exec_vectors,
    sweep_all_low_addresses,
    sweep_all_kernel_addresses,
    sweep_all_ones,
    sweep_page_edges,
    sweep_descriptor_and_edges,
    sweep_small_integers,
    sweep_beyond_the_table,
];
