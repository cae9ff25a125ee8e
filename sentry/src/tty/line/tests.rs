//! What is typed, what is seen, what is read.

use super::*;
use crate::tty::termios::{
    ECHOE, ECHOK, ECHOKE, ECHOPRT, IUTF8, OCRNL, OLCUC, ONLCR, ONLRET, ONOCR, OPOST, TABDLY,
};

/// A line with changed settings.
fn line(change: impl FnOnce(&mut Termios2)) -> Line {
    let mut line = Line::default();
    let mut t = *line.settings();
    change(&mut t);
    line.set_settings(t);
    line
}

fn seen(line: &mut Line) -> Vec<u8> {
    line.out.take(usize::MAX)
}

/// Reads of up to `max` bytes until there is nothing more; an empty one is an end of file.
fn reads(line: &mut Line, max: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while line.readable() {
        let mut one = Vec::new();
        line.read(max, &mut one);
        all.push(one);
    }
    all
}

fn check(change: impl FnOnce(&mut Termios2), typed: &[u8], echo: &[u8], read: &[&[u8]]) {
    let mut line = line(change);
    assert_eq!(line.receive(typed), typed.len());
    let show = |b: &[u8]| b.escape_ascii().to_string();
    assert_eq!(
        show(&seen(&mut line)),
        show(echo),
        "echo of {}",
        show(typed)
    );
    let got: Vec<_> = reads(&mut line, 100).iter().map(|r| show(r)).collect();
    let want: Vec<_> = read.iter().map(|r| show(r)).collect();
    assert_eq!(got, want, "reads of {}", show(typed));
}

const fn none(_: &mut Termios2) {}

#[test]
fn lines_are_echoed_and_read_one_by_one() {
    check(none, b"ab\ncd\r", b"ab\r\ncd\r\n", &[b"ab\n", b"cd\n"]);
    check(none, b"half", b"half", &[]);
    check(none, b"\x1b[A\n", b"^[[A\r\n", &[b"\x1b[A\n"]);
    check(none, b"a\tb\n", b"a\tb\r\n", &[b"a\tb\n"]);
    check(none, b"\0x\n", b"^@x\r\n", &[b"\0x\n"]);
    check(none, b"\xff\n", b"\xff\r\n", &[b"\xff\n"]);
    check(|t| t.lflag &= !ECHO, b"pw\n", b"", &[b"pw\n"]);
    check(
        |t| t.lflag = t.lflag & !ECHO | ECHONL,
        b"pw\n",
        b"\r\n",
        &[b"pw\n"],
    );
    check(
        |t| t.lflag &= !ECHOCTL,
        b"\x01\n",
        b"\x01\r\n",
        &[b"\x01\n"],
    );
}

#[test]
fn the_erase_character_rubs_out() {
    check(none, b"ab\x7fc\n", b"ab\x08 \x08c\r\n", &[b"ac\n"]);
    check(none, b"\x7f\n", b"\r\n", &[b"\n"]);
    check(none, b"\x01\x7f\n", b"^A\x08 \x08\x08 \x08\r\n", &[b"\n"]);
    check(
        none,
        b"a\t\x7f\n",
        b"a\t\x08\x08\x08\x08\x08\x08\x08\r\n",
        &[b"a\n"],
    );
    check(
        none,
        b"\t\t\x7f\n",
        b"\t\t\x08\x08\x08\x08\x08\x08\x08\x08\r\n",
        &[b"\t\n"],
    );
    check(
        none,
        b"\xc3\xa4\x7f\n",
        b"\xc3\xa4\x08 \x08\r\n",
        &[b"\xc3\n"],
    );
    check(
        |t| t.iflag |= IUTF8,
        b"x\xc3\xa4\x7f\n",
        b"x\xc3\xa4\x08 \x08\r\n",
        &[b"x\n"],
    );
    check(|t| t.lflag &= !ECHOE, b"ab\x7f\n", b"ab^?\r\n", &[b"a\n"]);
    check(
        |t| t.lflag |= ECHOPRT,
        b"abc\x7f\x7fd\n",
        b"abc\\cb/d\r\n",
        &[b"ad\n"],
    );
    check(
        |t| t.lflag |= ECHOPRT,
        b"ab\x7f\x7f\n",
        b"ab\\ba/\r\n",
        &[b"\n"],
    );
}

