//! Messages between a sandbox and the process that started it, over a `SOCK_SEQPACKET` pair.
//!
//! Both ends are ours, of the same build; the format is private. One message a packet: a tag byte, then fields in the
//! host's byte order. The outer end trusts nothing that comes in: a compromised Sentry could send any bytes.

use crate::config::{ExitStatus, WindowSize};

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
