//! Trees of the host.

use super::common::all;
use super::*;

#[test]
fn an_exclusive_host_tree_does_what_a_file_system_does() {
    all(World::host(Sharing::Exclusive));
}

#[test]
fn a_shared_host_tree_does_what_a_file_system_does() {
    all(World::host(Sharing::Shared));
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

/// A file that is read often enough to be read from a mapping.
fn warm(file: &Arc<File>, text: &str) {
    for _ in 0..40 {
        assert_eq!(read_all(file), text);
    }
}

#[test]
fn what_is_read_often_is_never_old() {
    let w = World::host(Sharing::Exclusive);
    let long = "x".repeat(5000);
    w.write("/f", &long).unwrap();
    let reader = w.open("/f", libc::O_RDONLY).unwrap();
    warm(&reader, &long);
    // Written by us: through another description, by truncation, at the end.
    w.write("/f", "short").unwrap();
    warm(&reader, "short");
    let writer = w.open("/f", RW).unwrap();
    for size in [9000, 3, 0, 8192] {
        writer.ops.truncate(&writer, size).unwrap();
        assert_eq!(read_all(&reader).len() as u64, size);
        let text = format!("{size:5}").repeat(1000);
        let mut source = SliceSource(text.as_bytes());
        writer.ops.write(&writer, 0, &mut source).unwrap();
        let seen = read_all(&reader);
        assert_eq!(seen[..5000], text);
        warm(&reader, &seen);
        writer
            .ops
            .write(&writer, APPEND, &mut SliceSource(b"more"))
            .unwrap();
        let seen = seen + "more";
        warm(&reader, &seen);
        // Written by somebody else, in place: the same pages.
        std::fs::write(w.below().join("f"), seen.to_uppercase()).unwrap();
        warm(&reader, &seen.to_uppercase());
    }
    // Cut by somebody else: no signal, and no more than is there.
    let before = read_all(&reader).len();
    let outside = std::fs::File::options()
        .write(true)
        .open(w.below().join("f"))
        .unwrap();
    outside.set_len(1).unwrap();
    assert!(read_all(&reader).len() <= before);
    // Without a name it is still there.
    drop(outside);
    w.write("/f", "last").unwrap();
    w.unlink("/f").unwrap();
    warm(&reader, "last");
}

#[test]
fn holes_are_left_alone() {
    use std::os::unix::fs::MetadataExt;
    let w = World::host(Sharing::Exclusive);
    w.write("/f", "x").unwrap();
    let file = w.open("/f", RW).unwrap();
    file.ops.truncate(&file, 1 << 20).unwrap();
    let before = std::fs::metadata(w.below().join("f")).unwrap().blocks();
    for _ in 0..8 {
        assert_eq!(read_all(&file).len(), 1 << 20);
    }
    let after = std::fs::metadata(w.below().join("f")).unwrap().blocks();
    assert_eq!(before, after);
}
