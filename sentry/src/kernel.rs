//! The kernel of one sandbox: what all its tasks share.

use crate::config::HostHandles;
use crate::executor::{Executor, Reactor, Timers};
use crate::task::Tasks;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use systrap::Platform;

/// A sandbox's kernel.
pub struct Kernel {
    /// Stubs and traps.
    pub platform: Arc<Platform>,
    /// Runs the tasks.
    pub executor: Executor,
    /// Host descriptors.
    pub reactor: Arc<Reactor>,
    /// Deadlines.
    pub timers: Timers,
    /// Who opens device nodes and FIFOs.
    pub devices: crate::vfs::DeviceRegistry,
    /// Terminals.
    pub terminals: crate::tty::Terminals,
    /// POSIX message queues.
    pub mqueue: crate::fs::mqueue::MqueueFs,
    /// System V semaphores.
    pub semaphores: Arc<crate::ipc::sem::Table>,
    /// System V message queues.
    pub messages: crate::ipc::msg::Table,
    /// System V shared memory.
    pub shm: Arc<crate::mm::shm::Table>,
    /// Texts that processes share.
    pub texts: Arc<crate::mm::Texts>,
    /// Futexes that the kernel takes part in.
    pub futexes: crate::task::futex::Futexes,
    /// Ports, connections, interfaces.
    pub net: Arc<crate::net::inet::Stack>,
    /// Abstract names of Unix sockets.
    pub unix: Arc<crate::net::unix::Namespace>,
    /// The process tree.
    pub tasks: Mutex<Tasks>,
    /// uname(2)'s names.
    pub uts: Mutex<UtsNames>,
    /// CPUs that applications see.
    pub cpus: Cpus,
    /// The first process takes no signal from inside that it has no handler for.
    pub protect_init: bool,
    /// How often each call was made.
    pub counters: Counters,
    /// When the sandbox started, nanoseconds of CLOCK_BOOTTIME.
    pub boot_time: u64,
    /// Pieces of the host that /proc shows.
    pub host: HostHandles,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: [u8; 16],
    /// The wait status of the first process, once it has ended.
    exited: Mutex<Option<i32>>,
    stop: Arc<std::os::fd::OwnedFd>,
    done: Condvar,
}

/// sethostname(2), setdomainname(2).
#[derive(Clone, Default)]
pub struct UtsNames {
    pub hostname: Vec<u8>,
    pub domainname: Vec<u8>,
}

/// The CPUs of the sandbox: those that the Sentry itself may use.
pub struct Cpus {
    mask: Vec<u8>,
}

impl Cpus {
    fn new() -> Self {
        Self {
            mask: crate::host::sys::affinity(),
        }
    }

    /// One bit each.
    pub fn mask(&self) -> Vec<u8> {
        self.mask.clone()
    }

    /// One more than the highest number.
    pub fn count(&self) -> usize {
        let top = self.mask.iter().rposition(|b| *b != 0).unwrap_or(0);
        top * 8 + 8 - self.mask[top].leading_zeros() as usize
    }

    /// How many there are.
    pub fn usable(&self) -> usize {
        self.mask.iter().map(|b| b.count_ones() as usize).sum()
    }
}

/// Calls made, by number.
pub struct Counters {
    /// By thread that counts, so that workers don't fight for the lines.
    made: [Box<[AtomicU64]>; SHARDS],
    unimplemented: Box<[AtomicU64]>,
}

/// Numbers counted one by one; those above share the last place.
const COUNTED: usize = 512;
/// Sets of counters.
const SHARDS: usize = 8;

thread_local! {
    /// The set that this thread counts in. The last is for all that come late.
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed).min(SHARDS - 1)
    };
}

impl Default for Counters {
    fn default() -> Self {
        let zeros = || (0..COUNTED).map(|_| AtomicU64::new(0)).collect();
        Self {
            made: std::array::from_fn(|_| zeros()),
            unimplemented: zeros(),
        }
    }
}

fn place(nr: u64) -> usize {
    usize::try_from(nr).map_or(COUNTED - 1, |n| n.min(COUNTED - 1))
}

impl Counters {
    /// A call was made.
    pub fn syscall(&self, nr: u64) {
        let own = SHARD.with(|s| *s);
        let word = &self.made[own][place(nr)];
        if own == SHARDS - 1 {
            word.fetch_add(1, Ordering::Relaxed);
        } else {
            // Nobody else writes it.
            word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// A call was answered with ENOSYS.
    pub fn unimplemented(&self, nr: u64) {
        self.unimplemented[place(nr)].fetch_add(1, Ordering::Relaxed);
    }

    /// Calls answered with ENOSYS: number and how often.
    pub fn missing(&self) -> Vec<(u64, u64)> {
        let counts = self.unimplemented.iter().map(|c| c.load(Ordering::Relaxed));
        (0..).zip(counts).filter(|(_, n)| *n > 0).collect()
    }

    /// All calls made.
    pub fn total(&self) -> u64 {
        self.made
            .iter()
            .flatten()
            .map(|c| c.load(Ordering::Relaxed))
            .sum()
    }
}

impl Kernel {
    /// A kernel without tasks.
    pub fn new(
        platform: Arc<Platform>,
        uts: UtsNames,
        protect_init: bool,
        host: HostHandles,
    ) -> std::io::Result<Arc<Self>> {
        let boot = crate::host::event::clock_ns(libc::CLOCK_BOOTTIME).unwrap_or(0);
        Ok(Arc::new(Self {
            executor: Executor::new(&platform),
            texts: crate::mm::Texts::new(&platform),
            platform,
            reactor: Reactor::new()?,
            timers: Timers::new()?,
            terminals: crate::tty::Terminals::default(),
            mqueue: crate::fs::mqueue::MqueueFs::default(),
            semaphores: crate::ipc::sem::Table::new(),
            messages: crate::ipc::msg::Table::default(),
            shm: crate::mm::shm::Table::new(),
            futexes: crate::task::futex::Futexes::default(),
            net: Arc::default(),
            tasks: Mutex::default(),
            uts: Mutex::new(uts),
            cpus: Cpus::new(),
            protect_init,
            counters: Counters::default(),
            devices: {
                let devices = crate::vfs::DeviceRegistry::default();
                devices.set_fifo(Arc::new(crate::event::pipe::fifo::open));
                crate::fs::dev::register(&devices);
                devices
            },
            unix: Arc::default(),
            boot_time: u64::try_from(boot).unwrap_or(0),
            host,
            boot_id: {
                let mut id = [0; 16];
                let _ = crate::host::sys::random(&mut id);
                id
            },
            exited: Mutex::new(None),
            stop: Arc::new(crate::host::event::eventfd()?),
            done: Condvar::new(),
        }))
    }

    /// The first process has ended: so does the sandbox.
    pub(crate) fn init_exited(&self, status: i32) {
        self.exited.lock().get_or_insert(status);
        self.done.notify_all();
    }

    /// Readable once the Sentry's threads are to end.
    pub(crate) fn stop_event(&self) -> Arc<std::os::fd::OwnedFd> {
        Arc::clone(&self.stop)
    }

    /// Waits for the end of the first process; its wait status.
    pub fn wait_for_init(&self) -> i32 {
        let mut exited = self.exited.lock();
        loop {
            if let Some(status) = *exited {
                return status;
            }
            self.done.wait(&mut exited);
        }
    }

    /// Load averages as sysinfo(2) has them: the host's, which the sandbox's CPUs are part of.
    pub fn loads(&self) -> [u64; 3] {
        crate::host::sys::sysinfo().loads
    }
}
