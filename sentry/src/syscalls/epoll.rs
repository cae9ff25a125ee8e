//! epoll_create(2), epoll_ctl(2), epoll_wait(2).

use super::Fd;
use super::pipe::{file, install};
use super::poll::{TempMask, timeout_ms};
use crate::event::epoll::Epoll;
use crate::executor::PollEvents;
use crate::task::{Cx, Deadline};
use crate::user::UserRef;
use crate::user::memory::check_range;
use arch::abi::{EP_MAX_EVENTS, EpollEvent, SigSet, Timespec};
use arch::{Errno, Result};

/// epoll_create1(2).
pub fn epoll_create1(cx: &Cx, flags: i32) -> Result<Fd> {
    if flags & !libc::EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    install(cx, Epoll::open(), flags & libc::EPOLL_CLOEXEC != 0)
}

/// epoll_create(2). The size means nothing but that it must be positive.
pub fn epoll_create(cx: &Cx, size: i32) -> Result<Fd> {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    epoll_create1(cx, 0)
}

/// epoll_ctl(2).
pub fn epoll_ctl(cx: &Cx, epfd: Fd, op: i32, fd: Fd, event: UserRef<EpollEvent>) -> Result<()> {
    let event = if op == libc::EPOLL_CTL_DEL {
        EpollEvent::default()
    } else {
        cx.read_obj(event)?
    };
    let instance = file(cx, epfd)?;
    let target = file(cx, fd)?;
    if !target.ops.epollable() {
        return Err(Errno::EPERM);
    }
    let epoll = instance.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    match op {
        libc::EPOLL_CTL_ADD => epoll.add(fd.0, &target, event),
        libc::EPOLL_CTL_MOD => epoll.modify(fd.0, &target, event),
        libc::EPOLL_CTL_DEL => epoll.delete(fd.0, &target),
        _ => Err(Errno::EINVAL),
    }
}

async fn wait(
    cx: &Cx,
    epfd: Fd,
    out: UserRef<EpollEvent>,
    max: i32,
    deadline: Option<Deadline>,
    at_once: bool,
) -> Result<usize> {
    if max <= 0 || max > EP_MAX_EVENTS {
        return Err(Errno::EINVAL);
    }
    check_range(out.addr(), max as u64 * size_of::<EpollEvent>() as u64)?;
    let instance = file(cx, epfd)?;
    let epoll = instance.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    let batch = if at_once {
        epoll.collect(max as usize)
    } else {
        cx.wait(epoll.queue(), PollEvents::READABLE, deadline, || {
            epoll.collect(max as usize)
        })
        .await
    };
    let batch = match batch {
        Ok(batch) => batch,
        Err(Errno::EAGAIN | Errno::ETIMEDOUT) => return Ok(0),
        Err(Errno::ERESTARTSYS) => return Err(Errno::EINTR),
        Err(e) => return Err(e),
    };
    let bytes = bytemuck::cast_slice(&batch.events);
    let written = cx.write_partial(out.addr(), bytes) / size_of::<EpollEvent>();
    if written < batch.events.len() {
        epoll.take_back(&batch, written);
        if written == 0 {
            return Err(Errno::EFAULT);
        }
    }
    Ok(written)
}

/// epoll_wait(2). A signal ends it with EINTR, whatever SA_RESTART says.
pub async fn epoll_wait(
    cx: &Cx,
    epfd: Fd,
    out: UserRef<EpollEvent>,
    max: i32,
    timeout: i32,
) -> Result<usize> {
    let (deadline, at_once) = timeout_ms(timeout);
    wait(cx, epfd, out, max, deadline, at_once).await
}

/// epoll_pwait(2).
pub async fn epoll_pwait(
    cx: &Cx,
    epfd: Fd,
    out: UserRef<EpollEvent>,
    max: i32,
    timeout: i32,
    mask: UserRef<SigSet>,
    size: u64,
) -> Result<usize> {
    let (deadline, at_once) = timeout_ms(timeout);
    let mask = TempMask::set(cx, mask, size)?;
    mask.finish(wait(cx, epfd, out, max, deadline, at_once).await)
}

/// epoll_pwait2(2).
pub async fn epoll_pwait2(
    cx: &Cx,
    epfd: Fd,
    out: UserRef<EpollEvent>,
    max: i32,
    timeout: UserRef<Timespec>,
    mask: UserRef<SigSet>,
    size: u64,
) -> Result<usize> {
    let (deadline, at_once) = super::poll::timeout_spec(cx, timeout)?;
    let mask = TempMask::set(cx, mask, size)?;
    mask.finish(wait(cx, epfd, out, max, deadline, at_once).await)
}
