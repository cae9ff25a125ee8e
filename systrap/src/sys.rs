//! Host calls of the platform, wrapped so that the rest of the crate is safe
//! code.
#![expect(
    unsafe_code,
    reason = "raw host calls; each block says why it is sound"
)]

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// The result of a host call as `io::Result`.
fn check(r: libc::c_long) -> io::Result<libc::c_long> {
    if r == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(r)
    }
}

fn own(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor to us.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// A memfd of `len` bytes that cannot be executed by name or resized.
pub fn memfd(name: &CStr, len: u64) -> io::Result<OwnedFd> {
    const MFD_NOEXEC_SEAL: libc::c_uint = 8;
    let create = |flags: libc::c_uint| {
        // SAFETY: `name` is a C string.
        check(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) })
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let fd = own(match create(flags | MFD_NOEXEC_SEAL) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => create(flags)?, // before 6.3
        r => r?,
    });
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_ftruncate, fd.as_raw_fd(), len) })?;
    Ok(fd)
}

/// fcntl(F_ADD_SEALS).
pub fn seal(fd: &OwnedFd, seals: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(libc::c_long::from(unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals)
    }))?;
    Ok(())
}

pub fn write_all_at(fd: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    std::fs::File::from(fd.try_clone()?).write_all_at(bytes, 0)
}

/// Writes all of `bytes` at `offset`, by pwrite64(2) alone.
pub fn write_at(fd: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the buffer is readable for its length.
        let r = check(unsafe {
            libc::syscall(
                libc::SYS_pwrite64,
                fd.as_raw_fd(),
                bytes.as_ptr(),
                bytes.len(),
                offset,
            )
        })?;
        match usize::try_from(r) {
            Ok(n) if n > 0 && n <= bytes.len() => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            _ => return Err(io::ErrorKind::WriteZero.into()),
        }
    }
    Ok(())
}

/// A pair of sequenced-packet sockets; the first has SO_PASSCRED.
pub fn control_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `fds` has room for two.
    let r = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    check(r.into())?;
    let (ours, theirs) = (own(fds[0].into()), own(fds[1].into()));
    let one: libc::c_int = 1;
    // SAFETY: `one` is readable for its size.
    let r = unsafe {
        libc::setsockopt(
            ours.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const one).cast(),
            mem::size_of_val(&one) as libc::socklen_t,
        )
    };
    check(r.into())?;
    Ok((ours, theirs))
}

const MAX_FDS: usize = crate::proto::FDS_MAX as usize;

/// Control data, aligned as cmsghdr wants.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Sends one byte with descriptors; never blocks.
pub fn send_fds(socket: &OwnedFd, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!(fds.len() <= MAX_FDS);
    let mut byte = 0u8;
    let mut iov = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut control = Control([0; 128]);
    let bytes = fds.len() * mem::size_of::<RawFd>();
    // SAFETY: all zero is a valid msghdr.
    let mut msg: libc::msghdr = unsafe { mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: `control` has room for MAX_FDS descriptors (16 + 64 bytes), so
    // the first header and its data are inside it.
    unsafe {
        msg.msg_controllen = libc::CMSG_SPACE(bytes as u32) as usize;
        let c = libc::CMSG_FIRSTHDR(&raw const msg);
        (*c).cmsg_level = libc::SOL_SOCKET;
        (*c).cmsg_type = libc::SCM_RIGHTS;
        (*c).cmsg_len = libc::CMSG_LEN(bytes as u32) as usize;
        let data = libc::CMSG_DATA(c).cast::<RawFd>();
        for (i, fd) in fds.iter().enumerate() {
            data.add(i).write_unaligned(fd.as_raw_fd());
        }
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `msg` describes live memory.
    let r = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const msg, flags) };
    check(r as libc::c_long)?;
    Ok(())
}

/// What `receive_hello` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Hello {
    /// From this process, says the host.
    From(i32),
    /// Not there yet.
    NotYet,
    /// The other end is closed.
    Closed,
}

