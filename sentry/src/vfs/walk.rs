//! Path walk (path_resolution(7)): from a text to a place.

use super::attr::FileType;
use super::dentry::{Cached, Dentry};
use super::inode::Link;
use super::mount::{MOUNT_SEQ, MountFlags, RENAME_SEQ};
use super::path::Path;
use super::perm::{self, Access};
use crate::task::{Creds, Cx};
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Symbolic links followed at most (MAXSYMLINKS).
const MAX_LINKS: u32 = 40;

bitflags::bitflags! {
    /// How to walk.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct WalkFlags: u32 {
        /// Follow a symbolic link in the last component.
        const FOLLOW = 1;
        /// The result must be a directory.
        const DIRECTORY = 2;
        /// An empty path means the start (AT_EMPTY_PATH); ENOENT otherwise.
        const EMPTY = 4;
        /// RESOLVE_BENEATH.
        const BENEATH = 0x100;
        /// RESOLVE_IN_ROOT.
        const IN_ROOT = 0x200;
        /// RESOLVE_NO_SYMLINKS.
        const NO_SYMLINKS = 0x400;
        /// RESOLVE_NO_MAGICLINKS.
        const NO_MAGICLINKS = 0x800;
        /// RESOLVE_NO_XDEV.
        const NO_XDEV = 0x1000;
        /// RESOLVE_CACHED.
        const CACHED = 0x2000;
    }
}

/// On whose behalf the file system is used.
pub struct Env<'a> {
    pub creds: Arc<Creds>,
    pub root: Path,
    pub cwd: Path,
    pub umask: u32,
    /// The calling thread; `None` for the kernel's own accesses (container set-up), which can't open devices.
    pub cx: Option<&'a Cx>,
}

/// Where a walk starts.
#[derive(Clone, Debug)]
pub enum At {
    /// The working directory.
    Cwd,
    /// The place that a descriptor refers to.
    Dir(Path),
}

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// A name, and whether slashes came after it.
    Name { name: Vec<u8>, slash: bool },
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// The path was `/`, or a magic link that has been followed.
    Root,
}

/// A walk under way.
pub struct Walk<'e, 'c> {
    env: &'e Env<'c>,
    flags: WalkFlags,
    /// The root that `/` and `..` know.
    root: Path,
    cur: Path,
    text: Vec<u8>,
    pos: usize,
    links: u32,
    seq: Option<(u64, u64)>,
}

