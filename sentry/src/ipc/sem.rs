//! Semaphores (semget(2), semop(2), semctl(2)).
//!
//! Operations that can't be done wait in a queue of their set, in the order they came; whoever changes the set performs those
//! that have become possible on behalf of the waiting threads, and wakes them (do_smart_update of the kernel).

use super::ids::Ids;
use super::perm::{Caller, Perm, READ, WRITE, find};
use crate::executor::WaitQueue;
use crate::task::Pid;
use arch::abi::{SEMVMX, Sembuf, SemidDs, Seminfo};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Semaphores of one set at most (SEMMSL).
const SEMMSL: u32 = 32000;
/// Sets at most (SEMMNI).
const SEMMNI: usize = 32000;
/// Semaphores of all sets at most (SEMMNS). Linux's default has no effect; this one bounds memory.
const SEMMNS: usize = 1_024_000;
/// Operations of one semop(2) at most (SEMOPM).
pub const SEMOPM: usize = 500;
/// Adjustments at exit at most, of all processes, and how far one may go (SEMAEM).
const UNDO_MAX: usize = 1_024_000;
const SEMAEM: i32 = SEMVMX;

/// SEM_UNDO and IPC_NOWAIT in the flags of an operation.
const UNDO: i16 = 0x1000;
const NOWAIT: i16 = libc::IPC_NOWAIT as i16;

#[derive(Clone, Copy, Default)]
struct Sem {
    value: i32,
    /// Who changed it last.
    pid: Pid,
}

/// A semop(2) that waits.
pub struct Waiter {
    ops: Vec<Sembuf>,
    pid: Pid,
    /// The number of its list of adjustments. (A waiter that kept the list alive could end it with the set locked.)
    undo: Option<u64>,
    result: Mutex<Option<Result<()>>>,
    /// Notified with the result.
    pub done: WaitQueue,
}

impl Waiter {
    /// The outcome; `None` while it waits.
    pub fn outcome(&self) -> Option<Result<()>> {
        *self.result.lock()
    }

    fn finish(&self, result: Result<()>) {
        self.result.lock().get_or_insert(result);
        self.done.notify_all();
    }

    /// Whether it waits for semaphore `num` to become zero, or else to grow.
    fn waits_for(&self, sems: &[Sem], num: u16, zero: bool) -> bool {
        let mut values: BTreeMap<u16, i32> = BTreeMap::new();
        for op in &self.ops {
            let now = sems.get(usize::from(op.num)).map_or(0, |s| s.value);
            let value = values.entry(op.num).or_insert(now);
            let blocked = if op.op == 0 {
                *value != 0
            } else {
                *value + i32::from(op.op) < 0
            };
            if blocked {
                return op.num == num && (op.op == 0) == zero;
            }
            *value += i32::from(op.op);
        }
        false
    }
}

struct State {
    perm: Perm,
    sems: Vec<Sem>,
    otime: i64,
    ctime: i64,
    queue: VecDeque<Arc<Waiter>>,
    /// What to add to semaphores when a list's last thread ends, by list.
    undo: HashMap<u64, BTreeMap<u16, i32>>,
    removed: bool,
}

/// What came of a try.
enum Tried {
    Done,
    /// It has to wait for this operation.
    Blocked(Sembuf),
}

/// A set of semaphores.
pub struct SemSet {
    id: i32,
    len: u32,
    state: Mutex<State>,
    counts: Arc<Counts>,
}

/// What all sets of a namespace have together.
#[derive(Default)]
struct Counts {
    sems: AtomicUsize,
    undos: AtomicUsize,
}

impl State {
    /// Performs all operations, or none (perform_atomic_semop). ERANGE, ENOMEM.
    fn perform(
        &mut self,
        ops: &[Sembuf],
        pid: Pid,
        undo: Option<u64>,
        counts: &Counts,
    ) -> Result<Tried> {
        // Values and adjustments as they will be.
        let mut values: BTreeMap<u16, i32> = BTreeMap::new();
        let mut adjusted: BTreeMap<u16, i32> = BTreeMap::new();
        for op in ops {
            let old = self.sems[usize::from(op.num)].value;
            let value = values.entry(op.num).or_insert(old);
            let new = *value + i32::from(op.op);
            if (op.op == 0 && *value != 0) || new < 0 {
                return Ok(Tried::Blocked(*op));
            }
            if new > SEMVMX {
                return Err(Errno::ERANGE);
            }
            if op.flg & UNDO != 0 {
                let list = undo.and_then(|list| self.undo.get(&list));
                let known = list.and_then(|l| l.get(&op.num)).copied().unwrap_or(0);
                let adjust = adjusted.entry(op.num).or_insert(known);
                *adjust -= i32::from(op.op);
                if !(-SEMAEM - 1..=SEMAEM).contains(adjust) {
                    return Err(Errno::ERANGE);
                }
            }
            *value = new;
        }
        if let Some(list) = undo
            && !adjusted.is_empty()
        {
            let list = self.undo.entry(list).or_default();
            for (num, adjust) in adjusted {
                let had = list.contains_key(&num);
                if !had && counts.undos.fetch_add(1, Ordering::Relaxed) >= UNDO_MAX {
                    counts.undos.fetch_sub(1, Ordering::Relaxed);
                    return Err(Errno::ENOMEM);
                }
                list.insert(num, adjust);
            }
        }
        for (num, value) in values {
            self.sems[usize::from(num)] = Sem { value, pid };
        }
        Ok(Tried::Done)
    }

