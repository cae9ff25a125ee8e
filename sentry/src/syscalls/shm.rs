//! shmget(2), shmat(2), shmdt(2), shmctl(2).

use super::ipc::tell;
use crate::ipc::Caller;
use crate::mm::{MapCall, Prot, Source, Span, VmaFlags, page_aligned, page_down};
use crate::task::Cx;
use crate::user::{UserAddr, UserRef};
use arch::abi::ShmidDs;
use arch::{Errno, Result};
use std::sync::Arc;

/// Commands of shmctl(2).
const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;

/// shmget(2).
pub fn shmget(cx: &Cx, key: i32, size: u64, flags: i32) -> Result<i32> {
    cx.kernel().shm.shmget(&Caller::of(cx), key, size, flags)
}

/// shmat(2): the address of the mapping.
pub async fn shmat(cx: &Cx, id: i32, addr: u64, flags: i32) -> Result<u64> {
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    let remap = flags & libc::SHM_REMAP != 0;
    let mut at = addr;
    if addr == 0 {
        if remap {
            return Err(Errno::EINVAL);
        }
    } else if !page_aligned(addr) {
        if flags & libc::SHM_RND == 0 {
            return Err(Errno::EINVAL);
        }
        at = page_down(addr);
        if at == 0 && remap {
            return Err(Errno::EINVAL);
        }
    }
    let mut prot = Prot::READ;
    let mut may = VmaFlags::MAY_ALL | VmaFlags::SHARED;
    let mut access = 0o444;
    if flags & libc::SHM_RDONLY == 0 {
        prot |= Prot::WRITE;
        access |= 0o222;
    } else {
        may -= VmaFlags::MAY_WRITE;
    }
    if flags & libc::SHM_EXEC != 0 {
        prot |= Prot::EXEC;
        access |= 0o111;
    }
    let who = Caller::of(cx);
    let attach = cx.kernel().shm.attach(&who, id, access)?;
    let len = attach.segment.mapped_len();
    let mm = cx.task.mm();
    if at != 0 && !remap {
        let end = at.checked_add(len).ok_or(Errno::EINVAL)?;
        if !mm.with(|s| s.map.is_free(Span::new(at, end))) {
            return Err(Errno::EINVAL);
        }
    }
    let fixed = if at == 0 { 0 } else { libc::MAP_FIXED };
    let fd = attach.segment.descriptor(flags & libc::SHM_RDONLY == 0)?;
    let call = MapCall {
        addr: at,
        len,
        prot,
        flags: fixed,
        may,
        source: Source::Shm {
            attach: Arc::clone(&attach),
            fd,
        },
    };
    mm.change(cx, |state, who| state.mmap(who, &call)).await
}

/// shmdt(2): the address must be that of an attachment's start.
pub async fn shmdt(cx: &Cx, addr: u64) -> Result<u64> {
    if !page_aligned(addr) {
        return Err(Errno::EINVAL);
    }
    cx.task
        .mm()
        .change(cx, |state, who| state.shmdt(who, addr))
        .await
}

/// shmctl(2).
pub fn shmctl(cx: &Cx, id: i32, cmd: i32, buf: UserAddr) -> Result<i32> {
    // IPC_64 is implied on this architecture.
    let table = &cx.kernel().shm;
    let who = Caller::of(cx);
    if id < 0 || cmd < 0 {
        return Err(Errno::EINVAL);
    }
    match cmd {
        libc::IPC_INFO => tell(cx, buf, table.limits()),
        SHM_INFO => tell(cx, buf, table.usage()),
        SHM_STAT | SHM_STAT_ANY => tell(cx, buf, table.stat_index(&who, id, cmd == SHM_STAT_ANY)?),
        libc::IPC_STAT => tell(cx, buf, (0, table.stat(&who, id)?)),
        libc::IPC_SET => {
            let wanted: ShmidDs = cx.read_obj(UserRef::new(buf))?;
            table.set(&who, id, &wanted.perm).map(|()| 0)
        }
        libc::IPC_RMID => table.remove(&who, id).map(|()| 0),
        libc::SHM_LOCK | libc::SHM_UNLOCK => {
            let memlock = cx.task.group.rlimit(libc::RLIMIT_MEMLOCK);
            table
                .lock(&who, id, cmd == libc::SHM_LOCK, memlock)
                .map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}
