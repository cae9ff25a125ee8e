//! Controlling terminals and job control (drivers/tty/tty_jobctrl.c).

use super::Tty;
use super::pair::Control;
use crate::kernel::Kernel;
use crate::task::tree::{ProcessGroup, Session};
use crate::task::{Cx, Pid, ThreadGroup, cap};
use arch::abi::SigInfo;
use arch::signal::Signal;
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The controlling terminal of a process.
pub fn current(group: &ThreadGroup) -> Option<Arc<Tty>> {
    if group.no_terminal.load(Ordering::Relaxed) {
        return None;
    }
    group.pgrp().session.tty.lock().clone()
}

/// Whether `tty` is the controlling terminal of a process.
pub fn is_current(group: &ThreadGroup, tty: &Tty) -> bool {
    current(group).is_some_and(|t| std::ptr::eq(&*t, tty))
}

fn is_leader(group: &ThreadGroup) -> bool {
    group.pgrp().session.id == group.pid
}

impl Tty {
    /// The session whose controlling terminal it is.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.control.lock().session.upgrade()
    }

    /// The foreground process group; 0: none.
    pub fn foreground(&self) -> Pid {
        self.control.lock().foreground
    }

    /// Makes it the controlling terminal of a session, with a group of that in the foreground (__proc_set_tty). The session has none yet.
    pub fn make_controlling(self: &Arc<Self>, pgrp: &ProcessGroup) {
        let session = &pgrp.session;
        *self.control.lock() = Control {
            session: Arc::downgrade(session),
            foreground: pgrp.id,
        };
        *session.tty.lock() = Some(Arc::clone(self));
        session.lost_foreground.store(0, Ordering::Relaxed);
    }
}

/// A terminal has been opened for reading without O_NOCTTY: a session leader without one gets it, if nobody has it.
pub(super) fn acquire(cx: &Cx, tty: &Arc<Tty>) {
    let group = &cx.task.group;
    let pgrp = group.pgrp();
    if pgrp.session.id != group.pid {
        return;
    }
    let _control = cx.kernel().terminals.control.lock();
    if pgrp.session.tty.lock().is_none() && tty.session().is_none() {
        tty.make_controlling(&pgrp);
    }
}

/// TIOCSCTTY. `readable`: the descriptor is open for reading; `steal`: the request's argument was 1.
pub(super) fn set_controlling(cx: &Cx, tty: &Arc<Tty>, readable: bool, steal: bool) -> Result<()> {
    let group = &cx.task.group;
    let pgrp = group.pgrp();
    let privileged = cx.task.creds().has_cap(cap::SYS_ADMIN);
    let _control = cx.kernel().terminals.control.lock();
    let owner = tty.session();
    if is_leader(group)
        && owner
            .as_ref()
            .is_some_and(|s| Arc::ptr_eq(s, &pgrp.session))
    {
        return Ok(());
    }
    if !is_leader(group) || pgrp.session.tty.lock().is_some() {
        return Err(Errno::EPERM);
    }
    if owner.is_some() && !(steal && privileged) {
        return Err(Errno::EPERM);
    }
    if !readable && !privileged {
        return Err(Errno::EPERM);
    }
    if let Some(owner) = owner {
        *owner.tty.lock() = None;
    }
    tty.make_controlling(&pgrp);
    Ok(())
}

