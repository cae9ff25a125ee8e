//! System V message queues.

use syscall_tests::cases;
use syscall_tests::prelude::*;

const CREAT: i32 = 0o1000;
const EXCL: i32 = 0o2000;
const NOWAIT: i32 = 0o4000;
const NOERROR: i32 = 0o10000;
const EXCEPT: i32 = 0o20000;
const COPY: i32 = 0o40000;

/// A queue that goes when it is dropped.
struct Queue(i32);

impl Queue {
    fn new() -> Self {
        Self(must!(sys!(SYS_msgget, IPC_PRIVATE, CREAT | 0o600)) as i32)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = sys!(SYS_msgctl, self.0, IPC_RMID, 0);
    }
}

/// Sends eight bytes.
fn send(id: i32, kind: i64, text: u64, flags: i32) -> Sys {
    sys!(SYS_msgsnd, id, &[kind.cast_unsigned(), text], 8, flags)
}

/// Receives up to eight bytes: type and text.
fn receive(id: i32, kind: i64, flags: i32) -> Sys<(i64, u64)> {
    let mut buf = [0u64; 2];
    sys!(SYS_msgrcv, id, &mut buf, 8, kind, flags).map(|_| (buf[0].cast_signed(), buf[1]))
}

fn type_chooses_the_message() {
    let q = Queue::new();
    for (kind, text) in [(3, 30), (1, 10), (2, 20), (1, 11)] {
        must!(send(q.0, kind, text, 0));
    }
    check_eq!(receive(q.0, -2, 0), Ok((1, 10)));
    check_eq!(receive(q.0, 3, EXCEPT), Ok((2, 20)));
    check_eq!(receive(q.0, 1, 0), Ok((1, 11)));
    expect_errno!(receive(q.0, 1, NOWAIT), ENOMSG);
    expect_errno!(receive(q.0, -2, NOWAIT), ENOMSG);
    check_eq!(receive(q.0, i64::MIN, 0), Ok((3, 30)));
}

fn long_message_is_e2big_or_cut() {
    let q = Queue::new();
    must!(send(q.0, 1, 0x1122_3344_5566_7788, 0));
    let mut buf = [0u64; 2];
    expect_errno!(sys!(SYS_msgrcv, q.0, &mut buf, 3, 0, 0), E2BIG);
    check_eq!(sys!(SYS_msgrcv, q.0, &mut buf, 3, 0, NOERROR), Ok(3));
    check_eq!(buf, [1, 0x66_7788]);
    expect_errno!(receive(q.0, 0, NOWAIT), ENOMSG);
}

fn errors() {
    let q = Queue::new();
    expect_errno!(send(q.0, 0, 1, 0), EINVAL);
    expect_errno!(send(q.0, -1, 1, 0), EINVAL);
    expect_errno!(send(-1, 1, 1, 0), EINVAL);
    expect_errno!(send(0x7fff_fff0, 1, 1, 0), EINVAL);
    expect_errno!(sys!(SYS_msgsnd, q.0, bad::<u8>(), 8, 0), EFAULT);
    expect_errno!(sys!(SYS_msgsnd, q.0, &[1u64; 2], 1 << 20, 0), EINVAL);
    expect_errno!(sys!(SYS_msgsnd, q.0, &[1u64; 2], -1i64 as usize, 0), EINVAL);
    expect_errno!(
        sys!(SYS_msgrcv, q.0, bad::<u8>(), -1i64 as usize, 0, 0),
        EINVAL
    );
    expect_errno!(sys!(SYS_msgctl, q.0, 99, 0), EINVAL);
    expect_errno!(sys!(SYS_msgctl, q.0, IPC_STAT, bad::<u8>()), EFAULT);
    must!(sys!(SYS_msgsnd, q.0, &[1u64], 0, 0));
    check_eq!(sys!(SYS_msgrcv, q.0, &mut [0u64; 2], 8, 0, 0), Ok(0));
}

fn keys_find_queues() {
    let key = 0x7400_0000 + getpid();
    expect_errno!(sys!(SYS_msgget, key, 0o600), ENOENT);
    let q = Queue(must!(sys!(SYS_msgget, key, CREAT | EXCL | 0o600)) as i32);
    check_eq!(sys!(SYS_msgget, key, 0o600), Ok(i64::from(q.0)));
    expect_errno!(sys!(SYS_msgget, key, CREAT | EXCL | 0o600), EEXIST);
}

