//! What a handler sees and may change: alternate stacks, registers, vector
//! state, nesting, jumping out.

use std::arch::asm;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

static A: AtomicUsize = AtomicUsize::new(0);
static B: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicU32 = AtomicU32::new(0);

fn altstack(size: usize) -> *mut u8 {
    let p = anon(size / PAGE);
    let ss = stack_t {
        ss_sp: p.cast(),
        ss_flags: 0,
        ss_size: size,
    };
    must!(sys!(SYS_sigaltstack, &ss, 0));
    p
}
fn context(ctx: *mut c_void) -> &'static mut ucontext_t {
    unsafe { &mut *ctx.cast() }
}
extern "C" fn note_stack(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    let here = 0u8;
    A.store(&raw const here as usize, SeqCst);
    B.store(context(ctx).uc_stack.ss_sp as usize, SeqCst);
    COUNT.fetch_add(1, SeqCst);
}

fn handler_runs_on_alternate_stack() {
    let p = altstack(64 * 1024);
    handle(SIGUSR1, note_stack, SA_ONSTACK);
    raise(SIGUSR1);
    let at = A.load(SeqCst);
    check!(at > p as usize && at < p as usize + 64 * 1024);
    check_eq!(B.load(SeqCst), p as usize);
}

fn without_onstack_uses_normal_stack() {
    let p = altstack(64 * 1024);
    handle(SIGUSR1, note_stack, 0);
    raise(SIGUSR1);
    let at = A.load(SeqCst);
    check!(at < p as usize || at > p as usize + 64 * 1024);
}

fn sigaltstack_reads_back_and_disables() {
    let p = altstack(64 * 1024);
    let mut old: stack_t = zeroed();
    must!(sys!(SYS_sigaltstack, 0, &mut old));
    check_eq!(
        (old.ss_sp as usize, old.ss_size, old.ss_flags),
        (p as usize, 64 * 1024, 0)
    );
    let off = stack_t {
        ss_sp: std::ptr::null_mut(),
        ss_flags: SS_DISABLE,
        ss_size: 0,
    };
    must!(sys!(SYS_sigaltstack, &off, &mut old));
    must!(sys!(SYS_sigaltstack, 0, &mut old));
    check_eq!(old.ss_flags, SS_DISABLE);
}

fn sigaltstack_errors() {
    let p = anon(16);
    let ss = |flags: i32, size: usize| stack_t {
        ss_sp: p.cast(),
        ss_flags: flags,
        ss_size: size,
    };
    expect_errno!(sys!(SYS_sigaltstack, &ss(0, 1000), 0), ENOMEM);
    expect_errno!(sys!(SYS_sigaltstack, &ss(0x40, 65536), 0), EINVAL);
    expect_errno!(sys!(SYS_sigaltstack, bad::<u8>(), 0), EFAULT);
    expect_errno!(sys!(SYS_sigaltstack, 0, bad::<u8>()), EFAULT);
    check_eq!(sys!(SYS_sigaltstack, 0, 0), Ok(0));
}

extern "C" fn change_altstack(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    let mut old: stack_t = zeroed();
    must!(sys!(SYS_sigaltstack, 0, &mut old));
    A.store(old.ss_flags as usize, SeqCst);
    let ss = stack_t { ss_flags: 0, ..old };
    B.store(
        sys!(SYS_sigaltstack, &ss, 0).err().unwrap_or(0) as usize,
        SeqCst,
    );
}

fn sigaltstack_in_use_is_eperm() {
    altstack(64 * 1024);
    handle(SIGUSR1, change_altstack, SA_ONSTACK);
    raise(SIGUSR1);
    check_eq!(A.load(SeqCst), SS_ONSTACK as usize);
    check_eq!(B.load(SeqCst), EPERM as usize);
}

fn autodisarm_allows_nested_use() {
    let p = anon(32);
    let ss = stack_t {
        ss_sp: p.cast(),
        ss_flags: 1 << 31,
        ss_size: 32 * PAGE,
    };
    must!(sys!(SYS_sigaltstack, &ss, 0));
    handle(SIGUSR1, change_altstack, SA_ONSTACK);
    raise(SIGUSR1);
    check_eq!(A.load(SeqCst), SS_DISABLE as usize);
    let mut old: stack_t = zeroed();
    must!(sys!(SYS_sigaltstack, 0, &mut old));
    check_eq!(old.ss_sp as usize, p as usize);
}

