//! What a hostile application can do: to itself, anything; to the Sentry and
//! others, nothing.

use std::time::{Duration, Instant};

use systrap::{Event, layout};

use crate::support::*;
use crate::{code, tests};

tests!(
    every_call_from_stub_text_is_checked,
    arguments_from_stub_text_are_checked,
    entry_points_with_hostile_registers,
    random_jumps_into_stub_text,
    forged_control_words,
    forged_bits_for_every_slot,
    scribbling_over_the_region,
    unmapping_the_region,
    unmapping_the_text,
    forged_signal_frames,
    rogue_forks_end_with_their_parent,
    surviving_rogues_end_with_their_parent,
    hello_in_a_childs_place,
    doorbell_cannot_be_requeued,
);

const SIGSYS_DEATH: i32 = 31;

// Looks for the first `syscall` instruction at or behind r15 and jumps there
// with the registers of DATA: rax rdi rsi rdx r10 r8 r9.
code!(
    jump_in,
    "2:",
    "cmp word ptr [r15], 0x050f",
    "je 3f",
    "inc r15",
    "jmp 2b",
    "3:",
    "mov rcx, 0x800000",
    "mov rax, [rcx]",
    "mov rdi, [rcx + 8]",
    "mov rsi, [rcx + 16]",
    "mov rdx, [rcx + 24]",
    "mov r10, [rcx + 32]",
    "mov r8, [rcx + 40]",
    "mov r9, [rcx + 48]",
    "jmp r15",
);

/// Jumps to a `syscall` of the stub's with these registers; the end.
fn from_text(vm: &mut Vm, words: [u64; 7]) -> Event {
    let mut p = vm.load(jump_in());
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    p.put(DATA, &bytes);
    let mut r = p.thread.regs();
    r.r15 = layout::TEXT;
    p.thread.set_regs(&r);
    vm.go(&mut p)
}

/// Numbers that the filter allows with some arguments.
const ALLOWED: &[u64] = &[
    3, 9, 10, 11, 14, 15, 24, 25, 26, 27, 28, 33, 44, 47, 56, 60, 158, 202, 219, 231, 436, 449,
    454, 455,
];

