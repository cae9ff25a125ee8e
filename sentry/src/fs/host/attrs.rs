//! Attributes of host files, and for how long what is known of them holds.

use super::inode::HostInode;
use super::{FRESH_MS, Key, Sharing};
use crate::host::fs as host;
use crate::vfs::{Attr, Dev, FileType, SetAttr, Timestamp};
use arch::Result;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is known of the attributes.
pub(super) struct Cached {
    pub(super) attr: Attr,
    /// When it was true, on the coarse clock; 0: it isn't.
    pub(super) at: u64,
    /// The same of mode, owner and group, which outlast changes of contents.
    pub(super) perm_at: u64,
    /// It was fetched for the present use of a shared tree, and counts once.
    pub(super) once: bool,
}

/// Attributes from what the host says.
pub(super) fn to_attr(st: &libc::statx) -> Attr {
    let time = |t: &libc::statx_timestamp| Timestamp {
        sec: t.tv_sec,
        nsec: t.tv_nsec,
    };
    Attr {
        dev: super::dev(st.stx_dev_major, st.stx_dev_minor),
        ino: st.stx_ino,
        mode: u32::from(st.stx_mode),
        nlink: st.stx_nlink,
        uid: st.stx_uid,
        gid: st.stx_gid,
        rdev: Dev::new(st.stx_rdev_major, st.stx_rdev_minor),
        size: st.stx_size,
        blksize: st.stx_blksize,
        blocks: st.stx_blocks,
        atime: time(&st.stx_atime),
        mtime: time(&st.stx_mtime),
        ctime: time(&st.stx_ctime),
        btime: (st.stx_mask & libc::STATX_BTIME != 0).then(|| time(&st.stx_btime)),
    }
}

/// A file's identity.
pub(super) fn key_of(st: &libc::statx) -> Key {
    (
        libc::makedev(st.stx_dev_major, st.stx_dev_minor),
        st.stx_ino,
    )
}

impl HostInode {
    /// What is known is no longer so: contents or entries have changed.
    pub(super) fn stale(&self) {
        self.cached.lock().at = 0;
    }

    /// Nothing that is known is so any longer.
    pub(super) fn all_stale(&self) {
        let mut cached = self.cached.lock();
        (cached.at, cached.perm_at) = (0, 0);
    }

    /// What the host says now. `once`: for the use of a shared tree that is under way.
    pub(super) fn learn(&self, st: &libc::statx, once: bool) {
        let attr = to_attr(st);
        let mut cached = self.cached.lock();
        let changed = cached.attr.ctime != attr.ctime;
        let now = host::coarse_ms();
        *cached = Cached {
            attr,
            at: now,
            perm_at: now,
            once,
        };
        drop(cached);
        if changed {
            if self.kind == FileType::Symlink {
                *self.link.lock() = None;
            }
            self.note_privileges(&attr);
        }
    }

    pub(super) fn note_privileges(&self, attr: &Attr) {
        // File capabilities can't be seen here: files that may be executed are looked at before they are written to.
        if self.kind == FileType::Regular && attr.mode & 0o6111 != 0 {
            self.ext.set_privileged();
        }
    }

    /// What is remembered, if it still counts.
    pub(super) fn remembered(&self) -> Option<Attr> {
        let mut cached = self.cached.lock();
        if cached.at == 0 {
            return None;
        }
        let age = host::coarse_ms().saturating_sub(cached.at);
        let counts = match self.shared.sharing {
            Sharing::Exclusive => age < FRESH_MS,
            Sharing::Shared => std::mem::take(&mut cached.once) && age < 10,
        };
        counts.then_some(cached.attr)
    }

    pub(super) fn fetch(&self) -> Result<Attr> {
        let st = match self.some_fd() {
            Some(fd) => host::statx(fd.as_fd(), b"")?,
            None => {
                let Some((dir, name)) = self.at() else {
                    // Gone, and nobody has it open: what it was when it was last seen.
                    return Ok(self.cached.lock().attr);
                };
                let st = host::statx(dir.fd()?.as_fd(), &name)?;
                if key_of(&st) != self.key {
                    return Ok(self.cached.lock().attr);
                }
                st
            }
        };
        self.learn(&st, false);
        Ok(to_attr(&st))
    }

    /// Owner, mode and times.
    pub(super) fn change_host(&self, change: &SetAttr) -> Result<()> {
        let fd = self.fd()?;
        if change.uid.is_some() || change.gid.is_some() {
            let id = |n: Option<u32>| n.unwrap_or(u32::MAX);
            host::chown(fd.as_fd(), id(change.uid), id(change.gid))?;
        }
        if let Some(perm) = change.perm {
            host::chmod(fd.as_fd(), perm)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let time = |t: Option<Timestamp>, now| match t {
                Some(_) if now => host::SetTime::Now,
                Some(t) => host::SetTime::At(t.sec, t.nsec),
                None => host::SetTime::Omit,
            };
            let atime = time(change.atime, change.atime_now);
            let mtime = time(change.mtime, change.mtime_now);
            host::utimes(fd.as_fd(), atime, mtime)?;
        }
        Ok(())
    }

    /// Whether what was found at `checked` (on the coarse clock) need not be looked up again.
    pub(crate) fn entry_holds(&self, checked: &AtomicU64) -> bool {
        let at = checked.load(Ordering::Relaxed);
        self.shared.sharing == Sharing::Exclusive
            && at != 0
            && host::coarse_ms().saturating_sub(at) < FRESH_MS
    }
}
