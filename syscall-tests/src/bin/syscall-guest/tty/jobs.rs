//! Controlling terminals and job control, credentials(7), tty_ioctl(4).

use std::sync::atomic::Ordering::SeqCst;
use syscall_tests::cases;
use syscall_tests::prelude::*;

struct Pty {
    main: i32,
    path: std::ffi::CString,
}
fn pty() -> Pty {
    let main = must!(open(c"/dev/ptmx", O_RDWR | O_NOCTTY, 0));
    must!(ioctl(main, TIOCSPTLCK, &0i32));
    let mut n = -1i32;
    must!(ioctl(main, TIOCGPTN, &mut n));
    Pty {
        main,
        path: cpath(&format!("/dev/pts/{n}")),
    }
}
/// Runs `f` as the leader of a new session with the terminal as its
/// controlling one; the process that is returned exits with 0 when `f` does.
fn session(p: &Pty, f: impl FnOnce(i32)) -> i32 {
    child(|| {
        must!(setsid());
        let term = must!(open(&p.path, O_RDWR, 0));
        f(term);
        0
    })
}
fn foreground(term: i32) -> Sys<i32> {
    let mut group = -1i32;
    ioctl(term, TIOCGPGRP, &mut group)?;
    Ok(group)
}
fn type_in(p: &Pty, text: &[u8]) {
    must!(write(p.main, text));
}

fn session_leader_open_takes_terminal() {
    let p = pty();
    wait_ok(session(&p, |term| {
        check_eq!(foreground(term), Ok(getpid()));
        let mut sid = 0i32;
        must!(ioctl(term, TIOCGSID, &mut sid));
        check_eq!(sid, getpid());
        must!(open(c"/dev/tty", O_RDWR, 0));
    }));
}

fn noctty_open_does_not_take_it() {
    let p = pty();
    wait_ok(child(|| {
        must!(setsid());
        let _term = must!(open(&p.path, O_RDWR | O_NOCTTY, 0));
        expect_errno!(open(c"/dev/tty", O_RDWR, 0), ENXIO);
        0
    }));
}

fn tiocsctty_takes_it() {
    let p = pty();
    wait_ok(child(|| {
        let term = must!(open(&p.path, O_RDWR | O_NOCTTY, 0));
        expect_errno!(ioctl(term, TIOCSCTTY, 0), EPERM);
        must!(setsid());
        must!(ioctl(term, TIOCSCTTY, 0));
        check_eq!(foreground(term), Ok(getpid()));
        must!(ioctl(term, TIOCSCTTY, 0));
        0
    }));
}

fn terminal_of_other_session_cannot_be_stolen() {
    let p = pty();
    let gate = Gate::new();
    let done = Gate::new();
    let holder = session(&p, |_| {
        gate.open();
        done.wait();
    });
    gate.wait();
    wait_ok(child(|| {
        must!(setsid());
        let term = must!(open(&p.path, O_RDWR | O_NOCTTY, 0));
        expect_errno!(ioctl(term, TIOCSCTTY, 0), EPERM);
        expect_errno!(foreground(term), ENOTTY);
        0
    }));
    done.open();
    wait_ok(holder);
}

fn tiocnotty_gives_it_up() {
    let p = pty();
    wait_ok(session(&p, |term| {
        disposition(SIGHUP, SIG_IGN);
        must!(ioctl(term, TIOCNOTTY, 0));
        expect_errno!(foreground(term), ENOTTY);
        expect_errno!(open(c"/dev/tty", O_RDWR, 0), ENXIO);
    }));
}

fn interrupt_character_signals_foreground() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |_| {
        record_on(SIGINT);
        ready.open();
        wait_until("SIGINT", || seen() == 1);
        check_eq!(LAST_CODE.load(SeqCst), SI_KERNEL);
    });
    ready.wait();
    type_in(&p, b"\x03");
    wait_ok(pid);
}

