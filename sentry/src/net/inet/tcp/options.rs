//! Options at IPPROTO_TCP (tcp(7)), and `struct tcp_info`.
//!
//! Most tune how segments are made, sent again or probed for. Nothing is lost or late between two ends in one kernel, so they are
//! kept and reported, and do nothing; those that an application can tell the effect of have it.

use super::state::TcpState;
use crate::net::inet::ip::Rights;
use crate::net::inet::stack::Stack;
use crate::net::options::OptionValue;
use arch::abi::TcpInfo;
use arch::{Errno, Result};
use std::sync::atomic::{AtomicI32, Ordering};

const TCP_THIN_LINEAR_TIMEOUTS: i32 = 16;
const TCP_THIN_DUPACK: i32 = 17;
const TCP_REPAIR: i32 = 19;
const TCP_TIMESTAMP: i32 = 24;
const TCP_NOTSENT_LOWAT: i32 = 25;
const TCP_CC_INFO: i32 = 26;
const TCP_SAVE_SYN: i32 = 27;
const TCP_SAVED_SYN: i32 = 28;
const TCP_FASTOPEN_CONNECT: i32 = 30;
const TCP_ULP: i32 = 31;
const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
const TCP_ZEROCOPY_RECEIVE: i32 = 35;
const TCP_INQ: i32 = 36;
const TCP_TX_DELAY: i32 = 37;

/// Segment size between two ends on the loopback interface, as Linux finds it.
pub const LOOPBACK_MSS: u32 = 32768;
/// Before there is a connection (TCP_MSS_DEFAULT).
const DEFAULT_MSS: i32 = 536;
/// The only congestion control.
const CUBIC: &[u8] = b"cubic";
/// Also taken, as an unprivileged program may choose it on Linux.
const RENO: &[u8] = b"reno";

macro_rules! options {
    ($($field:ident = $default:expr;)*) => {
        /// A socket's TCP options. Each stands alone: setsockopt(2) writes, anybody reads (Relaxed).
        #[derive(Debug)]
        pub struct TcpOptions {
            $($field: AtomicI32,)*
        }

        impl Default for TcpOptions {
            fn default() -> Self {
                Self { $($field: AtomicI32::new($default),)* }
            }
        }

        impl TcpOptions {
            /// A copy for an accepted connection.
            #[must_use]
            pub fn inherit(&self) -> Self {
                Self { $($field: AtomicI32::new(self.$field.load(Ordering::Relaxed)),)* }
            }
        }
    };
}

options! {
    nodelay = 0;
    cork = 0;
    max_segment = 0;
    keep_idle = 0;
    keep_interval = 0;
    keep_count = 0;
    syn_count = 0;
    linger2 = 0;
    // Retransmissions, which is how the kernel keeps TCP_DEFER_ACCEPT.
    defer_accept = 0;
    window_clamp = 0;
    quick_ack = 1;
    user_timeout = 0;
    thin_linear = 0;
    thin_dupack = 0;
    notsent_lowat = 0;
    save_syn = 0;
    fastopen = 0;
    fastopen_connect = 0;
    fastopen_no_cookie = 0;
    inq = 0;
    reno = 0;
}

impl TcpOptions {
    /// TCP_INQ: a receive says how much is left.
    pub fn wants_inq(&self) -> bool {
        self.inq.load(Ordering::Relaxed) != 0
    }

    /// TCP_DEFER_ACCEPT in seconds, rounded up as the kernel rounds; 0: off.
    pub fn defer_accept_secs(&self) -> u32 {
        retrans_to_secs(self.defer_accept.load(Ordering::Relaxed))
    }

    /// Nanoseconds that a connect(2) waits for an answer: the first time-out of 1 s, doubled for each retry.
    pub fn connect_patience(&self, stack: &Stack) -> u64 {
        let user = self.user_timeout.load(Ordering::Relaxed);
        let retries = match self.syn_count.load(Ordering::Relaxed) {
            0 => stack.config.syn_retries.get(),
            n => n.cast_unsigned(),
        };
        let secs: u64 = (0..=retries.min(127))
            .map(|i| (1u64 << i.min(7)).min(120))
            .sum();
        let all = secs * 1_000_000_000;
        if user > 0 {
            all.min(u64::from(user.cast_unsigned()) * 1_000_000)
        } else {
            all
        }
    }

