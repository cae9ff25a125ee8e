//! futex(2), robust lists, clear_child_tid.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

const PRIVATE: i32 = 128;
const REALTIME: i32 = 256;

fn op(word: *const u32, op: i32, value: u32, timeout: usize, word2: usize, value3: u32) -> Sys {
    sys!(SYS_futex, word, op, value, timeout, word2, value3)
}
fn word() -> *mut u32 {
    shared(1).cast()
}
/// Starts a child that waits on the word and exits with 0 when woken.
fn waiter(w: *mut u32, value: u32, flags: i32) -> i32 {
    let pid = child(move || {
        check_eq!(op(w, FUTEX_WAIT | flags, value, 0, 0, 0), Ok(0));
        0
    });
    wait_asleep(pid);
    pid
}

fn wait_with_other_value_is_eagain() {
    let w = word();
    poke(w, 5);
    expect_errno!(futex_wait(w, 4, None), EAGAIN);
}

fn wake_without_waiters_is_zero() {
    check_eq!(futex_wake(word(), 10), Ok(0));
}

fn timeout_is_etimedout() {
    let start = now_ms();
    expect_errno!(futex_wait(word(), 0, Some(25)), ETIMEDOUT);
    check!(now_ms() - start >= 24);
}

fn wake_between_processes() {
    let w = word();
    let pid = waiter(w, 0, 0);
    check_eq!(futex_wake(w, 1), Ok(1));
    wait_ok(pid);
}

fn wake_counts_up_to_limit() {
    let w = word();
    let pids: Vec<i32> = (0..3).map(|_| waiter(w, 0, 0)).collect();
    check_eq!(futex_wake(w, 2), Ok(2));
    check_eq!(futex_wake(w, i32::MAX), Ok(1));
    pids.into_iter().for_each(wait_ok);
}

fn wake_in_file_mapping_between_processes() {
    tmp();
    must!(write_file(c"f", &[0; 4096]));
    let map = || {
        let fd = must!(open(c"f", O_RDWR, 0));
        must!(mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0))
    };
    let mine = map().cast::<u32>();
    let pid = child(|| {
        check_eq!(futex_wait(map().cast(), 0, None), Ok(0));
        0
    });
    wait_asleep(pid);
    check_eq!(futex_wake(mine, 1), Ok(1));
    wait_ok(pid);
}

fn private_futex_between_threads() {
    static WORD: AtomicU32 = AtomicU32::new(0);
    let t = std::thread::spawn(|| op(WORD.as_ptr(), FUTEX_WAIT | PRIVATE, 0, 0, 0, 0));
    wait_until("the waiter", || {
        op(WORD.as_ptr(), FUTEX_WAKE | PRIVATE, 1, 0, 0, 0) == Ok(1)
    });
    check_eq!(t.join().ok(), Some(Ok(0)));
}

fn private_memory_is_not_shared_with_child() {
    let w = anon(1).cast::<u32>();
    let pid = child(|| {
        expect_errno!(futex_wait(w, 0, Some(100)), ETIMEDOUT);
        0
    });
    wait_asleep(pid);
    check_eq!(futex_wake(w, 1), Ok(0));
    wait_ok(pid);
}

fn unaligned_is_einval_unmapped_is_efault() {
    let w = word();
    let odd = w.cast::<u8>().wrapping_add(1).cast::<u32>();
    expect_errno!(futex_wait(odd, 0, None), EINVAL);
    expect_errno!(futex_wake(odd, 1), EINVAL);
    expect_errno!(futex_wait(bad(), 0, None), EFAULT);
    expect_errno!(futex_wake(bad(), 1), EFAULT);
    expect_errno!(
        op(
            0xffff_8000_0000_0000usize as *const u32,
            FUTEX_WAIT,
            0,
            0,
            0,
            0
        ),
        EFAULT
    );
}

fn invalid_timeout_is_einval() {
    let w = word();
    let wrong = timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000_000,
    };
    expect_errno!(sys!(SYS_futex, w, FUTEX_WAIT, 0, &wrong), EINVAL);
    expect_errno!(sys!(SYS_futex, w, FUTEX_WAIT, 0, bad::<u8>()), EFAULT);
}

fn unknown_operation_is_enosys() {
    expect_errno!(op(word(), 99, 0, 0, 0, 0), ENOSYS);
}

fn interrupted_is_eintr() {
    let w = word();
    record_on(SIGUSR1);
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(kill(me, SIGUSR1));
        0
    });
    expect_errno!(futex_wait(w, 0, None), EINTR);
    wait_ok(pid);
}

