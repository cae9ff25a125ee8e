//! From a configuration to a running container.
//!
//! - [`threads`]: the Sentry's own threads: workers, the reactor.
//! - [`mounts`]: the container's tree of mounts; [`copy_up`]: a tmpfs that starts out with what it covers.
//! - [`sysctl`]: values of /proc/sys.
//! - [`terminal`]: its terminal.
//! - [`init`]: the first process.

mod copy_up;
pub mod init;
mod mounts;
mod sysctl;
mod terminal;
pub mod threads;

use crate::config::{ContainerConfig, ExitStatus, SandboxConfig, StartError, Stdio};
use crate::control::{Control, OnResize, Report};
use crate::event::hostfd;
use crate::kernel::{Kernel, UtsNames};
use crate::task::Creds;
use crate::tty::Tty;
use crate::vfs::walk::{At, Env, WalkFlags};
use crate::vfs::{FdTable, FileType, FsContext, names};
use arch::Errno;
use init::Init;
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use systrap::Platform;
use terminal::Console;
use threads::Threads;

type Result<T> = std::result::Result<T, StartError>;

/// How long the user's terminal may take to show the last output.
const DRAIN: Duration = Duration::from_secs(2);

fn setup(what: &str) -> impl Fn(&dyn Display) -> StartError {
    move |e| StartError::Setup(format!("{what}: {e}"))
}

/// Runs the container to the end of its first process, and everything else in it with that.
///
/// # Errors
/// What kept the first process from starting.
pub fn run(config: SandboxConfig, platform: Arc<Platform>) -> Result<ExitStatus> {
    let mut container = config.container;
    let uts = UtsNames {
        hostname: container.hostname.clone(),
        domainname: container.domainname.clone(),
    };
    let kernel = Kernel::new(platform, uts, container.protect_init, config.host)
        .map_err(|e| setup("the kernel")(&e))?;
    if let Some(output) = config.strace {
        crate::strace::start(output);
    }
    let root = std::mem::replace(
        &mut container.root.dir,
        crate::host::event::eventfd().map_err(|e| setup("the root")(&e))?,
    );
    kernel.tasks.lock().most = container.pids_limit;
    let fs = mounts::build(&kernel, &mut container, root)?;
    sysctl::apply(&kernel, &mounts::env(&fs), &container.sysctl)?;
    let console = match container.terminal.take() {
        Some(terminal) => {
            let (env, ns) = (mounts::env(&fs), fs.namespace());
            let user = &container.user;
            let owner = Creds::with(user.uid, user.gid, &user.groups, 0);
            let console = Console::new(&kernel, &env, &ns, terminal, &owner);
            Some(console.map_err(|e| setup("the terminal")(&e))?)
        }
        None => None,
    };
    let files = stdio(&kernel, &mut container, console.as_ref(), &mounts::env(&fs))?;
    enter_cwd(&fs, &container.cwd)?;
    if let Some(umask) = container.user.umask {
        fs.set_umask(umask);
    }
    let threads = Threads::start(&kernel).map_err(|e| setup("the Sentry's threads")(&e))?;
    let on_resize = console.as_ref().map(|c| -> OnResize {
        let tty = Arc::clone(&c.tty);
        Box::new(move |size| tty.resize(size))
    });
    let control = match config.control {
        Some(fd) => Some(
            Control::serve(&kernel, fd, on_resize).map_err(|e| setup("the control socket")(&e))?,
        ),
        None => None,
    };
    let tty = console.map(|c| c.tty);
    init::start(&kernel, first(container, fs, files, tty.clone()))?;
    if let Some(control) = &control {
        control.report(&Report::Started);
    }
    let status = kernel.wait_for_init();
    if let Some(tty) = tty {
        tty.drain(DRAIN);
    }
    for (nr, times) in kernel.counters.missing() {
        tracing::debug!(
            call = arch::nr::name(nr).unwrap_or("?"),
            nr,
            times,
            "not implemented"
        );
    }
    tracing::debug!(counters = ?kernel.platform.counters(), "trap path");
    drop(control);
    // The process ends now, and its pid namespace with it: nothing has to be taken down one by one.
    std::mem::forget(threads);
    Ok(exit_status(status))
}

