//! Who has which port: bind(2), ephemeral ports, and what connections leave behind.
//!
//! One table for TCP and one for UDP. A [`Claim`] is what a socket has of a port; a [`Lease`] holds the claim until it
//! drops. A TCP claim outlives its socket for the time that TIME_WAIT lasts.

use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// How long TIME_WAIT and orphaned FIN_WAIT_2 last, in nanoseconds.
pub const TIME_WAIT_NS: u64 = 60_000_000_000;
/// TIME_WAIT entries at most (net.ipv4.tcp_max_tw_buckets); beyond, a connection ends without one.
const TIME_WAIT_MAX: usize = 16384;

/// Which protocol's rules decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// `inet_csk_bind_conflict`.
    Tcp,
    /// `udp_lib_lport_inuse`.
    Udp,
}

/// What a socket has of a port.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Canonical. The IPv6 wildcard is IPv4's too, unless `v6only`.
    pub addr: IpAddr,
    /// IPV6_V6ONLY.
    pub v6only: bool,
    /// SO_REUSEADDR.
    pub reuse: bool,
    /// SO_REUSEPORT.
    pub reuseport: bool,
    /// It listens (TCP).
    pub listening: bool,
    /// Whose socket it is.
    pub uid: u32,
    /// SO_BINDTODEVICE; 0: none.
    pub device: u32,
    /// connect(2) chose the port, not bind(2): other connections may share it.
    pub auto: bool,
    /// The socket is gone; the claim ends at this time (nanoseconds of CLOCK_MONOTONIC).
    pub expires: Option<u64>,
}

impl Claim {
    /// Whether both would get packets for a common address (`ipv6_rcv_saddr_equal`, wildcards matching).
    fn overlaps(&self, other: &Self) -> bool {
        match (self.addr, other.addr) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V6(a), IpAddr::V6(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V6(a), IpAddr::V4(_)) => a.is_unspecified() && !self.v6only,
            (IpAddr::V4(_), IpAddr::V6(b)) => b.is_unspecified() && !other.v6only,
        }
    }

    /// Whether `new` can't be there beside `self`. `search`: an ephemeral port is looked for, which is never shared.
    fn conflicts(&self, new: &Self, rules: Rules, search: bool) -> bool {
        if (self.device != 0 && new.device != 0 && self.device != new.device) || !self.overlaps(new)
        {
            return false;
        }
        let same_group =
            self.reuseport && new.reuseport && (self.expires.is_some() || self.uid == new.uid);
        match rules {
            _ if search => true,
            Rules::Tcp => !(new.reuse && self.reuse && !self.listening || same_group),
            Rules::Udp => !(new.reuse && self.reuse || same_group),
        }
    }
}

#[derive(Default)]
struct Bucket {
    claims: HashMap<u64, Claim>,
}

/// The claims of one protocol.
pub struct PortTable {
    rules: Rules,
    buckets: HashMap<u16, Bucket>,
    next_id: u64,
    /// Claims that expire, soonest first.
    expiring: VecDeque<(u64, u16, u64)>,
}

impl PortTable {
    /// Nobody has any port.
    pub fn new(rules: Rules) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            rules,
            buckets: HashMap::new(),
            next_id: 1,
            expiring: VecDeque::new(),
        }))
    }

    pub(super) fn purge(&mut self, now: u64) {
        while let Some(&(at, port, id)) = self.expiring.front()
            && at <= now
        {
            self.expiring.pop_front();
            self.remove(port, id);
        }
    }

    fn insert(&mut self, port: u16, claim: Claim) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.buckets
            .entry(port)
            .or_default()
            .claims
            .insert(id, claim);
        id
    }

    fn remove(&mut self, port: u16, id: u64) {
        if let Some(bucket) = self.buckets.get_mut(&port) {
            bucket.claims.remove(&id);
            if bucket.claims.is_empty() {
                self.buckets.remove(&port);
            }
        }
    }

    fn free_for(&self, port: u16, claim: &Claim, search: bool, besides: u64) -> bool {
        self.buckets.get(&port).is_none_or(|b| {
            b.claims
                .iter()
                .all(|(&id, held)| id == besides || !held.conflicts(claim, self.rules, search))
        })
    }

    /// Keeps a claim on `port` until `expires`, without a lease.
    pub fn linger(&mut self, port: u16, claim: Claim, expires: u64) {
        if self.expiring.len() < TIME_WAIT_MAX {
            let id = self.insert(
                port,
                Claim {
                    expires: Some(expires),
                    ..claim
                },
            );
            self.expiring.push_back((expires, port, id));
        }
    }

    /// Ports that have claims, for tests.
    #[cfg(test)]
    pub fn in_use(&self) -> usize {
        self.buckets.len()
    }
}

