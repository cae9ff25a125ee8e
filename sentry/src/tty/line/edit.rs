//! Erasing what has been typed (eraser of n_tty.c).

use super::output::is_continuation;
use super::{Line, chars};
use crate::tty::termios::{
    ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, ECHOPRT, Modes, VERASE, VKILL, VWERASE,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Char,
    Word,
    Line,
}

impl Line {
    /// Shows the `/` that ends what ECHOPRT has shown as erased.
    pub(super) fn finish_erasing(&mut self) {
        if std::mem::take(&mut self.erasing) {
            self.echoes.raw(b'/');
        }
    }

    /// Does what the erase, word-erase or kill character `c` asks for.
    pub(super) fn erase(&mut self, c: u8) {
        let t = self.settings;
        if self.input.partial() == 0 {
            return;
        }
        let kind = if t.is_cc(VERASE, c) {
            Kind::Char
        } else if t.is_cc(VWERASE, c) {
            Kind::Word
        } else {
            if !t.l(ECHO) {
                self.input.drop_partial();
                return;
            }
            if !(t.l(ECHOK) && t.l(ECHOKE) && t.l(ECHOE)) {
                self.input.drop_partial();
                self.finish_erasing();
                self.echoes.char(&t, t.cc[VKILL]);
                if t.l(ECHOK) {
                    self.echoes.raw(b'\n');
                }
                return;
            }
            Kind::Line
        };
        let mut in_word = false;
        while self.input.partial() > 0 {
            // One character, of several bytes perhaps.
            let mut count = 0;
            let mut first = 0;
            for c in self.input.partial_bytes().rev() {
                first = c;
                count += 1;
                if !is_continuation(c, &t) {
                    break;
                }
            }
            if is_continuation(first, &t) {
                break;
            }
            if kind == Kind::Word {
                if chars::is_alnum(first) || first == b'_' {
                    in_word = true;
                } else if in_word {
                    break;
                }
            }
            let mut rest: smallvec::SmallVec<[u8; 4]> = smallvec::SmallVec::new();
            for _ in 0..count {
                rest.extend(self.input.pop());
            }
            rest.reverse();
            if t.l(ECHO) {
                self.show_erased(kind, first, &rest[1..]);
            }
            if kind == Kind::Char {
                break;
            }
        }
        if self.input.partial() == 0 && t.l(ECHO) {
            self.finish_erasing();
        }
    }

    /// Echoes that a character, `first` and the bytes in `rest`, has been erased.
    fn show_erased(&mut self, kind: Kind, first: u8, rest: &[u8]) {
        let t = self.settings;
        let rub_out = |line: &mut Self| [8, b' ', 8].iter().for_each(|c| line.echoes.raw(*c));
        if t.l(ECHOPRT) {
            if !self.erasing {
                self.echoes.raw(b'\\');
                self.erasing = true;
            }
            self.echoes.char(&t, first);
            for c in rest {
                self.echoes.raw(*c);
                self.echoes.move_back();
            }
        } else if kind == Kind::Char && !t.l(ECHOE) {
            self.echoes.char(&t, t.cc[VERASE]);
        } else if first == b'\t' {
            // How far to go back depends on the columns since the last tab, or else since the start of the input.
            let mut columns = 0;
            let mut after_tab = false;
            for c in self.input.partial_bytes().rev() {
                if c == b'\t' {
                    after_tab = true;
                    break;
                }
                if chars::is_control(c) {
                    if t.l(ECHOCTL) {
                        columns += 2;
                    }
                } else if !is_continuation(c, &t) {
                    columns += 1;
                }
            }
            self.echoes.erase_tab(columns, after_tab);
        } else {
            let control = chars::is_control(first);
            if control && t.l(ECHOCTL) {
                rub_out(self);
            }
            if !control || t.l(ECHOCTL) {
                rub_out(self);
            }
        }
    }
}
