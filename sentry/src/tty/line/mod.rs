//! The line discipline N_TTY (termios(3), drivers/tty/n_tty.c): pure state, no locks, no waiting.
//!
//! - [`input`]: bytes that wait to be read. [`edit`]: erase, kill, word erase. [`echo`]: echoes. [`output`]: output processing.
//!
//! [`Line`] puts them together: [`Line::receive`] takes what was typed, [`Line::read`] gives it to the reader,
//! [`Line::write`] takes what a program writes, and [`Line::out`] is what the other side is to see.

pub mod chars;
pub mod echo;
mod edit;
pub mod input;
pub mod output;
#[cfg(test)]
mod tests;

use super::termios::{
    self, DISABLED, ECHO, ECHOCTL, ECHONL, EXTPROC, ICANON, ICRNL, IEXTEN, IGNCR, INLCR, ISIG,
    ISTRIP, IUCLC, IXANY, IXON, Modes, NOFLSH, PARMRK, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL,
    VLNEXT, VMIN, VQUIT, VREPRINT, VSTART, VSTOP, VSUSP, VTIME, VWERASE,
};
use arch::abi::Termios2;
use arch::signal::Signal;
use echo::Echoes;
use input::Input;
use output::Output;
use smallvec::SmallVec;

/// Changes that packet mode reports (ioctl_tty(2) TIOCPKT).
pub mod packet {
    pub const FLUSH_READ: u8 = 1;
    pub const FLUSH_WRITE: u8 = 2;
    pub const STOP: u8 = 4;
    pub const START: u8 = 8;
    pub const NO_STOP: u8 = 16;
    pub const DO_STOP: u8 = 32;
    pub const IOCTL: u8 = 64;
}

/// Signals for the foreground process group, in order.
pub type Signals = SmallVec<[Signal; 2]>;

/// A terminal as a line discipline sees it.
pub struct Line {
    settings: Termios2,
    input: Input,
    echoes: Echoes,
    /// What the other side is to see.
    pub out: Output,
    /// The next character is taken literally.
    literal: bool,
    /// ECHOPRT: characters are being erased, the closing `/` has not been shown.
    erasing: bool,
    /// The other side wants to hear of changes.
    pub packet: bool,
    /// Changes that it has not heard of.
    pub status: u8,
    signals: Signals,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            settings: termios::initial(),
            input: Input::default(),
            echoes: Echoes::default(),
            out: Output::default(),
            literal: false,
            erasing: false,
            packet: false,
            status: 0,
            signals: Signals::new(),
        }
    }
}

impl Line {
    /// The settings.
    pub fn settings(&self) -> &Termios2 {
        &self.settings
    }

    /// Changes the settings (n_tty_set_termios, pty_set_termios).
    pub fn set_settings(&mut self, mut new: Termios2) {
        termios::normalize(&mut new);
        let old = std::mem::replace(&mut self.settings, new);
        if self.packet {
            let flow = |t: &Termios2| t.i(IXON) && t.cc[VSTOP] == 0o23 && t.cc[VSTART] == 0o21;
            if flow(&old) != flow(&new) {
                self.status &= !(packet::DO_STOP | packet::NO_STOP);
                self.status |= if flow(&new) {
                    packet::DO_STOP
                } else {
                    packet::NO_STOP
                };
            }
            if (old.lflag | new.lflag) & EXTPROC != 0 {
                self.status |= packet::IOCTL;
            }
        }
        if (old.lflag ^ new.lflag) & (ICANON | EXTPROC) != 0 {
            self.input.regroup(new.l(ICANON));
            self.erasing = false;
            self.literal = false;
        }
        if !new.i(IXON) && old.i(IXON) && !self.out.held {
            self.start();
            self.process_echoes();
        }
    }

    /// Lets output go on (start_tty).
    fn start(&mut self) {
        if self.out.stopped && !self.out.held {
            self.out.stopped = false;
            self.note(packet::START, packet::STOP);
        }
    }

    /// Stops output (stop_tty).
    fn stop(&mut self) {
        if !self.out.stopped {
            self.out.stopped = true;
            self.note(packet::STOP, packet::START);
        }
    }

    /// TCOOFF, TCOON.
    pub fn hold(&mut self, hold: bool) {
        if hold && !self.out.held {
            self.out.held = true;
            self.stop();
        } else if !hold && self.out.held {
            self.out.held = false;
            self.start();
            self.process_echoes();
        }
    }

    fn note(&mut self, set: u8, clear: u8) {
        if self.packet {
            self.status = self.status & !clear | set;
        }
    }

