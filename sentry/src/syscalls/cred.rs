//! Credentials: user and group ids, capabilities (credentials(7), capabilities(7)).

use crate::task::{CapSet, Creds, Cx, Pid, cap};
use crate::user::{UserAddr, UserRef};
use arch::abi::{CapUserData, CapUserHeader};
use arch::{Errno, Result};
use std::sync::Arc;

/// "Leave it": the -1 of setresuid(2).
const KEEP: u32 = u32::MAX;
/// Supplementary groups at most.
const NGROUPS_MAX: usize = 65536;
const CAP_VERSION_1: u32 = 0x1998_0330;
const CAP_VERSION_2: u32 = 0x2007_1026;
const CAP_VERSION_3: u32 = 0x2008_0522;

/// SECBIT_NO_SETUID_FIXUP.
const NO_SETUID_FIXUP: u32 = 1 << 2;
/// SECBIT_KEEP_CAPS.
const KEEP_CAPS: u32 = 1 << 4;

fn change(cx: &Cx, f: impl FnOnce(&mut Creds) -> Result<()>) -> Result<()> {
    let mut new = (*cx.task.creds()).clone();
    f(&mut new)?;
    cx.task.set_creds(new);
    Ok(())
}

/// What a change of user ids does to capabilities (cap_emulate_setxuid).
fn after_setuid(old: &Creds, new: &mut Creds, keep: bool) {
    if new.securebits & NO_SETUID_FIXUP != 0 {
        return;
    }
    let had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
    let has_root = new.uid == 0 || new.euid == 0 || new.suid == 0;
    if had_root && !has_root {
        if !keep && new.securebits & KEEP_CAPS == 0 {
            new.permitted = 0;
            new.effective = 0;
        }
        new.ambient = 0;
    }
    if old.euid == 0 && new.euid != 0 {
        new.effective = 0;
    }
    if old.euid != 0 && new.euid == 0 {
        new.effective = new.permitted;
    }
}

fn change_uid(cx: &Cx, f: impl FnOnce(&mut Creds, bool) -> Result<()>) -> Result<()> {
    let old = cx.task.creds();
    let keep = cx.task.keep_caps.load(std::sync::atomic::Ordering::Relaxed);
    change(cx, |c| {
        let privileged = c.has_cap(cap::SETUID);
        f(c, privileged)?;
        c.fsuid = c.euid;
        after_setuid(&old, c, keep);
        Ok(())
    })
}

fn change_gid(cx: &Cx, f: impl FnOnce(&mut Creds, bool) -> Result<()>) -> Result<()> {
    change(cx, |c| {
        let privileged = c.has_cap(cap::SETGID);
        f(c, privileged)?;
        c.fsgid = c.egid;
        Ok(())
    })
}

/// getuid(2).
pub fn getuid(cx: &Cx) -> Result<u32> {
    Ok(cx.task.creds().uid)
}

/// geteuid(2).
pub fn geteuid(cx: &Cx) -> Result<u32> {
    Ok(cx.task.creds().euid)
}

/// getgid(2).
pub fn getgid(cx: &Cx) -> Result<u32> {
    Ok(cx.task.creds().gid)
}

/// getegid(2).
pub fn getegid(cx: &Cx) -> Result<u32> {
    Ok(cx.task.creds().egid)
}

/// setuid(2).
pub fn setuid(cx: &Cx, uid: u32) -> Result<()> {
    if uid == KEEP {
        return Err(Errno::EINVAL);
    }
    change_uid(cx, |c, privileged| {
        if privileged {
            (c.uid, c.suid) = (uid, uid);
        } else if uid != c.uid && uid != c.suid {
            return Err(Errno::EPERM);
        }
        c.euid = uid;
        Ok(())
    })
}

/// setgid(2).
pub fn setgid(cx: &Cx, gid: u32) -> Result<()> {
    if gid == KEEP {
        return Err(Errno::EINVAL);
    }
    change_gid(cx, |c, privileged| {
        if privileged {
            (c.gid, c.sgid) = (gid, gid);
        } else if gid != c.gid && gid != c.sgid {
            return Err(Errno::EPERM);
        }
        c.egid = gid;
        Ok(())
    })
}

