//! Bytes that wait to be read, with the ends of lines.

use std::collections::VecDeque;

/// N_TTY_BUF_SIZE.
pub const SIZE: usize = 4096;

#[derive(Clone, Copy)]
struct Slot {
    byte: u8,
    /// A line ends here; a NUL that ends one is an end of file and is not read.
    end: bool,
}

/// The buffer.
#[derive(Default)]
pub struct Input {
    slots: VecDeque<Slot>,
    /// Bytes that belong to complete lines.
    complete: usize,
}

impl Input {
    /// All bytes, those of the line being typed included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Nothing is there.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// There is a complete line.
    pub fn has_line(&self) -> bool {
        self.complete > 0
    }

    /// Length of the line being typed.
    pub fn partial(&self) -> usize {
        self.slots.len() - self.complete
    }

    /// The bytes of the line being typed.
    pub fn partial_bytes(&self) -> impl DoubleEndedIterator<Item = u8> + '_ {
        self.slots.range(self.complete..).map(|s| s.byte)
    }

    /// Appends a byte.
    pub fn push(&mut self, byte: u8) {
        self.slots.push_back(Slot { byte, end: false });
    }

    /// Appends the byte that ends a line.
    pub fn end_line(&mut self, byte: u8) {
        self.slots.push_back(Slot { byte, end: true });
        self.complete = self.slots.len();
    }

    /// Takes back the last byte of the line being typed.
    pub fn pop(&mut self) -> Option<u8> {
        if self.partial() == 0 {
            return None;
        }
        self.slots.pop_back().map(|s| s.byte)
    }

    /// Drops the line being typed.
    pub fn drop_partial(&mut self) {
        self.slots.truncate(self.complete);
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.complete = 0;
    }

    /// What is there becomes one line (ICANON is being set), or just bytes.
    pub fn regroup(&mut self, lines: bool) {
        for slot in &mut self.slots {
            slot.end = false;
        }
        self.complete = 0;
        if let (true, Some(last)) = (lines, self.slots.back_mut()) {
            last.end = true;
            self.complete = self.slots.len();
        }
    }

    /// Takes up to `max` bytes of the first line; whether the line ended.
    pub fn take_line(&mut self, max: usize, to: &mut Vec<u8>) -> bool {
        let mut left = max;
        while left > 0 && self.complete > 0 {
            let Some(slot) = self.slots.pop_front() else {
                return true;
            };
            self.complete -= 1;
            if !(slot.end && slot.byte == 0) {
                to.push(slot.byte);
                left -= 1;
            }
            if slot.end {
                return true;
            }
        }
        // A read that ends just before an end of file eats that.
        if left == 0
            && max > 0
            && self
                .slots
                .front()
                .is_some_and(|s| self.complete > 0 && s.end && s.byte == 0)
        {
            self.slots.pop_front();
            self.complete -= 1;
            return true;
        }
        false
    }

    /// Takes up to `max` bytes.
    pub fn take(&mut self, max: usize, to: &mut Vec<u8>) {
        let n = max.min(self.slots.len());
        to.extend(self.slots.drain(..n).map(|s| s.byte));
        self.complete = self.complete.saturating_sub(n);
    }

    /// Bytes that reads of lines would give now.
    pub fn line_bytes(&self) -> usize {
        let lines = self.slots.range(..self.complete);
        lines.filter(|s| !(s.end && s.byte == 0)).count()
    }
}
