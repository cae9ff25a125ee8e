//! System V semaphores.

use syscall_tests::cases;
use syscall_tests::prelude::*;

const CREAT: i32 = 0o1000;
const EXCL: i32 = 0o2000;
const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const UNDO: i16 = 0x1000;
const NOWAIT: i16 = 0x800;

/// A set that goes when it is dropped.
struct Set(i32);

impl Set {
    fn new(n: i32) -> Self {
        Self(must!(sys!(SYS_semget, IPC_PRIVATE, n, CREAT | 0o600)) as i32)
    }
    fn op(&self, n: i16, by: i16, flags: i16) -> Sys {
        sys!(SYS_semop, self.0, &[n, by, flags], 1)
    }
    fn ctl(&self, n: i32, cmd: i32, arg: usize) -> Sys {
        sys!(SYS_semctl, self.0, n, cmd, arg)
    }
    fn value(&self, n: i32) -> i64 {
        must!(self.ctl(n, GETVAL, 0))
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        let _ = sys!(SYS_semctl, self.0, 0, IPC_RMID, 0);
    }
}

fn several_operations_are_one() {
    let set = Set::new(3);
    // One sembuf is three shorts.
    must!(sys!(SYS_semop, set.0, &[0i16, 2, 0, 1, 3, 0], 2));
    expect_errno!(
        sys!(SYS_semop, set.0, &[0i16, -1, 0, 1, -4, NOWAIT], 2),
        EAGAIN
    );
    check_eq!((set.value(0), set.value(1)), (2, 3));
    // Up and down of the same one, in order.
    must!(sys!(SYS_semop, set.0, &[2i16, 1, 0, 2, -1, 0, 2, 0, 0], 3));
    check_eq!(set.value(2), 0);
}

fn values_can_be_set_and_read() {
    let set = Set::new(2);
    must!(set.ctl(0, SETVAL, 7));
    check_eq!(set.value(0), 7);
    check_eq!(set.ctl(0, GETPID, 0), Ok(i64::from(getpid())));
    must!(sys!(SYS_semctl, set.0, 0, SETALL, &[3u16, 32767]));
    let mut all = [0u16; 2];
    must!(sys!(SYS_semctl, set.0, 0, GETALL, &mut all));
    check_eq!(all, [3, 32767]);
    expect_errno!(set.ctl(0, SETVAL, 32768), ERANGE);
    expect_errno!(set.ctl(0, SETVAL, -1i32 as u32 as usize), ERANGE);
    expect_errno!(sys!(SYS_semctl, set.0, 0, SETALL, &[0u16, 32768]), ERANGE);
    expect_errno!(set.op(1, 1, 0), ERANGE);
    expect_errno!(set.ctl(2, GETVAL, 0), EINVAL);
    expect_errno!(set.ctl(-1, SETVAL, 0), EINVAL);
    expect_errno!(sys!(SYS_semctl, set.0, 0, GETALL, bad::<u8>()), EFAULT);
    expect_errno!(sys!(SYS_semctl, set.0, 0, 99, 0), EINVAL);
}

fn errors_of_operations() {
    let set = Set::new(1);
    expect_errno!(sys!(SYS_semop, set.0, &[0i16; 3], 0), EINVAL);
    expect_errno!(sys!(SYS_semop, set.0, &[0i16; 3], 501), E2BIG);
    expect_errno!(sys!(SYS_semop, set.0, bad::<u8>(), 1), EFAULT);
    expect_errno!(sys!(SYS_semop, -1, &[0i16, 1, 0], 1), EINVAL);
    expect_errno!(sys!(SYS_semop, 0x7fff_fff0, &[0i16, 1, 0], 1), EINVAL);
    expect_errno!(set.op(1, 1, 0), EFBIG);
    let past = timespec {
        tv_sec: -1,
        tv_nsec: 0,
    };
    expect_errno!(
        sys!(SYS_semtimedop, set.0, &[0i16, -1, 0], 1, &past),
        EINVAL
    );
    expect_errno!(
        sys!(SYS_semtimedop, set.0, &[0i16, -1, 0], 1, bad::<u8>()),
        EFAULT
    );
}

