//! What /dev of a container holds: the default devices and links of the OCI runtime specification (config-linux.md,
//! "Default Devices", "Dev symbolic links").

use super::mem;
use crate::config::Device;
use crate::tty::TTYAUX_MAJOR;
use crate::vfs::walk::{At, Env};
use crate::vfs::{Attr, Dev, Path, SetAttr, names};
use arch::{Errno, Result};

/// Something in /dev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A character device, mode 0666.
    Char(Dev),
    /// A symbolic link.
    Link(&'static [u8]),
    /// An empty directory with this mode, for a mount.
    Dir(u32),
}

/// Names below /dev, in the order in which they are made.
pub const ITEMS: &[(&[u8], Item)] = &[
    (b"null", Item::Char(Dev::new(mem::MAJOR, mem::NULL))),
    (b"zero", Item::Char(Dev::new(mem::MAJOR, mem::ZERO))),
    (b"full", Item::Char(Dev::new(mem::MAJOR, mem::FULL))),
    (b"random", Item::Char(Dev::new(mem::MAJOR, mem::RANDOM))),
    (b"urandom", Item::Char(Dev::new(mem::MAJOR, mem::URANDOM))),
    (b"tty", Item::Char(Dev::new(TTYAUX_MAJOR, 0))),
    (b"ptmx", Item::Link(b"pts/ptmx")),
    (b"fd", Item::Link(b"/proc/self/fd")),
    (b"stdin", Item::Link(b"/proc/self/fd/0")),
    (b"stdout", Item::Link(b"/proc/self/fd/1")),
    (b"stderr", Item::Link(b"/proc/self/fd/2")),
    (b"core", Item::Link(b"/proc/kcore")),
    (b"pts", Item::Dir(0o755)),
    (b"shm", Item::Dir(0o1777)),
    (b"mqueue", Item::Dir(0o1777)),
];

/// Fills an empty /dev: [`ITEMS`], then `devices` of the container's configuration by absolute path (those outside of `dev`
/// included; missing directories are made). `env` is root's, with umask 0. A name that is there already stays.
pub fn populate(env: &Env<'_>, dev: &Path, devices: &[Device]) -> Result<()> {
    let at = At::Dir(dev.clone());
    for (name, item) in ITEMS {
        let made = match item {
            Item::Char(rdev) => {
                names::mknod(env, &at, name, libc::S_IFCHR | 0o666, *rdev).map(drop)
            }
            Item::Link(target) => names::symlink(env, target, &at, name),
            Item::Dir(mode) => names::mkdir(env, &at, name, *mode).map(drop),
        };
        allow_existing(made)?;
    }
    devices.iter().try_for_each(|device| make(env, device))
}

fn allow_existing(result: Result<()>) -> Result<()> {
    match result {
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    }
}

/// Makes one node of the configuration, and the directories above it.
pub fn make(env: &Env<'_>, device: &Device) -> Result<()> {
    for (i, _) in device.path.iter().enumerate().filter(|(_, b)| **b == b'/') {
        let above = &device.path[..i];
        if !above.is_empty() {
            allow_existing(names::mkdir(env, &At::Cwd, above, 0o755).map(drop))?;
        }
    }
    let rdev = Dev::new(device.major, device.minor);
    let made = names::mknod(env, &At::Cwd, &device.path, device.mode, rdev);
    let node = match made {
        Err(Errno::EEXIST) => return Ok(()),
        other => other?,
    };
    let Attr { uid, gid, .. } = node.inode().attr()?;
    if (uid, gid) != (device.uid, device.gid) {
        node.inode().set_attr(&SetAttr {
            uid: Some(device.uid),
            gid: Some(device.gid),
            ..SetAttr::default()
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::tmp::{Options, TmpFs};
    use crate::task::Creds;
    use crate::vfs::{FileType, MountFlags, WalkFlags};
    use std::sync::Arc;

    #[test]
    fn a_tmpfs_gets_the_usual_contents() {
        let mount = TmpFs::mount(Options::default(), MountFlags::empty()).unwrap();
        let root = mount.root_path();
        let env = Env {
            creds: Arc::new(Creds::root()),
            root: root.clone(),
            cwd: root.clone(),
            umask: 0,
            cx: None,
        };
        let fuse = Device {
            path: b"/sub/fuse".to_vec(),
            mode: libc::S_IFCHR | 0o660,
            major: 10,
            minor: 229,
            uid: 7,
            gid: 8,
        };
        for _ in 0..2 {
            populate(&env, &root, std::slice::from_ref(&fuse)).unwrap();
        }
        let attr = |path: &[u8]| {
            let place = env.resolve(&At::Cwd, path, WalkFlags::empty()).unwrap();
            place.inode().attr().unwrap()
        };
        let null = attr(b"null");
        assert_eq!(null.rdev, Dev::new(1, 3));
        assert_eq!(null.mode, libc::S_IFCHR | 0o666);
        assert_eq!(attr(b"ptmx").file_type(), FileType::Symlink);
        assert_eq!(attr(b"shm").mode, libc::S_IFDIR | 0o1777);
        let fuse = attr(b"sub/fuse");
        assert_eq!((fuse.mode, fuse.uid, fuse.gid), (0o020_660, 7, 8));
        assert_eq!(fuse.rdev, Dev::new(10, 229));
    }
}
