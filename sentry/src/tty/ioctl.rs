//! ioctl_tty(2).

use super::job;
use super::master::MasterFile;
use super::pair::{End, Tty};
use super::termios::{self, VSTART, VSTOP};
use crate::fs::devpts;
use crate::task::{Cx, cap};
use crate::user::{UserAddr, UserRef};
use crate::vfs::File;
use arch::abi::{Termio, Termios, Termios2, Winsize};
use arch::signal::Signal;
use arch::{Errno, Result};
use std::sync::Arc;

const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSW: u32 = 0x5403;
const TCSETSF: u32 = 0x5404;
const TCGETA: u32 = 0x5405;
const TCSETA: u32 = 0x5406;
const TCSETAW: u32 = 0x5407;
const TCSETAF: u32 = 0x5408;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCEXCL: u32 = 0x540c;
const TIOCNXCL: u32 = 0x540d;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
/// The one request that a hung-up terminal answers with ENOTTY.
pub const TIOCSPGRP: u32 = 0x5410;
const TIOCOUTQ: u32 = 0x5411;
const TIOCSTI: u32 = 0x5412;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const TIOCGSOFTCAR: u32 = 0x5419;
const TIOCSSOFTCAR: u32 = 0x541a;
const FIONREAD: u32 = 0x541b;
const TIOCCONS: u32 = 0x541d;
const TIOCPKT: u32 = 0x5420;
const TIOCNOTTY: u32 = 0x5422;
const TIOCSETD: u32 = 0x5423;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TIOCSBRK: u32 = 0x5427;
const TIOCCBRK: u32 = 0x5428;
const TIOCGSID: u32 = 0x5429;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;
const TIOCGPTN: u32 = 0x8004_5430;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCGDEV: u32 = 0x8004_5432;
const TIOCSIG: u32 = 0x4004_5436;
const TIOCVHANGUP: u32 = 0x5437;
const TIOCGPKT: u32 = 0x8004_5438;
const TIOCGPTLCK: u32 = 0x8004_5439;
const TIOCGEXCL: u32 = 0x8004_5440;
/// Only a master has it.
pub const TIOCGPTPEER: u32 = 0x5441;

/// A request at one end. The settings, the window and the process groups are the slave's, whichever end is asked.
pub fn ioctl(tty: &Arc<Tty>, end: End, cx: &Cx, file: &File, cmd: u32, arg: u64) -> Result<u64> {
    let done = match cmd {
        TCGETS | TCSETS | TCSETSW | TCSETSF | TCGETA | TCSETA | TCSETAW | TCSETAF | TCGETS2
        | TCSETS2 | TCSETSW2 | TCSETSF2 | TIOCGSOFTCAR | TIOCSSOFTCAR => {
            settings(tty, cx, cmd, arg)
        }
        TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK | TCXONC | TCFLSH | TIOCOUTQ | FIONREAD
        | TIOCSTI => flow(tty, end, cx, cmd, arg),
        TIOCSCTTY | TIOCNOTTY | TIOCGPGRP | TIOCSPGRP | TIOCGSID => {
            control(tty, end, cx, file, cmd, arg)
        }
        TIOCGPTN | TIOCSPTLCK | TIOCGPTLCK | TIOCPKT | TIOCGPKT | TIOCSIG if end == End::Master => {
            pseudoterminal(tty, cx, cmd, arg)
        }
        _ => device(tty, end, cx, cmd, arg),
    };
    done.map(|()| 0)
}

fn put_int(cx: &Cx, arg: u64, value: i32) -> Result<()> {
    cx.write_obj(UserRef::new(UserAddr(arg)), &value)
}

fn get_int(cx: &Cx, arg: u64) -> Result<i32> {
    cx.read_obj(UserRef::new(UserAddr(arg)))
}

