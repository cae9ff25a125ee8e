//! What a signal tells its handler, `siginfo_t` of sigaction(2).

use super::SignalfdSiginfo;
use crate::signal::Signal;

abi_struct! {
    /// `siginfo_t`: a head of three words and a union, which the constructors and accessors below
    /// lay out as `include/uapi/asm-generic/siginfo.h` does for 64 bits.
    pub struct SigInfo: 128 {
        pub signo: i32,
        pub errno: i32,
        /// `SI_*`, or a code of the signal's own (`SEGV_MAPERR`, `CLD_EXITED`, …).
        pub code: i32,
        pub pad0: u32,
        /// The union, from offset 16.
        pub fields: [u64; 14],
    }
}

/// Which member of the union a [`SigInfo`] uses (`siginfo_layout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigInfoLayout {
    /// pid, uid.
    Kill,
    /// timer id, overrun, value.
    Timer,
    /// band, fd.
    Poll,
    /// addr, addr_lsb, bounds, pkey.
    Fault,
    /// pid, uid, status, utime, stime.
    Chld,
    /// pid, uid, value.
    Rt,
    /// call address, syscall, architecture.
    Sys,
}

/// Sent by kill(2), sigsend, raise.
pub const SI_USER: i32 = 0;
/// Sent by the kernel.
pub const SI_KERNEL: i32 = 0x80;
pub const SI_QUEUE: i32 = -1;
pub const SI_TIMER: i32 = -2;
pub const SI_MESGQ: i32 = -3;
pub const SI_ASYNCIO: i32 = -4;
pub const SI_SIGIO: i32 = -5;
pub const SI_TKILL: i32 = -6;
pub const SI_DETHREAD: i32 = -7;
pub const SI_ASYNCNL: i32 = -60;

pub const ILL_ILLOPC: i32 = 1;
pub const ILL_ILLOPN: i32 = 2;
pub const ILL_ILLADR: i32 = 3;
pub const ILL_ILLTRP: i32 = 4;
pub const ILL_PRVOPC: i32 = 5;
pub const ILL_PRVREG: i32 = 6;
pub const ILL_COPROC: i32 = 7;
pub const ILL_BADSTK: i32 = 8;

pub const FPE_INTDIV: i32 = 1;
pub const FPE_INTOVF: i32 = 2;
pub const FPE_FLTDIV: i32 = 3;
pub const FPE_FLTOVF: i32 = 4;
pub const FPE_FLTUND: i32 = 5;
pub const FPE_FLTRES: i32 = 6;
pub const FPE_FLTINV: i32 = 7;
pub const FPE_FLTSUB: i32 = 8;
pub const FPE_FLTUNK: i32 = 14;

pub const SEGV_MAPERR: i32 = 1;
pub const SEGV_ACCERR: i32 = 2;
pub const SEGV_BNDERR: i32 = 3;
pub const SEGV_PKUERR: i32 = 4;
pub const SEGV_CPERR: i32 = 10;

pub const BUS_ADRALN: i32 = 1;
pub const BUS_ADRERR: i32 = 2;
pub const BUS_OBJERR: i32 = 3;
pub const BUS_MCEERR_AR: i32 = 4;
pub const BUS_MCEERR_AO: i32 = 5;

pub const TRAP_BRKPT: i32 = 1;
pub const TRAP_TRACE: i32 = 2;
pub const TRAP_BRANCH: i32 = 3;
pub const TRAP_HWBKPT: i32 = 4;
pub const TRAP_UNK: i32 = 5;
pub const TRAP_PERF: i32 = 6;

pub const CLD_EXITED: i32 = 1;
pub const CLD_KILLED: i32 = 2;
pub const CLD_DUMPED: i32 = 3;
pub const CLD_TRAPPED: i32 = 4;
pub const CLD_STOPPED: i32 = 5;
pub const CLD_CONTINUED: i32 = 6;

pub const POLL_IN: i32 = 1;
pub const POLL_OUT: i32 = 2;
pub const POLL_MSG: i32 = 3;
pub const POLL_ERR: i32 = 4;
pub const POLL_PRI: i32 = 5;
pub const POLL_HUP: i32 = 6;

