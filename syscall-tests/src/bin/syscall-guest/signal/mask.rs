//! rt_sigprocmask(2), rt_sigpending(2), rt_sigaction(2), rt_sigsuspend(2).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn how_values() {
    sigmask(SIG_SETMASK, mask_of(&[SIGUSR1]));
    check_eq!(block(&[SIGUSR2]), mask_of(&[SIGUSR1]));
    check_eq!(unblock(&[SIGUSR1]), mask_of(&[SIGUSR1, SIGUSR2]));
    check_eq!(current_mask(), mask_of(&[SIGUSR2]));
}

fn kill_and_stop_cannot_be_blocked() {
    sigmask(SIG_SETMASK, u64::MAX);
    check_eq!(current_mask(), !mask_of(&[SIGKILL, SIGSTOP]));
}

fn errors() {
    let set: Mask = 0;
    expect_errno!(sys!(SYS_rt_sigprocmask, 3, &set, 0, 8), EINVAL);
    expect_errno!(sys!(SYS_rt_sigprocmask, 0, &set, 0, 4), EINVAL);
    expect_errno!(sys!(SYS_rt_sigprocmask, 0, bad::<u8>(), 0, 8), EFAULT);
    expect_errno!(sys!(SYS_rt_sigprocmask, 0, 0, bad::<u8>(), 8), EFAULT);
    check_eq!(sys!(SYS_rt_sigprocmask, 99, 0, 0, 8), Ok(0));
}

fn new_mask_is_set_before_old_pointer_fails() {
    let set = mask_of(&[SIGUSR1]);
    expect_errno!(
        sys!(SYS_rt_sigprocmask, SIG_BLOCK, &set, bad::<u8>(), 8),
        EFAULT
    );
    check_eq!(current_mask(), set);
}

fn blocked_signal_is_pending_until_unblocked() {
    record_on(SIGUSR1);
    block(&[SIGUSR1]);
    raise(SIGUSR1);
    check!(is_pending(SIGUSR1));
    check_eq!(seen(), 0);
    unblock(&[SIGUSR1]);
    check_eq!(seen(), 1);
    check!(!is_pending(SIGUSR1));
}

fn standard_signals_do_not_queue() {
    record_on(SIGUSR1);
    block(&[SIGUSR1]);
    for _ in 0..5 {
        raise(SIGUSR1);
    }
    unblock(&[SIGUSR1]);
    check_eq!(seen(), 1);
}

fn process_and_thread_pending_are_separate() {
    record_on(SIGUSR1);
    block(&[SIGUSR1]);
    raise(SIGUSR1);
    must!(kill(getpid(), SIGUSR1));
    unblock(&[SIGUSR1]);
    check_eq!(seen(), 2);
}

fn pending_set_errors() {
    expect_errno!(sys!(SYS_rt_sigpending, bad::<u8>(), 8), EFAULT);
    expect_errno!(sys!(SYS_rt_sigpending, anon(1), 9), EINVAL);
    check_eq!(sys!(SYS_rt_sigpending, anon(1), 4), Ok(0));
}

