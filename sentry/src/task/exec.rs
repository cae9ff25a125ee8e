//! execve(2): a new program in the place of the old.

use super::{CapSet, Creds, Cx, Task};
use crate::executor::PollEvents;
use crate::mm::{ExecImage, ExecParams, Mm};
use crate::vfs::walk::{At, WalkFlags};
use crate::vfs::{File, MountFlags, open};
use arch::{Errno, Result};
use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use systrap::Thread;

/// What is to be executed.
pub struct ExecRequest {
    /// The program, opened for execution: its permissions have been checked.
    pub file: Arc<File>,
    /// AT_EXECFN, and the name a script's interpreter gets.
    pub path: Vec<u8>,
    pub argv: Vec<Vec<u8>>,
    pub envp: Vec<Vec<u8>>,
    /// `path` goes through a descriptor that this call closes, so that no interpreter could open it.
    pub inaccessible: bool,
}

/// What execution needs of a file to tell whether ids change with it.
fn creds_for(task: &Task, file: &File) -> Result<(Creds, bool)> {
    let old = task.creds();
    let mut new = (*old).clone();
    let stat = file.attr()?;
    let nosuid = file
        .path()
        .is_some_and(|p| p.mount.flags().contains(MountFlags::NOSUID))
        || task.no_new_privs.load(Ordering::Relaxed);
    let setuid = !nosuid && stat.mode & libc::S_ISUID != 0;
    let group_exec = libc::S_ISGID | libc::S_IXGRP;
    let setgid = !nosuid && stat.mode & group_exec == group_exec;
    if setuid {
        new.euid = stat.uid;
    }
    if setgid {
        new.egid = stat.gid;
    }
    let fcaps = if nosuid {
        None
    } else {
        file_capabilities(file)
    };
    new.apply_exec(setuid, setgid, fcaps);
    let raised =
        new.euid != old.euid || new.egid != old.egid || new.permitted & !old.permitted != 0;
    Ok((new, raised))
}

