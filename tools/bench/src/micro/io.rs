//! Reads and writes of several sizes: devices, files, pipes, Unix sockets.

use super::{Body, Op, sys};
use crate::place::{BIND, SCRATCH};
use anyhow::{Context, Result, bail};
use std::os::fd::{AsRawFd, RawFd};

const K: usize = 1024;

pub const OPS: &[Op] = &[
    Op::new("read-zero-1", "read of 1 byte of /dev/zero", || {
        read_zero(1)
    }),
    Op::new("read-zero-4k", "read of 4 KiB of /dev/zero", || {
        read_zero(4 * K)
    }),
    Op::new("read-zero-64k", "read of 64 KiB of /dev/zero", || {
        read_zero(64 * K)
    }),
    Op::new("write-null-1", "write of 1 byte to /dev/null", || {
        write_null(1)
    }),
    Op::new("write-null-4k", "write of 4 KiB to /dev/null", || {
        write_null(4 * K)
    }),
    Op::new(
        "read-file-1",
        "pread of 1 byte of a cached file of the root file system",
        || read_file(SCRATCH, 1),
    ),
    Op::new(
        "read-file-4k",
        "pread of 4 KiB of a cached file of the root file system",
        || read_file(SCRATCH, 4 * K),
    ),
    Op::new(
        "read-file-64k",
        "pread of 64 KiB of a cached file of the root file system",
        || read_file(SCRATCH, 64 * K),
    ),
    Op::new(
        "read-file-1m",
        "pread of 1 MiB of a cached file of the root file system",
        || read_file(SCRATCH, K * K),
    ),
    Op::new(
        "readv-file-8k",
        "preadv of 8 KiB in two parts of a cached file of the root file system",
        readv_file,
    ),
    Op::new(
        "read-bind-4k",
        "pread of 4 KiB of a cached file of a bind mount",
        || read_file(BIND, 4 * K),
    ),
    Op::new(
        "read-tmpfs-4k",
        "pread of 4 KiB of a file of a tmpfs",
        || read_file("/tmp", 4 * K),
    ),
    Op::new(
        "write-file-1",
        "pwrite of 1 byte to a file of the root file system",
        || write_file(SCRATCH, 1),
    ),
    Op::new(
        "write-file-4k",
        "pwrite of 4 KiB to a file of the root file system",
        || write_file(SCRATCH, 4 * K),
    ),
    Op::new(
        "write-file-64k",
        "pwrite of 64 KiB to a file of the root file system",
        || write_file(SCRATCH, 64 * K),
    ),
    Op::new(
        "write-bind-4k",
        "pwrite of 4 KiB to a file of a bind mount",
        || write_file(BIND, 4 * K),
    ),
    Op::new(
        "pipe-1",
        "write and read of 1 byte through a pipe, in one thread",
        || pipe(1),
    ),
    Op::new(
        "pipe-4k",
        "write and read of 4 KiB through a pipe, in one thread",
        || pipe(4 * K),
    ),
    Op::new(
        "pipe-64k",
        "write and read of 64 KiB through a pipe, in one thread",
        || pipe(64 * K),
    ),
    Op::new(
        "unix-1",
        "write and read of 1 byte through a Unix stream socket, in one thread",
        || unix(1),
    ),
    Op::new(
        "unix-4k",
        "write and read of 4 KiB through a Unix stream socket, in one thread",
        || unix(4 * K),
    ),
    Op::new(
        "unix-64k",
        "write and read of 64 KiB through a Unix stream socket, in one thread",
        || unix(64 * K),
    ),
    Op::new(
        "pipe-pingpong",
        "a byte to another process and back, through two pipes",
        pipe_ping_pong,
    ),
    Op::new(
        "unix-pingpong",
        "a byte to another process and back, through a Unix stream socket",
        unix_ping_pong,
    ),
];

/// Bytes that tell their place, so that a shifted copy is seen.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect()
}

