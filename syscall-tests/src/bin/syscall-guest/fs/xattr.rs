//! setxattr(2), getxattr(2), listxattr(2), removexattr(2) and relatives.

use std::ffi::CStr;
use syscall_tests::cases;
use syscall_tests::prelude::*;

const CREATE: i32 = 1;
const REPLACE: i32 = 2;

fn set(path: &CStr, name: &CStr, value: &[u8], flags: i32) -> Sys {
    sys!(SYS_setxattr, path, name, value, value.len(), flags)
}
fn get(path: &CStr, name: &CStr) -> Sys<Vec<u8>> {
    let mut buf = [0u8; 256];
    let n = sys!(SYS_getxattr, path, name, &mut buf, 256)?;
    Ok(buf[..n as usize].to_vec())
}
fn setup() {
    tmp();
    must!(write_file(c"f", b""));
    if set(c"f", c"user.probe", b"1", 0) == Err(EOPNOTSUPP) {
        skip!("no user extended attributes here");
    }
    must!(sys!(SYS_removexattr, c"f", c"user.probe"));
}

fn set_get_remove() {
    setup();
    must!(set(c"f", c"user.a", b"value", 0));
    check_eq!(get(c"f", c"user.a"), Ok(b"value".to_vec()));
    must!(set(c"f", c"user.a", b"", 0));
    check_eq!(get(c"f", c"user.a"), Ok(vec![]));
    must!(sys!(SYS_removexattr, c"f", c"user.a"));
    expect_errno!(get(c"f", c"user.a"), ENODATA);
    expect_errno!(sys!(SYS_removexattr, c"f", c"user.a"), ENODATA);
}

fn create_and_replace_flags() {
    setup();
    expect_errno!(set(c"f", c"user.a", b"x", REPLACE), ENODATA);
    must!(set(c"f", c"user.a", b"x", CREATE));
    expect_errno!(set(c"f", c"user.a", b"x", CREATE), EEXIST);
    must!(set(c"f", c"user.a", b"y", REPLACE));
    expect_errno!(set(c"f", c"user.a", b"y", 4), EINVAL);
}

fn size_zero_asks_for_length() {
    setup();
    must!(set(c"f", c"user.a", b"value", 0));
    check_eq!(sys!(SYS_getxattr, c"f", c"user.a", 0, 0), Ok(5));
    let mut buf = [0u8; 4];
    expect_errno!(sys!(SYS_getxattr, c"f", c"user.a", &mut buf, 4), ERANGE);
}

fn list_gives_names_with_nul() {
    setup();
    must!(set(c"f", c"user.a", b"1", 0));
    must!(set(c"f", c"user.b", b"2", 0));
    let mut buf = [0u8; 256];
    let n = must!(sys!(SYS_listxattr, c"f", &mut buf, 256)) as usize;
    let mut names: Vec<&[u8]> = buf[..n]
        .split(|b| *b == 0)
        .filter(|s| s.starts_with(b"user."))
        .collect();
    names.sort_unstable();
    check_eq!(names, vec![b"user.a".as_slice(), b"user.b".as_slice()]);
    check_eq!(sys!(SYS_listxattr, c"f", 0, 0), Ok(n as i64));
    expect_errno!(sys!(SYS_listxattr, c"f", &mut buf, 3), ERANGE);
}

fn errors() {
    setup();
    expect_errno!(get(c"missing", c"user.a"), ENOENT);
    expect_errno!(set(c"f", c"", b"x", 0), ERANGE);
    expect_errno!(set(c"f", c"noprefix", b"x", 0), EOPNOTSUPP);
    expect_errno!(
        set(c"f", &cpath(&format!("user.{}", "n".repeat(251))), b"x", 0),
        ERANGE
    );
    expect_errno!(
        sys!(SYS_setxattr, c"f", c"user.a", b"x".as_slice(), 65537, 0),
        E2BIG
    );
    expect_errno!(
        sys!(SYS_setxattr, c"f", c"user.a", bad::<u8>(), 4, 0),
        EFAULT
    );
    expect_errno!(
        sys!(SYS_setxattr, c"f", bad::<u8>(), b"x".as_slice(), 1, 0),
        EFAULT
    );
    expect_errno!(sys!(SYS_getxattr, c"f", bad::<u8>(), 0, 0), EFAULT);
    must!(set(c"f", c"user.a", b"value", 0));
    expect_errno!(
        sys!(SYS_getxattr, c"f", c"user.a", bad::<u8>(), 100),
        EFAULT
    );
    expect_errno!(sys!(SYS_fgetxattr, -1, c"user.a", 0, 0), EBADF);
}

fn descriptor_variants() {
    setup();
    let fd = must!(open(c"f", O_RDONLY, 0));
    must!(sys!(SYS_fsetxattr, fd, c"user.a", b"v".as_slice(), 1, 0));
    check_eq!(get(c"f", c"user.a"), Ok(b"v".to_vec()));
    check_eq!(sys!(SYS_fgetxattr, fd, c"user.a", 0, 0), Ok(1));
    check!(must!(sys!(SYS_flistxattr, fd, 0, 0)) >= 7);
    must!(sys!(SYS_fremovexattr, fd, c"user.a"));
    let p = must!(open(c"f", O_PATH, 0));
    expect_errno!(sys!(SYS_fgetxattr, p, c"user.a", 0, 0), EBADF);
}

fn user_attribute_of_symlink_is_eperm() {
    setup();
    must!(symlink(c"f", c"l"));
    expect_errno!(
        sys!(SYS_lsetxattr, c"l", c"user.a", b"v".as_slice(), 1, 0),
        EPERM
    );
    must!(sys!(SYS_setxattr, c"l", c"user.a", b"v".as_slice(), 1, 0));
    check_eq!(get(c"f", c"user.a"), Ok(b"v".to_vec()));
    check!(matches!(
        sys!(SYS_lgetxattr, c"l", c"user.a", 0, 0),
        Err(ENODATA | EPERM)
    ));
}

fn trusted_needs_capability() {
    need_root();
    setup();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(set(c"f", c"trusted.a", b"v", 0), EPERM);
        expect_errno!(get(c"f", c"trusted.a"), ENODATA);
    });
}

fn user_attribute_needs_write_permission() {
    need_root();
    setup();
    must!(set(c"f", c"user.a", b"v", 0));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        check_eq!(get(c"f", c"user.a"), Ok(b"v".to_vec()));
        expect_errno!(set(c"f", c"user.a", b"w", 0), EACCES);
    });
}

fn attributes_survive_rename_and_follow_links() {
    setup();
    must!(set(c"f", c"user.a", b"v", 0));
    must!(rename(c"f", c"g"));
    check_eq!(get(c"g", c"user.a"), Ok(b"v".to_vec()));
    must!(link(c"g", c"h"));
    check_eq!(get(c"h", c"user.a"), Ok(b"v".to_vec()));
}

fn directory_attributes() {
    setup();
    must!(mkdir(c"d", 0o755));
    must!(set(c"d", c"user.a", b"v", 0));
    check_eq!(get(c"d", c"user.a"), Ok(b"v".to_vec()));
    check_eq!(get(c"d/", c"user.a"), Ok(b"v".to_vec()));
}

cases![
    setup,
    set_get_remove,
    create_and_replace_flags,
    size_zero_asks_for_length,
    list_gives_names_with_nul,
    errors,
    descriptor_variants,
    user_attribute_of_symlink_is_eperm,
    trusted_needs_capability,
    user_attribute_needs_write_permission,
    attributes_survive_rename_and_follow_links,
    directory_attributes,
];
