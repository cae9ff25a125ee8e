//! `linux.cgroupsPath` and `linux.resources` of config.json.

use super::wrong;
use crate::failure::Result;
use crate::plan::{Cgroup, Resources};
use oci_spec::runtime::{Linux, LinuxResources};
use std::path::{Path, PathBuf};

/// Where the sandbox is to live and what it may use. `None`: in the caller's group, without limits.
pub fn convert(linux: &Linux, id: &str) -> Result<Option<Cgroup>> {
    let resources = match linux.resources() {
        Some(r) => limits(r)?,
        None => Resources::default(),
    };
    let path = match linux.cgroups_path() {
        Some(path) if !path.as_os_str().is_empty() => place(path)?,
        _ if resources == Resources::default() => return Ok(None),
        _ => PathBuf::from(format!("runsc-{id}")),
    };
    Ok(Some(Cgroup { path, resources }))
}

/// A path below the hierarchies; `slice:prefix:name`, which means a scope of systemd's, becomes the scope's.
fn place(path: &Path) -> Result<PathBuf> {
    let text = path.to_str().unwrap_or("/");
    let path = match text.split(':').collect::<Vec<_>>()[..] {
        [slice, prefix, name] if !text.contains('/') => {
            let slice = if slice.is_empty() {
                "system.slice"
            } else {
                slice
            };
            let unit = match prefix {
                _ if name.ends_with(".slice") => name.to_owned(),
                "" => format!("{name}.scope"),
                prefix => format!("{prefix}-{name}.scope"),
            };
            slice_path(slice).join(unit)
        }
        _ => path.to_owned(),
    };
    let plain = |c| !matches!(c, std::path::Component::ParentDir);
    if !path.components().all(plain) {
        return Err(wrong(format!("linux.cgroupsPath {text:?} has `..` in it")));
    }
    Ok(path)
}

/// `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> PathBuf {
    let name = slice.strip_suffix(".slice").unwrap_or(slice);
    let mut path = PathBuf::from("/");
    for (end, _) in name.match_indices('-').chain([(name.len(), "")]) {
        if end > 0 {
            path.push(format!("{}.slice", &name[..end]));
        }
    }
    path
}

fn limits(r: &LinuxResources) -> Result<Resources> {
    let mut out = Resources::default();
    // Zero stands for "nothing said" in what engines write.
    let given = |n: Option<i64>| n.filter(|n| *n != 0);
    if let Some(memory) = r.memory() {
        out.memory = given(memory.limit());
        out.memory_low = given(memory.reservation());
        out.memory_and_swap = given(memory.swap());
    }
    if let Some(cpu) = r.cpu() {
        out.cpu_shares = cpu.shares().filter(|n| *n != 0);
        out.cpu_quota = given(cpu.quota());
        out.cpu_period = cpu.period().filter(|n| *n != 0);
        let set = |s: &Option<String>| s.clone().filter(|s| !s.is_empty());
        (out.cpus, out.mems) = (set(cpu.cpus()), set(cpu.mems()));
    }
    if let Some(pids) = r.pids() {
        let limit = pids.limit();
        out.pids = u64::try_from(limit).ok().filter(|n| *n != 0);
    }
    if let Some(unified) = r.unified() {
        for (file, value) in unified {
            if file.contains('/') || !file.contains('.') {
                return Err(wrong(format!(
                    "linux.resources.unified: {file:?} is not the name of a file of a cgroup"
                )));
            }
            out.unified.push((file.clone(), value.clone()));
        }
        out.unified.sort();
    }
    if r.block_io().as_ref().is_some_and(|b| {
        b.weight().is_some_and(|w| w != 0) || b.throttle_read_bps_device().is_some()
    }) {
        tracing::warn!("linux.resources.blockIO has no effect");
    }
    if r.hugepage_limits().iter().flatten().next().is_some() {
        tracing::warn!("linux.resources.hugepageLimits has no effect");
    }
    // `devices` needs none: programs inside see the sandbox's own devices only.
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn converted(linux: Value) -> Result<Option<Cgroup>> {
        convert(&serde_json::from_value(linux).unwrap(), "it")
    }

    #[test]
    fn nothing_said_is_no_group() {
        assert_eq!(converted(json!({})).unwrap(), None);
        let devices = json!({"resources": {"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 0}}});
        assert_eq!(converted(devices).unwrap(), None);
    }

    #[test]
    fn limits_make_a_group() {
        let group = converted(
            json!({"resources": {"memory": {"limit": 1048576}, "pids": {"limit": 10},
            "cpu": {"quota": 50000, "period": 100000, "cpus": "0"}, "unified": {"memory.high": "5"}}}),
        )
        .unwrap()
        .unwrap();
        assert_eq!(group.path, Path::new("runsc-it"));
        let r = group.resources;
        assert_eq!(
            (r.memory, r.pids, r.cpu_quota),
            (Some(1 << 20), Some(10), Some(50_000))
        );
        assert_eq!((r.cpus.as_deref(), r.unified.len()), (Some("0"), 1));
    }

    #[test]
    fn paths() {
        let path = |p: &str| converted(json!({ "cgroupsPath": p })).map(|g| g.unwrap().path);
        assert_eq!(path("/docker/abc").unwrap(), Path::new("/docker/abc"));
        assert_eq!(
            path("user-1000.slice:cri:abc").unwrap(),
            Path::new("/user.slice/user-1000.slice/cri-abc.scope")
        );
        assert_eq!(
            path(":x:abc").unwrap(),
            Path::new("/system.slice/x-abc.scope")
        );
        assert!(path("/a/../b").unwrap_err().message.contains("cgroupsPath"));
    }
}
