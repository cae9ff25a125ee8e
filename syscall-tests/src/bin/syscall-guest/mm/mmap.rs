//! mmap(2), munmap(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

const RW: i32 = PROT_READ | PROT_WRITE;
const ANON: i32 = MAP_PRIVATE | MAP_ANONYMOUS;

fn file(data: &[u8]) -> i32 {
    tmp();
    must!(write_file(c"f", data));
    must!(open(c"f", O_RDWR, 0))
}
/// An address with `pages` unmapped pages behind it.
fn hole(pages: usize) -> usize {
    let p = anon(pages);
    must!(munmap(p, pages * PAGE));
    p as usize
}

fn anonymous_memory_is_zero() {
    let p = anon(4);
    check!(bytes_at(p, 4 * PAGE).iter().all(|b| *b == 0));
    poke(p.wrapping_add(5000), 7u8);
    check_eq!(peek(p.wrapping_add(5000)), 7u8);
}

fn length_is_rounded_up() {
    let p = must!(mmap(0, 1, RW, ANON, -1, 0));
    poke(p.wrapping_add(PAGE - 1), 1u8);
    must!(munmap(p, 1));
    expect_killed(SIGSEGV, || poke(p, 1u8));
}

fn zero_length_is_einval() {
    expect_errno!(mmap(0, 0, RW, ANON, -1, 0), EINVAL);
    expect_errno!(mmap(0, 0, RW, MAP_PRIVATE, -1, 0), EBADF);
    expect_errno!(munmap(anon(1), 0), EINVAL);
}

fn huge_length_is_enomem() {
    expect_errno!(mmap(0, usize::MAX, RW, ANON, -1, 0), ENOMEM);
    expect_errno!(mmap(0, 1 << 47, RW, ANON, -1, 0), ENOMEM);
}

fn private_or_shared_is_required() {
    expect_errno!(mmap(0, PAGE, RW, MAP_ANONYMOUS, -1, 0), EINVAL);
    expect_errno!(mmap(0, PAGE, RW, MAP_ANONYMOUS | 0x0c, -1, 0), EINVAL);
}

fn unaligned_offset_is_einval() {
    let fd = file(b"abc");
    expect_errno!(mmap(0, PAGE, RW, MAP_PRIVATE, fd, 1), EINVAL);
    expect_errno!(mmap(0, PAGE, RW, MAP_PRIVATE, -1, 1), EINVAL);
}

fn bad_descriptor_is_ebadf() {
    expect_errno!(mmap(0, PAGE, RW, MAP_PRIVATE, -1, 0), EBADF);
    expect_errno!(mmap(0, PAGE, RW, MAP_SHARED, 150, 0), EBADF);
    let p = must!(open(c"/", O_PATH, 0));
    expect_errno!(mmap(0, PAGE, RW, MAP_PRIVATE, p, 0), EBADF);
}

fn pipe_is_enodev_and_directory_too() {
    let (r, _w) = must!(pipe());
    let p = mmap(0, PAGE, PROT_READ, MAP_PRIVATE, r, 0);
    expect_errno!(p, ENODEV);
    let d = must!(open(c"/", O_RDONLY, 0));
    expect_errno!(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, d, 0), ENODEV);
}

fn file_mode_is_checked() {
    file(b"abc");
    let ro = must!(open(c"f", O_RDONLY, 0));
    let wo = must!(open(c"f", O_WRONLY, 0));
    expect_errno!(mmap(0, PAGE, RW, MAP_SHARED, ro, 0), EACCES);
    must!(mmap(0, PAGE, RW, MAP_PRIVATE, ro, 0));
    expect_errno!(mmap(0, PAGE, PROT_WRITE, MAP_SHARED, wo, 0), EACCES);
    expect_errno!(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, wo, 0), EACCES);
}

fn shared_read_only_mapping_cannot_become_writable() {
    file(b"abc");
    let ro = must!(open(c"f", O_RDONLY, 0));
    let p = must!(mmap(0, PAGE, PROT_READ, MAP_SHARED, ro, 0));
    expect_errno!(mprotect(p, PAGE, RW), EACCES);
    let q = must!(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, ro, 0));
    must!(mprotect(q, PAGE, RW));
    poke(q, b'X');
    check_eq!(read_file(c"f"), Ok(b"abc".to_vec()));
}

