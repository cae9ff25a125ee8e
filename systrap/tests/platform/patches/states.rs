//! Registers, vectors and segment bases of threads that came without a signal.

use systrap::{Event, Regs};

use super::*;

tests!(
    vector_state_stays_in_place,
    vector_state_can_be_fetched_and_set,
    vector_state_moves_to_memory_at_the_resume,
    memory_that_cannot_take_the_state_fails_the_action,
    registers_can_be_set,
    own_segment_bases,
);

code!(
    site_vectors,
    "mov r15d, 0x800000",
    "vmovdqu ymm0, [r15]",
    "vmovdqu ymm15, [r15 + 32]",
    "fldpi",
    "2:",
    "mov eax, 1000",
    "syscall",
    "vmovdqu [r15 + 256], ymm0",
    "vmovdqu [r15 + 288], ymm15",
    "fst qword ptr [r15 + 320]",
    "mov eax, 1001",
    "syscall",
    "jmp 2b",
);

fn has_avx() -> bool {
    let yes = std::arch::is_x86_feature_detected!("avx");
    if !yes {
        println!("no AVX");
    }
    yes
}

fn load_vectors(vm: &mut Vm) -> (Proc, Vec<u8>) {
    let p = vm.load(site_vectors());
    let data: Vec<u8> = (0..64u8).map(|i| i ^ 0x5a).collect();
    p.put(DATA, &data);
    (p, data)
}

fn stored(p: &Proc) -> Vec<u8> {
    let mut b = vec![0; 72];
    assert_eq!(p.space.read(DATA + 256, &mut b), 72);
    b
}

fn vector_state_stays_in_place() {
    if !has_avx() {
        return;
    }
    let mut vm = Vm::patching();
    let (mut p, data) = load_vectors(&mut vm);
    p.thread.resume();
    let pi = std::f64::consts::PI.to_le_bytes();
    for i in 0..10 {
        assert_eq!(call(vm.event(&mut p)).0, 1000);
        vm.patch(&mut p);
        assert_eq!(p.thread.needs_fetch(), i > 0);
        assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
        vm.patch(&mut p);
        assert_eq!(stored(&p), [&data[..], &pi].concat());
        p.put(DATA + 256, &[0; 72]);
        p.thread.resume();
    }
    assert_eq!(vm.platform.counters().sigsys, 2);
}

fn vector_state_can_be_fetched_and_set() {
    if !has_avx() {
        return;
    }
    let mut vm = Vm::patching();
    let (mut p, data) = load_vectors(&mut vm);
    assert_eq!(call(vm.go(&mut p)).0, 1000);
    vm.patch(&mut p);
    let slow = p.thread.fpstate();
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
    vm.patch(&mut p);
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1000);
    let before = p.thread.regs();
    assert!(p.thread.needs_fetch() && p.thread.fpstate().is_empty());
    p.thread.fetch();
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert!(!p.thread.needs_fetch());
    assert_eq!(p.thread.regs(), before);
    let fast = p.thread.fpstate();
    // x87's last instruction and its kin aside.
    assert_eq!(fast.len(), slow.len());
    assert_eq!(fast[32..512], slow[32..512]);
    assert_eq!(fast[512..], slow[512..]);
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
    let pi = std::f64::consts::PI.to_le_bytes();
    assert_eq!(stored(&p), [&data[..], &pi].concat());
    // What is set takes effect, without a fetch.
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1000);
    assert!(p.thread.needs_fetch());
    let mut other = slow.clone();
    other[160] ^= 0xff; // xmm0
    p.thread.set_fpstate(&other).expect("fits");
    assert!(!p.thread.needs_fetch());
    assert_eq!(p.thread.fpstate(), other);
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
    assert_eq!(stored(&p)[0], data[0] ^ 0xff);
    assert_eq!(stored(&p)[1..], [&data[1..], &pi].concat());
}

