//! System calls: arguments, results, prefetch, write-back.

use systrap::{Arch, Event, Identity};

use crate::support::*;
use crate::{code, tests};

tests!(
    round_trip,
    registers_survive,
    int80_and_x32_are_events,
    compat_mode_is_an_event,
    vsyscall_page_is_an_event,
    strings_are_prefetched,
    buffers_are_prefetched,
    iovecs_are_prefetched,
    prefetch_stops_at_a_fault,
    output_is_written_back,
    large_output_fits_the_window,
    write_back_fault_is_reported,
    flush_writes_at_once,
    identity_is_answered_in_the_stub,
    sched_yield_is_answered_in_the_stub,
    copies_stop_at_faults,
);

code!(
    six_args,
    "mov eax, 1000",
    "mov edi, 1",
    "mov esi, 2",
    "mov edx, 3",
    "mov r10d, 4",
    "mov r8d, 5",
    "mov r9d, 6",
    "syscall",
    "mov rdi, rax",
    "mov eax, 1001",
    "syscall",
    "mov eax, -1",
    "syscall",
    "ud2",
);

fn round_trip() {
    let mut vm = Vm::new();
    let mut p = vm.start(six_args());
    let e = vm.event(&mut p);
    let want = Event::Syscall {
        nr: 1000,
        args: [1, 2, 3, 4, 5, 6],
        arch: Arch::X86_64,
    };
    assert_eq!(e, want);
    let (nr, args) = call(vm.answer(&mut p, 0xdead_beef_0000_1111));
    assert_eq!((nr, args[0]), (1001, 0xdead_beef_0000_1111));
    let (nr, _) = call(vm.answer(&mut p, 0));
    assert_eq!(nr, u64::MAX, "-1 is sign-extended");
    assert!(p.thread.address_space().host_pid().is_some());
}

code!(
    all_registers,
    "mov rbx, 1",
    "mov rbp, 2",
    "mov r12, 3",
    "mov r13, 4",
    "mov r14, 5",
    "mov r15, 6",
    "mov r8, 8",
    "mov r9, 9",
    "mov r10, 10",
    "mov rdx, 11",
    "mov rsi, 12",
    "mov rdi, 13",
    "std",
    "mov eax, 1000",
    "syscall",
    "2:",
    "mov [0x800000], rbx",
    "mov [0x800008], rcx",
    "mov [0x800010], r11",
    "mov [0x800018], rsp",
    "pushfq",
    "pop qword ptr [0x800020]",
    "mov [0x800028], rax",
    "mov eax, 1001",
    "syscall",
    "ud2",
);

