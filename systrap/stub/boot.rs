//! The zygote's way from a forked Sentry to a stub process.
//!
//! Runs once per sandbox, on code of ours only, before any application
//! memory exists. Stage 1 runs at a temporary low address, stage 2 at the
//! final one.

use crate::layout::*;
use crate::proto::*;
use crate::sys::*;
use core::arch::{asm, global_asm};

// Jumps to stage 2 at its final address on the final stack.
global_asm!(
    ".globl stub_boot1",
    "stub_boot1:", // rdi = parameters (in the temporary region mapping), rsp = its stack
    "and rsp, -16",
    "call stub_stage1",
    "ud2",
);

/// The parameters, u64 words at the start of slot 0's window:
/// 0 temporary text, 1 temporary region, 2 number of vDSO parts, 3 length of
/// `sock_fprog.filter` in instructions, 4 its address in the final region,
/// 5 a temporary address for the vDSO, 8… (start, length) of the parts,
/// 32… a zeroed xsave area of 1 KiB (64-byte aligned), then the filter.
const P_TEXT: u64 = 0;
const P_REGION: u64 = 8;
const P_PARTS: u64 = 16;
const P_TMP_VDSO: u64 = 40;
const P_PART: u64 = 64;

const FD_TEXT: u64 = 1;
const FD_REGION: u64 = 2;
const FD_DOORBELL: u64 = 3;

fn must(r: i64, want: u64, step: u64) {
    if r as u64 != want {
        die(100 + step);
    }
}

fn move_parts(p: u64, from_tmp: bool) {
    let tmp = ld64(p + P_TMP_VDSO);
    let n = ld64(p + P_PARTS);
    let mut off = 0;
    let mut i = 0;
    while i < n {
        let start = ld64(p + P_PART + i * 16);
        let len = ld64(p + P_PART + i * 16 + 8);
        let (a, b) = if from_tmp {
            (tmp + off, VDSO + off)
        } else {
            (start, tmp + off)
        };
        must(call(NR_MREMAP, a, len, len, 3, b, 0), b, 1);
        off += len;
        i += 1;
    }
}

#[unsafe(no_mangle)]
extern "C" fn stub_stage1(p: u64) -> ! {
    move_parts(p, false);
    must(
        call(NR_MUNMAP, STUB_START, STUB_END - STUB_START, 0, 0, 0, 0),
        0,
        2,
    );
    // MAP_SHARED 1, MAP_PRIVATE 2, MAP_FIXED 0x10, MAP_NORESERVE 0x4000
    must(call(NR_MMAP, TEXT, TEXT_MAX, 5, 0x11, FD_TEXT, 0), TEXT, 3);
    must(
        call(NR_MMAP, REGION, REGION_LEN, 3, 0x4011, FD_REGION, 0),
        REGION,
        4,
    );
    must(
        call(NR_MMAP, DOORBELL, DOORBELL_LEN, 1, 0x11, FD_DOORBELL, 0),
        DOORBELL,
        5,
    );
    move_parts(p, true);
    let text = ld64(p + P_TEXT);
    let here: u64;
    // SAFETY: an address, no access.
    unsafe {
        asm!("lea {}, [rip + stub_boot2]", out(reg) here, options(nomem, nostack));
    }
    let stage2 = here - text + TEXT;
    let p2 = p - ld64(p + P_REGION) + REGION;
    // SAFETY: the final text and stack are mapped; nothing here is needed again.
    unsafe {
        asm!("mov rsp, {sp}", "call {to}", "ud2", sp = in(reg) REGION + SLOT_STRIDE - 64,
            to = in(reg) stage2, in("rdi") p2, options(noreturn));
    }
}

#[unsafe(no_mangle)]
extern "C" fn stub_boot2(p: u64) -> ! {
    must(call(NR_MUNMAP, 0, STUB_START, 0, 0, 0, 0), 0, 6);
    must(
        call(NR_CLOSE_RANGE, CTL_FD + 1, 0xffff_ffff, 0, 0, 0, 0),
        0,
        7,
    );
    must(call(NR_ARCH_PRCTL, 0x1002, 0, 0, 0, 0, 0), 0, 8); // ARCH_SET_FS
    must(call(NR_ARCH_PRCTL, 0x1001, 0, 0, 0, 0, 0), 0, 9); // ARCH_SET_GS
    // PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    must(call(NR_PRCTL, 22, 2, p + 24, 0, 0, 0), 0, 10);
    // SAFETY: jumps to address 0, where nothing is mapped: the fault's frame
    // is the pristine one, all registers zero and the FPU in its initial state.
    unsafe {
        asm!(
            "xor eax, eax",
            "xor edx, edx",
            "not eax",
            "not edx",
            "xrstor64 [rdi + 256]",
            "xor eax, eax",
            "xor ebx, ebx",
            "xor ecx, ecx",
            "xor edx, edx",
            "xor esi, esi",
            "xor edi, edi",
            "xor ebp, ebp",
            "xor esp, esp",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor r10d, r10d",
            "xor r11d, r11d",
            "xor r12d, r12d",
            "xor r13d, r13d",
            "xor r14d, r14d",
            "xor r15d, r15d",
            "jmp rax",
            in("rdi") p,
            options(noreturn)
        );
    }
}
