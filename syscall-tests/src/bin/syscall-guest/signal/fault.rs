//! Signals of faulting instructions: si_code, si_addr, dispositions.

use std::arch::asm;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRERR: i32 = 2;
const ILL_ILLOPN: i32 = 2;
const FPE_INTDIV: i32 = 1;
const FPE_FLTDIV: i32 = 3;

static CODE: AtomicI32 = AtomicI32::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static ADDR: AtomicUsize = AtomicUsize::new(0);
static RIP: AtomicUsize = AtomicUsize::new(0);
static TRAP: AtomicU64 = AtomicU64::new(0);
static ERROR: AtomicU64 = AtomicU64::new(0);
static CR2: AtomicU64 = AtomicU64::new(0);
static RESUME: AtomicUsize = AtomicUsize::new(0);

/// Records the fault and goes on at `RESUME`.
extern "C" fn note(signal: i32, info: *mut siginfo_t, ctx: *mut c_void) {
    let regs = unsafe { &mut (*ctx.cast::<ucontext_t>()).uc_mcontext.gregs };
    SIGNAL.store(signal, SeqCst);
    CODE.store(unsafe { (*info).si_code }, SeqCst);
    ADDR.store(unsafe { (*info).si_addr() } as usize, SeqCst);
    RIP.store(regs[REG_RIP as usize] as usize, SeqCst);
    TRAP.store(regs[REG_TRAPNO as usize] as u64, SeqCst);
    ERROR.store(regs[REG_ERR as usize] as u64, SeqCst);
    CR2.store(regs[REG_CR2 as usize] as u64, SeqCst);
    regs[REG_RIP as usize] = RESUME.load(SeqCst) as i64;
}
/// Runs one instruction that faults; `(its address)`.
macro_rules! faulting {
    ($($code:tt)*) => {{
        for s in [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP] {
            handle(s, note, 0);
        }
        let at: usize;
        unsafe {
            asm!(
                "lea {at}, [rip + 7f]", "mov [{save}], {at}",
                "lea {at}, [rip + 6f]",
                "6:", $($code)*
                , at = out(reg) at, save = in(reg) RESUME.as_ptr(),
                out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
            );
        }
        at
    }};
}
/// `(signal, si_code, si_addr)` of the last fault.
fn got() -> (i32, i32, usize) {
    (SIGNAL.load(SeqCst), CODE.load(SeqCst), ADDR.load(SeqCst))
}
fn touch(p: usize) {
    let at = faulting_read(p);
    check_eq!(RIP.load(SeqCst), at);
}
fn faulting_read(p: usize) -> usize {
    for s in [SIGSEGV, SIGBUS] {
        handle(s, note, 0);
    }
    let at: usize;
    unsafe {
        asm!(
            "lea {at}, [rip + 7f]", "mov [{save}], {at}", "lea {at}, [rip + 6f]",
            "6:", "mov rax, [{p}]", "7:",
            at = out(reg) at, save = in(reg) RESUME.as_ptr(), p = in(reg) p, out("rax") _,
        );
    }
    at
}
fn faulting_write(p: usize) {
    for s in [SIGSEGV, SIGBUS] {
        handle(s, note, 0);
    }
    unsafe {
        asm!(
            "lea {at}, [rip + 7f]", "mov [{save}], {at}",
            "mov qword ptr [{p}], 1", "7:",
            at = out(reg) _, save = in(reg) RESUME.as_ptr(), p = in(reg) p,
        );
    }
}

fn unmapped_read_is_maperr() {
    touch(0x1230);
    check_eq!(got(), (SIGSEGV, SEGV_MAPERR, 0x1230));
    check_eq!(
        (TRAP.load(SeqCst), ERROR.load(SeqCst), CR2.load(SeqCst)),
        (14, 4, 0x1230)
    );
}

fn unmapped_write_has_write_bit() {
    faulting_write(0x1238);
    check_eq!(got(), (SIGSEGV, SEGV_MAPERR, 0x1238));
    check_eq!(ERROR.load(SeqCst), 6);
}

fn protected_read_is_accerr() {
    let p = anon(1);
    must!(mprotect(p, PAGE, PROT_NONE));
    touch(p as usize + 16);
    check_eq!(got(), (SIGSEGV, SEGV_ACCERR, p as usize + 16));
}

fn read_only_write_is_accerr() {
    let p = anon(1);
    peek(p);
    must!(mprotect(p, PAGE, PROT_READ));
    faulting_write(p as usize + 8);
    check_eq!(got(), (SIGSEGV, SEGV_ACCERR, p as usize + 8));
}

