//! The operations, each timed over batches; the median batch counts.
#![expect(unsafe_code, reason = "system calls are what is measured")]

use anyhow::{Result, bail};
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// An operation to time.
pub struct Op {
    /// Its name.
    pub name: &'static str,
    /// Operations in a batch.
    batch: u32,
    /// Batches.
    batches: u32,
    /// Does it so many times.
    run: fn(u32) -> Result<()>,
}

/// All of them.
pub const OPS: &[Op] = &[
    Op {
        name: "null call",
        batch: 20_000,
        batches: 9,
        run: null_call,
    },
    Op {
        name: "clock_gettime",
        batch: 500_000,
        batches: 9,
        run: clock,
    },
    Op {
        name: "mmap+munmap 64K",
        batch: 2_000,
        batches: 9,
        run: map,
    },
    Op {
        name: "page touch",
        batch: 4_096,
        batches: 9,
        run: touch,
    },
    Op {
        name: "fork+exit+wait",
        batch: 100,
        batches: 7,
        run: fork,
    },
    Op {
        name: "fork+exec+wait",
        batch: 30,
        batches: 7,
        run: fork_exec,
    },
    Op {
        name: "thread create+join",
        batch: 200,
        batches: 7,
        run: thread,
    },
    Op {
        name: "futex ping-pong",
        batch: 2_000,
        batches: 7,
        run: futex,
    },
    Op {
        name: "pipe ping-pong",
        batch: 1_000,
        batches: 7,
        run: pipe,
    },
    Op {
        name: "read 4K of a file",
        batch: 5_000,
        batches: 9,
        run: read_file,
    },
    Op {
        name: "stat",
        batch: 5_000,
        batches: 9,
        run: stat,
    },
    Op {
        name: "open+close",
        batch: 3_000,
        batches: 9,
        run: open,
    },
];

/// Nanoseconds for one operation.
pub fn time(op: &Op) -> Result<f64> {
    (op.run)(op.batch / 4 + 1)?;
    let mut times = Vec::new();
    for _ in 0..op.batches {
        let start = Instant::now();
        (op.run)(op.batch)?;
        times.push(start.elapsed().as_nanos() as f64 / f64::from(op.batch));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn check(rc: i64) -> Result<i64> {
    if rc < 0 {
        bail!("{}", std::io::Error::last_os_error())
    } else {
        Ok(rc)
    }
}

fn null_call(n: u32) -> Result<()> {
    for _ in 0..n {
        // SAFETY: no memory involved; getppid(2) is answered by the kernel every time.
        check(unsafe { libc::syscall(libc::SYS_getppid) })?;
    }
    Ok(())
}

fn clock(n: u32) -> Result<()> {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    for _ in 0..n {
        // SAFETY: `ts` lives over the call.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut ts) };
        black_box(&ts);
    }
    Ok(())
}

fn anonymous(len: usize) -> Result<*mut u8> {
    let (prot, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a fresh mapping wherever the kernel likes.
    let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    if p == libc::MAP_FAILED {
        bail!("{}", std::io::Error::last_os_error())
    }
    Ok(p.cast())
}

fn unmap(p: *mut u8, len: usize) {
    // SAFETY: the range was mapped by `anonymous`, and nothing refers to it any more.
    unsafe { libc::munmap(p.cast(), len) };
}

fn map(n: u32) -> Result<()> {
    for _ in 0..n {
        unmap(anonymous(64 << 10)?, 64 << 10);
    }
    Ok(())
}

fn touch(n: u32) -> Result<()> {
    let len = n as usize * 4096;
    let p = anonymous(len)?;
    // SAFETY: the range is ours; small pages make every touch a fault.
    unsafe {
        libc::madvise(p.cast(), len, libc::MADV_NOHUGEPAGE);
        for page in 0..n as usize {
            p.add(page * 4096).write_volatile(1);
        }
    }
    unmap(p, len);
    Ok(())
}

fn wait(pid: i32) -> Result<()> {
    let mut status = 0;
    // SAFETY: `status` lives over the call.
    check(i64::from(unsafe { libc::waitpid(pid, &raw mut status, 0) }))?;
    if status != 0 {
        bail!("the child ended with {status}")
    }
    Ok(())
}

fn fork(n: u32) -> Result<()> {
    for _ in 0..n {
        // SAFETY: the child does nothing but end.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        check(i64::from(pid))?;
        wait(pid)?;
    }
    Ok(())
}

/// A static program that ends at once, if there is one; else ourselves.
fn tiny() -> (std::ffi::CString, std::ffi::CString) {
    let busybox = std::path::Path::new("/bin/busybox");
    if busybox.exists() {
        return (c"/bin/busybox".into(), c"true".into());
    }
    (c"/proc/self/exe".into(), c"nothing".into())
}

fn fork_exec(n: u32) -> Result<()> {
    let (path, arg) = tiny();
    let argv = [path.as_ptr(), arg.as_ptr(), std::ptr::null()];
    for _ in 0..n {
        // SAFETY: the child only executes or ends; what execv reads was made before.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above.
            unsafe {
                libc::execv(path.as_ptr(), argv.as_ptr());
                libc::_exit(1);
            }
        }
        check(i64::from(pid))?;
        wait(pid)?;
    }
    Ok(())
}

fn thread(n: u32) -> Result<()> {
    for _ in 0..n {
        if std::thread::spawn(|| ()).join().is_err() {
            bail!("a thread panicked");
        }
    }
    Ok(())
}

fn futex_wait(word: &AtomicU32, value: u32) {
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let no_timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: the word lives over the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, value, no_timeout) };
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: as above.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        )
    };
}

