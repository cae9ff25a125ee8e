//! Which argument of which call is what.

use super::names::*;
use arch::nr;

/// What an argument is. Numbers in a kind are indexes of other arguments.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// int.
    Int,
    /// unsigned int.
    Uint,
    /// Signed and 64 bits wide: an offset.
    Long,
    /// Unsigned and 64 bits wide: a length.
    Size,
    /// In hexadecimal.
    Hex,
    /// A mode: in octal.
    Octal,
    /// A pointer that isn't followed.
    Pointer,
    /// A file descriptor.
    Fd,
    /// A descriptor or AT_FDCWD.
    Dir,
    /// A path.
    Path,
    /// A string.
    Text,
    /// Bytes to read, as many as argument `.0` says.
    Bytes(u8),
    /// Bytes that the call writes, as many as it returns.
    Filled,
    /// A string that the call writes.
    FilledText,
    /// Flags, the low 32 bits.
    Bits(Names),
    /// One of several, the low 32 bits.
    One(Names),
    /// Flags of open(2).
    OpenFlags,
    /// The mode of open(2): left out unless argument `.0` has O_CREAT or O_TMPFILE.
    CreationMode(u8),
    /// struct open_how.
    OpenHow,
    /// Device type and flags of socket(2).
    SocketType,
    /// A signal number.
    Signal,
    /// A signal set to read.
    SignalSet,
    /// A signal set that the call writes.
    FilledSignalSet,
    /// struct sigaction to read.
    Action,
    /// struct sigaction that the call writes.
    FilledAction,
    /// struct timespec to read.
    Timespec,
    /// struct timespec that the call writes.
    FilledTimespec,
    /// struct timeval to read.
    Timeval,
    /// struct timeval that the call writes.
    FilledTimeval,
    /// struct itimerval or itimerspec to read.
    Interval,
    /// Two struct timespec to read.
    Timespecs,
    /// struct iovec, argument `.0` of them, whose bytes are read.
    Iovec(u8),
    /// The same, whose bytes the call writes.
    FilledIovec(u8),
    /// Pointers to strings, up to a null one.
    Strings,
    /// As `Strings`, but only counted.
    StringCount,
    /// struct stat that the call writes.
    Stat,
    /// Two descriptors that the call writes.
    FilledFds,
    /// An int to read.
    IntAt,
    /// An int that the call writes.
    FilledInt,
    /// A 64-bit number that is read (and perhaps written).
    LongAt,
    /// A status of wait(2) that the call writes.
    WaitStatus,
    /// A socket address of the length in argument `.0`.
    Address(u8),
    /// A socket address that the call writes; its length is at argument `.0`.
    FilledAddress(u8),
    /// struct msghdr to read.
    Message,
    /// struct msghdr that the call writes.
    FilledMessage,
    /// struct pollfd, argument `.0` of them.
    Poll(u8),
    /// struct epoll_event to read.
    EpollEvent,
    /// struct epoll_event that the call writes, as many as it returns.
    FilledEpollEvents,
    /// struct rlimit to read.
    Rlimit,
    /// struct rlimit that the call writes.
    FilledRlimit,
    /// Flags of clone(2), exit signal included.
    CloneFlags,
    /// struct clone_args of the length in argument `.0`.
    CloneArgs(u8),
    /// Operation of futex(2).
    FutexOp,
    /// Command of ioctl(2).
    Ioctl,
    /// Argument of fcntl(2), by its command.
    FcntlArg,
    /// sigset_t and size of pselect6.
    PselectMask,
    /// File descriptor set, argument `.0` descriptors.
    FdSet(u8),
}

/// What a call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// A number.
    Number,
    /// An address.
    Address,
    /// A mode.
    Mode,
    /// It doesn't answer.
    Nothing,
}

/// How the result of a call is shown.
pub fn result(number: u64) -> Return {
    match number {
        nr::MMAP | nr::MREMAP | nr::BRK | nr::SHMAT => Return::Address,
        nr::UMASK => Return::Mode,
        nr::RT_SIGRETURN | nr::EXIT | nr::EXIT_GROUP => Return::Nothing,
        _ => Return::Number,
    }
}

macro_rules! formats {
    ($($($name:ident)|+ => $($kind:expr),*;)*) => {
        /// The arguments of a call; for one that isn't known, six words.
        pub fn arguments(number: u64) -> &'static [Kind] {
            use Kind::*;
            match number {
                $($(nr::$name)|+ => const { &[$($kind),*] },)*
                _ => const { &[Hex; 6] },
            }
        }
    };
}

