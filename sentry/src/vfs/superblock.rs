//! Mounted file systems.

use super::attr::Dev;
use super::dentry::{Dentry, Ring};
use super::inode::InodeRef;
use arch::{Errno, Result};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// What statfs(2) tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Magic number of the type.
    pub magic: i64,
    /// Bytes of a block.
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    /// Longest name.
    pub namelen: u64,
}

impl StatFs {
    /// Of a file system without blocks or inodes to count.
    pub fn plain(magic: i64) -> Self {
        Self {
            magic,
            bsize: 4096,
            namelen: 255,
            ..Self::default()
        }
    }
}

/// A file system, as a whole.
pub trait FileSystem: Any + Send + Sync {
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;

    /// The type, as mount(2) and /proc/mounts name it.
    fn type_name(&self) -> &'static str;

    /// statfs(2).
    fn statfs(&self) -> Result<StatFs>;

    /// sync(2), syncfs(2). May sleep: called from the blocking pool.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Options of the file system itself for /proc/mounts, each with a leading comma: `,size=64k,mode=1777`.
    fn options(&self) -> Vec<u8> {
        Vec::new()
    }

    /// remount with options. Unknown ones are EINVAL.
    fn remount(&self, _options: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Whether cached entries are put to [`super::Inode::revalidate`].
    fn revalidates(&self) -> bool {
        false
    }

    /// Whether looking for a name that isn't there is an error by itself, so that making it is ENOENT before anything
    /// else is looked at (proc).
    fn fixed_names(&self) -> bool {
        false
    }

    /// Whether making a name that hasn't been looked up is safe: EEXIST if it is there, for everything but link(2).
    fn makes_unseen(&self) -> bool {
        false
    }

    /// Whether "no such name" may be remembered.
    fn caches_negative(&self) -> bool {
        false
    }

    /// How many entries to keep that nobody uses.
    fn cache_limit(&self) -> usize {
        8192
    }
}

static NEXT_MINOR: AtomicU32 = AtomicU32::new(32);

/// A device number for a file system without a device (get_anon_bdev).
pub fn anon_dev() -> Dev {
    Dev::new(0, NEXT_MINOR.fetch_add(1, Ordering::Relaxed) & 0xf_ffff)
}

/// A file system that can be mounted, and its cache of names.
pub struct Superblock {
    /// st_dev of its files.
    pub dev: Dev,
    /// The implementation.
    pub fs: Box<dyn FileSystem>,
    read_only: AtomicBool,
    /// Entries that nobody uses, kept for the next walk.
    pub(super) ring: Ring,
    /// Open files that may be written to. Counted up before [`Superblock::read_only`] is looked at, looked at after that is set.
    pub(super) writers: AtomicUsize,
    /// Mounts of it. At 0 the cache is emptied: it holds the entries and they hold this.
    mounts: AtomicUsize,
    /// Taken by renames of directories between directories, before the directories' own locks (s_vfs_rename_mutex).
    pub(super) rename: parking_lot::Mutex<()>,
    pub(super) revalidates: bool,
    pub(super) caches_negative: bool,
}

impl Superblock {
    /// A superblock for `fs`: the dentry of its root, which holds it.
    #[expect(clippy::new_ret_no_self, reason = "nobody wants one without its root")]
    pub fn new(fs: Box<dyn FileSystem>, dev: Dev, root: InodeRef, read_only: bool) -> Arc<Dentry> {
        let (revalidates, caches_negative) = (fs.revalidates(), fs.caches_negative());
        let ring = Ring::new(fs.cache_limit());
        let sb = Arc::new(Self {
            dev,
            fs,
            read_only: AtomicBool::new(read_only),
            ring,
            writers: AtomicUsize::new(0),
            mounts: AtomicUsize::new(0),
            rename: parking_lot::Mutex::new(()),
            revalidates,
            caches_negative,
        });
        Dentry::root(sb, root)
    }

    /// Mounted read-only as a whole (as opposed to one mount of it).
    pub fn read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// MS_REMOUNT with or without MS_RDONLY. EBUSY while files are open for writing.
    pub fn set_read_only(&self, yes: bool) -> Result<()> {
        let old = self.read_only.swap(yes, Ordering::SeqCst);
        if yes && !old && self.writers.load(Ordering::SeqCst) > 0 {
            self.read_only.store(false, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    pub(super) fn mounted(&self) {
        self.mounts.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn unmounted(&self) {
        if self.mounts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ring.clear();
        }
    }

    pub(super) fn is_mounted(&self) -> bool {
        self.mounts.load(Ordering::Acquire) > 0
    }
}
