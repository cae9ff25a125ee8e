//! seccomp(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

/// code, jt, jf, k.
type Insn = (u16, u8, u8, u32);

const fn ld(offset: u32) -> Insn {
    (0x20, 0, 0, offset)
}
const fn jeq(k: u32, jt: u8, jf: u8) -> Insn {
    (0x15, jt, jf, k)
}
const fn ret(k: u32) -> Insn {
    (0x06, 0, 0, k)
}

/// Installs a program; what seccomp(2) returned.
fn install(program: &[Insn], flags: u32) -> Sys {
    let words: Vec<u64> = program
        .iter()
        .map(|(code, jt, jf, k)| {
            u64::from(*code) | u64::from(*jt) << 16 | u64::from(*jf) << 24 | u64::from(*k) << 32
        })
        .collect();
    let head = [words.len() as u64, words.as_ptr() as u64];
    sys!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &head)
}

/// A filter that answers call `nr` with `action` and allows the rest.
fn on(nr: i64, action: u32) {
    must!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    must!(install(
        &[ld(0), jeq(nr as u32, 0, 1), ret(action), ret(RET_ALLOW)],
        0
    ));
}

fn errno_is_returned() {
    on(SYS_getppid, RET_ERRNO | ENOTTY as u32);
    expect_errno!(sys!(SYS_getppid), ENOTTY);
    // Also by calls that need no kernel's state.
    on(SYS_getpid, RET_ERRNO | 99);
    expect_errno!(sys!(SYS_getpid), 99);
    on(SYS_sched_yield, RET_ERRNO | 98);
    expect_errno!(sys!(SYS_sched_yield), 98);
    on(SYS_gettid, RET_ERRNO);
    check_eq!(sys!(SYS_gettid), Ok(0));
    on(SYS_getsid, RET_ERRNO | 0xffff);
    expect_errno!(sys!(SYS_getsid, 0), 4095);
    on(SYS_getpgid, RET_LOG);
    check!(sys!(SYS_getpgid, 0).is_ok());
    on(SYS_getpgrp, RET_TRACE | 5);
    expect_errno!(sys!(SYS_getpgrp), ENOSYS);
}

fn futexes_are_filtered_by_arguments() {
    let word = 0u32;
    must!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    // FUTEX_WAKE is refused, others are not: the operation is argument 1, at offset 24.
    must!(install(
        &[
            ld(0),
            jeq(SYS_futex as u32, 0, 3),
            ld(24),
            jeq(FUTEX_WAKE as u32, 0, 1),
            ret(RET_ERRNO | 77),
            ret(RET_ALLOW),
        ],
        0
    ));
    expect_errno!(sys!(SYS_futex, &word, FUTEX_WAKE, 1), 77);
    expect_errno!(sys!(SYS_futex, &word, FUTEX_WAIT, 1, 0), EAGAIN);
    let soon = timespec_ms(5);
    expect_errno!(sys!(SYS_futex, &word, FUTEX_WAIT, 0, &soon), ETIMEDOUT);
    expect_errno!(sys!(SYS_futex, &word, 99, 0, 0), ENOSYS);
    check_eq!(sys!(SYS_sched_yield), Ok(0));
    // A signal ends a wait as ever.
    record_on(SIGALRM);
    must!(sys!(SYS_setitimer, ITIMER_REAL, &[0i64, 0, 0, 20_000], 0));
    expect_errno!(sys!(SYS_futex, &word, FUTEX_WAIT, 0, 0), EINTR);
    // And threads work.
    let t = std::thread::spawn(|| sys!(SYS_sched_yield));
    check!(matches!(t.join(), Ok(Ok(0))));
}

fn killing_actions() {
    expect_killed(SIGSYS, || {
        on(SYS_getppid, RET_KILL_PROCESS);
        let _ = sys!(SYS_getppid);
    });
    expect_killed(SIGSYS, || {
        on(SYS_getppid, RET_KILL_THREAD);
        let _ = sys!(SYS_getppid);
    });
    // An unknown action kills too.
    expect_killed(SIGSYS, || {
        on(SYS_getppid, 0x1234_0000);
        let _ = sys!(SYS_getppid);
    });
    expect_killed(SIGSYS, || {
        let t = std::thread::spawn(|| {
            on(SYS_getppid, RET_KILL_PROCESS);
            let _ = sys!(SYS_getppid);
        });
        let _ = t.join();
        sleep_ms(1000);
    });
}