fn quit_and_suspend_characters() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |_| {
        record_on(SIGQUIT);
        record_on(SIGTSTP);
        ready.open();
        wait_until("SIGQUIT", || LAST_SIGNAL.load(SeqCst) == SIGQUIT);
        ready.open();
        wait_until("SIGTSTP", || LAST_SIGNAL.load(SeqCst) == SIGTSTP);
    });
    ready.wait();
    type_in(&p, b"\x1c");
    ready.wait();
    type_in(&p, b"\x1a");
    wait_ok(pid);
}

fn signal_character_is_not_input_and_flushes() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |term| {
        record_on(SIGINT);
        ready.open();
        wait_until("SIGINT", || seen() == 1);
        ready.open();
        check_eq!(read_vec(term, 100), Ok(b"after\n".to_vec()));
    });
    ready.wait();
    type_in(&p, b"before\x03");
    // The reader may only start once the signal has flushed the line.
    sleep_ms(5);
    ready.wait();
    type_in(&p, b"after\n");
    wait_ok(pid);
}

fn isig_off_passes_the_character() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |term| {
        let mut t = [0u32; 15];
        must!(ioctl(term, TCGETS, &mut t));
        t[3] &= !(ISIG | ECHO);
        must!(ioctl(term, TCSETS, &t));
        ready.open();
        check_eq!(read_vec(term, 100), Ok(b"\x03\n".to_vec()));
    });
    ready.wait();
    type_in(&p, b"\x03\n");
    wait_ok(pid);
}

fn background_group_is_not_signalled() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |_| {
        record_on(SIGINT);
        let other = child(|| {
            must!(setpgid(0, 0));
            // Killed by any SIGINT.
            disposition(SIGINT, SIG_DFL);
            ready.open();
            sleep_ms(60_000);
            0
        });
        wait_until("SIGINT", || seen() == 1);
        must!(kill(other, SIGKILL));
        wait_killed(other, SIGKILL);
    });
    ready.wait();
    type_in(&p, b"\x03");
    wait_ok(pid);
}

fn foreground_group_can_be_given() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |term| {
        let job = child(|| {
            must!(setpgid(0, 0));
            ready.open();
            sleep_ms(60_000);
            0
        });
        ready.wait();
        must!(ioctl(term, TIOCSPGRP, &job));
        check_eq!(foreground(term), Ok(job));
        ready.send(b'g');
        wait_killed(job, SIGINT);
        // Taking it back from the background needs SIGTTOU out of the way.
        block(&[SIGTTOU]);
        must!(ioctl(term, TIOCSPGRP, &getpid()));
        check_eq!(foreground(term), Ok(getpid()));
    });
    // The same gate serves both directions: wait for the session's byte.
    loop {
        let byte = ready.recv();
        if byte == b'g' {
            break;
        }
        ready.open();
        sleep_ms(2);
    }
    type_in(&p, b"\x03");
    wait_ok(pid);
}

fn foreground_group_errors() {
    let p = pty();
    wait_ok(session(&p, |term| {
        expect_errno!(ioctl(term, TIOCSPGRP, &-1i32), EINVAL);
        expect_errno!(ioctl(term, TIOCSPGRP, &0x3fff_fff0i32), ESRCH);
        expect_errno!(ioctl(term, TIOCSPGRP, &getppid()), EPERM);
        expect_errno!(ioctl(term, TIOCSPGRP, bad::<u8>()), EFAULT);
    }));
}

fn background_read_stops_with_sigttin() {
    let p = pty();
    let pid = session(&p, |term| {
        let job = child(|| {
            must!(setpgid(0, 0));
            let _ = read_vec(term, 1);
            0
        });
        let (_, status) = must!(wait4(job, WUNTRACED));
        check!(
            WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN,
            "{status:x}"
        );
        must!(kill(job, SIGKILL));
        wait_killed(job, SIGKILL);
    });
    wait_ok(pid);
}

