//! stat(2), lstat(2), fstat(2), newfstatat(2), statx(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn setup() {
    tmp();
    must!(write_file(c"f", b"content"));
    must!(mkdir(c"d", 0o755));
    must!(symlink(c"f", c"to_f"));
}
fn statx(dir: i32, path: &std::ffi::CStr, flags: i32, mask: u32) -> Sys<statx> {
    let mut sx: statx = zeroed();
    sys!(SYS_statx, dir, path, flags, mask, &mut sx)?;
    Ok(sx)
}

fn regular_file_fields() {
    setup();
    must!(chmod(c"f", 0o640));
    let st = must!(stat(c"f"));
    check_eq!(st.st_mode, S_IFREG | 0o640);
    check_eq!(st.st_nlink, 1);
    check_eq!(st.st_size, 7);
    check_eq!(st.st_uid, geteuid());
    check!(st.st_blksize > 0);
    check!(st.st_ino != 0);
}

fn directory_fields() {
    setup();
    let st = must!(stat(c"d"));
    check_eq!(st.st_mode, S_IFDIR | 0o755);
    check!(st.st_nlink >= 1);
    let here = must!(stat(c"d/.."));
    check_eq!(here.st_ino, must!(stat(c".")).st_ino);
}

fn lstat_sees_the_link() {
    setup();
    let st = must!(lstat(c"to_f"));
    check_eq!(st.st_mode, S_IFLNK | 0o777);
    check_eq!(st.st_size, 1);
    check_eq!(must!(stat(c"to_f")).st_mode & S_IFMT, S_IFREG);
}

fn old_calls_agree_with_fstatat() {
    setup();
    let (mut a, mut b): (libc::stat, libc::stat) = (zeroed(), zeroed());
    must!(sys!(SYS_stat, c"to_f", &mut a));
    must!(sys!(SYS_lstat, c"to_f", &mut b));
    check_eq!(a.st_ino, must!(stat(c"f")).st_ino);
    check_eq!(b.st_ino, must!(lstat(c"to_f")).st_ino);
    check!(a.st_ino != b.st_ino);
}

fn errors() {
    setup();
    expect_errno!(stat(c"missing"), ENOENT);
    expect_errno!(stat(c""), ENOENT);
    expect_errno!(stat(c"f/x"), ENOTDIR);
    expect_errno!(stat(c"f/"), ENOTDIR);
    expect_errno!(fstat(-1), EBADF);
    expect_errno!(
        sys!(SYS_newfstatat, AT_FDCWD, bad::<u8>(), anon(1), 0),
        EFAULT
    );
    expect_errno!(sys!(SYS_newfstatat, AT_FDCWD, c"f", bad::<u8>(), 0), EFAULT);
    expect_errno!(
        sys!(SYS_newfstatat, AT_FDCWD, c"missing", bad::<u8>(), 0),
        ENOENT
    );
    expect_errno!(sys!(SYS_fstat, -1, bad::<u8>()), EBADF);
    expect_errno!(sys!(SYS_fstat, 0, bad::<u8>()), EFAULT);
}

fn fstatat_flags() {
    setup();
    expect_errno!(fstatat(AT_FDCWD, c"f", 0x40_0000), EINVAL);
    let fd = must!(open(c"f", O_RDONLY, 0));
    expect_errno!(fstatat(fd, c"", 0), ENOENT);
    let st = must!(fstatat(fd, c"", AT_EMPTY_PATH));
    check_eq!(st.st_ino, must!(stat(c"f")).st_ino);
    let here = must!(fstatat(AT_FDCWD, c"", AT_EMPTY_PATH));
    check_eq!(here.st_ino, must!(stat(c".")).st_ino);
    expect_errno!(fstatat(fd, c"x", 0), ENOTDIR);
    expect_errno!(fstatat(-1, c"x", 0), EBADF);
    must!(fstatat(-1, c"/", 0));
}

fn fstat_of_pipe_and_socket() {
    let (r, w) = must!(pipe());
    let (a, b) = (must!(fstat(r)), must!(fstat(w)));
    check_eq!(a.st_mode & S_IFMT, S_IFIFO);
    check_eq!(a.st_ino, b.st_ino);
    let (s, _t) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    check_eq!(must!(fstat(s)).st_mode & S_IFMT, S_IFSOCK);
}

fn fstat_of_o_path_works() {
    setup();
    let fd = must!(open(c"f", O_PATH, 0));
    check_eq!(must!(fstat(fd)).st_size, 7);
}

fn device_numbers() {
    let st = must!(stat(c"/dev/null"));
    check_eq!(st.st_mode & S_IFMT, S_IFCHR);
    check_eq!((major(st.st_rdev), minor(st.st_rdev)), (1, 3));
}

