//! Malformed programs and forged signal frames: any errno or the program's
//! own end, never more.

use std::arch::asm;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use syscall_tests::cases;
use syscall_tests::prelude::*;

/// A small generator of repeatable noise.
struct Noise(u64);
impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }
}

/// A static program of one page that exits with 0, filled with breakpoints,
/// so that it does nothing else wherever it is entered.
fn tiny_elf() -> Vec<u8> {
    let mut f = vec![0xccu8; 4096];
    let base = 0x40_0000u64;
    f[..64].fill(0);
    f[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    f[16..18].copy_from_slice(&2u16.to_le_bytes());
    f[18..20].copy_from_slice(&62u16.to_le_bytes());
    f[20..24].copy_from_slice(&1u32.to_le_bytes());
    f[24..32].copy_from_slice(&(base + 0x200).to_le_bytes());
    f[32..40].copy_from_slice(&64u64.to_le_bytes());
    f[52..54].copy_from_slice(&64u16.to_le_bytes());
    f[54..56].copy_from_slice(&56u16.to_le_bytes());
    f[56..58].copy_from_slice(&2u16.to_le_bytes());
    // PT_LOAD r-x of the whole file, PT_GNU_STACK.
    for (i, words) in [
        [1 | 5 << 32, 0, base, base, 4096, 4096, 4096],
        [0x6474_e551 | 6 << 32, 0, 0, 0, 0, 0, 16],
    ]
    .iter()
    .enumerate()
    {
        for (j, w) in words.iter().enumerate() {
            let at = 64 + i * 56 + j * 8;
            f[at..at + 8].copy_from_slice(&(*w as u64).to_le_bytes());
        }
    }
    // mov eax, 60; xor edi, edi; syscall
    f[0x200..0x209].copy_from_slice(&[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
    f
}
/// Executes an image; its wait status, or the errno as `Err`.
fn run(image: &[u8]) -> Result<i32, i32> {
    let _ = unlink(c"prog");
    must!(write_file(c"prog", image));
    must!(chmod(c"prog", 0o755));
    let (r, w) = must!(pipe2(O_CLOEXEC));
    let pid = child(|| {
        let errno = execve(c"prog", &[c"prog"], &[]).err().unwrap_or(0);
        let _ = write(w, &[errno as u8]);
        0
    });
    must!(close(w));
    let deadline = now_ms() + 3000;
    let status = loop {
        let (got, status) = must!(wait4(pid, WNOHANG));
        if got == pid {
            break status;
        }
        if now_ms() > deadline {
            must!(kill(pid, SIGKILL));
        }
        std::thread::yield_now();
    };
    let errno = must!(read_vec(r, 1));
    must!(close(r));
    match errno.first() {
        Some(e) => Err(i32::from(*e)),
        None => Ok(status),
    }
}

fn tiny_program_runs() {
    tmp();
    check_eq!(run(&tiny_elf()), Ok(0));
}

fn every_header_bit_flipped() {
    tmp();
    let good = tiny_elf();
    let mut refused = 0;
    for bit in 0..(64 + 2 * 56) * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        if run(&bad).is_err() {
            refused += 1;
        }
    }
    check!(refused > 50);
    check_eq!(run(&good), Ok(0));
}

fn header_words_replaced_by_extremes() {
    tmp();
    let good = tiny_elf();
    for at in (16..64 + 2 * 56).step_by(8) {
        for value in [
            0,
            1,
            u64::MAX,
            1 << 63,
            1 << 47,
            i64::MAX as u64,
            0xffff_f000,
        ] {
            let mut bad = good.clone();
            bad[at..at + 8].copy_from_slice(&value.to_le_bytes());
            let _ = run(&bad);
        }
    }
    check_eq!(run(&good), Ok(0));
}

fn every_short_length() {
    tmp();
    let good = tiny_elf();
    for len in (0..200).chain([0x1ff, 0x200, 0x208, 0x209, 4095]) {
        let result = run(&good[..len]);
        if len < 64 {
            check_eq!(result, Err(ENOEXEC), "length {len}");
        }
    }
}

fn noise_in_headers() {
    tmp();
    let good = tiny_elf();
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    for _ in 0..300 {
        let mut bad = good.clone();
        for _ in 0..1 + noise.below(6) {
            bad[16 + noise.below(160)] = noise.next() as u8;
        }
        let _ = run(&bad);
    }
    check_eq!(run(&good), Ok(0));
}

fn many_program_headers() {
    tmp();
    let mut bad = tiny_elf();
    bad[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    check!(run(&bad).is_err());
    bad[56..58].copy_from_slice(&0u16.to_le_bytes());
    let _ = run(&bad);
}

fn interpreter_paths() {
    tmp();
    // The second header becomes PT_INTERP with its text at 0x300.
    let with = |text: &[u8], size: u64| {
        let mut f = tiny_elf();
        let words = [3 | 4 << 32, 0x300u64, 0x40_0300, 0x40_0300, size, size, 1];
        for (j, w) in words.iter().enumerate() {
            f[120 + j * 8..128 + j * 8].copy_from_slice(&w.to_le_bytes());
        }
        f[0x300..0x300 + text.len()].copy_from_slice(text);
        run(&f)
    };
    check_eq!(with(b"/nonexistent\0", 13), Err(ENOENT));
    check_eq!(with(b"/nonexistent", 12), Err(ENOEXEC));
    check_eq!(with(b"\0", 1), Err(ENOEXEC));
    check_eq!(with(b"/dev/null\0", 10), Err(EACCES));
    check!(with(b"/\0", 2).is_err());
    check!(with(b"x", 1 << 40).is_err());
    let _ = with(b"prog\0", 5);
}

fn interpreter_that_is_garbage() {
    tmp();
    must!(write_file(
        c"interp",
        b"not an ELF file at all, but long enough to be read as one ........"
    ));
    must!(chmod(c"interp", 0o755));
    let mut f = tiny_elf();
    let words = [3 | 4 << 32, 0x300u64, 0x40_0300, 0x40_0300, 7, 7, 1];
    for (j, w) in words.iter().enumerate() {
        f[120 + j * 8..128 + j * 8].copy_from_slice(&w.to_le_bytes());
    }
    f[0x300..0x307].copy_from_slice(b"interp\0");
    let result = run(&f);
    check!(matches!(result, Err(ELIBBAD | ENOEXEC)), "{result:?}");
}

fn scripts_with_odd_first_lines() {
    tmp();
    for text in [
        b"#!".as_slice(),
        b"#!\n",
        b"#! \t \n",
        b"#!\0/bin/true\n",
        b"#!/bin/true\0\n",
        b"#!/\n",
        b"#!prog\n",
        b"#!/bin/true \xff\xfe\n",
    ] {
        let _ = run(text);
    }
    let mut long = b"#!/".to_vec();
    long.extend([b'a'; 5000]);
    check!(run(&long).is_err());
    check_eq!(run(b"#!/bin/true\n"), Ok(0));
}

static SEED: AtomicU64 = AtomicU64::new(0);
static FIELD: AtomicUsize = AtomicUsize::new(0);

/// Writes noise over words of the saved context.
extern "C" fn forge(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    let mut noise = Noise(SEED.load(SeqCst));
    let words = ctx.cast::<u64>();
    let field = FIELD.load(SeqCst);
    // uc_flags, uc_link, uc_stack, gregs, fpregs pointer, mask: 37 words.
    poke(words.wrapping_add(field), noise.next());
}
/// Writes noise over the saved FPU state.
extern "C" fn forge_fpu(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    let mut noise = Noise(SEED.load(SeqCst));
    let fp = unsafe { (*ctx.cast::<ucontext_t>()).uc_mcontext.fpregs } as *mut u64;
    let field = FIELD.load(SeqCst);
    if !fp.is_null() {
        poke(fp.wrapping_add(field), noise.next());
    }
}
/// One attempt in a child; it has to end, and this process has to go on.
fn attempt(handler: Handler, field: usize, seed: u64) {
    FIELD.store(field, SeqCst);
    SEED.store(seed | 1, SeqCst);
    let pid = child(|| {
        handle(SIGUSR1, handler, 0);
        must!(sys!(SYS_alarm, 2));
        raise(SIGUSR1);
        let _ = getppid();
        0
    });
    let _ = wait_status(pid);
}

fn forged_context_words() {
    let mut noise = Noise(42);
    for field in 0..37 {
        for _ in 0..4 {
            attempt(forge, field, noise.next());
        }
    }
    check_eq!(wait_exit(child(|| 5)), 5);
}

fn forged_fpu_words() {
    let mut noise = Noise(43);
    // The legacy area, its software bytes, and the xsave header.
    for field in (0..64).chain(64..72) {
        for _ in 0..2 {
            attempt(forge_fpu, field, noise.next());
        }
    }
    check_eq!(wait_exit(child(|| 6)), 6);
}

fn forged_segment_and_flags() {
    static VALUE: AtomicU64 = AtomicU64::new(0);
    extern "C" fn set_flags(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
        let regs = unsafe { &mut (*ctx.cast::<ucontext_t>()).uc_mcontext.gregs };
        regs[REG_EFL as usize] = VALUE.load(SeqCst) as i64;
    }
    extern "C" fn set_segments(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
        let regs = unsafe { &mut (*ctx.cast::<ucontext_t>()).uc_mcontext.gregs };
        regs[REG_CSGSFS as usize] = VALUE.load(SeqCst) as i64;
    }
    for flags in [
        0u64,
        u64::MAX,
        0x3000,
        0x4_0000,
        0x2_0000,
        0x10_0000,
        0x4000,
    ] {
        VALUE.store(flags, SeqCst);
        attempt(set_flags, 0, 1);
    }
    for segments in [
        0u64,
        u64::MAX,
        0x10,
        0x23,
        0x2b,
        0x33,
        0x002b_0000_0000_0033,
    ] {
        VALUE.store(segments, SeqCst);
        attempt(set_segments, 0, 1);
    }
}

fn sigreturn_on_any_stack() {
    let page = anon(4);
    let mut noise = Noise(44);
    for round in 0..60usize {
        for i in 0..2048 {
            poke(
                page.cast::<u64>().wrapping_add(i),
                noise.next() >> (round % 64),
            );
        }
        let at = (page as usize + noise.below(8192)) & !7;
        let pid = child(|| unsafe {
            asm!("mov rsp, {0}", "mov eax, 15", "syscall", "ud2", in(reg) at, options(noreturn));
        });
        let status = wait_status(pid);
        check!(WIFSIGNALED(status), "{}", describe_status(status));
    }
}

fn direct_sigreturn_without_signal() {
    expect_killed(SIGSEGV, || unsafe {
        asm!(
            "mov rsp, 8",
            "mov eax, 15",
            "syscall",
            "ud2",
            options(noreturn)
        );
    });
}

cases![
    tiny_program_runs,
    every_header_bit_flipped,
    header_words_replaced_by_extremes,
    every_short_length,
    noise_in_headers,
    many_program_headers,
    interpreter_paths,
    interpreter_that_is_garbage,
    scripts_with_odd_first_lines,
    forged_context_words,
    forged_fpu_words,
    forged_segment_and_flags,
    sigreturn_on_any_stack,
    direct_sigreturn_without_signal,
];
