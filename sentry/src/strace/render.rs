//! How each kind of argument is shown.
//!
//! Lengths and counts come from the application and mean nothing: everything here is bounded by constants of its own.

use super::format::Kind;
use super::memory::{Memory, int, long, word};
use super::names::{self, bits, one};
use arch::Result;
use std::fmt::Write as _;

/// Bytes of a buffer that are shown.
const MAX_BYTES: usize = 48;
/// Bytes of a path that are shown.
const MAX_PATH: usize = 256;
/// Elements of an array that are shown.
const MAX_ITEMS: usize = 16;

/// An argument as it is when the call begins; `None` for one that the call fills in.
pub fn input(memory: &impl Memory, kind: Kind, index: usize, args: &[u64; 6]) -> Option<String> {
    let value = args[index];
    let low = value as u32;
    let arg = |i: u8| args.get(usize::from(i)).copied().unwrap_or(0);
    Some(match kind {
        Kind::Int | Kind::Fd => low.cast_signed().to_string(),
        Kind::Uint => low.to_string(),
        Kind::Long => value.cast_signed().to_string(),
        Kind::Size => value.to_string(),
        Kind::Hex => format!("{value:#x}"),
        Kind::Octal => octal(low),
        Kind::Pointer => pointer(value),
        Kind::Dir if low.cast_signed() == libc::AT_FDCWD => "AT_FDCWD".into(),
        Kind::Dir => low.cast_signed().to_string(),
        Kind::Path => text(memory, value, MAX_PATH),
        Kind::Text => text(memory, value, MAX_BYTES),
        Kind::Bytes(len) => bytes(memory, value, arg(len)),
        Kind::Bits(names) => bits(names, low),
        Kind::One(names) => one(names, low),
        Kind::OpenFlags => open_flags(low),
        Kind::CreationMode(flags) => creation_mode(arg(flags) as u32, low),
        Kind::OpenHow => structure::<24>(memory, value, |s| {
            let (flags, mode) = (
                open_flags(word::<8>(s, 0) as u32),
                octal(word::<8>(s, 8) as u32),
            );
            format!(
                "{{flags={flags}, mode={mode}, resolve={:#x}}}",
                word::<8>(s, 16)
            )
        }),
        Kind::SocketType => socket_type(low),
        Kind::Signal => names::signal(low.into()),
        Kind::SignalSet => structure::<8>(memory, value, |s| signal_set(word::<8>(s, 0))),
        Kind::Action => structure::<32>(memory, value, action),
        Kind::Timespec => structure::<16>(memory, value, |s| timespec(s, 0)),
        Kind::Timespecs => structure::<32>(memory, value, |s| {
            format!("[{}, {}]", timespec(s, 0), timespec(s, 16))
        }),
        Kind::Timeval => structure::<16>(memory, value, timeval),
        Kind::Interval => structure::<32>(memory, value, |s| {
            format!(
                "{{interval={}.{:09}, value={}.{:09}}}",
                long(s, 0),
                long(s, 8),
                long(s, 16),
                long(s, 24)
            )
        }),
        Kind::Iovec(count) => iovec(memory, value, arg(count), None),
        Kind::Strings => strings(memory, value, true),
        Kind::StringCount => strings(memory, value, false),
        Kind::IntAt => structure::<4>(memory, value, |s| format!("[{}]", int(s, 0))),
        Kind::LongAt => structure::<8>(memory, value, |s| format!("[{}]", long(s, 0))),
        Kind::Address(len) => address(memory, value, arg(len)),
        Kind::Message => message(memory, value, None),
        Kind::EpollEvent => structure::<12>(memory, value, epoll_event),
        Kind::Rlimit => structure::<16>(memory, value, rlimit),
        Kind::CloneFlags => clone_flags(value),
        Kind::CloneArgs(len) => clone_args(memory, value, arg(len)),
        Kind::FutexOp => futex_op(low),
        Kind::Ioctl => names::IOCTL
            .iter()
            .find(|(n, _)| *n == low)
            .map_or_else(|| format!("{low:#x}"), |(_, name)| (*name).into()),
        Kind::FcntlArg => fcntl_arg(memory, arg(1) as u32, value),
        Kind::PselectMask => structure::<16>(memory, value, |s| pointer(word::<8>(s, 0))),
        Kind::FdSet(count) => fd_set(memory, value, arg(count)),
        Kind::Filled
        | Kind::FilledText
        | Kind::FilledSignalSet
        | Kind::FilledAction
        | Kind::FilledTimespec
        | Kind::FilledTimeval
        | Kind::FilledIovec(_)
        | Kind::Stat
        | Kind::FilledFds
        | Kind::FilledInt
        | Kind::WaitStatus
        | Kind::FilledAddress(_)
        | Kind::FilledMessage
        | Kind::FilledEpollEvents
        | Kind::FilledRlimit
        | Kind::Poll(_) => return None,
    })
}

