//! The parent while the sandbox runs: one thread in poll(2).

use super::console::{Console, Outer, set_nonblocking};
use super::failed;
use crate::failure::{Context, Failure, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use sentry::config::{ExitStatus, WindowSize};
use sentry::control::{MAX_MESSAGE, Report, Request};
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// What the sandbox waits for before it starts: its id maps are written.
pub const GO: &[u8] = b"go";

/// How long a sandbox may take to end after it said that it would.
const GRACE: Duration = Duration::from_secs(10);

/// How often a job in the background looks whether it has come to the front, milliseconds.
const BACKGROUND: u8 = 250;

/// Signals that are passed on to the program. Not here: those that stop or fault this very process, SIGCHLD, SIGPIPE, SIGURG,
/// and what the C library uses itself.
const FORWARDED: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGPWR,
    Signal::SIGIO,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
];

/// Signals come as packets from a descriptor.
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Blocks what is to be passed on, SIGWINCH and SIGCONT. A signal that the caller ignores (nohup(1)) stays ignored.
    pub fn block() -> Result<Self> {
        let mut set: SigSet = FORWARDED.iter().copied().filter(|&s| !ignored(s)).collect();
        set.add(Signal::SIGWINCH);
        set.add(Signal::SIGCONT);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))
            .context(|| "block signals".into())?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&set, flags).context(|| "make a signal descriptor".into())?;
        Ok(Self { fd, before })
    }

    /// Undoes it, in the sandbox's process.
    pub fn unblock(self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// Whether the signal is ignored now (`SigIgn` of /proc/self/status would say the same).
fn ignored(signal: Signal) -> bool {
    crate::sys::is_ignored(signal as libc::c_int)
}

/// What the sandbox said last.
enum Last {
    Exited(ExitStatus),
    Failed(Failure),
}

/// What the relay waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// A signal to pass on.
    Signal,
    /// The sandbox's process is gone.
    End,
    /// The sandbox says something.
    Report,
    /// The sandbox's terminal shows something.
    Output,
    /// The user has typed something.
    Input,
}

/// A running sandbox. Dropping it ends the sandbox.
pub struct Relay {
    pid: Pid,
    pidfd: OwnedFd,
    control: OwnedFd,
    signals: Signals,
    terminal: Option<Outer>,
    size: WindowSize,
    last: Option<(Last, Instant)>,
    reaped: bool,
}

impl Relay {
    /// Takes charge of a sandbox process that was just cloned.
    pub fn new(
        pid: i32,
        pidfd: OwnedFd,
        control: OwnedFd,
        signals: Signals,
        console: Console,
    ) -> Self {
        let terminal = console.into_outer();
        let pid = Pid::from_raw(pid);
        Self {
            pid,
            pidfd,
            control,
            signals,
            terminal,
            size: WindowSize::default(),
            last: None,
            reaped: false,
        }
    }

    /// Lets the sandbox start.
    pub fn go(&self) -> Result<()> {
        set_nonblocking(&self.control)?;
        // A sandbox that is dead already is dealt with by the wait.
        match nix::unistd::write(&self.control, GO) {
            Ok(_) | Err(Errno::EPIPE) => Ok(()),
            Err(e) => Err(failed("start the sandbox", e)),
        }
    }

    /// Waits for the end, and meanwhile passes on what comes from either side.
    /// `started` is called once the program runs; if it fails, that is the sandbox's end.
    pub fn run(mut self, started: impl Fn() -> Result<()>) -> Result<u8> {
        if let Some(terminal) = &self.terminal {
            terminal.raw();
            self.size = terminal.size().unwrap_or_default();
        }
        super::console::forget_stdio(false)?;
        let (mut input_open, mut output_open) = (true, true);
        loop {
            let ready = self.wait(input_open, output_open)?;
            for what in &ready {
                match (what, &self.terminal) {
                    (Ready::Signal, _) => self.pass_signals(),
                    (Ready::Report, _) => self.hear(&started)?,
                    (Ready::Output, Some(terminal)) => output_open = terminal.pump_out(),
                    (Ready::Input, Some(terminal)) => {
                        if !terminal.pump_in() {
                            input_open = false;
                            terminal.hang_up();
                        }
                    }
                    (Ready::End | Ready::Input | Ready::Output, _) => {}
                }
            }
            if ready.contains(&Ready::End) {
                return self.end(&started);
            }
            self.pass_size();
            // A shell doesn't say so when it brings a running job to the front.
            if let Some(terminal) = self.terminal.as_ref().filter(|t| !t.is_ours()) {
                terminal.raw();
            }
            if self
                .last
                .as_ref()
                .is_some_and(|(_, since)| since.elapsed() > GRACE)
            {
                self.kill();
            }
        }
    }