#[test]
fn a_tab_after_a_prompt_is_erased_to_where_the_input_starts() {
    let mut line = line(none);
    line.write(b"$ ");
    line.receive(b"\t\x7f");
    assert_eq!(seen(&mut line), b"$ \t\x08\x08\x08\x08\x08\x08");
}

#[test]
fn words_and_lines_are_erased() {
    check(
        none,
        b"one two_3 \x17\n",
        b"one two_3 \x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\r\n",
        &[b"one \n"],
    );
    check(none, b"ab\x15c\n", b"ab\x08 \x08\x08 \x08c\r\n", &[b"c\n"]);
    check(
        |t| t.lflag &= !ECHOKE,
        b"ab\x15c\n",
        b"ab^U\r\nc\r\n",
        &[b"c\n"],
    );
    check(
        |t| t.lflag &= !(ECHOKE | ECHOK),
        b"ab\x15c\n",
        b"ab^Uc\r\n",
        &[b"c\n"],
    );
    check(|t| t.lflag &= !ECHO, b"ab\x15c\n", b"", &[b"c\n"]);
}

#[test]
fn the_next_character_can_be_taken_literally() {
    check(none, b"a\x16\x7f\n", b"a^\x08^?\r\n", &[b"a\x7f\n"]);
    check(none, b"\x16\x03\n", b"^\x08^C\r\n", &[b"\x03\n"]);
    check(none, b"\x16\nx\n", b"^\x08^Jx\r\n", &[b"\nx\n"]);
    check(|t| t.lflag &= !IEXTEN, b"\x16\n", b"^V\r\n", &[b"\x16\n"]);
}

#[test]
fn reprint_shows_the_line_again() {
    check(none, b"ab\x12c\n", b"ab^R\r\nabc\r\n", &[b"abc\n"]);
    check(|t| t.lflag &= !ECHO, b"ab\x12\n", b"", &[b"ab\x12\n"]);
}

#[test]
fn end_of_file_ends_a_read_without_a_byte() {
    check(none, b"\x04", b"", &[b""]);
    check(none, b"ab\x04c\n", b"abc\r\n", &[b"ab", b"c\n"]);
    check(none, b"a\n\x04\x04", b"a\r\n", &[b"a\n", b"", b""]);
    let mut line = line(none);
    line.receive(b"abcd\x04");
    assert_eq!(line.input_bytes(), 4);
    assert_eq!(reads(&mut line, 2), [b"ab", b"cd"]);
    line.receive(b"abc\x04");
    assert_eq!(reads(&mut line, 2), [&b"ab"[..], b"c"]);
}

#[test]
fn other_line_ends_count() {
    let eol = |t: &mut Termios2| {
        t.cc[VEOL] = b';';
        t.cc[VEOL2] = b':';
    };
    check(eol, b"a;b:c\n", b"a;b:c\r\n", &[b"a;", b"b:", b"c\n"]);
}

#[test]
fn input_modes_translate() {
    check(|t| t.iflag &= !ICRNL, b"a\r\n", b"a^M\r\n", &[b"a\r\n"]);
    check(|t| t.iflag |= IGNCR, b"a\r\n", b"a\r\n", &[b"a\n"]);
    check(
        |t| t.iflag = t.iflag & !ICRNL | INLCR,
        b"a\nb\x04",
        b"a^Mb",
        &[b"a\rb"],
    );
    check(|t| t.iflag |= ISTRIP, b"\xe1\n", b"a\r\n", &[b"a\n"]);
    check(|t| t.iflag |= IUCLC, b"AB\n", b"ab\r\n", &[b"ab\n"]);
    check(
        |t| t.iflag |= PARMRK,
        b"\xff\n",
        b"\xff\r\n",
        &[b"\xff\xff\n"],
    );
}

