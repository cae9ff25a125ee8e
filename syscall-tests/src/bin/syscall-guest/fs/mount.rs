//! mount(2), umount2(2): what is mounted, how it behaves, how it goes.

use std::ffi::CStr;
use syscall_tests::cases;
use syscall_tests::prelude::*;

const CAP_SYS_ADMIN: u32 = 21;

/// A scratch directory in a mount namespace of our own, where nothing spreads.
pub fn private() {
    need_cap(CAP_SYS_ADMIN);
    must!(sys!(SYS_unshare, CLONE_NEWNS));
    must!(mount(None, c"/", None, MS_REC | MS_PRIVATE, None));
    tmp();
    must!(tmpfs(c"."));
    must!(chdir(&cpath(&tmp_path())));
}

pub fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) -> Sys {
    let p = |s: Option<&CStr>| s.map_or(0usize, |s| s.as_ptr() as usize);
    sys!(
        SYS_mount,
        p(source),
        target,
        p(kind),
        flags as usize,
        p(data)
    )
}

pub fn tmpfs(target: &CStr) -> Sys {
    mount(Some(c"t"), target, Some(c"tmpfs"), 0, None)
}

pub fn bind(source: &CStr, target: &CStr) -> Sys {
    mount(Some(source), target, None, MS_BIND, None)
}

pub fn umount(target: &CStr, flags: i32) -> Sys {
    sys!(SYS_umount2, target, flags)
}

pub(super) fn change(target: &CStr, flags: u64) -> Sys {
    mount(None, target, None, flags, None)
}

fn text(path: &CStr) -> String {
    String::from_utf8_lossy(&must!(read_file(path))).into_owned()
}

/// The line of /proc/self/mountinfo of the topmost mount on `name` of the scratch directory.
pub(super) fn info(name: &str) -> Option<String> {
    let point = format!("{}/{name}", tmp_path());
    text(c"/proc/self/mountinfo")
        .lines()
        .rfind(|l| l.split(' ').nth(4) == Some(&point))
        .map(str::to_string)
}

pub(super) fn dirs(names: &[&CStr]) {
    for name in names {
        must!(mkdir(name, 0o755));
    }
}

fn tmpfs_covers_and_uncovers() {
    private();
    dirs(&[c"d"]);
    must!(write_file(c"d/below", b"1"));
    let before = must!(stat(c"d"));
    must!(tmpfs(c"d"));
    check!(!exists(c"d/below"));
    check!(must!(stat(c"d")).st_dev != before.st_dev);
    must!(write_file(c"d/above", b"2"));
    must!(umount(c"d", 0));
    check!(exists(c"d/below") && !exists(c"d/above"));
    check_eq!(must!(stat(c"d")).st_dev, before.st_dev);
}

fn mounts_stack() {
    private();
    dirs(&[c"d"]);
    for name in [c"d/one", c"d/two"] {
        must!(tmpfs(c"d"));
        must!(write_file(name, b""));
    }
    check!(exists(c"d/two") && !exists(c"d/one"));
    must!(umount(c"d", 0));
    check!(exists(c"d/one") && !exists(c"d/two"));
    must!(umount(c"d", 0));
    expect_errno!(umount(c"d", 0), EINVAL);
}

fn tmpfs_takes_options() {
    private();
    dirs(&[c"d"]);
    let options = c"size=64k,nr_inodes=100,mode=711,uid=5,gid=6";
    must!(mount(Some(c"t"), c"d", Some(c"tmpfs"), 0, Some(options)));
    let st = must!(stat(c"d"));
    check_eq!((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o711, 5, 6));
    let mut fs: libc::statfs = zeroed();
    must!(sys!(SYS_statfs, c"d", &mut fs));
    check_eq!((fs.f_type, fs.f_files), (TMPFS_MAGIC, 100));
    check_eq!(fs.f_blocks * fs.f_bsize as u64, 65536);
    expect_errno!(
        mount(Some(c"t"), c"d", Some(c"tmpfs"), 0, Some(c"nonsense=1")),
        EINVAL
    );
    expect_errno!(
        mount(Some(c"t"), c"d", Some(c"tmpfs"), 0, Some(c"size=x")),
        EINVAL
    );
}

