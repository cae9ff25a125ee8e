//! Entry points, copies with fix-up, and the host calls whose return must not
//! go through a stack or whose instruction range matters.

use crate::layout::{REGION, REGION_LEN, SLOT_STRIDE};
use crate::proto::{
    CLONE_FORK, CLONE_THREAD, CTL_FD, KICK_MASK, S_KICK_SEEN, S_MODE, S_START_FRAME,
};
use core::arch::{asm, global_asm};

// Signal entry. The kernel gives rdi = signal, rsp = frame (with the return
// address on top). DF and TF are clear.
global_asm!(
    ".globl stub_entry",
    "stub_entry:",
    "mov rsi, rsp",
    "and rsp, -16",
    "call stub_handler",
    // rax = frame to return through
    "stub_return:",
    "lea rsp, [rax + 8]",
    ".globl stub_restorer",
    "stub_restorer:",
    "mov eax, 15",
    "syscall",
    "ud2",
);

// fn stub_fork(region_fd, ctl_fd) -> pid or -errno
//
// The child runs on the parent's slot until it has mapped its own region over
// it, so it touches no stack before that.
global_asm!(
    ".globl stub_fork",
    "stub_fork:",
    "mov r9, rdi",
    "mov r8, rsi",
    "mov edi, {clone_fork}",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "mov eax, 56",
    "syscall",
    "test rax, rax",
    "jz 2f",
    "ret",
    "2:",
    "mov rbx, r8",
    "mov r8, r9", // region descriptor
    "movabs rdi, {region}",
    "mov esi, {region_len}",
    "mov edx, 3",          // PROT_READ | PROT_WRITE
    "mov r10d, 0x4011",    // MAP_SHARED | MAP_FIXED | MAP_NORESERVE
    "xor r9d, r9d",
    "mov eax, 9",
    "syscall",
    "cmp rax, rdi",
    "jne 9f",
    "mov edi, ebx",
    "mov esi, {ctl}",
    "mov eax, 33", // dup2
    "syscall",
    "cmp rax, {ctl}",
    "jne 9f",
    "mov edi, {ctl} + 1",
    "mov esi, -1",
    "xor edx, edx",
    "mov eax, 436", // close_range
    "syscall",
    "test rax, rax",
    "jnz 9f",
    // Hello: one byte, whose credentials the host adds.
    "mov edi, {ctl}",
    "lea rsi, [rip + stub_entry]",
    "mov edx, 1",
    "mov r10d, 0x4040", // MSG_DONTWAIT | MSG_NOSIGNAL
    "xor r8d, r8d",
    "xor r9d, r9d",
    "mov eax, 44", // sendto
    "syscall",
    "cmp rax, 1",
    "jne 9f",
    "3:", // rsp is inside the slot: start on its first frame
    "mov rdi, rsp",
    "and rdi, -{stride}",
    "mov esi, [rdi + {start_frame}]",
    "add rsi, rdi",
    "mov rsp, rsi",
    "and rsp, -16",
    "call stub_start",
    "jmp stub_leave",
    "9:",
    "mov edi, 99",
    "mov eax, 231",
    "syscall",
    "ud2",
    // fn stub_thread(stack, tid_word) -> tid or -errno
    ".globl stub_thread",
    "stub_thread:",
    "mov r10, rsi",
    "mov rsi, rdi",
    "mov edi, {clone_thread}",
    "xor edx, edx",
    "xor r8d, r8d",
    "mov eax, 56",
    "syscall",
    "test rax, rax",
    "jz 3b",
    "ret",
    clone_fork = const CLONE_FORK,
    clone_thread = const CLONE_THREAD,
    region = const REGION,
    region_len = const REGION_LEN,
    stride = const SLOT_STRIDE,
    start_frame = const S_START_FRAME,
    ctl = const CTL_FD,
);

