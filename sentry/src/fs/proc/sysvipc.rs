//! /proc/sysvipc.

use super::Proc;
use crate::fs::pseudo::{Directory, Entry, Node, name_ino};
use crate::kernel::Kernel;
use crate::vfs::FileType;
use crate::vfs::inode::InodeRef;
use crate::vfs::walk::Env;
use arch::{Errno, Result};

type Make = fn(&Kernel) -> String;

const FILES: [(&str, Make); 3] = [
    ("msg", |k| k.messages.text()),
    ("sem", |k| k.semaphores.text()),
    ("shm", |k| k.shm.text()),
];

struct IpcDir {
    proc: Proc,
    ino: u64,
}

/// The directory.
pub(super) fn inode(proc: &Proc, ino: u64) -> InodeRef {
    let dir = IpcDir {
        proc: proc.clone(),
        ino,
    };
    Node::dir(proc.dev, ino, 0o555, dir)
}

impl Directory for IpcDir {
    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        let (_, make) = FILES
            .iter()
            .find(|(n, _)| n.as_bytes() == name)
            .ok_or(Errno::ENOENT)?;
        let (proc, make) = (self.proc.clone(), *make);
        let text =
            move |_: &Env<'_>| -> Result<Vec<u8>> { Ok(make(&*proc.kernel()?).into_bytes()) };
        let ino = name_ino(self.ino, name);
        Ok(Node::text(self.proc.dev, ino, 0o444, text))
    }

    fn list(&self, _env: &Env<'_>) -> Result<Vec<Entry>> {
        Ok(FILES
            .iter()
            .map(|(name, _)| Entry::new(*name, FileType::Regular))
            .collect())
    }
}
