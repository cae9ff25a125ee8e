//! The systrap platform: runs application code in *stub* processes whose
//! every system call traps (seccomp `SECCOMP_RET_TRAP`) and is handed over
//! shared memory to the caller of this crate, the Sentry.
//!
//! This crate knows nothing of Linux semantics. It gives address spaces
//! ([`AddressSpace`]), threads in them ([`Thread`]), their [`Event`]s, and a
//! way to wait for those ([`Platform::wait`]). docs/SYSTRAP.md describes the
//! protocol.

mod actions;
mod event;
pub mod layout;
mod platform;
mod regs;
mod space;
mod thread;
mod window;

pub use actions::Actions;
pub use event::{Event, Token};
pub use platform::{Counters, Options, Platform};
pub use regs::{Arch, Regs};
pub use space::AddressSpace;
pub use thread::{Identity, Kicker, Thread};
pub use window::{Reserved, Window};