fn keys_find_sets() {
    let key = 0x7500_0000 + getpid();
    expect_errno!(sys!(SYS_semget, key, 1, 0o600), ENOENT);
    let id = must!(sys!(SYS_semget, key, 2, CREAT | EXCL | 0o600)) as i32;
    let set = Set(id);
    check_eq!(sys!(SYS_semget, key, 0, 0), Ok(i64::from(id)));
    check_eq!(sys!(SYS_semget, key, 2, CREAT | 0o600), Ok(i64::from(id)));
    expect_errno!(sys!(SYS_semget, key, 3, 0o600), EINVAL);
    expect_errno!(sys!(SYS_semget, key, 2, CREAT | EXCL | 0o600), EEXIST);
    expect_errno!(sys!(SYS_semget, IPC_PRIVATE, 0, CREAT | 0o600), EINVAL);
    expect_errno!(sys!(SYS_semget, IPC_PRIVATE, -1, CREAT | 0o600), EINVAL);
    expect_errno!(
        sys!(SYS_semget, IPC_PRIVATE, 1 << 20, CREAT | 0o600),
        EINVAL
    );
    drop(set);
    expect_errno!(sys!(SYS_semget, key, 1, 0o600), ENOENT);
}

fn time_out_ends_the_wait() {
    let set = Set::new(1);
    let soon = timespec_ms(10);
    expect_errno!(
        sys!(SYS_semtimedop, set.0, &[0i16, -1, 0], 1, &soon),
        EAGAIN
    );
    check_eq!(set.ctl(0, GETNCNT, 0), Ok(0));
}

fn handler_ends_the_wait_even_with_restart() {
    let set = Set::new(1);
    handle(SIGALRM, record, SA_RESTART);
    must!(sys!(SYS_alarm, 1));
    expect_errno!(set.op(0, -1, 0), EINTR);
    check_eq!(seen(), 1);
}

fn waiters_are_counted_and_go_on_as_they_can() {
    let set = Set::new(2);
    let id = set.0;
    let waiter = |n: i16, by: i16| {
        let pid = child(|| {
            must!(sys!(SYS_semop, id, &[n, by, 0], 1));
            0
        });
        wait_asleep(pid);
        pid
    };
    let two = waiter(0, -2);
    let one = waiter(0, -1);
    must!(set.op(1, 1, 0));
    let zero = waiter(1, 0);
    wait_until("both wait for more", || set.ctl(0, GETNCNT, 0) == Ok(2));
    wait_until("one waits for zero", || set.ctl(1, GETZCNT, 0) == Ok(1));
    check_eq!(set.ctl(0, GETNCNT, 0), Ok(2));
    check_eq!(set.ctl(1, GETZCNT, 0), Ok(1));
    check_eq!(set.ctl(1, GETNCNT, 0), Ok(0));
    must!(set.op(0, 1, 0));
    wait_ok(one);
    check_eq!(set.ctl(0, GETNCNT, 0), Ok(1));
    must!(set.op(0, 2, 0));
    wait_ok(two);
    must!(set.op(1, -1, 0));
    wait_ok(zero);
    check_eq!(set.value(0), 0);
}

fn removal_wakes_with_eidrm() {
    let set = Set::new(1);
    let id = set.0;
    let pid = child(|| {
        expect_errno!(sys!(SYS_semop, id, &[0i16, -1, 0], 1), EIDRM);
        0
    });
    wait_asleep(pid);
    drop(set);
    wait_ok(pid);
}

fn undo_at_exit_wakes_who_waits() {
    let set = Set::new(1);
    let id = set.0;
    must!(set.op(0, 1, 0));
    let (read_end, write_end) = must!(pipe());
    let holder = child(|| {
        must!(sys!(SYS_semop, id, &[0i16, -1, UNDO], 1));
        must!(read_vec(read_end, 1));
        0
    });
    wait_until("taken", || set.value(0) == 0);
    let waiter = child(|| {
        must!(sys!(SYS_semop, id, &[0i16, -1, 0], 1));
        0
    });
    wait_asleep(waiter);
    must!(write(write_end, b"x"));
    wait_ok(holder);
    wait_ok(waiter);
    check_eq!(set.value(0), 0);
}

fn undo_happens_to_the_killed_and_once() {
    let set = Set::new(1);
    let id = set.0;
    must!(set.op(0, 5, 0));
    let pid = child(|| {
        must!(sys!(SYS_semop, id, &[0i16, -3, UNDO], 1));
        must!(sys!(SYS_semop, id, &[0i16, 1, UNDO], 1));
        loop {
            let _ = sys!(SYS_pause);
        }
    });
    wait_until("operations", || set.value(0) == 3);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    check_eq!(set.value(0), 5);
}

