//! Futexes answered in the stub.

use systrap::Event;

use crate::support::*;
use crate::{code, tests};

tests!(
    wrong_value_is_eagain,
    errors_are_the_kernels,
    timeout_expires,
    kick_interrupts_a_wait,
    no_kick_is_lost_in_waits,
    restart_with_deadline,
    threads_wake_each_other,
    stopped_and_continued,
    requeue_works,
);

const EAGAIN: u64 = -11i64 as u64;
const EFAULT: u64 = -14i64 as u64;
const EINVAL: u64 = -22i64 as u64;
const ETIMEDOUT: u64 = -110i64 as u64;

// Calls futex with the registers as they are, then call 1000 with the result.
code!(
    one_futex,
    "2:",
    "mov eax, 202",
    "syscall",
    "mov rdi, rax",
    "mov eax, 1000",
    "syscall",
    "jmp 2b"
);

/// Lets the thread call futex(2) with these arguments; its registers.
fn with_args(p: &mut Proc, args: [u64; 6]) {
    let mut r = p.thread.regs();
    [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = args;
    r.rip = CODE;
    p.thread.set_regs(&r);
}

fn futex(vm: &mut Vm, p: &mut Proc, args: [u64; 6]) -> u64 {
    with_args(p, args);
    let (nr, args) = call(vm.go(p));
    assert_eq!(nr, 1000);
    args[0]
}

fn wrong_value_is_eagain() {
    let mut vm = Vm::new();
    let mut p = vm.load(one_futex());
    p.put(DATA, &5u32.to_le_bytes());
    for op in [0, 128, 9, 9 | 128] {
        assert_eq!(futex(&mut vm, &mut p, [DATA, op, 6, 0, 0, 1]), EAGAIN);
    }
    assert_eq!(
        futex(&mut vm, &mut p, [DATA, 1, 6, 0, 0, 0]),
        0,
        "wakes nobody"
    );
}

fn errors_are_the_kernels() {
    let mut vm = Vm::new();
    let mut p = vm.load(one_futex());
    assert_eq!(futex(&mut vm, &mut p, [DATA + 1, 0, 0, 0, 0, 0]), EINVAL);
    assert_eq!(futex(&mut vm, &mut p, [0x1000, 0, 0, 0, 0, 0]), EFAULT);
    assert_eq!(
        futex(&mut vm, &mut p, [DATA, 9, 0, 0, 0, 0]),
        EINVAL,
        "no bits"
    );
    assert_eq!(
        futex(&mut vm, &mut p, [DATA, 0, 0, 0x1000, 0, 0]),
        EFAULT,
        "timeout"
    );
    // Not the stub's: they reach the Sentry.
    for (addr, op) in [
        (1 << 47, 0),
        (DATA, 6),
        (DATA, 11),
        (DATA, 2),
        (u64::MAX, 1),
    ] {
        with_args(&mut p, [addr, op, 0, 0, 0, 0]);
        assert_eq!(call(vm.go(&mut p)).0, 202);
        p.thread.set_return(0);
    }
}

fn timeout_expires() {
    let mut vm = Vm::new();
    let mut p = vm.load(one_futex());
    p.put(DATA + 16, &[0, 2_000_000u64].map(u64::to_le_bytes).concat());
    assert_eq!(
        futex(&mut vm, &mut p, [DATA, 0, 0, DATA + 16, 0, 0]),
        ETIMEDOUT
    );
}

fn kick_interrupts_a_wait() {
    let mut vm = Vm::new();
    let mut p = vm.load(one_futex());
    with_args(&mut p, [DATA, 128, 0, 0, 7, 8]);
    p.thread.resume();
    until("a futex wait", || p.thread.in_futex_wait());
    std::thread::sleep(std::time::Duration::from_millis(20));
    p.thread.kicker().kick();
    match vm.event(&mut p) {
        Event::FutexInterrupted {
            nr: 202,
            args,
            elapsed_ns,
        } => {
            assert_eq!(args, [DATA, 128, 0, 0, 7, 8]);
            assert!(
                (1_000_000..10_000_000_000).contains(&elapsed_ns),
                "{elapsed_ns}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(!p.thread.in_futex_wait());
    assert_eq!(p.thread.regs().rax, 202);
    // EINTR, and restart.
    assert_eq!(call(vm.answer(&mut p, -4i64 as u64)).1[0], -4i64 as u64);
}

fn no_kick_is_lost_in_waits() {
    let mut vm = Vm::new();
    let mut p = vm.load(one_futex());
    with_args(&mut p, [DATA, 128, 0, 0, 0, 0]);
    let kicker = p.thread.kicker();
    let (mut in_wait, mut outside) = (0, 0);
    for i in 0..10_000u32 {
        p.thread.resume();
        for _ in 0..i % 256 * 8 {
            std::hint::spin_loop();
        }
        kicker.kick();
        match vm.event(&mut p) {
            Event::FutexInterrupted { .. } => {
                in_wait += 1;
                let mut r = p.thread.regs();
                r.rip -= 2; // restart
                p.thread.set_regs(&r);
            }
            Event::Kick => outside += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(in_wait > 0, "{in_wait} in waits, {outside} outside");
}

fn restart_with_deadline() {
    let mut vm = Vm::new();
    let mut p = vm.load(one_futex());
    with_args(&mut p, [DATA, 128, 0, 0, 0, 0]);
    p.thread.resume();
    std::thread::sleep(std::time::Duration::from_millis(2));
    p.thread.kicker().kick();
    assert!(matches!(
        vm.event(&mut p),
        Event::FutexInterrupted { .. } | Event::Kick
    ));
    let mut r = p.thread.regs();
    r.rax = 202;
    r.rip = CODE + 7; // behind the instruction
    p.thread.set_regs(&r);
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let in_ms = |ms: u64| now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64 + ms * 1_000_000;
    // Interrupted once more on the way.
    let late = Some((in_ms(100_000), false));
    p.thread.actions().futex_wait(DATA, 0, u32::MAX, true, late);
    p.thread.resume();
    until("a futex wait", || p.thread.in_futex_wait());
    p.thread.kicker().kick();
    assert!(matches!(
        vm.event(&mut p),
        Event::FutexInterrupted { nr: 202, .. }
    ));
    let soon = Some((in_ms(30), false));
    p.thread.actions().futex_wait(DATA, 0, u32::MAX, true, soon);
    assert_eq!(call(vm.go(&mut p)).1[0], ETIMEDOUT);
}

// Two threads pass a turn to each other 1000 times: rbx is my turn, r12 the
// other's.
code!(
    ping_pong,
    "mov r13d, 1000",
    "2:",
    "mov edi, 0x800000",
    "3:",
    "mov edx, [rdi]",
    "cmp edx, ebx",
    "je 4f",
    "mov esi, 128",
    "xor r10d, r10d",
    "mov eax, 202",
    "syscall",
    "jmp 2b",
    "4:",
    "mov [rdi], r12d",
    "mov esi, 129",
    "mov edx, 1",
    "mov eax, 202",
    "syscall",
    "dec r13d",
    "jnz 2b",
    "mov eax, 1000",
    "syscall",
    "ud2",
);

fn threads_wake_each_other() {
    let mut vm = Vm::new();
    let mut p = vm.load(ping_pong());
    let mut other = p.thread.spawn_thread().expect("thread");
    let token = vm.name(&other);
    let mut r = p.thread.regs();
    (r.rbx, r.r12) = (0, 1);
    p.thread.set_regs(&r);
    (r.rbx, r.r12, r.rsp) = (1, 0, STACK_END - 0x8000);
    other.set_regs(&r);
    other.resume();
    assert_eq!(call(vm.go(&mut p)).0, 1000);
    vm.wait_token(token);
    assert_eq!(call(other.event()).0, 1000);
}

fn stopped_and_continued() {
    let mut vm = Vm::new();
    let mut p = vm.load(one_futex());
    p.put(
        DATA + 16,
        &[0, 50_000_000u64].map(u64::to_le_bytes).concat(),
    );
    with_args(&mut p, [DATA, 0, 0, DATA + 16, 0, 0]);
    let pid = p.space.host_pid().expect("pid");
    p.thread.resume();
    for _ in 0..5 {
        // SAFETY: our own child.
        unsafe {
            libc::kill(pid, libc::SIGSTOP);
            std::thread::sleep(std::time::Duration::from_millis(2));
            libc::kill(pid, libc::SIGCONT);
        }
    }
    // restart_syscall must pass the filter.
    assert_eq!(call(vm.event(&mut p)).1[0], ETIMEDOUT);
}

fn requeue_works() {
    let mut vm = Vm::new();
    let mut p = vm.load(one_futex());
    p.put(DATA, &5u32.to_le_bytes());
    for private in [0, 128] {
        let args = |op: u64, val3| [DATA, op | private, 1, 1, DATA + 64, val3];
        assert_eq!(futex(&mut vm, &mut p, args(3, 0)), 0);
        assert_eq!(futex(&mut vm, &mut p, args(4, 5)), 0);
        assert_eq!(futex(&mut vm, &mut p, args(4, 6)), EAGAIN);
        assert_eq!(futex(&mut vm, &mut p, args(5, 0)), 0, "WAKE_OP");
        assert_eq!(
            futex(&mut vm, &mut p, [0x1000, 4 | private, 1, 1, DATA, 5]),
            EFAULT
        );
    }
}
