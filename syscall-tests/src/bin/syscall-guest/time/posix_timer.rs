//! timer_create(2) and relatives.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

#[repr(C)]
#[derive(Clone, Copy)]
struct Event {
    value: u64,
    signal: i32,
    notify: i32,
    tid: i32,
    rest: [i32; 11],
}
fn event(signal: i32, notify: i32, tid: i32, value: u64) -> Event {
    Event {
        value,
        signal,
        notify,
        tid,
        rest: [0; 11],
    }
}
fn create(clock: i32, ev: &Event) -> Sys<i32> {
    let mut id = -1i32;
    sys!(SYS_timer_create, clock, ev, &mut id)?;
    Ok(id)
}
fn arm(id: i32, value_ms: i64, interval_ms: i64) -> Sys {
    let spec = itimerspec {
        it_interval: timespec_ms(interval_ms),
        it_value: timespec_ms(value_ms),
    };
    sys!(SYS_timer_settime, id, 0, &spec, 0)
}

fn default_event_is_sigalrm_with_id() {
    record_on(SIGALRM);
    let mut id = -1i32;
    must!(sys!(SYS_timer_create, CLOCK_MONOTONIC, 0, &mut id));
    must!(arm(id, 10, 0));
    wait_until("expiry", || seen() == 1);
    check_eq!(LAST_CODE.load(SeqCst), SI_TIMER);
    check_eq!(LAST_VALUE.load(SeqCst) as i32, id);
}

fn signal_with_value() {
    let rt = SIGRTMIN() + 2;
    record_on(rt);
    let id = must!(create(CLOCK_REALTIME, &event(rt, 0, 0, 4711)));
    must!(arm(id, 10, 0));
    wait_until("expiry", || seen() == 1);
    check_eq!(
        (LAST_SIGNAL.load(SeqCst), LAST_VALUE.load(SeqCst)),
        (rt, 4711)
    );
    sleep_ms(20);
    check_eq!(seen(), 1);
}

fn interval_repeats_until_disarmed() {
    record_on(SIGUSR1);
    let id = must!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 0, 0, 0)));
    must!(arm(id, 5, 5));
    wait_until("three expiries", || seen() >= 3);
    must!(arm(id, 0, 0));
    let count = seen();
    sleep_ms(20);
    check!(seen() <= count + 1);
}

fn overrun_counts_missed_expiries() {
    block(&[SIGUSR1]);
    let id = must!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 0, 0, 0)));
    must!(arm(id, 2, 2));
    sleep_ms(40);
    let info = must!(sigtimedwait(mask_of(&[SIGUSR1]), Some(1000)));
    check_eq!(info.si_code, SI_TIMER);
    let overrun = must!(sys!(SYS_timer_getoverrun, id));
    check!(overrun >= 10, "{overrun}");
}

fn thread_id_event_targets_thread() {
    static TID: AtomicI32 = AtomicI32::new(0);
    extern "C" fn who(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        TID.store(gettid(), SeqCst);
    }
    handle(SIGUSR1, who, 0);
    let t = std::thread::spawn(|| {
        let id = must!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 4, gettid(), 0)));
        must!(arm(id, 10, 0));
        wait_until("expiry", || TID.load(SeqCst) != 0);
        gettid()
    });
    check_eq!(t.join().unwrap_or(0), TID.load(SeqCst));
}

fn none_event_only_counts_down() {
    let id = must!(create(CLOCK_MONOTONIC, &event(0, 1, 0, 0)));
    must!(arm(id, 100_000, 0));
    let mut now: itimerspec = zeroed();
    must!(sys!(SYS_timer_gettime, id, &mut now));
    check!(now.it_value.tv_sec >= 90 && now.it_value.tv_sec <= 100);
    must!(arm(id, 5, 0));
    sleep_ms(15);
    must!(sys!(SYS_timer_gettime, id, &mut now));
    check_eq!((now.it_value.tv_sec, now.it_value.tv_nsec), (0, 0));
}

fn absolute_time() {
    record_on(SIGUSR1);
    let id = must!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 0, 0, 0)));
    let at = now_ms() + 20;
    let spec = itimerspec {
        it_interval: timespec_ms(0),
        it_value: timespec_ms(at),
    };
    must!(sys!(SYS_timer_settime, id, TIMER_ABSTIME, &spec, 0));
    wait_until("expiry", || seen() == 1);
    check!(now_ms() >= at - 1);
}

