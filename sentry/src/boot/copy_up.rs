//! A tmpfs that starts out with what it covers (`tmpcopyup` of the OCI runtime's mount options).

use crate::user::{SliceSource, VecSink};
use crate::vfs::attr::SetAttr;
use crate::vfs::open::{OpenHow, open};
use crate::vfs::walk::{At, Env, WalkFlags};
use crate::vfs::{DirSink, FileType, Path, names};
use arch::{Errno, Result};

/// Directories within each other at most: what is copied is not to be trusted.
const DEPTH: usize = 128;
/// Bytes copied at once.
const PIECE: usize = 256 << 10;

/// Copies what is in directory `from` to directory `to`: files, directories, symbolic links, devices, with owners, permissions
/// and times. Sockets are left out. The size of the tmpfs bounds it (ENOSPC).
pub(super) fn copy(env: &Env<'_>, from: &Path, to: &Path) -> Result<()> {
    directory(env, from, to, 0)
}

struct Names(Vec<Vec<u8>>);

impl DirSink for Names {
    fn entry(&mut self, _ino: u64, _next: u64, _dtype: u8, name: &[u8]) -> bool {
        if name != b"." && name != b".." {
            self.0.push(name.to_vec());
        }
        true
    }
}

fn directory(env: &Env<'_>, from: &Path, to: &Path, depth: usize) -> Result<()> {
    if depth > DEPTH {
        return Err(Errno::ELOOP);
    }
    let (source, target) = (At::Dir(from.clone()), At::Dir(to.clone()));
    let how = OpenHow::new((libc::O_RDONLY | libc::O_DIRECTORY) as u32, 0);
    let dir = open(env, &source, b".", how)?;
    let mut all = Names(Vec::new());
    let mut pos = 0;
    loop {
        let before = all.0.len();
        dir.ops.readdir(&dir, &mut pos, &mut all)?;
        if all.0.len() == before {
            break;
        }
    }
    for name in &all.0 {
        let old = env.resolve(&source, name, WalkFlags::empty())?;
        let attr = old.inode().attr()?;
        let mode = attr.mode & 0o7777;
        match old.inode().file_type() {
            FileType::Directory => {
                let new = names::mkdir(env, &target, name, mode)?;
                directory(env, &old, &new, depth + 1)?;
            }
            FileType::Symlink => {
                let text = names::readlink(env, &old)?;
                names::symlink(env, &text, &target, name)?;
            }
            FileType::Regular => file(env, &source, &target, name, mode)?,
            FileType::Socket => continue,
            _ => {
                names::mknod(env, &target, name, attr.mode, attr.rdev)?;
            }
        }
        let new = env.resolve(&target, name, WalkFlags::empty())?;
        let link = new.inode().file_type() == FileType::Symlink;
        new.inode().set_attr(&SetAttr {
            uid: Some(attr.uid),
            gid: Some(attr.gid),
            perm: (!link).then_some(mode),
            atime: Some(attr.atime),
            mtime: Some(attr.mtime),
            ..SetAttr::default()
        })?;
    }
    Ok(())
}

fn file(env: &Env<'_>, source: &At, target: &At, name: &[u8], mode: u32) -> Result<()> {
    let no_follow = libc::O_NOFOLLOW as u32;
    let from = open(env, source, name, OpenHow::new(no_follow, 0))?;
    let create = (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL) as u32;
    let to = open(env, target, name, OpenHow::new(create, mode))?;
    let mut at = 0;
    loop {
        let mut piece = VecSink::new(PIECE);
        from.ops.read(&from, at, &mut piece)?;
        let mut rest = SliceSource(&piece.data);
        if piece.data.is_empty() {
            return Ok(());
        }
        while !rest.0.is_empty() {
            let n = to.ops.write(&to, at, &mut rest)?;
            if n == 0 {
                return Err(Errno::ENOSPC);
            }
            at += n as u64;
        }
    }
}
