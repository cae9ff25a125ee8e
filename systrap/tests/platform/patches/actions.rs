//! Actions and copies of calls that came without a signal.

use systrap::Event;

use super::*;

tests!(
    actions_are_performed,
    prefetched_input_outlives_the_rewriting,
    a_full_window_leaves_room,
    a_failed_action_is_told,
    descriptors_while_kicked,
);

fn actions_are_performed() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_numbered());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    for i in 0..20u64 {
        let at = 0x100_0000 + i * 0x1000;
        assert!(p.thread.actions().mmap_anon(at, 0x1000, RW, 0));
        assert!(p.thread.actions().store_u32(at, 7, false));
        assert!(p.thread.window().queue_write(at + 8, b"hello"));
        call(vm.answer(&mut p, 0));
        assert_eq!(p.u32(at), 7);
        assert_eq!(p.u64(at + 8), u64::from_le_bytes(*b"hello\0\0\0"));
    }
    assert_eq!(vm.platform.counters().sigsys, 1);
}

// write(1, DATA, 16): its data is prefetched.
code!(
    site_writes,
    "mov edi, 1",
    "mov esi, 0x800000",
    "mov edx, 16",
    "2:",
    "mov eax, 1",
    "syscall",
    "jmp 2b",
);

fn prefetched_input_outlives_the_rewriting() {
    let mut vm = Vm::patching();
    let mut p = vm.load(site_writes());
    p.put(DATA, b"sixteen letters.");
    p.thread.resume();
    patched(&mut vm, &mut p);
    assert_eq!(vm.perform(&mut p), Event::Parked);
    let mut buf = [0; 16];
    assert!(p.thread.window().prefetched(DATA, &mut buf));
    assert_eq!(&buf, b"sixteen letters.");
    for _ in 0..3 {
        assert_eq!(call(vm.answer(&mut p, 16)).1[..3], [1, DATA, 16]);
        let mut buf = [0; 16];
        assert!(p.thread.window().prefetched(DATA, &mut buf));
        assert_eq!(&buf, b"sixteen letters.");
    }
    assert_eq!(vm.platform.counters().sigsys, 1);
}

/// The rewriting is asked for before the call fills the window.
fn a_full_window_leaves_room() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_moved());
    patched(&mut vm, &mut p);
    assert!(p.thread.actions().mmap_anon(0x100_0000, 0x2_0000, RW, 0));
    let mut n = 0;
    while p.thread.window().queue_write(0x100_0000 + n, &[7; 1000]) {
        n += 1000;
    }
    while p.thread.window().queue_write(0x100_0000 + n, &[7]) {
        n += 1;
    }
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1001);
    assert!(n > 20_000);
    assert_eq!(p.u64(0x100_0000 + n - 8), 0x0707_0707_0707_0707);
    assert_eq!(call(vm.answer(&mut p, 0)).0, 1000);
    assert_eq!(vm.platform.counters().fast_calls, 1);
}

fn a_failed_action_is_told() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_numbered());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    assert!(p.thread.actions().store_u32(0x1000, 7, false));
    p.thread.set_return(3);
    let e = vm.go(&mut p);
    let errno = libc::EFAULT;
    assert_eq!(e, Event::ActionFailed { index: 0, errno });
    call(vm.go(&mut p));
    assert!(p.thread.window().queue_write(0x1000, b"x"));
    assert_eq!(vm.go(&mut p), Event::WriteBackFault { addr: 0x1000 });
    call(vm.go(&mut p));
    assert_eq!(vm.platform.counters().sigsys, 1);
}

fn descriptors_while_kicked() {
    let mut vm = Vm::patching();
    let mut p = vm.start(site_numbered());
    patched(&mut vm, &mut p);
    call(vm.answer(&mut p, 0));
    let fd = memfd(&[1; 4096]);
    let kicker = p.thread.kicker();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                kicker.kick();
                std::thread::sleep(std::time::Duration::from_micros(20));
            }
        });
        for i in 0..500 {
            let private = libc::MAP_PRIVATE.cast_unsigned();
            let mut a = p.thread.actions();
            assert!(a.mmap_fd(&fd, 0, 0x100_0000, 0x1000, RW, private));
            p.thread.set_return(0);
            p.thread.resume();
            loop {
                match vm.event(&mut p) {
                    Event::Kick => p.thread.resume(),
                    Event::Syscall { nr: 1000, .. } => break,
                    other => panic!("{i}: {other:?}"),
                }
            }
            assert_eq!(p.u32(0x100_0000), 0x0101_0101);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
