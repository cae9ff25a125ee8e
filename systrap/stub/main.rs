//! The stub: the code that runs in every stub process beside the
//! application, at `layout::TEXT`. `build.rs` compiles it into one
//! position-independent read-execute blob without data, and refuses the
//! result if it uses a vector register or keeps a relocation.
//!
//! Rules for this code:
//! - No memory of its own but the thread's slot (reached from the stack
//!   pointer) and its stack. All of that, and every register it is entered
//!   with, may have been forged by the application: whatever it does is
//!   bounded by the seccomp filter, never by checks in here.
//! - Application memory is touched by the functions of `asm.rs` only, whose
//!   faults are fixed up.
//! - Loads and stores are volatile words of at most 8 bytes, so that the
//!   compiler has no reason to take vector registers.
//! - Host calls are exactly those that `src/filter.rs` allows.

#![no_std]

#[path = "../src/layout.rs"]
mod layout;
#[path = "../src/proto.rs"]
mod proto;

mod actions;
mod asm;
mod boot;
mod fast;
mod futex;
mod handler;
mod prefetch;
mod sys;
