//! Counters that /proc/net/snmp and /proc/net/dev show.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something that is counted.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters, named as in /proc/net/snmp.
#[derive(Debug, Default)]
pub struct Stats {
    pub tcp_active_opens: Count,
    pub tcp_passive_opens: Count,
    pub tcp_attempt_fails: Count,
    pub tcp_estab_resets: Count,
    pub tcp_curr_estab: Count,
    pub tcp_segs: Count,
    pub tcp_out_rsts: Count,
    pub udp_in: Count,
    pub udp_out: Count,
    pub udp_no_ports: Count,
    pub udp_rcvbuf_errors: Count,
    /// Packets over the loopback interface.
    pub lo_packets: Count,
    /// Bytes over the loopback interface.
    pub lo_bytes: Count,
}
