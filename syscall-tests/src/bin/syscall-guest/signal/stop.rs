//! Job control signals: stop and continue.

use std::sync::atomic::Ordering::SeqCst;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn spinner(gate: Gate) -> i32 {
    child(move || {
        gate.open();
        loop {
            sleep_ms(1);
        }
    })
}
fn wait_stopped(pid: i32) -> i32 {
    let (got, status) = must!(wait4(pid, WUNTRACED));
    check_eq!(got, pid);
    check!(WIFSTOPPED(status), "{status:#x}");
    WSTOPSIG(status)
}
fn finish(pid: i32) {
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn stop_signals_stop() {
    for s in [SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU] {
        let gate = Gate::new();
        let pid = spinner(gate);
        gate.wait();
        must!(kill(pid, s));
        check_eq!(wait_stopped(pid), s);
        check_eq!(task_state(pid), 'T');
        must!(kill(pid, SIGCONT));
        let (_, status) = must!(wait4(pid, WCONTINUED));
        check!(WIFCONTINUED(status));
        finish(pid);
    }
}

fn stopped_process_makes_no_progress() {
    let counter = shared(1).cast::<u32>();
    let pid = child(|| {
        loop {
            poke(counter, peek(counter).wrapping_add(1));
        }
    });
    wait_until("progress", || peek(counter) > 0);
    must!(kill(pid, SIGSTOP));
    wait_stopped(pid);
    let before = peek(counter);
    sleep_ms(20);
    check_eq!(peek(counter), before);
    must!(kill(pid, SIGCONT));
    wait_until("progress after continue", || peek(counter) != before);
    finish(pid);
}

fn stop_stops_all_threads() {
    let counters = shared(1).cast::<u32>();
    let pid = child(|| {
        for i in 0..3usize {
            let c = counters as usize;
            std::thread::spawn(move || {
                let word = (c as *mut u32).wrapping_add(i * 16);
                loop {
                    poke(word, peek(word).wrapping_add(1));
                }
            });
        }
        loop {
            sleep_ms(1000);
        }
    });
    let values = || [0, 1, 2].map(|i| peek(counters.wrapping_add(i * 16)));
    wait_until("all threads run", || values().iter().all(|v| *v > 0));
    must!(kill(pid, SIGSTOP));
    wait_stopped(pid);
    let before = values();
    sleep_ms(20);
    check_eq!(values(), before);
    finish(pid);
}

fn kill_works_on_stopped_process() {
    let gate = Gate::new();
    let pid = spinner(gate);
    gate.wait();
    must!(kill(pid, SIGSTOP));
    wait_stopped(pid);
    finish(pid);
}

fn other_signals_wait_until_continued() {
    let gate = Gate::new();
    let flag = shared(1);
    let pid = child(|| {
        record_on(SIGUSR1);
        gate.open();
        while seen() == 0 {
            sleep_ms(1);
        }
        poke(flag, 1u8);
        0
    });
    gate.wait();
    must!(kill(pid, SIGSTOP));
    wait_stopped(pid);
    must!(kill(pid, SIGUSR1));
    sleep_ms(20);
    check_eq!(peek(flag), 0u8);
    must!(kill(pid, SIGCONT));
    wait_ok(pid);
    check_eq!(peek(flag), 1u8);
}

fn cont_discards_pending_stop() {
    in_child(|| {
        block(&[SIGTSTP]);
        raise(SIGTSTP);
        check!(is_pending(SIGTSTP));
        raise(SIGCONT);
        check!(!is_pending(SIGTSTP));
    });
}

fn stop_discards_pending_cont() {
    let pid = child(|| {
        record_on(SIGCONT);
        block(&[SIGCONT]);
        raise(SIGCONT);
        check!(is_pending(SIGCONT));
        raise(SIGSTOP);
        0
    });
    wait_stopped(pid);
    must!(kill(pid, SIGCONT));
    wait_ok(pid);
}

fn cont_continues_even_when_blocked_or_ignored() {
    for ignore in [false, true] {
        let pid = child(|| {
            if ignore {
                disposition(SIGCONT, SIG_IGN);
            } else {
                block(&[SIGCONT]);
            }
            raise(SIGSTOP);
            0
        });
        wait_stopped(pid);
        must!(kill(pid, SIGCONT));
        wait_ok(pid);
    }
}

fn cont_handler_runs_after_continue() {
    let pid = child(|| {
        record_on(SIGCONT);
        raise(SIGSTOP);
        i32::from(seen() != 1)
    });
    wait_stopped(pid);
    must!(kill(pid, SIGCONT));
    wait_ok(pid);
}

fn tstp_handler_prevents_stop() {
    in_child(|| {
        record_on(SIGTSTP);
        raise(SIGTSTP);
        check_eq!(seen(), 1);
        check_eq!(LAST_SIGNAL.load(SeqCst), SIGTSTP);
    });
}

fn stop_in_sleep_continues_the_sleep() {
    let gate = Gate::new();
    let pid = child(|| {
        gate.open();
        let start = now_ms();
        check_eq!(sys!(SYS_nanosleep, &timespec_ms(120), 0), Ok(0));
        check!(now_ms() - start >= 119);
        0
    });
    gate.wait();
    sleep_ms(10);
    must!(kill(pid, SIGSTOP));
    wait_stopped(pid);
    must!(kill(pid, SIGCONT));
    wait_ok(pid);
}

fn stop_in_blocking_read_does_not_interrupt() {
    let (r, w) = must!(pipe());
    let gate = Gate::new();
    let pid = child(|| {
        gate.open();
        check_eq!(read_vec(r, 1), Ok(b"x".to_vec()));
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGSTOP));
    wait_stopped(pid);
    must!(kill(pid, SIGCONT));
    sleep_ms(10);
    must!(write(w, b"x"));
    wait_ok(pid);
}

fn stopping_a_stopped_process_is_silent() {
    let gate = Gate::new();
    let pid = spinner(gate);
    gate.wait();
    must!(kill(pid, SIGSTOP));
    wait_stopped(pid);
    must!(kill(pid, SIGSTOP));
    must!(kill(pid, SIGTSTP));
    sleep_ms(10);
    check_eq!(wait4(pid, WUNTRACED | WNOHANG), Ok((0, 0)));
    finish(pid);
}

fn grandchild_is_continued_through_the_group() {
    let grandchild = shared(1).cast::<i32>();
    let pid = child(|| {
        let inner = child(|| {
            raise(SIGSTOP);
            5
        });
        poke(grandchild, inner);
        check_eq!(wait_exit(inner), 5);
        0
    });
    // The grandchild is stopped; its group gets SIGCONT through its parent's.
    wait_until("the grandchild's stop", || {
        peek(grandchild) != 0 && task_state(peek(grandchild)) == 'T'
    });
    must!(kill(0, SIGCONT));
    wait_ok(pid);
}

fn self_stop_of_one_thread_stops_process() {
    let pid = child(|| {
        let t = std::thread::spawn(|| raise(SIGSTOP));
        let _ = t.join();
        0
    });
    check_eq!(wait_stopped(pid), SIGSTOP);
    must!(kill(pid, SIGCONT));
    wait_ok(pid);
}

fn terminating_signal_waits_for_continuation() {
    let pid = child(|| {
        loop {
            let _ = sys!(SYS_pause);
        }
    });
    must!(kill(pid, SIGSTOP));
    wait_until("stop", || task_state(pid) == 'T');
    must!(kill(pid, SIGTERM));
    sleep_ms(20);
    check_eq!(task_state(pid), 'T');
    must!(kill(pid, SIGCONT));
    wait_killed(pid, SIGTERM);
    // SIGKILL doesn't wait.
    let pid = child(|| {
        loop {
            let _ = sys!(SYS_pause);
        }
    });
    must!(kill(pid, SIGSTOP));
    wait_until("stop", || task_state(pid) == 'T');
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

cases![
    stop_signals_stop,
    terminating_signal_waits_for_continuation,
    stopped_process_makes_no_progress,
    stop_stops_all_threads,
    kill_works_on_stopped_process,
    other_signals_wait_until_continued,
    cont_discards_pending_stop,
    stop_discards_pending_cont,
    cont_continues_even_when_blocked_or_ignored,
    cont_handler_runs_after_continue,
    tstp_handler_prevents_stop,
    stop_in_sleep_continues_the_sleep,
    stop_in_blocking_read_does_not_interrupt,
    stopping_a_stopped_process_is_silent,
    grandchild_is_continued_through_the_group,
    self_stop_of_one_thread_stops_process,
];
