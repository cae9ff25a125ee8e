//! Inodes: what a file system provides for each of its files.

use super::attr::{Attr, Dev, FileType, SetAttr};
use super::lock::InodeLocks;
use super::notify::Watches;
use super::path::Path;
use super::walk::Env;
use super::{File, FileOps};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// An inode of whatever file system.
pub type InodeRef = Arc<dyn Inode>;

/// A file to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewNode {
    /// Type and permission bits; the umask has been applied.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group; a setgid directory's has been inherited.
    pub gid: u32,
    /// For device nodes.
    pub rdev: Dev,
}

bitflags::bitflags! {
    /// Flags of renameat2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// EEXIST instead of replacing.
        const NOREPLACE = 1;
        /// Exchange the two.
        const EXCHANGE = 2;
        /// Leave a whiteout behind.
        const WHITEOUT = 4;
    }
}

bitflags::bitflags! {
    /// Flags of setxattr(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct XattrFlags: u32 {
        /// EEXIST if it is there.
        const CREATE = 1;
        /// ENODATA if it is not there.
        const REPLACE = 2;
    }
}

/// Where a symbolic link leads.
pub enum Link {
    /// A path to walk.
    Text(Vec<u8>),
    /// A magic link of procfs: there, whatever the text says.
    Jump(Path),
}

/// A file of a file system.
///
/// The caller (the functions of `names`, `open`, …) has checked permissions, name lengths, read-only mounts, and that
/// directory operations go to directories; names are single components, never `.` or `..`. Changes to one directory come
/// one at a time (the dentry's lock). What a file system doesn't do keeps its default: the errno that Linux gives for a missing
/// inode operation.
pub trait Inode: Any + Send + Sync {
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;

    /// State that every inode has for the use of others.
    fn ext(&self) -> &InodeExt;

    /// What kind of file it is. Never changes.
    fn file_type(&self) -> FileType;

    /// Attributes now.
    fn attr(&self) -> Result<Attr>;

    /// Attributes for a check of rights: type, mode, owner and group are true, the others may be older.
    fn perm_attr(&self) -> Result<Attr> {
        self.attr()
    }

    /// Changes attributes. Rights have been checked; bits to clear (setuid on chown, …) are in `change` already.
    fn set_attr(&self, _change: &SetAttr) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Whether a change of owner takes file capabilities away by itself, as a host does.
    fn chown_strips(&self) -> bool {
        false
    }

    /// Something was read: moves the time of last access, if it is due ([`super::change::atime_due`]). Nothing to do
    /// where a host file system keeps it.
    fn touch_atime(&self, _relatime: bool) {}

    /// inode_permission of file systems with rules of their own; `None` has the common check made on [`Inode::attr`].
    fn permission(&self, _env: &Env<'_>, _access: super::perm::Access) -> Option<Result<()>> {
        None
    }

    /// Finds a name in a directory: ENOENT if there is none.
    fn lookup(&self, _env: &Env<'_>, _name: &[u8]) -> Result<InodeRef> {
        Err(Errno::ENOTDIR)
    }

    /// Whether a cached entry still holds (`child` is `None` for "no such name"). Asked only of file systems
    /// that say [`super::FileSystem::revalidates`]. `checked` is the entry's own, for the implementation to keep a time in.
    fn revalidate(
        &self,
        _env: &Env<'_>,
        _name: &[u8],
        _child: Option<&InodeRef>,
        _checked: &std::sync::atomic::AtomicU64,
    ) -> bool {
        true
    }

    /// Makes a file of any type but a symbolic link: EEXIST if the name is taken.
    fn create(&self, _name: &[u8], _node: &NewNode) -> Result<InodeRef> {
        Err(Errno::EPERM)
    }

    /// It was made by mknod(2): nobody is about to open it.
    fn made_only(&self) {}

    /// symlink(2). The mode in `node` is 0777.
    fn symlink(&self, _name: &[u8], _target: &[u8], _node: &NewNode) -> Result<InodeRef> {
        Err(Errno::EPERM)
    }

    /// link(2) of a file of the same file system.
    fn link(&self, _name: &[u8], _target: &InodeRef) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// unlink(2) of `name`, which was `victim` when it was looked up.
    fn unlink(&self, _name: &[u8], _victim: &InodeRef) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// rmdir(2).
    fn rmdir(&self, _name: &[u8], _victim: &InodeRef) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// rename(2) from this directory to `to` (perhaps the same) of the same file system. `replaced` is what has the new name now.
    fn rename(
        &self,
        _name: &[u8],
        _moved: &InodeRef,
        _to: &Target<'_>,
        _flags: RenameFlags,
    ) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// A file without a name (O_TMPFILE); `linkable` unless O_EXCL forbids to give it one.
    fn tmpfile(&self, _node: &NewNode, _linkable: bool) -> Result<InodeRef> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The text of a symbolic link.
    fn readlink(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }

    /// Where a symbolic link leads; magic links override it.
    fn follow(&self, env: &Env<'_>) -> Result<Link> {
        self.readlink(env).map(Link::Text)
    }

