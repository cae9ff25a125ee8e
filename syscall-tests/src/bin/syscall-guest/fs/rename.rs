//! rename(2), renameat(2), renameat2(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

const NOREPLACE: u32 = 1;
const EXCHANGE: u32 = 2;
const WHITEOUT: u32 = 4;

fn setup() {
    tmp();
    must!(write_file(c"f", b"f"));
    must!(write_file(c"g", b"g"));
    must!(mkdir(c"d", 0o755));
    must!(mkdir(c"e", 0o755));
    must!(mkdir(c"full", 0o755));
    must!(write_file(c"full/x", b"x"));
}

fn moves_a_file() {
    setup();
    must!(rename(c"f", c"new"));
    check!(!exists(c"f"));
    check_eq!(read_file(c"new"), Ok(b"f".to_vec()));
}

fn replaces_a_file() {
    setup();
    let fd = must!(open(c"g", O_RDONLY, 0));
    must!(rename(c"f", c"g"));
    check_eq!(read_file(c"g"), Ok(b"f".to_vec()));
    check_eq!(read_all(fd), Ok(b"g".to_vec()));
    check_eq!(must!(fstat(fd)).st_nlink, 0);
}

fn into_other_directory() {
    setup();
    must!(rename(c"f", c"d/f"));
    check_eq!(read_file(c"d/f"), Ok(b"f".to_vec()));
    must!(rename(c"d/f", c"e/../back"));
    check!(exists(c"back"));
}

fn same_file_is_noop() {
    setup();
    must!(rename(c"f", c"f"));
    must!(link(c"f", c"h"));
    must!(rename(c"f", c"h"));
    check!(exists(c"f") && exists(c"h"));
}

fn missing_source_is_enoent() {
    setup();
    expect_errno!(rename(c"missing", c"x"), ENOENT);
    expect_errno!(rename(c"f", c"missing/x"), ENOENT);
    expect_errno!(rename(c"", c"x"), ENOENT);
    expect_errno!(rename(c"f", c""), ENOENT);
}

fn file_over_directory_is_eisdir() {
    setup();
    expect_errno!(rename(c"f", c"d"), EISDIR);
}

fn directory_over_file_is_enotdir() {
    setup();
    expect_errno!(rename(c"d", c"f"), ENOTDIR);
}

fn directory_over_empty_directory_works() {
    setup();
    must!(rename(c"full", c"e"));
    check!(exists(c"e/x"));
    check!(!exists(c"full"));
}

fn directory_over_full_directory_is_enotempty() {
    setup();
    expect_errno!(rename(c"d", c"full"), ENOTEMPTY);
}

fn into_own_subdirectory_is_einval() {
    setup();
    must!(mkdir(c"d/sub", 0o755));
    expect_errno!(rename(c"d", c"d/sub/d"), EINVAL);
    expect_errno!(rename(c"d", c"d/x"), EINVAL);
}

fn over_own_ancestor_is_enotempty() {
    setup();
    must!(mkdir(c"d/sub", 0o755));
    expect_errno!(rename(c"d/sub", c"d"), ENOTEMPTY);
}

fn dot_and_dot_dot_are_ebusy() {
    setup();
    expect_errno!(rename(c"d/.", c"x"), EBUSY);
    expect_errno!(rename(c"d", c"e/."), EBUSY);
    expect_errno!(rename(c"d/..", c"x"), EBUSY);
    expect_errno!(rename(c"/", c"x"), EBUSY);
}

fn trailing_slashes() {
    setup();
    expect_errno!(rename(c"f/", c"x"), ENOTDIR);
    expect_errno!(rename(c"f", c"x/"), ENOTDIR);
    must!(rename(c"d/", c"x/"));
    check!(exists(c"x"));
}

fn file_component_is_enotdir() {
    setup();
    expect_errno!(rename(c"f/x", c"y"), ENOTDIR);
    expect_errno!(rename(c"f", c"g/y"), ENOTDIR);
}

fn symlink_is_moved_not_followed() {
    setup();
    must!(symlink(c"f", c"l"));
    must!(rename(c"l", c"m"));
    check_eq!(readlink(c"m"), Ok(b"f".to_vec()));
    check!(exists(c"f"));
    must!(rename(c"g", c"m"));
    check_eq!(must!(lstat(c"m")).st_mode & S_IFMT, S_IFREG);
    check!(exists(c"f"));
}

fn across_file_systems_is_exdev() {
    setup();
    expect_errno!(rename(c"f", c"/proc/f"), EXDEV);
}

