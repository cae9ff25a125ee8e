//! link(2), symlink(2), readlink(2), unlink(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn setup() {
    tmp();
    must!(write_file(c"f", b"content"));
    must!(mkdir(c"d", 0o755));
}

fn link_counts() {
    setup();
    must!(link(c"f", c"g"));
    let (f, g) = (must!(stat(c"f")), must!(stat(c"g")));
    check_eq!((f.st_ino, f.st_nlink), (g.st_ino, 2));
    must!(unlink(c"f"));
    check_eq!(must!(stat(c"g")).st_nlink, 1);
    check_eq!(read_file(c"g"), Ok(b"content".to_vec()));
}

fn link_errors() {
    setup();
    expect_errno!(link(c"missing", c"g"), ENOENT);
    expect_errno!(link(c"f", c"f"), EEXIST);
    expect_errno!(link(c"f", c"d"), EEXIST);
    expect_errno!(link(c"f", c"missing/g"), ENOENT);
    expect_errno!(link(c"f/x", c"g"), ENOTDIR);
    expect_errno!(link(c"f", c"f/x"), ENOTDIR);
    expect_errno!(link(c"", c"g"), ENOENT);
    expect_errno!(link(c"f", c"g/"), ENOENT);
    expect_errno!(sys!(SYS_link, bad::<u8>(), c"g"), EFAULT);
    expect_errno!(sys!(SYS_link, c"f", bad::<u8>()), EFAULT);
}

fn link_to_directory_is_eperm() {
    setup();
    expect_errno!(link(c"d", c"e"), EPERM);
}

fn link_across_file_systems_is_exdev() {
    setup();
    expect_errno!(link(c"/proc/self/status", c"g"), EXDEV);
    expect_errno!(link(c"f", c"/dev/shm/g"), EXDEV);
}

fn linkat_does_not_follow_by_default() {
    setup();
    must!(symlink(c"f", c"l"));
    must!(link(c"l", c"hard"));
    check_eq!(must!(lstat(c"hard")).st_mode & S_IFMT, S_IFLNK);
    must!(sys!(
        SYS_linkat,
        AT_FDCWD,
        c"l",
        AT_FDCWD,
        c"hard2",
        AT_SYMLINK_FOLLOW
    ));
    check_eq!(must!(lstat(c"hard2")).st_ino, must!(stat(c"f")).st_ino);
    expect_errno!(
        sys!(SYS_linkat, AT_FDCWD, c"f", AT_FDCWD, c"h3", 0x10),
        EINVAL
    );
}

fn linkat_empty_path_links_descriptor() {
    need_root();
    setup();
    let fd = must!(open(c"f", O_RDONLY, 0));
    must!(sys!(SYS_linkat, fd, c"", AT_FDCWD, c"g", AT_EMPTY_PATH));
    check_eq!(must!(stat(c"g")).st_ino, must!(stat(c"f")).st_ino);
}

fn link_unlinked_descriptor_is_enoent() {
    need_root();
    setup();
    let fd = must!(open(c"f", O_RDONLY, 0));
    must!(unlink(c"f"));
    expect_errno!(
        sys!(SYS_linkat, fd, c"", AT_FDCWD, c"g", AT_EMPTY_PATH),
        ENOENT
    );
}

fn symlink_stores_any_text() {
    setup();
    must!(symlink(c"//odd/../text with space", c"l"));
    check_eq!(readlink(c"l"), Ok(b"//odd/../text with space".to_vec()));
    check_eq!(must!(lstat(c"l")).st_size, 24);
}

fn symlink_errors() {
    setup();
    expect_errno!(symlink(c"x", c"f"), EEXIST);
    expect_errno!(symlink(c"", c"l"), ENOENT);
    expect_errno!(symlink(c"x", c""), ENOENT);
    expect_errno!(symlink(c"x", c"l/"), ENOENT);
    expect_errno!(symlink(c"x", c"missing/l"), ENOENT);
    expect_errno!(symlink(c"x", c"f/l"), ENOTDIR);
    expect_errno!(symlink(&cpath(&"x".repeat(4096)), c"l"), ENAMETOOLONG);
    expect_errno!(sys!(SYS_symlink, bad::<u8>(), c"l"), EFAULT);
    expect_errno!(sys!(SYS_symlink, c"x", bad::<u8>()), EFAULT);
}

fn symlink_over_dangling_link_is_eexist() {
    setup();
    must!(symlink(c"nowhere", c"l"));
    expect_errno!(symlink(c"x", c"l"), EEXIST);
}

fn symlink_of_4095_bytes_works() {
    setup();
    let target = "x".repeat(4095);
    match symlink(&cpath(&target), c"l") {
        Err(ENAMETOOLONG) => skip!("file system limits symlinks"),
        other => must!(other),
    };
    check_eq!(readlink(c"l").map(|t| t.len()), Ok(4095));
}

