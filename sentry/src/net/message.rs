//! Addresses, flags and ancillary data as sendmsg(2) and recvmsg(2) carry them.

use crate::vfs::File;
pub use arch::abi::Ucred;
use arch::{Errno, Result};
use smallvec::SmallVec;
use std::sync::Arc;

/// A socket address: the bytes of a `struct sockaddr` of any family, at most 128 of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SockAddr(SmallVec<[u8; 32]>);

impl SockAddr {
    /// Size of `struct sockaddr_storage`: nothing longer is an address.
    pub const MAX: usize = 128;

    /// An address from its bytes; EINVAL when there are more than [`SockAddr::MAX`].
    pub fn new(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > Self::MAX {
            return Err(Errno::EINVAL);
        }
        Ok(Self(SmallVec::from_slice(bytes)))
    }

    /// The bytes, family first.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No bytes at all: the address of nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `sa_family`; `None` when the address is shorter than that field.
    pub fn family(&self) -> Option<u16> {
        Some(u16::from_ne_bytes([*self.0.first()?, *self.0.get(1)?]))
    }
}

bitflags::bitflags! {
    /// MSG_* (send(2), recv(2)). Unknown bits are kept: Linux ignores them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MsgFlags: u32 {
        const OOB = 0x1;
        const PEEK = 0x2;
        const DONTROUTE = 0x4;
        const CTRUNC = 0x8;
        const TRUNC = 0x20;
        const DONTWAIT = 0x40;
        const EOR = 0x80;
        const WAITALL = 0x100;
        const CONFIRM = 0x800;
        const ERRQUEUE = 0x2000;
        const NOSIGNAL = 0x4000;
        const MORE = 0x8000;
        const WAITFORONE = 0x10000;
        const FASTOPEN = 0x2000_0000;
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// What is reported where no sender is known: pid 0 and the overflow ids.
pub const NOBODY: Ucred = Ucred {
    pid: 0,
    uid: 65534,
    gid: 65534,
};

/// One ancillary message (cmsg(3)).
#[derive(Clone)]
pub enum Control {
    /// SCM_RIGHTS: open files. The layer resolves descriptors before a send and installs them after a receive.
    Rights(Vec<Arc<File>>),
    /// SCM_CREDENTIALS. On a send: the application named it, and the layer has checked that it may.
    Credentials(Ucred),
    /// SCM_PIDFD, on a receive: the process with this id, for which the layer makes a descriptor.
    PidFd(i32),
    /// A family's own, as bytes (IP_PKTINFO, SCM_TIMESTAMPNS, …).
    Raw {
        /// `cmsg_level`.
        level: i32,
        /// `cmsg_type`.
        kind: i32,
        /// The data, without header or padding.
        data: SmallVec<[u8; 32]>,
    },
}

/// What a receive gave besides the bytes in the sink.
#[derive(Default)]
pub struct Received {
    /// The call's result: bytes stored, or with MSG_TRUNC asked for (datagrams) the datagram's whole length.
    pub len: usize,
    /// `msg_flags` on return: TRUNC, EOR, OOB, ERRQUEUE. The layer adds CTRUNC and CMSG_CLOEXEC.
    pub flags: MsgFlags,
    /// Where it came from; empty: the family says nothing (connected streams, unnamed Unix senders).
    pub from: SockAddr,
    /// Ancillary data.
    pub control: Vec<Control>,
    /// A receive with MSG_WAITALL must not go on behind this piece: a message boundary, ancillary data, or the end
    /// of the stream.
    pub boundary: bool,
}
