//! poll(2), ppoll(2), select(2), pselect6(2).

use super::Fd;
use crate::executor::{PollEvents, WaitQueue};
use crate::task::{Cx, Deadline, RestartBlock};
use crate::user::{UserAddr, UserRef};
use crate::vfs::File;
use arch::abi::{PollFd, SIGSET_SIZE, SigSet, SigSetArg, Timespec, Timeval, fd_set_bytes};
use arch::{Errno, Result};
use smallvec::SmallVec;
use std::sync::Arc;

/// A signal mask that holds for one call.
///
/// It stays when a signal has interrupted the call: the signal is taken under it, and the kernel's way out goes back to the old one.
pub(super) struct TempMask<'a> {
    cx: &'a Cx,
    set: bool,
}

impl<'a> TempMask<'a> {
    /// Sets the mask that `mask` points to, unless that is null. EINVAL for a wrong `size`.
    pub fn set(cx: &'a Cx, mask: UserRef<SigSet>, size: u64) -> Result<Self> {
        if mask.is_null() {
            return Ok(Self { cx, set: false });
        }
        if size != SIGSET_SIZE {
            return Err(Errno::EINVAL);
        }
        let new = cx.read_obj(mask)?.blockable();
        cx.task.set_temporary_mask(new);
        Ok(Self { cx, set: true })
    }

    /// Goes back to the old mask unless a signal has interrupted the call.
    pub fn finish<T>(self, result: Result<T>) -> Result<T> {
        let interrupted = matches!(&result, Err(e) if *e == Errno::EINTR || e.is_restart());
        if self.set && !interrupted {
            self.cx.task.restore_mask();
        }
        result
    }
}

/// A time-out in milliseconds: a deadline, and whether there is no waiting at all. Negative is for ever.
pub(super) fn timeout_ms(ms: i32) -> (Option<Deadline>, bool) {
    match u64::try_from(ms) {
        Err(_) => (None, false),
        Ok(0) => (None, true),
        Ok(ms) => (Some(Deadline::after(ms * 1_000_000)), false),
    }
}

fn timeout_ns(ns: u64) -> (Option<Deadline>, bool) {
    if ns == 0 {
        (None, true)
    } else {
        (Some(Deadline::after(ns)), false)
    }
}

/// A time-out from a timespec; null is for ever. EINVAL for one that is none.
pub(super) fn timeout_spec(cx: &Cx, spec: UserRef<Timespec>) -> Result<(Option<Deadline>, bool)> {
    if spec.is_null() {
        return Ok((None, false));
    }
    let spec = cx.read_obj(spec)?;
    if !spec.is_valid() {
        return Err(Errno::EINVAL);
    }
    Ok(timeout_ns(u64::try_from(spec.to_nanos()).unwrap_or(0)))
}

/// Descriptors with what is asked of each.
struct Watched {
    file: Arc<File>,
    events: PollEvents,
    /// Position in the caller's array, or descriptor number.
    index: usize,
}

/// Waits until `op` finds something with the watched files: 0 when the deadline comes first, ERESTARTNOHAND for a signal.
async fn wait(
    cx: &Cx,
    watched: &[Watched],
    deadline: Option<Deadline>,
    at_once: bool,
    mut op: impl FnMut() -> usize,
) -> Result<usize> {
    let mut count = || match op() {
        0 => Err(Errno::EAGAIN),
        n => Ok(n),
    };
    let result = if at_once {
        count()
    } else {
        match count() {
            Err(Errno::EAGAIN) => {
                let queues: Vec<(&WaitQueue, PollEvents)> = watched
                    .iter()
                    .filter_map(|w| Some((w.file.ops.wait_queue()?, w.events)))
                    .collect();
                cx.wait_many(&queues, deadline, count).await
            }
            done => done,
        }
    };
    match result {
        Err(Errno::EAGAIN | Errno::ETIMEDOUT) => Ok(0),
        Err(Errno::ERESTARTSYS) => Err(Errno::ERESTARTNOHAND),
        other => other,
    }
}

/// Results for more descriptors than this are written back as one array.
const FEW: usize = 64;