/// setreuid(2).
pub fn setreuid(cx: &Cx, real: u32, effective: u32) -> Result<()> {
    change_uid(cx, |c, privileged| {
        let old = c.clone();
        if real != KEEP {
            if !privileged && real != old.uid && real != old.euid {
                return Err(Errno::EPERM);
            }
            c.uid = real;
        }
        if effective != KEEP {
            if !privileged && ![old.uid, old.euid, old.suid].contains(&effective) {
                return Err(Errno::EPERM);
            }
            c.euid = effective;
        }
        if real != KEEP || (effective != KEEP && effective != old.uid) {
            c.suid = c.euid;
        }
        Ok(())
    })
}

/// setregid(2).
pub fn setregid(cx: &Cx, real: u32, effective: u32) -> Result<()> {
    change_gid(cx, |c, privileged| {
        let old = c.clone();
        if real != KEEP {
            if !privileged && real != old.gid && real != old.egid {
                return Err(Errno::EPERM);
            }
            c.gid = real;
        }
        if effective != KEEP {
            if !privileged && ![old.gid, old.egid, old.sgid].contains(&effective) {
                return Err(Errno::EPERM);
            }
            c.egid = effective;
        }
        if real != KEEP || (effective != KEEP && effective != old.gid) {
            c.sgid = c.egid;
        }
        Ok(())
    })
}

/// setresuid(2).
pub fn setresuid(cx: &Cx, real: u32, effective: u32, saved: u32) -> Result<()> {
    change_uid(cx, |c, privileged| {
        let mine = [c.uid, c.euid, c.suid];
        if !privileged
            && [real, effective, saved]
                .iter()
                .any(|id| *id != KEEP && !mine.contains(id))
        {
            return Err(Errno::EPERM);
        }
        let pick = |new: u32, old: u32| if new == KEEP { old } else { new };
        (c.uid, c.euid, c.suid) = (
            pick(real, c.uid),
            pick(effective, c.euid),
            pick(saved, c.suid),
        );
        Ok(())
    })
}

/// setresgid(2).
pub fn setresgid(cx: &Cx, real: u32, effective: u32, saved: u32) -> Result<()> {
    change_gid(cx, |c, privileged| {
        let mine = [c.gid, c.egid, c.sgid];
        if !privileged
            && [real, effective, saved]
                .iter()
                .any(|id| *id != KEEP && !mine.contains(id))
        {
            return Err(Errno::EPERM);
        }
        let pick = |new: u32, old: u32| if new == KEEP { old } else { new };
        (c.gid, c.egid, c.sgid) = (
            pick(real, c.gid),
            pick(effective, c.egid),
            pick(saved, c.sgid),
        );
        Ok(())
    })
}

/// getresuid(2).
pub fn getresuid(
    cx: &Cx,
    real: UserRef<u32>,
    effective: UserRef<u32>,
    saved: UserRef<u32>,
) -> Result<()> {
    let c = cx.task.creds();
    cx.write_obj(real, &c.uid)?;
    cx.write_obj(effective, &c.euid)?;
    cx.write_obj(saved, &c.suid)
}

/// getresgid(2).
pub fn getresgid(
    cx: &Cx,
    real: UserRef<u32>,
    effective: UserRef<u32>,
    saved: UserRef<u32>,
) -> Result<()> {
    let c = cx.task.creds();
    cx.write_obj(real, &c.gid)?;
    cx.write_obj(effective, &c.egid)?;
    cx.write_obj(saved, &c.sgid)
}

/// setfsuid(2): returns the old one, and has no way to fail.
pub fn setfsuid(cx: &Cx, uid: u32) -> Result<u32> {
    let old = cx.task.creds();
    let may = old.has_cap(cap::SETUID) || [old.uid, old.euid, old.suid, old.fsuid].contains(&uid);
    if uid != KEEP && may && uid != old.fsuid {
        // cap_emulate_setfsuid: the file-system capabilities follow.
        const FS_CAPS: CapSet = 1 << cap::CHOWN
            | 1 << cap::DAC_OVERRIDE
            | 1 << cap::DAC_READ_SEARCH
            | 1 << cap::FOWNER
            | 1 << cap::FSETID
            | 1 << cap::LINUX_IMMUTABLE
            | 1 << cap::MKNOD;
        change(cx, |c| {
            c.fsuid = uid;
            if c.securebits & NO_SETUID_FIXUP == 0 {
                if old.fsuid == 0 && uid != 0 {
                    c.effective &= !FS_CAPS;
                } else if old.fsuid != 0 && uid == 0 {
                    c.effective |= c.permitted & FS_CAPS;
                }
            }
            Ok(())
        })?;
    }
    Ok(old.fsuid)
}

