//! /proc/net.

use super::Proc;
use crate::fs::pseudo::{Directory, Entry, Node, name_ino};
use crate::net::inet::proc::FILES;
use crate::vfs::FileType;
use crate::vfs::inode::InodeRef;
use crate::vfs::walk::Env;
use arch::{Errno, Result};

/// What isn't the internet's.
const UNIX: &str = "unix";

struct NetDir {
    proc: Proc,
    ino: u64,
}

/// The directory.
pub(super) fn inode(proc: &Proc, ino: u64) -> InodeRef {
    Node::dir(
        proc.dev,
        ino,
        0o555,
        NetDir {
            proc: proc.clone(),
            ino,
        },
    )
}

impl Directory for NetDir {
    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        if name == UNIX.as_bytes() {
            let proc = self.proc.clone();
            let text = move |_: &Env<'_>| -> Result<Vec<u8>> { Ok(proc.kernel()?.unix.text()) };
            return Ok(Node::text(
                self.proc.dev,
                name_ino(self.ino, name),
                0o444,
                text,
            ));
        }
        let (name, make) = FILES
            .iter()
            .find(|(n, _)| n.as_bytes() == name)
            .ok_or(Errno::ENOENT)?;
        let (proc, make) = (self.proc.clone(), *make);
        let text =
            move |_: &Env<'_>| -> Result<Vec<u8>> { Ok(make(&proc.kernel()?.net).into_bytes()) };
        Ok(Node::text(
            self.proc.dev,
            name_ino(self.ino, name.as_bytes()),
            0o444,
            text,
        ))
    }

    fn list(&self, _env: &Env<'_>) -> Result<Vec<Entry>> {
        Ok(FILES
            .iter()
            .map(|(name, _)| *name)
            .chain([UNIX])
            .map(|name| Entry::new(name, FileType::Regular))
            .collect())
    }
}
