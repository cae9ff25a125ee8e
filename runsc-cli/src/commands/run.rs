//! `runsc run`: a container from a bundle, in the foreground.

use super::{Common, Outcome};
use crate::args::{Run, StateRoot};
use crate::failure::{Context, Failure, Result};
use crate::sandbox::{self, Launch};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Runs the container and waits for its end.
pub fn execute(args: &Run, state: &StateRoot, preserved: Vec<OwnedFd>, common: Common) -> Outcome {
    check_id(&args.id)?;
    let plan = crate::oci::load(args.bundle.as_deref(), &args.id)?;
    let root = args
        .state
        .dir
        .clone()
        .or_else(|| state.dir.clone())
        .unwrap_or_else(default_state_root);
    let _claim = Claim::new(&root, &args.id)?;
    let launch = Launch {
        common,
        preserved,
        console_socket: args.console_socket.clone(),
        pid_file: args.pid_file.clone(),
    };
    sandbox::run(plan, launch)
}

/// Names become file names: runc's rule.
fn check_id(id: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.chars().all(fine) {
        return Err(Failure::new(format!(
            "invalid container ID {id:?}: it must consist of letters, digits, `_`, `+`, `-` and `.`"
        )));
    }
    Ok(())
}

fn default_state_root() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return "/run/runsc".into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if Path::new(&dir).is_absolute() => Path::new(&dir).join("runsc"),
        _ => format!("/tmp/runsc-{}", nix::unistd::geteuid()).into(),
    }
}

/// A container's name, held while it exists: a locked file `ROOT/ID/lock`. A lock left behind by a crash is free, since the
/// host drops it with the process.
struct Claim {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Claim {
    fn new(root: &Path, id: &str) -> Result<Self> {
        let dir = root.join(id);
        let path = dir.join("lock");
        loop {
            mkdir_private(&dir)?;
            let file = match File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
            {
                // Somebody else's end took the directory away in between.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.context(|| format!("open {}", path.display()))?,
            };
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(Failure::new("container with given ID already exists"));
                }
                Err((_, e)) => return Err(Failure::new(format!("lock {}: {e}", path.display()))),
            };
            // What is locked must still be what the path names.
            use std::os::unix::fs::MetadataExt;
            let same = match (lock.metadata(), std::fs::metadata(&path)) {
                (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
                _ => false,
            };
            if same {
                return Ok(Self { dir, _lock: lock });
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Under the lock: whoever opened the file meanwhile sees that it isn't there any more.
        let _ = std::fs::remove_file(self.dir.join("lock"));
        let _ = std::fs::remove_dir(&self.dir);
    }
}

fn mkdir_private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| {
            Failure::new(format!(
                "state directory {}: {}; --root names another",
                dir.display(),
                crate::oci::errno_text(&e)
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names() {
        for id in ["a", "A-b_c.d+9", &"f".repeat(64)] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a\n"] {
            assert!(
                check_id(id)
                    .unwrap_err()
                    .message
                    .contains("invalid container ID"),
                "{id}"
            );
        }
    }

    #[test]
    fn a_name_is_taken_once_at_a_time() {
        let dir = crate::testing::TempDir::new();
        let claim = Claim::new(dir.path(), "x").unwrap();
        let second = Claim::new(dir.path(), "x").map(drop).unwrap_err();
        assert_eq!(second.message, "container with given ID already exists");
        drop(claim);
        assert!(!dir.path().join("x").exists());
        drop(Claim::new(dir.path(), "x").unwrap());
    }
}