    /// Performs what waits and can be done now, in the order of the queue. What changes a semaphore may let an earlier one go
    /// on, so the search begins anew.
    fn update(&mut self, counts: &Counts) {
        let mut at = 0;
        while at < self.queue.len() {
            let waiter = Arc::clone(&self.queue[at]);
            let result = match self.perform(&waiter.ops, waiter.pid, waiter.undo, counts) {
                Ok(Tried::Blocked(op)) if op.flg & NOWAIT != 0 => Err(Errno::EAGAIN),
                Ok(Tried::Blocked(_)) => {
                    at += 1;
                    continue;
                }
                Ok(Tried::Done) => Ok(()),
                Err(e) => Err(e),
            };
            self.queue.remove(at);
            let altered = result.is_ok() && waiter.ops.iter().any(|op| op.op != 0);
            if result.is_ok() {
                self.otime = super::now();
            }
            waiter.finish(result);
            if altered {
                at = 0;
            }
        }
    }

    /// Forgets adjustments of a semaphore whose value has been set (`None`: of all).
    fn forget_undo(&mut self, num: Option<u16>, counts: &Counts) {
        let mut gone = 0;
        for list in self.undo.values_mut() {
            match num {
                Some(num) => gone += usize::from(list.remove(&num).is_some()),
                None => {
                    gone += list.len();
                    list.clear();
                }
            }
        }
        counts.undos.fetch_sub(gone, Ordering::Relaxed);
    }
}

/// What semop(2) does.
pub enum Started {
    /// It is done.
    Done,
    /// It waits. To be given to [`SemSet::give_up`] when its thread waits no longer.
    Waits(Arc<Waiter>),
}

impl SemSet {
    /// Checks of semop(2) that need the set, and the first try. EFBIG, EACCES, EIDRM, EAGAIN with IPC_NOWAIT, ERANGE, ENOMEM.
    pub fn start(
        &self,
        who: &Caller,
        ops: Vec<Sembuf>,
        undo: Option<&UndoList>,
    ) -> Result<Started> {
        if ops.iter().any(|op| u32::from(op.num) >= self.len) {
            return Err(Errno::EFBIG);
        }
        let alters = ops.iter().any(|op| op.op != 0);
        let mut state = self.state.lock();
        state.perm.check(who, if alters { WRITE } else { READ })?;
        if state.removed {
            return Err(Errno::EIDRM);
        }
        if let Some(list) = undo {
            list.sets.lock().insert(self.id);
        }
        let undo = undo.map(|list| list.number);
        match state.perform(&ops, who.pid, undo, &self.counts)? {
            Tried::Done => {
                state.otime = super::now();
                if alters {
                    state.update(&self.counts);
                }
                Ok(Started::Done)
            }
            Tried::Blocked(op) if op.flg & NOWAIT != 0 => Err(Errno::EAGAIN),
            Tried::Blocked(_) => {
                let waiter = Arc::new(Waiter {
                    ops,
                    pid: who.pid,
                    undo,
                    result: Mutex::new(None),
                    done: WaitQueue::new(),
                });
                state.queue.push_back(Arc::clone(&waiter));
                Ok(Started::Waits(waiter))
            }
        }
    }

    /// The thread waits no longer: the outcome if there was one, else `why`.
    pub fn give_up(&self, waiter: &Arc<Waiter>, why: Errno) -> Result<()> {
        self.state.lock().queue.retain(|w| !Arc::ptr_eq(w, waiter));
        waiter.outcome().unwrap_or(Err(why))
    }

    /// Semaphores in the set.
    pub const fn count(&self) -> u32 {
        self.len
    }

