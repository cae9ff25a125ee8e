//! madvise(2), mincore(2), msync(2), mlock(2) and relatives, brk(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

const RW: i32 = PROT_READ | PROT_WRITE;

fn madvise(p: *mut u8, len: usize, advice: i32) -> Sys {
    sys!(SYS_madvise, p, len, advice)
}
fn file(data: &[u8]) -> i32 {
    tmp();
    must!(write_file(c"f", data));
    must!(open(c"f", O_RDWR, 0))
}

fn dontneed_zeroes_anonymous() {
    let p = anon(3);
    put_bytes(p, &[1; 3 * PAGE]);
    must!(madvise(p.wrapping_add(PAGE), PAGE, MADV_DONTNEED));
    check_eq!(peek(p.wrapping_add(PAGE)), 0u8);
    check_eq!((peek(p), peek(p.wrapping_add(2 * PAGE))), (1u8, 1u8));
}

fn dontneed_reloads_private_file() {
    let fd = file(b"original");
    let p = must!(mmap(0, PAGE, RW, MAP_PRIVATE, fd, 0));
    poke(p, b'X');
    must!(madvise(p, PAGE, MADV_DONTNEED));
    check_eq!(peek(p), b'o');
}

fn dontneed_keeps_shared_data() {
    let p = shared(1);
    poke(p, 5u8);
    must!(madvise(p, PAGE, MADV_DONTNEED));
    check_eq!(peek(p), 5u8);
}

fn dontneed_on_hole_is_enomem_but_done() {
    let p = anon(3);
    put_bytes(p, &[1; 3 * PAGE]);
    must!(munmap(p.wrapping_add(PAGE), PAGE));
    expect_errno!(madvise(p, 3 * PAGE, MADV_DONTNEED), ENOMEM);
    check_eq!((peek(p), peek(p.wrapping_add(2 * PAGE))), (0u8, 0u8));
}

fn madvise_errors() {
    let p = anon(1);
    expect_errno!(madvise(p.wrapping_add(1), PAGE, MADV_DONTNEED), EINVAL);
    expect_errno!(madvise(p, PAGE, 12345), EINVAL);
    expect_errno!(madvise(p, usize::MAX, MADV_DONTNEED), EINVAL);
    check_eq!(madvise(p, 0, MADV_DONTNEED), Ok(0));
}

fn hints_are_accepted() {
    let p = anon(4);
    put_bytes(p, b"data");
    for advice in [
        MADV_NORMAL,
        MADV_DONTDUMP,
        MADV_DODUMP,
        MADV_RANDOM,
        MADV_SEQUENTIAL,
        MADV_WILLNEED,
        MADV_COLD,
    ] {
        must!(madvise(p, 4 * PAGE, advice));
    }
    check_eq!(bytes_at(p, 4), b"data".to_vec());
}

fn free_keeps_or_zeroes() {
    let p = anon(1);
    poke(p, 5u8);
    must!(madvise(p, PAGE, MADV_FREE));
    check!(matches!(peek(p), 0u8 | 5));
    poke(p, 6u8);
    check_eq!(peek(p), 6u8);
    let s = shared(1);
    expect_errno!(madvise(s, PAGE, MADV_FREE), EINVAL);
}

fn dontfork_hides_from_child() {
    let p = anon(2);
    must!(madvise(p, PAGE, MADV_DONTFORK));
    expect_killed(SIGSEGV, || {
        peek(p);
    });
    in_child(|| check_eq!(peek(p.wrapping_add(PAGE)), 0u8));
    must!(madvise(p, PAGE, MADV_DOFORK));
    in_child(|| check_eq!(peek(p), 0u8));
}

fn wipeonfork_zeroes_in_child() {
    let p = anon(1);
    poke(p, 9u8);
    must!(madvise(p, PAGE, MADV_WIPEONFORK));
    in_child(|| check_eq!(peek(p), 0u8));
    check_eq!(peek(p), 9u8);
    must!(madvise(p, PAGE, MADV_KEEPONFORK));
    in_child(|| check_eq!(peek(p), 9u8));
    let s = shared(1);
    expect_errno!(madvise(s, PAGE, MADV_WIPEONFORK), EINVAL);
}

fn remove_punches_shared_memory() {
    let p = shared(2);
    put_bytes(p, &[1; 2 * PAGE]);
    must!(madvise(p, PAGE, MADV_REMOVE));
    check_eq!((peek(p), peek(p.wrapping_add(PAGE))), (0u8, 1u8));
    expect_errno!(madvise(anon(1), PAGE, MADV_REMOVE), EINVAL);
}

fn populate_write_faults_in() {
    let p = anon(4);
    must!(madvise(p, 4 * PAGE, MADV_POPULATE_WRITE));
    let mut vec = [0u8; 4];
    must!(sys!(SYS_mincore, p, 4 * PAGE, &mut vec));
    check!(vec.iter().all(|v| v & 1 == 1), "{vec:?}");
}

fn mincore_reports_touched_pages() {
    let p = anon(4);
    poke(p.wrapping_add(PAGE), 1u8);
    let mut vec = [9u8; 4];
    must!(sys!(SYS_mincore, p, 4 * PAGE, &mut vec));
    check_eq!(vec[1] & 1, 1);
    check!(vec.iter().all(|v| *v <= 1));
}

