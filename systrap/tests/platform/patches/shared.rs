//! Texts that are rewritten once for all processes.

use std::sync::Arc;

use systrap::{Event, Identity, Options, Patched, Regs, SharedText};

use super::*;

tests!(
    a_new_process_starts_out_rewritten,
    off_means_none,
    forks_share_it,
    old_code_leads_to_the_trampoline,
    threads_in_trampolines_are_shown_at_the_site,
    a_site_is_not_rewritten_twice,
    the_files_own_pages_may_take_its_place,
    nobody_can_write_it,
    own_bases_take_the_slow_way,
    kicks_among_shared_sites,
);

const LEN: u64 = 0x1_0000;

/// The copy of a text that starts with `code`, in an image that does too.
fn share(vm: &Vm, code: &[u8]) -> Arc<SharedText> {
    let shared = vm.platform.share_text(LEN, 0, give(code)).expect("a copy");
    Arc::new(shared.expect("has sites"))
}

/// Reads `code`, and int3 behind it.
fn give(code: &[u8]) -> impl FnMut(u64, &mut [u8]) -> std::io::Result<()> {
    |at, buf| {
        buf.fill(0xcc);
        let rest = code.get(at as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(())
    }
}

/// Maps it in the place of what the process has.
fn map(vm: &mut Vm, p: &mut Proc, text: &Arc<SharedText>) {
    let private = libc::MAP_PRIVATE.cast_unsigned();
    let area = text.area_of(CODE).expect("an address");
    p.space.forget_code(CODE, CODE + LEN);
    p.space.attach_text(CODE, text);
    let (len, room) = (text.len(), systrap::code_area_len());
    let mut a = p.thread.actions();
    assert!(a.mmap_fd(text.fd(), len, area, room, RX, private));
    assert!(a.mmap_fd(text.fd(), 0, CODE, len, RX, private));
    assert_eq!(vm.perform(p), Event::Parked);
}

/// A process that has it, about to start.
fn load(vm: &mut Vm, code: &'static [u8]) -> (Proc, Arc<SharedText>) {
    let text = share(vm, code);
    let mut p = vm.load(code);
    map(vm, &mut p, &text);
    (p, text)
}

fn a_new_process_starts_out_rewritten() {
    let mut vm = Vm::patching();
    let text = share(&vm, site_moved());
    assert_eq!(text.sites(), 2);
    for _ in 0..3 {
        let mut p = vm.load(site_moved());
        map(&mut vm, &mut p, &text);
        let (nr, _) = call(vm.go(&mut p));
        assert_eq!(nr, 1000);
        for i in 0..20u64 {
            let r = p.thread.regs();
            assert_eq!((r.rip, r.rcx), (CODE + 11, CODE + 11), "the text's own");
            assert_eq!(vm.patch(&mut p), None);
            let error = i % 2 == 1;
            let value = if error { -5i64 as u64 } else { i };
            let (nr, _) = call(vm.answer(&mut p, value));
            assert_eq!(nr, if error { 1002 } else { 1001 });
            assert_eq!(call(vm.answer(&mut p, 0)).0, 1000);
        }
    }
    // 1001 comes by a jump to the `syscall` behind the `mov` of 1002, which stays.
    let c = vm.platform.counters();
    assert_eq!((c.sigsys, c.patched, c.shared_sites), (3 * 10, 0, 2));
    assert_eq!(c.fast_calls, 3 * 31);
}

fn off_means_none() {
    let vm = Vm::with(&Options::default());
    assert!(!vm.platform.rewrites());
    let made = vm.platform.share_text(LEN, 0, give(site_numbered()));
    assert!(made.expect("no error").is_none());
}

fn forks_share_it() {
    let mut vm = Vm::patching();
    let (mut p, _text) = load(&mut vm, site_forks());
    assert_eq!(call(vm.go(&mut p)).0, 57);
    let mut child = fork(&mut vm, &mut p);
    assert_eq!(call(vm.go(&mut p)).1[0], 77);
    assert_eq!(call(vm.go(&mut child)).1[0], 0);
    let mut thread = child.thread.spawn_thread().expect("a thread");
    child.thread.set_return(5);
    thread.set_return(6);
    let mut r = thread.regs();
    r.rsp -= 0x1000;
    thread.set_regs(&r);
    let token = vm.name(&thread);
    let mut other = Proc::new(child.space.clone(), thread, token);
    assert_eq!(vm.perform(&mut child), Event::Parked);
    for p in [&mut child, &mut other] {
        assert_eq!(call(vm.go(p)).0, 57);
        assert_eq!(vm.patch(p), None);
    }
    // Each process and thread starts by a whole frame, and none by a trap.
    assert_eq!(vm.platform.counters().sigsys, 0);
}

/// Threads that stand after the old `syscall`, by their frame or by a jump.
fn old_code_leads_to_the_trampoline() {
    let mut vm = Vm::patching();
    let (mut p, _text) = load(&mut vm, site_moved());
    assert_eq!(call(vm.go(&mut p)).0, 1000);
    let at_site = p.thread.regs();
    for (value, wanted) in [(3, 1001), (-3i64 as u64, 1002)] {
        p.thread.set_regs(&Regs {
            rax: value,
            ..at_site
        });
        assert_eq!(call(vm.go(&mut p)).0, wanted);
        // Back before the call, as a restart does.
        p.thread.set_regs(&Regs {
            rax: 1000,
            rip: at_site.rip - 2,
            ..at_site
        });
        assert_eq!(call(vm.go(&mut p)).0, 1000);
        assert_eq!(p.thread.regs().rip, at_site.rip);
    }
    // A jump that the Sentry has no part in: mov ecx, CODE + 11; jmp rcx.
    assert!(p.thread.actions().mmap_anon(0x100_0000, 0x1000, RWX, 0));
    assert_eq!(vm.perform(&mut p), Event::Parked);
    p.put(0x100_0000, &[0xb9, 0x0b, 0, 0x40, 0, 0xff, 0xe1]);
    p.thread.set_regs(&Regs {
        rip: 0x100_0000,
        rax: 7,
        ..at_site
    });
    assert_eq!(vm.go(&mut p), Event::Kick);
    assert_eq!(p.thread.regs().rip, at_site.rip);
    assert_eq!(call(vm.go(&mut p)).0, 1001);
}

fn threads_in_trampolines_are_shown_at_the_site() {
    let mut vm = Vm::patching();
    let (mut p, text) = load(&mut vm, site_numbered());
    // The start of its one trampoline is where the site's jump goes.
    let mut jump = [0; 5];
    assert_eq!(p.space.read(CODE, &mut jump), 5);
    let rel = i32::from_le_bytes([jump[1], jump[2], jump[3], jump[4]]);
    let at = (CODE + 5).wrapping_add_signed(rel.into());
    assert!(at >= text.area_of(CODE).expect("one"));
    call(vm.go(&mut p));
    let r = p.thread.regs();
    for (rip, shown) in [(at, CODE), (at + 5, CODE + 5), (at + 12, CODE + 5)] {
        p.thread.set_regs(&Regs { rip, ..r });
        assert_eq!(p.thread.regs().rip, shown);
    }
    // And what a debugger reads is the file's.
    let mut seen = [0; 12];
    assert_eq!(p.space.read(CODE, &mut seen), 12);
    assert_eq!(seen[0], 0xe9);
    text.restore(0, &mut seen);
    assert_eq!(seen[..site_numbered().len()], *site_numbered());
}

fn a_site_is_not_rewritten_twice() {
    let mut vm = Vm::patching();
    let (mut p, _text) = load(&mut vm, site_numbered());
    call(vm.go(&mut p));
    // To the `syscall` itself, which is still there.
    for _ in 0..3 {
        let r = p.thread.regs();
        p.thread.set_regs(&Regs {
            rip: CODE + 5,
            rax: 1000,
            ..r
        });
        assert_eq!(call(vm.go(&mut p)).0, 1000);
        assert_eq!(vm.patch(&mut p), None);
    }
    let c = vm.platform.counters();
    assert_eq!((c.sigsys, c.patched), (3, 0));
}

fn the_files_own_pages_may_take_its_place() {
    let mut vm = Vm::patching();
    let (mut p, _text) = load(&mut vm, site_moved());
    assert_eq!(call(vm.go(&mut p)).0, 1000);
    // While it is in a call from a trampoline.
    let mut bytes = site_moved().to_vec();
    bytes.resize(LEN as usize, 0xcc);
    let fd = memfd(&bytes);
    let private = libc::MAP_PRIVATE.cast_unsigned();
    assert!(p.thread.actions().mmap_fd(&fd, 0, CODE, LEN, RX, private));
    p.space.forget_code(CODE, CODE + LEN);
    assert_eq!(call(vm.answer(&mut p, 5)).0, 1001);
    assert_eq!(vm.platform.counters().sigsys, 1);
    assert_eq!(call(vm.answer(&mut p, 5)).0, 1000);
    assert_eq!(p.thread.regs().rip, CODE + 11);
    // And is rewritten as any text is.
    assert_eq!(vm.patch(&mut p), Some(Patched::Queued));
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1000);
    assert_eq!(vm.patch(&mut p), None);
}

