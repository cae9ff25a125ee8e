//! Calls that race with each other over the same object.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

/// Runs the functions in a thread each until the last one returns.
fn together<const N: usize>(work: [Box<dyn FnOnce(Arc<AtomicBool>) + Send>; N]) {
    let stop = Arc::new(AtomicBool::new(false));
    let start = Arc::new(std::sync::Barrier::new(N));
    let threads: Vec<_> = work
        .into_iter()
        .map(|f| {
            let (stop, start) = (stop.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                f(stop);
            })
        })
        .collect();
    let mut threads = threads.into_iter().rev();
    if let Some(last) = threads.next() {
        let _ = last.join();
    }
    stop.store(true, SeqCst);
    for t in threads {
        let _ = t.join();
    }
}

fn close_while_other_thread_reads() {
    for _ in 0..50 {
        let (r, w) = must!(pipe());
        let t = std::thread::spawn(move || read_vec(r, 1));
        std::thread::yield_now();
        must!(close(r));
        // The read keeps its file until it is done.
        let _ = send_pipe(w);
        let result = t.join().unwrap_or(Err(0));
        check!(matches!(result, Ok(_) | Err(EBADF)), "{result:?}");
        let _ = close(w);
    }
}
fn send_pipe(w: i32) -> Sys<usize> {
    disposition(SIGPIPE, SIG_IGN);
    write(w, b"x")
}

fn descriptor_table_races() {
    let null = must!(open(c"/dev/null", O_RDWR, 0));
    together([
        Box::new(move |stop| {
            while !stop.load(SeqCst) {
                let _ = dup2(null, 60);
            }
        }),
        Box::new(move |stop| {
            while !stop.load(SeqCst) {
                let _ = close(60);
            }
        }),
        Box::new(move |_| {
            for _ in 0..3000 {
                let result = fcntl(60, F_GETFD, 0);
                check!(matches!(result, Ok(0) | Err(EBADF)), "{result:?}");
                let result = write(60, b"x");
                check!(matches!(result, Ok(1) | Err(EBADF)), "{result:?}");
            }
        }),
    ]);
}

fn iovec_changed_under_the_call() {
    // The kernel copies the vector once: each result is one of the two
    // lengths, never a mixture, and never a crash.
    let (r, w) = must!(pipe2(O_NONBLOCK));
    let memory = anon(2) as usize;
    let vector = shared(1).cast::<iovec>() as usize;
    poke(vector as *mut iovec, iov_at(memory, 10));
    together([
        Box::new(move |stop| {
            let p = vector as *mut iovec;
            while !stop.load(SeqCst) {
                poke(p, iov_at(memory, 10));
                poke(p, iov_at(memory, 20));
                poke(p, iov_at(BAD, usize::MAX));
                poke(p, iov_at(memory, 10));
            }
        }),
        Box::new(move |_| {
            for _ in 0..3000 {
                let result = sys!(SYS_writev, w, vector, 1);
                check!(
                    matches!(result, Ok(0..=20) | Err(EFAULT | EINVAL | EAGAIN)),
                    "{result:?}"
                );
                let _ = read_vec(r, 4096);
            }
        }),
    ]);
}

fn path_changed_under_the_call() {
    tmp();
    must!(write_file(c"aaaa", b""));
    must!(write_file(c"bbbb", b""));
    let path = shared(1) as usize;
    put_bytes(path as *mut u8, b"aaaa\0");
    together([
        Box::new(move |stop| {
            let p = path as *mut u8;
            while !stop.load(SeqCst) {
                put_bytes(p, b"bbbb");
                put_bytes(p, b"aaaa");
            }
        }),
        Box::new(move |_| {
            let st = anon(1);
            for _ in 0..3000 {
                let result = sys!(SYS_stat, path, st);
                check!(matches!(result, Ok(0) | Err(ENOENT)), "{result:?}");
            }
        }),
    ]);
}

