//! SOL_SOCKET options (socket(7)), the same for all families.

use super::message::Ucred;
use crate::executor::WaitQueue;
use crate::task::{Cx, cap};
use arch::{Errno, Result};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

/// The value of an option.
pub type OptionValue = SmallVec<[u8; 32]>;

/// net.core.wmem_max and rmem_max: what SO_SNDBUF and SO_RCVBUF are cut to, before doubling.
pub const BUF_MAX: u32 = 212_992;
/// net.core.wmem_default and rmem_default.
pub const BUF_DEFAULT: u32 = 212_992;
/// SOCK_MIN_SNDBUF.
const SNDBUF_MIN: u32 = 4608;
/// SOCK_MIN_RCVBUF.
const RCVBUF_MIN: u32 = 2304;

const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
const SO_RCVTIMEO_NEW: i32 = 66;
const SO_SNDTIMEO_NEW: i32 = 67;
const SO_RESERVE_MEM: i32 = 73;
const SO_PREFER_BUSY_POLL: i32 = 69;

/// Which receive time stamps an application asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Timestamps {
    /// None.
    Off = 0,
    /// SO_TIMESTAMP: a `struct timeval`.
    Micros = 1,
    /// SO_TIMESTAMPNS: a `struct timespec`.
    Nanos = 2,
}

/// What every socket has, whatever its family: identity, wait queue, SOL_SOCKET options, pending error.
///
/// All fields but the names are atomics that setsockopt(2) writes and anybody reads, each on its own (Relaxed).
pub struct SocketBase {
    /// AF_*.
    pub family: u16,
    /// SOCK_STREAM and so on, without SOCK_NONBLOCK and SOCK_CLOEXEC.
    pub kind: i32,
    /// The protocol, as SO_PROTOCOL reports it.
    pub protocol: i32,
    /// Inode number in sockfs.
    pub ino: u64,
    /// Owner (fstat(2), SO_REUSEPORT groups).
    pub uid: u32,
    /// Owner's group.
    pub gid: u32,
    /// Where a change of readiness is told.
    pub queue: WaitQueue,
    /// SO_ERROR: 0 or an error number.
    error: AtomicI32,
    flags: AtomicU32,
    sndbuf: AtomicU32,
    rcvbuf: AtomicU32,
    /// SO_RCVLOWAT.
    pub rcvlowat: AtomicI32,
    /// SO_PRIORITY.
    pub priority: AtomicI32,
    /// SO_MARK.
    pub mark: AtomicU32,
    /// SO_PEEK_OFF; -1: off.
    pub peek_off: AtomicI32,
    /// SO_RCVTIMEO in nanoseconds; 0: none.
    rcvtimeo: AtomicU64,
    /// SO_SNDTIMEO in nanoseconds; 0: none.
    sndtimeo: AtomicU64,
    /// SO_LINGER: seconds; -1: off.
    pub linger: AtomicI32,
    timestamps: AtomicU32,
    busy_poll: AtomicI32,
    /// listen(2) was called (SO_ACCEPTCONN). The family sets it.
    pub listening: AtomicBool,
    /// SO_BINDTODEVICE.
    pub device: Mutex<Vec<u8>>,
}

bitflags::bitflags! {
    /// Options that are on or off.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        const REUSEADDR = 1;
        const REUSEPORT = 1 << 1;
        const KEEPALIVE = 1 << 2;
        const BROADCAST = 1 << 3;
        const OOBINLINE = 1 << 4;
        const DONTROUTE = 1 << 5;
        const PASSCRED = 1 << 6;
        const PASSSEC = 1 << 7;
        const DEBUG = 1 << 8;
        const NO_CHECK = 1 << 9;
        const RXQ_OVFL = 1 << 10;
        const SNDBUF_SET = 1 << 11;
        const RCVBUF_SET = 1 << 12;
        const PASSPIDFD = 1 << 13;
    }
}