/// Two threads hand a number to and fro.
fn futex(n: u32) -> Result<()> {
    let word = AtomicU32::new(0);
    let turn = |mine: u32| {
        for round in 0..n {
            let wanted = 2 * round + mine;
            loop {
                let now = word.load(Ordering::Acquire);
                if now == wanted {
                    break;
                }
                futex_wait(&word, now);
            }
            word.store(wanted + 1, Ordering::Release);
            futex_wake(&word);
        }
    };
    std::thread::scope(|s| {
        s.spawn(|| turn(1));
        turn(0);
    });
    Ok(())
}

fn transfer(fd: i32, write: bool) -> Result<()> {
    let mut byte = 0u8;
    // SAFETY: one byte, which lives over the call.
    let n = unsafe {
        if write {
            libc::write(fd, (&raw const byte).cast(), 1)
        } else {
            libc::read(fd, (&raw mut byte).cast(), 1)
        }
    };
    if n != 1 {
        bail!("{}", std::io::Error::last_os_error())
    }
    Ok(())
}

/// Two processes hand a byte to and fro.
fn pipe(n: u32) -> Result<()> {
    let mut ends = [[0i32; 2]; 2];
    for pair in &mut ends {
        // SAFETY: room for two descriptors.
        check(i64::from(unsafe { libc::pipe(pair.as_mut_ptr()) }))?;
    }
    let [there, back] = ends;
    // SAFETY: the child only reads, writes and ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let ok =
            (0..n).all(|_| transfer(there[0], false).is_ok() && transfer(back[1], true).is_ok());
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!ok)) };
    }
    check(i64::from(pid))?;
    for _ in 0..n {
        transfer(there[1], true)?;
        transfer(back[0], false)?;
    }
    for fd in there.into_iter().chain(back) {
        // SAFETY: ours, and not used any more.
        unsafe { libc::close(fd) };
    }
    wait(pid)
}

fn open_passwd() -> Result<i32> {
    // SAFETY: the path is a constant.
    let fd = unsafe { libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    check(i64::from(fd))?;
    Ok(fd)
}

fn close(fd: i32) {
    // SAFETY: ours, and not used any more.
    unsafe { libc::close(fd) };
}

fn read_file(n: u32) -> Result<()> {
    let fd = open_passwd()?;
    let mut buf = [0u8; 4096];
    for _ in 0..n {
        // SAFETY: the buffer is as long as said.
        check(unsafe { libc::pread(fd, buf.as_mut_ptr().cast(), buf.len(), 0) } as i64)?;
    }
    close(fd);
    Ok(())
}

fn stat(n: u32) -> Result<()> {
    for _ in 0..n {
        // SAFETY: an all-zero stat is a valid one, and lives over the call.
        let rc = unsafe {
            let mut st: libc::stat = std::mem::zeroed();
            libc::stat(c"/etc/passwd".as_ptr(), &raw mut st)
        };
        check(i64::from(rc))?;
    }
    Ok(())
}

fn open(n: u32) -> Result<()> {
    for _ in 0..n {
        close(open_passwd()?);
    }
    Ok(())
}