#[test]
fn output_modes_translate() {
    let out = |change: fn(&mut Termios2), written: &[u8], want: &[u8]| {
        let mut line = line(change);
        assert_eq!(line.write(written), written.len());
        assert_eq!(
            seen(&mut line).escape_ascii().to_string(),
            want.escape_ascii().to_string()
        );
    };
    out(none, b"a\nb", b"a\r\nb");
    out(|t| t.oflag &= !OPOST, b"a\nb", b"a\nb");
    out(|t| t.oflag &= !ONLCR, b"a\nb", b"a\nb");
    out(|t| t.oflag |= TABDLY, b"ab\tc\td", b"ab      c       d");
    out(|t| t.oflag |= TABDLY, b"ab\n\tc", b"ab\r\n        c");
    out(
        |t| t.oflag |= TABDLY,
        b"abc\x08\x08\tc",
        b"abc\x08\x08       c",
    );
    out(|t| t.oflag |= OCRNL, b"a\rb", b"a\nb");
    out(|t| t.oflag |= ONOCR, b"\ra\r", b"a\r");
    out(|t| t.oflag |= OLCUC, b"aB1\xe4", b"AB1\xc4");
    out(
        |t| t.oflag = OPOST | ONLRET | TABDLY,
        b"ab\n\tc",
        b"ab\n        c",
    );
    out(
        |t| {
            t.oflag |= TABDLY;
            t.iflag |= IUTF8;
        },
        b"\xc3\xa4\tx",
        b"\xc3\xa4       x",
    );
}

#[test]
fn signals_flush_unless_told_not_to() {
    let mut line = line(none);
    line.receive(b"ab");
    seen(&mut line);
    line.receive(b"c\x03");
    assert_eq!(line.take_signals().as_slice(), [Signal::SIGINT]);
    assert_eq!(seen(&mut line), b"^C");
    line.receive(b"d\n");
    assert_eq!(reads(&mut line, 9), [b"d\n"]);
    seen(&mut line);
    line.receive(b"x\x1c\x1a");
    assert_eq!(
        line.take_signals().as_slice(),
        [Signal::SIGQUIT, Signal::SIGTSTP]
    );
    let mut line = self::line(|t| t.lflag |= NOFLSH);
    line.receive(b"ab\x03c\n");
    assert_eq!(seen(&mut line), b"ab^Cc\r\n");
    assert_eq!(reads(&mut line, 9), [b"abc\n"]);
    let mut line = self::line(|t| t.lflag &= !ISIG);
    line.receive(b"\x03\n");
    assert_eq!(reads(&mut line, 9), [b"\x03\n"]);
    assert!(line.take_signals().is_empty());
}

#[test]
fn output_stops_and_starts() {
    let mut line = line(none);
    line.receive(b"\x13");
    assert_eq!(line.write(b"x"), 0);
    line.receive(b"a");
    assert_eq!(seen(&mut line), b"");
    line.receive(b"\x11");
    assert_eq!(seen(&mut line), b"a");
    assert_eq!(line.write(b"x"), 1);
    // IXANY: whatever is typed starts it.
    let mut line = self::line(|t| t.iflag |= IXANY);
    line.receive(b"\x13");
    assert_eq!(line.write(b"x"), 0);
    line.receive(b"b");
    assert_eq!(seen(&mut line), b"b");
    // TCOOFF is stronger.
    line.hold(true);
    line.receive(b"\x11c");
    assert_eq!((line.write(b"x"), seen(&mut line)), (0, vec![]));
    line.hold(false);
    assert_eq!(seen(&mut line), b"c");
    // So is taking IXON away, for what ^S has stopped.
    line.receive(b"\x13");
    let mut t = *line.settings();
    t.iflag &= !IXON;
    line.set_settings(t);
    assert_eq!(line.write(b"x"), 1);
}

