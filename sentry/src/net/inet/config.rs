//! What /proc/sys/net holds: written by procfs, read everywhere. Each value stands alone (Relaxed).

use std::sync::atomic::{AtomicU32, Ordering};

/// One number of /proc/sys/net.
#[derive(Debug)]
pub struct Tunable(AtomicU32);

impl Tunable {
    const fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    /// The value.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it. The caller has checked the range.
    pub fn set(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// The values.
#[derive(Debug)]
pub struct Config {
    /// net.ipv4.ip_local_port_range: first.
    pub port_low: Tunable,
    /// net.ipv4.ip_local_port_range: last.
    pub port_high: Tunable,
    /// net.ipv4.ip_unprivileged_port_start.
    pub unprivileged_port_start: Tunable,
    /// net.ipv4.ip_default_ttl.
    pub default_ttl: Tunable,
    /// net.ipv4.tcp_syn_retries.
    pub syn_retries: Tunable,
    /// net.ipv4.tcp_keepalive_time, seconds.
    pub keepalive_time: Tunable,
    /// net.ipv4.tcp_keepalive_intvl, seconds.
    pub keepalive_interval: Tunable,
    /// net.ipv4.tcp_keepalive_probes.
    pub keepalive_probes: Tunable,
    /// net.ipv4.tcp_fin_timeout, seconds.
    pub fin_timeout: Tunable,
    /// net.ipv4.tcp_fastopen: 1, as client.
    pub fastopen: Tunable,
    /// net.ipv6.bindv6only.
    pub bindv6only: Tunable,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port_low: Tunable::new(32768),
            port_high: Tunable::new(60999),
            unprivileged_port_start: Tunable::new(1024),
            default_ttl: Tunable::new(64),
            syn_retries: Tunable::new(6),
            keepalive_time: Tunable::new(7200),
            keepalive_interval: Tunable::new(75),
            keepalive_probes: Tunable::new(9),
            fin_timeout: Tunable::new(60),
            fastopen: Tunable::new(1),
            bindv6only: Tunable::new(0),
        }
    }
}

impl Config {
    /// net.ipv4.ip_local_port_range.
    pub fn port_range(&self) -> (u16, u16) {
        let clamp = |v: u32| u16::try_from(v).unwrap_or(u16::MAX).max(1);
        (clamp(self.port_low.get()), clamp(self.port_high.get()))
    }
}
