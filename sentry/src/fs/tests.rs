//! What every writable file system must do, run on each of them.

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

fn files(w: &World) {
    assert_eq!(w.read("/a"), Err(Errno::ENOENT));
    w.write("/a", "hello").unwrap();
    assert_eq!(w.read("/a").unwrap(), "hello");
    let attr = w.attr("/a").unwrap();
    assert_eq!(
        (attr.size, attr.mode, attr.nlink),
        (5, libc::S_IFREG | 0o644, 1)
    );
    // O_EXCL, and a path that goes on after a file.
    assert_eq!(
        w.open("/a", RW | CREAT | libc::O_EXCL).err(),
        Some(Errno::EEXIST)
    );
    assert_eq!(w.open("/a/b", RW).err(), Some(Errno::ENOTDIR));
    assert_eq!(w.open("/a/", RW).err(), Some(Errno::ENOTDIR));
    assert_eq!(w.open("/n/", RW | CREAT).err(), Some(Errno::EISDIR));
    assert_eq!(w.open("/", RW).err(), Some(Errno::EISDIR));
    assert_eq!(w.open("/", CREAT).err(), Some(Errno::EISDIR));
    assert_eq!(w.open("/a", libc::O_DIRECTORY).err(), Some(Errno::ENOTDIR));
    assert_eq!(w.open("", RW).err(), Some(Errno::ENOENT));
    // A write at the end, a hole, a read past the end.
    let f = w.open("/a", RW).unwrap();
    assert_eq!(f.ops.write(&f, APPEND, &mut SliceSource(b"+")), Ok(1));
    assert_eq!(f.ops.append_position(), Some(6));
    assert_eq!(f.ops.write(&f, 8, &mut SliceSource(b"x")), Ok(1));
    assert_eq!(read_all(&f), "hello+\0\0x");
    assert_eq!(f.ops.read(&f, 9, &mut VecSink::new(4)), Ok(0));
    assert_eq!(f.attr().unwrap().size, 9);
    // Sizes.
    f.ops.truncate(&f, 3).unwrap();
    f.ops.truncate(&f, 5).unwrap();
    assert_eq!(read_all(&f), "hel\0\0");
    assert_eq!(f.ops.seek(&f, 0, SeekFrom::End(-1)), Ok(4));
    assert_eq!(f.ops.seek(&f, 0, SeekFrom::End(-6)), Err(Errno::EINVAL));
    assert_eq!(f.ops.seek(&f, 7, SeekFrom::Current(3)), Ok(10));
    assert_eq!(f.ops.seek(&f, 0, SeekFrom::Data(5)), Err(Errno::ENXIO));
    assert_eq!(f.ops.seek(&f, 0, SeekFrom::Hole(0)), Ok(5));
    // Unlinked, it goes on.
    w.unlink("/a").unwrap();
    assert_eq!(w.attr("/a").err(), Some(Errno::ENOENT));
    assert_eq!(f.attr().unwrap().nlink, 0);
    assert_eq!(read_all(&f), "hel\0\0");
    assert_eq!(f.path().unwrap().display(&w.env.root), b"/a (deleted)");
    // O_TRUNC.
    w.write("/a", "long text").unwrap();
    w.write("/a", "short").unwrap();
    assert_eq!(w.read("/a").unwrap(), "short");
    w.unlink("/a").unwrap();
}

fn large_and_sparse(w: &World) {
    let f = w.open("/big", RW | CREAT).unwrap();
    let block = vec![7u8; 100_000];
    for i in 0..10 {
        let n = f.ops.write(&f, i * 100_000, &mut SliceSource(&block));
        assert_eq!(n, Ok(100_000));
    }
    let mut sink = VecSink::new(2_000_000);
    assert_eq!(f.ops.read(&f, 0, &mut sink), Ok(1_000_000));
    assert!(sink.data.iter().all(|&b| b == 7));
    f.ops.write(&f, 1 << 30, &mut SliceSource(b"end")).unwrap();
    assert_eq!(f.attr().unwrap().size, (1 << 30) + 3);
    assert!(f.attr().unwrap().blocks * 512 < 16 << 20);
    assert!(f.ops.seek(&f, 0, SeekFrom::Hole(0)).unwrap() >= 1_000_000);
    assert!(f.ops.seek(&f, 0, SeekFrom::Data(2 << 20)).unwrap() <= 1 << 30);
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    f.ops.fallocate(&f, punch, 0, 8192).unwrap();
    let mut sink = VecSink::new(8193);
    f.ops.read(&f, 0, &mut sink).unwrap();
    assert_eq!((sink.data[0], sink.data[8191], sink.data[8192]), (0, 0, 7));
    w.unlink("/big").unwrap();
}

