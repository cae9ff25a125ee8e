//! Path walk, mounts, descriptor tables.

use super::fdtable::FdTable;
use super::open::{OpenHow, open};
use super::walk::{At, WalkFlags};
use super::{File, FsContext, Mount, MountFlags, Path};
use crate::fs::tests::World;
use crate::fs::tmp::{Options, TmpFs};
use crate::syscalls::Fd;
use arch::{Errno, Result};
use std::sync::Arc;

fn world() -> World {
    let w = World::tmp();
    for dir in ["/a", "/a/b", "/m"] {
        w.mkdir(dir).unwrap();
    }
    w.write("/a/f", "f").unwrap();
    w
}

fn scoped(w: &World, path: &str, flags: WalkFlags) -> Result<Path> {
    let at = At::Dir(w.at("/a").unwrap());
    w.env
        .resolve(&at, path.as_bytes(), flags | WalkFlags::FOLLOW)
}

fn mount_tmpfs(w: &World, at: &str) -> Arc<Mount> {
    let mount = TmpFs::mount(Options::default(), MountFlags::empty()).unwrap();
    w.ns.mount(&mount, &w.at(at).unwrap()).unwrap();
    mount
}

#[test]
fn a_scope_is_not_left() {
    let w = world();
    w.symlink("/f", "/a/abs").unwrap();
    w.symlink("../../a/f", "/a/b/up").unwrap();
    let beneath = WalkFlags::BENEATH;
    assert!(scoped(&w, "f", beneath).is_ok());
    assert!(scoped(&w, "b/../f", beneath).is_ok());
    for path in ["..", "/f", "abs", "b/up", "b/../../a/f"] {
        assert_eq!(scoped(&w, path, beneath), Err(Errno::EXDEV), "{path}");
    }
    let in_root = WalkFlags::IN_ROOT;
    let f = w.at("/a/f").unwrap();
    for path in ["f", "/f", "abs", "../../f", "b/../../../f"] {
        assert_eq!(scoped(&w, path, in_root).as_ref(), Ok(&f), "{path}");
    }
    assert_eq!(scoped(&w, "b/up", in_root), Err(Errno::ENOENT));
    assert_eq!(scoped(&w, "abs", WalkFlags::NO_SYMLINKS), Err(Errno::ELOOP));
    assert!(scoped(&w, "", WalkFlags::EMPTY).is_ok());
    assert_eq!(scoped(&w, "", WalkFlags::empty()), Err(Errno::ENOENT));
}

#[test]
fn mounts_are_crossed_both_ways() {
    let w = world();
    w.write("/m/covered", "").unwrap();
    let mount = mount_tmpfs(&w, "/m");
    assert_eq!(w.names("/m"), "");
    w.write("/m/inside", "i").unwrap();
    assert_eq!(w.at("/m/..").unwrap(), w.env.root);
    assert_eq!(
        w.at("/m/inside").unwrap().display(&w.env.root),
        b"/m/inside"
    );
    assert_eq!(w.rmdir("/m"), Err(Errno::EBUSY));
    assert_eq!(w.rename("/m", "/n"), Err(Errno::EBUSY));
    assert_eq!(w.rename("/a/f", "/m/f"), Err(Errno::EXDEV));
    assert_eq!(w.link("/a/f", "/m/f"), Err(Errno::EXDEV));
    let at = At::Dir(w.env.root.clone());
    let cross = w.env.resolve(&at, b"m/inside", WalkFlags::NO_XDEV);
    assert_eq!(cross, Err(Errno::EXDEV));
    // A second one on top, and both away again.
    let second = mount_tmpfs(&w, "/m");
    assert_eq!(w.names("/m"), "");
    assert_eq!(w.at("/m/..").unwrap(), w.env.root);
    w.ns.umount(&second, false).unwrap();
    drop(second);
    assert_eq!(w.names("/m"), "inside");
    let held = w.open("/m/inside", libc::O_RDONLY).unwrap();
    assert_eq!(w.ns.umount(&mount, false), Err(Errno::EBUSY));
    w.ns.umount(&mount, true).unwrap();
    assert_eq!(w.names("/m"), "covered");
    assert_eq!(crate::fs::tests::read_all(&held), "i");
    assert_eq!(w.ns.umount(&w.ns.root(), true), Err(Errno::EINVAL));
}

