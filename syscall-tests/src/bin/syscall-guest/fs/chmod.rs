//! chmod(2), fchmod(2), fchmodat(2), chown(2) and relatives, umask(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn setup() {
    tmp();
    must!(write_file(c"f", b""));
    must!(symlink(c"f", c"to_f"));
}
fn mode(path: &std::ffi::CStr) -> u32 {
    must!(lstat(path)).st_mode & 0o7777
}
fn ids(path: &std::ffi::CStr) -> (u32, u32) {
    let st = must!(lstat(path));
    (st.st_uid, st.st_gid)
}
fn become_user(uid: u32, gid: u32) {
    must!(sys!(SYS_setgroups, 0, 0));
    must!(sys!(SYS_setresgid, gid, gid, gid));
    must!(sys!(SYS_setresuid, uid, uid, uid));
}

fn chmod_sets_all_bits() {
    setup();
    must!(chmod(c"f", 0o7751));
    check_eq!(mode(c"f"), 0o7751);
    must!(sys!(SYS_chmod, c"f", 0o100_600));
    check_eq!(mode(c"f"), 0o600);
}

fn chmod_follows_symlink() {
    setup();
    must!(chmod(c"to_f", 0o611));
    check_eq!(mode(c"f"), 0o611);
    check_eq!(mode(c"to_f"), 0o777);
}

fn chmod_errors() {
    setup();
    expect_errno!(chmod(c"missing", 0o600), ENOENT);
    expect_errno!(chmod(c"f/x", 0o600), ENOTDIR);
    expect_errno!(sys!(SYS_chmod, bad::<u8>(), 0), EFAULT);
    expect_errno!(sys!(SYS_fchmod, -1, 0o600), EBADF);
}

fn fchmod_of_read_only_descriptor_works() {
    setup();
    let fd = must!(open(c"f", O_RDONLY, 0));
    must!(sys!(SYS_fchmod, fd, 0o604));
    check_eq!(mode(c"f"), 0o604);
}

fn chmod_by_non_owner_is_eperm() {
    need_root();
    setup();
    in_child(|| {
        become_user(1000, 1000);
        expect_errno!(chmod(c"f", 0o777), EPERM);
    });
}

fn chmod_by_owner_outside_group_drops_sgid() {
    need_root();
    setup();
    must!(chown(c"f", 1000, 2000));
    in_child(|| {
        become_user(1000, 1000);
        must!(chmod(c"f", 0o2755));
    });
    check_eq!(mode(c"f"), 0o755);
}

fn chown_changes_and_minus_one_keeps() {
    need_root();
    setup();
    must!(chown(c"f", 1000, 2000));
    check_eq!(ids(c"f"), (1000, 2000));
    must!(chown(c"f", u32::MAX, 2001));
    check_eq!(ids(c"f"), (1000, 2001));
    must!(chown(c"f", 1001, u32::MAX));
    check_eq!(ids(c"f"), (1001, 2001));
}

fn chown_clears_setid_bits_of_program() {
    need_root();
    setup();
    must!(chmod(c"f", 0o6755));
    must!(chown(c"f", 1000, 1000));
    check_eq!(mode(c"f"), 0o755);
}

fn chown_keeps_sgid_without_group_execute() {
    need_root();
    setup();
    must!(chmod(c"f", 0o2644));
    must!(chown(c"f", 1000, 1000));
    check_eq!(mode(c"f"), 0o2644);
}

fn chown_of_directory_keeps_sgid() {
    need_root();
    tmp();
    must!(mkdir(c"d", 0o755));
    must!(chmod(c"d", 0o2755));
    must!(chown(c"d", 1000, 1000));
    check_eq!(mode(c"d"), 0o2755);
}

fn lchown_changes_the_link() {
    need_root();
    setup();
    must!(sys!(SYS_lchown, c"to_f", 1000, 1000));
    check_eq!(ids(c"to_f"), (1000, 1000));
    check_eq!(ids(c"f"), (0, 0));
    must!(sys!(SYS_chown, c"to_f", 1001, 1001));
    check_eq!(ids(c"f"), (1001, 1001));
    check_eq!(ids(c"to_f"), (1000, 1000));
}

