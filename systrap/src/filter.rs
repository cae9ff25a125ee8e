//! The seccomp filter of the stub processes.
//!
//! Outside stub text every call traps, whatever its number or architecture.
//! Inside, the calls below are allowed, with their arguments checked, since
//! the application can jump to any `syscall` instruction of the stub with
//! registers of its choice (and could even map text of its own over the
//! stub's): so this list is what a hostile application can do to the host.
//! Everything else from there kills the process.

use crate::bpf::{self, Program, RET_KILL_PROCESS, RET_TRAP, Rule};
use crate::layout::{DOORBELL, TASK_SIZE, TEXT, TEXT_MAX, VDSO, VDSO_MAX};
use crate::proto::{AUDIT_ARCH_X86_64, CLONE_FORK, CLONE_THREAD, CTL_FD};

fn nr(n: libc::c_long) -> u32 {
    u32::try_from(n).expect("call numbers are small")
}

fn bits(flags: &[i32]) -> u64 {
    flags
        .iter()
        .fold(0, |a, f| a | u64::from(f.cast_unsigned()))
}

/// The advices that may be given to the host's madvise(2): those that concern
/// the caller's own pages. Not HWPOISON and SOFT_OFFLINE (the machine), not
/// MERGEABLE (a side channel between sandboxes), not REMOVE (the Sentry
/// punches holes itself).
pub const ADVICES: &[i32] = &[
    libc::MADV_NORMAL,
    libc::MADV_RANDOM,
    libc::MADV_SEQUENTIAL,
    libc::MADV_WILLNEED,
    libc::MADV_DONTNEED,
    libc::MADV_FREE,
    libc::MADV_DONTFORK,
    libc::MADV_DOFORK,
    libc::MADV_HUGEPAGE,
    libc::MADV_NOHUGEPAGE,
    libc::MADV_WIPEONFORK,
    libc::MADV_KEEPONFORK,
    20, // MADV_COLD
    21, // MADV_PAGEOUT
    22, // MADV_POPULATE_READ
    23, // MADV_POPULATE_WRITE
    24, // MADV_DONTNEED_LOCKED
    25, // MADV_COLLAPSE
];

/// Flags of mmap(2) that actions may use.
pub const MMAP_FLAGS: &[i32] = &[
    libc::MAP_SHARED,
    libc::MAP_PRIVATE,
    libc::MAP_FIXED,
    libc::MAP_ANONYMOUS,
    libc::MAP_GROWSDOWN,
    libc::MAP_NORESERVE,
    libc::MAP_POPULATE,
    libc::MAP_STACK,
    libc::MAP_FIXED_NOREPLACE,
];

/// Futex commands: WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET and
/// WAKE_BITSET. Not the PI ones, which act on thread ids and priorities.
const FUTEX_OPS: &[u32] = &[0, 1, 3, 4, 5, 9, 10];
/// Those that move waiters. With the doorbell as their source, a hostile
/// process could move a sleeping worker to a futex that nobody wakes.
const FUTEX_REQUEUE_OPS: &[u32] = &[3, 4];
/// FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME.
const FUTEX_FLAGS: u32 = 128 | 256;

/// futex_wake(2) and futex_wait(2) of Linux 6.7.
const SYS_FUTEX_WAKE: u32 = 454;
const SYS_FUTEX_WAIT: u32 = 455;

// What the rule for mremap(2) allows must not reach the doorbell.
const _: () = assert!(VDSO + 2 * VDSO_MAX <= DOORBELL && TASK_SIZE <= DOORBELL);

