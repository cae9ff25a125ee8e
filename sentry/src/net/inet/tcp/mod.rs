//! TCP between sockets of the sandbox (tcp(7)).
//!
//! - [`socket`]: the socket and its life: bind, connect, listen, accept, shutdown, close.
//! - [`handshake`]: a connect(2) until it has its answer.
//! - [`listen`]: listeners, their queues, which of them a connection goes to.
//! - [`conn`]: a connection: two ends over two byte queues; FIN, RST, urgent data, readiness.
//! - [`buf`]: the byte queues.
//! - [`table`]: connections by address; TIME_WAIT.
//! - [`options`]: IPPROTO_TCP options, TCP_INFO.

pub mod buf;
pub mod conn;
pub mod handshake;
pub mod listen;
pub mod options;
pub mod socket;
pub mod state;
pub mod table;
#[cfg(test)]
mod tests;

pub use conn::Conn;
pub use listen::{Listener, Listeners};
pub use socket::TcpSocket;
pub use state::TcpState;
pub use table::Conns;

/// SO_SNDBUF of a new socket (net.ipv4.tcp_wmem, default).
pub const SNDBUF_DEFAULT: u32 = 16384;
/// SO_RCVBUF of a new socket (net.ipv4.tcp_rmem, default).
pub const RCVBUF_DEFAULT: u32 = 131_072;
/// What Linux makes of SO_SNDBUF once a loopback connection stands.
pub const SNDBUF_CONNECTED: u32 = 2_626_560;
