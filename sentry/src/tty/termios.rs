//! Terminal settings (termios(3), ioctl_tty(2)).

use arch::abi::{Termio, Termios, Termios2};

pub use libc::{
    ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, ECHONL, ECHOPRT, EXTPROC, ICANON, ICRNL, IEXTEN, IGNCR,
    INLCR, ISIG, ISTRIP, IUTF8, IXANY, IXON, NOFLSH, OCRNL, ONLCR, ONLRET, ONOCR, OPOST, PARMRK,
    TOSTOP,
};
pub use libc::{
    VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL, VLNEXT, VMIN, VQUIT, VREPRINT, VSTART, VSTOP, VSUSP,
    VTIME, VWERASE,
};

/// Map upper case to lower case on input.
pub const IUCLC: u32 = 0o1000;
/// Map lower case to upper case on output.
pub const OLCUC: u32 = 0o2;
/// Mask of tab delays; all of it: expand tabs to spaces.
pub const TABDLY: u32 = 0o14000;
/// A control character of this value is switched off.
pub const DISABLED: u8 = 0;

const CBAUD: u32 = 0o10017;
const CBAUDEX: u32 = 0o10000;
/// Where the input speed's bits are.
const IBSHIFT: u32 = 16;
/// The speed is in `ospeed`.
const BOTHER: u32 = 0o10000;
const RATES: [u32; 31] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600,
    115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000,
    2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
];

/// Settings of a new terminal (tty_std_termios, with the control modes of a pseudoterminal).
pub fn initial() -> Termios2 {
    let mut cc = [0; 19];
    cc[..16].copy_from_slice(b"\x03\x1c\x7f\x15\x04\x00\x01\x00\x11\x13\x1a\x00\x12\x0f\x17\x16");
    Termios2 {
        iflag: ICRNL | IXON,
        oflag: OPOST | ONLCR,
        cflag: libc::B38400 | libc::CS8 | libc::CREAD,
        lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        line: 0,
        cc,
        ispeed: 38400,
        ospeed: 38400,
    }
}

fn rate(bits: u32, other: u32) -> u32 {
    let bits = bits & CBAUD;
    if bits == BOTHER {
        return other;
    }
    let index = if bits & CBAUDEX != 0 {
        (bits & !CBAUDEX) + 15
    } else {
        bits
    };
    RATES.get(index as usize).copied().unwrap_or(0)
}

/// What the control modes say of the speeds goes to `ispeed` and `ospeed`; a pseudoterminal always has eight bits.
pub fn normalize(t: &mut Termios2) {
    t.ospeed = rate(t.cflag, t.ospeed);
    let input = t.cflag >> IBSHIFT;
    t.ispeed = if input & CBAUD == 0 {
        t.ospeed
    } else {
        rate(input, t.ispeed)
    };
    t.cflag &= !(libc::CSIZE | libc::PARENB);
    t.cflag |= libc::CS8 | libc::CREAD;
}

/// TCSETS: speeds that it can't express stay.
pub fn merge(old: &Termios2, new: &Termios) -> Termios2 {
    Termios2 {
        iflag: new.iflag,
        oflag: new.oflag,
        cflag: new.cflag,
        lflag: new.lflag,
        line: new.line,
        cc: new.cc,
        ..*old
    }
}

/// TCSETA: the low halves of the flags, and eight control characters.
pub fn merge_termio(old: &Termios2, new: &Termio) -> Termios2 {
    let half = |old: u32, new: u16| old & 0xffff_0000 | u32::from(new);
    let mut cc = old.cc;
    cc[..8].copy_from_slice(&new.cc);
    Termios2 {
        iflag: half(old.iflag, new.iflag),
        oflag: half(old.oflag, new.oflag),
        cflag: half(old.cflag, new.cflag),
        lflag: half(old.lflag, new.lflag),
        line: new.line,
        cc,
        ..*old
    }
}

/// TCGETA.
pub fn to_termio(t: &Termios2) -> Termio {
    let mut cc = [0; 8];
    cc.copy_from_slice(&t.cc[..8]);
    let low = |n: u32| (n & 0xffff) as u16;
    Termio {
        iflag: low(t.iflag),
        oflag: low(t.oflag),
        cflag: low(t.cflag),
        lflag: low(t.lflag),
        line: t.line,
        cc,
        pad0: 0,
    }
}

/// Questions that the line discipline asks of the settings.
pub trait Modes {
    /// An input mode is set.
    fn i(&self, flag: u32) -> bool;
    /// An output mode is set.
    fn o(&self, flag: u32) -> bool;
    /// A local mode is set.
    fn l(&self, flag: u32) -> bool;
    /// `c` is this control character, and that isn't switched off.
    fn is_cc(&self, which: usize, c: u8) -> bool;
    /// Lines are edited and end with a newline: ICANON without EXTPROC.
    fn reads_lines(&self) -> bool;
}

impl Modes for Termios2 {
    fn i(&self, flag: u32) -> bool {
        self.iflag & flag != 0
    }
    fn o(&self, flag: u32) -> bool {
        self.oflag & flag != 0
    }
    fn l(&self, flag: u32) -> bool {
        self.lflag & flag != 0
    }
    fn is_cc(&self, which: usize, c: u8) -> bool {
        c != DISABLED && self.cc[which] == c
    }
    fn reads_lines(&self) -> bool {
        self.lflag & (ICANON | EXTPROC) == ICANON
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_follow_the_control_modes() {
        let mut t = initial();
        t.cflag = libc::B115200 | libc::CS7 | libc::PARENB;
        normalize(&mut t);
        assert_eq!((t.ispeed, t.ospeed), (115_200, 115_200));
        assert_eq!(t.cflag, libc::B115200 | libc::CS8 | libc::CREAD);
        t.cflag = BOTHER;
        t.ospeed = 12345;
        normalize(&mut t);
        assert_eq!((t.ispeed, t.ospeed), (12345, 12345));
        t.cflag = libc::B4000000 | (libc::B9600 << IBSHIFT);
        normalize(&mut t);
        assert_eq!((t.ispeed, t.ospeed), (9600, 4_000_000));
        t.cflag = libc::B0;
        normalize(&mut t);
        assert_eq!(t.ospeed, 0);
    }

    #[test]
    fn termio_changes_only_what_it_has() {
        let mut old = initial();
        old.iflag |= 0x10_0000;
        let mut termio = to_termio(&old);
        termio.lflag = 0;
        termio.cc[0] = 7;
        let new = merge_termio(&old, &termio);
        assert_eq!(new.iflag, old.iflag);
        assert_eq!(new.lflag, old.lflag & 0xffff_0000);
        assert_eq!((new.cc[0], new.cc[8]), (7, old.cc[8]));
    }
}
