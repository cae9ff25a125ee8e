//! read(2), write(2), pread64(2), pwrite64(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn file(data: &[u8]) -> i32 {
    tmp();
    must!(write_file(c"f", data));
    must!(open(c"f", O_RDWR, 0))
}

fn read_advances_offset() {
    let fd = file(b"hello world");
    check_eq!(read_vec(fd, 5), Ok(b"hello".to_vec()));
    check_eq!(read_vec(fd, 100), Ok(b" world".to_vec()));
    check_eq!(tell(fd), Ok(11));
}

fn read_at_end_is_zero() {
    let fd = file(b"abc");
    must!(lseek(fd, 3, SEEK_SET));
    check_eq!(read_vec(fd, 10), Ok(vec![]));
    must!(lseek(fd, 1000, SEEK_SET));
    check_eq!(read_vec(fd, 10), Ok(vec![]));
    check_eq!(tell(fd), Ok(1000));
}

fn read_bad_descriptor_is_ebadf() {
    expect_errno!(read_vec(-1, 1), EBADF);
    expect_errno!(read_vec(150, 1), EBADF);
    expect_errno!(read_vec(i32::MAX, 1), EBADF);
}

fn read_write_only_is_ebadf() {
    file(b"abc");
    let fd = must!(open(c"f", O_WRONLY, 0));
    expect_errno!(read_vec(fd, 1), EBADF);
    expect_errno!(sys!(SYS_read, fd, bad::<u8>(), 1), EBADF);
    expect_errno!(sys!(SYS_read, fd, 0, 0), EBADF);
}

fn write_read_only_is_ebadf() {
    file(b"abc");
    let fd = must!(open(c"f", O_RDONLY, 0));
    expect_errno!(write(fd, b"x"), EBADF);
    expect_errno!(write(fd, b""), EBADF);
    expect_errno!(pwrite(fd, b"x", 0), EBADF);
}

fn read_directory_is_eisdir() {
    tmp();
    let fd = must!(open(c".", O_RDONLY | O_DIRECTORY, 0));
    expect_errno!(read_vec(fd, 10), EISDIR);
    let mut buf = [0u8; 4];
    expect_errno!(pread(fd, &mut buf, 0), EISDIR);
}

fn read_bad_buffer_is_efault() {
    let fd = file(b"abc");
    expect_errno!(sys!(SYS_read, fd, bad::<u8>(), 3), EFAULT);
    check_eq!(tell(fd), Ok(0));
}

fn read_bad_buffer_at_end_is_zero() {
    let fd = file(b"");
    check_eq!(sys!(SYS_read, fd, bad::<u8>(), 3), Ok(0));
}

fn read_zero_length_ignores_small_bad_pointer() {
    let fd = file(b"abc");
    check_eq!(sys!(SYS_read, fd, bad::<u8>(), 0), Ok(0));
    check_eq!(sys!(SYS_write, fd, bad::<u8>(), 0), Ok(0));
}

fn read_kernel_address_is_efault() {
    let fd = file(b"abc");
    expect_errno!(sys!(SYS_read, fd, usize::MAX - 4096, 3), EFAULT);
    expect_errno!(sys!(SYS_write, fd, 0xffff_8000_0000_0000usize, 3), EFAULT);
}

fn read_into_read_only_page_is_efault() {
    let fd = file(b"abc");
    let p = anon(1);
    must!(mprotect(p, PAGE, PROT_READ));
    expect_errno!(sys!(SYS_read, fd, p, 3), EFAULT);
}

fn read_across_fault_gives_partial() {
    let fd = file(&[b'x'; 100]);
    let edge = page_edge();
    let got = must!(sys!(SYS_read, fd, edge.wrapping_sub(10), 100));
    check_eq!(got, 10);
    check_eq!(tell(fd), Ok(10));
    check_eq!(bytes_at(edge.wrapping_sub(10), 10), vec![b'x'; 10]);
}

fn write_across_fault_writes_prefix() {
    let fd = file(b"");
    let edge = page_edge();
    put_bytes(edge.wrapping_sub(10), &[b'y'; 10]);
    check_eq!(sys!(SYS_write, fd, edge.wrapping_sub(10), 100), Ok(10));
    check_eq!(read_file(c"f"), Ok(vec![b'y'; 10]));
}

fn write_bad_buffer_is_efault_and_writes_nothing() {
    let fd = file(b"abc");
    expect_errno!(sys!(SYS_write, fd, bad::<u8>(), 3), EFAULT);
    check_eq!(size_of_file(fd), 3);
    check_eq!(tell(fd), Ok(0));
}

fn write_extends_and_advances() {
    let fd = file(b"abc");
    must!(lseek(fd, 0, SEEK_END));
    check_eq!(write(fd, b"def"), Ok(3));
    check_eq!(tell(fd), Ok(6));
    check_eq!(read_file(c"f"), Ok(b"abcdef".to_vec()));
}

fn write_past_end_leaves_hole() {
    let fd = file(b"a");
    must!(lseek(fd, 5000, SEEK_SET));
    check_eq!(write(fd, b"z"), Ok(1));
    let all = must!(read_file(c"f"));
    check_eq!(all.len(), 5001);
    check!(all[1..5000].iter().all(|b| *b == 0));
    check_eq!(all[5000], b'z');
}

