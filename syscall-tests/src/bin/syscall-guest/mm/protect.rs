//! mprotect(2), and the signals of forbidden accesses.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicI32, AtomicUsize};
use syscall_tests::cases;
use syscall_tests::prelude::*;

const RW: i32 = PROT_READ | PROT_WRITE;

static FAULTS: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDR: AtomicUsize = AtomicUsize::new(0);

/// Records the fault and makes the page accessible, so that it is retried.
extern "C" fn open_page(_: i32, info: *mut siginfo_t, _: *mut c_void) {
    let addr = unsafe { (*info).si_addr() } as usize;
    FAULTS.fetch_add(1, SeqCst);
    CODE.store(unsafe { (*info).si_code }, SeqCst);
    ADDR.store(addr, SeqCst);
    let page = (addr & !(PAGE - 1)) as *mut u8;
    let _ = mprotect(page, PAGE, RW);
}

fn read_only_write_faults_with_accerr_and_retries() {
    handle(SIGSEGV, open_page, 0);
    let p = anon(1);
    must!(mprotect(p, PAGE, PROT_READ));
    poke(p.wrapping_add(123), 9u8);
    check_eq!(FAULTS.load(SeqCst), 1);
    check_eq!(CODE.load(SeqCst), 2);
    check_eq!(ADDR.load(SeqCst), p as usize + 123);
    check_eq!(peek(p.wrapping_add(123)), 9u8);
}

fn prot_none_read_faults_and_retries() {
    handle(SIGSEGV, open_page, 0);
    let p = anon(1);
    poke(p, 77u8);
    must!(mprotect(p, PAGE, PROT_NONE));
    check_eq!(peek(p), 77u8);
    check_eq!((FAULTS.load(SeqCst), CODE.load(SeqCst)), (1, 2));
}

fn write_barrier_pattern_over_many_pages() {
    // What garbage collectors do: protect, fault, open, continue.
    handle(SIGSEGV, open_page, 0);
    let p = anon(64);
    for round in 1..=3u8 {
        must!(mprotect(p, 64 * PAGE, PROT_READ));
        for i in 0..64 {
            poke(p.wrapping_add(i * PAGE), round);
        }
        check_eq!(FAULTS.load(SeqCst), 64 * i32::from(round));
    }
}

fn protection_applies_to_system_calls() {
    let p = anon(1);
    let (r, w) = must!(pipe());
    must!(write(w, b"abc"));
    must!(mprotect(p, PAGE, PROT_READ));
    expect_errno!(sys!(SYS_read, r, p, 3), EFAULT);
    check_eq!(sys!(SYS_write, w, p, 3), Ok(3));
    must!(mprotect(p, PAGE, PROT_NONE));
    expect_errno!(sys!(SYS_write, w, p, 3), EFAULT);
}

fn errors() {
    let p = anon(2);
    expect_errno!(mprotect(p.wrapping_add(1), PAGE, RW), EINVAL);
    expect_errno!(mprotect(p, PAGE, 0x4000), EINVAL);
    check_eq!(mprotect(p, 0, RW), Ok(0));
    must!(munmap(p.wrapping_add(PAGE), PAGE));
    expect_errno!(mprotect(p.wrapping_add(PAGE), PAGE, RW), ENOMEM);
    expect_errno!(mprotect(p, usize::MAX - 100, RW), ENOMEM);
    expect_errno!(mprotect(p, PAGE, PROT_GROWSDOWN | PROT_GROWSUP), EINVAL);
}

fn hole_changes_the_part_before_it() {
    let p = anon(3);
    must!(munmap(p.wrapping_add(PAGE), PAGE));
    expect_errno!(mprotect(p, 3 * PAGE, PROT_READ), ENOMEM);
    expect_killed(SIGSEGV, || poke(p, 1u8));
    poke(p.wrapping_add(2 * PAGE), 1u8);
}

fn partial_protection_splits() {
    let p = anon(3);
    must!(mprotect(p.wrapping_add(PAGE), PAGE, PROT_READ));
    poke(p, 1u8);
    poke(p.wrapping_add(2 * PAGE), 1u8);
    expect_killed(SIGSEGV, || poke(p.wrapping_add(PAGE), 1u8));
}

fn adding_exec_runs_code() {
    let p = anon(1);
    put_bytes(p, &[0xb8, 7, 0, 0, 0, 0xc3]);
    must!(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
    let f: extern "C" fn() -> i32 = unsafe { std::mem::transmute(p) };
    check_eq!(f(), 7);
    must!(mprotect(p, PAGE, RW));
    poke(p.wrapping_add(1), 8u8);
    must!(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
    check_eq!(f(), 8);
}

fn contents_survive_protection_changes() {
    let p = anon(1);
    put_bytes(p, b"keep me");
    for prot in [PROT_NONE, PROT_READ, RW | PROT_EXEC, PROT_NONE, RW] {
        must!(mprotect(p, PAGE, prot));
    }
    check_eq!(bytes_at(p, 7), b"keep me".to_vec());
}

fn copied_by_fork() {
    let p = anon(1);
    must!(mprotect(p, PAGE, PROT_READ));
    expect_killed(SIGSEGV, || poke(p, 1u8));
    in_child(|| {
        must!(mprotect(p, PAGE, RW));
        poke(p, 1u8);
    });
    expect_killed(SIGSEGV, || poke(p, 1u8));
}

fn maps_shows_permissions() {
    let p = anon(3);
    must!(mprotect(p.wrapping_add(PAGE), PAGE, PROT_READ));
    let maps = String::from_utf8_lossy(&must!(read_file(c"/proc/self/maps"))).into_owned();
    let start = p as usize + PAGE;
    let want = format!("{:x}-{:x} r--p", start, start + PAGE);
    check!(
        maps.lines().any(|l| l.starts_with(&want)),
        "{want} in\n{maps}"
    );
}

fn main_stack_can_be_made_inaccessible_page_by_page() {
    let p = must!(mmap(
        0,
        16 * PAGE,
        RW,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
        -1,
        0
    ));
    must!(mprotect(p, PAGE, PROT_NONE));
    expect_killed(SIGSEGV, || poke(p.wrapping_add(10), 1u8));
    poke(p.wrapping_add(PAGE), 1u8);
}

cases![
    read_only_write_faults_with_accerr_and_retries,
    prot_none_read_faults_and_retries,
    write_barrier_pattern_over_many_pages,
    protection_applies_to_system_calls,
    errors,
    hole_changes_the_part_before_it,
    partial_protection_splits,
    adding_exec_runs_code,
    contents_survive_protection_changes,
    copied_by_fork,
    maps_shows_permissions,
    main_stack_can_be_made_inaccessible_page_by_page,
];
