//! The Sentry's own threads: one worker for each CPU, and the reactor.

use crate::executor::{Listener, PollEvents, TimerId, TimerTarget};
use crate::host::event::{monotonic_ns, signalfd_sigchld};
use crate::kernel::Kernel;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};

/// Stack of a worker, bytes. Futures live on the heap; what is here is one poll's.
const WORKER_STACK: usize = 512 << 10;

/// The running threads.
pub struct Threads {
    kernel: Arc<Kernel>,
    stop: Arc<AtomicBool>,
    handles: Vec<JoinHandle<()>>,
}

/// Expires timers when their descriptor is readable.
struct Clock(Arc<Kernel>);

impl Listener for Clock {
    fn notify(&self, _: PollEvents) -> bool {
        self.0.timers.expire(monotonic_ns());
        true
    }
}

/// Reaps stubs when one has died.
struct Reaper {
    kernel: Arc<Kernel>,
    fd: Arc<OwnedFd>,
}

/// Looks later, and at growing distances, for the fork child that ended before it said who it is.
struct Straggler {
    kernel: Weak<Kernel>,
    after: u64,
}

/// Nanoseconds to the first such look and to the last.
const STRAGGLER: (u64, u64) = (2_000_000, 2_000_000_000);

impl Straggler {
    fn arm(kernel: &Arc<Kernel>, after: u64) {
        let target = Arc::new(Self {
            kernel: Arc::downgrade(kernel),
            after,
        });
        kernel.timers.add(monotonic_ns() + after, target);
    }
}

impl TimerTarget for Straggler {
    fn expired(&self, _: TimerId) {
        if let Some(kernel) = self.kernel.upgrade() {
            kernel.platform.resolve();
            if self.after < STRAGGLER.1 {
                Self::arm(&kernel, self.after * 4);
            }
        }
    }
}

impl Listener for Reaper {
    fn notify(&self, _: PollEvents) -> bool {
        crate::host::event::drain(&self.fd);
        let mut tokens = Vec::new();
        if self.kernel.platform.reap(&mut tokens) {
            Straggler::arm(&self.kernel, STRAGGLER.0);
        }
        self.kernel.executor.report(&tokens);
        true
    }
}

/// Wakes the reactor so that it sees the stop flag.
struct Nudge;

impl Listener for Nudge {
    fn notify(&self, _: PollEvents) -> bool {
        true
    }
}

impl Threads {
    /// Starts them. SIGCHLD is blocked in the calling thread, and so in all that it starts: the reactor reads it
    /// from a descriptor.
    pub fn start(kernel: &Arc<Kernel>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let sigchld = Arc::new(signalfd_sigchld()?);
        let mut handles = Vec::new();
        for index in 0..kernel.platform.workers() {
            let (kernel, stop) = (Arc::clone(kernel), Arc::clone(&stop));
            let thread = Builder::new()
                .name(format!("worker-{index}"))
                .stack_size(WORKER_STACK);
            handles.push(thread.spawn(move || {
                kernel.platform.enter_worker(index);
                kernel.executor.work(&kernel.platform, index, &stop);
            })?);
        }
        let reactor = Arc::clone(kernel);
        let stopping = Arc::clone(&stop);
        let clock = kernel.reactor.watch(
            kernel.timers.fd_shared(),
            Arc::new(Clock(Arc::clone(kernel))),
        )?;
        let reaper = Reaper {
            kernel: Arc::clone(kernel),
            fd: Arc::clone(&sigchld),
        };
        let reaper = kernel.reactor.watch(sigchld, Arc::new(reaper))?;
        let nudge = kernel.reactor.watch(kernel.stop_event(), Arc::new(Nudge))?;
        handles.push(
            Builder::new()
                .name("reactor".into())
                .stack_size(WORKER_STACK)
                .spawn(move || {
                    let _watches = (clock, reaper, nudge);
                    while !stopping.load(Ordering::Acquire) {
                        reactor
                            .reactor
                            .turn(|round| reactor.executor.run_and_drain(round));
                    }
                })?,
        );
        Ok(Self {
            kernel: Arc::clone(kernel),
            stop,
            handles,
        })
    }

    /// Ends them.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        crate::host::event::signal_event(&self.kernel.stop_event());
        for handle in self.handles {
            while !handle.is_finished() {
                self.kernel.platform.wake();
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            let _ = handle.join();
        }
    }
}