fn nobody_can_write_it() {
    let mut vm = Vm::patching();
    let (mut p, text) = load(&mut vm, site_numbered());
    let mut other = vm.load(site_numbered());
    map(&mut vm, &mut other, &text);
    call(vm.go(&mut p));
    let shared = libc::MAP_SHARED.cast_unsigned();
    let private = libc::MAP_PRIVATE.cast_unsigned();
    for prot in [RW, RWX] {
        let mut a = p.thread.actions();
        assert!(a.mmap_fd(text.fd(), 0, 0x100_0000, LEN, prot, shared));
        match vm.perform(&mut p) {
            Event::ActionFailed { index: 0, errno } => assert_eq!(errno, libc::EPERM),
            other => panic!("{other:?}"),
        }
    }
    // Mapped for reading it stays so.
    let mut a = p.thread.actions();
    assert!(a.mmap_fd(text.fd(), 0, 0x100_0000, LEN, RX, shared));
    assert!(a.mprotect(0x100_0000, LEN, RWX));
    match vm.perform(&mut p) {
        Event::ActionFailed { index: 1, errno } => assert_eq!(errno, libc::EACCES),
        other => panic!("{other:?}"),
    }
    // What a process writes to a mapping of its own is its own.
    let mut a = p.thread.actions();
    assert!(a.mmap_fd(text.fd(), 0, 0x100_0000, LEN, RWX, private));
    assert_eq!(vm.perform(&mut p), Event::Parked);
    p.put(0x100_0000, &[0x0f, 0x0b]);
    let mut seen = [0; 2];
    assert_eq!(other.space.read(CODE, &mut seen), 2);
    assert_ne!(seen, [0x0f, 0x0b]);
    assert_eq!(call(vm.go(&mut other)).0, 1000);
    // Nor can we.
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(text.fd().try_clone().expect("another"));
    assert!(file.write_at(&[0], 0).is_err());
    assert!(file.set_len(0).is_err());
}

