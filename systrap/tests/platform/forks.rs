//! fork: copy-on-write, register and vector state, order of resumes.

use systrap::{Event, Options};

use crate::support::*;
use crate::{code, tests};

tests!(
    memory_is_copied_on_write,
    either_may_go_first,
    vector_state_is_kept,
    segment_bases_are_kept,
    segment_bases_without_fsgsbase,
    grandchildren,
    forks_of_a_second_thread,
    failed_fork_leaves_the_parent,
    spawned_ones_are_pristine,
    two_hundred_at_once,
    one_made_ahead_is_as_pristine,
    one_made_ahead_goes_with_the_platform,
    a_thousand_in_a_row,
    dead_child_is_reported,
    killed_before_hello,
    dropped_before_hello,
    killed_and_never_made,
);

fn one_made_ahead_is_as_pristine() {
    let mut vm = Vm::new();
    for turn in 0..20 {
        // Twice is once.
        vm.platform.spawn_ahead();
        vm.platform.spawn_ahead();
        assert_eq!(vm.platform.counters().forks, turn + 1);
        let (_, thread) = vm.platform.spawn().expect("spawn");
        assert_eq!(vm.platform.counters().forks, turn + 1);
        assert_eq!(thread.regs().rsp, 0);
        drop(thread);
    }
    vm.platform.spawn_ahead();
    let mut p = vm.start(forks());
    assert_eq!(call(vm.event(&mut p)).0, 57);
}

/// That nothing is left is looked at after each test.
fn one_made_ahead_goes_with_the_platform() {
    let vm = Vm::new();
    vm.platform.spawn_ahead();
    drop(vm);
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    vm.platform.spawn_ahead();
    assert_eq!(call(vm.event(&mut p)).0, 57);
}

code!(
    forks,
    "mov dword ptr [0x800000], 1",
    "mov eax, 57",
    "syscall",
    "mov rdi, rax",
    "mov esi, [0x800000]",
    "mov [0x800000], eax",
    "mov edx, [0x800000]",
    "mov eax, 1000",
    "syscall",
    "mov edx, [0x800000]",
    "mov eax, 1001",
    "syscall",
    "ud2",
);

/// Runs to the fork call and makes the child, with 0 as its return.
fn fork(vm: &mut Vm, p: &mut Proc, pid: u64) -> Proc {
    let (space, mut thread) = p.thread.fork().expect("fork");
    thread.set_return(0);
    p.thread.set_return(pid);
    let token = vm.name(&thread);
    Proc::new(space, thread, token)
}

fn memory_is_copied_on_write() {
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    assert_eq!(call(vm.event(&mut p)).0, 57);
    let mut c = fork(&mut vm, &mut p, 77);
    let (nr, args) = call(vm.go(&mut p));
    assert_eq!((nr, args[0], args[1], args[2]), (1000, 77, 1, 77));
    let (nr, args) = call(vm.go(&mut c));
    assert_eq!(
        (nr, args[0], args[1], args[2]),
        (1000, 0, 1, 0),
        "the child has its own"
    );
    assert_eq!(call(vm.go(&mut p)).1[2], 77);
    assert_eq!(call(vm.go(&mut c)).1[2], 0);
    assert_ne!(p.space.host_pid(), c.space.host_pid());
}

fn either_may_go_first() {
    let mut vm = Vm::new();
    for child_first in [true, false] {
        let mut p = vm.start(forks());
        call(vm.event(&mut p));
        let mut c = fork(&mut vm, &mut p, 77);
        if child_first {
            c.thread.resume();
        }
        p.thread.resume();
        if !child_first {
            std::thread::sleep(std::time::Duration::from_millis(2));
            c.thread.resume();
        }
        assert_eq!(call(vm.event(&mut c)).1[0], 0);
        assert_eq!(call(vm.event(&mut p)).1[0], 77);
    }
}

code!(
    vectors,
    "mov r15d, 0x800000",
    "vmovdqu ymm0, [r15]",
    "vmovdqu ymm7, [r15 + 32]",
    "vmovdqu ymm15, [r15 + 64]",
    "fld1",
    "fldpi",
    "ldmxcsr [r15 + 96]",
    "mov eax, 57",
    "syscall",
    "vmovdqu [r15 + 256], ymm0",
    "vmovdqu [r15 + 288], ymm7",
    "vmovdqu [r15 + 320], ymm15",
    "fstp qword ptr [r15 + 352]",
    "fstp qword ptr [r15 + 360]",
    "stmxcsr [r15 + 368]",
    "mov eax, 1000",
    "syscall",
    "ud2",
);