/// poll(2) once its time-out is known. ERESTARTNOHAND for a signal.
async fn do_poll(
    cx: &Cx,
    fds: UserRef<PollFd>,
    nfds: u32,
    deadline: Option<Deadline>,
    at_once: bool,
) -> Result<usize> {
    if u64::from(nfds) > cx.task.group.rlimit(libc::RLIMIT_NOFILE) {
        return Err(Errno::EINVAL);
    }
    let mut list = cx.read_array(fds, nfds as usize)?;
    let before: SmallVec<[i16; FEW]> = list.iter().map(|entry| entry.revents).collect();
    let table = cx.task.files();
    let mut watched = Vec::with_capacity(list.len());
    let mut bad = 0;
    for (index, entry) in list.iter_mut().enumerate() {
        entry.revents = 0;
        if entry.fd < 0 {
            continue;
        }
        match table.get(Fd(entry.fd)) {
            Ok(file) => {
                let asked = PollEvents::from_bits_truncate(u32::from(entry.events.cast_unsigned()));
                watched.push(Watched {
                    file,
                    events: asked | PollEvents::ALWAYS,
                    index,
                });
            }
            Err(_) => {
                entry.revents = libc::POLLNVAL;
                bad += 1;
            }
        }
    }
    let mut looks = 0;
    let result = wait(cx, &watched, deadline, at_once, || {
        looks += 1;
        let mut count = bad;
        for w in &watched {
            let ready = w.file.ops.poll(&w.file) & w.events;
            list[w.index].revents = ready.bits() as i16;
            count += usize::from(!ready.is_empty());
        }
        count
    })
    .await;
    // Only revents is written: another thread may be changing the rest.
    if list.len() <= FEW {
        // What is there already needn't be written, as long as it can't have changed in a wait; a fault has to be told.
        let len = size_of_val(&list[..]);
        let fresh = looks == 1 && cx.task.mm().writable(fds.addr().0, len);
        for (n, entry) in list.iter().enumerate() {
            if fresh && entry.revents == before[n] {
                continue;
            }
            let at = fds.index(n as u64).addr().add(6);
            cx.write_obj(UserRef::new(at), &entry.revents)?;
        }
    } else {
        let mut now = cx.read_array(fds, list.len())?;
        for (entry, done) in now.iter_mut().zip(&list) {
            entry.revents = done.revents;
        }
        cx.write_bytes(fds.addr(), bytemuck::cast_slice(&now))?;
    }
    result
}

fn restart_later(cx: &Cx, fds: UserAddr, nfds: u32, deadline: Option<Deadline>) -> Errno {
    let deadline = deadline.map(|d| d.0);
    cx.restart.set(RestartBlock::Poll {
        fds,
        nfds: u64::from(nfds),
        deadline,
    });
    Errno::ERESTART_RESTARTBLOCK
}

/// poll(2).
pub async fn poll(cx: &Cx, fds: UserRef<PollFd>, nfds: u32, timeout: i32) -> Result<usize> {
    let (deadline, at_once) = timeout_ms(timeout);
    match do_poll(cx, fds, nfds, deadline, at_once).await {
        Err(Errno::ERESTARTNOHAND) => Err(restart_later(cx, fds.addr(), nfds, deadline)),
        other => other,
    }
}

/// Goes on with a poll(2) that a signal without a handler interrupted.
pub async fn restart_poll(
    cx: &Cx,
    fds: UserAddr,
    nfds: u64,
    deadline: Option<u64>,
) -> Result<usize> {
    let deadline = deadline.map(Deadline);
    let nfds = u32::try_from(nfds).map_err(|_| Errno::EINVAL)?;
    match do_poll(cx, UserRef::new(fds), nfds, deadline, false).await {
        Err(Errno::ERESTARTNOHAND) => Err(restart_later(cx, fds, nfds, deadline)),
        other => other,
    }
}

/// Writes what is left of a time-out (poll_select_finish of the kernel). Where it can't be written, the call must not be restarted with
/// the whole time-out again.
fn finish<T>(
    cx: &Cx,
    result: Result<T>,
    deadline: Option<Deadline>,
    write: impl FnOnce(u64) -> Result<()>,
) -> Result<T> {
    // STICKY_TIMEOUTS.
    const STICKY: u64 = 0x400_0000;
    let Some(deadline) = deadline else {
        return result;
    };
    let sticky = cx
        .task
        .group
        .personality
        .load(std::sync::atomic::Ordering::Relaxed)
        & STICKY
        != 0;
    let written = !sticky && write(deadline.remaining()).is_ok();
    match result {
        Err(Errno::ERESTARTNOHAND) if !written => Err(Errno::EINTR),
        other => other,
    }
}

fn write_timespec(cx: &Cx, to: UserRef<Timespec>, left: u64) -> Result<()> {
    cx.write_obj(
        to,
        &Timespec::from_nanos(i64::try_from(left).unwrap_or(i64::MAX)),
    )
}

/// ppoll(2).
pub async fn ppoll(
    cx: &Cx,
    fds: UserRef<PollFd>,
    nfds: u32,
    timeout: UserRef<Timespec>,
    mask: UserRef<SigSet>,
    size: u64,
) -> Result<usize> {
    let (deadline, at_once) = timeout_spec(cx, timeout)?;
    let mask = TempMask::set(cx, mask, size)?;
    let result = mask.finish(do_poll(cx, fds, nfds, deadline, at_once).await);
    finish(cx, result, deadline, |left| {
        write_timespec(cx, timeout, left)
    })
}

/// The three sets of select(2), as words.
struct Sets {
    read: Vec<u64>,
    write: Vec<u64>,
    except: Vec<u64>,
}

impl Sets {
    fn empty(words: usize) -> Self {
        Self {
            read: vec![0; words],
            write: vec![0; words],
            except: vec![0; words],
        }
    }

