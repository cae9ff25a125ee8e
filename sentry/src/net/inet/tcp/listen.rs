//! Listeners: their queues, and which of them a connection goes to.
//!
//! A connect(2) that finds room in the queue is connected before accept(2) knows of it. One that doesn't stays in SYN_SENT and
//! gets the place that the next accept(2) frees, where on a network it would send its SYN again.

use super::conn::{CHANGE, Conn};
use super::handshake::{Handshake, dispatch};
use super::options::TcpOptions;
use super::table::Tuple;
use crate::executor::{PollEvents, TimerId, TimerTarget};
use crate::net::inet::addr::Family;
use crate::net::inet::ip::IpFlags;
use crate::net::inet::ports::Lease;
use crate::net::inet::sk::Sk;
use crate::net::inet::stack::now;
use arch::{Errno, Result};
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

/// A socket that listens.
pub struct Listener {
    /// The socket.
    pub sk: Arc<Sk>,
    /// Its TCP options, which connections inherit.
    pub options: Arc<TcpOptions>,
    /// Where.
    pub local: SocketAddr,
    /// Lock order: this, a handshake's, the tables.
    queue: Mutex<Queue>,
}

/// A connection that hasn't been accepted: end 1 is the listener's.
#[derive(Clone)]
pub struct Child {
    /// The connection.
    pub conn: Arc<Conn>,
    /// TCP options of the new socket.
    pub options: Arc<TcpOptions>,
}

struct Deferred {
    child: Child,
    until: u64,
}

struct Queue {
    open: bool,
    backlog: usize,
    ready: VecDeque<Child>,
    /// TCP_DEFER_ACCEPT: connected, but without data.
    deferred: Vec<Deferred>,
    /// Those that found no room.
    waiting: VecDeque<Arc<Handshake>>,
}

impl Queue {
    /// Linux lets one more in than the backlog says.
    fn full(&self) -> bool {
        self.ready.len() > self.backlog || self.deferred.len() > self.backlog
    }

    fn ripen(&mut self, now: u64) -> bool {
        let mut any = false;
        while self.deferred.first().is_some_and(|d| d.until <= now) {
            self.ready.push_back(self.deferred.remove(0).child);
            any = true;
        }
        any
    }
}

impl Listener {
    /// A listener with `backlog`.
    pub fn new(
        sk: Arc<Sk>,
        options: Arc<TcpOptions>,
        local: SocketAddr,
        backlog: u32,
    ) -> Arc<Self> {
        let queue = Queue {
            open: true,
            backlog: backlog as usize,
            ready: VecDeque::new(),
            deferred: Vec::new(),
            waiting: VecDeque::new(),
        };
        Arc::new(Self {
            sk,
            options,
            local,
            queue: Mutex::new(queue),
        })
    }

    /// listen(2) again.
    pub fn set_backlog(self: &Arc<Self>, backlog: u32) {
        self.queue.lock().backlog = backlog as usize;
        self.refill();
    }

    /// Connections to accept, and the backlog: what /proc/net/tcp and TCP_INFO show.
    pub fn lengths(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.ready.len(), queue.backlog)
    }

    /// A SYN. False when the listener is gone.
    pub fn syn(self: &Arc<Self>, handshake: &Arc<Handshake>) -> bool {
        let mut queue = self.queue.lock();
        if !queue.open {
            return false;
        }
        if queue.full() {
            queue.waiting.push_back(Arc::clone(handshake));
            return true;
        }
        let ready = self.establish(&mut queue, handshake);
        drop(queue);
        handshake.wake();
        if ready {
            self.sk.base.queue.notify(PollEvents::READABLE);
        }
        true
    }

    /// Connects. Says whether there is something to accept.
    fn establish(self: &Arc<Self>, queue: &mut Queue, handshake: &Arc<Handshake>) -> bool {
        let options = Arc::new(self.options.inherit());
        let Some(conn) = handshake.complete(|| {
            let sk = Arc::new(self.sk.child());
            let at = handshake.tuple.remote;
            *sk.lease.lock() = Some(Lease::shared(
                &sk.stack.tcp_ports,
                at.port(),
                sk.claim(at.ip()),
            ));
            sk.stack.stats.tcp_passive_opens.inc();
            (
                Conn::open([Arc::clone(&handshake.sk), sk], [handshake.tuple.local, at]),
                0,
            )
        }) else {
            return false;
        };
        let child = Child { conn, options };
        let patience = self.options.defer_accept_secs();
        if patience == 0 {
            queue.ready.push_back(child);
            return true;
        }
        if !child.conn.defer(self) {
            queue.ready.push_back(child);
            return true;
        }
        let until = now() + u64::from(patience) * 1_000_000_000;
        self.sk
            .stack
            .alarm(until, Arc::new(Patience(Arc::downgrade(self))));
        queue.deferred.push(Deferred { child, until });
        false
    }

    /// Data have come for a deferred connection.
    pub fn promote(&self, conn: &Conn) {
        let mut queue = self.queue.lock();
        let Some(i) = queue
            .deferred
            .iter()
            .position(|d| std::ptr::eq(&*d.child.conn, conn))
        else {
            return;
        };
        let deferred = queue.deferred.remove(i);
        queue.ready.push_back(deferred.child);
        drop(queue);
        self.sk.base.queue.notify(PollEvents::READABLE);
    }

    /// accept(2): EAGAIN while there is nothing, EINVAL once it doesn't listen any more.
    pub fn accept(self: &Arc<Self>) -> Result<Child> {
        let child = {
            let mut queue = self.queue.lock();
            if !queue.open {
                return Err(Errno::EINVAL);
            }
            queue.ripen(now());
            queue.ready.pop_front().ok_or(Errno::EAGAIN)?
        };
        self.refill();
        Ok(child)
    }

    /// Lets those in that wait, as far as there is room.
    fn refill(self: &Arc<Self>) {
        let mut woken = Vec::new();
        let mut ready = false;
        {
            let mut queue = self.queue.lock();
            while !queue.full()
                && let Some(handshake) = queue.waiting.pop_front()
            {
                ready |= self.establish(&mut queue, &handshake);
                woken.push(handshake);
            }
        }
        woken.iter().for_each(|h| h.wake());
        if ready {
            self.sk.base.queue.notify(PollEvents::READABLE);
        }
    }

    /// poll(2).
    pub fn poll(&self) -> PollEvents {
        let mut queue = self.queue.lock();
        queue.ripen(now());
        if queue.ready.is_empty() {
            PollEvents::empty()
        } else {
            PollEvents::READABLE
        }
    }

    /// It listens no longer: connections that nobody accepted are reset, those that wait try elsewhere.
    pub fn close(self: &Arc<Self>) {
        self.sk.stack.listeners.remove(self);
        let (children, waiting) = {
            let mut queue = self.queue.lock();
            queue.open = false;
            let mut children: Vec<Child> = queue.ready.drain(..).collect();
            children.extend(queue.deferred.drain(..).map(|d| d.child));
            (children, std::mem::take(&mut queue.waiting))
        };
        for child in children {
            child.conn.abort(1, true);
        }
        for handshake in waiting {
            if handshake.is_waiting() {
                dispatch(&self.sk.stack, &handshake);
            }
        }
        self.sk.base.queue.notify(CHANGE);
    }
}