fn requeue_moves_waiters() {
    let (a, b) = (word(), word());
    let pids: Vec<i32> = (0..3).map(|_| waiter(a, 0, 0)).collect();
    check_eq!(op(a, FUTEX_REQUEUE, 1, 1, b as usize, 0), Ok(2));
    check_eq!(futex_wake(b, 10), Ok(1));
    check_eq!(futex_wake(a, 10), Ok(1));
    pids.into_iter().for_each(wait_ok);
}

fn cmp_requeue_checks_value() {
    let (a, b) = (word(), word());
    let pid = waiter(a, 0, 0);
    expect_errno!(op(a, FUTEX_CMP_REQUEUE, 0, 1, b as usize, 7), EAGAIN);
    check_eq!(op(a, FUTEX_CMP_REQUEUE, 0, 1, b as usize, 0), Ok(1));
    check_eq!(futex_wake(a, 1), Ok(0));
    check_eq!(futex_wake(b, 1), Ok(1));
    wait_ok(pid);
}

fn private_requeue_moves_waiters() {
    static A: AtomicU32 = AtomicU32::new(0);
    static B: AtomicU32 = AtomicU32::new(0);
    let (to, tids) = std::sync::mpsc::channel();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let to = to.clone();
            std::thread::spawn(move || {
                let _ = to.send(gettid());
                op(A.as_ptr(), FUTEX_WAIT | PRIVATE, 0, 0, 0, 0)
            })
        })
        .collect();
    tids.iter().take(3).for_each(wait_asleep);
    let cmp = FUTEX_CMP_REQUEUE | PRIVATE;
    expect_errno!(op(A.as_ptr(), cmp, 1, 1, B.as_ptr() as usize, 9), EAGAIN);
    check_eq!(op(A.as_ptr(), cmp, 1, 1, B.as_ptr() as usize, 0), Ok(2));
    check_eq!(op(B.as_ptr(), FUTEX_WAKE | PRIVATE, 10, 0, 0, 0), Ok(1));
    check_eq!(op(A.as_ptr(), FUTEX_WAKE | PRIVATE, 10, 0, 0, 0), Ok(1));
    for t in threads {
        check_eq!(t.join().ok(), Some(Ok(0)));
    }
}

fn bitset_selects_waiters() {
    let w = word();
    let wait_bits = |bits: u32| {
        let pid = child(move || {
            check_eq!(op(w, FUTEX_WAIT_BITSET, 0, 0, 0, bits), Ok(0));
            0
        });
        wait_asleep(pid);
        pid
    };
    let (one, two) = (wait_bits(1), wait_bits(2));
    check_eq!(op(w, FUTEX_WAKE_BITSET, 10, 0, 0, 4), Ok(0));
    check_eq!(op(w, FUTEX_WAKE_BITSET, 10, 0, 0, 2), Ok(1));
    wait_ok(two);
    check_eq!(op(w, FUTEX_WAKE_BITSET, 10, 0, 0, 1), Ok(1));
    wait_ok(one);
    expect_errno!(op(w, FUTEX_WAIT_BITSET, 0, 0, 0, 0), EINVAL);
    expect_errno!(op(w, FUTEX_WAKE_BITSET, 1, 0, 0, 0), EINVAL);
}

fn wait_bitset_timeout_is_absolute() {
    let w = word();
    let start = now_ms();
    let at = timespec_ms(start + 30);
    expect_errno!(
        sys!(SYS_futex, w, FUTEX_WAIT_BITSET, 0, &at, 0, u32::MAX),
        ETIMEDOUT
    );
    check!(now_ms() >= start + 29);
    let past = timespec_ms(1);
    expect_errno!(
        sys!(SYS_futex, w, FUTEX_WAIT_BITSET, 0, &past, 0, u32::MAX),
        ETIMEDOUT
    );
    let wall = clock(CLOCK_REALTIME) / 1_000_000;
    let at = timespec_ms(wall + 20);
    expect_errno!(
        sys!(
            SYS_futex,
            w,
            FUTEX_WAIT_BITSET | REALTIME,
            0,
            &at,
            0,
            u32::MAX
        ),
        ETIMEDOUT
    );
}

