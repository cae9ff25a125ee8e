//! mount(2), umount2(2), pivot_root(2), unshare(2).
//!
//! How mounts spread is [`crate::vfs::propagate`]'s.

use super::{Fd, path};
use crate::config::CgroupLimits;
use crate::fs::{cgroup, devpts, proc, sysfs, tmp};
use crate::task::{Cx, cap};
use crate::user::{UserAddr, UserStr};
use crate::vfs::mount::{Kind, bind_of};
use crate::vfs::{Dentry, FileType, Mount, MountFlags, Path, WalkFlags};
use arch::{Errno, Result};
use std::sync::Arc;

const MAGIC: u64 = 0xc0ed_0000;
const MAGIC_MASK: u64 = 0xffff_0000;

const REMOUNT: u64 = libc::MS_REMOUNT;
const BIND: u64 = libc::MS_BIND;
const PROPAGATION: u64 = libc::MS_SHARED | libc::MS_PRIVATE | libc::MS_SLAVE | libc::MS_UNBINDABLE;
/// Flags that say how a mount behaves, or nothing here (MS_SILENT, MS_SYNCHRONOUS, …).
const HARMLESS: u64 = libc::MS_RDONLY
    | libc::MS_NOSUID
    | libc::MS_NODEV
    | libc::MS_NOEXEC
    | libc::MS_SYNCHRONOUS
    | libc::MS_MANDLOCK
    | libc::MS_DIRSYNC
    | MS_NOSYMFOLLOW
    | libc::MS_NOATIME
    | libc::MS_NODIRATIME
    | libc::MS_SILENT
    | libc::MS_POSIXACL
    | libc::MS_RELATIME
    | libc::MS_STRICTATIME
    | libc::MS_I_VERSION
    | libc::MS_LAZYTIME;
const MS_NOSYMFOLLOW: u64 = 256;

