//! copy_file_range(2), sendfile(2), splice(2), tee(2), vmsplice(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn files() -> (i32, i32) {
    tmp();
    must!(write_file(c"in", b"0123456789"));
    let a = must!(open(c"in", O_RDWR, 0));
    let b = must!(open(c"out", O_RDWR | O_CREAT, 0o644));
    (a, b)
}
fn cfr(a: i32, off_a: impl Arg, b: i32, off_b: impl Arg, len: usize, flags: u32) -> Sys {
    sys!(SYS_copy_file_range, a, off_a, b, off_b, len, flags)
}
fn sendfile(out: i32, inp: i32, off: impl Arg, len: usize) -> Sys {
    sys!(SYS_sendfile, out, inp, off, len)
}
fn splice(a: i32, off_a: impl Arg, b: i32, off_b: impl Arg, len: usize, flags: u32) -> Sys {
    sys!(SYS_splice, a, off_a, b, off_b, len, flags)
}

fn copy_file_range_moves_both_offsets() {
    let (a, b) = files();
    must!(lseek(a, 2, SEEK_SET));
    check_eq!(cfr(a, 0, b, 0, 5, 0), Ok(5));
    check_eq!((tell(a), tell(b)), (Ok(7), Ok(5)));
    check_eq!(read_file(c"out"), Ok(b"23456".to_vec()));
}

fn copy_file_range_with_offsets_keeps_file_offsets() {
    let (a, b) = files();
    let (mut ia, mut ib) = (1i64, 3i64);
    check_eq!(cfr(a, &mut ia, b, &mut ib, 4, 0), Ok(4));
    check_eq!((ia, ib), (5, 7));
    check_eq!((tell(a), tell(b)), (Ok(0), Ok(0)));
    check_eq!(read_file(c"out"), Ok(b"\0\0\x001234".to_vec()));
}

fn copy_file_range_stops_at_end() {
    let (a, b) = files();
    check_eq!(cfr(a, 0, b, 0, 100, 0), Ok(10));
    check_eq!(cfr(a, 0, b, 0, 100, 0), Ok(0));
}

fn copy_file_range_errors() {
    let (a, b) = files();
    expect_errno!(cfr(a, 0, b, 0, 5, 1), EINVAL);
    expect_errno!(cfr(-1, 0, b, 0, 5, 0), EBADF);
    expect_errno!(cfr(a, 0, -1, 0, 5, 0), EBADF);
    let ro = must!(open(c"out", O_RDONLY, 0));
    expect_errno!(cfr(a, 0, ro, 0, 5, 0), EBADF);
    let wo = must!(open(c"in", O_WRONLY, 0));
    expect_errno!(cfr(wo, 0, b, 0, 5, 0), EBADF);
    let app = must!(open(c"out", O_WRONLY | O_APPEND, 0));
    expect_errno!(cfr(a, 0, app, 0, 5, 0), EBADF);
    let dir = must!(open(c".", O_RDONLY, 0));
    expect_errno!(cfr(dir, 0, b, 0, 5, 0), EISDIR);
    let (r, _w) = must!(pipe());
    expect_errno!(cfr(r, 0, b, 0, 5, 0), EINVAL);
    expect_errno!(cfr(a, bad::<u8>(), b, 0, 5, 0), EFAULT);
}

fn copy_file_range_overlap_is_einval() {
    let (a, _b) = files();
    let (mut ia, mut ib) = (0i64, 3i64);
    expect_errno!(cfr(a, &mut ia, a, &mut ib, 5, 0), EINVAL);
    let mut ib = 5i64;
    check_eq!(cfr(a, &mut ia, a, &mut ib, 5, 0), Ok(5));
    check_eq!(read_file(c"in"), Ok(b"0123401234".to_vec()));
}

fn copy_file_range_zero_length() {
    let (a, b) = files();
    check_eq!(cfr(a, 0, b, 0, 0, 0), Ok(0));
}

fn sendfile_file_to_file() {
    let (a, b) = files();
    must!(lseek(a, 4, SEEK_SET));
    check_eq!(sendfile(b, a, 0, 100), Ok(6));
    check_eq!(tell(a), Ok(10));
    check_eq!(read_file(c"out"), Ok(b"456789".to_vec()));
    check_eq!(sendfile(b, a, 0, 100), Ok(0));
}

fn sendfile_offset_pointer() {
    let (a, b) = files();
    let mut off = 8i64;
    check_eq!(sendfile(b, a, &mut off, 100), Ok(2));
    check_eq!(off, 10);
    check_eq!(tell(a), Ok(0));
}

fn sendfile_to_pipe_and_socket() {
    let (a, _b) = files();
    let (r, w) = must!(pipe());
    check_eq!(sendfile(w, a, 0, 4), Ok(4));
    check_eq!(read_vec(r, 100), Ok(b"0123".to_vec()));
    let (s, t) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    check_eq!(sendfile(s, a, 0, 100), Ok(6));
    check_eq!(read_vec(t, 100), Ok(b"456789".to_vec()));
}

