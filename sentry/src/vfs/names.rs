//! Making, removing and moving names: mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2), rename(2).

use super::attr::{Dev, FileType};
use super::dentry::Dentry;
use super::inode::{InodeRef, NewNode, RenameFlags, Target};
use super::mount::{MountFlags, RENAME_SEQ, detach_mounts};
use super::perm::{self, Access};
use super::walk::{At, Env, Last, WalkFlags};
use super::{Path, notify};
use crate::task::cap;
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Owner, group and mode of a file that `env` makes in `dir` (inode_init_owner, umask).
pub fn new_node(env: &Env<'_>, dir: &Path, mode: u32, rdev: Dev) -> Result<NewNode> {
    let mut mode = mode & !(env.umask & 0o777);
    let mut gid = env.creds.fsgid;
    let parent = dir.inode().perm_attr()?;
    if parent.mode & libc::S_ISGID != 0 {
        gid = parent.gid;
        if mode & libc::S_IFMT == libc::S_IFDIR {
            mode |= libc::S_ISGID;
        } else if mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP
            && !env.creds.in_group(gid)
            && !env.creds.has_cap(cap::FSETID)
        {
            mode &= !libc::S_ISGID;
        }
    }
    Ok(NewNode {
        mode,
        uid: env.creds.fsuid,
        gid,
        rdev,
    })
}

/// Runs `make` under the directory's lock and enters the result in the cache.
pub(super) fn create_in(
    dir: &Path,
    name: &[u8],
    make: impl FnOnce(&InodeRef) -> Result<InodeRef>,
) -> Result<Arc<Dentry>> {
    let lock = dir.dentry.lock_dir();
    let made = make(dir.inode());
    let dentry = match made {
        Ok(inode) => dir.dentry.created(name, inode),
        Err(e) => {
            // What the cache says may be stale.
            dir.dentry.forget(name);
            return Err(e);
        }
    };
    drop(lock);
    let is_dir = dentry.inode().file_type() == FileType::Directory;
    notify::child(&**dir.inode(), name, is_dir, libc::IN_CREATE, 0);
    Ok(dentry)
}

/// What is to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Making {
    Directory,
    Symlink,
    /// Something with conditions of its own, which come after "is it there?".
    Other,
}

/// filename_create: the directory and name of something to be made. EEXIST if it is there; then EROFS.
fn creatable(env: &Env<'_>, at: &At, path: &[u8], what: Making) -> Result<(Path, Vec<u8>)> {
    let (dir, last) = env.resolve_parent(at, path, WalkFlags::empty())?;
    let Last::Name { name, slash } = last else {
        return Err(Errno::EEXIST);
    };
    let unseen = match what {
        Making::Directory => true,
        Making::Symlink => !slash,
        Making::Other => false,
    };
    if unseen && env.can_make_unseen(&dir, &name) {
        return Ok((dir, name));
    }
    if env.lookup(&dir, &name)?.is_some() {
        return Err(Errno::EEXIST);
    }
    if dir.mount.sb().fs.fixed_names() {
        return Err(Errno::ENOENT);
    }
    if slash && what != Making::Directory {
        return Err(Errno::ENOENT);
    }
    dir.mount.want_write()?;
    Ok((dir, name))
}

/// mkdir(2).
pub fn mkdir(env: &Env<'_>, at: &At, path: &[u8], mode: u32) -> Result<Path> {
    let (dir, name) = creatable(env, at, path, Making::Directory)?;
    perm::may_create(env, &dir)?;
    let node = new_node(env, &dir, libc::S_IFDIR | (mode & 0o1777), Dev::default())?;
    let dentry = create_in(&dir, &name, |inode| inode.create(&name, &node))?;
    Ok(dir.with(dentry))
}

