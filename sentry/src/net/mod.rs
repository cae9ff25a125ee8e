//! Sockets (socket(7)).
//!
//! - [`socket`]: the [`Socket`] trait that a family implements, and [`SocketFile`], the open file over it.
//! - [`message`]: addresses, flags and ancillary data as sendmsg(2) and recvmsg(2) carry them.
//! - [`options`]: SOL_SOCKET options, the same for all families.
//! - [`family`]: which family answers socket(2), socketpair(2) and interface ioctls.
//! - [`unix`]: AF_UNIX. [`inet`]: AF_INET and AF_INET6. [`netlink`]: AF_NETLINK.
//!
//! # Locks
//! ```text
//! a family's tables (bound names, ports)
//!   one socket's state
//!     one socket's queue
//! ```
//! Two sockets' locks of one class are never held at once: a sender looks its peer up under its own state lock, lets
//! go, and takes the peer's queue lock. No lock is held over a copy to or from the application.

pub mod family;
pub mod inet;
pub mod message;
pub mod netlink;
pub mod options;
pub mod socket;
pub mod unix;

pub use message::{Control, MsgFlags, Received, SockAddr, Ucred};
pub use options::SocketBase;
pub use socket::{Shutdown, Socket, SocketFile};
