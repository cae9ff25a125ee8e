//! Attributes of host files, and for how long what is known of them holds.

use super::inode::HostInode;
use super::{Atime, FRESH_MS, Key, Sharing};
use crate::host::fs as host;
use crate::vfs::change::atime_due;
use crate::vfs::{Attr, Dev, FileType, SetAttr, Timestamp};
use arch::Result;
use std::cell::Cell;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is known of the attributes.
pub(super) struct Cached {
    pub(super) attr: Attr,
    /// When it was true, on the coarse clock; 0: it isn't.
    pub(super) at: u64,
    /// The same of mode, owner and group, which outlast changes of contents.
    pub(super) perm_at: u64,
    /// The system call in which it was fetched: what counts in a shared tree.
    pub(super) call: u64,
    /// A read was due to move this time of last access.
    pub(super) atime_due: Option<Timestamp>,
    /// It was due and the host didn't: it won't as long as the file doesn't change.
    pub(super) atime_stays: bool,
}

thread_local! {
    /// The system call that this worker is at; 0: none.
    static CALL: Cell<u64> = const { Cell::new(0) };
}

/// A system call begins on this worker: what was fetched from a shared tree before counts no more.
pub fn begin_call() {
    static WORKERS: AtomicU64 = AtomicU64::new(0);
    CALL.with(|call| {
        let at = call.get();
        call.set(if at == 0 {
            // Never the same as another worker's.
            (WORKERS.fetch_add(1, Ordering::Relaxed) + 1) << 48
        } else {
            at + 1
        });
    });
}

/// How long a call may take for what it has fetched to count, in milliseconds. (It may wait, and go on on another's worker.)
const CALL_MS: u64 = 10;

impl Cached {
    /// Attributes that the host has just told.
    pub(super) fn new(attr: Attr) -> Self {
        let now = host::coarse_ms();
        Self {
            attr,
            at: now,
            perm_at: now,
            call: CALL.get(),
            atime_due: None,
            atime_stays: false,
        }
    }
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

    /// Contents may be other bytes than those that a mapping shows: what was mapped before is not to be read any more.
    pub(super) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes with every [`HostInode::changed`].
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The size when it was last seen; it may be another by now.
    pub(super) fn last_size(&self) -> u64 {
        self.cached.lock().attr.size
    }

    /// Whether a read has to be the host's own, for it to move the time of last access of a file with these attributes.
    pub(super) fn moves_atime(&self, attr: &Attr) -> bool {
        let relatime = match self.shared.atime {
            Atime::Never => return false,
            Atime::Relative => true,
            Atime::Strict => false,
        };
        atime_due(attr, Timestamp::now(), relatime) && !self.cached.lock().atime_stays
    }

    /// Nothing that is known is so any longer.
    pub(super) fn all_stale(&self) {
        let mut cached = self.cached.lock();
        (cached.at, cached.perm_at) = (0, 0);
    }

    /// Owner, mode and times have been changed: they are what was asked for, if the host has no rules about it.
    pub(super) fn has_changed(&self, change: &SetAttr) {
        const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;
        let mut cached = self.cached.lock();
        cached.at = 0;
        let owner = change.uid.is_some() || change.gid.is_some();
        if change.perm.is_some_and(|perm| perm & SET_ID != 0)
            || owner && cached.attr.mode & SET_ID != 0
        {
            cached.perm_at = 0;
            return;
        }
        let attr = &mut cached.attr;
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        if let Some(perm) = change.perm {
            attr.mode = attr.mode & libc::S_IFMT | perm;
        }
    }

    /// What the host says now.
    pub(super) fn learn(&self, st: &libc::statx) {
        let attr = to_attr(st);
        let mut cached = self.cached.lock();
        let changed = cached.attr.ctime != attr.ctime;
        let stays = cached.atime_stays || cached.atime_due == Some(attr.atime);
        *cached = Cached {
            atime_stays: stays && !changed,
            ..Cached::new(attr)
        };
        drop(cached);
        if changed {
            self.changed();
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
        let cached = self.cached.lock();
        if cached.at == 0 {
            return None;
        }
        let age = host::coarse_ms().saturating_sub(cached.at);
        let counts = match self.shared.sharing {
            Sharing::Exclusive => age < FRESH_MS,
            Sharing::Shared => cached.call != 0 && cached.call == CALL.get() && age < CALL_MS,
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
        self.learn(&st);
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
