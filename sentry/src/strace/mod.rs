//! `--strace`: one line for every system call and signal of the sandboxed programs.
//!
//! ```text
//! [   1 bash] openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3 (12µs)
//! [   1 bash] --- SIGCHLD {si_code=CLD_EXITED, si_pid=2, si_uid=0, si_status=0} ---
//! ```
//!
//! - [`format`](mod@format): which argument of which call is what.
//! - [`render`]: how each kind of argument is shown, from copies of application memory, bounded in length.
//! - [`names`]: numbers to names.
//!
//! A line is written when the call ends, so the lines of one thread are in order, and a call that sleeps shows up when it
//! wakes. When tracing is off, all this costs one relaxed load a call.

pub mod format;
mod memory;
pub mod names;
pub mod render;

use crate::task::Cx;
use arch::abi::{SigInfo, SigInfoLayout};
use arch::{Errno, Result, nr};
use format::Return;
use memory::Memory;
use smallvec::SmallVec;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Written once by `start`, before the first task; read by every call. Relaxed: a late view loses a line at most.
static ON: AtomicBool = AtomicBool::new(false);
static OUTPUT: OnceLock<OwnedFd> = OnceLock::new();

/// From now on lines go to `output`.
pub fn start(output: OwnedFd) {
    if OUTPUT.set(output).is_ok() {
        ON.store(true, Ordering::Relaxed);
    }
}

/// Whether calls are traced.
pub fn on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// A call that has begun.
pub struct Record {
    nr: u64,
    args: [u64; 6],
    /// Arguments that were readable at the start; the others are filled in by the call.
    shown: SmallVec<[Option<String>; 6]>,
    start: u64,
}

/// A call begins. `None` if tracing is off, or if its line is written already since it doesn't return.
pub fn enter(cx: &Cx, nr: u64, args: &[u64; 6]) -> Option<Record> {
    if !on() {
        return None;
    }
    let record = Record {
        nr,
        args: *args,
        shown: inputs(cx, nr, args),
        start: crate::host::event::monotonic_ns(),
    };
    if matches!(nr, nr::EXIT | nr::EXIT_GROUP) {
        write(
            cx,
            &format!("{} = ?", call(cx, &record, Err(Errno::ENOSYS))),
        );
        return None;
    }
    Some(record)
}

/// The call ends.
pub fn exit(cx: &Cx, record: Option<Record>, result: &Result<u64>) {
    let Some(record) = record else { return };
    let took = crate::host::event::monotonic_ns().saturating_sub(record.start);
    let text = call(cx, &record, *result);
    let answer = answer(record.nr, *result);
    write(cx, &format!("{text} = {answer} ({})", duration(took)));
}

/// A signal is delivered.
pub fn signal(cx: &Cx, info: &SigInfo) {
    if on() {
        write(cx, &signal_line(info));
    }
}

fn inputs(memory: &impl Memory, nr: u64, args: &[u64; 6]) -> SmallVec<[Option<String>; 6]> {
    let kinds = format::arguments(nr);
    kinds
        .iter()
        .enumerate()
        .map(|(i, kind)| render::input(memory, *kind, i, args))
        .collect()
}

/// `name(arguments)`.
fn call(memory: &impl Memory, record: &Record, result: Result<u64>) -> String {
    let mut out = match nr::name(record.nr) {
        Some(name) => format!("{name}("),
        None => format!("syscall_{}(", record.nr),
    };
    let mut first = true;
    for (i, kind) in format::arguments(record.nr).iter().enumerate() {
        let text = match record.shown.get(i) {
            Some(Some(text)) => text.clone(),
            _ => render::output(memory, *kind, i, &record.args, result),
        };
        // Arguments that the call doesn't look at are empty.
        if !text.is_empty() {
            if !std::mem::take(&mut first) {
                out.push_str(", ");
            }
            out.push_str(&text);
        }
    }
    out + ")"
}

fn answer(nr: u64, result: Result<u64>) -> String {
    match result {
        Ok(value) => match format::result(nr) {
            Return::Number => value.cast_signed().to_string(),
            Return::Address => format!("{value:#x}"),
            Return::Mode => format!("{value:#05o}"),
            Return::Nothing => "?".into(),
        },
        Err(e) if e.is_restart() => format!("? {}", e.name()),
        Err(e) => format!("-1 {} ({})", e.name(), e.message()),
    }
}

fn duration(ns: u64) -> String {
    match ns {
        0..10_000_000 => format!("{}µs", ns / 1000),
        10_000_000..10_000_000_000 => format!("{}ms", ns / 1_000_000),
        _ => format!("{}s", ns / 1_000_000_000),
    }
}

