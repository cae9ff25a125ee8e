//! Action lists and address spaces.

use std::sync::Arc;

use systrap::{Event, layout};

use crate::support::*;
use crate::{code, tests};

tests!(
    map_protect_unmap,
    failures_name_the_entry,
    files_and_shared_memory,
    shared_between_processes,
    remap_and_advise,
    small_stores,
    residency,
    unmap_all_and_map_again,
    stub_area_is_out_of_reach,
    vdso_works_in_its_place,
    vdso_can_be_moved,
    long_lists,
    many_descriptors,
    lowest_and_highest_addresses,
);

code!(nop_call, "2:", "mov eax, 1000", "syscall", "jmp 2b");

fn loaded() -> (Vm, Proc) {
    let mut vm = Vm::new();
    let p = vm.load(nop_call());
    (vm, p)
}

fn map_protect_unmap() {
    let (mut vm, mut p) = loaded();
    let at = 0x1000_0000;
    p.thread.actions().mmap_anon(at, 0x3000, RW, 0);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    p.put(at, &[1; 0x3000]);
    p.thread.actions().mprotect(at + 0x1000, 0x1000, 1);
    p.thread.actions().munmap(at + 0x2000, 0x1000);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert_eq!(p.space.write(at, &[2; 0x3000]), 0x1000);
    assert_eq!(p.space.read(at, &mut [0; 0x3000]), 0x2000);
    p.thread.actions().mmap_anon(at, 0x1000, RW, 0);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert_eq!(p.u64(at), 0, "mapped over");
}

fn failures_name_the_entry() {
    let (mut vm, mut p) = loaded();
    let mut a = p.thread.actions();
    a.mmap_anon(0x1000_0000, 0x1000, RW, 0);
    a.mprotect(0x2000_0000, 0x1000, 1);
    a.mmap_anon(0x3000_0000, 0x1000, RW, 0);
    assert_eq!(a.len(), 3);
    let want = Event::ActionFailed {
        index: 1,
        errno: libc::ENOMEM,
    };
    assert_eq!(vm.go(&mut p), want);
    assert_eq!(
        p.space.write(0x1000_0000, b"x"),
        1,
        "the one before is done"
    );
    assert_eq!(p.space.write(0x3000_0000, b"x"), 0, "the one behind is not");
    assert!(p.thread.actions().is_empty());
    assert_eq!(call(vm.go(&mut p)).0, 1000);
}

fn files_and_shared_memory() {
    let (mut vm, mut p) = loaded();
    let content: Vec<u8> = (0..0x3000u32).map(|i| (i >> 8) as u8).collect();
    let fd = memfd(&content);
    let mut a = p.thread.actions();
    a.mmap_fd(&fd, 0, 0x1000_0000, 0x1000, RW, libc::MAP_PRIVATE as u32);
    a.mmap_fd(
        &fd,
        0x1000,
        0x2000_0000,
        0x2000,
        RW,
        libc::MAP_SHARED as u32,
    );
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert_eq!(p.u32(0x2000_0000), 0x1010_1010);
    p.put(0x1000_0000, b"private");
    p.put(0x2000_1000, b"shared!");
    let mut b = [0; 7];
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(fd.try_clone().expect("dup"));
    file.read_exact_at(&mut b, 0x2000).expect("read");
    assert_eq!(&b, b"shared!");
    file.read_exact_at(&mut b, 0).expect("read");
    assert_eq!(b, [0; 7]);
}

fn shared_between_processes() {
    let (mut vm, mut p) = loaded();
    let mut q = vm.load(nop_call());
    let fd = memfd(&[0; 0x1000]);
    for proc in [&mut p, &mut q] {
        proc.thread
            .actions()
            .mmap_fd(&fd, 0, 0x1000_0000, 0x1000, RW, 1);
        assert_eq!(vm.perform(proc), Event::Parked);
    }
    p.put(0x1000_0000, b"hello");
    let mut b = [0; 5];
    q.space.read(0x1000_0000, &mut b);
    assert_eq!(&b, b"hello");
    assert_eq!(
        Arc::strong_count(&fd),
        1,
        "the platform keeps no descriptor"
    );
}

