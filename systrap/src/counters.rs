//! Counts of what happens, for metrics and tuning.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A snapshot of the platform's counters.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Default)]
        pub(crate) struct Counts { $(pub $name: AtomicU64,)* }

        impl Counts {
            pub fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Events taken from stubs.
    traps,
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

/// Adds one.
pub(crate) fn count(c: &AtomicU64) {
    c.fetch_add(1, Relaxed);
}
