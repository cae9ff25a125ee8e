//! Pseudo terminals: /dev/ptmx, line discipline, pty(7), termios(3).

use syscall_tests::cases;
use syscall_tests::prelude::*;

/// A pair `(main end, terminal)`; neither becomes a controlling terminal.
fn openpty() -> (i32, i32) {
    let main = must!(open(c"/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, 0));
    must!(ioctl(main, TIOCSPTLCK, &0i32));
    let mut n = -1i32;
    must!(ioctl(main, TIOCGPTN, &mut n));
    let path = cpath(&format!("/dev/pts/{n}"));
    (main, must!(open(&path, O_RDWR | O_NOCTTY | O_NONBLOCK, 0)))
}
/// The kernel's struct termios.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Termios {
    iflag: u32,
    oflag: u32,
    cflag: u32,
    lflag: u32,
    line: u8,
    cc: [u8; 19],
}
fn get(fd: i32) -> Termios {
    let mut t: Termios = zeroed();
    must!(ioctl(fd, TCGETS, &mut t));
    t
}
fn set(fd: i32, t: &Termios) {
    must!(ioctl(fd, TCSETS, t));
}
fn change(fd: i32, f: impl FnOnce(&mut Termios)) {
    let mut t = get(fd);
    f(&mut t);
    set(fd, &t);
}
/// What can be read, waiting for it up to some seconds.
fn input(fd: i32) -> Sys<Vec<u8>> {
    poll1(fd, POLLIN, 5000);
    read_vec(fd, 4096)
}
/// Reads until so many bytes have come.
fn input_of(fd: i32, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < len {
        match input(fd) {
            Ok(part) if !part.is_empty() => all.extend(part),
            _ => break,
        }
    }
    all
}
fn raw(fd: i32) {
    change(fd, |t| {
        t.iflag = 0;
        t.oflag = 0;
        t.lflag = 0;
        t.cc[VMIN] = 1;
        t.cc[VTIME] = 0;
    });
}
fn no_echo(fd: i32) {
    change(fd, |t| t.lflag &= !ECHO);
}

fn pair_has_number_and_node() {
    let (main, term) = openpty();
    let mut n = -1i32;
    must!(ioctl(main, TIOCGPTN, &mut n));
    let st = must!(fstat(term));
    check_eq!(st.st_mode & S_IFMT, S_IFCHR);
    check_eq!((major(st.st_rdev), minor(st.st_rdev)), (136, n as u32));
    check!(exists(&cpath(&format!("/dev/pts/{n}"))));
}

fn locked_until_unlocked() {
    let main = must!(open(c"/dev/ptmx", O_RDWR | O_NOCTTY, 0));
    let mut n = -1i32;
    must!(ioctl(main, TIOCGPTN, &mut n));
    let path = cpath(&format!("/dev/pts/{n}"));
    expect_errno!(open(&path, O_RDWR | O_NOCTTY, 0), EIO);
    must!(ioctl(main, TIOCSPTLCK, &0i32));
    must!(open(&path, O_RDWR | O_NOCTTY, 0));
}

fn tiocgptpeer_opens_terminal() {
    let (main, term) = openpty();
    let peer = must!(ioctl(main, 0x5441, O_RDWR | O_NOCTTY | O_CLOEXEC)) as i32;
    check_eq!(must!(fstat(peer)).st_rdev, must!(fstat(term)).st_rdev);
    check_eq!(fcntl(peer, F_GETFD, 0), Ok(1));
}

fn default_settings() {
    let (_main, term) = openpty();
    let t = get(term);
    check_eq!(
        t.lflag & (ICANON | ECHO | ISIG | IEXTEN),
        ICANON | ECHO | ISIG | IEXTEN
    );
    check_eq!(t.iflag & ICRNL, ICRNL);
    check_eq!(t.oflag & (OPOST | ONLCR), OPOST | ONLCR);
    check_eq!(t.cflag & CSIZE, CS8);
    check_eq!(
        (t.cc[VINTR], t.cc[VEOF], t.cc[VERASE], t.cc[VKILL]),
        (3, 4, 127, 21)
    );
    check_eq!((t.cc[VQUIT], t.cc[VSUSP], t.cc[VMIN]), (28, 26, 1));
}

fn settings_round_trip_and_are_shared() {
    let (main, term) = openpty();
    let mut t = get(term);
    t.lflag &= !(ECHO | ICANON);
    t.cc[VMIN] = 7;
    set(term, &t);
    check_eq!(get(term), t);
    check_eq!(get(main), t);
    must!(ioctl(term, TCSETSW, &t));
    must!(ioctl(term, TCSETSF, &t));
    expect_errno!(ioctl(term, TCGETS, bad::<u8>()), EFAULT);
    expect_errno!(ioctl(term, TCSETS, bad::<u8>()), EFAULT);
}

fn canonical_input_waits_for_line() {
    let (main, term) = openpty();
    must!(write(main, b"abc"));
    sleep_ms(10);
    expect_errno!(read_vec(term, 100), EAGAIN);
    must!(write(main, b"def\nnext"));
    check_eq!(input(term), Ok(b"abcdef\n".to_vec()));
    expect_errno!(read_vec(term, 100), EAGAIN);
}

fn canonical_read_returns_one_line_in_parts() {
    let (main, term) = openpty();
    must!(write(main, b"one\ntwo\n"));
    poll1(term, POLLIN, 5000);
    check_eq!(read_vec(term, 2), Ok(b"on".to_vec()));
    check_eq!(read_vec(term, 100), Ok(b"e\n".to_vec()));
    check_eq!(read_vec(term, 100), Ok(b"two\n".to_vec()));
}

fn carriage_return_becomes_newline() {
    let (main, term) = openpty();
    must!(write(main, b"x\r"));
    check_eq!(input(term), Ok(b"x\n".to_vec()));
    change(term, |t| t.iflag = IGNCR);
    must!(write(main, b"a\rb\n"));
    check_eq!(input(term), Ok(b"ab\n".to_vec()));
}

fn erase_and_kill_edit_the_line() {
    let (main, term) = openpty();
    no_echo(term);
    must!(write(main, b"abX\x7fc\n"));
    check_eq!(input(term), Ok(b"abc\n".to_vec()));
    must!(write(main, b"garbage\x15good\n"));
    check_eq!(input(term), Ok(b"good\n".to_vec()));
    must!(write(main, b"two words\x17three\n"));
    check_eq!(input(term), Ok(b"two three\n".to_vec()));
}

fn end_of_file_character() {
    let (main, term) = openpty();
    must!(write(main, b"\x04"));
    check_eq!(input(term), Ok(vec![]));
    must!(write(main, b"part\x04"));
    check_eq!(input(term), Ok(b"part".to_vec()));
}

fn literal_next_quotes() {
    let (main, term) = openpty();
    no_echo(term);
    must!(write(main, b"a\x16\x04b\n"));
    check_eq!(input(term), Ok(b"a\x04b\n".to_vec()));
}

fn echo_goes_to_main_end() {
    let (main, term) = openpty();
    must!(write(main, b"hi\n"));
    check_eq!(input_of(main, 4), b"hi\r\n".to_vec());
    let _ = input(term);
    must!(write(main, b"\x01\n"));
    check_eq!(input_of(main, 4), b"^A\r\n".to_vec());
}

fn echo_off_is_silent() {
    let (main, term) = openpty();
    no_echo(term);
    must!(write(main, b"secret\n"));
    check_eq!(input(term), Ok(b"secret\n".to_vec()));
    expect_errno!(read_vec(main, 100), EAGAIN);
}

fn echo_of_erase_rubs_out() {
    let (main, _term) = openpty();
    must!(write(main, b"ab\x7f"));
    check_eq!(input_of(main, 5), b"ab\x08 \x08".to_vec());
}

fn output_processing_adds_carriage_return() {
    let (main, term) = openpty();
    check_eq!(write(term, b"line\n"), Ok(5));
    check_eq!(input_of(main, 6), b"line\r\n".to_vec());
    change(term, |t| t.oflag &= !OPOST);
    must!(write(term, b"line\n"));
    check_eq!(input_of(main, 5), b"line\n".to_vec());
}

fn raw_mode_passes_everything() {
    let (main, term) = openpty();
    raw(term);
    let bytes: Vec<u8> = (0..=255).collect();
    must!(write(main, &bytes));
    check_eq!(input_of(term, 256), bytes);
    must!(write(term, &bytes));
    check_eq!(input_of(main, 256), bytes);
}

fn vmin_waits_for_count() {
    let (main, term) = openpty();
    raw(term);
    change(term, |t| t.cc[VMIN] = 4);
    must!(fcntl(term, F_SETFL, 0));
    must!(write(main, b"ab"));
    let pid = child(|| {
        check_eq!(read_vec(term, 100), Ok(b"abcd".to_vec()));
        0
    });
    wait_asleep(pid);
    must!(write(main, b"cd"));
    wait_ok(pid);
}

fn vtime_is_a_timeout() {
    let (main, term) = openpty();
    raw(term);
    must!(fcntl(term, F_SETFL, 0));
    change(term, |t| {
        t.cc[VMIN] = 0;
        t.cc[VTIME] = 1;
    });
    let start = now_ms();
    check_eq!(read_vec(term, 10), Ok(vec![]));
    check!(now_ms() - start >= 90);
    must!(write(main, b"x"));
    check_eq!(read_vec(term, 10), Ok(b"x".to_vec()));
    change(term, |t| t.cc[VTIME] = 0);
    check_eq!(read_vec(term, 10), Ok(vec![]));
}

fn switching_to_raw_releases_partial_line() {
    let (main, term) = openpty();
    must!(write(main, b"partial"));
    sleep_ms(10);
    raw(term);
    check_eq!(input(term), Ok(b"partial".to_vec()));
}

fn flush_discards_input() {
    let (main, term) = openpty();
    must!(write(main, b"lost\n"));
    poll1(term, POLLIN, 5000);
    must!(ioctl(term, TCFLSH, TCIFLUSH));
    expect_errno!(read_vec(term, 100), EAGAIN);
    expect_errno!(ioctl(term, TCFLSH, 9), EINVAL);
}

fn fionread_counts() {
    let (main, term) = openpty();
    raw(term);
    must!(write(main, b"12345"));
    poll1(term, POLLIN, 5000);
    let mut n = 0i32;
    must!(ioctl(term, FIONREAD, &mut n));
    check_eq!(n, 5);
}

fn window_size_round_trip() {
    let (main, term) = openpty();
    let mut size = [9u16; 4];
    must!(ioctl(term, TIOCGWINSZ, &mut size));
    check_eq!(size, [0; 4]);
    must!(ioctl(main, TIOCSWINSZ, &[24u16, 80, 1, 2]));
    must!(ioctl(term, TIOCGWINSZ, &mut size));
    check_eq!(size, [24, 80, 1, 2]);
    must!(ioctl(term, TIOCSWINSZ, &[30u16, 100, 0, 0]));
    must!(ioctl(main, TIOCGWINSZ, &mut size));
    check_eq!(size[..2], [30, 100]);
    expect_errno!(ioctl(term, TIOCGWINSZ, bad::<u8>()), EFAULT);
}

fn closing_main_end_hangs_up() {
    let (main, term) = openpty();
    must!(close(main));
    check_eq!(read_vec(term, 10), Ok(vec![]));
    expect_errno!(write(term, b"x"), EIO);
    check!(ready(term, POLLIN | POLLOUT) & POLLHUP != 0);
    expect_errno!(ioctl(term, TCGETS, anon(1)), EIO);
}

fn closing_terminal_gives_eio_on_main_end() {
    let (main, term) = openpty();
    must!(write(term, b"last words"));
    must!(close(term));
    check_eq!(input(main), Ok(b"last words".to_vec()));
    expect_errno!(input(main), EIO);
    check!(ready(main, POLLIN) & POLLHUP != 0);
}

fn reopening_terminal_clears_hangup() {
    let (main, term) = openpty();
    let mut n = -1i32;
    must!(ioctl(main, TIOCGPTN, &mut n));
    must!(close(term));
    expect_errno!(input(main), EIO);
    let again = must!(open(&cpath(&format!("/dev/pts/{n}")), O_RDWR | O_NOCTTY, 0));
    must!(write(again, b"back"));
    check_eq!(input(main), Ok(b"back".to_vec()));
}

fn main_end_before_terminal_opens_has_no_hangup() {
    let main = must!(open(c"/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, 0));
    expect_errno!(read_vec(main, 10), EAGAIN);
    check_eq!(ready(main, POLLIN | POLLOUT), POLLOUT);
}

fn flow_control_stops_output() {
    let (main, term) = openpty();
    must!(ioctl(term, TCXONC, TCOOFF));
    expect_errno!(write(term, b"held"), EAGAIN);
    must!(ioctl(term, TCXONC, TCOON));
    must!(write(term, b"free"));
    check_eq!(input_of(main, 4), b"free".to_vec());
}

fn poll_states() {
    let (main, term) = openpty();
    check_eq!(ready(term, POLLIN | POLLOUT), POLLOUT);
    must!(write(main, b"no line yet"));
    sleep_ms(5);
    check_eq!(ready(term, POLLIN), 0);
    must!(write(main, b"\n"));
    check_eq!(poll1(term, POLLIN, 5000), POLLIN);
}

fn output_queue_fills_up() {
    let (_main, term) = openpty();
    raw(term);
    let mut total = 0;
    while let Ok(n) = write(term, &[b'x'; 1024]) {
        total += n;
        check!(total < 10 << 20);
    }
    check_eq!(ready(term, POLLOUT), 0);
}

fn job_calls_without_controlling_terminal_are_enotty() {
    let (_main, term) = openpty();
    let mut group = 0i32;
    in_child(|| {
        must!(setsid());
        expect_errno!(ioctl(term, TIOCGPGRP, &mut group), ENOTTY);
        expect_errno!(ioctl(term, TIOCSPGRP, &getpid()), ENOTTY);
        expect_errno!(ioctl(term, TIOCGSID, &mut group), ENOTTY);
    });
}

fn packet_mode_prefixes_a_byte() {
    let (main, term) = openpty();
    must!(ioctl(main, TIOCPKT, &1i32));
    must!(write(term, b"data"));
    check_eq!(input_of(main, 5), b"\0data".to_vec());
    must!(ioctl(term, TCFLSH, TCIFLUSH));
    check_eq!(input(main), Ok(vec![1]));
}

fn ttyname_through_proc() {
    let (main, term) = openpty();
    let mut n = -1i32;
    must!(ioctl(main, TIOCGPTN, &mut n));
    let name = must!(readlink(&cpath(&format!("/proc/self/fd/{term}"))));
    check_eq!(String::from_utf8_lossy(&name), format!("/dev/pts/{n}"));
}

fn exclusive_mode() {
    need_root();
    let (main, term) = openpty();
    let mut n = -1i32;
    must!(ioctl(main, TIOCGPTN, &mut n));
    must!(ioctl(term, TIOCEXCL, 0));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        let path = cpath(&format!("/dev/pts/{n}"));
        let result = open(&path, O_RDWR | O_NOCTTY, 0);
        check!(matches!(result, Err(EBUSY | EACCES)), "{result:?}");
    });
    must!(ioctl(term, TIOCNXCL, 0));
}

cases![
    pair_has_number_and_node,
    locked_until_unlocked,
    tiocgptpeer_opens_terminal,
    default_settings,
    settings_round_trip_and_are_shared,
    canonical_input_waits_for_line,
    canonical_read_returns_one_line_in_parts,
    carriage_return_becomes_newline,
    erase_and_kill_edit_the_line,
    end_of_file_character,
    literal_next_quotes,
    echo_goes_to_main_end,
    echo_off_is_silent,
    echo_of_erase_rubs_out,
    output_processing_adds_carriage_return,
    raw_mode_passes_everything,
    vmin_waits_for_count,
    vtime_is_a_timeout,
    switching_to_raw_releases_partial_line,
    flush_discards_input,
    fionread_counts,
    window_size_round_trip,
    closing_main_end_hangs_up,
    closing_terminal_gives_eio_on_main_end,
    reopening_terminal_clears_hangup,
    main_end_before_terminal_opens_has_no_hangup,
    flow_control_stops_output,
    poll_states,
    output_queue_fills_up,
    job_calls_without_controlling_terminal_are_enotty,
    packet_mode_prefixes_a_byte,
    ttyname_through_proc,
    exclusive_mode,
];
