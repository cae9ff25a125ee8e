use super::*;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

const SHORT: Duration = Duration::from_millis(300);

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn gone(pid: u32) -> bool {
    // A process that was adopted may not have been reaped.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |s| s.contains(") Z "))
}

#[test]
fn an_end_in_time_gives_status_and_output() {
    let output = sh("echo out; echo err >&2; exit 3").finish();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );
    let much = sh("yes | head -c 1000000").finish();
    assert_eq!(much.stdout.len(), 1_000_000);
}

#[test]
fn what_hangs_is_killed_with_its_descendants() {
    let why = sh("echo said; sleep 1000 & echo $!; wait").finish_within(SHORT);
    let why = why.unwrap_err();
    assert!(
        why.contains("it does not end") && why.contains("(sleep) S"),
        "{why}"
    );
    let pid = why.lines().find_map(|l| l.parse().ok()).unwrap();
    assert!(reached(PATIENCE, || gone(pid)), "{pid}");
}

#[test]
fn lines_come_one_by_one() {
    let mut cat = Command::new("cat");
    let mut running = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).run();
    for line in ["one\n", "two\n"] {
        running
            .stdin
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
        assert_eq!(running.line(), line);
    }
    assert!(running.is_running());
    drop(running.stdin.take());
    assert_eq!(running.line(), "");
    assert!(running.wait().success());
}

#[test]
fn an_end_of_output_is_no_end() {
    let mut running = sh("echo x; exec >&-; exec sleep 1000")
        .stdout(Stdio::piped())
        .run();
    assert_eq!(running.until_closed(), "x\n");
    assert!(running.is_running());
    let pid = running.id();
    drop(running);
    assert!(gone(pid));
}

#[test]
fn within_gives_values_and_panics_on() {
    assert_eq!(within(PATIENCE, "a sum", || 1 + 1), 2);
    let why = catch_unwind(|| within(PATIENCE, "a panic", || panic!("told")));
    assert_eq!(why.unwrap_err().downcast_ref::<&str>(), Some(&"told"));
}

#[test]
fn within_names_what_is_late() {
    let (_open, never) = channel::<()>();
    let late = AssertUnwindSafe(move || within(SHORT, "a message", move || never.recv().is_ok()));
    let why = catch_unwind(late).unwrap_err();
    assert_eq!(
        why.downcast_ref::<String>().unwrap(),
        "a message: not over after 300ms"
    );
}
