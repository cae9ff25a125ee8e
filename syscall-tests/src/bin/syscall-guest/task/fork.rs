//! fork(2), vfork(2), clone(2), clone3(2), exit(2).

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}
const V0: usize = 64;

fn clone3(args: &CloneArgs, size: usize) -> Sys<i32> {
    sys!(SYS_clone3, args, size).map(|pid| pid as i32)
}
/// clone3 whose child exits with a status.
fn clone3_exit(args: &CloneArgs, size: usize, status: i32) -> Sys<i32> {
    match clone3(args, size)? {
        0 => unsafe { _exit(status) },
        pid => Ok(pid),
    }
}

fn child_sees_new_pid_and_parent() {
    let me = getpid();
    let pid = child(|| {
        check!(getpid() != me);
        check_eq!(getppid(), me);
        check_eq!(gettid(), getpid());
        0
    });
    check!(pid > 0);
    wait_ok(pid);
}

fn child_inherits_group_session_and_ids() {
    let (pgid, sid) = (must!(getpgid(0)), must!(getsid(0)));
    in_child(|| {
        check_eq!((must!(getpgid(0)), must!(getsid(0))), (pgid, sid));
    });
}

fn memory_is_copied_both_ways() {
    let p = anon(2);
    poke(p, 1u8);
    let gate = Gate::new();
    let pid = child(|| {
        gate.wait();
        check_eq!(peek(p), 1u8);
        0
    });
    poke(p, 2u8);
    gate.open();
    wait_ok(pid);
}

fn pending_signals_are_not_inherited() {
    block(&[SIGUSR1]);
    raise(SIGUSR1);
    check!(is_pending(SIGUSR1));
    in_child(|| check_eq!(pending(), 0));
}

fn mask_and_dispositions_are_inherited() {
    block(&[SIGUSR1]);
    disposition(SIGUSR2, SIG_IGN);
    handle(SIGHUP, record, SA_RESTART);
    in_child(|| {
        check_eq!(current_mask(), mask_of(&[SIGUSR1]));
        check_eq!(must!(get_action(SIGUSR2)).handler, SIG_IGN);
        check!(must!(get_action(SIGHUP)).handler > 1);
    });
}

fn only_the_forking_thread_exists() {
    let thread = std::thread::spawn(|| {
        in_child(|| {
            let tasks = std::fs::read_dir("/proc/self/task").map(|d| d.count());
            check_eq!(tasks.unwrap_or(0), 1);
            check_eq!(getpid(), gettid());
        });
    });
    let _ = thread.join();
}

fn exit_status_is_masked() {
    check_eq!(wait_exit(child(|| 0x1ff)), 0xff);
    check_eq!(wait_exit(child(|| -1)), 255);
}

fn exit_of_thread_leaves_process() {
    let pid = child(|| {
        std::thread::spawn(|| {
            sleep_ms(20);
            unsafe { _exit(6) };
        });
        let _ = sys!(SYS_exit, 5);
        7
    });
    check_eq!(wait_exit(pid), 6);
}

fn last_thread_exit_ends_process() {
    // Linux 5.17 and later report the last thread's status, older the leader's.
    let pid = child(|| {
        std::thread::spawn(|| {
            sleep_ms(20);
            let _ = sys!(SYS_exit, 9);
        });
        let _ = sys!(SYS_exit, 5);
        7
    });
    check!(matches!(wait_exit(pid), 5 | 9));
}

fn exit_group_kills_all_threads() {
    let pid = child(|| {
        for _ in 0..3 {
            std::thread::spawn(|| {
                loop {
                    sleep_ms(1000);
                }
            });
        }
        std::thread::spawn(|| sys!(SYS_exit_group, 4));
        loop {
            sleep_ms(1000);
        }
    });
    check_eq!(wait_exit(pid), 4);
}

static SHARED_BY_VFORK: AtomicU32 = AtomicU32::new(0);