fn trap_is_sigsys_with_details() {
    record_on(SIGSYS);
    on(SYS_getpgrp, RET_TRAP | 42);
    let result = sys!(SYS_getpgrp);
    // The register still holds the number.
    check_eq!(result, Ok(SYS_getpgrp));
    check_eq!(
        (seen(), LAST_CODE.load(std::sync::atomic::Ordering::SeqCst)),
        (1, 1)
    );
    // Blocked, it kills.
    expect_killed(SIGSYS, || {
        block(&[SIGSYS]);
        let _ = sys!(SYS_getpgrp);
    });
    expect_killed(SIGSYS, || {
        disposition(SIGSYS, SIG_IGN);
        let _ = sys!(SYS_getpgrp);
    });
}

fn gravest_action_wins_and_newest_says_which() {
    on(SYS_getpgrp, RET_ERRNO | 1);
    on(SYS_getpgrp, RET_ERRNO | 2);
    expect_errno!(sys!(SYS_getpgrp), 2);
    on(SYS_getpgrp, RET_TRACE);
    expect_errno!(sys!(SYS_getpgrp), 2);
    expect_killed(SIGSYS, || {
        on(SYS_getpgrp, RET_KILL_THREAD);
        on(SYS_getpgrp, RET_ALLOW);
        let _ = sys!(SYS_getpgrp);
    });
}

fn data_shows_architecture_and_arguments() {
    must!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    // The architecture, both halves of argument 5, and an instruction pointer that is not zero.
    must!(install(
        &[
            ld(0),
            jeq(SYS_getsid as u32, 1, 0),
            ret(RET_ALLOW),
            ld(4),
            jeq(0xc000_003e, 0, 6),
            ld(56),
            jeq(0x5566_7788, 0, 4),
            ld(60),
            jeq(0x1122_3344, 0, 2),
            ld(8),
            jeq(0, 0, 1),
            ret(RET_ERRNO | 1),
            ret(RET_ERRNO | 2),
        ],
        0
    ));
    expect_errno!(sys!(SYS_getsid, 0, 0, 0, 0, 0, 0x1122_3344_5566_7788u64), 2);
    expect_errno!(sys!(SYS_getsid, 0, 0, 0, 0, 0, 0x1122_3344_5566_7789u64), 1);
}

fn inherited_by_children_threads_and_programs() {
    on(SYS_getpgrp, RET_ERRNO | 11);
    in_child(|| expect_errno!(sys!(SYS_getpgrp), 11));
    let t = std::thread::spawn(|| sys!(SYS_getpgrp));
    check_eq!(t.join().ok(), Some(Err(11)));
    check_eq!(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), Ok(2));
    let text = must!(read_file(c"/proc/self/status"));
    let text = String::from_utf8_lossy(&text).into_owned();
    check!(text.contains("Seccomp:\t2\n"));
    // A program can't even end under a filter that lets it not.
    let pid = child(|| {
        on(SYS_exit_group, RET_KILL_PROCESS);
        let _ = execve(&self_exe(), &[c"p", c"--helper", c"exit", c"0"], &[]);
        sys!(SYS_kill, sys!(SYS_gettid).unwrap_or(0), SIGKILL).map_or(1, |_| 0)
    });
    wait_killed(pid, SIGSYS);
}

fn needs_no_new_privs_or_a_capability() {
    need_root();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(install(&[ret(RET_ALLOW)], 0), EACCES);
        must!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        must!(install(&[ret(RET_ALLOW)], 0));
    });
    in_child(|| {
        must!(install(&[ret(RET_ALLOW)], 0));
    });
}