fn ignored_signal_is_dropped_even_when_blocked() {
    block(&[SIGUSR1]);
    disposition(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    // Blocked signals are kept, since the disposition may still change.
    let kept = is_pending(SIGUSR1);
    disposition(SIGUSR1, SIG_IGN);
    check!(!is_pending(SIGUSR1), "was kept: {kept}");
}

fn setting_ignore_flushes_pending() {
    record_on(SIGUSR1);
    block(&[SIGUSR1]);
    raise(SIGUSR1);
    disposition(SIGUSR1, SIG_IGN);
    check!(!is_pending(SIGUSR1));
    record_on(SIGUSR1);
    unblock(&[SIGUSR1]);
    check_eq!(seen(), 0);
}

fn default_ignored_signals_flush_too() {
    record_on(SIGCHLD);
    block(&[SIGCHLD]);
    raise(SIGCHLD);
    check!(is_pending(SIGCHLD));
    disposition(SIGCHLD, SIG_DFL);
    check!(!is_pending(SIGCHLD));
}

fn sigaction_returns_previous() {
    handle_masked(SIGUSR1, record, SA_RESTART, &[SIGUSR2]);
    let old = must!(get_action(SIGUSR1));
    check_eq!(old.handler, record as Handler as usize);
    check_eq!(old.mask, mask_of(&[SIGUSR2]));
    check_eq!(
        old.flags as i32 & (SA_RESTART | SA_SIGINFO),
        SA_RESTART | SA_SIGINFO
    );
    check_eq!(must!(get_action(SIGHUP)).handler, SIG_DFL);
}

fn sigaction_errors() {
    let act = KernelSigaction::default();
    expect_errno!(sys!(SYS_rt_sigaction, 0, &act, 0, 8), EINVAL);
    expect_errno!(sys!(SYS_rt_sigaction, 65, &act, 0, 8), EINVAL);
    expect_errno!(sys!(SYS_rt_sigaction, -1, &act, 0, 8), EINVAL);
    expect_errno!(sys!(SYS_rt_sigaction, SIGKILL, &act, 0, 8), EINVAL);
    expect_errno!(sys!(SYS_rt_sigaction, SIGSTOP, &act, 0, 8), EINVAL);
    check_eq!(must!(get_action(SIGKILL)).handler, SIG_DFL);
    expect_errno!(sys!(SYS_rt_sigaction, SIGUSR1, &act, 0, 7), EINVAL);
    expect_errno!(sys!(SYS_rt_sigaction, SIGUSR1, bad::<u8>(), 0, 8), EFAULT);
    expect_errno!(sys!(SYS_rt_sigaction, SIGUSR1, 0, bad::<u8>(), 8), EFAULT);
}

static MASK_IN_HANDLER: AtomicU64 = AtomicU64::new(0);
extern "C" fn note_mask(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    MASK_IN_HANDLER.store(current_mask(), SeqCst);
}

fn mask_in_handler_and_after() {
    handle_masked(SIGUSR1, note_mask, 0, &[SIGUSR2]);
    block(&[SIGHUP]);
    raise(SIGUSR1);
    check_eq!(
        MASK_IN_HANDLER.load(SeqCst),
        mask_of(&[SIGUSR1, SIGUSR2, SIGHUP])
    );
    check_eq!(current_mask(), mask_of(&[SIGHUP]));
}

fn nodefer_leaves_signal_open() {
    handle_masked(SIGUSR1, note_mask, SA_NODEFER, &[SIGUSR2]);
    raise(SIGUSR1);
    check_eq!(MASK_IN_HANDLER.load(SeqCst), mask_of(&[SIGUSR2]));
}

fn nodefer_with_signal_in_mask_blocks() {
    handle_masked(SIGUSR1, note_mask, SA_NODEFER, &[SIGUSR1]);
    raise(SIGUSR1);
    check_eq!(MASK_IN_HANDLER.load(SeqCst), mask_of(&[SIGUSR1]));
}

fn resethand_resets_after_one() {
    handle(SIGUSR1, record, SA_RESETHAND);
    raise(SIGUSR1);
    check_eq!(seen(), 1);
    check_eq!(must!(get_action(SIGUSR1)).handler, SIG_DFL);
    expect_killed(SIGUSR1, || raise(SIGUSR1));
}

fn sigsuspend_swaps_mask_and_restores() {
    record_on(SIGUSR1);
    block(&[SIGUSR1, SIGUSR2]);
    raise(SIGUSR1);
    let temporary = mask_of(&[SIGUSR2]);
    expect_errno!(sys!(SYS_rt_sigsuspend, &temporary, 8), EINTR);
    check_eq!(seen(), 1);
    check_eq!(current_mask(), mask_of(&[SIGUSR1, SIGUSR2]));
}

fn sigsuspend_waits() {
    handle(SIGUSR1, note_mask, 0);
    block(&[SIGUSR1]);
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(kill(me, SIGUSR1));
        0
    });
    let temporary = mask_of(&[SIGHUP]);
    expect_errno!(sys!(SYS_rt_sigsuspend, &temporary, 8), EINTR);
    check_eq!(MASK_IN_HANDLER.load(SeqCst), mask_of(&[SIGUSR1, SIGHUP]));
    wait_ok(pid);
}

fn sigsuspend_errors() {
    expect_errno!(sys!(SYS_rt_sigsuspend, bad::<u8>(), 8), EFAULT);
    expect_errno!(sys!(SYS_rt_sigsuspend, anon(1), 4), EINVAL);
}