fn private_file_mapping_copies_on_write() {
    let fd = file(b"hello");
    let p = must!(mmap(0, PAGE, RW, MAP_PRIVATE, fd, 0));
    check_eq!(bytes_at(p, 6), b"hello\0".to_vec());
    poke(p, b'J');
    check_eq!(read_file(c"f"), Ok(b"hello".to_vec()));
    check_eq!(bytes_at(p, 5), b"Jello".to_vec());
}

fn shared_file_mapping_writes_through() {
    let fd = file(b"hello");
    let p = must!(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    poke(p, b'J');
    check_eq!(read_file(c"f"), Ok(b"Jello".to_vec()));
    must!(pwrite(fd, b"y", 4));
    check_eq!(peek(p.wrapping_add(4)), b'y');
    must!(close(fd));
    poke(p.wrapping_add(1), b'E');
    check_eq!(read_file(c"f"), Ok(b"JElly".to_vec()));
}

fn shared_file_mapping_between_processes() {
    let fd = file(&[0; 100]);
    let p = must!(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    in_child(|| {
        let q = must!(mmap(
            0,
            PAGE,
            RW,
            MAP_SHARED,
            must!(open(c"f", O_RDWR, 0)),
            0
        ));
        poke(q.wrapping_add(50), 9u8);
    });
    check_eq!(peek(p.wrapping_add(50)), 9u8);
}

fn bytes_after_the_end_are_zero_and_lost() {
    let fd = file(b"abc");
    let p = must!(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    check_eq!(peek(p.wrapping_add(100)), 0u8);
    poke(p.wrapping_add(100), 1u8);
    check_eq!(must!(read_file(c"f")).len(), 3);
}

fn access_past_end_of_file_is_sigbus() {
    let fd = file(b"abc");
    let p = must!(mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, 0));
    expect_killed(SIGBUS, || {
        peek(p.wrapping_add(PAGE));
    });
    let q = must!(mmap(0, 2 * PAGE, RW, MAP_PRIVATE, fd, 0));
    expect_killed(SIGBUS, || poke(q.wrapping_add(PAGE), 1u8));
}

fn truncation_makes_pages_sigbus() {
    let fd = file(&[1; 3 * PAGE]);
    let p = must!(mmap(0, 3 * PAGE, RW, MAP_SHARED, fd, 0));
    check_eq!(peek(p.wrapping_add(2 * PAGE)), 1u8);
    must!(ftruncate(fd, PAGE as i64));
    check_eq!(peek(p), 1u8);
    expect_killed(SIGBUS, || {
        peek(p.wrapping_add(2 * PAGE));
    });
}

fn growth_makes_pages_appear() {
    let fd = file(b"abc");
    let p = must!(mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, 0));
    must!(pwrite(fd, b"z", PAGE as i64));
    check_eq!(peek(p.wrapping_add(PAGE)), b'z');
}

fn offset_selects_page() {
    let mut data = vec![b'a'; PAGE];
    data.extend(vec![b'b'; PAGE]);
    let fd = file(&data);
    let p = must!(mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, PAGE as i64));
    check_eq!(peek(p), b'b');
}

fn shared_anonymous_is_shared_over_fork() {
    let p = shared(1);
    in_child(|| poke(p, 5u8));
    check_eq!(peek(p), 5u8);
}

fn private_anonymous_is_copied_by_fork() {
    let p = anon(1);
    poke(p, 1u8);
    in_child(|| {
        check_eq!(peek(p), 1u8);
        poke(p, 2u8);
    });
    check_eq!(peek(p), 1u8);
}

fn shared_anonymous_of_grandchildren() {
    let p = shared(1);
    in_child(|| in_child(|| poke(p.wrapping_add(9), 3u8)));
    check_eq!(peek(p.wrapping_add(9)), 3u8);
}

fn fixed_replaces() {
    let p = anon(3);
    put_bytes(p, &[1; 3 * PAGE]);
    let q = must!(mmap(p as usize + PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0));
    check_eq!(q, p.wrapping_add(PAGE));
    check_eq!(
        (peek(p), peek(q), peek(p.wrapping_add(2 * PAGE))),
        (1, 0, 1)
    );
}

fn fixed_unaligned_is_einval() {
    let p = hole(2);
    expect_errno!(mmap(p + 1, PAGE, RW, ANON | MAP_FIXED, -1, 0), EINVAL);
    expect_errno!(
        mmap(p + 1, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0),
        EINVAL
    );
}

