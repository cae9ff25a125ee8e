//! The Sentry's private record of a region's slots.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use crate::layout::SLOTS;

/// Who a slot belongs to; the values of `SlotState::owner`.
pub mod owner {
    /// Nobody.
    pub const FREE: u32 = 0;
    /// The `Thread` handle; its event has been taken, or it is new.
    pub const SENTRY: u32 = 1;
    /// The stub: resumed. With the number of the answer above it, see
    /// [`stub`].
    pub const STUB: u32 = 2;
    /// Its token has been handed out; `Thread::event` takes it next.
    pub const REPORTED: u32 = 3;
    /// The stub, which will end the thread or process; no event follows.
    pub const LEAVING: u32 = 4;

    const BITS: u32 = 8;

    /// STUB, answered to the event number `seq`: whoever sees an event of
    /// another number reports it, and only once.
    pub fn stub(seq: u32) -> u32 {
        STUB | seq << BITS
    }

    pub fn is_stub(word: u32) -> bool {
        word & ((1 << BITS) - 1) == STUB
    }
}

/// Where a thread may run; the values of `SlotState::place`.
pub mod place {
    /// On every CPU of the sandbox.
    pub const ANYWHERE: u32 = 0;
    /// Not on the CPU of the worker that is hot.
    pub const MOVED: u32 = 1;
    /// Where its owner said.
    pub const CHOSEN: u32 = 2;
}

/// Private to the Sentry; all threads of the Sentry use it.
#[derive(Default)]
pub struct SlotState {
    /// `owner::*`. From STUB to REPORTED by whoever sees the event first.
    pub owner: AtomicU32,
    /// The token, written before the first resume.
    pub token: AtomicU64,
    /// The host thread was never made, and never will be. Written by who
    /// heard so (`Kicker::never_born`), before `owner`; cleared when the slot
    /// is freed.
    pub unborn: AtomicBool,
    /// `place::*`. A new thread takes its maker's.
    pub place: AtomicU32,
}

const CHUNK: usize = 64;

/// Grows by chunks, as threads come.
pub struct SlotTable {
    chunks: [OnceLock<Box<[SlotState; CHUNK]>>; SLOTS as usize / CHUNK],
}

impl SlotTable {
    pub fn new() -> SlotTable {
        SlotTable {
            chunks: [const { OnceLock::new() }; SLOTS as usize / CHUNK],
        }
    }

    /// The slot's state, if a slot near it was ever used.
    pub fn get(&self, index: u32) -> Option<&SlotState> {
        let chunk = self.chunks.get(index as usize / CHUNK)?.get()?;
        Some(&chunk[index as usize % CHUNK])
    }

    /// The same, made if needed. `index` is below `SLOTS`.
    pub fn get_or_make(&self, index: u32) -> &SlotState {
        let chunk = self.chunks[index as usize / CHUNK].get_or_init(|| {
            Box::new(
                [const {
                    SlotState {
                        owner: AtomicU32::new(0),
                        token: AtomicU64::new(0),
                        unborn: AtomicBool::new(false),
                        place: AtomicU32::new(0),
                    }
                }; CHUNK],
            )
        });
        &chunk[index as usize % CHUNK]
    }

    /// All slots of chunks that exist.
    pub fn iter(&self) -> impl Iterator<Item = &SlotState> {
        self.chunks
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|c| c.iter())
    }
}