/// A claim that is held. Dropping it gives the port back.
pub struct Lease {
    table: Arc<Mutex<PortTable>>,
    /// The port.
    pub port: u16,
    id: u64,
}

impl Lease {
    /// Claims a certain port: EADDRINUSE.
    pub fn certain(
        table: &Arc<Mutex<PortTable>>,
        port: u16,
        claim: Claim,
        now: u64,
    ) -> Result<Self> {
        let mut t = table.lock();
        t.purge(now);
        if !t.free_for(port, &claim, false, 0) {
            return Err(Errno::EADDRINUSE);
        }
        let id = t.insert(port, claim);
        Ok(Self {
            table: Arc::clone(table),
            port,
            id,
        })
    }

    /// Claims some port of `low..=high` that nobody has (bind(2) to port 0): EADDRINUSE when there is none.
    pub fn ephemeral(
        table: &Arc<Mutex<PortTable>>,
        (low, high): (u16, u16),
        random: u64,
        claim: Claim,
        now: u64,
    ) -> Result<Self> {
        let mut t = table.lock();
        t.purge(now);
        // connect(2) prefers the parity of `low`, bind(2) the other.
        let port = candidates(low, high, random, 1)
            .find(|&p| t.free_for(p, &claim, true, 0))
            .ok_or(Errno::EADDRINUSE)?;
        let id = t.insert(port, claim);
        Ok(Self {
            table: Arc::clone(table),
            port,
            id,
        })
    }

    /// Claims a port for a connection (connect(2) of an unbound TCP socket): one that nobody has, or that only other
    /// connections have and for which `unique` holds. EADDRNOTAVAIL when there is none. `unique` is called with the table locked.
    pub fn connecting(
        table: &Arc<Mutex<PortTable>>,
        (low, high): (u16, u16),
        random: u64,
        claim: Claim,
        now: u64,
        mut unique: impl FnMut(u16) -> bool,
    ) -> Result<Self> {
        let mut t = table.lock();
        t.purge(now);
        let port = candidates(low, high, random, 0)
            .find(|&p| {
                t.buckets
                    .get(&p)
                    .is_none_or(|b| b.claims.values().all(|c| c.auto))
                    && unique(p)
            })
            .ok_or(Errno::EADDRNOTAVAIL)?;
        let id = t.insert(
            port,
            Claim {
                auto: true,
                ..claim
            },
        );
        Ok(Self {
            table: Arc::clone(table),
            port,
            id,
        })
    }

    /// A further claim on a port that the caller's listener has: an accepted connection's.
    pub fn shared(table: &Arc<Mutex<PortTable>>, port: u16, claim: Claim) -> Self {
        let id = table.lock().insert(port, claim);
        Self {
            table: Arc::clone(table),
            port,
            id,
        }
    }

    /// Changes the claim. With `check`, EADDRINUSE and no change if others don't allow it (listen(2), a changed address).
    pub fn change(&self, check: bool, change: impl FnOnce(&mut Claim)) -> Result<()> {
        let mut t = self.table.lock();
        let Some(mut claim) = t
            .buckets
            .get(&self.port)
            .and_then(|b| b.claims.get(&self.id))
            .cloned()
        else {
            return Ok(());
        };
        change(&mut claim);
        if check && !t.free_for(self.port, &claim, false, self.id) {
            return Err(Errno::EADDRINUSE);
        }
        if let Some(bucket) = t.buckets.get_mut(&self.port) {
            bucket.claims.insert(self.id, claim);
        }
        Ok(())
    }