/// An argument that the call has filled in, if it went well.
pub fn output(
    memory: &impl Memory,
    kind: Kind,
    index: usize,
    args: &[u64; 6],
    result: Result<u64>,
) -> String {
    let value = args[index];
    let arg = |i: u8| args.get(usize::from(i)).copied().unwrap_or(0);
    let Ok(returned) = result else {
        return match kind {
            // Filled in on failure too, and interesting before.
            Kind::Poll(count) => poll(memory, value, arg(count)),
            _ => pointer(value),
        };
    };
    match kind {
        Kind::Filled => bytes(memory, value, returned),
        Kind::FilledText => text(memory, value, MAX_PATH),
        Kind::FilledSignalSet => structure::<8>(memory, value, |s| signal_set(word::<8>(s, 0))),
        Kind::FilledAction => structure::<32>(memory, value, action),
        Kind::FilledTimespec => structure::<16>(memory, value, |s| timespec(s, 0)),
        Kind::FilledTimeval => structure::<16>(memory, value, timeval),
        Kind::FilledIovec(count) => iovec(memory, value, arg(count), Some(returned)),
        Kind::Stat => structure::<144>(memory, value, stat),
        Kind::FilledFds => {
            structure::<8>(memory, value, |s| format!("[{}, {}]", int(s, 0), int(s, 4)))
        }
        Kind::FilledInt => structure::<4>(memory, value, |s| format!("[{}]", int(s, 0))),
        Kind::WaitStatus if returned == 0 => pointer(value),
        Kind::WaitStatus => {
            structure::<4>(memory, value, |s| format!("[{}]", wait_status(int(s, 0))))
        }
        Kind::FilledAddress(len) => {
            let len = memory.fixed::<4>(arg(len)).map_or(0, |s| word::<4>(&s, 0));
            address(memory, value, len)
        }
        Kind::FilledMessage => message(memory, value, Some(returned)),
        Kind::FilledEpollEvents => array::<12>(memory, value, returned, epoll_event),
        Kind::FilledRlimit => structure::<16>(memory, value, rlimit),
        Kind::Poll(count) => poll(memory, value, arg(count)),
        _ => pointer(value),
    }
}

fn pointer(value: u64) -> String {
    if value == 0 {
        "NULL".into()
    } else {
        format!("{value:#x}")
    }
}

fn octal(value: u32) -> String {
    if value == 0 {
        "0".into()
    } else {
        format!("0{value:o}")
    }
}

/// A structure of `N` bytes, or its address if it can't be read.
fn structure<const N: usize>(
    memory: &impl Memory,
    addr: u64,
    show: impl Fn(&[u8]) -> String,
) -> String {
    match addr {
        0 => "NULL".into(),
        _ => memory
            .fixed::<N>(addr)
            .map_or_else(|| pointer(addr), |s| show(&s)),
    }
}

/// The first of `count` structures of `N` bytes; the address if they can't be read.
fn array<const N: usize>(
    memory: &impl Memory,
    addr: u64,
    count: u64,
    show: impl Fn(&[u8]) -> String,
) -> String {
    if addr == 0 {
        return "NULL".into();
    }
    let shown = usize::try_from(count).unwrap_or(usize::MAX).min(MAX_ITEMS);
    let Some(data) = memory.bytes(addr, shown * N) else {
        return pointer(addr);
    };
    let mut items: Vec<String> = data.chunks_exact(N).map(show).collect();
    if count > shown as u64 {
        items.push("...".into());
    }
    format!("[{}]", items.join(", "))
}

/// Appends bytes as C writes them in a string.
pub fn escape(data: &[u8], out: &mut String) {
    for (i, byte) in data.iter().enumerate() {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(*byte)),
            _ => {
                // Short, unless a digit follows.
                let digit = data.get(i + 1).is_some_and(u8::is_ascii_digit);
                let _ = if digit {
                    write!(out, "\\{byte:03o}")
                } else {
                    write!(out, "\\{byte:o}")
                };
            }
        }
    }
}

