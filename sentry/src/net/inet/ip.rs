//! Options at IPPROTO_IP and IPPROTO_IPV6 (ip(7), ipv6(7)), but for multicast memberships.

use super::addr::Family;
use super::stack::Stack;
use crate::net::options::OptionValue;
use arch::{Errno, Result};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

const IP_CHECKSUM: i32 = 23;
const IP_RECVFRAGSIZE: i32 = 25;
const IP_RECVERR_RFC4884: i32 = 26;
const IP_MINTTL: i32 = 21;
const IP_MULTICAST_ALL: i32 = 49;
const IP_UNICAST_IF: i32 = 50;
const IP_LOCAL_PORT_RANGE: i32 = 51;
const IP_PASSSEC: i32 = 18;
const IPV6_2292PKTINFO: i32 = 2;
const IPV6_2292HOPOPTS: i32 = 3;
const IPV6_2292DSTOPTS: i32 = 4;
const IPV6_2292RTHDR: i32 = 5;
const IPV6_2292HOPLIMIT: i32 = 8;
const IPV6_RECVHOPOPTS: i32 = 53;
const IPV6_RECVRTHDR: i32 = 56;
const IPV6_RECVDSTOPTS: i32 = 58;
const IPV6_FLOWINFO: i32 = 11;
const IPV6_MULTICAST_ALL: i32 = 29;
const IPV6_RECVERR_RFC4884: i32 = 31;
const IPV6_FLOWINFO_SEND: i32 = 33;
const IPV6_RECVPATHMTU: i32 = 60;
const IPV6_DONTFRAG: i32 = 62;
const IPV6_AUTOFLOWLABEL: i32 = 70;
const IPV6_MINHOPCOUNT: i32 = 73;
const IPV6_RECVORIGDSTADDR: i32 = 74;
const IPV6_TRANSPARENT: i32 = 75;
const IPV6_UNICAST_IF: i32 = 76;
const IPV6_RECVFRAGSIZE: i32 = 77;
const IPV6_FREEBIND: i32 = 78;

bitflags::bitflags! {
    /// Options that are on or off. The two families have their own bits, as in Linux.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct IpFlags: u64 {
        const RECVOPTS = 1;
        const RETOPTS = 1 << 1;
        const PKTINFO = 1 << 2;
        const RECVERR = 1 << 3;
        const RECVTTL = 1 << 4;
        const RECVTOS = 1 << 5;
        const FREEBIND = 1 << 6;
        const ORIGDSTADDR = 1 << 7;
        const TRANSPARENT = 1 << 8;
        const CHECKSUM = 1 << 9;
        const BIND_NO_PORT = 1 << 10;
        const RECVFRAGSIZE = 1 << 11;
        const RFC4884 = 1 << 12;
        const MC_LOOP = 1 << 13;
        const MC_ALL = 1 << 14;
        const PASSSEC = 1 << 15;
        const V6ONLY = 1 << 20;
        const PKTINFO6 = 1 << 21;
        const RECVERR6 = 1 << 22;
        const HOPLIMIT6 = 1 << 23;
        const TCLASS6 = 1 << 24;
        const DONTFRAG6 = 1 << 25;
        const AUTOFLOW6 = 1 << 26;
        const PATHMTU6 = 1 << 27;
        const ORIGDSTADDR6 = 1 << 28;
        const FRAGSIZE6 = 1 << 29;
        const RFC4884_6 = 1 << 30;
        const MC_LOOP6 = 1 << 31;
        const MC_ALL6 = 1 << 32;
        const FLOWINFO6 = 1 << 33;
        const FLOWSEND6 = 1 << 34;
        const PKTINFO6_2292 = 1 << 35;
        const HOPLIMIT6_2292 = 1 << 36;
        // Extension headers, of which there never are any.
        const HOPOPTS6 = 1 << 37;
        const RTHDR6 = 1 << 38;
        const DSTOPTS6 = 1 << 39;
        const HOPOPTS6_2292 = 1 << 40;
        const RTHDR6_2292 = 1 << 41;
        const DSTOPTS6_2292 = 1 << 42;
    }
}