fn registers_survive() {
    let mut vm = Vm::new();
    let mut p = vm.start(all_registers());
    assert_eq!(call(vm.event(&mut p)).0, 1000);
    let r = p.thread.regs();
    assert_eq!(
        [r.rbx, r.rbp, r.r12, r.r13, r.r14, r.r15],
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(
        [r.r8, r.r9, r.r10, r.rdx, r.rsi, r.rdi],
        [8, 9, 10, 11, 12, 13]
    );
    assert_eq!(r.rcx, r.rip, "the instruction left it");
    assert_eq!(r.r11 & 0x400, 0x400);
    assert_eq!(r.rax, 1000);
    let mut s = r;
    s.rbx = 0x1234;
    p.thread.set_regs(&s);
    assert_eq!(call(vm.answer(&mut p, 77)).0, 1001);
    assert_eq!(p.u64(DATA), 0x1234);
    assert_eq!(p.u64(DATA + 8), r.rip);
    assert_eq!(p.u64(DATA + 0x18), r.rsp);
    assert_eq!(
        p.u64(DATA + 0x20) & 0x400,
        0x400,
        "the direction flag stays"
    );
    assert_eq!(p.u64(DATA + 0x28), 77);
    let r = p.thread.regs();
    assert_eq!([r.rbp, r.r12, r.r13, r.r14, r.r15], [2, 3, 4, 5, 6]);
    assert_eq!(
        [r.r8, r.r9, r.r10, r.rdx, r.rsi, r.rdi],
        [8, 9, 10, 11, 12, 13]
    );
}

code!(
    foreign,
    "mov eax, 20",
    "mov ebx, 1",
    "mov ecx, 2",
    "mov edx, 3",
    "mov esi, 4",
    "mov edi, 5",
    "mov ebp, 6",
    "int 0x80",
    "mov eax, 0x40000027",
    "syscall",
    "ud2",
);

fn int80_and_x32_are_events() {
    let mut vm = Vm::new();
    let mut p = vm.start(foreign());
    let want = Event::Syscall {
        nr: 20,
        args: [1, 2, 3, 4, 5, 6],
        arch: Arch::I386,
    };
    assert_eq!(vm.event(&mut p), want);
    match vm.answer(&mut p, 0) {
        Event::Syscall {
            nr: 0x4000_0027,
            arch: Arch::X32,
            ..
        } => {}
        other => panic!("{other:?}"),
    }
}

code!(
    compat,
    "mov rsp, 0x880000",
    "push 0x23",
    "lea rax, [rip + 2f]",
    "push rax",
    ".byte 0x48",
    "retf",
    "2:",
    ".code32",
    "mov eax, 20",
    "mov ebx, 7",
    "int 0x80",
    "mov eax, 21",
    "int 0x80",
    "ud2",
    ".code64",
);

fn compat_mode_is_an_event() {
    let mut vm = Vm::new();
    let mut p = vm.load(compat());
    p.thread.actions().mmap_anon(0x87_0000, 0x2_0000, RW, 0);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    match vm.go(&mut p) {
        Event::Syscall {
            nr: 20,
            args,
            arch: Arch::I386,
        } => assert_eq!(args[0], 7),
        // A host without 32-bit code segments.
        Event::Fault { .. } => return,
        other => panic!("{other:?}"),
    }
    assert_eq!(p.thread.regs().cs, 0x23);
    match vm.answer(&mut p, 0) {
        Event::Syscall {
            nr: 21,
            arch: Arch::I386,
            ..
        } => {}
        other => panic!("{other:?}"),
    }
}

code!(
    vsyscall,
    "mov rdi, 0x800000",
    "mov rax, -10485760", // 0xffffffffff600000: gettimeofday
    "call rax",
    "mov eax, 1001",
    "syscall",
    "ud2",
);

fn vsyscall_page_is_an_event() {
    let mut vm = Vm::new();
    let mut p = vm.start(vsyscall());
    match vm.event(&mut p) {
        Event::Syscall { nr: 96, args, .. } => {
            assert_eq!(args[0], DATA);
            assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
        }
        // vsyscall=none
        Event::Fault { addr, .. } => assert_eq!(addr, 0xffff_ffff_ff60_0000),
        other => panic!("{other:?}"),
    }
}

code!(
    open_path,
    "mov eax, 257", // openat
    "mov edi, -100",
    "mov esi, 0x800010",
    "xor edx, edx",
    "syscall",
    "mov eax, 82", // rename
    "mov edi, 0x800010",
    "mov esi, 0x800100",
    "syscall",
    "ud2",
);

fn strings_are_prefetched() {
    let mut vm = Vm::new();
    let mut p = vm.load(open_path());
    p.put(DATA + 0x10, b"/etc/passwd\0tail");
    p.put(DATA + 0x100, b"/second\0");
    assert_eq!(call(vm.go(&mut p)).0, 257);
    let w = p.thread.window();
    assert_eq!(
        w.prefetched_cstr(DATA + 0x10, 4096).as_deref(),
        Some(&b"/etc/passwd"[..])
    );
    assert_eq!(
        w.prefetched_cstr(DATA + 0x15, 4096).as_deref(),
        Some(&b"passwd"[..])
    );
    assert_eq!(w.prefetched_cstr(DATA + 0x10, 5), None, "too long");
    assert_eq!(
        w.prefetched_cstr(DATA + 0x11 + 11, 4096),
        None,
        "behind its NUL"
    );
    assert_eq!(w.prefetched_cstr(DATA, 4096), None);
    assert_eq!(call(vm.answer(&mut p, 3)).0, 82);
    let w = p.thread.window();
    assert_eq!(
        w.prefetched_cstr(DATA + 0x10, 4096).as_deref(),
        Some(&b"/etc/passwd"[..])
    );
    assert_eq!(
        w.prefetched_cstr(DATA + 0x100, 4096).as_deref(),
        Some(&b"/second"[..])
    );
}

code!(
    write_buffer,
    "mov eax, 1",
    "mov edi, 1",
    "mov esi, 0x800010",
    "mov edx, 5000",
    "syscall",
    "mov eax, 1",
    "mov edx, 0x100000",
    "syscall",
    "mov eax, 1",
    "mov rdx, -1",
    "syscall",
    "ud2",
);

fn buffers_are_prefetched() {
    let mut vm = Vm::new();
    let mut p = vm.load(write_buffer());
    let data: Vec<u8> = (0..5000u32).map(|i| (i * 7) as u8).collect();
    p.put(DATA + 0x10, &data);
    assert_eq!(call(vm.go(&mut p)).0, 1);
    let mut got = vec![0; 5000];
    assert!(p.thread.window().prefetched(DATA + 0x10, &mut got));
    assert_eq!(got, data);
    let mut part = [0; 100];
    assert!(p.thread.window().prefetched(DATA + 0x10 + 4900, &mut part));
    assert_eq!(part[..], data[4900..]);
    assert!(!p.thread.window().prefetched(DATA + 0x10 + 4901, &mut part));
    for _ in 0..2 {
        assert_eq!(call(vm.answer(&mut p, 0)).0, 1);
        let too_large = !p.thread.window().prefetched(DATA + 0x10, &mut part);
        assert!(too_large, "what doesn't fit isn't there");
    }
}

code!(
    writev,
    "mov eax, 20",
    "mov edi, 1",
    "mov esi, 0x800000",
    "mov edx, 3",
    "syscall",
    "ud2",
);

fn iovecs_are_prefetched() {
    let mut vm = Vm::new();
    let mut p = vm.load(writev());
    let words = [DATA + 0x100, 5, 0, 0, DATA + 0x200, 7u64];
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    p.put(DATA, &bytes);
    p.put(DATA + 0x100, b"hello");
    p.put(DATA + 0x200, b", world");
    assert_eq!(call(vm.go(&mut p)).0, 20);
    let w = p.thread.window();
    let mut iov = [0; 48];
    assert!(w.prefetched(DATA, &mut iov));
    assert_eq!(iov[..], bytes);
    let (mut a, mut b) = ([0; 5], [0; 7]);
    assert!(w.prefetched(DATA + 0x100, &mut a) && w.prefetched(DATA + 0x200, &mut b));
    assert_eq!((&a, &b), (b"hello", b", world"));
}

code!(
    at_the_edge,
    "mov eax, 257",
    "mov esi, 0x80fffa",
    "syscall",
    "mov eax, 1",
    "mov esi, 0x80fff0",
    "mov edx, 64",
    "syscall",
    "mov eax, 257",
    "mov esi, 0x900000",
    "syscall",
    "mov eax, 257",
    "mov rsi, 0x800000000000",
    "syscall",
    "mov eax, 257",
    "mov rsi, -4096",
    "syscall",
    "ud2",
);

fn prefetch_stops_at_a_fault() {
    let mut vm = Vm::new();
    let mut p = vm.load(at_the_edge());
    p.put(DATA + 0xfff0, &[b'x'; 16]);
    assert_eq!(call(vm.go(&mut p)).0, 257);
    let w = p.thread.window();
    assert_eq!(w.prefetched_cstr(DATA + 0xfffa, 4096), None);
    let mut six = [0; 6];
    assert!(w.prefetched(DATA + 0xfffa, &mut six));
    assert_eq!(&six, b"xxxxxx");
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1);
    let w = p.thread.window();
    assert!(w.prefetched(DATA + 0xfff0, &mut [0; 16]));
    assert!(!w.prefetched(DATA + 0xfff0, &mut [0; 17]));
    for addr in [0x90_0000, 1 << 47, u64::MAX - 4095] {
        assert_eq!(call(vm.answer(&mut p, 0)).0, 257);
        assert_eq!(p.thread.window().prefetched_cstr(addr, 4096), None);
    }
}

