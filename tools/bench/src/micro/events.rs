//! Waiting for descriptors.

use super::{Body, Op, io, sys};
use anyhow::{Result, bail};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

pub const OPS: &[Op] = &[
    Op::new(
        "epoll-ready",
        "epoll_wait with one of eight descriptors ready",
        || epoll(true),
    ),
    Op::new(
        "epoll-empty",
        "epoll_wait without a timeout, nothing ready",
        || epoll(false),
    ),
    Op::new(
        "epoll-ctl",
        "epoll_ctl, a descriptor added or removed",
        epoll_ctl,
    ),
    Op::new(
        "epoll-pingpong",
        "a byte to another process and back through a Unix socket, epoll_wait before each read",
        ping_pong,
    ),
    Op::new(
        "poll-16",
        "poll of sixteen pipes without a timeout, one ready",
        poll,
    ),
    Op::new("eventfd", "write and read of an eventfd", eventfd),
    Op::new("timerfd", "timerfd_settime", || {
        let fd = sys::timerfd()?;
        Ok(Box::new(move |n| {
            (0..n).try_for_each(|_| sys::timerfd_set(fd.as_raw_fd(), 1000))
        }))
    }),
];

fn epoll(ready: bool) -> Result<Body> {
    let pairs = (0..8)
        .map(|_| UnixStream::pair())
        .collect::<Result<Vec<_>, _>>()?;
    let watched: Vec<_> = pairs.iter().map(|p| p.0.as_raw_fd()).collect();
    let epoll = sys::epoll(&watched)?;
    if ready {
        sys::write(pairs[5].1.as_raw_fd(), b"x")?;
    }
    let wanted = ready.then(|| u64::from(watched[5].cast_unsigned()));
    Ok(Box::new(move |n| {
        let _pairs = &pairs;
        for _ in 0..n {
            let got = sys::epoll_wait(epoll.as_raw_fd(), 0)?;
            if got != wanted {
                bail!("epoll_wait gave {got:?}, not {wanted:?}");
            }
        }
        Ok(())
    }))
}

fn epoll_ctl() -> Result<Body> {
    let (a, _b) = UnixStream::pair()?;
    let epoll = sys::epoll(&[])?;
    Ok(Box::new(move |n| {
        let _b = &_b;
        for i in 0..n {
            let op = if i % 2 == 0 {
                libc::EPOLL_CTL_ADD
            } else {
                libc::EPOLL_CTL_DEL
            };
            sys::epoll_control(&epoll, op, a.as_raw_fd())?;
        }
        if n % 2 == 1 {
            sys::epoll_control(&epoll, libc::EPOLL_CTL_DEL, a.as_raw_fd())?;
        }
        Ok(())
    }))
}

fn ping_pong() -> Result<Body> {
    let (mine, its) = UnixStream::pair()?;
    let peer = sys::Peer(sys::fork(|| {
        let Ok(epoll) = sys::epoll(&[its.as_raw_fd()]) else {
            return 1;
        };
        let mut byte = [0];
        loop {
            let ready = sys::epoll_wait(epoll.as_raw_fd(), -1);
            if !matches!(ready, Ok(Some(_)))
                || !matches!(sys::read(its.as_raw_fd(), &mut byte), Ok(1))
                || !matches!(sys::write(its.as_raw_fd(), &byte), Ok(1))
            {
                return 1;
            }
        }
    })?);
    let epoll = sys::epoll(&[mine.as_raw_fd()])?;
    Ok(Box::new(move |n| {
        let _peer = &peer;
        let mut byte = [0];
        for i in 0..n {
            let sent = i.to_le_bytes()[0];
            sys::write(mine.as_raw_fd(), &[sent])?;
            if sys::epoll_wait(epoll.as_raw_fd(), -1)?.is_none() {
                bail!("epoll_wait returned nothing without a timeout");
            }
            if sys::read(mine.as_raw_fd(), &mut byte)? != 1 || byte[0] != sent {
                bail!("another byte came back");
            }
        }
        Ok(())
    }))
}

fn poll() -> Result<Body> {
    let pipes = (0..16).map(|_| sys::pipe()).collect::<Result<Vec<_>>>()?;
    sys::write(pipes[9].1.as_raw_fd(), &io::pattern(1))?;
    let mut fds: Vec<_> = pipes
        .iter()
        .map(|p| libc::pollfd {
            fd: p.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    Ok(Box::new(move |n| {
        let _pipes = &pipes;
        for _ in 0..n {
            if sys::poll(&mut fds)? != 1 || fds[9].revents != libc::POLLIN {
                bail!("poll found something else ready");
            }
        }
        Ok(())
    }))
}

fn eventfd() -> Result<Body> {
    let fd = sys::eventfd()?;
    let mut back = [0; 8];
    Ok(Box::new(move |n| {
        for _ in 0..n {
            sys::write(fd.as_raw_fd(), &3u64.to_ne_bytes())?;
            sys::read(fd.as_raw_fd(), &mut back)?;
            if u64::from_ne_bytes(back) != 3 {
                bail!("the eventfd gave {}", u64::from_ne_bytes(back));
            }
        }
        Ok(())
    }))
}