struct Patience(Weak<Listener>);

impl TimerTarget for Patience {
    fn expired(&self, _: TimerId) {
        if let Some(listener) = self.0.upgrade()
            && listener.queue.lock().ripen(now())
        {
            listener.sk.base.queue.notify(PollEvents::READABLE);
        }
    }
}

/// Listeners by port.
#[derive(Default)]
pub struct Listeners(RwLock<HashMap<u16, Vec<Arc<Listener>>>>);

impl Listeners {
    /// Adds one.
    pub fn add(&self, listener: Arc<Listener>) {
        self.0
            .write()
            .entry(listener.local.port())
            .or_default()
            .push(listener);
    }

    fn remove(&self, listener: &Arc<Listener>) {
        let mut map = self.0.write();
        if let Some(list) = map.get_mut(&listener.local.port()) {
            list.retain(|l| !Arc::ptr_eq(l, listener));
            if list.is_empty() {
                map.remove(&listener.local.port());
            }
        }
    }

    /// The listener for a connection from `tuple.local` to `tuple.remote`: one bound to the very address before one bound
    /// to a wildcard, an AF_INET one before an AF_INET6 one; in an SO_REUSEPORT group the addresses decide.
    pub fn find(&self, tuple: Tuple) -> Option<Arc<Listener>> {
        let map = self.0.read();
        let list = map.get(&tuple.remote.port())?;
        let best = list
            .iter()
            .map(|l| score(l, tuple.remote.ip()))
            .max()
            .filter(|&s| s > 0)?;
        let group: Vec<_> = list
            .iter()
            .filter(|l| score(l, tuple.remote.ip()) == best)
            .collect();
        let stack = &group.first()?.sk.stack;
        group
            .get(stack.spread(&tuple, group.len()))
            .map(|l| Arc::clone(l))
    }

    /// Takes a handshake that was given up out of all queues.
    pub fn forget(&self, handshake: &Arc<Handshake>) {
        let list = self
            .0
            .read()
            .get(&handshake.tuple.remote.port())
            .cloned()
            .unwrap_or_default();
        for listener in list {
            listener
                .queue
                .lock()
                .waiting
                .retain(|h| !Arc::ptr_eq(h, handshake));
        }
    }

    /// All of them, for /proc/net/tcp.
    pub fn all(&self) -> Vec<Arc<Listener>> {
        self.0.read().values().flatten().cloned().collect()
    }
}

/// How well a listener fits a destination; 0: not at all.
fn score(listener: &Listener, dst: IpAddr) -> u32 {
    let fits = match (listener.local.ip(), dst) {
        (own, dst) if own == dst => 4,
        (IpAddr::V4(own), IpAddr::V4(_)) if own.is_unspecified() => 2,
        (IpAddr::V6(own), IpAddr::V6(_)) if own.is_unspecified() => 2,
        (IpAddr::V6(own), IpAddr::V4(_))
            if own.is_unspecified() && !listener.sk.ip.has(IpFlags::V6ONLY) =>
        {
            2
        }
        _ => return 0,
    };
    fits + u32::from(listener.sk.family == Family::V4)
}
