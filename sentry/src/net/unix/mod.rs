//! AF_UNIX (unix(7)).
//!
//! - [`name`]: addresses, abstract names. [`path`]: names in the file system.
//! - [`connect`]: bind, listen, connect, accept, pairs, the end of a socket.
//! - [`stream`], [`dgram`]: sending and receiving. [`queue`]: what has been received and not read.
//! - [`rights`]: files on their way.
//!
//! # Locks, outermost first
//! ```text
//! rights::TABLE
//!   UnixSocket::state (one at a time)
//!   UnixSocket::rx    (one at a time, never with a state lock held)
//!   UnixSocket::waiters, Namespace::table (leaves)
//! ```
//! Peers know one another by weak references. Messages are dropped with no lock held ([`queue::dispose`]).

mod connect;
mod dgram;
pub mod name;
mod path;
pub mod queue;
pub mod rights;
mod stream;
#[cfg(test)]
mod tests;

pub use name::{Name, Namespace};

use super::message::{Control, MsgFlags, Received, SockAddr, Ucred};
use super::options::{Flags, OptionValue, SocketBase};
use super::socket::{Shutdown, Socket};
use crate::event::pidfd::PidFd;
use crate::executor::PollEvents;
use crate::task::{Cx, cap};
use crate::user::{Sink, Source, UserAddr, UserRef};
use arch::{Errno, Result};
use parking_lot::Mutex;
use queue::Rx;
use rights::InFlight;
use std::any::Any;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// net.unix.max_dgram_qlen: datagrams that wait in a queue that its owner hasn't connected back to their sender.
const MAX_DGRAM_QLEN: u32 = 10;

/// Bits of `UnixSocket::shut`.
const SHUT_RECV: u8 = 1;
const SHUT_SEND: u8 = 2;
const SHUT_BOTH: u8 = 3;

/// How far a socket has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// New, or without a peer.
    #[default]
    Closed,
    /// A connect(2) is at work.
    Connecting,
    /// Stream or seqpacket with a peer (which may be gone).
    Established,
    /// listen(2).
    Listening,
}

/// Who is at the other end, as it was when the connection was made.
#[derive(Clone)]
struct PeerCred {
    cred: Ucred,
    groups: Arc<[u32]>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    name: Name,
    /// The place of a path name: keeps the inode, which leads here.
    place: Option<crate::vfs::Path>,
    peer: Option<Weak<UnixSocket>>,
    /// The peer's name when the connection was made, for when it is gone.
    peer_name: Name,
    peer_cred: Option<PeerCred>,
    /// listen(2)'s backlog; for datagrams the length of the queue.
    backlog: u32,
}

/// A Unix socket.
pub struct UnixSocket {
    me: Weak<UnixSocket>,
    base: SocketBase,
    names: Arc<Namespace>,
    state: Mutex<State>,
    rx: Mutex<Rx>,
    /// Halves that are shut down; set by either side, read everywhere (SeqCst).
    shut: AtomicU8,
    /// What messages of this socket's that nobody has read yet are charged with.
    wmem: AtomicUsize,
    /// Sockets that wait to connect or send to this one, and found it full.
    waiters: Mutex<Vec<Weak<UnixSocket>>>,
}

/// On whose behalf something is sent.
#[derive(Clone, Copy)]
struct Sender {
    cred: Ucred,
    /// RLIMIT_NOFILE, or no limit for the privileged.
    rights_limit: u64,
}

impl Sender {
    fn of(cx: &Cx) -> Self {
        let creds = cx.task.creds();
        let privileged = creds.has_cap(cap::SYS_RESOURCE) || creds.has_cap(cap::SYS_ADMIN);
        let limit = if privileged {
            u64::MAX
        } else {
            cx.task.group.rlimit(libc::RLIMIT_NOFILE)
        };
        let cred = Ucred {
            pid: cx.task.group.pid,
            uid: creds.uid,
            gid: creds.gid,
        };
        Self {
            cred,
            rights_limit: limit,
        }
    }

    /// What a message carries: files, and credentials where either side passes them on or the application named them.
    fn ancillary(
        &self,
        control: &[Control],
        pass: bool,
    ) -> Result<(Option<InFlight>, Option<Ucred>)> {
        let mut files = Vec::new();
        let mut cred = pass.then_some(self.cred);
        for item in control {
            match item {
                Control::Rights(more) => files.extend(more.iter().cloned()),
                Control::Credentials(named) => cred = Some(*named),
                Control::Raw { .. } | Control::PidFd(_) => return Err(Errno::EINVAL),
            }
        }
        let rights = if files.is_empty() {
            None
        } else {
            Some(InFlight::new(files, self.cred.uid, self.rights_limit)?)
        };
        Ok((rights, cred))
    }
}

