//! The words that the Sentry and a stub share, as offsets.
//!
//! Compiled into both sides like [`crate::layout`]: constants only.
//!
//! One cache line per writer. "stub" lines are hostile to the Sentry, which
//! reads each word once per decision; "sentry" lines are what the stub obeys
//! (the application can overwrite them too, but only fools itself).
//! A call of a patched site that a worker waits for takes one line each way:
//! the event with its arguments, and the answer.

#![allow(dead_code)] // either compilation uses only its half

// ---- a slot, offsets from its start -----------------------------------

/// Kernel-written (CLONE_CHILD_SETTID and CLEARTID): the host thread's id,
/// 0 once it is dead. Meaningless for a process's first thread.
pub const S_TID: u64 = 0x08;
/// stub: 1 while it sleeps in a futex wait of the application's.
pub const S_FUTEX_WAIT: u64 = 0x0c;
/// stub, private to it: a kick came when the thread could not report it.
pub const S_KICK_SEEN: u64 = 0x10;

/// stub, private to it: `MODE_*`, how it was entered.
pub const S_MODE: u64 = 0x14;
/// stub, private to it: whether spinning before futex waits has paid, see
/// stub/futex.rs.
pub const S_SPIN: u64 = 0x18;
/// stub, private to it: trapped calls that it could answer itself.
pub const S_OWN: u64 = 0x1c;
/// stub, private to it: prefetch entries used.
pub const S_PF_COUNT: u64 = 0x20;

/// stub: number of the event; written last. One that is not the number of the
/// last answer is a publication.
pub const S_SEQ: u64 = 0x40;
/// stub: `EV_*`, from bit 8 on `S_MODE`, from bit 16 on `S_PF_COUNT`.
pub const S_WHAT: u64 = 0x44;
/// stub: number of the call, if `MODE_FAST`, and CPU it ran on.
pub const S_NR: u64 = 0x48;
pub const S_CPU: u64 = 0x4c;
/// stub: arguments of a call, if `MODE_FAST`: six u64. (So that the frame's
/// lines can stay where they are.)
pub const S_ARGS: u64 = 0x50;

/// sentry: the answer to the event of this number is there; written last.
pub const S_ACK: u64 = 0x80;
/// sentry: entries of the action list, and where it starts in the slot.
pub const S_ACTIONS: u64 = 0x84;
pub const S_ACTIONS_OFF: u64 = 0x88;
/// sentry: write-back entries.
pub const S_WB_COUNT: u64 = 0x8c;
/// sentry: bases to load if `RF_SET_FS`/`RF_SET_GS`.
pub const S_NEW_FS: u64 = 0x90;
pub const S_NEW_GS: u64 = 0x98;
/// sentry: descriptors that were sent for this list, and the turn in which
/// this thread may take them from the control socket.
pub const S_FDS: u64 = 0xa0;
pub const S_FD_TICKET: u64 = 0xa4;
/// sentry: `RF_*`.
pub const S_FLAGS: u64 = 0xa8;
/// sentry: a kick could not be sent; report it before the application runs.
pub const S_KICK_WANTED: u64 = 0xac;
/// sentry: 1 to be asked about every call, the stub's own included.
pub const S_ASK_ALL: u64 = 0xb0;
/// sentry: `LOOK_*`.
pub const S_LOOK: u64 = 0xb4;
/// sentry: what the call returns, if `RF_RET`.
pub const S_RET: u64 = 0xb8;

/// sentry: identity cache; valid flag, then pid, tid, uid, euid, gid, egid.
pub const S_ID_VALID: u64 = 0xc0;
pub const S_ID: u64 = 0xc4;
/// sentry: where a fork child's or new thread's first frame is.
pub const S_START_FRAME: u64 = 0xdc;
/// sentry: `MAGIC` in slots that patched call sites may enter by, and the
/// address of the frame that the entry fills.
pub const S_MAGIC: u64 = 0xe0;
pub const S_FAST_FRAME: u64 = 0xe8;
/// The futex word of the hand-over, `ST_*`; written by both, but only where
/// the stub sleeps.
pub const S_STATE: u64 = 0xf0;

/// sentry: what the end of the thread reads first (`EXIT_INPUT` bytes), or 0.
pub const S_AT_EXIT: u64 = 0xf8;
/// Bytes of a struct robust_list_head.
pub const EXIT_INPUT: u64 = 24;

