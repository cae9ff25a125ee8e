//! Signals, forks and threads in quantity. Each case is bounded by counts, not
//! by time, and checks that nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

static HITS: AtomicU32 = AtomicU32::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn hit(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    HITS.fetch_add(1, SeqCst);
}
/// A thread that sends a signal to one thread of ours until `STOP`.
fn pester(tid: i32, signal: i32, pause_us: u64) -> std::thread::JoinHandle<u32> {
    std::thread::spawn(move || {
        let mut sent = 0;
        while !STOP.load(SeqCst) {
            if tgkill(getpid(), tid, signal).is_err() {
                break;
            }
            sent += 1;
            if pause_us > 0 {
                std::thread::sleep(std::time::Duration::from_micros(pause_us));
            }
        }
        sent
    })
}
fn finish(t: std::thread::JoinHandle<u32>) -> u32 {
    STOP.store(true, SeqCst);
    t.join().unwrap_or(0)
}

fn signals_during_null_calls() {
    handle(SIGURG, hit, SA_RESTART);
    let t = pester(gettid(), SIGURG, 50);
    let ppid = getppid();
    let mut calls = 0;
    while calls < 20_000 || HITS.load(SeqCst) < 20 {
        check_eq!(getppid(), ppid);
        calls += 1;
    }
    finish(t);
}

fn signals_during_clock_reads() {
    handle(SIGURG, hit, SA_RESTART);
    let t = pester(gettid(), SIGURG, 20);
    let mut last = std::time::Instant::now();
    let mut calls = 0;
    while calls < 300_000 || HITS.load(SeqCst) < 20 {
        let now = std::time::Instant::now();
        check!(now >= last);
        last = now;
        calls += 1;
    }
    finish(t);
}

fn signals_during_pipe_transfer() {
    handle(SIGURG, hit, SA_RESTART);
    let (r, w) = must!(pipe());
    let writer = std::thread::spawn(move || {
        for i in 0..4000u32 {
            check_eq!(write(w, &i.to_ne_bytes()), Ok(4));
        }
        let _ = close(w);
    });
    let t = pester(gettid(), SIGURG, 30);
    let mut next = 0u32;
    let mut rest = Vec::new();
    loop {
        let part = must!(read_vec(r, 64));
        if part.is_empty() {
            break;
        }
        rest.extend(part);
        while rest.len() >= 4 {
            let word: Vec<u8> = rest.drain(..4).collect();
            check_eq!(
                u32::from_ne_bytes(word.try_into().unwrap_or_default()),
                next
            );
            next += 1;
        }
    }
    check_eq!(next, 4000);
    finish(t);
    let _ = writer.join();
}

fn signals_during_file_io_keep_data() {
    tmp();
    handle(SIGURG, hit, SA_RESTART);
    let fd = must!(open(c"f", O_CREAT | O_RDWR, 0o644));
    let t = pester(gettid(), SIGURG, 30);
    for i in 0..500u32 {
        let data = [i as u8; 777];
        check_eq!(pwrite(fd, &data, i64::from(i) * 777), Ok(777));
        let mut back = [0u8; 777];
        check_eq!(pread(fd, &mut back, i64::from(i) * 777), Ok(777));
        check!(back == data);
    }
    finish(t);
}

fn signals_during_memory_calls() {
    handle(SIGURG, hit, SA_RESTART);
    let t = pester(gettid(), SIGURG, 30);
    for i in 0..1500u32 {
        let p = anon(8);
        poke(p.wrapping_add(5 * PAGE), i as u8);
        must!(mprotect(p, 4 * PAGE, PROT_READ));
        check_eq!(peek(p.wrapping_add(5 * PAGE)), i as u8);
        must!(munmap(p, 8 * PAGE));
    }
    finish(t);
}

fn signals_during_fork() {
    handle(SIGURG, hit, SA_RESTART);
    let t = pester(gettid(), SIGURG, 100);
    for i in 0..150 {
        let pid = child(|| i & 0x3f);
        check_eq!(wait_exit(pid), i & 0x3f);
    }
    finish(t);
}

