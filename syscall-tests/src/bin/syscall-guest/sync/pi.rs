//! futex(2): locks with priority inheritance.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

const PRIVATE: i32 = 128;
const REALTIME: i32 = 256;
const WAITERS: u32 = 1 << 31;
const OWNER_DIED: u32 = 1 << 30;
const TID: u32 = OWNER_DIED - 1;

fn op(word: *const u32, op: i32, value: u32, timeout: usize, word2: usize, value3: u32) -> Sys {
    sys!(SYS_futex, word, op, value, timeout, word2, value3)
}
fn word() -> *mut u32 {
    shared(1).cast()
}
fn lock(w: *mut u32) -> Sys {
    op(w, FUTEX_LOCK_PI, 0, 0, 0, 0)
}
fn try_lock(w: *mut u32) -> Sys {
    op(w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0)
}
fn unlock(w: *mut u32) -> Sys {
    op(w, FUTEX_UNLOCK_PI, 0, 0, 0, 0)
}
fn me() -> u32 {
    gettid() as u32
}
/// Starts a child that takes the lock, and waits until it sleeps for it.
fn locker(w: *mut u32, then: impl FnOnce()) -> i32 {
    let pid = child(move || {
        check_eq!(lock(w), Ok(0));
        then();
        0
    });
    wait_asleep(pid);
    pid
}

fn handed_over_in_turn() {
    let w = word();
    let order = shared(1).cast::<AtomicU32>();
    must!(lock(w));
    let pids: Vec<i32> = (0..3)
        .map(|i| {
            locker(w, move || {
                let order = unsafe { &*order };
                order.store(order.load(SeqCst) * 10 + i + 1, SeqCst);
                check_eq!(peek(w) & TID, me());
                check_eq!(unlock(w), Ok(0));
            })
        })
        .collect();
    check_eq!(peek(w), me() | WAITERS);
    must!(unlock(w));
    pids.into_iter().for_each(wait_ok);
    check_eq!(peek(w), 0);
    check_eq!(unsafe { &*order }.load(SeqCst), 123);
}

fn word_says_who_waits() {
    let w = word();
    must!(lock(w));
    check_eq!(peek(w), me());
    let pid = child(|| {
        check_eq!(lock(w), Ok(0));
        0
    });
    wait_asleep(pid);
    check_eq!(peek(w), me() | WAITERS);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    must!(unlock(w));
    check_eq!(peek(w), 0);
}

fn timeout_is_etimedout() {
    let w = word();
    must!(lock(w));
    in_child(|| {
        let start = now_ms();
        let now = clock(CLOCK_REALTIME);
        let at = timespec_ms(now / 1_000_000 + 50);
        let at = &raw const at as usize;
        expect_errno!(op(w, FUTEX_LOCK_PI, 0, at, 0, 0), ETIMEDOUT);
        check!(now_ms() - start >= 40);
        let at = timespec_ms(start + 100);
        let at = &raw const at as usize;
        expect_errno!(op(w, FUTEX_LOCK_PI2, 0, at, 0, 0), ETIMEDOUT);
        check!(now_ms() - start >= 99);
        // One that has passed is as good.
        let at = timespec_ms(1);
        let at = &raw const at as usize;
        expect_errno!(op(w, FUTEX_LOCK_PI2 | REALTIME, 0, at, 0, 0), ETIMEDOUT);
    });
    must!(unlock(w));
    check_eq!(peek(w), 0);
}

fn errors() {
    let w = word();
    must!(lock(w));
    expect_errno!(lock(w), EDEADLK);
    expect_errno!(try_lock(w), EDEADLK);
    in_child(|| {
        expect_errno!(try_lock(w), EAGAIN);
        expect_errno!(unlock(w), EPERM);
    });
    must!(unlock(w));
    expect_errno!(unlock(w), EPERM);
    expect_errno!(lock(w.cast::<u8>().wrapping_add(1).cast()), EINVAL);
    expect_errno!(lock(BAD as *mut u32), EFAULT);
    expect_errno!(unlock(BAD as *mut u32), EFAULT);
    expect_errno!(op(w, FUTEX_LOCK_PI | REALTIME, 0, 0, 0, 0), ENOSYS);
    let bad = timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    let bad = &raw const bad as usize;
    expect_errno!(op(w, FUTEX_LOCK_PI, 0, bad, 0, 0), EINVAL);
}

