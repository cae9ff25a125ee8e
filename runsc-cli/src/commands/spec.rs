//! `runsc spec`: a config.json to start from, with the same content as runc's.

use super::Outcome;
use crate::args::{SPEC_VERSION, Spec};
use crate::failure::{Context, Failure};
use std::io::Write;
use std::path::Path;

/// Writes config.json; never over one that is there.
pub fn execute(args: &Spec) -> Outcome {
    let dir = args.bundle.as_deref().unwrap_or(Path::new("."));
    let path = dir.join("config.json");
    let ids = args.rootless.then(|| {
        (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        )
    });
    let mut file = match std::fs::File::create_new(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(format!(
                "{}: exists already; remove it first",
                path.display()
            )));
        }
        Err(e) => {
            return Err(Failure::new(format!(
                "{}: {}",
                path.display(),
                crate::oci::errno_text(&e)
            )));
        }
    };
    file.write_all(template(ids).as_bytes())
        .context(|| format!("write {}", path.display()))?;
    Ok(0)
}

/// The text; for a user without privileges if `ids` are given.
pub fn template(ids: Option<(u32, u32)>) -> String {
    let capabilities = r#"["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]"#;
    // A user's only group is mapped: no gid 5 for terminals.
    let pts_group = if ids.is_some() { "" } else { r#", "gid=5""# };
    let mappings = ids.map_or(String::new(), |(uid, gid)| {
        format!(
            r#"
		"uidMappings": [{{"containerID": 0, "hostID": {uid}, "size": 1}}],
		"gidMappings": [{{"containerID": 0, "hostID": {gid}, "size": 1}}],"#
        )
    });
    let namespaces = if ids.is_some() {
        r#", {"type": "user"}"#
    } else {
        ""
    };
    format!(
        r#"{{
	"ociVersion": "{SPEC_VERSION}",
	"process": {{
		"terminal": true,
		"user": {{"uid": 0, "gid": 0}},
		"args": ["sh"],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {{
			"bounding": {capabilities},
			"effective": {capabilities},
			"permitted": {capabilities},
			"ambient": {capabilities}
		}},
		"rlimits": [{{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}}],
		"noNewPrivileges": true
	}},
	"root": {{"path": "rootfs", "readonly": true}},
	"hostname": "runsc",
	"mounts": [
		{{"destination": "/proc", "type": "proc", "source": "proc"}},
		{{
			"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
			"options": ["nosuid", "strictatime", "mode=755", "size=65536k"]
		}},
		{{
			"destination": "/dev/pts", "type": "devpts", "source": "devpts",
			"options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"{pts_group}]
		}},
		{{
			"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
			"options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
		}},
		{{
			"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
			"options": ["nosuid", "noexec", "nodev"]
		}},
		{{
			"destination": "/sys", "type": "sysfs", "source": "sysfs",
			"options": ["nosuid", "noexec", "nodev", "ro"]
		}},
		{{
			"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
			"options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
		}}
	],
	"linux": {{{mappings}
		"resources": {{"devices": [{{"allow": false, "access": "rwm"}}]}},
		"namespaces": [
			{{"type": "pid"}}, {{"type": "network"}}, {{"type": "ipc"}}, {{"type": "uts"}}, {{"type": "mount"}}{namespaces}
		],
		"maskedPaths": [
			"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
			"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
		],
		"readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
	}}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_valid_specification() {
        for ids in [None, Some((1000, 100))] {
            let spec: oci_spec::runtime::Spec = serde_json::from_str(&template(ids)).unwrap();
            assert_eq!(spec.version(), SPEC_VERSION);
            let again: oci_spec::runtime::Spec =
                serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
            assert_eq!(spec, again);
            assert_eq!(
                spec.linux().as_ref().unwrap().uid_mappings().is_some(),
                ids.is_some()
            );
        }
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let dir = crate::testing::TempDir::new();
        let args = Spec {
            bundle: Some(dir.path().into()),
            rootless: false,
        };
        assert_eq!(execute(&args), Ok(0));
        let before = std::fs::read(dir.path().join("config.json")).unwrap();
        assert!(
            execute(&args)
                .unwrap_err()
                .message
                .contains("exists already")
        );
        assert_eq!(
            std::fs::read(dir.path().join("config.json")).unwrap(),
            before
        );
    }
}
