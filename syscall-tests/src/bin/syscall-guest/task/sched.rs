//! sched_*(2), getcpu(2), membarrier(2), rseq(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn affinity_of_self() {
    let mut mask = [0u64; 16];
    let n = must!(sys!(SYS_sched_getaffinity, 0, 128, &mut mask));
    check!(n > 0 && n % 8 == 0);
    check!(mask.iter().any(|w| *w != 0));
    must!(sys!(SYS_sched_setaffinity, 0, 128, &mask));
}

fn affinity_can_be_narrowed_and_is_inherited() {
    let mut mask = [0u64; 16];
    must!(sys!(SYS_sched_getaffinity, 0, 128, &mut mask));
    let first = mask[0] & mask[0].wrapping_neg();
    if first == 0 {
        skip!("no processor below 64");
    }
    must!(sys!(SYS_sched_setaffinity, 0, 8, &first));
    let mut now = [0u64; 16];
    must!(sys!(SYS_sched_getaffinity, 0, 128, &mut now));
    check_eq!(now[0], first);
    in_child(|| {
        let mut now = [0u64; 16];
        must!(sys!(SYS_sched_getaffinity, 0, 128, &mut now));
        check_eq!(now[0], first);
    });
    let mut cpu = 99u32;
    must!(sys!(SYS_getcpu, &mut cpu, 0, 0));
    check_eq!(1u64 << cpu, first);
}

fn affinity_errors() {
    let mut mask = [0u64; 16];
    expect_errno!(sys!(SYS_sched_getaffinity, 0, 7, &mut mask), EINVAL);
    expect_errno!(
        sys!(SYS_sched_getaffinity, 0x3fff_fff0, 128, &mut mask),
        ESRCH
    );
    expect_errno!(sys!(SYS_sched_getaffinity, 0, 128, bad::<u8>()), EFAULT);
    expect_errno!(sys!(SYS_sched_setaffinity, 0, 128, &[0u64; 16]), EINVAL);
    expect_errno!(sys!(SYS_sched_setaffinity, 0, 128, bad::<u8>()), EFAULT);
    expect_errno!(
        sys!(SYS_sched_setaffinity, 0x3fff_fff0, 128, &[1u64; 16]),
        ESRCH
    );
}

fn yield_returns_zero() {
    check_eq!(sys!(SYS_sched_yield), Ok(0));
}

fn default_policy_is_other() {
    check_eq!(sys!(SYS_sched_getscheduler, 0), Ok(i64::from(SCHED_OTHER)));
    let mut param = 7i32;
    must!(sys!(SYS_sched_getparam, 0, &mut param));
    check_eq!(param, 0);
    expect_errno!(sys!(SYS_sched_getscheduler, -1), EINVAL);
    expect_errno!(sys!(SYS_sched_getscheduler, 0x3fff_fff0), ESRCH);
    expect_errno!(sys!(SYS_sched_getparam, 0, 0), EINVAL);
}

fn batch_and_idle_policies() {
    must!(sys!(SYS_sched_setscheduler, 0, SCHED_BATCH, &0i32));
    check_eq!(sys!(SYS_sched_getscheduler, 0), Ok(i64::from(SCHED_BATCH)));
    expect_errno!(sys!(SYS_sched_setscheduler, 0, SCHED_BATCH, &1i32), EINVAL);
    expect_errno!(sys!(SYS_sched_setscheduler, 0, 77, &0i32), EINVAL);
    expect_errno!(sys!(SYS_sched_setscheduler, 0, SCHED_FIFO, &0i32), EINVAL);
    expect_errno!(
        sys!(SYS_sched_setscheduler, 0, SCHED_OTHER, bad::<u8>()),
        EFAULT
    );
}

fn real_time_unprivileged_is_eperm() {
    need_root();
    in_child(|| {
        must!(setrlimit(RLIMIT_RTPRIO, 0, 0));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(sys!(SYS_sched_setscheduler, 0, SCHED_FIFO, &10i32), EPERM);
    });
}

