//! AF_NETLINK (netlink(7)): NETLINK_ROUTE (rtnetlink(7)), as far as the sandbox's interfaces can be asked for.
//!
//! - [`socket`]: the socket: port ids, options, the queue of answers.
//! - [`message`]: messages and attributes, read and written.
//! - [`route`]: what requests are answered with.
//!
//! Requests that would change something are EPERM without CAP_NET_ADMIN, and EOPNOTSUPP with it.

pub mod message;
pub mod route;
pub mod socket;

pub use socket::{NetlinkSocket, PortIds};

use crate::net::{Socket, SocketBase};
use crate::task::Cx;
use arch::{Errno, Result};
use std::sync::Arc;

/// Protocols that there could be (MAX_LINKS).
const MAX_LINKS: i32 = 32;

/// socket(2): ESOCKTNOSUPPORT, EPROTONOSUPPORT.
pub fn create(cx: &Cx, kind: i32, protocol: i32) -> Result<Arc<dyn Socket>> {
    if kind != libc::SOCK_RAW && kind != libc::SOCK_DGRAM {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    if !(0..MAX_LINKS).contains(&protocol) || protocol != libc::NETLINK_ROUTE {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let base = SocketBase::for_caller(cx, libc::AF_NETLINK as u16, kind, protocol);
    Ok(NetlinkSocket::new(&cx.kernel().net, base))
}
