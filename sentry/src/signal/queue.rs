//! Pending signals of one thread or process.

use arch::abi::{SI_USER, SigInfo, SigSet};
use arch::signal::Signal;
use std::collections::VecDeque;

/// Queued real-time signals at most, whatever RLIMIT_SIGPENDING says.
const HARD_LIMIT: usize = 1 << 16;

/// Pending signals: standard ones at most once each, real-time ones in the order sent.
#[derive(Default)]
pub struct Queue {
    set: SigSet,
    infos: VecDeque<SigInfo>,
}

impl Queue {
    /// The signals that are pending.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Queued entries.
    pub fn len(&self) -> usize {
        self.infos.len()
    }

    /// Nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Queues a signal. A standard signal that is pending already is dropped. False if a real-time signal's
    /// information could not be queued because there are `limit` entries (the signal itself is pending all the same).
    pub fn push(&mut self, info: SigInfo, limit: usize) -> bool {
        let Some(signal) = info.signal() else {
            return true;
        };
        if !signal.is_realtime() && self.set.contains(signal) {
            return true;
        }
        self.set.add(signal);
        if signal.is_realtime() && self.infos.len() >= limit.min(HARD_LIMIT) {
            return false;
        }
        self.infos.push_back(info);
        true
    }

    /// Takes the next signal that is not in `blocked`: faults first, then by number, then in the order sent.
    pub fn pop(&mut self, blocked: SigSet) -> Option<SigInfo> {
        let signal = self.set.without(blocked).next()?;
        self.take(signal)
    }

    /// Takes the oldest entry of `signal`.
    pub fn take(&mut self, signal: Signal) -> Option<SigInfo> {
        if !self.set.contains(signal) {
            return None;
        }
        let found = self.infos.iter().position(|i| i.signo == signal.raw());
        let info = found.and_then(|at| self.infos.remove(at));
        if !self.infos.iter().any(|i| i.signo == signal.raw()) {
            self.set.remove(signal);
        }
        // Pending without an entry: its information did not fit (SI_USER from nobody, as Linux makes it up).
        Some(info.unwrap_or_else(|| SigInfo::kill(signal, SI_USER, 0, 0)))
    }

    /// Forgets all signals of `set`.
    pub fn flush(&mut self, set: SigSet) {
        if self.set.intersects(set) {
            self.infos
                .retain(|i| i.signal().is_some_and(|s| !set.contains(s)));
            self.set = self.set.without(set);
        }
    }

    /// Forgets entries for which `f` is true (a deleted POSIX timer's).
    pub fn retain(&mut self, mut keep: impl FnMut(&SigInfo) -> bool) {
        let mut gone = SigSet::EMPTY;
        self.infos.retain(|i| {
            let kept = keep(i);
            if let Some(signal) = i.signal().filter(|_| !kept) {
                gone.add(signal);
            }
            kept
        });
        // A signal whose information did not fit stays pending without an entry.
        let left: SigSet = self.infos.iter().filter_map(SigInfo::signal).collect();
        self.set = self.set.without(gone.without(left));
    }

    /// Whether an entry satisfies `f`.
    pub fn any(&self, f: impl FnMut(&SigInfo) -> bool) -> bool {
        self.infos.iter().any(f)
    }
}
