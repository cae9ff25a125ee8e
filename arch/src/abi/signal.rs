//! Signal sets, actions, stacks and events: rt_sigaction(2), sigaltstack(2), sigevent(7),
//! signalfd(2).

use crate::signal::Signal;
use bytemuck::{Pod, Zeroable};
use core::fmt;
use core::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not};
use static_assertions::const_assert_eq;

/// `sigset_t` of the kernel: bit n-1 is signal n.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct SigSet(pub u64);

const_assert_eq!(size_of::<SigSet>(), 8);

/// The only `sigsetsize` that syscalls take; any other is EINVAL.
pub const SIGSET_SIZE: u64 = 8;

impl SigSet {
    pub const EMPTY: SigSet = SigSet(0);
    pub const FULL: SigSet = SigSet(u64::MAX);
    /// SIGKILL and SIGSTOP, which no mask holds back.
    pub const UNSTOPPABLE: SigSet = SigSet(Signal::SIGKILL.bit() | Signal::SIGSTOP.bit());
    /// Those that a thread's own instruction raises; delivered before all others.
    pub const SYNCHRONOUS: SigSet = SigSet(
        Signal::SIGSEGV.bit()
            | Signal::SIGBUS.bit()
            | Signal::SIGILL.bit()
            | Signal::SIGTRAP.bit()
            | Signal::SIGFPE.bit()
            | Signal::SIGSYS.bit(),
    );
    /// Those that stop a process by default.
    pub const STOP: SigSet = SigSet(
        Signal::SIGSTOP.bit()
            | Signal::SIGTSTP.bit()
            | Signal::SIGTTIN.bit()
            | Signal::SIGTTOU.bit(),
    );

    /// The set of one signal.
    pub const fn of(signal: Signal) -> SigSet {
        SigSet(signal.bit())
    }

    /// A mask as an application gave it, without SIGKILL and SIGSTOP.
    pub const fn blockable(self) -> SigSet {
        SigSet(self.0 & !Self::UNSTOPPABLE.0)
    }

    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & signal.bit() != 0
    }

    pub const fn intersects(self, other: SigSet) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn add(&mut self, signal: Signal) {
        self.0 |= signal.bit();
    }

    pub const fn remove(&mut self, signal: Signal) {
        self.0 &= !signal.bit();
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// `self` without what is in `other`.
    pub const fn without(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }

    /// The lowest signal of the set.
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 {
            None
        } else {
            Signal::from_raw(self.0.trailing_zeros() as i32 + 1)
        }
    }

    /// The signal that Linux would deliver next out of this pending set: synchronous ones first,
    /// then the lowest number (`next_signal`).
    pub const fn next(self) -> Option<Signal> {
        let synchronous = SigSet(self.0 & Self::SYNCHRONOUS.0);
        if synchronous.0 != 0 {
            synchronous.first()
        } else {
            self.first()
        }
    }

    /// The members, ascending.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let signal = rest.first()?;
            rest.remove(signal);
            Some(signal)
        })
    }
}

impl FromIterator<Signal> for SigSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> SigSet {
        signals
            .into_iter()
            .fold(SigSet::EMPTY, |set, signal| set | SigSet::of(signal))
    }
}

impl BitOr for SigSet {
    type Output = SigSet;
    fn bitor(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }
}

impl BitAnd for SigSet {
    type Output = SigSet;
    fn bitand(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }
}

impl BitOrAssign for SigSet {
    fn bitor_assign(&mut self, other: SigSet) {
        self.0 |= other.0;
    }
}

impl BitAndAssign for SigSet {
    fn bitand_assign(&mut self, other: SigSet) {
        self.0 &= other.0;
    }
}

impl Not for SigSet {
    type Output = SigSet;
    fn not(self) -> SigSet {
        SigSet(!self.0)
    }
}

impl fmt::Debug for SigSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

abi_struct! {
    /// `struct sigaction` as rt_sigaction(2) takes it (not the C library's).
    pub struct SigAction: 32 {
        /// [`SIG_DFL`], [`SIG_IGN`] or the handler's address.
        pub handler: u64,
        /// `SA_*`.
        pub flags: u64,
        /// Where the handler returns to, with [`SA_RESTORER`].
        pub restorer: u64,
        /// Blocked while the handler runs.
        pub mask: SigSet,
    }

    /// `stack_t` of sigaltstack(2).
    pub struct StackT: 24 {
        pub sp: u64,
        /// `SS_*`.
        pub flags: i32,
        pub pad0: u32,
        /// In bytes.
        pub size: u64,
    }

    /// `struct sigevent` of timer_create(2) and mq_notify(2).
    pub struct SigEvent: 64 {
        pub value: u64,
        pub signo: i32,
        /// `SIGEV_*`.
        pub notify: i32,
        /// With SIGEV_THREAD_ID, the thread to signal (the head of a union).
        pub tid: i32,
        pub pad0: [u32; 11],
    }

    /// `struct signalfd_siginfo` of signalfd(2).
    pub struct SignalfdSiginfo: 128 {
        pub signo: u32,
        pub errno: i32,
        pub code: i32,
        pub pid: u32,
        pub uid: u32,
        pub fd: i32,
        pub tid: u32,
        pub band: u32,
        pub overrun: u32,
        pub trapno: u32,
        pub status: i32,
        pub int: i32,
        pub ptr: u64,
        pub utime: u64,
        pub stime: u64,
        pub addr: u64,
        pub addr_lsb: u16,
        pub pad2: u16,
        pub syscall: i32,
        pub call_addr: u64,
        pub arch: u32,
        pub pad: [u8; 28],
    }
}

