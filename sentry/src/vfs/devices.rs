//! What opens device nodes and FIFOs.

use super::attr::Dev;
use super::path::Path;
use super::walk::Env;
use super::{FileOps, FileType};
use arch::{Errno, Result};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Opens devices of some number.
pub trait Driver: Send + Sync {
    /// A description of device `dev`, whose node is `path`, with open(2) flags. `env.cx` is the caller.
    fn open(&self, env: &Env<'_>, dev: Dev, path: &Path, flags: u32) -> Result<Box<dyn FileOps>>;
}

impl<F> Driver for F
where
    F: Fn(&Env<'_>, Dev, &Path, u32) -> Result<Box<dyn FileOps>> + Send + Sync,
{
    fn open(&self, env: &Env<'_>, dev: Dev, path: &Path, flags: u32) -> Result<Box<dyn FileOps>> {
        self(env, dev, path, flags)
    }
}

/// Which driver has which device number.
#[derive(Default)]
pub struct DeviceRegistry {
    inner: RwLock<Drivers>,
}

#[derive(Default)]
struct Drivers {
    /// Character devices by number.
    chars: HashMap<Dev, Arc<dyn Driver>>,
    /// Character devices by major number, for those without an own entry (pseudoterminals).
    majors: HashMap<u32, Arc<dyn Driver>>,
    /// FIFOs.
    fifo: Option<Arc<dyn Driver>>,
}

impl DeviceRegistry {
    /// Registers a character device.
    pub fn add_char(&self, dev: Dev, driver: Arc<dyn Driver>) {
        self.inner.write().chars.insert(dev, driver);
    }

    /// Registers all character devices of a major number that have no driver of their own.
    pub fn add_char_major(&self, major: u32, driver: Arc<dyn Driver>) {
        self.inner.write().majors.insert(major, driver);
    }

    /// Registers what opens FIFOs. Its [`FileOps::open_wait`] says when open(2) may return.
    pub fn set_fifo(&self, driver: Arc<dyn Driver>) {
        self.inner.write().fifo = Some(driver);
    }

    /// Opens a device node or FIFO: ENXIO if nobody drives it. There are no block devices.
    pub fn open(
        &self,
        env: &Env<'_>,
        kind: FileType,
        dev: Dev,
        path: &Path,
        flags: u32,
    ) -> Result<Box<dyn FileOps>> {
        let driver = {
            let inner = self.inner.read();
            match kind {
                FileType::CharDevice => inner
                    .chars
                    .get(&dev)
                    .or_else(|| inner.majors.get(&dev.major))
                    .cloned(),
                FileType::Fifo => inner.fifo.clone(),
                _ => None,
            }
        };
        driver.ok_or(Errno::ENXIO)?.open(env, dev, path, flags)
    }
}
