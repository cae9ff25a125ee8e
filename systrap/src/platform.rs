//! The platform of one sandbox.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::core::Core;
use crate::layout;
use crate::zygote::{self, Zygote};
use crate::{AddressSpace, Counters, Thread, Token};

/// How to set up a [`Platform`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Never spin while waiting. (A tight CPU quota of the cgroup, or a single
    /// CPU, is found out without this.)
    pub no_spin: bool,
    /// Don't use FSGSBASE even if the host has it: segment bases are then set
    /// by arch_prctl(2), as on hosts without. For tests.
    pub no_fsgsbase: bool,
    /// Rewrite a call site once it has trapped so many times (at least one) in
    /// its process, so that it enters the stub without a signal. None: never.
    /// Needs FSGSBASE; without, nothing is rewritten.
    pub patch_after: Option<u32>,
    /// Have stubs show now and then, as a `Syscall` event, a trapped call that
    /// they could answer themselves ([`crate::Thread::is_shown`]), so that its
    /// site can be rewritten too.
    pub show_own_calls: bool,
}

/// All stub processes of one sandbox. Send + Sync; used as `Arc<Platform>`.
pub struct Platform {
    core: Arc<Core>,
    zygote: Mutex<Zygote>,
    /// Of the vDSO's ELF header in every stub.
    vdso: Option<u64>,
}

impl Platform {
    /// Forks the zygote. To be called while the process is single-threaded,
    /// and before it is jailed (it reads /proc/self/maps and cgroup files).
    pub fn new(opts: &Options) -> io::Result<Arc<Platform>> {
        let parts = zygote::vdso_mappings()?;
        let core = Arc::new(Core::new(opts, parts.iter().map(|p| p.1).collect())?);
        let zygote = Zygote::start(&core, &parts)?;
        let before_last: u64 = parts.iter().rev().skip(1).map(|p| p.1).sum();
        Ok(Arc::new(Platform {
            core,
            zygote: Mutex::new(zygote),
            vdso: (!parts.is_empty()).then_some(layout::VDSO + before_last),
        }))
    }

    /// A fresh address space from the pristine zygote, empty but for the
    /// stub area. Its one thread is in the Sentry's hands, as if it had
    /// trapped, with all registers zero: set them and resume it. Takes about
    /// as long as a fork.
    pub fn spawn(&self) -> io::Result<(Arc<AddressSpace>, Thread)> {
        self.zygote.lock().spawn()
    }

    /// Another [`Platform::spawn`] will come: has the process made ahead of
    /// it, and doesn't wait. One at most is kept.
    pub fn spawn_ahead(&self) {
        // Whoever holds the lock is just making one.
        if let Some(mut zygote) = self.zygote.try_lock() {
            zygote.spawn_ahead();
        }
    }

    /// Workers that should run: one per CPU in the affinity mask.
    pub fn workers(&self) -> usize {
        self.core.policy.workers()
    }

    /// To be called once by each worker's thread before its first `wait`:
    /// pins it to its CPU. Fewer than `workers()` may run.
    pub fn enter_worker(&self, worker: usize) {
        self.core.enter_worker(worker);
    }

    /// To be called by a worker's thread when it ends: nobody counts on it any
    /// longer.
    pub fn leave_worker(&self, worker: usize) {
        self.core.leave_worker(worker);
    }

    /// Appends the tokens of threads that have an event. Blocks (spins or
    /// sleeps, by policy) until there is at least one, or `wake` was called;
    /// may return with none.
    pub fn wait(&self, worker: usize, out: &mut Vec<Token>) {
        self.core.wait(worker, out, None);
    }

    /// As `wait`, but returns after `max` at the latest. For executors with
    /// timers.
    pub fn wait_timeout(&self, worker: usize, out: &mut Vec<Token>, max: Option<Duration>) {
        self.core.wait(worker, out, max);
    }

    /// Appends the tokens of threads that have an event now.
    pub fn poll(&self, _worker: usize, out: &mut Vec<Token>) {
        crate::watch::poll(out);
        self.core.poll(out);
    }

    /// Gets one worker out of `wait`, the cheapest one. Never blocks. If all
    /// workers are busy, the next `wait` returns at once.
    pub fn wake(&self) {
        self.core.wake();
    }

    /// Reaps dead stub processes (to be called on SIGCHLD) and appends the
    /// tokens of their threads that were running; these report `Dead`.
    ///
    /// True: a process ended that may be a child that never said hello. Call
    /// again, [`Platform::resolve`] suffices, some milliseconds later.
    pub fn reap(&self, out: &mut Vec<Token>) -> bool {
        self.core.reap(out)
    }

    /// Looks whether fork children have said hello or never will; the threads
    /// of the latter report `Dead` through [`Platform::wait`].
    pub fn resolve(&self) {
        self.core.resolve_all();
    }

    /// Where the host's vDSO is mapped in every stub (above `TASK_SIZE`, and
    /// usable there as it is): address of its ELF header. None if the host
    /// has none.
    pub fn vdso(&self) -> Option<u64> {
        self.vdso
    }

    /// Length in bytes of the vDSO with its data pages before it, as
    /// [`crate::Actions::move_vdso`] maps them, and the offset of the ELF
    /// header in it.
    pub fn vdso_len(&self) -> (u64, u64) {
        let parts = &self.core.vdso_parts;
        (parts.iter().sum(), parts.iter().rev().skip(1).sum())
    }

    /// Whether call sites are rewritten.
    pub fn rewrites(&self) -> bool {
        self.core.patching().is_some()
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub fn counters(&self) -> Counters {
        self.core.counts.snapshot()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        crate::watch::stop();
        self.zygote.lock().end();
    }
}
