//! Where application threads may run: off the CPU of the worker that spins for them.
//!
//! A stub that shares the CPU of the spinning worker gets nothing from it: one of the two waits while the other runs, and
//! each of its calls is a hand-over on the same CPU, twenty times as dear. The host's scheduler makes that happen all the
//! time: it takes the spinning worker for load like any other, and puts every second fork child beside it. So, while a
//! worker is hot, a thread that trapped on its CPU, and one that is about to fork, lose that CPU from their affinity mask
//! (children inherit it). All get it back as soon as more threads want to run than the other CPUs can take, or no event has
//! come for a while.
//!
//! A thread whose CPUs were chosen by [`Kicker::set_cpus`] is left alone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::core::Core;
use crate::layout::SLOT_STRIDE;
use crate::proto::S_TID;
use crate::slot::place;
use crate::{AddressSpace, Kicker, sys};

/// At most so many threads are kept off a CPU; each costs a host call on the way back.
const MOVED_MAX: usize = 64;
/// So long may more threads want to run than the other CPUs can take: one that makes a process or a thread goes to wait soon.
const CROWDED_NS: u64 = 500_000;
/// Threads get their CPUs back if no event comes for so long.
pub(crate) const QUIET: Duration = Duration::from_millis(2);

/// One thread whose mask was narrowed.
struct Moved {
    space: Weak<AddressSpace>,
    index: u32,
}

/// The state of all that.
#[derive(Default)]
pub(crate) struct Placement {
    moved: Mutex<Vec<Moved>>,
    /// Whether `moved` has something. Set under its lock, read without.
    some: AtomicBool,
    /// Since when there have been too many threads, cycles; 0: there are not.
    crowded: AtomicU64,
    /// When the last process or thread was made, cycles.
    made: AtomicU64,
}

impl Placement {
    pub fn has_moved(&self) -> bool {
        self.some.load(Ordering::Relaxed)
    }
}

impl Core {
    /// Takes `cpu`, the hot worker's, from a thread's mask. False if it may stay.
    pub(crate) fn keep_off(&self, space: &AddressSpace, index: u32, cpu: u32) -> bool {
        let p = &self.placement;
        let Some(slot) = space.slots.get(index) else {
            return false;
        };
        if slot.place.load(Ordering::Relaxed) != place::ANYWHERE || self.policy.workers() < 2 {
            return false;
        }
        let mut moved = p.moved.lock();
        if moved.len() >= MOVED_MAX
            || slot.place.swap(place::MOVED, Ordering::Relaxed) != place::ANYWHERE
        {
            return false;
        }
        self.counts.moves();
        let mask = self.policy.cpus_without(cpu);
        let done = space.host_thread(index, |tid| sys::set_affinity(tid, mask));
        moved.push(Moved {
            space: space.weak(),
            index,
        });
        p.some.store(true, Ordering::Relaxed);
        done
    }

    /// A fork or a new thread is coming: if a worker is hot, the parent, and so its child, keep off its CPU.
    pub(crate) fn before_fork(&self, space: &AddressSpace, index: u32) {
        self.placement.made.store(sys::tsc(), Ordering::Relaxed);
        if let Some(cpu) = self.policy.hot_cpu() {
            self.keep_off(space, index, cpu);
        }
    }

    /// The host gives a new thread its parent's mask.
    pub(crate) fn inherit_place(
        &self,
        parent: (&AddressSpace, u32),
        child: (&Arc<AddressSpace>, u32),
    ) {
        let (Some(from), Some(to)) = (parent.0.slots.get(parent.1), child.0.slots.get(child.1))
        else {
            return;
        };
        let place = from.place.load(Ordering::Relaxed);
        to.place.store(place, Ordering::Relaxed);
        if place == place::MOVED {
            let mut moved = self.placement.moved.lock();
            moved.push(Moved {
                space: Arc::downgrade(child.0),
                index: child.1,
            });
            self.placement.some.store(true, Ordering::Relaxed);
            if moved.len() < MOVED_MAX {
                return;
            }
            moved.retain(|m| m.space.upgrade().is_some_and(|s| !s.is_dead()));
            let many = moved.len() >= MOVED_MAX;
            drop(moved);
            if many {
                self.release_moved();
            }
        }
    }

    /// All threads may run everywhere again. Those whose host thread is not known yet follow at the next call.
    pub(crate) fn release_moved(&self) {
        let p = &self.placement;
        if !p.has_moved() {
            return;
        }
        self.counts.releases();
        // One whose host thread isn't known would keep workers awake until somebody asks.
        self.resolve_all();
        p.crowded.store(0, Ordering::Relaxed);
        let mask = self.policy.cpus();
        let mut moved = p.moved.lock();
        moved.retain(|m| {
            let Some(space) = m.space.upgrade() else {
                return false;
            };
            let Some(slot) = space.slots.get(m.index) else {
                return false;
            };
            if slot.place.load(Ordering::Relaxed) != place::MOVED || space.is_dead() {
                return false;
            }
            if space.host_thread(m.index, |tid| sys::set_affinity(tid, mask)) {
                slot.place.store(place::ANYWHERE, Ordering::Relaxed);
                return false;
            }
            // Not born yet, or gone.
            !space.thread_is_gone(m.index)
        });
        p.some.store(!moved.is_empty(), Ordering::Relaxed);
    }

    /// Whether more threads want to run than there is room for beside a hot worker. After one was made, and where some were
    /// moved, only if it lasts; those that were moved get their CPU back then.
    pub(crate) fn crowded(&self, busy: u32) -> bool {
        let p = &self.placement;
        if (busy as usize) < self.policy.workers() || self.policy.calls_dominate() {
            p.crowded.store(0, Ordering::Relaxed);
            return false;
        }
        let now = sys::tsc();
        let grace = self.policy.cycles(CROWDED_NS);
        let made = p.made.load(Ordering::Relaxed);
        if !p.has_moved() && now.saturating_sub(made) >= grace {
            return true;
        }
        match p.crowded.load(Ordering::Relaxed) {
            0 => {
                p.crowded.store(now.max(1), Ordering::Relaxed);
                false
            }
            since if now.saturating_sub(since) < grace => false,
            _ => {
                self.release_moved();
                true
            }
        }
    }
}

impl AddressSpace {
    /// Calls `f` with the host id of a thread, while it can't be another's. False if it is not known.
    fn host_thread(&self, index: u32, f: impl FnOnce(i32) -> bool) -> bool {
        // Not asked for here, where the list of address spaces may be locked.
        let Some(pid) = self.known_pid() else {
            return false;
        };
        self.with_thread(pid, index, |pid, tid| sys::tgkill(pid, tid, 0) && f(tid))
    }

    fn thread_is_gone(&self, index: u32) -> bool {
        let word = u64::from(index) * SLOT_STRIDE + S_TID;
        self.leader.load(Ordering::Relaxed) != index && self.region.ld32(word) == 0
    }
}

impl Kicker {
    /// sched_setaffinity(2) of the host thread: `mask` has one bit a CPU. False if the host refuses, or does not know the
    /// thread yet.
    pub fn set_cpus(&self, mask: &[u8]) -> bool {
        let space = &self.space;
        // All CPUs are no choice.
        let all = space.core.policy.cpus();
        let chosen = mask.iter().zip(all).any(|(m, a)| a & !m != 0);
        if let Some(slot) = space.slots.get(self.index) {
            let place = if chosen {
                place::CHOSEN
            } else {
                place::ANYWHERE
            };
            slot.place.store(place, Ordering::Relaxed);
        }
        space.host_thread(self.index, |tid| sys::set_affinity(tid, mask))
    }
}
