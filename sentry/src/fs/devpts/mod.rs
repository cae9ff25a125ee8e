//! devpts: where pseudoterminals have their names (pts(4)).
//!
//! Every mount is an instance of its own, with its own numbers. Opening `ptmx` makes a pair; its slave's node appears at once and goes
//! when the master is closed.
//!
//! - [`node`]: the inodes. [`options`]: mount options.
//!
//! # Locks
//! `Instance::nodes` is above the `meta` lock of a node; both are leaves to everything else.

pub mod node;
pub mod options;

pub use options::Options;

use crate::kernel::Kernel;
use crate::task::Creds;
use crate::tty::master::MasterFile;
use crate::tty::pair::Home;
use crate::tty::{PTS_MAJOR, SlaveFile, TTYAUX_MAJOR, Tty};
use crate::vfs::walk::{At, Env};
use crate::vfs::{
    Dentry, Dev, DeviceRegistry, File, FileOps, FileSystem, Meta, Mount, MountFlags, Path, StatFs,
    Superblock, WalkFlags, anon_dev,
};
use arch::{Errno, Result};
use node::{Ptmx, PtsNode, Root};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// DEVPTS_SUPER_MAGIC.
const MAGIC: i64 = 0x1cd1;

/// What one devpts has.
pub struct Instance {
    me: Weak<Instance>,
    dev: Dev,
    options: Mutex<Options>,
    nodes: Mutex<BTreeMap<u32, Arc<PtsNode>>>,
    ptmx: Arc<Ptmx>,
}

impl Instance {
    fn new(options: Options) -> Arc<Self> {
        let dev = anon_dev();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            dev,
            ptmx: Arc::new(Ptmx::new(dev, options.ptmxmode)),
            options: Mutex::new(options),
            nodes: Mutex::default(),
        })
    }

    /// The instance that `sb` is.
    pub fn of(sb: &Superblock) -> Option<Arc<Self>> {
        sb.fs
            .as_any()
            .downcast_ref::<DevPts>()
            .map(|fs| Arc::clone(&fs.0))
    }

    /// Makes a pair, whose slave belongs to `creds`: ENOSPC if there are too many.
    pub fn new_pair(&self, kernel: Weak<Kernel>, creds: &Creds) -> Result<Arc<Tty>> {
        let options = *self.options.lock();
        let mut nodes = self.nodes.lock();
        let index = (0..options.max)
            .find(|n| !nodes.contains_key(n))
            .ok_or(Errno::ENOSPC)?;
        let home: Weak<dyn Home> = self.me.clone();
        let tty = Tty::new(index, kernel, home);
        let meta = Meta::new(
            options.mode,
            options.uid.unwrap_or(creds.fsuid),
            options.gid.unwrap_or(creds.fsgid),
        );
        let node = PtsNode::new(self.dev, &tty, meta);
        nodes.insert(index, Arc::new(node));
        Ok(tty)
    }

    fn node(&self, name: &[u8]) -> Option<Arc<PtsNode>> {
        // As the kernel writes numbers: no sign, no leading zero.
        let index: u32 = std::str::from_utf8(name).ok()?.parse().ok()?;
        (index.to_string().as_bytes() == name)
            .then(|| self.nodes.lock().get(&index).cloned())
            .flatten()
    }
}

impl Home for Instance {
    fn gone(&self, index: u32) {
        let node = self.nodes.lock().remove(&index);
        if let Some(node) = node {
            node.unlinked();
        }
    }
}

/// A devpts as a file system.
pub struct DevPts(Arc<Instance>);

impl DevPts {
    /// The root of a new instance, to be mounted.
    pub fn create(options: Options) -> Arc<Dentry> {
        let instance = Instance::new(options);
        let root = Arc::new(Root::new(Arc::clone(&instance)));
        let dev = instance.dev;
        Superblock::new(Box::new(Self(instance)), dev, root, false)
    }

    /// A mount of a new instance, nowhere yet.
    pub fn mount(options: Options, flags: MountFlags) -> Arc<Mount> {
        Mount::new(Self::create(options), b"devpts", flags)
    }
}

impl FileSystem for DevPts {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        "devpts"
    }

    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs::plain(MAGIC))
    }

    fn options(&self) -> Vec<u8> {
        self.0.options.lock().show()
    }

    fn remount(&self, options: &[u8]) -> Result<()> {
        let mut new = Options::parse(options)?;
        let mut old = self.0.options.lock();
        new.max = new.max.min(options::MAX);
        self.0.ptmx.set_perm(new.ptmxmode);
        *old = new;
        Ok(())
    }

    /// Names of terminals come and go on their own.
    fn revalidates(&self) -> bool {
        true
    }
}

/// Registers what opens /dev/ptmx and /dev/pts/N.
pub fn register(devices: &DeviceRegistry) {
    let ptmx = |env: &Env<'_>, _: Dev, path: &Path, _: u32| -> Result<Box<dyn FileOps>> {
        let cx = env.cx.ok_or(Errno::ENXIO)?;
        let (instance, root) = instance_for(env, path)?;
        let tty = instance.new_pair(Arc::downgrade(cx.kernel()), &env.creds)?;
        Ok(Box::new(MasterFile::new(tty, root)))
    };
    devices.add_char(Dev::new(TTYAUX_MAJOR, 2), Arc::new(ptmx));
    let pts = |env: &Env<'_>, _: Dev, path: &Path, flags: u32| -> Result<Box<dyn FileOps>> {
        // A node that is not in a devpts leads to no terminal.
        let node = path.inode().as_any().downcast_ref::<PtsNode>();
        let tty = node.and_then(PtsNode::tty).ok_or(Errno::EIO)?;
        Ok(Box::new(SlaveFile::open(&tty, env, flags)?))
    };
    devices.add_char_major(PTS_MAJOR, Arc::new(pts));
}

/// The instance that a ptmx node belongs to and its root: the devpts that it is in, else the one at `pts` beside it.
fn instance_for(env: &Env<'_>, path: &Path) -> Result<(Arc<Instance>, Path)> {
    if let Some(instance) = Instance::of(path.mount.sb()) {
        let root = path.dentry.parent().ok_or(Errno::ENODEV)?;
        return Ok((instance, path.with(root)));
    }
    let dir = path.up(&env.root).ok_or(Errno::ENODEV)?;
    let pts = env
        .resolve(&At::Dir(dir), b"pts", WalkFlags::DIRECTORY)
        .map_err(|_| Errno::ENODEV)?;
    let instance = Instance::of(pts.mount.sb()).filter(|_| pts.dentry.parent().is_none());
    Ok((instance.ok_or(Errno::ENODEV)?, pts))
}

/// A new description of a pair's slave, by the name that it has in the devpts at `root`.
pub fn open_slave(env: &Env<'_>, root: &Path, tty: &Arc<Tty>, flags: u32) -> Result<Arc<File>> {
    let name = tty.index.to_string();
    let dentry = env.lookup(root, name.as_bytes())?.ok_or(Errno::EIO)?;
    let ops = SlaveFile::open(tty, env, flags)?;
    let once = libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC;
    let path = root.with(dentry);
    Ok(File::with_path(Box::new(ops), flags & !(once as u32), path))
}