fn background_read_with_sigttin_ignored_is_eio() {
    let p = pty();
    let pid = session(&p, |term| {
        wait_ok(child(|| {
            must!(setpgid(0, 0));
            disposition(SIGTTIN, SIG_IGN);
            expect_errno!(read_vec(term, 1), EIO);
            0
        }));
        wait_ok(child(|| {
            must!(setpgid(0, 0));
            block(&[SIGTTIN]);
            expect_errno!(read_vec(term, 1), EIO);
            0
        }));
    });
    wait_ok(pid);
}

fn background_write_passes_without_tostop() {
    let p = pty();
    let pid = session(&p, |term| {
        wait_ok(child(|| {
            must!(setpgid(0, 0));
            check_eq!(write(term, b"bg"), Ok(2));
            0
        }));
    });
    wait_ok(pid);
}

fn background_write_with_tostop_stops() {
    let p = pty();
    let pid = session(&p, |term| {
        let mut t = [0u32; 15];
        must!(ioctl(term, TCGETS, &mut t));
        t[3] |= TOSTOP;
        must!(ioctl(term, TCSETS, &t));
        let job = child(|| {
            must!(setpgid(0, 0));
            let _ = write(term, b"bg");
            0
        });
        let (_, status) = must!(wait4(job, WUNTRACED));
        check!(
            WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTOU,
            "{status:x}"
        );
        must!(kill(job, SIGKILL));
        wait_killed(job, SIGKILL);
        wait_ok(child(|| {
            must!(setpgid(0, 0));
            disposition(SIGTTOU, SIG_IGN);
            check_eq!(write(term, b"bg"), Ok(2));
            0
        }));
    });
    wait_ok(pid);
}

fn background_settings_change_stops() {
    let p = pty();
    let pid = session(&p, |term| {
        let job = child(|| {
            must!(setpgid(0, 0));
            let mut t = [0u32; 15];
            must!(ioctl(term, TCGETS, &mut t));
            let _ = ioctl(term, TCSETS, &t);
            0
        });
        let (_, status) = must!(wait4(job, WUNTRACED));
        check!(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTOU);
        must!(kill(job, SIGKILL));
        wait_killed(job, SIGKILL);
    });
    wait_ok(pid);
}

fn orphaned_background_read_is_eio() {
    let p = pty();
    must!(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    let (r, w) = must!(pipe());
    let pid = session(&p, |term| {
        let middle = child(|| {
            orphan(|| {
                must!(setpgid(0, 0));
                wait_until("orphaned", || {
                    getppid() != must!(getsid(0)) && task_state(getppid()) != 'Z'
                });
                sleep_ms(30);
                let result = read_vec(term, 1);
                must!(write(w, &[result.err().unwrap_or(0) as u8]));
                0
            });
            0
        });
        wait_ok(middle);
        check_eq!(read_vec(r, 1), Ok(vec![EIO as u8]));
    });
    wait_ok(pid);
}

fn window_change_signals_foreground() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |term| {
        record_on(SIGWINCH);
        ready.open();
        wait_until("SIGWINCH", || seen() == 1);
        let mut size = [0u16; 4];
        must!(ioctl(term, TIOCGWINSZ, &mut size));
        check_eq!(size[..2], [40, 120]);
    });
    ready.wait();
    must!(ioctl(p.main, TIOCSWINSZ, &[40u16, 120, 0, 0]));
    wait_ok(pid);
}

fn same_window_size_does_not_signal() {
    let p = pty();
    must!(ioctl(p.main, TIOCSWINSZ, &[40u16, 120, 0, 0]));
    wait_ok(session(&p, |term| {
        record_on(SIGWINCH);
        must!(ioctl(term, TIOCSWINSZ, &[40u16, 120, 0, 0]));
        sleep_ms(10);
        check_eq!(seen(), 0);
    }));
}

fn main_end_close_sends_hup_and_cont() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |term| {
        let _ = close(p.main);
        record_on(SIGHUP);
        record_on(SIGCONT);
        ready.open();
        wait_until("SIGHUP and SIGCONT", || seen() == 2);
        check_eq!(read_vec(term, 1), Ok(vec![]));
        expect_errno!(write(term, b"x"), EIO);
    });
    ready.wait();
    must!(close(p.main));
    wait_ok(pid);
}

