//! What the Sentry may ask of the host, and why.

use libc::{c_int, c_long};
use seccompiler::SeccompCmpOp;

/// A host call that is allowed.
pub struct Rule {
    /// Its number.
    pub call: i64,
    /// With which arguments.
    pub when: When,
    /// What for.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for readers, and for the test that there is one")
    )]
    pub reason: &'static str,
}

/// With which arguments a call is allowed.
#[derive(Clone, Copy)]
pub enum When {
    /// Any.
    Always,
    /// Those for which all conditions of at least one of these hold.
    Any(&'static [&'static [Condition]]),
}

/// A test of one argument register.
pub struct Condition {
    /// Which, from 0.
    pub argument: u8,
    /// All 64 bits rather than the low 32.
    pub wide: bool,
    /// How.
    pub test: SeccompCmpOp,
    /// With what.
    pub value: u64,
}

/// Argument `n`, an int, is `value`.
const fn is(n: u8, value: c_int) -> Condition {
    Condition {
        argument: n,
        wide: false,
        test: SeccompCmpOp::Eq,
        value: value as u32 as u64,
    }
}

/// Argument `n` has none of the bits outside of `allowed`.
const fn only_bits(n: u8, allowed: c_int) -> Condition {
    Condition {
        argument: n,
        wide: true,
        test: SeccompCmpOp::MaskedEq(!(allowed as u32 as u64)),
        value: 0,
    }
}

/// Argument `n` has all of `bits`.
const fn has_bits(n: u8, bits: c_int) -> Condition {
    let bits = bits as u32 as u64;
    Condition {
        argument: n,
        wide: true,
        test: SeccompCmpOp::MaskedEq(bits),
        value: bits,
    }
}

/// Argument `n`, a directory, is a descriptor: not AT_FDCWD, which is negative.
const fn is_fd(n: u8) -> Condition {
    Condition {
        argument: n,
        wide: false,
        test: SeccompCmpOp::Lt,
        value: 1 << 31,
    }
}

/// Argument 4, a socket address, is null.
const NO_ADDRESS: Condition = Condition {
    argument: 4,
    wide: true,
    test: SeccompCmpOp::Eq,
    value: 0,
};

/// Argument `n`, a mode, is of this type.
const fn file_type(n: u8, kind: libc::mode_t) -> Condition {
    let test = SeccompCmpOp::MaskedEq(libc::S_IFMT as u64);
    Condition {
        argument: n,
        wide: false,
        test,
        value: kind as u64,
    }
}

const fn always(call: c_long, reason: &'static str) -> Rule {
    Rule {
        call,
        when: When::Always,
        reason,
    }
}

const fn when(
    call: c_long,
    conditions: &'static [&'static [Condition]],
    reason: &'static str,
) -> Rule {
    Rule {
        call,
        when: When::Any(conditions),
        reason,
    }
}

const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// Answered with ENOSYS rather than death: the C library tries them first and has another way.
pub const REFUSED: &[Rule] = &[
    always(
        libc::SYS_clone3,
        "its flags lie in memory, where a filter can't see them: the C library falls back to clone",
    ),
    when(
        libc::SYS_openat,
        &[&[is(0, libc::AT_FDCWD)]],
        "malloc looks for /proc/sys/vm/overcommit_memory when a heap shrinks, and does without",
    ),
];

