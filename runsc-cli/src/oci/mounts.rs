//! `mounts` of config.json.

use super::{absolute, wrong};
use crate::failure::Result;
use crate::plan::{Kind, Mount};
use sentry::config::{CgroupLimits, MountKind, TmpfsOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// MS_NOSYMFOLLOW of mount(2), which libc doesn't name.
const NOSYMFOLLOW: u64 = 0x100;

/// File system types that a mount may have.
const TYPES: &str = "bind, cgroup, cgroup2, devpts, devtmpfs, mqueue, proc, sysfs, tmpfs";

/// Options that set or clear a flag (mount(8), config.md): name, flag, sets it.
const FLAGS: &[(&str, u64, bool)] = &[
    ("async", libc::MS_SYNCHRONOUS, false),
    ("atime", libc::MS_NOATIME, false),
    ("dev", libc::MS_NODEV, false),
    ("diratime", libc::MS_NODIRATIME, false),
    ("dirsync", libc::MS_DIRSYNC, true),
    ("exec", libc::MS_NOEXEC, false),
    ("lazytime", libc::MS_LAZYTIME, true),
    ("noatime", libc::MS_NOATIME, true),
    ("nodev", libc::MS_NODEV, true),
    ("nodiratime", libc::MS_NODIRATIME, true),
    ("noexec", libc::MS_NOEXEC, true),
    ("nolazytime", libc::MS_LAZYTIME, false),
    ("norelatime", libc::MS_RELATIME, false),
    ("nostrictatime", libc::MS_STRICTATIME, false),
    ("nosuid", libc::MS_NOSUID, true),
    ("nosymfollow", NOSYMFOLLOW, true),
    ("relatime", libc::MS_RELATIME, true),
    ("ro", libc::MS_RDONLY, true),
    ("rro", libc::MS_RDONLY, true),
    ("rw", libc::MS_RDONLY, false),
    ("rrw", libc::MS_RDONLY, false),
    ("strictatime", libc::MS_STRICTATIME, true),
    ("suid", libc::MS_NOSUID, false),
    ("symfollow", NOSYMFOLLOW, false),
    ("sync", libc::MS_SYNCHRONOUS, true),
];

/// Options without an effect here: propagation ends at the sandbox, and the rest speaks of things it doesn't have.
const IGNORED: &[&str] = &[
    "acl",
    "defaults",
    "iversion",
    "loud",
    "mand",
    "noacl",
    "noiversion",
    "nomand",
    "private",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "shared",
    "silent",
    "slave",
    "unbindable",
];

/// Checks and converts them, in their order.
pub fn convert(mounts: &[oci_spec::runtime::Mount], bundle: &Path) -> Result<Vec<Mount>> {
    mounts.iter().map(|m| mount(m, bundle)).collect()
}

fn mount(mount: &oci_spec::runtime::Mount, bundle: &Path) -> Result<Mount> {
    let shown = mount.destination().display();
    let target = absolute("mounts: destination", mount.destination().as_os_str())?;
    let mut flags = 0;
    let mut bind = None;
    let mut copy_up = false;
    let mut data = Vec::new();
    for option in mount.options().iter().flatten() {
        if let Some(&(_, flag, set)) = FLAGS.iter().find(|(name, ..)| name == option) {
            flags = if set { flags | flag } else { flags & !flag };
            continue;
        }
        match option.as_str() {
            "bind" => bind = bind.or(Some(false)),
            "rbind" => bind = Some(true),
            "tmpcopyup" => copy_up = true,
            "remount" | "idmap" | "ridmap" => {
                return Err(wrong(format!(
                    "mounts: {shown}: option {option:?} is not supported"
                )));
            }
            name if IGNORED.contains(&name) => {}
            _ => data.push(option.as_str()),
        }
    }
    if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
        return Err(wrong(format!(
            "mounts: {shown}: uidMappings and gidMappings are not supported"
        )));
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let kind = mount.typ().as_deref().unwrap_or("none");
    if kind == "bind" || bind.is_some() {
        if source.as_os_str().is_empty() {
            return Err(wrong(format!(
                "mounts: {shown}: source is missing: a bind mount must name a host path"
            )));
        }
        let kind = Kind::Bind {
            from: bundle.join(source),
            recursive: bind.unwrap_or(false),
        };
        return Ok(Mount {
            target,
            source: source.as_os_str().as_bytes().to_vec(),
            flags,
            kind,
        });
    }
    let internal = match kind {
        "proc" => MountKind::Proc,
        "sysfs" => MountKind::Sysfs,
        "tmpfs" | "devtmpfs" => {
            let options = TmpfsOptions {
                copy_up,
                ..tmpfs(&data, &shown.to_string())?
            };
            if target == b"/dev" || kind == "devtmpfs" {
                MountKind::Dev(options)
            } else {
                MountKind::Tmpfs(options)
            }
        }
        "devpts" => devpts(&data, &shown.to_string())?,
        "mqueue" => MountKind::Mqueue,
        "cgroup" | "cgroup2" => MountKind::Cgroup {
            v2: kind == "cgroup2",
            limits: CgroupLimits::default(),
        },
        other => {
            return Err(wrong(format!(
                "mounts: {shown}: type {other:?} is not supported; it must be one of {TYPES}"
            )));
        }
    };
    let source = if source.as_os_str().is_empty() {
        kind.as_bytes()
    } else {
        source.as_os_str().as_bytes()
    };
    Ok(Mount {
        target,
        source: source.to_vec(),
        flags,
        kind: Kind::Internal(internal),
    })
}

fn tmpfs(data: &[&str], shown: &str) -> Result<TmpfsOptions> {
    let mut out = TmpfsOptions::default();
    for option in data {
        let bad = || {
            wrong(format!(
                "mounts: {shown}: tmpfs option {option:?} is not understood"
            ))
        };
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "size" => out.size = Some(size(value).ok_or_else(bad)?),
            "nr_blocks" => {
                out.size = Some(
                    size(value)
                        .and_then(|n| n.checked_mul(4096))
                        .ok_or_else(bad)?,
                )
            }
            "nr_inodes" => out.nr_inodes = Some(size(value).ok_or_else(bad)?),
            "mode" => out.mode = Some(u32::from_str_radix(value, 8).map_err(|_| bad())? & 0o7777),
            "uid" => out.uid = value.parse().map_err(|_| bad())?,
            "gid" => out.gid = value.parse().map_err(|_| bad())?,
            "huge" | "mpol" | "inode32" | "inode64" | "noswap" => {}
            _ => return Err(bad()),
        }
    }
    Ok(out)
}

