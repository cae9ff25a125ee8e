//! OCI bundles: a directory with config.json and a root file system.

mod capability;
mod hooks;
mod mounts;
mod process;
mod resources;

use crate::failure::{Context, Failure, Result};
use crate::plan::{IdMaps, IdRange, Plan, Root};
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType, Spec,
};
use sentry::config::{Device, Overlay};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Greatest config.json that is read, in bytes: real ones stay under 100 KiB.
const MAX_CONFIG: u64 = 16 << 20;

/// Reads the bundle in `dir` (the current directory if nothing is said) for a container called `id`.
pub fn load(dir: Option<&Path>, id: &str) -> Result<Plan> {
    let dir = dir.unwrap_or(Path::new("."));
    let absolute = std::fs::canonicalize(dir).map_err(|e| {
        Failure::new(format!(
            "bundle {}: {}; --bundle must name a directory that holds config.json and a root file system",
            dir.display(),
            errno_text(&e)
        ))
    })?;
    let path = absolute.join("config.json");
    let text = match std::fs::metadata(&path) {
        Ok(meta) if meta.len() > MAX_CONFIG => {
            return Err(Failure::new(format!(
                "{}: {} bytes long, more than {MAX_CONFIG}",
                path.display(),
                meta.len()
            )));
        }
        Ok(_) => std::fs::read(&path).context(|| format!("read {}", path.display()))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::new(format!(
                "{}: no such file or directory; `runsc spec --bundle {}` writes one to start from",
                path.display(),
                dir.display()
            )));
        }
        Err(e) => {
            return Err(Failure::new(format!(
                "{}: {}",
                path.display(),
                errno_text(&e)
            )));
        }
    };
    parse(&text, &absolute, id).map_err(|e| Failure::new(format!("{}{e}", path.display())))
}

/// An I/O error as Go words it, which engines match: lower case, no number.
pub fn errno_text(e: &std::io::Error) -> String {
    match e.raw_os_error() {
        Some(raw) => {
            let message = nix::errno::Errno::from_raw(raw).desc();
            message[..1].to_ascii_lowercase() + &message[1..]
        }
        None => e.to_string(),
    }
}

/// A complaint about a part of config.json: `: root.path is missing …`.
fn wrong(text: impl std::fmt::Display) -> Failure {
    Failure::new(format!(": {text}"))
}

/// The plan in the text of a config.json; errors are to be put behind the file's name.
fn parse(text: &[u8], bundle: &Path, id: &str) -> Result<Plan> {
    let spec: Spec = serde_json::from_slice(text).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        let reason = e.to_string();
        let reason = reason
            .strip_suffix(&format!(" at line {line} column {column}"))
            .unwrap_or(&reason);
        Failure::new(format!(":{line}:{column}: {reason}"))
    })?;
    version(spec.version())?;
    let Some(process) = spec.process() else {
        return Err(wrong(
            "process is missing: it says which program to run, as whom and where",
        ));
    };
    let Some(root) = spec.root() else {
        return Err(wrong(
            "root is missing: root.path must name the directory with the root file system",
        ));
    };
    let default_linux = Linux::default();
    let linux = spec.linux().as_ref();
    if let Some(linux) = linux {
        warn_ignored(linux);
    }
    let root = root_dir(root, bundle)?;
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let linux = linux.unwrap_or(&default_linux);
    Ok(Plan {
        id: id.to_owned(),
        process: process::convert(process)?,
        hostname: name("hostname", spec.hostname().as_deref().unwrap_or("runsc"))?,
        domainname: name("domainname", spec.domainname().as_deref().unwrap_or(""))?,
        root,
        mounts: mounts::convert(mounts, bundle)?,
        devices: linux
            .devices()
            .iter()
            .flatten()
            .map(device)
            .collect::<Result<_>>()?,
        masked_paths: paths(
            "linux.maskedPaths",
            spec.linux()
                .as_ref()
                .and_then(|l| l.masked_paths().as_deref()),
        )?,
        readonly_paths: paths(
            "linux.readonlyPaths",
            spec.linux()
                .as_ref()
                .and_then(|l| l.readonly_paths().as_deref()),
        )?,
        sysctl: {
            let mut all: Vec<_> = linux
                .sysctl()
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            all.sort();
            all
        },
        cgroup: resources::convert(linux, id)?,
        hooks: hooks::convert(spec.hooks().as_ref())?,
        bundle: bundle.to_owned(),
        annotations: spec
            .annotations()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        id_maps: id_maps(linux)?,
        protect_init: true,
    })
}

