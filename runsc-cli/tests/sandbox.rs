//! Programs in the sandbox as their caller sees them: status, descriptors, signals, what is left behind; and the walls around them.

mod common;

use common::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A number that the debug log ends with.
fn counter(log: &str, name: &str) -> u64 {
    let at = log
        .rfind(&format!(" {name}: "))
        .unwrap_or_else(|| panic!("no {name} in {log}"));
    let digits = &log[at + name.len() + 3..];
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().unwrap()
}

#[test]
fn repeated_calls_come_without_a_signal() {
    for (patching, calls) in [("on", 4000), ("off", 400)] {
        let output = runsc()
            .args(["--debug", "--syscall-patching", patching, "do", "--", "dd"])
            .args(["if=/dev/zero", "of=/dev/null", "bs=1", "status=none"])
            .arg(format!("count={}", calls / 2))
            .finish();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let log = stderr(&output);
        let (signals, fast) = (counter(&log, "sigsys"), counter(&log, "fast_calls"));
        let patched = counter(&log, "patched");
        if patching == "on" {
            // At most some sites of a libc can't be rewritten.
            assert!(patched >= 2 && fast > calls - 100, "{log}");
            assert!(signals < 1000, "{log}");
        } else {
            assert!(patched == 0 && fast == 0 && signals > calls, "{log}");
        }
    }
}

#[test]
fn short_processes_start_out_rewritten() {
    let script = "i=0; while [ $i -lt 400 ]; do /bin/true; i=$((i+1)); done";
    let run = |patching| {
        let output = runsc()
            .args(["--debug", "--syscall-patching", patching, "do", "--"])
            .args(["sh", "-c", script])
            .finish();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let log = stderr(&output);
        ["sigsys", "fast_calls", "shared_sites", "violations"].map(|name| counter(&log, name))
    };
    let [signals, fast, sites, violations] = run("on");
    assert!(sites > 0 && violations == 0);
    // None of them makes a call twice that is not in a loop: without a text for all they would all be signals.
    assert!(fast > 2 * signals, "{fast} and {signals} by signals");
    let [_, fast, sites, _] = run("off");
    assert_eq!((fast, sites), (0, 0));
}

