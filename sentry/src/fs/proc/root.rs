//! The top directory of proc.

use super::{Proc, sys, system, sysvipc, task};
use crate::fs::pseudo::{Directory, Entry, Node, Symlink, name_ino};
use crate::task::Pid;
use crate::vfs::FileType;
use crate::vfs::inode::InodeRef;
use crate::vfs::walk::Env;
use arch::{Errno, Result};

/// The root's inode number (PROC_ROOT_INO).
const ROOT_INO: u64 = 1;

struct Root(Proc);

/// The root inode.
pub(super) fn inode(proc: &Proc) -> InodeRef {
    Node::dir(proc.dev, ROOT_INO, 0o555, Root(proc.clone()))
}

/// A pid as a directory's name: decimal, without leading zeros.
pub(super) fn parse_pid(name: &[u8]) -> Option<Pid> {
    if name.is_empty() || name.len() > 9 || name[0] == b'0' || !name.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// `self` and `thread-self`: who asks decides.
struct SelfLink {
    thread: bool,
}

impl Symlink for SelfLink {
    fn text(&self, env: &Env<'_>) -> Result<Vec<u8>> {
        let task = &env.cx.ok_or(Errno::ENOENT)?.task;
        let pid = task.group.pid;
        Ok(if self.thread {
            format!("{pid}/task/{}", task.tid())
        } else {
            pid.to_string()
        }
        .into_bytes())
    }
}

struct Fixed(&'static str);

impl Symlink for Fixed {
    fn text(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
}

impl Directory for Root {
    fn lookup(&self, env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        let proc = &self.0;
        let ino = name_ino(ROOT_INO, name);
        if let Some(pid) = parse_pid(name) {
            let kernel = proc.kernel()?;
            let (group, thread) = {
                let tree = kernel.tasks.lock();
                (tree.group(pid), tree.task(pid))
            };
            let dir = match (group, thread) {
                (Some(group), _) => task::process(proc, &group),
                (None, Some(thread)) => task::thread(proc, &thread),
                (None, None) => return Err(Errno::ENOENT),
            };
            return Ok(dir);
        }
        match name {
            b"self" => Ok(Node::link(proc.dev, ino, SelfLink { thread: false })),
            b"thread-self" => Ok(Node::link(proc.dev, ino, SelfLink { thread: true })),
            b"mounts" => Ok(Node::link(proc.dev, ino, Fixed("self/mounts"))),
            b"net" => Ok(Node::link(proc.dev, ino, Fixed("self/net"))),
            b"sys" => Ok(sys::inode(proc, ino)),
            b"sysvipc" => Ok(sysvipc::inode(proc, ino)),
            _ => system::file(proc, env, name, ino).ok_or(Errno::ENOENT),
        }
    }

    fn list(&self, _env: &Env<'_>) -> Result<Vec<Entry>> {
        let mut out: Vec<Entry> = system::NAMES
            .iter()
            .map(|name| Entry::new(*name, FileType::Regular))
            .collect();
        out.push(Entry::new("sys", FileType::Directory));
        out.push(Entry::new("sysvipc", FileType::Directory));
        for link in ["self", "thread-self", "mounts", "net"] {
            out.push(Entry::new(link, FileType::Symlink));
        }
        let groups = self.0.kernel()?.tasks.lock().all_groups();
        out.extend(
            groups
                .iter()
                .map(|g| Entry::new(g.pid.to_string(), FileType::Directory)),
        );
        Ok(out)
    }

    fn nlink(&self) -> u64 {
        self.0
            .kernel()
            .map_or(2, |k| 2 + k.tasks.lock().all_groups().len() as u64)
    }
}
