//! Datagrams that have come, and errors that have.

use super::multicast::Membership;
use crate::executor::PollEvents;
use crate::net::inet::addr::{Family, encode, octets16};
use crate::net::inet::ip::IpFlags;
use crate::net::inet::route::LO_INDEX;
use crate::net::inet::sk::{RCV_SHUTDOWN, SHUTDOWN_MASK, Sk};
use crate::net::options::{Flags, Timestamps};
use crate::net::{Control, MsgFlags, Received};
use crate::user::Sink;
use arch::{Errno, Result};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a datagram counts against SO_RCVBUF beyond its length (`skb->truesize`).
const OVERHEAD: usize = 768;
const SO_RXQ_OVFL: i32 = 40;

/// A datagram.
#[derive(Clone)]
pub struct Datagram {
    /// What is in it.
    pub data: Arc<Vec<u8>>,
    /// Sender.
    pub from: SocketAddr,
    /// Destination as it was sent.
    pub to: SocketAddr,
    /// IP_TTL or the hop limit.
    pub ttl: u8,
    /// IP_TOS or the traffic class.
    pub tos: u8,
    /// When it came, nanoseconds of CLOCK_REALTIME.
    pub time: u64,
    /// Datagrams that were lost before it.
    pub drops: u32,
}

/// An error that a datagram met (IP_RECVERR).
struct Failure {
    data: Arc<Vec<u8>>,
    /// Where it was to go.
    to: SocketAddr,
    errno: Errno,
}

#[derive(Default)]
struct Queue {
    datagrams: VecDeque<Datagram>,
    failures: VecDeque<Failure>,
    /// What both hold, with overhead.
    used: usize,
    drops: u32,
}

/// The part of a UDP socket that senders reach.
pub struct Core {
    /// What it has in common with TCP.
    pub sk: Sk,
    /// Groups it has joined. A leaf lock, but for that of all groups.
    pub memberships: Mutex<Vec<Membership>>,
    queue: Mutex<Queue>,
}

impl Core {
    /// With nothing queued.
    pub fn new(sk: Sk) -> Self {
        Self {
            sk,
            memberships: Mutex::default(),
            queue: Mutex::default(),
        }
    }

    /// Takes a datagram in; false when the buffer is full and it is lost.
    pub fn deliver(&self, datagram: Datagram) -> bool {
        let charge = datagram.data.len() + OVERHEAD;
        let mut queue = self.queue.lock();
        if queue.used > 0 && queue.used + charge > self.sk.base.rcvbuf() {
            queue.drops = queue.drops.wrapping_add(1);
            return false;
        }
        queue.used += charge;
        let drops = queue.drops;
        queue.datagrams.push_back(Datagram { drops, ..datagram });
        drop(queue);
        self.sk.base.queue.notify(PollEvents::READABLE);
        true
    }

    /// A datagram of this socket's met a port where nobody is (udp_err). `connected`: to that very port.
    pub fn refused(&self, data: &Arc<Vec<u8>>, to: SocketAddr, connected: bool) {
        let flag = if self.sk.family == Family::V4 {
            IpFlags::RECVERR
        } else {
            IpFlags::RECVERR6
        };
        if self.sk.ip.has(flag) {
            let charge = data.len() + OVERHEAD;
            let mut queue = self.queue.lock();
            if queue.used + charge < self.sk.base.rcvbuf() {
                queue.used += charge;
                queue.failures.push_back(Failure {
                    data: Arc::clone(data),
                    to,
                    errno: Errno::ECONNREFUSED,
                });
            }
        } else if !connected {
            return;
        }
        self.sk.base.set_error(Errno::ECONNREFUSED);
        self.sk.base.queue.notify(PollEvents::ERR);
    }

    /// Whether a multicast datagram is for this socket (ip_mc_sf_allow).
    pub fn wants(&self, m: Membership) -> bool {
        let all = if self.sk.family == Family::V4 {
            IpFlags::MC_ALL
        } else {
            IpFlags::MC_ALL6
        };
        self.memberships.lock().contains(&m) || self.sk.ip.has(all)
    }

