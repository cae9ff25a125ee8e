//! Standard descriptors and the terminal.
//!
//! With a terminal, the programs inside have one of the Sentry's own; what the user types and what it shows pass as bytes
//! through a socket pair (the channel) between the Sentry and the relay here, so that the sandbox never holds the user's
//! terminal itself, which would let it push input into the user's shell (TIOCSTI) or change its settings for good.

use super::failed;
use crate::failure::{Context, Failure, Result};
use crate::plan::TerminalWish;
use crate::sys;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg,
    socket, socketpair,
};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use sentry::config::{Stdio, Terminal, WindowSize};
use std::cell::{Cell, OnceCell};
use std::io::{IoSlice, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Both sides, before they part.
pub struct Console {
    /// Which of descriptors 0 to 2 are the terminal; the others are passed on.
    is_terminal: [bool; 3],
    inner: Option<Terminal>,
    outer: Option<Outer>,
}

/// What the sandbox gets.
pub struct Inside {
    pub stdio: [Stdio; 3],
    pub terminal: Option<Terminal>,
}

/// The user's side of the terminal.
pub struct Outer {
    /// Where the user types.
    pub input: OwnedFd,
    /// Where he reads.
    pub output: OwnedFd,
    /// To the Sentry. Non-blocking.
    pub channel: OwnedFd,
    /// It is raw, and what is typed there is ours. Not in the background of a shell's jobs.
    ours: Cell<bool>,
    /// Settings to go back to, once they have been changed. Not before: the sandbox's process has a copy of this, and drops it.
    saved: OnceCell<Termios>,
}

impl Console {
    /// Finds out what there is, and makes what there must be.
    pub fn set_up(wish: TerminalWish, console_socket: Option<&Path>) -> Result<Self> {
        let ttys = [
            std::io::stdin().is_terminal(),
            std::io::stdout().is_terminal(),
            std::io::stderr().is_terminal(),
        ];
        match (wish, console_socket) {
            (TerminalWish::No | TerminalWish::LikeStdin, Some(_)) => Err(Failure::new(
                "--console-socket: the container has no terminal; set process.terminal in config.json",
            )),
            (TerminalWish::LikeStdin, None) if ttys[0] => Self::with(ttys, user_side(ttys)?, None),
            (TerminalWish::LikeStdin, None) if ttys[1] => match controlling_terminal() {
                // Input comes from elsewhere, but keys can be asked for: `… | less`.
                Some(input) => {
                    let output = duplicate(std::io::stdout().as_fd())?;
                    Self::with(ttys, (input, output), None)
                }
                None => Ok(Self::none()),
            },
            (TerminalWish::No | TerminalWish::LikeStdin, None) => Ok(Self::none()),
            (TerminalWish::Yes(_), None) if !ttys[0] => Err(Failure::new(
                "process.terminal is true in config.json, but standard input is no terminal: set it to false, or give \
                 --console-socket",
            )),
            (TerminalWish::Yes(size), None) => Self::with([true; 3], user_side(ttys)?, Some(size)),
            (TerminalWish::Yes(size), Some(path)) => {
                Self::with([true; 3], host_pty(path, size)?, Some(size))
            }
        }
    }

    fn none() -> Self {
        Self {
            is_terminal: [false; 3],
            inner: None,
            outer: None,
        }
    }

    fn with(
        is_terminal: [bool; 3],
        (input, output): (OwnedFd, OwnedFd),
        size: Option<WindowSize>,
    ) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (channel, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)
            .context(|| "make the terminal's channel".into())?;
        let size = window_size(input.as_fd()).or(size).unwrap_or_default();
        let outer = Outer {
            saved: OnceCell::new(),
            ours: Cell::new(false),
            input,
            output,
            channel,
        };
        Ok(Self {
            is_terminal,
            inner: Some(Terminal {
                channel: theirs,
                size,
            }),
            outer: Some(outer),
        })
    }

    /// The sandbox's half. The process's own descriptors 0 to 2 become /dev/null, so that the sandbox holds open only
    /// what its programs do.
    pub fn into_inside(self) -> Result<Inside> {
        let take = |fd: BorrowedFd<'_>, terminal: bool| -> Result<Stdio> {
            if terminal {
                return Ok(Stdio::Terminal);
            }
            fd.try_clone_to_owned()
                .map(Stdio::Host)
                .context(|| "pass on a standard descriptor".into())
        };
        let stdio = [
            take(std::io::stdin().as_fd(), self.is_terminal[0])?,
            take(std::io::stdout().as_fd(), self.is_terminal[1])?,
            take(std::io::stderr().as_fd(), self.is_terminal[2])?,
        ];
        Ok(Inside {
            stdio,
            terminal: self.inner,
        })
    }

    /// The user's half.
    pub fn into_outer(self) -> Option<Outer> {
        self.outer
    }
}

