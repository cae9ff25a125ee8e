//! nanosleep(2), clock_nanosleep(2), alarm(2), setitimer(2).

use std::sync::atomic::Ordering::SeqCst;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn nanosleep_sleeps_at_least() {
    let start = now_ms();
    check_eq!(sys!(SYS_nanosleep, &timespec_ms(20), 0), Ok(0));
    check!(now_ms() - start >= 19);
}

fn zero_sleep_returns() {
    check_eq!(sys!(SYS_nanosleep, &timespec_ms(0), 0), Ok(0));
}

fn nanosleep_errors() {
    let ts = |sec: i64, nsec: i64| timespec {
        tv_sec: sec,
        tv_nsec: nsec,
    };
    expect_errno!(sys!(SYS_nanosleep, &ts(0, 1_000_000_000), 0), EINVAL);
    expect_errno!(sys!(SYS_nanosleep, &ts(0, -1), 0), EINVAL);
    expect_errno!(sys!(SYS_nanosleep, &ts(-1, 0), 0), EINVAL);
    expect_errno!(sys!(SYS_nanosleep, bad::<u8>(), 0), EFAULT);
    expect_errno!(sys!(SYS_nanosleep, 0, 0), EFAULT);
}

fn clock_nanosleep_absolute() {
    let at = now_ms() + 20;
    check_eq!(
        sys!(
            SYS_clock_nanosleep,
            CLOCK_MONOTONIC,
            TIMER_ABSTIME,
            &timespec_ms(at),
            0
        ),
        Ok(0)
    );
    check!(now_ms() >= at - 1);
    check_eq!(
        sys!(
            SYS_clock_nanosleep,
            CLOCK_MONOTONIC,
            TIMER_ABSTIME,
            &timespec_ms(1),
            0
        ),
        Ok(0)
    );
}

fn clock_nanosleep_clocks() {
    for id in [CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI] {
        check_eq!(sys!(SYS_clock_nanosleep, id, 0, &timespec_ms(1), 0), Ok(0));
    }
    expect_errno!(sys!(SYS_clock_nanosleep, 99, 0, &timespec_ms(1), 0), EINVAL);
    expect_errno!(
        sys!(
            SYS_clock_nanosleep,
            CLOCK_THREAD_CPUTIME_ID,
            0,
            &timespec_ms(1),
            0
        ),
        EOPNOTSUPP
    );
    expect_errno!(
        sys!(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, bad::<u8>(), 0),
        EFAULT
    );
}

fn alarm_fires_and_reports_rest() {
    check_eq!(sys!(SYS_alarm, 100), Ok(0));
    let rest = must!(sys!(SYS_alarm, 0));
    check!((99..=100).contains(&rest), "{rest}");
    check_eq!(sys!(SYS_alarm, 0), Ok(0));
    record_on(SIGALRM);
    must!(sys!(SYS_alarm, 1));
    expect_errno!(sys!(SYS_pause), EINTR);
    check_eq!((seen(), LAST_CODE.load(SeqCst)), (1, SI_KERNEL));
}

fn alarm_is_not_inherited_but_survives_exec() {
    must!(sys!(SYS_alarm, 100));
    in_child(|| check_eq!(sys!(SYS_alarm, 0), Ok(0)));
    check!(run_helper(c"alarm", &[]) == 0);
    let pid = child(|| {
        must!(sys!(SYS_alarm, 100));
        let _ = exec_helper(c"alarm", &[]);
        250
    });
    check!(wait_exit(pid) >= 95);
}

fn real_interval_timer_repeats() {
    record_on(SIGALRM);
    must!(sys!(
        SYS_setitimer,
        ITIMER_REAL,
        &[0i64, 5_000, 0, 5_000],
        0
    ));
    wait_until("three alarms", || seen() >= 3);
    let mut now = [0i64; 4];
    must!(sys!(SYS_getitimer, ITIMER_REAL, &mut now));
    check_eq!((now[0], now[1]), (0, 5_000));
    let mut old = [0i64; 4];
    must!(sys!(SYS_setitimer, ITIMER_REAL, &[0i64; 4], &mut old));
    check_eq!((old[0], old[1]), (0, 5_000));
    let count = seen();
    sleep_ms(20);
    check_eq!(seen(), count);
}

