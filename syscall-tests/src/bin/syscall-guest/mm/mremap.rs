//! mremap(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

const RW: i32 = PROT_READ | PROT_WRITE;
const ANON: i32 = MAP_PRIVATE | MAP_ANONYMOUS;
const MAYMOVE: i32 = 1;
const FIXED: i32 = 2;
const DONTUNMAP: i32 = 4;

fn mremap(p: *mut u8, old: usize, new: usize, flags: i32, to: usize) -> Sys<*mut u8> {
    sys!(SYS_mremap, p, old, new, flags, to).map(|p| p as usize as *mut u8)
}
fn gone(p: *mut u8) {
    expect_killed(SIGSEGV, || {
        peek(p);
    });
}

fn shrink_in_place() {
    let p = anon(4);
    put_bytes(p, &[1; 4 * PAGE]);
    check_eq!(mremap(p, 4 * PAGE, 2 * PAGE, 0, 0), Ok(p));
    check_eq!(peek(p.wrapping_add(2 * PAGE - 1)), 1u8);
    gone(p.wrapping_add(2 * PAGE));
}

fn same_size_is_noop() {
    let p = anon(2);
    check_eq!(mremap(p, 2 * PAGE, 2 * PAGE, 0, 0), Ok(p));
}

fn grow_in_place_when_free() {
    let p = anon(8);
    must!(munmap(p.wrapping_add(2 * PAGE), 6 * PAGE));
    put_bytes(p, b"data");
    check_eq!(mremap(p, 2 * PAGE, 4 * PAGE, 0, 0), Ok(p));
    check_eq!(bytes_at(p, 4), b"data".to_vec());
    check_eq!(peek(p.wrapping_add(3 * PAGE)), 0u8);
}

fn grow_blocked_without_maymove_is_enomem() {
    let p = anon(4);
    expect_errno!(mremap(p, 2 * PAGE, 6 * PAGE, 0, 0), ENOMEM);
}

fn grow_moves_with_contents() {
    let p = anon(4);
    must!(mprotect(p.wrapping_add(2 * PAGE), 2 * PAGE, PROT_READ));
    put_bytes(p, &[3; 2 * PAGE]);
    let q = must!(mremap(p, 2 * PAGE, 64 * PAGE, MAYMOVE, 0));
    check!(q != p);
    check_eq!(bytes_at(q, 2 * PAGE), vec![3; 2 * PAGE]);
    check_eq!(peek(q.wrapping_add(63 * PAGE)), 0u8);
    gone(p);
}

fn fixed_moves_and_replaces() {
    let p = anon(2);
    put_bytes(p, b"moving");
    let to = anon(4);
    put_bytes(to, &[9; PAGE]);
    let q = must!(mremap(p, 2 * PAGE, 2 * PAGE, MAYMOVE | FIXED, to as usize));
    check_eq!(q, to);
    check_eq!(bytes_at(q, 6), b"moving".to_vec());
    gone(p);
}

fn fixed_errors() {
    let p = anon(4);
    let to = anon(4) as usize;
    expect_errno!(mremap(p, PAGE, PAGE, FIXED, to), EINVAL);
    expect_errno!(mremap(p, PAGE, PAGE, MAYMOVE | FIXED, to + 1), EINVAL);
    expect_errno!(
        mremap(p, 2 * PAGE, 2 * PAGE, MAYMOVE | FIXED, p as usize + PAGE),
        EINVAL
    );
    expect_errno!(mremap(p, PAGE, PAGE, MAYMOVE | FIXED, 1 << 47), EINVAL);
}

fn argument_errors() {
    let p = anon(2);
    expect_errno!(mremap(p.wrapping_add(1), PAGE, PAGE, 0, 0), EINVAL);
    expect_errno!(mremap(p, PAGE, 0, 0, 0), EINVAL);
    expect_errno!(mremap(p, PAGE, PAGE, 8, 0), EINVAL);
    must!(munmap(p, 2 * PAGE));
    expect_errno!(mremap(p, PAGE, 2 * PAGE, MAYMOVE, 0), EFAULT);
}

fn range_over_two_mappings_is_efault() {
    let p = anon(2);
    must!(mprotect(p.wrapping_add(PAGE), PAGE, PROT_READ));
    expect_errno!(mremap(p, 2 * PAGE, 8 * PAGE, MAYMOVE, 0), EFAULT);
}

