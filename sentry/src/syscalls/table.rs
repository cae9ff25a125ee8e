//! Every implemented call: number, handler, support.
//!
//! Grouped by area; a row is `NAME => sync|async module::handler(argument indices) Support;`. The macro makes from it both
//! the dispatcher and the rows that `runsc syscalls` and docs/SYSCALLS.md show. What has no row is ENOSYS and is counted.

use super::{Arg, IntoRet, Row, Support};
use super::{attr, copy, dir, fd, lock, mount, open, path, rw, xattr};
use super::{cred, limits, prctl, process, sched, seccomp, signal, system, time};
use super::{epoll, event, message, pipe, poll, socket, splice};
use super::{futex, ipc, memfd, mm, mq, numa, shm, vm};
use crate::task::Cx;
use arch::nr;
use arch::{Errno, Result};

macro_rules! call {
    (sync, $cx:ident, $args:ident, $($path:ident)::+, $($i:literal)*) => {
        $($path)::+($cx $(, Arg($args[$i]).into())*).map(IntoRet::into_ret)
    };
    (async, $cx:ident, $args:ident, $($path:ident)::+, $($i:literal)*) => {
        $($path)::+($cx $(, Arg($args[$i]).into())*).await.map(IntoRet::into_ret)
    };
}

macro_rules! syscalls {
    ($($name:ident => $kind:tt $($path:ident)::+ ($($i:literal)*) $support:expr;)*) => {
        /// Every call that has a handler.
        pub const ROWS: &[Row] = &[$(Row { nr: nr::$name, support: $support }),*];

        /// Runs the handler of call `number`. ENOSYS for one that there is none for.
        pub async fn dispatch(cx: &Cx, number: u64, args: &[u64; 6]) -> Result<u64> {
            match number {
                $(nr::$name => call!($kind, cx, args, $($path)::+, $($i)*),)*
                _ => {
                    let _ = (cx, args);
                    Err(Errno::ENOSYS)
                }
            }
        }
    };
}

#[allow(unused_imports)]
use Support::{Full, Partial};