code!(
    two_calls,
    "mov eax, 1000",
    "syscall",
    "mov eax, 1001",
    "syscall",
    "jmp code_two_calls_begin",
);

fn output_is_written_back() {
    let mut vm = Vm::new();
    let mut p = vm.start(two_calls());
    call(vm.event(&mut p));
    let mut w = p.thread.window();
    assert!(w.queue_write(DATA + 3, b"first"));
    assert!(w.queue_write(DATA + 5, b"ST"), "later output wins");
    let r = w.reserve(DATA + 0x100, 64).expect("room");
    // SAFETY: 64 bytes are reserved.
    unsafe { r.as_mut_ptr().write_bytes(b'z', 64) };
    w.commit(r, 10);
    assert!(w.pending_overlaps(DATA + 7, 1) && w.pending_overlaps(DATA, 4));
    assert!(!w.pending_overlaps(DATA, 3) && !w.pending_overlaps(DATA + 8, 4));
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
    let mut b = [0; 8];
    assert_eq!(p.space.read(DATA, &mut b), 8);
    assert_eq!(&b, b"\0\0\0fiSTt");
    let mut b = [0; 11];
    p.space.read(DATA + 0x100, &mut b);
    assert_eq!(&b, b"zzzzzzzzzz\0");
    assert!(!p.thread.window().pending_overlaps(DATA, 0x1000));
}