/// Points stdin and stdout (and stderr, if asked) at /dev/null.
pub fn forget_stdio(stderr: bool) -> Result<()> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context(|| "open /dev/null".into())?;
    let done = nix::unistd::dup2_stdin(&null).and_then(|()| nix::unistd::dup2_stdout(&null));
    done.and_then(|()| {
        if stderr {
            nix::unistd::dup2_stderr(&null)
        } else {
            Ok(())
        }
    })
    .context(|| "let go of the standard descriptors".into())
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned()
        .context(|| "duplicate a standard descriptor".into())
}

/// The terminal of this session, if it has one and we are in its foreground.
fn controlling_terminal() -> Option<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let fd = nix::fcntl::open("/dev/tty", flags, nix::sys::stat::Mode::empty()).ok()?;
    in_foreground(&fd).then_some(fd)
}

/// Whether we may read from it and change its settings without being stopped (SIGTTIN, SIGTTOU). A terminal that isn't that
/// of our session stops nobody.
fn in_foreground(fd: &OwnedFd) -> bool {
    nix::unistd::tcgetpgrp(fd).map_or(true, |group| group == nix::unistd::getpgrp())
}

/// stdin to read from, and whichever descriptor is the terminal to write to.
fn user_side(ttys: [bool; 3]) -> Result<(OwnedFd, OwnedFd)> {
    let input = duplicate(std::io::stdin().as_fd())?;
    let output = match ttys {
        [_, true, _] | [false, false, false] => duplicate(std::io::stdout().as_fd())?,
        [_, _, true] => duplicate(std::io::stderr().as_fd())?,
        _ => duplicate(std::io::stdin().as_fd())?,
    };
    Ok((input, output))
}

/// A pseudo-terminal of the host's: its master side goes to whoever listens at `path`, its slave side is the user's here.
fn host_pty(path: &Path, size: WindowSize) -> Result<(OwnedFd, OwnedFd)> {
    let pty = openpty(None, None).context(|| "open a pseudo-terminal of the host's".into())?;
    let close_on_exec = |fd: &OwnedFd| fcntl(fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC));
    close_on_exec(&pty.master)
        .and_then(|_| close_on_exec(&pty.slave))
        .context(|| "mark the pseudo-terminal".into())?;
    if size.rows != 0 && size.cols != 0 {
        let size = libc::winsize {
            ws_row: size.rows,
            ws_col: size.cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        sys::set_window_size(pty.slave.as_fd(), &size)
            .context(|| "set the size of the terminal".into())?;
    }
    let say = |e| failed(&format!("--console-socket {}", path.display()), e);
    let name = nix::unistd::ttyname(&pty.slave).map_err(say)?;
    let stream = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(say)?;
    let address = UnixAddr::new(path).map_err(say)?;
    connect(stream.as_raw_fd(), &address).map_err(say)?;
    let fds = [pty.master.as_raw_fd()];
    let text = [IoSlice::new(name.as_os_str().as_encoded_bytes())];
    sendmsg::<()>(
        stream.as_raw_fd(),
        &text,
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )
    .map_err(say)?;
    let output = pty
        .slave
        .try_clone()
        .context(|| "duplicate the pseudo-terminal".into())?;
    Ok((pty.slave, output))
}

