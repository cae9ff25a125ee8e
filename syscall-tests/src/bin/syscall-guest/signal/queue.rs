//! Real-time signals, sigqueue(3), rt_sigtimedwait(2), kill(2), tgkill(2).

use std::sync::atomic::Ordering::SeqCst;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn rt(n: i32) -> i32 {
    SIGRTMIN() + n
}
fn waitinfo(signal: i32) -> Sys<siginfo_t> {
    sigtimedwait(mask_of(&[signal]), Some(0))
}

fn queued_signals_keep_order_and_values() {
    block(&[rt(0)]);
    for value in 1..=5 {
        must!(sigqueue(getpid(), rt(0), value * 11));
    }
    for value in 1..=5 {
        let info = must!(waitinfo(rt(0)));
        check_eq!((info.si_signo, info.si_code), (rt(0), SI_QUEUE));
        check_eq!(info_value(&info), value * 11);
        check_eq!(info_child(&info).0, getpid());
    }
    expect_errno!(waitinfo(rt(0)).map(|_| ()), EAGAIN);
}

fn lowest_real_time_signal_first() {
    let all = [rt(0), rt(1), rt(2)];
    block(&all);
    for s in all.iter().rev() {
        must!(sigqueue(getpid(), *s, 0));
    }
    let got: Vec<i32> = (0..3)
        .map(|_| must!(sigtimedwait(mask_of(&all), Some(0))).si_signo)
        .collect();
    check_eq!(got, all.to_vec());
}

fn standard_before_real_time() {
    block(&[rt(0), SIGTERM]);
    must!(sigqueue(getpid(), rt(0), 0));
    raise(SIGTERM);
    let set = mask_of(&[rt(0), SIGTERM]);
    check_eq!(must!(sigtimedwait(set, Some(0))).si_signo, SIGTERM);
    check_eq!(must!(sigtimedwait(set, Some(0))).si_signo, rt(0));
}

fn handler_gets_each_queued_signal() {
    record_on(rt(0));
    block(&[rt(0)]);
    for value in 1..=20 {
        must!(sigqueue(getpid(), rt(0), value));
    }
    unblock(&[rt(0)]);
    check_eq!(seen(), 20);
    check_eq!(LAST_VALUE.load(SeqCst), 20);
    check_eq!(LAST_CODE.load(SeqCst), SI_QUEUE);
}

fn sigtimedwait_times_out_with_eagain() {
    block(&[SIGUSR1]);
    let start = now_ms();
    expect_errno!(
        sigtimedwait(mask_of(&[SIGUSR1]), Some(25)).map(|_| ()),
        EAGAIN
    );
    check!(now_ms() - start >= 24);
}

fn sigtimedwait_returns_signal_number() {
    block(&[SIGUSR1]);
    raise(SIGUSR1);
    let set = mask_of(&[SIGUSR1]);
    check_eq!(
        sys!(SYS_rt_sigtimedwait, &set, 0, 0, 8),
        Ok(i64::from(SIGUSR1))
    );
}

fn sigtimedwait_blocks_until_sent() {
    block(&[SIGUSR1]);
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(kill(me, SIGUSR1));
        0
    });
    let info = must!(sigtimedwait(mask_of(&[SIGUSR1]), None));
    check_eq!((info.si_code, info_child(&info).0), (SI_USER, pid));
    wait_ok(pid);
}

fn sigtimedwait_interrupted_by_other_signal() {
    block(&[SIGUSR1]);
    handle(SIGUSR2, record, SA_RESTART);
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(kill(me, SIGUSR2));
        0
    });
    expect_errno!(sigtimedwait(mask_of(&[SIGUSR1]), None).map(|_| ()), EINTR);
    check_eq!(seen(), 1);
    wait_ok(pid);
}

