//! tmpfs(5): files in memory.
//!
//! - [`node`]: inodes and their attributes. [`dir`]: directories. [`data`]: contents of regular files.
//! - [`file`]: open files and directories. [`memfd`]: memfd_create(2) and its seals.
//!
//! A small file's bytes are in a vector; one that is large, sparse, sealed or mapped has a host memfd, which the Sentry reads and
//! writes by pread and pwrite and never maps itself.
//!
//! # Locks, outermost first
//! ```text
//! Shared::rename       renames, which look at more than one directory
//!   DirData             two at once only under Shared::rename
//!     Meta, FileData    leaves
//! ```

pub mod data;
pub mod dir;
pub mod file;
pub mod memfd;
pub mod node;

pub use memfd::memfd;
pub use node::TmpNode;

use crate::vfs::{
    Dentry, Dev, FileSystem, Mount, MountFlags, NewNode, StatFs, Superblock, anon_dev,
};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// TMPFS_MAGIC.
const MAGIC: i64 = 0x0102_1994;
const PAGE: u64 = arch::PAGE_SIZE;

/// What the nodes of one tmpfs share.
pub struct Shared {
    pub(crate) dev: Dev,
    /// Largest file, bytes.
    pub(super) max_size: u64,
    next_ino: AtomicU64,
    /// Pages in use, and how many there may be (`u64::MAX`: no limit).
    pages: AtomicU64,
    max_pages: AtomicU64,
    /// Inodes, likewise.
    inodes: AtomicU64,
    max_inodes: AtomicU64,
    pub(super) rename: Mutex<()>,
}

impl Shared {
    /// State of a tmpfs whose files have device number `dev`, without limits.
    pub fn new(dev: Dev) -> Arc<Self> {
        Self::with_limits(dev, 1, data::MAX_SIZE)
    }

    /// The same with inode numbers from `first` on, and files of `max_size` bytes at most.
    pub(crate) fn with_limits(dev: Dev, first: u64, max_size: u64) -> Arc<Self> {
        Arc::new(Self {
            dev,
            max_size,
            next_ino: AtomicU64::new(first),
            pages: AtomicU64::new(0),
            max_pages: AtomicU64::new(u64::MAX),
            inodes: AtomicU64::new(0),
            max_inodes: AtomicU64::new(u64::MAX),
            rename: Mutex::new(()),
        })
    }

    /// How many pages are left.
    pub(super) fn room(&self) -> u64 {
        let (max, used) = (
            self.max_pages.load(Ordering::Relaxed),
            self.pages.load(Ordering::Relaxed),
        );
        max.saturating_sub(used)
    }

    /// ENOSPC unless `pages` are left.
    pub(super) fn check(&self, pages: u64) -> Result<()> {
        if pages <= self.room() {
            Ok(())
        } else {
            Err(Errno::ENOSPC)
        }
    }

    /// A file that had `old` pages has `new` ones.
    pub(super) fn recharge(&self, old: u64, new: u64) {
        self.pages
            .fetch_add(new.wrapping_sub(old), Ordering::Relaxed);
    }

    /// Gives pages back.
    pub(super) fn uncharge(&self, pages: u64) {
        self.pages.fetch_sub(pages, Ordering::Relaxed);
    }

    fn charge_inode(&self) -> Result<u64> {
        take(&self.inodes, &self.max_inodes, 1)?;
        Ok(self.next_ino.fetch_add(1, Ordering::Relaxed))
    }

    fn uncharge_inode(&self) {
        self.inodes.fetch_sub(1, Ordering::Relaxed);
    }
}

fn take(used: &AtomicU64, limit: &AtomicU64, n: u64) -> Result<()> {
    let limit = limit.load(Ordering::Relaxed);
    let step = |used: u64| used.checked_add(n).filter(|&sum| sum <= limit);
    match used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
        Ok(_) => Ok(()),
        Err(_) => Err(Errno::ENOSPC),
    }
}

/// As a size or a number of inodes.
pub const NO_LIMIT: u64 = u64::MAX;

/// Mount options (tmpfs(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes; `None`: half of the memory; [`NO_LIMIT`].
    pub size: Option<u64>,
    /// `None`: one for each page of half of the memory; [`NO_LIMIT`].
    pub nr_inodes: Option<u64>,
    /// Of the root directory.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size: None,
            nr_inodes: None,
            mode: 0o1777,
            uid: 0,
            gid: 0,
        }
    }
}

