//! truncate(2), ftruncate(2), fallocate(2), fsync(2), sync_file_range(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn file(data: &[u8]) -> i32 {
    tmp();
    must!(write_file(c"f", data));
    must!(open(c"f", O_RDWR, 0))
}
fn fallocate(fd: i32, mode: i32, offset: i64, len: i64) -> Sys {
    sys!(SYS_fallocate, fd, mode, offset, len)
}

fn shrinks_and_grows_with_zeros() {
    let fd = file(b"abcdef");
    must!(ftruncate(fd, 3));
    must!(ftruncate(fd, 6));
    check_eq!(read_file(c"f"), Ok(b"abc\0\0\0".to_vec()));
    must!(sys!(SYS_truncate, c"f", 1));
    check_eq!(read_file(c"f"), Ok(b"a".to_vec()));
}

fn keeps_offset() {
    let fd = file(b"abcdef");
    must!(lseek(fd, 5, SEEK_SET));
    must!(ftruncate(fd, 2));
    check_eq!(tell(fd), Ok(5));
    check_eq!(read_vec(fd, 5), Ok(vec![]));
    must!(write(fd, b"X"));
    check_eq!(read_file(c"f"), Ok(b"ab\0\0\0X".to_vec()));
}

fn errors() {
    let fd = file(b"abc");
    expect_errno!(ftruncate(fd, -1), EINVAL);
    expect_errno!(ftruncate(-1, -1), EINVAL);
    expect_errno!(ftruncate(-1, 1), EBADF);
    expect_errno!(sys!(SYS_truncate, c"f", -1), EINVAL);
    expect_errno!(sys!(SYS_truncate, c"missing", 0), ENOENT);
    expect_errno!(sys!(SYS_truncate, c".", 0), EISDIR);
    expect_errno!(sys!(SYS_truncate, c"f/x", 0), ENOTDIR);
    expect_errno!(sys!(SYS_truncate, bad::<u8>(), 0), EFAULT);
}

fn read_only_descriptor_is_einval() {
    file(b"abc");
    let fd = must!(open(c"f", O_RDONLY, 0));
    expect_errno!(ftruncate(fd, 0), EINVAL);
    let dir = must!(open(c".", O_RDONLY, 0));
    expect_errno!(ftruncate(dir, 0), EINVAL);
}

fn pipe_and_socket_are_einval() {
    let (_r, w) = must!(pipe());
    expect_errno!(ftruncate(w, 0), EINVAL);
    let (a, _b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    expect_errno!(ftruncate(a, 0), EINVAL);
}

fn without_write_permission_is_eacces() {
    need_root();
    file(b"abc");
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(sys!(SYS_truncate, c"f", 0), EACCES);
    });
}

fn same_size_by_ftruncate_updates_times() {
    let fd = file(b"abc");
    let old = [timespec_ms(5000), timespec_ms(5000)];
    must!(sys!(SYS_utimensat, fd, 0, &old, 0));
    must!(ftruncate(fd, 3));
    check!(must!(fstat(fd)).st_mtime > 5);
}

fn fallocate_extends() {
    let fd = file(b"abc");
    match fallocate(fd, 0, 0, 10_000) {
        Err(EOPNOTSUPP) => skip!("fallocate not supported here"),
        other => must!(other),
    };
    check_eq!(size_of_file(fd), 10_000);
    check_eq!(&must!(read_file(c"f"))[..5], b"abc\0\0");
}

fn fallocate_keep_size() {
    let fd = file(b"abc");
    match fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100_000) {
        Err(EOPNOTSUPP) => skip!("fallocate not supported here"),
        other => must!(other),
    };
    check_eq!(size_of_file(fd), 3);
}

fn fallocate_punch_hole_zeroes() {
    let fd = file(&[1u8; 16384]);
    match fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192) {
        Err(EOPNOTSUPP) => skip!("hole punching not supported here"),
        other => must!(other),
    };
    let all = must!(read_file(c"f"));
    check_eq!(all.len(), 16384);
    check!(all[..4096].iter().all(|b| *b == 1));
    check!(all[4096..12288].iter().all(|b| *b == 0));
    check!(all[12288..].iter().all(|b| *b == 1));
}

