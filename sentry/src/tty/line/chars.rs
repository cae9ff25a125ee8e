//! Character classes as the kernel has them (lib/ctype.c): Latin-1.

/// A control character.
pub fn is_control(c: u8) -> bool {
    c < 0x20 || c == 0x7f
}

/// A letter or digit.
pub fn is_alnum(c: u8) -> bool {
    c.is_ascii_alphanumeric() || (c >= 0xc0 && c != 0xd7 && c != 0xf7)
}

/// tolower.
pub fn lower(c: u8) -> u8 {
    match c {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => c + 32,
        _ => c,
    }
}

/// toupper.
pub fn upper(c: u8) -> u8 {
    match c {
        b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xff => c - 32,
        _ => c,
    }
}
