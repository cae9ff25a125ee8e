//! prctl(2), arch_prctl(2), ptrace(2), seccomp(2), kcmp(2), pidfd_open(2), membarrier(2).

abi_struct! {
    /// `struct prctl_mm_map`, PR_SET_MM_MAP.
    pub struct PrctlMmMap: 104 {
        pub start_code: u64,
        pub end_code: u64,
        pub start_data: u64,
        pub end_data: u64,
        pub start_brk: u64,
        pub brk: u64,
        pub start_stack: u64,
        pub arg_start: u64,
        pub arg_end: u64,
        pub env_start: u64,
        pub env_end: u64,
        pub auxv: u64,
        pub auxv_size: u32,
        pub exe_fd: u32,
    }

    /// `struct ptrace_syscall_info`, PTRACE_GET_SYSCALL_INFO. What `data` holds depends on `op`:
    /// on entry the number and six arguments; on exit the value and, in the low byte of the next
    /// word, whether it is an error; at a seccomp stop number, arguments, and the filter's data.
    pub struct PtraceSyscallInfo: 88 {
        pub op: u8,
        pub pad0: u8,
        pub flags: u16,
        pub arch: u32,
        pub instruction_pointer: u64,
        pub stack_pointer: u64,
        pub data: [u64; 8],
    }

    /// `struct ptrace_peeksiginfo_args`.
    pub struct PtracePeekSigInfoArgs: 16 {
        pub off: u64,
        pub flags: u32,
        pub nr: i32,
    }

    /// `struct ptrace_rseq_configuration`.
    pub struct PtraceRseqConfiguration: 24 {
        pub rseq_abi_pointer: u64,
        pub rseq_abi_size: u32,
        pub signature: u32,
        pub flags: u32,
        pub pad: u32,
    }

    /// `struct seccomp_data`: what a filter sees.
    pub struct SeccompData: 64 {
        pub nr: i32,
        pub arch: u32,
        pub instruction_pointer: u64,
        pub args: [u64; 6],
    }

    /// `struct sock_filter`: one instruction of classic BPF.
    pub struct SockFilter: 8 {
        pub code: u16,
        pub jt: u8,
        pub jf: u8,
        pub k: u32,
    }

    /// `struct sock_fprog`: a classic BPF program.
    pub struct SockFprog: 16 {
        /// In instructions.
        pub len: u16,
        pub pad0: u16,
        pub pad1: u32,
        pub filter: u64,
    }
}

/// Most instructions of a classic BPF program.
pub const BPF_MAXINSNS: usize = 4096;

pub const PTRACE_SYSCALL_INFO_NONE: u8 = 0;
pub const PTRACE_SYSCALL_INFO_ENTRY: u8 = 1;
pub const PTRACE_SYSCALL_INFO_EXIT: u8 = 2;
pub const PTRACE_SYSCALL_INFO_SECCOMP: u8 = 3;

pub const ARCH_SET_GS: i32 = 0x1001;
pub const ARCH_SET_FS: i32 = 0x1002;
pub const ARCH_GET_FS: i32 = 0x1003;
pub const ARCH_GET_GS: i32 = 0x1004;
pub const ARCH_GET_CPUID: i32 = 0x1011;
pub const ARCH_SET_CPUID: i32 = 0x1012;
pub const ARCH_GET_XCOMP_SUPP: i32 = 0x1021;
pub const ARCH_GET_XCOMP_PERM: i32 = 0x1022;
pub const ARCH_REQ_XCOMP_PERM: i32 = 0x1023;
pub const ARCH_GET_XCOMP_GUEST_PERM: i32 = 0x1024;
pub const ARCH_REQ_XCOMP_GUEST_PERM: i32 = 0x1025;
pub const ARCH_SHSTK_ENABLE: i32 = 0x5001;
pub const ARCH_SHSTK_STATUS: i32 = 0x5005;

pub const PIDFD_NONBLOCK: u32 = 0o4000;
pub const PIDFD_THREAD: u32 = 0o200;
pub const PIDFD_SIGNAL_THREAD: u32 = 1;
pub const PIDFD_SIGNAL_THREAD_GROUP: u32 = 2;
pub const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 4;

pub const KCMP_FILE: i32 = 0;
pub const KCMP_VM: i32 = 1;
pub const KCMP_FILES: i32 = 2;
pub const KCMP_FS: i32 = 3;
pub const KCMP_SIGHAND: i32 = 4;
pub const KCMP_IO: i32 = 5;
pub const KCMP_SYSVSEM: i32 = 6;
pub const KCMP_EPOLL_TFD: i32 = 7;

pub const PROT_SEM: i32 = 0x8;
pub const PKEY_DISABLE_ACCESS: u32 = 1;
pub const PKEY_DISABLE_WRITE: u32 = 2;

/// `NT_X86_XSTATE`, the register set of PTRACE_GETREGSET.
pub const NT_X86_XSTATE: i32 = 0x202;

/// `comm`'s room, NUL included (`TASK_COMM_LEN`), PR_SET_NAME.
pub const TASK_COMM_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(
            size_of::<PtraceSyscallInfo>(),
            size_of::<libc::ptrace_syscall_info>()
        );
        assert_eq!(size_of::<SockFprog>(), size_of::<libc::sock_fprog>());
        assert_eq!(size_of::<SeccompData>(), size_of::<libc::seccomp_data>());
    }
}
