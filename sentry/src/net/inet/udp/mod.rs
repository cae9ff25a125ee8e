//! UDP between sockets of the sandbox (udp(7)).
//!
//! - [`socket`]: the socket: bind, connect, options, close.
//! - [`send`]: where a datagram goes; corking, segmentation.
//! - [`recv`]: queues of datagrams and of errors, ancillary data.
//! - [`table`]: which socket a datagram is for.
//! - [`multicast`]: memberships and interfaces for multicast.
//!
//! # Locks
//! `UdpSocket::state`, then the tables, or one [`recv::Core`]'s queue: a datagram is handed over with no lock of the sender's held.

pub mod multicast;
pub mod recv;
pub mod send;
pub mod socket;
pub mod table;
#[cfg(test)]
mod tests;

pub use multicast::Groups;
pub use recv::Core;
pub use socket::UdpSocket;
pub use table::Receivers;
