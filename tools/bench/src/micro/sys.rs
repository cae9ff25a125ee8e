//! The system calls that are measured, as thin as they can be: the one room with unsafe code of the operations.
#![expect(unsafe_code, reason = "system calls are what is measured")]

use anyhow::{Result, bail};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The error of the call that has just failed.
fn failure(call: &str) -> anyhow::Error {
    anyhow::anyhow!("{call}: {}", io::Error::last_os_error())
}

fn done(call: &str, rc: i64) -> Result<i64> {
    if rc < 0 { Err(failure(call)) } else { Ok(rc) }
}

fn count(call: &str, rc: isize) -> Result<usize> {
    usize::try_from(rc).map_err(|_| failure(call))
}

fn owned(call: &str, fd: i32) -> Result<OwnedFd> {
    done(call, i64::from(fd))?;
    // SAFETY: the call has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A system call without pointers, by its number.
pub fn raw(number: libc::c_long, argument: i64) -> i64 {
    // SAFETY: callers name calls whose arguments are plain numbers (getppid, getpid, sched_yield).
    unsafe { libc::syscall(number, argument) }
}

/// clock_gettime(2) through the library, which uses the vDSO where it can.
pub fn clock() -> u64 {
    let mut ts = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: room for one timespec, written by the call (CLOCK_MONOTONIC never fails).
    let ts = unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, ts.as_mut_ptr());
        ts.assume_init()
    };
    nanoseconds(ts)
}

/// clock_gettime(2) as a system call.
pub fn clock_call() -> u64 {
    let mut ts = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: as above.
    let ts = unsafe {
        libc::syscall(
            libc::SYS_clock_gettime,
            libc::CLOCK_MONOTONIC,
            ts.as_mut_ptr(),
        );
        ts.assume_init()
    };
    nanoseconds(ts)
}

fn nanoseconds(ts: libc::timespec) -> u64 {
    u64::try_from(ts.tv_sec * 1_000_000_000 + ts.tv_nsec).unwrap_or(0)
}

/// read(2).
pub fn read(fd: RawFd, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is as long as said.
    count("read", unsafe {
        libc::read(fd, buf.as_mut_ptr().cast(), buf.len())
    })
}

/// write(2).
pub fn write(fd: RawFd, buf: &[u8]) -> Result<usize> {
    // SAFETY: as above.
    count("write", unsafe {
        libc::write(fd, buf.as_ptr().cast(), buf.len())
    })
}

/// pread(2) at 0.
pub fn pread(fd: RawFd, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: as above.
    count("pread", unsafe {
        libc::pread(fd, buf.as_mut_ptr().cast(), buf.len(), 0)
    })
}

/// pwrite(2) at 0.
pub fn pwrite(fd: RawFd, buf: &[u8]) -> Result<usize> {
    // SAFETY: as above.
    count("pwrite", unsafe {
        libc::pwrite(fd, buf.as_ptr().cast(), buf.len(), 0)
    })
}

/// readv(2) at the file's offset, into two halves of the buffer.
pub fn readv(fd: RawFd, buf: &mut [u8]) -> Result<usize> {
    let middle = buf.len() / 2;
    let (a, b) = buf.split_at_mut(middle);
    let parts = [a, b].map(|p| libc::iovec {
        iov_base: p.as_mut_ptr().cast(),
        iov_len: p.len(),
    });
    // SAFETY: both parts are as long as said and live over the call.
    count("readv", unsafe { libc::preadv(fd, parts.as_ptr(), 2, 0) })
}

/// lseek(2) to an absolute offset.
pub fn lseek(fd: RawFd, to: i64) -> Result<i64> {
    // SAFETY: no memory involved.
    done("lseek", unsafe { libc::lseek(fd, to, libc::SEEK_SET) })
}

/// open(2) with these flags and mode 0644.
pub fn open(path: &CStr, flags: i32) -> Result<OwnedFd> {
    // SAFETY: the path lives over the call.
    owned("open", unsafe {
        libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644)
    })
}

