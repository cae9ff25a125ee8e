//! Processes and threads: clone, execve, exit, wait, ids, process groups, sessions.

use super::Fd;
use crate::task::clone::{CloneRequest, clone as do_clone};
use crate::task::exec::{ExecRequest, exec};
use crate::task::usage::{add_usage, settled};
use crate::task::wait::{Report, Which, wait};
use crate::task::{Cx, Pid, ProcessGroup, Session, ThreadGroup};
use crate::user::{UserAddr, UserRef, UserStr};
use crate::vfs::open;
use crate::vfs::walk::WalkFlags;
use arch::abi::{CLD_CONTINUED, CLD_STOPPED, CloneArgs, Rusage, SigInfo};
use arch::signal::Signal;
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// CSIGNAL: the exit signal in clone(2)'s flags.
const CSIGNAL: u64 = 0xff;
/// Strings of execve(2) at most; more is E2BIG anyway.
const MAX_ARG_STRINGS: usize = 0x10_0000;
/// One string of execve(2) at most, with its NUL (MAX_ARG_STRLEN).
const MAX_ARG_STRLEN: usize = 32 * 4096;
/// Bytes of all strings at most, before the loader's own, tighter check.
const MAX_ARG_TOTAL: usize = 6 << 20;

/// fork(2).
pub async fn fork(cx: &Cx) -> Result<Pid> {
    do_clone(
        cx,
        CloneRequest {
            exit_signal: libc::SIGCHLD,
            ..Default::default()
        },
    )
    .await
}

/// vfork(2).
pub async fn vfork(cx: &Cx) -> Result<Pid> {
    let flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    do_clone(
        cx,
        CloneRequest {
            flags,
            exit_signal: libc::SIGCHLD,
            ..Default::default()
        },
    )
    .await
}

/// clone(2), with the argument order of x86-64.
pub async fn clone(cx: &Cx, flags: u64, stack: u64, ptid: u64, ctid: u64, tls: u64) -> Result<Pid> {
    let flags = flags & 0xffff_ffff;
    do_clone(
        cx,
        CloneRequest {
            flags: flags & !CSIGNAL,
            pidfd: ptid,
            child_tid: ctid,
            parent_tid: ptid,
            exit_signal: (flags & CSIGNAL) as i32,
            stack,
            tls,
            set_tid: 0,
        },
    )
    .await
}

/// clone3(2).
pub async fn clone3(cx: &Cx, args: UserAddr, size: usize) -> Result<Pid> {
    const VER0: usize = 64;
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < VER0 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; size.max(size_of::<CloneArgs>())];
    cx.read_bytes(args, &mut bytes[..size])?;
    if bytes[size_of::<CloneArgs>()..].iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG);
    }
    let a: CloneArgs = bytemuck::pod_read_unaligned(&bytes[..size_of::<CloneArgs>()]);
    if a.set_tid_size > 32 || (a.set_tid == 0) != (a.set_tid_size == 0) {
        return Err(Errno::EINVAL);
    }
    let exit_signal = i32::try_from(a.exit_signal).map_err(|_| Errno::EINVAL)?;
    if exit_signal != 0 && Signal::from_raw(exit_signal).is_none() {
        return Err(Errno::EINVAL);
    }
    let set_tid = if a.set_tid_size > 0 {
        if a.set_tid_size > 1 {
            return Err(Errno::EINVAL);
        }
        cx.read_obj(UserRef::<i32>::new(UserAddr(a.set_tid)))?
    } else {
        0
    };
    // clone3_args_valid: no CLONE_DETACHED, no signal bits in the flags; stack and its size come together.
    let known = 0x3_ffff_ff00u64 & !(libc::CLONE_DETACHED as u64);
    if a.flags & !known != 0
        || (a.flags & (libc::CLONE_THREAD | libc::CLONE_PARENT) as u64 != 0 && exit_signal != 0)
        || (a.stack == 0) != (a.stack_size == 0)
    {
        return Err(Errno::EINVAL);
    }
    do_clone(
        cx,
        CloneRequest {
            flags: a.flags,
            pidfd: a.pidfd,
            child_tid: a.child_tid,
            parent_tid: a.parent_tid,
            exit_signal,
            stack: a.stack.wrapping_add(a.stack_size),
            tls: a.tls,
            set_tid,
        },
    )
    .await
}

