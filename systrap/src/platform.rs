//! The platform of one sandbox.

use std::io;
use std::sync::Arc;

use crate::{AddressSpace, Thread, Token};

/// How to set up a [`Platform`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Never spin while waiting (tight CPU quotas). Found out by itself from
    /// the cgroup's `cpu.max` too.
    pub no_spin: bool,
}

/// Numbers for metrics and for tuning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub traps: u64,
    pub wakes: u64,
    pub sleeps: u64,
    pub spin_hits: u64,
    pub spin_misses: u64,
    pub violations: u64,
    pub kicks: u64,
}

/// All stub processes of one sandbox. Send + Sync; used as `Arc<Platform>`.
pub struct Platform {}

impl Platform {
    /// Forks the zygote. To be called while the process is single-threaded,
    /// before it is jailed.
    pub fn new(_opts: &Options) -> io::Result<Arc<Platform>> {
        panic!("not there yet")
    }

    /// A fresh address space from the pristine zygote, empty but for the
    /// stub area. Its one thread is in the Sentry's hands, as if it had
    /// trapped, with all registers zero: set them and resume it.
    pub fn spawn(&self) -> io::Result<(Arc<AddressSpace>, Thread)> {
        panic!("not there yet")
    }

    /// Workers that should run: one per CPU in the affinity mask.
    pub fn workers(&self) -> usize {
        panic!("not there yet")
    }

    /// To be called once by each worker's thread before its first `wait`:
    /// pins it to its CPU.
    pub fn enter_worker(&self, _worker: usize) {
        panic!("not there yet")
    }

    /// Appends the tokens of threads that have an event. Blocks (spins or
    /// sleeps, by policy) until there is at least one, or `wake` was called;
    /// may return with none.
    pub fn wait(&self, _worker: usize, _out: &mut Vec<Token>) {
        panic!("not there yet")
    }

    /// As `wait`, with an upper bound. For timer-driven executors.
    pub fn wait_timeout(
        &self,
        _worker: usize,
        _out: &mut Vec<Token>,
        _max: Option<std::time::Duration>,
    ) {
        panic!("not there yet")
    }

    /// Appends the tokens of threads that have an event now.
    pub fn poll(&self, _worker: usize, _out: &mut Vec<Token>) {
        panic!("not there yet")
    }

    /// Gets one worker out of `wait`, the cheapest one. Never blocks. If all
    /// workers are busy, the next `wait` returns at once.
    pub fn wake(&self) {
        panic!("not there yet")
    }

    /// Reaps dead stub processes (to be called on SIGCHLD) and appends the
    /// tokens of their threads that were running; these report `Dead`.
    pub fn reap(&self, _out: &mut Vec<Token>) {
        panic!("not there yet")
    }

    /// Where the host's vDSO is mapped in every stub (above `TASK_SIZE`),
    /// usable there as it is: address of its ELF header. None if the host
    /// has none.
    pub fn vdso(&self) -> Option<u64> {
        panic!("not there yet")
    }

    pub fn counters(&self) -> Counters {
        panic!("not there yet")
    }
}