#[test]
fn mount_tables_tell_the_tree() {
    let w = world();
    w.mkdir("/m/with space").unwrap();
    mount_tmpfs(&w, "/m/with space");
    let mut text = Vec::new();
    for info in w.ns.list(&w.env.root) {
        info.mounts_line(&mut text);
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(
        text,
        "test / tmpfs rw 0 0\ntmpfs /m/with\\040space tmpfs rw 0 0\n"
    );
    let mut line = Vec::new();
    let infos = w.ns.list(&w.env.root);
    infos[1].mountinfo_line(&mut line);
    let line = String::from_utf8(line).unwrap();
    let (ids, rest) = line.split_once(" / ").unwrap();
    assert_eq!(rest, "/m/with\\040space rw - tmpfs tmpfs rw\n");
    assert!(ids.starts_with(&format!("{} {} 0:", infos[1].mount.id, infos[0].mount.id)));
}

#[test]
fn a_copied_namespace_goes_its_own_way() {
    let w = world();
    mount_tmpfs(&w, "/m");
    w.write("/m/x", "").unwrap();
    let fs = FsContext::new(Arc::clone(&w.ns));
    let own = fs.fork_namespace();
    let mount = w.at("/m").unwrap().mount;
    w.ns.umount(&mount, true).unwrap();
    assert_eq!(w.names("/m"), "");
    let (root, cwd) = own.root_and_cwd();
    let env = super::Env {
        creds: w.env.creds.clone(),
        root,
        cwd,
        umask: 0,
        cx: None,
    };
    assert!(env.resolve(&At::Cwd, b"/m/x", WalkFlags::FOLLOW).is_ok());
}

#[test]
fn a_changed_root_is_the_end_of_up() {
    let mut w = world();
    let a = w.at("/a").unwrap();
    w.env.root = a.clone();
    assert_eq!(w.at("/../..").unwrap(), a);
    assert_eq!(w.read("/f").unwrap(), "f");
    // The working directory is outside: its path says so.
    let text = w.env.cwd.cwd_text(&w.env.root);
    assert_eq!(text.unwrap(), b"(unreachable)/");
    w.env.cwd = w.at("/b").unwrap();
    assert_eq!(w.env.cwd.cwd_text(&w.env.root).unwrap(), b"/b");
}

#[test]
fn a_path_descriptor_names_a_place() {
    let w = world();
    let how = OpenHow::new((libc::O_PATH | libc::O_RDWR) as u32, 0);
    let place = open(&w.env, &At::Cwd, b"/a", how).unwrap();
    assert!(place.is_path_only() && !place.readable() && !place.writable());
    let at = At::Dir(place.to_path());
    assert!(w.env.resolve(&at, b"f", WalkFlags::empty()).is_ok());
    let files = FdTable::new();
    let fd = files.install(place, false, 10).unwrap();
    assert_eq!(files.get(fd).err(), Some(Errno::EBADF));
    assert!(files.get_raw(fd).is_ok());
}

fn some_file(w: &World) -> Arc<File> {
    w.open("/a/f", libc::O_RDONLY).unwrap()
}

#[test]
fn descriptors_are_the_lowest_free() {
    let w = world();
    let files = FdTable::new();
    let file = some_file(&w);
    for n in 0..130 {
        assert_eq!(files.install(file.clone(), false, 200), Ok(Fd(n)));
    }
    for n in [3, 64, 100] {
        files.close(Fd(n)).unwrap();
        assert_eq!(files.close(Fd(n)), Err(Errno::EBADF));
    }
    assert_eq!(files.install_from(64, file.clone(), true, 200), Ok(Fd(64)));
    assert_eq!(files.cloexec(Fd(64)), Ok(true));
    assert_eq!(files.install(file.clone(), false, 200), Ok(Fd(3)));
    assert_eq!(
        files.install_from(500, file.clone(), false, 200),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        files.install_from(150, file.clone(), false, 200),
        Ok(Fd(150))
    );
    assert_eq!(files.install(file.clone(), false, 100), Err(Errno::EMFILE));
    assert_eq!(files.install(file.clone(), false, 101), Ok(Fd(100)));
    assert_eq!(files.len(), 131);
    files.close_range(10, u32::MAX, false);
    assert_eq!(files.len(), 10);
    files.replace(Fd(5), file.clone(), true, 200).unwrap();
    assert_eq!(
        files.replace(Fd(200), file.clone(), true, 200),
        Err(Errno::EBADF)
    );
    assert_eq!(
        files.replace(Fd(-1), file.clone(), true, 200),
        Err(Errno::EBADF)
    );
    files.replace(Fd(190), file, false, 200).unwrap();
    files.exec();
    assert_eq!(files.get(Fd(5)).err(), Some(Errno::EBADF));
    assert_eq!(files.len(), 10);
}

#[test]
fn a_reserved_number_is_nobodys_yet() {
    let w = world();
    let files = FdTable::new();
    let file = some_file(&w);
    let slot = files.reserve(10).unwrap();
    assert_eq!(files.get(slot.fd()).err(), Some(Errno::EBADF));
    assert_eq!(
        files.replace(slot.fd(), file.clone(), false, 10),
        Err(Errno::EBUSY)
    );
    let copy = files.fork();
    assert_eq!(copy.install(file.clone(), false, 10), Ok(Fd(0)));
    assert_eq!(files.install(file.clone(), false, 10), Ok(Fd(1)));
    assert_eq!(slot.fill(file.clone(), false), Fd(0));
    drop(files.reserve(10).unwrap());
    assert_eq!(files.install(file, false, 10), Ok(Fd(2)));
}

#[test]
fn closing_any_descriptor_drops_the_process_locks() {
    use super::lock::{Owner, Range};
    let w = world();
    let (files, other) = (FdTable::new(), FdTable::new());
    let one = files
        .install(w.open("/a/f", libc::O_RDWR).unwrap(), false, 10)
        .unwrap();
    let two = files.install(some_file(&w), false, 10).unwrap();
    let locks = |fd| files.get(fd).unwrap().path().unwrap().inode().clone();
    let inode = locks(one);
    let range = |owner| Range {
        owner,
        pid: 1,
        write: true,
        start: 0,
        end: 9,
    };
    let mine = range(Owner::Posix(files.id));
    let theirs = range(Owner::Posix(other.id));
    inode
        .ext()
        .locks()
        .set(&files.get(one).unwrap(), &mine, None)
        .unwrap();
    assert_eq!(inode.ext().locks().conflict(&theirs), Some(mine));
    files.close(two).unwrap();
    assert_eq!(inode.ext().locks().conflict(&theirs), None);
    // flock goes with the description.
    let held = files.get(one).unwrap();
    inode.ext().locks().flock(&held, Some(true)).unwrap();
    let another = some_file(&w);
    assert_eq!(
        inode.ext().locks().flock(&another, Some(false)),
        Err(Errno::EAGAIN)
    );
    drop(held);
    files.close(one).unwrap();
    assert_eq!(inode.ext().locks().flock(&another, Some(true)), Ok(()));
}

#[test]
fn a_running_program_is_not_written_to() {
    let w = world();
    crate::vfs::change::chmod(&w.env, &w.at("/a/f").unwrap(), 0o755).unwrap();
    let exec = |path: &[u8]| super::open::open_exec(&w.env, &At::Cwd, path, WalkFlags::FOLLOW);
    let program = exec(b"/a/f").unwrap();
    let ext = program.path().unwrap().inode().ext();
    ext.deny_write().unwrap();
    assert_eq!(w.open("/a/f", libc::O_WRONLY).err(), Some(Errno::ETXTBSY));
    assert!(w.open("/a/f", libc::O_RDONLY).is_ok());
    ext.allow_write();
    let writer = w.open("/a/f", libc::O_WRONLY).unwrap();
    assert_eq!(exec(b"/a/f").err(), Some(Errno::ETXTBSY));
    drop(writer);
    assert!(exec(b"/a/f").is_ok());
    assert_eq!(exec(b"/a").err(), Some(Errno::EACCES));
    w.env.root.mount.set_flags(MountFlags::NOEXEC);
    assert_eq!(exec(b"/a/f").err(), Some(Errno::EACCES));
}