/// TIOCNOTTY: a session leader gives the terminal up for its session, another process for itself.
pub(super) fn give_up(cx: &Cx, tty: &Tty) -> Result<()> {
    let group = &cx.task.group;
    if !is_current(group, tty) {
        return Err(Errno::ENOTTY);
    }
    if is_leader(group) {
        disassociate(cx.kernel(), group, false);
    } else {
        group.no_terminal.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// A session leader ends, and its session loses the terminal: SIGHUP to the foreground process group. To be called while the
/// process is still in the tree, before its children get another parent.
pub fn session_exit(kernel: &Arc<Kernel>, group: &ThreadGroup) {
    if is_leader(group) {
        disassociate(kernel, group, true);
    }
}

fn send(kernel: &Kernel, pgrp: Pid, signals: &[Signal]) {
    if pgrp > 0 {
        for signal in signals {
            // A group without members has nobody to hear it.
            let _ = crate::signal::send_to_pgrp(kernel, pgrp, SigInfo::kernel(*signal));
        }
    }
}

/// disassociate_ctty: of a session leader.
fn disassociate(kernel: &Arc<Kernel>, group: &ThreadGroup, exiting: bool) {
    let session = Arc::clone(&group.pgrp().session);
    let _control = kernel.terminals.control.lock();
    let tty = session.tty.lock().take();
    match tty {
        Some(tty) => {
            let control = std::mem::take(&mut *tty.control.lock());
            let signals = [Signal::SIGHUP, Signal::SIGCONT];
            let signals = if exiting { &signals[..1] } else { &signals };
            send(kernel, control.foreground, signals);
        }
        None if exiting => {
            let lost = session.lost_foreground.swap(0, Ordering::Relaxed);
            send(kernel, lost, &[Signal::SIGHUP, Signal::SIGCONT]);
        }
        None => {}
    }
}

/// The terminal has been hung up: its session loses it, and the leader hears of it (tty_signal_session_leader).
pub(super) fn lose_session(tty: &Tty) {
    let Some(kernel) = tty.kernel.upgrade() else {
        return;
    };
    let _control = kernel.terminals.control.lock();
    let Control {
        session,
        foreground,
    } = std::mem::take(&mut *tty.control.lock());
    let Some(session) = session.upgrade() else {
        return;
    };
    let had = session.tty.lock().take();
    drop(had);
    session.lost_foreground.store(foreground, Ordering::Relaxed);
    let leader = kernel.tasks.lock().group(session.id);
    let Some(leader) = leader.filter(|l| Arc::ptr_eq(&l.pgrp().session, &session)) else {
        return;
    };
    for signal in [Signal::SIGHUP, Signal::SIGCONT] {
        // Fails for a leader that has ended.
        let _ = crate::signal::send_to_group(&leader, SigInfo::kernel(signal));
    }
}

/// A process of the terminal's session that is not in the foreground does what only that may: it gets `signal` and ERESTARTSYS, or EIO
/// where that can't stop it for SIGTTIN (__tty_check_change).
pub(super) fn check_change(cx: &Cx, tty: &Tty, signal: Signal) -> Result<()> {
    let group = &cx.task.group;
    if !is_current(group, tty) {
        return Ok(());
    }
    let pgrp = group.pgrp();
    let foreground = tty.foreground();
    if foreground == 0 || foreground == pgrp.id {
        return Ok(());
    }
    let blocked = cx.task.signals.lock().mask.contains(signal);
    if blocked || group.sighand().get(signal).is_ignore() {
        return if signal == Signal::SIGTTIN {
            Err(Errno::EIO)
        } else {
            Ok(())
        };
    }
    let orphaned = cx.kernel().tasks.lock().pgrp_is_orphaned(pgrp.id, None);
    if orphaned {
        return Err(Errno::EIO);
    }
    send(cx.kernel(), pgrp.id, &[signal]);
    Err(Errno::ERESTARTSYS)
}

/// TIOCSPGRP.
pub(super) fn set_foreground(cx: &Cx, tty: &Tty, pgrp: impl FnOnce() -> Result<Pid>) -> Result<()> {
    let group = &cx.task.group;
    match check_change(cx, tty, Signal::SIGTTOU) {
        Err(Errno::EIO) => return Err(Errno::ENOTTY),
        other => other?,
    }
    let pgrp = pgrp()?;
    if pgrp < 0 {
        return Err(Errno::EINVAL);
    }
    let own = Arc::clone(&group.pgrp().session);
    let owns = tty.session().is_some_and(|s| Arc::ptr_eq(&s, &own));
    if !is_current(group, tty) || !owns {
        return Err(Errno::ENOTTY);
    }
    // A process that is in no group of this number shows that there may be one: its number is known.
    let (found, known) = {
        let tasks = cx.kernel().tasks.lock();
        (
            tasks.pgrp(pgrp),
            tasks.task(pgrp).is_some() || tasks.group(pgrp).is_some(),
        )
    };
    match found {
        Some(found) if Arc::ptr_eq(&found.session, &own) => {}
        Some(_) => return Err(Errno::EPERM),
        None if known => return Err(Errno::EPERM),
        None => return Err(Errno::ESRCH),
    }
    tty.control.lock().foreground = pgrp;
    Ok(())
}

/// TIOCGSID's answer for the terminal; `None`: no session.
pub(super) fn session_id(tty: &Tty) -> Option<Pid> {
    tty.control.lock().session.upgrade().map(|s| s.id)
}
