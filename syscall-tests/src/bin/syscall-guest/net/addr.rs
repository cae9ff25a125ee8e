//! Addresses of the loopback interface, and sockets on them.

use syscall_tests::prelude::*;

/// A socket address as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Addr {
    pub(super) raw: [u8; 28],
    pub(super) len: u32,
}

pub(super) fn v4(ip: [u8; 4], port: u16) -> Addr {
    let mut raw = [0; 28];
    raw[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    raw[2..4].copy_from_slice(&port.to_be_bytes());
    raw[4..8].copy_from_slice(&ip);
    Addr { raw, len: 16 }
}

pub(super) fn v6(port: u16) -> Addr {
    let mut raw = [0; 28];
    raw[..2].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
    raw[2..4].copy_from_slice(&port.to_be_bytes());
    raw[23] = 1;
    Addr { raw, len: 28 }
}

pub(super) const LO: [u8; 4] = [127, 0, 0, 1];

pub(super) fn port_of(a: &Addr) -> u16 {
    u16::from_be_bytes([a.raw[2], a.raw[3]])
}

pub(super) fn bind(fd: i32, a: &Addr) -> Sys {
    sys!(SYS_bind, fd, &a.raw, a.len)
}

pub(super) fn connect(fd: i32, a: &Addr) -> Sys {
    sys!(SYS_connect, fd, &a.raw, a.len)
}

pub(super) fn name(fd: i32, nr: i64) -> Sys<Addr> {
    let mut a = Addr {
        raw: [0; 28],
        len: 28,
    };
    sys!(nr, fd, &mut a.raw, &mut a.len)?;
    Ok(a)
}

pub(super) fn sendto(fd: i32, data: &[u8], a: &Addr) -> Sys<usize> {
    sys!(SYS_sendto, fd, data, data.len(), 0, &a.raw, a.len).map(|n| n as usize)
}

pub(super) fn recvfrom(fd: i32) -> Sys<(Vec<u8>, Addr)> {
    let mut buf = [0u8; 2048];
    let mut a = Addr {
        raw: [0; 28],
        len: 28,
    };
    let n = sys!(SYS_recvfrom, fd, &mut buf, 2048, 0, &mut a.raw, &mut a.len)? as usize;
    Ok((buf[..n].to_vec(), a))
}

pub(super) fn tcp() -> i32 {
    must!(socket(AF_INET, SOCK_STREAM, 0))
}

pub(super) fn udp() -> i32 {
    must!(socket(AF_INET, SOCK_DGRAM, 0))
}

/// A listening socket on a free loopback port, and its address.
pub(super) fn listener() -> (i32, Addr) {
    let fd = tcp();
    must!(bind(fd, &v4(LO, 0)));
    must!(listen(fd, 16));
    (fd, must!(name(fd, SYS_getsockname)))
}

/// A connected pair `(client, server)`.
pub(super) fn pair() -> (i32, i32) {
    let (l, a) = listener();
    let c = tcp();
    must!(connect(c, &a));
    let s = must!(accept(l));
    must!(close(l));
    (c, s)
}

pub(super) fn bound_udp() -> (i32, Addr) {
    let fd = udp();
    must!(bind(fd, &v4(LO, 0)));
    (fd, must!(name(fd, SYS_getsockname)))
}
