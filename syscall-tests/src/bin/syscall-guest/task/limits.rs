//! prlimit64(2), getrusage(2), times(2), sysinfo(2), getpriority(2).

use std::sync::atomic::Ordering::SeqCst;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn get_and_set() {
    let lim = must!(getrlimit(RLIMIT_NOFILE));
    must!(setrlimit(RLIMIT_NOFILE, 100, lim.rlim_max));
    check_eq!(must!(getrlimit(RLIMIT_NOFILE)).rlim_cur, 100);
    let mut old: rlimit = zeroed();
    must!(sys!(SYS_getrlimit, RLIMIT_NOFILE, &mut old));
    check_eq!(old.rlim_cur, 100);
    must!(sys!(SYS_setrlimit, RLIMIT_NOFILE, &lim));
}

fn soft_above_hard_is_einval() {
    expect_errno!(setrlimit(RLIMIT_NOFILE, 100, 50), EINVAL);
}

fn unknown_resource_is_einval() {
    expect_errno!(getrlimit(16), EINVAL);
    expect_errno!(getrlimit(u32::MAX), EINVAL);
    expect_errno!(sys!(SYS_getrlimit, 99, anon(1)), EINVAL);
}

fn bad_pointers_are_efault() {
    expect_errno!(
        sys!(SYS_prlimit64, 0, RLIMIT_NOFILE, bad::<u8>(), 0),
        EFAULT
    );
    expect_errno!(
        sys!(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, bad::<u8>()),
        EFAULT
    );
}

fn raising_hard_unprivileged_is_eperm() {
    need_root();
    in_child(|| {
        must!(setrlimit(RLIMIT_CORE, 0, 0));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(setrlimit(RLIMIT_CORE, 0, 1), EPERM);
        must!(setrlimit(RLIMIT_CORE, 0, 0));
    });
}

fn of_child_and_missing_process() {
    let pid = child(|| {
        loop {
            sleep_ms(1000);
        }
    });
    let new = rlimit {
        rlim_cur: 77,
        rlim_max: 88,
    };
    let mut old: rlimit = zeroed();
    must!(sys!(SYS_prlimit64, pid, RLIMIT_NOFILE, &new, &mut old));
    check_eq!(old.rlim_cur, must!(getrlimit(RLIMIT_NOFILE)).rlim_cur);
    must!(sys!(SYS_prlimit64, pid, RLIMIT_NOFILE, 0, &mut old));
    check_eq!((old.rlim_cur, old.rlim_max), (77, 88));
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    expect_errno!(
        sys!(SYS_prlimit64, 0x3fff_fff0, RLIMIT_NOFILE, 0, &mut old),
        ESRCH
    );
}

fn inherited_by_fork_and_exec() {
    let lim = must!(getrlimit(RLIMIT_NOFILE));
    must!(setrlimit(RLIMIT_NOFILE, 250, lim.rlim_max));
    in_child(|| check_eq!(must!(getrlimit(RLIMIT_NOFILE)).rlim_cur, 250));
    check_eq!(run_helper(c"nofile", &[]), 250);
}

fn fsize_gives_sigxfsz_and_efbig() {
    tmp();
    must!(setrlimit(RLIMIT_FSIZE, 100, RLIM_INFINITY));
    record_on(SIGXFSZ);
    let fd = must!(open(c"f", O_CREAT | O_RDWR, 0o644));
    check_eq!(write(fd, &[0; 150]), Ok(100));
    check_eq!(seen(), 0);
    expect_errno!(write(fd, b"x"), EFBIG);
    check_eq!((seen(), LAST_SIGNAL.load(SeqCst)), (1, SIGXFSZ));
    expect_errno!(ftruncate(fd, 101), EFBIG);
    check_eq!(seen(), 2);
    must!(ftruncate(fd, 100));
    expect_errno!(pwrite(fd, b"x", 100), EFBIG);
    must!(pwrite(fd, b"x", 99));
}

fn fsize_kills_by_default() {
    tmp();
    must!(setrlimit(RLIMIT_FSIZE, 10, RLIM_INFINITY));
    expect_killed(SIGXFSZ, || {
        let fd = must!(open(c"f", O_CREAT | O_RDWR, 0o644));
        let _ = pwrite(fd, b"x", 10);
    });
}

fn fsize_does_not_limit_pipes() {
    must!(setrlimit(RLIMIT_FSIZE, 1, RLIM_INFINITY));
    let (_r, w) = must!(pipe());
    check_eq!(write(w, b"12345"), Ok(5));
}