fn signals_during_exec_of_children() {
    handle(SIGURG, hit, SA_RESTART);
    let t = pester(gettid(), SIGURG, 200);
    for i in 0..20 {
        check_eq!(run_helper(c"exit", &[&cpath(&i.to_string())]), i);
    }
    finish(t);
}

fn signals_during_thread_creation() {
    handle(SIGURG, hit, SA_RESTART);
    let t = pester(gettid(), SIGURG, 100);
    let total = Arc::new(AtomicU32::new(0));
    for _ in 0..150 {
        let total = total.clone();
        let inner = std::thread::spawn(move || total.fetch_add(1, SeqCst));
        let _ = inner.join();
    }
    check_eq!(total.load(SeqCst), 150);
    finish(t);
}

fn signals_during_futex_handover() {
    handle(SIGURG, hit, SA_RESTART);
    let pair = Arc::new((std::sync::Mutex::new(0u32), std::sync::Condvar::new()));
    let other = {
        let pair = pair.clone();
        std::thread::spawn(move || {
            let (lock, cond) = &*pair;
            for i in 0..1500 {
                let Ok(mut turn) = lock.lock() else { return };
                while *turn != 2 * i + 1 {
                    match cond.wait(turn) {
                        Ok(t) => turn = t,
                        Err(_) => return,
                    }
                }
                *turn += 1;
                cond.notify_one();
            }
        })
    };
    let t = pester(gettid(), SIGURG, 50);
    let (lock, cond) = &*pair;
    for i in 0..1500 {
        let Ok(mut turn) = lock.lock() else { break };
        *turn += 1;
        cond.notify_one();
        while *turn != 2 * (i + 1) {
            match cond.wait(turn) {
                Ok(t) => turn = t,
                Err(_) => fail!("poisoned"),
            }
        }
    }
    check_eq!(pair.0.lock().map(|t| *t).unwrap_or(0), 3000);
    finish(t);
    let _ = other.join();
}

fn signals_while_vector_code_runs() {
    handle(SIGURG, hit, SA_RESTART);
    let t = pester(gettid(), SIGURG, 30);
    let mut values = [1.0f64; 64];
    for round in 0..20_000u32 {
        for (i, v) in values.iter_mut().enumerate() {
            *v = std::hint::black_box(*v * 1.000_001 + i as f64 * 1e-9);
        }
        if round % 1000 == 0 {
            check!(values.iter().all(|v| v.is_finite() && *v >= 1.0));
        }
    }
    let mut again = [1.0f64; 64];
    STOP.store(true, SeqCst);
    for _ in 0..20_000u32 {
        for (i, v) in again.iter_mut().enumerate() {
            *v = std::hint::black_box(*v * 1.000_001 + i as f64 * 1e-9);
        }
    }
    finish(t);
    check!(values == again);
}

fn profiling_timer_over_mixed_work() {
    tmp();
    handle(SIGPROF, hit, SA_RESTART);
    must!(sys!(SYS_setitimer, ITIMER_PROF, &[0i64, 1000, 0, 1000], 0));
    for i in 0..300u32 {
        must!(write_file(c"f", &i.to_ne_bytes()));
        check_eq!(read_file(c"f"), Ok(i.to_ne_bytes().to_vec()));
        let p = anon(4);
        poke(p, 1u8);
        must!(munmap(p, 4 * PAGE));
        std::hint::black_box((0..20_000).sum::<u64>());
    }
    must!(sys!(SYS_setitimer, ITIMER_PROF, &[0i64; 4], 0));
}

fn real_time_signals_from_many_threads_all_arrive() {
    static SUM: AtomicU64 = AtomicU64::new(0);
    extern "C" fn add(_: i32, info: *mut siginfo_t, _: *mut c_void) {
        SUM.fetch_add(unsafe { (*info).si_value().sival_ptr as u64 }, SeqCst);
        HITS.fetch_add(1, SeqCst);
    }
    handle(SIGRTMIN() + 1, add, SA_RESTART);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                for value in 1..=100usize {
                    while sigqueue(getpid(), SIGRTMIN() + 1, value) == Err(EAGAIN) {
                        sleep_ms(1);
                    }
                }
            })
        })
        .collect();
    for t in threads {
        let _ = t.join();
    }
    wait_until("all signals", || HITS.load(SeqCst) == 400);
    check_eq!(SUM.load(SeqCst), 4 * 5050);
}

