//! Programs that attack what runs them. Natively there is nothing to attack,
//! so any end of the attacker is right; what counts is that it does end, that
//! it leaks nothing, and that its neighbours go on undisturbed.

use std::arch::asm;
use syscall_tests::cases;
use syscall_tests::prelude::*;

/// Where a sandbox may keep things of its own beside the program: the top of
/// the user half of the address space.
const TOP: usize = 0x7fff_0000_0000;
const END: usize = 0x7fff_ffff_f000;

/// Runs an attacker, waits for its end or ends it, and checks that the rest
/// of the world still works.
fn attack(f: impl FnOnce()) {
    let pid = child(|| {
        f();
        0
    });
    let deadline = now_ms() + 1000;
    let mut ended = false;
    while now_ms() < deadline {
        if must!(wait4(pid, WNOHANG)).0 == pid {
            ended = true;
            break;
        }
        sleep_ms(2);
    }
    if !ended {
        must!(kill(pid, SIGKILL));
        // It may have been about to end by itself.
        must!(wait4(pid, 0));
    }
    still_works();
}
fn still_works() {
    let (r, w) = must!(pipe());
    wait_ok(child(|| {
        must!(write(w, b"alive"));
        0
    }));
    check_eq!(read_vec(r, 10), Ok(b"alive".to_vec()));
    let p = anon(4);
    poke(p, 1u8);
    must!(munmap(p, 4 * PAGE));
    must!(close(r));
    must!(close(w));
}
/// A fault skips the three-byte store below.
extern "C" fn skip(_: i32, _: *mut siginfo_t, ctx: *mut c_void) {
    let regs = unsafe { &mut (*ctx.cast::<ucontext_t>()).uc_mcontext.gregs };
    regs[REG_RIP as usize] += 3;
}
/// Stores a word if that is possible.
fn store(address: usize, value: u64) {
    // mov [rdi], rsi
    unsafe { asm!(".byte 0x48, 0x89, 0x37", in("rdi") address, in("rsi") value) };
}
/// The own stack, which the attacker spares to live a little longer.
fn spare(address: usize) -> bool {
    let here = 0u8;
    (&raw const here as usize).abs_diff(address) < 16 << 20
}
fn scribble(from: usize, to: usize, step: usize, value: u64) {
    handle(SIGSEGV, skip, SA_NODEFER);
    handle(SIGBUS, skip, SA_NODEFER);
    for address in (from..to).step_by(step) {
        if !spare(address) {
            store(address, value);
        }
    }
}
/// A small generator of repeatable noise.
struct Noise(u64);
impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn scribble_over_the_top_of_the_address_space() {
    for value in [0, u64::MAX, 0x0101_0101_0101_0101] {
        attack(|| {
            scribble(TOP, TOP + (4 << 20), PAGE, value);
            let _ = getppid();
            let _ = anon(1);
        });
    }
}

fn scribble_densely_where_slots_may_be() {
    for value in [0, 1, 2, 3, 7, u64::MAX] {
        attack(|| {
            for slot in 0..4 {
                let base = TOP + 0x4000_0000 + slot * 0x2_0000;
                scribble(base, base + 0x1000, 8, value);
            }
            for _ in 0..10 {
                let _ = getppid();
            }
        });
    }
}

fn scribble_noise_while_another_thread_calls() {
    for seed in 1..=6u64 {
        attack(|| {
            std::thread::spawn(|| {
                loop {
                    // What they return is the attacker's own to forge.
                    let _ = getppid();
                    let flags = MAP_PRIVATE | MAP_ANONYMOUS;
                    if let Ok(p) = mmap(0, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) {
                        let _ = munmap(p, PAGE);
                    }
                }
            });
            handle(SIGSEGV, skip, SA_NODEFER);
            handle(SIGBUS, skip, SA_NODEFER);
            let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for _ in 0..3000 {
                let at = (noise.next() as usize % 0x8_0000) & !7;
                store(TOP + 0x4000_0000 + at, noise.next());
            }
            sleep_ms(5);
        });
    }
}

fn unmap_everything() {
    attack(|| unsafe {
        asm!(
            "syscall", "mov rax, 39", "syscall", "mov rax, 60", "xor edi, edi", "syscall", "ud2",
            in("rax") SYS_munmap, in("rdi") 0, in("rsi") END, options(noreturn)
        );
    });
}