fn bad_programs_and_arguments() {
    must!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    expect_errno!(install(&[], 0), EINVAL);
    expect_errno!(install(&[ld(0)], 0), EINVAL);
    expect_errno!(install(&[ld(1), ret(0)], 0), EINVAL);
    expect_errno!(install(&[ld(64), ret(0)], 0), EINVAL);
    expect_errno!(install(&[(0x05, 0, 0, 1), ret(0)], 0), EINVAL);
    expect_errno!(install(&[(0x60, 0, 0, 0), ret(0)], 0), EINVAL);
    expect_errno!(install(&[ret(RET_ALLOW)], 1 << 30), EINVAL);
    expect_errno!(
        sys!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, bad::<u8>()),
        EFAULT
    );
    expect_errno!(sys!(SYS_seccomp, 99, 0, 0), EINVAL);
    expect_errno!(sys!(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, 0), EINVAL);
    expect_errno!(prctl(PR_SET_SECCOMP, 9, 0, 0, 0), EINVAL);
    check_eq!(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), Ok(0));
    for action in [RET_KILL_PROCESS, RET_TRAP, RET_ERRNO, RET_LOG, RET_ALLOW] {
        check_eq!(
            sys!(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action),
            Ok(0)
        );
    }
    expect_errno!(
        sys!(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &0x1234_0000u32),
        EOPNOTSUPP
    );
}

fn strict_mode_allows_four_calls() {
    let (r, w) = must!(pipe());
    expect_killed(SIGKILL, || {
        must!(prctl(PR_SET_SECCOMP, 1, 0, 0, 0));
        let _ = write(w, b"x");
        let _ = sys!(SYS_getppid);
        let _ = write(w, b"y");
    });
    check_eq!(read_vec(r, 9), Ok(b"x".to_vec()));
    let pid = child(|| {
        must!(prctl(PR_SET_SECCOMP, 1, 0, 0, 0));
        let _ = sys!(SYS_exit, 5);
        0
    });
    check_eq!(wait_exit(pid), 5);
}

fn all_threads_can_be_put_under_the_filter() {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    static STEP: AtomicU32 = AtomicU32::new(0);
    let t = std::thread::spawn(|| {
        STEP.store(1, SeqCst);
        while STEP.load(SeqCst) == 1 {
            std::hint::spin_loop();
        }
        let result = sys!(SYS_getppid);
        (result, prctl(PR_GET_SECCOMP, 0, 0, 0, 0))
    });
    while STEP.load(SeqCst) == 0 {
        std::hint::spin_loop();
    }
    must!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    let program = [
        ld(0),
        jeq(SYS_getppid as u32, 0, 1),
        ret(RET_ERRNO | 33),
        ret(RET_ALLOW),
    ];
    check_eq!(install(&program, SECCOMP_FILTER_FLAG_TSYNC as u32), Ok(0));
    STEP.store(2, SeqCst);
    check_eq!(t.join().ok(), Some((Err(33), Ok(2))));
    // A thread with a filter of its own can't follow.
    let gone = std::sync::Arc::new(AtomicU32::new(0));
    let theirs = gone.clone();
    let t = std::thread::spawn(move || {
        on(SYS_getsid, RET_ERRNO | 1);
        theirs.store(gettid() as u32, SeqCst);
        while theirs.load(SeqCst) != 0 {
            std::hint::spin_loop();
        }
    });
    while gone.load(SeqCst) == 0 {
        std::hint::spin_loop();
    }
    let odd = install(&program, SECCOMP_FILTER_FLAG_TSYNC as u32);
    let tid = gone.swap(0, SeqCst);
    let _ = t.join();
    check_eq!(odd, Ok(i64::from(tid)));
}

cases![
    errno_is_returned,
    futexes_are_filtered_by_arguments,
    killing_actions,
    trap_is_sigsys_with_details,
    gravest_action_wins_and_newest_says_which,
    data_shows_architecture_and_arguments,
    inherited_by_children_threads_and_programs,
    needs_no_new_privs_or_a_capability,
    bad_programs_and_arguments,
    strict_mode_allows_four_calls,
    all_threads_can_be_put_under_the_filter,
];
