//! Application memory as the kernel sees it: addresses that are only allegations, and the buffers of I/O.
//!
//! Nothing here holds a reference into memory that an application can write. Data are copied once, and the copy is used.

pub mod addr;
pub mod io;
pub mod memory;

pub use addr::{UserAddr, UserBytes, UserRef, UserStr};
pub use io::{Sink, SliceSource, Source, VecSink};
pub use memory::{STEP, UserIov, UserSink, UserSource};