    /// recvmsg(2).
    pub fn recv(&self, dst: &mut dyn Sink, flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::ERRQUEUE) {
            return self.recv_failure(dst);
        }
        self.sk.base.take_error()?;
        let datagram = {
            let mut queue = self.queue.lock();
            let front = if flags.contains(MsgFlags::PEEK) {
                queue.datagrams.front().cloned()
            } else {
                queue
                    .datagrams
                    .pop_front()
                    .inspect(|d| queue.used -= d.data.len() + OVERHEAD)
            };
            match front {
                Some(datagram) => datagram,
                // A reader that waits is let go; who doesn't wait sees no end (as in __skb_wait_for_more_packets).
                None if self.sk.shutdown() & RCV_SHUTDOWN != 0
                    && !flags.contains(MsgFlags::DONTWAIT) =>
                {
                    return Ok(Received {
                        boundary: true,
                        ..Received::default()
                    });
                }
                None => return Err(Errno::EAGAIN),
            }
        };
        let mut received = Received {
            from: encode(self.sk.family, datagram.from),
            control: self.control(&datagram),
            boundary: true,
            ..Received::default()
        };
        self.copy_out(&datagram.data, dst, flags, &mut received)?;
        Ok(received)
    }

    fn copy_out(
        &self,
        data: &[u8],
        dst: &mut dyn Sink,
        flags: MsgFlags,
        received: &mut Received,
    ) -> Result<()> {
        let room = dst.remaining();
        let part = &data[..data.len().min(room)];
        let mut done = 0;
        while done < part.len() {
            match dst.write(&part[done..])? {
                0 => return Err(Errno::EFAULT),
                n => done += n,
            }
        }
        received.len = done;
        if data.len() > room {
            received.flags |= MsgFlags::TRUNC;
            if flags.contains(MsgFlags::TRUNC) {
                received.len = data.len();
            }
        }
        Ok(())
    }

    /// Ancillary data of a datagram (ip_cmsg_recv, ip6_datagram_recv_ctl).
    fn control(&self, d: &Datagram) -> Vec<Control> {
        let mut out = Vec::new();
        let mut add = |level, kind, data: &[u8]| {
            out.push(Control::Raw {
                level,
                kind,
                data: SmallVec::from_slice(data),
            });
        };
        let base = &self.sk.base;
        let (secs, nanos) = (d.time / 1_000_000_000, d.time % 1_000_000_000);
        let pair = |a: u64, b: u64| bytemuck::cast::<[u64; 2], [u8; 16]>([a, b]);
        match base.timestamps() {
            Timestamps::Off => {}
            Timestamps::Micros => add(
                libc::SOL_SOCKET,
                libc::SCM_TIMESTAMP,
                &pair(secs, nanos / 1000),
            ),
            Timestamps::Nanos => add(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &pair(secs, nanos)),
        }
        if base.has(Flags::RXQ_OVFL) && d.drops > 0 {
            add(libc::SOL_SOCKET, SO_RXQ_OVFL, &d.drops.to_ne_bytes());
        }
        let has = |flag| self.sk.ip.has(flag);
        let ttl = i32::from(d.ttl).to_ne_bytes();
        if self.sk.family == Family::V6 {
            let mut info = [0; 20];
            info[..16].copy_from_slice(&octets16(d.to.ip()));
            info[16..].copy_from_slice(&LO_INDEX.to_ne_bytes());
            if has(IpFlags::PKTINFO6) {
                add(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            if has(IpFlags::PKTINFO6_2292) {
                add(libc::IPPROTO_IPV6, 2, &info);
            }
            if d.to.is_ipv6() {
                if has(IpFlags::HOPLIMIT6) {
                    add(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &ttl);
                }
                if has(IpFlags::HOPLIMIT6_2292) {
                    add(libc::IPPROTO_IPV6, 8, &ttl);
                }
                if has(IpFlags::TCLASS6) {
                    add(
                        libc::IPPROTO_IPV6,
                        libc::IPV6_TCLASS,
                        &i32::from(d.tos).to_ne_bytes(),
                    );
                }
                if has(IpFlags::ORIGDSTADDR6) {
                    add(libc::IPPROTO_IPV6, 74, encode(Family::V6, d.to).bytes());
                }
                return out;
            }
        }
        if let IpAddr::V4(to) = d.to.ip() {
            if has(IpFlags::PKTINFO) {
                let mut info = [0; 12];
                info[..4].copy_from_slice(&LO_INDEX.to_ne_bytes());
                // The address that an answer should come from, and the one in the header.
                let own = if to.is_loopback() && to.octets() != [127, 255, 255, 255] {
                    to
                } else {
                    std::net::Ipv4Addr::LOCALHOST
                };
                info[4..8].copy_from_slice(&own.octets());
                info[8..].copy_from_slice(&to.octets());
                add(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            if has(IpFlags::RECVTTL) {
                add(libc::IPPROTO_IP, libc::IP_TTL, &ttl);
            }
            if has(IpFlags::RECVTOS) {
                add(libc::IPPROTO_IP, libc::IP_TOS, &[d.tos]);
            }
            if has(IpFlags::ORIGDSTADDR) {
                add(
                    libc::IPPROTO_IP,
                    libc::IP_ORIGDSTADDR,
                    encode(Family::V4, d.to).bytes(),
                );
            }
        }
        out
    }

    /// recvmsg(2) with MSG_ERRQUEUE (ip_recv_error): the datagram that failed, where it was to go, and why.
    fn recv_failure(&self, dst: &mut dyn Sink) -> Result<Received> {
        let failure = {
            let mut queue = self.queue.lock();
            let failure = queue.failures.pop_front().ok_or(Errno::EAGAIN)?;
            queue.used -= failure.data.len() + OVERHEAD;
            let _ = self.sk.base.take_error();
            if let Some(next) = queue.failures.front() {
                self.sk.base.set_error(next.errno);
            }
            failure
        };
        let v4 = failure.to.is_ipv4();
        // struct sock_extended_err: ICMP port unreachable, from the host itself.
        let mut data = SmallVec::<[u8; 32]>::new();
        data.extend_from_slice(&failure.errno.raw().to_ne_bytes());
        data.extend_from_slice(if v4 { &[2, 3, 3, 0] } else { &[3, 1, 4, 0] });
        data.extend_from_slice(&[0; 8]);
        let offender = SocketAddr::new(failure.to.ip(), 0);
        let family = if v4 { Family::V4 } else { Family::V6 };
        data.extend_from_slice(encode(family, offender).bytes());
        let (level, kind) = if v4 {
            (libc::IPPROTO_IP, libc::IP_RECVERR)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        };
        let mut received = Received {
            flags: MsgFlags::ERRQUEUE,
            from: encode(self.sk.family, failure.to),
            control: vec![Control::Raw { level, kind, data }],
            boundary: true,
            ..Received::default()
        };
        self.copy_out(&failure.data, dst, MsgFlags::empty(), &mut received)?;
        Ok(received)
    }

    /// poll(2) (datagram_poll).
    pub fn poll(&self) -> PollEvents {
        let (data, failed) = {
            let queue = self.queue.lock();
            (!queue.datagrams.is_empty(), !queue.failures.is_empty())
        };
        let shutdown = self.sk.shutdown();
        let mut mask = PollEvents::WRITABLE | PollEvents::WRBAND;
        if data {
            mask |= PollEvents::READABLE;
        }
        if failed || self.sk.base.has_error() {
            mask |= PollEvents::ERR;
        }
        if shutdown & RCV_SHUTDOWN != 0 {
            mask |= PollEvents::READABLE | PollEvents::RDHUP;
        }
        if shutdown == SHUTDOWN_MASK {
            mask |= PollEvents::HUP;
        }
        mask
    }

    /// FIONREAD: the length of the first datagram.
    pub fn next_len(&self) -> usize {
        self.queue
            .lock()
            .datagrams
            .front()
            .map_or(0, |d| d.data.len())
    }

    /// Bytes queued with overhead, datagrams lost: for /proc/net/udp.
    pub fn usage(&self) -> (usize, u32) {
        let queue = self.queue.lock();
        (queue.used, queue.drops)
    }

    /// Drops all that is queued.
    pub fn clear(&self) {
        let old = std::mem::take(&mut *self.queue.lock());
        drop(old);
    }
}