fn bad_pointers_are_efault() {
    setup();
    expect_errno!(sys!(SYS_rename, bad::<u8>(), c"x"), EFAULT);
    expect_errno!(sys!(SYS_rename, c"f", bad::<u8>()), EFAULT);
}

fn noreplace_existing_is_eexist() {
    setup();
    expect_errno!(rename2(c"f", c"g", NOREPLACE), EEXIST);
    must!(rename2(c"f", c"x", NOREPLACE));
    check!(exists(c"x"));
    expect_errno!(rename2(c"missing", c"g", NOREPLACE), ENOENT);
}

fn exchange_swaps() {
    setup();
    must!(rename2(c"f", c"g", EXCHANGE));
    check_eq!(read_file(c"f"), Ok(b"g".to_vec()));
    check_eq!(read_file(c"g"), Ok(b"f".to_vec()));
    must!(rename2(c"f", c"full", EXCHANGE));
    check!(exists(c"f/x"));
    check_eq!(read_file(c"full"), Ok(b"g".to_vec()));
}

fn exchange_needs_both() {
    setup();
    expect_errno!(rename2(c"f", c"missing", EXCHANGE), ENOENT);
    expect_errno!(rename2(c"missing", c"f", EXCHANGE), ENOENT);
}

fn exchange_with_own_subdirectory_is_einval() {
    setup();
    must!(mkdir(c"d/sub", 0o755));
    expect_errno!(rename2(c"d", c"d/sub", EXCHANGE), EINVAL);
    expect_errno!(rename2(c"d/sub", c"d", EXCHANGE), EINVAL);
}

fn flag_combinations_are_einval() {
    setup();
    expect_errno!(rename2(c"f", c"g", NOREPLACE | EXCHANGE), EINVAL);
    expect_errno!(rename2(c"f", c"g", WHITEOUT | EXCHANGE), EINVAL);
    expect_errno!(rename2(c"f", c"g", 8), EINVAL);
}

fn dirfds() {
    setup();
    let d = must!(open(c"d", O_RDONLY, 0));
    let e = must!(open(c"e", O_PATH, 0));
    must!(write_file(c"d/x", b"1"));
    must!(sys!(SYS_renameat, d, c"x", e, c"y"));
    check!(exists(c"e/y"));
    expect_errno!(sys!(SYS_renameat, -1, c"x", e, c"y"), EBADF);
    expect_errno!(sys!(SYS_renameat, d, c"x", -1, c"y"), EBADF);
    let f = must!(open(c"f", O_RDONLY, 0));
    expect_errno!(sys!(SYS_renameat, f, c"x", e, c"y"), ENOTDIR);
}

fn moves_directory_with_contents_and_parent() {
    setup();
    must!(rename(c"full", c"d/moved"));
    check!(exists(c"d/moved/x"));
    let up = must!(stat(c"d/moved/.."));
    check_eq!(up.st_ino, must!(stat(c"d")).st_ino);
}

fn keeps_working_directory_inside() {
    setup();
    must!(chdir(c"full"));
    must!(rename(c"../full", c"../d/moved"));
    check!(exists(c"x"));
    let mut buf = [0u8; 4096];
    let n = must!(sys!(SYS_getcwd, &mut buf, 4096)) as usize;
    check_eq!(
        String::from_utf8_lossy(&buf[..n - 1]),
        format!("{}/d/moved", tmp_path())
    );
}

fn permission_denied_is_eacces() {
    need_root();
    setup();
    must!(mkdir(c"w", 0o755));
    must!(chown(c"w", 1000, 1000));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(rename(c"f", c"w/f"), EACCES);
        expect_errno!(rename(c"full/x", c"w/x"), EACCES);
    });
}

cases![
    setup,
    moves_a_file,
    replaces_a_file,
    into_other_directory,
    same_file_is_noop,
    missing_source_is_enoent,
    file_over_directory_is_eisdir,
    directory_over_file_is_enotdir,
    directory_over_empty_directory_works,
    directory_over_full_directory_is_enotempty,
    into_own_subdirectory_is_einval,
    over_own_ancestor_is_enotempty,
    dot_and_dot_dot_are_ebusy,
    trailing_slashes,
    file_component_is_enotdir,
    symlink_is_moved_not_followed,
    across_file_systems_is_exdev,
    bad_pointers_are_efault,
    noreplace_existing_is_eexist,
    exchange_swaps,
    exchange_needs_both,
    exchange_with_own_subdirectory_is_einval,
    flag_combinations_are_einval,
    dirfds,
    moves_directory_with_contents_and_parent,
    keeps_working_directory_inside,
    permission_denied_is_eacces,
];
