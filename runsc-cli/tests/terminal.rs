//! A user's terminal in front of the sandbox.

mod common;

use common::*;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A terminal, what it has shown, and the program in front of it.
struct Session {
    master: File,
    slave: File,
    shown: Arc<Mutex<String>>,
    child: Child,
    before: Termios,
}

fn size(rows: u16, cols: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Session {
    /// Runs `runsc args` with the terminal as the controlling one of its session.
    fn new(args: &[&str]) -> Self {
        let mut words = vec![RUNSC];
        words.extend(args);
        Self::command(&words)
    }

    /// The same with another program.
    fn command(words: &[&str]) -> Self {
        let OpenptyResult { master, slave } = openpty(Some(&size(50, 100)), None).unwrap();
        let (master, slave) = (File::from(master), File::from(slave));
        let before = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .args(words)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (master.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buf) {
                to.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buf[..n]));
            }
        });
        Self {
            master,
            slave,
            shown,
            child,
            before,
        }
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn see(&self, text: &str) {
        let seen = || self.shown.lock().unwrap().contains(text);
        let end = Instant::now() + Duration::from_secs(30);
        while !seen() {
            let shown = || self.shown.lock().unwrap().clone();
            assert!(Instant::now() < end, "{text:?} is not in {:?}", shown());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn settings(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    /// The status, once the settings have been seen to be as before.
    fn end(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        let after = self.settings();
        assert_eq!(after.local_flags, self.before.local_flags);
        assert_eq!(after.input_flags, self.before.input_flags);
        assert_eq!(after.output_flags, self.before.output_flags);
        status.code()
    }

    /// The runsc process: setsid(1) has become it.
    fn runsc(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

#[test]
fn the_terminal_inside_has_a_name_and_a_size() {
    let session = Session::new(&[
        "do",
        "--",
        "sh",
        "-c",
        "tty; stty size; test -t 2 && echo all; exit 3",
    ]);
    session.see("/dev/pts/0\r\n50 100\r\nall\r\n");
    assert_eq!(session.end(), Some(3));
}

#[test]
fn lines_are_edited_and_echoed_inside() {
    let mut session = Session::new(&[
        "do",
        "--",
        "sh",
        "-c",
        "echo ready; read line; echo got $line",
    ]);
    session.see("ready\r\n");
    eventually("raw mode", || {
        !session.settings().local_flags.contains(LocalFlags::ICANON)
    });
    session.type_in("ab\x7fc\r");
    session.see("ab\x08 \x08c\r\ngot ac\r\n");
    assert_eq!(session.end(), Some(0));
}

#[test]
fn an_interrupt_reaches_the_foreground_only() {
    let mut session = Session::new(&["do", "--", "bash", "--norc", "-i"]);
    session.see("# ");
    session.type_in("sleep 100; echo status $?\r");
    session.see("sleep 100");
    session.type_in("echo started\r");
    std::thread::sleep(Duration::from_millis(300));
    session.type_in("\x03");
    session.type_in("echo $((40 + 2))\r");
    session.see("\r42\r\n");
    session.type_in("exit 7\r");
    assert_eq!(session.end(), Some(7));
}

#[test]
fn jobs_are_stopped_and_continued() {
    let mut session = Session::new(&["do", "--", "bash", "--norc", "-i"]);
    session.see("# ");
    session.type_in("sleep 2; echo over\r");
    std::thread::sleep(Duration::from_millis(500));
    session.type_in("\x1a");
    session.see("Stopped");
    session.type_in("fg\r");
    std::thread::sleep(Duration::from_millis(200));
    session.type_in("\x03");
    session.type_in("exit 0\r");
    assert_eq!(session.end(), Some(0));
}

#[test]
fn a_new_size_of_the_window_is_passed_on() {
    let session = Session::new(&[
        "do",
        "--",
        "bash",
        "-c",
        "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done",
    ]);
    session.see("ready");
    resize(&session, 33, 77);
    session.see("33 77\r\n");
    assert_eq!(session.end(), Some(0));
}

/// As a terminal emulator would, by stty(1), since ioctl(2) needs unsafe code.
fn resize(session: &Session, rows: u16, cols: u16) {
    let status = Command::new("stty")
        .args(["rows", &rows.to_string(), "cols", &cols.to_string()])
        .stdin(session.slave.try_clone().unwrap())
        .status();
    assert!(status.unwrap().success());
    let _ = kill(session.runsc(), Signal::SIGWINCH);
}

#[test]
fn the_terminal_is_restored_when_runsc_is_ended() {
    let session = Session::new(&["do", "--", "sh", "-c", "echo ready; exec sleep 60"]);
    session.see("ready");
    eventually("raw mode", || {
        !session.settings().local_flags.contains(LocalFlags::ICANON)
    });
    kill(session.runsc(), Signal::SIGTERM).unwrap();
    assert_eq!(session.end(), Some(143));
}

#[test]
fn the_terminal_is_restored_when_the_kernel_dies() {
    let session = Session::new(&["do", "--", "sh", "-c", "echo ready; exec sleep 60"]);
    session.see("ready");
    eventually("raw mode", || {
        !session.settings().local_flags.contains(LocalFlags::ICANON)
    });
    let sentry = descendants(session.runsc().as_raw() as u32)[0];
    kill(Pid::from_raw(sentry as i32), Signal::SIGKILL).unwrap();
    session.see("the sandbox was killed");
    assert_eq!(session.end(), Some(137));
}

#[test]
fn a_program_that_is_not_there_leaves_the_terminal_alone() {
    let session = Session::new(&["do", "--", "no-such-program"]);
    session.see("executable file not found");
    assert_eq!(session.end(), Some(127));
}

#[test]
fn redirected_output_is_no_terminal() {
    let dir = TempDir::new();
    let out = dir.path("out");
    let script = format!(
        "{RUNSC} do -- sh -c 'tty; test -t 1 || echo file; echo message >&2' > {}",
        out.display()
    );
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    let slave = File::from(slave);
    let mut child = Command::new("setsid")
        .args(["--ctty", "--wait", "sh", "-c", &script])
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave.try_clone().unwrap())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    drop(slave);
    let mut shown = vec![0; 100];
    let n = File::from(master).read(&mut shown).unwrap();
    assert_eq!(String::from_utf8_lossy(&shown[..n]), "message\r\n");
    assert_eq!(std::fs::read_to_string(out).unwrap(), "/dev/pts/0\nfile\n");
}

#[test]
fn keys_can_be_asked_for_while_input_comes_from_a_pipe() {
    let script = format!(
        "echo piped | {RUNSC} do -- sh -c 'read a; read b < /dev/tty; echo $a and $b; test -t 0 || tty <&1'"
    );
    let mut session = Session::command(&["sh", "-c", &script]);
    eventually("raw mode", || {
        !session.settings().local_flags.contains(LocalFlags::ICANON)
    });
    session.type_in("typed\r");
    session.see("piped and typed\r\n/dev/pts/0\r\n");
    assert_eq!(session.end(), Some(0));
}

#[test]
fn a_background_job_is_not_stopped_and_takes_no_input() {
    let mut session = Session::command(&["bash", "--norc", "-i"]);
    session.see("# ");
    session.type_in(&format!("{RUNSC} do -- sh -c 'sleep 1; echo behind' &\r"));
    session.type_in("read x; echo mine $x\r");
    session.see("echo mine");
    session.type_in("line\r");
    session.see("mine line\r\n");
    session.see("behind\r\r\n");
    session.type_in("wait; exit 3\r");
    assert_eq!(session.end(), Some(3));
}

#[test]
fn a_background_job_can_be_brought_to_the_front() {
    let mut session = Session::command(&["bash", "--norc", "-i"]);
    session.see("# ");
    session.type_in(&format!(
        "{RUNSC} do -- sh -c 'echo up; read x; echo got $x' &\r"
    ));
    session.see("up\r\r\n");
    session.type_in("fg\r");
    // What is typed waits until runsc has seen that it is for it.
    session.type_in("it\r");
    session.see("got it\r\n");
    session.type_in("exit 4\r");
    assert_eq!(session.end(), Some(4));
}

#[test]
fn a_console_socket_gets_the_master() {
    use nix::cmsg_space;
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::UnixListener;

    let dir = TempDir::new();
    bundle(&dir, |c| {
        c["process"]["terminal"] = true.into();
        c["process"]["consoleSize"] = serde_json::json!({ "height": 20, "width": 30 });
        c["process"]["args"] = serde_json::json!([
            "sh",
            "-c",
            "busybox tty; busybox stty size; read x; echo got $x; exit 6"
        ]);
    });
    let socket = dir.path("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let child = runsc()
        .arg("--root")
        .arg(dir.path("state"))
        .args(["run", "it", "-b"])
        .arg(dir.dir())
        .arg("--console-socket")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut name = [0; 256];
    let mut space = cmsg_space!(RawFd);
    let mut iov = [std::io::IoSliceMut::new(&mut name)];
    let message = recvmsg::<()>(
        stream.as_raw_fd(),
        &mut iov,
        Some(&mut space),
        MsgFlags::empty(),
    )
    .unwrap();
    let fds: Vec<RawFd> = message
        .cmsgs()
        .unwrap()
        .flat_map(|c| {
            if let ControlMessageOwned::ScmRights(fds) = c {
                fds
            } else {
                Vec::new()
            }
        })
        .collect();
    let bytes = message.bytes;
    assert!(name[..bytes].starts_with(b"/dev/pts/"));
    #[expect(
        unsafe_code,
        reason = "the message made the descriptor, and nobody else knows it"
    )]
    // SAFETY: as said.
    let mut master = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fds[0]) };
    let mut shown = String::new();
    let mut buf = [0; 256];
    let mut see = |master: &mut File, text: &str| {
        while !shown.contains(text) {
            let n = master.read(&mut buf).unwrap();
            shown.push_str(&String::from_utf8_lossy(&buf[..n]));
        }
    };
    see(&mut master, "/dev/pts/0\r\n20 30\r\n");
    master.write_all(b"this\r").unwrap();
    see(&mut master, "this\r\ngot this\r\n");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(6));
}
