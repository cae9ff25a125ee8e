//! System V shared memory (shmget(2), shmat(2), shmctl(2)): segments, each a host memfd.
//!
//! # Locks
//! `Table::inner`, then a segment's `info`. An attachment that goes may remove its segment, so none is dropped with
//! either held.

use crate::task::{Creds, Pid, cap};
use arch::abi::{IpcPerm, ShmUsage, ShmidDs, Shminfo};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, Weak};

/// Segments at most (SHMMNI).
const SHMMNI: usize = 4096;
/// Largest segment in bytes (SHMMAX).
const SHMMAX: u64 = u64::MAX - (1 << 24);
/// Indexes of the id space; the rest of an id counts reuses.
const INDEXES: i32 = 32768;
/// SHM_DEST of the mode: removed, waiting for the last detach.
const SHM_DEST: u32 = 0o1000;
/// SHM_LOCKED of the mode.
const SHM_LOCKED: u32 = 0o2000;
/// SHM_HUGETLB of shmget(2).
const SHM_HUGETLB: i32 = 0o4000;

fn now() -> i64 {
    let ns = crate::host::event::clock_ns(libc::CLOCK_REALTIME).unwrap_or(0);
    i64::try_from(ns / 1_000_000_000).unwrap_or(0)
}

struct Info {
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    mode: u32,
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
    /// Its key; IPC_PRIVATE for none, or once it is to be removed.
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
            info.attached == 0 && info.mode & SHM_DEST != 0
        };
        if gone && let Some(table) = self.segment.table.upgrade() {
            table.inner.lock().segments.remove(&self.segment.id);
        }
    }
}

#[derive(Default)]
struct Inner {
    segments: BTreeMap<i32, Arc<Segment>>,
    /// Counts up with every segment made.
    sequence: i32,
}

/// All segments of an IPC namespace.
#[derive(Default)]
pub struct Table {
    inner: Mutex<Inner>,
}

/// The caller of a System V call.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Its credentials.
    pub creds: &'a Creds,
    /// Its process.
    pub pid: Pid,
}