    fn has(set: &[u64], fd: usize) -> bool {
        set[fd / 64] & (1 << (fd % 64)) != 0
    }

    fn put(set: &mut [u64], fd: usize) -> usize {
        set[fd / 64] |= 1 << (fd % 64);
        1
    }
}

/// POLLIN_SET, POLLOUT_SET, POLLEX_SET of the kernel.
const READ_SET: PollEvents = PollEvents::READABLE
    .union(PollEvents::RDBAND)
    .union(PollEvents::HUP)
    .union(PollEvents::ERR);
const WRITE_SET: PollEvents = PollEvents::WRITABLE
    .union(PollEvents::WRBAND)
    .union(PollEvents::ERR);
const EXCEPT_SET: PollEvents = PollEvents::PRI;

type FdSet = UserRef<u64>;

/// select(2) once its time-out is known.
async fn do_select(
    cx: &Cx,
    nfds: i32,
    sets: [FdSet; 3],
    deadline: Option<Deadline>,
    at_once: bool,
) -> Result<usize> {
    let nfds = usize::try_from(nfds).map_err(|_| Errno::EINVAL)?;
    let table = cx.task.files();
    let nfds = nfds.min(table.capacity());
    let words = fd_set_bytes(nfds) / 8;
    let read = |set: FdSet| {
        if set.is_null() {
            Ok(vec![0; words])
        } else {
            cx.read_array(set, words)
        }
    };
    let asked = Sets {
        read: read(sets[0])?,
        write: read(sets[1])?,
        except: read(sets[2])?,
    };
    let mut watched = Vec::new();
    for fd in 0..nfds {
        let mut events = PollEvents::empty();
        events.set(READ_SET, Sets::has(&asked.read, fd));
        if Sets::has(&asked.write, fd) {
            events |= WRITE_SET;
        }
        if Sets::has(&asked.except, fd) {
            events |= EXCEPT_SET;
        }
        if !events.is_empty() {
            let file = table.get(Fd(fd as i32))?;
            watched.push(Watched {
                file,
                events,
                index: fd,
            });
        }
    }
    let mut found = Sets::empty(words);
    let result = wait(cx, &watched, deadline, at_once, || {
        let mut count = 0;
        for w in &watched {
            let ready = w.file.ops.poll(&w.file);
            let fd = w.index;
            if ready.intersects(READ_SET) && Sets::has(&asked.read, fd) {
                count += Sets::put(&mut found.read, fd);
            }
            if ready.intersects(WRITE_SET) && Sets::has(&asked.write, fd) {
                count += Sets::put(&mut found.write, fd);
            }
            if ready.intersects(EXCEPT_SET) && Sets::has(&asked.except, fd) {
                count += Sets::put(&mut found.except, fd);
            }
        }
        count
    })
    .await?;
    for (set, words) in sets
        .into_iter()
        .zip([&found.read, &found.write, &found.except])
    {
        if !set.is_null() {
            cx.write_bytes(set.addr(), bytemuck::cast_slice(words))?;
        }
    }
    Ok(result)
}

/// select(2).
pub async fn select(
    cx: &Cx,
    nfds: i32,
    read: FdSet,
    write: FdSet,
    except: FdSet,
    timeout: UserRef<Timeval>,
) -> Result<usize> {
    let (deadline, at_once) = if timeout.is_null() {
        (None, false)
    } else {
        let tv = cx.read_obj(timeout)?;
        // Microseconds beyond a second carry over; negative ones are invalid.
        if tv.usec < 0 || tv.sec < 0 {
            return Err(Errno::EINVAL);
        }
        timeout_ns(u64::try_from(tv.to_nanos()).unwrap_or(0))
    };
    let result = do_select(cx, nfds, [read, write, except], deadline, at_once).await;
    finish(cx, result, deadline, |left| {
        let us = left / 1000;
        let tv = Timeval {
            sec: (us / 1_000_000).cast_signed(),
            usec: (us % 1_000_000).cast_signed(),
        };
        cx.write_obj(timeout, &tv)
    })
}

/// pselect6(2). The mask comes in a structure of its address and size.
pub async fn pselect6(
    cx: &Cx,
    nfds: i32,
    read: FdSet,
    write: FdSet,
    except: FdSet,
    timeout: UserRef<Timespec>,
    mask: UserRef<SigSetArg>,
) -> Result<usize> {
    let mask = if mask.is_null() {
        SigSetArg::default()
    } else {
        cx.read_obj(mask)?
    };
    let (deadline, at_once) = timeout_spec(cx, timeout)?;
    let mask = TempMask::set(cx, UserRef::new(UserAddr(mask.mask)), mask.size)?;
    let result = mask.finish(do_select(cx, nfds, [read, write, except], deadline, at_once).await);
    finish(cx, result, deadline, |left| {
        write_timespec(cx, timeout, left)
    })
}
