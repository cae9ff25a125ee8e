//! `runsc do`: a program in a sandbox that sees the host's files.

use super::{Common, Outcome};
use crate::args::Do;
use crate::failure::{Context, Failure, Result};
use crate::plan::{Kind, Mount, Plan, Process, Root, TerminalWish, inherited_rlimits};
use crate::sandbox::{self, Launch};
use sentry::config::{Capabilities, CgroupLimits, MountKind, Overlay, TmpfsOptions, User};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Runs the program and waits for it.
pub fn execute(args: &Do, common: Common) -> Outcome {
    let plan = plan(args)?;
    sandbox::run(
        plan,
        Launch {
            common,
            ..Launch::default()
        },
    )
}

fn plan(args: &Do) -> Result<Plan> {
    let path = std::fs::canonicalize(&args.root).map_err(|e| {
        Failure::new(format!(
            "--root {}: {}",
            args.root.display(),
            crate::oci::errno_text(&e)
        ))
    })?;
    if !path.is_dir() {
        return Err(Failure::new(format!(
            "--root {}: not a directory",
            args.root.display()
        )));
    }
    let cwd = match &args.cwd {
        // A slip of the hand, which would be made as a directory (and on the host with --rw). Below these three the
        // sandbox has files of its own.
        Some(cwd)
            if cwd.is_absolute()
                && path == Path::new("/")
                && !["/dev", "/proc", "/sys"]
                    .iter()
                    .any(|own| cwd.starts_with(own))
                && !cwd.is_dir() =>
        {
            return Err(Failure::new(format!(
                "--cwd {}: no such directory",
                cwd.display()
            )));
        }
        Some(cwd) if cwd.is_absolute() => cwd.as_os_str().as_bytes().to_vec(),
        Some(cwd) => {
            return Err(Failure::new(format!(
                "--cwd {}: not an absolute path",
                cwd.display()
            )));
        }
        None if path == Path::new("/") => {
            let cwd = std::env::current_dir();
            cwd.context(|| "find the current directory; --cwd would name another".into())?
                .into_os_string()
                .into_vec()
        }
        None => b"/".to_vec(),
    };
    let overlay = if args.rw {
        Overlay::None
    } else {
        Overlay::Memory
    };
    let all = if args.uid == 0 {
        sentry::task::cap::ALL
    } else {
        0
    };
    let bounding = sentry::task::cap::ALL;
    Ok(Plan {
        id: format!("do-{}", std::process::id()),
        process: Process {
            args: args
                .command
                .iter()
                .cloned()
                .map(OsString::into_vec)
                .collect(),
            env: environment(std::env::vars_os(), &args.env)?,
            cwd,
            user: User {
                uid: args.uid,
                gid: args.gid,
                groups: Vec::new(),
                umask: Some(umask()),
            },
            caps: Capabilities {
                bounding,
                effective: all,
                inheritable: 0,
                permitted: all,
                ambient: 0,
            },
            rlimits: inherited_rlimits(),
            no_new_privs: false,
            oom_score_adj: None,
            terminal: TerminalWish::LikeStdin,
        },
        hostname: nix::unistd::gethostname().map_or_else(|_| b"runsc".to_vec(), OsString::into_vec),
        domainname: Vec::new(),
        root: Root {
            path,
            readonly: false,
            overlay,
        },
        mounts: mounts(),
        devices: Vec::new(),
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
        sysctl: Vec::new(),
        cgroup: None,
        hooks: Default::default(),
        bundle: "/".into(),
        annotations: Default::default(),
        id_maps: None,
        protect_init: false,
    })
}

/// umask(2) can only be read by setting it.
fn umask() -> u32 {
    use nix::sys::stat::{Mode, umask};
    let mask = umask(Mode::from_bits_truncate(0o022));
    umask(mask);
    mask.bits()
}

/// The caller's environment with `edits`: NAME=VALUE sets, NAME takes out.
fn environment(
    own: impl Iterator<Item = (OsString, OsString)>,
    edits: &[OsString],
) -> Result<Vec<Vec<u8>>> {
    let mut all: Vec<(OsString, OsString)> = own.collect();
    for edit in edits {
        let bytes = edit.as_bytes();
        let end = bytes.iter().position(|&b| b == b'=').unwrap_or(bytes.len());
        if end == 0 {
            return Err(Failure::new(format!(
                "--env {edit:?}: the name is empty; it must be NAME=VALUE or NAME"
            )));
        }
        let name = OsStr::from_bytes(&bytes[..end]);
        all.retain(|(n, _)| n != name);
        if end < bytes.len() {
            all.push((name.into(), OsStr::from_bytes(&bytes[end + 1..]).into()));
        }
    }
    Ok(all
        .into_iter()
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
        .collect())
}