impl SocketBase {
    /// A new socket's, with an inode number of its own.
    pub fn new(family: u16, kind: i32, protocol: i32, uid: u32, gid: u32) -> Self {
        Self {
            family,
            kind,
            protocol,
            ino: crate::vfs::next_ino(),
            uid,
            gid,
            queue: WaitQueue::new(),
            error: AtomicI32::new(0),
            flags: AtomicU32::new(0),
            sndbuf: AtomicU32::new(BUF_DEFAULT),
            rcvbuf: AtomicU32::new(BUF_DEFAULT),
            rcvlowat: AtomicI32::new(1),
            priority: AtomicI32::new(0),
            mark: AtomicU32::new(0),
            peek_off: AtomicI32::new(-1),
            rcvtimeo: AtomicU64::new(0),
            sndtimeo: AtomicU64::new(0),
            linger: AtomicI32::new(-1),
            timestamps: AtomicU32::new(0),
            busy_poll: AtomicI32::new(0),
            listening: AtomicBool::new(false),
            device: Mutex::new(Vec::new()),
        }
    }

    /// A new socket's for the caller of `cx`.
    pub fn for_caller(cx: &Cx, family: u16, kind: i32, protocol: i32) -> Self {
        let creds = cx.task.creds();
        Self::new(family, kind, protocol, creds.fsuid, creds.fsgid)
    }