fn remap_and_advise() {
    let (mut vm, mut p) = loaded();
    let at = 0x1000_0000;
    p.thread.actions().mmap_anon(at, 0x2000, RW, 0);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    p.put(at, b"moved");
    p.put(at + 0x1000, b"gone");
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u32;
    p.thread
        .actions()
        .mremap(at, 0x2000, 0x4000, flags, 0x2000_0000);
    p.thread
        .actions()
        .madvise(0x2000_1000, 0x1000, libc::MADV_DONTNEED);
    p.thread.actions().msync(0x2000_0000, 0x1000, libc::MS_SYNC);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert_eq!(p.u32(0x2000_0000), u32::from_le_bytes(*b"move"));
    assert_eq!(p.u64(0x2000_1000), 0);
    assert_eq!(p.space.read(at, &mut [0]), 0);
    assert_eq!(p.space.read(0x2000_0000, &mut [0; 0x5000]), 0x4000);
}

fn small_stores() {
    let (mut vm, mut p) = loaded();
    p.put(DATA, &[0xff; 64]);
    let mut a = p.thread.actions();
    a.zero(DATA + 8, 8);
    a.store_u32(DATA + 16, 42, false);
    a.cas_u32(DATA + 16, 42, 43, false);
    a.cas_u32(DATA + 16, 42, 44, true);
    a.store_u32(0x1000, 1, true);
    a.futex_wake(0x1001, 1, true);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert_eq!(p.u64(DATA + 8), 0);
    assert_eq!(p.u64(DATA), u64::MAX);
    assert_eq!(p.u32(DATA + 16), 43);
    for (i, errno) in [libc::EFAULT, libc::EFAULT, libc::EAGAIN]
        .into_iter()
        .enumerate()
    {
        let mut a = p.thread.actions();
        match i {
            0 => a.zero(DATA + 0xff00, 0x1000),
            1 => a.store_u32(0x1000, 1, false),
            _ => a.cas_u32(DATA + 16, 1, 2, false),
        };
        assert_eq!(vm.perform(&mut p), Event::ActionFailed { index: 0, errno });
    }
    assert_eq!(p.u64(DATA + 0xfff8), 0, "zeroed up to the fault");
}

fn residency() {
    let (mut vm, mut p) = loaded();
    p.thread.actions().mmap_anon(0x1000_0000, 0x4000, RW, 0);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    p.put(0x1000_1000, b"x");
    p.thread.actions().mincore(0x1000_0000, 0x4000);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    let r: Vec<u8> = p.thread.mincore_result(4).iter().map(|b| b & 1).collect();
    assert_eq!(r, [0, 1, 0, 0]);
    p.thread.actions().mincore(0x2000_0000, 0x1000);
    assert!(matches!(
        vm.perform(&mut p),
        Event::ActionFailed {
            errno: libc::ENOMEM,
            ..
        }
    ));
}

fn unmap_all_and_map_again() {
    let (mut vm, mut p) = loaded();
    for _ in 0..5 {
        assert_eq!(call(vm.go(&mut p)).0, 1000);
        let mut a = p.thread.actions();
        a.unmap_all();
        a.mmap_anon(CODE, 0x1000, RWX, 0);
        assert_eq!(vm.perform(&mut p), Event::Parked);
        assert_eq!(p.space.read(DATA, &mut [0]), 0);
        p.put(CODE, nop_call());
        let mut r = p.thread.regs();
        r.rip = CODE;
        p.thread.set_regs(&r);
    }
    let pid = p.space.host_pid().expect("pid");
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let ours = maps
        .lines()
        .filter(|l| !l.starts_with("7fff") && !l.contains("vsyscall"));
    assert_eq!(ours.count(), 1, "{maps}");
}

