//! System V shared memory (shmget(2), shmat(2), shmctl(2)): segments, each a host memfd.
//!
//! # Locks
//! `Table::ids`, then a segment's `info`. An attachment that goes may remove its segment, so none is dropped with
//! either held.

use crate::ipc::ids::Ids;
use crate::ipc::now;
use crate::ipc::perm::{Caller, Perm, READ, find};
use crate::task::{Pid, cap};
use arch::abi::{IpcPerm, ShmUsage, ShmidDs, Shminfo};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, Weak};

/// Segments at most (SHMMNI).
const SHMMNI: usize = 4096;
/// Largest segment in bytes (SHMMAX).
const SHMMAX: u64 = u64::MAX - (1 << 24);
/// SHM_DEST of the mode: removed, waiting for the last detach.
const SHM_DEST: u32 = 0o1000;
/// SHM_LOCKED of the mode.
const SHM_LOCKED: u32 = 0o2000;
/// SHM_HUGETLB of shmget(2).
const SHM_HUGETLB: i32 = 0o4000;

struct Info {
    perm: Perm,
    attached: u64,
    atime: i64,
    dtime: i64,
    ctime: i64,
    creator: Pid,
    last: Pid,
}

/// A segment.
pub struct Segment {
    /// Its id.
    pub id: i32,
    /// Its key as it was made; its permissions hold none once it is to be removed.
    key: i32,
    /// Bytes as asked for.
    pub size: u64,
    /// The memory.
    fd: Arc<OwnedFd>,
    /// The memory, opened for reading only; made when first wanted.
    read_only: OnceLock<Arc<OwnedFd>>,
    info: Mutex<Info>,
    table: Weak<Table>,
}

/// One shmat(2), or what a fork(2) made of it.
pub struct Attachment {
    /// The segment.
    pub segment: Arc<Segment>,
    pid: Pid,
}

impl Attachment {
    fn new(segment: &Arc<Segment>, pid: Pid) -> Arc<Self> {
        Arc::new(Self {
            segment: Arc::clone(segment),
            pid,
        })
    }

    /// The attachment of a forked child.
    pub fn fork(&self) -> Arc<Self> {
        self.segment.info.lock().attached += 1;
        Self::new(&self.segment, self.pid)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let gone = {
            let mut info = self.segment.info.lock();
            info.attached -= 1;
            info.dtime = now();
            info.last = self.pid;
            info.attached == 0 && info.perm.mode & SHM_DEST != 0
        };
        if gone && let Some(table) = self.segment.table.upgrade() {
            table.ids.lock().remove(self.segment.id);
        }
    }
}

/// All segments of an IPC namespace.
pub struct Table {
    ids: Mutex<Ids<Segment>>,
}

impl Segment {
    /// Bytes that are mapped: the size in whole pages.
    pub fn mapped_len(&self) -> u64 {
        super::span::page_up(self.size)
    }

    /// Inode number in /proc/PID/maps: the id, as Linux has it.
    pub fn ino(&self) -> u64 {
        u64::from(self.id.cast_unsigned())
    }

    /// The path in /proc/PID/maps.
    pub fn name(&self) -> String {
        format!("/SYSV{:08x}", self.key)
    }

    /// What a stub maps. One that may only read gets a descriptor that it can't write through, whatever it does.
    pub fn descriptor(&self, writable: bool) -> Result<Arc<OwnedFd>> {
        if writable {
            return Ok(Arc::clone(&self.fd));
        }
        if let Some(fd) = self.read_only.get() {
            return Ok(Arc::clone(fd));
        }
        let fd = Arc::new(crate::host::mm::read_only(&self.fd)?);
        Ok(Arc::clone(self.read_only.get_or_init(|| fd)))
    }

    /// A hole from byte `offset` on.
    pub fn punch(&self, offset: u64, len: u64) -> Result<()> {
        crate::host::mm::punch(&self.fd, offset, len)
    }

    fn stat(&self) -> ShmidDs {
        let info = self.info.lock();
        ShmidDs {
            perm: info.perm.stat(self.id),
            segsz: self.size,
            atime: info.atime,
            dtime: info.dtime,
            ctime: info.ctime,
            cpid: info.creator,
            lpid: info.last,
            nattch: info.attached,
            ..Default::default()
        }
    }
}

