//! The first stub process.
//!
//! A child of the Sentry, forked while that has one thread, that turns itself
//! into a stub: it sets up signals, credentials and limits here, and its
//! memory in `stub/boot.rs`. All later stubs are forks of it or of each
//! other. It never runs application code, so what it hands to a child is
//! pristine.
#![expect(
    unsafe_code,
    reason = "raw fork and what the child does before it is a stub"
)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::filter;
use crate::fpstate::{self, FrameShape};
use crate::layout::*;
use crate::mem::Shared;
use crate::proto::*;
use crate::sys;
use crate::{AddressSpace, Thread};

mod blob {
    include!(concat!(env!("OUT_DIR"), "/stub_symbols.rs"));
    pub static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stub.bin"));
}

/// Where patched call sites enter the stub.
pub(crate) const FAST_ENTRY: u64 = TEXT + blob::FAST;

/// A fresh region, sealed against resizing.
pub(crate) fn region_memfd() -> io::Result<OwnedFd> {
    let fd = sys::memfd(c"runsc-region", REGION_LEN)?;
    sys::seal(
        &fd,
        libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL,
    )?;
    Ok(fd)
}

/// The stub's text, which nobody can write any more.
fn text_memfd() -> io::Result<OwnedFd> {
    assert!(blob::BYTES.len() as u64 <= TEXT_MAX);
    let fd = sys::memfd(c"runsc-stub", TEXT_MAX)?;
    sys::write_all_at(&fd, blob::BYTES)?;
    sys::seal(
        &fd,
        libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL,
    )?;
    Ok(fd)
}

/// The host's vDSO mappings of this process, (start, length) in order.
pub(crate) fn vdso_mappings() -> io::Result<Vec<(u64, u64)>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    Ok(parse_vdso(&maps))
}

/// The run of adjacent mappings that ends with `[vdso]`.
fn parse_vdso(maps: &str) -> Vec<(u64, u64)> {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for line in maps.lines() {
        let Some((range, rest)) = line.split_once(' ') else {
            continue;
        };
        let name = rest.rsplit(' ').next().unwrap_or("");
        if !name.starts_with("[vvar") && name != "[vdso]" {
            continue;
        }
        let hex = |s: &str| u64::from_str_radix(s, 16).ok();
        let Some((Some(start), Some(end))) = range.split_once('-').map(|(a, b)| (hex(a), hex(b)))
        else {
            continue;
        };
        if parts.last().is_some_and(|(s, l)| s + l != start) {
            parts.clear();
        }
        parts.push((start, end - start));
    }
    let total: u64 = parts.iter().map(|p| p.1).sum();
    if total > VDSO_MAX || parts.len() > 4 {
        Vec::new()
    } else {
        parts
    }
}

/// `struct sigaction` as the kernel has it.
#[repr(C)]
struct KernelSigaction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// Offsets in slot 0's window of what `stub/boot.rs` reads.
const P_FPU: u64 = S_WINDOW + 256;
const P_FILTER: u64 = P_FPU + 1024;

/// Where text and first slot are mapped until the child has cleared its
/// address space: low, where the fixed addresses can't be in the way.
struct Temporary {
    text: Shared,
    region: Shared,
    vdso: u64,
}

impl Temporary {
    fn map(text: &OwnedFd, region: &OwnedFd) -> io::Result<Temporary> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for k in 1..32u64 {
            let base = k << 40;
            let exec = libc::PROT_READ | libc::PROT_EXEC;
            let text = Shared::map_prot(text, TEXT_MAX, Some(base), exec);
            let region = Shared::map(region, SLOT_STRIDE, Some(base + 0x100_0000));
            match (text, region) {
                (Ok(text), Ok(region)) => {
                    return Ok(Temporary {
                        text,
                        region,
                        vdso: base + 0x200_0000,
                    });
                }
                (Err(e), _) | (_, Err(e)) => last = e,
            }
        }
        Err(last)
    }
}

/// The zygote in the Sentry's hands.
pub(crate) struct Zygote {
    thread: Thread,
    /// What it has been told to make, and may not have made yet.
    ahead: Option<(Arc<AddressSpace>, Thread)>,
}

/// Longest time that the zygote takes for a fork.
const FORK_MAX: Duration = Duration::from_secs(10);

impl Zygote {
    pub fn start(core: &Arc<Core>, vdso: &[(u64, u64)]) -> io::Result<Zygote> {
        Ok(Zygote {
            thread: start(core, vdso)?,
            ahead: None,
        })
    }