fn may_mount(cx: &Cx) -> Result<()> {
    if cx.task.creds().has_cap(cap::SYS_ADMIN) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// A string argument that may be null.
fn text(cx: &Cx, at: UserStr) -> Result<Vec<u8>> {
    if at.is_null() {
        Ok(Vec::new())
    } else {
        cx.read_path(at)
    }
}

/// The data page: as much of it as can be read.
fn options(cx: &Cx, at: UserAddr) -> Result<Vec<u8>> {
    if at.is_null() {
        return Ok(Vec::new());
    }
    let mut page = vec![0; 4096];
    let got = cx.read_partial(at, &mut page);
    if got == 0 {
        return Err(Errno::EFAULT);
    }
    let end = page[..got].iter().position(|&b| b == 0).unwrap_or(got);
    page.truncate(end);
    Ok(page)
}

/// Flags of the mount itself. `old` has the times' flags that a remount without any keeps.
fn mount_flags(flags: u64, old: Option<MountFlags>) -> MountFlags {
    let mut out = MountFlags::empty();
    let times = MountFlags::NOATIME | MountFlags::NODIRATIME | MountFlags::RELATIME;
    for flag in [
        MountFlags::RDONLY,
        MountFlags::NOSUID,
        MountFlags::NODEV,
        MountFlags::NOEXEC,
        MountFlags::NOSYMFOLLOW,
        MountFlags::NOATIME,
        MountFlags::NODIRATIME,
    ] {
        out.set(flag, flags & u64::from(flag.bits()) != 0);
    }
    let said = libc::MS_NOATIME | libc::MS_NODIRATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;
    match old {
        Some(old) if flags & said == 0 => out |= old & (times | MountFlags::STRICTATIME),
        _ if flags & libc::MS_STRICTATIME != 0 => {
            out.remove(MountFlags::NOATIME);
            out |= MountFlags::STRICTATIME;
        }
        _ if flags & libc::MS_NOATIME == 0 => out |= MountFlags::RELATIME,
        _ => {}
    }
    out
}

/// mount(2).
pub fn mount(
    cx: &Cx,
    source: UserStr,
    target: UserStr,
    kind: UserStr,
    flags: u64,
    data: UserAddr,
) -> Result<()> {
    let kind = text(cx, kind)?;
    let source = text(cx, source)?;
    let data = options(cx, data)?;
    let place = path::place(cx, Fd::CWD, target, WalkFlags::FOLLOW)?;
    may_mount(cx)?;
    let flags = if flags & MAGIC_MASK == MAGIC {
        flags & !MAGIC_MASK
    } else {
        flags
    };
    let known = HARMLESS | REMOUNT | BIND | PROPAGATION | libc::MS_REC | libc::MS_MOVE;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let ns = cx.task.fs().namespace();
    if flags & (REMOUNT | PROPAGATION) != 0 {
        ns.check_mine(&place.mount)?;
    }
    if flags & REMOUNT != 0 {
        remount(&place, flags, &data)
    } else if flags & BIND != 0 {
        bind(cx, &source, &place, flags & libc::MS_REC != 0)
    } else if flags & PROPAGATION != 0 {
        change_propagation(cx, &place, flags)
    } else if flags & libc::MS_MOVE != 0 {
        relocate(cx, &source, &place)
    } else {
        let root = new_file_system(cx, &kind, &data)?;
        let source = if source.is_empty() {
            b"none"
        } else {
            &source[..]
        };
        let mount = Mount::new(root, source, mount_flags(flags, None));
        ns.mount(&mount, &place)
    }
}

/// MS_REMOUNT: of one mount with MS_BIND, else of the file system too. EINVAL for a place that is no mount.
fn remount(place: &Path, flags: u64, data: &[u8]) -> Result<()> {
    if !place.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let mount = &place.mount;
    if flags & BIND == 0 {
        mount.sb().fs.remount(data)?;
        mount.sb().set_read_only(flags & libc::MS_RDONLY != 0)?;
    }
    mount.change_flags(mount_flags(flags, Some(mount.flags())))
}

/// The place that a source names.
fn source_place(cx: &Cx, source: &[u8]) -> Result<Path> {
    if source.is_empty() {
        return Err(Errno::EINVAL);
    }
    cx.env()
        .resolve(&crate::vfs::At::Cwd, source, WalkFlags::FOLLOW)
}

/// MS_BIND.
fn bind(cx: &Cx, source: &[u8], place: &Path, recursive: bool) -> Result<()> {
    let from = source_place(cx, source)?;
    cx.task.fs().namespace().check_mine(&from.mount)?;
    if from.mount.propagation().unbindable {
        return Err(Errno::EINVAL);
    }
    let mount = bind_of(&from, recursive);
    cx.task.fs().namespace().mount(&mount, place)
}

/// MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE. EINVAL for a place that is no mount, and for several at once.
fn change_propagation(cx: &Cx, place: &Path, flags: u64) -> Result<()> {
    let kind = match flags & PROPAGATION {
        libc::MS_SHARED => Kind::Shared,
        libc::MS_PRIVATE => Kind::Private,
        libc::MS_SLAVE => Kind::Slave,
        libc::MS_UNBINDABLE => Kind::Unbindable,
        _ => return Err(Errno::EINVAL),
    };
    if flags & !(PROPAGATION | libc::MS_REC | libc::MS_SILENT) != 0 || !place.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let recursive = flags & libc::MS_REC != 0;
    let ns = cx.task.fs().namespace();
    ns.change_propagation(&place.mount, kind, recursive);
    Ok(())
}

/// MS_MOVE.
fn relocate(cx: &Cx, source: &[u8], place: &Path) -> Result<()> {
    let from = source_place(cx, source)?;
    if !from.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let dir = |p: &Path| p.inode().file_type() == FileType::Directory;
    if dir(&from) != dir(place) {
        return Err(Errno::EINVAL);
    }
    cx.task.fs().namespace().relocate(&from.mount, place)
}

/// A file system of a type: ENODEV for one that there is not.
fn new_file_system(cx: &Cx, kind: &[u8], data: &[u8]) -> Result<Arc<Dentry>> {
    match kind {
        b"" => Err(Errno::EINVAL),
        b"tmpfs" => tmp::TmpFs::create(tmp::Options::parse(data)?),
        b"ramfs" => tmp::TmpFs::create(tmp::Options {
            size: Some(tmp::NO_LIMIT),
            nr_inodes: Some(tmp::NO_LIMIT),
            ..tmp::Options::parse(data)?
        }),
        b"proc" => Ok(proc::new(cx.kernel())),
        b"sysfs" => Ok(sysfs::new(cx.kernel())),
        b"cgroup2" => Ok(cgroup::new(cx.kernel(), CgroupLimits::default())),
        b"mqueue" => Ok(cx.kernel().mqueue.root()),
        b"devpts" => Ok(devpts::DevPts::create(devpts::Options::parse(data)?)),
        _ => Err(Errno::ENODEV),
    }
}

const MNT_EXPIRE: i32 = libc::MNT_EXPIRE;

/// umount2(2).
pub fn umount2(cx: &Cx, target: UserStr, flags: i32) -> Result<()> {
    let known = libc::MNT_FORCE | libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW | MNT_EXPIRE;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & libc::UMOUNT_NOFOLLOW == 0);
    // What is mounted on the working directory counts for `.` too.
    let place = path::place(cx, Fd::CWD, target, walk)?.follow_mounts();
    may_mount(cx)?;
    if !place.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let mount = Arc::clone(&place.mount);
    drop(place);
    let fs = cx.task.fs();
    if flags & MNT_EXPIRE != 0 {
        if flags & (libc::MNT_FORCE | libc::MNT_DETACH) != 0 || mount.mountpoint().is_none() {
            return Err(Errno::EINVAL);
        }
        fs.namespace().is_unused(&mount)?;
        if !mount.expires() {
            return Err(Errno::EAGAIN);
        }
    }
    fs.namespace().umount(&mount, flags & libc::MNT_DETACH != 0)
}