    /// setsockopt(2). `state`: the socket's.
    pub fn set(&self, who: Rights, state: TcpState, name: i32, value: &[u8]) -> Result<()> {
        match name {
            libc::TCP_CONGESTION => {
                if value.is_empty() {
                    return Err(Errno::EINVAL);
                }
                let name = value.split(|&b| b == 0).next().unwrap_or_default();
                let name = &name[..name.len().min(15)];
                if name != CUBIC && name != RENO {
                    return Err(Errno::ENOENT);
                }
                self.reno.store(i32::from(name == RENO), Ordering::Relaxed);
                return Ok(());
            }
            // No upper layer protocols (TLS) here.
            TCP_ULP => {
                return Err(if value.is_empty() {
                    Errno::EINVAL
                } else {
                    Errno::ENOENT
                });
            }
            libc::TCP_FASTOPEN_KEY | libc::TCP_MD5SIG => return Err(Errno::ENOPROTOOPT),
            _ => {}
        }
        let [a, b, c, d, ..] = *value else {
            return Err(Errno::EINVAL);
        };
        let v = i32::from_ne_bytes([a, b, c, d]);
        let put = |to: &AtomicI32, v| {
            to.store(v, Ordering::Relaxed);
            Ok(())
        };
        let within = |low, high| {
            if (low..=high).contains(&v) {
                Ok(v)
            } else {
                Err(Errno::EINVAL)
            }
        };
        let unopened = matches!(state, TcpState::Close | TcpState::Listen);
        let on = i32::from(v != 0);
        match name {
            libc::TCP_NODELAY => put(&self.nodelay, on),
            libc::TCP_CORK => put(&self.cork, on),
            libc::TCP_MAXSEG => put(
                &self.max_segment,
                if v == 0 { 0 } else { within(88, 32767)? },
            ),
            libc::TCP_KEEPIDLE => put(&self.keep_idle, within(1, 32767)?),
            libc::TCP_KEEPINTVL => put(&self.keep_interval, within(1, 32767)?),
            libc::TCP_KEEPCNT => put(&self.keep_count, within(1, 127)?),
            libc::TCP_SYNCNT => put(&self.syn_count, within(1, 127)?),
            libc::TCP_LINGER2 => put(&self.linger2, if v < 0 { -1 } else { v.min(120) }),
            libc::TCP_DEFER_ACCEPT => put(&self.defer_accept, secs_to_retrans(v)),
            libc::TCP_WINDOW_CLAMP => {
                if v == 0 && state != TcpState::Close {
                    return Err(Errno::EINVAL);
                }
                put(&self.window_clamp, if v == 0 { 0 } else { v.max(1152) })
            }
            libc::TCP_QUICKACK => put(&self.quick_ack, on),
            libc::TCP_USER_TIMEOUT => put(&self.user_timeout, within(0, i32::MAX)?),
            TCP_THIN_LINEAR_TIMEOUTS => put(&self.thin_linear, within(0, 1)?),
            TCP_THIN_DUPACK => within(0, 1).map(|_| ()),
            TCP_NOTSENT_LOWAT => put(&self.notsent_lowat, v),
            TCP_SAVE_SYN => put(&self.save_syn, within(0, 2)?),
            libc::TCP_FASTOPEN if unopened => put(&self.fastopen, within(0, i32::MAX)?),
            libc::TCP_FASTOPEN => Err(Errno::EINVAL),
            TCP_FASTOPEN_CONNECT => {
                let v = within(0, 1)?;
                if state != TcpState::Close {
                    return Err(Errno::EINVAL);
                }
                put(&self.fastopen_connect, v)
            }
            TCP_FASTOPEN_NO_COOKIE if unopened => put(&self.fastopen_no_cookie, within(0, 1)?),
            TCP_FASTOPEN_NO_COOKIE => Err(Errno::EINVAL),
            TCP_INQ => put(&self.inq, within(0, 1)?),
            TCP_REPAIR if !who.admin => Err(Errno::EPERM),
            TCP_TIMESTAMP => Err(Errno::EPERM),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// getsockopt(2), but for TCP_INFO.
    pub fn get(&self, stack: &Stack, state: TcpState, name: i32) -> Result<OptionValue> {
        let load = |from: &AtomicI32| from.load(Ordering::Relaxed);
        let or = |from: &AtomicI32, default: u32| match load(from) {
            0 => default.cast_signed(),
            v => v,
        };
        let config = &stack.config;
        let v = match name {
            libc::TCP_NODELAY => load(&self.nodelay),
            libc::TCP_CORK => load(&self.cork),
            libc::TCP_MAXSEG => match (state, load(&self.max_segment)) {
                (TcpState::Close | TcpState::Listen | TcpState::SynSent, 0) => DEFAULT_MSS,
                (_, 0) => LOOPBACK_MSS.cast_signed(),
                (_, v) => v,
            },
            libc::TCP_KEEPIDLE => or(&self.keep_idle, config.keepalive_time.get()),
            libc::TCP_KEEPINTVL => or(&self.keep_interval, config.keepalive_interval.get()),
            libc::TCP_KEEPCNT => or(&self.keep_count, config.keepalive_probes.get()),
            libc::TCP_SYNCNT => or(&self.syn_count, config.syn_retries.get()),
            libc::TCP_LINGER2 => match load(&self.linger2) {
                -1 => -1,
                0 => config.fin_timeout.get().cast_signed(),
                v => v,
            },
            libc::TCP_DEFER_ACCEPT => self.defer_accept_secs().cast_signed(),
            libc::TCP_WINDOW_CLAMP => load(&self.window_clamp),
            libc::TCP_QUICKACK => load(&self.quick_ack),
            libc::TCP_USER_TIMEOUT => load(&self.user_timeout),
            TCP_THIN_LINEAR_TIMEOUTS => load(&self.thin_linear),
            TCP_THIN_DUPACK => load(&self.thin_dupack),
            TCP_NOTSENT_LOWAT => load(&self.notsent_lowat),
            TCP_SAVE_SYN => load(&self.save_syn),
            TCP_SAVED_SYN | TCP_CC_INFO | TCP_ULP => return Ok(OptionValue::new()),
            libc::TCP_FASTOPEN => load(&self.fastopen),
            TCP_FASTOPEN_CONNECT => load(&self.fastopen_connect),
            TCP_FASTOPEN_NO_COOKIE => load(&self.fastopen_no_cookie),
            TCP_INQ => load(&self.inq),
            TCP_REPAIR | TCP_TX_DELAY => 0,
            TCP_TIMESTAMP => (super::super::stack::now() / 1_000_000) as i32,
            libc::TCP_CONGESTION => {
                let mut name = [0; 16];
                let text = if load(&self.reno) != 0 { RENO } else { CUBIC };
                name[..text.len()].copy_from_slice(text);
                return Ok(OptionValue::from_slice(&name));
            }
            TCP_ZEROCOPY_RECEIVE => return Err(Errno::EINVAL),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(OptionValue::from_slice(&v.to_ne_bytes()))
    }
}

/// The kernel's secs_to_retrans(): how many time-outs of 1, 2, 4, … at most 120 seconds fill a time.
fn secs_to_retrans(seconds: i32) -> i32 {
    let (mut retrans, mut timeout, mut period) = (0, 1, 1);
    if seconds > 0 {
        retrans = 1;
        while seconds > period && retrans < 255 {
            retrans += 1;
            timeout = (timeout * 2).min(120);
            period += timeout;
        }
    }
    retrans
}

/// Its inverse, retrans_to_secs().
fn retrans_to_secs(retrans: i32) -> u32 {
    let (mut timeout, mut period) = (1u32, 0u32);
    for _ in 0..retrans {
        period += timeout;
        timeout = (timeout * 2).min(120);
    }
    period
}

/// TCP_INFO: what holds in every state.
pub fn info(state: TcpState) -> TcpInfo {
    TcpInfo {
        state: state as u8,
        rto: 1_000_000,
        snd_mss: DEFAULT_MSS as u32,
        rcv_mss: DEFAULT_MSS as u32,
        snd_ssthresh: 0x7fff_ffff,
        snd_cwnd: 10,
        reordering: 3,
        pacing_rate: u64::MAX,
        max_pacing_rate: u64::MAX,
        min_rtt: u32::MAX,
        ..TcpInfo::default()
    }
}

/// What a connection adds to it: bytes out, bytes in, segments out, segments in; unread room.
pub fn add_connection(
    info: &mut TcpInfo,
    (out, back, segs_out, segs_in): (u64, u64, u32, u32),
    window: u32,
) {
    // Time stamps, selective acknowledgements, window scale 7 both ways.
    info.options = 1 | 2 | 4;
    info.wscale = 0x77;
    info.rto = 201_000;
    info.ato = 40_000;
    info.snd_mss = LOOPBACK_MSS;
    info.pmtu = 65535;
    info.advmss = 65483;
    info.rtt = 30;
    info.rttvar = 15;
    info.min_rtt = 10;
    info.rcv_space = 65483;
    info.rcv_ssthresh = 65483;
    info.bytes_acked = out;
    info.bytes_sent = out;
    info.bytes_received = back;
    info.data_segs_out = segs_out;
    info.data_segs_in = segs_in;
    // Two of the handshake, and one acknowledgement for each.
    info.segs_out = segs_out.wrapping_add(segs_in).wrapping_add(2);
    info.segs_in = info.segs_out;
    info.delivered = segs_out.wrapping_add(1);
    info.snd_wnd = window;
    info.rcv_wnd = window;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(v: Result<OptionValue>) -> i32 {
        i32::from_ne_bytes(v.unwrap()[..4].try_into().unwrap())
    }

    #[test]
    fn defer_accept_is_rounded_like_the_kernel_does() {
        let o = TcpOptions::default();
        for (set, get) in [(0, 0), (1, 1), (2, 3), (3, 3), (5, 7), (30, 31), (60, 63)] {
            o.set(
                Rights::default(),
                TcpState::Close,
                libc::TCP_DEFER_ACCEPT,
                &i32::to_ne_bytes(set),
            )
            .unwrap();
            assert_eq!(o.defer_accept_secs(), get, "{set}");
        }
    }

    #[test]
    fn connect_waits_for_two_minutes() {
        let stack = Stack::default();
        let o = TcpOptions::default();
        assert_eq!(o.connect_patience(&stack), 127_000_000_000);
        o.set(
            Rights::default(),
            TcpState::Close,
            libc::TCP_SYNCNT,
            &1i32.to_ne_bytes(),
        )
        .unwrap();
        assert_eq!(o.connect_patience(&stack), 3_000_000_000);
    }

    #[test]
    fn values_are_checked_and_defaults_reported() {
        let stack = Stack::default();
        let o = TcpOptions::default();
        let (who, st) = (Rights::default(), TcpState::Close);
        assert_eq!(int(o.get(&stack, st, libc::TCP_KEEPIDLE)), 7200);
        assert_eq!(
            o.set(who, st, libc::TCP_KEEPIDLE, &0i32.to_ne_bytes()),
            Err(Errno::EINVAL)
        );
        assert_eq!(o.set(who, st, libc::TCP_NODELAY, &[1]), Err(Errno::EINVAL));
        o.set(who, st, libc::TCP_NODELAY, &5i32.to_ne_bytes())
            .unwrap();
        assert_eq!(int(o.get(&stack, st, libc::TCP_NODELAY)), 1);
        assert_eq!(
            o.set(who, st, libc::TCP_CONGESTION, b"bbr\0"),
            Err(Errno::ENOENT)
        );
        assert_eq!(
            &o.get(&stack, st, libc::TCP_CONGESTION).unwrap()[..6],
            b"cubic\0"
        );
        assert_eq!(o.set(who, st, TCP_ULP, b"tls"), Err(Errno::ENOENT));
        assert_eq!(int(o.get(&stack, TcpState::Close, libc::TCP_MAXSEG)), 536);
    }
}
