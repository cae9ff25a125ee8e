//! Pending signals of one thread or process.

use arch::abi::{SigInfo, SigSet};
use std::collections::VecDeque;

/// Queued real-time signals at most, whatever RLIMIT_SIGPENDING says.
const HARD_LIMIT: usize = 1 << 16;

/// First real-time signal.
const SIGRTMIN: i32 = 32;

/// Faults of the thread itself, delivered before all others (SYNCHRONOUS_MASK of the kernel).
const SYNCHRONOUS: SigSet = SigSet(
    (1 << (libc::SIGSEGV - 1))
        | (1 << (libc::SIGBUS - 1))
        | (1 << (libc::SIGILL - 1))
        | (1 << (libc::SIGTRAP - 1))
        | (1 << (libc::SIGFPE - 1))
        | (1 << (libc::SIGSYS - 1)),
);

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
        let signo = info.signo();
        if signo < SIGRTMIN && self.set.contains(signo) {
            return true;
        }
        self.set.add(signo);
        if signo >= SIGRTMIN && self.infos.len() >= limit.min(HARD_LIMIT) {
            return false;
        }
        self.infos.push_back(info);
        true
    }

    /// Takes the next signal that is not in `blocked`: faults first, then by number, then in the order sent.
    pub fn pop(&mut self, blocked: SigSet) -> Option<SigInfo> {
        let ready = self.set & !blocked;
        let signo = (ready & SYNCHRONOUS).first().or_else(|| ready.first())?;
        self.take(signo)
    }

    /// Takes the oldest entry of `signo`.
    pub fn take(&mut self, signo: i32) -> Option<SigInfo> {
        if !self.set.contains(signo) {
            return None;
        }
        let found = self.infos.iter().position(|i| i.signo() == signo);
        let info = found.and_then(|at| self.infos.remove(at));
        if !self.infos.iter().any(|i| i.signo() == signo) {
            self.set.remove(signo);
        }
        // Pending without an entry: its information did not fit (SI_USER from nobody, as Linux makes it up).
        Some(info.unwrap_or_else(|| SigInfo::kill(signo, libc::SI_USER, 0, 0)))
    }

    /// Forgets all signals of `set`.
    pub fn flush(&mut self, set: SigSet) {
        if !(self.set & set).is_empty() {
            self.infos.retain(|i| !set.contains(i.signo()));
            self.set = self.set & !set;
        }
    }

    /// Forgets entries for which `f` is true (a deleted POSIX timer's).
    pub fn retain(&mut self, mut keep: impl FnMut(&SigInfo) -> bool) {
        self.infos.retain(|i| keep(i));
        let mut set = SigSet::default();
        for info in &self.infos {
            set.add(info.signo());
        }
        self.set = set;
    }

    /// Whether an entry satisfies `f`.
    pub fn any(&self, f: impl FnMut(&SigInfo) -> bool) -> bool {
        self.infos.iter().any(f)
    }
}