/// pivot_root(2).
pub fn pivot_root(cx: &Cx, new_root: UserStr, put_old: UserStr) -> Result<()> {
    may_mount(cx)?;
    let walk = WalkFlags::FOLLOW | WalkFlags::DIRECTORY;
    let new = path::place(cx, Fd::CWD, new_root, walk)?;
    let put_old = path::place(cx, Fd::CWD, put_old, walk)?;
    let fs = cx.task.fs();
    let ns = fs.namespace();
    let old = fs.root();
    if Arc::ptr_eq(&new.mount, &old.mount) || Arc::ptr_eq(&put_old.mount, &old.mount) {
        return Err(Errno::EBUSY);
    }
    if !old.is_mount_root() || !new.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    // put_old at or below new_root, new_root below the present root.
    if !put_old.reach(&new).1 || !new.reach(&old).1 {
        return Err(Errno::EINVAL);
    }
    ns.pivot(&old, &new, &put_old)?;
    for group in cx.kernel().tasks.lock().all_groups() {
        for task in group.threads() {
            task.fs().replace_root(&old, &new);
        }
    }
    Ok(())
}

/// unshare(2): descriptors, the file system context, the mount namespace.
pub fn unshare(cx: &Cx, flags: u64) -> Result<()> {
    const FS: u64 = libc::CLONE_FS as u64;
    const FILES: u64 = libc::CLONE_FILES as u64;
    const NEWNS: u64 = libc::CLONE_NEWNS as u64;
    const SYSVSEM: u64 = libc::CLONE_SYSVSEM as u64;
    /// What a process with one thread shares with nobody anyway.
    const ALONE: u64 = (libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM) as u32 as u64;
    if flags & !(FS | FILES | NEWNS | SYSVSEM | ALONE) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & ALONE != 0 && cx.task.group.threads().len() > 1 {
        return Err(Errno::EINVAL);
    }
    if flags & NEWNS != 0 {
        may_mount(cx)?;
    }
    if flags & (FS | NEWNS) != 0 {
        let own = cx.task.fs().fork();
        if flags & NEWNS != 0 {
            own.unshare_namespace();
        }
        *cx.task.fs.lock() = own;
    }
    if flags & FILES != 0 {
        let own = cx.task.files().fork();
        *cx.task.files.lock() = own;
    }
    if flags & SYSVSEM != 0 {
        // Carried out here and now if nobody shares it.
        let undo = std::mem::take(&mut *cx.task.sem_undo.lock());
        drop(undo);
    }
    Ok(())
}
