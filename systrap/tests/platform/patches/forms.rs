//! What sites become, and who stands between two instructions of them.

use systrap::{Event, Options, Patched, Regs};

use super::*;

tests!(
    the_second_call_has_no_signal,
    off_means_off,
    registers_are_as_after_a_syscall,
    an_instruction_is_moved,
    old_code_leads_to_the_new,
    what_cannot_be_rewritten_stays,
    an_application_may_write_its_text,
    other_text_in_the_same_place_is_new,
);

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
