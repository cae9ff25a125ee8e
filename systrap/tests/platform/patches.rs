//! Rewritten call sites: no signal from the second call on, and nothing that
//! an application could tell.

use systrap::{Event, Identity, Options, Patched, Regs};

use crate::support::*;
use crate::{code, tests};

tests!(
    the_second_call_has_no_signal,
    off_means_off,
    registers_are_as_after_a_syscall,
    an_instruction_is_moved,
    old_code_leads_to_the_new,
    vector_state_stays_in_place,
    vector_state_can_be_fetched_and_set,
    vector_state_moves_to_memory_at_the_resume,
    memory_that_cannot_take_the_state_fails_the_action,
    registers_can_be_set,
    forks_go_on,
    threads_go_on,
    actions_are_performed,
    prefetched_input_outlives_the_rewriting,
    a_full_window_leaves_room,
    a_failed_action_is_told,
    own_segment_bases,
    threads_hammer_a_site_while_it_is_rewritten,
    kicks_among_fast_calls,
    a_kick_at_every_instruction,
    a_kick_at_every_instruction_of_a_moved_one,
    a_futex_wait_is_interrupted,
    descriptors_while_kicked,
    unmapped_trampolines_end_the_process,
    forged_words_end_nothing_else,
    what_cannot_be_rewritten_stays,
    an_application_may_write_its_text,
    other_text_in_the_same_place_is_new,
);

code!(site_numbered, "2:", "mov eax, 1000", "syscall", "jmp 2b");

/// Runs to the first event, rewrites, and counts from there.
fn patched(vm: &mut Vm, p: &mut Proc) {
    call(vm.event(p));
    assert_eq!(vm.patch(p), Some(Patched::Queued));
}

fn the_second_call_has_no_signal() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_numbered());
    patched(&mut vm, &mut p);
    for i in 0..1000 {
        let (nr, _) = call(vm.answer(&mut p, i));
        assert_eq!(nr, 1000);
        let r = p.thread.regs();
        assert_eq!((r.rip, r.rcx), (CODE + 7, CODE + 7));
        assert_eq!(vm.patch(&mut p), None);
    }
    let c = vm.platform.counters();
    assert_eq!((c.sigsys, c.fast_calls, c.patched), (1, 1000, 1));
}

fn off_means_off() {
    for opts in [
        Options::default(),
        Options {
            patch_after: Some(1),
            no_fsgsbase: true,
            ..Options::default()
        },
    ] {
        let mut vm = Vm::with(&opts);
        let mut p = vm.start(site_numbered());
        call(vm.event(&mut p));
        assert_eq!(vm.patch(&mut p), None);
        call(vm.answer(&mut p, 0));
        assert_eq!(vm.platform.counters().fast_calls, 0);
    }
}

// Every register, the flags, the red zone and the direction.
code!(
    site_everything,
    "mov rbx, 0x1111111111111111",
    "mov rbp, 0x2222222222222222",
    "mov rdi, 0x3333333333333333",
    "mov rsi, 0x4444444444444444",
    "mov rdx, 0x5555555555555555",
    "mov r8, 0x6666666666666666",
    "mov r9, 0x7777777777777777",
    "mov r10, 0x888888888888888",
    "mov r12, 0x999999999999999",
    "mov r13, 0xaaaaaaaaaaaaaaa",
    "mov r14, 0xbbbbbbbbbbbbbbb",
    "mov r15, 0xccccccccccccccc",
    "mov qword ptr [rsp - 8], 0x12345678",
    "mov qword ptr [rsp - 128], 0x23456789",
    "2:",
    "std",
    "stc",
    "mov eax, 1000",
    "syscall",
    "jmp 2b",
);