fn directories(w: &World) {
    w.mkdir("/d").unwrap();
    assert_eq!(w.mkdir("/d"), Err(Errno::EEXIST));
    assert_eq!(w.mkdir("/"), Err(Errno::EEXIST));
    assert_eq!(w.mkdir("/d/."), Err(Errno::EEXIST));
    assert_eq!(w.mkdir("/x/y"), Err(Errno::ENOENT));
    w.mkdir("/d/e/").unwrap();
    assert_eq!(w.attr("/d").unwrap().nlink, 3);
    w.write("/d/f", "").unwrap();
    assert_eq!(w.rmdir("/d"), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rmdir("/d/f"), Err(Errno::ENOTDIR));
    assert_eq!(w.unlink("/d/e"), Err(Errno::EISDIR));
    assert_eq!(w.unlink("/d/f/"), Err(Errno::ENOTDIR));
    assert_eq!(w.unlink("/d/none/"), Err(Errno::ENOENT));
    assert_eq!(w.rmdir("/d/."), Err(Errno::EINVAL));
    assert_eq!(w.rmdir("/d/e/.."), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rmdir("/"), Err(Errno::EBUSY));
    let list = w.list("/d").unwrap();
    let expect = [
        (".", libc::DT_DIR),
        ("..", libc::DT_DIR),
        ("e", libc::DT_DIR),
        ("f", libc::DT_REG),
    ];
    let expect = expect.map(|(n, t)| (n.to_string(), t));
    assert_eq!(list, BTreeMap::from(expect));
    // Gone, but somebody stands in it.
    let inside = w.open("/d/e", libc::O_DIRECTORY).unwrap();
    w.rmdir("/d/e").unwrap();
    let at = At::Dir(inside.to_path());
    let how = OpenHow::new((RW | CREAT) as u32, 0o644);
    assert_eq!(open(&w.env, &at, b"x", how).err(), Some(Errno::ENOENT));
    assert_eq!(inside.to_path().cwd_text(&w.env.root), None);
    w.unlink("/d/f").unwrap();
    w.rmdir("/d/").unwrap();
    assert_eq!(w.names("/"), "");
}

fn long_names(w: &World) {
    let name = "n".repeat(255);
    w.write(&format!("/{name}"), "x").unwrap();
    assert_eq!(
        w.attr(&format!("/{name}n")).err(),
        Some(Errno::ENAMETOOLONG)
    );
    assert_eq!(w.mkdir(&format!("/{name}n")), Err(Errno::ENAMETOOLONG));
    w.unlink(&format!("/{name}")).unwrap();
}

fn symlinks(w: &World) {
    w.mkdir("/d").unwrap();
    w.write("/d/f", "f").unwrap();
    w.symlink("f", "/d/rel").unwrap();
    w.symlink("/d/f", "/abs").unwrap();
    w.symlink("../d", "/d/up").unwrap();
    w.symlink("loop", "/loop").unwrap();
    w.symlink("none", "/dangling").unwrap();
    w.symlink("d/", "/slash").unwrap();
    assert_eq!(w.symlink("", "/empty"), Err(Errno::ENOENT));
    assert_eq!(w.symlink("x", "/abs"), Err(Errno::EEXIST));
    assert_eq!(w.symlink("x", "/new/"), Err(Errno::ENOENT));
    for path in ["/d/rel", "/abs", "/d/up/rel", "/d/up/up/up/f", "/slash/f"] {
        assert_eq!(w.read(path).unwrap(), "f", "{path}");
    }
    assert_eq!(w.read("/loop"), Err(Errno::ELOOP));
    assert_eq!(w.read("/dangling"), Err(Errno::ENOENT));
    assert_eq!(w.open("/abs", libc::O_NOFOLLOW).err(), Some(Errno::ELOOP));
    assert_eq!(w.open("/abs/", RW).err(), Some(Errno::ENOTDIR));
    assert_eq!(
        w.open("/dangling", RW | CREAT | libc::O_EXCL).err(),
        Some(Errno::EEXIST)
    );
    // Creation goes through a dangling link.
    w.write("/dangling", "made").unwrap();
    assert_eq!(w.read("/none").unwrap(), "made");
    let link = w.lat("/d/rel").unwrap();
    assert_eq!(names::readlink(&w.env, &link), Ok(b"f".to_vec()));
    assert_eq!(
        names::readlink(&w.env, &w.at("/d/rel").unwrap()),
        Err(Errno::EINVAL)
    );
    let attr = w.attr("/d/rel").unwrap();
    assert_eq!((attr.mode, attr.size), (libc::S_IFLNK | 0o777, 1));
    // A slash after the name follows.
    assert_eq!(w.attr("/slash/").unwrap().file_type(), FileType::Directory);
    assert_eq!(w.attr("/slash").unwrap().file_type(), FileType::Symlink);
    // Forty links at most.
    for i in 0..41 {
        w.symlink(&format!("l{}", i + 1), &format!("/l{i}"))
            .unwrap();
    }
    w.write("/l41", "end").unwrap();
    assert_eq!(w.read("/l1").unwrap(), "end");
    assert_eq!(w.read("/l0"), Err(Errno::ELOOP));
    for i in 0..42 {
        w.unlink(&format!("/l{i}")).unwrap();
    }
    for path in [
        "/d/rel",
        "/abs",
        "/d/up",
        "/loop",
        "/dangling",
        "/slash",
        "/none",
        "/d/f",
    ] {
        w.unlink(path).unwrap();
    }
    w.rmdir("/d").unwrap();
}