fn readlink_truncates_silently() {
    setup();
    must!(symlink(c"abcdef", c"l"));
    let mut buf = [b'#'; 8];
    check_eq!(sys!(SYS_readlink, c"l", &mut buf, 3), Ok(3));
    check_eq!(&buf, b"abc#####");
}

fn readlink_errors() {
    setup();
    must!(symlink(c"abc", c"l"));
    let mut buf = [0u8; 8];
    expect_errno!(readlink(c"f"), EINVAL);
    expect_errno!(readlink(c"d"), EINVAL);
    expect_errno!(readlink(c"missing"), ENOENT);
    expect_errno!(readlink(c""), ENOENT);
    expect_errno!(sys!(SYS_readlink, c"l", &mut buf, 0), EINVAL);
    expect_errno!(sys!(SYS_readlink, c"l", &mut buf, -1), EINVAL);
    expect_errno!(sys!(SYS_readlink, c"l", bad::<u8>(), 8), EFAULT);
    expect_errno!(sys!(SYS_readlink, bad::<u8>(), &mut buf, 8), EFAULT);
    expect_errno!(sys!(SYS_readlinkat, -1, c"l", &mut buf, 8), EBADF);
}

fn unlink_errors() {
    setup();
    expect_errno!(unlink(c"missing"), ENOENT);
    expect_errno!(unlink(c"d"), EISDIR);
    expect_errno!(unlink(c"f/x"), ENOTDIR);
    expect_errno!(unlink(c"f/"), ENOTDIR);
    expect_errno!(unlink(c""), ENOENT);
    expect_errno!(unlink(c"."), EISDIR);
    expect_errno!(unlink(c"/"), EISDIR);
    expect_errno!(sys!(SYS_unlink, bad::<u8>()), EFAULT);
    expect_errno!(sys!(SYS_unlinkat, AT_FDCWD, c"f", 1), EINVAL);
    expect_errno!(sys!(SYS_unlinkat, -1, c"f", 0), EBADF);
}

fn unlink_removes_the_link_not_the_target() {
    setup();
    must!(symlink(c"f", c"l"));
    must!(unlink(c"l"));
    check!(exists(c"f"));
    must!(symlink(c"d", c"ld"));
    must!(unlink(c"ld"));
    check!(exists(c"d"));
    must!(symlink(c"d", c"ld"));
    expect_errno!(unlink(c"ld/"), ENOTDIR);
}

fn unlink_needs_write_on_directory_only() {
    need_root();
    setup();
    must!(mkdir(c"w", 0o755));
    must!(chown(c"w", 1000, 1000));
    must!(write_file(c"w/rootfile", b""));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(unlink(c"f"), EACCES);
        must!(unlink(c"w/rootfile"));
    });
}

fn path_through_symlinked_directory() {
    setup();
    must!(symlink(c"d", c"ld"));
    must!(write_file(c"ld/x", b"1"));
    check!(exists(c"d/x"));
    must!(symlink(c"../f", c"d/back"));
    check_eq!(read_file(c"ld/back"), Ok(b"content".to_vec()));
}

fn mknod_types() {
    setup();
    must!(mknod(c"plain", 0o640, 0));
    check_eq!(must!(stat(c"plain")).st_mode, S_IFREG | 0o640);
    must!(mkfifo(c"fifo", 0o600));
    check_eq!(must!(stat(c"fifo")).st_mode, S_IFIFO | 0o600);
    must!(mknod(c"sock", S_IFSOCK | 0o600, 0));
    check_eq!(must!(stat(c"sock")).st_mode, S_IFSOCK | 0o600);
    expect_errno!(mknod(c"dir", S_IFDIR | 0o755, 0), EPERM);
    expect_errno!(mknod(c"lnk", S_IFLNK | 0o755, 0), EINVAL);
    expect_errno!(mknod(c"f", S_IFREG | 0o644, 0), EEXIST);
    expect_errno!(mknod(c"x/", S_IFREG | 0o644, 0), ENOENT);
}

fn mknod_device_unprivileged_is_eperm() {
    need_root();
    tmp();
    must!(chmod(c".", 0o777));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(mknod(c"dev", S_IFCHR | 0o666, makedev(1, 3)), EPERM);
        must!(mkfifo(c"fifo", 0o666));
    });
}

cases![
    setup,
    link_counts,
    link_errors,
    link_to_directory_is_eperm,
    link_across_file_systems_is_exdev,
    linkat_does_not_follow_by_default,
    linkat_empty_path_links_descriptor,
    link_unlinked_descriptor_is_enoent,
    symlink_stores_any_text,
    symlink_errors,
    symlink_over_dangling_link_is_eexist,
    symlink_of_4095_bytes_works,
    readlink_truncates_silently,
    readlink_errors,
    unlink_errors,
    unlink_removes_the_link_not_the_target,
    unlink_needs_write_on_directory_only,
    path_through_symlinked_directory,
    mknod_types,
    mknod_device_unprivileged_is_eperm,
];