fn wake_op_changes_second_word_and_wakes_both() {
    let (a, b) = (word(), word());
    poke(b, 5);
    let first = waiter(a, 0, 0);
    let second = child(|| {
        check_eq!(futex_wait(b, 5, None), Ok(0));
        0
    });
    wait_asleep(second);
    // b += 2; wake b's waiters when its old value was equal to 5.
    let encoded = 1 << 28 | 2 << 12 | 5;
    check_eq!(op(a, FUTEX_WAKE_OP, 1, 1, b as usize, encoded), Ok(2));
    check_eq!(peek(b), 7);
    wait_ok(first);
    wait_ok(second);
}

fn pi_lock_and_unlock() {
    let w = word();
    check_eq!(op(w, FUTEX_LOCK_PI, 0, 0, 0, 0), Ok(0));
    check_eq!(peek(w) & 0x3fff_ffff, gettid() as u32);
    expect_errno!(op(w, FUTEX_LOCK_PI, 0, 0, 0, 0), EDEADLK);
    in_child(|| expect_errno!(op(w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0), EAGAIN));
    check_eq!(op(w, FUTEX_UNLOCK_PI, 0, 0, 0, 0), Ok(0));
    check_eq!(peek(w), 0);
    expect_errno!(op(w, FUTEX_UNLOCK_PI, 0, 0, 0, 0), EPERM);
}

