//! What the platform's operations cost, beside the host's own where there is
//! a counterpart: `cargo run --release -p systrap --example costs [NAME…]`.
//! Times are minimum and median over batches; compare within one run only.
#![expect(unsafe_code, reason = "machine code as test programs")]

#[path = "../tests/platform/support/mod.rs"]
mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::*;
use systrap::{Event, Options};

/// Runs `f` in batches and prints microseconds per turn.
fn batches(what: &str, turns: u32, mut f: impl FnMut()) {
    let mut all: Vec<f64> = (0..20)
        .map(|_| {
            let start = Instant::now();
            (0..turns).for_each(|_| f());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(turns)
        })
        .collect();
    all.sort_by(f64::total_cmp);
    println!("{what:40} {:9.2} {:9.2}", all[0], all[10]);
}

fn show(vm: &Vm) {
    if std::env::var_os("COUNTERS").is_some() {
        println!("    {:?}", vm.platform.counters());
    }
}

crate::code!(null, "2:", "mov eax, 500", "syscall", "jmp 2b");

/// Answers calls of these processes on all workers, and prints the time per
/// call and process.
fn calls(what: &str, vm: &Vm, procs: Vec<Proc>, batch: u64) {
    answer(what, vm, procs, batch, |p, _| p.thread.set_return(0));
}

/// The same with an answer of one's own; it is given the call's count.
fn answer(what: &str, vm: &Vm, procs: Vec<Proc>, batch: u64, f: impl Fn(&mut Proc, u64) + Sync) {
    let n = procs.len() as u64;
    let state = Mutex::new((0u64, Instant::now(), Vec::new()));
    let cpu = cpu_time();
    let start = Instant::now();
    drive(vm, procs, |p, e| {
        call(e);
        let count = state.lock().expect("lock").0;
        f(p, count);
        p.thread.resume();
        let mut s = state.lock().expect("lock");
        s.0 += 1;
        if s.0.is_multiple_of(batch * n) {
            let us = s.1.elapsed().as_secs_f64() * 1e6 / batch as f64;
            s.2.push(us);
            s.1 = Instant::now();
        }
        s.2.len() < 20
    });
    let used = (cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    let mut all = state.into_inner().expect("lock").2;
    all.sort_by(f64::total_cmp);
    println!(
        "{what:40} {:9.2} {:9.2}   Sentry CPU {used:.0} %",
        all[0], all[10]
    );
    show(vm);
}

/// Of this process, without its children.
fn cpu_time() -> Duration {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn null_call() {
    for (what, no_spin) in [("null call", false), ("null call, no spinning", true)] {
        let mut vm = Vm::with(&Options {
            no_spin,
            ..Default::default()
        });
        let p = vm.start(null());
        calls(what, &vm, vec![p], 2000);
    }
    let mut vm = Vm::new();
    let two = vec![vm.start(null()), vm.start(null())];
    calls("null call, each of two processes", &vm, two, 1000);
}

// Computes for about r15 cycles between calls.
crate::code!(
    compute,
    "2:",
    "rdtsc",
    "mov r14, rax",
    "3:",
    "rdtsc",
    "sub rax, r14",
    "cmp eax, r15d",
    "jb 3b",
    "mov eax, 500",
    "syscall",
    "jmp 2b",
);

fn gaps() {
    // SAFETY: every x86-64 CPU has it.
    let tsc = || unsafe { std::arch::x86_64::_rdtsc() };
    let (start, from) = (Instant::now(), tsc());
    std::thread::sleep(Duration::from_millis(20));
    let per_us = (tsc() - from) as f64 / start.elapsed().as_secs_f64() / 1e6;
    for us in [5u32, 20, 50, 100, 500] {
        for no_spin in [false, true] {
            let mut vm = Vm::with(&Options {
                no_spin,
                ..Default::default()
            });
            let mut p = vm.load(compute());
            let mut r = p.thread.regs();
            r.r15 = (f64::from(us) * per_us) as u64;
            p.thread.set_regs(&r);
            p.thread.resume();
            let word = if no_spin { "sleeping" } else { "adaptive" };
            let what = format!("call after {us} us of work, {word}");
            calls(&what, &vm, vec![p], u64::from(20_000 / us.max(20)));
        }
    }
}

crate::code!(
    futexes,
    "mov ebp, 0x800000",
    "2:",
    "mov rdi, rbp",
    "mov edx, [rdi]",
    "cmp edx, ebx",
    "je 4f",
    "mov esi, 128",
    "xor r10d, r10d",
    "mov eax, 202",
    "syscall",
    "jmp 2b",
    "4:",
    "mov [rdi], r12d",
    "mov esi, 129",
    "mov edx, 1",
    "mov eax, 202",
    "syscall",
    "dec r13d",
    "jnz 2b",
    "mov eax, 500",
    "syscall",
    "mov r13d, r14d",
    "jmp 2b",
);

fn native_futex(rounds: u32) {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    let turn = AtomicU32::new(0);
    let side = |mine: u32| {
        for _ in 0..rounds {
            while turn.load(SeqCst) != mine {
                // SAFETY: the word lives.
                unsafe { libc::syscall(libc::SYS_futex, turn.as_ptr(), 128, 1 - mine, 0) };
            }
            turn.store(1 - mine, SeqCst);
            // SAFETY: the word lives.
            unsafe { libc::syscall(libc::SYS_futex, turn.as_ptr(), 129, 1) };
        }
    };
    std::thread::scope(|s| {
        s.spawn(|| side(1));
        side(0);
    });
}

fn futex_ping_pong() {
    const ROUNDS: u32 = 2000;
    let mut all = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        native_futex(ROUNDS);
        all.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    }
    all.sort_by(f64::total_cmp);
    println!(
        "{:40} {:9.2} {:9.2}",
        "futex round trip, native", all[0], all[5]
    );
    let mut vm = Vm::new();
    let mut p = vm.load(futexes());
    let mut other = p.thread.spawn_thread().expect("thread");
    let token = vm.name(&other);
    let mut r = p.thread.regs();
    (r.rbx, r.r12, r.r13, r.r14) = (0, 1, ROUNDS.into(), ROUNDS.into());
    p.thread.set_regs(&r);
    (r.rbx, r.r12) = (1, 0);
    other.set_regs(&r);
    other.resume();
    p.thread.resume();
    let mut all = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        call(vm.event(&mut p));
        vm.wait_token(token);
        call(other.event());
        all.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
        other.resume();
        p.thread.resume();
    }
    all.sort_by(f64::total_cmp);
    println!("{:40} {:9.2} {:9.2}", "futex round trip", all[0], all[5]);
    show(&vm);
}

