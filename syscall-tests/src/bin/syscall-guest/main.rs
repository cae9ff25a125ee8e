//! The guest program of the system call suite: all cases in one binary.
//!
//! A folder for each kernel area, a file for each call family; the file's name
//! is the first half of the case's name.

#![allow(
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

use syscall_tests::harness::Family;

fn families() -> Vec<Family> {
    [fd::FAMILIES, fs::FAMILIES].concat()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let status = match args.first().map(String::as_str) {
        Some("--helper") => helpers::main(&args[1..]),
        _ => syscall_tests::harness::main(&families(), &args),
    };
    std::process::exit(status);
}
