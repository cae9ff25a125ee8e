//! Address spaces: the map of what is where; the host does the paging.

use std::sync::Arc;
use systrap::AddressSpace;

/// An address space.
pub struct Mm {
    /// The host process that holds it.
    pub space: Arc<AddressSpace>,
}

impl Mm {
    /// Whether the map says that all of the range can be written.
    pub fn writable(&self, _addr: u64, _len: usize) -> bool {
        false
    }
}