fn altstack_survives_stack_overflow() {
    extern "C" fn leave(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        unsafe { _exit(9) };
    }
    fn recurse(n: u64) -> u64 {
        let frame = [n; 512];
        let sum = peek(frame.as_ptr());
        if n == u64::MAX {
            0
        } else {
            sum + recurse(n + 1) + peek(&raw const frame[7])
        }
    }
    let pid = child(|| {
        altstack(64 * 1024);
        handle(SIGSEGV, leave, SA_ONSTACK);
        recurse(1) as i32
    });
    check_eq!(wait_exit(pid), 9);
}

fn fault_on_unusable_stack_kills() {
    let pid = child(|| {
        record_on(SIGSEGV);
        unsafe {
            asm!("mov rsp, 16", "mov qword ptr [0], 1", options(noreturn));
        }
    });
    wait_killed(pid, SIGSEGV);
}

fn altstack_is_dropped_by_new_thread_kept_by_fork() {
    let p = altstack(64 * 1024);
    in_child(|| {
        let mut old: stack_t = zeroed();
        must!(sys!(SYS_sigaltstack, 0, &mut old));
        check_eq!(old.ss_sp as usize, p as usize);
    });
}

/// Sends SIGUSR1 to this thread with known values in registers, and gives
/// them back as they were afterwards.
fn raise_with_registers(values: [u64; 6]) -> [u64; 6] {
    let [mut a, mut b, mut c, mut d, mut e, mut f] = values;
    unsafe {
        asm!(
            "push rbx",
            "mov rbx, {b0}",
            "syscall",
            "mov {b0}, rbx",
            "pop rbx",
            b0 = inout(reg) b,
            inout("r12") a, inout("r13") c, inout("r14") d, inout("r15") e,
            inout("r10") f,
            inout("rax") SYS_tgkill => _,
            in("rdi") getpid(), in("rsi") gettid(), in("rdx") SIGUSR1,
            out("rcx") _, out("r11") _,
        );
    }
    [a, b, c, d, e, f]
}

extern "C" fn clobber(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    COUNT.fetch_add(1, SeqCst);
    unsafe {
        asm!(
            "mov r12, -1", "mov r13, -1", "mov r14, -1", "mov r15, -1", "mov r10, -1",
            "pcmpeqd xmm0, xmm0", "pcmpeqd xmm1, xmm1", "pcmpeqd xmm15, xmm15",
            out("r10") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            out("xmm0") _, out("xmm1") _, out("xmm15") _,
        );
    }
}

fn integer_registers_are_preserved() {
    handle(SIGUSR1, clobber, 0);
    let values = [1, 2, 3, 4, 5, 6].map(|v| v * 0x1111_1111_1111_1111);
    check_eq!(raise_with_registers(values), values);
    check_eq!(COUNT.load(SeqCst), 1);
}

/// Sends SIGUSR1 to this thread with known vector registers; their values
/// afterwards.
fn raise_with_vectors(x0: [u64; 2], x15: [u64; 2]) -> ([u64; 2], [u64; 2]) {
    let (mut after0, mut after15) = ([0u64; 2], [0u64; 2]);
    unsafe {
        asm!(
            "movdqu xmm0, [{i0}]", "movdqu xmm15, [{i15}]",
            "syscall",
            "movdqu [{o0}], xmm0", "movdqu [{o15}], xmm15",
            i0 = in(reg) &x0, i15 = in(reg) &x15,
            o0 = in(reg) &mut after0, o15 = in(reg) &mut after15,
            inout("rax") SYS_tgkill => _,
            in("rdi") getpid(), in("rsi") gettid(), in("rdx") SIGUSR1,
            out("rcx") _, out("r11") _, out("xmm0") _, out("xmm15") _,
        );
    }
    (after0, after15)
}

fn sse_registers_are_preserved() {
    handle(SIGUSR1, clobber, 0);
    let (x0, x15) = ([0x0123_4567_89ab_cdef, 42], [7, u64::MAX - 7]);
    check_eq!(raise_with_vectors(x0, x15), (x0, x15));
}

