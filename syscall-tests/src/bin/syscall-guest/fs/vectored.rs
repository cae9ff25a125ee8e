//! readv(2), writev(2), preadv(2), pwritev(2), preadv2(2), pwritev2(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn file(data: &[u8]) -> i32 {
    tmp();
    must!(write_file(c"f", data));
    must!(open(c"f", O_RDWR, 0))
}

fn preadv2(fd: i32, iov: &[iovec], off: i64, flags: i32) -> Sys {
    sys!(SYS_preadv2, fd, iov, iov.len(), off, off >> 63, flags)
}
fn pwritev2(fd: i32, iov: &[iovec], off: i64, flags: i32) -> Sys {
    sys!(SYS_pwritev2, fd, iov, iov.len(), off, off >> 63, flags)
}

fn readv_fills_in_order() {
    let fd = file(b"abcdefgh");
    let (mut a, mut b) = ([0u8; 3], [0u8; 4]);
    let iov = [iov_mut(&mut a), iov_mut(&mut b)];
    check_eq!(sys!(SYS_readv, fd, &iov, 2), Ok(7));
    check_eq!((&a, &b), (b"abc", b"defg"));
    check_eq!(tell(fd), Ok(7));
}

fn readv_short_at_end() {
    let fd = file(b"abcd");
    let (mut a, mut b) = ([0u8; 3], [0u8; 4]);
    let iov = [iov_mut(&mut a), iov_mut(&mut b)];
    check_eq!(sys!(SYS_readv, fd, &iov, 2), Ok(4));
    check_eq!(&b, b"d\0\0\0");
}

fn writev_gathers() {
    let fd = file(b"");
    let iov = [iov(b"ab"), iov(b""), iov(b"cde")];
    check_eq!(sys!(SYS_writev, fd, &iov, 3), Ok(5));
    check_eq!(read_file(c"f"), Ok(b"abcde".to_vec()));
}

fn zero_count_is_zero() {
    let fd = file(b"abc");
    check_eq!(sys!(SYS_readv, fd, 0, 0), Ok(0));
    check_eq!(sys!(SYS_writev, fd, bad::<u8>(), 0), Ok(0));
}

fn bad_descriptor_precedes_bad_vector() {
    expect_errno!(sys!(SYS_readv, -1, bad::<u8>(), 1), EBADF);
    expect_errno!(sys!(SYS_writev, -1, 0, -1), EBADF);
}

fn too_many_vectors_is_einval() {
    let fd = file(b"abc");
    let iov = vec![iov_at(0, 0); 1025];
    check_eq!(sys!(SYS_readv, fd, &iov[..], 1024), Ok(0));
    expect_errno!(sys!(SYS_readv, fd, &iov[..], 1025), EINVAL);
    expect_errno!(sys!(SYS_writev, fd, &iov[..], 1025), EINVAL);
    expect_errno!(sys!(SYS_readv, fd, &iov[..], -1), EINVAL);
}

fn bad_vector_pointer_is_efault() {
    let fd = file(b"abc");
    expect_errno!(sys!(SYS_readv, fd, bad::<u8>(), 1), EFAULT);
    expect_errno!(sys!(SYS_writev, fd, bad::<u8>(), 2), EFAULT);
    let edge = page_edge();
    expect_errno!(sys!(SYS_readv, fd, edge.wrapping_sub(16), 2), EFAULT);
}

fn negative_length_is_einval() {
    let fd = file(b"abc");
    let mut a = [0u8; 3];
    let iov = [iov_mut(&mut a), iov_at(anon(1) as usize, usize::MAX)];
    expect_errno!(sys!(SYS_readv, fd, &iov, 2), EINVAL);
    expect_errno!(sys!(SYS_writev, fd, &iov, 2), EINVAL);
    check_eq!(tell(fd), Ok(0));
}

fn bad_second_buffer_gives_partial() {
    let fd = file(b"abcdef");
    let mut a = [0u8; 3];
    let iov = [iov_mut(&mut a), iov_at(BAD, 3)];
    check_eq!(sys!(SYS_readv, fd, &iov, 2), Ok(3));
    check_eq!(tell(fd), Ok(3));
    let iov2 = [iov_at(BAD, 3), iov_at(a.as_ptr() as usize, 3)];
    expect_errno!(sys!(SYS_readv, fd, &iov2, 2), EFAULT);
}

fn writev_bad_second_buffer_writes_first() {
    let fd = file(b"");
    let iov = [iov(b"abc"), iov_at(BAD, 3)];
    check_eq!(sys!(SYS_writev, fd, &iov, 2), Ok(3));
    check_eq!(read_file(c"f"), Ok(b"abc".to_vec()));
}

fn null_base_with_zero_length_is_fine() {
    let fd = file(b"abcdef");
    let mut a = [0u8; 3];
    let iov = [iov_at(0, 0), iov_mut(&mut a), iov_at(BAD, 0)];
    check_eq!(sys!(SYS_readv, fd, &iov, 3), Ok(3));
    check_eq!(&a, b"abc");
}

fn preadv_keeps_offset() {
    let fd = file(b"abcdef");
    let mut a = [0u8; 3];
    let iov = [iov_mut(&mut a)];
    check_eq!(sys!(SYS_preadv, fd, &iov, 1, 2, 0), Ok(3));
    check_eq!(&a, b"cde");
    check_eq!(tell(fd), Ok(0));
}

fn preadv_negative_offset_is_einval() {
    let fd = file(b"abc");
    let mut a = [0u8; 3];
    let iov = [iov_mut(&mut a)];
    expect_errno!(sys!(SYS_preadv, fd, &iov, 1, -1i64, -1i64), EINVAL);
    expect_errno!(sys!(SYS_pwritev, fd, &iov, 1, -5i64, -1i64), EINVAL);
    expect_errno!(sys!(SYS_preadv, -1, &iov, 1, -1i64, -1i64), EINVAL);
}