fn registers_are_as_after_a_syscall() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_everything());
    patched(&mut vm, &mut p);
    let slow = p.thread.regs();
    assert_ne!(slow.rflags & 0x401, 0, "DF and CF");
    for _ in 0..10 {
        call(vm.answer(&mut p, 0x7777_8888_9999));
        assert_eq!(p.thread.regs(), slow);
        assert_eq!(p.u64(slow.rsp - 8), 0x1234_5678);
        assert_eq!(p.u64(slow.rsp - 128), 0x2345_6789);
    }
    assert_eq!(vm.platform.counters().sigsys, 1);
    // And what the application goes on with.
    assert!(p.thread.actions().mprotect(CODE, 0x1000, RWX));
    assert_eq!(vm.perform(&mut p), Event::Parked);
    p.put(slow.rip, &[0x0f, 0x0b]); // ud2
    match vm.answer(&mut p, 0x7777_8888_9999) {
        Event::Fault { signo, .. } => assert_eq!(signo, libc::SIGILL),
        other => panic!("{other:?}"),
    }
    let after = p.thread.regs();
    let wanted = Regs {
        rax: 0x7777_8888_9999,
        rflags: after.rflags,
        ..slow
    };
    assert_eq!(after, wanted);
    const RF: u64 = 1 << 16;
    assert_eq!(after.rflags & !RF, slow.rflags & !RF);
}

// The number comes from elsewhere, as in libc's read and syscall().
code!(
    site_moved,
    "2:",
    "mov r15d, 1000",
    "mov rax, r15",
    "syscall",
    "cmp rax, -4096",
    "ja 3f",
    "mov eax, 1001",
    "jmp 4f",
    "3:",
    "mov eax, 1002",
    "4:",
    "syscall",
    "jmp 2b",
);

fn an_instruction_is_moved() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_moved());
    for i in 0..20u64 {
        let (nr, _) = call(if i == 0 {
            vm.event(&mut p)
        } else {
            vm.answer(&mut p, 0)
        });
        assert_eq!(nr, 1000);
        let r = p.thread.regs();
        assert_eq!((r.rip, r.rcx), (CODE + 11, CODE + 11), "the text's own");
        let result = vm.patch(&mut p);
        assert_eq!(result, (i == 0).then_some(Patched::Queued));
        let error = i % 2 == 1;
        let value = if error { -5i64 as u64 } else { i };
        let (nr, _) = call(vm.answer(&mut p, value));
        assert_eq!(nr, if error { 1002 } else { 1001 });
    }
    let c = vm.platform.counters();
    assert_eq!((c.patched, c.fast_calls), (1, 19));
}

code!(site_jumps, "mov eax, 7", "mov ecx, 0x40000b", "jmp rcx");
code!(site_elsewhere, "2:", "mov eax, 1003", "syscall", "jmp 2b");

/// Threads that stand after the old `syscall` when it goes, by their frame or
/// by a jump.
fn old_code_leads_to_the_new() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_moved());
    patched(&mut vm, &mut p);
    let at_site = p.thread.regs();
    call(vm.answer(&mut p, 0));
    for value in [3u64, -3i64 as u64] {
        let wanted = if value == 3 { 1001 } else { 1002 };
        p.thread.set_regs(&Regs {
            rax: value,
            ..at_site
        });
        assert_eq!(call(vm.go(&mut p)).0, wanted);
        // Back before the call, as a restart does.
        p.thread.set_regs(&Regs {
            rax: 1000,
            rip: at_site.rip - 2,
            ..at_site
        });
        assert_eq!(call(vm.go(&mut p)).0, 1000);
        assert_eq!(p.thread.regs().rip, at_site.rip);
        assert_eq!(call(vm.answer(&mut p, value)).0, wanted);
    }
    // A jump that the Sentry has no part in.
    p.put(CODE + 0x1000, site_jumps());
    p.thread.set_regs(&Regs {
        rip: CODE + 0x1000,
        ..at_site
    });
    assert_eq!(vm.go(&mut p), Event::Kick);
    assert_eq!(p.thread.regs().rip, at_site.rip);
    assert_eq!(call(vm.go(&mut p)).0, 1001);
}

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

