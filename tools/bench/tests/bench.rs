//! The tool as a whole: natively, and with runtimes that lie. Needs root's rights for namespaces and mounts; without them there is
//! nothing to test, and it says so.

use bounded::Bounded;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("runsc-bench-it-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A runtime: a shell script.
    fn runtime(&self, script: &str) -> String {
        let path = self.0.join("runtime");
        std::fs::write(
            &path,
            format!("#!/bin/sh\n[ \"$1\" = run ] || exit 0\n{script}\n"),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        format!("liar={}", path.display())
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn privileged() -> bool {
    let able = Command::new("unshare")
        .args(["-mn", "true"])
        .finish()
        .status
        .success();
    if !able {
        eprintln!("skipped: no rights to make namespaces");
    }
    able
}

fn bench(dir: &TempDir, args: &[&str]) -> (Output, Value) {
    let json = dir.0.join("out.json");
    let out = Command::new("timeout")
        .args(["-k", "5", "300", env!("CARGO_BIN_EXE_runsc-bench")])
        .args([
            "--guest",
            env!("CARGO_BIN_EXE_runsc-bench-guest"),
            "--quick",
            "--rounds",
            "1",
        ])
        .arg("--json")
        .arg(&json)
        .args(args)
        .finish_within(Duration::from_secs(240))
        .unwrap_or_else(|why| panic!("{why}"));
    let text = std::fs::read_to_string(json)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    (out, serde_json::from_str(&text).unwrap())
}

fn figure<'a>(results: &'a Value, item: &str, runtime: &str) -> &'a Value {
    let items = results["summary"]["items"].as_array().unwrap();
    let item = items.iter().find(|i| i["name"] == item).unwrap();
    &item["figures"][runtime]
}

#[test]
fn natively_everything_asked_for_has_a_figure() {
    if !privileged() {
        return;
    }
    let dir = TempDir::new("native");
    let items = [
        "crowd-pss",
        "idle-largest-rss",
        "null",
        "pipe-4k",
        "tcp-1",
        "fork-exec",
        "signal-pingpong",
        "stat-bind",
        "shell-builtin",
        "start-true",
    ];
    let (out, results) = bench(&dir, &items);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    for item in items {
        let figure = figure(&results, item, "native");
        assert!(
            figure["median"].as_f64().is_some_and(|v| v > 0.0),
            "{item}: {figure}"
        );
    }
    assert!(String::from_utf8_lossy(&out.stdout).contains("shell-builtin"));
}

#[test]
fn a_result_out_of_thin_air_is_no_result() {
    if !privileged() {
        return;
    }
    let dir = TempDir::new("thin");
    let runtime = dir.runtime(r#"echo '{"event":"result","value":1.0}'"#);
    let (out, results) = bench(&dir, &["--runtime", &runtime, "null"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(figure(&results, "null", "liar")["failed"].is_string());
    assert!(figure(&results, "null", "native")["median"].is_number());
    assert!(String::from_utf8_lossy(&out.stdout).contains("FAILED"));
}

#[test]
fn a_clock_that_is_wrong_is_caught() {
    if !privileged() {
        return;
    }
    let dir = TempDir::new("clock");
    let runtime = dir.runtime(
        "echo '{\"event\":\"begin\"}'; sleep 1; echo '{\"event\":\"end\",\"seconds\":0.001}'; echo '{\"event\":\"result\",\"value\":1.0}'",
    );
    let (_, results) = bench(&dir, &["--runtime", &runtime, "null"]);
    let why = figure(&results, "null", "liar")["failed"].as_str().unwrap();
    assert!(why.contains("clock"), "{why}");
}

#[test]
fn what_hangs_is_ended_with_all_its_processes() {
    if !privileged() {
        return;
    }
    let dir = TempDir::new("hang");
    // The runtime's child is an orphan in another session, as a sandbox may be.
    let mark = format!("7{:06}", std::process::id());
    let runtime = dir.runtime(&format!("setsid sleep {mark} & sleep {mark}"));
    let (_, results) = bench(
        &dir,
        &[
            "--no-native",
            "--timeout",
            "1",
            "--runtime",
            &runtime,
            "null",
        ],
    );
    let why = figure(&results, "null", "liar")["failed"].as_str().unwrap();
    assert!(why.contains("time"), "{why}");
    let left = Command::new("pgrep")
        .args(["-f", &format!("sleep {mark}")])
        .finish();
    assert!(
        left.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&left.stdout)
    );
}