fn large_output_fits_the_window() {
    let mut vm = Vm::new();
    let mut p = vm.start(two_calls());
    call(vm.event(&mut p));
    let data: Vec<u8> = (0..0x1_0000u32).map(|i| (i >> 3) as u8).collect();
    let mut w = p.thread.window();
    assert!(w.queue_write(DATA, &data));
    assert!(w.queue_write(DATA, &data[..0x2000]));
    assert!(!w.queue_write(DATA, b"x"), "full");
    call(vm.answer(&mut p, 0));
    let mut got = vec![0; data.len()];
    assert_eq!(p.space.read(DATA, &mut got), data.len());
    assert_eq!(got, data);
    let mut n = 0;
    while p.thread.window().queue_write(DATA + n, b"y") {
        n += 1;
    }
    assert!(n >= 32, "{n}");
    call(vm.answer(&mut p, 0));
    assert_eq!(p.space.read(DATA, &mut got[..33]), 33);
    assert_eq!(got[..32], [b'y'; 32]);
}

fn write_back_fault_is_reported() {
    let mut vm = Vm::new();
    let mut p = vm.start(two_calls());
    call(vm.event(&mut p));
    assert!(p.thread.window().queue_write(DATA, b"good"));
    assert!(p.thread.window().queue_write(DATA + 0xfffe, b"edge"));
    assert!(p.thread.window().queue_write(DATA + 0x10, b"never"));
    let e = vm.answer(&mut p, 0);
    assert_eq!(
        e,
        Event::WriteBackFault {
            addr: DATA + 0x1_0000
        }
    );
    assert_eq!(p.u32(DATA), u32::from_le_bytes(*b"good"));
    assert_eq!(p.u32(DATA + 0x10), 0);
    assert_eq!(
        call(vm.go(&mut p)).0,
        1001,
        "the thread is as usable as before"
    );
}

fn flush_writes_at_once() {
    let mut vm = Vm::new();
    let mut p = vm.start(two_calls());
    call(vm.event(&mut p));
    assert!(p.thread.window().queue_write(DATA, b"now!"));
    assert!(p.thread.window().flush());
    assert_eq!(p.u32(DATA), u32::from_le_bytes(*b"now!"));
    assert!(p.thread.window().queue_write(0x1000, b"bad"));
    assert!(!p.thread.window().flush());
    call(vm.answer(&mut p, 0));
}

code!(
    ask_identity,
    "mov r15d, 0x800000",
    "mov eax, 39",
    "syscall",
    "mov [r15], eax",
    "mov eax, 186",
    "syscall",
    "mov [r15 + 4], eax",
    "mov eax, 102",
    "syscall",
    "mov [r15 + 8], eax",
    "mov eax, 107",
    "syscall",
    "mov [r15 + 12], eax",
    "mov eax, 104",
    "syscall",
    "mov [r15 + 16], eax",
    "mov eax, 108",
    "syscall",
    "mov [r15 + 20], eax",
    "mov eax, 1000",
    "syscall",
    "jmp code_ask_identity_begin",
);

fn identity_is_answered_in_the_stub() {
    let mut vm = Vm::new();
    let mut p = vm.load(ask_identity());
    let id = Identity {
        pid: 11,
        tid: 12,
        uid: 13,
        euid: 14,
        gid: 15,
        egid: 0xffff_fffe,
    };
    p.thread.set_identity(Some(&id));
    assert_eq!(call(vm.go(&mut p)).0, 1000);
    let got: Vec<u32> = (0..6).map(|i| p.u32(DATA + i * 4)).collect();
    assert_eq!(got, [11, 12, 13, 14, 15, 0xffff_fffe]);
    p.thread.set_identity(None);
    assert_eq!(call(vm.answer(&mut p, 0)).0, 39, "the Sentry's again");
}

code!(
    yields,
    "mov eax, 24",
    "syscall",
    "mov edi, eax",
    "mov eax, 1000",
    "syscall",
    "ud2"
);

fn sched_yield_is_answered_in_the_stub() {
    let mut vm = Vm::new();
    let mut p = vm.start(yields());
    let (nr, args) = call(vm.event(&mut p));
    assert_eq!((nr, args[0]), (1000, 0));
}

fn copies_stop_at_faults() {
    let mut vm = Vm::new();
    let p = vm.load(two_calls());
    let mut b = vec![0; 0x3000];
    assert_eq!(p.space.read(DATA + 0xf000, &mut b), 0x1000);
    assert_eq!(p.space.read(DATA + 0xf800, &mut b), 0x800);
    assert_eq!(p.space.write(DATA + 0xf800, &b), 0x800);
    for addr in [
        0,
        0x1000,
        systrap::layout::TASK_SIZE,
        systrap::layout::REGION,
        u64::MAX,
    ] {
        assert_eq!(p.space.read(addr, &mut b[..16]), 0, "{addr:#x}");
        assert_eq!(p.space.write(addr, &b[..16]), 0, "{addr:#x}");
    }
    assert_eq!(p.space.read(DATA, &mut []), 0);
}