fn every_call_from_stub_text_is_checked() {
    let mut vm = Vm::new();
    // The kernel lets uretprobe and uprobe (335, 336) past every filter; outside
    // of a trampoline of its own they do nothing but fail.
    let exempt = |nr: &u64| ALLOWED.contains(nr) || (335..337).contains(nr);
    for nr in (0..470).filter(|nr| !exempt(nr)) {
        let e = from_text(&mut vm, [nr, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            e,
            Event::Dead {
                status: SIGSYS_DEATH
            },
            "call {nr}"
        );
    }
    assert_eq!(vm.platform.counters().violations, 0);
}

fn arguments_from_stub_text_are_checked() {
    let mut vm = Vm::new();
    let clone_vfork = 0x4000 | 0x100 | 17;
    for words in [
        [56, 17, 0, 0, 0, 0, 0],                        // fork without CLONE_PARENT
        [56, clone_vfork, 0, 0, 0, 0, 0],               // vfork
        [56, 0x2000_0000 | 0x8011, 0, 0, 0, 0, 0],      // CLONE_NEWPID
        [9, 0, 0x20_0000, 3, 0x4_0022, u64::MAX, 0],    // MAP_HUGETLB
        [28, DATA, 0x1000, 100, 0, 0, 0],               // MADV_HWPOISON
        [28, DATA, 0x1000, 12, 0, 0, 0],                // MADV_MERGEABLE
        [33, 0, 1, 0, 0, 0, 0],                         // dup2 elsewhere
        [44, 1, DATA, 1, 0x4040, 0, 0],                 // sendto elsewhere
        [44, 0, DATA, 1, 0x4040, DATA, 16],             // with an address
        [47, 1, DATA, 0, 0, 0, 0],                      // recvmsg elsewhere
        [158, 0x1003, DATA, 0, 0, 0, 0],                // ARCH_GET_FS
        [202, DATA, 6, 0, 0, 0, 0],                     // FUTEX_LOCK_PI
        [202, layout::DOORBELL + 64, 3, 0, 1, DATA, 0], // FUTEX_REQUEUE of a worker
        [202, layout::DOORBELL + 64, 4, 0, 1, DATA, 2], // FUTEX_CMP_REQUEUE of a worker
        [25, layout::DOORBELL, 0x1000, 0x1000, 3, DATA, 0], // mremap of the doorbell
        [25, layout::DOORBELL, 0, 0x1000, 3, DATA, 0],  // a second mapping of it
        [
            25,
            layout::TASK_SIZE - 0x1000,
            0x1_0000_0000,
            0x1_0000_0000,
            3,
            DATA,
            0,
        ], // with more
        [436, 0, 0xffff_ffff, 0, 0, 0, 0],              // the control socket too
        [0x4000_0000 + 202, DATA, 1, 1, 0, 0, 0],       // x32
    ] {
        let e = from_text(&mut vm, words);
        assert_eq!(
            e,
            Event::Dead {
                status: SIGSYS_DEATH
            },
            "{words:x?}"
        );
    }
}

code!(jump_anywhere, "jmp r15");

/// Lets a process jump to each address with its registers and looks at what
/// comes, within reason.
fn jump(vm: &mut Vm, at: u64, rsp: u64, fill: u64) {
    let mut p = vm.load(jump_anywhere());
    let mut r = p.thread.regs();
    for reg in [
        &mut r.rax, &mut r.rbx, &mut r.rcx, &mut r.rdx, &mut r.rsi, &mut r.rdi, &mut r.rbp,
        &mut r.r8, &mut r.r9, &mut r.r10, &mut r.r11, &mut r.r12, &mut r.r13, &mut r.r14,
    ] {
        *reg = fill;
    }
    r.r15 = at;
    r.rsp = rsp;
    p.thread.set_regs(&r);
    p.thread.resume();
    settle(vm, p);
}

/// Answers whatever a process does for a short while, then ends it.
fn settle(vm: &mut Vm, mut p: Proc) {
    let end = Instant::now() + Duration::from_millis(20);
    for _ in 0..50 {
        while !vm.try_token(p.token) {
            if Instant::now() > end {
                return;
            }
            let max = Some(Duration::from_millis(2));
            vm.platform.wait_timeout(0, &mut vm.tokens, max);
            vm.platform.reap(&mut vm.tokens);
        }
        match p.thread.event() {
            Event::Dead { .. } | Event::Violation(_) | Event::Fault { .. } => return,
            _ => p.thread.resume(),
        }
    }
}

fn entry_points_with_hostile_registers() {
    let mut vm = Vm::new();
    for rsp in [
        STACK_END - 64,
        layout::REGION + 0x1_f000,
        layout::REGION + 64,
        8,
        0,
    ] {
        for fill in [0, DATA, layout::REGION, layout::TEXT, u64::MAX] {
            for at in [0, 0x10, 0x19, 0x38] {
                jump(&mut vm, layout::TEXT + at, rsp, fill);
            }
        }
    }
    calls_still_work(&mut vm);
}

fn random_jumps_into_stub_text() {
    let mut vm = Vm::new();
    let mut x = 0x1234_5678_9abc_def1u64;
    for _ in 0..400 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let fill = [0, DATA, layout::REGION + 0x1_0000, x][(x >> 40) as usize % 4];
        jump(
            &mut vm,
            layout::TEXT + x % 0x3600,
            layout::REGION + 0x1_f000,
            fill,
        );
    }
    calls_still_work(&mut vm);
}

fn calls_still_work(vm: &mut Vm) {
    let mut p = vm.start(poke());
    for _ in 0..100 {
        call(vm.event(&mut p));
        p.thread.resume();
    }
}

// Writes rsi to [rdi], then calls 1000.
code!(
    poke,
    "2:",
    "mov rcx, rdi",
    "jrcxz 3f",
    "mov [rdi], rsi",
    "3:",
    "mov eax, 1000",
    "syscall",
    "jmp 2b"
);

fn forged_control_words() {
    let mut vm = Vm::new();
    let values = [
        0,
        1,
        2,
        3,
        4,
        5,
        17,
        0x1_ffff,
        0x8000_0000,
        u64::MAX,
        0x7fff_ffff_ffff_ffff,
    ];
    for off in (0..0x400u64).step_by(8).chain((0x800..0xc00).step_by(64)) {
        for value in values {
            let mut p = vm.load(poke());
            let mut r = p.thread.regs();
            r.rdi = layout::REGION + off;
            r.rsi = value;
            p.thread.set_regs(&r);
            p.thread.resume();
            // Twice through with the word as it is.
            for _ in 0..2 {
                let end = Instant::now() + Duration::from_millis(3);
                let mut seen = vm.try_token(p.token);
                while !seen && Instant::now() < end {
                    let max = Some(Duration::from_millis(1));
                    vm.platform.wait_timeout(0, &mut vm.tokens, max);
                    vm.platform.reap(&mut vm.tokens);
                    seen = vm.try_token(p.token);
                }
                if !seen {
                    break;
                }
                let _ = p.thread.event();
                let _ = p.thread.fpstate();
                let _ = p.thread.regs();
                let _ = p.thread.window().prefetched_cstr(DATA, 100);
                p.thread.resume();
            }
        }
    }
    calls_still_work(&mut vm);
}

