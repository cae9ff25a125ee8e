//! Mount points and the working directory in a root that is going to be read-only: they must be there before.
//!
//! What is in the root is not to be trusted: every path is resolved by the host with the root as its bound
//! (`RESOLVE_IN_ROOT`), so that no symbolic link leads out of it.

use crate::plan::{Kind, Plan};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat, mknodat};
use sentry::config::MountKind;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Makes what is missing below `root`. What can't be made is left to the one who needs it, and who will say so.
pub fn make(root: BorrowedFd<'_>, plan: &Plan) {
    let mut covered: Vec<&[u8]> = Vec::new();
    for mount in &plan.mounts {
        if !covered.iter().any(|c| is_below(&mount.target, c)) {
            let is_file = match &mount.kind {
                Kind::Bind { from, .. } => !from.is_dir(),
                Kind::Internal(kind) => matches!(kind, MountKind::Bind { is_dir: false, .. }),
            };
            if let Err(e) = make_one(root, &mount.target, is_file) {
                tracing::debug!(
                    "mount point {}: {e}",
                    String::from_utf8_lossy(&mount.target)
                );
            }
        }
        covered.push(&mount.target);
    }
    if !covered.iter().any(|c| is_below(&plan.process.cwd, c)) {
        let _ = make_one(root, &plan.process.cwd, false);
    }
}

/// Whether `path` is `dir` or lies below it.
fn is_below(path: &[u8], dir: &[u8]) -> bool {
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn make_one(root: BorrowedFd<'_>, path: &[u8], is_file: bool) -> Result<(), Errno> {
    if open(root, path).is_ok() {
        return Ok(());
    }
    let names: Vec<&[u8]> = path
        .split(|b| *b == b'/')
        .filter(|n| !n.is_empty())
        .collect();
    let mut at = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let dir = open(root, if at.is_empty() { b"/" } else { &at })?;
        let last = i + 1 == names.len();
        let made = if last && is_file {
            mknodat(
                &dir,
                *name,
                SFlag::S_IFREG,
                Mode::from_bits_truncate(0o755),
                0,
            )
        } else {
            mkdirat(&dir, *name, Mode::from_bits_truncate(0o755))
        };
        match made {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
        at.push(b'/');
        at.extend_from_slice(name);
    }
    Ok(())
}

fn open(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

/// Whether a descriptor is of a directory.
pub fn is_directory(fd: &OwnedFd) -> bool {
    let kind = |st: FileStat| st.st_mode & libc::S_IFMT == libc::S_IFDIR;
    fstat(fd).is_ok_and(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn missing_directories_and_files_are_made() {
        let dir = TempDir::new();
        let root = File::open(dir.path()).unwrap();
        make_one(root.as_fd(), b"/a//b/c/", false).unwrap();
        make_one(root.as_fd(), b"/a/b/file", true).unwrap();
        make_one(root.as_fd(), b"/a/b/file", true).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
        assert!(dir.path().join("a/b/file").is_file());
    }

    #[test]
    fn links_do_not_lead_out_of_the_root() {
        let dir = TempDir::new();
        let outside = TempDir::new();
        let root = File::open(dir.path()).unwrap();
        symlink(outside.path(), dir.path().join("abs")).unwrap();
        symlink("../../../../../../tmp", dir.path().join("rel")).unwrap();
        let _ = make_one(root.as_fd(), b"/abs/x", false);
        let _ = make_one(root.as_fd(), b"/rel/runsc-leak", false);
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(!std::path::Path::new("/tmp/runsc-leak").exists());
    }

    #[test]
    fn below() {
        assert!(
            is_below(b"/dev/pts", b"/dev") && is_below(b"/dev", b"/dev/") && is_below(b"/x", b"/")
        );
        assert!(!is_below(b"/device", b"/dev") && !is_below(b"/", b"/dev"));
    }
}