fn pi_lock_hands_over() {
    let w = word();
    must!(op(w, FUTEX_LOCK_PI, 0, 0, 0, 0));
    let pid = child(|| {
        check_eq!(op(w, FUTEX_LOCK_PI, 0, 0, 0, 0), Ok(0));
        check_eq!(peek(w) & 0x3fff_ffff, gettid() as u32);
        check_eq!(op(w, FUTEX_UNLOCK_PI, 0, 0, 0, 0), Ok(0));
        0
    });
    wait_asleep(pid);
    check_eq!(peek(w) >> 31, 1);
    must!(op(w, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
    wait_ok(pid);
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RobustHead {
    next: usize,
    offset: i64,
    pending: usize,
}

/// Lays out a robust list with one lock and registers it.
fn robust(memory: *mut u8) -> *mut u32 {
    let head = memory.cast::<RobustHead>();
    let entry = memory.wrapping_add(64).cast::<usize>();
    let lock = memory.wrapping_add(128).cast::<u32>();
    poke(entry, head as usize);
    poke(
        head,
        RobustHead {
            next: entry as usize,
            offset: 64,
            pending: 0,
        },
    );
    must!(sys!(SYS_set_robust_list, head, 24));
    lock
}

fn robust_list_marks_owner_died_and_wakes() {
    let memory = shared(1);
    let lock = memory.wrapping_add(128).cast::<u32>();
    let gate = Gate::new();
    let pid = child(|| {
        let lock = robust(memory);
        poke(lock, gettid() as u32 | 1 << 31);
        gate.open();
        wait_asleep(getppid());
        0
    });
    gate.wait();
    let owned = peek(lock);
    check_eq!(futex_wait(lock, owned, Some(10_000)), Ok(0));
    // FUTEX_OWNER_DIED; the waiters bit is kept.
    check_eq!(peek(lock), 1 << 30 | 1 << 31);
    wait_ok(pid);
}

fn robust_list_of_thread() {
    let memory = anon(1);
    let t = std::thread::spawn({
        let memory = memory as usize;
        move || {
            let lock = robust(memory as *mut u8);
            poke(lock, gettid() as u32);
        }
    });
    let _ = t.join();
    check_eq!(peek(memory.wrapping_add(128).cast::<u32>()), 1 << 30);
}

fn robust_list_of_killed_process() {
    let memory = shared(1);
    let gate = Gate::new();
    let pid = child(|| {
        let lock = robust(memory);
        poke(lock, gettid() as u32);
        gate.open();
        loop {
            sleep_ms(1000);
        }
    });
    gate.wait();
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    check_eq!(peek(memory.wrapping_add(128).cast::<u32>()), 1 << 30);
}

fn robust_list_not_owned_is_left_alone() {
    let memory = shared(1);
    in_child(|| {
        let lock = robust(memory);
        poke(lock, 12345);
    });
    check_eq!(peek(memory.wrapping_add(128).cast::<u32>()), 12345);
}

fn robust_list_hostile_loop_ends() {
    in_child(|| {
        let memory = anon(1);
        robust(memory);
        // The entry points to itself: the kernel has to give up.
        let entry = memory.wrapping_add(64).cast::<usize>();
        poke(entry, entry as usize);
    });
    in_child(|| {
        let memory = anon(1);
        robust(memory);
        poke(memory.wrapping_add(64).cast::<usize>(), BAD);
    });
}

fn robust_list_get_and_errors() {
    let memory = anon(1);
    robust(memory);
    let (mut head, mut len) = (0usize, 0usize);
    must!(sys!(SYS_get_robust_list, 0, &mut head, &mut len));
    check_eq!((head, len), (memory as usize, 24));
    expect_errno!(sys!(SYS_set_robust_list, memory, 23), EINVAL);
    expect_errno!(
        sys!(SYS_get_robust_list, 0x3fff_fff0, &mut head, &mut len),
        ESRCH
    );
    expect_errno!(sys!(SYS_get_robust_list, 0, bad::<u8>(), &mut len), EFAULT);
}

fn thread_exit_clears_tid_and_wakes_joiner() {
    for _ in 0..200 {
        let t = std::thread::spawn(gettid);
        check!(t.join().unwrap_or(0) != gettid());
    }
}

fn mutex_and_condvar_stress() {
    use std::sync::{Arc, Condvar, Mutex};
    let pair = Arc::new((Mutex::new(0u32), Condvar::new()));
    let threads: Vec<_> = (0..4u32)
        .map(|id| {
            let pair = pair.clone();
            std::thread::spawn(move || {
                let (lock, cond) = &*pair;
                for _ in 0..500 {
                    let Ok(mut turn) = lock.lock() else { return };
                    while *turn % 4 != id {
                        match cond.wait(turn) {
                            Ok(next) => turn = next,
                            Err(_) => return,
                        }
                    }
                    *turn += 1;
                    cond.notify_all();
                }
            })
        })
        .collect();
    for t in threads {
        let _ = t.join();
    }
    check_eq!(pair.0.lock().map(|v| *v).unwrap_or(0), 2000);
}

fn process_shared_counter_with_futex_lock() {
    let memory = word();
    let counter = memory.wrapping_add(1);
    let lock = || unsafe { &*memory.cast::<AtomicU32>() };
    let pids: Vec<i32> = (0..3)
        .map(|_| {
            child(|| {
                for _ in 0..300 {
                    while lock().compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
                        let _ = futex_wait(memory, 1, Some(1000));
                    }
                    poke(counter, peek(counter) + 1);
                    lock().store(0, SeqCst);
                    let _ = futex_wake(memory, 1);
                }
                0
            })
        })
        .collect();
    pids.into_iter().for_each(wait_ok);
    check_eq!(peek(counter), 900);
}

fn waitv_waits_for_any() {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Waitv {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    let words = word();
    let list: Vec<Waitv> = (0..3)
        .map(|i| Waitv {
            value: 0,
            address: words.wrapping_add(i * 8) as u64,
            flags: 2,
            reserved: 0,
        })
        .collect();
    let pid = child(|| match sys!(SYS_futex_waitv, &list[..], 3, 0, 0, 0) {
        Err(ENOSYS) => 9,
        other => must!(other) as i32,
    });
    wait_asleep(pid);
    let woken = futex_wake(words.wrapping_add(16), 1);
    match wait_exit(pid) {
        9 => skip!("no futex_waitv"),
        index => check_eq!((index, woken), (2, Ok(1))),
    }
}

cases![
    wait_with_other_value_is_eagain,
    wake_without_waiters_is_zero,
    timeout_is_etimedout,
    wake_between_processes,
    wake_counts_up_to_limit,
    wake_in_file_mapping_between_processes,
    private_futex_between_threads,
    private_memory_is_not_shared_with_child,
    unaligned_is_einval_unmapped_is_efault,
    invalid_timeout_is_einval,
    unknown_operation_is_enosys,
    interrupted_is_eintr,
    requeue_moves_waiters,
    cmp_requeue_checks_value,
    private_requeue_moves_waiters,
    bitset_selects_waiters,
    wait_bitset_timeout_is_absolute,
    wake_op_changes_second_word_and_wakes_both,
    pi_lock_and_unlock,
    pi_lock_hands_over,
    robust_list_marks_owner_died_and_wakes,
    robust_list_of_thread,
    robust_list_of_killed_process,
    robust_list_not_owned_is_left_alone,
    robust_list_hostile_loop_ends,
    robust_list_get_and_errors,
    thread_exit_clears_tid_and_wakes_joiner,
    mutex_and_condvar_stress,
    process_shared_counter_with_futex_lock,
    waitv_waits_for_any,
];
