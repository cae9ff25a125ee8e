//! open(2), openat2(2) without the descriptor.

use super::attr::FileType;
use super::dentry::Dentry;
use super::inode::FileInode;
use super::mount::MountFlags;
use super::perm::{self, Access};
use super::walk::{At, Env, Last, Walk, WalkFlags};
use super::{File, FileOps, Path, change, names, notify};
use arch::{Errno, Result};
use std::any::Any;
use std::sync::Arc;

const ACCMODE: u32 = libc::O_ACCMODE as u32;
const CREAT: u32 = libc::O_CREAT as u32;
const EXCL: u32 = libc::O_EXCL as u32;
const TRUNC: u32 = libc::O_TRUNC as u32;
const PATH: u32 = libc::O_PATH as u32;
const DIRECTORY: u32 = libc::O_DIRECTORY as u32;
const NOFOLLOW: u32 = libc::O_NOFOLLOW as u32;
/// O_TMPFILE without the O_DIRECTORY that belongs to it.
const TMPFILE_BIT: u32 = libc::O_TMPFILE as u32 & !DIRECTORY;
/// Set on every description that open(2) makes for a 64-bit process; the C library calls it 0.
pub const LARGEFILE: u32 = 0o100_000;

/// Flags that open(2) knows; it ignores the others, openat2(2) doesn't.
pub const VALID_FLAGS: u32 = ACCMODE
    | CREAT
    | EXCL
    | libc::O_NOCTTY as u32
    | TRUNC
    | libc::O_APPEND as u32
    | libc::O_NONBLOCK as u32
    | libc::O_SYNC as u32
    | libc::O_ASYNC as u32
    | libc::O_DIRECT as u32
    | LARGEFILE
    | DIRECTORY
    | NOFOLLOW
    | libc::O_NOATIME as u32
    | libc::O_CLOEXEC as u32
    | PATH
    | TMPFILE_BIT;

/// Whether these flags can make a file, so that a mode means something.
pub const fn will_create(flags: u32) -> bool {
    flags & (CREAT | TMPFILE_BIT) != 0
}

/// How to open.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// O_*.
    pub flags: u32,
    /// Permission bits of a file that is made, before the umask.
    pub mode: u32,
    /// RESOLVE_*.
    pub resolve: WalkFlags,
}

impl OpenHow {
    /// open(2): what it doesn't know it ignores.
    pub fn new(flags: u32, mode: u32) -> Self {
        let mut flags = flags & VALID_FLAGS;
        if flags & PATH != 0 {
            flags &= DIRECTORY | NOFOLLOW | PATH | libc::O_CLOEXEC as u32;
        }
        let mode = if will_create(flags) { mode & 0o7777 } else { 0 };
        Self {
            flags,
            mode,
            resolve: WalkFlags::empty(),
        }
    }

    /// What an open is going to do with the file.
    fn access(&self) -> Access {
        let mut access = match self.flags & ACCMODE {
            0 => Access::READ,
            1 => Access::WRITE,
            _ => Access::READ | Access::WRITE,
        };
        if self.flags & TRUNC != 0 {
            access |= Access::WRITE;
        }
        access
    }

    /// build_open_flags: EINVAL for combinations that make no sense.
    pub fn check(&mut self) -> Result<()> {
        if self.flags & TMPFILE_BIT != 0 {
            if self.flags & (DIRECTORY | CREAT) != DIRECTORY
                || !self.access().contains(Access::WRITE)
            {
                return Err(Errno::EINVAL);
            }
        } else if self.flags & (CREAT | DIRECTORY) == CREAT | DIRECTORY {
            return Err(Errno::EINVAL);
        }
        if self.flags & (CREAT | EXCL) == CREAT | EXCL {
            self.flags |= NOFOLLOW;
        }
        if self.flags & PATH == 0 {
            self.flags |= LARGEFILE;
        }
        Ok(())
    }