code!(
    site_forks,
    "2:",
    "mov eax, 57",
    "syscall",
    "mov rdi, rax",
    "mov eax, 1000",
    "syscall",
    "jmp 2b",
);

fn fork(vm: &mut Vm, p: &mut Proc) -> Proc {
    let (space, mut thread) = p.thread.fork().expect("fork");
    thread.set_return(0);
    p.thread.set_return(77);
    let token = vm.name(&thread);
    Proc::new(space, thread, token)
}

fn forks_go_on() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_forks());
    let mut children = Vec::new();
    for _ in 0..5 {
        let e = vm.event(&mut p);
        assert_eq!(call(e).0, 57);
        vm.patch(&mut p);
        let mut c = fork(&mut vm, &mut p);
        p.thread.resume();
        assert_eq!(call(vm.event(&mut p)).1[0], 77);
        vm.patch(&mut p);
        p.thread.resume();
        let (nr, args) = call(vm.go(&mut c));
        assert_eq!((nr, args[0]), (1000, 0));
        vm.patch(&mut c);
        children.push(c);
    }
    let before = vm.platform.counters();
    assert!(before.sigsys <= 3, "{before:?}");
    call(vm.event(&mut p));
    // The children enter without a signal too, and their children.
    for c in &mut children {
        assert_eq!(call(vm.answer(c, 0)).0, 57);
        let mut grandchild = fork(&mut vm, c);
        assert_eq!(call(vm.go(c)).1[0], 77);
        assert_eq!(call(vm.go(&mut grandchild)).1[0], 0);
    }
    let after = vm.platform.counters();
    // The first child was forked before the second site was rewritten.
    assert_eq!(after.sigsys, before.sigsys);
}

fn skip_kicks(vm: &mut Vm, p: &mut Proc, kicks: &mut u32) -> Event {
    loop {
        match vm.event(p) {
            Event::Kick => *kicks += 1,
            other => return other,
        }
        p.thread.resume();
    }
}

fn threads_go_on() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_forks());
    call(vm.event(&mut p));
    vm.patch(&mut p);
    for i in 0..4 {
        if i == 0 {
            p.thread.set_return(0);
            p.thread.resume();
            assert_eq!(call(vm.event(&mut p)).0, 1000);
            vm.patch(&mut p);
            assert_eq!(call(vm.answer(&mut p, 0)).0, 57);
        }
        let mut thread = p.thread.spawn_thread().expect("thread");
        let mut r = thread.regs();
        r.rsp = STACK_END - 0x1000 * (i + 2);
        r.rax = 0;
        thread.set_regs(&r);
        let token = vm.name(&thread);
        let mut t = Proc::new(p.space.clone(), thread, token);
        p.thread.set_return(i + 1);
        p.thread.resume();
        t.thread.resume();
        let mut kicks = 0;
        for _ in 0..10 {
            let (nr, args) = call(skip_kicks(&mut vm, &mut t, &mut kicks));
            if nr == 57 {
                t.thread.set_return(0);
                t.thread.resume();
                continue;
            }
            assert_eq!((nr, args[0]), (1000, 0));
            let seen = t.thread.regs();
            assert_eq!(seen.rsp, r.rsp);
            t.thread.set_return(0);
            t.thread.resume();
            assert_eq!(call(skip_kicks(&mut vm, &mut t, &mut kicks)).0, 57);
            t.thread.set_return(0);
            // An alternate stack of its own: a signal is survived.
            t.thread.resume();
            t.thread.kicker().kick();
        }
        let (mut nr, _) = call(skip_kicks(&mut vm, &mut t, &mut kicks));
        assert!(kicks > 0);
        assert_eq!(call(vm.event(&mut p)).1[0], i + 1);
        assert_eq!(call(vm.answer(&mut p, 0)).0, 57);
        while nr != 57 {
            t.thread.set_return(0);
            t.thread.resume();
            nr = call(skip_kicks(&mut vm, &mut t, &mut kicks)).0;
        }
        t.thread.actions().exit_thread();
        t.thread.resume();
    }
    assert_eq!(vm.platform.counters().sigsys, 2);
}

