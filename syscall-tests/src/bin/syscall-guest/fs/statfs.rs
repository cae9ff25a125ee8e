//! statfs(2), fstatfs(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn statfs_of(path: &std::ffi::CStr) -> Sys<libc::statfs> {
    let mut st: libc::statfs = zeroed();
    sys!(SYS_statfs, path, &mut st)?;
    Ok(st)
}

fn scratch_directory() {
    tmp();
    let st = must!(statfs_of(c"."));
    check!(st.f_bsize > 0);
    check!(st.f_blocks >= st.f_bfree);
    check!(st.f_bfree >= st.f_bavail);
    check_eq!(st.f_namelen, 255);
}

fn magic_numbers() {
    check_eq!(must!(statfs_of(c"/proc")).f_type, PROC_SUPER_MAGIC);
    check_eq!(must!(statfs_of(c"/sys")).f_type, 0x6265_6572);
    check_eq!(must!(statfs_of(c"/dev/shm")).f_type, TMPFS_MAGIC);
    check_eq!(must!(statfs_of(c"/dev/pts")).f_type, 0x1cd1);
}

fn pipe_magic() {
    let (r, _w) = must!(pipe());
    let mut st: libc::statfs = zeroed();
    must!(sys!(SYS_fstatfs, r, &mut st));
    check_eq!(st.f_type, 0x5049_5045);
}

fn by_descriptor_agrees() {
    tmp();
    let fd = must!(open(c".", O_RDONLY, 0));
    let mut st: libc::statfs = zeroed();
    must!(sys!(SYS_fstatfs, fd, &mut st));
    let by_path = must!(statfs_of(c"."));
    check_eq!((st.f_type, st.f_bsize), (by_path.f_type, by_path.f_bsize));
    let p = must!(open(c".", O_PATH, 0));
    must!(sys!(SYS_fstatfs, p, &mut st));
}

fn errors() {
    tmp();
    must!(write_file(c"f", b""));
    expect_errno!(statfs_of(c"missing").map(|_| ()), ENOENT);
    expect_errno!(statfs_of(c"f/x").map(|_| ()), ENOTDIR);
    expect_errno!(sys!(SYS_statfs, c"f", bad::<u8>()), EFAULT);
    expect_errno!(sys!(SYS_statfs, bad::<u8>(), anon(1)), EFAULT);
    expect_errno!(sys!(SYS_fstatfs, -1, anon(1)), EBADF);
}

cases![
    scratch_directory,
    magic_numbers,
    pipe_magic,
    by_descriptor_agrees,
    errors,
];