fn old_size_zero_duplicates_shared() {
    let p = shared(1);
    put_bytes(p, b"shared");
    let q = must!(mremap(p, 0, PAGE, MAYMOVE, 0));
    check!(q != p);
    poke(q, b'S');
    check_eq!(bytes_at(p, 6), b"Shared".to_vec());
    let private = anon(1);
    expect_errno!(mremap(private, 0, PAGE, MAYMOVE, 0), EINVAL);
}

fn dontunmap_leaves_zero_pages_behind() {
    let p = anon(2);
    put_bytes(p, b"data");
    let q = must!(mremap(p, 2 * PAGE, 2 * PAGE, MAYMOVE | DONTUNMAP, 0));
    check!(q != p);
    check_eq!(bytes_at(q, 4), b"data".to_vec());
    check_eq!(bytes_at(p, 4), vec![0; 4]);
    poke(p, 1u8);
    check_eq!(peek(q), b'd');
}

fn dontunmap_errors() {
    let p = anon(2);
    expect_errno!(mremap(p, PAGE, PAGE, DONTUNMAP, 0), EINVAL);
    expect_errno!(mremap(p, PAGE, 2 * PAGE, MAYMOVE | DONTUNMAP, 0), EINVAL);
}

fn moved_part_of_a_mapping() {
    let p = anon(3);
    for i in 0..3 {
        poke(p.wrapping_add(i * PAGE), i as u8 + 1);
    }
    let q = must!(mremap(p.wrapping_add(PAGE), PAGE, 16 * PAGE, MAYMOVE, 0));
    check_eq!(peek(q), 2u8);
    check_eq!((peek(p), peek(p.wrapping_add(2 * PAGE))), (1u8, 3u8));
    gone(p.wrapping_add(PAGE));
}

fn shared_file_mapping_keeps_its_offset() {
    tmp();
    let mut data = vec![b'a'; PAGE];
    data.extend(vec![b'b'; PAGE]);
    must!(write_file(c"f", &data));
    let fd = must!(open(c"f", O_RDWR, 0));
    let p = must!(mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, 0));
    let q = must!(mremap(
        p.wrapping_add(PAGE),
        PAGE,
        PAGE,
        MAYMOVE | DONTUNMAP,
        0
    ));
    check_eq!(peek(q), b'b');
    let free = anon(4) as usize;
    let q = must!(mremap(p, PAGE, 2 * PAGE, MAYMOVE | FIXED, free));
    check_eq!((peek(q), peek(q.wrapping_add(PAGE))), (b'a', b'b'));
    poke(q, b'Z');
    check_eq!(must!(read_file(c"f"))[0], b'Z');
}

fn protection_moves_along() {
    let p = anon(1);
    poke(p, 5u8);
    must!(mprotect(p, PAGE, PROT_READ));
    let to = anon(1) as usize;
    let q = must!(mremap(p, PAGE, PAGE, MAYMOVE | FIXED, to));
    check_eq!(peek(q), 5u8);
    expect_killed(SIGSEGV, || poke(q, 1u8));
}

fn many_growths_keep_data() {
    let mut p = must!(mmap(0, PAGE, RW, ANON, -1, 0));
    let mut pages = 1;
    for round in 0..8 {
        poke(p.wrapping_add((pages - 1) * PAGE), round as u8 + 1);
        p = must!(mremap(p, pages * PAGE, 2 * pages * PAGE, MAYMOVE, 0));
        pages *= 2;
    }
    for round in 0..8 {
        check_eq!(
            peek(p.wrapping_add(((1 << round) - 1) * PAGE)),
            round as u8 + 1
        );
    }
}

cases![
    shrink_in_place,
    same_size_is_noop,
    grow_in_place_when_free,
    grow_blocked_without_maymove_is_enomem,
    grow_moves_with_contents,
    fixed_moves_and_replaces,
    fixed_errors,
    argument_errors,
    range_over_two_mappings_is_efault,
    old_size_zero_duplicates_shared,
    dontunmap_leaves_zero_pages_behind,
    dontunmap_errors,
    moved_part_of_a_mapping,
    shared_file_mapping_keeps_its_offset,
    protection_moves_along,
    many_growths_keep_data,
];