fn avx_upper_halves_are_preserved() {
    if !std::arch::is_x86_feature_detected!("avx") {
        skip!("no AVX");
    }
    #[target_feature(enable = "avx")]
    fn wipe() {
        unsafe { asm!("vxorps ymm3, ymm3, ymm3", out("ymm3") _) };
    }
    extern "C" fn zero_upper(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        unsafe { wipe() };
        COUNT.fetch_add(1, SeqCst);
    }
    #[target_feature(enable = "avx")]
    fn run() -> [u64; 4] {
        let before = [1u64, 2, 3, 4];
        let mut after = [0u64; 4];
        unsafe {
            asm!(
                "vmovdqu ymm3, [{i}]", "syscall", "vmovdqu [{o}], ymm3",
                i = in(reg) &before, o = in(reg) &mut after,
                inout("rax") SYS_tgkill => _,
                in("rdi") getpid(), in("rsi") gettid(), in("rdx") SIGUSR1,
                out("rcx") _, out("r11") _, out("ymm3") _,
            );
        }
        after
    }
    handle(SIGUSR1, zero_upper, 0);
    check_eq!(unsafe { run() }, [1, 2, 3, 4]);
    check_eq!(COUNT.load(SeqCst), 1);
}

fn avx_survives_system_calls_and_fork() {
    if !std::arch::is_x86_feature_detected!("avx") {
        skip!("no AVX");
    }
    #[target_feature(enable = "avx")]
    fn run(nr: i64) -> ([u64; 4], i64) {
        let before = [9u64, 8, 7, 6];
        let mut after = [0u64; 4];
        let result: i64;
        unsafe {
            asm!(
                "vmovdqu ymm7, [{i}]", "syscall", "vmovdqu [{o}], ymm7",
                i = in(reg) &before, o = in(reg) &mut after,
                inout("rax") nr => result,
                out("rcx") _, out("r11") _, out("ymm7") _,
            );
        }
        (after, result)
    }
    check_eq!(unsafe { run(SYS_getppid) }.0, [9, 8, 7, 6]);
    let (vector, pid) = unsafe { run(SYS_fork) };
    if pid == 0 {
        unsafe { _exit(i32::from(vector != [9, 8, 7, 6])) };
    }
    check_eq!(vector, [9, 8, 7, 6]);
    wait_ok(pid as i32);
}

fn x87_and_mxcsr_are_preserved() {
    extern "C" fn change(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        let (mxcsr, control) = (0x7f80u32, 0x0c7fu16);
        unsafe { asm!("ldmxcsr [{}]", "fldcw [{}]", in(reg) &mxcsr, in(reg) &control) };
        COUNT.fetch_add(1, SeqCst);
    }
    handle(SIGUSR1, change, 0);
    let (mut m0, mut m1, mut c0, mut c1) = (0u32, 0u32, 0u16, 0u16);
    unsafe { asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &mut m0, in(reg) &mut c0) };
    raise(SIGUSR1);
    unsafe { asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &mut m1, in(reg) &mut c1) };
    check_eq!((m0, c0), (m1, c1));
    check_eq!(COUNT.load(SeqCst), 1);
}

fn handler_starts_with_clean_x87_state() {
    extern "C" fn note(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        let mut control = 0u16;
        unsafe { asm!("fnstcw [{}]", in(reg) &mut control) };
        A.store(control as usize, SeqCst);
    }
    handle(SIGUSR1, note, 0);
    let odd = 0x0f7fu16;
    unsafe { asm!("fldcw [{}]", in(reg) &odd) };
    raise(SIGUSR1);
    let mut after = 0u16;
    unsafe { asm!("fnstcw [{}]", "fninit", in(reg) &mut after) };
    check_eq!(A.load(SeqCst), 0x37f);
    check_eq!(after, odd);
}

extern "C" fn set_xmm0(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    let fp = context(ctx).uc_mcontext.fpregs;
    unsafe { (*fp)._xmm[0].element = [1, 2, 3, 4] };
}

fn modified_vector_state_takes_effect() {
    handle(SIGUSR1, set_xmm0, 0);
    let (x0, x15) = raise_with_vectors([0; 2], [5, 6]);
    check_eq!(x0, [1 | 2 << 32, 3 | 4 << 32]);
    check_eq!(x15, [5, 6]);
}

extern "C" fn set_r12(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    context(ctx).uc_mcontext.gregs[REG_R12 as usize] = 777;
}

fn modified_register_takes_effect() {
    handle(SIGUSR1, set_r12, 0);
    let after = raise_with_registers([1, 2, 3, 4, 5, 6]);
    check_eq!(after, [777, 2, 3, 4, 5, 6]);
}

