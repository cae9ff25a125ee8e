//! Which socket a datagram is for.

use super::recv::Core;
use crate::net::inet::addr::Family;
use crate::net::inet::ip::IpFlags;
use crate::net::inet::stack::Stack;
use crate::net::options::Flags;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A socket with a port, as datagrams find it.
#[derive(Clone)]
pub struct Receiver {
    /// The socket.
    pub core: Arc<Core>,
    /// What it is bound to.
    pub local: SocketAddr,
    /// What it is connected to.
    pub remote: Option<SocketAddr>,
}

/// UDP sockets by port. The lock is a leaf.
#[derive(Default)]
pub struct Receivers(RwLock<HashMap<u16, Vec<Receiver>>>);

impl Receivers {
    /// Adds a socket, or changes what it is bound or connected to; its port stays.
    pub fn set(&self, receiver: Receiver) {
        let mut map = self.0.write();
        let list = map.entry(receiver.local.port()).or_default();
        match list
            .iter_mut()
            .find(|r| Arc::ptr_eq(&r.core, &receiver.core))
        {
            Some(old) => *old = receiver,
            None => list.push(receiver),
        }
    }

    /// Takes a socket out.
    pub fn remove(&self, port: u16, core: &Arc<Core>) {
        let mut map = self.0.write();
        if let Some(list) = map.get_mut(&port) {
            list.retain(|r| !Arc::ptr_eq(&r.core, core));
            if list.is_empty() {
                map.remove(&port);
            }
        }
    }

    /// The one socket for a datagram (udp4_lib_lookup): one bound to the very address before one bound to a wildcard, then
    /// one connected to the sender, then AF_INET before AF_INET6, then the newest; in an SO_REUSEPORT group the addresses decide.
    pub fn find(&self, stack: &Stack, src: SocketAddr, dst: SocketAddr) -> Option<Arc<Core>> {
        let map = self.0.read();
        let list = map.get(&dst.port())?;
        let best = list
            .iter()
            .map(|r| score(r, src, dst.ip()))
            .max()
            .filter(|&s| s > 0)?;
        let mut found = list.iter().filter(|r| score(r, src, dst.ip()) == best);
        let newest = found.clone().next_back()?;
        if !newest.core.sk.base.has(Flags::REUSEPORT) || newest.remote.is_some() {
            return Some(Arc::clone(&newest.core));
        }
        let n = found.clone().count();
        found
            .nth(stack.spread(&(src, dst), n))
            .map(|r| Arc::clone(&r.core))
    }

    /// All sockets that get a copy of a broadcast or multicast datagram.
    pub fn find_all(&self, src: SocketAddr, dst: SocketAddr) -> Vec<Arc<Core>> {
        let map = self.0.read();
        let list = map.get(&dst.port()).map_or(&[][..], Vec::as_slice);
        list.iter()
            .filter(|r| score(r, src, dst.ip()) > 0)
            .map(|r| Arc::clone(&r.core))
            .collect()
    }

    /// All of them, for /proc/net/udp.
    pub fn all(&self) -> Vec<Receiver> {
        self.0.read().values().flatten().cloned().collect()
    }
}

/// How well a socket fits; 0: not at all.
fn score(r: &Receiver, src: SocketAddr, dst: IpAddr) -> u32 {
    let fits = match (r.local.ip(), dst) {
        (own, dst) if own == dst => 8,
        (IpAddr::V4(own), IpAddr::V4(_)) if own.is_unspecified() => 1,
        (IpAddr::V6(own), IpAddr::V6(_)) if own.is_unspecified() => 1,
        (IpAddr::V6(own), IpAddr::V4(_))
            if own.is_unspecified() && !r.core.sk.ip.has(IpFlags::V6ONLY) =>
        {
            1
        }
        _ => return 0,
    };
    let peer = match r.remote {
        // Connected to port 0 is connected to any.
        Some(remote)
            if remote.ip() != src.ip() || (remote.port() != 0 && remote.port() != src.port()) =>
        {
            return 0;
        }
        Some(_) => 4,
        None => 0,
    };
    fits + peer + if r.core.sk.family == Family::V4 { 2 } else { 0 }
}