fn virtual_and_profiling_timers_count_cpu() {
    for (which, signal) in [(ITIMER_VIRTUAL, SIGVTALRM), (ITIMER_PROF, SIGPROF)] {
        in_child(|| {
            record_on(signal);
            must!(sys!(SYS_setitimer, which, &[0i64, 0, 0, 20_000], 0));
            sleep_ms(60);
            check_eq!(seen(), 0);
            let start = now_ms();
            while seen() == 0 && now_ms() - start < 10_000 {
                std::hint::black_box((0..10_000).sum::<u64>());
            }
            check_eq!((seen(), LAST_SIGNAL.load(SeqCst)), (1, signal));
        });
    }
}

fn itimer_errors() {
    expect_errno!(sys!(SYS_getitimer, 3, anon(1)), EINVAL);
    expect_errno!(sys!(SYS_setitimer, 3, anon(1), 0), EINVAL);
    expect_errno!(sys!(SYS_setitimer, 0, &[0i64, 0, 0, 1_000_000], 0), EINVAL);
    expect_errno!(sys!(SYS_setitimer, 0, &[0i64, 0, -1, 0], 0), EINVAL);
    expect_errno!(sys!(SYS_setitimer, 0, bad::<u8>(), 0), EFAULT);
    expect_errno!(sys!(SYS_getitimer, 0, bad::<u8>()), EFAULT);
}

fn timer_wakes_blocking_read() {
    let (r, _w) = must!(pipe());
    record_on(SIGALRM);
    must!(sys!(SYS_setitimer, ITIMER_REAL, &[0i64, 0, 0, 20_000], 0));
    expect_errno!(read_vec(r, 1), EINTR);
}

fn timer_interrupts_computation() {
    record_on(SIGALRM);
    must!(sys!(SYS_setitimer, ITIMER_REAL, &[0i64, 0, 0, 10_000], 0));
    let start = std::time::Instant::now();
    while seen() == 0 {
        std::hint::spin_loop();
        check!(start.elapsed().as_secs() < 10, "no alarm");
    }
}

fn sleeping_on_cpu_time_waits_for_other_threads() {
    std::thread::spawn(|| {
        loop {
            std::hint::black_box((0..10_000).sum::<u64>());
        }
    });
    let before = clock(CLOCK_PROCESS_CPUTIME_ID);
    let ts = timespec_ms(30);
    check_eq!(
        sys!(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, 0, &ts, 0),
        Ok(0)
    );
    check!(clock(CLOCK_PROCESS_CPUTIME_ID) - before >= 30_000_000);
    // The caller's own thread, by its number: (~tid << 3) | 6.
    let own = (!gettid() << 3) | 6;
    expect_errno!(sys!(SYS_clock_nanosleep, own, 0, &ts, 0), EINVAL);
}

fn absolute_time_long_past_is_over() {
    let past = timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    for id in [CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME] {
        check_eq!(
            sys!(SYS_clock_nanosleep, id, TIMER_ABSTIME, &past, 0),
            Ok(0)
        );
    }
    // And time goes on.
    sleep_ms(1);
}

cases![
    nanosleep_sleeps_at_least,
    zero_sleep_returns,
    nanosleep_errors,
    clock_nanosleep_absolute,
    absolute_time_long_past_is_over,
    clock_nanosleep_clocks,
    sleeping_on_cpu_time_waits_for_other_threads,
    alarm_fires_and_reports_rest,
    alarm_is_not_inherited_but_survives_exec,
    real_interval_timer_repeats,
    virtual_and_profiling_timers_count_cpu,
    itimer_errors,
    timer_wakes_blocking_read,
    timer_interrupts_computation,
];
