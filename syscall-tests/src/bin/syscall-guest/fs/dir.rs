//! mkdir(2), rmdir(2), getdents64(2), chdir(2), fchdir(2), getcwd(2), chroot(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

#[derive(Debug)]
struct Entry {
    ino: u64,
    kind: u8,
    name: String,
}

fn list(fd: i32, size: usize) -> Sys<Vec<Entry>> {
    let mut buf = vec![0u8; size];
    let n = sys!(SYS_getdents64, fd, &mut buf[..], size)? as usize;
    let mut entries = Vec::new();
    let mut at = 0;
    while at < n {
        let e = &buf[at..];
        let reclen = u16::from_ne_bytes([e[16], e[17]]) as usize;
        check!(
            reclen >= 24 && reclen.is_multiple_of(8) && at + reclen <= n,
            "reclen {reclen}"
        );
        let name: Vec<u8> = e[19..].iter().copied().take_while(|b| *b != 0).collect();
        entries.push(Entry {
            ino: u64::from_ne_bytes(e[..8].try_into().unwrap_or_default()),
            kind: e[18],
            name: String::from_utf8_lossy(&name).into_owned(),
        });
        at += reclen;
    }
    Ok(entries)
}
fn names(path: &std::ffi::CStr) -> Vec<String> {
    let fd = must!(open(path, O_RDONLY | O_DIRECTORY, 0));
    let mut all = Vec::new();
    loop {
        let part = must!(list(fd, 1024));
        if part.is_empty() {
            break;
        }
        all.extend(part.into_iter().map(|e| e.name));
    }
    let _ = close(fd);
    all.sort();
    all
}
fn getcwd() -> String {
    let mut buf = [0u8; 4096];
    let n = must!(sys!(SYS_getcwd, &mut buf, 4096)) as usize;
    check_eq!(buf[n - 1], 0);
    String::from_utf8_lossy(&buf[..n - 1]).into_owned()
}

fn mkdir_and_link_counts() {
    tmp();
    must!(mkdir(c"d", 0o755));
    let before = must!(stat(c"d")).st_nlink;
    must!(mkdir(c"d/e", 0o755));
    let after = must!(stat(c"d")).st_nlink;
    check!(after == before + 1 || (before, after) == (1, 1));
}

fn mkdir_errors() {
    tmp();
    must!(write_file(c"f", b""));
    must!(symlink(c"nowhere", c"l"));
    expect_errno!(mkdir(c"f", 0o755), EEXIST);
    expect_errno!(mkdir(c".", 0o755), EEXIST);
    expect_errno!(mkdir(c"/", 0o755), EEXIST);
    expect_errno!(mkdir(c"l", 0o755), EEXIST);
    expect_errno!(mkdir(c"a/b", 0o755), ENOENT);
    expect_errno!(mkdir(c"f/b", 0o755), ENOTDIR);
    expect_errno!(mkdir(c"", 0o755), ENOENT);
    expect_errno!(mkdir(&cpath(&"n".repeat(256)), 0o755), ENAMETOOLONG);
    expect_errno!(sys!(SYS_mkdir, bad::<u8>(), 0o755), EFAULT);
    must!(mkdir(c"slash/", 0o755));
}

fn mkdir_mode_bits() {
    tmp();
    umask(0);
    must!(mkdir(c"d", 0o7777));
    check_eq!(must!(stat(c"d")).st_mode & 0o7777, 0o1777);
}

fn rmdir_errors() {
    tmp();
    must!(write_file(c"f", b""));
    must!(mkdir(c"d", 0o755));
    must!(mkdir(c"d/sub", 0o755));
    must!(symlink(c"d/sub", c"l"));
    expect_errno!(rmdir(c"d"), ENOTEMPTY);
    expect_errno!(rmdir(c"f"), ENOTDIR);
    expect_errno!(rmdir(c"missing"), ENOENT);
    expect_errno!(rmdir(c"d/."), EINVAL);
    expect_errno!(rmdir(c"d/.."), ENOTEMPTY);
    expect_errno!(rmdir(c"d/sub/.."), ENOTEMPTY);
    expect_errno!(rmdir(c"/"), EBUSY);
    expect_errno!(rmdir(c"l"), ENOTDIR);
    expect_errno!(rmdir(c"l/"), ENOTDIR);
    expect_errno!(sys!(SYS_rmdir, bad::<u8>()), EFAULT);
    must!(rmdir(c"d/sub"));
    must!(rmdir(c"d/"));
}

