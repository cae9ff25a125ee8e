//! The first process of a container.

use crate::config::StartError;
use crate::kernel::Kernel;
use crate::mm::Mm;
use crate::task::current::Scoped;
use crate::task::exec::{ExecRequest, exec};
use crate::task::group::NewGroup;
use crate::task::tree::Rlimits;
use crate::task::{Creds, Cx, NewTask, Pid, ProcessGroup, Session, Task, ThreadGroup};
use crate::vfs::walk::{At, WalkFlags};
use crate::vfs::{FdTable, File, FsContext, open};
use arch::Errno;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the first process is made of.
pub struct Init {
    pub fs: Arc<FsContext>,
    pub files: Arc<FdTable>,
    pub creds: Creds,
    pub rlimits: Rlimits,
    pub no_new_privs: bool,
    pub oom_score_adj: i32,
    /// Never empty.
    pub args: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
    /// Its controlling terminal.
    pub terminal: Option<Arc<crate::tty::Tty>>,
}

/// The outcome of the first execve, for the one who waits for it.
#[derive(Default)]
struct Started {
    result: Mutex<Option<Result<(), Errno>>>,
    done: Condvar,
}

/// Where `PATH` has no say (execvp(3)).
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program that `args[0]` means, opened, and its path.
fn find_program(cx: &Cx, init: &Init) -> Result<(Arc<File>, Vec<u8>), StartError> {
    let name = &init.args[0];
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let env = cx.env();
    let try_open = |path: &[u8]| open::open_exec(&env, &At::Cwd, path, WalkFlags::FOLLOW);
    if name.contains(&b'/') {
        return match try_open(name) {
            Ok(file) => Ok((file, name.clone())),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Err(StartError::NotFound {
                program: show(name),
                tried: vec![show(name)],
            }),
            Err(errno) => Err(StartError::NotExecutable {
                program: show(name),
                errno,
            }),
        };
    }
    let path = init
        .env
        .iter()
        .find_map(|e| e.strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut tried = Vec::new();
    let mut refused = None;
    for dir in path.split(|b| *b == b':').filter(|_| !name.is_empty()) {
        let mut candidate = if dir.is_empty() {
            b".".to_vec()
        } else {
            dir.to_vec()
        };
        candidate.push(b'/');
        candidate.extend_from_slice(name);
        match try_open(&candidate) {
            Ok(file) => return Ok((file, candidate)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => refused = refused.or(Some((candidate.clone(), errno))),
        }
        tried.push(show(&candidate));
    }
    match refused {
        Some((path, errno)) => Err(StartError::NotExecutable {
            program: show(&path),
            errno,
        }),
        None => Err(StartError::NotFound {
            program: show(name),
            tried,
        }),
    }
}

/// Makes the first process and has it execute its program. Returns when it has, or could not; the threads must be running.
pub fn start(kernel: &Arc<Kernel>, init: Init) -> Result<(), StartError> {
    let setup = |what: &str, e: &dyn std::fmt::Display| StartError::Setup(format!("{what}: {e}"));
    let (space, thread) = kernel
        .platform
        .spawn()
        .map_err(|e| setup("the first process's stub could not be made", &e))?;
    let pid: Pid = kernel
        .tasks
        .lock()
        .alloc_pid()
        .map_err(|e| setup("no process id", &e))?;
    let session = Session::new(pid);
    let group = ThreadGroup::new(NewGroup {
        pid,
        kernel: Arc::downgrade(kernel),
        parent: std::sync::Weak::new(),
        parent_thread: std::sync::Weak::new(),
        pgrp: Arc::new(ProcessGroup { id: pid, session }),
        sighand: Arc::default(),
        rlimits: init.rlimits,
        exit_signal: 0,
    });
    if let Some(terminal) = &init.terminal {
        terminal.make_controlling(&group.pgrp());
    }
    group
        .oom_score_adj
        .store(init.oom_score_adj, Ordering::Relaxed);
    let task = Task::new(NewTask {
        tid: pid,
        group: Arc::clone(&group),
        kernel: Arc::clone(kernel),
        mm: Arc::new(Mm::new(space)),
        fs: Arc::clone(&init.fs),
        files: Arc::clone(&init.files),
        creds: Arc::new(init.creds.clone()),
        name: b"runsc-init".to_vec(),
    });
    task.no_new_privs
        .store(init.no_new_privs, Ordering::Relaxed);
    let cell = kernel.executor.reserve();
    let _ = task.cell.set(Arc::clone(&cell));
    thread.set_token(cell.token());
    *task.kicker.lock() = Some(thread.kicker());
    let cx = Cx::new(Arc::clone(&task), thread);
    let (file, path) = match find_program(&cx, &init) {
        Ok(found) => found,
        Err(e) => {
            kernel.executor.discard(&cell);
            return Err(e);
        }
    };
    {
        let mut tree = kernel.tasks.lock();
        tree.tasks.insert(pid, Arc::clone(&task));
        tree.groups.insert(pid, Arc::clone(&group));
        tree.live_processes += 1;
        let mut links = group.links.lock();
        links.threads.push(Arc::clone(&task));
        links.leader = Some(Arc::clone(&task));
    }
    crate::time::cpu::watch_limit(&group);
    let program = String::from_utf8_lossy(&path).into_owned();
    let request = ExecRequest {
        file,
        path,
        argv: init.args,
        envp: init.env,
        inaccessible: false,
    };
    let started = Arc::new(Started::default());
    let report = Arc::clone(&started);
    let first = async move {
        let result = exec(&cx, request).await;
        let failed = result.is_err();
        *report.result.lock() = Some(result);
        report.done.notify_all();
        if failed {
            crate::task::exit::exit_thread(&cx, 127 << 8).await;
            return;
        }
        cx.take_registers_set();
        crate::task::run::main(cx).await;
    };
    let future = Scoped::new(task, first);
    kernel.executor.start(&cell, Box::pin(future));
    let mut result = started.result.lock();
    loop {
        match result.take() {
            Some(Ok(())) => return Ok(()),
            Some(Err(errno)) => return Err(StartError::NotExecutable { program, errno }),
            None => started.done.wait(&mut result),
        }
    }
}
