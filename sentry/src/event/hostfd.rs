//! Host descriptors that were handed to the sandbox: its standard input, output and error.
//!
//! Other processes hold the same open file descriptions, so nothing about them is changed: O_NONBLOCK stays as it is, and the position of
//! a regular file is the description's own, moved by whoever reads or writes. What must not wait is asked of the host as such: a pipe or
//! terminal is opened anew, non-blocking, through /proc/self/fd where that can be done; sockets have MSG_DONTWAIT; the rest has RWF_NOWAIT,
//! or is polled first.

use crate::executor::{HostWatch, Listener, PollEvents, Reactor, WaitQueue};
use crate::host::{self, stdio};
use crate::task::Cx;
use crate::user::{Sink, Source, UserAddr, UserRef};
use crate::vfs::{APPEND, File, FileOps, HERE, MapRequest, MapSource, SeekFrom};
use arch::abi::Stat;
use arch::{Errno, Result};
use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes moved in one go.
const STEP: usize = 256 << 10;
/// A pipe that is writable takes so much without waiting.
const PIPE_BUF: usize = 4096;

/// How to keep a transfer from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It never waits: a regular file, /dev/null. Or the description is ours, and non-blocking.
    Plain,
    /// MSG_DONTWAIT.
    Socket,
    /// RWF_NOWAIT, or poll first.
    Shared,
}

/// Passes the reactor's news on.
struct Hub(WaitQueue);

impl Listener for Hub {
    fn notify(&self, mut events: PollEvents) -> bool {
        events.set(PollEvents::RDNORM, events.contains(PollEvents::IN));
        events.set(PollEvents::WRNORM, events.contains(PollEvents::OUT));
        self.0.notify(events);
        true
    }
}

/// A host descriptor as a file.
pub struct HostFile {
    fd: Arc<OwnedFd>,
    way: Way,
    /// A regular file: it has a position.
    regular: bool,
    /// It is open with O_APPEND on the host.
    append: bool,
    /// S_IFMT.
    kind: u32,
    /// RWF_NOWAIT is known not to work.
    no_nowait: AtomicBool,
    hub: Arc<Hub>,
    watch: Option<Arc<HostWatch>>,
}

/// Makes a file of a host descriptor. Access mode, O_APPEND and O_NONBLOCK are as the host has them.
pub fn open(reactor: &Arc<Reactor>, fd: OwnedFd) -> Result<Arc<File>> {
    let flags = stdio::flags(fd.as_fd())?;
    let kind = stdio::stat(fd.as_fd())?.mode & libc::S_IFMT;
    let regular = kind == libc::S_IFREG;
    let hub = Arc::new(Hub(WaitQueue::new()));
    let mut way = Way::Shared;
    let mut fd = Arc::new(fd);
    if matches!(kind, libc::S_IFIFO | libc::S_IFCHR) {
        let anew = flags as i32 & libc::O_ACCMODE | libc::O_NONBLOCK | libc::O_NOCTTY;
        if let Ok(own) = host::fs::reopen(fd.as_fd(), anew) {
            fd = Arc::new(own);
            way = Way::Plain;
        }
    } else if kind == libc::S_IFSOCK {
        way = Way::Socket;
    }
    let watch = if regular {
        None
    } else {
        reactor
            .watch(Arc::clone(&fd), hub.clone())
            .ok()
            .map(Arc::new)
    };
    if watch.is_none() {
        // Nothing to wait for: epoll(7) doesn't take it.
        way = Way::Plain;
    }
    let kept = libc::O_ACCMODE | libc::O_APPEND | libc::O_NONBLOCK;
    let append = flags & libc::O_APPEND as u32 != 0;
    let no_nowait = AtomicBool::new(false);
    let file = HostFile {
        fd,
        way,
        regular,
        append,
        kind,
        no_nowait,
        hub,
        watch,
    };
    Ok(File::new(Box::new(file), flags & kept as u32))
}