/// stub: prefetch entries {addr u64, len u32, off u32}.
pub const S_PF: u64 = 0x100;
pub const PF_MAX: u64 = 16;
/// sentry: write-back entries, same shape.
pub const S_WB: u64 = 0x200;
pub const WB_MAX: u64 = 32;
/// Size of one of either.
pub const ENTRY: u64 = 16;

/// stub: what most events do without. Host signal number for `EV_SIGNAL`.
pub const S_SIGNO: u64 = 0x4c0;
/// stub: offset in the slot of the `rt_sigframe`, unless `MODE_FAST`.
pub const S_FRAME: u64 = 0x4c4;
/// stub: current bases (0 where the CPU has no FSGSBASE).
pub const S_FS: u64 = 0x4c8;
pub const S_GS: u64 = 0x4d0;
/// stub: two words whose meaning depends on the kind.
pub const S_ARG0: u64 = 0x4d8;
pub const S_ARG1: u64 = 0x4e0;

/// The copy window: prefetched input, action list, output.
pub const S_WINDOW: u64 = 0xc00;
/// 64 KiB, the usual large buffer, and room beside it.
pub const WINDOW_LEN: u64 = 0x1_2000;
/// The alternate signal stack: the rest of the slot.
pub const S_STACK: u64 = S_WINDOW + WINDOW_LEN;

// ---- words of the whole process, in slot 0's first page -----------------

/// stub: slots 0 to 63 that have an event, a bit each.
pub const P_PENDING0: u64 = 0x400;
/// stub: which words of `P_PENDING` have bits (two u64).
pub const P_SUMMARY: u64 = 0x408;
/// stub: whose turn it is on the control socket.
pub const P_TURN: u64 = 0x440;
/// stub: threads in futex waits (a hint).
pub const P_WAITERS: u64 = 0x444;
/// sentry: the process is to end (for one whose pid is not known yet).
pub const P_KILL: u64 = 0x480;
/// stub: slots that have an event, 128 u64 (word 0 is unused: `P_PENDING0`).
pub const P_PENDING: u64 = 0x800;

// ---- states ------------------------------------------------------------

/// The stub is awake.
pub const ST_AWAKE: u32 = 0;
/// The stub sleeps on the state word until it is answered.
pub const ST_SLEEPING: u32 = 1;
/// `EXIT_THREAD` of a process's first thread: nothing more will come.
pub const ST_PARKED_FOREVER: u32 = 2;

/// Nobody looks at `S_SEQ` unless a pending bit says so.
pub const LOOK_NONE: u32 = 0;
/// A worker that is hot looks at `S_SEQ`: no pending bit is needed.
pub const LOOK_WATCHED: u32 = 1;
/// The Sentry has taken the event and will take long: sleep, don't spin.
pub const LOOK_BLOCKED: u32 = 2;

/// `S_SEQ` of a fork child or new thread, which looks as if it had published.
pub const FIRST_SEQ: u32 = 1;

/// `S_MODE`: by a signal. The kick is blocked while the stub works, the frame
/// is the kernel's, and the way back is sigreturn.
pub const MODE_SIGNAL: u32 = 0;
/// From a patched call site: nothing is blocked (a kick that comes is noted in
/// `S_KICK_SEEN`), the frame has general registers only, the FPU state is
/// where it was, and the way back is a jump.
pub const MODE_FAST: u32 = 1;
/// `S_MAGIC`: the segment base is this slot's.
pub const MAGIC: u32 = 0x51a7_c0de;

// ---- event kinds ---------------------------------------------------------

/// A host signal: SIGSYS, a fault, or the kick.
pub const EV_SIGNAL: u32 = 1;
/// ARG0 index, ARG1 errno.
pub const EV_ACTION_FAILED: u32 = 2;
/// ARG0 address.
pub const EV_WB_FAULT: u32 = 3;
/// ARG0 cycles waited.
pub const EV_FUTEX_INT: u32 = 4;
/// `RF_REPARK` was obeyed.
pub const EV_PARKED: u32 = 5;
/// A kick was noticed while in the stub.
pub const EV_KICK: u32 = 6;
/// As `EV_SIGNAL` with SIGSYS, for a call that the stub could answer itself: so
/// that the Sentry sees where it traps.
pub const EV_SHOWN: u32 = 8;
/// A call that `RF_OWN_CALL` was for, and that isn't the stub's after all.
pub const EV_HANDED_BACK: u32 = 7;

