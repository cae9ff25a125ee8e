//! POSIX message queues: mq_open(2), mq_unlink(2), mq_timedsend(2), mq_timedreceive(2), mq_notify(2), mq_getsetattr(2).

use super::Fd;
use crate::executor::PollEvents;
use crate::fs::mqueue::OpenQueue;
use crate::ipc::mq::{PRIO_MAX, Queue};
use crate::task::{Cx, Deadline};
use crate::time::clock::to_monotonic;
use crate::user::{UserAddr, UserRef, UserStr};
use crate::vfs::walk::At;
use crate::vfs::{File, names, open};
use arch::abi::{MqAttr, SigEvent, Timespec};
use arch::signal::Signal;
use arch::{Errno, Result};
use std::sync::Arc;

/// A queue's name without its slash, as the C library passes it.
fn read_name(cx: &Cx, name: UserStr) -> Result<Vec<u8>> {
    let name = cx.read_path(name)?;
    match &name[..] {
        [] => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        n if n.contains(&b'/') => Err(Errno::EACCES),
        n if n.len() > 255 => Err(Errno::ENAMETOOLONG),
        _ => Ok(name),
    }
}

/// mq_open(2). The descriptor is close-on-exec.
pub fn mq_open(cx: &Cx, name: UserStr, flags: i32, mode: u32, attr: UserRef<MqAttr>) -> Result<Fd> {
    let attr = attr.non_null().map(|p| cx.read_obj(p)).transpose()?;
    let name = read_name(cx, name)?;
    let kernel = cx.kernel();
    let place = kernel.mqueue.place();
    let env = cx.env();
    if flags & libc::O_CREAT != 0 && !kernel.mqueue.exists(&name) {
        let node = names::new_node(
            &env,
            &place,
            libc::S_IFREG | mode & 0o7777,
            Default::default(),
        )?;
        match kernel.mqueue.create(&name, &node, attr.as_ref()) {
            Ok(()) => {
                // Its mode doesn't bind who has made it.
                let made = env.resolve(&At::Dir(place), &name, crate::vfs::WalkFlags::empty())?;
                let ops = made.inode().open(&env, &made, 0)?;
                let kept = flags & (libc::O_ACCMODE | libc::O_NONBLOCK);
                return install(cx, File::with_path(ops, kept as u32, made));
            }
            Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
    }
    let exclusive = libc::O_CREAT | libc::O_EXCL;
    if flags & exclusive == exclusive && kernel.mqueue.exists(&name) {
        return Err(Errno::EEXIST);
    }
    if flags & libc::O_ACCMODE == libc::O_ACCMODE {
        return Err(Errno::EINVAL);
    }
    let kept = flags & (libc::O_ACCMODE | libc::O_NONBLOCK);
    let how = open::OpenHow::new(kept as u32, 0);
    let file = open::open(&env, &At::Dir(place), &name, how)?;
    install(cx, file)
}

fn install(cx: &Cx, file: Arc<File>) -> Result<Fd> {
    let limit = cx.task.group.rlimit(libc::RLIMIT_NOFILE);
    cx.task.files().install(file, true, limit)
}

/// mq_unlink(2).
pub fn mq_unlink(cx: &Cx, name: UserStr) -> Result<()> {
    let name = read_name(cx, name)?;
    let place = cx.kernel().mqueue.place();
    names::unlink(&cx.env(), &At::Dir(place), &name)
}

/// An open queue; EBADF for anything else.
fn queue(cx: &Cx, fd: Fd) -> Result<(Arc<File>, Arc<Queue>)> {
    let file = cx.task.files().get(fd)?;
    let queue = file
        .downcast::<OpenQueue>()
        .map(|open| Arc::clone(open.queue()))
        .ok_or(Errno::EBADF)?;
    Ok((file, queue))
}

/// The absolute time of CLOCK_REALTIME that ends a wait.
fn deadline(cx: &Cx, at: UserRef<Timespec>) -> Result<Option<Deadline>> {
    let Some(at) = at.non_null() else {
        return Ok(None);
    };
    let at: Timespec = cx.read_obj(at)?;
    if !at.is_valid() {
        return Err(Errno::EINVAL);
    }
    let ns = u64::try_from(at.to_nanos()).unwrap_or(0);
    Ok(Some(Deadline(to_monotonic(libc::CLOCK_REALTIME, ns))))
}

/// mq_timedsend(2).
pub async fn mq_timedsend(
    cx: &Cx,
    fd: Fd,
    msg: UserAddr,
    len: usize,
    prio: u32,
    timeout: UserRef<Timespec>,
) -> Result<()> {
    let deadline = deadline(cx, timeout)?;
    if prio >= PRIO_MAX {
        return Err(Errno::EINVAL);
    }
    let (file, queue) = queue(cx, fd)?;
    if file.flags() as i32 & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(Errno::EBADF);
    }
    if len > queue.max_size {
        return Err(Errno::EMSGSIZE);
    }
    let mut text = vec![0; len];
    cx.read_bytes(msg, &mut text)?;
    let text: Arc<[u8]> = text.into();
    let send = || queue.send(&cx.task, prio, &text);
    if file.nonblocking() {
        return send();
    }
    cx.wait(&queue.events, PollEvents::WRITABLE, deadline, send)
        .await
}