/// A socket's options. Every field is written by setsockopt(2) and read by anybody, each on its own (Relaxed).
#[derive(Debug)]
pub struct IpOptions {
    flags: AtomicU64,
    /// IP_TOS.
    pub tos: AtomicI32,
    /// IP_TTL; -1: the default.
    pub ttl: AtomicI32,
    /// IP_MTU_DISCOVER.
    pub mtu_discover: AtomicI32,
    /// IP_MULTICAST_TTL.
    pub mc_ttl: AtomicI32,
    /// Interface of IP_MULTICAST_IF.
    pub mc_if: AtomicU32,
    /// Address of IP_MULTICAST_IF, as it was given.
    mc_addr: AtomicU32,
    /// IP_MINTTL.
    min_ttl: AtomicI32,
    /// IP_UNICAST_IF, network order as given.
    unicast_if: AtomicI32,
    /// IP_LOCAL_PORT_RANGE: high half upper bound, low half lower.
    pub port_range: AtomicU32,
    /// IPV6_TCLASS.
    pub tclass: AtomicI32,
    /// IPV6_UNICAST_HOPS; -1: the default.
    pub hops: AtomicI32,
    /// IPV6_MULTICAST_HOPS.
    pub mc_hops: AtomicI32,
    /// IPV6_MULTICAST_IF.
    pub mc_if6: AtomicU32,
    mtu_discover6: AtomicI32,
    min_hops: AtomicI32,
    unicast_if6: AtomicI32,
}

impl IpOptions {
    /// The defaults.
    pub fn new(v6only: bool) -> Self {
        let mut flags = IpFlags::MC_LOOP
            | IpFlags::MC_ALL
            | IpFlags::MC_LOOP6
            | IpFlags::MC_ALL6
            | IpFlags::AUTOFLOW6;
        flags.set(IpFlags::V6ONLY, v6only);
        Self {
            flags: AtomicU64::new(flags.bits()),
            tos: AtomicI32::new(0),
            ttl: AtomicI32::new(-1),
            mtu_discover: AtomicI32::new(libc::IP_PMTUDISC_WANT),
            mc_ttl: AtomicI32::new(1),
            mc_if: AtomicU32::new(0),
            mc_addr: AtomicU32::new(0),
            min_ttl: AtomicI32::new(0),
            unicast_if: AtomicI32::new(0),
            port_range: AtomicU32::new(0),
            tclass: AtomicI32::new(0),
            hops: AtomicI32::new(-1),
            mc_hops: AtomicI32::new(1),
            mc_if6: AtomicU32::new(0),
            mtu_discover6: AtomicI32::new(libc::IP_PMTUDISC_WANT),
            min_hops: AtomicI32::new(0),
            unicast_if6: AtomicI32::new(0),
        }
    }

    /// A copy for an accepted connection.
    pub fn inherit(&self) -> Self {
        let new = Self::new(false);
        new.flags
            .store(self.flags.load(Ordering::Relaxed), Ordering::Relaxed);
        let pairs = [
            (&new.tos, &self.tos),
            (&new.ttl, &self.ttl),
            (&new.mtu_discover, &self.mtu_discover),
            (&new.min_ttl, &self.min_ttl),
            (&new.tclass, &self.tclass),
            (&new.hops, &self.hops),
            (&new.mtu_discover6, &self.mtu_discover6),
            (&new.min_hops, &self.min_hops),
        ];
        for (to, from) in pairs {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        new
    }

    /// Whether an option is on.
    pub fn has(&self, flag: IpFlags) -> bool {
        self.flags.load(Ordering::Relaxed) & flag.bits() != 0
    }

    /// Turns an option on or off.
    pub fn put(&self, flag: IpFlags, on: bool) {
        if on {
            self.flags.fetch_or(flag.bits(), Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag.bits(), Ordering::Relaxed);
        }
    }

    /// The ephemeral ports that this socket may get.
    pub fn port_range(&self, stack: &Stack) -> (u16, u16) {
        let (low, high) = stack.config.port_range();
        let own = self.port_range.load(Ordering::Relaxed);
        let (own_low, own_high) = ((own & 0xffff) as u16, (own >> 16) as u16);
        // Only within the system's range, as Linux.
        let low = if own_low > low && own_low <= high {
            own_low
        } else {
            low
        };
        let high = if own_high != 0 && own_high < high && own_high >= low {
            own_high
        } else {
            high
        };
        (low, high)
    }
}

/// Who asks, where that matters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rights {
    /// CAP_NET_BIND_SERVICE.
    pub bind: bool,
    /// CAP_NET_ADMIN.
    pub admin: bool,
    /// CAP_NET_RAW.
    pub raw: bool,
}