impl HostFile {
    fn fd(&self) -> BorrowedFd<'_> {
        (*self.fd).as_fd()
    }

    fn ready(&self, events: PollEvents) -> bool {
        stdio::poll_now(self.fd(), events.bits()) != 0
    }

    fn read_some(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if self.regular && offset != HERE {
            return host::io::read(self.fd(), Some(offset), buf);
        }
        match self.way {
            Way::Plain => host::io::read(self.fd(), None, buf),
            Way::Socket => stdio::recv_nowait(self.fd(), buf),
            Way::Shared => {
                if !self.no_nowait.load(Ordering::Relaxed) {
                    match stdio::read_nowait(self.fd(), buf) {
                        Err(Errno::EOPNOTSUPP) => self.no_nowait.store(true, Ordering::Relaxed),
                        done => return done,
                    }
                }
                if !self.ready(PollEvents::IN) {
                    return Err(Errno::EAGAIN);
                }
                host::io::read(self.fd(), None, buf)
            }
        }
    }

    fn write_some(&self, file: &File, offset: u64, buf: &[u8]) -> Result<usize> {
        if self.regular && offset != HERE && offset != APPEND {
            return host::io::write(self.fd(), Some(offset), buf);
        }
        match self.way {
            Way::Plain
                if self.regular
                    && !self.append
                    && (offset == APPEND || file.has(libc::O_APPEND)) =>
            {
                stdio::write_flags(self.fd(), buf, libc::RWF_APPEND)
            }
            Way::Plain => host::io::write(self.fd(), None, buf),
            Way::Socket => stdio::send_nowait(self.fd(), buf),
            Way::Shared => {
                if !self.no_nowait.load(Ordering::Relaxed) {
                    match stdio::write_flags(self.fd(), buf, libc::RWF_NOWAIT) {
                        Err(Errno::EOPNOTSUPP) => self.no_nowait.store(true, Ordering::Relaxed),
                        done => return done,
                    }
                }
                if !self.ready(PollEvents::OUT) {
                    return Err(Errno::EAGAIN);
                }
                host::io::write(self.fd(), None, &buf[..buf.len().min(PIPE_BUF)])
            }
        }
    }
}

