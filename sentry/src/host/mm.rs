//! memfd_create(2), getauxval(3).

use std::ffi::CString;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Anonymous memory of `len` bytes, to be shared by mapping it. It can't be sealed.
pub fn memfd(name: &str, len: u64) -> Result<OwnedFd> {
    let name = CString::new(name)?;
    let len = i64::try_from(len).map_err(|_| Error::from_raw_os_error(libc::ENOMEM))?;
    // SAFETY: `name` is a string that lives over the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the call just made this descriptor, nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: no memory involved.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), len) } < 0 {
        return Err(Error::last_os_error());
    }
    Ok(fd)
}

/// What the host's kernel told this process of the CPU, and what applications are told of it.
#[derive(Clone, Copy, Debug)]
pub struct CpuFacts {
    /// AT_HWCAP.
    pub hwcap: u64,
    /// AT_HWCAP2.
    pub hwcap2: u64,
    /// AT_MINSIGSTKSZ, bytes: our signal frames are as large as the host's.
    pub minsigstksz: u64,
}

/// getauxval(3).
pub fn cpu_facts() -> CpuFacts {
    // SAFETY: no memory involved.
    let get = |kind| unsafe { libc::getauxval(kind) };
    CpuFacts { hwcap: get(libc::AT_HWCAP), hwcap2: get(libc::AT_HWCAP2), minsigstksz: get(libc::AT_MINSIGSTKSZ) }
}
