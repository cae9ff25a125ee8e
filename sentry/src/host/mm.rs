//! Anonymous memory to be shared, what the host says of a stub's memory, getauxval(3).

use super::fs;
use arch::Result;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// Anonymous memory of `len` bytes, to be shared by mapping it. It can't be sealed. ENOMEM for what is too long.
pub fn memfd(name: &str, len: u64) -> Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| arch::Errno::EINVAL)?;
    let fd = fs::memfd(&name, false)?;
    fs::truncate(fd.as_fd(), len).map_err(|_| arch::Errno::ENOMEM)?;
    Ok(fd)
}

/// The same memory, open for reading only.
pub fn read_only(fd: &OwnedFd) -> Result<OwnedFd> {
    fs::reopen(fd.as_fd(), libc::O_RDONLY)
}

/// Takes the pages of a range away: they read as zeros from then on.
pub fn punch(fd: &OwnedFd, offset: u64, len: u64) -> Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    fs::fallocate(fd.as_fd(), mode, offset, len)
}

/// The text of a small file of /proc/`pid`. `None` if it can't be had.
pub fn proc_file(pid: i32, name: &str) -> Option<String> {
    let fd = fs::open_proc(pid, name).ok()?;
    let mut out = Vec::new();
    let mut buf = [0; 4096];
    loop {
        match super::io::read(fd.as_fd(), None, &mut buf) {
            Ok(0) => return String::from_utf8(out).ok(),
            Ok(n) => out.extend_from_slice(&buf[..n]),
            Err(_) => return None,
        }
    }
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
    CpuFacts {
        hwcap: get(libc::AT_HWCAP),
        hwcap2: get(libc::AT_HWCAP2),
        minsigstksz: get(libc::AT_MINSIGSTKSZ),
    }
}