fn actions_are_performed() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_numbered());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    for i in 0..20u64 {
        let at = 0x100_0000 + i * 0x1000;
        assert!(p.thread.actions().mmap_anon(at, 0x1000, RW, 0));
        assert!(p.thread.actions().store_u32(at, 7, false));
        assert!(p.thread.window().queue_write(at + 8, b"hello"));
        call(vm.answer(&mut p, 0));
        assert_eq!(p.u32(at), 7);
        assert_eq!(p.u64(at + 8), u64::from_le_bytes(*b"hello\0\0\0"));
    }
    assert_eq!(vm.platform.counters().sigsys, 1);
}

// write(1, DATA, 16): its data is prefetched.
code!(
    site_writes,
    "mov edi, 1",
    "mov esi, 0x800000",
    "mov edx, 16",
    "2:",
    "mov eax, 1",
    "syscall",
    "jmp 2b",
);

fn prefetched_input_outlives_the_rewriting() {
    let mut vm = Vm::patching();
    let mut p = vm.load(site_writes());
    p.put(DATA, b"sixteen letters.");
    p.thread.resume();
    patched(&mut vm, &mut p);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    let mut buf = [0; 16];
    assert!(p.thread.window().prefetched(DATA, &mut buf));
    assert_eq!(&buf, b"sixteen letters.");
    for _ in 0..3 {
        assert_eq!(call(vm.answer(&mut p, 16)).1[..3], [1, DATA, 16]);
        let mut buf = [0; 16];
        assert!(p.thread.window().prefetched(DATA, &mut buf));
        assert_eq!(&buf, b"sixteen letters.");
    }
    assert_eq!(vm.platform.counters().sigsys, 1);
}

/// The rewriting is asked for before the call fills the window.
fn a_full_window_leaves_room() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_moved());
    patched(&mut vm, &mut p);
    assert!(p.thread.actions().mmap_anon(0x100_0000, 0x2_0000, RW, 0));
    let mut n = 0;
    while p.thread.window().queue_write(0x100_0000 + n, &[7; 1000]) {
        n += 1000;
    }
    while p.thread.window().queue_write(0x100_0000 + n, &[7]) {
        n += 1;
    }
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
    assert!(n > 20_000);
    assert_eq!(p.u64(0x100_0000 + n - 8), 0x0707_0707_0707_0707);
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1000);
    assert_eq!(vm.platform.counters().fast_calls, 1);
}

fn a_failed_action_is_told() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_numbered());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    assert!(p.thread.actions().store_u32(0x1000, 7, false));
    p.thread.set_return(3);
    let e = vm.go(&mut p);
    let errno = libc::EFAULT;
    assert_eq!(e, Event::ActionFailed { index: 0, errno });
    call(vm.go(&mut p));
    assert!(p.thread.window().queue_write(0x1000, b"x"));
    assert_eq!(vm.go(&mut p), Event::WriteBackFault { addr: 0x1000 });
    call(vm.go(&mut p));
    assert_eq!(vm.platform.counters().sigsys, 1);
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

// A count in r15, checked against what calls say; both forms.
code!(
    site_hammers,
    "xor r15d, r15d",
    "2:",
    "inc r15",
    "mov rdi, r15",
    "mov eax, 24", // sched_yield, answered in the stub
    "syscall",
    "mov rax, 24",
    "syscall",
    "cmp rax, -4096",
    "ja 3f",
    "cmp rdi, r15",
    "jne 3f",
    "mov eax, 1000",
    "syscall",
    "mov rax, r14",
    "syscall",
    "cmp rax, r15",
    "jne 3f",
    "jmp 2b",
    "3:",
    "ud2",
);