fn links(w: &World) {
    w.write("/a", "one").unwrap();
    w.link("/a", "/b").unwrap();
    assert_eq!(w.attr("/a").unwrap().ino, w.attr("/b").unwrap().ino);
    assert_eq!(w.attr("/b").unwrap().nlink, 2);
    w.write("/b", "two").unwrap();
    assert_eq!(w.read("/a").unwrap(), "two");
    assert_eq!(w.link("/a", "/b"), Err(Errno::EEXIST));
    w.mkdir("/d").unwrap();
    assert_eq!(w.link("/d", "/e"), Err(Errno::EPERM));
    // rename onto another name of the same file does nothing.
    w.rename("/a", "/b").unwrap();
    assert_eq!(w.attr("/a").unwrap().nlink, 2);
    w.unlink("/a").unwrap();
    assert_eq!(w.read("/b").unwrap(), "two");
    assert_eq!(w.attr("/b").unwrap().nlink, 1);
    w.unlink("/b").unwrap();
    w.rmdir("/d").unwrap();
}

fn renames(w: &World) {
    w.mkdir("/d").unwrap();
    w.mkdir("/e").unwrap();
    w.write("/d/f", "f").unwrap();
    w.write("/g", "g").unwrap();
    w.rename("/d/f", "/e/h").unwrap();
    assert_eq!(w.read("/e/h").unwrap(), "f");
    assert_eq!(w.attr("/d/f").err(), Some(Errno::ENOENT));
    assert_eq!(
        w.rename2("/g", "/e/h", RenameFlags::NOREPLACE),
        Err(Errno::EEXIST)
    );
    let held = w.open("/e/h", RW).unwrap();
    w.rename("/g", "/e/h").unwrap();
    assert_eq!(w.read("/e/h").unwrap(), "g");
    assert_eq!(read_all(&held), "f");
    // What may not replace what.
    assert_eq!(w.rename("/e/h", "/d"), Err(Errno::EISDIR));
    assert_eq!(w.rename("/d", "/e/h"), Err(Errno::ENOTDIR));
    assert_eq!(w.rename("/d", "/e"), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rename("/e", "/e/x"), Err(Errno::EINVAL));
    assert_eq!(w.rename("/e/h", "/e/x/"), Err(Errno::ENOTDIR));
    assert_eq!(w.rename("/none", "/x"), Err(Errno::ENOENT));
    assert_eq!(w.rename("/e/.", "/x"), Err(Errno::EBUSY));
    assert_eq!(w.rename("/e", "/"), Err(Errno::EBUSY));
    // Directories move, and those in them with them.
    w.rename("/e", "/d/e").unwrap();
    assert_eq!(w.read("/d/e/h").unwrap(), "g");
    assert_eq!(
        (w.attr("/").unwrap().nlink, w.attr("/d").unwrap().nlink),
        (3, 3)
    );
    assert_eq!(w.rename("/d", "/d/e/x"), Err(Errno::EINVAL));
    let place = w.at("/d/e/h").unwrap();
    w.rename("/d", "/moved").unwrap();
    assert_eq!(place.display(&w.env.root), b"/moved/e/h");
    assert_eq!(w.read("/moved/e/../e/h").unwrap(), "g");
    // Exchange.
    w.write("/file", "file").unwrap();
    w.rename2("/file", "/moved/e", RenameFlags::EXCHANGE)
        .unwrap();
    assert_eq!(w.read("/moved/e").unwrap(), "file");
    assert_eq!(w.read("/file/h").unwrap(), "g");
    assert_eq!(
        w.rename2("/file", "/none", RenameFlags::EXCHANGE),
        Err(Errno::ENOENT)
    );
    w.unlink("/file/h").unwrap();
    w.rmdir("/file").unwrap();
    w.unlink("/moved/e").unwrap();
    w.rmdir("/moved").unwrap();
    assert_eq!(w.names("/"), "");
}