impl<'c> Env<'c> {
    /// Begins a walk of `path` from `at`.
    pub fn walk<'e>(&'e self, at: &At, path: &[u8], flags: WalkFlags) -> Result<Walk<'e, 'c>> {
        let scoped = flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
        if path.is_empty() && !flags.contains(WalkFlags::EMPTY) {
            return Err(Errno::ENOENT);
        }
        let start = match at {
            At::Cwd => self.cwd.clone(),
            At::Dir(dir) => dir.clone(),
        };
        let absolute = path.first() == Some(&b'/');
        let mut walk = Walk {
            env: self,
            flags,
            root: if scoped {
                start.clone()
            } else {
                self.root.clone()
            },
            cur: start,
            text: path.to_vec(),
            pos: 0,
            links: 0,
            seq: scoped.then(|| {
                (
                    MOUNT_SEQ.load(Ordering::SeqCst),
                    RENAME_SEQ.load(Ordering::SeqCst),
                )
            }),
        };
        if absolute {
            walk.jump_root(true)?;
        } else if !path.is_empty() && walk.cur.inode().file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        Ok(walk)
    }

    /// The place of a path that exists.
    pub fn resolve(&self, at: &At, path: &[u8], flags: WalkFlags) -> Result<Path> {
        let mut walk = self.walk(at, path, flags)?;
        let last = walk.to_last()?;
        walk.finish(last)
    }

    /// The directory of a path, and its last component.
    pub fn resolve_parent(&self, at: &At, path: &[u8], flags: WalkFlags) -> Result<(Path, Last)> {
        let mut walk = self.walk(at, path, flags)?;
        let last = walk.to_last()?;
        Ok((walk.cur, last))
    }

    /// Looks `name` up in `dir`, without crossing onto a mount there. `None`: there is no such name.
    pub fn lookup(&self, dir: &Path, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        self.lookup_in(dir, name, false)
    }

    /// Whether `name` can be made in `dir` without looking it up first: nothing is known of it, and nothing but its
    /// existence could be wrong.
    pub(super) fn can_make_unseen(&self, dir: &Path, name: &[u8]) -> bool {
        dir.dentry.sb.fs.makes_unseen()
            && matches!(dir.dentry.cached(name), Cached::Miss(_))
            && dir.mount.want_write().is_ok()
            && perm::may_create(self, dir).is_ok()
    }

    fn lookup_in(&self, dir: &Path, name: &[u8], cached_only: bool) -> Result<Option<Arc<Dentry>>> {
        let parent = &dir.dentry;
        let version = match parent.cached(name) {
            Cached::Hit(child) => {
                let holds = !parent.sb.revalidates
                    || child.mounts.load(Ordering::Acquire) > 0
                    || dir
                        .inode()
                        .revalidate(self, name, child.maybe_inode(), &child.checked);
                if holds {
                    return Ok((!child.is_negative()).then_some(child));
                }
                parent.forget_entry(&child);
                match parent.cached(name) {
                    Cached::Hit(other) => return Ok((!other.is_negative()).then_some(other)),
                    Cached::Miss(version) => version,
                }
            }
            Cached::Miss(version) => version,
        };
        if cached_only {
            return Err(Errno::EAGAIN);
        }
        Dentry::check_name(name)?;
        match dir.inode().lookup(self, name) {
            Ok(inode) => {
                Ok(Some(parent.learn(name, Some(inode), version)).filter(|d| !d.is_negative()))
            }
            Err(Errno::ENOENT) => {
                if parent.sb.caches_negative {
                    parent.learn(name, None, version);
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

impl<'e> Walk<'e, '_> {
    /// Where the walk is: after [`Walk::to_last`], the directory of the last component.
    pub fn dir(&self) -> &Path {
        &self.cur
    }

    /// Walks all components but the last.
    pub fn to_last(&mut self) -> Result<Last> {
        loop {
            while self.text.get(self.pos) == Some(&b'/') {
                self.pos += 1;
            }
            if self.pos == self.text.len() {
                return Ok(Last::Root);
            }
            // Search permission on the directory, before the component is even looked at.
            self.may_search()?;
            let rest = &self.text[self.pos..];
            let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            let (name, after) = rest.split_at(len);
            let is_last = after.iter().all(|&b| b == b'/');
            if is_last {
                let last = match name {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    _ => Last::Name {
                        name: name.to_vec(),
                        slash: !after.is_empty(),
                    },
                };
                self.pos += len;
                return Ok(last);
            }
            match name {
                b"." => self.pos += len,
                b".." => {
                    self.pos += len;
                    self.dotdot()?;
                }
                _ => {
                    let dentry = self.child(name)?.ok_or(Errno::ENOENT)?;
                    self.pos += len;
                    self.enter(dentry, true)?;
                    if self.cur.inode().file_type() != FileType::Directory {
                        return Err(Errno::ENOTDIR);
                    }
                }
            }
        }
    }

    /// Walks the last component too, following it as the flags say.
    pub fn finish(mut self, mut last: Last) -> Result<Path> {
        loop {
            match last {
                Last::Root => break,
                Last::Dot => break,
                Last::DotDot => {
                    self.dotdot()?;
                    break;
                }
                Last::Name { name, slash } => {
                    if slash {
                        self.flags |= WalkFlags::DIRECTORY | WalkFlags::FOLLOW;
                    }
                    let dentry = self.child(&name)?.ok_or(Errno::ENOENT)?;
                    if !self.enter(dentry, self.flags.contains(WalkFlags::FOLLOW))? {
                        break;
                    }
                    last = self.to_last()?;
                }
            }
        }
        self.into_place()
    }

    /// The result must be a directory (slashes came after a name).
    pub fn want_directory(&mut self) {
        self.flags |= WalkFlags::DIRECTORY | WalkFlags::FOLLOW;
    }

    /// Where the walk has arrived: ENOTDIR if that had to be a directory and isn't.
    pub fn into_place(self) -> Result<Path> {
        if self.flags.contains(WalkFlags::DIRECTORY)
            && self.cur.inode().file_type() != FileType::Directory
        {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.cur)
    }

    /// Looks up a name in the present directory.
    pub fn child(&self, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        self.env
            .lookup_in(&self.cur, name, self.flags.contains(WalkFlags::CACHED))
    }

    /// Goes to a child. A symbolic link is followed if `follow`: then the result is true and its text stands before what is left
    /// to walk.
    pub fn enter(&mut self, dentry: Arc<Dentry>, follow: bool) -> Result<bool> {
        let child = self.cur.with(dentry);
        if follow && child.inode().file_type() == FileType::Symlink {
            self.links += 1;
            if self.links > MAX_LINKS {
                return Err(Errno::ELOOP);
            }
            return self.follow_link(&child).map(|()| true);
        }
        let top = child.follow_mounts();
        self.go(top)?;
        Ok(false)
    }

    fn follow_link(&mut self, link: &Path) -> Result<()> {
        if self.flags.contains(WalkFlags::NO_SYMLINKS)
            || link.mount.flags().contains(MountFlags::NOSYMFOLLOW)
        {
            return Err(Errno::ELOOP);
        }
        let inode = link.inode();
        if inode.is_magic_link() {
            if self.flags.contains(WalkFlags::NO_MAGICLINKS) {
                return Err(Errno::ELOOP);
            }
            if self
                .flags
                .intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT)
            {
                return Err(Errno::EXDEV);
            }
        }
        match inode.follow(self.env)? {
            Link::Jump(to) => self.go(to),
            Link::Text(target) => {
                if target.is_empty() {
                    return Err(Errno::ENOENT);
                }
                let absolute = target[0] == b'/';
                let mut text = target;
                text.extend_from_slice(&self.text[self.pos..]);
                self.text = text;
                self.pos = 0;
                if absolute {
                    self.jump_root(false)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// To the root, at the begin of the path or of a link's text.
    fn jump_root(&mut self, begin: bool) -> Result<()> {
        if self.flags.contains(WalkFlags::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let root = self.root.clone();
        if begin {
            self.cur = root;
            return Ok(());
        }
        self.go(root)
    }

    fn go(&mut self, to: Path) -> Result<()> {
        if self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&to.mount, &self.cur.mount) {
            return Err(Errno::EXDEV);
        }
        self.cur = to;
        Ok(())
    }

    fn dotdot(&mut self) -> Result<()> {
        if self.cur == self.root {
            return if self.flags.contains(WalkFlags::BENEATH) {
                Err(Errno::EXDEV)
            } else {
                Ok(())
            };
        }
        if let Some(up) = self.cur.up(&self.root) {
            let up = up.follow_mounts();
            self.go(up)?;
        }
        match self.seq {
            // A rename or mount has come between: the step may have left the scope.
            Some(seen)
                if seen
                    != (
                        MOUNT_SEQ.load(Ordering::SeqCst),
                        RENAME_SEQ.load(Ordering::SeqCst),
                    ) =>
            {
                Err(Errno::EAGAIN)
            }
            _ => Ok(()),
        }
    }

    fn may_search(&self) -> Result<()> {
        perm::inode(self.env, self.cur.inode(), Access::EXEC)
    }
}

impl Cx {
    /// The calling thread's view of the file system.
    pub fn env(&self) -> Env<'_> {
        let fs = self.task.fs();
        let (root, cwd) = fs.root_and_cwd();
        Env {
            creds: self.task.creds(),
            root,
            cwd,
            umask: fs.umask(),
            cx: Some(self),
        }
    }
}