/// Job control for requests that change something. At the master it never says no: that is nobody's controlling terminal.
fn check(tty: &Tty, end: End, cx: &Cx) -> Result<()> {
    match end {
        End::Slave => job::check_change(cx, tty, Signal::SIGTTOU),
        End::Master => Ok(()),
    }
}

/// Settings. Output is on its way to the other side as soon as it is written, so there is nothing to wait for in TCSETSW.
fn settings(tty: &Tty, cx: &Cx, cmd: u32, arg: u64) -> Result<()> {
    let addr = UserAddr(arg);
    let old = tty.settings();
    match cmd {
        TCGETS => return cx.write_obj(UserRef::new(addr), &Termios::from(old)),
        TCGETS2 => return cx.write_obj(UserRef::new(addr), &old),
        TCGETA => return cx.write_obj(UserRef::new(addr), &termios::to_termio(&old)),
        TIOCGSOFTCAR => return put_int(cx, arg, i32::from(old.cflag & libc::CLOCAL != 0)),
        _ => {}
    }
    if cmd != TIOCSSOFTCAR {
        job::check_change(cx, tty, Signal::SIGTTOU)?;
    }
    let new = match cmd {
        TCSETS | TCSETSW | TCSETSF => {
            termios::merge(&old, &cx.read_obj(UserRef::<Termios>::new(addr))?)
        }
        TCSETA | TCSETAW | TCSETAF => {
            termios::merge_termio(&old, &cx.read_obj(UserRef::<Termio>::new(addr))?)
        }
        TIOCSSOFTCAR => {
            let on = if get_int(cx, arg)? != 0 {
                libc::CLOCAL
            } else {
                0
            };
            Termios2 {
                cflag: old.cflag & !libc::CLOCAL | on,
                ..old
            }
        }
        _ => cx.read_obj(UserRef::<Termios2>::new(addr))?,
    };
    tty.set_settings(new, matches!(cmd, TCSETSF | TCSETAF | TCSETSF2));
    Ok(())
}

fn flow(tty: &Tty, end: End, cx: &Cx, cmd: u32, arg: u64) -> Result<()> {
    match cmd {
        // There is no line to hold in the break state.
        TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK => check(tty, end, cx),
        TCXONC => {
            check(tty, end, cx)?;
            match arg as u32 as i32 {
                libc::TCOOFF => tty.hold(end, true),
                libc::TCOON => tty.hold(end, false),
                libc::TCIOFF => tty.send_control(end, VSTOP),
                libc::TCION => tty.send_control(end, VSTART),
                _ => return Err(Errno::EINVAL),
            }
            Ok(())
        }
        TCFLSH => {
            check(tty, end, cx)?;
            let which = arg as u32 as i32;
            if !matches!(which, libc::TCIFLUSH | libc::TCOFLUSH | libc::TCIOFLUSH) {
                return Err(Errno::EINVAL);
            }
            if which != libc::TCOFLUSH {
                tty.flush_unread(end);
            }
            if which != libc::TCIFLUSH {
                tty.flush_unsent(end);
            }
            Ok(())
        }
        TIOCOUTQ => put_int(cx, arg, 0),
        FIONREAD => {
            let n = tty.readable_bytes(end);
            put_int(cx, arg, i32::try_from(n).unwrap_or(i32::MAX))
        }
        _ => {
            // dev.tty.legacy_tiocsti is 0: faking input takes privilege.
            if !cx.task.creds().has_cap(cap::SYS_ADMIN) {
                return Err(Errno::EIO);
            }
            let c: u8 = cx.read_obj(UserRef::new(UserAddr(arg)))?;
            match end {
                End::Slave => tty.inject(c),
                End::Master => return Err(Errno::EIO),
            }
            Ok(())
        }
    }
}