fn attributes(w: &World) {
    w.write("/a", "x").unwrap();
    let a = w.at("/a").unwrap();
    change::chmod(&w.env, &a, 0o4755).unwrap();
    assert_eq!(w.attr("/a").unwrap().perm(), 0o4755);
    change::chown(&w.env, &a, Some(1000), None).unwrap();
    let attr = w.attr("/a").unwrap();
    assert_eq!((attr.uid, attr.gid, attr.perm()), (1000, 0, 0o755));
    let at = |sec, nsec| SetTime::At(Timestamp { sec, nsec });
    change::utimes(&w.env, &a, at(1, 5), at(2, 6)).unwrap();
    let attr = w.attr("/a").unwrap();
    assert_eq!(
        (attr.atime, attr.mtime.sec),
        (Timestamp { sec: 1, nsec: 5 }, 2)
    );
    change::utimes(&w.env, &a, SetTime::Omit, SetTime::Now).unwrap();
    assert_eq!(w.attr("/a").unwrap().atime.sec, 1);
    assert!(w.attr("/a").unwrap().mtime.sec > 1_000_000);
    change::truncate(&w.env, &a, 10, u64::MAX).unwrap();
    assert_eq!(w.attr("/a").unwrap().size, 10);
    assert_eq!(change::truncate(&w.env, &a, 100, 50), Err(Errno::EFBIG));
    xattr::set(&w.env, &a, b"user.k", b"v1", XattrFlags::CREATE).unwrap();
    let again = xattr::set(&w.env, &a, b"user.k", b"v2", XattrFlags::CREATE);
    assert_eq!(again, Err(Errno::EEXIST));
    xattr::set(&w.env, &a, b"user.k", b"v2", XattrFlags::REPLACE).unwrap();
    assert_eq!(xattr::get(&w.env, &a, b"user.k"), Ok(b"v2".to_vec()));
    assert_eq!(xattr::get(&w.env, &a, b"user.none"), Err(Errno::ENODATA));
    assert_eq!(xattr::list(&w.env, &a), Ok(b"user.k\0".to_vec()));
    xattr::remove(&w.env, &a, b"user.k").unwrap();
    assert_eq!(xattr::remove(&w.env, &a, b"user.k"), Err(Errno::ENODATA));
    w.unlink("/a").unwrap();
}

fn nodes(w: &World) {
    let make = |path: &str, mode, dev| {
        names::mknod(&w.env, &At::Cwd, path.as_bytes(), mode, dev).map(drop)
    };
    make("/fifo", libc::S_IFIFO | 0o666, Dev::default()).unwrap();
    make("/sock", libc::S_IFSOCK | 0o777, Dev::default()).unwrap();
    make("/plain", 0o600, Dev::default()).unwrap();
    assert_eq!(w.attr("/fifo").unwrap().mode, libc::S_IFIFO | 0o644);
    assert_eq!(w.attr("/sock").unwrap().file_type(), FileType::Socket);
    assert_eq!(w.open("/sock", RW).err(), Some(Errno::ENXIO));
    assert_eq!(
        make("/dir", libc::S_IFDIR, Dev::default()),
        Err(Errno::EPERM)
    );
    assert_eq!(make("/odd", 0o150000, Dev::default()), Err(Errno::EINVAL));
    if make("/null", libc::S_IFCHR | 0o666, Dev::new(1, 3)).is_ok() {
        assert_eq!(w.attr("/null").unwrap().rdev, Dev::new(1, 3));
        w.unlink("/null").unwrap();
    }
    for path in ["/fifo", "/sock", "/plain"] {
        w.unlink(path).unwrap();
    }
}

