//! Scheduling, rseq(2), futex(2), get_robust_list(2).

abi_struct! {
    /// `struct sched_param`.
    pub struct SchedParam: 4 {
        pub priority: i32,
    }

    /// `struct sched_attr` of sched_setattr(2), newest version; times in nanoseconds.
    pub struct SchedAttr: 56 {
        pub size: u32,
        pub policy: u32,
        pub flags: u64,
        pub nice: i32,
        pub priority: u32,
        pub runtime: u64,
        pub deadline: u64,
        pub period: u64,
        pub util_min: u32,
        pub util_max: u32,
    }

    /// `struct robust_list_head` of set_robust_list(2).
    pub struct RobustListHead: 24 {
        /// First entry; bit 0 marks a PI futex. The list ends where it points back at this head.
        pub list: u64,
        /// From an entry to its futex word, in bytes.
        pub futex_offset: i64,
        pub list_op_pending: u64,
    }

    /// `struct rseq` of rseq(2), as first published (the kernel takes longer ones too).
    pub struct Rseq: 32 {
        pub cpu_id_start: u32,
        /// The CPU, or [`RSEQ_CPU_ID_UNINITIALIZED`].
        pub cpu_id: u32,
        /// Address of the active [`RseqCs`], or zero.
        pub rseq_cs: u64,
        pub flags: u32,
        pub node_id: u32,
        pub mm_cid: u32,
        pub end: u32,
    }

    /// `struct rseq_cs`: one critical section.
    pub struct RseqCs: 32 {
        pub version: u32,
        pub flags: u32,
        pub start_ip: u64,
        pub post_commit_offset: u64,
        pub abort_ip: u64,
    }

    /// `struct futex_waitv` of futex_waitv(2).
    pub struct FutexWaitv: 24 {
        pub val: u64,
        pub uaddr: u64,
        pub flags: u32,
        pub reserved: u32,
    }
}

impl SchedAttr {
    /// Size of the first version, without `util_min` and `util_max`.
    pub const SIZE_VER0: usize = 48;
    pub const SIZE_VER1: usize = 56;
}

/// How far the kernel follows a robust list.
pub const ROBUST_LIST_LIMIT: usize = 2048;

/// `rseq_len` of the first version; also its alignment.
pub const RSEQ_SIZE: u32 = 32;
pub const RSEQ_FLAG_UNREGISTER: u32 = 1;
pub const RSEQ_CPU_ID_UNINITIALIZED: u32 = u32::MAX;
pub const RSEQ_CPU_ID_REGISTRATION_FAILED: u32 = u32::MAX - 1;

pub const FUTEX_WAITERS: u32 = 0x8000_0000;
pub const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
pub const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
pub const FUTEX_BITSET_MATCH_ANY: u32 = u32::MAX;
/// `FUTEX_CMD_MASK`: the operation without PRIVATE and CLOCK_REALTIME.
pub const FUTEX_CMD_MASK: u32 = !(128 | 256);
pub const FUTEX2_SIZE_MASK: u32 = 3;
pub const FUTEX2_SIZE_U32: u32 = 2;
pub const FUTEX2_NUMA: u32 = 4;
pub const FUTEX2_PRIVATE: u32 = 128;
/// Most futexes of one futex_waitv(2).
pub const FUTEX_WAITV_MAX: u32 = 128;

/// `ioprio_set(2)`: class in the upper three bits.
pub const IOPRIO_CLASS_SHIFT: u32 = 13;
pub const IOPRIO_CLASS_NONE: u32 = 0;
pub const IOPRIO_CLASS_RT: u32 = 1;
pub const IOPRIO_CLASS_BE: u32 = 2;
pub const IOPRIO_CLASS_IDLE: u32 = 3;
pub const IOPRIO_WHO_PROCESS: i32 = 1;
pub const IOPRIO_WHO_PGRP: i32 = 2;
pub const IOPRIO_WHO_USER: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<SchedParam>(), size_of::<libc::sched_param>());
        assert_eq!(memoffset::offset_of!(SchedAttr, runtime), 24);
    }
}