    /// Ends it, and what it has made ahead.
    pub fn end(&mut self) {
        self.ahead = None;
        self.thread.address_space().kill();
    }

    /// Tells it to fork.
    fn begin(&mut self) -> io::Result<(Arc<AddressSpace>, Thread)> {
        let child = self.thread.fork()?;
        self.thread.answer(RF_REPARK | RF_WAKE_STATE);
        Ok(child)
    }

    /// A child; the one that was made ahead if it was, and lives.
    pub fn spawn(&mut self) -> io::Result<(Arc<AddressSpace>, Thread)> {
        if let Some(child) = self.ahead.take()
            && self.thread.wait_parked(FORK_MAX).is_ok()
            && !child.0.is_dead()
        {
            return Ok(child);
        }
        let child = self.begin()?;
        self.thread.wait_parked(FORK_MAX)?;
        Ok(child)
    }

    /// Begins with a child for later. (If that fails, the next one hears of it.)
    pub fn spawn_ahead(&mut self) {
        if self.ahead.is_none() {
            self.ahead = self.begin().ok();
        }
    }
}

/// Forks the zygote and waits until it is parked.
fn start(core: &Arc<Core>, vdso: &[(u64, u64)]) -> io::Result<Thread> {
    let text_fd = text_memfd()?;
    let region_fd = region_memfd()?;
    let region = Shared::map(&region_fd, REGION_LEN, None)?;
    let (ours, theirs) = sys::control_pair()?;
    let tmp = Temporary::map(&text_fd, &region_fd)?;

    let filter = filter::program();
    let words = [
        tmp.text.addr(),
        tmp.region.addr(),
        vdso.len() as u64,
        filter.insns.len() as u64,
        REGION + P_FILTER,
        tmp.vdso,
    ];
    for (i, w) in (0u64..).zip(words) {
        region.st64(S_WINDOW + i * 8, w);
    }
    for (i, (start, len)) in (0u64..).zip(vdso) {
        region.st64(S_WINDOW + 64 + i * 16, *start);
        region.st64(S_WINDOW + 64 + i * 16 + 8, *len);
    }
    const MXCSR_DEFAULT: u32 = 0x1f80;
    region.st32(P_FPU + 24, MXCSR_DEFAULT);
    for (i, insn) in (0u64..).zip(&filter.insns) {
        region.st16(P_FILTER + i * 8, insn.code);
        region.st16(P_FILTER + i * 8 + 2, u16::from_le_bytes([insn.jt, insn.jf]));
        region.st32(P_FILTER + i * 8 + 4, insn.k);
    }
    region.st32(S_FLAGS, RF_WAKE_STATE);

    let fds = [
        theirs.as_raw_fd(),
        text_fd.as_raw_fd(),
        region_fd.as_raw_fd(),
        core.doorbell_fd.as_raw_fd(),
    ];
    let rseq = find_rseq();
    // SAFETY: like fork(2): the child has a copy of everything and calls only
    // `child`, which makes nothing but raw host calls.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: we are the child.
        0 => unsafe { child(&tmp, fds, rseq) },
        _ => {}
    }
    let space = AddressSpace::new(core, region, ours, 0, Weak::new());
    space.hide();
    space.set_pid(pid as i32);
    drop(theirs);
    let mut thread = Thread::new(space, 0, SLOT_STRIDE - FRAME_LEN);
    thread.adopt();
    thread.wait_parked(Duration::from_secs(10)).map_err(|e| {
        io::Error::new(
            e.kind(),
            format!("the zygote did not start: {e}{}", last_words(pid as i32)),
        )
    })?;
    let shape = thread.frame_shape().ok_or_else(|| {
        io::Error::other("the host's signal frames have no xsave state that we know")
    })?;
    let _ = core.frame.set(shape);
    Ok(thread)
}

/// How a zygote ended that did not start.
fn last_words(pid: i32) -> String {
    match sys::reap(pid) {
        Some((status, _)) if libc::WIFEXITED(status) => {
            format!(" (it gave up at step {})", libc::WEXITSTATUS(status))
        }
        Some((status, _)) => format!(" (wait status {status:#x})"),
        None => String::new(),
    }
}

