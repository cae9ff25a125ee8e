//! What config.json asks for, seen from inside.

mod common;

use common::*;
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

/// Runs `script` by the shell of a bundle that `edit` has changed.
fn run(dir: &TempDir, script: &str, edit: impl FnOnce(&mut Value)) -> Output {
    bundle(dir, |c| {
        c["process"]["args"] = json!(["sh", "-c", script]);
        c["root"]["readonly"] = false.into();
        edit(c);
    });
    run_bundle(dir).finish()
}

/// The same in a bundle of its own; what it printed.
fn shown(script: &str, edit: impl FnOnce(&mut Value)) -> String {
    let output = run(&TempDir::new(), script, edit);
    assert_eq!(stderr(&output), "");
    stdout(&output)
}

/// The complaint about a bundle that can't be run.
fn refused(edit: impl FnOnce(&mut Value)) -> String {
    let output = run(&TempDir::new(), "true", edit);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    stderr(&output)
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

#[test]
fn the_process_is_as_configured() {
    let script = "umask; busybox hostname; cat /proc/sys/kernel/domainname; cat /proc/self/oom_score_adj;
        grep -E '^(Uid|Gid|Groups|NoNewPrivs|CapEff|CapBnd|CapAmb)' /proc/self/status; ulimit -n; ulimit -Hn; pwd";
    let text = shown(
        &script
            .replace("cat ", "busybox cat ")
            .replace("grep ", "busybox grep "),
        |c| {
            c["hostname"] = "the-host".into();
            c["domainname"] = "the-domain".into();
            let p = &mut c["process"];
            p["user"] = json!({"uid": 5, "gid": 6, "umask": 0o27, "additionalGids": [7, 8]});
            p["oomScoreAdj"] = 321.into();
            p["noNewPrivileges"] = true.into();
            p["cwd"] = "/made/for/it".into();
            p["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]});
            p["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
        },
    );
    let expected = "0027\nthe-host\nthe-domain\n321\nUid:\t5\t5\t5\t5\nGid:\t6\t6\t6\t6\nGroups:\t7 8 \n\
        CapEff:\t0000000000000020\nCapBnd:\t0000000000000021\nCapAmb:\t0000000000000020\nNoNewPrivs:\t1\n100\n200\n/made/for/it\n";
    assert_eq!(text, expected);
}

#[test]
fn paths_are_masked_and_read_only() {
    let script = "busybox ls /secret; busybox cat /file; echo x > /kept/new || busybox cat /kept/old; echo x > /proc/sys/kernel/hostname";
    let dir = TempDir::new();
    std::fs::create_dir_all(dir.path("rootfs/secret")).unwrap();
    std::fs::create_dir_all(dir.path("rootfs/kept")).unwrap();
    for name in ["secret/x", "file", "kept/old"] {
        std::fs::write(dir.path("rootfs").join(name), "content\n").unwrap();
    }
    let output = run(&dir, script, |c| {
        c["linux"]["maskedPaths"] = json!(["/secret", "/file", "/not/there"]);
        c["linux"]["readonlyPaths"] = json!(["/kept", "/proc/sys", "/not/there"]);
    });
    assert_eq!(stdout(&output), "content\n", "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("Read-only file system").count(), 2);
    assert!(!dir.path("rootfs/kept/new").exists());
}

#[test]
fn a_tmpfs_can_start_with_what_it_covers() {
    let dir = TempDir::new();
    let data = dir.path("rootfs/data");
    std::fs::create_dir_all(data.join("sub/deep")).unwrap();
    std::fs::write(data.join("sub/big"), vec![b'x'; 700_000]).unwrap();
    std::fs::write(data.join("script"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(data.join("script"), PermissionsExt::from_mode(0o4750)).unwrap();
    symlink("sub/big", data.join("link")).unwrap();
    let script = "busybox stat -c '%a %s' /data/script; busybox wc -c < /data/link; busybox ls /data /data/sub; echo x > /data/new; rm -r /data/sub";
    let output = run(&dir, &script.replace("rm ", "busybox rm "), |c| {
        add_mount(
            c,
            json!({"destination": "/data", "type": "tmpfs", "options": ["tmpcopyup", "size=2m"]}),
        );
    });
    assert_eq!(
        stdout(&output),
        "4750 10\n700000\n/data:\nlink\nscript\nsub\n\n/data/sub:\nbig\ndeep\n",
        "{}",
        stderr(&output)
    );
    assert!(data.join("sub/big").exists() && !data.join("new").exists());
    std::fs::remove_file(dir.path("config.json")).unwrap();
    std::fs::remove_dir_all(dir.path("rootfs/bin")).unwrap();
    let output = run(&dir, "true", |c| {
        add_mount(
            c,
            json!({"destination": "/data", "type": "tmpfs", "options": ["tmpcopyup", "size=64k"]}),
        );
    });
    assert!(
        stderr(&output).contains("no space left"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn files_can_be_bound() {
    let dir = TempDir::new();
    std::fs::write(dir.path("conf"), "one\n").unwrap();
    let script = "busybox cat /etc/conf /ro; echo two >> /etc/conf; echo three >> /ro; busybox stat -c %F /etc/conf";
    let output = run(&dir, script, |c| {
        for (at, option) in [("/etc/conf", "rw"), ("/ro", "ro")] {
            let source = dir.path("conf");
            add_mount(
                c,
                json!({"destination": at, "type": "bind", "source": source, "options": ["bind", option]}),
            );
        }
    });
    assert_eq!(
        stdout(&output),
        "one\none\nregular file\n",
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("Read-only file system"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        std::fs::read_to_string(dir.path("conf")).unwrap(),
        "one\ntwo\n"
    );
}

#[test]
fn devices_are_made_where_they_are_wanted() {
    let text = shown(
        "busybox stat -c '%n %F %a %t:%T %u' /dev/mine /odd/null; echo x > /odd/null && echo written",
        |c| {
            c["linux"]["devices"] = json!([
                {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 0},
                {"path": "/odd/null", "type": "c", "major": 1, "minor": 3},
            ]);
            add_mount(c, json!({"destination": "/odd", "type": "tmpfs"}));
            // A mount of its own that comes before /dev is filled.
            let mounts = c["mounts"].as_array_mut().unwrap();
            let odd = mounts.pop().unwrap();
            mounts.insert(0, odd);
        },
    );
    assert_eq!(
        text,
        "/dev/mine character special file 640 1:5 0\n/odd/null character special file 666 1:3 0\nwritten\n"
    );
}

#[test]
fn sysctls_are_set_or_refused_by_name() {
    let values = [
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net.ipv4.ping_group_range", "0 2147483647"),
        ("net.core.somaxconn", "77"),
        // What it is anyway.
        ("kernel.shmmni", "4096"),
    ];
    let script = "cd /proc/sys; busybox cat net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range net/core/somaxconn";
    let text = shown(script, |c| {
        for (name, value) in values {
            c["linux"]["sysctl"][name] = value.into();
        }
    });
    assert_eq!(text, "0\n0\t2147483647\n77\n");
    let text = refused(|c| c["linux"]["sysctl"]["net.ipv4.no_such_thing"] = "1".into());
    assert!(
        text.contains("net.ipv4.no_such_thing") && text.contains("no such value"),
        "{text}"
    );
    let text = refused(|c| c["linux"]["sysctl"]["kernel.pid_max"] = "7".into());
    assert!(
        text.contains("kernel.pid_max") && text.contains("can't be other than"),
        "{text}"
    );
    let text = refused(|c| c["linux"]["sysctl"]["kernel.../../../etc/passwd"] = "7".into());
    assert!(text.contains("no such value"), "{text}");
}

#[test]
fn hooks_run_in_order_and_see_the_state() {
    let dir = TempDir::new();
    let hook = |name: &str| {
        let script =
            format!("echo {name} $(sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/') $MARK >> log");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["MARK=m", "PATH=/usr/bin:/bin"]}])
    };
    let output = run(&dir, "echo inside; read x", |c| {
        for name in [
            "prestart",
            "createRuntime",
            "createContainer",
            "poststart",
            "poststop",
        ] {
            c["hooks"][name] = hook(name);
        }
    });
    assert_eq!(stdout(&output), "inside\n", "{}", stderr(&output));
    assert_eq!(
        std::fs::read_to_string(dir.path("log")).unwrap(),
        "prestart creating m\ncreateRuntime creating m\ncreateContainer creating m\npoststart running m\npoststop stopped m\n"
    );
}

#[test]
fn a_hook_that_fails_ends_the_container() {
    let fails = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo no bridge >&2; exit 4"]}]);
    let stops = json!([{"path": "/bin/touch", "args": ["touch", "stopped"]}]);
    for (name, runs) in [("createRuntime", false), ("poststart", true)] {
        let dir = TempDir::new();
        let output = run(&dir, "echo inside; exec busybox sleep 50", |c| {
            c["hooks"][name] = fails.clone();
            c["hooks"]["poststop"] = stops.clone();
        });
        assert_eq!(output.status.code(), Some(125));
        let text = stderr(&output);
        assert!(
            text.contains(name) && text.contains("exit status 4: no bridge"),
            "{text}"
        );
        assert!(runs || stdout(&output).is_empty());
        assert!(dir.path("stopped").exists());
    }
}

#[test]
fn a_hook_has_only_so_much_time() {
    let text = refused(|c| {
        c["hooks"]["prestart"] =
            json!([{"path": "/bin/sleep", "args": ["sleep", "50"], "timeout": 1}]);
    });
    assert!(
        text.contains("hook prestart /bin/sleep: not over after its timeout of 1 s"),
        "{text}"
    );
}

#[test]
fn the_number_of_tasks_is_bounded() {
    if !root() {
        eprintln!("skipped: making a control group needs root");
        return;
    }
    let script = "n=0; for i in 1 2 3 4 5 6 7 8 9; do busybox sleep 30 & done; busybox ls -d /proc/[0-9]* | busybox wc -l";
    let output = run(&TempDir::new(), script, |c| {
        c["linux"]["resources"]["pids"] = json!({"limit": 5});
    });
    // The shell gives up at the first that is refused.
    let refusal = stderr(&output).contains("can't fork");
    assert!(refusal, "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn limits_are_those_of_a_control_group() {
    if !root() {
        eprintln!("skipped: making a control group needs root");
        return;
    }
    let name = format!("/runsc-it-{}/box", std::process::id());
    let dir = TempDir::new();
    let top = Path::new("/sys/fs/cgroup");
    let (group, file) = if top.join("cgroup.controllers").exists() {
        (top.join(&name[1..]), "memory.max")
    } else if top.join("memory/cgroup.procs").exists() {
        (top.join("memory").join(&name[1..]), "memory.limit_in_bytes")
    } else {
        eprintln!("skipped: no memory controller is mounted below /sys/fs/cgroup");
        return;
    };
    // A hook sees them while the sandbox is there.
    let script = format!("cat {0}/{file}; wc -l < {0}/cgroup.procs", group.display());
    let output = run(&dir, "busybox sleep 0.3", |c| {
        c["linux"]["cgroupsPath"] = name.clone().into();
        c["linux"]["resources"]["memory"] = json!({"limit": 512 << 20});
        let look = format!("({script}) > look");
        c["hooks"]["poststart"] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", look], "env": ["PATH=/usr/bin:/bin"]}]);
    });
    assert!(output.status.success(), "{}", stderr(&output));
    let look = std::fs::read_to_string(dir.path("look")).unwrap();
    let mut lines = look.lines();
    assert_eq!(lines.next(), Some((512 << 20).to_string().as_str()));
    let processes: u32 = lines.next().unwrap().parse().unwrap();
    assert!(
        processes >= 3,
        "the Sentry, the zygote, the program: {look}"
    );
    assert!(!group.exists(), "it goes with the container");
    assert!(!group.parent().unwrap().exists());
}

#[test]
fn what_belongs_to_the_container_belongs_to_its_root() {
    let dir = TempDir::new();
    let output = run(
        &dir,
        "echo x > /new; mkdir /sub 2>/dev/null || busybox mkdir /sub",
        |_| (),
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let meta = std::fs::metadata(dir.path("rootfs/new")).unwrap();
    assert_eq!(
        (meta.uid(), meta.mode() & 0o777),
        (nix::unistd::geteuid().as_raw(), 0o644)
    );
}
