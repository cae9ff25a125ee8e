//! System V and POSIX IPC, Linux AIO: msgctl(2), semctl(2), shmctl(2), mq_overview(7), io_submit(2).

abi_struct! {
    /// `struct ipc64_perm`.
    pub struct IpcPerm: 48 {
        pub key: i32,
        pub uid: u32,
        pub gid: u32,
        pub cuid: u32,
        pub cgid: u32,
        pub mode: u32,
        pub seq: u16,
        pub pad0: u16,
        pub pad1: u32,
        pub unused: [u64; 2],
    }

    /// `struct msqid64_ds`; times in seconds.
    pub struct MsqidDs: 120 {
        pub perm: IpcPerm,
        pub stime: i64,
        pub rtime: i64,
        pub ctime: i64,
        /// Bytes on the queue.
        pub cbytes: u64,
        /// Messages on the queue.
        pub qnum: u64,
        /// Most bytes on the queue.
        pub qbytes: u64,
        pub lspid: i32,
        pub lrpid: i32,
        pub unused: [u64; 2],
    }

    /// `struct semid64_ds`.
    pub struct SemidDs: 104 {
        pub perm: IpcPerm,
        pub otime: i64,
        pub unused1: u64,
        pub ctime: i64,
        pub unused2: u64,
        pub nsems: u64,
        pub unused3: [u64; 2],
    }

    /// `struct shmid64_ds`.
    pub struct ShmidDs: 112 {
        pub perm: IpcPerm,
        /// In bytes.
        pub segsz: u64,
        pub atime: i64,
        pub dtime: i64,
        pub ctime: i64,
        pub cpid: i32,
        pub lpid: i32,
        pub nattch: u64,
        pub unused: [u64; 2],
    }

    /// `struct sembuf` of semop(2).
    pub struct Sembuf: 6 {
        pub num: u16,
        pub op: i16,
        pub flg: i16,
    }

    /// `struct seminfo`, IPC_INFO and SEM_INFO.
    pub struct Seminfo: 40 {
        pub semmap: i32,
        pub semmni: i32,
        pub semmns: i32,
        pub semmnu: i32,
        pub semmsl: i32,
        pub semopm: i32,
        pub semume: i32,
        pub semusz: i32,
        pub semvmx: i32,
        pub semaem: i32,
    }

    /// `struct shminfo64`, IPC_INFO.
    pub struct Shminfo: 72 {
        pub shmmax: u64,
        pub shmmin: u64,
        pub shmmni: u64,
        pub shmseg: u64,
        pub shmall: u64,
        pub unused: [u64; 4],
    }

    /// `struct shm_info`, SHM_INFO; in pages.
    pub struct ShmUsage: 48 {
        pub used_ids: i32,
        pub pad0: u32,
        pub tot: u64,
        pub rss: u64,
        pub swp: u64,
        pub swap_attempts: u64,
        pub swap_successes: u64,
    }

    /// `struct msginfo`, IPC_INFO and MSG_INFO.
    pub struct Msginfo: 32 {
        pub msgpool: i32,
        pub msgmap: i32,
        pub msgmax: i32,
        pub msgmnb: i32,
        pub msgmni: i32,
        pub msgssz: i32,
        pub msgtql: i32,
        pub msgseg: u16,
        pub pad0: u16,
    }

    /// `struct mq_attr`.
    pub struct MqAttr: 64 {
        pub flags: i64,
        pub maxmsg: i64,
        /// In bytes.
        pub msgsize: i64,
        pub curmsgs: i64,
        pub reserved: [i64; 4],
    }

    /// `struct iocb` of io_submit(2).
    pub struct Iocb: 64 {
        pub data: u64,
        pub key: u32,
        pub rw_flags: u32,
        /// `IOCB_CMD_*`.
        pub opcode: u16,
        pub reqprio: i16,
        pub fildes: u32,
        pub buf: u64,
        pub nbytes: u64,
        pub offset: i64,
        pub reserved2: u64,
        pub flags: u32,
        pub resfd: u32,
    }

    /// `struct io_event` of io_getevents(2).
    pub struct IoEvent: 32 {
        pub data: u64,
        pub obj: u64,
        pub res: i64,
        pub res2: i64,
    }
}

pub const IPC_INFO: i32 = 3;
pub const MSG_STAT: i32 = 11;
pub const MSG_INFO: i32 = 12;
pub const MSG_STAT_ANY: i32 = 13;
pub const SHM_STAT: i32 = 13;
pub const SHM_INFO: i32 = 14;
pub const SHM_STAT_ANY: i32 = 15;
pub const SEM_STAT: i32 = 18;
pub const SEM_INFO: i32 = 19;
pub const SEM_STAT_ANY: i32 = 20;

/// Greatest value of a semaphore; beyond it, ERANGE.
pub const SEMVMX: i32 = 32767;

/// State bits in a shared memory segment's mode.
pub const SHM_DEST: u32 = 0o1000;
pub const SHM_LOCKED: u32 = 0o2000;

pub const IOCB_CMD_PREAD: u16 = 0;
pub const IOCB_CMD_PWRITE: u16 = 1;
pub const IOCB_CMD_FSYNC: u16 = 2;
pub const IOCB_CMD_FDSYNC: u16 = 3;
pub const IOCB_CMD_POLL: u16 = 5;
pub const IOCB_CMD_NOOP: u16 = 6;
pub const IOCB_CMD_PREADV: u16 = 7;
pub const IOCB_CMD_PWRITEV: u16 = 8;
pub const IOCB_FLAG_RESFD: u32 = 1;
pub const IOCB_FLAG_IOPRIO: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use memoffset::offset_of;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<IpcPerm>(), size_of::<libc::ipc_perm>());
        assert_eq!(size_of::<MsqidDs>(), size_of::<libc::msqid_ds>());
        assert_eq!(
            offset_of!(MsqidDs, lspid),
            offset_of!(libc::msqid_ds, msg_lspid)
        );
        assert_eq!(
            offset_of!(SemidDs, nsems),
            offset_of!(libc::semid_ds, sem_nsems)
        );
        assert_eq!(size_of::<ShmidDs>(), size_of::<libc::shmid_ds>());
        assert_eq!(
            offset_of!(ShmidDs, nattch),
            offset_of!(libc::shmid_ds, shm_nattch)
        );
        assert_eq!(size_of::<MqAttr>(), size_of::<libc::mq_attr>());
    }
}
