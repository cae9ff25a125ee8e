//! Words in memory, and raw host calls.

use crate::proto::DF_RDPID;
use core::arch::asm;

#[inline(always)]
pub fn ld64(a: u64) -> u64 {
    // SAFETY: addresses are within the slot, the region or the doorbell; if a
    // hostile application made them bad, the fault ends its own process.
    unsafe { (a as *const u64).read_volatile() }
}

#[inline(always)]
pub fn ld32(a: u64) -> u32 {
    // SAFETY: as ld64.
    unsafe { (a as *const u32).read_volatile() }
}

#[inline(always)]
pub fn st64(a: u64, v: u64) {
    // SAFETY: as ld64.
    unsafe { (a as *mut u64).write_volatile(v) }
}

#[inline(always)]
pub fn st32(a: u64, v: u32) {
    // SAFETY: as ld64.
    unsafe { (a as *mut u32).write_volatile(v) }
}

/// `lock or`; a full barrier.
#[inline(always)]
pub fn or64(a: u64, v: u64) {
    // SAFETY: as ld64.
    unsafe { asm!("lock or [{}], {}", in(reg) a, in(reg) v, options(nostack)) }
}

/// What is stored above is seen before what is loaded below is read.
#[inline(always)]
pub fn barrier() {
    // SAFETY: changes nothing on the stub's stack.
    unsafe { asm!("lock or qword ptr [rsp], 0") }
}

#[inline(always)]
pub fn add32(a: u64, v: u32) {
    // SAFETY: as ld64.
    unsafe { asm!("lock add [{}], {:e}", in(reg) a, in(reg) v, options(nostack)) }
}

/// Compare and swap; the old value.
#[inline(always)]
pub fn cas32(a: u64, old: u32, new: u32) -> u32 {
    let seen: u32;
    // SAFETY: as ld64.
    unsafe {
        asm!("lock cmpxchg [{}], {:e}", in(reg) a, in(reg) new,
            inlateout("eax") old => seen, options(nostack));
    }
    seen
}

#[inline(always)]
pub fn pause() {
    // SAFETY: no effect.
    unsafe { asm!("pause", options(nomem, nostack)) }
}

#[inline(always)]
pub fn rdtsc() -> u64 {
    let (lo, hi): (u64, u64);
    // SAFETY: reads the counter.
    unsafe { asm!("rdtsc", out("rax") lo, out("rdx") hi, options(nomem, nostack)) }
    hi << 32 | lo
}

/// The CPU this runs on, as the vDSO's getcpu finds it: from a register where
/// the CPU can read it (`DF_RDPID`), else from the segment limit that Linux
/// keeps it in, which takes 10 ns more.
#[inline(always)]
pub fn cpu(flags: u32) -> u32 {
    let v: u64;
    // SAFETY: reads the CPU's number or a descriptor's limit.
    unsafe {
        if flags & DF_RDPID != 0 {
            asm!("rdpid {0:r}", out(reg) v, options(nomem, nostack));
        } else {
            asm!("lsl {0:r}, {0:r}", inout(reg) 0x7bu64 => v, options(nomem, nostack));
        }
    }
    (v & 0xfff) as u32
}

#[inline(always)]
pub fn call(nr: u64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> i64 {
    let r: i64;
    // SAFETY: what it may do is the filter's business.
    unsafe {
        asm!("syscall", inlateout("rax") nr => r, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, out("rcx") _, out("r11") _, options(nostack));
    }
    r
}

/// Ends the process: the stub was entered or disturbed in a way that only a
/// hostile application can bring about.
#[inline(never)]
pub fn die(why: u64) -> ! {
    loop {
        call(NR_EXIT_GROUP, why, 0, 0, 0, 0, 0);
    }
}

pub const NR_MMAP: u64 = 9;
pub const NR_MPROTECT: u64 = 10;
pub const NR_MUNMAP: u64 = 11;
pub const NR_RT_SIGPROCMASK: u64 = 14;
pub const NR_SCHED_YIELD: u64 = 24;
pub const NR_MREMAP: u64 = 25;
pub const NR_MSYNC: u64 = 26;
pub const NR_MINCORE: u64 = 27;
pub const NR_MADVISE: u64 = 28;
pub const NR_CLOSE: u64 = 3;
pub const NR_RECVMSG: u64 = 47;
pub const NR_EXIT: u64 = 60;
pub const NR_PRCTL: u64 = 157;
pub const NR_ARCH_PRCTL: u64 = 158;
pub const NR_FUTEX: u64 = 202;
pub const NR_EXIT_GROUP: u64 = 231;
pub const NR_CLOSE_RANGE: u64 = 436;
pub const NR_FUTEX_WAITV: u64 = 449;
pub const NR_FUTEX_WAKE: u64 = 454;
pub const NR_FUTEX_WAIT: u64 = 455;
pub const NR_FUTEX_REQUEUE: u64 = 456;

pub const EPERM: u32 = 1;
pub const EINTR: u32 = 4;
pub const EAGAIN: u32 = 11;
pub const EFAULT: u32 = 14;
pub const EINVAL: u32 = 22;
pub const EMFILE: u32 = 24;
