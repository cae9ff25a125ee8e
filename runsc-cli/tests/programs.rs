//! Real programs give byte-identical output inside and natively.
//!
//! Each script in `tests/programs/` runs twice in an empty directory: natively, and under `runsc do`. Standard output and the exit
//! status have to be the same. Its first line names the Debian packages that it needs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

/// One at a time: what is compared includes programs that measure time.
static TURN: Mutex<()> = Mutex::new(());

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(name)
}

fn output(mut command: Command, dir: &Path) -> Output {
    let out = command.current_dir(dir).stdin(Stdio::null()).output();
    out.unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// An empty directory for one run.
fn fresh_dir(name: &str, side: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("runsc-programs-{}", std::process::id()));
    let dir = dir.join(format!("{name}.{side}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    dir
}

fn check(name: &str) {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let path = script(name);
    let text = std::fs::read_to_string(&path).expect("the script");
    let needs = text
        .lines()
        .next()
        .and_then(|l| l.strip_prefix("# needs: "));
    let needs = needs.expect("a first line that names packages");

    let native_dir = fresh_dir(name, "native");
    let mut native = Command::new("timeout");
    native.args(["120", "bash"]).arg(&path);
    let native = output(native, &native_dir);
    let native_err = String::from_utf8_lossy(&native.stderr);
    assert!(
        native.status.success(),
        "{name} fails natively ({}): are the packages installed? It needs {needs}.\n{native_err}",
        native.status
    );

    let inside_dir = fresh_dir(name, "inside");
    let mut inside = Command::new("timeout");
    inside
        .args(["-k", "5", "240"])
        .arg(env!("CARGO_BIN_EXE_runsc"));
    inside
        .arg("do")
        .arg("--cwd")
        .arg(&inside_dir)
        .args(["--", "bash"])
        .arg(&path);
    let inside = output(inside, &inside_dir);
    let (want, got) = (
        String::from_utf8_lossy(&native.stdout),
        String::from_utf8_lossy(&inside.stdout),
    );
    let err = String::from_utf8_lossy(&inside.stderr);
    assert_eq!(
        want, got,
        "{name}: standard output differs (natively left, inside right)\n{err}"
    );
    assert_eq!(
        native.status.code(),
        inside.status.code(),
        "{name}: exit status differs\n{err}"
    );
    let _ = std::fs::remove_dir_all(native_dir);
    let _ = std::fs::remove_dir_all(inside_dir);
}

macro_rules! programs {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            check(concat!(stringify!($name), ".sh"));
        }
    )*};
}

programs! {
    archives bash busybox coreutils gcc_make git go java job_control node perl python python_asyncio
    python_multiprocessing sqlite
}