/// What the child does up to its jump into the stub. Nothing here may
/// allocate, lock or panic: other threads' locks may be held for ever.
///
/// # Safety
/// Only in a child of our own that nobody else relies on.
unsafe fn child(tmp: &Temporary, fds: [i32; 4], rseq: Option<Rseq>) -> ! {
    // SAFETY: raw host calls on this process's own attributes; pointers are to
    // live locals. The assembly hands over to the stub for good.
    unsafe {
        let sys = |nr: libc::c_long, a: u64, b: u64, c: u64, d: u64| {
            libc::syscall(nr, a, b, c, d, 0u64, 0u64)
        };
        let must = |r: libc::c_long, step: i32| {
            if r < 0 {
                libc::_exit(step);
            }
        };
        // Not the group that a terminal or a shell signals. (The session stays
        // the Sentry's, or it could not give stubs groups of their own.)
        sys(libc::SYS_setpgid, 0, 0, 0, 0);
        // Descriptors: out of the way, then to their numbers.
        let mut high = [0i32; 4];
        for (to, fd) in high.iter_mut().zip(fds) {
            *to = libc::fcntl(fd, libc::F_DUPFD, 4);
            must((*to).into(), 1);
        }
        for (to, fd) in (0..).zip(high) {
            must(libc::dup2(fd, to).into(), 2);
        }
        must(sys(libc::SYS_close_range, 4, u32::MAX.into(), 0, 0), 3);

        // What glibc has told the kernel about this thread.
        unregister_rseq(rseq);
        sys(libc::SYS_set_robust_list, 0, 24, 0, 0);
        sys(libc::SYS_set_tid_address, 0, 0, 0, 0);

        // Signals: ours to the stub, everything else ignored.
        const OURS: [i32; 7] = [
            libc::SIGSYS,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGTRAP,
            libc::SIGILL,
            SIG_KICK as i32,
        ];
        const SA_RESTORER: u64 = 0x0400_0000;
        for signo in 1..=64 {
            if signo == libc::SIGKILL || signo == libc::SIGSTOP {
                continue;
            }
            let mut action = KernelSigaction {
                handler: libc::SIG_IGN as u64,
                flags: 0,
                restorer: 0,
                mask: 0,
            };
            if OURS.contains(&signo) {
                let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                action = KernelSigaction {
                    handler: TEXT + blob::ENTRY,
                    flags: flags.cast_unsigned() as u64 | SA_RESTORER,
                    restorer: TEXT + blob::RESTORER,
                    mask: KICK_MASK,
                };
            }
            let at = &raw const action as u64;
            must(sys(libc::SYS_rt_sigaction, signo as u64, at, 0, 8), 4);
        }
        let stack = libc::stack_t {
            ss_sp: (REGION + S_STACK) as *mut libc::c_void,
            ss_flags: 0,
            ss_size: (SLOT_STRIDE - S_STACK) as usize,
        };
        must(
            sys(libc::SYS_sigaltstack, &raw const stack as u64, 0, 0, 0),
            5,
        );
        let none = 0u64;
        let none = &raw const none as u64;
        must(
            sys(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK as u64,
                none,
                0,
                8,
            ),
            6,
        );

        // Nothing to gain, nothing to lose; no core files; readable to the
        // Sentry by process_vm_readv.
        must(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(), 7);
        let header = [0x2008_0522u32, 0]; // _LINUX_CAPABILITY_VERSION_3
        let empty = [0u32; 6];
        must(
            sys(
                libc::SYS_capset,
                &raw const header as u64,
                &raw const empty as u64,
                0,
                0,
            ),
            8,
        );
        for resource in [libc::RLIMIT_CORE, libc::RLIMIT_MEMLOCK] {
            let zero = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            must(libc::setrlimit(resource, &raw const zero).into(), 9);
        }
        must(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0).into(), 10);

        let boot = tmp.text.addr() + blob::BOOT;
        let window = tmp.region.addr() + S_WINDOW;
        let stack = tmp.region.addr() + SLOT_STRIDE - 64;
        std::arch::asm!("mov rsp, {stack}", "jmp {boot}", stack = in(reg) stack,
            boot = in(reg) boot, in("rdi") window, options(noreturn));
    }
}

/// How glibc registered its rseq(2) area.
#[derive(Clone, Copy)]
struct Rseq {
    /// From the thread pointer.
    offset: i64,
    size: u32,
}

/// None where the C library registers none.
fn find_rseq() -> Option<Rseq> {
    // SAFETY: the symbols are words of glibc's if they are there.
    unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr());
        if offset.is_null() || size.is_null() {
            return None;
        }
        Some(Rseq {
            offset: *offset.cast::<i64>(),
            size: *size.cast::<u32>(),
        })
    }
}

