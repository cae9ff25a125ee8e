//! Round trip of a system call that does nothing, application to Sentry and
//! back: `cargo run --release -p systrap --example null_call [CALLS] [patched]`.

#![expect(unsafe_code, reason = "machine code as test programs")]

#[path = "../tests/platform/support/mod.rs"]
mod support;

use std::time::Instant;

use support::*;

crate::code!(looping, "2:", "mov eax, 500", "syscall", "jmp 2b");

fn main() {
    let calls: u32 = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(200_000);
    let patched = std::env::args().any(|a| a == "patched");
    let mut vm = if patched { Vm::patching() } else { Vm::new() };
    let mut p = vm.start(looping());
    let mut best = f64::MAX;
    let mut all = Vec::new();
    for _ in 0..20 {
        let n = calls / 20;
        let start = Instant::now();
        for _ in 0..n {
            vm.platform.wait(0, &mut vm.tokens);
            if vm.tokens.pop().is_some() {
                p.thread.event();
                vm.patch(&mut p);
                p.thread.set_return(0);
                p.thread.resume();
            }
        }
        let us = start.elapsed().as_secs_f64() * 1e6 / f64::from(n);
        best = best.min(us);
        all.push(us);
    }
    all.sort_by(f64::total_cmp);
    println!("null call: min {best:.2} us, median {:.2} us", all[10]);
    println!("{:?}", vm.platform.counters());
}
