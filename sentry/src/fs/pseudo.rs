//! Files that the kernel makes up when they are looked at: the common part of proc and sysfs.
//!
//! A directory is a [`Directory`] (what names it has now), a file a [`Text`] (what it says now, made once per open, at
//! the first read from position 0), a link a [`Symlink`]. [`Node`] gives each the inode.

use crate::executor::{PollEvents, WaitQueue};
use crate::user::{Sink, Source, VecSink};
use crate::vfs::attr::{Attr, Dev, FileType, SetAttr};
use crate::vfs::inode::{Inode, InodeExt, InodeRef, Link};
use crate::vfs::walk::Env;
use crate::vfs::{DirSink, File, FileOps, Path, SeekFrom};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A name in a directory.
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: FileType,
}

impl Entry {
    /// An entry.
    pub fn new(name: impl Into<Vec<u8>>, kind: FileType) -> Self {
        Self {
            name: name.into(),
            kind,
        }
    }
}

/// Who owns a file.
#[derive(Clone, Copy, Default)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// A directory whose names are made up.
pub trait Directory: Send + Sync + 'static {
    /// The inode behind a name, made anew or kept: ENOENT if there is none.
    fn lookup(&self, env: &Env<'_>, name: &[u8]) -> Result<InodeRef>;
    /// All names, in a stable order.
    fn list(&self, env: &Env<'_>) -> Result<Vec<Entry>>;
    /// Who owns it.
    fn owner(&self) -> Owner {
        Owner::default()
    }
    /// Link count.
    fn nlink(&self) -> u64 {
        2
    }
    /// ENOENT or ESRCH once what it describes has gone.
    fn alive(&self) -> Result<()> {
        Ok(())
    }
}

/// A file whose text is made up.
pub trait Text: Send + Sync + 'static {
    /// What it says now.
    fn read(&self, env: &Env<'_>) -> Result<Vec<u8>>;
    /// Whether it may be opened with open(2) flags `flags`, beyond what its mode says.
    fn open(&self, _env: &Env<'_>, _flags: u32) -> Result<()> {
        Ok(())
    }
    /// What stat(2) says of its size.
    fn size(&self) -> u64 {
        0
    }
    /// What poll(2) watches: its changes are exceptional conditions.
    fn watch(&self) -> Option<Arc<dyn Watch>> {
        None
    }
    /// A write, of the whole text at once; EACCES-like errors are the implementation's.
    fn write(&self, _env: &Env<'_>, _data: &[u8]) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// Who owns it.
    fn owner(&self) -> Owner {
        Owner::default()
    }
}

impl<F: Fn(&Env<'_>) -> Result<Vec<u8>> + Send + Sync + 'static> Text for F {
    fn read(&self, env: &Env<'_>) -> Result<Vec<u8>> {
        self(env)
    }
}

/// Something that counts its changes.
pub trait Watch: Send + Sync {
    /// Notified at every change.
    fn queue(&self) -> &WaitQueue;
    /// How many there have been.
    fn version(&self) -> u64;
}

/// A symbolic link that is made up, perhaps a magic one.
pub trait Symlink: Send + Sync + 'static {
    /// Its text.
    fn text(&self, env: &Env<'_>) -> Result<Vec<u8>>;
    /// Where it leads without regard to the text.
    fn jump(&self, _env: &Env<'_>) -> Option<Result<Path>> {
        None
    }
    /// Whether it jumps.
    fn magic(&self) -> bool {
        false
    }
    /// Its permission bits.
    fn mode(&self) -> u32 {
        0o777
    }
    /// Who owns it.
    fn owner(&self) -> Owner {
        Owner::default()
    }
}

/// A file for raw access at any position (/proc/PID/mem, /proc/PID/pagemap).
pub trait Raw: Send + Sync + 'static {
    /// What opens it.
    fn open(&self, env: &Env<'_>, flags: u32) -> Result<Box<dyn FileOps>>;
    /// Who owns it.
    fn owner(&self) -> Owner {
        Owner::default()
    }
}

enum Kind {
    Dir(Arc<dyn Directory>),
    Text(Arc<dyn Text>),
    Link(Box<dyn Symlink>),
    Raw(Box<dyn Raw>),
}

/// An inode that is made up.
pub struct Node {
    dev: Dev,
    ino: u64,
    mode: u32,
    kind: Kind,
    ext: InodeExt,
}

impl Node {
    fn make(dev: Dev, ino: u64, mode: u32, kind: Kind) -> InodeRef {
        Arc::new(Self {
            dev,
            ino,
            mode,
            kind,
            ext: InodeExt::new(),
        })
    }

    /// A directory. `mode` holds permission bits.
    pub fn dir(dev: Dev, ino: u64, mode: u32, dir: impl Directory) -> InodeRef {
        Self::make(dev, ino, mode, Kind::Dir(Arc::new(dir)))
    }

    /// A file.
    pub fn text(dev: Dev, ino: u64, mode: u32, text: impl Text) -> InodeRef {
        Self::make(dev, ino, mode, Kind::Text(Arc::new(text)))
    }

    /// A symbolic link.
    pub fn link(dev: Dev, ino: u64, link: impl Symlink) -> InodeRef {
        Self::make(dev, ino, 0o777, Kind::Link(Box::new(link)))
    }

    /// A file for raw access.
    pub fn raw(dev: Dev, ino: u64, mode: u32, raw: impl Raw) -> InodeRef {
        Self::make(dev, ino, mode, Kind::Raw(Box::new(raw)))
    }

    fn owner(&self) -> Owner {
        match &self.kind {
            Kind::Dir(d) => d.owner(),
            Kind::Text(t) => t.owner(),
            Kind::Link(l) => l.owner(),
            Kind::Raw(r) => r.owner(),
        }
    }
}

impl Inode for Node {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn file_type(&self) -> FileType {
        match self.kind {
            Kind::Dir(_) => FileType::Directory,
            Kind::Text(_) | Kind::Raw(_) => FileType::Regular,
            Kind::Link(_) => FileType::Symlink,
        }
    }

    fn attr(&self) -> Result<Attr> {
        if let Kind::Dir(d) = &self.kind {
            d.alive()?;
        }
        let owner = self.owner();
        let mode = match &self.kind {
            Kind::Link(l) => l.mode(),
            _ => self.mode,
        };
        let mut attr = Attr::new(self.dev, self.ino, self.file_type().mode() | mode);
        attr.uid = owner.uid;
        attr.gid = owner.gid;
        if let Kind::Text(t) = &self.kind {
            attr.size = t.size();
        }
        if let Kind::Dir(d) = &self.kind {
            attr.nlink = u32::try_from(d.nlink()).unwrap_or(u32::MAX);
        }
        Ok(attr)
    }

    /// O_TRUNC of a file that is written is not an error and does nothing.
    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        let only_size = change.size.is_some() && change.perm.is_none() && change.uid.is_none();
        if only_size && matches!(self.kind, Kind::Text(_)) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    fn lookup(&self, env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        match &self.kind {
            Kind::Dir(d) => d.lookup(env, name),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn revalidate(
        &self,
        _env: &Env<'_>,
        _name: &[u8],
        _child: Option<&InodeRef>,
        _checked: &std::sync::atomic::AtomicU64,
    ) -> bool {
        // Names are made up anew at every look.
        false
    }

    fn readlink(&self, env: &Env<'_>) -> Result<Vec<u8>> {
        match &self.kind {
            Kind::Link(l) => l.text(env),
            _ => Err(Errno::EINVAL),
        }
    }

    fn follow(&self, env: &Env<'_>) -> Result<Link> {
        match &self.kind {
            Kind::Link(l) => match l.jump(env) {
                Some(path) => path.map(Link::Jump),
                None => l.text(env).map(Link::Text),
            },
            _ => Err(Errno::EINVAL),
        }
    }

    fn is_magic_link(&self) -> bool {
        matches!(&self.kind, Kind::Link(l) if l.magic())
    }

    fn open(&self, env: &Env<'_>, _path: &Path, flags: u32) -> Result<Box<dyn FileOps>> {
        match &self.kind {
            Kind::Dir(d) => {
                d.alive()?;
                Ok(Box::new(OpenDir {
                    dir: Arc::clone(d),
                    ino: self.ino,
                    entries: Mutex::new(None),
                }))
            }
            Kind::Text(t) => {
                t.open(env, flags)?;
                let watch = t.watch();
                Ok(Box::new(OpenText {
                    text: Arc::clone(t),
                    env: Owned::of(env),
                    now: Mutex::new(None),
                    seen: AtomicU64::new(watch.as_ref().map_or(0, |w| w.version())),
                    watch,
                }))
            }
            Kind::Raw(r) => r.open(env, flags),
            Kind::Link(_) => Err(Errno::ELOOP),
        }
    }
}

/// What of an [`Env`] an open file keeps: who opened it.
struct Owned {
    creds: Arc<crate::task::Creds>,
    root: Path,
    cwd: Path,
}

impl Owned {
    fn of(env: &Env<'_>) -> Self {
        Self {
            creds: Arc::clone(&env.creds),
            root: env.root.clone(),
            cwd: env.cwd.clone(),
        }
    }

    fn env(&self) -> Env<'static> {
        Env {
            creds: Arc::clone(&self.creds),
            root: self.root.clone(),
            cwd: self.cwd.clone(),
            umask: 0,
            cx: None,
        }
    }
}

struct OpenText {
    text: Arc<dyn Text>,
    env: Owned,
    /// What the reads go on with; made anew by a read from the start.
    now: Mutex<Option<Arc<Vec<u8>>>>,
    watch: Option<Arc<dyn Watch>>,
    /// The version that poll(2) has told of.
    seen: AtomicU64,
}

/// Writes to a made-up file at most.
const MAX_WRITE: usize = 1 << 16;

impl FileOps for OpenText {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        let kept = self.now.lock().clone();
        let text = match kept {
            Some(text) if offset > 0 => text,
            _ => {
                let made = Arc::new(self.text.read(&self.env.env())?);
                *self.now.lock() = Some(Arc::clone(&made));
                made
            }
        };
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(text.len());
        dst.write(&text[from..])
    }

    fn write(&self, _file: &File, _offset: u64, src: &mut dyn Source) -> Result<usize> {
        let mut data = vec![0; src.remaining().min(MAX_WRITE)];
        let n = src.read(&mut data)?;
        self.text.write(&self.env.env(), &data[..n])?;
        *self.now.lock() = None;
        Ok(n)
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let mut ready = PollEvents::READABLE | PollEvents::WRITABLE;
        if let Some(watch) = &self.watch {
            let now = watch.version();
            if self.seen.swap(now, Ordering::AcqRel) != now {
                ready |= PollEvents::PRI | PollEvents::ERR;
            }
        }
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.watch.as_ref().map(|w| w.queue())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        seek_simple(pos, to)
    }
}

/// lseek(2) of a file without a size: SEEK_SET and SEEK_CUR.
pub fn seek_simple(pos: u64, to: SeekFrom) -> Result<u64> {
    let target = match to {
        SeekFrom::Start(n) => n,
        SeekFrom::Current(n) => pos.cast_signed().checked_add(n).ok_or(Errno::EOVERFLOW)?,
        _ => return Err(Errno::EINVAL),
    };
    u64::try_from(target).map_err(|_| Errno::EINVAL)
}

struct OpenDir {
    dir: Arc<dyn Directory>,
    ino: u64,
    entries: Mutex<Option<Vec<Entry>>>,
}

impl FileOps for OpenDir {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        seek_simple(pos, to)
    }

    fn read(&self, _file: &File, _offset: u64, _dst: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let mut entries = self.entries.lock();
        if *pos == 0 || entries.is_none() {
            let Some(path) = file.path() else {
                return Err(Errno::ENOENT);
            };
            let env = Env {
                creds: Arc::new(crate::task::Creds::root()),
                root: path.clone(),
                cwd: path.clone(),
                umask: 0,
                cx: None,
            };
            *entries = Some(self.dir.list(&env)?);
        }
        let list = entries.as_deref().unwrap_or_default();
        loop {
            let at = *pos;
            let taken = match at {
                0 => sink.entry(self.ino, 1, FileType::Directory.dtype(), b"."),
                1 => sink.entry(self.ino, 2, FileType::Directory.dtype(), b".."),
                _ => {
                    let index = usize::try_from(at - 2).unwrap_or(usize::MAX);
                    let Some(entry) = list.get(index) else {
                        return Ok(());
                    };
                    sink.entry(
                        name_ino(self.ino, &entry.name),
                        at + 1,
                        entry.kind.dtype(),
                        &entry.name,
                    )
                }
            };
            if !taken {
                return Ok(());
            }
            *pos += 1;
        }
    }
}

/// A stable inode number for a name in directory `parent` (FNV-1a).
pub fn name_ino(parent: u64, name: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ parent;
    for byte in name {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash & 0x7fff_ffff) | 0x1_0000_0000
}

/// Everything that a made-up file says, for tests and for those who copy it.
pub fn read_all(ops: &dyn FileOps, file: &File) -> Result<Vec<u8>> {
    let mut sink = VecSink::new(1 << 20);
    ops.read(file, 0, &mut sink)?;
    Ok(sink.data)
}