fn unmapped_after_munmap_is_maperr() {
    let p = anon(1) as usize;
    must!(munmap(p as *mut u8, PAGE));
    touch(p);
    check_eq!(got(), (SIGSEGV, SEGV_MAPERR, p));
}

fn non_canonical_address_is_si_kernel() {
    touch(0x8000_0000_0000_0000);
    check_eq!(got(), (SIGSEGV, SI_KERNEL, 0));
    check_eq!(TRAP.load(SeqCst), 13);
}

fn kernel_address_is_maperr() {
    touch(0xffff_8000_0000_0000);
    let (signal, code, _) = got();
    check_eq!((signal, code), (SIGSEGV, SEGV_MAPERR));
}

fn jump_to_unmapped_reports_target() {
    handle(SIGSEGV, note, 0);
    unsafe {
        asm!(
            "lea {at}, [rip + 7f]", "mov [{save}], {at}",
            "mov rax, 0x5000", "jmp rax", "7:",
            at = out(reg) _, save = in(reg) RESUME.as_ptr(), out("rax") _,
        );
    }
    check_eq!(got(), (SIGSEGV, SEGV_MAPERR, 0x5000));
    check_eq!(RIP.load(SeqCst), 0x5000);
}

fn page_past_file_end_is_sigbus() {
    tmp();
    must!(write_file(c"f", b"x"));
    let fd = must!(open(c"f", O_RDWR, 0));
    let p = must!(mmap(0, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0)) as usize;
    touch(p + PAGE + 24);
    check_eq!(got(), (SIGBUS, BUS_ADRERR, p + PAGE + 24));
}

fn shared_memory_past_end_is_sigbus() {
    let fd = must!(sys!(SYS_memfd_create, c"m", 0)) as i32;
    must!(ftruncate(fd, PAGE as i64));
    let rw = PROT_READ | PROT_WRITE;
    let p = must!(mmap(0, 2 * PAGE, rw, MAP_SHARED, fd, 0)) as usize;
    faulting_write(p + PAGE);
    check_eq!(got(), (SIGBUS, BUS_ADRERR, p + PAGE));
}

fn integer_division_by_zero() {
    let at = faulting!("xor ecx, ecx", "mov eax, 1", "cdq", "idiv ecx", "7:");
    // The reported instruction is the division, 8 bytes in.
    check_eq!(got(), (SIGFPE, FPE_INTDIV, at + 8));
    check_eq!(TRAP.load(SeqCst), 0);
}

fn integer_overflow_division() {
    let at = faulting!(
        "mov eax, 0x80000000",
        "mov edx, -1",
        "mov ecx, -1",
        "idiv ecx",
        "7:"
    );
    check_eq!(got(), (SIGFPE, FPE_INTDIV, at + 15));
}

fn sse_division_by_zero_unmasked() {
    let mxcsr = 0x1d80u32;
    let at = {
        handle(SIGFPE, note, 0);
        let at: usize;
        unsafe {
            asm!(
                "lea {at}, [rip + 7f]", "mov [{save}], {at}", "lea {at}, [rip + 6f]",
                "ldmxcsr [{m}]", "xorps xmm1, xmm1", "mov eax, 0x3f800000", "movd xmm0, eax",
                "6:", "divss xmm0, xmm1", "7:",
                at = out(reg) at, save = in(reg) RESUME.as_ptr(), m = in(reg) &mxcsr,
                out("rax") _, out("xmm0") _, out("xmm1") _,
            );
        }
        at
    };
    check_eq!(got(), (SIGFPE, FPE_FLTDIV, at));
    check_eq!(TRAP.load(SeqCst), 19);
}

fn illegal_instruction() {
    let at = faulting!("ud2", "7:");
    check_eq!(got(), (SIGILL, ILL_ILLOPN, at));
    check_eq!(TRAP.load(SeqCst), 6);
}

fn privileged_instruction_is_segv() {
    faulting!("hlt", "7:");
    check_eq!(got(), (SIGSEGV, SI_KERNEL, 0));
}

fn breakpoint_is_sigtrap_after_it() {
    let at = faulting!("int3", "7:");
    check_eq!(
        (SIGNAL.load(SeqCst), CODE.load(SeqCst)),
        (SIGTRAP, SI_KERNEL)
    );
    check_eq!(RIP.load(SeqCst), at + 1);
    check_eq!(TRAP.load(SeqCst), 3);
}