fn fallocate_errors() {
    let fd = file(b"abc");
    expect_errno!(fallocate(fd, 0, -1, 10), EINVAL);
    expect_errno!(fallocate(fd, 0, 0, 0), EINVAL);
    expect_errno!(fallocate(fd, 0, 0, -1), EINVAL);
    expect_errno!(fallocate(-1, 0, 0, 10), EBADF);
    expect_errno!(fallocate(fd, 0x4000, 0, 10), EOPNOTSUPP);
    expect_errno!(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
    expect_errno!(fallocate(fd, 0, i64::MAX - 5, 10), EFBIG);
    let ro = must!(open(c"f", O_RDONLY, 0));
    expect_errno!(fallocate(ro, 0, 0, 10), EBADF);
    let (_r, w) = must!(pipe());
    expect_errno!(fallocate(w, 0, 0, 10), ESPIPE);
    let (_r, w) = must!(pipe());
    expect_errno!(fallocate(w, 0, -1, 10), EINVAL);
}

fn fallocate_directory_is_eisdir_or_ebadf() {
    tmp();
    let dir = must!(open(c".", O_RDONLY, 0));
    expect_errno!(fallocate(dir, 0, 0, 10), EBADF);
}

fn fsync_family() {
    let fd = file(b"abc");
    must!(sys!(SYS_fsync, fd));
    must!(sys!(SYS_fdatasync, fd));
    let ro = must!(open(c"f", O_RDONLY, 0));
    must!(sys!(SYS_fsync, ro));
    let dir = must!(open(c".", O_RDONLY, 0));
    must!(sys!(SYS_fsync, dir));
    expect_errno!(sys!(SYS_fsync, -1), EBADF);
    let (r, _w) = must!(pipe());
    expect_errno!(sys!(SYS_fsync, r), EINVAL);
    expect_errno!(sys!(SYS_fdatasync, r), EINVAL);
    let p = must!(open(c"f", O_PATH, 0));
    expect_errno!(sys!(SYS_fsync, p), EBADF);
}

fn syncfs_and_sync() {
    let fd = file(b"abc");
    must!(sys!(SYS_syncfs, fd));
    expect_errno!(sys!(SYS_syncfs, -1), EBADF);
}

fn sync_file_range_rules() {
    let fd = file(b"abc");
    must!(sys!(SYS_sync_file_range, fd, 0, 0, 2));
    expect_errno!(sys!(SYS_sync_file_range, fd, 0, 0, 8), EINVAL);
    expect_errno!(sys!(SYS_sync_file_range, fd, -1, 0, 2), EINVAL);
    expect_errno!(sys!(SYS_sync_file_range, fd, 0, -1, 2), EINVAL);
    expect_errno!(sys!(SYS_sync_file_range, -1, 0, 0, 2), EBADF);
    let (r, _w) = must!(pipe());
    expect_errno!(sys!(SYS_sync_file_range, r, 0, 0, 2), ESPIPE);
}

fn fadvise_rules() {
    let fd = file(b"abc");
    for advice in 0..=5 {
        must!(sys!(SYS_fadvise64, fd, 0, 0, advice));
    }
    expect_errno!(sys!(SYS_fadvise64, fd, 0, 0, 6), EINVAL);
    expect_errno!(sys!(SYS_fadvise64, fd, 0, -1, 0), EINVAL);
    expect_errno!(sys!(SYS_fadvise64, -1, 0, 0, 0), EBADF);
    let (r, _w) = must!(pipe());
    expect_errno!(sys!(SYS_fadvise64, r, 0, 0, 0), ESPIPE);
}

fn readahead_rules() {
    let fd = file(b"abc");
    must!(sys!(SYS_readahead, fd, 0, 100));
    expect_errno!(sys!(SYS_readahead, -1, 0, 100), EBADF);
    let w = must!(open(c"f", O_WRONLY, 0));
    expect_errno!(sys!(SYS_readahead, w, 0, 100), EBADF);
    let (r, _w) = must!(pipe());
    expect_errno!(sys!(SYS_readahead, r, 0, 100), EINVAL);
}

/// A file of `len` bytes is read often, then changed; each read shows what it holds then.
fn a_file_that_is_read_often_is_never_old() {
    for len in [1, 5000, 70_000, 300_000] {
        let writer = file(&vec![b'a'; len]);
        let reader = must!(open(c"f", O_RDONLY, 0));
        let mut buf = vec![0; len + 10_000];
        let mut holds = |wanted: &[u8]| {
            for _ in 0..12 {
                let n = must!(pread(reader, &mut buf, 0));
                check_eq!(n, wanted.len());
                check!(buf[..n] == *wanted);
            }
        };
        let mut text = vec![b'a'; len];
        holds(&text);
        text[len - 1] = b'b';
        check_eq!(pwrite(writer, b"b", len as i64 - 1), Ok(1));
        holds(&text);
        must!(ftruncate(writer, len as i64 + 5000));
        text.resize(len + 5000, 0);
        holds(&text);
        must!(ftruncate(writer, len as i64 / 2));
        text.truncate(len / 2);
        holds(&text);
        check_eq!(read_file(c"f"), Ok(text.clone()));
        must!(write_file(c"f", b"other"));
        holds(b"other");
        must!(write_file(c"g", b"moved"));
        must!(rename(c"g", c"f"));
        holds(b"other");
        must!(close(reader));
        must!(close(writer));
    }
}

/// Nobody but the reader hears of it when the file shrinks while it is read.
fn reads_while_the_file_is_cut() {
    const LEN: usize = 200_000;
    let writer = file(&vec![b'a'; LEN]);
    let reader = must!(open(c"f", O_RDONLY, 0));
    let cutter = std::thread::spawn(move || {
        let whole = vec![b'a'; LEN];
        for i in 0..300 {
            must!(ftruncate(writer, (i * 701) % LEN as i64));
            check_eq!(pwrite(writer, &whole, 0), Ok(LEN));
        }
    });
    let mut buf = vec![0; LEN];
    while !cutter.is_finished() {
        let n = must!(pread(reader, &mut buf, 0));
        check!(n <= LEN);
        check!(buf[..n].iter().all(|b| matches!(b, b'a' | 0)));
    }
    check!(cutter.join().is_ok());
    check_eq!(pread(reader, &mut buf, 0), Ok(LEN));
    check!(buf.iter().all(|b| *b == b'a'));
}

cases![
    shrinks_and_grows_with_zeros,
    a_file_that_is_read_often_is_never_old,
    reads_while_the_file_is_cut,
    keeps_offset,
    errors,
    read_only_descriptor_is_einval,
    pipe_and_socket_are_einval,
    without_write_permission_is_eacces,
    same_size_by_ftruncate_updates_times,
    fallocate_extends,
    fallocate_keep_size,
    fallocate_punch_hole_zeroes,
    fallocate_errors,
    fallocate_directory_is_eisdir_or_ebadf,
    fsync_family,
    syncfs_and_sync,
    sync_file_range_rules,
    fadvise_rules,
    readahead_rules,
];
