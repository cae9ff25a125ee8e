//! CPU exceptions.

use systrap::Event;

use crate::support::*;
use crate::{code, tests};

tests!(
    read_of_nothing,
    write_to_read_only,
    jump_to_nothing,
    divide_by_zero,
    breakpoint_and_single_step,
    illegal_instruction,
    non_canonical,
    bus_error_behind_a_file,
    fault_can_be_repaired,
    alignment_check_ends_only_the_process,
);

fn fault(e: Event) -> (i32, i32, u64, u64) {
    match e {
        Event::Fault {
            signo,
            code,
            addr,
            trapno,
            ..
        } => (signo, code, addr, trapno),
        other => panic!("a fault was expected, not {other:?}"),
    }
}

code!(read_bad, "mov rax, [0x123456]", "ud2");

fn read_of_nothing() {
    let mut vm = Vm::new();
    let mut p = vm.start(read_bad());
    let e = vm.event(&mut p);
    assert_eq!(fault(e), (libc::SIGSEGV, 1, 0x12_3456, 14)); // SEGV_MAPERR
    assert_eq!(p.thread.regs().rip, CODE);
    let Event::Fault { err, .. } = e else {
        panic!()
    };
    assert_eq!(err & 7, 4, "a read from user mode");
}

code!(write_bad, "mov dword ptr [0x800008], 5", "ud2");

fn write_to_read_only() {
    let mut vm = Vm::new();
    let mut p = vm.load(write_bad());
    p.thread.actions().mprotect(DATA, 0x1000, 1);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    let e = vm.go(&mut p);
    assert_eq!(fault(e), (libc::SIGSEGV, 2, DATA + 8, 14)); // SEGV_ACCERR
    let Event::Fault { err, .. } = e else {
        panic!()
    };
    assert_eq!(err & 2, 2, "a write");
}

code!(jump_bad, "mov eax, 0x555000", "jmp rax");

fn jump_to_nothing() {
    let mut vm = Vm::new();
    let mut p = vm.start(jump_bad());
    assert_eq!(fault(vm.event(&mut p)), (libc::SIGSEGV, 1, 0x55_5000, 14));
    assert_eq!(p.thread.regs().rip, 0x55_5000);
}

code!(
    divide,
    "xor edx, edx",
    "xor ecx, ecx",
    "mov eax, 1",
    "div ecx",
    "ud2"
);

fn divide_by_zero() {
    let mut vm = Vm::new();
    let mut p = vm.start(divide());
    let (signo, code, addr, trapno) = fault(vm.event(&mut p));
    assert_eq!((signo, code, trapno), (libc::SIGFPE, 1, 0)); // FPE_INTDIV
    assert_eq!(addr, p.thread.regs().rip);
}

code!(
    traps,
    "int3",
    "mov eax, 1000",
    "syscall",
    "nop",
    "nop",
    "ud2"
);

fn breakpoint_and_single_step() {
    let mut vm = Vm::new();
    let mut p = vm.start(traps());
    assert_eq!(fault(vm.event(&mut p)).0, libc::SIGTRAP);
    assert_eq!(p.thread.regs().rip, CODE + 1);
    assert_eq!(call(vm.go(&mut p)).0, 1000);
    let mut r = p.thread.regs();
    r.rflags |= 0x100;
    p.thread.set_regs(&r);
    for step in 1..3 {
        let (signo, code, ..) = fault(vm.go(&mut p));
        assert_eq!((signo, code), (libc::SIGTRAP, 2)); // TRAP_TRACE
        assert_eq!(p.thread.regs().rip, r.rip + step);
    }
}

code!(illegal, "ud2");

fn illegal_instruction() {
    let mut vm = Vm::new();
    let mut p = vm.start(illegal());
    let (signo, code, addr, trapno) = fault(vm.event(&mut p));
    assert_eq!((signo, code, addr, trapno), (libc::SIGILL, 2, CODE, 6));
}

code!(
    far_away,
    "mov rax, 0x1234567812345678",
    "mov rax, [rax]",
    "ud2"
);

fn non_canonical() {
    let mut vm = Vm::new();
    let mut p = vm.start(far_away());
    let (signo, code, addr, trapno) = fault(vm.event(&mut p));
    assert_eq!((signo, code, addr, trapno), (libc::SIGSEGV, 128, 0, 13)); // SI_KERNEL
}

code!(read_file, "mov al, [0x901000]", "ud2");

fn bus_error_behind_a_file() {
    let mut vm = Vm::new();
    let mut p = vm.load(read_file());
    let fd = memfd(b"short");
    p.thread.actions().mmap_fd(&fd, 0, 0x90_0000, 0x2000, 1, 2);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    assert_eq!(fault(vm.go(&mut p)), (libc::SIGBUS, 2, 0x90_1000, 14)); // BUS_ADRERR
}

code!(
    read_late,
    "mov edi, [0x900010]",
    "mov eax, 1000",
    "syscall",
    "ud2"
);

fn fault_can_be_repaired() {
    let mut vm = Vm::new();
    let mut p = vm.start(read_late());
    assert_eq!(fault(vm.event(&mut p)).2, 0x90_0010);
    p.thread.actions().mmap_anon(0x90_0000, 0x1000, RW, 0);
    p.thread
        .window()
        .queue_write(0x90_0010, &77u32.to_le_bytes());
    let (nr, args) = call(vm.go(&mut p));
    assert_eq!((nr, args[0]), (1000, 77));
}

code!(
    set_ac,
    "pushfq",
    "or qword ptr [rsp], 0x40000",
    "popfq",
    "mov eax, 257",
    "mov esi, 0x800001",
    "syscall",
    "mov eax, 1000",
    "syscall",
    "ud2",
);

fn alignment_check_ends_only_the_process() {
    let mut vm = Vm::new();
    let mut p = vm.load(set_ac());
    p.put(DATA + 1, b"/odd\0");
    assert_eq!(call(vm.go(&mut p)).0, 257);
    let path = p.thread.window().prefetched_cstr(DATA + 1, 100);
    assert_eq!(path.as_deref(), Some(&b"/odd"[..]));
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1000);
}
