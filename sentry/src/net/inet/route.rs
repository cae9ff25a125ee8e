//! Interfaces, their addresses, and which way a destination lies.
//!
//! The sandbox has the loopback interface. [`Interfaces::route`] is the seam at which a stack with a device to the
//! outside is to be added: a further kind of [`Route`] that connect(2) and sendmsg(2) hand to that stack.

use arch::{Errno, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// MTU of the loopback interface.
pub const LO_MTU: u32 = 65536;
/// Index of the loopback interface.
pub const LO_INDEX: u32 = 1;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddr {
    /// The address.
    pub ip: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
}

/// A network interface (netdevice(7)).
#[derive(Clone, Debug)]
pub struct Interface {
    /// 1 and up.
    pub index: u32,
    /// At most 15 bytes.
    pub name: &'static str,
    /// IFF_*.
    pub flags: u32,
    /// ARPHRD_*.
    pub hardware: u16,
    /// In bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addrs: Vec<InterfaceAddr>,
}

/// Which way a destination lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// An address of the sandbox itself; a packet to it comes from `source` where the sender has no address yet.
    Local { source: IpAddr },
    /// An IPv4 broadcast address of a local network.
    Broadcast { source: IpAddr },
    /// A multicast group on interface `index`.
    Multicast { source: IpAddr, index: u32 },
}

/// All interfaces of the sandbox.
#[derive(Debug)]
pub struct Interfaces {
    list: Vec<Interface>,
}

impl Interfaces {
    /// The loopback interface alone.
    pub fn loopback() -> Self {
        let up = libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING;
        let lo = Interface {
            index: LO_INDEX,
            name: "lo",
            flags: up.cast_unsigned(),
            hardware: libc::ARPHRD_LOOPBACK,
            mtu: LO_MTU,
            addrs: vec![
                InterfaceAddr {
                    ip: Ipv4Addr::LOCALHOST.into(),
                    prefix: 8,
                },
                InterfaceAddr {
                    ip: Ipv6Addr::LOCALHOST.into(),
                    prefix: 128,
                },
            ],
        };
        Self { list: vec![lo] }
    }

    /// Every interface, by index.
    pub fn all(&self) -> &[Interface] {
        &self.list
    }

    /// The interface called `name`.
    pub fn by_name(&self, name: &[u8]) -> Option<&Interface> {
        self.list.iter().find(|i| i.name.as_bytes() == name)
    }

    /// The interface numbered `index`.
    pub fn by_index(&self, index: u32) -> Option<&Interface> {
        self.list.iter().find(|i| i.index == index)
    }

    /// The interface that has the address.
    pub fn by_addr(&self, ip: IpAddr) -> Option<&Interface> {
        self.list
            .iter()
            .find(|i| i.addrs.iter().any(|a| a.ip == ip))
    }

    /// Whether packets to `ip` are for the sandbox itself. All of 127.0.0.0/8 is.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(v4) if is_broadcast(v4) => false,
            IpAddr::V4(v4) if v4.is_loopback() => true,
            ip => self.by_addr(ip).is_some(),
        }
    }

    /// The way to `dst` (not a wildcard), for a sender that has chosen interface `oif` for multicast (0: none).
    /// ENETUNREACH where there is none.
    pub fn route(&self, dst: IpAddr, oif: u32) -> Result<Route> {
        let source = match dst {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        if dst.is_multicast() {
            // Linux gives the loopback interface no IPv6 route for groups, named or not.
            let oif = if dst.is_ipv4() { oif } else { 0 };
            return match self.by_index(oif) {
                Some(i) => Ok(Route::Multicast {
                    source,
                    index: i.index,
                }),
                None => Err(Errno::ENETUNREACH),
            };
        }
        if let IpAddr::V4(v4) = dst
            && is_broadcast(v4)
        {
            return Ok(Route::Broadcast { source });
        }
        if self.is_local(dst) {
            Ok(Route::Local { source })
        } else {
            Err(Errno::ENETUNREACH)
        }
    }
}

/// The broadcast address of the loopback network. The network's own address, 127.0.0.0, is local on Linux since 5.14.
fn is_broadcast(ip: Ipv4Addr) -> bool {
    ip == Ipv4Addr::new(127, 255, 255, 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(ip: &str) -> Result<Route> {
        Interfaces::loopback().route(ip.parse().unwrap(), 0)
    }

    #[test]
    fn all_of_127_is_local_and_nothing_else() {
        let local = Ok(Route::Local {
            source: Ipv4Addr::LOCALHOST.into(),
        });
        assert_eq!(route("127.0.0.1"), local);
        assert_eq!(route("127.3.2.1"), local);
        assert_eq!(
            route("127.255.255.255"),
            Ok(Route::Broadcast {
                source: Ipv4Addr::LOCALHOST.into()
            })
        );
        assert_eq!(
            route("::1"),
            Ok(Route::Local {
                source: Ipv6Addr::LOCALHOST.into()
            })
        );
        for far in [
            "10.0.0.1",
            "8.8.8.8",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
        ] {
            assert_eq!(route(far), Err(Errno::ENETUNREACH), "{far}");
        }
    }
}
