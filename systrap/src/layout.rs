//! Where everything lies: the stub's area at the top of every stub process's
//! address space, the region inside it, the slot inside that.
//!
//! This file is compiled twice: into this crate and (by `build.rs`) into the
//! stub blob, so that both sides agree by construction. It must therefore
//! stay free of `std` and of everything but constants.

#![allow(dead_code)] // either compilation uses only its half

/// Page size of x86-64, in bytes.
pub const PAGE: u64 = 4096;

/// One past the highest address that the application may use. Everything at
/// and above it belongs to the stub.
pub const TASK_SIZE: u64 = 0x7fff_0000_0000;

/// Lowest address of the stub's own area.
pub const STUB_START: u64 = TASK_SIZE;
/// One past the last address of the user half of the address space.
pub const STUB_END: u64 = 0x7fff_ffff_f000;

/// The stub's text: one read-execute mapping, the same in every stub.
pub const TEXT: u64 = STUB_START + 0x1_0000;
/// Room for the text.
pub const TEXT_MAX: u64 = 0x1_0000;

/// The host's `[vvar]`, `[vvar_vclock]` and `[vdso]`, moved here in one piece.
pub const VDSO: u64 = STUB_START + 0x10_0000;
/// Room for them.
pub const VDSO_MAX: u64 = 0x4_0000;

/// The doorbell pages: read-only in the stubs, written by the Sentry.
pub const DOORBELL: u64 = STUB_START + 0x20_0000;

/// The region of this address space (shared with the Sentry).
pub const REGION: u64 = STUB_START + 0x4000_0000;
/// Distance between two slots; a slot's address is a multiple of it.
pub const SLOT_STRIDE: u64 = 0x2_0000;
/// Slots (threads) in a region.
pub const SLOTS: u64 = 8192;
/// Length of a region in bytes (sparse).
pub const REGION_LEN: u64 = SLOT_STRIDE * SLOTS;
