//! The container's terminal.

use crate::config::Terminal;
use crate::fs::devpts::{self, DevPts, Instance};
use crate::kernel::Kernel;
use crate::task::Creds;
use crate::tty::{self, Tty};
use crate::vfs::walk::{At, Env, WalkFlags};
use crate::vfs::{Dev, File, Mount, MountFlags, MountNamespace, Path, names};
use arch::{Errno, Result};
use std::sync::Arc;

/// The terminal, and where its slave has its name.
pub(super) struct Console {
    /// The pair.
    pub tty: Arc<Tty>,
    root: Path,
}

impl Console {
    /// Makes the terminal in the devpts on /dev/pts, or in one of its own if there is none, as `owner`'s. `env` is root's, in `ns`;
    /// /dev/console becomes another name of it.
    pub fn new(
        kernel: &Arc<Kernel>,
        env: &Env<'_>,
        ns: &Arc<MountNamespace>,
        terminal: Terminal,
        owner: &Creds,
    ) -> Result<Self> {
        let walk = WalkFlags::FOLLOW;
        let mounted = env
            .resolve(&At::Cwd, b"/dev/pts", walk)
            .ok()
            .filter(|place| place.dentry.parent().is_none())
            .and_then(|place| Some((Instance::of(place.mount.sb())?, place)));
        let (instance, root) = match mounted {
            Some(found) => found,
            None => {
                let mount = DevPts::mount(devpts::Options::default(), MountFlags::empty());
                let instance = Instance::of(mount.sb()).ok_or(Errno::ENODEV)?;
                (instance, mount.root_path())
            }
        };
        let tty = tty::attach_channel(kernel, terminal, &instance, owner)?;
        let console = Self { tty, root };
        match console.name_console(env, ns) {
            // There is no /dev, or it is read-only: the terminal works without that name.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EROFS) => Ok(console),
            Err(e) => Err(e),
        }
    }

    /// Puts the slave on /dev/console (OCI config-linux.md, "Default Devices").
    fn name_console(&self, env: &Env<'_>, ns: &Arc<MountNamespace>) -> Result<()> {
        const NAME: &[u8] = b"/dev/console";
        let rdev = Dev::new(tty::TTYAUX_MAJOR, 1);
        match names::mknod(env, &At::Cwd, NAME, libc::S_IFCHR | 0o600, rdev) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
        let place = env.resolve(&At::Cwd, NAME, WalkFlags::FOLLOW)?;
        let name = self.tty.index.to_string();
        let slave = env
            .lookup(&self.root, name.as_bytes())?
            .ok_or(Errno::ENOENT)?;
        let mount = Mount::new(slave, b"devpts", self.root.mount.flags());
        ns.mount(&mount, &place)
    }

    /// A description of the slave, for standard input and output.
    pub fn open(&self, env: &Env<'_>) -> Result<Arc<File>> {
        let flags = libc::O_RDWR as u32 | crate::vfs::open::LARGEFILE;
        devpts::open_slave(env, &self.root, &self.tty, flags)
    }
}