/// Reads memory a page at a time, and keeps the last ones: the pointers and strings of execve(2) are near each other.
struct Pages<'a> {
    cx: &'a Cx,
    kept: Vec<Page>,
    /// Which one goes next.
    oldest: usize,
}

struct Page {
    at: u64,
    /// As much as could be read.
    data: Vec<u8>,
}

const PAGE: u64 = 4096;
const PAGES_KEPT: usize = 8;

impl<'a> Pages<'a> {
    fn new(cx: &'a Cx) -> Self {
        Self {
            cx,
            kept: Vec::new(),
            oldest: 0,
        }
    }

    /// What is at `addr`, to the end of its page; EFAULT if nothing can be read there.
    fn from(&mut self, addr: u64) -> Result<&[u8]> {
        let at = addr & !(PAGE - 1);
        let found = self.kept.iter().position(|p| p.at == at);
        let index = match found {
            Some(index) => index,
            None => self.fetch(at),
        };
        let off = (addr - at) as usize;
        match self.kept[index].data.get(off..) {
            Some(data) if !data.is_empty() => Ok(data),
            _ => Err(Errno::EFAULT),
        }
    }

    fn fetch(&mut self, at: u64) -> usize {
        let mut data = vec![0; PAGE as usize];
        let got = self.cx.read_partial(UserAddr(at), &mut data);
        data.truncate(got);
        let page = Page { at, data };
        if self.kept.len() < PAGES_KEPT {
            self.kept.push(page);
            return self.kept.len() - 1;
        }
        let index = self.oldest;
        self.oldest = (index + 1) % PAGES_KEPT;
        self.kept[index] = page;
        index
    }

    fn pointer(&mut self, addr: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        let mut done = 0;
        while done < bytes.len() {
            let data = self.from(addr.wrapping_add(done as u64))?;
            let n = data.len().min(bytes.len() - done);
            bytes[done..done + n].copy_from_slice(&data[..n]);
            done += n;
        }
        Ok(u64::from_ne_bytes(bytes))
    }

    /// A string without its NUL; E2BIG if that is not among the first MAX_ARG_STRLEN bytes.
    fn string(&mut self, addr: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < MAX_ARG_STRLEN {
            let data = self.from(addr.wrapping_add(out.len() as u64))?;
            let data = &data[..data.len().min(MAX_ARG_STRLEN - out.len())];
            if let Some(end) = data.iter().position(|&b| b == 0) {
                out.extend_from_slice(&data[..end]);
                return Ok(out);
            }
            out.extend_from_slice(data);
        }
        Err(Errno::E2BIG)
    }
}

fn read_strings(pages: &mut Pages<'_>, array: UserAddr, total: &mut usize) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    if array.is_null() {
        return Ok(out);
    }
    let mut at = array.0;
    loop {
        let ptr = pages.pointer(at)?;
        if ptr == 0 {
            return Ok(out);
        }
        let string = pages.string(ptr)?;
        *total += string.len() + 9;
        if *total > MAX_ARG_TOTAL || out.len() >= MAX_ARG_STRINGS {
            return Err(Errno::E2BIG);
        }
        out.push(string);
        at = at.wrapping_add(8);
    }
}

/// The name of what is executed as scripts and AT_EXECFN see it (bprm->filename).
fn exec_name(dir: Fd, path: Vec<u8>) -> Vec<u8> {
    if dir == Fd::CWD || path.first() == Some(&b'/') {
        return path;
    }
    let mut name = format!("/dev/fd/{}", dir.0).into_bytes();
    if !path.is_empty() {
        name.push(b'/');
        name.extend_from_slice(&path);
    }
    name
}

/// execve(2).
pub async fn execve(cx: &Cx, path: UserStr, argv: UserAddr, envp: UserAddr) -> Result<()> {
    execveat(cx, Fd::CWD, path, argv, envp, 0).await
}