fn threads_hammer_a_site_while_it_is_rewritten() {
    const ROUNDS: u64 = 2000;
    for _ in 0..8 {
        let mut vm = Vm::patching();
        let mut first = vm.load(site_hammers());
        let mut procs = Vec::new();
        for i in 0..4 {
            let mut thread = first.thread.spawn_thread().expect("thread");
            let token = vm.name(&thread);
            let mut r = thread.regs();
            r.rsp = STACK_END - 0x1000 * (i + 1);
            r.r14 = 1001;
            thread.set_regs(&r);
            procs.push(Proc::new(first.space.clone(), thread, token));
        }
        assert_eq!(vm.perform(&mut first), Event::Parked);
        for t in &mut procs {
            t.thread.resume();
        }
        let done = std::sync::atomic::AtomicU64::new(0);
        drive(&vm, procs, |p, e| {
            match e {
                Event::Syscall { nr, args, .. } => {
                    if let Some(site) = p.thread.trap_site() {
                        p.thread.patch(site, CODE..CODE + 0x1_0000);
                    }
                    let value = if nr == 1001 { args[0] } else { 0 };
                    p.thread.set_return(value);
                }
                Event::Kick => {}
                other => panic!("{other:?} at {:#x}", p.thread.regs().rip),
            }
            p.thread.resume();
            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < ROUNDS * 8
        });
        let c = vm.platform.counters();
        assert!(c.patched >= 2, "{c:?}");
    }
}

fn kicks_among_fast_calls() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_everything());
    patched(&mut vm, &mut p);
    let slow = p.thread.regs();
    p.thread.resume();
    let kicker = p.thread.kicker();
    let code = CODE..CODE + site_everything().len() as u64;
    for i in 0..10_000u32 {
        for _ in 0..i % 64 * 8 {
            std::hint::spin_loop();
        }
        kicker.kick();
        let mut others = 0;
        loop {
            let e = vm.event(&mut p);
            let r = p.thread.regs();
            assert!(code.contains(&r.rip), "{:#x}", r.rip);
            assert_eq!((r.rsp, r.rbx, r.r15), (slow.rsp, slow.rbx, slow.r15));
            match e {
                Event::Kick => break,
                Event::Syscall { nr: 1000, .. } => others += 1,
                other => panic!("{other:?}"),
            }
            assert!(others <= 1, "kick {i} is late");
            p.thread.resume();
        }
        p.thread.resume();
    }
    let c = vm.platform.counters();
    assert!(c.fast_calls > c.sigsys, "{c:?}");
}

// getpid, answered in the stub, by both forms; r15 counts rounds.
code!(
    site_steps,
    "2:",
    "inc r15",
    "mov rbx, r15",
    "mov eax, 39",
    "syscall",
    "cmp rax, 4711",
    "jne 3f",
    "cmp rbx, r15",
    "jne 3f",
    "jmp 2b",
    "3:",
    "ud2",
);
code!(
    site_steps_moved,
    "2:",
    "inc r15",
    "mov rbx, r15",
    "mov rax, r14",
    "syscall",
    "cmp rax, 4711",
    "jne 3f",
    "cmp rbx, r15",
    "jne 3f",
    "jmp 2b",
    "3:",
    "ud2",
);

fn a_kick_at_every_instruction() {
    kick_everywhere(site_steps(), false);
}

fn a_kick_at_every_instruction_of_a_moved_one() {
    kick_everywhere(site_steps_moved(), true);
}