fn sigtimedwait_takes_unblocked_signals_too() {
    // The signals waited for are blocked for the duration of the call.
    record_on(SIGUSR1);
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(kill(me, SIGUSR1));
        0
    });
    check_eq!(
        must!(sigtimedwait(mask_of(&[SIGUSR1]), None)).si_signo,
        SIGUSR1
    );
    check_eq!(seen(), 0);
    wait_ok(pid);
}

fn sigtimedwait_errors() {
    let set = mask_of(&[SIGUSR1]);
    let wrong = timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000_000,
    };
    expect_errno!(sys!(SYS_rt_sigtimedwait, &set, 0, &wrong, 8), EINVAL);
    expect_errno!(sys!(SYS_rt_sigtimedwait, &set, 0, 0, 4), EINVAL);
    expect_errno!(sys!(SYS_rt_sigtimedwait, bad::<u8>(), 0, 0, 8), EFAULT);
    expect_errno!(sys!(SYS_rt_sigtimedwait, &set, 0, bad::<u8>(), 8), EFAULT);
}

fn queue_limit_is_eagain() {
    block(&[rt(0)]);
    let max = must!(getrlimit(RLIMIT_SIGPENDING)).rlim_max;
    must!(setrlimit(RLIMIT_SIGPENDING, 0, max));
    expect_errno!(sigqueue(getpid(), rt(0), 1), EAGAIN);
    // Plain kill of a real-time signal falls back to no information.
    block(&[SIGUSR1]);
    check_eq!(kill(getpid(), SIGUSR1), Ok(0));
    check!(is_pending(SIGUSR1));
}

fn sigqueue_cannot_impersonate_the_kernel() {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Info {
        head: [i32; 4],
        rest: [u64; 14],
    }
    let forged = |code: i32| Info {
        head: [0, 0, code, 0],
        rest: [0; 14],
    };
    let send = |pid: i32, code: i32| sys!(SYS_rt_sigqueueinfo, pid, SIGUSR1, &forged(code));
    expect_errno!(send(getppid(), SI_USER), EPERM);
    expect_errno!(send(getppid(), SI_KERNEL), EPERM);
    expect_errno!(send(getppid(), SI_TKILL), EPERM);
    block(&[SIGUSR1]);
    check_eq!(send(getpid(), SI_USER), Ok(0));
    expect_errno!(
        sys!(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, bad::<u8>()),
        EFAULT
    );
    expect_errno!(
        sys!(SYS_rt_sigqueueinfo, getpid(), 65, &forged(SI_QUEUE)),
        EINVAL
    );
    expect_errno!(
        sys!(SYS_rt_sigqueueinfo, 0x3fff_fff0, SIGUSR1, &forged(SI_QUEUE)),
        ESRCH
    );
}

fn tgsigqueueinfo_targets_thread() {
    block(&[rt(1)]);
    let mut info = [0i32; 32];
    info[0] = rt(1);
    info[2] = SI_QUEUE;
    info[6] = 99;
    must!(sys!(
        SYS_rt_tgsigqueueinfo,
        getpid(),
        gettid(),
        rt(1),
        &info
    ));
    check_eq!(info_value(&must!(waitinfo(rt(1)))) as u32, 99);
    expect_errno!(
        sys!(SYS_rt_tgsigqueueinfo, 0, gettid(), rt(1), &info),
        EINVAL
    );
    expect_errno!(
        sys!(SYS_rt_tgsigqueueinfo, getpid(), 0x3fff_fff0, rt(1), &info),
        ESRCH
    );
}

fn kill_siginfo_fields() {
    record_on(SIGUSR1);
    must!(kill(getpid(), SIGUSR1));
    check_eq!(LAST_CODE.load(SeqCst), SI_USER);
    check_eq!(LAST_PID.load(SeqCst), getpid());
    check_eq!(LAST_UID.load(SeqCst), getuid());
}

fn tgkill_siginfo_fields() {
    record_on(SIGUSR1);
    must!(tgkill(getpid(), gettid(), SIGUSR1));
    check_eq!(LAST_CODE.load(SeqCst), SI_TKILL);
    check_eq!(LAST_PID.load(SeqCst), getpid());
}