formats! {
    // ---- reading and writing ----
    READ => Fd, Filled, Size;
    PREAD64 => Fd, Filled, Size, Long;
    READV => Fd, FilledIovec(2), Size;
    PREADV => Fd, FilledIovec(2), Size, Long;
    PREADV2 => Fd, FilledIovec(2), Size, Long, Hex, Bits(RWF);
    WRITE => Fd, Bytes(2), Size;
    PWRITE64 => Fd, Bytes(2), Size, Long;
    WRITEV => Fd, Iovec(2), Size;
    PWRITEV => Fd, Iovec(2), Size, Long;
    PWRITEV2 => Fd, Iovec(2), Size, Long, Hex, Bits(RWF);
    LSEEK => Fd, Long, One(SEEK);
    SENDFILE => Fd, Fd, LongAt, Size;
    SPLICE => Fd, LongAt, Fd, LongAt, Size, Bits(SPLICE_F);
    TEE => Fd, Fd, Size, Bits(SPLICE_F);
    VMSPLICE => Fd, Iovec(2), Size, Bits(SPLICE_F);
    COPY_FILE_RANGE => Fd, LongAt, Fd, LongAt, Size, Hex;
    FALLOCATE => Fd, Bits(FALLOC), Long, Long;
    FADVISE64 => Fd, Long, Long, Int;
    READAHEAD => Fd, Long, Size;
    FSYNC | FDATASYNC | SYNCFS => Fd;
    SYNC_FILE_RANGE => Fd, Long, Long, Hex;
    FTRUNCATE => Fd, Long;
    TRUNCATE => Path, Long;
    // ---- descriptors ----
    OPEN => Path, OpenFlags, CreationMode(1);
    OPENAT => Dir, Path, OpenFlags, CreationMode(2);
    OPENAT2 => Dir, Path, OpenHow, Size;
    CREAT => Path, Octal;
    CLOSE => Fd;
    CLOSE_RANGE => Uint, Uint, Bits(CLOSE_RANGE_F);
    DUP => Fd;
    DUP2 => Fd, Fd;
    DUP3 => Fd, Fd, Bits(OPEN);
    FCNTL => Fd, One(FCNTL_CMD), FcntlArg;
    IOCTL => Fd, Ioctl, Hex;
    FLOCK => Fd, Bits(LOCK);
    // ---- names and attributes ----
    STAT | LSTAT => Path, Stat;
    FSTAT => Fd, Stat;
    NEWFSTATAT => Dir, Path, Stat, Bits(AT);
    STATX => Dir, Path, Bits(AT), Hex, Pointer;
    STATFS => Path, Pointer;
    FSTATFS => Fd, Pointer;
    ACCESS => Path, Bits(ACCESS_MODE);
    FACCESSAT => Dir, Path, Bits(ACCESS_MODE);
    FACCESSAT2 => Dir, Path, Bits(ACCESS_MODE), Bits(AT);
    MKDIR => Path, Octal;
    MKDIRAT => Dir, Path, Octal;
    MKNOD => Path, Octal, Hex;
    MKNODAT => Dir, Path, Octal, Hex;
    RMDIR | UNLINK | CHDIR | CHROOT => Path;
    UNLINKAT => Dir, Path, Bits(UNLINK_AT);
    RENAME | LINK => Path, Path;
    SYMLINK => Text, Path;
    RENAMEAT => Dir, Path, Dir, Path;
    RENAMEAT2 => Dir, Path, Dir, Path, Bits(RENAME_F);
    LINKAT => Dir, Path, Dir, Path, Bits(AT);
    SYMLINKAT => Text, Dir, Path;
    READLINK => Path, Filled, Size;
    READLINKAT => Dir, Path, Filled, Size;
    CHMOD => Path, Octal;
    FCHMOD => Fd, Octal;
    FCHMODAT => Dir, Path, Octal;
    FCHMODAT2 => Dir, Path, Octal, Bits(AT);
    CHOWN | LCHOWN => Path, Int, Int;
    FCHOWN => Fd, Int, Int;
    FCHOWNAT => Dir, Path, Int, Int, Bits(AT);
    UTIMENSAT => Dir, Path, Timespecs, Bits(AT);
    FUTIMESAT => Dir, Path, Pointer;
    UTIME | UTIMES => Path, Pointer;
    GETDENTS | GETDENTS64 => Fd, Pointer, Uint;
    GETCWD => FilledText, Size;
    FCHDIR => Fd;
    UMASK => Octal;
    GETXATTR | LGETXATTR => Path, Text, Pointer, Size;
    FGETXATTR => Fd, Text, Pointer, Size;
    SETXATTR | LSETXATTR => Path, Text, Bytes(3), Size, Hex;
    FSETXATTR => Fd, Text, Bytes(3), Size, Hex;
    LISTXATTR | LLISTXATTR => Path, Filled, Size;
    FLISTXATTR => Fd, Filled, Size;
    REMOVEXATTR | LREMOVEXATTR => Path, Text;
    FREMOVEXATTR => Fd, Text;
    MOUNT => Path, Path, Text, Hex, Pointer;
    UMOUNT2 => Path, Hex;
    PIVOT_ROOT => Path, Path;
    SYNC => ;
    INOTIFY_INIT => ;
    INOTIFY_INIT1 => Bits(OPEN);
    INOTIFY_ADD_WATCH => Fd, Path, Hex;
    INOTIFY_RM_WATCH => Fd, Int;
    // ---- pipes, events, readiness ----
    PIPE => FilledFds;
    PIPE2 => FilledFds, Bits(OPEN);
    EVENTFD => Uint;
    EVENTFD2 => Uint, Bits(EFD);
    POLL => Poll(1), Size, Int;
    PPOLL => Poll(1), Size, Timespec, SignalSet, Size;
    SELECT => Int, FdSet(0), FdSet(0), FdSet(0), Timeval;
    PSELECT6 => Int, FdSet(0), FdSet(0), FdSet(0), Timespec, PselectMask;
    EPOLL_CREATE => Int;
    EPOLL_CREATE1 => Bits(OPEN);
    EPOLL_CTL => Fd, One(EPOLL_OP), Fd, EpollEvent;
    EPOLL_WAIT => Fd, FilledEpollEvents, Int, Int;
    EPOLL_PWAIT => Fd, FilledEpollEvents, Int, Int, SignalSet, Size;
    EPOLL_PWAIT2 => Fd, FilledEpollEvents, Int, Timespec, SignalSet, Size;
    SIGNALFD => Fd, SignalSet, Size;
    SIGNALFD4 => Fd, SignalSet, Size, Bits(OPEN);
    TIMERFD_CREATE => One(CLOCK), Bits(OPEN);
    TIMERFD_SETTIME => Fd, Hex, Interval, Pointer;
    TIMERFD_GETTIME => Fd, Pointer;
    // ---- sockets ----
    SOCKET => One(AF), SocketType, Int;
    SOCKETPAIR => One(AF), SocketType, Int, FilledFds;
    BIND | CONNECT => Fd, Address(2), Int;
    LISTEN => Fd, Int;
    ACCEPT => Fd, FilledAddress(2), IntAt;
    ACCEPT4 => Fd, FilledAddress(2), IntAt, SocketType;
    GETSOCKNAME | GETPEERNAME => Fd, FilledAddress(2), IntAt;
    SENDTO => Fd, Bytes(2), Size, Bits(MSG), Address(5), Int;
    RECVFROM => Fd, Filled, Size, Bits(MSG), FilledAddress(5), IntAt;
    SENDMSG => Fd, Message, Bits(MSG);
    RECVMSG => Fd, FilledMessage, Bits(MSG);
    SENDMMSG => Fd, Pointer, Uint, Bits(MSG);
    RECVMMSG => Fd, Pointer, Uint, Bits(MSG), Timespec;
    SHUTDOWN => Fd, One(SHUT);
    SETSOCKOPT => Fd, One(SOL), Int, Bytes(4), Int;
    GETSOCKOPT => Fd, One(SOL), Int, Pointer, IntAt;
    // ---- memory ----
    MMAP => Pointer, Size, Bits(PROT), Bits(MAP), Fd, Long;
    MUNMAP => Pointer, Size;
    MPROTECT => Pointer, Size, Bits(PROT);
    MREMAP => Pointer, Size, Size, Bits(MREMAP_F), Pointer;
    MADVISE => Pointer, Size, One(MADV);
    MSYNC => Pointer, Size, Bits(MS);
    MINCORE => Pointer, Size, Pointer;
    MLOCK | MUNLOCK => Pointer, Size;
    MLOCK2 => Pointer, Size, Hex;
    MLOCKALL => Hex;
    BRK => Pointer;
    MEMFD_CREATE => Text, Bits(MFD);
    SHMGET => Hex, Size, Hex;
    SHMAT => Int, Pointer, Hex;
    SHMDT => Pointer;
    MEMBARRIER => Int, Hex, Int;
    PROCESS_VM_READV | PROCESS_VM_WRITEV => Int, Pointer, Size, Pointer, Size, Hex;
    // ---- processes and threads ----
    CLONE => CloneFlags, Pointer, Pointer, Pointer, Hex;
    CLONE3 => CloneArgs(1), Size;
    FORK | VFORK | GETPID | GETPPID | GETTID | GETPGRP | SETSID | SCHED_YIELD | PAUSE | RESTART_SYSCALL | RT_SIGRETURN => ;
    EXECVE => Path, Strings, StringCount;
    EXECVEAT => Dir, Path, Strings, StringCount, Bits(AT);
    EXIT | EXIT_GROUP => Int;
    WAIT4 => Int, WaitStatus, Bits(WAIT), Pointer;
    WAITID => One(P_TYPE), Int, Pointer, Bits(WAIT), Pointer;
    FUTEX => Pointer, FutexOp, Uint, Hex, Pointer, Hex;
    SET_TID_ADDRESS => Pointer;
    SET_ROBUST_LIST => Pointer, Size;
    GET_ROBUST_LIST => Int, Pointer, Pointer;
    RSEQ => Pointer, Uint, Hex, Hex;
    ARCH_PRCTL => One(ARCH), Pointer;
    PRCTL => One(PR), Hex, Hex, Hex, Hex;
    PIDFD_OPEN => Int, Hex;
    PIDFD_SEND_SIGNAL => Fd, Signal, Pointer, Hex;
    GETPGID | GETSID => Int;
    SETPGID => Int, Int;
    PERSONALITY => Hex;
    UNSHARE => CloneFlags;
    SETNS => Fd, Hex;
    PTRACE => Int, Int, Hex, Hex;
    SCHED_GETAFFINITY | SCHED_SETAFFINITY => Int, Size, Pointer;
    SCHED_GETPARAM | SCHED_SETPARAM => Int, Pointer;
    SCHED_SETSCHEDULER => Int, Int, Pointer;
    SCHED_GETSCHEDULER | SCHED_GET_PRIORITY_MAX | SCHED_GET_PRIORITY_MIN => Int;
    GETPRIORITY => Int, Int;
    SETPRIORITY => Int, Int, Int;
    GETCPU => FilledInt, FilledInt, Pointer;
    // ---- credentials ----
    GETUID | GETEUID | GETGID | GETEGID => ;
    SETUID | SETGID | SETFSUID | SETFSGID => Int;
    SETREUID | SETREGID => Int, Int;
    SETRESUID | SETRESGID => Int, Int, Int;
    GETRESUID | GETRESGID => FilledInt, FilledInt, FilledInt;
    GETGROUPS | SETGROUPS => Int, Pointer;
    CAPGET | CAPSET => Pointer, Pointer;
    // ---- signals ----
    KILL => Int, Signal;
    TKILL => Int, Signal;
    TGKILL => Int, Int, Signal;
    RT_SIGACTION => Signal, Action, FilledAction, Size;
    RT_SIGPROCMASK => One(SIG_HOW), SignalSet, FilledSignalSet, Size;
    RT_SIGPENDING => FilledSignalSet, Size;
    RT_SIGSUSPEND => SignalSet, Size;
    RT_SIGTIMEDWAIT => SignalSet, Pointer, Timespec, Size;
    RT_SIGQUEUEINFO => Int, Signal, Pointer;
    RT_TGSIGQUEUEINFO => Int, Int, Signal, Pointer;
    SIGALTSTACK => Pointer, Pointer;
    // ---- time ----
    NANOSLEEP => Timespec, FilledTimespec;
    CLOCK_NANOSLEEP => One(CLOCK), Hex, Timespec, FilledTimespec;
    CLOCK_GETTIME | CLOCK_GETRES => One(CLOCK), FilledTimespec;
    CLOCK_SETTIME => One(CLOCK), Timespec;
    GETTIMEOFDAY => FilledTimeval, Pointer;
    TIME => Pointer;
    TIMES => Pointer;
    ALARM => Uint;
    GETITIMER => Int, Pointer;
    SETITIMER => Int, Interval, Pointer;
    TIMER_CREATE => One(CLOCK), Pointer, FilledInt;
    TIMER_SETTIME => Int, Hex, Interval, Pointer;
    TIMER_GETTIME => Int, Pointer;
    TIMER_GETOVERRUN | TIMER_DELETE => Int;
    // ---- limits, accounting, system ----
    GETRLIMIT => One(RLIMIT), FilledRlimit;
    SETRLIMIT => One(RLIMIT), Rlimit;
    PRLIMIT64 => Int, One(RLIMIT), Rlimit, FilledRlimit;
    GETRUSAGE => Int, Pointer;
    UNAME | SYSINFO => Pointer;
    SETHOSTNAME | SETDOMAINNAME => Text, Size;
    GETRANDOM => Filled, Size, Hex;
    SECCOMP => Int, Hex, Pointer;
}
