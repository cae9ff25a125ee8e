//! Slots that the hot worker looks at directly.

use std::time::{Duration, Instant};

use crate::support::*;
use crate::{code, tests};

tests!(
    events_come_without_pending_bits,
    a_worker_that_does_not_look_is_stood_in_for,
    no_event_is_lost_when_the_worker_cools,
    many_threads_are_watched_in_turn,
);

code!(calls, "2:", "mov eax, 1000", "syscall", "jmp 2b");

/// Answers calls until so many events have come by watching. False where a worker never spins.
fn until_watched(vm: &mut Vm, p: &mut Proc, events: u64) -> bool {
    if vm.platform.workers() < 2 {
        return false;
    }
    let end = Instant::now() + Duration::from_secs(30);
    let (goal, mut calls) = (vm.platform.counters().watched + events, 0u32);
    while vm.platform.counters().watched < goal {
        call(vm.go(p));
        calls += 1;
        assert!(Instant::now() < end, "{calls} calls, and never watched");
    }
    true
}

fn events_come_without_pending_bits() {
    let mut vm = Vm::patching();
    let mut p = vm.start(calls());
    call(vm.event(&mut p));
    assert!(vm.patch(&mut p).is_some());
    until_watched(&mut vm, &mut p, 10_000);
    assert_eq!(vm.platform.counters().violations, 0);
}

fn a_worker_that_does_not_look_is_stood_in_for() {
    let mut vm = Vm::new();
    let mut p = vm.start(calls());
    call(vm.event(&mut p));
    if !until_watched(&mut vm, &mut p, 10) {
        return;
    }
    // This thread, which watches, looks at nothing any more.
    p.thread.resume();
    let platform = vm.platform.clone();
    let other = std::thread::spawn(move || {
        platform.enter_worker(1);
        let mut tokens = Vec::new();
        let end = Instant::now() + Duration::from_secs(20);
        while tokens.is_empty() && Instant::now() < end {
            platform.wait_timeout(1, &mut tokens, Some(Duration::from_millis(100)));
        }
        platform.leave_worker(1);
        tokens
    });
    let tokens = other.join().expect("the other worker");
    assert_eq!(tokens, [p.token], "nobody saw the event");
    call(p.thread.event());
}

fn no_event_is_lost_when_the_worker_cools() {
    let mut vm = Vm::new();
    let mut p = vm.start(calls());
    call(vm.event(&mut p));
    for i in 0..2000u32 {
        // A timeout of zero ends the watch, just when the event comes.
        p.thread.resume();
        for _ in 0..i % 64 * 8 {
            std::hint::spin_loop();
        }
        vm.platform
            .wait_timeout(0, &mut vm.tokens, Some(Duration::ZERO));
        call(vm.event(&mut p));
        vm.go(&mut p);
    }
    assert_eq!(vm.platform.counters().violations, 0);
}

fn many_threads_are_watched_in_turn() {
    let mut vm = Vm::new();
    let mut procs: Vec<Proc> = (0..20).map(|_| vm.start(calls())).collect();
    for _ in 0..300 {
        for p in &mut procs {
            vm.wait_token(p.token);
            call(p.thread.event());
            p.thread.set_return(0);
            p.thread.resume();
        }
    }
    assert_eq!(vm.platform.counters().violations, 0);
}