fn priority_ranges() {
    let max = |p: i32| sys!(SYS_sched_get_priority_max, p);
    let min = |p: i32| sys!(SYS_sched_get_priority_min, p);
    check_eq!((min(SCHED_OTHER), max(SCHED_OTHER)), (Ok(0), Ok(0)));
    check_eq!((min(SCHED_FIFO), max(SCHED_FIFO)), (Ok(1), Ok(99)));
    check_eq!((min(SCHED_RR), max(SCHED_RR)), (Ok(1), Ok(99)));
    expect_errno!(max(77), EINVAL);
}

fn rr_interval() {
    let mut ts: timespec = zeroed();
    must!(sys!(SYS_sched_rr_get_interval, 0, &mut ts));
    expect_errno!(sys!(SYS_sched_rr_get_interval, -1, &mut ts), EINVAL);
    expect_errno!(sys!(SYS_sched_rr_get_interval, 0, bad::<u8>()), EFAULT);
}

fn getattr_and_setattr() {
    let mut attr = [0u32; 14];
    must!(sys!(SYS_sched_getattr, 0, &mut attr, 56, 0));
    check_eq!(attr[1], SCHED_OTHER as u32);
    expect_errno!(sys!(SYS_sched_getattr, 0, &mut attr, 10, 0), EINVAL);
    expect_errno!(sys!(SYS_sched_getattr, 0, &mut attr, 56, 1), EINVAL);
    expect_errno!(sys!(SYS_sched_getattr, 0, 0, 56, 0), EINVAL);
    attr[0] = 48;
    must!(sys!(SYS_sched_setattr, 0, &attr, 0));
}

fn getcpu_is_online() {
    let (mut cpu, mut node) = (u32::MAX, u32::MAX);
    must!(sys!(SYS_getcpu, &mut cpu, &mut node, 0));
    check!(cpu < 4096 && node < 1024);
    must!(sys!(SYS_getcpu, 0, 0, 0));
    expect_errno!(sys!(SYS_getcpu, bad::<u8>(), 0, 0), EFAULT);
}

fn membarrier_query_and_private() {
    let commands = must!(sys!(SYS_membarrier, 0, 0, 0));
    // PRIVATE_EXPEDITED is 8, its registration 16.
    if commands & 24 == 24 {
        expect_errno!(sys!(SYS_membarrier, 8, 0, 0), EPERM);
        must!(sys!(SYS_membarrier, 16, 0, 0));
        must!(sys!(SYS_membarrier, 8, 0, 0));
    }
    expect_errno!(sys!(SYS_membarrier, 1 << 20, 0, 0), EINVAL);
    expect_errno!(sys!(SYS_membarrier, 0, 8, 0), EINVAL);
}

fn ioprio_default() {
    match sys!(SYS_ioprio_get, 1, 0) {
        Ok(_) => expect_errno!(sys!(SYS_ioprio_get, 9, 0), EINVAL),
        other => expect_errno!(other, ENOSYS),
    }
}

fn unknown_call_is_enosys() {
    expect_errno!(sys!(9999), ENOSYS);
    expect_errno!(sys!(500_000), ENOSYS);
    expect_errno!(sys!(-5), ENOSYS);
}

fn retired_calls_are_enosys() {
    for nr in [SYS_nfsservctl, SYS_tuxcall, SYS_security] {
        expect_errno!(raw(nr, [0; 6]), ENOSYS);
    }
}

cases![
    affinity_of_self,
    affinity_can_be_narrowed_and_is_inherited,
    affinity_errors,
    yield_returns_zero,
    default_policy_is_other,
    batch_and_idle_policies,
    real_time_unprivileged_is_eperm,
    priority_ranges,
    rr_interval,
    getattr_and_setattr,
    getcpu_is_online,
    membarrier_query_and_private,
    ioprio_default,
    unknown_call_is_enosys,
    retired_calls_are_enosys,
];
