//! clock_gettime(2) and relatives, by system call and through the vDSO.

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn all_clocks_read() {
    for id in [
        CLOCK_REALTIME,
        CLOCK_MONOTONIC,
        CLOCK_PROCESS_CPUTIME_ID,
        CLOCK_THREAD_CPUTIME_ID,
        CLOCK_MONOTONIC_RAW,
        CLOCK_REALTIME_COARSE,
        CLOCK_MONOTONIC_COARSE,
        CLOCK_BOOTTIME,
        CLOCK_TAI,
    ] {
        check!(clock(id) >= 0, "clock {id}");
    }
}

fn monotonic_never_goes_back() {
    let mut last = clock(CLOCK_MONOTONIC);
    for _ in 0..10_000 {
        let now = clock(CLOCK_MONOTONIC);
        check!(now >= last);
        last = now;
    }
}

fn vdso_agrees_with_system_call() {
    for id in [
        CLOCK_REALTIME,
        CLOCK_MONOTONIC,
        CLOCK_BOOTTIME,
        CLOCK_MONOTONIC_RAW,
    ] {
        for _ in 0..100 {
            let before = clock(id);
            let mut ts: timespec = zeroed();
            check_eq!(unsafe { clock_gettime(id, &mut ts) }, 0);
            let fast = ts.tv_sec * 1_000_000_000 + ts.tv_nsec;
            let after = clock(id);
            check!(
                before <= fast && fast <= after,
                "clock {id}: {before} {fast} {after}"
            );
        }
    }
}

fn errors() {
    let mut ts: timespec = zeroed();
    expect_errno!(sys!(SYS_clock_gettime, 99, &mut ts), EINVAL);
    expect_errno!(sys!(SYS_clock_gettime, CLOCK_REALTIME, bad::<u8>()), EFAULT);
    expect_errno!(sys!(SYS_clock_getres, 99, &mut ts), EINVAL);
    check_eq!(sys!(SYS_clock_getres, CLOCK_REALTIME, 0), Ok(0));
    expect_errno!(sys!(SYS_clock_settime, CLOCK_MONOTONIC, &ts), EINVAL);
    expect_errno!(sys!(SYS_clock_settime, CLOCK_REALTIME, bad::<u8>()), EFAULT);
}

fn settime_unprivileged_is_eperm() {
    need_root();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        let ts = timespec_ms(clock(CLOCK_REALTIME) / 1_000_000);
        expect_errno!(sys!(SYS_clock_settime, CLOCK_REALTIME, &ts), EPERM);
    });
}

fn resolution_is_fine() {
    let mut ts: timespec = zeroed();
    must!(sys!(SYS_clock_getres, CLOCK_MONOTONIC, &mut ts));
    check!(ts.tv_sec == 0 && ts.tv_nsec >= 1 && ts.tv_nsec <= 10_000_000);
}

fn gettimeofday_and_time_agree_with_realtime() {
    let before = clock(CLOCK_REALTIME) / 1_000_000_000;
    let mut tv = [0i64; 2];
    must!(sys!(SYS_gettimeofday, &mut tv, 0));
    let time = must!(sys!(SYS_time, 0));
    let after = clock(CLOCK_REALTIME) / 1_000_000_000;
    check!((before..=after).contains(&tv[0]) && (0..1_000_000).contains(&tv[1]));
    check!((before - 1..=after).contains(&time));
    expect_errno!(sys!(SYS_gettimeofday, bad::<u8>(), 0), EFAULT);
    expect_errno!(sys!(SYS_time, bad::<u8>()), EFAULT);
}

fn cpu_clocks_count_only_running_time() {
    let (process, thread) = (
        clock(CLOCK_PROCESS_CPUTIME_ID),
        clock(CLOCK_THREAD_CPUTIME_ID),
    );
    sleep_ms(50);
    check!(clock(CLOCK_PROCESS_CPUTIME_ID) - process < 40_000_000);
    check!(clock(CLOCK_THREAD_CPUTIME_ID) - thread < 40_000_000);
    let start = now_ms();
    while now_ms() - start < 30 {
        std::hint::black_box((0..10_000).sum::<u64>());
    }
    check!(clock(CLOCK_THREAD_CPUTIME_ID) > thread);
}

fn process_cpu_includes_threads() {
    let before = clock(CLOCK_PROCESS_CPUTIME_ID);
    let t = std::thread::spawn(|| {
        let start = clock(CLOCK_THREAD_CPUTIME_ID);
        while clock(CLOCK_THREAD_CPUTIME_ID) - start < 30_000_000 {
            std::hint::black_box((0..10_000).sum::<u64>());
        }
    });
    let _ = t.join();
    check!(clock(CLOCK_PROCESS_CPUTIME_ID) - before >= 20_000_000);
}

fn cpu_clock_of_other_process() {
    let pid = child(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    // clockid of a process: ~pid << 3 | CPUCLOCK_SCHED (2).
    let id = (!pid << 3) | 2;
    wait_until("its time grows", || clock(id) > 1_000_000);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    check_eq!(clock(id), -1);
}

fn coarse_clock_lags_behind() {
    let coarse = clock(CLOCK_MONOTONIC_COARSE);
    let fine = clock(CLOCK_MONOTONIC);
    check!(coarse <= fine && fine - coarse < 1_000_000_000);
}

fn settimeofday_bad_values() {
    expect_errno!(sys!(SYS_settimeofday, &[0i64, 1_000_000], 0), EINVAL);
    expect_errno!(sys!(SYS_settimeofday, bad::<u8>(), 0), EFAULT);
}

fn adjtimex_reads() {
    let mut buf: timex = zeroed();
    check!(must!(sys!(SYS_adjtimex, &mut buf)) >= 0);
    expect_errno!(sys!(SYS_adjtimex, bad::<u8>()), EFAULT);
}

cases![
    all_clocks_read,
    monotonic_never_goes_back,
    vdso_agrees_with_system_call,
    errors,
    settime_unprivileged_is_eperm,
    resolution_is_fine,
    gettimeofday_and_time_agree_with_realtime,
    cpu_clocks_count_only_running_time,
    process_cpu_includes_threads,
    cpu_clock_of_other_process,
    coarse_clock_lags_behind,
    settimeofday_bad_values,
    adjtimex_reads,
];