/// What a signal handler's frame needs, without an event in between; from both kinds of frame.
fn vector_state_moves_to_memory_at_the_resume() {
    if !has_avx() {
        return;
    }
    const TO: u64 = DATA + 1024;
    let mut vm = Vm::patching();
    let (mut p, data) = load_vectors(&mut vm);
    for turn in 0..4 {
        let event = if turn == 0 {
            vm.go(&mut p)
        } else {
            vm.answer(&mut p, 0)
        };
        assert_eq!(call(event).0, 1000);
        vm.patch(&mut p);
        let fast = p.thread.needs_fetch();
        assert_eq!(fast, turn > 0);
        let slow = (!fast).then(|| p.thread.fpstate());
        let len = p.thread.fpstate_len();
        assert!(p.thread.can_move_fpstate() && p.thread.move_fpstate(TO));
        let handler = Regs {
            r14: 77,
            ..p.thread.regs()
        };
        p.thread.set_handler_regs(&handler);
        assert_eq!(p.thread.needs_fetch(), fast);
        assert_eq!(call(vm.go(&mut p)).0, 1001);
        vm.patch(&mut p);
        assert_eq!(p.thread.regs().r14, 77);
        let mut saved = vec![0; len];
        assert_eq!(p.space.read(TO, &mut saved), len);
        assert_eq!(saved[160..168], data[..8], "xmm0");
        if let Some(slow) = slow {
            assert_eq!(saved, slow);
        }
        // It goes on with the initial state; and what was saved can be given back.
        assert_eq!(stored(&p)[..64], [0; 64], "turn {turn}");
        p.put(DATA + 256, &[0; 72]);
        p.thread.set_fpstate(&saved).expect("same machine");
    }
}

fn memory_that_cannot_take_the_state_fails_the_action() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_everything());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    let before = p.thread.regs();
    assert!(p.thread.needs_fetch() && p.thread.move_fpstate(64));
    p.thread.resume();
    assert!(matches!(
        vm.event(&mut p),
        Event::ActionFailed {
            index: 0,
            errno: libc::EFAULT
        }
    ));
    assert_eq!(p.thread.regs().rsp, before.rsp);
    call(vm.answer(&mut p, 0));
}

fn registers_can_be_set() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_everything());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    let r = p.thread.regs();
    p.put(CODE + 0x1000, site_elsewhere());
    let other = Regs {
        rip: CODE + 0x1000,
        rsp: r.rsp - 256,
        rbx: 1,
        rbp: 2,
        rdi: 3,
        rsi: 4,
        rdx: 5,
        r8: 6,
        r9: 7,
        r10: 8,
        r12: 9,
        r13: 10,
        r14: 11,
        r15: 12,
        rflags: 0x202,
        ..r
    };
    p.thread.set_regs(&other);
    assert_eq!(p.thread.regs(), other);
    assert_eq!(call(vm.go(&mut p)).0, 1003);
    let seen = p.thread.regs();
    let wanted = Regs {
        rip: CODE + 0x1007,
        rcx: CODE + 0x1007,
        rax: 1003,
        r11: 0x202,
        ..other
    };
    assert_eq!(seen, wanted);
}

// The base is the application's while it is not 0.
code!(
    site_bases,
    "mov rbx, 0x12345000",
    "wrgsbase rbx",
    "2:",
    "mov eax, 1000",
    "syscall",
    "rdgsbase rdi",
    "mov eax, 1001",
    "syscall",
    "jmp 2b",
);

fn own_segment_bases() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_bases());
    for _ in 0..5 {
        assert_eq!(call(vm.event(&mut p)).0, 1000);
        assert_eq!(p.thread.regs().gs_base, 0x1234_5000);
        vm.patch(&mut p);
        let (nr, args) = call(vm.answer(&mut p, 0));
        assert_eq!((nr, args[0]), (1001, 0x1234_5000));
        vm.patch(&mut p);
        p.thread.resume();
    }
    // They are rewritten, and make real calls all the same.
    let c = vm.platform.counters();
    assert_eq!((c.patched, c.fast_calls), (2, 0));
    call(vm.event(&mut p));
    let mut r = p.thread.regs();
    r.gs_base = 0;
    p.thread.set_regs(&r);
    for _ in 0..5 {
        assert_eq!(call(vm.go(&mut p)).0, 1001);
        assert_eq!(p.thread.regs().gs_base, 0);
        assert_eq!(call(vm.answer(&mut p, 0)).0, 1000);
    }
    assert_eq!(vm.platform.counters().fast_calls, 10);
    // A base in memory that is the application's own, and readable.
    let mut r = p.thread.regs();
    r.gs_base = DATA;
    p.thread.set_regs(&r);
    let (nr, args) = call(vm.go(&mut p));
    assert_eq!((nr, args[0]), (1001, DATA));
    assert_eq!(vm.platform.counters().fast_calls, 10);
}