    fn walk_flags(&self) -> WalkFlags {
        let mut flags = self.resolve;
        flags.set(WalkFlags::FOLLOW, self.flags & NOFOLLOW == 0);
        flags.set(
            WalkFlags::DIRECTORY,
            self.flags & DIRECTORY != 0 && self.flags & TMPFILE_BIT == 0,
        );
        flags
    }

    /// The flags that stay with the description.
    fn kept(&self) -> u32 {
        self.flags & !(CREAT | EXCL | TRUNC | libc::O_NOCTTY as u32 | libc::O_CLOEXEC as u32)
    }
}

/// Opens or makes a file. The caller waits for [`FileOps::open_wait`] before it gives it a descriptor.
pub fn open(env: &Env<'_>, at: &At, path: &[u8], mut how: OpenHow) -> Result<Arc<File>> {
    how.check()?;
    if how.flags & TMPFILE_BIT != 0 {
        return tmpfile(env, at, path, &how);
    }
    if how.flags & PATH != 0 {
        let place = env.resolve(at, path, how.walk_flags())?;
        return Ok(File::with_path(Box::new(PathOnly), how.kept(), place));
    }
    let mut walk = env.walk(at, path, how.walk_flags())?;
    let mut last = walk.to_last()?;
    let mut tries = 0;
    loop {
        let Last::Name { name, slash } = &last else {
            let place = walk.finish(last)?;
            return open_found(env, place, &how);
        };
        if how.flags & CREAT != 0 && *slash {
            return Err(Errno::EISDIR);
        }
        if how.flags & (CREAT | EXCL) == CREAT | EXCL
            && !how.resolve.contains(WalkFlags::CACHED)
            && env.can_make_unseen(walk.dir(), name)
        {
            match create(env, &walk, name, &how) {
                Ok(place) => return open_inode(env, place, &how, true),
                Err(Errno::EEXIST) => return Err(Errno::EEXIST),
                // Unless it is there.
                Err(_) => {}
            }
        }
        let follow = how.flags & NOFOLLOW == 0 || *slash;
        if *slash {
            walk.want_directory();
        }
        match walk.child(name)? {
            Some(child) => {
                if walk.enter(child, follow)? {
                    last = walk.to_last()?;
                    continue;
                }
                let place = walk.into_place()?;
                return open_found(env, place, &how);
            }
            None if how.flags & CREAT == 0 => return Err(Errno::ENOENT),
            None => match create(env, &walk, name, &how) {
                // Somebody else was faster: open what they made.
                Err(Errno::EEXIST) if how.flags & EXCL == 0 && tries < 3 => tries += 1,
                Err(e) => return Err(e),
                Ok(place) => return open_inode(env, place, &how, true),
            },
        }
    }
}

/// Makes a regular file for an open with O_CREAT.
fn create(env: &Env<'_>, walk: &Walk<'_, '_>, name: &[u8], how: &OpenHow) -> Result<Path> {
    let dir = walk.dir();
    if dir.mount.sb().fs.fixed_names() {
        return Err(Errno::ENOENT);
    }
    dir.mount.want_write()?;
    perm::may_create(env, dir)?;
    let node = names::new_node(env, dir, libc::S_IFREG | how.mode, super::Dev::default())?;
    let dentry = names::create_in(dir, name, |inode| match inode.create(name, &node) {
        Err(Errno::EPERM) => Err(Errno::EACCES),
        other => other,
    })?;
    Ok(dir.with(dentry))
}

/// do_open of a file that was there.
fn open_found(env: &Env<'_>, place: Path, how: &OpenHow) -> Result<Arc<File>> {
    let kind = place.inode().file_type();
    if how.flags & CREAT != 0 {
        if how.flags & EXCL != 0 {
            return Err(Errno::EEXIST);
        }
        if kind == FileType::Directory {
            return Err(Errno::EISDIR);
        }
    }
    if how.flags & DIRECTORY != 0 && kind != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    if how.flags & TRUNC != 0 && kind == FileType::Regular {
        place.mount.want_write()?;
    }
    may_open(env, &place, how.access(), how.flags)?;
    open_inode(env, place, how, false)
}

