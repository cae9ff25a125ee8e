//! Futexes that the kernel takes part in: locks with priority inheritance, and the waits that turn into them.
//!
//! The word is the application's, and only a stub of its own memory can change it atomically. So a call that works on a word
//! takes its *turn* at it (one call at a time, without a lock held), reads the word, has its stub swap it, and starts over if
//! it had changed meanwhile. What the kernel knows of a word lives as long as somebody works on it or waits for it.
//!
//! There are no priorities here that could be inherited: locks are handed over in the order of coming.
//!
//! # Locks
//! ```text
//! Futexes::words
//!   FutexWord::state
//!     (leaves) WaitQueue
//! ```

use super::{Cx, Pid, Task};
use crate::executor::{PollEvents, WaitQueue};
use crate::mm::{Backing, Mm, VmaFlags};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// What a word is known by: the same for all that share its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Address of what holds the memory; nothing else has it while there is a [`Keep`].
    object: usize,
    /// Byte in it.
    offset: u64,
}

/// Keeps a key's object from making room for another.
enum Keep {
    Space(#[expect(dead_code, reason = "held, not used")] Weak<Mm>),
    Object(#[expect(dead_code, reason = "held, not used")] Arc<dyn Any + Send + Sync>),
}

fn key(mm: &Arc<Mm>, addr: u64, private: bool) -> Result<(Key, Keep)> {
    let own = || {
        let key = Key {
            object: Arc::as_ptr(mm).addr(),
            offset: addr,
        };
        (key, Keep::Space(Arc::downgrade(mm)))
    };
    if private {
        return Ok(own());
    }
    mm.with(|state| {
        let vma = state.map.at(addr).ok_or(Errno::EFAULT)?;
        let offset = vma.backing.offset().wrapping_add(addr - vma.span.start);
        let (object, keep) = match &vma.backing {
            Backing::SharedAnon { object, .. } => {
                (Arc::as_ptr(object).addr(), Keep::Object(object.clone()))
            }
            Backing::Shm { attach, .. } => {
                let segment = &attach.segment;
                (Arc::as_ptr(segment).addr(), Keep::Object(segment.clone()))
            }
            Backing::File { file, .. } if vma.flags.contains(VmaFlags::SHARED) => {
                // By the inode where there is one: it may have been opened twice.
                let inode = file.path().map(|p| p.inode().clone());
                match inode {
                    Some(inode) => {
                        let at = Arc::as_ptr(&inode).cast::<u8>().addr();
                        (at, Keep::Object(Arc::new(inode)))
                    }
                    None => (Arc::as_ptr(file).addr(), Keep::Object(file.clone())),
                }
            }
            _ => return Ok(own()),
        };
        Ok((Key { object, offset }, keep))
    })
}

/// All words that are worked on or waited for.
#[derive(Default)]
pub struct Futexes {
    words: Mutex<HashMap<Key, Arc<FutexWord>>>,
}

/// What the kernel knows of one word.
pub struct FutexWord {
    state: Mutex<State>,
    /// Notified when a turn ends.
    turns: WaitQueue,
    /// How many [`WordRef`]s there are; changed with the table's lock held.
    refs: AtomicUsize,
    _keep: Keep,
}

#[derive(Default)]
struct State {
    /// A call has its turn.
    busy: bool,
    /// Who waits for the lock, in the order of coming.
    locks: VecDeque<Arc<Waiter>>,
    /// Who waits to be moved to the queue of a lock (FUTEX_WAIT_REQUEUE_PI).
    moves: VecDeque<Arc<Waiter>>,
    /// The thread that the waiters wait for, as the word said.
    owner: Pid,
    /// It has ended: the first waiter takes the lock by itself.
    owner_dead: bool,
}

/// A thread that waits.
pub struct Waiter {
    /// The thread.
    pub tid: Pid,
    /// Notified when something of the below may have changed.
    pub queue: WaitQueue,
    /// For one that waits to be moved: to the queue of this lock.
    target: Option<Key>,
    /// It has been moved.
    moved: AtomicBool,
    /// Someone is about to give it the lock.
    claimed: AtomicBool,
    /// The lock is its own, and the word says so.
    granted: AtomicBool,
}

/// Why a waiter goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// It has the lock.
    Granted,
    /// The owner has ended, and it is the first: it has to take the lock.
    OwnerDied,
    /// It waits for the lock now.
    Moved,
}

impl Waiter {
    pub fn new(tid: Pid, target: Option<Key>) -> Arc<Self> {
        Arc::new(Self {
            tid,
            queue: WaitQueue::new(),
            target,
            moved: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
            granted: AtomicBool::new(false),
        })
    }