extern "C" fn skip_fault(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    // The faulting instruction below is 7 bytes long.
    context(ctx).uc_mcontext.gregs[REG_RIP as usize] += 7;
    COUNT.fetch_add(1, SeqCst);
}

fn modified_instruction_pointer_skips_fault() {
    handle(SIGSEGV, skip_fault, 0);
    unsafe {
        asm!(
            // mov qword ptr [rax], 1
            ".byte 0x48, 0xc7, 0x00, 0x01, 0x00, 0x00, 0x00",
            in("rax") BAD,
        );
    }
    check_eq!(COUNT.load(SeqCst), 1);
}

extern "C" fn null_check(_: i32, info: *mut siginfo_t, ctx: *mut c_void) {
    A.store(unsafe { (*info).si_addr() } as usize, SeqCst);
    let regs = &mut context(ctx).uc_mcontext.gregs;
    B.store(regs[REG_RIP as usize] as usize, SeqCst);
    // Give the load another address, as a Java runtime's null check would
    // continue elsewhere.
    regs[REG_RSI as usize] = VALUE.as_ptr() as i64;
}
static VALUE: AtomicU64 = AtomicU64::new(4711);

fn fault_with_changed_pointer_is_retried() {
    handle(SIGSEGV, null_check, 0);
    let (value, at): (u64, usize);
    unsafe {
        asm!(
            "lea {at}, [rip + 2f]",
            "2: mov {v}, [rsi]",
            v = out(reg) value, at = out(reg) at,
            inout("rsi") 0x18usize => _,
        );
    }
    check_eq!((value, A.load(SeqCst), B.load(SeqCst)), (4711, 0x18, at));
}

extern "C" fn change_saved_mask(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    unsafe { sigaddset(&mut context(ctx).uc_sigmask, SIGHUP) };
}

fn modified_signal_mask_takes_effect() {
    handle(SIGUSR1, change_saved_mask, 0);
    raise(SIGUSR1);
    check_eq!(current_mask(), mask_of(&[SIGHUP]));
}

extern "C" fn nest(signal: i32, _: *mut siginfo_t, _: *mut c_void) {
    let depth = COUNT.fetch_add(1, SeqCst);
    if signal == SIGUSR1 {
        raise(SIGUSR2);
        check!(COUNT.load(SeqCst) > depth + 1);
    }
}

fn handlers_nest() {
    handle(SIGUSR1, nest, 0);
    handle(SIGUSR2, nest, 0);
    raise(SIGUSR1);
    check_eq!(COUNT.load(SeqCst), 2);
    check_eq!(current_mask(), 0);
}

extern "C" fn recurse_in_handler(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    if COUNT.fetch_add(1, SeqCst) < 20 {
        raise(SIGUSR1);
    }
}

fn nodefer_handler_recurses() {
    handle(SIGUSR1, recurse_in_handler, SA_NODEFER);
    raise(SIGUSR1);
    check_eq!(COUNT.load(SeqCst), 21);
}

fn nested_on_the_alternate_stack() {
    let p = altstack(256 * 1024);
    handle(SIGUSR1, recurse_in_handler, SA_NODEFER | SA_ONSTACK);
    raise(SIGUSR1);
    check_eq!(COUNT.load(SeqCst), 21);
    handle(SIGUSR2, note_stack, SA_ONSTACK);
    raise(SIGUSR2);
    let at = A.load(SeqCst);
    // The stack is free again: the next handler starts at its top.
    check!(at > p as usize + 200 * 1024, "{at:x}");
}

fn red_zone_is_left_alone() {
    handle(SIGUSR1, clobber, 0);
    let out: u64;
    unsafe {
        asm!(
            "mov rcx, 0x1234567", "mov [rsp - 8], rcx", "mov [rsp - 128], rcx",
            "syscall",
            "mov rcx, [rsp - 8]", "mov rdx, [rsp - 128]", "xor rcx, rdx",
            "mov rax, rdx",
            inout("rax") SYS_tgkill => out,
            inout("rdi") getpid() => _, inout("rsi") gettid() => _, inout("rdx") i64::from(SIGUSR1) => _,
            out("rcx") _, out("r11") _,
        );
    }
    check_eq!(out, 0x0123_4567);
}