/// mknod(2): a file of any type but directory or symbolic link; no type means a regular file. Also bind(2) of a Unix socket.
pub fn mknod(env: &Env<'_>, at: &At, path: &[u8], mode: u32, rdev: Dev) -> Result<Path> {
    let kind = match mode & libc::S_IFMT {
        0 => libc::S_IFREG,
        libc::S_IFDIR => return Err(Errno::EPERM),
        kind @ (libc::S_IFREG | libc::S_IFCHR | libc::S_IFBLK | libc::S_IFIFO | libc::S_IFSOCK) => {
            kind
        }
        _ => return Err(Errno::EINVAL),
    };
    let (dir, name) = creatable(env, at, path, Making::Other)?;
    perm::may_create(env, &dir)?;
    let is_device = matches!(kind, libc::S_IFCHR | libc::S_IFBLK);
    // A character device 0:0 is a whiteout, which anybody may make.
    let whiteout = kind == libc::S_IFCHR && rdev == Dev::default();
    if is_device && !whiteout && !env.creds.has_cap(cap::MKNOD) {
        return Err(Errno::EPERM);
    }
    let rdev = if is_device { rdev } else { Dev::default() };
    let node = new_node(env, &dir, kind | (mode & 0o7777), rdev)?;
    let dentry = create_in(&dir, &name, |inode| inode.create(&name, &node))?;
    dentry.inode().made_only();
    Ok(dir.with(dentry))
}

/// symlink(2).
pub fn symlink(env: &Env<'_>, target: &[u8], at: &At, path: &[u8]) -> Result<()> {
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let (dir, name) = creatable(env, at, path, Making::Symlink)?;
    perm::may_create(env, &dir)?;
    let mut node = new_node(env, &dir, libc::S_IFLNK, Dev::default())?;
    node.mode = libc::S_IFLNK | 0o777;
    create_in(&dir, &name, |inode| inode.symlink(&name, target, &node))?;
    Ok(())
}

/// link(2) of `old`.
pub fn link(env: &Env<'_>, old: &Path, at: &At, path: &[u8]) -> Result<()> {
    let (dir, name) = creatable(env, at, path, Making::Other)?;
    if !Arc::ptr_eq(&old.mount, &dir.mount) {
        return Err(Errno::EXDEV);
    }
    let inode = old.inode();
    hardlink_allowed(env, old)?;
    perm::may_create(env, &dir)?;
    if inode.file_type() == FileType::Directory {
        return Err(Errno::EPERM);
    }
    create_in(&dir, &name, |d| {
        d.link(&name, inode).map(|()| Arc::clone(inode))
    })?;
    notify::inode(&**inode, libc::IN_ATTRIB);
    Ok(())
}

/// may_linkat: fs.protected_hardlinks is on, as everywhere.
fn hardlink_allowed(env: &Env<'_>, old: &Path) -> Result<()> {
    let attr = old.inode().attr()?;
    if perm::owner_or_capable(&attr, &env.creds) {
        return Ok(());
    }
    let setgid_exec = libc::S_ISGID | libc::S_IXGRP;
    let safe = attr.file_type() == FileType::Regular
        && attr.mode & libc::S_ISUID == 0
        && attr.mode & setgid_exec != setgid_exec
        && perm::inode(env, old.inode(), Access::READ | Access::WRITE).is_ok();
    if safe { Ok(()) } else { Err(Errno::EPERM) }
}

/// unlink(2).
pub fn unlink(env: &Env<'_>, at: &At, path: &[u8]) -> Result<()> {
    let (dir, last) = env.resolve_parent(at, path, WalkFlags::empty())?;
    let Last::Name { name, slash } = last else {
        return Err(Errno::EISDIR);
    };
    dir.mount.want_write()?;
    let lock = dir.dentry.lock_dir();
    let victim = env.lookup(&dir, &name)?.ok_or(Errno::ENOENT)?;
    let inode = Arc::clone(victim.inode());
    if slash {
        return Err(if inode.file_type() == FileType::Directory {
            Errno::EISDIR
        } else {
            Errno::ENOTDIR
        });
    }
    perm::may_delete(env, &dir, &inode, false)?;
    if is_mountpoint(env, &victim) {
        return Err(Errno::EBUSY);
    }
    remove(&dir, &victim, || dir.inode().unlink(&name, &inode))?;
    drop(lock);
    detach_mounts(&victim);
    notify::child(&**dir.inode(), &name, false, libc::IN_DELETE, 0);
    unlinked(&inode);
    Ok(())
}