fn nameless(w: &World) {
    let f = w.open("/", RW | libc::O_TMPFILE).unwrap();
    f.ops.write(&f, 0, &mut SliceSource(b"temp")).unwrap();
    assert_eq!(f.attr().unwrap().nlink, 0);
    assert_eq!(w.names("/"), "");
    names::link(&w.env, &f.to_path(), &At::Cwd, b"/named").unwrap();
    assert_eq!(w.read("/named").unwrap(), "temp");
    assert_eq!(f.attr().unwrap().nlink, 1);
    let exclusive = w.open("/", RW | libc::O_TMPFILE | libc::O_EXCL).unwrap();
    let linked = names::link(&w.env, &exclusive.to_path(), &At::Cwd, b"/no");
    assert_eq!(linked, Err(Errno::ENOENT));
    assert_eq!(w.open("/", libc::O_TMPFILE).err(), Some(Errno::EINVAL));
    w.unlink("/named").unwrap();
}

fn permissions(w: &mut World) {
    w.mkdir("/d").unwrap();
    w.write("/d/f", "f").unwrap();
    change::chmod(&w.env, &w.at("/d/f").unwrap(), 0o640).unwrap();
    change::chown(&w.env, &w.at("/d/f").unwrap(), Some(1), Some(2)).unwrap();
    w.be(1, 9);
    assert_eq!(w.read("/d/f").unwrap(), "f");
    assert_eq!(w.open("/d/f", RW).err(), None);
    w.be(5, 2);
    assert_eq!(w.read("/d/f").unwrap(), "f");
    assert_eq!(w.open("/d/f", RW).err(), Some(Errno::EACCES));
    w.be(5, 5);
    assert_eq!(w.read("/d/f"), Err(Errno::EACCES));
    assert_eq!(w.unlink("/d/f"), Err(Errno::EACCES));
    assert_eq!(w.mkdir("/d/x"), Err(Errno::EACCES));
    assert_eq!(
        change::chmod(&w.env, &w.at("/d/f").unwrap(), 0),
        Err(Errno::EPERM)
    );
    assert_eq!(
        change::chown(&w.env, &w.at("/d/f").unwrap(), Some(5), None),
        Err(Errno::EPERM)
    );
    w.be(0, 0);
    // Sticky: only the owners remove.
    change::chmod(&w.env, &w.at("/d").unwrap(), 0o1777).unwrap();
    w.be(5, 5);
    assert_eq!(w.unlink("/d/f"), Err(Errno::EPERM));
    assert_eq!(w.rename("/d/f", "/d/g"), Err(Errno::EPERM));
    w.mkdir("/d/mine").unwrap();
    assert_eq!(w.attr("/d/mine").unwrap().uid, 5);
    w.rmdir("/d/mine").unwrap();
    w.be(1, 1);
    w.unlink("/d/f").unwrap();
    // setgid directories hand their group down.
    w.be(0, 0);
    change::chown(&w.env, &w.at("/d").unwrap(), None, Some(7)).unwrap();
    change::chmod(&w.env, &w.at("/d").unwrap(), 0o2777).unwrap();
    w.be(5, 5);
    w.mkdir("/d/sub").unwrap();
    w.write("/d/file", "").unwrap();
    let (sub, file) = (w.attr("/d/sub").unwrap(), w.attr("/d/file").unwrap());
    assert_eq!((sub.gid, sub.perm()), (7, 0o2755));
    assert_eq!((file.gid, file.perm()), (7, 0o644));
    // No search, no lookup.
    w.be(0, 0);
    change::chmod(&w.env, &w.at("/d").unwrap(), 0o600).unwrap();
    w.be(5, 5);
    assert_eq!(w.attr("/d/file").err(), Some(Errno::EACCES));
    assert_eq!(w.attr("/d/none").err(), Some(Errno::EACCES));
    assert_eq!(w.attr("/d/.").err(), Some(Errno::EACCES));
    w.be(0, 0);
    w.unlink("/d/file").unwrap();
    w.rmdir("/d/sub").unwrap();
    w.rmdir("/d").unwrap();
}

