//! SA_RESTART, ERESTARTNOHAND and restart blocks: which calls go on after a
//! handler, and which return EINTR (signal(7)).

use syscall_tests::cases;
use syscall_tests::prelude::*;

/// Runs `call` in a child that gets a signal while it sleeps in it; `then`
/// runs afterwards in the parent, to let a restarted call complete.
fn interrupted(flags: i32, call: impl FnOnce() -> i32, then: impl FnOnce()) {
    let gate = Gate::new();
    let pid = child(|| {
        handle(SIGUSR1, record, flags);
        gate.open();
        let result = call();
        check_eq!(seen(), 1);
        result
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    sleep_ms(20);
    then();
    wait_ok(pid);
}

fn nanosleep_is_eintr_with_remaining_time() {
    for flags in [0, SA_RESTART] {
        interrupted(
            flags,
            || {
                let mut rest: timespec = zeroed();
                expect_errno!(sys!(SYS_nanosleep, &timespec_ms(50_000), &mut rest), EINTR);
                check!(rest.tv_sec >= 40 && rest.tv_sec < 50, "{}", rest.tv_sec);
                0
            },
            || {},
        );
    }
}

fn clock_nanosleep_absolute_is_eintr_without_remaining() {
    interrupted(
        SA_RESTART,
        || {
            let mut rest = timespec_ms(1234);
            let at = timespec_ms(now_ms() + 50_000);
            expect_errno!(
                sys!(
                    SYS_clock_nanosleep,
                    CLOCK_MONOTONIC,
                    TIMER_ABSTIME,
                    &at,
                    &mut rest
                ),
                EINTR
            );
            check_eq!(rest.tv_sec, 1);
            0
        },
        || {},
    );
}

fn nanosleep_with_bad_remaining_pointer_is_efault() {
    interrupted(
        0,
        || {
            expect_errno!(
                sys!(SYS_nanosleep, &timespec_ms(50_000), bad::<u8>()),
                EFAULT
            );
            0
        },
        || {},
    );
}

fn read_without_restart_is_eintr() {
    let (r, _w) = must!(pipe());
    interrupted(
        0,
        || {
            expect_errno!(read_vec(r, 1), EINTR);
            0
        },
        || {},
    );
}

fn read_with_restart_goes_on() {
    let (r, w) = must!(pipe());
    interrupted(
        SA_RESTART,
        || {
            check_eq!(read_vec(r, 1), Ok(b"k".to_vec()));
            0
        },
        || {
            must!(write(w, b"k"));
        },
    );
}

fn socket_recv_with_restart_goes_on() {
    let (a, b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    interrupted(
        SA_RESTART,
        || {
            check_eq!(recv(a, 1, 0), Ok(b"k".to_vec()));
            0
        },
        || {
            must!(write(b, b"k"));
        },
    );
}

fn socket_recv_with_timeout_is_eintr_even_with_restart() {
    let (a, _b) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    must!(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &[50i64, 0]));
    interrupted(
        SA_RESTART,
        || {
            expect_errno!(recv(a, 1, 0), EINTR);
            0
        },
        || {},
    );
}

fn accept_restarts() {
    let fd = must!(socket(AF_UNIX, SOCK_STREAM, 0));
    let address = [AF_UNIX as u16, 0x7800, 0x7273, 0x7374];
    let _ = sys!(SYS_bind, fd, &address, 2);
    must!(listen(fd, 5));
    let name = {
        let mut buf = [0u8; 110];
        let mut len = 110u32;
        must!(sys!(SYS_getsockname, fd, &mut buf, &mut len));
        (buf, len)
    };
    interrupted(
        SA_RESTART,
        || {
            must!(accept(fd));
            0
        },
        || {
            let c = must!(socket(AF_UNIX, SOCK_STREAM, 0));
            must!(sys!(SYS_connect, c, &name.0, name.1));
        },
    );
}

fn futex_wait_restarts() {
    let word = shared(1).cast::<u32>();
    interrupted(
        SA_RESTART,
        || {
            check_eq!(futex_wait(word, 0, None), Ok(0));
            0
        },
        || {
            wait_until("a waiter", || futex_wake(word, 1) == Ok(1));
        },
    );
}

fn futex_wait_without_restart_is_eintr() {
    let word = shared(1).cast::<u32>();
    interrupted(
        0,
        || {
            expect_errno!(futex_wait(word, 0, None), EINTR);
            0
        },
        || {},
    );
}

fn futex_wait_with_timeout_restarts_with_rest() {
    let word = shared(1).cast::<u32>();
    interrupted(
        SA_RESTART,
        || {
            let start = now_ms();
            let result = futex_wait(word, 0, Some(2000));
            // Linux restarts through a restart block, with the original end.
            check!(matches!(result, Err(ETIMEDOUT | EINTR)), "{result:?}");
            if result == Err(ETIMEDOUT) {
                check!(now_ms() - start >= 1999);
            }
            0
        },
        || {},
    );
}

fn wait4_restarts() {
    interrupted(
        SA_RESTART,
        || {
            let pid = child(|| {
                sleep_ms(80);
                3
            });
            check_eq!(must!(wait4(pid, 0)).0, pid);
            0
        },
        || {},
    );
}

fn poll_select_epoll_never_restart() {
    let (r, _w) = must!(pipe());
    interrupted(
        SA_RESTART,
        || {
            let mut p = [pollfd {
                fd: r,
                events: POLLIN,
                revents: 0,
            }];
            expect_errno!(sys!(SYS_poll, &mut p, 1, 50_000), EINTR);
            0
        },
        || {},
    );
    interrupted(
        SA_RESTART,
        || {
            expect_errno!(sys!(SYS_select, 0, 0, 0, 0, &[50i64, 0]), EINTR);
            0
        },
        || {},
    );
    let ep = must!(sys!(SYS_epoll_create1, 0));
    interrupted(
        SA_RESTART,
        || {
            let mut ev: epoll_event = zeroed();
            expect_errno!(sys!(SYS_epoll_wait, ep, &mut ev, 1, 50_000), EINTR);
            0
        },
        || {},
    );
}

fn pause_never_restarts() {
    interrupted(
        SA_RESTART,
        || {
            expect_errno!(sys!(SYS_pause), EINTR);
            0
        },
        || {},
    );
}

fn flock_restarts() {
    tmp();
    must!(write_file(c"f", b""));
    let held = must!(open(c"f", O_RDWR, 0));
    must!(sys!(SYS_flock, held, LOCK_EX));
    interrupted(
        SA_RESTART,
        || {
            let _ = close(held);
            let fd = must!(open(c"f", O_RDWR, 0));
            must!(sys!(SYS_flock, fd, LOCK_EX));
            0
        },
        || {
            must!(sys!(SYS_flock, held, LOCK_UN));
        },
    );
}

fn ignored_signal_does_not_interrupt() {
    let (r, w) = must!(pipe());
    let gate = Gate::new();
    let pid = child(|| {
        disposition(SIGUSR1, SIG_IGN);
        gate.open();
        check_eq!(read_vec(r, 1), Ok(b"k".to_vec()));
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    must!(kill(pid, SIGCHLD));
    must!(kill(pid, SIGWINCH));
    sleep_ms(10);
    must!(write(w, b"k"));
    wait_ok(pid);
}

fn blocked_signal_does_not_interrupt() {
    let (r, w) = must!(pipe());
    let gate = Gate::new();
    let pid = child(|| {
        record_on(SIGUSR1);
        block(&[SIGUSR1]);
        gate.open();
        check_eq!(read_vec(r, 1), Ok(b"k".to_vec()));
        check_eq!(seen(), 0);
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    sleep_ms(10);
    must!(write(w, b"k"));
    wait_ok(pid);
}

fn two_handlers_one_without_restart_is_eintr() {
    // The disposition of the handler that runs first after the call decides.
    let (r, w) = must!(pipe());
    let gate = Gate::new();
    let pid = child(|| {
        handle(SIGUSR1, record, SA_RESTART);
        handle(SIGUSR2, record, 0);
        gate.open();
        expect_errno!(read_vec(r, 1), EINTR);
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGUSR2));
    wait_ok(pid);
    let _ = w;
}

fn sleep_interrupted_twice_still_counts_down() {
    let gate = Gate::new();
    let pid = child(|| {
        record_on(SIGUSR1);
        gate.open();
        let mut rest = timespec_ms(50_000);
        for i in 1..=2 {
            let ask = rest;
            expect_errno!(sys!(SYS_nanosleep, &ask, &mut rest), EINTR);
            check_eq!(seen(), i);
            gate.open();
        }
        check!(rest.tv_sec < 50 && rest.tv_sec > 30);
        0
    });
    gate.wait();
    for _ in 0..2 {
        wait_asleep(pid);
        must!(kill(pid, SIGUSR1));
        gate.wait();
    }
    wait_ok(pid);
}

fn handler_may_make_system_calls() {
    extern "C" fn busy(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        let (r, w) = must!(pipe());
        must!(write(w, b"in handler"));
        check_eq!(read_vec(r, 100), Ok(b"in handler".to_vec()));
        let _ = close(r);
        let _ = close(w);
        record(SIGUSR1, &mut zeroed(), std::ptr::null_mut());
    }
    let (r, w) = must!(pipe());
    let gate = Gate::new();
    let pid = child(|| {
        handle(SIGUSR1, busy, SA_RESTART);
        gate.open();
        check_eq!(read_vec(r, 1), Ok(b"k".to_vec()));
        check_eq!(seen(), 1);
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    sleep_ms(20);
    must!(write(w, b"k"));
    wait_ok(pid);
}

fn event_descriptors_restart() {
    // A handler that makes the descriptor readable: the restarted read finds it so.
    static FD: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);
    extern "C" fn feed(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        let fd = FD.load(std::sync::atomic::Ordering::SeqCst);
        let _ = write(fd, &1u64.to_ne_bytes());
    }
    handle(SIGALRM, feed, SA_RESTART);
    let soon = [0i64, 0, 0, 20_000];
    let fd = must!(sys!(SYS_eventfd2, 0, 0)) as i32;
    FD.store(fd, std::sync::atomic::Ordering::SeqCst);
    must!(sys!(SYS_setitimer, ITIMER_REAL, &soon, 0));
    let mut buf = [0u8; 8];
    check_eq!(read(fd, &mut buf), Ok(8));
    // A timer of its own ends the second wait.
    let timer = must!(sys!(SYS_timerfd_create, CLOCK_MONOTONIC, 0)) as i32;
    must!(sys!(
        SYS_timerfd_settime,
        timer,
        0,
        &[0i64, 0, 0, 60_000_000],
        0
    ));
    must!(sys!(SYS_setitimer, ITIMER_REAL, &soon, 0));
    check_eq!(read(timer, &mut buf), Ok(8));
}

fn fifo_open_restarts() {
    tmp();
    must!(mkfifo(c"f", 0o600));
    handle(SIGALRM, record, SA_RESTART);
    let reader = child(|| {
        must!(open(c"f", O_RDONLY, 0));
        0
    });
    wait_asleep(reader);
    must!(kill(reader, SIGALRM));
    sleep_ms(20);
    let writer = must!(open(c"f", O_WRONLY, 0));
    wait_ok(reader);
    must!(close(writer));
    handle(SIGALRM, record, 0);
    let reader = child(|| {
        expect_errno!(open(c"f", O_RDONLY, 0), EINTR);
        0
    });
    wait_asleep(reader);
    must!(kill(reader, SIGALRM));
    wait_ok(reader);
}

fn stop_and_continue_are_not_noticed() {
    let (r, w) = must!(pipe());
    let stopped = |f: &dyn Fn()| {
        let pid = child(|| {
            f();
            0
        });
        wait_asleep(pid);
        must!(kill(pid, SIGSTOP));
        wait_until("stop", || task_state(pid) == 'T');
        must!(kill(pid, SIGCONT));
        wait_asleep(pid);
        must!(write(w, b"x"));
        wait_ok(pid);
    };
    stopped(&|| check_eq!(read_vec(r, 1), Ok(vec![b'x'])));
    stopped(&|| {
        check_eq!(poll1(r, POLLIN, -1), POLLIN);
        must!(read_vec(r, 1));
    });
    stopped(&|| {
        let mut set = [0u64; 16];
        set[r as usize / 64] = 1 << (r % 64);
        check_eq!(sys!(SYS_select, r + 1, &mut set, 0, 0, 0), Ok(1));
        must!(read_vec(r, 1));
    });
    // A sleep lasts as long as it was to.
    let pid = child(|| {
        let start = now_ms();
        check_eq!(sys!(SYS_nanosleep, &timespec_ms(150), 0), Ok(0));
        check!(now_ms() - start >= 150);
        0
    });
    wait_asleep(pid);
    must!(kill(pid, SIGSTOP));
    wait_until("stop", || task_state(pid) == 'T');
    must!(kill(pid, SIGCONT));
    wait_ok(pid);
}

fn full_pipe_write_restarts() {
    let (r, w) = must!(pipe());
    must!(fcntl(w, F_SETPIPE_SZ, PAGE));
    must!(write(w, &[1; PAGE]));
    handle(SIGALRM, record, SA_RESTART);
    let writer = child(|| {
        check_eq!(write(w, &[2; 10]), Ok(10));
        check_eq!(seen(), 1);
        0
    });
    wait_asleep(writer);
    must!(kill(writer, SIGALRM));
    sleep_ms(10);
    wait_asleep(writer);
    check_eq!(must!(read_vec(r, PAGE)).len(), PAGE);
    wait_ok(writer);
}

fn record_lock_restarts() {
    tmp();
    let fd = must!(open(c"f", O_CREAT | O_RDWR, 0o600));
    // struct flock: type and whence, start, length, pid; of the whole file.
    let lock = |cmd: i32, kind: i32| sys!(SYS_fcntl, fd, cmd, &[kind as u64, 0, 0, 0]);
    must!(lock(F_SETLK, F_WRLCK));
    for (flags, want) in [(SA_RESTART, 0), (0, EINTR)] {
        handle(SIGALRM, record, flags);
        let waiter = child(|| lock(F_SETLKW, F_WRLCK).map_or_else(|e| e, |_| 0));
        wait_asleep(waiter);
        must!(kill(waiter, SIGALRM));
        if want == 0 {
            sleep_ms(10);
            wait_asleep(waiter);
            must!(lock(F_SETLK, F_UNLCK));
            check_eq!(wait_exit(waiter), want);
            must!(lock(F_SETLK, F_WRLCK));
        } else {
            check_eq!(wait_exit(waiter), want);
        }
    }
}

cases![
    nanosleep_is_eintr_with_remaining_time,
    clock_nanosleep_absolute_is_eintr_without_remaining,
    nanosleep_with_bad_remaining_pointer_is_efault,
    read_without_restart_is_eintr,
    read_with_restart_goes_on,
    socket_recv_with_restart_goes_on,
    socket_recv_with_timeout_is_eintr_even_with_restart,
    accept_restarts,
    record_lock_restarts,
    full_pipe_write_restarts,
    stop_and_continue_are_not_noticed,
    fifo_open_restarts,
    event_descriptors_restart,
    futex_wait_restarts,
    futex_wait_without_restart_is_eintr,
    futex_wait_with_timeout_restarts_with_rest,
    wait4_restarts,
    poll_select_epoll_never_restart,
    pause_never_restarts,
    flock_restarts,
    ignored_signal_does_not_interrupt,
    blocked_signal_does_not_interrupt,
    two_handlers_one_without_restart_is_eintr,
    sleep_interrupted_twice_still_counts_down,
    handler_may_make_system_calls,
];