/// Capabilities of a file (capabilities(7), "File capabilities"): permitted, inheritable, effective flag.
fn file_capabilities(file: &File) -> Option<(CapSet, CapSet, bool)> {
    const REVISION_MASK: u32 = 0xff00_0000;
    const EFFECTIVE: u32 = 1;
    let raw = file
        .path()?
        .inode()
        .get_xattr(b"security.capability")
        .ok()?;
    let word = |n: usize| {
        raw.get(n * 4..n * 4 + 4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    };
    let magic = word(0)?;
    let words = match magic & REVISION_MASK {
        0x0100_0000 => 1,
        0x0200_0000 | 0x0300_0000 => 2,
        _ => return None,
    };
    let mut sets = (0, 0);
    for n in 0..words {
        sets.0 |= u64::from(word(1 + 2 * n)?) << (32 * n);
        sets.1 |= u64::from(word(2 + 2 * n)?) << (32 * n);
    }
    Some((
        sets.0 & super::cap::ALL,
        sets.1 & super::cap::ALL,
        magic & EFFECTIVE != 0,
    ))
}

/// Replaces the program. On success the registers are the new program's; on failure before the point of no return the old
/// one goes on with the error, after it the process is killed.
pub async fn exec(cx: &Cx, mut req: ExecRequest) -> Result<()> {
    let ready = ready(cx)?;
    let mut depth = 0;
    let image = loop {
        match loader::identify(&FileSource::new(&req.file))? {
            loader::Format::Elf(image) => break image,
            loader::Format::Script(_) if req.inaccessible => return Err(Errno::ENOENT),
            loader::Format::Script(script) => {
                depth += 1;
                if depth > loader::MAX_SCRIPT_DEPTH {
                    return Err(Errno::ELOOP);
                }
                req.argv = script.argv(&req.path, &req.argv);
                req.file = open_program(cx, &script.interpreter)?;
                req.path = script.interpreter;
            }
        }
    };
    let interp = match &image.interp {
        Some(path) => {
            let file = open_program(cx, path)?;
            let image = loader::ElfImage::read_interpreter(&FileSource::new(&file))?;
            Some((file, image))
        }
        None => None,
    };
    let (creds, secure) = creds_for(&cx.task, &req.file)?;
    // Everything that can fail is checked before the old program goes.
    let prepared = ExecImage::prepare(
        cx,
        &ExecParams {
            file: &req.file,
            image: &image,
            interp: interp.as_ref().map(|(file, image)| (file, image)),
            execfn: &req.path,
            argv: &req.argv,
            envp: &req.envp,
            creds: &creds,
            secure,
        },
    )?;

    kill_other_threads(cx).await?;
    let result = replace(cx, &req, ready, prepared, creds, secure).await;
    if result.is_err() {
        super::exit::begin_group_exit(&cx.task.group, libc::SIGSEGV);
        return Err(Errno::EINTR);
    }
    Ok(())
}

/// A process for a program whose caller lends its memory (vfork(2), posix_spawn(3)), and the next one on its way: callers
/// that do so once do it again. The host makes it while the rest is done here.
fn ready(cx: &Cx) -> Result<Option<Thread>> {
    let lent = cx.task.mm().users() > cx.task.group.threads().len();
    if !lent {
        return Ok(None);
    }
    let platform = &cx.kernel().platform;
    let (_, thread) = platform.spawn().map_err(|_| Errno::ENOMEM)?;
    platform.spawn_ahead();
    Ok(Some(thread))
}

/// Opens an interpreter by a path that a file names.
fn open_program(cx: &Cx, path: &[u8]) -> Result<Arc<File>> {
    open::open_exec(&cx.env(), &At::Cwd, path, WalkFlags::FOLLOW)
}

/// The other threads end, and the caller takes the leader's id (de_thread).
async fn kill_other_threads(cx: &Cx) -> Result<()> {
    let task = &cx.task;
    let group = &task.group;
    {
        let signals = group.signals.lock();
        if signals.exiting.is_some() || task.signals.lock().must_exit {
            return Err(Errno::EAGAIN);
        }
        for other in group.threads().iter().filter(|t| !Arc::ptr_eq(t, task)) {
            other.signals.lock().must_exit = true;
            other.poke();
        }
    }
    let alone = || {
        let others = group.threads().len() > 1;
        if others && group.signals.lock().exiting.is_none() {
            Err(Errno::EAGAIN)
        } else {
            Ok(())
        }
    };
    group.stop_events.notify_all();
    let _ = cx
        .wait_uninterrupted(&group.exit_events, PollEvents::all(), alone)
        .await;
    if group.signals.lock().exiting.is_some() {
        return Err(Errno::EAGAIN);
    }
    let tid = task.tid();
    if tid != group.pid {
        let mut tree = cx.kernel().tasks.lock();
        tree.tasks.remove(&tid);
        tree.tasks.insert(group.pid, Arc::clone(task));
        task.tid.store(group.pid, Ordering::Relaxed);
        group.links.lock().leader = Some(Arc::clone(task));
    }
    Ok(())
}

/// From here on the old program is lost.
async fn replace(
    cx: &Cx,
    req: &ExecRequest,
    ready: Option<Thread>,
    image: ExecImage,
    creds: Creds,
    secure: bool,
) -> Result<()> {
    let task = &cx.task;
    let group = &task.group;
    // The old program's locks (futex_exec_release).
    crate::syscalls::futex::exit_robust_list(cx).await;
    cx.kernel().futexes.thread_exits(task);
    task.futexes_gone.store(false, Ordering::SeqCst);
    let old_mm = task.mm();
    let shared = old_mm.users() > 1;
    let fresh = shared || secure;
    if fresh {
        group.keep_usage();
        group.borrows_space.store(false, Ordering::Relaxed);
        let mut thread = match ready {
            Some(thread) => thread,
            None => {
                let platform = &cx.kernel().platform;
                platform.spawn().map_err(|_| Errno::ENOMEM)?.1
            }
        };
        thread.set_token(task.cell().token());
        thread.ask_all(task.seccomp.is_on());
        *task.kicker.lock() = Some(thread.kicker());
        let mut slot = cx.thread.lock();
        std::mem::swap(&mut *slot, &mut thread);
        drop(slot);
        // The old host thread ends; the memory goes on with those that share it, or goes.
        clear_child_tid(task, &mut thread, shared);
        if old_mm.leave() {
            thread.actions().exit_process();
        } else {
            thread.actions().exit_thread();
        }
        thread.resume();
        if task.affinity() != cx.kernel().cpus.mask() {
            task.apply_affinity();
        }
    } else {
        let mut thread = cx.thread.lock();
        thread.set_robust_list(0);
        thread.actions().unmap_all();
    }
    task.robust_list.store(0, Ordering::SeqCst);
    task.clear_child_tid.store(0, Ordering::SeqCst);

    let space = Arc::clone(cx.thread.lock().address_space());
    let mm = Arc::new(Mm::new(space));
    *task.mm.lock() = Some(Arc::clone(&mm));
    drop(old_mm);
    let start = image.load(cx, &mm).await?;

    // Descriptors, signals, names.
    let files = task.files();
    let own = if Arc::strong_count(&files) > 2 {
        files.fork()
    } else {
        files
    };
    own.exec();
    *task.files.lock() = own;
    let sighand = group.sighand();
    let private = Arc::new(sighand.fork());
    private.reset_for_exec();
    *group.sighand.lock() = private;
    task.signals.lock().altstack = arch::abi::StackT::DISABLED;
    group.timers.clear_posix(cx.kernel());
    let name = req.path.rsplit(|&b| b == b'/').next().unwrap_or(&[]);
    task.set_name(name);
    group.has_execed.store(true, Ordering::Relaxed);
    let same = creds.euid == creds.uid && creds.egid == creds.gid;
    group.dumpable.store(i32::from(same), Ordering::Relaxed);
    if secure {
        task.pdeath_signal.store(0, Ordering::Relaxed);
    }
    group.exit_signal.store(libc::SIGCHLD, Ordering::Relaxed);
    task.keep_caps.store(false, Ordering::Relaxed);
    task.set_creds(creds);

    {
        let mut thread = cx.thread.lock();
        let fresh = thread.regs();
        thread.set_regs(&systrap::Regs {
            rip: start.entry,
            rsp: start.sp,
            rflags: 0x202,
            cs: fresh.cs,
            ss: fresh.ss,
            ..systrap::Regs::default()
        });
        thread.set_fpstate(&[]).map_err(|_| Errno::ENOMEM)?;
    }
    cx.registers_set();
    group.finish_vfork();
    Ok(())
}

/// A thread that leaves an address space others go on using owes them its clear_child_tid (mm_release).
fn clear_child_tid(task: &Task, thread: &mut systrap::Thread, shared: bool) {
    let addr = task.clear_child_tid.swap(0, Ordering::SeqCst);
    if addr != 0 && shared {
        thread.actions().store_u32(addr, 0, true);
        thread.actions().futex_wake(addr, 1, false);
    }
}

/// A file as the loader reads it. Its first page holds what the loader looks at in turn, mostly all of it: read once.
pub struct FileSource<'a> {
    file: &'a File,
    head: OnceCell<Vec<u8>>,
}

