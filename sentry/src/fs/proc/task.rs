//! /proc/PID, /proc/PID/task and /proc/PID/task/TID.

use super::fd::FdDir;
use super::mem::{MemFile, Which};
use super::{Proc, status};
use crate::executor::WaitQueue;
use crate::fs::pseudo::{Directory, Entry, Node, Owner, Symlink, Text, Watch, name_ino};
use crate::task::{Pid, Task, ThreadGroup};
use crate::vfs::inode::InodeRef;
use crate::vfs::walk::Env;
use crate::vfs::{FileType, MountNamespace, Path};
use arch::{Errno, Result};
use std::sync::{Arc, Weak};

/// Who owns a task's files: its effective ids, or root if it isn't dumpable.
pub(super) fn owner_of(task: &Weak<Task>) -> Owner {
    let Some(task) = task.upgrade() else {
        return Owner::default();
    };
    if task
        .group
        .dumpable
        .load(std::sync::atomic::Ordering::Relaxed)
        != 1
    {
        return Owner::default();
    }
    let creds = task.creds();
    Owner {
        uid: creds.euid,
        gid: creds.egid,
    }
}

/// The directory of a process.
pub(super) fn process(proc: &Proc, group: &Arc<ThreadGroup>) -> InodeRef {
    let leader = group.leader();
    let task = leader.map_or_else(Weak::new, |l| Arc::downgrade(&l));
    whole(proc, group.pid, group, task)
}

/// /proc/TID of a thread that isn't its process's first: not listed, and of the thread, but for what is the process's.
pub(super) fn thread(proc: &Proc, task: &Arc<Task>) -> InodeRef {
    whole(proc, task.tid(), &task.group, Arc::downgrade(task))
}

fn whole(proc: &Proc, id: Pid, group: &Arc<ThreadGroup>, task: Weak<Task>) -> InodeRef {
    let ino = u64::from(id.cast_unsigned()) << 20 | 1;
    let dir = TaskDir {
        proc: proc.clone(),
        group: Arc::downgrade(group),
        task,
        ino,
        whole: true,
    };
    Node::dir(proc.dev, ino, 0o555, dir)
}

struct TaskDir {
    proc: Proc,
    group: Weak<ThreadGroup>,
    task: Weak<Task>,
    ino: u64,
    /// /proc/PID, as opposed to /proc/PID/task/TID.
    whole: bool,
}