    /// Sleeps until something is ready.
    fn wait(&self, input: bool, output: bool) -> Result<Vec<Ready>> {
        // What is through is left out: it would report its hang-up for ever.
        let mut sources = vec![
            (Ready::Signal, self.signals.fd.as_fd()),
            (Ready::End, self.pidfd.as_fd()),
        ];
        if self.last.is_none() {
            sources.push((Ready::Report, self.control.as_fd()));
        }
        if let Some(terminal) = &self.terminal {
            if output {
                sources.push((Ready::Output, terminal.channel.as_fd()));
            }
            if input && terminal.is_ours() {
                sources.push((Ready::Input, terminal.input.as_fd()));
            }
        }
        let mut fds: Vec<_> = sources
            .iter()
            .map(|&(_, fd)| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, self.patience()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(failed("wait for the sandbox", e)),
        }
        let ready = fds.iter().map(|fd| fd.any().unwrap_or(false));
        Ok(sources
            .iter()
            .zip(ready)
            .filter(|(_, ready)| *ready)
            .map(|((what, _), _)| *what)
            .collect())
    }

    fn patience(&self) -> PollTimeout {
        match &self.last {
            None if self.terminal.as_ref().is_some_and(|t| !t.is_ours()) => {
                PollTimeout::from(BACKGROUND)
            }
            None => PollTimeout::NONE,
            Some(_) => {
                PollTimeout::try_from(GRACE + Duration::from_millis(10)).unwrap_or(PollTimeout::MAX)
            }
        }
    }

    fn send(&self, request: Request) {
        // A sandbox that doesn't read its requests, or is dead, gets no more of them.
        let _ = nix::unistd::write(&self.control, &request.encode());
    }

    fn pass_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.fd.read_signal() {
            match i32::try_from(info.ssi_signo) {
                Ok(libc::SIGWINCH) => self.pass_size(),
                // Whoever stopped us may have changed the terminal meanwhile.
                Ok(libc::SIGCONT) => self.terminal.iter().for_each(Outer::raw),
                Ok(signal) => self.send(Request::Signal(signal as u8)),
                Err(_) => {}
            }
        }
    }

    fn pass_size(&mut self) {
        if let Some(size) = self.terminal.as_ref().and_then(Outer::size)
            && size != self.size
        {
            self.size = size;
            self.send(Request::Resize(size));
        }
    }

    /// Reads what the sandbox says.
    fn hear(&mut self, started: &impl Fn() -> Result<()>) -> Result<()> {
        let mut packet = [0; MAX_MESSAGE];
        while self.last.is_none() {
            let n = match nix::unistd::read(&self.control, &mut packet) {
                Ok(n @ 1..) => n,
                Ok(0) | Err(Errno::ECONNRESET) => {
                    // It has closed its end: nothing to hear any more, the wait tells the rest.
                    let text = "the sandbox's kernel broke off without a word";
                    self.last = Some((Last::Failed(Failure::new(text)), Instant::now()));
                    return Ok(());
                }
                _ => return Ok(()),
            };
            match Report::decode(&packet[..n]) {
                Some(Report::Started) => started()?,
                Some(Report::Exited(status)) => {
                    self.last = Some((Last::Exited(status), Instant::now()))
                }
                Some(Report::Failed(code, message)) => {
                    let message = message.replace(|c: char| c.is_control() && c != '\n', "?");
                    self.last = Some((Last::Failed(Failure { code, message }), Instant::now()));
                }
                None => tracing::warn!("the sandbox sent a message that makes no sense"),
            }
        }
        Ok(())
    }

    /// The sandbox's process is gone.
    fn end(mut self, started: &impl Fn() -> Result<()>) -> Result<u8> {
        if self.last.is_none() {
            self.hear(started)?;
        }
        let status = waitpid(self.pid, None).context(|| "wait for the sandbox".into())?;
        self.reaped = true;
        if let Some(terminal) = &self.terminal {
            terminal.drain();
        }
        conclude(self.last.take().map(|(last, _)| last), status)
    }

    fn kill(&self) {
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
    }
}