/// rmdir(2).
pub fn rmdir(env: &Env<'_>, at: &At, path: &[u8]) -> Result<()> {
    let (dir, last) = env.resolve_parent(at, path, WalkFlags::empty())?;
    let name = match last {
        Last::Name { name, .. } => name,
        Last::DotDot => return Err(Errno::ENOTEMPTY),
        Last::Dot => return Err(Errno::EINVAL),
        Last::Root => return Err(Errno::EBUSY),
    };
    dir.mount.want_write()?;
    let lock = dir.dentry.lock_dir();
    let victim = env.lookup(&dir, &name)?.ok_or(Errno::ENOENT)?;
    let inode = Arc::clone(victim.inode());
    perm::may_delete(env, &dir, &inode, true)?;
    if is_mountpoint(env, &victim) {
        return Err(Errno::EBUSY);
    }
    remove(&dir, &victim, || dir.inode().rmdir(&name, &inode))?;
    drop(lock);
    detach_mounts(&victim);
    notify::child(&**dir.inode(), &name, true, libc::IN_DELETE, 0);
    notify::deleted(&*inode);
    Ok(())
}

/// Runs the file system's removal and has the cache follow.
fn remove(dir: &Path, victim: &Arc<Dentry>, run: impl FnOnce() -> Result<()>) -> Result<()> {
    match run() {
        Ok(()) => {
            dir.dentry.removed(victim);
            Ok(())
        }
        Err(e) => {
            if e == Errno::ENOENT {
                dir.dentry.forget_entry(victim);
            }
            Err(e)
        }
    }
}

/// A mount that the caller sees stands there.
fn is_mountpoint(env: &Env<'_>, dentry: &Arc<Dentry>) -> bool {
    let mounts = dentry.mounts.load(Ordering::Acquire);
    mounts > 0
        && env
            .cx
            .is_none_or(|cx| cx.task.fs().namespace().mounts_on(dentry))
}

/// A link of `inode` has gone.
fn unlinked(inode: &InodeRef) {
    if !notify::active() {
        return;
    }
    notify::inode(&**inode, libc::IN_ATTRIB);
    if inode.attr().is_ok_and(|a| a.nlink == 0) {
        notify::deleted(&**inode);
    }
}

