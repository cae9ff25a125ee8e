//! Counts of what happens, for metrics and tuning.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Threads that count without disturbing each other. More share the last place.
const SHARDS: usize = 8;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut own = SHARD.get();
    if own == usize::MAX {
        own = NEXT.fetch_add(1, Relaxed).min(SHARDS - 1);
        SHARD.set(own);
    }
    own
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A snapshot of the platform's counters.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Default)]
        #[repr(align(128))]
        struct Shard { $($name: AtomicU64,)* }

        #[derive(Default)]
        pub(crate) struct Counts {
            shards: [Shard; SHARDS],
        }

        impl Counts {
            $(pub fn $name(&self) {
                let own = shard();
                let word = &self.shards[own].$name;
                if own == SHARDS - 1 {
                    word.fetch_add(1, Relaxed);
                } else {
                    // Nobody else writes it.
                    word.store(word.load(Relaxed) + 1, Relaxed);
                }
            })*

            pub fn snapshot(&self) -> Counters {
                Counters { $($name: self.shards.iter().map(|s| s.$name.load(Relaxed)).sum(),)* }
            }
        }
    };
}

counters! {
    /// Events taken from stubs.
    traps,
    /// Of these, those that a hot worker saw without a pending bit.
    watched,
    /// System calls that came as SIGSYS, and those that came without a signal.
    sigsys,
    fast_calls,
    /// Call sites that were rewritten in one process, and those in texts for all.
    patched,
    shared_sites,
    /// Stubs woken from their sleep by a resume.
    wakes,
    /// Times a worker slept.
    sleeps,
    /// Spins of a worker that ended with an event.
    spin_hits,
    /// Spins that ended without one.
    spin_misses,
    /// Times the spinning was handed to another CPU's worker.
    passes,
    /// Threads taken off the hot worker's CPU.
    moves,
    /// Times that moved threads got their CPU back.
    releases,
    /// Kicks sent as signals.
    kicks,
    /// Impossible things that stubs published, and children that no fork of
    /// ours explains.
    violations,
    /// Host processes made, and reaped.
    forks,
    deaths,
}