fn exactly(call: &str, got: usize, wanted: usize) -> Result<()> {
    if got != wanted {
        bail!("{call} moved {got} bytes, not {wanted}");
    }
    Ok(())
}

fn same(got: &[u8], wanted: &[u8]) -> Result<()> {
    match got.iter().zip(wanted).position(|(a, b)| a != b) {
        None => exactly("the transfer", got.len(), wanted.len()),
        Some(at) => bail!("byte {at} is {:#x}, not {:#x}", got[at], wanted[at]),
    }
}

/// Looks at both ends of what arrived: cheap enough for every operation.
fn ends(got: &[u8], wanted: &[u8]) -> Result<()> {
    if got.first() != wanted.first() || got.last() != wanted.last() {
        bail!("what arrived is not what was sent");
    }
    Ok(())
}

fn read_zero(length: usize) -> Result<Body> {
    let fd = sys::open(c"/dev/zero", libc::O_RDONLY)?;
    let mut buf = vec![1; length];
    exactly("read", sys::read(fd.as_raw_fd(), &mut buf)?, length)?;
    same(&buf, &vec![0; length])?;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            buf[length - 1] = 1;
            exactly("read", sys::read(fd.as_raw_fd(), &mut buf)?, length)?;
            if buf[length - 1] != 0 {
                bail!("/dev/zero left a byte alone");
            }
        }
        Ok(())
    }))
}

fn write_null(length: usize) -> Result<Body> {
    let fd = sys::open(c"/dev/null", libc::O_WRONLY)?;
    let buf = pattern(length);
    Ok(Box::new(move |n| {
        for _ in 0..n {
            exactly("write", sys::write(fd.as_raw_fd(), &buf)?, length)?;
        }
        Ok(())
    }))
}

/// A file of that many bytes of the pattern.
fn make_file(dir: &str, length: usize) -> Result<String> {
    let path = format!("{dir}/data-{length}");
    std::fs::write(&path, pattern(length)).with_context(|| path.clone())?;
    Ok(path)
}

fn read_file(dir: &str, length: usize) -> Result<Body> {
    let path = make_file(dir, length)?;
    let fd = std::fs::File::open(&path).context(path)?;
    let wanted = pattern(length);
    let mut buf = vec![0; length];
    exactly("pread", sys::pread(fd.as_raw_fd(), &mut buf)?, length)?;
    same(&buf, &wanted)?;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            buf[length - 1] = !wanted[length - 1];
            exactly("pread", sys::pread(fd.as_raw_fd(), &mut buf)?, length)?;
            ends(&buf, &wanted)?;
        }
        Ok(())
    }))
}

fn readv_file() -> Result<Body> {
    let path = make_file(SCRATCH, 8 * K)?;
    let fd = std::fs::File::open(&path).context(path)?;
    let wanted = pattern(8 * K);
    let mut buf = vec![0; 8 * K];
    exactly("preadv", sys::readv(fd.as_raw_fd(), &mut buf)?, 8 * K)?;
    same(&buf, &wanted)?;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            exactly("preadv", sys::readv(fd.as_raw_fd(), &mut buf)?, 8 * K)?;
            ends(&buf, &wanted)?;
        }
        Ok(())
    }))
}

fn write_file(dir: &str, length: usize) -> Result<Body> {
    let path = format!("{dir}/written-{length}");
    let fd = std::fs::File::create(&path).with_context(|| path.clone())?;
    let buf = pattern(length);
    exactly("pwrite", sys::pwrite(fd.as_raw_fd(), &buf)?, length)?;
    same(&std::fs::read(&path)?, &buf)?;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            exactly("pwrite", sys::pwrite(fd.as_raw_fd(), &buf)?, length)?;
        }
        Ok(())
    }))
}