/// renameat2(2).
pub fn rename(
    env: &Env<'_>,
    old_at: &At,
    old_path: &[u8],
    new_at: &At,
    new_path: &[u8],
    flags: RenameFlags,
) -> Result<()> {
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    if exchange && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(RenameFlags::WHITEOUT) && !env.creds.has_cap(cap::MKNOD) {
        return Err(Errno::EPERM);
    }
    let (old_dir, old_last) = env.resolve_parent(old_at, old_path, WalkFlags::empty())?;
    let (new_dir, new_last) = env.resolve_parent(new_at, new_path, WalkFlags::empty())?;
    if !Arc::ptr_eq(&old_dir.mount, &new_dir.mount) {
        return Err(Errno::EXDEV);
    }
    let Last::Name {
        name: old_name,
        slash: old_slash,
    } = old_last
    else {
        return Err(Errno::EBUSY);
    };
    let Last::Name {
        name: new_name,
        slash: new_slash,
    } = new_last
    else {
        return Err(if flags.contains(RenameFlags::NOREPLACE) {
            Errno::EEXIST
        } else {
            Errno::EBUSY
        });
    };
    old_dir.mount.want_write()?;

    let (from, to) = (&old_dir.dentry, &new_dir.dentry);
    let _tree = (!Arc::ptr_eq(from, to)).then(|| from.sb.rename.lock());
    let _dirs = Dentry::lock_dirs(from, to);
    let moved = env.lookup(&old_dir, &old_name)?.ok_or(Errno::ENOENT)?;
    let found = env.lookup(&new_dir, &new_name)?;
    if flags.contains(RenameFlags::NOREPLACE) && found.is_some() {
        return Err(Errno::EEXIST);
    }
    let is_dir = |d: &Arc<Dentry>| d.inode().file_type() == FileType::Directory;
    if exchange {
        let other = found.as_ref().ok_or(Errno::ENOENT)?;
        if !is_dir(other) && new_slash {
            return Err(Errno::ENOTDIR);
        }
    }
    if !is_dir(&moved) && (old_slash || (!exchange && new_slash)) {
        return Err(Errno::ENOTDIR);
    }
    // Nothing goes into itself: EINVAL for the source, ENOTEMPTY for a target above the source.
    if moved.is_ancestor_of(to) {
        return Err(Errno::EINVAL);
    }
    if let Some(found) = &found
        && found.is_ancestor_of(from)
    {
        return Err(if exchange {
            Errno::EINVAL
        } else {
            Errno::ENOTEMPTY
        });
    }
    rename_checked(
        env,
        &old_dir,
        &moved,
        &new_dir,
        &new_name,
        found.as_ref(),
        flags,
    )?;
    if is_dir(&moved) || found.as_ref().is_some_and(is_dir) {
        RENAME_SEQ.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// vfs_rename. Both directories are locked.
fn rename_checked(
    env: &Env<'_>,
    old_dir: &Path,
    moved: &Arc<Dentry>,
    new_dir: &Path,
    new_name: &[u8],
    found: Option<&Arc<Dentry>>,
    flags: RenameFlags,
) -> Result<()> {
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    let source = Arc::clone(moved.inode());
    if found.is_some_and(|f| Arc::ptr_eq(f.inode(), &source)) {
        return Ok(());
    }
    let is_dir = source.file_type() == FileType::Directory;
    perm::may_delete(env, old_dir, &source, is_dir)?;
    match found {
        None => perm::may_create(env, new_dir)?,
        Some(found) => {
            let as_dir = if exchange {
                found.inode().file_type() == FileType::Directory
            } else {
                is_dir
            };
            perm::may_delete(env, new_dir, found.inode(), as_dir)?;
        }
    }
    // A directory that changes its parent is itself written to (its `..`).
    if !Arc::ptr_eq(&old_dir.dentry, &new_dir.dentry) {
        if is_dir {
            perm::inode(env, &source, Access::WRITE)?;
        }
        if exchange
            && let Some(found) = found.filter(|f| f.inode().file_type() == FileType::Directory)
        {
            perm::inode(env, found.inode(), Access::WRITE)?;
        }
    }
    let busy = |d: &Arc<Dentry>| is_mountpoint(env, d);
    if busy(moved) || found.is_some_and(busy) {
        return Err(Errno::EBUSY);
    }
    let old_name = moved.name();
    let replaced = found.map(|f| Arc::clone(f.inode()));
    let target = Target {
        dir: new_dir.inode(),
        name: new_name,
        replaced: replaced.as_ref(),
    };
    if let Err(e) = old_dir.inode().rename(&old_name, &source, &target, flags) {
        if e == Errno::ENOENT || e == Errno::EEXIST {
            old_dir.dentry.forget(&old_name);
            new_dir.dentry.forget(new_name);
        }
        return Err(e);
    }
    match found {
        Some(found) if exchange => Dentry::exchanged(moved, found),
        _ => {
            old_dir
                .dentry
                .moved(moved, &new_dir.dentry, new_name, found.map(|f| &**f));
            if let Some(found) = found {
                detach_mounts(found);
            }
        }
    }
    rename_notify(
        old_dir,
        &old_name,
        &source,
        new_dir,
        new_name,
        replaced.as_ref(),
        exchange,
    );
    Ok(())
}

fn rename_notify(
    old_dir: &Path,
    old_name: &[u8],
    source: &InodeRef,
    new_dir: &Path,
    new_name: &[u8],
    replaced: Option<&InodeRef>,
    exchange: bool,
) {
    if !notify::active() {
        return;
    }
    let tell = |from: &Path, from_name: &[u8], to: &Path, to_name: &[u8], what: &InodeRef| {
        let is_dir = what.file_type() == FileType::Directory;
        let cookie = notify::cookie();
        notify::child(
            &**from.inode(),
            from_name,
            is_dir,
            libc::IN_MOVED_FROM,
            cookie,
        );
        notify::child(&**to.inode(), to_name, is_dir, libc::IN_MOVED_TO, cookie);
        notify::inode(&**what, libc::IN_MOVE_SELF);
    };
    tell(old_dir, old_name, new_dir, new_name, source);
    match replaced {
        Some(other) if exchange => tell(new_dir, new_name, old_dir, old_name, other),
        Some(gone) => unlinked(gone),
        None => {}
    }
}

/// readlink(2) of a place: EINVAL unless it is a symbolic link.
pub fn readlink(env: &Env<'_>, place: &Path) -> Result<Vec<u8>> {
    if place.inode().file_type() != FileType::Symlink {
        return Err(Errno::EINVAL);
    }
    let text = place.inode().readlink(env)?;
    let flags = place.mount.flags();
    if !flags.contains(MountFlags::NOATIME) {
        super::change::touch_atime(place, 0);
    }
    Ok(text)
}
