//! Terminals, ioctl_tty(2).

abi_struct! {
    /// The kernel's `struct termios` (TCGETS).
    pub struct Termios: 36 {
        pub iflag: u32,
        pub oflag: u32,
        pub cflag: u32,
        pub lflag: u32,
        pub line: u8,
        pub cc: [u8; 19],
    }

    /// `struct termios2` (TCGETS2), with speeds in baud.
    pub struct Termios2: 44 {
        pub iflag: u32,
        pub oflag: u32,
        pub cflag: u32,
        pub lflag: u32,
        pub line: u8,
        pub cc: [u8; 19],
        pub ispeed: u32,
        pub ospeed: u32,
    }

    /// `struct termio` of System V (TCGETA).
    pub struct Termio: 18 {
        pub iflag: u16,
        pub oflag: u16,
        pub cflag: u16,
        pub lflag: u16,
        pub line: u8,
        pub cc: [u8; 8],
        pub pad0: u8,
    }

    /// `struct winsize` (TIOCGWINSZ), characters and pixels.
    pub struct Winsize: 8 {
        pub row: u16,
        pub col: u16,
        pub xpixel: u16,
        pub ypixel: u16,
    }
}

impl From<Termios2> for Termios {
    fn from(new: Termios2) -> Termios {
        Termios {
            iflag: new.iflag,
            oflag: new.oflag,
            cflag: new.cflag,
            lflag: new.lflag,
            line: new.line,
            cc: new.cc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<Termios2>(), size_of::<libc::termios2>());
        assert_eq!(size_of::<Winsize>(), size_of::<libc::winsize>());
        assert_eq!(
            memoffset::offset_of!(Termios2, ispeed),
            memoffset::offset_of!(libc::termios2, c_ispeed)
        );
    }
}
