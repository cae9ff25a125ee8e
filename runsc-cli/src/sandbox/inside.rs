//! The sandbox's process, from its first instruction to its last.

use super::console::{Console, Inside, forget_stdio};
use super::relay::{GO, Signals};
use super::{caps, failed, rootfs};
use crate::commands::Common;
use crate::failure::{Failure, Result};
use crate::plan::Plan;
use crate::{jail, sys};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};
use sentry::config::{ContainerConfig, ExitStatus, Network, Overlay, SandboxConfig};
use sentry::control::Report;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

/// A call site is rewritten after so many traps in a process. To rewrite costs as much as some ten traps more than a call
/// that doesn't trap, and most sites of a short-lived program are used once or twice.
const PATCH_AFTER: u32 = 8;

/// What it starts with.
pub struct Start {
    pub plan: Plan,
    pub common: Common,
    pub preserved: Vec<OwnedFd>,
    pub control: OwnedFd,
    pub console: Console,
    pub signals: Signals,
}

/// The control socket, for the last word.
static CONTROL: OnceLock<OwnedFd> = OnceLock::new();

/// Says something through the control socket before the process ends.
pub fn last_word(report: &Report) {
    if let Some(control) = CONTROL.get() {
        let _ = nix::unistd::write(control, &report.encode());
    }
}

/// Runs the sandbox and never returns.
pub fn main(start: Start) -> ! {
    let code = match start.control.try_clone() {
        Ok(control) => {
            let _ = CONTROL.set(control);
            std::panic::set_hook(Box::new(|info| {
                // A kernel that has lost its way stops at once: its locks and tables can't be trusted.
                let code = 128 + libc::SIGABRT as u8;
                last_word(&Report::Failed(
                    code,
                    format!("the sandbox's kernel panicked; this is a bug in runsc: {info}"),
                ));
                sys::exit_now(code)
            }));
            match run(start) {
                Ok(status) => {
                    last_word(&Report::Exited(status));
                    status.code()
                }
                Err(failure) => {
                    last_word(&Report::Failed(failure.code, failure.message));
                    failure.code
                }
            }
        }
        Err(_) => crate::failure::SELF,
    };
    sys::exit_now(code)
}

fn run(start: Start) -> Result<ExitStatus> {
    let Start {
        plan,
        common,
        preserved,
        control,
        console,
        signals,
    } = start;
    wait_for_go(&control)?;
    become_root()?;
    die_with_parent(&control)?;
    signals.unblock();
    sys::one_heap();
    // A write beyond RLIMIT_FSIZE is an error to report, not our end. (SIGPIPE is ignored by Rust's start-up code.)
    sys::ignore_signal(Signal::SIGXFSZ as libc::c_int);
    // Signals of the user's terminal go to our parent, which passes them on.
    setsid().map_err(|e| failed("make a session", e))?;

    let Inside { stdio, terminal } = console.into_inside()?;
    let host = rootfs::open_handles();
    let root = rootfs::open(&plan)?;
    let Plan {
        id,
        process,
        hostname,
        domainname,
        mounts,
        devices,
        masked_paths,
        readonly_paths,
        sysctl,
        cgroup,
        ..
    } = plan;
    let mounts = mounts
        .into_iter()
        .map(rootfs::open_mount)
        .collect::<Result<Vec<_>>>()?;
    let writes = writes_to_host(&root, &mounts);
    forget_stdio(!common.debug)?;
    limits();
    // Before the host's root is left behind: the platform reads facts in /proc. Its zygote gives up all rights by itself;
    // it is moved out of the host's root along with us if its own directories are that root.
    nix::unistd::chdir("/").map_err(|e| failed("enter the host's root", e))?;
    let options = systrap::Options {
        patch_after: common.patching.then_some(PATCH_AFTER),
        show_own_calls: true,
        ..systrap::Options::default()
    };
    let platform = systrap::Platform::new(&options).map_err(|e| failed("start the platform", e))?;
    let ptrace_scope = crate::hostcheck::ptrace_scope();
    rootfs::detach_mounts()?;
    rootfs::keep_proc()?;
    rootfs::leave()?;
    caps::drop_all(writes, ptrace_scope)?;
    prctl::set_dumpable(false).map_err(|e| failed("become undumpable", e))?;
    // The changes of credentials have taken this back.
    die_with_parent(&control)?;
    super::console::set_nonblocking(&control)?;
    let config = SandboxConfig {
        container: ContainerConfig {
            id,
            args: process.args,
            env: process.env,
            cwd: process.cwd,
            user: process.user,
            caps: process.caps,
            rlimits: process.rlimits,
            no_new_privs: process.no_new_privs,
            oom_score_adj: process.oom_score_adj,
            hostname,
            domainname,
            root,
            mounts,
            devices,
            masked_paths,
            readonly_paths,
            sysctl,
            pids_limit: cgroup.and_then(|g| g.resources.pids),
            stdio,
            terminal,
            preserved,
            protect_init: plan.protect_init,
        },
        network: Network::None,
        host,
        control: Some(control),
        strace: common.strace,
    };
    jail::enter(common.debug)?;
    kernel(config, platform)
}

fn wait_for_go(control: &OwnedFd) -> Result<()> {
    let mut packet = [0; 8];
    match nix::unistd::read(control, &mut packet) {
        Ok(n) if &packet[..n] == GO => Ok(()),
        _ => Err(Failure::new("the sandbox's parent is gone")),
    }
}

/// Root of our own user namespace: the owner of what the container's root owns.
fn become_root() -> Result<()> {
    // Where only one id is mapped, setgroups(2) is forbidden, and the groups are the user's own.
    let _ = setgroups(&[]);
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).map_err(|e| failed("become group 0 of the sandbox", e))?;
    setresuid(uid, uid, uid).map_err(|e| failed("become user 0 of the sandbox", e))
}

/// SIGKILL when our parent dies. A change of credentials takes the setting back.
fn die_with_parent(control: &OwnedFd) -> Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|e| failed("tie the sandbox to its parent", e))?;
    // It may have died before: then its end of the socket is closed.
    let mut fds = [PollFd::new(control.as_fd(), PollFlags::empty())];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(0) => Ok(()),
        _ => Err(Failure::new("the sandbox's parent is gone")),
    }
}

fn writes_to_host(root: &sentry::config::Root, mounts: &[sentry::config::Mount]) -> bool {
    use sentry::config::MountKind;
    let bound = |m: &sentry::config::Mount| {
        matches!(m.kind, MountKind::Bind { .. }) && m.flags & libc::MS_RDONLY == 0
    };
    (!root.readonly && root.overlay == Overlay::None) || mounts.iter().any(bound)
}

/// The sandbox keeps its programs' limits itself; the host's must not get in its way. A dead stub leaves no core file.
fn limits() {
    let raise = [
        libc::RLIMIT_CPU,
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_DATA,
        libc::RLIMIT_RSS,
        libc::RLIMIT_NPROC,
        libc::RLIMIT_NOFILE,
        libc::RLIMIT_MEMLOCK,
        libc::RLIMIT_AS,
    ];
    for resource in raise {
        if let Some((soft, hard)) = sys::rlimit(resource)
            && soft != hard
        {
            let _ = sys::set_rlimit(resource, hard, hard);
        }
    }
    let _ = sys::set_rlimit(libc::RLIMIT_CORE, 0, 0);
}

/// The kernel.
fn kernel(
    config: SandboxConfig,
    platform: std::sync::Arc<systrap::Platform>,
) -> Result<ExitStatus> {
    sentry::boot::run(config, platform).map_err(Failure::from)
}
