//! The entry of patched call sites, and the way back: no signal, no host
//! call, no change of the FPU state.
//!
//! The application's %gs base is the slot's address (the Sentry shows it as
//! 0). A thread whose program has set a base of its own, or none, makes a real
//! system call instead, which traps.

use crate::asm::*;
use crate::handler::{self, SIGSYS};
use crate::layout::*;
use crate::proto::*;
use crate::sys::*;
use core::arch::{asm, global_asm};

const SIGTRAP: u64 = 5;
const SIG_BLOCK: u64 = 0;

/// The stub's own stack starts so far below the frame. Keeps calls aligned.
const GAP: u64 = 72;

// stub_fast: entered by a jump, as if the application had executed a system
// call instruction. rcx = where to go on; two bytes before that is a real
// `syscall` (of the site itself, or of the trampoline). rcx and r11 are the
// only registers that may be changed, and until they are saved flags aren't
// to be either.
//
// [stub_fast, stub_fast_entered): the stack pointer is the application's, and
// nothing of its state is lost: signals go back to that `syscall`.
// Then kicks are noted in S_KICK_SEEN.
// [stub_fast_leave, stub_fast_left): the frame has all that the application
// goes on with, or the registers have: kicks go forward to there.
global_asm!(
    ".globl stub_fast",
    "stub_fast:",
    "mov r11d, dword ptr gs:[{s_magic}]",
    "lea r11d, [r11 - {magic}]",
    "xchg rcx, r11",
    "stub_fast_swapped:", // r11 = where to go on
    "jrcxz 2f",
    "lea rcx, [r11 - 2]",
    "jmp rcx",
    "2:",
    "mov rcx, qword ptr gs:[{s_fast_frame}]",
    "mov dword ptr gs:[{s_mode}], {fast}",
    "mov [rcx + {f_rsp}], rsp",
    "lea rsp, [rcx + {f_rflags} + 8]",
    "stub_fast_entered:",
    // A nested frame spares the 128 bytes below the stack pointer: what is
    // stored now; the rest once the stack is below the frame.
    "pushfq",
    "cld",
    "lea rsp, [rcx - {gap}]",
    "mov [rcx + {f_rip}], r11",
    "mov [rcx + {f_rax}], rax",
    "mov [rcx + {f_rdi}], rdi",
    "mov [rcx + {f_rsi}], rsi",
    "mov [rcx + {f_rdx}], rdx",
    "mov [rcx + {f_r10}], r10",
    "mov [rcx + {f_r8}], r8",
    "mov [rcx + {f_r9}], r9",
    "mov [rcx + {f_rbx}], rbx",
    "mov [rcx + {f_rbp}], rbp",
    "mov [rcx + {f_r12}], r12",
    "mov [rcx + {f_r13}], r13",
    "mov [rcx + {f_r14}], r14",
    "mov [rcx + {f_r15}], r15",
    "mov dword ptr [rcx + {f_si_syscall}], eax",
    "mov dword ptr [rcx + {f_si_arch}], {arch}",
    "mov rdi, rcx",
    "call stub_fast_call",
    // rax = frame to go on with, whichever way it came to be.
    ".globl stub_leave",
    "stub_leave:",
    "mov rdi, rax",
    "and rdi, -{stride}",
    "cmp dword ptr [rdi + {s_mode}], {fast}",
    "jne stub_return",
    "lea rsp, [rax - {gap}]",
    "stub_fast_leave:",
    "cmp dword ptr [rdi + {s_kick_seen}], 0",
    "jne stub_fast_left",
    "mov r15, [rax + {f_r15}]",
    "mov r14, [rax + {f_r14}]",
    "mov r13, [rax + {f_r13}]",
    "mov r12, [rax + {f_r12}]",
    "mov rbp, [rax + {f_rbp}]",
    "mov rbx, [rax + {f_rbx}]",
    "mov r9, [rax + {f_r9}]",
    "mov r8, [rax + {f_r8}]",
    "mov r10, [rax + {f_r10}]",
    "mov rdx, [rax + {f_rdx}]",
    "mov rsi, [rax + {f_rsi}]",
    "mov rdi, [rax + {f_rdi}]",
    "mov rcx, [rax + {f_rip}]",
    "mov r11, [rax + {f_rflags}]",
    "push r11",
    "popfq",
    "mov rax, [rax + {f_rax}]",
    "mov rsp, [rsp + {gap} + {f_rsp}]",
    // A signal from here on overwrites the frame.
    "stub_fast_jump:",
    "jmp rcx",
    "stub_fast_left:",
    "mov rsi, rax",
    "call stub_fast_kicked",
    "jmp stub_leave",
    magic = const MAGIC,
    fast = const MODE_FAST,
    gap = const GAP,
    arch = const AUDIT_ARCH_X86_64,
    stride = const SLOT_STRIDE,
    s_magic = const S_MAGIC,
    s_fast_frame = const S_FAST_FRAME,
    s_mode = const S_MODE,
    s_kick_seen = const S_KICK_SEEN,
    f_r8 = const F_R8,
    f_r9 = const F_R9,
    f_r10 = const F_R10,
    f_r12 = const F_R12,
    f_r13 = const F_R13,
    f_r14 = const F_R14,
    f_r15 = const F_R15,
    f_rdi = const F_RDI,
    f_rsi = const F_RSI,
    f_rbp = const F_RBP,
    f_rbx = const F_RBX,
    f_rdx = const F_RDX,
    f_rax = const F_RAX,
    f_rsp = const F_RSP,
    f_rip = const F_RIP,
    f_rflags = const F_RFLAGS,
    f_si_syscall = const F_SI_SYSCALL,
    f_si_arch = const F_SI_ARCH,
);