fn signal_line(info: &SigInfo) -> String {
    let name = names::signal(info.signo.unsigned_abs().into());
    let code = names::signal_code(info.signo, info.code);
    let mut out = format!("--- {name} {{si_code={code}");
    out += &match info.layout() {
        SigInfoLayout::Kill => format!(", si_pid={}, si_uid={}", info.pid(), info.uid()),
        SigInfoLayout::Rt => {
            format!(
                ", si_pid={}, si_uid={}, si_value={:#x}",
                info.pid(),
                info.uid(),
                info.value()
            )
        }
        SigInfoLayout::Timer => format!(
            ", si_timerid={}, si_overrun={}",
            info.timer_id(),
            info.overrun()
        ),
        SigInfoLayout::Poll => format!(", si_band={}, si_fd={}", info.band(), info.fd()),
        SigInfoLayout::Fault => format!(", si_addr={:#x}", info.addr()),
        SigInfoLayout::Chld => {
            format!(
                ", si_pid={}, si_uid={}, si_status={}",
                info.pid(),
                info.uid(),
                info.status()
            )
        }
        SigInfoLayout::Sys => format!(
            ", si_call_addr={:#x}, si_syscall={}",
            info.call_addr(),
            info.syscall()
        ),
    };
    out + "} ---"
}

fn write(cx: &Cx, text: &str) {
    let mut name = String::new();
    render::escape(&cx.task.name(), &mut name);
    let line = format!("[{:4} {name}] {text}\n", cx.task.tid());
    if let Some(fd) = OUTPUT.get() {
        // One write a line, so that lines of different threads don't mix. A reader that is gone loses them.
        let _ = crate::host::io::write(fd.as_fd(), None, line.as_bytes());
    }
}