/// How much of a file is read ahead.
const HEAD: usize = 4096;

impl<'a> FileSource<'a> {
    /// Nothing is read yet.
    pub fn new(file: &'a File) -> Self {
        Self {
            file,
            head: OnceCell::new(),
        }
    }

    /// Up to `len` bytes from `offset`, fewer at the file's end only.
    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut sink = crate::user::VecSink::new(len);
        while sink.data.len() < len {
            let at = offset + sink.data.len() as u64;
            if self.file.ops.read(self.file, at, &mut sink)? == 0 {
                break;
            }
        }
        Ok(sink.data)
    }

    fn head(&self) -> Result<&[u8]> {
        if let Some(head) = self.head.get() {
            return Ok(head);
        }
        let head = self.read(0, HEAD)?;
        Ok(self.head.get_or_init(|| head))
    }
}

impl loader::Source for FileSource<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let bytes;
        let data = match usize::try_from(offset) {
            Ok(at) if at.saturating_add(buf.len()) <= HEAD => {
                let head = self.head()?;
                let rest = head.get(at..).unwrap_or(&[]);
                &rest[..rest.len().min(buf.len())]
            }
            _ => {
                bytes = self.read(offset, buf.len())?;
                &bytes[..]
            }
        };
        buf[..data.len()].copy_from_slice(data);
        Ok(data.len())
    }

    fn len(&self) -> u64 {
        self.file
            .ops
            .stat(self.file)
            .map_or(0, |s| u64::try_from(s.size).unwrap_or(0))
    }
}