impl Info {
    /// ipcperms: whether the caller has all the rights in `wanted` (low three bits, or any place of a mode).
    fn allows(&self, who: &Caller<'_>, wanted: u32) -> bool {
        let wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
        let creds = who.creds;
        let granted = if creds.euid == self.cuid || creds.euid == self.uid {
            self.mode >> 6
        } else if creds.in_egroup(self.cgid) || creds.in_egroup(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        wanted & !granted == 0 || creds.has_cap(cap::IPC_OWNER)
    }

    fn owned_by(&self, who: &Caller<'_>) -> bool {
        who.creds.euid == self.cuid
            || who.creds.euid == self.uid
            || who.creds.has_cap(cap::SYS_ADMIN)
    }
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
        let seq = u16::try_from(self.id / INDEXES).unwrap_or(0);
        ShmidDs {
            perm: IpcPerm {
                key: self.key,
                uid: info.uid,
                gid: info.gid,
                cuid: info.cuid,
                cgid: info.cgid,
                mode: info.mode,
                seq,
                ..Default::default()
            },
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
        Arc::new(Self::default())
    }

    fn get(&self, id: i32) -> Result<Arc<Segment>> {
        self.inner
            .lock()
            .segments
            .get(&id)
            .cloned()
            .ok_or(Errno::EINVAL)
    }

    /// shmget(2).
    pub fn shmget(
        self: &Arc<Self>,
        who: &Caller<'_>,
        key: i32,
        size: u64,
        flags: i32,
    ) -> Result<i32> {
        let mut inner = self.inner.lock();
        if key != libc::IPC_PRIVATE {
            let found = inner
                .segments
                .values()
                .find(|s| s.key == key && s.info.lock().mode & SHM_DEST == 0);
            if let Some(segment) = found {
                if flags & libc::IPC_CREAT != 0 && flags & libc::IPC_EXCL != 0 {
                    return Err(Errno::EEXIST);
                }
                if segment.size < size {
                    return Err(Errno::EINVAL);
                }
                let allowed = segment
                    .info
                    .lock()
                    .allows(who, flags.cast_unsigned() & 0o777);
                return if allowed {
                    Ok(segment.id)
                } else {
                    Err(Errno::EACCES)
                };
            }
            if flags & libc::IPC_CREAT == 0 {
                return Err(Errno::ENOENT);
            }
        }
        if size == 0 || size > SHMMAX {
            return Err(Errno::EINVAL);
        }
        if flags & SHM_HUGETLB != 0 {
            // A host without huge pages set aside.
            return Err(Errno::ENOMEM);
        }
        if inner.segments.len() >= SHMMNI {
            return Err(Errno::ENOSPC);
        }
        let id = inner.free_id().ok_or(Errno::ENOSPC)?;
        let len = size
            .checked_next_multiple_of(super::span::PAGE)
            .ok_or(Errno::ENOMEM)?;
        let fd = crate::host::mm::memfd("SYSV", len).map_err(|_| Errno::ENOMEM)?;
        let info = Info {
            uid: who.creds.euid,
            gid: who.creds.egid,
            cuid: who.creds.euid,
            cgid: who.creds.egid,
            mode: flags.cast_unsigned() & 0o777,
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
        inner.segments.insert(id, Arc::new(segment));
        Ok(id)
    }

    /// The checks of shmat(2) on the segment, and its attachment. `access`: the rights needed, as mode bits.
    pub fn attach(&self, who: &Caller<'_>, id: i32, access: u32) -> Result<Arc<Attachment>> {
        let segment = self.get(id)?;
        {
            let mut info = segment.info.lock();
            if !info.allows(who, access) {
                return Err(Errno::EACCES);
            }
            info.attached += 1;
            info.atime = now();
            info.last = who.pid;
        }
        Ok(Attachment::new(&segment, who.pid))
    }

    /// IPC_STAT.
    pub fn stat(&self, who: &Caller<'_>, id: i32) -> Result<ShmidDs> {
        let segment = self.get(id)?;
        if !segment.info.lock().allows(who, 0o444) {
            return Err(Errno::EACCES);
        }
        Ok(segment.stat())
    }

    /// SHM_STAT, SHM_STAT_ANY: the segment at an index of the table, with its id.
    pub fn stat_index(&self, who: &Caller<'_>, index: i32, any: bool) -> Result<(i32, ShmidDs)> {
        let found = self
            .inner
            .lock()
            .segments
            .values()
            .find(|s| s.id % INDEXES == index)
            .cloned();
        let segment = found.ok_or(Errno::EINVAL)?;
        if !any && !segment.info.lock().allows(who, 0o444) {
            return Err(Errno::EACCES);
        }
        Ok((segment.id, segment.stat()))
    }

    /// IPC_SET.
    pub fn set(&self, who: &Caller<'_>, id: i32, perm: &IpcPerm) -> Result<()> {
        let segment = self.get(id)?;
        let mut info = segment.info.lock();
        if !info.owned_by(who) {
            return Err(Errno::EPERM);
        }
        if perm.uid == u32::MAX || perm.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        info.uid = perm.uid;
        info.gid = perm.gid;
        info.mode = info.mode & !0o777 | perm.mode & 0o777;
        info.ctime = now();
        Ok(())
    }

    /// IPC_RMID: now if nobody has it attached, else with the last detach.
    pub fn remove(&self, who: &Caller<'_>, id: i32) -> Result<()> {
        let mut inner = self.inner.lock();
        let segment = inner.segments.get(&id).cloned().ok_or(Errno::EINVAL)?;
        let mut info = segment.info.lock();
        if !info.owned_by(who) {
            return Err(Errno::EPERM);
        }
        info.mode |= SHM_DEST;
        if info.attached == 0 {
            inner.segments.remove(&id);
        }
        Ok(())
    }

    /// SHM_LOCK, SHM_UNLOCK: recorded; the memory is the host's to swap.
    pub fn lock(&self, who: &Caller<'_>, id: i32, lock: bool, memlock: u64) -> Result<()> {
        let segment = self.get(id)?;
        let mut info = segment.info.lock();
        if !who.creds.has_cap(cap::IPC_LOCK) {
            if who.creds.euid != info.uid && who.creds.euid != info.cuid {
                return Err(Errno::EPERM);
            }
            if lock && memlock == 0 {
                return Err(Errno::EPERM);
            }
        }
        info.mode = if lock {
            info.mode | SHM_LOCKED
        } else {
            info.mode & !SHM_LOCKED
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
        (self.inner.lock().highest_index(), limits)
    }

    /// SHM_INFO: what is in use.
    pub fn usage(&self) -> (i32, ShmUsage) {
        let inner = self.inner.lock();
        let pages: u64 = inner
            .segments
            .values()
            .map(|s| s.mapped_len() / super::span::PAGE)
            .sum();
        let info = ShmUsage {
            used_ids: i32::try_from(inner.segments.len()).unwrap_or(i32::MAX),
            tot: pages,
            ..Default::default()
        };
        (inner.highest_index(), info)
    }

    /// The lines of /proc/sysvipc/shm: each segment's key, id and state.
    pub fn each(&self, mut f: impl FnMut(i32, &ShmidDs)) {
        let all: Vec<_> = self.inner.lock().segments.values().cloned().collect();
        for segment in all {
            f(segment.id, &segment.stat());
        }
    }
}

impl Inner {
    fn highest_index(&self) -> i32 {
        self.segments
            .keys()
            .map(|id| id % INDEXES)
            .max()
            .unwrap_or(0)
    }

    /// The lowest free index with the next sequence number.
    fn free_id(&mut self) -> Option<i32> {
        let used: std::collections::BTreeSet<i32> =
            self.segments.keys().map(|id| id % INDEXES).collect();
        let index = (0..INDEXES).find(|i| !used.contains(i))?;
        self.sequence = (self.sequence + 1) % (i32::MAX / INDEXES);
        Some(self.sequence * INDEXES + index)
    }
}