/// The size of a terminal's window; `None` if it isn't a terminal.
fn window_size(fd: BorrowedFd<'_>) -> Option<WindowSize> {
    let size = sys::window_size(fd)?;
    Some(WindowSize {
        rows: size.ws_row,
        cols: size.ws_col,
        xpixel: size.ws_xpixel,
        ypixel: size.ws_ypixel,
    })
}

impl Outer {
    /// Lets every byte through as it is: lines, echo and ^C are the business of the terminal inside. In the background
    /// nothing is done until the shell brings us to the front.
    pub fn raw(&self) {
        self.ours.set(in_foreground(&self.input));
        if !self.ours.get() {
            return;
        }
        // Fails if the user's side is no terminal, or gone; reading from it will say so.
        if let Ok(now) = tcgetattr(&self.input) {
            let mut raw = self.saved.get_or_init(|| now).clone();
            cfmakeraw(&mut raw);
            let _ = tcsetattr(&self.input, SetArg::TCSADRAIN, &raw);
        }
    }

    /// Whether what is typed there is for the sandbox.
    pub fn is_ours(&self) -> bool {
        self.ours.get()
    }

    /// The size of the window now.
    pub fn size(&self) -> Option<WindowSize> {
        window_size(self.input.as_fd())
    }

    /// Passes on what the user typed. `false` once there will be no more.
    pub fn pump_in(&self) -> bool {
        let mut buf = [0; 4096];
        match nix::unistd::read(&self.input, &mut buf) {
            Ok(0) => false,
            Ok(n) => self.send(&buf[..n]),
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => true,
            Err(_) => false,
        }
    }

    /// Input that doesn't fit is lost, as on a real terminal whose queue is full.
    fn send(&self, data: &[u8]) -> bool {
        !matches!(
            nix::unistd::write(&self.channel, data),
            Err(nix::errno::Errno::EPIPE)
        )
    }

    /// The user hung up.
    pub fn hang_up(&self) {
        let _ =
            nix::sys::socket::shutdown(self.channel.as_raw_fd(), nix::sys::socket::Shutdown::Write);
    }

    /// Shows what the sandbox has written. `false` at its end, or when nobody can see it any more.
    pub fn pump_out(&self) -> bool {
        let mut buf = [0; 16384];
        let n = match nix::unistd::read(&self.channel, &mut buf) {
            Ok(0) => return false,
            Ok(n) => n,
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => return true,
            Err(_) => return false,
        };
        write_all(&self.output, &buf[..n])
    }

    /// Shows what is left when the sandbox has ended.
    pub fn drain(&self) {
        let mut buf = [0; 16384];
        while let Ok(n @ 1..) = nix::unistd::read(&self.channel, &mut buf) {
            if !write_all(&self.output, &buf[..n]) {
                return;
            }
        }
    }
}

/// Writes to a descriptor that may be non-blocking by somebody else's doing.
fn write_all(fd: &OwnedFd, mut data: &[u8]) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    while !data.is_empty() {
        match nix::unistd::write(fd, data) {
            Ok(n) => data = &data[n..],
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EAGAIN) => {
                let _ = poll(
                    &mut [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)],
                    PollTimeout::NONE,
                );
            }
            Err(_) => return false,
        }
    }
    true
}

impl Drop for Outer {
    fn drop(&mut self) {
        if let Some(saved) = self.saved.get()
            && in_foreground(&self.input)
        {
            let _ = tcsetattr(&self.input, SetArg::TCSADRAIN, saved);
        }
    }
}

/// Sets O_NONBLOCK on a descriptor of our own.
pub fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map(drop)
        .context(|| "make a descriptor non-blocking".into())
}