    /// Someone is about to give it the lock: it can't leave before that is decided.
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::SeqCst)
    }

    /// Whether it has been moved to the queue of a lock.
    pub fn is_moved(&self) -> bool {
        self.moved.load(Ordering::SeqCst)
    }

    /// Whether it has the lock.
    pub fn is_granted(&self) -> bool {
        self.granted.load(Ordering::SeqCst)
    }
}

/// One call's hold on what is known of a word.
pub struct WordRef<'a> {
    table: &'a Futexes,
    pub key: Key,
    word: Arc<FutexWord>,
}

/// A call's turn at a word.
pub struct Turn<'a>(&'a FutexWord);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().busy = false;
        self.0.turns.notify_all();
    }
}

impl Drop for WordRef<'_> {
    fn drop(&mut self) {
        let mut words = self.table.words.lock();
        let last = self.word.refs.fetch_sub(1, Ordering::Relaxed) == 1;
        let gone = last.then(|| words.remove(&self.key)).flatten();
        drop(words);
        // With it may go the last hold on a file: without the lock.
        drop(gone);
    }
}

impl Futexes {
    /// The word at `addr` of this address space. EFAULT if nothing is mapped there.
    pub fn word(&self, mm: &Arc<Mm>, addr: u64, private: bool) -> Result<WordRef<'_>> {
        let (key, keep) = key(mm, addr, private)?;
        let mut words = self.words.lock();
        let word = words.entry(key).or_insert_with(|| {
            Arc::new(FutexWord {
                state: Mutex::default(),
                turns: WaitQueue::new(),
                refs: AtomicUsize::new(0),
                _keep: keep,
            })
        });
        Ok(self.hold(key, word))
    }

    /// Called with the table's lock held.
    fn hold(&self, key: Key, word: &Arc<FutexWord>) -> WordRef<'_> {
        word.refs.fetch_add(1, Ordering::Relaxed);
        WordRef {
            table: self,
            key,
            word: Arc::clone(word),
        }
    }

    /// A thread ends: who waits for a lock of its may take it (exit_pi_state_list).
    pub fn thread_exits(&self, task: &Task) {
        task.futexes_gone.store(true, Ordering::SeqCst);
        let words: Vec<_> = {
            let words = self.words.lock();
            words.iter().map(|(k, w)| self.hold(*k, w)).collect()
        };
        for word in words {
            word.owner_ended(task.tid());
        }
    }
}

impl State {
    /// Has the first waiter look.
    fn nudge(&self) {
        if let Some(first) = self.locks.front() {
            first.queue.notify_all();
        }
    }

    /// The lock has this owner now, or none (0).
    fn owned_by(&mut self, owner: Pid) {
        self.owner = owner;
        self.owner_dead = false;
    }
}

