//! /proc/PID/fd and /proc/PID/fdinfo.

use super::Proc;
use crate::fs::pseudo::{Directory, Entry, Node, Owner, Symlink, Text, name_ino};
use crate::syscalls::Fd;
use crate::task::Task;
use crate::vfs::inode::InodeRef;
use crate::vfs::walk::Env;
use crate::vfs::{File, FileType, Path};
use arch::{Errno, Result};
use std::fmt::Write;
use std::sync::{Arc, Weak};

pub(super) struct FdDir {
    pub proc: Proc,
    pub task: Weak<Task>,
    pub info: bool,
    pub ino: u64,
}

fn parse(name: &[u8]) -> Option<Fd> {
    let text = std::str::from_utf8(name).ok()?;
    if text.len() > 1 && text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().map(Fd)
}

impl FdDir {
    fn task(&self) -> Result<Arc<Task>> {
        self.task.upgrade().ok_or(Errno::ENOENT)
    }
}

impl Directory for FdDir {
    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        let task = self.task()?;
        let fd = parse(name).ok_or(Errno::ENOENT)?;
        task.files().get_raw(fd).map_err(|_| Errno::ENOENT)?;
        let ino = name_ino(self.ino, name);
        if self.info {
            return Ok(Node::text(
                self.proc.dev,
                ino,
                0o444,
                Info {
                    task: self.task.clone(),
                    fd,
                },
            ));
        }
        Ok(Node::link(
            self.proc.dev,
            ino,
            FdLink {
                task: self.task.clone(),
                fd,
            },
        ))
    }

    fn list(&self, _env: &Env<'_>) -> Result<Vec<Entry>> {
        let kind = if self.info {
            FileType::Regular
        } else {
            FileType::Symlink
        };
        let open = self.task()?.files().list();
        Ok(open
            .into_iter()
            .map(|(fd, ..)| Entry::new(fd.0.to_string(), kind))
            .collect())
    }

    fn owner(&self) -> Owner {
        super::task::owner_of(&self.task)
    }
}

struct FdLink {
    task: Weak<Task>,
    fd: Fd,
}

impl FdLink {
    fn file(&self) -> Result<Arc<File>> {
        let task = self.task.upgrade().ok_or(Errno::ENOENT)?;
        task.files().get_raw(self.fd).map_err(|_| Errno::ENOENT)
    }
}

impl Symlink for FdLink {
    fn text(&self, env: &Env<'_>) -> Result<Vec<u8>> {
        let file = self.file()?;
        match file.path() {
            Some(path) => Ok(path.display(&env.root)),
            None => Ok(file
                .ops
                .link_text(&file)
                .unwrap_or_else(|| b"anon_inode:[unknown]".to_vec())),
        }
    }

    fn jump(&self, _env: &Env<'_>) -> Option<Result<Path>> {
        Some(self.file().map(|f| f.to_path()))
    }

    fn magic(&self) -> bool {
        true
    }

    /// What the descriptor is open for.
    fn mode(&self) -> u32 {
        self.file().map_or(0, |file| {
            let read = if file.readable() { 0o500 } else { 0 };
            read | if file.writable() { 0o300 } else { 0 }
        })
    }

    fn owner(&self) -> Owner {
        super::task::owner_of(&self.task)
    }
}

struct Info {
    task: Weak<Task>,
    fd: Fd,
}

impl Text for Info {
    fn read(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        let task = self.task.upgrade().ok_or(Errno::ENOENT)?;
        let files = task.files();
        let file = files.get_raw(self.fd).map_err(|_| Errno::ENOENT)?;
        let cloexec = if files.cloexec(self.fd).unwrap_or(false) {
            libc::O_CLOEXEC as u32
        } else {
            0
        };
        let pos = *file.pos.lock();
        let mut head = String::new();
        let mount = file.path().map_or(0, |p| p.mount.id);
        let ino = file.attr().map_or(0, |a| a.ino);
        let _ = write!(
            head,
            "pos:\t{pos}\nflags:\t0{:o}\nmnt_id:\t{mount}\nino:\t{ino}\n",
            file.flags() | cloexec
        );
        let mut out = head.into_bytes();
        file.ops.fdinfo(&file, &mut out);
        Ok(out)
    }

    fn owner(&self) -> Owner {
        super::task::owner_of(&self.task)
    }
}