fn getdents_lists_all_with_types() {
    tmp();
    must!(write_file(c"file", b""));
    must!(mkdir(c"dir", 0o755));
    must!(symlink(c"x", c"link"));
    must!(mkfifo(c"fifo", 0o600));
    let fd = must!(open(c".", O_RDONLY | O_DIRECTORY, 0));
    let mut entries = must!(list(fd, 4096));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let got: Vec<(&str, u8)> = entries.iter().map(|e| (e.name.as_str(), e.kind)).collect();
    let want = vec![
        (".", DT_DIR),
        ("..", DT_DIR),
        ("dir", DT_DIR),
        ("fifo", DT_FIFO),
        ("file", DT_REG),
        ("link", DT_LNK),
    ];
    check!(
        got.iter()
            .zip(&want)
            .all(|(g, w)| g.0 == w.0 && (g.1 == w.1 || g.1 == DT_UNKNOWN))
            && got.len() == want.len(),
        "{got:?}"
    );
    for e in entries.iter().filter(|e| e.name == "file") {
        check_eq!(e.ino, must!(stat(c"file")).st_ino);
    }
}

fn getdents_small_buffer_gives_parts() {
    tmp();
    for i in 0..100 {
        must!(write_file(&cpath(&format!("file-number-{i}")), b""));
    }
    let fd = must!(open(c".", O_RDONLY | O_DIRECTORY, 0));
    let mut all = Vec::new();
    let mut calls = 0;
    loop {
        let part = must!(list(fd, 200));
        if part.is_empty() {
            break;
        }
        calls += 1;
        all.extend(part.into_iter().map(|e| e.name));
    }
    check!(calls > 10);
    all.sort();
    all.dedup();
    check_eq!(all.len(), 102);
}

fn getdents_too_small_buffer_is_einval() {
    tmp();
    let fd = must!(open(c".", O_RDONLY | O_DIRECTORY, 0));
    expect_errno!(list(fd, 10), EINVAL);
}

fn getdents_errors() {
    tmp();
    must!(write_file(c"f", b""));
    let f = must!(open(c"f", O_RDONLY, 0));
    expect_errno!(list(f, 1000), ENOTDIR);
    expect_errno!(list(-1, 1000), EBADF);
    let fd = must!(open(c".", O_RDONLY | O_DIRECTORY, 0));
    expect_errno!(sys!(SYS_getdents64, fd, bad::<u8>(), 1000), EFAULT);
    let p = must!(open(c".", O_PATH | O_DIRECTORY, 0));
    expect_errno!(list(p, 1000), EBADF);
}

fn getdents_of_removed_directory_is_enoent() {
    tmp();
    must!(mkdir(c"d", 0o755));
    let fd = must!(open(c"d", O_RDONLY | O_DIRECTORY, 0));
    must!(rmdir(c"d"));
    expect_errno!(list(fd, 1000), ENOENT);
}

fn getdents_sees_removal_and_addition_after_rewind() {
    tmp();
    must!(write_file(c"a", b""));
    check_eq!(names(c"."), [".", "..", "a"].map(String::from).to_vec());
    must!(write_file(c"b", b""));
    must!(unlink(c"a"));
    check_eq!(names(c"."), [".", "..", "b"].map(String::from).to_vec());
}

fn getdents_many_entries() {
    tmp();
    must!(mkdir(c"d", 0o755));
    for i in 0..1500 {
        must!(write_file(&cpath(&format!("d/{i}")), b""));
    }
    check_eq!(names(c"d").len(), 1502);
    for i in 0..1500 {
        must!(unlink(&cpath(&format!("d/{i}"))));
    }
    must!(rmdir(c"d"));
}

fn old_getdents_works() {
    tmp();
    let fd = must!(open(c".", O_RDONLY | O_DIRECTORY, 0));
    let mut buf = [0u8; 1024];
    check!(must!(sys!(SYS_getdents, fd, &mut buf, 1024)) >= 48);
    check_eq!(sys!(SYS_getdents, fd, &mut buf, 1024), Ok(0));
}

fn chdir_and_getcwd() {
    tmp();
    must!(mkdir(c"d", 0o755));
    must!(symlink(c"d", c"l"));
    must!(chdir(c"l"));
    check_eq!(getcwd(), format!("{}/d", tmp_path()));
    must!(chdir(c".."));
    check_eq!(getcwd(), tmp_path());
    must!(chdir(c"/"));
    check_eq!(getcwd(), "/");
}

fn chdir_errors() {
    tmp();
    must!(write_file(c"f", b""));
    expect_errno!(chdir(c"f"), ENOTDIR);
    expect_errno!(chdir(c"missing"), ENOENT);
    expect_errno!(chdir(c""), ENOENT);
    expect_errno!(sys!(SYS_chdir, bad::<u8>()), EFAULT);
    let f = must!(open(c"f", O_RDONLY, 0));
    expect_errno!(sys!(SYS_fchdir, f), ENOTDIR);
    expect_errno!(sys!(SYS_fchdir, -1), EBADF);
    let (r, _w) = must!(pipe());
    expect_errno!(sys!(SYS_fchdir, r), ENOTDIR);
}