fn mincore_errors() {
    let p = anon(2);
    let mut vec = [0u8; 4];
    expect_errno!(sys!(SYS_mincore, p.wrapping_add(1), PAGE, &mut vec), EINVAL);
    expect_errno!(sys!(SYS_mincore, p, PAGE, bad::<u8>()), EFAULT);
    must!(munmap(p.wrapping_add(PAGE), PAGE));
    expect_errno!(sys!(SYS_mincore, p, 2 * PAGE, &mut vec), ENOMEM);
    check_eq!(sys!(SYS_mincore, p, 0, &mut vec), Ok(0));
}

fn msync_writes_shared_file() {
    let fd = file(b"abc");
    let p = must!(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    poke(p, b'X');
    must!(sys!(SYS_msync, p, PAGE, MS_SYNC));
    must!(sys!(SYS_msync, p, PAGE, MS_ASYNC));
    must!(sys!(SYS_msync, p, PAGE, MS_INVALIDATE));
    check_eq!(read_file(c"f"), Ok(b"Xbc".to_vec()));
}

fn msync_errors() {
    let p = anon(2);
    expect_errno!(sys!(SYS_msync, p, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
    expect_errno!(sys!(SYS_msync, p, PAGE, 0x80), EINVAL);
    expect_errno!(sys!(SYS_msync, p.wrapping_add(1), PAGE, MS_SYNC), EINVAL);
    must!(sys!(SYS_msync, p, PAGE, 0));
    must!(munmap(p.wrapping_add(PAGE), PAGE));
    expect_errno!(sys!(SYS_msync, p, 2 * PAGE, MS_SYNC), ENOMEM);
}

fn mlock_and_munlock() {
    let p = anon(2);
    must!(sys!(SYS_mlock, p, 2 * PAGE));
    must!(sys!(SYS_munlock, p, PAGE));
    must!(sys!(SYS_mlock2, p, PAGE, 1));
    expect_errno!(sys!(SYS_mlock2, p, PAGE, 2), EINVAL);
    must!(munmap(p.wrapping_add(PAGE), PAGE));
    expect_errno!(sys!(SYS_mlock, p, 2 * PAGE), ENOMEM);
}

fn mlock_limit_is_enomem_or_eperm() {
    need_root();
    in_child(|| {
        must!(setrlimit(RLIMIT_MEMLOCK, PAGE as u64, PAGE as u64));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        let p = anon(4);
        must!(sys!(SYS_mlock, p, PAGE));
        expect_errno!(sys!(SYS_mlock, p, 4 * PAGE), ENOMEM);
    });
    in_child(|| {
        must!(setrlimit(RLIMIT_MEMLOCK, 0, 0));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(sys!(SYS_mlock, anon(1), PAGE), EPERM);
    });
}

fn mlockall_flags() {
    expect_errno!(sys!(SYS_mlockall, 0), EINVAL);
    expect_errno!(sys!(SYS_mlockall, 8), EINVAL);
    expect_errno!(sys!(SYS_mlockall, 4), EINVAL);
    must!(sys!(SYS_munlockall));
}

fn brk_grows_shrinks_and_refuses() {
    let start = must!(sys!(SYS_brk, 0)) as usize;
    check_eq!(
        sys!(SYS_brk, start + 3 * PAGE),
        Ok((start + 3 * PAGE) as i64)
    );
    let p = start as *mut u8;
    poke(p.wrapping_add(3 * PAGE - 1), 1u8);
    check_eq!(sys!(SYS_brk, start), Ok(start as i64));
    check_eq!(sys!(SYS_brk, start + PAGE), Ok((start + PAGE) as i64));
    let unaligned = start + PAGE + 5;
    check_eq!(sys!(SYS_brk, unaligned), Ok(unaligned as i64));
    check_eq!(sys!(SYS_brk, 1), Ok(unaligned as i64));
    check_eq!(sys!(SYS_brk, 1usize << 47), Ok(unaligned as i64));
}

fn brk_regrown_memory_is_zero() {
    let start = must!(sys!(SYS_brk, 0)) as usize;
    let page = (start + PAGE - 1) & !(PAGE - 1);
    must!(sys!(SYS_brk, page + PAGE));
    poke(page as *mut u8, 5u8);
    must!(sys!(SYS_brk, page));
    must!(sys!(SYS_brk, page + PAGE));
    check_eq!(peek(page as *const u8), 0u8);
}

fn brk_obeys_rlimit_data() {
    let start = must!(sys!(SYS_brk, 0)) as usize;
    let max = must!(getrlimit(RLIMIT_DATA)).rlim_max;
    must!(setrlimit(RLIMIT_DATA, 0, max));
    check_eq!(sys!(SYS_brk, start + (64 << 20)), Ok(start as i64));
}

cases![
    dontneed_zeroes_anonymous,
    dontneed_reloads_private_file,
    dontneed_keeps_shared_data,
    dontneed_on_hole_is_enomem_but_done,
    madvise_errors,
    hints_are_accepted,
    free_keeps_or_zeroes,
    dontfork_hides_from_child,
    wipeonfork_zeroes_in_child,
    remove_punches_shared_memory,
    populate_write_faults_in,
    mincore_reports_touched_pages,
    mincore_errors,
    msync_writes_shared_file,
    msync_errors,
    mlock_and_munlock,
    mlock_limit_is_enomem_or_eperm,
    mlockall_flags,
    brk_grows_shrinks_and_refuses,
    brk_regrown_memory_is_zero,
    brk_obeys_rlimit_data,
];