impl Rights {
    /// Of the caller of `cx`.
    pub fn of(cx: &crate::task::Cx) -> Self {
        use crate::task::cap;
        let creds = cx.task.creds();
        Self {
            bind: creds.has_cap(cap::NET_BIND_SERVICE),
            admin: creds.has_cap(cap::NET_ADMIN),
            raw: creds.has_cap(cap::NET_RAW),
        }
    }
}

/// What the options need to know of their socket.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// SOCK_STREAM.
    pub stream: bool,
    /// It has a port.
    pub bound: bool,
    /// It is connected.
    pub connected: bool,
}

fn flag4(name: i32) -> Option<IpFlags> {
    Some(match name {
        libc::IP_RECVOPTS => IpFlags::RECVOPTS,
        libc::IP_RETOPTS => IpFlags::RETOPTS,
        libc::IP_PKTINFO => IpFlags::PKTINFO,
        libc::IP_RECVERR => IpFlags::RECVERR,
        libc::IP_RECVTTL => IpFlags::RECVTTL,
        libc::IP_RECVTOS => IpFlags::RECVTOS,
        libc::IP_FREEBIND => IpFlags::FREEBIND,
        libc::IP_RECVORIGDSTADDR => IpFlags::ORIGDSTADDR,
        libc::IP_TRANSPARENT => IpFlags::TRANSPARENT,
        libc::IP_BIND_ADDRESS_NO_PORT => IpFlags::BIND_NO_PORT,
        libc::IP_MULTICAST_LOOP => IpFlags::MC_LOOP,
        IP_CHECKSUM => IpFlags::CHECKSUM,
        IP_RECVFRAGSIZE => IpFlags::RECVFRAGSIZE,
        IP_RECVERR_RFC4884 => IpFlags::RFC4884,
        IP_MULTICAST_ALL => IpFlags::MC_ALL,
        IP_PASSSEC => IpFlags::PASSSEC,
        _ => return None,
    })
}

fn flag6(name: i32) -> Option<IpFlags> {
    Some(match name {
        libc::IPV6_V6ONLY => IpFlags::V6ONLY,
        libc::IPV6_RECVPKTINFO => IpFlags::PKTINFO6,
        libc::IPV6_RECVERR => IpFlags::RECVERR6,
        libc::IPV6_RECVHOPLIMIT => IpFlags::HOPLIMIT6,
        libc::IPV6_RECVTCLASS => IpFlags::TCLASS6,
        libc::IPV6_MULTICAST_LOOP => IpFlags::MC_LOOP6,
        IPV6_2292PKTINFO => IpFlags::PKTINFO6_2292,
        IPV6_2292HOPOPTS => IpFlags::HOPOPTS6_2292,
        IPV6_2292DSTOPTS => IpFlags::DSTOPTS6_2292,
        IPV6_2292RTHDR => IpFlags::RTHDR6_2292,
        IPV6_2292HOPLIMIT => IpFlags::HOPLIMIT6_2292,
        IPV6_RECVHOPOPTS => IpFlags::HOPOPTS6,
        IPV6_RECVRTHDR => IpFlags::RTHDR6,
        IPV6_RECVDSTOPTS => IpFlags::DSTOPTS6,
        IPV6_DONTFRAG => IpFlags::DONTFRAG6,
        IPV6_AUTOFLOWLABEL => IpFlags::AUTOFLOW6,
        IPV6_RECVPATHMTU => IpFlags::PATHMTU6,
        IPV6_RECVORIGDSTADDR => IpFlags::ORIGDSTADDR6,
        IPV6_RECVFRAGSIZE => IpFlags::FRAGSIZE6,
        IPV6_RECVERR_RFC4884 => IpFlags::RFC4884_6,
        IPV6_MULTICAST_ALL => IpFlags::MC_ALL6,
        IPV6_FLOWINFO => IpFlags::FLOWINFO6,
        IPV6_FLOWINFO_SEND => IpFlags::FLOWSEND6,
        // The kernel has one bit for both families here.
        IPV6_TRANSPARENT => IpFlags::TRANSPARENT,
        IPV6_FREEBIND => IpFlags::FREEBIND,
        _ => return None,
    })
}

