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

mod siginfo;
mod signal;
mod stat;
mod time;
mod uio;

pub use crate::x86_64::abi::*;
pub use siginfo::*;
pub use signal::*;
pub use stat::*;
pub use time::*;
pub use uio::*;
