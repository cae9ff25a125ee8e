//! A behaviour suite for the Linux system call interface.
//!
//! [`harness`] is the main function of the guest program: it lists the cases
//! and runs each one in a forked child with a time limit. [`suite`] starts the
//! guest natively or under any command prefix (a container runtime) and
//! compares the outcome with a list of known gaps. The remaining modules are
//! the vocabulary in which cases are written.
//!
//! *Invariant:* every case passes on native Linux, which is the specification.
//!
//! *Invariant:* no case needs the network, a particular time, or privileges
//! that it does not check for ([`report::need_root`] skips it).

#![deny(unsafe_code)]

pub mod harness;
pub mod proc;
pub mod report;
pub mod signal;
pub mod suite;
pub mod sync;
pub mod sys;
pub mod tmp;

/// What nearly every case needs. Our names are listed one by one: an explicit
/// import takes precedence over libc's function of the same name.
pub mod prelude {
    pub use crate::proc::{
        child, clone_child, describe_status, exec_helper, execve, expect_killed, in_child, kill,
        orphan, run_helper, self_exe, task_state, tgkill, wait_asleep, wait_exit, wait_killed,
        wait_ok, wait_status, wait_until, wait4,
    };
    pub use crate::report::{errno_name, fail, need_cap, need_root, skip};
    pub use crate::signal::{
        Handler, KernelSigaction, LAST_ADDR, LAST_CODE, LAST_PID, LAST_SIGNAL, LAST_UID,
        LAST_VALUE, Mask, ORDER, SEEN, block, current_mask, disposition, get_action, handle,
        handle_masked, info_child, info_value, is_pending, mask_of, pending, raise, record,
        record_on, seen, sigmask, sigqueue, sigtimedwait, unblock,
    };
    pub use crate::sync::Gate;
    pub use crate::sys::{
        Arg, BAD, CAP_VERSION_3, CapData, CapHeader, PAGE, Sys, accept, anon, bad, bytes_at,
        capabilities, chdir, chmod, chown, clock, close, cvt, dup, dup2, errno, exists, fcntl,
        fstat, fstatat, ftruncate, futex_wait, futex_wake, geteuid, getpgid, getpid, getppid,
        getrlimit, getsid, getsockopt, gettid, getuid, ioctl, iov, iov_at, iov_mut, link, listen,
        lseek, lstat, mkdir, mkfifo, mknod, mmap, mprotect, munmap, now_ms, open, openat, pad,
        page_edge, peek, pipe, pipe2, poke, poll1, prctl, pread, put_bytes, pwrite, raw, read,
        read_all, read_file, read_vec, readlink, ready, recv, rename, rename2, rmdir, send,
        set_capabilities, set_nonblock, setpgid, setrlimit, setsid, setsockopt, shared, shutdown,
        size_of_file, sleep_ms, socket, socketpair, stat, symlink, tell, timespec_ms, umask,
        unlink, write, write_file, zeroed,
    };
    pub use crate::tmp::{cpath, tmp, tmp_path};
    pub use crate::{check, check_eq, expect_errno, fail, must, skip, sys};
    pub use libc::*;
}
