//! Connections by their two addresses: what makes a pair unique, and what TIME_WAIT leaves.

use super::conn::Conn;
use super::handshake::Handshake;
use crate::net::inet::addr::Family;
use crate::net::inet::ports::TIME_WAIT_NS;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

/// TIME_WAIT entries at most (net.ipv4.tcp_max_tw_buckets).
const TIME_WAIT_MAX: usize = 16384;
/// From this age on a TIME_WAIT entry gives way to a new connection (net.ipv4.tcp_tw_reuse = 2: on loopback).
const REUSE_AGE_NS: u64 = 1_000_000_000;

/// One end's view of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Its own address.
    pub local: SocketAddr,
    /// The other's.
    pub remote: SocketAddr,
}

impl Tuple {
    /// The other end's view.
    pub fn reverse(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
        }
    }
}

/// What has a pair of addresses.
#[derive(Clone)]
pub enum Entry {
    /// A connect(2) that goes on.
    Opening(Weak<Handshake>),
    /// An end of a connection; for an orphan, until when at most.
    Open(Weak<Conn>, usize, Option<u64>),
    /// TIME_WAIT until then, of a socket of this family.
    TimeWait(u64, Family),
}

#[derive(Default)]
struct Table {
    map: HashMap<Tuple, Entry>,
    /// What expires, soonest first.
    expiring: VecDeque<(u64, Tuple)>,
}

/// The connections of a stack. The lock is a leaf.
#[derive(Default)]
pub struct Conns(Mutex<Table>);

impl Table {
    fn purge(&mut self, now: u64) {
        while let Some(&(at, tuple)) = self.expiring.front()
            && at <= now
        {
            self.expiring.pop_front();
            // The pair may have had another use since.
            if let Some(Entry::TimeWait(until, _) | Entry::Open(_, _, Some(until))) =
                self.map.get(&tuple)
                && *until == at
            {
                self.map.remove(&tuple);
            }
        }
    }
}

impl Table {
    /// The pair is still that connection's: an orphan's may have gone to another.
    fn is_of(&self, tuple: Tuple, conn: &Conn) -> bool {
        matches!(self.map.get(&tuple), Some(Entry::Open(c, ..)) if std::ptr::eq(c.as_ptr(), conn))
    }
}

impl Conns {
    /// Whether a new connection may have the pair. `bound`: bind(2) has chosen the port, which
    /// makes any TIME_WAIT give way.
    pub fn is_free(&self, tuple: Tuple, bound: bool, now: u64) -> bool {
        let mut t = self.0.lock();
        t.purge(now);
        match t.map.get(&tuple) {
            None => true,
            Some(Entry::TimeWait(until, _)) => bound || now + TIME_WAIT_NS >= until + REUSE_AGE_NS,
            Some(_) => false,
        }
    }

    /// Takes the pair for a connect(2); false when somebody has it.
    pub fn reserve(&self, handshake: &Arc<Handshake>, bound: bool, now: u64) -> bool {
        let tuple = handshake.tuple;
        if !self.is_free(tuple, bound, now) {
            return false;
        }
        let mut t = self.0.lock();
        if matches!(t.map.get(&tuple), Some(Entry::Opening(_) | Entry::Open(..))) {
            return false;
        }
        t.map
            .insert(tuple, Entry::Opening(Arc::downgrade(handshake)));
        true
    }

    /// An end is connected.
    pub fn opened(&self, tuple: Tuple, conn: &Arc<Conn>, side: usize) {
        self.0
            .lock()
            .map
            .insert(tuple, Entry::Open(Arc::downgrade(conn), side, None));
    }

    /// A connect(2) has ended without a connection: its pair is free.
    pub fn given_up(&self, handshake: &Handshake) {
        let mut t = self.0.lock();
        let held = t.map.get(&handshake.tuple);
        if matches!(held, Some(Entry::Opening(h)) if std::ptr::eq(h.as_ptr(), handshake)) {
            t.map.remove(&handshake.tuple);
        }
    }

    /// An end of a connection has reached CLOSE: its pair is free.
    pub fn closed(&self, tuple: Tuple, conn: &Conn) {
        let mut t = self.0.lock();
        if t.is_of(tuple, conn) {
            t.map.remove(&tuple);
        }
    }

    /// The pair of an end that has reached TIME_WAIT is kept until `until`. False when there are too many such: it is
    /// free.
    pub fn time_wait(&self, tuple: Tuple, conn: &Conn, family: Family, until: u64) -> bool {
        let mut t = self.0.lock();
        if !t.is_of(tuple, conn) {
            // An orphan that came to its end after its time.
            return false;
        }
        if t.expiring.len() >= TIME_WAIT_MAX {
            t.map.remove(&tuple);
            return false;
        }
        t.map.insert(tuple, Entry::TimeWait(until, family));
        t.expiring.push_back((until, tuple));
        true
    }

    /// An orphan's pair is free from `until` on.
    pub fn expire(&self, tuple: Tuple, conn: &Conn, until: u64) {
        let mut t = self.0.lock();
        if !t.is_of(tuple, conn) {
            return;
        }
        if let Some(Entry::Open(_, _, at)) = t.map.get_mut(&tuple) {
            *at = Some(until);
            if t.expiring.len() < 4 * TIME_WAIT_MAX {
                t.expiring.push_back((until, tuple));
            }
        }
    }

    /// The connect(2) that waits for the pair's other side, if any.
    pub fn opening(&self, tuple: Tuple) -> Option<Arc<Handshake>> {
        match self.0.lock().map.get(&tuple) {
            Some(Entry::Opening(h)) => h.upgrade(),
            _ => None,
        }
    }

    /// All entries, for /proc/net/tcp.
    pub fn all(&self, now: u64) -> Vec<(Tuple, Entry)> {
        let mut t = self.0.lock();
        t.purge(now);
        t.map.iter().map(|(k, v)| (*k, v.clone())).collect()
    }
}
