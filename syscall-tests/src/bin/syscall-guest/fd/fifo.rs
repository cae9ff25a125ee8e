//! Named pipes, fifo(7).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn fifo() {
    tmp();
    must!(mkfifo(c"p", 0o644));
}

fn nonblocking_write_open_without_reader_is_enxio() {
    fifo();
    expect_errno!(open(c"p", O_WRONLY | O_NONBLOCK, 0), ENXIO);
    let _r = must!(open(c"p", O_RDONLY | O_NONBLOCK, 0));
    must!(open(c"p", O_WRONLY | O_NONBLOCK, 0));
}

fn nonblocking_read_open_succeeds_and_reads_eof() {
    fifo();
    let r = must!(open(c"p", O_RDONLY | O_NONBLOCK, 0));
    check_eq!(read_vec(r, 1), Ok(vec![]));
    let w = must!(open(c"p", O_WRONLY, 0));
    expect_errno!(read_vec(r, 1), EAGAIN);
    must!(close(w));
    check_eq!(read_vec(r, 1), Ok(vec![]));
}

fn read_write_open_does_not_block() {
    fifo();
    let fd = must!(open(c"p", O_RDWR, 0));
    must!(write(fd, b"abc"));
    check_eq!(read_vec(fd, 10), Ok(b"abc".to_vec()));
}

fn open_blocks_until_the_other_end() {
    fifo();
    let pid = child(|| {
        let w = must!(open(c"p", O_WRONLY, 0));
        must!(write(w, b"hello"));
        0
    });
    wait_asleep(pid);
    check_eq!(wait4(pid, WNOHANG), Ok((0, 0)));
    let r = must!(open(c"p", O_RDONLY, 0));
    check_eq!(read_all(r), Ok(b"hello".to_vec()));
    wait_ok(pid);
}

fn blocked_reader_open_wakes_for_short_lived_writer() {
    fifo();
    let pid = child(|| {
        let r = must!(open(c"p", O_RDONLY, 0));
        check_eq!(read_all(r), Ok(vec![]));
        0
    });
    wait_asleep(pid);
    let w = must!(open(c"p", O_WRONLY, 0));
    must!(close(w));
    wait_ok(pid);
}

fn blocked_open_interrupted_is_eintr() {
    fifo();
    let gate = Gate::new();
    let pid = child(|| {
        record_on(SIGUSR1);
        gate.open();
        expect_errno!(open(c"p", O_RDONLY, 0), EINTR);
        0
    });
    gate.wait();
    wait_asleep(pid);
    must!(kill(pid, SIGUSR1));
    wait_ok(pid);
}

fn data_survives_in_an_open_fifo_only() {
    fifo();
    let fd = must!(open(c"p", O_RDWR, 0));
    must!(write(fd, b"abc"));
    must!(close(fd));
    let fd = must!(open(c"p", O_RDWR | O_NONBLOCK, 0));
    expect_errno!(read_vec(fd, 10), EAGAIN);
}

fn two_opens_share_one_pipe() {
    fifo();
    let r = must!(open(c"p", O_RDONLY | O_NONBLOCK, 0));
    let a = must!(open(c"p", O_WRONLY, 0));
    let b = must!(open(c"p", O_WRONLY, 0));
    must!(write(a, b"1"));
    must!(write(b, b"2"));
    check_eq!(read_vec(r, 10), Ok(b"12".to_vec()));
    check_eq!(must!(fstat(r)).st_ino, must!(stat(c"p")).st_ino);
}

fn epipe_without_reader() {
    fifo();
    let r = must!(open(c"p", O_RDONLY | O_NONBLOCK, 0));
    let w = must!(open(c"p", O_WRONLY, 0));
    must!(close(r));
    disposition(SIGPIPE, SIG_IGN);
    expect_errno!(write(w, b"x"), EPIPE);
    let _r = must!(open(c"p", O_RDONLY | O_NONBLOCK, 0));
    check_eq!(write(w, b"x"), Ok(1));
}

fn seek_is_espipe() {
    fifo();
    let fd = must!(open(c"p", O_RDWR, 0));
    expect_errno!(lseek(fd, 0, SEEK_SET), ESPIPE);
}

fn unlinked_fifo_keeps_working() {
    fifo();
    let fd = must!(open(c"p", O_RDWR, 0));
    must!(unlink(c"p"));
    must!(write(fd, b"x"));
    check_eq!(read_vec(fd, 1), Ok(b"x".to_vec()));
}

fn permission_is_checked() {
    need_root();
    fifo();
    must!(chmod(c"p", 0o600));
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(open(c"p", O_RDONLY | O_NONBLOCK, 0), EACCES);
    });
}

fn reader_without_writer_polls_nothing_then_hup() {
    fifo();
    let r = must!(open(c"p", O_RDONLY | O_NONBLOCK, 0));
    check_eq!(ready(r, POLLIN), 0);
    let w = must!(open(c"p", O_WRONLY, 0));
    check_eq!(ready(r, POLLIN), 0);
    must!(close(w));
    check_eq!(ready(r, POLLIN), POLLHUP);
}

cases![
    fifo,
    nonblocking_write_open_without_reader_is_enxio,
    nonblocking_read_open_succeeds_and_reads_eof,
    read_write_open_does_not_block,
    open_blocks_until_the_other_end,
    blocked_reader_open_wakes_for_short_lived_writer,
    blocked_open_interrupted_is_eintr,
    data_survives_in_an_open_fifo_only,
    two_opens_share_one_pipe,
    epipe_without_reader,
    seek_is_espipe,
    unlinked_fifo_keeps_working,
    permission_is_checked,
    reader_without_writer_polls_nothing_then_hup,
];
