//! The program that measures inside the containers. `runsc-bench` starts it; see there.
#![deny(unsafe_code)]

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    runsc_bench::guest::main(&words);
}
