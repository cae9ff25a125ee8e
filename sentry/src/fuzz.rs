//! Doors for the fuzzers in `tools/fuzz`: each takes bytes that an application could have chosen and runs what parses them.
//! They must neither panic nor run away. `cargo test` runs each for a while on numbers from a fixed seed.

use crate::net::inet::Stack;
use crate::net::netlink::{message, route};
use crate::strace;

/// A netlink datagram (netlink(7)), answered for an administrator and for anybody.
pub fn netlink(data: &[u8]) {
    let stack = Stack::default();
    for admin in [true, false] {
        for request in message::requests(data) {
            let asker = route::Asker { pid: 1, admin };
            let outcome = route::answer(&stack, asker, &request);
            message::error(&request, outcome.map(drop), 1, admin);
            for fixed in [0, 4, 8, 12, 16] {
                message::attribute_kinds(request.body, fixed);
                message::attribute(request.body, fixed, 3);
            }
        }
    }
}

/// A control buffer (cmsg(3)).
pub fn control(data: &[u8]) {
    let mut rest = data.len() + 1;
    for item in crate::syscalls::control::items(data) {
        let Ok((_, bytes)) = item else { break };
        assert!(bytes.len() <= data.len() && rest > 0);
        rest -= 1;
    }
}

/// A system call as `--strace` shows it: number, six arguments, result, and the memory that small addresses mean.
pub fn strace(data: &[u8]) {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        let from = data.get(at * 8..).unwrap_or_default();
        let n = from.len().min(8);
        bytes[..n].copy_from_slice(&from[..n]);
        u64::from_le_bytes(bytes)
    };
    let args: [u64; 6] = std::array::from_fn(|i| {
        let value = word(i + 2);
        // Most are to hit the memory.
        if value >> 56 & 3 == 0 {
            value
        } else {
            value % (data.len() as u64 + 1)
        }
    });
    let text = strace::decoded(data, word(0) % 470, &args, word(1));
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
}

#[cfg(test)]
mod tests {
    /// Inputs of all lengths from a fixed seed (xorshift): some random, some of small numbers, which pass more checks.
    fn feed(count: u32, target: fn(&[u8])) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..count {
            let len = next() % 300;
            let small = round % 3 != 0;
            let data: Vec<u8> = (0..len)
                .map(|i| match (small, i % 4) {
                    (true, 1..) => [0, 0, 0, 0, 0, 0, 0, 1][(next() % 8) as usize],
                    (true, _) => (next() % 80) as u8,
                    (false, _) => next() as u8,
                })
                .collect();
            target(&data);
        }
    }

    #[test]
    fn netlink_survives_noise() {
        feed(20_000, super::netlink);
    }

    #[test]
    fn control_buffers_survive_noise() {
        feed(50_000, super::control);
    }

    #[test]
    fn strace_survives_noise() {
        feed(50_000, super::strace);
    }
}
