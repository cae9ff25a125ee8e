//! Multicast (ip(7), ipv6(7)): which interface, and who is a member of what.
//!
//! The loopback interface has no route for groups: an application that doesn't name it gets ENODEV or ENETUNREACH, as on a Linux
//! without any other interface.

use super::recv::Core;
use crate::net::inet::addr::canonical;
use crate::net::inet::stack::Stack;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Memberships of one socket at most (net.ipv4.igmp_max_memberships).
const MAX_MEMBERSHIPS: usize = 20;

/// MCAST_JOIN_GROUP, of both levels.
const MCAST_JOIN_GROUP: i32 = 42;
/// MCAST_LEAVE_GROUP.
const MCAST_LEAVE_GROUP: i32 = 45;

/// A group on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The group.
    pub group: IpAddr,
    /// The interface.
    pub index: u32,
}

/// How many sockets are members of what. The lock is a leaf.
#[derive(Default)]
pub struct Groups(Mutex<HashMap<Membership, usize>>);

impl Groups {
    fn join(&self, m: Membership) {
        *self.0.lock().entry(m).or_default() += 1;
    }

    /// One member less.
    pub fn leave(&self, m: Membership) {
        let mut map = self.0.lock();
        if let Some(n) = map.get_mut(&m) {
            *n -= 1;
            if *n == 0 {
                map.remove(&m);
            }
        }
    }

    /// Whether the host takes packets to the group in. All hosts are in 224.0.0.1 and ff01::1, ff02::1.
    pub fn has(&self, m: Membership) -> bool {
        match m.group {
            IpAddr::V4(ip) if ip == Ipv4Addr::new(224, 0, 0, 1) => true,
            IpAddr::V6(ip) if matches!(ip.segments(), [0xff01 | 0xff02, 0, 0, 0, 0, 0, 0, 1]) => {
                true
            }
            _ => self.0.lock().contains_key(&m),
        }
    }

    /// All of them, with the number of members.
    pub fn all(&self) -> Vec<(Membership, usize)> {
        self.0.lock().iter().map(|(m, n)| (*m, *n)).collect()
    }
}

/// Whether an option joins or leaves a group.
pub fn is_membership(level: i32, name: i32) -> bool {
    match level {
        libc::IPPROTO_IP => {
            matches!(
                name,
                libc::IP_ADD_MEMBERSHIP
                    | libc::IP_DROP_MEMBERSHIP
                    | MCAST_JOIN_GROUP
                    | MCAST_LEAVE_GROUP
            )
        }
        libc::IPPROTO_IPV6 => matches!(
            name,
            libc::IPV6_ADD_MEMBERSHIP
                | libc::IPV6_DROP_MEMBERSHIP
                | MCAST_JOIN_GROUP
                | MCAST_LEAVE_GROUP
        ),
        _ => false,
    }
}

fn word(value: &[u8], at: usize) -> Option<[u8; 4]> {
    value.get(at..at + 4)?.try_into().ok()
}

/// The interface that a `struct in_addr`, `ip_mreq` or `ip_mreqn` names for IP_MULTICAST_IF; 0 for none. `missing` for one that isn't there.
pub fn interface4(stack: &Stack, value: &[u8], missing: Errno) -> Result<u32> {
    let address = match value.len() {
        0..4 => return Err(Errno::EINVAL),
        4..8 => word(value, 0),
        _ => word(value, 4),
    };
    let index = word(value, 8).map_or(0, u32::from_ne_bytes);
    if index != 0 {
        return stack
            .interfaces
            .by_index(index)
            .map(|i| i.index)
            .ok_or(missing);
    }
    match Ipv4Addr::from(address.unwrap_or_default()) {
        ip if ip.is_unspecified() => Ok(0),
        ip => stack
            .interfaces
            .by_addr(ip.into())
            .map(|i| i.index)
            .ok_or(missing),
    }
}

/// The address that such a value names, in the bytes it was given.
pub fn address_in(value: &[u8]) -> u32 {
    let at = if value.len() >= 8 { 4 } else { 0 };
    word(value, at).map_or(0, u32::from_ne_bytes)
}

/// What an option names: a group, and the interface or 0.
fn named(stack: &Stack, level: i32, name: i32, value: &[u8]) -> Result<Membership> {
    let group;
    let index;
    if matches!(name, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) {
        // struct group_req: interface, padding, struct sockaddr_storage.
        if value.len() < 136 {
            return Err(Errno::EINVAL);
        }
        index = u32::from_ne_bytes(word(value, 0).unwrap_or_default());
        let family = i32::from(u16::from_ne_bytes([value[8], value[9]]));
        group = match (level, family) {
            (libc::IPPROTO_IP, libc::AF_INET) => {
                IpAddr::V4(word(value, 12).unwrap_or_default().into())
            }
            (libc::IPPROTO_IPV6, libc::AF_INET6) => {
                let octets: [u8; 16] = value[16..32].try_into().unwrap_or_default();
                IpAddr::V6(octets.into())
            }
            _ => return Err(Errno::EADDRNOTAVAIL),
        };
    } else if level == libc::IPPROTO_IP {
        if value.len() < 8 {
            return Err(Errno::EINVAL);
        }
        group = IpAddr::V4(word(value, 0).unwrap_or_default().into());
        index = interface4(stack, value, Errno::ENODEV)?;
    } else {
        if value.len() < 20 {
            return Err(Errno::EINVAL);
        }
        let octets: [u8; 16] = value[..16].try_into().unwrap_or_default();
        group = canonical(Ipv6Addr::from(octets).into());
        index = u32::from_ne_bytes(word(value, 16).unwrap_or_default());
    }
    if !group.is_multicast() {
        return Err(Errno::EINVAL);
    }
    Ok(Membership { group, index })
}

/// setsockopt(2) of an option for which [`is_membership`] holds.
pub fn change(core: &Core, level: i32, name: i32, value: &[u8]) -> Result<()> {
    let stack = &core.sk.stack;
    let m = named(stack, level, name, value)?;
    // No route leads to a group: without an interface there is none.
    let there = stack.interfaces.by_index(m.index).is_some();
    let mut own = core.memberships.lock();
    if matches!(
        name,
        libc::IP_ADD_MEMBERSHIP | libc::IPV6_ADD_MEMBERSHIP | MCAST_JOIN_GROUP
    ) {
        if !there {
            return Err(Errno::ENODEV);
        }
        if own.contains(&m) {
            return Err(Errno::EADDRINUSE);
        }
        if own.len() >= MAX_MEMBERSHIPS {
            return Err(Errno::ENOBUFS);
        }
        own.push(m);
        stack.groups.join(m);
        return Ok(());
    }
    match own
        .iter()
        .position(|o| o.group == m.group && (m.index == 0 || m.index == o.index))
    {
        Some(i) => {
            stack.groups.leave(own.remove(i));
            Ok(())
        }
        None if m.index == 0 && level == libc::IPPROTO_IP => Err(Errno::ENODEV),
        None => Err(Errno::EADDRNOTAVAIL),
    }
}