fn tmpfs_has_half_of_the_memory() {
    private();
    dirs(&[c"d"]);
    must!(tmpfs(c"d"));
    let size = || {
        let mut fs: libc::statfs = zeroed();
        must!(sys!(SYS_statfs, c"d", &mut fs));
        fs.f_blocks * fs.f_bsize as u64
    };
    let mut memory: libc::sysinfo = zeroed();
    must!(sys!(SYS_sysinfo, &mut memory));
    let half = memory.totalram * u64::from(memory.mem_unit) / 2;
    check!(size().abs_diff(half) < 1 << 20, "{} of {half}", size());
    must!(umount(c"d", 0));
    must!(mount(Some(c"t"), c"d", Some(c"tmpfs"), 0, Some(c"size=0")));
    check_eq!(size(), 0);
}

fn errors() {
    private();
    dirs(&[c"d"]);
    must!(write_file(c"f", b""));
    expect_errno!(tmpfs(c"missing"), ENOENT);
    expect_errno!(tmpfs(c"f"), ENOTDIR);
    expect_errno!(mount(Some(c"t"), c"d", Some(c"nofs"), 0, None), ENODEV);
    expect_errno!(mount(Some(c"t"), c"d", None, 0, None), EINVAL);
    expect_errno!(bind(c"missing", c"d"), ENOENT);
    expect_errno!(bind(c"f", c"d"), ENOTDIR);
    expect_errno!(bind(c"d", c"f"), ENOTDIR);
    expect_errno!(mount(None, c"d", None, MS_BIND, None), EINVAL);
    expect_errno!(sys!(SYS_mount, bad::<u8>(), c"d", c"tmpfs", 0, 0), EFAULT);
    expect_errno!(sys!(SYS_mount, c"t", c"d", bad::<u8>(), 0, 0), EFAULT);
    expect_errno!(sys!(SYS_mount, c"t", bad::<u8>(), c"tmpfs", 0, 0), EFAULT);
}

fn unprivileged_is_eperm() {
    private();
    dirs(&[c"d", c"m"]);
    must!(tmpfs(c"m"));
    in_child(|| {
        must!(set_capabilities(0, 0, 0));
        expect_errno!(tmpfs(c"d"), EPERM);
        expect_errno!(tmpfs(c"missing"), ENOENT);
        expect_errno!(bind(c"d", c"m"), EPERM);
        expect_errno!(change(c"m", MS_REMOUNT | MS_BIND), EPERM);
        expect_errno!(umount(c"m", 0), EPERM);
        expect_errno!(umount(c"m", 0x100), EINVAL);
        expect_errno!(sys!(SYS_unshare, CLONE_NEWNS), EPERM);
        expect_errno!(sys!(SYS_pivot_root, c"m", c"m"), EPERM);
        expect_errno!(sys!(SYS_chroot, c"m"), EPERM);
    });
}

fn proc_can_be_mounted() {
    private();
    dirs(&[c"d"]);
    must!(mount(Some(c"proc"), c"d", Some(c"proc"), 0, None));
    check!(exists(c"d/self/status"));
    let mut fs: libc::statfs = zeroed();
    must!(sys!(SYS_statfs, c"d", &mut fs));
    check_eq!(fs.f_type, PROC_SUPER_MAGIC);
    check!(info("d").is_some_and(|l| l.contains(" - proc proc rw")));
}

fn bind_shows_the_same_files() {
    private();
    dirs(&[c"a", c"b", c"a/sub"]);
    must!(write_file(c"a/f", b"text"));
    must!(bind(c"a", c"b"));
    check_eq!(
        (must!(stat(c"a/f")).st_dev, must!(stat(c"a/f")).st_ino),
        (must!(stat(c"b/f")).st_dev, must!(stat(c"b/f")).st_ino)
    );
    must!(write_file(c"b/new", b""));
    check!(exists(c"a/new"));
    // One file system, but two mounts.
    expect_errno!(rename(c"b/f", c"a/g"), EXDEV);
    expect_errno!(link(c"b/f", c"a/g"), EXDEV);
    let line = info("b").unwrap_or_default();
    check_eq!(line.split(' ').nth(3), Some("/a"));
    must!(umount(c"b", 0));
    check!(!exists(c"b/f"));
}