fn buffer_unmapped_under_the_call() {
    let (r, w) = must!(pipe2(O_NONBLOCK));
    let p = anon(1) as usize;
    together([
        Box::new(move |stop| {
            let fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
            while !stop.load(SeqCst) {
                let _ = munmap(p as *mut u8, PAGE);
                let _ = mmap(p, PAGE, PROT_READ | PROT_WRITE, fixed, -1, 0);
            }
        }),
        Box::new(move |_| {
            for _ in 0..3000 {
                let result = sys!(SYS_write, w, p, 100);
                check!(
                    matches!(result, Ok(1..=100) | Err(EFAULT | EAGAIN)),
                    "{result:?}"
                );
                let result = sys!(SYS_read, r, p, 100);
                check!(
                    matches!(result, Ok(0..=100) | Err(EFAULT | EAGAIN)),
                    "{result:?}"
                );
            }
        }),
    ]);
}

fn signals_meet_a_thread_that_comes_out_of_a_call() {
    // It spins without a call once it is back: a signal that isn't noticed on
    // the way out would never be.
    record_on(SIGUSR1);
    let words = shared(1).cast::<AtomicU32>();
    let (ready, got) = unsafe { (&*words, &*words.wrapping_add(16)) };
    let pid = child(|| {
        for round in 1.. {
            ready.store(round, SeqCst);
            let _ = getppid();
            while seen() < round {
                std::hint::spin_loop();
            }
            got.store(round, SeqCst);
        }
        0
    });
    let wait_for = |word: &AtomicU32, round| {
        let end = now_ms() + 5000;
        while word.load(SeqCst) < round {
            std::thread::yield_now();
            check!(now_ms() < end, "round {round}");
        }
    };
    // Where both share a CPU, a round costs slices of the scheduler's.
    let over = now_ms() + 6000;
    for round in 1..=2000 {
        if now_ms() > over {
            break;
        }
        wait_for(ready, round);
        for _ in 0..round % 97 * 3 {
            std::hint::spin_loop();
        }
        must!(kill(pid, SIGUSR1));
        wait_for(got, round);
    }
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn rename_against_lookup_never_misses() {
    tmp();
    must!(write_file(c"target", b"old"));
    together([
        Box::new(|stop| {
            while !stop.load(SeqCst) {
                must!(write_file(c"new", b"new"));
                must!(rename(c"new", c"target"));
            }
        }),
        Box::new(|_| {
            for _ in 0..1500 {
                let data = read_file(c"target");
                check!(
                    data == Ok(b"old".to_vec()) || data == Ok(b"new".to_vec()),
                    "{data:?}"
                );
            }
        }),
    ]);
}

fn create_exclusive_has_one_winner() {
    tmp();
    for round in 0..60 {
        let name = cpath(&format!("f{round}"));
        let winners = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (name, winners) = (name.clone(), winners.clone());
                std::thread::spawn(
                    move || match open(&name, O_CREAT | O_EXCL | O_RDWR, 0o644) {
                        Ok(fd) => {
                            winners.fetch_add(1, SeqCst);
                            let _ = close(fd);
                        }
                        Err(e) => check_eq!(e, EEXIST),
                    },
                )
            })
            .collect();
        for t in threads {
            let _ = t.join();
        }
        check_eq!(winners.load(SeqCst), 1);
    }
}

fn mkdir_rmdir_and_listing() {
    tmp();
    must!(mkdir(c"d", 0o755));
    together([
        Box::new(|stop| {
            while !stop.load(SeqCst) {
                let _ = mkdir(c"d/x", 0o755);
                let _ = rmdir(c"d/x");
            }
        }),
        Box::new(|stop| {
            while !stop.load(SeqCst) {
                let _ = write_file(c"d/y", b"1");
                let _ = unlink(c"d/y");
            }
        }),
        Box::new(|_| {
            let mut buf = [0u8; 2048];
            for _ in 0..800 {
                let fd = must!(open(c"d", O_RDONLY | O_DIRECTORY, 0));
                while must!(sys!(SYS_getdents64, fd, &mut buf, 2048)) > 0 {}
                let _ = close(fd);
            }
        }),
    ]);
}

fn crossed_renames_do_not_deadlock() {
    tmp();
    must!(mkdir(c"a", 0o755));
    must!(mkdir(c"b", 0o755));
    must!(write_file(c"a/f", b""));
    must!(write_file(c"b/g", b""));
    together([
        Box::new(|stop| {
            while !stop.load(SeqCst) {
                let _ = rename(c"a/f", c"b/f");
                let _ = rename(c"b/f", c"a/f");
            }
        }),
        Box::new(|_| {
            for _ in 0..1000 {
                let _ = rename(c"b/g", c"a/g");
                let _ = rename(c"a/g", c"b/g");
            }
        }),
    ]);
    check!(exists(c"a/f") || exists(c"b/f"));
    check!(exists(c"b/g"));
}

