//! Runs without a runtime: the same files and namespaces, and then the program itself.
//!
//! `runsc-bench native run --bundle DIR ID` has the command line of a runtime, so that everything else treats it as one. It makes no
//! control groups, drops no capabilities, and installs no filter: what it leaves is what Linux itself costs.

use super::stage::{loopback_up, mount_point};
use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use serde_json::Value;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;

/// The hidden subcommand.
pub const COMMAND: &str = "native";

const NONE: Option<&str> = None;

/// `run --bundle DIR ID`, or `init DIR` in the new namespaces. Gives the exit status.
pub fn main(words: &[String]) -> Result<i32> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["run", "--bundle", dir, _id] => run(dir),
        ["init", dir] => init(Path::new(dir)),
        _ => bail!("native: wanted `run --bundle DIR ID`"),
    }
}

/// The next child is the first process of a new pid namespace.
fn run(dir: &str) -> Result<i32> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    unshare(
        CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )
    .context("unshare")?;
    loopback_up()?;
    let me = std::env::current_exe()?;
    let status = Command::new(me).args([COMMAND, "init", dir]).status()?;
    Ok(status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// Makes the root and becomes the program.
fn init(dir: &Path) -> Result<i32> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json"))?)?;
    let root = dir.join("rootfs");
    for m in config["mounts"].as_array().into_iter().flatten() {
        let text = |key: &str| m[key].as_str().unwrap_or_default();
        let target = mount_point(&root, text("destination"))?;
        let result = match (text("destination"), text("type")) {
            (_, "bind") => mount(
                Some(text("source")),
                &target,
                NONE,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                NONE,
            ),
            // The host's own devices: making nodes is what runtimes are for.
            ("/dev", _) => mount(
                Some("/dev"),
                &target,
                NONE,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                NONE,
            ),
            ("/dev/pts" | "/dev/mqueue", _) => continue,
            (_, kind @ ("proc" | "sysfs" | "tmpfs")) => {
                mount(Some(kind), &target, Some(kind), MsFlags::empty(), NONE)
            }
            (_, kind) => bail!("native: no mounts of type {kind}"),
        };
        result.with_context(|| format!("mount {}", text("destination")))?;
    }
    nix::unistd::chroot(&root).context("chroot")?;
    let process = &config["process"];
    let files = process["rlimits"][0]["hard"].as_u64().unwrap_or(1024);
    setrlimit(Resource::RLIMIT_NOFILE, files, files).context("setrlimit")?;
    std::env::set_current_dir(process["cwd"].as_str().unwrap_or("/")).context("chdir")?;
    let strings = |v: &Value| -> Vec<String> {
        v.as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    };
    let args = strings(&process["args"]);
    let program = args.first().context("no args")?;
    let mut command = Command::new(program);
    command.args(&args[1..]).env_clear();
    for variable in strings(&process["env"]) {
        let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
        command.env(name, value);
    }
    Err(command.exec()).with_context(|| program.clone())
}
