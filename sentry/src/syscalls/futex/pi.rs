//! The FUTEX_*_PI commands of futex(2).

use crate::executor::PollEvents;
use crate::task::futex::{Turned, Waiter, WordRef, can_unlock};
use crate::task::run::perform;
use crate::task::{Cx, Deadline};
use crate::user::{UserAddr, UserRef};
use arch::abi::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use arch::{Errno, Result};
use std::sync::Arc;
use systrap::Event;

/// A futex word as a call names it.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    pub addr: u64,
    /// FUTEX_PRIVATE_FLAG.
    pub private: bool,
}

impl Word {
    fn known<'a>(&self, cx: &'a Cx) -> Result<WordRef<'a>> {
        cx.kernel()
            .futexes
            .word(&cx.task.mm(), self.addr, self.private)
    }

    fn read(&self, cx: &Cx) -> Result<u32> {
        cx.read_obj(UserRef::new(UserAddr(self.addr)))
    }

    /// Swaps the word; false if it was not `old`.
    async fn swap(&self, cx: &Cx, old: u32, new: u32) -> Result<bool> {
        if !cx
            .thread
            .lock()
            .actions()
            .cas_u32(self.addr, old, new, false)
        {
            return Err(Errno::ENOMEM);
        }
        match perform(cx).await {
            Event::ActionFailed { errno, .. } if errno == libc::EAGAIN => {
                // The application may go on changing it: a signal ends the tries.
                if cx.task.interrupted() {
                    Err(Errno::ERESTARTNOINTR)
                } else {
                    Ok(false)
                }
            }
            Event::ActionFailed { .. } => Err(Errno::EFAULT),
            Event::Dead { .. } | Event::Violation(_) => {
                cx.task.request_exit(libc::SIGKILL);
                Err(Errno::EINTR)
            }
            _ => Ok(true),
        }
    }
}

fn owner_of(value: u32) -> i32 {
    (value & FUTEX_TID_MASK).cast_signed()
}

fn waiters_bit(yes: bool) -> u32 {
    if yes { FUTEX_WAITERS } else { 0 }
}

/// Takes a waiter out again, however its call ends.
struct Queued<'a>(&'a WordRef<'a>, Arc<Waiter>);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if !self.1.is_granted() {
            self.0.leave(&self.1, true);
        }
    }
}

/// FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI. EDEADLK for the owner itself, ESRCH if the owner is gone, ETIMEDOUT; of a
/// try EAGAIN if it is locked.
pub async fn lock(cx: &Cx, word: Word, end: Option<Deadline>, only_try: bool) -> Result<u64> {
    let known = word.known(cx)?;
    let me = cx.task.tid();
    loop {
        let turn = known.turn(cx).await?;
        let value = word.read(cx)?;
        let owner = owner_of(value);
        if owner == me {
            return Err(Errno::EDEADLK);
        }
        if owner == 0 {
            let waiters = waiters_bit(known.locks() > 0);
            let new = me.cast_unsigned() | value & FUTEX_OWNER_DIED | waiters;
            if word.swap(cx, value, new).await? {
                known.set_owner(me);
                return Ok(0);
            }
            continue;
        }
        // From here on its owner comes to the kernel to unlock it.
        let marked = value | FUTEX_WAITERS;
        if value != marked && !word.swap(cx, value, marked).await? {
            continue;
        }
        if known.owner().is_some_and(|known| known != owner) {
            return Err(Errno::EINVAL);
        }
        // It waits before it looks at the owner, who looks for waiters after it has begun to end.
        let waiter = Waiter::new(me, None);
        known.add_lock(&waiter, owner);
        let queued = Queued(&known, waiter);
        if !can_unlock(cx, owner) {
            if word.read(cx)? == marked {
                return Err(Errno::ESRCH);
            }
            continue;
        }
        if only_try {
            return Err(Errno::EAGAIN);
        }
        drop(turn);
        return wait(cx, word, &queued, end).await;
    }
}

/// Waits until the lock is the waiter's.
async fn wait(cx: &Cx, word: Word, queued: &Queued<'_>, end: Option<Deadline>) -> Result<u64> {
    let Queued(known, waiter) = queued;
    loop {
        let turned = cx
            .wait(&waiter.queue, PollEvents::all(), end, || known.look(waiter))
            .await;
        let ended = match turned {
            Ok(Turned::OwnerDied) => match inherit(cx, word, queued).await {
                Ok(false) => continue,
                Ok(true) => return Ok(0),
                Err(e) => e,
            },
            Ok(_) => return Ok(0),
            Err(e) => e,
        };
        if leave(cx, queued).await {
            return Err(match ended {
                Errno::ERESTARTSYS => Errno::ERESTARTNOINTR,
                e => e,
            });
        }
        return Ok(0);
    }
}

/// Gives up waiting, unless the lock has just come: false.
async fn leave(cx: &Cx, queued: &Queued<'_>) -> bool {
    let Queued(known, waiter) = queued;
    let _ = cx
        .wait_killable(&waiter.queue, || {
            if waiter.is_granted() || known.leave(waiter, false) || !waiter.is_claimed() {
                Ok(())
            } else {
                Err(Errno::EAGAIN)
            }
        })
        .await;
    !waiter.is_granted()
}

