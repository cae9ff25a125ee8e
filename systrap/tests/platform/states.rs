//! Workers, their sleeping and waking, FPU state, death.

use std::time::{Duration, Instant};

use systrap::{Event, Options};

use crate::support::*;
use crate::{code, tests};

tests!(
    many_calls,
    many_calls_on_one_cpu,
    many_calls_without_spinning,
    two_workers,
    idle_workers_sleep,
    wake_gets_a_worker_out,
    no_wake_is_lost,
    timeout_of_wait,
    fpstate_can_be_replaced,
    bad_fpstate_is_refused,
    will_block_lets_the_stub_sleep,
    perform_and_wait_is_answered,
    death_in_user_code_is_reported,
);

code!(calls, "2:", "mov eax, 1000", "syscall", "inc r15", "jmp 2b");

fn run_calls(vm: &mut Vm, n: u64) {
    let mut p = vm.start(calls());
    for i in 0..n {
        assert_eq!(call(vm.event(&mut p)).0, 1000);
        assert_eq!(p.thread.regs().r15, i);
        p.thread.set_return(0);
        p.thread.resume();
    }
}

fn many_calls() {
    run_calls(&mut Vm::new(), 50_000);
}

fn pin(cpu: usize) {
    // SAFETY: `set` is a plain bit set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(
            libc::sched_setaffinity(0, size_of_val(&set), &raw const set),
            0
        );
    }
}

fn many_calls_on_one_cpu() {
    pin(0);
    let mut vm = Vm::new();
    assert_eq!(vm.platform.workers(), 1);
    run_calls(&mut vm, 20_000);
    let c = vm.platform.counters();
    assert_eq!(
        (c.spin_hits, c.spin_misses),
        (0, 0),
        "there is no CPU to spin on"
    );
}

fn many_calls_without_spinning() {
    let mut vm = Vm::with(&Options {
        no_spin: true,
        ..Default::default()
    });
    run_calls(&mut vm, 5_000);
    let c = vm.platform.counters();
    assert_eq!((c.spin_hits, c.spin_misses), (0, 0));
}

/// Two worker threads, four processes: every event is seen exactly once.
fn two_workers() {
    let mut vm = Vm::new();
    let mut all: Vec<Proc> = (0..4).map(|_| vm.load(calls())).collect();
    let procs: Vec<_> = all
        .drain(..)
        .map(|p| (p.token, std::sync::Mutex::new(p)))
        .collect();
    let done = std::sync::atomic::AtomicU64::new(0);
    for (_, p) in &procs {
        p.lock().expect("lock").thread.resume();
    }
    const TOTAL: u64 = 20_000;
    let workers = vm.platform.workers().min(2);
    std::thread::scope(|s| {
        for w in 0..workers {
            let (platform, procs, done) = (&vm.platform, &procs, &done);
            s.spawn(move || {
                platform.enter_worker(w);
                let mut out = Vec::new();
                while done.load(std::sync::atomic::Ordering::SeqCst) < TOTAL {
                    // The other may be gone already, and then nobody rings us.
                    platform.wait_timeout(w, &mut out, Some(Duration::from_millis(50)));
                    for token in out.drain(..) {
                        let (_, p) = procs.iter().find(|p| p.0 == token).expect("known");
                        let mut p = p.lock().expect("lock");
                        assert_eq!(call(p.thread.event()).0, 1000);
                        done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        p.thread.resume();
                    }
                }
            });
        }
    });
    let events: u64 = procs
        .iter()
        .map(|p| p.1.lock().expect("lock").thread.regs().r15)
        .sum();
    assert!(events + 4 >= TOTAL, "{events}");
    assert_eq!(vm.platform.counters().violations, 0);
}