impl Table {
    /// An empty table.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            ids: Mutex::new(Ids::new(SHMMNI)),
        })
    }

    fn get(&self, id: i32) -> Result<Arc<Segment>> {
        self.ids.lock().get(id).ok_or(Errno::EINVAL)
    }

    /// shmget(2).
    pub fn shmget(self: &Arc<Self>, who: &Caller, key: i32, size: u64, flags: i32) -> Result<i32> {
        let mut ids = self.ids.lock();
        let fits = |s: &Segment| {
            if s.size < size {
                Err(Errno::EINVAL)
            } else {
                Ok(())
            }
        };
        let perm = |s: &Segment| s.info.lock().perm;
        if let Some(id) = find(who, key, flags, ids.iter(), perm, fits)? {
            return Ok(id);
        }
        if size == 0 || size > SHMMAX {
            return Err(Errno::EINVAL);
        }
        if flags & SHM_HUGETLB != 0 {
            // A host without huge pages set aside.
            return Err(Errno::ENOMEM);
        }
        let id = ids.next_id().ok_or(Errno::ENOSPC)?;
        let len = size
            .checked_next_multiple_of(super::span::PAGE)
            .ok_or(Errno::ENOMEM)?;
        let fd = crate::host::mm::memfd("SYSV", len).map_err(|_| Errno::ENOMEM)?;
        let info = Info {
            perm: Perm::new(who, key, flags),
            attached: 0,
            atime: 0,
            dtime: 0,
            ctime: now(),
            creator: who.pid,
            last: 0,
        };
        let table = Arc::downgrade(self);
        let segment = Segment {
            id,
            key,
            size,
            fd: Arc::new(fd),
            read_only: OnceLock::new(),
            info: Mutex::new(info),
            table,
        };
        ids.insert(id, Arc::new(segment));
        Ok(id)
    }

    /// The checks of shmat(2) on the segment, and its attachment. `access`: the rights needed, as mode bits.
    pub fn attach(&self, who: &Caller, id: i32, access: u32) -> Result<Arc<Attachment>> {
        let segment = self.get(id)?;
        {
            let mut info = segment.info.lock();
            info.perm.check(who, access)?;
            info.attached += 1;
            info.atime = now();
            info.last = who.pid;
        }
        Ok(Attachment::new(&segment, who.pid))
    }

    /// IPC_STAT.
    pub fn stat(&self, who: &Caller, id: i32) -> Result<ShmidDs> {
        let segment = self.get(id)?;
        segment.info.lock().perm.check(who, READ)?;
        Ok(segment.stat())
    }

    /// SHM_STAT, SHM_STAT_ANY: the segment at an index of the table, with its id.
    pub fn stat_index(&self, who: &Caller, index: i32, any: bool) -> Result<(i32, ShmidDs)> {
        let (_, segment) = self.ids.lock().at(index).ok_or(Errno::EINVAL)?;
        if !any {
            segment.info.lock().perm.check(who, READ)?;
        }
        Ok((segment.id, segment.stat()))
    }

    /// IPC_SET.
    pub fn set(&self, who: &Caller, id: i32, perm: &IpcPerm) -> Result<()> {
        let segment = self.get(id)?;
        let mut info = segment.info.lock();
        info.perm.check_owner(who)?;
        info.perm.set(perm)?;
        info.ctime = now();
        Ok(())
    }

    /// IPC_RMID: now if nobody has it attached, else with the last detach.
    pub fn remove(&self, who: &Caller, id: i32) -> Result<()> {
        let mut ids = self.ids.lock();
        let segment = ids.get(id).ok_or(Errno::EINVAL)?;
        let mut info = segment.info.lock();
        info.perm.check_owner(who)?;
        info.perm.mode |= SHM_DEST;
        // Nobody finds it by its key any more.
        info.perm.key = libc::IPC_PRIVATE;
        if info.attached == 0 {
            ids.remove(id);
        }
        Ok(())
    }

    /// SHM_LOCK, SHM_UNLOCK: recorded; the memory is the host's to swap.
    pub fn lock(&self, who: &Caller, id: i32, lock: bool, memlock: u64) -> Result<()> {
        let segment = self.get(id)?;
        let mut info = segment.info.lock();
        if !who.creds.has_cap(cap::IPC_LOCK) {
            if who.creds.euid != info.perm.uid && who.creds.euid != info.perm.cuid {
                return Err(Errno::EPERM);
            }
            if lock && memlock == 0 {
                return Err(Errno::EPERM);
            }
        }
        info.perm.mode = if lock {
            info.perm.mode | SHM_LOCKED
        } else {
            info.perm.mode & !SHM_LOCKED
        };
        Ok(())
    }

    /// IPC_INFO: the limits, and the highest index in use.
    pub fn limits(&self) -> (i32, Shminfo) {
        let limits = Shminfo {
            shmmax: SHMMAX,
            shmmin: 1,
            shmmni: SHMMNI as u64,
            shmseg: SHMMNI as u64,
            shmall: SHMMAX,
            ..Default::default()
        };
        (self.ids.lock().highest_index(), limits)
    }

    /// SHM_INFO: what is in use.
    pub fn usage(&self) -> (i32, ShmUsage) {
        let ids = self.ids.lock();
        let pages: u64 = ids
            .iter()
            .map(|(_, s)| s.mapped_len() / super::span::PAGE)
            .sum();
        let info = ShmUsage {
            used_ids: i32::try_from(ids.len()).unwrap_or(i32::MAX),
            tot: pages,
            ..Default::default()
        };
        (ids.highest_index(), info)
    }

    /// /proc/sysvipc/shm.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::from(
            "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n",
        );
        let all: Vec<_> = self.ids.lock().iter().map(|(_, s)| Arc::clone(s)).collect();
        for segment in all {
            let s = segment.stat();
            let _ = writeln!(
                out,
                "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
                s.perm.key,
                segment.id,
                s.perm.mode,
                s.segsz,
                s.cpid,
                s.lpid,
                s.nattch,
                s.perm.uid,
                s.perm.gid,
                s.perm.cuid,
                s.perm.cgid,
                s.atime,
                s.dtime,
                s.ctime,
                crate::host::fs::size(std::os::fd::AsFd::as_fd(&*segment.fd))
                    .map_or(0, |(_, blocks)| blocks * 512),
                0
            );
        }
        out
    }
}
