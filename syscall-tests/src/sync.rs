//! Order between processes and threads of a case.

use crate::report::{errno_name, fail};
use crate::sys::{close, pipe, read, write};

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
    pub fn wait(&self) {
        self.recv();
    }

    /// Lets one waiter through with a byte.
    pub fn send(&self, byte: u8) {
        if write(self.wr, &[byte]) != Ok(1) {
            fail("writing to a gate");
        }
    }

    /// Waits for a byte.
    pub fn recv(&self) -> u8 {
        let mut byte = [0];
        loop {
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