/// setfsgid(2): returns the old one, and has no way to fail.
pub fn setfsgid(cx: &Cx, gid: u32) -> Result<u32> {
    let old = cx.task.creds();
    let may = old.has_cap(cap::SETGID) || [old.gid, old.egid, old.sgid, old.fsgid].contains(&gid);
    if gid != KEEP && may {
        change(cx, |c| {
            c.fsgid = gid;
            Ok(())
        })?;
    }
    Ok(old.fsgid)
}

/// getgroups(2).
pub fn getgroups(cx: &Cx, size: i32, list: UserAddr) -> Result<usize> {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let groups = Arc::clone(&cx.task.creds().groups);
    if size > 0 {
        if groups.len() > size {
            return Err(Errno::EINVAL);
        }
        cx.write_bytes(list, bytemuck::cast_slice(&groups))?;
    }
    Ok(groups.len())
}

/// setgroups(2).
pub fn setgroups(cx: &Cx, size: i32, list: UserRef<u32>) -> Result<()> {
    if !cx.task.creds().has_cap(cap::SETGID) {
        return Err(Errno::EPERM);
    }
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size > NGROUPS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut groups: Vec<u32> = cx.read_array(list, size)?;
    if groups.contains(&KEEP) {
        return Err(Errno::EINVAL);
    }
    groups.sort_unstable();
    change(cx, |c| {
        c.groups = groups.into();
        Ok(())
    })
}

/// The number of 32-bit words in a version's sets. An unknown version is answered with ours, and EINVAL.
fn cap_words(cx: &Cx, header: UserRef<CapUserHeader>) -> Result<(CapUserHeader, usize)> {
    let mut h: CapUserHeader = cx.read_obj(header)?;
    match h.version {
        CAP_VERSION_1 => Ok((h, 1)),
        CAP_VERSION_2 | CAP_VERSION_3 => Ok((h, 2)),
        _ => {
            h.version = CAP_VERSION_3;
            cx.write_obj(header, &h)?;
            Err(Errno::EINVAL)
        }
    }
}

fn target(cx: &Cx, pid: Pid) -> Result<Arc<Creds>> {
    if pid < 0 {
        return Err(Errno::EINVAL);
    }
    if pid == 0 {
        return Ok(cx.task.creds());
    }
    let task = cx.kernel().tasks.lock().task(pid).ok_or(Errno::ESRCH)?;
    Ok(task.creds())
}

/// capget(2).
pub fn capget(cx: &Cx, header: UserRef<CapUserHeader>, data: UserRef<CapUserData>) -> Result<()> {
    let (h, words) = match cap_words(cx, header) {
        // Asking with a null buffer is how a program learns the version.
        Err(Errno::EINVAL) if data.is_null() => return Ok(()),
        other => other?,
    };
    let c = target(cx, h.pid)?;
    for word in 0..words {
        let part = |set: CapSet| (set >> (32 * word)) as u32;
        let value = CapUserData {
            effective: part(c.effective),
            permitted: part(c.permitted),
            inheritable: part(c.inheritable),
        };
        cx.write_obj(data.index(word as u64), &value)?;
    }
    Ok(())
}

/// capset(2): only of the calling thread.
pub fn capset(cx: &Cx, header: UserRef<CapUserHeader>, data: UserRef<CapUserData>) -> Result<()> {
    let (h, words) = cap_words(cx, header)?;
    if h.pid != 0 && h.pid != cx.task.tid() {
        return Err(Errno::EPERM);
    }
    let (mut effective, mut permitted, mut inheritable): (CapSet, CapSet, CapSet) = (0, 0, 0);
    for word in 0..words {
        let value = cx.read_obj(data.index(word as u64))?;
        effective |= CapSet::from(value.effective) << (32 * word);
        permitted |= CapSet::from(value.permitted) << (32 * word);
        inheritable |= CapSet::from(value.inheritable) << (32 * word);
    }
    effective &= cap::ALL;
    permitted &= cap::ALL;
    inheritable &= cap::ALL;
    change(cx, |c| {
        let may_raise = c.has_cap(cap::SETPCAP);
        // cap_capset, in its order.
        if !may_raise && inheritable & !(c.inheritable | c.permitted) != 0
            || inheritable & !(c.inheritable | c.bounding) != 0
            || permitted & !c.permitted != 0
            || effective & !permitted != 0
        {
            return Err(Errno::EPERM);
        }
        c.effective = effective;
        c.permitted = permitted;
        c.inheritable = inheritable;
        c.ambient &= permitted & inheritable;
        Ok(())
    })
}