fn directory_moves_against_path_walks() {
    tmp();
    must!(mkdir(c"p", 0o755));
    must!(mkdir(c"p/d", 0o755));
    must!(mkdir(c"q", 0o755));
    must!(write_file(c"p/d/f", b"x"));
    together([
        Box::new(|stop| {
            while !stop.load(SeqCst) {
                let _ = rename(c"p/d", c"q/d");
                let _ = rename(c"q/d", c"p/d");
            }
        }),
        Box::new(|_| {
            for _ in 0..1500 {
                for path in [c"p/d/f", c"q/d/../d/f", c"p/d/../../q/d/f"] {
                    let result = stat(path).map(|_| ());
                    check!(matches!(result, Ok(()) | Err(ENOENT)), "{result:?}");
                }
            }
        }),
    ]);
}

fn appenders_in_threads_lose_nothing() {
    tmp();
    let threads: Vec<_> = (0..4u8)
        .map(|i| {
            std::thread::spawn(move || {
                let fd = must!(open(c"log", O_CREAT | O_WRONLY | O_APPEND, 0o644));
                for _ in 0..200 {
                    check_eq!(write(fd, &[b'a' + i; 32]), Ok(32));
                }
            })
        })
        .collect();
    for t in threads {
        let _ = t.join();
    }
    let all = must!(read_file(c"log"));
    check_eq!(all.len(), 4 * 200 * 32);
    check!(all.chunks(32).all(|c| c.iter().all(|b| *b == c[0])));
}

fn shared_offset_writers_lose_nothing() {
    tmp();
    let fd = must!(open(c"log", O_CREAT | O_WRONLY, 0o644));
    let pids: Vec<i32> = (0..4u8)
        .map(|i| {
            child(move || {
                for _ in 0..100 {
                    check_eq!(write(fd, &[b'a' + i; 32]), Ok(32));
                }
                0
            })
        })
        .collect();
    pids.into_iter().for_each(wait_ok);
    let all = must!(read_file(c"log"));
    check_eq!(all.len(), 4 * 100 * 32);
    check!(all.chunks(32).all(|c| c.iter().all(|b| *b == c[0])));
}

fn epoll_with_many_threads_delivers_all() {
    let ep = must!(sys!(SYS_epoll_create1, 0)) as i32;
    let (r, w) = must!(pipe2(O_NONBLOCK));
    let ev = epoll_event {
        events: (EPOLLIN | EPOLLONESHOT) as u32,
        u64: 0,
    };
    must!(sys!(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, r, &ev));
    let got = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let got = got.clone();
            std::thread::spawn(move || {
                while got.load(SeqCst) < 300 {
                    let mut out: epoll_event = zeroed();
                    if sys!(SYS_epoll_wait, ep, &mut out, 1, 20) != Ok(1) {
                        continue;
                    }
                    if read_vec(r, 1).is_ok_and(|v| v.len() == 1) {
                        got.fetch_add(1, SeqCst);
                    }
                    let ev = epoll_event {
                        events: (EPOLLIN | EPOLLONESHOT) as u32,
                        u64: 0,
                    };
                    let _ = sys!(SYS_epoll_ctl, ep, EPOLL_CTL_MOD, r, &ev);
                }
            })
        })
        .collect();
    for _ in 0..300 {
        must!(write(w, b"x"));
        if got.load(SeqCst).is_multiple_of(7) {
            std::thread::yield_now();
        }
    }
    for t in threads {
        let _ = t.join();
    }
    check_eq!(got.load(SeqCst), 300);
}

