//! openat2(2): the extensible structure and the RESOLVE_ flags.

use syscall_tests::cases;
use syscall_tests::prelude::*;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
    extra: u64,
}
const SIZE: usize = 24;

fn openat2(dir: i32, path: &std::ffi::CStr, flags: i32, mode: u64, resolve: u64) -> Sys<i32> {
    let how = How {
        flags: flags as u64,
        mode,
        resolve,
        extra: 0,
    };
    sys!(SYS_openat2, dir, path, &how, SIZE).map(|fd| fd as i32)
}
fn resolve(path: &std::ffi::CStr, resolve: u64) -> Sys<i32> {
    openat2(AT_FDCWD, path, O_RDONLY, 0, resolve)
}
fn setup() {
    tmp();
    must!(write_file(c"f", b"content"));
    must!(mkdir(c"d", 0o755));
    must!(write_file(c"d/x", b"in d"));
    must!(symlink(c"f", c"to_f"));
    must!(symlink(c"d", c"to_d"));
    must!(symlink(c"/etc", c"to_etc"));
    must!(symlink(c"../f", c"d/up"));
    must!(symlink(c"/x", c"d/abs"));
}

fn plain_open_works() {
    setup();
    let fd = must!(resolve(c"f", 0));
    check_eq!(read_all(fd), Ok(b"content".to_vec()));
}

fn unknown_flags_are_einval() {
    setup();
    expect_errno!(openat2(AT_FDCWD, c"f", 0x4000_0000, 0, 0), EINVAL);
    let how = How {
        flags: 1 << 40,
        ..How::default()
    };
    expect_errno!(sys!(SYS_openat2, AT_FDCWD, c"f", &how, SIZE), EINVAL);
}

fn mode_without_creat_is_einval() {
    setup();
    expect_errno!(openat2(AT_FDCWD, c"f", O_RDONLY, 0o644, 0), EINVAL);
    expect_errno!(
        openat2(AT_FDCWD, c"g", O_CREAT | O_RDWR, 0o200_644, 0),
        EINVAL
    );
    must!(openat2(AT_FDCWD, c"g", O_CREAT | O_RDWR, 0o644, 0));
}

fn unknown_resolve_is_einval() {
    setup();
    expect_errno!(resolve(c"f", 0x100), EINVAL);
    expect_errno!(resolve(c"f", RESOLVE_BENEATH | RESOLVE_IN_ROOT), EINVAL);
}

fn o_path_with_other_flags_is_einval() {
    setup();
    expect_errno!(openat2(AT_FDCWD, c"f", O_PATH | O_RDWR, 0, 0), EINVAL);
    must!(openat2(
        AT_FDCWD,
        c"f",
        O_PATH | O_CLOEXEC | O_NOFOLLOW,
        0,
        0
    ));
}

fn size_rules() {
    setup();
    let how = How::default();
    expect_errno!(sys!(SYS_openat2, AT_FDCWD, c"f", &how, 0), EINVAL);
    expect_errno!(sys!(SYS_openat2, AT_FDCWD, c"f", &how, 23), EINVAL);
    must!(sys!(SYS_openat2, AT_FDCWD, c"f", &how, 32));
    let future = How { extra: 1, ..how };
    expect_errno!(sys!(SYS_openat2, AT_FDCWD, c"f", &future, 32), E2BIG);
    expect_errno!(sys!(SYS_openat2, AT_FDCWD, c"f", &how, PAGE + 1), E2BIG);
    expect_errno!(sys!(SYS_openat2, AT_FDCWD, c"f", bad::<u8>(), SIZE), EFAULT);
}

fn no_symlinks_is_eloop() {
    setup();
    must!(resolve(c"f", RESOLVE_NO_SYMLINKS));
    must!(resolve(c"d/x", RESOLVE_NO_SYMLINKS));
    expect_errno!(resolve(c"to_f", RESOLVE_NO_SYMLINKS), ELOOP);
    expect_errno!(resolve(c"to_d/x", RESOLVE_NO_SYMLINKS), ELOOP);
    must!(openat2(
        AT_FDCWD,
        c"to_f",
        O_PATH | O_NOFOLLOW,
        0,
        RESOLVE_NO_SYMLINKS
    ));
}

fn beneath_refuses_escapes() {
    setup();
    let dir = must!(open(c"d", O_RDONLY, 0));
    let beneath = |path| openat2(dir, path, O_RDONLY, 0, RESOLVE_BENEATH);
    must!(beneath(c"x"));
    must!(beneath(c"."));
    expect_errno!(beneath(c"../d/x"), EXDEV);
    expect_errno!(beneath(c".."), EXDEV);
    expect_errno!(beneath(c"../f"), EXDEV);
    expect_errno!(beneath(c"up"), EXDEV);
    expect_errno!(beneath(c"abs"), EXDEV);
    expect_errno!(beneath(c"/"), EXDEV);
}

fn beneath_allows_dot_dot_inside() {
    setup();
    must!(resolve(c"d/../f", RESOLVE_BENEATH));
    must!(resolve(c"to_d/x", RESOLVE_BENEATH));
    must!(resolve(c"d/up", RESOLVE_BENEATH));
}

fn in_root_confines() {
    setup();
    let dir = must!(open(c"d", O_RDONLY, 0));
    let in_root = |path| openat2(dir, path, O_RDONLY, 0, RESOLVE_IN_ROOT);
    let fd = must!(in_root(c"/x"));
    check_eq!(read_all(fd), Ok(b"in d".to_vec()));
    must!(in_root(c"abs"));
    must!(in_root(c"../../x"));
    expect_errno!(in_root(c"up"), ENOENT);
    let root = must!(in_root(c"/.."));
    check_eq!(must!(fstat(root)).st_ino, must!(fstat(dir)).st_ino);
}

fn no_magiclinks_refuses_proc_fd() {
    setup();
    let fd = must!(open(c"f", O_RDONLY, 0));
    let path = cpath(&format!("/proc/self/fd/{fd}"));
    must!(resolve(&path, 0));
    expect_errno!(resolve(&path, RESOLVE_NO_MAGICLINKS), ELOOP);
    must!(resolve(c"to_f", RESOLVE_NO_MAGICLINKS));
}

fn no_xdev_stops_at_mounts() {
    expect_errno!(resolve(c"/proc/self/status", RESOLVE_NO_XDEV), EXDEV);
    setup();
    must!(resolve(c"d/x", RESOLVE_NO_XDEV));
}

fn cached_needs_no_lookup_or_eagain() {
    setup();
    let result = resolve(c"f", RESOLVE_CACHED);
    check!(matches!(result, Ok(_) | Err(EAGAIN)), "{result:?}");
    expect_errno!(
        openat2(AT_FDCWD, c"g", O_CREAT | O_RDWR, 0o644, RESOLVE_CACHED),
        EAGAIN
    );
}

cases![
    setup,
    plain_open_works,
    unknown_flags_are_einval,
    mode_without_creat_is_einval,
    unknown_resolve_is_einval,
    o_path_with_other_flags_is_einval,
    size_rules,
    no_symlinks_is_eloop,
    beneath_refuses_escapes,
    beneath_allows_dot_dot_inside,
    in_root_confines,
    no_magiclinks_refuses_proc_fd,
    no_xdev_stops_at_mounts,
    cached_needs_no_lookup_or_eagain,
];