fn nproc_limits_forks_of_user() {
    need_root();
    in_child(|| {
        must!(sys!(SYS_setresuid, 54321, 54321, 54321));
        must!(setrlimit(RLIMIT_NPROC, 3, 3));
        let hold = |n: usize| -> Vec<Sys> {
            (0..n)
                .map(|_| match sys!(SYS_fork) {
                    Ok(0) => loop {
                        sleep_ms(1000);
                    },
                    other => other,
                })
                .collect()
        };
        let results = hold(4);
        check!(results[0].is_ok() && results[1].is_ok(), "{results:?}");
        check_eq!(results[2], Err(EAGAIN));
        for pid in results.iter().flatten() {
            let _ = kill(*pid as i32, SIGKILL);
        }
    });
}

fn stack_limit_grows_until_segv() {
    fn recurse(depth: u64) -> u64 {
        let mut frame = [0u8; 4096];
        poke(frame.as_mut_ptr().wrapping_add(depth as usize % 4096), 1u8);
        if depth == 0 {
            0
        } else {
            recurse(depth - 1) + u64::from(peek(frame.as_ptr()))
        }
    }
    // 4 MiB of stack under the usual 8 MiB limit, then past any limit.
    in_child(|| {
        recurse(1000);
    });
    expect_killed(SIGSEGV, || {
        recurse(1 << 20);
    });
}

fn nofile_above_nr_open_is_eperm() {
    need_root();
    expect_errno!(setrlimit(RLIMIT_NOFILE, 1 << 31, 1 << 31), EPERM);
}

fn cpu_limit_sends_sigxcpu() {
    in_child(|| {
        record_on(SIGXCPU);
        must!(setrlimit(RLIMIT_CPU, 1, 10));
        let start = now_ms();
        while seen() == 0 && now_ms() - start < 15_000 {
            std::hint::black_box((0..10_000).sum::<u64>());
        }
        check_eq!(seen(), 1);
    });
}

fn rusage_self_children_thread() {
    let mut usage: rusage = zeroed();
    must!(sys!(SYS_getrusage, RUSAGE_SELF, &mut usage));
    check!(usage.ru_maxrss > 0);
    must!(sys!(SYS_getrusage, RUSAGE_THREAD, &mut usage));
    must!(sys!(SYS_getrusage, RUSAGE_CHILDREN, &mut usage));
    expect_errno!(sys!(SYS_getrusage, 5, &mut usage), EINVAL);
    expect_errno!(sys!(SYS_getrusage, -2, &mut usage), EINVAL);
    expect_errno!(sys!(SYS_getrusage, RUSAGE_SELF, bad::<u8>()), EFAULT);
}

