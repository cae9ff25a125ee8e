//! The system as a whole: names, memory and load, random numbers, reboot.

use crate::task::{Cx, cap};
use crate::user::{UserAddr, UserBytes, UserRef};
use arch::abi::{Sysinfo, Utsname};
use arch::{Errno, Result};

/// The kernel release that applications see.
pub const RELEASE: &str = "6.1.0-runsc";
/// uname -v.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC runsc";

fn field(text: &[u8]) -> [u8; 65] {
    let mut out = [0; 65];
    let n = text.len().min(64);
    out[..n].copy_from_slice(&text[..n]);
    out
}

/// uname(2).
pub fn uname(cx: &Cx, out: UserRef<Utsname>) -> Result<()> {
    let names = cx.kernel().uts.lock().clone();
    let value = Utsname {
        sysname: field(b"Linux"),
        nodename: field(&names.hostname),
        release: field(RELEASE.as_bytes()),
        version: field(VERSION.as_bytes()),
        machine: field(b"x86_64"),
        domainname: field(&names.domainname),
    };
    cx.write_obj(out, &value)
}

fn read_name(cx: &Cx, addr: UserAddr, len: i32) -> Result<Vec<u8>> {
    if !cx.task.creds().has_cap(cap::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(len)
        .ok()
        .filter(|n| *n <= 64)
        .ok_or(Errno::EINVAL)?;
    let mut name = vec![0; len];
    cx.read_bytes(addr, &mut name)?;
    Ok(name)
}

/// sethostname(2).
pub fn sethostname(cx: &Cx, name: UserAddr, len: i32) -> Result<()> {
    let name = read_name(cx, name, len)?;
    cx.kernel().uts.lock().hostname = name;
    Ok(())
}

/// setdomainname(2).
pub fn setdomainname(cx: &Cx, name: UserAddr, len: i32) -> Result<()> {
    let name = read_name(cx, name, len)?;
    cx.kernel().uts.lock().domainname = name;
    Ok(())
}

/// sysinfo(2).
pub fn sysinfo(cx: &Cx, out: UserRef<Sysinfo>) -> Result<()> {
    let host = crate::host::sys::sysinfo();
    let value = Sysinfo {
        uptime: host.uptime,
        loads: cx.kernel().loads(),
        totalram: host.totalram,
        freeram: host.freeram,
        sharedram: host.sharedram,
        bufferram: host.bufferram,
        totalswap: 0,
        freeswap: 0,
        procs: u16::try_from(cx.kernel().tasks.lock().tasks.len()).unwrap_or(u16::MAX),
        mem_unit: host.mem_unit,
        ..Sysinfo::default()
    };
    cx.write_obj(out, &value)
}

/// getrandom(2).
pub fn getrandom(cx: &Cx, buf: UserAddr, len: usize, flags: u32) -> Result<usize> {
    const INSECURE: u32 = 4;
    if flags & !(libc::GRND_NONBLOCK | libc::GRND_RANDOM | INSECURE) != 0
        || flags & (libc::GRND_RANDOM | INSECURE) == libc::GRND_RANDOM | INSECURE
    {
        return Err(Errno::EINVAL);
    }
    let mut sink = cx.sink(UserBytes {
        addr: buf,
        len: len.min(i32::MAX as usize),
    })?;
    let mut done = 0;
    let mut chunk = [0u8; 4096];
    loop {
        use crate::user::Sink;
        let n = sink.remaining().min(chunk.len());
        if n == 0 {
            return Ok(done);
        }
        crate::host::sys::random(&mut chunk[..n])?;
        match sink.write(&chunk[..n]) {
            Ok(stored) => done += stored,
            Err(_) if done > 0 => return Ok(done),
            Err(e) => return Err(e),
        }
        if cx.task.interrupted() && done >= 256 {
            return Ok(done);
        }
    }
}

/// reboot(2): nobody in the sandbox may.
pub fn reboot(_cx: &Cx) -> Result<()> {
    Err(Errno::EPERM)
}

/// syslog(2): an empty log, for those who may read it.
pub fn syslog(cx: &Cx, action: i32, buf: UserAddr, len: i32) -> Result<u64> {
    const READ_ALL: i32 = 3;
    const SIZE_BUFFER: i32 = 10;
    if !matches!(action, READ_ALL | SIZE_BUFFER) && !cx.task.creds().has_cap(cap::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    match action {
        0 | 1 | 5..=8 => Ok(0),
        2..=4 if buf.is_null() || len < 0 => Err(Errno::EINVAL),
        2..=4 | 9 | SIZE_BUFFER => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
