//! Descriptor tables.

use super::File;
use crate::syscalls::Fd;
use arch::{Errno, Result};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// No table grows past this, whatever RLIMIT_NOFILE says (fs.nr_open).
pub const NR_OPEN: u64 = 1 << 20;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Open descriptors (CLONE_FILES shares it).
pub struct FdTable {
    /// Identifies the table: the owner of POSIX locks.
    pub id: u64,
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    slots: Vec<Option<Slot>>,
    /// One bit a descriptor, set where one is open or reserved.
    used: Vec<u64>,
    open: usize,
}

#[derive(Clone)]
struct Slot {
    file: Arc<File>,
    cloexec: bool,
}

/// A descriptor number taken, to be filled or given back: for calls that must know that there is a number before they make what it
/// is for.
pub struct Reserved<'a> {
    table: &'a FdTable,
    fd: usize,
    done: bool,
}

impl Inner {
    fn bit(&self, fd: usize) -> bool {
        self.used
            .get(fd / 64)
            .is_some_and(|w| w & (1 << (fd % 64)) != 0)
    }

    fn set(&mut self, fd: usize) {
        if self.used.len() <= fd / 64 {
            self.used.resize(fd / 64 + 1, 0);
        }
        if self.slots.len() <= fd {
            self.slots.resize_with(fd + 1, || None);
        }
        if !self.bit(fd) {
            self.open += 1;
        }
        self.used[fd / 64] |= 1 << (fd % 64);
    }

    fn clear(&mut self, fd: usize) {
        if self.bit(fd) {
            self.open -= 1;
            self.used[fd / 64] &= !(1 << (fd % 64));
        }
    }

    /// The lowest free number from `min` on.
    fn lowest(&self, min: usize) -> usize {
        let mut word = min / 64;
        let mut mask = !0u64 << (min % 64);
        while let Some(&used) = self.used.get(word) {
            let free = !used & mask;
            if free != 0 {
                return word * 64 + free.trailing_zeros() as usize;
            }
            word += 1;
            mask = !0;
        }
        min.max(word * 64)
    }

    fn reserve(&mut self, min: usize, limit: u64) -> Result<usize> {
        let limit = usize::try_from(limit.min(NR_OPEN)).unwrap_or(usize::MAX);
        let fd = self.lowest(min);
        if fd >= limit {
            return Err(Errno::EMFILE);
        }
        self.set(fd);
        Ok(fd)
    }

    fn take(&mut self, fd: usize) -> Option<Arc<File>> {
        let slot = self.slots.get_mut(fd)?.take()?;
        self.clear(fd);
        Some(slot.file)
    }
}

fn number(fd: Fd) -> Result<usize> {
    usize::try_from(fd.0).map_err(|_| Errno::EBADF)
}

impl Default for FdTable {
    fn default() -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            inner: RwLock::default(),
        }
    }
}

impl FdTable {
    /// An empty table.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A copy with a life of its own (fork without CLONE_FILES, unshare(2)).
    pub fn fork(&self) -> Arc<Self> {
        let inner = self.inner.read();
        let copy = Self::default();
        {
            let mut to = copy.inner.write();
            to.slots.clone_from(&inner.slots);
            // Numbers that are only reserved stay behind.
            to.used = vec![0; inner.used.len()];
            for fd in 0..to.slots.len() {
                if to.slots[fd].is_some() {
                    to.set(fd);
                }
            }
        }
        Arc::new(copy)
    }

    /// The description behind a descriptor: EBADF if there is none, or it is an O_PATH one (fget).
    pub fn get(&self, fd: Fd) -> Result<Arc<File>> {
        let file = self.get_raw(fd)?;
        if file.is_path_only() {
            Err(Errno::EBADF)
        } else {
            Ok(file)
        }
    }

    /// Like [`FdTable::get`], O_PATH descriptors included (fget_raw).
    pub fn get_raw(&self, fd: Fd) -> Result<Arc<File>> {
        let fd = number(fd)?;
        let inner = self.inner.read();
        let slot = inner
            .slots
            .get(fd)
            .and_then(Option::as_ref)
            .ok_or(Errno::EBADF)?;
        Ok(Arc::clone(&slot.file))
    }

    /// Whether close-on-exec is set.
    pub fn cloexec(&self, fd: Fd) -> Result<bool> {
        let fd = number(fd)?;
        let inner = self.inner.read();
        inner
            .slots
            .get(fd)
            .and_then(Option::as_ref)
            .map(|s| s.cloexec)
            .ok_or(Errno::EBADF)
    }

    /// Sets or clears close-on-exec.
    pub fn set_cloexec(&self, fd: Fd, cloexec: bool) -> Result<()> {
        let fd = number(fd)?;
        let mut inner = self.inner.write();
        let slot = inner
            .slots
            .get_mut(fd)
            .and_then(Option::as_mut)
            .ok_or(Errno::EBADF)?;
        slot.cloexec = cloexec;
        Ok(())
    }

    /// Enters `file` at the lowest free number below `limit` (RLIMIT_NOFILE): EMFILE if there is none.
    pub fn install(&self, file: Arc<File>, cloexec: bool, limit: u64) -> Result<Fd> {
        self.install_from(0, file, cloexec, limit)
    }