/// Reads a fork child's hello; never blocks.
pub fn receive_hello(socket: &OwnedFd) -> Hello {
    let mut byte = 0u8;
    let mut iov = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut control = Control([0; 128]);
    // SAFETY: all zero is a valid msghdr.
    let mut msg: libc::msghdr = unsafe { mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast();
    msg.msg_controllen = control.0.len();
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `msg` describes live memory.
    let r = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut msg, flags) };
    if r < 0 {
        let again = io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock;
        return if again { Hello::NotYet } else { Hello::Closed };
    }
    let mut pid = None;
    // SAFETY: the kernel filled `control`; the CMSG macros stay inside it, and
    // each header's data is there for its length.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(&raw const msg);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_CREDENTIALS {
                let cred = libc::CMSG_DATA(c).cast::<libc::ucred>().read_unaligned();
                pid = Some(cred.pid);
            }
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_RIGHTS {
                // Cannot come through the filter; but never keep one.
                let n = ((*c).cmsg_len - libc::CMSG_LEN(0) as usize) / mem::size_of::<RawFd>();
                for i in 0..n {
                    drop(own(libc::CMSG_DATA(c)
                        .cast::<RawFd>()
                        .add(i)
                        .read_unaligned()
                        .into()));
                }
            }
            c = libc::CMSG_NXTHDR(&raw const msg, c);
        }
    }
    match pid {
        Some(pid) if r == 1 && pid > 0 => Hello::From(pid),
        _ => Hello::Closed,
    }
}

/// Waits until the socket is readable or closed, at most this long.
pub fn wait_readable(socket: &OwnedFd, max: Duration) {
    let mut p = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let ms = libc::c_int::try_from(max.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one pollfd.
    unsafe { libc::poll(&raw mut p, 1, ms) };
}

/// FUTEX_WAIT on a shared word, at most `max`.
pub fn futex_wait(word: &AtomicU32, value: u32, max: Option<Duration>) {
    let ts = max.map(|d| libc::timespec {
        tv_sec: libc::time_t::try_from(d.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: d.subsec_nanos().into(),
    });
    let ts = ts.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word lives; the timeout is null or lives.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, ts) };
}

/// FUTEX_WAKE on a shared word; how many were woken.
pub fn futex_wake(word: *const AtomicU32, count: i32) -> i64 {
    // SAFETY: the kernel uses the address only to find waiters.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, count) }
}

pub fn tgkill(pid: i32, tid: i32, signo: i32) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signo) == 0 }
}

/// SIGKILL. The caller knows that `pid` is a child that is not reaped yet.
pub fn kill(pid: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Makes a child the leader of a process group of its own.
pub fn make_group(pid: i32) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::setpgid(pid, pid) == 0 }
}

/// SIGKILL for a whole process group. The caller knows that its leader is a
/// child that is not reaped yet, so that the group is that child's.
pub fn kill_group(leader: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(-leader, libc::SIGKILL) };
}

/// A child that has ended but is not reaped: pid and wait status.
pub fn peek_dead_child() -> Option<i32> {
    // SAFETY: all zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is writable.
    let r = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
    if r != 0 {
        return None;
    }
    // SAFETY: waitid filled the SIGCHLD form, or left zeroes.
    let pid = unsafe { info.si_pid() };
    (pid != 0).then_some(pid)
}

/// Reaps one child that has ended; its status as of wait(2), and what it used.
pub fn reap(pid: i32) -> Option<(i32, crate::Usage)> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid one.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are writable.
    let r = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
    let ns = |t: libc::timeval| {
        let us = t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_usec);
        u64::try_from(us).unwrap_or(0).saturating_mul(1000)
    };
    let count = |n: libc::c_long| u64::try_from(n).unwrap_or(0);
    let usage = crate::Usage {
        user_ns: ns(usage.ru_utime),
        system_ns: ns(usage.ru_stime),
        max_rss_kib: count(usage.ru_maxrss),
        minor_faults: count(usage.ru_minflt),
        major_faults: count(usage.ru_majflt),
        voluntary: count(usage.ru_nvcsw),
        involuntary: count(usage.ru_nivcsw),
    };
    (r == pid).then_some((status, usage))
}

/// `process_vm_readv`: bytes copied before the first fault.
pub fn vm_read(pid: i32, addr: u64, buf: &mut [u8]) -> usize {
    let local = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    vm(libc::SYS_process_vm_readv, pid, addr, local)
}

