//! Host system calls that no crate wraps safely.
#![expect(unsafe_code, reason = "host system calls")]
//!
//! # Safety
//! Each function makes one call and passes it only memory that Rust owns, or numbers.

use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

fn check(rc: libc::c_long) -> Result<libc::c_long> {
    if rc < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(rc)
    }
}

fn owned(rc: libc::c_long) -> Result<OwnedFd> {
    let fd = check(rc)? as RawFd;
    // SAFETY: the call just made this descriptor, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// getrlimit(2): (soft, hard).
pub fn rlimit(resource: u32) -> Option<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives over the call.
    let rc = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (rc == 0).then_some((limit.rlim_cur, limit.rlim_max))
}

/// setrlimit(2).
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` lives over the call.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }.into()).map(drop)
}

/// Bytes of memory of the host.
pub fn total_memory() -> Option<u64> {
    nix::sys::sysinfo::sysinfo()
        .ok()
        .map(|info| info.ram_total())
}

/// Which side of [`clone_process`] one is on.
pub enum Cloned {
    /// In the new process.
    Child,
    /// In the old one: the new one's id, and a descriptor for it (pidfd_open(2)).
    Parent(libc::pid_t, OwnedFd),
}

/// clone(2) of the whole process, like fork(2), with namespace `flags`. The caller must have one thread only: no other
/// exists in the child, and a lock that one held would stay locked.
pub fn clone_process(flags: libc::c_int) -> Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::c_long::from(flags | libc::CLONE_PIDFD | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child has its own copy of everything and goes on with the caller's stack, as after
    // fork(2). The kernel stores the descriptor in `pidfd`, which lives over the call.
    let rc = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match check(rc)? {
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel just made the descriptor.
        pid => Ok(Cloned::Parent(pid as libc::pid_t, unsafe {
            OwnedFd::from_raw_fd(pidfd)
        })),
    }
}

/// open_tree(2) with OPEN_TREE_CLONE: a copy of the mount at `path`, in no namespace, gone with the descriptor. `path` may be
/// a file.
pub fn clone_mount(path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: `path` is a C string that lives over the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// mount_setattr(2): adds `MOUNT_ATTR_*` to all mounts below the root of a mount.
pub fn set_mount_attributes(mount: BorrowedFd<'_>, attributes: u64) -> Result<()> {
    let attr = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path and `attr` live over the call, and the size is that of `attr`.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// capset(2): effective and permitted become `caps`, inheritable becomes empty.
pub fn set_capabilities(caps: u64) -> Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION, 0];
    let (low, high) = (caps as u32, (caps >> 32) as u32);
    let data: [[u32; 3]; 2] = [[low, low, 0], [high, high, 0]];
    // SAFETY: header and data have the layout of version 3 and live over the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// prctl(PR_CAPBSET_DROP).
pub fn drop_bounding(capability: u32) -> Result<()> {
    // SAFETY: only numbers.
    check(
        unsafe {
            libc::prctl(
                libc::PR_CAPBSET_DROP,
                libc::c_ulong::from(capability),
                0,
                0,
                0,
            )
        }
        .into(),
    )
    .map(drop)
}

/// Whether seccomp knows `SECCOMP_RET_TRAP` (SECCOMP_GET_ACTION_AVAIL of seccomp(2)).
pub fn seccomp_trap_available() -> Result<()> {
    let action: u32 = libc::SECCOMP_RET_TRAP;
    // SAFETY: `action` lives over the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    })
    .map(drop)
}

/// Copies a byte of this process by process_vm_readv(2).
pub fn process_vm_available() -> Result<()> {
    let from = 1u8;
    let mut to = 0u8;
    let local = libc::iovec {
        iov_base: (&raw mut to).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: (&raw const from).cast_mut().cast(),
        iov_len: 1,
    };
    // SAFETY: both point to a byte of ours; the remote process is this one.
    let n = unsafe {
        libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
    };
    check(n as libc::c_long).map(drop)
}

/// Closes every descriptor from `first` on. Only for the very start of a process, before any is owned.
pub fn close_from(first: RawFd) {
    // SAFETY: nothing owns these descriptors yet.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Takes over a descriptor that the process was started with; `None` if it isn't open.
pub fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: only numbers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    // SAFETY: it is open, and the caller says that it came from outside: nothing here owns it.
    (flags >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends the process at once: no destructors, no flushing of what belongs to the process it was cloned from.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: doesn't return.
    unsafe { libc::_exit(code.into()) }
}

/// Size of a terminal's window; `None` if it isn't a terminal.
pub fn window_size(fd: BorrowedFd<'_>) -> Option<libc::winsize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `size` lives over the call.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (rc == 0).then_some(size)
}

/// Sets the size of a terminal's window.
pub fn set_window_size(fd: BorrowedFd<'_>, size: &libc::winsize) -> Result<()> {
    // SAFETY: `size` lives over the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, size) }.into()).map(drop)
}

/// One heap of the C library for all threads, as brk(2) grows it. A heap of a thread's own looks into
/// /proc/sys/vm/overcommit_memory before it shrinks, which the jail doesn't let it; and it costs memory.
pub fn one_heap() {
    // SAFETY: a parameter of the allocator's, set before there are other threads.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Installs a seccomp filter for all threads of the process (there is but one). Needs no_new_privs.
pub fn install_filter(program: &[seccompiler::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len())
            .map_err(|_| Error::from(std::io::ErrorKind::InvalidInput))?,
        // `seccompiler::sock_filter` and `libc::sock_filter` are both the kernel's struct sock_filter.
        filter: program.as_ptr().cast_mut().cast(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
    // SAFETY: the program lives over the call; the kernel copies and checks it.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match check(rc)? {
        0 => Ok(()),
        tid => Err(Error::other(format!(
            "thread {tid} could not be brought under the filter"
        ))),
    }
}

/// Whether the disposition of a signal is SIG_IGN.
pub fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `action` lives over the call; zero bytes are a valid sigaction.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Sets the disposition of a signal to SIG_IGN.
pub fn ignore_signal(signal: libc::c_int) {
    // SAFETY: SIG_IGN runs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}