fn fixed_beyond_address_space_is_enomem() {
    expect_errno!(mmap(1 << 47, PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
    expect_errno!(
        mmap(usize::MAX - PAGE + 1, PAGE, RW, ANON | MAP_FIXED, -1, 0),
        ENOMEM
    );
}

fn fixed_low_address_needs_privilege() {
    // Below vm.mmap_min_addr; root with CAP_SYS_RAWIO may.
    need_root();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        let result = mmap(0, PAGE, RW, ANON | MAP_FIXED, -1, 0);
        check!(matches!(result, Err(EPERM | EACCES)), "{result:?}");
    });
}

fn noreplace_on_mapped_is_eexist() {
    let p = anon(2) as usize;
    expect_errno!(mmap(p, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    expect_errno!(
        mmap(p - PAGE, 2 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0),
        EEXIST
    );
    let free = hole(1);
    check_eq!(
        mmap(free, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0),
        Ok(free as *mut u8)
    );
}

fn hint_is_taken_when_free() {
    let free = hole(4);
    check_eq!(mmap(free, PAGE, RW, ANON, -1, 0), Ok(free as *mut u8));
    let other = must!(mmap(free, PAGE, RW, ANON, -1, 0));
    check!(other != free as *mut u8);
}

fn unaligned_hint_is_rounded() {
    let free = hole(4);
    let got = must!(mmap(free + 100, PAGE, RW, ANON, -1, 0)) as usize;
    check!(got.is_multiple_of(PAGE));
}

fn munmap_middle_splits() {
    let p = anon(3);
    must!(munmap(p.wrapping_add(PAGE), PAGE));
    poke(p, 1u8);
    poke(p.wrapping_add(2 * PAGE), 1u8);
    expect_killed(SIGSEGV, || poke(p.wrapping_add(PAGE), 1u8));
}

fn munmap_errors_and_holes() {
    let p = anon(1);
    expect_errno!(munmap(p.wrapping_add(1), PAGE), EINVAL);
    expect_errno!(munmap(p, usize::MAX), EINVAL);
    expect_errno!(sys!(SYS_munmap, 1usize << 47, PAGE), EINVAL);
    must!(munmap(p, PAGE));
    check_eq!(munmap(p, PAGE), Ok(0));
}

fn munmap_across_several_mappings() {
    let p = anon(4);
    must!(mprotect(p.wrapping_add(PAGE), PAGE, PROT_NONE));
    must!(munmap(p.wrapping_add(2 * PAGE), PAGE));
    must!(munmap(p, 4 * PAGE));
    for i in 0..4 {
        expect_killed(SIGSEGV, || {
            peek(p.wrapping_add(i * PAGE));
        });
    }
}

fn prot_none_faults_with_accerr() {
    let p = must!(mmap(0, PAGE, PROT_NONE, ANON, -1, 0));
    expect_killed(SIGSEGV, || {
        peek(p);
    });
}

fn executable_memory_runs() {
    let p = must!(mmap(0, PAGE, RW | PROT_EXEC, ANON, -1, 0));
    // mov eax, 42; ret
    put_bytes(p, &[0xb8, 42, 0, 0, 0, 0xc3]);
    let f: extern "C" fn() -> i32 = unsafe { std::mem::transmute(p) };
    check_eq!(f(), 42);
}

fn no_exec_memory_faults() {
    let p = anon(1);
    put_bytes(p, &[0xc3]);
    expect_killed(SIGSEGV, || {
        let f: extern "C" fn() = unsafe { std::mem::transmute(p) };
        f();
    });
}

fn executable_file_mapping_runs() {
    let fd = file(&[0xb8, 43, 0, 0, 0, 0xc3]);
    let p = must!(mmap(0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
    let f: extern "C" fn() -> i32 = unsafe { std::mem::transmute(p) };
    check_eq!(f(), 43);
}

fn populate_and_noreserve_flags() {
    let p = must!(mmap(0, 64 * PAGE, RW, ANON | MAP_POPULATE, -1, 0));
    poke(p.wrapping_add(63 * PAGE), 1u8);
    let big = must!(mmap(0, 1 << 36, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
    must!(munmap(big, 1 << 36));
}

fn map_32bit_gives_low_address() {
    let p = must!(mmap(0, PAGE, RW, ANON | MAP_32BIT, -1, 0));
    check!((p as usize) < 1 << 31, "{p:?}");
}

fn stack_flags_are_accepted() {
    must!(mmap(
        0,
        8 * PAGE,
        RW,
        ANON | MAP_STACK | MAP_NORESERVE,
        -1,
        0
    ));
}

fn shared_validate_refuses_unknown_flags() {
    let fd = file(b"abc");
    must!(mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE, fd, 0));
    expect_errno!(
        mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 1 << 22, fd, 0),
        EOPNOTSUPP
    );
}

fn many_mappings() {
    let p = anon(2000);
    for i in (0..2000).step_by(2) {
        must!(mprotect(p.wrapping_add(i * PAGE), PAGE, PROT_READ));
    }
    poke(p.wrapping_add(1999 * PAGE), 1u8);
    must!(munmap(p, 2000 * PAGE));
}

fn rlimit_as_is_enomem() {
    must!(setrlimit(RLIMIT_AS, 1 << 30, 1 << 30));
    expect_errno!(mmap(0, 2 << 30, RW, ANON, -1, 0), ENOMEM);
    let p = must!(mmap(0, 1 << 20, RW, ANON, -1, 0));
    must!(munmap(p, 1 << 20));
}

fn dev_zero_mappings() {
    let fd = must!(open(c"/dev/zero", O_RDWR, 0));
    let p = must!(mmap(0, PAGE, RW, MAP_PRIVATE, fd, 0));
    poke(p, 1u8);
    let s = must!(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    in_child(|| poke(s, 7u8));
    check_eq!(peek(s), 7u8);
}

fn memfd_shared_between_mappings() {
    let fd = must!(sys!(SYS_memfd_create, c"m", 0)) as i32;
    must!(ftruncate(fd, PAGE as i64));
    let a = must!(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    let b = must!(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    poke(a.wrapping_add(10), 42u8);
    check_eq!(peek(b.wrapping_add(10)), 42u8);
    let mut byte = [0u8; 1];
    check_eq!(pread(fd, &mut byte, 10), Ok(1));
    check_eq!(byte[0], 42);
    must!(pwrite(fd, &[43], 10));
    check_eq!(peek(a.wrapping_add(10)), 43u8);
}

fn system_call_reads_and_writes_mapped_file() {
    let fd = file(&[b'm'; PAGE]);
    let p = must!(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    let (r, w) = must!(pipe());
    check_eq!(sys!(SYS_write, w, p, 10), Ok(10));
    check_eq!(read_vec(r, 100), Ok(vec![b'm'; 10]));
    must!(write(w, b"NEW"));
    check_eq!(sys!(SYS_read, r, p, 3), Ok(3));
    check_eq!(&must!(read_file(c"f"))[..4], b"NEWm");
}

fn system_call_on_page_past_end_is_efault() {
    let fd = file(b"abc");
    let p = must!(mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, 0));
    let (_r, w) = must!(pipe());
    expect_errno!(sys!(SYS_write, w, p.wrapping_add(PAGE), 10), EFAULT);
}

cases![
    anonymous_memory_is_zero,
    length_is_rounded_up,
    zero_length_is_einval,
    huge_length_is_enomem,
    private_or_shared_is_required,
    unaligned_offset_is_einval,
    bad_descriptor_is_ebadf,
    pipe_is_enodev_and_directory_too,
    file_mode_is_checked,
    shared_read_only_mapping_cannot_become_writable,
    private_file_mapping_copies_on_write,
    shared_file_mapping_writes_through,
    shared_file_mapping_between_processes,
    bytes_after_the_end_are_zero_and_lost,
    access_past_end_of_file_is_sigbus,
    truncation_makes_pages_sigbus,
    growth_makes_pages_appear,
    offset_selects_page,
    shared_anonymous_is_shared_over_fork,
    private_anonymous_is_copied_by_fork,
    shared_anonymous_of_grandchildren,
    fixed_replaces,
    fixed_unaligned_is_einval,
    fixed_beyond_address_space_is_enomem,
    fixed_low_address_needs_privilege,
    noreplace_on_mapped_is_eexist,
    hint_is_taken_when_free,
    unaligned_hint_is_rounded,
    munmap_middle_splits,
    munmap_errors_and_holes,
    munmap_across_several_mappings,
    prot_none_faults_with_accerr,
    executable_memory_runs,
    no_exec_memory_faults,
    executable_file_mapping_runs,
    populate_and_noreserve_flags,
    map_32bit_gives_low_address,
    stack_flags_are_accepted,
    shared_validate_refuses_unknown_flags,
    many_mappings,
    rlimit_as_is_enomem,
    dev_zero_mappings,
    memfd_shared_between_mappings,
    system_call_reads_and_writes_mapped_file,
    system_call_on_page_past_end_is_efault,
];