fn full_queue_blocks_until_there_is_room() {
    let q = Queue::new();
    let block = [1u64; 1 + 512];
    for _ in 0..4 {
        must!(sys!(SYS_msgsnd, q.0, &block, 4096, 0));
    }
    expect_errno!(send(q.0, 1, 1, NOWAIT), EAGAIN);
    let id = q.0;
    let pid = child(|| {
        must!(send(id, 5, 55, 0));
        0
    });
    wait_asleep(pid);
    let mut buf = [0u64; 1 + 512];
    check_eq!(sys!(SYS_msgrcv, q.0, &mut buf, 4096, 0, 0), Ok(4096));
    wait_ok(pid);
    check_eq!(receive(q.0, 5, 0), Ok((5, 55)));
}

fn receiver_waits_for_its_type() {
    let q = Queue::new();
    let id = q.0;
    let pid = child(|| {
        check_eq!(receive(id, 2, 0), Ok((2, 22)));
        0
    });
    wait_asleep(pid);
    must!(send(q.0, 1, 11, 0));
    wait_asleep(pid);
    must!(send(q.0, 2, 22, 0));
    wait_ok(pid);
    check_eq!(receive(q.0, 0, 0), Ok((1, 11)));
}

fn removal_wakes_with_eidrm() {
    let q = Queue::new();
    let id = q.0;
    let pid = child(|| {
        expect_errno!(receive(id, 0, 0), EIDRM);
        0
    });
    wait_asleep(pid);
    drop(q);
    wait_ok(pid);
}

fn handler_ends_the_wait_even_with_restart() {
    let q = Queue::new();
    handle(SIGALRM, record, SA_RESTART);
    must!(sys!(SYS_alarm, 1));
    expect_errno!(receive(q.0, 0, 0), EINTR);
    check_eq!(seen(), 1);
}

fn copy_leaves_the_message() {
    let q = Queue::new();
    must!(send(q.0, 7, 70, 0));
    must!(send(q.0, 8, 80, 0));
    let copied = receive(q.0, 1, COPY | NOWAIT);
    if copied == Err(ENOSYS) {
        skip!("no MSG_COPY");
    }
    check_eq!(copied, Ok((8, 80)));
    expect_errno!(receive(q.0, 2, COPY | NOWAIT), ENOMSG);
    expect_errno!(receive(q.0, 0, COPY), EINVAL);
    expect_errno!(receive(q.0, 0, COPY | NOWAIT | EXCEPT), EINVAL);
    check_eq!(receive(q.0, 0, 0), Ok((7, 70)));
}

fn stat_counts_and_set_changes() {
    let q = Queue::new();
    must!(send(q.0, 1, 1, 0));
    let mut ds: msqid_ds = zeroed();
    must!(sys!(SYS_msgctl, q.0, IPC_STAT, &mut ds));
    check_eq!((ds.msg_qnum, ds.msg_qbytes), (1, 16384));
    check_eq!((ds.msg_lspid, ds.msg_lrpid), (getpid(), 0));
    check!(ds.msg_stime > 0 && ds.msg_rtime == 0 && ds.msg_ctime > 0);
    ds.msg_qbytes = 8;
    ds.msg_perm.mode = 0o660;
    must!(sys!(SYS_msgctl, q.0, IPC_SET, &ds));
    must!(sys!(SYS_msgctl, q.0, IPC_STAT, &mut ds));
    check_eq!((ds.msg_qbytes, ds.msg_perm.mode & 0o777), (8, 0o660));
    expect_errno!(send(q.0, 1, 1, NOWAIT), EAGAIN);
    check_eq!(receive(q.0, 0, 0), Ok((1, 1)));
    must!(sys!(SYS_msgctl, q.0, IPC_STAT, &mut ds));
    check_eq!((ds.msg_qnum, ds.msg_lrpid), (0, getpid()));
    let text = must!(read_file(c"/proc/sysvipc/msg"));
    let text = String::from_utf8_lossy(&text).into_owned();
    check!(
        text.lines()
            .any(|l| l.split_whitespace().nth(1) == Some(&q.0.to_string()))
    );
}

cases![
    type_chooses_the_message,
    long_message_is_e2big_or_cut,
    errors,
    keys_find_queues,
    full_queue_blocks_until_there_is_room,
    receiver_waits_for_its_type,
    removal_wakes_with_eidrm,
    handler_ends_the_wait_even_with_restart,
    copy_leaves_the_message,
    stat_counts_and_set_changes,
];