/// Everything else that is allowed.
pub const ALLOWED: &[Rule] = &[
    // ---- memory of the Sentry's own: never executable ----
    when(
        libc::SYS_mmap,
        &[&[only_bits(2, READ_WRITE)]],
        "heap, thread stacks, regions shared with stubs; no code",
    ),
    when(
        libc::SYS_mprotect,
        &[&[only_bits(2, READ_WRITE)]],
        "guard pages of thread stacks, growth of heaps; no code",
    ),
    always(libc::SYS_munmap, "memory given back"),
    always(
        libc::SYS_mremap,
        "realloc of large blocks; keeps the protection it had",
    ),
    always(libc::SYS_brk, "heap of the C library"),
    always(
        libc::SYS_madvise,
        "memory given back to the host, huge pages",
    ),
    // ---- threads of the Sentry's own ----
    when(
        libc::SYS_clone,
        &[&[has_bits(
            0,
            libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND,
        )]],
        "worker and blocking threads; never a process",
    ),
    always(libc::SYS_set_robust_list, "start of a thread"),
    always(libc::SYS_rseq, "start of a thread"),
    always(libc::SYS_sigaltstack, "start and end of a thread"),
    always(libc::SYS_set_tid_address, "start of a thread"),
    always(libc::SYS_gettid, "thread ids"),
    always(libc::SYS_geteuid, "whom new files belong to"),
    always(libc::SYS_getegid, "whom new files belong to"),
    always(
        libc::SYS_umask,
        "0, so that modes of new files are the application's",
    ),
    always(libc::SYS_getpid, "its own id, for tgkill"),
    always(libc::SYS_futex, "locks, and waking stubs"),
    always(libc::SYS_sched_yield, "policy of the trap path"),
    always(
        libc::SYS_sched_setaffinity,
        "workers pinned to CPUs; affects threads of the sandbox only",
    ),
    always(libc::SYS_sched_getaffinity, "which CPUs there are"),
    always(libc::SYS_getcpu, "which CPU a worker is on"),
    when(
        libc::SYS_prctl,
        &[
            &[is(0, libc::PR_SET_NAME)],
            &[is(0, libc::PR_SET_VMA)],
            &[is(0, libc::PR_SET_TIMERSLACK)],
            &[is(0, libc::PR_GET_NAME)],
        ],
        "names of threads and mappings; exact timers",
    ),
    always(libc::SYS_exit, "end of a thread"),
    always(libc::SYS_exit_group, "end of the sandbox"),
    always(
        libc::SYS_restart_syscall,
        "the host continues a sleep after a stop",
    ),
    // ---- signals ----
    always(libc::SYS_rt_sigprocmask, "around the start of threads"),
    always(libc::SYS_rt_sigreturn, "end of a handler"),
    always(
        libc::SYS_rt_sigaction,
        "handlers of the Sentry's own process",
    ),
    always(
        libc::SYS_tgkill,
        "interrupting a stub, ending oneself; the pid namespace holds nothing else",
    ),
    always(
        libc::SYS_kill,
        "ending a stub; the pid namespace holds nothing else",
    ),
    always(
        libc::SYS_pidfd_send_signal,
        "ending a stub without a race for its pid",
    ),
    always(libc::SYS_pidfd_open, "watching a stub"),
    always(libc::SYS_wait4, "reaping stubs"),
    always(libc::SYS_waitid, "reaping stubs"),
    always(
        libc::SYS_setpgid,
        "a process group for each stub, so that what it forked by itself ends with it; children only",
    ),
    // ---- application memory ----
    always(
        libc::SYS_process_vm_readv,
        "copies from stubs; the pid namespace holds nothing else",
    ),
    always(
        libc::SYS_process_vm_writev,
        "copies to stubs; respects their page protection",
    ),
    // ---- descriptors ----
    always(libc::SYS_read, "files, pipes, terminals that are open"),
    always(libc::SYS_pread64, "files that are open"),
    always(libc::SYS_readv, "as read"),
    always(libc::SYS_preadv, "as pread64"),
    always(libc::SYS_preadv2, "reads that must not wait (RWF_NOWAIT)"),
    always(
        libc::SYS_write,
        "files, pipes, terminals that are open; the log",
    ),
    always(libc::SYS_pwrite64, "files that are open"),
    always(libc::SYS_writev, "as write"),
    always(libc::SYS_pwritev, "as pwrite64"),
    always(libc::SYS_pwritev2, "writes that must not wait, appends"),
    always(libc::SYS_lseek, "SEEK_DATA and SEEK_HOLE, size of a file"),
    always(libc::SYS_close, "descriptors given back"),
    always(libc::SYS_dup, "descriptors passed on to stubs"),
    when(
        libc::SYS_fcntl,
        &[
            &[is(1, libc::F_DUPFD_CLOEXEC)],
            &[is(1, libc::F_GETFD)],
            &[is(1, libc::F_SETFD)],
            &[is(1, libc::F_GETFL)],
            &[is(1, libc::F_SETFL)],
            &[is(1, libc::F_ADD_SEALS)],
            &[is(1, libc::F_GET_SEALS)],
            &[is(1, libc::F_GETPIPE_SZ)],
        ],
        "duplicates, flags, seals of memfds; no locks, leases or owners",
    ),
    when(
        libc::SYS_ioctl,
        &[
            &[is(1, libc::FIONREAD as c_int)],
            &[is(1, libc::TCGETS as c_int)],
            &[is(1, libc::TIOCGWINSZ as c_int)],
            &[is(1, libc::TIOCGPGRP as c_int)],
        ],
        "questions to a terminal or pipe that was passed on; nothing that changes it, no TIOCSTI",
    ),
    // ---- waiting ----
    always(libc::SYS_epoll_create1, "the reactor"),
    always(libc::SYS_epoll_ctl, "the reactor"),
    always(libc::SYS_epoll_wait, "the reactor"),
    always(libc::SYS_epoll_pwait, "the reactor"),
    always(
        libc::SYS_epoll_pwait2,
        "the reactor with nanosecond deadlines",
    ),
    always(libc::SYS_poll, "readiness of one descriptor"),
    always(libc::SYS_ppoll, "readiness of one descriptor"),
    always(libc::SYS_eventfd2, "wake-ups between threads"),
    always(libc::SYS_timerfd_create, "deadlines"),
    always(libc::SYS_timerfd_settime, "deadlines"),
    always(libc::SYS_signalfd4, "SIGCHLD of stubs as a descriptor"),
    always(libc::SYS_nanosleep, "short pauses of worker threads"),
    always(libc::SYS_clock_nanosleep, "short pauses of worker threads"),
    // ---- stubs' descriptors ----
    always(libc::SYS_memfd_create, "regions, shared memory"),
    always(
        libc::SYS_ftruncate,
        "size of memfds and of files open for writing",
    ),
    always(libc::SYS_fallocate, "holes in memfds, space for files"),
    always(
        libc::SYS_sendmsg,
        "descriptors for stubs, over socket pairs",
    ),
    when(
        libc::SYS_sendto,
        &[&[NO_ADDRESS]],
        "bytes to the other end of a socket pair",
    ),
    when(
        libc::SYS_recvfrom,
        &[&[NO_ADDRESS]],
        "bytes from the other end of a socket pair",
    ),
    always(libc::SYS_recvmsg, "answers of stubs, over socket pairs"),
    when(
        libc::SYS_socketpair,
        &[&[is(0, libc::AF_UNIX)]],
        "a channel to a new stub; connected to nothing else",
    ),
    when(
        libc::SYS_setsockopt,
        &[&[is(1, libc::SOL_SOCKET), is(2, libc::SO_PASSCRED)]],
        "who wrote, on the channel to a stub",
    ),
    always(libc::SYS_shutdown, "end of a channel"),
    // ---- files, below directories that are open; the process's own root is empty ----
    when(
        libc::SYS_openat,
        &[&[is_fd(0)]],
        "path walk, one component at a time",
    ),
    when(
        libc::SYS_openat2,
        &[&[is_fd(0)]],
        "path walk that never follows links (RESOLVE_*)",
    ),
    when(libc::SYS_newfstatat, &[&[is_fd(0)]], "attributes"),
    always(libc::SYS_fstat, "attributes of an open file"),
    when(
        libc::SYS_statx,
        &[&[is_fd(0)]],
        "attributes with birth time",
    ),
    always(libc::SYS_fstatfs, "size of a file system"),
    always(libc::SYS_getdents64, "directories"),
    when(
        libc::SYS_readlinkat,
        &[&[is_fd(0)]],
        "symbolic links, which the Sentry follows itself",
    ),
    when(
        libc::SYS_faccessat2,
        &[&[is_fd(0)]],
        "rights of a user whose ids aren't mapped",
    ),
    when(
        libc::SYS_mkdirat,
        &[&[is_fd(0)]],
        "writes through to the host, where asked for",
    ),
    when(
        libc::SYS_mknodat,
        &[
            &[is_fd(0), file_type(2, libc::S_IFIFO)],
            &[is_fd(0), file_type(2, libc::S_IFSOCK)],
            &[is_fd(0), file_type(2, libc::S_IFREG)],
        ],
        "FIFOs, names of sockets; no devices",
    ),
    when(
        libc::SYS_unlinkat,
        &[&[is_fd(0)]],
        "writes through to the host, where asked for",
    ),
    when(
        libc::SYS_renameat2,
        &[&[is_fd(0), is_fd(2)]],
        "writes through to the host, where asked for",
    ),
    when(
        libc::SYS_linkat,
        &[&[is_fd(0), is_fd(2)]],
        "writes through to the host, where asked for",
    ),
    when(
        libc::SYS_symlinkat,
        &[&[is_fd(1)]],
        "writes through to the host, where asked for",
    ),
    always(
        libc::SYS_fchmod,
        "writes through to the host, where asked for",
    ),
    when(
        libc::SYS_fchmodat,
        &[&[is_fd(0)]],
        "writes through to the host, where asked for",
    ),
    when(
        libc::SYS_fchmodat2,
        &[&[is_fd(0)]],
        "writes through to the host, where asked for",
    ),
    always(
        libc::SYS_fchown,
        "writes through to the host, where asked for",
    ),
    when(
        libc::SYS_fchownat,
        &[&[is_fd(0)]],
        "writes through to the host, where asked for",
    ),
    when(
        libc::SYS_utimensat,
        &[&[is_fd(0)]],
        "writes through to the host, where asked for",
    ),
    always(
        libc::SYS_fsync,
        "writes through to the host, where asked for",
    ),
    always(
        libc::SYS_fdatasync,
        "writes through to the host, where asked for",
    ),
    always(
        libc::SYS_syncfs,
        "writes through to the host, where asked for",
    ),
    always(
        libc::SYS_sync_file_range,
        "writes through to the host, where asked for",
    ),
    always(libc::SYS_fadvise64, "read-ahead"),
    always(libc::SYS_copy_file_range, "copies between open files"),
    always(libc::SYS_sendfile, "copies between open files"),
    always(libc::SYS_fgetxattr, "extended attributes"),
    always(libc::SYS_flistxattr, "extended attributes"),
    when(
        sentry::host::fs::SYS_GETXATTRAT,
        &[&[is_fd(0)]],
        "extended attributes of what can't be opened",
    ),
    when(
        sentry::host::fs::SYS_LISTXATTRAT,
        &[&[is_fd(0)]],
        "extended attributes of what can't be opened",
    ),
    always(
        libc::SYS_fsetxattr,
        "extended attributes, where writing was asked for",
    ),
    always(
        libc::SYS_fremovexattr,
        "extended attributes, where writing was asked for",
    ),
    // ---- facts of the host ----
    always(
        libc::SYS_clock_gettime,
        "time, where the vDSO can't tell it",
    ),
    always(libc::SYS_clock_getres, "resolution of clocks"),
    always(libc::SYS_gettimeofday, "time, where the vDSO can't tell it"),
    always(
        libc::SYS_getrandom,
        "randomness for programs and for hash tables",
    ),
    always(libc::SYS_sysinfo, "memory and load of the host"),
    always(libc::SYS_getrusage, "CPU time of the Sentry and its stubs"),
    always(libc::SYS_times, "CPU time of the Sentry and its stubs"),
    when(
        libc::SYS_prlimit64,
        &[&[
            is(0, 0),
            Condition {
                argument: 2,
                wide: true,
                test: SeccompCmpOp::Eq,
                value: 0,
            },
        ]],
        "its own limits, for reading",
    ),
    always(libc::SYS_membarrier, "order between the Sentry's threads"),
];