fn vector_state_is_kept() {
    if !std::arch::is_x86_feature_detected!("avx") {
        return println!("no AVX");
    }
    let mut vm = Vm::new();
    let mut p = vm.load(vectors());
    let data: Vec<u8> = (0..96u8).map(|i| i ^ 0x5a).collect();
    p.put(DATA, &data);
    p.put(DATA + 96, &0x1fa0u32.to_le_bytes());
    assert_eq!(call(vm.go(&mut p)).0, 57);
    let mut c = fork(&mut vm, &mut p, 77);
    for proc in [&mut p, &mut c] {
        assert_eq!(call(vm.go(proc)).0, 1000);
        let mut got = vec![0; 96];
        proc.space.read(DATA + 256, &mut got);
        assert_eq!(got, data);
        assert_eq!(f64::from_bits(proc.u64(DATA + 352)), std::f64::consts::PI);
        assert_eq!(f64::from_bits(proc.u64(DATA + 360)), 1.0);
        assert_eq!(proc.u32(DATA + 368), 0x1fa0);
    }
}

code!(
    bases,
    "mov eax, 57",
    "syscall",
    "mov rdi, fs:[0]",
    "mov rsi, gs:[8]",
    "mov eax, 1000",
    "syscall",
    "ud2",
);

fn segment_bases_are_kept() {
    keep_bases(false);
}

fn segment_bases_without_fsgsbase() {
    keep_bases(true);
}

fn keep_bases(no_fsgsbase: bool) {
    let mut vm = Vm::with(&Options {
        no_fsgsbase,
        ..Default::default()
    });
    let mut p = vm.load(bases());
    p.put(DATA + 0x100, &0x1111u64.to_le_bytes());
    p.put(DATA + 0x208, &0x2222u64.to_le_bytes());
    let mut r = p.thread.regs();
    r.fs_base = DATA + 0x100;
    r.gs_base = DATA + 0x200;
    p.thread.set_regs(&r);
    assert_eq!(call(vm.go(&mut p)).0, 57);
    let r = p.thread.regs();
    assert_eq!((r.fs_base, r.gs_base), (DATA + 0x100, DATA + 0x200));
    let mut c = fork(&mut vm, &mut p, 77);
    assert_eq!(c.thread.regs().fs_base, DATA + 0x100);
    let mut t = p.thread.spawn_thread().expect("thread");
    let token = vm.name(&t);
    assert_eq!(call(vm.go(&mut p)).1[..2], [0x1111, 0x2222]);
    assert_eq!(call(vm.go(&mut c)).1[..2], [0x1111, 0x2222]);
    let mut r = t.regs();
    r.fs_base = DATA + 0x200 + 8;
    t.set_regs(&r);
    t.resume();
    vm.wait_token(token);
    assert_eq!(call(t.event()).1[..2], [0x2222, 0x2222]);
}

fn grandchildren() {
    let mut vm = Vm::new();
    let mut all = vec![vm.start(forks())];
    call(vm.event(&mut all[0]));
    for depth in 1..20usize {
        let c = {
            let p = all.last_mut().expect("one");
            let c = fork(&mut vm, p, 77);
            // The parent must perform the fork before the child can fork.
            p.thread.perform();
            assert_eq!(vm.event(p), Event::Parked);
            c
        };
        c.put(DATA + 8, &(depth as u64).to_le_bytes());
        all.push(c);
    }
    for (i, p) in all.iter_mut().enumerate().rev() {
        assert_eq!(p.u64(DATA + 8), i as u64);
        assert_eq!(call(vm.go(p)).0, 1000);
    }
}

fn forks_of_a_second_thread() {
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    call(vm.event(&mut p));
    let mut second = p.thread.spawn_thread().expect("thread");
    let token = vm.name(&second);
    p.thread.set_return(1);
    assert_eq!(call(vm.go(&mut p)).0, 1000);
    let (space, mut child) = second.fork().expect("fork");
    child.set_return(0);
    second.set_return(5);
    let child_token = vm.name(&child);
    child.resume();
    second.resume();
    vm.wait_token(token);
    assert_eq!(call(second.event()).1[0], 5);
    let mut c = Proc::new(space, child, child_token);
    assert_eq!(call(vm.event(&mut c)).1[0], 0);
    c.thread.kicker().kick();
    // The child can have threads in the slots that its parent used.
    let mut more = c.thread.spawn_thread().expect("thread");
    let more_token = vm.name(&more);
    more.resume();
    c.thread.resume();
    vm.wait_token(more_token);
    assert_eq!(call(more.event()).0, 1001);
    assert_eq!(call(vm.event(&mut c)).0, 1001);
}

fn failed_fork_leaves_the_parent() {
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    call(vm.event(&mut p));
    // An earlier entry fails, so that the fork isn't reached.
    p.thread.actions().munmap(1, 0x1000);
    let c = fork(&mut vm, &mut p, 77);
    assert!(matches!(
        vm.go(&mut p),
        Event::ActionFailed { index: 0, .. }
    ));
    assert_eq!(c.space.host_pid(), None);
    drop(c);
    assert_eq!(call(vm.go(&mut p)).0, 1000);
}