/// A number as memparse() of the kernel reads it, or a percentage of the memory. 0 is no limit, as in tmpfs(5).
fn size(text: &str) -> Option<u64> {
    if let Some(percent) = text.strip_suffix('%') {
        let total = crate::sys::total_memory()?;
        return percent
            .parse::<u64>()
            .ok()
            .map(|p| (total / 100).saturating_mul(p));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn devpts(data: &[&str], shown: &str) -> Result<MountKind> {
    let (mut mode, mut ptmxmode, mut gid) = (0o600, 0, None);
    for option in data {
        let bad = || {
            wrong(format!(
                "mounts: {shown}: devpts option {option:?} is not understood"
            ))
        };
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "mode" => mode = u32::from_str_radix(value, 8).map_err(|_| bad())? & 0o7777,
            "ptmxmode" => ptmxmode = u32::from_str_radix(value, 8).map_err(|_| bad())? & 0o7777,
            "gid" => gid = Some(value.parse().map_err(|_| bad())?),
            "uid" | "newinstance" | "max" => {}
            _ => return Err(bad()),
        }
    }
    Ok(MountKind::Devpts {
        mode,
        ptmxmode,
        gid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(value: serde_json::Value) -> Result<Mount> {
        mount(&serde_json::from_value(value).unwrap(), Path::new("/b"))
    }

    #[test]
    fn options_become_flags_and_data() {
        let m = one(
            json!({"destination":"/x","type":"tmpfs","source":"shm","options":[
            "nosuid","noexec","ro","rw","mode=1777","size=64k","rprivate","tmpcopyup"]}),
        )
        .unwrap();
        assert_eq!(m.flags, libc::MS_NOSUID | libc::MS_NOEXEC);
        let Kind::Internal(MountKind::Tmpfs(options)) = m.kind else {
            panic!("{:?}", m.kind)
        };
        assert_eq!(
            (options.mode, options.size, options.copy_up),
            (Some(0o1777), Some(65536), true)
        );
        assert_eq!(m.source, b"shm");
    }

    #[test]
    fn binds_come_by_type_or_option() {
        for (value, recursive) in [
            (
                json!({"destination":"/x","type":"bind","source":"rel","options":["rbind","ro"]}),
                true,
            ),
            (
                json!({"destination":"/x","source":"rel","options":["bind","ro"]}),
                false,
            ),
            (
                json!({"destination":"/x","type":"bind","source":"rel","options":["ro"]}),
                false,
            ),
        ] {
            let m = one(value).unwrap();
            let Kind::Bind {
                from,
                recursive: found,
            } = m.kind
            else {
                panic!()
            };
            assert_eq!(
                (from.to_str(), found, m.flags),
                (Some("/b/rel"), recursive, libc::MS_RDONLY)
            );
        }
        assert!(
            one(json!({"destination":"/x","type":"bind"}))
                .unwrap_err()
                .message
                .contains("source is missing")
        );
    }

    #[test]
    fn dev_is_more_than_a_tmpfs() {
        let m =
            one(json!({"destination":"/dev","type":"tmpfs","options":["size=65536k","mode=755"]}))
                .unwrap();
        assert!(matches!(
            m.kind,
            Kind::Internal(MountKind::Dev(TmpfsOptions {
                size: Some(0x400_0000),
                ..
            }))
        ));
    }

    #[test]
    fn unknown_things_are_named() {
        let text = |v| one(v).unwrap_err().message;
        assert!(
            text(json!({"destination":"/x","type":"tmpfs","options":["sise=1"]}))
                .contains("sise=1")
        );
        assert!(
            text(json!({"destination":"/x","type":"tmpfs","options":["size=1q"]}))
                .contains("size=1q")
        );
        assert!(text(json!({"destination":"/x","type":"nfs"})).contains("must be one of"));
        assert!(
            text(json!({"destination":"/x","type":"bind","source":"/y","options":["idmap"]}))
                .contains("idmap")
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(size("0"), Some(0));
        assert_eq!(size("2G"), Some(2 << 30));
        assert_eq!(size("99999999999999999999"), None);
        assert_eq!(size("18446744073709551615k"), None);
        assert_eq!(size(""), None);
        assert!(size("50%").is_some_and(|n| n > 1 << 20));
    }
}