fn owner_that_never_was_is_esrch() {
    let w = word();
    let gone = child(|| 0);
    wait_ok(gone);
    poke(w, gone as u32);
    expect_errno!(lock(w), ESRCH);
    expect_errno!(try_lock(w), ESRCH);
    expect_errno!(unlock(w), EPERM);
}

fn owner_that_dies_leaves_the_lock_to_the_first() {
    for robust in [false, true] {
        let w = word();
        let list = anon(1).cast::<usize>();
        let gate = Gate::new();
        let owner = child(|| {
            must!(lock(w));
            if robust {
                // One entry, with the bit that says PI.
                let entry = list.wrapping_add(8);
                poke(entry, list as usize);
                poke(list, entry as usize | 1);
                poke(list.wrapping_add(1), w as usize - entry as usize);
                must!(sys!(SYS_set_robust_list, list, 24));
            }
            gate.open();
            loop {
                sleep_ms(1000);
            }
        });
        gate.wait();
        let first = locker(w, move || {
            check_eq!(peek(w), me() | OWNER_DIED | WAITERS);
            check_eq!(unlock(w), Ok(0));
        });
        let second = locker(w, move || {
            check_eq!(unlock(w), Ok(0));
        });
        must!(kill(owner, SIGKILL));
        wait_killed(owner, SIGKILL);
        wait_ok(first);
        wait_ok(second);
    }
}

fn robust_owner_that_died_before() {
    let w = word();
    poke(w, OWNER_DIED);
    must!(lock(w));
    check_eq!(peek(w), me() | OWNER_DIED);
    must!(unlock(w));
    check_eq!(peek(w), 0);
}

fn a_signal_interrupts_and_the_lock_is_waited_for_again() {
    let w = word();
    must!(lock(w));
    let pid = child(|| {
        record_on(SIGUSR1);
        check_eq!(lock(w), Ok(0));
        check_eq!(seen(), 1);
        check_eq!(unlock(w), Ok(0));
        0
    });
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    sleep_ms(20);
    wait_asleep(pid);
    must!(unlock(w));
    wait_ok(pid);
}

fn private_between_threads() {
    let w = anon(1).cast::<u32>();
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let at = w as usize;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let count = count.clone();
            std::thread::spawn(move || {
                let w = at as *mut u32;
                for _ in 0..200 {
                    must!(op(w, FUTEX_LOCK_PI | PRIVATE, 0, 0, 0, 0));
                    let seen = count.load(SeqCst);
                    std::thread::yield_now();
                    count.store(seen + 1, SeqCst);
                    must!(op(w, FUTEX_UNLOCK_PI | PRIVATE, 0, 0, 0, 0));
                }
            })
        })
        .collect();
    for t in threads {
        check!(t.join().is_ok());
    }
    check_eq!(count.load(SeqCst), 800);
    check_eq!(peek(w), 0);
}

fn mutexes_of_the_library() {
    let mutex = shared(1).cast::<pthread_mutex_t>();
    let count = shared(1).cast::<AtomicU32>();
    unsafe {
        let mut attr: pthread_mutexattr_t = zeroed();
        check_eq!(pthread_mutexattr_init(&mut attr), 0);
        check_eq!(
            pthread_mutexattr_setprotocol(&mut attr, PTHREAD_PRIO_INHERIT),
            0
        );
        check_eq!(
            pthread_mutexattr_setpshared(&mut attr, PTHREAD_PROCESS_SHARED),
            0
        );
        check_eq!(
            pthread_mutexattr_setrobust(&mut attr, PTHREAD_MUTEX_ROBUST),
            0
        );
        check_eq!(pthread_mutex_init(mutex, &attr), 0);
    }
    let pids: Vec<i32> = (0..3)
        .map(|_| {
            child(|| {
                for _ in 0..300 {
                    check_eq!(unsafe { pthread_mutex_lock(mutex) }, 0);
                    let count = unsafe { &*count };
                    let seen = count.load(SeqCst);
                    if seen.is_multiple_of(7) {
                        std::thread::yield_now();
                    }
                    count.store(seen + 1, SeqCst);
                    check_eq!(unsafe { pthread_mutex_unlock(mutex) }, 0);
                }
                0
            })
        })
        .collect();
    pids.into_iter().for_each(wait_ok);
    check_eq!(unsafe { &*count }.load(SeqCst), 900);
    // And one that is killed with the lock.
    let gate = Gate::new();
    let pid = child(|| {
        check_eq!(unsafe { pthread_mutex_lock(mutex) }, 0);
        gate.open();
        loop {
            sleep_ms(1000);
        }
    });
    gate.wait();
    let heir = child(|| {
        check_eq!(unsafe { pthread_mutex_lock(mutex) }, EOWNERDEAD);
        check_eq!(unsafe { pthread_mutex_consistent(mutex) }, 0);
        check_eq!(unsafe { pthread_mutex_unlock(mutex) }, 0);
        0
    });
    wait_asleep(heir);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    wait_ok(heir);
    check_eq!(unsafe { pthread_mutex_lock(mutex) }, 0);
}