/// open(2) that must fail with ENOENT.
pub fn open_missing(path: &CStr) -> Result<()> {
    // SAFETY: as above; no descriptor is made.
    let rc = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    expect_errno("open", rc, libc::ENOENT)
}

fn expect_errno(call: &str, rc: i32, errno: i32) -> Result<()> {
    let error = io::Error::last_os_error();
    if rc == -1 && error.raw_os_error() == Some(errno) {
        return Ok(());
    }
    bail!("{call} returned {rc} ({error}) where errno {errno} was due")
}

/// dup(2).
pub fn dup(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned("dup", unsafe { libc::dup(fd) })
}

/// stat(2): the size.
pub fn stat(path: &CStr) -> Result<i64> {
    let mut st = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the path and the room for one stat live over the call; all zeroes is a valid stat.
    let st = unsafe {
        done(
            "stat",
            i64::from(libc::stat(path.as_ptr(), st.as_mut_ptr())),
        )?;
        st.assume_init()
    };
    Ok(st.st_size)
}

/// stat(2) that must fail with ENOENT.
pub fn stat_missing(path: &CStr) -> Result<()> {
    let mut st = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: as above.
    let rc = unsafe { libc::stat(path.as_ptr(), st.as_mut_ptr()) };
    expect_errno("stat", rc, libc::ENOENT)
}

/// fstat(2): the size.
pub fn fstat(fd: RawFd) -> Result<i64> {
    let mut st = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: as above.
    let st = unsafe {
        done("fstat", i64::from(libc::fstat(fd, st.as_mut_ptr())))?;
        st.assume_init()
    };
    Ok(st.st_size)
}

/// access(2) for reading.
pub fn access(path: &CStr) -> Result<()> {
    // SAFETY: the path lives over the call.
    done(
        "access",
        i64::from(unsafe { libc::access(path.as_ptr(), libc::R_OK) }),
    )
    .map(drop)
}

/// unlink(2).
pub fn unlink(path: &CStr) -> Result<()> {
    // SAFETY: as above.
    done("unlink", i64::from(unsafe { libc::unlink(path.as_ptr()) })).map(drop)
}

/// mkdir(2) with mode 0755.
pub fn mkdir(path: &CStr) -> Result<()> {
    // SAFETY: as above.
    done(
        "mkdir",
        i64::from(unsafe { libc::mkdir(path.as_ptr(), 0o755) }),
    )
    .map(drop)
}

/// rmdir(2).
pub fn rmdir(path: &CStr) -> Result<()> {
    // SAFETY: as above.
    done("rmdir", i64::from(unsafe { libc::rmdir(path.as_ptr()) })).map(drop)
}

/// rename(2).
pub fn rename(from: &CStr, to: &CStr) -> Result<()> {
    // SAFETY: as above.
    let rc = unsafe { libc::rename(from.as_ptr(), to.as_ptr()) };
    done("rename", i64::from(rc)).map(drop)
}

/// getcwd(2): the length with its end.
pub fn getcwd(buf: &mut [u8]) -> Result<i64> {
    // SAFETY: the buffer is as long as said.
    done("getcwd", unsafe {
        libc::syscall(libc::SYS_getcwd, buf.as_mut_ptr(), buf.len())
    })
}

/// Entries of a directory by getdents64(2), `.` and `..` included.
pub fn count_entries(fd: RawFd, buf: &mut [u8]) -> Result<usize> {
    let mut entries = 0;
    loop {
        // SAFETY: the buffer is as long as said.
        let n = done("getdents64", unsafe {
            libc::syscall(libc::SYS_getdents64, fd, buf.as_mut_ptr(), buf.len())
        })?;
        let n = usize::try_from(n)?;
        if n == 0 {
            return Ok(entries);
        }
        let mut at = 0;
        while at < n {
            let length = usize::from(u16::from_ne_bytes([buf[at + 16], buf[at + 17]]));
            if length == 0 {
                bail!("getdents64: an entry of length 0");
            }
            at += length;
            entries += 1;
        }
    }
}

