//! config.json, the same for every runtime.

use crate::place::{BIND, SCRATCH};
use serde_json::{Value, json};

/// What the programs find in their environment.
pub const ENVIRONMENT: &[&str] = &[
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/bench/home",
    "LC_ALL=C",
    "TZ=UTC",
    "PYTHONDONTWRITEBYTECODE=1",
    "GIT_CONFIG_NOSYSTEM=1",
    "GIT_AUTHOR_NAME=a",
    "GIT_AUTHOR_EMAIL=a@b.c",
    "GIT_AUTHOR_DATE=1700000000 +0000",
    "GIT_COMMITTER_NAME=a",
    "GIT_COMMITTER_EMAIL=a@b.c",
    "GIT_COMMITTER_DATE=1700000000 +0000",
];

/// Docker's default capabilities.
const CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The configuration of a container that runs `args` in `rootfs`, with the host directory `bind` mounted.
///
/// `files` is the limit of open files: raising the host's own would need a capability that not every host gives.
pub fn config(args: &[String], bind: &str, files: u64) -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ENVIRONMENT,
            "cwd": SCRATCH,
            "capabilities": {
                "bounding": CAPABILITIES,
                "effective": CAPABILITIES,
                "permitted": CAPABILITIES,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": files, "soft": files}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=1g"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777", "size=4g"]),
            {"destination": BIND, "type": "bind", "source": bind, "options": ["rbind", "rw"]},
        ],
        "linux": {
            // No network but a loopback of its own, for every runtime.
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            ],
            "resources": {"devices": [{"allow": true, "access": "rwm"}]},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_always_its_own() {
        let config = config(&["/bin/true".into()], "/b", 1024);
        let namespaces = config["linux"]["namespaces"].as_array().unwrap();
        assert!(namespaces.iter().any(|n| n["type"] == "network"));
        assert_eq!(config["process"]["args"][0], "/bin/true");
    }
}