fn bind_of_one_file() {
    private();
    must!(write_file(c"f", b"from f"));
    must!(write_file(c"g", b"from g"));
    must!(bind(c"f", c"g"));
    check_eq!(text(c"g"), "from f");
    must!(write_file(c"g", b"new"));
    check_eq!(text(c"f"), "new");
    expect_errno!(unlink(c"g"), EBUSY);
    expect_errno!(rename(c"g", c"h"), EBUSY);
    expect_errno!(rename(c"f", c"g"), EBUSY);
    must!(unlink(c"f"));
    check_eq!(text(c"g"), "new");
    must!(umount(c"g", 0));
    check_eq!(text(c"g"), "from g");
}

fn bind_leaves_or_takes_what_is_mounted_below() {
    private();
    dirs(&[c"a", c"a/m", c"flat", c"deep"]);
    must!(tmpfs(c"a/m"));
    must!(write_file(c"a/m/f", b""));
    must!(bind(c"a", c"flat"));
    check!(!exists(c"flat/m/f"));
    must!(mount(Some(c"a"), c"deep", None, MS_BIND | MS_REC, None));
    check!(exists(c"deep/m/f"));
    must!(umount(c"a/m", 0));
    check!(exists(c"deep/m/f"));
}

fn mountpoints_are_busy() {
    private();
    dirs(&[c"d", c"e"]);
    must!(tmpfs(c"d"));
    expect_errno!(rmdir(c"d"), EBUSY);
    expect_errno!(rename(c"d", c"x"), EBUSY);
    expect_errno!(rename(c"e", c"d"), EBUSY);
    must!(umount(c"d", 0));
    must!(rename(c"e", c"d"));
    must!(rmdir(c"d"));
}

fn read_only_mounts_refuse_changes() {
    private();
    dirs(&[c"d", c"b"]);
    must!(mount(Some(c"t"), c"d", Some(c"tmpfs"), MS_RDONLY, None));
    expect_errno!(write_file(c"d/f", b""), EROFS);
    expect_errno!(mkdir(c"d/e", 0o755), EROFS);
    // The same file system through another mount is read-only too.
    must!(bind(c"d", c"b"));
    expect_errno!(write_file(c"b/f", b""), EROFS);
    must!(change(c"d", MS_REMOUNT));
    must!(write_file(c"d/f", b""));
}

fn bind_remount_concerns_one_mount() {
    private();
    dirs(&[c"a", c"b"]);
    must!(write_file(c"a/f", b"text"));
    must!(bind(c"a", c"b"));
    must!(change(c"b", MS_REMOUNT | MS_BIND | MS_RDONLY));
    check_eq!(text(c"b/f"), "text");
    expect_errno!(open(c"b/f", O_RDWR, 0), EROFS);
    expect_errno!(open(c"b/f", O_RDONLY | O_TRUNC, 0), EROFS);
    expect_errno!(open(c"b/new", O_CREAT | O_WRONLY, 0o644), EROFS);
    expect_errno!(unlink(c"b/f"), EROFS);
    expect_errno!(chmod(c"b/f", 0o600), EROFS);
    expect_errno!(mkdir(c"b/f", 0o755), EEXIST);
    expect_errno!(sys!(SYS_access, c"b/f", W_OK), EROFS);
    must!(write_file(c"a/f", b"more"));
    let line = info("b").unwrap_or_default();
    check!(line.split(' ').nth(5).is_some_and(|o| o.starts_with("ro")));
    must!(change(c"b", MS_REMOUNT | MS_BIND));
    must!(write_file(c"b/f", b""));
}

fn remount_of_what_is_no_mount_is_einval() {
    private();
    dirs(&[c"d"]);
    expect_errno!(change(c"d", MS_REMOUNT), EINVAL);
    expect_errno!(change(c"d", MS_REMOUNT | MS_BIND | MS_RDONLY), EINVAL);
}

fn remount_read_only_is_busy_while_written_to() {
    private();
    dirs(&[c"d"]);
    must!(tmpfs(c"d"));
    let fd = must!(open(c"d/f", O_CREAT | O_WRONLY, 0o644));
    expect_errno!(change(c"d", MS_REMOUNT | MS_BIND | MS_RDONLY), EBUSY);
    expect_errno!(change(c"d", MS_REMOUNT | MS_RDONLY), EBUSY);
    must!(write(fd, b"still"));
    must!(close(fd));
    let fd = must!(open(c"d/f", O_RDONLY, 0));
    must!(change(c"d", MS_REMOUNT | MS_BIND | MS_RDONLY));
    check_eq!(read_all(fd), Ok(b"still".to_vec()));
    expect_errno!(open(c"d/f", O_WRONLY, 0), EROFS);
}