fn control(tty: &Arc<Tty>, end: End, cx: &Cx, file: &File, cmd: u32, arg: u64) -> Result<()> {
    let group = &cx.task.group;
    // At the slave these are about the caller's own terminal.
    let own = end == End::Master || job::is_current(group, tty);
    match cmd {
        TIOCSCTTY => job::set_controlling(cx, tty, file.readable(), arg == 1),
        TIOCNOTTY if end == End::Slave => job::give_up(cx, tty),
        TIOCNOTTY => Err(Errno::ENOTTY),
        TIOCSPGRP => job::set_foreground(cx, tty, || get_int(cx, arg)),
        _ if !own => Err(Errno::ENOTTY),
        TIOCGPGRP => put_int(cx, arg, tty.foreground()),
        _ => put_int(cx, arg, job::session_id(tty).ok_or(Errno::ENOTTY)?),
    }
}

/// Requests that only a pseudoterminal's master has.
fn pseudoterminal(tty: &Tty, cx: &Cx, cmd: u32, arg: u64) -> Result<()> {
    match cmd {
        TIOCGPTN => cx.write_obj(UserRef::new(UserAddr(arg)), &tty.index),
        TIOCSPTLCK => {
            tty.set_locked(get_int(cx, arg)? != 0);
            Ok(())
        }
        TIOCGPTLCK => put_int(cx, arg, i32::from(tty.locked())),
        TIOCPKT => {
            tty.set_packet(get_int(cx, arg)? != 0);
            Ok(())
        }
        TIOCGPKT => put_int(cx, arg, i32::from(tty.packet())),
        _ => {
            let signal = Signal::from_raw(arg as u32 as i32)
                .filter(|s| matches!(*s, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP))
                .ok_or(Errno::EINVAL)?;
            tty.signal_foreground(signal);
            Ok(())
        }
    }
}

fn device(tty: &Tty, end: End, cx: &Cx, cmd: u32, arg: u64) -> Result<()> {
    match cmd {
        TIOCGWINSZ => cx.write_obj(UserRef::new(UserAddr(arg)), &tty.window()),
        TIOCSWINSZ => {
            tty.set_window(cx.read_obj::<Winsize>(UserRef::new(UserAddr(arg)))?);
            Ok(())
        }
        TIOCEXCL => {
            tty.set_exclusive(end, true);
            Ok(())
        }
        TIOCNXCL => {
            tty.set_exclusive(end, false);
            Ok(())
        }
        TIOCGEXCL => put_int(cx, arg, i32::from(tty.exclusive(end))),
        TIOCGETD => put_int(cx, arg, 0),
        TIOCSETD => {
            check(tty, end, cx)?;
            // N_TTY is the only line discipline.
            if get_int(cx, arg)? == 0 {
                Ok(())
            } else {
                Err(Errno::EINVAL)
            }
        }
        TIOCGDEV => {
            let dev = tty.dev().encode() as u32;
            cx.write_obj(UserRef::new(UserAddr(arg)), &dev)
        }
        TIOCVHANGUP => {
            if !cx.task.creds().has_cap(cap::SYS_ADMIN) {
                return Err(Errno::EPERM);
            }
            match end {
                End::Slave => tty.hang_up(),
                End::Master => return Err(Errno::EOPNOTSUPP),
            }
            Ok(())
        }
        TIOCCONS if end == End::Master => Err(Errno::EINVAL),
        TIOCCONS => Err(Errno::EPERM),
        TIOCGPTPEER => Err(Errno::EIO),
        _ => Err(Errno::ENOTTY),
    }
}

/// TIOCGPTPEER: a new descriptor of the slave, whatever its name means in the caller's mount namespace.
pub(super) fn open_peer(master: &MasterFile, cx: &Cx, arg: u64) -> Result<u64> {
    let flags = arg as u32;
    let file = devpts::open_slave(&cx.env(), master.root(), master.tty(), flags)?;
    let limit = cx.task.group.rlimit(libc::RLIMIT_NOFILE);
    let cloexec = flags & libc::O_CLOEXEC as u32 != 0;
    let fd = cx.task.files().install(file, cloexec, limit)?;
    u64::try_from(fd.0).map_err(|_| Errno::EMFILE)
}
