//! A netlink datagram.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sentry::fuzz::netlink(data));
