//! lseek(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn file(data: &[u8]) -> i32 {
    tmp();
    must!(write_file(c"f", data));
    must!(open(c"f", O_RDWR, 0))
}

fn whence_values() {
    let fd = file(b"0123456789");
    check_eq!(lseek(fd, 4, SEEK_SET), Ok(4));
    check_eq!(lseek(fd, 3, SEEK_CUR), Ok(7));
    check_eq!(lseek(fd, -2, SEEK_CUR), Ok(5));
    check_eq!(lseek(fd, -1, SEEK_END), Ok(9));
    check_eq!(lseek(fd, 10, SEEK_END), Ok(20));
    check_eq!(size_of_file(fd), 10);
}

fn negative_result_is_einval() {
    let fd = file(b"abc");
    must!(lseek(fd, 2, SEEK_SET));
    expect_errno!(lseek(fd, -1, SEEK_SET), EINVAL);
    expect_errno!(lseek(fd, -3, SEEK_CUR), EINVAL);
    expect_errno!(lseek(fd, -4, SEEK_END), EINVAL);
    check_eq!(tell(fd), Ok(2));
}

fn unknown_whence_is_einval() {
    let fd = file(b"abc");
    expect_errno!(lseek(fd, 0, 5), EINVAL);
    expect_errno!(lseek(fd, 0, -1), EINVAL);
    expect_errno!(lseek(fd, 0, 1000), EINVAL);
}

fn bad_descriptor_precedes_whence() {
    expect_errno!(lseek(-1, 0, 99), EBADF);
}

fn pipe_and_socket_are_espipe() {
    let (r, w) = must!(pipe());
    expect_errno!(lseek(r, 0, SEEK_CUR), ESPIPE);
    expect_errno!(lseek(w, 0, SEEK_SET), ESPIPE);
    let (a, _b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    expect_errno!(lseek(a, 0, SEEK_CUR), ESPIPE);
}

fn pipe_with_unknown_whence_is_einval() {
    let (r, _w) = must!(pipe());
    expect_errno!(lseek(r, 0, 77), EINVAL);
}

fn overflow_is_rejected() {
    let fd = file(b"abc");
    must!(lseek(fd, 1, SEEK_SET));
    let result = lseek(fd, i64::MAX, SEEK_CUR);
    check!(matches!(result, Err(EINVAL | EOVERFLOW)), "{result:?}");
}

fn seek_hole_and_data_of_dense_file() {
    let fd = file(&[1u8; 100]);
    check_eq!(lseek(fd, 0, SEEK_DATA), Ok(0));
    check_eq!(lseek(fd, 50, SEEK_DATA), Ok(50));
    check_eq!(lseek(fd, 0, SEEK_HOLE), Ok(100));
    check_eq!(lseek(fd, 99, SEEK_HOLE), Ok(100));
}

fn seek_data_at_or_past_end_is_enxio() {
    let fd = file(&[1u8; 100]);
    expect_errno!(lseek(fd, 100, SEEK_DATA), ENXIO);
    expect_errno!(lseek(fd, 100, SEEK_HOLE), ENXIO);
    expect_errno!(lseek(fd, 1000, SEEK_HOLE), ENXIO);
    expect_errno!(lseek(fd, -1, SEEK_DATA), ENXIO);
}

fn seek_data_over_a_hole_finds_later_data() {
    let fd = file(b"");
    must!(pwrite(fd, b"x", 1 << 20));
    let data = must!(lseek(fd, 0, SEEK_DATA));
    // File systems without holes say 0; with holes the page of the byte.
    check!(data == 0 || data == 1 << 20, "{data}");
    check_eq!(lseek(fd, 1 << 20, SEEK_HOLE), Ok((1 << 20) + 1));
}

fn offset_applies_to_next_read() {
    let fd = file(b"abcdef");
    must!(lseek(fd, -2, SEEK_END));
    check_eq!(read_vec(fd, 10), Ok(b"ef".to_vec()));
}

fn directory_rewind_lists_again() {
    tmp();
    must!(write_file(c"a", b""));
    let fd = must!(open(c".", O_RDONLY | O_DIRECTORY, 0));
    let mut buf = [0u8; 4096];
    let first = must!(sys!(SYS_getdents64, fd, &mut buf, 4096));
    check!(first > 0);
    check_eq!(sys!(SYS_getdents64, fd, &mut buf, 4096), Ok(0));
    check_eq!(lseek(fd, 0, SEEK_SET), Ok(0));
    check_eq!(sys!(SYS_getdents64, fd, &mut buf, 4096), Ok(first));
}

fn dev_null_always_zero() {
    let fd = must!(open(c"/dev/null", O_RDWR, 0));
    check_eq!(lseek(fd, 100, SEEK_SET), Ok(0));
    check_eq!(lseek(fd, 5, SEEK_END), Ok(0));
}

fn eventfd_does_not_seek() {
    let fd = must!(sys!(SYS_eventfd2, 0, 0)) as i32;
    let result = lseek(fd, 0, SEEK_CUR);
    check!(matches!(result, Ok(0) | Err(ESPIPE)), "{result:?}");
}

cases![
    whence_values,
    negative_result_is_einval,
    unknown_whence_is_einval,
    bad_descriptor_precedes_whence,
    pipe_and_socket_are_espipe,
    pipe_with_unknown_whence_is_einval,
    overflow_is_rejected,
    seek_hole_and_data_of_dense_file,
    seek_data_at_or_past_end_is_enxio,
    seek_data_over_a_hole_finds_later_data,
    offset_applies_to_next_read,
    directory_rewind_lists_again,
    dev_null_always_zero,
    eventfd_does_not_seek,
];
