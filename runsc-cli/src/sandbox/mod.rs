//! The process that holds a sandbox's kernel, from its parent's point of view.
//!
//! ```text
//! runsc (parent)                         the Sentry: pid 1 of its own pid namespace
//!   clone with new namespaces ─────────▶ waits
//!   writes the id maps, "go" ──────────▶ opens what it needs of the host, empties its root, drops rights    (inside)
//!                                        starts the platform, puts itself into the jail, runs the kernel
//!   passes on signals, window sizes,
//!   bytes of the terminal       (relay) ◀▶ control socket, terminal channel
//!   waits for it, exits alike
//! ```
//!
//! The Sentry dies with its parent (PR_SET_PDEATHSIG), all stubs with the Sentry (they live in its pid namespace).

mod caps;
mod cgroup;
mod console;
mod hooks;
mod ids;
mod inside;
mod mountpoints;
mod relay;
mod rootfs;

pub use inside::last_word;

use crate::commands::{Common, Outcome};
use crate::failure::{Context, Failure, Result};
use crate::hostcheck;
use crate::plan::Plan;
use crate::sys::{self, Cloned};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// How a sandbox is started, beside what runs in it.
#[derive(Default)]
pub struct Launch {
    pub common: Common,
    /// Descriptors for the program from 3 on.
    pub preserved: Vec<OwnedFd>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
}

/// Runs the sandbox to its end; the status that `runsc` is to exit with.
pub fn run(plan: Plan, launch: Launch) -> Outcome {
    hostcheck::check()?;
    let Launch {
        common,
        preserved,
        console_socket,
        pid_file,
    } = launch;
    let group = match &plan.cgroup {
        Some(wish) => cgroup::Group::create(wish)?,
        None => cgroup::Group::default(),
    };
    let console = console::Console::set_up(plan.process.terminal, console_socket.as_deref())?;
    let (ours, theirs) = packet_pair()?;
    // Blocked before the clone: a signal that comes in between waits for the relay.
    let signals = relay::Signals::block()?;
    raise_nofile();

    let (pid, pidfd) = match clone_sandbox()? {
        Cloned::Child => {
            drop(ours);
            // The parent's to take away.
            std::mem::forget(group);
            inside::main(inside::Start {
                plan,
                common,
                preserved,
                control: theirs,
                console,
                signals,
            });
        }
        Cloned::Parent(pid, pidfd) => (pid, pidfd),
    };
    drop(theirs);
    drop(preserved);
    drop(common);
    let relay = relay::Relay::new(pid, pidfd, ours, signals, console);
    let hooks = hooks::Runner::new(&plan, pid);
    let run = || {
        ids::write(pid, plan.id_maps.as_ref())?;
        // Before it makes its first stub: where the Sentry is, there they are.
        group.enter(pid)?;
        hooks.creating()?;
        relay.go()?;
        relay.run(|| {
            if let Some(path) = &pid_file {
                relay::write_pid_file(path, pid)?;
            }
            hooks.started()
        })
    };
    let outcome = run();
    drop(group);
    hooks.stopped();
    outcome
}

/// The relay's end and the sandbox's.
fn packet_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .context(|| "make the control socket".into())
}

/// Every namespace there is but cgroup and time: what the jailed process can see of the host is what it holds open.
fn clone_sandbox() -> Result<Cloned> {
    use libc::{
        CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS,
    };
    let flags =
        CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
    sys::clone_process(flags).map_err(|e| {
        let errno = Errno::from_raw(e.raw_os_error().unwrap_or(0));
        hostcheck::explain_clone(errno, nix::unistd::geteuid().is_root())
    })
}

/// Room for descriptors: as many as the caller may have. Each file that a program opens, and each stub, takes some of ours.
fn raise_nofile() {
    const WANTED: u64 = 1 << 20;
    if let Some((soft, hard)) = sys::rlimit(libc::RLIMIT_NOFILE) {
        // Only root can raise the hard limit; what can't be had is done without.
        if hard >= WANTED || sys::set_rlimit(libc::RLIMIT_NOFILE, WANTED, WANTED).is_err() {
            let _ = sys::set_rlimit(libc::RLIMIT_NOFILE, hard.max(soft), hard);
        }
    }
}

/// A failure of the sandbox's own set-up.
fn failed(what: &str, e: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{what}: {e}"))
}
