//! Overlays.

use super::common::all;
use super::*;

/// Words of the lower layer for the tests of an overlay.
fn lower(dir: &std::path::Path) {
    std::fs::create_dir_all(dir.join("d/sub")).unwrap();
    std::fs::write(dir.join("d/a"), "lower a").unwrap();
    std::fs::write(dir.join("d/sub/x"), "x").unwrap();
    std::fs::write(dir.join("one"), "linked").unwrap();
    std::fs::hard_link(dir.join("one"), dir.join("two")).unwrap();
    std::os::unix::fs::symlink("d/a", dir.join("link")).unwrap();
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
fn an_overlay_does_what_a_file_system_does() {
    all(World::overlay(|_| {}));
}
