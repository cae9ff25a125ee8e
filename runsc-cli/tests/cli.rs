//! The command line from outside, as far as nothing runs in a sandbox.

use bounded::Bounded;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

fn runsc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runsc"))
        .args(args)
        .finish()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "runsc-cli-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_version_has_the_shape_of_runcs() {
    let text = stdout(&runsc(&["--version"]));
    let mut lines = text.lines();
    assert!(
        lines.next().unwrap().starts_with("runsc version 0."),
        "{text}"
    );
    assert!(lines.next().unwrap().starts_with("spec: 1."), "{text}");
}

#[test]
fn help_names_the_commands() {
    let output = runsc(&["--help"]);
    assert!(output.status.success());
    for word in ["do", "run", "spec", "syscalls", "--log", "Exit status"] {
        assert!(stdout(&output).contains(word), "{word}");
    }
}

#[test]
fn a_wrong_option_is_refused_with_usage() {
    let output = runsc(&["run", "--frobnicate", "x"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("--frobnicate") && stderr(&output).contains("Usage"));
}

#[test]
fn a_written_specification_can_be_read_back() {
    let dir = TempDir::new();
    for args in [
        &["spec", "--bundle", &dir.path("")][..],
        &["--root", "/s", "spec", "-b", &dir.path("")],
    ] {
        assert!(runsc(args).status.success());
        let text = std::fs::read_to_string(dir.path("config.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["process"]["args"], serde_json::json!(["sh"]));
        std::fs::remove_file(dir.path("config.json")).unwrap();
    }
    assert!(runsc(&["spec", "--bundle", &dir.path("")]).status.success());
    let again = runsc(&["spec", "--bundle", &dir.path("")]);
    assert_eq!(again.status.code(), Some(125));
    assert!(stderr(&again).contains("exists already"));
}

#[test]
fn a_missing_bundle_is_explained() {
    let dir = TempDir::new();
    let output = runsc(&[
        "--root",
        &dir.path("state"),
        "run",
        "--bundle",
        &dir.path("none"),
        "x",
    ]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("no such file or directory"),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("level=error"),
        "{}",
        stderr(&output)
    );
    assert!(
        !Path::new(&dir.path("state")).exists(),
        "a container that isn't there leaves no state"
    );
}

#[test]
fn the_bundle_is_the_current_directory_if_nothing_is_said() {
    let dir = TempDir::new();
    let output = Command::new(env!("CARGO_BIN_EXE_runsc"))
        .args(["run", "x"])
        .current_dir(&dir.0)
        .finish();
    assert!(
        stderr(&output).contains(&dir.path("config.json")),
        "{}",
        stderr(&output)
    );
}

#[test]
fn errors_are_appended_to_the_log_as_json() {
    let dir = TempDir::new();
    let log = dir.path("log.json");
    std::fs::write(
        &log,
        "{\"level\":\"info\",\"msg\":\"before\",\"time\":\"x\"}\n",
    )
    .unwrap();
    std::fs::write(dir.path("config.json"), "{\n\"ociVersion\": 1\n}").unwrap();
    let args = [
        "--log",
        &log,
        "--log-format",
        "json",
        "run",
        "x",
        "--bundle",
        &dir.path(""),
    ];
    let output = runsc(&args);
    assert_eq!(output.status.code(), Some(125));
    let text = std::fs::read_to_string(&log).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert_eq!(last["level"], "error");
    assert!(
        last["msg"].as_str().unwrap().contains("config.json:2:15: "),
        "{last}"
    );
    assert!(last["time"].as_str().unwrap().ends_with('Z'));
    assert!(
        stderr(&output).starts_with("runsc: "),
        "people read it, too: {}",
        stderr(&output)
    );
}

#[test]
fn a_log_that_cannot_be_written_is_an_error() {
    let output = runsc(&["--log", "/nowhere/at/all", "run", "x"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("/nowhere/at/all"));
}

#[test]
fn container_names_are_checked() {
    let output = runsc(&["run", "a/b"]);
    assert!(
        stderr(&output).contains("invalid container ID"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_page_of_system_calls_is_what_the_program_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SYSCALLS.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page == stdout(&runsc(&["syscalls", "--format=markdown"])),
        "write it anew: target/debug/runsc syscalls --format markdown > docs/SYSCALLS.md"
    );
}

#[test]
fn the_list_of_system_calls_has_three_forms() {
    let list: Vec<serde_json::Value> =
        serde_json::from_str(&stdout(&runsc(&["syscalls", "--format", "json"]))).unwrap();
    assert!(list.len() > 350);
    assert!(
        list.iter()
            .any(|row| row["name"] == "openat" && row["number"] == 257)
    );
    let table = stdout(&runsc(&["syscalls"]));
    assert_eq!(table.lines().count(), list.len() + 1);
    assert!(stdout(&runsc(&["syscalls", "--format=markdown"])).contains("| 257 | `openat` |"));
}