/// Starts a child that waits on `cond` for the lock `w`.
fn cond_waiter(cond: *mut u32, w: *mut u32, then: impl FnOnce()) -> i32 {
    let pid = child(move || {
        check_eq!(op(cond, FUTEX_WAIT_REQUEUE_PI, 0, 0, w as usize, 0), Ok(0));
        check_eq!(peek(w) & TID, me());
        then();
        check_eq!(unlock(w), Ok(0));
        0
    });
    wait_asleep(pid);
    pid
}

fn requeue_gives_a_free_lock_to_the_first() {
    let (cond, w) = (word(), word());
    let pids: Vec<i32> = (0..3).map(|_| cond_waiter(cond, w, || {})).collect();
    let (all, lock) = (i32::MAX as usize, w as usize);
    expect_errno!(op(cond, FUTEX_CMP_REQUEUE_PI, 1, all, lock, 1), EAGAIN);
    check_eq!(op(cond, FUTEX_CMP_REQUEUE_PI, 1, all, lock, 0), Ok(3));
    pids.into_iter().for_each(wait_ok);
    check_eq!(peek(w), 0);
    check_eq!(op(cond, FUTEX_CMP_REQUEUE_PI, 1, all, lock, 0), Ok(0));
}

fn requeue_moves_to_a_lock_that_is_held() {
    let (cond, w) = (word(), word());
    must!(lock(w));
    let pids: Vec<i32> = (0..3).map(|_| cond_waiter(cond, w, || {})).collect();
    check_eq!(op(cond, FUTEX_CMP_REQUEUE_PI, 1, 1, w as usize, 0), Ok(2));
    check_eq!(peek(w), me() | WAITERS);
    must!(unlock(w));
    for pid in &pids[..2] {
        wait_ok(*pid);
    }
    check_eq!(op(cond, FUTEX_CMP_REQUEUE_PI, 1, 1, w as usize, 0), Ok(1));
    wait_ok(pids[2]);
    check_eq!(peek(w), 0);
}

fn requeue_errors() {
    let (cond, w, other) = (word(), word(), word());
    let wait =
        |to: *mut u32, value, at: usize| op(cond, FUTEX_WAIT_REQUEUE_PI, value, at, to as usize, 0);
    expect_errno!(wait(w, 1, 0), EAGAIN);
    expect_errno!(wait(cond, 0, 0), EINVAL);
    let at = timespec_ms(now_ms() + 30);
    expect_errno!(wait(w, 0, &raw const at as usize), ETIMEDOUT);
    expect_errno!(op(cond, FUTEX_CMP_REQUEUE_PI, 2, 1, w as usize, 0), EINVAL);
    let pid = child(|| {
        check_eq!(wait(w, 0, 0), Ok(0));
        0
    });
    wait_asleep(pid);
    expect_errno!(
        op(cond, FUTEX_CMP_REQUEUE_PI, 1, 1, other as usize, 0),
        EINVAL
    );
    check_eq!(op(cond, FUTEX_CMP_REQUEUE_PI, 1, 1, w as usize, 0), Ok(1));
    wait_ok(pid);
}

cases![
    handed_over_in_turn,
    word_says_who_waits,
    timeout_is_etimedout,
    errors,
    owner_that_never_was_is_esrch,
    owner_that_dies_leaves_the_lock_to_the_first,
    robust_owner_that_died_before,
    a_signal_interrupts_and_the_lock_is_waited_for_again,
    private_between_threads,
    mutexes_of_the_library,
    requeue_gives_a_free_lock_to_the_first,
    requeue_moves_to_a_lock_that_is_held,
    requeue_errors,
];