/// Makes an unconnected socket: ESOCKTNOSUPPORT, EPROTONOSUPPORT.
pub fn create(cx: &Cx, kind: i32, protocol: i32) -> Result<Arc<dyn Socket>> {
    if protocol != 0 && protocol != libc::AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let kind = match kind {
        libc::SOCK_STREAM | libc::SOCK_DGRAM | libc::SOCK_SEQPACKET => kind,
        libc::SOCK_RAW => libc::SOCK_DGRAM,
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    let names = Arc::clone(&cx.kernel().unix);
    names
        .timers
        .get_or_init(|| Arc::downgrade(cx.kernel()) as _);
    let creds = cx.task.creds();
    Ok(UnixSocket::new(names, kind, creds.fsuid, creds.fsgid))
}

impl UnixSocket {
    fn new(names: Arc<Namespace>, kind: i32, uid: u32, gid: u32) -> Arc<Self> {
        Self::with_base(
            names,
            SocketBase::new(libc::AF_UNIX as u16, kind, 0, uid, gid),
        )
    }

    fn with_base(names: Arc<Namespace>, base: SocketBase) -> Arc<Self> {
        let ino = base.ino;
        let socket = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            base,
            names,
            state: Mutex::new(State {
                backlog: MAX_DGRAM_QLEN,
                ..State::default()
            }),
            rx: Mutex::default(),
            shut: AtomicU8::new(0),
            wmem: AtomicUsize::new(0),
            waiters: Mutex::default(),
        });
        socket.names.opened(ino, &socket.me);
        socket
    }

    /// Its line of /proc/net/unix.
    fn describe(&self, out: &mut Vec<u8>) {
        let (phase, name) = {
            let state = self.state.lock();
            (state.phase, state.name.clone())
        };
        let accepts = if phase == Phase::Listening {
            0x10000
        } else {
            0
        };
        // SS_UNCONNECTED, SS_CONNECTING, SS_CONNECTED.
        let status = match phase {
            Phase::Closed | Phase::Listening => 1,
            Phase::Connecting => 2,
            Phase::Established => 3,
        };
        let refs = 2 + u32::from(phase == Phase::Established);
        let kind = self.kind();
        let line = format!(
            "{:016x}: {refs:08X} 00000000 {accepts:08X} {kind:04X} {status:02X} {:5}",
            0, self.base.ino
        );
        out.extend_from_slice(line.as_bytes());
        match &name {
            Name::Unnamed => {}
            Name::Path(path) => {
                out.push(b' ');
                out.extend_from_slice(path);
            }
            Name::Abstract(name) => {
                out.extend_from_slice(b" @");
                // NULs of an abstract name are shown so.
                out.extend(name.iter().map(|&b| if b == 0 { b'@' } else { b }));
            }
        }
        out.push(b'\n');
    }

    /// SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
    pub fn kind(&self) -> i32 {
        self.base.kind
    }

    /// Its name.
    pub fn name(&self) -> Name {
        self.state.lock().name.clone()
    }

    fn connection_based(&self) -> bool {
        self.base.kind != libc::SOCK_DGRAM
    }

    fn peer(&self) -> Option<Arc<Self>> {
        self.state.lock().peer.as_ref().and_then(Weak::upgrade)
    }

    /// Whether `other` is the peer.
    fn is_peer(&self, other: &Self) -> bool {
        self.state
            .lock()
            .peer
            .as_ref()
            .is_some_and(|p| std::ptr::eq(p.as_ptr(), other))
    }

    fn shut(&self) -> u8 {
        self.shut.load(Ordering::SeqCst)
    }

    fn shut_down(&self, bits: u8) {
        self.shut.fetch_or(bits, Ordering::SeqCst);
    }

    /// There is room for another message of this socket's.
    fn has_room(&self) -> bool {
        self.wmem.load(Ordering::SeqCst) < self.base.sndbuf()
    }

    /// Enough room to be worth a wake (unix_writable).
    fn writable(&self) -> bool {
        self.wmem.load(Ordering::SeqCst).saturating_mul(4) <= self.base.sndbuf()
    }

    /// A message of this socket's has been read.
    fn room_made(&self) {
        if self.writable() {
            self.base
                .queue
                .notify(PollEvents::WRITABLE | PollEvents::WRBAND);
        }
    }

    /// Has `waiter` told when this socket takes more.
    fn wait_here(&self, waiter: &Weak<Self>) {
        let mut waiters = self.waiters.lock();
        waiters.retain(|w| w.strong_count() > 0);
        if !waiters.iter().any(|w| w.ptr_eq(waiter)) {
            waiters.push(waiter.clone());
        }
    }

    /// Tells those that found this socket full.
    fn tell_waiters(&self) {
        let waiters = std::mem::take(&mut *self.waiters.lock());
        for waiter in waiters {
            if let Some(waiter) = waiter.upgrade() {
                waiter
                    .base
                    .queue
                    .notify(PollEvents::WRITABLE | PollEvents::WRBAND);
            }
        }
    }

    /// More waits here than its backlog allows.
    fn backlog_full(&self) -> bool {
        let backlog = self.state.lock().backlog as usize;
        let rx = self.rx.lock();
        rx.len() + rx.pending.len() > backlog
    }

    fn passes_creds(&self) -> bool {
        self.base.has(Flags::PASSCRED) || self.base.has(Flags::PASSPIDFD)
    }

    /// What recvmsg(2) reports beside the data.
    fn received_control(
        &self,
        cred: Option<Ucred>,
        rights: Option<Vec<Arc<crate::vfs::File>>>,
    ) -> Vec<Control> {
        let mut control = Vec::new();
        if self.base.has(Flags::PASSCRED) {
            control.push(Control::Credentials(cred.unwrap_or(super::message::NOBODY)));
        }
        if self.base.has(Flags::PASSPIDFD) {
            control.push(Control::PidFd(cred.map_or(0, |c| c.pid)));
        }
        control.extend(rights.map(Control::Rights));
        control
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // One that never got a file was never released.
        self.names.closed(self.base.ino);
    }
}