fn read_only(w: &World) {
    w.write("/a", "x").unwrap();
    let mount = &w.env.root.mount;
    mount.set_flags(MountFlags::RDONLY);
    assert_eq!(w.read("/a").unwrap(), "x");
    assert_eq!(w.open("/a", RW).err(), Some(Errno::EROFS));
    assert_eq!(w.open("/n", RW | CREAT).err(), Some(Errno::EROFS));
    assert_eq!(
        w.open("/a", RW | CREAT | libc::O_EXCL).err(),
        Some(Errno::EEXIST)
    );
    assert_eq!(w.mkdir("/d"), Err(Errno::EROFS));
    assert_eq!(w.mkdir("/a"), Err(Errno::EEXIST));
    assert_eq!(w.unlink("/a"), Err(Errno::EROFS));
    assert_eq!(w.rename("/a", "/b"), Err(Errno::EROFS));
    assert_eq!(
        change::chmod(&w.env, &w.at("/a").unwrap(), 0),
        Err(Errno::EROFS)
    );
    mount.set_flags(MountFlags::empty());
    w.unlink("/a").unwrap();
}

/// Everything, on one file system.
pub fn all(mut w: World) {
    files(&w);
    large_and_sparse(&w);
    directories(&w);
    long_names(&w);
    symlinks(&w);
    links(&w);
    renames(&w);
    attributes(&w);
    nodes(&w);
    nameless(&w);
    permissions(&mut w);
    read_only(&w);
    assert_eq!(w.names("/"), "");
}

#[test]
fn tmpfs_does_what_a_file_system_does() {
    all(World::tmp());
}

#[test]
fn an_exclusive_host_tree_does_what_a_file_system_does() {
    all(World::host(Sharing::Exclusive));
}

#[test]
fn a_shared_host_tree_does_what_a_file_system_does() {
    all(World::host(Sharing::Shared));
}

/// Words of the lower layer for the tests of an overlay.
fn lower(dir: &std::path::Path) {
    std::fs::create_dir_all(dir.join("d/sub")).unwrap();
    std::fs::write(dir.join("d/a"), "lower a").unwrap();
    std::fs::write(dir.join("d/sub/x"), "x").unwrap();
    std::fs::write(dir.join("one"), "linked").unwrap();
    std::fs::hard_link(dir.join("one"), dir.join("two")).unwrap();
    std::os::unix::fs::symlink("d/a", dir.join("link")).unwrap();
}

impl World {
    fn below(&self) -> &std::path::Path {
        &self._dir.as_ref().unwrap().0
    }

    fn lower_text(&self, path: &str) -> String {
        std::fs::read_to_string(self.below().join(path)).unwrap()
    }
}

#[test]
fn an_overlay_never_writes_below() {
    let w = World::overlay(lower);
    let before = w.attr("/d/a").unwrap();
    let reader = w.open("/d/a", libc::O_RDONLY).unwrap();
    let f = w.open("/d/a", RW).unwrap();
    f.ops.write(&f, 0, &mut SliceSource(b"UPPER")).unwrap();
    assert_eq!(w.read("/link").unwrap(), "UPPER a");
    assert_eq!(w.lower_text("d/a"), "lower a");
    // Same number, same file, also for who had it open before.
    assert_eq!(w.attr("/d/a").unwrap().ino, before.ino);
    assert_eq!(read_all(&reader), "UPPER a");
    w.unlink("/d/a").unwrap();
    assert_eq!(w.attr("/d/a").err(), Some(Errno::ENOENT));
    assert_eq!(w.names("/d"), "sub");
    assert_eq!(w.lower_text("d/a"), "lower a");
    // A new file of the name is new, and a new directory opaque.
    w.write("/d/a", "new").unwrap();
    assert_eq!(w.read("/d/a").unwrap(), "new");
    assert_eq!(w.names("/d"), "a sub");
    w.unlink("/d/sub/x").unwrap();
    w.rmdir("/d/sub").unwrap();
    w.mkdir("/d/sub").unwrap();
    assert_eq!(w.names("/d/sub"), "");
    assert_eq!(w.lower_text("d/sub/x"), "x");
}

#[test]
fn an_overlay_copies_attributes_without_contents() {
    let w = World::overlay(lower);
    change::chmod(&w.env, &w.at("/d/a").unwrap(), 0o600).unwrap();
    change::chmod(&w.env, &w.at("/d").unwrap(), 0o700).unwrap();
    let attr = w.attr("/d/a").unwrap();
    assert_eq!((attr.perm(), attr.size), (0o600, 7));
    // Contents are still those below.
    std::fs::write(w.below().join("d/a"), "changed").unwrap();
    assert_eq!(w.read("/d/a").unwrap(), "changed");
    change::truncate(&w.env, &w.at("/d/a").unwrap(), 2, u64::MAX).unwrap();
    assert_eq!(w.read("/d/a").unwrap(), "ch");
    assert_eq!(w.lower_text("d/a"), "changed");
}

