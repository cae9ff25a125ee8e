//! socket(2) for AF_INET and AF_INET6.

use super::addr::Family;
use super::ip::Rights;
use super::tcp::TcpSocket;
use super::udp::UdpSocket;
use crate::net::{Socket, SocketBase};
use crate::task::Cx;
use arch::{Errno, Result};
use std::sync::Arc;

/// IPPROTO_MAX.
const PROTO_MAX: i32 = 263;

/// A protocol that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proto {
    Tcp,
    Udp,
}

/// Which protocol a type and a number name. The order of errors is inet_create's: ESOCKTNOSUPPORT for a type that has no
/// protocol at all, EPROTONOSUPPORT for a protocol that the type doesn't have, then EPERM or EACCES for what the caller may not.
fn select(who: Rights, v6: bool, kind: i32, protocol: i32) -> Result<Proto> {
    const ICMPV6: i32 = libc::IPPROTO_ICMPV6;
    match (kind, protocol) {
        (_, n) if !(0..PROTO_MAX).contains(&n) => Err(Errno::EINVAL),
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Ok(Proto::Tcp),
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Ok(Proto::Udp),
        // Ping sockets: net.ipv4.ping_group_range is empty, as a new network namespace has it.
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP) if !v6 => Err(Errno::EACCES),
        (libc::SOCK_DGRAM, ICMPV6) if v6 => Err(Errno::EACCES),
        (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
        (libc::SOCK_RAW, 0) => Err(Errno::EPROTONOSUPPORT),
        (libc::SOCK_RAW, _) if !who.raw => Err(Errno::EPERM),
        (libc::SOCK_RAW, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

/// Makes a socket. `family` is AF_INET or AF_INET6.
pub fn create(cx: &Cx, family: i32, kind: i32, protocol: i32) -> Result<Arc<dyn Socket>> {
    let family = if family == libc::AF_INET {
        Family::V4
    } else {
        Family::V6
    };
    let proto = select(Rights::of(cx), family == Family::V6, kind, protocol)?;
    let stack = &cx.kernel().net;
    stack.attach(cx.kernel());
    let number = match proto {
        Proto::Tcp => libc::IPPROTO_TCP,
        Proto::Udp => libc::IPPROTO_UDP,
    };
    let base = SocketBase::for_caller(cx, family.number(), kind, number);
    Ok(match proto {
        Proto::Tcp => TcpSocket::new(stack, family, base),
        Proto::Udp => UdpSocket::new(stack, family, base),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_refused_as_linux_does() {
        let (nobody, root) = (
            Rights::default(),
            Rights {
                raw: true,
                ..Rights::default()
            },
        );
        assert_eq!(select(nobody, false, libc::SOCK_STREAM, 0), Ok(Proto::Tcp));
        assert_eq!(
            select(nobody, true, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
            Ok(Proto::Udp)
        );
        assert_eq!(
            select(nobody, false, libc::SOCK_STREAM, libc::IPPROTO_UDP),
            Err(Errno::EPROTONOSUPPORT)
        );
        assert_eq!(
            select(nobody, false, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            Err(Errno::EACCES)
        );
        assert_eq!(
            select(nobody, false, libc::SOCK_RAW, libc::IPPROTO_ICMP),
            Err(Errno::EPERM)
        );
        assert_eq!(
            select(root, false, libc::SOCK_RAW, libc::IPPROTO_ICMP),
            Err(Errno::EPROTONOSUPPORT)
        );
        assert_eq!(
            select(nobody, false, libc::SOCK_SEQPACKET, 0),
            Err(Errno::ESOCKTNOSUPPORT)
        );
        assert_eq!(
            select(nobody, false, libc::SOCK_STREAM, 1000),
            Err(Errno::EINVAL)
        );
    }
}