macro_rules! place {
    ($name:ident, $label:literal) => {
        #[inline(always)]
        fn $name() -> u64 {
            let a: u64;
            // SAFETY: an address, no access.
            unsafe {
                asm!(concat!("lea {}, [rip + ", $label, "]"), out(reg) a,
                    options(nomem, nostack, preserves_flags));
            }
            a
        }
    };
}
place!(entry, "stub_fast");
place!(swapped, "stub_fast_swapped");
place!(entered, "stub_fast_entered");
place!(leave, "stub_fast_leave");
place!(jump, "stub_fast_jump");
place!(left, "stub_fast_left");

/// The call of a patched site, registers saved. Returns the frame.
#[unsafe(no_mangle)]
extern "C" fn stub_fast_call(frame: u64) -> u64 {
    let slot = frame & !(SLOT_STRIDE - 1);
    let kind = handler::trapped_call(slot, frame);
    if kind == 0 {
        return frame;
    }
    handler::publish(slot, kind, SIGSYS as u32, frame);
    handler::wait_go(slot);
    handler::answered(slot, frame)
}

/// A kick came before the last look.
#[unsafe(no_mangle)]
extern "C" fn stub_fast_kicked(slot: u64, frame: u64) -> u64 {
    st32(slot + S_KICK_SEEN, 0);
    handler::publish(slot, EV_KICK, 0, frame);
    handler::wait_go(slot);
    handler::answered(slot, frame)
}

/// In the entry, before the stack is the slot's.
#[inline(always)]
fn in_entry(rip: u64) -> bool {
    rip >= entry() && rip < entered()
}

/// Back to the `syscall` that the entry stands for.
fn roll_back(frame: u64, rip: u64) {
    let next = if rip < swapped() { F_RCX } else { F_R11 };
    st64(frame + F_RIP, ld64(frame + next).wrapping_sub(2));
}

/// A signal between the application and the stub: true if the frame now is
/// the application's, as it was before the call or is after it.
pub fn at_edge(signo: u64, frame: u64, slot: u64, rip: u64) -> bool {
    if signo != SIG_KICK as u64 && signo != SIGTRAP {
        return false;
    }
    if in_entry(rip) {
        roll_back(frame, rip);
        return true;
    }
    if rip < leave() || rip >= left() || signo == SIGTRAP {
        return false;
    }
    if rip == jump() {
        st64(frame + F_RIP, ld64(frame + F_RCX));
        return true;
    }
    let from = ld64(slot + S_FAST_FRAME);
    let mut off = F_GREGS;
    while off <= F_RFLAGS {
        st64(frame + off, ld64(from + off));
        off += 8;
    }
    st64(frame + F_RCX, ld64(from + F_RIP));
    st64(frame + F_R11, ld64(from + F_RFLAGS));
    true
}

/// A fault in the entry: the segment base isn't a slot. The call is made the
/// slow way.
pub fn not_ours(frame: u64, rip: u64) -> bool {
    let is = in_entry(rip);
    if is {
        roll_back(frame, rip);
    }
    is
}

/// Makes the frame of a fast entry one to sigreturn by. The Sentry has filled
/// in all but the FPU state.
pub fn complete(slot: u64, frame: u64, flags: u32) {
    if ld32(slot + S_MODE) != MODE_FAST {
        return;
    }
    call(NR_RT_SIGPROCMASK, SIG_BLOCK, kick_mask(), 0, 8, 0, 0);
    st32(slot + S_MODE, MODE_SIGNAL);
    if flags & RF_XSAVE != 0 {
        let fp = ld64(frame + F_FPSTATE);
        let features = ld64(fp + FP_XFEATURES);
        // SAFETY: the area is in the slot, laid out by the Sentry; if a
        // hostile application made it otherwise, that is its own memory.
        unsafe {
            asm!("xsave64 [{}]", in(reg) fp, in("eax") features as u32,
                in("edx") (features >> 32) as u32, options(nostack));
        }
    }
}