/// The program.
pub fn program() -> Program {
    let mut p = Program::default();
    p.load(bpf::IP + 4);
    p.unless_eq((TEXT >> 32) as u32, RET_TRAP);
    p.load(bpf::IP);
    let low = (TEXT & 0xffff_ffff) as u32;
    p.unless_in(low, low + TEXT_MAX as u32, RET_TRAP);
    p.load(bpf::ARCH);
    p.unless_eq(AUDIT_ARCH_X86_64, RET_KILL_PROCESS);
    p.load(bpf::NR);

    let ctl = CTL_FD as u32;
    let advices: Vec<u32> = ADVICES.iter().map(|a| a.cast_unsigned()).collect();

    // The hand-over, and futexes of the application's own.
    let requeue = FUTEX_REQUEUE_OPS.to_vec();
    p.allow(
        nr(libc::SYS_futex),
        &[
            Rule::OneOf(1, FUTEX_FLAGS, FUTEX_OPS.to_vec(), false),
            Rule::BelowIf(1, FUTEX_FLAGS, requeue, 0, TASK_SIZE),
        ],
    );
    // The same in other words. (Not futex_requeue: its addresses can't be
    // checked.)
    p.allow(nr(libc::SYS_futex_waitv), &[]);
    p.allow(SYS_FUTEX_WAKE, &[]);
    p.allow(SYS_FUTEX_WAIT, &[]);
    // Back to the application; restores its own registers only.
    p.allow(nr(libc::SYS_rt_sigreturn), &[]);
    // Lets the kick in around futex waits; blocking it only delays the
    // process's own end by SIGKILL.
    p.allow(nr(libc::SYS_rt_sigprocmask), &[]);
    // After SIGSTOP and SIGCONT, for a timed futex wait.
    p.allow(nr(libc::SYS_restart_syscall), &[]);
    p.allow(nr(libc::SYS_sched_yield), &[]);

    // Memory of the process itself. Descriptors can only be those that the
    // Sentry sent.
    let prot = bits(&[libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC]);
    p.allow(
        nr(libc::SYS_mmap),
        &[Rule::Within(2, prot), Rule::Within(3, bits(MMAP_FLAGS))],
    );
    p.allow(nr(libc::SYS_munmap), &[]);
    p.allow(nr(libc::SYS_mprotect), &[Rule::Within(2, prot)]);
    // MREMAP_MAYMOVE, FIXED, DONTUNMAP. Only the application's memory and the
    // vDSO: at another address the doorbell would be the source of a requeue.
    p.allow(
        nr(libc::SYS_mremap),
        &[
            Rule::Within(3, 7),
            Rule::RangeBelow(0, 1, TASK_SIZE, VDSO..VDSO + VDSO_MAX),
        ],
    );
    p.allow(nr(libc::SYS_madvise), &[Rule::OneOf(2, 0, advices, false)]);
    p.allow(nr(libc::SYS_msync), &[Rule::Within(2, 7)]);
    p.allow(nr(libc::SYS_mincore), &[]);

    // Processes and threads, in exactly the two forms that the stub uses.
    p.allow(
        nr(libc::SYS_clone),
        &[Rule::OneOf(
            0,
            0,
            vec![CLONE_FORK as u32, CLONE_THREAD as u32],
            true,
        )],
    );
    p.allow(nr(libc::SYS_exit), &[]);
    p.allow(nr(libc::SYS_exit_group), &[]);

    // The control socket: descriptors in, one byte out (never a descriptor:
    // sendto has no control data; never elsewhere: no address).
    p.allow(nr(libc::SYS_recvmsg), &[Rule::Is32(0, ctl)]);
    p.allow(
        nr(libc::SYS_sendto),
        &[
            Rule::Is32(0, ctl),
            Rule::Is(3, bits(&[libc::MSG_DONTWAIT, libc::MSG_NOSIGNAL])),
            Rule::Is(4, 0),
            Rule::Is(5, 0),
        ],
    );
    p.allow(nr(libc::SYS_close), &[]);
    p.allow(nr(libc::SYS_dup2), &[Rule::Is32(1, ctl)]);
    p.allow(
        nr(libc::SYS_close_range),
        &[
            Rule::Is32(0, ctl + 1),
            Rule::Is32(1, u32::MAX),
            Rule::Is32(2, 0),
        ],
    );

    // Segment bases where the CPU has no FSGSBASE: ARCH_SET_GS, ARCH_SET_FS.
    p.allow(
        nr(libc::SYS_arch_prctl),
        &[Rule::OneOf(0, 0, vec![0x1001, 0x1002], false)],
    );

    p.ret(RET_KILL_PROCESS);
    p
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{RET_ALLOW, run};

    fn decide(ip: u64, arch: u32, nr: i64, args: [u64; 6]) -> u32 {
        let mut d = [0u32; 16];
        d[0] = nr as u32;
        d[1] = arch;
        d[2] = ip as u32;
        d[3] = (ip >> 32) as u32;
        for (i, a) in args.iter().enumerate() {
            d[4 + 2 * i] = *a as u32;
            d[5 + 2 * i] = (*a >> 32) as u32;
        }
        run(&program().insns, &d)
    }

    fn inside(nr: i64, args: [u64; 6]) -> u32 {
        decide(TEXT + 0x20, AUDIT_ARCH_X86_64, nr, args)
    }

    #[test]
    fn everything_outside_traps() {
        for ip in [
            0,
            0x40_1000,
            TEXT - 1,
            TEXT + TEXT_MAX,
            TEXT & 0xffff_ffff,
            TEXT - (1 << 32),
            TEXT + (1 << 32),
            u64::MAX,
        ] {
            for arch in [AUDIT_ARCH_X86_64, crate::proto::AUDIT_ARCH_I386, 0] {
                for nr in [0, 15, 202, 231, 435, 0x4000_0000, -1] {
                    assert_eq!(decide(ip, arch, nr, [0; 6]), RET_TRAP, "{ip:#x} {nr}");
                }
            }
        }
    }

    #[test]
    fn other_architectures_inside_die() {
        let ip = TEXT + 0x20;
        assert_eq!(
            decide(ip, crate::proto::AUDIT_ARCH_I386, 1, [0; 6]),
            RET_KILL_PROCESS
        );
        assert_eq!(
            decide(ip, AUDIT_ARCH_X86_64, 0x4000_0000 + 15, [0; 6]),
            RET_KILL_PROCESS
        );
    }

    #[test]
    fn only_the_listed_numbers_pass() {
        let allowed: Vec<i64> = (0..600)
            .filter(|nr| {
                // Arguments that satisfy nothing special.
                inside(*nr, [0; 6]) == RET_ALLOW
            })
            .collect();
        // clone, sendto, arch_prctl, dup2 (to 0), close_range need others.
        assert_eq!(
            allowed,
            [
                libc::SYS_close,
                libc::SYS_mmap,
                libc::SYS_mprotect,
                libc::SYS_munmap,
                libc::SYS_rt_sigprocmask,
                libc::SYS_rt_sigreturn,
                libc::SYS_sched_yield,
                libc::SYS_mremap,
                libc::SYS_msync,
                libc::SYS_mincore,
                libc::SYS_madvise,
                libc::SYS_dup2,
                libc::SYS_recvmsg,
                libc::SYS_exit,
                libc::SYS_futex,
                libc::SYS_restart_syscall,
                libc::SYS_exit_group,
                libc::SYS_futex_waitv,
                SYS_FUTEX_WAKE.into(),
                SYS_FUTEX_WAIT.into(),
            ]
        );
    }

    #[test]
    fn clone_takes_exactly_two_forms() {
        let ok = |f: u64| inside(libc::SYS_clone, [f, 0, 0, 0, 0, 0]) == RET_ALLOW;
        assert!(ok(CLONE_FORK));
        assert!(ok(CLONE_THREAD));
        for bit in 0..64 {
            assert!(!ok(CLONE_FORK ^ 1 << bit), "bit {bit}");
            assert!(!ok(CLONE_THREAD ^ 1 << bit), "bit {bit}");
        }
    }

    #[test]
    fn futex_takes_no_pi() {
        let ok = |op: u64| inside(libc::SYS_futex, [0, op, 0, 0, 0, 0]) == RET_ALLOW;
        for op in 0..16u64 {
            for flags in [0, 128, 256, 384] {
                let plain = FUTEX_OPS.contains(&(op as u32));
                assert_eq!(ok(op | flags), plain, "{op} {flags}");
            }
            assert!(!ok(op | 512));
        }
    }

    #[test]
    fn nothing_is_moved_off_the_doorbell() {
        let futex =
            |op: u64, at: u64| inside(libc::SYS_futex, [at, op, 1, 1, 0x1000, 0]) == RET_ALLOW;
        for op in [3, 4, 3 | 128, 4 | 128, 3 | 256, 4 | 384] {
            assert!(futex(op, 0x1000) && futex(op, TASK_SIZE - 4), "{op}");
            for at in [TASK_SIZE, DOORBELL, DOORBELL + 0x40, u64::MAX] {
                assert!(!futex(op, at), "{op} {at:#x}");
            }
        }
        assert!(futex(0, DOORBELL) && futex(1, DOORBELL));
        for nr in [449, 454, 455] {
            assert_eq!(inside(nr, [DOORBELL, 1, 2, 3, 4, 5]), RET_ALLOW);
        }
        assert_ne!(inside(456, [0; 6]), RET_ALLOW);
    }

    #[test]
    fn the_stub_area_is_not_moved() {
        let ok = |at: u64, len: u64| {
            inside(libc::SYS_mremap, [at, len, 0x1000, 3, 0x1_0000, 0]) == RET_ALLOW
        };
        const G: u64 = 1 << 32;
        for (at, len) in [
            (0, 0),
            (0x1000, 0x1000),
            (0x1000, 0x7000 * G),
            (0, TASK_SIZE),
            (TASK_SIZE - 0x1000, 0x1000),
            (0x7ffe * G + 0xffff_f000, 0x1000),
            (VDSO, VDSO_MAX),
            (VDSO + VDSO_MAX - 0x1000, 0x1000),
        ] {
            assert!(ok(at, len), "{at:#x} {len:#x}");
        }
        for (at, len) in [
            (TASK_SIZE - 0x1000, 0x1001),
            (TASK_SIZE - 0x1000, 0x2000),
            (TASK_SIZE, 1),
            (TASK_SIZE + 1, 0),
            (0x1000, TASK_SIZE),
            (0x7ffe * G, G + 1),
            (0x7ffe * G, u64::MAX),
            (G, u64::MAX - G + 1),
            (G, 0x7fff_ffff_ffff_ffff),
            (0xffff_ffff * G, 0x1000),
            (DOORBELL, 0),
            (DOORBELL, 0x1000),
            (VDSO, VDSO_MAX + 1),
            (VDSO - 0x1000, 0x1000),
            (VDSO + VDSO_MAX, 0x1000),
            (VDSO, G),
            (VDSO + G, 0x1000),
            (crate::layout::REGION, 0x1000),
        ] {
            assert!(!ok(at, len), "{at:#x} {len:#x}");
        }
        // A random walk around the borders, against the rule in Rust.
        let mut noise = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..200_000 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let base = [0, TASK_SIZE, VDSO, DOORBELL, 0x7ffe * G, u64::MAX][noise as usize % 6];
            let at = base
                .wrapping_add((noise >> 8) % 0x2001)
                .wrapping_sub(0x1000);
            let len = [0, G, VDSO_MAX, TASK_SIZE, u64::MAX][(noise >> 24) as usize % 5]
                .wrapping_add((noise >> 32) % 0x2001)
                .wrapping_sub(0x1000);
            let below = at.checked_add(len).is_some_and(|end| end <= TASK_SIZE);
            let vdso = (VDSO..VDSO + VDSO_MAX).contains(&at) && len <= VDSO_MAX;
            assert_eq!(ok(at, len), below || vdso, "{at:#x} {len:#x}");
        }
    }

    #[test]
    fn arguments_are_checked() {
        let mmap = |prot: u64, flags: u64| {
            inside(libc::SYS_mmap, [0x1000, 0x1000, prot, flags, 5, 0]) == RET_ALLOW
        };
        assert!(mmap(7, 0x32));
        assert!(!mmap(7, 0x40032)); // MAP_HUGETLB
        assert!(!mmap(0x0100_0007, 0x32));
        assert!(!mmap(7, 0x1_0000_0032));
        let madvise = |a: u64| inside(libc::SYS_madvise, [0, 0, a, 0, 0, 0]) == RET_ALLOW;
        assert!(madvise(4));
        assert!(!madvise(100)); // HWPOISON
        assert!(!madvise(9)); // REMOVE
        assert!(!madvise(12)); // MERGEABLE
        let sendto = |a: [u64; 6]| inside(libc::SYS_sendto, a) == RET_ALLOW;
        assert!(sendto([0, 1, 1, 0x4040, 0, 0]));
        assert!(!sendto([3, 1, 1, 0x4040, 0, 0]));
        assert!(!sendto([0, 1, 1, 0x4040, 0x1_0000_0000, 0]));
        let recvmsg = |fd: u64| inside(libc::SYS_recvmsg, [fd, 0, 0, 0, 0, 0]) == RET_ALLOW;
        assert!(recvmsg(0));
        assert!(!recvmsg(1));
        let dup2 = |to: u64| inside(libc::SYS_dup2, [5, to, 0, 0, 0, 0]) == RET_ALLOW;
        assert!(dup2(0) && !dup2(1));
        let prctl = |c: u64| inside(libc::SYS_arch_prctl, [c, 0, 0, 0, 0, 0]) == RET_ALLOW;
        assert!(prctl(0x1001) && prctl(0x1002) && !prctl(0x1011) && !prctl(0x5001));
        let cr =
            |a: u64, b: u64, f: u64| inside(libc::SYS_close_range, [a, b, f, 0, 0, 0]) == RET_ALLOW;
        assert!(cr(1, 0xffff_ffff, 0) && !cr(0, 0xffff_ffff, 0) && !cr(1, 0xffff_ffff, 2));
    }
}
