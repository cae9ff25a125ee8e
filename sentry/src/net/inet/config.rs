//! What /proc/sys/net holds: written by procfs, read everywhere. Each value stands alone (Relaxed).

use arch::{Errno, Result};
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
    /// net.core.somaxconn: greatest backlog of listen(2).
    pub somaxconn: Tunable,
    /// net.ipv4.ping_group_range: first and last group that may make ICMP sockets. There are none yet, so nobody asks.
    pub ping_low: Tunable,
    pub ping_high: Tunable,
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
            somaxconn: Tunable::new(4096),
            ping_low: Tunable::new(1),
            ping_high: Tunable::new(0),
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

/// A file below /proc/sys that shows and changes a value.
pub struct Sysctl {
    /// Path below /proc/sys.
    pub name: &'static str,
    read: fn(&Config) -> String,
    write: fn(&Config, &[u32]) -> Result<()>,
}

impl Sysctl {
    /// The file called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        SYSCTLS.iter().find(|s| s.name == name)
    }

    /// Its text, without a newline.
    pub fn read(&self, config: &Config) -> String {
        (self.read)(config)
    }

    /// Numbers in text; EINVAL for what is none or out of range.
    pub fn write(&self, config: &Config, text: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let numbers: Vec<u32> = text
            .split_ascii_whitespace()
            .map(|n| n.parse().map_err(|_| Errno::EINVAL))
            .collect::<Result<_>>()?;
        (self.write)(config, &numbers)
    }
}

fn one(to: &Tunable, given: &[u32], low: u32, high: u32) -> Result<()> {
    match *given {
        [v] if (low..=high).contains(&v) => {
            to.set(v);
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}

macro_rules! sysctls {
    ($($name:literal $field:ident $low:literal $high:literal;)*) => {
        /// Every such file.
        pub const SYSCTLS: &[Sysctl] = &[
            Sysctl {
                name: "net/ipv4/ip_local_port_range",
                read: |c| format!("{}\t{}", c.port_low.get(), c.port_high.get()),
                write: |c, given| match *given {
                    [low, high] if (1..=high).contains(&low) && high <= 65535 => {
                        c.port_low.set(low);
                        c.port_high.set(high);
                        Ok(())
                    }
                    _ => Err(Errno::EINVAL),
                },
            },
            Sysctl {
                name: "net/ipv4/ping_group_range",
                read: |c| format!("{}\t{}", c.ping_low.get(), c.ping_high.get()),
                write: |c, given| match *given {
                    // The kernel turns a range the wrong way round into the empty one.
                    [low, high] if high <= i32::MAX as u32 => {
                        let (low, high) = if low <= high { (low, high) } else { (1, 0) };
                        c.ping_low.set(low);
                        c.ping_high.set(high);
                        Ok(())
                    }
                    _ => Err(Errno::EINVAL),
                },
            },
            $(Sysctl {
                name: $name,
                read: |c| c.$field.get().to_string(),
                write: |c, given| one(&c.$field, given, $low, $high),
            }),*
        ];
    };
}

sysctls! {
    "net/core/somaxconn" somaxconn 0 2147483647;
    "net/ipv4/ip_default_ttl" default_ttl 1 255;
    "net/ipv4/ip_unprivileged_port_start" unprivileged_port_start 0 65535;
    "net/ipv4/tcp_fastopen" fastopen 0 1;
    "net/ipv4/tcp_fin_timeout" fin_timeout 1 2147483647;
    "net/ipv4/tcp_keepalive_intvl" keepalive_interval 1 2147483647;
    "net/ipv4/tcp_keepalive_probes" keepalive_probes 1 255;
    "net/ipv4/tcp_keepalive_time" keepalive_time 1 2147483647;
    "net/ipv4/tcp_syn_retries" syn_retries 1 127;
    "net/ipv6/bindv6only" bindv6only 0 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written() {
        let c = Config::default();
        let range = Sysctl::find("net/ipv4/ip_local_port_range").unwrap();
        assert_eq!(range.read(&c), "32768\t60999");
        range.write(&c, b"1024 2000\n").unwrap();
        assert_eq!(c.port_range(), (1024, 2000));
        assert_eq!(range.write(&c, b"2000 1024"), Err(Errno::EINVAL));
        let start = Sysctl::find("net/ipv4/ip_unprivileged_port_start").unwrap();
        start.write(&c, b"0\n").unwrap();
        assert_eq!(start.read(&c), "0");
        for bad in [&b"-1"[..], b"65536", b"", b"x", b"1 2"] {
            assert_eq!(start.write(&c, bad), Err(Errno::EINVAL));
        }
    }
}