fn edge_triggered_wakeups_are_never_lost() {
    let ep = must!(sys!(SYS_epoll_create1, 0)) as i32;
    let fd = must!(sys!(SYS_eventfd2, 0, EFD_NONBLOCK)) as i32;
    let ev = epoll_event {
        events: (EPOLLIN | EPOLLET) as u32,
        u64: 0,
    };
    must!(sys!(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, fd, &ev));
    let writer = std::thread::spawn(move || {
        for _ in 0..2000 {
            must!(write(fd, &1u64.to_ne_bytes()));
        }
    });
    let mut sum = 0u64;
    while sum < 2000 {
        let mut out: epoll_event = zeroed();
        let n = must!(sys!(SYS_epoll_wait, ep, &mut out, 1, 5000));
        check!(n == 1, "lost a wake-up at {sum}");
        let mut buf = [0u8; 8];
        while read(fd, &mut buf) == Ok(8) {
            sum += u64::from_ne_bytes(buf);
        }
    }
    let _ = writer.join();
    check_eq!(sum, 2000);
}

fn pipe_ping_pong_between_processes() {
    let (r1, w1) = must!(pipe());
    let (r2, w2) = must!(pipe());
    let pid = child(|| {
        for i in 0..2000u32 {
            let mut buf = [0u8; 4];
            check_eq!(read(r1, &mut buf), Ok(4));
            check_eq!(u32::from_ne_bytes(buf), i);
            check_eq!(write(w2, &buf), Ok(4));
        }
        0
    });
    for i in 0..2000u32 {
        must!(write(w1, &i.to_ne_bytes()));
        let mut buf = [0u8; 4];
        check_eq!(read(r2, &mut buf), Ok(4));
        check_eq!(u32::from_ne_bytes(buf), i);
    }
    wait_ok(pid);
}

fn futex_ping_pong_between_processes() {
    let words = shared(1).cast::<AtomicU32>() as usize;
    let word = move |i: usize| unsafe { &*(words as *const AtomicU32).add(i * 16) };
    let wait_for = move |i: usize, value: u32| {
        loop {
            let now = word(i).load(SeqCst);
            if now == value {
                break;
            }
            let result = futex_wait(word(i).as_ptr(), now, Some(5000));
            check!(
                result != Err(ETIMEDOUT) || word(i).load(SeqCst) == value,
                "lost a wake-up"
            );
        }
    };
    let pid = child(|| {
        for i in 1..=2000 {
            wait_for(0, i);
            word(1).store(i, SeqCst);
            let _ = futex_wake(word(1).as_ptr(), 1);
        }
        0
    });
    for i in 1..=2000 {
        word(0).store(i, SeqCst);
        let _ = futex_wake(word(0).as_ptr(), 1);
        wait_for(1, i);
    }
    wait_ok(pid);
}

fn unix_socket_ping_pong_with_descriptors_open_and_close() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_SEQPACKET));
    let pid = child(|| {
        let _ = close(a);
        while let Ok(data) = recv(b, 100, 0) {
            if data.is_empty() {
                break;
            }
            must!(send(b, &data, 0));
        }
        0
    });
    must!(close(b));
    for i in 0..1500u32 {
        must!(send(a, &i.to_ne_bytes(), 0));
        check_eq!(recv(a, 100, 0), Ok(i.to_ne_bytes().to_vec()));
    }
    must!(close(a));
    wait_ok(pid);
}

fn page_faults_race_with_protection() {
    let p = anon(16) as usize;
    static FAULTS: AtomicU32 = AtomicU32::new(0);
    extern "C" fn open_page(_: i32, info: *mut siginfo_t, _: *mut c_void) {
        let page = unsafe { (*info).si_addr() } as usize & !(PAGE - 1);
        FAULTS.fetch_add(1, SeqCst);
        let _ = mprotect(page as *mut u8, PAGE, PROT_READ | PROT_WRITE);
    }
    handle(SIGSEGV, open_page, SA_NODEFER);
    together([
        Box::new(move |stop| {
            while !stop.load(SeqCst) {
                let _ = mprotect(p as *mut u8, 16 * PAGE, PROT_READ);
            }
        }),
        Box::new(move |_| {
            let mut i = 0usize;
            while i < 20_000 || FAULTS.load(SeqCst) < 10 {
                poke((p as *mut u8).wrapping_add(i % 16 * PAGE), i as u8);
                i += 1;
            }
        }),
    ]);
}