    /// Signals that input has raised since the last call.
    pub fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.signals)
    }

    /// Puts out echoes that waited for room.
    pub fn process_echoes(&mut self) {
        self.echoes.process(&self.settings, &mut self.out);
    }

    /// Takes what was typed; how much of it there was room for.
    pub fn receive(&mut self, data: &[u8]) -> usize {
        let mut done = 0;
        while done < data.len() {
            let free = input::SIZE - self.input.len();
            let free = if self.settings.i(PARMRK) {
                free.div_ceil(3)
            } else {
                free
            };
            let mut room = free.saturating_sub(1);
            if room == 0 {
                // A line that is too long loses its last characters, so that it can still end.
                if !self.settings.l(ICANON) || self.input.has_line() {
                    break;
                }
                if free == 0 {
                    self.input.pop();
                }
                room = 1;
            }
            let part = &data[done..(done + room).min(data.len())];
            done += part.len();
            self.receive_part(part);
        }
        if self.settings.lflag & (ECHO | ECHONL) != 0 {
            self.process_echoes();
        }
        done
    }

    /// No input needs a closer look (`raw` of n_tty.c).
    fn is_raw(&self) -> bool {
        let t = &self.settings;
        !t.i(ISTRIP | IUCLC | IGNCR | ICRNL | INLCR | IXON | PARMRK) && !t.l(ICANON | ISIG | ECHO)
    }

    fn receive_part(&mut self, part: &[u8]) {
        if self.is_raw() {
            part.iter().for_each(|c| self.input.push(*c));
            return;
        }
        for &c in part {
            let t = &self.settings;
            let mut c = c;
            if t.i(ISTRIP) {
                c &= 0x7f;
            }
            if t.i(IUCLC) && t.l(IEXTEN) {
                c = chars::lower(c);
            }
            if t.l(EXTPROC) {
                self.input.push(c);
            } else if std::mem::take(&mut self.literal) {
                self.ordinary(c);
            } else if self.is_special(c) {
                self.special(c);
            } else {
                self.ordinary(c);
            }
        }
    }

    /// `char_map` of n_tty.c.
    fn is_special(&self, c: u8) -> bool {
        let t = &self.settings;
        match c {
            b'\r' if t.i(IGNCR | ICRNL) => return true,
            b'\n' if t.i(INLCR) || t.l(ICANON) => return true,
            _ => {}
        }
        let any = |list: &[usize]| list.iter().any(|which| t.is_cc(*which, c));
        (t.l(ICANON) && any(&[VERASE, VKILL, VEOF, VEOL]))
            || (t.l(ICANON) && t.l(IEXTEN) && any(&[VWERASE, VLNEXT, VEOL2]))
            || (t.l(ICANON) && t.l(IEXTEN) && t.l(ECHO) && any(&[VREPRINT]))
            || (t.i(IXON) && any(&[VSTART, VSTOP]))
            || (t.l(ISIG) && any(&[VINTR, VQUIT, VSUSP]))
    }

    fn restart_on_any(&mut self) {
        if self.out.stopped && !self.out.held && self.settings.i(IXON) && self.settings.i(IXANY) {
            self.start();
            self.process_echoes();
        }
    }

    fn batch(&mut self) {
        if self.echoes.batch_full() {
            self.process_echoes();
        }
    }

    fn ordinary(&mut self, c: u8) {
        self.restart_on_any();
        if self.settings.l(ECHO) {
            self.finish_erasing();
            self.echo_typed(c);
        }
        self.store(c);
    }

    /// Echoes a character that becomes part of the line.
    fn echo_typed(&mut self, c: u8) {
        if self.input.partial() == 0 {
            self.echoes.set_canon_column();
        }
        self.echoes.char(&self.settings, c);
        self.batch();
    }

    fn store(&mut self, c: u8) {
        if c == 0xff && self.settings.i(PARMRK) {
            self.input.push(c);
        }
        self.input.push(c);
    }

    fn special(&mut self, c: u8) {
        let t = self.settings;
        if t.i(IXON) {
            if t.is_cc(VSTART, c) {
                self.start();
                self.process_echoes();
                return;
            }
            if t.is_cc(VSTOP, c) {
                self.stop();
                return;
            }
        }
        if t.l(ISIG) {
            let signal = if t.is_cc(VINTR, c) {
                Some(Signal::SIGINT)
            } else if t.is_cc(VQUIT, c) {
                Some(Signal::SIGQUIT)
            } else if t.is_cc(VSUSP, c) {
                Some(Signal::SIGTSTP)
            } else {
                None
            };
            if let Some(signal) = signal {
                return self.raise(signal, c);
            }
        }
        self.restart_on_any();
        let mut c = c;
        if c == b'\r' {
            if t.i(IGNCR) {
                return;
            }
            if t.i(ICRNL) {
                c = b'\n';
            }
        } else if c == b'\n' && t.i(INLCR) {
            c = b'\r';
        }
        if t.l(ICANON) && self.canonical(c) {
            return;
        }
        if t.l(ECHO) {
            self.finish_erasing();
            if c == b'\n' {
                self.echoes.raw(c);
                self.batch();
            } else {
                self.echo_typed(c);
            }
        }
        self.store(c);
    }

    /// A character that sends a signal (n_tty_receive_signal_char).
    fn raise(&mut self, signal: Signal, c: u8) {
        self.signals.push(signal);
        if !self.settings.l(NOFLSH) {
            self.echoes.clear();
            self.flush_output();
            self.flush_input();
        }
        if self.settings.i(IXON) {
            self.start();
        }
        if self.settings.l(ECHO) {
            self.echoes.char(&self.settings, c);
            self.batch();
        } else {
            self.process_echoes();
        }
    }

    /// Characters that mean something while a line is edited (n_tty_receive_char_canon); false: `c` is not one.
    fn canonical(&mut self, c: u8) -> bool {
        let t = self.settings;
        let extended = t.l(IEXTEN);
        if t.is_cc(VERASE, c) || t.is_cc(VKILL, c) || (extended && t.is_cc(VWERASE, c)) {
            self.erase(c);
            self.batch();
        } else if extended && t.is_cc(VLNEXT, c) {
            self.literal = true;
            if t.l(ECHO) {
                self.finish_erasing();
                if t.l(ECHOCTL) {
                    self.echoes.raw(b'^');
                    self.echoes.raw(8);
                    self.batch();
                }
            }
        } else if extended && t.l(ECHO) && t.is_cc(VREPRINT, c) {
            self.finish_erasing();
            self.echoes.char(&t, c);
            self.echoes.raw(b'\n');
            for c in self.input.partial_bytes() {
                self.echoes.char(&t, c);
            }
            self.batch();
        } else if c == b'\n' {
            if t.l(ECHO | ECHONL) {
                self.echoes.raw(c);
                self.batch();
            }
            self.input.end_line(c);
        } else if t.is_cc(VEOF, c) {
            self.input.end_line(DISABLED);
        } else if t.is_cc(VEOL, c) || (extended && t.is_cc(VEOL2, c)) {
            if t.l(ECHO) {
                self.echo_typed(c);
            }
            if c == 0xff && t.i(PARMRK) {
                self.input.push(c);
            }
            self.input.end_line(c);
        } else {
            return false;
        }
        true
    }

    /// Something can be read.
    pub fn readable(&self) -> bool {
        if self.settings.reads_lines() {
            self.input.has_line()
        } else {
            !self.input.is_empty()
        }
    }

    /// What poll(2) says of reading: without VTIME only once there are VMIN bytes.
    pub fn poll_readable(&self) -> bool {
        let min = usize::from(self.settings.cc[VMIN]);
        if self.settings.reads_lines() || self.settings.cc[VTIME] != 0 || min == 0 {
            return self.readable();
        }
        self.input.len() >= min
    }

    /// Takes up to `max` bytes; whether the read is over with them: a line has ended.
    pub fn read(&mut self, max: usize, to: &mut Vec<u8>) -> bool {
        if self.settings.reads_lines() {
            self.input.take_line(max, to)
        } else {
            self.input.take(max, to);
            false
        }
    }

    /// FIONREAD.
    pub fn input_bytes(&self) -> usize {
        if self.settings.reads_lines() {
            self.input.line_bytes()
        } else {
            self.input.len()
        }
    }

    /// Writes what there is room for.
    pub fn write(&mut self, data: &[u8]) -> usize {
        self.process_echoes();
        self.out.write(&self.settings, data)
    }

    /// Drops input that has not been read.
    pub fn flush_input(&mut self) {
        self.input.clear();
        self.erasing = false;
        self.note(packet::FLUSH_READ, 0);
    }

    /// Drops output that is not within the other side's reach yet.
    pub fn flush_output(&mut self) {
        self.out.flush();
        self.note(packet::FLUSH_WRITE, 0);
    }

    /// The last one who had it open has closed it: a hangup or the next open finds it as new, but for the settings.
    pub fn reset(&mut self) {
        self.input.clear();
        self.echoes.clear();
        self.erasing = false;
        self.literal = false;
        self.status = 0;
    }
}