fn single_step_flag_is_sigtrap() {
    handle(SIGTRAP, note_and_clear_tf, 0);
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop",);
    }
    check_eq!((SIGNAL.load(SeqCst), CODE.load(SeqCst)), (SIGTRAP, 2));
}
extern "C" fn note_and_clear_tf(signal: i32, info: *mut siginfo_t, ctx: *mut c_void) {
    let regs = unsafe { &mut (*ctx.cast::<ucontext_t>()).uc_mcontext.gregs };
    regs[REG_EFL as usize] &= !0x100;
    SIGNAL.store(signal, SeqCst);
    CODE.store(unsafe { (*info).si_code }, SeqCst);
}

fn int_0x80_never_reaches_the_host() {
    // 32-bit getpid is 20. Linux answers it; a sandbox may refuse with
    // ENOSYS or end the process.
    let pid = child(|| {
        let result: i32;
        unsafe { asm!("int 0x80", inout("eax") 20 => result) };
        i32::from(result != getpid() && result != -ENOSYS)
    });
    let status = wait_status(pid);
    check!(
        (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            || (WIFSIGNALED(status) && matches!(WTERMSIG(status), SIGSYS | SIGSEGV)),
        "{}",
        describe_status(status)
    );
}

fn blocked_fault_kills() {
    expect_killed(SIGSEGV, || {
        record_on(SIGSEGV);
        block(&[SIGSEGV]);
        peek(bad::<u8>());
    });
}

fn ignored_fault_kills() {
    expect_killed(SIGSEGV, || {
        disposition(SIGSEGV, SIG_IGN);
        peek(bad::<u8>());
    });
    expect_killed(SIGILL, || {
        disposition(SIGILL, SIG_IGN);
        unsafe { asm!("ud2") };
    });
}

fn fault_in_its_own_handler_kills() {
    extern "C" fn again(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        peek(bad::<u8>());
    }
    expect_killed(SIGSEGV, || {
        handle(SIGSEGV, again, 0);
        peek(bad::<u8>());
    });
}

fn returning_without_repair_faults_again() {
    static COUNT: AtomicI32 = AtomicI32::new(0);
    extern "C" fn count(_: i32, _: *mut siginfo_t, _: *mut c_void) {
        if COUNT.fetch_add(1, SeqCst) == 4 {
            unsafe { _exit(55) };
        }
    }
    let pid = child(|| {
        handle(SIGSEGV, count, 0);
        peek(bad::<u8>());
        0
    });
    check_eq!(wait_exit(pid), 55);
}

fn fault_in_one_thread_kills_process() {
    expect_killed(SIGSEGV, || {
        let t = std::thread::spawn(|| {
            disposition(SIGSEGV, SIG_DFL);
            peek(bad::<u8>())
        });
        let _ = t.join();
    });
}

fn fault_is_delivered_to_the_faulting_thread() {
    static TID: AtomicI32 = AtomicI32::new(0);
    extern "C" fn who(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
        TID.store(gettid(), SeqCst);
        let regs = unsafe { &mut (*ctx.cast::<ucontext_t>()).uc_mcontext.gregs };
        regs[REG_RIP as usize] = RESUME.load(SeqCst) as i64;
    }
    let t = std::thread::spawn(|| {
        handle(SIGILL, who, 0);
        unsafe {
            asm!(
                "lea {at}, [rip + 7f]", "mov [{save}], {at}", "ud2", "7:",
                at = out(reg) _, save = in(reg) RESUME.as_ptr(),
            );
        }
        gettid()
    });
    check_eq!(t.join().unwrap_or(0), TID.load(SeqCst));
}

fn instruction_spanning_bad_page_reports_page_start() {
    let edge = page_edge() as usize;
    touch(edge - 4);
    check_eq!(got(), (SIGSEGV, SEGV_ACCERR, edge));
}

cases![
    unmapped_read_is_maperr,
    unmapped_write_has_write_bit,
    protected_read_is_accerr,
    read_only_write_is_accerr,
    unmapped_after_munmap_is_maperr,
    non_canonical_address_is_si_kernel,
    kernel_address_is_maperr,
    jump_to_unmapped_reports_target,
    page_past_file_end_is_sigbus,
    shared_memory_past_end_is_sigbus,
    integer_division_by_zero,
    integer_overflow_division,
    sse_division_by_zero_unmasked,
    illegal_instruction,
    privileged_instruction_is_segv,
    breakpoint_is_sigtrap_after_it,
    single_step_flag_is_sigtrap,
    int_0x80_never_reaches_the_host,
    blocked_fault_kills,
    ignored_fault_kills,
    fault_in_its_own_handler_kills,
    returning_without_repair_faults_again,
    fault_in_one_thread_kills_process,
    fault_is_delivered_to_the_faulting_thread,
    instruction_spanning_bad_page_reports_page_start,
];
