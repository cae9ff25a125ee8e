//! A tiny Sentry for tests: loads hand-written machine code and drives it.
#![allow(dead_code)] // every user takes what it needs

use std::sync::Arc;
use std::time::{Duration, Instant};

use systrap::{AddressSpace, Event, Options, Patched, Platform, Thread, Token};

/// Where test code is loaded, its data page, and the end of its stack.
pub const CODE: u64 = 0x40_0000;
pub const DATA: u64 = 0x80_0000;
pub const STACK_END: u64 = 0xa0_0000;
/// Room for trampolines.
pub const AREA: u64 = 0x20_0000;

pub const RW: u32 = 3;
pub const RX: u32 = 5;
pub const RWX: u32 = 7;

/// Machine code written with the assembler: `code!(name, "mov eax, 1", …)`
/// defines a function that returns its bytes.
#[macro_export]
macro_rules! code {
    ($name:ident, $($line:expr),* $(,)?) => {
        std::arch::global_asm!(
            concat!(".pushsection .rodata.", stringify!($name), ",\"a\""),
            concat!("code_", stringify!($name), "_begin:"),
            $($line,)*
            concat!("code_", stringify!($name), "_end:"),
            ".popsection",
        );
        fn $name() -> &'static [u8] {
            let (begin, end): (usize, usize);
            // SAFETY: addresses of two labels.
            unsafe {
                std::arch::asm!(
                    concat!("lea {}, [rip + code_", stringify!($name), "_begin]"),
                    concat!("lea {}, [rip + code_", stringify!($name), "_end]"),
                    out(reg) begin, out(reg) end,
                );
                std::slice::from_raw_parts(begin as *const u8, end - begin)
            }
        }
    };
}

/// Waits for what nothing notifies of.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}: not in {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// How many threads a process has.
pub fn thread_count(pid: i32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    tasks.expect("task").count()
}

/// How long an event, or anything else, may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Vm {
    pub platform: Arc<Platform>,
    pub tokens: Vec<Token>,
    next: u64,
    /// Of this thread before it became a worker.
    affinity: libc::cpu_set_t,
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: a plain bit set.
        unsafe {
            libc::sched_setaffinity(0, size_of_val(&self.affinity), &raw const self.affinity);
        }
    }
}

impl Vm {
    pub fn new() -> Vm {
        Vm::with(&Options::default())
    }

    /// Rewrites call sites at their first trap ([`Vm::patch`]).
    pub fn patching() -> Vm {
        Vm::with(&Options {
            patch_after: Some(1),
            ..Options::default()
        })
    }

    /// To be called between an event and the answer.
    pub fn patch(&mut self, p: &mut Proc) -> Option<Patched> {
        p.thread
            .trap_site()
            .map(|site| p.thread.patch(site, CODE..CODE + 0x1_0000))
    }

    pub fn with(opts: &Options) -> Vm {
        let platform = Platform::new(opts).expect("platform");
        // SAFETY: a plain bit set, which the call fills.
        let affinity = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
            set
        };
        platform.enter_worker(0);
        Vm {
            affinity,
            platform,
            tokens: Vec::new(),
            next: 1,
        }
    }

    /// Gives a thread a token of its own.
    pub fn name(&mut self, t: &Thread) -> Token {
        let token = Token(self.next);
        self.next += 1;
        t.set_token(token);
        token
    }

    /// A process with `code` at CODE, a data page and a stack, about to start.
    pub fn load(&mut self, code: &[u8]) -> Proc {
        let (space, mut thread) = self.platform.spawn().expect("spawn");
        let token = self.name(&thread);
        let mut a = thread.actions();
        assert!(a.mmap_anon(CODE, 0x1_0000, RWX, 0));
        assert!(a.mmap_anon(DATA, 0x1_0000, RW, 0));
        assert!(a.mmap_anon(STACK_END - 0x1_0000, 0x1_0000, RW, 0));
        assert!(a.mmap_anon(AREA, systrap::code_area_len(), RX, 0));
        thread.add_code_area(AREA);
        thread.perform();
        let mut p = Proc {
            space,
            thread,
            token,
        };
        assert_eq!(self.event(&mut p), Event::Parked);
        assert_eq!(p.space.write(CODE, code), code.len());
        let mut r = p.thread.regs();
        r.rip = CODE;
        r.rsp = STACK_END - 64;
        p.thread.set_regs(&r);
        p
    }

    /// Loads and starts.
    pub fn start(&mut self, code: &[u8]) -> Proc {
        let mut p = self.load(code);
        p.thread.resume();
        p
    }

    /// Waits for this token.
    #[track_caller]
    pub fn wait_token(&mut self, token: Token) {
        let end = Instant::now() + PATIENCE;
        while !self.try_token(token) {
            let max = Some(Duration::from_millis(100));
            self.platform.wait_timeout(0, &mut self.tokens, max);
            self.platform.reap(&mut self.tokens);
            assert!(Instant::now() < end, "no event in {PATIENCE:?}");
        }
    }

    pub fn try_token(&mut self, token: Token) -> bool {
        let at = self.tokens.iter().position(|t| *t == token);
        at.map(|at| self.tokens.swap_remove(at)).is_some()
    }

    #[track_caller]
    pub fn event(&mut self, p: &mut Proc) -> Event {
        self.wait_token(p.token);
        p.thread.event()
    }

    /// Resumes with a return value and waits for the next event.
    pub fn answer(&mut self, p: &mut Proc, rax: u64) -> Event {
        p.thread.set_return(rax);
        p.thread.resume();
        self.event(p)
    }

    /// Resumes as it is.
    pub fn go(&mut self, p: &mut Proc) -> Event {
        p.thread.resume();
        self.event(p)
    }

    /// Performs what is on the action list.
    pub fn perform(&mut self, p: &mut Proc) -> Event {
        p.thread.perform();
        self.event(p)
    }
}

