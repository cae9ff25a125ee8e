//! Kicks at any instruction.

use systrap::{Event, Identity};

use super::*;

tests!(
    kicks_among_fast_calls,
    a_kick_at_every_instruction,
    a_kick_at_every_instruction_of_a_moved_one,
    a_futex_wait_is_interrupted,
);

fn kicks_among_fast_calls() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_everything());
    patched(&mut vm, &mut p);
    let slow = p.thread.regs();
    p.thread.resume();
    let kicker = p.thread.kicker();
    let code = CODE..CODE + site_everything().len() as u64;
    for i in 0..10_000u32 {
        for _ in 0..i % 64 * 8 {
            std::hint::spin_loop();
        }
        kicker.kick();
        let mut others = 0;
        loop {
            let e = vm.event(&mut p);
            let r = p.thread.regs();
            assert!(code.contains(&r.rip), "{:#x}", r.rip);
            assert_eq!((r.rsp, r.rbx, r.r15), (slow.rsp, slow.rbx, slow.r15));
            match e {
                Event::Kick => break,
                Event::Syscall { nr: 1000, .. } => others += 1,
                other => panic!("{other:?}"),
            }
            assert!(others <= 1, "kick {i} is late");
            p.thread.resume();
        }
        p.thread.resume();
    }
    let c = vm.platform.counters();
    assert!(c.fast_calls > c.sigsys, "{c:?}");
}

fn a_kick_at_every_instruction() {
    kick_everywhere(site_steps(), false);
}

fn a_kick_at_every_instruction_of_a_moved_one() {
    kick_everywhere(site_steps_moved(), true);
}

/// Stops the stub after each number of instructions, by ptrace, and kicks.
fn kick_everywhere(code: &'static [u8], moved: bool) {
    let mut vm = Vm::patching();
    let mut p = vm.load(code);
    let mut r = p.thread.regs();
    r.r14 = 39;
    p.thread.set_regs(&r);
    p.thread.resume();
    patched(&mut vm, &mut p);
    p.thread.set_identity(Some(&Identity {
        pid: 4711,
        ..Identity::default()
    }));
    p.thread.set_return(4711);
    p.thread.resume();
    let pid = p.space.host_pid().expect("told");
    let end = CODE + code.len() as u64;
    let range = CODE..end;
    let site = if moved { CODE + 9 } else { CODE + 11 };
    let kicker = p.thread.kicker();
    let mut inside = 0;
    let mut rounds = 0;
    let mut steps = 0;
    while steps < 400 {
        let Some(mut stub) = Tracee::stop(pid) else {
            return println!("no ptrace here");
        };
        // From the loop's start on.
        let mut n = 0;
        while stub.rip() != CODE {
            stub.step();
            n += 1;
            assert!(n < 2000, "never back");
        }
        for _ in 0..steps {
            stub.step();
        }
        let rip = stub.rip();
        inside += u32::from(!range.contains(&rip));
        let back = rip == CODE && steps > 0;
        kicker.kick();
        stub.go();
        assert_eq!(vm.event(&mut p), Event::Kick, "step {steps}, {rip:#x}");
        let r = p.thread.regs();
        assert!(range.contains(&r.rip), "step {steps}: {:#x}", r.rip);
        assert!(r.rsp == STACK_END - 64 && (r.rbx == r.r15 || r.rip < CODE + 6));
        if r.rip > site && r.rip < end - 2 {
            assert_eq!(r.rax, 4711);
        }
        assert!(r.r15 > rounds || steps < 2);
        rounds = r.r15;
        p.thread.resume();
        steps += 1;
        if back {
            break;
        }
    }
    assert!(inside > 50, "{inside} instructions outside of the text");
    // It still runs.
    std::thread::sleep(std::time::Duration::from_millis(2));
    kicker.kick();
    assert_eq!(vm.event(&mut p), Event::Kick);
    assert!(p.thread.regs().r15 > rounds);
}

/// A stub stopped by ptrace(2), and the signal that stopped it.
struct Tracee(i32, i32);

impl Tracee {
    fn stop(pid: i32) -> Option<Tracee> {
        // SAFETY: ptrace on a child of ours; no memory is involved.
        unsafe {
            if libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) != 0 {
                return None;
            }
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0), 0);
        }
        let mut t = Tracee(pid, 0);
        t.wait();
        Some(t)
    }

    fn wait(&mut self) {
        let mut status = 0;
        // SAFETY: `status` is writable.
        let r = unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) };
        assert!(r == self.0 && libc::WIFSTOPPED(status), "{status:#x}");
        // A signal on its way is let through with the next step.
        let signo = libc::WSTOPSIG(status);
        self.1 = if signo == libc::SIGTRAP { 0 } else { signo };
    }

    fn rip(&self) -> u64 {
        self.regs().rip
    }

    fn regs(&self) -> libc::user_regs_struct {
        // SAFETY: the call fills all of it.
        unsafe {
            let mut regs: libc::user_regs_struct = std::mem::zeroed();
            let r = libc::ptrace(libc::PTRACE_GETREGS, self.0, 0, &raw mut regs);
            assert_eq!(r, 0);
            regs
        }
    }

    fn step(&mut self) {
        const PUSHF: i64 = 0x9c;
        const FLAG_TF: i64 = 0x100;
        // SAFETY: no memory of ours is involved.
        unsafe {
            let insn = libc::ptrace(libc::PTRACE_PEEKTEXT, self.0, self.regs().rip, 0);
            let r = libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, self.1);
            assert_eq!(r, 0);
            self.wait();
            // The kernel takes what a popf may have set for the program's own.
            let mut regs = self.regs();
            if regs.eflags & 0x100 != 0 {
                regs.eflags &= !0x100;
                libc::ptrace(libc::PTRACE_SETREGS, self.0, 0, &raw const regs);
            }
            if insn & 0xff == PUSHF {
                // It has seen the flag that steps.
                let sp = self.regs().rsp;
                let flags = libc::ptrace(libc::PTRACE_PEEKDATA, self.0, sp, 0) & !FLAG_TF;
                libc::ptrace(libc::PTRACE_POKEDATA, self.0, sp, flags);
            }
        }
    }

    fn go(self) {
        // SAFETY: no memory is involved.
        let r = unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, self.1) };
        assert_eq!(r, 0);
    }
}

// futex(DATA, WAIT, 0): forever.
code!(
    site_waits,
    "2:",
    "mov edi, 0x800000",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "mov eax, 202",
    "syscall",
    "mov rdi, rax",
    "mov eax, 1000",
    "syscall",
    "jmp 2b",
);

fn a_futex_wait_is_interrupted() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_waits());
    for i in 0..200u32 {
        let until = std::time::Instant::now() + std::time::Duration::from_micros((i * 7).into());
        while (i % 3 != 0 && !p.thread.in_futex_wait()) || std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        p.thread.kicker().kick();
        match vm.event(&mut p) {
            Event::FutexInterrupted { nr, .. } => assert_eq!(nr, 202),
            // Before it.
            Event::Kick => {
                p.thread.resume();
                continue;
            }
            other => panic!("{other:?}"),
        }
        vm.patch(&mut p);
        let (nr, args) = call(vm.answer(&mut p, -4i64 as u64));
        assert_eq!((nr, args[0]), (1000, -4i64 as u64));
        vm.patch(&mut p);
        p.thread.resume();
    }
    let c = vm.platform.counters();
    assert!(c.fast_calls > 100, "{c:?}");
}