fn child_storm_with_sigchld() {
    handle(SIGCHLD, hit, SA_RESTART);
    let mut running = 0;
    let mut ended = 0;
    for i in 0..200 {
        child(|| i & 0x7f);
        running += 1;
        while let Ok((pid, _)) = wait4(-1, WNOHANG)
            && pid > 0
        {
            ended += 1;
            running -= 1;
        }
    }
    while running > 0 {
        must!(wait4(-1, 0));
        ended += 1;
        running -= 1;
    }
    check_eq!(ended, 200);
    check!(HITS.load(SeqCst) > 0);
    expect_errno!(wait4(-1, WNOHANG), ECHILD);
}

fn fork_tree() {
    fn grow(depth: u32) -> i32 {
        if depth == 0 {
            return 1;
        }
        let pids = [child(|| grow(depth - 1)), child(|| grow(depth - 1))];
        pids.into_iter().map(wait_exit).sum::<i32>()
    }
    // 63 processes, 32 leaves.
    check_eq!(grow(5), 32);
}

fn forks_from_several_threads() {
    let threads: Vec<_> = (0..4)
        .map(|i| {
            std::thread::spawn(move || {
                for n in 0..40 {
                    let pid = orphan(|| i * 40 + n);
                    check_eq!(wait_exit(pid), i * 40 + n);
                }
            })
        })
        .collect();
    for t in threads {
        let _ = t.join();
    }
}

fn fork_while_other_threads_map_memory() {
    let threads: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(|| {
                while !STOP.load(SeqCst) {
                    let p = anon(16);
                    poke(p.wrapping_add(7 * PAGE), 1u8);
                    let _ = munmap(p, 16 * PAGE);
                }
            })
        })
        .collect();
    let marker = anon(1);
    poke(marker, 99u8);
    for _ in 0..60 {
        wait_ok(orphan(|| {
            let p = anon(4);
            poke(p, 1u8);
            i32::from(peek(marker) != 99u8)
        }));
    }
    STOP.store(true, SeqCst);
    for t in threads {
        let _ = t.join();
    }
}

