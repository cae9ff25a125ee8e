//! System V shared memory, semaphores and message queues; POSIX queues.

use syscall_tests::cases;
use syscall_tests::prelude::*;

const CREAT: i32 = 0o1000;
const EXCL: i32 = 0o2000;

fn shmget(key: i32, size: usize, flags: i32) -> Sys<i32> {
    sys!(SYS_shmget, key, size, flags).map(|id| id as i32)
}
fn shmat(id: i32, at: usize, flags: i32) -> Sys<*mut u8> {
    sys!(SYS_shmat, id, at, flags).map(|p| p as usize as *mut u8)
}
fn remove(id: i32) -> Sys {
    sys!(SYS_shmctl, id, IPC_RMID, 0)
}

fn segment_is_shared_with_child() {
    let id = must!(shmget(IPC_PRIVATE, 5000, CREAT | 0o600));
    let p = must!(shmat(id, 0, 0));
    let removed = remove(id);
    in_child(|| poke(p.wrapping_add(4999), 7u8));
    check_eq!(peek(p.wrapping_add(4999)), 7u8);
    must!(removed);
    must!(sys!(SYS_shmdt, p));
}

fn attached_twice_sees_same_memory() {
    let id = must!(shmget(IPC_PRIVATE, PAGE, CREAT | 0o600));
    let a = must!(shmat(id, 0, 0));
    let b = must!(shmat(id, 0, SHM_RDONLY));
    let _ = remove(id);
    poke(a, 5u8);
    check_eq!(peek(b), 5u8);
    expect_killed(SIGSEGV, || poke(b, 1u8));
}

fn removed_segment_lives_until_detached() {
    let id = must!(shmget(IPC_PRIVATE, PAGE, CREAT | 0o600));
    let p = must!(shmat(id, 0, 0));
    must!(remove(id));
    poke(p, 1u8);
    must!(sys!(SYS_shmdt, p));
    let result = shmat(id, 0, 0);
    check!(matches!(result, Err(EINVAL | EIDRM)), "{result:?}");
}

fn shm_errors() {
    expect_errno!(shmget(IPC_PRIVATE, 0, CREAT | 0o600), EINVAL);
    expect_errno!(shmget(0x7654_0000 + getpid(), PAGE, 0o600), ENOENT);
    expect_errno!(sys!(SYS_shmat, 0x7fff_ffff, 0, 0), EINVAL);
    expect_errno!(sys!(SYS_shmdt, anon(1)), EINVAL);
    expect_errno!(sys!(SYS_shmctl, 0x7fff_ffff, IPC_RMID, 0), EINVAL);
}

fn shm_key_lookup() {
    let key = 0x7600_0000 + getpid();
    let id = must!(shmget(key, PAGE, CREAT | EXCL | 0o600));
    let again = shmget(key, PAGE, 0o600);
    let exclusive = shmget(key, PAGE, CREAT | EXCL | 0o600);
    let larger = shmget(key, 10 * PAGE, 0o600);
    let _ = remove(id);
    check_eq!(again, Ok(id));
    expect_errno!(exclusive, EEXIST);
    expect_errno!(larger, EINVAL);
}

fn shm_stat_counts_attachments() {
    let id = must!(shmget(IPC_PRIVATE, 5000, CREAT | 0o640));
    let p = must!(shmat(id, 0, 0));
    let mut ds: shmid_ds = zeroed();
    let result = sys!(SYS_shmctl, id, IPC_STAT, &mut ds);
    let _ = remove(id);
    must!(result);
    check_eq!(
        (ds.shm_nattch, ds.shm_segsz, ds.shm_cpid),
        (1, 5000, getpid())
    );
    check_eq!(ds.shm_perm.mode & 0o777, 0o640);
    must!(sys!(SYS_shmdt, p));
}

fn semaphores_count() {
    let id = must!(sys!(SYS_semget, IPC_PRIVATE, 2, CREAT | 0o600)) as i32;
    // struct sembuf: number, operation, flags.
    let semop = |n: i16, by: i16, flags: i16| sys!(SYS_semop, id, &[n, by, flags], 1);
    must!(semop(0, 2, 0));
    must!(semop(0, -1, 0));
    check_eq!(sys!(SYS_semctl, id, 0, GETVAL, 0), Ok(1));
    expect_errno!(semop(0, -5, IPC_NOWAIT as i16), EAGAIN);
    expect_errno!(semop(7, 1, 0), EFBIG);
    let pid = child(|| {
        must!(semop(1, -1, 0));
        0
    });
    wait_asleep(pid);
    must!(semop(1, 1, 0));
    wait_ok(pid);
    must!(sys!(SYS_semctl, id, 0, IPC_RMID, 0));
    let gone = semop(0, 1, 0);
    check!(matches!(gone, Err(EINVAL | EIDRM)));
}

fn message_queue_keeps_types() {
    let id = must!(sys!(SYS_msgget, IPC_PRIVATE, CREAT | 0o600)) as i32;
    let send = |kind: u64, text: u64| sys!(SYS_msgsnd, id, &[kind, text], 8, 0);
    must!(send(1, 11));
    must!(send(2, 22));
    let mut buf = [0u64; 2];
    check_eq!(sys!(SYS_msgrcv, id, &mut buf, 8, 2, 0), Ok(8));
    check_eq!(buf, [2, 22]);
    check_eq!(sys!(SYS_msgrcv, id, &mut buf, 8, 0, 0), Ok(8));
    check_eq!(buf, [1, 11]);
    expect_errno!(sys!(SYS_msgrcv, id, &mut buf, 8, 0, IPC_NOWAIT), ENOMSG);
    expect_errno!(send(0, 1), EINVAL);
    must!(sys!(SYS_msgctl, id, IPC_RMID, 0));
}

fn posix_shm_through_dev_shm() {
    let name = cpath(&format!("/dev/shm/syscall-guest-{}", getpid()));
    let fd = must!(open(&name, O_CREAT | O_EXCL | O_RDWR, 0o600));
    must!(unlink(&name));
    must!(ftruncate(fd, PAGE as i64));
    let p = must!(mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    in_child(|| poke(p, 3u8));
    check_eq!(peek(p), 3u8);
}

cases![
    segment_is_shared_with_child,
    attached_twice_sees_same_memory,
    removed_segment_lives_until_detached,
    shm_errors,
    shm_key_lookup,
    shm_stat_counts_attachments,
    semaphores_count,
    message_queue_keeps_types,
    posix_shm_through_dev_shm,
];