fn tmpfs_can_be_resized() {
    private();
    dirs(&[c"d"]);
    must!(tmpfs(c"d"));
    must!(mount(None, c"d", None, MS_REMOUNT, Some(c"size=128k")));
    let mut fs: libc::statfs = zeroed();
    must!(sys!(SYS_statfs, c"d", &mut fs));
    check_eq!(fs.f_blocks * fs.f_bsize as u64, 131_072);
    expect_errno!(
        mount(None, c"d", None, MS_REMOUNT, Some(c"nonsense")),
        EINVAL
    );
}

fn noexec_nodev_nosuid() {
    private();
    dirs(&[c"d"]);
    let flags = MS_NOEXEC | MS_NODEV | MS_NOSUID;
    must!(mount(Some(c"t"), c"d", Some(c"tmpfs"), flags, None));
    must!(write_file(c"d/prog", b"#!/bin/true\n"));
    must!(chmod(c"d/prog", 0o755));
    expect_errno!(execve(c"d/prog", &[c"x"], &[]), EACCES);
    must!(mknod(c"d/null", S_IFCHR | 0o666, makedev(1, 3)));
    expect_errno!(open(c"d/null", O_RDONLY, 0), EACCES);
    let fd = must!(open(c"d/prog", O_RDONLY, 0));
    expect_errno!(
        mmap(0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0),
        EPERM
    );
    let line = info("d").unwrap_or_default();
    check_eq!(
        line.split(' ').nth(5),
        Some("rw,nosuid,nodev,noexec,relatime")
    );
    // Its flags are the eleventh word.
    let mut fs = [0u64; 15];
    must!(sys!(SYS_statfs, c"d", fs.as_mut_ptr()));
    check_eq!(fs[10] & 0xe, 0xe);
}

fn device_nodes_work_where_they_are_allowed() {
    private();
    must!(mknod(c"null", S_IFCHR | 0o666, makedev(1, 3)));
    let fd = must!(open(c"null", O_RDWR, 0));
    check_eq!(write(fd, b"gone"), Ok(4));
    check_eq!(read_vec(fd, 1), Ok(vec![]));
}

fn a_mount_can_be_moved() {
    private();
    dirs(&[c"a", c"b"]);
    must!(tmpfs(c"a"));
    must!(write_file(c"a/f", b""));
    must!(mkdir(c"a/in", 0o755));
    expect_errno!(mount(Some(c"a"), c"a/in", None, MS_MOVE, None), ELOOP);
    expect_errno!(mount(Some(c"b"), c"a", None, MS_MOVE, None), EINVAL);
    let root = mount(Some(c"/"), c"b", None, MS_MOVE, None);
    check!(matches!(root, Err(EINVAL | ELOOP)), "{root:?}");
    must!(mount(Some(c"a"), c"b", None, MS_MOVE, None));
    check!(exists(c"b/f") && !exists(c"a/f"));
    must!(umount(c"b", 0));
}

fn a_busy_mount_stays() {
    private();
    dirs(&[c"d"]);
    must!(tmpfs(c"d"));
    let fd = must!(open(c"d/f", O_CREAT | O_RDWR, 0o644));
    expect_errno!(umount(c"d", 0), EBUSY);
    must!(close(fd));
    must!(mkdir(c"d/sub", 0o755));
    must!(chdir(c"d/sub"));
    expect_errno!(umount(c"..", 0), EBUSY);
    must!(chdir(c"../.."));
    must!(tmpfs(c"d/sub"));
    expect_errno!(umount(c"d", 0), EBUSY);
    must!(umount(c"d/sub", 0));
    let gate = Gate::new();
    let pid = child(|| {
        must!(chdir(c"d"));
        gate.open();
        sleep_ms(60_000);
        0
    });
    gate.wait();
    expect_errno!(umount(c"d", 0), EBUSY);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    must!(umount(c"d", 0));
}

