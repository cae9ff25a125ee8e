//! Making and awaiting tasks: clone(2), clone3(2), wait4(2), waitid(2).

abi_struct! {
    /// `struct clone_args` of clone3(2), newest version.
    pub struct CloneArgs: 88 {
        /// `CLONE_*`.
        pub flags: u64,
        pub pidfd: u64,
        pub child_tid: u64,
        pub parent_tid: u64,
        pub exit_signal: u64,
        /// Lowest address of the child's stack.
        pub stack: u64,
        /// In bytes.
        pub stack_size: u64,
        pub tls: u64,
        pub set_tid: u64,
        /// In elements.
        pub set_tid_size: u64,
        pub cgroup: u64,
    }
}

impl CloneArgs {
    /// Size of the first version; a smaller `size` is EINVAL.
    pub const SIZE_VER0: usize = 64;
    /// With `set_tid`.
    pub const SIZE_VER1: usize = 80;
    /// With `cgroup`.
    pub const SIZE_VER2: usize = 88;
}

/// The exit signal in the low byte of clone(2)'s flags.
pub const CSIGNAL: u64 = 0x0000_00ff;
pub const CLONE_NEWTIME: u64 = 0x0000_0080;
pub const CLONE_VM: u64 = 0x0000_0100;
pub const CLONE_FS: u64 = 0x0000_0200;
pub const CLONE_FILES: u64 = 0x0000_0400;
pub const CLONE_SIGHAND: u64 = 0x0000_0800;
pub const CLONE_PIDFD: u64 = 0x0000_1000;
pub const CLONE_PTRACE: u64 = 0x0000_2000;
pub const CLONE_VFORK: u64 = 0x0000_4000;
pub const CLONE_PARENT: u64 = 0x0000_8000;
pub const CLONE_THREAD: u64 = 0x0001_0000;
pub const CLONE_NEWNS: u64 = 0x0002_0000;
pub const CLONE_SYSVSEM: u64 = 0x0004_0000;
pub const CLONE_SETTLS: u64 = 0x0008_0000;
pub const CLONE_PARENT_SETTID: u64 = 0x0010_0000;
pub const CLONE_CHILD_CLEARTID: u64 = 0x0020_0000;
pub const CLONE_DETACHED: u64 = 0x0040_0000;
pub const CLONE_UNTRACED: u64 = 0x0080_0000;
pub const CLONE_CHILD_SETTID: u64 = 0x0100_0000;
pub const CLONE_NEWCGROUP: u64 = 0x0200_0000;
pub const CLONE_NEWUTS: u64 = 0x0400_0000;
pub const CLONE_NEWIPC: u64 = 0x0800_0000;
pub const CLONE_NEWUSER: u64 = 0x1000_0000;
pub const CLONE_NEWPID: u64 = 0x2000_0000;
pub const CLONE_NEWNET: u64 = 0x4000_0000;
pub const CLONE_IO: u64 = 0x8000_0000;
/// clone3(2) only, as the next.
pub const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Every `CLONE_NEW*`: what unshare(2) and setns(2) know as namespaces.
pub const CLONE_NEW_ANY: u64 = CLONE_NEWTIME
    | CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;

/// Deepest nesting of pid namespaces, the bound of [`CloneArgs::set_tid_size`].
pub const MAX_PID_NS_LEVEL: u64 = 32;

/// A wait status of wait4(2) as the kernel packs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// exit(2)'s low byte.
    Exited(u8),
    /// Ended by a signal, with or without a core dump.
    Signaled {
        signal: i32,
        core: bool,
    },
    /// Stopped by a signal; ptrace(2) adds an event in bits 16 to 23.
    Stopped {
        signal: i32,
        event: u8,
    },
    Continued,
}

impl WaitStatus {
    /// The number that wait4(2) stores.
    pub const fn raw(self) -> i32 {
        match self {
            WaitStatus::Exited(code) => (code as i32) << 8,
            WaitStatus::Signaled { signal, core } => (signal & 0x7f) | if core { 0x80 } else { 0 },
            WaitStatus::Stopped { signal, event } => {
                ((signal & 0xff) << 8) | 0x7f | (event as i32) << 16
            }
            WaitStatus::Continued => 0xffff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<CloneArgs>(), size_of::<libc::clone_args>());
    }

    #[test]
    fn statuses_read_back_with_the_c_macros() {
        let status = WaitStatus::Exited(3).raw();
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 3);
        let status = WaitStatus::Signaled {
            signal: 9,
            core: true,
        }
        .raw();
        assert!(libc::WIFSIGNALED(status) && libc::WCOREDUMP(status));
        assert_eq!(libc::WTERMSIG(status), 9);
        let status = WaitStatus::Stopped {
            signal: 19,
            event: 0,
        }
        .raw();
        assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == 19);
        assert!(libc::WIFCONTINUED(WaitStatus::Continued.raw()));
    }
}
