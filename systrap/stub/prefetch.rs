//! Input that the Sentry will want, copied to the window before it asks.
//!
//! The table says what a call reads whatever its outcome; the sizes are those
//! of the kernel's structures (man pages, section 2).

use crate::asm::*;
use crate::proto::*;
use crate::sys::*;

/// An item is 16 bits: kind (4), argument (3), parameter (9).
const STR: u64 = 1;
/// Fixed size: the parameter, in bytes.
const FIX: u64 = 2;
/// Length in another argument (3 bits of the parameter) times the rest.
const BUF: u64 = 3;
/// struct iovec array with its count in another argument, and its buffers.
const IOV: u64 = 4;
/// struct msghdr with name, iovecs, buffers and control data.
const MSG: u64 = 5;
/// fd_set of as many bits as argument 0 says.
const FDSET: u64 = 6;
/// struct iovec array only (the call writes to the buffers).
const IOVR: u64 = 7;
/// struct msghdr and iovec array only (recvmsg).
const MSGR: u64 = 8;
/// The frame of a signal handler that returns: ucontext and FPU state.
const SIGFRAME: u64 = 9;
/// What `S_AT_EXIT` says.
const AT_EXIT: u64 = 10;

const fn s(arg: u64) -> u64 {
    STR | arg << 4
}
const fn fix(arg: u64, size: u64) -> u64 {
    FIX | arg << 4 | size << 7
}
const fn buf(arg: u64, len_arg: u64, scale: u64) -> u64 {
    BUF | arg << 4 | len_arg << 7 | scale << 10
}
const fn iov(arg: u64, n_arg: u64) -> u64 {
    IOV | arg << 4 | n_arg << 7
}
const fn iovr(arg: u64, n_arg: u64) -> u64 {
    IOVR | arg << 4 | n_arg << 7
}
const fn msg(arg: u64) -> u64 {
    MSG | arg << 4
}
const fn msgr(arg: u64) -> u64 {
    MSGR | arg << 4
}
const fn fdset(arg: u64) -> u64 {
    FDSET | arg << 4
}

const CALLS: usize = 460;
static TABLE: [u64; CALLS] = table();