    /// Like [`FdTable::install`], at `min` or above (F_DUPFD): EINVAL if `min` itself is beyond the limit.
    pub fn install_from(&self, min: u64, file: Arc<File>, cloexec: bool, limit: u64) -> Result<Fd> {
        if min != 0 && min >= limit {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.write();
        let fd = inner.reserve(min as usize, limit)?;
        inner.slots[fd] = Some(Slot { file, cloexec });
        Ok(Fd(fd as i32))
    }

    /// Takes the lowest free number, to be filled later.
    pub fn reserve(&self, limit: u64) -> Result<Reserved<'_>> {
        let fd = self.inner.write().reserve(0, limit)?;
        Ok(Reserved {
            table: self,
            fd,
            done: false,
        })
    }

    /// dup2(2), dup3(2): makes `to` refer to `file`, closing what it referred to. EBADF if `to` is not below `limit`;
    /// EBUSY if it is only reserved yet.
    pub fn replace(&self, to: Fd, file: Arc<File>, cloexec: bool, limit: u64) -> Result<()> {
        let fd = number(to)?;
        if fd as u64 >= limit.min(NR_OPEN) {
            return Err(Errno::EBADF);
        }
        let old = {
            let mut inner = self.inner.write();
            if inner.bit(fd) && inner.slots[fd].is_none() {
                return Err(Errno::EBUSY);
            }
            inner.set(fd);
            inner.slots[fd].replace(Slot { file, cloexec })
        };
        if let Some(old) = old {
            let _ = self.closed(&old.file);
        }
        Ok(())
    }

    /// close(2). The descriptor is gone whatever the result.
    pub fn close(&self, fd: Fd) -> Result<()> {
        let fd = number(fd)?;
        let file = self.inner.write().take(fd).ok_or(Errno::EBADF)?;
        self.closed(&file)
    }

    /// close_range(2): closes what is open from `first` to `last`, or marks it close-on-exec.
    pub fn close_range(&self, first: u32, last: u32, cloexec: bool) {
        let mut gone = Vec::new();
        {
            let mut inner = self.inner.write();
            let end = inner.slots.len().min((last as usize).saturating_add(1));
            for fd in (first as usize)..end {
                if cloexec {
                    if let Some(slot) = &mut inner.slots[fd] {
                        slot.cloexec = true;
                    }
                } else {
                    gone.extend(inner.take(fd));
                }
            }
        }
        for file in gone {
            let _ = self.closed(&file);
        }
    }

    /// What execve(2) does: closes all that are marked close-on-exec.
    pub fn exec(&self) {
        self.close_where(|slot| slot.cloexec);
    }

    /// Closes everything (exit).
    pub fn close_all(&self) {
        self.close_where(|_| true);
    }

    fn close_where(&self, which: impl Fn(&Slot) -> bool) {
        let mut gone = Vec::new();
        {
            let mut inner = self.inner.write();
            for fd in 0..inner.slots.len() {
                if inner.slots[fd].as_ref().is_some_and(&which) {
                    gone.extend(inner.take(fd));
                }
            }
        }
        for file in gone {
            let _ = self.closed(&file);
        }
    }

    /// Open descriptors: number, description, close-on-exec.
    pub fn list(&self) -> Vec<(Fd, Arc<File>, bool)> {
        let inner = self.inner.read();
        let slots = inner.slots.iter().enumerate();
        slots
            .filter_map(|(n, s)| {
                s.as_ref()
                    .map(|s| (Fd(n as i32), Arc::clone(&s.file), s.cloexec))
            })
            .collect()
    }

    /// The lowest open descriptor from `from` on, for readdir of /proc/PID/fd.
    pub fn next_open(&self, from: usize) -> Option<(Fd, Arc<File>)> {
        let inner = self.inner.read();
        let (n, slot) = inner
            .slots
            .iter()
            .enumerate()
            .skip(from)
            .find_map(|(n, s)| Some((n, s.as_ref()?)))?;
        Some((Fd(n as i32), Arc::clone(&slot.file)))
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.inner.read().open
    }

    /// None is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many numbers the table has room for (FDSize in /proc/PID/status).
    pub fn capacity(&self) -> usize {
        self.inner.read().slots.len().next_power_of_two().max(64)
    }

    /// filp_close: what goes with the closing of a descriptor.
    fn closed(&self, file: &Arc<File>) -> Result<()> {
        if file.is_path_only() {
            return Ok(());
        }
        let result = file.ops.flush(file);
        super::lock::release_posix(file, self.id);
        result
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        self.close_all();
    }
}

impl Reserved<'_> {
    /// The number.
    pub fn fd(&self) -> Fd {
        Fd(self.fd as i32)
    }

    /// Enters the description.
    pub fn fill(mut self, file: Arc<File>, cloexec: bool) -> Fd {
        self.done = true;
        self.table.inner.write().slots[self.fd] = Some(Slot { file, cloexec });
        self.fd()
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.table.inner.write().clear(self.fd);
        }
    }
}
