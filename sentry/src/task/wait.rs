//! wait4(2) and waitid(2).

use super::usage::Account;
use super::{Cx, Pid, ThreadGroup};
use crate::executor::PollEvents;
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Which children are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Any,
    Pid(Pid),
    Pgrp(Pid),
}

/// What a child has to report.
#[derive(Clone)]
pub struct Report {
    pub pid: Pid,
    pub uid: u32,
    /// As wait4(2) gives it.
    pub status: i32,
    /// CLD_*.
    pub code: i32,
    /// si_status.
    pub value: i32,
    /// What it and the children it waited for have used.
    pub usage: Account,
}

/// Waits as `options` say (WNOHANG, WEXITED, WSTOPPED, WCONTINUED, WNOWAIT, __WALL, __WCLONE, __WNOTHREAD).
/// `Ok(None)`: WNOHANG and nothing to report.
pub async fn wait(cx: &Cx, which: Which, options: i32) -> Result<Option<Report>> {
    let group = &cx.task.group;
    let once = || match scan(cx, which, options) {
        Ok(Some(report)) => Ok(Some(report)),
        Ok(None) if options & libc::WNOHANG != 0 => Ok(None),
        Ok(None) => Err(Errno::EAGAIN),
        Err(e) => Err(e),
    };
    cx.wait(&group.child_events, PollEvents::all(), None, once)
        .await
}

fn eligible(cx: &Cx, child: &ThreadGroup, which: Which, options: i32) -> bool {
    let matches = match which {
        Which::Any => true,
        Which::Pid(pid) => child.pid == pid,
        Which::Pgrp(id) => child.pgrp().id == id,
    };
    if options & libc::__WNOTHREAD != 0
        && child.links.lock().parent_thread.as_ptr() != Arc::as_ptr(&cx.task)
    {
        return false;
    }
    let clone_child = child.exit_signal.load(Ordering::Relaxed) != libc::SIGCHLD;
    matches && (options & libc::__WALL != 0 || clone_child == (options & libc::__WCLONE != 0))
}

fn scan(cx: &Cx, which: Which, options: i32) -> Result<Option<Report>> {
    let group = &cx.task.group;
    let children: Vec<Arc<ThreadGroup>> = {
        let links = group.links.lock();
        links
            .children
            .iter()
            .filter(|c| eligible(cx, c, which, options))
            .cloned()
            .collect()
    };
    if children.is_empty() {
        return Err(Errno::ECHILD);
    }
    for child in children {
        if let Some(report) = examine(cx, &child, options) {
            return Ok(Some(report));
        }
    }
    Ok(None)
}

fn examine(cx: &Cx, child: &Arc<ThreadGroup>, options: i32) -> Option<Report> {
    let peek = options & libc::WNOWAIT != 0;
    let uid = child.leader().map_or(0, |l| l.creds().uid);
    let report = |status, code, value, usage| Report {
        pid: child.pid,
        uid,
        status,
        code,
        value,
        usage,
    };
    if options & libc::WEXITED != 0 {
        let status = *child.zombie.lock();
        if let Some(status) = status {
            let usage = {
                let both = child.usage.lock().clone();
                let mut usage = both.own;
                usage.add(both.children);
                usage
            };
            if !peek {
                if !super::exit::reap(cx.kernel(), child) {
                    return None;
                }
                cx.task.group.usage.lock().children.add(usage.clone());
            }
            let (code, value) = super::exit::child_code(status);
            return Some(report(status, code, value, usage));
        }
    }
    let mut signals = child.signals.lock();
    if options & libc::WSTOPPED != 0 && signals.stop.report_stopped {
        let signo = signals.stop.signal?.raw();
        signals.stop.report_stopped = peek;
        return Some(report(
            (signo << 8) | 0x7f,
            arch::abi::CLD_STOPPED,
            signo,
            Account::default(),
        ));
    }
    if options & libc::WCONTINUED != 0 && signals.stop.report_continued {
        signals.stop.report_continued = peek;
        return Some(report(
            0xffff,
            arch::abi::CLD_CONTINUED,
            libc::SIGCONT,
            Account::default(),
        ));
    }
    None
}