fn preadv_pipe_is_espipe() {
    let (r, w) = must!(pipe());
    let mut a = [0u8; 3];
    let iov = [iov_mut(&mut a)];
    expect_errno!(sys!(SYS_preadv, r, &iov, 1, 0, 0), ESPIPE);
    expect_errno!(sys!(SYS_pwritev, w, &iov, 1, 0, 0), ESPIPE);
}

fn pwritev_writes_at_offset() {
    let fd = file(b"abcdef");
    let iov = [iov(b"X"), iov(b"YZ")];
    check_eq!(sys!(SYS_pwritev, fd, &iov, 2, 1, 0), Ok(3));
    check_eq!(read_file(c"f"), Ok(b"aXYZef".to_vec()));
    check_eq!(tell(fd), Ok(0));
}

fn preadv2_minus_one_uses_file_offset() {
    let fd = file(b"abcdef");
    let mut a = [0u8; 2];
    let iov = [iov_mut(&mut a)];
    must!(lseek(fd, 2, SEEK_SET));
    check_eq!(preadv2(fd, &iov, -1, 0), Ok(2));
    check_eq!(&a, b"cd");
    check_eq!(tell(fd), Ok(4));
}

fn preadv2_minus_two_is_einval() {
    let fd = file(b"abcdef");
    let mut a = [0u8; 2];
    expect_errno!(preadv2(fd, &[iov_mut(&mut a)], -2, 0), EINVAL);
}

fn preadv2_unknown_flag_is_eopnotsupp() {
    let fd = file(b"abcdef");
    let mut a = [0u8; 2];
    expect_errno!(preadv2(fd, &[iov_mut(&mut a)], 0, 0x4000_0000), EOPNOTSUPP);
    expect_errno!(pwritev2(fd, &[iov(b"x")], 0, 0x4000_0000), EOPNOTSUPP);
}

fn preadv2_on_pipe_with_minus_one_reads() {
    let (r, w) = must!(pipe());
    must!(write(w, b"xyz"));
    let mut a = [0u8; 8];
    check_eq!(preadv2(r, &[iov_mut(&mut a)], -1, 0), Ok(3));
}

fn preadv2_nowait_on_empty_pipe_is_eagain() {
    let (r, _w) = must!(pipe());
    let mut a = [0u8; 8];
    expect_errno!(preadv2(r, &[iov_mut(&mut a)], -1, RWF_NOWAIT), EAGAIN);
}

fn pwritev2_append_flag_appends_once() {
    let fd = file(b"abc");
    check_eq!(pwritev2(fd, &[iov(b"de")], 0, RWF_APPEND), Ok(2));
    check_eq!(read_file(c"f"), Ok(b"abcde".to_vec()));
    check_eq!(tell(fd), Ok(0));
    check_eq!(pwritev2(fd, &[iov(b"X")], 0, 0), Ok(1));
    check_eq!(read_file(c"f"), Ok(b"Xbcde".to_vec()));
}

fn pwritev2_sync_flags_accepted() {
    let fd = file(b"abc");
    check_eq!(pwritev2(fd, &[iov(b"d")], 0, RWF_DSYNC), Ok(1));
    check_eq!(pwritev2(fd, &[iov(b"e")], 1, RWF_SYNC | RWF_HIPRI), Ok(1));
}

fn writev_to_pipe_is_one_message() {
    let (r, w) = must!(pipe());
    let iov = [iov(b"ab"), iov(b"cd"), iov(b"ef")];
    check_eq!(sys!(SYS_writev, w, &iov, 3), Ok(6));
    check_eq!(read_vec(r, 100), Ok(b"abcdef".to_vec()));
}

fn readv_directory_is_eisdir() {
    tmp();
    let fd = must!(open(c".", O_RDONLY, 0));
    let mut a = [0u8; 3];
    expect_errno!(sys!(SYS_readv, fd, &[iov_mut(&mut a)], 1), EISDIR);
}

fn readv_wrong_mode_is_ebadf() {
    file(b"abc");
    let fd = must!(open(c"f", O_WRONLY, 0));
    let mut a = [0u8; 3];
    expect_errno!(sys!(SYS_readv, fd, &[iov_mut(&mut a)], 1), EBADF);
}

fn writev_many_small_parts() {
    let fd = file(b"");
    let data: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
    let iov: Vec<iovec> = data.chunks(1).map(iov).collect();
    check_eq!(sys!(SYS_writev, fd, &iov[..], iov.len()), Ok(1000));
    check_eq!(read_file(c"f"), Ok(data));
}

cases![
    readv_fills_in_order,
    readv_short_at_end,
    writev_gathers,
    zero_count_is_zero,
    bad_descriptor_precedes_bad_vector,
    too_many_vectors_is_einval,
    bad_vector_pointer_is_efault,
    negative_length_is_einval,
    bad_second_buffer_gives_partial,
    writev_bad_second_buffer_writes_first,
    null_base_with_zero_length_is_fine,
    preadv_keeps_offset,
    preadv_negative_offset_is_einval,
    preadv_pipe_is_espipe,
    pwritev_writes_at_offset,
    preadv2_minus_one_uses_file_offset,
    preadv2_minus_two_is_einval,
    preadv2_unknown_flag_is_eopnotsupp,
    preadv2_on_pipe_with_minus_one_reads,
    preadv2_nowait_on_empty_pipe_is_eagain,
    pwritev2_append_flag_appends_once,
    pwritev2_sync_flags_accepted,
    writev_to_pipe_is_one_message,
    readv_directory_is_eisdir,
    readv_wrong_mode_is_ebadf,
    writev_many_small_parts,
];
