//! memfd_create(2).

use super::Fd;
use crate::task::Cx;
use crate::user::UserStr;
use arch::{Errno, Result};

/// Longest name, with its NUL: NAME_MAX without `memfd:`.
const NAME_MAX: usize = 255 - 6 + 1;
/// MFD_NOEXEC_SEAL and MFD_EXEC.
const EXEC_FLAGS: u32 = libc::MFD_NOEXEC_SEAL | libc::MFD_EXEC;
const KNOWN: u32 = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_HUGETLB | EXEC_FLAGS;
/// Where a huge page's size stands in the flags.
const HUGE_SHIFT: u32 = 26;

/// memfd_create(2). ENOMEM for huge pages, of which there are none.
pub fn memfd_create(cx: &Cx, name: UserStr, flags: u32) -> Result<Fd> {
    let size = if flags & libc::MFD_HUGETLB != 0 {
        0x3f << HUGE_SHIFT
    } else {
        0
    };
    if flags & !(KNOWN | size) != 0 || flags & EXEC_FLAGS == EXEC_FLAGS {
        return Err(Errno::EINVAL);
    }
    let name = cx.read_cstr(name, NAME_MAX).map_err(|e| {
        if e == Errno::ENAMETOOLONG {
            Errno::EINVAL
        } else {
            e
        }
    })?;
    if flags & libc::MFD_HUGETLB != 0 {
        return Err(match flags >> HUGE_SHIFT {
            0 | 21 | 30 => Errno::ENOMEM,
            _ => Errno::EINVAL,
        });
    }
    let creds = cx.task.creds();
    let file = crate::fs::tmp::memfd(&name, flags, creds.fsuid, creds.fsgid)?;
    let limit = cx.task.group.rlimit(libc::RLIMIT_NOFILE);
    cx.task
        .files()
        .install(file, flags & libc::MFD_CLOEXEC != 0, limit)
}