impl Socket for UnixSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn base(&self) -> &SocketBase {
        &self.base
    }

    fn poll(&self) -> PollEvents {
        let mut ready = PollEvents::empty();
        let shut = self.shut();
        ready.set(PollEvents::ERR, self.base.has_error());
        ready.set(PollEvents::HUP, shut == SHUT_BOTH);
        if shut & SHUT_RECV != 0 {
            ready |= PollEvents::RDHUP | PollEvents::READABLE;
        }
        {
            let rx = self.rx.lock();
            if !rx.is_empty() || !rx.pending.is_empty() {
                ready |= PollEvents::READABLE;
            }
        }
        let (phase, peer) = {
            let state = self.state.lock();
            (state.phase, state.peer.as_ref().and_then(Weak::upgrade))
        };
        if self.connection_based() && matches!(phase, Phase::Closed | Phase::Connecting) {
            ready |= PollEvents::HUP;
        }
        let mut writable = phase != Phase::Listening && self.writable();
        if writable
            && self.kind() == libc::SOCK_DGRAM
            && let Some(peer) = peer
            && !peer.is_peer(self)
            && peer.backlog_full()
        {
            peer.wait_here(&self.me);
            writable = !peer.backlog_full();
        }
        if writable {
            ready |= PollEvents::WRITABLE | PollEvents::WRBAND;
        }
        ready
    }

    fn bind(&self, cx: &Cx, addr: &SockAddr) -> Result<()> {
        // Only the family: a name of the kernel's choice.
        if addr.len() == 2 && addr.family() == Some(libc::AF_UNIX as u16) {
            return self.autobind();
        }
        match Name::parse(addr)? {
            Name::Path(path) => self.bind_path(cx, path),
            Name::Abstract(name) => self.bind_abstract(name),
            Name::Unnamed => Err(Errno::EINVAL),
        }
    }

    fn listen(&self, cx: &Cx, backlog: u32) -> Result<()> {
        self.start_listening(backlog, Self::cred_of(cx))
    }

    fn accept(&self) -> Result<Arc<dyn Socket>> {
        self.next_connection().map(|s| s as Arc<dyn Socket>)
    }

    fn connect(&self, cx: &Cx, addr: &SockAddr) -> Result<()> {
        if !self.connection_based() {
            if addr.family() == Some(libc::AF_UNSPEC as u16) {
                return self.connect_dgram(None);
            }
            let name = Name::parse(addr)?;
            self.autobind_if_passing()?;
            let other = self.find(cx, &name)?;
            return self.connect_dgram(Some(other));
        }
        let name = Name::parse(addr)?;
        self.autobind_if_passing()?;
        let other = self.find(cx, &name)?;
        self.connect_stream(&other, Self::cred_of(cx))
    }

    fn sendmsg(
        &self,
        cx: &Cx,
        src: &mut dyn Source,
        to: Option<&SockAddr>,
        control: &[Control],
        flags: MsgFlags,
    ) -> Result<usize> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let sender = Sender::of(cx);
        match self.kind() {
            libc::SOCK_STREAM => {
                if to.is_some() {
                    let connected = self.state.lock().phase == Phase::Established;
                    return Err(if connected {
                        Errno::EISCONN
                    } else {
                        Errno::EOPNOTSUPP
                    });
                }
                self.send_stream(src, control, sender)
            }
            libc::SOCK_SEQPACKET => {
                self.base.take_error()?;
                if self.state.lock().phase != Phase::Established {
                    return Err(Errno::ENOTCONN);
                }
                self.send_dgram(src, None, control, sender)
            }
            _ => {
                let other = match to {
                    None => None,
                    Some(addr) => {
                        let name = Name::parse(addr)?;
                        Some(self.find(cx, &name)?)
                    }
                };
                self.autobind_if_passing()?;
                self.send_dgram(src, other, control, sender)
            }
        }
    }

    fn recvmsg(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.kind() == libc::SOCK_STREAM {
            self.recv_stream(dst, flags)
        } else {
            self.recv_dgram(dst, flags)
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        let bits = |recv, send| if recv { SHUT_RECV } else { 0 } | if send { SHUT_SEND } else { 0 };
        self.shut_down(bits(how.read(), how.write()));
        if self.connection_based()
            && let Some(peer) = self.peer()
        {
            peer.shut_down(bits(how.write(), how.read()));
            peer.base.queue.notify_all();
        }
        self.base.queue.notify_all();
        self.tell_waiters();
        Ok(())
    }

    fn local_name(&self) -> Result<SockAddr> {
        Ok(self.name().address())
    }

    fn peer_name(&self) -> Result<SockAddr> {
        let (peer, name_then) = {
            let state = self.state.lock();
            (
                state.peer.clone().ok_or(Errno::ENOTCONN)?,
                state.peer_name.clone(),
            )
        };
        Ok(peer.upgrade().map_or(name_then, |p| p.name()).address())
    }

    fn set_option(&self, cx: &Cx, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level != libc::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        if name == arch::abi::SO_PASSPIDFD {
            let on = super::options::int(value)? != 0;
            self.base.set(Flags::PASSPIDFD, on);
            return Ok(());
        }
        self.base.set_option(cx, name, value)
    }

    fn get_option(&self, cx: &Cx, level: i32, name: i32, room: usize) -> Result<OptionValue> {
        if level != libc::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        match name {
            libc::SO_PEERCRED => {
                let peer = self.state.lock().peer_cred.clone();
                let cred = peer.map_or(
                    Ucred {
                        pid: 0,
                        uid: u32::MAX,
                        gid: u32::MAX,
                    },
                    |p| p.cred,
                );
                Ok(OptionValue::from_slice(bytemuck::bytes_of(&cred)))
            }
            arch::abi::SO_PEERGROUPS => {
                let peer = self.state.lock().peer_cred.clone().ok_or(Errno::ENODATA)?;
                // With too little room the layer answers ERANGE, and how much it takes.
                Ok(OptionValue::from_slice(bytemuck::cast_slice(&peer.groups)))
            }
            arch::abi::SO_PASSPIDFD => {
                let on = i32::from(self.base.has(Flags::PASSPIDFD));
                Ok(OptionValue::from_slice(&on.to_ne_bytes()))
            }
            arch::abi::SO_PEERPIDFD => {
                let peer = self.state.lock().peer_cred.clone().ok_or(Errno::ENODATA)?;
                // A process that has ended has no descriptor any more.
                let group = cx
                    .kernel()
                    .tasks
                    .lock()
                    .group(peer.cred.pid)
                    .ok_or(Errno::ESRCH)?;
                let limit = cx.task.group.rlimit(libc::RLIMIT_NOFILE);
                let fd = cx
                    .task
                    .files()
                    .install(PidFd::open(group, 0), true, limit)?;
                Ok(OptionValue::from_slice(&fd.0.to_ne_bytes()))
            }
            _ => self.base.get_option(name, room),
        }
    }

    fn pair(&self, cx: &Cx, other: &Arc<dyn Socket>) -> Result<()> {
        let other = other
            .as_any()
            .downcast_ref::<Self>()
            .ok_or(Errno::EOPNOTSUPP)?;
        self.make_pair(other, &Self::cred_of(cx));
        Ok(())
    }

    fn ioctl(&self, cx: &Cx, cmd: u32, arg: u64) -> Result<u64> {
        let value = match u64::from(cmd) {
            c if c == libc::FIONREAD => {
                if self.state.lock().phase == Phase::Listening {
                    return Err(Errno::EINVAL);
                }
                let rx = self.rx.lock();
                if self.connection_based() {
                    rx.bytes()
                } else {
                    rx.first_len()
                }
            }
            c if c == libc::TIOCOUTQ => self.wmem.load(Ordering::SeqCst),
            _ => return Err(Errno::ENOTTY),
        };
        cx.write_obj(
            UserRef::new(UserAddr(arg)),
            &i32::try_from(value).unwrap_or(i32::MAX),
        )?;
        Ok(0)
    }

    fn flush(&self) {
        rights::collect_soon(self.names.timers.get());
    }

    fn close(&self) {
        self.release(false);
    }
}
