//! Kicks: stopping user code from outside.

use systrap::Event;

use crate::support::*;
use crate::{code, tests};

tests!(
    spin_loop,
    no_kick_is_lost_in_a_spin_loop,
    no_kick_is_lost_among_calls,
    harmless_while_the_sentry_has_it,
    kick_from_another_thread,
    kick_before_the_first_instruction,
    kick_during_actions,
    other_signals_do_nothing,
);

code!(spins, "2:", "inc r15", "jmp 2b");

fn spin_loop() {
    let mut vm = Vm::new();
    let mut p = vm.start(spins());
    std::thread::sleep(std::time::Duration::from_millis(5));
    p.thread.kicker().kick();
    assert_eq!(vm.event(&mut p), Event::Kick);
    let r = p.thread.regs();
    assert!((CODE..CODE + 5).contains(&r.rip), "{:#x}", r.rip);
    assert!(r.r15 > 0);
}

fn no_kick_is_lost_in_a_spin_loop() {
    let mut vm = Vm::new();
    let mut p = vm.start(spins());
    let kicker = p.thread.kicker();
    for i in 0..10_000u32 {
        for _ in 0..i % 64 * 8 {
            std::hint::spin_loop();
        }
        kicker.kick();
        assert_eq!(vm.event(&mut p), Event::Kick);
        p.thread.resume();
    }
}

code!(calls, "2:", "mov eax, 1000", "syscall", "jmp 2b");

fn no_kick_is_lost_among_calls() {
    let mut vm = Vm::new();
    let mut p = vm.start(calls());
    let kicker = p.thread.kicker();
    for i in 0..10_000u32 {
        for _ in 0..i % 64 * 16 {
            std::hint::spin_loop();
        }
        kicker.kick();
        // It comes at the first instruction after a call at the latest.
        let mut others = 0;
        loop {
            match vm.event(&mut p) {
                Event::Kick => break,
                Event::Syscall { nr: 1000, .. } => others += 1,
                other => panic!("{other:?}"),
            }
            assert!(others <= 1, "kick {i} is late");
            p.thread.resume();
        }
        p.thread.resume();
    }
}

fn harmless_while_the_sentry_has_it() {
    let mut vm = Vm::new();
    let mut p = vm.start(calls());
    call(vm.event(&mut p));
    for _ in 0..100 {
        p.thread.kicker().kick();
    }
    call(vm.answer(&mut p, 0));
}

fn kick_from_another_thread() {
    let mut vm = Vm::new();
    let mut p = vm.start(spins());
    for _ in 0..200 {
        let kicker = p.thread.kicker();
        let t = std::thread::spawn(move || kicker.kick());
        assert_eq!(vm.event(&mut p), Event::Kick);
        t.join().expect("kicker");
        p.thread.resume();
    }
}

fn kick_before_the_first_instruction() {
    for _ in 0..50 {
        let mut vm = Vm::new();
        let mut p = vm.load(spins());
        let (space, mut child) = p.thread.fork().expect("fork");
        let token = vm.name(&child);
        // Resumed and kicked before it exists.
        child.resume();
        child.kicker().kick();
        p.thread.resume();
        let mut c = Proc::new(space, child, token);
        assert_eq!(vm.event(&mut c), Event::Kick);
    }
}

fn kick_during_actions() {
    let mut vm = Vm::new();
    let mut p = vm.load(spins());
    for i in 0..200u32 {
        for _ in 0..20 {
            p.thread.actions().mmap_anon(0x100_0000, 0x1000, RW, 0);
            p.thread.actions().zero(0x100_0000, 0x1000);
            p.thread.actions().munmap(0x100_0000, 0x1000);
        }
        p.thread.resume();
        for _ in 0..i * 16 {
            std::hint::spin_loop();
        }
        p.thread.kicker().kick();
        assert_eq!(vm.event(&mut p), Event::Kick);
    }
}

fn other_signals_do_nothing() {
    let mut vm = Vm::new();
    let mut p = vm.start(calls());
    let pid = p.space.host_pid().expect("pid");
    for signo in [
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGTSTP,
        40,
    ] {
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::kill(pid, signo) }, 0);
    }
    for _ in 0..10 {
        call(vm.event(&mut p));
        p.thread.resume();
    }
    // Stopped and continued, also while it sleeps.
    call(vm.event(&mut p));
    for _ in 0..3 {
        // SAFETY: as above.
        unsafe {
            libc::kill(pid, libc::SIGSTOP);
            std::thread::sleep(std::time::Duration::from_millis(3));
            libc::kill(pid, libc::SIGCONT);
        }
    }
    call(vm.answer(&mut p, 0));
}
