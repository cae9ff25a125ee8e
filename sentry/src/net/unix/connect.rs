//! From a name to a connection, and to its end.

use super::queue::dispose;
use super::{Name, PeerCred, Phase, SHUT_BOTH, SHUT_RECV, State, UnixSocket};
use crate::executor::PollEvents;
use crate::net::Ucred;
use crate::task::Cx;
use arch::{Errno, Result};
use std::sync::{Arc, Weak};

impl UnixSocket {
    /// The caller's credentials, as SO_PEERCRED will show them to the other side.
    pub(super) fn cred_of(cx: &Cx) -> PeerCred {
        let creds = cx.task.creds();
        let cred = Ucred {
            pid: cx.task.group.pid,
            uid: creds.euid,
            gid: creds.egid,
        };
        PeerCred {
            cred,
            groups: Arc::clone(&creds.groups),
        }
    }

    fn me(&self) -> Result<Arc<Self>> {
        // Gone only while it is being dropped, when nobody calls it.
        self.me.upgrade().ok_or(Errno::EBADF)
    }

    /// Binds to an abstract name: EINVAL when it has one already, EADDRINUSE.
    pub(super) fn bind_abstract(&self, name: Arc<[u8]>) -> Result<()> {
        let me = self.me()?;
        let mut state = self.state.lock();
        if state.name != Name::Unnamed {
            return Err(Errno::EINVAL);
        }
        self.names.bind(&name, &me)?;
        state.name = Name::Abstract(name);
        Ok(())
    }

    /// Binds to a name of the kernel's choice, if it has none.
    pub(super) fn autobind(&self) -> Result<()> {
        let me = self.me()?;
        let mut state = self.state.lock();
        if state.name == Name::Unnamed {
            state.name = Name::Abstract(self.names.autobind(&me)?);
        }
        Ok(())
    }

    /// A socket that passes credentials on has a name when it connects or sends.
    pub(super) fn autobind_if_passing(&self) -> Result<()> {
        if self.passes_creds() {
            self.autobind()
        } else {
            Ok(())
        }
    }

    /// The socket of this one's type that `name` leads to: ECONNREFUSED, EPROTOTYPE, and what the path walk gives.
    pub(super) fn find(&self, cx: &Cx, name: &Name) -> Result<Arc<Self>> {
        match name {
            Name::Abstract(name) => self.names.find(self.kind(), name),
            Name::Path(path) => self.find_path(cx, path),
            Name::Unnamed => Err(Errno::EINVAL),
        }
    }

    /// listen(2): EOPNOTSUPP for datagrams, EINVAL without a name or with a peer.
    pub(super) fn start_listening(&self, backlog: u32, cred: PeerCred) -> Result<()> {
        if !self.connection_based() {
            return Err(Errno::EOPNOTSUPP);
        }
        {
            let mut state = self.state.lock();
            if state.name == Name::Unnamed
                || !matches!(state.phase, Phase::Closed | Phase::Listening)
            {
                return Err(Errno::EINVAL);
            }
            state.phase = Phase::Listening;
            state.backlog = backlog;
            state.peer_cred = Some(cred);
        }
        self.base
            .listening
            .store(true, std::sync::atomic::Ordering::Relaxed);
        self.tell_waiters();
        Ok(())
    }