    /// Whether [`Inode::follow`] jumps rather than giving a text (RESOLVE_NO_MAGICLINKS).
    fn is_magic_link(&self) -> bool {
        false
    }

    /// What reads and writes an open regular file, directory or symlink; FIFOs and devices never come here. O_TRUNC has been or will be done
    /// through [`Inode::set_attr`].
    fn open(&self, _env: &Env<'_>, _path: &Path, _flags: u32) -> Result<Box<dyn FileOps>> {
        Err(Errno::ENXIO)
    }

    /// getxattr(2): ENODATA if there is none.
    fn get_xattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// setxattr(2).
    fn set_xattr(&self, _name: &[u8], _value: &[u8], _flags: XattrFlags) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// removexattr(2).
    fn remove_xattr(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// listxattr(2): the names.
    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// Where a rename goes.
pub struct Target<'a> {
    /// The directory.
    pub dir: &'a InodeRef,
    /// The new name.
    pub name: &'a [u8],
    /// What has that name now.
    pub replaced: Option<&'a InodeRef>,
}

/// Something of another area that lives as long as it is used: a FIFO's pipe, a bound socket.
pub type Attachment = Weak<dyn Any + Send + Sync>;

/// What other areas keep with an inode. All leaves: nothing is called with one of these locks held.
#[derive(Default)]
pub struct InodeExt {
    /// flock(2) and fcntl(2) locks; made by the first.
    locks: OnceLock<Box<InodeLocks>>,
    /// inotify(7) watches.
    watches: OnceLock<Box<Watches>>,
    /// The pipe behind an open FIFO.
    pub fifo: Mutex<Option<Attachment>>,
    /// The socket bound to a socket node.
    pub socket: Mutex<Option<Attachment>>,
    /// Above 0: open for writing so many times; below: being executed (deny_write_access).
    writers: AtomicI32,
    /// It has or may have setuid, setgid or file capabilities: a write looks closer. Only ever set.
    privileged: AtomicBool,
}

impl InodeExt {
    /// Nothing attached.
    pub const fn new() -> Self {
        Self {
            locks: OnceLock::new(),
            watches: OnceLock::new(),
            fifo: Mutex::new(None),
            socket: Mutex::new(None),
            writers: AtomicI32::new(0),
            privileged: AtomicBool::new(false),
        }
    }

    /// The locks, made if there are none yet.
    pub fn locks(&self) -> &InodeLocks {
        self.locks.get_or_init(Box::default)
    }

    /// The locks, if there have ever been any.
    pub fn locks_if_any(&self) -> Option<&InodeLocks> {
        self.locks.get().map(|b| &**b)
    }

    /// The watches, made if there are none yet.
    pub fn watches(&self) -> &Watches {
        self.watches.get_or_init(Box::default)
    }

    /// The watches, if there have ever been any.
    pub fn watches_if_any(&self) -> Option<&Watches> {
        self.watches.get().map(|b| &**b)
    }

    /// Counts a writer: ETXTBSY while the file is being executed.
    pub fn get_write(&self) -> Result<()> {
        self.step(1, |n| n >= 0)
    }

    /// Takes a writer back.
    pub fn put_write(&self) {
        self.writers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Counts an execution: ETXTBSY while the file is open for writing.
    pub fn deny_write(&self) -> Result<()> {
        self.step(-1, |n| n <= 0)
    }

    /// Takes an execution back.
    pub fn allow_write(&self) {
        self.writers.fetch_add(1, Ordering::AcqRel);
    }

    /// Open for writing so many times (F_SETLEASE, sealing).
    pub fn writers(&self) -> i32 {
        self.writers.load(Ordering::Acquire).max(0)
    }

    /// A write must look whether it takes privileges away.
    pub fn privileged(&self) -> bool {
        self.privileged.load(Ordering::Relaxed)
    }

    /// The file got setuid, setgid or file capabilities.
    pub fn set_privileged(&self) {
        self.privileged.store(true, Ordering::Relaxed);
    }

    fn step(&self, by: i32, allowed: impl Fn(i32) -> bool) -> Result<()> {
        let step = |n| if allowed(n) { n.checked_add(by) } else { None };
        match self
            .writers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, step)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::ETXTBSY),
        }
    }
}

/// An inode that stands for an open description without a path (a pipe, a socket, an epoll instance): what magic
/// links of /proc/PID/fd lead to.
pub struct FileInode {
    /// The description.
    pub file: Arc<File>,
    kind: FileType,
    ext: InodeExt,
}

impl FileInode {
    /// An inode for `file`.
    pub fn new(file: Arc<File>) -> Self {
        let kind = file
            .ops
            .stat(&file)
            .map_or(FileType::Anonymous, |s| FileType::from_mode(s.mode));
        Self {
            file,
            kind,
            ext: InodeExt::new(),
        }
    }
}

impl Inode for FileInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn ext(&self) -> &InodeExt {
        &self.ext
    }
    fn file_type(&self) -> FileType {
        self.kind
    }
    fn attr(&self) -> Result<Attr> {
        self.file.ops.stat(&self.file).map(|s| Attr::from_stat(&s))
    }
}