const fn table() -> [u64; CALLS] {
    const fn two(a: u64, b: u64) -> u64 {
        a | b << 16
    }
    const fn three(a: u64, b: u64, c: u64) -> u64 {
        a | b << 16 | c << 32
    }
    const fn four(a: u64, b: u64, c: u64, d: u64) -> u64 {
        a | b << 16 | c << 32 | d << 48
    }
    let mut t = [0; CALLS];
    t[1] = buf(1, 2, 1); // write
    t[2] = s(0); // open
    t[4] = s(0); // stat
    t[6] = s(0); // lstat
    t[7] = buf(0, 1, 8); // poll
    t[13] = fix(1, 32); // rt_sigaction
    t[14] = fix(1, 8); // rt_sigprocmask
    t[15] = SIGFRAME; // rt_sigreturn
    t[18] = buf(1, 2, 1); // pwrite64
    t[19] = iovr(1, 2); // readv
    t[20] = iov(1, 2); // writev
    t[21] = s(0); // access
    t[23] = four(fdset(1), fdset(2), fdset(3), fix(4, 16)); // select
    t[35] = fix(0, 16); // nanosleep
    t[38] = fix(1, 32); // setitimer
    t[40] = fix(2, 8); // sendfile
    t[42] = buf(1, 2, 1); // connect
    t[43] = fix(2, 4); // accept
    t[44] = two(buf(1, 2, 1), buf(4, 5, 1)); // sendto
    t[45] = fix(5, 4); // recvfrom
    t[46] = msg(1); // sendmsg
    t[47] = msgr(1); // recvmsg
    t[49] = buf(1, 2, 1); // bind
    t[51] = fix(2, 4); // getsockname
    t[52] = fix(2, 4); // getpeername
    t[54] = buf(3, 4, 1); // setsockopt
    t[55] = fix(4, 4); // getsockopt
    t[59] = two(s(0), AT_EXIT); // execve
    t[60] = AT_EXIT; // exit
    t[65] = buf(1, 2, 6); // semop
    t[76] = s(0); // truncate
    t[80] = s(0); // chdir
    t[82] = two(s(0), s(1)); // rename
    t[83] = s(0); // mkdir
    t[84] = s(0); // rmdir
    t[85] = s(0); // creat
    t[86] = two(s(0), s(1)); // link
    t[87] = s(0); // unlink
    t[88] = two(s(0), s(1)); // symlink
    t[89] = s(0); // readlink
    t[90] = s(0); // chmod
    t[92] = s(0); // chown
    t[94] = s(0); // lchown
    t[128] = two(fix(0, 8), fix(2, 16)); // rt_sigtimedwait
    t[130] = fix(0, 8); // rt_sigsuspend
    t[131] = fix(0, 24); // sigaltstack
    t[132] = two(s(0), fix(1, 16)); // utime
    t[133] = s(0); // mknod
    t[137] = s(0); // statfs
    t[160] = fix(1, 16); // setrlimit
    t[161] = s(0); // chroot
    t[188] = two(s(0), s(1)); // setxattr
    t[191] = two(s(0), s(1)); // getxattr
    t[192] = two(s(0), s(1)); // lgetxattr
    t[194] = s(0); // listxattr
    t[195] = s(0); // llistxattr
    t[222] = fix(1, 64); // timer_create
    t[223] = fix(2, 32); // timer_settime
    t[230] = fix(2, 16); // clock_nanosleep
    t[231] = AT_EXIT; // exit_group
    t[233] = fix(3, 12); // epoll_ctl
    t[235] = two(s(0), fix(1, 32)); // utimes
    t[254] = s(1); // inotify_add_watch
    t[257] = s(1); // openat
    t[258] = s(1); // mkdirat
    t[259] = s(1); // mknodat
    t[260] = s(1); // fchownat
    t[262] = s(1); // newfstatat
    t[263] = s(1); // unlinkat
    t[264] = two(s(1), s(3)); // renameat
    t[265] = two(s(1), s(3)); // linkat
    t[266] = two(s(0), s(2)); // symlinkat
    t[267] = s(1); // readlinkat
    t[268] = s(1); // fchmodat
    t[269] = s(1); // faccessat
    // pselect6: the sets, the timeout; the sixth argument is a pair (rare)
    t[270] = four(fdset(1), fdset(2), fdset(3), fix(4, 16));
    t[271] = three(buf(0, 1, 8), fix(2, 16), fix(3, 8)); // ppoll
    t[280] = two(s(1), fix(2, 32)); // utimensat
    t[281] = fix(4, 8); // epoll_pwait
    t[285] = 0; // fallocate reads nothing
    t[286] = fix(2, 32); // timerfd_settime
    t[288] = fix(2, 4); // accept4
    t[289] = fix(1, 8); // signalfd4
    t[295] = iovr(1, 2); // preadv
    t[296] = iov(1, 2); // pwritev
    t[302] = fix(2, 16); // prlimit64
    t[316] = two(s(1), s(3)); // renameat2
    t[319] = s(0); // memfd_create
    t[322] = two(s(1), AT_EXIT); // execveat
    t[327] = iovr(1, 2); // preadv2
    t[328] = iov(1, 2); // pwritev2
    t[332] = s(1); // statx
    t[435] = buf(0, 1, 1); // clone3
    t[437] = two(s(1), buf(2, 3, 1)); // openat2
    t[439] = s(1); // faccessat2
    t[441] = two(fix(4, 16), fix(5, 16)); // epoll_pwait2 (mask: 8 of them)
    t[449] = two(buf(0, 1, 24), fix(3, 16)); // futex_waitv
    t[452] = s(1); // fchmodat2
    t
}

/// Longest path of Linux, NUL included.
const PATH_MAX: u64 = 4096;
/// Left free for the Sentry's actions and small output.
const KEEP: u64 = 2048;

/// Where the next prefetch goes, and what is there.
struct Out {
    slot: u64,
    /// Offset in the slot.
    at: u64,
    n: u64,
}

impl Out {
    fn room(&self) -> u64 {
        S_WINDOW + WINDOW_LEN - KEEP - self.at
    }

    fn enter(&mut self, addr: u64, len: u64) {
        if len != 0 && self.n < PF_MAX {
            let e = self.slot + S_PF + self.n * ENTRY;
            st64(e, addr);
            st32(e + 8, len as u32);
            st32(e + 12, self.at as u32);
            self.n += 1;
            self.at += (len + 7) & !7;
        }
    }

    fn bytes(&mut self, addr: u64, len: u64) -> bool {
        if addr == 0 || len == 0 || len > self.room() || self.n >= PF_MAX {
            return false;
        }
        let left = copy(self.slot + self.at, addr, len);
        self.enter(addr, len - left);
        left == 0
    }