fn a_mapped_file_keeps_its_mount() {
    private();
    dirs(&[c"d"]);
    must!(tmpfs(c"d"));
    must!(write_file(c"d/f", &[7; PAGE]));
    let fd = must!(open(c"d/f", O_RDONLY, 0));
    let p = must!(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
    must!(close(fd));
    expect_errno!(umount(c"d", 0), EBUSY);
    must!(munmap(p, PAGE));
    must!(umount(c"d", 0));
}

fn lazy_umount_leaves_open_files_usable() {
    private();
    dirs(&[c"d"]);
    must!(tmpfs(c"d"));
    must!(mkdir(c"d/sub", 0o755));
    must!(tmpfs(c"d/sub"));
    let fd = must!(open(c"d/f", O_CREAT | O_RDWR, 0o644));
    let dir = must!(open(c"d", O_RDONLY | O_DIRECTORY, 0));
    must!(umount(c"d", MNT_DETACH));
    check!(!exists(c"d/f"));
    check_eq!(write(fd, b"alive"), Ok(5));
    let again = must!(openat(dir, c"f", O_RDONLY, 0));
    check_eq!(read_all(again), Ok(b"alive".to_vec()));
    check!(info("d").is_none());
    check!(info("d/sub").is_none());
    expect_errno!(umount(c"d", MNT_DETACH), EINVAL);
}

fn umount_flags() {
    private();
    dirs(&[c"d"]);
    must!(symlink(c"d", c"l"));
    must!(tmpfs(c"d"));
    expect_errno!(umount(c"l", UMOUNT_NOFOLLOW), EINVAL);
    expect_errno!(umount(c"d", 0x40), EINVAL);
    expect_errno!(umount(c"d", MNT_EXPIRE | MNT_FORCE), EINVAL);
    expect_errno!(umount(c"d", MNT_EXPIRE | MNT_DETACH), EINVAL);
    expect_errno!(umount(c"missing", 0), ENOENT);
    expect_errno!(umount(c"d/missing", 0), ENOENT);
    expect_errno!(sys!(SYS_umount2, bad::<u8>(), 0), EFAULT);
    must!(umount(c"l", 0));
    expect_errno!(umount(c"d", 0), EINVAL);
}

fn an_unused_mount_expires_at_the_second_call() {
    private();
    dirs(&[c"d"]);
    must!(tmpfs(c"d"));
    expect_errno!(umount(c"d", MNT_EXPIRE), EAGAIN);
    must!(stat(c"d/."));
    expect_errno!(umount(c"d", MNT_EXPIRE), EAGAIN);
    must!(umount(c"d", MNT_EXPIRE));
    expect_errno!(umount(c"d", MNT_EXPIRE), EINVAL);
}

fn mount_tables_can_be_polled() {
    private();
    dirs(&[c"d"]);
    let fd = must!(open(c"/proc/self/mounts", O_RDONLY, 0));
    must!(read_all(fd));
    check_eq!(poll1(fd, POLLPRI, 0) & (POLLPRI | POLLERR), 0);
    must!(tmpfs(c"d"));
    check_eq!(
        poll1(fd, POLLPRI, 0) & (POLLPRI | POLLERR),
        POLLPRI | POLLERR
    );
}

fn dotdot_crosses_mounts() {
    private();
    dirs(&[c"d", c"d/below"]);
    let here = must!(stat(c".")).st_ino;
    must!(tmpfs(c"d"));
    check_eq!(must!(stat(c"d/..")).st_ino, here);
    must!(chdir(c"d"));
    must!(tmpfs(c"../d"));
    // The working directory is below the new mount.
    must!(write_file(c"f", b""));
    check!(!exists(c"../d/f"));
    check_eq!(must!(stat(c"..")).st_ino, here);
}

cases![
    tmpfs_covers_and_uncovers,
    mounts_stack,
    tmpfs_takes_options,
    tmpfs_has_half_of_the_memory,
    errors,
    unprivileged_is_eperm,
    proc_can_be_mounted,
    bind_shows_the_same_files,
    bind_of_one_file,
    bind_leaves_or_takes_what_is_mounted_below,
    mountpoints_are_busy,
    read_only_mounts_refuse_changes,
    bind_remount_concerns_one_mount,
    remount_of_what_is_no_mount_is_einval,
    remount_read_only_is_busy_while_written_to,
    tmpfs_can_be_resized,
    noexec_nodev_nosuid,
    device_nodes_work_where_they_are_allowed,
    a_mount_can_be_moved,
    a_busy_mount_stays,
    a_mapped_file_keeps_its_mount,
    lazy_umount_leaves_open_files_usable,
    umount_flags,
    an_unused_mount_expires_at_the_second_call,
    mount_tables_can_be_polled,
    dotdot_crosses_mounts,
];