/// may_open of the kernel.
fn may_open(env: &Env<'_>, place: &Path, access: Access, flags: u32) -> Result<()> {
    match place.inode().file_type() {
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Directory if access.contains(Access::WRITE) => return Err(Errno::EISDIR),
        FileType::CharDevice | FileType::BlockDevice
            if place.mount.flags().contains(MountFlags::NODEV) =>
        {
            return Err(Errno::EACCES);
        }
        _ => {}
    }
    perm::path(env, place, access)?;
    if flags & libc::O_NOATIME as u32 != 0
        && !perm::owner_or_capable(&place.inode().attr()?, &env.creds)
    {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// do_dentry_open: rights have been checked.
fn open_inode(env: &Env<'_>, place: Path, how: &OpenHow, created: bool) -> Result<Arc<File>> {
    let inode = place.inode();
    // A magic link to a pipe, a terminal, a standard descriptor: another description of the same object.
    if let Some(open) = inode.as_any().downcast_ref::<FileInode>() {
        let ops = open.file.ops.reopen(&open.file, how.flags)?;
        return Ok(File::new(ops, how.kept()));
    }
    let kind = inode.file_type();
    let writes = matches!(how.flags & ACCMODE, 1 | 2);
    if writes && kind == FileType::Regular {
        place.mount.want_write()?;
    }
    let ops: Box<dyn FileOps> = match kind {
        FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => {
            let cx = env.cx.ok_or(Errno::ENXIO)?;
            let rdev = inode.attr()?.rdev;
            cx.kernel()
                .devices
                .open(env, kind, rdev, &place, how.flags)?
        }
        FileType::Socket => return Err(Errno::ENXIO),
        _ => inode.open(env, &place, how.flags)?,
    };
    let file = File::with_path(ops, how.kept(), place);
    if writes && kind == FileType::Regular {
        file.count_writer()?;
    }
    if how.flags & TRUNC != 0 && kind == FileType::Regular && !created {
        change::truncate_open(env, &file, 0)?;
    }
    if let Some(path) = file.path() {
        notify::path(path, libc::IN_OPEN);
    }
    Ok(file)
}

/// O_TMPFILE.
fn tmpfile(env: &Env<'_>, at: &At, path: &[u8], how: &OpenHow) -> Result<Arc<File>> {
    let dir = env.resolve(at, path, how.walk_flags() | WalkFlags::DIRECTORY)?;
    dir.mount.want_write()?;
    perm::path(env, &dir, Access::WRITE | Access::EXEC)?;
    let node = names::new_node(env, &dir, libc::S_IFREG | how.mode, super::Dev::default())?;
    let inode = dir.inode().tmpfile(&node, how.flags & EXCL == 0)?;
    let name = format!("/#{}", inode.attr()?.ino);
    let dentry = Dentry::detached(Arc::clone(dir.mount.sb()), inode, name.as_bytes());
    open_inode(env, dir.with(dentry), how, true)
}

/// Opens a file for execve(2): EACCES unless it is a regular one that may be executed; ETXTBSY while it is open for writing.
/// The caller does [`super::InodeExt::deny_write`] for as long as it runs, if it wants that.
pub fn open_exec(env: &Env<'_>, at: &At, path: &[u8], flags: WalkFlags) -> Result<Arc<File>> {
    let place = env.resolve(at, path, flags)?;
    match place.inode().file_type() {
        FileType::Regular => {}
        FileType::Symlink => return Err(Errno::ELOOP),
        _ => return Err(Errno::EACCES),
    }
    if place.mount.flags().contains(MountFlags::NOEXEC) {
        return Err(Errno::EACCES);
    }
    perm::path(env, &place, Access::EXEC)?;
    let how = OpenHow {
        flags: LARGEFILE,
        ..OpenHow::default()
    };
    let ext = place.inode().ext();
    ext.deny_write()?;
    let file = open_inode(env, place.clone(), &how, false);
    ext.allow_write();
    file
}

/// What stands behind an O_PATH description: nothing can be done through it but to name its place.
pub struct PathOnly;

impl FileOps for PathOnly {
    fn as_any(&self) -> &dyn Any {
        self
    }
}
