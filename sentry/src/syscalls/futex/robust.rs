//! Robust lists: what a dying thread does to the locks that it holds.

use crate::task::run::perform;
use crate::task::{Cx, Pid, cap};
use crate::user::{UserAddr, UserRef};
use arch::abi::{
    FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT, RobustListHead,
};
use arch::{Errno, Result};
use std::sync::atomic::Ordering;
use systrap::Event;
use systrap::layout::TASK_SIZE;

/// set_robust_list(2). EINVAL for any other size than the structure's.
pub fn set_robust_list(cx: &Cx, head: u64, len: usize) -> Result<()> {
    if len != size_of::<RobustListHead>() {
        return Err(Errno::EINVAL);
    }
    cx.task.robust_list.store(head, Ordering::Relaxed);
    cx.thread.lock().set_robust_list(head);
    Ok(())
}

/// get_robust_list(2): of the caller (`tid` 0) or of a thread that it may look into.
pub fn get_robust_list(cx: &Cx, tid: Pid, head: UserRef<u64>, len: UserRef<u64>) -> Result<()> {
    let list = if tid == 0 {
        cx.task.robust_list.load(Ordering::Relaxed)
    } else {
        let task = cx.kernel().tasks.lock().task(tid).ok_or(Errno::ESRCH)?;
        let (own, theirs) = (cx.task.creds(), task.creds());
        let same = own.uid == theirs.uid && own.uid == theirs.euid && own.uid == theirs.suid;
        if !same && !own.has_cap(cap::SYS_PTRACE) {
            return Err(Errno::EPERM);
        }
        task.robust_list.load(Ordering::Relaxed)
    };
    cx.write_obj(len, &(size_of::<RobustListHead>() as u64))?;
    cx.write_obj(head, &list)
}

/// What a dying thread does to the futexes that it holds: marks them and wakes a waiter (exit_robust_list of the kernel).
/// Done when this returns, so before anybody hears of the end. Errors of the list's memory end the walk.
pub async fn exit_robust_list(cx: &Cx) {
    let before = cx.thread.lock().actions().len();
    walk_robust_list(cx).await;
    let pushed = cx.thread.lock().actions().len();
    if pushed > before {
        crate::task::doom::watch(&cx.task.group);
        perform(cx).await;
    }
}

async fn walk_robust_list(cx: &Cx) {
    let head_addr = cx.task.robust_list.swap(0, Ordering::Relaxed);
    if head_addr == 0 {
        return;
    }
    let Ok(head) = cx.read_obj::<RobustListHead>(UserRef::new(UserAddr(head_addr))) else {
        return;
    };
    let word_of = |entry: u64| (entry & !1).wrapping_add_signed(head.futex_offset);
    let (pending, pending_pi) = (head.list_op_pending & !1, head.list_op_pending & 1 != 0);
    let (mut entry, mut pi) = (head.list & !1, head.list & 1 != 0);
    let mut limit = ROBUST_LIST_LIMIT;
    while entry != head_addr {
        // Read before the entry is given up: its new owner may free it.
        let next = cx.read_obj::<u64>(UserRef::new(UserAddr(entry)));
        if entry != pending && !release(cx, word_of(entry), pi, false).await {
            return;
        }
        let Ok(next) = next else { return };
        (entry, pi) = (next & !1, next & 1 != 0);
        limit -= 1;
        if limit == 0 {
            break;
        }
    }
    if pending != 0 {
        release(cx, word_of(pending), pending_pi, true).await;
    }
}

/// One futex word (handle_futex_death). False if the walk has to end.
async fn release(cx: &Cx, word: u64, pi: bool, pending: bool) -> bool {
    if !word.is_multiple_of(4) || word >= TASK_SIZE {
        return false;
    }
    let Ok(value) = cx.read_obj::<u32>(UserRef::new(UserAddr(word))) else {
        return false;
    };
    let tid = cx.task.tid().cast_unsigned();
    let owner = value & FUTEX_TID_MASK;
    if pending && !pi && owner == 0 {
        // It was given up but nobody woken yet.
        return push(cx, |list| list.futex_wake(word, 1, false)).await;
    }
    if owner != tid {
        return true;
    }
    // Only FUTEX_WAITERS can change under us, and only be set: one of the two succeeds.
    for old in [
        tid,
        tid | FUTEX_WAITERS,
        tid | FUTEX_OWNER_DIED,
        tid | FUTEX_WAITERS | FUTEX_OWNER_DIED,
    ] {
        let known = old & FUTEX_OWNER_DIED == value & FUTEX_OWNER_DIED;
        let new = old & FUTEX_WAITERS | FUTEX_OWNER_DIED;
        if known && !push(cx, |list| list.cas_u32(word, old, new, true)).await {
            return false;
        }
    }
    // A waiter that came late is woken too; a wake that finds nobody is harmless.
    pi || push(cx, |list| list.futex_wake(word, 1, false)).await
}

/// Adds an action; performs what there is if the list is full.
async fn push(cx: &Cx, action: impl Fn(&mut systrap::Actions<'_>) -> bool) -> bool {
    if action(&mut cx.thread.lock().actions()) {
        return true;
    }
    matches!(perform(cx).await, Event::Parked) && action(&mut cx.thread.lock().actions())
}
