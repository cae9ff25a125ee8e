//! A real program (static busybox) on a memory file system, without the command line's sandbox around it.

use parking_lot::Mutex;
use sentry::boot::{init, threads::Threads};
use sentry::config::HostHandles;
use sentry::kernel::{Kernel, UtsNames};
use sentry::task::{Creds, tree};
use sentry::user::{Sink, SliceSource, Source};
use sentry::vfs::walk::{At, Env};
use sentry::vfs::{FdTable, File, FileOps, FsContext, MountFlags, MountNamespace, names, open};
use std::sync::Arc;
use std::time::Duration;

/// Collects what is written.
struct Capture(Arc<Mutex<Vec<u8>>>);

impl FileOps for Capture {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
    fn stat(&self, _: &File) -> arch::Result<arch::abi::Stat> {
        Ok(arch::abi::Stat {
            mode: libc::S_IFIFO | 0o600,
            ..Default::default()
        })
    }
    fn read(&self, _: &File, _: u64, _: &mut dyn Sink) -> arch::Result<usize> {
        Ok(0)
    }
    fn write(&self, _: &File, _: u64, src: &mut dyn Source) -> arch::Result<usize> {
        let data = src.read_all()?;
        self.0.lock().extend_from_slice(&data);
        Ok(data.len())
    }
}

const BUSYBOX: &str = "/bin/busybox";

/// How long the whole Sentry may take for such a program.
const LIMIT: Duration = Duration::from_secs(60);

fn run(args: &[&str]) -> (i32, String) {
    let words: Vec<Vec<u8>> = args.iter().map(|a| a.as_bytes().to_vec()).collect();
    bounded::try_within(LIMIT, move || boot(words)).unwrap_or_else(|| {
        // The stubs; those of other tests, too, which can't be told apart.
        bounded::kill_all(&bounded::descendants(std::process::id()));
        panic!("{args:?}: not over after {LIMIT:?}");
    })
}

fn boot(args: Vec<Vec<u8>>) -> (i32, String) {
    sentry::host::fs::keep_proc_fd().expect("/proc");
    let platform = systrap::Platform::new(&systrap::Options::default()).expect("platform");
    let uts = UtsNames {
        hostname: b"box".to_vec(),
        domainname: Vec::new(),
    };
    let kernel = Kernel::new(platform, uts, true, HostHandles::default()).expect("kernel");
    let threads = Threads::start(&kernel).expect("threads");

    let mount = sentry::fs::tmp::TmpFs::mount(
        sentry::fs::tmp::Options {
            mode: 0o755,
            ..Default::default()
        },
        MountFlags::empty(),
    )
    .expect("tmpfs");
    let ns = MountNamespace::new(mount);
    let fs = FsContext::new(Arc::clone(&ns));
    let env = Env {
        creds: Arc::new(Creds::root()),
        root: fs.root(),
        cwd: fs.cwd(),
        umask: 0,
        cx: None,
    };
    for dir in ["/bin", "/proc", "/tmp"] {
        names::mkdir(&env, &At::Cwd, dir.as_bytes(), 0o755).expect("mkdir");
    }
    let how = open::OpenHow::new((libc::O_CREAT | libc::O_WRONLY) as u32, 0o755);
    let file = open::open(&env, &At::Cwd, b"/bin/busybox", how).expect("create");
    let bytes = std::fs::read(BUSYBOX).expect("package busybox-static is needed");
    let mut at = 0;
    while at < bytes.len() {
        at += file
            .ops
            .write(&file, at as u64, &mut SliceSource(&bytes[at..]))
            .expect("write");
    }
    drop(file);
    let proc = sentry::fs::proc::new(&kernel);
    let place = env
        .resolve(&At::Cwd, b"/proc", Default::default())
        .expect("proc");
    ns.mount(
        &sentry::vfs::Mount::new(proc, b"proc", MountFlags::empty()),
        &place,
    )
    .expect("mount proc");
    drop(env);

    let out = Arc::new(Mutex::new(Vec::new()));
    let files = FdTable::new();
    for _ in 0..3 {
        let file = File::new(Box::new(Capture(Arc::clone(&out))), libc::O_RDWR as u32);
        files.install(file, false, 1024).expect("fd");
    }
    let result = init::start(
        &kernel,
        init::Init {
            fs,
            files,
            creds: Creds::root(),
            rlimits: tree::default_rlimits(),
            no_new_privs: false,
            oom_score_adj: 0,
            args,
            env: vec![b"PATH=/bin".to_vec()],
            terminal: None,
        },
    );
    if let Err(e) = result {
        threads.stop();
        panic!("{e}");
    }
    let status = kernel.wait_for_init();
    for (nr, n) in kernel.counters.missing() {
        eprintln!("missing: {:?} x{n}", arch::nr::name(nr));
    }
    threads.stop();
    let text = String::from_utf8_lossy(&out.lock()).into_owned();
    (status, text)
}

#[test]
fn busybox_echo() {
    let (status, out) = run(&["busybox", "echo", "hello"]);
    assert_eq!((status, out.as_str()), (0, "hello\n"));
}

#[test]
fn busybox_shell_forks_and_waits() {
    let (status, out) = run(&[
        "busybox",
        "sh",
        "-c",
        "(exit 3); echo $?; busybox true && echo yes; for i in 1 2 3; do busybox echo $i; done; exit 7",
    ]);
    assert_eq!((status, out.as_str()), (7 << 8, "3\nyes\n1\n2\n3\n"));
}

#[test]
fn busybox_pipes_and_files() {
    let (status, out) = run(&[
        "busybox",
        "sh",
        "-c",
        "cd /tmp; echo one > f; echo two >> f; busybox cat f | busybox wc -l; busybox ls -a /proc/self/ns | busybox wc -l; kill -9 $$; echo alive",
    ]);
    assert_eq!((status, out.as_str()), (0, "2\n9\nalive\n"));
}