    fn stat(&self) -> SemidDs {
        let state = self.state.lock();
        SemidDs {
            perm: state.perm.stat(self.id),
            otime: state.otime,
            ctime: state.ctime,
            nsems: u64::from(self.len),
            ..Default::default()
        }
    }

    fn index(&self, num: i32) -> Result<u16> {
        u16::try_from(num)
            .ok()
            .filter(|n| u32::from(*n) < self.len)
            .ok_or(Errno::EINVAL)
    }

    /// GETALL.
    pub fn values(&self, who: &Caller) -> Result<Vec<u16>> {
        let state = self.state.lock();
        state.perm.check(who, READ)?;
        let value = |s: &Sem| u16::try_from(s.value).unwrap_or(0);
        Ok(state.sems.iter().map(value).collect())
    }

    /// Whether the caller may SETALL; EACCES.
    pub fn may_set(&self, who: &Caller) -> Result<()> {
        self.state.lock().perm.check(who, WRITE)
    }

    /// SETALL. ERANGE.
    pub fn set_values(&self, who: &Caller, values: &[u16]) -> Result<()> {
        let mut state = self.state.lock();
        if state.removed {
            return Err(Errno::EIDRM);
        }
        if values.iter().any(|v| i32::from(*v) > SEMVMX) {
            return Err(Errno::ERANGE);
        }
        for (sem, value) in state.sems.iter_mut().zip(values) {
            *sem = Sem {
                value: i32::from(*value),
                pid: who.pid,
            };
        }
        state.forget_undo(None, &self.counts);
        state.ctime = super::now();
        state.update(&self.counts);
        Ok(())
    }

    /// SETVAL; the value has been checked.
    pub fn set_value(&self, who: &Caller, num: i32, value: i32) -> Result<()> {
        let mut state = self.state.lock();
        let num = self.index(num)?;
        state.perm.check(who, WRITE)?;
        if state.removed {
            return Err(Errno::EIDRM);
        }
        state.forget_undo(Some(num), &self.counts);
        let pid = who.pid;
        state.sems[usize::from(num)] = Sem { value, pid };
        state.ctime = super::now();
        state.update(&self.counts);
        Ok(())
    }

    /// GETVAL, GETPID, GETNCNT, GETZCNT of one semaphore.
    pub fn query(&self, who: &Caller, num: i32, what: Query) -> Result<i32> {
        let state = self.state.lock();
        state.perm.check(who, READ)?;
        let num = self.index(num)?;
        let sem = state.sems[usize::from(num)];
        let waiting = |zero| {
            let waits = |w: &&Arc<Waiter>| w.waits_for(&state.sems, num, zero);
            let n = state.queue.iter().filter(waits).count();
            i32::try_from(n).unwrap_or(i32::MAX)
        };
        Ok(match what {
            Query::Value => sem.value,
            Query::Pid => sem.pid,
            Query::WaitingForMore => waiting(false),
            Query::WaitingForZero => waiting(true),
        })
    }

    /// The last thread of a list of adjustments has ended (exit_sem).
    fn undo(&self, list: &UndoList) {
        let mut state = self.state.lock();
        let Some(adjustments) = state.undo.remove(&list.number) else {
            return;
        };
        self.counts
            .undos
            .fetch_sub(adjustments.len(), Ordering::Relaxed);
        if state.removed {
            return;
        }
        for (num, adjust) in adjustments.into_iter().filter(|(_, by)| *by != 0) {
            let sem = &mut state.sems[usize::from(num)];
            sem.value = (sem.value + adjust).clamp(0, SEMVMX);
            sem.pid = list.pid;
        }
        state.update(&self.counts);
    }
}

impl Drop for SemSet {
    fn drop(&mut self) {
        self.counts
            .sems
            .fetch_sub(self.len as usize, Ordering::Relaxed);
        let left = self.state.get_mut().undo.values().map(BTreeMap::len).sum();
        self.counts.undos.fetch_sub(left, Ordering::Relaxed);
    }
}

/// What semctl(2) asks of a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// GETVAL.
    Value,
    /// GETPID.
    Pid,
    /// GETNCNT.
    WaitingForMore,
    /// GETZCNT.
    WaitingForZero,
}

/// The adjustments (SEM_UNDO) of the threads that share them (CLONE_SYSVSEM): carried out when it is dropped.
pub struct UndoList {
    number: u64,
    pid: Pid,
    sets: Mutex<BTreeSet<i32>>,
    table: Weak<Table>,
}

impl Drop for UndoList {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else {
            return;
        };
        for id in std::mem::take(self.sets.get_mut()) {
            if let Ok(set) = table.get(id) {
                set.undo(self);
            }
        }
    }
}