fn getcwd_errors() {
    tmp();
    let mut buf = [0u8; 4096];
    expect_errno!(sys!(SYS_getcwd, &mut buf, 1), ERANGE);
    expect_errno!(sys!(SYS_getcwd, &mut buf, 0), ERANGE);
    expect_errno!(sys!(SYS_getcwd, bad::<u8>(), 4096), EFAULT);
}

fn getcwd_of_removed_directory_is_enoent() {
    tmp();
    must!(mkdir(c"d", 0o755));
    must!(chdir(c"d"));
    must!(rmdir(c"../d"));
    let mut buf = [0u8; 4096];
    expect_errno!(sys!(SYS_getcwd, &mut buf, 4096), ENOENT);
    expect_errno!(open(c"x", O_CREAT | O_RDWR, 0o644), ENOENT);
    must!(stat(c"."));
    must!(chdir(c".."));
    check_eq!(getcwd(), tmp_path());
}

fn cwd_is_per_process_and_shared_by_threads() {
    tmp();
    must!(mkdir(c"d", 0o755));
    in_child(|| {
        must!(chdir(c"d"));
    });
    check_eq!(getcwd(), tmp_path());
    let _ = std::thread::spawn(|| chdir(c"d")).join();
    check_eq!(getcwd(), format!("{}/d", tmp_path()));
}

fn chdir_needs_search_permission() {
    need_root();
    tmp();
    must!(mkdir(c"d", 0o644));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(chdir(c"d"), EACCES);
    });
}

fn chroot_confines_paths() {
    need_root();
    tmp();
    must!(mkdir(c"r", 0o755));
    must!(write_file(c"r/inside", b"1"));
    in_child(|| {
        must!(sys!(SYS_chroot, c"r"));
        must!(chdir(c"/"));
        check!(exists(c"/inside"));
        check!(exists(c"/../../inside"));
        check!(!exists(c"/etc"));
        check_eq!(getcwd(), "/");
    });
    check!(exists(c"/etc"));
}

fn chroot_leaves_cwd_outside() {
    need_root();
    tmp();
    must!(mkdir(c"r", 0o755));
    must!(write_file(c"outside", b"1"));
    in_child(|| {
        must!(sys!(SYS_chroot, c"r"));
        check!(exists(c"outside"));
        let mut buf = [0u8; 4096];
        let n = must!(sys!(SYS_getcwd, &mut buf, 4096)) as usize;
        check!(buf[..n].starts_with(b"(unreachable)/"));
    });
}

fn chroot_errors() {
    tmp();
    must!(write_file(c"f", b""));
    expect_errno!(sys!(SYS_chroot, c"f"), ENOTDIR);
    expect_errno!(sys!(SYS_chroot, c"missing"), ENOENT);
    expect_errno!(sys!(SYS_chroot, bad::<u8>()), EFAULT);
}

fn chroot_unprivileged_is_eperm() {
    need_root();
    tmp();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(sys!(SYS_chroot, c"/"), EPERM);
        expect_errno!(sys!(SYS_chroot, c"/missing"), ENOENT);
    });
}

fn deep_tree() {
    tmp();
    for _ in 0..200 {
        must!(mkdir(c"deep", 0o755));
        must!(chdir(c"deep"));
    }
    check_eq!(getcwd().matches("/deep").count(), 200);
    must!(write_file(c"bottom", b"1"));
    for _ in 0..200 {
        must!(chdir(c".."));
    }
    check_eq!(getcwd(), tmp_path());
}

fn unlinkat_removedir() {
    tmp();
    must!(mkdir(c"d", 0o755));
    must!(mkdir(c"d/e", 0o755));
    let dir = must!(open(c"d", O_PATH, 0));
    must!(sys!(SYS_unlinkat, dir, c"e", AT_REMOVEDIR));
    check!(!exists(c"d/e"));
}

cases![
    mkdir_and_link_counts,
    mkdir_errors,
    mkdir_mode_bits,
    rmdir_errors,
    getdents_lists_all_with_types,
    getdents_small_buffer_gives_parts,
    getdents_too_small_buffer_is_einval,
    getdents_errors,
    getdents_of_removed_directory_is_enoent,
    getdents_sees_removal_and_addition_after_rewind,
    getdents_many_entries,
    old_getdents_works,
    chdir_and_getcwd,
    chdir_errors,
    getcwd_errors,
    getcwd_of_removed_directory_is_enoent,
    cwd_is_per_process_and_shared_by_threads,
    chdir_needs_search_permission,
    chroot_confines_paths,
    chroot_leaves_cwd_outside,
    chroot_errors,
    chroot_unprivileged_is_eperm,
    deep_tree,
    unlinkat_removedir,
];
