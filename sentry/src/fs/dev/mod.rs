//! Character devices, and what /dev of a container holds.
//!
//! - [`mem`]: null, zero, full. [`random`]: random, urandom.
//! - [`populate`]: the nodes, links and directories of a container's /dev, as data.
//!
//! Terminals (tty, console, ptmx, pts/N) have their drivers in the tty area.

pub mod mem;
pub mod populate;
pub mod random;

pub use populate::populate;

use crate::vfs::{Dev, DeviceRegistry, FileOps, Path, walk::Env};
use arch::Result;
use std::sync::Arc;

/// Registers the drivers of all devices.
pub fn register(devices: &DeviceRegistry) {
    let add = |minor: u32, make: fn() -> Box<dyn FileOps>| {
        let open =
            move |_: &Env<'_>, _: Dev, _: &Path, _: u32| -> Result<Box<dyn FileOps>> { Ok(make()) };
        devices.add_char(Dev::new(mem::MAJOR, minor), Arc::new(open));
    };
    add(mem::NULL, || Box::new(mem::Null));
    add(mem::ZERO, || Box::new(mem::Zero));
    add(mem::FULL, || Box::new(mem::Full));
    add(mem::RANDOM, || Box::new(random::Random));
    add(mem::URANDOM, || Box::new(random::Random));
    crate::tty::register(devices);
    super::devpts::register(devices);
}