impl FileOps for HostFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self, _: &File) -> Result<Stat> {
        stdio::stat(self.fd())
    }

    fn read(&self, _: &File, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        let max = dst.remaining().min(STEP);
        if max == 0 {
            return Ok(0);
        }
        let mut buf = vec![0; max];
        let n = self.read_some(offset, &mut buf)?;
        if n == 0 {
            return Ok(0);
        }
        dst.write(&buf[..n])
    }

    fn write(&self, file: &File, offset: u64, src: &mut dyn Source) -> Result<usize> {
        let max = src.remaining().min(STEP);
        let mut buf = vec![0; max];
        let got = src.peek(&mut buf)?;
        if got == 0 && max > 0 {
            return Err(Errno::EFAULT);
        }
        let n = self.write_some(file, offset, &buf[..got])?;
        src.advance(n);
        Ok(n)
    }

    fn append_position(&self) -> Option<u64> {
        None
    }

    /// open(2) of /proc/self/fd/N, /dev/stdout and their like: a regular file is opened anew, with a position of its own; what has
    /// none is shared.
    fn reopen(&self, _: &File, flags: u32) -> Result<Box<dyn FileOps>> {
        if self.kind == libc::S_IFSOCK {
            return Err(Errno::ENXIO);
        }
        let mut fd = Arc::clone(&self.fd);
        if self.regular {
            let kept = libc::O_ACCMODE | libc::O_APPEND | libc::O_TRUNC;
            fd = Arc::new(host::fs::reopen(self.fd(), flags as i32 & kept)?);
        }
        Ok(Box::new(HostFile {
            fd,
            way: self.way,
            regular: self.regular,
            append: flags & libc::O_APPEND as u32 != 0,
            kind: self.kind,
            no_nowait: AtomicBool::new(false),
            hub: Arc::clone(&self.hub),
            watch: self.watch.clone(),
        }))
    }

    fn seekable(&self) -> bool {
        self.regular
    }

    fn keeps_position(&self) -> bool {
        self.regular
    }

    fn seek(&self, _: &File, _: u64, to: SeekFrom) -> Result<u64> {
        let (offset, whence) = match to {
            SeekFrom::Start(n) => (n, libc::SEEK_SET),
            SeekFrom::Current(n) => (n, libc::SEEK_CUR),
            SeekFrom::End(n) => (n, libc::SEEK_END),
            SeekFrom::Data(n) => (n, libc::SEEK_DATA),
            SeekFrom::Hole(n) => (n, libc::SEEK_HOLE),
        };
        stdio::seek(self.fd(), offset, whence)
    }

    fn poll(&self, _: &File) -> PollEvents {
        if self.watch.is_none() {
            return PollEvents::READABLE | PollEvents::WRITABLE;
        }
        let asked =
            PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::PRI | PollEvents::RDHUP;
        PollEvents::from_bits_truncate(stdio::poll_now(self.fd(), asked.bits()))
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.watch.is_some().then_some(&self.hub.0)
    }

    /// Questions only: what would change a terminal stays with the host.
    fn ioctl(&self, cx: &Cx, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        let to = UserAddr(arg);
        match u64::from(cmd) {
            c if c == libc::FIONREAD => {
                cx.write_obj(UserRef::new(to), &stdio::query::<4>(self.fd(), c)?)?
            }
            c if c == libc::TCGETS => {
                cx.write_obj(UserRef::new(to), &stdio::query::<36>(self.fd(), c)?)?
            }
            c if c == libc::TIOCGWINSZ => {
                cx.write_obj(UserRef::new(to), &stdio::query::<8>(self.fd(), c)?)?
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    fn map(&self, _: &File, req: &MapRequest) -> Result<MapSource> {
        if !self.regular {
            return Err(Errno::ENODEV);
        }
        Ok(MapSource::Host {
            fd: Arc::clone(&self.fd),
            offset: req.offset,
        })
    }

    fn truncate(&self, _: &File, len: u64) -> Result<()> {
        if !self.regular {
            return Err(Errno::EINVAL);
        }
        host::fs::truncate(self.fd(), len)
    }

    fn sync(&self, _: &File, data_only: bool) -> Result<()> {
        host::fs::sync(self.fd(), data_only)
    }

    fn sleeps(&self) -> bool {
        true
    }

    fn link_text(&self, file: &File) -> Option<Vec<u8>> {
        let ino = self.stat(file).map_or(0, |s| s.ino);
        let text = match self.kind {
            libc::S_IFIFO => format!("pipe:[{ino}]"),
            libc::S_IFSOCK => format!("socket:[{ino}]"),
            libc::S_IFCHR if self.watch.is_none() => "/dev/null".into(),
            libc::S_IFCHR => "/dev/console".into(),
            _ => format!("host:[{ino}]"),
        };
        Some(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::{SliceSource, VecSink};
    use std::fs;
    use std::io::{Read, Seek, Write};
    use std::os::unix::net::UnixStream;

    fn read(file: &File, n: usize) -> Result<Vec<u8>> {
        let mut sink = VecSink::new(n);
        file.ops.read(file, HERE, &mut sink)?;
        Ok(sink.data)
    }

    fn write(file: &File, data: &[u8]) -> Result<usize> {
        file.ops.write(file, HERE, &mut SliceSource(data))
    }

    #[test]
    fn a_pipe_never_waits_and_keeps_its_mode() {
        let (r, mut w) = std::io::pipe().unwrap();
        let keep = r.try_clone().unwrap();
        let reactor = Reactor::new().unwrap();
        let file = open(&reactor, r.into()).unwrap();
        assert_eq!(read(&file, 10), Err(Errno::EAGAIN));
        w.write_all(b"data").unwrap();
        assert_eq!(read(&file, 10).unwrap(), b"data");
        assert!(!file.nonblocking());
        assert_eq!(
            stdio::flags(keep.as_fd()).unwrap() & libc::O_NONBLOCK as u32,
            0
        );
        drop(w);
        assert_eq!(read(&file, 10).unwrap(), b"");
        assert!(file.ops.poll(&file).contains(PollEvents::HUP));
    }

    #[test]
    fn a_full_pipe_is_eagain() {
        let (mut r, w) = std::io::pipe().unwrap();
        let reactor = Reactor::new().unwrap();
        let file = open(&reactor, w.into()).unwrap();
        let mut total = 0;
        while let Ok(n) = write(&file, &[0; 10_000]) {
            total += n;
        }
        assert_eq!(write(&file, b"x"), Err(Errno::EAGAIN));
        assert!(!file.ops.poll(&file).contains(PollEvents::OUT));
        r.read_exact(&mut vec![0; total]).unwrap();
        assert_eq!(write(&file, b"x"), Ok(1));
    }

    #[test]
    fn a_shared_socket_never_waits() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let reactor = Reactor::new().unwrap();
        let file = open(&reactor, a.into()).unwrap();
        assert_eq!(read(&file, 10), Err(Errno::EAGAIN));
        b.write_all(b"hi").unwrap();
        assert_eq!(read(&file, 10).unwrap(), b"hi");
        drop(b);
        assert_eq!(write(&file, b"x"), Err(Errno::EPIPE));
    }

    #[test]
    fn a_regular_file_has_one_position_for_all_its_holders() {
        let mut outside = tempfile();
        outside.write_all(b"before ").unwrap();
        let reactor = Reactor::new().unwrap();
        let file = open(&reactor, outside.try_clone().unwrap().into()).unwrap();
        assert_eq!(write(&file, b"inside "), Ok(7));
        outside.write_all(b"after").unwrap();
        assert_eq!(file.ops.seek(&file, 0, SeekFrom::Start(7)), Ok(7));
        let mut rest = String::new();
        outside.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "inside after");
        let mut sink = VecSink::new(6);
        file.ops.read(&file, 0, &mut sink).unwrap();
        assert_eq!(sink.data, b"before");
        assert_eq!(outside.stream_position().unwrap(), 19);
        assert!(file.ops.wait_queue().is_none());
    }

    fn tempfile() -> fs::File {
        static N: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = N.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sentry-hostfd-{}-{n}", std::process::id()));
        let file = fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        fs::remove_file(&path).unwrap();
        file
    }

    #[test]
    fn dev_null_is_always_ready() {
        let reactor = Reactor::new().unwrap();
        let null = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let file = open(&reactor, null.into()).unwrap();
        assert_eq!(read(&file, 10).unwrap(), b"");
        assert_eq!(write(&file, b"gone"), Ok(4));
        assert!(file.ops.wait_queue().is_none());
    }
}