/// What to make of the last word and the way the process ended.
fn conclude(last: Option<Last>, status: WaitStatus) -> Result<u8> {
    match (last, status) {
        (Some(Last::Exited(status)), _) => Ok(status.code()),
        (_, WaitStatus::Signaled(_, Signal::SIGSYS, _)) => Err(Failure {
            code: 128 + libc::SIGSYS as u8,
            message: "the sandbox's kernel made a host system call that its own filter forbids, and was killed; this is a bug in \
                      runsc or an attack on it. With --debug the log says which call"
                .into(),
        }),
        (_, WaitStatus::Signaled(_, signal, _)) => Err(Failure {
            code: 128 + signal as u8,
            message: match signal {
                Signal::SIGKILL => "the sandbox was killed (SIGKILL): by somebody, or for lack of memory".into(),
                signal => format!("the sandbox's kernel died of {signal}; this is a bug in runsc"),
            },
        }),
        (Some(Last::Failed(failure)), _) => Err(failure),
        (None, status) => Err(Failure::new(format!("the sandbox's kernel ended without a word ({status:?})"))),
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            let _ = waitpid(self.pid, None);
        }
    }
}

/// Complete or not there at all: whoever waits for it sees it appear with its content.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = Path::new(&temporary);
    let write = || {
        std::fs::File::create(temporary)?.write_all(pid.to_string().as_bytes())?;
        std::fs::rename(temporary, path)
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(temporary);
        failed(
            &format!("--pid-file {}", path.display()),
            crate::oci::errno_text(&e),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> WaitStatus {
        WaitStatus::Exited(Pid::from_raw(1), code)
    }

    #[test]
    fn the_programs_end_is_ours() {
        let ended = |status| conclude(Some(Last::Exited(status)), exited(0)).unwrap();
        assert_eq!(ended(ExitStatus::Exited(3)), 3);
        assert_eq!(ended(ExitStatus::Signaled(15)), 143);
    }

    #[test]
    fn a_dead_kernel_is_told_from_a_dead_program() {
        let killed = |signal| {
            conclude(None, WaitStatus::Signaled(Pid::from_raw(1), signal, false)).unwrap_err()
        };
        assert_eq!(killed(Signal::SIGSEGV).code, 139);
        assert!(killed(Signal::SIGSEGV).message.contains("SIGSEGV"));
        assert!(killed(Signal::SIGKILL).message.contains("memory"));
        assert!(killed(Signal::SIGSYS).message.contains("--debug"));
        assert_eq!(
            conclude(None, exited(1)).unwrap_err().code,
            crate::failure::SELF
        );
    }

    #[test]
    fn failures_keep_their_status() {
        let failure = Failure {
            code: 127,
            message: "x".into(),
        };
        assert_eq!(
            conclude(Some(Last::Failed(failure)), exited(1))
                .unwrap_err()
                .code,
            127
        );
    }

    #[test]
    fn pid_files_appear_whole() {
        let dir = crate::testing::TempDir::new();
        let path = dir.path().join("pid");
        write_pid_file(&path, 123).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "123");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let err = write_pid_file(&dir.path().join("no/pid"), 1).unwrap_err();
        assert!(err.message.contains("--pid-file"), "{err}");
    }
}
