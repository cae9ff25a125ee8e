//! Applications that take their trampolines or slots apart.

use systrap::Event;

use super::*;

tests!(
    unmapped_trampolines_end_the_process,
    forged_words_end_nothing_else,
);

fn unmapped_trampolines_end_the_process() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_numbered());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    assert!(p.thread.actions().munmap(AREA, systrap::code_area_len()));
    match vm.answer(&mut p, 0) {
        Event::Fault { signo, .. } => assert_eq!(signo, libc::SIGSEGV),
        other => panic!("{other:?}"),
    }
}

// Scribbles over its slot's control words, then goes on.
code!(
    site_forges,
    "mov eax, 1000",
    "syscall",
    "rdgsbase rbx",
    "xor ecx, ecx",
    "2:",
    "mov r8, [0x800000]",
    "cmp ecx, 0x10", // all but the state
    "jb 3f",
    "mov [rbx + rcx], r8",
    "3:",
    "add ecx, 8",
    "cmp ecx, 0x100",
    "jb 2b",
    "mov eax, 1000",
    "syscall",
    "mov eax, 1000",
    "syscall",
    "ud2",
);

fn forged_words_end_nothing_else() {
    let mut vm = Vm::patching();
    let mut other = vm.start(site_numbered());
    patched(&mut vm, &mut other);
    for value in [0u64, 1, u64::MAX, 0x51a7_c0de, DATA, 0x7fff_0001_0000] {
        let mut p = vm.load(site_forges());
        p.put(DATA, &value.to_le_bytes());
        p.thread.resume();
        call(vm.event(&mut p));
        vm.patch(&mut p);
        p.thread.set_return(0);
        p.thread.resume();
        // Whatever comes of it, it comes, or the process is stuck by itself.
        let end = std::time::Instant::now() + std::time::Duration::from_millis(200);
        let mut out = Vec::new();
        while std::time::Instant::now() < end {
            let max = Some(std::time::Duration::from_millis(20));
            vm.platform.wait_timeout(0, &mut out, max);
            vm.platform.reap(&mut out);
            if out.contains(&p.token) {
                p.thread.event();
                break;
            }
        }
        drop(p);
        call(vm.answer(&mut other, 0));
    }
}