#[test]
fn raw_mode_gives_bytes() {
    fn raw(t: &mut Termios2) {
        t.iflag = 0;
        t.oflag &= !OPOST;
        t.lflag = 0;
    }
    check(raw, b"\x03\r\n\x7f\x04", b"", &[b"\x03\r\n\x7f\x04"]);
    let mut line = line(raw);
    let full = vec![b'x'; 5000];
    assert_eq!(line.receive(&full), input::SIZE - 1);
    assert_eq!(line.receive(b"y"), 0);
    line.read(10, &mut Vec::new());
    assert_eq!(line.receive(&full), 10);
}

#[test]
fn a_line_that_is_too_long_can_end() {
    let mut line = line(none);
    assert_eq!(line.receive(&[b'x'; 6000]), 6000);
    seen(&mut line);
    assert_eq!(line.receive(b"y\nz"), 2);
    let mut got = Vec::new();
    line.read(10_000, &mut got);
    assert_eq!(got.len(), 4096);
    assert_eq!(&got[4090..], b"xxxxx\n");
    assert_eq!(line.receive(b"z"), 1);
}

#[test]
fn a_change_of_mode_keeps_what_was_typed() {
    let mut line = line(none);
    line.receive(b"ab");
    let canonical = *line.settings();
    let mut raw = canonical;
    raw.lflag &= !ICANON;
    line.set_settings(raw);
    assert_eq!(line.input_bytes(), 2);
    line.set_settings(canonical);
    assert_eq!(reads(&mut line, 9), [b"ab"]);
}

#[test]
fn poll_waits_for_vmin_bytes_unless_there_is_vtime() {
    let raw = |min: u8, time: u8| {
        line(move |t| {
            t.lflag &= !ICANON;
            t.cc[VMIN] = min;
            t.cc[VTIME] = time;
        })
    };
    for (min, time, typed, want) in [
        (3, 0, 2, false),
        (3, 0, 3, true),
        (3, 1, 1, true),
        (0, 0, 0, false),
        (0, 0, 1, true),
    ] {
        let mut line = raw(min, time);
        line.receive(&b"xxx"[..typed]);
        assert_eq!(line.poll_readable(), want, "{min} {time} {typed}");
    }
}

#[test]
fn packet_mode_hears_of_changes() {
    let mut line = line(none);
    line.packet = true;
    line.receive(b"\x13");
    assert_eq!(std::mem::take(&mut line.status), packet::STOP);
    line.receive(b"\x11");
    assert_eq!(std::mem::take(&mut line.status), packet::START);
    line.receive(b"\x03");
    let flushed = packet::FLUSH_READ | packet::FLUSH_WRITE;
    assert_eq!(std::mem::take(&mut line.status), flushed);
    let mut t = *line.settings();
    t.iflag &= !IXON;
    line.set_settings(t);
    assert_eq!(std::mem::take(&mut line.status), packet::NO_STOP);
    t.iflag |= IXON;
    t.lflag |= EXTPROC;
    line.set_settings(t);
    assert_eq!(line.status, packet::DO_STOP | packet::IOCTL);
}

#[test]
fn output_is_bounded_and_echoes_wait() {
    let mut line = line(none);
    let n = line.write(&vec![b'x'; 100_000]);
    assert_eq!(n, output::LIMIT);
    assert_eq!(line.write(b"y"), 0);
    line.receive(&[b'z'; 4000]);
    assert_eq!(line.out.len(), output::LIMIT);
    line.out.take(usize::MAX);
    line.process_echoes();
    assert_eq!(line.out.take(usize::MAX).len(), 4000);
}