impl WordRef<'_> {
    /// Waits for the turn at the word; ERESTARTNOINTR if a signal comes first.
    pub async fn turn(&self, cx: &Cx) -> Result<Turn<'_>> {
        let word = &*self.word;
        let taken = cx.wait(&word.turns, PollEvents::all(), None, || {
            let mut state = word.state.lock();
            if state.busy {
                return Err(Errno::EAGAIN);
            }
            state.busy = true;
            Ok(())
        });
        taken.await.map_err(|_| Errno::ERESTARTNOINTR)?;
        Ok(Turn(word))
    }

    /// Who is known to own the lock, if somebody waits for it.
    pub fn owner(&self) -> Option<Pid> {
        let state = self.word.state.lock();
        (!state.locks.is_empty() && !state.owner_dead).then_some(state.owner)
    }

    /// The owner of whom the waiters have been told that it died.
    pub fn dead_owner(&self) -> Option<Pid> {
        let state = self.word.state.lock();
        state.owner_dead.then_some(state.owner)
    }

    /// How many wait for the lock.
    pub fn locks(&self) -> usize {
        self.word.state.lock().locks.len()
    }

    /// How many wait to be moved, and the first of them.
    pub fn moves(&self) -> (usize, Option<Arc<Waiter>>) {
        let state = self.word.state.lock();
        (state.moves.len(), state.moves.front().cloned())
    }

    /// The word says that this thread owns the lock (0: nobody).
    pub fn set_owner(&self, owner: Pid) {
        self.word.state.lock().owned_by(owner);
    }

    /// Adds one that waits for `owner`.
    pub fn add_lock(&self, waiter: &Arc<Waiter>, owner: Pid) {
        let mut state = self.word.state.lock();
        state.owned_by(owner);
        state.locks.push_back(Arc::clone(waiter));
    }

    /// Adds one that waits to be moved.
    pub fn add_move(&self, waiter: &Arc<Waiter>) {
        self.word.state.lock().moves.push_back(Arc::clone(waiter));
    }

    /// What the waiter may go on for: EAGAIN while there is nothing.
    pub fn look(&self, waiter: &Arc<Waiter>) -> Result<Turned> {
        let state = self.word.state.lock();
        if waiter.is_granted() {
            return Ok(Turned::Granted);
        }
        let first = state.locks.front().is_some_and(|w| Arc::ptr_eq(w, waiter));
        if state.owner_dead && first {
            return Ok(Turned::OwnerDied);
        }
        Err(Errno::EAGAIN)
    }

    /// The same for one that waits to be moved.
    pub fn look_moved(waiter: &Waiter) -> Result<Turned> {
        if waiter.is_granted() {
            Ok(Turned::Granted)
        } else if waiter.is_moved() {
            Ok(Turned::Moved)
        } else {
            Err(Errno::EAGAIN)
        }
    }

    /// Claims the first that waits for the lock.
    pub fn claim_lock(&self) -> Option<Arc<Waiter>> {
        let state = self.word.state.lock();
        let first = state.locks.front()?;
        first.claimed.store(true, Ordering::SeqCst);
        Some(Arc::clone(first))
    }

    /// Claims the first that waits to be moved.
    pub fn claim_move(&self) -> Option<Arc<Waiter>> {
        let state = self.word.state.lock();
        let first = state.moves.front()?;
        first.claimed.store(true, Ordering::SeqCst);
        Some(Arc::clone(first))
    }

    /// Nothing came of the claim.
    pub fn unclaim(&self, waiter: &Waiter) {
        let state = self.word.state.lock();
        waiter.claimed.store(false, Ordering::SeqCst);
        waiter.queue.notify_all();
        drop(state);
    }

    /// The word says that the claimed waiter has the lock of `lock`.
    pub fn grant(&self, waiter: &Arc<Waiter>, lock: &Self) {
        let still = self.leave(waiter, true);
        let mut state = lock.word.state.lock();
        state.owned_by(waiter.tid);
        if !still {
            // It died with the claim on it.
            state.owner_dead = true;
            state.nudge();
        }
        waiter.granted.store(true, Ordering::SeqCst);
        waiter.claimed.store(false, Ordering::SeqCst);
        drop(state);
        waiter.queue.notify_all();
    }

    /// Moves up to `n` to the queue of a lock that `owner` has; how many.
    pub fn move_to(&self, n: usize, lock: &Self, owner: Pid) -> usize {
        let mut moved = VecDeque::new();
        {
            let mut state = self.word.state.lock();
            while moved.len() < n
                && let Some(first) = state.moves.front()
                && first.target == Some(lock.key)
            {
                moved.extend(state.moves.pop_front());
            }
        }
        let count = moved.len();
        if count > 0 {
            let mut state = lock.word.state.lock();
            state.owned_by(owner);
            for waiter in &moved {
                waiter.moved.store(true, Ordering::SeqCst);
                waiter.queue.notify_all();
            }
            state.locks.append(&mut moved);
        }
        count
    }

    /// The owner has ended: its first waiter is told.
    pub fn owner_ended(&self, owner: Pid) {
        let mut state = self.word.state.lock();
        if state.owner == owner {
            state.owner_dead = true;
            state.nudge();
        }
    }

    /// Whether the waiter waits for the lock that `lock` is.
    pub fn is_target(waiter: &Waiter, lock: &Self) -> bool {
        waiter.target == Some(lock.key)
    }

    /// Takes the waiter out of both queues, unless it is claimed (and not `anyway`). False if it was not there, or stays.
    pub fn leave(&self, waiter: &Arc<Waiter>, anyway: bool) -> bool {
        let mut state = self.word.state.lock();
        if waiter.is_claimed() && !anyway {
            return false;
        }
        let before = state.locks.len() + state.moves.len();
        state.locks.retain(|w| !Arc::ptr_eq(w, waiter));
        state.moves.retain(|w| !Arc::ptr_eq(w, waiter));
        if state.owner_dead {
            // What it didn't do is the next one's.
            state.nudge();
        }
        before != state.locks.len() + state.moves.len()
    }
}

/// Whether a thread of this id can still give a lock back.
pub fn can_unlock(cx: &Cx, tid: Pid) -> bool {
    let task = cx.kernel().tasks.lock().task(tid);
    task.is_some_and(|t| !t.futexes_gone.load(Ordering::SeqCst))
}
