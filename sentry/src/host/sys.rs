//! Facts about the host: memory, load, CPUs, random numbers.

use arch::{Errno, Result};
use std::cell::RefCell;

/// sysinfo(2) of the host, by name.
pub struct HostInfo {
    /// Seconds since boot.
    pub uptime: i64,
    /// In units of `mem_unit` bytes.
    pub totalram: u64,
    pub freeram: u64,
    pub sharedram: u64,
    pub bufferram: u64,
    /// Load averages, 16 fraction bits.
    pub loads: [u64; 3],
    /// Bytes.
    pub mem_unit: u32,
}

/// sysinfo(2).
pub fn sysinfo() -> HostInfo {
    // SAFETY: an all-zero sysinfo is a valid one.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: `info` lives over the call.
    unsafe { libc::sysinfo(&raw mut info) };
    HostInfo {
        uptime: info.uptime,
        totalram: info.totalram,
        freeram: info.freeram,
        sharedram: info.sharedram,
        bufferram: info.bufferram,
        loads: info.loads,
        mem_unit: info.mem_unit,
    }
}

/// Fills `buf` from getrandom(2).
pub fn random(buf: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < buf.len() {
        let rest = &mut buf[done..];
        // SAFETY: `rest` is ours for its length.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(n) {
            Ok(n) => done += n,
            Err(_) => match Errno::from(std::io::Error::last_os_error()) {
                Errno::EINTR => {}
                e => return Err(e),
            },
        }
    }
    Ok(())
}

/// Random numbers that are asked for at a time: an execve(2) needs half a dozen.
const RANDOM_AHEAD: usize = 16;

thread_local! {
    /// Numbers that nobody has had yet.
    static RANDOM: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A random number.
pub fn random_u64() -> u64 {
    RANDOM.with_borrow_mut(|ready| {
        ready.pop().unwrap_or_else(|| {
            let mut bytes = [0; RANDOM_AHEAD * 8];
            // getrandom(2) doesn't fail once the pool is ready, which it is before any container starts.
            let _ = random(&mut bytes);
            let words = bytes.as_chunks().0.iter().map(|b| u64::from_ne_bytes(*b));
            ready.extend(words);
            ready.pop().unwrap_or_default()
        })
    })
}

/// The CPU that the calling thread is on.
pub fn current_cpu() -> u32 {
    // SAFETY: no memory involved.
    u32::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// The CPUs that this process may use, as a bit mask in bytes.
pub fn affinity() -> Vec<u8> {
    let mut mask = vec![0u8; 128];
    // SAFETY: the buffer is as long as said.
    let n = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            mask.len(),
            mask.as_mut_ptr(),
        )
    };
    mask.truncate(usize::try_from(n).unwrap_or(8));
    mask
}

/// CPU time of a host process (clock_gettime of its CPU clock), in nanoseconds; 0 once it is gone.
pub fn cpu_time(pid: i32) -> u64 {
    let clock = (!pid << 3) | 2;
    super::event::clock_ns(clock)
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0)
}