impl Options {
    /// From the data of mount(2): `size=64m,mode=755`. EINVAL for what is unknown or malformed.
    pub fn parse(data: &[u8]) -> Result<Self> {
        let mut options = Self::default();
        for item in data.split(|&b| b == b',').filter(|i| !i.is_empty()) {
            let text = std::str::from_utf8(item).map_err(|_| Errno::EINVAL)?;
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            let decimal = || value.parse().map_err(|_| Errno::EINVAL);
            match key {
                "size" => options.size = parse_size(value, total_memory())?,
                "nr_blocks" => {
                    // Without a limit it stays so.
                    options.size = parse_size(value, 0)?.map(|n| n.saturating_mul(PAGE));
                }
                "nr_inodes" => options.nr_inodes = parse_size(value, 0)?,
                "mode" => {
                    let mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
                    options.mode = mode & 0o7777;
                }
                "uid" => options.uid = decimal()?,
                "gid" => options.gid = decimal()?,
                // Accepted and without effect here, as on a machine with one memory node and no swap.
                "huge" | "mpol" | "noswap" | "inode32" | "inode64" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }
}

/// A number with k, m, g, or % of `whole`. 0 means no limit.
fn parse_size(text: &str, whole: u64) -> Result<Option<u64>> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let n: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    let n = match &text[digits.len()..] {
        "" => Some(n),
        "k" | "K" => n.checked_mul(1 << 10),
        "m" | "M" => n.checked_mul(1 << 20),
        "g" | "G" => n.checked_mul(1 << 30),
        "t" | "T" => n.checked_mul(1 << 40),
        "%" if whole > 0 => n.checked_mul(whole / 100),
        _ => return Err(Errno::EINVAL),
    };
    match n {
        None => Err(Errno::EINVAL),
        Some(0) => Ok(Some(NO_LIMIT)),
        some => Ok(some),
    }
}

fn total_memory() -> u64 {
    nix::sys::sysinfo::sysinfo().map_or(0, |s| s.ram_total())
}

/// A tmpfs.
pub struct TmpFs {
    shared: Arc<Shared>,
    shown: Mutex<Options>,
}

impl TmpFs {
    /// Its root dentry, to be mounted.
    pub fn create(options: Options) -> Result<Arc<Dentry>> {
        let dev = anon_dev();
        let shared = Shared::new(dev);
        let node = NewNode {
            mode: libc::S_IFDIR | options.mode,
            uid: options.uid,
            gid: options.gid,
            rdev: Dev::default(),
        };
        let root = TmpNode::new(&shared, &node)?;
        root.become_root();
        let fs = Self {
            shared,
            shown: Mutex::new(options),
        };
        fs.limit(&options);
        Ok(Superblock::new(Box::new(fs), dev, root, false))
    }

    /// A mount of a fresh tmpfs, nowhere yet.
    pub fn mount(options: Options, flags: MountFlags) -> Result<Arc<Mount>> {
        Ok(Mount::new(Self::create(options)?, b"tmpfs", flags))
    }

    fn limit(&self, options: &Options) {
        let usual = total_memory() / 2 / PAGE;
        let pages = options.size.map_or(usual, |n| match n {
            NO_LIMIT => u64::MAX,
            n => n.div_ceil(PAGE),
        });
        self.shared.max_pages.store(pages, Ordering::Relaxed);
        let inodes = options.nr_inodes.unwrap_or(usual);
        self.shared.max_inodes.store(inodes, Ordering::Relaxed);
    }
}

impl FileSystem for TmpFs {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        "tmpfs"
    }

    fn statfs(&self) -> Result<StatFs> {
        let limited = |max: &AtomicU64, used: &AtomicU64| {
            let (max, used) = (max.load(Ordering::Relaxed), used.load(Ordering::Relaxed));
            if max == u64::MAX {
                (0, 0)
            } else {
                (max, max.saturating_sub(used))
            }
        };
        let (blocks, bfree) = limited(&self.shared.max_pages, &self.shared.pages);
        let (files, ffree) = limited(&self.shared.max_inodes, &self.shared.inodes);
        Ok(StatFs {
            magic: MAGIC,
            bsize: PAGE,
            blocks,
            bfree,
            bavail: bfree,
            files,
            ffree,
            namelen: 255,
        })
    }

    fn options(&self) -> Vec<u8> {
        let shown = *self.shown.lock();
        let mut out = String::new();
        let unlimited = |n| if n == NO_LIMIT { 0 } else { n };
        if let Some(size) = shown.size.map(unlimited) {
            out += &format!(",size={}k", size.div_ceil(PAGE) * (PAGE >> 10));
        }
        if let Some(n) = shown.nr_inodes.map(unlimited) {
            out += &format!(",nr_inodes={n}");
        }
        if shown.mode != 0o1777 {
            out += &format!(",mode={:o}", shown.mode);
        }
        if shown.uid != 0 {
            out += &format!(",uid={}", shown.uid);
        }
        if shown.gid != 0 {
            out += &format!(",gid={}", shown.gid);
        }
        out.into_bytes()
    }

    fn remount(&self, options: &[u8]) -> Result<()> {
        let new = Options::parse(options)?;
        let mut shown = self.shown.lock();
        if options.windows(5).any(|w| w == b"size=") {
            shown.size = new.size;
        }
        if options.windows(10).any(|w| w == b"nr_inodes=") {
            shown.nr_inodes = new.nr_inodes;
        }
        self.limit(&shown);
        Ok(())
    }
}
