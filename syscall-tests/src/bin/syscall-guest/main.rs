//! The guest program of the system call suite: all cases in one binary.
//!
//! A folder for each kernel area, a file for each call family; the file's name
//! is the first half of the case's name.

#![expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "cases do on purpose what safe code cannot; each is a process of its own"
)]
#![allow(
    clippy::unnecessary_cast,
    reason = "the C types of the same field differ between architectures"
)]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "a reference means a pointer argument, its value a number"
)]

mod fd;
mod fs;
mod helpers;
mod hostile;
mod mm;
mod net;
mod proc;
mod signal;
mod stress;
mod sync;
mod task;
mod time;
mod tty;

use syscall_tests::harness::Family;

fn families() -> Vec<Family> {
    [
        fd::FAMILIES,
        fs::FAMILIES,
        hostile::FAMILIES,
        mm::FAMILIES,
        net::FAMILIES,
        proc::FAMILIES,
        signal::FAMILIES,
        stress::FAMILIES,
        sync::FAMILIES,
        task::FAMILIES,
        time::FAMILIES,
        tty::FAMILIES,
    ]
    .concat()
}

fn main() {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let status = match args.first().map(String::as_str) {
        Some("--helper") => helpers::main(&args[1..]),
        _ => syscall_tests::harness::main(&families(), &args),
    };
    std::process::exit(status);
}
