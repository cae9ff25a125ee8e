//! What every writable file system must do.

use super::*;

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