fn growing_file_seen_by_mapping_of_other_process() {
    tmp();
    must!(write_file(c"f", b""));
    let fd = must!(open(c"f", O_RDWR, 0));
    let (go, done) = (Gate::new(), Gate::new());
    let pid = child(|| {
        let fd = must!(open(c"f", O_RDWR, 0));
        let rw = PROT_READ | PROT_WRITE;
        let p = must!(mmap(0, 32 * PAGE, rw, MAP_SHARED, fd, 0));
        for i in 0..32usize {
            go.wait();
            check_eq!(peek(p.wrapping_add(i * PAGE)), i as u8 + 1);
            poke(p.wrapping_add(i * PAGE + 1), 0xaau8);
            done.open();
        }
        0
    });
    for i in 0..32i64 {
        must!(pwrite(fd, &[i as u8 + 1], i * PAGE as i64));
        must!(ftruncate(fd, (i + 1) * PAGE as i64));
        go.open();
        done.wait();
        let mut byte = [0u8];
        check_eq!(pread(fd, &mut byte, i * PAGE as i64 + 1), Ok(1));
        check_eq!(byte[0], 0xaa);
    }
    wait_ok(pid);
}

fn timer_storm() {
    static HITS: AtomicU32 = AtomicU32::new(0);
    extern "C" fn hit(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        HITS.fetch_add(1, SeqCst);
    }
    handle(SIGRTMIN() + 3, hit, SA_RESTART);
    let mut ids = Vec::new();
    for _ in 0..50 {
        let event = [0u64, (SIGRTMIN() + 3) as u64, 0, 0, 0, 0, 0, 0];
        let mut id = 0i32;
        must!(sys!(SYS_timer_create, CLOCK_MONOTONIC, &event, &mut id));
        let spec = itimerspec {
            it_interval: timespec_ms(1),
            it_value: timespec_ms(1),
        };
        must!(sys!(SYS_timer_settime, id, 0, &spec, 0));
        ids.push(id);
    }
    wait_until("many expiries", || HITS.load(SeqCst) > 500);
    for id in ids {
        must!(sys!(SYS_timer_delete, id));
    }
    sleep_ms(5);
    let after = HITS.load(SeqCst);
    sleep_ms(10);
    check!(HITS.load(SeqCst) <= after + 50);
}

fn loopback_server_with_many_clients() {
    let l = must!(socket(AF_INET, SOCK_STREAM, 0));
    let mut address = [0u8; 16];
    address[0] = AF_INET as u8;
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    must!(sys!(SYS_bind, l, &address, 16));
    must!(listen(l, 64));
    let mut len = 16u32;
    must!(sys!(SYS_getsockname, l, &mut address, &mut len));
    let clients: Vec<i32> = (0..20u8)
        .map(|i| {
            child(move || {
                for round in 0..10u8 {
                    let c = must!(socket(AF_INET, SOCK_STREAM, 0));
                    must!(sys!(SYS_connect, c, &address, 16));
                    must!(write(c, &[i, round]));
                    check_eq!(read_vec(c, 10), Ok(vec![i, round, 1]));
                    let _ = close(c);
                }
                0
            })
        })
        .collect();
    for _ in 0..200 {
        let s = must!(accept(l));
        let mut data = must!(read_vec(s, 10));
        data.push(1);
        must!(write(s, &data));
        let _ = close(s);
    }
    clients.into_iter().for_each(wait_ok);
}

cases![
    close_while_other_thread_reads,
    descriptor_table_races,
    iovec_changed_under_the_call,
    path_changed_under_the_call,
    buffer_unmapped_under_the_call,
    signals_meet_a_thread_that_comes_out_of_a_call,
    rename_against_lookup_never_misses,
    create_exclusive_has_one_winner,
    mkdir_rmdir_and_listing,
    crossed_renames_do_not_deadlock,
    directory_moves_against_path_walks,
    appenders_in_threads_lose_nothing,
    shared_offset_writers_lose_nothing,
    epoll_with_many_threads_delivers_all,
    edge_triggered_wakeups_are_never_lost,
    pipe_ping_pong_between_processes,
    futex_ping_pong_between_processes,
    unix_socket_ping_pong_with_descriptors_open_and_close,
    page_faults_race_with_protection,
    growing_file_seen_by_mapping_of_other_process,
    timer_storm,
    loopback_server_with_many_clients,
];