pub const SIG_DFL: u64 = 0;
pub const SIG_IGN: u64 = 1;

pub const SA_NOCLDSTOP: u64 = 0x0000_0001;
pub const SA_NOCLDWAIT: u64 = 0x0000_0002;
pub const SA_SIGINFO: u64 = 0x0000_0004;
pub const SA_UNSUPPORTED: u64 = 0x0000_0400;
pub const SA_EXPOSE_TAGBITS: u64 = 0x0000_0800;
pub const SA_RESTORER: u64 = 0x0400_0000;
pub const SA_ONSTACK: u64 = 0x0800_0000;
pub const SA_RESTART: u64 = 0x1000_0000;
pub const SA_NODEFER: u64 = 0x4000_0000;
pub const SA_RESETHAND: u64 = 0x8000_0000;
/// `UAPI_SA_FLAGS` of x86: the flags that rt_sigaction(2) keeps; others read back as zero.
pub const SA_SUPPORTED: u64 = SA_NOCLDSTOP
    | SA_NOCLDWAIT
    | SA_SIGINFO
    | SA_EXPOSE_TAGBITS
    | SA_RESTORER
    | SA_ONSTACK
    | SA_RESTART
    | SA_NODEFER
    | SA_RESETHAND;

pub const SS_ONSTACK: i32 = 1;
pub const SS_DISABLE: i32 = 2;
pub const SS_AUTODISARM: i32 = 1 << 31;
/// `SS_FLAG_BITS`: bits of [`StackT::flags`] that are not the mode.
pub const SS_FLAG_BITS: i32 = SS_AUTODISARM;
/// Least size of an alternate stack, `MINSIGSTKSZ`; the kernel asks for the true frame on top.
pub const MINSIGSTKSZ: u64 = 2048;

impl SigAction {
    pub const DEFAULT: SigAction = SigAction {
        handler: SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: SigSet::EMPTY,
    };

    pub const fn is_default(&self) -> bool {
        self.handler == SIG_DFL
    }

    pub const fn is_ignore(&self) -> bool {
        self.handler == SIG_IGN
    }

    /// Has a function of the application's to call.
    pub const fn is_caught(&self) -> bool {
        self.handler > SIG_IGN
    }

    pub const fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}

impl StackT {
    /// No alternate stack.
    pub const DISABLED: StackT = StackT {
        sp: 0,
        flags: SS_DISABLE,
        pad0: 0,
        size: 0,
    };

    /// Whether `sp` lies on this stack (`__on_sig_stack`: above its low end, up to its high end).
    pub const fn contains(&self, sp: u64) -> bool {
        sp > self.sp && sp - self.sp <= self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_hosts() {
        assert_eq!(size_of::<StackT>(), size_of::<libc::stack_t>());
        assert_eq!(size_of::<SigEvent>(), size_of::<libc::sigevent>());
        assert_eq!(
            size_of::<SignalfdSiginfo>(),
            size_of::<libc::signalfd_siginfo>()
        );
        assert_eq!(
            memoffset::offset_of!(SignalfdSiginfo, addr),
            memoffset::offset_of!(libc::signalfd_siginfo, ssi_addr)
        );
    }

    #[test]
    fn sets_behave() {
        let mut set = SigSet::EMPTY;
        assert_eq!(set.first(), None);
        set.add(Signal::SIGCHLD);
        set.add(Signal::SIGHUP);
        set.add(Signal::SIGRTMAX);
        assert_eq!(set.first(), Some(Signal::SIGHUP));
        assert_eq!(set.iter().count(), 3);
        set.remove(Signal::SIGHUP);
        assert_eq!(set.first(), Some(Signal::SIGCHLD));
        assert!((!set).contains(Signal::SIGHUP));
        assert_eq!(set | !set, SigSet::FULL);
        assert!((set & !set).is_empty());
        assert!(!SigSet::FULL.blockable().contains(Signal::SIGKILL));
        assert_eq!(set.iter().collect::<SigSet>(), set);
    }

    #[test]
    fn synchronous_signals_come_first() {
        let set: SigSet = [Signal::SIGHUP, Signal::SIGSEGV].into_iter().collect();
        assert_eq!(set.next(), Some(Signal::SIGSEGV));
    }

    #[test]
    fn stack_bounds_are_linuxs() {
        let stack = StackT {
            sp: 0x1000,
            size: 0x1000,
            ..StackT::default()
        };
        assert!(!stack.contains(0x1000) && stack.contains(0x1001));
        assert!(stack.contains(0x2000) && !stack.contains(0x2001));
    }
}