// ---- resume flags ----------------------------------------------------------

pub const RF_SET_FS: u32 = 1;
pub const RF_SET_GS: u32 = 2;
/// Publish `EV_PARKED` in place of entering the application.
pub const RF_REPARK: u32 = 4;
/// And wake `S_SEQ` after any publication (someone waits there).
pub const RF_WAKE_STATE: u32 = 8;
/// Answer the trapped call after all, as without `S_ASK_ALL`.
pub const RF_OWN_CALL: u32 = 16;
/// Go on as if entered by a signal (the Sentry has completed the frame)…
pub const RF_FULL: u32 = 32;
/// … and save the FPU state in it first.
pub const RF_XSAVE: u32 = 64;
/// `S_RET` goes to the frame's `rax`.
pub const RF_RET: u32 = 128;
/// With `RF_REPARK`: what follows takes long, so don't spin for it.
pub const RF_LONG: u32 = 256;

// ---- actions -----------------------------------------------------------------

/// Size of one: op u32, flags u32, six u64 arguments.
pub const ACTION: u64 = 56;
pub const ACTIONS_MAX: u64 = 512;
/// Descriptors in one list.
pub const FDS_MAX: u64 = 16;

/// addr, len, prot, flags, descriptor index (`NO_FD`), offset
pub const A_MMAP: u32 = 1;
pub const NO_FD: u64 = u64::MAX;
pub const A_MUNMAP: u32 = 2;
pub const A_MPROTECT: u32 = 3;
pub const A_MREMAP: u32 = 4;
pub const A_MADVISE: u32 = 5;
pub const A_MSYNC: u32 = 6;
pub const A_ZERO: u32 = 7;
pub const A_STORE32: u32 = 8;
/// addr, old, new
pub const A_CAS32: u32 = 9;
/// addr, count, futex op
pub const A_FUTEX_WAKE: u32 = 10;
/// addr, futex op, value, has deadline, deadline ns, bitset
pub const A_FUTEX_WAIT: u32 = 11;
pub const A_EXIT_THREAD: u32 = 12;
pub const A_EXIT_PROCESS: u32 = 13;
/// The first thread of a process must outlive the others.
pub const A_PARK_FOREVER: u32 = 14;
/// descriptor indexes of region and control socket
pub const A_FORK: u32 = 15;
/// slot index
pub const A_THREAD: u32 = 16;
/// addr, len, offset in slot of the result vector
pub const A_MINCORE: u32 = 17;
/// Rewrites a call site; never fails. Start of the trampolines, offset of this
/// one, address, old and new value of the 8 bytes with the call. Its code is
/// in the arguments of the next entry, an `A_CODE`.
pub const A_PATCH: u32 = 18;
pub const A_CODE: u32 = 19;
/// Saves the FPU state, standard format, at an address of the application's, a
/// multiple of 64, and makes it the initial one: address, features.
pub const A_SAVE_FPU: u32 = 20;
/// Bytes of a trampoline, and of all those near one text.
pub const CODE: u64 = 48;
pub const CODE_AREA: u64 = 0x1_0000;

/// In an action's flags: an error doesn't stop the list.
pub const AF_IGNORE: u32 = 1;

// ---- the doorbell pages --------------------------------------------------------

/// sentry: 0, or 1 + the CPU whose worker is spinning.
pub const D_HOT: u64 = 0x00;
/// sentry: how long a stub may spin when a worker is hot, in cycles.
pub const D_SPIN: u64 = 0x04;
/// sentry: `DF_*`.
pub const D_FLAGS: u64 = 0x08;
/// sentry: the CPU whose worker serves CPUs that have none.
pub const D_FALLBACK: u64 = 0x0c;
/// sentry: how long a stub may look at a futex word before it sleeps, in
/// cycles; 0: not at all.
pub const D_FUTEX_SPIN: u64 = 0x10;
/// sentry: a line per CPU, `DS_*` in its first word.
pub const D_CPU: u64 = 0x40;
pub const D_CPU_STRIDE: u64 = 0x40;
/// CPUs that have a line.
pub const D_CPUS: u64 = 1023;
pub const DOORBELL_LEN: u64 = 0x1_0000;