code!(
    site_own_base,
    "mov eax, 0x800000",
    "wrgsbase rax",
    "2:",
    "mov eax, 1000",
    "syscall",
    "jmp 2b",
);

fn own_bases_take_the_slow_way() {
    let mut vm = Vm::patching();
    let (mut p, _text) = load(&mut vm, site_own_base());
    for i in 0..5 {
        let e = if i == 0 {
            vm.go(&mut p)
        } else {
            vm.answer(&mut p, 0)
        };
        assert_eq!(call(e).0, 1000);
        assert_eq!(vm.patch(&mut p), None);
        assert_eq!(p.thread.regs().gs_base, DATA);
    }
    let c = vm.platform.counters();
    assert_eq!((c.sigsys, c.fast_calls), (5, 0));
}

/// Both forms, with kicks at whatever instruction.
fn kicks_among_shared_sites() {
    for code in [site_steps(), site_steps_moved()] {
        let mut vm = Vm::patching();
        let (mut p, _text) = load(&mut vm, code);
        let mut r = p.thread.regs();
        r.r14 = 39;
        p.thread.set_regs(&r);
        p.thread.set_identity(Some(&Identity {
            pid: 4711,
            ..Identity::default()
        }));
        p.thread.resume();
        let kicker = p.thread.kicker();
        let range = CODE..CODE + code.len() as u64;
        let mut rounds = 0;
        for i in 0..3000u32 {
            for _ in 0..i % 64 * 8 {
                std::hint::spin_loop();
            }
            kicker.kick();
            assert_eq!(vm.event(&mut p), Event::Kick);
            let r = p.thread.regs();
            assert!(range.contains(&r.rip), "{:#x}", r.rip);
            assert!(r.rsp == STACK_END - 64 && r.r15 >= rounds);
            rounds = r.r15;
            p.thread.resume();
        }
        assert!(rounds > 0);
        assert_eq!(vm.platform.counters().sigsys, 0);
    }
}
