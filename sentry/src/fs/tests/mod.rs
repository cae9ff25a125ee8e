//! Tests of file systems: a world to run them in ([`World`]), what each must do ([`common`]), and what only one does.

mod common;
mod host;
mod overlay;
mod tmp;

use super::host::{HostFs, Sharing};
use super::overlay::OverlayFs;
use super::tmp::{Options, TmpFs};
use crate::task::{Creds, cap};
use crate::user::{SliceSource, VecSink};
use crate::vfs::change::{self, SetTime};
use crate::vfs::open::{OpenHow, open};
use crate::vfs::{
    APPEND, At, Attr, Dentry, Dev, DirSink, Env, File, FileType, Mount, MountFlags, MountNamespace,
    Path, RenameFlags, SeekFrom, Timestamp, WalkFlags, XattrFlags, names, xattr,
};
use arch::{Errno, Result};
use bounded::{Bounded, PATIENCE};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

/// A namespace of one mount, and calls on it as a process would make them.
pub struct World {
    pub env: Env<'static>,
    pub ns: Arc<MountNamespace>,
    /// Of a host tree, and below an overlay.
    _dir: Option<TempDir>,
}

/// A directory of the host that goes with the test.
pub struct TempDir(pub std::path::PathBuf);

impl TempDir {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sentry-fs-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const RW: i32 = libc::O_RDWR;
const CREAT: i32 = libc::O_CREAT;

impl World {
    pub fn on(root: Arc<Dentry>, dir: Option<TempDir>) -> Self {
        let ns = MountNamespace::new(Mount::new(root, b"test", MountFlags::empty()));
        let root = ns.root_path();
        let creds = Arc::new(Creds::root());
        let env = Env {
            creds,
            cwd: root.clone(),
            root,
            umask: 0o022,
            cx: None,
        };
        Self { env, ns, _dir: dir }
    }

    pub fn tmp() -> Self {
        Self::on(TmpFs::create(Options::default()).unwrap(), None)
    }

    pub fn host(sharing: Sharing) -> Self {
        let dir = TempDir::new();
        let fd = crate::host::fs::open_dir(&dir.0).unwrap();
        Self::on(HostFs::create(fd, sharing, true).unwrap(), Some(dir))
    }

    /// An overlay over a directory that `fill` has filled.
    pub fn overlay(fill: impl FnOnce(&std::path::Path)) -> Self {
        let dir = TempDir::new();
        fill(&dir.0);
        let fd = crate::host::fs::open_dir(&dir.0).unwrap();
        Self::on(OverlayFs::create(fd).unwrap(), Some(dir))
    }

    pub fn be(&mut self, uid: u32, gid: u32) {
        let caps = if uid == 0 { cap::ALL } else { 0 };
        self.env.creds = Arc::new(Creds::with(uid, gid, &[], caps));
    }

    pub fn at(&self, path: &str) -> Result<Path> {
        self.env
            .resolve(&At::Cwd, path.as_bytes(), WalkFlags::FOLLOW)
    }

    pub fn lat(&self, path: &str) -> Result<Path> {
        self.env
            .resolve(&At::Cwd, path.as_bytes(), WalkFlags::empty())
    }

    pub fn attr(&self, path: &str) -> Result<Attr> {
        self.lat(path)?.inode().attr()
    }

    pub fn open(&self, path: &str, flags: i32) -> Result<Arc<File>> {
        open(
            &self.env,
            &At::Cwd,
            path.as_bytes(),
            OpenHow::new(flags as u32, 0o644),
        )
    }

    pub fn mkdir(&self, path: &str) -> Result<()> {
        names::mkdir(&self.env, &At::Cwd, path.as_bytes(), 0o755).map(drop)
    }

    pub fn unlink(&self, path: &str) -> Result<()> {
        names::unlink(&self.env, &At::Cwd, path.as_bytes())
    }

    pub fn rmdir(&self, path: &str) -> Result<()> {
        names::rmdir(&self.env, &At::Cwd, path.as_bytes())
    }

    pub fn symlink(&self, target: &str, path: &str) -> Result<()> {
        names::symlink(&self.env, target.as_bytes(), &At::Cwd, path.as_bytes())
    }

    pub fn link(&self, old: &str, new: &str) -> Result<()> {
        names::link(&self.env, &self.lat(old)?, &At::Cwd, new.as_bytes())
    }

    pub fn rename(&self, old: &str, new: &str) -> Result<()> {
        self.rename2(old, new, RenameFlags::empty())
    }

    pub fn rename2(&self, old: &str, new: &str, flags: RenameFlags) -> Result<()> {
        let (old, new) = (old.as_bytes(), new.as_bytes());
        names::rename(&self.env, &At::Cwd, old, &At::Cwd, new, flags)
    }

    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.open(path, libc::O_WRONLY | CREAT | libc::O_TRUNC)?;
        let n = file
            .ops
            .write(&file, 0, &mut SliceSource(text.as_bytes()))?;
        assert_eq!(n, text.len());
        Ok(())
    }

    pub fn read(&self, path: &str) -> Result<String> {
        let file = self.open(path, libc::O_RDONLY)?;
        Ok(read_all(&file))
    }

    pub fn list(&self, path: &str) -> Result<BTreeMap<String, u8>> {
        let file = self.open(path, libc::O_RDONLY | libc::O_DIRECTORY)?;
        let mut all = Names::default();
        let mut pos = 0;
        file.ops.readdir(&file, &mut pos, &mut all)?;
        Ok(all.0)
    }

    pub fn names(&self, path: &str) -> String {
        let all = self.list(path).unwrap();
        let names: Vec<_> = all
            .keys()
            .filter(|n| !n.starts_with('.'))
            .cloned()
            .collect();
        names.join(" ")
    }
}

pub fn read_all(file: &Arc<File>) -> String {
    let mut sink = VecSink::new(1 << 20);
    file.ops.read(file, 0, &mut sink).unwrap();
    String::from_utf8(sink.data).unwrap()
}

#[derive(Default)]
struct Names(BTreeMap<String, u8>);

impl DirSink for Names {
    fn entry(&mut self, _ino: u64, _next: u64, dtype: u8, name: &[u8]) -> bool {
        let new = self
            .0
            .insert(String::from_utf8(name.to_vec()).unwrap(), dtype)
            .is_none();
        assert!(new, "a name came twice");
        true
    }
}

impl World {
    pub fn below(&self) -> &std::path::Path {
        &self._dir.as_ref().unwrap().0
    }

    pub fn lower_text(&self, path: &str) -> String {
        std::fs::read_to_string(self.below().join(path)).unwrap()
    }
}
