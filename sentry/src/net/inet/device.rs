//! Interface ioctls (netdevice(7)), which sockets of every family answer.

use super::route::{Interface, InterfaceAddr};
use super::stack::Stack;
use crate::task::{Cx, cap};
use crate::user::{UserAddr, UserRef};
use arch::{Errno, Result};
use std::net::{IpAddr, Ipv4Addr};

const SIOCADDRT: u32 = 0x890b;
const SIOCRTMSG: u32 = 0x890d;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCSIFLINK: u32 = 0x8911;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCGIFPFLAGS: u32 = 0x8935;
const SIOCETHTOOL: u32 = 0x8946;
const SIOCGMIIPHY: u32 = 0x8947;
const SIOCGIFMAP: u32 = 0x8970;
const SIOCGIWNAME: u32 = 0x8b01;

/// Size of `struct ifreq`.
const IFREQ: usize = 40;
/// Where its union begins.
const UNION: usize = libc::IFNAMSIZ;

/// What a command that takes a `struct ifreq` does to it. `inet`: the socket is AF_INET. ENOTTY for other commands.
fn request(stack: &Stack, admin: bool, inet: bool, cmd: u32, r: &mut [u8; IFREQ]) -> Result<()> {
    if cmd == SIOCGIFNAME {
        let index = u32::from_ne_bytes([r[16], r[17], r[18], r[19]]);
        let found = stack.interfaces.by_index(index).ok_or(Errno::ENODEV)?;
        r[..UNION].fill(0);
        r[..found.name.len()].copy_from_slice(found.name.as_bytes());
        return Ok(());
    }
    let name = r[..UNION - 1].split(|&b| b == 0).next().unwrap_or_default();
    // An alias (lo:1) shares its device.
    let device = name.split(|&b| b == b':').next().unwrap_or_default();
    let find = || stack.interfaces.by_name(device).ok_or(Errno::ENODEV);
    match cmd {
        SIOCGIFFLAGS => put(r, &(find()?.flags as u16).to_ne_bytes()),
        SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK if inet => {
            let (ip, prefix) = first_v4(find()?).ok_or(Errno::EADDRNOTAVAIL)?;
            let ip = match cmd {
                // The loopback network has no broadcast address set.
                SIOCGIFBRDADDR => Ipv4Addr::UNSPECIFIED,
                SIOCGIFNETMASK => {
                    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
                }
                _ => ip,
            };
            put(r, &sockaddr(ip));
        }
        SIOCGIFMETRIC => find().map(|_| put(r, &[0; 4]))?,
        SIOCGIFMTU => put(r, &find()?.mtu.to_ne_bytes()),
        SIOCGIFHWADDR => {
            let hardware = find()?.hardware;
            put(r, &[0; 16]);
            put(r, &hardware.to_ne_bytes());
        }
        SIOCGIFINDEX => put(r, &find()?.index.to_ne_bytes()),
        SIOCGIFTXQLEN => find().map(|_| put(r, &1000u32.to_ne_bytes()))?,
        SIOCGIFMAP => find().map(|_| put(r, &[0; 24]))?,
        SIOCETHTOOL | SIOCGMIIPHY | SIOCGIWNAME => {
            find()?;
            return Err(Errno::EOPNOTSUPP);
        }
        SIOCSIFFLAGS => {
            if !admin {
                return Err(Errno::EPERM);
            }
            // Only what changes nothing, such as bringing lo up again.
            let flags = u16::from_ne_bytes([r[16], r[17]]);
            if u32::from(flags) != find()?.flags {
                return Err(Errno::EOPNOTSUPP);
            }
        }
        SIOCGIFPFLAGS => return Err(Errno::EINVAL),
        SIOCADDRT..=SIOCRTMSG | SIOCSIFLINK..=0x8937 | 0x8939..=0x8940 => {
            return Err(if admin {
                Errno::EOPNOTSUPP
            } else {
                Errno::EPERM
            });
        }
        _ => return Err(Errno::ENOTTY),
    }
    Ok(())
}

fn put(r: &mut [u8; IFREQ], bytes: &[u8]) {
    r[UNION..UNION + bytes.len()].copy_from_slice(bytes);
}

fn first_v4(i: &Interface) -> Option<(Ipv4Addr, u8)> {
    i.addrs.iter().find_map(|a| match *a {
        InterfaceAddr {
            ip: IpAddr::V4(ip),
            prefix,
        } => Some((ip, prefix)),
        _ => None,
    })
}

