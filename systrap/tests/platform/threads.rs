//! Threads of one address space.

use systrap::{Event, Thread, Token};

use crate::support::*;
use crate::{code, tests};

tests!(
    share_memory,
    a_thousand_threads,
    slots_are_reused_after_exit,
    the_first_may_leave_before_the_others,
    exit_process_ends_all,
    dropping_a_handle_ends_the_thread,
    dropping_the_last_ends_the_process,
    descriptors_go_to_the_right_thread,
    clear_tid_at_exit,
    failed_clone_gives_the_slot_back,
);

// Adds rbx to the word at DATA, then calls 1000 in a loop.
code!(
    adds,
    "lock add [0x800000], rbx",
    "2:",
    "mov eax, 1000",
    "syscall",
    "jmp 2b",
);

struct One {
    thread: Thread,
    token: Token,
}

fn more(vm: &mut Vm, p: &mut Proc, n: usize) -> Vec<One> {
    let mut all = Vec::new();
    for i in 0..n {
        let mut thread = p.thread.spawn_thread().expect("thread");
        let token = vm.name(&thread);
        let mut r = thread.regs();
        r.rip = CODE;
        r.rbx = 1;
        r.rsp = STACK_END - 64;
        thread.set_regs(&r);
        all.push(One { thread, token });
        if i % 100 == 99 {
            assert_eq!(vm.perform(p), Event::Parked);
        }
    }
    assert_eq!(vm.perform(p), Event::Parked);
    all
}

fn share_memory() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    let mut all = more(&mut vm, &mut p, 3);
    for t in &mut all {
        t.thread.resume();
    }
    for t in &mut all {
        vm.wait_token(t.token);
        assert_eq!(call(t.thread.event()).0, 1000);
    }
    assert_eq!(p.u64(DATA), 3);
}

fn a_thousand_threads() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    let mut all = more(&mut vm, &mut p, 1000);
    for t in &mut all {
        t.thread.resume();
    }
    for round in 0..3 {
        for t in &mut all {
            vm.wait_token(t.token);
            assert_eq!(call(t.thread.event()).0, 1000, "round {round}");
            t.thread.set_return(0);
            t.thread.resume();
        }
    }
    assert_eq!(p.u64(DATA), 1000);
    for t in &all {
        t.thread.kicker().kick();
    }
}

fn exit(mut t: One) {
    t.thread.actions().exit_thread();
    t.thread.resume();
}

fn slots_are_reused_after_exit() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    for _ in 0..200 {
        let mut all = more(&mut vm, &mut p, 4);
        for t in &mut all {
            t.thread.resume();
            vm.wait_token(t.token);
            assert_eq!(call(t.thread.event()).0, 1000);
        }
        all.into_iter().for_each(exit);
    }
    assert_eq!(p.u64(DATA), 800);
    let pid = p.space.host_pid().expect("pid");
    until("the end of all others", || thread_count(pid) == 1);
    assert_eq!(vm.platform.counters().violations, 0);
}

fn the_first_may_leave_before_the_others() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    let mut all = more(&mut vm, &mut p, 2);
    let space = p.space.clone();
    p.thread.actions().exit_thread();
    p.thread.resume();
    drop(p);
    for t in &mut all {
        t.thread.resume();
        vm.wait_token(t.token);
        assert_eq!(call(t.thread.event()).0, 1000);
    }
    let mut b = [0; 8];
    assert_eq!(space.read(DATA, &mut b), 8, "its memory is still there");
    assert_eq!(b[0], 2);
    all.pop().into_iter().for_each(exit);
    let mut last = all.pop().expect("one");
    last.thread.actions().exit_process();
    last.thread.resume();
    drop(last);
    wait_dead(&mut vm, &space);
}

fn wait_dead(vm: &mut Vm, space: &systrap::AddressSpace) {
    until("its death", || {
        vm.platform.reap(&mut vm.tokens);
        space.is_dead()
    });
}

fn exit_process_ends_all() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    let mut all = more(&mut vm, &mut p, 3);
    for t in &mut all {
        t.thread.resume();
    }
    p.thread.actions().exit_process();
    p.thread.resume();
    let space = p.space.clone();
    wait_dead(&mut vm, &space);
    for t in &mut all {
        let token = t.token;
        if vm.try_token(token) {
            assert_eq!(t.thread.event(), Event::Dead { status: 0 });
        }
    }
}

fn dropping_a_handle_ends_the_thread() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    let all = more(&mut vm, &mut p, 5);
    drop(all);
    let pid = p.space.host_pid().expect("pid");
    until("the end of all others", || thread_count(pid) == 1);
    assert_eq!(call(vm.go(&mut p)).0, 1000);
}

fn dropping_the_last_ends_the_process() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    let all = more(&mut vm, &mut p, 2);
    p.thread.resume();
    let space = p.space.clone();
    drop(p);
    drop(all);
    wait_dead(&mut vm, &space);
}

fn descriptors_go_to_the_right_thread() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    let mut all = more(&mut vm, &mut p, 8);
    for round in 0..50u64 {
        for (i, t) in (0u64..).zip(&mut all) {
            let fd = memfd(&(round * 100 + i).to_le_bytes());
            let at = 0x1000_0000 + i * 0x1_0000;
            t.thread.actions().mmap_fd(&fd, 0, at, 0x1000, RW, 2);
            t.thread.perform();
        }
        for (i, t) in (0u64..).zip(&mut all) {
            vm.wait_token(t.token);
            assert_eq!(t.thread.event(), Event::Parked);
            assert_eq!(p.u64(0x1000_0000 + i * 0x1_0000), round * 100 + i);
        }
    }
}

/// More threads that fail to come than a region has slots.
fn failed_clone_gives_the_slot_back() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    for i in 0..10_000 {
        p.thread.actions().munmap(1, 0x1000); // fails
        let mut thread = p.thread.spawn_thread().expect("thread");
        let token = vm.name(&thread);
        let kicker = thread.kicker();
        let resumed = i % 3;
        if resumed == 1 {
            thread.resume();
        }
        p.thread.perform();
        let event = vm.event(&mut p);
        assert!(matches!(event, Event::ActionFailed { index: 0, .. }));
        kicker.never_born();
        if resumed == 2 {
            thread.resume();
        }
        if resumed != 0 {
            vm.wait_token(token);
            assert_eq!(thread.event(), Event::Dead { status: 0 });
        }
        thread.actions().exit_thread();
        thread.resume();
    }
    // And the process goes on.
    let mut t = more(&mut vm, &mut p, 1).pop().expect("one");
    t.thread.resume();
    vm.wait_token(t.token);
    assert_eq!(call(t.thread.event()).0, 1000);
    assert_eq!(call(vm.go(&mut p)).0, 1000);
}

fn clear_tid_at_exit() {
    let mut vm = Vm::new();
    let mut p = vm.load(adds());
    p.put(DATA + 8, &77u32.to_le_bytes());
    let mut t = more(&mut vm, &mut p, 1).pop().expect("one");
    t.thread.actions().store_u32(DATA + 8, 0, true);
    t.thread.actions().futex_wake(DATA + 8, 1, false);
    exit(t);
    until("the tid is cleared", || p.u32(DATA + 8) == 0);
}
