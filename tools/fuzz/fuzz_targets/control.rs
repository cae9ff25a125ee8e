//! A control buffer of sendmsg(2).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sentry::fuzz::control(data));
