//! The platform driven by a tiny Sentry, with hand-written machine code as
//! applications.
//!
//! Every test runs in a process of its own, because the platform forks and
//! reaps children; afterwards nothing may be left: no process, no descriptor.
#![expect(unsafe_code, reason = "machine code as test programs")]

mod calls;
mod faults;
mod forks;
mod futexes;
mod hostile;
mod kicks;
mod memory;
mod patches;
mod runner;
mod states;
mod support;
mod threads;
mod watched;

/// Name and function of each test.
type Test = (&'static str, fn());

#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[$crate::Test] = &[$((concat!(module_path!(), "::", stringify!($name)), $name),)*];
    };
}

fn main() -> std::process::ExitCode {
    let all: Vec<Test> = [
        calls::TESTS,
        faults::TESTS,
        forks::TESTS,
        futexes::TESTS,
        hostile::TESTS,
        kicks::TESTS,
        memory::TESTS,
        patches::actions::TESTS,
        patches::forms::TESTS,
        patches::hostile::TESTS,
        patches::kicks::TESTS,
        patches::shared::TESTS,
        patches::states::TESTS,
        patches::threads::TESTS,
        states::TESTS,
        threads::TESTS,
        watched::TESTS,
    ]
    .concat();
    runner::main(&all)
}