/// Sends and receives `length` bytes in one thread: what is sent must fit into the buffers between.
pub fn through(
    mut send: impl FnMut(&[u8]) -> Result<usize> + 'static,
    mut receive: impl FnMut(&mut [u8]) -> Result<usize> + 'static,
    length: usize,
) -> Result<Body> {
    let out = pattern(length);
    let mut back = vec![0; length];
    let mut once = move |check: fn(&[u8], &[u8]) -> Result<()>| -> Result<()> {
        exactly("the write", send(&out)?, length)?;
        let mut at = 0;
        while at < length {
            let n = receive(&mut back[at..])?;
            if n == 0 {
                bail!("end of file after {at} of {length} bytes");
            }
            at += n;
        }
        check(&back, &out)?;
        back[length - 1] = !out[length - 1];
        Ok(())
    };
    once(same)?;
    Ok(Box::new(move |n| (0..n).try_for_each(|_| once(ends))))
}

fn pipe(length: usize) -> Result<Body> {
    let (r, w) = sys::pipe()?;
    through(
        move |b| sys::write(w.as_raw_fd(), b),
        move |b| sys::read(r.as_raw_fd(), b),
        length,
    )
}

fn unix(length: usize) -> Result<Body> {
    let (a, b) = std::os::unix::net::UnixStream::pair()?;
    through(
        move |x| sys::write(a.as_raw_fd(), x),
        move |x| sys::read(b.as_raw_fd(), x),
        length,
    )
}

/// Hands a byte that counts to a peer and back.
pub fn ping(to: RawFd, from: RawFd, n: u64) -> Result<()> {
    let mut byte = [0u8];
    for i in 0..n {
        let sent = i.to_le_bytes()[0];
        exactly("write", sys::write(to, &[sent])?, 1)?;
        exactly("read", sys::read(from, &mut byte)?, 1)?;
        if byte[0] != sent {
            bail!("sent {sent}, and {} came back", byte[0]);
        }
    }
    Ok(())
}

/// The peer's side, until the end of its input.
pub fn pong(from: RawFd, to: RawFd) -> i32 {
    let mut byte = [0u8];
    loop {
        match sys::read(from, &mut byte) {
            Ok(1) => {}
            Ok(_) => return 0,
            Err(_) => return 1,
        }
        if !matches!(sys::write(to, &byte), Ok(1)) {
            return 1;
        }
    }
}

fn pipe_ping_pong() -> Result<Body> {
    let (there, back) = (sys::pipe()?, sys::pipe()?);
    let peer = sys::Peer(sys::fork(|| pong(there.0.as_raw_fd(), back.1.as_raw_fd()))?);
    Ok(Box::new(move |n| {
        let _peer = &peer;
        ping(there.1.as_raw_fd(), back.0.as_raw_fd(), n)
    }))
}

fn unix_ping_pong() -> Result<Body> {
    let (mine, its) = std::os::unix::net::UnixStream::pair()?;
    let peer = sys::Peer(sys::fork(|| pong(its.as_raw_fd(), its.as_raw_fd()))?);
    Ok(Box::new(move |n| {
        let _peer = &peer;
        ping(mine.as_raw_fd(), mine.as_raw_fd(), n)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_stable_and_not_periodic() {
        let p = pattern(4096);
        assert_eq!(p, pattern(8192)[..4096]);
        assert!((1..512).all(|shift| p[shift..] != p[..4096 - shift]));
    }

    #[test]
    fn a_short_answer_is_seen() {
        assert!(through(|b| Ok(b.len()), |_| Ok(0), 10).is_err());
        assert!(through(|b| Ok(b.len() - 1), |b| Ok(b.len()), 10).is_err());
        // Nothing was copied.
        assert!(through(|b| Ok(b.len()), |b| Ok(b.len()), 10).is_err());
    }

    #[test]
    fn pipes_carry() {
        pipe(4096).unwrap()(10).unwrap();
        unix(65536).unwrap()(10).unwrap();
        pipe_ping_pong().unwrap()(10).unwrap();
    }
}