fn deleted_timer_is_einval() {
    let id = must!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 0, 0, 0)));
    must!(sys!(SYS_timer_delete, id));
    expect_errno!(sys!(SYS_timer_delete, id), EINVAL);
    expect_errno!(arm(id, 1, 0), EINVAL);
    expect_errno!(sys!(SYS_timer_getoverrun, id), EINVAL);
    expect_errno!(sys!(SYS_timer_gettime, id, anon(1)), EINVAL);
}

fn errors() {
    expect_errno!(create(99, &event(SIGUSR1, 0, 0, 0)), EINVAL);
    expect_errno!(create(CLOCK_MONOTONIC, &event(65, 0, 0, 0)), EINVAL);
    expect_errno!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 9, 0, 0)), EINVAL);
    expect_errno!(
        create(CLOCK_MONOTONIC, &event(SIGUSR1, 4, 0x3fff_fff0, 0)),
        EINVAL
    );
    let mut id = 0i32;
    expect_errno!(
        sys!(SYS_timer_create, CLOCK_MONOTONIC, bad::<u8>(), &mut id),
        EFAULT
    );
    expect_errno!(
        sys!(SYS_timer_create, CLOCK_MONOTONIC, 0, bad::<u8>()),
        EFAULT
    );
    let id = must!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 0, 0, 0)));
    expect_errno!(sys!(SYS_timer_settime, id, 0, bad::<u8>(), 0), EFAULT);
    expect_errno!(sys!(SYS_timer_settime, id, 0, 0, 0), EINVAL);
    let mut spec: itimerspec = zeroed();
    spec.it_value.tv_nsec = 1_000_000_000;
    expect_errno!(sys!(SYS_timer_settime, id, 0, &spec, 0), EINVAL);
}

fn not_inherited_by_fork() {
    let id = must!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 0, 0, 0)));
    in_child(|| expect_errno!(sys!(SYS_timer_delete, id), EINVAL));
}

fn deleted_by_exec() {
    let pid = child(|| {
        let id = must!(create(CLOCK_MONOTONIC, &event(SIGTERM, 0, 0, 0)));
        must!(arm(id, 50, 0));
        let _ = exec_helper(c"nap", &[]);
        250
    });
    check_eq!(wait_exit(pid), 0);
}

fn cpu_time_timer() {
    record_on(SIGUSR1);
    let id = must!(create(CLOCK_PROCESS_CPUTIME_ID, &event(SIGUSR1, 0, 0, 0)));
    must!(arm(id, 20, 0));
    sleep_ms(50);
    check_eq!(seen(), 0);
    let start = now_ms();
    while seen() == 0 && now_ms() - start < 10_000 {
        std::hint::black_box((0..10_000).sum::<u64>());
    }
    check_eq!(seen(), 1);
}

fn ignored_signal_timer_keeps_running() {
    disposition(SIGUSR1, SIG_IGN);
    let id = must!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 0, 0, 0)));
    must!(arm(id, 3, 3));
    sleep_ms(20);
    record_on(SIGUSR1);
    wait_until("later expiry", || seen() >= 1);
}

fn setting_the_signal_ignored_does_not_stop_the_timer() {
    block(&[SIGUSR1]);
    let id = must!(create(CLOCK_MONOTONIC, &event(SIGUSR1, 0, 0, 0)));
    must!(arm(id, 3, 3));
    wait_until("pending", || is_pending(SIGUSR1));
    // Takes it from the queue.
    disposition(SIGUSR1, SIG_IGN);
    record_on(SIGUSR1);
    unblock(&[SIGUSR1]);
    wait_until("later expiry", || seen() >= 2);
}

cases![
    default_event_is_sigalrm_with_id,
    signal_with_value,
    interval_repeats_until_disarmed,
    overrun_counts_missed_expiries,
    thread_id_event_targets_thread,
    none_event_only_counts_down,
    absolute_time,
    deleted_timer_is_einval,
    errors,
    not_inherited_by_fork,
    deleted_by_exec,
    cpu_time_timer,
    ignored_signal_timer_keeps_running,
    setting_the_signal_ignored_does_not_stop_the_timer,
];