    /// An accepted socket's: the listener's options are inherited (socket(7)).
    pub fn accepted(&self) -> Self {
        let new = Self::new(self.family, self.kind, self.protocol, self.uid, self.gid);
        let copy32 = |to: &AtomicU32, from: &AtomicU32| {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed)
        };
        let copyi = |to: &AtomicI32, from: &AtomicI32| {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed)
        };
        let copy64 = |to: &AtomicU64, from: &AtomicU64| {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed)
        };
        copy32(&new.flags, &self.flags);
        copy32(&new.sndbuf, &self.sndbuf);
        copy32(&new.rcvbuf, &self.rcvbuf);
        copyi(&new.rcvlowat, &self.rcvlowat);
        copyi(&new.priority, &self.priority);
        copy32(&new.mark, &self.mark);
        copy64(&new.rcvtimeo, &self.rcvtimeo);
        copy64(&new.sndtimeo, &self.sndtimeo);
        copyi(&new.linger, &self.linger);
        copy32(&new.timestamps, &self.timestamps);
        *new.device.lock() = self.device.lock().clone();
        new
    }

    /// Whether an option is on.
    pub fn has(&self, flag: Flags) -> bool {
        self.flags.load(Ordering::Relaxed) & flag.bits() != 0
    }

    /// Turns an option on or off.
    pub fn set(&self, flag: Flags, on: bool) {
        if on {
            self.flags.fetch_or(flag.bits(), Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag.bits(), Ordering::Relaxed);
        }
    }

    /// SO_SNDBUF in bytes (doubled, as Linux keeps it).
    pub fn sndbuf(&self) -> usize {
        self.sndbuf.load(Ordering::Relaxed) as usize
    }

    /// SO_RCVBUF in bytes (doubled, as Linux keeps it).
    pub fn rcvbuf(&self) -> usize {
        self.rcvbuf.load(Ordering::Relaxed) as usize
    }

    /// A family's own default or automatic buffer sizes, in bytes, as SO_SNDBUF and SO_RCVBUF shall report them.
    pub fn set_buffers(&self, snd: u32, rcv: u32) {
        self.sndbuf.store(snd, Ordering::Relaxed);
        self.rcvbuf.store(rcv, Ordering::Relaxed);
    }

    /// SO_RCVTIMEO in nanoseconds.
    pub fn recv_timeout(&self) -> Option<u64> {
        Some(self.rcvtimeo.load(Ordering::Relaxed)).filter(|&t| t != 0)
    }

    /// SO_SNDTIMEO in nanoseconds.
    pub fn send_timeout(&self) -> Option<u64> {
        Some(self.sndtimeo.load(Ordering::Relaxed)).filter(|&t| t != 0)
    }

    /// Which time stamps are asked for.
    pub fn timestamps(&self) -> Timestamps {
        match self.timestamps.load(Ordering::Relaxed) {
            1 => Timestamps::Micros,
            2 => Timestamps::Nanos,
            _ => Timestamps::Off,
        }
    }

    /// Sets the pending error. The caller tells those who wait.
    pub fn set_error(&self, e: Errno) {
        self.error.store(e.raw(), Ordering::SeqCst);
    }

    /// Whether an error is pending (EPOLLERR).
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::SeqCst) != 0
    }

    /// Takes the pending error: `Err` if there was one.
    pub fn take_error(&self) -> Result<()> {
        match self.error.swap(0, Ordering::SeqCst) {
            0 => Ok(()),
            e => Err(Errno::from_raw(e).unwrap_or(Errno::EIO)),
        }
    }

    /// setsockopt(2) at SOL_SOCKET. ENOPROTOOPT for what isn't known.
    pub fn set_option(&self, cx: &Cx, name: i32, value: &[u8]) -> Result<()> {
        match name {
            libc::SO_LINGER => return self.set_linger(value),
            libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => return set_timeout(&self.rcvtimeo, value),
            libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => return set_timeout(&self.sndtimeo, value),
            libc::SO_BINDTODEVICE => return self.bind_to_device(cx, value),
            _ => {}
        }
        let v = int(value)?;
        let on = v != 0;
        let creds = cx.task.creds();
        let flag = match name {
            libc::SO_REUSEADDR => Flags::REUSEADDR,
            libc::SO_REUSEPORT => Flags::REUSEPORT,
            libc::SO_KEEPALIVE => Flags::KEEPALIVE,
            libc::SO_BROADCAST => Flags::BROADCAST,
            libc::SO_OOBINLINE => Flags::OOBINLINE,
            libc::SO_DONTROUTE => Flags::DONTROUTE,
            libc::SO_PASSCRED => Flags::PASSCRED,
            libc::SO_PASSSEC => Flags::PASSSEC,
            libc::SO_NO_CHECK => Flags::NO_CHECK,
            libc::SO_RXQ_OVFL => Flags::RXQ_OVFL,
            libc::SO_DEBUG => {
                if on && !creds.has_cap(cap::NET_ADMIN) {
                    return Err(Errno::EACCES);
                }
                Flags::DEBUG
            }
            libc::SO_TYPE | libc::SO_PROTOCOL | libc::SO_DOMAIN | libc::SO_ERROR => {
                return Err(Errno::ENOPROTOOPT);
            }
            libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => {
                if name == libc::SO_SNDBUFFORCE && !creds.has_cap(cap::NET_ADMIN) {
                    return Err(Errno::EPERM);
                }
                let size = buffer_size(v, SNDBUF_MIN, name == libc::SO_SNDBUFFORCE);
                self.sndbuf.store(size, Ordering::Relaxed);
                self.set(Flags::SNDBUF_SET, true);
                self.queue.notify(crate::executor::PollEvents::WRITABLE);
                return Ok(());
            }
            libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => {
                if name == libc::SO_RCVBUFFORCE && !creds.has_cap(cap::NET_ADMIN) {
                    return Err(Errno::EPERM);
                }
                let size = buffer_size(v, RCVBUF_MIN, name == libc::SO_RCVBUFFORCE);
                self.rcvbuf.store(size, Ordering::Relaxed);
                self.set(Flags::RCVBUF_SET, true);
                return Ok(());
            }
            libc::SO_RCVLOWAT => {
                let v = if v < 0 { i32::MAX } else { v.max(1) };
                self.rcvlowat.store(v, Ordering::Relaxed);
                self.queue.notify(crate::executor::PollEvents::READABLE);
                return Ok(());
            }
            libc::SO_PRIORITY => {
                if !(0..=6).contains(&v)
                    && !creds.has_cap(cap::NET_ADMIN)
                    && !creds.has_cap(cap::NET_RAW)
                {
                    return Err(Errno::EPERM);
                }
                self.priority.store(v, Ordering::Relaxed);
                return Ok(());
            }
            libc::SO_MARK => {
                if !creds.has_cap(cap::NET_ADMIN) && !creds.has_cap(cap::NET_RAW) {
                    return Err(Errno::EPERM);
                }
                self.mark.store(v.cast_unsigned(), Ordering::Relaxed);
                return Ok(());
            }
            libc::SO_PEEK_OFF => {
                if self.family != libc::AF_UNIX as u16 {
                    return Err(Errno::EOPNOTSUPP);
                }
                self.peek_off.store(v.max(-1), Ordering::Relaxed);
                return Ok(());
            }
            libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW => {
                self.timestamps.store(u32::from(on), Ordering::Relaxed);
                return Ok(());
            }
            libc::SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW => {
                self.timestamps
                    .store(if on { 2 } else { 0 }, Ordering::Relaxed);
                return Ok(());
            }
            libc::SO_BUSY_POLL => {
                if v < 0 {
                    return Err(Errno::EINVAL);
                }
                if v > self.busy_poll.load(Ordering::Relaxed) && !creds.has_cap(cap::NET_ADMIN) {
                    return Err(Errno::EPERM);
                }
                self.busy_poll.store(v, Ordering::Relaxed);
                return Ok(());
            }
            SO_RESERVE_MEM | SO_PREFER_BUSY_POLL => return Err(Errno::ENOPROTOOPT),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        self.set(flag, on);
        Ok(())
    }

    /// getsockopt(2) at SOL_SOCKET. `room` is the caller's optlen. ENOPROTOOPT for what isn't known; SO_PEERCRED and kin are the
    /// family's.
    pub fn get_option(&self, name: i32, room: usize) -> Result<OptionValue> {
        let bit = |flag| i32::from(self.has(flag));
        let load = |a: &AtomicI32| a.load(Ordering::Relaxed);
        let v = match name {
            libc::SO_REUSEADDR => bit(Flags::REUSEADDR),
            libc::SO_REUSEPORT => bit(Flags::REUSEPORT),
            libc::SO_KEEPALIVE => bit(Flags::KEEPALIVE),
            libc::SO_BROADCAST => bit(Flags::BROADCAST),
            libc::SO_OOBINLINE => bit(Flags::OOBINLINE),
            libc::SO_DONTROUTE => bit(Flags::DONTROUTE),
            libc::SO_PASSCRED => bit(Flags::PASSCRED),
            libc::SO_PASSSEC => bit(Flags::PASSSEC),
            libc::SO_NO_CHECK => bit(Flags::NO_CHECK),
            libc::SO_RXQ_OVFL => bit(Flags::RXQ_OVFL),
            libc::SO_DEBUG => bit(Flags::DEBUG),
            libc::SO_TYPE => self.kind,
            libc::SO_PROTOCOL => self.protocol,
            libc::SO_DOMAIN => i32::from(self.family),
            libc::SO_ERROR => self.take_error().err().map_or(0, Errno::raw),
            libc::SO_ACCEPTCONN => i32::from(self.listening.load(Ordering::Relaxed)),
            libc::SO_SNDBUF => self.sndbuf.load(Ordering::Relaxed).cast_signed(),
            libc::SO_RCVBUF => self.rcvbuf.load(Ordering::Relaxed).cast_signed(),
            libc::SO_RCVLOWAT => load(&self.rcvlowat),
            libc::SO_SNDLOWAT => 1,
            libc::SO_PRIORITY => load(&self.priority),
            libc::SO_MARK => self.mark.load(Ordering::Relaxed).cast_signed(),
            libc::SO_PEEK_OFF => load(&self.peek_off),
            libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW => {
                i32::from(self.timestamps() == Timestamps::Micros)
            }
            libc::SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW => {
                i32::from(self.timestamps() == Timestamps::Nanos)
            }
            libc::SO_BUSY_POLL => load(&self.busy_poll),
            libc::SO_INCOMING_CPU => -1,
            libc::SO_LINGER => {
                let l = load(&self.linger);
                let mut out = OptionValue::from_slice(&i32::from(l >= 0).to_ne_bytes());
                out.extend_from_slice(&l.max(0).to_ne_bytes());
                return Ok(out);
            }
            libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => return Ok(timeval(&self.rcvtimeo)),
            libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => return Ok(timeval(&self.sndtimeo)),
            libc::SO_BINDTODEVICE => {
                let device = self.device.lock();
                if device.is_empty() {
                    return Ok(OptionValue::new());
                }
                if room < libc::IFNAMSIZ {
                    return Err(Errno::EINVAL);
                }
                let mut out = OptionValue::from_slice(&device);
                out.push(0);
                return Ok(out);
            }
            libc::SO_COOKIE => {
                if room < 8 {
                    return Err(Errno::EINVAL);
                }
                return Ok(OptionValue::from_slice(&self.ino.to_ne_bytes()));
            }
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(OptionValue::from_slice(&v.to_ne_bytes()))
    }

    fn set_linger(&self, value: &[u8]) -> Result<()> {
        if value.len() < 8 {
            return Err(Errno::EINVAL);
        }
        let (on, secs) = (int(value)?, int(&value[4..])?);
        self.linger
            .store(if on == 0 { -1 } else { secs.max(0) }, Ordering::Relaxed);
        Ok(())
    }

    fn bind_to_device(&self, cx: &Cx, value: &[u8]) -> Result<()> {
        let name = &value[..value.len().min(libc::IFNAMSIZ - 1)];
        let name = name.split(|&b| b == 0).next().unwrap_or_default();
        let mut device = self.device.lock();
        if !device.is_empty() && !cx.task.creds().has_cap(cap::NET_RAW) {
            return Err(Errno::EPERM);
        }
        if !name.is_empty() && !super::family::device_exists(cx, name) {
            return Err(Errno::ENODEV);
        }
        *device = name.to_vec();
        Ok(())
    }
}

/// An option's `int`; EINVAL when there are fewer than four bytes.
pub fn int(value: &[u8]) -> Result<i32> {
    let bytes = value.get(..4).ok_or(Errno::EINVAL)?;
    Ok(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn buffer_size(v: i32, min: u32, force: bool) -> u32 {
    let v = if force {
        u32::try_from(v.max(0)).unwrap_or(0).min(BUF_MAX * 16)
    } else {
        v.cast_unsigned().min(BUF_MAX)
    };
    (v * 2).max(min)
}

/// sock_set_timeout of the kernel: a `struct timeval`; EDOM for microseconds out of range; negative is no wait at all,
/// which rounds up to the shortest one.
fn set_timeout(to: &AtomicU64, value: &[u8]) -> Result<()> {
    let bytes: [u8; 16] = value
        .get(..16)
        .and_then(|b| b.try_into().ok())
        .ok_or(Errno::EINVAL)?;
    let [sec, usec]: [i64; 2] = bytemuck::cast(bytes);
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    let ns = match u64::try_from(sec) {
        Err(_) => 1,
        Ok(sec) => sec
            .saturating_mul(1_000_000_000)
            .saturating_add(usec.cast_unsigned() * 1000),
    };
    // Beyond what jiffies count is for ever.
    to.store(
        if ns >= i64::MAX.cast_unsigned() / 2 {
            0
        } else {
            ns
        },
        Ordering::Relaxed,
    );
    Ok(())
}

fn timeval(from: &AtomicU64) -> OptionValue {
    let ns = from.load(Ordering::Relaxed);
    let mut out = OptionValue::from_slice(&(ns / 1_000_000_000).to_ne_bytes());
    out.extend_from_slice(&(ns % 1_000_000_000 / 1000).to_ne_bytes());
    out
}

/// The ucred of a task, with its effective ids (SO_PEERCRED).
pub fn ucred_of(cx: &Cx) -> Ucred {
    let creds = cx.task.creds();
    Ucred {
        pid: cx.task.group.pid,
        uid: creds.euid,
        gid: creds.egid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> SocketBase {
        SocketBase::new(libc::AF_UNIX as u16, libc::SOCK_STREAM, 0, 0, 0)
    }

    #[test]
    fn buffer_sizes_are_cut_and_doubled() {
        assert_eq!(buffer_size(1000, SNDBUF_MIN, false), SNDBUF_MIN);
        assert_eq!(buffer_size(10_000, SNDBUF_MIN, false), 20_000);
        assert_eq!(buffer_size(-1, RCVBUF_MIN, false), BUF_MAX * 2);
    }

    #[test]
    fn timeouts_round_trip_and_check_microseconds() {
        let b = base();
        let value: [u8; 16] = bytemuck::cast([3i64, 250_000]);
        set_timeout(&b.rcvtimeo, &value).unwrap();
        assert_eq!(b.recv_timeout(), Some(3_250_000_000));
        assert_eq!(
            b.get_option(libc::SO_RCVTIMEO, 16).unwrap().as_slice(),
            value
        );
        let bad: [u8; 16] = bytemuck::cast([0i64, 1_000_000]);
        assert_eq!(set_timeout(&b.rcvtimeo, &bad), Err(Errno::EDOM));
        assert_eq!(set_timeout(&b.rcvtimeo, &value[..8]), Err(Errno::EINVAL));
    }

    #[test]
    fn the_pending_error_is_read_once() {
        let b = base();
        b.set_error(Errno::ECONNRESET);
        assert!(b.has_error());
        assert_eq!(int(&b.get_option(libc::SO_ERROR, 4).unwrap()), Ok(104));
        assert_eq!(int(&b.get_option(libc::SO_ERROR, 4).unwrap()), Ok(0));
    }
}