// fn stub_futex_sleep(six arguments; rax: number) -> (result, interrupted)
//
// Runs a call that waits for futexes with the kick unblocked. The kick's handler tells by the
// instruction pointer whether the wait had begun or ended:
// [begin, after) not begun; after with EINTR: interrupted; [after, end] done.
// A stub that was entered from a patched call site has the kick unblocked all
// the time, and looks for one that came before the range.
global_asm!(
    ".globl stub_futex_sleep",
    "stub_futex_sleep:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rax",
    "mov rbx, rdi",
    "mov rbp, rsi",
    "mov r12, rdx",
    "mov r13, rcx",
    "mov r14, r8",
    "mov r15, r9",
    "mov rax, rsp",
    "and rax, -{stride}",
    "cmp dword ptr [rax + {mode}], 0",
    "jne stub_futex_begin",
    "mov edi, 1", // SIG_UNBLOCK
    "lea rsi, [rip + stub_kick_mask]",
    "xor edx, edx",
    "mov r10d, 8",
    "mov eax, 14",
    "syscall",
    ".globl stub_futex_begin",
    "stub_futex_begin:",
    "mov rsi, rbp",
    "mov rax, rsp",
    "and rax, -{stride}",
    "mov ebp, [rax + {mode}]",
    "test ebp, ebp",
    "jz 8f",
    "cmp dword ptr [rax + {kick_seen}], 0",
    "jne stub_futex_interrupted",
    "8:",
    "mov rdi, rbx",
    "mov rdx, r12",
    "mov r10, r13",
    "mov r8, r14",
    "mov r9, r15",
    "mov rax, [rsp]",
    "syscall",
    ".globl stub_futex_after",
    "stub_futex_after:",
    "mov rbx, rax",
    "test ebp, ebp",
    "jnz stub_futex_end",
    "xor edi, edi", // SIG_BLOCK
    "lea rsi, [rip + stub_kick_mask]",
    "xor edx, edx",
    "mov r10d, 8",
    "mov eax, 14",
    "syscall",
    ".globl stub_futex_end",
    "stub_futex_end:",
    "xor edx, edx",
    "mov rax, rbx",
    "4:",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".globl stub_futex_interrupted",
    "stub_futex_interrupted:",
    "mov edx, 1",
    "xor eax, eax",
    "jmp 4b",
    ".balign 8",
    "stub_kick_mask:",
    ".quad {mask}",
    mask = const KICK_MASK,
    stride = const SLOT_STRIDE,
    mode = const S_MODE,
    kick_seen = const S_KICK_SEEN,
);

// Accesses to application memory. No stack use inside the range; rcx is what
// is left to do. A fault anywhere in it continues at stub_fix_out.
//
// fn stub_copy(dst, src, len) -> bytes left
// fn stub_zero(dst, len) -> bytes left
// fn stub_strcpy(dst, src, max) -> room left after the NUL, or
//     max − copied with bit 63 set on a fault; 0 without NUL in max
// fn stub_load32(addr) -> value, or bit 63 on a fault
// fn stub_store32(addr, value) -> 0, or nonzero on a fault
// fn stub_cas32(addr, old, new) -> seen, or bit 63 on a fault
// fn stub_cas64(addr, old, new): nothing on a fault
// fn stub_xsave(addr, features) -> 0, or nonzero on a fault
global_asm!(
    ".globl stub_copy",
    "stub_copy:",
    "mov rcx, rdx",
    "xor edx, edx",
    ".globl stub_fix_begin",
    "stub_fix_begin:",
    "rep movsb",
    "xor eax, eax",
    "ret",
    ".globl stub_zero",
    "stub_zero:",
    "mov rcx, rsi",
    "xor eax, eax",
    "xor edx, edx",
    "rep stosb",
    "ret",
    ".globl stub_strcpy",
    "stub_strcpy:",
    "mov rcx, rdx",
    "xor edx, edx",
    "bts rdx, 63",
    "5:",
    "mov al, [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rcx",
    "test al, al",
    "jz 6f",
    "test rcx, rcx",
    "jnz 5b",
    "dec rcx", // no NUL: -1
    "6:",
    "mov rax, rcx",
    "ret",
    ".globl stub_load32",
    "stub_load32:",
    "xor ecx, ecx",
    "xor edx, edx",
    "bts rdx, 63",
    "mov eax, [rdi]",
    "ret",
    ".globl stub_store32",
    "stub_store32:",
    "xor ecx, ecx",
    "xor edx, edx",
    "bts rdx, 63",
    "xor eax, eax",
    "mov [rdi], esi",
    "ret",
    ".globl stub_cas32",
    "stub_cas32:",
    "mov r8d, edx",
    "xor ecx, ecx",
    "xor edx, edx",
    "bts rdx, 63",
    "mov eax, esi",
    "lock cmpxchg [rdi], r8d",
    "mov eax, eax",
    "ret",
    "stub_cas64:",
    "mov rax, rsi",
    "mov r8, rdx",
    "xor ecx, ecx",
    "xor edx, edx",
    "lock cmpxchg [rdi], r8",
    "ret",
    "stub_xsave:",
    "mov ecx, 1",
    "mov eax, esi",
    "mov rdx, rsi",
    "shr rdx, 32",
    "xsave64 [rdi]",
    "xor eax, eax",
    "ret",
    ".globl stub_fix_end",
    "stub_fix_end:",
    ".globl stub_fix_out",
    "stub_fix_out:",
    "mov rax, rcx",
    "or rax, rdx",
    "ret",
);

// Calls by name from inline assembly: an `extern` declaration would make the
// compiler go through a table of addresses, which the blob must not have.

macro_rules! label {
    ($name:ident) => {
        #[inline(always)]
        pub fn $name() -> u64 {
            let a: u64;
            // SAFETY: an address, no access.
            unsafe {
                asm!(concat!("lea {}, [rip + stub_", stringify!($name), "]"), out(reg) a,
                    options(nomem, nostack, preserves_flags));
            }
            a
        }
    };
}
label!(fix_begin);
label!(fix_end);
label!(fix_out);
label!(futex_begin);
label!(futex_after);
label!(futex_end);
label!(futex_interrupted);
label!(kick_mask);