fn exit_group_while_threads_are_in_every_state() {
    for _ in 0..20 {
        let pid = child(|| {
            let (r, _w) = must!(pipe());
            std::thread::spawn(move || read_vec(r, 1));
            std::thread::spawn(|| sleep_ms(60_000));
            std::thread::spawn(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
            std::thread::spawn(|| {
                loop {
                    let _ = getppid();
                }
            });
            std::thread::spawn(|| {
                let word = 0u32;
                let _ = futex_wait(&word, 0, None);
            });
            sleep_ms(3);
            33
        });
        check_eq!(wait_exit(pid), 33);
    }
}

fn kill_while_threads_are_in_every_state() {
    for _ in 0..20 {
        let ready = Gate::new();
        let pid = child(|| {
            std::thread::spawn(|| {
                loop {
                    let p = anon(2);
                    poke(p, 1u8);
                    let _ = munmap(p, 2 * PAGE);
                }
            });
            std::thread::spawn(|| {
                loop {
                    let t = std::thread::spawn(|| ());
                    let _ = t.join();
                }
            });
            ready.open();
            loop {
                let _ = sys!(SYS_sched_yield);
            }
        });
        ready.wait();
        ready.close();
        sleep_ms(2);
        must!(kill(pid, SIGKILL));
        wait_killed(pid, SIGKILL);
    }
}

fn exec_while_threads_are_busy() {
    for _ in 0..15 {
        let pid = child(|| {
            for _ in 0..3 {
                std::thread::spawn(|| {
                    loop {
                        let p = anon(2);
                        poke(p, 1u8);
                        let _ = munmap(p, 2 * PAGE);
                    }
                });
            }
            sleep_ms(2);
            let _ = exec_helper(c"exit", &[c"44"]);
            1
        });
        check_eq!(wait_exit(pid), 44);
    }
}

fn stop_and_continue_storm() {
    let counter = shared(1).cast::<u64>();
    let pid = child(|| {
        for _ in 0..2 {
            let c = counter as usize;
            std::thread::spawn(move || {
                let counter = unsafe { &*(c as *const AtomicU64) };
                loop {
                    let _ = getppid();
                    counter.fetch_add(1, SeqCst);
                }
            });
        }
        loop {
            sleep_ms(1);
        }
    });
    for _ in 0..40 {
        must!(kill(pid, SIGSTOP));
        let (_, status) = must!(wait4(pid, WUNTRACED));
        check!(WIFSTOPPED(status));
        must!(kill(pid, SIGCONT));
        let (_, status) = must!(wait4(pid, WCONTINUED));
        check!(WIFCONTINUED(status));
    }
    let before = peek(counter);
    wait_until("progress", || peek(counter) > before + 100);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn vfork_exec_storm() {
    extern "C" fn run(_: *mut c_void) -> i32 {
        let _ = exec_helper(c"exit", &[c"7"]);
        99
    }
    let top = anon(16).wrapping_add(16 * PAGE);
    for _ in 0..30 {
        let flags = CLONE_VFORK | CLONE_VM | SIGCHLD;
        let pid = unsafe { libc::clone(run, top.cast(), flags, std::ptr::null_mut()) };
        check_eq!(wait_exit(pid), 7);
    }
}

fn thread_churn() {
    let total = Arc::new(AtomicU32::new(0));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let total = total.clone();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    let total = total.clone();
                    let t = std::thread::spawn(move || total.fetch_add(1, SeqCst));
                    let _ = t.join();
                }
            })
        })
        .collect();
    for w in workers {
        let _ = w.join();
    }
    check_eq!(total.load(SeqCst), 800);
}

fn five_hundred_threads_at_once() {
    let gate = Arc::new(std::sync::Barrier::new(501));
    let threads: Vec<_> = (0..500)
        .filter_map(|_| {
            let gate = gate.clone();
            let builder = std::thread::Builder::new().stack_size(64 * 1024);
            builder
                .spawn(move || {
                    gate.wait();
                    gettid()
                })
                .ok()
        })
        .collect();
    check_eq!(threads.len(), 500);
    gate.wait();
    let mut tids: Vec<i32> = threads.into_iter().filter_map(|t| t.join().ok()).collect();
    tids.sort_unstable();
    tids.dedup();
    check_eq!(tids.len(), 500);
}

fn hundred_processes_at_once() {
    let gate = Gate::new();
    let pids: Vec<i32> = (0..100)
        .map(|i| {
            child(move || {
                gate.wait();
                i
            })
        })
        .collect();
    for _ in &pids {
        gate.open();
    }
    for (i, pid) in pids.into_iter().enumerate() {
        check_eq!(wait_exit(pid), i as i32);
    }
}

cases![
    signals_during_null_calls,
    signals_during_clock_reads,
    signals_during_pipe_transfer,
    signals_during_file_io_keep_data,
    signals_during_memory_calls,
    signals_during_fork,
    signals_during_exec_of_children,
    signals_during_thread_creation,
    signals_during_futex_handover,
    signals_while_vector_code_runs,
    profiling_timer_over_mixed_work,
    real_time_signals_from_many_threads_all_arrive,
    child_storm_with_sigchld,
    fork_tree,
    forks_from_several_threads,
    fork_while_other_threads_map_memory,
    exit_group_while_threads_are_in_every_state,
    kill_while_threads_are_in_every_state,
    exec_while_threads_are_busy,
    stop_and_continue_storm,
    vfork_exec_storm,
    thread_churn,
    five_hundred_threads_at_once,
    hundred_processes_at_once,
];
