//! A system call as --strace decodes it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sentry::fuzz::strace(data));