fn times_move_with_changes() {
    setup();
    let old = [timespec_ms(5000), timespec_ms(6000)];
    must!(sys!(SYS_utimensat, AT_FDCWD, c"f", &old, 0));
    let before = must!(stat(c"f"));
    check_eq!((before.st_atime, before.st_mtime), (5, 6));
    sleep_ms(20);
    must!(chmod(c"f", 0o600));
    let after = must!(stat(c"f"));
    check_eq!(after.st_mtime, 6);
    check!(
        (after.st_ctime, after.st_ctime_nsec) > (before.st_ctime, before.st_ctime_nsec),
        "ctime did not move"
    );
}

fn directory_mtime_moves_with_entries() {
    setup();
    let old = [timespec_ms(5000), timespec_ms(5000)];
    must!(sys!(SYS_utimensat, AT_FDCWD, c"d", &old, 0));
    must!(write_file(c"d/x", b""));
    check!(must!(stat(c"d")).st_mtime > 5);
    must!(sys!(SYS_utimensat, AT_FDCWD, c"d", &old, 0));
    must!(unlink(c"d/x"));
    check!(must!(stat(c"d")).st_mtime > 5);
}

fn inode_numbers_are_stable_and_distinct() {
    setup();
    must!(write_file(c"g", b""));
    let ino = must!(stat(c"f")).st_ino;
    check!(ino != must!(stat(c"g")).st_ino);
    must!(rename(c"f", c"h"));
    check_eq!(must!(stat(c"h")).st_ino, ino);
    let fd = must!(open(c"h", O_RDONLY, 0));
    check_eq!(must!(fstat(fd)).st_ino, ino);
}

fn blocks_of_sparse_file_are_fewer_than_size() {
    tmp();
    let fd = must!(open(c"s", O_RDWR | O_CREAT, 0o644));
    must!(ftruncate(fd, 100 << 20));
    let st = must!(fstat(fd));
    check_eq!(st.st_size, 100 << 20);
    check!(st.st_blocks * 512 < 1 << 20, "{}", st.st_blocks);
}

fn statx_basic_fields() {
    setup();
    let sx = must!(statx(AT_FDCWD, c"f", 0, STATX_BASIC_STATS));
    check_eq!(sx.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    let st = must!(stat(c"f"));
    check_eq!(u32::from(sx.stx_mode), st.st_mode);
    check_eq!(sx.stx_ino, st.st_ino);
    check_eq!(sx.stx_size, 7);
    check_eq!(sx.stx_mtime.tv_sec, st.st_mtime);
    check_eq!(i64::from(sx.stx_mtime.tv_nsec), st.st_mtime_nsec);
    check_eq!(
        (sx.stx_dev_major, sx.stx_dev_minor),
        (major(st.st_dev), minor(st.st_dev))
    );
}

fn statx_errors() {
    setup();
    expect_errno!(statx(AT_FDCWD, c"missing", 0, 0), ENOENT);
    expect_errno!(statx(AT_FDCWD, c"f", 0x40_0000, 0), EINVAL);
    expect_errno!(statx(AT_FDCWD, c"f", AT_STATX_SYNC_TYPE, 0), EINVAL);
    expect_errno!(statx(AT_FDCWD, c"f", 0, 0x8000_0000), EINVAL);
    expect_errno!(statx(-1, c"f", 0, 0), EBADF);
    expect_errno!(sys!(SYS_statx, AT_FDCWD, c"f", 0, 0, bad::<u8>()), EFAULT);
    expect_errno!(
        sys!(SYS_statx, AT_FDCWD, bad::<u8>(), 0, 0, anon(1)),
        EFAULT
    );
}

fn statx_nofollow_and_empty_path() {
    setup();
    let sx = must!(statx(AT_FDCWD, c"to_f", AT_SYMLINK_NOFOLLOW, STATX_TYPE));
    check_eq!(u32::from(sx.stx_mode) & S_IFMT, S_IFLNK);
    let fd = must!(open(c"f", O_RDONLY, 0));
    let sx = must!(statx(fd, c"", AT_EMPTY_PATH, STATX_SIZE));
    check_eq!(sx.stx_size, 7);
}

fn statx_with_zero_mask_still_works() {
    setup();
    let sx = must!(statx(AT_FDCWD, c"f", AT_STATX_DONT_SYNC, 0));
    check_eq!(u32::from(sx.stx_mode) & S_IFMT, S_IFREG);
}

cases![
    setup,
    regular_file_fields,
    directory_fields,
    lstat_sees_the_link,
    old_calls_agree_with_fstatat,
    errors,
    fstatat_flags,
    fstat_of_pipe_and_socket,
    fstat_of_o_path_works,
    device_numbers,
    times_move_with_changes,
    directory_mtime_moves_with_entries,
    inode_numbers_are_stable_and_distinct,
    blocks_of_sparse_file_are_fewer_than_size,
    statx_basic_fields,
    statx_errors,
    statx_nofollow_and_empty_path,
    statx_with_zero_mask_still_works,
];