fn session_leader_exit_hangs_up_foreground() {
    let p = pty();
    must!(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    let (r, w) = must!(pipe());
    let ready = Gate::new();
    let leader = session(&p, |_| {
        orphan(|| {
            record_on(SIGHUP);
            ready.open();
            wait_until("SIGHUP", || seen() >= 1);
            expect_errno!(open(c"/dev/tty", O_RDWR, 0), ENXIO);
            must!(write(w, b"h"));
            0
        });
        ready.wait();
    });
    wait_ok(leader);
    must!(close(w));
    check_eq!(read_vec(r, 1), Ok(b"h".to_vec()));
    wait_until("reaped", || wait4(-1, WNOHANG).is_err());
}

fn vhangup_style_reopen_after_session_end() {
    let p = pty();
    wait_ok(session(&p, |_| {}));
    // The terminal is free again for the next session.
    wait_ok(session(&p, |term| {
        check_eq!(foreground(term), Ok(getpid()))
    }));
}

fn signal_by_main_end_ioctl() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |_| {
        record_on(SIGUSR1);
        record_on(SIGINT);
        ready.open();
        wait_until("SIGINT", || seen() == 1);
    });
    ready.wait();
    must!(ioctl(p.main, 0x4004_5436, SIGINT));
    wait_ok(pid);
}

fn blocked_read_interrupted_by_signal_character() {
    let p = pty();
    let ready = Gate::new();
    let pid = session(&p, |term| {
        record_on(SIGINT);
        ready.open();
        expect_errno!(read_vec(term, 10), EINTR);
        check_eq!(seen(), 1);
    });
    ready.wait();
    wait_asleep(pid);
    type_in(&p, b"\x03");
    wait_ok(pid);
}

fn dev_tty_is_the_controlling_terminal() {
    let p = pty();
    let pid = session(&p, |_| {
        let tty = must!(open(c"/dev/tty", O_RDWR, 0));
        must!(write(tty, b"via tty"));
    });
    wait_ok(pid);
    check_eq!(read_vec(p.main, 100), Ok(b"via tty".to_vec()));
}

fn proc_stat_shows_terminal_and_group() {
    let p = pty();
    wait_ok(session(&p, |term| {
        let rdev = must!(fstat(term)).st_rdev;
        let stat = String::from_utf8_lossy(&must!(read_file(c"/proc/self/stat"))).into_owned();
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map_or("", |x| x.1)
            .split(' ')
            .collect();
        // After state and parent: group, session, terminal, foreground group.
        check_eq!(fields[2], getpid().to_string());
        check_eq!(fields[3], getpid().to_string());
        let tty: u32 = fields[4].parse().unwrap_or(0);
        check_eq!(
            (tty >> 8 & 0xfff, tty & 0xff),
            (major(rdev), minor(rdev) & 0xff)
        );
        check_eq!(fields[5], getpid().to_string());
    }));
}

cases![
    session_leader_open_takes_terminal,
    noctty_open_does_not_take_it,
    tiocsctty_takes_it,
    terminal_of_other_session_cannot_be_stolen,
    tiocnotty_gives_it_up,
    interrupt_character_signals_foreground,
    quit_and_suspend_characters,
    signal_character_is_not_input_and_flushes,
    isig_off_passes_the_character,
    background_group_is_not_signalled,
    foreground_group_can_be_given,
    foreground_group_errors,
    background_read_stops_with_sigttin,
    background_read_with_sigttin_ignored_is_eio,
    background_write_passes_without_tostop,
    background_write_with_tostop_stops,
    background_settings_change_stops,
    orphaned_background_read_is_eio,
    window_change_signals_foreground,
    same_window_size_does_not_signal,
    main_end_close_sends_hup_and_cont,
    session_leader_exit_hangs_up_foreground,
    vhangup_style_reopen_after_session_end,
    signal_by_main_end_ioctl,
    blocked_read_interrupted_by_signal_character,
    dev_tty_is_the_controlling_terminal,
    proc_stat_shows_terminal_and_group,
];