/// A file that is changed in its place on the host, after its text was shared, is run as it is then.
#[test]
fn changed_text_is_not_shared() {
    // mov $nr,%eax; syscall
    const GETPPID: [u8; 7] = [0xb8, 110, 0, 0, 0, 0x0f, 5];
    const GETPID: [u8; 7] = [0xb8, 39, 0, 0, 0, 0x0f, 5];
    let dir = TempDir::new();
    let program = dir.path("busybox");
    let mut bytes = std::fs::read("/bin/busybox").unwrap();
    let Some(at) = bytes.windows(7).position(|w| w == GETPPID) else {
        return println!("this busybox asks otherwise");
    };
    std::fs::copy("/bin/busybox", &program).unwrap();
    let mut script = String::from("p() { PROGRAM sh -c 'test $PPID = $$'; }\n");
    script += "i=0; while [ $i -lt 40 ]; do p && exit 3; i=$((i+1)); done; echo ready; read go\n";
    script += "until p; do PROGRAM sleep 0.05; done; echo changed\n";
    let script = script.replace("PROGRAM", program.to_str().unwrap());
    // Its times must be some time ago.
    std::thread::sleep(std::time::Duration::from_millis(2200));
    let mut child = runsc()
        .args(["--debug", "do", "--", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .run();
    assert_eq!(child.line(), "ready\n");
    bytes[at..at + 7].copy_from_slice(&GETPID);
    std::fs::write(&program, &bytes).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = child.output();
    assert_eq!(stdout(&output), "changed\n", "{}", stderr(&output));
    assert!(counter(&stderr(&output), "shared_sites") > 0);
}

// ---- status ----

#[test]
fn the_status_is_the_programs() {
    for code in [0, 1, 42, 125, 255] {
        let output = sandboxed(&["sh", "-c", &format!("exit {code}")]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn a_killed_program_gives_128_and_the_signal() {
    for signal in [9, 15, 6, 11] {
        let output = sandboxed(&["sh", "-c", &format!("kill -{signal} $$; sleep 10")]);
        assert_eq!(
            output.status.code(),
            Some(128 + signal),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_program_that_is_not_there_gives_127_and_says_what_was_tried() {
    let output = runsc()
        .args(["do", "--env", "PATH=/one:/two", "--", "no-such-program"])
        .finish();
    assert_eq!(output.status.code(), Some(127));
    let text = stderr(&output);
    assert!(
        text.contains("executable file not found in $PATH"),
        "{text}"
    );
    assert!(
        text.contains("/one/no-such-program") && text.contains("/two/no-such-program"),
        "{text}"
    );
    let output = sandboxed(&["/no/such/program"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(
        stderr(&output).contains("no such file or directory"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_program_that_cannot_be_run_gives_126() {
    let output = sandboxed(&["/etc/passwd"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(
        stderr(&output).contains("permission denied"),
        "{}",
        stderr(&output)
    );
    let output = sandboxed(&["/etc"]);
    assert_eq!(output.status.code(), Some(126));
}

// ---- what the program gets ----

#[test]
fn arguments_arrive_as_they_are() {
    let output = sandboxed(&["printf", "<%s>", "a b", "", "--debug", "ä\n*"]);
    assert_eq!(stdout(&output), "<a b><><--debug><ä\n*>");
}

#[test]
fn the_environment_is_the_callers_and_can_be_edited() {
    let output = runsc()
        .env("KEPT", "1")
        .env("GONE", "1")
        .args([
            "do",
            "--env",
            "NEW=x=y",
            "--env",
            "GONE",
            "--",
            "sh",
            "-c",
            "echo $KEPT ${GONE-none} $NEW",
        ])
        .finish();
    assert_eq!(stdout(&output), "1 none x=y\n");
}

#[test]
fn the_working_directory_and_the_ids_can_be_chosen() {
    let output = runsc()
        .args([
            "do",
            "--cwd",
            "/usr",
            "--uid",
            "7",
            "--gid",
            "8",
            "--",
            "sh",
            "-c",
            "pwd; id -u; id -g",
        ])
        .finish();
    assert_eq!(stdout(&output), "/usr\n7\n8\n");
}

#[test]
fn standard_input_and_output_pass_through() {
    let mut child = runsc()
        .args(["do", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .run();
    let data: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut stdin = child.stdin.take().unwrap();
    let copy = data.clone();
    within(PATIENCE, "writing to it", move || {
        stdin.write_all(&copy).unwrap();
    });
    let output = child.output();
    assert!(output.status.success());
    let back = output.stdout;
    assert!(back == data, "{} bytes of {}", back.len(), data.len());
}

#[test]
fn a_file_as_standard_output_is_appended_to_where_it_stands() {
    let dir = TempDir::new();
    let script = format!("{RUNSC} do -- echo one; echo two; {RUNSC} do -- echo three");
    let out = std::fs::File::create(dir.path("out")).unwrap();
    let status = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(out)
        .run()
        .wait();
    assert!(status.success());
    assert_eq!(
        std::fs::read_to_string(dir.path("out")).unwrap(),
        "one\ntwo\nthree\n"
    );
}

#[test]
fn closed_output_is_seen_by_its_reader() {
    let mut child = Command::new(RUNSC)
        .args([
            "do",
            "--",
            "sh",
            "-c",
            "echo x; exec >&- 2>&-; exec sleep 60",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .run();
    assert_eq!(
        child.until_closed(),
        "x\n",
        "the end of the file came while the program runs on"
    );
    assert!(child.is_running());
}

#[test]
fn descriptors_of_the_caller_stay_outside() {
    let script = format!("exec 7</etc/passwd; exec {RUNSC} do -- sh -c 'cat <&7'");
    let output = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .finish();
    assert!(!output.status.success());
    assert_eq!(stdout(&output), "");
}

// ---- files ----

#[test]
fn changes_stay_in_memory() {
    let dir = TempDir::new();
    std::fs::write(dir.path("old"), "old\n").unwrap();
    let script = format!(
        "cd {}; echo new > new; echo more >> old; rm -f gone; cat new old",
        dir.dir().display()
    );
    let output = sandboxed(&["sh", "-c", &script]);
    assert_eq!(stdout(&output), "new\nold\nmore\n", "{}", stderr(&output));
    assert!(!dir.path("new").exists());
    assert_eq!(std::fs::read_to_string(dir.path("old")).unwrap(), "old\n");
}

#[test]
fn changes_reach_the_host_with_rw() {
    let dir = TempDir::new();
    std::fs::write(dir.path("old"), "old\n").unwrap();
    let script = format!(
        "cd {}; echo new > new; echo more >> old; mkdir d; ln -s x l",
        dir.dir().display()
    );
    let output = runsc()
        .args(["do", "--rw", "--", "sh", "-c", &script])
        .finish();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(dir.path("new")).unwrap(), "new\n");
    assert_eq!(
        std::fs::read_to_string(dir.path("old")).unwrap(),
        "old\nmore\n"
    );
    assert!(dir.path("d").is_dir());
    assert_eq!(
        std::fs::read_link(dir.path("l")).unwrap().to_str(),
        Some("x")
    );
}

#[test]
fn another_root_is_all_there_is() {
    let dir = TempDir::new();
    bundle(&dir, |_| ());
    let rootfs = dir.path("rootfs");
    let output = runsc()
        .args(["do", "--root"])
        .arg(&rootfs)
        .args(["--", "/bin/sh", "-c", "pwd; busybox ls /"])
        .finish();
    assert_eq!(
        stdout(&output),
        "/\nbin\ndev\nproc\nsys\n",
        "{}",
        stderr(&output)
    );
    assert_eq!(
        std::fs::read_dir(&rootfs).unwrap().count(),
        1,
        "mount points were made in memory"
    );
}

// ---- signals and the end ----

/// Starts `script` in the sandbox and waits for its first line.
fn start(script: &str) -> Running {
    let mut child = Command::new(RUNSC)
        .args(["do", "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .run();
    assert!(child.line().ends_with('\n'), "no line at all");
    child
}

fn pid(child: &Running) -> Pid {
    Pid::from_raw(child.id() as i32)
}

#[test]
fn signals_are_passed_on() {
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGHUP, "HUP"),
    ] {
        let child = start(&format!(
            "trap 'echo got {name}; exit 3' {name}; echo ready; while :; do sleep 0.1; done"
        ));
        kill(pid(&child), signal).unwrap();
        let output = child.output();
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(3), format!("got {name}\n").as_str())
        );
    }
}

#[test]
fn an_unhandled_signal_ends_the_program() {
    let mut child = start("echo ready; exec sleep 60");
    kill(pid(&child), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().code(), Some(143));
}

#[test]
fn nothing_is_left_when_the_program_ends() {
    let mut child = start("sleep 60 & sleep 60 & echo ready; sleep 0.2; exit 5");
    let all = descendants(child.id());
    assert!(all.len() >= 3, "the sandbox and its stubs: {all:?}");
    assert_eq!(child.wait().code(), Some(5));
    let alive = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(!all.iter().any(alive), "{all:?}");
}

#[test]
fn the_sandbox_dies_with_its_parent() {
    let mut child = start("sleep 60 & echo ready; exec sleep 60");
    let all = descendants(child.id());
    child.kill();
    assert_eq!(child.wait().signal(), Some(libc::SIGKILL));
    let alive = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    eventually("the end of the sandbox", || !all.iter().any(alive));
}

#[test]
fn a_dead_kernel_is_reported() {
    let mut child = Command::new(RUNSC)
        .args(["do", "--", "sh", "-c", "echo ready; exec sleep 60"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .run();
    assert_eq!(child.line(), "ready\n");
    let sentry = descendants(child.id())[0];
    kill(Pid::from_raw(sentry as i32), Signal::SIGKILL).unwrap();
    let output = child.output();
    assert_eq!(output.status.code(), Some(137));
    assert!(
        stderr(&output).contains("the sandbox was killed"),
        "{}",
        stderr(&output)
    );
}

// ---- the walls ----

fn status_line(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name}")).trim().to_owned()
}

#[test]
fn the_sentry_is_jailed_before_the_program_runs() {
    let child = start("echo ready; exec sleep 60");
    let all = descendants(child.id());
    let sentry = all[0];
    for pid in &all {
        assert_eq!(status_line(*pid, "Seccomp"), "2", "{pid}");
        assert_eq!(status_line(*pid, "NoNewPrivs"), "1", "{pid}");
        assert_eq!(status_line(*pid, "CapInh"), "0000000000000000", "{pid}");
    }
    // Reading and searching; the host's files aren't written to here.
    assert_eq!(status_line(sentry, "CapEff"), "0000000000000004");
    assert_eq!(status_line(sentry, "CapBnd"), "0000000000000004");
    for stub in &all[1..] {
        assert_eq!(status_line(*stub, "CapEff"), "0000000000000000");
    }
    let link = |pid: u32, name: &str| std::fs::read_link(format!("/proc/{pid}/{name}"));
    let own = std::process::id();
    for kind in ["user", "pid", "mnt", "ipc", "uts", "net"] {
        let name = format!("ns/{kind}");
        if let Ok(theirs) = link(sentry, &name) {
            assert_ne!(theirs, link(own, &name).unwrap(), "{kind}");
        }
    }
    if root() {
        let listing = std::fs::read_dir(format!("/proc/{sentry}/root/")).unwrap();
        assert_eq!(listing.count(), 0, "its root is empty");
        assert!(
            std::fs::File::create(format!("/proc/{sentry}/root/x")).is_err(),
            "and read-only"
        );
    }
}

#[test]
fn a_user_without_privileges_can_run_it() {
    if !root() {
        return; // All other tests have shown it.
    }
    // Where others can reach it.
    let dir = TempDir::new();
    let binary = dir.path("runsc");
    std::fs::copy(RUNSC, &binary).unwrap();
    use std::os::unix::process::CommandExt;
    let output = Command::new("timeout")
        .arg("60")
        .arg(&binary)
        .args([
            "do",
            "--cwd",
            "/",
            "--",
            "sh",
            "-c",
            "id -u; echo x > /tmp/file; cat /tmp/file; exit 4",
        ])
        .uid(12345)
        .gid(12345)
        .stdin(Stdio::null())
        .finish();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert_eq!(stdout(&output), "0\nx\n");
}

// ---- containers ----

#[test]
fn a_bundle_runs() {
    let dir = TempDir::new();
    bundle(&dir, |c| {
        c["process"]["args"] = json!([
            "sh",
            "-c",
            "busybox hostname; busybox id -u; echo $GREETING; busybox cat; exit 9"
        ]);
        c["process"]["env"] = json!(["PATH=/bin", "GREETING=hello"]);
        c["process"]["user"] = json!({ "uid": 5, "gid": 6 });
        c["hostname"] = "inside".into();
    });
    let mut child = run_bundle(&dir)
        .arg("--pid-file")
        .arg(dir.path("pid"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .run();
    eventually("the pid file", || dir.path("pid").exists());
    let pid: u32 = std::fs::read_to_string(dir.path("pid"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(descendants(child.id()).contains(&pid));
    let again = runsc()
        .arg("--root")
        .arg(dir.path("state"))
        .args(["run", "it"])
        .current_dir(dir.dir())
        .finish();
    assert!(
        stderr(&again).contains("container with given ID already exists"),
        "{}",
        stderr(&again)
    );
    child.stdin.take().unwrap().write_all(b"input\n").unwrap();
    let output = child.output();
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(9), "inside\n5\nhello\ninput\n")
    );
    assert_eq!(std::fs::read_dir(dir.path("state")).unwrap().count(), 0);
}

#[test]
fn a_root_is_written_through_unless_read_only() {
    for (readonly, expected) in [(false, "ok\n"), (true, "refused\n")] {
        let dir = TempDir::new();
        bundle(&dir, |c| {
            c["process"]["args"] = json!([
                "sh",
                "-c",
                "echo x 2>/dev/null > /file && echo ok || echo refused"
            ]);
            c["root"]["readonly"] = readonly.into();
        });
        let output = run_bundle(&dir).finish();
        assert_eq!(stdout(&output), expected, "{}", stderr(&output));
        assert_eq!(dir.path("rootfs/file").exists(), !readonly);
    }
}

#[test]
fn binds_show_the_hosts_files() {
    let dir = TempDir::new();
    std::fs::create_dir(dir.path("data")).unwrap();
    std::fs::write(dir.path("data/file"), "content\n").unwrap();
    bundle(&dir, |c| {
        c["process"]["args"] = json!([
            "sh",
            "-c",
            "busybox cat /mnt/ro/file; echo x > /mnt/ro/new; echo y > /mnt/rw/new"
        ]);
        for (at, option) in [("/mnt/ro", "ro"), ("/mnt/rw", "rw")] {
            let mount = json!({ "destination": at, "type": "bind", "source": dir.path("data"), "options": ["rbind", option] });
            c["mounts"].as_array_mut().unwrap().push(mount);
        }
    });
    let output = run_bundle(&dir).finish();
    assert_eq!(stdout(&output), "content\n");
    assert!(
        stderr(&output).contains("Read-only file system"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        std::fs::read_to_string(dir.path("data/new")).unwrap(),
        "y\n"
    );
}

#[test]
fn strace_lines_go_where_they_are_wanted() {
    let dir = TempDir::new();
    let output = runsc()
        .arg("--strace-file")
        .arg(dir.path("trace"))
        .args(["do", "--", "sh", "-c", "exit 3"])
        .finish();
    assert_eq!(stderr(&output), "");
    let trace = std::fs::read_to_string(dir.path("trace")).unwrap();
    assert!(
        trace.lines().last().unwrap().ends_with("exit_group(3) = ?"),
        "{trace}"
    );
    assert!(trace.lines().any(|l| l.contains("openat(AT_FDCWD, \"/etc/ld.so.cache\", O_RDONLY|O_CLOEXEC) = 3 (")), "{trace}");
}