fn direction_flag_is_cleared_for_handler_and_kept_after() {
    extern "C" fn note_flags(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        let flags: usize;
        unsafe { asm!("pushfq", "pop {}", out(reg) flags) };
        A.store(flags, SeqCst);
    }
    handle(SIGUSR1, note_flags, 0);
    let after: usize;
    unsafe {
        asm!(
            "std", "syscall", "pushfq", "pop {f}", "cld",
            f = out(reg) after,
            inout("rax") SYS_tgkill => _,
            in("rdi") getpid(), in("rsi") gettid(), in("rdx") SIGUSR1,
            out("rcx") _, out("r11") _,
        );
    }
    check_eq!(A.load(SeqCst) & 0x400, 0);
    check_eq!(after & 0x400, 0x400);
}

fn system_call_clobbers_only_rcx_and_r11() {
    let (mut r8, mut r9, mut r10, mut rdx) = (8u64, 9u64, 10u64, 2u64);
    let (rcx, rip): (u64, u64);
    unsafe {
        asm!(
            "lea {at}, [rip + 3f]",
            "syscall",
            "3:",
            at = out(reg) rip,
            inout("rax") SYS_getppid => _, inout("r8") r8, inout("r9") r9,
            inout("r10") r10, inout("rdx") rdx, out("rcx") rcx, out("r11") _,
        );
    }
    check_eq!([r8, r9, r10, rdx], [8, 9, 10, 2]);
    check_eq!(rcx, rip);
}

fn context_in_interrupted_call_points_after_it() {
    extern "C" fn note_rip(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
        let regs = &context(ctx).uc_mcontext.gregs;
        A.store(regs[REG_RIP as usize] as usize, SeqCst);
        B.store(regs[REG_RAX as usize] as usize, SeqCst);
    }
    handle(SIGUSR1, note_rip, 0);
    let at: usize;
    unsafe {
        asm!(
            "lea {at}, [rip + 4f]",
            "syscall",
            "4:",
            at = out(reg) at,
            inout("rax") SYS_tgkill => _,
            in("rdi") getpid(), in("rsi") gettid(), in("rdx") SIGUSR1,
            out("rcx") _, out("r11") _,
        );
    }
    check_eq!((A.load(SeqCst), B.load(SeqCst)), (at, 0));
}

fn long_jump_out_of_handler() {
    // What siglongjmp does, by hand: restore stack pointer and continue.
    static RSP: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn escape(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        COUNT.fetch_add(1, SeqCst);
        unblock(&[SIGSEGV]);
        unsafe {
            asm!("mov rsp, {0}", "pop rbp", "pop rbx", "jmp qword ptr [rsp]", in(reg) RSP.load(SeqCst), options(noreturn));
        }
    }
    handle(SIGSEGV, escape, 0);
    for round in 1..=10 {
        unsafe {
            asm!(
                "lea rax, [rip + 5f]", "push rax", "push rbx", "push rbp",
                "mov [{save}], rsp",
                "mov qword ptr [8], 1",
                "5:", "pop rax",
                save = in(reg) RSP.as_ptr(),
                out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _,
                out("r13") _, out("r14") _, out("r15") _,
                clobber_abi("C"),
            );
        }
        check_eq!(COUNT.load(SeqCst), round);
    }
}

fn sigreturn_with_garbage_frame_kills() {
    let pid = child(|| {
        record_on(SIGSEGV);
        unsafe {
            asm!("mov rsp, 4096", "syscall", in("rax") SYS_rt_sigreturn, options(noreturn));
        }
    });
    wait_killed(pid, SIGSEGV);
}

/// A runtime may enter and leave calls in another way once their site has been used for a while.
const OFTEN: usize = 24;

fn everything_holds_at_a_site_that_is_used_often() {
    let all: [fn(); 12] = [
        integer_registers_are_preserved,
        sse_registers_are_preserved,
        avx_upper_halves_are_preserved,
        x87_and_mxcsr_are_preserved,
        handler_starts_with_clean_x87_state,
        modified_vector_state_takes_effect,
        modified_register_takes_effect,
        handlers_nest,
        nodefer_handler_recurses,
        red_zone_is_left_alone,
        direction_flag_is_cleared_for_handler_and_kept_after,
        context_in_interrupted_call_points_after_it,
    ];
    for _ in 0..OFTEN {
        for one in all {
            COUNT.store(0, SeqCst);
            one();
        }
    }
}

fn mxcsr() -> u32 {
    let mut word = 0;
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut word) };
    word
}

static FIRST: AtomicUsize = AtomicUsize::new(0);