fn within(v: i32, low: i32, high: i32) -> Result<i32> {
    if (low..=high).contains(&v) {
        Ok(v)
    } else {
        Err(Errno::EINVAL)
    }
}

impl IpOptions {
    /// setsockopt(2) at IPPROTO_IP. ENOPROTOOPT for what isn't known.
    pub fn set4(
        &self,
        stack: &Stack,
        who: Rights,
        of: Subject,
        name: i32,
        value: &[u8],
    ) -> Result<()> {
        let v = match value {
            [a, b, c, d, ..] => i32::from_ne_bytes([*a, *b, *c, *d]),
            [a, ..] => i32::from(*a),
            [] => 0,
        };
        if let Some(flag) = flag4(name) {
            if value.is_empty() && flag == IpFlags::MC_LOOP {
                return Err(Errno::EINVAL);
            }
            if matches!(
                flag,
                IpFlags::FREEBIND | IpFlags::TRANSPARENT | IpFlags::MC_ALL
            ) && value.is_empty()
            {
                return Err(Errno::EINVAL);
            }
            if flag == IpFlags::TRANSPARENT && v != 0 && !who.admin && !who.raw {
                return Err(Errno::EPERM);
            }
            if matches!(flag, IpFlags::MC_ALL | IpFlags::RFC4884) && !(0..=1).contains(&v) {
                return Err(Errno::EINVAL);
            }
            if of.stream && flag == IpFlags::RECVFRAGSIZE {
                return Err(Errno::EINVAL);
            }
            self.put(flag, v != 0);
            return Ok(());
        }
        let store = |to: &AtomicI32, v: i32| to.store(v, Ordering::Relaxed);
        match name {
            libc::IP_TOS => {
                // The ECN bits of a stream are TCP's.
                let keep = if of.stream {
                    self.tos.load(Ordering::Relaxed) & 3
                } else {
                    0
                };
                store(
                    &self.tos,
                    if of.stream { v & 0xfc | keep } else { v & 0xff },
                );
            }
            libc::IP_TTL => {
                if value.is_empty() || (v != -1 && !(1..=255).contains(&v)) {
                    return Err(Errno::EINVAL);
                }
                store(&self.ttl, v);
            }
            libc::IP_MTU_DISCOVER => store(&self.mtu_discover, within(v, 0, 5)?),
            libc::IP_MULTICAST_TTL => {
                if of.stream || value.is_empty() {
                    return Err(Errno::EINVAL);
                }
                store(&self.mc_ttl, if v == -1 { 1 } else { within(v, 0, 255)? });
            }
            libc::IP_MULTICAST_IF => {
                if of.stream {
                    return Err(Errno::EINVAL);
                }
                use super::udp::multicast::{address_in, interface4};
                let index = interface4(stack, value, Errno::EADDRNOTAVAIL)?;
                self.mc_if.store(index, Ordering::Relaxed);
                self.mc_addr.store(address_in(value), Ordering::Relaxed);
            }
            IP_MINTTL => {
                if value.is_empty() {
                    return Err(Errno::EINVAL);
                }
                store(&self.min_ttl, within(v, 0, 255)?);
            }
            IP_UNICAST_IF => {
                if value.len() != 4 {
                    return Err(Errno::EINVAL);
                }
                let index = u32::from_be(v.cast_unsigned());
                if index != 0 && stack.interfaces.by_index(index).is_none() {
                    return Err(Errno::EADDRNOTAVAIL);
                }
                store(&self.unicast_if, v);
            }
            IP_LOCAL_PORT_RANGE => {
                let v = v.cast_unsigned();
                let (low, high) = (v & 0xffff, v >> 16);
                if value.len() != 4 || (low != 0 && high != 0 && low > high) {
                    return Err(Errno::EINVAL);
                }
                self.port_range.store(v, Ordering::Relaxed);
            }
            // No options on the wire here: taking all away is what can be done.
            libc::IP_OPTIONS if value.is_empty() => {}
            libc::IP_OPTIONS => return Err(Errno::EINVAL),
            libc::IP_ROUTER_ALERT => return Err(Errno::EINVAL),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// getsockopt(2) at IPPROTO_IP.
    pub fn get4(&self, stack: &Stack, of: Subject, name: i32) -> Result<OptionValue> {
        let load = |a: &AtomicI32| a.load(Ordering::Relaxed);
        let v = match name {
            _ if flag4(name).is_some_and(|f| self.has(f)) => 1,
            _ if flag4(name).is_some() => 0,
            libc::IP_TOS => load(&self.tos),
            libc::IP_TTL => match load(&self.ttl) {
                -1 => stack.config.default_ttl.get().cast_signed(),
                ttl => ttl,
            },
            libc::IP_MTU_DISCOVER => load(&self.mtu_discover),
            // Linux keeps the loopback device's 65536 within what an IPv4 packet can have.
            libc::IP_MTU if of.connected => 65535,
            libc::IP_MTU => return Err(Errno::ENOTCONN),
            libc::IP_MULTICAST_TTL => load(&self.mc_ttl),
            libc::IP_MULTICAST_IF => self.mc_addr.load(Ordering::Relaxed).cast_signed(),
            IP_MINTTL => load(&self.min_ttl),
            IP_UNICAST_IF => load(&self.unicast_if),
            IP_LOCAL_PORT_RANGE => self.port_range.load(Ordering::Relaxed).cast_signed(),
            libc::IP_OPTIONS => return Ok(OptionValue::new()),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(OptionValue::from_slice(&v.to_ne_bytes()))
    }

    /// setsockopt(2) at IPPROTO_IPV6.
    pub fn set6(
        &self,
        stack: &Stack,
        who: Rights,
        of: Subject,
        name: i32,
        value: &[u8],
    ) -> Result<()> {
        let whole = value.len() >= 4;
        let v = if whole {
            i32::from_ne_bytes([value[0], value[1], value[2], value[3]])
        } else {
            0
        };
        let need = || if whole { Ok(()) } else { Err(Errno::EINVAL) };
        if let Some(flag) = flag6(name) {
            need()?;
            match flag {
                IpFlags::V6ONLY if of.bound => return Err(Errno::EINVAL),
                IpFlags::TRANSPARENT if v != 0 && !who.admin && !who.raw => {
                    return Err(Errno::EPERM);
                }
                IpFlags::MC_LOOP6 | IpFlags::RFC4884_6 if !(0..=1).contains(&v) => {
                    return Err(Errno::EINVAL);
                }
                _ => {}
            }
            self.put(flag, v != 0);
            return Ok(());
        }
        let store = |to: &AtomicI32, v: i32| to.store(v, Ordering::Relaxed);
        match name {
            libc::IPV6_TCLASS => {
                need()?;
                let v = within(v, -1, 255)?;
                store(&self.tclass, v.max(0));
            }
            libc::IPV6_UNICAST_HOPS => {
                need()?;
                store(&self.hops, within(v, -1, 255)?);
            }
            libc::IPV6_MULTICAST_HOPS => {
                if of.stream {
                    return Err(Errno::ENOPROTOOPT);
                }
                need()?;
                let v = within(v, -1, 255)?;
                store(&self.mc_hops, if v == -1 { 1 } else { v });
            }
            libc::IPV6_MULTICAST_IF => {
                if of.stream {
                    return Err(Errno::ENOPROTOOPT);
                }
                need()?;
                if v != 0 && stack.interfaces.by_index(v.cast_unsigned()).is_none() {
                    return Err(Errno::ENODEV);
                }
                self.mc_if6.store(v.cast_unsigned(), Ordering::Relaxed);
            }
            libc::IPV6_MTU_DISCOVER => {
                need()?;
                store(&self.mtu_discover6, within(v, 0, 5)?);
            }
            libc::IPV6_MTU => {
                need()?;
                if v != 0 && v < 1280 {
                    return Err(Errno::EINVAL);
                }
            }
            IPV6_MINHOPCOUNT => {
                need()?;
                store(&self.min_hops, within(v, 0, 255)?);
            }
            IPV6_UNICAST_IF => {
                if value.len() != 4 {
                    return Err(Errno::EINVAL);
                }
                let index = u32::from_be(v.cast_unsigned());
                if index != 0 && stack.interfaces.by_index(index).is_none() {
                    return Err(Errno::EADDRNOTAVAIL);
                }
                store(&self.unicast_if6, v);
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// getsockopt(2) at IPPROTO_IPV6.
    pub fn get6(&self, stack: &Stack, of: Subject, name: i32) -> Result<OptionValue> {
        let load = |a: &AtomicI32| a.load(Ordering::Relaxed);
        let v = match name {
            _ if flag6(name).is_some_and(|f| self.has(f)) => 1,
            _ if flag6(name).is_some() => 0,
            libc::IPV6_TCLASS => load(&self.tclass),
            libc::IPV6_UNICAST_HOPS => match load(&self.hops) {
                -1 => stack.config.default_ttl.get().cast_signed(),
                hops => hops,
            },
            libc::IPV6_MULTICAST_HOPS => load(&self.mc_hops),
            libc::IPV6_MULTICAST_IF => self.mc_if6.load(Ordering::Relaxed).cast_signed(),
            libc::IPV6_MTU_DISCOVER => load(&self.mtu_discover6),
            libc::IPV6_MTU if of.connected => 65536,
            libc::IPV6_MTU => return Err(Errno::ENOTCONN),
            IPV6_MINHOPCOUNT => load(&self.min_hops),
            IPV6_UNICAST_IF => load(&self.unicast_if6),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(OptionValue::from_slice(&v.to_ne_bytes()))
    }

    /// setsockopt(2) at IPPROTO_IP or IPPROTO_IPV6 of a socket of `family`.
    pub fn set(
        &self,
        stack: &Stack,
        family: Family,
        who: Rights,
        of: Subject,
        (level, name): (i32, i32),
        value: &[u8],
    ) -> Result<()> {
        match (level, family) {
            (libc::IPPROTO_IP, _) => self.set4(stack, who, of, name, value),
            (libc::IPPROTO_IPV6, Family::V6) => self.set6(stack, who, of, name, value),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// getsockopt(2) at IPPROTO_IP or IPPROTO_IPV6 of a socket of `family`.
    pub fn get(
        &self,
        stack: &Stack,
        family: Family,
        of: Subject,
        (level, name): (i32, i32),
    ) -> Result<OptionValue> {
        match (level, family) {
            (libc::IPPROTO_IP, _) => self.get4(stack, of, name),
            (libc::IPPROTO_IPV6, Family::V6) => self.get6(stack, of, name),
            (_, Family::V4) => Err(Errno::EOPNOTSUPP),
            (_, Family::V6) => Err(Errno::ENOPROTOOPT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: Subject = Subject {
        stream: false,
        bound: false,
        connected: false,
    };

    fn int(v: &OptionValue) -> i32 {
        i32::from_ne_bytes(v[..4].try_into().unwrap())
    }

    #[test]
    fn ttl_has_a_default_and_bounds() {
        let (stack, o, who) = (Stack::default(), IpOptions::new(false), Rights::default());
        assert_eq!(int(&o.get4(&stack, UDP, libc::IP_TTL).unwrap()), 64);
        assert_eq!(
            o.set4(&stack, who, UDP, libc::IP_TTL, &0i32.to_ne_bytes()),
            Err(Errno::EINVAL)
        );
        o.set4(&stack, who, UDP, libc::IP_TTL, &[7]).unwrap();
        assert_eq!(int(&o.get4(&stack, UDP, libc::IP_TTL).unwrap()), 7);
    }

    #[test]
    fn v6only_is_fixed_once_bound() {
        let (stack, o, who) = (Stack::default(), IpOptions::new(false), Rights::default());
        o.set6(&stack, who, UDP, libc::IPV6_V6ONLY, &1i32.to_ne_bytes())
            .unwrap();
        assert_eq!(int(&o.get6(&stack, UDP, libc::IPV6_V6ONLY).unwrap()), 1);
        let bound = Subject { bound: true, ..UDP };
        assert_eq!(
            o.set6(&stack, who, bound, libc::IPV6_V6ONLY, &0i32.to_ne_bytes()),
            Err(Errno::EINVAL)
        );
    }

    #[test]
    fn an_ipv4_socket_has_no_ipv6_options() {
        let (stack, o) = (Stack::default(), IpOptions::new(false));
        let at = (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
        assert_eq!(o.get(&stack, Family::V4, UDP, at), Err(Errno::EOPNOTSUPP));
        assert!(
            o.get(&stack, Family::V6, UDP, (libc::IPPROTO_IP, libc::IP_TOS))
                .is_ok()
        );
    }
}
