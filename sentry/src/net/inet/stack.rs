//! One network stack: the tables that all its sockets share.

use super::config::Config;
use super::ports::{PortTable, Rules};
use super::route::Interfaces;
use super::stats::Stats;
use super::tcp::{Conns, Listeners};
use super::udp::{Groups, Receivers};
use crate::executor::{TimerId, TimerTarget};
use crate::kernel::Kernel;
use parking_lot::Mutex;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Bytes queued in all TCP connections from which on each gets little room (net.ipv4.tcp_mem, pressure).
const MEMORY_PRESSURE: usize = 128 << 20;
/// Bytes queued in all TCP connections from which on each gets a page.
const MEMORY_HIGH: usize = 256 << 20;

/// The network of a sandbox.
pub struct Stack {
    /// /proc/sys/net.
    pub config: Config,
    /// Interfaces and routes.
    pub interfaces: Interfaces,
    /// TCP ports.
    pub tcp_ports: Arc<Mutex<PortTable>>,
    /// UDP ports.
    pub udp_ports: Arc<Mutex<PortTable>>,
    /// TCP sockets that listen.
    pub listeners: Listeners,
    /// TCP connections by their two addresses.
    pub conns: Conns,
    /// UDP sockets that have a port.
    pub receivers: Receivers,
    /// Multicast memberships of all sockets.
    pub groups: Groups,
    /// Port ids of netlink sockets.
    pub netlink: crate::net::netlink::PortIds,
    /// Counters for /proc/net/snmp.
    pub stats: Stats,
    /// Bytes queued in TCP connections.
    queued: AtomicUsize,
    hasher: RandomState,
    counter: AtomicU64,
    kernel: OnceLock<Weak<Kernel>>,
}

impl Default for Stack {
    fn default() -> Self {
        Self {
            config: Config::default(),
            interfaces: Interfaces::loopback(),
            tcp_ports: PortTable::new(Rules::Tcp),
            udp_ports: PortTable::new(Rules::Udp),
            listeners: Listeners::default(),
            conns: Conns::default(),
            receivers: Receivers::default(),
            groups: Groups::default(),
            netlink: Default::default(),
            stats: Stats::default(),
            queued: AtomicUsize::new(0),
            hasher: RandomState::new(),
            counter: AtomicU64::new(0),
            kernel: OnceLock::new(),
        }
    }
}

impl Stack {
    /// Gives the stack its kernel's timers. Without them (in tests) time-outs are noticed at the next operation only.
    pub fn attach(&self, kernel: &Arc<Kernel>) {
        self.kernel.get_or_init(|| Arc::downgrade(kernel));
    }

    /// Has `target` called at `deadline` (nanoseconds of CLOCK_MONOTONIC).
    pub fn alarm(&self, deadline: u64, target: Arc<dyn TimerTarget>) -> Option<TimerId> {
        let kernel = self.kernel.get()?.upgrade()?;
        Some(kernel.timers.add(deadline, target))
    }

    /// Takes an alarm back.
    pub fn cancel_alarm(&self, id: TimerId) {
        if let Some(kernel) = self.kernel.get().and_then(Weak::upgrade) {
            kernel.timers.cancel(id);
        }
    }

    /// A number that an application can't foresee.
    pub fn random(&self) -> u64 {
        self.hasher
            .hash_one(self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// Where in a group of `n` SO_REUSEPORT sockets what has this key goes.
    pub fn spread<K: std::hash::Hash>(&self, key: &K, n: usize) -> usize {
        usize::try_from(self.hasher.hash_one(key) % n.max(1) as u64).unwrap_or(0)
    }

    /// Room that the sending side of a connection may have, given what its own SO_SNDBUF says: less when all
    /// connections together hold much.
    pub fn allowance(&self, sndbuf: usize) -> usize {
        match self.queued.load(Ordering::Relaxed) {
            0..MEMORY_PRESSURE => sndbuf,
            MEMORY_PRESSURE..MEMORY_HIGH => sndbuf.min(64 << 10),
            _ => sndbuf.min(4 << 10),
        }
    }

    /// Counts bytes that a connection took on.
    pub fn charge(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that a connection gave up.
    pub fn uncharge(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes queued in all TCP connections.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn now() -> u64 {
    crate::host::event::monotonic_ns()
}
