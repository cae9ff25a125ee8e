//! AF_INET and AF_INET6 (ip(7), ipv6(7), tcp(7), udp(7)) on the sandbox's own loopback interface.
//!
//! No packet leaves the sandbox, and within it none is made: what one socket writes is handed to the other.
//!
//! - [`addr`]: socket addresses. [`route`]: interfaces, and which way a destination lies; the seam for a stack with a way out.
//! - [`stack`]: the tables of one network. [`ports`]: who has which port. [`config`]: /proc/sys/net. [`stats`]: counters.
//! - [`sk`]: what all sockets have in common. [`ip`]: IPPROTO_IP and IPPROTO_IPV6 options.
//! - [`tcp`], [`udp`]: the protocols.
//! - [`create`]: which socket socket(2) gives. [`device`]: interface ioctls. [`proc`]: the files of /proc/net.
//!
//! # Locks, outermost first
//! ```text
//! TcpSocket::state, UdpSocket::state   (two are never held)
//!   Listener::queue
//!     Handshake::progress
//!       Conn::inner
//!       Sk::lease
//!         PortTable
//!           Conns
//!         Receivers, Groups, memberships, a Core's queue, the pool of buffers (leaves)
//! ```
//! Wait queues are notified with none of these held but a socket's own state. No lock is held over a copy to or from the application.

pub mod addr;
pub mod config;
pub mod create;
pub mod device;
pub mod ip;
pub mod ports;
pub mod proc;
pub mod route;
pub mod sk;
pub mod stack;
pub mod stats;
pub mod tcp;
pub mod udp;

pub use create::create;
pub use stack::Stack;