    /// connect(2) of a stream or seqpacket socket: EISCONN, EINVAL (listening), ECONNREFUSED, EAGAIN (backlog full).
    pub(super) fn connect_stream(&self, other: &Arc<Self>, cred: PeerCred) -> Result<()> {
        let accepted = {
            let listener = other.state.lock();
            if listener.phase != Phase::Listening || other.shut() & SHUT_RECV != 0 {
                return Err(Errno::ECONNREFUSED);
            }
            (
                listener.name.clone(),
                listener.place.clone(),
                listener.peer_cred.clone(),
            )
        };
        let (name, place, listener_cred) = accepted;
        {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Closed => state.phase = Phase::Connecting,
                Phase::Listening => return Err(Errno::EINVAL),
                Phase::Connecting | Phase::Established => return Err(Errno::EISCONN),
            }
        }
        let new = Self::with_base(Arc::clone(&self.names), other.base.accepted());
        *new.state.lock() = State {
            phase: Phase::Established,
            name: name.clone(),
            place,
            peer: Some(self.me.clone()),
            peer_name: self.name(),
            peer_cred: Some(cred),
            backlog: super::MAX_DGRAM_QLEN,
        };
        let queued = self.queue_connection(other, &new);
        {
            let mut state = self.state.lock();
            if queued.is_ok() {
                state.phase = Phase::Established;
                state.peer = Some(Arc::downgrade(&new));
                state.peer_name = name;
                state.peer_cred = listener_cred;
            } else {
                state.phase = Phase::Closed;
            }
        }
        queued?;
        other.base.queue.notify(PollEvents::READABLE);
        self.base.queue.notify_all();
        Ok(())
    }

    /// Puts a connection where accept(2) finds it; EAGAIN when the backlog is full: this socket is told when it isn't.
    fn queue_connection(&self, listener: &Arc<Self>, new: &Arc<Self>) -> Result<()> {
        let backlog = listener.state.lock().backlog as usize;
        let offer = || {
            let mut rx = listener.rx.lock();
            if rx.closed {
                return Err(Errno::ECONNREFUSED);
            }
            if rx.pending.len() > backlog {
                return Err(Errno::EAGAIN);
            }
            rx.pending.push_back(Arc::clone(new));
            Ok(())
        };
        match offer() {
            Err(Errno::EAGAIN) => {
                listener.wait_here(&self.me);
                offer()
            }
            done => done,
        }
    }

    /// accept(2): EINVAL unless it listens (or was shut down), EAGAIN while nobody has connected.
    pub(super) fn next_connection(&self) -> Result<Arc<Self>> {
        if !self.connection_based() {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.state.lock().phase != Phase::Listening {
            return Err(Errno::EINVAL);
        }
        let next = self.rx.lock().pending.pop_front();
        match next {
            Some(connection) => {
                self.tell_waiters();
                Ok(connection)
            }
            None if self.shut() & SHUT_RECV != 0 => Err(Errno::EINVAL),
            None => Err(Errno::EAGAIN),
        }
    }

    /// connect(2) of a datagram socket; `None` dissolves the association. EPERM if the other has a peer that is not this one.
    pub(super) fn connect_dgram(&self, other: Option<Arc<Self>>) -> Result<()> {
        if let Some(other) = &other
            && !self.may_send(other)
        {
            return Err(Errno::EPERM);
        }
        let name = other.as_ref().map(|o| o.name()).unwrap_or_default();
        let old = {
            let mut state = self.state.lock();
            let new = other.as_ref().map(Arc::downgrade);
            state.peer_name = name;
            state.phase = if new.is_some() {
                Phase::Established
            } else {
                Phase::Closed
            };
            std::mem::replace(&mut state.peer, new).and_then(|p| p.upgrade())
        };
        if let Some(old) = old
            && !other.as_ref().is_some_and(|o| Arc::ptr_eq(o, &old))
        {
            self.disconnected_from(&old);
        }
        self.base.queue.notify(PollEvents::WRITABLE);
        Ok(())
    }

    /// One side of a pair of datagram sockets has turned away (unix_dgram_disconnected).
    pub(super) fn disconnected_from(&self, old: &Self) {
        let lost = self.rx.lock().clear();
        if !lost.is_empty() {
            dispose(lost);
            self.tell_waiters();
            if old.is_peer(self) {
                old.base.set_error(Errno::ECONNRESET);
                old.base.queue.notify(PollEvents::ERR);
            }
        }
    }

    /// A socket that has a peer takes datagrams from nobody else.
    pub(super) fn may_send(&self, other: &Self) -> bool {
        other
            .state
            .lock()
            .peer
            .as_ref()
            .is_none_or(|p| p.ptr_eq(&self.me))
    }

    /// socketpair(2).
    pub(super) fn make_pair(&self, other: &Self, cred: &PeerCred) {
        for (one, two) in [(self, other), (other, self)] {
            let mut state = one.state.lock();
            state.phase = Phase::Established;
            state.peer = Some(two.me.clone());
            state.peer_cred = Some(cred.clone());
        }
    }

    /// The socket's end. `embryo`: it was never accepted.
    pub(super) fn release(&self, embryo: bool) {
        let (name, place, peer) = {
            let mut state = self.state.lock();
            state.phase = Phase::Closed;
            let peer = state.peer.as_ref().and_then(Weak::upgrade);
            (state.name.clone(), state.place.take(), peer)
        };
        drop(place);
        self.shut_down(SHUT_BOTH);
        let (messages, pending) = {
            let mut rx = self.rx.lock();
            rx.closed = true;
            (rx.clear(), std::mem::take(&mut rx.pending))
        };
        if let Some(peer) = peer
            && self.connection_based()
        {
            peer.shut_down(SHUT_BOTH);
            if embryo || !messages.is_empty() {
                peer.base.set_error(Errno::ECONNRESET);
            }
            peer.base.queue.notify_all();
        }
        if let Name::Abstract(name) = &name {
            self.names.release(self.kind(), name, &self.me);
        }
        for connection in pending {
            connection.release(true);
        }
        dispose(messages);
        self.tell_waiters();
        self.names.closed(self.base.ino);
        super::rights::collect_soon(self.names.timers.get());
    }
}
