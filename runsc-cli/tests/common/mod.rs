//! What the tests of the binary share.
#![allow(
    dead_code,
    unused_imports,
    reason = "not every test file needs all of it"
)]

pub use bounded::{Bounded, PATIENCE, Running, within};

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The binary.
pub const RUNSC: &str = env!("CARGO_BIN_EXE_runsc");

/// A directory of a test's own, removed with it. Others may look into it.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "runsc-it-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The binary; it ends even if the test is killed that waits for it.
pub fn runsc() -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "120", RUNSC]);
    command.stdin(std::process::Stdio::null());
    command
}

/// Runs `runsc do -- args`.
pub fn sandboxed(args: &[&str]) -> Output {
    runsc().args(["do", "--"]).args(args).finish()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `done`, for half a minute.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what}: not within half a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A bundle whose root file system holds the static busybox of the host and nothing else.
pub fn bundle(dir: &TempDir, edit: impl FnOnce(&mut serde_json::Value)) {
    assert!(
        runsc()
            .args(["spec", "--bundle"])
            .arg(dir.dir())
            .finish()
            .status
            .success()
    );
    let bin = dir.path("rootfs/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy("/bin/busybox", bin.join("busybox"))
        .expect("the package busybox-static is needed");
    std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
    let text = std::fs::read_to_string(dir.path("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["process"]["terminal"] = false.into();
    edit(&mut config);
    std::fs::write(dir.path("config.json"), config.to_string()).unwrap();
}

/// `runsc run it` of a bundle, its state beside it.
pub fn run_bundle(dir: &TempDir) -> Command {
    let mut command = runsc();
    command.arg("--root").arg(dir.path("state"));
    command.args(["run", "it", "--bundle"]).arg(dir.dir());
    command
}

/// The children of a process on the host, and theirs.
pub fn descendants(pid: u32) -> Vec<u32> {
    let children =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<u32> = children
        .split_whitespace()
        .map(|p| p.parse().unwrap())
        .collect();
    children
        .iter()
        .flat_map(|p| std::iter::once(*p).chain(descendants(*p)))
        .collect()
}