/// The list of the threads that share one, made when the first of them wants it.
pub type SharedUndo = Arc<std::sync::OnceLock<UndoList>>;

/// All sets of an IPC namespace.
pub struct Table {
    ids: Mutex<Ids<SemSet>>,
    counts: Arc<Counts>,
    /// Counts up with every list of adjustments.
    lists: AtomicU64,
}

impl Table {
    /// An empty table.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            ids: Mutex::new(Ids::new(SEMMNI)),
            counts: Arc::default(),
            lists: AtomicU64::new(0),
        })
    }

    /// The set with this id; EINVAL.
    pub fn get(&self, id: i32) -> Result<Arc<SemSet>> {
        self.ids.lock().get(id).ok_or(Errno::EINVAL)
    }

    /// A list of adjustments for the threads of process `pid`.
    pub fn undo_list(self: &Arc<Self>, pid: Pid) -> UndoList {
        UndoList {
            number: self.lists.fetch_add(1, Ordering::Relaxed),
            pid,
            sets: Mutex::default(),
            table: Arc::downgrade(self),
        }
    }

    /// semget(2).
    pub fn semget(&self, who: &Caller, key: i32, nsems: i32, flags: i32) -> Result<i32> {
        let nsems = u32::try_from(nsems)
            .ok()
            .filter(|n| *n <= SEMMSL)
            .ok_or(Errno::EINVAL)?;
        let mut ids = self.ids.lock();
        let fits = |set: &SemSet| {
            if nsems > set.len {
                Err(Errno::EINVAL)
            } else {
                Ok(())
            }
        };
        let perm = |set: &SemSet| set.state.lock().perm;
        if let Some(id) = find(who, key, flags, ids.iter(), perm, fits)? {
            return Ok(id);
        }
        if nsems == 0 {
            return Err(Errno::EINVAL);
        }
        let sems = &self.counts.sems;
        if sems.fetch_add(nsems as usize, Ordering::Relaxed) + nsems as usize > SEMMNS {
            sems.fetch_sub(nsems as usize, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        let Some(id) = ids.next_id() else {
            sems.fetch_sub(nsems as usize, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        };
        let set = SemSet {
            id,
            len: nsems,
            state: Mutex::new(State {
                perm: Perm::new(who, key, flags),
                sems: vec![Sem::default(); nsems as usize],
                otime: 0,
                ctime: super::now(),
                queue: VecDeque::new(),
                undo: HashMap::new(),
                removed: false,
            }),
            counts: Arc::clone(&self.counts),
        };
        ids.insert(id, Arc::new(set));
        Ok(id)
    }

    /// IPC_STAT.
    pub fn stat(&self, who: &Caller, id: i32) -> Result<SemidDs> {
        let set = self.get(id)?;
        set.state.lock().perm.check(who, READ)?;
        Ok(set.stat())
    }

    /// SEM_STAT, SEM_STAT_ANY: the set at an index of the table, with its id.
    pub fn stat_index(&self, who: &Caller, index: i32, any: bool) -> Result<(i32, SemidDs)> {
        let (id, set) = self.ids.lock().at(index).ok_or(Errno::EINVAL)?;
        if !any {
            set.state.lock().perm.check(who, READ)?;
        }
        Ok((id, set.stat()))
    }

    /// IPC_SET.
    pub fn set(&self, who: &Caller, id: i32, new: &SemidDs) -> Result<()> {
        let set = self.get(id)?;
        let mut state = set.state.lock();
        state.perm.check_owner(who)?;
        state.perm.set(&new.perm)?;
        state.ctime = super::now();
        Ok(())
    }

    /// IPC_RMID: all who wait get EIDRM.
    pub fn remove(&self, who: &Caller, id: i32) -> Result<()> {
        let mut ids = self.ids.lock();
        let set = ids.get(id).ok_or(Errno::EINVAL)?;
        let waiting = {
            let mut state = set.state.lock();
            state.perm.check_owner(who)?;
            state.removed = true;
            std::mem::take(&mut state.queue)
        };
        ids.remove(id);
        drop(ids);
        for waiter in waiting {
            waiter.finish(Err(Errno::EIDRM));
        }
        Ok(())
    }

    /// IPC_INFO, or with `usage` SEM_INFO; and the highest index in use.
    pub fn info(&self, usage: bool) -> (i32, Seminfo) {
        let small = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let ids = self.ids.lock();
        let mut info = Seminfo {
            semmap: small(SEMMNS),
            semmni: small(SEMMNI),
            semmns: small(SEMMNS),
            semmnu: small(SEMMNS),
            semmsl: small(SEMMSL as usize),
            semopm: small(SEMOPM),
            semume: small(SEMOPM),
            semusz: 20,
            semvmx: SEMVMX,
            semaem: SEMAEM,
        };
        if usage {
            info.semusz = small(ids.len());
            info.semaem = small(self.counts.sems.load(Ordering::Relaxed));
        }
        (ids.highest_index(), info)
    }

    /// /proc/sysvipc/sem.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::from(
            "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
        );
        let all: Vec<_> = self.ids.lock().iter().map(|(_, s)| Arc::clone(s)).collect();
        for set in all {
            let s = set.stat();
            let _ = writeln!(
                out,
                "{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}",
                s.perm.key,
                set.id,
                s.perm.mode,
                s.nsems,
                s.perm.uid,
                s.perm.gid,
                s.perm.cuid,
                s.perm.cgid,
                s.otime,
                s.ctime
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Creds;

    fn who(pid: Pid) -> Caller {
        Caller {
            creds: Arc::new(Creds::root()),
            pid,
        }
    }

    fn op(num: u16, op: i16, flg: i16) -> Sembuf {
        Sembuf { num, op, flg }
    }

    fn set(table: &Table) -> Arc<SemSet> {
        let id = table.semget(&who(1), libc::IPC_PRIVATE, 3, 0o600).unwrap();
        table.get(id).unwrap()
    }

    fn value(set: &SemSet, num: i32) -> i32 {
        set.query(&who(1), num, Query::Value).unwrap()
    }

    fn run(set: &SemSet, ops: &[Sembuf]) -> Result<Option<Arc<Waiter>>> {
        Ok(match set.start(&who(7), ops.to_vec(), None)? {
            Started::Done => None,
            Started::Waits(w) => Some(w),
        })
    }

    #[test]
    fn all_or_nothing() {
        let table = Table::new();
        let set = set(&table);
        assert!(run(&set, &[op(0, 2, 0), op(1, -1, NOWAIT)]).is_err());
        assert_eq!((value(&set, 0), value(&set, 1)), (0, 0));
        assert!(run(&set, &[op(0, 2, 0), op(0, -1, 0)]).unwrap().is_none());
        assert_eq!(value(&set, 0), 1);
        assert_eq!(run(&set, &[op(0, i16::MAX, 0)]).err(), Some(Errno::ERANGE));
    }

    #[test]
    fn waiters_go_on_in_order() {
        let table = Table::new();
        let set = set(&table);
        let first = run(&set, &[op(0, -2, 0)]).unwrap().unwrap();
        let second = run(&set, &[op(0, -1, 0)]).unwrap().unwrap();
        let zero = run(&set, &[op(1, 1, 0), op(1, 0, 0)]).unwrap().unwrap();
        assert_eq!(set.query(&who(1), 0, Query::WaitingForMore), Ok(2));
        assert_eq!(set.query(&who(1), 1, Query::WaitingForZero), Ok(1));
        assert!(run(&set, &[op(0, 1, 0)]).unwrap().is_none());
        // One was enough for the second only.
        assert_eq!(first.outcome(), None);
        assert_eq!(second.outcome(), Some(Ok(())));
        assert!(run(&set, &[op(0, 2, 0)]).unwrap().is_none());
        assert_eq!(first.outcome(), Some(Ok(())));
        assert_eq!(set.give_up(&first, Errno::EINTR), Ok(()));
        assert_eq!(set.give_up(&zero, Errno::EINTR), Err(Errno::EINTR));
    }

    #[test]
    fn last_thread_undoes() {
        let table = Table::new();
        let set = set(&table);
        let list = table.undo_list(9);
        let ops = vec![op(0, 5, UNDO), op(0, -1, UNDO)];
        assert!(set.start(&who(9), ops, Some(&list)).is_ok());
        let waiter = run(&set, &[op(0, 0, 0)]).unwrap().unwrap();
        assert_eq!(value(&set, 0), 4);
        drop(list);
        assert_eq!(value(&set, 0), 0);
        assert_eq!(waiter.outcome(), Some(Ok(())));
        assert_eq!(table.counts.undos.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn removal_ends_waits() {
        let table = Table::new();
        let set = set(&table);
        let waiter = run(&set, &[op(2, -1, 0)]).unwrap().unwrap();
        table.remove(&who(1), set.id).unwrap();
        assert_eq!(waiter.outcome(), Some(Err(Errno::EIDRM)));
        drop((waiter, set));
        assert_eq!(table.counts.sems.load(Ordering::Relaxed), 0);
    }
}