syscalls! {
    // ---- reading and writing: rw ----
    READ => async rw::read(0 1 2) Full;
    WRITE => async rw::write(0 1 2) Full;
    PREAD64 => async rw::pread64(0 1 2 3) Full;
    PWRITE64 => async rw::pwrite64(0 1 2 3) Full;
    READV => async rw::readv(0 1 2) Full;
    WRITEV => async rw::writev(0 1 2) Full;
    PREADV => async rw::preadv(0 1 2 3) Full;
    PWRITEV => async rw::pwritev(0 1 2 3) Full;
    PREADV2 => async rw::preadv2(0 1 2 3 5) Partial("RWF_NOWAIT on pipes and sockets only");
    PWRITEV2 => async rw::pwritev2(0 1 2 3 5) Partial("RWF_NOWAIT on pipes and sockets only; no RWF_ATOMIC");
    LSEEK => sync rw::lseek(0 1 2) Full;
    FSYNC => async rw::fsync(0) Full;
    FDATASYNC => async rw::fdatasync(0) Full;
    SYNC => async rw::sync() Full;
    SYNCFS => async rw::syncfs(0) Full;
    SYNC_FILE_RANGE => async rw::sync_file_range(0 1 2 3) Partial("syncs all data of the file");
    READAHEAD => sync rw::readahead(0) Partial("checked; the host reads ahead by itself");
    FADVISE64 => sync rw::fadvise64(0 1 2 3) Partial("checked; advice has no effect");
    COPY_FILE_RANGE => sync copy::copy_file_range(0 1 2 3 4 5) Full;
    // ---- opening, closing, descriptors: fd, open ----
    OPEN => async open::open(0 1 2) Full;
    OPENAT => async open::openat(0 1 2 3) Full;
    OPENAT2 => async open::openat2(0 1 2 3) Partial("RESOLVE_CACHED answers EAGAIN more often");
    CREAT => async open::creat(0 1) Full;
    CLOSE => sync open::close(0) Full;
    CLOSE_RANGE => sync fd::close_range(0 1 2) Full;
    DUP => sync fd::dup(0) Full;
    DUP2 => sync fd::dup2(0 1) Full;
    DUP3 => sync fd::dup3(0 1 2) Full;
    FCNTL => async fd::fcntl(0 1 2) Partial("no leases, no F_NOTIFY (EINVAL)");
    IOCTL => sync fd::ioctl(0 1 2) Partial("what each kind of file has");
    GETDENTS => sync dir::getdents(0 1 2) Full;
    GETDENTS64 => sync dir::getdents64(0 1 2) Full;
    // ---- names and attributes: path, attr, xattr ----
    MKDIR => sync path::mkdir(0 1) Full;
    MKDIRAT => sync path::mkdirat(0 1 2) Full;
    MKNOD => sync path::mknod(0 1 2) Full;
    MKNODAT => sync path::mknodat(0 1 2 3) Full;
    SYMLINK => sync path::symlink(0 1) Full;
    SYMLINKAT => sync path::symlinkat(0 1 2) Full;
    LINK => sync path::link(0 1) Full;
    LINKAT => sync path::linkat(0 1 2 3 4) Full;
    UNLINK => sync path::unlink(0) Full;
    UNLINKAT => sync path::unlinkat(0 1 2) Full;
    RMDIR => sync path::rmdir(0) Full;
    RENAME => sync path::rename(0 1) Full;
    RENAMEAT => sync path::renameat(0 1 2 3) Full;
    RENAMEAT2 => sync path::renameat2(0 1 2 3 4) Partial("RENAME_WHITEOUT depends on the file system");
    READLINK => sync path::readlink(0 1 2) Full;
    READLINKAT => sync path::readlinkat(0 1 2 3) Full;
    CHDIR => sync path::chdir(0) Full;
    FCHDIR => sync path::fchdir(0) Full;
    CHROOT => sync path::chroot(0) Full;
    GETCWD => sync path::getcwd(0 1) Full;
    UMASK => sync path::umask(0) Full;
    MOUNT => sync mount::mount(0 1 2 3 4) Partial("tmpfs, ramfs, proc, sysfs, cgroup2, devpts, mqueue, binds, moves, remounts, propagation; no file systems on devices or of the network (ENODEV)");
    UMOUNT2 => sync mount::umount2(0 1) Full;
    PIVOT_ROOT => sync mount::pivot_root(0 1) Full;
    UNSHARE => sync mount::unshare(0) Partial("CLONE_FILES, CLONE_FS, CLONE_NEWNS; other namespaces are EINVAL");
    STAT => sync attr::stat(0 1) Full;
    LSTAT => sync attr::lstat(0 1) Full;
    FSTAT => sync attr::fstat(0 1) Full;
    NEWFSTATAT => sync attr::newfstatat(0 1 2 3) Full;
    STATX => sync attr::statx(0 1 2 3 4) Full;
    CHMOD => sync attr::chmod(0 1) Full;
    FCHMOD => sync attr::fchmod(0 1) Full;
    FCHMODAT => sync attr::fchmodat(0 1 2) Full;
    FCHMODAT2 => sync attr::fchmodat2(0 1 2 3) Full;
    CHOWN => sync attr::chown(0 1 2) Full;
    LCHOWN => sync attr::lchown(0 1 2) Full;
    FCHOWN => sync attr::fchown(0 1 2) Full;
    FCHOWNAT => sync attr::fchownat(0 1 2 3 4) Full;
    UTIME => sync attr::utime(0 1) Full;
    UTIMES => sync attr::utimes(0 1) Full;
    FUTIMESAT => sync attr::futimesat(0 1 2) Full;
    UTIMENSAT => sync attr::utimensat(0 1 2 3) Full;
    ACCESS => sync attr::access(0 1) Full;
    FACCESSAT => sync attr::faccessat(0 1 2) Full;
    FACCESSAT2 => sync attr::faccessat2(0 1 2 3) Full;
    TRUNCATE => sync attr::truncate(0 1) Full;
    FTRUNCATE => sync attr::ftruncate(0 1) Full;
    FALLOCATE => async attr::fallocate(0 1 2 3) Full;
    STATFS => sync attr::statfs(0 1) Full;
    FSTATFS => sync attr::fstatfs(0 1) Full;
    SETXATTR => sync xattr::setxattr(0 1 2 3 4) Full;
    LSETXATTR => sync xattr::lsetxattr(0 1 2 3 4) Full;
    FSETXATTR => sync xattr::fsetxattr(0 1 2 3 4) Full;
    GETXATTR => sync xattr::getxattr(0 1 2 3) Full;
    LGETXATTR => sync xattr::lgetxattr(0 1 2 3) Full;
    FGETXATTR => sync xattr::fgetxattr(0 1 2 3) Full;
    LISTXATTR => sync xattr::listxattr(0 1 2) Full;
    LLISTXATTR => sync xattr::llistxattr(0 1 2) Full;
    FLISTXATTR => sync xattr::flistxattr(0 1 2) Full;
    REMOVEXATTR => sync xattr::removexattr(0 1) Full;
    LREMOVEXATTR => sync xattr::lremovexattr(0 1) Full;
    FREMOVEXATTR => sync xattr::fremovexattr(0 1) Full;
    // ---- file locks, notification ----
    FLOCK => async lock::flock(0 1) Full;
    // ---- pipes, events, readiness ----
    PIPE => sync pipe::pipe(0) Full;
    PIPE2 => sync pipe::pipe2(0 1) Partial("no notification pipes");
    EVENTFD => sync event::eventfd(0) Full;
    EVENTFD2 => sync event::eventfd2(0 1) Full;
    TIMERFD_CREATE => sync event::timerfd_create(0 1) Full;
    TIMERFD_SETTIME => sync event::timerfd_settime(0 1 2 3) Partial("TFD_TIMER_CANCEL_ON_SET never cancels: nobody sets the clock");
    TIMERFD_GETTIME => sync event::timerfd_gettime(0 1) Full;
    SIGNALFD => sync event::signalfd(0 1 2) Full;
    SIGNALFD4 => sync event::signalfd4(0 1 2 3) Full;
    PIDFD_OPEN => sync event::pidfd_open(0 1) Partial("no PIDFD_THREAD");
    PIDFD_GETFD => sync event::pidfd_getfd(0 1 2) Full;
    INOTIFY_INIT => sync event::inotify_init() Full;
    INOTIFY_INIT1 => sync event::inotify_init1(0) Full;
    INOTIFY_ADD_WATCH => sync event::inotify_add_watch(0 1 2) Full;
    INOTIFY_RM_WATCH => sync event::inotify_rm_watch(0 1) Full;
    EPOLL_CREATE => sync epoll::epoll_create(0) Full;
    EPOLL_CREATE1 => sync epoll::epoll_create1(0) Full;
    EPOLL_CTL => sync epoll::epoll_ctl(0 1 2 3) Full;
    EPOLL_WAIT => async epoll::epoll_wait(0 1 2 3) Full;
    EPOLL_PWAIT => async epoll::epoll_pwait(0 1 2 3 4 5) Full;
    EPOLL_PWAIT2 => async epoll::epoll_pwait2(0 1 2 3 4 5) Full;
    POLL => async poll::poll(0 1 2) Full;
    PPOLL => async poll::ppoll(0 1 2 3 4) Full;
    SELECT => async poll::select(0 1 2 3 4) Full;
    PSELECT6 => async poll::pselect6(0 1 2 3 4 5) Full;
    SPLICE => async splice::splice(0 1 2 3 4 5) Full;
    TEE => async splice::tee(0 1 2 3) Full;
    VMSPLICE => async splice::vmsplice(0 1 2 3) Full;
    SENDFILE => async splice::sendfile(0 1 2 3) Full;
    // ---- sockets ----
    SOCKET => sync socket::socket(0 1 2) Partial("AF_UNIX, AF_INET, AF_INET6, AF_NETLINK");
    SOCKETPAIR => sync socket::socketpair(0 1 2 3) Full;
    BIND => sync socket::bind(0 1 2) Full;
    LISTEN => sync socket::listen(0 1) Full;
    ACCEPT => async socket::accept(0 1 2) Full;
    ACCEPT4 => async socket::accept4(0 1 2 3) Full;
    CONNECT => async socket::connect(0 1 2) Full;
    GETSOCKNAME => sync socket::getsockname(0 1 2) Full;
    GETPEERNAME => sync socket::getpeername(0 1 2) Full;
    SHUTDOWN => sync socket::shutdown(0 1) Full;
    SETSOCKOPT => sync socket::setsockopt(0 1 2 3 4) Partial("no socket filters, no zero copy");
    GETSOCKOPT => sync socket::getsockopt(0 1 2 3 4) Partial("no socket filters, no zero copy");
    SENDTO => async message::sendto(0 1 2 3 4 5) Full;
    RECVFROM => async message::recvfrom(0 1 2 3 4 5) Full;
    SENDMSG => async message::sendmsg(0 1 2) Full;
    RECVMSG => async message::recvmsg(0 1 2) Full;
    SENDMMSG => async message::sendmmsg(0 1 2 3) Full;
    RECVMMSG => async message::recvmmsg(0 1 2 3 4) Full;
    // ---- memory ----
    MMAP => async mm::mmap(0 1 2 3 4 5) Full;
    MUNMAP => async mm::munmap(0 1) Full;
    MPROTECT => async mm::mprotect(0 1 2) Full;
    MREMAP => async mm::mremap(0 1 2 3 4) Full;
    BRK => async mm::brk(0) Full;
    MADVISE => async mm::madvise(0 1 2) Partial("no memory poisoning, no page merging");
    MSYNC => async mm::msync(0 1 2) Full;
    MINCORE => async mm::mincore(0 1 2) Full;
    MLOCK => async mm::mlock(0 1) Partial("resident and accounted, but the host may swap");
    MLOCK2 => async mm::mlock2(0 1 2) Partial("resident and accounted, but the host may swap");
    MUNLOCK => async mm::munlock(0 1) Full;
    MLOCKALL => async mm::mlockall(0) Partial("resident and accounted, but the host may swap");
    MUNLOCKALL => async mm::munlockall() Full;
    PKEY_MPROTECT => async mm::pkey_mprotect(0 1 2 3) Partial("as on a CPU without protection keys");
    PKEY_ALLOC => sync mm::pkey_alloc(0 1) Partial("as on a CPU without protection keys");
    PKEY_FREE => sync mm::pkey_free(0) Partial("as on a CPU without protection keys");
    MEMBARRIER => sync mm::membarrier(0 1 2) Partial("offers no command");
    PROCESS_VM_READV => sync vm::process_vm_readv(0 1 2 3 4 5) Full;
    PROCESS_VM_WRITEV => sync vm::process_vm_writev(0 1 2 3 4 5) Full;
    MEMFD_CREATE => sync memfd::memfd_create(0 1) Partial("no huge pages");
    SET_MEMPOLICY => sync numa::set_mempolicy(0 1 2) Partial("one node");
    GET_MEMPOLICY => sync numa::get_mempolicy(0 1 2 3 4) Partial("one node; policies of ranges are not kept");
    MBIND => sync numa::mbind(0 1 2 3 4 5) Partial("one node; policies of ranges are not kept");
    SHMGET => sync shm::shmget(0 1 2) Partial("no huge pages");
    SHMAT => async shm::shmat(0 1 2) Full;
    SHMDT => async shm::shmdt(0) Full;
    SHMCTL => sync shm::shmctl(0 1 2) Full;
    SEMGET => sync ipc::semget(0 1 2) Full;
    SEMOP => async ipc::semop(0 1 2) Full;
    SEMTIMEDOP => async ipc::semtimedop(0 1 2 3) Full;
    SEMCTL => sync ipc::semctl(0 1 2 3) Full;
    MSGGET => sync ipc::msgget(0 1) Full;
    MSGSND => async ipc::msgsnd(0 1 2 3) Full;
    MSGRCV => async ipc::msgrcv(0 1 2 3 4) Full;
    MSGCTL => sync ipc::msgctl(0 1 2) Full;
    MQ_OPEN => sync mq::mq_open(0 1 2 3) Full;
    MQ_UNLINK => sync mq::mq_unlink(0) Full;
    MQ_TIMEDSEND => async mq::mq_timedsend(0 1 2 3 4) Full;
    MQ_TIMEDRECEIVE => async mq::mq_timedreceive(0 1 2 3 4) Full;
    MQ_NOTIFY => sync mq::mq_notify(0 1) Partial("no SIGEV_THREAD (ENOSYS)");
    MQ_GETSETATTR => sync mq::mq_getsetattr(0 1 2) Full;
    FUTEX => async futex::futex(0 1 2 3 4 5) Partial("locks with priority inheritance are handed over in turn: there are no priorities");
    FUTEX_WAITV => sync futex::futex_waitv(0 1 2) Full;
    FUTEX_WAKE => sync futex::futex_wake(0 1 3) Full;
    FUTEX_WAIT => sync futex::futex_wait(0 1 2 3) Full;
    FUTEX_REQUEUE => sync futex::futex_requeue(0 1) Partial("both words private or both shared, none with FUTEX2_NUMA");
    SET_ROBUST_LIST => sync futex::set_robust_list(0 1) Full;
    GET_ROBUST_LIST => sync futex::get_robust_list(0 1 2) Full;
    // ---- processes and threads ----
    CLONE => async process::clone(0 1 2 3 4) Partial("no namespaces of its own (EINVAL), no CLONE_INTO_CGROUP");
    CLONE3 => async process::clone3(0 1) Partial("no namespaces of its own (EINVAL), no CLONE_INTO_CGROUP");
    FORK => async process::fork() Full;
    VFORK => async process::vfork() Full;
    EXECVE => async process::execve(0 1 2) Full;
    EXECVEAT => async process::execveat(0 1 2 3 4) Full;
    EXIT => sync process::exit(0) Full;
    EXIT_GROUP => sync process::exit_group(0) Full;
    WAIT4 => async process::wait4(0 1 2 3) Full;
    WAITID => async process::waitid(0 1 2 3 4) Full;
    GETPID => sync process::getpid() Full;
    GETTID => sync process::gettid() Full;
    GETPPID => sync process::getppid() Full;
    SET_TID_ADDRESS => sync process::set_tid_address(0) Full;
    GETPGID => sync process::getpgid(0) Full;
    GETPGRP => sync process::getpgrp() Full;
    GETSID => sync process::getsid(0) Full;
    SETPGID => sync process::setpgid(0 1) Full;
    SETSID => sync process::setsid() Full;
    PRCTL => async prctl::prctl(0 1 2 3 4) Partial("options that say how a process is scheduled, traced or checkpointed are EINVAL");
    SECCOMP => sync seccomp::seccomp(0 1 2) Partial("no user notification; nobody traces");
    ARCH_PRCTL => sync prctl::arch_prctl(0 1) Full;
    PERSONALITY => sync prctl::personality(0) Partial("PER_LINUX and PER_LINUX32 only");
    // ---- credentials ----
    GETUID => sync cred::getuid() Full;
    GETEUID => sync cred::geteuid() Full;
    GETGID => sync cred::getgid() Full;
    GETEGID => sync cred::getegid() Full;
    SETUID => sync cred::setuid(0) Full;
    SETGID => sync cred::setgid(0) Full;
    SETREUID => sync cred::setreuid(0 1) Full;
    SETREGID => sync cred::setregid(0 1) Full;
    SETRESUID => sync cred::setresuid(0 1 2) Full;
    SETRESGID => sync cred::setresgid(0 1 2) Full;
    GETRESUID => sync cred::getresuid(0 1 2) Full;
    GETRESGID => sync cred::getresgid(0 1 2) Full;
    SETFSUID => sync cred::setfsuid(0) Full;
    SETFSGID => sync cred::setfsgid(0) Full;
    GETGROUPS => sync cred::getgroups(0 1) Full;
    SETGROUPS => sync cred::setgroups(0 1) Full;
    CAPGET => sync cred::capget(0 1) Full;
    CAPSET => sync cred::capset(0 1) Full;
    // ---- signals ----
    KILL => sync signal::kill(0 1) Full;
    TGKILL => sync signal::tgkill(0 1 2) Full;
    TKILL => sync signal::tkill(0 1) Full;
    RT_SIGQUEUEINFO => sync signal::rt_sigqueueinfo(0 1 2) Full;
    RT_TGSIGQUEUEINFO => sync signal::rt_tgsigqueueinfo(0 1 2 3) Full;
    PIDFD_SEND_SIGNAL => sync signal::pidfd_send_signal(0 1 2 3) Full;
    RT_SIGACTION => sync signal::rt_sigaction(0 1 2 3) Full;
    RT_SIGPROCMASK => sync signal::rt_sigprocmask(0 1 2 3) Full;
    RT_SIGPENDING => sync signal::rt_sigpending(0 1) Full;
    RT_SIGSUSPEND => async signal::rt_sigsuspend(0 1) Full;
    RT_SIGTIMEDWAIT => async signal::rt_sigtimedwait(0 1 2 3) Full;
    RT_SIGRETURN => sync signal::rt_sigreturn() Full;
    SIGALTSTACK => sync signal::sigaltstack(0 1) Full;
    PAUSE => async signal::pause() Full;
    RESTART_SYSCALL => async crate::task::run::restart_syscall() Full;
    // ---- time ----
    CLOCK_GETTIME => sync time::clock_gettime(0 1) Full;
    CLOCK_GETRES => sync time::clock_getres(0 1) Full;
    CLOCK_SETTIME => sync time::clock_settime(0 1) Partial("the host's clocks are not the sandbox's to set (EPERM)");
    CLOCK_NANOSLEEP => async time::clock_nanosleep(0 1 2 3) Full;
    CLOCK_ADJTIME => sync time::clock_adjtime(0 1) Partial("reads only");
    ADJTIMEX => sync time::adjtimex(0) Partial("reads only");
    GETTIMEOFDAY => sync time::gettimeofday(0 1) Full;
    SETTIMEOFDAY => sync time::settimeofday(0 1) Partial("the host's clocks are not the sandbox's to set (EPERM)");
    TIME => sync time::time(0) Full;
    TIMES => sync time::times(0) Full;
    NANOSLEEP => async time::nanosleep(0 1) Full;
    ALARM => sync time::alarm(0) Full;
    GETITIMER => sync time::getitimer(0 1) Full;
    SETITIMER => sync time::setitimer(0 1 2) Full;
    TIMER_CREATE => sync time::timer_create(0 1 2) Full;
    TIMER_SETTIME => sync time::timer_settime(0 1 2 3) Full;
    TIMER_GETTIME => sync time::timer_gettime(0 1) Full;
    TIMER_GETOVERRUN => sync time::timer_getoverrun(0) Full;
    TIMER_DELETE => sync time::timer_delete(0) Full;
    // ---- scheduling, limits, accounting ----
    SCHED_YIELD => async sched::sched_yield() Full;
    SCHED_GETAFFINITY => sync sched::sched_getaffinity(0 1 2) Full;
    SCHED_SETAFFINITY => sync sched::sched_setaffinity(0 1 2) Full;
    SCHED_GET_PRIORITY_MAX => sync sched::sched_get_priority_max(0) Full;
    SCHED_GET_PRIORITY_MIN => sync sched::sched_get_priority_min(0) Full;
    SCHED_GETSCHEDULER => sync sched::sched_getscheduler(0) Full;
    SCHED_SETSCHEDULER => sync sched::sched_setscheduler(0 1 2) Partial("real-time policies are EPERM");
    SCHED_GETPARAM => sync sched::sched_getparam(0 1) Full;
    SCHED_SETPARAM => sync sched::sched_setparam(0 1) Full;
    SCHED_GETATTR => sync sched::sched_getattr(0 1 2 3) Full;
    SCHED_SETATTR => sync sched::sched_setattr(0 1 2) Partial("real-time policies are EPERM");
    SCHED_RR_GET_INTERVAL => sync sched::sched_rr_get_interval(0 1) Full;
    GETCPU => sync sched::getcpu(0 1) Full;
    GETRLIMIT => sync limits::getrlimit(0 1) Full;
    SETRLIMIT => sync limits::setrlimit(0 1) Full;
    PRLIMIT64 => sync limits::prlimit64(0 1 2 3) Full;
    GETRUSAGE => async limits::getrusage(0 1) Partial("no block I/O counts");
    GETPRIORITY => sync limits::getpriority(0 1) Full;
    SETPRIORITY => sync limits::setpriority(0 1 2) Partial("kept and answered, not enforced");
    // ---- system ----
    UNAME => sync system::uname(0) Full;
    SETHOSTNAME => sync system::sethostname(0 1) Full;
    SETDOMAINNAME => sync system::setdomainname(0 1) Full;
    SYSINFO => sync system::sysinfo(0) Full;
    GETRANDOM => sync system::getrandom(0 1 2) Full;
    REBOOT => sync system::reboot() Partial("never allowed (EPERM)");
    SYSLOG => sync system::syslog(0 1 2) Partial("the log is empty");
}