/// Stops the stub after each number of instructions, by ptrace, and kicks.
fn kick_everywhere(code: &'static [u8], moved: bool) {
    let mut vm = Vm::patching();
    let mut p = vm.load(code);
    let mut r = p.thread.regs();
    r.r14 = 39;
    p.thread.set_regs(&r);
    p.thread.resume();
    patched(&mut vm, &mut p);
    p.thread.set_identity(Some(&Identity {
        pid: 4711,
        ..Identity::default()
    }));
    p.thread.set_return(4711);
    p.thread.resume();
    let pid = p.space.host_pid().expect("told");
    let end = CODE + code.len() as u64;
    let range = CODE..end;
    let site = if moved { CODE + 9 } else { CODE + 11 };
    let kicker = p.thread.kicker();
    let mut inside = 0;
    let mut rounds = 0;
    let mut steps = 0;
    while steps < 400 {
        let Some(mut stub) = Tracee::stop(pid) else {
            return println!("no ptrace here");
        };
        // From the loop's start on.
        let mut n = 0;
        while stub.rip() != CODE {
            stub.step();
            n += 1;
            assert!(n < 2000, "never back");
        }
        for _ in 0..steps {
            stub.step();
        }
        let rip = stub.rip();
        inside += u32::from(!range.contains(&rip));
        let back = rip == CODE && steps > 0;
        kicker.kick();
        stub.go();
        assert_eq!(vm.event(&mut p), Event::Kick, "step {steps}, {rip:#x}");
        let r = p.thread.regs();
        assert!(range.contains(&r.rip), "step {steps}: {:#x}", r.rip);
        assert!(r.rsp == STACK_END - 64 && (r.rbx == r.r15 || r.rip < CODE + 6));
        if r.rip > site && r.rip < end - 2 {
            assert_eq!(r.rax, 4711);
        }
        assert!(r.r15 > rounds || steps < 2);
        rounds = r.r15;
        p.thread.resume();
        steps += 1;
        if back {
            break;
        }
    }
    assert!(inside > 50, "{inside} instructions outside of the text");
    // It still runs.
    std::thread::sleep(std::time::Duration::from_millis(2));
    kicker.kick();
    assert_eq!(vm.event(&mut p), Event::Kick);
    assert!(p.thread.regs().r15 > rounds);
}

/// A stub stopped by ptrace(2), and the signal that stopped it.
struct Tracee(i32, i32);

impl Tracee {
    fn stop(pid: i32) -> Option<Tracee> {
        // SAFETY: ptrace on a child of ours; no memory is involved.
        unsafe {
            if libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) != 0 {
                return None;
            }
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0), 0);
        }
        let mut t = Tracee(pid, 0);
        t.wait();
        Some(t)
    }

    fn wait(&mut self) {
        let mut status = 0;
        // SAFETY: `status` is writable.
        let r = unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) };
        assert!(r == self.0 && libc::WIFSTOPPED(status), "{status:#x}");
        // A signal on its way is let through with the next step.
        let signo = libc::WSTOPSIG(status);
        self.1 = if signo == libc::SIGTRAP { 0 } else { signo };
    }

    fn rip(&self) -> u64 {
        self.regs().rip
    }

    fn regs(&self) -> libc::user_regs_struct {
        // SAFETY: the call fills all of it.
        unsafe {
            let mut regs: libc::user_regs_struct = std::mem::zeroed();
            let r = libc::ptrace(libc::PTRACE_GETREGS, self.0, 0, &raw mut regs);
            assert_eq!(r, 0);
            regs
        }
    }

    fn step(&mut self) {
        const PUSHF: i64 = 0x9c;
        const FLAG_TF: i64 = 0x100;
        // SAFETY: no memory of ours is involved.
        unsafe {
            let insn = libc::ptrace(libc::PTRACE_PEEKTEXT, self.0, self.regs().rip, 0);
            let r = libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, self.1);
            assert_eq!(r, 0);
            self.wait();
            // The kernel takes what a popf may have set for the program's own.
            let mut regs = self.regs();
            if regs.eflags & 0x100 != 0 {
                regs.eflags &= !0x100;
                libc::ptrace(libc::PTRACE_SETREGS, self.0, 0, &raw const regs);
            }
            if insn & 0xff == PUSHF {
                // It has seen the flag that steps.
                let sp = self.regs().rsp;
                let flags = libc::ptrace(libc::PTRACE_PEEKDATA, self.0, sp, 0) & !FLAG_TF;
                libc::ptrace(libc::PTRACE_POKEDATA, self.0, sp, flags);
            }
        }
    }

    fn go(self) {
        // SAFETY: no memory is involved.
        let r = unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, self.1) };
        assert_eq!(r, 0);
    }
}