extern "C" fn first(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    let fp = context(ctx).uc_mcontext.fpregs;
    FIRST.store(unsafe { (*fp).mxcsr } as usize, SeqCst);
    COUNT.fetch_add(1, SeqCst);
}

extern "C" fn second(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    let machine = &context(ctx).uc_mcontext;
    A.store(machine.gregs[REG_RIP as usize] as usize, SeqCst);
    B.store(unsafe { (*machine.fpregs).mxcsr } as usize, SeqCst);
    COUNT.fetch_add(1, SeqCst);
}

/// Both frames are made at once: the second one interrupts the first handler before its first instruction.
fn two_signals_at_once_nest_at_the_first_handlers_start() {
    const ODD: u32 = 0x7f80;
    handle(SIGUSR1, first, 0);
    handle(SIGUSR2, second, 0);
    let both = 1u64 << (SIGUSR1 - 1) | 1 << (SIGUSR2 - 1);
    for turn in 0..OFTEN {
        must!(sys!(SYS_rt_sigprocmask, SIG_BLOCK, &both, 0, 8));
        raise(SIGUSR1);
        raise(SIGUSR2);
        unsafe { asm!("ldmxcsr [{}]", in(reg) &ODD) };
        let done = sys!(SYS_rt_sigprocmask, SIG_UNBLOCK, &both, 0, 8);
        let after = mxcsr();
        unsafe { asm!("ldmxcsr [{}]", in(reg) &0x1f80u32) };
        must!(done);
        check_eq!((turn, COUNT.swap(0, SeqCst)), (turn, 2));
        check_eq!((turn, A.load(SeqCst)), (turn, first as *const () as usize));
        check_eq!((turn, B.load(SeqCst)), (turn, 0x1f80));
        check_eq!((turn, FIRST.load(SeqCst)), (turn, ODD as usize));
        check_eq!((turn, after), (turn, ODD));
    }
}

fn handler_without_a_stack_to_write_to_kills() {
    let pid = child(|| {
        let p = altstack(64 * 1024);
        handle(SIGUSR1, note_stack, SA_ONSTACK);
        (0..OFTEN).for_each(|_| raise(SIGUSR1));
        must!(sys!(SYS_mprotect, p, 64 * 1024, PROT_READ));
        raise(SIGUSR1);
        0
    });
    wait_killed(pid, SIGSEGV);
}

fn many_signals_keep_loop_state() {
    handle(SIGALRM, clobber, SA_RESTART);
    must!(sys!(SYS_setitimer, ITIMER_REAL, &[0i64, 500, 0, 500], 0));
    let (mut sum, mut float) = (0u64, 0f64);
    for i in 0..3_000_000u64 {
        sum = sum.wrapping_add(std::hint::black_box(i));
        float += std::hint::black_box(0.5);
    }
    must!(sys!(SYS_setitimer, ITIMER_REAL, &[0i64; 4], 0));
    check_eq!((sum, float), (4_499_998_500_000, 1_500_000.0));
}

cases![
    handler_runs_on_alternate_stack,
    without_onstack_uses_normal_stack,
    sigaltstack_reads_back_and_disables,
    sigaltstack_errors,
    sigaltstack_in_use_is_eperm,
    autodisarm_allows_nested_use,
    altstack_survives_stack_overflow,
    fault_on_unusable_stack_kills,
    altstack_is_dropped_by_new_thread_kept_by_fork,
    integer_registers_are_preserved,
    sse_registers_are_preserved,
    avx_upper_halves_are_preserved,
    avx_survives_system_calls_and_fork,
    x87_and_mxcsr_are_preserved,
    handler_starts_with_clean_x87_state,
    modified_vector_state_takes_effect,
    modified_register_takes_effect,
    modified_instruction_pointer_skips_fault,
    fault_with_changed_pointer_is_retried,
    modified_signal_mask_takes_effect,
    handlers_nest,
    nodefer_handler_recurses,
    nested_on_the_alternate_stack,
    red_zone_is_left_alone,
    direction_flag_is_cleared_for_handler_and_kept_after,
    system_call_clobbers_only_rcx_and_r11,
    context_in_interrupted_call_points_after_it,
    long_jump_out_of_handler,
    sigreturn_with_garbage_frame_kills,
    many_signals_keep_loop_state,
    everything_holds_at_a_site_that_is_used_often,
    two_signals_at_once_nest_at_the_first_handlers_start,
    handler_without_a_stack_to_write_to_kills,
];