fn stub_area_is_out_of_reach() {
    let (mut vm, mut p) = loaded();
    // Sealed: not even the stub can make them writable.
    for (addr, prot) in [(layout::TEXT, RWX), (layout::DOORBELL, RW)] {
        p.thread.actions().mprotect(addr, 0x1000, prot);
        let want = Event::ActionFailed {
            index: 0,
            errno: libc::EACCES,
        };
        assert_eq!(vm.perform(&mut p), want, "{addr:#x}");
    }
}

/// Offset of a function in our own vDSO.
fn vdso_function(name: &str) -> Option<u64> {
    // SAFETY: the vDSO is an ELF image that the kernel mapped; its dynamic
    // section has a symbol table, and a hash table that tells its length.
    unsafe {
        let base = libc::getauxval(libc::AT_SYSINFO_EHDR);
        if base == 0 {
            return None;
        }
        let w = |at: u64| (at as *const u64).read_unaligned();
        let h = |at: u64| u64::from((at as *const u16).read_unaligned());
        let (phoff, phnum) = (w(base + 32), h(base + 56));
        let ph = |i| base + phoff + i * 56;
        let kind = |i| (ph(i) as *const u32).read();
        let dynamic = (0..phnum)
            .find(|i| kind(*i) == 2)
            .map(|i| base + w(ph(i) + 16))?;
        let entry = |tag| {
            (0..64)
                .find(|i| w(dynamic + i * 16) == tag)
                .map(|i| base + w(dynamic + i * 16 + 8))
        };
        let (strings, symbols) = (entry(5)?, entry(6)?);
        // Symbols and strings are adjacent in this order in every vDSO.
        (0..(strings.saturating_sub(symbols)) / 24)
            .find(|i| {
                let s = (symbols + i * 24) as *const u32;
                let at = strings + u64::from(s.read());
                std::ffi::CStr::from_ptr(at as *const libc::c_char).to_str() == Ok(name)
            })
            .map(|i| w(symbols + i * 24 + 8))
    }
}

code!(
    ask_time,
    "and rsp, -16",
    "mov edi, 1", // CLOCK_MONOTONIC
    "mov esi, 0x800000",
    "call r15",
    "mov edi, eax",
    "mov eax, 1000",
    "syscall",
    "ud2",
);

fn ask(vm: &mut Vm, p: &mut Proc, function: u64) {
    let mut r = p.thread.regs();
    r.rip = CODE;
    r.r15 = function;
    p.thread.set_regs(&r);
    let (nr, args) = call(vm.go(p));
    assert_eq!((nr, args[0]), (1000, 0));
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let diff = now.tv_sec - p.u64(DATA).cast_signed();
    assert!((0..10).contains(&diff), "{diff}");
}

fn vdso_works_in_its_place() {
    let mut vm = Vm::new();
    let mut p = vm.load(ask_time());
    let (Some(base), Some(offset)) = (vm.platform.vdso(), vdso_function("__vdso_clock_gettime"))
    else {
        return println!("no vDSO on this host");
    };
    ask(&mut vm, &mut p, base + offset);
}