code!(
    all_bits,
    "mov rdi, 0x7fff40000400",
    "mov rax, -1",
    "2:",
    "mov [rdi], rax",
    "add rdi, 8",
    "cmp edi, 0x40000c00",
    "jne 2b",
    "mov eax, 1000",
    "syscall",
    "jmp code_all_bits_begin",
);

fn forged_bits_for_every_slot() {
    let mut vm = Vm::new();
    let mut p = vm.start(all_bits());
    let mut q = vm.start(poke());
    for _ in 0..200 {
        for proc in [&mut p, &mut q] {
            vm.wait_token(proc.token);
            match proc.thread.event() {
                Event::Syscall { .. } | Event::Parked => proc.thread.resume(),
                Event::Dead { .. } | Event::Violation(_) => return calls_still_work(&mut vm),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(vm.platform.counters().violations > 0);
    calls_still_work(&mut vm);
}

// One thread scribbles over the slots (not their stacks' top, so that it goes
// on), another makes calls.
code!(
    scribble,
    "mov rdi, r15",
    "mov ecx, 0x18000",
    "2:",
    "imul rax, rax, 0x19660d",
    "add rax, 0x3c6ef35f",
    "mov [rdi + rcx], al",
    "dec rcx",
    "jns 2b",
    "jmp code_scribble_begin",
);
code!(
    two_kinds,
    "test rbx, rbx",
    "jnz 3f",
    "2:",
    "mov eax, 257",
    "mov esi, 0x800000",
    "syscall",
    "jmp 2b",
    "3:"
);

fn scribbling_over_the_region() {
    let mut vm = Vm::new();
    for seed in 0..30u64 {
        let code = [two_kinds(), scribble()].concat();
        let mut p = vm.load(&code);
        let mut other = p.thread.spawn_thread().expect("thread");
        let token = vm.name(&other);
        let mut r = p.thread.regs();
        r.rbx = 1;
        r.rax = seed;
        r.r15 = layout::REGION
            + if seed % 2 == 0 {
                0
            } else {
                layout::SLOT_STRIDE
            };
        other.set_regs(&r);
        other.resume();
        p.thread.resume();
        let end = Instant::now() + Duration::from_millis(50);
        while Instant::now() < end {
            let max = Some(Duration::from_millis(5));
            vm.platform.wait_timeout(0, &mut vm.tokens, max);
            vm.platform.reap(&mut vm.tokens);
            if vm.try_token(p.token) {
                if matches!(p.thread.event(), Event::Dead { .. } | Event::Violation(_)) {
                    break;
                }
                let _ = p.thread.window().prefetched_cstr(DATA, 4096);
                p.thread.window().queue_write(DATA, b"out");
                p.thread.resume();
            }
            if vm.try_token(token) {
                if matches!(other.event(), Event::Dead { .. } | Event::Violation(_)) {
                    break;
                }
                other.resume();
            }
        }
        p.space.kill();
    }
    calls_still_work(&mut vm);
}

fn unmapping_the_region() {
    let mut vm = Vm::new();
    let e = from_text(
        &mut vm,
        [11, layout::REGION, layout::REGION_LEN, 0, 0, 0, 0],
    );
    assert!(matches!(e, Event::Dead { .. }), "{e:?}");
    let e = from_text(&mut vm, [9, layout::REGION, 0x2_0000, 3, 0x32, u64::MAX, 0]);
    assert!(
        matches!(e, Event::Dead { .. } | Event::Fault { .. }),
        "{e:?}"
    );
    calls_still_work(&mut vm);
}

fn unmapping_the_text() {
    let mut vm = Vm::new();
    let e = from_text(&mut vm, [11, layout::TEXT, layout::TEXT_MAX, 0, 0, 0, 0]);
    assert!(matches!(e, Event::Dead { .. }), "{e:?}");
    calls_still_work(&mut vm);
}

fn forged_signal_frames() {
    let mut vm = Vm::new();
    // rt_sigreturn on the application's own stack: whatever it makes of
    // itself, it is an application still.
    for fill in [0u64, u64::MAX, CODE, layout::TEXT, 0x33] {
        let mut p = vm.load(jump_in());
        let bytes: Vec<u8> = std::iter::repeat_n(fill.to_le_bytes(), 0x400)
            .flatten()
            .collect();
        p.put(STACK_END - 0x3000, &bytes);
        p.put(DATA, &15u64.to_le_bytes());
        let mut r = p.thread.regs();
        r.rsp = STACK_END - 0x3000;
        r.r15 = layout::TEXT;
        p.thread.set_regs(&r);
        p.thread.resume();
        settle(&mut vm, p);
    }
    calls_still_work(&mut vm);
}

fn rogue_forks_end_with_their_parent() {
    let mut vm = Vm::new();
    // A fork that the Sentry didn't ask for, from the clone's own address:
    // the child finds no region to map.
    let e = from_text(&mut vm, [56, 0x8011, 0, 0, 0, 0, 0]);
    assert!(
        matches!(e, Event::Dead { .. } | Event::Fault { .. }),
        "{e:?}"
    );
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        vm.platform.reap(&mut vm.tokens);
        std::thread::sleep(Duration::from_millis(5));
    }
    calls_still_work(&mut vm);
}

// Forks through the `syscall` of the stub's futex wait, which goes on by six
// pops and a return to an address of the application's: both parent and child
// come back here, r15 times.
code!(
    rogue,
    "mov r12, 0x7fff00010000",
    "mov r13, 0xed85c38948050f", // syscall; mov rbx, rax; test ebp, ebp
    "mov r11, 0xffffffffffffff",
    "2:",
    "mov rax, [r12]",
    "and rax, r11",
    "cmp rax, r13",
    "je 3f",
    "inc r12",
    "jmp 2b",
    "3:",
    "mov r13d, 5",
    "4:",
    "lea rax, [rip + 5f]",
    "push rax",
    "push 0", // rbx
    "push 0", // rbp
    "push r12",
    "push r13",
    "push 0",
    "push 0",
    "push 0", // the number of the call
    "mov rax, rsp",
    "mov edi, 0x8011",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "mov eax, 56",
    "jmp r12",
    "5:",
    "dec r13d",
    "jnz 4b",
    "6:",
    "jmp 6b",
);

fn children() -> usize {
    let me = std::process::id();
    let ours = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ppid: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (ppid == me).then_some(())
    };
    let all = std::fs::read_dir("/proc").expect("proc").flatten();
    all.filter_map(|e| ours(e.file_name().to_str()?.parse().ok()?))
        .count()
}

fn surviving_rogues_end_with_their_parent() {
    let mut vm = Vm::new();
    let before = children();
    let mut honest = vm.start(poke());
    call(vm.event(&mut honest));
    let mut p = vm.start(rogue());
    until("rogue children", || children() >= before + 2 + 3);
    // A child that was asked for outlives all that.
    honest.thread.resume();
    call(vm.event(&mut honest));
    p.space.kill();
    assert!(matches!(vm.event(&mut p), Event::Dead { .. }));
    until("the end of the rogues", || {
        vm.platform.reap(&mut vm.tokens);
        children() <= before + 1
    });
    assert!(vm.platform.counters().violations >= 3);
    call(vm.go(&mut honest));
}

code!(
    say_hello,
    "mov r15, 0x7fff00010000",
    "2:",
    "cmp word ptr [r15], 0x050f",
    "je 3f",
    "inc r15",
    "jmp 2b",
    "3:",
    "mov eax, 44",
    "xor edi, edi",
    "mov esi, 0x800000",
    "mov edx, 1",
    "mov r10d, 0x4040",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "jmp r15",
);

fn hello_in_a_childs_place() {
    let mut vm = Vm::new();
    // A second hello on its own socket changes nothing: the pid is known.
    let mut p = vm.load(say_hello());
    let pid = p.space.host_pid();
    p.thread.resume();
    let space = p.space.clone();
    settle(&mut vm, p);
    assert!(space.is_dead() || space.host_pid() == pid || space.host_pid().is_none());
    calls_still_work(&mut vm);
}

fn doorbell_cannot_be_requeued() {
    let mut vm = Vm::new();
    let word = layout::DOORBELL + 0x40;
    for op in [3, 4] {
        let e = from_text(&mut vm, [202, word, op, 0, 1, DATA, 0]);
        assert_eq!(
            e,
            Event::Dead {
                status: SIGSYS_DEATH
            }
        );
    }
    calls_still_work(&mut vm);
}
