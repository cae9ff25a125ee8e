//! Rewritten call sites: no signal from the second call on, and nothing that
//! an application could tell.

pub mod actions;
pub mod forms;
pub mod hostile;
pub mod kicks;
pub mod shared;
pub mod states;
pub mod threads;

use systrap::Patched;

pub(crate) use crate::support::*;
pub(crate) use crate::{code, tests};

code!(site_numbered, "2:", "mov eax, 1000", "syscall", "jmp 2b");

code!(site_elsewhere, "2:", "mov eax, 1003", "syscall", "jmp 2b");

// The number comes from elsewhere, as in libc's read and syscall().
code!(
    site_moved,
    "2:",
    "mov r15d, 1000",
    "mov rax, r15",
    "syscall",
    "cmp rax, -4096",
    "ja 3f",
    "mov eax, 1001",
    "jmp 4f",
    "3:",
    "mov eax, 1002",
    "4:",
    "syscall",
    "jmp 2b",
);

// Every register, the flags, the red zone and the direction.
code!(
    site_everything,
    "mov rbx, 0x1111111111111111",
    "mov rbp, 0x2222222222222222",
    "mov rdi, 0x3333333333333333",
    "mov rsi, 0x4444444444444444",
    "mov rdx, 0x5555555555555555",
    "mov r8, 0x6666666666666666",
    "mov r9, 0x7777777777777777",
    "mov r10, 0x888888888888888",
    "mov r12, 0x999999999999999",
    "mov r13, 0xaaaaaaaaaaaaaaa",
    "mov r14, 0xbbbbbbbbbbbbbbb",
    "mov r15, 0xccccccccccccccc",
    "mov qword ptr [rsp - 8], 0x12345678",
    "mov qword ptr [rsp - 128], 0x23456789",
    "2:",
    "std",
    "stc",
    "mov eax, 1000",
    "syscall",
    "jmp 2b",
);

code!(
    site_forks,
    "2:",
    "mov eax, 57",
    "syscall",
    "mov rdi, rax",
    "mov eax, 1000",
    "syscall",
    "jmp 2b",
);

// getpid, answered in the stub, by both forms; r15 counts rounds.
code!(
    site_steps,
    "2:",
    "inc r15",
    "mov rbx, r15",
    "mov eax, 39",
    "syscall",
    "cmp rax, 4711",
    "jne 3f",
    "cmp rbx, r15",
    "jne 3f",
    "jmp 2b",
    "3:",
    "ud2",
);

code!(
    site_steps_moved,
    "2:",
    "inc r15",
    "mov rbx, r15",
    "mov rax, r14",
    "syscall",
    "cmp rax, 4711",
    "jne 3f",
    "cmp rbx, r15",
    "jne 3f",
    "jmp 2b",
    "3:",
    "ud2",
);

/// Runs to the first event, rewrites, and counts from there.
fn patched(vm: &mut Vm, p: &mut Proc) {
    call(vm.event(p));
    assert_eq!(vm.patch(p), Some(Patched::Queued));
}

fn fork(vm: &mut Vm, p: &mut Proc) -> Proc {
    let (space, mut thread) = p.thread.fork().expect("fork");
    thread.set_return(0);
    p.thread.set_return(77);
    let token = vm.name(&thread);
    Proc::new(space, thread, token)
}