/// ociVersion must be of major version 1 (config.md, Specification version).
fn version(version: &str) -> Result<()> {
    let mut parts = version.split('.');
    let major = parts.next().unwrap_or("");
    if version.is_empty() {
        return Err(wrong(format!(
            "ociVersion is missing; this runtime reads 1.0 to {}",
            crate::args::SPEC_VERSION
        )));
    }
    if major != "1" || parts.count() < 1 {
        return Err(wrong(format!(
            "ociVersion is {version:?}; this runtime reads versions 1.x (it knows {})",
            crate::args::SPEC_VERSION
        )));
    }
    Ok(())
}

fn root_dir(root: &oci_spec::runtime::Root, bundle: &Path) -> Result<Root> {
    let given = root.path();
    if given.as_os_str().is_empty() {
        return Err(wrong(
            "root.path is missing or empty: it must name the directory with the root file system",
        ));
    }
    let path = bundle.join(given);
    let shown = if given.is_absolute() {
        format!("root.path {given:?}")
    } else {
        format!(
            "root.path {given:?}, taken from the bundle {}",
            path.display()
        )
    };
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(wrong(format!("{shown}: not a directory"))),
        Err(e) => {
            return Err(wrong(format!(
                "{shown}: {}; it must be a directory with the root file system",
                errno_text(&e)
            )));
        }
    }
    Ok(Root {
        path,
        readonly: root.readonly().unwrap_or(false),
        overlay: Overlay::None,
    })
}

/// A string that becomes a host or domain name: sethostname(2) takes 64 bytes.
fn name(field: &str, value: &str) -> Result<Vec<u8>> {
    if value.len() > 64 || value.contains('\0') {
        return Err(wrong(format!(
            "{field} {value:?} is longer than 64 bytes or has a NUL in it"
        )));
    }
    Ok(value.into())
}

fn paths(field: &str, values: Option<&[String]>) -> Result<Vec<Vec<u8>>> {
    values
        .unwrap_or_default()
        .iter()
        .map(|p| absolute(field, OsStr::new(p)))
        .collect()
}

/// A path in the container: absolute, without NUL.
fn absolute(field: &str, path: &OsStr) -> Result<Vec<u8>> {
    let bytes = path.as_bytes();
    if !bytes.starts_with(b"/") {
        return Err(wrong(format!("{field}: {path:?} is not an absolute path")));
    }
    if bytes.contains(&0) {
        return Err(wrong(format!("{field}: {path:?} has a NUL in it")));
    }
    Ok(bytes.to_vec())
}