fn cpu_time() -> Duration {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

code!(
    waits,
    "mov eax, 202",
    "mov edi, 0x800000",
    "mov esi, 128",
    "xor edx, edx",
    "xor r10d, r10d",
    "syscall",
    "ud2"
);

fn idle_workers_sleep() {
    let mut vm = Vm::new();
    run_calls(&mut vm, 2000);
    let mut p = vm.start(waits());
    let before = cpu_time();
    vm.platform
        .wait_timeout(0, &mut vm.tokens, Some(Duration::from_millis(500)));
    let used = cpu_time() - before;
    assert!(used < Duration::from_millis(50), "{used:?} of 500 ms");
    p.thread.kicker().kick();
    assert!(matches!(
        vm.event(&mut p),
        Event::FutexInterrupted { .. } | Event::Kick
    ));
}

fn wake_gets_a_worker_out() {
    let vm = Vm::new();
    for i in 0..200u32 {
        std::thread::scope(|s| {
            s.spawn(|| {
                std::thread::sleep(Duration::from_micros((i % 7 * 300).into()));
                vm.platform.wake();
            });
            vm.platform.wait(0, &mut Vec::new());
        });
    }
}

fn no_wake_is_lost() {
    let vm = Vm::new();
    const N: u64 = 20_000;
    let (sent, got) = (
        std::sync::atomic::AtomicU64::new(0),
        std::sync::atomic::AtomicU64::new(0),
    );
    let order = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|s| {
        s.spawn(|| {
            for i in 1..=N {
                sent.store(i, order);
                vm.platform.wake();
                until("a wake", || got.load(order) >= i);
            }
        });
        until("the last wake", || {
            vm.platform.wait(0, &mut Vec::new());
            got.store(sent.load(order), order);
            got.load(order) >= N
        });
    });
}

fn timeout_of_wait() {
    let mut vm = Vm::new();
    let start = Instant::now();
    vm.platform
        .wait_timeout(0, &mut vm.tokens, Some(Duration::from_millis(20)));
    assert!(start.elapsed() >= Duration::from_millis(20));
    vm.platform
        .wait_timeout(0, &mut vm.tokens, Some(Duration::ZERO));
}

code!(
    vectors,
    "movdqu xmm3, [0x800000]",
    "mov eax, 1000",
    "syscall",
    "movdqu [0x800010], xmm3",
    "jmp code_vectors_begin",
);

fn fpstate_can_be_replaced() {
    let mut vm = Vm::new();
    let mut p = vm.load(vectors());
    let mut q = vm.load(vectors());
    p.put(DATA, &[0x11; 16]);
    q.put(DATA, &[0x22; 16]);
    call(vm.go(&mut p));
    call(vm.go(&mut q));
    let fp = p.thread.fpstate();
    assert_eq!(fp[160 + 48..160 + 64], [0x11; 16]);
    q.thread.set_fpstate(&fp).expect("same machine");
    call(vm.go(&mut q));
    assert_eq!(q.u64(DATA + 0x10), 0x1111_1111_1111_1111);
    q.thread.set_fpstate(&[]).expect("initial");
    call(vm.go(&mut q));
    assert_eq!(q.u64(DATA + 0x10), 0);
    call(vm.go(&mut p));
    assert_eq!(p.u64(DATA + 0x10), 0x1111_1111_1111_1111);
}

fn bad_fpstate_is_refused() {
    let mut vm = Vm::new();
    let mut p = vm.load(vectors());
    let fp = p.thread.fpstate();
    for (at, v) in [
        (515, 0x80),
        (520, 1),
        (27, 0xff),
        (464, 0),
        (fp.len() - 1, 0),
    ] {
        let mut bad = fp.clone();
        bad[at] = v;
        assert!(p.thread.set_fpstate(&bad).is_err(), "{at}");
    }
    assert!(p.thread.set_fpstate(&fp[1..]).is_err());
    call(vm.go(&mut p));
}

fn will_block_lets_the_stub_sleep() {
    let mut vm = Vm::new();
    let mut p = vm.start(calls());
    for _ in 0..500 {
        call(vm.event(&mut p));
        p.thread.will_block();
        p.thread.resume();
        call(vm.event(&mut p));
        p.thread.resume();
    }
}

/// Whether its next answer comes before it sleeps or after.
fn perform_and_wait_is_answered() {
    let mut vm = Vm::new();
    let mut p = vm.start(calls());
    for turn in 0..500 {
        call(vm.event(&mut p));
        p.thread.perform_and_wait();
        assert_eq!(vm.event(&mut p), Event::Parked);
        std::thread::sleep(std::time::Duration::from_micros(turn % 3 * 40));
        p.thread.resume();
    }
}

code!(spins, "2:", "jmp 2b");

fn death_in_user_code_is_reported() {
    let mut vm = Vm::new();
    let mut p = vm.start(spins());
    let mut q = vm.start(calls());
    // SAFETY: our own child.
    unsafe { libc::kill(p.space.host_pid().expect("pid"), libc::SIGKILL) };
    assert_eq!(
        vm.event(&mut p),
        Event::Dead {
            status: libc::SIGKILL
        }
    );
    assert_eq!(p.space.read(DATA, &mut [0]), 0);
    assert!(p.thread.spawn_thread().is_ok(), "useless, but orderly");
    call(vm.event(&mut q));
}
