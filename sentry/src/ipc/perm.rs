//! Who may do what with an IPC object (ipc(2), sysvipc(7) "Resource access permissions").

use super::ids::sequence_of;
use crate::task::{Creds, Cx, Pid, cap};
use arch::abi::IpcPerm;
use arch::{Errno, Result};
use std::sync::Arc;

/// The caller of a System V call.
#[derive(Clone)]
pub struct Caller {
    /// Its credentials.
    pub creds: Arc<Creds>,
    /// Its process.
    pub pid: Pid,
}

impl Caller {
    /// The task that makes the call.
    pub fn of(cx: &Cx) -> Self {
        Self {
            creds: cx.task.creds(),
            pid: cx.task.group.pid,
        }
    }
}

/// Reading, as mode bits of all three classes.
pub const READ: u32 = 0o444;
/// Writing, likewise.
pub const WRITE: u32 = 0o222;

/// Owner and mode of an object.
#[derive(Clone, Copy, Debug)]
pub struct Perm {
    /// Its key; IPC_PRIVATE for none.
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// Permission bits, and what the kind of object adds.
    pub mode: u32,
}

impl Perm {
    /// Of an object that `who` makes with the mode in `flags`.
    pub fn new(who: &Caller, key: i32, flags: i32) -> Self {
        Self {
            key,
            uid: who.creds.euid,
            gid: who.creds.egid,
            cuid: who.creds.euid,
            cgid: who.creds.egid,
            mode: flags.cast_unsigned() & 0o777,
        }
    }

    /// ipcperms: EACCES unless the caller has all the rights in `wanted` (low three bits, or any place of a mode).
    pub fn check(&self, who: &Caller, wanted: u32) -> Result<()> {
        let wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
        let creds = &who.creds;
        let granted = if creds.euid == self.cuid || creds.euid == self.uid {
            self.mode >> 6
        } else if creds.in_egroup(self.cgid) || creds.in_egroup(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted == 0 || creds.has_cap(cap::IPC_OWNER) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// EPERM unless the caller is the owner or the creator, or may do anything (IPC_SET, IPC_RMID).
    pub fn check_owner(&self, who: &Caller) -> Result<()> {
        let euid = who.creds.euid;
        if euid == self.cuid || euid == self.uid || who.creds.has_cap(cap::SYS_ADMIN) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// IPC_SET's new owner and mode. EINVAL for ids that are none.
    pub fn set(&mut self, new: &IpcPerm) -> Result<()> {
        if new.uid == u32::MAX || new.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        self.uid = new.uid;
        self.gid = new.gid;
        self.mode = self.mode & !0o777 | new.mode & 0o777;
        Ok(())
    }

    /// As IPC_STAT shows it.
    pub fn stat(&self, id: i32) -> IpcPerm {
        IpcPerm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: sequence_of(id),
            ..Default::default()
        }
    }
}

/// What semget(2) and its kin do about a key: the existing object's id, or `None` if one is to be made. `fits` is the kind's
/// own check of an existing object, which comes before that of permissions.
pub fn find<'a, T: 'a>(
    who: &Caller,
    key: i32,
    flags: i32,
    mut objects: impl Iterator<Item = (i32, &'a Arc<T>)>,
    perm: impl Fn(&T) -> Perm,
    fits: impl Fn(&T) -> Result<()>,
) -> Result<Option<i32>> {
    if key == libc::IPC_PRIVATE {
        return Ok(None);
    }
    let Some((id, object)) = objects.find(|(_, o)| perm(o).key == key) else {
        return if flags & libc::IPC_CREAT != 0 {
            Ok(None)
        } else {
            Err(Errno::ENOENT)
        };
    };
    let exclusive = libc::IPC_CREAT | libc::IPC_EXCL;
    if flags & exclusive == exclusive {
        return Err(Errno::EEXIST);
    }
    fits(object)?;
    perm(object).check(who, flags.cast_unsigned() & 0o777)?;
    Ok(Some(id))
}
