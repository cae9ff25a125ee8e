//! Forks and threads at rewritten sites.

use systrap::Event;

use super::*;

tests!(
    forks_go_on,
    threads_go_on,
    threads_hammer_a_site_while_it_is_rewritten,
);

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