/// A wait status as the outside wants it.
pub fn exit_status(status: i32) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        ExitStatus::Signaled(libc::WTERMSIG(status) as u8)
    } else {
        ExitStatus::Exited(libc::WEXITSTATUS(status) as u8)
    }
}

fn first(
    container: ContainerConfig,
    fs: Arc<FsContext>,
    files: Arc<FdTable>,
    terminal: Option<Arc<Tty>>,
) -> Init {
    let caps = container.caps;
    let user = &container.user;
    let mut creds = Creds::with(user.uid, user.gid, &user.groups, caps.permitted);
    creds.effective = caps.effective;
    creds.bounding = caps.bounding;
    creds.inheritable = caps.inheritable;
    creds.ambient = caps.ambient;
    Init {
        fs,
        files,
        creds,
        rlimits: container.rlimits,
        no_new_privs: container.no_new_privs,
        oom_score_adj: container.oom_score_adj.unwrap_or(0),
        args: container.args,
        env: container.env,
        terminal,
    }
}

/// Descriptors 0, 1, 2 and those after them.
fn stdio(
    kernel: &Arc<Kernel>,
    container: &mut ContainerConfig,
    console: Option<&Console>,
    env: &Env<'_>,
) -> Result<Arc<FdTable>> {
    let files = FdTable::new();
    let limit = u64::MAX;
    let put = |n: i32, fd: OwnedFd| {
        let file = hostfd::open(&kernel.reactor, fd)?;
        files.replace(crate::syscalls::Fd(n), file, false, limit)
    };
    let stdio = std::mem::replace(
        &mut container.stdio,
        [Stdio::Closed, Stdio::Closed, Stdio::Closed],
    );
    for (n, what) in (0..).zip(stdio) {
        match what {
            Stdio::Closed => {}
            Stdio::Host(fd) => put(n, fd).map_err(|e| setup("standard input and output")(&e))?,
            Stdio::Terminal => {
                let Some(console) = console else {
                    let why = "standard input and output are a terminal that was not given";
                    return Err(StartError::Setup(why.into()));
                };
                console
                    .open(env)
                    .and_then(|file| files.replace(crate::syscalls::Fd(n), file, false, limit))
                    .map_err(|e| setup("the terminal")(&e))?;
            }
        }
    }
    for (n, fd) in (3..).zip(std::mem::take(&mut container.preserved)) {
        put(n, fd).map_err(|e| setup("a preserved descriptor")(&e))?;
    }
    Ok(files)
}

/// The working directory, made if it is missing (OCI runtime specification, process.cwd).
fn enter_cwd(fs: &Arc<FsContext>, cwd: &[u8]) -> Result<()> {
    let env = mounts::env(fs);
    let resolve = || env.resolve(&At::Cwd, cwd, WalkFlags::FOLLOW);
    let place = match resolve() {
        Err(Errno::ENOENT) => {
            for (end, _) in cwd
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(_, b)| **b == b'/')
                .chain([(cwd.len(), &b'/')])
            {
                match names::mkdir(&env, &At::Cwd, &cwd[..end], 0o755) {
                    Ok(_) | Err(Errno::EEXIST) => {}
                    Err(e) => {
                        return Err(setup("the working directory can't be made")(&e.message()));
                    }
                }
            }
            resolve()
        }
        other => other,
    };
    let show = String::from_utf8_lossy(cwd).into_owned();
    match place {
        Ok(place) if place.inode().file_type() == FileType::Directory => {
            fs.set_cwd(place);
            Ok(())
        }
        Ok(_) => Err(StartError::Setup(format!(
            "the working directory \"{show}\" is not a directory"
        ))),
        Err(e) => {
            let why = e.message().to_lowercase();
            Err(StartError::Setup(format!(
                "the working directory \"{show}\": {why}"
            )))
        }
    }
}