fn unmap_the_top() {
    attack(|| {
        for (at, len) in [
            (TOP, 1usize << 20),
            (TOP + 0x4000_0000, 1 << 30),
            (TOP + 0x10_0000, 0x10_0000),
        ] {
            if !spare(at) && !spare(at + len) {
                let _ = sys!(SYS_munmap, at, len);
            }
        }
        let _ = getppid();
        let t = std::thread::spawn(getppid);
        let _ = t.join();
    });
}

fn protect_the_top() {
    attack(|| {
        for prot in [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE | PROT_EXEC] {
            for at in [TOP, TOP + 0x1_0000, TOP + 0x20_0000, TOP + 0x4000_0000] {
                if !spare(at) {
                    let _ = sys!(SYS_mprotect, at, 0x1_0000, prot);
                }
            }
            let _ = getppid();
        }
    });
}

fn map_over_the_top() {
    attack(|| {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        for at in [TOP, TOP + 0x1_0000, TOP + 0x20_0000, TOP + 0x4000_0000] {
            if !spare(at) {
                let _ = mmap(at, 0x1_0000, PROT_READ | PROT_WRITE, flags, -1, 0);
                let _ = getppid();
            }
        }
    });
}

fn move_the_top_away() {
    attack(|| {
        for at in [TOP + 0x1_0000, TOP + 0x20_0000, TOP + 0x4000_0000] {
            if !spare(at) {
                let _ = sys!(SYS_mremap, at, 0x1_0000, 0x1_0000, 3, 0x1000_0000usize);
                let _ = sys!(SYS_madvise, at, 0x1_0000, MADV_DONTNEED);
                let _ = sys!(SYS_madvise, at, 0x1_0000, MADV_REMOVE);
                let _ = getppid();
            }
        }
    });
}

fn top_is_no_buffer_for_calls() {
    // What is not in maps must not be readable through system calls either.
    let maps = String::from_utf8_lossy(&must!(read_file(c"/proc/self/maps"))).into_owned();
    let known = |p: usize| {
        maps.lines().any(|line| {
            let range = line.split(' ').next().unwrap_or("");
            let (a, b) = range.split_once('-').unwrap_or(("", ""));
            let hex = |s: &str| usize::from_str_radix(s, 16).unwrap_or(0);
            hex(a) <= p && p < hex(b)
        })
    };
    let (_r, w) = must!(pipe());
    let zero = must!(open(c"/dev/zero", O_RDONLY, 0));
    for at in (TOP..TOP + 0x40_0000)
        .step_by(0x1000)
        .chain((TOP + 0x4000_0000..TOP + 0x4010_0000).step_by(0x1000))
    {
        if known(at) || known(at + PAGE) || spare(at) {
            continue;
        }
        for address in [at, at + 0xc00] {
            let out = sys!(SYS_write, w, address, 1);
            check!(out == Err(EFAULT), "{address:#x} was readable");
            let into = sys!(SYS_read, zero, address, 1);
            check!(into == Err(EFAULT), "{address:#x} was writable");
            let mut vec = [0u8; 1];
            let core = sys!(SYS_mincore, address & !0xfff, PAGE, &mut vec);
            check!(core == Err(ENOMEM), "{address:#x} is known to mincore");
        }
    }
}

fn jump_into_the_top() {
    let mut noise = Noise(0x1234_5678_9abc_def1);
    let targets: Vec<usize> = (0..40)
        .map(|i| {
            TOP + 0x1_0000
                + if i < 8 {
                    i * 0x10
                } else {
                    noise.next() as usize % 0x1_0000
                }
        })
        .collect();
    for target in targets {
        let values = [noise.next(), noise.next(), noise.next()];
        attack(|| unsafe {
            asm!(
                "mov r8, rax", "mov r9, rcx", "mov r10, rdx", "mov rax, rsi", "jmp r11",
                in("rax") values[0], in("rcx") values[1], in("rdx") values[2],
                in("rsi") values[0] % 335, in("rdi") values[1] % 16, in("r11") target,
                options(noreturn)
            );
        });
    }
}

fn system_calls_with_a_hopeless_stack() {
    for stack in [
        0usize,
        8,
        0x1000,
        TOP,
        TOP + 0x4000_0000,
        END,
        1 << 47,
        usize::MAX & !15,
    ] {
        attack(|| unsafe {
            asm!(
                "mov rsp, rcx", "mov eax, 110", "syscall", "mov eax, 60", "xor edi, edi",
                "syscall", "ud2",
                in("rcx") stack, options(noreturn)
            );
        });
    }
}