fn setting_a_value_forgets_its_undo() {
    let set = Set::new(1);
    let id = set.0;
    in_child(|| {
        must!(sys!(SYS_semop, id, &[0i16, 4, UNDO], 1));
        must!(sys!(SYS_semctl, id, 0, SETVAL, 9));
    });
    check_eq!(set.value(0), 9);
}

fn undo_is_not_inherited_and_belongs_to_all_threads() {
    let set = Set::new(1);
    let id = set.0;
    in_child(|| {
        let made = std::thread::spawn(move || must!(sys!(SYS_semop, id, &[0i16, 4, UNDO], 1)));
        check!(made.join().is_ok());
        check_eq!(sys!(SYS_semctl, id, 0, GETVAL, 0), Ok(4));
        in_child(|| {});
        check_eq!(sys!(SYS_semctl, id, 0, GETVAL, 0), Ok(4));
    });
    check_eq!(set.value(0), 0);
}

fn permissions() {
    need_root();
    let id = must!(sys!(SYS_semget, IPC_PRIVATE, 1, CREAT | 0o640)) as i32;
    let set = Set(id);
    in_child(|| {
        must!(sys!(SYS_setgroups, 0, 0));
        must!(sys!(SYS_setresgid, 1001, 0, 1001));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        // The group may read.
        check_eq!(sys!(SYS_semctl, id, 0, GETVAL, 0), Ok(0));
        expect_errno!(sys!(SYS_semctl, id, 0, SETVAL, 1), EACCES);
        expect_errno!(sys!(SYS_semop, id, &[0i16, 1, 0], 1), EACCES);
        check_eq!(sys!(SYS_semop, id, &[0i16, 0, 0], 1), Ok(0));
        expect_errno!(sys!(SYS_semctl, id, 0, IPC_RMID, 0), EPERM);
    });
    in_child(|| {
        must!(sys!(SYS_setgroups, 0, 0));
        must!(sys!(SYS_setresgid, 1001, 1001, 1001));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(sys!(SYS_semctl, id, 0, GETVAL, 0), EACCES);
    });
    drop(set);
}

fn stat_and_info() {
    let set = Set::new(3);
    let mut ds: semid_ds = zeroed();
    must!(sys!(SYS_semctl, set.0, 0, IPC_STAT, &mut ds));
    check_eq!((ds.sem_nsems, ds.sem_perm.mode & 0o777), (3, 0o600));
    check!(ds.sem_ctime > 0);
    check_eq!(ds.sem_otime, 0);
    must!(set.op(0, 1, 0));
    must!(sys!(SYS_semctl, set.0, 0, IPC_STAT, &mut ds));
    check!(ds.sem_otime > 0);
    ds.sem_perm.mode = 0o666;
    must!(sys!(SYS_semctl, set.0, 0, IPC_SET, &ds));
    must!(sys!(SYS_semctl, set.0, 0, IPC_STAT, &mut ds));
    check_eq!(ds.sem_perm.mode & 0o777, 0o666);
    let mut info = [0i32; 10];
    let highest = must!(sys!(SYS_semctl, 0, 0, IPC_INFO, &mut info));
    // semvmx, semopm.
    check_eq!((info[8], info[5] >= 32), (32767, true));
    const SEM_STAT: i32 = 18;
    let mut found = false;
    for index in 0..=highest {
        if let Ok(id) = sys!(SYS_semctl, index, 0, SEM_STAT, &mut ds) {
            found |= id == i64::from(set.0);
        }
    }
    check!(found);
    let text = must!(read_file(c"/proc/sysvipc/sem"));
    let text = String::from_utf8_lossy(&text).into_owned();
    check!(
        text.lines()
            .any(|l| l.split_whitespace().nth(1) == Some(&set.0.to_string()))
    );
}

cases![
    several_operations_are_one,
    values_can_be_set_and_read,
    errors_of_operations,
    keys_find_sets,
    time_out_ends_the_wait,
    handler_ends_the_wait_even_with_restart,
    waiters_are_counted_and_go_on_as_they_can,
    removal_wakes_with_eidrm,
    undo_at_exit_wakes_who_waits,
    undo_happens_to_the_killed_and_once,
    setting_a_value_forgets_its_undo,
    undo_is_not_inherited_and_belongs_to_all_threads,
    permissions,
    stat_and_info,
];