/// `process_vm_writev`: bytes copied before the first fault.
pub fn vm_write(pid: i32, addr: u64, buf: &[u8]) -> usize {
    let local = libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.len(),
    };
    vm(libc::SYS_process_vm_writev, pid, addr, local)
}

/// `vm_write` from memory that is only known by its address; if it isn't
/// readable, nothing is copied.
pub fn vm_write_raw(pid: i32, addr: u64, from: *const u8, len: usize) -> usize {
    let local = libc::iovec {
        iov_base: from.cast_mut().cast(),
        iov_len: len,
    };
    vm(libc::SYS_process_vm_writev, pid, addr, local)
}

fn vm(nr: libc::c_long, pid: i32, addr: u64, local: libc::iovec) -> usize {
    if local.iov_len == 0 {
        return 0;
    }
    let mut done = 0;
    // The kernel's copy stops short at the iovec that faults, at page
    // granularity; go on behind what it did until nothing more comes.
    while done < local.iov_len {
        let here = libc::iovec {
            iov_base: local.iov_base.wrapping_byte_add(done),
            iov_len: local.iov_len - done,
        };
        let remote = libc::iovec {
            iov_base: ptr::without_provenance_mut((addr as usize).wrapping_add(done)),
            iov_len: local.iov_len - done,
        };
        // SAFETY: `here` lies in the caller's slice, which is writable if the
        // call writes it; the remote side is checked by the kernel.
        let r = unsafe {
            libc::syscall(
                nr,
                pid,
                &raw const here,
                1usize,
                &raw const remote,
                1usize,
                0usize,
            )
        };
        match usize::try_from(r) {
            Ok(n) if n > 0 => done += n,
            _ => break,
        }
    }
    done
}

/// CPUs in this thread's affinity mask.
pub fn affinity() -> Vec<u32> {
    let mut set = [0u64; 128];
    // SAFETY: the buffer is writable for its size.
    let r = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            mem::size_of_val(&set),
            set.as_mut_ptr(),
        )
    };
    let words = usize::try_from(r).unwrap_or(0) / 8;
    let cpus: Vec<u32> = (0..(words * 64) as u32)
        .filter(|c| set[*c as usize / 64] >> (c % 64) & 1 != 0)
        .collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Pins this thread.
pub fn pin(cpu: u32) {
    set_affinity(0, &cpu_mask([cpu]));
}

/// A mask with one bit for each of `cpus`.
pub fn cpu_mask(cpus: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let mut mask = vec![0u8; 1024];
    for cpu in cpus {
        if let Some(byte) = mask.get_mut(cpu as usize / 8) {
            *byte |= 1 << (cpu % 8);
        }
    }
    mask
}

/// sched_setaffinity(2); 0 is this thread. Whether the host did it.
pub fn set_affinity(tid: i32, mask: &[u8]) -> bool {
    // SAFETY: the buffer is readable for its size.
    let r = unsafe { libc::syscall(libc::SYS_sched_setaffinity, tid, mask.len(), mask.as_ptr()) };
    r == 0
}

pub fn current_cpu() -> u32 {
    // SAFETY: no memory is involved.
    u32::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

pub fn auxv(kind: libc::c_ulong) -> u64 {
    // SAFETY: no memory is involved.
    unsafe { libc::getauxval(kind) }
}

/// Time-stamp counter.
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Whether rdpid may be used: it may in user space wherever it is there.
pub fn has_rdpid() -> bool {
    const LEAF: u32 = 7;
    let ecx = std::arch::x86_64::__cpuid_count(LEAF, 0).ecx;
    std::arch::x86_64::__cpuid(0).eax >= LEAF && ecx & 1 << 22 != 0
}

/// Whether this child has ended (it is not reaped).
pub fn has_ended(pid: i32) -> bool {
    // SAFETY: all zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is writable.
    let r = unsafe { libc::waitid(libc::P_PID, pid.cast_unsigned(), &raw mut info, flags) };
    // SAFETY: waitid filled the SIGCHLD form, or left zeroes.
    r == 0 && unsafe { info.si_pid() } == pid
}