fn vfork_shares_memory_and_suspends() {
    let flags = CLONE_VFORK | CLONE_VM | SIGCHLD;
    // The child borrows the parent's stack: a separate one keeps it harmless.
    let stack = anon(16);
    extern "C" fn run(_: *mut c_void) -> i32 {
        sleep_ms(30);
        SHARED_BY_VFORK.store(1, SeqCst);
        3
    }
    let top = stack.wrapping_add(16 * PAGE);
    let pid = unsafe { libc::clone(run, top.cast(), flags, std::ptr::null_mut()) };
    check!(pid > 0);
    check_eq!(SHARED_BY_VFORK.load(SeqCst), 1);
    check_eq!(wait_exit(pid), 3);
}

fn vfork_released_by_exec() {
    let stack = anon(16);
    extern "C" fn run(_: *mut c_void) -> i32 {
        let _ = exec_helper(c"exit", &[c"11"]);
        99
    }
    let top = stack.wrapping_add(16 * PAGE);
    let flags = CLONE_VFORK | CLONE_VM | SIGCHLD;
    let pid = unsafe { libc::clone(run, top.cast(), flags, std::ptr::null_mut()) };
    check_eq!(wait_exit(pid), 11);
}

fn clone_files_shares_descriptors() {
    static DONE: AtomicI32 = AtomicI32::new(0);
    let fd = must!(open(c"/dev/null", O_RDONLY, 0));
    let pid = must!(clone_child(CLONE_FILES | SIGCHLD, || {
        let _ = close(fd);
        0
    }));
    wait_ok(pid);
    DONE.store(1, SeqCst);
    expect_errno!(fcntl(fd, F_GETFD, 0), EBADF);
}

fn clone_fs_shares_cwd_and_umask() {
    tmp();
    must!(mkdir(c"d", 0o755));
    let pid = must!(clone_child(CLONE_FS | SIGCHLD, || {
        let _ = chdir(c"d");
        umask(0o011);
        0
    }));
    wait_ok(pid);
    check_eq!(umask(0o022), 0o011);
    must!(stat(c"../d"));
}

fn clone_parent_makes_sibling() {
    let me = getpid();
    let report = shared(1);
    in_child(|| {
        let pid = must!(clone_child(CLONE_PARENT | SIGCHLD, || getppid() - me));
        poke(report.cast(), pid);
        expect_errno!(wait4(pid, 0), ECHILD);
    });
    check_eq!(wait_exit(peek(report.cast())), 0);
}

fn clone_flag_errors() {
    let clone = |flags: i32| sys!(SYS_clone, flags, 0, 0, 0, 0);
    expect_errno!(clone(CLONE_THREAD), EINVAL);
    expect_errno!(clone(CLONE_THREAD | CLONE_SIGHAND), EINVAL);
    expect_errno!(clone(CLONE_SIGHAND), EINVAL);
    expect_errno!(clone(CLONE_FS | CLONE_NEWNS), EINVAL);
}

fn clone_tid_pointers() {
    let word = shared(1).cast::<i32>();
    let flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD;
    let ptid = shared(1).cast::<i32>();
    let pid = must!(sys!(SYS_clone, flags, 0, ptid, word, 0)) as i32;
    if pid == 0 {
        let ok = peek(word) == gettid();
        unsafe { _exit(i32::from(!ok)) };
    }
    check_eq!(peek(ptid), pid);
    wait_ok(pid);
}

fn child_cleartid_leaves_unshared_memory_alone() {
    // mm_release() clears the word only while others use the address space.
    let word = shared(1).cast::<u32>();
    poke(word, 1);
    let flags = CLONE_CHILD_CLEARTID | SIGCHLD;
    let pid = must!(sys!(SYS_clone, flags, 0, 0, word, 0)) as i32;
    if pid == 0 {
        unsafe { _exit(0) };
    }
    wait_ok(pid);
    check_eq!(peek(word), 1);
}