fn maps() {
    batches("mmap + munmap of 64 KiB, native", 500, || {
        // SAFETY: a mapping of our own.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let p = libc::mmap(std::ptr::null_mut(), 0x1_0000, 3, flags, -1, 0);
            libc::munmap(p, 0x1_0000);
        }
    });
    let mut vm = Vm::new();
    let p = vm.start(null());
    // Twice this per pair.
    answer(
        "mmap or munmap of 64 KiB, each",
        &vm,
        vec![p],
        2000,
        |p, count| {
            if count.is_multiple_of(2) {
                p.thread.actions().mmap_anon(0x1000_0000, 0x1_0000, RW, 0);
            } else {
                p.thread.actions().munmap(0x1000_0000, 0x1_0000);
            }
        },
    );
}

fn threads() {
    batches("thread create + join, native", 50, || {
        std::thread::spawn(|| {}).join().expect("thread");
    });
    let mut vm = Vm::new();
    let mut p = vm.load(null());
    batches("thread create + exit", 50, || {
        let mut t = p.thread.spawn_thread().expect("thread");
        let token = vm.name(&t);
        t.resume();
        assert_eq!(vm.perform(&mut p), Event::Parked);
        vm.wait_token(token);
        call(t.event());
        t.actions().exit_thread();
        t.resume();
    });
    show(&vm);
}

fn forks() {
    let mut vm = Vm::new();
    let mut p = vm.start(null());
    call(vm.event(&mut p));
    batches("fork + exit + reap", 50, || {
        let (space, mut t) = p.thread.fork().expect("fork");
        let token = vm.name(&t);
        t.resume();
        assert_eq!(vm.perform(&mut p), Event::Parked);
        vm.wait_token(token);
        call(t.event());
        t.actions().exit_process();
        t.resume();
        drop(t);
        while !space.is_dead() {
            vm.platform.reap(&mut vm.tokens);
        }
    });
    show(&vm);
    batches("spawn + exit + reap", 50, || {
        let (space, mut t) = vm.platform.spawn().expect("spawn");
        t.actions().exit_process();
        t.resume();
        drop(t);
        while !space.is_dead() {
            vm.platform.reap(&mut vm.tokens);
        }
    });
}

crate::code!(
    writes,
    "2:",
    "mov eax, 1",
    "mov esi, 0x800000",
    "mov edx, ebx",
    "syscall",
    "jmp 2b"
);

/// Where the time of a fork goes.
fn fork_phases() {
    let mut vm = Vm::new();
    let mut p = vm.start(null());
    call(vm.event(&mut p));
    let mut sums = [0.0f64; 6];
    const N: u32 = 1000;
    for _ in 0..N {
        let mut last = Instant::now();
        let mut lap = |i: usize| {
            sums[i] += last.elapsed().as_secs_f64() * 1e6;
            last = Instant::now();
        };
        let (space, mut t) = p.thread.fork().expect("fork");
        lap(0);
        let token = vm.name(&t);
        t.resume();
        assert_eq!(vm.perform(&mut p), Event::Parked);
        lap(1);
        vm.wait_token(token);
        call(t.event());
        lap(2);
        t.actions().exit_process();
        t.resume();
        drop(t);
        lap(3);
        while !space.is_dead() {
            vm.platform.reap(&mut vm.tokens);
        }
        lap(4);
        drop(space);
        lap(5);
    }
    let names = [
        "prepare",
        "parent performs",
        "child's first call",
        "exit asked",
        "reaped",
        "dropped",
    ];
    for (name, sum) in names.iter().zip(sums) {
        println!("  {name:38} {:9.2}", sum / f64::from(N));
    }
}

fn copies() {
    for len in [1u64, 4096, 0xe000] {
        let mut vm = Vm::new();
        let mut p = vm.load(writes());
        let mut r = p.thread.regs();
        r.rbx = len;
        p.thread.set_regs(&r);
        p.thread.resume();
        let mut buf = vec![0; len as usize];
        batches(&format!("write of {len} bytes, window"), 500, || {
            call(vm.event(&mut p));
            assert!(p.thread.window().prefetched(DATA, &mut buf));
            p.thread.resume();
        });
        batches(&format!("read of {len} bytes, window"), 500, || {
            call(vm.event(&mut p));
            assert!(
                p.thread
                    .window()
                    .queue_write(DATA + 0x1000, &buf[..buf.len().min(0x1000)])
            );
            p.thread.resume();
        });
    }
}

fn main() {
    let all: [(&str, fn()); 8] = [
        ("null", null_call),
        ("gaps", gaps),
        ("futex", futex_ping_pong),
        ("mmap", maps),
        ("threads", threads),
        ("forks", forks),
        ("phases", fork_phases),
        ("copies", copies),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    println!("{:40} {:>9} {:>9}", "microseconds", "min", "median");
    for (name, f) in all {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            f();
        }
    }
}