pub const SYS_SECCOMP: i32 = 1;
pub const SYS_USER_DISPATCH: i32 = 2;

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl SigInfo {
    fn new(signal: Signal, code: i32) -> SigInfo {
        SigInfo {
            signo: signal.raw(),
            code,
            ..SigInfo::default()
        }
    }

    /// From the kernel itself, without a sender ([`SI_KERNEL`]).
    pub fn kernel(signal: Signal) -> SigInfo {
        SigInfo::new(signal, SI_KERNEL)
    }

    /// kill(2) ([`SI_USER`]) or tgkill(2) ([`SI_TKILL`]) by `pid`, a user `uid`, as the receiver
    /// sees both.
    pub fn kill(signal: Signal, code: i32, pid: i32, uid: u32) -> SigInfo {
        let mut info = SigInfo::new(signal, code);
        info.fields[0] = pair(pid as u32, uid);
        info
    }

    /// A POSIX timer's expiry ([`SI_TIMER`]).
    pub fn timer(signal: Signal, id: i32, overrun: i32, value: u64) -> SigInfo {
        let mut info = SigInfo::new(signal, SI_TIMER);
        info.fields[0] = pair(id as u32, overrun as u32);
        info.fields[1] = value;
        info
    }

    /// sigqueue(3) ([`SI_QUEUE`]), mq_notify(2) ([`SI_MESGQ`]).
    pub fn rt(signal: Signal, code: i32, pid: i32, uid: u32, value: u64) -> SigInfo {
        let mut info = SigInfo::kill(signal, code, pid, uid);
        info.fields[1] = value;
        info
    }

    /// A child changed state: `CLD_*`, exit status or signal, times in ticks of 1/100 s.
    pub fn chld(
        signal: Signal,
        code: i32,
        pid: i32,
        uid: u32,
        status: i32,
        utime: i64,
        stime: i64,
    ) -> SigInfo {
        let mut info = SigInfo::kill(signal, code, pid, uid);
        info.fields[1] = pair(status as u32, 0);
        info.fields[2] = utime as u64;
        info.fields[3] = stime as u64;
        info
    }

    /// A fault at `addr`: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP.
    pub fn fault(signal: Signal, code: i32, addr: u64) -> SigInfo {
        let mut info = SigInfo::new(signal, code);
        info.fields[0] = addr;
        info
    }

    /// SIGIO of a descriptor: `POLL_*`, the events as poll(2) has them, the descriptor.
    pub fn poll(signal: Signal, code: i32, band: i64, fd: i32) -> SigInfo {
        let mut info = SigInfo::new(signal, code);
        info.fields[0] = band as u64;
        info.fields[1] = pair(fd as u32, 0);
        info
    }

    /// SIGSYS of seccomp(2): the instruction's address, the syscall, AUDIT_ARCH_*, and the
    /// filter's SECCOMP_RET_DATA as `errno`.
    pub fn sys(call_addr: u64, syscall: i32, audit_arch: u32, errno: i32) -> SigInfo {
        let mut info = SigInfo::new(Signal::SIGSYS, SYS_SECCOMP);
        info.errno = errno;
        info.fields[0] = call_addr;
        info.fields[1] = pair(syscall as u32, audit_arch);
        info
    }

    /// The signal; None where a hostile writer left another number.
    pub fn signal(&self) -> Option<Signal> {
        Signal::from_raw(self.signo)
    }

    /// Kill, Chld, Rt: the sender.
    pub fn pid(&self) -> i32 {
        self.fields[0] as u32 as i32
    }

    /// Kill, Chld, Rt: the sender's real user.
    pub fn uid(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }

    pub fn set_pid(&mut self, pid: i32) {
        self.fields[0] = pair(pid as u32, self.uid());
    }

    pub fn set_uid(&mut self, uid: u32) {
        self.fields[0] = pair(self.pid() as u32, uid);
    }

    /// Rt, Timer: `sigval`.
    pub fn value(&self) -> u64 {
        self.fields[1]
    }

    /// Timer: its id.
    pub fn timer_id(&self) -> i32 {
        self.fields[0] as u32 as i32
    }

    /// Timer: expiries beyond the first.
    pub fn overrun(&self) -> i32 {
        (self.fields[0] >> 32) as u32 as i32
    }

    pub fn set_overrun(&mut self, overrun: i32) {
        self.fields[0] = pair(self.fields[0] as u32, overrun as u32);
    }

    /// Chld: exit status or signal.
    pub fn status(&self) -> i32 {
        self.fields[1] as u32 as i32
    }

    /// Chld: user time in ticks.
    pub fn utime(&self) -> i64 {
        self.fields[2] as i64
    }

    /// Chld: system time in ticks.
    pub fn stime(&self) -> i64 {
        self.fields[3] as i64
    }

    /// Fault: the address.
    pub fn addr(&self) -> u64 {
        self.fields[0]
    }

    /// Fault: least significant bit of a bad address (BUS_MCEERR_*).
    pub fn addr_lsb(&self) -> i16 {
        self.fields[1] as u16 as i16
    }

    pub fn set_addr_lsb(&mut self, lsb: i16) {
        self.fields[1] = u64::from(lsb as u16);
    }

    /// Fault with SEGV_PKUERR: the protection key.
    pub fn pkey(&self) -> u32 {
        self.fields[2] as u32
    }

    /// Fault with SEGV_BNDERR: the bounds.
    pub fn bounds(&self) -> (u64, u64) {
        (self.fields[2], self.fields[3])
    }

    /// Poll: the events.
    pub fn band(&self) -> i64 {
        self.fields[0] as i64
    }

    /// Poll: the descriptor.
    pub fn fd(&self) -> i32 {
        self.fields[1] as u32 as i32
    }

    /// Sys: the address after the `syscall` instruction.
    pub fn call_addr(&self) -> u64 {
        self.fields[0]
    }

    /// Sys: the number.
    pub fn syscall(&self) -> i32 {
        self.fields[1] as u32 as i32
    }

    /// Sys: AUDIT_ARCH_*.
    pub fn audit_arch(&self) -> u32 {
        (self.fields[1] >> 32) as u32
    }

    /// Which member of the union is meant, from `signo` and `code`.
    pub fn layout(&self) -> SigInfoLayout {
        use SigInfoLayout::*;
        let Some(signal) = self.signal() else {
            return Kill;
        };
        match self.code {
            SI_TIMER => Timer,
            SI_SIGIO => Poll,
            code if code > SI_USER && code < SI_KERNEL => match signal {
                Signal::SIGILL if code <= 11 => Fault,
                Signal::SIGFPE if code <= 15 => Fault,
                Signal::SIGSEGV if code <= 10 => Fault,
                Signal::SIGBUS if code <= 5 => Fault,
                Signal::SIGTRAP if code <= 6 => Fault,
                Signal::SIGCHLD if code <= 6 => Chld,
                Signal::SIGIO if code <= 6 => Poll,
                Signal::SIGSYS if code <= 2 => Sys,
                _ if code <= 6 => Poll,
                _ => Kill,
            },
            code if code < 0 && code != SI_TKILL && code != SI_DETHREAD => Rt,
            _ => Kill,
        }
    }

    /// Whether it comes from a process (`si_fromuser`); what the kernel makes itself is above zero.
    pub fn is_from_user(&self) -> bool {
        self.code <= SI_USER
    }

    /// As signalfd(2) reads it.
    pub fn to_signalfd(&self) -> SignalfdSiginfo {
        let mut out = SignalfdSiginfo {
            signo: self.signo as u32,
            errno: self.errno,
            code: self.code,
            ..SignalfdSiginfo::default()
        };
        match self.layout() {
            SigInfoLayout::Kill => {
                out.pid = self.pid() as u32;
                out.uid = self.uid();
            }
            SigInfoLayout::Timer => {
                out.tid = self.timer_id() as u32;
                out.overrun = self.overrun() as u32;
                out.ptr = self.value();
                out.int = self.value() as u32 as i32;
            }
            SigInfoLayout::Poll => {
                out.band = self.band() as u32;
                out.fd = self.fd();
            }
            SigInfoLayout::Fault => {
                out.addr = self.addr();
                out.addr_lsb = self.addr_lsb() as u16;
            }
            SigInfoLayout::Chld => {
                out.pid = self.pid() as u32;
                out.uid = self.uid();
                out.status = self.status();
                out.utime = self.utime() as u64;
                out.stime = self.stime() as u64;
            }
            SigInfoLayout::Rt => {
                out.pid = self.pid() as u32;
                out.uid = self.uid();
                out.ptr = self.value();
                out.int = self.value() as u32 as i32;
            }
            SigInfoLayout::Sys => {
                out.call_addr = self.call_addr();
                out.syscall = self.syscall();
                out.arch = self.audit_arch();
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::bytes_of;

    fn word(info: &SigInfo, offset: usize) -> u32 {
        let bytes = &bytes_of(info)[offset..offset + 4];
        u32::from_ne_bytes(bytes.try_into().unwrap())
    }

    #[test]
    fn size_is_the_hosts() {
        assert_eq!(size_of::<SigInfo>(), size_of::<libc::siginfo_t>());
    }

    #[test]
    fn members_lie_where_the_kernel_puts_them() {
        let info = SigInfo::kill(Signal::SIGTERM, SI_USER, 7, 1000);
        assert_eq!(
            (word(&info, 0), word(&info, 16), word(&info, 20)),
            (15, 7, 1000)
        );

        let info = SigInfo::chld(Signal::SIGCHLD, CLD_EXITED, 7, 8, 9, 10, 11);
        assert_eq!(word(&info, 24), 9);
        assert_eq!((word(&info, 32), word(&info, 40)), (10, 11));

        let info = SigInfo::timer(Signal::SIGALRM, 3, 4, 5);
        assert_eq!(
            (word(&info, 16), word(&info, 20), word(&info, 24)),
            (3, 4, 5)
        );

        let info = SigInfo::poll(Signal::SIGIO, POLL_IN, 0x41, 6);
        assert_eq!((word(&info, 16), word(&info, 24)), (0x41, 6));

        let info = SigInfo::sys(0x1234, 39, 0xc000_003e, 1);
        assert_eq!((word(&info, 4), word(&info, 16)), (1, 0x1234));
        assert_eq!((word(&info, 24), word(&info, 28)), (39, 0xc000_003e));
    }

    #[test]
    fn layouts_follow_linux() {
        use SigInfoLayout::*;
        let layout = |info: SigInfo| info.layout();
        assert_eq!(layout(SigInfo::kill(Signal::SIGTERM, SI_TKILL, 1, 1)), Kill);
        assert_eq!(layout(SigInfo::rt(Signal::SIGTERM, SI_QUEUE, 1, 1, 1)), Rt);
        assert_eq!(layout(SigInfo::rt(Signal::SIGTERM, SI_MESGQ, 1, 1, 1)), Rt);
        assert_eq!(layout(SigInfo::timer(Signal::SIGALRM, 1, 1, 1)), Timer);
        assert_eq!(
            layout(SigInfo::fault(Signal::SIGSEGV, SEGV_MAPERR, 1)),
            Fault
        );
        assert_eq!(layout(SigInfo::kernel(Signal::SIGSEGV)), Kill);
        assert_eq!(layout(SigInfo::poll(Signal::SIGUSR1, POLL_IN, 1, 1)), Poll);
        assert_eq!(layout(SigInfo::sys(0, 0, 0, 0)), Sys);
        assert_eq!(
            layout(SigInfo::chld(Signal::SIGCHLD, CLD_KILLED, 1, 1, 9, 0, 0)),
            Chld
        );
    }

    #[test]
    fn signalfd_record_carries_the_members() {
        let record =
            SigInfo::rt(Signal::SIGUSR1, SI_QUEUE, 7, 8, 0xffff_ffff_0000_0001).to_signalfd();
        assert_eq!((record.pid, record.uid, record.int), (7, 8, 1));
        assert_eq!(record.ptr, 0xffff_ffff_0000_0001);
    }
}
