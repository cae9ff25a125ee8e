//! Socket addresses of AF_INET and AF_INET6 (ip(7), ipv6(7)).
//!
//! Inside, an IPv4-mapped IPv6 address is the IPv4 address that it maps: two sockets of different families that talk
//! to each other then name the same addresses. [`encode`] gives an application what its family shows.

use crate::net::SockAddr;
use arch::{Errno, Result};
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Size of `struct sockaddr_in`.
pub const SOCKADDR_IN: usize = 16;
/// Size of `struct sockaddr_in6`.
pub const SOCKADDR_IN6: usize = 28;
/// Without `sin6_scope_id`, as RFC 2133 had it: the least that is taken.
const SOCKADDR_IN6_MIN: usize = 24;

/// AF_INET or AF_INET6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
}

impl Family {
    /// AF_INET or AF_INET6.
    pub fn number(self) -> u16 {
        match self {
            Self::V4 => libc::AF_INET as u16,
            Self::V6 => libc::AF_INET6 as u16,
        }
    }

    /// The wildcard address.
    pub fn any(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// The wildcard address with port 0.
    pub fn unbound(self) -> SocketAddr {
        SocketAddr::new(self.any(), 0)
    }
}

/// An address as the application named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Canonical: a mapped address is IPv4.
    pub addr: SocketAddr,
    /// It was written as an IPv4-mapped IPv6 address.
    pub mapped: bool,
    /// `sin6_scope_id`.
    pub scope: u32,
}

/// The IPv4 address behind an IPv4-mapped one.
pub fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// The port, in host order.
fn port(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[2], bytes[3]])
}

/// A `struct sockaddr_in`; EINVAL when it is cut short. The family isn't looked at.
pub fn decode_v4(name: &SockAddr) -> Result<Named> {
    let b = name.bytes();
    if b.len() < SOCKADDR_IN {
        return Err(Errno::EINVAL);
    }
    let ip = Ipv4Addr::new(b[4], b[5], b[6], b[7]);
    Ok(Named {
        addr: SocketAddr::new(ip.into(), port(b)),
        mapped: false,
        scope: 0,
    })
}

/// A `struct sockaddr_in6`; EINVAL when it is cut short. The family isn't looked at.
pub fn decode_v6(name: &SockAddr) -> Result<Named> {
    let b = name.bytes();
    if b.len() < SOCKADDR_IN6_MIN {
        return Err(Errno::EINVAL);
    }
    let mut octets = [0; 16];
    octets.copy_from_slice(&b[8..24]);
    let ip = IpAddr::V6(Ipv6Addr::from(octets));
    let scope = b
        .get(24..28)
        .map_or(0, |s| u32::from_ne_bytes([s[0], s[1], s[2], s[3]]));
    let plain = canonical(ip);
    Ok(Named {
        addr: SocketAddr::new(plain, port(b)),
        mapped: plain != ip,
        scope,
    })
}

/// The bytes that a socket of `family` shows for an address.
pub fn encode(family: Family, addr: SocketAddr) -> SockAddr {
    let mut out = SmallVec::<[u8; 32]>::new();
    out.extend_from_slice(&family.number().to_ne_bytes());
    out.extend_from_slice(&addr.port().to_be_bytes());
    match (family, addr.ip()) {
        (Family::V4, IpAddr::V4(ip)) => {
            out.extend_from_slice(&ip.octets());
            out.resize(SOCKADDR_IN, 0);
        }
        // Doesn't happen: an AF_INET socket has IPv4 addresses only.
        (Family::V4, IpAddr::V6(_)) => out.resize(SOCKADDR_IN, 0),
        (Family::V6, ip) => {
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&octets16(ip));
            out.resize(SOCKADDR_IN6, 0);
        }
    }
    SockAddr::new(&out).unwrap_or_default()
}

/// The sixteen bytes of an address as IPv6 writes it.
pub fn octets16(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v4_round_trip() {
        let addr: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let name = encode(Family::V4, addr);
        assert_eq!(name.len(), SOCKADDR_IN);
        assert_eq!(name.family(), Some(2));
        assert_eq!(decode_v4(&name).unwrap().addr, addr);
        assert_eq!(
            decode_v4(&SockAddr::new(&name.bytes()[..15]).unwrap()),
            Err(Errno::EINVAL)
        );
    }

    #[test]
    fn v6_shows_v4_as_mapped() {
        let addr: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let name = encode(Family::V6, addr);
        assert_eq!(name.len(), SOCKADDR_IN6);
        assert_eq!(&name.bytes()[18..24], &[0xff, 0xff, 127, 0, 0, 1]);
        let back = decode_v6(&name).unwrap();
        assert_eq!((back.addr, back.mapped), (addr, true));
        let short = SockAddr::new(&name.bytes()[..24]).unwrap();
        assert_eq!(decode_v6(&short).unwrap().addr, addr);
    }
}