fn descriptors_of_the_sandbox_are_out_of_reach() {
    // Only what /proc/self/fd lists is open; nothing else answers.
    let listed: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .map(|d| {
            d.flatten()
                .filter_map(|e| e.file_name().to_string_lossy().parse().ok())
                .collect()
        })
        .unwrap_or_default();
    for fd in 0..1200 {
        if !listed.contains(&fd) {
            expect_errno!(fcntl(fd, F_GETFD, 0), EBADF);
        }
    }
}

fn close_everything_and_go_on() {
    in_child(|| {
        let _ = sys!(SYS_close_range, 0, u32::MAX, 0);
        let (r, w) = must!(pipe());
        check_eq!((r, w), (0, 1));
        must!(write(w, b"x"));
        check_eq!(read_vec(r, 1), Ok(b"x".to_vec()));
        in_child(|| {
            must!(open(c"/", O_RDONLY, 0));
        });
    });
    still_works();
}

fn every_signal_blocked_and_ignored() {
    attack(|| {
        for s in 1..=64 {
            disposition(s, SIG_IGN);
        }
        sigmask(SIG_SETMASK, u64::MAX);
        for _ in 0..100 {
            let _ = getppid();
        }
        loop {
            std::hint::spin_loop();
        }
    });
}

fn signal_handlers_for_the_traps_own_signals() {
    // SIGSYS, SIGSEGV and their kind belong to the program, whatever the
    // sandbox uses them for.
    record_on(SIGSYS);
    record_on(SIGTRAP);
    record_on(SIGILL);
    for _ in 0..100 {
        let _ = getppid();
    }
    check_eq!(seen(), 0);
    raise(SIGSYS);
    check_eq!(seen(), 1);
    block(&[SIGSYS, SIGSEGV, SIGBUS, SIGTRAP, SIGILL, SIGFPE]);
    check_eq!(getppid(), getppid());
    raise(SIGSYS);
    check!(is_pending(SIGSYS));
    check_eq!(seen(), 1);
}

fn alternate_stack_on_hostile_addresses() {
    for at in [TOP + 0x4000_0000, TOP, 0x1000, 1 << 47, usize::MAX - 0xffff] {
        attack(|| {
            let ss = stack_t {
                ss_sp: at as *mut c_void,
                ss_flags: 0,
                ss_size: 0x1_0000,
            };
            if sys!(SYS_sigaltstack, &ss, 0).is_ok() {
                handle(SIGUSR1, record, SA_ONSTACK);
                raise(SIGUSR1);
            }
        });
    }
}

fn thread_pointers_on_hostile_addresses() {
    for at in [TOP + 0x4000_0000, 0x1000, 1 << 46, BAD] {
        attack(|| {
            let _ = sys!(SYS_set_tid_address, at);
            let _ = sys!(SYS_set_robust_list, at, 24);
        });
        attack(|| {
            let _ = sys!(SYS_arch_prctl, 0x1002, at);
            unsafe {
                asm!(
                    "mov eax, 110",
                    "syscall",
                    "mov eax, 231",
                    "xor edi, edi",
                    "syscall",
                    "ud2",
                    options(noreturn)
                );
            }
        });
    }
}

fn clone_with_hostile_arguments() {
    let mut noise = Noise(77);
    for _ in 0..60 {
        let flags = noise.next() & 0xffff_ffff & !(CLONE_NEWNS as u64 | 0x7e00_0000);
        let (a, b, c) = (noise.next(), noise.next(), noise.next());
        attack(|| {
            let pid = sys!(
                SYS_clone,
                flags & !(CLONE_VM as u64 | 0xff) | SIGCHLD as u64,
                0,
                a,
                b,
                c
            );
            if pid == Ok(0) {
                unsafe { _exit(0) };
            }
        });
        attack(|| {
            // A thread or a vfork child on a stack that is not there.
            let flags = flags | CLONE_VM as u64;
            let _ = sys!(SYS_clone, flags, a | 1 << 63, b, c, a);
        });
    }
}

cases![
    still_works,
    scribble_over_the_top_of_the_address_space,
    scribble_densely_where_slots_may_be,
    scribble_noise_while_another_thread_calls,
    unmap_everything,
    unmap_the_top,
    protect_the_top,
    map_over_the_top,
    move_the_top_away,
    top_is_no_buffer_for_calls,
    jump_into_the_top,
    system_calls_with_a_hopeless_stack,
    descriptors_of_the_sandbox_are_out_of_reach,
    close_everything_and_go_on,
    every_signal_blocked_and_ignored,
    signal_handlers_for_the_traps_own_signals,
    alternate_stack_on_hostile_addresses,
    thread_pointers_on_hostile_addresses,
    clone_with_hostile_arguments,
];