/// A `struct sockaddr_in` without a port.
fn sockaddr(ip: Ipv4Addr) -> [u8; 16] {
    let mut out = [0; 16];
    out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    out[4..8].copy_from_slice(&ip.octets());
    out
}

/// The entries of SIOCGIFCONF: interfaces with an IPv4 address.
fn entries(stack: &Stack) -> Vec<[u8; IFREQ]> {
    let with_address = stack
        .interfaces
        .all()
        .iter()
        .filter_map(|i| Some((i, first_v4(i)?.0)));
    with_address
        .map(|(i, ip)| {
            let mut r = [0; IFREQ];
            r[..i.name.len()].copy_from_slice(i.name.as_bytes());
            put(&mut r, &sockaddr(ip));
            r
        })
        .collect()
}

/// ioctl(2) on a socket of `family`: ENOTTY for commands that aren't about interfaces.
pub fn ioctl(cx: &Cx, family: u16, cmd: u32, arg: u64) -> Result<u64> {
    let stack = &cx.kernel().net;
    if cmd >> 8 != 0x89 && cmd != SIOCGIWNAME {
        return Err(Errno::ENOTTY);
    }
    let at = UserAddr(arg);
    if cmd == SIOCGIFCONF {
        // struct ifconf: length, padding, pointer.
        let conf: [u64; 2] = cx.read_obj(UserRef::new(at))?;
        // Old programs ask for the length without having set theirs: a negative one is none.
        let room = usize::try_from(conf[0] as u32 as i32).unwrap_or(0);
        let all = entries(stack);
        let fitting = if conf[1] == 0 {
            all.len()
        } else {
            all.len().min(room / IFREQ)
        };
        if conf[1] != 0 {
            cx.write_bytes(UserAddr(conf[1]), &all[..fitting].concat())?;
        }
        cx.write_obj(
            UserRef::new(at),
            &u32::try_from(fitting * IFREQ).unwrap_or(0),
        )?;
        return Ok(0);
    }
    let mut r: [u8; IFREQ] = cx.read_obj(UserRef::new(at))?;
    let admin = cx.task.creds().has_cap(cap::NET_ADMIN);
    request(
        stack,
        admin,
        i32::from(family) == libc::AF_INET,
        cmd,
        &mut r,
    )?;
    cx.write_obj(UserRef::new(at), &r)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(cmd: u32, name: &str) -> Result<[u8; IFREQ]> {
        let mut r = [0; IFREQ];
        r[..name.len()].copy_from_slice(name.as_bytes());
        request(&Stack::default(), false, true, cmd, &mut r).map(|()| r)
    }

    #[test]
    fn lo_answers() {
        assert_eq!(
            ask(SIOCGIFFLAGS, "lo").unwrap()[16..18],
            0x49u16.to_ne_bytes()
        );
        assert_eq!(
            ask(SIOCGIFADDR, "lo").unwrap()[16..24],
            [2, 0, 0, 0, 127, 0, 0, 1]
        );
        assert_eq!(ask(SIOCGIFNETMASK, "lo").unwrap()[20..24], [255, 0, 0, 0]);
        assert_eq!(
            ask(SIOCGIFMTU, "lo").unwrap()[16..20],
            65536u32.to_ne_bytes()
        );
        assert_eq!(ask(SIOCGIFINDEX, "lo").unwrap()[16..20], 1u32.to_ne_bytes());
        assert_eq!(
            ask(SIOCGIFHWADDR, "lo").unwrap()[16..18],
            772u16.to_ne_bytes()
        );
        assert_eq!(ask(SIOCGIFFLAGS, "eth0"), Err(Errno::ENODEV));
        assert_eq!(ask(SIOCSIFFLAGS, "lo"), Err(Errno::EPERM));
        assert_eq!(ask(0x8916, "lo"), Err(Errno::EPERM));
        assert_eq!(ask(0x89f0, "lo"), Err(Errno::ENOTTY));
        assert_eq!(entries(&Stack::default()).len(), 1);
        let mut r = [0; IFREQ];
        r[16] = 1;
        request(&Stack::default(), false, true, SIOCGIFNAME, &mut r).unwrap();
        assert_eq!(&r[..3], b"lo\0");
    }
}