fn quoted(data: &[u8], cut: bool) -> String {
    let mut out = String::from("\"");
    escape(data, &mut out);
    out + if cut { "\"..." } else { "\"" }
}

fn text(memory: &impl Memory, addr: u64, max: usize) -> String {
    match memory.string(addr, max) {
        Some((data, complete)) => quoted(&data, !complete),
        None => pointer(addr),
    }
}

fn bytes(memory: &impl Memory, addr: u64, len: u64) -> String {
    let mut buf = [0; MAX_BYTES];
    let want = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_BYTES);
    let got = memory.read(addr, &mut buf[..want]);
    if (got == 0 && len > 0) || addr == 0 {
        return pointer(addr);
    }
    quoted(&buf[..got], (got as u64) < len)
}

fn open_flags(flags: u32) -> String {
    let access = match flags.cast_signed() & libc::O_ACCMODE {
        libc::O_RDONLY => "O_RDONLY",
        libc::O_WRONLY => "O_WRONLY",
        libc::O_RDWR => "O_RDWR",
        _ => "O_ACCMODE",
    };
    // O_LARGEFILE is always there on 64 bits, and says nothing.
    match flags & !(libc::O_ACCMODE as u32) & !(arch::abi::O_LARGEFILE as u32) {
        0 => access.into(),
        rest => format!("{access}|{}", bits(names::OPEN, rest)),
    }
}

fn creation_mode(flags: u32, mode: u32) -> String {
    let creates = flags.cast_signed() & (libc::O_CREAT | arch::abi::O_TMPFILE_BIT) != 0;
    if creates { octal(mode) } else { String::new() }
}

fn socket_type(value: u32) -> String {
    let base = one(names::SOCK, value & 0xf);
    match value & !0xf {
        0 => base,
        rest if value & 0xf == 0 => bits(names::SOCK_F, rest),
        rest => format!("{base}|{}", bits(names::SOCK_F, rest)),
    }
}

fn signal_set(set: u64) -> String {
    // A nearly full set is shown by what it lacks.
    let (prefix, shown) = if set.count_ones() > 40 {
        ("~", !set)
    } else {
        ("", set)
    };
    let list: Vec<_> = (1..=64)
        .filter(|n| shown & (1 << (n - 1)) != 0)
        .map(names::signal)
        .collect();
    format!("{prefix}[{}]", list.join(" "))
}

fn action(s: &[u8]) -> String {
    let handler = match word::<8>(s, 0) {
        0 => "SIG_DFL".into(),
        1 => "SIG_IGN".into(),
        address => pointer(address),
    };
    // SA_RESTORER is in libc's every call.
    let flags = word::<8>(s, 8) as u32 & !0x0400_0000;
    format!(
        "{{sa_handler={handler}, sa_mask={}, sa_flags={}}}",
        signal_set(word::<8>(s, 24)),
        bits(names::SA, flags)
    )
}

fn timespec(s: &[u8], offset: usize) -> String {
    match long(s, offset + 8) {
        0x3fff_ffff => "UTIME_NOW".into(),
        0x3fff_fffe => "UTIME_OMIT".into(),
        ns => format!("{{tv_sec={}, tv_nsec={ns}}}", long(s, offset)),
    }
}

fn timeval(s: &[u8]) -> String {
    format!("{{tv_sec={}, tv_usec={}}}", long(s, 0), long(s, 8))
}

fn rlimit(s: &[u8]) -> String {
    let limit = |n: u64| {
        if n == u64::MAX {
            "RLIM_INFINITY".into()
        } else {
            n.to_string()
        }
    };
    format!(
        "{{rlim_cur={}, rlim_max={}}}",
        limit(word::<8>(s, 0)),
        limit(word::<8>(s, 8))
    )
}

fn epoll_event(s: &[u8]) -> String {
    format!(
        "{{{}, {:#x}}}",
        bits(names::EPOLL, word::<4>(s, 0) as u32),
        word::<8>(s, 4)
    )
}