fn append_writes_at_end() {
    file(b"abc");
    let fd = must!(open(c"f", O_WRONLY | O_APPEND, 0));
    check_eq!(tell(fd), Ok(0));
    must!(lseek(fd, 1, SEEK_SET));
    check_eq!(write(fd, b"def"), Ok(3));
    check_eq!(tell(fd), Ok(6));
    check_eq!(read_file(c"f"), Ok(b"abcdef".to_vec()));
}

fn append_pwrite_ignores_offset() {
    file(b"abc");
    let fd = must!(open(c"f", O_WRONLY | O_APPEND, 0));
    check_eq!(pwrite(fd, b"XY", 0), Ok(2));
    check_eq!(read_file(c"f"), Ok(b"abcXY".to_vec()));
    check_eq!(tell(fd), Ok(0));
}

fn append_two_writers_interleave() {
    file(b"");
    let pids: Vec<i32> = (0..4u8)
        .map(|i| {
            child(move || {
                let fd = must!(open(c"f", O_WRONLY | O_APPEND, 0));
                for _ in 0..50 {
                    check_eq!(write(fd, &[b'0' + i; 16]), Ok(16));
                }
                0
            })
        })
        .collect();
    pids.into_iter().for_each(wait_ok);
    let all = must!(read_file(c"f"));
    check_eq!(all.len(), 4 * 50 * 16);
    for record in all.chunks(16) {
        check!(record.iter().all(|b| *b == record[0]));
    }
}

fn zero_length_write_does_not_extend() {
    let fd = file(b"abc");
    must!(lseek(fd, 100, SEEK_SET));
    check_eq!(write(fd, b""), Ok(0));
    check_eq!(size_of_file(fd), 3);
    check_eq!(tell(fd), Ok(100));
}

fn pread64_keeps_offset() {
    let fd = file(b"hello world");
    let mut buf = [0u8; 5];
    check_eq!(pread(fd, &mut buf, 6), Ok(5));
    check_eq!(&buf, b"world");
    check_eq!(tell(fd), Ok(0));
}

fn pread64_negative_offset_is_einval() {
    let fd = file(b"abc");
    let mut buf = [0u8; 4];
    expect_errno!(pread(fd, &mut buf, -1), EINVAL);
    expect_errno!(pread(fd, &mut buf, i64::MIN), EINVAL);
}

fn pread64_negative_offset_precedes_bad_descriptor() {
    let mut buf = [0u8; 4];
    expect_errno!(pread(-1, &mut buf, -1), EINVAL);
    expect_errno!(pwrite(-1, b"x", -1), EINVAL);
}

fn pread64_pipe_is_espipe() {
    let (r, w) = must!(pipe());
    let mut buf = [0u8; 4];
    expect_errno!(pread(r, &mut buf, 0), ESPIPE);
    expect_errno!(pwrite(w, b"x", 0), ESPIPE);
}

fn pread64_wrong_end_of_pipe_is_espipe() {
    // The seekability of the file is checked before its mode.
    let (r, w) = must!(pipe());
    let mut buf = [0u8; 4];
    expect_errno!(pread(w, &mut buf, 0), ESPIPE);
    expect_errno!(pwrite(r, b"x", 0), ESPIPE);
}

fn pread64_offset_overflow_is_einval() {
    let fd = file(b"abc");
    let mut buf = [0u8; 16];
    expect_errno!(pread(fd, &mut buf, i64::MAX), EINVAL);
}

fn pread64_past_end_is_zero() {
    let fd = file(b"abc");
    let mut buf = [0u8; 4];
    check_eq!(pread(fd, &mut buf, 3), Ok(0));
    check_eq!(pread(fd, &mut buf, 1 << 40), Ok(0));
}

fn pwrite64_keeps_offset() {
    let fd = file(b"abcdef");
    check_eq!(pwrite(fd, b"XY", 2), Ok(2));
    check_eq!(tell(fd), Ok(0));
    check_eq!(read_file(c"f"), Ok(b"abXYef".to_vec()));
}

fn pwrite64_beyond_max_file_size_is_efbig() {
    let fd = file(b"");
    disposition(SIGXFSZ, SIG_IGN);
    expect_errno!(pwrite(fd, b"x", i64::MAX - 1), EFBIG);
}

fn read_huge_length_is_clamped() {
    let fd = file(b"abc");
    let p = anon(1);
    check_eq!(sys!(SYS_read, fd, p, i32::MAX as usize), Ok(3));
    must!(lseek(fd, 0, SEEK_SET));
    check_eq!(sys!(SYS_read, fd, p, 0x7fff_f000usize), Ok(3));
}

fn read_length_beyond_address_space_is_efault() {
    let fd = file(b"abc");
    let p = anon(1);
    expect_errno!(sys!(SYS_read, fd, p, isize::MAX), EFAULT);
    expect_errno!(sys!(SYS_read, fd, p, usize::MAX), EFAULT);
}

