//! The life of a task in the kernel: user code, its trap, the answer, and what signals want in between.

use super::{Cx, RestartBlock, Task};
use crate::executor::Executor;
use crate::seccomp::Verdict;
use crate::signal::deliver::{self, Next};
use crate::syscalls::{arg, table};
use arch::Errno;
use arch::abi::{SA_RESTART, SigInfo, SigSet};
use arch::signal::Signal;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use systrap::{Arch, Event, Thread};

/// Instruction length of `syscall`: going back over it restarts the call.
const SYSCALL_LEN: u64 = 2;

/// Makes the future of a new task and starts it. The thread is resumed by the task itself.
pub(crate) fn start(executor: &Executor, task: &Arc<Task>, thread: Thread) {
    let cell = task.cell();
    thread.set_token(cell.token());
    thread.ask_all(task.seccomp.is_on());
    *task.kicker.lock() = Some(thread.kicker());
    let cx = Cx::new(Arc::clone(task), thread);
    let future = super::current::Scoped::new(Arc::clone(task), main(cx));
    executor.start(cell, Box::pin(future));
}

/// The task's loop, from its first entry into user code to its end.
pub(crate) async fn main(cx: Cx) {
    loop {
        match deliver::before_user(&cx).await {
            Next::Resume => {}
            Next::Exit(status) => {
                super::exit::exit_thread(&cx, status).await;
                return;
            }
        }
        let mut event = run_user(&cx).await;
        loop {
            match handle(&cx, event).await {
                Step::Next(Next::Resume) => break,
                Step::Next(Next::Exit(status)) => {
                    super::exit::exit_thread(&cx, status).await;
                    return;
                }
                Step::Event(next) => event = Some(next),
            }
        }
    }
}

/// What comes of an event.
enum Step {
    Next(Next),
    /// The application has gone on already, up to this.
    Event(Event),
}

/// Lets the application run until its next event. `None`: something came up before it could.
async fn run_user(cx: &Cx) -> Option<Event> {
    run_stub(cx, Thread::resume).await
}

/// Performs queued actions, one of which may wait: a signal interrupts it. `None`: one came before it could start, and
/// nothing has been performed.
pub(crate) async fn perform_interruptible(cx: &Cx) -> Option<Event> {
    run_stub(cx, Thread::perform).await
}