/// A pipe: reading end, writing end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    let rc = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    done("pipe", i64::from(rc))?;
    Ok((owned("pipe", ends[0])?, owned("pipe", ends[1])?))
}

/// A fresh private mapping.
pub struct Mapping {
    at: *mut u8,
    length: usize,
}

impl Mapping {
    /// Anonymous memory, or the beginning of a file.
    pub fn new(length: usize, fd: Option<RawFd>) -> Result<Self> {
        let (prot, flags) = match fd {
            None => (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            ),
            Some(_) => (libc::PROT_READ, libc::MAP_PRIVATE),
        };
        // SAFETY: a fresh mapping wherever the kernel likes.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                prot,
                flags,
                fd.unwrap_or(-1),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(failure("mmap"));
        }
        Ok(Self {
            at: at.cast(),
            length,
        })
    }

    /// Small pages only, so that every page is a fault of its own.
    pub fn small_pages(self) -> Result<Self> {
        self.advise(libc::MADV_NOHUGEPAGE)?;
        Ok(self)
    }

    /// Gives the pages back: they read as zeroes again.
    pub fn drop_pages(&self) -> Result<()> {
        self.advise(libc::MADV_DONTNEED)
    }

    fn advise(&self, advice: i32) -> Result<()> {
        // SAFETY: the range is ours and no reference into it exists.
        let rc = unsafe { libc::madvise(self.at.cast(), self.length, advice) };
        done("madvise", i64::from(rc)).map(drop)
    }

    /// mprotect(2) of the whole mapping.
    pub fn protect(&self, writable: bool) -> Result<()> {
        let prot = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: as above; `store` is called only while it is writable, or where a handler makes it so.
        let rc = unsafe { libc::mprotect(self.at.cast(), self.length, prot) };
        done("mprotect", i64::from(rc)).map(drop)
    }

    /// Pages of 4 KiB.
    pub fn pages(&self) -> usize {
        self.length / 4096
    }

    /// Writes a byte into a page.
    pub fn store(&self, page: usize, value: u8) {
        assert!(page < self.pages());
        // SAFETY: within the mapping, by raw pointer.
        unsafe { self.at.add(page * 4096).write_volatile(value) }
    }

    /// Reads the first byte of a page.
    pub fn load(&self, page: usize) -> u8 {
        assert!(page < self.pages());
        // SAFETY: as above.
        unsafe { self.at.add(page * 4096).read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing refers to it any more.
        unsafe { libc::munmap(self.at.cast(), self.length) };
    }
}

/// brk(2) by a number of bytes, there and back.
pub fn grow_and_shrink_heap(by: libc::intptr_t) -> Result<()> {
    // SAFETY: the break moves up and at once back to where it was; nobody allocates in between.
    let (up, down) = unsafe { (libc::sbrk(by), libc::sbrk(-by)) };
    if up as isize == -1 || down as isize == -1 {
        return Err(failure("brk"));
    }
    Ok(())
}

/// A child made by [`fork`].
#[derive(Clone, Copy, Debug)]
pub struct Child(libc::pid_t);

/// fork(2). The child runs `job` and ends with what that returns; it never returns from here.
pub fn fork(job: impl FnOnce() -> i32) -> Result<Child> {
    // SAFETY: the guest has one thread when it forks, so the child's copy of it is whole.
    match unsafe { libc::fork() } {
        0 => {
            let status = job();
            // SAFETY: ends the child without running anything of its parent's.
            unsafe { libc::_exit(status) }
        }
        pid => {
            done("fork", i64::from(pid))?;
            Ok(Child(pid))
        }
    }
}

/// fork(2) and execve(2).
pub fn fork_exec(path: &CStr) -> Result<Child> {
    let argv = [path.as_ptr(), std::ptr::null()];
    // SAFETY: the child calls execve with what lives in its copy of our memory, or ends.
    unsafe {
        match libc::fork() {
            0 => {
                libc::execve(path.as_ptr(), argv.as_ptr(), argv[1..].as_ptr());
                libc::_exit(99)
            }
            pid => {
                done("fork", i64::from(pid))?;
                Ok(Child(pid))
            }
        }
    }
}