/// Where rseq(2) is registered, the kernel writes to it on every preemption:
/// it must go before its memory does.
///
/// # Safety
/// Only in the child; this thread uses no restartable sequence.
unsafe fn unregister_rseq(rseq: Option<Rseq>) {
    let Some(rseq) = rseq else { return };
    // SAFETY: the call only compares its arguments with the registration.
    unsafe {
        let thread: u64;
        std::arch::asm!("mov {}, fs:0", out(reg) thread, options(nostack, readonly));
        let area = thread.wrapping_add_signed(rseq.offset);
        const UNREGISTER: u64 = 1;
        const SIGNATURE: u64 = 0x5305_3053;
        // The length must be the registered one: the original 32, or what
        // glibc 2.40 and later use.
        for len in [32, u64::from(rseq.size), 33, 28, 24, 20, 64] {
            if libc::syscall(libc::SYS_rseq, area, len, UNREGISTER, SIGNATURE) == 0 {
                return;
            }
        }
    }
}

impl Thread {
    /// The zygote's first run was not started by a resume.
    fn adopt(&mut self) {
        let slot = self.address_space().slots.get_or_make(0);
        slot.owner
            .store(crate::slot::owner::stub(0), Ordering::SeqCst);
        self.address_space().started();
    }

    /// Waits until the zygote has published, and takes the event.
    pub(crate) fn wait_parked(&mut self, max: Duration) -> io::Result<()> {
        let deadline = Instant::now() + max;
        let space = self.address_space().clone();
        let mut none = Vec::new();
        loop {
            let word = space.region.a32(S_SEQ);
            let seq = word.load(Ordering::Acquire);
            if seq != self.seq {
                space.scan(&mut none);
                match self.event() {
                    crate::Event::ActionFailed { errno, .. } => {
                        return Err(io::Error::from_raw_os_error(errno));
                    }
                    crate::Event::Fault { .. } => return Ok(()),
                    crate::Event::Parked if !none.is_empty() => return Ok(()),
                    // The bit comes after the number.
                    crate::Event::Parked => continue,
                    other => return Err(io::Error::other(format!("{other:?}"))),
                }
            }
            if space.is_dead() || Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sys::futex_wait(word, seq, Some(Duration::from_millis(20)));
            if let Some(pid) = space.live_pid()
                && sys::has_ended(pid)
            {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }

    /// Where the zygote's frame is, and the initial FPU state in it.
    fn frame_shape(&self) -> Option<FrameShape> {
        let space = self.address_space();
        let frame = space.region.ld32(S_FRAME);
        let fp = space
            .region
            .ld64(u64::from(frame) + F_FPSTATE)
            .checked_sub(REGION)?;
        let mut legacy = [0; 512];
        if fp <= frame.into() || fp + 512 > SLOT_STRIDE {
            return None;
        }
        space.region.copy_from(fp, &mut legacy);
        let len = fpstate::extended_size(&legacy)?;
        if len < 580 || fp + len as u64 > SLOT_STRIDE {
            return None;
        }
        let mut initial = vec![0; len];
        space.region.copy_from(fp, &mut initial);
        Some(FrameShape {
            frame,
            fp: fp as u32,
            initial,
        })
    }
}

const _: () = assert!(mem::size_of::<crate::bpf::Insn>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_vdso() {
        let maps = "\
7fbc3ed70000-7fbc3ed71000 rw-p 00000000 00:00 0 
7fbc3ed77000-7fbc3ed7b000 r--p 00000000 00:00 0                          [vvar]
7fbc3ed7b000-7fbc3ed7d000 r--p 00000000 00:00 0                          [vvar_vclock]
7fbc3ed7d000-7fbc3ed7f000 r-xp 00000000 00:00 0                          [vdso]
7fff66156000-7fff66177000 rw-p 00000000 00:00 0                          [stack]
";
        assert_eq!(
            parse_vdso(maps),
            [
                (0x7fbc_3ed7_7000, 0x4000),
                (0x7fbc_3ed7_b000, 0x2000),
                (0x7fbc_3ed7_d000, 0x2000)
            ]
        );
        assert_eq!(parse_vdso("garbage\n"), []);
    }

    #[test]
    fn the_blob_fits() {
        assert!(blob::BYTES.len() as u64 <= TEXT_MAX);
        const { assert!(blob::ENTRY < TEXT_MAX && blob::RESTORER < TEXT_MAX) };
    }
}