    fn string(&mut self, addr: u64) {
        let room = self.room();
        let max = if room < PATH_MAX { room } else { PATH_MAX };
        if addr == 0 || max == 0 {
            return;
        }
        let r = strcpy(self.slot + self.at, addr, max);
        let left = if r == u64::MAX { 0 } else { r & !FAULTED };
        self.enter(addr, max - left);
    }

    /// An iovec array, then as many of its buffers as there is room for.
    fn iovecs(&mut self, addr: u64, n: u64, buffers: bool) {
        let copy = self.slot + self.at;
        if n > 64 || !self.bytes(addr, n * 16) || !buffers {
            return;
        }
        let mut i = 0;
        while i < n {
            let (base, len) = (ld64(copy + i * 16), ld64(copy + i * 16 + 8));
            if len != 0 && !self.bytes(base, len) {
                return;
            }
            i += 1;
        }
    }

    fn msghdr(&mut self, addr: u64, buffers: bool) {
        let copy = self.slot + self.at;
        if !self.bytes(addr, 56) {
            return;
        }
        let name_len = ld32(copy + 8) as u64;
        if buffers && name_len <= 128 {
            self.bytes(ld64(copy), name_len);
        }
        let control = ld64(copy + 40);
        if buffers && control <= 4096 {
            self.bytes(ld64(copy + 32), control);
        }
        self.iovecs(ld64(copy + 16), ld64(copy + 24), buffers);
    }
}

/// Bytes of a ucontext; where it says where the FPU state is.
const UCONTEXT: u64 = F_INFO - F_UC;
const UC_FPSTATE: u64 = F_FPSTATE - F_UC;
/// `FP_XSTATE_MAGIC1`, and how long the longest FPU state is that is taken.
const FP_MAGIC: u32 = 0x4650_5853;
const FP_MAX: u64 = 16384;
const FP_LEGACY: u64 = 512;

impl Out {
    /// The handler has returned: the stack pointer is behind the return
    /// address.
    fn sigframe(&mut self, uc: u64) {
        let copy = self.slot + self.at;
        if !self.bytes(uc, UCONTEXT) {
            return;
        }
        let fp = ld64(copy + UC_FPSTATE);
        if fp == 0 {
            return;
        }
        let magic = load32(fp + FP_SW);
        let len = load32(fp + FP_SW + 4);
        let extended = magic == FP_MAGIC as u64 && len > FP_LEGACY && len <= FP_MAX;
        self.bytes(fp, if extended { len } else { FP_LEGACY });
    }
}

/// Prefetches for system call `nr` and publishes how many entries there are.
#[inline(always)]
pub fn run(slot: u64, frame: u64, nr: u64) {
    if nr >= CALLS as u64 {
        return;
    }
    // SAFETY: in bounds; the table is in the blob.
    let items = unsafe { (&raw const TABLE as *const u64).add(nr as usize).read_volatile() };
    if items != 0 {
        some(slot, frame, items);
    }
}

fn arg(frame: u64, n: u64) -> u64 {
    let off = match n {
        0 => F_RDI,
        1 => F_RSI,
        2 => F_RDX,
        3 => F_R10,
        4 => F_R8,
        _ => F_R9,
    };
    ld64(frame + off)
}

#[inline(never)]
fn some(slot: u64, frame: u64, mut items: u64) {
    let mut o = Out {
        slot,
        at: S_WINDOW,
        n: 0,
    };
    while items != 0 {
        let item = items & 0xffff;
        items >>= 16;
        let a = arg(frame, (item >> 4) & 7);
        let p = item >> 7;
        match item & 15 {
            STR => o.string(a),
            FIX => {
                o.bytes(a, p);
            }
            BUF => {
                let n = arg(frame, p & 7);
                if n < WINDOW_LEN {
                    o.bytes(a, n * (p >> 3));
                }
            }
            IOV => o.iovecs(a, arg(frame, p & 7), true),
            IOVR => o.iovecs(a, arg(frame, p & 7), false),
            MSG => o.msghdr(a, true),
            MSGR => o.msghdr(a, false),
            AT_EXIT => {
                o.bytes(ld64(slot + S_AT_EXIT), EXIT_INPUT);
            }
            SIGFRAME => o.sigframe(ld64(frame + F_RSP)),
            FDSET => {
                let n = arg(frame, 0);
                if n <= 1024 {
                    o.bytes(a, n.div_ceil(64) * 8);
                }
            }
            _ => {}
        }
    }
    st32(slot + S_PF_COUNT, o.n as u32);
}