fn vdso_can_be_moved() {
    let mut vm = Vm::new();
    let mut p = vm.load(ask_time());
    let Some(offset) = vdso_function("__vdso_clock_gettime") else {
        return;
    };
    let (len, header) = vm.platform.vdso_len();
    let at = 0x5000_0000;
    p.thread.actions().move_vdso(at);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    ask(&mut vm, &mut p, at + header + offset);
    // A new image in the same process, and one in a child.
    p.thread.actions().unmap_all();
    p.thread.actions().mmap_anon(CODE, 0x1000, RWX, 0);
    p.thread.actions().mmap_anon(DATA, 0x1000, RW, 0);
    p.thread
        .actions()
        .mmap_anon(STACK_END - 0x1000, 0x1000, RW, 0);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert_eq!(p.space.read(at + len - 16, &mut [0]), 0);
    p.put(CODE, ask_time());
    let mut r = p.thread.regs();
    r.rsp = STACK_END - 64;
    p.thread.set_regs(&r);
    p.thread.actions().move_vdso(0x6000_0000);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    ask(&mut vm, &mut p, 0x6000_0000 + header + offset);
    // The application may throw it away; an exec then just has none.
    p.thread.actions().munmap(0x6000_0000, len);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    p.thread.actions().unmap_all();
    assert_eq!(vm.perform(&mut p), Event::Parked);
    p.thread.actions().move_vdso(0x6000_0000);
    assert!(matches!(vm.perform(&mut p), Event::ActionFailed { .. }));
}

fn long_lists() {
    let (mut vm, mut p) = loaded();
    let mut n = 0u64;
    while p
        .thread
        .actions()
        .mmap_anon(0x1000_0000 + n * 0x2000, 0x1000, RW, 0)
    {
        n += 1;
    }
    assert!(n >= 300, "{n}");
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert_eq!(p.space.write(0x1000_0000 + (n - 1) * 0x2000, b"x"), 1);
    // A list and output that together do not fit.
    let big = vec![7; 0x1_2000];
    assert!(p.thread.window().queue_write(DATA, &big));
    p.thread.actions().zero(DATA, 8);
    assert!(matches!(
        vm.perform(&mut p),
        Event::ActionFailed {
            index: 0,
            errno: libc::ENOMEM
        }
    ));
    assert_eq!(call(vm.go(&mut p)).0, 1000);
}

fn many_descriptors() {
    let (mut vm, mut p) = loaded();
    let fds: Vec<_> = (0..16u8).map(|i| memfd(&[i; 16])).collect();
    for (i, fd) in (0u64..).zip(&fds) {
        assert!(
            p.thread
                .actions()
                .mmap_fd(fd, 0, 0x1000_0000 + i * 0x1000, 0x1000, 1, 2)
        );
    }
    assert!(
        !p.thread
            .actions()
            .mmap_fd(&memfd(b"x"), 0, 0x2000_0000, 0x1000, 1, 2)
    );
    assert!(
        p.thread
            .actions()
            .mmap_fd(&fds[3], 0, 0x2000_0000, 0x1000, 1, 2),
        "once is enough"
    );
    assert_eq!(vm.perform(&mut p), Event::Parked);
    for i in 0..16u64 {
        assert_eq!(p.u64(0x1000_0000 + i * 0x1000) as u8, i as u8);
    }
    let pid = p.space.host_pid().expect("pid");
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    assert_eq!(open(), 1, "only the control socket");
    p.thread
        .actions()
        .mmap_fd(&fds[0], 0, 0x1000_0000, 0x1000, 1, 2);
    p.thread
        .actions()
        .mmap_fd(&fds[1], 1, 0x1000_0000, 0x1000, 1, 2);
    assert!(matches!(
        vm.perform(&mut p),
        Event::ActionFailed {
            index: 1,
            errno: libc::EINVAL
        }
    ));
    assert_eq!(open(), 1, "closed after a failure too");
}

fn lowest_and_highest_addresses() {
    let (mut vm, mut p) = loaded();
    let lowest = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr").expect("sysctl");
    let lowest: u64 = lowest.trim().parse().expect("number");
    let lowest = lowest.next_multiple_of(0x1000).max(0x1000);
    p.thread.actions().mmap_anon(lowest, 0x1000, RW, 0);
    p.thread
        .actions()
        .mmap_anon(layout::TASK_SIZE - 0x1000, 0x1000, RW, 0);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    p.put(lowest, b"low");
    p.put(layout::TASK_SIZE - 4, b"high");
    assert_eq!(call(vm.go(&mut p)).0, 1000);
}