/// posix_spawn(3).
pub fn posix_spawn(path: &CStr) -> Result<Child> {
    let argv = [path.as_ptr().cast_mut(), std::ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: all arguments live over the call.
    let rc = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            std::ptr::null(),
            std::ptr::null(),
            argv.as_ptr(),
            argv[1..].as_ptr(),
        )
    };
    if rc != 0 {
        bail!("posix_spawn: {}", io::Error::from_raw_os_error(rc));
    }
    Ok(Child(pid))
}

impl Child {
    /// Waits for its end, which must be an exit with `status`.
    pub fn wait(self, status: i32) -> Result<()> {
        let mut raw = 0;
        // SAFETY: room for one status.
        let pid = unsafe { libc::waitpid(self.0, &raw mut raw, 0) };
        done("waitpid", i64::from(pid))?;
        if pid != self.0 || !libc::WIFEXITED(raw) || libc::WEXITSTATUS(raw) != status {
            bail!(
                "waitpid gave {pid} with status {raw:#x} where exit {status} of {} was due",
                self.0
            );
        }
        Ok(())
    }

    /// sigqueue(3) with SIGUSR1.
    pub fn signal(self) -> Result<()> {
        send_signal(self.0)
    }
}

/// A peer that echoes until its input ends, and the end of it: reaped when dropped.
pub struct Peer(pub Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // SAFETY: a pid that only we reap.
        unsafe { libc::kill(self.0.0, libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: room for one status.
        unsafe { libc::waitpid(self.0.0, &raw mut status, 0) };
    }
}

fn send_signal(pid: libc::pid_t) -> Result<()> {
    let value = libc::sigval {
        sival_ptr: std::ptr::null_mut(),
    };
    // SAFETY: the value is not used as a pointer.
    done(
        "sigqueue",
        i64::from(unsafe { libc::sigqueue(pid, libc::SIGUSR1, value) }),
    )
    .map(drop)
}

/// The parent.
pub fn signal_parent() -> Result<()> {
    // SAFETY: getppid has no arguments.
    send_signal(unsafe { libc::getppid() })
}

static CAUGHT: AtomicU64 = AtomicU64::new(0);
static FAULT_PAGE: AtomicU64 = AtomicU64::new(0);

extern "C" fn caught(_: i32) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn faulted(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let page = FAULT_PAGE.load(Ordering::Relaxed);
    // SAFETY: the kernel passes a valid siginfo; for SIGSEGV it has an address.
    let address = unsafe { (*info).si_addr() } as u64;
    if address & !4095 != page {
        // SAFETY: not the fault that was provoked: nothing can be trusted.
        unsafe { libc::_exit(98) };
    }
    CAUGHT.fetch_add(1, Ordering::Relaxed);
    // SAFETY: mprotect is a plain system call; the page is the mapping that `catch_faults` was told of.
    unsafe {
        libc::mprotect(
            page as *mut libc::c_void,
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
        )
    };
}

/// Signals caught by the handlers so far.
pub fn caught_so_far() -> u64 {
    CAUGHT.load(Ordering::Relaxed)
}

/// rt_sigaction(2) for SIGUSR1.
pub fn catch_user_signal() -> Result<()> {
    // SAFETY: all zeroes is a valid sigaction; the handler only touches an atomic.
    let rc = unsafe {
        let mut act: libc::sigaction = std::mem::zeroed();
        act.sa_sigaction = caught as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &raw const act, std::ptr::null_mut())
    };
    done("sigaction", i64::from(rc)).map(drop)
}

