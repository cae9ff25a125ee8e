//! seccomp(2), and its older form in prctl(2).

use crate::seccomp::bpf::{Insn, MAX_INSNS};
use crate::seccomp::{self, STRICT};
use crate::task::{Cx, Pid};
use crate::user::{UserAddr, UserRef};
use arch::{Errno, Result};

/// seccomp(2): 0, or with SECCOMP_FILTER_FLAG_TSYNC the id of a thread that could not follow.
pub fn seccomp(cx: &Cx, op: u32, flags: u32, args: UserAddr) -> Result<Pid> {
    match op {
        libc::SECCOMP_SET_MODE_STRICT => {
            if flags != 0 || !args.is_null() {
                return Err(Errno::EINVAL);
            }
            seccomp::set_strict(cx).map(|()| 0)
        }
        libc::SECCOMP_SET_MODE_FILTER => filter(cx, flags, args),
        libc::SECCOMP_GET_ACTION_AVAIL => {
            if flags != 0 {
                return Err(Errno::EINVAL);
            }
            let action: u32 = cx.read_obj(UserRef::new(args))?;
            if seccomp::action_is_available(action) {
                Ok(0)
            } else {
                Err(Errno::EOPNOTSUPP)
            }
        }
        _ => Err(Errno::EINVAL),
    }
}

/// PR_SET_SECCOMP.
pub fn set_mode(cx: &Cx, mode: u64, args: UserAddr) -> Result<Pid> {
    match mode {
        m if m == u64::from(STRICT) => seccomp::set_strict(cx).map(|()| 0),
        m if m == u64::from(seccomp::FILTER) => filter(cx, 0, args),
        _ => Err(Errno::EINVAL),
    }
}

/// Reads `struct sock_fprog` and what it points at, and installs it.
fn filter(cx: &Cx, flags: u32, args: UserAddr) -> Result<Pid> {
    seccomp::check_flags(flags)?;
    let mut head = [0; 16];
    cx.read_bytes(args, &mut head)?;
    let [a, b, _, _, _, _, _, _, addr @ ..] = head;
    let len = usize::from(u16::from_ne_bytes([a, b]));
    if len == 0 || len > MAX_INSNS {
        return Err(Errno::EINVAL);
    }
    seccomp::may_install(cx)?;
    let mut bytes = vec![0; len * size_of::<Insn>()];
    cx.read_bytes(UserAddr(u64::from_ne_bytes(addr)), &mut bytes)?;
    let program = bytes
        .chunks_exact(size_of::<Insn>())
        .map(bytemuck::pod_read_unaligned)
        .collect();
    seccomp::install(cx, program, flags)
}