/// execveat(2).
pub async fn execveat(
    cx: &Cx,
    dir: Fd,
    path: UserStr,
    argv: UserAddr,
    envp: UserAddr,
    flags: i32,
) -> Result<()> {
    if flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = cx.read_path(path)?;
    let at = super::path::start(cx, dir, &path)?;
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & libc::AT_SYMLINK_NOFOLLOW == 0);
    walk.set(WalkFlags::EMPTY, flags & libc::AT_EMPTY_PATH != 0);
    let file = open::open_exec(&cx.env(), &at, &path, walk)?;
    let name = exec_name(dir, path);
    let inaccessible = name.starts_with(b"/dev/fd/") && cx.task.files().cloexec(dir) == Ok(true);
    let mut total = 0;
    let mut pages = Pages::new(cx);
    let mut argv = read_strings(&mut pages, argv, &mut total)?;
    let envp = read_strings(&mut pages, envp, &mut total)?;
    drop(pages);
    if argv.is_empty() {
        // Since 5.18 an empty argument list gets an empty first string.
        argv.push(Vec::new());
    }
    exec(
        cx,
        ExecRequest {
            file,
            path: name,
            argv,
            envp,
            inaccessible,
        },
    )
    .await
}

/// _exit(2): the calling thread.
pub fn exit(cx: &Cx, status: i32) -> Result<()> {
    cx.task.request_exit((status & 0xff) << 8);
    Ok(())
}

/// exit_group(2).
pub fn exit_group(cx: &Cx, status: i32) -> Result<()> {
    crate::task::exit::begin_group_exit(&cx.task.group, (status & 0xff) << 8);
    Ok(())
}

/// wait4(2).
pub async fn wait4(
    cx: &Cx,
    pid: i32,
    status: UserRef<i32>,
    options: i32,
    usage: UserRef<Rusage>,
) -> Result<Pid> {
    let known = libc::WNOHANG
        | libc::WUNTRACED
        | libc::WCONTINUED
        | libc::__WNOTHREAD
        | libc::__WCLONE
        | libc::__WALL;
    if options & !known != 0 {
        return Err(Errno::EINVAL);
    }
    if pid == i32::MIN {
        return Err(Errno::ESRCH);
    }
    let which = match pid {
        -1 => Which::Any,
        0 => Which::Pgrp(cx.task.group.pgrp().id),
        p if p < 0 => Which::Pgrp(-p),
        p => Which::Pid(p),
    };
    match wait(cx, which, options | libc::WEXITED).await? {
        None => Ok(0),
        Some(report) => {
            cx.write_opt(status, &report.status)?;
            report_usage(cx, &report, usage).await?;
            Ok(report.pid)
        }
    }
}

/// waitid(2).
pub async fn waitid(
    cx: &Cx,
    idtype: u32,
    id: i32,
    info: UserRef<SigInfo>,
    options: i32,
    usage: UserRef<Rusage>,
) -> Result<()> {
    let events = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED;
    let known =
        events | libc::WNOHANG | libc::WNOWAIT | libc::__WNOTHREAD | libc::__WCLONE | libc::__WALL;
    if options & !known != 0 || options & events == 0 {
        return Err(Errno::EINVAL);
    }
    let mut options = options;
    let which = match idtype {
        libc::P_ALL => Which::Any,
        libc::P_PID if id > 0 => Which::Pid(id),
        libc::P_PGID if id == 0 => Which::Pgrp(cx.task.group.pgrp().id),
        libc::P_PGID if id > 0 => Which::Pgrp(id),
        libc::P_PIDFD if id >= 0 => {
            let (group, nonblocking) = super::event::pidfd_group(cx, Fd(id))?;
            if nonblocking && options & libc::WNOHANG == 0 {
                // A non-blocking pidfd turns "would wait" into EAGAIN.
                let found = wait(cx, Which::Pid(group.pid), options | libc::WNOHANG).await?;
                let report = found.ok_or(Errno::EAGAIN)?;
                return report_info(cx, Some(report), info, usage).await;
            }
            Which::Pid(group.pid)
        }
        _ => return Err(Errno::EINVAL),
    };
    options &= known;
    let report = wait(cx, which, options).await?;
    report_info(cx, report, info, usage).await
}

/// The usage of a child that has been waited for. Of one that is only stopped, what it has used up to now.
async fn report_usage(cx: &Cx, report: &Report, out: UserRef<Rusage>) -> Result<()> {
    if out.is_null() {
        return Ok(());
    }
    let usage = match report.code {
        CLD_STOPPED | CLD_CONTINUED => {
            let group = cx.kernel().tasks.lock().group(report.pid);
            let (mut own, children) = group.map(|g| g.cpu_usage()).unwrap_or_default();
            add_usage(&mut own, &children);
            own
        }
        _ => settled(cx, || report.usage.clone()).await,
    };
    cx.write_obj(out, &usage)
}