/// Text files: name, mode, maker.
type Make = fn(&Env<'_>, &Task) -> Result<Vec<u8>>;
const TEXTS: &[(&str, u32, Make)] = &[
    ("auxv", 0o400, status::auxv),
    ("cgroup", 0o444, |_, _| Ok(b"0::/\n".to_vec())),
    ("cmdline", 0o444, status::cmdline),
    ("cpuset", 0o444, |_, _| Ok(b"/\n".to_vec())),
    ("environ", 0o400, status::environ),
    ("gid_map", 0o644, status::id_map),
    ("io", 0o400, status::io),
    ("limits", 0o444, status::limits),
    ("maps", 0o444, status::maps),
    ("mountinfo", 0o444, status::mountinfo),
    ("mounts", 0o444, status::mounts),
    ("oom_score", 0o444, |_, _| Ok(b"0\n".to_vec())),
    ("personality", 0o400, status::personality),
    ("projid_map", 0o644, status::id_map),
    ("sched", 0o444, |_, task| {
        Ok([&task.name()[..], b"\n"].concat())
    }),
    ("schedstat", 0o444, |_, task| {
        Ok(format!("{} 0 1\n", task.cpu_ns()).into_bytes())
    }),
    ("setgroups", 0o644, |_, _| Ok(b"allow\n".to_vec())),
    ("smaps", 0o444, status::smaps),
    ("smaps_rollup", 0o444, status::smaps_rollup),
    ("stat", 0o444, status::stat),
    ("statm", 0o444, status::statm),
    ("status", 0o444, status::status),
    ("uid_map", 0o644, status::id_map),
    ("wchan", 0o444, |_, _| Ok(b"0".to_vec())),
];

struct TaskText {
    task: Weak<Task>,
    make: Make,
    /// Needs the right to look into the task (ptrace_may_access).
    guarded: bool,
    /// It is a table of mounts.
    mounts: bool,
    /// Its mode allows to write.
    writable: bool,
}

/// Whether the asking credentials may look into `task` (ptrace(2), "Ptrace access mode checking").
pub(super) fn may_access(env: &Env<'_>, task: &Task) -> bool {
    let theirs = task.creds();
    let mine = &env.creds;
    let same = [theirs.uid, theirs.euid, theirs.suid]
        .iter()
        .all(|id| *id == mine.fsuid)
        && [theirs.gid, theirs.egid, theirs.sgid]
            .iter()
            .all(|id| *id == mine.fsgid);
    let dumpable = task
        .group
        .dumpable
        .load(std::sync::atomic::Ordering::Relaxed)
        == 1;
    (same && dumpable && theirs.permitted & !mine.permitted == 0)
        || mine.has_cap(crate::task::cap::SYS_PTRACE)
        || env
            .cx
            .is_some_and(|cx| std::ptr::eq(Arc::as_ptr(&cx.task.group), Arc::as_ptr(&task.group)))
}

impl Text for TaskText {
    fn open(&self, env: &Env<'_>, _flags: u32) -> Result<()> {
        let task = self.task.upgrade().ok_or(Errno::ESRCH)?;
        if self.guarded && !may_access(env, &task) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    fn read(&self, env: &Env<'_>) -> Result<Vec<u8>> {
        let task = self.task.upgrade().ok_or(Errno::ESRCH)?;
        (self.make)(env, &task)
    }

    /// What has another mode than reading is what the first user namespace refuses.
    fn write(&self, _env: &Env<'_>, _data: &[u8]) -> Result<()> {
        Err(if self.writable {
            Errno::EPERM
        } else {
            Errno::EINVAL
        })
    }

    fn watch(&self) -> Option<Arc<dyn Watch>> {
        if !self.mounts {
            return None;
        }
        let task = self.task.upgrade()?;
        Some(task.fs().namespace())
    }

    fn owner(&self) -> Owner {
        owner_of(&self.task)
    }
}

impl Watch for MountNamespace {
    fn queue(&self) -> &WaitQueue {
        &self.changed
    }
    fn version(&self) -> u64 {
        self.version.load(std::sync::atomic::Ordering::SeqCst)
    }
}

enum LinkKind {
    Exe,
    Cwd,
    Root,
}

struct TaskLink {
    task: Weak<Task>,
    kind: LinkKind,
}

impl TaskLink {
    fn path(&self, env: &Env<'_>) -> Result<Path> {
        let task = self.task.upgrade().ok_or(Errno::ENOENT)?;
        if !may_access(env, &task) {
            return Err(Errno::EACCES);
        }
        match self.kind {
            LinkKind::Exe => {
                let exe = task.try_mm().and_then(|mm| mm.with(|s| s.info.exe.clone()));
                exe.and_then(|e| e.file.path().cloned())
                    .ok_or(Errno::ENOENT)
            }
            LinkKind::Cwd => Ok(task.fs().cwd()),
            LinkKind::Root => Ok(task.fs().root()),
        }
    }
}

impl Symlink for TaskLink {
    fn text(&self, env: &Env<'_>) -> Result<Vec<u8>> {
        Ok(self.path(env)?.display(&env.root))
    }

    fn jump(&self, env: &Env<'_>) -> Option<Result<Path>> {
        Some(self.path(env))
    }

    fn magic(&self) -> bool {
        true
    }

    fn owner(&self) -> Owner {
        owner_of(&self.task)
    }
}

/// A namespace's link: a text to compare, nothing to enter.
struct NsLink {
    task: Weak<Task>,
    kind: &'static str,
    id: u64,
}

impl Symlink for NsLink {
    fn text(&self, env: &Env<'_>) -> Result<Vec<u8>> {
        let task = self.task.upgrade().ok_or(Errno::ENOENT)?;
        if !may_access(env, &task) {
            return Err(Errno::EACCES);
        }
        let id = match self.kind {
            "mnt" => MNT_IDS + task.fs().namespace().ino,
            _ => self.id,
        };
        Ok(format!("{}:[{id}]", self.kind).into_bytes())
    }
}

/// Numbers of mount namespaces start here.
const MNT_IDS: u64 = 0xf000_0000;

/// Namespaces, each one for the whole sandbox (numbers as PROC_*_INIT_INO).
const NAMESPACES: &[(&str, u64)] = &[
    ("cgroup", 0xefff_fffb),
    ("ipc", 0xefff_ffff),
    ("mnt", MNT_IDS),
    ("net", 0xeffffff9),
    ("pid", 0xefff_fffc),
    ("user", 0xefff_fffd),
    ("uts", 0xefff_fffe),
];

struct NsDir {
    proc: Proc,
    ino: u64,
    task: Weak<Task>,
}

impl Directory for NsDir {
    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        let (name, id) = NAMESPACES
            .iter()
            .find(|(n, _)| n.as_bytes() == name)
            .ok_or(Errno::ENOENT)?;
        Ok(Node::link(
            self.proc.dev,
            name_ino(self.ino, name.as_bytes()),
            NsLink {
                task: self.task.clone(),
                kind: name,
                id: *id,
            },
        ))
    }

    fn list(&self, _env: &Env<'_>) -> Result<Vec<Entry>> {
        Ok(NAMESPACES
            .iter()
            .map(|(name, _)| Entry::new(*name, FileType::Symlink))
            .collect())
    }

    fn owner(&self) -> Owner {
        owner_of(&self.task)
    }
}

/// Files that can be written.
enum Setting {
    Comm,
    OomScoreAdj,
    CoredumpFilter,
}

struct SettingText {
    task: Weak<Task>,
    which: Setting,
}

impl Text for SettingText {
    fn read(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        let task = self.task.upgrade().ok_or(Errno::ESRCH)?;
        Ok(match self.which {
            Setting::Comm => [&task.name()[..], b"\n"].concat(),
            Setting::OomScoreAdj => format!(
                "{}\n",
                task.group
                    .oom_score_adj
                    .load(std::sync::atomic::Ordering::Relaxed)
            )
            .into_bytes(),
            Setting::CoredumpFilter => b"00000033\n".to_vec(),
        })
    }

    fn write(&self, env: &Env<'_>, data: &[u8]) -> Result<()> {
        let task = self.task.upgrade().ok_or(Errno::ESRCH)?;
        match self.which {
            Setting::Comm => {
                let name = data.strip_suffix(b"\n").unwrap_or(data);
                task.set_name(name);
                Ok(())
            }
            Setting::OomScoreAdj => {
                let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
                let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
                if !(-1000..=1000).contains(&value) {
                    return Err(Errno::EINVAL);
                }
                let cell = &task.group.oom_score_adj;
                let old = cell.load(std::sync::atomic::Ordering::Relaxed);
                if value < old && !env.creds.has_cap(crate::task::cap::SYS_RESOURCE) {
                    return Err(Errno::EACCES);
                }
                cell.store(value, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
            Setting::CoredumpFilter => Err(Errno::EACCES),
        }
    }

    fn owner(&self) -> Owner {
        owner_of(&self.task)
    }
}

impl TaskDir {
    fn dirs(&self) -> &'static [&'static str] {
        if self.whole {
            &["fd", "fdinfo", "ns", "net", "task"]
        } else {
            &["fd", "fdinfo", "ns", "net"]
        }
    }

    fn fd_dir(&self, ino: u64, info: bool) -> InodeRef {
        let mode = if info { 0o555 } else { 0o500 };
        Node::dir(
            self.proc.dev,
            ino,
            mode,
            FdDir {
                proc: self.proc.clone(),
                task: self.task.clone(),
                info,
                ino,
            },
        )
    }
}

impl Directory for TaskDir {
    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        self.alive()?;
        let (dev, ino, task) = (self.proc.dev, name_ino(self.ino, name), self.task.clone());
        if let Some((name, mode, make)) = TEXTS.iter().find(|(n, ..)| n.as_bytes() == name) {
            let guarded = matches!(
                *name,
                "environ" | "maps" | "smaps" | "smaps_rollup" | "auxv" | "io" | "personality"
            );
            return Ok(Node::text(
                dev,
                ino,
                *mode,
                TaskText {
                    task,
                    make: *make,
                    guarded,
                    mounts: name.starts_with("mount"),
                    writable: mode & 0o200 != 0,
                },
            ));
        }
        let setting = |which, mode| {
            Node::text(
                dev,
                ino,
                mode,
                SettingText {
                    task: task.clone(),
                    which,
                },
            )
        };
        let link = |kind| {
            Node::link(
                dev,
                ino,
                TaskLink {
                    task: task.clone(),
                    kind,
                },
            )
        };
        let memory = |which, mode| {
            Node::raw(
                dev,
                ino,
                mode,
                MemFile {
                    task: task.clone(),
                    which,
                },
            )
        };
        Ok(match name {
            b"mem" => memory(Which::Mem, 0o600),
            b"pagemap" => memory(Which::Pagemap, 0o400),
            b"comm" => setting(Setting::Comm, 0o644),
            b"oom_score_adj" => setting(Setting::OomScoreAdj, 0o644),
            b"coredump_filter" => setting(Setting::CoredumpFilter, 0o444),
            b"exe" => link(LinkKind::Exe),
            b"cwd" => link(LinkKind::Cwd),
            b"root" => link(LinkKind::Root),
            b"fd" => self.fd_dir(ino, false),
            b"fdinfo" => self.fd_dir(ino, true),
            b"ns" => Node::dir(
                dev,
                ino,
                0o511,
                NsDir {
                    proc: self.proc.clone(),
                    ino,
                    task,
                },
            ),
            b"net" => super::net::inode(&self.proc, ino),
            b"task" if self.whole => Node::dir(
                dev,
                ino,
                0o555,
                Threads {
                    proc: self.proc.clone(),
                    group: self.group.clone(),
                    ino,
                },
            ),
            _ => return Err(Errno::ENOENT),
        })
    }

    fn list(&self, _env: &Env<'_>) -> Result<Vec<Entry>> {
        self.alive()?;
        let mut out: Vec<Entry> = TEXTS
            .iter()
            .map(|t| Entry::new(t.0, FileType::Regular))
            .collect();
        out.extend(
            ["comm", "oom_score_adj", "coredump_filter", "mem", "pagemap"]
                .map(|n| Entry::new(n, FileType::Regular)),
        );
        out.extend(["exe", "cwd", "root"].map(|n| Entry::new(n, FileType::Symlink)));
        out.extend(
            self.dirs()
                .iter()
                .map(|n| Entry::new(*n, FileType::Directory)),
        );
        Ok(out)
    }

    fn owner(&self) -> Owner {
        owner_of(&self.task)
    }

    fn nlink(&self) -> u64 {
        2 + self.dirs().len() as u64
    }

    fn alive(&self) -> Result<()> {
        if self.group.strong_count() > 0 && self.task.strong_count() > 0 {
            Ok(())
        } else {
            Err(Errno::ENOENT)
        }
    }
}

/// /proc/PID/task.
struct Threads {
    proc: Proc,
    group: Weak<ThreadGroup>,
    ino: u64,
}

impl Directory for Threads {
    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        let group = self.group.upgrade().ok_or(Errno::ENOENT)?;
        let tid = super::root::parse_pid(name).ok_or(Errno::ENOENT)?;
        let task = group
            .threads()
            .iter()
            .find(|t| t.tid() == tid)
            .cloned()
            .ok_or(Errno::ENOENT)?;
        let ino = name_ino(self.ino, name);
        let dir = TaskDir {
            proc: self.proc.clone(),
            group: self.group.clone(),
            task: Arc::downgrade(&task),
            ino,
            whole: false,
        };
        Ok(Node::dir(self.proc.dev, ino, 0o555, dir))
    }

    fn list(&self, _env: &Env<'_>) -> Result<Vec<Entry>> {
        let group = self.group.upgrade().ok_or(Errno::ENOENT)?;
        Ok(group
            .threads()
            .iter()
            .map(|t| Entry::new(t.tid().to_string(), FileType::Directory))
            .collect())
    }

    fn nlink(&self) -> u64 {
        self.group
            .upgrade()
            .map_or(2, |g| 2 + g.threads().len() as u64)
    }
}

/// Reads application memory of a task from outside it.
pub(super) fn read_memory(task: &Task, from: u64, to: u64) -> Vec<u8> {
    const MAX: u64 = 1 << 21;
    let Some(mm) = task.try_mm() else {
        return Vec::new();
    };
    let len = to.saturating_sub(from).min(MAX);
    let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
    let n = mm.space.read(from, &mut out);
    out.truncate(n);
    out
}
