//! Which family answers socket(2), socketpair(2) and interface ioctls.

use super::socket::Socket;
use crate::task::Cx;
use arch::{Errno, Result};
use std::sync::Arc;

/// AF_* numbers end here.
const AF_MAX: i32 = 46;
/// SOCK_* types end here (SOCK_MAX).
const KIND_MAX: i32 = 11;

/// Makes a socket. `kind` is SOCK_* without its flags.
///
/// Order of errors as in the kernel's `__sock_create`: EAFNOSUPPORT for a family number out of range, EINVAL for a type out of
/// range, EAFNOSUPPORT for a family that isn't there, then the family's own: ESOCKTNOSUPPORT, EPROTONOSUPPORT, EPERM.
pub fn create(cx: &Cx, family: i32, kind: i32, protocol: i32) -> Result<Arc<dyn Socket>> {
    if !(0..AF_MAX).contains(&family) {
        return Err(Errno::EAFNOSUPPORT);
    }
    if !(0..KIND_MAX).contains(&kind) {
        return Err(Errno::EINVAL);
    }
    match family {
        libc::AF_UNIX => super::unix::create(cx, kind, protocol),
        libc::AF_NETLINK => super::netlink::create(cx, kind, protocol),
        libc::AF_INET | libc::AF_INET6 => super::inet::create(cx, family, kind, protocol),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Interface ioctls (netdevice(7): SIOCGIFCONF and kin), which a socket of any family answers.
pub fn interface_ioctl(cx: &Cx, socket: &Arc<dyn Socket>, cmd: u32, arg: u64) -> Result<u64> {
    super::inet::device::ioctl(cx, socket.base().family, cmd, arg)
}

/// Whether a network interface of that name exists (SO_BINDTODEVICE).
pub fn device_exists(cx: &Cx, name: &[u8]) -> bool {
    cx.kernel().net.interfaces.by_name(name).is_some()
}