fn kill_self_is_delivered_before_return() {
    record_on(SIGUSR1);
    for i in 1..=50 {
        must!(kill(getpid(), SIGUSR1));
        check_eq!(seen(), i);
    }
}

fn signal_zero_only_checks() {
    check_eq!(kill(getpid(), 0), Ok(0));
    expect_errno!(kill(0x3fff_fff0, 0), ESRCH);
    check_eq!(tgkill(getpid(), gettid(), 0), Ok(0));
}

fn kill_errors() {
    expect_errno!(kill(getpid(), 65), EINVAL);
    expect_errno!(kill(getpid(), -1), EINVAL);
    expect_errno!(kill(0x3fff_fff0, SIGTERM), ESRCH);
    expect_errno!(kill(-0x3fff_fff0, SIGTERM), ESRCH);
    expect_errno!(kill(i32::MIN, SIGTERM), ESRCH);
    expect_errno!(tgkill(0, gettid(), 0), EINVAL);
    expect_errno!(tgkill(getpid(), 0, 0), EINVAL);
    expect_errno!(tgkill(getpid(), -1, 0), EINVAL);
    expect_errno!(tgkill(getppid(), gettid(), 0), ESRCH);
    expect_errno!(sys!(SYS_tkill, 0, 0), EINVAL);
    expect_errno!(sys!(SYS_tkill, 0x3fff_fff0, 0), ESRCH);
    check_eq!(sys!(SYS_tkill, gettid(), 0), Ok(0));
}

fn kill_of_other_user_is_eperm() {
    need_root();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(kill(getppid(), SIGTERM), EPERM);
        expect_errno!(kill(getppid(), 0), EPERM);
        check_eq!(kill(getpid(), 0), Ok(0));
    });
}

fn kill_permission_uses_real_and_saved() {
    need_root();
    let start = |r: u32, e: u32, s: u32, gate: Gate| {
        child(move || {
            must!(sys!(SYS_setresuid, r, e, s));
            gate.open();
            loop {
                sleep_ms(1000);
            }
        })
    };
    let gate = Gate::new();
    let real = start(1000, 2000, 3000, gate);
    let saved = start(2000, 3000, 1000, gate);
    let effective = start(2000, 1000, 3000, gate);
    for _ in 0..3 {
        gate.wait();
    }
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        check_eq!(kill(real, 0), Ok(0));
        check_eq!(kill(saved, 0), Ok(0));
        expect_errno!(kill(effective, 0), EPERM);
    });
    for pid in [real, saved, effective] {
        must!(kill(pid, SIGKILL));
        wait_killed(pid, SIGKILL);
    }
}

fn sigcont_allowed_within_session() {
    need_root();
    let target = child(|| {
        loop {
            sleep_ms(1000);
        }
    });
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        check_eq!(kill(target, SIGCONT), Ok(0));
        expect_errno!(kill(target, SIGTERM), EPERM);
    });
    must!(kill(target, SIGKILL));
    wait_killed(target, SIGKILL);
}

fn kill_zero_reaches_own_group() {
    in_child(|| {
        must!(setpgid(0, 0));
        record_on(SIGUSR1);
        must!(kill(0, SIGUSR1));
        check_eq!(seen(), 1);
    });
}

fn kill_by_thread_id_reaches_process() {
    record_on(SIGUSR1);
    let (tx, rx) = std::sync::mpsc::channel();
    let gate = Gate::new();
    let t = std::thread::spawn(move || {
        block(&[SIGUSR1]);
        let _ = tx.send(gettid());
        gate.wait();
    });
    let tid = rx.recv().unwrap_or(0);
    must!(kill(tid, SIGUSR1));
    wait_until("delivery", || seen() == 1);
    gate.open();
    let _ = t.join();
}