/// The owner has ended with the lock: its first waiter takes it. False if another was faster.
async fn inherit(cx: &Cx, word: Word, queued: &Queued<'_>) -> Result<bool> {
    let Queued(known, waiter) = queued;
    let _turn = known.turn(cx).await?;
    let Some(dead) = known.dead_owner() else {
        return Ok(false);
    };
    let value = word.read(cx)?;
    let owner = owner_of(value);
    if owner != 0 && owner != dead {
        known.set_owner(owner);
        if !can_unlock(cx, owner) {
            return Err(Errno::ESRCH);
        }
        return Ok(false);
    }
    let others = waiters_bit(known.locks() > 1);
    let new = waiter.tid.cast_unsigned() | FUTEX_OWNER_DIED | others;
    if !word.swap(cx, value, new).await? {
        return Ok(false);
    }
    known.leave(waiter, true);
    known.set_owner(waiter.tid);
    Ok(true)
}

/// FUTEX_UNLOCK_PI. EPERM if the caller is not the owner.
pub async fn unlock(cx: &Cx, word: Word) -> Result<u64> {
    let known = word.known(cx)?;
    loop {
        let _turn = known.turn(cx).await?;
        let value = word.read(cx)?;
        if owner_of(value) != cx.task.tid() {
            return Err(Errno::EPERM);
        }
        let Some(next) = known.claim_lock() else {
            if word.swap(cx, value, 0).await? {
                known.set_owner(0);
                return Ok(0);
            }
            continue;
        };
        let new = next.tid.cast_unsigned() | FUTEX_WAITERS;
        match word.swap(cx, value, new).await {
            Ok(true) => {
                known.grant(&next, &known);
                return Ok(0);
            }
            other => {
                known.unclaim(&next);
                other?;
            }
        }
    }
}

/// FUTEX_WAIT_REQUEUE_PI: waits on `word`, until FUTEX_CMP_REQUEUE_PI gives it the lock `to` or moves it to those that wait
/// for that. EAGAIN if the word is not `val`, or a signal came after the move.
pub async fn wait_requeue(
    cx: &Cx,
    word: Word,
    val: u32,
    end: Option<Deadline>,
    to: Word,
) -> Result<u64> {
    let (known, lock) = (word.known(cx)?, to.known(cx)?);
    if known.key == lock.key {
        return Err(Errno::EINVAL);
    }
    let waiter = Waiter::new(cx.task.tid(), Some(lock.key));
    let turn = known.turn(cx).await?;
    if word.read(cx)? != val {
        return Err(Errno::EAGAIN);
    }
    known.add_move(&waiter);
    let queued = Queued(&known, Arc::clone(&waiter));
    let queued_there = Queued(&lock, Arc::clone(&waiter));
    drop(turn);
    let turned = cx
        .wait(&waiter.queue, PollEvents::all(), end, || {
            WordRef::look_moved(&waiter)
        })
        .await;
    match turned {
        Ok(Turned::Granted) => return Ok(0),
        Ok(_) => {}
        Err(e) => {
            if leave(cx, &queued).await && !waiter.is_moved() {
                return Err(match e {
                    Errno::ERESTARTSYS => Errno::ERESTARTNOINTR,
                    e => e,
                });
            }
            if waiter.is_granted() {
                return Ok(0);
            }
        }
    }
    match wait(cx, to, &queued_there, end).await {
        // A restart would only find that the word has changed.
        Err(Errno::ERESTARTNOINTR) => Err(Errno::EAGAIN),
        other => other,
    }
}

/// FUTEX_CMP_REQUEUE_PI: gives the first that waits on `word` the lock `to` if it is free, and moves `n` more to those that
/// wait for it; how many of both. EAGAIN if the word is not `val`, EINVAL if they wait for another lock.
pub async fn cmp_requeue(cx: &Cx, word: Word, n: u32, to: Word, val: u32) -> Result<u64> {
    let (known, lock) = (word.known(cx)?, to.known(cx)?);
    if known.key == lock.key {
        return Err(Errno::EINVAL);
    }
    loop {
        // Two turns, in the order of their keys.
        let (first, second) = if known.key < lock.key {
            (&known, &lock)
        } else {
            (&lock, &known)
        };
        let _one = first.turn(cx).await?;
        let _other = second.turn(cx).await?;
        if word.read(cx)? != val {
            return Err(Errno::EAGAIN);
        }
        let (waiting, Some(top)) = known.moves() else {
            return Ok(0);
        };
        if !WordRef::is_target(&top, &lock) {
            return Err(Errno::EINVAL);
        }
        let value = to.read(cx)?;
        let mut owner = owner_of(value);
        let mut given = 0;
        if owner == top.tid {
            return Err(Errno::EDEADLK);
        } else if owner == 0 {
            let Some(top) = known.claim_move() else {
                continue;
            };
            let more = lock.locks() > 0 || waiting > 1 && n > 0;
            let new = top.tid.cast_unsigned() | value & FUTEX_OWNER_DIED | waiters_bit(more);
            match to.swap(cx, value, new).await {
                Ok(true) => known.grant(&top, &lock),
                other => {
                    known.unclaim(&top);
                    other?;
                    continue;
                }
            }
            (owner, given) = (top.tid, 1);
        } else {
            let marked = value | FUTEX_WAITERS;
            if value != marked && !to.swap(cx, value, marked).await? {
                continue;
            }
            if !can_unlock(cx, owner) {
                return Err(Errno::ESRCH);
            }
        }
        let most = (n as usize).saturating_add(1) - given;
        let moved = known.move_to(most, &lock, owner);
        if moved > 0 && !can_unlock(cx, owner) {
            // It ended just now.
            lock.owner_ended(owner);
        }
        return Ok((given + moved) as u64);
    }
}