async fn report_info(
    cx: &Cx,
    report: Option<Report>,
    info: UserRef<SigInfo>,
    usage: UserRef<Rusage>,
) -> Result<()> {
    let filled = report.as_ref().map_or_else(SigInfo::default, |r| {
        SigInfo::chld(Signal::SIGCHLD, r.code, r.pid, r.uid, r.value, 0, 0)
    });
    if let Some(r) = &report {
        report_usage(cx, r, usage).await?;
    }
    // The kernel writes six fields only; times stay untouched, padding too.
    if !info.is_null() {
        let bytes = bytemuck::bytes_of(&filled);
        cx.write_bytes(info.addr(), &bytes[..12])?;
        cx.write_bytes(info.addr().add(16), &bytes[16..28])?;
    }
    Ok(())
}

/// getpid(2).
pub fn getpid(cx: &Cx) -> Result<Pid> {
    Ok(cx.task.group.pid)
}

/// gettid(2).
pub fn gettid(cx: &Cx) -> Result<Pid> {
    Ok(cx.task.tid())
}

/// getppid(2).
pub fn getppid(cx: &Cx) -> Result<Pid> {
    Ok(cx.task.group.ppid())
}

/// set_tid_address(2).
pub fn set_tid_address(cx: &Cx, addr: u64) -> Result<Pid> {
    cx.task.clear_child_tid.store(addr, Ordering::SeqCst);
    Ok(cx.task.tid())
}

fn find(cx: &Cx, pid: Pid) -> Result<Arc<ThreadGroup>> {
    if pid == 0 {
        return Ok(Arc::clone(&cx.task.group));
    }
    let tree = cx.kernel().tasks.lock();
    let task = tree.task(pid).map(|t| Arc::clone(&t.group));
    task.or_else(|| tree.group(pid)).ok_or(Errno::ESRCH)
}

/// getpgid(2).
pub fn getpgid(cx: &Cx, pid: Pid) -> Result<Pid> {
    Ok(find(cx, pid)?.pgrp().id)
}

/// getpgrp(2).
pub fn getpgrp(cx: &Cx) -> Result<Pid> {
    getpgid(cx, 0)
}

/// getsid(2).
pub fn getsid(cx: &Cx, pid: Pid) -> Result<Pid> {
    Ok(find(cx, pid)?.pgrp().session.id)
}

/// setpgid(2).
pub fn setpgid(cx: &Cx, pid: Pid, pgid: Pid) -> Result<()> {
    let own = &cx.task.group;
    let pid = if pid == 0 { own.pid } else { pid };
    let pgid = if pgid == 0 { pid } else { pgid };
    if pgid < 0 {
        return Err(Errno::EINVAL);
    }
    let tree = cx.kernel().tasks.lock();
    let target = tree.group(pid).ok_or(Errno::ESRCH)?;
    let session = target.pgrp().session.clone();
    if target.pid != own.pid {
        if target.parent().is_none_or(|p| p.pid != own.pid) {
            return Err(Errno::ESRCH);
        }
        if session.id != own.pgrp().session.id {
            return Err(Errno::EPERM);
        }
        if target.has_execed.load(Ordering::Relaxed) {
            return Err(Errno::EACCES);
        }
    }
    if session.id == target.pid {
        return Err(Errno::EPERM);
    }
    let pgrp = if pgid == pid {
        match tree.pgrp(pgid) {
            Some(existing) => existing,
            None => Arc::new(ProcessGroup { id: pgid, session }),
        }
    } else {
        let existing = tree.pgrp(pgid).ok_or(Errno::EPERM)?;
        if existing.session.id != session.id {
            return Err(Errno::EPERM);
        }
        existing
    };
    target.links.lock().pgrp = pgrp;
    Ok(())
}

/// setsid(2).
pub fn setsid(cx: &Cx) -> Result<Pid> {
    let own = &cx.task.group;
    let tree = cx.kernel().tasks.lock();
    if own.pgrp().session.id == own.pid || tree.pgrp(own.pid).is_some() {
        return Err(Errno::EPERM);
    }
    let session = Session::new(own.pid);
    own.links.lock().pgrp = Arc::new(ProcessGroup {
        id: own.pid,
        session,
    });
    own.no_terminal.store(false, Ordering::Relaxed);
    Ok(own.pid)
}