fn default_actions_terminate() {
    for s in [
        SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGALRM, SIGPIPE, SIGPOLL, SIGVTALRM,
    ] {
        expect_killed(s, || raise(s));
    }
}

fn default_real_time_action_terminates() {
    expect_killed(rt(3), || raise(rt(3)));
}

fn default_actions_ignore() {
    in_child(|| {
        for s in [SIGCHLD, SIGURG, SIGWINCH, SIGCONT] {
            raise(s);
        }
    });
}

fn core_signals_kill() {
    for s in [
        SIGQUIT, SIGABRT, SIGSYS, SIGXCPU, SIGTRAP, SIGFPE, SIGILL, SIGSEGV, SIGBUS,
    ] {
        expect_killed(s, || raise(s));
    }
}

fn sigkill_beats_blocked_everything() {
    let gate = Gate::new();
    let pid = child(|| {
        sigmask(SIG_SETMASK, u64::MAX);
        gate.open();
        loop {
            std::hint::spin_loop();
        }
    });
    gate.wait();
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn signal_interrupts_endless_loop() {
    let gate = Gate::new();
    let pid = child(|| {
        record_on(SIGUSR1);
        gate.open();
        while seen() == 0 {
            std::hint::spin_loop();
        }
        0
    });
    gate.wait();
    must!(kill(pid, SIGUSR1));
    wait_ok(pid);
}

fn hundred_signals_between_processes() {
    let gate = Gate::new();
    let pid = child(|| {
        record_on(rt(0));
        gate.open();
        wait_until("all signals", || seen() == 100);
        check_eq!(LAST_VALUE.load(SeqCst), 99);
        0
    });
    gate.wait();
    for value in 0..100 {
        must!(sigqueue(pid, rt(0), value));
    }
    wait_ok(pid);
}

fn kill_of_all_that_may_be_signalled_by_none_succeeds() {
    need_root();
    in_child(|| {
        must!(sys!(SYS_setresuid, 54_321, 54_321, 54_321));
        check_eq!(kill(-1, 0), Ok(0));
    });
}

fn ignored_by_default_can_be_waited_for_when_blocked() {
    block(&[SIGCHLD, SIGURG]);
    let pid = child(|| 3);
    let info = must!(sigtimedwait(mask_of(&[SIGCHLD]), Some(10_000)));
    check_eq!((info.si_signo, info_child(&info).0), (SIGCHLD, pid));
    check_eq!(wait_exit(pid), 3);
    must!(kill(getpid(), SIGURG));
    check_eq!(
        sigtimedwait(mask_of(&[SIGURG]), Some(10_000)).map(|i| i.si_signo),
        Ok(SIGURG)
    );
}

cases![
    queued_signals_keep_order_and_values,
    lowest_real_time_signal_first,
    standard_before_real_time,
    handler_gets_each_queued_signal,
    sigtimedwait_times_out_with_eagain,
    sigtimedwait_returns_signal_number,
    sigtimedwait_blocks_until_sent,
    sigtimedwait_interrupted_by_other_signal,
    sigtimedwait_takes_unblocked_signals_too,
    sigtimedwait_errors,
    queue_limit_is_eagain,
    sigqueue_cannot_impersonate_the_kernel,
    tgsigqueueinfo_targets_thread,
    kill_siginfo_fields,
    tgkill_siginfo_fields,
    kill_self_is_delivered_before_return,
    signal_zero_only_checks,
    kill_errors,
    ignored_by_default_can_be_waited_for_when_blocked,
    kill_of_all_that_may_be_signalled_by_none_succeeds,
    kill_of_other_user_is_eperm,
    kill_permission_uses_real_and_saved,
    sigcont_allowed_within_session,
    kill_zero_reaches_own_group,
    kill_by_thread_id_reaches_process,
    default_actions_terminate,
    default_real_time_action_terminates,
    default_actions_ignore,
    core_signals_kill,
    sigkill_beats_blocked_everything,
    signal_interrupts_endless_loop,
    hundred_signals_between_processes,
];
