//! wait4(2), waitid(2), SIGCHLD, subreapers.

use std::sync::atomic::Ordering::SeqCst;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn waitid(kind: u32, id: i32, options: i32) -> Sys<siginfo_t> {
    let mut info: siginfo_t = zeroed();
    sys!(SYS_waitid, kind, id, &mut info, options, 0)?;
    Ok(info)
}
/// `(si_code, si_pid, si_status)`.
fn facts(info: &siginfo_t) -> (i32, i32, i32) {
    let (pid, _, status) = info_child(info);
    (info.si_code, pid, status)
}
fn sleeper() -> i32 {
    child(|| {
        loop {
            sleep_ms(1000);
        }
    })
}

fn no_children_is_echild() {
    expect_errno!(wait4(-1, 0), ECHILD);
    expect_errno!(wait4(-1, WNOHANG), ECHILD);
    expect_errno!(wait4(1, 0), ECHILD);
    expect_errno!(wait4(getpid(), 0), ECHILD);
    expect_errno!(waitid(P_ALL, 0, WEXITED).map(|_| ()), ECHILD);
}

fn nohang_returns_zero_while_running() {
    let pid = sleeper();
    check_eq!(wait4(pid, WNOHANG), Ok((0, 0)));
    let info = must!(waitid(P_PID, pid, WEXITED | WNOHANG));
    check_eq!((info.si_signo, facts(&info)), (0, (0, 0, 0)));
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn status_of_signal_death() {
    let pid = sleeper();
    must!(kill(pid, SIGTERM));
    let status = wait_status(pid);
    check!(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM && !WCOREDUMP(status));
}

fn waitid_reports_exit() {
    let pid = child(|| 17);
    let info = must!(waitid(P_PID, pid, WEXITED));
    check_eq!(info.si_signo, SIGCHLD);
    check_eq!(facts(&info), (CLD_EXITED, pid, 17));
    check_eq!(info_child(&info).1, getuid());
    expect_errno!(waitid(P_PID, pid, WEXITED).map(|_| ()), ECHILD);
}

fn waitid_reports_kill() {
    let pid = sleeper();
    must!(kill(pid, SIGKILL));
    let info = must!(waitid(P_PID, pid, WEXITED));
    check_eq!(facts(&info), (CLD_KILLED, pid, SIGKILL));
}

fn waitid_nowait_leaves_zombie() {
    let pid = child(|| 3);
    let info = must!(waitid(P_PID, pid, WEXITED | WNOWAIT));
    check_eq!(facts(&info), (CLD_EXITED, pid, 3));
    check_eq!(task_state(pid), 'Z');
    check_eq!(wait_exit(pid), 3);
}

fn waitid_option_errors() {
    let pid = child(|| 0);
    expect_errno!(waitid(P_PID, pid, 0).map(|_| ()), EINVAL);
    expect_errno!(waitid(P_PID, pid, WNOHANG).map(|_| ()), EINVAL);
    expect_errno!(waitid(P_PID, pid, 0x100 | WEXITED).map(|_| ()), EINVAL);
    expect_errno!(waitid(99, pid, WEXITED).map(|_| ()), EINVAL);
    expect_errno!(waitid(P_PID, 0, WEXITED).map(|_| ()), EINVAL);
    expect_errno!(waitid(P_PID, -1, WEXITED).map(|_| ()), EINVAL);
    wait_ok(pid);
}

fn waitid_null_info_is_allowed() {
    let pid = child(|| 0);
    must!(sys!(SYS_waitid, P_PID, pid, 0, WEXITED, 0));
}

fn wait4_option_errors() {
    expect_errno!(wait4(-1, 0x100), EINVAL);
    expect_errno!(wait4(i32::MIN, 0), ESRCH);
}

fn wait4_bad_status_pointer_is_efault_and_reaps() {
    let pid = child(|| 0);
    wait_until("zombie", || task_state(pid) == 'Z');
    expect_errno!(sys!(SYS_wait4, pid, bad::<u8>(), 0, 0), EFAULT);
    expect_errno!(wait4(pid, 0), ECHILD);
}

fn wait4_by_group() {
    let pid = child(|| {
        let _ = setpgid(0, 0);
        loop {
            sleep_ms(1000);
        }
    });
    wait_until("own group", || getpgid(pid) == Ok(pid));
    expect_errno!(wait4(0, WNOHANG), ECHILD);
    check_eq!(wait4(-pid, WNOHANG), Ok((0, 0)));
    must!(kill(pid, SIGKILL));
    check_eq!(must!(wait4(-pid, 0)).0, pid);
    let other = child(|| 0);
    check_eq!(must!(wait4(0, 0)).0, other);
}

fn waitid_by_group() {
    let pid = child(|| 4);
    check_eq!(
        facts(&must!(waitid(P_PGID, 0, WEXITED))),
        (CLD_EXITED, pid, 4)
    );
    let pid = child(|| 5);
    let group = must!(getpgid(0));
    check_eq!(
        facts(&must!(waitid(P_PGID, group, WEXITED))),
        (CLD_EXITED, pid, 5)
    );
}

fn stop_and_continue_are_reported() {
    let pid = sleeper();
    must!(kill(pid, SIGSTOP));
    let (got, status) = must!(wait4(pid, WUNTRACED));
    check!(got == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    check_eq!(wait4(pid, WUNTRACED | WNOHANG), Ok((0, 0)));
    must!(kill(pid, SIGCONT));
    let (got, status) = must!(wait4(pid, WCONTINUED));
    check!(got == pid && WIFCONTINUED(status));
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn stop_is_not_reported_without_untraced() {
    let pid = sleeper();
    must!(kill(pid, SIGSTOP));
    wait_until("stopped", || task_state(pid) == 'T');
    check_eq!(wait4(pid, WNOHANG), Ok((0, 0)));
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn waitid_stop_and_continue() {
    let pid = sleeper();
    must!(kill(pid, SIGTSTP));
    let info = must!(waitid(P_PID, pid, WSTOPPED | WNOWAIT));
    check_eq!(facts(&info), (CLD_STOPPED, pid, SIGTSTP));
    let info = must!(waitid(P_PID, pid, WSTOPPED));
    check_eq!(facts(&info), (CLD_STOPPED, pid, SIGTSTP));
    must!(kill(pid, SIGCONT));
    let info = must!(waitid(P_PID, pid, WCONTINUED));
    check_eq!(facts(&info), (CLD_CONTINUED, pid, SIGCONT));
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn sigchld_tells_exit() {
    record_on(SIGCHLD);
    let pid = child(|| 3);
    wait_until("SIGCHLD", || seen() == 1);
    check_eq!(LAST_PID.load(SeqCst), pid);
    check_eq!(LAST_CODE.load(SeqCst), CLD_EXITED);
    wait_status(pid);
}

fn sigchld_tells_stop_unless_nocldstop() {
    record_on(SIGCHLD);
    let pid = sleeper();
    must!(kill(pid, SIGSTOP));
    wait_until("SIGCHLD", || seen() == 1);
    check_eq!(LAST_CODE.load(SeqCst), CLD_STOPPED);
    handle(SIGCHLD, record, SA_NOCLDSTOP);
    must!(kill(pid, SIGCONT));
    must!(wait4(pid, WCONTINUED));
    must!(kill(pid, SIGSTOP));
    must!(wait4(pid, WUNTRACED));
    check_eq!(seen(), 1);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    wait_until("SIGCHLD of the death", || seen() == 2);
}

fn ignored_sigchld_reaps_automatically() {
    disposition(SIGCHLD, SIG_IGN);
    let pid = child(|| 3);
    expect_errno!(wait4(pid, 0), ECHILD);
    check!(kill(pid, 0) == Err(ESRCH));
}

fn nocldwait_reaps_but_signals() {
    handle(SIGCHLD, record, SA_NOCLDWAIT | SA_RESTART);
    let pid = child(|| 3);
    expect_errno!(wait4(pid, 0), ECHILD);
    wait_until("SIGCHLD", || seen() == 1);
}

fn wait_interrupted_is_eintr() {
    record_on(SIGUSR1);
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(kill(me, SIGUSR1));
        loop {
            sleep_ms(1000);
        }
    });
    expect_errno!(wait4(pid, 0), EINTR);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn wait_restarts_with_sa_restart() {
    handle(SIGUSR1, record, SA_RESTART);
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(kill(me, SIGUSR1));
        sleep_ms(30);
        7
    });
    check_eq!(must!(wait4(pid, 0)).0, pid);
    check_eq!(seen(), 1);
}

fn orphan_goes_to_subreaper() {
    must!(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    let me = getpid();
    let gate = Gate::new();
    let middle = child(|| {
        orphan(|| {
            gate.wait();
            i32::from(getppid() != me)
        });
        0
    });
    wait_ok(middle);
    gate.open();
    let (_, status) = must!(wait4(-1, 0));
    check_eq!((WIFEXITED(status), WEXITSTATUS(status)), (true, 0));
}

fn subreaper_flag_reads_back_and_is_not_inherited() {
    let mut flag = 9i32;
    must!(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    must!(prctl(PR_GET_CHILD_SUBREAPER, &mut flag, 0, 0, 0));
    check_eq!(flag, 1);
    in_child(|| {
        let mut flag = 9i32;
        must!(prctl(PR_GET_CHILD_SUBREAPER, &mut flag, 0, 0, 0));
        check_eq!(flag, 0);
    });
}

fn zombie_child_of_dead_parent_is_reaped_by_subreaper() {
    must!(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    let middle = child(|| {
        let inner = orphan(|| 9);
        wait_until("zombie", || task_state(inner) == 'Z');
        0
    });
    wait_ok(middle);
    let (_, status) = must!(wait4(-1, 0));
    check_eq!(WEXITSTATUS(status), 9);
}

fn threads_may_wait_for_each_others_children() {
    let pid = child(|| 5);
    let got = std::thread::spawn(move || wait4(pid, 0)).join();
    check_eq!(got.ok().and_then(Result::ok).map(|(p, _)| p), Some(pid));
}

fn nothread_excludes_other_threads_children() {
    let pid = child(|| 5);
    let got = std::thread::spawn(move || wait4(pid, __WNOTHREAD)).join();
    check_eq!(got.ok(), Some(Err(ECHILD)));
    check_eq!(wait_exit(pid), 5);
}

fn rusage_of_child() {
    let pid = child(|| {
        let p = anon(512);
        put_bytes(p, &vec![1; 512 * PAGE]);
        0
    });
    let mut usage: rusage = zeroed();
    let mut status = 0i32;
    check_eq!(
        sys!(SYS_wait4, pid, &mut status, 0, &mut usage),
        Ok(i64::from(pid))
    );
    check!(usage.ru_maxrss > 0);
}

fn oldest_of_several_any_order() {
    let pids: Vec<i32> = (0..5).map(|i| child(move || i)).collect();
    let mut got: Vec<i32> = (0..5).map(|_| must!(wait4(-1, 0)).0).collect();
    got.sort_unstable();
    let mut want = pids;
    want.sort_unstable();
    check_eq!(got, want);
}

fn kill_zombie_succeeds() {
    let pid = child(|| 0);
    wait_until("zombie", || task_state(pid) == 'Z');
    check_eq!(kill(pid, SIGTERM), Ok(0));
    wait_ok(pid);
    expect_errno!(kill(pid, SIGTERM), ESRCH);
}

cases![
    no_children_is_echild,
    nohang_returns_zero_while_running,
    status_of_signal_death,
    waitid_reports_exit,
    waitid_reports_kill,
    waitid_nowait_leaves_zombie,
    waitid_option_errors,
    waitid_null_info_is_allowed,
    wait4_option_errors,
    wait4_bad_status_pointer_is_efault_and_reaps,
    wait4_by_group,
    waitid_by_group,
    stop_and_continue_are_reported,
    stop_is_not_reported_without_untraced,
    waitid_stop_and_continue,
    sigchld_tells_exit,
    sigchld_tells_stop_unless_nocldstop,
    ignored_sigchld_reaps_automatically,
    nocldwait_reaps_but_signals,
    wait_interrupted_is_eintr,
    wait_restarts_with_sa_restart,
    orphan_goes_to_subreaper,
    subreaper_flag_reads_back_and_is_not_inherited,
    zombie_child_of_dead_parent_is_reaped_by_subreaper,
    threads_may_wait_for_each_others_children,
    nothread_excludes_other_threads_children,
    rusage_of_child,
    oldest_of_several_any_order,
    kill_zombie_succeeds,
];