/// Set by the fault fix-up in what the copies return.
pub const FAULTED: u64 = 1 << 63;

/// Copies between the slot and the application; the bytes left at a fault.
#[inline(always)]
pub fn copy(dst: u64, src: u64, len: u64) -> u64 {
    let left: u64;
    // SAFETY: one side is in the slot, the other is the application's; faults
    // are fixed up.
    unsafe {
        asm!("call stub_copy", inout("rdi") dst => _, inout("rsi") src => _,
            inout("rdx") len => _, out("rcx") _, out("rax") left);
    }
    left
}

/// Zeroes application memory; the bytes left at a fault.
#[inline(always)]
pub fn zero(dst: u64, len: u64) -> u64 {
    let left: u64;
    // SAFETY: as copy.
    unsafe {
        asm!("call stub_zero", inout("rdi") dst => _, inout("rsi") len => _,
            out("rdx") _, out("rcx") _, out("rax") left);
    }
    left
}

/// Copies a string and its NUL: the room left; u64::MAX if there is no NUL;
/// with `FAULTED` set, the room left at a fault.
#[inline(always)]
pub fn strcpy(dst: u64, src: u64, max: u64) -> u64 {
    let left: u64;
    // SAFETY: as copy.
    unsafe {
        asm!("call stub_strcpy", inout("rdi") dst => _, inout("rsi") src => _,
            inout("rdx") max => _, out("rcx") _, out("rax") left);
    }
    left
}

/// The word, or `FAULTED`.
#[inline(always)]
pub fn load32(addr: u64) -> u64 {
    let r: u64;
    // SAFETY: as copy.
    unsafe {
        asm!("call stub_load32", in("rdi") addr, out("rdx") _, out("rcx") _, out("rax") r);
    }
    r
}

/// 0, or `FAULTED`.
#[inline(always)]
pub fn store32(addr: u64, value: u32) -> u64 {
    let r: u64;
    // SAFETY: as copy.
    unsafe {
        asm!("call stub_store32", in("rdi") addr, in("rsi") value as u64, out("rdx") _,
            out("rcx") _, out("rax") r);
    }
    r
}

/// What was there before, or `FAULTED`.
#[inline(always)]
pub fn app_cas32(addr: u64, old: u32, new: u32) -> u64 {
    let r: u64;
    // SAFETY: as copy.
    unsafe {
        asm!("call stub_cas32", in("rdi") addr, in("rsi") old as u64,
            inout("rdx") new as u64 => _, out("rcx") _, out("r8") _, out("rax") r);
    }
    r
}

/// Compare and swap of 8 bytes that lie in one cache line.
#[inline(always)]
pub fn app_cas64(addr: u64, old: u64, new: u64) {
    // SAFETY: as copy.
    unsafe {
        asm!("call stub_cas64", in("rdi") addr, in("rsi") old,
            inout("rdx") new => _, out("rcx") _, out("r8") _, out("rax") _);
    }
}

/// Saves the FPU state; 0, or nonzero on a fault.
#[inline(always)]
pub fn xsave(addr: u64, features: u64) -> u64 {
    let r: u64;
    // SAFETY: as copy.
    unsafe {
        asm!("call stub_xsave", in("rdi") addr, in("rsi") features, out("rdx") _,
            out("rcx") _, out("rax") r);
    }
    r
}

/// Forks; in the parent, the child's pid or -errno. Doesn't return in the
/// child, which goes to `stub_start`.
#[inline(always)]
pub fn fork(region_fd: u64, ctl_fd: u64) -> i64 {
    let r: i64;
    // SAFETY: the child has a region prepared by the Sentry.
    unsafe {
        asm!("call stub_fork", inout("rdi") region_fd => _, inout("rsi") ctl_fd => _,
            out("rdx") _, out("rcx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("rax") r);
    }
    r
}

/// Starts a thread; its tid or -errno.
#[inline(always)]
pub fn thread(stack: u64, tid_word: u64) -> i64 {
    let r: i64;
    // SAFETY: the thread has a slot prepared by the Sentry.
    unsafe {
        asm!("call stub_thread", inout("rdi") stack => _, inout("rsi") tid_word => _,
            out("rdx") _, out("rcx") _, out("r8") _, out("r10") _, out("r11") _, out("rax") r);
    }
    r
}

/// A call that waits for futexes and that the kick can end: its result, or
/// None.
#[inline(always)]
pub fn futex_sleep(nr: u64, [a, b, c, d, e, f]: [u64; 6]) -> Option<i64> {
    let (r, interrupted): (i64, u64);
    // SAFETY: the kernel checks the addresses.
    unsafe {
        asm!("call stub_futex_sleep", inout("rdi") a => _, inout("rsi") b => _,
            inout("rdx") c => interrupted, inout("rcx") d => _, inout("r8") e => _,
            inout("r9") f => _, out("r10") _, out("r11") _, inout("rax") nr => r);
    }
    if interrupted != 0 { None } else { Some(r) }
}
