//! From what is written to what the other side reads: output processing.

use super::chars;
use crate::tty::termios::{IUTF8, Modes, OCRNL, OLCUC, ONLCR, ONLRET, ONOCR, OPOST, TABDLY};
use arch::abi::Termios2;
use std::collections::VecDeque;

/// Bytes that a reader has within reach (N_TTY_BUF_SIZE of the master): a flush leaves them.
pub const REACH: usize = 4095;
/// Bytes on the way at most: those, and the port's buffer.
pub const LIMIT: usize = REACH + 8192;

/// What goes to the other side, and where its cursor is.
#[derive(Default)]
pub struct Output {
    data: VecDeque<u8>,
    /// Columns since the start of the line.
    pub column: usize,
    /// The column at which the line of input that is being typed starts.
    pub canon_column: usize,
    /// Nothing goes out: ^S, or TCOOFF.
    pub stopped: bool,
    /// TCOOFF: input doesn't start it again.
    pub held: bool,
}

/// A multi-byte character goes on.
pub fn is_continuation(c: u8, t: &Termios2) -> bool {
    t.i(IUTF8) && c & 0xc0 == 0x80
}

impl Output {
    /// Bytes that can be taken now.
    pub fn room(&self) -> usize {
        if self.stopped {
            0
        } else {
            LIMIT - self.data.len().min(LIMIT)
        }
    }

    /// Bytes that wait for the other side.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The first `max` bytes, taken.
    pub fn take(&mut self, max: usize) -> Vec<u8> {
        let n = max.min(self.data.len());
        self.data.drain(..n).collect()
    }

    /// The first `max` bytes.
    pub fn peek(&self, max: usize) -> Vec<u8> {
        self.data.iter().take(max).copied().collect()
    }

    /// Takes `n` bytes.
    pub fn advance(&mut self, n: usize) {
        self.data.drain(..n.min(self.data.len()));
    }

    /// Drops what is beyond the reader's reach.
    pub fn flush(&mut self) {
        self.data.truncate(REACH);
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.data.clear();
    }

    /// Appends without processing. The caller has looked for room.
    pub fn put(&mut self, bytes: &[u8]) {
        self.data.extend(bytes);
    }

    /// Writes what there is room for; how much of `bytes` that was.
    pub fn write(&mut self, t: &Termios2, bytes: &[u8]) -> usize {
        if !t.o(OPOST) {
            let n = bytes.len().min(self.room());
            self.put(&bytes[..n]);
            return n;
        }
        let plain = |c: u8| matches!(c, 0x20..=0x7e) && !t.o(OLCUC);
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let run = rest.iter().take_while(|c| plain(**c)).count();
            if run == 0 {
                if !self.process(t, rest[0]) {
                    break;
                }
                done += 1;
                continue;
            }
            let n = run.min(self.room());
            if n == 0 {
                break;
            }
            self.put(&rest[..n]);
            self.column += n;
            done += n;
        }
        done
    }

    /// One character with output processing (do_output_char); false if there is no room for what becomes of it.
    pub fn process(&mut self, t: &Termios2, c: u8) -> bool {
        let room = self.room();
        if room == 0 {
            return false;
        }
        let mut c = c;
        match c {
            b'\n' => {
                if t.o(ONLRET) {
                    self.column = 0;
                }
                if t.o(ONLCR) {
                    if room < 2 {
                        return false;
                    }
                    self.column = 0;
                    self.canon_column = 0;
                    self.put(b"\r\n");
                    return true;
                }
                self.canon_column = self.column;
            }
            b'\r' => {
                if t.o(ONOCR) && self.column == 0 {
                    return true;
                }
                let moves = if t.o(OCRNL) {
                    c = b'\n';
                    t.o(ONLRET)
                } else {
                    true
                };
                if moves {
                    self.column = 0;
                    self.canon_column = 0;
                }
            }
            b'\t' => {
                let spaces = 8 - (self.column & 7);
                if t.oflag & TABDLY == TABDLY {
                    if room < spaces {
                        return false;
                    }
                    self.column += spaces;
                    self.put(&[b' '; 8][..spaces]);
                    return true;
                }
                self.column += spaces;
            }
            0x08 => self.column = self.column.saturating_sub(1),
            _ if chars::is_control(c) => {}
            _ => {
                if t.o(OLCUC) {
                    c = chars::upper(c);
                }
                if !is_continuation(c, t) {
                    self.column += 1;
                }
            }
        }
        self.put(&[c]);
        true
    }
}
