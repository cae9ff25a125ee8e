//! Loopback TCP and UDP.

use super::{Body, Op, io, sys};
use anyhow::{Result, bail};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

pub const OPS: &[Op] = &[
    Op::new(
        "tcp-1",
        "write and read of 1 byte through loopback TCP, in one thread",
        || tcp(1),
    ),
    Op::new(
        "tcp-4k",
        "write and read of 4 KiB through loopback TCP, in one thread",
        || tcp(4 << 10),
    ),
    Op::new(
        "tcp-64k",
        "write and read of 64 KiB through loopback TCP, in one thread",
        || tcp(64 << 10),
    ),
    Op::new(
        "udp-64",
        "send and receive of a datagram of 64 bytes over loopback, in one thread",
        udp,
    ),
    Op::new(
        "tcp-pingpong",
        "a byte to another process and back, through loopback TCP",
        ping_pong,
    ),
    Op::new(
        "tcp-connect",
        "connect, accept and close of a loopback TCP connection, in one thread",
        connect,
    ),
];

fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let a = TcpStream::connect(listener.local_addr()?)?;
    let (b, _) = listener.accept()?;
    for s in [&a, &b] {
        s.set_nodelay(true)?;
    }
    Ok((a, b))
}

fn tcp(length: usize) -> Result<Body> {
    let (a, b) = pair()?;
    io::through(
        move |x| sys::write(a.as_raw_fd(), x),
        move |x| sys::read(b.as_raw_fd(), x),
        length,
    )
}

fn udp() -> Result<Body> {
    let (a, b) = (
        UdpSocket::bind(("127.0.0.1", 0))?,
        UdpSocket::bind(("127.0.0.1", 0))?,
    );
    a.connect(b.local_addr()?)?;
    b.connect(a.local_addr()?)?;
    io::through(
        move |x| sys::write(a.as_raw_fd(), x),
        move |x| sys::read(b.as_raw_fd(), x),
        64,
    )
}

fn ping_pong() -> Result<Body> {
    let (mine, its) = pair()?;
    let peer = sys::Peer(sys::fork(|| io::pong(its.as_raw_fd(), its.as_raw_fd()))?);
    Ok(Box::new(move |n| {
        let _peer = &peer;
        io::ping(mine.as_raw_fd(), mine.as_raw_fd(), n)
    }))
}

/// The accepting side closes first, so that the ports of the connecting side are free again.
fn connect() -> Result<Body> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            let a = TcpStream::connect(address)?;
            let (b, from) = listener.accept()?;
            if from != a.local_addr()? {
                bail!("accepted {from}, not the connection that was made");
            }
            drop(b);
            drop(a);
        }
        Ok(())
    }))
}