async fn run_stub(cx: &Cx, go: impl Fn(&mut Thread)) -> Option<Event> {
    let task = &cx.task;
    let cell = task.cell();
    let mut resumed = false;
    let mut acts = false;
    poll_fn(|_| {
        if !resumed {
            task.in_user.store(true, Ordering::SeqCst);
            if task.attention.load(Ordering::SeqCst) {
                task.in_user.store(false, Ordering::SeqCst);
                return Poll::Ready(());
            }
            cell.take_trapped();
            let mut thread = cx.thread.lock();
            cx.store_result(&mut thread);
            acts = !thread.actions().is_empty();
            if task.identity_stale.load(Ordering::Relaxed) {
                task.identity_stale.store(false, Ordering::Relaxed);
                thread.set_identity(task.identity().as_ref());
            }
            go(&mut thread);
            drop(thread);
            resumed = true;
            // Who set it after the look above may have found the thread still in our hands, where a kick does nothing. From
            // here on one of us two sees what the other wrote.
            if task.attention.load(Ordering::SeqCst) {
                task.kick();
            }
            return Poll::Pending;
        }
        if cell.take_trapped() {
            // A kick that comes late finds a task that looks at its signals anyway.
            task.in_user.store(false, Ordering::Release);
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    resumed.then(|| event(cx, acts))
}

/// Takes the thread's event. Any but ActionFailed shows that its actions, if it had any (`acts`), have been performed.
fn event(cx: &Cx, acts: bool) -> Event {
    let mut thread = cx.thread.lock();
    let event = thread.event();
    cx.trap.take();
    if matches!(event, Event::Syscall { .. }) && !thread.is_fast() {
        cx.trap.set((thread.trap_site(), thread.is_shown()));
    }
    drop(thread);
    if acts && !matches!(event, Event::ActionFailed { .. }) {
        cx.pushed.take();
        cx.task.mm().actions_performed(cx.task.tid());
    }
    event
}

/// Performs queued actions now, without going on with the application. Returns the event that ended it:
/// `Parked` if all went well.
pub(crate) async fn perform(cx: &Cx) -> Event {
    perform_by(cx, Thread::perform, || {}).await
}

/// [`perform`], and `work` while the stub is at it. The thread is not to be touched there.
pub(crate) async fn perform_meanwhile(cx: &Cx, work: impl FnOnce()) -> Event {
    perform_by(cx, Thread::perform, work).await
}

/// The same before a long wait.
pub(crate) async fn perform_and_wait(cx: &Cx) -> Event {
    perform_by(cx, Thread::perform_and_wait, || {}).await
}

async fn perform_by(cx: &Cx, go: impl Fn(&mut Thread), work: impl FnOnce()) -> Event {
    let cell = cx.task.cell();
    let mut work = Some(work);
    poll_fn(|_| {
        if let Some(work) = work.take() {
            cell.take_trapped();
            let mut thread = cx.thread.lock();
            cx.store_result(&mut thread);
            go(&mut thread);
            drop(thread);
            work();
            Poll::Pending
        } else if cell.take_trapped() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    event(cx, true)
}

async fn handle(cx: &Cx, event: Option<Event>) -> Step {
    let Some(event) = event else {
        return Step::Next(Next::Resume);
    };
    if let Event::Syscall { nr, args, arch } = event {
        if cx.task.seccomp.is_on()
            && let Some(step) = filtered(cx, nr, &args, arch).await
        {
            return step;
        }
        return syscall(cx, nr, args, arch).await;
    }
    Step::Next(handle_other(cx, event))
}

/// A call of a thread under seccomp(2), before anything else; `None` if it goes on here.
async fn filtered(cx: &Cx, nr: u64, args: &[u64; 6], arch: Arch) -> Option<Step> {
    if cx.thread.lock().handed_back() {
        return None;
    }
    match crate::seccomp::check(cx, nr, args, arch) {
        Verdict::Allow => {}
        Verdict::Return(value) => {
            cx.thread.lock().set_return(value);
            return Some(Step::Next(Next::Resume));
        }
        Verdict::Trapped => return Some(Step::Next(Next::Resume)),
        Verdict::Exit(status) => return Some(Step::Next(Next::Exit(status))),
    }
    // Or the stub's own, which it was told to ask about first.
    if is_stubs(nr, arch) {
        Some(own_call(cx, nr).await)
    } else {
        None
    }
}

/// Whether the stub makes the call.
fn is_stubs(nr: u64, arch: Arch) -> bool {
    use arch::nr::{FUTEX, FUTEX_REQUEUE, FUTEX_WAITV, FUTEX_WAKE, SCHED_YIELD};
    arch == Arch::X86_64
        && matches!(
            nr,
            FUTEX | FUTEX_WAITV | FUTEX_WAKE..=FUTEX_REQUEUE | SCHED_YIELD
        )
}

/// Gives such a call back to the stub.
async fn own_call(cx: &Cx, nr: u64) -> Step {
    match run_stub(cx, Thread::resume_own_call).await {
        Some(event) => Step::Event(event),
        None => {
            // A signal came first: the call is made once it has been looked at.
            cx.pending_restart.set((Errno::ERESTARTNOINTR, nr));
            Step::Next(Next::Resume)
        }
    }
}

/// Brings the FPU state of a thread that came without a signal into its frame, where signals need it.
pub(crate) async fn fetch_state(cx: &Cx) -> Next {
    cx.thread.lock().fetch();
    let event = perform(cx).await;
    handle_other(cx, event)
}

fn handle_other(cx: &Cx, event: Event) -> Next {
    match event {
        // None comes from a thread that only performs.
        Event::Syscall { .. } => Next::Resume,
        Event::Fault {
            signo,
            code,
            addr,
            trapno,
            err,
        } => {
            fault(cx, signo, code, addr, trapno, err);
            Next::Resume
        }
        Event::Kick | Event::Parked => Next::Resume,
        Event::FutexInterrupted {
            nr,
            args,
            elapsed_ns,
        } => {
            let result = crate::syscalls::futex::interrupted(cx, nr, args, elapsed_ns);
            finish(cx, nr, result);
            Next::Resume
        }
        Event::ActionFailed { index, errno } => {
            action_failed(cx, index, Errno::from_raw(errno).unwrap_or(Errno::ENOMEM));
            Next::Resume
        }
        Event::WriteBackFault { addr } => {
            write_back_fault(cx, addr);
            Next::Resume
        }
        Event::Dead { status } => {
            tracing::debug!(tid = cx.task.tid(), status, "the stub process died");
            // Or only the thread was never made (clone.rs).
            if cx.task.mm().space.is_dead() {
                super::exit::begin_group_exit(&cx.task.group, libc::SIGKILL);
            }
            Next::Exit(libc::SIGKILL)
        }
        Event::Violation(what) => {
            tracing::debug!(tid = cx.task.tid(), what, "the stub broke the protocol");
            super::exit::begin_group_exit(&cx.task.group, libc::SIGKILL);
            Next::Exit(libc::SIGKILL)
        }
    }
}

async fn syscall(cx: &Cx, nr: u64, args: [u64; 6], arch: Arch) -> Step {
    cx.kernel().counters.syscall(nr);
    crate::fs::host::begin_call();
    let (site, shown) = cx.trap.take().unwrap_or_default();
    if let Some(site) = site {
        cx.task.mm().patch(cx, site).await;
    }
    if shown && is_stubs(nr, arch) {
        return own_call(cx, nr).await;
    }
    let trace = crate::strace::enter(cx, nr, &args);
    let result = match arch {
        Arch::X86_64 => table::dispatch(cx, nr, &args).await,
        Arch::I386 | Arch::X32 => Err(Errno::ENOSYS),
    };
    if result == Err(Errno::ENOSYS) {
        cx.kernel().counters.unimplemented(nr);
    }
    crate::strace::exit(cx, trace, &result);
    // Whoever wants the task's end pokes it.
    if cx.task.interrupted()
        && let Some(status) = cx.task.exit_request()
    {
        return Step::Next(Next::Exit(status));
    }
    cx.answered.set(nr, &args);
    finish(cx, nr, result);
    Step::Next(Next::Resume)
}

/// Output that could not be written. The VMA map had said that it could: the application raced with itself, or a file has
/// been cut under its mapping. A call gets EFAULT, or what it had read up to there; a signal's frame is a SIGSEGV.
fn write_back_fault(cx: &Cx, addr: u64) {
    let Some((nr, [_, buf])) = cx.answered.take() else {
        let info = SigInfo::fault(Signal::SIGSEGV, arch::abi::SEGV_MAPERR, addr);
        crate::signal::send::force(&cx.task, info);
        return;
    };
    let mut thread = cx.thread.lock();
    let whole = thread.regs().rax;
    let partial = match nr {
        arch::nr::READ | arch::nr::PREAD64 => {
            addr.checked_sub(buf).filter(|n| (1..whole).contains(n))
        }
        _ => None,
    };
    thread.set_return(arg::encode(partial.ok_or(Errno::EFAULT)));
}

/// Puts a result where the application finds it. A restart code stays in the context until signals have been looked at.
fn finish(cx: &Cx, nr: u64, result: arch::Result<u64>) {
    match result {
        Err(e) if e.is_restart() => cx.pending_restart.set((e, nr)),
        // rt_sigreturn(2) and execve(2) have set all registers.
        Ok(_) if cx.take_registers_set() => {}
        other => cx.set_result(arg::encode(other)),
    }
}

/// What a restart code turns into (arch_do_signal_or_restart): with a handler about to run, EINTR for some classes.
pub(crate) fn resolve_restart(cx: &Cx, handler: Option<u64>) {
    let Some((code, nr)) = cx.pending_restart.take() else {
        return;
    };
    let restart = match (code, handler) {
        (Errno::ERESTARTNOINTR, _) | (_, None) => true,
        (Errno::ERESTARTSYS, Some(flags)) => flags & SA_RESTART != 0,
        (_, Some(_)) => false,
    };
    let mut thread = cx.thread.lock();
    if !restart {
        thread.set_return(arg::encode(Err(Errno::EINTR)));
        return;
    }
    let mut regs = thread.regs();
    regs.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
    regs.rax = if code == Errno::ERESTART_RESTARTBLOCK {
        arch::nr::RESTART_SYSCALL
    } else {
        nr
    };
    thread.set_regs(&regs);
}

fn fault(cx: &Cx, signo: i32, code: i32, addr: u64, trapno: u64, err: u64) {
    if signo == libc::SIGSEGV
        && code == arch::abi::SEGV_MAPERR
        && cx.task.mm().grow_stack(cx, addr, err)
    {
        return;
    }
    // The host knows the address space as it is; what it reports is what Linux would have reported.
    // A trap's code and address come from the host too.
    let signal = Signal::from_raw(signo)
        .filter(|s| SigSet::SYNCHRONOUS.contains(*s))
        .unwrap_or(Signal::SIGSEGV);
    crate::signal::send::force(&cx.task, SigInfo::fault(signal, code, addr));
    cx.task.last_fault.lock().replace((trapno, err, addr));
}

fn action_failed(cx: &Cx, index: usize, errno: Errno) {
    if deliver::frame_failed(cx) {
        return;
    }
    let answer = cx.task.mm().action_failed(cx, index, errno);
    // A clone(2) whose host clone failed never happened.
    if let Some(child) = cx.pending_child.take() {
        super::clone::undo(cx, &child);
    }
    if let Some(answer) = answer {
        cx.thread.lock().set_return(arg::encode(answer));
    }
}

/// restart_syscall(2): goes on with what the restart block holds.
pub async fn restart_syscall(cx: &Cx) -> arch::Result<u64> {
    let block = cx.restart.take();
    match block {
        Some(RestartBlock::Nanosleep {
            clock,
            deadline,
            rem,
        }) => crate::syscalls::time::restart_sleep(cx, clock, deadline, rem)
            .await
            .map(|()| 0),
        Some(RestartBlock::Poll {
            fds,
            nfds,
            deadline,
        }) => crate::syscalls::poll::restart_poll(cx, fds, nfds, deadline)
            .await
            .map(|n| n as u64),
        Some(RestartBlock::Futex {
            addr,
            val,
            deadline,
            op,
            bitset,
        }) => crate::syscalls::futex::wait_until(cx, addr, val, deadline, op, bitset).await,
        None => Err(Errno::EINTR),
    }
}
