//! utimensat(2), utime(2), utimes(2), futimesat(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

const UTIME_NOW: i64 = 0x3fff_ffff;
const UTIME_OMIT: i64 = 0x3fff_fffe;

fn ts(sec: i64, nsec: i64) -> timespec {
    timespec {
        tv_sec: sec,
        tv_nsec: nsec,
    }
}
fn setup() {
    tmp();
    must!(write_file(c"f", b""));
    must!(symlink(c"f", c"to_f"));
}
fn times(path: &std::ffi::CStr) -> [(i64, i64); 2] {
    let st = must!(lstat(path));
    [
        (st.st_atime, st.st_atime_nsec),
        (st.st_mtime, st.st_mtime_nsec),
    ]
}
fn set(path: &std::ffi::CStr, t: [timespec; 2], flags: i32) -> Sys {
    sys!(SYS_utimensat, AT_FDCWD, path, &t, flags)
}

fn sets_both_with_nanoseconds() {
    setup();
    must!(set(c"f", [ts(100, 123_456_789), ts(200, 987_654_321)], 0));
    check_eq!(times(c"f"), [(100, 123_456_789), (200, 987_654_321)]);
}

fn omit_keeps_and_now_sets() {
    setup();
    must!(set(c"f", [ts(100, 0), ts(200, 0)], 0));
    must!(set(c"f", [ts(0, UTIME_OMIT), ts(300, 0)], 0));
    check_eq!(times(c"f"), [(100, 0), (300, 0)]);
    must!(set(c"f", [ts(77, UTIME_NOW), ts(0, UTIME_OMIT)], 0));
    let [atime, mtime] = times(c"f");
    check!(atime.0 > 1_000_000_000);
    check_eq!(mtime, (300, 0));
}

fn both_omit_checks_nothing() {
    setup();
    must!(set(c"f", [ts(0, UTIME_OMIT); 2], 0));
    check_eq!(set(c"missing", [ts(0, UTIME_OMIT); 2], 0), Ok(0));
}

fn null_times_means_now() {
    setup();
    must!(set(c"f", [ts(1, 0), ts(1, 0)], 0));
    must!(sys!(SYS_utimensat, AT_FDCWD, c"f", 0, 0));
    check!(times(c"f")[1].0 > 1_000_000_000);
}

fn invalid_nanoseconds_are_einval() {
    setup();
    expect_errno!(set(c"f", [ts(1, 1_000_000_000), ts(1, 0)], 0), EINVAL);
    expect_errno!(set(c"f", [ts(1, 0), ts(1, -1)], 0), EINVAL);
}

fn errors() {
    setup();
    expect_errno!(set(c"missing", [ts(1, 0); 2], 0), ENOENT);
    expect_errno!(set(c"f", [ts(1, 0); 2], 0x40_0000), EINVAL);
    expect_errno!(sys!(SYS_utimensat, AT_FDCWD, c"f", bad::<u8>(), 0), EFAULT);
    expect_errno!(sys!(SYS_utimensat, -1, 0, &[ts(1, 0); 2], 0), EBADF);
    expect_errno!(sys!(SYS_utimensat, AT_FDCWD, 0, &[ts(1, 0); 2], 0), EFAULT);
}

fn null_path_uses_descriptor() {
    setup();
    let fd = must!(open(c"f", O_RDONLY, 0));
    must!(sys!(SYS_utimensat, fd, 0, &[ts(5, 0), ts(6, 0)], 0));
    check_eq!(times(c"f"), [(5, 0), (6, 0)]);
    expect_errno!(
        sys!(SYS_utimensat, fd, 0, &[ts(5, 0); 2], AT_SYMLINK_NOFOLLOW),
        EINVAL
    );
}

fn nofollow_sets_the_link() {
    setup();
    must!(set(c"f", [ts(9, 0), ts(9, 0)], 0));
    must!(set(c"to_f", [ts(5, 0), ts(6, 0)], AT_SYMLINK_NOFOLLOW));
    check_eq!(times(c"to_f")[1], (6, 0));
    check_eq!(times(c"f"), [(9, 0), (9, 0)]);
}

fn by_writer_only_now_is_allowed() {
    need_root();
    setup();
    must!(chmod(c"f", 0o666));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        must!(sys!(SYS_utimensat, AT_FDCWD, c"f", 0, 0));
        must!(set(c"f", [ts(0, UTIME_NOW); 2], 0));
        expect_errno!(set(c"f", [ts(1, 0); 2], 0), EPERM);
        expect_errno!(set(c"f", [ts(0, UTIME_NOW), ts(0, UTIME_OMIT)], 0), EPERM);
    });
    must!(chmod(c"f", 0o644));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(sys!(SYS_utimensat, AT_FDCWD, c"f", 0, 0), EACCES);
    });
}

fn utime_sets_seconds() {
    setup();
    must!(sys!(SYS_utime, c"f", &[11i64, 22]));
    check_eq!(times(c"f"), [(11, 0), (22, 0)]);
    must!(sys!(SYS_utime, c"f", 0));
    check!(times(c"f")[0].0 > 1_000_000_000);
}

fn utimes_sets_microseconds() {
    setup();
    must!(sys!(SYS_utimes, c"f", &[11i64, 5, 22, 6]));
    check_eq!(times(c"f"), [(11, 5000), (22, 6000)]);
    expect_errno!(sys!(SYS_utimes, c"f", &[11i64, 1_000_000, 22, 6]), EINVAL);
    expect_errno!(
        sys!(SYS_futimesat, AT_FDCWD, c"f", &[11i64, -1, 22, 6]),
        EINVAL
    );
}

fn times_before_the_epoch() {
    setup();
    must!(set(c"f", [ts(-5, 0), ts(-6, 500)], 0));
    check_eq!(times(c"f"), [(-5, 0), (-6, 500)]);
}

cases![
    setup,
    sets_both_with_nanoseconds,
    omit_keeps_and_now_sets,
    both_omit_checks_nothing,
    null_times_means_now,
    invalid_nanoseconds_are_einval,
    errors,
    null_path_uses_descriptor,
    nofollow_sets_the_link,
    by_writer_only_now_is_allowed,
    utime_sets_seconds,
    utimes_sets_microseconds,
    times_before_the_epoch,
];