/// rdfsbase and kin may be used.
pub const DF_FSGSBASE: u32 = 1;
/// Call sites are rewritten: show some of those that stubs answer themselves.
pub const DF_SHOW: u32 = 2;

/// rdpid may be used.
pub const DF_RDPID: u32 = 4;

/// No worker on this CPU.
pub const DS_NONE: u32 = 0;
/// The worker is awake and will look at all rings before it sleeps.
pub const DS_RUNNING: u32 = 1;
/// The worker sleeps on the word: ring.
pub const DS_SLEEPING: u32 = 2;

// ---- signals -------------------------------------------------------------------------

/// The kick: a standard signal, so that several merge into one.
pub const SIG_KICK: u32 = 23; // SIGURG
/// Descriptor of the control socket in every stub.
pub const CTL_FD: u64 = 0;

/// clone(2) flags of a fork: CLONE_PARENT | SIGCHLD.
pub const CLONE_FORK: u64 = 0x8000 | 17;
/// clone(2) flags of a thread: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM,
/// CHILD_SETTID, CHILD_CLEARTID.
pub const CLONE_THREAD: u64 =
    0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000 | 0x100_0000 | 0x20_0000;

/// The kick's bit in a signal mask.
pub const KICK_MASK: u64 = 1 << (SIG_KICK - 1);

// ---- struct rt_sigframe of x86-64 (kernel: arch/x86/include/asm/sigframe.h) ---------

/// `uc_flags`, `uc_link`, `uc_stack {sp, flags, size}`
pub const F_UC: u64 = 8;
pub const F_SS_SP: u64 = F_UC + 16;
pub const F_SS_FLAGS: u64 = F_UC + 24;
pub const F_SS_SIZE: u64 = F_UC + 32;
/// r8 … r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags
pub const F_GREGS: u64 = F_UC + 40;
pub const F_R8: u64 = F_GREGS;
pub const F_R9: u64 = F_GREGS + 8;
pub const F_R10: u64 = F_GREGS + 16;
pub const F_R11: u64 = F_GREGS + 24;
pub const F_R12: u64 = F_GREGS + 32;
pub const F_R13: u64 = F_GREGS + 40;
pub const F_R14: u64 = F_GREGS + 48;
pub const F_R15: u64 = F_GREGS + 56;
pub const F_RDI: u64 = F_GREGS + 64;
pub const F_RSI: u64 = F_GREGS + 72;
pub const F_RBP: u64 = F_GREGS + 80;
pub const F_RBX: u64 = F_GREGS + 88;
pub const F_RDX: u64 = F_GREGS + 96;
pub const F_RAX: u64 = F_GREGS + 104;
pub const F_RCX: u64 = F_GREGS + 112;
pub const F_RSP: u64 = F_GREGS + 120;
pub const F_RIP: u64 = F_GREGS + 128;
pub const F_RFLAGS: u64 = F_GREGS + 136;
/// u16 each: cs, gs, fs, ss
pub const F_CS: u64 = F_GREGS + 144;
pub const F_SS: u64 = F_GREGS + 150;
pub const F_ERR: u64 = F_GREGS + 152;
pub const F_TRAPNO: u64 = F_GREGS + 160;
pub const F_OLDMASK: u64 = F_GREGS + 168;
pub const F_CR2: u64 = F_GREGS + 176;
pub const F_FPSTATE: u64 = F_GREGS + 184;
/// An FPU state's `sw_reserved`, and in it the features that it has.
pub const FP_SW: u64 = 464;
pub const FP_XFEATURES: u64 = FP_SW + 8;
pub const F_SIGMASK: u64 = F_UC + 296;
/// siginfo_t
pub const F_INFO: u64 = F_UC + 304;
pub const F_SI_CODE: u64 = F_INFO + 8;
pub const F_SI_ADDR: u64 = F_INFO + 16;
/// si_call_addr is at 16, si_syscall at 24, si_arch at 28
pub const F_SI_SYSCALL: u64 = F_INFO + 24;
pub const F_SI_ARCH: u64 = F_INFO + 28;
/// sizeof(struct rt_sigframe)
pub const FRAME_LEN: u64 = F_INFO + 128;

pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
pub const AUDIT_ARCH_I386: u32 = 0x4000_0003;
/// In a system call number: the x32 ABI.
pub const X32_BIT: u64 = 0x4000_0000;