fn spawned_ones_are_pristine() {
    let mut vm = Vm::new();
    let p = vm.start(forks());
    let (space, thread) = vm.platform.spawn().expect("spawn");
    let r = thread.regs();
    let zero = systrap::Regs {
        rflags: r.rflags,
        cs: r.cs,
        ss: r.ss,
        ..Default::default()
    };
    assert_eq!(r, zero);
    assert_eq!((r.cs, r.ss, r.rflags & !0x10246), (0x33, 0x2b, 0));
    let fp = thread.fpstate();
    assert!(fp.len() > 580);
    assert_eq!(fp[32..416], [0; 384], "x87 and SSE registers");
    until("its hello", || space.host_pid().is_some());
    let pid = space.host_pid().expect("a pid");
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    for line in maps.lines() {
        assert!(
            line.starts_with("7fff") || line.contains("vsyscall"),
            "{line}"
        );
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    for want in [
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(want), "{want} in {status}");
    }
    drop(p);
}

fn two_hundred_at_once() {
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    call(vm.event(&mut p));
    let mut children = Vec::new();
    for i in 0..200u64 {
        let c = fork(&mut vm, &mut p, i);
        assert_eq!(vm.perform(&mut p), Event::Parked);
        children.push(c);
    }
    for c in &mut children {
        c.thread.resume();
    }
    for c in &mut children {
        assert_eq!(call(vm.event(c)).1[0], 0);
    }
}

fn a_thousand_in_a_row() {
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    call(vm.event(&mut p));
    for i in 0..1000u64 {
        let mut c = fork(&mut vm, &mut p, i);
        c.thread.resume();
        assert_eq!(vm.perform(&mut p), Event::Parked);
        assert_eq!(call(vm.event(&mut c)).1[0], 0);
        c.thread.actions().exit_process();
        c.thread.resume();
        let space = c.space.clone();
        drop(c);
        until("the child's death", || {
            vm.platform.reap(&mut vm.tokens);
            space.is_dead()
        });
    }
    assert_eq!(vm.tokens, []);
    assert_eq!(vm.platform.counters().violations, 0);
}

fn dead_child_is_reported() {
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    call(vm.event(&mut p));
    let mut c = fork(&mut vm, &mut p, 5);
    assert_eq!(call(vm.go(&mut p)).0, 1000);
    c.space.kill();
    assert_eq!(
        vm.go(&mut c),
        Event::Dead {
            status: libc::SIGKILL
        }
    );
    assert!(c.space.is_dead());
    assert_eq!(
        vm.go(&mut c),
        Event::Dead {
            status: libc::SIGKILL
        },
        "and again"
    );
    assert_eq!(call(vm.go(&mut p)).0, 1001);
}

fn killed_before_hello() {
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    call(vm.event(&mut p));
    for resumed in [false, true] {
        for _ in 0..100 {
            let mut c = fork(&mut vm, &mut p, 5);
            if resumed {
                c.thread.resume();
            }
            c.space.kill();
            assert_eq!(vm.perform(&mut p), Event::Parked);
            if !resumed {
                c.thread.resume();
            }
            assert_eq!(
                vm.event(&mut c),
                Event::Dead {
                    status: libc::SIGKILL
                }
            );
        }
    }
    assert_eq!(vm.platform.counters().violations, 0);
}

fn dropped_before_hello() {
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    call(vm.event(&mut p));
    for late in [false, true] {
        for _ in 0..100 {
            let mut c = Some(fork(&mut vm, &mut p, 5));
            if !late {
                c = None;
            }
            assert_eq!(vm.perform(&mut p), Event::Parked);
            drop(c);
        }
    }
    until("all deaths", || {
        vm.platform.reap(&mut vm.tokens);
        vm.platform.counters().deaths >= 200
    });
    assert_eq!(vm.platform.counters().violations, 0);
}

/// A child whose parent's stub never gets to the fork.
fn killed_and_never_made() {
    let mut vm = Vm::new();
    let mut p = vm.start(forks());
    call(vm.event(&mut p));
    let mut c = fork(&mut vm, &mut p, 77);
    c.thread.resume();
    c.space.abandon(); // not before it was killed
    assert!(!c.space.is_dead());
    c.space.kill();
    assert!(!c.space.is_dead());
    c.space.abandon();
    assert!(c.space.is_dead());
    assert!(matches!(vm.event(&mut c), Event::Dead { .. }));
    // And if it comes after all, it ends at once.
    let deaths = vm.platform.counters().violations;
    assert_eq!(call(vm.go(&mut p)).0, 1000);
    until("its end", || {
        vm.platform.reap(&mut vm.tokens);
        vm.platform.counters().violations > deaths
    });
}