/// mq_timedreceive(2): the message's length.
pub async fn mq_timedreceive(
    cx: &Cx,
    fd: Fd,
    msg: UserAddr,
    len: usize,
    prio: UserRef<u32>,
    timeout: UserRef<Timespec>,
) -> Result<usize> {
    let deadline = deadline(cx, timeout)?;
    let (file, queue) = queue(cx, fd)?;
    if file.flags() as i32 & libc::O_ACCMODE == libc::O_WRONLY {
        return Err(Errno::EBADF);
    }
    if len < queue.max_size {
        return Err(Errno::EMSGSIZE);
    }
    let received = match queue.receive() {
        Err(Errno::EAGAIN) if !file.nonblocking() => {
            let _waits = queue.receiver();
            cx.wait(&queue.events, PollEvents::READABLE, deadline, || {
                queue.receive()
            })
            .await
        }
        done => done,
    };
    let (priority, text) = received?;
    cx.write_opt(prio, &priority)?;
    cx.write_bytes(msg, &text)?;
    Ok(text.len())
}

/// mq_notify(2). SIGEV_THREAD, which the C library builds on a netlink socket, is ENOSYS.
pub fn mq_notify(cx: &Cx, fd: Fd, event: UserRef<SigEvent>) -> Result<()> {
    let event = event.non_null().map(|p| cx.read_obj(p)).transpose()?;
    let signal = match &event {
        None => None,
        Some(e) => match e.notify {
            libc::SIGEV_NONE => None,
            libc::SIGEV_SIGNAL => Some(Signal::from_raw(e.signo).ok_or(Errno::EINVAL)?),
            libc::SIGEV_THREAD => return Err(Errno::ENOSYS),
            _ => return Err(Errno::EINVAL),
        },
    };
    let (_, queue) = queue(cx, fd)?;
    let group = &cx.task.group;
    match event {
        None => {
            queue.clear_notify(group);
            Ok(())
        }
        Some(e) => queue.set_notify(group, signal, e.value),
    }
}

/// mq_getsetattr(2): of what can be set there is O_NONBLOCK.
pub fn mq_getsetattr(cx: &Cx, fd: Fd, new: UserRef<MqAttr>, old: UserRef<MqAttr>) -> Result<()> {
    const NONBLOCK: i64 = libc::O_NONBLOCK as i64;
    let new = new.non_null().map(|p| cx.read_obj(p)).transpose()?;
    if new.is_some_and(|a| a.flags & !NONBLOCK != 0) {
        return Err(Errno::EINVAL);
    }
    let (file, queue) = queue(cx, fd)?;
    let before = MqAttr {
        flags: if file.nonblocking() { NONBLOCK } else { 0 },
        ..queue.attr()
    };
    if let Some(new) = new {
        let flags = file.flags() & !(NONBLOCK as u32) | new.flags as u32;
        file.store_flags(flags);
    }
    cx.write_opt(old, &before)
}
