//! System V semaphores and message queues: semget(2), semop(2), semctl(2), msgget(2), msgop(2), msgctl(2).

use crate::executor::PollEvents;
use crate::ipc::Caller;
use crate::ipc::msg::{MSGMAX, Message, Pick};
use crate::ipc::sem::{Query, SEMOPM, Started};
use crate::task::{Cx, Deadline};
use crate::user::{UserAddr, UserRef};
use arch::abi::{
    IPC_INFO, MSG_INFO, MSG_STAT, MSG_STAT_ANY, MsqidDs, SEM_INFO, SEM_STAT, SEM_STAT_ANY, SEMVMX,
    Sembuf, SemidDs, Timespec,
};
use arch::{Errno, Result};

/// Commands of semctl(2) for values.
const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const SEM_UNDO: i16 = 0x1000;

/// semget(2).
pub fn semget(cx: &Cx, key: i32, nsems: i32, flags: i32) -> Result<i32> {
    cx.kernel()
        .semaphores
        .semget(&Caller::of(cx), key, nsems, flags)
}

/// semop(2).
pub async fn semop(cx: &Cx, id: i32, ops: UserRef<Sembuf>, nops: u32) -> Result<()> {
    operate(cx, id, ops, nops as usize, None).await
}

/// semtimedop(2). A signal's handler always ends it with EINTR.
pub async fn semtimedop(
    cx: &Cx,
    id: i32,
    ops: UserRef<Sembuf>,
    nops: u32,
    timeout: UserRef<Timespec>,
) -> Result<()> {
    let timeout = timeout.non_null().map(|p| cx.read_obj(p)).transpose()?;
    operate(cx, id, ops, nops as usize, timeout).await
}

async fn operate(
    cx: &Cx,
    id: i32,
    ops: UserRef<Sembuf>,
    nops: usize,
    timeout: Option<Timespec>,
) -> Result<()> {
    if nops > SEMOPM {
        return Err(Errno::E2BIG);
    }
    if nops == 0 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; nops * size_of::<Sembuf>()];
    cx.read_bytes(ops.addr(), &mut bytes)?;
    let ops: Vec<Sembuf> = bytes
        .chunks_exact(size_of::<Sembuf>())
        .map(bytemuck::pod_read_unaligned)
        .collect();
    if id < 0 || timeout.is_some_and(|t| !t.is_valid()) {
        return Err(Errno::EINVAL);
    }
    let deadline = timeout.map(|t| Deadline::after(u64::try_from(t.to_nanos()).unwrap_or(0)));
    let table = &cx.kernel().semaphores;
    let set = table.get(id)?;
    let who = Caller::of(cx);
    let shared = std::sync::Arc::clone(&cx.task.sem_undo.lock());
    let undo = ops
        .iter()
        .any(|op| op.flg & SEM_UNDO != 0)
        .then(|| shared.get_or_init(|| table.undo_list(who.pid)));
    let waiter = match set.start(&who, ops, undo)? {
        Started::Done => return Ok(()),
        Started::Waits(waiter) => waiter,
    };
    let outcome = cx
        .wait(&waiter.done, PollEvents::all(), deadline, || {
            waiter.outcome().ok_or(Errno::EAGAIN)
        })
        .await;
    match outcome {
        Ok(outcome) => outcome,
        Err(Errno::ETIMEDOUT) => set.give_up(&waiter, Errno::EAGAIN),
        Err(_) => set.give_up(&waiter, Errno::EINTR),
    }
}

/// Stores what a command of semctl(2), msgctl(2) or shmctl(2) tells; its return value.
pub(super) fn tell<T: bytemuck::NoUninit>(
    cx: &Cx,
    buf: UserAddr,
    (value, told): (i32, T),
) -> Result<i32> {
    cx.write_obj(UserRef::new(buf), &told)?;
    Ok(value)
}