pub struct Proc {
    pub space: Arc<AddressSpace>,
    pub thread: Thread,
    pub token: Token,
}

impl Proc {
    pub fn new(space: Arc<AddressSpace>, thread: Thread, token: Token) -> Proc {
        Proc {
            space,
            thread,
            token,
        }
    }

    pub fn u64(&self, addr: u64) -> u64 {
        let mut b = [0; 8];
        assert_eq!(self.space.read(addr, &mut b), 8, "read at {addr:#x}");
        u64::from_le_bytes(b)
    }

    pub fn u32(&self, addr: u64) -> u32 {
        let mut b = [0; 4];
        assert_eq!(self.space.read(addr, &mut b), 4, "read at {addr:#x}");
        u32::from_le_bytes(b)
    }

    pub fn put(&self, addr: u64, bytes: &[u8]) {
        assert_eq!(self.space.write(addr, bytes), bytes.len());
    }
}

/// The call of a Syscall event.
pub fn call(e: Event) -> (u64, [u64; 6]) {
    match e {
        Event::Syscall { nr, args, .. } => (nr, args),
        other => panic!("a system call was expected, not {other:?}"),
    }
}

/// A memfd with this content.
pub fn memfd(content: &[u8]) -> Arc<std::os::fd::OwnedFd> {
    use std::io::Write;
    use std::os::fd::FromRawFd;
    // SAFETY: a C string; the descriptor is new and ours.
    let fd = unsafe {
        let fd = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        std::os::fd::OwnedFd::from_raw_fd(fd)
    };
    let mut file = std::fs::File::from(fd);
    file.write_all(content).expect("write");
    Arc::new(file.into())
}

/// Runs a worker on every CPU, as the Sentry does, and gives each event to
/// `handler`, until one of its calls has returned false.
pub fn drive(
    vm: &Vm,
    procs: Vec<Proc>,
    handler: impl Fn(&mut Proc, Event) -> bool + Sync,
) -> Vec<Proc> {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    let done = AtomicBool::new(false);
    let procs: Vec<_> = procs
        .into_iter()
        .map(|p| (p.token, Mutex::new(p)))
        .collect();
    std::thread::scope(|s| {
        for w in 0..vm.platform.workers() {
            let (done, procs, handler) = (&done, &procs, &handler);
            s.spawn(move || {
                vm.platform.enter_worker(w);
                let mut out = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    vm.platform
                        .wait_timeout(w, &mut out, Some(Duration::from_millis(100)));
                    for token in out.drain(..) {
                        let (_, p) = procs.iter().find(|p| p.0 == token).expect("known");
                        let mut p = p.lock().expect("lock");
                        let e = p.thread.event();
                        if !handler(&mut p, e) {
                            done.store(true, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    procs
        .into_iter()
        .map(|p| p.1.into_inner().expect("lock"))
        .collect()
}