fn sendfile_errors() {
    let (a, b) = files();
    expect_errno!(sendfile(-1, a, 0, 1), EBADF);
    expect_errno!(sendfile(b, -1, 0, 1), EBADF);
    let wo = must!(open(c"in", O_WRONLY, 0));
    expect_errno!(sendfile(b, wo, 0, 1), EBADF);
    let ro = must!(open(c"out", O_RDONLY, 0));
    expect_errno!(sendfile(ro, a, 0, 1), EBADF);
    let app = must!(open(c"out", O_WRONLY | O_APPEND, 0));
    expect_errno!(sendfile(app, a, 0, 1), EINVAL);
    expect_errno!(sendfile(b, a, bad::<u8>(), 1), EFAULT);
    let mut negative = -1i64;
    expect_errno!(sendfile(b, a, &mut negative, 1), EINVAL);
    let (r, _w) = must!(pipe());
    let mut off = 0i64;
    expect_errno!(sendfile(b, r, &mut off, 1), ESPIPE);
}

fn splice_file_to_pipe_to_file() {
    let (a, b) = files();
    let (r, w) = must!(pipe());
    check_eq!(splice(a, 0, w, 0, 6, 0), Ok(6));
    check_eq!(tell(a), Ok(6));
    let mut off = 2i64;
    check_eq!(splice(r, 0, b, &mut off, 100, 0), Ok(6));
    check_eq!(off, 8);
    check_eq!(read_file(c"out"), Ok(b"\0\x00012345".to_vec()));
}

fn splice_needs_a_pipe() {
    let (a, b) = files();
    expect_errno!(splice(a, 0, b, 0, 5, 0), EINVAL);
}

fn splice_offset_for_pipe_is_espipe() {
    let (a, _b) = files();
    let (_r, w) = must!(pipe());
    let mut off = 0i64;
    expect_errno!(splice(a, 0, w, &mut off, 5, 0), ESPIPE);
}

fn splice_errors() {
    let (a, _b) = files();
    let (r, w) = must!(pipe());
    expect_errno!(splice(a, 0, w, 0, 5, 0x100), EINVAL);
    expect_errno!(splice(-1, 0, w, 0, 5, 0), EBADF);
    expect_errno!(splice(a, 0, -1, 0, 5, 0), EBADF);
    expect_errno!(splice(a, 0, r, 0, 5, 0), EBADF);
    expect_errno!(splice(r, 0, w, 0, 5, 0), EINVAL);
    check_eq!(splice(a, 0, w, 0, 0, 0), Ok(0));
    expect_errno!(splice(a, bad::<u8>(), w, 0, 5, 0), EFAULT);
}

fn splice_empty_pipe_nonblock_is_eagain() {
    let (_a, b) = files();
    let (r, w) = must!(pipe());
    expect_errno!(splice(r, 0, b, 0, 5, SPLICE_F_NONBLOCK), EAGAIN);
    must!(close(w));
    check_eq!(splice(r, 0, b, 0, 5, 0), Ok(0));
}

fn splice_pipe_to_pipe() {
    let (r1, w1) = must!(pipe());
    let (r2, w2) = must!(pipe());
    must!(write(w1, b"hello"));
    check_eq!(splice(r1, 0, w2, 0, 3, 0), Ok(3));
    check_eq!(read_vec(r2, 10), Ok(b"hel".to_vec()));
    check_eq!(read_vec(r1, 10), Ok(b"lo".to_vec()));
}

fn tee_copies_without_consuming() {
    let (r1, w1) = must!(pipe());
    let (r2, w2) = must!(pipe());
    must!(write(w1, b"hello"));
    check_eq!(sys!(SYS_tee, r1, w2, 100, 0), Ok(5));
    check_eq!(read_vec(r2, 10), Ok(b"hello".to_vec()));
    check_eq!(read_vec(r1, 10), Ok(b"hello".to_vec()));
}

fn tee_errors() {
    let (a, _b) = files();
    let (r, w) = must!(pipe());
    expect_errno!(sys!(SYS_tee, a, w, 5, 0), EINVAL);
    expect_errno!(sys!(SYS_tee, r, w, 5, 0), EINVAL);
    let (_r2, w2) = must!(pipe());
    expect_errno!(sys!(SYS_tee, r, w2, 5, 0x100), EINVAL);
    expect_errno!(sys!(SYS_tee, -1, w2, 5, 0), EBADF);
    expect_errno!(sys!(SYS_tee, r, w2, 5, SPLICE_F_NONBLOCK), EAGAIN);
    check_eq!(sys!(SYS_tee, r, w2, 0, 0), Ok(0));
}

fn vmsplice_to_pipe() {
    let (r, w) = must!(pipe());
    let iov = [iov(b"abc"), iov(b"def")];
    check_eq!(sys!(SYS_vmsplice, w, &iov, 2, 0), Ok(6));
    check_eq!(read_vec(r, 10), Ok(b"abcdef".to_vec()));
    let (a, _b) = files();
    expect_errno!(sys!(SYS_vmsplice, a, &iov, 2, 0), EBADF);
    expect_errno!(sys!(SYS_vmsplice, w, &iov, 2, 0x100), EINVAL);
}

cases![
    copy_file_range_moves_both_offsets,
    copy_file_range_with_offsets_keeps_file_offsets,
    copy_file_range_stops_at_end,
    copy_file_range_errors,
    copy_file_range_overlap_is_einval,
    copy_file_range_zero_length,
    sendfile_file_to_file,
    sendfile_offset_pointer,
    sendfile_to_pipe_and_socket,
    sendfile_errors,
    splice_file_to_pipe_to_file,
    splice_needs_a_pipe,
    splice_offset_for_pipe_is_espipe,
    splice_errors,
    splice_empty_pipe_nonblock_is_eagain,
    splice_pipe_to_pipe,
    tee_copies_without_consuming,
    tee_errors,
    vmsplice_to_pipe,
];
