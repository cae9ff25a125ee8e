//! prctl(2), arch_prctl(2), personality(2).

use crate::task::{Cx, cap};
use crate::user::{UserAddr, UserRef, UserStr};
use arch::signal::Signal;
use arch::{Errno, Result};
use std::sync::atomic::Ordering;

const PR_SET_VMA: i32 = 0x5356_4d41;
const PR_GET_AUXV: i32 = 0x4155_5856;
/// Securebits that exist (SECURE_ALL_BITS | SECURE_ALL_LOCKS).
const SECUREBITS: u64 = 0xff;

const fn flag(value: u64) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

fn zero(args: &[u64]) -> Result<()> {
    if args.iter().all(|a| *a == 0) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// prctl(2).
pub async fn prctl(cx: &Cx, option: i32, a2: u64, a3: u64, a4: u64, a5: u64) -> Result<u64> {
    let task = &cx.task;
    let group = &task.group;
    let out = UserRef::<i32>::new(UserAddr(a2));
    match option {
        libc::PR_SET_PDEATHSIG => {
            let signo = i32::try_from(a2)
                .ok()
                .filter(|s| *s == 0 || Signal::from_raw(*s).is_some());
            task.pdeath_signal
                .store(signo.ok_or(Errno::EINVAL)?, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_PDEATHSIG => cx
            .write_obj(out, &task.pdeath_signal.load(Ordering::Relaxed))
            .map(|()| 0),
        libc::PR_GET_DUMPABLE => Ok(u64::from(
            group.dumpable.load(Ordering::Relaxed).cast_unsigned(),
        )),
        libc::PR_SET_DUMPABLE => {
            group
                .dumpable
                .store(i32::from(flag(a2)?), Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_SET_NAME => {
            let name = match cx.read_cstr(UserStr(UserAddr(a2)), 16) {
                Err(Errno::ENAMETOOLONG) => {
                    let mut head = vec![0; 15];
                    cx.read_bytes(UserAddr(a2), &mut head)?;
                    head
                }
                other => other?,
            };
            task.set_name(&name);
            Ok(0)
        }
        libc::PR_GET_NAME => {
            let mut name = task.name();
            name.resize(16, 0);
            cx.write_bytes(UserAddr(a2), &name).map(|()| 0)
        }
        libc::PR_GET_KEEPCAPS => Ok(u64::from(task.keep_caps.load(Ordering::Relaxed))),
        libc::PR_SET_KEEPCAPS => {
            task.keep_caps.store(flag(a2)?, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_SECUREBITS => Ok(u64::from(task.creds().securebits)),
        libc::PR_SET_SECUREBITS => set_securebits(cx, a2),
        libc::PR_CAPBSET_READ => {
            let which = u32::try_from(a2)
                .ok()
                .filter(|c| *c <= cap::LAST)
                .ok_or(Errno::EINVAL)?;
            Ok(task.creds().bounding >> which & 1)
        }
        libc::PR_CAPBSET_DROP => {
            if !task.creds().has_cap(cap::SETPCAP) {
                return Err(Errno::EPERM);
            }
            let which = u32::try_from(a2)
                .ok()
                .filter(|c| *c <= cap::LAST)
                .ok_or(Errno::EINVAL)?;
            let mut new = (*task.creds()).clone();
            new.bounding &= !(1 << which);
            task.set_creds(new);
            Ok(0)
        }
        libc::PR_CAP_AMBIENT => ambient(cx, a2, a3, a4, a5),
        libc::PR_SET_NO_NEW_PRIVS => {
            if a2 != 1 {
                return Err(Errno::EINVAL);
            }
            zero(&[a3, a4, a5])?;
            task.no_new_privs.store(true, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_NO_NEW_PRIVS => {
            zero(&[a2, a3, a4, a5])?;
            Ok(u64::from(task.no_new_privs.load(Ordering::Relaxed)))
        }
        libc::PR_SET_CHILD_SUBREAPER => {
            group.links.lock().subreaper = a2 != 0;
            Ok(0)
        }
        libc::PR_GET_CHILD_SUBREAPER => {
            let yes = i32::from(group.links.lock().subreaper);
            cx.write_obj(out, &yes).map(|()| 0)
        }
        libc::PR_SET_TIMERSLACK => {
            let slack = if a2 == 0 { 50_000 } else { a2 };
            task.timer_slack.store(slack, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_TIMERSLACK => Ok(task.timer_slack.load(Ordering::Relaxed)),
        libc::PR_GET_TSC => cx.write_obj(out, &libc::PR_TSC_ENABLE).map(|()| 0),
        // A thread whose RDTSC faults would need a setting that takes the time of day from its stub too.
        libc::PR_SET_TSC if a2 == libc::PR_TSC_ENABLE as u64 => Ok(0),
        libc::PR_GET_TIMING => Ok(0),
        libc::PR_SET_TIMING => zero(&[a2]).map(|()| 0),
        libc::PR_GET_SECCOMP => Ok(u64::from(task.seccomp.mode())),
        libc::PR_SET_SECCOMP => super::seccomp::set_mode(cx, a2, UserAddr(a3)).map(|_| 0),
        libc::PR_GET_TID_ADDRESS => {
            let addr = task.clear_child_tid.load(Ordering::Relaxed);
            cx.write_obj(UserRef::new(UserAddr(a2)), &addr).map(|()| 0)
        }
        libc::PR_SET_THP_DISABLE => {
            zero(&[a3, a4, a5])?;
            group.set_thp_disabled(a2 != 0);
            Ok(0)
        }
        libc::PR_GET_THP_DISABLE => {
            zero(&[a2, a3, a4, a5])?;
            Ok(u64::from(group.thp_disabled()))
        }
        // Names of anonymous mappings need a kernel option that most distributions leave out.
        PR_SET_VMA => set_vma(cx, a2, a3, a4, a5).await,
        PR_GET_AUXV => {
            zero(&[a4, a5])?;
            let auxv = &task.mm().info().auxv;
            let n = usize::try_from(a3).unwrap_or(usize::MAX).min(auxv.len());
            cx.write_bytes(UserAddr(a2), &auxv[..n])?;
            Ok(auxv.len() as u64)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// PR_SET_VMA: names for anonymous memory.
async fn set_vma(cx: &Cx, what: u64, addr: u64, len: u64, name: u64) -> Result<u64> {
    if what != libc::PR_SET_VMA_ANON_NAME as u64 {
        return Err(Errno::EINVAL);
    }
    let name = match name {
        0 => None,
        at => {
            let too_long = |e| {
                if e == Errno::ENAMETOOLONG {
                    Errno::EINVAL
                } else {
                    e
                }
            };
            let name = cx
                .read_cstr(UserStr(UserAddr(at)), crate::mm::NAME_MAX)
                .map_err(too_long)?;
            crate::mm::check_name(&name)?;
            Some(name)
        }
    };
    let mm = cx.task.mm();
    mm.change(cx, |state, who| {
        state.set_name(who, addr, len, name.as_deref())
    })
    .await
}

fn set_securebits(cx: &Cx, bits: u64) -> Result<u64> {
    let old = cx.task.creds();
    let current = u64::from(old.securebits);
    let locks = current >> 1 & 0x55;
    let changes_locked = (current ^ bits) & (locks | locks << 1) != 0
        && (current & !bits & 0xaa != 0 || (current ^ bits) & locks != 0);
    if bits & !SECUREBITS != 0 || changes_locked || !old.has_cap(cap::SETPCAP) {
        return Err(Errno::EPERM);
    }
    let mut new = (*old).clone();
    new.securebits = bits as u32;
    cx.task.set_creds(new);
    Ok(0)
}

fn ambient(cx: &Cx, op: u64, which: u64, a4: u64, a5: u64) -> Result<u64> {
    const IS_SET: u64 = libc::PR_CAP_AMBIENT_IS_SET as u64;
    const RAISE: u64 = libc::PR_CAP_AMBIENT_RAISE as u64;
    const LOWER: u64 = libc::PR_CAP_AMBIENT_LOWER as u64;
    const CLEAR_ALL: u64 = libc::PR_CAP_AMBIENT_CLEAR_ALL as u64;
    zero(&[a4, a5])?;
    let old = cx.task.creds();
    let mut new = (*old).clone();
    if op == CLEAR_ALL {
        zero(&[which])?;
        new.ambient = 0;
        cx.task.set_creds(new);
        return Ok(0);
    }
    let bit = u32::try_from(which)
        .ok()
        .filter(|c| *c <= cap::LAST)
        .map(|c| 1u64 << c)
        .ok_or(Errno::EINVAL)?;
    match op {
        IS_SET => return Ok(u64::from(old.ambient & bit != 0)),
        RAISE => {
            // SECBIT_NO_CAP_AMBIENT_RAISE.
            if old.permitted & old.inheritable & bit == 0 || old.securebits & (1 << 6) != 0 {
                return Err(Errno::EPERM);
            }
            new.ambient |= bit;
        }
        LOWER => new.ambient &= !bit,
        _ => return Err(Errno::EINVAL),
    }
    cx.task.set_creds(new);
    Ok(0)
}

/// arch_prctl(2).
pub fn arch_prctl(cx: &Cx, op: i32, addr: u64) -> Result<u64> {
    const ARCH_SET_GS: i32 = 0x1001;
    const ARCH_SET_FS: i32 = 0x1002;
    const ARCH_GET_FS: i32 = 0x1003;
    const ARCH_GET_GS: i32 = 0x1004;
    const ARCH_GET_CPUID: i32 = 0x1011;
    let mut thread = cx.thread.lock();
    let mut regs = thread.regs();
    match op {
        ARCH_SET_FS | ARCH_SET_GS => {
            if addr >= systrap::layout::TASK_SIZE {
                return Err(Errno::EPERM);
            }
            if op == ARCH_SET_FS {
                regs.fs_base = addr;
            } else {
                regs.gs_base = addr;
            }
            thread.set_regs(&regs);
            Ok(0)
        }
        ARCH_GET_FS | ARCH_GET_GS => {
            let base = if op == ARCH_GET_FS {
                regs.fs_base
            } else {
                regs.gs_base
            };
            drop(thread);
            cx.write_obj(UserRef::new(UserAddr(addr)), &base)
                .map(|()| 0)
        }
        ARCH_GET_CPUID => Ok(1),
        _ => Err(Errno::EINVAL),
    }
}

/// personality(2): only the queries and the flags that change nothing here, ADDR_NO_RANDOMIZE among them.
pub fn personality(cx: &Cx, persona: u64) -> Result<u64> {
    let group = &cx.task.group;
    let old = group.personality.load(Ordering::Relaxed);
    if persona != 0xffff_ffff {
        // PER_LINUX, or PER_LINUX32 as setarch uses it.
        if persona & 0xff != 0 && persona & 0xff != 8 {
            return Err(Errno::EINVAL);
        }
        group
            .personality
            .store(persona & 0xffff_ffff, Ordering::Relaxed);
    }
    Ok(old)
}
