//! epoll(7), timerfd_create(2), clocks.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn owned(fd: libc::c_int) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the call just made this descriptor, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A host epoll instance.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// epoll_create1(2).
    pub fn new() -> Result<Self> {
        // SAFETY: no memory involved.
        owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Self)
    }

    /// Watches `fd` for everything, edge triggered, under `key`.
    pub fn add(&self, fd: BorrowedFd<'_>, key: u64) -> Result<()> {
        let bits =
            libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event {
            events: bits as u32,
            u64: key,
        };
        // SAFETY: `event` lives over the call.
        let rc = unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &raw mut event,
            )
        };
        if rc < 0 {
            Err(Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Stops watching `fd`; one that isn't watched is ignored.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // SAFETY: no memory involved.
        unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                fd.as_raw_fd(),
                std::ptr::null_mut(),
            )
        };
    }

    /// Waits without limit for up to 64 events, as (key, readiness bits). Empty after a signal.
    pub fn wait(&self) -> Vec<(u64, u32)> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: the array has room for the 64 events asked for.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 64, -1) };
        let n = usize::try_from(n).unwrap_or(0);
        events[..n].iter().map(|e| (e.u64, e.events)).collect()
    }
}

/// A timer descriptor on CLOCK_MONOTONIC, not armed.
pub fn timerfd() -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned(unsafe {
        libc::timerfd_create(
            libc::CLOCK_MONOTONIC,
            libc::TFD_CLOEXEC | libc::TFD_NONBLOCK,
        )
    })
}

/// Arms a timer descriptor for an absolute time in nanoseconds; 0 disarms it.
pub fn timerfd_arm(fd: BorrowedFd<'_>, at: u64) {
    let value = timespec(at);
    let spec = libc::itimerspec {
        it_interval: timespec(0),
        it_value: value,
    };
    // SAFETY: `spec` lives over the call.
    unsafe {
        libc::timerfd_settime(
            fd.as_raw_fd(),
            libc::TFD_TIMER_ABSTIME,
            &raw const spec,
            std::ptr::null_mut(),
        )
    };
}

fn timespec(ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (ns / 1_000_000_000).cast_signed(),
        tv_nsec: (ns % 1_000_000_000).cast_signed(),
    }
}

/// A host clock in nanoseconds; `None` for a clock that the host doesn't have.
pub fn clock_ns(clock: libc::clockid_t) -> Option<i128> {
    let mut ts = timespec(0);
    // SAFETY: `ts` lives over the call.
    let rc = unsafe { libc::clock_gettime(clock, &raw mut ts) };
    (rc == 0).then(|| i128::from(ts.tv_sec) * 1_000_000_000 + i128::from(ts.tv_nsec))
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0)
}

/// Blocks SIGCHLD in this thread and those that it will start, and gives a descriptor that reads it.
pub fn signalfd_sigchld() -> Result<OwnedFd> {
    // SAFETY: an all-zero set is valid memory for sigemptyset to fill; all pointers are to it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        owned(libc::signalfd(
            -1,
            &raw const set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))
    }
}

/// Reads a non-blocking descriptor until nothing is left.
pub fn drain(fd: &OwnedFd) {
    let mut buf = [0; 1024];
    while super::io::read(std::os::fd::AsFd::as_fd(fd), None, &mut buf).is_ok_and(|n| n > 0) {}
}

/// An event counter.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Counts one up.
pub fn signal_event(fd: &OwnedFd) {
    let _ = super::io::write(std::os::fd::AsFd::as_fd(fd), None, &1u64.to_ne_bytes());
}