fn child_cleartid_wakes_futex() {
    extern "C" fn run(_: *mut c_void) -> i32 {
        sleep_ms(20);
        0
    }
    let word = anon(1).cast::<u32>();
    poke(word, 1);
    let top = anon(16).wrapping_add(16 * PAGE);
    let flags = CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD;
    let null = std::ptr::null_mut::<c_void>();
    let pid = unsafe { libc::clone(run, top.cast(), flags, null, null, null, word) };
    check!(pid > 0);
    check_eq!(futex_wait(word, 1, None), Ok(0));
    check_eq!(peek(word), 0);
    wait_ok(pid);
}

fn other_exit_signal() {
    record_on(SIGUSR1);
    let pid = must!(clone_child(SIGUSR1, || 3));
    wait_until("exit signal", || seen() == 1);
    check_eq!(LAST_PID.load(SeqCst), pid);
    expect_errno!(wait4(pid, 0), ECHILD);
    let (got, status) = must!(wait4(pid, __WCLONE));
    check_eq!((got, WEXITSTATUS(status)), (pid, 3));
}

fn no_exit_signal_needs_wall_or_wclone() {
    let pid = must!(clone_child(0, || 4));
    expect_errno!(wait4(pid, 0), ECHILD);
    let (got, status) = must!(wait4(pid, __WALL));
    check_eq!((got, WEXITSTATUS(status)), (pid, 4));
}

fn clone3_forks() {
    let args = CloneArgs {
        exit_signal: SIGCHLD as u64,
        ..Default::default()
    };
    let pid = must!(clone3_exit(&args, 88, 12));
    check_eq!(wait_exit(pid), 12);
    let pid = must!(clone3_exit(&args, V0, 13));
    check_eq!(wait_exit(pid), 13);
}

fn clone3_size_rules() {
    let args = CloneArgs {
        exit_signal: SIGCHLD as u64,
        ..Default::default()
    };
    expect_errno!(clone3(&args, 0), EINVAL);
    expect_errno!(clone3(&args, V0 - 1), EINVAL);
    expect_errno!(clone3(&args, PAGE + 1), E2BIG);
    expect_errno!(sys!(SYS_clone3, bad::<u8>(), V0), EFAULT);
    let mut big = [0u64; 13];
    big[4] = SIGCHLD as u64;
    big[12] = 1;
    expect_errno!(sys!(SYS_clone3, &big, 104), E2BIG);
}

fn clone3_argument_errors() {
    let base = CloneArgs {
        exit_signal: SIGCHLD as u64,
        ..Default::default()
    };
    let wrong = |f: fn(&mut CloneArgs)| {
        let mut args = base;
        f(&mut args);
        clone3(&args, 88)
    };
    expect_errno!(wrong(|a| a.exit_signal = 65), EINVAL);
    expect_errno!(wrong(|a| a.flags = 0xff), EINVAL);
    expect_errno!(wrong(|a| a.stack = 0x1000), EINVAL);
    expect_errno!(wrong(|a| a.stack_size = 0x1000), EINVAL);
    expect_errno!(wrong(|a| a.flags = CLONE_THREAD as u64), EINVAL);
    expect_errno!(wrong(|a| a.set_tid_size = 1), EINVAL);
    expect_errno!(wrong(|a| a.flags = CLONE_SIGHAND as u64 | 1 << 32), EINVAL);
}

fn clone3_clear_sighand() {
    handle(SIGUSR1, record, 0);
    disposition(SIGUSR2, SIG_IGN);
    let args = CloneArgs {
        flags: 1 << 32,
        exit_signal: SIGCHLD as u64,
        ..Default::default()
    };
    let pid = must!(clone3(&args, 88));
    if pid == 0 {
        let a = get_action(SIGUSR1).map(|a| a.handler) == Ok(SIG_DFL);
        let b = get_action(SIGUSR2).map(|a| a.handler) == Ok(SIG_IGN);
        unsafe { _exit(i32::from(!a) + 2 * i32::from(!b)) };
    }
    wait_ok(pid);
}

