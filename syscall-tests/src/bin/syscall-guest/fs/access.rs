//! access(2), faccessat(2), faccessat2(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn access(path: &std::ffi::CStr, mode: i32) -> Sys {
    sys!(SYS_access, path, mode)
}
fn faccessat2(dir: i32, path: &std::ffi::CStr, mode: i32, flags: i32) -> Sys {
    sys!(SYS_faccessat2, dir, path, mode, flags)
}

fn existence() {
    tmp();
    must!(write_file(c"f", b""));
    check_eq!(access(c"f", F_OK), Ok(0));
    expect_errno!(access(c"missing", F_OK), ENOENT);
    expect_errno!(access(c"f/x", F_OK), ENOTDIR);
    expect_errno!(access(c"", F_OK), ENOENT);
}

fn bad_mode_is_einval() {
    tmp();
    must!(write_file(c"f", b""));
    expect_errno!(access(c"f", 8), EINVAL);
    expect_errno!(access(c"missing", -1), EINVAL);
    expect_errno!(faccessat2(AT_FDCWD, c"f", 0, 0x40_0000), EINVAL);
}

fn bad_pointer_is_efault() {
    expect_errno!(sys!(SYS_access, bad::<u8>(), F_OK), EFAULT);
}

fn root_needs_one_execute_bit() {
    need_root();
    tmp();
    must!(write_file(c"f", b""));
    must!(chmod(c"f", 0));
    check_eq!(access(c"f", R_OK | W_OK), Ok(0));
    expect_errno!(access(c"f", X_OK), EACCES);
    must!(chmod(c"f", 0o001));
    check_eq!(access(c"f", X_OK), Ok(0));
}

fn owner_bits_apply_to_owner_only() {
    need_root();
    tmp();
    must!(write_file(c"f", b""));
    must!(chown(c"f", 1000, 1000));
    must!(chmod(c"f", 0o077));
    in_child(|| {
        must!(sys!(SYS_setresgid, 1000, 1000, 1000));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(access(c"f", R_OK), EACCES);
    });
    in_child(|| {
        must!(sys!(SYS_setgroups, 0, 0));
        must!(sys!(SYS_setresgid, 1000, 1000, 1000));
        must!(sys!(SYS_setresuid, 1001, 1001, 1001));
        check_eq!(access(c"f", R_OK | W_OK | X_OK), Ok(0));
    });
}

fn uses_real_ids() {
    need_root();
    tmp();
    must!(write_file(c"f", b""));
    must!(chmod(c"f", 0o600));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 0, 0));
        expect_errno!(access(c"f", R_OK), EACCES);
        check_eq!(faccessat2(AT_FDCWD, c"f", R_OK, AT_EACCESS), Ok(0));
        must!(open(c"f", O_RDONLY, 0));
    });
}

fn symlink_handling() {
    tmp();
    must!(symlink(c"nowhere", c"l"));
    expect_errno!(access(c"l", F_OK), ENOENT);
    check_eq!(faccessat2(AT_FDCWD, c"l", F_OK, AT_SYMLINK_NOFOLLOW), Ok(0));
}

fn empty_path_checks_descriptor() {
    tmp();
    must!(write_file(c"f", b""));
    let fd = must!(open(c"f", O_RDONLY, 0));
    check_eq!(faccessat2(fd, c"", R_OK, AT_EMPTY_PATH), Ok(0));
    expect_errno!(faccessat2(fd, c"", R_OK, 0), ENOENT);
}

fn dirfd_rules() {
    tmp();
    must!(mkdir(c"d", 0o755));
    must!(write_file(c"d/f", b""));
    let dir = must!(open(c"d", O_RDONLY, 0));
    check_eq!(sys!(SYS_faccessat, dir, c"f", R_OK), Ok(0));
    expect_errno!(sys!(SYS_faccessat, -1, c"f", R_OK), EBADF);
    check_eq!(sys!(SYS_faccessat, -1, c"/", R_OK), Ok(0));
}

fn search_permission_on_path() {
    need_root();
    tmp();
    must!(mkdir(c"d", 0o700));
    must!(write_file(c"d/f", b""));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(access(c"d/f", F_OK), EACCES);
    });
}

cases![
    existence,
    bad_mode_is_einval,
    bad_pointer_is_efault,
    root_needs_one_execute_bit,
    owner_bits_apply_to_owner_only,
    uses_real_ids,
    symlink_handling,
    empty_path_checks_descriptor,
    dirfd_rules,
    search_permission_on_path,
];
