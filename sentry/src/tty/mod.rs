//! Terminals: pseudoterminal pairs with the line discipline N_TTY, job control (tty(4), pty(7), credentials(7) "Sessions").
//!
//! - [`line`]: the line discipline; pure state. [`termios`]: settings.
//! - [`pair`]: a pair's state, and what is done to it. [`master`], [`slave`]: its two ends as open files. [`ioctl`]: ioctl_tty(2).
//! - [`job`]: controlling terminals, foreground process groups, hangup.
//! - [`channel`]: a terminal whose master end is outside of the sandbox.
//!
//! # Locks, outermost first
//! ```text
//! Channel::pump       one transfer to or from the outside at a time
//! Terminals::control  changes of which session has which terminal
//!   Kernel::tasks
//!     Session::tty, Tty::control, Tty::state: leaves, never two at a time
//! ```
//! Wait queues are notified, signals sent and channels pumped with none of these held but `Terminals::control`.

pub mod channel;
pub mod ioctl;
pub mod job;
pub mod line;
pub mod master;
pub mod pair;
pub mod slave;
pub mod termios;

pub use channel::attach_channel;
pub use job::session_exit;
pub use pair::Tty;
pub use slave::SlaveFile;

use crate::vfs::{Dev, DeviceRegistry, FileOps, Path, walk::Env};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// TTYAUX_MAJOR: /dev/tty, /dev/console, /dev/ptmx.
pub const TTYAUX_MAJOR: u32 = 5;
/// UNIX98_PTY_SLAVE_MAJOR.
pub const PTS_MAJOR: u32 = 136;

/// What a kernel keeps for its terminals.
#[derive(Default)]
pub struct Terminals {
    /// Held while a terminal gets or loses a session.
    pub(crate) control: Mutex<()>,
    /// The container's terminal.
    pub console: OnceLock<Arc<Tty>>,
}

/// Registers what opens /dev/tty and /dev/console. Those of /dev/ptmx and /dev/pts/N are devpts's.
pub fn register(devices: &DeviceRegistry) {
    let tty = |env: &Env<'_>, _: Dev, _: &Path, flags: u32| -> Result<Box<dyn FileOps>> {
        let cx = env.cx.ok_or(Errno::ENXIO)?;
        let tty = job::current(&cx.task.group).ok_or(Errno::ENXIO)?;
        Ok(Box::new(SlaveFile::open(&tty, env, flags)?))
    };
    devices.add_char(Dev::new(TTYAUX_MAJOR, 0), Arc::new(tty));
    let console = |env: &Env<'_>, _: Dev, _: &Path, flags: u32| -> Result<Box<dyn FileOps>> {
        let cx = env.cx.ok_or(Errno::ENODEV)?;
        let tty = cx.kernel().terminals.console.get().ok_or(Errno::ENODEV)?;
        // Nobody gets a controlling terminal by this name.
        let flags = flags | libc::O_NOCTTY as u32;
        Ok(Box::new(SlaveFile::open(tty, env, flags)?))
    };
    devices.add_char(Dev::new(TTYAUX_MAJOR, 1), Arc::new(console));
}
