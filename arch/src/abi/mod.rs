//! Structures and constants that cross the syscall boundary, split by subject, re-exported flat.
//!
//! Constants that the `libc` crate has are not repeated here; those it lacks (kernel-side flags,
//! `si_code` values, magic numbers) are. Addresses inside structures are plain `u64`: they are the
//! application's, and mean nothing here.

/// Declares a structure of the ABI: C layout, plain old data, all-zero default, and its size
/// checked at compile time. The derives refuse hidden padding, so every gap is a named field.
macro_rules! abi_struct {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident: $size:literal {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        static_assertions::const_assert_eq!(size_of::<$name>(), $size);

        impl Default for $name {
            /// All bytes zero.
            fn default() -> Self {
                bytemuck::Zeroable::zeroed()
            }
        }
    )*};
}
pub(crate) use abi_struct;

mod clone;
mod fs;
mod ipc;
mod netlink;
mod poll;
mod process;
mod resource;
mod sched;
mod siginfo;
mod signal;
mod socket;
mod stat;
mod time;
mod tty;
mod uio;

pub use crate::x86_64::abi::*;
pub use clone::*;
pub use fs::*;
pub use ipc::*;
pub use netlink::*;
pub use poll::*;
pub use process::*;
pub use resource::*;
pub use sched::*;
pub use siginfo::*;
pub use signal::*;
pub use socket::*;
pub use stat::*;
pub use time::*;
pub use tty::*;
pub use uio::*;
