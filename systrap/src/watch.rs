//! Slots that the hot worker looks at directly.
//!
//! A pending bit costs the stub a locked write to a line that the worker has just written, and the worker another miss for
//! the event itself. So a worker that is hot remembers the slots that it has answered last, tells their stubs so
//! (`LOOK_WATCHED`), and looks at their event numbers: the line with the number is the one with the call and its arguments.
//!
//! To stop watching: the worker takes `LOOK_WATCHED` back, then looks at the number once more; the stub writes the number,
//! then reads `S_LOOK`, then sets its pending bit. With a full barrier between the steps on each side, one of them sees the
//! other. Both may: then the bit finds an event that has been reported already, which
//! [`AddressSpace::report_published`] tells by its number.
//!
//! An entry that is out of date (the slot has another owner by now) does no harm: what it takes back only costs that owner
//! a pending bit, and what it finds is that owner's event.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::core::Core;
use crate::layout::SLOT_STRIDE;
use crate::proto::*;
use crate::{AddressSpace, Token};

/// Slots that one worker watches.
const MAX: usize = 8;
/// Events of others after which an entry may be replaced.
const STALE: u32 = 64;

struct Entry {
    space: Arc<AddressSpace>,
    index: u32,
    /// Number of the answer, if the stub has been told that it is watched.
    armed: Option<u32>,
    /// Events of others since its last.
    idle: u32,
}

impl Entry {
    fn offset(&self) -> u64 {
        u64::from(self.index) * SLOT_STRIDE
    }

    fn has_event(&self) -> bool {
        let seq = self.space.region.ld32(self.offset() + S_SEQ);
        self.armed.is_some_and(|answered| seq != answered)
    }

    /// Takes back what the stub was told.
    fn disarm(&mut self) {
        if self.armed.is_some() {
            let word = self.space.region.a32(self.offset() + S_LOOK);
            word.store(LOOK_NONE, Ordering::SeqCst);
        }
    }

    /// After that and a barrier: an event that came without a pending bit.
    fn last_look(&mut self) {
        if self.has_event()
            && let Some((token, _)) = self.space.report_published(self.index)
        {
            self.space.core.inject(token);
        }
        self.armed = None;
    }
}

/// What this thread watches, as the hot worker of one platform.
struct Watch {
    /// Address of its `Core`; 0: this thread isn't hot.
    core: usize,
    entries: Vec<Entry>,
}

thread_local! {
    static WATCH: RefCell<Watch> = const { RefCell::new(Watch { core: 0, entries: Vec::new() }) };
}

impl Watch {
    fn stop(&mut self) {
        self.core = 0;
        for e in &mut self.entries {
            e.disarm();
        }
        fence(Ordering::SeqCst);
        for mut e in self.entries.drain(..) {
            e.last_look();
        }
    }

    /// A place for another slot.
    fn evict(&mut self) -> bool {
        let stale = |e: &Entry| e.armed.is_none() || e.idle > STALE;
        let Some(at) = self.entries.iter().position(stale) else {
            return false;
        };
        let mut e = self.entries.swap_remove(at);
        e.disarm();
        fence(Ordering::SeqCst);
        e.last_look();
        true
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

/// This thread is the hot worker of `core` from now on.
pub(crate) fn start(core: &Core) {
    WATCH.with_borrow_mut(|w| {
        let core = std::ptr::from_ref(core).addr();
        if w.core != core {
            w.stop();
            w.core = core;
        }
    });
}

/// It isn't any longer. Events that came meanwhile are injected.
pub(crate) fn stop() {
    WATCH.with_borrow_mut(|w| {
        if w.core != 0 {
            w.stop();
        }
    });
}

/// The slot is about to be answered; what to tell its stub.
pub(crate) fn arm(space: &Arc<AddressSpace>, index: u32, seq: u32) -> u32 {
    WATCH.with_borrow_mut(|w| {
        if w.core != std::ptr::from_ref(&*space.core).addr() || space.is_hidden() {
            return LOOK_NONE;
        }
        let known = |e: &&mut Entry| e.index == index && Arc::ptr_eq(&e.space, space);
        if let Some(e) = w.entries.iter_mut().find(known) {
            e.armed = Some(seq);
            return LOOK_WATCHED;
        }
        if w.entries.len() >= MAX && !w.evict() {
            return LOOK_NONE;
        }
        w.entries.push(Entry {
            space: Arc::clone(space),
            index,
            armed: Some(seq),
            idle: 0,
        });
        LOOK_WATCHED
    })
}

/// Nothing will come from this address space any more.
pub(crate) fn forget(space: &Arc<AddressSpace>) {
    WATCH.with_borrow_mut(|w| w.entries.retain(|e| !Arc::ptr_eq(&e.space, space)));
}

/// What [`poll`] has seen.
pub(crate) enum Seen {
    /// There is nothing to watch.
    Nothing,
    NoEvent,
    /// As of [`Core::poll`].
    Event(Option<u32>),
}

/// Looks at what this thread watches; appends the tokens of threads that have an event.
pub(crate) fn poll(out: &mut Vec<Token>) -> Seen {
    WATCH.with_borrow_mut(|w| {
        if w.entries.is_empty() {
            return Seen::Nothing;
        }
        if !w.entries.iter().any(Entry::has_event) {
            return Seen::NoEvent;
        }
        let mut cpu = None;
        for e in &mut w.entries {
            if !e.has_event() {
                e.idle = e.idle.saturating_add(1);
                continue;
            }
            e.armed = None;
            e.idle = 0;
            if let Some((token, on)) = e.space.report_published(e.index) {
                e.space.core.counts.watched();
                out.push(token);
                cpu = on.or(cpu);
            }
        }
        Seen::Event(cpu)
    })
}
