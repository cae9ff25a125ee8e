//! Numbers to names.

use arch::Signal;

/// Values and their names. In sets of flags, a combination stands before its parts.
pub type Names = &'static [(u32, &'static str)];

macro_rules! names {
    ($($(#[$doc:meta])* $set:ident: $($name:ident)*;)*) => {
        $($(#[$doc])* pub const $set: Names = &[$((libc::$name as u32, stringify!($name))),*];)*
    };
}

names! {
    /// lseek(2).
    SEEK: SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE;
    /// preadv2(2).
    RWF: RWF_HIPRI RWF_DSYNC RWF_SYNC RWF_NOWAIT RWF_APPEND;
    /// splice(2).
    SPLICE_F: SPLICE_F_MOVE SPLICE_F_NONBLOCK SPLICE_F_MORE SPLICE_F_GIFT;
    /// fallocate(2).
    FALLOC: FALLOC_FL_KEEP_SIZE FALLOC_FL_PUNCH_HOLE FALLOC_FL_COLLAPSE_RANGE FALLOC_FL_ZERO_RANGE
        FALLOC_FL_INSERT_RANGE FALLOC_FL_UNSHARE_RANGE;
    /// open(2), without the access mode.
    OPEN: O_CREAT O_EXCL O_NOCTTY O_TRUNC O_APPEND O_NONBLOCK O_SYNC O_DSYNC O_ASYNC O_DIRECT O_TMPFILE O_DIRECTORY
        O_NOFOLLOW O_NOATIME O_CLOEXEC O_PATH;
    /// close_range(2).
    CLOSE_RANGE_F: CLOSE_RANGE_UNSHARE CLOSE_RANGE_CLOEXEC;
    /// fcntl(2).
    FCNTL_CMD: F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW F_SETOWN F_GETOWN
        F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW F_SETLEASE F_GETLEASE F_NOTIFY F_DUPFD_CLOEXEC
        F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS;
    /// flock(2).
    LOCK: LOCK_SH LOCK_EX LOCK_UN LOCK_NB;
    /// Flags of the *at calls.
    AT: AT_SYMLINK_NOFOLLOW AT_REMOVEDIR AT_SYMLINK_FOLLOW AT_NO_AUTOMOUNT AT_EMPTY_PATH AT_STATX_FORCE_SYNC
        AT_STATX_DONT_SYNC AT_RECURSIVE;
    /// unlinkat(2).
    UNLINK_AT: AT_REMOVEDIR;
    /// access(2).
    ACCESS_MODE: R_OK W_OK X_OK;
    /// renameat2(2).
    RENAME_F: RENAME_NOREPLACE RENAME_EXCHANGE RENAME_WHITEOUT;
    /// eventfd(2).
    EFD: EFD_SEMAPHORE EFD_CLOEXEC EFD_NONBLOCK;
    /// epoll_ctl(2).
    EPOLL_OP: EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD;
    /// epoll events.
    EPOLL: EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDNORM EPOLLRDBAND EPOLLWRNORM EPOLLWRBAND EPOLLMSG
        EPOLLRDHUP EPOLLEXCLUSIVE EPOLLWAKEUP EPOLLONESHOT EPOLLET;
    /// poll(2).
    POLL: POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLRDBAND POLLWRNORM POLLWRBAND POLLRDHUP;
    /// socket(2).
    AF: AF_UNSPEC AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_VSOCK AF_ALG AF_BLUETOOTH AF_KEY;
    /// socket(2).
    SOCK: SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET;
    /// socket(2).
    SOCK_F: SOCK_CLOEXEC SOCK_NONBLOCK;
    /// send(2), recv(2).
    MSG: MSG_OOB MSG_PEEK MSG_DONTROUTE MSG_CTRUNC MSG_TRUNC MSG_DONTWAIT MSG_EOR MSG_WAITALL MSG_CONFIRM MSG_NOSIGNAL
        MSG_MORE MSG_ERRQUEUE MSG_FASTOPEN MSG_CMSG_CLOEXEC;
    /// shutdown(2).
    SHUT: SHUT_RD SHUT_WR SHUT_RDWR;
    /// setsockopt(2).
    SOL: SOL_SOCKET IPPROTO_IP IPPROTO_TCP IPPROTO_UDP IPPROTO_IPV6 SOL_NETLINK;
    /// mmap(2).
    PROT: PROT_READ PROT_WRITE PROT_EXEC PROT_GROWSDOWN PROT_GROWSUP;
    /// mmap(2).
    MAP: MAP_SHARED_VALIDATE MAP_SHARED MAP_PRIVATE MAP_FIXED MAP_ANONYMOUS MAP_32BIT MAP_GROWSDOWN MAP_DENYWRITE
        MAP_EXECUTABLE MAP_LOCKED MAP_NORESERVE MAP_POPULATE MAP_NONBLOCK MAP_STACK MAP_HUGETLB MAP_SYNC
        MAP_FIXED_NOREPLACE;
    /// mremap(2).
    MREMAP_F: MREMAP_MAYMOVE MREMAP_FIXED MREMAP_DONTUNMAP;
    /// madvise(2).
    MADV: MADV_NORMAL MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED MADV_DONTNEED MADV_FREE MADV_REMOVE MADV_DONTFORK
        MADV_DOFORK MADV_MERGEABLE MADV_UNMERGEABLE MADV_HUGEPAGE MADV_NOHUGEPAGE MADV_DONTDUMP MADV_DODUMP
        MADV_WIPEONFORK MADV_KEEPONFORK MADV_COLD MADV_PAGEOUT MADV_POPULATE_READ MADV_POPULATE_WRITE;
    /// msync(2).
    MS: MS_ASYNC MS_INVALIDATE MS_SYNC;
    /// memfd_create(2).
    MFD: MFD_CLOEXEC MFD_ALLOW_SEALING MFD_HUGETLB MFD_NOEXEC_SEAL MFD_EXEC;
    /// clone(2).
    CLONE: CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_PIDFD CLONE_PTRACE CLONE_VFORK CLONE_PARENT CLONE_THREAD
        CLONE_NEWNS CLONE_SYSVSEM CLONE_SETTLS CLONE_PARENT_SETTID CLONE_CHILD_CLEARTID CLONE_DETACHED CLONE_UNTRACED
        CLONE_CHILD_SETTID CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET CLONE_IO;
    /// wait4(2), waitid(2).
    WAIT: WNOHANG WSTOPPED WEXITED WCONTINUED WNOWAIT __WNOTHREAD __WALL __WCLONE;
    /// waitid(2).
    P_TYPE: P_ALL P_PID P_PGID P_PIDFD;
    /// rt_sigprocmask(2).
    SIG_HOW: SIG_BLOCK SIG_UNBLOCK SIG_SETMASK;
    /// sigaction(2).
    SA: SA_NOCLDSTOP SA_NOCLDWAIT SA_SIGINFO SA_ONSTACK SA_RESTART SA_NODEFER SA_RESETHAND;
    /// clock_gettime(2).
    CLOCK: CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID CLOCK_MONOTONIC_RAW
        CLOCK_REALTIME_COARSE CLOCK_MONOTONIC_COARSE CLOCK_BOOTTIME CLOCK_REALTIME_ALARM CLOCK_BOOTTIME_ALARM CLOCK_TAI;
    /// getrlimit(2).
    RLIMIT: RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE
        RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME;
    /// prctl(2).
    PR: PR_SET_PDEATHSIG PR_GET_PDEATHSIG PR_GET_DUMPABLE PR_SET_DUMPABLE PR_GET_KEEPCAPS PR_SET_KEEPCAPS PR_SET_NAME
        PR_GET_NAME PR_GET_SECCOMP PR_SET_SECCOMP PR_CAPBSET_READ PR_CAPBSET_DROP PR_GET_SECUREBITS PR_SET_SECUREBITS
        PR_SET_TIMERSLACK PR_GET_TIMERSLACK PR_SET_MM PR_SET_CHILD_SUBREAPER PR_GET_CHILD_SUBREAPER PR_SET_NO_NEW_PRIVS
        PR_GET_NO_NEW_PRIVS PR_GET_TID_ADDRESS PR_SET_THP_DISABLE PR_GET_THP_DISABLE PR_CAP_AMBIENT PR_SET_VMA
        PR_SET_PTRACER;
    /// ioctl(2): those that are common.
    IOCTL: TCGETS TCSETS TCSETSW TCSETSF TIOCGWINSZ TIOCSWINSZ TIOCGPGRP TIOCSPGRP TIOCGSID TIOCSCTTY TIOCNOTTY TIOCSTI
        TIOCGPTN TIOCSPTLCK TIOCGPTPEER TCSBRK TCXONC TCFLSH TIOCOUTQ FIONREAD FIONBIO FIOCLEX FIONCLEX FIOASYNC
        FICLONE FICLONERANGE FS_IOC_GETFLAGS FS_IOC_SETFLAGS;
    /// futex(2): commands.
    FUTEX: FUTEX_WAIT FUTEX_WAKE FUTEX_FD FUTEX_REQUEUE FUTEX_CMP_REQUEUE FUTEX_WAKE_OP FUTEX_LOCK_PI FUTEX_UNLOCK_PI
        FUTEX_TRYLOCK_PI FUTEX_WAIT_BITSET FUTEX_WAKE_BITSET FUTEX_WAIT_REQUEUE_PI FUTEX_CMP_REQUEUE_PI FUTEX_LOCK_PI2;
    /// futex(2): options.
    FUTEX_F: FUTEX_PRIVATE_FLAG FUTEX_CLOCK_REALTIME;
}

/// arch_prctl(2).
pub const ARCH: Names = &[
    (0x1001, "ARCH_SET_GS"),
    (0x1002, "ARCH_SET_FS"),
    (0x1003, "ARCH_GET_FS"),
    (0x1004, "ARCH_GET_GS"),
];

/// Flags as names, what has none in hexadecimal; `0` for none.
pub fn bits(names: Names, mut value: u32) -> String {
    let mut out: Vec<&str> = Vec::new();
    for (bits, name) in names {
        if *bits != 0 && value & bits == *bits {
            out.push(name);
            value &= !bits;
        }
    }
    let mut out = out.join("|");
    if value != 0 || out.is_empty() {
        if !out.is_empty() {
            out.push('|');
        }
        out += &if value == 0 {
            "0".into()
        } else {
            format!("{value:#x}")
        };
    }
    out
}

/// One of several; in decimal if it isn't one of them.
pub fn one(names: Names, value: u32) -> String {
    match names.iter().find(|(n, _)| *n == value) {
        Some((_, name)) => (*name).into(),
        None => value.cast_signed().to_string(),
    }
}

/// A signal.
pub fn signal(number: u64) -> String {
    match i32::try_from(number).ok().and_then(Signal::from_raw) {
        Some(signal) => match signal.standard_name() {
            Some(name) => name.into(),
            None => format!("SIGRT_{}", signal.raw() - 32),
        },
        None => number.cast_signed().to_string(),
    }
}

/// `si_code` of a signal.
pub fn signal_code(signal: i32, code: i32) -> String {
    const GENERAL: &[(i32, &str)] = &[
        (0, "SI_USER"),
        (0x80, "SI_KERNEL"),
        (-1, "SI_QUEUE"),
        (-2, "SI_TIMER"),
        (-3, "SI_MESGQ"),
        (-4, "SI_ASYNCIO"),
        (-5, "SI_SIGIO"),
        (-6, "SI_TKILL"),
    ];
    if let Some((_, name)) = GENERAL.iter().find(|(n, _)| *n == code) {
        return (*name).into();
    }
    let own: &[&str] = match signal {
        libc::SIGSEGV => &["SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR"],
        libc::SIGBUS => &[
            "BUS_ADRALN",
            "BUS_ADRERR",
            "BUS_OBJERR",
            "BUS_MCEERR_AR",
            "BUS_MCEERR_AO",
        ],
        libc::SIGFPE => &[
            "FPE_INTDIV",
            "FPE_INTOVF",
            "FPE_FLTDIV",
            "FPE_FLTOVF",
            "FPE_FLTUND",
            "FPE_FLTRES",
            "FPE_FLTINV",
            "FPE_FLTSUB",
        ],
        libc::SIGILL => &[
            "ILL_ILLOPC",
            "ILL_ILLOPN",
            "ILL_ILLADR",
            "ILL_ILLTRP",
            "ILL_PRVOPC",
            "ILL_PRVREG",
            "ILL_COPROC",
            "ILL_BADSTK",
        ],
        libc::SIGTRAP => &["TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT"],
        libc::SIGCHLD => &[
            "CLD_EXITED",
            "CLD_KILLED",
            "CLD_DUMPED",
            "CLD_TRAPPED",
            "CLD_STOPPED",
            "CLD_CONTINUED",
        ],
        libc::SIGSYS => &["SYS_SECCOMP", "SYS_USER_DISPATCH"],
        _ => &[],
    };
    let index = usize::try_from(code).ok().and_then(|n| n.checked_sub(1));
    index
        .and_then(|i| own.get(i))
        .map_or_else(|| code.to_string(), |name| (*name).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags() {
        assert_eq!(bits(PROT, 0), "0");
        assert_eq!(bits(PROT, 3), "PROT_READ|PROT_WRITE");
        assert_eq!(bits(PROT, 0x8001), "PROT_READ|0x8000");
        assert_eq!(bits(OPEN, libc::O_SYNC as u32), "O_SYNC");
        assert_eq!(bits(OPEN, libc::O_DSYNC as u32), "O_DSYNC");
        assert_eq!(bits(OPEN, libc::O_TMPFILE as u32), "O_TMPFILE");
        assert_eq!(bits(MAP, 3), "MAP_SHARED_VALIDATE");
        assert_eq!(one(SEEK, 9), "9");
    }

    #[test]
    fn signals() {
        assert_eq!(signal(9), "SIGKILL");
        assert_eq!(signal(34), "SIGRT_2");
        assert_eq!(signal(u64::MAX), "-1");
        assert_eq!(signal_code(libc::SIGCHLD, 1), "CLD_EXITED");
        assert_eq!(signal_code(libc::SIGSEGV, 0x80), "SI_KERNEL");
        assert_eq!(signal_code(libc::SIGSEGV, 99), "99");
        assert_eq!(signal_code(libc::SIGSEGV, i32::MIN), "-2147483648");
    }
}
