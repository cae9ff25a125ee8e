//! memfd_create(2), and nameless shared memory.

use super::data::{Data, seal};
use super::file::TmpFile;
use super::node::{Body, TmpNode};
use super::{Options, Shared, TmpFs};
use crate::vfs::{Dentry, Dev, File, Mount, MountFlags, NewNode, Path};
use arch::{Errno, Result};
use std::sync::{Arc, OnceLock};

/// The tmpfs that nobody sees (shm_mnt).
struct Hidden {
    mount: Arc<Mount>,
    shared: Arc<Shared>,
}

fn hidden() -> Result<&'static Hidden> {
    static HIDDEN: OnceLock<Hidden> = OnceLock::new();
    if let Some(hidden) = HIDDEN.get() {
        return Ok(hidden);
    }
    let mount = TmpFs::mount(Options::default(), MountFlags::empty())?;
    let shared = Shared::new(mount.sb().dev);
    Ok(HIDDEN.get_or_init(|| Hidden { mount, shared }))
}

/// A description of a new memfd. `name` is the caller's, without the `memfd:` before it; `flags` are those of memfd_create(2),
/// validated. Owned by `uid` and `gid`.
pub fn memfd(name: &[u8], flags: u32, uid: u32, gid: u32) -> Result<Arc<File>> {
    // NAME_MAX less `memfd:`.
    if name.len() > 249 {
        return Err(Errno::EINVAL);
    }
    let noexec = flags & libc::MFD_NOEXEC_SEAL != 0;
    let mut seals = 0;
    if noexec {
        seals |= seal::EXEC;
    }
    if flags & libc::MFD_ALLOW_SEALING == 0 && !noexec {
        seals |= seal::SEAL;
    }
    let perm = if noexec { 0o666 } else { 0o777 };
    nameless(&[b"/memfd:", name].concat(), seals, perm, uid, gid)
}

/// A description of nameless memory for a shared anonymous mapping or a SysV segment; `name` is what /proc/PID/maps shows.
pub fn shared_memory(name: &[u8], size: u64, uid: u32, gid: u32) -> Result<Arc<File>> {
    let file = nameless(name, seal::SEAL, 0o777, uid, gid)?;
    file.ops.truncate(&file, size)?;
    Ok(file)
}

fn nameless(name: &[u8], seals: u32, perm: u32, uid: u32, gid: u32) -> Result<Arc<File>> {
    if name.len() > 256 {
        return Err(Errno::EINVAL);
    }
    let hidden = hidden()?;
    let node = NewNode {
        mode: libc::S_IFREG | perm,
        uid,
        gid,
        rdev: Dev::default(),
    };
    let body = Body::File(Data::with_seals(seals));
    let node = TmpNode::with_body(&hidden.shared, &node, body)?;
    let ops = TmpFile::new(Arc::clone(&node));
    let dentry = Dentry::detached(Arc::clone(hidden.mount.sb()), node, name);
    let path = Path::new(Arc::clone(&hidden.mount), dentry);
    let flags = libc::O_RDWR as u32 | crate::vfs::open::LARGEFILE;
    let file = File::with_path(Box::new(ops), flags, path);
    file.count_writer()?;
    Ok(file)
}
