//! The systrap platform: runs application code in *stub* processes whose
//! every system call traps (seccomp `SECCOMP_RET_TRAP`) and is handed over
//! shared memory to the caller of this crate, the Sentry.
//!
//! This crate knows nothing of Linux semantics. It gives address spaces
//! ([`AddressSpace`]), threads in them ([`Thread`]), their [`Event`]s, and a
//! way to wait for those ([`Platform::wait`]). docs/SYSTRAP.md describes the
//! protocol.
#![deny(unsafe_code)]

mod actions;
mod bpf;
mod clone;
mod complete;
mod core;
mod counters;
mod deliver;
mod event;
mod filter;
mod fpstate;
mod kick;
pub mod layout;
mod mem;
mod patch;
mod placement;
mod platform;
mod policy;
mod pool;
mod proto;
mod registers;
mod regs;
mod site;
mod slot;
mod space;
mod sys;
mod text;
mod thread;
mod watch;
mod window;
mod zygote;

pub use actions::Actions;
pub use counters::Counters;
pub use event::{Event, Token};
pub use kick::Kicker;
pub use patch::{Patched, TrapSite, code_area_len};
pub use platform::{Options, Platform};
pub use regs::{Arch, Regs};
pub use space::{AddressSpace, FinalUsage, Usage};
pub use text::SharedText;
pub use thread::{Identity, Thread};
pub use window::{HALF, Prefetched, Reserved, Window};

/// Whether [`Actions::madvise`] may be used with this advice; the stub's
/// filter kills it for others.
pub fn advice_is_allowed(advice: i32) -> bool {
    filter::ADVICES.contains(&advice)
}

/// The MAP_* bits that actions may use; the stub's filter kills it for others.
pub fn mmap_flags_allowed() -> u32 {
    filter::MMAP_FLAGS
        .iter()
        .fold(0, |a, f| a | f.cast_unsigned())
}