fn poll(memory: &impl Memory, addr: u64, count: u64) -> String {
    array::<8>(memory, addr, count, |s| {
        let (events, revents) = (word::<2>(s, 4) as u32, word::<2>(s, 6) as u32);
        let mut out = format!("{{fd={}, events={}", int(s, 0), bits(names::POLL, events));
        if revents != 0 {
            let _ = write!(out, ", revents={}", bits(names::POLL, revents));
        }
        out + "}"
    })
}

fn stat(s: &[u8]) -> String {
    let mode = word::<4>(s, 24) as u32;
    let kind = match mode & libc::S_IFMT {
        libc::S_IFREG => "S_IFREG",
        libc::S_IFDIR => "S_IFDIR",
        libc::S_IFLNK => "S_IFLNK",
        libc::S_IFCHR => "S_IFCHR",
        libc::S_IFBLK => "S_IFBLK",
        libc::S_IFIFO => "S_IFIFO",
        libc::S_IFSOCK => "S_IFSOCK",
        _ => "0",
    };
    let (ino, size) = (word::<8>(s, 8), long(s, 48));
    format!(
        "{{st_mode={kind}|{}, st_ino={ino}, st_size={size}}}",
        octal(mode & !libc::S_IFMT)
    )
}

fn wait_status(status: i32) -> String {
    if libc::WIFEXITED(status) {
        format!("exited {}", libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        let core = if libc::WCOREDUMP(status) {
            ", core"
        } else {
            ""
        };
        format!(
            "killed by {}{core}",
            names::signal(libc::WTERMSIG(status) as u64)
        )
    } else if libc::WIFSTOPPED(status) {
        format!(
            "stopped by {}",
            names::signal(libc::WSTOPSIG(status) as u64)
        )
    } else if libc::WIFCONTINUED(status) {
        "continued".into()
    } else {
        format!("{status:#x}")
    }
}

/// With `filled`, no more than that many bytes of the buffers.
fn iovec(memory: &impl Memory, addr: u64, count: u64, filled: Option<u64>) -> String {
    let left = std::cell::Cell::new(filled.unwrap_or(u64::MAX));
    array::<16>(memory, addr, count, |s| {
        let (base, len) = (word::<8>(s, 0), word::<8>(s, 8));
        let shown = len.min(left.get());
        left.set(left.get() - shown);
        let data = if shown == 0 {
            pointer(base)
        } else {
            bytes(memory, base, shown)
        };
        format!("{{iov_base={data}, iov_len={len}}}")
    })
}

fn message(memory: &impl Memory, addr: u64, filled: Option<u64>) -> String {
    structure::<56>(memory, addr, |s| {
        let name = address(memory, word::<8>(s, 0), word::<4>(s, 8));
        let data = iovec(memory, word::<8>(s, 16), word::<8>(s, 24), filled);
        let mut out = format!("{{msg_name={name}, msg_iov={data}");
        let control = word::<8>(s, 40);
        if control != 0 {
            let _ = write!(out, ", msg_controllen={control}");
        }
        let _ = write!(
            out,
            ", msg_flags={}}}",
            bits(names::MSG, word::<4>(s, 48) as u32)
        );
        out
    })
}

/// Pointers to strings; only their number unless `show`.
fn strings(memory: &impl Memory, addr: u64, show: bool) -> String {
    if addr == 0 {
        return "NULL".into();
    }
    let mut items = Vec::new();
    for i in 0u64.. {
        if items.len() == if show { MAX_ITEMS } else { 1000 } {
            items.push("...".into());
            break;
        }
        match addr.checked_add(i * 8).and_then(|at| memory.fixed::<8>(at)) {
            None => return pointer(addr),
            Some(s) if word::<8>(&s, 0) == 0 => break,
            Some(s) => items.push(if show {
                text(memory, word::<8>(&s, 0), MAX_BYTES)
            } else {
                String::new()
            }),
        }
    }
    if show {
        format!("[{}]", items.join(", "))
    } else {
        format!("{addr:#x} /* {} strings */", items.len())
    }
}

/// A socket address (`struct sockaddr` of some family).
fn address(memory: &impl Memory, addr: u64, len: u64) -> String {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(128);
    if addr == 0 || len < 2 {
        return pointer(addr);
    }
    let Some(s) = memory.bytes(addr, len) else {
        return pointer(addr);
    };
    let family = word::<2>(&s, 0) as u32;
    let port = u16::from_be_bytes([
        s.get(2).copied().unwrap_or(0),
        s.get(3).copied().unwrap_or(0),
    ]);
    match family.cast_signed() {
        libc::AF_UNIX => match &s[2..] {
            [] => "{AF_UNIX}".into(),
            [0, name @ ..] => format!("{{AF_UNIX, @{}}}", quoted(name, false)),
            name => {
                let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
                format!("{{AF_UNIX, {}}}", quoted(&name[..end], false))
            }
        },
        libc::AF_INET if len >= 8 => {
            format!("{{AF_INET, {}.{}.{}.{}:{port}}}", s[4], s[5], s[6], s[7])
        }
        libc::AF_INET6 if len >= 24 => {
            let mut octets = [0; 16];
            octets.copy_from_slice(&s[8..24]);
            format!(
                "{{AF_INET6, [{}]:{port}}}",
                std::net::Ipv6Addr::from(octets)
            )
        }
        libc::AF_NETLINK => format!(
            "{{AF_NETLINK, pid={}, groups={:#x}}}",
            word::<4>(&s, 4),
            word::<4>(&s, 8)
        ),
        _ => format!("{{{}, ...}}", one(names::AF, family)),
    }
}

/// A named combination for 64-bit flags whose low byte is a signal.
fn clone_flags(value: u64) -> String {
    let signal = value & 0xff;
    let mut out = bits(names::CLONE, (value & 0xffff_ff00) as u32);
    if value >> 32 != 0 {
        let _ = write!(out, "|{:#x}", value & !0xffff_ffff);
    }
    match (signal, out.as_str()) {
        (0, _) => out,
        (_, "0") => names::signal(signal),
        _ => out + "|" + &names::signal(signal),
    }
}

fn clone_args(memory: &impl Memory, addr: u64, len: u64) -> String {
    if len < 64 {
        return pointer(addr);
    }
    structure::<64>(memory, addr, |s| {
        let flags = clone_flags(word::<8>(s, 0));
        let signal = names::signal(word::<8>(s, 32));
        let (stack, size, tls) = (word::<8>(s, 40), word::<8>(s, 48), word::<8>(s, 56));
        format!(
            "{{flags={flags}, exit_signal={signal}, stack={}, stack_size={size:#x}, tls={}}}",
            pointer(stack),
            pointer(tls)
        )
    })
}

fn futex_op(value: u32) -> String {
    let options = (libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) as u32;
    let command = one(names::FUTEX, value & !options);
    match value & options {
        0 => command,
        set => format!("{command}|{}", bits(names::FUTEX_F, set)),
    }
}

fn fcntl_arg(memory: &impl Memory, command: u32, value: u64) -> String {
    match command.cast_signed() {
        libc::F_GETFD | libc::F_GETFL | libc::F_GETOWN | libc::F_GETPIPE_SZ | libc::F_GET_SEALS => {
            String::new()
        }
        libc::F_SETFD if value == 1 => "FD_CLOEXEC".into(),
        libc::F_SETFL => open_flags(value as u32),
        libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW => structure::<32>(memory, value, |s| {
            let kind = match word::<2>(s, 0) {
                0 => "F_RDLCK",
                1 => "F_WRLCK",
                2 => "F_UNLCK",
                _ => "?",
            };
            let whence = one(names::SEEK, word::<2>(s, 2) as u32);
            format!(
                "{{l_type={kind}, l_whence={whence}, l_start={}, l_len={}}}",
                long(s, 8),
                long(s, 16)
            )
        }),
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC | libc::F_SETOWN | libc::F_SETPIPE_SZ => {
            (value as u32).cast_signed().to_string()
        }
        _ => format!("{value:#x}"),
    }
}

fn fd_set(memory: &impl Memory, addr: u64, count: u64) -> String {
    if addr == 0 {
        return "NULL".into();
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(1024);
    let Some(data) = memory.bytes(addr, count.div_ceil(64) * 8) else {
        return pointer(addr);
    };
    let set = |n: &usize| data[n / 8] & (1 << (n % 8)) != 0;
    let mut fds: Vec<String> = (0..count)
        .filter(set)
        .take(MAX_ITEMS + 1)
        .map(|n| n.to_string())
        .collect();
    if fds.len() > MAX_ITEMS {
        fds[MAX_ITEMS] = "...".into();
    }
    format!("[{}]", fds.join(" "))
}