fn fchownat_flags() {
    need_root();
    setup();
    let fchownat = |path: &std::ffi::CStr, flags: i32| -> Sys {
        sys!(SYS_fchownat, AT_FDCWD, path, 7, 8, flags)
    };
    must!(fchownat(c"to_f", AT_SYMLINK_NOFOLLOW));
    check_eq!(ids(c"to_f"), (7, 8));
    expect_errno!(fchownat(c"f", 0x40_0000), EINVAL);
    let fd = must!(open(c"f", O_PATH, 0));
    must!(sys!(SYS_fchownat, fd, c"", 9, 9, AT_EMPTY_PATH));
    check_eq!(ids(c"f"), (9, 9));
}

fn fchown_on_o_path_is_ebadf() {
    setup();
    let fd = must!(open(c"f", O_PATH, 0));
    expect_errno!(sys!(SYS_fchown, fd, -1, -1), EBADF);
    expect_errno!(sys!(SYS_fchown, -1, -1, -1), EBADF);
}

fn chown_by_owner_to_own_group_is_allowed() {
    need_root();
    setup();
    must!(chown(c"f", 1000, 1000));
    in_child(|| {
        let groups = [3000u32];
        must!(sys!(SYS_setgroups, 1, &groups));
        must!(sys!(SYS_setresgid, 1000, 1000, 1000));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        must!(chown(c"f", u32::MAX, 3000));
        expect_errno!(chown(c"f", u32::MAX, 4000), EPERM);
        expect_errno!(chown(c"f", 1001, u32::MAX), EPERM);
        must!(chown(c"f", 1000, 1000));
    });
}

fn chown_by_stranger_is_eperm() {
    need_root();
    setup();
    in_child(|| {
        become_user(1000, 1000);
        expect_errno!(chown(c"f", 1000, 1000), EPERM);
        check_eq!(chown(c"f", u32::MAX, u32::MAX), Ok(0));
    });
}

fn umask_returns_previous_and_masks_to_0777() {
    umask(0o022);
    check_eq!(umask(0o7077), 0o022);
    check_eq!(umask(0), 0o077);
}

fn umask_applies_to_mkdir_and_mknod() {
    tmp();
    umask(0o037);
    must!(mkdir(c"d", 0o777));
    check_eq!(mode(c"d"), 0o740);
    must!(mkfifo(c"p", 0o666));
    check_eq!(mode(c"p"), 0o640);
    must!(symlink(c"x", c"l"));
    check_eq!(mode(c"l"), 0o777);
}

fn umask_is_shared_by_threads_and_copied_by_fork() {
    umask(0o022);
    in_child(|| {
        umask(0o077);
    });
    check_eq!(umask(0o022), 0o022);
    let _ = std::thread::spawn(|| umask(0o011)).join();
    check_eq!(umask(0o022), 0o011);
}

fn sticky_directory_protects_entries() {
    need_root();
    tmp();
    must!(mkdir(c"d", 0o755));
    must!(chmod(c"d", 0o1777));
    must!(write_file(c"d/root", b""));
    must!(write_file(c"d/mine", b""));
    must!(chown(c"d/mine", 1000, 1000));
    in_child(|| {
        become_user(1000, 1000);
        expect_errno!(unlink(c"d/root"), EPERM);
        expect_errno!(rename(c"d/root", c"d/other"), EPERM);
        expect_errno!(rename(c"d/mine", c"d/root"), EPERM);
        must!(rename(c"d/mine", c"d/mine2"));
        must!(unlink(c"d/mine2"));
    });
}

cases![
    setup,
    chmod_sets_all_bits,
    chmod_follows_symlink,
    chmod_errors,
    fchmod_of_read_only_descriptor_works,
    chmod_by_non_owner_is_eperm,
    chmod_by_owner_outside_group_drops_sgid,
    chown_changes_and_minus_one_keeps,
    chown_clears_setid_bits_of_program,
    chown_keeps_sgid_without_group_execute,
    chown_of_directory_keeps_sgid,
    lchown_changes_the_link,
    fchownat_flags,
    fchown_on_o_path_is_ebadf,
    chown_by_owner_to_own_group_is_allowed,
    chown_by_stranger_is_eperm,
    umask_returns_previous_and_masks_to_0777,
    umask_applies_to_mkdir_and_mknod,
    umask_is_shared_by_threads_and_copied_by_fork,
    sticky_directory_protects_entries,
];