/// From now on a write to the mapping's first page while it is protected makes it writable.
pub fn catch_faults(mapping: &Mapping) -> Result<()> {
    FAULT_PAGE.store(mapping.at as u64, Ordering::Relaxed);
    // SAFETY: as above; the handler makes one plain system call.
    let rc = unsafe {
        let mut act: libc::sigaction = std::mem::zeroed();
        act.sa_sigaction = faulted as *const () as usize;
        act.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSEGV, &raw const act, std::ptr::null_mut())
    };
    done("sigaction", i64::from(rc)).map(drop)
}

/// SIGUSR1 to this very thread.
pub fn signal_self() -> Result<()> {
    // SAFETY: no memory involved.
    done("raise", i64::from(unsafe { libc::raise(libc::SIGUSR1) })).map(drop)
}

fn user_signal() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGUSR1);
        set.assume_init()
    }
}

/// rt_sigprocmask(2): blocks or unblocks SIGUSR1.
pub fn block_user_signal(block: bool) -> Result<()> {
    let how = if block {
        libc::SIG_BLOCK
    } else {
        libc::SIG_UNBLOCK
    };
    let set = user_signal();
    // SAFETY: the set lives over the call.
    let rc = unsafe { libc::sigprocmask(how, &raw const set, std::ptr::null_mut()) };
    done("sigprocmask", i64::from(rc)).map(drop)
}

/// sigwaitinfo(2) for SIGUSR1.
pub fn wait_user_signal() -> Result<()> {
    let set = user_signal();
    // SAFETY: as above.
    let rc = unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
    if rc != libc::SIGUSR1 {
        return Err(failure("sigwaitinfo"));
    }
    Ok(())
}

/// FUTEX_WAIT, private.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let no_timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: the word lives over the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, value, no_timeout) };
}

/// FUTEX_WAKE of one, private: how many were woken.
pub fn futex_wake(word: &AtomicU32) -> i64 {
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, 1) }
}

/// epoll_create1(2) with descriptors to watch for input.
pub fn epoll(watched: &[RawFd]) -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    let epoll = owned("epoll_create1", unsafe {
        libc::epoll_create1(libc::EPOLL_CLOEXEC)
    })?;
    for &fd in watched {
        epoll_control(&epoll, libc::EPOLL_CTL_ADD, fd)?;
    }
    Ok(epoll)
}

/// epoll_ctl(2), for input; the data is the descriptor.
pub fn epoll_control(epoll: &OwnedFd, op: i32, fd: RawFd) -> Result<()> {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN.cast_unsigned(),
        u64: u64::from(fd.cast_unsigned()),
    };
    // SAFETY: the event lives over the call.
    let rc = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), op, fd, &raw mut event) };
    done("epoll_ctl", i64::from(rc)).map(drop)
}

/// epoll_wait(2): the descriptor that is ready first, or none by the time.
pub fn epoll_wait(epoll: RawFd, milliseconds: i32) -> Result<Option<u64>> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    // SAFETY: room for eight events.
    let n = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 8, milliseconds) };
    done("epoll_wait", i64::from(n))?;
    Ok((n > 0).then_some(events[0].u64))
}

/// poll(2) for input without waiting: how many are ready.
pub fn poll(fds: &mut [libc::pollfd]) -> Result<i64> {
    let count = libc::nfds_t::try_from(fds.len())?;
    // SAFETY: as many as said.
    done(
        "poll",
        i64::from(unsafe { libc::poll(fds.as_mut_ptr(), count, 0) }),
    )
}

/// eventfd(2).
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned("eventfd", unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })
}

/// timerfd_create(2).
pub fn timerfd() -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned("timerfd_create", unsafe {
        libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC)
    })
}

/// timerfd_settime(2): in so many seconds, once.
pub fn timerfd_set(fd: RawFd, seconds: i64) -> Result<()> {
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let new = libc::itimerspec {
        it_interval: zero,
        it_value: libc::timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        },
    };
    // SAFETY: the new setting lives over the call.
    let rc = unsafe { libc::timerfd_settime(fd, 0, &raw const new, std::ptr::null_mut()) };
    done("timerfd_settime", i64::from(rc)).map(drop)
}