fn clone3_pidfd_and_tids() {
    let words = shared(1).cast::<i32>();
    let args = CloneArgs {
        flags: (CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID) as u64,
        pidfd: words as u64,
        parent_tid: words.wrapping_add(1) as u64,
        child_tid: words.wrapping_add(2) as u64,
        exit_signal: SIGCHLD as u64,
        ..Default::default()
    };
    let pid = must!(clone3_exit(&args, 88, 0));
    let fd = peek(words);
    check_eq!(poll1(fd, POLLIN, 5000) & POLLIN, POLLIN);
    wait_ok(pid);
    check_eq!(
        (peek(words.wrapping_add(1)), peek(words.wrapping_add(2))),
        (pid, pid)
    );
}

fn gettid_differs_between_threads() {
    let me = gettid();
    let other = std::thread::spawn(|| (getpid(), gettid()))
        .join()
        .unwrap_or((0, 0));
    check_eq!(other.0, getpid());
    check!(other.1 != me);
}

fn set_tid_address_returns_tid() {
    let word = 0i32;
    check_eq!(sys!(SYS_set_tid_address, &word), Ok(i64::from(gettid())));
    check_eq!(sys!(SYS_set_tid_address, 0), Ok(i64::from(gettid())));
}

fn thousand_forks() {
    for i in 0..1000 {
        check_eq!(wait_exit(child(|| i & 0x7f)), i & 0x7f);
    }
}

fn hundred_threads() {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let threads: Vec<_> = (0..100)
        .map(|_| std::thread::spawn(|| COUNT.fetch_add(1, SeqCst)))
        .collect();
    for t in threads {
        let _ = t.join();
    }
    check_eq!(COUNT.load(SeqCst), 100);
}

fn pids_are_not_reused_at_once() {
    let a = child(|| 0);
    wait_ok(a);
    let b = child(|| 0);
    wait_ok(b);
    check!(a != b);
}

fn thread_local_storage_survives_fork() {
    thread_local!(static LOCAL: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
    LOCAL.with(|l| l.set(77));
    in_child(|| check_eq!(LOCAL.with(std::cell::Cell::get), 77));
}

fn terminating_signal_ends_a_parent_in_vfork() {
    let (r, w) = must!(pipe());
    let pid = child(|| {
        // The parent waits as vfork(2) does, for a child that neither ends nor executes anything.
        let _ = clone_child(CLONE_VFORK | SIGCHLD, || {
            let _ = write(w, b"x");
            loop {
                let _ = sys!(SYS_pause);
            }
        });
        0
    });
    must!(read_vec(r, 1));
    must!(kill(pid, SIGTERM));
    wait_killed(pid, SIGTERM);
}

cases![
    child_sees_new_pid_and_parent,
    child_inherits_group_session_and_ids,
    memory_is_copied_both_ways,
    pending_signals_are_not_inherited,
    mask_and_dispositions_are_inherited,
    only_the_forking_thread_exists,
    exit_status_is_masked,
    exit_of_thread_leaves_process,
    last_thread_exit_ends_process,
    exit_group_kills_all_threads,
    vfork_shares_memory_and_suspends,
    vfork_released_by_exec,
    clone_files_shares_descriptors,
    clone_fs_shares_cwd_and_umask,
    clone_parent_makes_sibling,
    clone_flag_errors,
    clone_tid_pointers,
    child_cleartid_leaves_unshared_memory_alone,
    child_cleartid_wakes_futex,
    other_exit_signal,
    no_exit_signal_needs_wall_or_wclone,
    clone3_forks,
    clone3_size_rules,
    clone3_argument_errors,
    clone3_clear_sighand,
    clone3_pidfd_and_tids,
    gettid_differs_between_threads,
    set_tid_address_returns_tid,
    thousand_forks,
    hundred_threads,
    terminating_signal_ends_a_parent_in_vfork,
    pids_are_not_reused_at_once,
    thread_local_storage_survives_fork,
];
