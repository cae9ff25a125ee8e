//! Order between processes and threads of a case.

use crate::report::{errno_name, fail};
use crate::sys::{close, now_ms, pipe, poll1, read, write};
use libc::POLLIN;

/// How long a gate may stay closed, in milliseconds: less than a case may take.
const LIMIT_MS: i64 = 15_000;

/// A one-way gate over a pipe: works across fork and between threads.
#[derive(Clone, Copy)]
pub struct Gate {
    rd: i32,
    wr: i32,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        match pipe() {
            Ok((rd, wr)) => Self { rd, wr },
            Err(e) => fail(format_args!("pipe for a gate: {}", errno_name(e))),
        }
    }

    /// Lets one waiter through.
    pub fn open(&self) {
        self.send(b'.');
    }

    /// Waits until someone opened the gate.
    #[track_caller]
    pub fn wait(&self) {
        self.recv();
    }

    /// Lets one waiter through with a byte.
    pub fn send(&self, byte: u8) {
        if write(self.wr, &[byte]) != Ok(1) {
            fail("writing to a gate");
        }
    }

    /// Waits for a byte; fails the case when none comes.
    #[track_caller]
    pub fn recv(&self) -> u8 {
        let mut byte = [0];
        let end = now_ms() + LIMIT_MS;
        loop {
            // A signal may end it early.
            if poll1(self.rd, POLLIN, 100) == 0 {
                if now_ms() > end {
                    let at = std::panic::Location::caller();
                    fail(format_args!("nobody opened a gate ({at})"));
                }
                continue;
            }
            match read(self.rd, &mut byte) {
                Ok(1) => return byte[0],
                Err(libc::EINTR) => {}
                other => fail(format_args!("gate: {other:?}")),
            }
        }
    }

    /// Closes both ends in this process.
    pub fn close(&self) {
        let _ = close(self.rd);
        let _ = close(self.wr);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