// futex(DATA, WAIT, 0): forever.
code!(
    site_waits,
    "2:",
    "mov edi, 0x800000",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "mov eax, 202",
    "syscall",
    "mov rdi, rax",
    "mov eax, 1000",
    "syscall",
    "jmp 2b",
);

fn a_futex_wait_is_interrupted() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_waits());
    for i in 0..200u32 {
        let until = std::time::Instant::now() + std::time::Duration::from_micros((i * 7).into());
        while (i % 3 != 0 && !p.thread.in_futex_wait()) || std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        p.thread.kicker().kick();
        match vm.event(&mut p) {
            Event::FutexInterrupted { nr, .. } => assert_eq!(nr, 202),
            // Before it.
            Event::Kick => {
                p.thread.resume();
                continue;
            }
            other => panic!("{other:?}"),
        }
        vm.patch(&mut p);
        let (nr, args) = call(vm.answer(&mut p, -4i64 as u64));
        assert_eq!((nr, args[0]), (1000, -4i64 as u64));
        vm.patch(&mut p);
        p.thread.resume();
    }
    let c = vm.platform.counters();
    assert!(c.fast_calls > 100, "{c:?}");
}

fn descriptors_while_kicked() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_numbered());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    let fd = memfd(&[1; 4096]);
    let kicker = p.thread.kicker();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                kicker.kick();
                std::thread::sleep(std::time::Duration::from_micros(20));
            }
        });
        for i in 0..500 {
            let private = libc::MAP_PRIVATE.cast_unsigned();
            let mut a = p.thread.actions();
            assert!(a.mmap_fd(&fd, 0, 0x100_0000, 0x1000, RW, private));
            p.thread.set_return(0);
            p.thread.resume();
            loop {
                match vm.event(&mut p) {
                    Event::Kick => p.thread.resume(),
                    Event::Syscall { nr: 1000, .. } => break,
                    other => panic!("{i}: {other:?}"),
                }
            }
            assert_eq!(p.u32(0x100_0000), 0x0101_0101);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

fn unmapped_trampolines_end_the_process() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_numbered());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    assert!(p.thread.actions().munmap(AREA, systrap::code_area_len()));
    match vm.answer(&mut p, 0) {
        Event::Fault { signo, .. } => assert_eq!(signo, libc::SIGSEGV),
        other => panic!("{other:?}"),
    }
}

// Scribbles over its slot's control words, then goes on.
code!(
    site_forges,
    "mov eax, 1000",
    "syscall",
    "rdgsbase rbx",
    "xor ecx, ecx",
    "2:",
    "mov r8, [0x800000]",
    "cmp ecx, 0x10", // all but the state
    "jb 3f",
    "mov [rbx + rcx], r8",
    "3:",
    "add ecx, 8",
    "cmp ecx, 0x100",
    "jb 2b",
    "mov eax, 1000",
    "syscall",
    "mov eax, 1000",
    "syscall",
    "ud2",
);

fn forged_words_end_nothing_else() {
    let mut vm = Vm::patching();
    let mut other = vm.start(site_numbered());
    patched(&mut vm, &mut other);
    for value in [0u64, 1, u64::MAX, 0x51a7_c0de, DATA, 0x7fff_0001_0000] {
        let mut p = vm.load(site_forges());
        p.put(DATA, &value.to_le_bytes());
        p.thread.resume();
        call(vm.event(&mut p));
        vm.patch(&mut p);
        p.thread.set_return(0);
        p.thread.resume();
        // Whatever comes of it, it comes, or the process is stuck by itself.
        let end = std::time::Instant::now() + std::time::Duration::from_millis(200);
        let mut out = Vec::new();
        while std::time::Instant::now() < end {
            let max = Some(std::time::Duration::from_millis(20));
            vm.platform.wait_timeout(0, &mut out, max);
            vm.platform.reap(&mut out);
            if out.contains(&p.token) {
                p.thread.event();
                break;
            }
        }
        drop(p);
        call(vm.answer(&mut other, 0));
    }
}