/// What lies over the host's files: nothing of the host's kernel shows through.
fn mounts() -> Vec<Mount> {
    let (nosuid, nodev, noexec) = (libc::MS_NOSUID, libc::MS_NODEV, libc::MS_NOEXEC);
    let dev = TmpfsOptions {
        mode: Some(0o755),
        ..TmpfsOptions::default()
    };
    let shm = TmpfsOptions {
        mode: Some(0o1777),
        ..TmpfsOptions::default()
    };
    [
        ("/proc", "proc", MountKind::Proc, nosuid | nodev | noexec),
        (
            "/sys",
            "sysfs",
            MountKind::Sysfs,
            nosuid | nodev | noexec | libc::MS_RDONLY,
        ),
        (
            "/sys/fs/cgroup",
            "cgroup2",
            MountKind::Cgroup {
                v2: true,
                limits: CgroupLimits::default(),
            },
            nosuid | nodev | noexec | libc::MS_RDONLY,
        ),
        ("/dev", "devtmpfs", MountKind::Dev(dev), nosuid),
        (
            "/dev/pts",
            "devpts",
            MountKind::Devpts {
                mode: 0o620,
                ptmxmode: 0o666,
                gid: Some(5),
            },
            nosuid | noexec,
        ),
        ("/dev/shm", "tmpfs", MountKind::Tmpfs(shm), nosuid | nodev),
    ]
    .into_iter()
    .map(|(target, source, kind, flags)| Mount {
        target: target.into(),
        source: source.into(),
        flags,
        kind: Kind::Internal(kind),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn planned(args: &[&str]) -> Result<Plan> {
        let cli = crate::args::Cli::parse_from(["runsc", "do"].iter().chain(args));
        let crate::args::Command::Do(args) = cli.command else {
            panic!()
        };
        plan(&args)
    }

    #[test]
    fn changes_stay_in_memory_unless_asked() {
        assert_eq!(planned(&["true"]).unwrap().root.overlay, Overlay::Memory);
        assert_eq!(
            planned(&["--rw", "true"]).unwrap().root.overlay,
            Overlay::None
        );
    }

    #[test]
    fn the_working_directory_is_the_callers_with_the_hosts_root() {
        let here = std::env::current_dir().unwrap().into_os_string().into_vec();
        assert_eq!(planned(&["true"]).unwrap().process.cwd, here);
        assert_eq!(
            planned(&["--root", "/usr", "true"]).unwrap().process.cwd,
            b"/"
        );
        assert!(
            planned(&["--cwd", "/no/such", "true"])
                .unwrap_err()
                .message
                .contains("no such directory")
        );
        assert!(planned(&["--cwd", "/proc/self", "true"]).is_ok());
        assert!(
            planned(&["--cwd", "x", "true"])
                .unwrap_err()
                .message
                .contains("absolute")
        );
    }

    #[test]
    fn roots_must_be_directories() {
        assert!(
            planned(&["--root", "/nowhere/at/all", "true"])
                .unwrap_err()
                .message
                .contains("no such file")
        );
        assert!(
            planned(&["--root", "/etc/passwd", "true"])
                .unwrap_err()
                .message
                .contains("not a directory")
        );
    }

    #[test]
    fn the_environment_is_edited_in_order() {
        let own = [("A", "1"), ("B", "2")].map(|(n, v)| (n.into(), v.into()));
        let edits = ["A=9", "C=x=y", "B"].map(OsString::from);
        let env = environment(own.into_iter(), &edits).unwrap();
        assert_eq!(env, [b"A=9".to_vec(), b"C=x=y".to_vec()]);
        assert!(environment(std::iter::empty(), &["=x".into()]).is_err());
    }

    #[test]
    fn only_root_has_capabilities() {
        assert_eq!(
            planned(&["true"]).unwrap().process.caps.effective,
            sentry::task::cap::ALL
        );
        assert_eq!(
            planned(&["--uid", "7", "true"])
                .unwrap()
                .process
                .caps
                .effective,
            0
        );
    }
}