/// A call as it is shown, in the memory `data` that begins at address 0. For fuzzing.
#[doc(hidden)]
pub fn decoded(data: &[u8], nr: u64, args: &[u64; 6], result: u64) -> String {
    struct Bytes<'a>(&'a [u8]);
    impl memory::Memory for Bytes<'_> {
        fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
            let from = usize::try_from(addr).ok().and_then(|at| self.0.get(at..));
            let from = from.unwrap_or_default();
            let n = from.len().min(buf.len());
            buf[..n].copy_from_slice(&from[..n]);
            n
        }
    }
    let memory = Bytes(data);
    let result = u16::try_from(result % 9000)
        .ok()
        .and_then(|raw| arch::Errno::from_raw(i32::from(raw)))
        .map_or(Ok(result), Err);
    let mut text = String::new();
    for (index, kind) in format::arguments(nr).iter().enumerate() {
        match render::input(&memory, *kind, index, args) {
            Some(shown) => text += &shown,
            None => text += &render::output(&memory, *kind, index, args, result),
        }
        text.push(' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::memory::Fake;
    use super::*;

    /// What a call looks like: `memory` holds pairs of address and content.
    fn check(
        memory: &[(u64, &[u8])],
        nr: u64,
        args: [u64; 6],
        result: Result<u64>,
        expected: &str,
    ) {
        let memory = Fake(memory.iter().map(|(a, b)| (*a, b.to_vec())).collect());
        let record = Record {
            nr,
            args,
            shown: inputs(&memory, nr, &args),
            start: 0,
        };
        assert_eq!(
            format!(
                "{} = {}",
                call(&memory, &record, result),
                answer(nr, result)
            ),
            expected
        );
    }

    fn words(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    const CWD: u64 = -100i64 as u64;

    #[test]
    fn paths_and_flags() {
        let memory: &[(u64, &[u8])] = &[(0x1000, b"/etc/passwd\0")];
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
        check(
            memory,
            nr::OPENAT,
            [CWD, 0x1000, flags, 0o777, 0, 0],
            Ok(3),
            "openat(AT_FDCWD, \"/etc/passwd\", O_RDONLY|O_CLOEXEC) = 3",
        );
        let flags = (libc::O_WRONLY | libc::O_CREAT) as u64;
        check(
            memory,
            nr::OPENAT,
            [5, 0x1000, flags, 0o644, 0, 0],
            Err(Errno::EACCES),
            "openat(5, \"/etc/passwd\", O_WRONLY|O_CREAT, 0644) = -1 EACCES (Permission denied)",
        );
        check(
            &[],
            nr::UNLINK,
            [0x1000, 0, 0, 0, 0, 0],
            Err(Errno::EFAULT),
            "unlink(0x1000) = -1 EFAULT (Bad address)",
        );
        check(
            &[],
            nr::UNLINK,
            [0, 0, 0, 0, 0, 0],
            Err(Errno::EFAULT),
            "unlink(NULL) = -1 EFAULT (Bad address)",
        );
    }

    #[test]
    fn buffers_in_and_out() {
        let memory: &[(u64, &[u8])] = &[(0x1000, b"a\"b\n\x01\xff\0rest")];
        check(
            memory,
            nr::WRITE,
            [1, 0x1000, 6, 0, 0, 0],
            Ok(6),
            "write(1, \"a\\\"b\\n\\1\\377\", 6) = 6",
        );
        check(
            memory,
            nr::READ,
            [0, 0x1000, 100, 0, 0, 0],
            Ok(3),
            "read(0, \"a\\\"b\", 100) = 3",
        );
        check(
            memory,
            nr::READ,
            [0, 0x1000, 100, 0, 0, 0],
            Err(Errno::EAGAIN),
            "read(0, 0x1000, 100) = -1 EAGAIN (Resource temporarily unavailable)",
        );
        let long = vec![b'x'; 100];
        let shown = format!("write(1, \"{}\"..., 100) = 100", "x".repeat(48));
        check(
            &[(0x1000, &long)],
            nr::WRITE,
            [1, 0x1000, 100, 0, 0, 0],
            Ok(100),
            &shown,
        );
    }

    #[test]
    fn hostile_lengths_are_bounded() {
        let memory: &[(u64, &[u8])] = &[(0x1000, b"abc")];
        let huge = u64::MAX;
        check(
            memory,
            nr::WRITE,
            [1, 0x1000, huge, 0, 0, 0],
            Err(Errno::EFAULT),
            "write(1, \"abc\"..., 18446744073709551615) = -1 EFAULT (Bad address)",
        );
        check(
            memory,
            nr::WRITEV,
            [1, 0x1000, huge, 0, 0, 0],
            Err(Errno::EINVAL),
            "writev(1, 0x1000, 18446744073709551615) = -1 EINVAL (Invalid argument)",
        );
        check(
            memory,
            nr::POLL,
            [0x1000, huge, huge, 0, 0, 0],
            Err(Errno::EINVAL),
            "poll(0x1000, 18446744073709551615, -1) = -1 EINVAL (Invalid argument)",
        );
    }

    #[test]
    fn vectors() {
        let iov = words(&[0x2000, 2, 0x3000, 3]);
        let memory: &[(u64, &[u8])] = &[(0x1000, &iov), (0x2000, b"ab"), (0x3000, b"cde")];
        check(
            memory,
            nr::WRITEV,
            [1, 0x1000, 2, 0, 0, 0],
            Ok(5),
            "writev(1, [{iov_base=\"ab\", iov_len=2}, {iov_base=\"cde\", iov_len=3}], 2) = 5",
        );
        check(
            memory,
            nr::READV,
            [1, 0x1000, 2, 0, 0, 0],
            Ok(3),
            "readv(1, [{iov_base=\"ab\", iov_len=2}, {iov_base=\"c\", iov_len=3}], 2) = 3",
        );
        let argv = words(&[0x2000, 0x3000, 0]);
        let memory: &[(u64, &[u8])] = &[
            (0x1000, &argv),
            (0x2000, b"ls\0"),
            (0x3000, b"-l\0"),
            (0x4000, b"/bin/ls\0"),
        ];
        check(
            memory,
            nr::EXECVE,
            [0x4000, 0x1000, 0, 0, 0, 0],
            Ok(0),
            "execve(\"/bin/ls\", [\"ls\", \"-l\"], NULL) = 0",
        );
    }

    #[test]
    fn structures() {
        let time = words(&[1, 5]);
        check(
            &[(0x1000, &time)],
            nr::NANOSLEEP,
            [0x1000, 0, 0, 0, 0, 0],
            Err(Errno::ERESTARTSYS),
            "nanosleep({tv_sec=1, tv_nsec=5}, NULL) = ? ERESTARTSYS",
        );
        let set = words(&[1 << 1 | 1 << 16]);
        check(
            &[(0x1000, &set)],
            nr::RT_SIGPROCMASK,
            [0, 0x1000, 0, 8, 0, 0],
            Ok(0),
            "rt_sigprocmask(SIG_BLOCK, [SIGINT SIGCHLD], NULL, 8) = 0",
        );
        let full = words(&[u64::MAX]);
        check(
            &[(0x1000, &full)],
            nr::RT_SIGPROCMASK,
            [2, 0x1000, 0, 8, 0, 0],
            Ok(0),
            "rt_sigprocmask(SIG_SETMASK, ~[], NULL, 8) = 0",
        );
        let fds = [3i32.to_le_bytes(), 4i32.to_le_bytes()].concat();
        check(
            &[(0x1000, &fds)],
            nr::PIPE2,
            [0x1000, libc::O_CLOEXEC as u64, 0, 0, 0, 0],
            Ok(0),
            "pipe2([3, 4], O_CLOEXEC) = 0",
        );
        let status = (7i32 << 8).to_le_bytes();
        check(
            &[(0x1000, &status)],
            nr::WAIT4,
            [u64::MAX, 0x1000, 1, 0, 0, 0],
            Ok(9),
            "wait4(-1, [exited 7], WNOHANG, NULL) = 9",
        );
    }

    #[test]
    fn sockets() {
        let mut inet = 2u16.to_le_bytes().to_vec();
        inet.extend(80u16.to_be_bytes());
        inet.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        check(
            &[(0x1000, &inet)],
            nr::CONNECT,
            [3, 0x1000, 16, 0, 0, 0],
            Ok(0),
            "connect(3, {AF_INET, 127.0.0.1:80}, 16) = 0",
        );
        let unix = [&1u16.to_le_bytes()[..], b"/run/x\0junk"].concat();
        check(
            &[(0x1000, &unix)],
            nr::BIND,
            [3, 0x1000, unix.len() as u64, 0, 0, 0],
            Ok(0),
            "bind(3, {AF_UNIX, \"/run/x\"}, 13) = 0",
        );
        check(
            &[],
            nr::SOCKET,
            [1, 1 | libc::SOCK_CLOEXEC as u64, 0, 0, 0, 0],
            Ok(3),
            "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3",
        );
    }

    #[test]
    fn memory_calls_answer_addresses() {
        check(
            &[],
            nr::MMAP,
            [0, 4096, 3, 0x22, u64::MAX, 0],
            Ok(0x7f00_0000_0000),
            "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000",
        );
        check(
            &[],
            nr::UMASK,
            [0o22, 0, 0, 0, 0, 0],
            Ok(0o22),
            "umask(022) = 0o022",
        );
    }

    #[test]
    fn unknown_calls_and_bits() {
        check(
            &[],
            9999,
            [1, 2, 3, 4, 5, 6],
            Err(Errno::ENOSYS),
            "syscall_9999(0x1, 0x2, 0x3, 0x4, 0x5, 0x6) = -1 ENOSYS (Function not implemented)",
        );
        check(
            &[],
            nr::CLOSE_RANGE,
            [3, u64::MAX, 0x80, 0, 0, 0],
            Err(Errno::EINVAL),
            "close_range(3, 4294967295, 0x80) = -1 EINVAL (Invalid argument)",
        );
    }

    #[test]
    fn every_call_renders_with_wild_arguments() {
        let wild = [
            0,
            1,
            0x1000,
            0x0fff,
            u64::MAX,
            i64::MIN as u64,
            0x7fff_ffff_ffff,
            0xffff_ffff,
        ];
        for nr in (0..=nr::MAX).chain([u64::MAX]) {
            for (i, first) in wild.iter().enumerate() {
                let args = std::array::from_fn(|k| {
                    if k == 0 {
                        *first
                    } else {
                        wild[(i + k) % wild.len()]
                    }
                });
                let noise: Vec<u8> = (0..4096u32)
                    .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
                    .collect();
                let memory = Fake(vec![(0x1000, noise)]);
                let record = Record {
                    nr,
                    args,
                    shown: inputs(&memory, nr, &args),
                    start: 0,
                };
                for result in [Ok(*first), Err(Errno::EFAULT)] {
                    let text = call(&memory, &record, result);
                    assert!(
                        text.len() < 20_000 && !text.contains(char::is_control),
                        "{text}"
                    );
                }
            }
        }
    }

    #[test]
    fn signals_show_what_belongs_to_them() {
        use arch::Signal;
        assert_eq!(
            signal_line(&SigInfo::fault(
                Signal::SIGSEGV,
                arch::abi::SEGV_MAPERR,
                0x10
            )),
            "--- SIGSEGV {si_code=SEGV_MAPERR, si_addr=0x10} ---"
        );
        assert_eq!(
            signal_line(&SigInfo::kill(Signal::SIGTERM, 0, 7, 0)),
            "--- SIGTERM {si_code=SI_USER, si_pid=7, si_uid=0} ---"
        );
    }

    #[test]
    fn durations_have_fitting_units() {
        assert_eq!(duration(999), "0µs");
        assert_eq!(duration(9_999_999), "9999µs");
        assert_eq!(duration(10_000_000), "10ms");
        assert_eq!(duration(12_000_000_000), "12s");
    }
}