code!(site_stays, "2:", "mov rax, r14", "syscall", "jmp 2b", "ud2",);

fn what_cannot_be_rewritten_stays() {
    let mut vm = Vm::patching();
    let mut p = vm.load(site_stays());
    let mut r = p.thread.regs();
    r.r14 = 1000;
    p.thread.set_regs(&r);
    p.thread.resume();
    call(vm.event(&mut p));
    assert_eq!(vm.patch(&mut p), Some(Patched::Refused));
    for _ in 0..3 {
        call(vm.answer(&mut p, 0));
        assert_eq!(vm.patch(&mut p), None);
    }
    let c = vm.platform.counters();
    assert_eq!((c.sigsys, c.patched), (4, 0));
    // Too far from any room for trampolines.
    let far = 0x7000_0000_0000;
    assert!(p.thread.actions().mmap_anon(far, 0x1000, RWX, 0));
    call(vm.answer(&mut p, 0));
    p.put(far, site_numbered());
    let mut r = p.thread.regs();
    r.rip = far;
    p.thread.set_regs(&r);
    call(vm.go(&mut p));
    let site = p.thread.trap_site().expect("a new one");
    assert_eq!(p.thread.patch(site, far..far + 0x1000), Patched::NeedsArea);
    p.thread.add_code_area(far + 0x1000);
    assert!(
        p.thread
            .actions()
            .mmap_anon(far + 0x1000, systrap::code_area_len(), RX, 0)
    );
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert_eq!(p.thread.patch(site, far..far + 0x1000), Patched::Queued);
    call(vm.go(&mut p));
    call(vm.go(&mut p));
    assert_eq!(vm.platform.counters().fast_calls, 2);
}

fn an_application_may_write_its_text() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_moved());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    call(vm.answer(&mut p, 0));
    assert_eq!(vm.platform.counters().fast_calls, 1);
    // It can't be written now, then it can, and is the application's.
    assert_eq!(p.space.write(CODE, &[0x90]), 0);
    assert!(p.thread.actions().mprotect(CODE, 0x1000, RWX));
    p.thread.set_return(0);
    assert_eq!(call(vm.go(&mut p)).0, 1001);
    p.put(CODE, site_moved());
    for _ in 0..3 {
        // As it was loaded: it traps.
        assert_eq!(call(vm.answer(&mut p, 0)).0, 1000);
        assert_eq!(p.thread.regs().rip, CODE + 11);
        assert_eq!(vm.patch(&mut p), None);
        assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
    }
    assert_eq!(vm.platform.counters().fast_calls, 1);
}

code!(site_illegal, "2:", "mov eax, 1004", "syscall", "jmp 2b");

fn other_text_in_the_same_place_is_new() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_moved());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    call(vm.answer(&mut p, 0));
    let at_site = p.thread.regs();
    assert!(p.thread.actions().mmap_anon(CODE, 0x1000, RWX, 0));
    p.space.forget_code(CODE, CODE + 0x1000);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    // An instruction that isn't one where the old call ended.
    p.put(CODE + 11, &[0x06, 0x06]);
    p.thread.set_regs(&at_site);
    match vm.go(&mut p) {
        Event::Fault { signo, .. } => assert_eq!(signo, libc::SIGILL),
        other => panic!("{other:?}"),
    }
    assert_eq!(p.thread.regs().rip, CODE + 11);
    // Its own sites are rewritten in their turn.
    p.put(CODE, site_illegal());
    let mut r = p.thread.regs();
    r.rip = CODE;
    p.thread.set_regs(&r);
    assert_eq!(call(vm.go(&mut p)).0, 1004);
    assert_eq!(vm.patch(&mut p), Some(Patched::Queued));
    let before = vm.platform.counters().fast_calls;
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1004);
    assert_eq!(vm.platform.counters().fast_calls, before + 1);
}