    /// Leaves a copy of the claim behind until `expires`.
    pub fn linger(&self, expires: u64) {
        let mut t = self.table.lock();
        if let Some(claim) = t
            .buckets
            .get(&self.port)
            .and_then(|b| b.claims.get(&self.id))
            .cloned()
        {
            t.linger(self.port, claim, expires);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.table.lock().remove(self.port, self.id);
    }
}

/// The ports of a range in the order in which they are tried: those of one parity from a random place on, then the others.
fn candidates(low: u16, high: u16, random: u64, parity: u32) -> impl Iterator<Item = u16> {
    let (low, high) = (u32::from(low), u32::from(high.max(low)));
    let count = high - low + 1;
    let pairs = count.div_ceil(2);
    let start = u32::try_from(random % u64::from(pairs)).unwrap_or(0);
    (0..2 * pairs).filter_map(move |i| {
        let flip = if i < pairs { parity } else { 1 - parity };
        let port = low + 2 * ((start + i) % pairs) + flip;
        u16::try_from(port).ok().filter(|_| port <= high)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(addr: &str) -> Claim {
        Claim {
            addr: addr.parse().unwrap(),
            v6only: false,
            reuse: false,
            reuseport: false,
            listening: false,
            uid: 0,
            device: 0,
            auto: false,
            expires: None,
        }
    }

    fn both(rules: Rules, a: Claim, b: Claim) -> bool {
        let t = PortTable::new(rules);
        let _a = Lease::certain(&t, 80, a, 0).unwrap();
        Lease::certain(&t, 80, b, 0).is_ok()
    }

    #[test]
    fn wildcards_overlap_across_families_unless_v6only() {
        let tcp = |a: Claim, b: Claim| both(Rules::Tcp, a, b);
        assert!(!tcp(claim("0.0.0.0"), claim("127.0.0.1")));
        assert!(tcp(claim("127.0.0.2"), claim("127.0.0.1")));
        assert!(!tcp(claim("::"), claim("0.0.0.0")));
        assert!(!tcp(claim("127.0.0.1"), claim("::")));
        assert!(tcp(
            claim("127.0.0.1"),
            Claim {
                v6only: true,
                ..claim("::")
            }
        ));
        assert!(tcp(claim("0.0.0.0"), claim("::1")));
        assert!(!tcp(claim("::"), claim("::1")));
    }

    #[test]
    fn reuseaddr_needs_both_and_no_listener() {
        let r = || Claim {
            reuse: true,
            ..claim("127.0.0.1")
        };
        assert!(both(Rules::Tcp, r(), r()));
        assert!(!both(Rules::Tcp, claim("127.0.0.1"), r()));
        assert!(!both(
            Rules::Tcp,
            Claim {
                listening: true,
                ..r()
            },
            r()
        ));
        assert!(both(Rules::Udp, r(), r()));
    }

    #[test]
    fn reuseport_needs_the_same_user() {
        let r = |uid| Claim {
            reuseport: true,
            uid,
            listening: true,
            ..claim("::")
        };
        assert!(both(Rules::Tcp, r(1), r(1)));
        assert!(!both(Rules::Tcp, r(1), r(2)));
    }

    #[test]
    fn listen_checks_again() {
        let t = PortTable::new(Rules::Tcp);
        let r = || Claim {
            reuse: true,
            ..claim("127.0.0.1")
        };
        let a = Lease::certain(&t, 80, r(), 0).unwrap();
        let b = Lease::certain(&t, 80, r(), 0).unwrap();
        a.change(true, |c| c.listening = true).unwrap();
        assert_eq!(
            b.change(true, |c| c.listening = true),
            Err(Errno::EADDRINUSE)
        );
        drop(a);
        b.change(true, |c| c.listening = true).unwrap();
    }

    #[test]
    fn time_wait_expires() {
        let t = PortTable::new(Rules::Tcp);
        let a = Lease::certain(&t, 80, claim("127.0.0.1"), 0).unwrap();
        a.linger(100);
        drop(a);
        assert_eq!(
            Lease::certain(&t, 80, claim("0.0.0.0"), 99).err(),
            Some(Errno::EADDRINUSE)
        );
        assert!(Lease::certain(&t, 80, claim("0.0.0.0"), 100).is_ok());
        assert_eq!(t.lock().in_use(), 0);
    }

    #[test]
    fn candidates_cover_the_range_once_preferring_a_parity() {
        for (low, high) in [(32768, 60999), (10, 10), (10, 12), (9, 12), (65534, 65535)] {
            let mut all: Vec<u16> = candidates(low, high, 12345, 1).collect();
            assert!(all.len() < 2 || all[0] % 2 != low % 2);
            all.sort_unstable();
            assert!(all.iter().copied().eq(low..=high), "{low} {high}");
        }
    }

    #[test]
    fn connections_share_ports_that_bind_has_not() {
        let t = PortTable::new(Rules::Tcp);
        let c = || claim("127.0.0.1");
        let a = Lease::connecting(&t, (10, 11), 0, c(), 0, |_| true).unwrap();
        assert_eq!(a.port, 10);
        let b = Lease::connecting(&t, (10, 11), 0, c(), 0, |_| true).unwrap();
        assert_eq!(b.port, 10);
        let bound = Lease::certain(&t, 11, c(), 0).unwrap();
        assert_eq!(
            Lease::connecting(&t, (10, 11), 0, c(), 0, |p| p != 10).err(),
            Some(Errno::EADDRNOTAVAIL)
        );
        drop((a, b, bound));
        assert_eq!(t.lock().in_use(), 0);
    }

    #[test]
    fn ephemeral_ports_run_out() {
        let t = PortTable::new(Rules::Udp);
        let r = || Claim {
            reuse: true,
            ..claim("0.0.0.0")
        };
        let leases: Vec<_> = (0..4)
            .map(|i| Lease::ephemeral(&t, (10, 13), i, r(), 0).unwrap())
            .collect();
        assert_eq!(
            Lease::ephemeral(&t, (10, 13), 0, r(), 0).err(),
            Some(Errno::EADDRINUSE)
        );
        drop(leases);
        assert!(Lease::ephemeral(&t, (10, 13), 0, r(), 0).is_ok());
    }
}
