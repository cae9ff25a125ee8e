//! Real programs give byte-identical output inside and natively.
//!
//! Each script in `tests/programs/` runs in an empty directory: natively, and under `runsc do`. Standard output and the exit
//! status have to be the same. Its first line names the Debian packages that it needs.
//!
//! When root runs the tests, `runsc` is run as a user without privileges as well (`as_a_user`): root inside is then nobody
//! outside, by way of a user namespace.

use bounded::Bounded;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// How long a script may take.
const LIMIT: Duration = Duration::from_secs(240);

/// One at a time: what is compared includes programs that measure time.
static TURN: Mutex<()> = Mutex::new(());

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(name)
}

fn output(mut command: Command, dir: &Path) -> Output {
    let out = command.current_dir(dir).finish_within(LIMIT);
    out.unwrap_or_else(|why| panic!("{why}"))
}

/// An empty directory for one run, which everybody may use.
fn fresh_dir(name: &str, side: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("runsc-programs-{}", std::process::id()));
    let dir = dir.join(format!("{name}.{side}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&dir, all).expect("the temporary directory is ours");
    dir
}

/// Who runs `runsc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// Whoever runs the tests.
    Own,
    /// Somebody without privileges.
    Nobody,
}

/// User and group `nobody` of Debian.
const NOBODY: &str = "65534";

impl Caller {
    /// The start of a command that runs `program` as this caller.
    fn command(self, program: &Path) -> Command {
        let mut command = Command::new("timeout");
        // In case that the test itself is killed.
        command.args(["-k", "5", "300"]);
        if self == Self::Nobody {
            command.args(["setpriv", "--reuid", NOBODY, "--regid", NOBODY]);
            command.arg("--clear-groups");
        }
        command.arg(program);
        command
    }
}

/// `runsc` where everybody can reach it, or why a user can't be had or can't run it here.
fn for_nobody() -> Result<&'static Path, &'static str> {
    static PLACE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let find = || {
        if !nix::unistd::geteuid().is_root() {
            return Err("the tests run without privileges anyway".to_owned());
        }
        let own = Path::new(env!("CARGO_BIN_EXE_runsc"));
        let reachable = Caller::Nobody.command(own).arg("--version").finish();
        let place = if reachable.status.success() {
            own.to_owned()
        } else {
            // One for all runs of the tests: it is big.
            let place = std::env::temp_dir().join("runsc-for-nobody");
            let _ = std::fs::remove_file(&place);
            std::fs::copy(own, &place).map_err(|e| e.to_string())?;
            place
        };
        let mut probe = Caller::Nobody.command(&place);
        let out = probe.args(["do", "--", "true"]).finish();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        match text.contains("this host lacks something") {
            true => Err(text),
            false => Ok(place),
        }
    };
    match PLACE.get_or_init(find) {
        Ok(place) => Ok(place),
        Err(why) => Err(why),
    }
}

fn check(name: &str, caller: Caller) {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let program = match caller {
        Caller::Own => Path::new(env!("CARGO_BIN_EXE_runsc")),
        Caller::Nobody => match for_nobody() {
            Ok(program) => program,
            Err(why) => {
                eprintln!("skipped: {why}");
                return;
            }
        },
    };
    // Where everybody can read it, too.
    let dir = fresh_dir(name, "script");
    let path = dir.join(name);
    let text = std::fs::read_to_string(script(name)).expect("the script");
    std::fs::write(&path, &text).expect("the copy of the script");
    let needs = text
        .lines()
        .next()
        .and_then(|l| l.strip_prefix("# needs: "));
    let needs = needs.expect("a first line that names packages");

    let native_dir = fresh_dir(name, "native");
    let mut native = Command::new("timeout");
    native.args(["-k", "5", "300", "bash"]).arg(&path);
    let native = output(native, &native_dir);
    let native_err = String::from_utf8_lossy(&native.stderr);
    assert!(
        native.status.success(),
        "{name} fails natively ({}): are the packages installed? It needs {needs}.\n{native_err}",
        native.status
    );

    let inside_dir = fresh_dir(name, "inside");
    let mut inside = caller.command(program);
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
    for dir in [dir, native_dir, inside_dir] {
        let _ = std::fs::remove_dir_all(dir);
    }
}

macro_rules! programs {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(concat!(stringify!($name), ".sh"), Caller::Own);
            }
        )*

        mod as_a_user {
            use super::*;
            $(
                #[test]
                fn $name() {
                    check(concat!(stringify!($name), ".sh"), Caller::Nobody);
                }
            )*
        }
    };
}

programs! {
    archives bash busybox coreutils gcc_make git go java job_control node perl python python_asyncio
    python_multiprocessing sqlite
}