fn o_path_descriptor_is_ebadf() {
    file(b"abc");
    let fd = must!(open(c"f", O_PATH, 0));
    expect_errno!(read_vec(fd, 1), EBADF);
    expect_errno!(write(fd, b"x"), EBADF);
    expect_errno!(lseek(fd, 0, SEEK_SET), EBADF);
    let mut buf = [0u8; 4];
    expect_errno!(pread(fd, &mut buf, 0), EBADF);
}

fn dup_shares_offset() {
    let fd = file(b"abcdef");
    let other = must!(dup(fd));
    check_eq!(read_vec(fd, 2), Ok(b"ab".to_vec()));
    check_eq!(read_vec(other, 2), Ok(b"cd".to_vec()));
}

fn separate_opens_have_separate_offsets() {
    let fd = file(b"abcdef");
    let other = must!(open(c"f", O_RDONLY, 0));
    check_eq!(read_vec(fd, 2), Ok(b"ab".to_vec()));
    check_eq!(read_vec(other, 2), Ok(b"ab".to_vec()));
}

fn fork_shares_offset() {
    let fd = file(b"abcdef");
    in_child(|| check_eq!(read_vec(fd, 3), Ok(b"abc".to_vec())));
    check_eq!(read_vec(fd, 3), Ok(b"def".to_vec()));
}

fn unlinked_file_stays_usable() {
    let fd = file(b"abc");
    must!(unlink(c"f"));
    check_eq!(read_vec(fd, 10), Ok(b"abc".to_vec()));
    check_eq!(write(fd, b"def"), Ok(3));
    let mut buf = [0u8; 6];
    check_eq!(pread(fd, &mut buf, 0), Ok(6));
    check_eq!(&buf, b"abcdef");
    check_eq!(must!(fstat(fd)).st_nlink, 0);
}

fn large_transfer_is_complete() {
    let fd = file(b"");
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
    check_eq!(write(fd, &data), Ok(data.len()));
    let mut back = vec![0u8; data.len() + 10];
    check_eq!(pread(fd, &mut back, 0), Ok(data.len()));
    check!(back[..data.len()] == data[..]);
}

fn write_updates_mtime_and_size() {
    let fd = file(b"abc");
    let past = [timespec_ms(1_000_000), timespec_ms(1_000_000)];
    must!(sys!(SYS_utimensat, fd, 0, &past, 0));
    check_eq!(must!(fstat(fd)).st_mtime, 1000);
    must!(write(fd, b"xyz1"));
    let st = must!(fstat(fd));
    check!(st.st_mtime > 1000);
    check_eq!(st.st_atime, 1000);
    check_eq!(st.st_size, 4);
}

fn write_by_other_user_clears_setuid() {
    need_root();
    tmp();
    must!(write_file(c"f", b"abc"));
    must!(chmod(c"f", 0o6777));
    in_child(|| {
        must!(sys!(SYS_setresuid, 65534, 65534, 65534));
        let fd = must!(open(c"f", O_WRONLY, 0));
        must!(write(fd, b"x"));
    });
    check_eq!(must!(stat(c"f")).st_mode & 0o7777, 0o777);
}

fn read_own_write_through_other_descriptor() {
    let a = file(b"");
    let b = must!(open(c"f", O_RDONLY, 0));
    must!(write(a, b"one"));
    check_eq!(read_vec(b, 10), Ok(b"one".to_vec()));
    must!(write(a, b"two"));
    check_eq!(read_vec(b, 10), Ok(b"two".to_vec()));
}

cases![
    read_advances_offset,
    read_at_end_is_zero,
    read_bad_descriptor_is_ebadf,
    read_write_only_is_ebadf,
    write_read_only_is_ebadf,
    read_directory_is_eisdir,
    read_bad_buffer_is_efault,
    read_bad_buffer_at_end_is_zero,
    read_zero_length_ignores_small_bad_pointer,
    read_kernel_address_is_efault,
    read_into_read_only_page_is_efault,
    read_across_fault_gives_partial,
    write_across_fault_writes_prefix,
    write_bad_buffer_is_efault_and_writes_nothing,
    write_extends_and_advances,
    write_past_end_leaves_hole,
    append_writes_at_end,
    append_pwrite_ignores_offset,
    append_two_writers_interleave,
    zero_length_write_does_not_extend,
    pread64_keeps_offset,
    pread64_negative_offset_is_einval,
    pread64_negative_offset_precedes_bad_descriptor,
    pread64_pipe_is_espipe,
    pread64_wrong_end_of_pipe_is_espipe,
    pread64_offset_overflow_is_einval,
    pread64_past_end_is_zero,
    pwrite64_keeps_offset,
    pwrite64_beyond_max_file_size_is_efbig,
    read_huge_length_is_clamped,
    read_length_beyond_address_space_is_efault,
    o_path_descriptor_is_ebadf,
    dup_shares_offset,
    separate_opens_have_separate_offsets,
    fork_shares_offset,
    unlinked_file_stays_usable,
    large_transfer_is_complete,
    write_updates_mtime_and_size,
    write_by_other_user_clears_setuid,
    read_own_write_through_other_descriptor,
];