fn pause_returns_eintr() {
    record_on(SIGALRM);
    let value = [0i64, 0, 0, 20_000];
    must!(sys!(SYS_setitimer, ITIMER_REAL, &value, 0));
    expect_errno!(sys!(SYS_pause), EINTR);
    check_eq!(seen(), 1);
}

static ORDER_SEEN: AtomicUsize = AtomicUsize::new(0);
extern "C" fn order(signal: i32, _: *mut siginfo_t, _: *mut c_void) {
    ORDER_SEEN.store(ORDER_SEEN.load(SeqCst) << 8 | signal as usize, SeqCst);
}

fn several_pending_run_lowest_number_first() {
    // Handlers run in reverse stacking order: with all others masked while
    // one runs, the lowest number starts first.
    let all = [SIGHUP, SIGUSR1, SIGUSR2, SIGTERM];
    for s in all {
        handle_masked(s, order, 0, &all);
    }
    block(&all);
    for s in all.iter().rev() {
        raise(*s);
    }
    unblock(&all);
    let want = all.iter().fold(0usize, |o, s| o << 8 | *s as usize);
    check_eq!(ORDER_SEEN.load(SeqCst), want);
}

fn unmasked_pending_stack_so_that_highest_runs_last_started() {
    let all = [SIGHUP, SIGUSR1, SIGUSR2];
    for s in all {
        handle(s, order, 0);
    }
    block(&all);
    for s in all {
        raise(s);
    }
    unblock(&all);
    // Each new frame interrupts the one set up before, before it ran.
    let want = all.iter().rev().fold(0usize, |o, s| o << 8 | *s as usize);
    check_eq!(ORDER_SEEN.load(SeqCst), want);
}

fn thread_masks_are_separate_and_inherited() {
    block(&[SIGUSR1]);
    let inner = std::thread::spawn(|| {
        let inherited = current_mask();
        block(&[SIGUSR2]);
        inherited
    });
    check_eq!(
        inner.join().unwrap_or(0) & mask_of(&[SIGUSR1]),
        mask_of(&[SIGUSR1])
    );
    check_eq!(current_mask(), mask_of(&[SIGUSR1]));
}

fn process_signal_goes_to_a_thread_that_wants_it() {
    record_on(SIGUSR1);
    static TID: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn who(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        TID.store(gettid() as usize, SeqCst);
    }
    handle(SIGUSR1, who, 0);
    let gate = Gate::new();
    let thread = std::thread::spawn(move || {
        gate.open();
        wait_until("the signal", || TID.load(SeqCst) != 0);
        gettid()
    });
    gate.wait();
    block(&[SIGUSR1]);
    must!(kill(getpid(), SIGUSR1));
    let tid = thread.join().unwrap_or(0);
    check_eq!(TID.load(SeqCst), tid as usize);
}

fn all_threads_block_then_one_unblocks() {
    record_on(SIGUSR1);
    block(&[SIGUSR1]);
    let thread = std::thread::spawn(|| {
        wait_until("pending", || is_pending(SIGUSR1));
        unblock(&[SIGUSR1]);
        seen()
    });
    must!(kill(getpid(), SIGUSR1));
    check_eq!(thread.join().unwrap_or(0), 1);
}

cases![
    how_values,
    kill_and_stop_cannot_be_blocked,
    errors,
    new_mask_is_set_before_old_pointer_fails,
    blocked_signal_is_pending_until_unblocked,
    standard_signals_do_not_queue,
    process_and_thread_pending_are_separate,
    pending_set_errors,
    ignored_signal_is_dropped_even_when_blocked,
    setting_ignore_flushes_pending,
    default_ignored_signals_flush_too,
    sigaction_returns_previous,
    sigaction_errors,
    mask_in_handler_and_after,
    nodefer_leaves_signal_open,
    nodefer_with_signal_in_mask_blocks,
    resethand_resets_after_one,
    sigsuspend_swaps_mask_and_restores,
    sigsuspend_waits,
    sigsuspend_errors,
    pause_returns_eintr,
    several_pending_run_lowest_number_first,
    unmasked_pending_stack_so_that_highest_runs_last_started,
    thread_masks_are_separate_and_inherited,
    process_signal_goes_to_a_thread_that_wants_it,
    all_threads_block_then_one_unblocks,
];
