//! Echoes that wait for room.

use super::chars;
use super::output::Output;
use crate::tty::termios::{ECHOCTL, Modes, OPOST};
use arch::abi::Termios2;
use std::collections::VecDeque;

/// Echoes kept at most (N_TTY_BUF_SIZE); the oldest go first.
const LIMIT: usize = 4096;
/// So many make a batch (ECHO_COMMIT_WATERMARK).
const BATCH: usize = 256;

/// One step of an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Echo {
    /// A character, with output processing.
    Char(u8),
    /// `^X` for a control character.
    Control(u8),
    /// Back over a tab, which stood behind so many columns of input; whether those follow another tab.
    EraseTab { columns: usize, after_tab: bool },
    /// The line of input starts here.
    SetCanonColumn,
    /// The cursor is one column to the left of what was counted.
    MoveBack,
}

/// The queue.
#[derive(Default)]
pub struct Echoes {
    queue: VecDeque<Echo>,
}

impl Echoes {
    fn add(&mut self, echo: Echo) {
        if self.queue.len() >= LIMIT {
            self.queue.pop_front();
        }
        self.queue.push_back(echo);
    }

    /// The character itself (echo_char_raw).
    pub fn raw(&mut self, c: u8) {
        self.add(Echo::Char(c));
    }

    /// The character, control characters as `^X` if ECHOCTL is set (echo_char).
    pub fn char(&mut self, t: &Termios2, c: u8) {
        if t.l(ECHOCTL) && chars::is_control(c) && c != b'\t' {
            self.add(Echo::Control(c));
        } else {
            self.add(Echo::Char(c));
        }
    }

    /// See [`Echo::EraseTab`].
    pub fn erase_tab(&mut self, columns: usize, after_tab: bool) {
        self.add(Echo::EraseTab {
            columns: columns & 7,
            after_tab,
        });
    }

    /// The line of input starts at the cursor.
    pub fn set_canon_column(&mut self) {
        self.add(Echo::SetCanonColumn);
    }

    /// The character before took no column of its own.
    pub fn move_back(&mut self) {
        self.add(Echo::MoveBack);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Enough wait to be worth a batch.
    pub fn batch_full(&self) -> bool {
        self.queue.len() >= BATCH
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Puts out what there is room for (__process_echoes).
    pub fn process(&mut self, t: &Termios2, out: &mut Output) {
        while let Some(echo) = self.queue.front() {
            let room = out.room();
            match *echo {
                Echo::Char(c) if t.o(OPOST) && c != 0xff => {
                    if !out.process(t, c) {
                        return;
                    }
                }
                Echo::Char(c) => {
                    if room < 1 {
                        return;
                    }
                    out.put(&[c]);
                    if c == 0xff {
                        out.column += 1;
                    }
                }
                Echo::Control(c) => {
                    if room < 2 {
                        return;
                    }
                    out.put(&[b'^', c ^ 0o100]);
                    out.column += 2;
                }
                Echo::EraseTab { columns, after_tab } => {
                    let from = if after_tab { 0 } else { out.canon_column };
                    let back = 8 - ((columns + from) & 7);
                    if room < back {
                        return;
                    }
                    out.put(&[8; 8][..back]);
                    out.column = out.column.saturating_sub(back);
                }
                Echo::SetCanonColumn => out.canon_column = out.column,
                Echo::MoveBack => out.column = out.column.saturating_sub(1),
            }
            self.queue.pop_front();
        }
    }
}