/// semctl(2). `arg` is a value for SETVAL, else an address.
pub fn semctl(cx: &Cx, id: i32, num: i32, cmd: i32, arg: u64) -> Result<i32> {
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    let table = &cx.kernel().semaphores;
    let who = Caller::of(cx);
    let buf = UserAddr(arg);
    match cmd {
        IPC_INFO | SEM_INFO => tell(cx, buf, table.info(cmd == SEM_INFO)),
        libc::IPC_STAT => tell(cx, buf, (0, table.stat(&who, id)?)),
        SEM_STAT | SEM_STAT_ANY => tell(cx, buf, table.stat_index(&who, id, cmd == SEM_STAT_ANY)?),
        libc::IPC_SET => {
            let new: SemidDs = cx.read_obj(UserRef::new(buf))?;
            table.set(&who, id, &new).map(|()| 0)
        }
        libc::IPC_RMID => table.remove(&who, id).map(|()| 0),
        GETALL => {
            let values = table.get(id)?.values(&who)?;
            cx.write_bytes(buf, bytemuck::cast_slice(&values))?;
            Ok(0)
        }
        SETALL => {
            let set = table.get(id)?;
            set.may_set(&who)?;
            let mut values = vec![0u16; set.count() as usize];
            cx.read_bytes(buf, bytemuck::cast_slice_mut(&mut values))?;
            set.set_values(&who, &values).map(|()| 0)
        }
        SETVAL => {
            let value = arg as i32;
            if !(0..=SEMVMX).contains(&value) {
                return Err(Errno::ERANGE);
            }
            table.get(id)?.set_value(&who, num, value).map(|()| 0)
        }
        GETVAL | GETPID | GETNCNT | GETZCNT => {
            let what = match cmd {
                GETVAL => Query::Value,
                GETPID => Query::Pid,
                GETNCNT => Query::WaitingForMore,
                _ => Query::WaitingForZero,
            };
            table.get(id)?.query(&who, num, what)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// msgget(2).
pub fn msgget(cx: &Cx, key: i32, flags: i32) -> Result<i32> {
    cx.kernel().messages.msgget(&Caller::of(cx), key, flags)
}

/// msgsnd(2). Never restarted once a handler has run.
pub async fn msgsnd(cx: &Cx, id: i32, msg: UserAddr, size: u64, flags: i32) -> Result<()> {
    let kind: i64 = cx.read_obj(UserRef::new(msg))?;
    let size = usize::try_from(size)
        .ok()
        .filter(|n| *n <= MSGMAX)
        .ok_or(Errno::EINVAL)?;
    if id < 0 || kind < 1 {
        return Err(Errno::EINVAL);
    }
    let mut text = vec![0; size];
    cx.read_bytes(msg.add(size_of::<i64>() as u64), &mut text)?;
    let message = Message {
        kind,
        text: text.into(),
    };
    let queue = cx.kernel().messages.get(id)?;
    let who = Caller::of(cx);
    let send = || queue.send(&who, &message);
    if flags & libc::IPC_NOWAIT != 0 {
        return send();
    }
    cx.wait(&queue.room, PollEvents::OUT, None, send)
        .await
        .map_err(not_restarted)
}

/// What a signal makes of a wait that a handler ends.
fn not_restarted(e: Errno) -> Errno {
    if e == Errno::ERESTARTSYS {
        Errno::ERESTARTNOHAND
    } else {
        e
    }
}

/// msgrcv(2): the bytes of text that were stored.
pub async fn msgrcv(
    cx: &Cx,
    id: i32,
    msg: UserAddr,
    size: i64,
    kind: i64,
    flags: i32,
) -> Result<usize> {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let nowait = flags & libc::IPC_NOWAIT != 0;
    let copy = flags & libc::MSG_COPY != 0;
    if id < 0 || copy && (flags & libc::MSG_EXCEPT != 0 || !nowait) {
        return Err(Errno::EINVAL);
    }
    let queue = cx.kernel().messages.get(id)?;
    let who = Caller::of(cx);
    let pick = Pick::new(kind, flags);
    let receive = || queue.receive(&who, pick, size, flags & libc::MSG_NOERROR != 0);
    let message = if nowait {
        receive().map_err(|e| if e == Errno::EAGAIN { Errno::ENOMSG } else { e })?
    } else {
        cx.wait(&queue.arrivals, PollEvents::IN, None, receive)
            .await
            .map_err(not_restarted)?
    };
    let n = size.min(message.text.len());
    cx.write_obj(UserRef::new(msg), &message.kind)?;
    cx.write_bytes(msg.add(size_of::<i64>() as u64), &message.text[..n])?;
    Ok(n)
}

/// msgctl(2).
pub fn msgctl(cx: &Cx, id: i32, cmd: i32, buf: UserAddr) -> Result<i32> {
    if id < 0 || cmd < 0 {
        return Err(Errno::EINVAL);
    }
    let table = &cx.kernel().messages;
    let who = Caller::of(cx);
    match cmd {
        IPC_INFO | MSG_INFO => tell(cx, buf, table.info(cmd == MSG_INFO)),
        libc::IPC_STAT => tell(cx, buf, (0, table.stat(&who, id)?)),
        MSG_STAT | MSG_STAT_ANY => tell(cx, buf, table.stat_index(&who, id, cmd == MSG_STAT_ANY)?),
        libc::IPC_SET => {
            let new: MsqidDs = cx.read_obj(UserRef::new(buf))?;
            table.set(&who, id, &new).map(|()| 0)
        }
        libc::IPC_RMID => table.remove(&who, id).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}
