//! Messages between a sandbox and the process that started it, over a `SOCK_SEQPACKET` pair.
//!
//! Both ends are ours, of the same build; the format is private. One message a packet: a tag byte, then fields in the
//! host's byte order. The outer end trusts nothing that comes in: a compromised Sentry could send any bytes.

use crate::config::{ExitStatus, WindowSize};
use crate::executor::{HostWatch, Listener, PollEvents};
use crate::kernel::Kernel;
use crate::signal::send_to_group;
use arch::Signal;
use arch::abi::{SI_USER, SigInfo};
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

/// Longest message, in bytes.
pub const MAX_MESSAGE: usize = 4096;

/// What the outside asks of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A signal for the container's first process, as if from outside its pid namespace: SIGKILL and SIGSTOP work,
    /// others only where it has a handler.
    Signal(u8),
    /// The terminal's window has a new size.
    Resize(WindowSize),
}

/// What the sandbox tells the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The first process runs.
    Started,
    /// The first process has ended, and with it the container. The last message.
    Exited(ExitStatus),
    /// The container did not start: the status to exit with, and the message to show. The last message.
    Failed(u8, String),
}

impl Request {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Signal(signal) => vec![1, signal],
            Self::Resize(WindowSize {
                rows,
                cols,
                xpixel,
                ypixel,
            }) => std::iter::once(2)
                .chain(
                    [rows, cols, xpixel, ypixel]
                        .into_iter()
                        .flat_map(u16::to_ne_bytes),
                )
                .collect(),
        }
    }

    /// The message in a packet; `None` for nonsense.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        match *packet {
            [1, signal] if (1..=64).contains(&signal) => Some(Self::Signal(signal)),
            [2, a, b, c, d, e, f, g, h] => Some(Self::Resize(WindowSize {
                rows: u16::from_ne_bytes([a, b]),
                cols: u16::from_ne_bytes([c, d]),
                xpixel: u16::from_ne_bytes([e, f]),
                ypixel: u16::from_ne_bytes([g, h]),
            })),
            _ => None,
        }
    }
}

impl Report {
    /// The packet. An over-long text is cut.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started => vec![1],
            Self::Exited(ExitStatus::Exited(code)) => vec![2, 0, *code],
            Self::Exited(ExitStatus::Signaled(signal)) => vec![2, 1, *signal],
            Self::Failed(code, text) => {
                let text = text.as_bytes();
                [&[3, *code], &text[..text.len().min(MAX_MESSAGE - 2)]].concat()
            }
        }
    }

    /// The message in a packet; `None` for nonsense.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        match packet {
            [1] => Some(Self::Started),
            [2, 0, code] => Some(Self::Exited(ExitStatus::Exited(*code))),
            [2, 1, signal] if *signal <= 64 => Some(Self::Exited(ExitStatus::Signaled(*signal))),
            [3, code, text @ ..] => Some(Self::Failed(
                *code,
                String::from_utf8_lossy(text).into_owned(),
            )),
            _ => None,
        }
    }
}

/// The sandbox's end of the socket.
pub struct Control {
    server: Arc<Server>,
    _watch: HostWatch,
}

/// What a change of the window's size is told to.
pub type OnResize = Box<dyn Fn(WindowSize) + Send + Sync>;

impl Control {
    /// From now on the reactor carries out what comes in over `fd`, a non-blocking socket.
    pub fn serve(
        kernel: &Arc<Kernel>,
        fd: OwnedFd,
        on_resize: Option<OnResize>,
    ) -> io::Result<Self> {
        let fd = Arc::new(fd);
        let server = Arc::new(Server {
            kernel: Arc::downgrade(kernel),
            fd: Arc::clone(&fd),
            on_resize,
            early: Mutex::new(Some(Vec::new())),
        });
        let watch = kernel
            .reactor
            .watch(fd, Arc::clone(&server) as Arc<dyn Listener>)?;
        Ok(Self {
            server,
            _watch: watch,
        })
    }

    /// Tells the outside. One that doesn't listen any more doesn't want to know.
    pub fn report(&self, report: &Report) {
        let _ = crate::host::io::write(self.server.fd.as_fd(), None, &report.encode());
        if *report == Report::Started {
            self.server.started();
        }
    }
}

struct Server {
    kernel: Weak<Kernel>,
    fd: Arc<OwnedFd>,
    on_resize: Option<OnResize>,
    /// Signals that came before there was anyone to get them; `None` from then on. The lock is held over the sending, so that
    /// they stay in order.
    early: Mutex<Option<Vec<u8>>>,
}

impl Listener for Server {
    fn notify(&self, _: PollEvents) -> bool {
        let mut packet = [0; 64];
        // Edge triggered: everything that is there. The end of the stream needs no care, the host kills us then.
        while let Ok(n @ 1..) = crate::host::io::read(self.fd.as_fd(), None, &mut packet) {
            match Request::decode(&packet[..n]) {
                Some(Request::Signal(signal)) => match &mut *self.early.lock() {
                    Some(early) => early.push(signal),
                    None => self.signal(signal),
                },
                Some(Request::Resize(size)) => {
                    if let Some(on_resize) = &self.on_resize {
                        on_resize(size);
                    }
                }
                None => {
                    tracing::warn!("a request that makes no sense came over the control socket")
                }
            }
        }
        true
    }
}

impl Server {
    /// The first process runs.
    fn started(&self) {
        let mut early = self.early.lock();
        for signal in early.take().into_iter().flatten() {
            self.signal(signal);
        }
    }

    /// As kill(2) from outside the pid namespace: the sender has no id inside.
    fn signal(&self, number: u8) {
        let Some(signal) = Signal::from_raw(number.into()) else {
            return;
        };
        let init = self.kernel.upgrade().and_then(|k| k.tasks.lock().group(1));
        if let Some(init) = init {
            // No room for another one of a real-time signal: as for kill(2), it is lost.
            let _ = send_to_group(&init, SigInfo::kill(signal, SI_USER, 0, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_trip() {
        let size = WindowSize {
            rows: 50,
            cols: 132,
            xpixel: 1,
            ypixel: 65535,
        };
        for request in [
            Request::Signal(1),
            Request::Signal(64),
            Request::Resize(size),
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        for report in [
            Report::Started,
            Report::Exited(ExitStatus::Exited(3)),
            Report::Exited(ExitStatus::Signaled(9)),
            Report::Failed(127, "x: not found".into()),
        ] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for packet in [&[][..], &[0], &[1], &[1, 0], &[1, 65], &[2, 1], &[9, 9, 9]] {
            assert_eq!(Request::decode(packet), None, "{packet:?}");
        }
        for packet in [&[][..], &[0], &[2], &[2, 7, 0], &[2, 1, 200]] {
            assert_eq!(Report::decode(packet), None, "{packet:?}");
        }
        let long = Report::Failed(1, "x".repeat(2 * MAX_MESSAGE)).encode();
        assert_eq!(long.len(), MAX_MESSAGE);
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(ExitStatus::Exited(7).code(), 7);
        assert_eq!(ExitStatus::Signaled(9).code(), 137);
        assert_eq!(ExitStatus::Signaled(64).code(), 192);
        assert_eq!(ExitStatus::Signaled(255).code(), 255);
    }
}