#[test]
fn an_overlay_keeps_lower_links_one_file() {
    let w = World::overlay(lower);
    assert_eq!(w.attr("/one").unwrap().nlink, 2);
    let f = w.open("/one", RW).unwrap();
    f.ops.write(&f, 0, &mut SliceSource(b"LINKED")).unwrap();
    assert_eq!(w.read("/two").unwrap(), "LINKED");
    w.link("/two", "/three").unwrap();
    assert_eq!(w.attr("/one").unwrap().nlink, 3);
    w.unlink("/one").unwrap();
    assert_eq!(w.attr("/two").unwrap().nlink, 2);
    w.unlink("/two").unwrap();
    w.unlink("/three").unwrap();
    assert_eq!(f.attr().unwrap().nlink, 0);
    assert_eq!(read_all(&f), "LINKED");
}

#[test]
fn an_overlay_renames_lower_directories() {
    let w = World::overlay(lower);
    w.rename("/d", "/e").unwrap();
    assert_eq!(w.read("/e/sub/x").unwrap(), "x");
    assert_eq!(w.attr("/d").err(), Some(Errno::ENOENT));
    w.write("/e/sub/y", "y").unwrap();
    w.mkdir("/d").unwrap();
    assert_eq!(w.names("/d"), "");
    w.rename2("/d", "/e", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(w.names("/d/sub"), "x y");
    assert_eq!(w.rename("/e", "/d/sub"), Err(Errno::ENOTEMPTY));
    w.unlink("/d/sub/x").unwrap();
    w.unlink("/d/sub/y").unwrap();
    w.rename("/e", "/d/sub").unwrap();
    assert_eq!(w.names("/"), "d link one two");
    assert_eq!(w.lower_text("d/sub/x"), "x");
}

#[test]
fn changes_from_outside_are_seen() {
    let w = World::host(Sharing::Shared);
    assert_eq!(w.read("/f"), Err(Errno::ENOENT));
    std::fs::write(w.below().join("f"), "outside").unwrap();
    assert_eq!(w.read("/f").unwrap(), "outside");
    let f = w.open("/f", RW).unwrap();
    std::fs::write(w.below().join("f"), "longer than before").unwrap();
    assert_eq!(f.attr().unwrap().size, 18);
    std::fs::write(w.below().join("g"), "other").unwrap();
    std::fs::rename(w.below().join("g"), w.below().join("f")).unwrap();
    assert_eq!(w.read("/f").unwrap(), "other");
    assert_eq!(read_all(&f), "longer than before");
    std::fs::remove_file(w.below().join("f")).unwrap();
    assert_eq!(w.read("/f"), Err(Errno::ENOENT));
    // An exclusive tree takes up to a second.
    let w = World::host(Sharing::Exclusive);
    w.write("/f", "1").unwrap();
    assert_eq!(w.attr("/g").err(), Some(Errno::ENOENT));
    std::fs::rename(w.below().join("f"), w.below().join("g")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(w.attr("/f").err(), Some(Errno::ENOENT));
    assert_eq!(w.read("/g").unwrap(), "1");
}

#[test]
fn a_host_link_leads_nowhere_on_the_host() {
    let w = World::host(Sharing::Exclusive);
    std::os::unix::fs::symlink("/etc/passwd", w.below().join("out")).unwrap();
    std::os::unix::fs::symlink("/", w.below().join("root")).unwrap();
    assert_eq!(w.read("/out"), Err(Errno::ENOENT));
    w.write("/f", "here").unwrap();
    assert_eq!(w.read("/root/root/../f").unwrap(), "here");
    assert_eq!(w.at("/../../..").unwrap(), w.env.root);
}

#[test]
fn deep_trees_come_and_go() {
    let mut w = World::tmp();
    let top = w.env.cwd.clone();
    for _ in 0..20_000 {
        w.mkdir("d").unwrap();
        w.env.cwd = w.at("d").unwrap();
    }
    assert!(w.env.cwd.cwd_text(&w.env.root).unwrap().len() == 40_000);
    w.env.cwd = top;
    names::rename(&w.env, &At::Cwd, b"d", &At::Cwd, b"e", RenameFlags::empty()).unwrap();
    drop(w);
}

#[test]
fn limits_of_a_tmpfs_hold() {
    let options = Options::parse(b"size=64k,nr_inodes=5,mode=755,uid=3").unwrap();
    assert_eq!(
        (options.size, options.nr_inodes, options.mode),
        (Some(65536), Some(5), 0o755)
    );
    assert_eq!(Options::parse(b"size=abc"), Err(Errno::EINVAL));
    assert_eq!(Options::parse(b"nonsense"), Err(Errno::EINVAL));
    let w = World::on(TmpFs::create(options).unwrap(), None);
    let f = w.open("/f", RW | CREAT).unwrap();
    let block = vec![1u8; 100_000];
    assert_eq!(f.ops.write(&f, 0, &mut SliceSource(&block)), Ok(65536));
    assert_eq!(
        f.ops.write(&f, 65536, &mut SliceSource(&block)),
        Err(Errno::ENOSPC)
    );
    f.ops.truncate(&f, 0).unwrap();
    assert_eq!(f.ops.write(&f, 1 << 20, &mut SliceSource(b"x")), Ok(1));
    for name in ["/a", "/b", "/c"] {
        w.write(name, "").unwrap();
    }
    assert_eq!(w.write("/d", ""), Err(Errno::ENOSPC));
    w.unlink("/a").unwrap();
    w.write("/d", "").unwrap();
    let info = w.env.root.mount.sb().fs.statfs().unwrap();
    assert_eq!((info.files, info.ffree, info.blocks), (5, 0, 16));
}

#[test]
fn an_overlay_does_what_a_file_system_does() {
    all(World::overlay(|_| {}));
}

#[test]
fn a_single_host_file_can_be_mounted() {
    let w = World::tmp();
    w.write("/place", "below").unwrap();
    let dir = TempDir::new();
    let path = dir.0.join("file");
    std::fs::write(&path, "host").unwrap();
    for sharing in [Sharing::Shared, Sharing::Exclusive] {
        let fd = crate::host::fs::open_place(&path).unwrap();
        let root = HostFs::create(fd, sharing, true).unwrap();
        let mount = Mount::new(root, b"host", MountFlags::empty());
        w.ns.mount(&mount, &w.at("/place").unwrap()).unwrap();
        assert_eq!(w.read("/place").unwrap(), "host");
        w.write("/place", "guest").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"guest");
        let open = w.open("/place", RW).unwrap();
        open.ops.truncate(&open, 2).unwrap();
        let at = w.at("/place").unwrap();
        assert_eq!(at.inode().attr().unwrap().size, 2);
        assert_eq!(at.reach(&w.env.root), (b"/place".to_vec(), true));
        assert_eq!(w.unlink("/place"), Err(Errno::EBUSY));
        assert_eq!(w.rename("/place", "/other"), Err(Errno::EBUSY));
        assert_eq!(w.at("/place/x").err(), Some(Errno::ENOTDIR));
        assert_eq!(w.link("/place", "/other"), Err(Errno::EXDEV));
        at.mount.sb().fs.sync().unwrap();
        at.mount.sb().fs.statfs().unwrap();
        // The host's own replacement is another file.
        std::fs::write(dir.0.join("new"), "new").unwrap();
        std::fs::rename(dir.0.join("new"), &path).unwrap();
        assert_eq!(w.read("/place").unwrap(), "gu");
        drop((open, at));
        w.ns.umount(&mount, true).unwrap();
        std::fs::write(&path, "host").unwrap();
    }
}

#[test]
fn host_files_are_not_left_open_for_writing() {
    let w = World::host(Sharing::Exclusive);
    std::fs::copy("/bin/true", w.below().join("copied")).unwrap();
    let run = |name: &str| {
        for _ in 0..100 {
            match Command::new(w.below().join(name)).finish_within(PATIENCE) {
                // A fork of another test may hold the descriptor until it executes something.
                Err(why) if why.contains("Text file busy") => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                done => return done,
            }
        }
        Err("it stays busy".into())
    };
    // Opened for writing, read, written: then the host can execute it.
    w.write("/made", "#!/bin/true\n").unwrap();
    w.open("/copied", RW).unwrap();
    w.read("/made").unwrap();
    names::mknod(
        &w.env,
        &At::Cwd,
        b"/node",
        libc::S_IFREG | 0o755,
        Dev::default(),
    )
    .unwrap();
    std::fs::write(w.below().join("node"), "#!/bin/true\n").unwrap();
    for name in ["made", "copied", "node"] {
        let path = w.below().join(name);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        assert!(run(name).unwrap().status.success(), "{name}");
    }
}