fn device(device: &LinuxDevice) -> Result<Device> {
    let kind = match device.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(wrong(format!(
                "linux.devices: {:?} has type \"a\"; it must be b, c, u or p",
                device.path()
            )));
        }
    };
    let number = |what, n: i64| {
        u32::try_from(n).map_err(|_| {
            wrong(format!(
                "linux.devices: {:?} has {what} number {n}, which no device has",
                device.path()
            ))
        })
    };
    Ok(Device {
        path: absolute("linux.devices", device.path().as_os_str())?,
        mode: kind | (device.file_mode().unwrap_or(0o666) & 0o7777),
        major: number("major", device.major())?,
        minor: number("minor", device.minor())?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

fn id_maps(linux: &Linux) -> Result<Option<IdMaps>> {
    let convert = |maps: &Option<Vec<LinuxIdMapping>>| -> Vec<IdRange> {
        maps.iter()
            .flatten()
            .map(|m| IdRange {
                inside: m.container_id(),
                outside: m.host_id(),
                count: m.size(),
            })
            .collect()
    };
    let maps = IdMaps {
        uid: convert(linux.uid_mappings()),
        gid: convert(linux.gid_mappings()),
    };
    match (maps.uid.is_empty(), maps.gid.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(maps)),
        _ => Err(wrong(
            "linux.uidMappings and linux.gidMappings must be given together",
        )),
    }
}

/// Says what of the configuration has no effect.
fn warn_ignored(linux: &Linux) {
    if linux.seccomp().is_some() {
        tracing::warn!(
            "linux.seccomp has no effect: programs in the sandbox make no host system calls"
        );
    }
    for namespace in linux.namespaces().iter().flatten() {
        if let Some(path) = namespace.path() {
            let kind = namespace.typ();
            if kind == LinuxNamespaceType::Network {
                tracing::warn!(
                    "network namespace {path:?} is not joined: the sandbox has a loopback interface only"
                );
            } else {
                tracing::warn!("{kind} namespace {path:?} is not joined: the sandbox has its own");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn base() -> Value {
        serde_json::from_str(&crate::commands::spec::template(None)).unwrap()
    }

    fn with_bundle(config: &Value) -> Result<Plan> {
        let dir = crate::testing::TempDir::new();
        std::fs::create_dir(dir.path().join("rootfs")).unwrap();
        parse(config.to_string().as_bytes(), dir.path(), "x")
    }

    fn complaint(edit: impl FnOnce(&mut Value)) -> String {
        let mut config = base();
        edit(&mut config);
        with_bundle(&config).unwrap_err().message
    }

    #[test]
    fn the_default_config_is_understood() {
        let plan = with_bundle(&base()).unwrap();
        assert_eq!(plan.process.args, [b"sh"]);
        assert_eq!(plan.process.cwd, b"/");
        assert!(plan.root.readonly && plan.protect_init);
        assert_eq!(plan.hostname, b"runsc");
        assert_eq!(plan.mounts.len(), 7);
        assert_eq!(plan.masked_paths[0], b"/proc/acpi");
    }

    #[test]
    fn complaints_name_the_field() {
        assert!(complaint(|c| c["process"] = Value::Null).contains("process is missing"));
        assert!(complaint(|c| c["process"]["args"] = json!([])).contains("process.args is empty"));
        assert!(complaint(|c| c["process"]["args"] = json!([""])).contains("process.args[0]"));
        assert!(complaint(|c| c["process"]["cwd"] = json!("tmp")).contains("process.cwd"));
        assert!(complaint(|c| c["process"]["env"] = json!(["a\0b"])).contains("process.env"));
        assert!(complaint(|c| c["root"] = Value::Null).contains("root is missing"));
        assert!(complaint(|c| c["root"] = json!({})).contains("root.path is missing"));
        assert!(
            complaint(|c| c["root"]["path"] = json!("nowhere")).contains("taken from the bundle")
        );
        assert!(complaint(|c| c["ociVersion"] = json!("2.0.0")).contains("ociVersion"));
        assert!(complaint(|c| c["mounts"][0]["type"] = json!("zfs")).contains("\"zfs\""));
        assert!(complaint(|c| c["mounts"][0]["destination"] = json!("proc")).contains("absolute"));
        assert!(
            complaint(
                |c| c["linux"]["uidMappings"] = json!([{"containerID":0,"hostID":1,"size":1}])
            )
            .contains("together")
        );
        assert!(
            complaint(|c| c["hooks"] = json!({"prestart":[{"path":"x"}]}))
                .contains("hooks.prestart")
        );
        assert!(
            complaint(
                |c| c["process"]["rlimits"] = json!([{"type":"RLIMIT_CPU","soft":2,"hard":1}])
            )
            .contains("RLIMIT_CPU")
        );
    }

    #[test]
    fn bad_json_is_shown_with_its_place() {
        let err = parse(
            b"{\n  \"ociVersion\": \"1.0.0\",\n  oops\n}",
            Path::new("/"),
            "x",
        )
        .unwrap_err();
        assert!(err.message.starts_with(":3:3: "), "{err}");
        let err = parse(b"{\"ociVersion\": 7}", Path::new("/"), "x").unwrap_err();
        assert!(
            err.message.starts_with(":1:16: ") && err.message.contains("string"),
            "{err}"
        );
    }

    #[test]
    fn bundles_that_are_not_there() {
        let dir = crate::testing::TempDir::new();
        let missing = dir.path().join("b");
        let err = load(Some(&missing), "x").unwrap_err();
        assert!(
            err.message.contains("no such file or directory") && err.message.contains("--bundle"),
            "{err}"
        );
        std::fs::create_dir(&missing).unwrap();
        let err = load(Some(&missing), "x").unwrap_err();
        assert!(
            err.message.contains("config.json") && err.message.contains("runsc spec"),
            "{err}"
        );
    }

    #[test]
    fn devices_are_checked() {
        let mut config = base();
        config["linux"]["devices"] =
            json!([{"path":"/dev/fuse","type":"c","major":10,"minor":229,"fileMode":438}]);
        let plan = with_bundle(&config).unwrap();
        assert_eq!(
            (plan.devices[0].mode, plan.devices[0].major),
            (0o020_666, 10)
        );
        config["linux"]["devices"][0]["major"] = json!(-1);
        assert!(
            with_bundle(&config)
                .unwrap_err()
                .message
                .contains("major number -1")
        );
    }
}