fn cpu_time_of_self_grows_and_children_count_after_wait() {
    let used = |who: i32| -> i64 {
        let mut u: rusage = zeroed();
        must!(sys!(SYS_getrusage, who, &mut u));
        (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1_000_000
            + u.ru_utime.tv_usec
            + u.ru_stime.tv_usec
    };
    let burn = |ms: i64| {
        let start = clock(CLOCK_PROCESS_CPUTIME_ID);
        while clock(CLOCK_PROCESS_CPUTIME_ID) - start < ms * 1_000_000 {
            std::hint::black_box((0..10_000).sum::<u64>());
        }
    };
    let before = used(RUSAGE_SELF);
    burn(40);
    check!(used(RUSAGE_SELF) > before);
    let before = used(RUSAGE_CHILDREN);
    in_child(|| burn(40));
    check!(used(RUSAGE_CHILDREN) > before);
}

fn times_in_ticks() {
    let mut t = [0i64; 4];
    let now = must!(sys!(SYS_times, &mut t));
    check!(now != 0);
    check_eq!(sys!(SYS_times, 0).map(|v| v >= now), Ok(true));
    expect_errno!(sys!(SYS_times, bad::<u8>()), EFAULT);
}

fn sysinfo_is_plausible() {
    let mut info: sysinfo = zeroed();
    must!(sys!(SYS_sysinfo, &mut info));
    check!(info.totalram * u64::from(info.mem_unit) > 1 << 20);
    check!(info.totalram >= info.freeram);
    check!(info.procs >= 1 && info.uptime >= 0);
    expect_errno!(sys!(SYS_sysinfo, bad::<u8>()), EFAULT);
}

fn priority_values() {
    // The raw call returns 20 - nice.
    check_eq!(sys!(SYS_getpriority, PRIO_PROCESS, 0), Ok(20));
    must!(sys!(SYS_setpriority, PRIO_PROCESS, 0, 5));
    check_eq!(sys!(SYS_getpriority, PRIO_PROCESS, 0), Ok(15));
    must!(sys!(SYS_setpriority, PRIO_PROCESS, 0, 100));
    check_eq!(sys!(SYS_getpriority, PRIO_PROCESS, 0), Ok(1));
    expect_errno!(sys!(SYS_getpriority, 9, 0), EINVAL);
    expect_errno!(sys!(SYS_getpriority, PRIO_PROCESS, 0x3fff_fff0), ESRCH);
    expect_errno!(sys!(SYS_setpriority, -1, 0, 0), EINVAL);
}

fn lowering_nice_unprivileged_is_eacces() {
    need_root();
    in_child(|| {
        must!(setrlimit(RLIMIT_NICE, 0, 0));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        must!(sys!(SYS_setpriority, PRIO_PROCESS, 0, 1));
        expect_errno!(sys!(SYS_setpriority, PRIO_PROCESS, 0, 0), EACCES);
        expect_errno!(sys!(SYS_setpriority, PRIO_PROCESS, 1, 1), EPERM);
    });
}

fn getrandom_fills_and_checks() {
    let (mut a, mut b) = ([0u8; 64], [0u8; 64]);
    check_eq!(sys!(SYS_getrandom, &mut a, 64, 0), Ok(64));
    check_eq!(sys!(SYS_getrandom, &mut b, 64, GRND_NONBLOCK), Ok(64));
    check!(a != b && a != [0; 64]);
    check_eq!(sys!(SYS_getrandom, bad::<u8>(), 0, 0), Ok(0));
    expect_errno!(sys!(SYS_getrandom, &mut a, 64, 8), EINVAL);
    expect_errno!(
        sys!(SYS_getrandom, &mut a, 64, GRND_RANDOM | GRND_INSECURE),
        EINVAL
    );
    expect_errno!(sys!(SYS_getrandom, bad::<u8>(), 64, 0), EFAULT);
    let mut big = vec![0u8; 100_000];
    check_eq!(sys!(SYS_getrandom, &mut big[..], 100_000, 0), Ok(100_000));
}

fn children_get_different_random_bytes() {
    let words = shared(1);
    for i in 0..2 {
        in_child(|| {
            must!(sys!(SYS_getrandom, words.wrapping_add(16 * i), 16, 0));
        });
    }
    check!(bytes_at(words, 16) != bytes_at(words.wrapping_add(16), 16));
}

fn cpu_hard_limit_kills_and_is_inherited() {
    in_child(|| {
        must!(setrlimit(RLIMIT_CPU, 1, 1));
        expect_killed(SIGKILL, || {
            loop {
                std::hint::black_box((0..10_000).sum::<u64>());
            }
        });
    });
}

fn rusage_counts_switches_and_faults() {
    let of = |who: i32| -> rusage {
        let mut u: rusage = zeroed();
        must!(sys!(SYS_getrusage, who, &mut u));
        u
    };
    let before = of(RUSAGE_SELF);
    let p = anon(64);
    must!(sys!(SYS_madvise, p, 64 * PAGE, MADV_NOHUGEPAGE));
    for page in 0..64 {
        poke(p.wrapping_add(page * PAGE), 1u8);
    }
    sleep_ms(2);
    let after = of(RUSAGE_SELF);
    check!(after.ru_minflt > before.ru_minflt);
    check!(after.ru_nvcsw > before.ru_nvcsw);
    check!(of(RUSAGE_THREAD).ru_nvcsw > 0);
    let before = of(RUSAGE_CHILDREN);
    in_child(|| {
        let p = anon(64);
        must!(sys!(SYS_madvise, p, 64 * PAGE, MADV_NOHUGEPAGE));
        for page in 0..64 {
            poke(p.wrapping_add(page * PAGE), 1u8);
        }
        sleep_ms(2);
    });
    let after = of(RUSAGE_CHILDREN);
    check!(
        after.ru_minflt > before.ru_minflt,
        "{} {}",
        before.ru_minflt,
        after.ru_minflt
    );
    check!(after.ru_nvcsw > before.ru_nvcsw);
    check!(after.ru_maxrss > 0);
}

cases![
    get_and_set,
    soft_above_hard_is_einval,
    unknown_resource_is_einval,
    bad_pointers_are_efault,
    raising_hard_unprivileged_is_eperm,
    of_child_and_missing_process,
    inherited_by_fork_and_exec,
    fsize_gives_sigxfsz_and_efbig,
    fsize_kills_by_default,
    fsize_does_not_limit_pipes,
    nproc_limits_forks_of_user,
    stack_limit_grows_until_segv,
    nofile_above_nr_open_is_eperm,
    cpu_limit_sends_sigxcpu,
    cpu_hard_limit_kills_and_is_inherited,
    rusage_self_children_thread,
    rusage_counts_switches_and_faults,
    cpu_time_of_self_grows_and_children_count_after_wait,
    times_in_ticks,
    sysinfo_is_plausible,
    priority_values,
    lowering_nice_unprivileged_is_eacces,
    getrandom_fills_and_checks,
    children_get_different_random_bytes,
];
